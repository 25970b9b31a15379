"""Say in flags what the library says in Python: ```input_size=(H, W)``` becomes ``--imgsz H,W``.

A message of the library names what a caller gives between backticks, as Python has it: a name, ``name=value``, or a
call with such arguments where the name alone is not clear. A span that is none of a command's options stays as it is.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator

import click

from edgeseg.cli._summaries import COMMANDS

_SPAN = re.compile(r"`([^`\n]+)`")

#: The parameter of a command, by the argument of the library that it fills, where the names differ.
PARAMETERS = {
    "CameraSettings.format": "camera_format",
    "CameraSettings.fps": "camera_fps",
    "CameraSettings.size_wh": "camera_size",
    "DataSource.layout": "data_layout",
    "class_names": "labels",
    "input_size": "imgsz",
    "open_device": "device",
    "providers": "provider",
}

#: What is typed, where it is more than a flag and a value.
SENTENCES = {
    "EDGESEG_MAX_IMAGE_PIXELS": "--max-image-pixels or EDGESEG_MAX_IMAGE_PIXELS",
    "MjpegServer": "--no-show and --serve PORT",
    "custom_objects=...": "--custom-objects FILE.py",
}


def in_flags(text: str, command: click.Command | None = None) -> str:
    """Return a message of the library as the command line says it.

    Args:
        text: the message.
        command: the command that runs; by default the one of click's context. An option that it lacks is looked up in
            the others.
    """
    context = click.get_current_context(silent=True)
    command = command or (context.command if context else None)
    return _SPAN.sub(lambda span: _translated(span[1], command) or span[0], text)


def running(command: click.Command, words: list[str]) -> click.Command:
    """Return the sub-command that the words of a command line run; the command itself where they name none."""
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word) or command
    return command


def _translated(span: str, command: click.Command | None) -> str | None:
    if span in SENTENCES:
        return SENTENCES[span]
    words = [_flag(name, value, command) for name, value in _arguments(span)]
    return " ".join(filter(None, words)) if words and all(words) else None


def _arguments(span: str) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the names and values in a span; none where it is something else, such as a line of code."""
    try:
        code = ast.parse(span, mode="eval").body
    except SyntaxError:
        try:
            code = ast.parse(f"_({span})", mode="eval").body
        except SyntaxError:
            return
    if isinstance(code, ast.Name):
        yield code.id, None
    elif isinstance(code, ast.Call) and isinstance(code.func, ast.Name):
        function = code.func.id
        if function in PARAMETERS and code.args:
            yield function, code.args[0]
        for keyword in code.keywords:
            qualified = f"{function}.{keyword.arg}"
            yield qualified if qualified in PARAMETERS else str(keyword.arg), keyword.value


def _flag(name: str, value: ast.expr | None, command: click.Command | None) -> str | None:
    option = next((found for each in _commands(command) if (found := _option(name, each)) is not None), None)
    if option is None:
        return None
    flag = option.opts[0]
    if value is None or (isinstance(value, ast.Constant) and value.value is ...):
        return flag
    if option.is_flag:
        asked = isinstance(value, ast.Constant) and bool(value.value)
        return flag if asked else next(iter(option.secondary_opts), None)
    if name == "custom_objects":
        return f"{flag} FILE.py with `CUSTOM_OBJECTS = {ast.unparse(value)}`"
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return " ".join(f"{flag} {_typed(key)}={_typed(item)}" for key, item in pairs if key is not None)
    if isinstance(value, ast.Tuple) and option.multiple:
        return " ".join(f"{flag} {_typed(item)}" for item in value.elts)
    typed = _typed(value)
    return f"{flag} {typed.partition(',')[0] if _is_once(typed, option) else typed}"


def _is_once(typed: str, option: click.Option) -> bool:
    """Return whether an option takes the same number for each channel as one number."""
    from edgeseg.cli._options import TripleType

    return isinstance(option.type, TripleType) and len(set(typed.split(","))) == 1


def _typed(value: ast.expr) -> str:
    """Return a value as it is typed: a tuple with commas between, a text without quotes."""
    if isinstance(value, ast.Tuple):
        return ",".join(map(_typed, value.elts))
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return str(value.value).lower()
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ast.unparse(value)


def _commands(first: click.Command | None) -> Iterator[click.Command]:
    """Yield a command, and then all."""
    if first is not None:
        yield first
    for name in COMMANDS:
        command: click.Command = importlib.import_module(f"edgeseg.cli.{name}").command
        yield from command.commands.values() if isinstance(command, click.Group) else (command,)


def _option(name: str, command: click.Command) -> click.Option | None:
    """Return the option of a command that an argument of the library is filled by."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    for wanted in (name, PARAMETERS.get(name)):
        for option in options:
            if wanted and (option.name == wanted or f"--{wanted.replace('_', '-')}" in option.opts):
                return option
    return None
