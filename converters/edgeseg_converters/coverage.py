"""What accelerators take of an artifact, for the export.

The asking itself is ``edgeseg.coverage``, which a device has too: this package's ``__init__`` needs tensorflow.
"""

from edgeseg.coverage import Coverage, LeftNode, coverage, coverage_of_all
from edgeseg.coverage.ask import ASKED
from edgeseg.tflite.file import is_tflite

__all__ = [
    # what to call
    "ask_coverage",
    "coverage",
    # what comes back
    "Coverage",
    "LeftNode",
]


def ask_coverage(data: bytes) -> tuple[Coverage, ...]:
    """What the accelerators that can be asked on this machine take of an artifact.

    Args:
        data: a whole ``.tflite`` or ``.onnx`` file.

    Returns:
        One for each that answered; a GPU without a driver is not among them. Nothing out of a table.
    """
    found, _ = coverage_of_all(data, ASKED["tflite" if is_tflite(data) else "onnx"])
    return found
