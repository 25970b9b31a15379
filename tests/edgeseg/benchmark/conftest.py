"""Phones for adb: daemons that speak its wire protocol."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

GETPROP = """#!/bin/sh
case $1 in
ro.product.manufacturer) echo Stand;; ro.product.model) echo "In 7";;
ro.soc.manufacturer) echo QTI;; ro.soc.model) echo SM8650;; ro.board.platform) echo pineapple;;
ro.build.version.release) echo 15;; ro.build.version.sdk) echo 35;; ro.product.cpu.abi) echo arm64-v8a;;
*) echo;;
esac
"""
DUMPSYS = """#!/bin/sh
case $1 in
thermalservice) cat <<END
IsStatusOverride: false
Thermal Status: $(cat $ANDROID_ROOT/thermal)
Cached temperatures:
	Temperature{mValue=99.0, mType=0, mName=CPU0, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
	Temperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
	Temperature{mValue=43.25, mType=1, mName=GPU, mStatus=0}
	Temperature{mValue=77.0, mType=3, mName=skin, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=gpu}
END
;;
battery) printf 'Current Battery Service state:\\n  status: 2\\n  level: 85\\n  temperature: 291\\n';;
esac
"""
DF = """#!/bin/sh
echo 'Filesystem      1K-blocks    Used Available Use% Mounted on'
echo "/dev/block/dm-5   2000000 1000000 $(cat $ANDROID_ROOT/free)  50% /data"
"""


@dataclass
class Phone:
    """A running daemon and its folder."""

    root: Path
    serial: str
    process: subprocess.Popen[str]

    def behave(self, **values: Any) -> None:
        (self.root / "behavior.json").write_text(json.dumps(values))

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.root / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @staticmethod
    def runs(pid: int) -> bool:
        """Whether a process is there and no zombie."""
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"

    @property
    def left(self) -> list[str]:
        """What lies in its folder for programs, but for the tool that was there."""
        return sorted(p.name for p in (self.root / "data/local/tmp").iterdir() if p.name != "benchmark_model")


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """An adb server of our own, at a port and with keys that are no user's; a function that runs the client."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    patch = pytest.MonkeyPatch()
    patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("logs")))  # the server's log
    for name in ("ADB_USB", "ADB_EMU", "ADB_MDNS"):  # what is plugged into this machine stays the user's
        patch.setenv(name, "0")

    def run(*arguments: str) -> str:
        done = subprocess.run(["adb", *arguments], capture_output=True, text=True, check=False, timeout=30)
        return done.stdout + done.stderr

    run("start-server")
    yield run
    run("kill-server")
    patch.undo()


@pytest.fixture
def attach(adb: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    """A function that starts a phone and connects it; its arguments go to the daemon.

    Its tool prints what ``benchmark_model`` prints, or with ``runs=True`` runs the model as well.
    """
    phones: list[Phone] = []

    def start(*options: str, tool: bool = True, runs: bool = False) -> Phone:
        root = tmp_path / f"phone{len(phones)}"
        folders = ("data/local/tmp", "system/bin", "sys/devices/system/cpu/cpu0/cpufreq")
        for folder in folders:
            (root / folder).mkdir(parents=True)
        (root / folders[2] / "scaling_governor").write_text("schedutil\n")
        (root / "thermal").write_text("0")
        (root / "free").write_text("1000000")
        for name, text in (("getprop", GETPROP), ("dumpsys", DUMPSYS), ("df", DF)):
            (root / "system/bin" / name).write_text(text)
            (root / "system/bin" / name).chmod(0o755)
        if tool:
            program = root / "data/local/tmp/benchmark_model"
            if runs:
                program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "running_tool.py"}" "$@"\n')
            else:
                shutil.copy(HERE / "stand_in_tool.py", program)
            program.chmod(0o755)
        command = [sys.executable, str(HERE / "adb_daemon.py"), str(root), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        phone = Phone(root, f"127.0.0.1:{process.stdout.readline().strip()}", process)
        phones.append(phone)
        phone.behave()
        adb("connect", phone.serial)
        return phone

    yield start
    for phone in phones:
        adb("disconnect", phone.serial)
        phone.process.kill()
        phone.process.communicate()
        for call in phone.calls:
            assert not phone.runs(call["pid"]), "a tool is left running"


@pytest.fixture
def phone(attach: Callable[..., Phone]) -> Phone:
    return attach()
