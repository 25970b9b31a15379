"""Read an OpenVINO model without the runtime: verify its two files, and find the ModelSpec inside.

The ``.xml`` says what the ``.bin`` holds, so it is walked first: by expat, without document types, and so without the
entities that they declare. edgeseg writes two entries into the ``rt_info`` of the model: its ModelSpec, and the SHA-256
of the ``.bin``, by which files of two exports are told from a pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from edgeseg._internal.files import sha256
from edgeseg._internal.limits import pairs
from edgeseg._internal.limits.models import ModelFile, named_bytes
from edgeseg._internal.text import escaped
from edgeseg.errors import InputError
from edgeseg.runtime.artifact import parse_spec
from edgeseg.spec import ModelSpec

#: Bytes of an ``.xml``: a thousand times those of a model of 200 layers.
MAX_GRAPH = 128 << 20
_MOST_NESTED = 64  # the body of a loop in the body of a loop takes six more
_SECTION = "edgeseg"
_SPEC, _WEIGHTS = (("net", "rt_info", _SECTION, name) for name in ("spec", "weights_sha256"))


class _Damaged(ValueError):
    """A pair of files that is no OpenVINO model; the text goes after its name."""


@dataclass
class _Walk:
    """What was seen of a graph.

    Attributes:
        place: the names of the elements that are open, the root first.
        kinds: how often each type of layer occurs, of the bodies of loops too.
        entries: the values that edgeseg wrote, by where they are.
        end: how many bytes of weights the constants need.
    """

    place: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    entries: dict[tuple[str, ...], str] = field(default_factory=dict)
    end: int = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self.place.append(name)
        if len(self.place) > _MOST_NESTED:
            raise _Damaged(f"its elements are nested more than {_MOST_NESTED} times")
        if self.place[0] != "net":
            raise _Damaged("no OpenVINO model: its root is no <net>")
        if name == "layer":
            kind = attributes.get("type", "")
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
        elif name == "data" and "offset" in attributes:
            self.end = max(self.end, _count(attributes, "offset") + _count(attributes, "size"))
        elif tuple(self.place) in (_SPEC, _WEIGHTS):
            self.entries[tuple(self.place)] = attributes.get("value", "")

    def finish(self, name: str) -> None:
        self.place.pop()


def read_openvino(model: str | Path | bytes | ModelFile) -> tuple[str, bytes, bytes, ModelSpec | None]:
    """Read an OpenVINO model and the spec inside.

    Args:
        model: an ``.xml`` file with its ``.bin`` beside it, or the bytes of both.

    Returns:
        What it is called at the start of a sentence, the graph, the weights, and its ModelSpec; ``None`` where it has
        none.

    Raises:
        InputError: a file cannot be read, is damaged or cut off, is no OpenVINO model, or the two are of different
            exports; or its spec cannot be read.
    """
    what, data = named_bytes(model)
    graph, weights = pairs.split(data)
    try:
        walk = _walked(graph, weights)
    except _Damaged as error:
        raise InputError(f"{what} does not open: {error}.") from error
    text = walk.entries.get(_SPEC)
    return what, graph, weights, None if text is None else parse_spec(what, text)


def count_layers(data: bytes) -> dict[str, int]:
    """Return the type of each layer and how often it is used, the most frequent one first; without constants.

    Args:
        data: the bytes of both files, verified.
    """
    kinds = _walked(*pairs.split(data)).kinds
    shown = {kind: count for kind, count in kinds.items() if kind not in ("Const", "Parameter", "Result")}
    return dict(sorted(shown.items(), key=lambda item: -item[1]))


def with_spec(graph: bytes, weights: bytes, spec: ModelSpec) -> bytes:
    """Return the bytes of an artifact: both files, with a ModelSpec and the hash of the weights inside.

    Args:
        graph: an ``.xml`` that OpenVINO wrote, without those.
        weights: its ``.bin``.
        spec: goes into ``rt_info``, under ``edgeseg`` and ``spec``.
    """
    before, end, after = graph.rpartition(b"</rt_info>\n</net>")
    if not end:
        raise ValueError("the graph has no rt_info at its end")
    entries = {_SPEC: spec.to_json(), _WEIGHTS: sha256(weights)}
    lines = "".join(f"\t\t\t<{place[-1]} value={quoteattr(value)} />\n" for place, value in entries.items())
    section = f"\t<{_SECTION}>\n{lines}\t\t</{_SECTION}>\n\t"
    return pairs.join(before + section.encode() + end + after, weights)


def _walked(graph: bytes, weights: bytes) -> _Walk:
    if len(graph) > MAX_GRAPH:
        raise _Damaged(f"its .xml has more than {MAX_GRAPH >> 20} MiB")
    walk, parser = _Walk(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = walk.begin, walk.finish
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(graph, True)
    except _Damaged:
        raise
    except expat.ExpatError as error:
        raise _Damaged(f"its .xml is damaged or no XML ({error})") from error
    except (ValueError, LookupError) as error:  # of an encoding that it claims: unknown, wrong, or of several bytes
        raise _Damaged(f"its .xml is no text ({error})") from error
    if not graph.endswith(b"</net>\n"):  # in another encoding; where its weights begin is not known
        raise _Damaged("its .xml is no UTF-8 that ends with </net>")
    if not {"Parameter", "Result"} <= set(walk.kinds):
        raise _Damaged("its graph has no input or no output")
    if walk.end > len(weights):
        raise _Damaged(f"its .bin is cut off: it has {len(weights)} bytes, the .xml refers to {walk.end}")
    known = walk.entries.get(_WEIGHTS)
    if known is not None and known != sha256(weights):
        raise _Damaged("its .bin is not the one that it was exported with, or was changed; export the model again")
    return walk


def _refuse_doctype(name: str, *_: object) -> None:
    raise _Damaged(f"its .xml declares a document type, '{escaped(name)[:100]}', which no OpenVINO model has")


def _count(attributes: dict[str, str], name: str) -> int:
    text = attributes.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _Damaged(f"a constant has the {name} '{escaped(text)[:100]}'")
    return int(text)
