"""Convert an ONNX file of edgeseg to an OpenVINO model, with the ModelSpec in its ``rt_info``."""

from __future__ import annotations

from pathlib import Path

from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.runtime.openvino.file import read_openvino, with_spec
from edgeseg.spec import ModelSpec
from edgeseg_converters.onnx import intermediate


def to_openvino(data: bytes, spec: ModelSpec) -> bytes:
    """Convert an ONNX file.

    Args:
        data: an ``.onnx`` file that edgeseg made: float32, or quantized by ``onnx.quantize``.
        spec: goes into the file; its precision is obeyed.

    Returns:
        The bytes of an ``.xml`` and its ``.bin``, see ``edgeseg._internal.limits.pairs``. In ``fp16`` the weights are
        rounded to float16.

    Raises:
        UnsupportedModel: OpenVINO does not read the model, or what it makes is no such model; the text says why.
    """
    precision = "fp16" if spec.provenance.precision == "fp16" else "fp32"
    graph, weights = intermediate.convert(
        {intermediate.SOURCE: intermediate.prepared(data)},
        Path(__file__).with_name("worker.py"),
        ["model.xml", "model.bin"],
        arguments=[precision],
        name="OpenVINO",
    )
    try:
        made = with_spec(graph, weights, spec)
        *_, inside = read_openvino(made)
    except (InputError, ValueError) as error:
        raise UnsupportedModel(f"the model does not convert to OpenVINO: {str(error).rstrip('.')}.") from error
    if inside != spec:
        raise UnsupportedModel("the model does not convert to OpenVINO: the file lost the ModelSpec.")
    return made
