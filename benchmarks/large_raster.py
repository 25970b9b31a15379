"""Segment a COG of 20,000 x 20,000 pixels, kill the command in the middle, let it go on, and look at the result.

    python benchmarks/large_raster.py ARTIFACT IMAGE FOLDER --output benchmarks/results/NAME.json

FOLDER gets ``scene.tif``, unless it is there: IMAGE many times, a third of it without a value, in UTM. The command is
``edgeseg predict ARTIFACT scene.tif --tiles --save classes.tif``, where ARTIFACT ``convolution`` is a file of one 3x3
convolution to four classes, at 1024x1024, which is made: once until a third of the rows are done and kill -9,
and once to its end. What is recorded: the seconds of both, the most memory that a process had resident
(``VmHWM``), whether the class map has the place of the scene, and whether the first rows after those of the killed run
are those that are computed by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from _shared import environment, write_json
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from rasterio.windows import Window

from edgeseg.imaging import read_image
from edgeseg.rasters import BandReader, Bands, open_raster
from edgeseg.segmenter import Segmenter
from edgeseg.spec import METADATA_KEY, ModelSpec, default_class_names, default_palette

CRS, TRANSFORM = "EPSG:32632", rasterio.Affine(0.5, 0, 6e5, 0, -0.5, 5.4e6)


def write_scene(path: Path, image: NDArray[np.uint8], side: int) -> None:
    """Write a COG of an image many times, whose right third has no value, which is 0."""
    across = np.tile(np.maximum(image, 1), (1, side // image.shape[1] + 1, 1))[:, :side]
    across[:, 2 * side // 3 :] = 0
    part = np.moveaxis(across, 2, 0)
    tiled = path.with_name("scene.tiled.tif")
    size = {"height": side, "width": side, "count": 3, "dtype": "uint8", "nodata": 0}
    options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}
    with rasterio.open(tiled, "w", driver="GTiff", crs=CRS, transform=TRANSFORM, **size, **options) as file:
        for top in range(0, side, len(image)):
            rows = min(len(image), side - top)
            file.write(part[:, :rows], window=Window(0, top, side, rows))
    rasterio.shutil.copy(tiled, path, driver="COG", compress="deflate", level=1)
    tiled.unlink()


def write_convolution(path: Path) -> Path:
    """Write an ONNX file of one seeded convolution; what it costs to read and write is then what is measured."""
    spec = ModelSpec(
        name="convolution",
        input_size=(1024, 1024),
        class_names=default_class_names(4),
        palette=default_palette(4),
        layout="nchw",
        receptive_radius=(1, 1),
    )
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["image", "kernel"], ["logits"], pads=[1, 1, 1, 1])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 1024, 1024])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 1024, 1024])
    graph = helper.make_graph([node], "convolution", [image], [logits], [numpy_helper.from_array(kernel, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def run(command: list[str], journal: Path, stop_at: int | None) -> dict[str, Any]:
    """Run the command, and kill it where its journal has that many rows; return time, memory and how it ended."""
    start, peak_kb, rows, bands = time.perf_counter(), 0, 0, 0
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            time.sleep(0.2)
            try:
                status = Path(f"/proc/{child.pid}/status").read_text()
                peak_kb = max(peak_kb, *(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0)
                done = json.loads(journal.read_text())
                rows, bands = done["rows"], done["bands"]
            except (OSError, ValueError):
                pass
            if stop_at is not None and rows >= stop_at:
                os.kill(child.pid, signal.SIGKILL)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": peak_kb / 1000, "rows": rows, "bands": bands, "exit": child.returncode}


def same_rows(artifact: Path, scene: Path, file: Any, bands: int) -> bool:
    """Return whether the rows after those of the killed run are those that are computed by themselves."""
    with Segmenter(artifact) as segmenter, open_raster(scene) as raster:
        reader = BandReader(raster, Bands(), segmenter.spec)
        top, rows = next(segmenter.tiled_rows(reader, first_band=bands))
        valid = reader.valid(top, 0, *rows.shape)
        expected = np.where(valid, rows, file.nodata)
    return bool((file.read(1, window=Window(0, top, rows.shape[1], len(rows))) == expected).all())


def main() -> None:
    """Run the command twice and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact")
    parser.add_argument("image")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    scene, target = arguments.folder / "scene.tif", arguments.folder / "classes.tif"
    if not scene.exists():
        write_scene(scene, read_image(arguments.image), arguments.side)
    target.unlink(missing_ok=True)
    artifact = Path(arguments.artifact)
    if arguments.artifact == "convolution":
        artifact = write_convolution(arguments.folder / "convolution.onnx")
    command = [sys.executable, "-m", "edgeseg", "predict", str(artifact), str(scene), "--tiles"]
    command += ["--save", str(target)]
    journal = target.with_name("classes.tif.part.json")
    killed = run(command, journal, arguments.side // 3)
    finished = run(command, journal, None)
    with rasterio.open(scene) as source, rasterio.open(target) as file:
        result = {
            "artifact": artifact.name,
            "side": arguments.side,
            "killed": killed,
            "finished": finished,
            "same_place": (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape),
            "same_rows": same_rows(artifact, scene, file, killed["bands"]),
            "layout": file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT"),
            "overviews": file.overviews(1),
            "scene_mb": scene.stat().st_size / 1e6,
            "classes_mb": target.stat().st_size / 1e6,
        }
    print(json.dumps(result, indent=1))
    write_json(arguments.output, environment(packages=("rasterio",)), [result])


if __name__ == "__main__":
    main()
