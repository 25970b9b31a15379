"""Serve the files of the page, with the headers that threads want, a strict policy, and a token on a network."""

from __future__ import annotations

import gzip
import logging
import re
import secrets
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import PurePosixPath
from types import MappingProxyType, TracebackType
from urllib.parse import parse_qs

from edgeseg._internal.json import WrongValue
from edgeseg.http.handler import Handler
from edgeseg.http.server import HttpServer, is_loopback
from edgeseg.web.certificate import tls_context
from edgeseg.web.exchange import MAX_ANSWER, Exchange
from edgeseg.web.site import CONTENT_TYPES, RUNTIMES, Site

_log = logging.getLogger(__name__)

#: The page loads nothing from anywhere else, and runs no code but its own files' and the runtime's. ``index.html`` has
#: it too, for hosts that set no headers.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

#: With these two a page has SharedArrayBuffer, without which there are no threads.
ISOLATION: Mapping[str, str] = MappingProxyType(
    {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
)


#: Seconds that a request of the page waits for something to do, and bytes of what it says of its browser.
_POLL_S = 20.0
_OTHER_PAGE = "The key is wrong, or the page was opened anew"
_MAX_GREETING = 1 << 16

#: Files that are compressed on the way: LiteRT.js' own code is a tenth of what it loads.
_TEXTS = (".css", ".html", ".js", ".json", ".mjs", ".svg", ".txt")


class WebServer:
    """Serves a site until ``close``.

    Where other machines reach it, its address has a random token, and what does not begin with it is not found.

    Args:
        site: what is served.
        host: address to listen on; ``"127.0.0.1"``: this machine only.
        port: 0 picks a free one.
        https: whether to speak TLS; when ``None`` where other machines reach it, as a browser gives a camera to a
            secure page only.

        exchange: asks a browser that has opened ``device.html``; without it nothing is taken from a browser.

    Attributes:
        url: the address to open in a browser; with an exchange that of its page, with the key.
        port: on which it listens.
        is_public: whether other machines reach it.
        fingerprint: of the certificate; empty without TLS.

    Raises:
        InputError: the port is in use or not allowed, or the host is not this machine's.
        BackendUnavailable: the package for https is not installed.
    """

    def __init__(
        self,
        site: Site,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        https: bool | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        secure = not is_loopback(host) if https is None else https
        context, self.fingerprint = tls_context() if secure else (None, "")
        self._server = _Server(host, port, site, context, exchange)
        self.port, self.is_public = self._server.port, self._server.is_public
        self.url = self._server.url + self._server.prefix.removeprefix("/")
        if exchange is not None:
            self.url += f"device.html#{self._server.key}"
        if self.is_public and not secure:
            _log.warning(
                "a phone's browser gives its camera, threads and GPU to no page of %s, but to one over https.", self.url
            )
        self._server.start()

    def close(self) -> None:
        """End every connection and thread, within two seconds."""
        self._server.close()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _Server(HttpServer):
    def __init__(self, host: str, port: int, site: Site, tls: ssl.SSLContext | None, exchange: Exchange | None) -> None:
        self.site, self.exchange = site, exchange
        self.key = secrets.token_urlsafe(16)  # after the # of an address, which a browser sends to nobody
        super().__init__(host, port, _SiteHandler, tls=tls)
        self.prefix = f"/{secrets.token_urlsafe(16)}/" if self.is_public else "/"


class _SiteHandler(Handler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        name = self._name()
        if name.startswith("device/"):
            self._ask(name)
            return
        file = self.server.site.files.get(name or "index.html")
        content = None
        if file is not None:
            with suppress(OSError):  # a model that was removed meanwhile
                content = file.read()
        if file is None or content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        suffix = PurePosixPath(name or "index.html").suffix
        headers = {"Content-Security-Policy": POLICY, **ISOLATION}
        gzipped = file.gzipped
        if suffix in _TEXTS:
            headers["Vary"] = "Accept-Encoding"  # a cache on the way may give it to another browser
            if _takes_gzip(self.headers.get("Accept-Encoding", "")):
                gzipped, content = True, gzip.compress(content, mtime=0)
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        if name.startswith(RUNTIMES):  # 3 MB, and the version is in the path
            headers["Cache-Control"] = "private, max-age=31536000, immutable"
        self.send(CONTENT_TYPES[suffix], content, headers)

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        exchange, name = self.server.exchange, self._name()
        take: dict[str, Callable[[bytes], bytes]] = {}
        if exchange is not None:
            take = {"greeting": exchange.greet, "answer": exchange.answer, "alive": exchange.seen}
        what = name.removeprefix("device/")
        if what == name or what not in take:
            self.refuse(HTTPStatus.NOT_FOUND)
        elif not self._may_answer(new=what != "answer"):
            self.refuse(HTTPStatus.FORBIDDEN, _OTHER_PAGE)
        else:
            try:
                self.send("text/plain", take[what](self.body()))
            except WrongValue as error:
                _log.warning("what a browser says cannot be right: %s", error)
                self.refuse(HTTPStatus.BAD_REQUEST)

    def most_body(self) -> int:
        """Return how many bytes the body of this request may have."""
        if self.server.exchange is None:
            return 0
        return {"device/greeting": _MAX_GREETING, "device/answer": MAX_ANSWER}.get(self._name(), 0)

    def _name(self) -> str:
        """Return the path in the site; what no file has where the address lacks the token."""
        path, prefix = self.path.partition("?")[0], self.server.prefix
        known = secrets.compare_digest(path[: len(prefix)].encode(), prefix.encode())
        return path[len(prefix) :] if known else "/"

    def _ask(self, name: str) -> None:
        """Give the page what it is asked, or the bytes that belong to it."""
        exchange, values = self.server.exchange, parse_qs(self.path.partition("?")[2])
        number = next(iter(values.get("after", values.get("id", []))), "")
        if (
            exchange is None
            or name not in ("device/request", "device/attachment")
            or not re.fullmatch(r"\d{1,9}", number)
        ):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        if not self._may_answer():
            self.send_error(HTTPStatus.FORBIDDEN, _OTHER_PAGE)
            return
        if name == "device/request":
            kind, content = "application/json", exchange.next_request(int(number), _POLL_S)
        else:
            kind, content = "application/octet-stream", exchange.attachment(int(number))
        if content is None:
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            self.send(kind, content)

    def _may_answer(self, *, new: bool = False) -> bool:
        """Return whether a request has the key, comes from this server's own page, and that page is the one asked.

        Args:
            new: whether any page may make it.
        """
        exchange, origin = self.server.exchange, self.headers.get("Origin")
        own = origin is None or origin.partition("://")[2] == self.headers.get("Host", "")
        current = new or (exchange is not None and self.headers.get("X-Edgeseg-Session") == exchange.session)
        key = self.headers.get("X-Edgeseg-Key", "").encode()
        return own and current and secrets.compare_digest(key, self.server.key.encode())


def _takes_gzip(accepted: str) -> bool:
    """Return whether an ``Accept-Encoding`` has gzip, with no weight or one above 0: ``gzip;q=0`` refuses it."""
    for each in accepted.lower().split(","):
        name, has_weight, weight = each.partition(";")
        if name.strip() == "gzip":
            return not has_weight or re.search("[1-9]", weight) is not None
    return False
