from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.errors import InputError
from edgeseg.sinks.targets import require_place, target_kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("out.mp4", "video"),
        ("out.MKV", "video"),
        ("a.b/out.png", "image"),
        ("out.JPG", "image"),
        ("out", "folder"),
        ("frames/*.png", "named"),
        ("frames/name_%04d.PNG", "numbered"),
        ("100%.png", "image"),
        ("out.mp4/", "folder"),
        (".", "folder"),
        ("ffmpeg:rtmp://host/app/key", "ffmpeg"),
        ("rtmp://host/app/key", "stream"),
        ("SRT://host:9000", "stream"),
        ("camera:", "camera"),
        ("camera:/dev/video10", "camera"),
    ],
)
def test_a_suffix_says_what_a_target_is(text: str, kind: str) -> None:
    assert target_kind(text) == kind


def test_a_folder_may_have_a_suffix_and_nothing_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street.v2").mkdir()
    assert target_kind("street.v2") == "folder"
    with pytest.raises(InputError, match=r"saved as 'out\.wmv'; accepted: a video file .* a folder \('out\.wmv/', "):
        target_kind("out.wmv")
    with pytest.raises(InputError, match=r"Did you mean '\.mp4'\?"):
        target_kind("out.mp5")


def test_what_is_told_to_type_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    several = {"still": False, "one_frame": False, "overwrite": False}
    with pytest.raises(InputError, match=r"give 'my out\.mp4' for a film, or 'my out'/ for a folder"):
        require_place("my out.png", **several)
    assert require_place("my out.mp4", **several) == "video"
    assert require_place("my out/", **several) == "folder"
    assert require_place("my out.png", still=False, one_frame=True, overwrite=False) == "image"
    with pytest.raises(InputError, match=r"give a\.png\."):
        require_place("a.mp4", still=True, one_frame=True, overwrite=False)
    assert not list(tmp_path.iterdir())
