"""Summarize each command in one sentence: for ``edgeseg --help``, which imports none of them, and for their own."""

from __future__ import annotations

#: In the order in which a newcomer needs them.
COMMANDS = {
    "models": "List the zoo and the packaged weights.",
    "export": "Export a Keras model to TFLite and ONNX, each file proven against it.",
    "quantize": "Make integers of a float .tflite or .onnx of any origin, proven against it.",
    "inspect": "Show a file's spec and ops, and what each accelerator takes or leaves.",
    "predict": "Draw the classes of images, folders and videos, or count them.",
    "camera": "Segment a camera, stream, video or folder, live.",
    "evaluate": "Score a model or an exported file on labeled data.",
    "web": "Serve a page that runs a file in any browser, on the phone's own camera.",
    "verify": "Prove a file on the device that runs it: here, over ssh and over adb.",
    "benchmark": "Measure latency here, over ssh and over adb, and how sure it is.",
    "tune": "Find the fastest file, runtime and threads on a device that pass an accuracy gate.",
    "compare": "Compare results with a baseline; exit 1 when something got slower.",
    "data": "Check, split and convert labeled data.",
    "train": "Train a model of the zoo, or your own.",
    "doctor": "Show what is installed, what is missing, and the command that installs it.",
}


def help_of(name: str, details: str = "") -> str:
    """Return the help of a command: its sentence, and further details."""
    return f"{COMMANDS[name]}\n\n{details}".strip()
