"""``edgeseg_converters.onnx.intermediate``, ``edgeseg_converters.mnn.convert``, ``edgeseg_converters.mnn.worker``,
``edgeseg_converters.openvino.convert``, ``edgeseg_converters.openvino.worker``, ``edgeseg.runtime.mnn.file``,
``edgeseg.runtime.openvino.file`` and ``edgeseg._internal.limits.pairs``: MNN and OpenVINO models from an export to
every command, on the real runtimes; and what is refused.

A runtime that is not installed skips its rows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from edgeseg import Segmenter
from edgeseg._internal.limits import pairs
from edgeseg._internal.limits.models import ModelFile
from edgeseg.cli import main
from edgeseg.coverage import coverage
from edgeseg.errors import BackendUnavailable, InputError, UnsupportedModel
from edgeseg.models import create
from edgeseg.proof import read_proof
from edgeseg.proof.first_wrong_op import find_wrong_op
from edgeseg.proof.verdict import _gate
from edgeseg.runtime import RuntimeOptions, open_artifact, open_backend
from edgeseg.runtime.mnn import file as mnn_file
from edgeseg.runtime.mnn.backend import MnnBackend
from edgeseg.runtime.openvino.file import read_openvino
from edgeseg.spec import ModelSpec
from edgeseg_converters import ExportResult, Quantization, Recipe, export, export_all
from edgeseg_converters.images import Samples, natural_noise
from edgeseg_converters.mnn import worker as mnn_worker
from edgeseg_converters.mnn.convert import to_mnn
from edgeseg_converters.onnx import intermediate
from edgeseg_converters.onnx.passes.taps import SCORES
from edgeseg_converters.openvino.convert import to_openvino
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import VerificationGate
from edgeseg_converters.verification.comparison import _winograd

SIZE = (32, 48)
HAS_MNN, HAS_OPENVINO = (
    pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed: pip install 'edgeseg[{extra}]'")
    for module, extra in (("MNN", "mnn"), ("openvino", "openvino"))
)
ALL = [
    pytest.param(("mnn", "fp32"), marks=HAS_MNN),
    pytest.param(("mnn", "fp16"), marks=HAS_MNN),
    pytest.param(("openvino", "fp32"), marks=HAS_OPENVINO),
    pytest.param(("openvino", "fp16"), marks=HAS_OPENVINO),
    pytest.param(("openvino", "int8"), marks=HAS_OPENVINO),
]
FLOATS = [ALL[0], ALL[2]]
Key = tuple[str, str]


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """Three convolutions, one of them strided, and an upsampling."""
    keras.utils.set_random_seed(11)
    x = inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(x), name="small")


SPEC = ModelSpec(
    name="small",
    input_size=SIZE,
    class_names=("a<&>\"'", "ü", "c"),  # what XML and a text file have to escape
    palette=((0, 0, 0), (255, 0, 0), (0, 255, 0)),
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that calibrate, as a folder."""
    place = tmp_path_factory.mktemp("images")
    for seed in range(12):
        cv2.imwrite(str(place / f"{seed}.png"), natural_noise(seed, SIZE))
    return place


def _noise() -> Samples:
    return Samples(tuple(natural_noise(seed, SIZE) for seed in range(2)), "noise")


@pytest.fixture(scope="module")
def exported(small: keras.Model, folder: Path) -> dict[Key, ExportResult]:
    """Each format and precision of the runtimes that are here, proven."""
    here = [name for name, module in (("mnn", "MNN"), ("openvino", "openvino")) if find_spec(module)]
    keys = [param.values[0] for param in ALL if param.values[0][0] in here]  # type: ignore[index]
    recipes = [Recipe(*key) for key in keys]  # type: ignore[misc]
    results = export_all(small, SPEC, recipes, samples=_noise(), quantization=Quantization(data=folder))
    return dict(zip(keys, results, strict=True))


