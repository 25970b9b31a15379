"""Bring LiteRT.js, which runs ``.tflite`` files in a browser: from its npm packages, by hash, into the user's cache."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from edgeseg._internal.files import cache_folder
from edgeseg.downloads.npm import NpmPackage, download
from edgeseg.errors import InputError

VERSION = "2.5.3"

_CORE = NpmPackage(
    "@litertjs/core",
    VERSION,
    "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    11_817_097,
)
_UTILS = NpmPackage(
    "@litertjs/wasm-utils",
    VERSION,
    "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
    4_698,
)

#: Builds of the runtime: with one thread, with several, and without the SIMD that Safari lacks. LiteRT.js chooses.
_BUILDS = ("litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal")

# The only import of the core names a package, which a browser's worker cannot resolve.
_BARE_IMPORT, _IMPORT = b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"'


def runtime_folder() -> Path:
    """Return the folder with LiteRT.js, which is downloaded at the first call.

    Returns:
        A folder with ``core.js``, ``wasm-utils.js``, ``LICENSE.txt``, and in ``wasm`` the builds: ``NAME.js`` and
        ``NAME.wasm.gz``.

    Raises:
        InputError: the packages cannot be had, or the cache cannot be written.
    """
    folder = cache_folder() / f"litert-js-{VERSION}"
    if folder.is_dir():
        return folder
    content = _content()
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


def _content() -> Mapping[str, bytes]:
    """Return the files of the folder, out of the packages."""
    wasm = [f"wasm/{build}{suffix}" for build in _BUILDS for suffix in (".js", ".wasm")]
    core = download(_CORE, ["dist/index.js", *wasm])
    script = core.pop("dist/index.js")
    if script.count(_BARE_IMPORT) != 1:
        raise InputError(f"LiteRT.js {VERSION} does not import what it did; edgeseg must be changed for it.")
    content = {
        "core.js": script.replace(_BARE_IMPORT, _IMPORT),
        "wasm-utils.js": download(_UTILS, ["dist/index.js"])["dist/index.js"],
        # The packages say Apache-2.0 and have no text of it.
        "LICENSE.txt": files("edgeseg.web").joinpath("LICENSE-Apache-2.0.txt").read_bytes(),
    }
    for name, data in core.items():
        if name.endswith(".wasm"):
            content[f"{name}.gz"] = gzip.compress(data, 9, mtime=0)
        else:
            content[name] = data
    return content
