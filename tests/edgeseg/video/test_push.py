from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from edgeseg.sinks.ffmpeg_pipe import STREAM_FORMATS
from edgeseg.video.push import CONNECTED, MUXERS, push

av = pytest.importorskip("av", reason="PyAV is not installed")


def test_frames_arrive_as_h264_and_the_last_one_too() -> None:
    frames = b"".join(np.full((33, 47, 3), level, np.uint8).tobytes() for level in (50, 100, 150, 200))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received = bytearray()
        thread = threading.Thread(target=_receive, args=(listener, received))
        thread.start()
        push(io.BytesIO(frames), f"tcp://127.0.0.1:{listener.getsockname()[1]}", (33, 47), 25.0)
        thread.join()
    with av.open(io.BytesIO(received), format="mpegts") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        found = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert [image.shape for image in found] == [(32, 46)] * 4
    assert [round(image.mean() / 10) * 10 for image in found] == [50, 100, 150, 200]


def _receive(listener: socket.socket, received: bytearray) -> None:
    with listener.accept()[0] as client:
        while piece := client.recv(65536):
            received += piece


def test_the_program_says_when_it_is_connected_and_what_went_wrong() -> None:
    command = [sys.executable, "-m", "edgeseg.video.push"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        asked = json.dumps({"url": url, "height": 16, "width": 16, "fps": 25.0}).encode() + b"\n"
        done = subprocess.run(command, input=asked, capture_output=True, check=True)
        assert done.stderr.decode().split() == [CONNECTED]
    done = subprocess.run(command, input=asked, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"Connection refused\n")
    for url, reason in (
        ("rtmp://no-such-machine.invalid/live/door", "no machine has the name 'no-such-machine.invalid'"),
        (_hangs_up(), "the server closed the connection"),
    ):
        asked = json.dumps({"url": url, "height": 16, "width": 16, "fps": 25.0}).encode() + b"\n"
        done = subprocess.run(command, input=asked, capture_output=True, text=False, check=False)
        assert (done.returncode, done.stderr.decode()) == (1, f"{reason}\n")


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="no alarm")
def test_a_silent_server_does_not_keep_the_program_after_who_started_it() -> None:
    code = "from edgeseg.video import push; push.LONGEST_S = 1; push.main()"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = {"url": f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/x", "height": 16, "width": 16, "fps": 25.0}
        done = subprocess.run([sys.executable, "-c", code], input=json.dumps(asked).encode() + b"\n", check=False)
    assert done.returncode == -signal.SIGALRM


def _hangs_up() -> str:
    """Return the address of a server that takes one connection and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as client:
            client.recv(65536)

    threading.Thread(target=serve, daemon=True).start()
    return f"rtmp://127.0.0.1:{listener.getsockname()[1]}/live/door"


def test_both_programs_know_the_same_schemes() -> None:
    assert set(MUXERS) == set(STREAM_FORMATS)
    for scheme, (muxer, _) in MUXERS.items():
        assert muxer in STREAM_FORMATS[scheme]
