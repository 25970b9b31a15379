"""Write the model card beside the artifacts: what they are, how they are fed, how they were proven and made.

It is Markdown with the front matter that Hugging Face reads. Its last line is a comment with the hash of the text and
the rows of its table: a card that nobody has edited is written again with the rows of a later export added; one that
somebody has edited stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from edgeseg._internal.files import sha256, write_text
from edgeseg._internal.json import Meta, Text, convert, parse
from edgeseg._internal.locks import SUFFIX as LOCK_SUFFIX
from edgeseg._internal.locks import exclusive
from edgeseg._internal.text import escaped, masked, percent, printable
from edgeseg._internal.versions import __version__
from edgeseg.errors import InputError
from edgeseg.html.plain import render_text
from edgeseg.spec import ModelSpec
from edgeseg_converters.exporter import ExportResult

SUFFIX = ".card.md"
TEMPLATE = "card.md.j2"

#: What a card says where nobody states a license; an identifier of Hugging Face.
UNKNOWN_LICENSE = "unknown"

# A card of 256 classes with the longest names has 300 kB.
_MAX_BYTES = 1 << 20
_MOST_ROWS = 200

_MARK = re.compile(r"\n<!-- edgeseg card (\{[^\n]*\}) -->\n\Z")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
# What Markdown, or HTML inside it, gives a meaning to.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~^$&:@\"'=])")
_FOLDERS = re.compile(r"(?:[^\s/\\]*[/\\])+(?=[^\s/\\])")


@dataclass(frozen=True, kw_only=True)
class Making:
    """What a card says that no artifact knows.

    Attributes:
        command: that made the artifacts, for people; folders in it are omitted.
        license: of the weights, as an identifier such as ``apache-2.0``.
        proof: whether there is a proof beside them.
    """

    command: str = ""
    license: str = UNKNOWN_LICENSE
    proof: bool = False

    def __post_init__(self) -> None:
        if not _LICENSE.fullmatch(self.license):
            raise InputError(
                f"`license` '{escaped(self.license, most=100)}' is no identifier of a license; accepted: up to 64 "
                "letters, digits, '.', '+' and '-', such as apache-2.0, cc-by-4.0 or other."
            )


@dataclass(frozen=True, kw_only=True)
class Row:
    """A file in the table of a card; each field as it is shown."""

    file: Text
    precision: Text
    size: Text
    agreement: Text
    difference: Text
    accuracy: Text
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True)
class _Mark:
    """The comment at the end of a card: the SHA-256 of what is before it, and its rows."""

    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    rows: Annotated[tuple[Row, ...], Meta(max_length=_MOST_ROWS)]


def write_card(results: Sequence[ExportResult], making: Making, *, others: Sequence[Row] = ()) -> str:
    """Write the card of the artifacts of one model.

    Args:
        results: the artifacts that passed, at least one.
        making: what they do not know themselves.
        others: files of an earlier export that are still there.

    Returns:
        Markdown. What comes from outside is escaped, so that it is shown and does nothing.
    """
    spec = results[0].spec
    rows = sorted([*(_row(result) for result in results), *others], key=lambda row: row.file)
    formats = sorted({Path(row.file).suffix.lstrip(".").replace("xml", "openvino") for row in rows})
    tools = {name: version for result in results for name, version in result.spec.provenance.tools.items()}
    values = {
        "spec": spec,
        "version": __version__,
        "license": making.license,
        "library": formats[0] if "tflite" not in formats else "tflite",
        "formats": formats,
        "rows": rows,
        "fit": _fit(spec),
        "values": _values(results),
        "axes": _axes(results),
        "output": _output(spec),
        "classes": spec.class_names,
        "verification": results[0].verification,
        "proof": making.proof,
        "command": printable(without_folders(masked(making.command))),
        "rewrites": [f"{rule} ({sites})" for rule, sites, _ in results[0].replaced],
        "tools": [f"{name} {version}" for name, version in sorted(tools.items())],
    }
    filters = {"markdown": markdown, "code": _code, "without_folders": without_folders}
    text = render_text(str(__package__), TEMPLATE, what="a model card", filters=filters, values=values)
    mark = {"sha256": sha256(text.encode()), "rows": [asdict(row) for row in rows]}
    # In a comment, whose end is "-->".
    return f"{text}\n<!-- edgeseg card {json.dumps(mark).replace('-', chr(92) + 'u002d')} -->\n"


def save_card(results: Sequence[ExportResult], folder: Path, making: Making, *, overwrite: bool) -> tuple[Path, bool]:
    """Save the card of a model beside its artifacts, or add them to the one that is there.

    Args:
        results: the artifacts that passed, at least one; they are in the folder.
        folder: of the artifacts.
        making: what they do not know themselves.
        overwrite: whether a card that somebody has edited may be replaced.

    Returns:
        Its path, and whether it was written: a card that somebody has edited stays as it is.

    Raises:
        InputError: it cannot be written, or another process writes it.
    """
    path = folder / f"{results[0].spec.name}{SUFFIX}"
    with exclusive(path.with_name(f".{path.name}{LOCK_SUFFIX}"), f"'{path}'"):
        there = None if not path.exists() else read_rows(path)
        if path.exists() and there is None and not overwrite:
            return path, False
        made = {result.file_name for result in results}
        others = [row for row in there or () if row.file not in made and _is_there(folder, row)]
        write_text(path, write_card(results, making, others=others), overwrite=True)
    return path, True


def read_rows(path: Path) -> tuple[Row, ...] | None:
    """Return the rows of a card that is as edgeseg wrote it; ``None`` where it was edited, or is no card."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        text = path.read_text(encoding="utf-8")
        found = _MARK.search(text)
        mark = convert(parse(found[1]), _Mark) if found else None
    except (OSError, UnicodeDecodeError, InputError):
        return None
    whole = found is not None and mark is not None and mark.sha256 == sha256(text[: found.start()].encode())
    return mark.rows if whole and mark is not None else None


