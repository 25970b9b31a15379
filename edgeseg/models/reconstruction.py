"""Make a functional model of a class of somebody's own again by that class, at another input size.

The class knows what follows from its size: SegFormer of KerasHub has Reshapes and Resizings that a copy of its graph
would keep, and layers that cannot be built from their own configs.
"""

from __future__ import annotations

from typing import Any

import keras

from edgeseg.models.keras_graph import has_own_class


def reconstructed(model: keras.Model, input_size: tuple[int, int] | None = None) -> keras.Model | None:
    """Return a model that the same class makes from the same config, with random weights.

    Args:
        model: any; its classes must be registered with Keras, or in a ``custom_object_scope``.
        input_size: ``(H, W)`` in pixels; the model's own when ``None``. It is put wherever the config has the shape of
            the model's input.

    Returns:
        The model; ``None`` where the class is Keras' own, its config is not enough, or does not have the size.
    """
    if not has_own_class(model) or len(model.inputs) != 1:
        return None
    shape = tuple(model.inputs[0].shape)
    wanted = shape if input_size is None else (shape[0], *input_size, *shape[3:])
    try:
        config = _with_shape(keras.saving.serialize_keras_object(model), shape[1:], wanted[1:])
        config.pop("compile_config", None)
        made = keras.saving.deserialize_keras_object(config, safe_mode=True)
    except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError):  # from the class' code
        return None
    return made if type(made) is type(model) and tuple(made.inputs[0].shape) == wanted else None


def _with_shape(config: Any, shape: tuple[Any, ...], wanted: tuple[Any, ...]) -> Any:
    """Return a config with another shape ``(H, W, C)``, which may have a batch axis before it."""
    if isinstance(config, dict):
        return {key: _with_shape(value, shape, wanted) for key, value in config.items()}
    if not isinstance(config, list | tuple):
        return config
    if tuple(config[-len(shape) :]) == shape and len(config) - len(shape) in (0, 1):
        return type(config)((*config[: -len(shape)], *wanted))
    return type(config)(_with_shape(value, shape, wanted) for value in config)
