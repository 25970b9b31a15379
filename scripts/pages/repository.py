"""Name the pages of the site that are in the repository's root or beside what they describe."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The page of the site, and the file of the repository.
_FILES = {
    "examples.md": "examples/README.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "notice.md": "NOTICE",
    "cards/person.md": "edgeseg/models/packaged/person.md",
    "cards/efficientnet_lite0_unet.md": "edgeseg/models/packaged/efficientnet_lite0_unet.md",
}
_CONTRIBUTING = "CONTRIBUTING.md"
#: Chapters of CONTRIBUTING that are a page of their own; the rest is contributing.md.
_CHAPTERS = {
    "style.md": ("Rules that are checked", "Language"),
    "architecture.md": ("Architecture",),
}
_TITLES = {"style.md": "Style", "architecture.md": "Architecture"}


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path in the site."""
    made = {page: (ROOT / file).read_text(encoding="utf-8") for page, file in _FILES.items()}
    made["notice.md"] = f"# Notice\n```text\n{made['notice.md']}\n```\n"
    rest = (ROOT / _CONTRIBUTING).read_text(encoding="utf-8")
    for page, chapters in _CHAPTERS.items():
        texts = [_chapter(rest, title) for title in chapters]
        for text in texts:
            rest = rest.replace(text, "")
        if len(texts) == 1:  # its heading is the page's
            texts = [re.sub(r"^#(#+ )", r"\1", texts[0], flags=re.M)]
        else:
            texts.insert(0, f"# {_TITLES[page]}\n")
        made[page] = "\n".join(texts)
    made["contributing.md"] = rest
    return made


def origin(page: str) -> str:
    """Return the file of the repository from which a page of the site comes, as its links count from there."""
    if page in (*_CHAPTERS, "contributing.md"):
        return _CONTRIBUTING
    return _FILES.get(page, f"docs/{page}")


def page_of(file: str, heading: str = "") -> str | None:
    """Return the page of the site that shows a file, and a heading in it; ``None`` without one.

    Args:
        file: its path in the repository.
        heading: the anchor, as GitHub writes it.
    """
    if file == _CONTRIBUTING:
        text = (ROOT / _CONTRIBUTING).read_text(encoding="utf-8")
        for page, chapters in _CHAPTERS.items():
            if any(heading in _anchors(_chapter(text, title)) for title in chapters):
                return page
        return "contributing.md"
    if file == "README.md":
        return "README.md"
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    return next((page for page, source in _FILES.items() if source == file), None)


def _chapter(text: str, title: str) -> str:
    """Return a chapter with its heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.M | re.S)
    if found is None:
        raise ValueError(f"CONTRIBUTING.md has no chapter '{title}', which scripts/pages/repository.py names.")
    return found[0]


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
