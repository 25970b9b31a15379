"""Broken models, models without ModelSpec, a proven model, an ffmpeg that serves, a browser, a page of frames, and
altered JSON.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.sinks import MjpegServer

#: What may be in place of any value of JSON.
HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 2**31, 2**63, 10**400, 1e-300, 1e308, float("nan"), -float("inf")),
    *("", "a\n\x1b[2J\u202e\0", "\ud800", "x" * 20_000, [], {}, [[1, 2], [3, 4]], [None] * 10_001, {"a\n\ud800": None}),
    json.loads("[" * 600 + "]" * 600),
)
_AS_TEXT = tuple(map(json.dumps, HOSTILE))


def alterations(value: Any) -> Iterator[tuple[str, str]]:
    """Yield JSON with one place in it altered, after the path of the place.

    Of a list the first and the last item are altered; a list is also longer, and shorter by one.
    """

    def places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        yield path
        keys = node if isinstance(node, dict) else sorted({0, len(node) - 1}) if isinstance(node, list) and node else ()
        for key in keys:
            yield from places(node[key], (*path, key))

    for path in list(places(value, ())):
        if not path:
            yield from (("whole", each) for each in _AS_TEXT)
            continue
        altered = copy.deepcopy(value)
        node = altered
        for key in path[:-1]:
            node = node[key]
        old = node[path[-1]]
        node[path[-1]] = "PLACE"
        before, _, after = json.dumps(altered).partition('"PLACE"')
        yield from ((f"{path} {each[:40]}", before + each + after) for each in _AS_TEXT)
        if isinstance(old, list) and old:
            yield f"{path} longer", f"{before}{json.dumps([*old, old[0]])}{after}"
        if isinstance(old, dict):
            yield f"{path} newer", f"{before}{json.dumps({**old, 'from_a_newer_version': HOSTILE[-1]})}{after}"
        del node[path[-1]]
        yield f"{path} missing", json.dumps(altered)


@pytest.fixture(scope="session")
def read_altered() -> Callable[..., tuple[int, int]]:
    """A function that reads JSON with each of its places altered, and JSON that is broken as a whole.

    Its arguments: what reads a text, and the right value. Each is either read or an InputError whose text is short;
    the result is how many were read and how many were refused.
    """

    def read_all(read: Callable[[str], object], value: Any) -> tuple[int, int]:
        text = json.dumps(value)
        read(text)
        broken = (
            *("", " ", "{", "null", text[:-1], text[: len(text) // 2], text + text, text.replace(":", "")),
            *("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000, "9" * 100_000, "NaN", '"\\ud800"'),
        )
        counts = {True: 0, False: 0}
        cases = [*alterations(value), *((f"text {number}", each) for number, each in enumerate(broken))]
        for what, altered in cases:
            try:
                read(altered)
            except InputError as error:
                line = " ".join(str(error).split())
                assert len(line) < 3000, f"{what}: {line[:1000]}"
                counts[False] += 1
            else:
                counts[True] += 1
        return counts[True], counts[False]

    return read_all


@pytest.fixture(scope="session")
def broken() -> Callable[..., bytes]:
    """A function that returns a good ``.tflite`` file with an edit of its ``ModelT``, by default the int8 one."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    good = Path(__file__).parents[1] / "data" / "saved.int8.tflite"

    def make(edit: Callable[[Any], None], path: Path = good) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        edit(model)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return make


