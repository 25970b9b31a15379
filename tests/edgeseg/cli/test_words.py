"""``edgeseg.cli._words``: the library speaks Python, the command line flags; neither has the other's words."""

from __future__ import annotations

import ast
import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import edgeseg
import edgeseg_converters
from edgeseg._internal.limits.images import VARIABLE
from edgeseg.cli import _words, cli, main
from edgeseg.cli._terminal import quiet_native_logs
from edgeseg.cli._words import PARAMETERS, SENTENCES, in_flags, running

CLI = Path(edgeseg.__file__).parent / "cli"
LIBRARY = [
    path
    for package in (edgeseg, edgeseg_converters)
    for path in Path(str(package.__file__)).parent.rglob("*.py")
    if CLI not in path.parents
]
PLACE = "PLACE"
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
PYTHON = re.compile(r"(?<![\w%-])[a-z]\w+=(?![=\"' ])|in Python")
# A command to type.
COMMAND = re.compile(r"edgeseg [a-z]+ [^();:,]*")
# Flags of pip, of venv, of LiteRT's benchmark_model, and of ONNX Runtime's build.
FOREIGN = frozenset({
    "--MNNModel", "--bizCode", "--clear", "--disable-pip-version-check", "--enable_op_profiling", "--fp16", "--help",
    "--modelFile", "--no-input", "--only-binary",
    "--remove", "--retries", "--upgrade", "--use_profiler", "--use_xnnpack",
})  # fmt: skip
# Flags of rpicam-apps and GStreamer, and words of the commands to type that ``edgeseg doctor --cameras``, ``edgeseg
# inspect``, ``edgeseg models --advise`` and the name of a packaged file propose, and of data's.
TYPED = {
    "gstreamer": {"--quiet"},
    "listing": {"--camera-format", "--camera-fps", "--camera-size", "--list-cameras", "--save"},
    "rpicam": {
        "--camera",
        "--codec",
        "--flush",
        "--framerate",
        "--height",
        "--metadata",
        "--metadata-format",
        "--nopreview",
        "--output",
        "--timeout",
        "--width",
    },
    "source": {"--classes", "--color-map", "--data-layout", "--ignore-index", "--label-encoding"},
    "inspection": {"--mean", "--std", "--imgsz"},
    "packaged_files": {"--data", "--imgsz", "--name", "--output-kind"},
    "advice": {
        "--class-weights",
        "--crop-size",
        "--data",
        "--encoder-weights",
        "--epochs",
        "--imgsz",
        "--latency",
        "--loss",
        "--repeat",
        "--scale",
        "--val-fraction",
    },
}
# What a command makes of its options itself; and a word of msgspec's that is only read.
NO_OPTION = {"spec", "key"}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def texts(tree: ast.Module) -> tuple[str, ...]:
    """The literals of a module, without its docstrings; each inserted value is ``PLACE``."""
    nodes = list(ast.walk(tree))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    pieces = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings | pieces:
            found.append(node.value)
    return tuple(found)


def flags_in(tree: ast.Module, others: frozenset[str] = FOREIGN) -> list[str]:
    found = [flag for text in texts(tree) for flag in FLAG.findall(COMMAND.sub("", text))]
    return [flag for flag in found if flag not in others]


def spans(tree: ast.Module) -> set[str]:
    return {span for text in texts(tree) for span in _words._SPAN.findall(text)} - {PLACE}


def public_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each public class and function with the names of its fields and arguments."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        functions = [node] if isinstance(node, ast.FunctionDef) else []
        for item in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                yield node.name, item.target.id
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                functions.append(item)
        for function in functions:
            for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
                yield node.name, argument.arg
        yield node.name, ""


KNOWN = {pair for path in LIBRARY if "_internal" not in path.parts for pair in public_names(parsed(path))}
CALLED, NAMED = {name for name, _ in KNOWN}, {name for _, name in KNOWN}


def unknown_names(tree: ast.Module) -> list[str]:
    """The names between backticks that no public class or function has, or that no option is known for."""
    wrong = []
    for span in spans(tree):
        names = [name for name, _ in _words._arguments(span)]
        wrong += [f"{span}: no such name" for name in names if not exists(name)]
        if names and not NO_OPTION.issuperset(names) and in_flags(f"`{span}`").startswith("`"):
            wrong.append(f"{span}: no option")
    return sorted(wrong)


def exists(name: str) -> bool:
    called, _, field = name.rpartition(".")
    return (called, field) in KNOWN if called else name in NAMED | CALLED


def command_of(*path: str) -> click.Command:
    return running(cli, list(path))


