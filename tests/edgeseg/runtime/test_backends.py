"""``edgeseg.runtime``, ``base``, ``keras``, ``litert``, ``onnx``, ``mnn.backend`` and ``openvino.backend``: every
backend on its real runtime: the same model, the same answer; and what each refuses.
"""

from __future__ import annotations

import functools
import sys
from contextlib import closing
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from edgeseg._internal import versions
from edgeseg._internal.versions import installed_version
from edgeseg.benchmark.worker import Request, measure
from edgeseg.coverage import coverage_of_all
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.models import create
from edgeseg.models.keras_files.load import save_model
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime import BACKENDS, open_backend
from edgeseg.runtime.keras import KerasBackend
from edgeseg.spec import ModelSpec
from edgeseg_converters import Recipe, export_all
from edgeseg_converters.options import ExportOptions

SIZE = (32, 48)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model with logits out, once for each backend."""
    folder = tmp_path_factory.mktemp("backends")
    keras.utils.set_random_seed(5)
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    spec = ZOO["unet_mini"].default_spec(3, SIZE)
    recipes = [Recipe(name, "fp32") for name in ("tflite", "onnx", *OPTIONAL)]
    made = export_all(model, spec, recipes, options=ExportOptions(output_kind="logits"))
    files = {result.recipe.format: result.save(folder) for result in made}
    save_model(model, folder / "model.keras", spec)
    return {**files, "litert": files["tflite"], "litert-compiled": files["tflite"], "keras": folder / "model.keras"}


# Extras of which a test environment may lack one: their rows are skipped there by not being made.
OPTIONAL = [name for name, module in (("mnn", "MNN"), ("openvino", "openvino")) if find_spec(module)]
# tflite-runtime does not install beside numpy 2: tests/test_tflite_runtime.py
HERE = [name for name in BACKENDS if name not in {"tflite-runtime", "mnn", "openvino"} - {*OPTIONAL}]


@pytest.mark.parametrize("name", HERE)
def test_same_logits_and_the_spec_inside(name: str, files: dict[str, Path]) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    expected = open_backend(files["keras"]).run(image)
    backend = open_backend(files[name], backend=name)
    try:
        assert isinstance(backend.spec, ModelSpec)
        assert backend.spec.input_size == SIZE
        assert backend.inputs[0].shape[1:] == (*SIZE, 3)
        assert backend.inputs[0].dtype == backend.outputs[0].dtype == "float32"
        assert any(character.isdigit() for character in backend.runtime)  # a version
        # Eleven float32 convolutions, summed in another order: logits near 1 differ by some ulp (1e-7 each). MNN's
        # Winograd kernels add and subtract before they multiply: its gate is 1e-3 of the largest logit, as at export.
        atol = 1e-3 * np.abs(expected).max() if name == "mnn" else 1e-4
        np.testing.assert_allclose(backend.run(image), expected, atol=atol)
    finally:
        backend.close()
    backend.close()  # nothing to do, and no error


@pytest.mark.parametrize("name", ["litert", "litert-compiled", "onnx", *OPTIONAL])
def test_what_is_returned_is_the_runtimes_memory(name: str, files: dict[str, Path]) -> None:
    rng = np.random.default_rng(2)
    first, second = (rng.uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32) for _ in range(2))
    backend = open_backend(files[name], backend=name)
    output = backend.run(first)
    kept = output.copy()
    again = backend.run(second)  # runs although the caller still has the array
    assert np.shares_memory(output, again)
    assert not np.array_equal(output, kept)
    backend.close()
    np.testing.assert_array_equal(output, again)  # still there for who has it


@pytest.mark.parametrize("name", HERE)
def test_invoke_runs_again_on_the_last_image(name: str, files: dict[str, Path]) -> None:
    rng = np.random.default_rng(2)
    image, other = (rng.uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32) for _ in range(2))
    backend = open_backend(files[name], backend=name)
    backend.run(other)
    output = backend.run(image)
    expected = output.copy()
    if name != "keras" and output.flags.writeable:  # Keras' output is an array of its own
        output[:] = 0
    backend.invoke()
    np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("name", ["litert", "litert-compiled", "onnx", *OPTIONAL])
def test_threads_do_not_change_the_answer(name: str, files: dict[str, Path]) -> None:
    image = np.random.default_rng(1).uniform(-1, 1, (1, *SIZE, 3)).astype(np.float32)
    one, two = (np.array(open_backend(files[name], backend=name, num_threads=n).run(image)) for n in (1, 2))
    # MNN takes Winograd's kernels in other sizes then, which round in other ways; seen: 1.4e-5 of logits near 1.
    np.testing.assert_allclose(one, two, atol=1e-4 if name == "mnn" else 1e-6)


def test_keras_models_get_the_threads_of_the_process_or_are_refused(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.ops.ones(1)  # TensorFlow has begun here
    with pytest.raises(InputError, match="TensorFlow takes its number of threads before the first op"):
        open_backend(files["keras"], num_threads=31)
    asked: dict[str, int] = {}
    for kind in ("intra", "inter"):
        name = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(tf.config.threading, name, functools.partial(asked.__setitem__, kind))
    once = Request(
        path=str(files["keras"]), options={"num_threads": 31}, warmup_runs=1, warmup_min_secs=0, num_runs=2, min_secs=0
    )
    assert len(measure(once).latencies_s) == 2  # of a model whose batch is open
    assert asked == {"intra": 31, "inter": 1}
    monkeypatch.setattr("keras.config.backend", lambda: "jax")
    with pytest.raises(InputError, match=r"Keras runs on jax here\. Remove num_threads"):
        open_backend(files["keras"], num_threads=31)


@pytest.mark.parametrize("name", ["litert", "litert-compiled", "onnx", *OPTIONAL])
def test_truncated_file_is_one_clear_error(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / files[name].name
    cut.write_bytes(files[name].read_bytes()[: files[name].stat().st_size // 2])
    cut.with_suffix(".bin").touch()  # an .xml needs it
    with pytest.raises(InputError, match=cut.name.replace(".", r"\.")):
        open_backend(cut, backend=name)


@pytest.mark.parametrize(
    ("name", "hidden", "extra"),
    [
        ("litert", ["ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime"], "tflite"),
        ("litert-compiled", ["ai_edge_litert", "ai_edge_litert.compiled_model"], "tflite"),
        ("onnx", ["onnxruntime"], "onnx"),
        *((name, [module], name) for name, module in (("mnn", "MNN"), ("openvino", "openvino")) if name in OPTIONAL),
    ],
)
def test_missing_runtime_names_the_install_line(
    name: str, hidden: list[str], extra: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)  # what Python itself uses to say "not there"
    with pytest.raises(BackendUnavailable, match=rf'pip install "edgeseg\[{extra}\]"'):
        open_backend(files[name], backend=name)


def test_runtimes_under_another_name_are_found(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real, module_of = metadata.version, {"ai-edge-litert": "ai_edge_litert", "onnxruntime": "onnxruntime"}

    def version(name: str) -> str:
        if name in module_of:
            raise metadata.PackageNotFoundError(name)
        return {"ai-edge-litert-nightly": "9.9.dev1", "onnxruntime-gpu": "9.8"}.get(name) or real(name)

    brought = {"ai_edge_litert": ["ai-edge-litert-nightly"], "onnxruntime": ["onnxruntime-gpu"]}
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(versions, "_distributions", lambda: brought)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    for name in ("litert", "litert-compiled"):
        with closing(open_backend(files[name], backend=name)) as backend:
            assert backend.runtime.startswith("ai-edge-litert 9.9.dev1")
    (cpu,), _ = coverage_of_all(files["litert"], ["cpu"])
    assert "ai-edge-litert 9.9.dev1" in cpu.source_note
    model = create("unet_mini", num_classes=3, input_size=SIZE)
    (made,) = export_all(model, ZOO["unet_mini"].default_spec(3, SIZE), [Recipe("onnx", "fp32")])
    assert made.spec.provenance.tools["onnxruntime"] == "9.8"
    brought.clear()  # built from source, without metadata: what the module itself says
    assert installed_version("onnxruntime") == onnxruntime.__version__
    monkeypatch.setitem(sys.modules, "says_nothing", ModuleType("says_nothing"))
    assert installed_version("says-nothing") == "of unknown version"
    assert installed_version("surely-not-there") is None


def test_a_name_is_obeyed_or_refused(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(BackendUnavailable, match='pip install tflite-runtime "numpy<2"'):
        open_backend(files["litert"], backend="tflite-runtime")


def test_a_image_of_another_shape_is_not_stretched(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"takes \(1, 32, 48, 3\) float32, got \(1, 1, 1, 3\) float32"):
        open_backend(files["litert"]).run(np.zeros((1, 1, 1, 3), np.float32))


def test_unknown_suffix_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the known suffixes"):
        open_backend(tmp_path / "model.pb")
    with pytest.raises(InputError, match="does not exist"):
        open_backend(tmp_path / "model.tflite")


class Asserting(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.assert_less(x, 1.0, message="pixels are too large")]):
            return tf.identity(x)


def test_keras_runs_by_xla_what_has_no_kernel_and_nothing_else() -> None:
    inputs = keras.Input((8, 8, 3))
    dilated = keras.layers.Conv2DTranspose(2, 3, dilation_rate=2, padding="same")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    backend = KerasBackend(keras.Model(inputs, dilated(inputs)))
    turned = dilated.kernel.numpy()[::-1, ::-1].swapaxes(2, 3)
    # The same nine products for each channel, summed in another order.
    np.testing.assert_allclose(backend.run(image), tf.nn.conv2d(image, turned, 1, "SAME", dilations=2), atol=1e-5)
    backend = KerasBackend(keras.Model(inputs, Asserting()(inputs), name="theirs"))
    np.testing.assert_array_equal(backend.run(image), image)
    with pytest.raises(InputError, match=r"TensorFlow cannot run 'theirs' on this machine: .*pixels are too large"):
        backend.run(image + 2)
