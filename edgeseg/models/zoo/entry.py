"""Describe an architecture of the zoo: its builder, its sizes, its preprocessing and its options; without keras."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeseg._internal.fields import short_repr
from edgeseg.errors import InputError
from edgeseg.models.zoo.options import ModelOption, Variant, WeightShapes, read_options
from edgeseg.spec import ModelSpec, default_class_names, default_palette


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """One architecture of the zoo.

    Attributes:
        name: the name users type.
        builder: ``module:function`` that builds it; imported on use.
        stride: height and width must be multiples of this.
        default_size: ``(H, W)`` in pixels.
        parameters: number of parameters with 21 classes, moving statistics included.
        gflops: billion float operations for an image of the default size, 21 classes; a multiply-add is two.
        mean: subtracted from the pixels in [0, 255].
        std: what the difference is divided by.
        weights_from: the source of weights that fit the layer names.
        published_feeding: how those weights were fed, besides mean and std, where it is not as edgeseg does by default;
            by the fields of ``ModelSpec``.
        first_of_decoder: layer that begins the decoder; the layers that it is computed from are the encoder.
        description: one line for people.
        options: what its builder takes besides classes and size.
        options_in: ``module:function`` that finds options in the tensors of a file, see ``architecture.fitting``;
            empty where no option changes them.
        variants: published models that its options give.
        encoders: what ``models.encoders.published`` calls the published encoders whose weights fit, and the options
            that the model must have for each.
    """

    __repr__ = short_repr

    name: str
    builder: str
    stride: int
    default_size: tuple[int, int]
    parameters: int
    gflops: float
    mean: float
    std: float
    weights_from: str
    first_of_decoder: str
    description: str
    published_feeding: Mapping[str, str] = field(default_factory=dict)
    options: tuple[ModelOption, ...] = ()
    options_in: str = ""
    variants: tuple[Variant, ...] = ()
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def read_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return options in their types; raise ``InputError`` for an unknown one, or a value that one does not take."""
        return read_options(self.name, self.options, given)

    def not_default(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that are not the defaults."""
        defaults = {option.name: option.default for option in self.options}
        return {name: value for name, value in options.items() if value != defaults[name]}

    def differing(self, options: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that differ from others, where what is not given is the default."""
        defaults = {option.name: option.default for option in self.options}
        return {name: value for name, value in options.items() if value != other.get(name, defaults[name])}

    def options_of(self, shapes: WeightShapes) -> dict[str, Any]:
        """Return the options that the weights in a file say; a file of another architecture may say anything."""
        if not self.options_in:
            return {}
        module, function = self.options_in.split(":")
        found: dict[str, Any] = getattr(importlib.import_module(module), function)(shapes)
        return {
            option.name: found[option.name]
            for option in self.options
            if option.name in found and option.takes(found[option.name])
        }

    def other_tensors(self, options: Mapping[str, Any]) -> bool:
        """Return whether options give a model whose weights differ in number or shape from those of the default."""
        effects = {option.name: option.effect for option in self.options}
        return any(effects[name] == "tensors" for name in self.not_default(options))

    def check_size(self, input_size: tuple[int, int]) -> None:
        """Raise ``InputError`` naming the nearest size that works, when the strides do not allow this one."""
        nearest = tuple(max(1, int(side / self.stride + 0.5)) * self.stride for side in input_size)
        if nearest != tuple(input_size):
            raise InputError(
                f"the input size of {self.name} must be divisible by {self.stride}, "
                f"got {input_size[0]},{input_size[1]} (H,W). Nearest: {nearest[0]},{nearest[1]}."
            )

    def spec(
        self,
        input_size: tuple[int, int],
        class_names: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...] | None = None,
        ignore_index: int | None = None,
    ) -> ModelSpec:
        """Return the ModelSpec of this architecture's Keras model: its logits, its normalization."""
        return ModelSpec(
            name=self.name,
            input_size=input_size,
            class_names=class_names,
            palette=palette or default_palette(len(class_names)),
            ignore_index=ignore_index,
            mean=(self.mean,) * 3,
            std=(self.std,) * 3,
        )

    def default_spec(self, num_classes: int, input_size: tuple[int, int] | None = None) -> ModelSpec:
        """Return the spec of a model without class names."""
        return self.spec(input_size or self.default_size, default_class_names(num_classes))
