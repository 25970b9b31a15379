from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models.opening import packaged_spec
from edgeseg.models.packaged_files import DEFAULT_FILE, PACKAGED, about, find_file, packaged_names
from edgeseg.models.zoo.table import ZOO
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec


def test_the_table_is_the_folder() -> None:
    folder = Path(str(resources.files("edgeseg.models"))) / "packaged"
    assert {f"{name}.tflite" for name in packaged_names()} == {path.name for path in folder.glob("*.tflite")}
    assert set(PACKAGED) == {path.stem for path in folder.glob("*.json")} <= set(ZOO)
    assert DEFAULT_FILE in packaged_names()
    for name, model in PACKAGED.items():
        spec = packaged_spec(name)
        assert spec is not None
        assert f"{spec.num_classes} classes" in model.sees == about(f"{name}.{model.precisions[0]}")


@pytest.mark.parametrize("name", packaged_names())
def test_a_file_has_the_classes_and_the_feeding_of_its_weights(name: str) -> None:
    """What a camera of noise gives has the image's size; that it is right is shown on real images."""
    weights = packaged_spec(name.partition(".")[0])
    assert weights is not None
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    with Segmenter(name) as segmenter:
        spec = segmenter.spec
        assert segmenter(photo).class_map.shape == (90, 120)
    kept = ("class_names", "palette", "ignore_index", "input_size", "mean", "std", "color_order", "fit", "resize")

    def fields(of: ModelSpec) -> dict[str, object]:
        return {field: getattr(of, field) for field in kept}

    assert fields(spec) == fields(weights)
    assert f"{spec.name}.{spec.provenance.precision}" == name


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
        ("efficientnet_lite0_une", "no name of a packaged one. Did you mean 'efficientnet_lite0_unet'"),
    ],
)
def test_what_has_no_file_says_what_to_do(name: str, text: str) -> None:
    for open_it in (find_file, Segmenter):
        with pytest.raises(InputError, match=text):
            open_it(name)
