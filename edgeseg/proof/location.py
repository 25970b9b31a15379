"""Search the wrong op of an artifact whose verdict failed, on the device that the verdict is of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeseg.proof.device import ProofDevice, ThisMachine
from edgeseg.proof.first_wrong_op.answer import WrongOp
from edgeseg.proof.first_wrong_op.image import input_tensor
from edgeseg.proof.first_wrong_op.search import find_wrong_op
from edgeseg.proof.verdict import Verdict


def find_on_device(
    verdict: Verdict,
    artifact: Path,
    *,
    options: Mapping[str, Any],
    device: ProofDevice,
    partitions: Sequence[Sequence[int]] = (),
    tell: Callable[[str], None] | None = None,
) -> WrongOp:
    """Find the first op that a device gets wrong, on the image of the proof with most wrong pixels.

    The device is compared with the CPU of this computer. Each part of the model is run there as often as each image
    was, and the last output counts, so that an accelerator that is right only at first is found out.

    Args:
        verdict: of the artifact; it failed.
        artifact: the file.
        options: what ran it: keywords of ``edgeseg.runtime.open_backend``.
        device: where; entered already.
        partitions: see ``find_wrong_op``.
        tell: see ``find_wrong_op``.

    Raises:
        EdgesegError: see ``find_wrong_op``.
    """
    worst = min(verdict.images, key=lambda image: (image.worst, image.all_worst)).index
    here = ThisMachine()
    on_cpu = {name: value for name, value in options.items() if name == "input_size"}
    found = find_wrong_op(
        artifact,
        input_tensor(artifact, verdict.expected, worst),
        on_device=lambda path, tensor: device.value(path, options, tensor, runs=verdict.repeat),
        on_cpu=lambda path, tensor: here.value(path, on_cpu, tensor),
        partitions=partitions,
        tell=tell,
    )
    changes = verdict.agreement.falls or any(image.answers > 1 for image in verdict.images)
    return dataclasses.replace(found, changes=changes)
