"""Verify an artifact on a device: run the images of its proof several times in a changing order, and compare.

Not called ``verify``: a module of that name would hide the function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from edgeseg._internal.fields import short_repr
from edgeseg._internal.files import scratch_folder, sha256, write_bytes
from edgeseg._internal.json import WrongValue
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.text import counted
from edgeseg.choices import INTEGERS, Precision, RuntimePrecision
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.html.notebook import html_table
from edgeseg.imaging import encode_image
from edgeseg.models.packaged_files import find_file
from edgeseg.proof.agreement import Agreement, ClassAgreement, Comparison, ImageAgreement, compare
from edgeseg.proof.device import ProofDevice, ThisMachine
from edgeseg.proof.file import SUFFIX, Proof, ProofGate, read_proof
from edgeseg.proof.first_wrong_op import input_tensor
from edgeseg.proof.first_wrong_op.scores import scores_part
from edgeseg.proof.order import DEFAULT_REPEAT, MAX_REPEATS, changing_order
from edgeseg.proof.questions import Answers
from edgeseg.runtime.options import accelerator_name


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far an artifact gives the answers of its Keras model on a device and accelerator.

    Attributes:
        artifact: name of the file.
        sha256: of the file.
        proof: name of the proof's file.
        device: ``local``, ``ssh:HOST`` or ``adb:SERIAL``.
        accelerator: the accelerator asked for, as shown to people.
        runtime: what actually ran, with its version.
        num_threads: of the runtime; 0 where the default was used.
        precision: of the artifact.
        judged_as: the precision whose gate was asked: that of the artifact, or fp16 where it was computed in that or in
            bf16.
        decided_from: the margin from which on a pixel is decided, of that gate.
        repeat: how often each image was run.
        expected: the proof: the images, and what Keras says of them.
        comparison: agreement over all images, per image and per class.
        identical_to_cpu: whether every score is bit for bit that of the device's CPU; ``None`` where this was not
            asked, or cannot tell anything, as class ids are the same where all is right.
        fully_accelerated: whether the accelerator runs every node; ``None`` where the runtime does not say.
        software_rendering: whether the GPU is emulated on the CPU.
        coverage: ``(delegated, total)`` nodes, where it is known.
        half_arithmetic: whether the CPU computed in half precision; ``None`` where that is not known, as on a GPU.
        warnings: what is suspicious, a sentence each.
    """

    __repr__ = short_repr

    artifact: str
    sha256: str
    proof: str
    device: str
    accelerator: str
    runtime: str
    num_threads: int
    precision: Precision
    judged_as: Precision
    decided_from: float
    repeat: int
    expected: Proof
    comparison: Comparison
    identical_to_cpu: bool | None = None
    fully_accelerated: bool | None = None
    software_rendering: bool = False
    coverage: tuple[int, int] | None = None
    half_arithmetic: bool | None = None
    warnings: tuple[str, ...] = ()

    @property
    def agreement(self) -> Agreement:
        """Over all images."""
        return self.comparison.agreement

    @property
    def images(self) -> tuple[ImageAgreement, ...]:
        """Per image."""
        return self.comparison.images

    @property
    def classes(self) -> tuple[ClassAgreement, ...]:
        """Per class."""
        return self.comparison.classes

    @property
    def passed(self) -> bool:
        """Whether the gate of the precision is reached in every run."""
        return self.agreement.passed

    @property
    def reason(self) -> str:
        """Why it failed, in a sentence without a full stop; empty where it passed."""
        found = self.agreement
        if found.passed:
            return ""
        if not found.pixels:
            return "no pixel of the proof is decided by more than rounding"
        least = f"{found.min_agreement:.1%}"
        said = f"{found.worst:.3%} of the decided pixels have Keras' class in the worst run; at least {least}"
        return f"{said}; the first run has {found.first:.3%}" if found.falls else said

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write an image for each image of the proof that has a wrong pixel; see ``edgeseg.proof.differences``.

        Args:
            folder: for ``ARTIFACT.ACCELERATOR.DEVICE.NN.png``; the threads are after the accelerator where they were
                chosen.
            overwrite: whether files that exist may be replaced.

        Returns:
            The files, those with most wrong pixels first.

        Raises:
            InputError: a file exists, or cannot be written.
        """
        from edgeseg.proof.differences import draw_difference

        pairs = zip(self.expected.images, self.comparison.worst_maps, strict=True)
        wrong = {n: int((one.class_map != got).sum()) for n, (one, got) in enumerate(pairs)}
        where = "".join(
            c if c.isalnum() or c in "-_.@" else "_"
            for c in f"{self.accelerator}{self.num_threads or ''}.{self.device}"
        )
        paths = []
        for number in sorted((n for n in wrong if wrong[n]), key=lambda n: -wrong[n]):
            image = draw_difference(self.expected, number, self.comparison.worst_maps[number], self.decided_from)
            path = Path(folder) / f"{self.artifact}.{where}.{number:02d}.png"
            write_bytes(path, encode_image(image), overwrite=overwrite)
            paths.append(path)
        return paths

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("expected", "comparison")]
        values = {name: getattr(self, name) for name in names}
        parts = {name: [dataclasses.asdict(one) for one in getattr(self, name)] for name in ("images", "classes")}
        return {**values, "agreement": dataclasses.asdict(self.agreement), "reason": self.reason, **parts}

    def _repr_html_(self) -> str:
        """Return the agreement as a table, for a notebook."""
        found = self.agreement
        rows = [(name, f"{getattr(found, name):.3%}") for name in ("first", "worst", "last")]
        rows += [("gate", self.reason or f"passed, at least {found.min_agreement:.1%}")]
        rows += [("warning", warning) for warning in self.warnings]
        return html_table(rows, head=(self.artifact, f"{self.accelerator} on {self.device}, {self.runtime}"))


def verify(
    artifact: str | Path,
    proof: str | Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    device: ProofDevice | None = None,
    repeat: int = DEFAULT_REPEAT,
) -> Verdict:
    """Run an artifact on the images of its proof, on the device that will run it, and compare.

    Args:
        artifact: a ``.tflite``, ``.onnx``, ``.mnn`` or ``.xml`` file, or the name of a packaged one.
        proof: the ``.proof.zip``; the one beside the artifact when omitted.
        options: what runs it: keywords of ``edgeseg.runtime.open_backend``, such as ``accelerator``, ``delegate``,
            ``providers``, ``num_threads``.
        device: where; entered already, as ``with edgeseg.benchmark.devices.open_device("ssh:pi5") as device``; this
            machine when omitted.
        repeat: how often each image is run, in a changing order.

    Raises:
        InputError: a file is missing or damaged, or the proof is not of this artifact.
        BackendUnavailable: the device does not have the requested backend or accelerator.
        DeviceLost: the device went away or its process died.

    Examples:
        >>> verdict = edgeseg.proof.verify("unet.fp16.tflite", options={"accelerator": "gpu"})
        >>> verdict.passed, verdict.agreement.worst
    """
    if not 1 <= repeat <= MAX_REPEATS:
        raise InputError(f"repeat must be 1 to {MAX_REPEATS}, got {repeat}.")
    artifact, options, device = find_file(artifact), dict(options or {}), device or ThisMachine()
    if not artifact.is_file():
        raise InputError(f"model file '{artifact}' does not exist.")
    path = find_proof(artifact) if proof is None else Path(proof)
    if path is None:
        raise InputError(
            f"there is no proof beside '{artifact}': edgeseg export writes MODEL{SUFFIX} into the folder of its files; "
            "name one that is elsewhere: `proof='FILE'`."
        )
    read = read_proof(path)
    digest = sha256(ModelFile.read(artifact).data)
    if proof is None and not read.of(digest):
        raise InputError(
            f"'{path}' was not made with '{artifact}' but with {_names(read)}: export the model again; to use it "
            f"all the same, `proof='{path}'`."
        )
    order = changing_order(len(read.images), repeat)
    answers = device.answers(artifact, options, path, order)
    computed_in: RuntimePrecision | None = options.get("runtime_precision")
    judged_as = _judged_as(read, answers, computed_in)
    gate = _gate(read, judged_as, computed_in)
    comparison = _compared(read, gate, answers, order, device.name)
    accelerator = accelerator_name(options)
    identical = _identical_to_cpu(artifact, options, path, read, order, answers, device)
    return Verdict(
        artifact=artifact.name,
        sha256=digest,
        proof=path.name,
        device=device.name,
        accelerator=accelerator,
        runtime=answers.runtime,
        num_threads=int(options.get("num_threads") or 0),
        precision=answers.precision,
        judged_as=judged_as,
        decided_from=gate.decided_from,
        repeat=repeat,
        expected=read,
        comparison=comparison,
        identical_to_cpu=identical,
        fully_accelerated=answers.fully_accelerated,
        software_rendering=answers.software_rendering,
        coverage=answers.coverage,
        half_arithmetic=answers.half_arithmetic,
        warnings=tuple(_warnings(comparison, answers, accelerator, identical)),
    )


def find_proof(artifact: Path) -> Path | None:
    """Return the proof beside an artifact: ``MODEL.proof.zip`` for ``MODEL.PRECISION.FORMAT``; ``None`` without one."""
    name = artifact.name
    while "." in name:
        name = name.rpartition(".")[0]
        path = artifact.with_name(name + SUFFIX)
        if path.exists():
            return path
    return None


def _names(proof: Proof) -> str:
    names = list(proof.artifacts)
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"


def _judged_as(proof: Proof, answers: Answers, computed_in: RuntimePrecision | None) -> Precision:
    """Return whose gate an artifact has to pass; the gates of integers are wider than half precision needs."""
    half = answers.half_arithmetic or (computed_in in ("fp16", "bf16") and "fp16" in proof.gates)
    return "fp16" if half and answers.precision == "fp32" else answers.precision


def _compared(proof: Proof, gate: ProofGate, answers: Answers, order: tuple[int, ...], device: str) -> Comparison:
    shapes = tuple(proof.images[index].class_map.shape for index in order)
    try:
        class_maps = answers.class_maps(cast(Any, shapes))
    except WrongValue as error:
        raise DeviceLost(f"what {device} answers to the proof cannot be right: {error}.") from error
    return compare(proof, gate, order, class_maps, answers.outputs)


def _gate(proof: Proof, precision: Precision, computed_in: RuntimePrecision | None) -> ProofGate:
    """Return what is asked of an artifact: the gate of its precision, or of what it is computed in if that is coarser.

    Computed in ``fp16`` it is the gate of fp16 files. ``bf16`` has 8 significant bits where float16 has 11, so that a
    pixel is decided where its best class leads by 8 times as much; no fewer than a quarter of the pixels are.
    """
    gate = proof.gates.get(precision)
    if gate is None:
        known = ", ".join(proof.gates)
        raise InputError(f"the proof has no gate for {precision}, which the artifact is; it has {known}.")
    half = proof.gates.get("fp16")
    if computed_in in (None, "fp32") or half is None:
        return gate
    decided_from = half.decided_from
    if computed_in == "bf16":
        leads = np.concatenate([image.margins.ravel() for image in proof.images])
        decided_from = max(decided_from, min(8 * decided_from, float(np.quantile(leads, 0.75))))
    return ProofGate(
        min_agreement=min(gate.min_agreement, half.min_agreement),
        decided_from=max(gate.decided_from, decided_from),
    )


def _identical_to_cpu(
    artifact: Path,
    options: Mapping[str, Any],
    path: Path,
    proof: Proof,
    order: Sequence[int],
    answers: Answers,
    device: ProofDevice,
) -> bool | None:
    """Return whether an accelerator's scores are those of the device's CPU, bit for bit.

    Integers are the same on every accelerator that computes them as TFLite specifies, and class ids wherever all is
    right: where a file gives these, its scores are looked at on one image.
    """
    elsewhere = options.get("accelerator") not in (None, "cpu") or options.get("delegate") or options.get("providers")
    if not elsewhere or tuple(options.get("providers") or ()) == ("cpu",) or answers.precision in INTEGERS:
        return None
    kept = {name: value for name, value in options.items() if name in ("num_threads", "input_size")}
    try:
        if not answers.has_scores:
            return _identical_scores(artifact, options, kept, proof, device)
        on_cpu = device.answers(artifact, kept, path, range(max(order) + 1))
    except (InputError, BackendUnavailable, DeviceLost):  # a file of a vendor's compiler runs nowhere else
        return None
    return all(output == on_cpu.outputs[index] for index, output in zip(order, answers.outputs, strict=True))


def _identical_scores(
    artifact: Path, options: Mapping[str, Any], on_cpu: Mapping[str, Any], proof: Proof, device: ProofDevice
) -> bool | None:
    """Return the same of the scores of an artifact that gives class ids, on the first image."""
    part = scores_part(artifact)
    if part is None:
        return None
    with scratch_folder("edgeseg-verify-") as folder:
        path = folder / f"scores{artifact.suffix}"
        path.write_bytes(part)
        tensor = input_tensor(artifact, proof, 0)
        there, cpu = (device.value(path, one, tensor) for one in (options, on_cpu))
    return np.array_equal(there, cpu)


def _warnings(comparison: Comparison, answers: Answers, accelerator: str, identical: bool | None) -> Iterator[str]:
    found, images = comparison.agreement, comparison.images
    unsteady = [image for image in images if image.answers > 1]
    if unsteady:
        yield (
            f"runs of the same image differ among themselves for {counted(len(unsteady), 'image')} of {len(images)}: "
            f"up to {max(image.answers for image in unsteady)} different answers to one image"
        )
    if found.falls:
        yield f"the first run is right more often than a later one: {found.first:.3%}, then down to {found.worst:.3%}"
    if identical:
        yield (
            f"every score is bit for bit that of the CPU: it is likely that nothing ran on '{accelerator}', whatever "
            "the runtime says"
        )
    if answers.fully_accelerated is False:
        yield f"a part of the model does not run on '{accelerator}' but on the CPU"
    if answers.software_rendering:
        yield "the GPU is emulated on the CPU: this says nothing about a real one"
