"""Compare the answers of a device with those of the Keras model: per run, per image, per class.

A pixel counts for the gate where Keras decides it by more than the rounding of the artifact's precision; the others are
reported. A run is the n-th time that each image was run. An accelerator that is right at first and wrong from then on
has a high ``first`` and a low ``worst``, which is what the gate is asked of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg._internal.json import Meta
from edgeseg.proof.file import Proof, ProofGate
from edgeseg.spec import MAX_CLASSES

_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, le=2**50)]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a device gives the classes that Keras gives, over all images of a proof.

    Attributes:
        images: how many.
        pixels: how many of their pixels are decided, which count here.
        first: share of them with the class that Keras gives, the first time that the images are run, in [0, 1].
        worst: the same of the worst run.
        last: the same of the last run.
        passed: whether the worst run reaches the gate of the precision.
        min_agreement: the gate.
        all_pixels: how many pixels there are, with those that rounding may decide.
        all_worst: share of all pixels with the class that Keras gives, in the worst run.
    """

    __repr__ = short_repr

    images: _Count
    pixels: _Count
    first: _Share
    worst: _Share
    last: _Share
    passed: bool
    min_agreement: _Share = 0.0
    all_pixels: _Count = 0
    all_worst: _Share = 0.0

    @property
    def falls(self) -> bool:
        """Whether a later run is right less often than the first, by more than a pixel of a thousand."""
        return self.first - self.worst > 1e-3


@dataclass(frozen=True, kw_only=True)
class ImageAgreement:
    """The same of one image.

    Attributes:
        index: of the image in the proof.
        pixels: how many of its pixels are decided.
        first: share of them with the class that Keras gives, the first time, in [0, 1]; 1 where there are none.
        worst: the same of the worst run.
        last: the same of the last run.
        all_worst: share of all its pixels, in the worst run.
        answers: how many different outputs the runs gave: more than one where runs differ among themselves.
    """

    index: int
    pixels: int
    first: float
    worst: float
    last: float
    all_worst: float
    answers: int


@dataclass(frozen=True, kw_only=True)
class ClassAgreement:
    """The agreement on the pixels of one class.

    Attributes:
        name: of the class.
        pixels: how many decided pixels Keras gives it.
        worst: share of them that the device gives it too, in the worst run of each image, in [0, 1].
        instead: the class that the device gives most of the others; empty where there are none.
        all_pixels: how many pixels Keras gives it, with those that rounding may decide.
        all_worst: share of these that the device gives it too.
    """

    name: str
    pixels: int
    worst: float
    instead: str
    all_pixels: int
    all_worst: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that was compared.

    Attributes:
        agreement: over all images.
        images: for each image.
        classes: for each class that Keras gives a pixel.
        worst_maps: for each image the class map of its worst run, ``(h, w)`` uint8.
    """

    __repr__ = short_repr

    agreement: Agreement
    images: tuple[ImageAgreement, ...]
    classes: tuple[ClassAgreement, ...]
    worst_maps: tuple[NDArray[np.uint8], ...]


def compare(
    proof: Proof,
    gate: ProofGate,
    order: Sequence[int],
    class_maps: Sequence[NDArray[np.uint8]],
    outputs: Sequence[str],
) -> Comparison:
    """Compare class maps with those of a proof.

    Args:
        proof: the images and what Keras gives.
        gate: of the artifact's precision.
        order: the index of the image of each run; each image occurs equally often.
        class_maps: what each run gave, ``(h, w)``.
        outputs: tells apart the outputs of runs of an image.
    """
    decided = [image.margins >= gate.decided_from for image in proof.images]
    runs: list[list[int]] = [[] for _ in proof.images]
    for number, index in enumerate(order):
        runs[index].append(number)
    right = [
        [class_maps[number] == image.class_map for number in numbers]
        for image, numbers in zip(proof.images, runs, strict=True)
    ]
    # Pixels with the right class, of each image (rows) and each of its runs (columns).
    counts = np.array([[np.count_nonzero(r & d) for r in rs] for rs, d in zip(right, decided, strict=True)])
    all_counts = np.array([[np.count_nonzero(r) for r in rs] for rs in right])
    pixels = np.array([np.count_nonzero(d) for d in decided])
    all_pixels = np.array([d.size for d in decided])
    by_run = counts.sum(axis=0) / max(pixels.sum(), 1)
    worst = [int(np.lexsort((a, c))[0]) for c, a in zip(counts, all_counts, strict=True)]
    worst_maps = tuple(class_maps[numbers[w]] for numbers, w in zip(runs, worst, strict=True))
    return Comparison(
        agreement=Agreement(
            images=len(proof.images),
            pixels=int(pixels.sum()),
            first=float(by_run[0]),
            worst=float(by_run.min()),
            last=float(by_run[-1]),
            passed=bool(pixels.sum() and by_run.min() >= gate.min_agreement),
            min_agreement=gate.min_agreement,
            all_pixels=int(all_pixels.sum()),
            all_worst=float((all_counts.sum(axis=0) / all_pixels.sum()).min()),
        ),
        images=tuple(
            ImageAgreement(
                index=index,
                pixels=int(pixels[index]),
                **{
                    name: _share(counts[index][at], pixels[index])
                    for name, at in (("first", 0), ("worst", worst[index]), ("last", -1))
                },
                all_worst=_share(all_counts[index].min(), all_pixels[index]),
                answers=len({outputs[number] for number in runs[index]}),
            )
            for index in range(len(proof.images))
        ),
        classes=_classes(proof, decided, worst_maps),
        worst_maps=worst_maps,
    )


def _classes(
    proof: Proof, decided: Sequence[NDArray[np.bool_]], maps: Sequence[NDArray[np.uint8]]
) -> tuple[ClassAgreement, ...]:
    """Return the agreement of each class, from the pairs of expected and got classes."""
    tables = np.zeros((2, MAX_CLASSES, MAX_CLASSES), np.int64)
    for image, counted, got in zip(proof.images, decided, maps, strict=True):
        pairs = image.class_map.astype(np.int64) * MAX_CLASSES + got
        tables[0] += np.bincount(pairs.ravel(), minlength=MAX_CLASSES**2).reshape(MAX_CLASSES, MAX_CLASSES)
        tables[1] += np.bincount(pairs[counted], minlength=MAX_CLASSES**2).reshape(MAX_CLASSES, MAX_CLASSES)
    everything, certain = tables
    classes = []
    for index, name in enumerate(proof.spec.class_names):
        if not everything[index].sum():
            continue
        others = certain[index].copy()
        others[index] = 0
        most = int(others.argmax())
        instead = ""
        if others[most]:
            instead = proof.spec.class_names[most] if most < proof.spec.num_classes else f"id {most}"
        classes.append(
            ClassAgreement(
                name=name,
                pixels=int(certain[index].sum()),
                worst=_share(certain[index, index], certain[index].sum()),
                instead=instead,
                all_pixels=int(everything[index].sum()),
                all_worst=_share(everything[index, index], everything[index].sum()),
            )
        )
    return tuple(classes)


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 1.0
