"""``mirror`` and what ``storage`` writes: the results of a run in a store, here the one in memory, and S3's of moto."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.batch import mirror as module
from edgeseg.batch.manifest import Manifest, open_manifest, records
from edgeseg.batch.mirror import mirrored
from edgeseg.batch.record import Item, Record
from edgeseg.batch.storage import place_of, read_stored, write_stored
from edgeseg.batch.work import Prediction
from edgeseg.errors import InputError
from tests.edgeseg.batch.conftest import MODEL, null_segmenter, write_images

URL = "memory://out/run"
NAMES = ["a.png", "b.png", "c.png"]


class Names(list[str]):
    def index(self, name: str) -> int | None:  # type: ignore[override]
        return super().index(name) if name in self else None


@pytest.fixture
def store() -> Iterator[dict[str, Any]]:
    """The files of the store, by their paths."""
    fsspec = pytest.importorskip("fsspec")
    files: dict[str, Any] = fsspec.filesystem("memory").store
    yield files
    for name in [name for name in files if name.startswith("/out")]:
        del files[name]


@contextmanager
def running(
    *, name: str = "manifest.jsonl", model: str = "m", overwrite: bool = False
) -> Iterator[tuple[Manifest, module.Mirror]]:
    with mirrored(URL) as mirror:
        mirror.fetch(name, overwrite=overwrite)
        path = mirror.folder / name
        with (
            open_manifest(path, {"model": model}, Names(NAMES), overwrite=overwrite) as manifest,
            mirror.keeping(path),
        ):
            yield manifest, mirror


def do(running_in: tuple[Manifest, module.Mirror], *names: str) -> None:
    manifest, mirror = running_in
    for name in names:
        manifest.append(Record(name=name, size_hw=(3, 4), counts=(12, 0)))
        mirror.keep_lines(manifest.path)


def done_in(tmp_path: Path) -> list[str]:
    (tmp_path / "m.jsonl").write_bytes(read_stored(f"{URL}/manifest.jsonl"))
    return [record.name for record in records(tmp_path / "m.jsonl")]


def test_a_run_goes_on_after_a_kill_at_any_moment(
    store: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[dict[str, Any]] = [{}]

    def remember(*_: object) -> None:
        moments.append(dict(store))

    for function in ("write_stored", "remove_stored"):
        real = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *args, real=real: (remember(), real(*args), remember()))
    monkeypatch.setattr(module, "_PART_S", -1.0)  # a part for each line
    with running() as first:
        do(first, "a.png", "b.png")
    whole = read_stored(f"{URL}/manifest.jsonl")
    assert sorted(store) == ["/out/run/manifest.jsonl", "/out/run/parts/manifest.jsonl.000000000000"]
    assert whole.startswith(read_stored(f"{URL}/parts/manifest.jsonl.000000000000"))
    with running() as second:
        assert list(second[0].done) == [1, 1, 0]
        do(second, "c.png")
    assert done_in(tmp_path) == NAMES
    assert read_stored(f"{URL}/manifest.jsonl").startswith(whole)
    with running() as third:
        assert all(third[0].done)
    monkeypatch.undo()
    kept = 0
    for moment in moments:  # what is there after kill -9 then
        store.clear()
        store.update(moment)
        with running() as again:
            assert sum(again[0].done) >= kept  # nothing that was there is lost
            kept = sum(again[0].done)
            do(again, *(name for name, is_done in zip(NAMES, again[0].done, strict=True) if not is_done))
        assert sorted(done_in(tmp_path)) == NAMES
        assert len(store) == 2
    assert kept == 3


def test_what_was_done_before_an_error_is_kept(store: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt), running() as first:
        do(first, "b.png")
        raise KeyboardInterrupt
    with running() as second:
        assert list(second[0].done) == [0, 1, 0]
    with running(overwrite=True) as anew:
        assert not any(anew[0].done)
        assert "/out/run/manifest.jsonl" not in store


def test_a_run_of_all_images_gets_the_shards(store: dict[str, Any]) -> None:
    for number, name in ((1, "a.png"), (2, "c.png")):
        with running(name=f"manifest-{number}-of-2.jsonl") as shard:
            do(shard, name)
    with running() as whole:
        found = [list(records(path)) for path in sorted(whole[1].folder.glob("manifest-*.jsonl"))]
        assert [[record.name for record in each] for each in found] == [["a.png"], ["c.png"]]
        do(whole, "b.png")
    with running() as again:
        assert list(again[0].done) == [0, 1, 0]


def test_a_manifest_that_was_brought_there_with_half_a_line(store: dict[str, Any], tmp_path: Path) -> None:
    line = Record(name="a.png", size_hw=(3, 4), counts=(12, 0)).line()
    header = b'{"format_version":1,"settings":{"model":"m"}}\n'
    for content, done in ((header + line + line[:9], [1, 0, 0]), (header[:9], [0, 0, 0])):
        store.clear()
        write_stored(f"{URL}/manifest.jsonl", content)
        with running() as first:
            assert list(first[0].done) == done
            do(first, "c.png")
        assert "c.png" in done_in(tmp_path)
        with running() as second:
            assert list(second[0].done) == [done[0], 0, 1]


def test_what_is_refused(store: dict[str, Any]) -> None:
    with (
        running() as first,
        pytest.raises(InputError, match="is being written by another run; let it end"),
        running() as second,
    ):
        do(first, "a.png")
        first[1]._put(first[0].path)
        do(second, "b.png")
    with (
        pytest.raises(InputError, match="'memory://out/run' has results of another run, whose model is m, not n"),
        running(model="n"),
    ):
        pass
    with running(name="manifest-1-of-2.jsonl"):
        pass
    store.pop("/out/run/manifest.jsonl")
    with mirrored(URL) as mirror:  # another part has other settings: found by those of the first that there is
        mirror.fetch("manifest-2-of-2.jsonl", overwrite=False)
        assert [path.name for path in mirror.folder.iterdir()] == ["manifest-1-of-2.jsonl"]
        mirror.require_room(["x.csv"], overwrite=False)
        write_stored(f"{URL}/x.csv", b"x")
        with pytest.raises(InputError, match=r"'memory://out/run/x\.csv' exists; give `overwrite=True` or another"):
            mirror.require_room(["x.csv"], overwrite=False)
    write_stored(f"{URL}/parts/manifest.jsonl.000000000999", b"x")
    with pytest.raises(InputError, match=r"the part before '.*' is missing; `overwrite=True` begins anew"), running():
        pass
    store.clear()
    write_stored(f"{URL}/notes.txt", b"x")
    with pytest.raises(InputError, match="'memory://out/run' has files and no manifest of a run; give"), running():
        pass
    with running(overwrite=True):
        pass
    with (
        mirrored(f"{URL}/notes.txt") as mirror,
        pytest.raises(InputError, match=r"notes\.txt' is a file; name"),
    ):
        mirror.fetch("manifest.jsonl", overwrite=False)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("out", Path("out")),
        ("file:///tmp/a%20b", Path("/tmp/a b")),
        ("S3://Bucket/out/", "s3://Bucket/out"),
        (
            "https://host/out",
            "'https://host/out' is no place for results; accepted: a folder, or an address of s3, s3a",
        ),
        ("rtmp://host/out", "is no place for results"),
        ("s3://", "'s3://' names no folder of a store; accepted: s3://BUCKET/FOLDER."),
        ("gs://bucket/*", "names no folder of a store"),
    ],
)
def test_a_place(text: str, place: Path | str) -> None:
    if isinstance(place, str) and " " in place:
        with pytest.raises(InputError) as error:
            place_of(text)
        assert place in str(error.value)
    else:
        assert place_of(text) == place


def test_drawings_go_to_a_store(store: dict[str, Any], tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    work = Prediction(opener=null_segmenter, folder=URL, views=("ids",), draw=ids)
    with work.open() as (worker, _):
        for _ in range(2):  # the same again, after a kill
            assert worker(Item("deep/x.png", str(tmp_path / "000.png"))).error is None
    drawn = cv2.imdecode(np.frombuffer(read_stored(f"{URL}/deep/x.ids.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert drawn.shape == (24, 32) and (drawn == 1).all()
    with pytest.raises(InputError, match="has '::' in it, which would lead to another store; rename it"):
        write_stored("memory://out/a::file:///tmp/x", b"")


def ids(view: str, image_rgb: np.ndarray, segmentation: object) -> np.ndarray:
    return segmentation.class_map  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket of moto's server on this machine."""
    server_of = pytest.importorskip("moto.server", reason="needs moto's server: see CONTRIBUTING")
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True).mkdir("s3://bucket")
    yield "s3://bucket"
    server.stop()


