"""Ask a page in a browser to do something, and get its answer; nothing of an answer is trusted.

The page waits for requests and posts answers (``page/device.js``). An answer is the length of a JSON text as four
bytes, the text, and bytes: the output of a model, or the times of its calls.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from edgeseg._internal.json import AnyText, Meta, Text, WrongValue, decode
from edgeseg._internal.text import escaped
from edgeseg.errors import DeviceLost, InputError

T = TypeVar("T")

#: Bytes of the largest answer that is taken: scores of 21 classes at 512x512 are 22 MB.
MAX_ANSWER = 64 << 20
_MAX_JSON = 1 << 22

#: Seconds of one wait: on Windows, Ctrl-C does not end a longer one.
_SLICE_S = 0.5

#: Seconds in which a page that is still there asks what comes next.
_GOODBYE_S = 1.0

#: Seconds of silence after which a page is gone. It says every three seconds that it is there; browsers slow the clocks
#: of hidden pages down to one step a second, and after minutes to one a minute.
SILENCE_S = 75.0

_Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]
_Few = Annotated[int, Meta(ge=0, le=1 << 20)]


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """What a page says of its browser when it is opened.

    Attributes:
        browser: as it names itself.
        system: the operating system and its version, where the browser says it.
        cpus: cores, as the browser says; some say fewer.
        isolated: whether there is memory that threads can share.
        timer_ms: the smallest step of its clock, in milliseconds.
        gpu: the GPU adapter; empty where there is none.
        software_gpu: whether that is an emulated one.
        battery: such as ``34 %, discharging``; empty where the browser does not say.
    """

    browser: Text
    system: Text
    cpus: _Few
    isolated: bool
    timer_ms: _Milliseconds
    gpu: Text = ""
    software_gpu: bool = False
    battery: Text = ""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What runs a model.

    Attributes:
        accelerator: of LiteRT.js.
        threads: that it uses.
        fully_accelerated: whether the accelerator runs every node.
        init_ms: how long the runtime and the model took, in milliseconds.
    """

    accelerator: Literal["wasm", "webgpu"]
    threads: _Few
    fully_accelerated: bool
    init_ms: _Milliseconds


@dataclass(frozen=True, kw_only=True)
class Output:
    """The first output of a run; its bytes come with it.

    Attributes:
        dtype: of numpy.
        shape: of the array.
    """

    dtype: Literal["float32", "uint8", "int8", "int32", "int64"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=1 << 26)], ...], Meta(max_length=8)]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What is known of the timed calls of one worker; the bytes of their milliseconds, float64, come with it.

    Attributes:
        first_ms: the first call of all, in milliseconds.
        hidden: whether the page was hidden meanwhile, so that the browser slowed it down.
        battery: at the end, as in ``Greeting``.
    """

    first_ms: _Milliseconds
    hidden: bool
    battery: Text = ""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The part of an answer that is the same for all.

    Attributes:
        id: of the request.
        error: why there is no answer; empty where there is one.
    """

    id: Annotated[int, Meta(ge=0, le=2**53)]
    error: AnyText = ""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    number: int
    text: bytes
    attachment: bytes


