"""Define a backend: it runs one model file on one runtime, and does no pre- or post-processing."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.models import MEMORY_VARIABLE, max_model_memory
from edgeseg.errors import InputError, did_you_mean
from edgeseg.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One input or output of a model.

    Attributes:
        name: its name in the file.
        shape: its shape; -1 where it is open. A ``.tflite`` whose batch is open runs with 1, which is its shape then.
        dtype: numpy's name of its dtype.
        scale: quantization scale, 0 where the tensor is not quantized.
        zero_point: quantization zero point.
    """

    __repr__ = short_repr

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


class Backend(Protocol):
    """One open model on one runtime.

    Attributes:
        runtime: name and version of what actually runs, for reports (``"ai-edge-litert 2.3.0"``).
        spec: the ModelSpec inside the file, ``None`` when there is none.
        inputs: the model's inputs.
        outputs: the model's outputs, the one that ``run`` returns first.
    """

    runtime: str
    spec: ModelSpec | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, image: NDArray[Any]) -> NDArray[Any]:
        """Run once: ``(1, H, W, 3)`` or ``(1, 3, H, W)`` in ``inputs[0].dtype`` to the first output as it is.

        The returned array may be the runtime's own memory, valid until the next call.
        """
        ...

    def invoke(self) -> None:
        """Run once more on the image of the last ``run``: the runtime's own work alone, which benchmarks time."""
        ...

    def close(self) -> None:
        """Release the runtime's memory; may be called twice."""
        ...


def image_sides(shape: Sequence[int]) -> slice | None:
    """Return where the height and the width of an input are: ``1:3`` in NHWC, ``2:4`` in NCHW, ``None`` in neither."""
    if len(shape) == 4 and shape[3] == 3:
        return slice(1, 3)
    return slice(2, 4) if len(shape) == 4 and shape[1] == 3 else None


def is_open(shape: Sequence[int]) -> bool:
    """Return whether a shape leaves a side open; a batch that is open is 1."""
    return -1 in shape[1:]


def at_size(what: str, tensor: TensorInfo, input_size: Sequence[int]) -> TensorInfo:
    """Return an input at a size that the user asks for.

    Args:
        what: the model, as the start of a sentence.
        tensor: its input; sides that are not open must be those of ``input_size``.
        input_size: ``(H, W)`` in pixels.

    Raises:
        InputError: the model does not take images of that size.
    """
    sides, shape = image_sides(tensor.shape), list(tensor.shape)
    if sides is None:
        raise InputError(f"{what} takes {tensor.shape}, which is no (1, H, W, 3) or (1, 3, H, W); omit `input_size`.")
    for index, side in zip(range(4)[sides], input_size, strict=True):
        if shape[index] not in (-1, side):
            own = ",".join("any" if side < 0 else str(side) for side in shape[sides])
            raise InputError(f"{what} takes images of {own} and no other; omit `input_size`.")
        shape[index] = side
    return replace(tensor, shape=(abs(shape[0]), *shape[1:]))


def unfit_size(what: str, shape: Sequence[int], reason: object) -> InputError:
    """Return the error for a model that does not run at the size that the user asks for.

    Args:
        what: the model, as the start of a sentence.
        shape: of the image, at that size.
        reason: what the runtime says.
    """
    sides = tuple(shape[image_sides(shape) or slice(1, 3)])
    near = tuple(max(1, round(side / 32)) * 32 for side in sides)
    advice = "" if near == sides else f" Many models take multiples of 32 alone, such as `input_size={near}`."
    text = " ".join(str(reason).split())[:300].rstrip(".")
    return InputError(f"{what} does not run at {sides[0]},{sides[1]} (H,W): {text}.{advice}")


def does_not_run(what: str, reason: object) -> InputError:
    """Return the error for a model that opened, and that its runtime then does not run.

    Args:
        what: the model, as the start of a sentence.
        reason: what the runtime says.
    """
    return InputError(f"{what} opens but does not run: {' '.join(str(reason).split())[:300].rstrip('.')}.")


def require_memory(what: str, *tensors: TensorInfo) -> None:
    """Raise ``InputError`` where an input or output has more bytes than a model may take."""
    for tensor in tensors:
        size = math.prod(abs(side) for side in tensor.shape) * np.dtype(tensor.dtype).itemsize
        if size > max_model_memory() << 20:
            raise InputError(
                f"{what}: its tensor '{tensor.name}' of shape {tensor.shape} has {size} bytes, more than "
                f"{max_model_memory()} MiB; {MEMORY_VARIABLE} sets another limit."
            )


def open_size(what: str, tensor: TensorInfo) -> InputError:
    """Return the error for a model that was opened without the size that it leaves open."""
    return InputError(f"{what} leaves its input size open, {tensor.shape}: give `input_size=(H, W)`.")


def closed(what: str) -> ValueError:
    """Return the error for a model that is asked to run after ``Backend.close``."""
    return ValueError(f"{what} was closed; open it again to run it")


def place_of(what: str, names: Sequence[str], name: str | None) -> int:
    """Return the place of the output that a user chose among a model's; the first where none was chosen.

    Raises:
        InputError: there is no output of that name.
    """
    if name is not None and name not in names:
        raise InputError(f"{what} has no output '{name}'.{did_you_mean(name, names)} Accepted: {', '.join(names)}.")
    return 0 if name is None else list(names).index(name)


def with_first(outputs: Sequence[TensorInfo], place: int) -> tuple[TensorInfo, ...]:
    """Return the outputs with the one at a place before the others."""
    return (outputs[place], *outputs[:place], *outputs[place + 1 :])


def default_threads() -> int:
    """Return the default number of threads: the cores that this process may use, at most 4.

    More than 4 seldom helps one image and on big.LITTLE chips puts work on the slow cores.
    """
    return min(4, usable_cores())


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def dtype_name(dtype: Any) -> str:
    """Return numpy's name of a dtype (``float32``)."""
    return str(np.dtype(dtype).name)


def dequantized(array: NDArray[Any], scale: float, zero_point: int) -> NDArray[Any]:
    """Return values as float32 where they are quantized, as they are where ``scale`` is 0."""
    return (array.astype(np.float32) - zero_point) * np.float32(scale) if scale else array
