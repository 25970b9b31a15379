"""Change what is seen: images, special files, videos, streams, requests to the page, and names of all of them."""

from __future__ import annotations

from pathlib import Path

import pydicom
from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.changes import HOSTILE_TEXT, Draw, changed_bytes, names, texts
from fuzz.entries import NEXT
from fuzz.readers.reader import Reader, Seeds, argument, data_files

_SPECIAL = ("folder", "pipe", "link:/dev/zero", "link:/dev/null", "link:x.png", "link:/nowhere", "link:/dev/full")
_REQUEST = b"GET /stream.mjpg?x=1 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n"


def _images(seeds: Seeds) -> st.SearchStrategy[Case]:
    images = [name for name in seeds if name.startswith("images/")]

    @st.composite
    def case(draw: Draw) -> Case:
        seed = draw(st.sampled_from(images))
        name = "x." + (seed.rpartition(".")[2] if draw(st.integers(0, 4)) else "png")
        content = draw(st.sampled_from(_SPECIAL)) if draw(st.integers(0, 19)) == 0 else draw(changed_bytes(seeds[seed]))
        rest = draw(st.sampled_from((("--count",), ("--count", "--json"), ("--save", "out"))))
        return Case(command=("predict", "model.tflite", name, *rest), files=_with_model(seeds, name, content))

    return case()


def _rasters(seeds: Seeds) -> st.SearchStrategy[Case]:
    rasters = [name for name in seeds if name.startswith("rasters/") and not name.endswith(".json")]

    @st.composite
    def case(draw: Draw) -> Case:
        seed = draw(st.sampled_from(rasters))
        journaled = draw(st.integers(0, 4)) == 0
        name = f"x.{seed.rpartition('.')[2]}"
        files = _with_model(seeds, name, seeds[seed] if journaled else draw(changed_bytes(seeds[seed])))
        if journaled:
            part: dict[str, bytes | str] = {"out.tif.part": bytes(80 * 70)}
            files |= {**part, "out.tif.part.json": draw(changed_bytes(seeds["rasters/part.json"]))}
        rest = draw(st.sampled_from(((), ("--bands", "3,2,1"), ("--band-range", "0,99"), ("--overwrite",))))
        if name.endswith(("tif", "jp2")) and draw(st.booleans()):
            whole = (
                *("--bands", "1,2,3", "--band-range", "0,255"),
                *("--polygons", "geojson", "--polygons-dir", "out"),
            )
            return Case(command=("predict", "model.tflite", name, *whole), files=files)
        # What was segmented until the damage stays, for a run that goes on.
        command = ("predict", "model.tflite", name, "--tiles", "--save", "out.tif", *rest)
        return Case(command=command, files=files, may_keep=True)

    return case()


def _with_model(seeds: Seeds, name: str, content: bytes | str) -> dict[str, bytes | str]:
    return {"model.tflite": seeds["model.tflite"], name: content}


def _videos(seeds: Seeds) -> st.SearchStrategy[Case]:
    @st.composite
    def case(draw: Draw) -> Case:
        name = draw(st.sampled_from(("a.avi", "a.mp4", "a.mkv")))
        data = draw(changed_bytes(seeds[f"videos/{name}"]))
        commands = (
            ("predict", "model.tflite", name, "--count"),
            ("predict", "model.tflite", name, "--count", "--start-frame", "2", "--json"),
            ("camera", "model.tflite", "--source", name, "--no-show", "--stats", "stats.json"),
        )
        # frames that were measured stay measured when the video breaks
        command = draw(st.sampled_from(commands))
        return Case(command=command, files=_with_model(seeds, name, data), may_keep=command[0] == "camera")

    return case()


