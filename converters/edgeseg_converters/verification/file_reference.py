"""Take the answers of a float file as the reference of what is made from it, as ``comparison`` takes Keras' own."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeseg.choices import Format
from edgeseg.imaging import preprocess
from edgeseg.runtime import open_artifact
from edgeseg.segmenter import Segmenter, to_class_map, to_scores
from edgeseg.spec import ModelSpec
from edgeseg_converters.images import Samples
from edgeseg_converters.keras_model.steadiness import Answer
from edgeseg_converters.onnx.convert import tap_logits as tap_onnx_logits
from edgeseg_converters.tflite.convert import tap_logits as tap_tflite_logits
from edgeseg_converters.verification.comparison import Reference, note_one_class

#: What the file is called in a verdict.
MODEL = "the float file"


def reference_of_file(
    given: Segmenter, float_data: bytes, file_format: Format, spec: ModelSpec, samples: Samples
) -> Reference:
    """Run a float file as it was given on the images.

    Args:
        given: the file.
        float_data: what was made of it to be quantized, which has scores also where the file gives class ids alone.
        file_format: of both.
        spec: of the artifacts, with the mean and the std of the file.
        samples: the images.

    Raises:
        InputError: the file does not run, or gives class ids that it has not.
    """
    tensors = [preprocess(image, given.spec)[0] for image in samples.images]
    inner = None if given.gives_scores else _inner_scores(float_data, file_format, spec, samples)
    answers = []
    for index, tensor in enumerate(tensors):
        output = given.backend.run(tensor)
        nchw = given.gives_scores and given.spec.layout == "nchw"
        own_size = output.shape[2:4] if nchw else output.shape[1:3]
        class_map = to_class_map(output, given.spec.replace(input_size=(int(own_size[0]), int(own_size[1]))))
        scores = to_scores(output, given.spec, given.backend.outputs[0])[None] if inner is None else inner[index]
        answers.append(Answer(class_map, _of_kind(scores, given.spec, spec)))
    note_one_class([answer.class_map for answer in answers], spec, samples, MODEL)
    return Reference(spec=spec, samples=samples, answers=tuple(answers), probe=None, model=MODEL)


def _of_kind(scores: NDArray[np.float32], given: ModelSpec, spec: ModelSpec) -> NDArray[np.float32]:
    """Return scores as an artifact has them: probabilities where it gives those; of two logits the first is 0."""
    if given.output_kind == "logits" and spec.output_kind == "softmax":
        return np.asarray(tf.nn.softmax(scores))
    is_constant = scores.shape[-1] == 2 and np.ptp(scores[..., 0]) == 0  # a mask's threshold
    return scores - scores[..., :1] if is_constant and given.output_kind == "logits" else scores


def _inner_scores(data: bytes, file_format: Format, spec: ModelSpec, samples: Samples) -> list[NDArray[np.float32]]:
    """Return the scores ``(1, h, w, C)`` that a float file chooses its class map from."""
    tapped = tap_tflite_logits(data) if file_format == "tflite" else tap_onnx_logits(data)
    with closing(open_artifact(tapped, file_format)) as backend:
        fed = backend.spec or spec
        return [np.array(backend.run(preprocess(image, fed)[0])) for image in samples.images]
