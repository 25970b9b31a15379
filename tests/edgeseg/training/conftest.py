"""A training that dies, for the tests of what goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_KILLED_RUN = """
import os, signal, sys
import keras
from edgeseg.training.fit import train
from edgeseg.training.recipes.recipe import Recipe
from edgeseg.training.run.options import RunOptions

class Killer(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == int(sys.argv[3]) and batch == 0:
            os.kill(os.getpid(), signal.SIGKILL)

train(Recipe.open(sys.argv[1]).config(), sys.argv[2], RunOptions(callbacks=[Killer()]))
"""


@pytest.fixture
def run_until_killed() -> Callable[[Path, Path, int], None]:
    """A function that trains by a recipe into a folder, and dies without a word in the middle of an epoch from 0 on."""

    def run(recipe: Path, folder: Path, epoch: int) -> None:
        command = [sys.executable, "-c", _KILLED_RUN, recipe, folder, str(epoch)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    return run