def _dicom(seeds: Seeds) -> st.SearchStrategy[Case]:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    names = (
        "CT_small",
        "MR_small_RLE",
        "SC_rgb_rle_2frame",
        "JPEG2000",
        "MR_small_jpeg_ls_lossless",
        "examples_palette",
    )

    @st.composite
    def case(draw: Draw) -> Case:
        data = draw(changed_bytes((folder / f"{draw(st.sampled_from(names))}.dcm").read_bytes()))
        rest = draw(st.sampled_from((("--count",), ("--window", "40,400", "--json"), ("--dicom-seg", "out"))))
        return Case(command=("predict", "model.tflite", "x.dcm", *rest), files=_with_model(seeds, "x.dcm", data))

    return case()


def _streams(seeds: Seeds) -> st.SearchStrategy[Case]:
    @st.composite
    def case(draw: Draw) -> Case:
        if draw(st.integers(0, 2)):
            url, data = "http://127.0.0.1:{port}/feed", draw(changed_bytes(seeds["videos/stream.http"]))
        else:
            url, data = argument(draw(_URLS)), b""
        command = ("camera", "model.tflite", "--source", url, "--no-show", "--max-frames", "3")
        return Case(command=command, files={"model.tflite": seeds["model.tflite"]}, served=data)

    return case()


_URLS = st.builds(
    lambda scheme, place: scheme + place,
    st.sampled_from(
        ("rtsp://127.0.0.1:1", "http://127.0.0.1:1/a.mp4", "tcp://127.0.0.1:1/", "x://", "file://", "gst:")
    ),
    texts,
)


def _page(seeds: Seeds) -> st.SearchStrategy[Case]:
    requests = st.lists(changed_bytes(_REQUEST), min_size=1, max_size=6).map(NEXT.join)
    return requests.map(lambda data: Case(command=(), entry="page", served=data))


def _names(seeds: Seeds) -> st.SearchStrategy[Case]:
    model, image = seeds["model.tflite"], seeds["images/a.png"]

    @st.composite
    def case(draw: Draw) -> Case:
        name = draw(names)
        typed, what = argument(name), draw(st.integers(0, 8))
        if what == 0:
            files: dict[str, bytes | str] = {"m.tflite": model, f"{name}.png": image}
            return Case(command=("predict", "m.tflite", f"./{typed}.png", "--count"), files=files)
        if what == 1:
            files = {f"{name}.tflite": model, "a.png": image}
            return Case(command=("inspect", f"./{typed}.tflite"), files=files)
        if what == 2:
            files = {**data_files(seeds), f"data/train/images/{name}.png": image}
            return Case(command=("data", "check", "data"), files=files)
        if what == 3:
            files = {"m.tflite": model, f"in/{name}.png": image, "in/a.png": image}
            return Case(command=("predict", "m.tflite", "in", "--save", "out", "--visualize", "mask"), files=files)
        if what == 4:
            command = ("predict", "m.tflite", "a.png", "--count", "--classes", typed)
            return Case(command=command, files={"m.tflite": model, "a.png": image})
        if what == 5:
            files = {"model.keras": seeds["model.keras"]}
            return Case(command=("export", "model.keras", "--output", typed, "--output-dir", "out"), files=files)
        if what == 6:
            return Case(command=("data", "check", "data", "--classes", typed), files=data_files(seeds))
        option = draw(st.sampled_from(_OPTIONS))
        command = ("predict", "m.tflite", "a.png", "--count", option, argument(draw(texts)))
        return Case(command=command, files={"m.tflite": model, "a.png": image})

    return case()


_OPTIONS = ("--backend", "--imgsz", "--mean", "--num-threads", "--max-frames", "--alpha", "--provider", "--visualize")


def _words(seeds: Seeds) -> st.SearchStrategy[Case]:
    words = st.one_of(st.sampled_from(HOSTILE_TEXT), st.sampled_from(("--json", "--help", "predict", "data")), texts)
    return st.lists(words.map(argument), max_size=4).map(lambda command: Case(command=tuple(command)))


READERS = {
    "images": Reader(10, _images),
    "rasters": Reader(6, _rasters),
    "videos": Reader(5, _videos),
    "dicom": Reader(5, _dicom),
    "streams": Reader(2, _streams),
    "page": Reader(4, _page),
    "names": Reader(6, _names),
    "words": Reader(3, _words),
}
