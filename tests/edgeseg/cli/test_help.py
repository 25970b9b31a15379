"""``edgeseg.cli._fields``, ``_groups``, ``_model``, ``_quantization``, ``_summaries``: the help, and what it fills."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import click
import pytest

from edgeseg.benchmark.plan import Plan
from edgeseg.camera.loop import Camera
from edgeseg.cli import cli
from edgeseg.cli._fields import choices_of, default_of, option
from edgeseg.cli._groups import GroupedCommand
from edgeseg.cli._summaries import COMMANDS
from edgeseg.datasets.splitting import split
from edgeseg.drawing.look import Look
from edgeseg.sources import frames
from edgeseg.spec import ModelSpec
from edgeseg.training.config import OPTIMIZER_DEFAULTS, QUANTIZE_RATE, TrainConfig
from edgeseg.training.data.augment import Augmentation
from edgeseg.training.run.options import RunOptions
from edgeseg_converters.options import DEFAULT_METHOD, ExportOptions, Quantization
from edgeseg_converters.recipes import DEFAULT_OPSET, AccuracyGate, Recipe
from edgeseg_converters.tuning.options import TuneOptions

GROUPED = (
    "models",
    "export",
    "quantize",
    "predict",
    "camera",
    "evaluate",
    "web",
    "verify",
    "benchmark",
    "tune",
    "train",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One option as the help shows it."""

    heading: str
    names: str
    text: str

    @property
    def default(self) -> str | None:
        """The default that is shown; in parentheses where it is only described."""
        shown = re.search(r"\[(?:[^\[\]]*; )?default: ([^;\]]*)", self.text)
        return shown[1] if shown else None

    @property
    def choices(self) -> tuple[str, ...]:
        shown = re.search(r"\[([^\]]*)\]", self.names)
        return tuple(shown[1].split("|")) if shown else ()


def command_of(*path: str) -> click.Command:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


def listed(command: click.Command) -> dict[str, Line]:
    """Every option of the printed help, by its first name."""
    # As the group calls it: a command keeps the option --help that its first context made.
    group = click.Context(cli, **cli.context_settings)
    text = command.get_help(click.Context(command, group, terminal_width=1000, max_content_width=1000))
    lines: dict[str, Line] = {}
    heading = name = ""
    for line in text.splitlines():
        if title := re.fullmatch(r"(\S.*):", line):
            heading = title[1]
        elif record := re.fullmatch(r"  (-\S.*?)(?:  +(.*))?", line):
            name = re.split(r"[ ,]", record[1])[0]
            lines[name] = Line(heading, record[1], record[2] or "")
        elif name and line.startswith(" " * 4):  # the text of an option whose names are long
            lines[name] = dataclasses.replace(lines[name], text=line.strip())
    return lines


def mistakes(command: click.Command) -> list[str]:
    """Options without help, and, where the command is grouped, without a heading or named by none."""
    lines = listed(command)
    options = {param.opts[0]: param for param in command.params if isinstance(param, click.Option)}
    assert set(options) <= set(lines)
    wrong = [f"{name}: no help" for name in lines if not re.sub(r"\[.*\]", "", lines[name].text).strip()]
    if isinstance(command, GroupedCommand):
        wrong += [f"{name}: no heading" for name in options if lines[name].heading == "Options"]
        headed = [name for names in command.headings.values() for name in names]
        known = [param.name for param in options.values()]
        wrong += [f"{name}: under {headed.count(name)} headings" for name in set(headed) if headed.count(name) > 1]
        wrong += [f"{name}: no such option" for name in set(headed) - set(known)]
    return wrong


def differences(
    command: click.Command,
    defaults: Mapping[str, Any],
    choices: Mapping[str, tuple[str, ...]],
    flags: Mapping[str, str],
) -> list[str]:
    """What the help says otherwise than the values that its options fill."""
    lines = listed(command)
    wrong = []
    for name, default in defaults.items():
        flag = flags.get(name, f"--{name.replace('_', '-')}")
        line = lines[flag]
        expected = str(default)
        if isinstance(default, bool):
            word = flag.removeprefix("--")
            expected = word if default else f"no-{word}"
        if default is None:
            if line.default is not None and not line.default.startswith("("):
                wrong.append(f"{flag}: shows {line.default}, and has no default")
        elif line.default not in (expected, f"({expected})"):
            wrong.append(f"{flag}: shows {line.default}, is {expected}")
        if choices.get(name) and line.choices != choices[name]:
            wrong.append(f"{flag}: shows {line.choices}, takes {choices[name]}")
    return wrong


