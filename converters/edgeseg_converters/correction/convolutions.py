"""Describe the convolutions of a float file of either format, whose constants can be replaced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet

Put = Callable[[NDArray[np.float32]], None]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The values that a convolution reads for one of its results.

    Attributes:
        size: rows and columns of the kernel.
        strides: between two windows, in rows and columns.
        dilations: between two values of a window.
        before: rows above and columns to the left that are padded with zeros.
        groups: of channels that are convolved apart.
    """

    __repr__ = short_repr

    size: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    groups: int


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution with constant weights.

    Attributes:
        op: name of the tensor that its op makes; a quantized file has an op of that name.
        result: name of the tensor after the activation that follows, in the float file.
        source: name of the tensor that it reads.
        kernel: ``(O, I, h, w)``: output channels, and input channels of each.
        bias: ``(O,)``; zeros where there is none.
        limits: what the activation cuts off; infinite without one.
        window: what it reads; ``None`` of a transposed convolution.
        put_kernel: takes another kernel.
        put_bias: takes another bias.
    """

    __repr__ = short_repr

    op: str
    result: str
    source: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    limits: tuple[float, float]
    window: Window | None
    put_kernel: Put
    put_bias: Put

    def active(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return where values of the result follow the bias: those that the activation does not cut off."""
        low, high = self.limits
        return (values > low) & (values < high)


class ConvolutionFile(ABC):
    """A float file, its convolutions in the order in which they are computed, and its class map's head.

    Attributes:
        convolutions: whose constants belong to them alone.
    """

    convolutions: Sequence[Convolution]

    @abstractmethod
    def values(
        self, names: Sequence[str], images: CalibrationSet, spec: ModelSpec
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """Run the file as it was read and yield the values of tensors for each image, the channels last."""

    @abstractmethod
    def head(self) -> Convolution | None:
        """Return the convolution whose channels are the classes that the file's argmax compares.

        There may be resizes and transposes in between, which commute with a constant that is added to all classes.
        ``None`` where the file ends in another way, or something else reads the scores.
        """

    @abstractmethod
    def add_relu(self, convolution: Convolution) -> None:
        """Let a ReLU follow a convolution that has no activation."""

    @abstractmethod
    def write(self) -> bytes:
        """Return the file."""
