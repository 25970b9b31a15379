"""``listing``, ``labeled`` and ``storage``: images of folders, patterns, lists and stores."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edgeseg.batch.labeled import open_labeled
from edgeseg.batch.listing import Images, Pairs
from edgeseg.batch.shard import Shard
from edgeseg.batch.storage import read_stored
from edgeseg.datasets import DataSource
from edgeseg.errors import BackendUnavailable, InputError

MODEL_DATA = Path(__file__).parents[2] / "data"


def names(images: Images) -> list[str]:
    return [images.item(index).name for index in range(len(images))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "notes.txt", "deep/c.tif", "deep/er/d.webp", "clip.mp4"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "tree"


def test_folders_patterns_and_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(Images([str(tree)])) == ["a.jpg", "b.PNG"]
    everything = Images([f"{tree}/**"])
    assert names(everything) == ["a.jpg", "b.PNG", "deep/c.tif", "deep/er/d.webp"]
    assert everything.item(3).image == str(tree / "deep/er/d.webp")
    assert [everything.index(name) for name in ("a.jpg", "deep/er/d.webp", "x")] == [0, 3, None]
    assert names(Images([f"{tree}/*/*.tif"])) == ["deep/c.tif"]
    # Several sources are sorted together, and each image is still found.
    several = Images([str(tree / "deep" / "er"), str(tree / "b.PNG")])
    assert [tuple(several.item(index)[:2]) for index in range(2)] == [
        ("b.PNG", str(tree / "b.PNG")),
        ("d.webp", str(tree / "deep/er/d.webp")),
    ]
    monkeypatch.chdir(tree)
    assert names(Images(["deep/*.tif", "*.jpg"])) == ["a.jpg", "c.tif"]


def test_shards_have_every_image_once(tree: Path) -> None:
    shards = [Images([f"{tree}/**"], Shard(number, 3)) for number in (1, 2, 3)]
    assert sorted(name for shard in shards for name in names(shard)) == names(Images([f"{tree}/**"]))
    assert all(shard.num_listed == 4 for shard in shards)


def test_a_list(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# those of May\n{tree}/deep/er/d.webp\n\n{tree}/deep/../deep/c.tif\r\n")
    images = Images([f"@{listed}"])
    assert [images.item(index)[:2] for index in range(2)] == [
        ("c.tif", str(tree / "deep/c.tif")),
        ("er/d.webp", str(tree / "deep/er/d.webp")),
    ]
    monkeypatch.chdir(tree)
    listed.write_text("a.jpg\ndeep/c.tif\n")
    assert names(Images([f"@{listed}"])) == ["a.jpg", "deep/c.tif"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no image"),
        ("a.png\nhttp://host/b.png\n", "has addresses and files of this machine; make two lists"),
        ("s3://one/a.png\ngs://two/b.png\n", "addresses of several stores"),
        ("../a.png\n../../b.png\n", "is in another folder than the rest"),
        ("a.png\n/b.png\n", "is in another folder than the rest"),
        ("x" * 10_001, "line 1 has more than 10000 characters"),
        ("a.jpg\na.png\n", "'a.jpg' and 'a.png' would have the same name in the results"),
        ("a\x1b[2J.png\n", r"image 'a\x1b[2J.png' has \x1b in its name; rename it."),
    ],
)
def test_what_is_wrong_with_a_list(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text, newline="")
    with pytest.raises(InputError) as error:
        Images([f"@{tmp_path / 'list.txt'}"])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "source 'nothing' does not exist or has no images."),
        ("*.gif", "does not exist or has no images"),
        ("clip.mp4", "is a video, whose frames go in order; omit `jobs`, `shard` and the like."),
        ("@nothing.txt", "'nothing.txt' cannot be read: No such file"),
        ("ftp://host/a.png", "begins with 'ftp://'; accepted: s3, s3a, gs"),
        ("simplecache::s3://bucket/x", "does not exist or has no images"),
        ("memory://empty/none", "does not exist"),
    ],
)
def test_what_is_wrong_with_a_source(source: str, message: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    with pytest.raises(InputError) as error:
        Images([source])
    assert message in str(error.value)


def test_a_name_with_bytes_that_are_no_text(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(InputError, match=r"has \\udcff in its name; rename it"):
        Images([str(tree)])


def test_a_store_of_which_the_package_is_missing() -> None:
    with pytest.raises(
        BackendUnavailable, match=r'needs the package s3fs. Install it with: pip install "edgeseg\[cloud\]" s3fs'
    ):
        Images(["s3://bucket/shots"])


@pytest.fixture
def memory() -> Iterator[None]:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in ("a.png", "notes.txt", "deep/b.jpg"):
        store.pipe_file(f"/shots/{name}", name.encode())
    yield
    store.rm("/shots", recursive=True)


@pytest.mark.usefixtures("memory")
def test_an_object_store() -> None:
    assert names(Images(["memory://shots"])) == names(Images(["memory://shots/"])) == ["a.png"]
    assert names(Images(["memory://shots/**"])) == ["a.png", "deep/b.jpg"]
    alone = Images(["memory://shots/deep/b.jpg"])
    assert names(alone) == ["b.jpg"]
    assert read_stored(alone.item(0).image) == b"deep/b.jpg"
    with pytest.raises(InputError, match=r"'memory://shots/z\.png' does not exist"):
        read_stored("memory://shots/z.png")


@pytest.mark.usefixtures("memory")
def test_a_file_of_a_store_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_MAX_IMAGE_PIXELS", "10")
    monkeypatch.setattr("edgeseg._internal.limits.images._ROOM", -76)
    with pytest.raises(InputError, match="has more bytes than any image of 10 pixels"):
        read_stored("memory://shots/a.png")


def test_a_web_server(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "a.png").write_bytes(b"pixels")
    handler = partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "list.txt").write_text(f"{root}/a.png\n{root}/z.png\n")
        images = Images([f"@{tmp_path / 'list.txt'}"])
        assert names(images) == ["a.png", "z.png"]
        assert read_stored(images.item(0).image) == b"pixels"
        with pytest.raises(InputError, match=r"z.png' does not exist"):
            read_stored(images.item(1).image)
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_pairs_of_a_split(labeled: Callable, tmp_path: Path) -> None:
    root, *_ = labeled(5)
    split = open_labeled(DataSource(root=str(root)), "test")
    pairs = Pairs(split.pairs)
    assert pairs.item(2) == ("002.png", *split.pairs[2])
    assert (pairs.index("004.png"), pairs.index("x")) == (4, None)
    shards = [Pairs(split.pairs, Shard(number, 2)) for number in (1, 2)]
    assert sum(map(len, shards)) == 5


def test_a_split_in_a_store(labeled: Callable, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    root, work, _ = labeled(3)
    store = fsspec.filesystem("memory")
    try:
        for path in root.rglob("*.*"):
            store.pipe_file(f"/camvid/{path.relative_to(root).as_posix()}", path.read_bytes())
        there = open_labeled(DataSource(root="memory://camvid"), "test")
        here = open_labeled(DataSource(root=str(root)), "test")
        assert (there.classes, there.label_encoding) == (here.classes, here.label_encoding)
        near, far = (Pairs(split.pairs) for split in (here, there))
        with work.open() as (worker, _):
            assert [worker(far.item(index)) for index in range(3)] == [worker(near.item(index)) for index in range(3)]
        store.rm("/camvid/test/labels/001.png")
        with pytest.raises(InputError, match=r"/camvid/test/images/001\.png' has no label in"):
            open_labeled(DataSource(root="memory://camvid"), "test")
        with pytest.raises(InputError, match="omit `layout='voc'`"):
            open_labeled(DataSource(root="memory://camvid", layout="voc"), "test")
        with pytest.raises(InputError, match="'memory://camvid/val/images/' does not exist"):
            open_labeled(DataSource(root="memory://camvid"), "val")
    finally:
        store.rm("/camvid", recursive=True)
