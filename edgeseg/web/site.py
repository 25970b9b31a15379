"""Gather the files of the page: its own, the runtimes, and the artifacts with their specs and proofs.

The same files are served by ``edgeseg web`` and written by ``edgeseg web --output-dir``:

    index.html ...          the page
    site.json               the artifacts: names, specs, where their files are
    runtime/                LiteRT.js, where needed onnxruntime-web, and their licenses
    models/N/               artifact number N and its proof, as ``model`` with their suffixes
"""

from __future__ import annotations

import gzip
import json
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from edgeseg._internal.files import refuse_existing, write_bytes
from edgeseg.choices import INTEGERS
from edgeseg.drawing.class_filter import background_of
from edgeseg.errors import InputError
from edgeseg.models.packaged_files import find_file
from edgeseg.proof import find_proof
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec
from edgeseg.web.runtime import LITERT, ONNX, BrowserRuntime

#: What a browser is told of a file, by its suffix.
CONTENT_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
    ".tflite": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".zip": "application/zip",
}

# What runs a model in a browser and how it looks, on either page.
_SHARED = (
    *("style.css", "engine.js", "worker.js", "litert.js", "onnx.js", "imaging.js", "drawing.js", "proof.js"),
    "icon.svg",
)
_PAGE = ("index.html", "app.js", "clock.js", *_SHARED, "headers.js", "manifest.webmanifest")

#: The files of the page on which a browser is measured.
_DEVICE_PAGE = ("device.html", "device.js", *_SHARED)

#: Why an integer file runs on no GPU of a browser.
NO_GPU = (
    "A GPU computes integers as float numbers, and gives other classes for up to 7 % of the pixels; this file runs on "
    "the CPU (wasm)."
)


#: Why a .onnx file does not.
NO_GPU_FOR_ONNX = "A .onnx file runs on the CPU (wasm) of a browser; export .tflite for its GPU."

#: Where the runtimes are in the site.
RUNTIMES = "runtime/"

_BY_SUFFIX: Mapping[str, BrowserRuntime] = {".tflite": LITERT, ".onnx": ONNX}


@dataclass(frozen=True)
class File:
    """A file of the site.

    Attributes:
        path: where it is on this machine; ``None`` where ``content`` is all of it.
        content: its bytes, where it is on no disk.
        gzipped: whether what is there is the file compressed by gzip.
    """

    path: Path | None = None
    content: bytes = b""
    gzipped: bool = False

    def read(self) -> bytes:
        """Return the bytes that are there, compressed or not."""
        return self.content if self.path is None else self.path.read_bytes()


@dataclass(frozen=True)
class Site:
    """The page with its artifacts.

    Attributes:
        files: by their path in the site, such as ``models/0/street.int8.tflite``.
    """

    files: Mapping[str, File]

    @classmethod
    def of(cls, artifacts: Sequence[str | Path]) -> Site:
        """Gather the site of some artifacts.

        Args:
            artifacts: ``.tflite`` and ``.onnx`` files with a ``ModelSpec`` inside, or names of packaged files.

        Raises:
            InputError: an artifact cannot run on the page, or a runtime cannot be downloaded.
        """
        content: dict[str, File] = {name: File(_page_file(name)) for name in _PAGE}
        entries = []
        for number, artifact in enumerate(artifacts):
            path = find_file(artifact)
            entry, own = _entry(path, f"models/{number}/")
            entries.append(entry)
            content.update(own)
        for runtime in {runtime_of(find_file(artifact)) for artifact in artifacts}:
            content.update(runtime_files(runtime))
        listed = {"format_version": 1, "artifacts": entries}
        content["site.json"] = File(content=json.dumps(listed).encode())
        return cls(content)

    @classmethod
    def for_device(cls, others: MutableMapping[str, File]) -> Site:
        """Gather the page on which a browser is measured.

        Args:
            others: models and runtimes by their paths in the site; what is added to it later is served too.
        """
        return cls(ChainMap(others, {name: File(_page_file(name)) for name in _DEVICE_PAGE}))

    def write(self, folder: Path, *, overwrite: bool = False) -> list[Path]:
        """Write the site for any host of static files.

        Args:
            folder: where; made where it is missing.
            overwrite: whether existing files may be replaced.

        Returns:
            The files.

        Raises:
            InputError: a file exists and must not be replaced, or cannot be written.
        """
        for name in self.files:
            refuse_existing(folder / name, overwrite=overwrite)
        written = []
        for name, file in self.files.items():
            data = file.read()
            write_bytes(folder / name, gzip.decompress(data) if file.gzipped else data, overwrite=overwrite)
            written.append(folder / name)
        return written


def runtime_place(runtime: BrowserRuntime) -> str:
    """Return the path in the site of a runtime's folder."""
    return f"{RUNTIMES}{runtime.name}-{runtime.version}/"


def runtime_of(path: Path) -> BrowserRuntime:
    """Return the runtime of a model file.

    Raises:
        InputError: no browser runs such a file.
    """
    runtime = _BY_SUFFIX.get(path.suffix.lower())
    if runtime is None:
        raise InputError(f"'{path}' cannot run in a browser; accepted: {', '.join(_BY_SUFFIX)} files.")
    return runtime


def runtime_files(runtime: BrowserRuntime) -> dict[str, File]:
    """Return the files of a runtime by their paths in the site.

    Raises:
        InputError: it cannot be downloaded.
    """
    folder = runtime.folder()
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files[runtime_place(runtime) + name.removesuffix(".gz")] = File(path, gzipped=name.endswith(".gz"))
    return files


def _page_file(name: str) -> Path:
    return Path(str(resources.files("edgeseg.web"))) / "page" / name


def _entry(path: Path, folder: str) -> tuple[dict[str, Any], dict[str, File]]:
    """Return what the page must know of an artifact, and its files."""
    runtime = runtime_of(path)
    with Segmenter(path) as segmenter:
        spec, taken = segmenter.spec, segmenter.backend.inputs[0].dtype
    if taken != spec.dtype:
        raise InputError(f"'{path}' takes {taken} where its spec says {spec.dtype}; the page feeds a file as it says.")
    if spec.resize != "bilinear":
        raise InputError(f"'{path}' wants images resized by '{spec.resize}'; the page does it by 'bilinear' alone.")
    precision = spec.provenance.precision
    # Not under their own names, which may have any character.
    model, proven = f"{folder}model{path.suffix.lower()}", f"{folder}model.proof.zip"
    own = {model: File(path)}
    proof = find_proof(path)
    if proof is not None:
        own[proven] = File(proof)
    return {
        "name": path.stem,
        "file": model,
        "proof": None if proof is None else proven,
        "precision": precision,
        "gpu": runtime is LITERT and precision not in INTEGERS,
        "noGpu": NO_GPU if runtime is LITERT else NO_GPU_FOR_ONNX,
        "background": list(background_of(spec)),
        "runtime": f"{runtime.name} {runtime.version}",
        "folder": runtime_place(runtime),
        "spec": _spec(spec),
    }, own


def _spec(spec: ModelSpec) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(spec.to_json())
    return said
