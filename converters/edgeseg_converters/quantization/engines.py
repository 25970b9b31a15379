"""Give all quantizers one interface, with what export, the gate and the rescue need from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.fields import short_repr
from edgeseg.choices import CalibrationMethod, Format
from edgeseg.runtime.litert import LiteRTBackend
from edgeseg.runtime.onnx import OnnxBackend
from edgeseg.spec import ModelSpec
from edgeseg_converters.calibration import CalibrationSet, Ranges
from edgeseg_converters.keras_model.freeze import INPUT_NAME
from edgeseg_converters.onnx.calibrate import measure as measure_onnx
from edgeseg_converters.onnx.calibrate import values as onnx_values
from edgeseg_converters.onnx.convert import tap_logits as tap_onnx_logits
from edgeseg_converters.onnx.convert import to_onnx, with_spec
from edgeseg_converters.onnx.quantize import quantizable
from edgeseg_converters.onnx.quantize import quantize as quantize_onnx
from edgeseg_converters.openvino.convert import to_openvino
from edgeseg_converters.options import DEFAULT_METHOD, VERSION_CHECKING
from edgeseg_converters.quantization.image_range import with_bytes
from edgeseg_converters.quantization.learned import LearnedLimits
from edgeseg_converters.quantization.saturation import saturated
from edgeseg_converters.quantization.tails import cut
from edgeseg_converters.recipes import DEFAULT_OPSET
from edgeseg_converters.tflite import integer_io
from edgeseg_converters.tflite.calibrate import measure as measure_tflite
from edgeseg_converters.tflite.calibrate import values as tflite_values
from edgeseg_converters.tflite.convert import finish, to_tflite
from edgeseg_converters.tflite.convert import tap_logits as tap_tflite_logits
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.quantize import quantize
from edgeseg_converters.tflite.quantize_tensorflow import quantize_ptq

# Images that the sensitivity of every op is measured on; each is run once for every op.
_NUM_PROBES = 4

# Steps of an activation, by precision.
_STEPS = {"int8": 255, "w8a16": 65534}

# Ops that only select or convert; nothing is lost in them.
_NOT_QUANTIZED = ("ARG_MAX", "CAST", "QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class FloatFile:
    """The float artifact that is quantized.

    Attributes:
        data: the file.
        spec: how to feed it.
        format: ``tflite`` or ``onnx``, from which OpenVINO's files are made, too.
    """

    __repr__ = short_repr

    data: bytes
    spec: ModelSpec
    format: Format


class Engine(Protocol):
    """Make integer artifacts of one float model.

    Attributes:
        name: of the tool, as in the spec.
        float_data: the float artifact that is quantized.
        float_spec: how to feed the float artifact.
        ranges: measured by the calibration; ``None`` where the tool does not give them.
        method: derived the ranges to quantize with from those.
        ops: names of the ops that can be kept in float; empty where the tool quantizes all or nothing.
    """

    name: str
    float_data: bytes
    float_spec: ModelSpec
    ranges: Ranges | None
    method: CalibrationMethod
    ops: Sequence[str]

    def build(self, keep: Sequence[str] = ()) -> bytes:
        """Make the artifact, with some ops kept in float."""

    def logits(self, only: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        """Return the logits of a few calibration images, in a model where only these ops are quantized.

        They are the scores of a model that gives these.
        """


def float_file(frozen: Any, spec: ModelSpec, file_format: Format, opset: int = DEFAULT_OPSET) -> FloatFile:
    """Convert a model to the float file that an engine quantizes.

    Args:
        frozen: what ``freeze.trace`` made for ``spec``.
        spec: of the artifact; layout and target are obeyed.
        file_format: of the artifact.
        opset: of an ONNX file.

    Raises:
        UnsupportedModel: the model does not convert.
    """
    fed = float_spec(spec)
    if file_format == "tflite":
        return FloatFile(to_tflite(frozen, fed, to_quantize=True), fed, "tflite")
    return FloatFile(to_onnx(frozen, fed, opset=opset), fed, "onnx")


def takes_float_files(spec: ModelSpec, file_format: Format) -> bool:
    """Return whether the engine for an artifact quantizes the float file: TensorFlow's takes the frozen function."""
    return file_format != "tflite" or not (
        spec.provenance.target in VERSION_CHECKING and spec.provenance.precision == "int8"
    )


