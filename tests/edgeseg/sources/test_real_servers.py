"""``network``, ``stream`` and ``sinks.stream`` against servers that others wrote: GStreamer's of RTSP, and nginx.

nginx serves files, HLS and RTMP; what is published to it comes from our own sink. They are Debian's packages
gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-{base,good,ugly}, python3-gi, nginx and libnginx-mod-rtmp.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from edgeseg.errors import InputError, SinkLost
from edgeseg.sinks import PushedStream
from edgeseg.sources import Source, open_source
from edgeseg.sources.base import Captured

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers are those of Debian"),
]

#: How long what is waited for may take on a busy machine.
PATIENCE_S = 60.0
#: From the moment at which a server is back: the longest pause between two tries is 4 s, and the stream begins within
#: another. The better of two tries counts, for the machine may be busy.
RECOVERED_S = 5.0

#: Debian's, which has the bindings of GStreamer; the one of a virtual environment has not.
SYSTEM_PYTHON = "/usr/bin/python3"

RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer as Rtsp
Gst.init(None)
if not all(map(Gst.ElementFactory.find, ("videotestsrc", "x264enc", "rtph264pay"))):
    sys.exit("GStreamer has no x264enc")
if len(sys.argv) < 2:
    sys.exit(0)
server = Rtsp.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
auth, token = Rtsp.RTSPAuth(), Rtsp.RTSPToken()
token.set_string("media.factory.role", "user")
auth.add_basic(Rtsp.RTSPAuth.make_basic("me", "right"), token)
server.set_auth(auth)
permissions = Rtsp.RTSPPermissions()
for what in ("access", "construct"):
    permissions.add_permission_for_role("user", "media.factory." + what, True)
factory = Rtsp.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
factory.set_permissions(permissions)
server.get_mount_points().add_factory("/door", factory)
server.attach(None)
GLib.MainLoop().run()
"""

NGINX = """
load_module {module};
daemon off;
master_process off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 64; }}
rtmp {{
    server {{
        listen 127.0.0.1:{rtmp};
        application live {{
            live on;
            wait_key on;
            hls on;
            hls_path {root}/hls;
            hls_fragment 1s;
            hls_playlist_length 6s;
        }}
    }}
}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    types {{ video/mp4 mp4; application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{http};
        root {root}/site;
        location /hls {{ root {root}; }}
        location /slow {{ alias {root}/site; limit_rate 40k; }}
        location /closed {{ auth_basic "door"; auth_basic_user_file {root}/users; alias {root}/site; }}
    }}
}}
"""

BLUE, RED = (200, 40, 30), (20, 60, 210)
#: Of an 8-bit H.264 in half the color resolution, as in the tests of sinks.
TOLERANCE = 8


class Server:
    """A program that listens on a port; killed and started again as often as wanted."""

    def __init__(self, command: list[str], *ports: int) -> None:
        self._command = command
        self.ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in self.ports:
            until(lambda port=port: self._listens(port), "the server listens")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self, port: int) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def every(source: Source) -> int:
    """Return how many frames come until the end."""
    count = sum(1 for _ in iter(source.read, None))
    source.close()
    return count


def next_frame(source: Source) -> Captured:
    captured = source.read()
    assert captured is not None
    return captured


def assert_newest(source: Source) -> None:
    """A reader that was away for a second gets the frame that just came, not the one that waited for it."""
    before = next_frame(source)
    time.sleep(1.0)
    asked_s = time.perf_counter()
    after = next_frame(source)
    assert after.index > before.index + 10, "of 25 or 30 a second"
    assert after.captured_s > asked_s - 0.5


def recovery_s(source: Source, server: Server) -> float:
    """Kill and start the server; return the seconds from when it listens again to the first frame that came since."""
    next_frame(source)
    server.kill()
    killed_s = time.perf_counter()
    server.start()
    back_s = time.perf_counter()
    while (captured := next_frame(source)).captured_s < killed_s + 0.1:  # what was on the way
        pass
    return captured.captured_s - back_s


def assert_recovers(source: Source, server: Server) -> None:
    tries_s: list[float] = []
    while not tries_s or (min(tries_s) > RECOVERED_S and len(tries_s) < 2):
        tries_s.append(recovery_s(source, server))
    assert min(tries_s) <= RECOVERED_S, tries_s


