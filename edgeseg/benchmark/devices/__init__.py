"""Devices that artifacts are measured on, one kind a file; ``open_device`` picks by what the user typed."""

from __future__ import annotations

from pathlib import Path

from edgeseg.benchmark.measure import Device
from edgeseg.errors import InputError

__all__ = ["open_device", "read_table"]


def open_device(text: str, *, benchmark_model: str | None = None) -> Device:
    """The device of a name.

    Args:
        text: ``local``, ``ssh:HOST`` (a host of the user's own ssh config), ``adb`` or ``adb:SERIAL``.
        benchmark_model: the tool that measures behind adb; see ``AdbDevice``.

    Raises:
        InputError: no device is called so.
    """
    if text == "local":
        from edgeseg.benchmark.devices.local import LocalDevice

        return LocalDevice()
    kind, colon, serial = text.partition(":")
    if kind == "adb" and bool(colon) == bool(serial):
        from edgeseg.benchmark.devices.adb import AdbDevice

        return AdbDevice(serial or None, benchmark_model=benchmark_model)
    raise InputError(f"unknown device '{text}'; accepted: local, ssh:HOST, adb, adb:SERIAL.")


def read_table(path: Path) -> list[Device]:
    """The devices of a ``devices.toml``, in its order.

    Raises:
        InputError: it cannot be read, or a device in it is not understood.
    """
    raise InputError(f"'{path}': not read yet")
