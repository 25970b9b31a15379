"""Make the right inputs that are changed: tiny files of every kind, written by edgeseg, OpenCV and Pillow."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
_DATA = TESTS / "data"

#: Files of the data sets of the tests, in a seed folder under these names.
MODELS = {
    "model.tflite": "saved.fp32.tflite",
    "int8.tflite": "saved.int8.tflite",
    "model.onnx": "saved.fp32.onnx",
    "int8.onnx": "saved.int8.onnx",
    "model.mnn": "saved.fp32.mnn",
    "model.xml": "saved.fp32.xml",
    "model.bin": "saved.fp32.bin",
    "model.keras": "saved_start.keras",
    "full.h5": "saved_full.h5",
    "rebuilt.h5": "legacy_rebuilt_full.h5",
    "separable.h5": "legacy_separable_full.h5",
    "nested.h5": "legacy_nested_full.h5",
}

_PALETTE = [[70, 70, 70], [210, 50, 40], [40, 60, 210]]
CLASSES = {"names": ["wall", "red", "blue"], "palette": _PALETTE, "ignore_index": 255}


def write_seeds(folder: Path) -> None:
    """Write every seed; in a process that ends after it, as its current folder changes and OpenCV starts threads."""
    folder.mkdir()
    for name, source in MODELS.items():
        shutil.copy(_DATA / source, folder / name)
    os.chdir(folder)
    _images(Path("images"))
    _rasters(Path("rasters"))
    _videos(Path("videos"))
    _data_set(Path("data"))
    _weights(Path("weights"))
    _proven(Path("proven"))
    _commands()


def read_seeds(folder: Path) -> dict[str, bytes]:
    """Return the content of every seed by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _proven(folder: Path) -> None:
    import keras
    import numpy as np

    from edgeseg.models import create
    from edgeseg.models.zoo.table import ZOO
    from edgeseg_converters import Recipe, export_all
    from edgeseg_converters.images import Samples

    folder.mkdir()
    keras.utils.set_random_seed(0)
    images = tuple(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))
    model, spec = create("unet_mini", num_classes=3, input_size=(32, 32)), ZOO["unet_mini"].default_spec(3, (32, 32))
    (result,) = export_all(model, spec.replace(name="mini"), [Recipe()], samples=Samples(images, "noise"))
    result.save(folder)
    result.proof().save(folder / "mini.proof.zip")


