"""Write the page of recorded results: the tables that scripts of benchmarks/ make of what they recorded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_RECORDED = ROOT / "benchmarks" / "results"

#: Title, script, recorded files, and the page of docs/ that shows the table and says what it means.
TABLES = (
    (
        "Other runtimes",
        "peers",
        (
            "peers-x86_64-2026-12-01",
            "peers-five-x86_64-2026-12-01",
            "peers-int8-x86_64-2026-12-01",
        ),
        "other-runtimes.md",
    ),
    (
        "Gain over today's converters",
        "export_latency",
        ("export_latency-x86_64-2026-11-21", "export_latency-segnet-x86_64-2026-11-21"),
        "rewrites.md",
    ),
    ("What converts", "constructs", ("constructs-x86_64-2026-11-29",), "constructs.md"),
    ("MNN and OpenVINO", "formats", ("formats-x86_64-2026-11-30",), "verification.md"),
    (
        "Windows of large images",
        "tiles",
        ("tiles-x86_64-2026-12-01", "tiles-deeplab-x86_64-2026-12-01"),
        "large-images.md",
    ),
    ("What tune chooses", "tune", ("tune-x86_64-2026-12-01",), "tune.md"),
    ("In the browser", "browser", ("browser-x86_64-2026-11-30",), "web.md"),
)


def table(script: str, recorded: Sequence[str]) -> str:
    """Return recorded results as Markdown, as the script prints them."""
    files = [str(_RECORDED / f"{name}.json") for name in recorded]
    arguments = ["--output", *files, "--table"] if script == "browser" else ["--table", *files]
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def pages() -> dict[str, str]:
    """Return the page."""
    lines = [
        "# All recorded tables",
        "Scripts of `benchmarks/` make these of the files in `benchmarks/results`; no number is typed.",
        "The page of each says what the numbers mean.",
    ]
    for title, script, recorded, page in TABLES:
        files = ", ".join(f"`{name}.json`" for name in recorded)
        lines += ["", f"## {title}", f"See [{page}](../{page}). `benchmarks/{script}.py --table`, {files}:", ""]
        lines += [table(script, recorded)]
    return {"reference/results.md": "\n".join(lines)}
