"""Measure what the steps before int8 give, on the packaged model and on models that plain int8 ruins.

    python benchmarks/int8_accuracy.py CAMVID --output benchmarks/results/int8-accuracy-NAME.json
    python benchmarks/int8_accuracy.py CAMVID --model run/best.keras --ptq off --ptq best --output FILE     # one's own
    python benchmarks/int8_accuracy.py --table benchmarks/results/int8-accuracy-NAME.json

Variants: the packaged model as it is; with ReLU in place of ReLU6, which ends no range; with the channels between its
convolutions scaled 100-fold apart, which the float model does not notice; with swish in those places, so sharp that the
float model hardly notices (``x * sigmoid(8 x)``), whose channels cannot be scaled; and with a vector that is added to
the kernels of all classes, which widens the range of the scores 100-fold and changes no class.

Each is exported in both formats with each of ``--ptq``, calibrated on training images and measured on the validation
split. What a run has measured already is not measured again, so that a long one can be ended and repeated.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _shared import environment, known_results, read_json, write_json

from edgeseg.choices import Format
from edgeseg.models.opening import ModelRequest, load_model
from edgeseg.spec import ModelSpec
from edgeseg_converters import Quantization, Recipe, export_all
from edgeseg_converters.keras_model.graph import Graph

VARIANTS = ("as it is", "ReLU for ReLU6", "ReLU, channels 100-fold apart", "swish", "wide-range head")
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")
_PTQ = ("off", "equalize", "head", "ranges", "rounding", "bias", "best")
_SIZE = (192, 256)

# Of ``x * sigmoid(sharpness * x)``: at most 0.28 / sharpness from ReLU.
_SHARPNESS = 8.0


@dataclass(frozen=True)
class Variant:
    """A model, and how it is fed."""

    model: keras.Model
    spec: ModelSpec


def variant_of(name: str) -> Variant:
    """Open a model of one's own, or the packaged one and change it."""
    if name not in VARIANTS:
        opened = load_model(name, ModelRequest())
        return Variant(opened.model, opened.spec)
    opened = load_model("efficientnet_lite0_unet", ModelRequest(input_size=_SIZE))
    model = opened.model
    if name in VARIANTS[1:3]:
        for layer in model.layers:
            if isinstance(layer, keras.layers.ReLU):
                layer.max_value = None
    if name == VARIANTS[2]:
        scale_apart(model)
    if name == VARIANTS[3]:
        model = with_swish(model)
    if name == VARIANTS[4]:
        widen_head(model)
    return Variant(model, opened.spec)


def with_swish(model: keras.Model) -> keras.Model:
    """Return the model with swish in place of ReLU6 between its convolutions; the model itself is changed."""
    places = _between_convolutions(model)
    for norm, _, following in places:
        norm.gamma.assign(norm.gamma * _SHARPNESS)
        norm.beta.assign(norm.beta * _SHARPNESS)
        following.kernel.assign(following.kernel / _SHARPNESS)
    replaced = {activation.name for _, activation, _ in places}

    def cloned(layer: keras.Layer) -> keras.Layer:
        if layer.name in replaced:
            return keras.layers.Activation("silu", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=cloned)
    copy.set_weights(model.get_weights())
    return copy


def widen_head(model: keras.Model, factor: float = 100.0, seed: int = 0) -> None:
    """Add a vector to the kernels of all classes, ``factor`` times as large as they are, in place."""
    head = next(layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.Conv2D))
    kernel = keras.ops.convert_to_numpy(head.kernel)
    common = np.random.default_rng(seed).normal(0, factor * kernel.std(), (*kernel.shape[:3], 1))
    head.kernel.assign(kernel + common.astype(np.float32))


def scale_apart(model: keras.Model, decades: float = 2.0, seed: int = 0) -> int:
    """Multiply the channels after batch norms by factors that the next convolution divides out; return the places.

    Args:
        model: is changed, and computes the same up to float rounding.
        decades: between the smallest factor and the largest.
        seed: of the factors.
    """
    random, places = np.random.default_rng(seed), _between_convolutions(model)
    for norm, _, following in places:
        factors = (10 ** random.uniform(-decades / 2, decades / 2, norm.gamma.shape[0])).astype(np.float32)
        norm.gamma.assign(norm.gamma * factors)
        norm.beta.assign(norm.beta * factors)
        following.kernel.assign(following.kernel / factors[:, None])
    return len(places)


