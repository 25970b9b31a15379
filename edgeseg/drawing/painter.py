"""Draw class maps over images (``Painter``, ``render``); colors come from table look-ups, never from class loops."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import ColorOrder
from edgeseg.drawing.anonymization import Anonymization
from edgeseg.drawing.class_filter import class_filter, ids_of
from edgeseg.drawing.composition import Composition, blur, light_wrap
from edgeseg.drawing.guided_filter import GuidedFilter
from edgeseg.drawing.look import Look
from edgeseg.drawing.overlay import Overlay
from edgeseg.drawing.palette import drawing_palette
from edgeseg.errors import InputError
from edgeseg.imaging import enlarge
from edgeseg.scores.score_map import ScoreMap
from edgeseg.spec import ModelSpec

#: The views that cut the shown classes out of the image.
_CUT = ("cutout", "blur", "replace")


class Segmented(Protocol):
    """A class map, the spec of its ids and their scores: a ``Segmentation``, or whatever has these."""

    @property
    def class_map(self) -> NDArray[np.uint8]: ...  # noqa: D102 - see the class
    @property
    def spec(self) -> ModelSpec: ...  # noqa: D102
    @property
    def score_map(self) -> ScoreMap | None: ...  # noqa: D102


class Painter:
    """Draws one view of frame after frame, each into its own memory, with buffers that are reused.

    Examples:
        >>> paint = Painter(segmenter.spec, Look(view="blur", classes=["person"]))
        >>> paint(image_rgb, segmenter(image_rgb).class_map)

    Attributes:
        view: what it draws.
        shown: ``(256,)`` bool: the ids that are drawn, or kept.
        colors: ``(256, 3)`` uint8 RGB: the color of each id in this view.
        soft: whether edges are soft where scores are given.
    """

    def __init__(self, spec: ModelSpec, look: Look | None = None, *, order: ColorOrder = "rgb") -> None:
        """Prepare the tables.

        Args:
            spec: names and colors of the classes.
            look: how to draw; an overlay when omitted.
            order: the color order of the frames.

        Raises:
            InputError: as ``class_filter`` says; ``look.anonymize`` names a class that the model does not have; or
                ``look.matte`` asks for soft edges and the model gives class ids.
        """
        look = look or Look()
        if look.matte and spec.output_kind == "argmax":
            raise InputError(
                "`matte` needs scores, and this model gives class ids: export it with `output_kind='softmax'`, or omit "
                "`matte`."
            )
        self.soft = look.view in ("blur", "replace") if look.matte is None else look.matte and look.view in _CUT
        self.view = look.view
        self.shown = class_filter(spec, look)
        self.colors = color_table(spec) if look.view == "mask" else drawing_table(spec)
        table = self.colors if order == "rgb" else self.colors[:, ::-1]
        self._overlay = Overlay(table, self.shown, look.alpha)
        self._mask_colors = np.ascontiguousarray(np.where(self.shown[:, None], table, 0))[:, None]
        #: ``(256,)`` uint8: 255 for the ids that are not shown, else 0.
        self.hidden_ids = np.where(self.shown, 0, 255).astype(np.uint8)
        background = look.background
        if not isinstance(background, np.ndarray):
            background = np.full((1, 1, 3), background if order == "rgb" else background[::-1], np.uint8)
        self._background = background
        self._anonymization = Anonymization(ids_of(spec, look.anonymize)) if look.anonymize else None
        self._layer = np.empty((0, 0, 3), np.uint8)
        self._hidden_pixels = np.empty((0, 0), np.uint8)
        self._refine, self._compose = GuidedFilter(), Composition()

    def __call__(
        self, image: NDArray[np.uint8], class_map: NDArray[np.uint8], share: NDArray[np.float32] | None = None
    ) -> NDArray[np.uint8]:
        """Draw the view into an image.

        Args:
            image: ``(h, w, 3)`` uint8 in the painter's order; it is drawn into.
            class_map: uint8 class ids, ``(h, w)`` or smaller: a small map is colored first and then enlarged, which
                takes less time and gives the same pixels as ``imaging.restore``.
            share: ``(H, W)`` float32 in [0, 1] of any size: how probable the shown classes are, see
                ``ScoreMap.share``. A painter that is ``soft`` draws its edges by it; without it they are hard.

        Returns:
            ``image``.
        """
        view = self.view
        if view == "mask":
            return self._mask(image, class_map)
        # The edges are those of the image as it came, not of the blocks over it.
        weights = self._refine(image, share) if self.soft and share is not None else None
        self.anonymize(image, class_map)
        if view == "overlay":
            return self._overlay(image, class_map)
        if self._layer.shape != image.shape:
            self._layer = np.zeros_like(image)
            self._hidden_pixels = np.empty(image.shape[:2], np.uint8)
            if view == "replace":
                self._layer[:] = _cover(self._background, image.shape[:2])
        if view == "blur":
            blur(image, self._layer, weights)
        if weights is not None:
            if view == "replace":
                light_wrap(weights)
            self._compose(image, self._layer, self._enlarged(weights, image))
            return image
        return cv2.copyTo(self._layer, self._hidden_in(class_map), dst=image)  # type: ignore[return-value]

    def matte(self, image: NDArray[np.uint8], share: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return how much of each pixel is of the shown classes, by their share and the image's own edges.

        Args:
            image: ``(h, w, 3)`` uint8.
            share: see ``__call__``.

        Returns:
            ``(h, w)`` uint8, 255 for all of it; valid until the next call.
        """
        return self._enlarged(self._refine(image, share), image)

    def anonymize(self, image: NDArray[np.uint8], class_map: NDArray[np.uint8]) -> None:
        """Make the classes of ``look.anonymize`` unrecognizable in an image, as a call does before it draws."""
        if self._anonymization is not None:
            self._anonymization(image, class_map)

    def _enlarged(self, weights: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return weights at the size of an image; those of a large one are found smaller."""
        if weights.shape == image.shape[:2]:
            return weights
        return cv2.resize(weights, image.shape[1::-1], dst=self._hidden_pixels)  # type: ignore[return-value]

    def _mask(self, image: NDArray[np.uint8], class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if class_map.shape == image.shape[:2]:
            return cv2.applyColorMap(class_map, self._mask_colors, dst=image)  # type: ignore[return-value]
        return enlarge(cv2.applyColorMap(class_map, self._mask_colors), image)  # type: ignore[arg-type]

    def _hidden_in(self, class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return ``(h, w)`` uint8: 255 where the class is hidden, else 0; valid until the next call."""
        if class_map.shape != self._hidden_pixels.shape:
            return enlarge(cv2.LUT(class_map, self.hidden_ids), self._hidden_pixels)  # type: ignore[arg-type]
        self._hidden_pixels = cv2.LUT(class_map, self.hidden_ids, dst=self._hidden_pixels)  # type: ignore[assignment]
        return self._hidden_pixels


def render(image_rgb: NDArray[np.uint8], segmentation: Segmented, look: Look | None = None) -> NDArray[np.uint8]:
    """Draw one view of one segmented image; for many images ``Painter`` is faster.

    Args:
        image_rgb: ``(h, w, 3)`` uint8 RGB, the image that was segmented; it is not changed.
        segmentation: the Segmenter's result for it.
        look: how to draw, an overlay when omitted; a cut-out has transparency here.

    Returns:
        ``(h, w, 3)`` uint8 RGB, or ``(h, w, 4)`` RGBA for a cut-out.

    Raises:
        InputError: as ``Painter`` does.
    """
    painter = Painter(segmentation.spec, look)
    class_map = np.ascontiguousarray(segmentation.class_map)
    image = image_rgb.copy()
    scores = segmentation.score_map
    share = scores.share(painter.shown) if painter.soft and scores is not None else None
    if painter.view == "cutout":
        opacity = cv2.LUT(class_map, 255 - painter.hidden_ids) if share is None else painter.matte(image, share)
        painter.anonymize(image, class_map)
        return np.dstack([image, opacity])
    return painter(image, class_map, share)


def color_table(spec: ModelSpec) -> NDArray[np.uint8]:
    """Return ``(256, 3)`` uint8 RGB: the palette of label files, and black for every id that is no class."""
    table = np.zeros((256, 3), np.uint8)
    table[: spec.num_classes] = spec.palette
    return table


def drawing_table(spec: ModelSpec) -> NDArray[np.uint8]:
    """Return ``(256, 3)`` uint8 RGB: the palette of drawings, and black for every id that is no class."""
    table = np.zeros((256, 3), np.uint8)
    table[: spec.num_classes] = drawing_palette(spec.palette)
    return table


def _cover(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image so that it covers the size, and crop the excess evenly."""
    height, width = size_hw
    scale = max(height / image.shape[0], width / image.shape[1])
    scaled_hw = [max(target, round(side * scale)) for target, side in zip(size_hw, image.shape[:2], strict=True)]
    scaled = cv2.resize(
        image, (scaled_hw[1], scaled_hw[0]), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    top, left = (scaled_hw[0] - height) // 2, (scaled_hw[1] - width) // 2
    return scaled[top : top + height, left : left + width]  # type: ignore[return-value]
