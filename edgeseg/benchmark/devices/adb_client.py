"""Talk to devices through the system's ``adb``: list them, run a shell on one, copy files to it and from it.

A shell's answer ends with a line of its own that has the exit status: an ``adbd`` before Android 7 does not pass it on,
and where the line is missing the link was lost. Commands run in a session of their own, so that Ctrl-C reaches Python
alone and its clean-up is not interrupted as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeseg._internal.files import scratch_folder
from edgeseg._internal.text import counted, escaped, last_line
from edgeseg.benchmark.devices.bounded import Watch
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError

_MARK = "edgeseg-exit="

#: Seconds for everything that the adb server or a shell answers at once.
_SOON_S = 20.0

#: Bytes of an answer, and characters of each of its lines: the tools print some kilobytes.
_MOST_BYTES = 1 << 20
_MOST_IN_LINE = 4096

# Less than this is free on a full disk: a file takes whole blocks, of 4 kB at most on Android's file systems.
_BLOCK_KB = 4

_REFUSALS = {
    "unauthorized": "has not allowed this computer: unlock its screen and accept the USB debugging question",
    "authorizing": "is still being asked whether it allows this computer: answer on its screen, then try again",
    "offline": "is offline: unplug it and plug it in again, or adb reconnect",
    "no permissions": "may not be opened by this user: see the udev rules of Android's developer pages",
}


@dataclass(frozen=True)
class Answer:
    """The output of a command on the device, stdout and stderr together, and its exit status there."""

    text: str
    status: int


def attached() -> dict[str, str]:
    """Return the devices that the adb server sees: serial to state (``device``, ``offline``, ``unauthorized``, ...).

    Raises:
        BackendUnavailable: there is no adb on the PATH.
        DeviceLost: the adb server does not answer.
    """
    lines = _adb("devices").stdout.splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith(("*", "List of")))
    # A serial number and a state are the device's words: one that is no serial number names no device to adb either.
    return {escaped(serial): escaped(" ".join(rest).strip()) for serial, *rest in pairs}


def choose(serial: str | None) -> str:
    """Return the device with a serial number, or the only one.

    Raises:
        InputError: there is none, there are several, or it does not let this computer in.
    """
    states = attached()
    if not states:
        asked = "" if serial is None else f" '{serial}'"
        raise InputError(
            f"no device{asked} is attached over adb: enable USB debugging and plug it in, or adb connect HOST:PORT."
        )
    listed = ", ".join(f"{name} ({state})" for name, state in states.items())
    if serial is None:
        if len(states) > 1:
            raise InputError(
                f"{len(states)} devices are attached over adb: {listed}; say which, `open_device('adb:SERIAL')`."
            )
        (serial,) = states
    if serial not in states:
        raise InputError(f"no device '{serial}' is attached over adb; there are: {listed}.")
    state = states[serial]
    if state != "device":
        refusal = next((text for name, text in _REFUSALS.items() if state.startswith(name)), f"is in state '{state}'")
        raise InputError(f"device '{serial}' {refusal}.")
    return serial


class Client:
    """One attached device.

    Args:
        serial: as ``adb devices`` lists it.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def shell(self, script: str, *, timeout_s: float = _SOON_S) -> Answer:
        """Run a script in the device's shell; its stderr is joined to its stdout.

        Raises:
            DeviceLost: the device went away, does not answer in time, or answers too much.
        """
        process = _adb(
            "-s", self.serial, "shell", f"( {script} ) 2>&1; s=$?; echo; echo {_MARK}$s", timeout_s=timeout_s
        )
        text, mark, status = process.stdout.replace("\r\n", "\n").rpartition(f"\n{_MARK}")
        if not mark:
            raise DeviceLost(f"{self._gone()}{_last(process)}")
        if not re.fullmatch("[0-9]{1,3}", status.strip()) or int(status) > 255:
            raise DeviceLost(
                f"the answer of device '{self.serial}' is not understood: its exit status is "
                f"'{escaped(status.strip(), most=40)}'; accepted: 0 to 255."
            )
        return Answer("\n".join(line[:_MOST_IN_LINE] for line in text.split("\n")), int(status))

    def push(self, source: Path, target: str, *, what: str | None = None) -> None:
        """Copy a file to the device.

        Args:
            source: the file.
            target: its path there.
            what: what it is to the user; the file when ``None``.

        Raises:
            InputError: the device does not take it; the text has adb's last line.
            DeviceLost: the device went away.
        """
        # adb prints nothing while it copies: an hour is enough for gigabytes over a slow WLAN.
        process = _adb("-s", self.serial, "push", str(source), target, timeout_s=3600.0)
        if process.returncode:
            if attached().get(self.serial) != "device":
                raise DeviceLost(f"{self._gone()}{_last(process)}")
            what = what or f"'{source}'"
            raise InputError(f"{what} cannot be copied to device '{self.serial}':{_last(process)}")

    @contextmanager
    def reversed_port(self, port: int) -> Iterator[None]:
        """Make a port of this computer that of the device's localhost, during the block.

        Raises:
            InputError: the device does not do it; the text has adb's last line.
            DeviceLost: the device went away.
        """
        process = _adb("-s", self.serial, "reverse", f"tcp:{port}", f"tcp:{port}")
        if process.returncode:
            if attached().get(self.serial) != "device":
                raise DeviceLost(f"{self._gone()}{_last(process)}")
            raise InputError(f"device '{self.serial}' does not take port {port}:{_last(process)}")
        try:
            yield
        finally:
            _adb("-s", self.serial, "reverse", "--remove", f"tcp:{port}")

    def read(self, path: str, size: int) -> bytes:
        """Return the bytes of a file of the device.

        Args:
            path: on the device, without characters that its shell reads.
            size: how many bytes there are.

        Raises:
            DeviceLost: the device went away, does not answer in time, or sends more or less.
        """
        process = _run(
            *("-s", self.serial, "exec-out", f"cat {path}"),
            most_bytes=max(size, _MOST_BYTES),  # adb itself may have something to say
            timeout_s=_SOON_S + size / 1e5,  # 100 kB/s: a slow WLAN
        )
        sent = len(process.stdout)
        if process.returncode or sent != size:  # adb exits with 0 where the link was lost
            if (state := attached().get(self.serial, "gone")) != "device":
                raise DeviceLost(
                    f"the link to device '{self.serial}' was lost (now: {state}) after {sent} of {size} bytes."
                )
            raise DeviceLost(f"device '{self.serial}' sent {sent} bytes of a file of {size}.")
        return process.stdout

    def _gone(self) -> str:
        state = attached().get(self.serial, "gone")
        return f"the link to device '{self.serial}' was lost (now: {state}); adb says:"