@pytest.fixture(scope="module")
def saved(exported: dict[Key, ExportResult], tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Path]:
    """The files, with their proof beside them."""
    place = tmp_path_factory.mktemp("saved")
    paths = {key: result.save(place) for key, result in exported.items()}
    digests = {result.file_name: digest for result in exported.values() for digest in [_digest(result.data)]}
    next(iter(exported.values())).proof().with_artifacts(digests).save(place / "small.proof.zip")
    return paths


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("key", ALL)
def test_an_artifact_is_proven_and_says_how_to_feed_it(
    key: Key, exported: dict[Key, ExportResult], saved: dict[Key, Path]
) -> None:
    result = exported[key]
    assert result.failure == ""
    assert result.verification is not None
    assert result.verification.max_abs_error > 0 or key[1] == "fp32"  # the scores were found and compared
    assert saved[key].name == f"small.{key[1]}.{'mnn' if key[0] == 'mnn' else 'xml'}"
    with Segmenter(saved[key]) as segmenter:
        assert segmenter.spec == result.spec
        assert segmenter.spec.class_names == SPEC.class_names
        assert segmenter.backend.runtime.endswith(" fp32")  # what it computes in is always named
        image = natural_noise(3, SIZE)
        assert segmenter(image).class_map.shape == SIZE
        assert segmenter.backend.inputs[0].dtype == ("uint8" if key[1] == "int8" else "float32")


@pytest.mark.parametrize("key", ALL)
def test_the_precision_is_in_the_file(key: Key, exported: dict[Key, ExportResult]) -> None:
    # 1,008 weights and little else; 4, 2 and 1 bytes each.
    size, whole = (
        len(pairs.split(data)[1]) if key[0] == "openvino" else len(data)
        for data in (exported[key].data, exported[key[0], "fp32"].data)
    )
    kernels = 9 * (3 * 8 + 8 * 8 + 8 * 3)
    saved = {"fp32": 0, "fp16": 2, "int8": 3}[key[1]] * kernels
    # 200: biases, and alignment. 300 of int8: each of 19 channels has a scale and a zero point, in float32 and int8.
    assert whole - size == pytest.approx(saved, abs=300 if key[1] == "int8" else 200)


