"""Print what ``edgeseg export`` reports of its artifacts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg._internal.text import counted
from edgeseg.cli._terminal import note, print_table, say, size_text

#: Ops named on one line; the report has all.
_MOST_NAMES = 5

if TYPE_CHECKING:
    from edgeseg_converters import ExportResult
    from edgeseg_converters.quantization.make import Quantized


def note_cuts(path: Path, result: ExportResult) -> None:
    """Warn about a model that an accelerator cannot take in one piece."""
    for coverage in result.coverage:
        if coverage.cut:
            reasons = "; ".join(dict.fromkeys(left.reason for left in coverage.left))
            note(
                f"edgeseg: {path.name} is cut in pieces on {coverage.accelerator}: {coverage.summary}. {reasons}."
                f"{'' if result.failure else f' See edgeseg inspect {shlex.quote(str(path))}'}"
            )


def note_half(path: Path, result: ExportResult) -> None:
    """Say why an fp16 file does not compute in half precision on a CPU; a file that failed says it by itself."""
    half = result.half
    if half is not None and not half.written and not result.failure:
        note(f"edgeseg: {path.name} computes in float32 on every CPU, without half arithmetic, as {half.reason}.")


def print_results(saved: list[tuple[Path, ExportResult]]) -> None:
    """Print a table of the artifacts, and what is worth knowing about each."""
    rows = []
    for path, result in saved:
        proof = result.verification
        checked = ["-", "-", "not verified"]
        if proof:
            checked = [
                f"{proof.argmax_agreement:.3%}",
                f"{proof.max_abs_error:.1e}",
                "ok" if proof.passed else "FAILED",
            ]
        rows.append([str(path), size_text(len(result.data)), *checked, f"{result.seconds:.1f} s"])
    print_table(["File", ">Size", ">Same class", ">Max error", "Verification", ">Time"], rows)
    for path, result in saved:
        for coverage in result.coverage:
            left = f"; left: {coverage.left_ops}" if coverage.left else ""
            say(f"{path.name} on {coverage.accelerator}: {coverage.summary}{left}")
    result = saved[0][1]
    if proof := result.verification:
        say(f"Verified on {counted(proof.num_images, 'image')} ({proof.images}) against {proof.model}.")
        other_ties = [p.other_ties for _, r in saved if (p := r.verification) and p.other_ties is not None]
        if other_ties:
            say(
                f"Pooling by the delegate's own op: of equal maxima LiteRT's CPU picked another one than Keras in "
                f"{max(other_ties):.2%} of the windows."
            )
    for path, result in saved:
        if result.half and result.half.written:
            say(f"{path.name} {result.half.sentence}.")
        if result.quantized:
            _print_quantized(path, result.quantized)
    for rule, sites, error in result.replaced:
        say(f"Rewritten: {rule} at {counted(sites, 'site')}, largest difference {error:.0e}.")
    passed = [path for path, result in saved if not result.failure]
    if passed:  # no command opens a file that was rejected
        quoted = shlex.quote(str(passed[0]))
        say(f"Next: edgeseg inspect {quoted}  |  edgeseg predict {quoted} IMAGE --save out")


def _print_quantized(path: Path, quantized: Quantized) -> None:
    """Print what quantization costs, and which images it was calibrated on."""
    if quantized.calibration and quantized.stability:
        chosen, stability = quantized.calibration, quantized.stability
        say(f"{path.name} calibrated on {counted(len(chosen.paths), 'image')} of {chosen.source}, seed {chosen.seed}.")
        if not stability.stable:
            note(
                f"edgeseg: {len(chosen.paths)} images may be too few: half of them see ranges up to "
                f"{stability.disagreement:.0%} narrower. Give more by --num-calibration-samples and --data."
            )
    if quantized.calibration and quantized.domain and not quantized.domain.alike:
        note(
            f"edgeseg: the images of {quantized.calibration.source} look unlike those that the model was trained on: "
            f"the variance of its channels differs by a factor of {quantized.domain.factor:.1f}, 1.1 to 1.3 is usual. "
            "Give --data images as the model will see them."
        )
    accuracy = quantized.accuracy
    if accuracy and accuracy.mean_iou:
        before, after = accuracy.mean_iou
        name, drop = accuracy.worst_class
        say(
            f"{path.name} on {accuracy.source} ({counted(accuracy.num_images, 'image')}): mIoU {before:.4f} in float, "
            f"{after:.4f} in integers; the class that lost most is '{name}', {drop:.1f} points; "
            f"same class {accuracy.agreement:.2%}."
        )
    elif accuracy:
        say(
            f"{path.name} on {accuracy.source} ({counted(accuracy.num_images, 'image')}, no labels): "
            f"same class {accuracy.agreement:.2%}."
        )
    if quantized.preparation is not None:
        say(f"{path.name}: {quantized.preparation.sentence}")
    if quantized.same_indices:
        shares = ", ".join(f"{share:.1%}" for share in quantized.same_indices)
        say(f"{path.name}: pooling indices as in float, pooling by pooling: {shares} of the windows.")
    if quantized.rescue:
        kept = quantized.rescue.kept
        named = ", ".join(kept[:_MOST_NAMES]) + (f" and {len(kept) - _MOST_NAMES} more" if kept[_MOST_NAMES:] else "")
        say(f"{path.name}: {len(kept)} of {counted(quantized.rescue.num_ops, 'op')} kept in float: {named}.")
