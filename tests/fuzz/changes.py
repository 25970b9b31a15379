"""Change right inputs into wrong ones, with hypothesis: values of another type or size, bytes, lines and names."""

from __future__ import annotations

import copy
import io
import json
import pickletools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: What readers stumble on: limits of number types, no numbers, control characters, lone surrogates, much of a thing.
HOSTILE_TEXT = (
    *("", "\n", "\0", "a\nb", "a\x1b[2J\x07b", "\ud800", "\u202ea", "\udcff.png", "x" * 20_000, "1" * 5000, "²", "٣"),
    *("../../x", "/etc/passwd", "/dev/zero", "-1", "nan", "1e999", "null", "{}", "%s%n", "a,b", "\ufeff", " ", "C:\\x"),
)
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 2**70, -(2**63)),
    *(0.5, 1e308, -1e-300, float("nan"), float("inf"), -0.0, 10**400),
    *HOSTILE_TEXT,
    *([], {}, [[]], [1, 2, 3], {"a": None}, {"\n": "\x1b"}, [None] * 1000, [0] * 100_000, [[[[[[]]]]]]),
)

_VALUES = st.one_of(
    st.sampled_from(HOSTILE),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.lists(st.integers(-2, 300), max_size=5),
)

_NO_JSON = (
    *(b"", b"null", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000),
    *(b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}{}"),
)

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)


@st.composite
def changed_json(draw: Draw, document: Any) -> bytes:
    """Return JSON in which some places are hostile, missing, doubled or moved; seldom it is no JSON."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        document = _change_value(draw, document)
    text = json.dumps(document)
    broken = draw(st.integers(0, 19))
    if broken == 0:
        return draw(changed_bytes(text.encode(errors="surrogatepass")))  # type: ignore[no-any-return]
    if broken == 1:
        return draw(st.sampled_from(_NO_JSON))  # type: ignore[no-any-return]
    return text.encode(errors="surrogatepass")


@st.composite
def changed_value(draw: Draw, document: Any) -> Any:
    """Return a document with one hostile place, as an object of Python."""
    return _change_value(draw, copy.deepcopy(document))


def _change_value(draw: Draw, document: Any) -> Any:
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(document, dict | list):
        walk(document)
    if not places or draw(st.integers(0, 39)) == 0:
        return copy.deepcopy(draw(_VALUES))
    node, key = places[draw(st.integers(0, len(places) - 1))]
    action = draw(st.integers(0, 9))
    if action == 0 and isinstance(node, dict):
        del node[key]
    elif action == 1 and isinstance(node, dict):
        node[draw(st.sampled_from(HOSTILE_TEXT))] = node[key]
    elif action == 2:
        other, name = places[draw(st.integers(0, len(places) - 1))]
        if name in other if isinstance(other, dict) else name < len(other):
            node[key] = copy.deepcopy(other[name])
    elif action == 3 and isinstance(node[key], list):
        node[key] = node[key] * draw(st.sampled_from((0, 2, 1000)))
    elif action == 4 and isinstance(node[key], int | float):
        node[key] = node[key] * draw(st.sampled_from((-1, 0.5, 2, 256, 1e6, 1e300)))
    elif action == 5:
        node[key] = [node[key]]
    else:
        node[key] = copy.deepcopy(draw(_VALUES))  # a later change may be in it
    return document


@st.composite
def changed_bytes(draw: Draw, data: bytes) -> bytes:
    """Return bytes with bits flipped, numbers replaced, ranges removed, doubled or zeroed, or an end."""
    changed = bytearray(data)
    for _ in range(draw(st.sampled_from((1, 1, 2, 3, 8)))):
        size = len(changed)
        if not size:
            break
        # Headers are at the beginning, the directory of a zip archive at the end.
        where = draw(st.sampled_from(("any", "any", "begin", "end")))
        low, high = (max(0, size - 300) if where == "end" else 0), (min(size, 300) if where == "begin" else size)
        at = draw(st.integers(low, high - 1))
        length = draw(st.sampled_from((1, 2, 4, 16, 200)))
        action = draw(st.integers(0, 11))
        if action <= 2:
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif action <= 4:
            changed[at] = draw(st.integers(0, 255))
        elif action <= 7:
            width, order = draw(st.sampled_from((1, 2, 4, 4, 8))), draw(st.sampled_from(("little", "big")))
            number = draw(st.sampled_from(_NUMBERS)) & ((1 << 8 * width) - 1)
            changed[at : at + width] = number.to_bytes(width, order)
        elif action == 8:
            del changed[at : at + length]
        elif action == 9:
            changed[at:at] = changed[at : at + length] * draw(st.sampled_from((1, 3)))
        elif action == 10:
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        else:
            del changed[at:]
    return bytes(changed)


@st.composite
def changed_pickles(draw: Draw, data: bytes) -> bytes:
    """Return a file that begins with pickles, with another instruction at places where one begins."""
    file, starts = io.BytesIO(data), list[int]()
    with suppress(ValueError):  # what comes after the pickles
        while True:
            starts += [at for _, _, at in pickletools.genops(file) if at is not None]
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        at = draw(st.sampled_from(starts))
        code = draw(st.sampled_from(_OPCODES)).encode("latin-1")
        given = draw(st.sampled_from(_NUMBERS)).to_bytes(8, "little")[: draw(st.sampled_from((0, 1, 4, 8)))]
        data = data[:at] + code + given + data[at + draw(st.sampled_from((0, 0, 1, 2, 5))) :]
    return data


_OPCODES = tuple(opcode.code for opcode in pickletools.opcodes)


@st.composite
def changed_text(draw: Draw, text: str) -> bytes:
    """Return lines of which some are hostile, missing or doubled, in UTF-8 or seldom another encoding."""
    lines = text.splitlines()
    for _ in range(draw(st.sampled_from((1, 1, 2, 4)))):
        at = draw(st.integers(0, max(len(lines) - 1, 0)))
        action = draw(st.integers(0, 6))
        if not lines:
            break
        if action == 0:
            del lines[at]
        elif action == 1:
            lines[at:at] = [lines[at]] * draw(st.sampled_from((1, 300)))
        elif action == 2:
            lines[at] = draw(_TEXT)
        else:
            line, value = lines[at], str(draw(_TEXT))
            start = draw(st.integers(0, len(line)))
            end = draw(st.integers(start, len(line)))
            lines[at] = line[:start] + value + line[end:]
    changed = str(draw(st.sampled_from(("\n", "\n", "\r\n", "\r")))).join(lines)
    encoding: str = draw(st.sampled_from(("utf-8",) * 6 + ("utf-16", "latin-1", "utf-8-sig")))
    return changed.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")


_TEXT = st.one_of(
    st.sampled_from(HOSTILE_TEXT),
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)
texts = _TEXT

#: Names of files, as a user or a stranger's archive gives them: no slash, no NUL.
names = _TEXT.map(lambda text: text.replace("/", "_").replace("\0", "_")[:120] or "a").filter(
    lambda name: name not in (".", "..") and len(name.encode(errors="surrogatepass")) < 200
)
