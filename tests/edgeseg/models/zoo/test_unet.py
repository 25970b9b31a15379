from __future__ import annotations

import keras

from edgeseg.models import create


def names(model: keras.Model, kind: type) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, kind)]


def test_unet_mini_has_keras_2_names_from_one() -> None:
    model = create("unet_mini", num_classes=21)
    assert names(model, keras.layers.Conv2D) == [f"conv2d_{number}" for number in range(1, 12)]
    assert model.get_layer("conv2d_5").output.shape[1:] == (56, 56, 128)


def test_mobilenet_unet_has_the_tutorials_encoder_and_decoder() -> None:
    model = create("mobilenet_unet", num_classes=2)
    encoder = [f"conv_pw_{number}" for number in range(1, 12)]
    # f5 (blocks 12 and 13) is not read by the decoder, in the tutorial as here.
    assert [n for n in names(model, keras.layers.Conv2D) if n.startswith("conv_pw")] == encoder
    decoder = [n for n in names(model, keras.layers.Conv2D) if n.startswith("conv2d")]
    assert decoder == [f"conv2d_{number}" for number in range(1, 7)]
    channels = [model.get_layer(name).filters for name in decoder]
    assert channels == [512, 256, 128, 128, 64, 2]
    assert [n for n in names(model, keras.layers.BatchNormalization) if n.startswith("batch")] == [
        f"batch_normalization_{number}" for number in range(1, 6)
    ]


def test_mobilenet_encoder_takes_the_weights_of_keras_applications() -> None:
    """Same names and shapes as keras.applications' MobileNet, which people have weights of."""
    theirs = keras.applications.MobileNet(input_shape=(64, 64, 3), include_top=False, weights=None)
    ours = create("mobilenet_unet", num_classes=2, input_size=(64, 64))
    shared = [layer for layer in ours.layers if layer.weights and not layer.name.startswith(("conv2d_", "batch_"))]
    for layer in shared:
        assert [w.shape for w in layer.weights] == [w.shape for w in theirs.get_layer(layer.name).weights], layer.name
    assert len(shared) == 2 + 4 * 11  # the stem, and two convolutions with batch norm in each of 11 blocks
