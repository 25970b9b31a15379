"""Define what ``export`` and ``quantize`` share: the options of proof and results, and the files that they write."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from edgeseg._internal.limits.pairs import REJECTED
from edgeseg.cli import _options
from edgeseg.cli._export_results import note_cuts, note_half, print_results
from edgeseg.cli._fields import collect
from edgeseg.cli._terminal import note, print_json, say, size_text
from edgeseg.cli._words import in_flags
from edgeseg.errors import EdgesegError, InputError

if TYPE_CHECKING:
    from edgeseg._internal.progress import StepProgress
    from edgeseg_converters import ExportResult, Quantization, Recipe
    from edgeseg_converters.images import Samples

F = TypeVar("F", bound=Callable[..., Any])

#: The parameters of ``verification`` and of ``results``, for a command's headings.
VERIFICATION = ("verify", "num_images", "proof")
RESULTS = ("name", "output_dir", "report", "card", "card_license", *_options.RESULTS)


@dataclass(frozen=True)
class Verification:
    """Whether the artifacts are proven, on how many images, and whether the proof is saved beside them."""

    verify: bool
    num_images: int | None
    proof: bool

    def check(self) -> None:
        """Refuse a proof that is asked for without a verification.

        Raises:
            InputError: it is so.
        """
        asked = click.get_current_context().get_parameter_source("proof") is ParameterSource.COMMANDLINE
        if asked and self.proof and not self.verify:
            raise InputError("--proof needs what the model says: omit --no-verify.")

    def samples(self, quantization: Quantization) -> Samples | None:
        """Return the images to verify with; ``None`` where nothing is verified."""
        from edgeseg_converters.images import collect as collect_images

        if not self.verify:
            return None
        return collect_images(quantization.data, split=quantization.split, count=self.num_images)


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the artifacts are called, and where they, the report and the card go."""

    name: str | None
    output_dir: Path
    report: bool
    card: bool
    card_license: str
    overwrite: bool
    as_json: bool


def verification(model: str) -> Callable[[F], F]:
    """Add the options of the proof, as one argument ``verification``.

    Args:
        model: what an artifact is proven against, for the help.
    """
    return collect(
        "verification",
        Verification,
        click.option(
            "--verify/--no-verify", default=True, show_default=True, help=f"Prove each artifact against {model}."
        ),
        click.option(
            "--num-images",
            type=click.IntRange(1),
            help="Images to verify with.  [default: 8; 4 where the model takes 40 billion operations for one]",
        ),
        click.option(
            "--proof/--no-proof",
            default=True,
            show_default=True,
            help="Write MODEL.proof.zip, for edgeseg verify on the device; at most 8 images and 3 MB.",
        ),
    )


def results(name: Callable[[Any], Any]) -> Callable[[F], F]:
    """Add the options of the results, as one argument ``results``.

    Args:
        name: the option ``--name``, whose default differs.
    """
    return collect(
        "results",
        Results,
        name,
        click.option(
            "--output-dir", type=_options.FOLDER, default=Path(), show_default=True, help="Folder for the artifacts."
        ),
        click.option(
            "--report/--no-report",
            default=True,
            show_default=True,
            help="Write MODEL.report.html and .json beside the artifacts, for integer precisions with --data.",
        ),
        click.option(
            "--card/--no-card",
            default=True,
            show_default=True,
            help="Write MODEL.card.md, a model card; one that was edited stays as it is.",
        ),
        click.option(
            "--license",
            "card_license",
            metavar="ID",
            default="unknown",
            show_default=True,
            help="License of the weights, for the card, such as apache-2.0.",
        ),
        _options.overwrite,
        _options.as_json,
    )


def report_path(
    name: str, recipes: Sequence[Recipe], quantization: Quantization, verification: Verification, results: Results
) -> Path | None:
    """Refuse files that exist, before the long work, and return where the report goes; ``None`` where there is none.

    Args:
        name: of the model.
        recipes: what is made.
        quantization: says whether there is anything to report.
        verification: says whether there is a proof.
        results: where the files go.

    Raises:
        InputError: a file exists, or the folder cannot be written to.
    """
    from edgeseg._internal.files import refuse_existing, require_writable_folder
    from edgeseg._internal.limits.pairs import files_of
    from edgeseg_converters.report.card import Making
    from edgeseg_converters.verification.proof import existing_proof

    Making(license=results.card_license)  # refuses what is no license
    output_dir, overwrite = results.output_dir, results.overwrite
    require_writable_folder(output_dir)
    for recipe in recipes:
        for path in files_of(output_dir / recipe.file_name(name)):
            refuse_existing(path, overwrite=overwrite)
    measured = results.report and quantization.measures(recipes)
    page = output_dir / f"{name}.report.html" if measured else None
    for path in _report_files(page, [recipe.file_name(name) for recipe in recipes]) if page else ():
        refuse_existing(path, overwrite=overwrite)
    if verification.verify and verification.proof:
        existing_proof(output_dir, name, overwrite=overwrite)
    return page


