"""The proof: an artifact on its own runtime against the Keras model it was made from, on the same pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeseg.imaging import preprocess
from edgeseg.metrics import argmax_agreement
from edgeseg.runtime import Backend
from edgeseg.runtime.keras import KerasBackend
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.segmenter import to_class_map
from edgeseg.spec import Format, ModelSpec, OutputKind
from edgeseg_converters import onnx, tflite
from edgeseg_converters.head import add_head, class_map, logits_model
from edgeseg_converters.recipes import Recipe
from edgeseg_converters.samples import Samples


@dataclass(frozen=True)
class Verification:
    """How far an artifact is from its Keras model.

    Attributes:
        images: where the pictures came from.
        num_images: how many.
        argmax_agreement: share of pixels with the same class, in [0, 1].
        max_abs_error: largest difference of a logit (of a score, for a softmax output).
        max_relative_error: the same over the largest absolute logit of the Keras model.
        passed: whether the gate of the precision is met.
        reason: why not, in a sentence; empty when passed.
    """

    images: str
    num_images: int
    argmax_agreement: float
    max_abs_error: float
    max_relative_error: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class Reference:
    """What the Keras model says; computed once for all artifacts of an export.

    Attributes:
        spec: how the pictures were fed.
        samples: the pictures.
        inputs: one input tensor for each picture.
        class_maps: ``(h, w)`` uint8 for each picture, of the model as it was given.
        scores: ``(1, h, w, C)`` float32 for each picture: softmax where the spec asks for it, else logits.
    """

    spec: ModelSpec
    samples: Samples
    inputs: tuple[NDArray[Any], ...]
    class_maps: tuple[NDArray[np.uint8], ...]
    scores: tuple[NDArray[np.float32], ...]


def reference(model: keras.Model, spec: ModelSpec, samples: Samples) -> Reference:
    """Run the Keras model on the pictures, in inference mode."""
    inputs = tuple(preprocess(image, spec)[0] for image in samples.images)
    outputs = [KerasBackend(model).run(tensor) for tensor in inputs]
    class_maps = tuple(np.asarray(class_map(model, output))[0] for output in outputs)
    stripped = logits_model(model)
    logits = outputs if stripped is model else [KerasBackend(stripped).run(tensor) for tensor in inputs]
    kind: OutputKind = "softmax" if spec.output_kind == "softmax" else "logits"
    scores = tuple(np.asarray(add_head(values, kind)) for values in logits)
    return Reference(spec, samples, inputs, class_maps, scores)


def verify(expected: Reference, artifact: bytes, recipe: Recipe) -> Verification:
    """Run an artifact on the pictures of a reference and compare.

    The class maps come from the artifact as it is. For a class-map artifact the logits are read from the same file
    with one more output, so that an error too small to flip a pixel is still seen.

    Args:
        expected: what the Keras model says.
        artifact: the file's bytes.
        recipe: which runtime, which gate.
    """
    is_class_map = expected.spec.output_kind == "argmax"
    module = tflite if recipe.format == "tflite" else onnx
    scores_file = module.tap_logits(artifact) if is_class_map else artifact
    agreement, max_abs = [], 0.0
    largest = max(float(np.abs(scores).max()) for scores in expected.scores)
    outputs = zip(_run(artifact, recipe.format, expected), _run(scores_file, recipe.format, expected), strict=True)
    for reference_map, scores, (output, got) in zip(expected.class_maps, expected.scores, outputs, strict=True):
        spec = expected.spec.replace(input_size=reference_map.shape)  # compared as it is, not enlarged
        agreement.append(argmax_agreement(reference_map, to_class_map(output, spec)))
        max_abs = max(max_abs, float(np.abs(scores - got).max()))
    mean_agreement, relative = float(np.mean(agreement)), max_abs / max(largest, 1e-30)
    reason = _failure(mean_agreement, relative, recipe)
    return Verification(expected.samples.source, len(agreement), mean_agreement, max_abs, relative, not reason, reason)


def _failure(agreement: float, relative_error: float, recipe: Recipe) -> str:
    gate = recipe.gate
    # Written so that a NaN, which compares false with everything, fails.
    if not agreement >= gate.min_agreement:
        return f"only {agreement:.3%} of the pixels have the class that Keras gives; at least {gate.min_agreement:.1%}"
    if gate.max_relative_error is not None and not relative_error <= gate.max_relative_error:
        return f"a logit differs by {relative_error:.1e} of the largest; at most {gate.max_relative_error:.0e}"
    return "" if np.isfinite(relative_error) else "the logits are not finite"


def _run(artifact: bytes, file_format: Format, expected: Reference) -> Iterator[NDArray[Any]]:
    backend: Backend = LiteRTBackend(artifact) if file_format == "tflite" else OnnxBackend(artifact)
    try:
        for tensor in expected.inputs:
            yield np.array(backend.run(tensor))
    finally:
        backend.close()
