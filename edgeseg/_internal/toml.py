"""Read TOML files of bounded size, and write values as TOML."""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseg.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Bytes of the largest file that is read. Files of settings have a few thousand.
MAX_TOML = 1_000_000


def read_toml(path: str | Path) -> bytes:
    """Return the bytes of a TOML file, for ``parse_toml``.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TOML + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if len(data) > MAX_TOML:
        raise InputError(f"'{path}' has more than {MAX_TOML // 1_000_000} MB, too much for a file of settings.")
    return data


def parse_toml(data: bytes, name: str) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Args:
        data: the file.
        name: what an error text calls it, such as ``'run.toml'``.

    Raises:
        InputError: it is not TOML.
    """
    try:
        return tomllib.loads(data.decode())
    except RecursionError as error:
        raise InputError(f"{name} is not TOML that can be read: it is nested too deeply.") from error
    except ValueError as error:  # of TOML, of UTF-8, or a number of thousands of digits
        raise InputError(f"{name} is not TOML: {' '.join(str(error).split())}.") from error


def line_of(data: bytes, key: str) -> int | None:
    """Return the line, from 1, on which a top-level key or table of a TOML file begins; ``None`` when not found.

    TOML's reader does not keep lines. A line inside a text of several lines may be taken for the key's.
    """
    name = rf"""["']?{re.escape(key)}["']?"""
    found = re.search(rf"^[ \t]*(\[\[?[ \t]*{name}[ \t]*[\].]|{name}[ \t]*[=.])", data.decode(), re.MULTILINE)
    return None if found is None else data.decode().count("\n", 0, found.start()) + 1


def toml_value(value: Any) -> str:
    """Return a value as TOML: text, numbers, booleans, lists and, inline, tables of them.

    Raises:
        InputError: TOML cannot express it.
    """
    if isinstance(value, Path):
        value = str(value)
    if hasattr(value, "item"):  # a number of numpy's
        value = value.item()
    if isinstance(value, str):
        # JSON's escapes are TOML's, which takes no bare DEL either.
        return json.dumps(_encodable(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        pairs = [f"{_key(str(name))} = {toml_value(item)}" for name, item in value.items()]
        return f"{{{', '.join(pairs)}}}"
    raise InputError(f"{value!r} cannot be written as TOML, which has text, numbers, booleans, lists and tables.")


def toml_kind(value: Any) -> str:
    """Return what a value of a TOML file is, for error texts: ``text "a"``, ``the number 3``, ``a table``."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, datetime.date | datetime.time):
        return f"the time {value}"
    text = toml_value(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{text!r} cannot be written as TOML: it has bytes that are not UTF-8. Rename it.") from error
    return text
