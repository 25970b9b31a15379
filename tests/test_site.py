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


def test_every_option_is_in_the_reference() -> None:
    pages = command_line.pages()
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        page = pages[f"reference/cli/{name}.md"]
        for path, each in commands(f"edgeseg {name}", command).items():
            assert re.search(rf"^#+ {path}$", page, re.M)
            chapter = re.split(r"^#+ edgeseg ", page.split(f"# {path}\n", 1)[1], maxsplit=1, flags=re.M)[0]
            shown = [option for option in each.params if isinstance(option, click.Option) and not option.hidden]
            names = [option.opts[0] for option in shown]
            assert [name for name in names if f"`{name}" not in chapter and f", {name}" not in chapter] == []


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
    assert len(listed()) >= 18
    for module, names in listed().items():
        page = pages[f"reference/python/{module}.md"]
        places = set(re.findall(r"^::: (\S+)$", page, re.M)) | set(re.findall(r"^See \[`(\S+)`\]", page, re.M))
        assert {place.rpartition(".")[2] for place in places} >= set(names)


def test_every_described_object_exists_once() -> None:
    places = [place for page in modules.pages().values() for place in re.findall(r"^::: (\S+)$", page, re.M)]
    assert len(places) == len(set(places))
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