@pytest.fixture(scope="session")
def tflite_model() -> Callable[..., bytes]:
    """A function that writes a model without ModelSpec; the ops have no options.

    Its arguments: the ops by name, each alone or with its constant second input; for the input and every op's output
    a shape and a dtype, those of the input where there are fewer; a scale and a zero point of all that are no map. A
    side of -1 is open: the shape has 1 for it, as the converter writes it.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    def make(
        ops: Sequence[str | tuple[str, Any]],
        tensors: Sequence[tuple[Sequence[int], str]],
        *,
        scale: float = 0.0,
        zero_point: int = 0,
        metadata: bytes | None = None,
    ) -> bytes:
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
        graph.tensors, graph.operators = [], []

        def tensor(shape: Sequence[int], dtype: str, data: Any = None) -> int:
            made = schema.TensorT()
            made.name, made.shape, made.type, made.buffer = f"t{len(graph.tensors)}", [abs(n) for n in shape], 0, 0
            made.shapeSignature = list(shape) if -1 in shape else None
            made.type = getattr(schema.TensorType, dtype.upper())
            if scale and len(shape) == 4:
                made.quantization = schema.QuantizationParametersT()
                made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
            if data is not None:
                buffer = schema.BufferT()
                buffer.data = list(np.asarray(data, dtype).tobytes())
                made.buffer = len(model.buffers)
                model.buffers.append(buffer)
            graph.tensors.append(made)
            return len(graph.tensors) - 1

        last = tensor(*tensors[0])
        graph.inputs = [last]
        for index, op in enumerate(ops):
            name, constant = op if isinstance(op, tuple) else (op, None)
            code, node = schema.OperatorCodeT(), schema.OperatorT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
            if name in ("BROADCAST_TO", "RELU"):
                code.version = 2  # the oldest that is registered; the oldest that takes integers
            node.opcodeIndex, node.inputs = index, [last]
            if constant is not None:
                node.inputs.append(tensor(np.shape(constant), "int32", constant))
            if name == "ARG_MAX":
                node.builtinOptionsType = schema.BuiltinOptions.ArgMaxOptions
                node.builtinOptions = schema.ArgMaxOptionsT()
                node.builtinOptions.outputType = getattr(schema.TensorType, tensors[index + 1][1].upper())
            last = tensor(*(tensors[index + 1] if index + 1 < len(tensors) else tensors[0]))
            node.outputs = [last]
            model.operatorCodes.append(code)
            graph.operators.append(node)
        graph.outputs = [last]
        if metadata is not None:
            entry, buffer = schema.MetadataT(), schema.BufferT()
            buffer.data, entry.name, entry.buffer = list(metadata), b"TFLITE_METADATA", len(model.buffers)
            model.buffers.append(buffer)
            model.metadata = [entry]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))

    return make


@pytest.fixture(scope="session")
def with_entry() -> Callable[[bytes, str, bytes], bytes]:
    """A function that puts a metadata entry, a name and its content, into a model that has none."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    def make(data: bytes, name: str, content: bytes) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(data)
        model.buffers.append(schema.BufferT(data=list(content)))
        model.metadata = [schema.MetadataT(name=name.encode(), buffer=len(model.buffers) - 1)]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))

    return make


