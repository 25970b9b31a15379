"""Follow edgeseg's orders on a device that ssh reaches: the source of this file is sent along with every order.

It needs only the standard library, and nothing of edgeseg on the device. An order is a line of JSON on stdin, followed
by a file's content or by signs of life; the answer is a line of JSON after a marker, as a login shell may write to
stdout first. Every process that it starts ends with it: when stdin closes, or stays silent for long, no one is waiting
for the answer any more.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Seconds without a sign of life after which the other side counts as gone; it sends one every 5 s.
SILENCE_S = 20.0

_DAY_S = 86400.0
_PIECE = 1 << 16
_READY = "edgeseg-ready"  # a file in an environment that was installed completely
#: Imports ``module>=version``, one after the other, and prints each when it is there and new enough: the first that is
#: not printed is the one that fails.
_IMPORTS = """
import re, sys
for wanted in sys.argv[1:]:
    name, _, least = wanted.partition(">=")
    __import__(name)
    version = sys.modules[name.partition(".")[0]].__version__
    if [int(part) for part in re.findall("[0-9]+", version)] < [int(part) for part in least.split(".") if part]:
        sys.exit(name + " is " + version + ", " + least + " is needed")
    print(wanted)
"""


def hello(root: str, code: str) -> dict[str, Any]:
    """Make the folder and describe the device; remove half-written files of an earlier session that was cut off."""
    folder = Path(root).expanduser().absolute()
    for part in ("artifacts", "code"):
        (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (folder / part).glob(".part-*"):
            if time.time() - left.stat().st_mtime > _DAY_S:
                _remove(left)
    known = folder / "code" / code
    if found := known.is_dir():
        os.utime(known)  # ``tidy`` removes code that was not used for a day
    about = {"python": platform.python_version(), "machine": platform.machine()}
    venv = _venv(folder)
    python = str(venv / "bin" / "python") if (venv / _READY).exists() else ""
    return {"root": str(folder), "code": str(known), "have": found, "venv": python, **about}


def have(root: str, name: str, sha256: str) -> dict[str, Any]:
    """Return whether a file is there and has the right content."""
    path = Path(root) / "artifacts" / name
    exists = path.is_file() and _sha256(path) == sha256
    if exists:
        os.utime(path)  # ``tidy`` removes the files that were not used for longest
    return {"path": str(path), "have": exists}


def put(root: str, name: str, size: int, sha256: str) -> dict[str, Any]:
    """Write a file from stdin: under its name when it is complete and right, not at all otherwise."""
    path = Path(root) / "artifacts" / name
    handle, temporary = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            while size:
                alive = select.select([0], [], [], SILENCE_S)[0]
                piece = os.read(0, min(size, _PIECE)) if alive else b""
                if not piece:
                    raise OSError(None, "the connection ended in the middle of a file")
                file.write(piece)
                size -= len(piece)
            file.flush()
            os.fsync(file.fileno())
        if _sha256(Path(temporary)) != sha256:
            raise OSError(None, "the copy of the file on the device is not the file that was sent")
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return {"path": str(path)}


def unpack(archive: str, code: str) -> dict[str, Any]:
    """Unpack edgeseg's own code and compile it, so that no measurement has to."""
    folder = Path(code)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(temporary)
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(temporary)], check=False, stdout=2)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        Path(archive).unlink(missing_ok=True)
    return {}


def check(modules: list[str], python: str = "") -> dict[str, Any]:
    """Return the first ``module>=version`` that a Python lacks; in a separate process, as a wheel may die of SIGILL."""
    python = python or sys.executable
    code, out, err = _supervised([python, "-c", _IMPORTS, *modules])
    missing = [module for module in modules if module not in out.split()]
    return {"python": python, "missing": missing[0] if code else "", "code": code, "text": err[-2000:]}


def install(root: str, requirements: list[str]) -> dict[str, Any]:
    """Make an environment of edgeseg's own for this Python, or add to an existing one."""
    folder = _venv(Path(root))
    python, ready = folder / "bin" / "python", folder / _READY
    if not ready.exists():
        code, out, err = _supervised([sys.executable, "-m", "venv", "--clear", str(folder)], left=folder)
        if code:
            shutil.rmtree(folder, ignore_errors=True)
            return {"failed": "venv", "text": (out + err)[-4000:]}
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"]
    # pip's own five tries of 15 s for each package would keep a person waiting for minutes without a network
    code, out, err = _supervised(
        [*pip, "--retries", "1", *requirements], left=folder, env={**os.environ, "TMPDIR": root}
    )
    if code:
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
        return {"failed": "pip", "text": (out + err)[-4000:]}
    ready.touch()
    return {"python": str(python)}


def work(python: str, code: str, module: str, request: str) -> dict[str, Any]:
    """Run one request to a worker, with edgeseg's code and nothing else of the folder that it is started in."""
    status, out, err = _supervised([python, "-m", module], request, cwd=code, env={**os.environ, "PYTHONPATH": code})
    return {"status": status, "stdout": out, "stderr": err[-2000:]}


def tidy(root: str, names: list[str], limit: int, code: str, everything: bool) -> dict[str, Any]:
    """Remove the named artifacts, then those that were not used for longest until ``limit`` bytes are left."""
    folder = Path(root)
    for name in names:
        (folder / "artifacts" / name).unlink(missing_ok=True)
    files = sorted((folder / "artifacts").glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > limit:
            path.unlink()
    for path in (folder / "code").glob("[!.]*"):
        if str(path) != code and time.time() - path.stat().st_mtime > _DAY_S:
            _remove(path)  # another version of edgeseg that is not in use
    if everything:  # by name: the folder may contain other things
        for part in (folder / "artifacts", folder / "code", *folder.glob("venv-*")):
            _remove(part)
        if not any(folder.iterdir()):
            folder.rmdir()
    return {}


def _supervised(
    command: list[str],
    given: str = "",
    *,
    left: Path | None = None,
    cwd: str | None = None,
    env: dict[str, str] | None = None,
) -> tuple[int, str, str]:
    """Run to the end, or kill the process and all that it started once the other side is gone; then remove ``left``."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=env, start_new_session=True, text=True
    )

    def watch() -> None:
        while select.select([0], [], [], SILENCE_S)[0] and os.read(0, _PIECE):
            pass
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        if left is not None:
            shutil.rmtree(left, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    out, err = process.communicate(given)
    return process.returncode, out, err


def _venv(root: Path) -> Path:
    return root / "venv-{}.{}".format(*sys.version_info)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    """Follow one order."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:  # unbuffered: bytes after the line are not read with it
        order = json.loads(stdin.readline())
    marker = order.pop("marker")
    actions: dict[str, Callable[..., dict[str, Any]]] = {"hello": hello, "have": have, "put": put, "unpack": unpack}
    actions |= {"check": check, "install": install, "work": work, "tidy": tidy}
    try:
        answer = actions[order.pop("do")](**order)
    except OSError as error:
        file = os.fsencode(str(error.filename or order.get("root", "")))  # whose bytes may be no text
        answer = {"error": error.strerror or str(error), "file": file.decode(errors="replace")}
    sys.stdout.write(f"\n{marker}{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)  # the watching thread has nothing to keep alive


if __name__ == "__main__":
    main()
