from __future__ import annotations

import pytest

from edgeseg._internal.redact import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@door/1", "rtsp://me:***@door/1"),
        ("rtsp://me:p@ss@door/1", "rtsp://me:***@door/1"),  # up to the last @ of the address
        ("rtsp://me:p/ss@door/1", "rtsp://me:***@door/1"),
        ("cannot open rtsp://me:secret@door/1.", "cannot open rtsp://me:***@door/1."),
        ("http://door/x?user=me&token=abc&n=1", "http://door/x?user=me&token=***&n=1"),
        ("http://door/x?PASSWORD=abc", "http://door/x?PASSWORD=***"),
        ("rtsp://door:554/1", "rtsp://door:554/1"),  # a port is no password
        ("rtsp://door:554/name@place", "rtsp://door:554/name@place"),
        ("clips/street.mp4", "clips/street.mp4"),
    ],
)
def test_passwords_and_keys_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_what_follows_the_folder_of_a_stream_that_is_sent_is_its_key() -> None:
    assert masked("rtmp://host/app/key", stream_key=True) == "rtmp://host/app/***"
    assert masked("rtmp://host/app", stream_key=True) == "rtmp://host/app"
    assert masked("rtmp://host/app/key") == "rtmp://host/app/key"
