"""Export what segmentation_models builds in Keras 2, and hold the files against Keras 2's own answers.

    python benchmarks/segmentation_models_grid.py --cache DIR --output benchmarks/results/NAME.json

segmentation_models has many users, and no release for Keras 3. Each model is built with random weights, saved as
``.h5`` and run by tf-keras in one process; another loads the file, exports it to TFLite and ONNX in float, and runs
both on their own runtimes, without edgeseg. A run that was stopped goes on where it was. The table is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _shared import environment, known_results, write_json

ARCHITECTURES = ("Unet", "FPN", "Linknet", "PSPNet")
BACKBONES = ("resnet34", "mobilenetv2", "vgg16", "efficientnetb0")
MODELS = tuple(f"{architecture}:{backbone}" for architecture in ARCHITECTURES for backbone in BACKBONES)
CLASSES = 4


def write_keras2(models: list[str], folder: Path, smaller: bool = False) -> None:
    """Build models in this process, which must not have loaded Keras 3, and write each with an input and its output.

    Args:
        models: as in ``MODELS``.
        folder: where to.
        smaller: whether decoders and images are smaller, for tests.
    """
    os.environ.update(SM_FRAMEWORK="tf.keras", TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")
    import segmentation_models
    import tensorflow as tf

    few: dict[str, dict[str, Any]] = {
        "Unet": {"decoder_filters": (16, 16, 8, 8, 8)},
        "FPN": {"pyramid_block_filters": 16},
        "Linknet": {"decoder_filters": (16, 16, 16, 8, 8)},
        "PSPNet": {"psp_conv_filters": 16},
    }
    for name in models:
        architecture, backbone = name.split(":")
        side = 48 if architecture == "PSPNet" else 64  # PSPNet wants multiples of 48
        size = (side, side if smaller else 96)
        tf.keras.utils.set_random_seed(0)
        model = getattr(segmentation_models, architecture)(
            backbone,
            input_shape=(*size, 3),
            classes=CLASSES,
            activation="softmax",
            encoder_weights=None,
            **(few[architecture] if smaller else {}),
        )
        # The random head of a network of this depth says one class everywhere, and nothing would be compared.
        head = [layer for layer in model.layers if layer.weights][-1]
        head.set_weights([20 * values for values in head.get_weights()])
        x = np.random.default_rng(0).uniform(-1, 1, (1, *size, 3)).astype(np.float32)
        np.savez(folder / f"{name}.npz".replace(":", "_"), x=x, y=model.predict(x, verbose=0))
        model.save(folder / f"{name}.h5".replace(":", "_"))
        tf.keras.backend.clear_session()


def compare(name: str, folder: Path) -> list[dict[str, Any]]:
    """Export one model to both formats, and compare what the files say with what Keras 2 said.

    Returns:
        For each format the largest difference of a probability, and the share of pixels with the same class.
    """
    from edgeseg.models.opening import load_model
    from edgeseg_converters import Recipe, export_all
    from edgeseg_converters.options import ExportOptions

    path = folder / f"{name}.h5".replace(":", "_")
    with np.load(path.with_suffix(".npz")) as arrays:
        x, expected = arrays["x"], arrays["y"]
    opened = load_model(str(path))
    results = []
    for recipe in (Recipe("tflite", "fp32"), Recipe("onnx", "fp32")):
        start = time.perf_counter()
        (result,) = export_all(opened.model, opened.spec, [recipe], options=ExportOptions(output_kind="softmax"))
        seconds = time.perf_counter() - start
        scores = run(recipe.format, result.data, x)
        same = float((scores.argmax(-1) == expected.argmax(-1)).mean())
        results.append(
            {
                "model": name,
                "format": recipe.format,
                "input_size": list(opened.spec.input_size),
                "parameters": int(opened.model.count_params()),
                "classes_seen": len(np.unique(expected.argmax(-1))),
                "largest_difference": float(np.abs(scores - expected).max()),
                "same_class": same,
                "export_seconds": seconds,
            }
        )
    return results


def run(file_format: str, data: bytes, x: np.ndarray) -> np.ndarray:
    """Run a file on its own runtime, without edgeseg."""
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table, a model a row."""
    lines = ["| Model | Parameters | TFLite: pixels, largest difference | ONNX |", "|---|---:|---:|---:|"]
    for name in dict.fromkeys(result["model"] for result in results):
        rows = {result["format"]: result for result in results if result["model"] == name}
        cells = [f"{100 * row['same_class']:.3f} %, {row['largest_difference']:.1e}" for row in rows.values()]
        millions = next(iter(rows.values()))["parameters"] / 1e6
        lines.append(f"| {name.replace(':', ', ')} | {millions:.2f} M | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the arguments, export what is not exported yet, write the numbers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="ARCHITECTURE:BACKBONE, by default all")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the models of Keras 2")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--write", action="store_true", help="only write the models of Keras 2, smaller")
    parser.add_argument("--keras2", action="store_true", help=argparse.SUPPRESS)  # for the process that this one starts
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    if arguments.write or arguments.keras2:
        write_keras2(arguments.models, arguments.cache, smaller=arguments.write)
        return
    results = known_results(arguments.output)
    for name in arguments.models:
        if any(result["model"] == name for result in results):
            continue
        subprocess.run(
            [sys.executable, __file__, name, "--cache", str(arguments.cache), "--keras2"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        results += compare(name, arguments.cache)
        for suffix in (".h5", ".npz"):
            (arguments.cache / f"{name}{suffix}".replace(":", "_")).unlink()
        print(f"{len(results) // 2} of {len(arguments.models)} models", file=sys.stderr, flush=True)
        if arguments.output is not None:
            write_json(arguments.output, environment(packages=("tf-keras", "segmentation-models")), results)
    print(table(results))


if __name__ == "__main__":
    main()
