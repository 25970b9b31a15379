"""What can be on the page, the runtime that is brought for it (``runtime``), and the command (``edgeseg.cli.web``)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeseg.cli import main
from edgeseg.downloads.npm import NpmPackage
from edgeseg.errors import InputError
from edgeseg.web import runtime
from edgeseg.web.server import POLICY
from edgeseg.web.site import CONTENT_TYPES, Site, runtime_place


def test_the_site_is_whole(site: Site) -> None:
    litert = runtime_place(runtime.LITERT)
    listed = json.loads(site.files["site.json"].read())
    assert [entry["precision"] for entry in listed["artifacts"]] == ["fp32", "fp32", "fp32", "int8", "fp16", "int8"]
    assert [entry["gpu"] for entry in listed["artifacts"]] == [True, True, False, False, True, False]
    for entry in listed["artifacts"]:
        assert {entry["file"], entry["proof"]} - {None} <= set(site.files)
    assert all(Path(name).suffix in CONTENT_TYPES for name in site.files)
    assert {f"{litert}LICENSE.txt", f"{litert}wasm/litert_wasm_threaded_internal.wasm"} <= set(site.files)


def test_the_page_has_its_policy_without_a_server(site: Site) -> None:
    frames = "; frame-ancestors 'none'"  # which a page cannot say of itself
    assert f'content="{POLICY.removesuffix(frames)}"' in site.files["index.html"].read().decode()
    assert POLICY.endswith(frames)


def test_a_file_of_any_name_can_be_on_it(artifacts: dict[str, Path], tmp_path: Path) -> None:
    for name in ("my model.tflite", "50 % #1?.TFLITE", "straße.tflite"):
        shutil.copy(artifacts["int8"], tmp_path / name)
        gathered = Site.of([tmp_path / name])
        (entry,) = json.loads(gathered.files["site.json"].read())["artifacts"]
        assert entry["file"] == "models/0/model.tflite" in gathered.files
        assert entry["name"] == Path(name).stem


def test_what_cannot_be_on_the_page(tmp_path: Path, tflite_model: Callable[..., bytes]) -> None:
    (tmp_path / "model.keras").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot run in a browser; accepted: .tflite, .onnx files"):
        Site.of([tmp_path / "model.keras"])
    (tmp_path / "bare.tflite").write_bytes(tflite_model(["RELU"], [((1, 8, 8, 3), "float32")]))
    with pytest.raises(InputError, match="has no ModelSpec inside"):
        Site.of([tmp_path / "bare.tflite"])


def test_a_runtime_that_changed_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def downloaded(package: NpmPackage, names: list[str]) -> dict[str, bytes]:
        return dict.fromkeys(names, b'import { other } from "elsewhere";')

    monkeypatch.setattr(runtime, "download", downloaded)
    with pytest.raises(InputError, match="does not import what it did"):
        runtime.LITERT.folder()
    assert not list(tmp_path.rglob("*"))
    monkeypatch.setattr(runtime, "_BARE_IMPORT", b'"elsewhere"')
    folder = runtime.LITERT.folder()
    assert b'"./wasm-utils.js"' in (folder / "core.js").read_bytes()
    assert "Apache License" in (folder / "LICENSE.txt").read_text()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_runtime_comes_with_its_license_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "distribution", missing)
    monkeypatch.setattr(runtime, "_SOURCES", tmp_path)
    with pytest.raises(InputError, match=rf"without its file LICENSE \('{re.escape(str(tmp_path / 'LICENSE'))}'\)"):
        runtime._own_license()
    (tmp_path / "LICENSE").write_bytes(b"Apache License")
    assert runtime._own_license() == b"Apache License"  # a clone that is on the path and not installed
    monkeypatch.setattr(runtime, "distribution", lambda name: SimpleNamespace(read_text=lambda path: "of the wheel"))
    assert runtime._own_license() == b"of the wheel"


def test_the_command_writes_the_files(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["web", "person.int8", "--output-dir", str(tmp_path / "site")]
    assert main(wanted) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'site'}\n"
    assert (tmp_path / "site" / runtime_place(runtime.LITERT) / "wasm" / "litert_wasm_internal.wasm").read_bytes()[
        :4
    ] == b"\0asm"
    assert main(wanted) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    for wrong in (["--overwrite"], ["--output-dir", str(tmp_path), "--usb"], ["--usb", "--host", "0.0.0.0"]):
        assert main(["web", *wrong]) == 2
