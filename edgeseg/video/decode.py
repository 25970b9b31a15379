"""Decode the video stream of an open container into images, with the time of each, and count what is damaged."""

from __future__ import annotations

import errno
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.text import escaped
from edgeseg.video.container import Opened

if TYPE_CHECKING:
    from av.filter import Graph
    from av.packet import Packet
    from av.video.frame import VideoFrame

#: A gap of time stamps that is longer is an error in them, or a stream that began anew, and not an image that stood.
LONGEST_FRAME_S = 60.0

#: A frame that is earlier than the one before by no more is out of order, as after a damaged place; by more, it begins
#: anew.
_OUT_OF_ORDER_S = 1.0

#: What a frame is shown for where neither time stamps nor a rate say it.
_UNKNOWN_FRAME_S = 1 / 25

#: Reads of a container that fail in a row until it counts as ended: a damaged place is passed, a broken disk is not.
_MOST_FAILED_READS = 20

#: Frames that a decoder may hold back, and more.
_MOST_HELD_BACK = 64

# FFmpeg reads the index, asks for the frames before it, and gets the file from its beginning.
_WITHOUT_RANGES = (
    "; an MP4 whose index is at its end needs a server with byte ranges, or "
    "ffmpeg -i IN.mp4 -c copy -movflags +faststart OUT.mp4"
)


class NoFrame(Exception):
    """A stream that is open delivers no image; the text says what came in place of one."""


class Decoder:
    """The frames of a container in their order, deinterlaced; not yet converted to images.

    Attributes:
        damaged: packets so far that could not be decoded, or that the container calls corrupt.
        discarded: packets that the container itself says are not to be shown, as a cut without encoding leaves them.
        captured_s: when the last frame of a live stream was captured, by the sender's clock, in the time of
            ``time.time``; ``None`` where the stream does not say it, as before the first report of an RTP sender.
    """

    def __init__(self, opened: Opened, *, timeout_s: float | None = None) -> None:
        """Prepare the decoder.

        Args:
            opened: the container; the caller closes it.
            timeout_s: how long a stream may deliver packets without an image among them.
        """
        context = opened.stream.codec_context
        if opened.live:
            # n threads hold n - 1 frames back before they deliver the first: 7 on 8 cores, a quarter of a second.
            context.thread_count = 1
        else:
            context.thread_type = "AUTO"
        self.damaged = 0
        self.discarded = 0
        self._opened = opened
        self._timeout_s = timeout_s
        self._deinterlacer: _Deinterlacer | None = None
        self._ready: deque[VideoFrame] = deque()
        self._packets = self._read()
        self.captured_s: float | None = None
        self._captured: dict[int, float] = {}  # by the time stamps of packets that are not decoded yet

    def next(self) -> VideoFrame | None:
        """Return the next frame; ``None`` after the last.

        Raises:
            NoFrame: the connection broke, or no image came in time.
        """
        began_s = time.monotonic()
        while not self._ready:
            if self._timeout_s is not None and time.monotonic() - began_s > self._timeout_s:
                raise NoFrame(f"no image came within {self._timeout_s:g} s")
            packet = next(self._packets, None)
            if packet is None:
                if self._deinterlacer is not None:
                    self._ready.extend(self._deinterlacer.flush())
                    self._deinterlacer = None
                if not self._ready:
                    return None
            elif packet.stream_index == self._opened.stream.index:
                if self._opened.live:
                    self._note_capture(packet)
                self._decode(packet)
        frame = self._ready.popleft()
        self.captured_s = self._captured.pop(frame.pts, None) if frame.pts is not None else None
        return frame

    def close(self) -> None:
        """Let go of what was decoded; the frames and the codec hold memory that no collection counts."""
        self._packets.close()
        self._ready.clear()
        self._deinterlacer = None

    def _note_capture(self, packet: Packet[Any]) -> None:
        """Keep when a packet was captured: FFmpeg computes it from RTCP's sender reports."""
        if packet.pts is None or not packet.has_sidedata("prft"):
            return
        reference = bytes(packet.get_sidedata("prft"))  # AVProducerReferenceTime: microseconds since 1970, flags
        if len(self._captured) >= _MOST_HELD_BACK:
            self._captured.clear()  # of frames that did not decode
        self._captured[packet.pts] = int.from_bytes(reference[:8], sys.byteorder, signed=True) / 1e6

    def _decode(self, packet: Packet[Any]) -> None:
        import av

        self.discarded += packet.is_discard
        self.damaged += packet.is_corrupt
        try:
            frames: list[VideoFrame] = packet.decode()
        except av.EOFError:
            return  # flushed twice
        except (av.FFmpegError, ValueError):
            self.damaged += packet.size > 0 and not packet.is_corrupt
            return
        for frame in frames:
            if self._deinterlacer is None and not frame.interlaced_frame:
                self._ready.append(frame)
                continue
            if self._deinterlacer is None or not self._deinterlacer.fits(frame):
                if self._deinterlacer is not None:
                    self._ready.extend(self._deinterlacer.flush())
                self._deinterlacer = _Deinterlacer(frame)
            self._ready.extend(self._deinterlacer.filtered(frame))

    def _read(self) -> Generator[Packet[Any]]:
        """Yield packets, after a damaged place too; the last ones are empty and flush the decoder."""
        import av

        container = self._opened.container
        failures = 0
        began = False
        while failures < _MOST_FAILED_READS:
            try:
                for packet in container.demux():
                    failures = 0
                    began = True
                    yield packet
                return
            except (av.ExitError, av.TimeoutError) as error:
                raise NoFrame(f"no image came within {self._timeout_s or 0:g} s") from error
            except (av.FFmpegError, RuntimeError) as error:
                if self._opened.remote:
                    yield self._flush()
                    if began and self._opened.unmeasured and getattr(error, "errno", None) == errno.EIO:
                        return  # the connection's end is that of the video: what is missing is counted
                    without_ranges = not began and "mp4" in self._opened.format
                    raise NoFrame(_what_broke(error) + _WITHOUT_RANGES * without_ranges) from error
                failures += 1
                self.damaged += 1

    def _flush(self) -> Packet[Any]:
        """Return the packet that makes the decoder hand over what it holds back."""
        import av

        packet: Packet[Any] = av.Packet()
        packet.stream = self._opened.stream
        return packet


