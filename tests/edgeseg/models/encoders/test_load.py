"""``load``, ``published`` and ``imagenet``: files as Keras 3 and Keras 2 write them."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.models import ZOO, create, load_encoder
from edgeseg.models.encoders.load import create_with_encoder
from edgeseg.models.encoders.published import CAFFE
from edgeseg.models.zoo import hrnet

SIZE = (96, 96)  # the smallest that keras.applications builds an Xception for is 71
IMAGE = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3)).astype(np.float32)

#: Model of the zoo, its options, a layer of its encoder, and the layer of keras.applications that computes the same.
CASES: dict[str, list[tuple[str, dict[str, Any], str, str]]] = {
    "MobileNet": [("mobilenet_unet", {}, "conv_pw_11_relu", "conv_pw_11_relu")],
    "VGG16": [
        ("unet_vgg16", {}, "block5_conv3", "block5_conv3"),
        ("segnet", {}, "batch_normalization_13", "block5_conv3"),  # before its ReLU
    ],
    "ResNet50": [
        ("unet_resnet50", {}, "bn5c_branch2c", "conv5_block3_3_bn"),
        ("resnet50_segnet", {"pool_padding": "zeros"}, "bn4f_branch2c", "conv4_block6_3_bn"),
        ("deeplabv3plus_resnet50", {"filters": 8}, "conv4_block6_3_bn", "conv4_block6_3_bn"),
    ],
    "Xception": [("deeplabv3plus_xception", {}, "block13_sepconv2_bn", "block13_sepconv2_bn")],
    # Beyond 1/8 the encoder of DeepLab has dilations where MobileNetV2 has strides.
    "MobileNetV2": [("deeplabv3plus_mobilenetv2", {}, "expanded_conv_12_add", "block_12_add")],
}
applications = pytest.mark.parametrize(
    "application",
    [pytest.param(name, marks=pytest.mark.slow if name != "MobileNet" else []) for name in CASES],
)


def give_values(model: Any) -> None:
    """Give every tensor values of its own, batch norms as after training, so that no exchange of two goes unseen."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        path = getattr(weight, "path", None) or weight.name
        low, high = (0.5, 1.5) if "variance" in path or "gamma" in path else (-0.2, 0.2)
        if len(weight.shape) == 1:
            weight.assign(random.uniform(low, high, weight.shape))


def features(model: Any, layer: str, image: np.ndarray) -> np.ndarray:
    """The values of a layer."""
    return np.asarray(keras.Model(model.inputs[0], model.get_layer(layer).output)(image))


def size_of(application: str) -> tuple[int, int]:
    """The size that keras.applications is given: the zoo puts a border of two pixels around its Xception."""
    return (SIZE[0] + 4, SIZE[1] + 4) if application == "Xception" else SIZE


