"""A real sshd on loopback, with keys and known hosts of its own; the user's are not touched."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from edgeseg.benchmark.devices import ssh
from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.devices.ssh import SshDevice
from edgeseg.benchmark.measure import Case, Plan, measure
from edgeseg.benchmark.worker import Request
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.files import sha256

QUICK = Plan(rounds=2, warmup_runs=1, warmup_min_secs=0, num_runs=4, min_secs=0)


class Server:
    """An sshd of the test's own, and what a client needs to know of it."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder, self._program = folder, program
        for name in ("host", "user", "other"):
            self._keygen(name)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.know("host")
        (folder / "config").write_text(
            f"Host board\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n IdentitiesOnly yes\n"
            f" IdentityFile {folder}/user\n UserKnownHostsFile {folder}/known\n GlobalKnownHostsFile /dev/null\n"
        )
        self.options = ("-F", str(folder / "config"))
        self._process: subprocess.Popen[bytes] | None = None

    def know(self, key: str) -> None:
        """Have the client expect this host key."""
        public = (self.folder / f"{key}.pub").read_text()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {public}")

    def start(self, **variables: str) -> None:
        """Listen, with these variables for every command."""
        names = "".join(f" {name}={value}" for name, value in {"EDGESEG_TEST": "1", **variables}.items())
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nAuthorizedKeysFile {self.folder}/authorized\nPasswordAuthentication no\nSetEnv{names}\n"
        )
        with open(self.folder / "log", "wb") as log:
            command = [self._program, "-D", "-e", "-f", str(self.folder / "sshd_config")]
            self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """End the listener and cut every connection, as a board does that loses its power."""
        if self._process is not None:
            self.cut()
            self._process.kill()
            self._process.wait()
        self._process = None

    def cut(self) -> None:
        """Kill the processes that hold connections, not what they started."""
        assert self._process is not None
        for pid in _below(self._process.pid):
            if "sshd" in _command(pid):
                os.kill(pid, signal.SIGKILL)

    def _keygen(self, name: str) -> None:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _below(parent: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [parent]
    for one in found:
        found.extend(pid for pid, ppid in pairs if ppid == one)
    return found[1:]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _at_work(folder: Path) -> list[int]:
    """Workers that measure with what lies in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            here = str((entry / "cwd").readlink())
        except OSError:
            continue
        if here.startswith(str(folder)) and "worker" in _command(int(entry.name)):
            found.append(int(entry.name))
    return found


def _soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    program = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if program is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd is not installed (apt install openssh-server)")
    if not Path("/proc/self/cwd").exists():
        pytest.skip("no /proc to find processes in")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd asks for it; a service makes it on a real machine
    return Server(tmp_path_factory.mktemp("sshd"), program)


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    """It listens during the test."""
    _server.know("host")
    _server.start()
    yield _server
    _server.stop()


@pytest.fixture(scope="module")
def model(tflite_model: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one op."""
    path = tmp_path_factory.mktemp("model") / "relu.tflite"
    path.write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]))
    return path


@pytest.fixture
def board(server: Server, tmp_path: Path) -> SshDevice:
    """This Python on the other side of sshd."""
    return _device(server, tmp_path / "board")


def _device(server: Server, folder: Path, python: str = sys.executable, **keywords: str) -> SshDevice:
    return SshDevice("board", environment=str(folder), python=python, options=server.options, **keywords)  # type: ignore[arg-type]


def test_a_result_is_what_a_local_one_is(board: SshDevice, model: Path, tmp_path: Path) -> None:
    cases = [Case(model, "cpu", {"accelerator": "cpu", "num_threads": 1})]
    (near,), (far,) = measure(cases, LocalDevice(), QUICK), measure(cases, board, QUICK)
    assert far.environment.device == "ssh:board"
    assert (far.rounds, far.runtime, far.sha256) == (near.rounds, near.runtime, near.sha256)
    assert far.environment.machine == near.environment.machine
    assert far.environment.versions["edgeseg"]
    assert set(far.environment.versions) == set(near.environment.versions)
    assert list((tmp_path / "board" / "artifacts").iterdir()) == []
