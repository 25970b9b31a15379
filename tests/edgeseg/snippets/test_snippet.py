"""``edgeseg.snippets.snippet``, ``edgeseg.html.plain``: programs run on their own runtimes, and answer alike."""

from __future__ import annotations

import gzip
import runpy
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.cli import main
from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.inspection import inspect
from edgeseg.segmenter import Segmenter
from edgeseg.snippets import write_snippet
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.web.runtime import LITERT, ONNX

Write = Callable[[str, Any], str]

GOLDEN = Path(__file__).parent / "golden"
DATA = Path(__file__).parents[2] / "data"

#: What ends a string, a comment, a template or a page in one of the languages.
HOSTILE = ("\"quo\\te'", "${TAG} \\(x) %s {{ 7 }}", "*/ </script>\n#include <x>\u2028??/", "Füße \U0001f6b2 \x00\x7f")

_SHAPE = (1, 48, 80, 3)
_SMALL = (1, 24, 40, 3)
_FEEDING = {"mean": (110.0, 127.5, 140.0), "std": (57.375, 60.0, 64.0), "palette": ((0, 0, 0),) * 3}

#: Models whose classes are the channels of the input: ops, tensors, quantization, and what their ModelSpec says.
MADE: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "stretched": (["RELU"], [(_SHAPE, "float32")], {}, {"fit": "stretch", "resize": "bicubic"}),
    "smaller": (
        [("RESIZE_NEAREST_NEIGHBOR", _SMALL[1:3])],
        [(_SHAPE, "float32"), (_SMALL, "float32")],
        {},
        {"resize": "bilinear-antialias", "letterbox_rounding": "floor", "pad_value": (0, 250, 90)},
    ),
    "planes": (["RELU"], [((1, 3, 48, 80), "float32")], {}, {"layout": "nchw", "resize": "area", "color_order": "bgr"}),
    "quantized": (["RELU"], [(_SHAPE, "uint8")], {"scale": 0.02, "zero_point": 125}, {"resize": "nearest"}),
    "ids": (
        [("RESIZE_NEAREST_NEIGHBOR", _SMALL[1:3]), ("ARG_MAX", 3)],
        [(_SHAPE, "float32"), (_SMALL, "float32"), (_SMALL[:3], "int32")],
        {},
        {"resize": "bicubic-antialias", "output_kind": "argmax"},
    ),
}
#: Files that edgeseg export made; all fit the image by ``letterbox`` and ``bilinear``, take BGR and give class ids.
SAVED = {"saved fp32": "saved.fp32.tflite", "saved int8": "saved.int8.tflite", "saved onnx": "saved.fp32.onnx"}

# A program that scales by itself is off by a gray level at most, as OpenCV computes with 11 bits and Pillow rounds
# twice; a pixel whose two best classes are nearer than that may change, and with it those that it is enlarged to: up to
# 0.5 % were seen. Mistakes in the preprocessing change more (``test_what_agreement_means``).
LEAST = 0.994
# The saved files have random weights, through which a gray level goes further, and 1536 ids for 13,433 pixels: 1.1 %.
LEAST_SAVED = 0.98