def content_of(opened: Opened) -> bytes:
    """Return a whole image that a container has, undecoded; the container is at its end then.

    Raises:
        NoFrame: the connection broke, or nothing came in time.
    """
    import av

    try:
        return b"".join(bytes(packet) for packet in opened.container.demux())
    except (av.FFmpegError, RuntimeError) as error:
        raise NoFrame(_what_broke(error)) from error


def _what_broke(error: Exception) -> str:
    import av

    if isinstance(error, av.InvalidDataError):
        return "what it sent is cut off, or no video"
    if isinstance(error, av.HTTPError | av.HTTPClientError):
        return f"the server answers with an error: {error.strerror}"
    if getattr(error, "errno", None) == errno.EIO:
        return "the server closed the connection"
    if isinstance(error, OSError):
        return f"the connection broke: {error.strerror}"
    return escaped(str(getattr(error, "strerror", None) or error), most=200)


class _Deinterlacer:
    """FFmpeg's ``bwdif`` on the frames that say they are interlaced: as many frames as before, each whole."""

    def __init__(self, frame: VideoFrame) -> None:
        from av.filter import Graph

        assert frame.time_base is not None
        self._like = self._kind(frame)
        self._graph: Graph = Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    @staticmethod
    def _kind(frame: VideoFrame) -> tuple[int, int, str]:
        return frame.width, frame.height, frame.format.name

    def fits(self, frame: VideoFrame) -> bool:
        """Return whether a frame has the size and format of the first."""
        return self._kind(frame) == self._like

    def filtered(self, frame: VideoFrame) -> list[VideoFrame]:
        """Take a frame, and return those that are done: it looks one frame ahead."""
        self._graph.vpush(frame)
        return self._pulled()

    def flush(self) -> list[VideoFrame]:
        """Return the frames that are held back."""
        self._graph.vpush(None)
        return self._pulled()

    def _pulled(self) -> list[VideoFrame]:
        import av

        frames = []
        try:
            while True:
                frames.append(self._graph.vpull())
        except (av.BlockingIOError, av.EOFError):
            return frames


