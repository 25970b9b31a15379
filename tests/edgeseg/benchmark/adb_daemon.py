"""A small ``adbd`` for tests: the device's side of adb's wire protocol over TCP, a folder for its file system.

Real adb clients and servers talk to it (``adb connect 127.0.0.1:PORT``). As AOSP's ``adb/protocol.txt``,
``SYNC.TXT`` and ``shell_protocol.h`` have it: CNXN, AUTH, OPEN, OKAY, WRTE, CLSE with checksums (protocol version
0x01000000 asks for them), one WRTE under way for each stream, ``shell,v2`` and the older ``shell:``, ``exec:`` without
either's additions, and ``sync:`` with STAT, SEND and QUIT. Commands run in a local ``sh``; ``/data/local/tmp`` and
``/sys`` in them mean the folder's. Where the folder has a file ``full``, no file can be sent; where it has
``unplugged``, the link ends in the middle of a file that is read.

    python adb_daemon.py ROOT [--unauthorized] [--without-shell-v2]

prints its port and serves until it is killed.
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

_VERSION = 0x01000000
_MAX_DATA = 4096
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_TOKEN, _SIGNATURE = 1, 2  # of AUTH


class Link:
    """One adb server that is connected."""

    def __init__(self, connection: socket.socket, root: Path, options: list[str]) -> None:
        self.connection, self.root, self.options = connection, root, options
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        header = struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        with self.lock:
            self.connection.sendall(header + data)

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.connection.recv(size - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def serve(self) -> None:
        try:
            while True:
                number, first, second, size, check, magic = struct.unpack("<6I", self.receive(24))
                data = self.receive(size)
                assert magic == number ^ 0xFFFFFFFF, "bad magic"
                assert check == sum(data) & 0xFFFFFFFF, "bad checksum"
                self.handle(number.to_bytes(4, "little"), first, second, data)
        except (ConnectionError, OSError):
            pass
        finally:
            for stream in self.streams.values():
                stream.closed.set()
                stream.acknowledged.put(None)

    def handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            if "--unauthorized" in self.options:
                self.send(b"AUTH", _TOKEN, 0, os.urandom(20))
                return
            features = "cmd" if "--without-shell-v2" in self.options else "shell_v2,cmd"
            banner = f"device::ro.product.name=stand;ro.product.model=In;ro.product.device=stand;features={features}"
            self.send(b"CNXN", _VERSION, _MAX_DATA, banner.encode())
        elif command == b"AUTH" and first == _SIGNATURE:
            self.send(b"AUTH", _TOKEN, 0, os.urandom(20))  # of a key that is not known: the host then sends the key,
        elif command == b"AUTH":  # and nobody unlocks this phone's screen
            return
        elif command == b"OPEN":
            local = len(self.streams) + 1
            self.streams[local] = Stream(self, local, first)
            self.send(b"OKAY", local, first)
            threading.Thread(target=self.streams[local].run, args=(data.rstrip(b"\0").decode(),), daemon=True).start()
        elif command == b"OKAY":
            self.streams[second].acknowledged.put(None)
        elif command == b"WRTE":
            self.streams[second].incoming.put(data)
            self.send(b"OKAY", second, first)
        elif command == b"CLSE" and second in self.streams:
            self.streams[second].closed.set()
            self.streams[second].incoming.put(b"")
            self.streams[second].acknowledged.put(None)


class Stream:
    """One service that the host opened."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self.link, self.local, self.remote = link, local, remote
        self.acknowledged: queue.Queue[None] = queue.Queue()
        self.incoming: queue.Queue[bytes] = queue.Queue()
        self.closed = threading.Event()
        self.buffer = b""

    def run(self, service: str) -> None:
        name, _, command = service.partition(":")
        try:
            if name == "sync":
                self.sync()
            elif name.split(",")[0] == "shell":
                self.shell(command, v2="v2" in name)
            elif name == "exec":
                self.execute(command)
            elif name == "reverse":
                self.reverse(command)
            self.link.send(b"CLSE", self.local, self.remote)
        except (ConnectionError, OSError):
            pass

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _MAX_DATA):
            if self.closed.is_set():
                raise ConnectionError
            self.link.send(b"WRTE", self.local, self.remote, data[start : start + _MAX_DATA])
            self.acknowledged.get()

    def read(self, size: int) -> bytes:
        while len(self.buffer) < size:
            part = self.incoming.get()
            if not part:
                raise ConnectionError
            self.buffer += part
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def on_disk(self, text: str) -> str:
        for folder in ("/data/local/tmp", "/sys/"):
            text = text.replace(folder, f"{self.link.root}{folder}")
        return text

    def start(self, command: str) -> subprocess.Popen[bytes]:
        path = f"{self.link.root}/system/bin:{os.environ['PATH']}"
        return subprocess.Popen(
            ["sh", "-c", self.on_disk(command)],
            env={**os.environ, "PATH": path, "ANDROID_ROOT": str(self.link.root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what a lost link leaves running goes on, as on a phone
        )

    def reverse(self, command: str) -> None:
        """Note the ports of this machine that are the computer's; the two are one machine here."""
        verb, _, ports = command.partition(":")
        noted = self.link.root / "reversed"
        ports = ports.partition(";")[0].removeprefix("norebind:")
        known = set(noted.read_text().split()) if noted.exists() else set()
        noted.write_text(" ".join(known | {ports} if verb == "forward" else known - {ports}))
        self.write(b"OKAY")

    def execute(self, command: str) -> None:
        process = self.start(command)
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 2048):
            self.write(data)
            if (self.link.root / "unplugged").exists():
                os._exit(1)
        process.wait()

    def shell(self, command: str, *, v2: bool) -> None:
        process = self.start(command)
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 2048):
            self.write(struct.pack("<BI", _STDOUT, len(data)) + data if v2 else data.replace(b"\n", b"\r\n"))
        status = process.wait()
        if v2:
            self.write(struct.pack("<BIB", _EXIT, 1, status & 0xFF))

    def sync(self) -> None:
        while True:
            request, size = struct.unpack("<4sI", self.read(8))
            data = self.read(size).decode()
            if request == b"QUIT":
                return
            if request == b"STAT":
                found = Path(self.on_disk(data))
                stat = found.stat() if found.exists() else None
                numbers = (stat.st_mode, stat.st_size, int(stat.st_mtime)) if stat else (0, 0, 0)
                self.write(struct.pack("<4s3I", b"STAT", *numbers))
            elif request == b"SEND":
                self.receive_file(*data.rsplit(",", 1))
            else:
                self.fail(f"no {request!r} here")

    def receive_file(self, path: str, mode: str) -> None:
        content = b""
        while True:
            part, number = struct.unpack("<4sI", self.read(8))
            if part == b"DONE":
                break
            content += self.read(number)
        target = Path(self.on_disk(path))
        if (self.link.root / "full").exists():
            self.fail("couldn't write file: No space left on device")
            return
        if not target.parent.is_dir():
            self.fail(f"couldn't create file: {path}")
            return
        target.write_bytes(content)
        target.chmod(int(mode) & 0o644)
        self.write(struct.pack("<4sI", b"OKAY", 0))

    def fail(self, reason: str) -> None:
        self.write(struct.pack("<4sI", b"FAIL", len(reason)) + reason.encode())


def main() -> None:
    root, options = Path(sys.argv[1]), sys.argv[2:]
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=Link(connection, root, options).serve, daemon=True).start()


if __name__ == "__main__":
    main()
