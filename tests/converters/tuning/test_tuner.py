"""``tuner``, ``artifacts``, ``answers``, ``gate``, ``key``, ``edgeseg.cli.tune``: real files, runtimes, processes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from edgeseg._internal.files import sha256
from edgeseg.benchmark.plan import Plan
from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.proof import verify
from edgeseg.spec import ModelSpec
from edgeseg_converters import AccuracyGate, Quantization, TuneOptions, TuneResult
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.tuning.candidates import Place, Variant
from edgeseg_converters.tuning.key import PARTS, key_of
from edgeseg_converters.tuning.record import Answer, Artifact, read_record

FP16, INT8 = (Variant("tflite", precision, "generic") for precision in ("fp16", "int8"))


def test_the_chosen_file_is_beside_its_proof_and_passes_it(tuned: TuneResult) -> None:
    record = tuned.record
    assert tuned.path is not None and tuned.chosen is not None
    assert (record.complete, tuned.failure, record.device) == (True, "", "local")
    assert sorted(path.name for path in tuned.folder.iterdir()) == sorted(
        ["candidates", "painter.proof.zip", "tune.html", "tune.json", tuned.path.name]
    )
    assert verify(tuned.path, options=tuned.chosen.options).passed
    artifact = record.artifact(tuned.chosen.variant)
    assert artifact is not None and artifact.accuracy is not None
    assert artifact.sha256 == sha256(tuned.path.read_bytes())
    # The colors of the classes are all that the model knows, and every precision has the step for it.
    assert (artifact.accuracy.mean_iou, artifact.accuracy.mean_iou_float) == (1.0, 1.0)


def test_every_file_and_place_was_asked_and_measured_in_turns(tuned: TuneResult) -> None:
    record = tuned.record
    assert [one.variant for one in record.artifacts if not one.failure] == [FP16, INT8]
    running = {(one.variant, one.place.backend) for one in record.answers if not one.failure}
    assert running == {(variant, backend) for variant in (FP16, INT8) for backend in ("litert", "litert-compiled")}
    assert {one.candidate.num_threads for one in record.measured} == {1}
    assert [len(one.result.rounds) for one in record.measured if one.result] == [record.turns] * len(running)
    assert record.turns >= 1
    outcomes = [one.lost or one.reason for one in record.measured]
    assert outcomes.count("") == 1  # the chosen one; each of the others has its reason


def test_a_target_that_changes_nothing_is_made_once_for_precisions_of_the_same_rules(tuned: TuneResult) -> None:
    of_xnnpack = [one for one in tuned.record.artifacts if one.variant.target == "xnnpack"]
    assert {one.variant.precision for one in of_xnnpack} == {"fp16", "int8"}
    assert all(one.failure.startswith("nothing in it is made for xnnpack: ") for one in of_xnnpack)
    assert of_xnnpack[0].sha256  # made, to see it


def test_the_same_call_measures_nothing_twice(tuned: TuneResult, again: Callable[..., TuneResult]) -> None:
    before = {path: path.stat().st_mtime_ns for path in tuned.folder.rglob("*") if path.is_file()}
    result = again(tuned.folder)
    assert (result.reused, result.record) == (True, tuned.record)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_call_that_was_killed_while_it_wrote_its_result_writes_it(
    tuned: TuneResult, again: Callable[..., TuneResult]
) -> None:
    assert tuned.path is not None
    outputs = [tuned.folder / name for name in tuned.record.outputs]
    chosen, measured = tuned.path.read_bytes(), tuned.record.measured
    dataclasses.replace(tuned.record, outputs={}).save(tuned.folder)  # before the first file
    for path in outputs:
        path.unlink()
    result = again(tuned.folder)
    assert (result.reused, result.record.measured) == (False, measured)
    assert {path: sha256(path.read_bytes()) for path in outputs} == {
        tuned.folder / name: digest for name, digest in result.record.outputs.items()
    }
    tuned.path.unlink()  # between two of them
    assert again(tuned.folder).record.measured == measured
    assert tuned.path.read_bytes() == chosen


@pytest.mark.slow
def test_overwrite_measures_again_and_makes_only_what_is_lost(
    tuned: TuneResult, again: Callable[..., TuneResult]
) -> None:
    whole, lost = (tuned.folder / variant.path("painter") for variant in (FP16, INT8))
    made = whole.stat().st_mtime_ns
    lost.unlink()
    record = tuned.record  # as of a machine that lacked a package, and a device that lacked a runtime
    dataclasses.replace(
        record,
        artifacts=tuple(
            Artifact(variant=INT8, failure="it cannot be made") if one.variant == INT8 else one
            for one in record.artifacts
        ),
        answers=tuple(
            Answer(variant=one.variant, place=one.place, failure="it is not installed") for one in record.answers
        ),
    ).save(tuned.folder)
    result = again(tuned.folder, overwrite=True)
    assert not result.reused and result.record.complete
    assert whole.stat().st_mtime_ns == made
    remade = result.record.artifact(INT8)
    assert remade is not None and sha256(lost.read_bytes()) == remade.sha256
    assert result.record.artifact(FP16) == tuned.record.artifact(FP16)
    old, new = (
        [one.result for one in each.record.measured if one.candidate.variant == FP16] for each in (tuned, result)
    )
    assert all(a and b and a.latencies_s != b.latencies_s for a, b in zip(old, new, strict=True))
    assert len(list(tuned.folder.glob("painter.*.tflite"))) == 1  # another choice replaces the first


@pytest.mark.slow
def test_a_model_of_two_files_is_tuned_and_removed_whole(
    tmp_path: Path, again: Callable[..., TuneResult], small: TuneOptions
) -> None:
    pytest.importorskip("openvino")
    options = dataclasses.replace(small, formats=("openvino",), precisions=("fp32",))
    (tmp_path / "painter.fp32.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"painter\.fp32\.bin' exists"):
        again(tmp_path, options=options)
    result = again(tmp_path, options=options, overwrite=True)
    assert result.chosen is not None and result.path == tmp_path / "painter.fp32.xml"
    assert {"painter.fp32.xml", "painter.fp32.bin"} <= set(result.record.outputs)
    assert verify(result.path, options=result.chosen.options).passed

    (tmp_path / result.chosen.variant.path("painter")).with_suffix(".bin").unlink()
    lost = again(tmp_path, options=dataclasses.replace(options, budget=1e-9), overwrite=True)
    assert lost.record.unmade == (result.chosen.variant,)  # a file without its weights is none
    assert not list(tmp_path.glob("painter.fp32.*"))  # the file that was chosen before, and its weights


def test_other_arguments_are_refused_by_name(
    tuned: TuneResult, again: Callable[..., TuneResult], small: TuneOptions, painter: Callable[..., keras.Model]
) -> None:
    gate = Quantization(gate=AccuracyGate(max_drop=0.5))
    with pytest.raises(InputError, match=r"/tune.json' is a tuning with another conversion; give `overwrite=True`"):
        again(tuned.folder, options=dataclasses.replace(small, quantization=gate))
    with pytest.raises(InputError, match="is a tuning with another model and search;"):
        again(tuned.folder, painter(0.5), options=dataclasses.replace(small, num_threads=(1, 2)))
    assert read_record(tuned.folder) == tuned.record


def test_other_files_are_not_replaced_unasked(
    tmp_path: Path, again: Callable[..., TuneResult], tuned: TuneResult
) -> None:
    assert tuned.path is not None
    tuned.path.write_bytes(b"mine")  # in place of the file that was chosen
    with pytest.raises(InputError, match=r"\.tflite' exists; give `overwrite=True`"):
        again(tuned.folder)
    assert tuned.path.read_bytes() == b"mine"
    (tuned.folder / "tune.json").unlink()
    with pytest.raises(InputError, match=r"candidates' exists; give `overwrite=True`"):
        again(tuned.folder)

    tmp_path = tmp_path / "other"
    tmp_path.mkdir()
    mine = tmp_path / "painter.int8.tflite"
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"painter\.int8\.tflite' exists; give `overwrite=True` or another place"):
        again(tmp_path)
    assert mine.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]


def test_where_no_file_passes_the_best_is_named(
    tmp_path: Path,
    painter: Callable[..., keras.Model],
    shapes_dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the classes share takes the steps of 8 bits."""
    monkeypatch.setenv("EDGESEG_NATIVE_LOGS", "1")  # the streams stay those that are captured
    model, folder = tmp_path / "painter.keras", tmp_path / "lossy"
    painter(150.0).save(model)
    words = ["tune", str(model), "--data", str(shapes_dataset), "--output-dir", str(folder), "--format", "tflite"]
    assert main([*words, "--precision", "int8", "--num-images", "2"]) == 1
    out, err = capsys.readouterr()
    assert "edgeseg: no file passes its gate; the best is int8.tflite: mIoU fell by " in err
    assert "painter.int8.tflite" in out and "Chosen" not in out
    record = read_record(folder)
    assert record is not None and record.complete and not record.answers  # it is never asked about
    lossy = record.artifact(INT8)
    assert lossy is not None and lossy.accuracy is not None and lossy.verified is not None
    assert lossy.verified > 0.9  # the gate of the export alone lets it pass
    assert sorted(path.name for path in folder.iterdir()) == ["candidates", "tune.html", "tune.json"]


