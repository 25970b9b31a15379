"""Define the options of an architecture: their names, the values they take, and what they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgeseg.errors import InputError, did_you_mean

#: What an option changes. ``tensors``: the weights, so that a file of weights shows it. ``result``: what the model
#: computes from the same weights, which only a whole model can say. ``training``: nothing in inference. ``form``: how
#: the same numbers are laid out.
OptionEffect = Literal["tensors", "result", "training", "form"]

#: How the author of the U-Net, HRNet and DeepLab projects fits images into the input: ``resize_image`` of each.
PILLOW: Mapping[str, str] = {"resize": "bicubic-antialias", "letterbox_rounding": "floor"}


@dataclass(frozen=True, kw_only=True)
class ModelOption:
    """One option of an architecture, an argument of its builder.

    Attributes:
        name: of the argument.
        default: its value when it is not given; the others have its type.
        effect: what it changes.
        meaning: one line for people.
        choices: the values that it takes; ``None`` where they are numbers of a range.
        at_least: the smallest number; for a default of several numbers, of each.
        below: what a number must be below; ``None`` where there is no such limit.
        changes: what differs between two models that differ in this option: settings of layers (``padding``), or
            classes of layers (``ZeroPadding2D``) that only one of the two has.
        of_encoder: whether the shapes of the encoder's weights say it.
    """

    name: str
    default: Any
    effect: OptionEffect
    meaning: str
    choices: tuple[Any, ...] | None = None
    at_least: float = 1
    below: float | None = None
    changes: tuple[str, ...] = ()
    of_encoder: bool = False

    @property
    def accepted(self) -> str:
        """The values that it takes, as a phrase: ``16 or 8``, ``a whole number from 1``."""
        if self.choices is not None:
            *others, last = map(as_typed, self.choices)
            return f"{', '.join(others)} or {last}"
        if isinstance(self.default, tuple):
            return f"{len(self.default)} whole numbers from {self.at_least:g}, with commas between"
        kind = "whole number" if isinstance(self.default, int) else "number"
        return f"a {kind} from {self.at_least:g}" + (f" to below {self.below:g}" if self.below is not None else "")

    def read(self, value: Any) -> Any:
        """Return a value in the option's type.

        Args:
            value: it, or its text as typed on a command line.

        Raises:
            InputError: the option does not take it.
        """
        read = self._parsed(value) if isinstance(value, str) else value
        if isinstance(self.default, tuple) and isinstance(read, list):
            read = tuple(read)
        if isinstance(self.default, float) and type(read) is int:
            read = float(read)
        if not self.takes(read):
            hint = did_you_mean(value, map(as_typed, self.choices or ())) if isinstance(value, str) else ""
            raise InputError(f"{self.name} must be {self.accepted}, got {as_typed(value)}.{hint}")
        return read

    def _parsed(self, text: str) -> Any:
        """Return the value that a text says; the text itself where it says none."""
        number = float if isinstance(self.default, float) else int
        if self.choices is not None and not isinstance(self.default, float):
            return next((choice for choice in self.choices if as_typed(choice) == text.strip().lower()), text)
        try:
            if isinstance(self.default, tuple):
                return tuple(number(part) for part in text.split(","))
            return number(text)
        except ValueError:
            return text

    def takes(self, value: Any) -> bool:
        """Return whether a value, in the option's type, is one that it takes."""
        if type(value) is not type(self.default):  # True is a number to Python, and no output stride
            return False
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, tuple):
            whole = all(type(item) is int and item >= self.at_least for item in value)
            return whole and len(value) == len(self.default)
        return bool(value >= self.at_least and (self.below is None or value < self.below))


def dropout_option(name: str, default: float, where: str) -> ModelOption:
    """Return the option of a dropout rate."""
    return ModelOption(
        name=name, default=default, effect="training", meaning=f"dropout rate {where}", at_least=0, below=1
    )


@dataclass(frozen=True)
class WeightShapes:
    """What the weights in a file say of the model that it was made for.

    Attributes:
        kernels: layer to the shape of its kernel of four axes.
        biased: layers of these that have a bias, or another weight of one axis.
    """

    kernels: Mapping[str, tuple[int, ...]]
    biased: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tensors: Iterable[tuple[str | None, tuple[int, ...]]]) -> WeightShapes:
        """Sort the tensors of a file.

        Args:
            tensors: the layer of each, where the file says it, and the tensor's shape.
        """
        by_axes: dict[int, dict[str, tuple[int, ...]]] = {1: {}, 4: {}}
        for name, shape in tensors:
            if name is not None and len(shape) in by_axes:
                by_axes[len(shape)][name] = shape
        return cls(by_axes[4], frozenset(by_axes[1]))


@dataclass(frozen=True)
class Variant:
    """Options that together give a model that others have published.

    Attributes:
        of: whose it is.
        options: the options that differ from the defaults.
    """

    of: str
    options: Mapping[str, Any]


def read_options(model: str, declared: Iterable[ModelOption], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check options of an architecture.

    Args:
        model: name of the architecture.
        declared: its options.
        given: option to value, or to the text of it.

    Returns:
        What was given, in the options' types.

    Raises:
        InputError: the architecture has no such option, or an option does not take the value.
    """
    known = {option.name: option for option in declared}
    for name in given:
        if name not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise InputError(f"{model} has no option '{name}'.{did_you_mean(name, known)} {takes}")
    return {name: known[name].read(value) for name, value in given.items()}


def check_choice(name: str, value: object, accepted: tuple[object, ...]) -> None:
    """Raise ``InputError`` where a builder's argument has none of its values."""
    if value not in accepted:
        raise InputError(f"{name} must be {' or '.join(str(choice) for choice in accepted)}, got {value}.")


def as_typed(value: Any) -> str:
    """Return a value of an option as it is typed on a command line: ``same``, ``8``, ``true``, ``128,96``."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def option_texts(options: Mapping[str, Any]) -> str:
    """Return options as they are typed after ``--model-option``: ``output_stride=8, trunk=applications``."""
    return ", ".join(f"{name}={as_typed(value)}" for name, value in options.items())
