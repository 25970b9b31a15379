"""Let an fp16 TFLite file compute in half precision where the CPU can, if its answers remain those of Keras.

The file gets the metadata entry by which XNNPACK does so (``edgeseg.tflite.half_arithmetic``). Whether it may is
measured on this machine, where XNNPACK emulates half precision unless the CPU has it. The emulation shows what becomes
infinite and how many pixels change their class, but less error than ARM's own kernels make: they add up in half
precision, where the emulation adds up in float32. Nor does it show what is too small: so the range of every activation
is asked too.

Packaged street model, 384x480, four of CamVid's test images, 2026-11-30: 99.952 % of the pixels have the class of the
float32 file on x86 in LiteRT's emulation, mean difference of a logit 0.006; 99.884 % and 0.014 on an emulated
Cortex-A76 (``scripts/arm64``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import last_line
from edgeseg.errors import UnsupportedModel
from edgeseg.imaging import preprocess
from edgeseg.runtime import default_threads
from edgeseg.runtime.process import child
from edgeseg.segmenter import to_class_map
from edgeseg.spec import ModelSpec
from edgeseg.tflite.cpu import NO_LSE, Cpu
from edgeseg_converters.recipes import GATES
from edgeseg_converters.tflite.convert import ask_for_half, tap_logits
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema
from edgeseg_converters.verification.comparison import Reference, of_one_kind

#: The largest number of half precision is 65504. A quarter of it leaves room for images that were not seen.
MAX_ACTIVATION = 65504 / 4

#: The largest value of a tensor may not be below this: half precision has fewer bits below 6e-5, and none below 3e-8.
MIN_ACTIVATION = 1e-4

# Images that the ranges are measured on.
_NUM_RANGE_IMAGES = 4

# Activations that are read in one run. Those of a large model together are gigabytes, in the export's own process.
_MAX_READ_BYTES = 256 << 20

# Emulated, a large model takes seconds for an image.
_TIMEOUT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class HalfVerification:
    """Whether an fp16 ``.tflite`` file asks for half precision, and how far its answers then are from Keras'.

    Attributes:
        written: whether the file asks for it; only where the gate is passed.
        required: whether it was asked for explicitly, so that a file without it is refused.
        reason: why it does not ask for it, in words that follow "as"; empty where it does.
        emulated: whether the runs were emulated, as this machine's CPU does not compute in half precision; ``None``
            where that is not known, as with AVX512-FP16 and on Windows, or nothing was run.
        num_images: how many images it was run on.
        argmax_agreement: share of pixels with the class that Keras gives, in [0, 1]; ``None`` where it was not run.
        max_abs_error: largest difference of a logit (of a score, for a softmax output); likewise.
        largest_activation: the largest absolute value of any tensor, in float32; likewise.
        smallest_activation: of each tensor the largest absolute value, the smallest of those above 0; likewise.
    """

    __repr__ = short_repr

    written: bool
    required: bool
    reason: str = ""
    emulated: bool | None = None
    num_images: int = 0
    argmax_agreement: float | None = None
    max_abs_error: float | None = None
    largest_activation: float | None = None
    smallest_activation: float | None = None

    @property
    def rejected(self) -> bool:
        """Whether half precision was asked for explicitly and cannot be had."""
        return self.required and not self.written

    @property
    def sentence(self) -> str:
        """What a reader must know of a file that asks for half precision; without a full stop."""
        assert self.argmax_agreement is not None
        found = f"{self.argmax_agreement:.3%} of the pixels have the class that Keras gives"
        if self.emulated is None:
            return (
                f"computes in half precision on CPUs that have it: {found}; whether this CPU does, or LiteRT emulated "
                "it, is not known"
            )
        if not self.emulated:
            return f"computes in half precision on CPUs that have it, as this one: {found}"
        return (
            f"computes in half precision on CPUs that have it: {found} in LiteRT's emulation; an ARM CPU's error "
            "was about twice as large where it was tried"
        )


def with_half_arithmetic(
    artifact: bytes, spec: ModelSpec, expected: Reference | None, *, required: bool
) -> tuple[bytes, HalfVerification]:
    """Return a file that asks for half precision if it passes the gate, and the file as it was if not.

    Args:
        artifact: an fp16 ``.tflite`` file.
        spec: the ModelSpec inside it.
        expected: what the Keras model says of the images; ``None`` where nothing is verified.
        required: whether half precision was asked for explicitly.

    Raises:
        UnsupportedModel: it was, and the file has custom ops, beside which such a file does not load.
    """
    graph = TfliteGraph.read(artifact)
    custom = sorted({code.customCode.decode() for code in graph.model.operatorCodes if code.customCode})
    if custom and required:
        raise UnsupportedModel(
            f"a file that asks for half precision does not load beside {' and '.join(custom)}; omit "
            "`half_arithmetic`, or take `target='generic'`."
        )
    if custom or expected is None:
        reason = f"no file that asks for it loads beside {' and '.join(custom)}" if custom else "it was not verified"
        return artifact, HalfVerification(written=False, required=required, reason=reason)
    tensors = [preprocess(image, spec)[0] for image in expected.samples.images]
    native = Cpu.here().native_half
    found: dict[str, Any] = {
        "required": required,
        "emulated": None if native is None else not native,
        "num_images": len(tensors),
    }
    ranges = _ranges(graph, tensors[:_NUM_RANGE_IMAGES])
    found["largest_activation"] = max(ranges.values())
    found["smallest_activation"] = min((value for value in ranges.values() if value > 0), default=0.0)
    if reason := _unfit_range(ranges):
        return artifact, HalfVerification(written=False, reason=reason, **found)
    asking = ask_for_half(artifact, spec)
    scores = _run_in_half(tap_logits(asking) if spec.output_kind == "argmax" else asking, tensors)
    if isinstance(scores, str):
        return artifact, HalfVerification(written=False, reason=scores, **found)
    shown = spec.replace(output_kind="logits" if spec.output_kind == "argmax" else spec.output_kind)
    same, errors = [], []
    for answer, each in zip(expected.answers, scores, strict=True):
        class_map = to_class_map(each, shown.replace(input_size=answer.class_map.shape))
        same.append(float((answer.class_map == class_map).mean()))
        got = of_one_kind(each, answer.scores) if spec.output_kind == "argmax" else each
        errors.append(float(np.abs(answer.scores - got).max()))
    found["argmax_agreement"], found["max_abs_error"] = float(np.mean(same)), float(np.max(errors))
    reason = _missed(scores, found["argmax_agreement"], emulated=found["emulated"])
    return artifact if reason else asking, HalfVerification(written=not reason, reason=reason, **found)


def _ranges(graph: TfliteGraph, tensors: Sequence[NDArray[Any]]) -> dict[str, float]:
    """Return the largest absolute value of each activation; weights are half precision already."""
    unread = set(graph.unread())
    results = [int(tensor) for op in graph.operators if graph.op_name(op) != "DEQUANTIZE" for tensor in op.outputs]
    inner = [
        tensor for tensor in results if graph.tensors[tensor].type == schema.TensorType.FLOAT32 and tensor not in unread
    ]
    ranges = {graph.tensor_name(tensor): 0.0 for tensor in inner}
    for group in _groups(graph, inner):
        read = graph.with_outputs([*graph.outputs, *(tensor for tensor in group if tensor not in graph.outputs)])
        interpreter = Interpreter(model_content=read.write(), num_threads=default_threads())
        interpreter.allocate_tensors()
        (image,) = interpreter.get_input_details()
        names = {graph.tensor_name(tensor) for tensor in group}
        outputs = [details for details in interpreter.get_output_details() if details["name"] in names]
        for tensor in tensors:
            interpreter.set_tensor(image["index"], tensor)
            interpreter.invoke()
            for details in outputs:
                largest = np.abs(interpreter.get_tensor(details["index"])).max()
                name = details["name"]
                ranges[name] = float(np.maximum(ranges[name], largest))  # unlike max(), keeps a NaN
    return ranges


def _groups(graph: TfliteGraph, tensors: Sequence[int]) -> Iterator[list[int]]:
    """Yield the tensors in groups of ``_MAX_READ_BYTES`` of float32; one that is larger is a group of its own."""
    group: list[int] = []
    total = 0
    for tensor in tensors:
        size = 4 * int(np.prod(graph.tensors[tensor].shape, dtype=np.int64))
        if group and total + size > _MAX_READ_BYTES:
            yield group
            group, total = [], 0
        group.append(tensor)
        total += size
    if group:
        yield group


def _unfit_range(ranges: Mapping[str, float]) -> str:
    """Return which tensor half precision has no room for; empty where there is none."""
    name = max(ranges, key=lambda each: ranges[each] if np.isfinite(ranges[each]) else np.inf)
    if not ranges[name] <= MAX_ACTIVATION:
        return f"'{name}' reaches {ranges[name]:.3g}, and half precision ends at 65504; at most a quarter of that"
    small = [each for each, largest in ranges.items() if 0 < largest < MIN_ACTIVATION]
    if small:
        return (
            f"'{small[0]}' has values up to {ranges[small[0]]:.1e} alone, of which half precision has few steps; at "
            f"least {MIN_ACTIVATION:.0e}"
        )
    return ""


def _missed(scores: NDArray[np.float32], agreement: float, *, emulated: bool | None) -> str:
    """Return why the answers in half precision miss the gate of fp16; empty where they do not.

    Emulated, or where that is not known, half as many pixels may differ: on a board it was about twice as many.
    """
    if not np.isfinite(scores).all():
        return "its scores are not finite in half precision"
    gate = GATES["fp16"].min_agreement
    least = gate if emulated is False else 1 - (1 - gate) / 2
    if agreement < least:
        where = " in LiteRT's emulation" if emulated else ""
        return f"only {agreement:.3%} of the pixels then have the class that Keras gives{where}; at least {least:.2%}"
    return ""


def _run_in_half(model: bytes, tensors: Sequence[NDArray[Any]]) -> NDArray[np.float32] | str:
    """Return a file's scores of each image in half precision, ``(N, 1, h, w, C)``; or why it does not run."""
    if Cpu.here().lse is False:
        return NO_LSE
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        path, inputs, outputs = (Path(folder) / name for name in ("m.tflite", "in.npy", "out.npy"))
        path.write_bytes(model)
        np.save(inputs, np.stack(tensors))
        arguments = [str(path), str(inputs), str(outputs), str(default_threads())]
        worker = Path(__file__).with_name("half_worker.py")
        ended = child.run(worker, arguments, environment=os.environ, timeout_s=_TIMEOUT_S)
        if ended.status != 0:
            said = f": {last_line(ended.stderr)}" if ended.stderr.strip() else ""
            return f"LiteRT does not run it in half precision, {ended.how}{said}"
        return np.asarray(np.load(outputs, allow_pickle=False), np.float32)
