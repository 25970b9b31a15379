"""Measure what the live loop costs in addition to the network: throughput, age of the frame, and the cost of Full HD.

    python benchmarks/camera_loop.py ARTIFACT CLIP.mp4 --output benchmarks/results/NAME.json

In turns, in one process and with the same threads, round after round:
- bare: only the runtime, on a tensor that is ready;
- file: ``Camera`` and ``Display`` on the clip as a file, every frame, an overlay with legend and status, no window;
- live: the clip in real time, where only the newest frame is processed; the age of the frame that is shown;
- 640x480 and 1920x1080: the same clip scaled and encoded to those sizes, every frame. The cost of Full HD is the
  difference in the whole loop's time per frame, with decoding; the sum of the stages outside inference is recorded too,
  each of which waits for cores that the network uses.
Ratios are taken within a round, whose sides are seconds apart, and are the medians over the rounds: a shared machine
switches between a fast and a slow state every few seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import _shared
import cv2

from edgeseg.camera import Camera
from edgeseg.camera.display import Display
from edgeseg.drawing.look import Look
from edgeseg.imaging import preprocess
from edgeseg.segmenter import Segmenter
from edgeseg.sources import open_source

SIZES = {"640x480": (640, 480), "1920x1080": (1920, 1080)}


def bare(segmenter: Segmenter, clip: Path, seconds: float) -> float:
    """Return the seconds of one run of the backend on the clip's first frame: a mean, like the loop's frame rate."""
    capture = cv2.VideoCapture(str(clip))
    _, image = capture.read()
    capture.release()
    tensor, _ = preprocess(image, segmenter.spec, order="bgr")
    latencies = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        segmenter.backend.run(tensor)
        latencies.append(time.perf_counter() - start)
    return statistics.mean(latencies)


def loop(segmenter: Segmenter, clip: Path, seconds: float, *, pace: bool = False) -> dict[str, Any]:
    """Run the camera loop on a clip and return its statistics, with the frames per second over the whole time."""
    start = time.perf_counter()
    with Camera(segmenter, open_source(str(clip), pace=pace, loop=True)) as camera:
        display = Display(camera=camera, spec=segmenter.spec, look=Look(legend=True, status=True))
        display.on_frame = lambda _: display.stop() if time.perf_counter() - start > seconds else None
        return display.run().to_dict()


def scaled(clip: Path, size_wh: tuple[int, int], folder: Path) -> Path:
    """Encode the clip at another size."""
    path = folder / f"{size_wh[0]}x{size_wh[1]}.mp4"
    capture = cv2.VideoCapture(str(clip))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size_wh)
    while True:
        more, image = capture.read()
        if not more:
            break
        writer.write(cv2.resize(image, size_wh))
    writer.release()
    capture.release()
    return path


def outside_inference_ms(stats: dict[str, Any]) -> float:
    """Return the milliseconds per frame outside the network: decode, preprocess, draw."""
    return sum(stats["stages_ms"][stage]["median"] for stage in ("capture", "preprocess", "render"))


def measure(artifact: Path, clip: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure all sides in turns."""
    bares, fpss, ages, files = [], [], [], []
    outside: dict[str, list[float]] = {name: [] for name in SIZES}
    periods: dict[str, list[float]] = {name: [] for name in SIZES}
    with tempfile.TemporaryDirectory() as folder, Segmenter(artifact, num_threads=_shared.THREADS) as segmenter:
        clips = {name: scaled(clip, size, Path(folder)) for name, size in SIZES.items()}
        bare(segmenter, clip, 2.0)  # to warm up
        for number in range(rounds):
            bares.append(bare(segmenter, clip, seconds))
            files.append(loop(segmenter, clip, seconds))
            fpss.append(files[-1]["fps"])
            live = loop(segmenter, clip, seconds, pace=True)
            ages.append(live["age_ms"]["median"])
            for name, path in clips.items():
                run = loop(segmenter, path, seconds)
                outside[name].append(outside_inference_ms(run))
                periods[name].append(1e3 / run["fps"])
            print(
                f"round {number + 1}: bare {1 / bares[-1]:.1f}/s, file {fpss[-1]:.1f}/s ({fpss[-1] * bares[-1]:.3f}), "
                f"live age {ages[-1]:.1f} ms ({ages[-1] / bares[-1] / 1e3:.2f} inferences), "
                + ", ".join(
                    f"{name} {periods[name][-1]:.1f} ms a frame, {outside[name][-1]:.1f} outside" for name in SIZES
                ),
                flush=True,
            )
        runtime = segmenter.backend.runtime
    bare_s = statistics.median(bares)
    extra = [big - small for small, big in zip(periods["640x480"], periods["1920x1080"], strict=True)]
    return {
        "artifact": artifact.name,
        "runtime": runtime,
        "bare_ms": bare_s * 1e3,
        "file_fps": statistics.median(fpss),
        "throughput_share": statistics.median(f * b for f, b in zip(fpss, bares, strict=True)),
        "live_age_ms": statistics.median(ages),
        "live_age_in_inferences": statistics.median(a / b / 1e3 for a, b in zip(ages, bares, strict=True)),
        "outside_inference_ms": {name: statistics.median(values) for name, values in outside.items()},
        "ms_a_frame": {name: statistics.median(values) for name, values in periods.items()},
        "full_hd_extra_ms": statistics.median(extra),
        "last_file_run": files[-1],
    }


def main() -> None:
    """Read the arguments, measure, print the result, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each side in each round")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    result = measure(args.artifact, args.clip, args.rounds, args.seconds)
    print(
        f"throughput {100 * result['throughput_share']:.1f} % of the bare runtime's, age of the live frame "
        f"{result['live_age_in_inferences']:.2f} inference times, Full HD {result['full_hd_extra_ms']:+.1f} ms a frame"
    )
    if args.output is not None:
        _shared.write_json(args.output, _shared.environment(), [result])


if __name__ == "__main__":
    main()
