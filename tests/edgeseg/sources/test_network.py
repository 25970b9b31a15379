"""``network``: servers on loopback that answer in every way: an error, a page, a video, a playlist, silence."""

from __future__ import annotations

import functools
import http.server
import logging
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av", reason="PyAV is not installed")

from edgeseg.errors import InputError, SourceLost
from edgeseg.sources import Source, frames, open_source
from edgeseg.sources.extent import Extent, extent
from edgeseg.sources.network import StreamCapture

pytestmark = pytest.mark.usefixtures("nothing_left")

#: How long a server may take to be there; generous, as it is waited for and not slept.
START_S = 30.0


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, and answers that are none: ``/401`` has that status, ``/old/NAME`` has no length."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.strip("/")
        if name.isdigit():
            self.send_error(int(name))
        elif name == "page":
            body = b"<!DOCTYPE html><html><body>Sign in</body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif name.startswith("old/"):  # HTTP/1.0, where the end of the connection is that of the content
            kind, path = b"text/html" if name == "old/page" else b"video/mp4", Path(self.directory) / Path(name).name
            content = b"<!DOCTYPE html>Sign in" if name == "old/page" else path.read_bytes()
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n" + content)
        elif name.startswith("gone/") and len(self.asked) > 1:
            self.send_error(404)
        elif name.startswith(("halves/", "gone/")):
            self.send_half(name)
        elif name == "nothing":
            self.close_connection = True
        else:
            super().do_GET()

    def send_half(self, name: str) -> None:
        """Send a file from where it is asked for, and of the first request the first half."""
        content = (Path(self.directory) / Path(name).name).read_bytes()
        start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]) if "Range" in self.headers else 0
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if start else content[: len(content) // 2])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server of a folder: its address, the folder, and what it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (Handler,), {"asked": asked})
    folder = tmp_path / "site"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder, asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/401", r"refuses the user name or password \(401\)"),
        ("/403", r"does not allow it \(403\)"),
        ("/404", r"has nothing at this path \(404\)"),
        ("/429", r"is asked too often \(429\)"),
        ("/418", r"refuses the request \(4XX\)"),
        ("/500", r"the server itself failed \(5XX\)"),
        ("/page", "it answers with HTML, a web page, not a video"),
        ("/old/page", "it answers with HTML, a web page, not a video"),
        ("/text.txt", "it answers with 'text/plain', which does not decode as a video"),
        ("/a text.txt", "it answers with 'text/plain', which does not decode as a video"),
        ("/nothing", "the server closed the connection before a video came"),
    ],
)
def test_every_answer_that_is_no_video_is_told_from_the_others(
    path: str, reason: str, site: tuple[str, Path, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    address, folder, _ = site
    for name in ("text.txt", "a text.txt"):
        (folder / name).write_text("no video at all, but a text")
    with pytest.raises(InputError, match=reason) as refused:
        open_source(f"{address}{path}?key=secret" if path == "/text.txt" else f"{address}{path}")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_a_name_that_nobody_has_and_a_port_where_nobody_listens(free_port: int) -> None:
    with pytest.raises(InputError, match=r"no machine has the name 'no-such-machine\.invalid'"):
        open_source("http://no-such-machine.invalid/feed")
    for name in ("a..b", "a" * 64):  # no name at all: labels have 1 to 63 letters
        with pytest.raises(InputError, match=f"no machine has the name '{name}'"):
            open_source(f"http://{name}/feed")
    for scheme in ("http", "rtsp", "rtmp", "tcp"):
        with pytest.raises(InputError, match="nothing answers there; the connection was refused"):
            open_source(f"{scheme}://127.0.0.1:{free_port}/a/b")


def test_a_stream_that_sends_nothing_is_told_after_the_timeout(free_port: int) -> None:
    with pytest.raises(InputError, match=r"does not answer within 0\.3 s"):
        open_source(f"udp://127.0.0.1:{free_port}", timeout_s=0.3)


def every(source: Source) -> list[str]:
    names = [captured.name for captured in iter(source.read, None)]
    source.close()
    return names


def test_what_a_web_server_has_is_live_only_where_it_has_no_end(
    site: tuple[str, Path, list[str]], clip: Path, ffmpeg: str
) -> None:
    """A signed URL without a suffix, a finished playlist, an animation and an image: every frame is used."""
    address, folder, _ = site
    (folder / "signed").write_bytes(clip.read_bytes())
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25:duration=2"]
    playlist = ["-c:v", "libx264", "-g", "10", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0"]
    subprocess.run([*make, *playlist, str(folder / "all.m3u8")], check=True)
    image = Image.fromarray(np.full((32, 48, 3), (200, 40, 0), np.uint8))
    for name in ("a.jpg", "b"):
        image.save(folder / name, "JPEG", quality=95)
    for suffix in ("gif", "webp"):
        image.save(folder / f"anim.{suffix}", save_all=True, append_images=[Image.new("RGB", (48, 32))], duration=40)
    image.save(folder / "c.webp")
    for path, expected in (
        ("signed?signature=abc", [f"signed_{number:06d}" for number in range(10)]),
        ("all.m3u8", [f"all_{number:06d}" for number in range(50)]),
        ("anim.gif", ["anim_000000", "anim_000001"]),
        ("anim.webp", ["anim_000000", "anim_000001"]),
        ("c.webp", ["c"]),
        ("a.jpg", ["a"]),
        ("b?size=2", ["b"]),
    ):
        source = open_source(f"{address}/{path}")
        assert not source.live
        assert (source.fps is None) == (len(expected) == 1)
        assert every(source) == expected


def test_a_file_whose_connection_broke_is_asked_for_from_there_on(
    site: tuple[str, Path, list[str]], ffmpeg: str
) -> None:
    address, folder, asked = site
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25:duration=2"]
    subprocess.run([*make, "-c:v", "libx264", "-g", "10", str(folder / "clip.mkv")], check=True)
    source = open_source(f"{address}/halves/clip.mkv")
    assert not source.live
    assert every(source) == [f"clip_{number:06d}" for number in range(50)]
    assert len(asked) > 1


def test_a_server_that_says_no_length_and_has_no_ranges(site: tuple[str, Path, list[str]], ffmpeg: str) -> None:
    address, folder, _ = site
    # Lossless: more than the 32 KiB that FFmpeg keeps and goes back in without asking.
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=2", "-qp", "0"]
    for name, flags in (("front.mp4", ["-movflags", "+faststart"]), ("end.mp4", []), ("clip.mkv", [])):
        subprocess.run([*make, "-c:v", "libx264", *flags, str(folder / name)], check=True)
    for name in ("front.mp4", "clip.mkv"):
        assert len(every(open_source(f"{address}/old/{name}"))) == 50
    with pytest.raises(SourceLost, match=r"0 decode: .*needs a server with byte ranges, or ffmpeg .*\+faststart OUT"):
        every(open_source(f"{address}/old/end.mp4"))
    content = (folder / "clip.mkv").read_bytes()
    (folder / "clip.mkv").write_bytes(content[: len(content) // 4])
    with pytest.raises(SourceLost, match=r"says it has 50 frames, but .* the connection broke, or the file is cut off"):
        every(open_source(f"{address}/old/clip.mkv"))


def test_frames_are_those_of_an_address_with_an_end(site: tuple[str, Path, list[str]], clip: Path) -> None:
    address, folder, _ = site
    (folder / "clip.avi").write_bytes(clip.read_bytes())
    Image.new("RGB", (48, 32), (200, 40, 0)).save(folder / "a.png")
    url = f"{address}/clip.avi"
    taken = list(frames([f"{address}/a.png", url], start=2, stride=3))
    assert [frame.name for frame in taken] == ["a", "clip_000002", "clip_000005", "clip_000008"]
    assert [frame.time_s for frame in taken] == [None, *(pytest.approx(number / 10) for number in (2, 5, 8))]
    assert tuple(taken[0].image_rgb[5, 5]) == (200, 40, 0)
    assert all(frame.frame_s == pytest.approx(0.3) for frame in taken[1:])
    assert extent([url]) == Extent(still=None, num_frames=0, fps=None)  # it may be an image
    assert taken[0].fps is None
    assert [frame.fps for frame in taken[1:]] == [pytest.approx(10 / 3)] * 3
    with pytest.raises(InputError, match=rf"{url}' has 10 frames, none from frame 10 on"):
        list(frames([url], start=10))
    for live in ("rtsp://me:secret@127.0.0.1/door", "door.sdp"):
        with pytest.raises(InputError, match=r"' is live and has no end; type: edgeseg camera --source ") as refused:
            next(frames([live]))
        assert "secret" not in str(refused.value)


def test_a_file_that_is_gone_when_it_is_asked_for_again_is_lost(site: tuple[str, Path, list[str]], ffmpeg: str) -> None:
    address, folder, _ = site
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25:duration=4"]
    subprocess.run(
        [*make, "-c:v", "libx264", "-g", "10", "-movflags", "+faststart", str(folder / "clip.mp4")], check=True
    )
    source = open_source(f"{address}/gone/clip.mp4")
    with pytest.raises(SourceLost, match=r"says it has 100 frames, but [1-9]\d decode: the connection broke"):
        every(source)
    source.close()


def test_live_overrides_what_the_container_says(site: tuple[str, Path, list[str]], clip: Path) -> None:
    address, folder, _ = site
    (folder / "clip.avi").write_bytes(clip.read_bytes())
    source = open_source(f"{address}/clip.avi", live=True)
    assert source.live
    with pytest.raises(SourceLost, match="broke off after 10 frames: it ended"):
        every(source)
    source.close()
    for text in (str(clip), "0"):
        with pytest.raises(InputError, match="`live` is for addresses and standard input"):
            open_source(text, live=False)
    with pytest.raises(InputError, match="is live and has no end to loop at"):
        open_source(f"{address}/clip.avi", live=True, loop=True)
    looped = open_source(f"{address}/clip.avi", loop=True)
    assert [captured.name for captured in (looped.read() for _ in range(11)) if captured][10] == "clip_000000_round1"
    looped.close()


@pytest.fixture
def live_playlist(site: tuple[str, Path, list[str]], ffmpeg: str) -> Iterator[str]:
    """The address of a live HLS stream of 30 frames a second."""
    address, folder, _ = site
    image = ["-re", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=30"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-f", "hls"]
    options = ["-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "delete_segments+temp_file"]
    with subprocess.Popen(
        [ffmpeg, "-loglevel", "quiet", *image, *codec, *options, str(folder / "live.m3u8")]
    ) as server:
        deadline = time.monotonic() + START_S
        while len(list(folder.glob("live*.ts"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"{address}/live.m3u8"
        server.kill()


def test_live_hls_is_paced_from_its_buffer(live_playlist: str, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(live_playlist)
    assert (source.live, source.fps) == (True, 30)
    found = [captured for captured in (source.read() for _ in range(75)) if captured]
    source.close()
    # A viewer sees no stutter where 25 of 30 frames are shown. A busy machine drops some in one second and not in
    # another, so half of them count. In bursts it were the last frame of each segment.
    indices = np.array([captured.index for captured in found])
    assert np.median(indices[25:] - indices[:-25]) <= 30
    # Each was due a thirtieth of a second after the one before, whether the segment came long ago or just now.
    gaps = np.diff([captured.captured_s for captured in found]) / np.diff([captured.index for captured in found])
    assert np.median(gaps) == pytest.approx(1 / 30, rel=0.02)  # the time stamps of MPEG-TS are of 90 kHz
    (record,) = caplog.records
    assert "is HLS: the age of its frames does not include the segments" in record.getMessage()


def test_rtmp(ffmpeg: str, free_port: int) -> None:
    url = f"rtmp://127.0.0.1:{free_port}/live/door"
    image = ["-re", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25", "-c:v", "libx264", "-tune", "zerolatency"]
    with subprocess.Popen(
        [ffmpeg, "-loglevel", "quiet", *image, "-g", "10", "-f", "flv", "-listen", "1", url]
    ) as server:
        source = open_source(url, reconnect_s=START_S)
        found = [source.read() for _ in range(5)]
        source.close()
        server.kill()
    assert (source.live, source.fps) == (True, 25)
    assert [captured.image_bgr.shape for captured in found if captured] == [(64, 80, 3)] * 5


class UdpRtspServer:
    """RTSP as VLC's: TCP is refused (461), UDP served; the video is MPEG-TS of ffmpeg in RTP packets."""

    def __init__(self, ffmpeg: str, status: str = "") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(START_S)
        self.port = self._listener.getsockname()[1]
        image = ["-re", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25"]
        self._command = [ffmpeg, "-loglevel", "quiet", *image, "-c:v", "mpeg2video", "-g", "5", "-f", "mpegts", "-"]
        self._status = status
        self._target: tuple[str, int] | None = None
        self.refused = 0
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as client, client.makefile("rb") as commands:
            while line := commands.readline().decode():
                method = line.split()[0]
                headers = dict(row.split(": ", 1) for row in iter(lambda: commands.readline().decode().strip(), ""))
                answer, body, status = {"Session": "1"}, "", self._status or "200 OK"
                if method == "DESCRIBE" and not self._status:
                    answer["Content-Type"] = "application/sdp"
                    body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:1\r\n"
                if method == "SETUP" and "TCP" in headers["Transport"]:
                    status, self.refused = "461 Unsupported Transport", self.refused + 1
                elif method == "SETUP":
                    ports = headers["Transport"].split("client_port=")[1].split(";")[0]
                    self._target = ("127.0.0.1", int(ports.split("-")[0]))
                    answer["Transport"] = f"RTP/AVP/UDP;unicast;client_port={ports};server_port=40000-40001"
                answer |= {"CSeq": headers["CSeq"], "Content-Length": str(len(body))}
                head = "".join(f"{name}: {value}\r\n" for name, value in answer.items())
                client.sendall(f"RTSP/1.0 {status}\r\n{head}\r\n{body}".encode())
                if method == "PLAY":
                    self._play(client)
                    return

    def _play(self, client: socket.socket) -> None:
        assert self._target is not None
        client.settimeout(0)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            subprocess.Popen(self._command, stdout=subprocess.PIPE) as ffmpeg,
        ):
            assert ffmpeg.stdout is not None
            for number in range(400):  # of 7 packets of 188 bytes each
                payload = struct.pack(">BBHII", 0x80, 33, number, 3600 * number, 1) + ffmpeg.stdout.read(7 * 188)
                udp.sendto(payload, self._target)
                try:
                    if not client.recv(4096):
                        break
                except BlockingIOError:
                    continue
                except OSError:
                    break
            ffmpeg.kill()


def test_rtsp_falls_to_udp_with_a_server_that_has_no_tcp(ffmpeg: str) -> None:
    server = UdpRtspServer(ffmpeg)
    source = open_source(f"rtsp://127.0.0.1:{server.port}/door", timeout_s=START_S)
    found = [source.read() for _ in range(5)]
    source.close()
    server.thread.join()
    assert server.refused == 1
    assert [captured.image_bgr.shape for captured in found if captured] == [(64, 80, 3)] * 5


@pytest.mark.parametrize(
    ("status", "reason"),
    [("401 Unauthorized", r"\(401\)"), ("404 Not Found", r"\(404\)"), ("500 Internal Server Error", r"\(5XX\)")],
)
def test_what_an_rtsp_server_refuses_is_told(status: str, reason: str, ffmpeg: str) -> None:
    server = UdpRtspServer(ffmpeg, status)
    with pytest.raises(InputError, match=reason):
        open_source(f"rtsp://me:wrong@127.0.0.1:{server.port}/door")
    server.thread.join()


def test_the_rtp_stream_of_an_sdp_file(ffmpeg: str, free_port: int, tmp_path: Path) -> None:
    sdp = tmp_path / "door.sdp"
    image = ["-re", "-f", "lavfi", "-i", "testsrc=size=80x64:rate=25", "-c:v", "libx264", "-tune", "zerolatency"]
    # An even port: that above it is RTCP's.
    target = ["-g", "10", "-f", "rtp", "-sdp_file", str(sdp), f"rtp://127.0.0.1:{free_port // 2 * 2}"]
    with subprocess.Popen([ffmpeg, "-loglevel", "quiet", *image, *target]) as sender:
        deadline = time.monotonic() + START_S
        while not (sdp.exists() and sdp.read_text().count("\n") > 6) and time.monotonic() < deadline:
            time.sleep(0.05)
        source = open_source(str(sdp), timeout_s=START_S)
        found = [source.read() for _ in range(5)]
        source.close()
        sender.kill()
    assert (source.live, source.fps) == (True, 25)
    assert [captured.image_bgr.shape for captured in found if captured] == [(64, 80, 3)] * 5
    with pytest.raises(InputError, match=r"gone\.sdp' does not exist"):
        open_source(str(tmp_path / "gone.sdp"))


class Said:
    """A decoder whose frames say when they were captured."""

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s
        self.captured_s: float | None = None

    def next(self) -> object:
        self.captured_s = time.time() - self._offset_s
        return self


@pytest.mark.parametrize(
    ("offset_s", "believed", "line"),
    [(0.5, True, "counts from there"), (3600, False, "3600.0 s off"), (-2, False, "-2.0 s off")],
)
def test_the_age_counts_from_the_capture_where_the_sender_says_it(
    offset_s: float, believed: bool, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opened = SimpleNamespace(
        format="rtsp", name="door", fps=25, stream=SimpleNamespace(codec_context=SimpleNamespace())
    )
    opened.live, opened.container = True, SimpleNamespace(demux=lambda: iter(()))
    capture = StreamCapture(opened, timeout_s=5)  # type: ignore[arg-type]
    capture._decoder = Said(offset_s)  # type: ignore[assignment]
    for _ in range(2):
        before_s = time.perf_counter()
        assert capture.grab()
        after_s = time.perf_counter()
        shift_s = offset_s if believed else 0.0
        # Two clocks are read one after the other, which takes microseconds; the bound is far below the half second.
        assert before_s - shift_s - 0.05 <= capture.captured_s <= after_s - shift_s + 0.05
    (record,) = caplog.records
    assert line in record.getMessage()


def piped(content: bytes, code: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python on standard input: a source reads the descriptor of its process."""
    return subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=False)


def test_standard_input_is_a_video_with_an_end(clip: Path) -> None:
    code = (
        "from edgeseg.sources import open_source\n"
        "source = open_source('-')\n"
        "print(source.name, source.live, [captured.name for captured in iter(source.read, None)])\n"
    )
    done = piped(clip.read_bytes(), code)
    names = [f"stdin_{number:06d}" for number in range(10)]
    assert done.stdout.decode().strip() == f"standard input False {names}"
    assert done.stderr == b""
    assert (
        b"'standard input' does not decode as a video; an MP4 with its index at the end"
        in piped(b"no video", code).stderr
    )
    with pytest.raises(InputError, match="loop is for files"):
        open_source("-", loop=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal")
def test_ctrl_c_ends_a_process_that_waits_for_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        code = f"from edgeseg.sources import open_source; open_source('{url}', timeout_s=600)"
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
            silent.settimeout(START_S)
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=60)  # far below the 600 s that the server may be silent
    assert b"KeyboardInterrupt" in err
