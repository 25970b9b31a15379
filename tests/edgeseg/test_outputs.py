"""``edgeseg.outputs.reading``, ``edgeseg.outputs.endings``: outputs of other makers' models: channels first or last,
masks of one channel, class maps of any type, and several.

The models are of one or two ops on the image itself, so that numpy says what is right.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeseg.choices import Layout, OutputKind
from edgeseg.errors import InputError
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.outputs import ReadOutput, read_output
from edgeseg.runtime import RuntimeOptions, TensorInfo
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec

SIZE = (8, 12)
HALF = (127.5, 127.5, 127.5)
KERNEL = np.array([[1, -1, 0.5], [-1, 0.5, 1], [0.5, 1, -1], [-0.5, -0.5, 0.25]], np.float32)  # (classes, channels)
TWO = InputDescription(class_names=("rest", "thing"), mean=HALF, std=HALF)
FOUR = InputDescription(class_names=("a", "b", "c", "d"), mean=HALF, std=HALF)


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def scores(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    return ((photo - 127.5) / 127.5) @ KERNEL.T  # type: ignore[no-any-return]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an ONNX model: a convolution of single pixels by the first rows of KERNEL, then nodes."""

    def written(
        nodes: Sequence[tuple[str, dict[str, Any]]],
        shape: Sequence[int | str],
        *,
        classes: int = 4,
        layout: Layout = "nchw",
        dtype: int = TensorProto.FLOAT,
        size: Sequence[int | str] = SIZE,
    ) -> Path:
        image, made = (
            ([1, 3, *size], []) if layout == "nchw" else ([1, *size, 3], [("Transpose", {"perm": [0, 3, 1, 2]})])
        )
        made += [("Conv", {}), *nodes]
        chain = ["image", *(f"v{index}" for index in range(len(made) - 1)), "out"]
        graph = helper.make_graph(
            [
                helper.make_node(op, [before, *(["kernel"] if op == "Conv" else [])], [after], **attributes)
                for (op, attributes), before, after in zip(made, chain, chain[1:], strict=False)
            ],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info("out", dtype, shape)],
            [numpy_helper.from_array(KERNEL[:classes, :, None, None], "kernel")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / "theirs.onnx")
        return tmp_path / "theirs.onnx"

    return written


def opened(path: Path, description: InputDescription = FOUR) -> Segmenter:
    return open_segmenter(path, RuntimeOptions(), description)


LAST: tuple[str, dict[str, Any]] = ("Transpose", {"perm": [0, 2, 3, 1]})


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("channels", ["first", "last"])
def test_the_shape_says_where_the_channels_are(
    layout: Layout, channels: str, write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    nodes, shape = ([], [1, 4, *SIZE]) if channels == "first" else ([LAST], [1, *SIZE, 4])
    with opened(write(nodes, shape, layout=layout)) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmax(-1))
        assert segmenter.spec.layout == layout
        assert segmenter.backend.outputs[0].shape == ((1, *SIZE, 4) if layout == "nhwc" else (1, 4, *SIZE))


def test_an_open_output_is_read_by_its_shape_after_a_run(write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    path = write([LAST], ["n", "h", "w", "c"], size=("height", "width"))
    sized = InputDescription(class_names=FOUR.class_names, mean=HALF, std=HALF, input_size=SIZE)
    with opened(path, sized) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmax(-1))


@pytest.mark.parametrize("axis", [1, 2], ids=["pixels last", "pixels first"])
def test_height_and_width_in_one_axis_are_taken_apart(
    axis: int, write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    path = write([("Flatten", {"axis": 2}), ("Unsqueeze", {})], [1, 4, 96])
    model = onnx.load(path)  # Flatten makes (4, 96), whose batch of 1 is put back
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    model.graph.node[-1].input.append("zero")
    if axis == 2:
        model.graph.node[-1].output[0] = "chw"
        model.graph.node.append(helper.make_node("Transpose", ["chw"], ["out"], perm=[0, 2, 1]))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 96, 4]))
    onnx.save(model, path)
    with opened(path) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmax(-1))


