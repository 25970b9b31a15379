"""Name a model's classes in its file as Keras itself reads it: one IoU metric of Keras for each class.

``keras.models.load_model`` skips the ModelSpec in a file, but compiles the model with its metrics, which have names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeseg.spec import ModelSpec

if TYPE_CHECKING:
    import keras

_IOU = ("IoU", "BinaryIoU", "OneHotIoU")


def compile_class_metrics(model: keras.Model, spec: ModelSpec) -> None:
    """Compile a model with an IoU metric for each class, named for it, so that its file says what its classes are.

    Args:
        model: from images to logits ``(B, H, W, C)``, or one channel for two classes; it is compiled, unless it
            already is.
        spec: names the classes.
    """
    import keras

    if model.compiled:
        return
    names = list(enumerate(spec.class_names))
    if model.outputs[0].shape[-1] == 1:
        loss: keras.losses.Loss = keras.losses.BinaryCrossentropy(from_logits=True)
        metrics = [keras.metrics.BinaryIoU([index], threshold=0.0, name=name) for index, name in names]
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=spec.ignore_index)
        metrics = [
            keras.metrics.IoU(spec.num_classes, [index], name=name, ignore_class=spec.ignore_index, sparse_y_pred=False)
            for index, name in names
        ]
    model.compile(loss=loss, metrics=metrics)  # evaluate() wants a loss beside them


def class_names_of(model: keras.Model, num_classes: int) -> tuple[str, ...] | None:
    """Return the class names that a compiled model's metrics tell; ``None`` where they do not name every class.

    Args:
        model: any, compiled or not.
        num_classes: how many classes there are.
    """
    if not model.compiled:
        return None
    try:
        config = model.get_compile_config() or {}
    except (TypeError, ValueError, AttributeError):  # a loss or metric of somebody's that has no config
        return None
    names = {}
    for metric in _configs(config.get("metrics")):
        settings = metric.get("config") or {}
        ids = settings.get("target_class_ids")
        if metric.get("class_name") in _IOU and ids and len(ids) == 1:
            names[ids[0]] = str(settings["name"])
    in_order = tuple(names.get(index, "") for index in range(num_classes))
    return in_order if all(in_order) and len(set(in_order)) == len(names) == num_classes else None


def _configs(metrics: Any) -> Iterator[dict[str, Any]]:
    """Iterate over the configs of metrics, which may be in lists and, by output, in objects."""
    if isinstance(metrics, dict) and "class_name" in metrics:
        yield metrics
    elif isinstance(metrics, (dict, list, tuple)):
        for inner in metrics.values() if isinstance(metrics, dict) else metrics:
            yield from _configs(inner)