@pytest.fixture(scope="module")
def rtsp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """GStreamer's server with ``/door``, for the user ``me`` with the password ``right``."""
    program = tmp_path_factory.mktemp("rtsp") / "server.py"
    program.write_text(RTSP_SERVER)
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"no {SYSTEM_PYTHON}: no GStreamer")
    ready = subprocess.run([SYSTEM_PYTHON, str(program)], capture_output=True, text=True, check=False)
    if ready.returncode:
        pytest.skip(f"no RTSP server of GStreamer: {(ready.stderr.splitlines() or ['it does not start'])[-1]}")
    (port,) = free_ports(1)
    server = Server([SYSTEM_PYTHON, str(program), str(port)], port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_rtsp_of_gstreamer(rtsp: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    address = f"127.0.0.1:{rtsp.ports[0]}"
    for path, user, reason in (
        ("door", "me:wrong@", r"door' cannot be opened: the server refuses the user name or password \(401\)"),
        ("door", "", r"door' cannot be opened: the server refuses the user name or password \(401\)"),
        ("gate", "me:right@", r"gate' cannot be opened: the server has nothing at this path \(404\)"),
    ):
        with pytest.raises(InputError, match=reason) as refused:
            open_source(f"rtsp://{user}{address}/{path}")
        assert "right" not in str(refused.value)
        assert "wrong" not in str(refused.value)
    source = open_source(f"rtsp://me:right@{address}/door", reconnect_s=PATIENCE_S)
    try:
        assert (source.live, source.fps) == (True, 25)
        assert next_frame(source).image_bgr.shape == (120, 160, 3)
        assert_newest(source)
        until(lambda: next_frame(source).index > 0 and "their age counts from there" in caplog.text, "a sender report")
        captured = next_frame(source)
        assert 0 < time.perf_counter() - captured.captured_s < PATIENCE_S
        assert_recovers(source, rtsp)
    finally:
        source.close()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Iterator[tuple[Server, Path]]:
    """nginx, and its folder. ``site`` has a video of 250 frames under two names, and as a playlist."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    module = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
    if program is None or not module.exists():
        pytest.skip("no nginx with RTMP: apt install nginx libnginx-mod-rtmp")
    root = tmp_path_factory.mktemp("nginx")
    (root / "site").mkdir()
    (root / "hls").mkdir()
    (root / "users").write_text("me:{PLAIN}right\n")
    make = [ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=10"]
    make += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"]
    subprocess.run([*make, "-movflags", "+faststart", str(root / "site/street.mp4")], check=True)
    shutil.copy(root / "site/street.mp4", root / "site/signed")
    hls = ["-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", str(root / "site/all.m3u8")]
    subprocess.run([ffmpeg, "-loglevel", "error", "-i", str(root / "site/street.mp4"), *hls], check=True)
    http, rtmp = free_ports(2)
    config = root / "nginx.conf"
    config.write_text(NGINX.format(root=root, module=module, http=http, rtmp=rtmp))
    server = Server([program, "-e", str(root / "error.log"), "-p", str(root), "-c", str(config)], http, rtmp)
    try:
        server.start()
        yield server, root
    finally:
        server.kill()


def test_files_of_nginx(nginx: tuple[Server, Path]) -> None:
    server, _ = nginx
    address = f"127.0.0.1:{server.ports[0]}"
    for path in ("street.mp4", "signed", "signed?signature=abc", "all.m3u8"):
        source = open_source(f"http://{address}/{path}")
        assert (source.live, source.fps) == (False, 25)
        assert every(source) == 250, path
    for path in ("street.mp4", "all.m3u8"):
        assert every(open_source(f"http://me:right@{address}/closed/{path}")) == 250
        for user in ("", "me:wrong@"):
            with pytest.raises(InputError, match=rf"{path}' cannot be opened: the server refuses the .* \(401\)"):
                open_source(f"http://{user}{address}/closed/{path}")
        with pytest.raises(InputError, match=r"cannot be opened: the server has nothing at this path \(404\)"):
            open_source(f"http://{address}/none/{path}")


def test_a_file_of_a_server_that_was_restarted_is_read_on(nginx: tuple[Server, Path]) -> None:
    server, _ = nginx
    # A busy machine may need more than 5 s to start it; the pauses between the tries stay those of FFmpeg: 0, 1, 3 s.
    source = open_source(f"http://127.0.0.1:{server.ports[0]}/slow/street.mp4", timeout_s=PATIENCE_S)
    found = [next_frame(source) for _ in range(5)]
    server.kill()
    server.start()
    names = [captured.name for captured in itertools.chain(found, iter(source.read, None))]
    source.close()
    assert names == [f"street_{number:06d}" for number in range(250)]


@pytest.fixture
def published(nginx: tuple[Server, Path]) -> Iterator[tuple[str, PushedStream]]:
    """The address of a stream that our own sink publishes, 30 frames a second of two colors and a moving bar."""
    url = f"rtmp://127.0.0.1:{nginx[0].ports[1]}/live/door"
    sink = PushedStream(url, fps=30)
    ended = threading.Event()

    def publish() -> None:
        image_bgr = np.empty((120, 160, 3), np.uint8)
        image_bgr[:, :80], image_bgr[:, 80:] = BLUE, RED
        begin_s = time.perf_counter()
        for number in itertools.count():
            image_bgr[112:] = number * 8 % 256
            sink.write(image_bgr, "")
            if ended.wait(max(0.0, begin_s + number / 30 - time.perf_counter())):
                return

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield url, sink
    finally:
        ended.set()
        thread.join()
        sink.close()


def test_rtmp_and_live_hls_of_nginx_from_our_own_sink(
    published: tuple[str, PushedStream], nginx: tuple[Server, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (url, sink), (server, root) = published, nginx
    source = open_source(url, reconnect_s=PATIENCE_S)
    try:
        assert (source.live, source.fps) == (True, 30)
        image_bgr = next_frame(source).image_bgr
        assert image_bgr.shape == (120, 160, 3)
        for columns, color in ((slice(30, 50), BLUE), (slice(110, 130), RED)):
            assert np.abs(image_bgr[40:80, columns].reshape(-1, 3).mean(0) - color).max() < TOLERANCE
        assert_newest(source)
        assert sink.connected
        assert_recovers(source, server)  # both ways: the sink connects again as well
    finally:
        source.close()
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "live/***' is connected again" in said
    assert f"'{url}' is back." in said
    playlist = root / "hls/door.m3u8"
    until(lambda: playlist.exists() and playlist.read_text().count("#EXTINF") >= 3, "three segments")
    source = open_source(f"http://127.0.0.1:{server.ports[0]}/hls/door.m3u8", reconnect_s=PATIENCE_S)
    try:
        assert source.live
        indices = np.array([next_frame(source).index for _ in range(75)])
    finally:
        source.close()
    # A viewer sees no stutter where 25 of 30 frames are shown. A busy machine drops some in one second and not in
    # another, so half of them count.
    assert np.median(indices[25:] - indices[:-25]) <= 30


def test_an_rtmp_path_that_nginx_does_not_have(nginx: tuple[Server, Path]) -> None:
    address = f"rtmp://127.0.0.1:{nginx[0].ports[1]}"
    with pytest.raises(InputError, match="does not answer within 1 s, or nobody publishes there"):
        open_source(f"{address}/live/nobody", timeout_s=1)
    with pytest.raises(InputError, match="the server closed the connection before a video came"):
        open_source(f"{address}/wrong/door")
    sink = PushedStream(f"{address}/wrong/door", fps=30)
    until(lambda: _is_refused(sink), "the server refuses the stream")
    with pytest.raises(SinkLost, match=r"wrong/\*\*\*', ended with status 1: the server closed the connection"):
        sink.close()


def _is_refused(sink: PushedStream) -> bool:
    sink.write(np.zeros((120, 160, 3), np.uint8), "")
    return sink._losses > 0


def test_rtmp_with_sound_before_its_first_image(nginx: tuple[Server, Path], ffmpeg: str) -> None:
    """The sound comes at once and the image with the next key frame, up to three seconds later."""
    url = f"rtmp://127.0.0.1:{nginx[0].ports[1]}/live/sound"
    image = ["-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i", "sine"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "75", "-c:a", "aac"]
    with subprocess.Popen([ffmpeg, "-loglevel", "quiet", *image, *codec, "-f", "flv", url]) as publisher:
        try:
            time.sleep(0.5)  # past the first key frame, where there is no waiting
            source = open_source(url, timeout_s=PATIENCE_S)
            assert next_frame(source).image_bgr.shape == (120, 160, 3)
            source.close()
        finally:
            publisher.kill()
