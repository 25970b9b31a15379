from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseg._internal.files import (
    atomic_path,
    csv_text,
    growing_path,
    refuse_existing,
    require_writable_folder,
    scratch_folder,
    sha256,
    write_bytes,
    write_text,
    writing_folder,
)
from edgeseg.errors import InputError


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "model.fp16.tflite"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"weights")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename across file systems would be a copy
        assert temporary.name.endswith(".fp16.tflite")
    assert path.read_bytes() == b"weights"
    assert names(path.parent) == ["model.fp16.tflite"]


def test_the_file_gets_the_permissions_of_any_other(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a.bin", b"x")
    finally:
        assert os.umask(before) == 0o027  # asking for it did not change it
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"a\.bin' exists; give `overwrite=True`"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Nor is /dev/null, which root could replace."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="is a device or a pipe; name a file"):
        write_bytes(pipe, b"new", overwrite=True)
    assert pipe.is_fifo()


@pytest.mark.parametrize("error", [RuntimeError("converter"), KeyboardInterrupt(), OSError("a library's own")])
def test_an_existing_file_survives_a_block_that_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as caught, atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(b"half of it")
        raise error
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_block_that_removes_its_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), atomic_path(tmp_path / "a.bin") as temporary:
        temporary.unlink()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in its place")
    for path in (tmp_path / "file" / "a.bin", tmp_path / "file" / "deeper" / "a.bin"):
        with pytest.raises(InputError, match=r"folder '.*file.*' cannot be written: "):
            write_bytes(path, b"x")
        with pytest.raises(InputError, match=r"folder '.*file.*' cannot be written: "):
            require_writable_folder(path.parent)
    assert names(tmp_path) == ["file"]


def test_a_folder_in_the_files_place_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(InputError, match=r"a\.bin' cannot be written: Is a directory"):
        write_bytes(tmp_path / "a.bin", b"x", overwrite=True)
    assert names(tmp_path) == ["a.bin"]


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    name = "n" * 248 + ".tflite"  # 255 bytes; the temporary name must not need more
    write_bytes(tmp_path / name, b"x")
    assert names(tmp_path) == [name]


def test_a_folder_is_checked_and_not_made(tmp_path: Path) -> None:
    require_writable_folder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file", "file/a", "link", "link/a"):
        with pytest.raises(InputError, match=rf"folder '.*{place}' cannot be written"):
            require_writable_folder(tmp_path / place)


@pytest.mark.parametrize("writer", [atomic_path, lambda path: writing_folder(path.parent)])
def test_work_that_fails_leaves_no_folder(tmp_path: Path, writer: Callable[[Path], Any]) -> None:
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "a" / "b" / "c.txt"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "a" / "b" / "c.txt"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "what was there stays"


def test_refuse_existing_asks_before_the_work(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "a", overwrite=False)
    (tmp_path / "a").mkdir()
    refuse_existing(tmp_path / "a", overwrite=True)
    with pytest.raises(InputError, match="exists"):
        refuse_existing(tmp_path / "a", overwrite=False)


def test_sha256_of_a_known_text() -> None:
    # From FIPS 180-2, appendix B.1.
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, existing: bool) -> None:
    """A file-size limit makes the operating system itself refuse the write, as a full disk does."""
    path = tmp_path / "model.tflite"
    if existing:
        path.write_bytes(b"old")
    program = """
        import resource, sys
        from edgeseg.errors import InputError
        from edgeseg._internal.files import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            write_bytes(sys.argv[1], b"x" * 1_000_000, overwrite=True)
        except InputError as error:
            print(error)
            sys.exit(2)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == f"'{path}' cannot be written: File too large.\n"
    assert done.stderr == ""
    assert names(tmp_path) == (["model.tflite"] if existing else [])
    assert not existing or path.read_bytes() == b"old"


def test_a_text_with_bytes_that_are_none_is_written_all_the_same(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "straße\n\udcff,\ud800\n")
    assert (tmp_path / "a.csv").read_bytes() == "straße\n\\udcff,\\ud800\n".encode()


def test_csv_quotes_what_needs_it() -> None:
    assert csv_text([("name", "iou"), ('a,"b"', 0.5), ["c", ""]]) == 'name,iou\n"a,""b""",0.5\nc,\n'


def test_a_scratch_folder_on_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = r"the temporary folder '.*' cannot be written: No space left.* TMPDIR"
    with pytest.raises(InputError, match=said), scratch_folder() as folder:
        (folder / "a").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), scratch_folder() as folder:
        (folder / "none").read_bytes()  # another error stays what it is
    assert list(tmp_path.iterdir()) == []


def test_a_growing_file_is_there_from_the_start_and_stays_when_its_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.mp4"
    with pytest.raises(RuntimeError), growing_path(path) as growing:
        assert growing == path and path.stat().st_size == 0
        growing.write_bytes(b"frames")
        with pytest.raises(InputError, match="exists"), growing_path(path):
            pass
        with pytest.raises(InputError, match="written by"), growing_path(path, overwrite=True):
            pass
        raise RuntimeError
    assert path.read_bytes() == b"frames"
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]  # and no lock
    with pytest.raises(InputError, match="exists"), growing_path(path):
        pass
    with growing_path(path, overwrite=True):
        pass
    assert not path.exists()  # nothing was written


def test_a_growing_file_leaves_the_old_one_to_who_has_it_open(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with path.open("rb") as old, growing_path(path, overwrite=True) as growing:
        growing.write_bytes(b"new")
        assert old.read() == b"old"
    assert path.read_bytes() == b"new"
