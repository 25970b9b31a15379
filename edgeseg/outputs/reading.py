"""Read the output of a model without ModelSpec: where its channels are, and whether it has scores, a mask or class ids.

What is read is decided once, from shapes, the last ops of the file and what the user says; ``ReadOutput`` then gives
what a ModelSpec can say: class ids ``(1, H, W)``, or scores in the layout of the input.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Layout, OutputKind
from edgeseg.errors import InputError
from edgeseg.outputs.endings import Ending, ending_of, ending_of_range, has_ops, ids_of_argmax
from edgeseg.runtime import Backend, TensorInfo
from edgeseg.runtime.base import dequantized

_log = logging.getLogger(__name__)

#: The score of a single channel above which a pixel is of the second class.
_THRESHOLDS = {"probabilities": 0.5, "logits": 0.0}

# The largest stride of a map that is tried; zoo models and ports of others have up to 32.
_MAX_STRIDE = 64


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the first output is read.

    Attributes:
        kind: ``scores`` with a channel for each class, ``mask`` for one channel of scores, ``ids`` for a class map.
        shape: what the output is reshaped to: height, width and channels in some order.
        order: the places of height, width and channels in ``shape``.
        border: rows and columns that the map lacks at each side, because convolutions did not pad.
        threshold: of a mask, in the output's own numbers.
        assumed: whether nothing says that a mask has probabilities, so that every output is checked to have them.
        ids: how many a class map has, where the file says it.
        scores: what the scores are; ``None`` for ids, and for a mask of numbers that only their threshold explains. The
            scores of a mask become those of two classes.
    """

    kind: Literal["scores", "mask", "ids"]
    shape: tuple[int, int, int]
    order: tuple[int, int, int]
    border: tuple[int, int]
    threshold: float = 0.0
    assumed: bool = False
    ids: int | None = None
    scores: Literal["softmax", "logits"] | None = None

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.shape[self.order[2]]

    @property
    def output_kind(self) -> OutputKind:
        """What ``ReadOutput`` gives."""
        return self.scores or "argmax"


def read_output(
    path: str | Path,
    backend: Backend,
    *,
    layout: Layout,
    input_size: tuple[int, int],
    names: Sequence[str] | None,
    threshold: float | None,
    data: bytes | None = None,
) -> Reading:
    """Find out how the first output of a model is to be read.

    Args:
        path: the file.
        backend: the same file, open; it is run once where the size of its output follows only from a run.
        layout: axis order of its input, which is the output's where the shape alone does not decide.
        input_size: ``(H, W)`` in pixels.
        names: of the classes, where they are known.
        threshold: the user's, for one channel of scores.
        data: the bytes of an artifact, whose last ops say what one channel holds.

    Raises:
        InputError: it is no segmentation, or the user must say more; the text says which option.
    """
    result = _with_known_shape(backend)
    fits = list(_fitting(result.shape, input_size)) if np.dtype(result.dtype).kind in "fiub" else []
    if not fits:
        raise InputError(_misfit(path, backend, result, input_size))
    known = None if names is None else len(names)

    def badness(fit: _Fit) -> tuple[bool, int]:
        wanted = fit.channels == 1 or known in (None, fit.channels)
        return not wanted, fit.rank

    best = min(map(badness, fits))
    fits = [fit for fit in fits if badness(fit) == best]
    if len(fits) > 1:
        _log.warning(
            "'%s' gives %s: its channels may be first or last; read as in its input, %s", path, result.shape, layout
        )
    fit = next((fit for fit in fits if (fit.order[2] == 0) == (layout == "nchw")), fits[0])
    if any(fit.border):
        _log.warning(
            "'%s' gives a map of the middle of the image: the %d,%d (H,W) outermost cells are repeated",
            path,
            *fit.border,
        )
    reading = Reading(kind="scores", shape=fit.shape, order=fit.order, border=fit.border)
    if fit.channels > 1:
        if threshold is not None:
            raise InputError(f"'{path}' has {fit.channels} channels of scores: `threshold` is for a model of one.")
        probable = ending_of(path, backend, data) == "probabilities"
        return dataclasses.replace(reading, scores="softmax" if probable else "logits")
    return _of_one_channel(path, backend, result, reading, known, threshold, data)


