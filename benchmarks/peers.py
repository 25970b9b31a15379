"""Compare edgeseg's files on LiteRT and ONNX Runtime with the same models on OpenVINO, MNN and ncnn.

    python benchmarks/peers.py --output benchmarks/results/peers-NAME.json     # four models of the zoo, fp32 and int8
    python benchmarks/peers.py unet_mini:224 --precisions fp32 --cache DIR     # keeps converted files between runs
    python benchmarks/peers.py --table benchmarks/results/peers-NAME.json      # Markdown for docs/other-runtimes.md

Needs the dependency group ``peers``. Every runtime gets the same weights, the same input and the same threads. OpenVINO
and MNN read edgeseg's ONNX; where they do not take the optimized file, they get the plain export (``--no-optimize``),
marked by a star. All give the class map except ncnn, which has no ArgMax and gets a plain export that gives scores (its
argmax is not timed). The table names files that do not convert or do not run.

Beside each time are the share of pixels with the class that Keras gives (the speed of a wrong answer is worth nothing),
and the share of the machine's peak. The peak is a float32 product of two 2048x2048 matrices on ONNX Runtime with the
same threads, measured in the same run. Float operations are the zoo's count of the Keras model, whatever the file
computes, so that a file with less work has a higher share. The share of an int8 file is of the float32 peak and may
exceed 1.

Processes of all runtimes take turns, so that other load on the machine affects all of them.
"""

from __future__ import annotations

import argparse
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
from _peers import RUNTIMES, DoesNotConvert, open_peer, translate
from _peers_table import table
from _shared import THREADS, environment, parse_model, write_json
from _sides import calibrated, edgeseg_sources

from edgeseg.benchmark import worker
from edgeseg.benchmark.measure import Case, measure
from edgeseg.benchmark.plan import Plan
from edgeseg.benchmark.worker import Reply, Request
from edgeseg.errors import DeviceLost
from edgeseg.models.zoo.table import ZOO
from edgeseg.runtime.process.child import how_it_ended
from edgeseg_converters.options import ExportOptions

Model = tuple[str, tuple[int, int]]

PRECISIONS = ("fp32", "int8")
_MODELS = ("unet_mini:224", "mobilenet_unet:224", "deeplabv3plus_mobilenetv2:512", "resnet50_segnet:224")
_PACKAGES = ("openvino", "MNN", "ncnn", "pnnx")
_CLASSES = 21
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


def convert(model: Model, precisions: list[str], cache: Path) -> None:
    """Make edgeseg's files of a model, the input of each, and the class map that Keras gives."""
    import keras

    from edgeseg._internal.files import write_bytes
    from edgeseg.imaging import encode_image, preprocess
    from edgeseg_converters import Recipe, export_all
    from edgeseg_converters.calibration import MIN_IMAGES, choose
    from edgeseg_converters.images import collect
    from edgeseg_converters.options import Quantization

    name, size = model
    *images, image = collect(None, split="val", count=MIN_IMAGES + 1).images
    spec = ZOO[name].default_spec(_CLASSES, size)
    keras_model: keras.Model = calibrated(name, size, images[:2])
    stem = _stem(model)
    np.save(cache / f"{stem}.keras.npy", np.argmax(keras_model.predict(preprocess(image, spec)[0], verbose=0), -1))
    folder = cache / "images"
    for index, written in enumerate(images):
        write_bytes(folder / f"{index}.png", encode_image(written, ".png"), overwrite=True)
    recipes = [Recipe(kind, precision) for precision in precisions for kind in ("tflite", "onnx")]  # type: ignore[arg-type]
    settings = Quantization(calibration=choose(folder))
    for result in export_all(keras_model, spec, recipes, quantization=settings):
        path = cache / f"{stem}.{result.recipe.precision}.{result.recipe.format}"
        path.write_bytes(result.data)
        np.save(f"{path}.npy", preprocess(image, result.spec)[0])
    for precision in precisions:  # an integer file always gives the class map
        kind: dict[str, Any] = {"output_kind": "logits", "layout": "nchw"} if precision == "fp32" else {}
        recipe = Recipe("onnx", precision)  # type: ignore[arg-type]
        options = ExportOptions(optimize=False, **kind)
        (result,) = export_all(keras_model, spec, [recipe], options=options, quantization=settings)
        path = cache / f"{stem}.{precision}.plain.onnx"
        path.write_bytes(result.data)
        np.save(f"{path}.npy", preprocess(image, result.spec)[0])


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
        ``argmax_agreement`` with Keras in [0, 1], and ``threads_that_work``: for 1 requested thread and for
        ``THREADS``, how many had at least a tenth of the CPU time of the busiest. Unlike CPU time over time it does not
        depend on other load on the machine. ``same_file_agreement`` is the agreement with ONNX Runtime on the file
        that a peer's was made from: it says more about an int8 file, as the rounding is not the peer's.
    """
    image = np.load(f"{source}.npy")
    workers = {}
    for threads in (1, THREADS):
        backend = open_peer(path, peer=peer, num_threads=threads)
        backend.run(image)
        time.sleep(0.3)  # threads spin on for a while after a call
        before = _cpu_of_threads()
        start = time.perf_counter()
        while time.perf_counter() - start < 1.0:
            output = np.array(backend.run(image))
        used = {thread: seconds - before.get(thread, 0.0) for thread, seconds in _cpu_of_threads().items()}
        workers[threads] = sum(seconds > 0.1 * max(used.values()) for seconds in used.values())
        backend.close()
    if output.ndim == 4 and output.size:  # scores of the plain export
        output = output.argmax(1)
    expected = np.load(reference)
    if output.shape != expected.shape:
        raise DoesNotConvert(f"converts, but the output has shape {output.shape}; Keras gives {expected.shape}")
    agreement = {"argmax_agreement": float((output == expected).mean()), "threads_that_work": workers}
    if source.suffix == ".onnx" and peer != "ONNX Runtime":
        backend = open_peer(source, peer="ONNX Runtime", num_threads=THREADS)
        same = np.array(backend.run(image))
        backend.close()
        same = same.argmax(1) if same.ndim == 4 else same
        agreement["same_file_agreement"] = float((output == same).mean())
    return agreement


def _cpu_of_threads() -> dict[str, float]:
    """Return the CPU seconds that each thread of this process has used; Linux only."""
    return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in _TASKS.iterdir()}


def main() -> None:
    """Read the arguments, convert and prove the files, measure all in turns, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=parse_model, help="NAME:SIZE or NAME:H,W")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each file")
    parser.add_argument("--min-secs", type=float, default=3.0, help="time measured of each file")
    parser.add_argument("--cache", type=Path, help="keeps the converted files; a second run only measures")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print a recorded result as Markdown, and stop")
    parser.add_argument("--step", choices=tuple(_STEPS), help=argparse.SUPPRESS)  # one piece of work from stdin
    arguments = parser.parse_args()
    if arguments.step:
        _STEPS[arguments.step]()
        return
    if arguments.table:
        print(table(arguments.table))
        return
    models = arguments.models or [parse_model(text) for text in _MODELS]
    with tempfile.TemporaryDirectory() as temporary:
        cache = (arguments.cache or Path(temporary)).resolve()
        cache.mkdir(parents=True, exist_ok=True)
        entries = [e for model in models for e in _prepare(model, arguments.precisions.split(","), cache)]
        peak_path = cache / "peak.onnx"
        make_peak(peak_path)
        cases = [Case(peak_path, "cpu", {"peer": "ONNX Runtime", "num_threads": THREADS})]
        timed = [entry for entry in entries if "refused" not in entry]
        for entry in timed:
            cases.append(Case(Path(entry.pop("path")), "cpu", {"peer": entry["runtime"], "num_threads": THREADS}))
        plan = Plan(rounds=arguments.rounds, num_runs=arguments.rounds, min_secs=arguments.min_secs)
        peak, *results = measure(cases, PeerDevice(), plan, progress=_tell)
    machine = environment(edgeseg_sources(), packages=_PACKAGES)
    machine |= {"peak_gflops": 2 * _PEAK_SIDE**3 / peak.median_s / 1e9, "peak": peak.to_dict()}
    for entry, result in zip(timed, results, strict=True):
        entry |= {"latency": result.to_dict(), "gflops": _gflops(entry["model"], tuple(entry["input_size"]))}
    if arguments.output:
        write_json(arguments.output, machine, entries)
        print(table(arguments.output))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            write_json(Path(temporary) / "peers.json", machine, entries)
            print(table(Path(temporary) / "peers.json"))


