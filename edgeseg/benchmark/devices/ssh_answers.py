"""Define the answers to the orders of ``ssh_remote``; what a device says is one of these, or it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeseg._internal.json import PRINTABLE, Meta, Text

#: The longest path of Linux, and of what other systems have.
_Path = Annotated[str, Meta(min_length=1, max_length=4096, pattern=PRINTABLE)]
_PathOrNone = Annotated[str, Meta(max_length=4096, pattern=PRINTABLE)]
_Status = Annotated[int, Meta(ge=-(2**31), le=2**32)]  # Windows' go up to 32 bits without a sign

#: The end of what a program printed; ``ssh_remote`` cuts it to 4,000 characters.
_Printed = Annotated[str, Meta(max_length=4000)]

#: What a worker may answer in bytes: some millions of latencies, of minutes of a model that takes a fraction of a
#: millisecond. A hostile answer of this size takes about a gigabyte of memory here.
MAX_WORK_BYTES = 48 << 20


@dataclass(frozen=True, kw_only=True)
class Done:
    """An order that returns nothing."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The folder and the Python of the device; ``venv`` is the interpreter of edgeseg's environment, or empty."""

    root: _Path
    code: _Path
    have: bool
    venv: _PathOrNone
    python: Text
    machine: Text


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where a file is there, and whether it is there already."""

    path: _Path
    have: bool = True


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The interpreter that was asked, the first ``module>=version`` that it lacks, and what it printed."""

    python: _Path
    missing: Text
    code: _Status
    text: _Printed


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The interpreter of the environment, or the step that failed and what it printed."""

    python: _PathOrNone = ""
    failed: Text = ""
    text: _Printed = ""


@dataclass(frozen=True, kw_only=True)
class Worked:
    """The exit status of a worker, its answer, and the end of what it printed beside that."""

    status: _Status
    stdout: Annotated[str, Meta(max_length=MAX_WORK_BYTES)]
    stderr: _Printed


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The operating system's reason why an order could not be followed, and the file; no reason where it was."""

    error: _Printed | None = None
    file: Annotated[str, Meta(max_length=4096)] = ""
