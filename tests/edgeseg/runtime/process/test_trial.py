"""``edgeseg.runtime.process``: ``trial`` and its ``trial_worker``, ``record`` and ``edgeseg.runtime.artifact``: files
that end the process of LiteRT, which must not be the one of the user.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeseg import Segmenter
from edgeseg._internal.limits.models import ModelFile
from edgeseg.cli import main
from edgeseg.coverage import coverage
from edgeseg.errors import DeviceLost, InputError
from edgeseg.runtime import open_backend
from edgeseg.runtime.process import child, record

DATA = Path(__file__).parents[3] / "data"
GOOD = DATA / "saved.int8.tflite"
Edit = Callable[[Any], None]


def _op(model: Any, name: str) -> Any:
    code = getattr(schema.BuiltinOperator, name)
    return next(op for op in model.subgraphs[0].operators if model.operatorCodes[op.opcodeIndex].builtinCode == code)


def _output(model: Any, name: str) -> Any:
    return model.subgraphs[0].tensors[_op(model, name).outputs[0]]


def _as_split(model: Any) -> None:
    _op(model, "CONV_2D").opcodeIndex = _op(model, "SPLIT").opcodeIndex


# An edit that ends the process of LiteRT 2.3, and what is said of it. The last is not seen by the walk.
DEADLY: dict[str, tuple[Edit, str]] = {
    "split": (lambda model: setattr(_op(model, "SPLIT").builtinOptions, "numSplits", 65535), "has 65535 outputs"),
    "settings": (_as_split, "has not the settings of a SPLIT"),
    "first-input": (lambda model: setattr(_op(model, "QUANTIZE"), "inputs", [-1]), "has no first input"),
    "scale": (lambda model: setattr(_output(model, "QUANTIZE").quantization, "scale", [0.0]), "not above 0"),
    "zero-point": (lambda model: setattr(_output(model, "QUANTIZE").quantization, "zeroPoint", [300]), "-128 to 127"),
    "no-scale": (
        lambda model: setattr(model.subgraphs[0].tensors[17].quantization, "scale", []),
        "is damaged or hostile: the process that tried it was killed by SIGABRT",
    ),
}

# Opens and runs each file in a fork of its own: the signal that ended it, 0 where there was none.
_RAW = """
import json, os, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
ends = []
for path in sys.argv[1:]:
    if not (fork := os.fork()):
        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
        image = interpreter.get_input_details()[0]
        interpreter.set_tensor(image["index"], np.ones(image["shape"], image["dtype"]))
        interpreter.invoke()
        os._exit(0)
    ends.append(os.WTERMSIG(os.waitpid(fork, 0)[1]))
