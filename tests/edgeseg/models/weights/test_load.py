"""``hdf5``, ``match`` and ``variables``: weights of every kind of file, matched by name or by order."""

import importlib.machinery
import importlib.util
import io
import itertools
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.errors import InputError
from edgeseg.models import load_weights
from edgeseg.models.weights import hdf5

ROOT = Path(__file__).parents[4]
DATA = ROOT / "tests" / "data"


def _load_script():
    loader = importlib.machinery.SourceFileLoader("make_legacy_weights", str(ROOT / "scripts" / "make-legacy-weights"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


legacy = _load_script()


def numbered(first=1):
    """Names as the zoo has them: explicit, but spelt like Keras 2's automatic ones."""
    counts = {}
    return lambda kind: f"{kind}_{next(counts.setdefault(kind, itertools.count(first)))}"


def unnamed(kind):
    return None


def build(name, auto=unnamed):
    keras.utils.set_random_seed(1)
    return legacy.MODELS[name](keras, auto)


def legacy_copy(tmp_path, name, form="weights"):
    return Path(shutil.copy(DATA / f"legacy_{name}_{form}.h5", tmp_path))


def snapshot(model):
    return [keras.ops.convert_to_numpy(w) for w in model.weights]


def assert_refused_unchanged(model, path, *texts, **options):
    before = snapshot(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, path, **options)
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    return str(caught.value)


def assert_all_used(report, model):
    assert len(report.matched) == len(model.weights)
    assert len({variable for _, variable, _ in report.matched}) == len(model.weights)
    assert (report.left_over, report.missing) == ((), ())


# --- files that Keras 2 wrote ---


@pytest.mark.parametrize("auto", [numbered(), unnamed, numbered(7)], ids=["as the zoo", "keras 3", "from 7"])
@pytest.mark.parametrize("form", ["weights", "full"])
@pytest.mark.parametrize("name", list(legacy.MODELS))
def test_keras2_file_gives_keras2_output(name, form, auto):
    model = build(name, auto)
    report = load_weights(model, DATA / f"legacy_{name}_{form}.h5")
    assert_all_used(report, model)
    with np.load(DATA / "legacy_outputs.npz") as arrays:
        output = model(arrays[f"{name}_input"], training=False)
        # Sums of up to 100 float32 products near 1, in another order.
        np.testing.assert_allclose(output, arrays[f"{name}_output"], rtol=1e-5, atol=1e-5)


def test_fixtures_begin_where_they_say():
    with h5py.File(DATA / "legacy_rebuilt_weights.h5") as file:
        assert [n for n in file.attrs["layer_names"] if n.startswith("conv2d")] == ["conv2d_3", "conv2d_4", "conv2d_5"]
    with h5py.File(DATA / "legacy_nested_weights.h5") as file:  # a frozen layer comes after later ones
        names = list(file["encoder"].attrs["weight_names"])
        assert names.index("conv/kernel:0") > names.index("conv2d/kernel:0")


def test_keras3_names_off_by_one_do_not_shift():
    model = build("plain", numbered(0))  # conv2d_0..3 against the file's conv2d_1..4
    report = load_weights(model, DATA / "legacy_plain_weights.h5")
    taken = {variable: tensor for tensor, variable, _ in report.matched}
    assert taken["conv2d_0/kernel"] == "conv2d_1/kernel:0"
    assert taken["conv2d_3/bias"] == "conv2d_4/bias:0"


def test_numbers_decide_over_the_order_of_the_graph(tmp_path):
    path = legacy_copy(tmp_path, "plain")
    with h5py.File(path, "r+") as file:  # as parallel branches, whose order in the graph Keras may change
        names = list(file.attrs["layer_names"])
        names[3], names[4] = names[4], names[3]
        file.attrs["layer_names"] = names
    model = build("plain")
    assert_all_used(load_weights(model, path), model)
    with np.load(DATA / "legacy_outputs.npz") as arrays:
        output = model(arrays["plain_input"])
        np.testing.assert_allclose(output, arrays["plain_output"], rtol=1e-5, atol=1e-5)  # as above


def test_automatic_tensors_fill_layers_with_names_of_their_own():
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="block1_conv1")(inputs)
    for name in ("up1", "up2", "up3"):
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=name)(x)
    model = keras.Model(inputs, layers.Conv2D(5, 1, name="logits")(x))
    report = load_weights(model, DATA / "legacy_plain_full.h5")
    assert ("conv2d_2/kernel:0", "up2/kernel", (3, 3, 4, 4)) in report.matched
    with np.load(DATA / "legacy_outputs.npz") as arrays:
        np.testing.assert_allclose(
            model(arrays["plain_input"]), arrays["plain_output"], rtol=1e-5, atol=1e-5
        )  # as above


