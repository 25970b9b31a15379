"""Measure the live loop of edgeseg web in a Chromium whose camera is a file: frames a second, inference, age.

    python benchmarks/browser_live.py tests/data/saved.int8.tflite --camera bikes.mp4

The camera gives 30 frames a second, the first 50 of a video again and again. In turns, frames come from the camera's
track and, as in browsers without MediaStreamTrackProcessor, when the display shows them. The age is from the camera's
clock to the end of drawing. The command above takes a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import _shared
import cv2
import numpy as np

from edgeseg.models.packaged_files import find_file
from edgeseg.sources import frames
from edgeseg.web.server import WebServer
from edgeseg.web.site import Site

#: What each side is; the second has the track's frames taken from it.
SIDES = {"track": "1", "display": "delete globalThis.MediaStreamTrackProcessor"}
NAMES = ("fps", "inference", "age")

# What is on the page, each time that a number changes.
WATCH = """(() => {
    globalThis.rows = [];
    const read = () => ["fps", "inference", "age"].map((name) => parseFloat(document.getElementById(name).textContent));
    new MutationObserver(() => rows.push(read())).observe(document.getElementById("age"), {childList: true});
})()"""


def browser_of_tests() -> Any:
    """Return the class of the tests that speaks the DevTools protocol."""
    path = Path(__file__).parents[1] / "tests" / "edgeseg" / "conftest.py"
    spec = importlib.util.spec_from_file_location("edgeseg_tests_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Browser


def live(artifact: Path, camera: Path, side: str, seconds: float) -> dict[str, float]:
    """Return the median of each number over some seconds, with one thread."""
    flags = ["--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with tempfile.TemporaryDirectory() as folder, WebServer(Site.of([artifact]), port=0) as server:
        images = (frame.image_rgb for frame in islice(frames([str(camera)]), 50))
        motion = write_motion_jpeg(images, Path(folder) / "camera.mjpeg")
        profile = Path(folder) / "profile"
        browser = browser_of_tests()(chromium(), profile, *flags, f"--use-file-for-fake-video-capture={motion}")
        try:
            browser("Page.navigate", url=server.url)
            wait(browser, "document.getElementById('state')?.textContent === 'Ready'")
            browser.run(SIDES[side])
            browser.run(
                "(() => { const each = document.getElementById('threads'); each.value = '1'; "
                "each.dispatchEvent(new Event('change')); })()"
            )
            wait(browser, "document.getElementById('ran').textContent.endsWith('1 thread')")
            browser.run("document.getElementById('camera').click()")
            wait(browser, "['fps', 'age'].every((name) => document.getElementById(name).textContent !== '-')")
            time.sleep(1.0)
            browser.run(WATCH)
            time.sleep(seconds)
            rows = browser.run("rows")
        finally:
            browser.close()
    return {name: statistics.median(column) for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)}


def chromium() -> str:
    """Return the browser's program, or end with the command that installs it."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no chromium on the PATH: apt install chromium")
    return program


def write_motion_jpeg(images_rgb: Iterable[np.ndarray], path: Path) -> Path:
    """Write images as a browser's camera takes them."""
    with path.open("wb") as file:
        for image in images_rgb:
            file.write(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    return path


def wait(browser: Any, condition: str) -> None:
    """Wait until an expression of the page is true."""
    end = time.monotonic() + 60
    while not browser.evaluate(condition):
        if time.monotonic() > end:
            raise SystemExit(f"the page does not come to {condition}")
        time.sleep(0.05)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=find_file)
    parser.add_argument("--camera", type=Path, required=True, help="a video file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    print("| file | frames from | frames a second | inference ms | age ms | 1.2 inferences + 10 ms |")
    print("|---|---|---:|---:|---:|---:|")
    results = []
    for artifact in arguments.artifacts:
        rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(arguments.rounds):
            for side in SIDES:
                rounds[side].append(live(artifact, arguments.camera, side, arguments.seconds))
        for side, each in rounds.items():
            fps, inference, age = (statistics.median(one[name] for one in each) for name in NAMES)
            print(
                f"| {artifact.name} | {side} | {fps:.1f} | {inference:.1f} | {age:.0f} | {1.2 * inference + 10:.0f} |"
            )
            results.append({"artifact": artifact.name, "side": side, "rounds": each})
    if arguments.output is not None:
        _shared.write_json(arguments.output, _shared.environment(), results)


if __name__ == "__main__":
    main()