def _between_convolutions(model: keras.Model) -> list[tuple[Any, Any, Any]]:
    """Return each batch norm and activation that one convolution alone reads, and that convolution."""
    graph, places = Graph.from_model(model), []
    for node in graph.nodes:
        readers = graph.users(node.outputs[0])
        if node.kind != "BatchNormalization" or [reader.kind for reader in readers] != ["ReLU"]:
            continue
        activation = readers[0]
        readers = graph.users(activation.outputs[0])
        if [reader.kind for reader in readers] == ["ZeroPadding2D"]:
            readers = graph.users(readers[0].outputs[0])
        if [reader.kind for reader in readers] in (["Conv2D"], ["DepthwiseConv2D"]):
            places.append((node.operation, activation.operation, readers[0].operation))
    return places


def main() -> None:
    """Read the arguments, export and measure every variant, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="CamVid")
    parser.add_argument("--num-images", type=int, default=100, help="to calibrate with")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="may be repeated; all when omitted")
    parser.add_argument("--model", action="append", help="a file of Keras in place of the variants; may be repeated")
    parser.add_argument("--format", action="append", choices=_FORMATS, help="may be repeated; both when omitted")
    parser.add_argument("--ptq", action="append", help=f"may be repeated; when omitted {', '.join(_PTQ)}")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print a recorded result as Markdown, and stop")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(arguments.table))
        return
    if arguments.data is None:
        parser.error("name the folder of CamVid")
    entries = known_results(arguments.output)
    done = {(entry["model"], entry["format"], entry["ptq"]) for entry in entries}
    for name in arguments.model or arguments.variant or VARIANTS:
        variant = None
        for file_format in arguments.format or _FORMATS:
            for ptq in arguments.ptq or _PTQ:
                if (name, file_format, ptq) in done:
                    continue
                variant = variant or variant_of(name)
                entries.append(measure(name, variant, file_format, ptq, arguments))
                if arguments.output:
                    write_json(arguments.output, environment(), entries)
    if arguments.output:
        print(table(arguments.output))


def measure(
    name: str, variant: Variant, file_format: Format, ptq: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Export a variant and return what was measured."""
    settings = Quantization(data=str(arguments.data), num_calibration_samples=arguments.num_images, ptq=ptq)
    (result,) = export_all(variant.model, variant.spec, [Recipe(file_format, "int8")], quantization=settings)
    quantized = result.quantized
    assert quantized is not None and quantized.accuracy is not None
    accuracy = quantized.accuracy.to_dict()
    print(name, file_format, ptq, accuracy["mean_iou_float"], accuracy["mean_iou"], flush=True)
    if quantized.preparation:
        print(" ", quantized.preparation.sentence, flush=True)
    return {
        "model": name,
        "format": file_format,
        "ptq": ptq,
        "calibration_images": arguments.num_images,
        "accuracy": accuracy,
        "preparation": quantized.preparation and quantized.preparation.to_dict(),
        "seconds": result.seconds,
    }


def table(path: Path) -> str:
    """Return a result file as Markdown."""
    recorded = read_json(path)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in recorded["results"]:
        rows.setdefault((entry["model"], entry["format"]), {})[entry["ptq"]] = entry
    names = [ptq for ptq in _PTQ if any(ptq in by_ptq for by_ptq in rows.values())]
    text = [
        f"| model, CamVid val | format | float mIoU | {' | '.join(names)} | worst class |",
        f"|---|---|---:|{'---:|' * len(names)}---|",
    ]
    for (model, file_format), by_ptq in rows.items():
        last = by_ptq[names[-1]]["accuracy"] if names[-1] in by_ptq else next(iter(by_ptq.values()))["accuracy"]
        scores = [f"{by_ptq[ptq]['accuracy']['mean_iou']:.4f}" if ptq in by_ptq else "" for ptq in names]
        text.append(
            f"| {model} | {file_format} | {last['mean_iou_float']:.4f} | {' | '.join(scores)} | "
            f"{last['worst_class']} -{last['worst_class_drop_points']:.1f} |"
        )
    return "\n".join(text)


if __name__ == "__main__":
    main()
