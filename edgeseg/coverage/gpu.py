"""Ask the LiteRT GPU accelerator of the installed wheel; on SwiftShader's Vulkan where there is no GPU.

The runtime says whether it takes a model whole. Where it does not, it logs which ops it refuses and how many nodes
run on the GPU, but not which: every node of such an op is then asked about in a model of its own, and the partition
whose size is the logged number is the one that runs.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from edgeseg.errors import BackendUnavailable
from edgeseg.runtime.process.gpu import ask_gpu
from edgeseg.tflite.graph import Graph, one_node_model, partitions
from edgeseg.tflite.litert_internals import load_schema, to_bytes

#: Where Debian's package chromium-common has SwiftShader, a Vulkan driver that runs on the CPU.
SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")

#: Why a node that the GPU could take is left: MaxDelegatedPartitions is 1.
OUTSIDE = "the GPU could take it, but it runs one partition of a graph, and this node is outside"


@dataclass(frozen=True, kw_only=True)
class GpuAnswer:
    """What the accelerator takes of a model.

    Attributes:
        taken: indices of the nodes that run on the GPU; ``None`` when only their number is known.
        number: how many nodes run on the GPU.
        pieces: partitions that it could take; it runs the largest.
        reasons: index of a node that it refuses to the reason.
        adapter: the adapter that it ran on.
    """

    taken: set[int] | None
    number: int
    pieces: int
    reasons: dict[int, str]
    adapter: str


def ask(data: bytes, graph: Graph) -> GpuAnswer:
    """Ask the accelerator which nodes it takes.

    Args:
        data: the ``.tflite`` file.
        graph: the parsed file.

    Raises:
        BackendUnavailable: there is no driver, or the accelerator did not answer; the text says which.
    """
    driver = _driver()
    if isinstance(driver, str):
        raise BackendUnavailable(driver)
    environment, adapter = driver
    (whole,) = ask_gpu([data], environment)
    if whole.full is None:
        raise BackendUnavailable(f"the accelerator did not open the model on {adapter}: {whole.error}")
    everything = {node.index for node in graph.nodes}
    if whole.full:
        return GpuAnswer(taken=everything, number=len(everything), pieces=1, reasons={}, adapter=adapter)

    suspects = [node for node in graph.nodes if node.op in whole.refused and not graph.unpacks_weights(node)]
    models = {node.index: one_node_model(graph, node) for node in suspects}
    distinct = list(dict.fromkeys(models.values()))
    answers = dict(zip(distinct, ask_gpu(distinct, environment), strict=True))
    reasons = {}
    for node in suspects:
        answer = answers[models[node.index]]
        if not answer.full:
            explanation = answer.refused.get(node.op) or whole.refused[node.op] or "it does not say why"
            reasons[node.index] = f"the GPU accelerator refuses {node.op}: {explanation}"
    pieces = sorted(partitions(graph, everything - set(reasons)), key=len, reverse=True)
    number, taken = whole.on_gpu or 0, None
    for used in range(len(pieces) + 1):
        if sum(map(len, pieces[:used])) == number:
            taken = graph.with_weights({index for piece in pieces[:used] for index in piece})
            number = len(taken)
            break
    return GpuAnswer(taken=taken, number=number, pieces=len(pieces), reasons=reasons, adapter=adapter)


@functools.cache
def _driver() -> tuple[dict[str, str], str] | str:
    """Return the environment in which the accelerator has a driver, and the driver's name; or why there is none."""
    attempts = [dict(os.environ)]
    if SWIFTSHADER.is_file():
        # The wheel looks for libvulkan.so.1, which is beside the driver where no other package brings it.
        paths = [str(SWIFTSHADER.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        variables = {"VK_DRIVER_FILES": str(SWIFTSHADER), "LD_LIBRARY_PATH": os.pathsep.join(paths)}
        attempts.append({**os.environ, **variables})
    probe = _probe()
    for environment in attempts:
        (answer,) = ask_gpu([probe], environment)
        if answer.full is not None:
            return environment, answer.adapter or "the GPU of this machine"
    if answer.no_driver:
        return "no Vulkan driver; Debian's package chromium-common has one that runs without a GPU"
    return f"the accelerator does not start: {answer.error}"


def _probe() -> bytes:
    """Write the smallest model that needs a driver: one ABS of one number."""
    schema = load_schema()
    model, graph, code, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ABS
    code.version = 1
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor in graph.tensors:
        tensor.shape, tensor.type, tensor.buffer = [1, 1, 1, 1], schema.TensorType.FLOAT32, 0
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return to_bytes(model)