@pytest.mark.parametrize("key", [ALL[0], ALL[-1], *(pytest.param(key, marks=pytest.mark.slow) for key in ALL[1:-1])])
def test_every_command_runs_it(
    key: Key, saved: dict[Key, Path], folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, image = str(saved[key]), str(folder / "0.png")

    def said(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0, capfd.readouterr().err
        return json.loads(capfd.readouterr().out)  # MNN's own words are not among it

    said("predict", path, image, "--save", str(tmp_path / "mask.png"), "--visualize", "ids")
    class_map = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_GRAYSCALE)
    data = tmp_path / "data" / "val"
    for name in ("images", "labels"):
        (data / name).mkdir(parents=True)
    shutil.copy(image, data / "images" / "0.png")
    cv2.imwrite(str(data / "labels" / "0.png"), class_map)
    classes = {"names": list(SPEC.class_names), "colors": [list(color) for color in SPEC.palette]}
    (data.parent / "classes.json").write_text(json.dumps(classes))
    arguments = ("--data", str(data.parent), "--split", "val")
    assert said("evaluate", path, *arguments)["pixel_accuracy"] == 1  # of its own answer
    assert said("verify", path, "--repeat", "1")["verdicts"][0]["agreement"]["passed"]
    timed = said("benchmark", path, "--rounds", "1", "--num-runs", "2", "--min-secs", "0", "--num-threads", "1")
    (result,) = timed["results"]
    assert result["runtime"].endswith(" fp32")
    assert result["environment"]["versions"]["MNN" if key[0] == "mnn" else "openvino"] in result["runtime"]
    assert result["size_bytes"] == sum(file.stat().st_size for file in pairs.files_of(saved[key]))
    assert result["agreement"]["passed"]
    inspected = said("inspect", path)
    assert inspected["spec"]["name"] == "small"
    assert "CPU" in inspected["not_asked"]["cpu"]
    assert sum(count for op, count in inspected["ops"].items() if "Convolution" in op) >= 3
    assert main(["camera", path, "--source", image, "--no-show", "--save", str(tmp_path / "out.png")]) == 0


@pytest.mark.parametrize("key", FLOATS)
def test_the_same_model_gives_the_same_bytes(key: Key, small: keras.Model, exported: dict[Key, ExportResult]) -> None:
    # MNN's converter gives each file a random number. tf2onnx, and OpenVINO in one process, number what they add.
    (again,) = export_all(small, SPEC, [Recipe(*key)], samples=_noise())  # type: ignore[arg-type]
    assert again.data == exported[key].data


@pytest.mark.parametrize("key", FLOATS)
def test_scores_are_the_output_where_they_are_asked_for(key: Key, small: keras.Model) -> None:
    samples = Samples((natural_noise(0, SIZE),), "noise")
    options = ExportOptions(output_kind="softmax")
    (result,) = export_all(small, SPEC, [Recipe(*key)], samples=samples, options=options)  # type: ignore[arg-type]
    assert result.failure == ""
    with closing(open_artifact(result.data, result.recipe.format)) as backend:
        assert backend.outputs[0].shape == (1, *SIZE, 3)
        image = np.zeros((1, *SIZE, 3), np.float32)
        # Three float32 shares that were divided by their sum.
        np.testing.assert_allclose(backend.run(image).sum(axis=-1), 1, atol=1e-5)


def _reopened(path: Path, tmp_path: Path, change: Callable[[Path], None]) -> str:
    """Return what is said of a changed copy."""
    copies = [Path(shutil.copy(file, tmp_path)) for file in pairs.files_of(path)]
    change(copies[0])
    with pytest.raises(InputError) as refused:
        open_backend(copies[0])
    assert copies[0].name in str(refused.value)
    return str(refused.value)


@HAS_MNN
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\x00" * 4096, "truncated or no MNN model|it has no ops"),
        (bytes(range(256)) * 16, "truncated or no MNN model"),
        (None, "truncated or no MNN model|damaged or hostile|is not a model that MNN"),
    ],
)
def test_what_is_no_mnn_model_is_refused(
    content: bytes | None, said: str, saved: dict[Key, Path], tmp_path: Path
) -> None:
    path = saved["mnn", "fp32"]
    data = path.read_bytes()
    changed = data[: len(data) // 2] if content is None else content
    text = _reopened(path, tmp_path, lambda copy: copy.write_bytes(changed) and None)
    assert any(one in text for one in said.split("|")), text


@HAS_MNN
@pytest.mark.parametrize("shared", ["inputs", "name"])
def test_what_the_ops_of_an_mnn_model_share_is_read_in_no_time_of_its_square(shared: str) -> None:
    # 2,000 ops with the same 2,000 indices, or the same name of 8,000 bytes, in a file of 24 KB.
    count, number = 2000, {"inputs": 0, "name": 3}[shared]
    strings = bytes(8000) if shared == "name" else struct.pack(f"<{count}i", *[0] * count)
    vtable = struct.pack("<HH8H", 20, 8, *(4 if place == number else 0 for place in range(8)))
    net_vtable = struct.pack("<HH12H", 28, 12, *({3: 4, 7: 8}.get(place, 0) for place in range(12)))
    net = 4 + len(net_vtable)
    names_at = net + 12
    ops_at, op_vtable = names_at + 12, names_at + 12 + 4 + 4 * count
    first_op, strings_at = op_vtable + len(vtable), op_vtable + len(vtable) + 8 * count
    data = struct.pack("<I", net) + net_vtable
    data += struct.pack("<iII", net - 4, ops_at - net - 4, names_at - net - 8)
    data += struct.pack("<III", 1, 4, 0)  # one name, which is empty
    places = [first_op + 8 * op for op in range(count)]
    data += struct.pack("<I", count)
    data += b"".join(struct.pack("<I", place - ops_at - 4 - 4 * op) for op, place in enumerate(places))
    data += vtable
    data += b"".join(struct.pack("<iI", place - op_vtable, strings_at - place - 4) for place in places)
    data += struct.pack("<I", len(strings) if shared == "name" else count) + strings
    whole = mnn_file._verified
    one = data.replace(struct.pack("<I", count), struct.pack("<I", 1), 1)  # the vector of ops has one
    assert whole(one) == b""
    with pytest.raises(InputError, match="truncated or no MNN model"):
        mnn_file.read_mnn(data)


BOMB = b'<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@HAS_OPENVINO
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda xml: xml.with_suffix(".bin").write_bytes(b"\0" * 16), "its .bin is cut off: it has 16 bytes"),
        (lambda xml: xml.with_suffix(".bin").unlink(), "which does not exist; copy both files"),
        (lambda xml: xml.write_bytes(b"<html></html>"), "its root is no <net>"),
        (lambda xml: xml.write_bytes(b""), "its .xml is damaged or no XML"),
        (lambda xml: xml.write_bytes(xml.read_bytes()[:2000]), "its .xml is damaged or no XML"),
        (lambda xml: xml.write_bytes(xml.read_bytes().removesuffix(b"</net>\n")), "its .xml is damaged or no XML"),
        (lambda xml: xml.write_bytes(b'<?xml version="1.0" encoding="GB2312"?><net></net>'), "its .xml is no text"),
        (lambda xml: xml.write_bytes(b'<?xml version="1.0" encoding="utf-7"?><net></net>'), "its .xml is no text"),
        (lambda xml: xml.write_bytes(xml.read_text().encode("utf-16")), "no UTF-8 that ends with </net>|its .xml is"),
        (lambda xml: xml.write_bytes(xml.read_bytes() + b"<more/>"), "something follows its </net>"),
        (lambda xml: xml.write_bytes(BOMB + b"<net>&b;</net>"), "it declares a document type|declares a document type"),
        (lambda xml: xml.write_bytes(b"<net>" * 100), "nested more than 64 times|damaged or no XML"),
        (
            lambda xml: xml.write_bytes(xml.read_bytes().replace(b'offset="', b'offset="-', 1)),
            "a constant has the offset",
        ),
        (lambda xml: xml.write_bytes(b"<net></net>"), "no input or no output"),
    ],
)
def test_what_is_no_openvino_model_is_refused(
    change: Callable[[Path], Any], said: str, saved: dict[Key, Path], tmp_path: Path
) -> None:
    text = _reopened(saved["openvino", "fp32"], tmp_path, change)
    assert any(one in text for one in said.split("|")), text


