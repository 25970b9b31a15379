"""Share a number of inputs among readers and processes; what comes of a seed does not depend on the processes."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import accumulate, count, pairwise
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzz.case import Case
from fuzz.readers import READERS
from fuzz.run import Outcome, run
from fuzz.seeds import forked, read_seeds, write_seeds

#: Inputs of a reader of share 1 that hypothesis makes in one go.
_BLOCK = 8

_TELL_S = 30.0


@dataclass(kw_only=True)
class Tally:
    """What came of the inputs of one reader.

    Attributes:
        inputs: their number.
        kinds: how many broke each rule.
        statuses: how many ended with each exit status.
        peak_bytes: the largest memory of any.
        longest_s: the longest time of any.
        seconds: of all.
        saved: what was saved: the rule, what it did, the command, and where.
    """

    inputs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    peak_bytes: int = 0
    longest_s: float = 0.0
    seconds: float = 0.0
    saved: list[tuple[str, str, str, Path]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add those of another block."""
        self.inputs += other.inputs
        self.kinds += other.kinds
        self.statuses += other.statuses
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.longest_s = max(self.longest_s, other.longest_s)
        self.seconds += other.seconds
        self.saved += other.saved


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked for.

    Attributes:
        seed: two jobs of one seed and as many inputs make the same inputs.
        readers: the names of the readers.
        inputs: the number of inputs; ``None`` for as many as ``seconds`` allow.
        seconds: after which no new block begins.
        findings: folder for what breaks a rule.
    """

    seed: int
    readers: Sequence[str]
    inputs: int | None
    seconds: float
    findings: Path

    def blocks(self) -> Iterator[tuple[str, int, int]]:
        """Yield reader, number of the block, and inputs; each reader gets its share, and every one its turn early."""
        left = self._shares()
        for number in count():
            for name in self.readers:
                size = min(_BLOCK * READERS[name].share, left[name])
                if size:
                    left[name] -= size
                    yield name, number, size
            if not any(left.values()):
                return

    def _shares(self) -> dict[str, int]:
        """Return the number of inputs of each reader, which are as many as asked for in all."""
        ends = [0, *accumulate(READERS[name].share for name in self.readers)]
        inputs = 10**9 if self.inputs is None else self.inputs
        counts = [inputs * end // ends[-1] - inputs * start // ends[-1] for start, end in pairwise(ends)]
        return dict(zip(self.readers, counts, strict=True))


def run_job(job: Job, processes: int, scratch: Path) -> dict[str, Tally]:
    """Run every block of a job, and return what came of each reader's.

    Args:
        job: what is asked for.
        processes: how many run inputs at a time.
        scratch: an empty folder, for the seeds.
    """
    forked(write_seeds, scratch / "seeds")
    end = time.monotonic() + job.seconds
    tallies = {name: Tally() for name in job.readers}
    context = multiprocessing.get_context("fork")
    running: dict[Future[Tally], str] = {}
    told = time.monotonic()
    with ProcessPoolExecutor(processes, context, _prepare, (scratch / "seeds",)) as pool:
        for name, number, size in job.blocks():
            if time.monotonic() > end:
                break
            running[pool.submit(_block, name, number, size, job)] = name
            while len(running) >= 2 * processes:
                _collect(running, tallies)
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                print(f"{sum(tally.inputs for tally in tallies.values())} inputs", file=sys.stderr)
        while running:
            _collect(running, tallies)
    return tallies


def _collect(running: dict[Future[Tally], str], tallies: dict[str, Tally]) -> None:
    for done in wait(running, return_when=FIRST_COMPLETED).done:
        tallies[running.pop(done)].add(done.result())


_seeds: dict[str, bytes] = {}


def import_everything() -> None:
    """Import everything once, and start nothing: no thread survives a fork."""
    os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"})
    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # TensorFlow prints before its settings are read
    for package in ("edgeseg", "edgeseg_converters"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith(("__main__", "gpu_worker")):
                importlib.import_module(module.name)
    for name in ("ai_edge_litert.interpreter", "onnxruntime", "onnx", "h5py", "jinja2", "fsspec", "pyarrow.parquet"):
        importlib.import_module(name)
    os.dup2(shown, 2)
    os.close(shown)
    os.close(nowhere)


def _prepare(folder: Path) -> None:
    import_everything()
    _seeds.update(read_seeds(folder))


def _block(name: str, number: int, size: int, job: Job) -> Tally:
    tally = Tally()
    start = int.from_bytes(hashlib.sha256(f"{job.seed} {name} {number}".encode()).digest()[:8], "big")

    @seed(start)
    @settings(
        max_examples=size,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(READERS[name].inputs(_seeds))
    def each(case: Case) -> None:
        outcome = run(case)
        tally.inputs += 1
        tally.statuses["signal" if outcome.status is None else str(outcome.status)] += 1
        tally.peak_bytes = max(tally.peak_bytes, outcome.peak_bytes)
        tally.longest_s = max(tally.longest_s, outcome.seconds)
        tally.seconds += outcome.seconds
        tally.kinds.update(outcome.kinds.keys())
        if outcome.kinds:
            _save(case, outcome, job, f"{name}-{job.seed}-{number}-{tally.inputs}", tally)

    each()
    return tally


def _save(case: Case, outcome: Outcome, job: Job, label: str, tally: Tally) -> None:
    place = job.findings / label
    case.save(place)
    command = " ".join(("edgeseg", *case.command)) if case.entry == "edgeseg" else case.entry
    told = "".join(f"{kind}: {what}\n" for kind, what in outcome.kinds.items())
    text = f"{told}command: {command!a}\nrepeat: scripts/fuzz --repeat {place}\n\n{outcome.stderr[:20_000]}"
    (place / "finding.txt").write_text(text, errors="backslashreplace")
    tally.saved += [(kind, what, command, place) for kind, what in outcome.kinds.items()]


def repeat(folder: Path) -> Outcome:
    """Run a saved input again and return what came of it."""
    return run(Case.load(folder))