@pytest.mark.parametrize(
    ("shape", "layout", "size", "names", "kind", "map_hw", "channels"),
    [
        # Channels where only one reading has the image's sides.
        ((1, 21, 64, 96), "nhwc", (64, 96), 21, "scores", (64, 96), 21),
        ((1, 64, 96, 21), "nchw", (64, 96), 21, "scores", (64, 96), 21),
        # A quarter, an eighth rounded up, a sixteenth plus one, a map that is twice as large.
        ((1, 16, 24, 5), "nhwc", (64, 96), 5, "scores", (16, 24), 5),
        ((1, 5, 9, 13), "nhwc", (65, 97), 5, "scores", (9, 13), 5),
        ((1, 5, 7, 5), "nhwc", (64, 96), 5, "scores", (5, 7), 5),
        ((1, 128, 192, 5), "nhwc", (64, 96), 5, "scores", (128, 192), 5),
        # All three sides are equal: the labels cannot tell, the input's own order is taken.
        ((1, 64, 64, 64), "nhwc", (64, 64), 64, "scores", (64, 64), 64),
        ((1, 64, 64, 64), "nchw", (64, 64), 64, "scores", (64, 64), 64),
        # 16 classes in full or 64 in half size: the labels tell.
        ((1, 16, 32, 64), "nhwc", (32, 64), 64, "scores", (16, 32), 64),
        ((1, 16, 32, 64), "nhwc", (32, 64), 16, "scores", (32, 64), 16),
        # Without a batch, and a class map of a stranger's rank.
        ((64, 96, 5), "nhwc", (64, 96), 5, "scores", (64, 96), 5),
        ((1, 1, 64, 96), "nhwc", (64, 96), 5, "ids", (64, 96), 1),
        ((64, 96), "nhwc", (64, 96), 5, "ids", (64, 96), 1),
    ],
)
def test_shapes_and_what_they_are_read_as(
    shape: Any, layout: Layout, size: Any, names: int, kind: str, map_hw: Any, channels: int, tiny_spec: ModelSpec
) -> None:
    backend = NullBackend(tiny_spec, np.zeros(shape, np.float32))
    labels = [f"c{index}" for index in range(names)]
    reading = read_output("m.bin", backend, layout=layout, input_size=size, names=labels, threshold=None)
    sides = tuple(reading.shape[axis] for axis in reading.order)
    assert (reading.kind, sides, reading.channels, reading.border) == (kind, (*map_hw, channels), channels, (0, 0))
    result = ReadOutput(backend, reading, layout=layout, num_classes=names).run(np.zeros(1))
    last = (names, *map_hw) if layout == "nchw" else (*map_hw, names)
    assert result.shape == ((1, *last) if kind == "scores" else (1, *map_hw))


def test_where_both_orders_fit_it_says_which_is_taken(tiny_spec: ModelSpec, caplog: pytest.LogCaptureFixture) -> None:
    output = np.zeros((1, 64, 64, 64), np.float32)
    output[0, 7] = 1  # in NCHW, class 7 everywhere
    backend = NullBackend(tiny_spec, output)
    with caplog.at_level(logging.WARNING):
        reading = read_output("m.bin", backend, layout="nchw", input_size=(64, 64), names=None, threshold=None)
    assert "channels may be first or last; read as in its input, nchw" in caplog.text
    read = ReadOutput(backend, reading, layout="nchw", num_classes=64).run(np.zeros(1))
    assert np.all(read.argmax(1) == 7)


@pytest.mark.parametrize("shape", [(1, 1000), (1, 13, 17, 5), (8, 64, 96, 5), (1, 64, 96, 5, 2), (1, 0, 64, 96), (1,)])
def test_what_does_not_fit_the_image_is_refused(shape: Any, tiny_spec: ModelSpec) -> None:
    backend = NullBackend(tiny_spec, np.zeros(shape, np.float32))
    with pytest.raises(
        InputError, match=r"gives \(.*\) float32 for an image of 64,96 \(H,W\); accepted: a class map or"
    ):
        read_output("m.bin", backend, layout="nhwc", input_size=(64, 96), names=None, threshold=None)


def test_a_map_of_convolutions_without_padding_lies_in_the_middle(tiny_spec: ModelSpec) -> None:
    output = np.zeros((1, 56, 88, 2), np.float32)  # 4 pixels less at each side
    output[:, :28, :, 0] = output[:, 28:, :, 1] = 1
    backend = NullBackend(tiny_spec, output)
    reading = read_output("m.bin", backend, layout="nhwc", input_size=(64, 96), names=None, threshold=None)
    assert reading.border == (4, 4)
    classes = ReadOutput(backend, reading, layout="nhwc", num_classes=2).run(np.zeros(1))[0].argmax(-1)
    assert classes.shape == (64, 96)
    np.testing.assert_array_equal(classes, np.repeat([0, 1], 32)[:, None].repeat(96, axis=1))


