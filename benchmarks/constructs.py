"""Export every construct of ``_constructs.py`` in four ways, and compare each file with Keras on its bare runtime.

    python benchmarks/constructs.py --output benchmarks/results/NAME.json
    python benchmarks/constructs.py --table benchmarks/results/NAME.json             # Markdown for docs/constructs.md

A construct is put between a stem and a head; the head is fitted to tell dark, medium and bright pixels apart on real
images, so that the classes mean something and their margins are those of a model that learned. The files are run by
LiteRT's interpreter and ONNX Runtime as they are, without edgeseg: neither its verification nor its preprocessing says
that a file works. A float file works if 99.9 % of the pixels have the class that Keras gives, an int8 file if 95 %
have.

Constructs are converted in another process, which is replaced when a converter takes it down. An interrupted run
continues where it stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _shared import environment, known_results, read_json, write_json
from numpy.typing import NDArray

from edgeseg.choices import Format, Precision

if TYPE_CHECKING:
    import keras

SIZE = (64, 96)
KINDS: tuple[tuple[Format, Precision], ...] = (
    ("tflite", "fp32"),
    ("tflite", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
)
#: Share of the pixels with Keras' class from which a file counts as right; edgeseg's own gates have these numbers.
GATES = {"fp32": 0.999, "int8": 0.95}
_NUM_TEST_IMAGES = 2


def images() -> NDArray[np.uint8]:
    """Return 12 images ``(64, 96, 3)``, of installed packages where there are enough."""
    import cv2

    from edgeseg_converters.images import collect

    found = collect(None, split="val", count=12).images
    return np.stack([cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA) for image in found])


def normalized(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image as the model takes it, in [-1, 1]."""
    return (image.astype(np.float32) - 127.5) / 127.5


def build(construct: Any, train_images: NDArray[np.uint8]) -> keras.Model:
    """Put a construct between a stem and a head that is fitted to three classes of brightness."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    inputs = keras.Input((*SIZE, 3), name="image")
    stem = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    features = construct(stem)
    scores = layers.Conv2D(3, 1, dtype="float32", name="head")(features)
    model = keras.Model(inputs, layers.Resizing(*SIZE)(scores), name="construct")
    fed = normalized(train_images)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(fed, training=True)  # batch norms take the statistics of these images
    measured = np.asarray(keras.Model(inputs, features)(fed, training=False), np.float64)
    height, width, channels = measured.shape[1:]
    bright = np.asarray(keras.ops.image.resize(train_images.mean(-1, keepdims=True), (height, width), antialias=True))
    classes = np.digitize(bright.ravel(), np.quantile(bright, [1 / 3, 2 / 3]))
    rows = np.c_[measured.reshape(-1, channels), np.ones(classes.size)]
    ridge = 1e-4 * np.trace(rows.T @ rows) / len(rows.T) * np.eye(len(rows.T))
    solution = np.linalg.solve(rows.T @ rows + ridge, rows.T @ (np.eye(3)[classes] * 8 - 4))
    model.get_layer("head").set_weights([solution[:-1].reshape(1, 1, channels, 3), solution[-1]])
    return model


def measure(group: str, name: str, folder: Path, kinds: Sequence[tuple[Format, Precision]] = KINDS) -> dict[str, Any]:
    """Export one construct in every kind and compare the files with Keras.

    Args:
        group: of the construct.
        name: of the construct.
        folder: a place for the images that calibrate.
        kinds: format and precision of each file.

    Returns:
        The construct's group and name, and for each kind either ``agreement``, the share of the pixels with Keras'
        class, or ``refused``, what edgeseg says.
    """
    import cv2
    from _constructs import constructs

    from edgeseg.errors import EdgesegError
    from edgeseg.spec import ModelSpec, default_class_names, default_palette
    from edgeseg_converters import Quantization, Recipe, export_all
    from edgeseg_converters.calibration import CalibrationSet

    found = images()
    train_images, test_images = found[:-_NUM_TEST_IMAGES], found[-_NUM_TEST_IMAGES:]
    model = build(constructs()[group][name], train_images)
    want = np.asarray(model(normalized(test_images), training=False)).argmax(-1)
    rarest = np.bincount(want.ravel(), minlength=3).min() / want.size
    if rarest < 0.02:
        raise ValueError(f"'{name}': a class has {rarest:.1%} of the pixels; agreement would show nothing.")
    spec = ModelSpec(
        name="construct", input_size=SIZE, class_names=default_class_names(3), palette=default_palette(3), fit="stretch"
    )
    paths = tuple(folder / f"{number}.png" for number in range(len(train_images)))
    for path, image in zip(paths, train_images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    calibration = CalibrationSet(paths=paths, source="images", available=len(paths), seed=0)
    row: dict[str, Any] = {"group": group, "name": name}
    for kind in kinds:
        try:
            (result,) = export_all(model, spec, [Recipe(*kind)], quantization=Quantization(calibration=calibration))
        except EdgesegError as error:
            row["-".join(kind)] = {"refused": " ".join(str(error).split())}
            continue
        except Exception as error:  # noqa: BLE001 - what would be a traceback for the user is what is looked for
            row["-".join(kind)] = {"refused": f"TRACEBACK {type(error).__name__}: {' '.join(str(error).split())[:200]}"}
            continue
        got = np.stack([run(result.data, kind[0], image) for image in test_images])
        row["-".join(kind)] = {"agreement": float((got == want).mean())}
    return row


def run(data: bytes, file_format: str, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the class map ``(H, W)`` that a file gives, run by its runtime alone."""
    if file_format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]
        interpreter.set_tensor(source["index"], _fed(image, source["dtype"] == np.uint8))
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])).reshape(SIZE)
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    return np.asarray(session.run(None, {source.name: _fed(image, "uint8" in source.type)})[0]).reshape(SIZE)