class Reader:
    """A video read from beginning to end, one frame after the other.

    Attributes:
        time_s: when the current frame is shown, from the first one on, by the container's time stamps.
        frame_s: how long it is shown: to the next frame's time stamp, by the frame's own duration at the end.
    """

    def __init__(self, opened: Opened, *, timeout_s: float | None = None) -> None:
        """Take over an open container; ``close`` closes it."""
        self.opened = opened
        self.time_s = 0.0
        self.frame_s = 0.0
        self._decoder = Decoder(opened, timeout_s=timeout_s)
        self._frame_s = 1 / opened.fps if opened.fps else _UNKNOWN_FRAME_S
        self._images = Images()
        self._frame: VideoFrame | None = None
        self._next: VideoFrame | None = None
        self._begun = False
        self._origin_s = 0.0  # the container's time at which this one is 0
        self._lost: NoFrame | None = None

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded so far."""
        return self._decoder.damaged

    @property
    def discarded(self) -> int:
        """Packets that the container itself says are not to be shown."""
        return self._decoder.discarded

    def grab(self) -> bool:
        """Go to the next frame; return ``False`` after the last.

        Raises:
            NoFrame: the connection broke, or no image came in time.
        """
        if not self._begun:
            self._begun = True
            self._frame = self._decoder.next()
            self._origin_s = 0.0 if self._frame is None or self._frame.time is None else self._frame.time
        elif self._frame is not None:
            self.time_s += self.frame_s
            self._frame = self._next
        if self._frame is None:
            if self._lost is not None:
                raise self._lost
            return False
        try:
            self._next = self._decoder.next()
        except NoFrame as error:  # after this frame, which is whole
            self._next, self._lost = None, error
        self.frame_s = self._shown_for(self._frame, self._next)
        return True

    def retrieve(self) -> NDArray[np.uint8]:
        """Return the current frame as ``(h, w, 3)`` uint8 BGR."""
        assert self._frame is not None
        return self._images.image(self._frame)

    def close(self) -> None:
        """Close the container; only for the thread that reads."""
        self._frame = self._next = None
        self._decoder.close()
        self.opened.close()

    def _shown_for(self, frame: VideoFrame, following: VideoFrame | None) -> float:
        if following is None:
            duration_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
            return duration_s if 0 < duration_s <= LONGEST_FRAME_S else self._frame_s
        if following.time is None:
            return self._frame_s
        duration_s = following.time - self._origin_s - self.time_s
        if 0 < duration_s <= LONGEST_FRAME_S:
            return duration_s
        if -_OUT_OF_ORDER_S <= duration_s <= 0:
            return 0.0
        self._origin_s = following.time - self.time_s - self._frame_s
        return self._frame_s


class Images:
    """Makes upright images of frames: ``(h, w, 3)`` uint8 BGR, by the color matrix, range and orientation of each.

    Where a frame does not say its matrix it is BT.601's, as with FFmpeg; transparency is dropped.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # kept: preparing one takes as long as converting a small frame
        self._rotation: int | None = None
        self._matrix: NDArray[np.int32] | None = None

    def image(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a frame as an image of its own."""
        # Bicubic is FFmpeg's own choice: between pixels the colors of 10 bits and of odd sizes depend on it.
        converted = self._reformatter.reformat(frame, format="bgr24", interpolation="BICUBIC")
        image = cast("NDArray[np.uint8]", converted.to_ndarray())
        if frame.rotation != self._rotation:
            # Not of every frame: the side data of one keeps it in memory until a collection. A mirrored video has no
            # rotation, and says it from the first frame on.
            self._rotation = frame.rotation
            self._matrix = _display_matrix(frame)
        return np.ascontiguousarray(image if self._matrix is None else oriented(image, self._matrix))


def _display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    for data in cast("Iterator[Any]", frame.side_data):
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(bytes(data), np.int32)
    return None


def oriented(image: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return an image as a display matrix turns and mirrors it, to the nearest quarter.

    Args:
        image: ``(h, w, 3)`` uint8.
        matrix: nine numbers ``a b u c d v x y w``: a pixel at ``(p, q)`` is shown at ``(a p + c q, b p + d q)``.
    """
    if matrix.size != 9:
        return image
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) < abs(b) + abs(c):  # a quarter turn: columns become rows
        image = cv2.transpose(image)  # type: ignore[assignment]
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    if not (flip_x or flip_y):
        return image
    return cv2.flip(image, -1 if flip_x and flip_y else 1 if flip_x else 0)  # type: ignore[return-value]
