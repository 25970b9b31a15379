"""Make files of the zoo and verify them on a GPU, for ``scripts/gpu-check``: a table in Markdown, and the verdicts."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: What a run of five minutes has time for: a model of each kind.
SOME = "efficientnet_lite0_unet,unet_mini,mobilenet_unet,segnet,hrnetv2_w18,deeplabv3plus_mobilenetv2"


def main() -> int:
    """Make or run."""
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    make = steps.add_parser("make", help="export models of the zoo with seeded weights, each with its proof")
    make.add_argument("folder", type=Path)
    make.add_argument("--models", default=SOME, help="names with commas between, or all (default: %(default)s)")
    make.add_argument("--imgsz", type=int, default=256, help="side of the input in pixels (default: %(default)s)")
    run = steps.add_parser("run", help="verify the files on LiteRT's GPU, and on ONNX Runtime's CUDA where that is")
    run.add_argument("folder", type=Path)
    run.add_argument("--software", action="store_true", help="on SwiftShader, a GPU that is emulated on the CPU")
    run.add_argument("--minutes", type=float, default=5, help="start no file after these (default: %(default)s)")
    run.add_argument("--repeat", type=int, default=5, help="how often each image is run (default: %(default)s)")
    asked = parser.parse_args()
    if asked.step == "make":
        return _make(asked.folder, asked.models, (asked.imgsz, asked.imgsz))
    return _run(asked.folder, software=asked.software, seconds=60 * asked.minutes, repeat=asked.repeat)


def _make(folder: Path, models: str, size: tuple[int, int]) -> int:
    from edgeseg.models.zoo.table import ZOO

    folder.mkdir(parents=True, exist_ok=True)
    for name in list(ZOO) if models == "all" else models.split(","):
        if (folder / f"{name}.proof.zip").exists():
            continue
        # A process each: the graphs of a wide model stay in memory.
        subprocess.run([sys.executable, __file__, "export", str(folder), name, *map(str, size)], check=True)
    return 0


def export(folder: Path, name: str, size: tuple[int, int]) -> None:
    """Export a model of the zoo: the packaged one with its weights, others with seeded ones.

    Batch norms get the statistics of real images: with the initial ones the maps of a deep model fade to nothing, and
    every pixel is a tie.
    """
    import keras
    import numpy as np

    from edgeseg.imaging import preprocess
    from edgeseg.models import create
    from edgeseg.models.opening import ModelRequest, load_model
    from edgeseg.models.packaged_files import PACKAGED
    from edgeseg.models.zoo.table import ZOO
    from edgeseg.training.objective.batch_norm import recalibrate
    from edgeseg_converters import Recipe, export_all
    from edgeseg_converters.images import collect
    from edgeseg_converters.verification.proof import save_proof

    keras.utils.set_random_seed(0)
    samples = collect(None, split="val", count=3)
    if name in PACKAGED:
        opened = load_model(name, ModelRequest(input_size=size))
        model, spec = opened.model, opened.spec
    else:
        model, spec = create(name, num_classes=4, input_size=size), ZOO[name].default_spec(4, size)
        images = np.concatenate([preprocess(image, spec)[0] for image in samples.images])
        recalibrate(model, [images])
    recipes = [Recipe("tflite", "fp32"), Recipe("tflite", "fp16"), Recipe("onnx", "fp32")]
    artifacts: dict[str, str] = {}
    reference = None
    for result in export_all(model, spec.replace(name=name), recipes, samples=samples):
        if result.failure:
            print(f"{result.file_name} {result.failure}", file=sys.stderr)
            continue
        result.save(folder, overwrite=True)
        artifacts |= result.proof().artifacts
        reference = result.reference
    if reference is not None:  # last: the sign that all files are there
        save_proof(reference, name, artifacts, folder, overwrite=True)


def _run(folder: Path, *, software: bool, seconds: float, repeat: int) -> int:
    from edgeseg.coverage.gpu import SWIFTSHADER

    environment = dict(os.environ)
    if software:
        environment["VK_DRIVER_FILES"] = str(SWIFTSHADER)
    if not folder.is_dir():
        sys.exit(f"folder '{folder}' does not exist: scripts/gpu-check make {folder}")
    record = folder / ("software.json" if software else "gpu.json")
    verdicts: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    verdicts = {name: found for name, found in verdicts.items() if "error" not in found}
    start = time.monotonic()
    made = {path.name.partition(".")[0] for path in folder.glob("*.proof.zip")}
    files = sorted(path for path in folder.iterdir() if path.name.partition(".")[0] in made)
    cases = [(path, ["--accelerator", "gpu"]) for path in files if path.suffix == ".tflite"]
    if not software and _has_cuda():
        cases += [(path, ["--provider", "cuda"]) for path in files if path.suffix == ".onnx"]
    if not cases:
        sys.exit(f"'{folder}' has no files with a proof: scripts/gpu-check make {folder}")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path, _ in cases}
    verdicts = {name: found for name, found in verdicts.items() if found.get("sha256") == digests.get(name)}
    for path, options in cases:
        if path.name in verdicts or time.monotonic() - start > seconds:
            continue
        command = [sys.executable, "-m", "edgeseg", "verify", str(path), "--json", "--repeat", str(repeat), *options]
        began = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        found = (
            json.loads(done.stdout)["verdicts"][0]
            if done.stdout
            else {"error": done.stderr.strip()[-500:] or "no answer"}
        )
        verdicts[path.name] = {**found, "seconds": round(time.monotonic() - began, 1)}
        temporary = record.with_suffix(".tmp")
        temporary.write_text(json.dumps(verdicts, indent=1) + "\n")
        temporary.replace(record)
        print(f"{path.name}: {found.get('error') or found['reason'] or 'ok'}", file=sys.stderr, flush=True)
    print(_table(verdicts))
    if not software and not _has_cuda():
        print("ONNX Runtime has no CUDA here: no .onnx was run", file=sys.stderr)
    left = [path.name for path, _ in cases if path.name not in verdicts]
    if left:
        print(f"not run for want of time, run again: {', '.join(left)}", file=sys.stderr)
    return 1 if left or any(not found.get("agreement", {}).get("passed") for found in verdicts.values()) else 0


def _has_cuda() -> bool:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _table(verdicts: dict[str, Any]) -> str:
    from edgeseg._internal.text import percent

    lines = ["| file | runs on | first | worst | all pixels, worst | verdict |", "|---|---|---:|---:|---:|---|"]
    for name, found in verdicts.items():
        if "error" in found:
            lines.append(f"| `{name}` | | | | | {found['error'].splitlines()[-1]} |")
            continue
        part = "" if found["fully_accelerated"] is not False else ", in part"
        shares = [found["agreement"][key] for key in ("first", "worst", "all_worst")]
        texts = " | ".join(percent(share, 3) for share in shares)
        verdict = found["reason"] or "ok"
        lines.append(f"| `{name}` | {found['accelerator']}{part} | {texts} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["export"]:
        export(Path(sys.argv[2]), sys.argv[3], (int(sys.argv[4]), int(sys.argv[5])))
    else:
        sys.exit(main())