@applications
def test_an_encoder_of_keras_3_computes_what_it_did(application: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    size = size_of(application)
    theirs = getattr(keras.applications, application)(weights=None, include_top=False, input_shape=(*size, 3))
    give_values(theirs)
    path = tmp_path / "encoder.weights.h5"
    theirs.save_weights(path)
    caffe = application in ("VGG16", "ResNet50")
    for name, options, own_layer, their_layer in CASES[application]:
        spec = ZOO[name].default_spec(3, SIZE)
        if caffe:  # in RGB, so that only the channels of the kernel turn: a border of zeros is the same gray in both
            spec = spec.replace(mean=CAFFE.mean[::-1], std=CAFFE.std)
        model, report = create_with_encoder(name, path, num_classes=3, input_size=SIZE, options=options, spec=spec)
        assert report.folded == caffe
        image = ((IMAGE - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
        own = features(model, own_layer, image)
        border = (size[0] - SIZE[0]) // 2
        image = np.pad(image[..., ::-1] if caffe else image, [(0, 0), (border,) * 2, (border,) * 2, (0, 0)])
        wanted = features(theirs, their_layer, image)
        if name == "segnet":
            own = np.maximum(own, 0)
        # Up to 50 layers of float32 in another order of sums, and batch norms whose epsilon was made up for.
        np.testing.assert_allclose(own, wanted, atol=1e-4 * np.abs(wanted).max())
    path.unlink()


@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="tf-keras (Keras 2 itself) is not installed")
@applications
def test_an_encoder_of_keras_2_is_taken_tensor_by_tensor(application: str, tmp_path: Path) -> None:
    """Weights as the tutorials load them, ``..._notop.h5``: every tensor is where the graph has the same layer."""
    import tf_keras

    theirs = getattr(tf_keras.applications, application)(
        weights=None, include_top=False, input_shape=(*size_of(application), 3)
    )
    give_values(theirs)
    path = tmp_path / "encoder_notop.h5"
    theirs.save_weights(path)
    name, options, _, _ = CASES[application][0]
    model, report = create_with_encoder(name, path, num_classes=3, input_size=SIZE, options=options)
    with h5py.File(path) as file:
        held: list[str] = []
        file.visititems(lambda key, item: held.append(key) if isinstance(item, h5py.Dataset) else None)
        values = {key.split("/", 1)[1]: np.asarray(file[key]) for key in held}
    used = {tensor for tensor, _, _ in report.matched}
    beside = {key for key in values if key.split("/")[0] in report.left_over}
    assert used | beside == set(values) and not used & beside
    changed = 0
    for tensor, variable, _ in report.matched:
        layer, key = variable.rsplit("/", 1)
        own = next(np.asarray(weight) for weight in model.get_layer(layer).weights if weight.name == key)
        changed += not np.array_equal(own, values[tensor])
    # Only the first convolution takes other pixels; ResNet-50's batch norms have gamma for another epsilon.
    assert changed == {"VGG16": 2, "ResNet50": 2 + 53}.get(application, 0)
    path.unlink()


@pytest.mark.slow
def test_keras_2s_own_resnet_fills_a_trunk_named_as_in_keras_applications(tmp_path: Path) -> None:
    """And the gammas make up for the epsilon that Keras 2 had."""
    build = {"num_classes": 2, "input_size": (32, 32)}
    theirs = create("unet_resnet50", **build)
    give_values(theirs)
    theirs.save_weights(tmp_path / "resnet50_notop.weights.h5")
    model, report = create_with_encoder(
        "deeplabv3plus_resnet50", tmp_path / "resnet50_notop.weights.h5", options={"filters": 8}, **build
    )
    assert len(report.matched) == 318 and report.folded
    norm, other = model.get_layer("conv3_block2_1_bn"), theirs.get_layer("bn3b_branch2a")
    values = [np.asarray(values, np.float64) for values in (norm.gamma, norm.moving_variance, other.gamma)]
    factors = [gamma / np.sqrt(values[1] + e) for gamma, e in ((values[0], norm.epsilon), (values[2], other.epsilon))]
    assert norm.epsilon != other.epsilon
    np.testing.assert_allclose(*factors, rtol=1e-6)


@pytest.mark.slow
def test_hrnets_own_trunk_is_taken_from_a_model_with_other_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = functools.partial(hrnet.hrnetv2, width=4, modules=(1, 1), blocks=1, name="hrnetv2_w18")
    monkeypatch.setattr(hrnet, "hrnetv2_w18", small)
    source = create("hrnetv2_w18", num_classes=7, input_size=(32, 32))
    give_values(source)
    source.save_weights(tmp_path / "backbone.weights.h5")
    model = create("hrnetv2_w18", num_classes=3, input_size=(32, 32))
    report = load_encoder(model, tmp_path / "backbone.weights.h5")
    assert set(report.left_over) == {"conv2d_1", "batch_normalization_1", "conv2d_2"} and not report.folded
    for own, theirs in zip(model.layers, source.layers, strict=True):  # one architecture: a layer beside itself
        same = all(np.array_equal(a, b) for a, b in zip(own.get_weights(), theirs.get_weights(), strict=True))
        assert same == (own.name not in report.left_over or not own.weights), own.name


def test_the_encoder_of_an_earlier_training_keeps_the_models_pixels(tmp_path: Path) -> None:
    source = create("unet_vgg16", num_classes=2, input_size=(32, 32))
    source.save(tmp_path / "trained.keras")
    model = create("unet_vgg16", num_classes=5, input_size=(32, 32))
    assert not load_encoder(model, tmp_path / "trained.keras").folded
    own, other = (m.get_layer("block1_conv1").kernel for m in (model, source))
    np.testing.assert_array_equal(own, other)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole MobileNet, with its top."""
    path = tmp_path_factory.mktemp("encoders") / "mobilenet.keras"
    keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), classes=4).save(path)
    return path


def test_a_wrong_file_is_refused_in_one_line_and_changes_nothing(mobilenet: Path, tmp_path: Path) -> None:
    model = create("unet_vgg16", num_classes=2, input_size=(32, 32))
    before = model.get_weights()
    with pytest.raises(InputError) as refused:
        load_encoder(model, mobilenet)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400 + len(str(mobilenet))
    assert "fills block1_conv1, block1_conv2, block2_conv1 and 10 more" in str(refused.value)
    assert "Accepted: VGG-16 (vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5)" in str(refused.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

    narrow = keras.applications.MobileNet(weights=None, alpha=0.25, include_top=False, input_shape=(32, 32, 3))
    narrow.save_weights(tmp_path / "narrow.weights.h5")
    with pytest.raises(InputError, match=r"'conv1/.*' is \(3, 3, 3, 8\) but 'conv1/kernel' needs \(3, 3, 3, 32\)"):
        create_with_encoder(
            "mobilenet_unet", tmp_path / "narrow.weights.h5", num_classes=2, input_size=(32, 32), options={}
        )
    with pytest.raises(InputError, match="no architecture of the zoo"):
        load_encoder(narrow, mobilenet)


def test_what_is_not_used_of_a_file_is_counted_in_one_line(mobilenet: Path) -> None:
    _, report = create_with_encoder("mobilenet_unet", mobilenet, num_classes=2, input_size=(32, 32), options={})
    line = report.line()
    assert line.startswith(f"encoder: 115 tensors in 46 layers from '{mobilenet}'; not used of it: ")
    assert line.endswith("and 6 more") and "\n" not in line


@pytest.mark.slow
def test_an_encoder_that_needs_an_option_says_so_or_brings_it(tmp_path: Path) -> None:
    narrow = create("deeplabv3plus_mobilenetv2", num_classes=2, input_size=(32, 32), alpha=0.25)
    narrow.save_weights(tmp_path / "narrow.weights.h5")
    build = {"num_classes": 3, "input_size": (32, 32)}
    model, _ = create_with_encoder(
        "deeplabv3plus_mobilenetv2", tmp_path / "narrow.weights.h5", options={"filters": 8}, **build
    )
    assert model.get_layer("expanded_conv_project").kernel.shape[-1] == 8
    assert dict(model._zoo_options) == {"alpha": 0.25, "filters": 8}
    with pytest.raises(InputError, match=r"which needs alpha=0.25, got alpha=0.5"):
        create_with_encoder(
            "deeplabv3plus_mobilenetv2", tmp_path / "narrow.weights.h5", options={"alpha": 0.5}, **build
        )
    with pytest.raises(InputError, match=r"create\('deeplabv3plus_mobilenetv2', ..., alpha=0.25\)"):
        load_encoder(create("deeplabv3plus_mobilenetv2", **build), tmp_path / "narrow.weights.h5")


def test_imagenet_is_downloaded_through_keras_applications(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = keras.applications.MobileNet
    asked = []

    def download(*, weights: str, **arguments: Any) -> keras.Model:
        asked.append((weights, arguments))
        print("Downloading data")
        keras.utils.set_random_seed(3)
        return own(weights=None, **arguments)

    monkeypatch.setattr(keras.applications, "MobileNet", download)
    model = create("mobilenet_unet", num_classes=2, input_size=(32, 32))
    report = load_encoder(model, "imagenet")
    assert asked == [("imagenet", {"include_top": False, "input_shape": (224, 224, 3)})]
    keras.utils.set_random_seed(3)
    theirs = own(weights=None, include_top=False, input_shape=(224, 224, 3))
    last = "conv_pw_11"
    np.testing.assert_array_equal(model.get_layer(last).kernel, theirs.get_layer(last).kernel)
    assert report.source == "imagenet" and len(report.matched) == 115
    assert capsys.readouterr().out == ""


def _no_network(**_: Any) -> keras.Model:
    raise Exception("URL fetch failure on https://example.org/vgg16.h5: None -- [Errno -3] No name\nsecond line")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("unet_vgg16", {}, r"URL fetch failure .* No name\. Get vgg16_weights_.*_notop\.h5 on another machine"),
        ("hrnetv2_w18", {}, r"no download of HRNetV2 for ImageNet; get the hrnetv2 weights of hrnet-keras"),
        ("deeplabv3plus_xception", {}, r"no download of the modified Xception .*; get deeplabv3_xception_tf"),
        ("unet_mini", {}, r"nobody has published weights of unet_mini's encoder"),
    ],
)
def test_imagenet_says_which_file_to_get_where_it_cannot(
    name: str, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.applications, "VGG16", _no_network)
    with pytest.raises(InputError, match=said):
        create_with_encoder(name, "imagenet", num_classes=2, input_size=(32, 32), options=options)


def test_weights_of_a_class_of_ones_own_are_read_by_the_names_of_its_layers(tmp_path: Path) -> None:
    """As a holistically-nested edge detector keeps its VGG-16: blocks are attributes of a subclassed model."""
    vgg = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    with h5py.File(tmp_path / "edges.weights.h5", "w") as file:
        for layer in vgg.layers:
            for index, weight in enumerate(layer.weights):
                block, _ = layer.name.split("_")
                variables = file.require_group(f"{block}/layers/{layer.name[7:]}/vars")
                variables.attrs["name"] = layer.name
                variables[str(index)] = np.asarray(weight)
        file["side/vars/0"] = np.zeros((1, 1, 64, 1), np.float32)
    _, report = create_with_encoder(
        "unet_vgg16", tmp_path / "edges.weights.h5", num_classes=2, input_size=(32, 32), options={}
    )
    assert len(report.matched) == 26 and report.left_over == ("side",)
    assert [link[1] for link in report.chain] == [None] * 13
