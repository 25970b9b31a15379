from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import LabeledSplit, open_split
from edgeseg.errors import InputError
from edgeseg.evaluation.confusion import ConfusionMatrix
from edgeseg.imaging import preprocess, read_image
from edgeseg.segmenter import to_segmentation
from edgeseg.spec import ModelSpec
from edgeseg.training.run import samples
from edgeseg.training.run.samples import save_samples

#: Heights and widths in pixels of a line of words, and of what is between panels.
LINE, GAP = 24, 8


@pytest.fixture
def data(shapes_dataset: Path) -> LabeledSplit:
    """Images of 64x80."""
    return open_split(shapes_dataset, "val")


@pytest.fixture
def spec(data: LabeledSplit) -> ModelSpec:
    return ModelSpec(
        name="tiny", input_size=(32, 48), class_names=data.classes.names, palette=data.classes.palette, ignore_index=255
    )


def by_color(tensor: np.ndarray) -> np.ndarray:
    """Scores of a model that is right about the shapes: the class is the color, as in the data set."""
    red, _, blue = np.split(tensor, 3, axis=-1)
    return np.concatenate([np.full_like(red, 0.5), red - blue, blue - red], axis=-1)


def test_image_label_and_prediction_stand_side_by_side(data: LabeledSplit, spec: ModelSpec, tmp_path: Path) -> None:
    save_samples(by_color, data, spec, tmp_path / "samples.png", count=2, panel_width=80)
    sheet = read_image(tmp_path / "samples.png")
    assert sheet.shape[0] == LINE + 2 * (LINE + 64)
    assert sheet.shape[1] > 3 * 80 + 2 * GAP  # the legend
    palette = np.array(spec.palette)
    for row, index in enumerate((0, 3)):
        image, label = data[index]
        caption, band = np.split(sheet[LINE + (LINE + 64) * row :][: LINE + 64, : 3 * 80 + 2 * GAP], [LINE])
        assert (caption < 128).any()
        shown, _, labels, _, predicted = np.split(band, np.cumsum([80, GAP, 80, GAP]), axis=1)
        np.testing.assert_array_equal(shown, image)
        assert (band[:, 80 : 80 + GAP] == 255).all()
        assert (band[:, 160 + GAP : 160 + 2 * GAP] == 255).all()
        strip = label == 255
        np.testing.assert_array_equal(labels[~strip], palette[label[~strip]])
        assert not labels[strip].any()
        right = (predicted == palette[np.where(strip, 0, label)]).all(-1)
        # The model sees 32x40 of the 64x80 pixels: only borders of rectangles may differ, by a pixel.
        assert right[~strip].mean() > 0.95


def test_each_image_has_its_name_and_its_own_scores(
    data: LabeledSplit, spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    put = samples.cv2.putText
    monkeypatch.setattr(
        samples.cv2, "putText", lambda image, text, *rest: written.append(text) or put(image, text, *rest)
    )
    save_samples(by_color, data, spec, tmp_path / "samples.png", count=1, panel_width=400)
    caption = written[3]
    matrix = ConfusionMatrix(3, 255)
    image, label = data[0]
    tensor, placement = preprocess(image, spec)
    matrix.update(label, to_segmentation(by_color(tensor), spec, placement).class_map)
    names = data.classes.names
    each = ", ".join(f"{name} {iou:.2f}" for name, iou in zip(names, matrix.per_class_iou, strict=True) if iou == iou)
    assert caption == f"{data.pairs[0][0].name}  mIoU {matrix.mean_iou:.2f}: {each}"
    assert 0.5 < matrix.mean_iou < 1


def test_two_sheets_of_one_model_are_one_file_and_a_worse_model_differs(
    data: LabeledSplit, spec: ModelSpec, tmp_path: Path
) -> None:
    path = tmp_path / "samples.png"
    save_samples(by_color, data, spec, path)
    first = path.read_bytes()
    save_samples(by_color, data, spec, path)
    assert path.read_bytes() == first
    save_samples(lambda tensor: -by_color(tensor), data, spec, path)
    assert path.read_bytes() != first


def test_a_model_of_other_classes_is_refused(data: LabeledSplit, spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 channels of scores but has 3 classes"):
        save_samples(lambda tensor: by_color(tensor)[..., :2], data, spec, tmp_path / "samples.png")