@pytest.fixture(scope="session")
def artifacts(
    tflite_model: Callable[..., bytes], with_entry: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The artifacts by the names of ``MADE`` and ``SAVED``."""
    folder = tmp_path_factory.mktemp("artifacts")
    paths = {name: folder / file for name, file in SAVED.items()}
    for path in paths.values():
        shutil.copy(DATA / path.name, path)
    for name, (ops, tensors, quantization, said) in MADE.items():
        settings = {"output_kind": "logits", **_FEEDING, **said}
        spec = ModelSpec(name=name, input_size=_SHAPE[1:3], class_names=HOSTILE[:3], **settings)
        data = with_entry(tflite_model(ops, tensors, **quantization), METADATA_KEY, spec.to_json().encode())
        paths[name] = folder / f"{name} $x'\".tflite"
        paths[name].write_bytes(data)
    return paths


@pytest.fixture(scope="session")
def image_rgb() -> NDArray[np.uint8]:
    """An image of smooth colors, which neither side of any input divides; (101, 133, 3) uint8."""
    colors = np.random.default_rng(2).integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(colors, (133, 101), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


@pytest.fixture(scope="session")
def write_program(artifacts: dict[str, Path]) -> Write:
    """A function that writes the program of an artifact in a language."""
    return lambda name, language: write_snippet(inspect(artifacts[name], ()), language)


def expected(path: Path, image: NDArray[np.uint8], **changes: Any) -> NDArray[np.uint8]:
    with Segmenter(path) as segmenter:
        if changes:
            segmenter.spec = segmenter.spec.replace(**changes)
        return segmenter(image).class_map


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    assert one.shape == other.shape
    return float(np.mean(one == other))


@pytest.mark.parametrize("name", [*MADE, *SAVED])
def test_python_answers_alike(
    name: str, artifacts: dict[str, Path], write_program: Write, image_rgb: NDArray[np.uint8], tmp_path: Path
) -> None:
    (tmp_path / "segment.py").write_text(write_program(name, "python"))
    shutil.copy(artifacts[name], tmp_path)
    program = runpy.run_path(str(tmp_path / "segment.py"))
    # The same libraries compute the same; Pillow rounds halves that edgeseg's float32 sums may round otherwise.
    least = LEAST if "antialias" in str(MADE.get(name)) else 1.0
    assert agreement(program["Segmenter"]()(image_rgb), expected(artifacts[name], image_rgb)) >= least


def test_what_agreement_means(artifacts: dict[str, Path], image_rgb: NDArray[np.uint8]) -> None:
    path = artifacts["smaller"]
    right = expected(path, image_rgb)
    assert len(np.unique(right)) == 3
    for change in ({"color_order": "bgr"}, {"mean": (127.5,) * 3}, {"fit": "stretch", "letterbox_rounding": "round"}):
        assert agreement(expected(path, image_rgb, **change), right) < LEAST


def test_python_is_a_program(
    artifacts: dict[str, Path], image_rgb: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(artifacts["saved fp32"], tmp_path))
    assert main(["inspect", str(path), "--snippet", "python"]) == 0
    (tmp_path / "segment.py").write_text(capsys.readouterr().out)
    cv2.imwrite(str(tmp_path / "image.png"), image_rgb[..., ::-1])
    command = [sys.executable, "segment.py", "image.png", "ids.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ids = cv2.imread(str(tmp_path / "ids.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(ids, expected(path, image_rgb))
    counts = dict(reversed(line.split("\t")) for line in done.stdout.splitlines())
    assert counts == {name: str((ids == index).sum()) for index, name in enumerate(("wall", "red", "blue"))}


@pytest.mark.parametrize(
    "name",
    [
        "saved int8",
        "smaller",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("planes", "quantized", "ids", "stretched")),
    ],
)
def test_cpp_answers_alike(
    name: str, artifacts: dict[str, Path], write_program: Write, image_rgb: NDArray[np.uint8], tmp_path: Path
) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C++ compiler")
    import ai_edge_litert

    folder = Path(ai_edge_litert.__file__).parent
    (tmp_path / "segment.cpp").write_text(write_program(name, "cpp"))
    warnings = ("-Wall", "-Wextra", "-Werror", "-std=c++17", "-O0")
    library = (f"{folder}/libLiteRt.so", f"-Wl,-rpath,{folder}")
    subprocess.run([compiler, *warnings, "segment.cpp", "-o", "segment", *library], cwd=tmp_path, check=True)
    header = f"P6\n{image_rgb.shape[1]} {image_rgb.shape[0]}\n255\n".encode()
    (tmp_path / "image.ppm").write_bytes(header + image_rgb.tobytes())

    def run(model: Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["./segment", model, "image.ppm", "ids.pgm"], cwd=tmp_path, capture_output=True)

    done = run(artifacts[name])
    assert done.returncode == 0, done.stderr
    ids = cv2.imread(str(tmp_path / "ids.pgm"), cv2.IMREAD_UNCHANGED)
    assert agreement(ids, expected(artifacts[name], image_rgb)) >= (LEAST if name in MADE else LEAST_SAVED)
    names = HOSTILE[:3] if name in MADE else ("wall", "red", "blue")
    assert done.stdout == b"".join(f"{(ids == n).sum()}\t{each}\n".encode() for n, each in enumerate(names))
    other = run(artifacts["saved fp32" if name != "saved fp32" else "planes"])
    assert (other.returncode, b"another model" in other.stderr) == (1, True)
    assert b"cannot be read" in run(tmp_path / "missing.tflite").stderr


PAGE = """<!doctype html><script type="importmap">{"imports": {"@litertjs/core": "/LiteRT.js/core.js",
"onnxruntime-web/wasm": "/onnxruntime-web/ort.wasm.min.mjs"}}</script>"""


class _Files(BaseHTTPRequestHandler):
    """The programs and artifacts of a folder, and the runtimes where npm would put them."""

    folder: Path

    def do_GET(self) -> None:
        name = unquote(self.path).lstrip("/")
        runtime = next((each for each in (LITERT, ONNX) if name.startswith(f"{each.name}/")), None)
        path = self.folder / name if runtime is None else runtime.folder() / name.removeprefix(f"{runtime.name}/")
        packed = path.with_name(f"{path.name}.gz")
        if name == "":
            data = PAGE.encode()
        elif packed.is_file():
            data = gzip.decompress(packed.read_bytes())
        else:
            data = path.read_bytes() if path.is_file() else b""
        kinds = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript", "": "text/html"}
        self.send_response(200 if data else 404)
        self.send_header("Content-Type", kinds.get(path.suffix if name else "", "application/octet-stream"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def in_page(open_browser: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A folder that a page in a browser is served from, and a function that runs JavaScript in the page."""
    try:
        LITERT.folder()
        ONNX.folder()
    except InputError as error:
        pytest.skip(f"the runtimes cannot be had: {error}")
    folder = tmp_path_factory.mktemp("served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Files,), {"folder": folder}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    browser = open_browser("--disable-gpu")

    def run(script: str) -> Any:
        browser("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/")  # a runtime is one for each page
        for _ in range(200):
            if browser.evaluate("document.readyState === 'complete' && location.pathname") == "/":
                return browser.run(script)
            time.sleep(0.05)
        raise AssertionError("the page does not open")

    yield folder, run
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "name",
    [
        *("smaller", "saved onnx"),
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("planes", "ids", "stretched", "quantized", "saved int8")
        ),
    ],
)
def test_javascript_answers_alike(
    name: str, artifacts: dict[str, Path], write_program: Write, image_rgb: NDArray[np.uint8], in_page: Any
) -> None:
    folder, run = in_page
    (folder / "segment.js").write_text(write_program(name, "js"))
    shutil.copy(artifacts[name], folder / "model")
    height, width = image_rgb.shape[:2]
    rgba = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2RGBA).ravel().tolist()
    runtime = "/onnxruntime-web/" if name == "saved onnx" else "/LiteRT.js/wasm/"
    answer = run(
        "(async () => { const {open, segment, CLASSES} = await import('./segment.js');"
        f"const model = await open('/model', '{runtime}');"
        f"const image = new ImageData(new Uint8ClampedArray({rgba}), {width}, {height});"
        "await segment(model, image);"  # what the first call leaves is no part of the second
        "const ids = await segment(model, image);"
        "const missing = await open('/missing', '" + runtime + "').catch((error) => error.message);"
        "return {ids: [...ids], CLASSES, missing}; })()"
    )
    ids = np.array(answer["ids"], np.uint8).reshape(height, width)
    assert agreement(ids, expected(artifacts[name], image_rgb)) >= (LEAST if name in MADE else LEAST_SAVED)
    assert answer["CLASSES"] == (list(HOSTILE[:3]) if name in MADE else ["wall", "red", "blue"])
    assert answer["missing"] == "/missing: HTTP 404"


