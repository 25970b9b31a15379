"""Write the errors of each op of an integer ``.tflite`` as files that Model Explorer lays over its drawing of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from edgeseg.benchmark.profile.model_explorer import graph_node_data
from edgeseg_converters.report.content import Entry, Report

#: What the files show, as their names have it: see ``node_data_files``.
KINDS = ("errors", "costs")


def file_name(artifact: str, kind: str) -> str:
    """Return the name of a file for an artifact of this name."""
    return f"{artifact}.{kind}.node-data.json"


def node_data_files(report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the content of each file.

    ``errors`` is how much noise each tensor of the running integer model has, ``costs`` what a rescue measured: the
    error of the logits when that op alone is integer. Both are larger where it is worse.

    Args:
        report: of an export.
    """
    for entry in report.entries:
        if entry.format != "tflite":
            continue
        artifact = f"{report.model}.{entry.precision}.{entry.format}"
        for kind, (name, values) in zip(KINDS, (_errors(entry), _costs(entry)), strict=True):
            if values:
                yield file_name(artifact, kind), graph_node_data(name, values)


def _errors(entry: Entry) -> tuple[str, dict[str, float]]:
    # Nothing differs where it is infinite, and where there is no signal there is no ratio.
    values = {layer.tensor: -layer.model_db for layer in entry.layers or () if math.isfinite(layer.model_db)}
    return f"noise of {entry.precision} against the signal, dB", values


def _costs(entry: Entry) -> tuple[str, dict[str, float]]:
    costs = entry.rescue.costs if entry.rescue else ()
    return f"error of the logits with only this op in {entry.precision}", {cost.op: cost.error for cost in costs}