def test_the_command_needs_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "unet_mini"]) == 2
    assert "Missing option '--data'" in capsys.readouterr().err


def test_a_device_that_runs_nothing_is_asked_twice_and_said_in_a_sentence(
    tmp_path: Path, again: Callable[..., TuneResult], small: TuneOptions
) -> None:
    options = dataclasses.replace(small, precisions=("fp32", "fp16", "dynamic"), accelerators=("npu",))
    result = again(tmp_path, options=options)
    assert result.chosen is None
    assert result.failure.startswith("local runs no file that passes its gate: ")
    assert result.absent_rows()[0][0] == "litert-compiled npu"
    asked = [one.variant.precision for one in result.record.answers if one.place == Place("litert-compiled", "npu")]
    assert asked == ["fp32", "dynamic"]
    reasons = {row[0]: row[-1] for row in result.rows()}
    assert reasons == {"painter.fp16.tflite": "not asked: nothing ran the other files of its format"}


def test_what_cannot_be_tuned_is_refused_at_once(
    tmp_path: Path, again: Callable[..., TuneResult], small: TuneOptions
) -> None:
    with pytest.raises(InputError, match=r"tune measures on local and ssh:HOST, not on 'adb'"):
        again(tmp_path / "a", device="adb")
    with pytest.raises(InputError, match="unknown accelerator 'tpu'"):
        again(tmp_path / "a", options=dataclasses.replace(small, accelerators=("tpu",)))
    with pytest.raises(InputError, match=r"none of the formats runs on cuda or qnn: tflite runs on cpu, gpu, npu\."):
        again(tmp_path / "a", options=dataclasses.replace(small, accelerators=("cuda", "qnn")))
    with pytest.raises(InputError, match="omit `rescue`"):
        again(tmp_path / "a", options=dataclasses.replace(small, quantization=Quantization(rescue=True)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no image"):
        again(tmp_path / "a", data=str(tmp_path / "empty"))
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_budget_ends_it_and_a_larger_one_continues_here_with_images_without_labels(
    tmp_path: Path, again: Callable[..., TuneResult], small: TuneOptions, shapes_dataset: Path
) -> None:
    options = dataclasses.replace(small, precisions=("fp16",), budget=1e-9)
    images = str(shapes_dataset / "train" / "images")
    ended = again(tmp_path, data=images, options=options)
    assert ended.failure == "the budget ended before a file was made"
    assert (ended.record.complete, ended.record.unmade) == (False, (FP16,))
    assert [row[-1] for row in ended.rows()] == ["not made: the budget ended"]
    stale = tmp_path / "candidates" / "painter.proof.zip"  # as of another model, which was replaced
    stale.parent.mkdir()
    stale.write_bytes(b"stale")
    result = again(tmp_path, data=images, options=dataclasses.replace(options, budget=60.0))
    assert (result.reused, result.record.complete, result.record.unmade) == (False, True, ())
    assert result.path is not None and result.path.exists()
    artifact = result.record.artifact(FP16)
    assert artifact is not None and artifact.accuracy is not None
    assert (artifact.accuracy.mean_iou, artifact.accuracy.agreement) == (None, 1.0)
    assert "with the float model's class at 100.00% of the pixels" in result.sentence


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(
    tmp_path: Path,
    painter: Callable[..., keras.Model],
    shapes_dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = tmp_path / "painter.keras", tmp_path / "out"
    painter().save(model)
    words = ["tune", str(model), "--data", str(shapes_dataset), "--output-dir", str(folder), "--format", "tflite"]
    words += ["--precision", "fp16", "--accelerator", "cpu", "--num-threads", "1", "--rounds", "1"]
    words += ["--num-runs", "2", "--min-secs", "0", "--num-images", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeseg", *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        record = read_record(folder) if (folder / "tune.json").exists() else None
        if record is not None and record.answers:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.05)
    assert process.wait() == -signal.SIGKILL
    killed = read_record(folder)
    assert killed is not None and killed.artifacts and not killed.complete
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.tflite")}

    monkeypatch.setenv("EDGESEG_NATIVE_LOGS", "1")  # the streams stay those that are captured
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    record = read_record(folder)
    assert record is not None and record.complete and record.date == killed.date
    assert record.artifacts[: len(killed.artifacts)] == killed.artifacts
    assert record.answers[: len(killed.answers)] == killed.answers
    assert {path: path.stat().st_mtime_ns for path in times} == times  # no file was made again
    assert Path(printed["path"]).exists() and printed["complete"]
    assert printed["command"].startswith(f"edgeseg predict {printed['path']} IMAGE --backend ")

    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "Chosen: " in out and f"Next: {printed['command']}" in out
    assert "this is the result of an earlier run with the same arguments; --overwrite measures again" in err
    shutil.rmtree(folder)
    assert main([*words, "--max-drop", "-1"]) == 2


def test_the_key_follows_from_what_the_work_follows_from(
    painter: Callable[..., keras.Model],
    painter_spec: ModelSpec,
    shapes_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(
        model: keras.Model, data: Path = shapes_dataset, device: str = "local", **changes: object
    ) -> dict[str, str]:
        options = dataclasses.replace(TuneOptions(), **changes)  # type: ignore[arg-type]
        return key_of(model, painter_spec, str(data), options, device)

    first = key(painter())
    assert tuple(first) == PARTS
    assert key(painter()) == first  # layers and inputs have other numbers in their names
    assert key(painter(), budget=1.0) == first

    def changed(other: dict[str, str]) -> list[str]:
        return [name for name in PARTS if other[name] != first[name]]

    assert changed(key(painter(0.1))) == ["model"]
    assert changed(key(painter(), device="ssh:pi5")) == ["device"]
    assert changed(key(painter(), plan=Plan(rounds=3))) == ["search"]
    images = tuple(sorted((shapes_dataset / "val" / "images").iterdir()))
    chosen = CalibrationSet(paths=images, source="val", available=len(images), seed=0)
    for quantization in (Quantization(seed=1), Quantization(ptq="off"), Quantization(calibration=chosen)):
        assert changed(key(painter(), quantization=quantization)) == ["conversion"]
    fewer = Quantization(calibration=chosen.first(1))
    assert key(painter(), quantization=fewer) != key(painter(), quantization=Quantization(calibration=chosen))
    for package in ("MNN", "openvino", "tflite-runtime"):
        with monkeypatch.context() as patched:
            patched.setattr("edgeseg_converters.tuning.key.installed_version", {package: "0"}.get)
            with_it = key(painter())
            patched.setattr("edgeseg_converters.tuning.key.installed_version", {}.get)
            assert key(painter())["versions"] != with_it["versions"]
    copied = tmp_path / "copy"
    shutil.copytree(shapes_dataset, copied)
    there = key(painter(), copied)
    os.utime(copied / "val" / "images" / "00.png", (0, 0))
    assert key(painter(), copied)["data"] != there["data"]


def test_a_model_is_the_same_when_it_is_loaded_again(
    painter_spec: ModelSpec, shapes_dataset: Path, tmp_path: Path
) -> None:
    """The numbers in names and the seed of a Dropout are others at each load; what is connected to what is not."""

    def model(scale: float = 2.0, *, swapped: bool = False) -> keras.Model:
        image = keras.Input((64, 80, 3))
        first, second = (keras.layers.Conv2D(3, 1, kernel_initializer="ones") for _ in range(2))
        one, two = first(image), second(keras.layers.Dropout(0.5)(image))
        parts = [two, one] if swapped else [one, two]
        inner = keras.layers.Subtract()(parts)
        return keras.Model(image, inner * scale)

    def key(of: keras.Model) -> str:
        return key_of(of, painter_spec, str(shapes_dataset), TuneOptions(), "local")["model"]

    saved = model()
    saved.save(tmp_path / "model.keras")
    loaded = [keras.models.load_model(tmp_path / "model.keras") for _ in range(2)]
    assert key(loaded[0]) == key(loaded[1]) == key(saved) == key(model())
    assert len({key(model()), key(model(3.0)), key(model(swapped=True))}) == 3