@pytest.mark.parametrize(
    ("command", "said", "typed"),
    [
        ("export", "give `input_size=(H, W)`.", "give --imgsz H,W."),
        ("train", "give `input_size=(H, W)`.", "give --imgsz H,W."),
        ("train", "`validate=False` or `val_fraction=0.1`", "--no-val or --val-fraction 0.1"),
        ("train", "`main_output` or `output`", "--output or --output"),
        ("export", "`overwrite=True`, `optimize=False`", "--overwrite, --no-optimize"),
        ("export", "`layout` and `DataSource(layout='lists')`", "--layout and --data-layout lists"),
        ("data check", "`DataSource(layout=...)`", "--data-layout"),
        ("export", "omit `method`", "omit --calibration-method"),
        ("export", "`allow_missing=('head',)`", "--allow-missing head"),
        ("export", "`mean=(0, 0, 0), std=(1, 2.5, 1)`", "--mean 0 --std 1,2.5,1"),
        ("export", "`model_options={'a': False, 'b': 'x'}`", "--model-option a=false --model-option b=x"),
        ("export", "`custom_objects` or `custom_objects=...`", "--custom-objects or --custom-objects FILE.py"),
        (
            "export",
            "`custom_objects={'tf.abs': tf.abs}`, after `import tensorflow as tf`",
            "--custom-objects FILE.py with `CUSTOM_OBJECTS = {'tf.abs': tf.abs}`, after `import tensorflow as tf`",
        ),
        ("predict", "`providers` and `providers=('cuda', 'cpu')`", "--provider and --provider cuda --provider cpu"),
        ("predict", "`class_names` or `output`", "--labels or --output"),
        ("camera", "`except_classes`", "--except"),
        ("benchmark", "`open_device('adb:SERIAL')`", "--device adb:SERIAL"),
        ("predict", "an option of another command: `target='gpu'`", "an option of another command: --target gpu"),
        ("predict", f"`{VARIABLE}`", f"--max-image-pixels or {VARIABLE}"),
        ("predict", "`spec` `print(x)` `x = 1` `edgeseg train` `", "`spec` `print(x)` `x = 1` `edgeseg train` `"),
    ],
)  # fmt: skip
def test_what_is_between_backticks_is_said_as_it_is_typed(command: str, said: str, typed: str) -> None:
    assert in_flags(said, command_of(*command.split())) == typed


def test_the_command_that_runs_is_found() -> None:
    assert running(cli, ["data", "split", "DIR"]).name == "split"
    assert running(cli, ["-h", "train", "export"]).name == "train"
    assert running(cli, ["nothing"]) is cli


def test_errors_and_warnings_of_the_library_are_said_in_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.csv").touch()
    (tmp_path / "labels").mkdir()
    data = ["--data", str(tmp_path), "--classes", "a,b"]
    assert main(["train", "unet_mini", *data, "--output-dir", str(tmp_path / "run")]) == 2
    assert (
        capsys.readouterr().err == f"edgeseg: '{tmp_path}/run/history.csv' exists; give --overwrite or another place.\n"
    )

    @click.command()
    @click.option("--other-weights", "weights")
    def command(weights: str | None) -> None:
        quiet_native_logs()
        logging.getLogger("edgeseg.x").warning("%s: give `weights='%s'`", "x", "FILE")

    root = logging.getLogger()
    before = root.handlers[:]
    try:
        command.main([], standalone_mode=False)
    finally:
        root.handlers[:] = before
    assert capsys.readouterr().err == "edgeseg: x: give --other-weights FILE\n"


def test_the_library_names_no_flags() -> None:
    found = [
        f"{path}: {flag}" for path in LIBRARY for flag in flags_in(parsed(path), FOREIGN | TYPED.get(path.stem, set()))
    ]
    assert found == []


def test_what_the_library_names_exists_and_has_an_option() -> None:
    assert [f"{path}: {text}" for path in LIBRARY for text in unknown_names(parsed(path))] == []


def test_the_tables_have_what_the_library_says() -> None:
    said = {span for path in LIBRARY for span in spans(parsed(path))}
    names = {name for span in said for name, _ in _words._arguments(span)}
    assert set(SENTENCES) - said == {VARIABLE}  # which is inserted
    assert set(PARAMETERS) - names == set()


def test_the_command_line_says_nothing_in_python() -> None:
    said = [text for path in CLI.glob("*.py") for text in texts(parsed(path)) if PYTHON.search(text)]
    assert sorted(set(said) - set(SENTENCES)) == []
    assert PYTHON.search("give overwrite=True") and not PYTHON.search("A=1, --opt=x, a == b")


def test_wrong_words_are_seen() -> None:
    tree = ast.parse('''
def f(name):
    """Read ``--data``."""
    a = "give --data DIR, see edgeseg data split DIR --val 0.1"
    b = f"{name} needs --data" "; pip install --upgrade x"
    c = f"`no_such_name` `weights` `DataSource(weights={name})` `open_device('x')` `pad_value=3`"
''')  # fmt: skip
    assert flags_in(tree) == ["--data", "--data"]
    assert unknown_names(tree) == ["no_such_name: no option", "no_such_name: no such name", "pad_value=3: no option"]
