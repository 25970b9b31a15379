# %% [markdown]
# # A custom layer that no converter knows
# The model below begins with `tf.image.rgb_to_hsv`, an op that neither TFLite nor ONNX has. A rewrite says what
# computes the same with ops that they have; edgeseg proves the replacement at its place, and then the file.
# `pip install "edgeseg[convert]"`.

# %%
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from keras import layers, ops

import edgeseg
from edgeseg_converters.rewrites.base import Rewrite


@keras.saving.register_keras_serializable("example")
class RgbToHsv(layers.Layer):
    """Turns RGB in [0, 1] into hue, saturation and value."""

    def call(self, x):
        return tf.image.rgb_to_hsv(x)


keras.utils.set_random_seed(1)
inputs = keras.Input((48, 64, 3))
x = RgbToHsv(name="hsv")(inputs)
x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
model = keras.Model(inputs, layers.Conv2D(3, 1)(x), name="hues")
spec = edgeseg.ModelSpec(
    name="hues",
    input_size=(48, 64),
    class_names=("wall", "red", "blue"),
    palette=((70, 70, 70), (210, 50, 40), (40, 60, 210)),
    mean=(0, 0, 0),
    std=(255, 255, 255),
)

# %% [markdown]
# As it is, the export ends with a sentence that says what cannot be converted.

# %%
try:
    edgeseg.export(model, spec=spec)
except edgeseg.UnsupportedModel as error:
    print(error)


# %% [markdown]
# The replacement is written with Keras' own operations, step by step as TensorFlow computes it.


# %%
class HsvArithmetic(layers.Layer):
    """The same as ``RgbToHsv``, of operations that every format has."""

    def call(self, x):
        red, green, blue = ops.split(x, 3, axis=-1)
        value = ops.max(x, axis=-1, keepdims=True)
        spread = value - ops.min(x, axis=-1, keepdims=True)
        saturation = ops.where(value > 0, spread / ops.where(value > 0, value, 1.0), 0.0)
        sixth = 1 / (6 * ops.where(spread > 0, spread, 1.0))
        hue = ops.where(
            red == value,
            sixth * (green - blue),
            ops.where(green == value, sixth * (blue - red) + 2 / 6, sixth * (red - green) + 4 / 6),
        )
        hue = ops.where(spread > 0, hue, 0.0)
        return ops.concatenate([ops.where(hue < 0, hue + 1, hue), saturation, value], axis=-1)


class HsvToArithmetic(Rewrite):
    """Given ``RgbToHsv()(x)``, the result is ``HsvArithmetic()(x)``."""

    layer_class = "RgbToHsv"
    atol = 1e-5  # the same sums and quotients in float32, rounded in another order

    def replacement(self, site, tensors):
        (node,) = site.nodes
        return {node.outputs[0]: HsvArithmetic(name=node.name)(tensors[node.inputs[0]])}


rewritten = edgeseg.rewrite(model, [HsvToArithmetic()])
print([(done.rule, done.site, done.max_abs_error) for done in rewritten.applied], rewritten.refused)

# %% [markdown]
# The rewritten model exports as any other, and the file is compared with it on its own runtime.

# %%
result = edgeseg.export(rewritten.model, spec=spec)
print(f"{result.file_name}: {result.verification.argmax_agreement:.2%} of the pixels have the same class")
result.save(".", overwrite=True)
