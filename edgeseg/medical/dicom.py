"""Read DICOM files as 8-bit RGB images, one frame at a time, with pydicom.

A header is read first and bounded: what it claims is checked before pixels are decoded. A file names no code, and none
of it is run.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeseg._internal.limits.images import check_image_file, max_image_pixels
from edgeseg._internal.text import escaped
from edgeseg.errors import InputError
from edgeseg.medical.library import library
from edgeseg.medical.window import Window, full_range

#: Suffixes of files; others are known by their first bytes.
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

#: Frames of a file, elements that are read at once, in bytes: larger ones are skipped.
_MOST_FRAMES, _MOST_ELEMENT = 100_000, "1 MB"

# Compresses the whole file, so that what it claims cannot be read without making room for it.
_DEFLATED = "1.2.840.10008.1.2.1.99"

_GRAY, _COLOR = (
    ("MONOCHROME1", "MONOCHROME2"),
    ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
)

#: What pydicom and its decoders raise for a file that is damaged, cut off or made to be so.
_DAMAGE = (
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, EOFError, OSError),
    *(RuntimeError, NotImplementedError, RecursionError, MemoryError, struct.error, zlib.error),
)


def is_dicom(path: str | Path, head: bytes = b"") -> bool:
    """Return whether a file is DICOM: by its suffix, else by its first 132 bytes.

    Args:
        path: the file.
        head: its first bytes, where they were read.
    """
    return Path(path).suffix.lower() in DICOM_SUFFIXES or head[128:132] == b"DICM"


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn what pydicom raises for a file into one line, and keep its warnings from standard error.

    Raises:
        InputError: the file is no DICOM image, or is damaged.
        BackendUnavailable: pydicom is not installed.
    """
    pydicom = library()
    logs = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [log.level for log in logs]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for log in logs:
                log.setLevel(logging.CRITICAL)
            yield
    except InputError:
        raise
    except pydicom.errors.InvalidDicomError as error:
        raise InputError(f"'{path}' is no DICOM file: it has no DICM at byte 128.") from error
    except (*_DAMAGE, pydicom.errors.BytesLengthException, Image.DecompressionBombError) as error:
        reason = escaped(" ".join(str(error).split()) or type(error).__name__, most=300)
        raise InputError(f"'{path}' does not decode as DICOM: {reason}") from error
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def read_header(path: str | Path) -> Any:
    """Return what a file says before its pixels, as pydicom's data set; elements above 1 MB are skipped.

    Raises:
        InputError: it is no DICOM file, or one that is compressed as a whole.
        BackendUnavailable: pydicom is not installed.
    """
    pydicom = library()
    with reading(path):
        check_image_file(path)
        meta = pydicom.filereader.read_file_meta_info(str(path))
        if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
            raise InputError(f"'{path}' is a deflated DICOM file, which is not read; inflate it first, as DCMTK does")
        return pydicom.dcmread(str(path), stop_before_pixels=True, defer_size=_MOST_ELEMENT)