def open_engine(
    source: FloatFile,
    spec: ModelSpec,
    file_format: Format,
    images: CalibrationSet | None,
    method: CalibrationMethod = DEFAULT_METHOD,
    *,
    frozen: Any = None,
    learned: LearnedLimits | None = None,
) -> Engine:
    """Open the engine for an artifact.

    Args:
        source: made by ``float_file`` for ``spec``.
        spec: of the artifact; precision, target and layout are obeyed.
        file_format: ``tflite``, ``onnx`` or ``openvino``.
        images: to calibrate with; a static precision needs them.
        method: derives the ranges from the measured values, see ``tails.cut``; TensorFlow's quantizer takes the whole
            ones.
        frozen: what ``source`` was made from, where ``takes_float_files`` says no.
        learned: ranges in place of those of the images.
    """
    if file_format != "tflite":
        if images is None:
            raise ValueError(f"{file_format} has no integer precision without calibration")
        engine = OpenVinoEngine if file_format == "openvino" else OnnxRuntimeEngine
        return engine(source, spec, images, method, learned)
    if images is not None and not takes_float_files(spec, file_format):
        return TensorFlowEngine(source, frozen, spec, images)
    return LiteRTEngine(source, spec, images, method, learned)


def float_spec(spec: ModelSpec) -> ModelSpec:
    """Return how to feed the float model inside an artifact: bytes as float32 where the artifact normalizes them."""
    fed = spec if spec.dtype == "float32" else spec.replace(dtype="float32", mean=(0.0,) * 3, std=(1.0,) * 3)
    return fed.replace(provenance=dataclasses.replace(spec.provenance, precision="fp32"))


