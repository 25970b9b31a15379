"""``_system_libraries``: a real extension module whose libraries are not there, and the names of Debian's packages."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import PIL._imaging
import pytest

from edgeseg.cli._system_libraries import advice, debian_packages, missing_libraries

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the loader of Linux")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImportError:
    """What Python raises for Pillow's extension module after two of the libraries that it needs are renamed in it."""
    original = Path(PIL._imaging.__file__)
    content = original.read_bytes()
    for library, other in ((b"libz.so.1\0", b"libQ.so.1\0"), (b"libpthread.so.0\0", b"libXthread.so.0\0")):
        assert library in content
        content = content.replace(library, other)
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / f"_imaging{''.join(original.suffixes)}").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match="cannot open shared object file") as raised:
        importlib.import_module("nowhere._imaging")
    return raised.value


@linux
def test_the_loader_names_every_library_that_is_missing(broken: ImportError) -> None:
    assert set(missing_libraries(broken)) == {"libQ.so.1", "libXthread.so.0"}
    text = advice(broken)
    assert text.startswith("nowhere cannot be loaded: the system lacks lib")
    assert "libxthread0" in text
    assert "libq1" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("library", "package"),
    [
        # What OpenCV 4 and 5, MediaPipe and GPU drivers ask for: package names of Debian 12 and 13.
        ("libGL.so.1", "libgl1"),
        ("libgthread-2.0.so.0", "libglib2.0-0"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libxcb.so.1", "libxcb1"),
        ("libxcb-icccm.so.4", "libxcb-icccm4"),
        ("libX11.so.6", "libx11-6"),
        ("libX11-xcb.so.1", "libx11-xcb1"),
        ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
        ("libSM.so.6", "libsm6"),
        ("libICE.so.6", "libice6"),
        ("libXext.so.6", "libxext6"),
        ("libEGL.so.1", "libegl1"),
        ("libGLESv2.so.2", "libgles2"),
        ("libfontconfig.so.1", "libfontconfig1"),
        ("libdbus-1.so.3", "libdbus-1-3"),
        ("libvulkan.so.1", "libvulkan1"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libz.so.1", "zlib1g"),
    ],
)
def test_a_library_has_its_package_in_debian(library: str, package: str) -> None:
    assert debian_packages([library, library]) == [package]
    error = ImportError(f"{library}: cannot open shared object file: No such file or directory", name="cv2")
    assert f"sudo apt install {package}" in advice(error)
    assert advice(error).startswith("OpenCV cannot be loaded: the system lacks ")


@pytest.mark.parametrize(
    "text",
    [
        "/lib/libc.so.6: version `GLIBC_2.34' not found (required by libLiteRt.so)",
        "undefined symbol: _ZN2cv3MatC1Ev",
        "numpy.core.multiarray failed to import",
    ],
)
def test_other_reasons_are_given_as_they_are(text: str) -> None:
    error = ImportError(text, name="ai_edge_litert")
    assert missing_libraries(error) == []
    assert advice(error) == f"ai_edge_litert cannot be loaded: {text}"
