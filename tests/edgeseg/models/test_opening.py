from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest

from edgeseg.errors import InputError
from edgeseg.models.opening import ModelRequest, load_model, packaged_spec, precheck
from edgeseg.models.zoo.table import DEFAULT_MODEL, ZOO
from edgeseg.spec import ModelSpec

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("m.keras", {"weights": "w.h5"}, "`weights` goes with a zoo name; 'm.keras' has its own"),
        (
            "unet_mini",
            {"custom_objects": {}},
            "`custom_objects` goes with a model file; 'unet_mini' is an architecture",
        ),
        (
            "m.h5",
            {"model_options": {"dropout": 0.1}},
            "`model_options` goes with a zoo name; 'm.h5' is a model as it is",
        ),
        ("unet_mini", {"model_options": {"drop": 0.1}}, "unet_mini has no option 'drop'. Did you mean 'dropout'"),
        ("unet_mini", {"output": "main"}, "`output` goes with a model file; 'unet_mini' is an architecture"),
    ],
)
def test_what_goes_with_the_other_kind_of_model_is_refused(name: str, said: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(name, ModelRequest(**said))


def test_a_request_for_another_class_count_leaves_the_packaged_weights(caplog: pytest.LogCaptureFixture) -> None:
    assert not load_model(request=ModelRequest(input_size=(32, 32))).weights_report
    assert "random weights" not in caplog.text
    request = ModelRequest(num_classes=7, input_size=(32, 32), mean=(1.0,) * 3, std=(2.0,) * 3)
    opened = load_model(request=request)
    assert "random weights" in caplog.text
    assert opened.model.output_shape == (None, 32, 32, 7)
    assert (opened.spec.mean, opened.spec.std) == ((1.0,) * 3, (2.0,) * 3)


def test_options_of_the_architecture_travel_and_leave_packaged_weights_that_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not ZOO[DEFAULT_MODEL].other_tensors({"decoder_filters": (128, 96, 64, 48)})  # what they have
    opened = load_model(request=ModelRequest(input_size=(32, 32), model_options={"decoder_filters": (8, 8, 8, 8)}))
    assert "random weights" in caplog.text
    assert opened.spec.provenance.model_options == {"decoder_filters": (8, 8, 8, 8)}
    again = ModelSpec.from_json(opened.spec.to_json())
    assert again == opened.spec


def test_mistakes_are_said_before_keras_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        precheck(str(tmp_path / "m.keras"), None)
    with pytest.raises(InputError, match="Nearest: 32,32"):
        precheck("unet_mini", (33, 32))
    with pytest.raises(InputError, match="dropout must be a number from 0 to below 1, got 2"):
        precheck("unet_mini", None, {"dropout": "2"})
    (tmp_path / "there.h5").touch()
    with pytest.raises(InputError, match="`model_options` goes with a zoo name"):
        precheck(str(tmp_path / "there.h5"), None, {"dropout": "2"})
    assert packaged_spec("unet_mini") is None


@pytest.mark.parametrize("side", [20_000, 2**63, 10**30])
def test_an_input_that_no_image_has_is_refused(side: int, tmp_path: Path) -> None:
    """Of a file of Keras 2 from which TensorFlow would make the input, or of a size that is asked for."""
    path = tmp_path / "m.h5"
    path.write_bytes((DATA / "legacy_rebuilt_full.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("[null, 8, 8, 3]", f"[null, {side}, {side}, 3]")
    with pytest.raises(InputError, match=r"m.h5' has an input of .* \(H,W\), more than the 200000000 pixels"):
        load_model(str(path))
    with pytest.raises(InputError, match=r"'unet_mini' has an input of .* give a smaller `input_size`"):
        precheck("unet_mini", (side, side))
