"""``devices.ssh``, ``devices.ssh_link`` and ``devices.ssh_remote``: a real sshd on loopback, with keys and known hosts
of its own; the user's are not touched.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from edgeseg._internal.files import sha256
from edgeseg.benchmark.devices import ssh
from edgeseg.benchmark.devices.local import LocalDevice
from edgeseg.benchmark.devices.ssh import SshDevice
from edgeseg.benchmark.devices.ssh_answers import Checked, Hello, Installed
from edgeseg.benchmark.devices.ssh_link import Link
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.worker import Request
from edgeseg.cli import main
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof import verify
from edgeseg.proof.device import ThisMachine

QUICK = Plan(rounds=2, warmup_runs=1, warmup_min_secs=0, num_runs=4, min_secs=0)
SHORT = Plan(rounds=1, warmup_runs=1, warmup_min_secs=0, num_runs=1, min_secs=0)


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
            f"Host board twin\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n IdentitiesOnly yes\n"
            f" IdentityFile {folder}/user\n UserKnownHostsFile {folder}/known\n GlobalKnownHostsFile /dev/null\n"
            # what people have in theirs, and what must not count here
            f" ControlMaster auto\n ControlPath {folder}/mine\n ControlPersist yes\n"
            " LogLevel QUIET\n RequestTTY force\n"
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """edgeseg's folder on the board; its code is unpacked there once for all tests."""
    return tmp_path_factory.mktemp("board") / "folder"


@pytest.fixture
def board(server: Server, folder: Path) -> SshDevice:
    """This Python on the other side of sshd."""
    return _device(server, folder)


def _device(server: Server, folder: Path, python: str = sys.executable, **keywords: str) -> SshDevice:
    return SshDevice("board", environment=str(folder), python=python, options=server.options, **keywords)  # type: ignore[arg-type]


def test_a_result_is_what_a_local_one_is(board: SshDevice, model: Path, folder: Path) -> None:
    cases = [Case(model, "cpu", {"accelerator": "cpu", "num_threads": 1})]
    (near,), (far,) = measure(cases, LocalDevice(), QUICK), measure(cases, board, QUICK)
    assert far.environment.device == "ssh:board"
    assert (far.rounds, far.runtime, far.sha256) == (near.rounds, near.runtime, near.sha256)
    assert far.environment.machine == near.environment.machine
    assert far.environment.versions["edgeseg"]
    assert set(far.environment.versions) == set(near.environment.versions)
    assert list((folder / "artifacts").iterdir()) == []


