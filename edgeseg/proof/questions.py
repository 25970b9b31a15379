"""Define what a device is asked to answer, and what it answers: the class maps of a proof's images, run by run.

The device runs the artifact and reduces each output to a class map, as ``Segmenter`` does; what is right is decided by
the one who asks (``edgeseg.proof.agreement``). So the same comparison serves this machine, ssh and adb.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import Meta, Text, WrongValue
from edgeseg._internal.limits.images import png_size
from edgeseg.choices import Precision
from edgeseg.imaging import encode_image
from edgeseg.proof.file import MAX_IMAGES
from edgeseg.proof.order import MAX_REPEATS

#: Characters of a class map as it travels: a PNG in base64. One of the largest input that no PNG makes smaller.
_MAX_PNG = 1 << 27
_Place = Annotated[int, Meta(ge=0, le=MAX_IMAGES * MAX_REPEATS)]
_Nodes = Annotated[int, Meta(ge=0, le=2**31)]
_Places = Annotated[tuple[_Place, ...], Meta(max_length=MAX_IMAGES * MAX_REPEATS)]
_Digest = Annotated[str, Meta(max_length=64, pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What one process on a device runs.

    Attributes:
        path: the artifact, on the device.
        proof: the ``.proof.zip``, on the device.
        options: keywords of ``edgeseg.runtime.open_backend``.
        order: the index of the image of each run.
    """

    path: str
    proof: str
    options: dict[str, Any] = field(default_factory=dict)
    order: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a device answered.

    Attributes:
        runtime: name and version of what ran.
        precision: of the artifact.
        maps: the different class maps, each once: PNGs in base64.
        runs: for each run, in the order that was asked, which of ``maps`` it gave.
        outputs: for each run the SHA-256 of the output as the runtime gave it, so that runs whose scores differ are
            told apart where their class maps do not.
        has_scores: whether that output is scores, and not class ids.
        fully_accelerated: whether the accelerator runs every node; ``None`` where the runtime does not say.
        software_rendering: whether the GPU is emulated on the CPU.
        coverage: ``(delegated, total)`` nodes, where it is known.
        half_arithmetic: whether the CPU computed in half precision; ``None`` where that is not known, as on a GPU.
    """

    __repr__ = short_repr

    runtime: Text
    precision: Precision
    maps: Annotated[tuple[Annotated[str, Meta(max_length=_MAX_PNG)], ...], Meta(max_length=MAX_IMAGES * MAX_REPEATS)]
    runs: _Places
    outputs: Annotated[tuple[_Digest, ...], Meta(max_length=MAX_IMAGES * MAX_REPEATS)]
    has_scores: bool
    fully_accelerated: bool | None = None
    software_rendering: bool = False
    coverage: tuple[_Nodes, _Nodes] | None = None
    half_arithmetic: bool | None = None

    def __post_init__(self) -> None:
        if len(self.outputs) != len(self.runs):
            raise WrongValue(f"'outputs' are {len(self.outputs)} of {len(self.runs)} runs")
        if max(self.runs, default=-1) >= len(self.maps):
            raise WrongValue("'runs' names a class map that is not there")

    def class_maps(self, shapes: tuple[tuple[int, int], ...]) -> list[NDArray[np.uint8]]:
        """Decode the class map of each run.

        Args:
            shapes: ``(h, w)`` of the class map that each run was asked for.

        Returns:
            ``(h, w)`` uint8 for each run; equal ones are the same array.

        Raises:
            WrongValue: there is another number of runs, or a map is no PNG of that size.
        """
        if len(shapes) != len(self.runs):
            raise WrongValue(f"it answers {len(self.runs)} runs; accepted: {len(shapes)}")
        decoded = {}
        for place, shape in dict(zip(self.runs, shapes, strict=True)).items():
            decoded[place] = _decoded(self.maps[place], shape)
        for place, shape in zip(self.runs, shapes, strict=True):
            if decoded[place].shape != shape:
                raise WrongValue(f"'maps[{place}]' answers images of two sizes")
        return [decoded[place] for place in self.runs]


def as_png(class_map: NDArray[np.uint8]) -> str:
    """Return a class map ``(h, w)`` as it travels."""
    return base64.b64encode(encode_image(class_map)).decode()


def _decoded(text: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        data = base64.b64decode(text, validate=True)
        if png_size(data) == (shape[1], shape[0]):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            if image is not None and image.dtype == np.uint8:
                return image  # type: ignore[return-value]
    except (ValueError, cv2.error):
        pass
    raise WrongValue(f"a class map is no PNG of {shape[0]},{shape[1]} (H,W)")
