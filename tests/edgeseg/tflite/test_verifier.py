from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeseg.tflite.verifier import Damaged, verify

Break = Callable[..., bytes]
INT8 = Path(__file__).parents[2] / "data" / "saved.int8.tflite"
FP32 = INT8.with_name("saved.fp32.tflite")


def ops(model: Any, name: str) -> list[Any]:
    """Return the ops of a name."""
    code = getattr(schema.BuiltinOperator, name)
    return [op for op in model.subgraphs[0].operators if model.operatorCodes[op.opcodeIndex].builtinCode == code]


def settings(name: str, **values: int) -> Callable[[Any], None]:
    """Return an edit of the settings of the first op of a name."""
    return lambda model: vars(ops(model, name)[0].builtinOptions).update(values)


def quantization(**values: Any) -> Callable[[Any], None]:
    """Return an edit of the quantization of what the convolutions give."""

    def edit(model: Any) -> None:
        for op in (*ops(model, "QUANTIZE"), *ops(model, "CONV_2D")):
            vars(model.subgraphs[0].tensors[op.outputs[0]].quantization).update(values)

    return edit


def op_two(**vectors: list[int]) -> Callable[[Any], None]:
    """Return an edit of the tensors of the op at place 2, a convolution."""
    return lambda model: vars(model.subgraphs[0].operators[2]).update(
        {name: np.array(numbers, np.int32) for name, numbers in vectors.items()}
    )


def ends(**vectors: list[int]) -> Callable[[Any], None]:
    """Return an edit of the inputs and outputs of the graph."""
    return lambda model: vars(model.subgraphs[0]).update(
        {name: np.array(numbers, np.int32) for name, numbers in vectors.items()}
    )


def tensor(number: int, **values: Any) -> Callable[[Any], None]:
    """Return an edit of a tensor."""
    return lambda model: vars(model.subgraphs[0].tensors[number]).update(values)


def _channels(model: Any, **values: Any) -> None:
    """Edit the quantization of the first weights that have a scale for each of 8 channels."""
    each = (one.quantization for one in model.subgraphs[0].tensors if one.quantization is not None)
    vars(next(one for one in each if one.scale is not None and len(one.scale) == 8)).update(values)


#: An edit, and what is said of it.
BROKEN: dict[str, tuple[Callable[[Any], None], str]] = {
    "block size": (settings("SPACE_TO_DEPTH", blockSize=0), "op 7, a SPACE_TO_DEPTH, has the block_size 0"),
    "stride": (settings("CONV_2D", strideW=0), "op 2, a CONV_2D, has the stride_w 0"),
    "dilation": (settings("CONV_2D", dilationWFactor=-1), "has the dilation_w_factor -1"),
    "window": (settings("MAX_POOL_2D", filterHeight=0), "a MAX_POOL_2D, has the filter_height 0"),
    "input of an op": (op_two(inputs=[99, 1, 2]), "op 2 names tensor 99, and there are 56"),
    "negative input": (op_two(inputs=[-2, 1, 2]), "op 2 names tensor -2"),
    "output of an op": (op_two(outputs=[10**6]), "op 2 names tensor 1000000"),
    "writes a constant": (op_two(outputs=[1]), "op 2 writes the constant tensor 1"),
    "input of the graph": (ends(inputs=[56]), "an end of graph 0 names tensor 56"),
    "output of the graph": (ends(outputs=[-1]), "an end of graph 0 names tensor -1"),
    "order": (lambda model: model.subgraphs[0].operators.reverse(), "op 0 reads tensor 44, which op 1 writes later"),
    "operator code": (lambda model: setattr(model.subgraphs[0].operators[2], "opcodeIndex", 99), "operator code 99"),
    "buffer": (tensor(3, buffer=99), "tensor 3 names buffer 99"),
    "another file": (tensor(3, externalBuffer=17), "tensor 3 keeps its values in another file"),
    "type": (tensor(3, type=77), "tensor 3 has the type 77"),
    "negative side": (tensor(3, shape=np.array([1, -8, 3, 3], np.int32)), r"tensor 3 has a negative side"),
    "huge": (tensor(17, shape=np.array([1, 2**20, 2**20, 64], np.int32)), "more than 2048 MiB"),
    "weights": (tensor(6, shape=np.array([8, 3, 3, 9], np.int32)), "takes 648 bytes, and its buffer has 576"),
    "scales": (lambda model: _channels(model, scale=np.ones(2, np.float32)), "has 2 scales for 8 channels"),
    "zero points": (lambda model: _channels(model, zeroPoint=np.zeros(3, np.int64)), "8 scales and 3 zero points"),
    "axis": (lambda model: _channels(model, quantizedDimension=9), "is quantized along axis 9"),
    "outputs": (settings("SPLIT", numSplits=65535), "says that it has 65535 outputs, and has 4"),
    "first input": (lambda model: setattr(model.subgraphs[0].operators[0], "inputs", [-1]), "op 0 has no first input"),
    "scale": (quantization(scale=np.zeros(1, np.float32)), "a scale that is not above 0"),
    "zero point": (quantization(zeroPoint=np.array([300])), "the zero point 300, accepted: -128 to 127"),
    "no graph": (lambda model: setattr(model, "subgraphs", []), "a TFLite model without a graph"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_go_together_is_named(broken: Break, name: str) -> None:
    edit, text = BROKEN[name]
    with pytest.raises(Damaged) as caught:
        verify(broken(edit))
    assert text in str(caught.value)


@pytest.mark.parametrize("path", [FP32, INT8])
def test_good_files_pass(broken: Break, path: Path) -> None:
    verify(path.read_bytes())
    verify(broken(lambda model: None, path))


def test_graphs_that_call_each_other_are_refused(broken: Break) -> None:
    def calls_itself(model: Any) -> None:
        code = schema.OperatorCodeT(builtinCode=129, deprecatedBuiltinCode=127, version=1)  # CALL_ONCE
        op = copy.copy(model.subgraphs[0].operators[0])
        op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes), None, None
        op.builtinOptionsType, op.builtinOptions = 103, schema.CallOnceOptionsT(initSubgraphIndex=0)
        model.operatorCodes.append(code)
        model.subgraphs[0].operators.append(op)

    with pytest.raises(Damaged, match="its graphs call each other in a circle"):
        verify(broken(calls_itself))


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 64))):
        changed[rng.randrange(8, len(data))] = rng.choice((0, 127, 128, 255))
    return bytes(changed)


@pytest.mark.parametrize("change", [_cut, _flipped])
def test_damage_is_never_another_error(change: Callable[[bytes, random.Random], bytes]) -> None:
    rng, data, refused = random.Random(0), INT8.read_bytes(), 0
    for _ in range(150):
        try:
            verify(change(data, rng))
        except Damaged:
            refused += 1
    assert refused > 15  # a flip is in the weights more often than not


def test_a_vector_that_claims_more_than_the_file_has_is_refused_before_it_is_read() -> None:
    data = bytearray(INT8.read_bytes())
    length = np.array([2**31 - 1], "<u4").tobytes()
    shape = data.find(np.array([4, 1, 32, 48, 3], "<i4").tobytes())  # of the input, with its length
    data[shape : shape + 4] = length
    with pytest.raises(Damaged, match="an offset leads out of it"):
        verify(bytes(data))
