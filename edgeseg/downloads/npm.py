"""Download files out of a package of the npm registry, by the package's hash and without node."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgeseg._internal.text import printable
from edgeseg.errors import InputError

#: npm's own variable for a mirror of the registry; npm reads it in either case.
REGISTRY_VARIABLE = "npm_config_registry"

_REGISTRY = "https://registry.npmjs.org/"
_TIMEOUT_S = 30.0  # without a byte, not for the whole
_CHUNK = 1 << 16


@dataclass(frozen=True)
class NpmPackage:
    """A version of a package, and what its archive must be.

    Attributes:
        name: ``@scope/name`` or ``name``.
        version: of the package.
        integrity: ``sha512-`` and the hash in base64, as in the registry's own records and in lock files.
        size: bytes of the archive.
    """

    name: str
    version: str
    integrity: str
    size: int

    @property
    def url(self) -> str:
        """Return the address of the archive."""
        registry = os.environ.get(REGISTRY_VARIABLE) or os.environ.get(REGISTRY_VARIABLE.upper()) or _REGISTRY
        return f"{registry.rstrip('/')}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


def download(package: NpmPackage, files: Sequence[str]) -> dict[str, bytes]:
    """Download a package and return some of its files; nothing is written and nothing is run.

    The archive is unpacked only once its hash is right, so that it is the one whose content was looked at.

    Args:
        package: which, with its hash.
        files: paths in the package, such as ``dist/index.js``.

    Raises:
        InputError: the registry cannot be reached or does not have it, or what it sends is another archive.
    """
    archive = _get(package)
    hashed = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if hashed != package.integrity:
        raise InputError(
            f"'{package.url}' is not the archive that edgeseg knows: its hash is {hashed[:19]}..., "
            f"and must be {package.integrity[:19]}.... Nothing of it was used."
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        content = {}
        for name in files:
            member = opened.extractfile(f"package/{name}")
            assert member is not None, name  # a regular file, as the hash says
            content[name] = member.read()
    return content


def _get(package: NpmPackage) -> bytes:
    """Return the archive, never more bytes than it has."""
    url = package.url
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http"):
        raise InputError(f"{REGISTRY_VARIABLE} must be an address that begins with https:// or http://.")
    if "@" in parts.netloc:
        raise InputError(f"{REGISTRY_VARIABLE} has a user or a password in it, which edgeseg does not send; omit them.")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            content = bytearray()
            while chunk := answer.read(min(_CHUNK, package.size + 1 - len(content))):
                content += chunk
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        reason = getattr(error, "reason", None) or error
        status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise InputError(
            f"'{url}' cannot be downloaded: {status}{printable(str(reason))}. A mirror of the npm registry is "
            f"named by the variable {REGISTRY_VARIABLE}."
        ) from error
    return bytes(content)
