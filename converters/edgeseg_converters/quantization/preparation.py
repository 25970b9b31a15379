"""Prepare a float file for its quantization: equalize its channels where images that did not calibrate say so."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from edgeseg._internal.fields import short_repr
from edgeseg.choices import CalibrationMethod, Format
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.equalization.equalize import equalize
from edgeseg_converters.quantization.accuracy import EvaluationImages, baseline, compare
from edgeseg_converters.quantization.engines import FloatFile, open_engine
from edgeseg_converters.recipes import AccuracyGate

# The images that are tried, at most: half of them calibrate and half are held out.
_NUM_IMAGES = 32

# A smaller gain in the share of pixels is chance on so few images.
_LEAST_GAIN = 0.0005


@dataclass(frozen=True, kw_only=True)
class Equalization:
    """What equalizing the channels gave in integers.

    Attributes:
        before: share of the pixels of the held-out images that keep their class without it, in [0, 1].
        after: the same with it.
        num_images: how many images were held out.
        kept: whether the artifact was made from the equalized file.
        seconds: what the trial took.
    """

    __repr__ = short_repr

    before: float
    after: float
    num_images: int
    kept: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return an object for the JSON of ``export`` and of the report."""
        return dataclasses.asdict(self)


def prepare(
    source: FloatFile,
    spec: ModelSpec,
    file_format: Format,
    images: CalibrationSet,
    method: CalibrationMethod,
    *,
    always: bool = False,
) -> tuple[FloatFile, Equalization | None]:
    """Equalize the channels of a float file if more pixels keep their class in integers.

    Args:
        source: the float file.
        spec: of the artifact.
        file_format: of the artifact.
        images: to calibrate with; half of a few of them are held out and measured on.
        method: derives the ranges.
        always: whether it is used without the trial.

    Returns:
        The file to quantize, and the trial; ``None`` where there was none.

    Raises:
        InputError: an image does not decode.
    """
    start = time.monotonic()
    tried = images.first(_NUM_IMAGES)
    calibrating = dataclasses.replace(tried, paths=tried.paths[::2])
    data = equalize(source.data, source.format, images if always else calibrating, spec)
    if data == source.data:
        return source, None
    equalized = dataclasses.replace(source, data=data)
    if always:
        return equalized, None
    held_out = EvaluationImages(tried.paths[1::2], None, images.source)
    with Segmenter(open_artifact(source.data, source.format), spec=source.spec) as segmenter:
        answers = baseline(segmenter, held_out)

    def agreement(file: FloatFile) -> float:
        artifact = open_engine(file, spec, file_format, calibrating, method).build()
        with Segmenter(open_artifact(artifact, file_format)) as segmenter:
            return compare(answers, segmenter, AccuracyGate()).agreement

    before, after = agreement(source), agreement(equalized)
    kept = after - before >= _LEAST_GAIN
    if kept:  # by all images that it looks at
        equalized = dataclasses.replace(source, data=equalize(source.data, source.format, images, spec))
    trial = Equalization(
        before=before,
        after=after,
        num_images=len(held_out.paths),
        kept=kept,
        seconds=time.monotonic() - start,
    )
    return (equalized if kept else source), trial
