"""Make the files of a tuning, each once, and put each through the gates of the workstation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras

from edgeseg._internal.files import sha256, write_artifact
from edgeseg._internal.progress import StepProgress
from edgeseg.choices import Target
from edgeseg.datasets import Data
from edgeseg.errors import EdgesegError
from edgeseg.proof.file import SUFFIX
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, choose
from edgeseg_converters.exporter import Exporter, ExportResult
from edgeseg_converters.images import Samples
from edgeseg_converters.options import ExportOptions, Quantization
from edgeseg_converters.rewrites import Rewrite, rules_for
from edgeseg_converters.tuning.candidates import ANYWHERE, Variant
from edgeseg_converters.tuning.gate import DataGate
from edgeseg_converters.tuning.record import Artifact
from edgeseg_converters.verification.proof import make_proof


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Makes the files of one model.

    Attributes:
        model: the Keras model.
        spec: how it is fed.
        folder: of the tuning.
        data: calibrates.
        quantization: how; its gate is asked by ``gate``, of float files too.
        samples: the images that verify.
        gate: scores each file on the data.
        progress: called at the start of each step.
    """

    model: keras.Model
    spec: ModelSpec
    folder: Path
    data: Data
    quantization: Quantization
    samples: Samples
    gate: DataGate
    progress: StepProgress | None = None

    @property
    def proof(self) -> Path:
        """The proof that all files are asked."""
        return self.folder / "candidates" / f"{self.spec.name}{SUFFIX}"

    def path(self, variant: Variant) -> Path:
        """Return where a file is."""
        return self.folder / variant.path(self.spec.name)

    def make(
        self, variants: Sequence[Variant], known: Sequence[Artifact], out_of_time: Callable[[], bool]
    ) -> Iterator[Artifact]:
        """Make files, each when it is consumed; those of one target share what comes before their formats.

        Args:
            variants: the files to make; none of them is known.
            known: the files that were made; one that a target leaves as it is on any runtime is no candidate.
            out_of_time: asked before each file; where it is so the rest is not made.

        Yields:
            Each file, or why there is none.
        """
        made = list(known)
        for target in dict.fromkeys(variant.target for variant in variants):
            left = [variant for variant in variants if variant.target == target]
            while left and not out_of_time():
                if (twin := _known_twin(left[0], made)) is not None:
                    made.append(Artifact(variant=left.pop(0), failure=_alike(target, twin)))
                    yield made[-1]
                    continue
                try:
                    for result in self._exporter(target, left).run(
                        self.model, self.spec, samples=self.samples, progress=self.progress
                    ):
                        artifact = self._checked(left.pop(0), result, made)
                        made.append(artifact)
                        yield artifact
                        if out_of_time() or (left and _known_twin(left[0], made) is not None):
                            break
                except EdgesegError as error:
                    yield Artifact(variant=left.pop(0), failure=f"it cannot be made: {_sentence(error)}")

    def _exporter(self, target: Target, variants: Sequence[Variant]) -> Exporter:
        recipes = [variant.recipe for variant in variants]
        calibration = None
        if recipes[0].is_static:  # the first alone, as a lack of images concerns no other file
            calibration = self._calibration()
        elif any(recipe.is_static for recipe in recipes):
            recipes = recipes[: next(i for i, recipe in enumerate(recipes) if recipe.is_static)]
        # Without data of its own: the accuracy of every file is measured alike, by the gate.
        quantization = dataclasses.replace(self.quantization, data=None, calibration=calibration)
        return Exporter(recipes, options=ExportOptions(target=target), quantization=quantization)

    def _calibration(self) -> CalibrationSet:
        settings = self.quantization
        return settings.calibration or choose(
            self.data,
            count=settings.num_calibration_samples,
            seed=settings.seed,
            split=settings.calibration_split,
        )

    def _checked(self, variant: Variant, result: ExportResult, made: Sequence[Artifact]) -> Artifact:
        """Save a file, put it through its gates, and say which it misses."""
        path = self.path(variant)
        if result.reference is not None and not self.proof.exists():
            make_proof(result.reference).save(self.proof)
        write_artifact(path, result.data, overwrite=True)
        artifact = Artifact(
            variant=variant,
            sha256=sha256(result.data),
            size_bytes=len(result.data),
            seconds=result.seconds,
            verified=None if result.verification is None else result.verification.argmax_agreement,
            rewrites={rule: str(sites) for rule, sites, _ in result.replaced},
            failure=result.failure,
        )
        twin = next((one for one in made if _is_twin(one, artifact)), None)
        if twin is not None:
            return dataclasses.replace(artifact, failure=_alike(variant.target, twin.variant))
        if artifact.failure:
            return artifact
        step = f"{variant}: scoring"
        try:
            accuracy, failure = self.gate.measure(path, partial(self.progress, step) if self.progress else None)
        except EdgesegError as error:
            return dataclasses.replace(artifact, failure=f"it does not run here: {_sentence(error)}")
        return dataclasses.replace(artifact, accuracy=accuracy, failure=failure)


def _is_twin(one: Artifact, other: Artifact) -> bool:
    """Return whether a file of a target is that of no target: the same rules at as many places."""
    alike = (one.variant.format, one.variant.precision) == (other.variant.format, other.variant.precision)
    return (
        alike
        and one.variant.target == ANYWHERE != other.variant.target
        and one.rewrites == other.rewrites
        and bool(one.sha256)
    )


def _known_twin(variant: Variant, made: Sequence[Artifact]) -> Variant | None:
    """Return the file of no target that a file would be, where another precision with the same rules has shown it."""
    anywhere = dataclasses.replace(variant, target=ANYWHERE)
    for other in made:
        shown = other.variant
        if shown.target != variant.target or shown.format != variant.format or shown.target == ANYWHERE:
            continue
        first = next((one for one in made if _is_twin(one, other)), None)
        if first and _rules(shown) == _rules(variant) and _rules(first.variant) == _rules(anywhere):
            return anywhere
    return None


def _rules(variant: Variant) -> tuple[Rewrite, ...]:
    """Return the rules that a file is made with; which of them hold follows from the model alone."""
    return rules_for(variant.format, variant.target).in_order(optimize=True, precision=variant.precision)


def _alike(target: Target, twin: Variant) -> str:
    return f"nothing in it is made for {target}: {twin}"


def _sentence(error: EdgesegError) -> str:
    return " ".join(str(error).split()).rstrip(".")[:2000]