def fields_of(settings: type, without: tuple[str, ...] = ()) -> list[str]:
    return [field.name for field in dataclasses.fields(settings) if field.name not in without]


SUBCOMMANDS = [("data", name) for name in ("check", "split", "labelme")]


@pytest.mark.parametrize("path", [*((name,) for name in COMMANDS), *SUBCOMMANDS], ids=" ".join)
def test_every_option_has_help_and_a_heading(path: tuple[str, ...]) -> None:
    command = command_of(*path)
    assert mistakes(command) == []
    assert isinstance(command, GroupedCommand) == (path[0] in GROUPED)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_begins_with_its_sentence(name: str) -> None:
    assert (command_of(name).help or "").startswith(COMMANDS[name])


@pytest.mark.parametrize(
    ("name", "settings", "without", "flags"),
    [
        (
            "train",
            TrainConfig,
            ("model", "data", "augmentation_changes", "model_options"),
            {"input_size": "--imgsz", "main_output": "--output", "validate": "--val"},
        ),
        # The command draws samples, which a program asks for, and takes metrics by their names alone; the others are a
        # program's alone.
        (
            "train",
            RunOptions,
            ("samples", "metrics", "callbacks", "log", "progress", "resume", "overwrite", "tensorboard"),
            {},
        ),
        # --output is asked of the opened model.
        ("export", ExportOptions, ("output",), {}),
        ("export", Quantization, ("data", "calibration", "gate", "learned"), {"method": "--calibration-method"}),
        ("export", AccuracyGate, (), {}),
        ("export", Recipe, (), {}),
        ("quantize", Quantization, ("data", "calibration", "gate", "learned"), {"method": "--calibration-method"}),
        ("quantize", AccuracyGate, (), {}),
        # Not to be set: the warm-up's seconds, and the order of the turns; --sustained is drift.
        ("benchmark", Plan, ("warmup_min_secs", "description", "seed", "drift"), {}),
        # The first four are shown as words; the others are options of their own.
        (
            "tune",
            TuneOptions,
            ("formats", "precisions", "accelerators", "num_threads", "quantization", "plan"),
            {},
        ),
        (
            "tune",
            Quantization,
            ("data", "calibration", "gate", "rescue", "learned"),
            {"method": "--calibration-method"},
        ),
        ("tune", AccuracyGate, (), {}),
        # legend and status: see below; the color of a background is no text.
        ("camera", Look, ("legend", "status", "background"), {"view": "--visualize", "except_classes": "--except"}),
        ("predict", Look, ("legend", "status", "background"), {"view": "--visualize", "except_classes": "--except"}),
    ],
)
def test_help_shows_the_defaults_and_choices_of_what_it_fills(
    name: str, settings: type, without: tuple[str, ...], flags: Mapping[str, str]
) -> None:
    names = fields_of(settings, without)
    defaults = {field: default_of(settings, field) for field in names}
    choices = {field: choices_of(settings, field) for field in names}
    if settings is TrainConfig:
        choices["class_weights"] += ("W0,W1,...",)
        choices["freeze_epochs"] += ("N",)
        choices["encoder_weights"] += ("FILE",)
        for triple in ("mean", "std"):
            choices[triple] += ("X", "R,G,B")
    if name == "predict":
        choices["view"] += ("ids",)
    assert differences(command_of(name), defaults, choices, flags) == []


@pytest.mark.parametrize(
    ("path", "function", "names", "flags"),
    [
        (("data", "split"), split, ("seed", "order"), {}),
        (("predict",), frames, ("start", "stride"), {"start": "--start-frame", "stride": "--vid-stride"}),
        (("camera",), Camera, ("smooth",), {}),
    ],
)
def test_help_shows_the_defaults_of_functions(
    path: tuple[str, ...], function: Callable[..., Any], names: tuple[str, ...], flags: Mapping[str, str]
) -> None:
    parameters = inspect.signature(function).parameters
    assert differences(command_of(*path), {name: parameters[name].default for name in names}, {}, flags) == []