@HAS_OPENVINO
def test_weights_of_another_export_are_told_from_their_own(saved: dict[Key, Path], tmp_path: Path) -> None:
    def change(xml: Path) -> None:  # of the same size: as after a kill between the two files of an export
        weights = bytearray(xml.with_suffix(".bin").read_bytes())
        weights[-1] ^= 1
        xml.with_suffix(".bin").write_bytes(weights)

    assert "not the one that it was exported with" in _reopened(saved["openvino", "fp32"], tmp_path, change)


@HAS_OPENVINO
def test_an_openvino_model_of_another_tool_opens_without_spec(saved: dict[Key, Path], tmp_path: Path) -> None:
    graph, weights = pairs.split(ModelFile.read(saved["openvino", "fp32"]).data)
    begin, end = graph.index(b"\t\t<edgeseg>"), graph.index(b"</edgeseg>") + len(b"</edgeseg>\n")
    (tmp_path / "theirs.xml").write_bytes(graph[:begin] + graph[end:])
    (tmp_path / "theirs.bin").write_bytes(weights)
    assert read_openvino(tmp_path / "theirs.xml")[3] is None
    with closing(open_backend(tmp_path / "theirs.xml")) as backend:
        assert backend.spec is None
        assert backend.inputs[0].shape == (1, *SIZE, 3)


