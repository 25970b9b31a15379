"""Read the ops of an ONNX file, for the coverage, for ``inspect`` and for the converters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeseg.errors import InputError, missing_extra


@dataclass(frozen=True, kw_only=True)
class OnnxOp:
    """One node of a graph.

    Attributes:
        name: of the operator, ``Conv``.
        domain: whose operator it is; empty for ONNX's own.
        inputs: names of what it takes; empty for one that is omitted.
        outputs: names of its results; empty for one that is not used.
        attributes: name to value: an int, a float, a str, lists of them, or an object of ``onnx``.
    """

    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class OnnxOps:
    """The ops of a file.

    Attributes:
        opsets: domain to the version of its operators; ``""`` is ONNX's own.
        ops: in the order of the graph, without those of subgraphs.
    """

    opsets: Mapping[str, int]
    ops: tuple[OnnxOp, ...]

    def counts(self) -> dict[str, int]:
        """Return the name of each operator and how often it is used, the most frequent one first."""
        return dict(Counter(op.name for op in self.ops).most_common())


def read_ops(data: bytes) -> OnnxOps:
    """Read the ops of a file.

    Args:
        data: an ``.onnx`` file.

    Raises:
        InputError: the bytes are not an ONNX model.
        BackendUnavailable: the package that reads it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:  # not part of a device's install
        raise missing_extra("reading the ops of an .onnx model", "convert") from error
    from google.protobuf.message import DecodeError

    try:
        return ops_of(onnx.load_from_string(data))
    except (DecodeError, ValueError) as error:  # an attribute of no known type, a text that is no UTF-8
        raise InputError("the bytes are not an ONNX model.") from error


def ops_of(model: Any) -> OnnxOps:
    """Return the ops of a model that is already parsed.

    Args:
        model: an ``onnx.ModelProto``.
    """
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    return OnnxOps(opsets, tuple(_op(node) for node in model.graph.node))


def _op(node: Any) -> OnnxOp:
    import onnx

    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    texts = {name: value.decode() for name, value in values.items() if isinstance(value, bytes)}
    return OnnxOp(
        name=node.op_type,
        domain=node.domain,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={**values, **texts},
    )
