"""List and read what is not in a folder of this machine: the one door to ``fsspec``, which knows the object stores."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from edgeseg._internal.limits.images import max_image_pixels
from edgeseg._internal.text import escaped, masked
from edgeseg.errors import BackendUnavailable, InputError, missing_extra
from edgeseg.video.address import URL, is_file_url

#: What fsspec needs for a kind of address beside itself, as pip names it.
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
#: Addresses that are read; others that fsspec knows are archives, caches, code repositories and shells.
SCHEMES = (*_PACKAGES, "memory")

# Bytes of a pixel in the largest encoding, and room for the metadata, as of files.
_MOST_PER_PIXEL, _ROOM = 8, 1 << 26


def is_stored(place: str) -> bool:
    """Return whether a place is an address, and not a file of this machine."""
    return URL.match(place) is not None and not is_file_url(place)


def stored_names(url: str) -> tuple[str, list[str]]:
    """List what an address names: the files in a folder, those of a pattern, or the one file.

    Args:
        url: ``s3://bucket/shots``, ``s3://bucket/shots/**/*.jpg`` or ``s3://bucket/shots/a.jpg``.

    Returns:
        The address of the folder, or of what precedes the first wildcard, with a slash at its end; and the paths from
        there, in no order.

    Raises:
        InputError: it cannot be listed.
        BackendUnavailable: the package for this kind of address is not installed.
    """
    system, path = _opened(url)
    try:
        if (wildcard := re.search(r"[*?\[]", path)) is not None:
            root, found = path[: path.rfind("/", 0, wildcard.start()) + 1], system.glob(path)
        elif not url.endswith("/") and system.isfile(path):
            root, found = path[: path.rfind("/") + 1], [path]
        else:
            root, found = f"{path.rstrip('/')}/", system.ls(path, detail=False)
    except _failures() as error:
        raise _refused(url, error) from error
    names = [name.removeprefix(root) for name in found if name.startswith(root)]
    return root if "://" in root else f"{url.partition('://')[0].lower()}://{root}", names


def read_stored(url: str) -> bytes:
    """Return the bytes of one file of a store, up to those that an image may have.

    Raises:
        InputError: it cannot be read, or is larger.
        BackendUnavailable: the package for this kind of address is not installed.
    """
    system, path = _opened(url)
    most = _MOST_PER_PIXEL * max_image_pixels() + _ROOM
    try:
        with system.open(path, "rb", cache_type="none") as file:
            data: bytes = file.read(most + 1)
    except _failures() as error:
        raise _refused(url, error) from error
    if len(data) > most:
        raise InputError(f"'{masked(url)}' has more bytes than any image of {max_image_pixels()} pixels.")
    return data


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(f"'{masked(url)}' begins with '{scheme}://'; accepted: {', '.join(SCHEMES)}.")
    try:
        import fsspec
    except ImportError as error:
        raise missing_extra(f"'{masked(url)}'", "cloud") from error
    try:
        # Listings are not kept: those of a million objects have a gigabyte.
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "fsspec")
        raise BackendUnavailable(
            f"'{masked(url)}' needs the package {package}. Install it with: pip install \"edgeseg[cloud]\" {package}"
        ) from error
    except _failures() as error:
        raise _refused(url, error) from error
    return system, path


def _failures() -> tuple[type[Exception], ...]:
    """Return what a file system raises: fsspec lets errors of its clients through that are no ``OSError``."""
    return (OSError, ValueError, *_raised_by_clients())


def _raised_by_clients() -> Iterator[type[Exception]]:
    # The base class of each client's errors, where the client is in use.
    for module, name in (
        ("aiohttp", "ClientError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("google.auth.exceptions", "GoogleAuthError"),
        ("azure.core.exceptions", "AzureError"),
        ("gcsfs.retry", "HttpError"),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None:
            yield kind


def _refused(url: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"'{masked(url)}' does not exist.")
    return InputError(f"'{masked(url)}' cannot be read: {escaped(masked(' '.join(str(error).split())), most=300)}.")
