"""Measure what equalizing the channels gives in int8, on the packaged model and on models that plain int8 ruins.

    python benchmarks/int8_accuracy.py CAMVID --output benchmarks/results/int8-accuracy-NAME.json
    python benchmarks/int8_accuracy.py --table benchmarks/results/int8-accuracy-NAME.json

Variants: the packaged model as it is; with ReLU in place of ReLU6, which ends no range; and with the channels between
its convolutions scaled 100-fold apart, which the float model does not notice. Each is exported with ``ptq="off"`` and
``ptq="equalize"`` in both formats, calibrated on training images and measured on the validation split.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _shared import environment, read_json, write_json

from edgeseg.choices import Format, Ptq
from edgeseg.models.opening import ModelRequest, load_model
from edgeseg_converters import Quantization, Recipe, export_all
from edgeseg_converters.keras_model.graph import Graph

VARIANTS = ("as it is", "ReLU for ReLU6", "ReLU, channels 100-fold apart")
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")
_STEPS: tuple[Ptq, ...] = ("off", "equalize")
_SIZE = (192, 256)


def variant_of(name: str) -> Any:
    """Open the packaged model and change it."""
    opened = load_model("efficientnet_lite0_unet", ModelRequest(input_size=_SIZE))
    if name != VARIANTS[0]:
        for layer in opened.model.layers:
            if isinstance(layer, keras.layers.ReLU):
                layer.max_value = None
    if name == VARIANTS[2]:
        scale_apart(opened.model)
    return opened


def scale_apart(model: keras.Model, decades: float = 2.0, seed: int = 0) -> int:
    """Multiply the channels after batch norms by factors that the next convolution divides out; return the places.

    Args:
        model: is changed, and computes the same up to float rounding.
        decades: between the smallest factor and the largest.
        seed: of the factors.
    """
    graph, random, places = Graph.from_model(model), np.random.default_rng(seed), 0
    for node in graph.nodes:
        readers = graph.users(node.outputs[0])
        if node.kind != "BatchNormalization" or [reader.kind for reader in readers] != ["ReLU"]:
            continue
        readers = graph.users(readers[0].outputs[0])
        if [reader.kind for reader in readers] == ["ZeroPadding2D"]:
            readers = graph.users(readers[0].outputs[0])
        if [reader.kind for reader in readers] not in (["Conv2D"], ["DepthwiseConv2D"]):
            continue
        norm, following = node.operation, readers[0].operation
        factors = (10 ** random.uniform(-decades / 2, decades / 2, norm.gamma.shape[0])).astype(np.float32)
        norm.gamma.assign(norm.gamma * factors)
        norm.beta.assign(norm.beta * factors)
        following.kernel.assign(following.kernel / factors[:, None])
        places += 1
    return places


def main() -> None:
    """Read the arguments, export and measure every variant, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="CamVid")
    parser.add_argument("--num-images", type=int, default=100, help="to calibrate with")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print a recorded result as Markdown, and stop")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(arguments.table))
        return
    if arguments.data is None:
        parser.error("name the folder of CamVid")
    entries = []
    for name in VARIANTS:
        opened = variant_of(name)
        for file_format in _FORMATS:
            for step in _STEPS:
                settings = Quantization(
                    data=str(arguments.data), num_calibration_samples=arguments.num_images, ptq=step
                )
                (result,) = export_all(opened.model, opened.spec, [Recipe(file_format, "int8")], quantization=settings)
                assert result.quantized is not None and result.quantized.accuracy is not None
                accuracy = result.quantized.accuracy.to_dict()
                entries.append({"model": name, "format": file_format, "ptq": step, "accuracy": accuracy})
                print(name, file_format, step, accuracy["mean_iou_float"], accuracy["mean_iou"], flush=True)
                if arguments.output:
                    write_json(arguments.output, environment(), entries)
    if arguments.output:
        print(table(arguments.output))


def table(path: Path) -> str:
    """Return a result file as Markdown."""
    recorded = read_json(path)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in recorded["results"]:
        rows.setdefault((entry["model"], entry["format"]), {})[entry["ptq"]] = entry["accuracy"]
    head = "| packaged model, CamVid val | format | float mIoU | int8 | equalized | worst class |"
    text = [head, "|---|---|---:|---:|---:|---|"]
    for (model, file_format), by_step in rows.items():
        plain, equalized = by_step["off"], by_step["equalize"]
        worst = f"{equalized['worst_class']} -{equalized['worst_class_drop_points']:.1f}"
        text.append(
            f"| {model} | {file_format} | {plain['mean_iou_float']:.4f} | {plain['mean_iou']:.4f} | "
            f"**{equalized['mean_iou']:.4f}** | {worst} |"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
