"""Reach what LiteRT's wheel does not promise to keep: the one door of the workstation's code to it.

Every name was seen in ai-edge-litert 2.3.0. Each has a test of its own in
``tests/converters/tflite/test_litert_internals.py``, which says where to look for the replacement when the name is
gone. ``edgeseg.tflite.litert_internals`` is the device's door, whose functions import the package when they are called;
here the classes are needed as types.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

__all__ = ["read_model", "schema"]

# ``schema`` is what ``flatc`` generates from TFLite's schema.fbs, in no documentation: the objects of a file
# (``ModelT``, ``OperatorT``) and the numbers in them (``BuiltinOperator``, ``TensorType``).


def read_model(data: bytes) -> schema.ModelT:
    """Return the objects of a ``.tflite`` file.

    ``ai_edge_litert.tools.flatbuffer_utils.read_model_from_bytearray``, seen in ai-edge-litert 2.3.0, in no
    documentation. In addition to ``ModelT.InitFromPackedBuf`` it reads the weights after the flatbuffer in files beyond
    2 GB, drops the converter's empty buffers, and turns the numbers of tensors into lists, which can be edited.
    """
    return flatbuffer_utils.read_model_from_bytearray(bytearray(data))
