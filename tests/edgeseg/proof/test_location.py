"""``proof.location`` and ``first_wrong_op.scores``: from a verdict that failed to the op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.proof import find_on_device, verify
from edgeseg.proof.device import ThisMachine
from edgeseg.proof.first_wrong_op.scores import scores_part
from edgeseg.proof.questions import Answers

DATA = Path(__file__).parents[2] / "data"


class Corrupt(ThisMachine):
    """This machine with another sign of all weights of the convolution before the last, from some run on."""

    name = "npu"

    def __init__(self, folder: Path, *, from_run: int = 0) -> None:
        self._folder, self._from = folder, from_run
        self.wrong = ""

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        return super().answers(self._edited(artifact), options, proof, order)

    def value(self, artifact: Path, options: Mapping[str, Any], tensor: NDArray[Any], *, runs: int = 1) -> NDArray[Any]:
        return super().value(self._edited(artifact) if runs > self._from else artifact, options, tensor, runs=runs)

    def _edited(self, path: Path) -> Path:
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
        graph = model.subgraphs[0]
        codes = [code.builtinCode for code in model.operatorCodes]
        ops = [op for op in graph.operators if codes[op.opcodeIndex] == schema.BuiltinOperator.CONV_2D]
        named = {graph.tensors[op.outputs[0]].name: op for op in ops}
        if not self.wrong:  # of the whole model, which is asked first
            self.wrong = list(named)[-2].decode()
        if (op := named.get(self.wrong.encode())) is not None:
            buffer = model.buffers[graph.tensors[op.inputs[1]].buffer]
            buffer.data = np.frombuffer((-np.frombuffer(bytes(buffer.data), np.float32)).tobytes(), np.uint8)
        edited = self._folder / "edited.tflite"
        edited.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
        return edited


@pytest.mark.slow
def test_the_op_is_named_on_the_device_of_the_verdict(proven: Path, tmp_path: Path) -> None:
    artifact = proven / "unet_mini.fp32.tflite"
    device = Corrupt(tmp_path, from_run=1)  # right on the first inference
    verdict = verify(artifact, device=device, repeat=2)
    assert not verdict.passed
    lines: list[str] = []
    found = find_on_device(verdict, artifact, options={}, device=device, partitions=[range(200)], tell=lines.append)
    assert found.outcome == "found", str(found)
    assert found.found is not None
    assert (found.found.op.kind, found.found.op.name) == ("CONV_2D", device.wrong)
    assert found.found.partition is not None
    assert len(lines) >= found.looked_at - 1


def test_the_command_says_that_it_is_the_file(proven: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    edited = Corrupt(tmp_path)._edited(proven / "unet_mini.fp32.tflite")
    proof = str(proven / "unet_mini.proof.zip")
    assert main(["verify", str(edited), "--proof", proof, "--repeat", "1", "--find-op"]) == 1
    assert "so it is the file that is wrong, and not where it runs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fp32.tflite", "fp32.onnx"])
def test_scores_are_those_that_the_ids_are_of(name: str, tmp_path: Path) -> None:
    artifact = DATA / f"saved.{name}"
    data = scores_part(artifact)
    assert data is not None
    part = tmp_path / f"part{artifact.suffix}"
    part.write_bytes(data)
    image = np.random.default_rng(0).uniform(-1, 1, _taken(artifact)).astype(np.float32)
    ids, scores = (ThisMachine().value(path, {}, image) for path in (artifact, part))
    axis = 1 if artifact.suffix == ".onnx" else -1
    assert np.array_equal(scores.argmax(axis=axis).reshape(ids.shape), ids)


def test_scores_themselves_are_not_cut(proven: Path, tmp_path: Path) -> None:
    assert scores_part(proven / "unet_mini.fp32.tflite") is None
    (tmp_path / "broken.onnx").write_bytes(b"\xff")
    assert scores_part(tmp_path / "broken.onnx") is None
    with pytest.raises(InputError):
        scores_part(tmp_path / "none.tflite")


def _taken(path: Path) -> tuple[int, ...]:
    from edgeseg.runtime import open_backend

    backend = open_backend(path)
    try:
        return backend.inputs[0].shape
    finally:
        backend.close()