@pytest.mark.parametrize("language", ["kotlin", "swift"])
@pytest.mark.parametrize("name", ["smaller", "saved int8"])
def test_what_is_not_compiled_is_as_it_was(language: Any, name: str, write_program: Write, tmp_path: Path) -> None:
    program = write_program(name, language)
    assert "It was not compiled" in program.splitlines()[0]
    golden = GOLDEN / f"{name.replace(' ', '_')}.{language}.txt"
    assert program == golden.read_text(), "where the change is meant, look at it and write it there"


@pytest.mark.parametrize("language", ["python", "kotlin", "swift", "cpp", "js"])
@pytest.mark.parametrize("name", [*MADE, "saved fp32"])
def test_every_program_is_filled(language: Any, name: str, write_program: Write) -> None:
    program = write_program(name, language)
    assert program.isascii()
    assert "{{" not in program.replace("{{ 7 }}", "")
    assert "{%" not in program


def test_what_no_program_is_written_for(
    artifacts: dict[str, Path],
    tflite_model: Callable[..., bytes],
    with_entry: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(path: Path, language: Any = "python") -> str:
        with pytest.raises(InputError) as error:
            write_snippet(inspect(path, ()), language)
        return str(error.value)

    assert "accepted: python, js" in refused(artifacts["saved onnx"], "kotlin")
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]))
    assert "does not say how it is fed" in refused(bare)
    wide = tflite_model(["RELU"], [((1, 8, 8, 3), "int16")], scale=1 / 32767)  # its range says how it is normalized
    bare.write_bytes(wide)
    assert "of int16, which the runtime of kotlin does not take" in refused(bare, "kotlin")
    bare.write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "int8")], scale=1 / 127.5))
    assert "accepted: float32, uint8, int32" in refused(bare, "js")
    bare.write_bytes(tflite_model([("RESHAPE", (1, 192))], [((1, 8, 8, 3), "uint8"), ((1, 192), "uint8")]))
    assert "gives (1, 192)" in refused(bare)
    spec = ModelSpec(name="m", input_size=(8, 9), class_names=("a", "b", "c"), palette=((0, 0, 0),) * 3)
    other = with_entry(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]), METADATA_KEY, spec.to_json().encode())
    bare.write_bytes(other)
    assert "takes (1, 8, 8, 3) but its spec makes (1, 8, 9, 3)" in refused(bare)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(BackendUnavailable, match=r"edgeseg\[charts\]"):
        write_snippet(inspect(artifacts["saved fp32"], ()), "cpp")


def test_the_command_refuses_what_goes_with_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(DATA / "saved.fp32.tflite"), "--snippet", "js", "--json"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, "omit --json" in printed.err) == ("", True)
