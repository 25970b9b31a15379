from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.keras_file import load_model, read_spec
from edgeseg.training import checkpoint
from edgeseg.training.config import TrainConfig
from edgeseg.training.fit import train


def config(data: Path, **changes: object) -> TrainConfig:
    settings = {"model": "unet_mini", "input_size": (32, 48), "epochs": 3, "warmup_epochs": 1, "batch_size": 5}
    return TrainConfig(data=str(data), **{**settings, **changes})  # type: ignore[arg-type]


def quiet(line: str) -> None:
    """Swallow the epoch lines."""


def test_it_learns_and_best_is_ready_for_export(shapes_dataset: Path, tmp_path: Path) -> None:
    result = train(config(shapes_dataset, epochs=12, learning_rate=5e-3), tmp_path, log=quiet)
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < losses[0]
    # Three colours, three classes: far above what guessing the commonest class gives.
    assert result.best_mean_iou > 0.5
    spec = read_spec(result.best)
    assert spec is not None
    assert spec.input_size == (32, 48)
    assert load_model(result.best).input_shape == (None, 32, 48, 3)
    assert (tmp_path / "history.csv").read_text().count("\n") == 13


def test_a_model_whose_output_is_half_its_input_trains(shapes_dataset: Path, tmp_path: Path) -> None:
    settings = config(shapes_dataset, model="resnet50_segnet", input_size=(32, 64), epochs=1, warmup_epochs=0)
    result = train(settings, tmp_path, log=quiet)
    assert load_model(result.best).output_shape == (None, 16, 32, 3)
    assert np.isfinite(result.history[0]["loss"])
    assert 0 <= result.best_mean_iou <= 1


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    shapes_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config(shapes_dataset), tmp_path / "whole", log=quiet)

    real_save = checkpoint.save_model

    def save_then_die(*args: object, **kwargs: object) -> None:
        real_save(*args, **kwargs)  # type: ignore[arg-type]
        if str(args[1]).endswith("last.keras"):
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_model", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        train(config(shapes_dataset), tmp_path / "cut", log=quiet)
    monkeypatch.undo()
    resumed = train(config(shapes_dataset), tmp_path / "cut", resume=True, log=quiet)

    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    # Same pictures, same optimizer state; only dropout's generator restarts, so the curves are close, not equal.
    np.testing.assert_allclose(
        [row["loss"] for row in resumed.history], [row["loss"] for row in whole.history], rtol=0.15
    )


def test_resume_with_other_settings_is_refused(shapes_dataset: Path, tmp_path: Path) -> None:
    train(config(shapes_dataset, epochs=2), tmp_path, log=quiet)
    with pytest.raises(InputError, match=r"is of another run \(seed was 0, is 5\)"):
        train(config(shapes_dataset, epochs=2, seed=5), tmp_path, resume=True, log=quiet)


def test_nothing_to_resume_and_nothing_overwritten(shapes_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to resume"):
        train(config(shapes_dataset), tmp_path, resume=True, log=quiet)
    (tmp_path / "last.keras").write_bytes(b"an earlier run")
    with pytest.raises(InputError, match="exists; give --overwrite"):
        train(config(shapes_dataset), tmp_path, log=quiet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0"),
        ({"warmup_epochs": 3}, "warmup_epochs must be 0 to 2"),
        ({"scale": (2.0, 1.0)}, "scale must be"),
        ({"encoder_weights": "imagenet"}, "not for 'unet_mini'"),
    ],
)
def test_impossible_settings_are_refused(shapes_dataset: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(shapes_dataset, **changes)


def test_batch_larger_than_the_split_is_refused(shapes_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than the batch size 99"):
        train(config(shapes_dataset, batch_size=99), tmp_path, log=quiet)
