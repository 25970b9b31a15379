"""Blend class colors and the contours of their areas into frames, at the cost of a small class map."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.imaging import at_size

#: The color of contours: lighter than any class's.
_CONTOUR = (255, 255, 255)

#: Rows of the frame that are blended at a time: few enough to stay in a core's cache.
_BAND = 64


class Overlay:
    """Blends the classes of map after map into frame after frame, with buffers that are reused.

    A model's map is smaller than the frame. It is widened, then colored, and contours are drawn into its rows; a row of
    the frame is a copy of one of them, so that only the copy and the blending work on the frame's own size. A map of
    the frame's size is drawn band by band, so that a large image takes little memory.
    """

    def __init__(self, colors: NDArray[np.uint8], shown: NDArray[np.bool_], alpha: float) -> None:
        """Prepare the tables.

        Args:
            colors: ``(256, 3)`` uint8, in the order of the frames.
            shown: ``(256,)`` bool: the ids that are drawn; the rest of the frame stays as it is.
            alpha: weight of the colors, in [0, 1].
        """
        self._colors = np.ascontiguousarray(colors)[:, None]
        self._alpha = alpha
        hidden = np.flatnonzero(~shown)
        #: All ids that are not shown become one of them: there is no contour between them.
        self._hidden_id = int(hidden[0]) if hidden.size else None
        merged = np.where(shown, np.arange(256), self._hidden_id or 0).astype(np.uint8)
        self._merged = merged if hidden.size > 1 else None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def __call__(self, image: NDArray[np.uint8], class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw into an image.

        Args:
            image: ``(h, w, 3)`` uint8; it is drawn into.
            class_map: uint8 class ids, ``(h, w)`` or smaller.

        Returns:
            ``image``.
        """
        if self._shapes != (image.shape, class_map.shape):
            self._prepare(image.shape, class_map.shape)
        ids: NDArray[np.uint8] = class_map if self._merged is None else cv2.LUT(class_map, self._merged)  # type: ignore[assignment]
        if self._by_rows:
            self._draw_small(image, ids)
        else:
            self._draw_large(image, at_size(ids, (image.shape[0], image.shape[1])))
        return image

    def _draw_small(self, image: NDArray[np.uint8], ids: NDArray[np.uint8]) -> None:
        height = len(ids)
        wide = cv2.resize(ids, (image.shape[1], height), interpolation=cv2.INTER_NEAREST_EXACT)
        # The upper half has the contours between pixels of one row, the lower half those to the row above as well.
        across, down = self._edges[:height], self._edges[height:]
        self._find_edges(wide, across, down)  # type: ignore[arg-type]
        cv2.bitwise_or(down, across, dst=down)
        cv2.applyColorMap(wide, self._colors, dst=self._rows[:height])
        self._rows[height:] = self._rows[:height]
        cv2.copyTo(self._contour, self._edges, dst=self._rows)
        if self._hidden_id is not None:
            cv2.compare(wide, self._hidden_ids[:height], cv2.CMP_EQ, dst=self._hidden[:height])
            # 255 is greater than 0: hidden, and no contour.
            cv2.compare(self._hidden[:height], down, cv2.CMP_GT, dst=self._hidden[height:])
            cv2.compare(self._hidden[:height], across, cv2.CMP_GT, dst=self._hidden[:height])
        for top in range(0, len(image), _BAND):
            rows = self._row_of[top : top + _BAND]
            layer, hidden = self._layer[: len(rows)], self._hidden_layer[: len(rows)]
            np.take(self._rows, rows, axis=0, out=layer, mode="clip")
            if self._hidden_id is not None:
                np.take(self._hidden, rows, axis=0, out=hidden, mode="clip")
            self._blend(image[top : top + _BAND], layer, hidden)

    def _draw_large(self, image: NDArray[np.uint8], ids: NDArray[np.uint8]) -> None:
        line = self._line
        for top in range(0, len(image), _BAND):
            above = min(top, line)  # rows whose contours reach into the band
            part = ids[top - above : top + _BAND]
            across, down = np.zeros(part.shape, np.uint8), np.zeros(part.shape, np.uint8)
            self._find_edges(part, across, down)
            if line > 1:
                cv2.dilate(down, np.ones((line, 1), np.uint8), dst=down, anchor=(0, line - 1))
            cv2.bitwise_or(down, across, dst=down)
            layer = cv2.applyColorMap(part, self._colors)
            cv2.copyTo(self._contour[: len(part)], down, dst=layer)
            hidden = down
            if self._hidden_id is not None:
                hidden = cv2.compare(part, self._hidden_ids[: len(part)], cv2.CMP_EQ)  # type: ignore[assignment]
                cv2.compare(hidden, down, cv2.CMP_GT, dst=hidden)
            self._blend(image[top : top + _BAND], layer[above:], hidden[above:])  # type: ignore[arg-type]

    def _find_edges(self, ids: NDArray[np.uint8], across: NDArray[np.uint8], down: NDArray[np.uint8]) -> None:
        """Write 255 where an id differs from the one to its left, as wide as the line, and from the one above it."""
        cv2.compare(ids[:, 1:], ids[:, :-1], cv2.CMP_NE, dst=across[:, 1:])
        cv2.compare(ids[1:], ids[:-1], cv2.CMP_NE, dst=down[1:])
        if self._line > 1:
            cv2.dilate(across, np.ones((1, self._line), np.uint8), dst=across, anchor=(self._line - 1, 0))

    def _blend(self, image: NDArray[np.uint8], layer: NDArray[np.uint8], hidden: NDArray[np.uint8]) -> None:
        if self._hidden_id is not None:
            cv2.copyTo(image, hidden, dst=layer)
        cv2.addWeighted(image, 1 - self._alpha, layer, self._alpha, 0, dst=image)

    def _prepare(self, shape: tuple[int, ...], map_shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        #: The width of a contour in pixels: it is to be seen on a screen, and large images are shown smaller.
        self._line = max(1, round(height / 480))
        source = _rows_of(map_shape[0], height)
        first = np.flatnonzero(np.diff(source, prepend=-1))
        # Not where a row of the map is not as high as the line, or is skipped.
        repeats = np.diff(first, append=height)
        thin = repeats[:-1].min(initial=height) < self._line
        self._by_rows = map_shape != shape[:2] and not thin and not (np.diff(source) > 1).any()
        rows = 2 * map_shape[0] if self._by_rows else _BAND + self._line
        self._contour = np.full((rows, width, 3), _CONTOUR, np.uint8)
        self._hidden_ids = np.full((rows, width), self._hidden_id or 0, np.uint8)
        if self._by_rows:
            #: The row of ``_rows`` that each row of the frame is a copy of; the first of each from the lower half.
            self._row_of = source.copy()
            for offset in range(self._line):
                below = first + offset
                below = below[below < height]
                self._row_of[below] = source[below] + map_shape[0]
            self._edges = np.zeros((rows, width), np.uint8)
            self._rows = np.empty((rows, width, 3), np.uint8)
            self._hidden = np.empty((rows, width), np.uint8)
            self._layer = np.empty((_BAND, width, 3), np.uint8)
            self._hidden_layer = np.empty((_BAND, width), np.uint8)
        self._shapes = (shape, map_shape)


def _rows_of(rows: int, height: int) -> NDArray[np.intp]:
    """Return ``(height,)``: the row of a map of so many rows that ``imaging.enlarge`` puts there."""
    column = np.arange(rows, dtype=np.float32)[:, None]
    return cv2.resize(column, (1, height), interpolation=cv2.INTER_NEAREST_EXACT).ravel().astype(np.intp)