@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed")
@pytest.mark.parametrize("name", list(legacy.MODELS))
def test_keras2_itself(tmp_path, name):
    source = legacy.build_legacy(name)
    source.save_weights(tmp_path / "x.h5")
    model = build(name)
    assert_all_used(load_weights(model, tmp_path / "x.h5"), model)
    image = np.random.default_rng(3).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    expected = source(image, training=False).numpy()
    np.testing.assert_allclose(model(image, training=False), expected, rtol=1e-5, atol=1e-5)  # as above


def test_keras2_one_tensor_too_few(tmp_path):
    path = legacy_copy(tmp_path, "rebuilt")
    with h5py.File(path, "r+") as file:
        group = file["conv2d_4"]
        del group["conv2d_4/bias:0"]
        group.attrs["weight_names"] = ["conv2d_4/kernel:0"]
    assert_refused_unchanged(build("rebuilt", numbered()), path, "nothing in the file fills 'conv2d_2/bias'")


def test_keras2_listed_tensor_is_gone(tmp_path):
    path = legacy_copy(tmp_path, "plain", "full")
    with h5py.File(path, "r+") as file:
        del file["model_weights/conv2d_2/conv2d_2/bias:0"]
    assert_refused_unchanged(build("plain"), path, "'conv2d_2/bias:0'", "does not hold it")


def test_keras2_batch_normalization_without_beta_is_not_filled_by_order(tmp_path):
    path = legacy_copy(tmp_path, "separable")  # its normalization has scale=False: beta, mean, variance
    inputs = layers.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="dw")(inputs)
    x = layers.BatchNormalization(center=False)(x)  # gamma, mean, variance: the same count and shapes
    x = layers.PReLU(shared_axes=(1, 2))(layers.SeparableConv2D(4, 3, padding="same")(x))
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    model = keras.Model(inputs, layers.Conv2DTranspose(5, 2, strides=2)(x))
    assert_refused_unchanged(model, path, "gamma'", "'batch_normalization_1/beta:0'")


@pytest.mark.parametrize("listed", [True, False])
def test_keras2_one_tensor_too_many(tmp_path, listed):
    path = legacy_copy(tmp_path, "plain")
    with h5py.File(path, "r+") as file:
        group = file["conv2d_3"]
        group["conv2d_3/extra:0"] = np.zeros((4,), np.float32)
        if listed:
            group.attrs["weight_names"] = [*group.attrs["weight_names"], "conv2d_3/extra:0"]
    assert_refused_unchanged(build("plain"), path, "nothing in the model takes", "conv2d_3/extra:0'")


def test_keras2_one_layer_too_few_or_too_many(tmp_path):
    path = legacy_copy(tmp_path, "plain")
    with h5py.File(path, "r+") as file:
        names = list(file.attrs["layer_names"])
        del file["conv2d_4"]
        file.attrs["layer_names"] = names[:-1]
    assert_refused_unchanged(build("plain", numbered()), path, "nothing in the file fills 'conv2d_4/kernel'")
    with h5py.File(path, "r+") as file:
        for name in ("conv2d_4", "conv2d_5"):
            file[f"{name}/kernel:0"] = np.zeros((1, 1, 4, 5), np.float32)
            file[f"{name}/bias:0"] = np.zeros((5,), np.float32)
            file[name].attrs["weight_names"] = ["kernel:0", "bias:0"]
        file.attrs["layer_names"] = [*names[:-1], "conv2d_4", "conv2d_5"]
    assert_refused_unchanged(build("plain", numbered()), path, "nothing in the model takes 'conv2d_5/kernel:0'")


