"""Write the site's folder: the pages of docs/, those of the root, and the reference, made from the sources.

    python scripts/pages/stage.py FOLDER        # FOLDER/mkdocs.yml and FOLDER/pages, for zensical or mkdocs

A generator then finds Markdown and nothing else: none of its plugins makes a page.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import command_line
import modules
import repository
import results

ROOT = repository.ROOT
_FENCE = re.compile(r"^(`{3,}|~{3,})")
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]+`")
_ITEM = re.compile(r"^(?:[-*+]|\d+\.) ")
#: Lines of mkdocs.yml that are replaced by one entry for each page.
_GENERATED = {"GENERATED/command-line": command_line.paths, "GENERATED/modules": modules.paths}


def stage(folder: Path) -> None:
    """Write the pages and the configuration of the site into a folder, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder / "pages")
    pages = {
        path.relative_to(ROOT / "docs").as_posix(): path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")
    }
    pages |= {**repository.pages(), **command_line.pages(), **modules.pages(), **results.pages()}
    for page, text in pages.items():
        path = folder / "pages" / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_site(text, page), "utf-8")
    (folder / "mkdocs.yml").write_text(_configuration(), "utf-8")


def _configuration() -> str:
    """Return mkdocs.yml with the generated pages in its navigation."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    for place, paths in _GENERATED.items():
        line = next(line for line in text.splitlines() if line.endswith(place))
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        entries = [f"{indent}- {name}: {path}" for name, path in paths().items()]
        text = text.replace(line, "\n".join([line.removesuffix(f" {place}"), *entries]))
    return text


def as_site(markdown: str, page: str) -> str:
    """Lead links out of docs/ to their page of the site, and write lists as Python-Markdown reads them.

    Args:
        markdown: the page's text.
        page: its path in the site.
    """
    lines: list[str] = []
    for part in _parts(markdown):
        if _FENCE.match(part[0].lstrip()):
            lines += part
            continue
        for line in _LINK.sub(lambda match: _link(match[1], match[2], page), "\n".join(part)).split("\n"):
            lines.append(_as_python_markdown(line, lines))
    return "\n".join(lines) + "\n"


def _parts(markdown: str) -> Iterator[list[str]]:
    """Yield the lines of each fenced block, and those between the blocks."""
    part: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        is_fence = bool(_FENCE.match(line.lstrip()))
        if is_fence and not fenced and part:
            yield part
            part = []
        part.append(line)
        if is_fence and fenced:
            yield part
            part = []
        fenced ^= is_fence
    if part:
        yield part


def _as_python_markdown(line: str, lines: list[str]) -> str:
    """Indent what belongs to a list item by four, and begin lists and tables after an empty line."""
    previous = lines[-1] if lines else ""
    stripped, before = line.lstrip(" "), previous.lstrip(" ")
    starts_list = _ITEM.match(stripped) and before and not _ITEM.match(before) and not _in_item(lines)
    starts_table = stripped.startswith("|") and before and not before.startswith("|")
    if starts_list or starts_table:
        lines.append("")
    if stripped.startswith("|"):  # within code no pipe ends a cell, and a backslash would be shown
        line = _CODE.sub(lambda match: match[0].replace("\\|", "|"), line)
    indent = len(line) - len(stripped)
    return " " * 4 + stripped if indent in (2, 3) and stripped else line


def _in_item(lines: list[str]) -> bool:
    """Say whether the last paragraph is that of a list item, whose lines may be continued without indentation."""
    for line in reversed(lines):
        if not line.strip():
            return False
        if _ITEM.match(line.lstrip(" ")):
            return True
    return False


def _link(text: str, link: str, page: str) -> str:
    """Return a link as the site has it; of a file that the site does not show, its name in the repository.

    Args:
        text: what is underlined.
        link: where it leads from the file that the page is made of.
        page: the path of its page in docs/.
    """
    if "://" in link or link.startswith(("#", "mailto:")):
        return f"[{text}]({link})"
    name, _, heading = link.partition("#")
    # Pages of the root have the links of the root, those of docs/ the links of docs/.
    origin = repository.origin(page)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), name))
    where = repository.page_of(path, heading)
    if where is None:
        return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"
    return f"[{text}]({posixpath.relpath(where, posixpath.dirname(page) or '.')}{'#' * bool(heading)}{heading})"


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
