"""Bring the runtimes that a page loads: from their npm packages, by hash, into the user's cache."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from edgeseg._internal.files import cache_folder
from edgeseg.downloads.npm import NpmPackage, download
from edgeseg.errors import InputError

# Where the project's LICENSE is when edgeseg is run from a clone.
_SOURCES = Path(__file__).parents[2]

_CORE = NpmPackage(
    "@litertjs/core",
    "2.5.3",
    "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    11_817_097,
)
_UTILS = NpmPackage(
    "@litertjs/wasm-utils",
    "2.5.3",
    "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
    4_698,
)
_ORT = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    33_106_585,
)

#: Builds of LiteRT.js: with one thread, with several, and without the SIMD that Safari lacks. LiteRT.js chooses.
_BUILDS = ("litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal")

# The only import of LiteRT.js' core names a package, which a browser's worker cannot resolve.
_BARE_IMPORT, _IMPORT = b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"'


@dataclass(frozen=True)
class BrowserRuntime:
    """A runtime that a page loads.

    Attributes:
        name: as its project writes it.
        version: of its npm package.
        content: returns its files by their paths; what ends in ``.gz`` is served as the file without that.
    """

    name: str
    version: str
    content: Callable[[], Mapping[str, bytes]]

    def folder(self) -> Path:
        """Return the folder with its files, which are downloaded at the first call.

        Raises:
            InputError: its packages cannot be had, or the cache cannot be written.
        """
        folder = cache_folder() / f"{self.name.lower().replace('.', '-')}-{self.version}"
        if folder.is_dir():
            return folder
        content = self.content()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place, and then in one step: a killed process leaves no half of it under that name.
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
                made = Path(beside) / folder.name
                for name, data in content.items():
                    (made / name).parent.mkdir(parents=True, exist_ok=True)
                    (made / name).write_bytes(data)
                try:
                    made.rename(folder)
                except OSError:
                    if not folder.is_dir():  # else another process was faster
                        raise
        except OSError as error:
            raise InputError(f"'{folder}' cannot be written: {error.strerror}.") from error
        return folder


def _litert() -> Mapping[str, bytes]:
    builds = [f"wasm/{build}{suffix}" for build in _BUILDS for suffix in (".js", ".wasm")]
    content = download(_CORE, ["dist/index.js", *builds])
    core = content.pop("dist/index.js")
    if core.count(_BARE_IMPORT) != 1:
        raise InputError(f"LiteRT.js {_CORE.version} does not import what it did; edgeseg must be changed for it.")
    return {
        "core.js": core.replace(_BARE_IMPORT, _IMPORT),
        "wasm-utils.js": download(_UTILS, ["dist/index.js"])["dist/index.js"],
        "LICENSE.txt": _own_license(),
        **_compressed(content),
    }


def _onnx() -> Mapping[str, bytes]:
    names = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    content = download(_ORT, [f"dist/{name}" for name in names])
    files = {name: content[f"dist/{name}"] for name in names}
    # The packages name their licenses, and have no text of them.
    license_text = resources.files("edgeseg.web").joinpath("LICENSE-MIT.txt").read_bytes()
    return {"LICENSE.txt": license_text, **_compressed(files)}


def _own_license() -> bytes:
    """Return the text of the Apache License 2.0, LiteRT.js' and edgeseg's own: as a wheel has it, or the source tree.

    Raises:
        InputError: it is in neither.
    """
    beside = _SOURCES / "LICENSE"
    try:
        text = distribution("edgeseg").read_text("licenses/LICENSE")
    except PackageNotFoundError:  # run from its sources
        text = None
    if text is not None:
        return text.encode()
    try:
        return beside.read_bytes()
    except OSError as error:
        raise InputError(
            "the text of the Apache License 2.0, with which LiteRT.js comes, is missing: edgeseg was copied without "
            f"its file LICENSE ('{beside}')."
        ) from error


def _compressed(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return files with WebAssembly as browsers take it on the way: a third of its size."""
    return {
        f"{name}.gz" if name.endswith(".wasm") else name: gzip.compress(data, 9, mtime=0)
        if name.endswith(".wasm")
        else data
        for name, data in files.items()
    }


#: Runs ``.tflite`` files.
LITERT = BrowserRuntime("LiteRT.js", _CORE.version, _litert)

#: Runs ``.onnx`` files.
ONNX = BrowserRuntime("onnxruntime-web", _ORT.version, _onnx)
