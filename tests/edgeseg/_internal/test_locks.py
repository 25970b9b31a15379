from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeseg._internal.locks import SUFFIX, abandoned, exclusive
from edgeseg.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are POSIX")

HOLDER = """
import sys
from pathlib import Path
from edgeseg._internal.locks import exclusive
with exclusive(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_hears_who_the_first_is_until_that_one_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / SUFFIX
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = rf"^'runs/x' is being written by process {holder.pid} on .* since 20..-..-.. ..:..:..; wait"
        with pytest.raises(InputError, match=said), exclusive(lock, "'runs/x'"):
            pass
        with abandoned(lock) as is_dead:
            assert not is_dead
        holder.kill()
    assert lock.exists()
    with abandoned(lock) as is_dead:
        assert is_dead
    assert not lock.exists()


def test_two_places_of_one_process_exclude_each_other_and_the_end_of_the_block_frees(tmp_path: Path) -> None:
    lock = tmp_path / SUFFIX
    with exclusive(lock, "it"):
        with pytest.raises(InputError, match="it is being written by process"), exclusive(lock, "it"):
            pass
        assert lock.exists()  # who is refused does not remove it
    assert not lock.exists()
    with exclusive(lock, "it"):
        pass


def test_what_a_lock_of_another_program_says_is_no_trouble(tmp_path: Path) -> None:
    lock = tmp_path / SUFFIX
    lock.write_bytes(b"\xff" * 10_000)
    with exclusive(lock, "it"):
        assert lock.read_bytes().startswith(b"process ")
    with abandoned(tmp_path / "no such lock") as is_dead:
        assert not is_dead
