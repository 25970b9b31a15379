"""``config``, ``resolve`` and ``edgeseg.models.opening``: model files that edgeseg did not write: with foreign layers,
with Lambdas, or not models at all.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import marshal
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.errors import InputError
from edgeseg.models import create
from edgeseg.models.keras_files.config import entries, read_config
from edgeseg.models.keras_files.load import load_keras_file, read_spec
from edgeseg.models.layers import MaxPoolingWithArgmax2D, MaxUnpooling2D, ResizeBilinear, UpsampleLike
from edgeseg.models.opening import ModelRequest, at_input_size, load_model
from edgeseg.models.weights.hdf5 import read_weights
from edgeseg.models.zoo.hrnet import hrnetv2

DATA = Path(__file__).parents[3] / "data"
SHAPE = (8, 8, 3)
Edit = Callable[[dict[str, Any]], None]

keras2 = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed"
)
both_forms = pytest.mark.parametrize("suffix", [".keras", ".h5"])


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def predict(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


def edit_config(path: Path, edit: Edit) -> None:
    """Change the architecture in a file, as another program might have written it."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            root = json.loads(file.attrs["model_config"])
            edit(root)
            file.attrs["model_config"] = json.dumps(root)
        return
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    root = json.loads(contents["config.json"])
    edit(root)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**contents, "config.json": json.dumps(root).encode()}.items():
            archive.writestr(name, data)


def foreign(**arguments: dict[str, Any]) -> Edit:
    """The zoo's layers as the projects they come from would have written them: no package, arguments as given."""

    def edit(root: dict[str, Any]) -> None:
        for entry in entries(root):
            name = entry.class_name.rpartition(">")[2]
            if name in arguments:
                base = {key: entry.value["config"][key] for key in ("name", "trainable", "dtype")}
                entry.value.update(class_name=name, config={**base, **arguments[name]})
                if "module" in entry.value:
                    entry.value.update(module="their_layers", registered_name=name)

    return edit


