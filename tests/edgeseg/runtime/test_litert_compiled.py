"""``process.gpu`` and ``process.gpu_worker``: CompiledModel on the CPU, on the GPU where there is a driver
(SwiftShader is one), and on an NPU that is none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.coverage.gpu import SWIFTSHADER
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.runtime import litert_compiled, open_backend
from edgeseg.runtime.process import child
from edgeseg.runtime.process.gpu import GpuReply
from edgeseg.runtime.process.gpu_worker import MARK
from edgeseg.tflite.cpu import Cpu

SHAPE = (1, 6, 8, 3)

# In a process of its own: the accelerator's threads and a driver stay in the one that asked for them.
ON_THE_GPU = """
import json, sys
import cv2
import numpy as np
from edgeseg.runtime import open_backend

answers = []
for path in sys.argv[1:]:
    gpu, cpu = open_backend(path, accelerator="gpu"), open_backend(path)
    image = np.random.default_rng(0).uniform(-1, 1, cpu.inputs[0].shape).astype(np.float32)
    error = float(np.abs(gpu.run(image) - cpu.run(image)).max())
    answers.append({"runtime": gpu.runtime, "error": error})
    gpu.close()
print("\\n" + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tflite_model: Callable[..., bytes]) -> dict[str, Path]:
    """One that the GPU takes whole, one in part, one not at all: it has no BROADCAST_TO."""
    broadcast = ("BROADCAST_TO", SHAPE)
    ops: dict[str, list[Any]] = {"whole": ["ABS", "NEG"], "part": ["ABS", broadcast], "nothing": [broadcast]}
    folder = tmp_path_factory.mktemp("models")
    for name, row in ops.items():
        (folder / f"{name}.tflite").write_bytes(tflite_model(row, [(SHAPE, "float32")]))
    return {name: folder / f"{name}.tflite" for name in ops}


