from __future__ import annotations

import io
import zipfile

import pytest

from edgeseg._internal.zip_entries import read_entry


@pytest.fixture
def archive() -> zipfile.ZipFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("zeros", bytes(1000))
    return zipfile.ZipFile(buffer)


def test_an_entry_within_the_limit_is_read(archive: zipfile.ZipFile) -> None:
    assert read_entry(archive, "zeros", 1000) == bytes(1000)


def test_an_entry_that_claims_more_is_not_unpacked(archive: zipfile.ZipFile) -> None:
    with pytest.raises(ValueError, match="its entry 'zeros' claims 1000 bytes, at most 999 are read"):
        read_entry(archive, "zeros", 999)
    with pytest.raises(KeyError):
        read_entry(archive, "gone", 1)


def test_no_more_is_read_than_was_claimed(archive: zipfile.ZipFile) -> None:
    archive.getinfo("zeros").file_size = 10  # a bomb lies about its size
    with pytest.raises(zipfile.BadZipFile):  # as the checksum is of all that is there
        read_entry(archive, "zeros", 1000)