ENDS: dict[str, tuple[list[tuple[str, dict[str, Any]]], OutputKind]] = {
    "sigmoid": ([("Sigmoid", {})], "softmax"),
    "hard sigmoid": ([("HardSigmoid", {"alpha": 0.2, "beta": 0.5})], "softmax"),
    "logits": ([], "logits"),
    "tanh": ([("Tanh", {})], "logits"),
    "sigmoid, moved": ([("Sigmoid", {}), LAST, ("Identity", {})], "softmax"),
    "sigmoid in half precision": (
        [("Sigmoid", {}), ("Cast", {"to": TensorProto.FLOAT16}), ("Cast", {"to": TensorProto.FLOAT})],
        "softmax",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_last_ops_say_where_the_threshold_of_one_channel_is(
    end: str, write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    nodes, kind = ENDS[end]
    shape = [1, *SIZE, 1] if LAST in nodes else [1, 1, *SIZE]
    with opened(write(nodes, shape, classes=1), TWO) as segmenter:
        found = segmenter(photo)
        np.testing.assert_array_equal(found.class_map, scores(photo)[..., 0] > 0)
        assert segmenter.spec.output_kind == kind
    assert found.scores is not None
    for threshold, known in ((0.5, "softmax"), (0.4, "argmax")):  # what 0.4 of a probability means is not known
        with opened(write(nodes, shape, classes=1), replace(TWO, threshold=threshold)) as segmenter:
            assert segmenter.spec.output_kind == ("logits" if kind == "logits" else known)
    if end in ("sigmoid", "logits"):  # a sigmoid in float32 is off by a step or two of 6e-8
        one = scores(photo)[..., 0]
        second = one if kind == "logits" else 1 / (1 + np.exp(-one))
        first = np.zeros_like(one) if kind == "logits" else 1 - second
        np.testing.assert_allclose(found.scores, np.dstack([first, second]), atol=1e-6)


def test_where_the_ops_do_not_say_the_threshold_is_asked_for(
    write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    path = write([("Exp", {})], [1, 1, *SIZE], classes=1)
    with pytest.raises(
        InputError, match=r"do not say of which kind: give `threshold=0\.5` where .* `threshold=0` where"
    ):
        opened(path, TWO)
    said = InputDescription(class_names=TWO.class_names, mean=HALF, std=HALF, threshold=1.5)
    with opened(path, said) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, np.exp(scores(photo)[..., 0]) > 1.5)
        assert not segmenter.gives_scores  # what is above 1.5 is the thing, but nobody knows how surely
    with pytest.raises(InputError, match="has 4 channels of scores: `threshold` is for a model of one"):
        opened(write([], [1, 4, *SIZE]), said)


def test_a_mask_has_one_label_or_two(write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    path = write([("Sigmoid", {})], [1, 1, *SIZE], classes=1)
    with pytest.raises(InputError, match="one class: give its name, or two, the first for the rest; got 3"):
        opened(path, InputDescription(class_names=("a", "b", "c"), mean=HALF, std=HALF))
    for names in (("thing",), None):
        with opened(path, InputDescription(class_names=names, mean=HALF, std=HALF)) as segmenter:
            assert segmenter.spec.class_names == ("background", *(names or ("foreground",)))
            np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo)[..., 0] > 0)


def test_two_channels_of_scores_may_have_the_things_name_alone(
    write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    path = write([("Softmax", {"axis": 1})], [1, 2, *SIZE], classes=2)
    with opened(path, InputDescription(class_names=("thing",), mean=HALF, std=HALF)) as segmenter:
        assert segmenter.spec.class_names == ("background", "thing")
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo)[..., :2].argmax(-1))


def test_where_nothing_reads_the_ops_one_channel_has_probabilities_or_is_refused(
    tiny_spec: ModelSpec, caplog: pytest.LogCaptureFixture
) -> None:
    output = np.linspace(0, 1, 64 * 96, dtype=np.float32).reshape(1, 64, 96, 1)
    backend = NullBackend(tiny_spec, output)
    reading = read_output("m.bin", backend, layout="nhwc", input_size=(64, 96), names=None, threshold=None)
    assert "its one channel is taken for probabilities, the class above 0.5" in caplog.text
    read = ReadOutput(backend, reading, layout="nhwc", num_classes=2)
    np.testing.assert_array_equal(read.run(np.zeros(1)).argmax(-1), output[..., 0] > 0.5)
    output -= 0.25
    with pytest.raises(
        InputError, match=r"scores from -0\.25 to 0\.75, which are no probabilities: give `threshold=0`"
    ):
        read.run(np.zeros(1))


@pytest.mark.parametrize(
    ("scale", "zero_point", "level"),
    [(1 / 256, -128, 0), (1 / 255, -128, -0.5), (0.1, 0, 0), (0.25, 10, 10)],
    ids=["probabilities", "probabilities to 1", "logits", "logits off the middle"],
)
def test_the_scale_says_what_integers_of_unknown_ops_are(
    scale: float, zero_point: int, level: float, tiny_spec: ModelSpec
) -> None:
    output = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
    backend = NullBackend(tiny_spec, output)
    backend.outputs = (TensorInfo(name="y", shape=output.shape, dtype="int8", scale=scale, zero_point=zero_point),)
    reading = read_output("m.bin", backend, layout="nhwc", input_size=(16, 16), names=None, threshold=None)
    mask = ReadOutput(backend, reading, layout="nhwc", num_classes=2).run(np.zeros(1))
    np.testing.assert_array_equal(mask.argmax(-1), output[..., 0] > level)


def test_the_argmax_says_how_many_classes_there_are(tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    path = tmp_path / "m.tflite"
    shapes = [((1, *SIZE, 3), "uint8"), ((1, *SIZE), "int32")]
    path.write_bytes(tflite_model([("ARG_MAX", 3)], shapes))
    with opened(path, InputDescription()) as segmenter:
        assert segmenter.spec.class_names == ("class_0", "class_1", "class_2")


def test_a_mask_of_0_and_255_is_read_by_a_threshold(tiny_spec: ModelSpec) -> None:
    """Bytes without a scale are ids until the user says that they are scores."""
    output = np.full((1, 64, 96), 255, np.uint8)
    output[:, :32] = 0
    backend = NullBackend(tiny_spec, output)
    two = ("background", "thing")
    reading = read_output("m.bin", backend, layout="nhwc", input_size=(64, 96), names=two, threshold=None)
    with pytest.raises(InputError, match=r"the class id 255, but .*\. For a mask of 0 and 255 give `threshold=127`\."):
        ReadOutput(backend, reading, layout="nhwc", num_classes=2).run(np.zeros(1))
    reading = read_output("m.bin", backend, layout="nhwc", input_size=(64, 96), names=two, threshold=127)
    mask = ReadOutput(backend, reading, layout="nhwc", num_classes=2).run(np.zeros(1))
    np.testing.assert_array_equal(mask, output == 255)


def test_a_class_map_of_unknown_ops_may_have_any_id(write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    """As uint8 without a scale, as Coral's files have after their compiler."""
    end: list[tuple[str, dict[str, Any]]] = [
        ("ArgMax", {"axis": 1, "keepdims": 0}),
        ("Cast", {"to": TensorProto.UINT8}),
    ]
    path = write(end, [1, *SIZE], dtype=TensorProto.UINT8)
    with opened(path, InputDescription(mean=HALF, std=HALF)) as segmenter:
        assert len(segmenter.spec.class_names) == 256
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmax(-1))


@pytest.mark.parametrize("dtype", ["FLOAT", "INT64", "INT32", "UINT8", "INT16", "DOUBLE"])
def test_a_class_map_may_have_any_type(dtype: str, write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    to = getattr(TensorProto, dtype)
    path = write([("ArgMax", {"axis": 1, "keepdims": 0}), ("Cast", {"to": to})], [1, *SIZE], dtype=to)
    with opened(path) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmax(-1))


def test_a_comparison_is_a_class_map_of_two(write: Callable[..., Path], photo: NDArray[np.uint8]) -> None:
    path = write([("Greater", {})], [1, 1, *SIZE], classes=1, dtype=TensorProto.BOOL)
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.25), "level"))
    model.graph.node[-1].input.append("level")
    onnx.save(model, path)
    with opened(path, TWO) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo)[..., 0] > 0.25)


