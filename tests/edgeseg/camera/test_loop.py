"""``edgeseg.camera`` and ``loop``: the newest frame of what is live, every one of a file, and each thread's errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.camera import Camera
from edgeseg.errors import InputError, SourceLost
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.sources import Captured
from edgeseg.spec import ModelSpec


class _Frames:
    """A source in memory: frames of one gray value each, ``gap_s`` apart, and then its end or an error."""

    name = "memory"
    fps = 25.0
    missing_frames = 0

    def __init__(self, count: int, *, live: bool, gap_s: float = 0.0, error: Exception | None = None) -> None:
        self.live = live
        self._count, self._gap_s, self._error = count, gap_s, error
        self._index = 0
        self._closed = threading.Event()

    def read(self) -> Captured | None:
        if self._closed.wait(self._gap_s) or (self._index == self._count and self._error is None):
            return None
        if self._index == self._count:
            assert self._error is not None
            raise self._error
        image = np.full((60, 80, 3), self._index % 256, np.uint8)
        self._index += 1
        return Captured(
            index=self._index - 1,
            name=f"memory_{self._index - 1:06d}",
            image_bgr=image,
            captured_s=time.perf_counter(),
        )

    def close(self) -> None:
        self._closed.set()


class _SlowBackend(NullBackend):
    def __init__(self, *args: Any, delay_s: float) -> None:
        super().__init__(*args)
        self._delay_s = delay_s

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        time.sleep(self._delay_s)
        return super().run(image)


@pytest.fixture
def segmenter(tiny_spec: ModelSpec) -> Iterator[Segmenter]:
    """Answers the left half 1, the right half 2."""
    answer = np.ones((1, *tiny_spec.input_size), np.int32)
    answer[..., 24:] = 2
    yield Segmenter(NullBackend(tiny_spec.replace(output_kind="argmax"), answer))


def _slow(segmenter: Segmenter, delay_s: float) -> Segmenter:
    assert isinstance(segmenter.backend, NullBackend)
    return Segmenter(_SlowBackend(segmenter.spec, segmenter.backend._output, delay_s=delay_s))


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("edgeseg-")}


def test_every_frame_of_a_file_arrives_in_order(segmenter: Segmenter) -> None:
    with Camera(segmenter, _Frames(50, live=False)) as camera:
        frames = list(camera)
    assert [frame.captured.index for frame in frames] == list(range(50))
    assert all(frame.image_bgr[0, 0, 0] == frame.captured.index for frame in frames)
    assert frames[0].segmentation.class_map.shape == (60, 80)
    assert frames[0].segmentation.class_map[:, [0, 79]].tolist() == [[1, 2]] * 60
    # 60x80 in 32x48 is 32x43, with bars at the sides: the model's map comes without them.
    assert frames[0].model_map.shape == (32, 43)
    stats = camera.stats.to_dict()
    assert stats["frames"] == {"captured": 50, "shown": 50, "dropped": 0}
    assert stats["stages_ms"]["inference"]["count"] == 50
    assert not _threads()


def test_the_newest_frame_of_a_live_source_wins(segmenter: Segmenter) -> None:
    with Camera(_slow(segmenter, 0.05), _Frames(100, live=True, gap_s=0.005)) as camera:
        frames = list(camera)
    numbers = [frame.captured.index for frame in frames]
    assert numbers == sorted(numbers)
    stats = camera.stats.to_dict()
    # 0.5 s of frames and 0.05 s for each inference: ten or so are shown, fewer on a busy machine, never all.
    assert 2 <= len(frames) < 40
    assert stats["frames"]["captured"] == 100
    assert stats["frames"]["dropped"] == numbers[-1] + 1 - len(frames)


def test_what_a_slow_viewer_gets_is_not_from_a_queue(segmenter: Segmenter) -> None:
    source = _Frames(10_000, live=True, gap_s=0.001)
    with Camera(segmenter, source) as camera:
        for count, frame in enumerate(camera):
            newest = source._index - 1
            # At most the frames that are in the three stages and slots lie between; a queue would have hundreds.
            assert newest - frame.captured.index < 100
            time.sleep(0.1)
            if count == 3:
                break
    assert not _threads()


def test_a_source_that_breaks_says_so_after_its_last_frame(segmenter: Segmenter) -> None:
    shown = []
    with Camera(segmenter, _Frames(3, live=False, error=SourceLost("'memory' broke."))) as camera:
        with pytest.raises(SourceLost, match="'memory' broke"):
            for frame in camera:
                shown.append(frame.captured.index)
        assert camera.next() is None
    assert shown == [0, 1, 2]
    assert not _threads()


def test_a_stage_that_fails_is_an_error_of_the_loop(tiny_spec: ModelSpec) -> None:
    scores = np.zeros((1, *tiny_spec.input_size, 5), np.float32)  # five channels, three classes
    with (
        Camera(Segmenter(NullBackend(tiny_spec, scores)), _Frames(3, live=False)) as camera,
        pytest.raises(InputError, match="5 channels of scores but has 3 classes"),
    ):
        next(iter(camera))
    assert not _threads()


def test_leaving_early_leaves_no_thread(segmenter: Segmenter) -> None:
    for live in (True, False):
        with Camera(_slow(segmenter, 0.01), _Frames(1000, live=live, gap_s=0.001)) as camera:
            for _ in camera:
                break
        assert not _threads()


def test_waiting_for_a_frame_can_be_given_up(segmenter: Segmenter) -> None:
    with Camera(segmenter, _Frames(2, live=True, gap_s=0.3)) as camera:
        with pytest.raises(TimeoutError):
            camera.next(timeout_s=0.01)
        assert camera.next() is not None


def test_smoothing_is_part_of_the_loop(tiny_spec: ModelSpec) -> None:
    class _Flicker(NullBackend):
        calls = 0

        def run(self, image: NDArray[Any]) -> NDArray[Any]:
            self.calls += 1
            return np.full_like(self._output, 2 if self.calls == 3 else 1)

    answer = np.ones((1, *tiny_spec.input_size), np.uint8)
    spec = tiny_spec.replace(output_kind="argmax")
    for smooth, expected in ((1, [1, 1, 2, 1, 1]), (2, [1] * 5)):
        with Camera(Segmenter(_Flicker(spec, answer)), _Frames(5, live=False), smooth=smooth) as camera:
            assert [int(frame.segmentation.class_map[0, 0]) for frame in camera] == expected
    with pytest.raises(InputError, match="1 to 255"):
        Camera(Segmenter(_Flicker(spec, answer)), _Frames(5, live=False), smooth=0)


def test_the_model_sees_the_colors_in_its_own_order(tiny_spec: ModelSpec) -> None:
    answer = np.zeros((1, *tiny_spec.input_size), np.uint8)
    for order, first in (("rgb", 30.0), ("bgr", 10.0)):
        backend = NullBackend(
            tiny_spec.replace(output_kind="argmax", color_order=order, mean=(0, 0, 0), std=(1, 1, 1)), answer
        )
        source = _Frames(1, live=False)
        read = source.read
        source.read = lambda: _painted(read())  # type: ignore[method-assign]  # noqa: B023 - called at once
        with Camera(Segmenter(backend), source) as camera:
            assert len(list(camera)) == 1
        assert backend.seen is not None
        assert backend.seen[0, 16, 24, 0] == first


def _painted(captured: Captured | None) -> Captured | None:
    if captured is not None:
        captured.image_bgr[:] = (10, 20, 30)
    return captured


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scores_come_with_the_frame(tiny_spec: ModelSpec, num_classes: int) -> None:
    """The classes are the best of the enlarged scores; of two classes these are drawn, of more the model's own map."""
    names, palette = tiny_spec.class_names[:num_classes], tiny_spec.palette[:num_classes]
    spec = tiny_spec.replace(output_kind="logits", class_names=names, palette=palette)
    output = np.random.default_rng(0).normal(size=(1, *spec.input_size, num_classes)).astype(np.float32)
    with Camera(Segmenter(NullBackend(spec, output)), _Frames(1, live=False)) as camera:
        frame = camera.next()
    assert frame is not None
    assert frame.score_map is not None
    segmentation = frame.segmentation
    assert segmentation.scores is not None
    assert segmentation.class_map.shape == (60, 80)
    np.testing.assert_array_equal(segmentation.class_map, segmentation.scores.argmax(-1))
    assert frame.drawn_map is (segmentation.class_map if num_classes == 2 else frame.model_map)
    np.testing.assert_array_equal(frame.model_map, output[0, :, 2:45].argmax(-1))  # 36x48 within 32x48