def save_all(
    made: Iterable[ExportResult], page: Path | None, results: Results, progress: StepProgress
) -> list[tuple[Path, ExportResult]]:
    """Save artifacts, each as soon as it is made, and their report; return them with their paths.

    Args:
        made: the artifacts.
        page: of ``report_path``.
        results: where the files go.
        progress: of the report.
    """
    from edgeseg.coverage import ask_coverage

    saved: list[tuple[Path, ExportResult]] = []
    for exported in made:
        proof = exported.verification
        if proof is not None:
            proof = dataclasses.replace(proof, reason=in_flags(proof.reason))
        result = dataclasses.replace(
            exported, verification=proof, coverage=ask_coverage(exported.data, exported.recipe.format)
        )
        saved.append((_save(result, results.output_dir, results.overwrite), result))
        note(f"{saved[-1][0]}  {size_text(len(result.data))}  {result.seconds:.1f} s")
        note_cuts(*saved[-1])
        note_half(*saved[-1])
    if page:
        from edgeseg_converters.report import save
        from edgeseg_converters.report.build import report_of

        save(report_of([result for _, result in saved], progress), page, overwrite=results.overwrite)
    return saved


def save_proof(
    saved: Sequence[tuple[Path, ExportResult]], verification: Verification, results: Results, progress: StepProgress
) -> tuple[Path | None, EdgesegError | None]:
    """Save the proof of the artifacts that passed.

    Returns:
        Its path, ``None`` where there is none; and why it was refused: what was made is told first.
    """
    from edgeseg._internal.files import sha256
    from edgeseg_converters.verification.proof import save_proof as save

    passed = [result for _, result in saved if not result.failure]
    if not (verification.proof and passed) or passed[0].reference is None:
        return None, None
    progress("making the proof", 0, 0)
    artifacts = {result.file_name: sha256(result.data) for result in passed}
    reference, name = passed[0].reference, passed[0].spec.name
    try:
        return save(reference, name, artifacts, results.output_dir, overwrite=results.overwrite), None
    except EdgesegError as error:
        return None, error


def save_card(
    saved: Sequence[tuple[Path, ExportResult]], proof: Path | None, results: Results
) -> tuple[Path | None, bool]:
    """Save the model card of the artifacts that passed.

    Returns:
        Its path, ``None`` where there is none, and whether it was written.
    """
    from edgeseg_converters.report.card import Making
    from edgeseg_converters.report.card import save_card as save

    passed = [result for _, result in saved if not result.failure]
    if not (results.card and passed):
        return None, False
    command = shlex.join(["edgeseg", *click.get_current_context().find_root().obj])
    making = Making(command=command, license=results.card_license, proof=proof is not None)
    return save(passed, results.output_dir, making, overwrite=results.overwrite)


def finish(
    saved: list[tuple[Path, ExportResult]],
    page: Path | None,
    proof: Path | None,
    refused: EdgesegError | None,
    results: Results,
) -> int:
    """Save the card, print what was made, and return the exit status.

    Args:
        saved: the artifacts.
        page: the report.
        proof: its file.
        refused: why there is none.
        results: whether JSON is printed.

    Raises:
        EdgesegError: ``refused``.
    """
    card, written = None, False
    try:
        card, written = save_card(saved, proof, results)
    except EdgesegError as error:
        refused = refused or error
    if card and not written:
        note(f"edgeseg: '{card}' was edited and stays as it is; --overwrite writes it anew.")
    if results.as_json:
        files = {"proof": None if proof is None else str(proof), "card": None if card is None else str(card)}
        print_json({"format_version": 1, "artifacts": [result.to_dict(path) for path, result in saved], **files})
    else:
        print_results(saved)
        if proof:
            say(f"Proof: {proof}")
        if page:
            say(f"Report: {page}")
        if card and written:
            say(f"Card: {card}")
    if refused is not None:
        raise refused
    failed = [(path, result.failure) for path, result in saved if result.failure]
    for path, reason in failed:
        note(f"edgeseg: {path} {reason}.")
    return 1 if failed else 0


def _report_files(page: Path, artifacts: Sequence[str]) -> list[Path]:
    """Return what may be written with the report of artifacts of these names."""
    from edgeseg_converters.report.model_explorer import KINDS, file_name

    overlays = [page.with_name(file_name(artifact, kind)) for artifact in artifacts for kind in KINDS]
    return [page, page.with_suffix(".json"), *overlays]


def _save(result: ExportResult, folder: Path, overwrite: bool) -> Path:
    """Save an artifact; one that failed its proof is kept for study, under a name that no script picks up."""
    name = Path(result.file_name)
    if result.failure:
        name = name.with_name(f"{name}{REJECTED}")
        overwrite = True  # of an earlier rejected file
    return result.save(folder / name, overwrite)
