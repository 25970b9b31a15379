"""Make the tensor of a proof's image, as an artifact takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeseg.imaging import preprocess
from edgeseg.proof.answering import spec_for
from edgeseg.proof.file import Proof
from edgeseg.runtime import Backend, open_backend
from edgeseg.runtime.quantized_input import feed_as


def input_tensor(artifact: str | Path, proof: Proof, index: int) -> NDArray[Any]:
    """Return an image of a proof as an artifact takes it, with the artifact opened on this computer's CPU.

    Args:
        artifact: a ``.tflite`` or ``.onnx`` file.
        proof: of its model.
        index: of the image; the one that a verdict says is worst shows most.

    Raises:
        InputError: the artifact does not open, or the proof is of another model.
        BackendUnavailable: the runtime is not installed here.
    """
    opened = open_backend(artifact)
    try:
        spec = spec_for(opened, proof)
        image, _ = preprocess(proof.images[index].image_rgb, spec)
        return feed_as(_Echo(opened), spec.dtype).run(image)
    finally:
        opened.close()


class _Echo:
    """A backend that returns what it is fed."""

    def __init__(self, opened: Backend) -> None:
        self.runtime, self.spec, self.inputs, self.outputs = opened.runtime, opened.spec, opened.inputs, opened.outputs

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        return image

    def invoke(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: what was opened is closed by who opened it."""