class Exchange:
    """One browser that is asked by a user's thread, one request at a time; a server's threads bring the answers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked: _Asked | None = None
        self._number = 0
        self._answer: tuple[Head, bytes, bytes] | WrongValue | None = None
        self._closed = self._told = False
        self._seen_s = time.monotonic()
        #: The page that is asked; another one, or the same one loaded anew, has another.
        self.session = ""
        self.greeting: Greeting | None = None

    def await_greeting(self, timeout_s: float) -> Greeting:
        """Wait until a page is opened.

        Raises:
            DeviceLost: none was.
        """
        with self._changed:
            end = time.monotonic() + timeout_s
            while self.greeting is None and (left := end - time.monotonic()) > 0:
                self._changed.wait(min(left, _SLICE_S))
            if self.greeting is None:
                raise DeviceLost(f"no browser opened the page within {timeout_s:.0f} s.")
            return self.greeting

    def ask(
        self, kind: type[T], request: Mapping[str, Any], attachment: bytes = b"", *, timeout_s: float
    ) -> tuple[T, bytes]:
        """Ask, and wait for the answer.

        Args:
            kind: the type of the answer's JSON.
            request: what ``page/device.js`` understands.
            attachment: the bytes of a tensor.
            timeout_s: how long it may take.

        Returns:
            The answer, and the bytes that came with it.

        Raises:
            InputError: the page refuses; the text is its own.
            DeviceLost: the page is gone, does not answer, or answers what cannot be right.
        """
        with self._changed:
            self._number += 1
            text = json.dumps({"id": self._number, **request}).encode()
            self._asked, self._answer = _Asked(number=self._number, text=text, attachment=attachment), None
            self._changed.notify_all()
            session, deadline = self.session, time.monotonic() + timeout_s
            while self._answer is None:
                now = time.monotonic()
                lost = ""
                if self.session != session:
                    lost = "the page was opened anew, here or in another browser."
                elif now - self._seen_s > SILENCE_S:
                    lost = f"nothing came from the browser for {SILENCE_S:.0f} s: is the page still open, and in front?"
                elif now > deadline:
                    lost = f"the browser did not answer within {timeout_s:.0f} s."
                if lost:
                    self._asked = None
                    raise DeviceLost(lost)
                self._changed.wait(min(deadline - now, _SLICE_S))
            answer, self._asked = self._answer, None
        try:
            if isinstance(answer, WrongValue):
                raise answer
            head, text, content = answer
            if not head.error:
                return decode(text, kind), content
        except WrongValue as error:
            raise DeviceLost(f"what the browser says cannot be right: {error}.") from error
        raise InputError(f"the browser: {escaped(head.error)}")

    def close(self) -> None:
        """Let the page know that nothing will be asked any more; wait a moment for it to ask."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self.greeting is not None:
                self._changed.wait_for(lambda: self._told, _GOODBYE_S)

    def greet(self, body: bytes) -> bytes:
        """Take what a page says when it is opened; return its session, which it names from then on.

        Raises:
            WrongValue: it is no greeting.
        """
        greeting = decode(body[:_MAX_JSON], Greeting)
        with self._changed:
            self.greeting, self.session = greeting, secrets.token_urlsafe(8)
            self._asked = None
            self._seen_s = time.monotonic()
            self._changed.notify_all()
            return self.session.encode()

    def seen(self, body: bytes = b"") -> bytes:
        """Note that the page is there."""
        self._seen_s = time.monotonic()
        return b""

    def next_request(self, after: int, timeout_s: float) -> bytes | None:
        """Return the request that the page has not had, as JSON; ``None`` where there is none for a while.

        Args:
            after: number of the request that it had last.
            timeout_s: how long to wait.
        """
        self.seen()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._newer(after) is not None, timeout_s)
            if self._closed:
                self._told = True
                self._changed.notify_all()
                return b'{"id": 0, "request": "end"}'
            newer = self._newer(after)
            return None if newer is None else newer.text

    def attachment(self, number: int) -> bytes | None:
        """Return the bytes that belong to a request; ``None`` where it is not the current one."""
        with self._changed:
            return self._asked.attachment if self._asked is not None and self._asked.number == number else None

    def answer(self, body: bytes) -> bytes:
        """Take an answer; one to another request than the current one is dropped.

        Raises:
            WrongValue: it is no answer.
        """
        try:
            answer = _unpacked(body)
        except WrongValue as error:
            with self._changed:  # who waits for an answer need not wait for another one
                self._answer = error if self._asked is not None else None
                self._changed.notify_all()
            raise
        with self._changed:
            if self._asked is not None and self._asked.number == answer[0].id:
                self._answer = answer
                self._changed.notify_all()
        return self.seen()

    def _newer(self, after: int) -> _Asked | None:
        return self._asked if self._asked is not None and self._asked.number > after else None


def _unpacked(body: bytes) -> tuple[Head, bytes, bytes]:
    """Return what an answer says, its JSON text, and the bytes after it."""
    length = int.from_bytes(body[:4], "little")
    if len(body) < 4 or length > min(_MAX_JSON, len(body) - 4):
        raise WrongValue("it is no answer")
    text = body[4 : 4 + length]
    return decode(text, Head), text, body[4 + length :]
