"""Define where artifacts run: the options of ``benchmark`` and ``verify`` about runtimes and devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from edgeseg.choices import Accelerator, BackendName, RuntimePrecision
from edgeseg.cli import _options
from edgeseg.cli._fields import collect
from edgeseg.cli._terminal import note
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.benchmark.measure import Case, Device

F = TypeVar("F", bound=Callable[..., Any])


class CountsType(click.ParamType[tuple[int, ...]]):
    """``1,2,4``: numbers above 0."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.isdigit() and int(part) for part in parts):
            self.fail(f"'{value}' is no list of numbers above 0; accepted: 2 or 1,2,4.", param, ctx)
        return tuple(map(int, parts))


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What the artifacts run on: every accelerator with every number of threads."""

    accelerators: tuple[str, ...]
    backend: BackendName | None
    delegate: str | None
    delegate_option: tuple[tuple[str, str], ...]
    provider: tuple[str, ...]
    runtime_precision: RuntimePrecision | None
    num_threads: tuple[int, ...] | None
    imgsz: tuple[int, int] | None

    def cases(self, artifacts: Sequence[Path]) -> list[Case]:
        """Return every artifact on every accelerator with every number of threads."""
        from edgeseg.benchmark.measure import Case
        from edgeseg.runtime.options import accelerator_name

        options = {
            "backend": self.backend,
            "delegate": self.delegate,
            "delegate_options": dict(self.delegate_option),
            "providers": self.provider,
            "input_size": self.imgsz,
            "runtime_precision": self.runtime_precision,
        }
        asked = {name: value for name, value in options.items() if value}
        cases = []
        # A delegate and a provider are the accelerator.
        accelerators = self.accelerators[:1] if self.provider or self.delegate else dict.fromkeys(self.accelerators)
        threads_of = dict.fromkeys(self.num_threads or (None,))
        for artifact, accelerator, threads in itertools.product(artifacts, accelerators, threads_of):
            place = {} if self.provider or self.delegate else {"accelerator": accelerator}
            chosen = {**asked, **place, "num_threads": threads}
            cases.append(Case(artifact, accelerator_name(chosen), chosen))
        return cases


@dataclass(frozen=True)
class Devices:
    """Where the artifacts are measured."""

    device: tuple[str, ...]
    devices: Path | None
    benchmark_model: str | None

    def open(self) -> list[Device]:
        """Open the named devices, or this machine."""
        from edgeseg.benchmark import devices as known
        from edgeseg.benchmark.devices.web import WebDevice

        if self.benchmark_model is not None and not any(name.startswith("adb") for name in self.device):
            raise InputError("--benchmark-model goes with --device adb.")
        tool = {} if self.benchmark_model is None else {"benchmark_model": self.benchmark_model}
        opened = [known.open_device(name, **(tool if name.startswith("adb") else {})) for name in self.device]
        opened += known.read_table(self.devices) if self.devices is not None else []
        for device in opened:
            if isinstance(device, WebDevice):
                device.announce = note
        return opened or [known.open_device("local")]


#: The parameters of ``sweep`` and ``devices``, for a command's headings.
SWEEP = (
    "accelerators",
    "backend",
    "delegate",
    "delegate_option",
    "provider",
    "runtime_precision",
    "num_threads",
    "imgsz",
)
DEVICES = ("device", "devices", "benchmark_model")


def sweep(function: F) -> F:
    """Add the options that choose the runtimes, as one argument ``sweep``, a ``Sweep``."""
    return collect(
        "sweep",
        Sweep,
        click.option(
            "--accelerator",
            "accelerators",
            type=_options.NamesType(get_args(Accelerator)),
            default="cpu",
            show_default=True,
            help="Where a .tflite runs, with commas between for a sweep.",
        ),
        _options.backend,
        _options.delegate,
        _options.delegate_option,
        _options.provider,
        _options.runtime_precision,
        click.option(
            "--num-threads",
            type=CountsType(),
            help="Threads, with commas between for a sweep.",
            show_default="one a core, at most 4",
        ),
        _options.imgsz,
    )(function)


def devices(function: F) -> F:
    """Add the options that choose the devices, as one argument ``devices``, a ``Devices``."""
    return collect(
        "devices",
        Devices,
        click.option(
            "--device",
            multiple=True,
            help="local, ssh:HOST, adb, adb:SERIAL, web or web:HOST (a browser); repeatable.",
            show_default="local",
        ),
        click.option("--devices", type=_options.FILE, help="devices.toml: all devices that it lists."),
        click.option("--benchmark-model", metavar="FILE", help="Tool for --device adb, here or there."),
    )(function)
