"""Answer a proof with an open backend, and prepare what one run of it takes and gives.

For the process that runs on a device, and for a computer that feeds the tool of a device. Class maps are made of the
outputs as ``Segmenter`` makes them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg.choices import Precision
from edgeseg.errors import InputError
from edgeseg.imaging import preprocess
from edgeseg.proof.file import Proof
from edgeseg.proof.questions import Answers, as_png
from edgeseg.runtime.base import Backend, TensorInfo
from edgeseg.runtime.quantized_input import feed_as
from edgeseg.segmenter import to_class_map
from edgeseg.spec import ModelSpec


def answer_proof(opened: Backend, proof: Proof, order: Sequence[int]) -> Answers:
    """Run an artifact on the images of a proof.

    Args:
        opened: has the artifact open. What it says of an accelerator is asked after the runs.
        proof: has the images.
        order: the index of the image of each run.

    Raises:
        InputError: the proof is not of this artifact.
    """
    spec = spec_for(opened, proof)
    fed = feed_as(opened, spec.dtype)
    tensors = [preprocess(image.image_rgb, spec)[0] for image in proof.images]
    maps: dict[str, int] = {}
    runs, outputs = [], []
    for index in order:
        output = fed.run(tensors[index])
        outputs.append(sha256(output.tobytes()))
        shape = proof.images[index].class_map.shape
        class_map = to_class_map(output, spec.replace(input_size=shape))
        runs.append(maps.setdefault(as_png(class_map), len(maps)))
    return Answers(
        runtime=opened.runtime,
        precision=precision_of(opened.spec, opened.inputs[0], opened.outputs[0]),
        maps=tuple(maps),
        runs=tuple(runs),
        outputs=tuple(outputs),
        has_scores=spec.output_kind != "argmax",
        fully_accelerated=getattr(opened, "fully_accelerated", None),
        software_rendering=bool(getattr(opened, "software_rendering", False)),
        coverage=getattr(opened, "coverage", None),
        half_arithmetic=getattr(opened, "half_arithmetic", None),
    )


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Return an array as a ``.npy`` file; numpy's own writing to a full disk is an error that does not say so."""
    packed = io.BytesIO()
    np.save(packed, array)
    return packed.getvalue()


def spec_for(backend: Backend, proof: Proof) -> ModelSpec:
    """Return how to feed an artifact with the images of a proof.

    Args:
        backend: has the artifact open. A file that a vendor's compiler wrote may have lost its ModelSpec: then it is
            the proof's, with what the file's own tensors say of it.
        proof: has the images.

    Raises:
        InputError: the artifact has other classes or takes images of another size.
    """
    own = backend.spec or _from_tensors(backend, proof.spec)
    for what, mine, asked in (
        ("images of", ",".join(map(str, own.input_size)), ",".join(map(str, proof.spec.input_size))),
        ("classes", own.num_classes, proof.spec.num_classes),
    ):
        if mine != asked:
            raise InputError(f"this is the proof of another model: it has {what} {asked}, the artifact {mine}.")
    return own


def _from_tensors(backend: Backend, spec: ModelSpec) -> ModelSpec:
    image, output = backend.inputs[0], backend.outputs[0]
    nchw = len(image.shape) == 4 and image.shape[1] == 3 and image.shape[3] != 3
    channels = output.shape[1 if nchw else -1] if len(output.shape) == 4 else 0
    return spec.replace(
        layout="nchw" if nchw else "nhwc",
        dtype="uint8" if image.dtype == "uint8" else "float32",
        output_kind="logits" if channels == spec.num_classes else "argmax",
    )


def precision_of(spec: ModelSpec | None, *tensors: TensorInfo) -> Precision:
    """Return the precision of an artifact: what its ModelSpec says, else what its tensors show.

    Args:
        spec: the ModelSpec inside; ``None`` where a vendor's compiler lost it.
        tensors: its input and its output.
    """
    if spec is not None:
        return spec.provenance.precision
    return "int8" if any(tensor.scale or tensor.dtype in ("int8", "uint8") for tensor in tensors) else "fp16"


def require_taken(what: str, taken: TensorInfo, tensor: NDArray[Any]) -> None:
    """Raise ``InputError`` where a model does not take a tensor.

    Args:
        what: the model, as the start of a sentence.
        taken: its input.
        tensor: what it is given.
    """
    if tensor.dtype != taken.dtype or tensor.shape != tuple(map(abs, taken.shape)):
        raise InputError(f"{what} takes {taken.shape} {taken.dtype}, it is given {tensor.shape} {tensor.dtype}.")