@pytest.fixture(scope="session")
def proven_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model of scores as .tflite and .onnx, with the proof of both."""
    keras = pytest.importorskip("keras")
    from edgeseg.models import create
    from edgeseg.spec import ModelSpec, default_class_names, default_palette
    from edgeseg_converters import ExportOptions, Recipe, export_all
    from edgeseg_converters.images import Samples, natural_noise

    folder = tmp_path_factory.mktemp("proven")
    keras.utils.set_random_seed(3)
    model = create("unet_mini", num_classes=5, input_size=(32, 48))
    samples = Samples(tuple(natural_noise(seed, (40, 48)) for seed in range(3)), "noise")
    recipes = [Recipe("tflite", "fp32"), Recipe("onnx", "fp32")]
    options = ExportOptions(output_kind="logits")
    spec = ModelSpec(
        name="unet_mini", input_size=(32, 48), class_names=default_class_names(5), palette=default_palette(5)
    )
    results = list(export_all(model, spec, recipes, samples=samples, options=options))
    proof = results[0].proof()
    for result in results:
        result.save(folder)
        proof = proof.with_artifacts(result.proof().artifacts)
    proof.save(folder / "unet_mini.proof.zip")
    return folder


@pytest.fixture
def proven(proven_once: Path, tmp_path: Path) -> Path:
    """A copy of that folder, which a test may change."""
    return Path(shutil.copytree(proven_once, tmp_path / "proven"))


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """Path of the ffmpeg that imageio-ffmpeg brings."""
    return str(pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg: no ffmpeg to serve").get_ffmpeg_exe())


@pytest.fixture
def serve(ffmpeg: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A function that starts ffmpeg on a URL, for one client, with a moving image; killed at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def start(url: str, size: str = "80x64") -> subprocess.Popen[bytes]:
        codec = ["-c:v", "mjpeg", "-f", "mpjpeg", "-listen", "1"]
        if not url.startswith("http"):
            codec = ["-c:v", "mpeg2video", "-g", "5", "-f", "mpegts"]
        image = ["-re", "-f", "lavfi", "-i", f"testsrc=size={size}:rate=25"]
        running.append(subprocess.Popen([ffmpeg, "-loglevel", "quiet", *image, *codec, url]))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails a test that leaves a thread or a file descriptor behind; a native timeout may first have to pass."""
    before = _held()
    yield
    deadline = time.monotonic() + 10
    while (left := _held() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _held() -> set[object]:
    """Threads of Python, and what the descriptors of this process stand for: sockets, files and devices."""
    links: set[object] = set()
    for entry in Path("/proc/self/fd").glob("*") if Path("/proc/self/fd").is_dir() else ():
        try:
            links.add(str(entry.readlink()))
        except OSError:  # the one that the listing itself had open
            continue
    return {link for link in links if not str(link).startswith("/proc")} | set(threading.enumerate())


class Browser:
    """A headless Chromium, told what to do by the DevTools protocol over two pipes."""

    def __init__(self, program: str, profile: Path, *flags: str) -> None:
        to_us, from_browser = os.pipe()
        from_us, to_browser = os.pipe()
        common = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", *flags]
        common += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--window-size=900,700", "about:blank"]
        # The protocol's descriptors are 3 and 4 in the browser's process.
        launch = (
            f"import os, sys; os.dup2({from_us}, 3); os.dup2({from_browser}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", launch, program, *common],
            pass_fds=(from_us, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(from_browser)
        self._out, self._in = os.fdopen(to_browser, "wb", buffering=0), os.fdopen(to_us, "rb")
        self._number = 0
        self._session: dict[str, str] = {}
        #: Sessions of the page's workers that started after ``Target.setAutoAttach``, in order.
        self.workers: list[str] = []
        (page,) = [t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    def __call__(self, method: str, worker: str = "", **params: Any) -> dict[str, Any]:
        """Send a command to the page or a worker of it, and wait for its result; other events are passed over."""
        self._number += 1
        session = {"sessionId": worker} if worker else self._session
        message = {"id": self._number, "method": method, "params": params, **session}
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            text = bytearray()
            while (byte := self._in.read(1)) != b"\0":
                assert byte, "the browser ended"
                text += byte
            answer = json.loads(text)
            if answer.get("method") == "Target.attachedToTarget":
                self.workers.append(answer["params"]["sessionId"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; None where it fails, such as before a page is there."""
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def run(self, expression: str) -> Any:
        """The value of a promise, as if somebody had clicked; that it fails fails the test."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]["exception"].get("description")
        return answer["result"].get("value")

    def screenshot(self) -> np.ndarray:
        """What is seen now, BGR."""
        png = base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)

    def close(self) -> None:
        if self._out.closed:
            return
        self._out.close()  # the browser ends with its pipe
        self._in.close()
        self.process.wait(20)


@pytest.fixture(scope="session")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    """A function that opens a Chromium with some flags; all are closed at the end."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None or sys.platform == "win32":
        pytest.skip("no chromium: nobody looks at the page")
    with ExitStack() as opened:

        def open_one(*flags: str) -> Browser:
            browser = Browser(program, tmp_path_factory.mktemp("profile"), *flags)
            opened.callback(browser.close)
            return browser

        yield open_one


@pytest.fixture
def browser(open_browser: Callable[..., Browser]) -> Iterator[Browser]:
    browser = open_browser("--disable-gpu")
    yield browser
    browser.close()


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    """A page of motion JPEG, of which no thread is left."""
    before = set(threading.enumerate())  # another page may be served for a whole session of tests
    server = MjpegServer(port=0)
    yield server
    server.close()
    left = [each for each in set(threading.enumerate()) - before if each.name.startswith("edgeseg-http")]
    for thread in left:  # of a client that had just left by itself: it is no open connection any more
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]
