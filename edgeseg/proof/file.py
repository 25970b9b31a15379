"""Read and write ``MODEL.proof.zip``: images as a model is fed, and what Keras says of them.

A proof travels beside the artifacts of a model to the device that runs them. The archive has ``proof.json``, and for
each image ``images/NN.png`` (RGB, at the model's input size), ``classes/NN.png`` (the class ids that Keras gives) and
``margins/NN.png`` (by how much the best class leads). Nothing in it is executed, and nothing is trusted: sizes, names,
formats and counts are checked before anything is decoded.

The JSON has a version; a changed meaning is a new version and a line here:
1 - the first.
"""

from __future__ import annotations

import dataclasses
import io
import json
import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import write_bytes
from edgeseg._internal.json import FEW, AnyText, Meta, WrongValue, convert, parse
from edgeseg._internal.limits.images import png_size
from edgeseg._internal.text import counted
from edgeseg._internal.zip_entries import read_entry
from edgeseg.choices import Precision
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.proof.margins import decode_margins, encode_margins
from edgeseg.spec import ModelSpec

FORMAT_VERSION = 1

#: Ends the name of a proof, after the model's name.
SUFFIX = ".proof.zip"

#: Most images of a proof, and most bytes of one that is written with more than one image.
MAX_IMAGES = 8
MAX_BYTES = 3 << 20

# Bytes of the largest proof that is read: one image of the largest input, whose PNG may be larger than its pixels.
_MAX_FILE = 1 << 28
_MAX_JSON = 1 << 23
_STORED = zipfile.ZIP_STORED
_MAX_DIRECTORY = 1 << 13  # bytes of the list of entries; zipfile makes an object of each before anyone can count them
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive has: the same proof is the same bytes

_Share = Annotated[float, Meta(ge=0, le=1)]
_Digest = Annotated[str, Meta(max_length=64, pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True, kw_only=True)
class ProofGate:
    """What an artifact of a precision must reach on a device.

    Attributes:
        min_agreement: share of the decided pixels that must have the class that Keras gives, in [0, 1].
        decided_from: a pixel is decided where its margin is at least this, in [0, 1]: what the rounding of the
            precision moves scores by, relative to the largest. Where that would leave less than a quarter of the
            pixels, it is the margin that a quarter of them reach.
    """

    __repr__ = short_repr

    min_agreement: _Share
    decided_from: _Share


@dataclass(frozen=True, kw_only=True)
class ProofImage:
    """An image and the answer of the Keras model.

    Attributes:
        image_rgb: ``(H, W, 3)`` uint8 RGB, at the model's input size, before normalization.
        class_map: ``(h, w)`` uint8 class ids that Keras gives, as large as its output is.
        margins: ``(h, w)`` float32 in [0, 1]: by how much the best score is above the next, over the largest absolute
            score of all images; 0 where Keras itself decides by rounding.
    """

    __repr__ = short_repr

    image_rgb: NDArray[np.uint8]
    class_map: NDArray[np.uint8]
    margins: NDArray[np.float32]

    @cached_property
    def pngs(self) -> Mapping[str, bytes]:
        """The three arrays as they are in an archive, by their folders there; packing them as small takes a while."""
        arrays = {"images": self.image_rgb, "classes": self.class_map, "margins": encode_margins(self.margins)}
        return {part: encode_image(array, smallest=True) for part, array in arrays.items()}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What an artifact must answer, wherever it runs.

    Attributes:
        spec: the ModelSpec of the model, in float32 and the NHWC layout.
        source: where the images came from, for people.
        gates: by precision.
        artifacts: the SHA-256 of each artifact that it was made with, by file name.
        images: 1 to 8 of them.
    """

    __repr__ = short_repr

    spec: ModelSpec
    source: str
    gates: Mapping[Precision, ProofGate]
    images: tuple[ProofImage, ...]
    artifacts: Mapping[str, str] = field(default_factory=dict)

    def of(self, digest: str) -> bool:
        """Return whether the proof was made with the artifact of a SHA-256."""
        return digest in self.artifacts.values()

    def to_bytes(self) -> bytes:
        """Return the archive; the same proof is always the same bytes."""
        packed = io.BytesIO()
        about = {
            "format_version": FORMAT_VERSION,
            "spec": json.loads(self.spec.to_json()),
            "source": self.source,
            "gates": {precision: dataclasses.asdict(gate) for precision, gate in self.gates.items()},
            "artifacts": dict(self.artifacts),
            "images": len(self.images),
        }
        with zipfile.ZipFile(packed, "w", _STORED) as archive:
            archive.writestr(zipfile.ZipInfo("proof.json", _DATE), json.dumps(about, indent=1) + "\n")
            for name, data in self._pngs():
                archive.writestr(zipfile.ZipInfo(name, _DATE), data)
        return packed.getvalue()

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the archive, to a temporary name first.

        Args:
            path: a file, such as ``MODEL.proof.zip`` beside the artifacts of the model.
            overwrite: whether an existing file may be replaced.

        Raises:
            InputError: the file exists, or cannot be written.
        """
        write_bytes(Path(path), self.to_bytes(), overwrite=overwrite)

    def with_artifacts(self, artifacts: Mapping[str, str]) -> Proof:
        """Return the proof with more artifacts; one of the same name is replaced."""
        return dataclasses.replace(self, artifacts={**self.artifacts, **artifacts})

    def asks_the_same(self, other: Proof) -> bool:
        """Return whether another proof has the same images, answers and margins."""
        return [data for _, data in self._pngs()] == [data for _, data in other._pngs()]

    def _pngs(self) -> list[tuple[str, bytes]]:
        """Return the entries of the images."""
        return [
            (f"{part}/{number:02d}.png", data)
            for number, one in enumerate(self.images)
            for part, data in one.pngs.items()
        ]


@dataclass(frozen=True, kw_only=True)
class _About:
    """The entry ``proof.json``, without its version and ModelSpec."""

    gates: Annotated[Mapping[Precision, ProofGate], Meta(min_length=1, max_length=FEW)]
    artifacts: Annotated[Mapping[AnyText, _Digest], Meta(max_length=FEW)]
    images: Annotated[int, Meta(ge=1, le=MAX_IMAGES)]
    source: AnyText = ""


def read_proof(path: str | Path) -> Proof:
    """Read a proof; nothing of it is trusted.

    Args:
        path: of a ``.proof.zip``.

    Raises:
        InputError: it is missing, damaged, no proof, too large, or of a version that this edgeseg cannot read.
    """
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"'{path}' is no regular file; a proof is a MODEL{SUFFIX}, which edgeseg export writes.")
        if about.st_size > _MAX_FILE:
            raise InputError(f"'{path}' has {about.st_size} bytes; a proof of at most {_MAX_FILE} is read.")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"proof '{path}' cannot be read: {error.strerror or error}.") from error
    return proof_of(data, f"'{path}'")


