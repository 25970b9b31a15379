"""Change model files: ONNX, TFLite, ``.keras``, ``.h5``, ``.pth``, the spec inside, and the folder of a run."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import h5py
from hypothesis import strategies as st

from fuzz.case import Case
from fuzz.changes import Draw, changed_bytes, changed_json, changed_pickles, changed_text
from fuzz.readers.reader import Reader, Seeds, data_files, entry, with_entry

_IMAGE = "images/a.png"


def _reads(draw: Draw, name: str, data: bytes, seeds: Seeds, *more: str) -> Case:
    """Return a case in which a model file is inspected, or predicts."""
    commands = [("predict", name, "a.png", "--count"), ("predict", name, "a.png", "--count", "--json")]
    if not name.endswith(".keras"):
        commands += [("inspect", name), ("inspect", name, "--json")]
    files = {name: data, "a.png": seeds[_IMAGE]}
    return Case(command=(*draw(st.sampled_from(commands)), *more), files=files, trial=True)


def _damaged(*names: str) -> Callable[[Seeds], st.SearchStrategy[Case]]:
    def inputs(seeds: Seeds) -> st.SearchStrategy[Case]:
        @st.composite
        def case(draw: Draw) -> Case:
            name = draw(st.sampled_from(names))
            return _reads(draw, name, draw(changed_bytes(seeds[name])), seeds)

        return case()

    return inputs


def _openvino(seeds: Seeds) -> st.SearchStrategy[Case]:
    """Change one of the two files of an OpenVINO model; mostly the text, without the hash that would tell it."""
    graph = re.sub(rb'<weights_sha256 value="[0-9a-f]*" />', b"", seeds["model.xml"])

    @st.composite
    def case(draw: Draw) -> Case:
        text, weights = graph, seeds["model.bin"]
        if draw(st.integers(0, 3)):
            text = draw(changed_bytes(graph))
        else:
            weights = draw(changed_bytes(weights))
        read = _reads(draw, "model.xml", text, seeds)
        return replace(read, files={**read.files, "model.bin": weights})

    return case()


def _spec(seeds: Seeds) -> st.SearchStrategy[Case]:
    spec = json.loads(entry(seeds["model.keras"], "edgeseg.spec.json"))

    @st.composite
    def case(draw: Draw) -> Case:
        name = draw(st.sampled_from(("model.onnx", "model.tflite", "model.keras")))
        text = draw(changed_json(_own_spec(name, seeds) or spec))
        return _reads(draw, name, _WITH_SPEC[name](seeds[name], text), seeds)

    return case()


def _own_spec(name: str, seeds: Seeds) -> Any:
    if name == "model.keras":
        return None
    if name == "model.onnx":
        import onnx

        properties = onnx.load_from_string(seeds[name]).metadata_props
        return json.loads(next(one.value for one in properties if one.key == "edgeseg.spec"))
    from edgeseg.tflite.file import read_metadata

    return json.loads(read_metadata(seeds[name], "edgeseg.spec") or b"{}")


def _in_onnx(data: bytes, text: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    one = next(one for one in model.metadata_props if one.key == "edgeseg.spec")
    one.value = text.decode(errors="replace")
    return bytes(model.SerializeToString())


def _in_tflite(data: bytes, text: bytes) -> bytes:
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    one = next(one for one in model.metadata if one.name in (b"edgeseg.spec", "edgeseg.spec"))
    model.buffers[one.buffer].data = list(text)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


_WITH_SPEC: dict[str, Callable[[bytes, bytes], bytes]] = {
    "model.onnx": _in_onnx,
    "model.tflite": _in_tflite,
    "model.keras": lambda data, text: with_entry(data, "edgeseg.spec.json", text),
}


def _keras(seeds: Seeds) -> st.SearchStrategy[Case]:
    data = seeds["model.keras"]
    config = json.loads(entry(data, "config.json"))

    @st.composite
    def case(draw: Draw) -> Case:
        what = draw(st.sampled_from(("config",) * 5 + ("metadata", "weights", "weights", "archive")))
        if what == "config":
            changed = with_entry(data, "config.json", draw(changed_json(config)))
        elif what == "metadata":
            metadata = json.loads(entry(data, "metadata.json"))
            changed = with_entry(data, "metadata.json", draw(changed_json(metadata)))
        elif what == "weights":
            weights = draw(changed_bytes(entry(data, "model.weights.h5")))
            changed = with_entry(data, "model.weights.h5", weights)
        else:
            changed = draw(changed_bytes(data))
        if draw(st.integers(0, 3)):
            return _reads(draw, "model.keras", changed, seeds)
        return Case(command=_export("model.keras"), files={"model.keras": changed})

    return case()


def _export(name: str) -> tuple[str, ...]:
    return ("export", name, "--format", "tflite", "--no-verify", "--output-dir", "out")


def _h5(seeds: Seeds) -> st.SearchStrategy[Case]:
    names = ("full.h5", "rebuilt.h5", "separable.h5", "nested.h5")

    @st.composite
    def case(draw: Draw) -> Case:
        name = draw(st.sampled_from(names))
        if draw(st.integers(0, 2)):
            changed = _with_config(seeds[name], lambda config: draw(changed_json(config)))
        else:
            changed = draw(changed_bytes(seeds[name]))
        return Case(command=_export(name), files={name: changed})

    return case()


def _with_config(data: bytes, change: Callable[[Any], bytes]) -> bytes:
    out = io.BytesIO(data)
    with h5py.File(out, "r+") as file:
        text = change(json.loads(file.attrs["model_config"]))
        # An attribute of HDF5 has at most 64 KiB, and a text in it no NUL.
        file.attrs["model_config"] = text[:60_000].replace(b"\0", b" ")
    return out.getvalue()


def _weights(seeds: Seeds) -> st.SearchStrategy[Case]:
    name = "weights/mini.weights.h5"
    command = ("export", "unet_mini", "--imgsz", "32", "--weights", "w.weights.h5", "--num-classes", "3")

    @st.composite
    def case(draw: Draw) -> Case:
        changed = draw(changed_bytes(seeds[name]))
        rest = ("--format", "tflite", "--no-verify", "--output-dir", "out")
        return Case(command=(*command, *rest), files={"w.weights.h5": changed})

    return case()


def _pth(seeds: Seeds) -> st.SearchStrategy[Case]:
    data = seeds["weights/small.pth"]
    changed = st.one_of(changed_bytes(data), changed_pickles(data))
    return changed.map(lambda data: Case(command=("w.pth",), files={"w.pth": data}, entry="pth"))


def _run(seeds: Seeds) -> st.SearchStrategy[Case]:
    files = {**data_files(seeds), **data_files(seeds, "run/"), "model.keras": seeds["model.keras"]}
    last = seeds["run/last.keras"]
    state = json.loads(entry(last, "edgeseg.training.json"))
    sizes = ("--imgsz", "32,48", "--epochs", "1", "--batch-size", "2", "--samples", "0")
    command = ("train", "model.keras", "--data", "data", *sizes, "--output-dir", "run", "--resume")

    @st.composite
    def case(draw: Draw) -> Case:
        what = draw(st.sampled_from(("state",) * 4 + ("weights", "archive", "history", "settings")))
        changed: dict[str, bytes] = {}
        if what == "state":
            changed["run/last.keras"] = with_entry(last, "edgeseg.training.json", draw(changed_json(state)))
        elif what == "weights":
            weights = draw(changed_bytes(entry(last, "model.weights.h5")))
            changed["run/last.keras"] = with_entry(last, "model.weights.h5", weights)
        elif what == "archive":
            changed["run/last.keras"] = draw(changed_bytes(last))
        elif what == "history":
            changed["run/history.csv"] = draw(changed_text(seeds["run/history.csv"].decode()))
        else:
            changed["run/train.toml"] = draw(changed_text(seeds["run/train.toml"].decode()))
        return Case(command=command, files={**files, **changed}, may_keep=True)

    return case()


def _proof(seeds: Seeds) -> st.SearchStrategy[Case]:
    data = seeds["proven/mini.proof.zip"]
    about = json.loads(entry(data, "proof.json"))
    names = ("images/00.png", "classes/00.png", "margins/00.png")
    files = {name.rpartition("/")[2]: content for name, content in data_files(seeds, "proven/").items()}

    @st.composite
    def case(draw: Draw) -> Case:
        what = draw(st.sampled_from(("about",) * 3 + ("image", "archive")))
        if what == "about":
            changed = with_entry(data, "proof.json", draw(changed_json(about)))
        elif what == "image":
            name = draw(st.sampled_from(names))
            changed = with_entry(data, name, draw(changed_bytes(entry(data, name))))
        else:
            changed = draw(changed_bytes(data))
        command = ("verify", "mini.fp32.tflite", "--repeat", "1")
        return Case(command=command, files={**files, "mini.proof.zip": changed})

    return case()


def _quantize(seeds: Seeds) -> st.SearchStrategy[Case]:
    photos = {f"photos/{number}.png": seeds[_IMAGE] for number in range(8)}
    rest = ("--data", "photos", "--ptq", "off", "--no-report", "--output-dir", "out")

    @st.composite
    def case(draw: Draw) -> Case:
        name = draw(st.sampled_from(("model.tflite", "model.onnx")))
        files = {name: draw(changed_bytes(seeds[name])), **photos}
        return Case(command=("quantize", name, *rest), files=files, trial=True)

    return case()


READERS = {
    "spec": Reader(8, _spec),
    "onnx": Reader(8, _damaged("model.onnx", "int8.onnx")),
    "tflite": Reader(8, _damaged("model.tflite", "int8.tflite")),
    "mnn": Reader(6, _damaged("model.mnn")),
    "openvino": Reader(6, _openvino),
    "keras": Reader(6, _keras),
    "h5": Reader(4, _h5),
    "weights": Reader(3, _weights),
    "pth": Reader(6, _pth),
    "run": Reader(2, _run),
    "proof": Reader(6, _proof),
    "quantize": Reader(3, _quantize),
}
