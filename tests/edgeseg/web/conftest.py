"""Artifacts, the page that has them in a Chromium, and what is asked of it."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.errors import InputError
from edgeseg.models.packaged_files import find_file
from edgeseg.sources import frames
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.web.runtime import LITERT, ONNX
from edgeseg.web.server import WebServer
from edgeseg.web.site import Site


class Page:
    """A page of ``edgeseg web`` in a browser."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.run = browser.run

    def open(self, url: str) -> None:
        self.browser("Page.navigate", url=url)
        self.until("document.getElementById('state')?.textContent === 'Ready'")

    def until(self, condition: str, seconds: float = 60.0) -> None:
        """Wait until an expression of the page is true."""
        late = f"no(new Error({json.dumps(condition)} + document.getElementById('state')?.textContent))"
        self.run(
            f"new Promise((ok, no) => {{ const end = performance.now() + {1000 * seconds}; const look = () => "
            f"({condition}) ? ok() : performance.now() > end ? {late} : setTimeout(look, 20); look(); }})"
        )

    def text(self, name: str) -> str:
        return str(self.run(f"document.getElementById('{name}').textContent"))

    def choose(self, name: str, value: str) -> None:
        self.run(
            f"(() => {{ const each = document.getElementById('{name}'); each.value = {json.dumps(value)}; "
            f"each.dispatchEvent(new Event('change')); }})()"
        )

    def engine(self, number: int, accelerator: str, threads: int, precision: str = "fp32") -> None:
        """Open an artifact in a worker, ``globalThis.engine``; the one before is closed."""
        wanted = json.dumps({"accelerator": accelerator, "precision": precision, "threads": threads})
        self.run(
            "(async () => { globalThis.engine?.close(); const {chooseEngine} = await import('./engine.js'); "
            "const site = await (await fetch('site.json')).json(); "
            f"globalThis.engine = await chooseEngine(site.artifacts[{number}], {wanted}); }})()"
        )

    @contextmanager
    def worker(self, number: int, accelerator: str, threads: int) -> Iterator[str]:
        """Open an artifact as ``engine`` does; the session of its worker, for ``in_worker``."""
        attach = {"waitForDebuggerOnStart": False, "flatten": True}
        self.browser("Target.setAutoAttach", autoAttach=True, **attach)
        self.browser.workers.clear()  # of the page itself
        self.engine(number, accelerator, threads)
        (worker,) = self.browser.workers
        yield worker
        self.browser("Target.setAutoAttach", autoAttach=False, **attach)

    def in_worker(self, worker: str, expression: str) -> Any:
        """The value of a promise in a worker."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.browser("Runtime.evaluate", worker, **asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]["exception"].get("description")
        return answer["result"].get("value")

    def class_map(self, encoded: bytes) -> NDArray[np.uint8]:
        """What the engine answers about an encoded image."""
        data = base64.b64encode(encoded).decode()
        answer = self.run(
            f"(async () => {{ const bytes = Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0)); "
            f"const answer = await engine.ask('segment', {{blob: new Blob([bytes])}}); "
            "answer.ids = btoa(Array.from(answer.ids, (id) => String.fromCharCode(id)).join('')); return answer; })()"
        )
        ids = np.frombuffer(base64.b64decode(answer["ids"]), np.uint8)
        return ids.reshape(answer["height"], answer["width"])


@pytest.fixture(scope="session")
def clip_images(street_clip: Path) -> list[bytes]:
    """Eight frames of a real street, as PNG files."""
    images = [frame.image_rgb for frame in frames([str(street_clip)], stride=30)][:8]
    return [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]


@pytest.fixture(scope="session")
def artifacts(broken: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packaged person files, which have a proof, and tiny files: small enough for an emulated GPU."""
    data = Path(__file__).parents[2] / "data"
    maps = data / "saved.fp32.tflite"
    logits = tmp_path_factory.mktemp("logits") / "saved.fp32.tflite"
    logits.write_bytes(broken(logits_out, maps))
    return {
        "fp32": maps,
        "logits": logits,
        "onnx": data / "saved.fp32.onnx",
        "int8 onnx": data / "saved.int8.onnx",
        "fp16": find_file("person.fp16"),
        "int8": find_file("person.int8"),
    }


def logits_out(model: Any) -> None:
    """Remove the ARG_MAX and the CAST from a file, and say so in its spec."""
    from ai_edge_litert import schema_py_generated as schema

    (graph,) = model.subgraphs
    arg_max = next(
        at
        for at, op in enumerate(graph.operators)
        if model.operatorCodes[op.opcodeIndex].builtinCode == schema.BuiltinOperator.ARG_MAX
    )
    graph.outputs = [graph.operators[arg_max].inputs[0]]
    graph.operators, model.signatureDefs = graph.operators[:arg_max], []
    (entry,) = (each for each in model.metadata if each.name == METADATA_KEY.encode())
    spec = ModelSpec.from_json(bytes(model.buffers[entry.buffer].data).decode())
    model.buffers[entry.buffer].data = list(dataclasses.replace(spec, output_kind="logits").to_json().encode())


@pytest.fixture(scope="session")
def site(artifacts: dict[str, Path]) -> Site:
    """The page with the artifacts."""
    try:
        LITERT.folder()
        ONNX.folder()
    except InputError as error:
        pytest.skip(f"the runtimes cannot be had: {error}")
    return Site.of(list(artifacts.values()))


@pytest.fixture(scope="session")
def server(site: Site) -> Iterator[WebServer]:
    with WebServer(site, port=0) as server:
        yield server


@pytest.fixture(scope="session")
def open_page(open_browser: Callable[..., Any]) -> Callable[..., Page]:
    """A function that opens a page of ``edgeseg web`` in a new browser with some flags."""

    def opened(url: str, *flags: str) -> Page:
        page = Page(open_browser(*flags))
        page.open(url)
        return page

    return opened


@pytest.fixture(scope="session")
def page(
    open_page: Callable[..., Page], street_clip: Path, server: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> Page:
    """The page in a browser whose camera is a street clip, and whose GPU is emulated."""
    camera = tmp_path_factory.mktemp("camera") / "street.mjpeg"
    with camera.open("wb") as file:
        for frame in list(frames([str(street_clip)]))[:50]:
            file.write(cv2.imencode(".jpg", frame.image_rgb[..., ::-1])[1].tobytes())
    flags = ("--enable-unsafe-webgpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    return open_page(server.url, *flags, f"--use-file-for-fake-video-capture={camera}")
