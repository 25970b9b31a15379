"""Prove an artifact: compare it on its own runtime with the model that it was made from, on the same images.

That is a Keras model, or a float file (``verification.file_reference``).

A model with pooling indices decides some pixels by rounding (see ``keras_model.steadiness``), which says nothing about
the conversion. Where such a model's artifact misses its gate on all pixels, it has to meet the same gate on those that
are steady in Keras, and a warning says what share is not. If that share is too large, nothing is proven and the file is
rejected for this reason. A model without pooling indices gets no such exception.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.choices import Format, Layout, OutputKind
from edgeseg.imaging import preprocess
from edgeseg.runtime import Backend, open_artifact
from edgeseg.runtime.keras import KerasBackend
from edgeseg.runtime.mnn.backend import MnnBackend
from edgeseg.scores.score_map import ScoreMap
from edgeseg.segmenter import to_class_map
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tflite.file import read_metadata
from edgeseg.tiling.receptive_field import measured_radius
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.output_head import add_head
from edgeseg_converters.keras_model.prepare import PreparedModel
from edgeseg_converters.keras_model.steadiness import Answer, Steadiness, SteadinessProbe
from edgeseg_converters.onnx.convert import tap_logits as tap_onnx_logits
from edgeseg_converters.onnx.intermediate import scores_layout
from edgeseg_converters.onnx.passes.taps import SCORES
from edgeseg_converters.recipes import Recipe, VerificationGate
from edgeseg_converters.tflite.convert import tap_logits as tap_tflite_logits
from edgeseg_converters.tflite.pooling_ties import other_choices
from edgeseg_converters.verification.departure import departure

_log = logging.getLogger(__name__)

_ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid, "log_softmax": tf.nn.log_softmax}


@dataclass(frozen=True, kw_only=True)
class SteadyPixels:
    """How far an artifact is from its Keras model where the model itself is steady; see ``keras_model.steadiness``.

    Attributes:
        keras_changed: share of the pixels to which Keras itself gives another class when its input is rounded in
            another way, in [0, 1].
        unsteady_share: share of the pixels to which it might, in [0, 1].
        argmax_agreement: share of the other pixels that have the same class, in [0, 1].
        keras_movement: how far a score of the Keras model moves, over the largest absolute score.
        max_relative_error: the same of the artifact's difference, on the pixels with steady scores.
        beyond: share of the pixels with steady scores in which the artifact's scores differ by more than the gate
            allows, in [0, 1].
        unsteady_scores: share of the pixels whose scores Keras itself moves by more than the gate allows, in [0, 1].
    """

    keras_changed: float
    unsteady_share: float
    argmax_agreement: float
    keras_movement: float
    max_relative_error: float
    beyond: float
    unsteady_scores: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How far an artifact is from the model that it was made from.

    Attributes:
        images: where the images came from.
        num_images: how many.
        argmax_agreement: share of pixels with the same class, in [0, 1].
        max_abs_error: largest difference of a logit (of a score, for a softmax output).
        max_relative_error: the same over the largest absolute logit of that model.
        passed: whether the gate of the precision is met.
        reason: why it failed, in a sentence; empty when passed.
        steady: the same on the pixels that are steady in Keras, for a model with pooling indices whose artifact misses
            the gate on all pixels; ``None`` for others.
        other_ties: share of the pooling windows, over all channels, in which LiteRT's CPU takes another of equal
            maxima than Keras; ``None`` where the artifact has no custom op for pooling indices, and ties are decided
            as in Keras.
        model: what it was compared with, for people.
    """

    __repr__ = short_repr

    images: str
    num_images: int
    argmax_agreement: float
    max_abs_error: float
    max_relative_error: float
    passed: bool
    reason: str
    steady: SteadyPixels | None = None
    other_ties: float | None = None
    model: str = "Keras"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The answers of the model that artifacts are made from, computed once for all of them.

    Attributes:
        spec: how the images were fed, the artifact's layout, and the radius of the model's receptive field.
        samples: the images.
        answers: to each image: the class map of the model as it was given, and the scores, softmax where the spec asks
            for it, else those that the class map is computed from.
        probe: measures which pixels are steady; ``None`` for a file, whose answers are taken as they are.
        model: what gave them, for people.
    """

    spec: ModelSpec
    samples: Samples
    answers: tuple[Answer, ...]
    probe: SteadinessProbe | None
    model: str = "Keras"

    @property
    def pooling_probe(self) -> SteadinessProbe | None:
        """What measures the steadiness of a model with pooling indices; ``None`` for others."""
        return self.probe if self.probe is not None and self.probe.pools_with_indices() else None

    @property
    def scores(self) -> tuple[NDArray[np.float32], ...]:
        """The scores alone."""
        return tuple(answer.scores for answer in self.answers)

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
    spec = prepared.spec
    inputs = tuple(preprocess(image, spec.replace(layout="nhwc", dtype="float32"))[0] for image in samples.images)
    answer = _KerasAnswers(prepared)
    answers = tuple(map(answer, inputs))
    note_one_class([each.class_map for each in answers], spec, samples)
    probe = SteadinessProbe(prepared.model, answer, inputs, answers)

    def enlarged(one: Answer) -> NDArray[np.float32]:
        return ScoreMap(one.scores[0], "logits", spec.input_size).enlarged()

    before = enlarged(answers[0])
    spec = spec.replace(receptive_radius=measured_radius(lambda one: enlarged(answer(one)), inputs[0], before, spec))
    return Reference(spec=spec, samples=samples, answers=answers, probe=probe)


class _KerasAnswers:
    """Runs the given model and the one without its final activation.

    A large model takes seconds for an image, and the two are the same up to the activation. Once that has been seen on
    an image, the given one is computed from the other.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._prepared = prepared
        self._given = KerasBackend(prepared.model)
        self._scored = KerasBackend(prepared.head.model)
        self._alike = prepared.head.model is prepared.model

    def __call__(self, tensor: NDArray[Any]) -> Answer:
        head, spec = self._prepared.head, self._prepared.spec
        scores = self._scored.run(tensor)
        output = scores if head.activation is None else np.asarray(_ACTIVATIONS[head.activation](scores))
        if not self._alike:
            given = self._given.run(tensor)
            # 1e-6: a softmax rounds by 6e-8, and sums over the classes.
            self._alike = np.allclose(given, output, rtol=1e-5, atol=1e-6)
            output = given
        kind: OutputKind = "softmax" if spec.output_kind == "softmax" else "logits"
        class_map = np.asarray(head.class_map(output))[0]
        if kind == "softmax" and head.activation in ("softmax", "sigmoid"):  # what the model gives is what is asked for
            return Answer(class_map, np.asarray(add_head(output, kind, probabilities=True)))
        return Answer(class_map, np.asarray(add_head(scores, kind, probabilities=head.probabilities)))