def markdown(text: str) -> str:
    """Escape a text, so that Markdown shows it as it is, on one line; also in a table."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def without_folders(text: str) -> str:
    """Return a text in which of each path only the last part is left: a card is for others, who have other folders."""
    return _FOLDERS.sub("", text)


def _code(text: str) -> str:
    """Return a text for a span of code, which a backquote would end."""
    return printable(text).replace("`", "'")


def _is_there(folder: Path, row: Row) -> bool:
    path = folder / row.file
    try:
        return Path(row.file).name == row.file and path.is_file() and sha256(path.read_bytes()) == row.sha256
    except OSError:
        return False


def _row(result: ExportResult) -> Row:
    proof, quantized = result.verification, result.quantized
    accuracy = quantized.accuracy if quantized else None
    shown = ""
    if accuracy and accuracy.mean_iou:
        before, after = accuracy.mean_iou
        shown = f"mIoU {after:.3f}, {before:.3f} in float"
    return Row(
        file=result.file_name,
        precision=result.recipe.precision,
        size=f"{len(result.data) / 1e6:.2f} MB",
        agreement=percent(proof.argmax_agreement, 2) if proof else "",
        difference=f"{proof.max_abs_error:.1e}" if proof else "",
        accuracy=shown,
        sha256=sha256(result.data),
    )


def _fit(spec: ModelSpec) -> str:
    if spec.fit == "stretch":
        return "the image is stretched to the input's size"
    sides = "to the nearest pixel" if spec.letterbox_rounding == "round" else "down to whole pixels"
    return f"the image keeps its aspect ratio, sides rounded {sides}, between bars of the RGB color {spec.pad_value}"


def _values(results: Sequence[ExportResult]) -> str:
    takes_bytes = any(result.spec.dtype == "uint8" for result in results)
    floats = next((result.spec for result in results if result.spec.dtype != "uint8"), None)
    parts = [] if floats is None else [f"float32, {floats.scaling}"]
    if takes_bytes:
        parts.append("the bytes as they are (uint8)")
    return "; in integer files ".join(parts)


def _axes(results: Sequence[ExportResult]) -> str:
    shapes = {"nhwc": "(1, H, W, 3)", "nchw": "(1, 3, H, W)"}
    by_format = {result.recipe.format: shapes[result.spec.layout] for result in results}
    if len(set(by_format.values())) == 1:
        return next(iter(by_format.values()))
    return ", ".join(f"{shape} of {name}" for name, shape in sorted(by_format.items()))


def _output(spec: ModelSpec) -> str:
    scores = {"softmax": "the probability of each class", "logits": "a score (logit) for each class"}
    return scores.get(spec.output_kind, "the class id of each pixel")
