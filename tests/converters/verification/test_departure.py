"""A rejection names the op that departs: the op alone, from the inputs that it got, and not those after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.imaging import encode_image, preprocess
from edgeseg_converters import Recipe, recipes
from edgeseg_converters.exporter import Exporter
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.keras_model.freeze import freeze
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.onnx.convert import to_onnx
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.tflite.convert import to_tflite
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.verification.comparison import reference
from edgeseg_converters.verification.departure import Departure, OpError, departure

SIZE = (24, 32)
IMAGES = Samples((natural_noise(0, SIZE),), "noise")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Build a model with a bicubic resize by 3, in which ONNX has other weights than TensorFlow's table of 1024."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.UpSampling2D(3, interpolation="bicubic", name="enlarge")(x)
    x = layers.Conv2D(8, 3, strides=3, padding="same", activation="relu", name="second")(x)
    return keras.Model(image, layers.Conv2D(4, 1, name="third")(x), name="tiny")


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    """Build a model of ops that both formats have."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(image)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.MaxPooling2D(2)(x))
    return keras.Model(image, layers.Conv2D(4, 1, name="third")(x), name="tiny")


def found(model: keras.Model, *, file_format: Any = "tflite", precision: Any = "fp32", kernel: str = "") -> Departure:
    """Convert a model, change two channels of a kernel in the file, and compare."""
    prepared = PreparedModel.of(model, None, ExportOptions())
    provenance = prepared.spec.provenance
    spec = prepared.spec.replace(provenance=type(provenance)(source="x", precision=precision, target="generic"))
    frozen = freeze(model, spec)
    data = (to_tflite if file_format == "tflite" else to_onnx)(frozen, spec)
    if kernel:
        data = changed(data, kernel)
    scores = reference(prepared, IMAGES).scores[0]
    return departure(data, file_format, preprocess(IMAGES.images[0], spec)[0], scores, frozen=frozen, model=model)


def changed(data: bytes, layer: str) -> bytes:
    graph = TfliteGraph.read(data)
    (op,) = [op for op in graph.operators if f"/{layer}" in graph.tensor_name(op.outputs[0])]
    kernel = graph.tensors[op.inputs[1]]
    array = np.frombuffer(bytes(graph.model.buffers[kernel.buffer].data), np.float32).copy()
    array[: array.size // 4] *= 1.5
    graph.model.buffers[kernel.buffer].data = np.frombuffer(array.tobytes(), np.uint8)
    return graph.write()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_bicubic_resize_of_onnx_is_named(model: keras.Model, precision: Any) -> None:
    departs = found(model, file_format="onnx", precision=precision)
    (resize,) = [op for op in departs.errors if "ResizeBicubic" in op.ops]
    assert resize.places[0] == ("enlarge", "UpSampling2D")
    # Its weights are off by up to half of 1/1024. In float16 every op rounds by as much.
    assert 1e-4 < resize.error < 1e-3
    assert departs.stands_out == (precision == "fp32")
    if departs.stands_out:
        assert departs.sentence(1e-3).startswith(
            "the op that departs is ResizeBicubic in 'enlarge' (UpSampling2D), off by "
        )


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_kernel_that_is_not_the_models_is_named_and_what_follows_is_not(plain: keras.Model, layer: str) -> None:
    departs = found(plain, kernel=layer)
    assert departs.worst.places == ((layer, "Conv2D"),)
    assert departs.worst.error > 0.01
    others = [op.error for op in departs.errors if op is not departs.worst]
    assert others
    assert max(others) < 1e-5  # float rounding
    assert f"in '{layer}' (Conv2D)" in departs.sentence(1.0)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_where_all_ops_only_round_none_stands_out(plain: keras.Model, file_format: Any) -> None:
    departs = found(plain, file_format=file_format)
    assert len(departs.errors) >= 4  # the three convolutions and the resize
    assert departs.worst.error < 1e-5
    assert "no op stands out" in departs.sentence(1.0)


def test_rewrites_that_change_the_model_are_the_cause() -> None:
    op = OpError(("Conv2D",), (("a", "Conv2D"),), 1e-7)
    assert "`optimize=False`" in Departure((op,), before=0.02).sentence(0.03)
    assert "`optimize=False`" not in Departure((op,), before=0.02).sentence(0.5)
    assert Departure((), before=0.0).sentence(0.5) == "none of its ops could be compared alone"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("tflite", "fp32"), "; Keras' own logits move by "),
        (Recipe("tflite", "int8"), " in '"),
        (Recipe("onnx", "int8"), " in '"),
    ],
)
def test_a_rejected_file_says_it(
    plain: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, words: str
) -> None:
    monkeypatch.setitem(recipes.GATES, recipe.precision, recipes.VerificationGate(1.1, None, rounding=1e-6))
    for seed in range(8 if recipe.is_quantized else 0):  # the fewest that calibrate
        (tmp_path / f"{seed}.png").write_bytes(encode_image(natural_noise(seed, SIZE)))
    quantization = Quantization(data=tmp_path, ptq="off") if recipe.is_quantized else None
    (result,) = Exporter([recipe], quantization=quantization).run(plain, samples=IMAGES)
    assert result.verification is not None
    assert result.verification.reason.startswith("only ")
    assert "no op stands out: the worst is " in result.verification.reason
    assert words in result.verification.reason