def test_ids_beyond_the_labels_and_values_that_are_no_ids_are_refused(
    write: Callable[..., Path], photo: NDArray[np.uint8]
) -> None:
    end: list[tuple[str, dict[str, Any]]] = [("ArgMax", {"axis": 1, "keepdims": 0})]
    two = opened(write(end, [1, *SIZE], dtype=TensorProto.INT64), TWO)
    with two, pytest.raises(InputError, match=r"gives the class id [23], but there are 2 labels, of the ids 0 to 1"):
        two(photo)
    four = opened(write([("Exp", {})], [1, 1, *SIZE], classes=1))
    with four, pytest.raises(InputError, match=r"values such as .*, which are no class ids of the 4 labels"):
        four(photo)


def test_more_channels_than_a_byte_has_values_are_refused_at_once(tiny_spec: ModelSpec) -> None:
    from edgeseg.opening import describe

    backend = NullBackend(tiny_spec, np.zeros((1, 32, 48, 300), np.float32))
    with pytest.raises(InputError, match="has 300 channels of scores; accepted: up to 256 classes"):
        describe("m.bin", backend, InputDescription())


@pytest.mark.parametrize("end", [["LOGISTIC"], ["LOGISTIC", ("RESHAPE", (1, *SIZE, 1))]], ids=["1HW", "1HW1"])
def test_masks_in_tflite(
    end: Any, tmp_path: Path, tflite_model: Callable[..., bytes], photo: NDArray[np.uint8]
) -> None:
    shapes = [(1, *SIZE, 3), (1, *SIZE), (1, *SIZE), (1, *SIZE, 1)]
    content = tflite_model([("REDUCE_MAX", [3]), *end], [(shape, "float32") for shape in shapes])
    (tmp_path / "m.tflite").write_bytes(content)
    with opened(tmp_path / "m.tflite", TWO) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, photo.max(-1) > 127)