def proof_of(data: bytes, what: str) -> Proof:
    """Read the bytes of a proof, as ``read_proof`` does.

    Args:
        data: of the file.
        what: the file, as the start of a sentence.

    Raises:
        InputError: see ``read_proof``.
    """
    try:
        _check_directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive)
    except WrongValue as error:
        raise InputError(f"{what} is no proof of edgeseg: {error}. Export the model again.") from error
    except InputError as error:
        raise InputError(f"{what} cannot be used: {error}") from error
    except KeyError as error:
        raise InputError(f"{what} is no proof of edgeseg: {error.args[0]}") from error
    # zipfile raises the first where something in the archive is wrong, and the others where it does not know it
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise InputError(f"{what} is no proof of edgeseg, or damaged: {error}. Export the model again.") from error


def _check_directory(data: bytes) -> None:
    """Refuse an archive whose list of entries is longer than a proof's (APPNOTE.TXT 4.3.16)."""
    if len(data) < 42 or data[-22:-18] != b"PK\5\6":
        raise WrongValue("it is no zip archive, or ends early")
    (size,) = struct.unpack_from("<I", data, len(data) - 10)
    if size > _MAX_DIRECTORY or data[-42:-38] == b"PK\6\7":
        raise WrongValue(f"it has more entries than {MAX_IMAGES} images need")


def _read(archive: zipfile.ZipFile) -> Proof:
    names = [entry.filename for entry in archive.infolist()]
    if len(set(names)) < len(names):
        raise WrongValue("it has two files of one name")
    if packed := next((entry for entry in archive.infolist() if entry.compress_type != _STORED), None):
        raise WrongValue(f"'{packed.filename}' is compressed; accepted: files that are stored as they are")
    values = parse(read_entry(archive, "proof.json", _MAX_JSON))
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise InputError(
            f"it has format version {json.dumps(version)[:20]}, this edgeseg reads {FORMAT_VERSION}; update edgeseg, "
            "or export the model again."
        )
    if "spec" not in values:
        raise WrongValue("'spec' is missing")
    spec = ModelSpec.from_json(json.dumps(values.pop("spec")))
    about = convert(values, _About)
    expected = {"proof.json"} | {
        f"{part}/{number:02d}.png" for number in range(about.images) for part in ("images", "classes", "margins")
    }
    if odd := set(names) ^ expected:
        raise WrongValue(
            f"its {counted(len(names), 'file')} are not proof.json and three PNGs for each of {about.images} images: "
            f"{min(odd)!r}"
        )
    return Proof(
        spec=spec,
        source=about.source,
        gates=about.gates,
        artifacts=about.artifacts,
        images=tuple(_image(archive, number, spec) for number in range(about.images)),
    )


def _image(archive: zipfile.ZipFile, number: int, spec: ModelSpec) -> ProofImage:
    height, width = spec.input_size
    image = _png(archive, f"images/{number:02d}.png", [(height, width)], cv2.IMREAD_COLOR_RGB)
    # Of a model whose output is smaller, such as SegNet's: up to a thirty-second of the side.
    name = f"classes/{number:02d}.png"
    class_map = _png(archive, name, None, cv2.IMREAD_GRAYSCALE, most=(height, width))
    margins = _png(archive, f"margins/{number:02d}.png", [class_map.shape[:2]], cv2.IMREAD_GRAYSCALE)
    if class_map.max() >= spec.num_classes:
        raise WrongValue(f"'{name}' has class {class_map.max()} of {counted(spec.num_classes, 'class')}")
    return ProofImage(image_rgb=image, class_map=class_map, margins=decode_margins(margins))


def _png(
    archive: zipfile.ZipFile,
    name: str,
    sizes: Sequence[tuple[int, ...]] | None,
    flags: int,
    *,
    most: tuple[int, int] = (0, 0),
) -> NDArray[Any]:
    """Decode a PNG after its header was found to claim an accepted size ``(H, W)``."""
    data = read_entry(archive, name, _MAX_FILE)
    size = png_size(data)
    if size is None:
        raise WrongValue(f"'{name}' is no PNG, or damaged")
    width, height = size
    if sizes is None:
        fits = 0 < height <= most[0] and 0 < width <= most[1]
        accepted = f"up to {most[0]},{most[1]}"
    else:
        fits, accepted = (height, width) in sizes, " or ".join(f"{side[0]},{side[1]}" for side in sizes)
    if not fits:
        raise WrongValue(f"'{name}' claims {height},{width} (H,W); accepted: {accepted}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint8:
        raise WrongValue(f"'{name}' does not decode")
    return image
