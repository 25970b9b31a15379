"""The private names of TensorFlow, each with where to look for its replacement when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tensorflow as tf

from edgeseg_converters.keras_model.tensorflow_internals import converter_error


@contextmanager
def replacement(name: str, place: str) -> Iterator[None]:
    """Turn the failure of a private name into a sentence that says where TensorFlow may have it now."""
    try:
        yield
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        pytest.fail(
            f"TensorFlow {tf.__version__} has no {name} that works as in 2.21.0; look for its replacement in {place} "
            f"({error})"
        )


def test_converter_error() -> None:
    with replacement("convert_phase.ConverterError", "the traceback of a TFLiteConverter.convert that fails"):
        error = converter_error()
    function = tf.function(tf.math.betainc).get_concrete_function(
        *(tf.TensorSpec((2,), tf.float32, name) for name in "abx")
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    with pytest.raises(error, match="Betainc"):  # TFLite has no builtin for it
        converter.convert()
