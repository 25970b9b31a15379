"""Build an architecture of the zoo by its name; keras is loaded when one is built."""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeseg.errors import InputError, missing_extra
from edgeseg.models.zoo.table import find

if TYPE_CHECKING:
    import keras


def create(name: str, *, num_classes: int, input_size: tuple[int, int] | None = None, **options: Any) -> keras.Model:
    """Build a model of the zoo with random weights.

    Args:
        name: a name of ``ZOO``.
        num_classes: number of output channels.
        input_size: ``(H, W)`` in pixels; the architecture's default when ``None``.
        **options: the architecture's own, which ``ZOO[name].options`` lists; a text is read as on the command line.

    Returns:
        A functional model from ``(B, H, W, 3)`` float32, normalized as ``ZOO[name]`` says,
        to logits ``(B, H, W, num_classes)`` float32.

    Raises:
        InputError: the name or an option is unknown, an option does not take a value, the strides do not allow the
            size, or there are fewer than 2 classes.
        BackendUnavailable: keras is not installed.
    """
    model = find(name)
    options = model.read_options(options)
    size = input_size or model.default_size
    model.check_size(size)
    if num_classes < 2:
        raise InputError(f"num_classes must be at least 2, got {num_classes}.")
    module, function = model.builder.split(":")
    try:
        builder = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise missing_extra(f"the model '{name}'", "train") from error
    built: keras.Model = builder(num_classes=num_classes, input_size=size, **options)
    built._zoo_name = name  # by which preprocessing.zoo_model_of recognizes it, whatever the options
    built._zoo_options = MappingProxyType(options)  # no dict, which Keras would track
    return built
