from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.rasters import open_raster

tifffile = pytest.importorskip("tifffile")


def write(path: Path, image: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 48), **options)
    return path


def image_of(noise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(noise, 0, -1))


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_slide_is_read_tile_by_tile(tmp_path: Path, noise: NDArray[np.uint8], compression: str | None) -> None:
    image = image_of(noise)
    with open_raster(write(tmp_path / "a.svs", image, compression=compression)) as raster:
        assert (raster.size_hw, raster.num_bands, raster.georeference) == ((150, 130), 3, None)
        for top, left, height, width in ((0, 0, 150, 130), (63, 47, 2, 2), (70, 50, 80, 80), (149, 129, 1, 1)):
            part = raster.read((3, 2, 1), top, left, height, width)
            assert (part == image[top : top + height, left : left + width, ::-1]).all()


def test_a_slide_of_jpegs_is_decoded(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    image = np.full((100, 100, 3), (200, 60, 90), np.uint8)
    with open_raster(write(tmp_path / "a.svs", image, compression="jpeg")) as raster:
        # One color is what the lossy JPEG keeps, up to the rounding of its two color transforms.
        assert np.abs(raster.read((1, 2, 3), 10, 10, 80, 80).astype(int) - (200, 60, 90)).max() <= 2


def test_what_is_in_strips_or_in_planes_says_what_to_do(tmp_path: Path, noise: NDArray[np.uint8]) -> None:
    tifffile.imwrite(tmp_path / "strips.svs", image_of(noise), photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.svs", noise, photometric="rgb", planarconfig="separate", tile=(64, 48))
    for name in ("strips", "planes"):
        refused = pytest.raises(InputError, match="is no slide: its first image must be in tiles")
        with refused, open_raster(tmp_path / f"{name}.svs"):
            pass


@pytest.mark.parametrize("at", [0.3, 0.6, 0.95])
def test_a_damaged_slide_is_refused(tmp_path: Path, noise: NDArray[np.uint8], at: float) -> None:
    path = write(tmp_path / "a.svs", image_of(noise), compression="deflate")
    data = bytearray(path.read_bytes())
    place = int(len(data) * at)
    data[place : place + 400] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as a slide"), open_raster(path) as raster:
        raster.read((1, 2, 3), 0, 0, 150, 130)


def test_openslide_reads_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    image = np.full((128, 128, 3), (200, 60, 90), np.uint8)
    path = write(tmp_path / "a.svslide", image, compression="deflate", metadata=None)
    with open_raster(path) as raster:
        assert (raster.size_hw, raster.num_bands) == ((128, 128), 3)
        assert (raster.read((3, 2, 1), 60, 60, 68, 68) == (90, 60, 200)).all()
        assert raster.valid((1,), 0, 0, 128, 128).all()
    (tmp_path / "b.mrxs").write_bytes(b"no slide")
    with pytest.raises(InputError, match="cannot be read by OpenSlide"), open_raster(tmp_path / "b.mrxs"):
        pass


def test_without_openslide_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openslide":
            raise ModuleNotFoundError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    (tmp_path / "a.mrxs").touch()
    refused = pytest.raises(BackendUnavailable, match="pip install openslide-python openslide-bin")
    with refused, open_raster(tmp_path / "a.mrxs"):
        pass
