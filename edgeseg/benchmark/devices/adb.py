"""Measure and verify on an Android device through ``adb`` with ``benchmark_model``: no Python, no root and no app.

The tool gives statistics of each process and no samples: they are in ``LatencyResult.reported``, and ``latencies_s`` is
empty, so that p90 and p99 are not known.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from numpy.typing import NDArray

from edgeseg._internal.files import sha256
from edgeseg._internal.json import WrongValue, convert
from edgeseg._internal.text import escaped, last_line
from edgeseg.benchmark.devices import adb_client, android, benchmark_model
from edgeseg.benchmark.devices.adb_client import Client, Folder
from edgeseg.benchmark.devices.benchmark_model import Tool
from edgeseg.benchmark.devices.op_profile import OpTime, op_times
from edgeseg.benchmark.devices.tool_backend import ToolBackend
from edgeseg.benchmark.worker import Reply, Request, longest_s
from edgeseg.choices import INTEGERS, Precision
from edgeseg.errors import BackendUnavailable, DeviceLost, EdgesegError, InputError
from edgeseg.proof.answering import answer_proof
from edgeseg.proof.file import read_proof
from edgeseg.proof.questions import Answers
from edgeseg.runtime.base import dequantized
from edgeseg.runtime.process.child import signal_name
from edgeseg.tflite.cpu import Cpu
from edgeseg.tflite.file import has_open_size
from edgeseg.tflite.half_arithmetic import HalfArithmetic

#: The one folder that a shell user may write to and execute from.
FOLDER = "/data/local/tmp"

#: Where an installed tool is looked up; the place that TensorFlow's and LiteRT's pages push it to.
DEFAULT_TOOL = f"{FOLDER}/benchmark_model"

_log = logging.getLogger(__name__)


class AdbDevice:
    """A device that the system's ``adb`` sees.

    Args:
        serial: as ``adb devices`` lists it; the only attached device when ``None``.
        benchmark_model: the tool for the device's processor: a file of this computer, which is copied, or an absolute
            path on the device; by default ``/data/local/tmp/benchmark_model`` there.
        half_precision: whether float models run in half precision: ``yes``, ``no``, or the tool's own choice when
            ``None``, which is yes for a GPU, and for a CPU where the file asks for it. It shows whether a wrong class
            comes of rounding.
    """

    def __init__(
        self,
        serial: str | None = None,
        *,
        benchmark_model: str | None = None,
        half_precision: Literal["yes", "no"] | None = None,
    ) -> None:
        self.name = "adb" if serial is None else f"adb:{serial}"
        self._serial = serial
        self._asked_tool = benchmark_model or DEFAULT_TOOL
        self._half = None if half_precision is None else half_precision == "yes"
        self._cpu: Cpu | None = None  # read where a file's answer depends on it

    def __enter__(self) -> AdbDevice:
        """Find the device and the tool.

        Raises:
            InputError: no such device, several without a serial, or one that does not let this computer in.
            BackendUnavailable: adb or ``benchmark_model`` is missing, or the tool does not run there.
            DeviceLost: the device went away.
        """
        self._client, self._cpu = Client(adb_client.choose(self._serial)), None
        self.name = f"adb:{self._client.serial}"
        self.folder = Folder(self._client, f"{FOLDER}/edgeseg-{secrets.token_hex(6)}")
        self._pid = self.folder.path_of("pid")
        try:
            self._shell(f"mkdir {self.folder.path}", "its folder for programs cannot be written")
            self._tool = self._find_tool()
        except BaseException:  # Ctrl-C too: __exit__ is not called for what fails in here
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop what still runs there and remove what was put there."""
        self._remove()

    def put(self, path: Path, digest: str) -> str:
        """Copy a file; see ``Device.put``.

        Raises:
            InputError: the file is no ``.tflite``, or leaves its input size open.
            DeviceLost: the device went away.
        """
        if path.suffix.lower() != ".tflite":
            raise InputError(
                f"'{path}' cannot be used over adb: benchmark_model runs .tflite files, and times inference alone."
            )
        if has_open_size(path.read_bytes()):
            raise InputError(
                f"'{path}' leaves its input size open: over adb benchmark_model would run it on one pixel. "
                "Convert the model at a fixed size (edgeseg export --imgsz H,W)."
            )
        return self.folder.put(path, digest, ".tflite")

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        before = self._describe()
        text, accelerator = self.execute(request)
        try:
            measured = benchmark_model.parse(text, accelerator)
        except (BackendUnavailable, InputError) as error:
            raise type(error)(f"{self.name}: {error}") from error
        after = self._describe()
        versions = {"benchmark_model": f"sha256:{self._tool.digest[:12]}"}
        reply = {
            "runtime": self.runtime,
            "environment": asdict(before.environment(self.name, after, versions)),
            "warnings": after.warnings(),
            **vars(measured),
        }
        try:
            return convert(reply, Reply)
        except WrongValue as error:
            raise DeviceLost(f"what device '{self._client.serial}' reports cannot be right: {error}.") from error

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        """See ``ProofDevice.answers``; each run is a process of the tool, see ``tool_backend``."""
        read = read_proof(proof)
        with contextlib.closing(ToolBackend(artifact, options, self)) as opened:
            return answer_proof(opened, read, order)

    def value(self, artifact: Path, options: Mapping[str, Any], tensor: NDArray[Any], *, runs: int = 1) -> NDArray[Any]:
        """See ``ProofDevice.value``."""
        with contextlib.closing(ToolBackend(artifact, options, self)) as opened:
            output, info = opened.run_several(tensor, runs), opened.outputs[0]
            return dequantized(output, info.scale, info.zero_point)

    def op_times(self, artifact: Path, options: Mapping[str, Any], *, num_runs: int = 50) -> tuple[OpTime, ...]:
        """Return how long each op takes, the slowest first; see ``op_profile.op_times``."""
        return op_times(self, artifact, options, num_runs=num_runs)

    def half_arithmetic(self, content: bytes, precision: Precision, options: Mapping[str, Any]) -> bool | None:
        """See ``tool_backend.Link``: a file asks for it, or ``half_precision`` does, which ``no`` does not undo."""
        if options.get("delegate") or options.get("accelerator") not in (None, "cpu"):
            return None
        if precision in INTEGERS:  # half precision is of float models
            return False
        if self._half:
            return True
        if not HalfArithmetic.of(content).asked:
            return False
        if self._cpu is None:
            self._cpu = self._describe().cpu
        return self._cpu.native_half

    @property
    def runtime(self) -> str:
        """Whose tool it is, which build, and the precision that was asked for."""
        precision = {None: "", True: ", half precision", False: ", single precision"}[self._half]
        return self._tool.name + precision

    def execute(self, request: Request, more: Mapping[str, object] | None = None) -> tuple[str, str]:
        """Run the tool.

        Args:
            request: what it runs, and how often.
            more: flags and their values, of those that TensorFlow Lite's tool alone has.

        Returns:
            What it prints, and what runs the model: ``cpu``, an accelerator's name or a delegate's.

        Raises:
            InputError: the tool refuses the model or a setting.
            BackendUnavailable: this tool lacks a flag.
            DeviceLost: the device went away, or the tool died.
        """
        options = request.options
        flags = {**(more or {}), **benchmark_model.precision_flags(self._half, options)}
        delegate = self._delegate(options["delegate"]) if options.get("delegate") else None
        try:
            command = shlex.join(self._tool.command(request, delegate, flags))
        except BackendUnavailable as error:
            raise BackendUnavailable(f"{self.name}: {error}") from error
        if delegate is not None:
            # A chip maker's delegate loads further libraries from its own folder, by name.
            command = f"LD_LIBRARY_PATH={shlex.quote(delegate.rpartition('/')[0])} {command}"
        answer = self._client.shell(
            f"sh -c {shlex.quote(f'echo $$ >{self._pid}; cd {self.folder.path}; {_exec(command)}')}; s=$?; "
            f"rm -f {self._pid}; exit $s",
            timeout_s=longest_s(request),
        )
        if answer.status:
            self._refuse(answer, request)
        accelerator = str(options.get("accelerator") or "cpu") if delegate is None else delegate.rpartition("/")[2]
        return answer.text, accelerator

    def _find_tool(self) -> Tool:
        path = self._on_device(self._asked_tool, ".bin")
        if path is None:
            raise BackendUnavailable(
                f"there is no benchmark_model '{self._asked_tool}', neither here nor on device "
                f"'{self._client.serial}' ({escaped(self._describe().abi)}); give one with `benchmark_model='FILE'`. "
                f"For arm64-v8a it can be had at {benchmark_model.WHERE}."
            )
        if path != self._asked_tool:
            self._shell(f"chmod 755 {path}", "the tool cannot be made executable")
        usage = self._client.shell(f"{shlex.quote(path)} --help")  # it exits as if it had failed, by intention
        flags = benchmark_model.known_flags(usage.text)
        if "graph" not in flags:
            raise BackendUnavailable(
                f"'{self._asked_tool}' is no benchmark_model that runs on device '{self._client.serial}' "
                f"({escaped(self._describe().abi)}): {last_line(usage.text)}"
            )
        said = self._client.shell(f"sha256sum {shlex.quote(path)}").text
        digest = re.match(r"\\?([0-9a-f]{64})\b", said)  # a backslash: the path has characters that are escaped
        if digest is None:
            raise BackendUnavailable(
                f"device '{self._client.serial}' does not say the SHA-256 of '{self._asked_tool}': {last_line(said)}"
            )
        return Tool(path, flags, digest[1])

    def _delegate(self, text: str) -> str:
        path = self._on_device(text, ".so")
        if path is None:
            raise InputError(
                f"delegate '{text}' is neither a file of this computer nor an absolute path on device "
                f"'{self._client.serial}'."
            )
        return path

    def _on_device(self, text: str, suffix: str) -> str | None:
        """Return the path there: a file of this computer is copied, an absolute path may be one of the device."""
        if Path(text).is_file():
            return self.folder.put(Path(text), sha256(Path(text).read_bytes()), suffix)
        if text.startswith("/") and not self._client.shell(f"test -f {shlex.quote(text)}").status:
            return text
        return None

    def _describe(self) -> android.Description:
        return android.Description.read(self._client.shell(android.SCRIPT).text)

    def _shell(self, script: str, otherwise: str) -> None:
        answer = self._client.shell(script)
        if answer.status:
            raise InputError(f"device '{self._client.serial}': {otherwise}: {last_line(answer.text)}")

    def _refuse(self, answer: adb_client.Answer, request: Request) -> None:
        """Raise the error of a failed run: the tool's own refusal, or its death."""
        last = last_line(answer.text.replace("ERROR: Benchmarking failed.", ""))
        if 128 < answer.status <= 128 + 64:  # as a shell says that a signal ended it; 255 is adb's own
            name = signal_name(answer.status - 128)
            raise DeviceLost(f"benchmark_model was killed by {name} on '{self.name}'; its last line: {last}")
        raise InputError(f"benchmark_model cannot run '{self.folder.source_of(request.path)}' on '{self.name}': {last}")

    def _remove(self) -> None:
        """Kill the tool if it runs and remove the folder; log what stays there."""
        try:
            if adb_client.attached().get(self._client.serial) == "device":
                kill = f"if [ -f {self._pid} ]; then kill -9 $(cat {self._pid}); fi"
                if not self._client.shell(f"{kill}; rm -rf {self.folder.path}").status:
                    return
            why = "it is not attached any more"
        except EdgesegError as error:
            why = str(error)
        _log.warning("what was put on device '%s' stays there, %s: %s", self._client.serial, self.folder.path, why)


def _exec(command: str) -> str:
    """Return the command that replaces its shell, with variables before it: its process has the id that was noted."""
    return f"exec env {command}" if "=" in command.split()[0] else f"exec {command}"
