from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.choices import OutputKind
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models import create
from edgeseg.models.keras_files.class_metrics import compile_class_metrics
from edgeseg.models.opening import assumed_spec
from edgeseg_converters import export
from edgeseg_converters.keras_model.graph import Graph
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.options import ExportOptions

SIZE = (16, 24)


def test_a_model_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = Graph.from_model.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Graph], model: keras.Model) -> Graph:
        read.append(model)
        return original(cls, model)

    monkeypatch.setattr(Graph, "from_model", classmethod(counted))
    inputs = keras.Input((None, None, 3), dtype="float32")
    x = layers.Conv2D(3, 1, activation="softmax")(inputs)
    PreparedModel.of(keras.Model(inputs, x), assumed_spec("own", SIZE, 3))  # resized, and without its softmax
    assert len(read) == 1


def test_what_needs_nothing_is_the_given_model_and_its_own_spec() -> None:
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    prepared = PreparedModel.of(model)
    assert prepared.model is model
    assert prepared.head.model is model
    assert prepared.spec.name == "unet_mini"
    assert prepared.spec.input_size == SIZE


@pytest.mark.parametrize("kind", ["softmax", "logits"])
def test_the_options_say_the_output(kind: OutputKind) -> None:
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    prepared = PreparedModel.of(model, options=ExportOptions(output_kind=kind, layout="nchw"))
    assert (prepared.spec.output_kind, prepared.spec.layout, prepared.spec.dtype) == (kind, "nchw", "float32")


def test_the_graph_has_the_shapes_of_the_size_that_was_asked_for() -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 3, strides=2, padding="same")(inputs))
    prepared = PreparedModel.of(model, assumed_spec("own", SIZE, 3))
    assert prepared.graph.outputs[0].shape == (None, 8, 12, 3)
    assert prepared.model.output_shape == (None, 8, 12, 3)
    assert {id(v) for v in prepared.model.variables} == {id(v) for v in model.variables}


@pytest.mark.parametrize("axis", [-1, 2])
def test_a_softmax_over_rows_of_pixels_is_over_the_classes_of_the_map(axis: int) -> None:
    """Axis 2 of ``(B, H * W, C)`` is the classes; of ``(B, H, W, C)`` it would be a side of the map."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Reshape((SIZE[0] * SIZE[1], 3))(layers.Conv2D(3, 1)(inputs))
    model = keras.Model(inputs, layers.Softmax(axis=axis)(x))
    prepared = PreparedModel.of(model, assumed_spec("own", SIZE, 3))
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype(np.float32)
    # The same softmax of the same numbers.
    np.testing.assert_allclose(np.reshape(prepared.model(image), (1, -1, 3)), model(image), atol=1e-6)


def test_refusals() -> None:
    image, other = keras.Input((*SIZE, 3), name="image"), keras.Input((*SIZE, 3), name="other")
    with pytest.raises(UnsupportedModel, match=r"has 2 inputs \(image, other\), export takes one"):
        PreparedModel.of(keras.Model([image, other], layers.Add()([image, other])), assumed_spec("m", SIZE, 3))
    anysize = keras.Input((None, None, 3))
    with pytest.raises(InputError, match="has no fixed input size; give a spec with `input_size="):
        PreparedModel.of(keras.Model(anysize, layers.Conv2D(3, 1)(anysize)))
    ids = keras.Model(image, keras.ops.argmax(layers.Conv2D(3, 1)(image), axis=-1))
    with pytest.raises(UnsupportedModel, match="gives class ids or other whole numbers"):
        PreparedModel.of(ids, assumed_spec("m", SIZE, 3))


@pytest.mark.parametrize("name", ["_own", "my layer", "a:b", "\u6a21\u578b", "-x", "back\\slash"])
def test_a_name_that_tensorflow_takes_for_no_scope_is_changed(name: str) -> None:
    inputs = keras.Input((*SIZE, 3))
    shared = layers.Conv2D(3, 1, name=name)
    model = keras.Model(inputs, layers.Add(name=f"{name}2")([shared(inputs), shared(-inputs)]), name=name)
    assert export(model).verification.passed
    assert (model.name, shared.name) == (name, name)  # the given model keeps them


def test_names_that_tensorflow_takes_are_kept() -> None:
    inputs = keras.Input((*SIZE, 3))
    graph = Graph.from_model(keras.Model(inputs, layers.Conv2D(3, 1, name="block.1>conv-a")(inputs)))
    assert graph.with_scope_names() is graph


@pytest.mark.parametrize("name", ["unet_mini", "somebodys"])
def test_class_names_come_through_keras_own_loader(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    if name != model.name:
        model = keras.Model(model.inputs, model.outputs, name=name)
    spec = assumed_spec(name, SIZE, 3).replace(class_names=("sky", "road", "car"))
    compile_class_metrics(model, spec)
    model.save(tmp_path / "best.keras")
    caplog.clear()
    assert PreparedModel.of(keras.models.load_model(tmp_path / "best.keras")).spec.class_names == spec.class_names
    assert "does not name its classes" not in caplog.text
    # where nothing names them, that is said
    nameless = keras.models.load_model(tmp_path / "best.keras", compile=False)
    assert PreparedModel.of(nameless).spec.class_names == ("class_0", "class_1", "class_2")
    assert f"'{name}' does not name its classes; they are called class_0 to class_2" in caplog.text


def test_a_layer_with_a_setting_beyond_all_numbers_is_one_line() -> None:
    inputs = keras.Input((*SIZE, 3))
    layer = layers.DepthwiseConv2D(3, padding="same", name="wide")
    model = keras.Model(inputs, layers.Conv2D(3, 1)(layer(inputs)))
    layer.dilation_rate = (2.5e16, 2.5e16)  # as a damaged file has it
    with pytest.raises(UnsupportedModel, match="the layer 'wide' fails when it is called: DepthwiseConv2D") as caught:
        PreparedModel.of(model)
    assert "\n" not in str(caught.value)
