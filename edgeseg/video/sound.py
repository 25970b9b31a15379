"""Copy the sound of a source's file into the video that is made of it, without decoding it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


class Sound:
    """Reads the sound of a file beside its frames, which someone else reads.

    Args:
        path: the source.
        begin_s: time in the source, in seconds from its first frame, at which the video begins.
    """

    def __init__(self, path: Path, begin_s: float = 0.0) -> None:
        self._path = path
        self._begin_s = begin_s
        self._input: Any = None
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None
        self._last = -1

    def add_to(self, container: Any, shown: str) -> bool:
        """Add a stream to a PyAV container that is being written, if the source has sound that fits into it.

        Args:
            container: before its first packet.
            shown: what is written, for a line in the log where the sound does not fit.
        """
        import av  # there where a container is

        try:
            self._input = av.open(f"file:{self._path}", metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
            _log.debug("'%s' has no sound to read: %s", self._path, error)
            return False
        stream = self._input.streams.best("audio")
        if stream is None:
            self.close()
            return False
        try:
            self._output = container.add_stream_from_template(stream)
        except (av.FFmpegError, OSError, ValueError):
            known = stream.codec_context is not None
            _log.warning(
                "the sound of '%s' (%s) does not fit into '%s' and is omitted%s.",
                self._path,
                stream.codec_context.name if known else "unknown",
                shown,
                "; .mkv takes any" if known else "",
            )
            self.close()
            return False
        video = self._input.streams.best("video")
        first_s = 0.0 if video is None or video.start_time is None else float(video.start_time * video.time_base)
        self._zero_s = first_s + self._begin_s
        if self._begin_s:
            self._input.seek(int(self._zero_s * 1_000_000))
        self._packets = (packet for packet in self._input.demux(stream) if packet.pts is not None)
        self._advance()
        return True

    def until(self, time_s: float) -> Iterator[Any]:
        """Yield the packets that begin before a time of the video, in seconds, each with its time and stream."""
        while self._next is not None:
            packet = self._next
            ticks = round(self._zero_s / packet.time_base)
            if (packet.pts - ticks) * packet.time_base >= time_s:
                return
            self._advance()
            packet.pts -= ticks
            if packet.pts > self._last:  # a damaged file may go back
                self._last = packet.pts
                packet.dts = packet.pts  # no codec of sound has another order
                packet.stream = self._output
                yield packet

    def _advance(self) -> None:
        import av

        try:
            self._next = next(self._packets, None)
        except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:  # the frames come all the same
            _log.warning("the sound of '%s' ends early: %s", self._path, error)
            self._next = None

    def close(self) -> None:
        """Close the source."""
        if self._input is not None:
            self._input.close()
            self._input = None
        self._next = None
