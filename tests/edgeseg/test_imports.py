"""``edgeseg``: what a device or a bare ``--help`` must not load, seen in a fresh process each, and by reading the
sources.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeseg
from edgeseg.cli._summaries import COMMANDS
from edgeseg.spec import ModelSpec

SOURCES = Path(edgeseg.__file__).parent
LIGHT = ("tensorflow", "keras", "onnxruntime", "ai_edge_litert", "cv2", "numpy")
# What only a workstation has, and a runtime of which a device has one.
HEAVY = (
    "tensorflow",
    "keras",
    "onnxruntime",
    "ai_edge_litert",
    "onnx",
    "onnx_ir",
    "tf2onnx",
    "grain",
    "av",
    "MNN",
    "openvino",
    "rasterio",
    "tifffile",
    "openslide",
    "edgeseg_converters",
)


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh process has loaded after running some code."""
    program = f"{code}\nimport sys\nprint('LOADED', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def allowed(code: str) -> set[str]:
    """``edgeseg export``, ``tune`` and ``quantize`` are made from the converters' options, which are light."""
    return {"edgeseg_converters"} if any(f"['{name}'" in code for name in ("export", "tune", "quantize")) else set()


@pytest.mark.parametrize(
    "code",
    [
        "import edgeseg",
        "import edgeseg; edgeseg.ModelSpec; edgeseg.InputError",
        "import edgeseg.cli; assert edgeseg.cli.main(['--help']) == 0",
        "import edgeseg.cli; assert edgeseg.cli.main(['--version']) == 0",
        "import edgeseg.cli; assert edgeseg.cli.main(['exprot']) == 2",
        *(f"import edgeseg.cli; assert edgeseg.cli.main(['{name}', '--help']) == 0" for name in COMMANDS),
    ],
)
def test_a_light_start_loads_nothing_heavy(code: str) -> None:
    loaded = loaded_by(code)
    assert "edgeseg" in loaded
    assert not loaded & set(LIGHT + HEAVY) - allowed(code)


@pytest.mark.parametrize(
    "code",
    [
        "import edgeseg.cli; assert edgeseg.cli.main(['models']) == 0",
        "import edgeseg.cli; assert edgeseg.cli.main(['models', '--json']) == 0",
        pytest.param(
            "import edgeseg.cli; assert edgeseg.cli.main(['doctor', '--json']) in (0, 1)", marks=pytest.mark.slow
        ),
        "import edgeseg.models, edgeseg.models.opening, edgeseg.models.keras_files.load",
        "import edgeseg.models.weights.pytorch",
        "import edgeseg.runtime, edgeseg.runtime.litert, edgeseg.runtime.onnx, edgeseg.runtime.keras",
        "import edgeseg.segmenter, edgeseg.sources, edgeseg.drawing.painter, edgeseg.inspection, edgeseg.opening",
        "import edgeseg.evaluation.evaluate, edgeseg.camera",
        "import edgeseg.coverage",
        "from edgeseg import Segmenter, Segmentation, ConfusionMatrix, argmax_agreement",
        # A mistake is told before the seconds that keras takes.
        "import edgeseg.cli; assert edgeseg.cli.main(['export', 'unet_mimi']) == 2",
        "import edgeseg.cli; assert edgeseg.cli.main(['train', 'unet_mini', '--data', 'nowhere']) == 2",
        "import edgeseg.cli; assert edgeseg.cli.main(['predict', 'gone.tflite', 'x.png', '--count']) == 2",
    ],
)
def test_what_needs_no_runtime_loads_none(code: str) -> None:
    assert not loaded_by(code) & set(HEAVY) - allowed(code)


def test_the_list_of_commands_loads_no_reader_of_json() -> None:
    """Which takes a tenth of the start."""
    assert "msgspec" not in loaded_by("import edgeseg.cli; assert edgeseg.cli.main(['--help']) == 0")


def test_a_spec_is_read_out_of_a_keras_file_without_keras(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("edgeseg.spec.json", tiny_spec.to_json())
    code = f"from edgeseg.models.keras_files.load import read_spec; assert read_spec({str(path)!r}).name == 'tiny'"
    assert not loaded_by(code) & set(HEAVY)


def test_onnxruntime_is_asked_to_send_nothing_home(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="a device may have LiteRT alone")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    code = "import edgeseg.runtime.onnx, onnxruntime; onnxruntime.get_available_providers()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_every_lazy_name_of_the_package_resolves() -> None:
    for name in edgeseg.__all__:
        assert getattr(edgeseg, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'segmenter_'"):
        edgeseg.segmenter_  # noqa: B018


def at_module_level(node: ast.AST) -> Iterator[str]:
    """Top-level packages that a module imports when it is imported; ``if TYPE_CHECKING`` is never run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").split(".")[0]
        elif isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from at_module_level(child)


def sources() -> list[Path]:
    return sorted(path.relative_to(SOURCES) for path in SOURCES.rglob("*.py"))


def test_the_scan_sees_what_runs_at_import_and_only_that() -> None:
    code = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import keras
try:
    import tensorflow.lite as lite
except ImportError:
    from onnxruntime.capi import x
class A:
    import onnx
    def f(self):
        import ai_edge_litert
"""
    assert set(at_module_level(ast.parse(code))) == {"typing", "tensorflow", "onnxruntime", "onnx"}
    assert {str(path) for path in sources()} > {"spec.py", "segmenter.py", str(Path("runtime") / "litert.py")}


@pytest.mark.parametrize("path", sources(), ids=str)
def test_no_heavy_import_at_module_level(path: Path) -> None:
    imported = set(at_module_level(ast.parse((SOURCES / path).read_text(encoding="utf-8"))))
    # Imported when the command is called.
    if path.as_posix() in ("cli/export.py", "cli/tune.py", "cli/quantize.py", "cli/_quantization.py"):
        imported.discard("edgeseg_converters")
    assert "edgeseg_converters" not in imported
    if path.parts[0] not in ("models", "training"):
        assert not imported & set(HEAVY)
