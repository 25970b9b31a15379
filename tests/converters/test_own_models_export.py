"""``keras_model.prepare`` and ``keras_model.unsupported_ops``: models as users have them: subclassed, with foreign ops,
several outputs, no fixed size, softmax in code.
"""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgeseg.choices import Format
from edgeseg.cli import main
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models.layers import ResizeBilinear, UpsampleLike
from edgeseg.models.opening import ModelRequest, assumed_spec, load_model
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg_converters import ExportResult, Recipe, export, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions

SIZE = (16, 24)
both_formats = pytest.mark.parametrize("file_format", ["tflite", "onnx"])
# White noise: neighbors differ, so no two classes tie.
IMAGES = Samples((np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8),), "white noise")


def proven(model: keras.Model, file_format: Format, **options: Any) -> ExportResult:
    """Exported for ``SIZE``, run on its own runtime, and equal to the model."""
    spec = assumed_spec("own", SIZE, 3)
    recipes = [Recipe(file_format, "fp32")]
    (result,) = export_all(model, spec, recipes, samples=IMAGES, options=ExportOptions(**options))
    assert result.verification is not None
    assert result.verification.passed, result.verification.reason
    return result


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3, padding="same", activation="relu")
        self.small = layers.Conv2D(4, 3, strides=2, padding="same")
        self.up = UpsampleLike(name="their_up")
        self.head = layers.Conv2D(3, 1)

    def call(self, x: Any) -> Any:
        x = self.conv(x)
        return keras.ops.softmax(self.head(x + self.up([self.small(x), x])))


