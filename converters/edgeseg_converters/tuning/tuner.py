"""Tune a model for a device: ``tune`` makes the files, asks the device, searches, and writes the result."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgeseg._internal.files import refuse_existing, sha256, write_artifact, write_bytes, write_text, writing_folder
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.limits.pairs import files_of
from edgeseg._internal.progress import StepProgress
from edgeseg.benchmark.devices import open_device
from edgeseg.benchmark.machine import now
from edgeseg.benchmark.measure import Device
from edgeseg.benchmark.result import LatencyResult
from edgeseg.choices import Format
from edgeseg.datasets import Data
from edgeseg.errors import InputError
from edgeseg.proof import read_proof
from edgeseg.proof.file import SUFFIX
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import collect
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.tuning.answers import Bench
from edgeseg_converters.tuning.artifacts import Workshop
from edgeseg_converters.tuning.candidates import (
    Candidate,
    Variant,
    candidates,
    places,
    runnable,
    targeted,
    threads,
    variants,
)
from edgeseg_converters.tuning.gate import DataGate
from edgeseg_converters.tuning.key import OF_FILES, PARTS, key_of
from edgeseg_converters.tuning.options import TuneOptions
from edgeseg_converters.tuning.page import page
from edgeseg_converters.tuning.record import NAME, Measured, Record, changed, read_record
from edgeseg_converters.tuning.result import TuneResult
from edgeseg_converters.tuning.search import Search, choose, how_slow, search, why_not

_log = logging.getLogger(__name__)

#: Name of the page in the folder of a tuning.
PAGE = "tune.html"

# The kinds of devices on which candidates are measured by processes of edgeseg's own, with samples.
_KINDS = ("local", "ssh")

_MINUTE_S = 60.0


def tune(
    model: keras.Model,
    folder: str | Path,
    *,
    data: Data,
    spec: ModelSpec | None = None,
    device: str | Device = "local",
    options: TuneOptions | None = None,
    overwrite: bool = False,
    progress: StepProgress | None = None,
) -> TuneResult:
    """Find the file of a model, its runtime, accelerator and number of threads that are fastest on a device.

    Every file is made once and put through its gates: the verification of its precision, the accuracy on ``data``
    beside the float model, and the proof on the device. What passes is measured in turns; the slower ones go when that
    is clear. A call that was killed is continued by the same call.

    Args:
        model: see ``export``.
        folder: for the chosen file, its proof, ``tune.json`` and ``tune.html``; and, in ``candidates``, every file.
        data: verifies, calibrates and scores: a labeled data set, or a folder of images.
        spec: how to feed the model; see ``export``.
        device: ``local``, ``ssh:HOST``, or such a device that is not entered yet.
        options: what is tried, the gates, the budget.
        overwrite: measure again where the folder has a result of the same arguments; replace one of others.
        progress: called at the start of each step, and while images are run and candidates measured.

    Returns:
        The result, also where no file passed its gate: then nothing is chosen, and ``failure`` says why.

    Raises:
        InputError: there are no images, the device is of another kind, or the folder has a result of other arguments.
        UnsupportedModel: the model cannot be exported at all.
        DeviceLost: the device went away; what was done is kept.

    Examples:
        >>> result = tune(model, "tuned", data="camvid", device="ssh:pi5")
        >>> print(result.sentence, result.command)
    """
    options, folder = options or TuneOptions(), Path(folder)
    settings = options.quantization
    if settings.rescue:
        raise InputError("a tuning measures each precision as it is; omit `rescue`.")
    wanted = runnable(variants(options.formats, options.precisions), options.accelerators)
    opened = _opened(device)
    samples = collect(data, split=settings.split, count=options.num_images)
    prepared = PreparedModel.of(model, spec, ExportOptions(), samples)
    spec = spec or prepared.spec
    key = key_of(model, spec, data, options, opened.name)
    with writing_folder(folder):
        record = _begun(folder, key, spec.name, opened.name, wanted, overwrite=overwrite)
        if record.complete and record.outputs and all((folder / name).exists() for name in record.outputs):
            return TuneResult(folder, record, reused=True)
        workshop = Workshop(
            model=model,
            spec=spec,
            folder=folder,
            data=data,
            quantization=settings,
            samples=samples,
            gate=DataGate(prepared, data, settings),
            progress=progress,
        )
        if not record.complete:  # else it was killed while it wrote its result
            with opened as entered:
                tuning = _Tuning(folder=folder, options=options, workshop=workshop, bench=Bench(entered), record=record)
                tuning.run(wanted)
                record = tuning.record
        return _finished(folder, record, workshop)


def _opened(device: str | Device) -> Device:
    """Return a device of a kind that is measured in processes of edgeseg's own.

    Raises:
        InputError: it is of another kind.
    """
    opened = open_device(device) if isinstance(device, str) else device
    if opened.name.partition(":")[0] not in _KINDS:
        raise InputError(f"tune measures on local and ssh:HOST, not on '{opened.name}': benchmark measures there.")
    return opened


def _begun(
    folder: Path, key: dict[str, str], model: str, device: str, wanted: Iterable[Variant], *, overwrite: bool
) -> Record:
    """Return the record to go on from: of an earlier call with the same arguments, or a new one.

    Raises:
        InputError: the folder has the result of other arguments, or other files of these names.
    """
    fresh = Record(key=key, model=model, device=device, date=now())
    try:
        earlier = read_record(folder)
    except InputError:
        if not overwrite:
            raise
        earlier = None
    others = [] if earlier is None else changed(earlier.key, key)
    if others and not overwrite:
        what = " and ".join(name for name in PARTS if name in others)
        raise InputError(f"'{folder / NAME}' is a tuning with another {what}; give `overwrite=True` or another folder.")
    ours = {} if earlier is None else earlier.outputs
    if earlier is None:  # what is in it is not of a tuning that could be known
        refuse_existing(folder / "candidates", overwrite=overwrite)
    files = [path for variant in wanted for path in files_of(folder / variant.recipe.file_name(model))]
    for path in (*files, folder / f"{model}{SUFFIX}", folder / PAGE):
        refuse_existing(path, overwrite=overwrite or _is_ours(path, ours))
    if earlier is None:
        return fresh
    if set(others) & set(OF_FILES):
        return dataclasses.replace(fresh, outputs=earlier.outputs)
    if others or (earlier.complete and overwrite):
        # The files that were made; what could not be made, or was not on the device, may have been installed since.
        recipes = {variant.recipe for variant in wanted}
        kept = tuple(one for one in earlier.artifacts if one.sha256 and one.variant.recipe in recipes)
        return dataclasses.replace(fresh, artifacts=kept, outputs=earlier.outputs)
    return earlier


def _is_ours(path: Path, outputs: Mapping[str, str]) -> bool:
    """Return whether a file is as an earlier call wrote it."""
    return path.is_file() and outputs.get(path.name) == sha256(path.read_bytes())


@dataclass(kw_only=True)
class _Tuning:
    """One run: every step is saved when it ends.

    Attributes:
        folder: of the tuning.
        options: of the tuning.
        workshop: makes the files.
        bench: the device.
        record: what was done so far.
        asked: whether the device was asked about all files.
    """

    folder: Path
    options: TuneOptions
    workshop: Workshop
    bench: Bench
    record: Record
    asked: bool = True

    def __post_init__(self) -> None:
        self._start = time.monotonic()
        kept = [one for one in self.record.artifacts if not one.sha256 or self._is_there(one.variant, one.sha256)]
        if not self.workshop.proof.exists():
            kept = []
        if len(kept) < len(self.record.artifacts):  # a file that is made again need not be the same
            variants_kept = {artifact.variant for artifact in kept}
            answers = tuple(answer for answer in self.record.answers if answer.variant in variants_kept)
            self._save(artifacts=tuple(kept), answers=answers, turns=0, measured=(), chosen=None)
        if not any(artifact.sha256 for artifact in kept):  # the proof is made with the first file, and is of its model
            self.workshop.proof.unlink(missing_ok=True)

    def run(self, wanted: Sequence[Variant]) -> None:
        """Make files, ask the device, make the files of its accelerators, and search."""
        self._save(unmade=())
        self._make(wanted)
        self._ask()
        works: dict[Format, set[str]] = {}
        for answer in self.record.answers:
            if not answer.failure:
                works.setdefault(answer.variant.format, set()).add(answer.place.accelerator)
        self._make(targeted(wanted, works))
        self._ask()
        chosen = self._candidates()
        if chosen:
            self._search(chosen)
        else:
            self._save(chosen=None, complete=self._is_all_tried)

    @property
    def _is_all_tried(self) -> bool:
        return self.asked and not self.record.unmade

    def _out_of(self, share: float) -> Callable[[], bool]:
        """Return what tells whether a share of the budget is over."""
        end = self._start + share * self.options.budget * _MINUTE_S
        return lambda: time.monotonic() > end

    def _make(self, wanted: Sequence[Variant]) -> None:
        missing = [variant for variant in wanted if self.record.artifact(variant) is None]
        for artifact in self.workshop.make(missing, self.record.artifacts, self._out_of(0.5)):
            self._save(artifacts=(*self.record.artifacts, artifact))
        unmade = [variant for variant in missing if self.record.artifact(variant) is None]
        self._save(unmade=(*self.record.unmade, *unmade))

    def _ask(self) -> None:
        """Ask the device about each file that passed, on everything that may run it.

        A place that refused two files, of floats and of integers, has shown that it is not there: the others are spared
        the time.
        """
        out_of_time = self._out_of(1.0)
        passed = [artifact.variant for artifact in self.record.artifacts if not artifact.failure]
        # fp32 is the first, and a static precision, where there is one, the last: what they need differs most.
        questions = [
            (variant, place)
            for variant in (*passed[:1], *reversed(passed[1:]))
            for place in places(variant.format, self.options.accelerators)
            if variant.fits(place)
        ]
        for number, (variant, place) in enumerate(questions):
            if self.record.is_missing(place) or self.record.answer(variant, place) is not None:
                continue
            if out_of_time():
                self.asked = False
                return
            self._told(f"asking {self.record.device} for {variant} on {place}", number, len(questions))
            answer = self.bench.answer(self.workshop.path(variant), variant, place, self.workshop.proof)
            self._save(answers=(*self.record.answers, answer))

    def _candidates(self) -> tuple[Candidate, ...]:
        running = [answer for answer in self.record.answers if not answer.failure and self._passed(answer.variant)]
        if not running:
            return ()
        if not self.record.num_threads:
            first = running[0]
            cores = self.bench.cores(self.workshop.path(first.variant), first.place)
            self._save(num_threads=tuple(dict.fromkeys(self.options.num_threads or threads(cores))))
        return tuple(
            candidate
            for answer in running
            for candidate in candidates(answer.variant, answer.place, self.record.num_threads)
        )

    def _passed(self, variant: Variant) -> bool:
        artifact = self.record.artifact(variant)
        return artifact is not None and not artifact.failure

    def _search(self, chosen: Sequence[Candidate]) -> None:
        plan, rounds = self.options.plan, self.options.plan.rounds
        process = dataclasses.replace(
            plan,
            rounds=1,
            num_runs=-(-plan.num_runs // rounds),
            min_secs=plan.min_secs / rounds,
            max_secs=plan.max_secs / rounds,
            verify=False,
        )
        state: Search[Candidate] = Search()
        if {one.candidate for one in self.record.measured} == set(chosen):  # else files came, and all begin anew
            state.results = {one.candidate: one.result for one in self.record.measured if one.result is not None}
            state.lost = {one.candidate: one.lost for one in self.record.measured if one.lost}
            state.turns = self.record.turns
        count = len(chosen)

        def measure(candidate: Candidate) -> LatencyResult:
            left = count - len(state.lost)
            self._told(f"turn {state.turns + 1}: {left} of {count} candidates left: {candidate}", state.turns, rounds)
            return self.bench.time(self.workshop.path(candidate.variant), candidate, process)

        search(
            chosen,
            state,
            measure,
            rounds=rounds,
            out_of_time=self._out_of(1.0),
            ended=lambda: self._keep(chosen, state),
            seed=plan.seed,
        )
        self._keep(chosen, state)
        self._choose(chosen, state)

    def _keep(self, chosen: Sequence[Candidate], state: Search[Candidate]) -> None:
        """Save what was measured."""
        self._save(
            turns=state.turns,
            measured=tuple(
                Measured(
                    candidate=one,
                    result=state.results.get(one),
                    turns=0 if one not in state.results else len(state.results[one].rounds),
                    lost=state.lost.get(one, ""),
                )
                for one in chosen
            ),
        )

    def _choose(self, chosen: Sequence[Candidate], state: Search[Candidate]) -> None:
        """Choose among the finalists, and give every other one its reason."""
        finalists = [one for one in chosen if one in state.results and one not in state.lost]
        if not finalists:
            self._save(chosen=None, complete=state.complete and self._is_all_tried)
            return
        results = [state.results[one] for one in finalists]
        choice = choose(results)
        best, fastest = results[choice.chosen], results[choice.fastest]
        reasons = {
            finalist: why_not(best, result) if place in choice.ties else how_slow(fastest, result)
            for place, (finalist, result) in enumerate(zip(finalists, results, strict=True))
            if place != choice.chosen
        }
        unmeasured = dict.fromkeys(state.unmeasured, "not measured: the budget ended")
        ties = {finalists[place] for place in choice.ties}
        self._save(
            chosen=finalists[choice.chosen],
            measured=tuple(
                dataclasses.replace(
                    one,
                    reason=reasons.get(one.candidate) or unmeasured.get(one.candidate, ""),
                    tied=one.candidate in ties,
                )
                for one in self.record.measured
            ),
            complete=state.complete and self._is_all_tried,
        )

    def _save(self, **changes: Any) -> None:
        self.record = dataclasses.replace(self.record, **changes)
        self.record.save(self.folder)

    def _is_there(self, variant: Variant, digest: str) -> bool:
        try:
            return sha256(ModelFile.read(self.workshop.path(variant)).data) == digest
        except InputError:  # it, or the file with its weights, is missing
            return False

    def _told(self, step: str, done: int, total: int) -> None:
        if self.workshop.progress:
            self.workshop.progress(step, done, total)


def _finished(folder: Path, record: Record, workshop: Workshop) -> TuneResult:
    """Write the chosen file, its proof and the page, and remove a file that was chosen before.

    What will be written is in the record before it is, so that a call after a kill knows the files for its own.
    """
    result = TuneResult(folder, record)
    data, proof, written = b"", b"", {}
    if record.chosen is not None and result.path is not None:
        source = workshop.path(record.chosen.variant)
        data = ModelFile.read(source).data
        proof = read_proof(workshop.proof).with_artifacts({result.path.name: sha256(data)}).to_bytes()
        for path, of in zip(files_of(result.path), files_of(source), strict=True):
            written[path.name] = sha256(of.read_bytes())
        written[f"{record.model}{SUFFIX}"] = sha256(proof)
    text = page(result)
    written[PAGE] = sha256(text.encode())
    for name, digest in record.outputs.items():
        left = folder / name
        # A record may be anybody's: only what it describes is removed.
        if written.get(name) != digest and Path(name).name == name and _is_ours(left, record.outputs):
            left.unlink()
    record = dataclasses.replace(record, outputs=written)
    record.save(folder)
    if result.path is not None:
        write_artifact(result.path, data, overwrite=True)
        write_bytes(folder / f"{record.model}{SUFFIX}", proof, overwrite=True)
    write_text(folder / PAGE, text, overwrite=True)
    return TuneResult(folder, record)
