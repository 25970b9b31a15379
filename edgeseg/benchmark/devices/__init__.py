"""Define the devices that artifacts are measured on, one kind per module; ``open_device`` picks by the typed name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edgeseg._internal.json import Text, WrongValue, convert
from edgeseg._internal.toml import parse_toml, read_toml, toml_kind
from edgeseg.benchmark.measure import Device
from edgeseg.errors import InputError, did_you_mean

__all__ = ["open_device", "read_table"]

#: What a device's table in devices.toml may hold beside ``device``, with what is accepted for it.
_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "local": {},
    "ssh": {"environment": (), "python": (), "keep": ("nothing", "environment", "everything")},
    "web": {},
    "adb": {"benchmark_model": (), "half_precision": ("yes", "no")},
}


def open_device(text: str, /, **settings: str) -> Device:
    """Return the device of a name.

    Args:
        text: ``local``, ``ssh:HOST`` (a host of the user's own ssh config), ``adb`` or ``adb:SERIAL``; ``web`` for a
            browser of this machine, ``web:HOST`` or ``web:HOST:PORT`` for one that reaches that address of it.
        **settings: the settings in ``devices.toml``; keywords of ``SshDevice`` and ``AdbDevice``.

    Raises:
        InputError: the device is unknown, or has no such setting.
    """
    kind, _, rest = text.partition(":")
    if not _named(text):
        accepted = "local, ssh:HOST, adb, adb:SERIAL, web, web:HOST, web:HOST:PORT"
        raise InputError(f"unknown device '{text}'.{did_you_mean(kind, _KEYS)} Accepted: {accepted}.")
    _check(settings, kind)
    chosen: dict[str, Any] = dict(settings)
    if kind == "ssh":
        from edgeseg.benchmark.devices.ssh import SshDevice

        return SshDevice(rest, **chosen)
    if kind == "adb":
        from edgeseg.benchmark.devices.adb import AdbDevice

        return AdbDevice(rest or None, **chosen)
    if kind == "web":
        from edgeseg.benchmark.devices.web import WebDevice

        place = re.fullmatch(r"(?:(?P<v4>[^:\[\]]+)|\[(?P<v6>[^\[\]]+)\])(?::(?P<port>\d{1,5}))?", rest)
        if rest and place is None:
            raise InputError(f"'{text}' is no address; accepted: web:HOST, web:HOST:PORT, web:[IPV6]:PORT.")
        return WebDevice() if place is None else WebDevice(place["v4"] or place["v6"], int(place["port"] or 0))
    from edgeseg.benchmark.devices.local import LocalDevice

    return LocalDevice()


def read_table(path: Path) -> list[Device]:
    """Return the devices of a ``devices.toml``, in its order.

    Each device has a table, named for people: ``device`` is what ``open_device`` takes; the other keys are settings of
    its kind::

        [pi5]
        device = "ssh:pi5"
        environment = "~/bench"      # folder on the device for what edgeseg puts there
        python = "python3.11"        # interpreter on the device
        keep = "everything"          # what stays there: nothing, environment or everything

        [pixel8]
        device = "adb:SERIAL"
        benchmark_model = "/data/local/tmp/benchmark_model"
        half_precision = "no"        # of float models; without it the tool's own choice

    Raises:
        InputError: it cannot be read, or a device in it is not understood.
    """
    tables = parse_toml(read_toml(path), f"'{path}'")
    if not tables:
        raise InputError(f"'{path}' names no device; a table for each, such as: [pi5] and device = \"ssh:pi5\".")
    return [_of_table(path, name, table) for name, table in tables.items()]


def _of_table(path: Path, name: str, table: object) -> Device:
    if not isinstance(table, Mapping):
        raise InputError(f"'{path}': '{name}' is in no table; write [a-name] above it.")
    if "device" not in table:
        raise InputError(f"'{path}', [{name}]: 'device' is missing, such as device = \"ssh:HOST\".")
    try:
        settings = {key: _setting(key, value) for key, value in table.items()}
        return open_device(settings.pop("device"), **settings)
    except InputError as error:
        raise InputError(f"'{path}', [{name}]: {error}") from error


def _setting(key: str, value: object) -> str:
    try:
        text: str = convert(value, cast(Any, Text))
        return text
    except WrongValue as error:
        raise InputError(f"'{key}' must be text in quotes, of one line, got {toml_kind(value)}.") from error


def _named(text: str) -> bool:
    kind, colon, rest = text.partition(":")
    return text in ("local", "adb", "web") or (kind == "ssh" and bool(colon)) or (kind in ("adb", "web") and bool(rest))


def _check(settings: Mapping[str, str], kind: str) -> None:
    accepted = _KEYS[kind]
    for key, value in settings.items():
        if key not in accepted:
            names = ", ".join(("device", *accepted))
            raise InputError(f"unknown key '{key}' of '{kind}'.{did_you_mean(key, accepted)} Accepted: {names}.")
        if accepted[key] and value not in accepted[key]:
            hint = did_you_mean(value, accepted[key])
            raise InputError(f"unknown {key} '{value}'.{hint} Accepted: {', '.join(accepted[key])}.")
