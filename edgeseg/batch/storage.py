"""List, read and write what is not in a folder of this machine: the one door to ``fsspec``, which knows the stores.

An object of a store appears when it is whole, and replaces another of its name at once: there are no temporary names.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from edgeseg._internal.limits.images import max_image_bytes, max_image_pixels
from edgeseg._internal.text import escaped, masked
from edgeseg.errors import BackendUnavailable, InputError, missing_extra
from edgeseg.video.address import URL, is_file_url, local_path

#: What fsspec needs for a kind of address beside itself, as pip names it.
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
#: Addresses that are read; others that fsspec knows are archives, caches, code repositories and shells.
SCHEMES = (*_PACKAGES, "memory")
#: Those that are written, too.
WRITABLE = tuple(scheme for scheme in SCHEMES if scheme not in ("http", "https"))

#: A folder of this machine, or the address of one in a store.
Place = Path | str

# Bytes of a large file that are asked for at once.
_CHUNK = 1 << 24


def is_stored(place: str) -> bool:
    """Return whether a place is an address, and not a file of this machine."""
    return URL.match(place) is not None and not is_file_url(place)


def place_of(text: str) -> Place:
    """Return a folder for results: of this machine, or the address of one in a store, without a slash at its end.

    Raises:
        InputError: it is an address that cannot be written, or names no folder.
    """
    if not is_stored(text):
        return Path(local_path(text))
    scheme, _, path = text.partition("://")
    if scheme.lower() not in WRITABLE:
        raise InputError(
            f"'{masked(text)}' is no place for results; accepted: a folder, or an address of {', '.join(WRITABLE)}."
        )
    if not path.strip("/") or re.search(r"[*?\[]", path):
        raise InputError(f"'{masked(text)}' names no folder of a store; accepted: {scheme}://BUCKET/FOLDER.")
    return f"{scheme.lower()}://{path.rstrip('/')}"


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
        raise _failed(url, error) from error
    names = [name.removeprefix(root) for name in found if name.startswith(root)]
    return root if "://" in root else f"{url.partition('://')[0].lower()}://{root}", names


def read_stored(url: str) -> bytes:
    """Return the bytes of one file of a store, up to those that an image may have.

    Raises:
        InputError: it cannot be read, or is larger.
        BackendUnavailable: the package for this kind of address is not installed.
    """
    system, path = _opened(url)
    most = max_image_bytes()
    try:
        with system.open(path, "rb", cache_type="none") as file:
            data: bytes = file.read(most + 1)
    except _failures() as error:
        raise _failed(url, error) from error
    if len(data) > most:
        raise InputError(f"'{masked(url)}' has more bytes than any image of {max_image_pixels()} pixels.")
    return data


def copy_stored(url: str, file: IO[bytes]) -> None:
    """Add the bytes of a file of a store, however many, to an open file.

    Raises:
        InputError: it cannot be read.
    """
    system, path = _opened(url)
    try:
        with system.open(path, "rb", block_size=_CHUNK, cache_type="readahead") as source:
            shutil.copyfileobj(source, file, _CHUNK)
    except _failures() as error:
        raise _failed(url, error) from error


def stored_in(url: str) -> list[str]:
    """Return the names of what is in a folder of a store; none where there is no such folder.

    Raises:
        InputError: it cannot be listed, or is a file.
    """
    system, path = _opened(url)
    try:
        if system.info(path)["type"] == "file":
            raise InputError(f"'{masked(url)}' is a file; name a folder.")
        found = [name.rstrip("/") for name in system.ls(path, detail=False)]
    except FileNotFoundError:
        return []
    except _failures() as error:
        raise _failed(url, error) from error
    # What the pages of clouds make to show an empty folder is named as the folder.
    return [name.rpartition("/")[2] for name in found if name.strip("/") != path.strip("/")]


def has_stored(url: str) -> bool:
    """Return whether a store has a file.

    Raises:
        InputError: it does not say.
    """
    system, path = _opened(url)
    try:
        return bool(system.exists(path))
    except _failures() as error:
        raise _failed(url, error) from error


def write_stored(url: str, content: bytes | Path) -> None:
    """Write a file of a store, whole, in place of one that is there.

    Args:
        url: its address.
        content: its bytes, or a file of this machine that has them.

    Raises:
        InputError: it cannot be written.
        BackendUnavailable: the package for this kind of address is not installed.
    """
    system, path = _opened(url)
    try:
        if isinstance(content, Path):
            system.put_file(str(content), path)
        else:
            system.pipe_file(path, content)
    except _failures() as error:
        raise _failed(url, error, "written") from error


def remove_stored(urls: Sequence[str]) -> None:
    """Remove files of a store; one that is gone is no error.

    Raises:
        InputError: one cannot be removed.
    """
    for url in urls:
        system, path = _opened(url)
        try:
            system.rm_file(path)
        except FileNotFoundError:
            pass
        except _failures() as error:
            raise _failed(url, error, "removed") from error


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    scheme, _, place = url.partition("://")
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise InputError(f"'{masked(url)}' begins with '{scheme}://'; accepted: {', '.join(SCHEMES)}.")
    if "::" in url:
        raise InputError(f"'{masked(url)}' has '::' in it, which would lead to another store; rename it.")
    try:
        import fsspec
    except ImportError as error:
        raise missing_extra(f"'{masked(url)}'", "cloud") from error
    try:
        # Listings are not kept: those of a million objects have a gigabyte.
        system, path = fsspec.core.url_to_fs(f"{scheme}://{place}", use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "fsspec")
        raise BackendUnavailable(
            f"'{masked(url)}' needs the package {package}. Install it with: pip install \"edgeseg[cloud]\" {package}"
        ) from error
    except _failures() as error:
        raise _failed(url, error) from error
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


def _failed(url: str, error: Exception, done: str = "read") -> InputError:
    if isinstance(error, FileNotFoundError) and done == "read":
        return InputError(f"'{masked(url)}' does not exist.")
    return InputError(f"'{masked(url)}' cannot be {done}: {escaped(masked(' '.join(str(error).split())), most=300)}.")
