"""Read images, fit them into a model's input, and bring class maps back to the image's own size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.limits.images import check_image_file, check_image_size
from edgeseg._internal.resampling import resized
from edgeseg.choices import ColorOrder
from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2"})


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an image lies inside a model's input, in pixels; ``restore`` needs it to reverse ``preprocess``."""

    top: int
    left: int
    height: int
    width: int
    original_hw: tuple[int, int]


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Decode an image to ``(H, W, 3)`` uint8 RGB, turned as its EXIF orientation says.

    Raises:
        InputError: the file is missing, does not decode, or claims more pixels than the environment variable
            ``EDGESEG_MAX_IMAGE_PIXELS`` allows (200 million when it is not set).
    """
    return decode_image(path, read_bytes(path))


def decode_image(path: str | Path, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to ``(H, W, 3)`` uint8 RGB; ``path`` is for the error text.

    Raises:
        InputError: the bytes do not decode, or claim too many pixels, see ``read_image``.
    """
    return _decode(path, data, cv2.IMREAD_COLOR_RGB)


def read_image_bgr(path: str | Path) -> NDArray[np.uint8]:
    """Read an image as ``(H, W, 3)`` uint8 BGR, for OpenCV to write or show without swapping the channels twice.

    Raises:
        InputError: the file is missing or does not decode.
    """
    return _decode(path, read_bytes(path), cv2.IMREAD_COLOR)


def read_bytes(path: str | Path) -> NDArray[np.uint8]:
    """Read the bytes of an image file.

    Raises:
        InputError: the file is missing, is no regular file, cannot be read, or is larger than any accepted image.
    """
    try:
        check_image_file(path)
        return np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise InputError(f"image '{path}' does not exist.") from error
    except OSError as error:
        raise InputError(f"image '{path}' cannot be read: {error.strerror or error}.") from error


# What compresses photographs best of what OpenCV passes to zlib.
_SMALLEST = (cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED)


def encode_image(image_rgb: NDArray[np.uint8], suffix: str = ".png", *, smallest: bool = False) -> bytes:
    """Encode ``(H, W, 3)`` uint8 RGB, ``(H, W, 4)`` RGBA or ``(H, W)`` gray as the format of ``suffix``.

    Args:
        image_rgb: the image.
        suffix: of a file of the format.
        smallest: whether to spend time on a smaller PNG, 12 to 22 % of the packaged proofs' images.

    Raises:
        InputError: no image format has that suffix.
    """
    if not cv2.haveImageWriter(f"image{suffix}"):
        raise InputError(f"images cannot be written as '{suffix}'; accepted: {', '.join(sorted(IMAGE_SUFFIXES))}.")
    conversions = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    channels = image_rgb.shape[2] if image_rgb.ndim == 3 else 1
    bgr = cv2.cvtColor(image_rgb, conversions[channels]) if channels in conversions else image_rgb
    _, data = cv2.imencode(suffix, bgr, _SMALLEST if smallest else ())
    return data.tobytes()


def letterbox(
    image: NDArray[np.uint8], spec: ModelSpec, *, order: ColorOrder = "rgb"
) -> tuple[NDArray[np.uint8], Placement]:
    """Fit an image into the model's input size, by ``spec.fit``, ``spec.resize`` and ``spec.letterbox_rounding``.

    Args:
        image: ``(h, w, 3)`` uint8.
        spec: gives the size ``(H, W)``, the fit, the interpolation, the rounding and the color of the bars.
        order: the color order of ``image``; the bars follow it.

    Returns:
        ``(H, W, 3)`` uint8 in the same order, and where the image lies in it.
    """
    target_h, target_w = spec.input_size
    p = placement_of(image.shape[:2], spec)
    image = resized(image, (p.height, p.width), spec.resize)
    if (p.height, p.width) == (target_h, target_w):
        return image, p
    bars = (p.top, target_h - p.height - p.top, p.left, target_w - p.width - p.left)
    color = spec.pad_value if order == "rgb" else spec.pad_value[::-1]
    return cv2.copyMakeBorder(image, *bars, cv2.BORDER_CONSTANT, value=color), p  # type: ignore[return-value]