print(json.dumps(ends))
"""


@pytest.fixture(autouse=True)
def _tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trials as a user has them, with a cache folder of the test's own."""
    monkeypatch.delenv("EDGESEG_TRIAL_SECONDS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def deadly(broken: Callable[[Edit], bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("deadly")
    for name, (edit, _) in DEADLY.items():
        (folder / f"{name}.tflite").write_bytes(broken(edit))
    return {name: folder / f"{name}.tflite" for name in DEADLY}


def test_the_runtime_alone_dies_of_each(deadly: dict[str, Path]) -> None:
    command = [sys.executable, "-c", _RAW, *map(str, deadly.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ends = dict(zip(deadly, json.loads(done.stdout), strict=True))
    # What lies beyond a tensor is read or overwritten: once in a while that is memory which nothing else needs.
    assert sum(end != 0 for end in ends.values()) >= len(ends) - 1, ends


@pytest.mark.parametrize("name", DEADLY)
def test_a_command_says_one_line(deadly: dict[str, Path], name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(deadly[name])]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"edgeseg: '{deadly[name]}' ")
    assert DEADLY[name][1] in line


def test_every_opener_of_a_file_is_shielded(deadly: dict[str, Path]) -> None:
    path = deadly["no-scale"]
    for opener in (Segmenter, lambda path: coverage(path, "cpu")):
        with pytest.raises(InputError, match="killed by SIGABRT"):
            opener(path)


def test_a_benchmark_names_the_signal(deadly: dict[str, Path]) -> None:
    from edgeseg.benchmark.devices.local import LocalDevice
    from edgeseg.benchmark.worker import Request

    with pytest.raises(DeviceLost, match=r"no-scale.tflite' ended early, killed by SIGABRT"):
        LocalDevice().run(Request(path=str(deadly["no-scale"]), num_runs=1, min_secs=0))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The workers that are started."""
    started: list[Path] = []
    run = child.run

    def recorded(worker: Path, *args: Any, **keywords: Any) -> child.Ended:
        started.append(worker)
        return run(worker, *args, **keywords)

    monkeypatch.setattr(child, "run", recorded)
    yield started


def test_a_model_is_tried_once(children: list[Path], tmp_path: Path) -> None:
    (tmp_path / "copy.tflite").write_bytes(GOOD.read_bytes())
    for path in (GOOD, GOOD, tmp_path / "copy.tflite"):
        open_backend(path).close()
    assert len(children) == 1
    open_backend(GOOD, num_threads=1).close()  # another way to run is another trial
    assert len(children) == 2
    assert len(record.path().read_text().splitlines()) == 2


def test_a_cache_that_cannot_be_used_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    open_backend(DATA / "saved.fp32.onnx").close()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    record.path().parent.mkdir()
    record.path().write_bytes(b"\xff\xfe broken \n" + b"0" * 10)
    assert not record.has("0" * 64)
    record.add("1" * 64)
    assert record.has("1" * 64)


def test_the_record_is_bounded_and_forgets_the_oldest() -> None:
    record.path().parent.mkdir(parents=True)
    keys = [f"{number:064x}" for number in range(record.MOST)]
    record.path().write_text("".join(f"{key}\n" for key in keys))
    record.add("f" * 64)
    assert not record.has(keys[0])
    assert record.has(keys[1])
    assert len(record.path().read_text().splitlines()) == record.MOST


def test_the_bytes_that_were_read_are_the_bytes_that_run(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(GOOD.read_bytes())
    file = ModelFile.read(path)
    path.write_bytes(b"something else")
    with Segmenter(open_backend(file)) as segmenter:
        assert segmenter(np.zeros((40, 60, 3), np.uint8)).class_map.shape == (40, 60)


def test_what_takes_too_much_memory_is_one_line(
    tflite_model: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # No tensor is beyond the limit of 80 MiB, and two of 58 MiB are.
    shapes = [((1, 2250, 2250, 3), "float32")] * 3
    (tmp_path / "m.tflite").write_bytes(tflite_model(["RELU", "RELU"], shapes))
    monkeypatch.setenv("EDGESEG_MAX_MODEL_MEMORY", "80")
    with pytest.raises(InputError, match=r"m.tflite' takes more than 80 MiB to run.*EDGESEG_MAX_MODEL_MEMORY"):
        open_backend(tmp_path / "m.tflite")


def test_what_hangs_is_stopped(
    broken: Callable[[Edit], bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(broken(_endless))
    monkeypatch.setenv("EDGESEG_TRIAL_SECONDS", "2")
    with pytest.raises(InputError, match=r"m.tflite' does not run: no answer in 2 s.*EDGESEG_TRIAL_SECONDS"):
        open_backend(tmp_path / "m.tflite")


def _endless(model: Any) -> None:
    """Make the model a WHILE whose condition is a constant, true, and whose body gives back what it gets."""
    image = schema.TensorT(name=b"x", shape=[1, 8, 8, 3], type=0, buffer=0)
    yes = schema.TensorT(name=b"yes", shape=[1], type=schema.TensorType.BOOL, buffer=1)
    model.buffers = [schema.BufferT(), schema.BufferT(data=np.ones(1, np.uint8))]
    loop = schema.OperatorT(
        opcodeIndex=0,
        inputs=[0],
        outputs=[1],
        builtinOptionsType=93,
        builtinOptions=schema.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=2),
    )
    same = schema.OperatorT(opcodeIndex=1, inputs=[0], outputs=[1])
    model.operatorCodes = [
        schema.OperatorCodeT(builtinCode=119, deprecatedBuiltinCode=119, version=1),
        schema.OperatorCodeT(builtinCode=19, deprecatedBuiltinCode=19, version=1),  # RELU
    ]
    model.subgraphs = [
        schema.SubGraphT(tensors=[image, image], inputs=[0], outputs=[1], operators=[loop]),
        schema.SubGraphT(tensors=[image, yes], inputs=[0], outputs=[1], operators=[]),
        schema.SubGraphT(tensors=[image, image], inputs=[0], outputs=[1], operators=[same]),
    ]
    model.signatureDefs, model.metadata = [], []
