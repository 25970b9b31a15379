from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.rasters import Bands, open_raster, segment_raster
from edgeseg.segmenter import Segmenter
from edgeseg.spec import default_class_names, default_palette


def test_a_raster_becomes_the_class_map_of_its_pixels(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], colors: Segmenter, tmp_path: Path
) -> None:
    noise[:, 30:40, 20:30] = 0
    done: list[tuple[int, int]] = []
    with open_raster(geotiff(noise, nodata=0)) as raster:
        result = segment_raster(
            colors, raster, tmp_path / "out.tif", overlap=8, progress=lambda *rows: done.append(rows)
        )
        with pytest.raises(InputError, match="exists"):
            segment_raster(colors, raster, tmp_path / "out.tif")
    expected = noise.argmax(0)
    # The blank ones, and what the noise has black: a pixel is without a value where all bands are.
    expected[(noise == 0).all(0)] = 255
    with rasterio.open(tmp_path / "scene.tif") as source, rasterio.open(result.path) as file:
        assert (file.read(1) == expected).all()
        assert (file.crs, file.transform, file.nodata) == (source.crs, source.transform, 255)
    assert result.num_blank == (expected == 255).sum() >= 100
    assert sum(result.counts.values()) + result.num_blank == 150 * 130
    assert done[-1] == (150, 150)
    assert (done[0][0], result.first_row) == (24, 0)


def test_a_run_that_was_broken_off_goes_on(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], colors: Segmenter, tmp_path: Path
) -> None:
    class Broken(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Broken

    with open_raster(geotiff(noise)) as raster:
        with pytest.raises(Broken):
            segment_raster(colors, raster, tmp_path / "out.tif", overlap=24, progress=stop)
        with pytest.raises(InputError, match="another overlap or bands"):
            segment_raster(colors, raster, tmp_path / "out.tif", overlap=8)
        with pytest.raises(InputError, match="another overlap or bands"):
            segment_raster(colors, raster, tmp_path / "out.tif", overlap=24, bands=Bands((3, 2, 1)))
        ran: list[int] = []
        result = segment_raster(
            colors, raster, tmp_path / "out.tif", overlap=24, progress=lambda done, _: ran.append(done)
        )
    assert result.first_row == 80
    assert ran[0] > 80
    with rasterio.open(result.path) as file:
        assert (file.read(1) == noise.argmax(0)).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "scene.tif"]


def test_what_has_no_room_is_refused_before_the_first_window(
    geotiff: Callable[..., Path], noise: NDArray[np.uint8], colors: Segmenter, tmp_path: Path
) -> None:
    with open_raster(geotiff(noise, nodata=0)) as raster:
        with pytest.raises(InputError, match=r"must end in \.tif"):
            segment_raster(colors, raster, tmp_path / "out.png")
        full = colors.spec.replace(
            class_names=default_class_names(256), palette=default_palette(256), output_kind="argmax"
        )
        with pytest.raises(InputError, match="256 classes leave no id"):
            segment_raster(Segmenter(colors.backend, spec=full), raster, tmp_path / "out.tif")
        raster.size_hw = (150, 1_000_000)
        many = colors.spec.replace(class_names=default_class_names(250), palette=default_palette(250))
        with pytest.raises(InputError, match=r"so wide that 8\d{9} bytes .* Give a smaller `overlap`"):
            segment_raster(Segmenter(colors.backend, spec=many), raster, tmp_path / "out.tif", overlap=8)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]
