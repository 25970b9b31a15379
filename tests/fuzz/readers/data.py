"""Change what describes labeled data: classes.json, lists, color maps, labelme's files, label images."""

from __future__ import annotations

import base64

from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.changes import Draw, changed_bytes, changed_json, changed_text
from fuzz.readers.reader import Reader, Seeds, data_files
from fuzz.seeds import CLASSES

_MORE_CLASSES = {**CLASSES, "more_colors": [[[1, 2, 3], 1], [[4, 5, 6], 255]], "label_encoding": "colors"}
_COLOR_MAP = "# colors\n70 70 70 wall\n210 50 40\tred\n40, 60, 210, blue\n0 0 0 void\n"
_SHAPES = [
    {"label": "red", "shape_type": "polygon", "points": [[1.0, 2.0], [20.5, 3.0], [10.0, 22.0]]},
    {"label": "blue", "shape_type": "rectangle", "points": [[3, 3], [12, 14]]},
    {"label": "wall", "shape_type": "circle", "points": [[8, 8], [12, 8]]},
]


def _classes(seeds: Seeds) -> st.SearchStrategy[Case]:
    @st.composite
    def case(draw: Draw) -> Case:
        text = draw(changed_json(draw(st.sampled_from((CLASSES, _MORE_CLASSES)))))
        return Case(command=draw(_CHECKS), files={**data_files(seeds), "data/classes.json": text})

    return case()


_CHECKS = st.sampled_from((("data", "check", "data"), ("data", "check", "data", "--json", "--statistics")))


def _names(seeds: Seeds) -> st.SearchStrategy[Case]:
    command = ("data", "check", "data", "--classes", "names.txt")
    changed = changed_text("wall\nred\nblue\n")
    return changed.map(lambda text: Case(command=command, files={**data_files(seeds), "names.txt": text}))


def _lists(seeds: Seeds) -> st.SearchStrategy[Case]:
    data = data_files(seeds, "data/train/")
    lines = "".join(f"images/{index}.png, labels/{index}.png\n" for index in range(4))
    listed = {name.replace("data/train/", "data/"): content for name, content in data.items()}
    base = "data/VOCdevkit/VOC2007"
    voc = {
        name.replace("data/train/images", f"{base}/JPEGImages").replace(
            "data/train/labels", f"{base}/SegmentationClass"
        ): content
        for name, content in data.items()
    }

    @st.composite
    def case(draw: Draw) -> Case:
        if draw(st.booleans()):
            files = {**listed, "data/train.txt": draw(changed_text(lines))}
        else:
            files = {**voc, f"{base}/ImageSets/Segmentation/train.txt": draw(changed_text("0\n1\n2\n3\n"))}
        layout = draw(st.sampled_from(((), ("--data-layout", "lists"), ("--data-layout", "voc"))))
        return Case(command=("data", "check", "data", "--classes", "a,b,c", *layout), files=files)

    return case()


def _color_map(seeds: Seeds) -> st.SearchStrategy[Case]:
    command = ("data", "check", "data", "--color-map", "map.txt", "--label-encoding", "colors")
    files = {name: content for name, content in data_files(seeds).items() if not name.endswith(".json")}
    return changed_text(_COLOR_MAP).map(lambda text: Case(command=command, files={**files, "map.txt": text}))


def _labelme(seeds: Seeds) -> st.SearchStrategy[Case]:
    image = seeds["images/a.png"]
    document = {
        "version": "5.4",
        "flags": {},
        "shapes": _SHAPES,
        "imagePath": "a.png",
        "imageData": base64.b64encode(image).decode(),
        "imageHeight": 24,
        "imageWidth": 32,
    }

    @st.composite
    def case(draw: Draw) -> Case:
        text = draw(changed_json(draw(st.sampled_from((document, {**document, "imageData": None})))))
        command = ("data", "labelme", "in", "--classes", "wall,red,blue", "--output-dir", "out")
        return Case(command=command, files={"in/a.json": text, "in/a.png": image})

    return case()


def _labels(seeds: Seeds) -> st.SearchStrategy[Case]:
    names = ("data/train/labels/0.png", "images/palette.png", "images/deep.png", "images/alpha.png", "images/a.gif")

    @st.composite
    def case(draw: Draw) -> Case:
        label = draw(changed_bytes(seeds[draw(st.sampled_from(names))]))
        encoding = draw(st.sampled_from(((), ("--label-encoding", "colors"), ("--label-encoding", "ids"))))
        files = {**data_files(seeds), "data/train/labels/0.png": label}
        return Case(command=(*draw(_CHECKS), *encoding), files=files)

    return case()


READERS = {
    "classes": Reader(8, _classes),
    "class-names": Reader(3, _names),
    "lists": Reader(6, _lists),
    "color-map": Reader(5, _color_map),
    "labelme": Reader(8, _labelme),
    "labels": Reader(6, _labels),
}