def verify(expected: Reference, artifact: bytes, recipe: Recipe) -> Verification:
    """Run an artifact on the images of a reference and compare.

    The class maps come from the unchanged artifact. For a class-map artifact the logits are read from a copy that gives
    these, so that an error too small to flip a pixel is still detected. Once the largest logits of the copy are the
    unchanged artifact's class map of an image, in every pixel, only the copy is run. An image of one class shows that
    too weakly, and does not count.

    Args:
        expected: the answers of the Keras model.
        artifact: the file's bytes.
        recipe: gives the runtime and the gate.
    """
    differences = _differences(artifact, recipe.format, expected)
    proof = _on_all_pixels(differences, expected)
    if recipe.format == "tflite":
        proof = dataclasses.replace(proof, other_ties=_other_ties(artifact, expected))
    reason = _failure(proof, recipe.gate)
    if (
        reason
        and np.isfinite(proof.max_abs_error)
        and recipe.gate.rounding is not None
        and (probe := expected.pooling_probe) is not None
    ):
        steadiness = probe.at(recipe.gate.rounding)
        proof = dataclasses.replace(proof, steady=_where_steady(differences, steadiness, expected, recipe.gate))
        reason = _failure_where_steady(proof, recipe.gate)
        if not reason:
            _note_unsteady(proof, recipe)
    return dataclasses.replace(proof, passed=not reason, reason=reason)


