"""Score files on the data beside the float model: mIoU, the IoU of every class, and pixels that kept their class."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import Progress
from edgeseg.datasets import Data
from edgeseg.runtime.base import TensorInfo
from edgeseg.runtime.keras import KerasBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.keras_model.float32 import float32_policy
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.keras_model.training_mode import untouched
from edgeseg_converters.options import Quantization
from edgeseg_converters.quantization.accuracy import Accuracy, Baseline, EvaluationImages, baseline, collect, compare
from edgeseg_converters.tuning.record import FileAccuracy


class DataGate:
    """Compares files with the float model on the data; the float model is run once, when the first file comes."""

    def __init__(self, prepared: PreparedModel, data: Data, settings: Quantization) -> None:
        """Find the images.

        Args:
            prepared: the float model.
            data: a labeled data set, or a folder of images.
            settings: has the split, and how much accuracy may be lost.

        Raises:
            InputError: there are no images, or labels of other classes.
        """
        self._prepared, self._settings = prepared, settings
        self._images: EvaluationImages = collect(data, split=settings.split, spec=prepared.spec)
        self._baseline: Baseline | None = None

    def measure(self, path: Path, progress: Progress | None = None) -> tuple[FileAccuracy, str]:
        """Score a file.

        Args:
            path: the file, which has its ModelSpec inside.
            progress: called with the images done, of the float model and of the file.

        Returns:
            Its scores, and why it misses the gate; empty where it passes.

        Raises:
            EdgesegError: it does not open.
        """
        before = self._before(progress)
        with Segmenter(path) as segmenter:
            accuracy = compare(before, segmenter, self._settings.gate, progress)
        return _scores(accuracy), accuracy.reason

    def _before(self, progress: Progress | None) -> Baseline:
        if self._baseline is None:
            with untouched(self._prepared.model), float32_policy():
                segmenter = Segmenter(_FloatModel(self._prepared), spec=self._prepared.spec)
                self._baseline = baseline(segmenter, self._images, progress)
        return self._baseline


class _FloatModel:
    """The Keras model as a backend that gives class ids, as the files do: they are enlarged in the same way.

    Its scores, enlarged before the best class is taken, would be better than what any of the files can give.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._keras, self._head = KerasBackend(prepared.model), prepared.head
        self.spec: ModelSpec | None = prepared.spec
        self.runtime = self._keras.runtime
        self.inputs: tuple[TensorInfo, ...] = self._keras.inputs
        shape = self._keras.outputs[0].shape[:-1]
        self.outputs: tuple[TensorInfo, ...] = (TensorInfo(name="class_map", shape=shape, dtype="uint8"),)

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """See ``Backend.run``."""
        return np.asarray(self._head.class_map(self._keras.run(image)), np.uint8)

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self._keras.invoke()

    def close(self) -> None:
        """See ``Backend.close``."""


def _scores(accuracy: Accuracy) -> FileAccuracy:
    before, after = (math.nan, math.nan) if accuracy.mean_iou is None else accuracy.mean_iou
    name, drop = accuracy.worst_class
    return FileAccuracy(
        num_images=accuracy.num_images,
        agreement=accuracy.agreement,
        mean_iou=None if math.isnan(after) else after,
        mean_iou_float=None if math.isnan(before) else before,
        worst_class=name,
        worst_class_drop=None if math.isnan(drop) else drop,
    )