@pytest.mark.parametrize("suffix", ["tflite", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_proof_is_answered_there(board: SshDevice, proven: Path, folder: Path, suffix: str) -> None:
    artifact, path = proven / f"unet_mini.fp32.{suffix}", proven / "unet_mini.proof.zip"
    with board as device:
        verdict = verify(artifact, device=device, options={"num_threads": 1}, repeat=2)
        tensor = np.ones((1, 32, 48, 3), np.float32)
        value = device.value(artifact, {}, tensor, runs=2)
        assert np.array_equal(value, ThisMachine().value(artifact, {}, tensor))  # the same runtime
        path.write_bytes(b"PK" * 50)
        with pytest.raises(InputError, match=rf"ssh:board: '{path}' is no proof of edgeseg"):
            device.answers(artifact, {}, path, (0,))
    assert (verdict.device, verdict.passed, verdict.agreement.worst) == ("ssh:board", True, 1.0)
    assert list((folder / "artifacts").iterdir()) == []


@pytest.mark.slow
def test_a_model_is_tuned_for_the_board(board: SshDevice, folder: Path, tmp_path: Path, shapes_dataset: Path) -> None:
    """Converted here, asked and measured there, over one connection."""
    keras, converters = pytest.importorskip("keras"), pytest.importorskip("edgeseg_converters")
    image = keras.Input((32, 48, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(image), name="tiny")
    options = converters.TuneOptions(
        formats=("tflite",), precisions=("fp16",), accelerators=("cpu",), num_threads=(1,), num_images=1, plan=SHORT
    )
    images = str(shapes_dataset / "val" / "images")
    result = converters.tune(model, tmp_path / "tuned", data=images, device=board, options=options)
    assert result.record.device == "ssh:board" and result.record.complete
    assert result.latency is not None and result.latency.environment.device == "ssh:board"
    assert {one.candidate.place.backend for one in result.record.measured} == {"litert", "litert-compiled"}
    assert list((folder / "artifacts").iterdir()) == []
    assert "on ssh:board" in result.sentence


def test_a_proof_over_a_link_that_breaks_leaves_no_worker(
    server: Server, board: SshDevice, proven: Path, folder: Path
) -> None:
    def cut() -> None:
        assert _soon(lambda: bool(_at_work(folder)), 30)
        server.cut()

    thread = threading.Thread(target=cut)
    with pytest.raises(DeviceLost), board as device:
        thread.start()
        verify(proven / "unet_mini.fp32.tflite", device=device, repeat=1000)
    thread.join()
    assert _soon(lambda: not _at_work(folder))
    with board as device:
        for name in ("unet_mini.proof.zip", "unet_mini.fp32.tflite"):  # what the next session knows, it removes
            device.put(proven / name, sha256((proven / name).read_bytes()))
    assert list((folder / "artifacts").iterdir()) == []


def test_a_fleet_loses_no_result_for_a_device_that_is_gone(
    server: Server,
    model: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGESEG_SSH_OPTIONS", " ".join(server.options))
    table = tmp_path / "devices.toml"
    # Two boards at once: the same sshd by two names, with a folder each.
    boards = "".join(
        f'[{name}]\ndevice = "ssh:{name}"\nenvironment = "{place}"\npython = "{sys.executable}"\n'
        for name, place in (("board", folder), ("twin", tmp_path / "twin"))
    )
    table.write_text(f'[gone]\ndevice = "ssh:gone.invalid"\n{boards}')
    assert main(["benchmark", str(model), "--devices", str(table), "--rounds", "1", "--min-secs", "0", "--json"]) == 2
    out, err = capfd.readouterr()
    told = json.loads(out)
    assert [result["environment"]["device"] for result in told["results"]] == ["ssh:board", "ssh:twin"]
    ((name, why),) = (each.values() for each in told["lost"])
    assert name == "ssh:gone.invalid" and "there is no machine of this name" in why
    assert "no connection to 'gone.invalid': there is no machine of this name" in err


def test_what_is_there_by_its_hash_is_not_sent_again(server: Server, model: Path, folder: Path) -> None:
    digest = sha256(model.read_bytes())
    with _device(server, folder, keep="everything") as device:
        first = Path(device.put(model, digest))
    written = first.stat().st_ino
    with _device(server, folder, keep="everything") as device:
        assert Path(device.put(model, digest)).stat().st_ino == written
        first.write_bytes(b"another file under this name")
        assert Path(device.put(model, digest)).read_bytes() == model.read_bytes()


def test_both_files_of_an_openvino_model_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sent = tmp_path / "m.xml", {}
    path.write_bytes(b"<net></net>\n")
    path.with_suffix(".bin").write_bytes(b"weights")
    device = SshDevice("board")
    monkeypatch.setattr(device, "_prepare", lambda _: None)
    monkeypatch.setattr(device, "_put", lambda data, name, _: sent.__setitem__(name, data) or f"/there/{name}")
    assert device.put(path, "d") == "/there/d.xml"
    assert sent == {"d.xml": b"<net></net>\n", "d.bin": b"weights"}


@pytest.mark.slow
def test_keep_nothing_leaves_nothing_but_what_was_there(server: Server, model: Path, tmp_path: Path) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "mine.txt").touch()
    with _device(server, tmp_path / "board", keep="nothing") as device:
        device.put(model, sha256(model.read_bytes()))
    assert [path.name for path in (tmp_path / "board").iterdir()] == ["mine.txt"]


def test_a_login_that_talks_is_no_answer(server: Server, model: Path, tmp_path: Path, folder: Path) -> None:
    """What a .bashrc prints stands before the answer, here by a shell that prints before every command."""
    talking = tmp_path / "python"
    talking.write_text(f'#!/bin/sh\necho Welcome to the board\nprintf "{{\\"a\\": 1}}"\nexec {sys.executable} "$@"\n')
    talking.chmod(0o755)
    with _device(server, folder, python=str(talking)) as device:
        assert device.put(model, sha256(model.read_bytes()))


#: A Python that reads its order and answers with something else.
LIAR = """#!{python}
import json, sys, time
marker = json.loads([sys.stdin.readline() for _ in range(2)][-1])["marker"]
{lie}
"""


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        ("""print(marker + '{"root": NaN}')""", "'board' to the order 'hello' is not understood: it is no JSON: "),
        ("print(marker + '{\"x\":' * 10_000)", "is not understood: it is JSON nested too deeply"),
        ("print(marker + json.dumps({'error': 'a\\nb\\x1b[2J', 'file': ''}))", r"cannot write '': a\\nb\\x1b\[2J"),
        ("while True: print('x' * 1000)", r"^'board' answered with more than 0\.0625 MiB \(order: hello\)"),
        ("time.sleep(60)", r"^'board' gave no answer within 3 seconds \(order: hello\)"),
    ],
    ids=["NaN", "deep", "escape sequence", "flood", "silence"],
)
def test_a_board_that_lies(server: Server, tmp_path: Path, lie: str, text: str) -> None:
    liar = tmp_path / "python"
    liar.write_text(LIAR.format(python=sys.executable, lie=lie))
    liar.chmod(0o755)
    link = Link("board", python=str(liar), options=server.options)
    link.open()
    try:
        with pytest.raises(DeviceLost, match=text) as caught:
            link.ask("hello", Hello, timeout_s=3.0 if "sleep" in lie else 60.0, most_bytes=1 << 16, root="/", code="x")
    finally:
        link.close()
    assert str(caught.value).isprintable()


def test_a_refusal_of_the_worker_arrives(board: SshDevice, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"^ssh:board: .*/broken\.tflite' "):
        measure([Case(broken, "cpu")], board, QUICK)


def test_a_worker_that_crashes_is_told_from_a_lost_link(
    server: Server, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that dies of a signal, sent in the place of edgeseg's."""
    crash = b"import os, sys\nprint('driver failed', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)\n"
    code = {**ssh._code(), "edgeseg/benchmark/worker.py": crash}
    monkeypatch.setattr(ssh, "_code", lambda: code)
    with pytest.raises(DeviceLost, match=r"/relu\.tflite' on ssh:board ended early, killed by SIGSEGV: driver failed"):
        measure([Case(model, "cpu")], _device(server, tmp_path / "board"), QUICK)
    assert list((tmp_path / "board" / "artifacts").iterdir()) == []


@pytest.mark.parametrize("end", [pytest.param("the link", marks=pytest.mark.slow), "Ctrl-C"])
def test_no_worker_is_left_behind(server: Server, board: SshDevice, model: Path, folder: Path, end: str) -> None:
    """In the middle of a measurement of ten minutes."""
    stopped: list[float] = []

    def stop() -> None:
        assert _soon(lambda: bool(_at_work(folder)), 30)
        stopped.append(time.monotonic())
        if end == "the link":
            server.cut()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    with pytest.raises(DeviceLost if end == "the link" else KeyboardInterrupt), board as device:
        path = device.put(model, sha256(model.read_bytes()))
        thread.start()
        device.run(Request(path=path, num_runs=1, min_secs=600, max_secs=600))
    thread.join()
    assert time.monotonic() - stopped[0] < 30  # the long measurement was not waited for
    assert _soon(lambda: not _at_work(folder))
    left = [path.name for path in (folder / "artifacts").iterdir()]
    assert (left == []) == (end == "Ctrl-C")  # nobody can tidy up over a link that is gone; the next session can
    if end == "the link":
        with board as device:
            device.put(model, sha256(model.read_bytes()))
        assert list((folder / "artifacts").iterdir()) == []


@pytest.mark.slow
def test_nothing_of_a_session_stays_here(
    server: Server, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    here = Path(tempfile.mkdtemp())  # pytest's own folder may be too deep for the path of a socket
    monkeypatch.setattr("tempfile.tempdir", str(here))
    with _device(server, folder) as device:
        assert {path.name for path in here.glob("*/*")} == {"s", "said"}  # the shared connection, what it prints
        device.put(model, sha256(model.read_bytes()))
    assert list(here.iterdir()) == []
    missing = _device(server, folder, python="python-that-is-not-there")
    with pytest.raises(BackendUnavailable, match=r"'board' has no 'python-that-is-not-there'. Install Python 3.10"):
        missing.__enter__()
    assert list(here.iterdir()) == []
    here.rmdir()


@pytest.mark.slow
def test_ssh_that_cannot_share_a_connection_makes_one_for_each_order(
    server: Server, model: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)  # longer than the path of a socket may be
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with _device(server, folder) as device:
        assert list(deep.iterdir()) == []
        assert Path(device.put(model, sha256(model.read_bytes()))).exists()


def test_a_changed_host_key_is_refused(server: Server, board: SshDevice) -> None:
    server.know("other")
    with pytest.raises(DeviceLost, match=r"host key is not the one that is known.*ssh-keygen -R board"):
        board.__enter__()


def test_an_unknown_host_key_is_refused(server: Server, board: SshDevice) -> None:
    (server.folder / "known").write_text("")
    with pytest.raises(DeviceLost, match=r"host key is not known yet. Connect once by hand"):
        board.__enter__()


def test_a_key_that_it_does_not_take(server: Server, tmp_path: Path) -> None:
    options = ("-o", f"IdentityFile={server.folder}/other", "-F", str(server.folder / "config"))
    config = (server.folder / "config").read_text().replace(f" IdentityFile {server.folder}/user\n", "")
    (tmp_path / "config").write_text(config)
    with pytest.raises(DeviceLost, match="takes none of your keys"):
        SshDevice("board", options=(*options[:2], "-F", str(tmp_path / "config"))).__enter__()


def test_nobody_listens(server: Server, board: SshDevice) -> None:
    server.stop()
    with pytest.raises(DeviceLost, match="no connection to 'board': nothing listens at its ssh port"):
        board.__enter__()


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(DeviceLost, match="there is no machine of this name"):
        SshDevice("no-such-machine.invalid", options=("-F", "/dev/null")).__enter__()


@pytest.mark.parametrize("host", ["", "-oProxyCommand=true", "a b", "a\nb"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(InputError, match="no host for ssh"):
        SshDevice(host)


def test_a_python_that_is_too_old(server: Server, tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 8); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    with pytest.raises(BackendUnavailable, match=r"Python 3.8 as '.*'; 3.10 or newer is needed"):
        _device(server, tmp_path / "board", python=str(old)).__enter__()


def test_a_keras_model_is_refused(board: SshDevice, tmp_path: Path) -> None:
    (tmp_path / "m.keras").touch()
    with board as device, pytest.raises(InputError, match="what it is exported to"):
        device.put(tmp_path / "m.keras", "0" * 64)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with no packages."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


@pytest.mark.slow
def test_a_device_that_cannot_install(_server: Server, bare: str, model: Path, tmp_path: Path) -> None:
    _server.know("host")
    _server.start(PIP_CONFIG_FILE="/dev/null", PIP_NO_INDEX="1")
    try:
        with _device(_server, tmp_path / "board", python=bare) as device:
            with pytest.raises(BackendUnavailable, match="its package index has no wheel of numpy") as caught:
                device.put(model, sha256(model.read_bytes()))
            wanted = "'numpy>=1.23.2' 'opencv-python-headless>=4.11' 'msgspec>=0.22' 'ai-edge-litert>=2.3'"
            assert wanted in str(caught.value)
            assert "\n" not in str(caught.value)
            assert not list((tmp_path / "board").glob("venv-*"))
    finally:
        _server.stop()


@pytest.mark.parametrize(
    ("failed", "text", "line"),
    [
        # as pip 25 and Debian's Python 3.11 say it
        ("pip", "NewConnectionError: Network is unreachable\nERROR: No matching distribution found for numpy",
         "does not reach its package index. By hand: pip install"),
        ("pip", "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
         "its disk is full"),
        ("pip", "ERROR: No matching distribution found for ai-edge-litert>=2.3", "no wheel of ai-edge-litert>=2.3 for"),
        ("venv", "The virtual environment was not created successfully because ensurepip is not available.",
         "sudo apt install python3-venv"),
        ("venv", "Error: something else.\n", "could not make one: Error: something else. By hand:"),
    ],
)  # fmt: skip
def test_why_a_device_cannot_install(failed: str, text: str, line: str) -> None:
    reason = SshDevice("board")._why_not(Installed(failed=failed, text=text), ["numpy>=1"])
    assert line in reason and "\n" not in reason


@pytest.mark.slow
def test_a_device_that_can_install(
    server: Server,
    bare: str,
    tmp_path: Path,
    tflite_model: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one slow test here: three wheels from the index."""
    path = tmp_path / "relu.tflite"
    path.write_bytes(tflite_model(["RELU"], [((1, 4, 4, 3), "float32")]))
    (result,) = measure([Case(path, "cpu")], _device(server, tmp_path / "board", python=bare), QUICK)
    assert {"numpy", "ai-edge-litert", "opencv-python-headless", "edgeseg"} <= set(result.environment.versions)
    assert "tensorflow" not in result.environment.versions
    assert "installing them" in caplog.text
    caplog.clear()
    with _device(server, tmp_path / "board", python=bare) as device:  # found again
        device.put(path, sha256(path.read_bytes()))
        assert device._pythons[".tflite"].startswith(str(tmp_path / "board" / "venv-"))
    assert caplog.messages == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted as root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(server: Server, small_disk: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.tflite"
    large.write_bytes(bytes(8 << 20))
    with _device(server, small_disk) as device:
        with pytest.raises(
            DeviceLost, match=r"'board' cannot write .* its disk is full; nothing was left half-written"
        ):
            device._put(large.read_bytes(), "large.tflite", sha256(large.read_bytes()))
        assert [path.suffix for path in (small_disk / "artifacts").iterdir()] == []


def test_a_package_that_is_too_old_is_one_that_is_missing(board: SshDevice) -> None:
    with board as device:
        found = device._link.ask("check", Checked, modules=["numpy>=1.2", "cv2>=99.1", "json>=1"])
    assert found.missing == "cv2>=99.1"
    assert "99.1 is needed" in found.text


def test_what_is_installed_is_what_edgeseg_needs() -> None:
    declared = [line.replace(" ", "") for line in metadata.requires("edgeseg") or ()]
    ours = [*ssh._ALWAYS.values(), *(text for group in ssh._RUNTIMES.values() for text in group.values())]
    for requirement in ours:
        needed = requirement.replace("-headless", "").lower()
        assert any(line.split(";")[0].lower() == needed for line in declared), requirement