def explained(
    proof: Verification, expected: Reference, artifact: bytes, recipe: Recipe, *, frozen: Any, model: keras.Model
) -> Verification:
    """Return a proof whose reason also names the op that departs, where the artifact missed its gate.

    Args:
        proof: of the artifact.
        expected: the answers of the Keras model.
        artifact: the file's bytes.
        recipe: its format and gate.
        frozen: the function that was converted.
        model: the user's, whose layers are named.
    """
    chance = proof.steady is not None and proof.steady.unsteady_share > recipe.gate.max_unsteady
    if proof.passed or chance or not np.isfinite(proof.max_abs_error):
        return proof
    if recipe.format in ("mnn", "openvino"):  # their ops are not those of the frozen function
        cause = _winograd(artifact, expected, recipe.gate) if recipe.format == "mnn" else ""
        return dataclasses.replace(proof, reason=proof.reason + cause)
    backend = open_artifact(artifact, recipe.format)
    tensor, *_ = _fed(backend.spec or expected.spec, expected)
    backend.close()
    found = departure(artifact, recipe.format, tensor, expected.scores[0], frozen=frozen, model=model)
    # Where rounding alone moves the scores, those of the frozen function say nothing about the rewrites.
    error = proof.max_relative_error if proof.steady is None else np.inf
    reason = f"{proof.reason}; {found.sentence(error)}"
    if not found.stands_out and recipe.gate.rounding is not None and expected.probe is not None:
        movement = expected.probe.at(recipe.gate.rounding).largest_movement / expected.largest
        reason += f"; Keras' own logits move by {movement:.1e} when its input moves by {recipe.gate.rounding:.0e}"
    return dataclasses.replace(proof, reason=reason)


def _winograd(artifact: bytes, expected: Reference, gate: VerificationGate) -> str:
    """Return that MNN's Winograd kernels cost an artifact its gate; empty where it misses the gate without them, too.

    Args:
        artifact: the file's bytes.
        expected: the answers of the Keras model.
        gate: that it missed.
    """
    without = _on_all_pixels(_differences(artifact, "mnn", expected, winograd=False), expected)
    if _failure(without, gate):
        return ""
    return (
        "; the cause is MNN's Winograd kernels, which only a program can switch off: without them "
        f"{without.argmax_agreement:.3%} of the pixels have the class, and the gate is met"
    )


def _differences(
    artifact: bytes, file_format: Format, expected: Reference, *, winograd: bool = True
) -> list[_Difference]:
    """Return how an artifact differs on each image; see ``_run`` for ``winograd``."""
    differences = []
    answers = _answers(artifact, file_format, expected, winograd=winograd)
    for answer, (class_map, scores) in zip(expected.answers, answers, strict=True):
        if expected.spec.output_kind == "argmax":
            scores = of_one_kind(scores, answer.scores)
        errors = np.abs(answer.scores - scores).max(axis=-1)[0]
        differences.append(_Difference(same=answer.class_map == class_map, errors=errors))
    return differences


def _on_all_pixels(differences: Sequence[_Difference], expected: Reference) -> Verification:
    """Return a proof that no gate has judged yet."""
    max_abs = float(np.max([difference.errors.max() for difference in differences]))  # unlike max(), it keeps a NaN
    return Verification(
        images=expected.samples.source,
        num_images=len(differences),
        argmax_agreement=float(np.mean([difference.same.mean() for difference in differences])),
        max_abs_error=max_abs,
        max_relative_error=max_abs / expected.largest,
        passed=False,
        reason="",
        model=expected.model,
    )


@dataclass(frozen=True)
class _Difference:
    """How an artifact differs from the reference on an image.

    Attributes:
        same: ``(h, w)`` bool: the class is the same.
        errors: ``(h, w)`` float32: the largest difference of a score of the pixel.
    """

    same: NDArray[np.bool_]
    errors: NDArray[np.float32]


