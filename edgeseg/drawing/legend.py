"""Draw a legend of the classes that occur, beside an image or into the corner of live frames."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import ColorOrder
from edgeseg.drawing.captions import FONT, cut_text, darken, text_metrics, text_width
from edgeseg.drawing.look import Look
from edgeseg.drawing.painter import Painter
from edgeseg.segmenter import Segmentation
from edgeseg.spec import Color, ModelSpec

_OUTLINE = (128, 128, 128)

#: The share of the pixels at which a class enters the live legend, and below which it leaves, in [0, 1].
_ENTERS, _LEAVES = 0.005, 0.0025

#: Weight of the newest frame in a share: a class that flashes for a frame does not enter.
_NEWEST = 0.1

#: How far a share moves, in [0, 1], before its figure changes, so that a figure does not flicker between two.
_STEP = 0.0075

#: A class that is listed keeps its line until another has so many times its share.
_KEEPS_LINE = 1.5

#: The most of a frame that the live legend covers, and the most of its width, in [0, 1].
_AREA, _WIDTH = 1 / 5, 2 / 5


@dataclass(frozen=True)
class _Entry:
    """One line: the color in the order of the image; None for the line that counts the classes without a line."""

    color: Color | None
    name: str
    figure: str


def add_legend(image: NDArray[np.uint8], segmentation: Segmentation, look: Look | None = None) -> NDArray[np.uint8]:
    """Put a strip to the right of an image: a color, a name and a share for each class that is shown and occurs.

    Args:
        image: ``(h, w, 3)`` RGB or ``(h, w, 4)`` RGBA, uint8.
        segmentation: gives names and shares.
        look: how the image was drawn; an overlay when omitted.

    Returns:
        The image with the strip, at the same height. The class with most pixels is first; where there is not room for
        all, the last line says how many are missing.
    """
    height, width = image.shape[:2]
    scale, row, pad = text_metrics(height)
    painter = Painter(segmentation.spec, look)
    shares = np.bincount(segmentation.class_map.ravel(), minlength=256) / segmentation.class_map.size
    occurring = (shares > 0) & painter.shown
    ids = sorted(np.flatnonzero(occurring[: segmentation.spec.num_classes]).tolist(), key=lambda index: -shares[index])
    entries = [
        _Entry(
            _color(painter.colors, index, "rgb"), segmentation.spec.class_names[index], f"{100 * shares[index]:.1f} %"
        )
        for index in ids
    ]
    room = max(1, (height - pad) // row)
    if len(entries) > room:
        entries = [*entries[: room - 1], _Entry(None, f"+{len(entries) - room + 1} more", "")]
    # A name may be a sentence: the strip is at most as wide as half the image, or as a short name.
    most = max(width // 2, round(400 * scale))
    strip = np.full((height, min(most, _width(entries, scale, row, pad)), 3), 255, np.uint8)
    _draw_entries(strip, entries, (0, 0, 0), scale, row, pad)
    if image.shape[2] == 4:
        strip = np.dstack([strip, np.full(strip.shape[:2], 255, np.uint8)])
    return np.hstack([image, strip])


class LiveLegend:
    """Draws a legend into the top right corner of frame after frame, which keep their size.

    Classes are in the order of the ids. Shares are smoothed over about ten frames; a class enters at 0.5 % of the
    pixels and leaves below 0.25 %. The legend is drawn again when a line changes, and copied otherwise.
    """

    def __init__(self, spec: ModelSpec, painter: Painter, *, order: ColorOrder = "rgb") -> None:
        """Set the names and colors; ``painter`` draws the frames, whose color order is ``order``."""
        self._spec = spec
        self._painter = painter
        self._order: ColorOrder = order
        self._shares: NDArray[np.float64] | None = None
        self._figures = np.zeros(256)  # the shares that are written
        self._listed = np.zeros(256, bool)
        self._lined = np.zeros(256, bool)  # the listed ones that there is room for
        self._widths = np.zeros(256, np.intp)
        self._measured_for = 0  # the height of the frames
        self._drawn: tuple[list[_Entry], tuple[int, int]] = ([], (0, 0))
        self._panel = np.empty((0, 0, 3), np.uint8)
        self._ink = np.empty((0, 0), np.uint8)

    def draw(self, image: NDArray[np.uint8], class_map: NDArray[np.uint8], keep_off: tuple[int, int] = (0, 0)) -> None:
        """Draw the legend into a frame, on a darkened background.

        Args:
            image: ``(h, w, 3)`` uint8; it is drawn into.
            class_map: ``(H, W)`` uint8 class ids of any size; a small map is counted faster.
            keep_off: ``(height, width)`` of what is at the top left, such as ``draw_status`` returns.
        """
        self._count(class_map)
        height, width = image.shape[:2]
        _, row, pad = text_metrics(height)
        most = min(int(width * _WIDTH), self._wanted_width(height))
        top = keep_off[0] if keep_off[1] > width - most else 0
        lines = max(0, (min(height - top, int(_AREA * height * width / max(1, most))) - pad) // row)
        entries = self._entries(lines)
        if entries != self._drawn[0] or (height, width) != self._drawn[1]:
            self._draw_panel(entries, (height, width), most)
        panel_h, panel_w = self._panel.shape[:2]
        if panel_h:
            corner = image[top : top + panel_h, width - panel_w :]
            darken(corner)
            cv2.copyTo(self._panel, self._ink, dst=corner)

    def _wanted_width(self, height: int) -> int:
        """Return the width of a panel with all listed names in full, for a frame of a height."""
        if height != self._measured_for:
            scale, row, pad = text_metrics(height)
            fixed = text_width("100 %", scale) + row + 4 * pad
            self._widths = np.zeros(256, np.intp)
            for index in range(self._spec.num_classes):
                self._widths[index] = text_width(self._spec.class_names[index], scale) + fixed
            self._measured_for = height
        return int(self._widths[self._listed].max(initial=0))

    def _count(self, class_map: NDArray[np.uint8]) -> None:
        sample = np.ascontiguousarray(class_map[::2, ::2])  # a quarter of the pixels says the same
        shares = np.bincount(sample.ravel(), minlength=256) / sample.size
        self._shares = shares if self._shares is None else self._shares + _NEWEST * (shares - self._shares)
        self._listed = self._painter.shown & (self._shares >= np.where(self._listed, _LEAVES, _ENTERS))
        self._figures = np.where(np.abs(self._shares - self._figures) >= _STEP, self._shares, self._figures)
        self._listed[self._spec.num_classes :] = False
        self._figures[~self._listed] = 0

    def _entries(self, lines: int) -> list[_Entry]:
        assert self._shares is not None
        ids = np.flatnonzero(self._listed)
        extra = []
        if len(ids) > lines:
            rank = self._shares[ids] * np.where(self._lined[ids], _KEEPS_LINE, 1)
            kept = ids[np.argsort(-rank, kind="stable")[: max(0, lines - 1)]]
            extra = [_Entry(None, f"+{len(ids) - len(kept)} more", "")][:lines]
            ids = np.sort(kept)
        self._lined[:] = False
        self._lined[ids] = True
        entries = []
        for index in ids.tolist():
            percent = round(100 * self._figures[index])
            figure = f"{percent} %" if percent else "<1 %"
            entries.append(
                _Entry(_color(self._painter.colors, index, self._order), self._spec.class_names[index], figure)
            )
        return entries + extra

    def _draw_panel(self, entries: list[_Entry], size: tuple[int, int], most: int) -> None:
        scale, row, pad = text_metrics(size[0])
        self._drawn = (entries, size)
        fits = entries and most - row - 4 * pad >= text_width("m...99 %", scale)
        self._panel = np.zeros((pad + row * len(entries), most, 3) if fits else (0, 0, 3), np.uint8)
        if fits:
            _draw_entries(self._panel, entries, (255, 255, 255), scale, row, pad)
        self._ink = self._panel.max(axis=2)


def _color(colors: NDArray[np.uint8], index: int, order: ColorOrder) -> Color:
    red, green, blue = colors[index].tolist()
    return (red, green, blue) if order == "rgb" else (blue, green, red)


def _width(entries: list[_Entry], scale: float, row: int, pad: int) -> int:
    names = max((text_width(entry.name, scale) for entry in entries), default=0)
    figures = max((text_width(entry.figure, scale) for entry in entries), default=0)
    return names + figures + row + 4 * pad


def _draw_entries(
    image: NDArray[np.uint8], entries: list[_Entry], ink: Color, scale: float, row: int, pad: int
) -> None:
    """Draw the lines into a panel: names at the left, cut to what the figures at the right leave."""
    right = image.shape[1] - pad
    figures = max((text_width(entry.figure, scale) for entry in entries), default=0)
    for index, entry in enumerate(entries):
        top = pad + index * row
        base = top + row - pad
        if entry.color is not None:
            corners = (pad, top), (pad + row - pad // 2, top + row - pad // 2)
            cv2.rectangle(image, *corners, entry.color, cv2.FILLED)
            cv2.rectangle(image, *corners, _OUTLINE, 1)  # or a white class would be invisible on white
        name = cut_text(entry.name, scale, right - figures - pad - 2 * pad - row)
        cv2.putText(image, name, (2 * pad + row, base), FONT, scale, ink, 1, cv2.LINE_AA)
        place = (right - text_width(entry.figure, scale), base)
        cv2.putText(image, entry.figure, place, FONT, scale, ink, 1, cv2.LINE_AA)