def test_keras2_other_shape(tmp_path):
    path = legacy_copy(tmp_path, "nested")
    with h5py.File(path, "r+") as file:
        del file["encoder/bn/gamma:0"]
        file["encoder/bn/gamma:0"] = np.zeros((7,), np.float32)
    assert_refused_unchanged(build("nested"), path, "'encoder/bn/gamma:0' is (7,)", "'encoder/bn/gamma' needs (4,)")


def test_message_names_three_and_counts_the_rest(tmp_path):
    path = legacy_copy(tmp_path, "rebuilt")
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [n for n in file.attrs["layer_names"] if n != "stem.bn"]
    text = assert_refused_unchanged(build("rebuilt"), path, "and 1 more", "`allow_missing=")
    assert text.count("stem.bn/") == 6  # three variables and three tensors of four each


def test_links_to_other_files_are_not_followed(tmp_path):
    path = legacy_copy(tmp_path, "plain")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.zeros((4,), np.float32)
    with h5py.File(path, "r+") as file:
        del file["conv2d_2/conv2d_2/bias:0"]
        file["conv2d_2/conv2d_2/bias:0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
    assert_refused_unchanged(build("plain"), path, "does not hold it")


# --- files that Keras 3 writes ---


def rich(num_classes=5, seed=0):
    """A model with everything that Keras 3 addresses in its own way: nested, layers in layers, state of no weight."""
    keras.utils.set_random_seed(seed)
    inner = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inner)
    x = layers.Conv2D(4, 3, padding="same")(x)
    encoder = keras.Model(inner, layers.BatchNormalization()(x), name="encoder")
    inputs = layers.Input((8, 8, 3))
    x = layers.Dropout(0.2)(encoder(layers.Normalization()(inputs)))
    x = layers.SeparableConv2D(4, 3, padding="same", name="decoder_a")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="decoder_b")(x)
    y = layers.Reshape((64, 4))(x)
    x = layers.Reshape((8, 8, 4))(layers.MultiHeadAttention(2, 2)(y, y))
    x = layers.TimeDistributed(layers.Dense(4))(x)
    for _ in range(11):  # two digits: as text, vars and layers would sort 10 before 2
        x = layers.Conv2D(4, 1)(x)
    return keras.Model(inputs, layers.Conv2D(num_classes, 1, name="logits")(x))


