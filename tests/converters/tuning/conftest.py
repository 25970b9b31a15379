"""A small model whose classes are its colors, so that a file is right or wrong, and a finished tuning of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.benchmark.plan import Plan
from edgeseg.spec import ModelSpec
from edgeseg_converters import TuneOptions, TuneResult, tune
from edgeseg_converters.options import Quantization

#: A process of two calls for each candidate; a process takes a second, and test_search.py has what more of them show.
QUICK = Plan(rounds=1, warmup_runs=1, warmup_min_secs=0.0, num_runs=2, min_secs=0.0, verify=False)


def _painter(shared: float = 0.0) -> keras.Model:
    """Return a model of one convolution that knows the three colors of ``shapes_dataset``; float is nearly perfect.

    The logit of a class is minus the squared distance to its color, without the part that all classes share. What they
    share may be made large, which changes no class, and which rounding makes a difference of.
    """
    colors = np.array([(70, 70, 70), (210, 50, 40), (40, 60, 210)]) / 127.5 - 1
    image = keras.Input((64, 80, 3), name="image")
    layer = keras.layers.Conv2D(3, 1, name="colors")
    model = keras.Model(image, layer(image), name="painter")
    layer.set_weights([2 * colors.T[None, None] + shared, -(colors**2).sum(1)])
    return model


@pytest.fixture(scope="session")
def painter() -> Callable[..., keras.Model]:
    """See ``_painter``."""
    return _painter


@pytest.fixture(scope="session")
def painter_spec() -> ModelSpec:
    return ModelSpec(
        name="painter",
        input_size=(64, 80),
        class_names=("wall", "red", "blue"),
        palette=((70, 70, 70), (210, 50, 40), (40, 60, 210)),
        ignore_index=255,
        output_kind="logits",
    )


@pytest.fixture(scope="session")
def small() -> TuneOptions:
    """One format, two precisions, one thread, on the CPU."""
    return TuneOptions(
        formats=("tflite",),
        precisions=("fp16", "int8"),
        accelerators=("cpu",),
        num_threads=(1,),
        quantization=Quantization(),
        plan=QUICK,
        num_images=2,
    )


@pytest.fixture(scope="session")
def _tuned(
    tmp_path_factory: pytest.TempPathFactory, shapes_dataset: Path, painter_spec: ModelSpec, small: TuneOptions
) -> tuple[Path, TuneResult]:
    folder = tmp_path_factory.mktemp("tuned") / "painter"
    return folder, tune(_painter(), folder, data=str(shapes_dataset), spec=painter_spec, options=small)


@pytest.fixture
def tuned(_tuned: tuple[Path, TuneResult], tmp_path: Path) -> TuneResult:
    """A finished tuning, in a folder of the test's own."""
    folder, result = _tuned
    shutil.copytree(folder, tmp_path / "tuned")
    return dataclasses.replace(result, folder=tmp_path / "tuned")


@pytest.fixture
def again(shapes_dataset: Path, painter_spec: ModelSpec, small: TuneOptions) -> Callable[..., TuneResult]:
    """A function that tunes with the arguments of ``tuned`` but for those that are given."""

    def run(folder: Path, model: keras.Model | None = None, **changes: object) -> TuneResult:
        arguments = {"data": str(shapes_dataset), "spec": painter_spec, "options": small, **changes}
        return tune(model or _painter(), folder, **arguments)  # type: ignore[arg-type]

    return run