def test_the_gpu_takes_all_or_a_part_and_says_so(models: dict[str, Path]) -> None:
    if not SWIFTSHADER.is_file():
        pytest.skip("no SwiftShader: Debian's package chromium-common has it")
    environment = {**os.environ, "VK_DRIVER_FILES": str(SWIFTSHADER)}
    command = [sys.executable, "-c", ON_THE_GPU, str(models["whole"]), str(models["part"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole, part = json.loads(done.stdout.splitlines()[-1])
    assert whole["runtime"].endswith(" CompiledModel gpu (SwiftShader Device (Subzero), Vulkan)")
    assert part["runtime"].endswith("Vulkan; partly: 1 node(s), the rest on the CPU)")
    assert "'part.tflite' is not fully" in done.stderr.replace(f"{models['part'].parent}{os.sep}", "")
    assert whole["error"] == part["error"] == 0  # a sign more or less rounds nothing


def test_no_driver_is_one_line(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", os.devnull)  # whatever this machine has
    with pytest.raises(BackendUnavailable, match=r"does not start: no Vulkan driver, .* name one in VK_DRIVER_FILES"):
        open_backend(models["whole"], accelerator="gpu")


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"accelerator": "gpu"}, "so that there is no `accelerator='gpu'`; `accelerator='cpu'` runs here"),
        ({"accelerator": "npu"}, "`backend='litert', accelerator='cpu'` runs the model here"),
        ({"backend": "litert-compiled"}, "`backend='litert', accelerator='cpu'` runs the model here"),
    ],
    ids=["gpu", "npu", "cpu"],
)
def test_an_old_arm_cpu_is_told_what_it_is_and_no_driver(
    options: dict[str, Any], instead: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT ends the process there: the one that asks a GPU, and this one before it begins."""
    dead = child.Ended(stdout="", stderr=f"{MARK}\n", status=-4, how="killed by SIGILL")
    monkeypatch.setattr(child, "run", lambda *arguments, **settings: dead)
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("aarch64", False, False))
    with pytest.raises(BackendUnavailable, match=rf"^this CPU has no atomic instructions \(LSE.*{re.escape(instead)}"):
        open_backend(models["whole"], **options)
    with closing(open_backend(models["whole"])) as backend:
        assert "CompiledModel" not in backend.runtime


def test_a_gpu_that_takes_nothing_is_not_the_cpu(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    log = (
        "ERROR: Following operations are not supported by GPU delegate:\nBROADCAST_TO: Operation is not supported.\n"
        "No operations will run on the GPU, and all 1 operations will run on the CPU."
    )
    monkeypatch.setattr(litert_compiled, "ask_gpu", lambda models, environment: [GpuReply(False, "", log)])
    with pytest.raises(BackendUnavailable, match=r"takes nothing .*BROADCAST_TO: Operation is not supported\)"):
        open_backend(models["nothing"], accelerator="gpu")


def test_unpooling_is_not_cut_off_from_its_pooling(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """XNNPACK and the GPU number the places in a window differently."""
    log = "2 operations will run on the GPU, and the remaining 2 operations will run on the CPU."
    monkeypatch.setattr(litert_compiled, "ask_gpu", lambda models, environment: [GpuReply(False, "", log)])
    monkeypatch.setattr(litert_compiled, "read_tflite", lambda model: ("'m'", b"TFL3 MaxUnpooling2D", None))
    with pytest.raises(InputError, match="must not be cut off from its pooling"):
        open_backend(models["part"], accelerator="gpu")


def test_an_npu_that_is_not_there(models: dict[str, Path]) -> None:
    with pytest.raises(BackendUnavailable, match=r"whole.tflite' does not run on an NPU: LiteRT finds none here"):
        open_backend(models["whole"], accelerator="npu")


def test_the_scale_is_that_of_the_file(tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(tflite_model(["RELU"], [(SHAPE, "int8")], scale=0.5, zero_point=-3))
    compiled, interpreter = (open_backend(path, backend=name) for name in ("litert-compiled", "litert"))
    assert (compiled.inputs[0].scale, compiled.inputs[0].zero_point, compiled.inputs[0].dtype) == (0.5, -3, "int8")
    assert (compiled.inputs, compiled.outputs) == (interpreter.inputs, interpreter.outputs)
    image = np.random.default_rng(0).integers(-128, 128, SHAPE, np.int8)
    np.testing.assert_array_equal(compiled.run(image), interpreter.run(image))


def test_a_dtype_that_it_does_not_hand_over(tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    path = tmp_path / "int64.tflite"
    path.write_bytes(tflite_model([("ARG_MAX", 3)], [(SHAPE, "float32"), (SHAPE[:3], "int64")]))
    with pytest.raises(InputError, match="CompiledModel does not hand over int64; use `backend='litert'`"):
        open_backend(path, backend="litert-compiled")


def test_memory_that_cannot_be_locked_is_one_line(models: dict[str, Path]) -> None:
    class Lost:
        def read(self, *of: object) -> None:
            raise RuntimeError("a.cc:1 in read\n  \u2514 Failed to lock custom tensor buffer.")

        def destroy(self) -> None: ...

    backend = open_backend(models["whole"], backend="litert-compiled")
    image = np.zeros(backend.inputs[0].shape, np.float32)
    backend._output, backend._output_buffers = None, [Lost()]  # type: ignore[attr-defined]  # as of a GPU
    backend.invoke = lambda: None  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"opens but does not run: Failed to lock custom tensor buffer\.$"):
        backend.run(image)
    backend.close()


def test_the_gpus_words_are_not_in_the_json(models: dict[str, Path], tmp_path: Path) -> None:
    """The accelerator writes to stdout from C++."""
    if not SWIFTSHADER.is_file():
        pytest.skip("no SwiftShader: Debian's package chromium-common has it")
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((6, 8, 3), np.uint8))
    how = ["--accelerator", "gpu", "--labels", str(tmp_path / "labels.txt"), "--mean", "0", "--std", "1", "--json"]
    command = [sys.executable, "-c", "import sys; from edgeseg.cli import main; sys.exit(main(sys.argv[1:]))"]
    environment = {**os.environ, "VK_DRIVER_FILES": str(SWIFTSHADER)}
    command += ["predict", str(models["whole"]), str(tmp_path / "p.png"), *how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"][0]["counts"] == {"a": 48, "b": 0, "c": 0}
    assert done.stderr == ""
