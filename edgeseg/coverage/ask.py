"""Find out what an accelerator takes of an artifact, from the runtime itself where possible."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.versions import installed_version
from edgeseg.choices import FORMAT_SUFFIXES, Format
from edgeseg.coverage import gpu, xnnpack
from edgeseg.coverage.onnx_tables import PROVIDERS
from edgeseg.coverage.result import Coverage, LeftNode, grouped
from edgeseg.coverage.tflite_tables import TABLES
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime.onnx_ops import OnnxOp, read_ops
from edgeseg.runtime.options import RuntimeOptions
from edgeseg.runtime.process.trial import require_to_run
from edgeseg.tflite.file import is_tflite
from edgeseg.tflite.graph import Graph, partitions, read_graph

#: Format to the known accelerators; the first ones are asked, the others are looked up in a table.
ACCELERATORS: dict[Format, tuple[str, ...]] = {
    "tflite": ("cpu", "gpu", *TABLES),
    "onnx": ("cpu", *PROVIDERS),
    "mnn": (),
    "openvino": (),
}

#: Format to the accelerators that are asked through the runtime installed here.
ASKED: dict[Format, tuple[str, ...]] = {"tflite": ("cpu", "gpu"), "onnx": ("cpu",), "mnn": (), "openvino": ()}

#: Why nothing is asked about a format that has no accelerators here.
WHOLE: Mapping[Format, str] = {
    "mnn": "edgeseg runs .mnn files on the CPU, where MNN runs every op or does not open the file",
    "openvino": "edgeseg runs OpenVINO models on the CPU, where OpenVINO runs every op or does not open the model",
}


def accelerators(file_format: Format, names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the accelerators whose coverage is wanted.

    Args:
        file_format: a name of ``Format``.
        names: the accelerators; every known one when omitted.

    Raises:
        InputError: a name is not known for the format, or none is.
    """
    known = ACCELERATORS[file_format]
    if names and not known:
        raise InputError(f"there is no coverage to ask for: {WHOLE[file_format]}. Omit `accelerators`.")
    chosen = known if names is None else tuple(dict.fromkeys(_plain(file_format, name) for name in names))
    for name in chosen:
        if name not in known:
            raise InputError(f"unknown accelerator '{name}' for {file_format}; accepted: {', '.join(known)}.")
    return chosen


def coverage(artifact: bytes | str | Path, accelerator: str) -> Coverage:
    """Find out which nodes of an artifact an accelerator takes, and why it leaves the others.

    Args:
        artifact: a ``.tflite`` or ``.onnx`` file, or its bytes.
        accelerator: a name of ``ACCELERATORS``; for TFLite ``xnnpack`` is the same as ``cpu``.

    Raises:
        InputError: the file is missing or broken, or the accelerator is not known for its format.
        BackendUnavailable: a package, or a driver for the GPU, is missing, so that it cannot be asked. Never a guess.

    Examples:
        >>> coverage("unet_mini.fp32.tflite", "cpu").summary
        'delegated 21 of 27 nodes in 5 partitions'
    """
    parsed = _Artifact.read(artifact)
    (name,) = accelerators(parsed.format, [accelerator])
    try:
        return _find(parsed, name)
    except BackendUnavailable as error:
        raise BackendUnavailable(f"{name} was not asked: {error}") from error


def coverage_of_all(
    artifact: bytes | str | Path, names: Iterable[str] | None = None
) -> tuple[tuple[Coverage, ...], dict[str, str]]:
    """Call ``coverage`` for several accelerators.

    Args:
        artifact: see ``coverage``.
        names: accelerators; every known one when omitted.

    Returns:
        The coverages, and accelerator to the reason why it was not asked.

    Raises:
        InputError: see ``coverage``.
    """
    parsed = _Artifact.read(artifact)
    coverages, not_asked = [], {}
    for name in accelerators(parsed.format, names):
        try:
            coverages.append(_find(parsed, name))
        except BackendUnavailable as error:
            not_asked[name] = str(error)
    return tuple(coverages), not_asked


def ask_coverage(data: bytes, file_format: Format) -> tuple[Coverage, ...]:
    """Ask the accelerators on this machine what they take of an artifact; no tables.

    Args:
        data: a whole artifact.
        file_format: its format.

    Returns:
        One coverage for each that answered; a GPU without a driver is omitted.
    """
    if not ASKED[file_format]:
        return ()
    coverages, _ = coverage_of_all(data, ASKED[file_format])
    return coverages


def _plain(file_format: Format, name: str) -> str:
    return "cpu" if (file_format, name) == ("tflite", "xnnpack") else name


