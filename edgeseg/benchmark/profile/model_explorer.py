"""Write the time of each op as a file that Model Explorer lays over its drawing of the model.

The form is that of its ``node_data_builder.GraphNodeData``: values by the name of a tensor that the node makes, which
both of its readers of ``.tflite`` keep, while their numbers of the nodes differ. Seen in ai-edge-model-explorer 0.1.34.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from edgeseg.benchmark.profile.result import Profile

# White to red: Model Explorer draws the smallest value in the first color and the largest in the last.
_GRADIENT = ({"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#e34a33"})


def node_data(profile: Profile) -> dict[str, Any] | None:
    """Return the milliseconds of each node of a profile, for JSON.

    Args:
        profile: of a ``.tflite``. What ran without a known node is not in it, nor are nodes that share a name.

    Returns:
        ``None`` where no node is known, as of an ``.onnx``: Model Explorer reads none by itself, and ONNX Runtime
        times the nodes of its own fused graph.
    """
    milliseconds: dict[int, float] = {}
    names: dict[int, str] = {}
    for node in profile.nodes:
        if node.index is not None:
            milliseconds[node.index] = milliseconds.get(node.index, 0.0) + node.ms
            names[node.index] = next(filter(None, node.outputs), "")
    used = Counter(names.values())
    values = {names[index]: ms for index, ms in milliseconds.items() if names[index] and used[names[index]] == 1}
    threads = f"{profile.num_threads} threads" if profile.num_threads else "default threads"
    return graph_node_data(f"ms, {profile.runtime}, {threads}", values) if values else None


def graph_node_data(name: str, values: Mapping[str, float]) -> dict[str, Any]:
    """Return values of nodes in Model Explorer's form.

    Args:
        name: of the values, for people.
        values: by the key of a node; all are finite.
    """
    results = {key: {"value": round(value, 6)} for key, value in values.items()}
    return {"name": name, "results": results, "gradient": list(_GRADIENT)}
