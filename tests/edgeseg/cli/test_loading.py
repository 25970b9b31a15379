from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.cli._loading import load_errors


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five packages: two that load, one of them noisy, and three that do not, each in its own way."""
    sources = {
        "loads-well": "print('hello')",
        "ends-all": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "of-old-numpy": "raise AttributeError('_ARRAY_API not found\\nand more')",
        "without-x": "raise ImportError('libxcb.so.1: cannot open shared object file: No such file', name='without_x')",
        "loads-too": "",
    }
    for name, source in sources.items():
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return list(sources)


def test_what_does_not_load_is_said_and_what_ends_the_process_ends_only_its_own(packages: list[str]) -> None:
    done: list[tuple[int, int]] = []
    errors = load_errors(packages, progress=lambda count, total: done.append((count, total)))
    assert errors == {
        "ends-all": "loading it ends the process (SIGSEGV)",
        "of-old-numpy": "AttributeError: _ARRAY_API not found\\nand more",
        "without-x": "without_x cannot be loaded: the system lacks libxcb.so.1. On Debian, Ubuntu and Raspberry Pi OS: "
        "sudo apt install libxcb1",
    }
    assert done[-1] == (5, 5)
    assert load_errors([]) == {}
