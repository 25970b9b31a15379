from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.training.run.folder import run_name


@pytest.mark.parametrize(
    ("folder", "data", "model", "name"),
    [
        ("runs/train", "nuclei", "efficientnet_lite0_unet", "nuclei"),
        ("runs/train12", "nuclei", "mine.keras", "nuclei"),
        ("run", "nuclei-labels-split", "unet_mini", "nuclei"),
        ("runs/efficientnet_lite0_unet", "nuclei", "efficientnet_lite0_unet", "nuclei"),
        ("runs/mine", "nuclei", "models/mine.keras", "nuclei"),
        ("runs/nuclei-v2", "all", "efficientnet_lite0_unet", "nuclei-v2"),
        ("trains", "roofs", "unet_mini", "trains"),
    ],
)
def test_a_trained_model_is_called_as_its_run_or_its_data(folder: str, data: str, model: str, name: str) -> None:
    assert run_name(Path(folder), data, model) == name
