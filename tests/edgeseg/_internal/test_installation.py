"""installation and versions: what doctor says, on packages that are there as metadata only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from edgeseg._internal import versions
from edgeseg._internal.installation import Part, parts
from edgeseg._internal.versions import installed_distribution, installed_version

NEVER, ALWAYS = "python_version < '3'", "python_version >= '3'"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a package that has nothing but metadata, and a module where that is named."""
    monkeypatch.syspath_prepend(str(tmp_path))
    versions._distributions.cache_clear()

    def make(name: str, version: str, *requires: str, extras: tuple[str, ...] = (), module: str = "") -> None:
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {text}" for text in requires]
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("\n".join(lines))
        (folder / "top_level.txt").write_text(module)  # all that Python 3.10 looks at

    yield make
    versions._distributions.cache_clear()


def only(*requires: str, install: Install, extras: tuple[str, ...] = ()) -> Part:
    install("edgeseg", "9", *requires, extras=extras)
    (part,) = parts()
    return part


@pytest.mark.parametrize(
    ("specifier", "installed", "ok"),
    [
        ("", "0.1", True),
        (">=2.1", "2.1", True),
        (">=2.1", "2.0.9", False),
        (">=2.9", "2.10", True),
        ("~=2.19", "2.21.3", True),
        ("~=2.19", "3.0", False),
        ("~=2.19.1", "2.20", False),
        (">=2,<3", "2.99", True),
        (">=2,<3", "3.0", False),
        ("!=2.5,>=2", "2.5", False),
        ("!=2.5,>=2", "2.6", True),
        ("==1.1.11", "1.1.11+cpu", True),
        (">=2.1", "2.2.0rc1", True),
        (">=2.1", "2.2.0.dev20261101", True),
        (">=2.1", "2.1rc1", False),
        ("<3", "3.0rc1", False),
    ],
)
def test_a_version_is_judged_by_every_bound(specifier: str, installed: str, ok: bool, install: Install) -> None:
    install("some-package", installed)
    part = only(f"some-package{specifier}", install=install)
    assert (part.package, part.needed_for, part.installed, part.ok) == ("some-package", "edgeseg", installed, ok)
    assert part.install == ("" if ok else "pip install --upgrade edgeseg")
    assert sorted(part.required.split(",")) == sorted(specifier.split(","))


def test_a_marker_decides_whether_a_package_is_needed(install: Install) -> None:
    install("here", "2.0")
    install(
        "edgeseg", "9",
        f"here>=1; {ALWAYS}", f"elsewhere>=1; {NEVER}",
        f"also-here>=1; {ALWAYS} and extra == 'some'", f"nor-here>=1; {NEVER} and extra == 'some'",
        extras=("some",),
    )  # fmt: skip
    here, also = parts()
    assert (here.package, here.needed_for, here.ok) == ("here", "edgeseg", True)
    assert (also.package, also.needed_for, also.installed, also.ok) == ("also-here", "some", None, False)
    assert also.install == 'pip install --upgrade "edgeseg[some]"'


def test_the_standard_library_has_no_tomli_before_python_3_11(install: Install) -> None:
    """As edgeseg's own metadata has it."""
    tomli = "tomli>=2.0; python_version < '3.11'"
    assert tomli in [text.replace('"', "'") for text in metadata.requires("edgeseg") or []]
    install("edgeseg", "9", tomli)
    assert [part.package for part in parts()] == (["tomli"] if sys.version_info < (3, 11) else [])


def test_extras_come_in_the_order_in_which_a_user_meets_them(install: Install) -> None:
    brought = {
        "all": "a b c d e f g h",
        "charts": "c",
        "convert": "a b c d e f g h",
        "device": "a b",
        "onnx": "b",
        "tflite": "a",
        "train": "c d e",
        "web": "f",
    }
    requires = [f"{name}; extra == '{extra}'" for extra, names in brought.items() for name in names.split()]
    install("edgeseg", "9", *requires, "z", extras=tuple(brought))
    shown = [(part.package, part.needed_for) for part in parts()]
    assert shown[:3] == [("z", "edgeseg"), ("b", "onnx"), ("a", "tflite")]
    assert shown[3:5] == [("c", "charts"), ("f", "web")]
    assert shown[5:] == [("d", "train"), ("e", "train"), ("g", "convert"), ("h", "convert")]


def test_an_extra_of_extras_need_not_be_expanded(install: Install) -> None:
    install(
        "edgeseg", "9",
        "a>=1; extra == 'tflite'", "edgeseg[tflite]; extra == 'device'", "EdgeSeg[device]; extra == 'all'",
        "b; extra == 'device'", "c; extra == 'all'",
        extras=("all", "device", "tflite"),
    )  # fmt: skip
    assert [(part.package, part.needed_for) for part in parts()] == [
        ("a", "tflite"),
        ("b", "device"),
        ("c", "all"),
    ]


def test_another_bound_of_the_same_package_is_shown_too(install: Install) -> None:
    install("a", "1.5")
    install("edgeseg", "9", "A>=1", "a>=1; extra == 'x'", "a>=2; extra == 'x'", extras=("x",))
    assert [(part.needed_for, part.required, part.ok) for part in parts()] == [
        ("edgeseg", ">=1", True),
        ("x", ">=2", False),
    ]


def test_a_package_under_another_name_counts(install: Install) -> None:
    install("onnxruntime-gpu-like", "2.0", module="some_runtime")
    part = only("some-runtime>=1.20", install=install)
    assert (part.installed, part.ok) == ("2.0", True)


def test_a_package_without_metadata_counts_and_its_version_is_not_judged(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "built_here", ModuleType("built_here"))
    part = only("built-here>=1", install=install)
    assert (part.installed, part.ok, part.install) == ("of unknown version", True, "")


def test_a_missing_package(install: Install) -> None:
    part = only("surely-not-there>=1", install=install)
    assert (part.installed, part.ok, part.install) == (None, False, "pip install --upgrade edgeseg")


def test_opencv_is_called_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a board without a screen: opencv-python-headless."""

    def version(name: str) -> str:
        if name == "opencv-python-headless":
            return "4.12.0.88"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(versions, "_distributions", lambda: {"cv2": ["opencv-python-headless"]})
    assert installed_distribution("opencv-python") == ("opencv-python-headless", "4.12.0.88")


def test_distributions_are_scanned_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = []
    monkeypatch.setattr(metadata, "packages_distributions", lambda: scans.append(1) or {})
    assert [installed_version(f"surely-not-there-{i}") for i in range(5)] == [None] * 5
    assert len(scans) == 1
