"""Rasters that rasterio and tifffile write, and a segmenter whose classes are the colors of pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec

rasterio = pytest.importorskip("rasterio")

#: Of Sentinel-2 tile 32UPU: meters in UTM zone 32.
CRS, TRANSFORM = "EPSG:32632", (10.0, 0.0, 600000.0, 0.0, -10.0, 5400000.0)


class ColorBackend(NullBackend):
    """Gives the channels as logits: a pixel's class is its brightest channel."""

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        super().run(image)
        return image


@pytest.fixture
def colors(tiny_spec: ModelSpec) -> Segmenter:
    return Segmenter(ColorBackend(tiny_spec.replace(receptive_radius=(0, 0)), np.zeros((1, 32, 48, 3), np.float32)))


@pytest.fixture
def geotiff(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes bands ``(n, h, w)`` as a GeoTIFF in UTM."""

    def write(bands: NDArray[Any], name: str = "scene.tif", **profile: Any) -> Path:
        count, height, width = bands.shape
        place = {"crs": CRS, "transform": rasterio.Affine(*TRANSFORM)}
        size = {"count": count, "height": height, "width": width, "dtype": bands.dtype.name}
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        with rasterio.open(tmp_path / name, "w", driver="GTiff", **{**place, **size, **tiles, **profile}) as file:
            file.write(bands)
        return tmp_path / name

    return write


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    """RGB of 150 x 130 pixels, ``(3, 150, 130)``."""
    return np.random.default_rng(7).integers(0, 256, (3, 150, 130), np.uint8)
