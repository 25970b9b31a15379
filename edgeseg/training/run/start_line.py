"""Say at the start of a run what it will do: images, steps, size, parameters, and the memory that it will take."""

from __future__ import annotations

import math
import re
from pathlib import Path

import keras

from edgeseg._internal.text import counted
from edgeseg.datasets.statistics import SHRINKS, ImageSizes, as_text, input_size_near
from edgeseg.imaging import placement_of
from edgeseg.models.keras_internals import layers_within
from edgeseg.spec import ModelSpec
from edgeseg.training.config import TrainConfig
from edgeseg.training.objective.phases import phases_of

# Of a training process without a model: TensorFlow, Keras and Grain, once they have computed something.
_PROCESS_BYTES = 900_000_000

# Values for each parameter: the weight, its gradient, and two moments of the optimizer.
_PER_PARAMETER = 4

# Values kept for each value that a layer gives: the backward pass needs most of them, beside some gradients. A step of
# unet_mini, efficientnet_lite0_unet and mobilenet_unet at 256x256, 8 images each, took 1.31, 1.20 and 1.27 (CPU).
_PER_OUTPUT = 1.3

#: Share of the memory that is left from which on a run is warned of.
_MUCH = 0.9


def start_line(
    config: TrainConfig, model: keras.Model, *, num_images: int, num_validation: int, epochs_done: int
) -> str:
    """Return one line on a run that begins or continues.

    Args:
        config: the run.
        model: what learns.
        num_images: training images.
        num_validation: validation images; 0 where nothing is validated.
        epochs_done: of a run that continues.
    """
    batch_size = next((phase.batch_size for phase in phases_of(config) if phase.end > epochs_done), config.batch_size)
    steps = num_images * config.repeat // batch_size
    height, width = model.inputs[0].shape[1:3]
    validation = f" and {counted(num_validation, 'validation image')}" if num_validation else ""
    parts = (
        f"{counted(num_images, 'training image')}{validation}",
        f"{counted(steps, 'step')} of {batch_size} an epoch at {height}x{width}",
        f"{model.count_params() / 1e6:.2f} M parameters",
        f"about {expected_bytes(model, batch_size) / 1e9:.1f} GB of memory",
    )
    return f"{model.name}: {', '.join(parts)}"


def memory_warning(model: keras.Model, batch_size: int, left: int | None) -> str | None:
    """Return a warning where a run may need more memory than there is.

    Args:
        model: what learns.
        batch_size: images in a step.
        left: bytes that are left, ``None`` where that is not known.
    """
    expected = expected_bytes(model, batch_size)
    if left is None or expected < _MUCH * left:
        return None
    return (
        f"warning: the run may need {expected / 1e9:.1f} GB of memory, and {left / 1e9:.1f} GB are left; take a "
        "smaller batch_size or input_size"
    )


def size_warning(
    spec: ModelSpec, model: keras.Model, sizes: ImageSizes, batch_size: int, left: int | None
) -> str | None:
    """Return a warning where the images are much larger than the input that the run validates and exports with.

    Args:
        spec: of the exported model.
        model: what learns, at the size of the training images.
        sizes: of training images.
        batch_size: images in a step.
        left: bytes of memory that are left, ``None`` where that is not known.
    """
    median = sizes.median
    ratio = max(own / size for own, size in zip(median, _shown(median, spec), strict=True))
    if ratio <= SHRINKS:
        return None
    crop = (int(model.inputs[0].shape[1]), int(model.inputs[0].shape[2]))
    # An upper bound: a validation keeps less than a step of that size would.
    fits = [
        size
        for size in (input_size_near(median, part / 8) for part in range(8, 0, -1))
        if left is None or expected_bytes(model, batch_size, area=math.prod(size) / math.prod(crop)) <= _MUCH * left
    ]
    proposed = fits[0] if fits else spec.input_size
    text = (
        f"warning: the images are {as_text(median)} (the median) and the model's input is "
        f"{as_text(spec.input_size)}: what is less than {ratio:.1f} pixels wide has no pixel of its own there"
    )
    if math.prod(proposed) <= math.prod(spec.input_size):
        return f"{text}; a larger `input_size` needs more memory: cut the images into tiles of about {as_text(crop)}"
    work = math.prod(proposed) / math.prod(spec.input_size)
    return (
        f"{text}; give `input_size={proposed}` and `crop_size={crop}`: a training step stays as it is, "
        f"the exported model does {work:.1f} times the work"
    )


def _shown(size: tuple[int, int], spec: ModelSpec) -> tuple[int, int]:
    """Return the size that an image has within the model's input."""
    placement = placement_of(size, spec)
    return placement.height, placement.width


def expected_bytes(model: keras.Model, batch_size: int, *, area: float = 1.0) -> int:
    """Estimate the memory of a training process on a CPU, in bytes; the images that are kept decoded come on top.

    Args:
        model: what learns.
        batch_size: images in a step.
        area: of the images, as a factor of what the model is made for.
    """
    outputs = 0
    for layer in layers_within(model):
        if isinstance(layer, keras.Model):
            continue
        try:
            tensors = keras.tree.flatten(layer.output)
        except (AttributeError, ValueError, RuntimeError):  # called several times, or never
            continue
        outputs += sum(math.prod(side or 1 for side in tensor.shape[1:]) for tensor in tensors)
    values = _PER_OUTPUT * outputs * area * batch_size + _PER_PARAMETER * model.count_params()
    return _PROCESS_BYTES + int(4 * values)


def bytes_left() -> int | None:
    """Return the memory that this process can still get, in bytes: the system's, or its container's limit."""
    found = []
    try:
        available = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        found += [int(available[1]) * 1024] if available else []
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        found += [int(limit) - used] if limit.isdigit() else []
    except (OSError, ValueError):  # another system, or no container
        pass
    return min(found, default=None)
