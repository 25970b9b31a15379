"""Read network streams with FFmpeg's libraries: as they come, or paced from the buffer that HLS fills in bursts."""

from __future__ import annotations

import logging
import threading
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.sources.pacing import Clock, SenderClock
from edgeseg.video.address import shown
from edgeseg.video.container import HungUp, Opened, open_container
from edgeseg.video.decode import Decoder, Images, NoFrame, Reader
from edgeseg.video.reasons import as_text

_log = logging.getLogger("edgeseg.sources")

#: Demuxers that deliver whole segments at once.
_IN_BURSTS = frozenset({"hls", "dash"})


class StreamCapture:
    """An open stream, with the methods of ``cv2.VideoCapture`` that ``Stream`` uses.

    Attributes:
        opened: the container.
        captured_s: when the current frame came, or was due; in the time of ``time.perf_counter``.
        reason: why ``grab`` returned False.
        skipped: frames that the current one replaced: none.
    """

    skipped = 0

    def __init__(self, opened: Opened, *, timeout_s: float) -> None:
        """Take over an open container; ``release`` closes it.

        Args:
            opened: the container.
            timeout_s: how long it may deliver no image.
        """
        self.opened = opened
        self.captured_s = 0.0
        self.reason = ""
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._frame: NDArray[np.uint8] | None = None
        self._due = True
        self._clock = Clock(self._stop) if opened.format in _IN_BURSTS else None
        self._reader = Reader(opened, timeout_s=timeout_s) if self._clock else None
        self._decoder = None if self._reader else Decoder(opened, timeout_s=timeout_s)
        self._images = Images()
        self._current: object = None
        self._sender = SenderClock(opened.name)

    def grab(self) -> bool:
        """Go to the next frame; False where there is none, and ``reason`` says why."""
        try:
            if self._reader is not None and self._clock is not None:
                return self._grab_paced(self._reader, self._clock)
            assert self._decoder is not None
            self._current = self._decoder.next()
        except NoFrame as error:
            self.reason = str(error)
            return False
        self.captured_s = self._captured(self._decoder.captured_s)
        self.reason = "" if self._current is not None else self.opened.why_ended()
        return self._current is not None

    def _captured(self, sender_s: float | None) -> float:
        """Return when the current frame was captured as its sender says, or when it came, in our time."""
        return time.perf_counter() if sender_s is None else self._sender.captured_s(time.time() - sender_s)

    def _grab_paced(self, reader: Reader, clock: Clock) -> bool:
        if not reader.grab():
            self.reason = "it ended"
            return False
        due_s = clock.wait(reader.frame_s)
        self._due = due_s is not None
        self.captured_s = time.perf_counter() if due_s is None else due_s
        return not self._stop.is_set()

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Return whether the frame is to be shown, and it: ``(h, w, 3)`` uint8 BGR. A late one is not."""
        if self._reader is not None:
            return (True, self._reader.retrieve()) if self._due else (False, None)
        return True, self._images.image(self._current)  # type: ignore[arg-type]

    def get(self, prop: int) -> float:
        """Return the frame rate for ``cv2.CAP_PROP_FPS``; 0 where the stream does not say it."""
        return (self.opened.fps or 0.0) if prop == cv2.CAP_PROP_FPS else 0.0

    def stop(self) -> None:
        """End a wait for a frame that is not due yet, or for a process that receives, from any thread."""
        self._stop.set()
        self.opened.stop()

    def release(self) -> None:
        """Close the connection; only for the thread that reads."""
        self.stop()
        self._current = None
        if self._decoder is not None:
            self._decoder.close()
        self.opened.close()


class AddressedStream:
    """A stream by its URL, or standard input by ``-``: a ``Device`` of FFmpeg's libraries."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Set the URL; it is not opened yet. A server may be silent for ``timeout_s``, in opening and in reading."""
        self._url = url
        self._timeout_s = timeout_s
        self._told = False
        self._asked = False
        self.name = shown(url)
        self.stem = "stdin" if url == "-" else "stream"

    def open(self) -> StreamCapture:
        """Connect; ``InputError`` says why no video comes."""
        try:
            opened = open_container(self._url, timeout_s=None if self._url == "-" else self._timeout_s)
        except HungUp as error:
            if self._asked:  # a server that hangs up is not to be asked twice as often
                raise
            self._asked = True
            text = as_text(self._url, self._timeout_s)
            if text is None:
                raise
            raise text from error
        if opened.live and opened.format in _IN_BURSTS and not self._told:
            self._told = True
            _log.warning(
                "'%s' is %s: the age of its frames does not include the segments that the server collects before it "
                "sends them, three of them at least.",
                self.name,
                opened.format.upper(),
            )
        return StreamCapture(opened, timeout_s=self._timeout_s)

    def may_recover(self) -> bool:
        """Return False: FFmpeg keeps the error of a connection, also that of a timeout."""
        return False
