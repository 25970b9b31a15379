"""Build a report of an export, and measure for it what the export itself did not need."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeseg._internal.files import write_artifact
from edgeseg._internal.progress import StepProgress
from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.result import LatencyResult
from edgeseg.choices import FORMAT_SUFFIXES, Format
from edgeseg.runtime import default_threads, open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg_converters.exporter import ExportResult
from edgeseg_converters.quantization.make import Quantized
from edgeseg_converters.report.content import Entry, Measured, Report
from edgeseg_converters.report.gallery import Change, most_changed
from edgeseg_converters.tflite.layer_errors import LayerError, layer_errors

# Images that the tensors of the two models are compared on; all tensors of both are in memory at once.
_NUM_LAYER_IMAGES = 4

# Enough to tell which precision is the faster one here; ``edgeseg benchmark`` measures more carefully.
_PLAN = Plan(rounds=3, num_runs=21, warmup_runs=3, warmup_min_secs=0.0, min_secs=0.0)


def report_of(results: Sequence[ExportResult], progress: StepProgress | None = None) -> Report:
    """Collect the measurements of the artifacts of one export, and time them in turns.

    Args:
        results: of one model, integer ones among them. The float file that an integer one was made from is shown as
            fp32 if that was not requested.
        progress: called with (step, artifacts done, artifacts in all).
    """
    floats = {result.recipe.format: result.data for result in results if result.recipe.precision == "fp32"}
    for result in results:
        if result.quantized:
            floats.setdefault(result.recipe.format, result.quantized.float_data)
    files: dict[str, tuple[bytes, Format]] = {f"fp32 {name}": (data, name) for name, data in floats.items()}
    for result in results:
        files[_name(result)] = result.data, result.recipe.format
        if result.quantized and result.quantized.unrescued:
            files[f"{_name(result)} without rescue"] = result.quantized.unrescued[0], result.recipe.format
    times = _timed(files, progress)

    def measured(name: str) -> Measured:
        return Measured(len(files[name][0]), times[name])

    names = {_name(result) for result in results}
    entries = [
        Entry(format=name, precision="fp32", measured=measured(f"fp32 {name}"))
        for name in floats
        if f"fp32 {name}" not in names
    ]
    for result in results:
        file = measured(_name(result))
        quantized, without_rescue = result.quantized, None
        if quantized and quantized.unrescued:
            plain = measured(f"{_name(result)} without rescue")
            without_rescue = dataclasses.replace(plain, accuracy=quantized.unrescued[1])
        entries.append(
            Entry(
                format=result.recipe.format,
                precision=result.recipe.precision,
                measured=dataclasses.replace(file, accuracy=quantized.accuracy if quantized else None),
                verification=result.verification,
                rescue=quantized.rescue if quantized else None,
                without_rescue=without_rescue,
                layers=_layers(result, quantized),
                gallery=_gallery(result, quantized),
                same_indices=quantized.same_indices if quantized else None,
                preparation=quantized.preparation if quantized else None,
                half=result.half,
            )
        )
    static = next((r.quantized for r in results if r.quantized and r.quantized.calibration), None)
    spec = results[0].spec
    return Report(
        model=spec.name,
        spec=spec,
        entries=tuple(sorted(entries, key=lambda entry: entry.precision not in ("fp32", "fp16"))),
        calibration=static.calibration if static else None,
        stability=static.stability if static else None,
        domain=static.domain if static else None,
        tools={name: version for result in results for name, version in result.spec.provenance.tools.items()},
    )


def _timed(files: Mapping[str, tuple[bytes, Format]], progress: StepProgress | None) -> dict[str, LatencyResult]:
    """Measure latency and memory of every artifact, on this machine's CPU."""
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for name, (data, file_format) in files.items():
            path = Path(folder) / f"{name.replace(' ', '.')}{FORMAT_SUFFIXES[file_format]}"
            write_artifact(path, data)
            cases.append(Case(path, "cpu", {"num_threads": default_threads()}))
        step = None if progress is None else lambda done, total: progress("latency of the artifacts", done, total)
        return dict(zip(files, measure(cases, LocalDevice(), _PLAN, progress=step), strict=True))


def _name(result: ExportResult) -> str:
    return f"{result.recipe.precision} {result.recipe.format}"


def _layers(result: ExportResult, quantized: Quantized | None) -> tuple[LayerError, ...] | None:
    """Compare the layers of a file with those of the float file; only for TFLite, which keeps the tensors' names."""
    if quantized is None or quantized.calibration is None or result.recipe.format != "tflite":
        return None
    images = quantized.calibration.first(_NUM_LAYER_IMAGES).tensors(result.spec)
    return layer_errors(quantized.float_data, result.data, images)


def _gallery(result: ExportResult, quantized: Quantized | None) -> tuple[Change, ...]:
    if quantized is None or quantized.baseline is None or quantized.accuracy is None:
        return ()
    with Segmenter(open_artifact(result.data, result.recipe.format)) as segmenter:
        return most_changed(quantized.baseline, segmenter, quantized.accuracy)
