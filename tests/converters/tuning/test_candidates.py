"""``candidates`` and ``options``: what a tuning chooses from follows from the tables of edgeseg."""

from __future__ import annotations

from typing import get_args

import pytest

from edgeseg.choices import BackendName, Format, Precision
from edgeseg.errors import InputError
from edgeseg.runtime.onnx_providers import PROVIDERS
from edgeseg_converters.recipes import TARGETS, Recipe
from edgeseg_converters.tuning.candidates import (
    ACCELERATORS,
    MADE_FOR,
    Candidate,
    Place,
    Variant,
    candidates,
    places,
    runnable,
    targeted,
    threads,
    variants,
)
from edgeseg_converters.tuning.options import TuneOptions


def _recipes() -> list[Recipe]:
    found = []
    for file_format in get_args(Format):
        for precision in get_args(Precision):
            try:
                found.append(Recipe(file_format, precision))
            except InputError:
                continue
    return found


def test_every_recipe_is_a_file_once() -> None:
    found = variants()
    assert {variant.recipe for variant in found} == set(_recipes())
    assert len(set(found)) == len(found)
    assert {variant.target for variant in found} == {"generic"}
    assert found[0].precision == "fp32"  # what the device is asked about first
    assert {variant.precision for variant in variants(["onnx"], ["fp16", "dynamic"])} == {"fp16"}  # what the format has


def test_a_recipe_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"onnx has no precision 'dynamic'; accepted: fp32, fp16, int8\."):
        variants(["onnx"], ["dynamic"])
    with pytest.raises(InputError, match=r"none of the formats onnx has dynamic or w8a16\."):
        variants(["onnx"], ["dynamic", "w8a16"])


@pytest.mark.parametrize("file_format", get_args(Format))
def test_every_backend_that_opens_a_file_is_a_place(file_format: Format) -> None:
    found = places(file_format)
    assert {place.backend for place in found} <= set(get_args(BackendName)) - {"keras"}
    assert any(place.accelerator == "cpu" for place in found)
    assert places(file_format, ["cpu"]) == tuple(place for place in found if place.accelerator == "cpu")


def test_places_have_the_accelerators_of_their_runtime() -> None:
    tflite = {
        place.backend: {p.accelerator for p in places("tflite") if p.backend == place.backend}
        for place in places("tflite")
    }
    assert tflite["litert"] == tflite["tflite-runtime"] == {"cpu"}
    assert tflite["litert-compiled"] == {"cpu", "gpu", "npu"}
    # An .onnx runs where its providers do; the CPU is one of both kinds, and is tried once.
    onnx = [place for place in places("onnx") if place.backend == "onnx"]
    assert [place.accelerator for place in onnx] == list(PROVIDERS)
    assert Place("onnx", "cuda").options == {"backend": "onnx", "providers": ("cuda",)}
    assert Place("litert-compiled", "gpu").options == {"backend": "litert-compiled", "accelerator": "gpu"}


def test_an_unknown_accelerator_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"unknown accelerator 'gpus'\. Did you mean 'gpu'\? Accepted: cpu, gpu, npu, "
    ):
        places("tflite", ["gpus"])


def test_formats_that_no_accelerator_runs_are_not_made() -> None:
    files = variants(precisions=["fp32"])
    assert {one.format for one in runnable(files, None)} == set(get_args(Format))
    assert {one.format for one in runnable(files, ["cuda"])} == {"onnx"}


def test_targets_are_those_of_what_works_there() -> None:
    made = variants(["tflite", "onnx"], ["fp32"])
    assert [v.target for v in targeted(made, {"tflite": {"cpu"}, "onnx": {"cpu", "cuda"}})] == ["xnnpack"]
    assert [v.target for v in targeted(made, {"tflite": {"cpu", "gpu"}})] == ["xnnpack", "gpu"]
    assert targeted(made, {}) == ()
    assert set(MADE_FOR) <= {target for targets in TARGETS.values() for target in targets}
    assert set(MADE_FOR.values()) <= set(ACCELERATORS)


def test_a_file_for_an_accelerator_runs_nowhere_else() -> None:
    anywhere, for_gpu = Variant("tflite", "fp16", "generic"), Variant("tflite", "fp16", "gpu")
    assert [anywhere.fits(place) for place in places("tflite")] == [True] * len(places("tflite"))
    assert {place.accelerator for place in places("tflite") if for_gpu.fits(place)} == {"gpu"}
    assert for_gpu.path("unet") == "candidates/gpu/unet.fp16.tflite"
    assert (str(anywhere), str(for_gpu)) == ("fp16.tflite", "fp16.tflite for gpu")


@pytest.mark.parametrize(
    ("cores", "numbers"), [(0, (1,)), (1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_threads_double_up_to_the_cores(cores: int, numbers: tuple[int, ...]) -> None:
    assert threads(cores) == numbers


def test_threads_are_of_the_cpu() -> None:
    variant = Variant("tflite", "fp32", "generic")
    on_cpu = candidates(variant, Place("litert", "cpu"), (1, 2))
    assert [one.options["num_threads"] for one in on_cpu] == [1, 2]
    assert candidates(variant, Place("litert-compiled", "gpu"), (1, 2)) == (
        Candidate(variant, Place("litert-compiled", "gpu"), None),
    )
    assert str(on_cpu[1]) == "fp32.tflite on litert cpu, 2 threads"


def test_the_options_are_light_to_read() -> None:
    options = TuneOptions()
    assert not options.plan.verify  # the device was asked before
    assert (options.quantization.gate.max_drop, options.formats) == (1.0, None)