class ReadOutput:
    """A backend whose output is what a ModelSpec can say."""

    def __init__(self, backend: Backend, reading: Reading, *, layout: Layout, num_classes: int) -> None:
        """Wrap a backend.

        Args:
            backend: gives the output as the file does.
            reading: how it is read.
            layout: the axis order in which scores are given.
            num_classes: class ids from there on are refused.
        """
        self._backend, self.reading, self._layout, self._num_classes = backend, reading, layout, num_classes
        self.runtime, self.spec, self.inputs = backend.runtime, backend.spec, backend.inputs
        info = self._info = backend.outputs[0]
        height, width = (
            reading.shape[axis] + 2 * border for axis, border in zip(reading.order[:2], reading.border, strict=True)
        )
        if reading.scores is None:
            info = TensorInfo(name=info.name, shape=(1, height, width), dtype="uint8")
        else:
            is_mask = reading.kind == "mask"
            channels = 2 if is_mask else reading.channels
            sides = (height, width, channels) if layout == "nhwc" else (channels, height, width)
            whole = TensorInfo(name=info.name, shape=(), dtype="float32") if is_mask else info
            info = dataclasses.replace(whole, shape=(1, *sides))
        self.outputs = (info, *backend.outputs[1:])

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once; see ``Backend.run``.

        Raises:
            InputError: a class map has values that are no class ids.
        """
        reading = self.reading
        output = self._backend.run(image).reshape(reading.shape).transpose(reading.order)
        if reading.kind == "mask":
            if reading.assumed and not (output.min() >= 0 and output.max() <= 1):
                raise InputError(
                    f"the model gives scores from {output.min():.4g} to {output.max():.4g}, which are no "
                    "probabilities: give `threshold=0` where they are logits."
                )
            output = self._of_two(output) if reading.scores else (output > reading.threshold).astype(np.uint8)
        elif reading.kind == "ids":
            output = self._ids(output)
        if any(reading.border):
            high, wide = reading.border
            output = np.pad(output, ((high, high), (wide, wide), (0, 0)), mode="edge")
        if reading.scores is None:
            return output[None, ..., 0]
        return output[None] if self._layout == "nhwc" else output.transpose(2, 0, 1)[None]

    def invoke(self) -> None:
        """See ``Backend.invoke``."""
        self._backend.invoke()

    def close(self) -> None:
        """Close the backend inside."""
        self._backend.close()

    def _of_two(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scores of two classes, of which the second is the best above the threshold."""
        info, reading = self._info, self.reading
        second = dequantized(output, info.scale, info.zero_point).astype(np.float32)
        if reading.scores == "softmax":
            return np.concatenate([1 - second, second], axis=-1)
        threshold = (reading.threshold - info.zero_point) * info.scale if info.scale else reading.threshold
        return np.concatenate([np.full_like(second, threshold), second], axis=-1)

    def _ids(self, output: NDArray[Any]) -> NDArray[np.uint8]:
        ids = np.rint(output) if output.dtype.kind == "f" else output
        if output.dtype.kind == "f" and not np.array_equal(ids, output):
            value = output[ids != output][0]
            raise InputError(
                f"the model gives one channel with values such as {value:.4g}, which are no class ids of the "
                f"{self._num_classes} labels; for a mask of one class give two labels, the first for the rest."
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self._num_classes:
            mask = " For a mask of 0 and 255 give `threshold=127`." if (low, high) == (0, 255) else ""
            raise InputError(
                f"the model gives the class id {low if low < 0 else high}, but there are {self._num_classes} labels, "
                f"of the ids 0 to {self._num_classes - 1}.{mask}"
            )
        return ids.astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A way to see a map of the image in a shape; fields as in ``Reading``; of the smallest ``rank`` it fits best."""

    shape: tuple[int, int, int]
    order: tuple[int, int, int]
    border: tuple[int, int] = (0, 0)
    rank: int = 0

    @property
    def channels(self) -> int:
        return self.shape[self.order[2]]


def _with_known_shape(backend: Backend) -> TensorInfo:
    result = backend.outputs[0]
    if -1 not in result.shape:
        return result
    image = backend.inputs[0]
    shape = backend.run(np.zeros([abs(side) for side in image.shape], image.dtype)).shape
    return dataclasses.replace(result, shape=shape)


def _fitting(shape: Sequence[int], input_size: tuple[int, int]) -> Iterator[_Fit]:
    """Yield the ways to see a map of the image in the shape of an output, with and without batch."""
    body = tuple(shape[1:]) if len(shape) > 2 and shape[0] == 1 else tuple(shape)
    if len(body) == 2:
        body = (*body, 1)
        yield from _as_map(body, (0, 1, 2), input_size)
        for stride in range(1, _MAX_STRIDE + 1):  # height and width in one axis, as tutorials train it
            height, width = (-(-side // stride) for side in input_size)
            rank = 0 if stride == 1 else 1
            if body[0] == height * width > 1:
                yield _Fit(shape=(height, width, body[1]), order=(0, 1, 2), rank=rank)
            if body[1] == height * width > 1:
                yield _Fit(shape=(body[0], height, width), order=(1, 2, 0), rank=rank)
    elif len(body) == 3:
        yield from _as_map(body, (0, 1, 2), input_size)
        yield from _as_map(body, (1, 2, 0), input_size)


def _as_map(body: tuple[int, ...], order: tuple[int, int, int], input_size: tuple[int, int]) -> Iterator[_Fit]:
    """Yield the fit of a map, if it is one.

    The best is the input's own size, then a whole fraction or multiple of it, then a fraction rounded as strided
    layers round; the last is a map whose convolutions did not pad, which lack the same number of pixels in both axes.
    """
    a, b, c = body
    rows, columns = body[order[0]], body[order[1]]
    if min(a, b, c) < 1:
        return
    high, wide = input_size
    fits = _Fit(shape=(a, b, c), order=order)
    if (rows, columns) == input_size:
        yield fits
    elif min(rows, columns) == 1:  # one value for the image, or for a line of it
        return
    elif high * columns == wide * rows and (max(high, rows) % min(high, rows) == 0):
        yield dataclasses.replace(fits, rank=1)
    else:
        for stride in range(1, _MAX_STRIDE + 1):
            left_h, left_w = high - stride * rows, wide - stride * columns
            if max(abs(left_h), abs(left_w)) <= stride:
                yield dataclasses.replace(fits, rank=2)
                return
            if (
                abs(left_h - left_w) <= stride
                and stride < min(left_h, left_w)
                and max(left_h, left_w) < min(input_size) / 2
            ):
                border = round(left_h / stride / 2), round(left_w / stride / 2)
                yield dataclasses.replace(fits, rank=3, border=border)
                return


def _misfit(path: str | Path, backend: Backend, result: TensorInfo, input_size: tuple[int, int]) -> str:
    height, width = input_size
    others = [
        f"'{other.name}' {other.shape}" for other in backend.outputs[1:] if any(_fitting(other.shape, input_size))
    ]
    rest = f" `output` takes another one: {', '.join(others)}." if others else ""
    return (
        f"'{path}' gives {result.shape} {result.dtype} for an image of {height},{width} (H,W); accepted: a class map "
        "or one channel of scores (1, h, w), or scores (1, h, w, C) or (1, C, h, w), where h and w are the image's or "
        f"a fraction of them.{rest}"
    )


def _of_one_channel(
    path: str | Path,
    backend: Backend,
    result: TensorInfo,
    reading: Reading,
    num_names: int | None,
    threshold: float | None,
    data: bytes | None,
) -> Reading:
    """Return the reading of a map of one channel: a class map, or the scores of one class against the rest."""
    kind = np.dtype(result.dtype).kind
    # A class map has integers without a scale; integers with a scale are the scores of a binary model.
    whole = kind == "b" or (kind in "iu" and (result.scale, result.zero_point) in ((0.0, 0), (1.0, 0)))
    ending: Ending | None = "ids" if whole else ending_of(path, backend, data)
    if ending is None and kind in "iu":
        ending = ending_of_range(result)
    if threshold is None and (ending == "ids" or (ending is None and num_names not in (None, 1, 2))):
        return dataclasses.replace(reading, kind="ids", ids=ids_of_argmax(path, backend, data))
    if num_names not in (None, 1, 2):
        raise InputError(
            f"'{path}' gives one channel of scores, a mask of one class: give its name, or two, the first for the "
            f"rest; got {num_names}."
        )
    scores: Literal["softmax", "logits"] | None = None
    if ending == "logits":
        scores = "logits"
    elif threshold is None or (ending == "probabilities" and threshold == _THRESHOLDS[ending]):
        scores = "softmax"
    if threshold is None:
        if ending is None and has_ops(path, backend, data):
            raise InputError(
                f"'{path}' gives one channel of scores, and its last ops do not say of which kind: give "
                "`threshold=0.5` where they are probabilities from 0 to 1, `threshold=0` where they are logits."
            )
        if ending is None:
            reading = dataclasses.replace(reading, assumed=True)
            _log.warning(
                "nothing here reads the ops of '%s': its one channel is taken for probabilities, the class above 0.5; "
                "`threshold` says otherwise",
                path,
            )
        threshold = _THRESHOLDS[ending or "probabilities"]
    if result.scale and kind in "iu":
        threshold = threshold / result.scale + result.zero_point
    return dataclasses.replace(reading, kind="mask", threshold=threshold, scores=scores)