def placement_of(size_hw: tuple[int, int], spec: ModelSpec) -> Placement:
    """Return where ``letterbox`` puts an image of a size ``(h, w)`` in the model's input."""
    height, width = size_hw
    target_h, target_w = spec.input_size
    if spec.fit == "stretch":
        new_h, new_w = target_h, target_w
    else:
        scale = min(target_h / height, target_w / width)
        # Not a quotient of whole numbers: the tutorials cut float64 off, and 511.99999999999994 is 511 there and here.
        to_whole = round if spec.letterbox_rounding == "round" else int
        new_h = max(1, min(target_h, to_whole(height * scale)))
        new_w = max(1, min(target_w, to_whole(width * scale)))
    top, left = (target_h - new_h) // 2, (target_w - new_w) // 2
    return Placement(top=top, left=left, height=new_h, width=new_w, original_hw=(height, width))


def normalize(image: NDArray[np.uint8], spec: ModelSpec, *, order: ColorOrder = "rgb") -> NDArray[np.float32]:
    """Return ``(pixel - mean) / std`` in the model's color order.

    Args:
        image: ``(..., 3)`` uint8.
        spec: gives mean, std (in the order of the model's channels) and the color order.
        order: the color order of ``image``.

    Returns:
        ``(..., 3)`` float32.
    """
    # One table look-up per channel: each of the 256 values is normalized once, not once per pixel.
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    table: NDArray[np.float32] = (np.arange(256, dtype=np.float32)[:, None] - mean) / std
    flat = _in_order(image, order, spec).reshape(1, -1, 3)
    return cv2.LUT(flat, table[None]).reshape(image.shape)  # type: ignore[return-value]


def preprocess(
    image: NDArray[np.uint8], spec: ModelSpec, *, order: ColorOrder = "rgb"
) -> tuple[NDArray[np.generic], Placement]:
    """Turn an image into the model's input tensor.

    Args:
        image: ``(h, w, 3)`` uint8.
        spec: the model's spec.
        order: the color order of ``image``.

    Returns:
        ``(1, H, W, 3)`` or ``(1, 3, H, W)`` in ``spec.dtype``, and the placement for ``restore``.
    """
    fitted, placement = letterbox(image, spec, order=order)
    as_bytes = spec.dtype == "uint8"
    tensor: NDArray[np.generic] = _in_order(fitted, order, spec) if as_bytes else normalize(fitted, spec, order=order)
    if spec.layout == "nchw":
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor[None]), placement


def restore(class_map: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Cut the letterbox bars off a class map and scale it to the image's own size.

    Args:
        class_map: ``(H, W)`` uint8 class ids at the model's input size.
        placement: what ``preprocess`` returned for this image.

    Returns:
        ``(h, w)`` uint8 class ids; nearest neighbor, so that no id is made up.
    """
    return at_size(without_bars(class_map, placement), placement.original_hw)


def without_bars(class_map: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Return the part of a class map at the model's input size that the image covers; a view."""
    p = placement
    return class_map[p.top : p.top + p.height, p.left : p.left + p.width]


def at_size(class_map: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a class map scaled to a size; the map itself where it has that size already."""
    return class_map if class_map.shape == size_hw else enlarge(class_map, np.empty(size_hw, np.uint8))


def enlarge(small: NDArray[np.uint8], out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale a class map, or an image that was looked up in one, by nearest neighbor, as everywhere in edgeseg.

    Args:
        small: ``(h, w)`` or ``(h, w, 3)`` uint8.
        out: ``(H, W)`` or ``(H, W, 3)`` uint8; it is written to.

    Returns:
        ``out``.
    """
    size_wh = (out.shape[1], out.shape[0])
    return cv2.resize(small, size_wh, dst=out, interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


def _in_order(image: NDArray[np.uint8], order: ColorOrder, spec: ModelSpec) -> NDArray[np.uint8]:
    if order == spec.color_order:
        return image
    return cv2.cvtColor(image.reshape(1, -1, 3), cv2.COLOR_BGR2RGB).reshape(image.shape)  # type: ignore[return-value]


def _decode(path: str | Path, data: NDArray[np.uint8], flags: int) -> NDArray[np.uint8]:
    check_image_size(path, data.tobytes())
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:  # an empty buffer, or an absurd size; other broken files give None
        image = None
    if image is None:
        raise InputError(f"'{path}' does not decode as an image; it may be truncated or no image at all.")
    return image  # type: ignore[return-value]
