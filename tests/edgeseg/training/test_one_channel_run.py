"""``edgeseg.training.objective.pixels``: models of one channel, trained by the command, scored, and exported."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.cli import main
from edgeseg.models.keras_files.load import load_keras_file, read_spec


@pytest.fixture(scope="module")
def masks(shapes_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whatever is no wall is class 1; the strip of the ignored id stays."""
    root = Path(shutil.copytree(shapes_dataset, tmp_path_factory.mktemp("masks") / "data"))
    (root / "classes.json").write_text(json.dumps({"names": ["wall", "thing"], "ignore_index": 255}))
    for path in root.glob("*/labels/*.png"):
        label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), np.where(label == 2, 1, label))
    return root


@pytest.mark.slow
def test_several_predictions_of_one_channel(masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the notes on Keras compile them: ``rmsprop``, a loss and a weight for each; the first one is flattened."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 40, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    first = layers.Reshape((32 * 40, 1))(layers.Conv2D(1, 1)(x))
    outputs = {
        "pred1": layers.Activation("sigmoid")(first),
        "pred2": layers.Conv2D(1, 2, strides=2, activation="sigmoid")(x),
    }
    keras.Model(inputs, outputs, name="several").save(tmp_path / "several.keras")
    run, data = tmp_path / "run", ["--data", str(masks)]
    settings = (
        "--epochs 6 --batch-size 2 --optimizer rmsprop --learning-rate 0.01 --samples 1 --metric f-score --output pred1"
    )
    losses = "--loss pred1=binary_crossentropy,pred2=dice --output-weights pred2=0.2"
    losses += " --class-weights 1,2 --no-class-weight-normalization --probability-clip 1e-7"
    arguments = ["train", str(tmp_path / "several.keras"), *data, "--output-dir", str(run)]
    assert main([*arguments, *settings.split(), *losses.split()]) == 0
    rows = list(csv.DictReader((run / "history.csv").open()))
    last = {name: float(value) for name, value in rows[-1].items()}
    assert last["loss"] == pytest.approx(last["pred1_loss"] + 0.2 * last["pred2_loss"], rel=1e-3)
    assert last["val_mean_iou"] > 0.7  # all wall is below 0.5
    assert (run / "samples" / "epoch_006.png").is_file()

    best = run / "best.keras"
    assert load_keras_file(best).output_shape == (None, 32, 40, 1)
    spec = read_spec(best)
    assert spec is not None
    assert (spec.class_names, spec.ignore_index) == (("wall", "thing"), 255)

    def mean_iou(model: Path) -> float:
        """By classes that are enlarged as they are, as a file of class ids has no scores to enlarge."""
        capsys.readouterr()
        assert main(["evaluate", str(model), *data, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        return float(found.get("mean_iou_nearest", found["mean_iou"]))

    score = mean_iou(best)
    assert score > 0.7
    formats = ["--precision", "fp32", "--format", "tflite,onnx"]
    assert main(["export", str(best), "--output-dir", str(tmp_path), *data, *formats]) == 0  # verified
    for name in ("tflite", "onnx"):
        # The same class for all but the pixels within rounding of the threshold.
        assert mean_iou(next(tmp_path.glob(f"*.fp32.{name}"))) == pytest.approx(score, abs=1e-3)


def test_a_loss_of_no_output_is_refused_before_the_first_step(
    masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = keras.Input((32, 40, 3))
    keras.Model(inputs, {"mask": layers.Conv2D(1, 1)(inputs)}).save(tmp_path / "own.keras")
    arguments = ["train", str(tmp_path / "own.keras"), "--data", str(masks), "--output-dir", str(tmp_path / "run")]
    assert main([*arguments, "--loss", "masks=dice"]) == 2
    assert "a loss is given for the output 'masks'; the model has mask. Did you mean 'mask'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
