"""Ask a device what runs there, and whether it answers as the Keras model does: each file, on all that opens it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgeseg._internal.files import sha256
from edgeseg._internal.limits.models import ModelFile
from edgeseg.benchmark.measure import Case, Device, measure_on
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import LatencyResult
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof import verify
from edgeseg_converters.tuning.candidates import Candidate, Place, Variant
from edgeseg_converters.tuning.record import Answer

# How often each image of the proof is run: what is right only at first is wrong the second time, and the third.
_REPEAT = 3

#: One call, to learn what the device is.
_GLANCE = Plan(rounds=1, warmup_runs=1, warmup_min_secs=0.0, num_runs=1, min_secs=0.0, verify=False)


class Bench:
    """A device that is open during a tuning, and what is asked of it."""

    def __init__(self, device: Device) -> None:
        """Take a device that was entered."""
        self._device = device

    def answer(self, path: Path, variant: Variant, place: Place, proof: Path) -> Answer:
        """Ask the proof of a file.

        Args:
            path: the file.
            variant: what it is.
            place: what runs it.
            proof: the proof.

        Raises:
            DeviceLost: the device went away.
        """
        nothing = Answer(variant=variant, place=place)
        try:
            verdict = verify(path, proof, options=place.options, device=self._device, repeat=_REPEAT)
        except (BackendUnavailable, InputError) as error:
            return dataclasses.replace(nothing, failure=_sentence(error))
        except DeviceLost as error:
            self._require(path)
            return dataclasses.replace(nothing, failure=_sentence(error))
        failure = verdict.reason
        if verdict.software_rendering:
            failure = "the GPU is a program on the CPU, which is slower than the CPU itself"
        return Answer(
            variant=variant, place=place, runtime=verdict.runtime, agreement=verdict.agreement, failure=failure
        )

    def cores(self, path: Path, place: Place) -> int:
        """Return how many cores a process on the device may use.

        Raises:
            EdgesegError: the file does not run there.
        """
        (result,) = measure_on([Case(path, place.accelerator, dict(place.options))], self._device, _GLANCE)
        return max(result.environment.cpus, 1)

    def time(self, path: Path, candidate: Candidate, plan: Plan) -> LatencyResult:
        """Measure a candidate in one process.

        Args:
            path: its file.
            candidate: what is measured.
            plan: of one process.

        Raises:
            InputError: it does not run.
            BackendUnavailable: what runs it is not there any more.
            DeviceLost: the device went away, or the process died.
        """
        case = Case(path, candidate.place.accelerator, candidate.options)
        try:
            (result,) = measure_on([case], self._device, plan)
        except DeviceLost as error:
            self._require(path)
            raise InputError(_sentence(error)) from error
        return result

    def _require(self, path: Path) -> None:
        """Raise ``DeviceLost`` where it is the device that went away, and not a process that died."""
        self._device.put(path, sha256(ModelFile.read(path).data))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:2000]