def _images(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    image = Image.fromarray(pixels)
    for suffix in ("png", "jpg", "bmp", "webp", "tif", "gif"):
        image.save(folder / f"a.{suffix}")
    image.save(folder / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
    image.save(folder / "progressive.jpg", progressive=True)
    image.convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(folder / "deep.png")
    image.save(folder / "a.jp2", irreversible=False)
    image.save(folder / "pages.tif", save_all=True, append_images=[image])


def _rasters(folder: Path) -> None:
    import numpy as np
    import rasterio
    import tifffile

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    size = {"count": 3, "height": 80, "width": 70, "dtype": "uint8", "nodata": 0, "crs": "EPSG:32632"}
    place = rasterio.Affine(10, 0, 6e5, 0, -10, 5.4e6)
    for name, driver in (("a.tif", "GTiff"), ("cog.tif", "COG")):
        with rasterio.open(folder / name, "w", driver=driver, transform=place, compress="deflate", **size) as file:
            file.write(np.moveaxis(pixels, 2, 0))
    tifffile.imwrite(folder / "a.svs", pixels, photometric="rgb", tile=(32, 32), compression="jpeg")
    tifffile.imwrite(folder / "deflate.svs", pixels, photometric="rgb", tile=(32, 32), compression="deflate")
    planes = np.moveaxis(pixels, 2, 0).copy()
    tifffile.imwrite(folder / "planes.tif", planes, photometric="rgb", planarconfig="separate", tile=(32, 32))
    tifffile.imwrite(folder / "channels.tif", planes, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    tifffile.imwrite(folder / "tiles.tif", pixels, photometric="rgb", tile=(32, 32), compression="jpeg2000")
    with rasterio.open(folder / "palette.tif", "w", driver="GTiff", **{**size, "count": 1}) as file:
        file.write(planes[:1])
        file.write_colormap(1, {number: (number, 9, 255 - number) for number in range(256)})
    with rasterio.open(
        folder / "a.jp2", "w", driver="JP2OpenJPEG", transform=place, **{**size, "nodata": None}
    ) as file:
        file.write(planes)
    journal = {"source": "0" * 64, "model": "0" * 64, "settings": "0" * 64, "size_hw": [80, 70], "bands": 1, "rows": 9}
    (folder / "part.json").write_text(json.dumps({**journal, "format_version": 1}))


def _videos(folder: Path) -> None:
    import cv2
    import numpy as np

    folder.mkdir()
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(4)]
    for name, codec in (("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 10, (48, 32))
        for frame in frames:
            writer.write(frame)
        writer.release()
    parts = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    body = b"".join(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + part + b"\r\n" for part in parts)
    (folder / "stream.http").write_bytes(head + body)


def _data_set(root: Path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    colors = np.array(_PALETTE, np.uint8)
    root.mkdir()
    for split, count in (("train", 4), ("val", 2)):
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True)
        for index in range(count):
            label = np.zeros((32, 48), np.uint8)
            label[4 + index : 20, 5:20], label[10:25, 28:44] = 1, 2
            noise = rng.integers(-9, 10, (32, 48, 3))
            image = (colors[label].astype(int) + noise).clip(0, 255).astype(np.uint8)
            label[0] = 255
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(label).save(root / split / "labels" / f"{index}.png")
    (root / "classes.json").write_text(json.dumps(CLASSES))
    palette = Image.fromarray(label, "L").convert("P")
    palette.putpalette([value for color in _PALETTE for value in color])
    palette.save(root.parent / "images" / "palette.png")


def _weights(folder: Path) -> None:
    """Write weights of ``unet_mini``, ``model.keras`` with other weights, and a ``.pth`` file with one tensor."""
    from edgeseg.models import create
    from edgeseg.models.keras_files.load import load_keras_file, read_spec, save_model

    folder.mkdir()
    model = load_keras_file("model.keras")
    for weight in model.weights:
        weight.assign(weight * 0.5)
    spec = read_spec("model.keras")
    assert spec is not None
    save_model(model, "other.keras", spec)
    create("unet_mini", num_classes=3, input_size=(32, 32)).save_weights(folder / "mini.weights.h5")
    pytorch = runpy.run_path(str(TESTS / "edgeseg" / "models" / "weights" / "test_pytorch.py"))
    (folder / "small.pth").write_bytes(pytorch["small_file"]())


def _commands() -> None:
    """Write what edgeseg's own commands leave: results, and the folder of a run."""
    from edgeseg.cli import main

    fast = ("--rounds", "1", "--num-runs", "3", "--min-secs", "0")
    for name in ("base", "other"):
        _must(main(["benchmark", "model.tflite", *fast, "--output", f"{name}.json"]))
    sizes = ("--imgsz", "32,48", "--epochs", "1", "--batch-size", "2", "--samples", "0")
    _must(main(["train", "model.keras", "--data", "data", *sizes, "--output-dir", "run"]))


def _must(status: int) -> None:
    if status:
        raise RuntimeError(f"a seed cannot be made: exit status {status}")


def answers_of_devices() -> dict[str, Any]:
    """Return what a board says to each order, and a phone to each question, when neither lies."""
    known = runpy.run_path(str(TESTS / "edgeseg" / "benchmark" / "test_hostile_devices.py"))
    mark = known["MARK"]
    orders = ("hello", "have", "check", "work", "put", "unpack", "install", "forget", "tidy")
    return {
        "ssh": {do: known["ssh_answer"](do, {"name": "model.tflite"}) for do in orders},
        "adb": {
            "devices": "List of devices attached\nR58M\tdevice\n\n",
            "properties": known["PROPERTIES"] + mark,
            "usage": known["USAGE"] + mark,
            "digest": "a" * 64 + "  /data/local/tmp/benchmark_model\n" + mark,
            "run": known["OUTPUT"] + mark,
            "fed": known["FED_OUTPUT"] + mark,
            "size": "1024\n" + mark,
            "data": "\0\1\2\0" * 256,  # class ids of the 32x32 pixels of proven/mini
            "other": mark,
        },
    }


def forked(write: Callable[[Path], None], folder: Path) -> None:
    """Call a function in a process of its own, and print what it says only where it fails.

    Raises:
        RuntimeError: it failed.
    """
    log = folder.with_suffix(".log")
    child = os.fork()
    if child == 0:
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            write(folder)
            os._exit(0)
        finally:  # whatever it raised
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"the seeds could not be made:\n{log.read_text(errors='replace')[-3000:]}")
