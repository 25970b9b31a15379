"""Compare edgeseg's files with what a user gets without edgeseg, each on every runtime that takes it.

    python benchmarks/peers.py --output benchmarks/results/peers-NAME.json             # four models of the zoo
    python benchmarks/peers.py --all-models --cache DIR --output FILE                  # twelve; goes on where it was
    python benchmarks/peers.py unet_mini:224 --precisions int8
    python benchmarks/peers.py --table FILE.json...       # Markdown for docs/other-runtimes.md; the last has precedence

Needs the dependency group ``peers``. The *naive* files are those of TensorFlow's converter and of tf2onnx, at batch 1:
LiteRT runs the one, ONNX Runtime, OpenVINO and MNN the other, and ncnn what pnnx makes of the plain ONNX file in NCHW.
Naive int8 is TensorFlow's own quantizer and ONNX Runtime's. The files of *edgeseg* are those of ``edgeseg export``, for
each format, and for LiteRT also of ``--target xnnpack``. In fp32 all give the logits, in int8 all give the class map,
so that no side has an argmax that the other lacks. edgeseg's int8 files take the bytes of an image, the naive ones
normalized float32: what normalizing costs a user beside the file is not in their time.

Every file gets the same weights, the same image and the same threads. Beside each time are the share of pixels with the
class that Keras gives, as a wrong answer has no speed (of SegNet, whose indices follow ties: of the pixels that Keras
itself keeps under noise of the size of rounding), and the share of the machine's peak: a float32 product of two
2048x2048 matrices on ONNX Runtime with the same threads, measured in the same turns. Float operations are the zoo's
count of the Keras model, whatever the file computes, so that a file with less work has a higher share.

Processes of all files of a model take turns, so that other load on the machine affects all of them. A model is added
to the output as soon as it is measured; a second run with the same sources goes on after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from _peers import SIDES, DoesNotConvert, Side, open_peer, translate
from _peers_table import table
from _shared import THREADS, environment, parse_model, read_json, write_json
from _sides import Refused, calibrated, edgeseg_sources, naive, naive_int8, naive_sources
from numpy.typing import NDArray

from edgeseg.benchmark import worker
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.worker import Reply, Request
from edgeseg.errors import DeviceLost
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.process.child import how_it_ended
from edgeseg_converters.options import ExportOptions
from edgeseg_converters.recipes import Recipe

Model = tuple[str, tuple[int, int]]

_MODELS = ("unet_mini:224", "mobilenet_unet:224", "deeplabv3plus_mobilenetv2:512", "resnet50_segnet:224")
_ALL_MODELS = (
    "unet_mini:224",
    "mobilenet_unet:512",
    "efficientnet_lite0_unet:384,480",
    "unet_vgg16:256",
    "unet_resnet50:256",
    "resnet50_segnet:416",
    "segnet:256",
    "hrnetv2_w18:480",
    "hrnetv2_w32:480",
    "hrnetv2_w48:480",
    "deeplabv3plus_xception:320",
    "deeplabv3plus_mobilenetv2:512",
)
_PACKAGES = ("openvino", "MNN", "ncnn", "pnnx")
_CLASSES = 21
_CALIBRATION_IMAGES = 8
_PEAK_SIDE = 2048
_TASKS = Path("/proc/self/task")


class PeerDevice:
    """This machine, with a worker that knows the peers."""

    name = "local"

    def __enter__(self) -> PeerDevice:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Do nothing, as no file was copied."""

    def put(self, path: Path, digest: str) -> str:
        """Return the path itself: the file stays where it is."""
        return str(path)

    def run(self, request: Request) -> Reply:
        """See ``Device.run``."""
        return Reply.from_json(json.dumps(_step("time", json.dumps(asdict(request)))))


