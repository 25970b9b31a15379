"""``checkpoint``: what is read of ``last.keras`` for a resumed run; a run that writes it is in ``test_fit``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from edgeseg.cli import main
from edgeseg.errors import InputError
from edgeseg.models.keras_files.load import save_model
from edgeseg.spec import ModelSpec
from edgeseg.training.config import TrainConfig
from edgeseg.training.recipes.record import differences, record
from edgeseg.training.run.checkpoint import RunFiles

CONFIG = TrainConfig(model="unet_mini", data="d", epochs=3)
STATE: dict[str, Any] = {
    "settings": record(CONFIG),
    "data": {"training images": 10, "validation images": 2, "classes": ["a", "b"]},
    "history": [
        {"epoch": 1, "loss": 0.5, "val_mean_iou": 0.25, "val_iou_a": float("nan"), "learning_rate": 1e-3, "seconds": 2},
        {"epoch": 2, "loss": 0.4, "val_mean_iou": 0.5, "iou": 0.1, "learning_rate": 1e-3, "seconds": 2.5},
    ],
    "iterations": 8,
    "generators": [[3, 4]],
}


def history(folder: Path, state: str) -> list[dict[str, float]]:
    with zipfile.ZipFile(folder / "last.keras", "w") as archive:
        archive.writestr("edgeseg.training.json", state)
    files = RunFiles(folder, STATE["data"])
    return files.history(lambda saved: differences(CONFIG, saved), validated=True)


def test_the_history_is_what_was_saved(tmp_path: Path) -> None:
    read = history(tmp_path, json.dumps(STATE))
    assert repr(read) == repr(STATE["history"])  # numbers of the same kind, and NaN
    former = {"training pictures": 10, "validation pictures": 2, "classes": ["a", "b"]}
    assert len(history(tmp_path, json.dumps({**STATE, "data": former}))) == 2
    del former["classes"]
    with pytest.raises(InputError, match=r"classes: None, now \['a', 'b'\]"):
        history(tmp_path, json.dumps({**STATE, "data": former}))


def test_a_state_that_is_altered_anywhere_is_read_or_refused(
    tmp_path: Path, read_altered: Callable[..., tuple[int, int]]
) -> None:
    def read(text: str) -> None:
        rows = history(tmp_path, text)
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))

    accepted, refused = read_altered(read, STATE)
    assert refused > accepted > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": None}, "'settings' is missing"),
        ({"settings": "epochs = ["}, "the settings in '.*last.keras' cannot be read: the run's record is not TOML"),
        ({"settings": 'epochs = "3"'}, "cannot be read: the run's record, line 1: epochs must be a whole number"),
        ({"history": [{"epoch": 2}]}, "'epoch' of row 1 of the history is 2"),
        ({"history": [{"epoch": 1, "loss": 0.5}]}, "an epoch has no val_mean_iou"),
        ({"history": [{"epoch": 1, "loss": "low"}]}, r"'history\[0\]\[...\]' is text; accepted: integer | number"),
    ],
)
def test_what_cannot_be_a_state_says_where(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        history(tmp_path, json.dumps({**STATE, **change}))


@pytest.mark.parametrize("generators", [[], [[1]], [[1, 2], [1, 2]], [1]])
def test_random_generators_of_another_model_are_refused(
    tmp_path: Path, tiny_spec: ModelSpec, generators: list[Any]
) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dropout(0.5, seed=1)])
    model.compile("sgd", "mse")
    state = {**STATE, "iterations": 0, "generators": generators}
    save_model(model, tmp_path / "last.keras", tiny_spec, training_state=state)
    with pytest.raises(InputError, match="random generator"):
        RunFiles(tmp_path).restore(model)
    save_model(
        model, tmp_path / "last.keras", tiny_spec, training_state={**state, "generators": [[1, 2]]}, overwrite=True
    )
    RunFiles(tmp_path).restore(model)


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"a":' * 100_000, json.dumps({**STATE, "iterations": None})])
def test_resume_from_a_broken_state_is_a_line_and_exit_2(
    shapes_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    with zipfile.ZipFile(tmp_path / "last.keras", "w") as archive:
        archive.writestr("edgeseg.training.json", state)
    command = ("train", "unet_mini", "--data", str(shapes_dataset), "--imgsz", "32", "--output-dir", str(tmp_path))
    assert main([*command, "--resume"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("edgeseg: the training state in ") and len(lines) <= 3, lines
