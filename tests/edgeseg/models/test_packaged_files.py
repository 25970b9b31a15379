from __future__ import annotations

import importlib.util
from contextlib import closing
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.opening import packaged_spec
from edgeseg.models.packaged_files import (
    DEFAULT_CAMERA_FILE,
    DEFAULT_FILE,
    PACKAGED,
    about,
    find_file,
    packaged_names,
    packaged_of,
)
from edgeseg.models.zoo.table import ZOO
from edgeseg.proof import verify
from edgeseg.proof.file import read_proof
from edgeseg.runtime import open_backend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg.tflite.half_arithmetic import HalfArithmetic

ONNX_NAMES = [f"{name}.{precision}" for name, model in PACKAGED.items() for precision in model.onnx]


def test_the_table_is_the_folder() -> None:
    folder = Path(str(resources.files("edgeseg.models"))) / "packaged"
    architectures = {model.architecture for model in PACKAGED.values()}
    there = {path.name for path in folder.iterdir()}
    assert there == {
        *(f"{name}.tflite" for name in packaged_names()),
        *(f"{name}.onnx" for name in ONNX_NAMES),
        *(f"{name}.proof.zip" for name in PACKAGED),
        *(f"{name}{suffix}" for name in architectures for suffix in (".json", ".norms.npz", ".md")),
    }
    assert architectures <= set(ZOO) & set(PACKAGED)
    assert {name for each in architectures for name in packaged_of(each)} == set(PACKAGED)
    assert {DEFAULT_FILE, DEFAULT_CAMERA_FILE} <= set(packaged_names())
    for name, model in PACKAGED.items():
        spec = packaged_spec(model.architecture)
        assert spec is not None
        assert f"{spec.num_classes} classes" in model.sees == about(f"{name}.{model.precisions[0]}")


@pytest.mark.parametrize("name", packaged_names())
def test_a_file_has_the_classes_and_the_feeding_of_its_weights(name: str) -> None:
    """What a camera of noise gives has the image's size; that it is right is shown on real images."""
    model = PACKAGED[name.partition(".")[0]]
    weights = packaged_spec(model.architecture)
    assert weights is not None
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    with Segmenter(name) as segmenter:
        spec = segmenter.spec
        assert segmenter(photo).class_map.shape == (90, 120)
    kept = ("class_names", "palette", "ignore_index", "mean", "std", "color_order", "fit", "resize")

    def fields(of: ModelSpec) -> dict[str, object]:
        return {field: getattr(of, field) for field in kept}

    assert fields(spec) == fields(weights)
    assert spec.input_size == (model.input_size or weights.input_size)
    assert f"{spec.name}.{spec.provenance.precision}" == name


@pytest.mark.parametrize(
    "path",
    [*map(find_file, packaged_names()), *(find_file(name, "onnx") for name in ONNX_NAMES)],
    ids=lambda path: str(path.name),
)
def test_every_file_answers_its_proof(path: Path) -> None:
    verdict = verify(path, repeat=1)
    assert verdict.passed, verdict.agreement
    name = path.name.partition(".")[0]
    source = read_proof(path.with_name(f"{name}.proof.zip")).source  # the images go with the wheel
    assert "public domain" in source or source == "seeded 1/f noise"
    with Segmenter(path) as segmenter:
        assert segmenter.spec.output_kind == PACKAGED[name].output_kind
    if path.suffix == ".tflite":
        half = HalfArithmetic.of(path.read_bytes())
        assert half.asked is (verdict.precision == "fp16")
        assert verdict.half_arithmetic is half.here  # in a process of its own


def test_onnx_runtime_alone_gets_the_onnx_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_file("person", "onnx").name == "person.int8.onnx"
    with closing(open_backend("person", backend="onnx")) as backend:
        assert backend.runtime.startswith("onnxruntime")
    installed = importlib.util.find_spec

    def without_litert(name: str) -> object:
        return None if name in ("ai_edge_litert", "tflite_runtime") else installed(name)

    monkeypatch.setattr("edgeseg.models.packaged_files.find_spec", without_litert)
    assert find_file(DEFAULT_FILE).name == f"{DEFAULT_FILE}.onnx"
    assert find_file(DEFAULT_CAMERA_FILE).name == f"{DEFAULT_CAMERA_FILE}.onnx"
    for name in ("person.fp16", "person_wide"):
        with pytest.raises(InputError, match=rf"'{name}' is packaged for LiteRT alone.* there is person\.int8\."):
            find_file(name)


def test_a_name_alone_is_the_first_file_and_a_path_stays_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *_ = PACKAGED
    assert find_file(name) == find_file(f"{name}.{PACKAGED[name].precisions[0]}")
    assert find_file(name).is_file()
    for path in ("m.tflite", "unet.keras", str(tmp_path), f"./{name}", "anything"):
        assert find_file(path) == Path(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert find_file(name).parent.name == "packaged"  # a name is a name, whatever lies here
    assert find_file(f"{tmp_path}/{name}") == tmp_path / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unet_mini", r"'unet_mini' is an architecture without packaged weights: train it \(edgeseg train unet_mini"),
        ("unet_mini.fp16", "'unet_mini.fp16' is an architecture without packaged weights"),
        (
            "efficientnet_lite0_unet.dynamic",
            "is not packaged: edgeseg export efficientnet_lite0_unet --precision dynamic makes it; packaged are "
            "efficientnet_lite0_unet.int8, efficientnet_lite0_unet.fp16",
        ),
        (
            "person_wide.fp16",
            "is not packaged: edgeseg export person --imgsz 144,256 --precision fp16 --output-kind softmax "
            "--name person_wide makes it; packaged are ",
        ),
        ("efficientnet_lite0_une", "no name of a packaged one. Did you mean 'efficientnet_lite0_unet'"),
    ],
)
def test_what_has_no_file_says_what_to_do(name: str, text: str) -> None:
    for open_it in (find_file, Segmenter):
        with pytest.raises(InputError, match=text):
            open_it(name)
