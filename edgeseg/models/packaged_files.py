"""List the finished model files that edgeseg ships, and find one by its name; light: nothing here imports keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from edgeseg._internal.fields import short_repr
from edgeseg.choices import BackendName, Format, OutputKind, Precision
from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.zoo.table import DEFAULT_MODEL, ZOO


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model whose weights are in ``packaged/``, and files of it, which ``scripts/export-packaged`` makes.

    Attributes:
        architecture: in the zoo, whose packaged weights it has.
        input_size: ``(H, W)`` of the files; that of the weights when ``None``.
        precisions: of its ``.tflite`` files; the name of the model alone means the first, the fastest on a CPU.
        onnx: precisions that have an ``.onnx`` file too, for a device with ONNX Runtime alone.
        output_kind: what the files return; scores make soft edges.
        sees: what it was trained to see, for people.
        license: of the weights, as their card says.
    """

    __repr__ = short_repr

    architecture: str
    input_size: tuple[int, int] | None = None
    precisions: tuple[Precision, ...] = ("int8", "fp16")
    onnx: tuple[Precision, ...] = ("int8",)
    output_kind: OutputKind = "argmax"
    sees: str
    license: str


#: The packaged models, by the name of their files.
PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {
        "efficientnet_lite0_unet": PackagedModel(
            architecture="efficientnet_lite0_unet", sees="streets, 11 classes", license="CC BY-NC 4.0"
        ),
        "person": PackagedModel(
            architecture="person",
            output_kind="softmax",
            sees="people before a webcam, 2 classes",
            license="Apache-2.0",
        ),
        # For ONNX Runtime and in half precision there is person: the wheel has 15 MB at most.
        "person_wide": PackagedModel(
            architecture="person",
            input_size=(144, 256),
            precisions=("int8",),
            onnx=(),
            output_kind="softmax",
            sees="people before a webcam of 16:9, 2 classes",
            license="Apache-2.0",
        ),
    }
)

#: The file that a command runs when none is named.
DEFAULT_FILE = f"{DEFAULT_MODEL}.{PACKAGED[DEFAULT_MODEL].precisions[0]}"

#: The same of a command that is shown people.
DEFAULT_CAMERA_FILE = f"person.{PACKAGED['person'].precisions[0]}"


def packaged_names() -> list[str]:
    """Return every name of a packaged file, ``NAME.PRECISION``."""
    return [f"{name}.{precision}" for name, model in PACKAGED.items() for precision in model.precisions]


def packaged_of(architecture: str) -> dict[str, PackagedModel]:
    """Return the packaged models of an architecture by their names."""
    return {name: model for name, model in PACKAGED.items() if model.architecture == architecture}


def about(name: str) -> str:
    """Return what a packaged file sees, for people: ``streets, 11 classes``."""
    return PACKAGED[name.partition(".")[0]].sees


def is_packaged_name(text: str) -> bool:
    """Return whether a text has the form of a packaged file's name: ``NAME`` or ``NAME.PRECISION``.

    A name of the zoo is one too, packaged or not.
    """
    name, _, precision = text.partition(".")
    return (name in PACKAGED or name in ZOO) and precision in ("", *get_args(Precision))


def find_file(artifact: str | Path, backend: BackendName | None = None) -> Path:
    """Return the path of an artifact: a packaged file by its name, anything else as it is.

    A name has priority over a file of that name in the current folder, which is ``./NAME``.

    Args:
        artifact: ``NAME`` or ``NAME.PRECISION`` of a packaged file, or a path.
        backend: what will open it; by default LiteRT, or ONNX Runtime where that alone is installed.

    Raises:
        InputError: it is a name of the zoo without a packaged file, or close to one that has; or the runtime has no
            file of that precision.
    """
    text = str(artifact)
    name, _, precision = text.partition(".")
    path = Path(artifact)
    if not is_packaged_name(text):
        is_word = path.name == text and not path.suffix and not path.exists()
        hint = did_you_mean(text, PACKAGED) if is_word else ""
        if hint:
            raise InputError(f"'{text}' is no file and no name of a packaged one.{hint}")
        return path
    if name not in PACKAGED:
        raise InputError(
            f"'{text}' is an architecture without packaged weights: train it (edgeseg train {name} --data DIR) and "
            f"run what edgeseg export makes of that, or take a packaged file: {', '.join(packaged_names())}."
        )
    model = PACKAGED[name]
    if precision not in ("", *model.precisions):
        size = "" if model.input_size is None else f" --imgsz {model.input_size[0]},{model.input_size[1]}"
        kind = "" if model.output_kind == "argmax" else f" --output-kind {model.output_kind}"
        data = " --data DIR" if precision in ("int8", "w8a16") else ""
        own = "" if name == model.architecture else f" --name {name}"
        make = f"edgeseg export {model.architecture}{size}{data} --precision {precision}{kind}{own}"
        raise InputError(f"'{text}' is not packaged: {make} makes it; packaged are {', '.join(packaged_names())}.")
    file_format = _format_for(backend)
    offered = model.onnx if file_format == "onnx" else model.precisions
    if not offered or precision not in ("", *offered):
        alike = packaged_of(model.architecture).items()
        others = ", ".join(f"{other}.{each}" for other, of in alike for each in of.onnx)
        raise InputError(
            f"'{text}' is packaged for LiteRT alone, which pip install 'edgeseg[tflite]' installs; for ONNX Runtime "
            f"there is {others}."
        )
    return Path(__file__).parent / "packaged" / f"{name}.{precision or offered[0]}.{file_format}"


def _format_for(backend: BackendName | None) -> Format:
    """Return the format that a backend opens; without one that of the runtime that is installed."""
    if backend is not None:
        return "onnx" if backend == "onnx" else "tflite"
    has_litert = any(find_spec(package) for package in ("ai_edge_litert", "tflite_runtime"))
    return "onnx" if find_spec("onnxruntime") and not has_litert else "tflite"
