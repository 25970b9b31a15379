"""``edgeseg.rasters.whole`` and ``jpeg2000``; and ``geotiff`` of pages, planes and palettes: rasters as images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.polygons.georeference import Georeference
from edgeseg.rasters import Bands, RasterImages, open_raster
from edgeseg.rasters.jpeg2000 import Jpeg2000
from edgeseg.spec import ModelSpec

tifffile = pytest.importorskip("tifffile")


def whole(path: Path) -> NDArray[Any]:
    with open_raster(path) as raster:
        return raster.read(range(1, raster.num_bands + 1), 0, 0, *raster.size_hw)


def test_a_raster_is_an_image_of_its_bands_with_its_place(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], tiny_spec: ModelSpec
) -> None:
    path = geotiff(noise.astype(np.uint16) * 10)
    frame = RasterImages(Bands((3, 2, 1), (0, 2550)), tiny_spec, placed=True)(path)
    assert (frame.image_rgb == np.moveaxis(noise[::-1], 0, -1)).all()
    assert frame.georeference == Georeference((10, 0, 6e5, 0, -10, 5.4e6), "EPSG:32632")
    assert (frame.name, frame.path) == ("scene", path)
    by_spec = RasterImages(Bands(), tiny_spec.replace(bands=(3, 2, 1), band_range=(0, 2550)))(path)
    assert (by_spec.image_rgb == frame.image_rgb).all()
    assert by_spec.georeference is None  # nobody asked
    with pytest.raises(InputError, match=r"has 3 bands of uint16, .* give `bands=\(1, 2, 3\), band_range="):
        RasterImages(Bands(), tiny_spec)(path)
    # Without a word about bands it is any other image: of RGB the highest 8 bits of 16, which OpenCV rounds.
    path = geotiff(noise.astype(np.uint16) * 10, photometric="RGB")
    highest = np.moveaxis(noise.astype(np.uint16) * 10 >> 8, 0, -1)
    assert np.abs(RasterImages(Bands(), tiny_spec)(path).image_rgb.astype(int) - highest).max() <= 1


def test_what_is_too_large_or_empty_as_a_whole_is_refused(
    geotiff: Callable[..., Path], tiny_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = geotiff(np.zeros((1, 64, 64), np.uint8), nodata=0)
    read = RasterImages(Bands((1, 1, 1)), tiny_spec)
    with pytest.raises(InputError, match="has no pixel with a value"):
        read(path)
    monkeypatch.setenv("EDGESEG_MAX_IMAGE_PIXELS", "4000")
    with pytest.raises(InputError, match="has 64 x 64 pixels, more than 4000; by windows it has no limit"):
        read(path)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 48)},
        {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}},
        {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}, "tile": (64, 48)},
        {"imagej": True, "metadata": {"axes": "CYX"}},
    ],
)
def test_planes_and_channels_on_pages_are_bands(
    tmp_path: Path, noise: NDArray[np.uint8], tiny_spec: ModelSpec, options: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", noise, **options)
    assert (RasterImages(Bands(), tiny_spec)(tmp_path / "a.ome.tif").image_rgb == np.moveaxis(noise, 0, -1)).all()
    with open_raster(tmp_path / "a.ome.tif") as raster:
        assert (raster.num_bands, raster.has_gaps) == (3, False)
        assert (raster.read((3, 1), 60, 30, 20, 100) == np.moveaxis(noise[[2, 0], 60:80, 30:130], 0, -1)).all()
        assert raster.valid((1, 3), 0, 0, 2, 3).all()


def test_slices_on_pages_are_refused(tmp_path: Path, noise: NDArray[np.uint8]) -> None:
    for name in ("a.tif", "a.svs"):
        tifffile.imwrite(tmp_path / name, noise, photometric="minisblack", tile=(64, 48))
        with pytest.raises(InputError, match="has 3 pages of one size"), open_raster(tmp_path / name):
            pass


def test_a_palette_is_red_green_and_blue(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 1]], np.uint8)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, height=2, width=2, dtype="uint8") as file:
        file.write(ids, 1)
        file.write_colormap(1, {0: (1, 2, 3), 1: (40, 50, 60), 2: (255, 0, 9)})
    assert whole(tmp_path / "a.tif").tolist() == [[[1, 2, 3], [40, 50, 60]], [[255, 0, 9], [40, 50, 60]]]


def test_tiles_of_jpeg_2000_are_read_by_tifffile(tmp_path: Path, noise: NDArray[np.uint8]) -> None:
    pytest.importorskip("imagecodecs")
    image = np.moveaxis(noise, 0, -1).copy()
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression="jpeg2000", tile=(64, 64))
    assert (whole(tmp_path / "a.tif") == image).all()  # without loss
    keys = [(34735, "H", 4, (1, 1, 0, 0), True)]  # GeoKeyDirectoryTag
    options = {"photometric": "rgb", "compression": "jpeg2000", "tile": (64, 64), "extratags": keys}
    tifffile.imwrite(tmp_path / "placed.tif", image, **options)
    refused = pytest.raises(InputError, match="has tiles of JPEG 2000 and a place on Earth")
    with refused, open_raster(tmp_path / "placed.tif"):
        pass


def test_jpeg_2000_is_read_with_its_place_or_refused(
    tmp_path: Path, noise: NDArray[np.uint8], tiny_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rasterio.Env() as environment:
        if Jpeg2000.driver not in environment.drivers():
            pytest.skip("this GDAL has no JPEG 2000")
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5.4e6)}
    size = {"count": 3, "height": 150, "width": 130, "dtype": "uint16"}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"}
    with rasterio.open(tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", **place, **size, **lossless) as file:
        file.write(noise.astype(np.uint16) * 10)
    frame = RasterImages(Bands((1, 2, 3), (0, 2550)), tiny_spec, placed=True)(tmp_path / "a.jp2")
    assert (frame.image_rgb == np.moveaxis(noise, 0, -1)).all()
    assert frame.georeference == Georeference((10, 0, 6e5, 0, -10, 5.4e6), "EPSG:32632")
    (tmp_path / "b.jp2").write_bytes((tmp_path / "a.jp2").read_bytes()[:300])
    with pytest.raises(InputError, match="JPEG 2000"):
        whole(tmp_path / "b.jp2")
    monkeypatch.setattr(Jpeg2000, "driver", "JP2None")
    with pytest.raises(InputError, match="which the GDAL of this rasterio does not read; make a GeoTIFF"):
        whole(tmp_path / "a.jp2")