def test_the_threshold_of_integers_is_in_their_steps(tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    scale = {"scale": 1 / 256, "zero_point": -128}
    (tmp_path / "m.tflite").write_bytes(tflite_model(["LOGISTIC"], [((1, *SIZE, 1), "int8")] * 2, **scale))
    spec = ModelSpec(name="m", input_size=SIZE, class_names=("a", "b"), palette=((0, 0, 0), (1, 1, 1)))
    backend = NullBackend(spec, np.resize(np.array([-1, 0, 1], np.int8), (1, *SIZE, 1)))
    backend.outputs = (TensorInfo(name="t1", shape=(1, *SIZE, 1), dtype="int8", **scale),)
    reading = read_output(
        tmp_path / "m.tflite", backend, layout="nhwc", input_size=SIZE, names=spec.class_names, threshold=None
    )
    mask = ReadOutput(backend, reading, layout="nhwc", num_classes=2).run(np.zeros(1))
    # 0 is 0.5, and what is above it is the thing.
    np.testing.assert_array_equal(mask.argmax(-1).ravel()[:3], [0, 0, 1])
    np.testing.assert_array_equal(mask[0, 0, :3, 1], [127 / 256, 128 / 256, 129 / 256])


@pytest.mark.parametrize("activation", ["sigmoid", "linear", "softplus"])
def test_the_last_layer_of_a_keras_model_says_it(activation: str, tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation=activation)(image))
    model.set_weights([KERNEL[:1].T[None, None], np.zeros(1, np.float32)])
    model.save(tmp_path / "m.keras")
    said = InputDescription(class_names=("a", "b"), mean=HALF, std=HALF, input_size=SIZE)
    if activation == "softplus":
        with pytest.raises(InputError, match=r"give `threshold=0\.5`"):
            opened(tmp_path / "m.keras", said)
        return
    with opened(tmp_path / "m.keras", said) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo)[..., 0] > 0)


def test_one_of_several_outputs_is_chosen_by_name(
    write: Callable[..., Path], photo: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    path = write([], [1, 4, *SIZE])
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Neg", ["out"], ["side"]))
    model.graph.node.append(helper.make_node("GlobalMaxPool", ["out"], ["label"]))
    for name, shape in (("side", [1, 4, *SIZE]), ("label", [1, 4, 1, 1])):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.save(model, path)
    with opened(path) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmax(-1))
    assert "has 3 outputs; edgeseg uses 'out', `output` takes 'side', 'label'" in caplog.text

    def with_output(name: str) -> InputDescription:
        return InputDescription(class_names=FOUR.class_names, mean=HALF, std=HALF, output=name)

    with opened(path, with_output("side")) as segmenter:
        np.testing.assert_array_equal(segmenter(photo).class_map, scores(photo).argmin(-1))
    with pytest.raises(InputError, match=r"`output` takes another one: 'out' \(1, 4, 8, 12\), 'side' \(1, 4, 8, 12\)"):
        opened(path, with_output("label"))
    with pytest.raises(InputError, match=r"has no output 'sid'\. Did you mean 'side'\? Accepted: out, side, label"):
        opened(path, with_output("sid"))
