"""Look up what ONNX Runtime's providers take of an ONNX model, from their documents and sources, with dates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeseg.runtime.onnx_ops import OnnxOp

# The result of a rule for an op: a reason, or None when it is taken.
_Rule = Callable[[OnnxOp], str | None]


@dataclass(frozen=True)
class Provider:
    """One provider's rules.

    Attributes:
        name: as users know it.
        note: what was read, at which commit or date, and what it does not cover.
        ops: every op that it takes; ``None`` where only the exceptions were read, and the rest counts as taken.
        rules: op to the rule that a node of it must pass.
    """

    name: str
    note: str
    ops: frozenset[str] | None = None
    rules: Mapping[str, _Rule] = field(default_factory=dict)

    def reason(self, op: OnnxOp) -> str | None:
        """Return why an op is not taken, ``None`` when it is taken."""
        if self.ops is not None and op.name not in self.ops:
            return f"{self.name} has no {op.name}"
        rule = self.rules.get(op.name)
        return rule(op) if rule else None


def _never(text: str) -> _Rule:
    return lambda op: text


def _no_indices(text: str) -> _Rule:
    """Refuse a MaxPool whose second output, the indices, is used."""
    return lambda op: text if len(op.outputs) > 1 and op.outputs[1] else None


def _resize(name: str, linear: str, nearest: str) -> _Rule:
    """Refuse a Resize whose coordinate mode is not among the names, for each of its two modes."""

    def rule(op: OnnxOp) -> str | None:
        mode = op.attributes.get("mode", "nearest")
        coordinates = op.attributes.get("coordinate_transformation_mode", "half_pixel")
        accepted = {"linear": linear, "nearest": nearest}.get(mode, "").split()
        if coordinates in accepted:
            return None
        return f"{name} takes a {mode} Resize with: {', '.join(accepted) or 'nothing'}; this has {coordinates}"

    return rule


_COREML_OPS = frozenset(
    "Add ArgMax AveragePool Cast Ceil Clip Concat Conv ConvTranspose Cos DepthToSpace Div Elu Erf Exp GatherND Gelu "
    "Gemm GlobalAveragePool GlobalMaxPool GridSample GroupNormalization HardSigmoid Identity InstanceNormalization "
    "LayerNormalization LeakyRelu MatMul Max MaxPool Mul PRelu Pow Range Reciprocal ReduceMax ReduceMean ReduceSum "
    "Relu Reshape Resize Round Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub Tanh Tile Transpose "
    "Unsqueeze".split()
)
_NNAPI_OPS = frozenset(
    "Abs Add AveragePool Cast Clip Concat Conv DepthToSpace DequantizeLinear Div Elu Exp Flatten Floor Gather Gemm "
    "GlobalAveragePool GlobalMaxPool Identity Log MatMul Max MaxPool Min Mul Neg PRelu Pad Pow QLinearAdd "
    "QLinearAveragePool QLinearConv QLinearMatMul QLinearSigmoid QuantizeLinear Relu Reshape Resize Sigmoid Sin Slice "
    "Softmax Sqrt Squeeze Sub Tanh Transpose Unsqueeze".split()
)
_XNNPACK_OPS = frozenset(
    "AveragePool Conv ConvTranspose Gemm MatMul MaxPool QLinearAveragePool QLinearConv QLinearConvTranspose "
    "QLinearSoftmax Resize Softmax".split()
)
_TENSORRT_RESIZE = "half_pixel pytorch_half_pixel tf_half_pixel_for_nn asymmetric align_corners"
_ONLY_EXCEPTIONS = "only exceptions were read, every other op counts as taken"

#: Accelerator to its provider's rules.
PROVIDERS = {
    "cuda": Provider(
        "CUDA",
        f"microsoft/onnxruntime 001d12d, docs/OperatorKernels.md, and issue 3113, read 2026-11; {_ONLY_EXCEPTIONS}",
        rules={"MaxUnpool": _never("CUDA has no MaxUnpool")},
    ),
    "tensorrt": Provider(
        "TensorRT",
        f"onnx/onnx-tensorrt 96e7811 (2024), docs/operators.md, read 2026-11; {_ONLY_EXCEPTIONS}",
        rules={
            "MaxUnpool": _never("TensorRT has no MaxUnpool"),
            "MaxPool": _no_indices("TensorRT takes a MaxPool without its Indices output"),
            "OneHot": _never("TensorRT has no OneHot"),
            "Resize": _resize("TensorRT", _TENSORRT_RESIZE, _TENSORRT_RESIZE),
        },
    ),
    "directml": Provider(
        "DirectML",
        f"microsoft/onnxruntime 001d12d, docs/OperatorKernels.md, read 2026-11; {_ONLY_EXCEPTIONS} (MaxUnpool is)",
    ),
    "coreml": Provider(
        "Core ML (ML program)",
        "microsoft/onnxruntime 04f568d, tools/ci_build/github/apple/coreml_supported_mlprogram_ops.md, read 2026-11-21",
        _COREML_OPS,
        {
            "MaxPool": _no_indices("Core ML takes a MaxPool without its Indices output"),
            "Resize": _never("which Resize modes Core ML takes is not in the document; try it on the device"),
        },
    ),
    "nnapi": Provider(
        "NNAPI",
        "microsoft/onnxruntime 5308675, tools/ci_build/github/android/nnapi_supported_ops.md, read 2026-11-21",
        _NNAPI_OPS,
        {
            "MaxPool": _no_indices("NNAPI takes a MaxPool without its Indices output"),
            "DepthToSpace": lambda op: (
                None if op.attributes.get("mode", "DCR") == "DCR" else "NNAPI takes a DepthToSpace of mode DCR"
            ),
        },
    ),
    "xnnpack": Provider(
        "XNNPACK",
        "microsoft/onnxruntime 19d9fff, docs/execution-providers/Xnnpack-ExecutionProvider.md, read 2026-11-21, and "
        "590497b, core/providers/xnnpack/tensor/resize.cc",
        _XNNPACK_OPS,
        {
            "MaxPool": _no_indices("XNNPACK takes a MaxPool without its Indices output"),
            "Resize": _resize("XNNPACK", "align_corners half_pixel asymmetric", ""),
        },
    ),
    "qnn": Provider(
        "QNN",
        "microsoft/onnxruntime, core/providers/qnn/builder/opbuilder: pool_op_builder.cc 299f539, resize_op_builder.cc "
        f"2097d2c, read 2026-11; {_ONLY_EXCEPTIONS}",
        rules={
            "MaxUnpool": _never("QNN has no MaxUnpool"),
            "MaxPool": _no_indices("QNN takes a MaxPool without its Indices output"),
            "ScatterND": _never("whether QNN takes a ScatterND is not established; try it on the device"),
            "Resize": _resize("QNN", "half_pixel align_corners", "half_pixel align_corners"),
        },
    ),
    "webgpu": Provider(
        "WebGPU",
        f"microsoft/onnxruntime, core/providers/webgpu/tensor, the list of files, read 2026-11; {_ONLY_EXCEPTIONS}",
        rules={
            "MaxUnpool": _never("WebGPU has no MaxUnpool"),
            "MaxPool": _no_indices("whether WebGPU gives a MaxPool's Indices is not established; try it"),
        },
    ),
}