def _where_steady(
    differences: Sequence[_Difference], steadiness: Steadiness, expected: Reference, gate: VerificationGate
) -> SteadyPixels:
    limit = np.inf if gate.max_relative_error is None else gate.max_relative_error * expected.largest
    same = np.concatenate([d.same[steady] for d, steady in zip(differences, steadiness.steady, strict=True)])
    still = [movement <= limit for movement in steadiness.movement]
    errors = np.concatenate([d.errors[pixels] for d, pixels in zip(differences, still, strict=True)])
    return SteadyPixels(
        keras_changed=steadiness.changed,
        unsteady_share=steadiness.unsteady_share,
        argmax_agreement=float(same.mean()) if same.size else 0.0,
        keras_movement=steadiness.largest_movement / expected.largest,
        max_relative_error=float(errors.max(initial=0.0)) / expected.largest,
        beyond=float(np.mean(errors > limit)) if errors.size else 0.0,
        unsteady_scores=1 - float(np.mean([pixels.mean() for pixels in still])),
    )


def of_one_kind(got: NDArray[Any], scores: NDArray[np.float32]) -> NDArray[Any]:
    """Return what a class-map artifact takes the largest of as probabilities, or their logarithms, where Keras does.

    TFLite's converter omits a softmax before an ARG_MAX, in the code of a user's layer too.
    """
    for function, powers in ((tf.nn.softmax, np.asarray), (tf.nn.log_softmax, np.exp)):
        # 1e-3: a float16 probability is off by at most 5e-4. 0.5: integers round those below half a step to 0.
        if _sum_to_1(powers(scores), 1e-3) and not _sum_to_1(powers(got), 0.5):
            return np.asarray(function(got.astype(np.float32)))
    return got


def _sum_to_1(values: NDArray[Any], atol: float) -> bool:
    is_share = values.shape[-1] > 1 and values.min() >= 0 and values.max() <= 1 + atol
    return bool(is_share and np.allclose(values.sum(axis=-1), 1, atol=atol))


def note_one_class(
    class_maps: Sequence[NDArray[np.uint8]], spec: ModelSpec, samples: Samples, model: str = "the Keras model"
) -> None:
    """Warn where the proof cannot detect a lost class.

    Args:
        class_maps: that the model gives.
        spec: has the names of the classes.
        samples: the images.
        model: what it is, for people.
    """
    ids = {int(value) for class_map in class_maps for value in np.unique(class_map)}
    if len(ids) == 1:
        _log.warning(
            "%s gives every pixel of %s the class '%s': agreement there proves little, verify on images of what the "
            "model is for (`data='DIR'`)",
            model,
            samples.source,
            spec.class_names[ids.pop()],
        )


def _note_unsteady(proof: Verification, recipe: Recipe) -> None:
    """Say that the proof covers a part of the pixels only."""
    steady = proof.steady
    assert steady is not None
    _log.warning(
        "%s %s: the class of %.1f %% of the pixels is decided by rounding, as equal values of a pooling window are; "
        "the proof rests on the others, of which %.3f %% have the class that Keras gives (%.3f %% of all; Keras itself "
        "changes %.1f %% when its input moves by %.0e)",
        *(recipe.format, recipe.precision, 100 * steady.unsteady_share, 100 * steady.argmax_agreement),
        *(100 * proof.argmax_agreement, 100 * steady.keras_changed, recipe.gate.rounding),
    )


def _failure(proof: Verification, gate: VerificationGate) -> str:
    """Return why an artifact misses its gate on all pixels; empty where it does not."""
    if not np.isfinite(proof.max_relative_error):
        return "the logits are not finite"
    if proof.argmax_agreement < gate.min_agreement:
        share, least = f"{proof.argmax_agreement:.3%}", f"{gate.min_agreement:.1%}"
        return f"only {share} of the pixels have the class that {proof.model} gives; at least {least}{_ties(proof)}"
    limit = gate.max_relative_error
    if limit is None or proof.max_relative_error <= limit:
        return ""
    return f"a logit differs by {proof.max_relative_error:.1e} of the largest; at most {limit:.0e}{_ties(proof)}"


