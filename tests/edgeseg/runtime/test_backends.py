"""Every backend on its real runtime: the same model, the same answer; and what each refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.models import create
from edgeseg.models.keras_file import save_model
from edgeseg.models.zoo import ZOO
from edgeseg.runtime import BACKENDS, open_backend
from edgeseg.spec import ModelSpec
from edgeseg_converters import Recipe, export_all

SIZE = (32, 48)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model with logits out, once for each backend."""
    folder = tmp_path_factory.mktemp("backends")
    keras.utils.set_random_seed(5)
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    spec = ZOO["unet_mini"].default_spec(3, SIZE)
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    tflite, onnx = (result.save(folder) for result in export_all(model, spec, recipes, output_kind="logits"))
    save_model(model, folder / "model.keras", spec)
    return {"litert": tflite, "onnx": onnx, "keras": folder / "model.keras"}


@pytest.mark.parametrize("name", BACKENDS)
def test_same_logits_and_the_spec_inside(name: str, files: dict[str, Path]) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = open_backend(files["keras"]).run(image)
    backend = open_backend(files[name])
    try:
        assert isinstance(backend.spec, ModelSpec)
        assert backend.spec.input_size == SIZE
        assert backend.inputs[0].shape[1:] == (*SIZE, 3)
        assert backend.inputs[0].dtype == backend.outputs[0].dtype == "float32"
        assert any(character.isdigit() for character in backend.runtime)  # a version
        # Eleven float32 convolutions, summed in another order: logits near 1 differ by some ulp (1e-7 each).
        np.testing.assert_allclose(backend.run(image), expected, atol=1e-4)
    finally:
        backend.close()


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_threads_do_not_change_the_answer(name: str, files: dict[str, Path]) -> None:
    image = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    one, two = (np.array(open_backend(files[name], num_threads=n).run(image)) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_truncated_file_is_one_clear_error(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / files[name].name
    cut.write_bytes(files[name].read_bytes()[: files[name].stat().st_size // 2])
    with pytest.raises(InputError, match=cut.name.replace(".", r"\.")):
        open_backend(cut)


@pytest.mark.parametrize(
    ("name", "hidden", "extra"),
    [
        ("litert", ["ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime"], "tflite"),
        ("onnx", ["onnxruntime"], "onnx"),
    ],
)
def test_missing_runtime_names_the_install_line(
    name: str, hidden: list[str], extra: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)  # what Python itself uses to say "not there"
    with pytest.raises(BackendUnavailable, match=rf'pip install "edgeseg\[{extra}\]"'):
        open_backend(files[name])


def test_a_name_is_obeyed_or_refused(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="unknown backend 'tflite'; accepted: litert, onnx, keras"):
        open_backend(files["litert"], backend="tflite")
    with pytest.raises(InputError, match="not an ONNX model"):
        open_backend(files["litert"], backend="onnx")


def test_unknown_suffix_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the known suffixes"):
        open_backend(tmp_path / "model.pb")
    with pytest.raises(InputError, match="does not exist"):
        open_backend(tmp_path / "model.tflite")
