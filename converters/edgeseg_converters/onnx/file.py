"""Read an ONNX file into onnx-ir's graph, on which the passes work, and write it back."""

from __future__ import annotations

import onnx
import onnx_ir as ir


def read(data: bytes) -> ir.Model:
    """Return the model of an ``.onnx`` file; its constants refer to the bytes of the file, without a copy.

    Args:
        data: the file.
    """
    return ir.from_proto(onnx.load_from_string(data))


def write(model: ir.Model) -> bytes:
    """Return a model as an ``.onnx`` file.

    Args:
        model: below 2 GB; it is consumed, see ``to_proto``.
    """
    return bytes(to_proto(model).SerializeToString())


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return a model as ONNX's protobuf, which has copies of the constants.

    onnx-ir adds an entry of ``value_info`` for each constant, which repeats what the constant itself says: it is
    removed.

    Args:
        model: is consumed: its constants and attributes are removed, so that there are not two copies for long. Python
            frees such a graph, which is full of cycles, only when it next looks for them; with TensorFlow's million
            objects that is seldom, and each constant keeps all of the file that it was read from.
    """
    constants = set(model.graph.initializers)
    proto = ir.to_proto(model)
    for value in model.graph.initializers.values():
        value.const_value = None
    for node in model.graph.all_nodes():
        node.attributes.clear()
    kept = [value for value in proto.graph.value_info if value.name not in constants]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    return proto


class ConsumingPass(ir.passes.PassBase):
    """A pass that returns another model and uses up the one that it is given, as ``to_proto`` does."""

    @property
    def in_place(self) -> bool:
        """Whether it changes the model in place."""
        return False

    @property
    def changes_input(self) -> bool:
        """Whether its input can no longer be used."""
        return True
