"""List the finished model files that edgeseg ships, and find one by its name; light: nothing here imports keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from edgeseg.choices import Precision
from edgeseg.errors import InputError, did_you_mean
from edgeseg.models.zoo.table import DEFAULT_MODEL, ZOO


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights are in ``packaged/``, and files of it, which ``scripts/export-packaged`` makes.

    Attributes:
        precisions: of its files; the name of the model alone means the first, the fastest on a CPU.
        sees: what it was trained to see, for people.
        license: of the weights, as their card says.
    """

    precisions: tuple[Precision, ...]
    sees: str
    license: str


#: The packaged models, by their architecture's name.
PACKAGED: Mapping[str, PackagedModel] = MappingProxyType(
    {"efficientnet_lite0_unet": PackagedModel(("int8", "fp16"), "streets, 11 classes", "CC BY-NC 4.0")}
)

#: The file that a command runs when none is named.
DEFAULT_FILE = f"{DEFAULT_MODEL}.{PACKAGED[DEFAULT_MODEL].precisions[0]}"


def packaged_names() -> list[str]:
    """Return every name of a packaged file, ``NAME.PRECISION``."""
    return [f"{name}.{precision}" for name, model in PACKAGED.items() for precision in model.precisions]


def about(name: str) -> str:
    """Return what a packaged file sees, for people: ``streets, 11 classes``."""
    return PACKAGED[name.partition(".")[0]].sees


def is_packaged_name(text: str) -> bool:
    """Return whether a text has the form of a packaged file's name: ``NAME`` or ``NAME.PRECISION`` of the zoo."""
    name, _, precision = text.partition(".")
    return name in ZOO and precision in ("", *get_args(Precision))


def find_file(artifact: str | Path) -> Path:
    """Return the path of an artifact: a packaged file by its name, anything else as it is.

    A name has priority over a file of that name in the current folder, which is ``./NAME``.

    Args:
        artifact: ``NAME`` or ``NAME.PRECISION`` of a packaged file, or a path.

    Raises:
        InputError: it is a name of the zoo without a packaged file, or close to one that has.
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
    if precision not in ("", *PACKAGED[name].precisions):
        make = f"edgeseg export {name} --precision {precision}"
        if precision in ("int8", "w8a16"):
            make = f"edgeseg export {name} --data DIR --precision {precision}"
        raise InputError(f"'{text}' is not packaged: {make} makes it; packaged are {', '.join(packaged_names())}.")
    return Path(__file__).parent / "packaged" / f"{name}.{precision or PACKAGED[name].precisions[0]}.tflite"
