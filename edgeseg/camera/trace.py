"""Write when each stage of each frame ran, as a Chrome trace: JSON that https://ui.perfetto.dev opens.

The form is the array of the Trace Event Format, whose closing bracket may be missing: Perfetto reads it so
(google/perfetto, src/trace_processor/importers/json/json_trace_tokenizer.cc, on 2026-11-30). Whole events are appended
at most a second after they ended, so a run that is killed leaves a file that Perfetto reads, and memory stays flat
however long the camera runs; the file grows, by about 0.8 kB a frame.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeseg._internal.files import refuse_existing, require_writable_folder

_log = logging.getLogger(__name__)

#: The track of each stage: the stages of a thread of the loop share one, and do not overlap there.
TRACKS = {
    "capture": "capture",
    "preprocess": "preprocess",
    "inference": "inference",
    "postprocess": "inference",
    "render": "display",
    "output": "display",
}
_NUMBERS = {track: number for number, track in enumerate(dict.fromkeys(TRACKS.values()), 1)}
_DISPLAY = _NUMBERS["display"]

# Seconds and events that may wait in memory.
_WAIT_S, _WAITING = 1.0, 500


class Trace:
    """Appends the stages of a camera loop to a file; thread-safe. A file that cannot be written ends the trace alone.

    Examples:
        >>> with Trace("trace.json") as trace, Camera(segmenter, source, trace=trace) as camera:
        ...     Display(camera=camera, spec=segmenter.spec).run()

    Attributes:
        path: of the file; it is created with the first frame.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Begin a trace; its time begins now.

        Args:
            path: of the file.
            overwrite: replace a file that exists.

        Raises:
            InputError: the file exists, or its folder cannot be written to.
        """
        self.path = Path(path)
        refuse_existing(self.path, overwrite=overwrite)
        require_writable_folder(self.path.parent)
        self._flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL) | getattr(os, "O_BINARY", 0)
        self._file: int | None = None
        self._ended = False
        self._start_s = self._written_s = time.perf_counter()
        self._lock = threading.Lock()
        self._waiting: list[str] = []

    def stage(self, stage: str, start_s: float, end_s: float, frame: int) -> None:
        """Add a stage of a frame.

        Args:
            stage: one of ``TRACKS``.
            start_s: when it began, of ``time.perf_counter``.
            end_s: when it ended.
            frame: number of the frame in its source.
        """
        begin, end = (round((moment - self._start_s) * 1e9) for moment in (start_s, end_s))
        track = _NUMBERS[TRACKS[stage]]
        self._add({"name": stage, "ph": "X", "ts": begin / 1e3, "dur": (end - begin) / 1e3, "tid": track}, frame=frame)

    def dropped(self, first: int, count: int) -> None:
        """Add frames that a newer one replaced, now that it is known.

        Args:
            first: number of the first of them.
            count: how many, in a row.
        """
        now = round((time.perf_counter() - self._start_s) * 1e9) / 1e3
        self._add({"name": "dropped", "ph": "i", "s": "t", "ts": now, "tid": _DISPLAY}, frame=first, count=count)

    def close(self) -> None:
        """Write what waits, and the closing bracket."""
        with self._lock:
            self._write()
            if self._file is not None:
                self._append(b"\n]")  # no line end: Perfetto takes nothing after the bracket
            self._end()

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _add(self, event: dict[str, Any], **args: int) -> None:
        text = json.dumps({"cat": "edgeseg", "pid": 1, **event, "args": args})
        with self._lock:
            if self._ended:
                return
            self._waiting.append(text)
            if len(self._waiting) >= _WAITING or time.perf_counter() - self._written_s >= _WAIT_S:
                self._write()

    def _write(self) -> None:
        """Append the events that wait, in one write: a file that ends there ends with a whole event."""
        if not self._waiting or self._ended:
            return
        lines = [",\n" + event for event in self._waiting]
        self._waiting.clear()
        self._written_s = time.perf_counter()
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, self._flags, 0o666)
                lines.insert(0, "[\n" + ",\n".join(_names()))
        except OSError as error:
            self._give_up(error)
        else:
            self._append("".join(lines).encode())

    def _append(self, data: bytes) -> None:
        try:
            while data and self._file is not None:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.warning("the trace ends: '%s' cannot be written: %s", self.path, error.strerror or error)
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _names() -> list[str]:
    """Return the events that name the process and its tracks, and put these in order."""
    common = {"ph": "M", "pid": 1, "ts": 0}
    events: list[dict[str, Any]] = [{"name": "process_name", **common, "args": {"name": "edgeseg camera"}}]
    for track, number in _NUMBERS.items():
        events.append({"name": "thread_name", **common, "tid": number, "args": {"name": track}})
        events.append({"name": "thread_sort_index", **common, "tid": number, "args": {"sort_index": number}})
    return [json.dumps(event) for event in events]
