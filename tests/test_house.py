"""The house: how many modules a folder has, that each has its test, how values travel, and which way arrows go."""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
#: Package, and the folder of its tests.
PACKAGES = {
    ROOT / "edgeseg": ROOT / "tests" / "edgeseg",
    ROOT / "converters" / "edgeseg_converters": ROOT / "tests" / "converters",
}

MOST_MODULES = 14
#: A root has what everybody needs, and the rooms.
MOST_IN_ROOT = {"edgeseg": 10, "edgeseg_converters": 8}
#: Folders whose files are all of one kind: a command each, a rule each.
OF_ONE_KIND = ("edgeseg/cli", "edgeseg_converters/rewrites")

MOST_ARGUMENTS = 8
MOST_UNNAMED_FIELDS = 4


def crowded(package: Path) -> list[str]:
    """Folders with more modules than a reader takes in, ``__init__.py`` among them."""
    found = []
    for folder in (package, *sorted(path for path in package.rglob("*") if path.is_dir())):
        name, count = folder.relative_to(package.parent).as_posix(), len(list(folder.glob("*.py")))
        most = MOST_IN_ROOT[package.name] if folder == package else MOST_MODULES
        if count > most and name not in OF_ONE_KIND:
            found.append(f"{name}: {count} modules, at most {most}")
    return found


def untested(package: Path, tests: Path) -> list[str]:
    """Modules without a test of their name in the matching folder that no test's first paragraph names either."""
    covered = set(_named(package, tests))
    found = []
    for path in sorted(package.rglob("*.py")):
        inside, is_package = path.relative_to(package), path.name == "__init__.py"
        if is_package and not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in _tree(path).body):
            continue  # it only says what the folder is and gathers its names
        module = ".".join((package.name, *(inside.parent.parts if is_package else inside.with_suffix("").parts)))
        own = (
            tests / inside.parent.parent / f"test_{inside.parent.name}.py"
            if is_package
            else tests / inside.parent / f"test_{path.stem.strip('_')}.py"
        )
        if module not in covered and not own.is_file():
            found.append(module)
    return found


def _named(package: Path, tests: Path) -> Iterator[str]:
    """Modules in the first paragraphs of tests, between double backquotes: in full, or from the matching folder on."""
    for path in tests.parent.rglob("test_*.py"):
        first = (ast.get_docstring(_tree(path)) or "").split("\n\n")[0]
        for name in re.findall(r"``([\w.]+)``", first):
            yield name
            if path.is_relative_to(tests):
                yield ".".join((package.name, *path.relative_to(tests).parent.parts, name))


def with_many_arguments(path: Path) -> list[str]:
    """Functions with more arguments than a caller keeps apart; not commands, which have one for each option."""
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            is_command = any(ast.unparse(decorator).startswith("click.command(") for decorator in node.decorator_list)
            if count > MOST_ARGUMENTS and not is_command:
                found.append(f"{node.name} has {count} arguments")
    return found


def with_unnamed_fields(path: Path) -> list[str]:
    """Dataclasses with fields that could be mistaken for one another, as they are not ``kw_only``."""
    found = []
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.ClassDef):
            continue
        decorators = [
            text for text in map(ast.unparse, node.decorator_list) if re.match(r"(dataclasses\.)?dataclass", text)
        ]
        fields = [
            statement
            for statement in node.body
            if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation)
        ]
        if decorators and len(fields) > MOST_UNNAMED_FIELDS and "kw_only=True" not in decorators[0]:
            found.append(f"{node.name} has {len(fields)} fields and is not kw_only")
    return found