@dataclass(frozen=True)
class _Artifact:
    """A file's bytes, parsed when the first accelerator needs it and not again for the others."""

    data: bytes
    file: ModelFile | None = None

    @classmethod
    def read(cls, artifact: bytes | str | Path) -> _Artifact:
        if isinstance(artifact, bytes):
            return cls(artifact)
        suffix = Path(artifact).suffix.lower()
        for name, why in WHOLE.items():
            if suffix == FORMAT_SUFFIXES[name]:
                raise InputError(f"'{artifact}' has no coverage to ask for: {why}.")
        file = ModelFile.read(artifact)
        return cls(file.data, file)

    def require_to_run(self) -> None:
        """Try a file in a process of its own before a runtime here is asked about it; bytes were tried by the caller.

        Raises:
            InputError: it does not run.
            BackendUnavailable: its runtime is not installed.
        """
        if self.file is not None:
            require_to_run(self.file, "litert" if self.format == "tflite" else "onnx", RuntimeOptions())

    @property
    def format(self) -> Format:
        """The format: TFLite has a mark; all else is taken as ONNX, a protobuf without one, and checked on reading."""
        return "tflite" if is_tflite(self.data) else "onnx"

    @cached_property
    def graph(self) -> Graph:
        return read_graph(self.data)

    @cached_property
    def onnx_ops(self) -> tuple[OnnxOp, ...]:
        """Return the ops of an ONNX model.

        Raises:
            InputError: it is not an ONNX model.
            BackendUnavailable: the package that reads it is not installed.
        """
        try:
            ops = read_ops(self.data).ops
        except InputError as error:
            raise InputError("the bytes are neither a TFLite nor an ONNX model.") from error
        if not ops:  # protobuf reads some other bytes as an empty message
            raise InputError("the bytes are neither a TFLite nor an ONNX model.")
        return ops


def _find(artifact: _Artifact, accelerator: str) -> Coverage:
    return _onnx(artifact, accelerator) if artifact.format == "onnx" else _tflite(artifact, accelerator)


def _tflite(artifact: _Artifact, accelerator: str) -> Coverage:
    graph = artifact.graph
    if accelerator in ASKED["tflite"]:
        artifact.require_to_run()
    if accelerator == "cpu":
        return _asked_cpu(artifact.data, graph)
    if accelerator == "gpu":
        return _asked_gpu(artifact.data, graph)
    table = TABLES[accelerator]
    reasons = {n.index: text for n in graph.nodes if (text := table.reason(graph, n)) and not graph.unpacks_weights(n)}
    pieces = partitions(graph, {node.index for node in graph.nodes} - set(reasons))
    used = pieces[:1] if table.first_partition_only else pieces
    taken = graph.with_weights({index for piece in used for index in piece})
    after = "it is after a node that is left, and the compiler makes one partition"
    unread = {n.index: table.reason(graph, n) or "its reader is left" for n in graph.nodes if graph.unpacks_weights(n)}
    left = {n.index: reasons.get(n.index) or unread.get(n.index, after) for n in graph.nodes if n.index not in taken}
    return _build(accelerator, graph.ops, left, len(used), len(pieces) > 1, "table", table.note)


def _asked_cpu(data: bytes, graph: Graph) -> Coverage:
    runtime = _litert()
    taken, pieces = xnnpack.ask(data, graph)
    left = {n.index: xnnpack.reason(graph, n, runtime) for n in graph.nodes if n.index not in taken}
    note = f"{runtime}, XNNPACK on {platform.system()} {platform.machine()}; {xnnpack.REASONS_FROM}"
    return _build("cpu", graph.ops, left, pieces, pieces > 1, "asked", note)


def _asked_gpu(data: bytes, graph: Graph) -> Coverage:
    answer = gpu.ask(data, graph)
    note = f"{_litert()}, the GPU accelerator on {answer.adapter}"
    if answer.taken is None:
        other = len(graph.nodes) - answer.number - len(answer.reasons)
        rest = LeftNode("(others)", "the accelerator says how many nodes it runs and not which", (), other)
        return Coverage(
            accelerator="gpu",
            delegated=answer.number,
            total=len(graph.nodes),
            partitions=None,
            cut=answer.pieces > 1,
            left=(*grouped(graph.ops, answer.reasons), rest),
            source="asked",
            source_note=note,
        )
    left = {n.index: answer.reasons.get(n.index, gpu.OUTSIDE) for n in graph.nodes if n.index not in answer.taken}
    return _build("gpu", graph.ops, left, min(1, answer.number), answer.pieces > 1, "asked", note)


def _onnx(artifact: _Artifact, accelerator: str) -> Coverage:
    ops = [op.name for op in artifact.onnx_ops]
    if accelerator == "cpu":
        artifact.require_to_run()
        return _build("cpu", ops, {}, 1, False, "asked", _open_on_cpu(artifact.data))
    provider = PROVIDERS[accelerator]
    left = {index: text for index, op in enumerate(artifact.onnx_ops) if (text := provider.reason(op))}
    # How a provider partitions depends on ONNX Runtime's own passes: reported only where there is only one partition.
    return _build(accelerator, ops, left, None if left else 1, False, "table", provider.note)


def _open_on_cpu(data: bytes) -> str:
    """Open the model on the CPU provider, which has a kernel for every node or names the one it has no kernel for."""
    from edgeseg.runtime.onnx import OnnxBackend

    backend = OnnxBackend(data)
    backend.close()
    return f"{backend.runtime} opened it: the CPU provider has a kernel for every node"


def _build(
    accelerator: str,
    ops: list[str],
    left: Mapping[int, str],
    pieces: int | None,
    cut: bool,
    source: Any,
    note: str,
) -> Coverage:
    return Coverage(
        accelerator=accelerator,
        delegated=len(ops) - len(left),
        total=len(ops),
        partitions=pieces,
        cut=cut,
        left=grouped(ops, left),
        source=source,
        source_note=note,
    )


def _litert() -> str:
    return f"ai-edge-litert {installed_version('ai-edge-litert')}"
