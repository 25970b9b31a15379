"""A program of the tests: what models compute and learn in one step, on the backend that KERAS_BACKEND names.

    KERAS_BACKEND=jax python one_step.py WEIGHTS_DIR NAME...

A name is one of the zoo, or ``custom_layers``. Weights are read from, or where there are none written to,
``WEIGHTS_DIR/NAME.npz``; ``NAME.BACKEND.npz`` gets ``logits``, ``loss`` and ``learned``, the number of changed weights.
For all of the zoo, run it once for each backend.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

from edgeseg.models import ZOO, create
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D, ResizeBilinear, UpsampleLike


def custom_layers() -> keras.Model:
    """Every layer that is edgeseg's own, as SegNet, HRNet and DeepLab use them."""
    inputs = keras.Input((32, 64, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    pooled, index = MaxPoolingWithArgmax2D()(x)
    x = MaxUnpooling2D()([keras.layers.Conv2D(4, 3, padding="same")(pooled), index])
    small = keras.layers.Conv2D(4, 3, strides=4, padding="same")(x)
    x = keras.layers.Add()([x, UpsampleLike()([small, x])])
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same")(x)
    return keras.Model(inputs, ResizeBilinear()([x, inputs]))


def without_dropout(model: keras.Model) -> keras.Model:
    """The backends draw other numbers from the same seed."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def main(folder: str, *names: str) -> None:
    for name in names or ("custom_layers", *ZOO):
        model = custom_layers() if name == "custom_layers" else create(name, num_classes=3, input_size=(32, 64))
        model = without_dropout(model)
        path = Path(folder, f"{name}.npz")
        if path.exists():
            model.set_weights(list(np.load(path).values()))
        else:
            np.savez(path, *model.get_weights())
        rng = np.random.default_rng(0)
        images = rng.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
        labels = rng.integers(0, 3, (2, *model.output_shape[1:3]))
        before = model.get_weights()
        logits = model.predict_on_batch(images)
        model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        loss = float(model.train_on_batch(images, labels))
        learned = sum(not np.array_equal(was, now) for was, now in zip(before, model.get_weights(), strict=True))
        np.savez(Path(folder, f"{name}.{keras.config.backend()}.npz"), logits=logits, loss=loss, learned=learned)
        print(name, loss, learned)


if __name__ == "__main__":
    main(*sys.argv[1:])