def circle(*packages: str) -> list[str]:
    """Modules that import each other in a circle, in a function or under ``TYPE_CHECKING`` too; empty without one."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _in_both(check: Callable[[Path], list[str]]) -> list[str]:
    files = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
    return [f"{path.relative_to(ROOT)}: {text}" for path in files for text in check(path)]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_folder_is_crowded(package: Path) -> None:
    assert crowded(package) == []


@pytest.mark.parametrize(("package", "tests"), PACKAGES.items(), ids=lambda path: path.name)
def test_every_module_has_its_test(package: Path, tests: Path) -> None:
    assert untested(package, tests) == []


def test_no_function_takes_a_list_of_arguments() -> None:
    assert _in_both(with_many_arguments) == []


def test_values_of_many_fields_are_made_by_keyword() -> None:
    assert _in_both(with_unnamed_fields) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle("edgeseg", "edgeseg_converters") == []


def test_a_crowded_folder_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "edgeseg"
    for folder, count in ((".", 11), ("room", 15), ("cli", 15), ("full", 14)):
        (package / folder).mkdir(exist_ok=True, parents=True)
        for number in range(count):
            (package / folder / f"m{number}.py").touch()
    assert crowded(package) == ["edgeseg: 11 modules, at most 10", "edgeseg/room: 15 modules, at most 14"]


def test_a_module_without_a_test_is_seen(tmp_path: Path) -> None:
    package, tests = tmp_path / "p", tmp_path / "tests"
    (package / "room").mkdir(parents=True)
    (tests / "room").mkdir(parents=True)
    for name in ("own", "named", "_private", "in_full", "mentioned", "elsewhere", "bare"):
        (package / "room" / f"{name}.py").touch()
    (package / "room" / "__init__.py").write_text('"""A room."""\nfrom p.room.own import x\n')
    for init in (package / "__init__.py", package / "full" / "__init__.py"):
        init.parent.mkdir(exist_ok=True)
        init.write_text("def __getattr__(name): ...\n")
    (tests / "test_full.py").touch()
    for name in ("own", "private"):
        (tests / "room" / f"test_{name}.py").touch()
    (tests / "test_elsewhere.py").touch()
    (tests / "test_all.py").write_text('"""``p.room.in_full``: what it says."""')
    (tests / "room" / "test_several.py").write_text('"""``named`` and bare: what they do.\n\nNot ``mentioned``."""')
    assert untested(package, tests) == ["p", "p.room.bare", "p.room.elsewhere", "p.room.mentioned"]


def test_a_function_with_a_list_of_arguments_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    eight = ", ".join(f"a{number}" for number in range(8))
    path.write_text(f"""
class C:
    def fine(self, {eight}, *more, **options): ...
    def bad(self, {eight}, *, one_more): ...
@click.command("x")
def command({eight}, one_more): ...
async def bad_too({eight}, one_more, /): ...
""")
    assert sorted(with_many_arguments(path)) == ["bad has 9 arguments", "bad_too has 9 arguments"]


def test_a_dataclass_with_unnamed_fields_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    five = "".join(f"    a{number}: int = 0\n" for number in range(5))
    path.write_text(
        f"@dataclass(frozen=True, kw_only=True)\nclass Fine:\n{five}"
        f"@dataclass\nclass FineToo:\n{five.replace('int', 'ClassVar[int]', 1)}"
        f"class NoDataclass:\n{five}"
        f"@dataclass\nclass Bad:\n{five}"
        f"@dataclasses.dataclass(frozen=True)\nclass BadToo:\n{five}"
    )
    assert with_unnamed_fields(path) == [
        "Bad has 5 fields and is not kw_only",
        "BadToo has 5 fields and is not kw_only",
    ]


def test_a_circle_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "circular"
    package.mkdir()
    (package / "__init__.py").write_text("from circular import a\n")
    (package / "a.py").write_text("def f():\n    from circular import b\n")
    (package / "b.py").write_text("if TYPE_CHECKING:\n    from circular.c import x\n")
    (package / "c.py").write_text("import circular.a\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert sorted(set(circle("circular"))) == ["circular.a", "circular.b", "circular.c"]


def test_arrows_that_go_up_break_the_contracts(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__", "packaged"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def outcomes() -> dict[str, str]:
        command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [*command, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        lines = re.findall(r"^(.*) (KEPT|BROKEN)", done.stdout, re.MULTILINE)
        assert lines, done.stdout + done.stderr
        assert done.returncode == any(outcome == "BROKEN" for _, outcome in lines)
        return dict(lines)

    assert set(outcomes().values()) == {"KEPT"}
    with (tmp_path / "edgeseg" / "segmenter.py").open("a") as file:
        file.write("\n\ndef up() -> None:\n    import keras\n    import edgeseg.camera\n")
    with (tmp_path / "edgeseg_converters" / "recipes.py").open("a") as file:
        file.write("\nimport edgeseg_converters.export\n")
    assert set(outcomes().values()) == {"BROKEN"}
