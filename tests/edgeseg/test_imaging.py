from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from edgeseg.choices import Fit, Resize
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image, letterbox, normalize, preprocess, read_image, restore
from edgeseg.spec import ModelSpec


@pytest.fixture
def photo() -> np.ndarray:
    """``(20, 30, 3)`` uint8 RGB, smooth, red in the top left quarter."""
    image = np.full((20, 30, 3), (20, 90, 160), np.uint8)
    image[:10, :15] = (230, 20, 10)
    return image


def png(width: int, height: int, bit_depth: int, rows: bytes) -> bytes:
    """A gray PNG of any bit depth, which OpenCV does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_encode_and_read_are_exact_and_rgb(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_bytes(encode_image(photo, suffix))
    assert (read_image(path) == photo).all()


def test_a_jpeg_is_rgb(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "p.jpg").write_bytes(encode_image(photo, ".jpg"))
    # Away from the edges JPEG moves flat colors by a few steps of 255; swapped channels would move them by 200.
    assert np.abs(read_image(tmp_path / "p.jpg")[4, 4].astype(int) - photo[4, 4]).max() < 12


def test_alpha_and_gray_are_encoded_as_they_are(tmp_path: Path, photo: np.ndarray) -> None:
    rgba = np.dstack([photo, np.full((20, 30), 77, np.uint8)])
    decoded = cv2.imdecode(np.frombuffer(encode_image(rgba), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (decoded == rgba[..., [2, 1, 0, 3]]).all()
    (tmp_path / "label.png").write_bytes(encode_image(photo[..., 0]))
    assert (cv2.imread(str(tmp_path / "label.png"), cv2.IMREAD_UNCHANGED) == photo[..., 0]).all()
    assert read_image(tmp_path / "label.png").shape == (20, 30, 3)


def test_a_suffix_that_cannot_be_written_is_an_input_error(photo: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"'\.xyz'; accepted: .*\.png"):
        encode_image(photo, ".xyz")


def test_a_jpeg_is_turned_as_its_exif_says(tmp_path: Path, photo: np.ndarray) -> None:
    # One IFD entry: tag 0x0112 (orientation), type SHORT, count 1, value 6 (turn 90 degrees clockwise to see it).
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\x00" * 4
    exif = b"Exif\x00\x00" + tiff
    jpeg = encode_image(photo, ".jpg")
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    (tmp_path / "turned.jpg").write_bytes(data)
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == (30, 20, 3)
    assert image[4, 15, 0] > 180  # red went from the top left to the top right
    assert image[4, 4, 0] < 80


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_image_is_an_input_error(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encode_image(noise, suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=r"cut.*truncated"):
        read_image(path)


def test_what_is_no_image_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "huge.png").write_bytes(png(100_000, 100_000, 8, b"\x00"))  # a header of 10 gigapixels
    for name, said in (("text.png", "does not decode"), ("huge.png", "claims 100000 x"), ("gone.png", "not exist")):
        with pytest.raises(InputError, match=f"{name}.*{said}"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((32, 48), (0, 0, 32, 48)),  # as it is
        ((64, 96), (0, 0, 32, 48)),  # the same aspect ratio: no bars
        ((20, 20), (0, 8, 32, 32)),  # square: bars left and right
        ((10, 48), (11, 0, 10, 48)),  # wide: bars above and below
        ((31, 48), (0, 0, 31, 48)),  # one row left over: it goes below
        ((1, 500), (15, 0, 1, 48)),  # so thin that it would vanish
        ((500, 1), (0, 23, 32, 1)),
    ],
)
def test_letterbox_keeps_the_ratio_and_centers(
    tiny_spec: ModelSpec, size: tuple[int, int], inside: tuple[int, int, int, int]
) -> None:
    spec = tiny_spec.replace(pad_value=(1, 2, 3))
    image = np.full((*size, 3), (200, 100, 50), np.uint8)
    fitted, p = letterbox(image, spec)
    assert fitted.shape == (32, 48, 3)
    assert (p.top, p.left, p.height, p.width) == inside
    assert p.original_hw == size
    is_image = np.zeros((32, 48), bool)
    is_image[p.top : p.top + p.height, p.left : p.left + p.width] = True
    assert (fitted[is_image] == (200, 100, 50)).all()
    assert (fitted[~is_image] == (1, 2, 3)).all()


@pytest.mark.parametrize("resize", get_args(Resize))
def test_stretch_fills_the_input(tiny_spec: ModelSpec, resize: Resize) -> None:
    image = np.full((7, 91, 3), 33, np.uint8)
    fitted, p = letterbox(image, tiny_spec.replace(fit="stretch", resize=resize))
    assert (fitted == 33).all()
    assert (p.top, p.left, p.height, p.width) == (0, 0, 32, 48)


def test_letterbox_does_not_change_the_image_it_was_given(tiny_spec: ModelSpec, photo: np.ndarray) -> None:
    before = photo.copy()
    photo.flags.writeable = False
    for resize in get_args(Resize):
        preprocess(photo, tiny_spec.replace(resize=resize))
    assert (photo == before).all()


def test_normalize_by_hand(tiny_spec: ModelSpec) -> None:
    pixel = np.array([[[0, 100, 255]]], np.uint8)
    spec = tiny_spec.replace(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    assert normalize(pixel, spec).dtype == np.float32
    assert normalize(pixel, spec).tolist() == [[[-5.0, 20.0, 45.0]]]
    # Mean and std are in the order of the model's channels: blue, green, red.
    assert normalize(pixel, spec.replace(color_order="bgr")).tolist() == [[[122.5, 20.0, -6.0]]]


def test_preprocess_obeys_layout_dtype_and_color_order(tiny_spec: ModelSpec) -> None:
    image = np.full((32, 48, 3), (0, 100, 255), np.uint8)
    nhwc, _ = preprocess(image, tiny_spec)
    assert (nhwc.shape, nhwc.dtype) == ((1, 32, 48, 3), np.float32)
    nchw, _ = preprocess(image, tiny_spec.replace(layout="nchw"))
    assert nchw.shape == (1, 3, 32, 48)
    assert nchw.flags.c_contiguous
    assert (nchw.transpose(0, 2, 3, 1) == nhwc).all()
    as_bytes, _ = preprocess(image, tiny_spec.replace(dtype="uint8", color_order="bgr"))
    assert as_bytes.dtype == np.uint8
    assert as_bytes[0, 0, 0].tolist() == [255, 100, 0]
    assert as_bytes.flags.c_contiguous


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (37, 53), (32, 48), (720, 1280)])
def test_restore_gives_the_images_own_size_and_no_bar(tiny_spec: ModelSpec, size: tuple[int, int], fit: Fit) -> None:
    spec = tiny_spec.replace(fit=fit)
    _, p = letterbox(np.zeros((*size, 3), np.uint8), spec)
    class_map = np.full((32, 48), 9, np.uint8)  # 9 in the bars
    class_map[p.top : p.top + p.height, p.left : p.left + p.width] = 4
    restored = restore(class_map, p)
    assert restored.shape == size
    assert restored.dtype == np.uint8
    assert (restored == 4).all()


@pytest.mark.parametrize("size", [(101, 151), (23, 35)])
def test_restore_does_not_shift(tiny_spec: ModelSpec, size: tuple[int, int]) -> None:
    """A map that is its own mirror image stays so; OpenCV's plain nearest neighbor rounds down and would not."""
    _, p = letterbox(np.zeros((*size, 3), np.uint8), tiny_spec.replace(fit="stretch"))
    quarter = np.random.default_rng(0).integers(0, 9, (16, 24), dtype=np.uint8)
    half = np.hstack([quarter, quarter[:, ::-1]])
    restored = restore(np.vstack([half, half[::-1]]), p)
    assert restored.shape == size
    assert (restored == restored[::-1]).all()
    assert (restored == restored[:, ::-1]).all()
