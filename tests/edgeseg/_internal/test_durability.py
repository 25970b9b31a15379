"""Power losses, kills and other processes: what ``files`` promises to leave whole.

The power loss is that of a file system which orders nothing by itself: until they are synced, the bytes of a file may
be missing in part, and the names of a folder may be those of any moment since.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeseg._internal import files
from edgeseg._internal.files import atomic_path, write_bytes, writing_folder
from edgeseg._internal.locks import SUFFIX
from edgeseg.errors import InputError

OLD, NEW = b"old " * 100, b"new!" * 100
ABSENT = None


class Recorded:
    """The calls that count, in their order: bytes written, a file or a folder synced, a file renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, int, str]] = []  # what, inode, name for a rename
        self.bytes: dict[int, bytes] = {}
        fsync, replace = os.fsync, os.replace

        def synced(handle: int) -> None:
            fsync(handle)
            self.calls.append(("sync", os.fstat(handle).st_ino, ""))

        def renamed(source: Path, target: Path) -> None:
            inode, content = source.stat().st_ino, source.read_bytes()
            self.bytes[inode] = content
            replace(source, target)
            self.calls.append(("rename", inode, target.name))

        monkeypatch.setattr(files.os, "fsync", synced)
        monkeypatch.setattr(files.os, "replace", renamed)

    def after_losses(self, folder: Path, name: str, before: bytes | None) -> Iterator[tuple[bool, bytes | None]]:
        """Whether the write was over, and what the name leads to, after a power loss at every moment."""
        place = folder.stat().st_ino
        for end in range(len(self.calls) + 1):
            done = self.calls[:end]
            renames = [(at, inode) for at, (what, inode, to) in enumerate(done) if what == "rename" and to == name]
            last_sync = max((at for at, call in enumerate(done) if call[:2] == ("sync", place)), default=-1)
            kept = [rename for rename in renames if rename[0] < last_sync]
            # Of the renames since the folder was synced any number may have reached the disk.
            for count in range(len(kept), len(renames) + 1):
                if count == 0:
                    yield end == len(self.calls), before
                    continue
                inode = renames[count - 1][1]
                whole = self.bytes[inode]
                is_synced = ("sync", inode, "") in done
                for left in [whole] if is_synced else [b"", whole[: len(whole) // 2], whole]:
                    yield end == len(self.calls), left


def with_atomic_path(path: Path) -> None:
    with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
        file.write(NEW[:200])
        file.flush()
        file.write(NEW[200:])


def without_a_sync_of_the_file(path: Path) -> None:
    temporary = path.with_name("temporary")
    temporary.write_bytes(NEW)
    os.replace(temporary, path)  # noqa: PTH105 - the recorded call
    files._sync(path.parent)


def without_a_sync_of_the_folder(path: Path) -> None:
    temporary = path.with_name("temporary")
    temporary.write_bytes(NEW)
    files._sync(temporary)
    os.replace(temporary, path)  # noqa: PTH105 - the recorded call


def losses(
    write: Callable[[Path], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> set[tuple[bool, bytes | None]]:
    before = path.read_bytes() if path.exists() else ABSENT
    recorded = Recorded(monkeypatch)
    write(path)
    return set(recorded.after_losses(path.parent, path.name, before))


@pytest.mark.parametrize("before", [OLD, ABSENT], ids=["over a file", "a new file"])
@pytest.mark.parametrize("write", [with_atomic_path, lambda path: write_bytes(path, NEW, overwrite=True)])
def test_a_power_loss_leaves_the_old_file_or_the_new_one_and_after_the_write_the_new_one(
    before: bytes | None, write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.tflite"
    if before is not None:
        path.write_bytes(before)
    assert losses(write, path, monkeypatch) == {(False, before), (False, NEW), (True, NEW)}


def test_the_simulation_sees_a_write_that_syncs_only_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(OLD)
    with monkeypatch.context() as patched:
        assert (True, b"") in losses(without_a_sync_of_the_file, path, patched)
    path.write_bytes(OLD)
    with monkeypatch.context() as patched:
        assert (True, OLD) in losses(without_a_sync_of_the_folder, path, patched)


def test_a_new_folder_is_in_its_parent_after_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch)
    write_bytes(tmp_path / "runs" / "x" / "a.bin", NEW)
    synced = {inode for what, inode, _ in recorded.calls if what == "sync"}
    assert {folder.stat().st_ino for folder in (tmp_path, tmp_path / "runs", tmp_path / "runs" / "x")} <= synced


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from edgeseg._internal.files import atomic_path
path, moments = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
for _ in range(10):
    child = os.fork()
    if child == 0:
        for number in range(10**6):
            with atomic_path(path, overwrite=True) as temporary, open(temporary, "wb") as file:
                for _ in range(8):
                    file.write(bytes([number % 251]) * 8192)
    time.sleep(moments.uniform(0.0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if path.exists():
        content = path.read_bytes()
        assert len(content) == 65536 and len(set(content)) == 1, "half a file"
print(len(list(path.parent.iterdir())))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals and locks are POSIX")
def test_a_kill_at_any_moment_leaves_a_whole_file_and_the_next_run_removes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    command = [sys.executable, "-c", KILLED, str(path), "20"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == 0, killed.stderr
    files._remove_abandoned(tmp_path)
    assert {left.name for left in tmp_path.iterdir()} <= {"a.bin"}


def test_what_a_dead_writer_left_is_removed_and_what_a_living_one_or_the_user_has_is_kept(tmp_path: Path) -> None:
    dead = [f".model.0a1b2c3d{ending}" for ending in (SUFFIX, ".9f8e7d6c.tflite", "", ".9f8e7d6c.tflite-journal")]
    users = [".model.0a1b2c3e.tflite", ".model.tflite", "model.tflite", f".notes{SUFFIX}", ".0a1b2c3d.part"]
    for name in (*dead, *users):
        (tmp_path / name).write_bytes(b"half")
    with atomic_path(tmp_path / "video.mp4") as temporary:
        own = {temporary.name, ".".join(temporary.name.split(".")[:3]) + SUFFIX}
        files._remove_abandoned(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {*users, *own}
    assert {path.name for path in tmp_path.iterdir()} == {*users, "video.mp4"}


def test_two_writers_of_one_file_or_folder_are_told_apart(tmp_path: Path) -> None:
    said = rf"a\.bin' is being written by process {os.getpid()} on "
    with atomic_path(tmp_path / "a.bin", overwrite=True) as temporary:
        with pytest.raises(InputError, match=said):
            write_bytes(tmp_path / "a.bin", NEW, overwrite=True)
        write_bytes(tmp_path / "b.bin", NEW)
        temporary.write_bytes(OLD)
    assert (tmp_path / "a.bin").read_bytes() == OLD
    with writing_folder(tmp_path):
        write_bytes(tmp_path / "c.bin", NEW)  # the folder is one writer's, who may write files in it
        with pytest.raises(InputError, match="' is being written by process"), writing_folder(tmp_path):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin", "c.bin"]


def test_a_file_that_another_writer_finished_in_between_is_not_replaced_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    make_folder = files._make_folder

    def overtaken(folder: Path) -> Any:
        path.write_bytes(OLD)
        return make_folder(folder)

    monkeypatch.setattr(files, "_make_folder", overtaken)
    with pytest.raises(InputError, match="exists"):
        write_bytes(path, NEW)
    assert path.read_bytes() == OLD
