"""Measure what hostile clients of the camera's page cost its loop: 200 of a kind, beside one that watches.

    python benchmarks/page_load.py --output benchmarks/results/NAME.json

The loop is ``Camera`` and ``Display`` on a live source of 100 frames a second, with a model that computes nothing and
the page as its sink, watched by one client that reads everything. In turns, round after round, it runs alone and with
200 clients of one kind in another process:
- silent: connect and send nothing;
- slow headers: a byte of a header that never ends, ten times a second;
- oversized: a header of 64 KiB;
- slow readers: ask for the stream and take a kilobyte of it ten times a second;
- never reading: ask for the stream and take nothing.
A client that the server ends connects again after a second. Ratios are taken within a round, whose sides are seconds
apart, and are the medians over the rounds. Threads and memory are the largest seen while the clients are there.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _shared
import numpy as np

from edgeseg.camera import Camera
from edgeseg.camera.display import Display
from edgeseg.runtime.null import NullBackend
from edgeseg.segmenter import Segmenter
from edgeseg.sinks import MjpegServer
from edgeseg.sources import Captured
from edgeseg.spec import ModelSpec

FPS = 100
CLIENTS = 200
STREAM = b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: Kind of client to what it sends first, what it sends ten times a second, and how many bytes it then takes.
KINDS: dict[str, tuple[bytes, bytes, int]] = {
    "silent": (b"", b"", 0),
    "slow headers": (b"GET / HTTP/1.1\r\nX: ", b"x", 0),
    "oversized": (b"GET / HTTP/1.1\r\nX: " + b"x" * (64 << 10), b"", 1024),
    "slow readers": (STREAM, b"", 1024),
    "never reading": (STREAM, b"", 0),
}


class Ticking:
    """A live source of one noisy frame of 640x480, 100 times a second."""

    live = True

    def __init__(self) -> None:
        self._image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        self._index = -1
        self._next = time.perf_counter()

    def read(self) -> Captured | None:
        """Wait for the next tick; ticks that were missed are lost."""
        now = time.perf_counter()
        missed = max(0, int((now - self._next) * FPS))
        self._index += 1 + missed
        self._next += (1 + missed) / FPS
        time.sleep(max(0.0, self._next - time.perf_counter()))
        return Captured(index=self._index, name="tick", image_bgr=self._image.copy(), captured_s=time.perf_counter())

    def close(self) -> None:
        """Do nothing."""


def attack(port: int, kind: str) -> None:
    """Be the clients of one kind, until this process is killed."""
    first, again, size = KINDS[kind]
    clients: list[socket.socket | None] = [None] * CLIENTS
    left = [0.0] * CLIENTS
    print("ready", flush=True)
    while True:
        for number, client in enumerate(clients):
            try:
                if client is None:
                    if time.monotonic() - left[number] < 1.0:
                        continue
                    client = clients[number] = socket.socket()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    client.connect(("127.0.0.1", port))
                    client.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        client.send(first)
                elif again:
                    client.send(again)
                with contextlib.suppress(BlockingIOError):
                    # A client that never reads learns that it was ended by looking, not by taking.
                    if not client.recv(size or 1, 0 if size else socket.MSG_PEEK):
                        raise ConnectionError
            except OSError:
                clients[number], left[number] = None, time.monotonic()
                if client is not None:
                    client.close()
        time.sleep(0.1)


@contextlib.contextmanager
def clients(port: int, kind: str | None) -> Iterator[None]:
    """Have clients of a kind in another process; none of ``None``."""
    if kind is None:
        yield
        return
    command = [sys.executable, __file__, "--attack", str(port), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)  # until they are connected
        yield
    finally:
        process.kill()
        process.communicate()


def watch(port: int) -> None:
    """Watch the page, and come back when the server ends it."""
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(STREAM)
                while client.recv(1 << 20):
                    pass
        except OSError:
            return


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run(kind: str | None, seconds: float) -> dict[str, float]:
    """Run the loop and return its frames a second, and the largest number of threads and size of the process."""
    palette = ((0, 0, 0), (0, 200, 80))
    spec = ModelSpec(name="null", input_size=(64, 64), class_names=("a", "b"), palette=palette)
    segmenter = Segmenter(NullBackend(spec, np.zeros((1, 64, 64, 2), np.float32)))
    server = MjpegServer(port=0)
    threading.Thread(target=watch, args=(server.port,), daemon=True).start()
    most = {"threads": 0, "rss_bytes": 0}
    with clients(server.port, kind), Camera(segmenter, Ticking()) as camera:
        display = Display(camera=camera, spec=spec, sinks=[server])
        count = 0
        start = time.perf_counter()

        def on_frame(_: object) -> None:
            nonlocal count
            count += 1
            most["threads"] = max(most["threads"], threading.active_count())
            most["rss_bytes"] = max(most["rss_bytes"], rss_bytes())
            if time.perf_counter() - start > seconds:
                display.stop()

        display.on_frame = on_frame
        display.run()
        fps = count / (time.perf_counter() - start)
    return {"fps": fps, **most}


def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure every kind beside the quiet loop, in turns."""
    quiet: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    loaded: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    run(None, 1.0)  # to warm up
    for number in range(rounds):
        for kind in KINDS:
            quiet[kind].append(run(None, seconds))
            loaded[kind].append(run(kind, seconds))
            print(
                f"round {number + 1}, {kind}: {quiet[kind][-1]['fps']:.1f} frames/s alone, "
                f"{loaded[kind][-1]['fps']:.1f} with {CLIENTS} clients",
                flush=True,
            )
    return [
        {
            "clients": f"{CLIENTS} {kind}",
            "alone_fps": statistics.median(side["fps"] for side in quiet[kind]),
            "fps": statistics.median(side["fps"] for side in loaded[kind]),
            "share": statistics.median(b["fps"] / a["fps"] for a, b in zip(quiet[kind], loaded[kind], strict=True)),
            "threads": max(side["threads"] for side in loaded[kind]),
            "alone_rss_mb": max(side["rss_bytes"] for side in quiet[kind]) / 1e6,
            "rss_mb": max(side["rss_bytes"] for side in loaded[kind]) / 1e6,
        }
        for kind in KINDS
    ]


def main() -> None:
    """Read the arguments, measure, print the result, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side in each round")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--attack", nargs=2, metavar=("PORT", "KIND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.attack:
        attack(int(args.attack[0]), args.attack[1])
    results = measure(args.rounds, args.seconds)
    for row in results:
        print(
            f"{row['clients']}: {100 * row['share']:.1f} % of the loop's rate alone, at most {row['threads']} threads, "
            f"{row['rss_mb']:.0f} MB ({row['alone_rss_mb']:.0f} MB alone)"
        )
    if args.output is not None:
        _shared.write_json(args.output, _shared.environment(), results)


if __name__ == "__main__":
    main()