def _failure_where_steady(proof: Verification, gate: VerificationGate) -> str:
    """Return why an artifact misses its gate on the steady pixels; empty where it does not."""
    steady, limit = proof.steady, gate.max_relative_error
    assert steady is not None
    if steady.unsteady_share > gate.max_unsteady:
        return (
            f"nothing is proven and the file may be right: the class of {steady.unsteady_share:.1%} of the pixels is "
            f"decided by rounding, as equal values of a pooling window are; at most {gate.max_unsteady:.0%}. Keras "
            f"itself changes {steady.keras_changed:.1%} when its input moves by {gate.rounding:.0e}; give other images "
            f"by `data`, such as without letterbox bars{_ties(proof)}"
        )
    if steady.argmax_agreement < gate.min_agreement:
        share, least = f"{steady.argmax_agreement:.3%}", f"{gate.min_agreement:.1%}"
        return (
            f"only {share} of the pixels that are steady in Keras have the class that it gives; at least {least}; "
            f"{steady.unsteady_share:.1%} of all are not steady{_ties(proof)}"
        )
    most = 1 - gate.min_agreement  # the draws miss a few in the same way
    if limit is not None and steady.beyond > most:
        return (
            f"{steady.beyond:.1%} of the pixels whose logits are steady in Keras have one that differs by more than "
            f"{limit:.0e} of the largest; at most {most:.1%}{_ties(proof)}"
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


def _answers(
    artifact: bytes, file_format: Format, expected: Reference, *, winograd: bool
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Yield an artifact's class map of each image, ``(h, w)``, and its scores, ``(1, h, w, C)``."""
    outputs = _run(artifact, file_format, expected, winograd=winograd)
    is_map = expected.spec.output_kind == "argmax"
    tapped = _tapped(artifact, file_format, expected, winograd=winograd) if is_map else iter(())  # opened on first use
    alike = False
    for answer in expected.answers:
        spec = expected.spec.replace(input_size=answer.class_map.shape, layout="nhwc")  # as it is, not enlarged
        if not is_map:  # the scores are the output itself
            output = scores = next(outputs)
            yield to_class_map(output, spec), scores
            continue
        scores = next(tapped)
        largest = np.argmax(scores, axis=-1)[0].astype(np.uint8)
        if alike:
            yield largest, scores
            continue
        class_map = to_class_map(next(outputs), spec)
        alike = np.array_equal(class_map, largest) and class_map.min() != class_map.max()
        if alike:
            outputs.close()  # a runtime with all weights
        yield class_map, scores


def _tapped(artifact: bytes, file_format: Format, expected: Reference, *, winograd: bool) -> Iterator[NDArray[Any]]:
    """Yield the scores inside an artifact that gives a class map, ``(1, h, w, C)``, for each image."""
    if file_format == "tflite":
        return _run(tap_tflite_logits(artifact), file_format, expected)
    if file_format == "onnx":
        return _run(tap_onnx_logits(artifact), file_format, expected)
    return _run(artifact, file_format, expected, scores=scores_layout(artifact), winograd=winograd)


def _run(
    artifact: bytes,
    file_format: Format,
    expected: Reference,
    *,
    scores: Layout | None = None,
    winograd: bool = True,
) -> Generator[NDArray[Any], None, None]:
    """Yield an artifact's output for each image; scores as ``(1, h, w, C)`` float, as ``tap_logits`` gives them.

    Args:
        artifact: the file's bytes.
        file_format: of them.
        expected: has the images.
        scores: take the scores inside, which have these axes; the runtime gives them by name.
        winograd: whether MNN's kernels may be Winograd's; ``False`` is for its files alone.
    """
    name = None if scores is None else SCORES[scores]
    backend: Backend = (
        open_artifact(artifact, file_format, output=name)
        if winograd
        else MnnBackend(artifact, winograd=False, output=name)
    )
    nchw_scores = scores == "nchw" or (expected.spec.layout == "nchw" and expected.spec.output_kind != "argmax")
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
