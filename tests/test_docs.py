"""README, CONTRIBUTING and docs/: links, commands, options, modules and imports that a page names are there."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from edgeseg.cli import COMMANDS, cli

ROOT = Path(__file__).parent.parent
ROOTS = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")]
PAGES = [*ROOTS, *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"(?<![\w/.~-])(?:edgeseg|edgeseg_converters|converters|benchmarks|scripts|tests)/[\w./<>-]*[\w>]")
_DOTTED = re.compile(r"(?<![\w/.-])(?:edgeseg|edgeseg_converters)(?:\.\w+)+")


def broken_links(text: str, folder: Path) -> Iterator[str]:
    """Yield the relative links and images of a page in ``folder`` that lead nowhere, with or without a heading."""
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = folder / name
        if not target.exists() or (heading and heading not in _headings(target.read_text() if name else text)):
            yield link


def unknown_commands(text: str, folder: Path) -> Iterator[str]:
    """Yield the ``edgeseg ...`` lines whose command or option does not exist; values are not checked."""
    for line in _command_lines(text):
        command, words = _resolve(shlex.split(line, comments=True)[1:])
        if command is None:
            yield line
            continue
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("-") and option not in _options(command):
                yield f"{line}: {option}"


def unknown_options(text: str, folder: Path) -> Iterator[str]:
    """Yield the code spans that begin with an option which no command has."""
    known = {option for command in _all_commands() for option in _options(command)}
    for span in _SPAN.findall(_BLOCK.sub("", text)):
        if span.startswith("--") and re.split(r"[\s=/|]", span)[0] not in known:
            yield span


def missing_paths(text: str, folder: Path) -> Iterator[str]:
    """Yield the files and folders of the repository that a page names and that are not there."""
    for path in _PATH.findall(_LINK.sub("", text)):
        known = re.sub(r"/[^/]*<.*", "", path)  # a name like test_<family>.py is the reader's to choose
        if not any((base / known).exists() for base in (ROOT, ROOT / "converters")):
            yield path


def missing_names(text: str, folder: Path) -> Iterator[str]:
    """Yield dotted names of modules, classes and functions, and imports in Python blocks, that are not there."""
    for name in _DOTTED.findall(text):
        if not _is_there(name.split(".")):
            yield name
    for language, code in _BLOCK.findall(text):
        for node in ast.walk(ast.parse(code)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgeseg"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name for name in names if not _is_there(name.split(".")))


CHECKS = (broken_links, unknown_commands, unknown_options, missing_paths, missing_names)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent == ROOT else f"docs/{page.name}")
def test_what_a_page_names_is_there(page: Path, check: Callable[[str, Path], Iterator[str]]):
    assert list(check(page.read_text(), page.parent)) == []


def test_no_link_of_another_page_is_dead():
    packaged = ROOT / "edgeseg" / "models" / "packaged"
    pages = [ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md", *packaged.glob("*.md")]
    links = {page: _LINK.findall(page.read_text("utf-8")) for page in pages}
    assert len(pages) == 4 and sum(map(len, links.values())) > 10
    assert {
        page.name: dead for page in pages if (dead := list(broken_links(page.read_text("utf-8"), page.parent)))
    } == {}


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (broken_links, "[a page](docs/nothing.md)"),
        (broken_links, "![an image](docs/nothing.png)"),
        (broken_links, "[a heading](docs/install.md#nothing)"),
        (unknown_commands, "```\nedgeseg exprot model.keras\n```\n"),
        (unknown_commands, "```\nedgeseg data nothing DIR\n```\n"),
        (
            unknown_commands,
            "```\nKERAS_BACKEND=jax edgeseg train unet_mini --data DIR --colour-map FILE  # a comment\n```\n",
        ),
        (unknown_commands, "`edgeseg data check\\|nothing DIR`"),
        (unknown_options, "`--colour-order bgr`"),
        (missing_paths, "`edgeseg/bench.py`"),
        (missing_paths, "`edgeseg_converters/samples.py`"),
        (missing_paths, "`edgeseg/nothing/<family>.py`"),
        (missing_paths, "```\npython benchmarks/nothing.py MODEL\n```\n"),
        (missing_names, "`edgeseg.display.Display`"),
        (missing_names, "`edgeseg_converters.nothing`"),
        (missing_names, "```python\nfrom edgeseg.camera import Slot\n```\n"),
    ],
)
def test_a_bad_page_is_found(check: Callable[[str, Path], Iterator[str]], text: str):
    assert list(check(text, ROOT))


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200  # as wc counts them


def test_the_index_has_every_page():
    linked = set(_LINK.findall((ROOT / "docs" / "README.md").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"README.md"}


def test_the_diagrams_are_those_of_their_script():
    script = runpy.run_path(str(ROOT / "scripts" / "make-diagrams"))
    for path, content in script["generated"]():
        assert path.read_text("utf-8") == content, "run scripts/make-diagrams"
    drawn = re.findall(r">(\w+)</text>", script["layers"]())
    assert drawn == [name for rows in reversed(script["contracts"]().values()) for row in rows for name in row]


def _headings(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _command_lines(text: str) -> Iterator[str]:
    """Yield the commands in code blocks, and in code spans, where ``a\\|b`` in a table means each of the two."""
    for language, block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines() if language in ("", "bash", "sh") else ():
            if match := re.match(r"(?:\w+=\S+ )*(edgeseg .*)", line):
                yield match[1]
    for span in _SPAN.findall(_BLOCK.sub("", text)):
        words = span.replace("\\|", "|").split()
        if words[0] == "edgeseg" and len(words) > 1 and not words[1].isupper():
            choices = next((word for word in words[1:3] if "|" in word), "")
            for choice in choices.split("|"):
                yield " ".join(choice if word == choices else word for word in words)


def _resolve(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """Return the command that some words call, ``None`` where there is no such command, and the words after it."""
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
    return command, words


def _all_commands() -> Iterator[click.Command]:
    for name in COMMANDS:
        command, _ = _resolve([name])
        assert command is not None
        yield command
        yield from command.commands.values() if isinstance(command, click.Group) else ()


def _options(command: click.Command) -> set[str]:
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"-h", "--help"}


def _is_there(parts: list[str]) -> bool:
    """Say whether a dotted name is a module or in one; reads the source, so that nothing heavy is imported."""
    path = ROOT / ("converters" if parts[0] == "edgeseg_converters" else "")
    for position, part in enumerate(parts):
        if (path / part).is_dir():
            path = path / part
        elif (path / f"{part}.py").exists():
            rest = parts[position + 1 :]
            return not rest or rest[0] in _names(path / f"{part}.py")
        else:
            return part in _names(path / "__init__.py")
    return (path / "__init__.py").exists()


def _names(module: Path) -> set[str]:
    """Return the names that a module defines or lists in ``__all__``."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body if module.exists() else ():
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.add(node.targets[0].id)
            if node.targets[0].id == "__all__":
                names |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names
