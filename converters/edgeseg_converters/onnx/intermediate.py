"""Make MNN and OpenVINO models from the ONNX file of an export: that file prepared, and the converter run.

A converter runs in a process of its own, as one that crashes would take the export with it, and what it prints is not
the export's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeseg._internal.files import scratch_folder
from edgeseg._internal.text import last_line
from edgeseg.choices import Layout
from edgeseg.errors import UnsupportedModel
from edgeseg.runtime.process import child
from edgeseg_converters.onnx.file import read, write
from edgeseg_converters.onnx.memory import new_objects_collected
from edgeseg_converters.onnx.passes.taps import SCORES, NameScores

#: The name of the ONNX file that a worker reads.
SOURCE = "model.onnx"
#: Seconds after which a converter hangs: the largest models of the zoo take one minute.
_MOST_S = 1800.0


@new_objects_collected()
def prepared(data: bytes, *, half_weights: bool = False) -> bytes:
    """Return an ONNX file as another format is made from it: without ModelSpec, which that format gets of its own.

    Args:
        data: an ``.onnx`` file of edgeseg. Where it gives a class map, the scores that it is made of get a name by
            which they are found in the other format; see ``taps.NameScores``.
        half_weights: round the weights to float16; they stay float32.
    """
    model = NameScores()(read(data)).model
    model.metadata_props.clear()
    if half_weights:
        for value in model.graph.initializers.values():
            _round_to_half(value)
    return write(model)


def convert(
    given: Mapping[str, bytes], worker: Path, files: Sequence[str], *, arguments: Sequence[str], name: str
) -> list[bytes]:
    """Run a converter.

    Args:
        given: name to content of the files in the folder that is the worker's first argument: the ``.onnx`` file is
            ``SOURCE``.
        worker: a Python file that writes ``files`` into the same folder.
        files: their names.
        arguments: more for the worker.
        name: of the format, for messages.

    Returns:
        The content of the files.

    Raises:
        UnsupportedModel: the converter refuses the model, crashes, hangs, or writes nothing; the text says which.
    """
    with scratch_folder("edgeseg-convert-") as folder:
        for each, content in given.items():
            (folder / each).write_bytes(content)
        ended = child.run(
            worker,
            [str(folder), *arguments],
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout_s=_MOST_S,
        )
        reason = next((f"{last_line(text)} " for text in (ended.stderr, ended.stdout) if text.strip()), "")
        if ended.status != 0:
            raise UnsupportedModel(f"the model does not convert to {name}: {reason}(its converter: {ended.how}).")
        made = [(folder / each).read_bytes() if (folder / each).is_file() else b"" for each in files]
    if not all(made):
        raise UnsupportedModel(f"the model does not convert to {name}: {reason}(its converter wrote nothing).")
    return made


def scores_layout(data: bytes) -> Layout:
    """Return the axes of the scores in a model that was made of a ``prepared`` one, whose output is a class map.

    Args:
        data: of the other format.

    Raises:
        UnsupportedModel: its converter did not keep them, so that the model cannot be proven.
    """
    for layout, name in SCORES.items():
        if name.encode() in data:
            return layout
    raise UnsupportedModel("the scores of the class map are not in the converted model, so that it cannot be proven.")


def _round_to_half(value: ir.Value) -> None:
    """Round a constant of several dimensions: kernels, and not the biases, whose size does not count."""
    constant = value.const_value
    if constant is None or constant.dtype != ir.DataType.FLOAT or len(constant.shape) < 2:
        return
    rounded = constant.numpy().astype(np.float16).astype(np.float32)
    value.const_value = ir.tensor(rounded, name=value.name)
