"""Reach what LiteRT's wheel does not promise to keep: the one door of the device's code to it.

Every name was seen in ai-edge-litert 2.3.0. Each has a test of its own in
``tests/edgeseg/tflite/test_litert_internals.py``, which says where to look for the replacement when the name is gone;
``edgeseg_converters.tflite.litert_internals`` is the workstation's door. The functions import the package when they are
called: a device with tflite-runtime has none.
"""

from __future__ import annotations

from typing import Any


def load_schema() -> Any:
    """Return the module with the generated classes of TFLite's schema (``ModelT``, ``BuiltinOperator``).

    ``ai_edge_litert.schema_py_generated``, seen in ai-edge-litert 2.3.0: what ``flatc`` generates from TFLite's
    schema.fbs, in no documentation. Its import takes a quarter of a second.

    Raises:
        ModuleNotFoundError: the package is not installed; tflite-runtime has no such module.
    """
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def to_bytes(model: Any) -> bytes:
    """Return the file of a ``ModelT``.

    ``ai_edge_litert.tools.flatbuffer_utils.convert_object_to_bytearray``, seen in ai-edge-litert 2.3.0. No documented
    function writes a model.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def op_details(interpreter: Any) -> list[dict[str, Any]]:
    """Return the ops of an interpreter: those of the file, then one ``DELEGATE`` for each partition of a delegate.

    ``Interpreter._get_ops_details``, seen in ai-edge-litert 2.3.0. Publicly an interpreter lists tensors alone
    (``get_tensor_details``).

    Args:
        interpreter: of ai-edge-litert or of tflite-runtime. XNNPACK, the default delegate, takes its nodes in
            ``allocate_tensors`` and is not there before.

    Returns:
        For each op a dict with ``op_name``, and with ``inputs`` and ``outputs``, the numbers of its tensors.
    """
    details: list[dict[str, Any]] = interpreter._get_ops_details()
    return details
