"""Build the charts of a page: SVG that takes its colors from the style sheet; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

#: All in pixels: the width of a drawing, the room for names left of the axis, and where an axis ends.
WIDTH = 1000.0
LABELS = 380.0
END = 960.0


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Map values to pixels.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: in pixels.
        end: in pixels; less than ``start`` for an axis that goes up.
        log: logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixels of a value."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)

    def ticks(self, count: int = 6) -> list[float]:
        """Return round values on the axis, about ``count`` of them."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            fine = [m * 10.0**d for d in decades for m in (1, 1.5, 2, 3, 5, 7)]
            ticks = [tick for tick in fine if self.low <= tick <= self.high]
            if 2 < len(ticks) < 2 * count:
                return ticks
            if len(ticks) > 2:
                return [10.0**d for d in decades if self.low <= 10.0**d <= self.high]
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        return [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def axis(low: float, high: float, *, start: float = LABELS, from_zero: bool) -> Axis:
    """Make a horizontal axis.

    Args:
        low: the smallest value.
        high: the largest.
        start: of the axis, in pixels.
        from_zero: whether it begins at 0, so that lengths can be compared; values of different orders of magnitude get
            a logarithmic axis all the same.
    """
    if high / low > 20:
        return Axis(low=low * 0.8, high=high * 1.2, start=start, end=END, log=True)
    return Axis(low=0.0 if from_zero else low, high=high * 1.05, start=start, end=END)


def grid(axis: Axis, bottom: float, unit: str) -> list[str]:
    """Draw a line and a number for each tick of a horizontal axis, and the unit at its end."""
    parts = []
    for tick in axis.ticks():
        parts.append(vertical(axis(tick), 0, bottom, "grid"))
        parts.append(text(axis(tick), bottom + 16, short(tick), anchor="middle"))
    return [*parts, text(END, bottom + 32, unit, anchor="end")]


def drawing(height: float, parts: Sequence[str], title: str) -> str:
    """Combine parts into an ``<svg>``; the title is for screen readers."""
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>\n"


def text(x: float, y: float, content: str, *, anchor: str, width: float | None = None) -> str:
    """Draw a line of text; text longer than ``width`` pixels is compressed, so that nothing is cut off."""
    pressed = ""
    if width is not None and len(content) * 6.0 > width:
        pressed = f' textLength="{width:.0f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{pressed}>{escape(content)}</text>'


def vertical(x: float, top: float, bottom: float, kind: str) -> str:
    """Draw a line from ``top`` to ``bottom``; ``kind`` is its class in the style sheet."""
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def horizontal(left: float, right: float, y: float, kind: str) -> str:
    """Draw a line from ``left`` to ``right``; ``kind`` is its class in the style sheet."""
    return f'<line class="{kind}" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def short(value: float) -> str:
    """Write a number without needless digits."""
    return f"{value:.6g}"
