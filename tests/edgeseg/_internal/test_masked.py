from __future__ import annotations

import pytest

from edgeseg._internal.text import masked, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@door/1", "rtsp://me:***@door/1"),
        ("rtsp://me:p@ss@door/1", "rtsp://me:***@door/1"),  # up to the last @ of the address
        ("rtsp://me:p/ss@door/1", "rtsp://me:***@door/1"),
        ("cannot open rtsp://me:secret@door/1.", "cannot open rtsp://me:***@door/1."),
        ("http://door/x?user=me&token=abc&n=1", "http://door/x?user=me&token=***&n=1"),
        ("http://door/x?PASSWORD=abc", "http://door/x?PASSWORD=***"),
        ("http://door/x?access_token=abc&n=1", "http://door/x?access_token=***&n=1"),
        ("src user-id=me user-pw=a&b ! sink", "src user-id=me user-pw=*** ! sink"),
        ("src proxy-pw='a b' ! sink", "src proxy-pw=*** ! sink"),
        (r'src password="a \" b" ! sink', "src password=*** ! sink"),
        (r"src passphrase=a\ b ! sink", "src passphrase=*** ! sink"),
        ("src user-pw = abc ! sink", "src user-pw = *** ! sink"),
        ('src user-pw="a b', "src user-pw=***"),  # a quote without end
        ("src 'user-pw=a b' ! sink", "src 'user-pw=***' ! sink"),
        ("bin sink::password=abc", "bin sink::password=***"),
        ("shots/key=3.png", "shots/key=3.png"),
        ("x264enc key-int-max=30 ! sink", "x264enc key-int-max=30 ! sink"),
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x1b[31mred\x07\x9b\x7f", r"\x1b[31mred\x07\x9b\x7f"),  # would color, ring, and steer
        ("z\udcfcrich.png", r"z\udcfcrich.png"),  # Latin-1 in a file name
        ("gnp.\u202eexe\u2066", r"gnp.\u202eexe\u2066"),  # would be read from right to left
        ("one\u2028two\u2029\x85", r"one\u2028two\u2029\x85"),
        (
            "straße 道路 \u0645\u06cc\u200c\u062e 👩\u200d🚀 a\\b",
            "straße 道路 \u0645\u06cc\u200c\u062e 👩\u200d🚀 a\\b",
        ),  # any script
    ],
)
def test_what_steers_a_terminal_is_escaped_and_no_script_is(text: str, shown: str) -> None:
    assert printable(text) == shown
