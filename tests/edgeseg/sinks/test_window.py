"""The window, in a process of its own: a real X server without a monitor, real keys, a screenshot."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.sinks import Window

SCREEN_WH = (800, 600)
TITLE = "edgeseg test"


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    missing = [program for program in ("Xvfb", "openbox", "xdotool") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}: no screen for a window")
    reader, writer = os.pipe()
    size = f"{SCREEN_WH[0]}x{SCREEN_WH[1]}x24"
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", size, "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as numbers:
        name = f":{numbers.readline().strip()}"
    # As on every desktop: without a window manager Qt takes 1 window in 20 for covered and never paints it.
    manager = subprocess.Popen(["openbox"], env={**os.environ, "DISPLAY": name}, stderr=subprocess.DEVNULL)
    yield name
    for process in (manager, server):
        process.terminate()
        process.wait()


class Program:
    """A loop as the camera's: a frame, then what the user did, which it prints; until "q" or "closed"."""

    def __init__(self, scene: Any, display: str, size_hw: tuple[int, int], folder: Path, **environment: str) -> None:
        np.save(folder / "frame.npy", scene.frame(*size_hw))
        code = f"""
import time
import numpy as np
from edgeseg.sinks import Window
window, frame = Window({TITLE!r}), np.load({str(folder / "frame.npy")!r})
while True:
    window.write(frame, "")
    key = window.poll()
    if key:
        print(key, flush=True)
    if key in ("q", "closed"):
        break
    time.sleep(0.05)
window.write(frame, "")
window.close()
window.close()
print("ended")
"""
        self.environment = {**os.environ, "DISPLAY": display, **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_the_window(self) -> None:
        self.tell("search", "--sync", "--onlyvisible", "--name", TITLE)

    def tell(self, *command: str) -> str:
        done = subprocess.run(["xdotool", *command], env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def screenshot(self, ffmpeg: Path, to: Path) -> np.ndarray:
        """The whole screen, BGR, once something is drawn on its black."""
        grab = f"-loglevel error -f x11grab -draw_mouse 0 -i {self.environment['DISPLAY']} -frames:v 1 -y"
        end = time.monotonic() + 15
        while time.monotonic() < end:
            subprocess.run([str(ffmpeg), *grab.split(), str(to)], check=True, env=self.environment)
            image = cv2.imread(str(to))
            assert image is not None
            if image.max() > 100:
                break
        return image

    def ended(self) -> tuple[list[str], str]:
        """Lines it printed, and its stderr."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out.split(), err


def press_close_button(display: str, window: int) -> None:
    """Send what a desktop sends for the button in a window's bar; there is no desktop here."""

    class Message(ctypes.Structure):
        _fields_ = (
            *[("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int)],
            *[("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong)],
            *[("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("padding", ctypes.c_long * 24)],
        )

    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    x11.XInternAtom.restype = ctypes.c_ulong
    protocols, delete = (x11.XInternAtom(connection, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    client_message = 33
    message = Message(client_message, 0, 1, connection, window, protocols, 32, (delete, 0, 0, 0, 0))
    assert x11.XSendEvent(connection, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
    x11.XCloseDisplay(connection)


@pytest.fixture
def start(display: str, scene: Any, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts a program on the screen; it is gone when the test is."""
    started: list[Program] = []

    def start(size_hw: tuple[int, int], **environment: str) -> Program:
        started.append(Program(scene, display, size_hw, tmp_path, **environment))
        started[-1].wait_for_the_window()
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize("size_hw", [(1080, 1920), (240, 320)])
def test_a_frame_is_seen_whole_and_keys_arrive(
    start: Callable[..., Program], scene: Any, tmp_path: Path, ffmpeg_folder: Path, size_hw: tuple[int, int]
) -> None:
    # What a Wayland desktop sets: OpenCV's Qt has no such platform, and would abort.
    program = start(size_hw, QT_QPA_PLATFORM="wayland", XDG_SESSION_TYPE="wayland")
    shot = program.screenshot(ffmpeg_folder / "ffmpeg", tmp_path / "shot.png")
    assert shot.shape == (*SCREEN_WH[::-1], 3)
    left, top, width, height = scene.where(shot)
    scene.assert_in(shot[top : top + height, left : left + width])
    if size_hw == (240, 320):
        assert (width, height) == (320, 240)  # pixel by pixel where there is room
    else:
        assert width == pytest.approx(0.85 * SCREEN_WH[0], abs=2)  # all of it, with room for the desktop's bars
        assert width / height == pytest.approx(16 / 9, rel=0.01)
    program.tell("search", "--name", TITLE, "windowfocus", "--sync")
    program.tell("key", "--delay", "300", "space", "p", "Left", "Escape", "q")
    lines, noise = program.ended()
    assert lines == ["space", "p", "escape", "q", "ended"]
    assert noise == ""


def test_a_window_that_the_user_closes_says_so(display: str, start: Callable[..., Program]) -> None:
    program = start((240, 320))
    press_close_button(display, int(program.tell("search", "--name", TITLE)))
    lines, noise = program.ended()
    assert lines == ["closed", "ended"]
    assert noise == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "DISPLAY is not set;"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "DISPLAY is not set; on Wayland it needs XWayland"),
        ({"DISPLAY": ":4711"}, "the X server at DISPLAY=:4711 does not answer"),
    ],
)
def test_without_a_screen_it_is_one_line_and_no_abort(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], why: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=why) as caught:
        Window("edgeseg")
    assert "use `MjpegServer`" in str(caught.value)
    assert "MjpegServer" in str(caught.value)


def test_an_opencv_without_windows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    with pytest.raises(InputError, match="this is opencv-python-headless"):
        Window("edgeseg")


def test_another_thread_is_refused() -> None:
    caught: list[Exception] = []

    def elsewhere() -> None:
        with pytest.raises(InputError, match="main thread only") as error:
            Window("edgeseg")
        caught.append(error.value)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 1
