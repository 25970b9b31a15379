"""``edgeseg_converters.report.card``: what a model card says, what it escapes, and what of a card stays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec, Provenance
from edgeseg_converters import ExportResult, Recipe
from edgeseg_converters.quantization.accuracy import Accuracy
from edgeseg_converters.quantization.make import Quantized
from edgeseg_converters.report.card import Making, markdown, read_rows, save_card, without_folders, write_card
from edgeseg_converters.verification.comparison import Verification

HOSTILE = "[x](http://e) <script>alert(1)</script> | `a` **b** &lt; --> \n# c \u202e $x$ ~~d~~ {% x %}"
VERIFIED = Verification(
    images="/data/mine/camvid (val)", num_images=8, argmax_agreement=0.99987, max_abs_error=2.5e-4,
    max_relative_error=0, passed=True, reason="",
)  # fmt: skip


def result(precision: Any = "fp32", *, name: str = "street", **changes: Any) -> ExportResult:
    """An artifact of a few bytes, as the exporter gives it."""
    made = Provenance(source="mine.keras", precision=precision, tools={"keras": "3.15", "ai-edge-litert": "2.3.0"})
    said = changes.pop("said", {})
    spec = ModelSpec(
        name=name, input_size=(384, 480), class_names=("road", HOSTILE[:80]), palette=((0, 0, 0),) * 2,
        dtype="uint8" if precision == "int8" else "float32", output_kind="argmax", provenance=made, **said,
    )  # fmt: skip
    data = f"{precision} {name}".encode() * 1000
    recipe = Recipe("tflite", precision)
    settings = {"rewrites": None, "verification": VERIFIED, "seconds": 1.0, **changes}
    return ExportResult(data=data, recipe=recipe, spec=spec, **settings)


def rendered(text: str) -> str:
    """As GitHub and Hugging Face show it, without the front matter."""
    return str(MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2]))


def test_what_a_card_says() -> None:
    quantized = object.__new__(Quantized)
    accuracy = Accuracy(
        source="val", num_images=4, mean_iou=(0.656, 0.649), per_class_iou={}, agreement=0.97, changed=(), passed=True,
        reason="",
    )  # fmt: skip
    object.__setattr__(quantized, "accuracy", accuracy)
    command = "edgeseg export /home/me/mine.keras --data rtsp://me:secret@host/x --output-dir 'my out'"
    text = write_card(
        [result(), result("int8", quantized=quantized)], Making(command=command, license="apache-2.0", proof=True)
    )
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["library_name"], front["pipeline_tag"]) == (
        "apache-2.0",
        "tflite",
        "image-segmentation",
    )
    assert "tflite" in front["tags"]
    page = rendered(text)
    assert "<td>street.int8.tflite</td>" in page and "mIoU 0.649, 0.656 in float" in page
    assert "99.98%" in page  # rounded down, as everywhere
    assert (
        "384 x 480 pixels" in page
        and "float32, (pixel - 127.5) / 127.5; in integer files the bytes as they are" in page
    )
    assert "edgeseg export mine.keras --data x --output-dir 'my out'" in page.replace("&quot;", '"')
    assert "8 images (camvid (val))" in page
    assert "street.proof.zip" in page and "secret" not in text and "/home" not in text
    unproven = rendered(write_card([result(verification=None)], Making()))
    assert "not stated" in unproven and "were not compared" in unproven and "proof.zip" not in unproven


@pytest.mark.parametrize("name", [HOSTILE[:60].replace("/", ""), "a`b", "---", "<!--"])
def test_what_comes_from_outside_is_shown_and_does_nothing(name: str) -> None:
    text = write_card([result(name=name)], Making(command=f"edgeseg export '{HOSTILE}'"))
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "unknown"
    page = rendered(text).replace(f"<!-- edgeseg card {text.rsplit('<!-- edgeseg card ')[-1]}".strip(), "")
    plain = page.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    assert f"<h1>{name}</h1>" in plain
    for tag in ("<script", "<a ", "<em>b", "<strong>b", "<del>", "<h1>c"):
        assert tag not in page
    assert page.count("<table>") == 2


def test_escaping_is_of_one_line() -> None:
    assert markdown("a_b|c\n#") == r"a\_b\|c\\n\#"
    assert without_folders("/a/b c\\d ./e https://h/f") == "b d e f"


def test_a_card_grows_until_somebody_edits_it(tmp_path: Path) -> None:
    first, second = result(), result("int8")

    def save(*results: ExportResult, overwrite: bool = False) -> tuple[Path, bool]:
        for each in results:
            each.save(tmp_path, overwrite=True)
        return save_card(results, tmp_path, Making(), overwrite=overwrite)

    path, written = save(first)
    assert written and [path.name for path in tmp_path.iterdir()].count("street.card.md") == 1
    assert save(second) == (path, True)
    assert [row.file for row in read_rows(path) or ()] == ["street.fp32.tflite", "street.int8.tflite"]
    (tmp_path / first.file_name).write_bytes(b"another")  # the row of a file that is no more
    save(second)
    assert [row.file for row in read_rows(path) or ()] == ["street.int8.tflite"]
    mine = path.read_text().replace("not stated", "MIT")
    path.write_text(mine)
    assert save(first) == (path, False) and path.read_text() == mine
    assert save(first, overwrite=True) == (path, True) and "MIT" not in path.read_text()
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize(
    "text", ["", "# mine\n", "x\n<!-- edgeseg card {} -->\n", "\n<!-- edgeseg card {" + "[" * 900 + "} -->\n", "\udcff"]
)
def test_what_is_no_card_of_edgeseg_stays(text: str, tmp_path: Path) -> None:
    path = tmp_path / "street.card.md"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert read_rows(path) is None
    assert save_card([result()], tmp_path, Making(), overwrite=False) == (path, False)
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_rows_that_name_other_places_are_left_alone(tmp_path: Path) -> None:
    """A card is a file from anywhere: its rows are of a type, and name files of its folder alone."""
    outside = tmp_path / "outside.tflite"
    outside.write_bytes(b"x")
    folder = tmp_path / "in"
    folder.mkdir()
    one = result()
    path, _ = save_card([one], folder, Making(), overwrite=False)
    rows = read_rows(path)
    assert rows is not None
    text = write_card([one], Making(), others=[dataclasses.replace(rows[0], file="../outside.tflite")])
    path.write_text(text)
    assert len(read_rows(path) or ()) == 2
    save_card([one], folder, Making(), overwrite=False)
    assert [row.file for row in read_rows(path) or ()] == [one.file_name]
    assert json.dumps("..") not in path.read_text()


def test_a_license_is_an_identifier() -> None:
    for wrong in ("", "MIT license", "a\nb: c", "x" * 65):
        with pytest.raises(InputError, match="no identifier of a license"):
            Making(license=wrong)