@HAS_OPENVINO
def test_both_files_are_there_or_none_is_overwritten(exported: dict[Key, ExportResult], tmp_path: Path) -> None:
    result = exported["openvino", "fp32"]
    (tmp_path / "small.fp32.bin").write_text("mine")
    with pytest.raises(InputError, match=r"small\.fp32\.bin' exists"):
        result.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["small.fp32.bin"]
    with pytest.raises(InputError, match=r"is saved as an \.xml"):
        result.save(tmp_path / "model.openvino")
    path = result.save(tmp_path, overwrite=True)
    assert ModelFile.read(path).data == result.data
    rejected = result.save(tmp_path / "small.fp32.xml.rejected")
    assert pairs.files_of(rejected)[1].name == "small.fp32.bin.rejected"
    assert all(file.is_file() for file in pairs.files_of(rejected))
    with pytest.raises(InputError, match="failed its verification"):
        open_backend(rejected)


def test_the_bytes_of_a_pair_are_its_files() -> None:
    graph, weights = b"<net>\n</net>\n", b"\n\x00</net>"
    assert pairs.join(graph, weights) == graph + weights
    assert pairs.split(pairs.join(graph, weights)) == (graph, weights)
    assert pairs.split(pairs.join(graph.rstrip(), weights)) == (graph, weights)
    # Cut before its end, it stays cut: where the weights would begin is not known.
    assert pairs.join(b"<net>\n", weights) == b"<net>\n"
    assert pairs.split(b"<net>\n") == (b"<net>\n", b"")
    assert pairs.weights_path(Path("a/b.tflite")) is None
    assert pairs.weights_path(Path("a/b.fp32.XML")) == Path("a/b.fp32.bin")


@HAS_MNN
def test_pooling_indices_are_refused_for_mnn() -> None:
    model = create("segnet", num_classes=3, input_size=(32, 32))
    with pytest.raises(UnsupportedModel, match=r"'segnet' is not for MNN: .*Winograd.*Export it as tflite, onnx or"):
        export(model, format="mnn", verify=False)


@HAS_MNN
def test_a_converter_that_crashes_or_writes_nothing_is_a_sentence(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UnsupportedModel, match=r"does not convert to MNN: \(its converter: killed by SIGSEGV\)"):
        intermediate.convert({"model.onnx": b""}, worker, ["model.mnn"], arguments=[], name="MNN")
    worker.write_text("print('Converted Success!')")  # what MNN prints of failures, too
    with pytest.raises(UnsupportedModel, match=r"Success! \(its converter wrote nothing\)"):
        intermediate.convert({"model.onnx": b""}, worker, ["model.mnn"], arguments=[], name="MNN")


@HAS_MNN
def test_winograd_is_named_where_the_gate_would_be_met_without_it(exported: dict[Key, ExportResult]) -> None:
    result = exported["mnn", "fp32"]
    assert result.reference is not None
    said = _winograd(result.data, result.reference, result.recipe.gate)  # its own gate, which it meets
    assert re.fullmatch(
        r"; the cause is MNN's Winograd kernels, which only a program can switch off: without them (100|99)\.\d{3}% of "
        "the pixels have the class, and the gate is met",
        said,
    )
    for gate in (VerificationGate(1.01, None), VerificationGate(0.0, 0.0)):  # of classes, and of scores
        assert _winograd(result.data, result.reference, gate) == ""


