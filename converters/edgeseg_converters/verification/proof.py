"""Make the proof that travels beside the artifacts, of the answers that the export has of the Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.locks import SUFFIX as LOCK_SUFFIX
from edgeseg._internal.locks import exclusive
from edgeseg.choices import Precision
from edgeseg.errors import EdgesegError, InputError
from edgeseg.imaging import letterbox
from edgeseg.proof.file import MAX_BYTES, MAX_IMAGES, SUFFIX, Proof, ProofGate, ProofImage, read_proof
from edgeseg.proof.margins import decode_margins, encode_margins
from edgeseg.proof.verdict import verify
from edgeseg.spec import Provenance
from edgeseg_converters.recipes import GATES
from edgeseg_converters.verification.comparison import Reference

#: How far rounding may move a score, over the largest, so that a pixel whose best class leads by more is decided. Twice
#: what one score may move by, as the two may move towards each other.
ROUNDING: Mapping[Precision, float] = {
    # The gate of the export allows a score to differ by 1e-3.
    "fp32": 2e-3,
    # Each layer rounds its weights, and on a GPU or in ONNX its map, by half a step of float16, 2^-11; the errors of 50
    # layers add up like those of a random walk, to 3.5e-3, if they are independent, and a few times that if not.
    "fp16": 2e-2,
    # Half a step of 8 bits is 2e-3 of a range, which weights and maps are rounded by; 25 layers are off by 2e-2.
    "dynamic": 5e-2,
    "int8": 1e-1,
    "w8a16": 5e-2,
}

# At least this share of the pixels is decided, so that a model which is never sure is still compared.
_LEAST_DECIDED = 0.25
_LEAST_MARGIN = 1e-6  # a margin of 0 is a tie


def make_proof(expected: Reference) -> Proof:
    """Make a proof of the images of a reference, without artifacts.

    As many images are taken as fit into 3 MB; the first always is.

    Args:
        expected: the answers of the model.
    """
    margins = _margins(expected)
    fed = expected.spec.replace(dtype="float32", layout="nhwc", provenance=Provenance())
    images = tuple(
        ProofImage(image_rgb=letterbox(image, fed)[0], class_map=answer.class_map, margins=margin)
        for image, answer, margin in zip(expected.samples.images, expected.answers, margins, strict=True)
    )[:MAX_IMAGES]
    while True:
        leads = np.concatenate([image.margins.ravel() for image in images])
        gates = {
            precision: ProofGate(
                min_agreement=gate.min_agreement,
                decided_from=float(
                    max(min(ROUNDING[precision], np.quantile(leads, 1 - _LEAST_DECIDED)), _LEAST_MARGIN)
                ),
            )
            for precision, gate in GATES.items()
        }
        proof = Proof(spec=fed, source=expected.samples.source, gates=gates, images=images)
        if len(images) == 1 or len(proof.to_bytes()) <= MAX_BYTES:
            return proof
        images = images[:-1]


def _margins(expected: Reference) -> list[NDArray[np.float32]]:
    """Return by how much the best score of each pixel leads, over the largest; 0 where Keras decides by rounding."""
    leads = [answer.leads() for answer in expected.answers]
    if (probe := expected.pooling_probe) is not None:
        # What half precision rounds by: such a model decides a pixel in another way than its artifact only there.
        rounding = GATES["fp16"].rounding
        assert rounding is not None
        steadiness = probe.at(rounding)
        leads = [
            np.where(steady, np.maximum(lead - 2 * moved, 0), 0)
            for lead, steady, moved in zip(leads, steadiness.steady, steadiness.movement, strict=True)
        ]
    # As they are read again: in a few steps.
    return [decode_margins(encode_margins((lead / expected.largest).astype(np.float32))) for lead in leads]


def existing_proof(folder: Path, name: str, *, overwrite: bool) -> Proof | None:
    """Return the proof of an earlier export of a model; ``None`` where there is none, or one that may be replaced.

    Args:
        folder: of the artifacts.
        name: of the model.
        overwrite: whether a file that is no proof may be replaced.

    Raises:
        InputError: a file of that name is there, and is no proof.
    """
    path = folder / f"{name}{SUFFIX}"
    if not path.exists():
        return None
    try:
        return read_proof(path)
    except InputError as error:
        if overwrite:
            return None
        raise InputError(f"{error} Or replace it: `overwrite=True`.") from error


def save_proof(expected: Reference, name: str, artifacts: Mapping[str, str], folder: Path, *, overwrite: bool) -> Path:
    """Write the proof of a model beside its artifacts, or add the artifacts to the one that is there.

    A proof that is there was made on other images where an earlier export had other ``data``. It stays, and gets the
    artifacts, if all of them answer it as its own Keras model did.

    Args:
        expected: the answers of the model.
        name: of the model.
        artifacts: the SHA-256 of each artifact that passed, by file name.
        folder: that has the artifacts.
        overwrite: whether the proof of another model may be replaced.

    Returns:
        The path of the proof.

    Raises:
        InputError: the proof of another model is there, or it cannot be written.
    """
    path = folder / f"{name}{SUFFIX}"
    with exclusive(path.with_name(f".{path.name}{LOCK_SUFFIX}"), f"'{path}'"):
        proof = make_proof(expected)
        there = existing_proof(folder, name, overwrite=overwrite)
        if there is not None and there.asks_the_same(proof):
            proof = there  # of an export of another precision or format
        elif there is not None and not overwrite:
            for artifact in artifacts:
                _require_answers(folder / artifact, path)
            proof = there
        proof.with_artifacts(artifacts).save(path, overwrite=True)
        if there is not None and proof is not there:  # replaced: what is still here and answers the new one stays in it
            kept = _answering(folder, path, {n: d for n, d in there.artifacts.items() if n not in artifacts})
            proof.with_artifacts({**kept, **artifacts}).save(path, overwrite=True)
    return path


def _answering(folder: Path, proof: Path, artifacts: Mapping[str, str]) -> dict[str, str]:
    """Return those artifacts of an earlier proof that are still there and answer another one."""
    kept = {}
    for name, digest in artifacts.items():
        path = folder / name
        try:
            if Path(name).name == name and path.is_file() and sha256(ModelFile.read(path).data) == digest:
                _require_answers(path, proof)
                kept[name] = digest
        except (EdgesegError, OSError):
            continue
    return kept


def _require_answers(artifact: Path, proof: Path) -> None:
    """Raise ``InputError`` where an artifact does not answer a proof of an earlier export."""
    instead = "replace it by `overwrite=True`, or do without by `proof=False`"
    try:
        verdict = verify(artifact, proof, repeat=1)
    except InputError as error:
        raise InputError(f"'{artifact}' is saved without a proof, as '{proof}' is there: {error} {instead}.") from error
    if not verdict.passed:
        raise InputError(
            f"'{artifact}' is saved without a proof: '{proof}' is of another model, {verdict.agreement.worst:.1%} of "
            f"its decided pixels agree; {instead}."
        )
