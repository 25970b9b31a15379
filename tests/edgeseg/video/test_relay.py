"""``relay``: SRT of a real sender, received by the program ffmpeg."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from edgeseg.errors import BackendUnavailable, InputError, SourceLost
from edgeseg.sources import open_source
from edgeseg.video.relay import Relay

pytestmark = pytest.mark.usefixtures("nothing_left")

PASSPHRASE = "0123456789"
#: How long the sender may take to listen; generous, as it is waited for and not slept.
START_S = 30.0


@pytest.fixture
def on_the_path(ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An ffmpeg with SRT, which is the only program on the PATH."""
    protocols = subprocess.run([ffmpeg, "-hide_banner", "-protocols"], capture_output=True, text=True, check=True)
    if "srt" not in protocols.stdout.split():
        pytest.skip("this ffmpeg has no SRT")
    (tmp_path / "ffmpeg").symlink_to(ffmpeg)
    monkeypatch.setenv("PATH", str(tmp_path))
    return ffmpeg


@pytest.fixture
def sender(on_the_path: str, free_port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of an SRT sender up to its passphrase, and the process."""
    url = f"srt://127.0.0.1:{free_port}?passphrase="
    image = ["-re", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25"]
    codec = ["-c:v", "mpeg2video", "-g", "5", "-f", "mpegts", f"{url}{PASSPHRASE}&mode=listener"]
    process = subprocess.Popen([on_the_path, "-loglevel", "quiet", *image, *codec])
    yield url, process
    process.kill()
    process.wait()


def test_srt_is_live_breaks_off_and_has_a_passphrase(sender: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = sender
    said, deadline_s = "", time.monotonic() + START_S
    while "passphrase=***' cannot be opened: the sender refuses the passphrase." not in said:
        assert time.monotonic() < deadline_s, said
        with pytest.raises(InputError) as refused:  # that nobody answers, until it listens
            open_source(f"{url}wrong67890", timeout_s=1)
        said = str(refused.value)
    source = open_source(f"{url}{PASSPHRASE}", timeout_s=2)
    try:
        assert (source.live, source.name) == (True, f"{url}***")
        captured = source.read()
        assert captured is not None
        assert captured.image_bgr.shape == (64, 80, 3)
        assert captured.image_bgr.std() > 40  # a test image, and not one color
        process.terminate()
        with pytest.raises(SourceLost, match=r"broke off after \d+ frames: the sender ended it, or is silent"):
            for _ in iter(source.read, None):
                pass
    finally:
        source.close()


def test_what_cannot_be_received_is_one_line(on_the_path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for url, reason in (
        ("srt://127.0.0.1", "'srt://127.0.0.1' cannot be opened: ffmpeg says: Port missing in uri."),
        ("srt://no-such-machine.invalid:9", "no machine has the name 'no-such-machine.invalid'"),
    ):
        with pytest.raises(InputError) as refused:
            open_source(url)
        assert reason in str(refused.value)
    program = tmp_path / "ffmpeg"
    program.unlink()
    with pytest.raises(BackendUnavailable, match=r"needs the program ffmpeg.*apt install ffmpeg"):
        open_source("srt://127.0.0.1:9")
    program.write_text("#!/bin/sh\necho 'srt://127.0.0.1:9: Protocol not found' >&2\n")  # as one without libsrt
    program.chmod(0o755)
    with pytest.raises(BackendUnavailable, match="neither PyAV nor the ffmpeg on your PATH is built with 'srt://'"):
        open_source("srt://127.0.0.1:9")


def test_a_wait_for_a_silent_sender_ends_when_it_is_stopped(on_the_path: str, free_port: int) -> None:
    relay = Relay(f"srt://127.0.0.1:{free_port}?mode=listener", timeout_s=600)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(relay.read(1)))
    thread.start()
    relay.stop()
    thread.join(START_S)  # far below the 600 s that it waits by itself
    relay.close()
    assert found == [b""]