@HAS_MNN
def test_models_that_open_in_two_threads_leave_stdout_as_it_was(
    saved: dict[Key, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    both = threading.Barrier(2)

    def opened() -> None:
        both.wait(60)
        for _ in range(5):
            MnnBackend(saved["mnn", "fp32"]).close()

    threads = [threading.Thread(target=opened) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    os.write(1, b"still there")
    assert capfd.readouterr().out == "still there"


@HAS_MNN
def test_a_model_opens_where_there_is_no_stdout(saved: dict[Key, Path]) -> None:
    script = (
        "import os, sys\nfrom edgeseg.runtime.mnn.backend import MnnBackend\n"
        "sys.stdout = None\nMnnBackend(sys.argv[1]).close()\n"
        "os.close(1)\nMnnBackend(sys.argv[1]).close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(saved["mnn", "fp32"])], check=True, timeout=120)


@HAS_MNN
def test_a_value_inside_takes_one_session(saved: dict[Key, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import MNN

    made, real = [], MNN.Interpreter

    class Counted:
        def __init__(self, path: str) -> None:
            self.real, self.sessions = real(path), 0
            made.append(weakref.ref(self))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def createSession(self, *arguments: Any) -> Any:  # noqa: N802 - MNN's name
            self.sessions += 1
            return self.real.createSession(*arguments)

    monkeypatch.setattr(MNN, "Interpreter", Counted)
    name = SCORES[intermediate.scores_layout(saved["mnn", "fp32"].read_bytes())]
    with closing(MnnBackend(saved["mnn", "fp32"], output=name)) as backend:
        assert backend.outputs[0].name == name
        alive = [one for one in (reference() for reference in made) if one is not None]
        assert [one.sessions for one in alive] == [1]  # the first, and all that it keeps, is gone
        assert np.isfinite(backend.run(np.zeros(backend.inputs[0].shape, np.float32))).all()


@pytest.mark.parametrize("key", FLOATS)
def test_a_closed_model_says_so(key: Key, saved: dict[Key, Path]) -> None:
    backend = open_backend(saved[key])
    image = np.zeros(backend.inputs[0].shape, np.float32)
    backend.run(image)
    backend.close()
    backend.close()
    for again in (lambda: backend.run(image), backend.invoke):
        with pytest.raises(ValueError, match=rf"{saved[key].name}' was closed; open it again to run it$"):
            again()


@HAS_MNN
def test_the_worker_runs_what_it_made_on_zeros(
    saved: dict[Key, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import MNN

    fed, real = [], MNN.Interpreter

    class Watched:
        def __init__(self, path: str) -> None:
            self.real = real(path)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def createSession(self, *arguments: Any) -> Any:  # noqa: N802 - MNN's name
            session = self.real.createSession(*arguments)
            for tensor in self.real.getSessionInputAll(session).values():  # what memory may hold
                shape, axes = tensor.getShape(), tensor.getDimensionType()
                ones = np.ones(shape, np.float32)
                tensor.copyFrom(MNN.Tensor(shape, tensor.getDataType(), ones, axes))
            return session

        def runSession(self, session: Any) -> Any:  # noqa: N802 - MNN's name
            for tensor in self.real.getSessionInputAll(session).values():
                host = MNN.Tensor(tensor, tensor.getDimensionType())
                tensor.copyToHostTensor(host)
                fed.append(np.array(host.getNumpyData()))
            return self.real.runSession(session)

    def convert(_: list[str]) -> None:
        shutil.copy(saved["mnn", "fp32"], tmp_path / "model.mnn")

    (tmp_path / "spec.json").write_text("{}")
    monkeypatch.setattr(MNN, "Interpreter", Watched)
    monkeypatch.setitem(sys.modules, "_tools", SimpleNamespace(mnnconvert=convert))
    mnn_worker.main(tmp_path, "fp32")
    assert [one.shape for one in fed] == [(1, *SIZE, 3)]
    assert not fed[0].any()


@HAS_OPENVINO
def test_what_openvino_makes_wrong_is_a_model_that_does_not_convert(
    exported: dict[Key, ExportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, weights = pairs.split(exported["openvino", "fp32"].data)
    spec = exported["openvino", "fp32"].spec
    monkeypatch.setattr(intermediate, "prepared", lambda data: data)
    for made, said in (
        ((b"<net></net>\n", weights), "the graph has no rt_info at its end"),
        ((graph, weights[:16]), "its .bin is cut off"),
    ):
        monkeypatch.setattr(intermediate, "convert", lambda *_, made=made, **__: made)
        with pytest.raises(UnsupportedModel, match=r"^the model does not convert to OpenVINO: ") as refused:
            to_openvino(b"", spec)
        assert said in str(refused.value)
        assert re.search(r"[^.]\.$", str(refused.value))


@HAS_MNN
def test_what_mnn_does_not_know_is_refused(exported: dict[Key, ExportResult]) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 3]) for name in ("image", "scores")]
    graph = helper.make_graph([helper.make_node("NoSuchOp", ["image"], ["scores"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert isinstance(model, onnx.ModelProto)
    with pytest.raises(UnsupportedModel, match="the model does not convert to MNN"):
        to_mnn(model.SerializeToString(), exported["mnn", "fp32"].spec)


@pytest.mark.parametrize(("name", "module"), [("mnn", "MNN"), ("openvino", "openvino")])
def test_a_missing_package_is_told_before_the_work(
    name: str, module: str, small: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable, match=rf'pip install "edgeseg\[{name}\]"'):
        export(small, format=name)  # type: ignore[arg-type]


@HAS_OPENVINO
def test_the_precision_that_was_asked_for_is_read_back(saved: dict[Key, Path]) -> None:
    path = saved["openvino", "fp32"]
    for precision in ("fp16", "bf16"):  # what this CPU has decides which of the two it is
        try:
            with closing(open_backend(path, runtime_precision=precision)) as backend:  # type: ignore[arg-type]
                assert backend.runtime.endswith(f" {precision}")
        except BackendUnavailable as error:
            others = "|".join({"fp32", "fp16", "bf16"} - {precision})  # of OpenVINO's own choice
            assert re.search(rf"does not compute in {precision}: OpenVINO would use ({others})\. Omit", str(error))


def test_a_runtime_precision_is_for_openvino_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`runtime_precision` is for OpenVINO models; backend 'mnn'"):
        RuntimeOptions(runtime_precision="fp16").choose(tmp_path / "a.mnn")
    with pytest.raises(InputError, match="unknown runtime precision 'int4'"):
        RuntimeOptions(runtime_precision="int4").choose(tmp_path / "a.xml")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not run on the accelerator 'gpu'"):
        RuntimeOptions(accelerator="gpu").choose(tmp_path / "a.xml")
    with pytest.raises(TypeError, match="precision"):
        open_backend(tmp_path / "a.xml", precision="bf16")  # type: ignore[call-arg]


@HAS_OPENVINO
def test_a_coarser_runtime_precision_has_a_gate_of_its_own(saved: dict[Key, Path]) -> None:
    proof = read_proof(saved["openvino", "fp32"].with_name("small.proof.zip"))
    own, half = proof.gates["fp32"], proof.gates["fp16"]
    assert _gate(proof, "fp32", None) == own
    assert _gate(proof, "fp32", "fp32") == own
    assert _gate(proof, "fp32", "fp16") == half
    bf16 = _gate(proof, "fp32", "bf16")
    assert bf16.min_agreement == half.min_agreement
    leads = np.concatenate([image.margins.ravel() for image in proof.images])
    assert half.decided_from <= bf16.decided_from <= 8 * half.decided_from
    assert np.mean(leads >= bf16.decided_from) >= 0.25  # a model that is never sure is still compared
    assert _gate(proof, "int8", "bf16").min_agreement == proof.gates["int8"].min_agreement
    with pytest.raises(InputError, match="no gate for fp32"):
        _gate(replace(proof, gates={"fp16": half}), "fp32", None)


@pytest.fixture
def one(saved: dict[Key, Path]) -> Iterator[Path]:
    """Any of the files."""
    if not saved:
        pytest.skip("neither MNN nor OpenVINO is installed")
    yield next(iter(saved.values()))


def test_what_does_not_exist_for_these_formats_is_a_sentence(one: Path) -> None:
    with pytest.raises(InputError, match="has no coverage to ask for: edgeseg runs"):
        coverage(one, "cpu")
    with pytest.raises(InputError, match="cannot be cut to find a wrong op"):
        find_wrong_op(one, np.zeros(1), on_device=lambda *_: np.zeros(1), on_cpu=lambda *_: np.zeros(1))
    assert main(["inspect", str(one), "--accelerator", "gpu"]) == 2
    assert main(["benchmark", str(one), "--profile", "profile"]) == 2
