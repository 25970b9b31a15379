"""Kill exports and trainings at random moments, and check that every file is the old one or the new one, whole.

Half of the kills are at a random time, half within 4 ms after a random call that opens, renames or removes a file of
the folder: writing takes a small part of the time.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import Any

from fuzz.campaign import import_everything
from fuzz.seeds import forked, write_seeds

_SOON_S = 0.004
_SIZES = ("--imgsz", "32,48", "--batch-size", "2", "--samples", "0", "--epochs", "3")
_EXPORT = ("export", "--format", "tflite,onnx", "--no-verify", "--overwrite", "--output-dir", "out")
_TRAIN = ("train", "model.keras", "--data", "data", *_SIZES, "--output-dir", "run")


@dataclass(kw_only=True)
class Kills:
    """What came of the kills of one command.

    Attributes:
        kills: processes that were killed before their end.
        amid: those that left a temporary file or a lock.
        replaced: those after which a file was the new one.
        faults: what should not be.
    """

    kills: int = 0
    amid: int = 0
    replaced: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Kills) -> None:
        """Add those of another round."""
        self.kills += other.kills
        self.amid += other.amid
        self.replaced += other.replaced
        self.faults += other.faults


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its seconds, the calls that change files, and what the folder has after it."""

    seconds: float
    calls: int
    files: dict[str, bytes]


def kill(what: str, count: int, seed: int, processes: int, scratch: Path) -> Kills:
    """Kill a command so many times, each in a folder of its own.

    Args:
        what: ``export`` or ``train``.
        count: how many processes are to be killed; those that ended before do not count.
        seed: of the moments.
        processes: how many run at a time.
        scratch: an empty folder.
    """
    seeds = scratch / "seeds"
    forked(write_seeds, seeds)
    context, total = multiprocessing.get_context("fork"), Kills()
    with ProcessPoolExecutor(processes, context, import_everything) as pool:
        first = pool.submit(_whole_runs, what, seeds, scratch / "whole").result()
        number = 0
        while total.kills < count and number < 3 * count:
            batch = range(number, number + min(count - total.kills, 4 * processes))
            number = batch.stop
            rounds = [
                pool.submit(_ROUNDS[what], seeds, scratch / f"{what}{at}", first, random.Random(f"{seed} {what} {at}"))
                for at in batch
            ]
            for one in rounds:
                total.add(one.result())
            print(f"{what}: {total.kills} killed", file=sys.stderr)
    return total


def _whole_runs(what: str, seeds: Path, folder: Path) -> list[Whole]:
    if what == "train":
        return [_whole(seeds, folder, "run", _TRAIN)]
    runs = [_whole(seeds, folder / name, "out", (*_EXPORT[:1], f"{name}.keras", *_EXPORT[1:])) for name in _MODELS]
    again = _whole(seeds, folder / "again", "out", (*_EXPORT[:1], f"{_MODELS[0]}.keras", *_EXPORT[1:]))
    if again.files != runs[0].files or runs[0].files.keys() != runs[1].files.keys() or runs[0].files == runs[1].files:
        raise RuntimeError("two exports of one model differ, or those of two models do not")
    return runs


_MODELS = ("model", "other")


def _whole(seeds: Path, folder: Path, output: str, command: Sequence[str]) -> Whole:
    _new_folder(seeds, folder)
    start = time.monotonic()
    status, calls = _run(folder, output, command, None)
    seconds = time.monotonic() - start
    if status:
        raise RuntimeError(f"{' '.join(command)} ends with {status}: {(folder / 'said').read_text()[-1000:]}")
    return Whole(seconds, calls, _shown(folder / output))


def _export_round(seeds: Path, folder: Path, whole: list[Whole], rng: random.Random) -> Kills:
    old, new = rng.sample((0, 1), 2)
    _new_folder(seeds, folder)
    out = folder / "out"
    out.mkdir()
    for name, content in whole[old].files.items():
        (out / name).write_bytes(content)
    command = (*_EXPORT[:1], f"{_MODELS[new]}.keras", *_EXPORT[1:])
    status, _ = _run(folder, "out", command, _moment(whole[new], rng))
    result = Kills(kills=status is None, amid=bool(_hidden(out)))
    after = _shown(out)
    for name, content in whole[old].files.items():
        if after.get(name) not in (content, whole[new].files[name]):
            result.faults.append(f"{name} is neither the old file nor the new one")
    result.replaced = status is None and after != whole[old].files
    if rng.random() < 0.1:
        status, _ = _run(folder, "out", command, None)
        if status or _shown(out) != whole[new].files:
            result.faults.append(f"the next export ends with {status}, or its files are others")
    else:
        _run(folder, "out", ("compare", "base.json", "--format", "html", "--output", "out/page.html"), None)
    if left := _hidden(out):
        result.faults.append(f"the next run leaves {', '.join(left)}")
    return _finished(folder, result)


