"""Reach the private names of TensorFlow: the one door to them.

Every name was seen in TensorFlow 2.21.0, and has a test of its own in
``tests/converters/keras_model/test_tensorflow_internals.py``, which says where to look for its replacement.
"""

from __future__ import annotations


def converter_error() -> type[Exception]:
    """Return the class of what ``TFLiteConverter.convert`` raises.

    ``tensorflow.lite.python.convert_phase.ConverterError``, seen in TensorFlow 2.21.0. It has no public name.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    error: type[Exception] = ConverterError
    return error
