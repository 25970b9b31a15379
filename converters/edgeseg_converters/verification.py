"""Prove an artifact: compare it on its own runtime with the Keras model it was made from, on the same images.

A model with pooling indices is not continuous: where two values of a window agree but for float rounding, the next
runtime may pick the other, and SegNet's decoder spreads the difference over all that the pixel reaches. No converter
can avoid that, and a maximum over all pixels then says nothing about the conversion. So the proof measures how far the
Keras model's own logits move when its input moves by one float32 step. If that alone exceeds the gate, the artifact
passes with a small share of pixels beyond it, and the report has both numbers; the full agreement of the classes is
still required. A model without pooling indices gets no such exception.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.choices import Format, OutputKind
from edgeseg.evaluation.confusion import argmax_agreement
from edgeseg.imaging import preprocess
from edgeseg.runtime import open_artifact
from edgeseg.runtime.keras import KerasBackend
from edgeseg.segmenter import to_class_map
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tflite.file import read_metadata
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.output_head import add_head
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.onnx.convert import tap_logits as tap_onnx_logits
from edgeseg_converters.recipes import Recipe, VerificationGate
from edgeseg_converters.rewrites.ops.unpooling import unpools
from edgeseg_converters.tflite.convert import tap_logits as tap_tflite_logits
from edgeseg_converters.tflite.pooling_ties import other_choices

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How far an artifact is from its Keras model.

    Attributes:
        images: where the images came from.
        num_images: how many.
        argmax_agreement: share of pixels with the same class, in [0, 1].
        max_abs_error: largest difference of a logit (of a score, for a softmax output).
        max_relative_error: the same over the largest absolute logit of the Keras model.
        unstable_share: share of pixels with a logit beyond the gate's relative error, in [0, 1].
        keras_movement: for a model with pooling indices, the relative error of the Keras model against itself with
            every input value moved by one float32 step; ``None`` for other models.
        passed: whether the gate of the precision is met.
        reason: why it failed, in a sentence; empty when passed.
        other_ties: share of the pooling windows, over all channels, in which LiteRT's CPU takes another of equal
            maxima than Keras; ``None`` where the artifact has no custom op for pooling indices, and ties are decided
            as in Keras.
    """

    images: str
    num_images: int
    argmax_agreement: float
    max_abs_error: float
    max_relative_error: float
    unstable_share: float
    keras_movement: float | None
    passed: bool
    reason: str
    other_ties: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The answers of the Keras model, computed once for all artifacts of an export.

    Attributes:
        spec: how the images were fed, and the artifact's layout.
        samples: the images.
        class_maps: ``(h, w)`` uint8 for each image, from the model as it was given.
        scores: ``(1, h, w, C)`` float32 for each image: softmax where the spec asks for it, else the scores that the
            class map is computed from.
        movement: see ``Verification.keras_movement``.
    """

    spec: ModelSpec
    samples: Samples
    class_maps: tuple[NDArray[np.uint8], ...]
    scores: tuple[NDArray[np.float32], ...]
    movement: float | None = None

    @property
    def largest(self) -> float:
        """The largest absolute score."""
        return max(max(float(np.abs(scores).max()) for scores in self.scores), 1e-30)


def reference(prepared: PreparedModel, samples: Samples) -> Reference:
    """Run the Keras model on the images, in inference mode.

    Args:
        prepared: the model before any rewrite, how to feed it, and the artifact's ``output_kind``.
        samples: the images.
    """
    model, spec, head = prepared.model, prepared.spec, prepared.head
    inputs = tuple(preprocess(image, spec.replace(layout="nhwc", dtype="float32"))[0] for image in samples.images)
    outputs = [KerasBackend(model).run(tensor) for tensor in inputs]
    class_maps = tuple(np.asarray(head.class_map(output))[0] for output in outputs)
    _note_one_class(class_maps, spec, samples)
    ends = outputs if head.model is model else [KerasBackend(head.model).run(tensor) for tensor in inputs]
    kind: OutputKind = "softmax" if spec.output_kind == "softmax" else "logits"

    def scores_of(values: Any) -> NDArray[np.float32]:
        return np.asarray(add_head(values, kind, probabilities=head.probabilities))

    scores = tuple(map(scores_of, ends))
    expected = Reference(spec=spec, samples=samples, class_maps=class_maps, scores=scores)
    if not unpools(prepared.graph):
        return expected
    moved = 0.0
    for tensor, values in zip(inputs, scores, strict=True):
        # All values move in the same direction: equal values, such as the bars of a letterbox, stay equal.
        for towards in (-np.inf, np.inf):
            shifted = KerasBackend(head.model).run(np.nextafter(tensor, np.float32(towards)))
            moved = max(moved, float(np.abs(scores_of(shifted) - values).max()))
    return dataclasses.replace(expected, movement=moved / expected.largest)


def verify(expected: Reference, artifact: bytes, recipe: Recipe) -> Verification:
    """Run an artifact on the images of a reference and compare.

    The class maps come from the unchanged artifact. For a class-map artifact the logits are read from the same file
    with one more output, so that an error too small to flip a pixel is still detected.

    Args:
        expected: the answers of the Keras model.
        artifact: the file's bytes.
        recipe: gives the runtime and the gate.
    """
    agreement, max_abs, beyond = [], 0.0, []
    limit = np.inf if recipe.gate.max_relative_error is None else recipe.gate.max_relative_error * expected.largest
    outputs: Iterable[tuple[NDArray[Any], NDArray[Any]]]
    if expected.spec.output_kind == "argmax":
        tapped = (tap_tflite_logits if recipe.format == "tflite" else tap_onnx_logits)(artifact)
        outputs = zip(_run(artifact, recipe.format, expected), _run(tapped, recipe.format, expected), strict=True)
    else:  # the scores are the output itself
        outputs = ((output, output) for output in _run(artifact, recipe.format, expected))
    for reference_map, scores, (output, got) in zip(expected.class_maps, expected.scores, outputs, strict=True):
        spec = expected.spec.replace(input_size=reference_map.shape, layout="nhwc")  # as it is, not enlarged
        agreement.append(argmax_agreement(reference_map, to_class_map(output, spec)))
        error = np.abs(scores - got)
        max_abs = float(np.maximum(max_abs, error.max()))  # unlike max(), it keeps a NaN
        beyond.append(np.mean(error.max(axis=-1) > limit))
    proof = Verification(
        images=expected.samples.source,
        num_images=len(agreement),
        argmax_agreement=float(np.mean(agreement)),
        max_abs_error=max_abs,
        max_relative_error=max_abs / expected.largest,
        unstable_share=float(np.mean(beyond)),
        keras_movement=expected.movement,
        passed=False,
        reason="",
        other_ties=_other_ties(artifact, expected) if recipe.format == "tflite" else None,
    )
    reason = _failure(proof, recipe.gate)
    return dataclasses.replace(proof, passed=not reason, reason=reason)


def _note_one_class(class_maps: Sequence[NDArray[np.uint8]], spec: ModelSpec, samples: Samples) -> None:
    """Warn where the proof cannot detect a lost class."""
    ids = {int(value) for class_map in class_maps for value in np.unique(class_map)}
    if len(ids) == 1:
        _log.warning(
            "the Keras model gives every pixel of %s the class '%s': agreement there proves little, verify on images "
            "of what the model is for (--data DIR)",
            samples.source,
            spec.class_names[ids.pop()],
        )


def _failure(proof: Verification, gate: VerificationGate) -> str:
    if not np.isfinite(proof.max_relative_error):
        return "the logits are not finite"
    if proof.argmax_agreement < gate.min_agreement:
        share, least = f"{proof.argmax_agreement:.3%}", f"{gate.min_agreement:.1%}"
        return f"only {share} of the pixels have the class that Keras gives; at least {least}{_ties(proof)}"
    limit = gate.max_relative_error
    if limit is None or proof.max_relative_error <= limit:
        return ""
    if proof.keras_movement is None or proof.keras_movement <= limit:
        return f"a logit differs by {proof.max_relative_error:.1e} of the largest; at most {limit:.0e}{_ties(proof)}"
    if proof.unstable_share > gate.max_unstable:
        share, most = f"{proof.unstable_share:.1%}", f"{gate.max_unstable:.0%}"
        return (
            f"{share} of the pixels have a logit that differs by more than {limit:.0e} of the largest; at most {most}"
            f"{_ties(proof)}"
        )
    return ""


def _ties(proof: Verification) -> str:
    """Return a possible cause, where the runtime decides ties in another way; empty otherwise."""
    if not proof.other_ties:
        return ""
    return (
        f"; the delegate's op took another of equal maxima in {proof.other_ties:.2%} of the pooling windows, "
        "target generic takes those of Keras"
    )


def _run(artifact: bytes, file_format: Format, expected: Reference) -> Iterator[NDArray[Any]]:
    """Yield an artifact's output for each image; scores as ``(1, h, w, C)`` float, as ``tap_logits`` gives them."""
    backend = open_artifact(artifact, file_format)
    nchw_scores = expected.spec.layout == "nchw" and expected.spec.output_kind != "argmax"
    scale, zero_point = backend.outputs[0].scale, backend.outputs[0].zero_point
    try:
        for tensor in _fed(backend.spec or expected.spec, expected):
            output = np.array(backend.run(tensor))
            if scale:  # the logits of an integer model
                output = (output.astype(np.float32) - zero_point) * np.float32(scale)
            yield output.transpose(0, 2, 3, 1) if nchw_scores else output
    finally:
        backend.close()


def _fed(spec: ModelSpec, expected: Reference) -> list[NDArray[Any]]:
    """Return the images as an artifact takes them: bytes or normalized, in its layout."""
    return [preprocess(image, spec)[0] for image in expected.samples.images]


def _other_ties(artifact: bytes, expected: Reference) -> float | None:
    text = read_metadata(artifact, METADATA_KEY)
    return other_choices(artifact, _fed(ModelSpec.from_json(text) if text else expected.spec, expected))
