from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.proof.file import Proof, ProofGate, ProofImage
from edgeseg.proof.first_wrong_op import Run, input_tensor
from edgeseg.runtime import open_backend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tflite.litert_internals import load_schema, to_bytes

DATA = Path(__file__).parents[3] / "data"


def proof_of(spec: ModelSpec) -> Proof:
    """A proof with one image of noise, whose answers are not asked."""
    height, width = spec.input_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    empty = np.zeros((height, width), np.uint8)
    one = ProofImage(image_rgb=image, class_map=empty, margins=empty.astype(np.float32))
    gates = {"fp32": ProofGate(min_agreement=0.9, decided_from=0.1)}
    return Proof(spec=spec, source="noise", gates=gates, images=(one,))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx"])
def test_the_image_is_fed_as_a_segmenter_feeds_it(name: str, on_cpu: Run) -> None:
    path = DATA / f"saved.{name}"
    segmenter = Segmenter(path)
    assert segmenter.spec is not None
    proof = proof_of(segmenter.spec)
    expected = segmenter(proof.images[0].image_rgb).class_map
    got = on_cpu(path, input_tensor(path, proof, 0))
    assert np.array_equal(np.squeeze(got), expected)


def test_an_image_is_quantized_where_the_file_takes_integers(
    tflite_model: Callable[..., bytes], tiny_spec: ModelSpec, tmp_path: Path
) -> None:
    height, width = tiny_spec.input_size
    path = tmp_path / "model.tflite"
    data = tflite_model(["RELU"], [((1, height, width, 3), "int8")], scale=1 / 64, zero_point=-4)
    model = load_schema().ModelT.InitFromPackedBuf(data, 0)
    buffer, entry = load_schema().BufferT(), load_schema().MetadataT()
    buffer.data = np.frombuffer(tiny_spec.to_json().encode(), np.uint8)
    entry.name, entry.buffer = METADATA_KEY.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [entry]
    path.write_bytes(to_bytes(model))
    proof = proof_of(tiny_spec)
    tensor = input_tensor(path, proof, 0)
    assert tensor.dtype == np.int8 and tensor.shape == open_backend(path).inputs[0].shape
    normalized = proof.images[0].image_rgb / 127.5 - 1
    np.testing.assert_allclose((tensor[0].astype(float) + 4) / 64, normalized, atol=1 / 128 + 1e-6)  # half a step


def test_the_proof_of_another_model_is_refused(tiny_spec: ModelSpec) -> None:
    with pytest.raises(InputError, match="this is the proof of another model"):
        input_tensor(DATA / "saved.fp32.tflite", proof_of(tiny_spec.replace(input_size=(64, 64))), 0)
