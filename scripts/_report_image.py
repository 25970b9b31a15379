"""Take the image of a report that README shows: export the packaged model in integers, cut a part of its page.

It is the verdict of the integer file and the bars of its classes. The times above are those of a busy machine, and
the images below are the data set's.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from browser_live import browser_of_tests, chromium, wait  # noqa: E402

WIDTH = 1000
EXPORT = ("export", "--precision", "int8", "--data")
#: The part: from the chapter of the integer file to the first that is not shown.
_START = "[...document.querySelectorAll('h2')].find((each) => each.textContent.startsWith('int8'))"
_END = "[...document.querySelectorAll('h3')].find((each) => each.textContent.startsWith('The images'))"


def export(data: Path, folder: Path) -> Path:
    """Export the packaged street model with a data set that verifies and calibrates, and return its report."""
    command = [sys.executable, "-m", "edgeseg", *EXPORT, str(data.absolute()), "--num-calibration-samples", "40"]
    subprocess.run(command, cwd=folder, check=True)
    return next(folder.glob("*.report.html"))


def image(report: Path, folder: Path) -> bytes:
    """Return that part of a report as a PNG."""
    browser = browser_of_tests()(chromium(), folder / "profile", "--disable-gpu", "--allow-file-access-from-files")
    try:
        browser("Emulation.setDeviceMetricsOverride", width=WIDTH, height=800, deviceScaleFactor=1, mobile=False)
        light = [{"name": "prefers-color-scheme", "value": "light"}]
        browser("Emulation.setEmulatedMedia", features=light)
        browser("Page.navigate", url=report.absolute().as_uri())
        wait(browser, f"document.readyState === 'complete' && !!({_END})")
        top, end = (browser.evaluate(f"({each}).getBoundingClientRect().top") for each in (_START, _END))
        clip = {"x": 0, "y": top, "width": WIDTH, "height": end - top - 12, "scale": 1}
        shot = browser("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])
    finally:
        browser.close()


def main() -> None:
    """Export where no report is given, and write the image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="CAMVID", help="labeled images, with which the report is made")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="one that is there, in place of --data")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    arguments = parser.parse_args()
    if (arguments.data is None) == (arguments.report is None):
        parser.error("give --data or --report")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = arguments.report or export(arguments.data, folder)
        arguments.output.write_bytes(image(report, folder))
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
