"""Do images on several processes of this machine; one that dies is replaced, and the image that it died of recorded.

Processes and not threads: runtimes hold Python's lock for a part of each call, and a native crash takes its process
alone. ``concurrent.futures`` gives up all that is under way when one of its processes dies, and does not say of what.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.connection import wait
from typing import Any, cast

from edgeseg.batch.record import Item, Record
from edgeseg.batch.work import Work, Worker, failed
from edgeseg.errors import BackendUnavailable, EdgesegError, InputError
from edgeseg.runtime.base import usable_cores
from edgeseg.runtime.process.child import signal_name

# How long the images of one message take, in seconds, and how many they are at most: a process that is woken up for
# each of many small ones is waited for longer than it works. It has two messages before it, so that it never waits;
# together they are shorter than what a pipe takes without a reader, or both ends would wait for each other.
_MESSAGE_S = 0.1
_MOST, _MOST_CHARACTERS = 64, 16_000

# What a process sends: that the model is open, a record, or why nothing can go on.
_OPENED, _DONE, _STOP = "opened", "done", "stop"


def default_jobs(num_threads: int) -> int:
    """Return how many processes of so many threads the cores of this machine take."""
    return max(1, usable_cores() // num_threads)


class Pool:
    """Processes that do one kind of work; a context, at whose end they are gone.

    Attributes:
        classes: the names of the classes that records count.
    """

    def __init__(self, work: Work, jobs: int, *, setup: Callable[[], None] | None = None) -> None:
        """Start the first process, and the others once the model is open there.

        Args:
            work: what they do; pickled.
            jobs: how many processes.
            setup: called in each first; a function that can be pickled.

        Raises:
            EdgesegError: the model does not open.
        """
        self._work, self._setup = work, setup
        # A fork would copy the locks of native threads as they are at that moment.
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[_Process] = []
        try:
            first = self._start()
            self.classes = first.opened()
            for _ in range(jobs - 1):
                self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def records(self, items: Iterator[Item]) -> Iterator[Record]:
        """Yield the record of each image, in the order in which they end.

        Raises:
            EdgesegError: nothing can go on, such as on a full disk.
        """
        # Images of a process that died: it died of one of them, so that each gets a message of its own. The first of a
        # process that dies again is the one; not after one death, as the memory may be full once.
        alone: deque[Item] = deque()
        suspects: set[str] = set()
        left = _Ahead(items)
        while True:
            for process in self._processes:
                while process.num_messages < 2 and (alone or left):
                    process.take([alone.popleft()] if alone else left.some(process.size))
            busy: dict[object, _Process] = {p.connection: p for p in self._processes if p.before}
            if not busy:
                return
            for ready in wait([process.connection for process in busy.values()]):
                process = busy[ready]
                yield from process.answers()
                if process.ended:
                    if not process.is_open:
                        raise InputError(f"a process that opens the model ended, {process.ended}.")
                    self._processes.remove(process)
                    self._start()
                    if process.before and process.before[0].name in suspects:
                        culprit = process.before.popleft()
                        yield failed(culprit, f"the process that did it ended twice, {process.ended}")
                    alone.extend(process.before)
                    suspects.update(item.name for item in process.before)
                    break

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.close()
        self._processes.clear()

    def _start(self) -> _Process:
        # What there is to warn of when a model is opened is said once.
        process = _Process(self._context, self._work, self._setup, quiet=bool(self._processes))
        self._processes.append(process)
        return process


class _Ahead:
    """Images that are still to be sent; knows whether there is another one."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._next = next(items, None)

    def __bool__(self) -> bool:
        return self._next is not None

    def some(self, count: int) -> list[Item]:
        """Take so many at most, at least one."""
        taken: list[Item] = []
        length = 0
        while self._next is not None and len(taken) < count and (not taken or length < _MOST_CHARACTERS):
            length += sum(len(text or "") for text in self._next)
            taken.append(self._next)
            self._next = next(self._items, None)
        return taken


class _Process:
    """One process, and the images that it has not answered yet, the one that it does first."""

    def __init__(self, context: Any, work: Work, setup: Callable[[], None] | None, *, quiet: bool) -> None:
        self.before: deque[Item] = deque()
        self.num_messages = 0
        self.size = 1
        self.is_open = False
        self.ended = ""
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work, setup, quiet), daemon=True)
        self._process.start()
        theirs.close()

    def opened(self) -> tuple[str, ...]:
        """Wait until the model is open; return the names of its classes."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            raise InputError(f"the process that opens the model ended, {self._why()}.") from None
        if kind == _STOP:
            raise value
        self.is_open = True
        return cast("tuple[str, ...]", value)

    def take(self, items: list[Item]) -> None:
        """Send some images in one message."""
        self.before.extend(items)
        self.num_messages += 1
        with suppress(OSError):  # it has just ended, which its answer says
            self.connection.send(items)

    def answers(self) -> list[Record]:
        """Receive what it sends: records of the images that it was sent, in their order."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.ended = self._why()
            self.close()
            return []
        if kind == _STOP:
            raise value
        self.is_open = True
        if kind == _OPENED:
            return []
        records, seconds = value
        for _ in records:
            self.before.popleft()
        if seconds is not None:  # the last of a message
            self.num_messages -= 1
            if seconds < _MESSAGE_S / 2:
                self.size = min(2 * self.size, _MOST)
            elif seconds > 2 * _MESSAGE_S:
                self.size = max(self.size // 2, 1)
        return cast("list[Record]", records)

    def close(self) -> None:
        """End it."""
        self._process.kill()  # nothing of it is worth waiting for: files are whole or not there
        self._process.join()
        self.connection.close()

    def _why(self) -> str:
        self._process.join(10)
        code = self._process.exitcode
        return f"killed by {signal_name(-code)}" if code is not None and code < 0 else f"exit status {code}"


def _serve(connection: Any, work: Work, setup: Callable[[], None] | None, quiet: bool) -> None:
    """Do images until the other end is gone; runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    if setup is not None:
        setup()
    if quiet:
        logging.disable(logging.WARNING)
    with closing(connection), suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            with work.open() as (worker, classes):
                connection.send((_OPENED, classes))
                while True:
                    _answer(connection, worker, connection.recv())
        except EdgesegError as error:
            connection.send((_STOP, _plain(error)))


def _answer(connection: Any, worker: Worker, items: list[Item]) -> None:
    """Do the images of a message; what is done is sent after each tenth of a second, and at the end."""
    began = sent = time.monotonic()
    done: list[Record] = []
    for item in items[:-1]:
        done.append(worker(item))
        if time.monotonic() > sent + _MESSAGE_S:
            connection.send((_DONE, (done, None)))
            done, sent = [], time.monotonic()
    done.append(worker(items[-1]))
    connection.send((_DONE, (done, time.monotonic() - began)))


def _plain(error: EdgesegError) -> EdgesegError:
    """Return an error that can be sent: its class may take other arguments."""
    kind = BackendUnavailable if isinstance(error, BackendUnavailable) else InputError
    return kind(str(error))
