"""Cut a model that gives class ids before it takes the largest score, to compare the scores."""

from __future__ import annotations

from pathlib import Path

from edgeseg._internal.limits.models import ModelFile
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.proof.first_wrong_op.graph import CutGraph
from edgeseg.proof.first_wrong_op.onnx import OnnxCuts
from edgeseg.proof.first_wrong_op.tflite import TfliteCuts
from edgeseg.runtime import SUFFIXES
from edgeseg.tflite.file import is_tflite

_LARGEST_SCORE = ("ARG_MAX", "ArgMax")


def scores_part(artifact: Path) -> bytes | None:
    """Return an artifact that gives class ids, cut before it takes the largest score.

    Args:
        artifact: a ``.tflite`` or ``.onnx`` file.

    Returns:
        A file of the same format; ``None`` where there is no such place, or it cannot be cut.
    """
    if SUFFIXES.get(artifact.suffix.lower()) in ("mnn", "openvino"):  # nothing here cuts these
        return None
    data = ModelFile.read(artifact).data
    try:
        graph: CutGraph = (TfliteCuts if is_tflite(data) else OnnxCuts)(data)
    except (InputError, BackendUnavailable):  # compiled by a vendor, or the package onnx is not here
        return None
    ops, before = graph.between(graph.output, graph.cuts)
    if len(before) != 1 or before[0] == graph.source or not any(op.kind in _LARGEST_SCORE for op in ops):
        return None
    return graph.part(before[0], {})[0]
