"""``edgeseg.proof.file`` and ``margins``: what is written is read again, and nothing of a foreign file is trusted."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg.proof.file import Proof, ProofGate, ProofImage, proof_of, read_proof
from edgeseg.proof.margins import decode_margins, encode_margins
from edgeseg.spec import ModelSpec


@pytest.fixture
def proof(tiny_spec: ModelSpec) -> Proof:
    rng = np.random.default_rng(0)
    height, width = tiny_spec.input_size
    images = tuple(
        ProofImage(
            image_rgb=rng.integers(0, 256, (height, width, 3), np.uint8),
            class_map=rng.integers(0, tiny_spec.num_classes, (height // 2, width // 2), np.uint8),
            margins=decode_margins(rng.integers(0, 256, (height // 2, width // 2), np.uint8)),
        )
        for _ in range(2)
    )
    gates = {"fp32": ProofGate(min_agreement=0.999, decided_from=0.002)}
    return Proof(spec=tiny_spec, source="noise", gates=gates, images=images, artifacts={"m.fp32.tflite": "a" * 64})  # type: ignore[arg-type]


def entries(proof: Proof) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(proof.to_bytes())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def test_what_is_written_is_read(proof: Proof, tmp_path: Path) -> None:
    proof.save(tmp_path / "m.proof.zip")
    read = read_proof(tmp_path / "m.proof.zip")
    assert (read.spec, read.source, dict(read.gates), dict(read.artifacts)) == (
        proof.spec, "noise", dict(proof.gates), dict(proof.artifacts),
    )  # fmt: skip
    for mine, its in zip(proof.images, read.images, strict=True):
        assert np.array_equal(mine.image_rgb, its.image_rgb)
        assert np.array_equal(mine.class_map, its.class_map)
        # A margin is written in fewer steps: never as larger, and not less by more than the step.
        assert (its.margins <= mine.margins).all()
        assert np.abs(np.sqrt(its.margins) - np.sqrt(mine.margins)).max() <= 16 / 255
    assert read.asks_the_same(proof)
    assert proof.to_bytes() == proof.to_bytes()
    with pytest.raises(InputError, match="exists"):
        proof.save(tmp_path / "m.proof.zip")


def test_every_code_of_a_margin_is_kept() -> None:
    codes = np.array([[*range(64), *range(64, 256, 16)]], np.uint8)
    assert np.array_equal(encode_margins(decode_margins(codes)), codes)
    assert encode_margins(np.array([[-1.0, 2.0]], np.float32)).tolist() == [[0, 240]]


def test_artifacts_are_added_and_replaced(proof: Proof) -> None:
    more = proof.with_artifacts({"m.int8.tflite": "b" * 64, "m.fp32.tflite": "c" * 64})
    assert dict(more.artifacts) == {"m.fp32.tflite": "c" * 64, "m.int8.tflite": "b" * 64}
    assert more.of("b" * 64)
    assert not more.of("a" * 64)


def test_another_answer_is_seen(proof: Proof) -> None:
    (first, second) = proof.images
    flipped = ProofImage(image_rgb=first.image_rgb, class_map=1 - first.class_map.clip(0, 1), margins=first.margins)
    other = Proof(spec=proof.spec, source="", gates=proof.gates, images=(flipped, second))
    assert not proof.asks_the_same(other)


def changed(proof: Proof, **values: Any) -> bytes:
    parts = entries(proof)
    about = json.loads(parts["proof.json"])
    for name, value in values.items():
        if value is None:
            about.pop(name)
        else:
            about[name] = value
    return packed({**parts, "proof.json": json.dumps(about).encode()})


def without(proof: Proof, name: str) -> bytes:
    return packed({key: value for key, value in entries(proof).items() if key != name})


def with_entry(proof: Proof, name: str, content: bytes) -> bytes:
    return packed({**entries(proof), name: content})


def twice(proof: Proof) -> bytes:
    data = io.BytesIO(proof.to_bytes())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(data, "a") as archive:
        archive.writestr("proof.json", "{}")
    return data.getvalue()


def damaged_at(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF, data[place + 1] ^ 0xFF]) + data[place + 2 :]


def claiming(size: int) -> bytes:
    """Return the PNG of a pixel whose header claims a side."""
    png = bytearray(encode_image(np.zeros((1, 1), np.uint8)))
    png[16:24] = struct.pack(">II", size, size)
    return bytes(png)


DAMAGED: dict[str, tuple[Callable[[Proof], bytes], str]] = {
    "empty": (lambda proof: b"", "no zip archive"),
    "no zip": (lambda proof: b"PK" * 100, "no zip archive"),
    "cut": (lambda proof: proof.to_bytes()[:-30], "no zip archive"),
    "byte changed": (lambda proof: proof.to_bytes().replace(b"IDAT", b"IDAX", 1), "no proof of edgeseg"),
    "no json": (lambda proof: without(proof, "proof.json"), "proof.json"),
    "json broken": (lambda proof: with_entry(proof, "proof.json", b"{"), "no JSON"),
    "no spec": (lambda proof: changed(proof, spec=None), "'spec' is missing"),
    "spec broken": (lambda proof: changed(proof, spec={"format_version": 3}), "not a ModelSpec"),
    "newer": (lambda proof: changed(proof, format_version=9), "version 9"),
    "no version": (lambda proof: changed(proof, format_version=None), "version null"),
    "gate above 1": (lambda proof: changed(proof, gates={"fp32": {"min_agreement": 2, "decided_from": 0}}), "gates"),
    "no gates": (lambda proof: changed(proof, gates={}), "gates"),
    "odd precision": (lambda proof: changed(proof, gates={"fp7": {"min_agreement": 1, "decided_from": 0}}), "gates"),
    "no digest": (lambda proof: changed(proof, artifacts={"m": "xyz"}), "artifacts"),
    "more images than there are": (lambda proof: changed(proof, images=3), "7 files"),
    "a thousand images": (lambda proof: changed(proof, images=1000), "images"),
    "no image": (lambda proof: without(proof, "images/01.png"), "6 files"),
    "one more": (lambda proof: with_entry(proof, "run.py", b"1"), "run.py"),
    "outside": (lambda proof: with_entry(proof, "../../etc/passwd", b"1"), "passwd"),
    "twice": (twice, "two files of one name"),
    "compressed": (lambda proof: packed(entries(proof), zipfile.ZIP_DEFLATED), "'proof.json' is compressed"),
    "compressed and damaged": (
        lambda proof: damaged_at(packed(entries(proof), zipfile.ZIP_DEFLATED), 60),
        "'proof.json' is compressed",
    ),
    "no png": (lambda proof: with_entry(proof, "images/00.png", b"GIF89a"), "no PNG"),
    "a chunk of 3 GB": (
        lambda proof: with_entry(proof, "margins/00.png", entries(proof)["margins/00.png"][:33] + b"\xc0\0\0\0IDAT"),
        "no PNG, or damaged",
    ),
    "a header that ends": (lambda proof: with_entry(proof, "margins/00.png", b"\x89PNG\r\n\x1a\nIHDR"), "no PNG"),
    "wrong size": (
        lambda proof: with_entry(proof, "images/00.png", encode_image(np.zeros((8, 8, 3), np.uint8))),
        "8,8",
    ),
    "claims 2 GB": (lambda proof: with_entry(proof, "margins/00.png", claiming(50_000)), "50000,50000"),
    "classes claim 2 GB": (lambda proof: with_entry(proof, "classes/00.png", claiming(50_000)), "50000,50000"),
    "does not decode": (lambda proof: with_entry(proof, "classes/00.png", claiming(2)), "does not decode"),
    "class 255": (
        lambda proof: with_entry(
            proof, "classes/00.png", encode_image(np.full(proof.images[0].class_map.shape, 255, np.uint8))
        ),
        "class 255",
    ),
    "a million entries": (
        lambda proof: proof.to_bytes()[:-10] + struct.pack("<I", 1 << 26) + proof.to_bytes()[-6:],
        "more entries",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_proof_is_one_line(kind: str, proof: Proof) -> None:
    damage, said = DAMAGED[kind]
    with pytest.raises(InputError) as refused:
        proof_of(damage(proof), "'m.proof.zip'")
    text = str(refused.value)
    assert text.startswith("'m.proof.zip'")
    assert said in text
    assert "\n" not in text
    assert len(text) < 500


def test_a_json_altered_at_any_place_is_read_or_refused(proof: Proof, read_altered: Callable[..., Any]) -> None:
    parts = entries(proof)

    def read(text: str) -> object:
        return proof_of(packed({**parts, "proof.json": text.encode(errors="surrogatepass")}), "'m.proof.zip'")

    about = json.loads(parts["proof.json"])
    del about["spec"]["provenance"]  # tests of ``spec`` alter it
    read_count, refused = read_altered(read, about)
    assert refused > read_count > 0


def test_no_regular_file_and_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regular file"):
        read_proof(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_proof(tmp_path / "none.proof.zip")
