"""Measure and verify on a board over ssh.

It needs sshd and Python 3.10: edgeseg brings the rest and removes artifacts again.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from numpy.typing import NDArray

from edgeseg._internal import versions
from edgeseg._internal.files import sha256
from edgeseg._internal.json import WrongValue
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.limits.pairs import WEIGHTS, split, weights_path
from edgeseg._internal.text import escaped, last_line
from edgeseg.benchmark.devices.ssh_answers import MAX_WORK_BYTES, Checked, Done, Hello, Installed, Stored, Worked
from edgeseg.benchmark.devices.ssh_link import SOON_S, Link
from edgeseg.benchmark.worker import Reply, Request, longest_s
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.proof.answering import npy_bytes
from edgeseg.proof.device import WORKER
from edgeseg.proof.questions import Answers, Questions
from edgeseg.proof.worker import LONGEST_S, ValueRequest, read_answers, read_value
from edgeseg.runtime.process.child import how_it_ended

_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

#: What stays on the device at the end.
Keep = Literal["nothing", "environment", "everything"]

#: Artifacts that ``keep="everything"`` leaves on a device take no more than this; those unused for longest go first.
CACHE_BYTES = 2 << 30

DEFAULT_FOLDER = "~/.cache/edgeseg/bench"

#: Module to its pip package, with the lower bounds of edgeseg's own dependencies. A board has no libGL: headless.
_ALWAYS = {"numpy": "numpy>=1.23.2", "cv2": "opencv-python-headless>=4.11", "msgspec": "msgspec>=0.22"}
_RUNTIMES = {
    ".tflite": {"ai_edge_litert.interpreter": "ai-edge-litert>=2.3"},
    ".onnx": {"onnxruntime": "onnxruntime>=1.20"},
    ".mnn": {"MNN": "MNN>=3.6"},
    ".xml": {"openvino": "openvino>=2026.4"},
}
# This runs a .tflite where ai-edge-litert has no wheels; it is used if installed, never installed.
_ELSE = {"ai_edge_litert.interpreter>=2.3": "tflite_runtime.interpreter"}
#: Seconds to copy a file of gigabytes over a slow WLAN, and to install wheels or build an environment on a small board.
_HOUR_S = 3600.0

_NO_NETWORK = "NewConnectionError|name resolution|Network is unreachable|ConnectTimeout|ProxyError|ReadTimeout|SSLError"


class SshDevice:
    """Measures on another machine, in processes of its Python.

    A Python there that has everything the artifact needs is used as it is; otherwise edgeseg makes an environment
    beside its artifacts. The code that measures is always the one that runs here, copied along under its hash.

    Args:
        host: as in ``ssh HOST``: a ``Host`` of the user's ssh config, a name, ``user@name``.
        environment: folder on the device for all that edgeseg puts there; ``~/.cache/edgeseg/bench`` when ``None``.
        python: interpreter on the device, a name or a path; ``python3`` when ``None``.
        keep: what stays there at the end: the environment, the artifacts too (for the next time, at most 2 GiB), or
            nothing.
        options: more options of ``ssh``, such as ``("-F", "config")``; those of the environment variable
            ``EDGESEG_SSH_OPTIONS`` when ``None``.

    Raises:
        InputError: ``host`` is not a host name.
        BackendUnavailable: there is no ``ssh`` here.
    """

    def __init__(
        self,
        host: str,
        *,
        environment: str | None = None,
        python: str | None = None,
        keep: Keep = "environment",
        options: Sequence[str] | None = None,
    ) -> None:
        if options is None:
            options = shlex.split(os.environ.get("EDGESEG_SSH_OPTIONS", ""))
        self.name = f"ssh:{host}"
        self._host = host
        self._folder = environment or DEFAULT_FOLDER
        self._base = python or "python3"
        self._keep = keep
        self._link = Link(host, python=self._base, options=options)
        self._root = self._code = self._venv = self._about = ""
        self._names: list[str] = []
        self._local: dict[str, str] = {}
        self._pythons: dict[str, str] = {}

    def __enter__(self) -> SshDevice:
        """Connect and copy edgeseg's code.

        Raises:
            BackendUnavailable: there is no Python there, or one older than 3.10.
            DeviceLost: there is no connection, or no free space; the text says why.
        """
        self._names, self._pythons = [], {}
        try:
            self._link.open()
            files = _code()
            digest = sha256(b"".join(name.encode() + data for name, data in files.items()))
            about = self._link.ask("hello", Hello, root=self._folder, code=digest[:16])
            self._root, self._code, self._venv = about.root, about.code, about.venv
            self._about = f"Python {about.python} on {about.machine}"
            if not about.have:
                packed = _packed(files)
                archive = self._put(packed, f"{digest}.zip", sha256(packed))
                self._link.ask("unpack", Done, archive=archive, code=self._code)
        except BaseException as error:  # __exit__ is not called then, after Ctrl-C neither
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Tidy up if the connection still works; end it."""
        try:
            if self._root and not self._link.lost:
                keep = self._keep == "everything"
                self._link.ask(
                    "tidy",
                    Done,
                    root=self._root,
                    names=[] if keep else self._names,
                    limit=CACHE_BYTES,
                    code=self._code,
                    everything=self._keep == "nothing",
                )
        except (DeviceLost, BackendUnavailable) as failed:  # the measurements are kept
            _log.warning("%s could not be tidied up: %s", self.name, failed)
        finally:
            self._root = ""
            self._link.close()

    def put(self, path: Path, digest: str) -> str:
        """Copy a file, and make sure that a Python there can run it.

        Raises:
            InputError: edgeseg can bring nothing to a device that runs such a file.
            BackendUnavailable: the device cannot get the packages that run it; the text says what to do by hand.
            DeviceLost: the connection broke, or there is no free space.
        """
        suffix = path.suffix.lower()
        if suffix in _RUNTIMES:
            self._prepare(suffix)
        elif suffix in (".keras", ".h5"):
            raise InputError(f"'{path}' is a Keras model; what runs on {self.name} is what it is exported to.")
        if weights_path(path) is None:
            there = self._put(path.read_bytes(), digest + suffix, digest)
        else:  # two files of one name
            graph, weights = split(ModelFile.read(path).data)
            self._put(weights, digest + WEIGHTS, sha256(weights))
            there = self._put(graph, digest + suffix, sha256(graph))
        self._local[there] = str(path)
        return there

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        return self._work("edgeseg.benchmark.worker", asdict(request), Reply.from_json, longest_s(request), "measured")

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        """See ``ProofDevice.answers``."""
        path, there = (self.put(file, sha256(ModelFile.read(file).data)) for file in (artifact, proof))
        questions = Questions(path=path, proof=there, options=dict(options), order=tuple(order))
        return self._work(WORKER, asdict(questions), read_answers, LONGEST_S, "verified")

    def value(self, artifact: Path, options: Mapping[str, Any], tensor: NDArray[Any], *, runs: int = 1) -> NDArray[Any]:
        """See ``ProofDevice.value``."""
        data = npy_bytes(tensor)
        path, digest = self.put(artifact, sha256(ModelFile.read(artifact).data)), sha256(data)
        there = self._put(data, f"{digest}.npy", digest)
        request = ValueRequest(path=path, tensor=there, options=dict(options), runs=runs)
        return self._work(WORKER, asdict(request), lambda text: read_value(text).array(), LONGEST_S, "ran")

    def _work(
        self, module: str, request: dict[str, Any], read: Callable[[str], _Answer], timeout_s: float, doing: str
    ) -> _Answer:
        """Run a request to a worker there, and read its answer."""
        suffix = Path(request["path"]).suffix
        python = self._pythons.get(suffix)
        if python is None:
            raise InputError(f"{self.name} runs .tflite, .onnx, .mnn and .xml files, not '{suffix}'.")
        answer = self._link.ask(
            "work",
            Worked,
            timeout_s=timeout_s + SOON_S,
            most_bytes=MAX_WORK_BYTES,
            python=python,
            code=self._code,
            module=module,
            request=json.dumps(request),
        )
        # The user's names for them: on the device their names are hashes.
        local = {there: name for there, name in self._local.items() if there in request.values()}
        name = local.get(request["path"], request["path"])
        if answer.status:
            ended = subprocess.CompletedProcess([python], answer.status, answer.stdout, answer.stderr)
            raise DeviceLost(f"the process that {doing} '{name}' on {self.name} ended early, {how_it_ended(ended)}.")
        try:
            return read(answer.stdout)
        except WrongValue as error:
            raise self._link.wrong("work", error) from error
        except (InputError, BackendUnavailable) as refusal:
            text = str(refusal)
            for there, here in local.items():
                text = text.replace(there, here)
            raise type(refusal)(f"{self.name}: {text}") from refusal

    def _put(self, data: bytes, name: str, digest: str) -> str:
        self._names.append(name)
        answer = self._link.ask("have", Stored, root=self._root, name=name, sha256=digest)
        if answer.path.replace("\\", "/").rpartition("/")[2] != name:
            raise self._link.wrong("have", WrongValue(f"'path' is '{escaped(answer.path)}'; accepted: that of {name}"))
        if not answer.have:
            size = len(data)
            self._link.ask(
                "put", Stored, upload=data, timeout_s=_HOUR_S, root=self._root, name=name, size=size, sha256=digest
            )
        return answer.path

    def _prepare(self, suffix: str) -> None:
        """Find or make a Python that can run such a file, once."""
        if suffix in self._pythons:
            return
        needed = _ALWAYS | _RUNTIMES[suffix]
        requirements = list(needed.values())
        modules = [f"{module}>={requirement.partition('>=')[2]}" for module, requirement in needed.items()]
        places = [("", modules), ("", [_ELSE.get(module, module) for module in modules])]
        for python, wanted in [*places, (self._venv, modules)] if self._venv else places:
            answer = self._link.ask("check", Checked, modules=wanted, python=python)
            if not answer.missing:
                self._pythons[suffix] = answer.python
                return
        _log.warning(
            "%s has no Python with all of %s: installing them in %s, once; this can take minutes",
            *(self.name, ", ".join(requirements), self._root),
        )
        installed = self._link.ask("install", Installed, timeout_s=_HOUR_S, root=self._root, requirements=requirements)
        if installed.failed:
            raise BackendUnavailable(self._why_not(installed, requirements))
        answer = self._link.ask("check", Checked, modules=modules, python=installed.python)
        if answer.missing:
            ended = subprocess.CompletedProcess([], answer.code, "", answer.text)
            lacking = dict(zip(modules, requirements, strict=True)).get(answer.missing, answer.missing)
            raise BackendUnavailable(
                f"'{lacking}' was installed on '{self._host}' but does not load there, {how_it_ended(ended)}."
            )
        self._pythons[suffix] = installed.python

    def _why_not(self, installed: Installed, requirements: list[str]) -> str:
        text = installed.text
        packages = " ".join(f"'{requirement}'" for requirement in requirements)
        by_hand = (
            f"By hand: pip install {packages} into a Python there, and name it in devices.toml: "
            'python = "/its/bin/python"'
        )
        start = f"'{self._host}' ({self._about}) has no Python with what is needed, and edgeseg could not make one: "
        if re.search("No space left|quota exceeded", text):
            return f"{start}its disk is full. Make room, or give another folder in devices.toml: environment"
        if installed.failed == "venv" and re.search("ensurepip|No module named venv", text):
            return f"{start}its python cannot make environments. On Debian: sudo apt install python3-venv. {by_hand}"
        if re.search(_NO_NETWORK, text):
            return f"{start}it does not reach its package index. {by_hand}"
        if none := re.search("No matching distribution found for ([^\\s(]+)", text):
            return f"{start}its package index has no wheel of {escaped(none[1])} for {self._about}. {by_hand}"
        return f"{start}{last_line(text or installed.failed).rstrip('.')}. {by_hand}"


def _code() -> dict[str, bytes]:
    """Return the edgeseg that runs here, under the version that it reports: name in an archive to content."""
    folder, version = Path(versions.__file__).parents[1], versions.__version__
    files = {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.py"))}
    about = f"Metadata-Version: 2.1\nName: edgeseg\nVersion: {version}\n"
    return {**files, f"edgeseg-{version}.dist-info/METADATA": about.encode()}


def _packed(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()
