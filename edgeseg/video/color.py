"""Choose the color matrix of a video that is written, and say it in the video's tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: Rows from which a video counts as high definition: what players assume of one without tags.
HD_ROWS = 720


@dataclass(frozen=True)
class ColorTags:
    """How BGR becomes YUV; the numbers are those of ITU-T H.273, which every codec and container uses.

    Attributes:
        name: of the matrix.
        matrix: ``matrix_coefficients``.
        primaries: always those of BT.709, which are sRGB's: the frames are sRGB whatever their size.
        transfer: always that of BT.709, which browsers and players show as they show sRGB.
    """

    name: Literal["bt601", "bt709"]
    matrix: int
    primaries: int = 1
    transfer: int = 1


BT601 = ColorTags("bt601", matrix=6)
BT709 = ColorTags("bt709", matrix=1)


def tags_for(size_hw: tuple[int, int]) -> ColorTags:
    """Return the matrix for a size: the one that a player without regard for tags assumes, so that it is right too."""
    return BT709 if size_hw[0] >= HD_ROWS else BT601


def set_tags(context: Any, tags: ColorTags) -> None:
    """Set the tags of a PyAV codec context, before it is opened; the range is the limited one, as players expect."""
    context.colorspace = tags.matrix
    context.color_primaries = tags.primaries
    context.color_trc = tags.transfer
    context.color_range = 1  # AVCOL_RANGE_MPEG


class ToYuv:
    """Converts frames to 4:2:0 in a matrix, with one converter for all of them."""

    def __init__(self, tags: ColorTags) -> None:
        from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

        self._reformatter = VideoReformatter()
        self._matrix = Colorspace.ITU709 if tags is BT709 else Colorspace.ITU601
        self._range = ColorRange.MPEG

    def __call__(self, frame: Any) -> Any:
        """Return a PyAV frame, which has a time, as 4:2:0 of the same time."""
        converted = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=self._matrix, dst_color_range=self._range
        )
        converted.pts, converted.time_base = frame.pts, frame.time_base
        return converted