class Digamma(layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.digamma(x * x + 1)


class IncompleteGamma(layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.igamma(x * x + 1, x * x + 1)


@pytest.fixture(scope="module")
def subclassed() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = Subclassed(name="theirs")
    model(np.zeros((1, *SIZE, 3), np.float32))
    return model


@both_formats
def test_a_subclassed_model_is_converted_as_it_is(
    file_format: Format, subclassed: keras.Model, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING):
        result = proven(subclassed, file_format, output_kind="softmax")
    assert result.spec.provenance.rewrites == ()
    (said,) = [r.getMessage() for r in caplog.records if "subclassed" in r.getMessage()]
    assert "'theirs' is a subclassed model" in said
    assert "without UpsampleLikeToNearestResize for 'their_up'" in said
    assert not subclassed._inbound_nodes
    with Segmenter(result.save(tmp_path)) as segmenter:
        image = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
        # The softmax in its code is not put on a second time: the scores are the model's, but for rounding.
        np.testing.assert_allclose(segmenter.backend.run(image), subclassed(image), atol=1e-5)


def test_a_subclassed_file_with_its_code(subclassed: keras.Model, tmp_path: Path) -> None:
    path, code = tmp_path / "theirs.keras", tmp_path / "code.py"
    subclassed.save(path)
    with pytest.raises(InputError, match=r"what Keras does not know: Subclassed.*`custom_objects="):
        load_model(str(path))
    assert load_model(str(path), ModelRequest(custom_objects={"Subclassed": Subclassed})).spec.input_size == SIZE
    imports = "import keras\nfrom typing import Any\nfrom keras import layers\n"
    ours = "from edgeseg.models.layers import UpsampleLike\n"
    code.write_text(f"{imports}{ours}{inspect.getsource(Subclassed)}")
    args = [
        "export",
        str(path),
        "--custom-objects",
        str(code),
        "--output-dir",
        str(tmp_path),
        "--format",
        "tflite,onnx",
    ]
    assert main([*args, "--num-images", "1"]) == 0
    assert main([*args, "--num-images", "1", "--imgsz", "32", "--overwrite"]) == 0
    with Segmenter(tmp_path / "theirs.fp32.onnx") as segmenter:
        assert segmenter.spec.input_size == (32, 32)


def test_a_subclassed_model_that_nobody_called_has_no_size() -> None:
    with pytest.raises(InputError, match=r"no fixed input size; give .*`input_size="):
        export(Subclassed(), verify=False)


def test_a_call_that_fails_is_one_line() -> None:
    class Flat(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.reshape(x, (1, 7))

    with pytest.raises(UnsupportedModel, match="'flat' is a subclassed model, and its call fails") as caught:
        export(Flat(name="flat"), spec=assumed_spec("x", SIZE, 3), verify=False)
    assert "\n" not in str(caught.value)


@both_formats
def test_foreign_ops_are_named_with_all_their_layers(file_format: Format) -> None:
    inputs, inner_inputs = keras.Input((*SIZE, 3)), keras.Input((*SIZE, 3))
    inner = keras.Model(inner_inputs, IncompleteGamma(name="gamma")(layers.Conv2D(3, 1)(inner_inputs)), name="inner")
    x = Digamma(name="last")(inner(Digamma(name="first")(inputs)))
    with pytest.raises(UnsupportedModel) as caught:
        export(keras.Model(inputs, layers.Conv2D(3, 1)(x)), format=file_format, verify=False)
    message = str(caught.value)
    assert "Digamma in 'first' (Digamma), 'last' (Digamma)" in message
    assert "Igamma in 'inner/gamma' (IncompleteGamma)" in message
    assert "Write these layers with ops that it has" in message
    assert "\n" not in message


class PoolWithIndices(layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        values, indices = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME")
        return values + tf.cast(indices, tf.float32)


def test_an_index_that_is_not_for_unpooling_is_refused_by_the_layers_name() -> None:
    inputs = keras.Input((*SIZE, 3))
    sentence = "'pooling' could not be replaced: its index reaches an output of the model without an unpooling"
    with pytest.raises(UnsupportedModel, match=sentence):
        export(keras.Model(inputs, PoolWithIndices(name="pooling")(inputs)), verify=False)


def dynamic() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    large = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    small = layers.Conv2D(4, 3, strides=4, padding="same")(large)
    x = layers.Add()([large, UpsampleLike()([small, large])])
    return keras.Model(inputs, ResizeBilinear()([layers.Conv2D(3, 1)(layers.MaxPooling2D(2)(x)), inputs]))


@both_formats
def test_a_dynamic_size_is_exported_at_the_one_that_is_given(file_format: Format) -> None:
    model = dynamic()
    result = proven(model, file_format)
    # The sites that read a size from a tensor have a fixed one now.
    assert result.spec.provenance.rewrites == (("UpsampleLikeToNearestResize", 1), ("ResizeBilinearToFixedSize", 1))
    assert model.input_shape == (None, None, None, 3)
    with pytest.raises(InputError, match=r"no fixed input size; give .*`input_size="):
        export(model, format=file_format, verify=False)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((*SIZE, 1), r"keras\.ops\.image\.rgb_to_grayscale before it"),
        ((*SIZE, 4), "the layers that make its input from RGB before it"),
        ((3, *SIZE), r"Permute\(\(3, 1, 2\)\) before it and Permute\(\(2, 3, 1\)\) after its output"),
        (SIZE, "the layers that make its input from RGB before it"),
    ],
)
@pytest.mark.parametrize("spec", [None, assumed_spec("own", SIZE, 3)], ids=["no spec", "a spec"])
def test_what_does_not_take_a_image_is_refused_with_the_way_out(
    shape: tuple[int, ...], remedy: str, spec: ModelSpec | None
) -> None:
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Activation("relu")(inputs), name="own")
    with pytest.raises(InputError, match=rf"'own' must take one image \(B, H, W, 3\), it takes .*{remedy}") as caught:
        export(model, spec=spec, verify=False)
    assert "\n" not in str(caught.value)


def test_a_model_of_gray_images_is_exported_by_the_way_that_is_named() -> None:
    keras.utils.set_random_seed(0)
    inputs, gray = keras.Input((*SIZE, 3)), keras.Input((*SIZE, 1))
    model = keras.Model(gray, layers.Conv2D(3, 3, padding="same")(gray))
    proven(keras.Model(inputs, model(keras.ops.image.rgb_to_grayscale(inputs))), "tflite")


def test_channels_first_is_exported_by_the_way_that_is_named() -> None:
    keras.utils.set_random_seed(0)
    inputs, first = keras.Input((*SIZE, 3)), keras.Input((3, *SIZE))
    model = keras.Model(first, layers.Conv2D(3, 3, padding="same", data_format="channels_first")(first))
    proven(keras.Model(inputs, layers.Permute((2, 3, 1))(model(layers.Permute((3, 1, 2))(inputs)))), "tflite")


def two_outputs(as_dict: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3, padding="same", name="shared")(inputs)
    tensors = [layers.Conv2D(3, 1, name=f"{name}_conv")(x) for name in ("main", "aux")]
    return keras.Model(inputs, dict(zip(("main", "aux"), tensors, strict=True)) if as_dict else tensors, name="deep")


@pytest.mark.parametrize(("as_dict", "name"), [(False, "main_conv"), (True, "main")])
@both_formats
def test_one_of_several_outputs_is_picked_by_name(file_format: Format, as_dict: bool, name: str) -> None:
    model = two_outputs(as_dict)
    with pytest.raises(UnsupportedModel, match=rf"has 2 outputs \(.*{name}.*\).*`output=") as caught:
        export(model, format=file_format, verify=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=rf"no output '{name}s'. Did you mean '{name}'\? Accepted: "):
        export(model, format=file_format, verify=False, options=ExportOptions(output=f"{name}s"))
    result = export(model, format=file_format, options=ExportOptions(output=name, output_kind="logits"))  # verified
    assert result.verification is not None and result.verification.passed
    assert len(model.outputs) == 2


def test_output_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    two_outputs(as_dict=True).save(tmp_path / "deep.keras")
    args = ["export", str(tmp_path / "deep.keras"), "--output-dir", str(tmp_path), "--no-verify"]
    assert main(args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the model has 2 outputs (aux, main)" in error
    assert main([*args, "--output", "aux"]) == 0
    assert main(["export", "unet_mini", "--output", "aux"]) == 2
    assert "--output goes with a model file" in capsys.readouterr().err


@both_formats
def test_operations_outside_of_layers(file_format: Format) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = keras.ops.relu(2 * layers.Conv2D(4, 3, padding="same")(inputs) + 1)
    x = keras.ops.concatenate([x, x[..., :2] / 3], axis=-1)
    model = keras.Model(inputs, keras.ops.softmax(layers.Conv2D(3, 1)(x)))
    proven(model, file_format, output_kind="softmax")


def test_the_layers_of_the_model_that_is_given_get_no_new_places() -> None:
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(layers.Conv2D(3, 1)(inputs)))
    before = [len(layer._inbound_nodes) for layer in model.layers]
    stripped = PreparedModel.of(model, assumed_spec("own", (4, 6), 3)).head.model
    assert [len(layer._inbound_nodes) for layer in model.layers] == before
    assert model.layers[-1].activation is keras.activations.softmax
    assert all(a is b for a, b in zip(model.variables, stripped.variables, strict=True))


@pytest.mark.parametrize("activation", [None, "sigmoid", layers.Softmax(), layers.Activation("softmax")])
def test_a_flattened_map_becomes_one_again(activation: Any) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Reshape((-1, 3))(layers.Conv2D(3, 3, padding="same")(inputs))
    flat = keras.Model(inputs, activation(x) if callable(activation) else layers.Activation(activation)(x), name="flat")
    kind = "logits" if activation in (None, "sigmoid") else "softmax"
    result = proven(flat, "tflite", output_kind=kind)
    backend = LiteRTBackend(result.data)
    image = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = np.asarray(flat(image)).reshape(1, *SIZE, 3)
    got = backend.run(image)
    # The same products and one activation in float32.
    np.testing.assert_allclose(got if activation != "sigmoid" else 1 / (1 + np.exp(-got)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: keras.ops.sigmoid(keras.ops.squeeze(x, -1)),
        lambda x: layers.Activation("sigmoid")(layers.Flatten()(x)),
    ],
    ids=["(H, W)", "(H * W)"],
)
def test_one_channel_without_its_axis_becomes_a_map_again(end: Any) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    flat = keras.Model(inputs, end(layers.Conv2D(1, 3, padding="same")(inputs)), name="flat")
    backend = LiteRTBackend(export(flat, options=ExportOptions(output_kind="softmax")).data)  # verified
    image = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    # One sigmoid of the same float32 numbers, as the softmax of [0, x].
    np.testing.assert_allclose(backend.run(image)[..., 1], np.asarray(flat(image)).reshape(1, *SIZE), atol=1e-6)


def test_a_softmax_over_rows_of_an_image_is_no_flattened_map() -> None:
    inputs = keras.Input((*SIZE, 3))
    rows = layers.Softmax()(layers.Reshape(SIZE)(layers.Conv2D(1, 1)(inputs)))
    with pytest.raises(UnsupportedModel, match=r"the output must be a map \(B, H, W, C\)"):
        export(keras.Model(inputs, rows, name="rows"), spec=assumed_spec("own", SIZE, 1), verify=False)


def test_what_is_no_flattened_map_is_refused() -> None:
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, layers.Reshape((SIZE[0], -1))(layers.Conv2D(3, 1)(inputs)), name="rows")
    with pytest.raises(UnsupportedModel, match=r"the output must be a map \(B, H, W, C\)"):
        export(model, spec=assumed_spec("own", SIZE, 3 * SIZE[1]), verify=False)
