from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from edgeseg.benchmark import machine


def test_this_machine() -> None:
    here = machine.environment("ssh:board")
    assert here.device == "ssh:board"
    assert here.machine and here.cpus >= 1
    assert here.system.startswith(platform.system())
    assert here.versions["numpy"] == np.__version__
    assert here.versions["python"] == platform.python_version()
    assert len(here.date) == 20 and here.date.endswith("Z")


def test_a_board_is_called_by_its_device_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Raspberry Pi: cpuinfo without a model name."""
    texts = {
        "/proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd0b\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0",
        "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    }
    monkeypatch.setattr(machine, "_text", lambda path: texts.get(str(path), ""))
    assert machine.cpu_name() == "Raspberry Pi 5 Model B Rev 1.0"


def test_the_hottest_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_THERMAL", tmp_path)
    assert machine.temperature_c() is None
    for zone, text in enumerate(("41000\n", "52500\n", "not a number\n")):
        (tmp_path / f"thermal_zone{zone}").mkdir()
        (tmp_path / f"thermal_zone{zone}" / "temp").write_text(text)
    assert machine.temperature_c() == 52.5


def test_the_busy_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(machine, "_STAT", stat)
    assert machine.busy_share(0) is None
    # user nice system idle iowait irq softirq steal: 30 of 100 ticks in use, 10 of them stolen by other guests
    lines = iter(["cpu  100 0 50 1000 10 0 0 0 0 0\n", "cpu  110 0 60 1060 20 0 0 10 0 0\n"])
    monkeypatch.setattr(machine, "_text", lambda path: next(lines))
    assert machine.busy_share(0) == pytest.approx(0.3)


def test_the_setting_of_huge_pages_is_told_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = tmp_path / "enabled"
    monkeypatch.setattr(machine, "_HUGE_PAGES", setting)
    assert machine.environment().extra == {}  # macOS, Windows
    setting.write_text("always [madvise] never\n")
    assert machine.environment().extra == {"transparent huge pages": "madvise"}
