"""List the models of other projects that edgeseg can bring, and make each one of edgeseg's files.

What a project published is changed in three ways: ops that few runtimes have become TFLite's own, the one channel of a
binary model becomes a score for each class, and the ``ModelSpec`` is put inside. The weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeseg.choices import Precision
from edgeseg.downloads.npm import NpmPackage, download
from edgeseg.errors import InputError, did_you_mean
from edgeseg.spec import METADATA_KEY, ModelSpec, Provenance
from edgeseg.tflite.graph import read_graph
from edgeseg.tflite.litert_internals import load_schema, to_bytes
from edgeseg.tflite.portable import make_portable

_MEDIAPIPE = NpmPackage(
    "@mediapipe/selfie_segmentation",
    "0.1.1675465747",
    "sha512-IxYxNhwE5VwOm52L1yoFWYLP7q9Pd+NJjzOC5tlepfvEGaY3o9hslhUrx9BgseqdfZtKSDtd/4NfCSMjNzQalA==",
    4_049_373,
)


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A model of another project.

    Attributes:
        package: where it is.
        file: its path in the package; one channel of probabilities.
        size: ``(H, W)`` of its input, in pixels.
        license: of the weights, as the package states it.
        sees: what it was trained to see, for people.
        precision: of its weights.
    """

    package: NpmPackage
    file: str
    size: tuple[int, int]
    license: str
    sees: str
    precision: Precision = "fp16"

    @property
    def origin(self) -> str:
        """Return where it comes from, for people."""
        return f"{self.package.name} {self.package.version}"

    def spec(self, name: str) -> ModelSpec:
        """Return how to feed it: MediaPipe stretches the image and divides bytes by 255."""
        return ModelSpec(
            name=name,
            input_size=self.size,
            class_names=("background", "person"),
            palette=((0, 0, 0), (230, 60, 60)),
            mean=(0.0,) * 3,
            std=(255.0,) * 3,
            fit="stretch",
            output_kind="softmax",
            provenance=Provenance(source=f"{self.origin}, {self.file}", precision=self.precision),
        )


#: By the name that a user types.
PUBLISHED: Mapping[str, PublishedModel] = MappingProxyType(
    {
        "selfie": PublishedModel(
            package=_MEDIAPIPE,
            file="selfie_segmentation.tflite",
            size=(256, 256),
            license="Apache-2.0",
            sees="a person near the camera; MediaPipe Selfie Segmentation",
        ),
        "selfie_landscape": PublishedModel(
            package=_MEDIAPIPE,
            file="selfie_segmentation_landscape.tflite",
            size=(144, 256),
            license="Apache-2.0",
            sees="the same in 16:9, faster",
        ),
    }
)


def find(name: str) -> PublishedModel:
    """Return a model by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PUBLISHED:
        raise InputError(
            f"'{name}' is no model that edgeseg can fetch.{did_you_mean(name, PUBLISHED)} "
            f"Accepted: {', '.join(PUBLISHED)}."
        )
    return PUBLISHED[name]


def fetch(name: str) -> bytes:
    """Download a model and return its file, made one of edgeseg's.

    Args:
        name: of ``PUBLISHED``.

    Returns:
        A ``.tflite`` file with a ``ModelSpec`` inside and two channels of scores, background and person.

    Raises:
        InputError: there is none of that name, or it cannot be downloaded.
        BackendUnavailable: ai-edge-litert is not installed.
    """
    model = find(name)
    load_schema()
    data = download(model.package, [model.file])[model.file]
    return with_two_scores(make_portable(data), model.spec(name))


def with_two_scores(data: bytes, spec: ModelSpec) -> bytes:
    """Return a binary model of one channel with a score for each of its two classes, and the spec inside.

    Appended are ``SUB(1, p)`` and ``CONCATENATION``: for p above 0.5 the difference is exact and below it, so that the
    best class is the one that the threshold of 0.5 gives.

    Args:
        data: a ``.tflite`` file whose output is ``(1, H, W, 1)`` float32, the probability of the second class.
        spec: of the result.
    """
    model = read_graph(data).model
    schema, graph = load_schema(), model.subgraphs[0]

    def tensor(name: bytes, shape: list[int], content: bytes = b"") -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, schema.TensorType.FLOAT32, 0
        if content:
            made.buffer = buffer(content)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def buffer(content: bytes) -> int:
        made = schema.BufferT()
        made.data = np.frombuffer(content, np.uint8)
        model.buffers.append(made)
        return len(model.buffers) - 1

    def append(name: str, inputs: list[int], output: int, options: Any) -> None:
        number = getattr(schema.BuiltinOperator, name)
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes), inputs, [output]
        op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        op.builtinOptions = options
        model.operatorCodes.append(code)
        graph.operators.append(op)

    person = int(graph.outputs[0])
    shape = [int(side) for side in graph.tensors[person].shape]
    background = tensor(b"background", shape)
    scores = tensor(b"scores", [*shape[:-1], 2])
    append("SUB", [tensor(b"one", [1], np.float32(1).tobytes()), person], background, schema.SubOptionsT())
    joined = schema.ConcatenationOptionsT()
    joined.axis = 3
    append("CONCATENATION", [background, person], scores, joined)
    graph.outputs = [scores]
    graph.tensors[int(graph.inputs[0])].name = b"image"
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_KEY.encode(), buffer(spec.to_json().encode())
    model.metadata = [*(model.metadata or ()), entry]
    return to_bytes(model)
