"""Names of devices, and tables of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.benchmark.devices import open_device, read_table
from edgeseg.benchmark.devices.ssh import SshDevice
from edgeseg.errors import InputError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    return path


def test_a_table_names_devices_in_its_order(tmp_path: Path) -> None:
    text = '[pi5]\ndevice = "ssh:pi5"\nenvironment = "~/bench"\npython = "python3.11"\n[here]\ndevice = "local"\n'
    board, here = read_table(write(tmp_path, text))
    assert (board.name, here.name) == ("ssh:pi5", "local")
    assert isinstance(board, SshDevice)
    assert (board._folder, board._base, board._keep) == ("~/bench", "python3.11", "environment")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pi5", "is not TOML: "),
        ("", "names no device"),
        ('device = "ssh:pi5"', r"'device' is in no table"),
        ('[pi5]\npython = "python3"', r"\[pi5\]: 'device' is missing"),
        ('[pi5]\ndevice = "ssh:pi5"\npython = "a\\u001b"', r"\[pi5\]: 'python' must be text in quotes, of one line"),
        ("[pi5]\ndevice = " + "[" * 100_000, "it is nested too deeply"),
        (
            "[pi5]\ndevice = [[nan, 1e999]]",
            r"\[pi5\]: 'device' must be text in quotes, of one line, got \[\[nan, inf\]\]",
        ),
        ("[pi5]\ndevice = 5", r"\[pi5\]: 'device' must be text in quotes, of one line, got 5"),
        ('[pi5]\ndevice = "ssh:pi5"\npythn = "x"', r"\[pi5\]: unknown key 'pythn' of 'ssh'. Did you mean 'python'\?"),
        ('[pi5]\ndevice = "ssh:pi5"\ntext = "x"', r"\[pi5\]: unknown key 'text' of 'ssh'. Accepted: device, env"),
        ('[pi5]\ndevice = "ssh:pi5"\nkeep = "nothin"', r"unknown keep 'nothin'. Did you mean 'nothing'\?"),
        ('[pi5]\ndevice = "local"\npython = "x"', r"unknown key 'python' of 'local'. Accepted: device\."),
        ('[pi5]\ndevice = "ssh:-oProxyCommand=x"', r"\[pi5\]: '-oProxyCommand=x' is no host for ssh"),
        ('[pi5]\ndevice = "shs:pi5"', r"\[pi5\]: unknown device 'shs:pi5'. Did you mean 'ssh'\?"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path, text))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"devices\.toml' cannot be read: No such file"):
        read_table(tmp_path / "devices.toml")


@pytest.mark.parametrize("name", ["pi5", "", "ssh", "adb:", "local:1"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(InputError, match="Accepted: local, ssh:HOST, adb, adb:SERIAL"):
        open_device(name)
