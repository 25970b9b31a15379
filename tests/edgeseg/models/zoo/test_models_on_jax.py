"""Models under KERAS_BACKEND=jax, compiled, in a process of their own: a process has one backend."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import edgeseg

PROGRAM = Path(__file__).with_name("one_step.py")
NAMES = ("custom_layers",)  # the zoo takes minutes to compile: run the program for it


def test_our_layers_compute_and_learn_on_jax_what_they_do_on_tensorflow(tmp_path: Path) -> None:
    if find_spec("jax") is None:
        pytest.skip("jax is not installed: no second backend")
    runpy.run_path(str(PROGRAM))["main"](str(tmp_path), *NAMES)
    package = str(Path(edgeseg.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), *NAMES],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        here, there = (np.load(tmp_path / f"{name}.{backend}.npz") for backend in ("tensorflow", "jax"))
        # A deep sum of float32 products in another order: 1e-6 of the largest logit, ten times over for safety.
        largest = np.abs(here["logits"]).max()
        np.testing.assert_allclose(there["logits"], here["logits"], rtol=0, atol=1e-5 * largest)
        np.testing.assert_allclose(there["loss"], here["loss"], rtol=1e-5)
        assert there["learned"] == here["learned"] > 0
