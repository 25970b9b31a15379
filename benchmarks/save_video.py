"""Measure what recording costs the camera loop: H.264 by FFmpeg's libraries beside OpenCV's MPEG-4, and its memory.

    python benchmarks/save_video.py ARTIFACT CLIP.mp4 --output benchmarks/results/NAME.json

In turns, in one process and with the same threads, round after round, every frame of the clip through ``Camera`` and
``Display``, an overlay with legend and status, no window:
- opencv: OpenCV reads the clip and writes MPEG-4 Part 2, as edgeseg does without PyAV;
- pyav: FFmpeg's libraries read the clip and write H.264, as ``--save x.mp4`` does;
- unsaved: FFmpeg's libraries read the clip, and nothing is written.
The time of a run has the opening and the closing of its files in it; CPU is the time of all its threads, which others
on the machine change little. Ratios are taken within a round, whose sides are seconds apart, and are the medians over
the rounds: a shared machine switches between a fast and a slow state every few seconds. Each round begins with another
side. Then one long recording, for the memory that it grows by.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import _shared

from edgeseg.camera import Camera
from edgeseg.camera.display import Display
from edgeseg.drawing.look import Look
from edgeseg.segmenter import Segmenter
from edgeseg.sinks import Sink, VideoFile
from edgeseg.sinks.opencv_video import OpenCvVideo
from edgeseg.sources import Source, open_source
from edgeseg.sources.files import Files
from edgeseg.sources.opencv import OpencvReel
from edgeseg.sources.video import Video

SIDES = ("opencv", "pyav", "unsaved")


def run(
    segmenter: Segmenter, source: Source, sinks: list[Sink], *, max_frames: int | None = None
) -> tuple[dict[str, Any], tuple[float, float]]:
    """Run the camera loop to its end; return its statistics, and wall and CPU ms a frame until all is closed."""
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    with Camera(segmenter, source) as camera:
        look = Look(legend=True, status=True)
        stats = Display(camera=camera, spec=segmenter.spec, look=look, sinks=sinks, max_frames=max_frames).run()
    wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
    return stats.to_dict(), (1e3 * wall_s / stats.shown, 1e3 * cpu_s / stats.shown)


def run_side(side: str, segmenter: Segmenter, clip: str, path: Path) -> tuple[float, float]:
    """Run the clip through a side; return wall and CPU milliseconds a frame."""
    path.unlink(missing_ok=True)
    if side != "opencv":
        source = open_source(clip)
        return run(segmenter, source, [VideoFile(path, fps=source.fps or 25)] if side == "pyav" else [])[1]
    first = Video(clip, reel=OpencvReel(clip, timeout_s=None, estimated=False))
    return run(segmenter, Files([clip], name=clip, first=first), [OpenCvVideo(path, fps=first.fps or 25)])[1]


def measure(artifact: Path, clip: str, rounds: int, num_frames: int) -> dict[str, Any]:
    """Measure all sides in turns, and then the memory of a recording of so many frames."""
    ms: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder, Segmenter(artifact, num_threads=_shared.THREADS) as segmenter:
        paths = {side: Path(folder) / f"{side}.mp4" for side in SIDES}
        run_side("unsaved", segmenter, clip, paths["unsaved"])  # to warm up
        for number in range(rounds):
            first = number % len(SIDES)
            for side in SIDES[first:] + SIDES[:first]:
                ms[side].append(run_side(side, segmenter, clip, paths[side]))
            said = (f"{side} {ms[side][-1][0]:.1f} ms, CPU {ms[side][-1][1]:.1f}" for side in SIDES)
            print(f"round {number + 1}: " + "; ".join(said), flush=True)
        source = open_source(clip, loop=True)
        long = VideoFile(Path(folder) / "long.mp4", fps=source.fps or 25)
        stats, _ = run(segmenter, source, [long], max_frames=num_frames)
        return {
            "artifact": artifact.name,
            "runtime": segmenter.backend.runtime,
            "rounds": rounds,
            "ms_a_frame": {side: statistics.median(wall for wall, _ in ms[side]) for side in SIDES},
            "cpu_ms_a_frame": {side: statistics.median(cpu for _, cpu in ms[side]) for side in SIDES},
            "pyav_over_opencv": _ratio(ms, 0),
            "pyav_over_opencv_cpu": _ratio(ms, 1),
            "bytes": {side: paths[side].stat().st_size for side in ("opencv", "pyav")},
            "long_recording": {"frames": stats["frames"], "memory_mb": stats["memory_mb"]},
        }


def _ratio(ms: dict[str, list[tuple[float, float]]], which: int) -> float:
    return statistics.median(a[which] / b[which] for a, b in zip(ms["pyav"], ms["opencv"], strict=True))


def main() -> None:
    """Read the arguments, measure, print the result, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("clip", help="a video with an end, and without sound")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=5000, help="of the long recording")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    result = measure(args.artifact, args.clip, args.rounds, args.frames)
    memory = result["long_recording"]["memory_mb"]
    print(
        "medians: "
        + "; ".join(
            f"{side} {result['ms_a_frame'][side]:.1f} ms a frame, CPU {result['cpu_ms_a_frame'][side]:.1f}"
            for side in SIDES
        )
        + f"; pyav/opencv {result['pyav_over_opencv']:.3f}, of CPU {result['pyav_over_opencv_cpu']:.3f}; "
        f"memory over {args.frames} frames "
        f"{memory['first']:.0f} MB after the first, {memory['last']:.0f} MB at the end"
    )
    if args.output is not None:
        _shared.write_json(args.output, _shared.environment(packages=["av", "opencv-python"]), [result])


if __name__ == "__main__":
    main()
