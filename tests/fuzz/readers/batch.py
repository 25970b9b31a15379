"""Change what a run of many images reads: its manifest, in a folder and in a store, and lists of images."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.changes import Draw, changed_bytes, changed_json, changed_text
from fuzz.entries import RUN_SETTINGS
from fuzz.readers.reader import Reader, Seeds

_HEADER: dict[str, Any] = {"format_version": 1, "settings": RUN_SETTINGS}
_LINES: tuple[dict[str, Any], ...] = (
    {"name": "a.png", "size_hw": [3, 4], "counts": [10, 2, 0]},
    {"name": "bad.png", "error": "it does not decode"},
    {
        "name": "deep/b.png",
        "size_hw": [3, 4],
        "counts": [0, 0, 12],
        "matrix": [[0, 5], [8, 7]],
        "nearest": [[0, 12]],
    },
)


def _manifest(seeds: Seeds) -> st.SearchStrategy[Case]:
    @st.composite
    def case(draw: Draw) -> Case:
        documents = [_HEADER, *_LINES]
        lines = [json.dumps(document).encode() for document in documents]
        at = draw(st.sampled_from((0, 1, 2, 3, 3, 3)))
        lines[at] = draw(changed_json(documents[at]))
        data = b"\n".join(lines) + draw(st.sampled_from((b"\n", b"\n", b"\n", b"")))
        if draw(st.integers(0, 4)) == 0:
            data = draw(changed_bytes(data))
        command = draw(st.sampled_from(("folder", "folder", "store")))
        cut = draw(st.integers(0, len(data))) if draw(st.booleans()) else data.find(b"\n") + 1
        names = {0: "manifest.jsonl.000000000000", cut: f"manifest.jsonl.{cut:012d}"}
        files = {"out/manifest.jsonl": data} if command == "folder" else {}
        parts = {name: data[start : cut if start == 0 < cut else None] for start, name in names.items()}
        files |= {f"parts/{name}": part for name, part in parts.items()} if command == "store" else {}
        # What a kill left of a last line is cut off.
        return Case(command=(command,), files=files, entry="manifest", may_keep=True)

    return case()


def _list(seeds: Seeds) -> st.SearchStrategy[Case]:
    text = "# those of May\nshots/a.png\nshots/deep/b.jpg\n\nshots/c.tif\n"
    stored = "memory://shots/a.png\nmemory://shots/deep/b.jpg\n"

    @st.composite
    def case(draw: Draw) -> Case:
        listed = draw(changed_text(draw(st.sampled_from((text, text, stored)))))
        return Case(command=("@list.txt",), files={"list.txt": listed}, entry="list")

    return case()


READERS = {"manifest": Reader(8, _manifest), "image-list": Reader(4, _list)}
