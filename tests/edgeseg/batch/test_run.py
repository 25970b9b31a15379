"""``run``, ``pool``, ``work`` and ``results``: many images on several processes, with the real runtime.

Each test starts real processes; the model is the same file throughout.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg import Segmenter
from edgeseg.batch.labeled import open_labeled
from edgeseg.batch.listing import Images, Pairs
from edgeseg.batch.manifest import open_manifest, records
from edgeseg.batch.pool import Pool, default_jobs
from edgeseg.batch.results import evaluation, save_tables, totals
from edgeseg.batch.run import Plan, run
from edgeseg.batch.shard import Shard
from edgeseg.batch.work import Prediction
from edgeseg.datasets import DataSource, LabeledSplit, open_split
from edgeseg.errors import InputError
from edgeseg.evaluation.evaluate import evaluate
from edgeseg.runtime.base import usable_cores
from tests.edgeseg.batch.conftest import MODEL, NAMES, Opener, null_scores, null_segmenter, write_deadly


def test_a_run_is_killed_goes_on_and_has_every_image_once(images: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_bytes(b"no image")
    write_deadly(images / "010.png")
    opener = Opener(tmp_path)
    listing = Images([str(images)])
    plan = Plan(folder=tmp_path / "out", jobs=2)

    class Killed(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 21
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        run(Prediction(opener=opener), listing, plan, progress=stop)
    assert len(list(records(plan.manifest))) == 7

    outcome = run(Prediction(opener=opener), listing, plan)
    assert (outcome.num_images, outcome.num_failed, outcome.classes) == (21, 1, NAMES)
    assert 6 <= outcome.num_before <= 7  # the broken one may be among the seven; it is tried again
    by_name = {record.name: record for record in records(plan.manifest)}
    assert len(by_name) == len(list(records(plan.manifest))) == 21
    assert "does not decode" in (by_name["bad.png"].error or "")
    segmenter = Segmenter(MODEL, num_threads=1)
    for number in (0, 9, 10, 19):  # 10 took a process down, and was done by the next
        image = cv2.imread(str(images / f"{number:03d}.png"), cv2.IMREAD_COLOR_RGB)
        record = by_name[f"{number:03d}.png"]
        assert (record.size_hw, record.counts) == ((24, 32), tuple(segmenter(image).counts().values()))
    assert (tmp_path / "died").exists()

    again = run(Prediction(opener=opener), listing, plan)
    assert (again.num_before, again.num_failed) == (20, 1)

    csv_path, *others = save_tables(plan.manifest, plan.folder / "counts", outcome.classes, scored=False)
    with open(csv_path, newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:7] == ["name", "error", "height", "width", "pixels wall", "pixels red", "pixels blue"]
    assert sorted(row[0] for row in rows) == sorted(by_name)
    (bad,) = (row for row in rows if row[1])
    assert bad[0] == "bad.png" and not any(bad[2:])
    pixels = [int(row[4]) for row in rows if not row[1]]
    assert sum(pixels) == totals(plan.manifest, 3)[0]
    assert float(rows[0][7]) == pytest.approx(int(rows[0][4]) / (24 * 32), abs=1e-6)  # six digits
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(others[0])
    assert table.column_names == head
    assert table.column("name").to_pylist() == [row[0] for row in rows]
    assert [str(count or "") for count in table.column("pixels red").to_pylist()] == [
        row[5] if row[5] != "0" else "" for row in rows
    ]


def test_an_image_that_takes_every_process_down_is_recorded(images: Path, tmp_path: Path) -> None:
    write_deadly(images / "003.png")
    plan = Plan(folder=tmp_path / "out", jobs=1)
    outcome = run(Prediction(opener=Opener(tmp_path, always=True)), Images([str(images)]), plan)
    by_name = {record.name: record.error for record in records(plan.manifest)}
    assert (len(by_name), outcome.num_failed) == (20, 1)
    assert by_name["003.png"] == "the process that did it ended twice, killed by SIGKILL"
    assert len(list(tmp_path.glob("*.pid"))) == 3


def test_shards_are_scored_together_as_one_process_does(labeled: Callable, tmp_path: Path) -> None:
    root, work, _ = labeled(12)
    (root / "test" / "labels" / "005.png").write_bytes(b"no label")
    split = open_labeled(DataSource(root=str(root)), "test")
    folder = tmp_path / "out"
    for number in (1, 2):
        shard = Shard(number, 2)
        plan = Plan(folder=folder, shard=shard, settings={"model": "m"})
        run(work, Pairs(split.pairs, shard), plan)
    with pytest.raises(InputError, match="whose model is m, not n"):
        run(work, Pairs(split.pairs), Plan(folder=folder, settings={"model": "n"}))
    parts = [evaluation(path, split.classes) for path in sorted(folder.glob("manifest-*.jsonl"))]
    good = tuple((Path(image), Path(label)) for image, label in split.pairs if Path(image).stem != "005")
    alone = evaluate(Segmenter(MODEL, num_threads=1), LabeledSplit(split.classes, good, split.label_encoding))
    assert sum(part.num_images for part in parts) == alone.num_images == 11
    assert (sum(part.matrix.counts for part in parts) == alone.matrix.counts).all()
    assert alone.nearest is None and not any(part.nearest for part in parts)  # the file gives class ids
    # A run of all images puts the shards together: what failed is tried again.
    plan = Plan(folder=folder, settings={"model": "m"})
    outcome = run(work, Pairs(split.pairs), plan)
    assert (outcome.num_images, outcome.num_before, outcome.num_failed) == (12, 11, 1)
    assert (evaluation(plan.manifest, split.classes).matrix.counts == alone.matrix.counts).all()
    (table, *_) = save_tables(folder / "manifest-1-of-2.jsonl", folder / "scores-1-of-2", NAMES, scored=True)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 <= float(row["mean_iou"]) <= float(row["pixel_accuracy"]) <= 1 for row in rows if not row["error"])


def test_scores_are_compared_before_they_are_enlarged_as_well(labeled: Callable, tmp_path: Path) -> None:
    root, work, _ = labeled(3)
    split = open_labeled(DataSource(root=str(root)), "test")
    pairs, plan = Pairs(split.pairs), Plan(folder=tmp_path / "out")
    work = dataclasses.replace(work, opener=null_scores)
    with work.open() as (worker, classes), open_manifest(plan.manifest, {}, pairs) as manifest:
        assert classes == NAMES
        for index in range(3):
            manifest.append(worker(pairs.item(index)))
    alone, together = evaluate(null_scores(), open_split(root, "test")), evaluation(plan.manifest, split.classes)
    assert alone.nearest is not None and together.nearest is not None
    assert (together.matrix.counts == alone.matrix.counts).all()
    assert (together.nearest.counts == alone.nearest.counts).all()
    assert (together.nearest.counts != together.matrix.counts).any()
    two = dataclasses.replace(split.classes, names=NAMES[:2], palette=split.classes.palette[:2])
    with pytest.raises(InputError, match=r"has a result of '000\.png' that is not of 2 classes"):
        evaluation(plan.manifest, two)
    with (
        pytest.raises(InputError, match="the model has 3 classes, the data has 2"),
        dataclasses.replace(work, classes=two).open(),
    ):
        pass


def test_what_stops_a_run(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(folder=tmp_path / "out")
    listing = Images([str(images)])
    with pytest.raises(InputError, match=r"'none.tflite' does not exist"):
        run(Prediction(opener=partial(Segmenter, "none.tflite")), listing, plan)
    # A folder that cannot be written is no fault of an image.
    (tmp_path / "file").touch()
    work = Prediction(opener=Opener(tmp_path), folder=tmp_path / "file", views=("ids",), draw=ids)
    with pytest.raises(InputError, match="cannot be written"):
        run(work, listing, plan)
    assert not list(records(plan.manifest))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(InputError, match="has files and no manifest of a run; give another place, or `overwrite=True`"):
        run(work, listing, Plan(folder=tmp_path / "full"))


def ids(view: str, image_rgb: np.ndarray, segmentation: object) -> np.ndarray:
    return segmentation.class_map  # type: ignore[attr-defined, no-any-return]


def test_drawings_are_those_of_the_class_maps(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, images / "deep")
    plan = Plan(folder=tmp_path / "out")
    work = Prediction(opener=Opener(tmp_path), folder=plan.folder, views=("ids",), draw=ids)
    listing = Images([f"{images}/**"])
    assert run(work, listing, plan).num_images == 40
    segmenter = Segmenter(MODEL, num_threads=1)
    image = cv2.imread(str(images / "004.png"), cv2.IMREAD_COLOR_RGB)
    written = cv2.imread(str(plan.folder / "deep" / "004.ids.png"), cv2.IMREAD_UNCHANGED)
    assert (written == segmenter(image).class_map).all()
    assert len(list(plan.folder.rglob("*.ids.png"))) == 40


def test_processes_end_with_the_pool(images: Path, tmp_path: Path) -> None:
    with Pool(Prediction(opener=Opener(tmp_path)), 2) as pool:
        records_of = pool.records(Images([str(images)]).item(index) for index in range(20))
        next(records_of)
        pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
        os.kill(pids[0], signal.SIGSTOP)  # one that hangs ends as well
    for pid in pids:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists()
    assert default_jobs(1) == usable_cores() and default_jobs(10**6) == 1


def test_thousands_of_names_are_listed_sharded_and_resumed(images: Path, tmp_path: Path) -> None:
    """The form of ``benchmarks/million_names.py`` that takes seconds: links to one image, and a model of nothing."""
    names = [f"{number:05d}.png" for number in range(2000)]
    (tmp_path / "many").mkdir()
    for name in names:
        os.link(images / "000.png", tmp_path / "many" / name)
    work = Prediction(opener=null_segmenter)
    seen: list[str] = []
    for number in (1, 2):
        plan = Plan(folder=tmp_path / "out", shard=Shard(number, 2))
        listing = Images([str(tmp_path / "many")], plan.shard)
        with pytest.raises(ZeroDivisionError):
            run(work, listing, plan, progress=lambda done, total: 1 // (done - 300))
        outcome = run(work, listing, plan)
        assert (outcome.num_before, outcome.num_failed) == (300, 0)
        seen += [record.name for record in records(plan.manifest)]
    assert sorted(seen) == names
