"""Serve the files of the page, with the headers that threads want, a strict policy, and a token on a network."""

from __future__ import annotations

import logging
import secrets
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import PurePosixPath
from types import MappingProxyType, TracebackType

from edgeseg.http.handler import Handler
from edgeseg.http.server import HttpServer, is_loopback
from edgeseg.web.certificate import tls_context
from edgeseg.web.site import CONTENT_TYPES, Site

_log = logging.getLogger(__name__)

#: The page loads nothing from anywhere else, and runs no code but its own files' and the runtime's.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

#: With these two a page has SharedArrayBuffer, without which there are no threads.
ISOLATION: Mapping[str, str] = MappingProxyType(
    {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
)


class WebServer:
    """Serves a site until ``close``.

    Where other machines reach it, its address has a random token, and what does not begin with it is not found.

    Args:
        site: what is served.
        host: address to listen on; ``"127.0.0.1"``: this machine only.
        port: 0 picks a free one.
        https: whether to speak TLS; when ``None`` where other machines reach it, as a browser gives a camera to a
            secure page only.

    Attributes:
        url: the address to open in a browser.
        port: on which it listens.
        is_public: whether other machines reach it.
        fingerprint: of the certificate; empty without TLS.

    Raises:
        InputError: the port is in use or not allowed, or the host is not this machine's.
        BackendUnavailable: the package for https is not installed.
    """

    def __init__(self, site: Site, *, host: str = "127.0.0.1", port: int = 8080, https: bool | None = None) -> None:
        secure = not is_loopback(host) if https is None else https
        context, self.fingerprint = tls_context() if secure else (None, "")
        self._server = _Server(host, port, site, context)
        self.port, self.is_public = self._server.port, self._server.is_public
        self.url = self._server.url + self._server.prefix.removeprefix("/")
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
    def __init__(self, host: str, port: int, site: Site, tls: ssl.SSLContext | None) -> None:
        self.site = site
        super().__init__(host, port, _SiteHandler, tls=tls)
        self.prefix = f"/{secrets.token_urlsafe(16)}/" if self.is_public else "/"


class _SiteHandler(Handler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        path = self.path.partition("?")[0]
        prefix = self.server.prefix
        known = secrets.compare_digest(path[: len(prefix)].encode(), prefix.encode())
        name = path[len(prefix) :] or "index.html"
        file = self.server.site.files.get(name) if known else None
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        headers = {"Content-Security-Policy": POLICY, **ISOLATION}
        if file.gzipped:
            headers["Content-Encoding"] = "gzip"
        self.send(CONTENT_TYPES[PurePosixPath(name).suffix], file.read(), headers)
