"""Change small text files: results, devices.toml and recipes."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.changes import Draw, changed_json, changed_text
from fuzz.readers.reader import Reader, Seeds, data_files

_DEVICES = """\
[pi5]
device = "ssh:pi5"
environment = "~/bench"
python = "python3.11"
keep = "everything"

[pixel8]
device = "adb:SERIAL"
benchmark_model = "/data/local/tmp/benchmark_model"

[here]
device = "local"
"""

_RECIPE = """\
model = "unet_mini"
imgsz = [32, 48]
epochs = 1
batch-size = 2
optimizer = "sgd"
learning-rate = 0.01
class-weights = [1.0, 2.0, 0.5]
scale = [0.5, 2.0]
loss = "focal+dice"
metric = ["f-score", "mean-iou"]
flip = 0.5

[model-option]
alpha = 1
"""


def _results(seeds: Seeds) -> st.SearchStrategy[Case]:
    document = json.loads(seeds["other.json"])
    forms = ((), ("--json",), ("--format", "md"), ("--format", "csv"), ("--format", "html", "--output", "page.html"))

    @st.composite
    def case(draw: Draw) -> Case:
        files = {"base.json": seeds["base.json"], "other.json": draw(changed_json(document))}
        both = draw(st.sampled_from((("base.json", "other.json"), ("other.json",), ("other.json", "base.json"))))
        limit = draw(st.sampled_from(((), ("--max-regression", "10"))))
        return Case(command=("compare", *both, *draw(st.sampled_from(forms)), *limit), files=files)

    return case()


def _devices(seeds: Seeds) -> st.SearchStrategy[Case]:
    # A result that is there stops a table that is right, before anything is measured.
    command = ("benchmark", "model.tflite", "--devices", "devices.toml", "--output", "base.json")
    files = {"model.tflite": seeds["model.tflite"], "base.json": seeds["base.json"]}
    changed = changed_text(_DEVICES)
    return changed.map(lambda text: Case(command=command, files={**files, "devices.toml": text}))


def _recipe(seeds: Seeds) -> st.SearchStrategy[Case]:
    # A run that is there stops a recipe that is right, before anything is trained.
    command = ("train", "--recipe", "r.toml", "--data", "data", "--output-dir", "run")
    files = {**data_files(seeds), "run/last.keras": b"there"}
    changed = changed_text(_RECIPE)
    return changed.map(lambda text: Case(command=command, files={**files, "r.toml": text}))


_REGIONS = {
    "shapes": [{"label": "zone", "points": [[2, 1], [16, 1], [16, 15]], "shape_type": "polygon"}],
    "imageHeight": 32,
    "imageWidth": 48,
    "features": [
        {
            "type": "Feature",
            "properties": {"name": "left"},
            "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]},
        }
    ],
}


def _regions(seeds: Seeds) -> st.SearchStrategy[Case]:
    @st.composite
    def case(draw: Draw) -> Case:
        files = {
            name: seeds[f"images/{name}"] if name == "a.png" else seeds[name] for name in ("model.tflite", "a.png")
        }
        rest = draw(st.sampled_from((("--count",), ("--json",), ("--save-counts", "counts.csv"))))
        command = ("predict", "model.tflite", "a.png", "--region", "r.json", *rest)
        return Case(command=command, files={**files, "r.json": draw(changed_json(_REGIONS))})

    return case()


READERS = {
    "results": Reader(10, _results),
    "devices": Reader(6, _devices),
    "recipe": Reader(6, _recipe),
    "regions": Reader(4, _regions),
}
