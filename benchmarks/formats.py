"""Prove twelve models of the zoo as MNN and OpenVINO files, in every precision that these formats have.

    python benchmarks/formats.py --output benchmarks/results/formats-NAME.json      # continues where it was stopped
    python benchmarks/formats.py unet_mini hrnetv2_w18 --size 192 --output FILE.json
    python benchmarks/formats.py --table benchmarks/results/formats-NAME.json       # Markdown for docs/verification.md

Each is what ``edgeseg export`` makes and says: verified against Keras on four images of a street clip, and refused
where the gate is missed. The weights are random, with the batch-norm statistics of two other images: a network of such
weights decides most pixels by little, so that it is harder to prove than a trained one, and an int8 file of it says
nothing about accuracy. A process for each model, the smaller models first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _shared import environment, known_results, read_json, write_json

from edgeseg.models.zoo.table import ZOO

RECIPES = (("mnn", "fp32"), ("mnn", "fp16"), ("openvino", "fp32"), ("openvino", "fp16"), ("openvino", "int8"))
#: Those of the tables in docs/rewrites.md, the smaller ones first.
MODELS = (
    "unet_mini", "efficientnet_lite0_unet", "deeplabv3plus_mobilenetv2", "mobilenet_unet", "hrnetv2_w18",
    "resnet50_segnet", "segnet", "unet_vgg16", "hrnetv2_w32", "deeplabv3plus_xception", "unet_resnet50", "hrnetv2_w48",
)  # fmt: skip
_CLASSES, _IMAGES = 21, 4


def prove(name: str, size: int) -> list[dict[str, Any]]:
    """Export a model in all recipes and return an entry for each."""
    from _sides import calibrated

    from edgeseg._internal.files import write_bytes
    from edgeseg.errors import UnsupportedModel
    from edgeseg.imaging import encode_image
    from edgeseg_converters import Recipe, export_all
    from edgeseg_converters.calibration import MIN_IMAGES, choose
    from edgeseg_converters.images import Samples, collect
    from edgeseg_converters.options import Quantization

    found = collect(None, split="val", count=MIN_IMAGES + 2 + _IMAGES)
    images, samples = found.images[:-_IMAGES], Samples(found.images[-_IMAGES:], found.source)
    model, spec = calibrated(name, (size, size), list(images[:2])), ZOO[name].default_spec(_CLASSES, (size, size))
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(images):
            write_bytes(Path(folder) / f"{index}.png", encode_image(image, ".png"))
        settings = Quantization(calibration=choose(folder))
        for kind in ("openvino", "mnn"):
            recipes = [recipe for recipe in RECIPES if recipe[0] == kind]
            results = export_all(
                model,
                spec,
                [Recipe(*recipe) for recipe in recipes],  # type: ignore[arg-type]
                samples=samples,
                quantization=settings,
            )
            for recipe in recipes:
                entry: dict[str, Any] = {"model": name, "size": size, "format": recipe[0], "precision": recipe[1]}
                try:
                    result = next(results)
                except UnsupportedModel as error:
                    entry["refused"] = str(error)
                except StopIteration:  # after a refusal, whose reason is that of the format
                    entry["refused"] = entries[-1]["refused"]
                else:
                    proof = result.verification
                    assert proof is not None
                    entry |= {
                        "argmax_agreement": proof.argmax_agreement,
                        "max_relative_error": proof.max_relative_error,
                        "steady_agreement": proof.steady.argmax_agreement if proof.steady else None,
                        "size_bytes": len(result.data),
                        "seconds": round(result.seconds, 1),
                        "refused": result.failure,
                    }
                print(json.dumps(entry), file=sys.stderr, flush=True)
                entries.append(entry)
    return entries


def table(path: Path) -> str:
    """Return a recorded result as Markdown: agreement with Keras in %, in parentheses where it is refused."""
    results = read_json(path)["results"]
    cells = {(entry["model"], entry["format"], entry["precision"]): entry for entry in results}
    rows = ["| model | " + " | ".join(f"{kind} {precision}" for kind, precision in RECIPES) + " |"]
    rows.append("|---|" + "---:|" * len(RECIPES))
    for name in dict.fromkeys(entry["model"] for entry in results):
        rows.append(f"| {name} | " + " | ".join(_cell(cells.get((name, *recipe))) for recipe in RECIPES) + " |")
    return "\n".join(rows)


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    if "argmax_agreement" not in entry:
        return "refused"
    share = f"{100 * entry['argmax_agreement']:.3f}"
    return f"({share})" if entry["refused"] else share


def main() -> None:
    """Read the arguments, and prove the models that are not in the result yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of the zoo; the twelve when omitted")
    parser.add_argument("--size", type=int, default=128, help="side of the input, in pixels")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print a recorded result as Markdown, and stop")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)  # one model, in this process
    arguments = parser.parse_args()
    if arguments.table:
        print(table(arguments.table))
        return
    if arguments.step:
        print("\n" + json.dumps(prove(arguments.models[0], arguments.size)))
        return
    output = arguments.output
    known = known_results(output)
    for name in arguments.models or MODELS:
        if any(entry["model"] == name for entry in known):
            continue
        command = [sys.executable, __file__, "--step", name, "--size", str(arguments.size)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
        if done.returncode:
            print(f"{name}: ended with {done.returncode}; the next call tries it again", file=sys.stderr, flush=True)
            continue
        known += json.loads(done.stdout.splitlines()[-1])
        if output:
            write_json(output, environment(packages=("MNN", "openvino")), known)


if __name__ == "__main__":
    main()