class Folder:
    """A folder of ours on a device: what is in it goes with it.

    Args:
        client: of the device.
        path: of the folder, without characters that a shell reads.
    """

    def __init__(self, client: Client, path: str) -> None:
        self.path = path
        self._client = client
        self._put: dict[str, str] = {}
        self._sources: dict[str, Path] = {}

    def path_of(self, name: str) -> str:
        """Return the path of a file in it."""
        return f"{self.path}/{name}"

    def put(self, path: Path, digest: str, suffix: str) -> str:
        """Copy a file of this computer unless one of that SHA-256 was; return its path there."""
        if digest not in self._put:
            target = self.path_of(f"{digest[:16]}{suffix}")
            self._client.push(path, target)
            self._put[digest], self._sources[target] = target, path
        return self._put[digest]

    def source_of(self, path: str) -> str:
        """Return the file of this computer that was copied to a path, for messages."""
        return str(self._sources.get(path, path))

    def write(self, data: bytes, name: str) -> None:
        """Write a file; see ``Client.push``."""
        with scratch_folder() as folder:
            file = folder / "tensor"
            file.write_bytes(data)
            self._client.push(file, self.path_of(name), what=f"the input of {counted(len(data), 'byte')}")

    def read(self, name: str, *, size: int | None = None, most_bytes: int = 0, what: str) -> bytes:
        """Read a file that a program of the device wrote.

        Args:
            name: of the file.
            size: of what must be in it.
            most_bytes: of what may be in it, where the size is not known.
            what: what is in it, for the text of an error.

        Raises:
            InputError: the program did not write it, or has written another number of bytes.
            DeviceLost: the device went away, or does not answer as one does.
        """
        # The number of bytes first: a file that is not there, and one of another size, are no lost links.
        said = self._client.shell(f"wc -c <{self.path_of(name)}").text.strip()
        if not re.fullmatch("[0-9]{1,15}", said):
            raise InputError(f"device '{self._client.serial}' has not {what}: {last_line(said)}{self._full()}")
        written = int(said)
        if written != size if size is not None else written > most_bytes:
            accepted = f"up to {most_bytes}" if size is None else size
            raise InputError(
                f"{what} on device '{self._client.serial}' has {counted(written, 'byte')}; accepted: {accepted}."
                f"{self._full()}"
            )
        return self._client.read(self.path_of(name), written)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._client.shell(f"rm -f {self.path_of(name)}")

    def _full(self) -> str:
        """Return a sentence that says that the disk is full, where it is by the last line of ``df``."""
        free = re.search(r"\s([0-9]{1,15})\s+[0-9]{1,3}%\s+\S+\s*$", self._client.shell(f"df -k {self.path}").text)
        full = free is not None and int(free[1]) < _BLOCK_KB
        return f" The disk is full: make room in {self.path.rpartition('/')[0]}." if full else ""


def _adb(*arguments: str, timeout_s: float = _SOON_S) -> subprocess.CompletedProcess[str]:
    done = _run(*arguments, most_bytes=_MOST_BYTES, timeout_s=timeout_s)
    texts = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def _run(*arguments: str, most_bytes: int, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("adb")
    if program is None:
        raise BackendUnavailable(
            "adb is not on the PATH. Install Android's platform-tools, on Debian and Ubuntu: apt install adb"
        )
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            with Watch(process, (out, err), most_bytes=most_bytes, timeout_s=timeout_s) as watch:
                process.wait()
        finally:  # Ctrl-C
            process.kill()
            process.wait()
        if watch.broke:
            raise DeviceLost(f"adb {watch.broke} to: adb {' '.join(arguments[:3])} ...")
        answers = []
        for file in (out, err):
            file.seek(0)
            answers.append(file.read(most_bytes))
    return subprocess.CompletedProcess([program, *arguments], process.returncode, *answers)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    text = done.stderr + done.stdout
    error = re.search("^adb: error: .*", text, re.MULTILINE)  # after it adb counts the files that it copied
    return f" {last_line(error[0] if error else text)}"