def _fed(image: NDArray[np.uint8], as_bytes: bool) -> NDArray[Any]:
    return image[None] if as_bytes else normalized(image[None])


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table, and the sentences of what is refused below it."""
    lines = ["| construct | " + " | ".join(f"{f} {p}" for f, p in KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    sentences: dict[str, int] = {}
    group = ""
    for row in results:
        if row["group"] != group:
            group = row["group"]
            lines.append(f"| **{group}** |" + " |" * len(KINDS))
        cells = []
        for kind in KINDS:
            outcome = row["-".join(kind)]
            if "refused" in outcome:
                number = sentences.setdefault(outcome["refused"], len(sentences) + 1)
                cells.append(f"refused ({number})")
            else:
                share = f"{outcome['agreement']:.2%}".replace("%", " %")
                cells.append(share if outcome["agreement"] >= GATES[kind[1]] else f"**{share}**")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {text}" for text, number in sentences.items())])


def main() -> None:
    """Measure what the output lacks, or print the table of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="result file; what it has already is not measured again")
    parser.add_argument("--only", default="", help="constructs whose name contains this")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of a result file")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_json(arguments.table)["results"]))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from _constructs import constructs

    names = [(group, name) for group, some in constructs().items() for name in some if arguments.only in name]
    path = arguments.output
    known = {row["name"]: row for row in known_results(path)}
    pool = None
    with tempfile.TemporaryDirectory() as folder:
        for group, name in names:
            if name in known:
                continue
            pool = pool or ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            try:
                row = pool.submit(measure, group, name, Path(folder)).result()
            except BrokenProcessPool:
                pool, died = None, {"refused": "the converter took the process down"}
                row = {"group": group, "name": name, **{"-".join(kind): died for kind in KINDS}}
            known[name] = row
            print({key: value for key, value in row.items() if key != "group"}, file=sys.stderr, flush=True)
            if path:
                write_json(path, environment(), [known[name] for _, name in names if name in known])


if __name__ == "__main__":
    main()
