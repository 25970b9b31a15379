"""The site: every option, public name and recorded table has its place; every page is in the navigation."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgeseg.cli import COMMANDS, cli

yaml = pytest.importorskip("yaml")  # comes with the site's generator, which wants Python 3.11
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "pages"))
import command_line  # noqa: E402
import modules  # noqa: E402
import repository  # noqa: E402
import results  # noqa: E402
import stage  # noqa: E402


def commands(path: str, command: click.Command) -> dict[str, click.Command]:
    """Return a command, or those of a group, by what is typed."""
    if not isinstance(command, click.Group):
        return {path: command}
    return {
        key: value
        for name, child in command.commands.items()
        for key, value in commands(f"{path} {name}", child).items()
    }


def absent(pages: dict[str, str]) -> tuple[list[str], int]:
    """Return the commands and options that the reference does not have, and how many names were looked for."""
    found, count = [], 0
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        page = pages[f"reference/cli/{name}.md"]
        for path, each in commands(f"edgeseg {name}", command).items():
            if not re.search(rf"^#+ {path}$", page, re.M):
                found.append(path)
                continue
            chapter = re.split(r"^#+ edgeseg ", page.split(f"# {path}\n", 1)[1], maxsplit=1, flags=re.M)[0]
            rows = "\n".join(re.findall(r"^\| `([^`]*)`", chapter, re.M))
            shown = [option for option in each.params if isinstance(option, click.Option) and not option.hidden]
            for option in [text for each in shown for text in (*each.opts, *each.secondary_opts)]:
                count += 1
                if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", rows):
                    found.append(f"{path} {option}")
    return found, count


def test_every_option_is_in_the_reference() -> None:
    pages = command_line.pages()
    found, count = absent(pages)
    assert found == []
    assert count > 250
    # Without the row of an option, a name of which another begins, and without a command's heading:
    page = "reference/cli/export.md"
    assert absent({**pages, page: re.sub(r"^\| `--data .*\n", "", pages[page], flags=re.M)})[0] == [
        "edgeseg export --data"
    ]
    page = "reference/cli/data.md"
    text = pages[page].replace("# edgeseg data check\n", "# edgeseg data\n")
    assert absent({**pages, page: text})[0] == ["edgeseg data check"]


def test_a_help_text_is_no_markup() -> None:
    @click.command(help="One of <a> and *b*.")
    @click.option("--side", type=click.Choice(["a", "b"]), help="A | or [default], _so_.")
    def command(side: str) -> None: ...

    lines = list(command_line._lines(command, "edgeseg x", "#"))
    assert "One of \\<a> and \\*b\\*." in lines
    assert "| `--side [a\\|b]` | A \\| or \\[default\\], \\_so\\_. |" in lines


def listed() -> dict[str, list[str]]:
    """Return ``__all__`` of every module that has one, read without the code of the site."""
    found = {}
    for package in (ROOT / "edgeseg", ROOT / "converters" / "edgeseg_converters"):
        for path in package.rglob("*.py"):
            text = path.read_text("utf-8")
            for node in ast.parse(text).body if "__all__" in text else ():
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    parts = path.relative_to(package.parent).with_suffix("").parts
                    module = ".".join(part for part in parts if part != "__init__")
                    if not module.endswith("_internals"):  # doors to other projects
                        found[module] = list(ast.literal_eval(node.value))
    return found


def test_every_public_name_has_a_page() -> None:
    pages = modules.pages()
    assert len(listed()) >= 18 and all(listed().values())
    for module, names in listed().items():
        page = pages[f"reference/python/{module}.md"]
        places = set(re.findall(r"^::: (\S+)$", page, re.M)) | set(re.findall(r"^See \[`(\S+)`\]", page, re.M))
        assert {place.rpartition(".")[2] for place in places} >= set(names)


def test_every_described_object_exists_once() -> None:
    places = [place for page in modules.pages().values() for place in re.findall(r"^::: (\S+)$", page, re.M)]
    assert len(places) == len(set(places)) > 100
    for place in places:
        module, _, name = place.rpartition(".")
        text = modules._file(module).read_text("utf-8")
        assert re.search(rf"^(class |def )?{name}\b", text, re.M), place


def test_every_rule_is_in_the_reference() -> None:
    page = modules.pages()["reference/rewrites.md"]
    names = re.findall(r"\| `(\w+)`", (ROOT / "docs" / "rewrites.md").read_text("utf-8"))
    assert len(names) > 10
    # UnpoolingOps has the place of both rules in the frozen function.
    assert [name for name in names if name not in page] == []


def test_every_page_is_in_the_navigation() -> None:
    configuration = yaml.load(stage._configuration(), Loader=_Loader)
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages |= {*repository.pages(), *command_line.pages(), *modules.pages(), "reference/results.md"}
    assert set(_leaves(configuration["nav"])) == pages


@pytest.mark.parametrize(
    ("title", "script", "recorded", "page"), results.TABLES, ids=[name for _, name, _, _ in results.TABLES]
)
def test_tables_are_those_of_the_scripts(title: str, script: str, recorded: tuple[str, ...], page: str) -> None:
    rows = [line for line in results.table(script, recorded).splitlines() if line.startswith("|")]
    assert len(rows) > 2
    cells = {_cells(line) for line in (ROOT / "docs" / page).read_text("utf-8").splitlines()}
    assert [row for row in rows[2:] if _cells(row) not in cells] == []


def test_links_and_lists_are_those_of_the_site() -> None:
    text = (
        "[a](../SECURITY.md) [b](../CONTRIBUTING.md#six-rules) [c](models.md#the-zoo)\nIt is:\n- one\n  more\n- two\n"
    )
    assert stage.as_site(text, "export.md") == (
        "[a](security.md) [b](architecture.md#six-rules) [c](models.md#the-zoo)\nIt is:\n\n- one\n    more\n- two\n"
    )
    assert stage.as_site("```\n[a](../SECURITY.md)\n- b\n```\n", "export.md") == "```\n[a](../SECURITY.md)\n- b\n```\n"
    assert stage.as_site("[m](docs/models.md)", "contributing.md") == "[m](models.md)\n"
    assert stage.as_site("| `--side [a\\|b]` | a \\| b |", "export.md") == "| `--side [a|b]` | a \\| b |\n"
    # Files that the site does not show; a text over two lines.
    assert stage.as_site("[the\ntest](../tests/test_site.py)", "export.md") == "the\ntest (`tests/test_site.py`)\n"
    assert stage.as_site("[`test_site.py`](../tests/test_site.py)", "export.md") == "`tests/test_site.py`\n"


def test_no_link_of_the_site_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        results, "pages", lambda: {"reference/results.md": ""}
    )  # scripts take seconds; its links are few
    stage.stage(tmp_path / "site")
    folder = tmp_path / "site" / "pages"
    links = [
        (page, link.partition("#")[0])
        for page in folder.rglob("*.md")
        for part in stage._parts(page.read_text("utf-8"))
        if not part[0].lstrip().startswith("```")
        for link in re.findall(r"\]\(([^)\s]+)\)", "\n".join(part))
        if "://" not in link and not link.startswith(("#", "mailto:"))
    ]
    assert len(links) > 200
    assert [(page.name, link) for page, link in links if not (page.parent / link).is_file()] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Zensical wants Python 3.11")
def test_the_site_builds_and_a_dead_link_fails(tmp_path: Path) -> None:
    stage.stage(tmp_path / "site")
    configuration = tmp_path / "site" / "mkdocs.yml"
    text = configuration.read_text().replace("[../.., ../../converters]", f"[{ROOT}, {ROOT / 'converters'}]")
    configuration.write_text(text)
    command = [shutil.which("zensical") or "zensical", "build", "--strict", "-f", str(configuration)]
    subprocess.run(command, check=True, capture_output=True)
    page = (tmp_path / "site" / "site" / "reference" / "python" / "edgeseg" / "index.html").read_text("utf-8")
    assert 'id="edgeseg.spec.ModelSpec"' in page
    with (tmp_path / "site" / "pages" / "quickstart.md").open("a") as file:
        file.write("\n[nowhere](install.md#nothing)\n")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "anchor does not exist" in done.stdout + done.stderr


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose function of anchors is not called."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def _leaves(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    assert entries is not None and not isinstance(nav, int)
    return [leaf for entry in entries for leaf in _leaves(entry)]  # type: ignore[union-attr]


def _cells(row: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in row.strip().strip("|").split("|"))
