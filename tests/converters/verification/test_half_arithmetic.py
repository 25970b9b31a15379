"""``half_arithmetic`` and ``half_worker``: which files may compute in half precision, asked of LiteRT's emulation; and
that a file differs by the entry alone, which a CPU without half precision and a GPU ignore.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from numpy.typing import NDArray

from edgeseg.coverage.gpu import SWIFTSHADER
from edgeseg.errors import InputError, UnsupportedModel, VerificationFailed
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D
from edgeseg.spec import METADATA_KEY
from edgeseg.tflite.cpu import Cpu
from edgeseg.tflite.file import read_metadata
from edgeseg.tflite.half_arithmetic import ENTRY, HALF
from edgeseg_converters import Exporter, ExportOptions, ExportResult, HalfVerification, Recipe, export
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.tflite import metadata
from edgeseg_converters.tflite.convert import ask_for_half
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.verification import half_arithmetic

SIZE = (16, 24)
IMAGES = Samples(tuple(natural_noise(seed, SIZE) for seed in range(2)), "noise")
FP16 = Recipe("tflite", "fp16")
SCORES = ExportOptions(output_kind="logits")


def model(*, first: float = 0.3, last: float = 0.3, bias: float = 0.0) -> keras.Model:
    """Two convolutions; the spread of their kernels and the last bias decide how half precision does."""
    inputs = keras.Input((*SIZE, 3))
    convolutions = (
        layers.Conv2D(8, 3, padding="same", activation="relu", name="first"),
        layers.Conv2D(4, 3, padding="same", name="last"),
    )
    built = keras.Model(inputs, convolutions[1](convolutions[0](inputs)), name="tiny")
    rng = np.random.default_rng(1)
    for layer, spread, constant in zip(convolutions, (first, last), (0.0, bias), strict=True):
        kernel, offset = layer.get_weights()
        layer.set_weights([rng.normal(0, spread, kernel.shape), np.full_like(offset, constant)])
    return built


@pytest.fixture(scope="module")
def plain() -> ExportResult:
    """An fp16 file that does not ask."""
    options = ExportOptions(output_kind="logits", half_arithmetic=False)
    (result,) = Exporter([FP16], options=options).run(model(), samples=IMAGES)
    assert (result.half, result.failure) == (None, "")
    assert read_metadata(result.data, ENTRY) == b"fp16accfp32"  # TensorFlow's own, which switches nothing on
    return result


def scores(data: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def judged(built: keras.Model, options: ExportOptions = SCORES) -> HalfVerification:
    (result,) = Exporter([FP16], options=options).run(built, samples=IMAGES)
    assert result.half is not None
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    assert (read_metadata(result.data, ENTRY) == HALF) == result.half.written
    return result.half


def test_a_file_that_passes_is_the_plain_one_with_the_entry(plain: ExportResult) -> None:
    (result,) = Exporter([FP16], options=SCORES).run(model(), samples=IMAGES)
    half = result.half
    assert half is not None
    assert (half.written, half.reason, half.num_images) == (True, "", 2)
    assert half.emulated is {True: False, False: True, None: None}[Cpu.here().native_half]
    assert half.argmax_agreement is not None
    assert half.argmax_agreement >= 0.9975
    # Both ends of a float16 activation's range are far from its values.
    assert 0.1 < (half.smallest_activation or 0) < (half.largest_activation or 0) < 100
    assert result.to_dict("m.tflite")["half_arithmetic"]["written"] is True
    assert result.data == ask_for_half(plain.data, plain.spec)
    assert read_metadata(result.data, ENTRY) == HALF
    for name in (METADATA_KEY, metadata.ENTRY):
        assert read_metadata(result.data, name) == read_metadata(plain.data, name)
    assert zipfile.ZipFile(io.BytesIO(result.data)).namelist() == [metadata.LABELS_FILE]


def test_what_emulation_is_worth_is_said() -> None:
    half = HalfVerification(written=True, required=False, emulated=True, argmax_agreement=0.99925)
    assert "99.925% of the pixels have the class that Keras gives in LiteRT's emulation; an ARM CPU's" in half.sentence
    assert half.sentence.endswith("error was about twice as large where it was tried")
    assert "emulation" not in dataclasses.replace(half, emulated=False).sentence


def test_a_cpu_of_which_it_is_not_known_is_not_said_to_emulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("AMD64", None, None))  # Windows
    half = judged(model())
    assert (half.written, half.emulated) == (True, None)
    assert half.sentence.endswith("; whether this CPU does, or LiteRT emulated it, is not known")


@pytest.mark.skipif(Cpu.here().native_half is not False, reason="this CPU may compute in half precision")
def test_a_cpu_without_half_precision_computes_the_same_bits(plain: ExportResult) -> None:
    asking = ask_for_half(plain.data, plain.spec)
    image = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = scores(plain.data, image)
    np.testing.assert_array_equal(scores(asking, image), expected)
    emulated = half_arithmetic._run_in_half(asking, [image])
    assert not isinstance(emulated, str), emulated
    # A value of about 2 has steps of 2e-3; nothing would be shown if the emulation rounded nothing.
    assert 1e-5 < np.abs(emulated[0] - expected).max() < 2e-2


ON_THE_GPU = """
import hashlib, sys
import numpy as np
from edgeseg.runtime import open_backend
gpu = open_backend(sys.argv[1], accelerator="gpu")
image = np.random.default_rng(0).uniform(-1, 1, gpu.inputs[0].shape).astype(np.float32)
print("\\n" + hashlib.sha256(np.array(gpu.run(image)).tobytes()).hexdigest(), gpu.half_arithmetic)
"""


def test_a_gpu_ignores_the_entry(plain: ExportResult, tmp_path: Path) -> None:
    if not SWIFTSHADER.is_file():
        pytest.skip("no SwiftShader: Debian's package chromium-common has it")
    answers = []
    environment = {**os.environ, "VK_DRIVER_FILES": str(SWIFTSHADER)}
    for name, data in (("plain", plain.data), ("asking", ask_for_half(plain.data, plain.spec))):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", ON_THE_GPU, str(path)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout.splitlines()[-1])
    assert answers[0] == answers[1]
    assert answers[0].endswith(" None")


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        (model(last=2000.0), r"'.*' reaches \S+, and half precision ends at 65504; at most a quarter of that"),
        (
            model(first=3e-4, last=3e-3),
            r"'.*' has values up to \S+e-0[56] alone, of which half precision has few steps",
        ),
        # At 1000 half precision has steps of 0.5, and most differences are smaller.
        (
            model(last=0.02, bias=1e3),
            r"only \d+\.\d+% of the pixels then have the class that Keras gives in LiteRT's emulation; at least 99.75%",
        ),
    ],
    ids=["too large", "too small", "too near each other"],
)
def test_a_file_that_half_precision_would_spoil_does_not_ask(built: keras.Model, reason: str) -> None:
    half = judged(built)
    assert not half.written
    assert re.fullmatch(f"{reason}.*", half.reason), half.reason
    assert half.num_images == 2


def test_scores_that_become_infinite_are_seen_in_the_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_arithmetic, "MAX_ACTIVATION", np.inf)
    half = judged(model(last=2000.0, bias=65_000.0))
    assert (half.written, half.reason) == (False, "its scores are not finite in half precision")


@pytest.mark.parametrize(
    ("agreement", "emulated", "least"),
    [
        (0.9976, True, ""),
        (0.996, True, "99.75%"),
        (0.996, None, "99.75%"),
        (0.996, False, ""),
        (0.994, False, "99.50%"),
    ],
)
def test_half_as_many_pixels_may_differ_in_the_emulation(agreement: float, emulated: bool | None, least: str) -> None:
    finite = np.zeros((1, 1, 2, 2, 2), np.float32)
    reason = half_arithmetic._missed(finite, agreement, emulated=emulated)
    assert reason.endswith(f"; at least {least}") if least else not reason


def test_ranges_are_read_in_groups_of_little_memory(plain: ExportResult, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = TfliteGraph.read(plain.data)
    read: list[list[int]] = []
    with_outputs = TfliteGraph.with_outputs

    def recorded(self: TfliteGraph, tensors: Iterable[int]) -> TfliteGraph:
        asked = list(tensors)
        read.append([4 * int(np.prod(self.tensors[tensor].shape)) for tensor in asked])
        return with_outputs(self, asked)

    image = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = half_arithmetic._ranges(graph, [image, -image])
    assert len(expected) >= 2
    monkeypatch.setattr(TfliteGraph, "with_outputs", recorded)
    monkeypatch.setattr(half_arithmetic, "_MAX_READ_BYTES", 4 * 8 * SIZE[0] * SIZE[1])  # one activation of 8 channels
    assert half_arithmetic._ranges(graph, [image, -image]) == expected
    output = 4 * int(np.prod(graph.tensors[graph.outputs[0]].shape))  # which every run gives
    assert len(read) >= 2
    assert max(map(sum, read)) <= half_arithmetic._MAX_READ_BYTES + output


def test_who_asks_for_it_gets_it_or_a_refusal() -> None:
    required = ExportOptions(output_kind="logits", half_arithmetic=True)
    assert judged(model(), required).written
    half = judged(model(last=2000.0), required)
    assert (half.written, half.rejected) == (False, True)
    with pytest.raises(VerificationFailed, match=r"tiny\.fp16\.tflite cannot have half arithmetic, as '.*' reaches"):
        export(model(last=2000.0), precision="fp16", options=required)
    with pytest.raises(InputError, match="half arithmetic is proven on images: omit `verify=False`, or `half_ari"):
        export(model(), precision="fp16", options=required, verify=False)
    with pytest.raises(InputError, match=r"what an fp16 \.tflite file may have, and none is made: omit `half_arith"):
        Exporter([Recipe("onnx", "fp16"), Recipe("tflite", "fp32")], options=required)


def test_a_file_that_was_not_verified_does_not_ask() -> None:
    result = export(model(), precision="fp16", verify=False)
    assert result.half == HalfVerification(written=False, required=False, reason="it was not verified")
    assert read_metadata(result.data, ENTRY) != HALF
    assert export(model(), precision="fp32", verify=False).half is None


@pytest.fixture(scope="module")
def pooling() -> keras.Model:
    """Pooling with indices, which the target xnnpack makes of custom ops."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    pooled, index = MaxPoolingWithArgmax2D()(layers.Conv2D(8, 3, padding="same")(inputs))
    return keras.Model(inputs, layers.Conv2D(4, 3, padding="same")(MaxUnpooling2D()([pooled, index])), name="pools")


