from __future__ import annotations

import subprocess
import sys

import pytest

from edgeseg.errors import BackendUnavailable
from edgeseg.video import library


def test_what_is_installed_is_said() -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    assert library.available()
    assert library.description().startswith("PyAV ")
    assert " with FFmpeg " in library.description()


def test_without_pyav_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendUnavailable, match=r'reading this video needs .* pip install "edgeseg\[video\]"'):
        library.load("reading this video")
    library.available.cache_clear()
    assert not library.available()
    assert library.description() == ""
    library.available.cache_clear()


def test_pyav_is_loaded_by_a_video_alone() -> None:
    code = "import sys, edgeseg.sources, edgeseg.video.decode; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
