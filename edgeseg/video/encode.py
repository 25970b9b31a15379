"""Encode frames into a video file with FFmpeg's libraries: H.264, VP9, an animated GIF, an HLS playlist."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.errors import InputError
from edgeseg.video.color import BT601, ToYuv, set_tags, tags_for
from edgeseg.video.library import load

if TYPE_CHECKING:
    from edgeseg.video.sound import Sound

_log = logging.getLogger(__name__)

#: Constant rate factor of H.264 (0 is lossless, 51 the worst, 23 x264's own): drawn edges and captions stay sharp.
CRF = 20
#: The same for VP9, whose scale ends at 63.
VP9_CRF = 31
#: What a hardware encoder, which knows no constant quality, may use: bits a pixel; 1080p at 30 fps gets 9.3 Mbit/s.
HARDWARE_BITS_PER_PIXEL = 0.15
#: The longest side that x264 takes.
H264_PIXELS = 16384
#: Seconds between images that need no other: what a player jumps to, and what a viewer of a playlist waits for.
KEY_INTERVAL_S = 2.0
#: Microseconds of video that a killed process loses at most: so long is a piece that is written at once.
PIECE_US = 500_000

#: Ticks a second that times are counted in; a multiple of every usual rate, 29.97 included.
TICKS = 90_000


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file.

    Attributes:
        container: FFmpeg's name of the muxer.
        codec: ``"h264"``, ``"vp9"`` or ``"gif"``.
        options: of the muxer.
        least_step: ticks between two frames at least; a frame that comes sooner is omitted.
        has_index: it has an index, which moves to the front when the file is closed.
    """

    __repr__ = short_repr

    container: str
    codec: str
    options: Mapping[str, str] = field(default_factory=dict)
    least_step: int = 1
    has_index: bool = False