def assert_refused(path: Path, *texts: str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_keras_file(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for text in texts:
        assert text in message
    return message


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.startswith("edgeseg")]


class Doubling(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


class Tripling(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 3 * x


# --- layers by well-known names ---


def well_known() -> keras.Model:
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    pooled, index = MaxPoolingWithArgmax2D(name="pool")(x)
    x = layers.Add()([x, MaxUnpooling2D(name="unpool")([pooled, index])])
    x = layers.Concatenate()([x, UpsampleLike(name="up")([pooled, x]), ResizeBilinear((8, 8), name="resize")(pooled)])
    return keras.Model(inputs, layers.Conv2D(3, 1, name="head")(x))


@both_forms
def test_well_known_layers_need_no_code(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    source, path = well_known(), tmp_path / f"x{suffix}"
    source.save(path)
    edit_config(path, foreign(UpsampleLike={}, MaxPoolingWithArgmax2D={}, MaxUnpooling2D={"size": [2, 2]}))
    with caplog.at_level(logging.WARNING):
        model = load_keras_file(path)
    x = image(2, *SHAPE)
    np.testing.assert_array_equal(predict(model, x), predict(source, x))
    assert type(model.get_layer("unpool")) is MaxUnpooling2D
    # The names say nothing certain, so what they are taken for is said.
    assert [record.args[1] for record in warnings(caplog)] == ["'pool'", "'unpool'", "'up'"]
    assert "read as UpsampleLike of keras-retinanet" in caplog.text
    assert "`custom_objects=...`" in caplog.text


@both_forms
def test_the_zoos_own_layers_are_no_news(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"x{suffix}"
    well_known().save(path)
    with caplog.at_level(logging.WARNING):
        load_keras_file(path)
    assert not warnings(caplog)


@both_forms
def test_the_users_class_wins(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    class UpsampleLike(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 0 * keras.ops.repeat(keras.ops.repeat(inputs[0], 2, axis=1), 2, axis=2)

    path = tmp_path / f"x{suffix}"
    well_known().save(path)
    edit_config(path, foreign(UpsampleLike={}))
    with caplog.at_level(logging.WARNING):
        model = load_keras_file(path, custom_objects={"UpsampleLike": UpsampleLike})
    assert type(model.get_layer("up")) is UpsampleLike
    assert not warnings(caplog)


@both_forms
def test_a_known_name_with_unknown_arguments_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    well_known().save(path)
    edit_config(path, foreign(MaxUnpooling2D={"factor": 2}))
    assert_refused(path, "the MaxUnpooling2D 'unpool'", "'factor'", "`custom_objects=...`")


# --- the user's own ---


def with_own_layers() -> keras.Model:
    inputs = keras.Input(SHAPE)
    inner_inputs = keras.Input((None, None, 3))
    inner = keras.Model(inner_inputs, Tripling(name="triple")(layers.Conv2D(3, 1)(inner_inputs)), name="inner")
    x = Doubling(name="double")(inner(Doubling(name="first")(inputs)))
    return keras.Model(inputs, layers.Conv2D(2, 1, name="head")(x))


@both_forms
def test_own_layers_load_with_their_code_alone(tmp_path: Path, suffix: str) -> None:
    source, path = with_own_layers(), tmp_path / f"x{suffix}"
    source.save(path)
    message = assert_refused(
        path, "Doubling ('first', 'double')", "Tripling ('inner/triple')", "`custom_objects=...`", "--weights"
    )
    assert message.count("Doubling") == 1
    assert_refused(path, "Tripling", custom_objects={"Doubling": Doubling})
    model = load_keras_file(path, custom_objects={"Doubling": Doubling, "Tripling": Tripling})
    x = image(1, *SHAPE)
    np.testing.assert_array_equal(predict(model, x), predict(source, x))


@both_forms
def test_a_registered_class_is_found_by_its_bare_name(tmp_path: Path, suffix: str) -> None:
    @keras.saving.register_keras_serializable(package="their")
    class Squaring(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * x

    path, inputs = tmp_path / f"x{suffix}", keras.Input(SHAPE)
    keras.Model(inputs, Squaring(name="square")(layers.Conv2D(2, 1)(inputs))).save(path)
    del keras.saving.get_custom_objects()["their>Squaring"]  # as in the process of somebody else
    assert_refused(path, "their>Squaring ('square')")
    assert type(load_keras_file(path, custom_objects={"Squaring": Squaring}).get_layer("square")) is Squaring


@both_forms
def test_own_functions(tmp_path: Path, suffix: str) -> None:
    def squash(x: Any) -> Any:
        return x / (1 + keras.ops.abs(x))

    path, inputs = tmp_path / f"x{suffix}", keras.Input(SHAPE)
    source = keras.Model(inputs, layers.Conv2D(2, 1, activation=squash, name="conv")(inputs))
    source.save(path)
    assert_refused(path, "squash ('conv')")
    model = load_keras_file(path, custom_objects={"squash": squash})
    np.testing.assert_array_equal(predict(model, image(1, *SHAPE)), predict(source, image(1, *SHAPE)))


@both_forms
def test_all_unknown_layers_are_named(tmp_path: Path, suffix: str) -> None:
    path, inputs = tmp_path / f"x{suffix}", keras.Input(SHAPE)
    x = inputs
    for number in range(5):
        x = Doubling(name=f"d{number}")(x)
    keras.Model(inputs, x).save(path)
    assert_refused(path, "Doubling ('d0', 'd1', 'd2', 'd3', 'd4')")


@keras2
def test_tensorflow_outside_of_layers_is_said(tmp_path: Path) -> None:
    import tf_keras

    def as_before_tensorflow_2_4(root: dict[str, Any]) -> None:
        for entry in entries(root):
            if entry.class_name == "TFOpLambda":
                entry.value["class_name"] = "TensorFlowOpLayer"

    inputs = tf_keras.Input(SHAPE)
    tf_keras.Model(inputs, 2 * inputs + 1).save(tmp_path / "x.h5")
    edit_config(tmp_path / "x.h5", as_before_tensorflow_2_4)
    assert_refused(tmp_path / "x.h5", "TensorFlowOpLayer ('tf.math.multiply", "TensorFlow outside of any layer")


# --- Lambda layers ---


def attack(witness: Path) -> keras.Model:
    """A Lambda whose code, wherever it runs, leaves a file."""
    name, inputs = str(witness), keras.Input(SHAPE)
    x = layers.Lambda(lambda x: (open(name, "w").close(), 2 * x)[1], output_shape=SHAPE, name="evil")(inputs)
    return keras.Model(inputs, layers.Conv2D(2, 1, name="head")(x))


def nested(model: keras.Model) -> keras.Model:
    inputs = keras.Input(SHAPE)
    inner = keras.Sequential([keras.Input(SHAPE), model], name="inner")
    return keras.Model(inputs, inner(inputs), name="outer")


@both_forms
@pytest.mark.parametrize("depth", [0, 1])
def test_a_lambda_is_refused_by_name_and_never_run(tmp_path: Path, suffix: str, depth: int) -> None:
    witness, path = tmp_path / "it_ran", tmp_path / f"x{suffix}"
    model = attack(witness)
    (nested(model) if depth else model).save(path)
    witness.unlink(missing_ok=True)
    name = f"inner/{model.name}/evil" if depth else "evil"
    assert_refused(
        path,
        f"Lambda layers, Python bytecode that edgeseg never runs: '{name}'.",
        f"edgeseg export ZOO_NAME --weights {path}",
        "`custom_objects={'evil': ",
    )
    assert_refused(path, "Lambda", custom_objects={"Lambda": Doubling, "other": Doubling})
    assert not witness.exists()
    keras.models.load_model(path, safe_mode=False)(image(1, *SHAPE))
    assert witness.exists()  # the attack works where nobody looks


def marshaled(witness: Path) -> str:
    code = compile(f"open({str(witness)!r}, 'w').close()", "<x>", "exec")
    return base64.b64encode(marshal.dumps(code)).decode()


@pytest.mark.parametrize("place", ["function", "list", "output_shape", "activation", "dtype", "inbound_nodes"])
@both_forms
def test_bytecode_in_other_places_is_refused(tmp_path: Path, suffix: str, place: str) -> None:
    witness, path = tmp_path / "it_ran", tmp_path / f"x{suffix}"
    inputs = keras.Input(SHAPE)
    keras.Model(inputs, layers.Conv2D(2, 1, name="head")(inputs)).save(path)
    code = marshaled(witness)
    bytecode = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}

    def edit(root: dict[str, Any]) -> None:
        head = root["config"]["layers"][1]
        if place in ("activation", "dtype"):
            head["config"][place] = bytecode
        elif place == "inbound_nodes":
            head[place][0]["kwargs"] = {"training": bytecode}
        else:
            function = {"list": [code, None, None], "function": bytecode, "output_shape": "f"}[place]
            config = {"name": "head", "function": function, "function_type": "lambda"}
            head.update(class_name="Lambda", config={**config, "output_shape": bytecode})

    edit_config(path, edit)
    assert_refused(path, "bytecode that edgeseg never runs: 'head'")
    assert not witness.exists()


@both_forms
def test_keras_is_in_safe_mode_all_the_way_down(tmp_path: Path, suffix: str) -> None:
    """It guards what else can run code or read files: TFSMLayer, TorchModuleWrapper, vocabularies."""
    from keras.src.saving.serialization_lib import in_safe_mode

    seen = []

    class Watching(Doubling):
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Watching:
            seen.append(in_safe_mode())
            return cls(**config)

    path, inputs = tmp_path / f"x{suffix}", keras.Input(SHAPE)
    inner = keras.Sequential([keras.Input(SHAPE), Watching()])
    keras.Model(inputs, Watching()(inner(inputs))).save(path)
    load_keras_file(path, custom_objects={"Watching": Watching})
    assert seen == [True, True]

    def edit(root: dict[str, Any]) -> None:
        root["config"]["layers"][-1].update(class_name="TFSMLayer", config={"name": "x", "filepath": str(tmp_path)})
        if "module" in root:
            root["config"]["layers"][-1].update(module="keras.layers", registered_name=None)

    edit_config(path, edit)
    assert_refused(path, "TFSMLayer", custom_objects={"Watching": Watching})


@both_forms
@pytest.mark.parametrize("depth", [0, 1])
def test_a_class_of_the_user_takes_the_place_of_a_lambda(tmp_path: Path, suffix: str, depth: int) -> None:
    witness, path = tmp_path / "it_ran", tmp_path / f"x{suffix}"
    source = attack(witness)
    source = nested(source) if depth else source
    source.save(path)
    model = load_keras_file(path, custom_objects={"evil": Doubling})
    x = image(1, *SHAPE)
    witness.unlink(missing_ok=True)
    actual = predict(model, x)
    assert not witness.exists()
    np.testing.assert_array_equal(actual, predict(source, x))
    model.save(tmp_path / "again.keras")  # and what is saved of it has no Lambda
    again = load_keras_file(tmp_path / "again.keras", custom_objects={"Doubling": Doubling})
    np.testing.assert_array_equal(predict(again, x), actual)


@keras2
@both_forms
def test_a_lambda_of_keras2(tmp_path: Path, suffix: str) -> None:
    import tf_keras

    path, inputs = tmp_path / f"x{suffix}", tf_keras.Input(SHAPE)
    x = tf_keras.layers.Lambda(lambda t: t * 2, name="times")(tf_keras.layers.DepthwiseConv2D(3)(inputs))
    source = tf_keras.Model(inputs, x)
    source.save(path)
    assert_refused(path, "Lambda layers", "'times'")
    model = load_keras_file(path, custom_objects={"times": Doubling})
    np.testing.assert_allclose(predict(model, image(1, *SHAPE)), source(image(1, *SHAPE)), rtol=1e-6, atol=1e-6)


# --- files that are no models ---


def test_weights_without_an_architecture(tmp_path: Path) -> None:
    paths = [DATA / "legacy_plain_weights.h5", DATA / "legacy_separable.weights.h5", tmp_path / "x.weights.h5"]
    well_known().save_weights(paths[-1])
    for path in paths:
        assert_refused(path, "holds weights only", f"edgeseg export NAME --weights {path}", "edgeseg models")
        with pytest.raises(InputError, match="holds weights only"):
            load_model(str(path))


def test_hdf5_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["table"] = np.zeros(3)
    assert_refused(path, "HDF5, but holds no Keras model")
    for config in ("", "[]", "{}", '{"class_name": 3}', '{"class_name": "Functional", "config": {}}', "\xff"):
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config
        assert_refused(path, "Keras cannot load")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"class_name": "Dense", "config": {"units": 1, "name": "d"}}'
    assert_refused(path, "Keras cannot load")


def test_a_config_nested_beyond_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "a", "config": ' + "[" * 900 + "]" * 900 + "}")
    assert_refused(path, "x.keras'")


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("config.json", load_keras_file),
        ("metadata.json", load_keras_file),
        ("edgeseg.spec.json", read_spec),
        ("model.weights.h5", read_weights),
    ],
)
def test_an_archive_whose_entries_expand(tmp_path: Path, entry: str, read: Callable[[Path], object]) -> None:
    """A hundred kilobytes that would fill a hundred megabytes."""
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if entry == "metadata.json":
            archive.writestr("config.json", "{}")
        archive.writestr(entry, bytes(100 * 2**20))
    tracemalloc.start()
    with pytest.raises(InputError, match=f"x.keras'.*its entry '{entry}' claims 104857600 bytes, at most"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_h5(tmp_path: Path, kept: float) -> None:
    data = (DATA / "legacy_rebuilt_full.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(data[: int(len(data) * kept)])
    assert_refused(tmp_path / "x.h5", "x.h5'")


def test_an_archive_by_another_name(tmp_path: Path) -> None:
    well_known().save(tmp_path / "x.keras")
    (tmp_path / "x.keras").rename(tmp_path / "x.h5")
    assert_refused(tmp_path / "x.h5", "give it the suffix .keras")


def test_only_what_keeps_the_optimizer_can_be_compiled() -> None:
    assert_refused(DATA / "legacy_rebuilt_full.h5", "cannot be resumed", compile=True)


def test_a_file_that_says_no_version_is_old(tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "legacy_plain_full.h5", tmp_path))
    assert read_config(path).is_keras2
    with h5py.File(path, "r+") as file:
        del file.attrs["keras_version"]
    assert read_config(path).is_keras2
    load_keras_file(path)


# --- as the command line opens them ---


def test_open_model_of_an_h5(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened = load_model(str(DATA / "legacy_separable_full.h5"), ModelRequest(mean=(0.0,) * 3, std=(255.0,) * 3))
    assert "says nothing about its input" in caplog.text
    assert opened.spec.input_size == (8, 8)
    assert opened.spec.num_classes == 5
    assert (opened.spec.mean, opened.spec.std) == ((0.0,) * 3, (255.0,) * 3)
    assert opened.weights_report is None


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            lambda size: hrnetv2(num_classes=3, input_size=size, width=4, modules=(1, 1), blocks=1),
            id="hrnetv2",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda size: create("deeplabv3plus_mobilenetv2", num_classes=3, input_size=size, alpha=0.25, filters=8),
            id="deeplabv3plus_mobilenetv2",
        ),
        pytest.param(
            lambda size: create("segnet", num_classes=3, input_size=size), id="segnet", marks=pytest.mark.slow
        ),
    ],
)
def test_another_input_size_is_as_built_for_it(build: Callable[[tuple[int, int]], keras.Model]) -> None:
    model, expected = build((32, 64)), build((64, 96))
    expected.set_weights(model.get_weights())
    resized = at_input_size(model, (64, 96))
    assert resized.output_shape == expected.output_shape == (None, 64, 96, 3)
    x = image(1, 64, 96, 3)
    np.testing.assert_array_equal(predict(resized, x), predict(expected, x))


def adapted(size: tuple[int, int] | tuple[None, None]) -> keras.Model:
    """With a Normalization in a nested model, which has seen pixels."""
    keras.utils.set_random_seed(0)
    inner = keras.Input((None, None, 3))
    nested = keras.Model(inner, layers.Normalization(name="normal")(inner), name="stem")
    inputs = keras.Input((*size, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same")(nested(inputs)))
    nested.get_layer("normal").adapt(np.random.default_rng(1).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32))
    return model


@pytest.mark.parametrize("size", [(None, None), (8, 8)], ids=["any size", "one size"])
def test_a_normalization_keeps_its_statistics_at_another_size(size: Any, tmp_path: Path) -> None:
    model = adapted(size)
    model.save(tmp_path / "x.keras")
    opened = load_model(str(tmp_path / "x.keras"), ModelRequest(input_size=(16, 24), mean=(0.0,) * 3, std=(1.0,) * 3))
    x = image(1, 16, 24, 3) * 255
    everywhere = adapted((None, None))  # the same weights, by the same seed
    # The same convolution of the same float32 numbers, which are below 10.
    np.testing.assert_allclose(predict(opened.model, x), predict(everywhere, x), atol=1e-4)


@keras.saving.register_keras_serializable(package="test_own_models")
class Forgetful(layers.Layer):  # type: ignore[misc]
    """Has a number that neither its weights nor its config know, but its file."""

    factor = 1.0

    def call(self, x: Any) -> Any:
        return x * self.factor

    def save_own_variables(self, store: Any) -> None:
        store["factor"] = np.float32(3)

    def load_own_variables(self, store: Any) -> None:
        self.factor = float(np.asarray(store["factor"]))


@pytest.mark.parametrize("size", [(None, None), (8, 8)], ids=["any size", "one size"])
def test_a_layer_that_forgets_what_it_holds_is_not_built_again(size: Any, tmp_path: Path) -> None:
    inputs = keras.Input((*size, 3))
    keras.Model(inputs, Forgetful()(inputs), name="own").save(tmp_path / "x.keras")
    request = ModelRequest(input_size=(16, 24))
    if size == (8, 8):
        with pytest.raises(InputError, match=r"'own' rebuilt from its config at 8,8 \(H,W\) gives something else"):
            load_model(str(tmp_path / "x.keras"), request)
    else:  # the model takes that size itself
        x = image(1, 16, 24, 3)
        np.testing.assert_allclose(predict(load_model(str(tmp_path / "x.keras"), request).model, x), 3 * x)


def test_an_integer_input_stays_one_at_another_size() -> None:
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(inputs, layers.Conv2D(2, 1)(layers.Rescaling(1 / 255)(inputs)))
    assert at_input_size(model, (16, 24)).inputs[0].dtype == "uint8"


def test_open_model_with_custom_objects(tmp_path: Path) -> None:
    with_own_layers().save(tmp_path / "x.keras")
    own = {"Doubling": Doubling, "Tripling": Tripling}
    opened = load_model(str(tmp_path / "x.keras"), ModelRequest(custom_objects=own, input_size=(16, 24)))
    assert opened.spec.input_size == (16, 24)
    assert opened.model.compute_output_shape((1, 16, 24, 3)) == (1, 16, 24, 2)
    with pytest.raises(InputError, match="'unet_mini' is an architecture of the zoo"):
        load_model("unet_mini", ModelRequest(custom_objects=own))
