"""Describe a network as equalization sees it: maps whose channels are tied, and the layers that can take up a factor.

A positive factor that a convolution divides out of its result and the next one multiplies into its kernel changes
nothing in between, through all that commutes with it: ReLU, padding with zeros, pooling, resizing, sums of maps with
the same factor, and pooling with indices with its unpooling, as a positive factor moves no maximum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet
from edgeseg_converters.equalization.channels import Channels, Variables

Put = Callable[[NDArray[np.float32]], None]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution or a product with constant weights.

    Attributes:
        kernel: ``(O, I, K)``: output channels, input channels of each, and the places, in one axis.
        into: the variables that the kernel reads, broadcastable to ``(O, I)``.
        out: the variables of its result, ``(O,)``.
        put: takes another kernel.
    """

    __repr__ = short_repr

    kernel: NDArray[np.float32]
    into: Variables
    out: Variables
    put: Put


@dataclass(frozen=True)
class Addend:
    """A constant that is added to a map: a bias, or one operand of a sum.

    Attributes:
        values: any shape.
        axis: of the channels.
        variables: of the channels, ``(C,)``.
        put: takes other values.
    """

    __repr__ = short_repr

    values: NDArray[np.float32]
    axis: int
    variables: Variables
    put: Put


@dataclass(frozen=True)
class Limit:
    """A map that is clipped from above, as by ReLU6.

    Attributes:
        name: of the map.
        value: the limit.
    """

    name: str
    value: float


class Network(ABC):
    """A float file whose channels can be scaled.

    Attributes:
        channels: what is tied.
        layers: all that make or read one of the maps.
        addends: what is added to them.
        limits: what clips them.
    """

    def __init__(self) -> None:
        self.channels = Channels()
        self.layers: list[Layer] = []
        self.addends: list[Addend] = []
        self.limits: list[Limit] = []

    @abstractmethod
    def values(
        self, names: Sequence[str], images: CalibrationSet, spec: ModelSpec
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        """Run the file on images and yield the values of maps for each."""

    @abstractmethod
    def channel_axis(self, name: str) -> int:
        """Return the axis of a map's channels."""

    @abstractmethod
    def write(self) -> bytes:
        """Return the file."""

    def largest(self, images: CalibrationSet, spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
        """Return the largest absolute value of each channel of the free maps over the images, ``(C,)`` each."""
        most: dict[str, NDArray[np.float32]] = {}
        for maps in self.values(list(self.channels.free()), images, spec):
            for name, values in maps.items():
                others = tuple(axis for axis in range(values.ndim) if axis != self.channel_axis(name) % values.ndim)
                found = np.abs(values).max(axis=others)
                most[name] = np.maximum(most[name], found) if name in most else found
        return most

    def scale(self, factors: NDArray[np.float32]) -> None:
        """Divide every channel by its factor, and multiply it where it is read.

        Args:
            factors: of all variables.
        """
        for layer in self.layers:
            kernel = layer.kernel * factors[layer.into][..., None] / factors[layer.out][:, None, None]
            layer.put(kernel.astype(np.float32, copy=False))
        for addend in self.addends:
            shape = [1] * addend.values.ndim
            shape[addend.axis] = -1
            addend.put(addend.values / factors[addend.variables].reshape(shape))

    def tie_blocks(self, deep: Variables, flat: Variables) -> None:
        """Tie what depth-to-space exchanges: each channel of the large map is made from one of every block."""
        for block in deep.reshape(-1, flat.size):
            self.channels.tie(block, flat)


def conv_sources(source: Variables, kernel_inputs: int, outputs: int) -> Variables:
    """Return the variables that a convolution's kernel reads, broadcastable to ``(O, I)``.

    Args:
        source: of the map that it reads, ``(C,)``.
        kernel_inputs: ``I``, channels that one output channel reads: fewer than ``C`` in a grouped convolution.
        outputs: ``O``.
    """
    if kernel_inputs == source.size:
        return source[None]
    groups = source.reshape(-1, kernel_inputs)
    return np.repeat(groups, outputs // len(groups), axis=0)
