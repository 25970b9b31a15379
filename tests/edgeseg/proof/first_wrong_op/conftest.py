"""Runs files of models in this process, and a device whose files are edited before it runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.proof.first_wrong_op import Run
from edgeseg.proof.worker import Value
from edgeseg.runtime import open_backend

DATA = Path(__file__).parents[3] / "data"


def _run(path: Path, tensor: NDArray[Any]) -> NDArray[Any]:
    opened = open_backend(path, num_threads=1)
    try:
        return Value.of(np.array(opened.run(tensor)), opened).array()
    finally:
        opened.close()


@pytest.fixture(scope="session")
def on_cpu() -> Run:
    """Runs a file as ``ProofDevice.value`` does, without a process of its own."""
    return _run


@pytest.fixture
def wrong_device(tmp_path: Path) -> Callable[[Callable[[bytes], bytes]], Run]:
    """A function that makes a device of an edit of files."""

    def make(edit: Callable[[bytes], bytes]) -> Run:
        def run(path: Path, tensor: NDArray[Any]) -> NDArray[Any]:
            edited = tmp_path / f"edited{path.suffix}"
            edited.write_bytes(edit(path.read_bytes()))
            return _run(edited, tensor)

        return run

    return make


@pytest.fixture(scope="session")
def saved() -> Callable[[str], tuple[Path, NDArray[Any]]]:
    """A function that gives a saved file, which has branches, and an image of noise as the file takes it."""

    def find(name: str) -> tuple[Path, NDArray[Any]]:
        path = DATA / f"saved.{name}"
        opened = open_backend(path)
        taken = opened.inputs[0]
        opened.close()
        image = np.random.default_rng(0).integers(0, 256, taken.shape).astype(taken.dtype)
        return path, image if taken.dtype == "uint8" else image / np.float32(127.5) - 1

    return find