# "hybrid_fragmented" writes pieces that each play by themselves, and makes one plain file of them at the end.
_PIECES = {"movflags": "+hybrid_fragmented", "frag_duration": str(PIECE_US), "flush_packets": "1"}
_CLUSTERS = {"cluster_time_limit": str(PIECE_US // 1000), "flush_packets": "1"}

#: Suffix to what is written.
FORMATS = {
    ".mp4": Format(container="mp4", codec="h264", options=_PIECES, has_index=True),
    ".mov": Format(container="mov", codec="h264", options=_PIECES, has_index=True),
    ".mkv": Format(container="matroska", codec="h264", options=_CLUSTERS, least_step=TICKS // 1000),
    ".webm": Format(container="webm", codec="vp9", options=_CLUSTERS, least_step=TICKS // 1000),
    # Browsers show a delay of less than two hundredths of a second as ten.
    ".gif": Format(container="gif", codec="gif", options={"loop": "0"}, least_step=TICKS // 50),
    ".m3u8": Format(
        container="hls",
        codec="h264",
        options={"hls_time": f"{KEY_INTERVAL_S:g}", "hls_playlist_type": "event", "hls_flags": "independent_segments"},
    ),
}


def failures() -> tuple[type[Exception], ...]:
    """Return what PyAV raises when FFmpeg fails: mostly ``OSError`` and ``ValueError``, and errors of its own."""
    from av.error import FFmpegError

    return (FFmpegError, OSError, ValueError, RuntimeError)


class Encoder:
    """Writes frames of one size to one file, each with its time; for one thread.

    Args:
        path: the file; what is there is replaced.
        kind: of ``FORMATS``.
        size_hw: of the frames that come; the last row or column of an odd size is omitted.
        fps: frames per second, of which the last frame's duration is made where it is not given.
        sound: of the source, copied where it fits.

    Raises:
        InputError: no encoder takes this size.
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: Path, kind: Format, size_hw: tuple[int, int], fps: float, sound: Sound | None = None
    ) -> None:
        av = load(f"writing '{path}'")
        height, width = (side if kind.codec == "gif" else side & ~1 for side in size_hw)
        if not height or not width:
            raise InputError(f"'{path}' cannot have frames of {size_hw[1]}x{size_hw[0]}: both sides need two pixels.")
        if kind.codec == "h264" and max(height, width) > H264_PIXELS:
            raise InputError(
                f"'{path}' cannot have frames of {width}x{height}: H.264 has {H264_PIXELS} pixels a side at most; save "
                "to .webm, which has 65535, or to a folder of images."
            )
        self._av, self._kind, self._size_hw = av, kind, (height, width)
        self._frame_ticks = max(kind.least_step, round(TICKS / fps))
        # A stream without packets for a while, as a pause of the sound, holds the other one back no longer than this.
        options = {**kind.options, "max_interleave_delta": str(PIECE_US)}
        if kind.container == "hls":
            options["hls_segment_filename"] = f"file:{path.with_name(piece_stem(path))}_%05d.ts"
        self._container = av.open(f"file:{path}", "w", format=kind.container, container_options=options)
        self._last: int | None = None
        try:
            self.name = self._choose_encoder(fps)
            self._stream = self._add_stream(self.name, fps)
            self._stream.codec_context.open()  # x264 refuses a size only now; the file is opened by the first frame
            self._convert = self._converter()
            fits = sound is not None and kind.codec != "gif" and sound.add_to(self._container, str(path))
            self._sound = sound if fits else None
        except failures() as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"no encoder takes {width}x{height} at {fps:g} frames a second: {why}.") from error

    def frame(self, image_bgr: NDArray[np.uint8]) -> Any:
        """Return a copy of an image ``(h, w, 3)`` uint8 BGR for ``add``; callable from another thread."""
        height, width = self._size_hw
        return self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image_bgr[:height, :width]), format="bgr24")

    def add(self, frame: Any, ticks: int, lasts: int | None = None) -> bool:
        """Encode a frame that is shown from ``ticks`` on, and for ``lasts`` ticks where nothing follows.

        Returns:
            False where it is omitted: the file counts time in larger steps.

        Raises:
            OSError: the file cannot be written.
        """
        if self._last is not None and ticks < self._last + self._kind.least_step:
            return False
        self._last, self._lasts = ticks, lasts or self._frame_ticks
        frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
        for converted in self._convert(frame):
            self._mux(self._stream.encode(converted))
        self._copy_sound(ticks)
        return True

    def close(self) -> None:
        """Write what the encoder holds, and finish the file.

        Raises:
            OSError: it cannot be written.
        """
        try:
            if self._last is not None:
                self._mux(self._stream.encode(None))
                self._copy_sound(self._last + self._lasts)
        finally:
            if self._sound is not None:
                self._sound.close()
            self._container.close()

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # The last one's counts: the others last until the next begins.
            packet.duration = round(self._lasts / TICKS / packet.time_base)
            self._container.mux(packet)

    def _copy_sound(self, ticks: int) -> None:
        if self._sound is None:
            return
        try:
            for packet in self._sound.until(ticks / TICKS):
                self._container.mux(packet)
        except failures() as error:  # a full disk is found with the next frame
            _log.warning("the sound ends early: %s", error)
            self._sound.close()
            self._sound = None

    def _choose_encoder(self, fps: float) -> str:
        match self._kind.codec:
            case "h264":
                works = has_hardware() and _hardware_works(self._av, self._size_hw, fps)
                return "h264_v4l2m2m" if works else "libx264"
            case "vp9":
                return "libvpx-vp9"
            case codec:
                return codec

    def _add_stream(self, encoder: str, fps: float) -> Any:
        stream = self._container.add_stream(encoder, rate=Fraction(fps).limit_denominator(100_000))
        configure(stream.codec_context, encoder, self._size_hw, fps)
        stream.time_base = stream.codec_context.time_base
        return stream

    def _converter(self) -> Any:
        if self._kind.codec == "gif":
            return _Palette(self._av, self._size_hw)
        to_yuv = ToYuv(tags_for(self._size_hw))
        return lambda frame: [to_yuv(frame)]


def configure(context: Any, encoder: str, size_hw: tuple[int, int], fps: float) -> None:
    """Set up a PyAV codec context for an encoder; every frame leaves it at once, so that nothing queues up in it."""
    context.height, context.width = size_hw
    context.time_base = Fraction(1, TICKS)
    if encoder == "gif":
        context.pix_fmt, context.time_base = "pal8", Fraction(1, 100)
        return
    context.pix_fmt = "yuv420p"
    context.gop_size = max(1, round(KEY_INTERVAL_S * fps))
    set_tags(context, tags_for(size_hw))
    match encoder:
        case "libx264":
            # No look-ahead and no B frames. A killed process loses no frame, and the end waits for none. What a live
            # loop lacks is time: with "superfast" it takes 8 % more than with OpenCV's encoder, with this 6 %.
            context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(CRF)}
        case "libvpx-vp9":
            context.options = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0"}
            context.options |= {"crf": str(VP9_CRF), "b": "0", "tile-columns": "2"}
        case _:
            context.bit_rate = int(size_hw[0] * size_hw[1] * fps * HARDWARE_BITS_PER_PIXEL)


def piece_stem(playlist: Path) -> str:
    """Return what the names of a playlist's pieces begin with: FFmpeg would count at a percent sign of its own."""
    return playlist.stem.replace("%", "-")


def has_hardware() -> bool:
    """Return whether this machine may have a V4L2 encoder: boards have, PCs have not."""
    return sys.platform.startswith("linux") and platform.machine() in ("aarch64", "armv7l") and _video_nodes()


def _video_nodes() -> bool:
    return any(Path("/dev").glob("video*"))


def _hardware_works(av: Any, size_hw: tuple[int, int], fps: float) -> bool:
    """Try the hardware encoder with a black frame; that it is listed says nothing."""
    try:
        context = av.CodecContext.create("h264_v4l2m2m", "w")
        configure(context, "h264_v4l2m2m", size_hw, fps)
        frame = av.VideoFrame.from_ndarray(np.zeros((*size_hw, 3), np.uint8), format="bgr24")
        frame.pts, frame.time_base = 0, Fraction(1, TICKS)
        converted = ToYuv(BT601)(frame)
        packets = [*context.encode(converted), *context.encode(None)]
    except failures() as error:
        _log.debug("h264_v4l2m2m does not work here: %s", error)
        return False
    return any(packet.size for packet in packets)


class _Palette:
    """Gives each frame the 256 colors that are in it; FFmpeg's own palette for GIF is the same for all videos."""

    def __init__(self, av: Any, size_hw: tuple[int, int]) -> None:
        height, width = size_hw
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, TICKS))
        split = graph.add("split")
        make = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(make, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._graph = graph
        self._again = (av.error.BlockingIOError, av.error.EOFError)

    def __call__(self, frame: Any) -> list[Any]:
        rgb = frame.reformat(format="rgb24")
        rgb.pts, rgb.time_base = frame.pts, frame.time_base
        self._graph.push(rgb)
        found = []
        while True:
            try:
                found.append(self._graph.pull())
            except self._again:
                return found