def randomized(model):
    rng = np.random.default_rng(5)
    model.set_weights([rng.uniform(0.2, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


def save_keras3(model, folder, form):
    if form == "checkpoint":
        model.compile("adam", "mse", metrics=["mae"])
        model.optimizer.build(model.trainable_variables)
        form = ".keras"
    path = folder / f"x{form}"
    (model.save_weights if form == ".weights.h5" else model.save)(path)
    return path


def edit_entry(path, edit):
    """Apply ``edit`` to the HDF5 file, which lies inside the archive of a .keras file."""
    if path.suffix != ".keras":
        with h5py.File(path, "r+") as file:
            edit(file)
        return
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO(entries["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        edit(file)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**entries, "model.weights.h5": buffer.getvalue()}.items():
            archive.writestr(name, data)


def datasets(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def drop_names(file):
    """As the first versions of Keras 3 wrote it."""
    file.visititems(lambda _, item: item.attrs.pop("name", None) and None)


def to_half(file):
    for name in datasets(file):
        if file[name].dtype == np.float32:
            values = file[name][()].astype(np.float16)
            del file[name]
            file[name] = values


@pytest.mark.parametrize("form", [".keras", ".weights.h5", ".h5", "checkpoint"])
def test_keras3_round_trip(tmp_path, form):
    source = randomized(rich())
    path = save_keras3(source, tmp_path, form)
    model = rich(seed=2)
    report = load_weights(model, path)
    assert_all_used(report, model)
    for a, b in zip(source.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # float32 to float32: nothing is rounded
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(source(image, training=False), model(image, training=False))


@pytest.mark.parametrize("form", [".keras", ".weights.h5"])
def test_keras3_agrees_with_the_loader_of_keras(tmp_path, form):
    path = save_keras3(randomized(rich()), tmp_path, form)
    ours, theirs = rich(seed=2), rich(seed=3)
    load_weights(ours, path)
    theirs.load_weights(path)
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def old_container(file):
    """The form of TensorFlow 2.12: another word for the same folder."""
    drop_names(file)
    file.move("layers/functional/layers", "layers/functional/_layer_checkpoint_dependencies")
    file.move("layers", "_layer_checkpoint_dependencies")


@pytest.mark.parametrize("edit", [drop_names, old_container])
def test_keras3_forms_of_older_versions(tmp_path, edit):
    source = randomized(rich())
    path = save_keras3(source, tmp_path, ".weights.h5")
    edit_entry(path, edit)
    model = rich(seed=2)
    assert_all_used(load_weights(model, path), model)
    for a, b in zip(source.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keras3_format_written_by_keras2():
    model = build("separable")
    assert_all_used(load_weights(model, DATA / "legacy_separable.weights.h5"), model)
    with np.load(DATA / "legacy_outputs.npz") as arrays:
        output = model(arrays["separable_input"], training=False)
        np.testing.assert_allclose(output, arrays["separable_output"], rtol=1e-5, atol=1e-5)  # as above


@pytest.mark.parametrize("form", [".keras", ".weights.h5"])
def test_half_precision_loads_into_float32(tmp_path, form):
    source = randomized(rich())
    path = save_keras3(source, tmp_path, form)
    edit_entry(path, to_half)
    model = rich(seed=2)
    assert_all_used(load_weights(model, path), model)
    for variable, expected in zip(model.weights, source.get_weights(), strict=True):
        value = keras.ops.convert_to_numpy(variable)
        assert value.dtype == expected.dtype
        exact = expected.astype(np.float16).astype(expected.dtype) if expected.dtype == np.float32 else expected
        np.testing.assert_array_equal(value, exact)


def pair_of(first, second):
    inputs = layers.Input((4, 4, 3))
    x = layers.Conv2D(3, 1, name=first)(inputs)
    return keras.Model(inputs, layers.Conv2D(3, 1, name=second)(x))


def test_keras3_names_decide_over_positions(tmp_path):
    source = randomized(pair_of("a", "b"))
    source.save_weights(tmp_path / "x.weights.h5")
    model = pair_of("b", "a")
    load_weights(model, tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(model.get_layer("a").kernel, source.get_layer("a").kernel)


def test_keras3_position_decides_where_no_name_agrees(tmp_path):
    source = randomized(pair_of("a", "b"))
    source.save_weights(tmp_path / "x.weights.h5")
    model = pair_of("c", "d")
    load_weights(model, tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(model.get_layer("d").kernel, source.get_layer("b").kernel)


def test_keras3_names_that_agree_in_part_are_refused(tmp_path):
    randomized(pair_of("conv0", "conv1")).save_weights(tmp_path / "x.weights.h5")
    # Counted from 1 instead of 0: by name, conv1 would get what belongs to conv2.
    assert_refused_unchanged(
        pair_of("conv1", "conv2"), tmp_path / "x.weights.h5", "fills 'conv2/kernel'", "takes 'conv0/vars/0'"
    )


@pytest.fixture(scope="module")
def rich_target():
    """For tests that must leave it unchanged."""
    return rich(seed=2)


@pytest.fixture(scope="module")
def rich_file(tmp_path_factory):
    return save_keras3(rich(), tmp_path_factory.mktemp("rich"), ".weights.h5")


@pytest.mark.parametrize(
    ("edit", "texts"),
    [
        (lambda f: f.pop("layers/separable_conv2d/vars/2"), ["fills 'decoder_a/bias'"]),
        (lambda f: f.pop("layers/functional/layers/conv2d/vars/1"), ["fills 'encoder/conv/bias'"]),
        (lambda f: f.pop("layers/multi_head_attention/key_dense/vars/0"), ["/key/kernel'"]),
        (lambda f: f.pop("layers/depthwise_conv2d"), ["fills 'decoder_b/kernel', 'decoder_b/bias'."]),
        (
            lambda f: f.create_dataset("layers/conv2d/vars/2", data=np.zeros((4,), "f")),
            ["takes 'conv2d_", "/vars/2'."],
        ),
        (lambda f: f.create_dataset("layers/dense/vars/0", data=np.zeros((4,), "f")), ["takes 'layers/dense/vars/0'"]),
        (lambda f: f.create_dataset("other/vars/0", data=np.zeros((4,), "f")), ["takes 'other/vars/0'"]),
        (
            lambda f: (
                f.pop("layers/separable_conv2d/vars/2"),
                f.create_dataset("layers/separable_conv2d/vars/2", data=np.zeros((9,), "f")),
            ),
            ["'decoder_a/vars/2' is (9,) but 'decoder_a/bias' needs (4,)"],
        ),
        (
            lambda f: (
                f.pop("layers/normalization/vars/0"),
                f.create_dataset("layers/normalization/vars/0", data=np.zeros((3,), "i8")),
            ),
            ["/vars/0' as int64", "/mean' of the model is float32"],
        ),
    ],
)
def test_keras3_incomplete_is_refused(tmp_path, rich_file, rich_target, edit, texts):
    path = Path(shutil.copy(rich_file, tmp_path))
    edit_entry(path, edit)
    assert_refused_unchanged(rich_target, path, *texts)


# --- what the user allows ---


@pytest.mark.parametrize("form", [".keras", ".weights.h5", ".h5"])
def test_other_number_of_classes_is_said_plainly(tmp_path, form):
    path = save_keras3(rich(num_classes=21), tmp_path, form)
    text = assert_refused_unchanged(rich(num_classes=11), path)
    assert text == (f"'{path}' has 21 classes, the model has 11; give `num_classes=21` or `allow_missing=('head',)`.")


def test_other_number_of_classes_in_a_normalized_head(tmp_path):
    def build_head(classes):
        inputs = layers.Input((4, 4, 3))
        x = layers.Conv2D(3, 1, name="a")(inputs)
        return keras.Model(inputs, layers.BatchNormalization()(layers.Conv2DTranspose(classes, 1)(x)))

    path = tmp_path / "x.weights.h5"
    build_head(6).save_weights(path)
    assert_refused_unchanged(build_head(4), path, "has 6 classes, the model has 4")
    report = load_weights(build_head(4), path, allow_missing=["head"])
    assert [variable for _, variable, _ in report.matched] == ["a/kernel", "a/bias"]
    assert len(report.missing) == len(report.left_over) == 6


@pytest.mark.parametrize("form", [".weights.h5", ".h5"])
def test_head_of_another_shape_stays_random(tmp_path, form):
    source = randomized(rich(num_classes=21))
    path = save_keras3(source, tmp_path, form)
    model = rich(num_classes=11, seed=2)
    head = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)
    report = load_weights(model, path, allow_missing=["head"])
    assert report.missing == ("logits/kernel", "logits/bias")
    assert len(report.left_over) == 2
    assert len(report.matched) == len(model.weights) - 2
    np.testing.assert_array_equal(model.get_layer("logits").kernel, head)
    np.testing.assert_array_equal(model.get_layer("decoder_a").bias, source.get_layer("decoder_a").bias)


def test_automatic_head_of_another_shape_stays_random():
    model = legacy_head = build("plain", numbered())
    x = layers.Conv2D(9, 1, name="conv2d_4")(legacy_head.layers[-2].output)
    model = keras.Model(legacy_head.input, x)
    assert_refused_unchanged(model, DATA / "legacy_plain_weights.h5", "has 5 classes, the model has 9")
    report = load_weights(model, DATA / "legacy_plain_weights.h5", allow_missing="head")
    assert report.left_over == ("conv2d_4/kernel:0", "conv2d_4/bias:0")
    assert report.missing == ("conv2d_4/kernel", "conv2d_4/bias")


def encoder_layers(inputs):
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(inputs)
    return layers.BatchNormalization(name="conv1_bn")(layers.Conv2D(4, 3, padding="same", name="conv2")(x))


def encoder_and_classifier():
    inputs = layers.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(encoder_layers(inputs))
    return randomized(keras.Model(inputs, layers.Dense(10, name="fc1000")(x)))


def encoder_and_decoder(*names):
    inputs = layers.Input((8, 8, 3))
    x = encoder_layers(inputs)
    for name in names:
        x = layers.Conv2D(4, 3, padding="same", name=name)(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("form", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("allow", [["decoder*", "head", "fc1000"], ["decoder", "logits", "fc*"]])
def test_encoder_alone(tmp_path, form, allow):
    source = encoder_and_classifier()
    path = save_keras3(source, tmp_path, form)
    model = encoder_and_decoder("decoder1", "decoder2", "logits")
    assert_refused_unchanged(model, path, "fills 'decoder1/kernel'", "and 3 more")
    assert_refused_unchanged(model, path, "nothing in the model takes", allow_missing=allow[:2])
    assert_refused_unchanged(model, path, "fills 'logits/kernel'", allow_missing=[allow[0], allow[2]])
    report = load_weights(model, path, allow_missing=allow)
    assert len(report.matched) == 8
    assert len(report.missing) == 6
    assert len(report.left_over) == 2
    np.testing.assert_array_equal(model.get_layer("conv2").kernel, source.get_layer("conv2").kernel)


def test_encoder_alone_without_names(tmp_path):
    source = encoder_and_classifier()
    path = save_keras3(source, tmp_path, ".weights.h5")
    edit_entry(path, drop_names)
    model = encoder_and_decoder("decoder1", "decoder2", "logits")
    load_weights(model, path, allow_missing=["decoder", "head", "layers/dense"])
    np.testing.assert_array_equal(model.get_layer("conv2").kernel, source.get_layer("conv2").kernel)


def test_a_layer_that_may_stay_is_never_filled_by_halves(tmp_path):
    path = save_keras3(encoder_and_classifier(), tmp_path, ".weights.h5")
    edit_entry(path, lambda f: f.pop("layers/batch_normalization/vars/0"))  # gamma: the others would move up by one
    model = encoder_and_decoder()
    report = load_weights(model, path, allow_missing=["conv1_bn", "fc1000"])
    assert [v for v in report.missing if v.startswith("conv1_bn/")] == list(report.missing)
    assert len(report.missing) == 4
    np.testing.assert_array_equal(model.get_layer("conv1_bn").gamma, np.ones(4))


def test_patterns_do_not_stretch_over_numbers(tmp_path):
    path = save_keras3(encoder_and_classifier(), tmp_path, ".h5")
    model = encoder_and_decoder("decoder1", "decoder10")
    assert_refused_unchanged(model, path, "fills 'decoder10/kernel'", allow_missing=["decoder1", "fc1000"])


def test_automatic_layers_of_another_count_are_refused_where_it_is_not_clear_which_may_stay():
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="block1_conv1")(inputs)
    for number in range(1, 6):
        x = layers.Conv2D(4, 3, padding="same", name=f"conv2d_{number}")(x)
    model = keras.Model(inputs, layers.Conv2D(5, 1, name="conv2d_6")(x))
    path = DATA / "legacy_plain_weights.h5"  # has three of these five, and the last
    may_stay = ["conv2d_1", "conv2d_2", "conv2d_3"]
    assert_refused_unchanged(model, path, "nothing in the file fills 'conv2d_", allow_missing=may_stay)
    report = load_weights(model, path, allow_missing=may_stay[1:])
    taken = {variable: tensor for tensor, variable, _ in report.matched}
    assert taken["conv2d_1/kernel"] == "conv2d_1/kernel:0"
    assert taken["conv2d_4/kernel"] == "conv2d_2/kernel:0"
    assert report.missing == ("conv2d_2/kernel", "conv2d_2/bias", "conv2d_3/kernel", "conv2d_3/bias")


def test_a_file_that_fills_nothing_is_refused():
    text = assert_refused_unchanged(
        encoder_and_decoder("logits"), DATA / "legacy_plain_weights.h5", "fills nothing", allow_missing=["*"]
    )
    assert "allow less" in text


def test_table_lists_everything():
    model = build("plain", numbered())
    table = load_weights(model, DATA / "legacy_plain_weights.h5").table().splitlines()
    assert len(table) == 1 + len(model.weights)
    assert table[1].split() == ["block1_conv1/kernel:0", "block1_conv1/kernel", "3x3x3x4"]


# --- files that are none ---


@pytest.mark.parametrize("name", ["legacy_plain_weights.h5", "legacy_rebuilt_full.h5"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_hdf5(tmp_path, name, share):
    data = (DATA / name).read_bytes()
    (tmp_path / "x.h5").write_bytes(data[: int(len(data) * share)])
    assert_refused_unchanged(build("plain"), tmp_path / "x.h5", "truncated")


def test_truncated_archive(tmp_path):
    path = save_keras3(pair_of("a", "b"), tmp_path, ".keras")
    path.write_bytes(path.read_bytes()[:-100])
    assert_refused_unchanged(pair_of("a", "b"), path, "neither HDF5 nor a whole .keras archive")


def test_damaged_archive(tmp_path):
    path = save_keras3(pair_of("a", "b"), tmp_path, ".keras")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x89HDF") + 200
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert_refused_unchanged(pair_of("a", "b"), path, "cannot be read", "CRC")


def test_other_files(tmp_path):
    model = pair_of("a", "b")
    assert_refused_unchanged(model, tmp_path / "none.h5", "does not exist", "accepted: .keras")
    (tmp_path / "x.h5").write_bytes(b"")
    assert_refused_unchanged(model, tmp_path / "x.h5", "neither HDF5")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("data.pkl", b"")
    assert_refused_unchanged(model, tmp_path / "x.zip", "without 'model.weights.h5'")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["table"] = np.zeros(3)
    assert_refused_unchanged(model, tmp_path / "y.h5", "neither Keras 2 nor Keras 3")


def test_tensors_that_are_no_tensors(tmp_path):
    def text(file):
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = "os.system"

    def bomb(file):
        del file["layers/conv2d/vars/0"]
        file.create_dataset("layers/conv2d/vars/0", (2**20, 2**20), "f4", chunks=(2**10, 2**10), compression="gzip")

    for edit, message in ((text, "not numbers"), (bomb, "claims")):
        path = save_keras3(pair_of("a", "b"), tmp_path, ".weights.h5")
        edit_entry(path, edit)
        assert_refused_unchanged(pair_of("a", "b"), path, "'layers/conv2d/vars/0'", message)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_variable_that_is_in_the_file_twice_is_filled_once(tmp_path: Path, suffix: str) -> None:
    def build() -> keras.Model:
        inputs = keras.Input((8, 8, 3))
        wrapped = keras.layers.SpectralNormalization(keras.layers.Conv2D(4, 3, name="conv"), name="norm")
        return keras.Model(inputs, wrapped(inputs))

    source, model = build(), build()
    path = tmp_path / f"x{suffix}"
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    load_weights(model, path)
    for got, wanted in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)
    source.save_weights(tmp_path / "y.weights.h5")
    with h5py.File(tmp_path / "y.weights.h5", "r+") as file:
        file["layers/spectral_normalization/vars/0"][...] += 1  # two kernels for one variable
    with pytest.raises(InputError, match="nothing in the model takes"):
        load_weights(build(), tmp_path / "y.weights.h5")


def test_a_file_of_very_many_tensors_is_refused_before_they_are_read(tmp_path, monkeypatch):
    """100,000 took 34 s."""
    monkeypatch.setattr(hdf5, "_MAX_ITEMS", 20)
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for number in range(20):
            file[f"layers/dense/vars/{number}"] = np.zeros(2, np.float32)
    with pytest.raises(InputError, match=r"m\.weights\.h5' cannot be used as weights: it has more than 20 tensors and"):
        hdf5.read_weights(tmp_path / "m.weights.h5")
    monkeypatch.setattr(hdf5, "_MAX_ITEMS", 23)  # with the three groups
    assert len(hdf5.read_weights(tmp_path / "m.weights.h5")[0].tensors) == 20
