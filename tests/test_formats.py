"""The JSON of commands and files, as docs/schemas describes it: what is printed fits, and no field is undescribed."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
import referencing.jsonschema

from edgeseg.benchmark import LatencyResult, to_json
from edgeseg.cli import main

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "docs" / "schemas"
PACKAGED = ROOT / "edgeseg" / "models" / "packaged"


def closed(schema: Any) -> Any:
    """Return a schema that refuses every property that it does not describe; a published one lets formats grow."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [closed(value) for value in schema]
    return schema


def check(name: str, value: Any) -> None:
    files = {path.name: closed(json.loads(path.read_text())) for path in SCHEMAS.glob("*.json")}
    draft = referencing.jsonschema.DRAFT202012
    registry = referencing.Registry().with_resources(
        (name, draft.create_resource(schema)) for name, schema in files.items()
    )
    jsonschema.Draft202012Validator(files[f"{name}.schema.json"], registry=registry).validate(value)


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    cv2.imwrite("street.png", image)
    Path("frames").mkdir()
    for number in range(3):
        cv2.imwrite(f"frames/{number}.png", image)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


#: Schema, and commands that print it in a second each; ``DIR`` is a data set.
QUICK = [
    ("predict", ("predict", "person", "street.png")),
    ("predict", ("predict", "person", "frames", "--save", "out")),
    ("predict", ("predict", "person", "frames", "--save", "film.mp4")),
    ("inspect", ("inspect", "person.int8", "--accelerator", "cpu")),
    ("inspect", ("inspect", str(ROOT / "tests" / "data" / "pytorch_unet.onnx"))),
    ("verify", ("verify", "person.int8")),
    ("camera", ("camera", "person", "--source", "frames")),
    ("models", ("models",)),
    ("models", ("models", "segnet")),
    ("data-check", ("data", "check", "DIR")),
    ("data-check", ("data", "check", "DIR", "--statistics")),
    ("data-split", ("data", "split", "DIR/train", "--classes", "DIR/classes.json", "--output-dir", "lists")),
    ("advice", ("models", "--advise", "--data", "DIR")),
    ("compare", ("compare", "a.json", "b.json")),
]


@pytest.mark.parametrize(("schema", "command"), QUICK, ids=lambda value: value if isinstance(value, str) else "")
def test_what_commands_print(
    schema: str,
    command: tuple[str, ...],
    street: Path,
    shapes_dataset: Path,
    make_result: Callable[..., LatencyResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("DIR").symlink_to(shapes_dataset)
    if schema == "compare":
        for name in ("a.json", "b.json"):
            Path(name).write_text(to_json([make_result()]))
    check(schema, printed(capsys, *command))


@pytest.mark.parametrize("archive", sorted(PACKAGED.glob("*.proof.zip")), ids=lambda path: path.stem)
def test_proofs_and_specs(archive: Path) -> None:
    proof = json.loads(zipfile.ZipFile(archive).read("proof.json"))
    check("proof", proof)
    check("model-spec", proof["spec"])


def test_results(make_result: Callable[..., LatencyResult]) -> None:
    check("benchmark", json.loads(to_json([make_result()])))


@pytest.mark.slow
def test_what_slow_commands_print(street: Path, shapes_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    Path("DIR").symlink_to(shapes_dataset)
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    keras.Model(image, keras.layers.Conv2D(3, 1)(x)).save("m.keras")
    few = ("--format", "tflite", "--precision", "fp32", "--accelerator", "cpu", "--num-threads", "1")
    loose = ("--max-drop", "100", "--max-class-drop", "100")
    check("export", printed(capsys, "export", "m.keras", "--format", "tflite,onnx", "--precision", "fp16"))
    check("export", printed(capsys, "export", "m.keras", "--precision", "int8", "--data", "DIR", *loose))
    check("report", json.loads(Path("m.report.json").read_text()))
    check("evaluate", printed(capsys, "evaluate", "m.fp16.tflite", "--data", "DIR"))
    check("benchmark", printed(capsys, "benchmark", "m.fp16.tflite", "--min-secs", "0.1"))
    check("train", printed(capsys, "train", "m.keras", "--data", "DIR", "--epochs", "1", "--output-dir", "run"))
    check("tune", printed(capsys, "tune", "m.keras", "--data", "DIR", *few, *loose))
    (record,) = Path("runs/tune").glob("*/tune.json")
    check("tune-record", json.loads(record.read_text()))
    check("doctor", printed(capsys, "doctor"))


def test_every_schema_is_one_and_is_listed() -> None:
    page = (ROOT / "docs" / "formats.md").read_text()
    listed = re.findall(r"\]\(schemas/([\w-]+)\.schema\.json\)", page)
    assert sorted(listed) == sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json"))
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["title"]
        assert schema["description"]


def test_a_value_of_another_kind_and_an_undescribed_field_are_refused(
    make_result: Callable[..., LatencyResult],
) -> None:
    right = json.loads(to_json([make_result()]))
    wrong, more, less = copy.deepcopy(right), copy.deepcopy(right), copy.deepcopy(right)
    wrong["results"][0]["num_threads"] = "two"
    more["results"][0]["mood"] = "good"
    del less["results"][0]["latencies_s"]
    for value in (wrong, more, less):
        with pytest.raises(jsonschema.ValidationError):
            check("benchmark", value)
