"""``runtime.null``: from an image to its class map, on a backend that gives what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.runtime.null import NullBackend
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import Segmenter, to_class_map
from edgeseg.spec import ModelSpec


@pytest.fixture
def answer() -> np.ndarray:
    """A class map ``(32, 48)`` uint8 where every id and every corner differs."""
    class_map = np.random.default_rng(1).integers(0, 3, (32, 48), dtype=np.uint8)
    class_map[0, 0], class_map[0, -1], class_map[-1, 0], class_map[-1, -1] = 0, 1, 2, 1
    return class_map


def segmenter(spec: ModelSpec, output: np.ndarray) -> Segmenter:
    return Segmenter(NullBackend(spec, output))


def scores(class_map: np.ndarray) -> np.ndarray:
    """Logits ``(1, h, w, 3)`` float32 whose argmax is the map; negative, as a trap for a threshold."""
    return (np.eye(3, dtype=np.float32)[class_map] - 5)[None]


def blank(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_class_map_is_taken_as_it_is(tiny_spec: ModelSpec, answer: np.ndarray, dtype: Any) -> None:
    spec = tiny_spec.replace(output_kind="argmax")
    result = segmenter(spec, answer.astype(dtype)[None])(blank(32, 48))
    assert result.class_map.dtype == np.uint8
    assert (result.class_map == answer).all()
    assert result.spec is spec


@pytest.mark.parametrize("kind", ["logits", "softmax"])
def test_scores_are_argmaxed_over_the_channels(tiny_spec: ModelSpec, answer: np.ndarray, kind: Any) -> None:
    result = segmenter(tiny_spec.replace(output_kind=kind), scores(answer))(blank(32, 48))
    assert (result.class_map == answer).all()


def test_nchw_goes_in_and_comes_out(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    spec = tiny_spec.replace(layout="nchw")
    backend = NullBackend(spec, scores(answer).transpose(0, 3, 1, 2))
    result = Segmenter(backend)(blank(32, 48))
    assert backend.seen is not None
    assert backend.seen.shape == backend.inputs[0].shape == (1, 3, 32, 48)
    assert (result.class_map == answer).all()


@pytest.mark.parametrize("kind", ["argmax", "logits"])
def test_a_half_size_output_is_enlarged(tiny_spec: ModelSpec, answer: np.ndarray, kind: Any) -> None:
    half = answer[:16, :24]
    output = half[None] if kind == "argmax" else scores(half)
    result = segmenter(tiny_spec.replace(output_kind=kind), output)(blank(32, 48))
    assert (result.class_map == np.kron(half, np.ones((2, 2), np.uint8))).all()


@pytest.mark.parametrize(
    ("size", "left", "factor"),
    [
        ((16, 16), 8, 2),  # enlarged twice, bars at both sides
        ((32, 32), 8, 1),  # as it is, between bars
        ((32, 40), 4, 1),
        ((16, 24), 0, 2),  # no bars
    ],
)
def test_the_letterbox_is_taken_away_exactly(
    tiny_spec: ModelSpec, answer: np.ndarray, size: tuple[int, int], left: int, factor: int
) -> None:
    truth = answer[: size[0], : size[1]]
    output = np.full((32, 48), 2, np.uint8)
    inside = np.kron(truth, np.ones((factor, factor), np.uint8))
    output[:, left : left + inside.shape[1]] = inside
    result = segmenter(tiny_spec.replace(output_kind="argmax"), output[None])(blank(*size))
    assert (result.class_map == truth).all()


def test_a_image_larger_than_the_input_gets_a_map_of_its_own_size(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    ids = segmenter(tiny_spec.replace(output_kind="argmax"), answer[None])(blank(96, 144))
    assert (ids.class_map == np.kron(answer, np.ones((3, 3), np.uint8))).all()
    assert ids.scores is None
    result = segmenter(tiny_spec, scores(answer))(blank(96, 144))
    assert result.scores is not None
    assert (result.class_map == result.scores.argmax(-1)).all()
    assert (result.class_map[1::3, 1::3] == answer).all()  # the middles of the model's pixels


def test_the_backend_sees_the_normalized_image(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    backend = NullBackend(tiny_spec, scores(answer))
    image = np.full((32, 32, 3), (255, 0, 127), np.uint8)
    Segmenter(backend)(image)
    assert backend.seen is not None
    assert backend.seen.dtype == np.float32
    assert backend.seen[0, 5, 24].tolist() == pytest.approx([1.0, -1.0, -0.5 / 127.5])
    assert backend.seen[0, 5, 2].tolist() == pytest.approx([0.5 / 127.5] * 3)  # the gray bar


def test_a_view_of_an_array_is_a_image_too(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    backend = NullBackend(tiny_spec, scores(answer))
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Segmenter(backend)(image[::-1, ::-1])
    seen = backend.seen
    Segmenter(backend)(np.ascontiguousarray(image[::-1, ::-1]))
    assert seen is not None
    assert (seen == backend.seen).all()


def test_an_answer_does_not_change_when_the_runtime_reuses_its_memory(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    """``Backend.run`` may return the runtime's own memory; a Segmentation must outlive the next call."""
    for spec, memory in ((tiny_spec.replace(output_kind="argmax"), answer[None].copy()), (tiny_spec, scores(answer))):
        result = segmenter(spec, memory)(blank(32, 48))
        memory[:] = 0
        assert (result.class_map == answer).all()
    assert result.scores is not None
    assert (result.scores.argmax(-1) == answer).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        [[[0, 0, 0]]],
        "image.png",
        None,  # what cv2.imread gives for a missing file
    ],
)
def test_what_is_no_image_is_refused(tiny_spec: ModelSpec, answer: np.ndarray, image: Any) -> None:
    with pytest.raises(InputError, match=r"an image must be \(h, w, 3\) uint8 RGB, got "):
        segmenter(tiny_spec, scores(answer))(image)


