"""Give the tensors of a float file the ranges that a training learned, in place of those that images give.

The training has the names of Keras' layers, a file the names that a converter made up. What is the same activation has
the same values, so the two are run on one image and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import TrainedFormat
from edgeseg.errors import InputError
from edgeseg.imaging import preprocess, read_image
from edgeseg.models.learned_ranges import LearnedRanges
from edgeseg.spec import ModelSpec
from edgeseg.training.quantization.network import FakeQuantized
from edgeseg.training.quantization.scheme import Scheme
from edgeseg_converters.calibration import CalibrationSet, Ranges

# Of the largest value of an activation: two runtimes sum in another order, over a hundred layers.
_TOLERANCE = 1e-3

Values = Mapping[str, NDArray[np.float32]]


class LearnedLimits:
    """The ranges of one model, with the values by which they are found in a file.

    Args:
        ranges: that the training learned.
        model: the float model that it wrote.
        spec: how to feed it.
    """

    def __init__(self, ranges: LearnedRanges, model: keras.Model, spec: ModelSpec) -> None:
        self._ranges, self._spec = ranges, spec.replace(dtype="float32", layout="nhwc")
        self._network = FakeQuantized(model, Scheme(ranges.precision), (spec.mean, spec.std))
        unknown = set(ranges.limits) - set(self._network.plan.learned_names())
        if unknown:
            raise InputError(
                f"the learned ranges are of another model: it has no layer '{min(unknown)}'; omit them to calibrate "
                "on images."
            )

    def applied(
        self,
        ranges: Ranges,
        values: Iterable[Mapping[str, NDArray[Any]]],
        images: CalibrationSet,
        file_format: TrainedFormat,
    ) -> Ranges:
        """Return the ranges of a file's tensors, those that were learned in place of those measured.

        Args:
            ranges: measured on images.
            values: of the tensors, for the first of the images.
            images: with which the values were measured.
            file_format: of the file that is quantized.

        Raises:
            InputError: a learned range is of no tensor of the file.
        """
        image = preprocess(read_image(images.paths[0]), self._spec)[0]
        known = {name: value for name, value in self._network.values(image).items() if name in self._ranges.limits}
        low, high = dict(ranges.low), dict(ranges.high)
        plan = self._network.plan
        scheme = Scheme(self._ranges.precision, file_format)
        ends = {name: scheme.end(plan.highest.get(value)) for value, name in plan.names.items()}
        found: set[str] = set()
        for name, tensor in next(iter(values)).items():
            same = _same(np.asarray(tensor), known)
            if same is None:
                continue
            found.add(same)
            limits = self._ranges.limits[same]
            if (end := ends[same]) is not None:
                limits = 0.0, min(limits[1], end)
            low[name], high[name] = (np.array([limit], np.float32) for limit in limits)
        self._require_all(found, known)
        return Ranges(low, high)

    def _require_all(self, found: set[str], known: Values) -> None:
        """Refuse a file that computes something else than what was trained.

        A value that is only passed on, or that a converter computes together with the next, has no tensor of its own.
        """
        groups = self._network.plan.learned_names()
        missing = {groups[name] for name in known} - {groups[name] for name in found} - {groups["image"]}
        if missing:
            name = next(name for name in known if groups[name] in missing)
            raise InputError(f"no tensor of the file has the values of '{name}', whose range was learned.")


def _same(tensor: NDArray[Any], known: Values) -> str | None:
    """Return the name of the activation with the values of a tensor; the nearest of several."""
    best, least = None, _TOLERANCE
    for name, value in known.items():
        for other in _laid_out(tensor, value.shape):
            largest = float(np.abs(value).max())
            distance = float(np.abs(other - value).max()) / largest if largest else 1.0
            if distance < least:
                best, least = name, distance
    return best


def _laid_out(tensor: NDArray[Any], shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """Return a tensor as a map with its channels last, where it can be one of that shape."""
    forms = [tensor] if tensor.shape == shape else []
    if tensor.ndim == 4 and len(shape) == 4 and tensor.shape == (shape[0], shape[3], shape[1], shape[2]):
        forms.append(tensor.transpose(0, 2, 3, 1))
    elif not forms and tensor.size == int(np.prod(shape)):
        forms.append(tensor.reshape(shape))
    return forms
