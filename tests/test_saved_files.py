"""Model files and checkpoints that an earlier edgeseg wrote still open: see ``scripts/make-saved-files``."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg import Segmenter
from edgeseg.models.keras_files.load import load_keras_file, read_spec
from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train
from edgeseg.training.run.options import RunOptions

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    with np.load(DATA / "saved_answers.npz") as arrays:
        return dict(arrays)


def test_keras_files_with_all_own_layers_give_the_classes_that_they_gave(answers: dict[str, np.ndarray]) -> None:
    with Segmenter(DATA / "saved_best.keras") as segmenter:
        scores = segmenter(answers["image"]).score_map
    assert scores is not None  # the answers are of class ids, which were enlarged as they are
    assert np.mean(scores.nearest_class_map() == answers["saved_best.keras"]) >= 0.999
    spec = read_spec(DATA / "saved_best.keras")
    assert spec is not None and spec.name == "saved"


def test_an_h5_file_holds_the_same_model() -> None:
    best, full = load_keras_file(DATA / "saved_best.keras"), load_keras_file(DATA / "saved_full.h5")
    assert [type(layer).__name__ for layer in full.layers] == [type(layer).__name__ for layer in best.layers]
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 48, 3)).astype(np.float32)
    np.testing.assert_allclose(full(image), best(image), atol=1e-5)  # float32 sums in one order or another


def test_a_checkpoint_of_a_killed_run_is_resumed(
    shapes_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its compiled loss, metrics and schedule, its optimizer and its settings are all found again."""
    model = load_keras_file(DATA / "saved_last.keras", compile=True)
    assert type(model.loss).__name__ == "SegmentationLoss"
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 2  # ten images by five
    run = tmp_path / "run"
    run.mkdir()
    for name in ("last", "best"):
        shutil.copy(DATA / f"saved_{name}.keras", run / f"{name}.keras")
    shutil.copy(DATA / "saved_start.keras", tmp_path / "saved.keras")
    (tmp_path / "shapes").symlink_to(shapes_dataset)
    monkeypatch.chdir(tmp_path)  # the run's settings name the data as ``shapes``
    config = TrainConfig(model="saved.keras", data="shapes", input_size=(32, 48), epochs=2, batch_size=5)
    result = train(config, run, RunOptions(resume=True))
    assert [row["epoch"] for row in result.history] == [1, 2]