@pytest.mark.parametrize(
    ("layout", "shape"), [("nhwc", (1, 32, 48, 1)), ("nhwc", (1, 3, 32, 48)), ("nchw", (1, 2, 32, 48))]
)
def test_scores_of_another_class_count_are_refused(tiny_spec: ModelSpec, layout: Any, shape: tuple[int, ...]) -> None:
    """A binary model's one channel would argmax to background everywhere."""
    with pytest.raises(InputError, match=rf"the model gives {shape[3 if layout == 'nhwc' else 1]} .*3 classes"):
        to_class_map(np.zeros(shape, np.float32), tiny_spec.replace(layout=layout))


def test_a_model_without_a_spec_needs_one(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    backend = NullBackend(tiny_spec, scores(answer))
    backend.spec = None
    with pytest.raises(InputError, match=r"no ModelSpec inside; export it with edgeseg, or give spec="):
        Segmenter(backend)
    assert (Segmenter(backend, spec=tiny_spec)(blank(32, 48)).class_map == answer).all()


def test_a_given_spec_goes_before_the_files_own(tiny_spec: ModelSpec, answer: np.ndarray) -> None:
    backend = NullBackend(tiny_spec, scores(answer))
    assert Segmenter(backend, spec=tiny_spec.replace(name="mine")).spec.name == "mine"


def test_a_missing_file_or_unknown_suffix_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tflite' does not exist"):
        Segmenter(tmp_path / "gone.tflite")
    with pytest.raises(InputError, match=r"known suffixes: \.tflite, \.onnx, \.mnn, \.xml, \.keras"):
        Segmenter("model.pb")
    with pytest.raises(InputError, match=r"unknown backend 'tensorrt'\. Accepted: litert, litert-compiled, "):
        Segmenter("model.tflite", backend="tensorrt")


def test_the_context_manager_closes_the_backend(
    tiny_spec: ModelSpec, answer: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(NullBackend, "close", lambda self: closed.append(self))
    with segmenter(tiny_spec, scores(answer)) as opened:
        assert not closed
    assert closed == [opened.backend]


def test_counts_name_every_class(tiny_spec: ModelSpec) -> None:
    class_map = np.array([[0, 0, 2], [2, 2, 0]], np.uint8)
    assert Segmentation(class_map, tiny_spec).counts() == {"background": 3, "square": 0, "disc": 3}