class LiteRTEngine:
    """Quantize by litert-quantizer; see ``quantize``."""

    name = "litert-quantizer"

    def __init__(
        self,
        source: FloatFile,
        spec: ModelSpec,
        images: CalibrationSet | None,
        method: CalibrationMethod,
        learned: LearnedLimits | None = None,
    ) -> None:
        self._spec = spec
        self.float_data, self.float_spec = source.data, source.spec
        self._images, self.method = images, method
        self.ranges: Ranges | None = None
        self._cut: Ranges | None = None
        if images is not None:
            # The whole ranges tell whether the images were enough; those to quantize with have their tails cut.
            self.ranges = measure_tflite(self.float_data, images, spec)
            values = tflite_values(self.float_data, _inner(self.ranges), images, spec)
            steps = _STEPS[spec.provenance.precision]
            self._cut = saturated(cut(self.ranges, values, method), self.float_data, "tflite", steps=steps)
            if spec.dtype == "uint8" and spec.provenance.precision == "int8":
                self._cut = with_bytes(self._cut, self.float_data, "tflite")
            if learned is not None:
                first = tflite_values(self.float_data, _inner(self.ranges), images.first(1), spec)
                self._cut = learned.applied(self._cut, first, images.first(1), "tflite")
        graph = TfliteGraph.read(self.float_data)
        self.ops: Sequence[str] = [
            graph.tensor_name(op.outputs[0]) for op in graph.operators if graph.op_name(op) not in _NOT_QUANTIZED
        ]

    def build(self, keep: Sequence[str] = ()) -> bytes:
        """See ``Engine``."""
        precision = self._spec.provenance.precision
        graph = TfliteGraph.read(quantize(self.float_data, precision, self._cut, keep=keep))
        if self._spec.dtype == "uint8":
            integer_io.put_in(graph)
        return finish(graph, self._spec)

    def logits(self, only: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        """See ``Engine``."""
        if self._images is None:
            raise ValueError("there are no images to measure on")
        data = self.float_data
        if only:
            data = quantize(data, self._spec.provenance.precision, self._cut, only=only)
        backend = LiteRTBackend(tap_tflite_logits(data) if self._spec.output_kind == "argmax" else data)
        try:
            probes = self._images.first(_NUM_PROBES).tensors(self._spec)
            return [np.array(backend.run(tensor)) for tensor in probes]
        finally:
            backend.close()


class TensorFlowEngine:
    """Quantize by TensorFlow's own quantizer; see ``quantize_ptq``. It keeps nothing in float."""

    name = "tensorflow"
    ops: Sequence[str] = ()
    ranges: Ranges | None = None
    method: CalibrationMethod = "minmax"

    def __init__(self, source: FloatFile, frozen: Any, spec: ModelSpec, images: CalibrationSet) -> None:
        self._frozen, self._spec, self._images = frozen, spec, images
        self.float_data, self.float_spec = source.data, source.spec

    def build(self, keep: Sequence[str] = ()) -> bytes:
        """See ``Engine``."""
        if keep:
            raise ValueError("TensorFlow's quantizer keeps no op in float")
        return quantize_ptq(self._frozen, self._spec, self._images)

    def logits(self, only: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        """Refuse: there are no ops to choose."""
        raise NotImplementedError


class OnnxRuntimeEngine:
    """Quantize by ONNX Runtime's quantizer; see ``onnx.quantize``."""

    name = "onnxruntime"

    def __init__(
        self,
        source: FloatFile,
        spec: ModelSpec,
        images: CalibrationSet,
        method: CalibrationMethod,
        learned: LearnedLimits | None = None,
    ) -> None:
        self._spec, self._images, self.method = spec, images, method
        self._float, self.float_spec = source.data, source.spec
        self.float_data = self._shipped(self._float, self.float_spec)
        whole = measure_onnx(self._float, images, spec)
        self.ranges: Ranges | None = whole  # see ``LiteRTEngine``
        self._cut = cut(whole, onnx_values(self._float, _inner(whole), images, spec), method)
        self._cut = saturated(self._cut, self._float, "onnx", steps=_STEPS["int8"])
        self._cut = with_bytes(self._cut, self._float, "onnx")
        if learned is not None:
            first = onnx_values(self._float, _inner(whole), images.first(1), spec)
            self._cut = learned.applied(self._cut, first, images.first(1), "onnx")
        self.ops: Sequence[str] = quantizable(self._float)

    def build(self, keep: Sequence[str] = ()) -> bytes:
        """See ``Engine``."""
        return self._shipped(quantize_onnx(self._float, self._cut, keep=keep), self._spec)

    def _shipped(self, data: bytes, spec: ModelSpec) -> bytes:
        """Return an ONNX file as an artifact."""
        return with_spec(data, spec)

    def logits(self, only: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        """See ``Engine``."""
        data = quantize_onnx(self._float, self._cut, only=only)
        backend = OnnxBackend(tap_onnx_logits(data) if self._spec.output_kind == "argmax" else data)
        axes = (0, 3, 1, 2) if self._spec.layout == "nchw" else (0, 1, 2, 3)
        try:
            probes = self._images.first(_NUM_PROBES).tensors(self._spec)
            return [np.array(backend.run(tensor.astype(np.uint8).transpose(axes))) for tensor in probes]
        finally:
            backend.close()


class OpenVinoEngine(OnnxRuntimeEngine):
    """Quantize the ONNX file by ONNX Runtime's quantizer, and convert it to OpenVINO, which keeps its integers."""

    def _shipped(self, data: bytes, spec: ModelSpec) -> bytes:
        return to_openvino(data, spec)


def _inner(ranges: Ranges) -> list[str]:
    """Return the tensors whose tails are cut: the image's bytes are all kept."""
    return [name for name in ranges.low if name != INPUT_NAME]
