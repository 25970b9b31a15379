"""Find the first op of a model that a device computes wrongly, for ``edgeseg verify --find-op``."""

from __future__ import annotations

from edgeseg.proof.first_wrong_op.answer import FoundOp, NamedOp, Partition, WrongOp
from edgeseg.proof.first_wrong_op.image import input_tensor
from edgeseg.proof.first_wrong_op.search import find_wrong_op
from edgeseg.proof.first_wrong_op.values import Run

__all__ = [
    # what to call
    "find_wrong_op",
    "input_tensor",
    # what goes in and comes out
    "FoundOp",
    "NamedOp",
    "Partition",
    "Run",
    "WrongOp",
]
