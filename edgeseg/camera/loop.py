"""Run the live loop: capture, preprocessing, inference and drawing overlap, so that what is shown is recent.

    Source.read() -> slot -> preprocess -> slot -> inference -> slot -> the caller

Each arrow is a ``Slot`` of one frame. With a live source every slot keeps only the newest frame, so that no frame
waits after older ones; with a file every frame arrives. The caller's own thread draws and shows, as windows need the
main thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.camera.slot import Closed, Slot
from edgeseg.camera.smoothing import Smoothing
from edgeseg.camera.stats import CameraStats
from edgeseg.camera.trace import Trace
from edgeseg.imaging import Placement, at_size, preprocess, without_bars
from edgeseg.scores.score_map import ScoreMap
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import Segmenter
from edgeseg.sources import Captured, Source
from edgeseg.spec import ModelSpec

T = TypeVar("T")


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame and its classes.

    Attributes:
        captured: the frame as the source delivered it; ``captured.image_bgr`` may be drawn into.
        model_map: ``(H, W)`` uint8, the class map inside the model's input, without the bars: small, for counting.
        spec: names and colors of the classes.
        score_map: what the classes are the best of; ``None`` where the model gives class ids, and where classes are
            smoothed, as those that are held have no scores.
    """

    __repr__ = short_repr

    captured: Captured
    model_map: NDArray[np.uint8]
    spec: ModelSpec
    score_map: ScoreMap | None = None

    @cached_property
    def segmentation(self) -> Segmentation:
        """The class map at the frame's own size; computed on first use."""
        if self.score_map is not None:
            return Segmentation(self.score_map.class_map(), self.spec, self.score_map)
        height, width = self.image_bgr.shape[:2]
        return Segmentation(at_size(self.model_map, (height, width)), self.spec)

    @property
    def drawn_map(self) -> NDArray[np.uint8]:
        """The class map to draw, uint8, at the frame's own size or smaller.

        The scores of two classes are enlarged in a millisecond; those of 11 take 17 ms in Full HD, and a map that a
        viewer sees for a moment is drawn from the model's own.
        """
        two = self.score_map is not None and self.score_map.num_classes == 2
        return self.segmentation.class_map if two else self.model_map

    @property
    def image_bgr(self) -> NDArray[np.uint8]:
        """``(h, w, 3)`` uint8 BGR."""
        return self.captured.image_bgr

    @property
    def age_s(self) -> float:
        """Seconds since the camera or decoder handed the frame over."""
        return time.perf_counter() - self.captured.captured_s


@dataclass(frozen=True)
class _Prepared:
    """A frame between two stages: ``array`` is the model's input, then its class map, ``score_map`` may be with it."""

    captured: Captured
    placement: Placement
    array: NDArray[Any]
    score_map: ScoreMap | None = None


class Camera:
    """Segments the frames of a source one by one, on threads of its own.

    Examples:
        >>> with Segmenter("model.tflite") as segmenter, Camera(segmenter, open_source("0")) as camera:
        ...     for frame in camera:
        ...         print(frame.segmentation.counts(), f"{frame.age_s * 1e3:.0f} ms old")

    Attributes:
        stats: the measurements.
        source: where the frames come from; closed with the camera.
    """

    def __init__(self, segmenter: Segmenter, source: Source, *, smooth: int = 1, trace: Trace | None = None) -> None:
        """Prepare the loop; the threads start when the first frame is requested.

        Args:
            segmenter: the open model; used by the camera alone while it runs.
            source: where the frames come from.
            smooth: frames that a class must hold in a pixel before it is shown; 1 shows every map as it is.
            trace: a file that gets when each stage of each frame ran; stays open.

        Raises:
            InputError: ``smooth`` is out of range.
        """
        self.stats = CameraStats(trace)
        self._trace = trace
        self.source = source
        self._segmenter = segmenter
        self._smoothing = Smoothing(smooth)
        newest = source.live
        self._frames: Slot[Captured] = Slot(newest=newest)
        self._tensors: Slot[_Prepared] = Slot(newest=newest)
        self._maps: Slot[_Prepared] = Slot(newest=newest)
        self._threads: list[threading.Thread] = []
        self._last_index = -1

    def next(self, timeout_s: float | None = None) -> SegmentedFrame | None:
        """Return the next frame; with a live source the newest.

        Args:
            timeout_s: how long to wait, in seconds; without limit when omitted.

        Returns:
            ``None`` at the end of the source.

        Raises:
            TimeoutError: no frame yet.
            SourceLost: the stream broke and did not come back.
            EdgesegError: another stage of the loop failed.
        """
        if not self._threads:
            self._start()
        try:
            prepared = self._maps.get(timeout_s)
        except Closed:
            return None
        # A gap in the numbers: frames that a newer one replaced, here or already in the source.
        gap = prepared.captured.index - self._last_index - 1
        if gap:
            self.stats.add_dropped(self._last_index + 1, gap)
        self._last_index = prepared.captured.index
        model_map = without_bars(prepared.array, prepared.placement)
        return SegmentedFrame(prepared.captured, model_map, self._segmenter.spec, prepared.score_map)

    def __iter__(self) -> Iterator[SegmentedFrame]:
        """Yield frames to the end of the source; a frame counts as shown when the next one is requested."""
        while True:
            frame = self.next()
            if frame is None:
                return
            yield frame
            self.stats.frame_shown(frame.captured.captured_s)

    def close(self) -> None:
        """Stop the threads and close the source; the segmenter stays open."""
        for slot in (self._frames, self._tensors, self._maps):
            slot.close(discard=True)
        self.source.close()
        for thread in self._threads:
            # A running inference cannot be interrupted; nothing else takes longer than the source's own close.
            thread.join()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        stages: tuple[tuple[str, Callable[[], Any], Slot[Any]], ...] = (
            ("capture", self._capture, self._frames),
            ("preprocess", self._preprocess, self._tensors),
            ("inference", self._infer, self._maps),
        )
        for name, step, out in stages:
            # Daemons: a camera that was never closed must not keep the interpreter from exiting.
            thread = threading.Thread(target=_work, args=(step, out), name=f"edgeseg-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _capture(self) -> Captured:
        start = time.perf_counter()
        captured = self.source.read()
        if captured is None:
            raise Closed
        self.stats.add_span("capture", start, time.perf_counter(), captured.index)
        self.stats.captured = captured.index + 1
        return captured

    def _preprocess(self) -> _Prepared:
        captured = self._frames.get()
        with self.stats.timed("preprocess", captured.index):
            tensor, placement = preprocess(captured.image_bgr, self._segmenter.spec, order="bgr")
        return _Prepared(captured, placement, tensor)

    def _infer(self) -> _Prepared:
        prepared = self._tensors.get()
        with self.stats.timed("inference", prepared.captured.index):
            class_map, score_map = self._segmenter.infer(prepared.array, prepared.placement)
        start = time.perf_counter()
        if self._smoothing.holds:
            class_map, score_map = self._smoothing(class_map), None
        if self._trace is not None:
            self._trace.stage("postprocess", start, time.perf_counter(), prepared.captured.index)
        return _Prepared(prepared.captured, prepared.placement, class_map, score_map)


def _work(step: Callable[[], T], out: Slot[T]) -> None:
    try:
        while True:
            out.put(step())
    except Closed:
        out.close()
    except BaseException as error:  # noqa: BLE001 - not handled here: the slot hands it to the next thread, in the end the caller's
        out.close(error)
