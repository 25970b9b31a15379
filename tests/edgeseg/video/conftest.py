"""Videos that ffmpeg makes, and ffmpeg's own decode of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

#: Six patches of 40x40 whose colors lie inside every matrix and range.
PATCHES = ("0xC80000", "0x00A000", "0x2030C8", "0x808080", "0xE0D020", "0x101010")


@pytest.fixture(scope="session")
def make(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a video of 120x80 with patches, 12 frames of 25 a second."""
    folder = tmp_path_factory.mktemp("videos")

    def write(name: str, *options: str, source: str = "") -> Path:
        path = folder / name
        if path.exists():
            return path
        patches = [f"color={color}:s=40x40:r=25:d=0.48[p{number}]" for number, color in enumerate(PATCHES)]
        layout = "0_0|40_0|80_0|0_40|40_40|80_40"
        inputs = "".join(f"[p{number}]" for number in range(6))
        graph = source or ";".join([*patches, f"{inputs}xstack=inputs=6:layout={layout}"])
        command = [ffmpeg, "-loglevel", "error", "-y", "-f", "lavfi", "-i", graph, *options, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "Unknown encoder" in done.stderr:
            pytest.skip(f"this ffmpeg cannot write {name}: {done.stderr.splitlines()[0]}")
        assert done.returncode == 0, done.stderr
        return path

    return write


@pytest.fixture(scope="session")
def ffmpeg_decode(ffmpeg: str) -> Callable[..., np.ndarray]:
    """A function that decodes a video with ffmpeg itself, upright and every frame: ``(n, h, w, 3)`` BGR."""

    def decode(path: Path, size_hw: tuple[int, int], *options: str) -> np.ndarray:
        raw = [*options, "-f", "rawvideo", "-pix_fmt", "bgr24", "-fps_mode", "passthrough", "-"]
        done = subprocess.run([ffmpeg, "-loglevel", "quiet", "-i", str(path), *raw], capture_output=True, check=False)
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, *size_hw, 3)

    return decode
