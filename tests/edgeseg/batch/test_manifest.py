"""``manifest`` and ``record``: what is remembered of each image, after a kill too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeseg.batch.manifest import open_manifest, records, require_settings, settings_of
from edgeseg.batch.record import Record, add_cells, cells
from edgeseg.errors import InputError

SETTINGS = {"model": "a.tflite", "views": "mask"}


class Names(list[str]):
    def index(self, name: str) -> int | None:  # type: ignore[override]
        return super().index(name) if name in self else None


NAMES = Names(["a.png", "b.png", "c.png"])


def write(path: Path, *done: Record, names: Sequence[str] = NAMES) -> bytearray:
    with open_manifest(path, SETTINGS, Names(names)) as manifest:
        for record in done:
            manifest.append(record)
        return manifest.done


def result(name: str) -> Record:
    return Record(name=name, size_hw=(3, 4), counts=(12, 0))


def test_a_run_goes_on_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "new" / "manifest.jsonl"
    assert list(write(path, result("b.png"))) == [0, 0, 0]
    assert settings_of(path) == SETTINGS
    whole = path.read_bytes()
    line = result("a.png").line()
    for cut in (1, len(line) - 1):  # what kill -9 may leave of a line: it counts for nothing, and is cut off
        path.write_bytes(whole + line[:cut])
        assert [record.name for record in records(path)] == ["b.png"]
        assert list(write(path)) == [0, 1, 0]
        assert path.read_bytes() == whole
    write(path, result("a.png"), result("c.png"))
    assert list(write(path)) == [1, 1, 1]
    assert path.read_bytes().startswith(whole)
    for cut in (0, 10):  # killed in its first line
        path.write_bytes(whole[:cut])
        assert list(write(path)) == [0, 0, 0]
        assert settings_of(path) == SETTINGS


def test_an_image_that_failed_is_tried_again_and_has_one_result(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    broken = [Record(name=name, error="it is broken") for name in ("a.png", "b.png")]
    write(path, *broken, result("c.png"))
    with open_manifest(path, SETTINGS, NAMES) as manifest:
        assert (list(manifest.done), manifest.num_failed) == ([0, 0, 1], 2)
        manifest.append(result("a.png"))
        manifest.append(broken[1])
    assert list(records(path)) == [result("c.png"), result("a.png"), broken[1]]


def test_an_image_that_is_gone_keeps_its_result(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write(path, result("a.png"), result("z.png"))
    assert list(write(path, names=["a.png", "b.png"])) == [1, 0]
    assert [record.name for record in records(path)] == ["a.png", "z.png"]


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write(path, result("a.png"))
    with open_manifest(path, SETTINGS, NAMES), pytest.raises(InputError, match="is being written by process"):
        write(path)
    other = {**SETTINGS, "views": "overlay"}
    with pytest.raises(InputError, match="whose views is mask, not overlay; give another place, or `overwrite=True`"):
        require_settings(path, other)
    with (
        pytest.raises(InputError, match="whose extra is nothing, not x"),
        open_manifest(path, {**SETTINGS, "extra": "x"}, NAMES),
    ):
        pass
    with open_manifest(path, other, NAMES, overwrite=True) as manifest:
        assert not any(manifest.done)
    assert settings_of(path) == other

    write(tmp_path / "twice.jsonl", result("a.png"), result("a.png"))
    with pytest.raises(InputError, match=r"has two results of 'a\.png'"):
        write(tmp_path / "twice.jsonl")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        settings_of(tmp_path / "none.jsonl")


def test_what_is_damaged(tmp_path: Path, read_altered: Callable[..., tuple[int, int]]) -> None:
    path = tmp_path / "manifest.jsonl"
    write(path, result("a.png"))
    header, _ = path.read_text().splitlines()
    full = Record(name="a.png", size_hw=(3, 4), counts=(12, 0), matrix=((0, 5), (3, 7)), nearest=((0, 12),))

    def read_line(text: str) -> object:
        path.write_text(f"{header}\n{text}\n", errors="surrogatepass", newline="")
        return list(records(path))

    def read_header(text: str) -> object:
        path.write_text(f"{text}\n", errors="surrogatepass", newline="")
        return settings_of(path)

    for read, value in ((read_line, json.loads(full.line())), (read_header, json.loads(header))):
        accepted, refused = read_altered(read, value)
        assert accepted and refused > accepted
    with pytest.raises(InputError, match="line 2: it has more than 4 MiB"):
        read_line("x" * (1 << 22))
    with pytest.raises(InputError, match="has format version 2; this edgeseg reads 1"):
        read_header(json.dumps({"format_version": 2, "settings": {}}))


def test_a_matrix_by_its_cells() -> None:
    matrix = np.random.default_rng(0).integers(0, 3, (5, 5)).astype(np.int64) * 2**40
    total = np.zeros((5, 5), np.int64)
    for _ in range(3):
        add_cells(total, cells(matrix))
    assert (total == 3 * matrix).all()
    add_cells(total, ())
    assert len(cells(matrix)) == np.count_nonzero(matrix) < 25