@pytest.mark.slow  # several runs of the command, each with processes of its own
def test_a_run_in_s3_is_killed_and_goes_on(bucket: str, tmp_path: Path) -> None:
    import fsspec

    write_images(tmp_path / "in", 100)
    system = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    for path in (tmp_path / "in").iterdir():
        system.put_file(str(path), f"{bucket}/in/{path.name}")
    many = [sys.executable, "-m", "edgeseg", "predict", str(MODEL), "--jobs", "2", "--visualize", "ids"]
    far = [*many, f"{bucket}/in", "--save", f"{bucket}/out"]
    killed = subprocess.Popen(far, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(system.glob(f"{bucket}/out/*.ids.png")) < 20:
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    there = len(system.glob(f"{bucket}/out/*.ids.png"))
    assert 20 <= there < 100
    assert not system.exists(f"{bucket}/out/manifest.jsonl")

    subprocess.run(far, check=True)
    subprocess.run([*many, str(tmp_path / "in"), "--save", str(tmp_path / "near")], check=True)
    system.get(f"{bucket}/out", str(tmp_path / "far"), recursive=True)
    near, far_folder = tmp_path / "near", tmp_path / "far"
    names = sorted(path.name for path in near.iterdir() if not path.name.startswith("."))
    assert sorted(path.name for path in far_folder.iterdir()) == sorted([*names, "parts"])
    for name in names:
        if name.endswith((".png", ".csv")) and name != "counts.csv":
            assert (near / name).read_bytes() == (far_folder / name).read_bytes(), name
    lines = [sorted((folder / "counts.csv").read_text().splitlines()) for folder in (near, far_folder)]
    assert lines[0] == lines[1]
    assert len(list(records(far_folder / "manifest.jsonl"))) == 100
