"""``edgeseg.rasters.geotiff``, ``base`` and ``opening``: which files are read, and what a class map has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.polygons.georeference import Georeference
from edgeseg.rasters import base, open_raster
from edgeseg.rasters.geotiff import write_class_map
from edgeseg.spec import ModelSpec


def test_parts_are_read_with_their_place(geotiff: Callable[..., Path], noise: NDArray[np.uint8]) -> None:
    with open_raster(geotiff(noise, compress="deflate")) as raster:
        assert (raster.size_hw, raster.num_bands, raster.dtype, raster.has_gaps) == ((150, 130), 3, "uint8", False)
        part = raster.read((3, 1), 60, 30, 20, 100)
        assert (part == np.moveaxis(noise[[2, 0], 60:80, 30:130], 0, -1)).all()
        assert raster.georeference == Georeference((10.0, 0.0, 600000.0, 0.0, -10.0, 5400000.0), "EPSG:32632")
        assert raster.valid((1,), 0, 0, 2, 3).all()


def test_a_file_without_a_place_has_none(geotiff: Callable[..., Path], noise: NDArray[np.uint8]) -> None:
    with open_raster(geotiff(noise, crs=None, transform=None, tiled=False)) as raster:
        assert raster.georeference is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tif", b"", "cannot be read as a GeoTIFF"),
        ("a.tif", b"II*\0\x08\0\0\0", "cannot be read as a GeoTIFF"),
        ("a.tif", b"<VRTDataset rasterXSize='1' rasterYSize='1'/>", "cannot be read as a GeoTIFF: .*not recognized"),
        ("a.svs", b"no slide", "cannot be read as a slide"),
        ("a.png", b"", r"'.*a.png' cannot be read by windows; accepted: \.bif, \.btf"),
        ("missing.tif", None, "does not exist"),
        ("folder.tif", ..., "is no regular file"),
    ],
)
def test_what_is_no_raster_is_refused(tmp_path: Path, name: str, content: Any, said: str) -> None:
    if content is ...:
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said), open_raster(tmp_path / name):
        pass


def test_a_truncated_file_is_refused_where_it_ends(geotiff: Callable[..., Path], noise: NDArray[np.uint8]) -> None:
    path = geotiff(noise)
    path.write_bytes(path.read_bytes()[:-30_000])
    with open_raster(path) as raster:
        raster.read((1,), 0, 0, 10, 10)
        with pytest.raises(InputError, match="cannot be read as a GeoTIFF"):
            raster.read((1, 2, 3), 100, 0, 50, 130)


@pytest.mark.parametrize(
    ("profile", "dtype", "said"),
    [
        ({}, "complex64", "has values of complex64; accepted: uint8, int8"),
        ({"blockxsize": 128, "blockysize": 128, "interleave": "pixel"}, "float64", "393216 bytes.*a tiled copy"),
        ({}, "uint8", "claims 130 x 150 pixels; accepted: 1 to 140 a side"),
    ],
)
def test_what_would_fill_the_memory_is_refused(
    geotiff: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, profile: Any, dtype: str, said: str
) -> None:
    path = geotiff(np.zeros((3, 150, 130), dtype), **profile)
    monkeypatch.setattr(base, "MAX_BLOCK_BYTES", 300_000)
    if dtype == "uint8":
        monkeypatch.setattr(base, "MAX_SIDE", 140)
    with pytest.raises(InputError, match=said), open_raster(path):
        pass


def test_a_class_map_is_a_cog_with_palette_and_names(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    classes = np.random.default_rng(0).integers(0, 3, (700, 600), np.uint8)
    classes[:20] = 255
    place = Georeference((10, 0, 6e5, 0, -10, 5.4e6), "EPSG:32632")
    path = tmp_path / "classes.tif"

    def write(**options: Any) -> None:
        parts = iter((classes[:300], classes[300:]))
        write_class_map(path, parts, (700, 600), tiny_spec, georeference=place, nodata=255, **options)

    write()
    with rasterio.open(path) as file:
        assert (file.read(1) == classes).all()
        assert (file.crs.to_epsg(), file.transform[:6], file.nodata) == (32632, place.transform, 255)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2]
        assert {index: file.colormap(1)[index][:3] for index in range(3)} == dict(enumerate(tiny_spec.palette))
        assert json.loads(file.tags()["classes"]) == list(tiny_spec.class_names)
    with pytest.raises(InputError, match="exists"):
        write()
    write(overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == ["classes.tif"]
