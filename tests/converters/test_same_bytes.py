"""The same model gives the same bytes, in every format and precision and in its proof (``exporter`` as a whole).

Two processes export it, with other hashes of strings, other addresses, and other models before it. A format whose
runtime is not installed has no rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from keras import layers

from edgeseg._internal.files import sha256
from edgeseg.imaging import encode_image
from edgeseg.models.opening import assumed_spec
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.images import collect, natural_noise
from edgeseg_converters.options import Quantization
from edgeseg_converters.recipes import _PRECISIONS


def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3), name="picture")
    x = layers.Conv2D(4, 3, 2, padding="same", name="first")(inputs)
    x = skip = layers.ReLU(name="rectified")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(6, 3, 2, padding="same", name="down", activation="relu")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Concatenate(name="joined")([skip, layers.Conv2D(4, 1, name="narrow")(x)])
    x = layers.Conv2D(3, 3, padding="same", name="out")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="whole")(x)
    return keras.Model(inputs, x, name="tiny")


folder, earlier = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(earlier):
    parts = [layers.Conv2D(3, 3, padding="same"), layers.UpSampling2D(2)]
    other = keras.Sequential([keras.Input((16, 16, 3)), *parts])
    list(export_all(other, assumed_spec("other", (16, 16), 3), [Recipe("tflite"), Recipe("onnx")]))
holes = [object() for _ in range(earlier * 100_001)][::2]
for seed in range(8):
    (folder / f"{seed}.png").write_bytes(encode_image(natural_noise(seed, (32, 32))))
packages = {"mnn": "MNN", "openvino": "openvino"}
formats = {f: p for f, p in _PRECISIONS.items() if f not in packages or find_spec(packages[f])}
recipes = [Recipe(f, p) for f, precisions in formats.items() for p in precisions]
few = [(f, p) for f in ("tflite", "onnx") for p in ("fp32", "int8")]
recipes = [one for one in recipes if sys.argv[3] == "all" or (one.format, one.precision) in few]
hashes = {}
results = export_all(
    model(), assumed_spec("tiny", (32, 32), 3), recipes,
    samples=collect(folder, split="val", count=2), quantization=Quantization(data=folder),
)
for result in results:
    assert not result.failure, (result.file_name, result.failure)
    hashes[result.file_name] = sha256(result.data)
    hashes[f"proof of {result.file_name}"] = sha256(result.proof().to_bytes())
print(json.dumps([len(recipes), hashes]))
"""


def _hashes(folder: Path, *, seed: str, earlier: int, which: str) -> tuple[int, dict[str, str]]:
    """Export in a process of its own; return how many recipes it had, and the hash of each file and proof."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), str(earlier), which],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stderr[-2000:])
    count, hashes = json.loads(done.stdout.splitlines()[-1])
    return count, hashes


@pytest.mark.parametrize(("which", "least"), [("few", 4), pytest.param("all", 8, marks=pytest.mark.slow)])
def test_two_processes_make_the_same_files(tmp_path: Path, which: str, least: int) -> None:
    # The proof has the name of the folder.
    count, first = _hashes(tmp_path / "first" / "images", seed="1", earlier=0, which=which)
    again, second = _hashes(tmp_path / "second" / "images", seed="2", earlier=1, which=which)
    assert count == again >= least
    assert len(first) == 2 * count
    assert {name for name in first if first[name] != second[name]} == set()
