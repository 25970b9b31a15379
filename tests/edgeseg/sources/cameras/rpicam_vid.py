"""Does what ``rpicam-vid`` does with the options that edgeseg gives it, without a camera.

By the sources of rpicam-apps (read 2026-11-30): raw frames in I420 of full range, whose rows are padded to 64 bytes, on
standard output; after each its metadata; the log of libcamera and its own on standard error; status 255 after an error.
A frame is blue (BGR 200, 40, 20) on the left, and gray on the right, by its number; its padding has other values.
``STAND_IN`` is JSON: ``frames`` until it fails, ``gives`` another size, ``old`` knows no metadata, ``none`` has no
camera, ``silent`` delivers nothing, ``leaves`` a process that ignores SIGTERM, ``most_fps`` is its sensor's, ``late``
lists frames whose metadata come 0.3 s after them, ``last_stamp`` is the last that has some; ``pid`` is a file for
process ids.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np


def fail(text):
    print(f"ERROR: *** {text} ***", file=sys.stderr)
    sys.exit(255)


def main():
    behavior = json.loads(os.environ.get("STAND_IN", "{}"))
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for name in ("timeout", "camera", "width", "height", "framerate", "codec", "output", "metadata", "metadata-format"):
        parser.add_argument(f"--{name}", required=name not in ("metadata", "metadata-format"))
    parser.add_argument("--nopreview", action="store_true", required=True)
    parser.add_argument("--flush", action="store_true", required=True)
    given = parser.parse_args()
    assert (given.timeout, given.codec, given.output) == ("0", "yuv420", "-")
    if behavior.get("old") and given.metadata:
        fail("unrecognised option '--metadata-format'")
    print("[0:24:11.415] [1047]  INFO Camera camera_manager.cpp:326 libcamera v0.5.1", file=sys.stderr)
    if behavior.get("none") or given.camera != "0":
        fail("no cameras available" if behavior.get("none") else "selected camera is not available")
    width, height = behavior.get("gives", (int(given.width), int(given.height)))
    print(
        f"[0:24:11.661] [1047]  INFO Camera camera.cpp:1202 configuring streams: (0) {width}x{height}-YUV420/sYCC "
        "(1) 1640x1232-BGGR_PISP_COMP1/RAW",
        file=sys.stderr,
        flush=True,
    )
    if "pid" in behavior:
        with open(behavior["pid"], "a") as file:
            file.write(f"{os.getpid()}\n")
            if behavior.get("leaves"):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                left = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                file.write(f"{left.pid}\n")
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
    metadata = open(given.metadata, "w") if given.metadata else None  # noqa: SIM115 - open to the end
    stride = (width + 63) // 64 * 64
    planes = [
        np.full((height, stride), 99, np.uint8),
        np.full((height // 2, stride // 2), 199, np.uint8),
        np.full((height // 2, stride // 2), 11, np.uint8),
    ]
    # JFIF's formulas: Y, Cb and Cr of the left color, and of gray.
    blue, green, red = 200, 40, 20
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    colors = (luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402)
    for plane, color, half in zip(planes, colors, (width, width // 2, width // 2), strict=True):
        plane[:, : half // 2] = round(color)
        plane[:, half // 2 : half] = 128
    fps = min(float(given.framerate), behavior.get("most_fps", 1000))
    started_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    number, tick = 0, -1  # of the sensor, which goes on where a board is too busy for a frame
    while True:
        if behavior.get("silent"):
            time.sleep(60)
        if number == behavior.get("frames", -1):
            fail("Device timeout detected, attempting a restart")
        tick = max(tick + 1, int((time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started_ns) / 1e9 * fps))
        due_ns = started_ns + round(1e9 * tick / fps)
        time.sleep(max(0.0, (due_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9))
        stamp = due_ns - 40_000_000
        planes[0][:, width // 2 : width] = 4 * number % 256
        for plane in planes:
            sys.stdout.buffer.write(plane.data)
        sys.stdout.buffer.flush()
        if number in behavior.get("late", ()):
            time.sleep(0.3)
        if metadata and number <= behavior.get("last_stamp", number):
            metadata.write(f"ExposureTime=9998\nSensorTimestamp={stamp}\nFocusFoM=112\n\n")
            metadata.flush()
        number += 1


main()
