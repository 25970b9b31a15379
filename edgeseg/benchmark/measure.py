"""Measure artifacts on a device: several processes each, in turns, joined to results with reasons to distrust them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import sha256
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.limits.pairs import files_of
from edgeseg._internal.progress import Progress
from edgeseg.benchmark.distrust import drift, warnings
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import LatencyResult
from edgeseg.benchmark.worker import Reply, Request
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof import Agreement, find_proof, read_proof, verify
from edgeseg.proof.device import ProofDevice

_log = logging.getLogger(__name__)

# How often each image of a proof is run: once in its order, and twice in others.
_REPEAT = 3


@dataclass(frozen=True)
class Case:
    """One row of the result table.

    Attributes:
        artifact: the file, on this machine.
        accelerator: the accelerator asked for, as shown to people.
        options: keywords of ``edgeseg.runtime.open_backend``, ``num_threads`` among them.
    """

    __repr__ = short_repr

    artifact: Path
    accelerator: str
    options: dict[str, Any] = field(default_factory=dict)


class Device(ProofDevice, Protocol):
    """Where artifacts are measured and verified.

    A context: what it put on the device is removed at its end, also after an error.
    """

    def __enter__(self) -> Device: ...

    def put(self, path: Path, digest: str) -> str:
        """Copy a file to the device unless one of that SHA-256 is there; return its path there."""
        ...

    def run(self, request: Request) -> Reply:
        """Measure in one process.

        Raises:
            InputError: the artifact or a setting is wrong.
            BackendUnavailable: the device does not have the requested backend or accelerator.
            DeviceLost: the device went away, or the process died; the text says what is known.
        """
        ...


def measure(
    cases: Sequence[Case],
    device: Device,
    plan: Plan | None = None,
    *,
    progress: Progress | None = None,
) -> list[LatencyResult]:
    """Measure every case on a device.

    Args:
        cases: what to measure.
        device: where; opened here.
        plan: how long and how often.
        progress: called with processes done and in all.

    Returns:
        One result for each case, in order.

    Raises:
        InputError: a file that is missing or does not open.
        BackendUnavailable: a requested backend or accelerator is not there.
        DeviceLost: the device went away or a process died.
    """
    plan = plan or Plan()
    for case in cases:
        if not case.artifact.is_file():
            raise InputError(f"model file '{case.artifact}' does not exist.")
    with device as opened:
        return measure_on(cases, opened, plan, progress=progress)


def measure_on(
    cases: Sequence[Case], opened: Device, plan: Plan, *, progress: Progress | None = None
) -> list[LatencyResult]:
    """Do what ``measure`` does on a device that was entered and stays so, for a caller who measures several times."""
    hashes = {case.artifact: sha256(ModelFile.read(case.artifact).data) for case in cases}
    replies: list[list[Reply]] = [[] for _ in cases]
    rng = np.random.default_rng(plan.seed)
    image = None if plan.image is None else opened.put(plan.image, sha256(plan.image.read_bytes()))
    paths = [opened.put(case.artifact, hashes[case.artifact]) for case in cases]
    agreements = [_agreement(case, hashes[case.artifact], opened, plan) for case in cases]
    for number in range(plan.rounds):
        for done, index in enumerate(rng.permutation(len(cases))):
            replies[index].append(opened.run(_request(plan, paths[index], cases[index], image)))
            if progress is not None:
                progress(number * len(cases) + done + 1, plan.rounds * len(cases))
    return [
        dataclasses.replace(_joined(case, hashes[case.artifact], case_replies, plan, opened.name), agreement=agreement)
        for case, case_replies, agreement in zip(cases, replies, agreements, strict=True)
    ]


def pooled(results: Sequence[LatencyResult]) -> LatencyResult:
    """Join measurements of one case, made one after the other, to one of all their processes.

    Args:
        results: of the same artifact, device, accelerator and threads, in the order in which they were made.

    Returns:
        All calls, and the reasons to distrust them together.
    """
    first = results[0]
    rounds = [latencies for result in results for latencies in result.by_round()]
    loads = [result.environment.load for result in results if result.environment.load is not None]
    heat = [value for result in results for value in result.environment.temperature_c]
    place = dataclasses.replace(
        first.environment, load=max(loads, default=None), temperature_c=(heat[0], max(heat)) if heat else ()
    )
    of_device = [
        text
        for result in results
        for text in result.warnings
        if text not in warnings(result.by_round(), result.environment)
    ]
    peaks = [result.peak_memory_bytes for result in results if result.peak_memory_bytes is not None]
    return dataclasses.replace(
        first,
        latencies_s=tuple(value for result in results for value in result.latencies_s),
        rounds=tuple(count for result in results for count in result.rounds),
        reported=tuple(report for result in results for report in result.reported),
        init_s=tuple(value for result in results for value in result.init_s),
        first_s=tuple(value for result in results for value in result.first_s),
        peak_memory_bytes=max(peaks, default=None),
        stages_s={
            stage: tuple(value for result in results for value in result.stages_s[stage]) for stage in first.stages_s
        },
        warnings=tuple(dict.fromkeys([*warnings(rounds, place), *of_device])),
        environment=place,
    )


def _agreement(case: Case, digest: str, device: Device, plan: Plan) -> Agreement | None:
    """Return how far a case answers as its Keras model does; ``None`` where no proof of the artifact is beside it."""
    path = find_proof(case.artifact) if plan.verify else None
    if path is None:
        return None
    try:
        proof = read_proof(path)
    except InputError as error:
        return _unasked(case, error)
    if not proof.of(digest):
        return _unasked(case, f"'{path}' is of another export; edgeseg verify --proof FILE asks it all the same")
    if case.options.get("input_size") not in (None, proof.spec.input_size):
        return _unasked(case, "'{}' is of images of {},{} (H,W)".format(path, *proof.spec.input_size))
    try:
        verdict = verify(case.artifact, path, options=case.options, device=device, repeat=_REPEAT)
    # A tool over adb that cannot be fed: the latency is one without an answer. Where the accelerator is not there, the
    # measurement says so itself. What a device answers wrongly is no such reason.
    except BackendUnavailable as error:
        return _unasked(case, error)
    for warning in verdict.warnings:
        _log.warning("%s on %s, %s: %s", case.artifact.name, case.accelerator, device.name, warning)
    return verdict.agreement


def _unasked(case: Case, why: object) -> Agreement | None:
    """Say why a latency comes without its answers, and return ``None``."""
    _log.warning("%s on %s is measured without its answers: %s", case.artifact, case.accelerator, why)
    return None


def _request(plan: Plan, path: str, case: Case, image: str | None) -> Request:
    return Request(
        path=path,
        options=case.options,
        scope=plan.scope,
        warmup_runs=plan.warmup_runs,
        warmup_min_secs=plan.warmup_min_secs,
        num_runs=-(-plan.num_runs // plan.rounds),
        min_secs=plan.min_secs / plan.rounds,
        max_secs=plan.max_secs / plan.rounds,
        image=image,
        description={} if plan.description is None else plan.description.said,
    )


def _joined(case: Case, digest: str, replies: Sequence[Reply], plan: Plan, device: str) -> LatencyResult:
    first = replies[0]
    if len({(frozenset(reply.stages_s), bool(reply.latencies_s)) for reply in replies}) > 1:
        raise DeviceLost(f"the processes that measured '{case.artifact}' on {device} answered in different ways.")
    loads = [reply.environment.load for reply in replies if reply.environment.load is not None]
    heat = [value for reply in replies for value in reply.environment.temperature_c]
    place = dataclasses.replace(
        first.environment,
        device=device,
        load=max(loads, default=None),
        temperature_c=(heat[0], max(heat)) if heat else (),
    )
    peaks = [reply.peak_memory_bytes for reply in replies if reply.peak_memory_bytes is not None]
    rounds = [reply.latencies_s for reply in replies]
    medians = [(reply.reported["median_ms"] / 1e3,) for reply in replies if reply.reported]
    doubts = warnings(rounds if rounds[0] else medians, place)
    doubts += [text for reply in replies for text in reply.warnings]
    if plan.drift:
        doubts.append(drift(rounds[0])[1] if rounds[0] else "no drift is known: the device's tool gives no samples")
    return LatencyResult(
        artifact=case.artifact.name,
        sha256=digest,
        size_bytes=sum(path.stat().st_size for path in files_of(case.artifact)),
        accelerator=case.accelerator,
        runtime=first.runtime,
        num_threads=int(case.options.get("num_threads") or 0),
        scope=plan.scope,
        input_size=case.options.get("input_size"),
        latencies_s=tuple(value for latencies in rounds for value in latencies),
        rounds=tuple(len(latencies) for latencies in rounds),
        reported=tuple(reply.reported for reply in replies if reply.reported),
        warmup_runs=plan.warmup_runs,
        init_s=tuple(reply.init_s for reply in replies),
        first_s=tuple(reply.first_s for reply in replies),
        peak_memory_bytes=max(peaks, default=None),
        stages_s=_stages(replies),
        fully_accelerated=first.fully_accelerated,
        software_rendering=first.software_rendering,
        coverage=None if first.coverage is None else (first.coverage[0], first.coverage[1]),
        warnings=tuple(dict.fromkeys(doubts)),
        environment=place,
    )


def _stages(replies: Sequence[Reply]) -> dict[str, tuple[float, ...]]:
    return {
        stage: tuple(value for reply in replies for value in reply.stages_s[stage]) for stage in replies[0].stages_s
    }
