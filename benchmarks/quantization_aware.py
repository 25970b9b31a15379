"""Measure what a training in integers gives in int8, on variants of the packaged model or on one's own.

    python benchmarks/quantization_aware.py CAMVID --work DIR --output benchmarks/results/quantization-aware-NAME.json
    python benchmarks/quantization_aware.py CAMVID --model run/best.keras --output FILE
    python benchmarks/quantization_aware.py --table benchmarks/results/quantization-aware-NAME.json

Each variant of ``int8_accuracy.py`` is exported in both formats with ``ptq="off"``, trained by ``edgeseg train
--quantize int8 --teacher`` from the model itself, and exported again with the ranges that were learned. All is measured
on the validation split. ``DIR`` keeps the runs: a killed measurement goes on there, and what ``--output`` has already
is not measured again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _shared import environment, known_results, read_json, write_json
from int8_accuracy import VARIANTS, variant_of

from edgeseg.choices import Format
from edgeseg.imaging import preprocess, read_image
from edgeseg.models.keras_files.load import load_keras_file, read_ranges, read_spec, save_model
from edgeseg.runtime import open_artifact
from edgeseg.training import RunOptions, TrainConfig, train
from edgeseg.training.quantization.network import fake_quantized
from edgeseg.training.quantization.scheme import Scheme
from edgeseg.training.run.folder import BEST, LAST
from edgeseg_converters import Quantization, Recipe, export_all

_FORMATS: tuple[Format, ...] = ("tflite", "onnx")


def trained(variant: str, data: Path, folder: Path, settings: dict[str, Any]) -> tuple[Path, float]:
    """Train a variant in integers, or go on; return the file and the minutes that its epochs took."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "float.keras"
    if not source.exists():
        opened = variant_of(variant)
        save_model(opened.model, source, opened.spec)
    run = folder / "run"
    config = TrainConfig(model=str(source), data=str(data), teacher=str(source), quantize="int8", **settings)
    result = train(config, run, RunOptions(resume=(run / LAST).exists(), log=lambda line: print(line, flush=True)))
    return run / BEST, sum(row["seconds"] for row in result.history) / 60


def exported(path: Path, data: Path, num_images: int, file_format: Format) -> tuple[bytes, dict[str, Any]]:
    """Export a model, with its learned ranges where it has some; return the file and its accuracy."""
    settings = Quantization(data=str(data), num_calibration_samples=num_images, ptq="off", learned=read_ranges(path))
    spec = read_spec(path)
    (result,) = export_all(load_keras_file(path), spec, [Recipe(file_format, "int8")], quantization=settings)
    assert result.quantized is not None and result.quantized.accuracy is not None
    return result.data, result.quantized.accuracy.to_dict()


def agreement(path: Path, artifact: bytes, data: Path, file_format: Format, count: int = 20) -> float:
    """Return the share of pixels that have one class in the fake-quantized model and in the file."""
    import numpy as np

    spec, ranges = read_spec(path), read_ranges(path)
    assert spec is not None and ranges is not None
    layer = fake_quantized(load_keras_file(path), ranges, (spec.mean, spec.std), Scheme("int8", file_format))
    paths = sorted((data / "val" / "images").iterdir())
    backend, shares = open_artifact(artifact, file_format), []
    for image_path in paths[:: max(1, len(paths) // count)]:
        image = read_image(image_path)
        logits = np.asarray(layer(preprocess(image, spec)[0]))
        answer = backend.run(preprocess(image, spec.replace(dtype="uint8"))[0])
        shares.append(float((np.squeeze(answer) == np.squeeze(logits.argmax(-1))).mean()))
    return float(np.mean(shares))


def main() -> None:
    """Read the arguments, train, export and measure every variant, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="CamVid")
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--model", action="append", help="a file of Keras in place of the variants; may be repeated")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--crop-size", type=int, nargs=2, metavar=("H", "W"), default=(192, 256))
    parser.add_argument("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of images, as the model had it")
    parser.add_argument("--num-images", type=int, default=100, help="to calibrate with")
    parser.add_argument("--work", type=Path, default=Path("qat_work"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print a recorded result as Markdown, and stop")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(arguments.table))
        return
    if arguments.data is None:
        parser.error("name the folder of CamVid")
    entries = known_results(arguments.output)
    done = {(entry["model"], entry["format"]) for entry in entries}
    arguments.crop_size = tuple(arguments.crop_size)
    for variant in arguments.model or arguments.variant or VARIANTS:
        missing = [file_format for file_format in _FORMATS if (variant, file_format) not in done]
        if not missing:
            continue
        folder = arguments.work / variant.replace(" ", "-").replace(",", "").replace("/", "-")
        settings: dict[str, Any] = {"epochs": arguments.epochs, "batch_size": 8, "crop_size": arguments.crop_size}
        if arguments.scale:
            settings["augmentation_changes"] = {"scale": tuple(arguments.scale)}
        path, minutes = trained(variant, arguments.data, folder, settings)
        for file_format in missing:
            _, before = exported(folder / "float.keras", arguments.data, arguments.num_images, file_format)
            artifact, after = exported(path, arguments.data, arguments.num_images, file_format)
            entry = {
                "model": variant,
                "format": file_format,
                "settings": settings,
                "minutes": minutes,
                "before": before,
                "after": after,
                "agreement": agreement(path, artifact, arguments.data, file_format),
            }
            entries.append(entry)
            print(variant, file_format, before["mean_iou_float"], before["mean_iou"], after["mean_iou"], flush=True)
            if arguments.output:
                write_json(arguments.output, environment(), entries)
    if arguments.output:
        print(table(arguments.output))


def table(path: Path) -> str:
    """Return a result file as Markdown."""
    head = "| packaged model, CamVid val | format | float mIoU | int8 | trained, int8 | minutes | agreement |"
    text = [head, "|---|---|---:|---:|---:|---:|---:|"]
    for entry in read_json(path)["results"]:
        before, after = entry["before"], entry["after"]
        text.append(
            f"| {entry['model']} | {entry['format']} | {before['mean_iou_float']:.4f} | {before['mean_iou']:.4f} | "
            f"**{after['mean_iou']:.4f}** | {entry['minutes']:.0f} | {entry['agreement']:.2%} |"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
