"""Define an input: the files of a folder, and the command that reads them; it can be saved and loaded again."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What is no regular file: its name begins with one of these, and a colon.
_FOLDER, _LINK, _PIPE = "folder", "link", "pipe"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input.

    Attributes:
        command: the arguments of ``edgeseg``; ``{port}`` in them is that of a server which says ``served``.
        files: content by relative path; a text is ``folder``, ``pipe`` or ``link:TARGET``.
        entry: what is called, a name of ``fuzz.entries.ENTRIES``.
        served: what a server on loopback says to everyone, or what is sent to the page.
        programs: answers of the stand-ins for ssh and adb, which are first on the PATH where there are any.
        may_keep: whether files may be there after an error, as those of a run are.
        trial: whether a model is run in a child first; what is not about models has a good one.
    """

    command: tuple[str, ...]
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    entry: str = "edgeseg"
    served: bytes = b""
    programs: Mapping[str, Any] = field(default_factory=dict)
    may_keep: bool = False
    trial: bool = False

    def write(self, folder: Path) -> None:
        """Write the files; a name that the file system does not take is omitted."""
        for name, content in self.files.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, bytes):
                    path.write_bytes(content)
                elif content == _FOLDER:
                    path.mkdir()
                elif content == _PIPE:
                    os.mkfifo(path)
                else:
                    path.symlink_to(content.removeprefix(f"{_LINK}:"))
            except (OSError, ValueError):
                continue

    def save(self, folder: Path) -> None:
        """Write the files, and ``case.json`` beside their folder."""
        (folder / "files").mkdir(parents=True)
        self.write(folder / "files")
        fields = {
            "command": self.command,
            "entry": self.entry,
            "served": base64.b64encode(self.served).decode(),
            "programs": self.programs,
            "may_keep": self.may_keep,
            "trial": self.trial,
            "files": {
                name: base64.b64encode(content).decode() if isinstance(content, bytes) else {"kind": content}
                for name, content in self.files.items()
            },
        }
        (folder / "case.json").write_text(json.dumps(fields, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Case:
        """Read what ``save`` wrote."""
        fields = json.loads((folder / "case.json").read_text())
        files = {
            name: base64.b64decode(content) if isinstance(content, str) else str(content["kind"])
            for name, content in fields["files"].items()
        }
        return cls(
            command=tuple(fields["command"]),
            files=files,
            entry=fields["entry"],
            served=base64.b64decode(fields["served"]),
            programs=fields["programs"],
            may_keep=fields["may_keep"],
            trial=fields["trial"],
        )