def convert(model: Model, precision: str, kind: str, cache: Path) -> None:
    """Make one file of a model, its input, and the class map that Keras gives.

    In a process of its own: converters keep a model's weights several times over. A file that cannot be made is
    replaced by a text, ``.refused``, that says why.
    """
    from edgeseg._internal.files import write_bytes
    from edgeseg.imaging import encode_image, preprocess
    from edgeseg_converters.images import collect

    name, size = model
    *images, image = collect(None, split="val", count=_CALIBRATION_IMAGES + 1).images
    spec = ZOO[name].default_spec(_CLASSES, size)
    network = calibrated(name, size, images[:2])
    fed = preprocess(image, spec)[0]
    scores = network.predict(fed, verbose=0)
    np.save(cache / f"{_stem(model)}.keras.npy", np.argmax(scores, -1))
    np.save(cache / f"{_stem(model)}.steady.npy", _steady(network, fed, scores))
    folder = cache / "images"
    for index, written in enumerate(images):
        write_bytes(folder / f"{index}.png", encode_image(written, ".png"), overwrite=True)
    path = _file(model, precision, kind, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if kind.startswith("naive"):
            inputs = [preprocess(each, spec)[0] for each in images]
            suffix = path.suffix.removeprefix(".")
            data = naive(network, suffix) if precision == "fp32" else naive_int8(network, suffix, inputs)
            np.save(f"{path}.npy", fed)
            path.write_bytes(data)
        else:
            used = _export(network, model, precision, kind, path, folder)
            np.save(f"{path}.npy", preprocess(image, used)[0])
    except Refused as refusal:
        _refused(path).write_text(f"{refusal}\n")


def _steady(network: Any, fed: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pixels Keras decides by more than rounding, ``(1, h, w)``: all, but of SegNet's pooling indices."""
    from edgeseg_converters.keras_model.steadiness import Answer, SteadinessProbe

    def answer(image: NDArray[np.float32]) -> Answer:
        given = network.predict(image, verbose=0)
        return Answer(given.argmax(-1)[0].astype(np.uint8), given)

    probe = SteadinessProbe(network, answer, [fed], [Answer(scores.argmax(-1)[0].astype(np.uint8), scores)])
    if not probe.pools_with_indices():
        return np.ones(scores.shape[:-1], np.bool_)
    return probe.at(Recipe("tflite", "fp32").gate.rounding).steady[0][None]


def _export(network: Any, model: Model, precision: str, kind: str, path: Path, images: Path) -> Any:
    """Write edgeseg's file of one kind and return its ModelSpec."""
    from edgeseg.errors import EdgesegError
    from edgeseg_converters import export_all
    from edgeseg_converters.calibration import choose
    from edgeseg_converters.options import Quantization

    name, size = model
    target, suffix = kind.split(".")
    file_format = "openvino" if suffix == "xml" else suffix
    if target == "plain" and precision == "int8":
        raise Refused("ncnn takes integers of its own tools alone")
    settings: dict[str, Any] = {"optimize": False, "layout": "nchw"} if target == "plain" else {"target": target}
    if precision != "int8":
        settings["output_kind"] = "logits"
    try:
        (result,) = export_all(
            network,
            ZOO[name].default_spec(_CLASSES, size),
            [Recipe(file_format, precision)],  # type: ignore[arg-type]
            options=ExportOptions(**settings),
            # The steps before int8 choose other numbers for the same ops, and take minutes. The whole range is what the
            # naive quantizers take: what is rare in a random network matters as much as the rest.
            quantization=Quantization(calibration=choose(images), method="minmax", ptq="off"),
        )
    except EdgesegError as error:
        raise Refused(str(error)) from error
    result.save(path)
    return result.spec


def make_peak(path: Path) -> None:
    """Write an ONNX file that multiplies two float32 matrices, one of them constant."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = [_PEAK_SIDE, _PEAK_SIDE]
    right = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("left", "product")]
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "peak", value[:1], value[1:], [numpy_helper.from_array(right, "right")])
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    onnx.checker.check_model(str(path))


def prove(path: Path, peer: str, source: Path, reference: Path) -> dict[str, Any]:
    """Check whether a file gives the right answer and obeys the number of threads; runs in its own process.

    Returns:
        ``argmax_agreement`` with Keras in [0, 1], on the pixels that are steady there, and ``threads_that_work``: for 1
        requested thread and for ``THREADS``, how many had at least a tenth of the CPU time of the busiest. Unlike CPU
        time over time it does not depend on other load on the machine.
    """
    image = np.load(f"{source}.npy")
    workers = {}
    for threads in (1, THREADS):
        backend = open_peer(path, peer=peer, num_threads=threads)
        if str(image.dtype) != backend.inputs[0].dtype:  # a naive int8 file may take bytes or numbers
            image = image.astype(backend.inputs[0].dtype)
        backend.run(image)
        time.sleep(0.3)  # threads spin on for a while after a call
        before = _cpu_of_threads()
        start = time.perf_counter()
        while time.perf_counter() - start < 1.0:
            output = np.array(backend.run(image))
        used = {thread: seconds - before.get(thread, 0.0) for thread, seconds in _cpu_of_threads().items()}
        workers[threads] = sum(seconds > 0.1 * max(used.values()) for seconds in used.values())
        backend.close()
    if output.ndim == 4 and output.size:  # scores, in either layout
        output = output.argmax(-1 if output.shape[-1] == _CLASSES else 1)
    expected = np.load(reference)
    if output.shape != expected.shape:
        raise DoesNotConvert(f"converts, but the output has shape {output.shape}; Keras gives {expected.shape}")
    steady = np.load(reference.with_name(reference.name.replace(".keras.", ".steady.")))
    return {"argmax_agreement": float((output == expected)[steady].mean()), "threads_that_work": workers}


def _cpu_of_threads() -> dict[str, float]:
    """Return the CPU seconds that each thread of this process has used; Linux only."""
    return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in _TASKS.iterdir()}


def main() -> None:
    """Read the arguments, convert and prove the files of each model, measure them in turns, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=parse_model, help="NAME:SIZE or NAME:H,W")
    parser.add_argument("--all-models", action="store_true", help="the twelve of the table in the documentation")
    parser.add_argument("--precisions", default="fp32,int8", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each file")
    parser.add_argument("--min-secs", type=float, default=3.0, help="time measured of each file")
    parser.add_argument("--cache", type=Path, help="keeps the converted files; a second run only measures")
    parser.add_argument("--convert-only", action="store_true", help="fill the cache and prove, and measure nothing")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE.json", help="print as Markdown, and stop")
    parser.add_argument("--step", choices=tuple(_STEPS), help=argparse.SUPPRESS)  # one piece of work from stdin
    arguments = parser.parse_args()
    if arguments.step:
        _STEPS[arguments.step]()
        return
    if arguments.table:
        print(table(*arguments.table))
        return
    named = [parse_model(text) for text in (_ALL_MODELS if arguments.all_models else _MODELS)]
    with tempfile.TemporaryDirectory() as temporary:
        cache = (arguments.cache or Path(temporary)).resolve()
        cache.mkdir(parents=True, exist_ok=True)
        output = arguments.output or Path(temporary) / "peers.json"
        plan = Plan(rounds=arguments.rounds, num_runs=arguments.rounds, min_secs=arguments.min_secs)
        for model in arguments.models or named:
            for precision in arguments.precisions.split(","):
                _add(model, precision, cache, None if arguments.convert_only else plan, output)
        if not arguments.convert_only:
            print(table(output))


def _add(model: Model, precision: str, cache: Path, plan: Plan | None, output: Path) -> None:
    """Prove and measure one model in one precision, unless the output has it, and write it there."""
    machine = environment(edgeseg_sources(), packages=_PACKAGES)
    entries: list[dict[str, Any]] = []
    if output.exists():
        recorded = read_json(output)
        if recorded["environment"] != machine:
            sys.exit(f"{output} is of other sources, another day or another machine; name another file.")
        entries = recorded["results"]
    if any((entry["model"], entry["precision"]) == (model[0], precision) for entry in entries):
        return
    added = _prepare(model, precision, cache)
    if plan is None:
        return
    peak_path = cache / "peak.onnx"
    make_peak(peak_path)
    cases = [Case(peak_path, "cpu", {"peer": "naive ONNX Runtime", "num_threads": THREADS})]
    timed = [entry for entry in added if "refused" not in entry]
    for entry in timed:
        cases.append(Case(Path(entry.pop("path")), "cpu", {"peer": entry["peer"], "num_threads": THREADS}))
    peak, *results = measure(cases, PeerDevice(), plan, progress=_tell)
    gflops = {"gflops": _gflops(*model), "peak_gflops": 2 * _PEAK_SIDE**3 / peak.median_s / 1e9}
    for entry, result in zip(timed, results, strict=True):
        entry |= {"latency": result.to_dict(), **gflops}
    write_json(output, machine, [*entries, *added])


def _prepare(model: Model, precision: str, cache: Path) -> list[dict[str, Any]]:
    """Convert and prove; return an entry for each side, with ``path`` or ``refused``."""
    print(f"{_stem(model)} {precision}", file=sys.stderr, flush=True)
    for kind in dict.fromkeys(side.kind for side in SIDES):
        path = _file(model, precision, kind, cache)
        if not path.exists() and not _refused(path).exists():
            _step("convert", json.dumps([model, precision, kind, str(cache)]))
    entries = []
    for side in SIDES:
        entry = {
            "model": model[0],
            "input_size": list(model[1]),
            "precision": precision,
            "peer": side.peer,
            "kind": side.kind,
        }
        entry |= _proven(side, model, precision, cache)
        print(json.dumps(entry), file=sys.stderr, flush=True)
        entries.append(entry)
    return entries


def _proven(side: Side, model: Model, precision: str, cache: Path) -> dict[str, Any]:
    """Return the file with the result of ``prove``, or why there is none or it does not run."""
    source = _file(model, precision, side.kind, cache)
    refused = _refused(source)
    if refused.exists():
        return {"refused": refused.read_text().strip()}
    path = source.with_name(f"{source.name}{side.suffix}")
    reference = cache / f"{_stem(model)}.keras.npy"
    proof = source.with_name(f"{source.name}.{side.peer}.json")
    if not proof.exists():
        try:
            if not path.exists():
                _step("translate", json.dumps([side.runtime, str(source), str(path)]))
            answer = _step("prove", json.dumps([str(path), side.peer, str(source), str(reference)]))
        except DeviceLost as error:  # may be this machine's fault, so it is asked again
            return {"refused": str(error).rstrip(".")}
        except DoesNotConvert as error:
            answer = {"refused": str(error).rstrip(".")}
        proof.write_text(json.dumps(answer))
    answer = json.loads(proof.read_text())
    return answer if "refused" in answer else {**answer, "path": str(path)}


def _step(name: str, text: str) -> dict[str, Any]:
    """Run a step in its own process, so that the crash of one runtime does not affect the others.

    Raises:
        DoesNotConvert: the step reports it.
        DeviceLost: the process died.
    """
    command = [sys.executable, __file__, "--step", name]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceLost(how_it_ended(done))
    # The libraries print to stdout too: the answer is the last line.
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "refused" in answer:
        raise DoesNotConvert(answer["refused"])
    return answer


def _convert_step() -> None:
    (name, size), precision, kind, cache = json.load(sys.stdin)
    convert((name, (size[0], size[1])), precision, kind, Path(cache))
    print("\n{}")


def _translate_step() -> None:
    peer, source, target = json.load(sys.stdin)
    try:
        translate(peer, Path(source), Path(target))
        print("\n{}")
    except DoesNotConvert as error:
        print("\n" + json.dumps({"refused": str(error)}))


def _prove_step() -> None:
    path, peer, source, reference = json.load(sys.stdin)
    try:
        print("\n" + json.dumps(prove(Path(path), peer, Path(source), Path(reference))))
    except DoesNotConvert as error:
        print("\n" + json.dumps({"refused": str(error)}))


def _time_step() -> None:
    request = Request(**json.load(sys.stdin))
    print("\n" + json.dumps(asdict(worker.measure(request, open_peer))))


_STEPS = {"convert": _convert_step, "translate": _translate_step, "prove": _prove_step, "time": _time_step}


def _gflops(name: str, size: tuple[int, int]) -> float:
    """Return the zoo's count of the Keras model's operations, scaled by the area."""
    height, width = ZOO[name].default_size
    return ZOO[name].gflops * size[0] * size[1] / (height * width)


def _stem(model: Model) -> str:
    name, (height, width) = model
    return f"{name}-{height}x{width}"


def _file(model: Model, precision: str, kind: str, cache: Path) -> Path:
    """Return where the cache has a file: in a folder of the sources and packages that make it."""
    folder = edgeseg_sources() if not kind.startswith("naive") else f"naive-{naive_sources()}"
    folder += "-" + hashlib.sha256(json.dumps(environment(packages=_PACKAGES)["versions"]).encode()).hexdigest()[:10]
    return cache / folder / f"{_stem(model)}.{precision}.{kind}"


def _refused(path: Path) -> Path:
    """Return the text that is there instead of a file that cannot be made."""
    return path.with_name(f"{path.name}.refused")


def _tell(done: int, total: int) -> None:
    print(f"\r{done} of {total} processes", end="" if done < total else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
