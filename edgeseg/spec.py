"""Define ``ModelSpec``: what a device must know to feed a model and read its output; it travels in the artifact."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import FEW, AnyText, Finite, Int64, Meta, Texts, WrongValue, convert, parse
from edgeseg._internal.text import counted
from edgeseg.choices import (
    ColorOrder,
    Fit,
    InputDtype,
    Layout,
    LetterboxRounding,
    OutputKind,
    Precision,
    Resize,
    Target,
)
from edgeseg.errors import InputError

#: 3: ``letterbox_rounding``; ``resize`` has ``bilinear`` and ``bicubic``, which were ``linear`` and ``cubic``.
#: 2: ``color_order``, which was ``colour_order``. 1: the first version.
FORMAT_VERSION = 3
_READABLE = (1, 2, 3)
_FORMER_RESIZES: Mapping[str, Resize] = MappingProxyType({"linear": "bilinear", "cubic": "bicubic"})

#: Key of the entry in TFLite metadata, ONNX ``metadata_props`` and the ``.keras`` archive.
METADATA_KEY = "edgeseg.spec"

#: As many ids as the byte of a pixel of a class map, and of a label, can tell apart.
MAX_CLASSES = 256

#: Pixels of the largest input: an image of it is 800 MB in float32.
MAX_INPUT_PIXELS = 1 << 26
#: What a pixel can be divided by, up to the sign, without leaving what float32 tells apart.
MIN_STD, MAX_STD = 1e-6, 1e6

#: Bands of a raster, as many as a TIFF can count, and the largest value of one that is scaled, up to the sign.
MAX_BANDS, MAX_VALUE = 65_535, 1e30
# Ends of a range differ by more than this part of the larger: below, float32 hardly tells the values between apart.
_LEAST_RANGE = 1e-6

#: Bytes of the longest ModelSpec that is read: of 256 classes with the longest names.
_MAX_BYTES = 1 << 22

_Byte = Annotated[int, Meta(ge=0, le=255)]
_Side = Annotated[int, Meta(ge=1, le=MAX_INPUT_PIXELS)]
_Pixel = Annotated[float, Meta(ge=-MAX_STD, le=MAX_STD)]
_Band = Annotated[int, Meta(ge=1, le=MAX_BANDS)]
_Value = Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
_Option = bool | Int64 | Finite | AnyText | None

Color = tuple[_Byte, _Byte, _Byte]

#: How far from an output pixel the input pixels are that change it: ``(rows, columns)`` in pixels, or ``global`` where
#: all of the input change it.
ReceptiveRadius: TypeAlias = (
    tuple[Annotated[int, Meta(ge=0, le=MAX_INPUT_PIXELS)], Annotated[int, Meta(ge=0, le=MAX_INPUT_PIXELS)]]
    | Literal["global"]
)

# A comment at the end of a line of class names, and a line that begins with the class's id.
_COMMENT = re.compile(r"\s#.*")
_NUMBERED = re.compile(r"(\d{1,6})(?:\s*[:,;]\s*|\s+)(\S.*)")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a model file was made.

    Attributes:
        source: zoo name or file name of the Keras model.
        precision: the precision of the artifact; ``fp32`` for a Keras model.
        target: the target that the artifact was made for.
        rewrites: one ``(rule, number of sites)`` pair for each rewrite that was applied.
        tools: package name to version, of every tool that took part.
        model_options: options of the zoo's architecture that were not its defaults.
    """

    __repr__ = short_repr

    source: AnyText = ""
    precision: Precision = "fp32"
    target: Target = "generic"
    rewrites: Annotated[tuple[tuple[AnyText, Int64], ...], Meta(max_length=FEW)] = ()
    tools: Texts = field(default_factory=dict)
    model_options: Annotated[
        Mapping[AnyText, _Option | Annotated[tuple[_Option, ...], Meta(max_length=FEW)]], Meta(max_length=FEW)
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """How to feed a segmentation model and how to read its output.

    Attributes:
        name: name of the model, for people.
        input_size: ``(H, W)`` of the model's input, in pixels.
        class_names: one name for each class, in the order of the ids.
        palette: one RGB color in 0..255 for each class.
        ignore_index: label id that is no class and is not counted; ``None`` where there is none.
        layout: axis order of the input, and of scores: ``nhwc`` is ``(1, H, W, 3)``, ``nchw`` ``(1, 3, H, W)``.
        dtype: dtype of the input. ``uint8`` takes image bytes as they are, ``float32`` normalized ones.
        color_order: order of the three input channels.
        mean: subtracted from the pixels in [0, 255], in the order of the channels.
        std: what the difference is divided by.
        fit: ``letterbox`` keeps the aspect ratio and pads with ``pad_value``; ``stretch`` does not.
        resize: interpolation of the image on its way to ``input_size``; see ``edgeseg.choices.Resize``.
        letterbox_rounding: how the sides of the letterboxed image become whole pixels; ``floor`` is the ``int()`` of
            the tutorials, which is up to a pixel less.
        pad_value: RGB color of the letterbox bars, in 0..255.
        output_kind: ``argmax`` is a class map ``(1, H, W)`` in either layout; the others are scores, float32
            ``(1, H, W, C)``, or ``(1, C, H, W)`` in ``nchw``.
        receptive_radius: how far from an output pixel the input pixels are that change it, ``(rows, columns)`` in
            pixels, or ``global``; measured when the file was verified at its export, else ``None``. Large images are
            cut into windows by it.
        bands: which bands of a raster are the model's red, green and blue, counted from 1; ``None`` where nothing says
            it. An image of three bands of bytes is taken as it is.
        band_range: the values of a raster that become 0 and 255: ``(low, high)`` of all three bands, or three such
            pairs in one tuple, in the order of ``bands``; ``None`` for bytes as they are.
        provenance: how the file was made.
    """

    __repr__ = short_repr

    name: AnyText
    input_size: tuple[_Side, _Side]
    class_names: Annotated[tuple[AnyText, ...], Meta(max_length=MAX_CLASSES)]
    palette: Annotated[tuple[Color, ...], Meta(max_length=MAX_CLASSES)]
    ignore_index: _Byte | None = None
    layout: Layout = "nhwc"
    dtype: InputDtype = "float32"
    color_order: ColorOrder = "rgb"
    mean: tuple[_Pixel, _Pixel, _Pixel] = (127.5, 127.5, 127.5)
    std: tuple[_Pixel, _Pixel, _Pixel] = (127.5, 127.5, 127.5)
    fit: Fit = "letterbox"
    resize: Resize = "bilinear"
    letterbox_rounding: LetterboxRounding = "round"
    pad_value: Color = (128, 128, 128)
    output_kind: OutputKind = "logits"
    receptive_radius: ReceptiveRadius | None = None
    bands: tuple[_Band, _Band, _Band] | None = None
    band_range: Annotated[tuple[_Value, ...], Meta(min_length=2, max_length=6)] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if len(self.input_size) != 2 or min(self.input_size) < 1 or math.prod(self.input_size) > MAX_INPUT_PIXELS:
            raise InputError(
                f"ModelSpec.input_size must be (H, W), at most {MAX_INPUT_PIXELS} pixels, got {self.input_size}."
            )
        check_classes(f"the model '{self.name}'", self.class_names, self.palette, self.ignore_index)
        if len(self.std) != 3 or not all(MIN_STD <= abs(value) <= MAX_STD for value in self.std):
            raise InputError(
                f"ModelSpec.std must be three numbers from {MIN_STD:g} to {MAX_STD:g}, up to the sign, got {self.std}."
            )
        if len(self.mean) != 3 or not all(abs(value) <= MAX_STD for value in self.mean):
            raise InputError(f"ModelSpec.mean must be three numbers of at most {MAX_STD:g}, got {self.mean}.")
        hints = get_type_hints(type(self))
        for name in ("layout", "dtype", "color_order", "fit", "resize", "letterbox_rounding", "output_kind"):
            accepted = get_args(hints[name])
            if getattr(self, name) not in accepted:
                raise InputError(f"ModelSpec.{name} must be one of {accepted}, got {getattr(self, name)!r}.")
        radius = self.receptive_radius
        if isinstance(radius, tuple) and (len(radius) != 2 or min(radius) < 0):
            raise InputError(f"ModelSpec.receptive_radius must be (rows, columns), 'global' or None, got {radius}.")
        check_bands(self.bands, self.band_range)
        if self.fit == "stretch" and self.letterbox_rounding != "round":
            raise InputError(
                f"ModelSpec.letterbox_rounding '{self.letterbox_rounding}' does nothing with fit 'stretch', which "
                "fills the input; give fit 'letterbox', or letterbox_rounding 'round'."
            )

    @property
    def num_classes(self) -> int:
        """The number of classes, without the ignored id."""
        return len(self.class_names)

    @property
    def scaling(self) -> str:
        """What is computed from a pixel, for people, such as ``(pixel - 127.5) / 127.5``."""
        if set(self.mean) == {0.0} and set(self.std) == {1.0}:
            return "pixels in [0, 255] as they are"
        return f"(pixel - {_numbers(self.mean)}) / {_numbers(self.std)}"

    @property
    def rasters(self) -> str:
        """What is read of a raster, for people: ``bands 4,3,2, values 0,3000``; empty where nothing says it."""
        bands = f"bands {','.join(map(str, self.bands))}" if self.bands else ""
        values = f"values {','.join(f'{value:g}' for value in self.band_range)}" if self.band_range else ""
        return ", ".join(filter(None, (bands, values)))

    def replace(self, **changes: Any) -> ModelSpec:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Serialize to one line of JSON."""
        return json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelSpec:
        """Read a ModelSpec from the text that ``to_json`` wrote.

        Fields that this version does not know are skipped, so that an older device reads a newer file.

        Raises:
            InputError: the text is not a ModelSpec, or of a format version that this edgeseg cannot read.
        """
        if len(text) > _MAX_BYTES:
            raise InputError(f"the ModelSpec has {len(text)} bytes; at most {_MAX_BYTES} are read.")
        try:
            return convert(_of_today(parse(text)), cls)
        except WrongValue as error:
            raise InputError(f"this is not a ModelSpec: {error}. Export the model again with edgeseg.") from error


def _of_today(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an earlier version under today's names."""
    if "format_version" not in data:
        raise WrongValue("'format_version' is missing")
    version = convert(data["format_version"], Int64)
    if version not in _READABLE:
        readable = f"{', '.join(map(str, _READABLE[:-1]))} and {_READABLE[-1]}"
        raise InputError(f"the ModelSpec has format version {version}, this edgeseg reads {readable}; update edgeseg.")
    if version == 1:
        data["color_order"] = data.pop("colour_order", "rgb")
    former = data.get("resize")
    if version < 3 and isinstance(former, str):
        data["resize"] = _FORMER_RESIZES.get(former, former)
    return data


def _numbers(values: tuple[float, ...]) -> str:
    """Return a number for each channel as the command line takes it: one where all are the same."""
    return f"{values[0]:g}" if len(set(values)) == 1 else ",".join(f"{value:g}" for value in values)


def check_classes(what: str, names: Sequence[str], palette: Sequence[Color], ignore_index: int | None) -> None:
    """Check a table of classes.

    Args:
        what: whose table it is, as the start of a sentence.
        names: 1 to ``MAX_CLASSES``; no name twice, as scores and filters go by name; what UTF-8 can express.
        palette: one RGB color in 0..255 for each name.
        ignore_index: ``None``, or 0 to 255.

    Raises:
        InputError: one of these conditions does not hold.
    """
    if not 1 <= len(names) <= MAX_CLASSES:
        raise InputError(
            f"{what} has {counted(len(names), 'class')}; accepted: 1 to {MAX_CLASSES}, as "
            "class maps have one byte a pixel."
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{what}: the class name '{twice}' occurs twice; give each class a name of its own.")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{what}: the class name '{name}' is no text: it has half a character or a byte."
            ) from error
    if len(palette) != len(names):
        raise InputError(
            f"{what} has {counted(len(names), 'class name')} but {counted(len(palette), 'color')}; "
            "give one color for each class."
        )
    for color in palette:
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise InputError(f"{what}: the color {color} is not three numbers from 0 to 255 (RGB).")
    if ignore_index is not None and not 0 <= ignore_index <= 255:
        raise InputError(f"{what}: ignore_index must be 0 to 255, as labels are 8-bit, or null; got {ignore_index}.")


def check_bands(bands: Sequence[int] | None, band_range: Sequence[float] | None) -> None:
    """Check which bands of a raster a model takes, and which of their values become 0 and 255.

    Args:
        bands: three numbers, counted from 1; ``None`` where nothing says it.
        band_range: ``(low, high)``, or three such pairs in one sequence; ``None`` where nothing says it.

    Raises:
        InputError: they are something else.
    """
    if bands is not None and (len(bands) != 3 or not 1 <= min(bands) <= max(bands) <= MAX_BANDS):
        listed = ",".join(map(str, bands))
        raise InputError(f"`bands` must be three numbers from 1, as a model takes RGB, got {listed}.")
    limits = band_range
    if limits is not None and not (
        len(limits) in (2, 6)
        and all(abs(value) <= MAX_VALUE for value in limits)
        and all(
            high - low > _LEAST_RANGE * max(abs(low), abs(high))
            for low, high in zip(limits[::2], limits[1::2], strict=True)
        )
    ):
        raise InputError(
            "`band_range` must be the lowest and the highest value, or those of each of the three bands, got "
            f"{','.join(f'{value:g}' for value in limits)}."
        )


def default_palette(num_classes: int) -> tuple[Color, ...]:
    """Return the PASCAL VOC color map, a fixed distinct RGB color for each of up to 256 classes.

    Source: the VOC 2012 development kit, ``VOClabelcolormap``: the bits of the id, spread over the channels.
    """
    palette = []
    for index in range(num_classes):
        red = green = blue = 0
        for shift in range(8):
            bits = index >> (3 * shift)
            red |= (bits & 1) << (7 - shift)
            green |= (bits >> 1 & 1) << (7 - shift)
            blue |= (bits >> 2 & 1) << (7 - shift)
        palette.append((red, green, blue))
    return tuple(palette)


def default_class_names(num_classes: int) -> tuple[str, ...]:
    """Return ``class_0``, ``class_1`` and so on, for a model without class names."""
    return tuple(f"class_{index}" for index in range(num_classes))


def class_names_in(text: str) -> tuple[str, ...]:
    """Read class names, one a line, as label files of TensorFlow, Coral and TF Hub have them.

    Comments (``# ...``) and empty lines at both ends are skipped. Where every line begins with a number (``0 person``,
    ``0: person``), it is the id of the class, and ids that the list lacks are ``class_0`` and so on.

    Args:
        text: of the file.

    Raises:
        InputError: there are no names, an empty line is between two, or an id occurs twice or is above 255.
    """
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    if "#" in text:
        lines = [_COMMENT.sub("", line).strip() for line in lines if not line.startswith("#")]
    lines = "\n".join(lines).strip().split("\n")
    if not all(lines):
        raise InputError("one class name a line, without empty lines between")
    numbered = [match for line in lines if line[0].isdecimal() and (match := _NUMBERED.fullmatch(line))]
    if len(numbered) < len(lines):
        return tuple(lines)
    by_id = {int(match[1]): match[2] for match in numbered}
    if len(by_id) < len(lines) or max(by_id) >= MAX_CLASSES:
        raise InputError(f"ids from 0 to {MAX_CLASSES - 1}, each once")
    return tuple(by_id.get(index, name) for index, name in enumerate(default_class_names(max(by_id) + 1)))
