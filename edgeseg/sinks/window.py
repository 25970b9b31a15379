"""Show frames in a window on the screen, and report the keys that are pressed in it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import InputError

_KEYS = {27: "escape", 32: "space", 13: "enter", 10: "enter", 9: "tab", 8: "backspace"}
#: Largest share of the screen that a window takes; the rest is for its frame and the desktop's bars.
_SCREEN_SHARE = 0.85
_SIZE_WH_WHEN_UNKNOWN = (1280, 720)


class Window:
    """Shows frames in a window that can be resized; it opens with the first frame, never larger than the screen.

    Use it from the main thread only, as the systems' own window libraries require.

    Args:
        title: shown in its bar; there is one window per title.

    Raises:
        InputError: there is no screen, this OpenCV has no windows, or this is not the main thread.
    """

    def __init__(self, title: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise InputError("a window works in the main thread only; open and use it there.")
        self._title = title
        self._screen_wh = _require_screen()
        self._open = False
        self.closed = False

    def write(self, image_bgr: NDArray[np.uint8], name: str) -> None:
        """Show a frame ``(h, w, 3)`` uint8 BGR; drawn by the time that ``poll`` returns."""
        if self.closed:
            return  # imshow would open a second window
        if not self._open:
            self._show_first(image_bgr)
        cv2.imshow(self._title, image_bgr)

    def poll(self) -> str | None:
        """Let the window draw, and return what the user did; call it once a frame, and while paused too.

        Returns:
            The key: a character in lower case, or ``"space"``, ``"escape"``, ``"enter"``, ``"tab"``,
            ``"backspace"``; ``"closed"`` once the user closed the window; None when there was nothing.
        """
        if self.closed:
            return "closed"
        if not self._open:
            return None
        # Of several keys since the last call OpenCV keeps one. Not waitKey(): it keeps 8 bits, and Left would be Q. The
        # modifiers are above the lowest 16.
        code = cv2.waitKeyEx(1) & 0xFFFF
        if not _is_visible(self._title):
            self.closed, self._open = True, False
            return "closed"
        if code in _KEYS:
            return _KEYS[code]
        return chr(code).lower() if 32 < code < 127 else None

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # the system closes it while events are handled
        self.closed = True

    def _show_first(self, image_bgr: NDArray[np.uint8]) -> None:
        _choose_qt_platform()
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise _no_window(f"OpenCV says: {error.err}") from error
        height, width = image_bgr.shape[:2]
        scale = min(1.0, self._screen_wh[0] / width, self._screen_wh[1] / height)
        cv2.resizeWindow(self._title, max(1, int(width * scale)), max(1, int(height * scale)))
        self._open = True


def _is_visible(title: str) -> bool:
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # OpenCV 5 on Qt, once the last window is closed
        return False


def _no_window(why: str) -> InputError:
    return InputError(f"no window can be opened: {why}; use `MjpegServer`, whose page any browser shows.")


def _require_screen() -> tuple[int, int]:
    """Return the pixels ``(width, height)`` that a window may take; ``InputError`` where none can be opened.

    This is checked before OpenCV is called: where Qt finds no screen, it aborts the process.
    """
    framework = cv2.currentUIFramework()
    if not framework:
        raise _no_window("this is opencv-python-headless")
    size_wh: tuple[int, int] | None = None
    if sys.platform == "win32":
        metrics = ctypes.windll.user32.GetSystemMetrics
        size_wh = (metrics(0), metrics(1))
    elif sys.platform.startswith("linux"):
        if not os.environ.get("DISPLAY") and (framework.startswith("QT") or not os.environ.get("WAYLAND_DISPLAY")):
            wayland = "; on Wayland it needs XWayland" if os.environ.get("WAYLAND_DISPLAY") else ""
            raise _no_window(f"DISPLAY is not set{wayland}")
        if os.environ.get("DISPLAY"):
            size_wh = _x11_screen_wh()
            if size_wh is None and framework.startswith("QT"):
                raise _no_window(f"the X server at DISPLAY={os.environ['DISPLAY']} does not answer")
    if size_wh is None:
        return _SIZE_WH_WHEN_UNKNOWN
    return int(size_wh[0] * _SCREEN_SHARE), int(size_wh[1] * _SCREEN_SHARE)


def _x11_screen_wh() -> tuple[int, int] | None:
    """Return the size of the X server's screen in pixels, ``(width, height)``; None when there is no answer."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return None
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
    for function in (x11.XDefaultScreen, x11.XCloseDisplay):
        function.argtypes = [ctypes.c_void_p]
    for function in (x11.XDisplayWidth, x11.XDisplayHeight):
        function.argtypes = [ctypes.c_void_p, ctypes.c_int]
    display = x11.XOpenDisplay(None)
    if not display:
        return None
    screen = x11.XDefaultScreen(display)
    size_wh = (x11.XDisplayWidth(display, screen), x11.XDisplayHeight(display, screen))
    x11.XCloseDisplay(display)
    return size_wh


def _choose_qt_platform() -> None:
    """Select the one platform that OpenCV's own Qt has: a desktop's QT_QPA_PLATFORM=wayland would abort the process."""
    plugins = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms"
    if [path.name for path in plugins.glob("libq*.so")] == ["libqxcb.so"]:
        os.environ["QT_QPA_PLATFORM"] = "xcb"
