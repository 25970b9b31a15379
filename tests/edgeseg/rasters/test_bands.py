from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.rasters import BandReader, Bands, open_raster
from edgeseg.spec import ModelSpec


def read(path: Path, bands: Bands, spec: ModelSpec) -> NDArray[np.uint8]:
    with open_raster(path) as raster:
        reader = BandReader(raster, bands, spec)
        part = reader.read(0, 0, *reader.size_hw)
        assert part is not None
        return part


def test_rgb_of_bytes_is_taken_as_it_is(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], tiny_spec: ModelSpec
) -> None:
    assert (read(geotiff(noise), Bands(), tiny_spec) == np.moveaxis(noise, 0, -1)).all()


def test_an_alpha_channel_is_no_band_and_its_zeros_are_without_a_value(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], tiny_spec: ModelSpec
) -> None:
    alpha = np.full((1, 150, 130), 255, np.uint8)
    alpha[:, 40:50] = 0
    image = read(geotiff(np.concatenate([noise, alpha]), photometric="RGB", alpha="YES"), Bands(), tiny_spec)
    assert (image[40:50] == tiny_spec.pad_value).all()
    assert (image[:40] == np.moveaxis(noise, 0, -1)[:40]).all()


def test_bands_are_chosen_and_scaled(geotiff: Callable[..., Path], tiny_spec: ModelSpec) -> None:
    values = np.array([[[0, 500, 1000, 3000]], [[0, 1, 2, 3]], [[9, 9, 9, 9]], [[1000, 2000, 3000, 60000]]], np.uint16)
    path = geotiff(values, nodata=9)
    assert read(path, Bands((4, 1, 1), (0, 2000)), tiny_spec)[0].tolist() == [
        [128, 0, 0],
        [255, 64, 64],
        [255, 128, 128],
        [255, 255, 255],
    ]
    image = read(path, Bands((2, 2, 4), (0, 3, 0, 6, 1000, 3000)), tiny_spec)
    assert image[0, :3].tolist() == [[0, 0, 0], [85, 42, 128], [170, 85, 255]]


def test_floats_without_a_value_get_the_color_of_bars(geotiff: Callable[..., Path], tiny_spec: ModelSpec) -> None:
    values = np.zeros((1, 2, 3), np.float32)
    values[0, 0] = (np.nan, -9999, 0.5)
    path = geotiff(values, nodata=-9999)
    with open_raster(path) as raster:
        reader = BandReader(raster, Bands((1, 1, 1), (0, 1)), tiny_spec)
        assert np.array_equal(reader.valid(0, 0, 2, 3), [[False, False, True], [True, True, True]])  # type: ignore[arg-type]
        assert reader.read(0, 0, 1, 2) is None
        part = reader.read(0, 0, 2, 3)
    assert part is not None
    assert part[0].tolist() == [[128, 128, 128], [128, 128, 128], [128, 128, 128]]  # 0.5 is 128 too
    assert (part[1] == 0).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "bands", "said"),
    [
        ((1, 4, 4), "uint8", Bands(), r"1 band of uint8, and .* give `bands=\(1, 1, 1\)`, or"),
        ((5, 4, 4), "uint8", Bands(), r"5 bands of uint8, .* give `bands=\(1, 2, 3\)`, or"),
        ((3, 4, 4), "uint16", Bands(), r"3 bands of uint16, .* give `bands=\(1, 2, 3\), band_range=\(0, 47\)`"),
        ((4, 4, 4), "int16", Bands((4, 3, 2)), r"give `bands=\(4, 3, 2\), band_range=\(16, 63\)`"),
        ((3, 4, 4), "uint8", Bands((4, 3, 1)), "has no band 4; accepted: 1 to 3"),
    ],
)
def test_what_is_not_rgb_of_bytes_says_what_to_give(
    geotiff: Callable[..., Path], tiny_spec: ModelSpec, shape: Any, dtype: str, bands: Bands, said: str
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    # 2 % and 98 % of the numbers from 0 to 47 are 0.94 and 46.06.
    said = said.replace("(0, 47", "(0.94, 46.06").replace("(16, 63", "(16.94, 62.06").replace(".94", r"\.94")
    with open_raster(geotiff(values)) as raster, pytest.raises(InputError, match=said):
        BandReader(raster, bands, tiny_spec)


def test_the_spec_of_a_model_says_what_nobody_typed(geotiff: Callable[..., Path], tiny_spec: ModelSpec) -> None:
    values = np.array([[[0, 500]], [[0, 1]], [[9, 9]], [[1000, 3000]]], np.uint16)
    path, spec = geotiff(values), tiny_spec.replace(bands=(4, 1, 1), band_range=(0, 2000))
    said = read(path, Bands((4, 1, 1), (0, 2000)), tiny_spec)
    assert (read(path, Bands(), spec) == said).all()
    assert (read(path, Bands((1, 1, 4)), spec) == said[..., ::-1]).all()
    assert read(path, Bands(None, (0, 1000)), spec).tolist() == [[[255, 0, 0], [255, 128, 128]]]
    # Bytes are taken as they are, also by the numbers of the spec alone.
    plain = geotiff(values.astype(np.uint8), photometric="MINISBLACK")
    assert read(plain, Bands(), spec.replace(band_range=None))[0, 1].tolist() == [184, 244, 244]


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("uint16", "has no band 4, which the ModelSpec of 'tiny' asks for; accepted: 1 to 3, and `bands` takes others"),
        (
            "uint8",
            "has values of uint8, and the ModelSpec of 'tiny' says that 3000 is the brightest: give",
        ),
    ],
)
def test_what_a_spec_says_of_another_raster_is_refused(
    geotiff: Callable[..., Path], tiny_spec: ModelSpec, dtype: str, said: str
) -> None:
    path = geotiff(np.zeros((3, 4, 4), dtype))
    spec = tiny_spec.replace(bands=(4, 3, 2) if dtype == "uint16" else (3, 2, 1), band_range=(0, 3000))
    typed = Bands() if dtype == "uint16" else Bands((1, 2, 3))
    with open_raster(path) as raster, pytest.raises(InputError, match=said):
        BandReader(raster, typed, spec)


def test_rgb_of_bytes_is_an_image_where_a_spec_cannot_mean_it(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], tiny_spec: ModelSpec
) -> None:
    image, path = np.moveaxis(noise, 0, -1), geotiff(noise)
    for changes in ({"bands": (4, 3, 2)}, {"band_range": (0, 3000)}, {"bands": (3, 2, 1), "band_range": (0, 3000)}):
        assert (read(path, Bands(), tiny_spec.replace(**changes)) == image).all()
    assert (read(path, Bands(), tiny_spec.replace(bands=(3, 2, 1))) == image[..., ::-1]).all()


def test_bands_and_ranges_that_are_none_are_refused() -> None:
    for wrong in ((1, 2), None), (None, (3.0,)):
        with pytest.raises(InputError, match="must be"):
            Bands(*wrong)
