from __future__ import annotations

import subprocess
import sys

from edgeseg import __version__


def test_the_package_is_the_command() -> None:
    command = [sys.executable, "-m", "edgeseg"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout
    done = subprocess.run([*command, "exprot"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'export'?" in done.stderr
