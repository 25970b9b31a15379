"""``images``, and with it ``imaging`` and the labels of ``datasets``, on headers that claim too much."""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeseg._internal.limits.images import VARIABLE, check_image_size, image_size
from edgeseg.choices import LabelEncoding
from edgeseg.datasets.classes import Classes
from edgeseg.datasets.faults import BadExample
from edgeseg.datasets.labels import read_ids
from edgeseg.errors import InputError
from edgeseg.imaging import read_image, read_image_bgr

GRAY = Image.fromarray(np.zeros((7, 300), np.uint8))


def encoded(kind: str, image: Image.Image = GRAY, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)  # type: ignore[arg-type]
    return data.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A whole PNG of few bytes: its rows are missing, its header and checksums are right."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


IMAGES = {
    "png": encoded("PNG"),
    "jpeg": encoded("JPEG"),
    "progressive jpeg with a comment": encoded("JPEG", progressive=True, comment=b"\xff\xc0\0\x11\x08" * 9),
    "bmp": encoded("BMP"),
    "bmp from the top": encoded("BMP")[:22] + struct.pack("<i", -7) + encoded("BMP")[26:],
    "tiff": encoded("TIFF"),
    "big-endian tiff": cv2.imencode(".tiff", np.zeros((7, 300), np.uint8))[1].tobytes(),
    "big tiff": encoded("TIFF", big_tiff=True),
    "webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "webp with a profile": encoded("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "gif": encoded("GIF"),
}


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES.keys())
def test_the_size_is_read_from_the_header_of_every_format(data: bytes) -> None:
    assert image_size(data) == (300, 7)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (7, 300, 3)


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES.keys())
def test_a_header_that_is_cut_off_or_damaged_is_an_input_error_or_none(data: bytes) -> None:
    rng = np.random.default_rng(0)
    for length in range(min(len(data), 120)):
        damaged = bytearray(data)
        damaged[length] = rng.integers(256)
        for attempt in (data[:length], bytes(damaged)):
            with suppress(InputError):
                check_image_size("a.png", attempt)


def test_an_image_that_claims_too_much_is_refused_before_it_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_claims(30_000, 30_000))
    said = r"bomb\.png' claims 30000 x 30000 pixels, more than 200000000; `EDGESEG_MAX_IMAGE_PIXELS` sets"
    classes = Classes(names=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), ignore_index=None)
    tracemalloc.start()  # it sees numpy's and Python's memory, and Pillow's since 11.1
    for read in (read_image, read_image_bgr):
        with pytest.raises(InputError, match=said):
            read(path)
    encodings: tuple[LabelEncoding, ...] = ("ids", "colors", "binary")
    for encoding in encodings:
        with pytest.raises(BadExample, match=said):
            read_ids(path, classes, encoding)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    monkeypatch.setenv(VARIABLE, str(10**9))
    with pytest.raises(InputError, match="does not decode"):  # it is looked at, and has no rows
        path.write_bytes(png_that_claims(3_000, 3))
        read_image(path)


def test_the_variable_is_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(IMAGES["png"])
    monkeypatch.setenv(VARIABLE, "2100")
    assert read_image(tmp_path / "a.png").shape == (7, 300, 3)
    monkeypatch.setenv(VARIABLE, "2099")
    with pytest.raises(InputError, match="claims 300 x 7 pixels, more than 2099"):
        read_image(tmp_path / "a.png")
    for wrong in ("many", "0", "-1", "1e9", "9" * 5000, "²"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InputError, match=f"{VARIABLE} must be a number of pixels above 0"):
            read_image(tmp_path / "a.png")


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_pipes_sockets_and_devices_are_no_images_and_nothing_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the name of a socket may have 107 bytes
        listener.bind("socket.png")
        for path in (tmp_path / "pipe.png", tmp_path / "socket.png", Path("/dev/zero")):
            with pytest.raises(InputError, match="is a pipe, a socket or a device, not an image file"):
                read_image(path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(1 << 40)  # a hole, which takes no room
    with pytest.raises(InputError, match="has 1099511627776 bytes, more than any image of 200000000 pixels"):
        read_image(tmp_path / "sparse.png")


def test_other_formats_are_not_decoded(tmp_path: Path) -> None:
    """Their headers are not read here, so that their decoders are not reached."""
    path = tmp_path / "a.png"
    path.write_bytes(cv2.imencode(".hdr", np.zeros((4, 4, 3), np.float32))[1].tobytes())
    assert cv2.imread(str(path)) is not None
    with pytest.raises(InputError, match=r"does not decode as an image; .* Accepted: BMP, GIF, JPEG, JPEG 2000, PNG"):
        read_image(path)


def test_a_chunk_of_a_png_that_claims_gigabytes_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + struct.pack(">I", 4177526793) + data[at + 4 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="does not decode as an image; it may be truncated"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # in KiB; OpenCV takes 4 GB
