"""Choose ONNX Runtime's execution providers: short names, their packages, and whether they really run a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgeseg._internal.text import counted
from edgeseg.errors import BackendUnavailable, InputError, did_you_mean

CPU = "CPUExecutionProvider"

#: Short name to ONNX Runtime's, and what to install for it.
PROVIDERS = {
    "cpu": (CPU, "pip install onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "pip install onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "pip install onnxruntime-gpu, and TensorRT"),
    "openvino": ("OpenVINOExecutionProvider", "pip install onnxruntime-openvino"),
    "coreml": ("CoreMLExecutionProvider", "pip install onnxruntime, on macOS"),
    "xnnpack": ("XnnpackExecutionProvider", "an onnxruntime built with --use_xnnpack; there is no wheel"),
    "dml": ("DmlExecutionProvider", "pip install onnxruntime-directml, on Windows"),
    "qnn": ("QNNExecutionProvider", "pip install onnxruntime-qnn"),
}
_ENDING = "ExecutionProvider"


def full_names(names: Sequence[str], available: Sequence[str]) -> list[str]:
    """Return ONNX Runtime's names of providers.

    Args:
        names: short ones, or ONNX Runtime's; the CPU provider when empty.
        available: the providers of the installed ONNX Runtime.

    Raises:
        InputError: a name is unknown.
        BackendUnavailable: the installed ONNX Runtime does not have the provider; the text says which package does.
    """
    installs = dict(PROVIDERS.values())
    full = []
    for name in names:
        provider = PROVIDERS[name.lower()][0] if name.lower() in PROVIDERS else name
        if not provider.endswith(_ENDING):
            accepted = f"{', '.join(PROVIDERS)}, or ONNX Runtime's names"
            raise InputError(f"unknown provider '{name}'.{did_you_mean(name, PROVIDERS)} Accepted: {accepted}.")
        if provider not in available:
            install = f" For it: {installs[provider]}." if provider in installs else ""
            raise BackendUnavailable(
                f"the installed ONNX Runtime has no {provider}; it has {', '.join(available)}.{install}"
            )
        full.append(provider)
    return full or [CPU]


def what_runs(session: Any, asked: Sequence[str]) -> str:
    """Describe where the nodes of a session's graph run; empty where all run on the CPU as asked.

    Args:
        session: an ``InferenceSession`` that records where its nodes go.
        asked: the providers asked for, by ONNX Runtime's names.

    Raises:
        BackendUnavailable: the first provider asked for did not start, or takes no part of the model. ONNX Runtime
            would go on without it.
    """
    first = asked[0]
    if session.get_providers()[0] != first:
        raise BackendUnavailable(
            f"ONNX Runtime has {first} but could not start it and would run on {session.get_providers()[0]}; "
            "are the driver and the libraries that it needs installed?"
        )
    if first == CPU:
        return ""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # ONNX Runtime before 1.24
        return f" {first}"
    nodes: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        nodes[subgraph.ep_name] += len(subgraph.get_nodes())
    total = counted(nodes.total(), "node")
    if not nodes[first]:
        raise BackendUnavailable(f"{first} takes none of the model's {total}; run it without `providers`.")
    left = nodes.total() - nodes[first]
    return f" {first}" + (f" (partly: {nodes[first]} of {total})" if left else "")
