"""Write the reference of Python: a page for each public module, from its docstrings, and one of the rewrites."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT

_FOLDER = "reference/python"
#: Modules without ``__all__`` that the pages send a reader to, and the names that are for them.
ALSO_PUBLIC = {
    "edgeseg.opening": ("open_segmenter", "InputDescription"),
    "edgeseg.camera.display": ("Display",),
    "edgeseg.drawing.look": ("Look",),
    "edgeseg.drawing.painter": ("Painter", "render"),
}
_PACKAGES = {"edgeseg": ROOT / "edgeseg", "edgeseg_converters": ROOT / "converters" / "edgeseg_converters"}
_RULES = ROOT / "converters" / "edgeseg_converters" / "rewrites"
#: What rules are made of, and not a rule.
_NO_RULES = ("__init__", "base", "targets")


@functools.cache
def public() -> dict[str, tuple[str, ...]]:
    """Return the public names of each module that has ``__all__``; doors to other projects are not public."""
    names = {}
    for package, folder in _PACKAGES.items():
        for path in sorted(folder.rglob("__init__.py")):
            module = ".".join((package, *path.relative_to(folder).parent.parts))
            if "_internal" not in module and (listed := _listed(path)):
                names[module] = listed
    return {**names, **ALSO_PUBLIC}


def paths() -> dict[str, str]:
    """Return the page of each module by its name."""
    return {module: f"{_FOLDER}/{module}.md" for module in public()}


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path in the site."""
    shown: dict[str, str] = {}
    made = {f"{_FOLDER}/{module}.md": _page(module, names, shown) for module, names in public().items()}
    made["reference/rewrites.md"] = _rewrites()
    made["reference/errors.md"] = _errors()
    return made


def _page(module: str, names: tuple[str, ...], shown: dict[str, str]) -> str:
    """Write a module's page; ``shown`` has the page of each object that an earlier one describes."""
    lines = [f"# {module}", "", _summary(module), ""]
    for name in names:
        target = _defined(module, name)
        if target in shown:
            lines += [f"## {name}", "", f"See [`{target}`]({shown[target]}.md#{target}).", ""]
        else:
            shown[target] = module
            lines += [f"::: {target}", ""]
    return "\n".join(lines)


def _defined(module: str, name: str) -> str:
    """Return the dotted path where a public name is defined: mkdocstrings shows it, and one object has one path."""
    path = _file(module)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return _defined(str(node.module), name)
    return f"{module}.{name}"


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _file(module: str) -> Path:
    package, *parts = module.split(".")
    base = _PACKAGES[package].joinpath(*parts)
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _listed(path: Path) -> tuple[str, ...]:
    if "__all__" not in path.read_text(encoding="utf-8"):
        return ()
    for node in _tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return tuple(ast.literal_eval(node.value))
    return ()


def _summary(module: str) -> str:
    docstring = ast.get_docstring(_tree(_file(module))) or ""
    return re.sub(r"::$", ":", docstring, flags=re.M)


def _rewrites() -> str:
    lines = [
        "# Rewrites, rule by rule",
        "",
        "What each rule takes, what it gives, and when it holds, from the sources.",
        "[Rewrites and targets](../rewrites.md) says which are used for what.",
        "",
    ]
    for title, folder in (("Layers", _RULES), ("Ops of the frozen function", _RULES / "ops")):
        lines += [f"## {title}", ""]
        for path in sorted(folder.glob("*.py")):
            if path.stem not in _NO_RULES:
                lines += list(_rule(path))
    return "\n".join(lines)


def _rule(path: Path) -> Iterator[str]:
    tree = _tree(path)
    rules = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    yield from (f"### {', '.join(rules) or path.stem}", "", f"`{path.relative_to(ROOT).as_posix()}`", "")
    yield from ((ast.get_docstring(tree) or "").replace("``", "`"), "")
    for node in tree.body:
        text = ast.get_docstring(node) if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else None
        if text is not None and text != "See the module.":
            yield from (f"**{node.name}**: {text.replace('``', '`')}", "")


def _errors() -> str:
    """Write the page of errors: the classes from their docstrings, the exit status from the page of commands."""
    tree = ast.parse((ROOT / "edgeseg" / "errors.py").read_text(encoding="utf-8"))
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    status = commands[commands.index("## Exit status") :]
    rows = [
        f"| `edgeseg.{node.name}` | {ast.get_docstring(node)} |" for node in tree.body if isinstance(node, ast.ClassDef)
    ]
    return "\n".join(
        [
            "# Errors and exit status",
            "Every error that edgeseg raises on purpose is an `edgeseg.EdgesegError`. Its text is one line for people:",
            "what was wrong, what was got, what is accepted, what to type. The command line prints it on stderr.",
            "",
            "## Errors",
            "| class | raised when |",
            "|---|---|",
            *rows,
            "",
            status,
        ]
    )