def _train_round(seeds: Path, folder: Path, whole: list[Whole], rng: random.Random) -> Kills:
    _new_folder(seeds, folder)
    run = folder / "run"
    status, _ = _run(folder, "run", _TRAIN, _moment(whole[0], rng))
    begun = (run / "last.keras").exists()
    result = Kills(kills=status is None, amid=bool(_hidden(run)), replaced=status is None and begun)
    status, _ = _run(folder, "run", (*_TRAIN, "--resume" if begun else "--overwrite"), None)
    if status:
        result.faults.append(f"the next run ends with {status}: {(folder / 'said').read_text()[-300:]}")
    elif _history(_shown(run)) != _history(whole[0].files):
        result.faults.append("the history of the resumed run is another one")
    elif _run(folder, "run", ("predict", "run/best.keras", "images/a.png", "--count"), None)[0]:
        result.faults.append("best.keras does not open")
    if left := _hidden(run):
        result.faults.append(f"the next run leaves {', '.join(left)}")
    return _finished(folder, result)


_ROUNDS: dict[str, Callable[[Path, Path, list[Whole], random.Random], Kills]] = {
    "export": _export_round,
    "train": _train_round,
}


#: What may be killed.
COMMANDS = tuple(_ROUNDS)


def _new_folder(seeds: Path, folder: Path) -> None:
    skipped = shutil.ignore_patterns("run", "videos", "*.h5")
    shutil.copytree(seeds, folder, ignore=skipped)


def _finished(folder: Path, result: Kills) -> Kills:
    if result.faults:
        result.faults = [f"{fault} ({folder})" for fault in result.faults]
    else:
        shutil.rmtree(folder)
    return result


def _history(files: dict[str, bytes]) -> list[dict[str, str]]:
    rows = csv.DictReader(files["history.csv"].decode().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def _shown(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def _hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*")) if folder.is_dir() else []


# ------------------------------------------------------------------------------------------------------------- killing


@dataclass(frozen=True)
class _Moment:
    """When to kill: after ``seconds`` from the start, or from a call that changes a file, by its number."""

    seconds: float
    call: int | None = None


def _moment(whole: Whole, rng: random.Random) -> _Moment:
    if rng.random() < 0.5:
        return _Moment(rng.uniform(0, whole.seconds))
    return _Moment(rng.uniform(0, _SOON_S), rng.randrange(whole.calls))


def _run(folder: Path, output: str, command: Sequence[str], moment: _Moment | None) -> tuple[int | None, int]:
    """Run a command in a forked process; return its status, ``None`` if it was killed, and the calls it made."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.chdir(folder)
            handle = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            calls = _Calls(str(folder / output), moment, writing)
            sys.addaudithook(calls.see)
            from edgeseg.cli import main

            status = main(command)
            sys.stdout.flush()
            os.write(writing, str(calls.count).encode())
            os._exit(status)
        finally:  # whatever it raised
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(writing)
    with open(reading, "rb", 0) as told:
        if moment is not None and _has_come(moment, told):
            os.kill(child, signal.SIGKILL)
        said = told.read().lstrip(_NOW)
    code = os.waitpid(child, 0)[1]
    return (None if os.WIFSIGNALED(code) else os.WEXITSTATUS(code)), int(said or 0)


def _has_come(moment: _Moment, told: RawIOBase) -> bool:
    """Wait for a moment; return False where the process ends before it."""
    if moment.call is None:
        return not select.select([told], [], [], moment.seconds)[0]
    if told.read(1) != _NOW:
        return False
    time.sleep(moment.seconds)
    return True


_NOW = b"!"


class _Calls:
    """Counts the calls that change files of a folder, and tells the other process of one of them."""

    def __init__(self, folder: str, moment: _Moment | None, told: int) -> None:
        self.count = 0
        self._folder, self._told = folder, told
        self._call = None if moment is None else moment.call

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove"):
            return
        if isinstance(arguments[0], int) or not str(Path(os.fsdecode(arguments[0])).absolute()).startswith(
            self._folder
        ):
            return
        if self._call == self.count:
            os.write(self._told, _NOW)
        self.count += 1