def _prepare(model: Model, precisions: list[str], cache: Path) -> list[dict[str, Any]]:
    """Convert and prove; return an entry for each precision and runtime, with ``path`` or ``refused``."""
    stem = _stem(model)
    wanted = [cache / f"{stem}.{precision}.plain.onnx" for precision in precisions]  # written last
    if not all(path.exists() for path in wanted):
        print(f"converting {stem}", file=sys.stderr, flush=True)
        _step("convert", json.dumps([model, precisions, str(cache)]))
    entries = []
    for precision in precisions:
        for runtime in RUNTIMES:
            entry = {"model": model[0], "input_size": list(model[1]), "precision": precision, "runtime": runtime}
            entry |= _proven(runtime, cache / f"{stem}.{precision}", cache / f"{stem}.keras.npy")
            print(json.dumps(entry), file=sys.stderr, flush=True)
            entries.append(entry)
    return entries


def _proven(runtime: str, stem: Path, reference: Path) -> dict[str, Any]:
    """Return the first file that runs with the result of ``prove``, or why none runs."""
    refused: dict[str, str] = {}
    suffix, kinds = RUNTIMES[runtime]
    for kind in kinds:
        source = Path(f"{stem}.{kind}")
        path = Path(f"{source}{suffix}")
        try:
            if not path.exists():
                _step("translate", json.dumps([runtime, str(source), str(path)]))
            proof = _step("prove", json.dumps([str(path), runtime, str(source), str(reference)]))
        except (DoesNotConvert, DeviceLost) as error:
            refused[kind] = str(error).rstrip(".")
        else:
            return {**proof, "path": str(path), "made_from": kind, "not_from": refused}
    return {"refused": "; ".join(f"{kind}: {reason}" for kind, reason in refused.items())}


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
    (name, size), precisions, cache = json.load(sys.stdin)
    convert((name, (size[0], size[1])), precisions, Path(cache))
    print("{}")


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


def _gflops(name: str, size: tuple[int, ...]) -> float:
    """Return the zoo's count of the Keras model's operations, scaled by the area."""
    height, width = ZOO[name].default_size
    return ZOO[name].gflops * size[0] * size[1] / (height * width)


def _stem(model: Model) -> str:
    name, (height, width) = model
    return f"{name}-{height}x{width}-{edgeseg_sources()}"


def _tell(done: int, total: int) -> None:
    print(f"\r{done} of {total} processes", end="" if done < total else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
