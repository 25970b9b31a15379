"""Verify an artifact on the device that runs it: the proof that travels beside it, and the verdict.

A proof is ``MODEL.proof.zip``, which ``edgeseg export`` writes: images, what Keras says of them, and the gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names

if TYPE_CHECKING:
    from edgeseg.proof.agreement import Agreement, ClassAgreement, ImageAgreement
    from edgeseg.proof.file import Proof, ProofGate, ProofImage, read_proof
    from edgeseg.proof.first_wrong_op import WrongOp, find_wrong_op
    from edgeseg.proof.location import find_on_device
    from edgeseg.proof.verdict import Verdict, find_proof, verify

__all__ = [
    # what to call
    "find_on_device",
    "find_proof",
    "find_wrong_op",
    "read_proof",
    "verify",
    # what comes out
    "Agreement",
    "ClassAgreement",
    "ImageAgreement",
    "Proof",
    "ProofGate",
    "ProofImage",
    "Verdict",
    "WrongOp",
]

_MODULES = {
    "agreement": ("Agreement", "ClassAgreement", "ImageAgreement"),
    "file": ("Proof", "ProofGate", "ProofImage", "read_proof"),
    "first_wrong_op": ("WrongOp", "find_wrong_op"),
    "location": ("find_on_device",),
    "verdict": ("Verdict", "find_proof", "verify"),
}

__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}
)