def test_what_is_described_is_what_happens() -> None:
    train, export = listed(command_of("train")), listed(command_of("export"))
    rates = ", ".join(f"{name} {rate:g}" for name, (rate, _) in OPTIMIZER_DEFAULTS.items())
    assert train["--learning-rate"].default == f"({rates}, {QUANTIZE_RATE:g} of that with --quantize)"
    assert train["--batch-norm-epochs"].default == "(a third of --epochs)"
    assert export["--opset"].default == f"({DEFAULT_OPSET})"
    assert export["--calibration-method"].default == f"({DEFAULT_METHOD}, minmax of w8a16)"
    for name in ("predict", "camera", "evaluate"):
        lines = listed(command_of(name))
        for field in ("color_order", "fit", "resize", "letterbox_rounding"):
            line = lines[f"--{field.replace('_', '-')}"]
            assert (line.default, line.choices) == (f"({default_of(ModelSpec, field)})", choices_of(ModelSpec, field))


def test_the_commands_draw_captions_unless_told_otherwise() -> None:
    # Look has none by default: a program draws into images of its own.
    for name, flags in (("camera", ("legend", "status")), ("predict", ("legend",))):
        assert differences(command_of(name), dict.fromkeys(flags, True), {}, {}) == []


def test_the_augmentation_that_train_changes_is_augmentation() -> None:
    command = command_of("train")
    assert isinstance(command, GroupedCommand)
    assert set(command.headings["Augmentation"]) - {"augmentation"} < set(fields_of(Augmentation))


@pytest.mark.parametrize("path", [*((name,) for name in COMMANDS), *SUBCOMMANDS], ids=" ".join)
def test_a_command_takes_at_most_eight_arguments(path: tuple[str, ...]) -> None:
    function = inspect.unwrap(command_of(*path).callback or (lambda: None))
    assert len(inspect.signature(function).parameters) <= 8


def test_a_doctored_command_is_found_out() -> None:
    class Doctored(GroupedCommand):
        headings = {"Timing": ("rounds", "rest"), "More": ("rounds",)}  # noqa: RUF012 - click's own attributes are so

    @click.command(cls=Doctored)
    @option(Plan, "rounds", help="Processes.", default=3)
    @option(Plan, "scope", help="What is timed.", type=click.Choice(["inference"]))
    @option(Plan, "image", help="An image.", default="x.png", show_default=True)
    @option(Plan, "num_runs", help="")
    def doctored() -> None: ...

    assert sorted(mistakes(doctored)) == [
        "--image: no heading",
        "--num-runs: no heading",
        "--num-runs: no help",
        "--scope: no heading",
        "rest: no such option",
        "rounds: under 2 headings",
    ]
    names = ("rounds", "scope", "image", "num_runs")
    defaults = {name: default_of(Plan, name) for name in names}
    assert (
        differences(doctored, defaults, {"scope": choices_of(Plan, "scope")}, {})
        == [
            "--rounds: shows 3, is 12",
            "--scope: shows ('inference',), takes ('inference', 'end-to-end')",
            "--image: shows x.png, and has no default" if listed(doctored)["--image"].default else "",
        ][: 3 if listed(doctored)["--image"].default else 2]
    )


def test_a_field_makes_its_option() -> None:
    @dataclasses.dataclass
    class Settings:
        kind: str = "a"
        count: int | None = None
        weights: tuple[float, ...] = ()
        ready: bool = False

    Settings.__module__ = __name__

    @click.command()
    @option(Settings, "kind", help="Kind.")
    @option(Settings, "count", flag="--number", help="Count.", if_omitted="all")
    @option(Settings, "ready", help="Ready.")
    def command(**values: Any) -> dict[str, Any]:
        return values

    assert command.main([], standalone_mode=False) == {"kind": "a", "count": None, "ready": False}
    arguments = ["--kind", "b", "--number", "2", "--ready"]
    assert command.main(arguments, standalone_mode=False) == {"kind": "b", "count": 2, "ready": True}
    assert [line.default for line in listed(command).values()] == ["a", "(all)", "no-ready", None]


@pytest.mark.parametrize(
    ("terminal", "environment", "colored"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_help_has_colors_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: Mapping[str, str], colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    plain = {path: click.unstyle(_help(*path)) for path in _COLORED}
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    for path in _COLORED:
        text = _help(*path)
        assert (text.startswith("\x1b[1mUsage:\x1b[0m "), "\x1b[36m" in text) == (colored, colored), path
        assert click.unstyle(text) == plain[path], "colors move nothing"


_COLORED = ((), ("predict",), ("inspect",), ("compare",), ("models",), ("doctor",), ("data",), ("data", "check"))


def _help(*path: str) -> str:
    command = command_of(*path)
    return command.get_help(command.context_class(command, info_name="edgeseg", terminal_width=100))
