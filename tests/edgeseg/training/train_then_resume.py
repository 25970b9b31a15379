"""A program of the tests: trains on JAX, is interrupted after the first epoch and resumes; dumps the final weights.

    python train_then_resume.py SETTINGS.json OUTPUT_DIR WEIGHTS.npz DISTRIBUTE

With ``workers`` the environment says who the others are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train
from edgeseg.training.run.options import RunOptions


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


class Dump(keras.callbacks.Callback):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def on_train_end(self, logs: Any = None) -> None:
        np.savez(self._path, *self.model.get_weights())


def main(settings: str, output_dir: str, weights: str, distribute: Any) -> None:
    assert keras.config.backend() == "jax"
    config = TrainConfig(**json.loads(Path(settings).read_text()))
    try:
        train(config, output_dir, RunOptions(distribute=distribute, callbacks=[Interrupt()], log=print))
    except KeyboardInterrupt:
        print("interrupted")
    train(config, output_dir, RunOptions(distribute=distribute, callbacks=[Dump(weights)], resume=True, log=print))


main(*sys.argv[1:])