def test_no_file_asks_beside_the_custom_ops_as_it_would_not_load(pooling: keras.Model) -> None:
    options = ExportOptions(target="xnnpack", output_kind="logits")
    (result,) = Exporter([FP16], options=options).run(pooling, samples=IMAGES)
    names = "MaxPoolingWithArgmax2D and MaxUnpooling2D"
    assert result.half == HalfVerification(
        written=False, required=False, reason=f"no file that asks for it loads beside {names}"
    )
    asking = ask_for_half(result.data, result.spec)
    image = np.zeros((1, *SIZE, 3), np.float32)
    why = half_arithmetic._run_in_half(asking, [image])
    assert isinstance(why, str)  # a CPU without half precision loads it, and only there
    assert why.startswith("LiteRT does not run it in half precision, exit status 1: ")
    with pytest.raises(UnsupportedModel, match=f"does not load beside {names}; omit `half_arithmetic`, or take"):
        export(pooling, precision="fp16", options=ExportOptions(target="xnnpack", half_arithmetic=True))


def test_a_cpu_on_which_it_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("aarch64", False, False))
    half = judged(model())
    assert not half.written
    assert half.reason.startswith("this CPU has no atomic instructions (LSE, ARMv8.1")


def test_a_worker_that_dies_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    half = judged(model())
    assert (half.written, half.reason) == (False, "LiteRT does not run it in half precision, exit status 1")


def test_a_class_map_is_judged_by_its_logits() -> None:
    """Two kinds of output of one model are judged alike."""
    found = [judged(model(), ExportOptions(output_kind=kind)) for kind in ("argmax", "logits")]
    assert found[0] == found[1]
