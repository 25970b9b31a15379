"""Verify an artifact on the device that runs it: the proof that travels beside it, and the verdict.

A proof is ``MODEL.proof.zip``, which ``edgeseg export`` writes: images, what Keras says of them, and the gates.
"""

from __future__ import annotations

from edgeseg.proof.agreement import Agreement, ClassAgreement, ImageAgreement
from edgeseg.proof.file import Proof, ProofGate, ProofImage, read_proof
from edgeseg.proof.verdict import Verdict, find_proof, verify

__all__ = [
    # what to call
    "find_proof",
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
]