class DicomImage:
    """A file of one frame or several.

    Gray values are brought to 8 bits by the window that is given, else by the file's own lookup table or first window,
    else from the smallest to the largest value of the frame. MONOCHROME1 is inverted, so that more is brighter.

    Examples:
        >>> for number, image_rgb in DicomImage("slice.dcm", Window(40, 400)).frames():
        ...     print(number, image_rgb.shape)

    Attributes:
        path: of the file.
        size_hw: ``(h, w)`` of each frame, in pixels.
        num_frames: as the file says.
        frame_s: how long a frame is shown, in seconds; ``None`` where the file does not say it.
        spacing_mm: millimeters between the centers of two pixels, one below the other and beside each other, in the
            patient; ``None`` where the file does not say it. What it says of the detector alone (Imager Pixel Spacing)
            is no size in the patient and not used.
    """

    def __init__(self, path: str | Path, window: Window | None = None) -> None:
        """Read the header.

        Args:
            path: of the file.
            window: for gray images, in place of the file's own.

        Raises:
            InputError: it is no DICOM image, of a kind that is not read, or claims too many pixels or frames; or it is
                in color, and a window is given.
            BackendUnavailable: pydicom is not installed.
        """
        if window is not None:
            window.check()
        self.path = Path(path)
        self._window = window
        self._header = read_header(path)
        with reading(path):
            header = self._header
            if any(header.get(name) is None for name in ("Rows", "Columns", "PhotometricInterpretation")):
                raise InputError(f"'{path}' is DICOM without an image (its kind: {_kind(header)}).")
            height, width = int(header.Rows), int(header.Columns)
            self.num_frames = int(header.get("NumberOfFrames") or 1)
            self._photometric = str(header.PhotometricInterpretation)
            samples = int(header.get("SamplesPerPixel", 1))
            self.frame_s = _positive(float(header.get("FrameTime") or 0) / 1000)
        if height < 1 or width < 1 or not 1 <= self.num_frames <= _MOST_FRAMES:
            raise InputError(f"'{path}' claims {width} x {height} pixels and {self.num_frames} frames.")
        if height * width > max_image_pixels():
            raise InputError(f"'{path}' claims {width} x {height} pixels, more than {max_image_pixels()}.")
        if self._photometric not in _GRAY + _COLOR or samples not in (1, 3):
            raise InputError(
                f"'{path}' is {escaped(self._photometric, most=40)} of {samples} samples; accepted: "
                f"{', '.join(_GRAY + _COLOR)} of 1 or 3."
            )
        if window is not None and self._photometric in _COLOR:
            raise InputError(f"'{path}' is {self._photometric}, in color: a `window` is for gray values; omit it.")
        self.size_hw = (height, width)
        with reading(path):
            self.spacing_mm = _spacing(self._of_frame(0, "PixelMeasuresSequence"))

    def frames(self, start: int = 0, stride: int = 1) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode the frames one by one.

        Args:
            start: number of the first, counted from 0.
            stride: take every n-th from there.

        Yields:
            The number of the frame, and ``(h, w, 3)`` uint8 RGB.

        Raises:
            InputError: a frame does not decode.
            BackendUnavailable: its compression needs a package that is not installed.
        """
        numbers = range(start, self.num_frames, stride)
        pixels = self._decoded(numbers)
        for number in numbers:
            with reading(self.path):
                values = next(pixels, None)
                if values is None:
                    raise InputError(f"'{self.path}' has no frame {number} of the {self.num_frames} that it claims.")
                if values.shape[:2] != self.size_hw:
                    raise InputError(
                        f"'{self.path}' claims {self.size_hw} (H,W), its frame {number} is {values.shape}."
                    )
                image = self._gray(values, number) if values.ndim == 2 else _eight_bits(values, self._header)
            yield number, np.ascontiguousarray(image)

    def _decoded(self, numbers: range) -> Iterator[NDArray[Any]]:
        pydicom = library()
        yield from pydicom.pixels.iter_pixels(str(self.path), indices=list(numbers), raw=False)

    def _gray(self, values: NDArray[Any], number: int) -> NDArray[np.uint8]:
        """Return a frame of one sample a pixel as RGB."""
        pydicom, header = library(), self._header
        if self._photometric == "PALETTE COLOR":
            colors: NDArray[Any] = pydicom.pixels.apply_color_lut(values, header)
            return (colors if colors.dtype == np.uint8 else colors >> 8).astype(np.uint8)
        padding = header.get("PixelPaddingValue")
        rescale = self._of_frame(number, "PixelValueTransformationSequence")
        slope, intercept = float(rescale.get("RescaleSlope", 1)), float(rescale.get("RescaleIntercept", 0))
        if header.get("ModalityLUTSequence"):
            physical = pydicom.pixels.apply_modality_lut(values, header)
            padding = None
        else:
            physical = values * slope + intercept
        own = self._own_window(number)
        if self._window is not None:
            gray = self._window.apply(physical)
        elif header.get("VOILUTSequence"):
            bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
            looked_up = pydicom.pixels.apply_voi(np.round(physical).astype(np.int64), header)
            gray = np.round(looked_up * (255 / (2**bits - 1))).astype(np.uint8)
        elif own is not None:
            gray = own.apply(physical)
        else:
            gray = full_range(physical, None if padding is None else float(padding) * slope + intercept)
        gray = 255 - gray if self._photometric == "MONOCHROME1" else gray
        return np.repeat(gray[..., None], 3, axis=2)

    def _own_window(self, number: int) -> Window | None:
        """Return the first window that the file has; ``None`` where it has none, or one without a width."""
        said = self._of_frame(number, "FrameVOILUTSequence")
        center, width = (_first(said.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if center is None or width is None:
            return None
        function = str(said.get("VOILUTFunction") or "LINEAR")
        window = Window(float(center), float(width), cast(Any, function))
        if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            raise InputError(
                f"'{self.path}' has a window of the function {escaped(function, most=40)}, which is unknown."
            )
        try:
            window.check()
        except InputError:
            return None
        return window

    def _of_frame(self, number: int, sequence: str) -> Any:
        """Return the data set that has the attributes of a frame: its own group, that of all frames, or the file."""
        groups = self._header.get("PerFrameFunctionalGroupsSequence") or []
        own = [groups[number]] if number < len(groups) else []
        for group in (*own, *(self._header.get("SharedFunctionalGroupsSequence") or [])):
            if group.get(sequence):
                return group[sequence][0]
        return self._header


def _kind(header: Any) -> str:
    uid = header.get("SOPClassUID")
    return escaped(str(getattr(uid, "name", uid)), most=100)


def _first(value: Any) -> Any:
    """Return a value, or the first of several."""
    return (value[0] if len(value) else None) if hasattr(value, "__len__") and not isinstance(value, str) else value


def _positive(value: float) -> float | None:
    return value if math.isfinite(value) and 0 < value < 1e4 else None


def _spacing(said: Any) -> tuple[float, float] | None:
    """Return the distance of rows and of columns; ``None`` where it is not said, or cannot be."""
    spacing = said.get("PixelSpacing")
    if spacing is None or len(spacing) != 2:
        return None
    rows, columns = _positive(float(spacing[0])), _positive(float(spacing[1]))
    return None if rows is None or columns is None else (rows, columns)


def _eight_bits(values: NDArray[Any], header: Any) -> NDArray[np.uint8]:
    """Return a color frame with its highest 8 bits."""
    bits = int(header.get("BitsStored", 8))
    return (values if bits <= 8 else values >> (bits - 8)).astype(np.uint8)
