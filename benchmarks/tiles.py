"""Compare images that are segmented window by window with the same images segmented at once.

    python benchmarks/tiles.py NAME=MODEL:WINDOW:WHOLE ... --data DIR --output benchmarks/results/NAME.json
    python benchmarks/tiles.py --table benchmarks/results/NAME.json ...           # Markdown for docs/large-images.md

MODEL is what ``edgeseg export`` takes: a ``.keras`` file or the name of a packaged model. It is exported twice, at the
size WINDOW and at WHOLE (``H,W``), as fp32 LiteRT files that give logits. Or it is an integer ``.onnx`` file of edgeseg
that enlarges by factors: it is given both sizes, and ends in its scores, without an export. Each image of the split is
scaled to WHOLE, segmented at once by the second file and by windows by the first, with several overlaps, blended and
cropped.

- same: share of the pixels that have the same class, over all images;
- seam: share of neighboring pixels of different classes across the lines between windows, less that of the image
  segmented at once at the same places; the mean over the images, and its standard error. It is above 0 where the lines
  can be seen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from _shared import THREADS, environment, read_json, write_json
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeseg.datasets import DataSource, open_split
from edgeseg.segmenter import Segmenter
from edgeseg.spec import METADATA_KEY, ModelSpec
from edgeseg.tiling.stitching import ArrayReader, blended_rows, cropped_rows
from edgeseg.tiling.windows import Axis, Grid


def exported(model: str, size: str, folder: Path, *, measure: bool) -> Path:
    """Export a model at a size; return the file, which has the radius of its receptive field where it is measured."""
    command = [sys.executable, "-m", "edgeseg", "export", model, "--imgsz", size, "--output-kind", "logits"]
    place = folder / size.replace(",", "x")
    options = [] if measure else ["--no-verify"]
    subprocess.run([*command, *options, "--precision", "fp32", "--output-dir", str(place)], check=True)
    (path,) = place.glob("*.tflite")
    return path


def resized(model: str, size: str, folder: Path) -> Path:
    """Give an ONNX file another size, and let it end in its scores, ``(1, H, W, C)``; return the file."""
    file = onnx.load(model)
    graph, (height, width) = file.graph, map(int, size.split(","))
    image = helper.make_tensor_value_info(graph.input[0].name, TensorProto.UINT8, (1, height, width, 3))
    graph.input[0].CopyFrom(image)
    spec = ModelSpec.from_json(next(each.value for each in file.metadata_props if each.key == METADATA_KEY))
    name = graph.output[0].name
    if spec.output_kind == "argmax":
        (best,) = (node for node in graph.node if node.op_type == "ArgMax")
        (cast,) = (node for node in graph.node if best.output[0] in node.input)
        graph.node.remove(best)
        graph.node.remove(cast)
        name, spec = "logits", spec.replace(output_kind="logits")
        graph.node.append(helper.make_node("Transpose", [best.input[0]], [name], perm=(0, 2, 3, 1)))
    del graph.value_info[:]
    shape = (1, height, width, spec.num_classes)
    graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    helper.set_model_props(file, {METADATA_KEY: spec.replace(input_size=(height, width)).to_json()})
    path = folder / f"{size.replace(',', 'x')}.onnx"
    onnx.save(file, path)
    return path


class Windows:
    """Puts the windows of one image together in both ways; each window is run once for both."""

    def __init__(self, segmenter: Segmenter, image: NDArray[np.uint8]) -> None:
        self._segmenter, self._image = segmenter, image
        self._scores: dict[bytes, NDArray[np.float32]] = {}

    def scores_of(self, window: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of a window."""
        key = window.tobytes()
        if key not in self._scores:
            self._scores[key] = self._segmenter._window_scores(window)
        return self._scores[key]

    def blended(self, grid: Grid) -> NDArray[np.uint8]:
        """Return the class map of blended scores."""
        rows = blended_rows(ArrayReader(self._image), grid, self.scores_of, self._segmenter.spec.num_classes)
        return np.concatenate([part for _, part in rows])

    def cropped(self, grid: Grid) -> NDArray[np.uint8]:
        """Return the class map of center crops."""

        def classes_of(window: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return self.scores_of(window).argmax(-1).astype(np.uint8)

        return np.concatenate([part for _, part in cropped_rows(ArrayReader(self._image), grid, classes_of)])


def lines(axis: Axis) -> list[int]:
    """Return the last pixel before each line between two windows."""
    return [axis.cut(index)[1] - 1 for index in range(axis.count - 1)]


def changes_at(class_map: NDArray[np.uint8], grid: Grid) -> float:
    """Return the share of neighboring pixels of different classes across the lines between windows."""
    rows, columns = lines(grid.rows), lines(grid.columns)
    across = [class_map[row] != class_map[row + 1] for row in rows]
    beside = [class_map[:, column] != class_map[:, column + 1] for column in columns]
    return float(np.mean(np.concatenate([*across, *beside]))) if across or beside else 0.0


def changes(class_map: NDArray[np.uint8]) -> float:
    """Return the share of neighboring pixels of different classes in the whole map."""
    vertical, horizontal = class_map[1:] != class_map[:-1], class_map[:, 1:] != class_map[:, :-1]
    return float((vertical.sum() + horizontal.sum()) / (vertical.size + horizontal.size))


def choices(small: Segmenter) -> Iterator[tuple[str, int | None]]:
    """Yield the overlaps that are compared, by name."""
    side, radius = min(small.spec.input_size), small.spec.receptive_radius
    yield "default", None
    if isinstance(radius, tuple) and 2 * max(radius) <= side - 64:
        yield "exact", 2 * max(radius)
    yield from (("0", 0), ("1/8", side // 8), ("1/2", side // 2))


def compared(name: str, small: Segmenter, large: Segmenter, images: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """Return a result for each overlap, blended and cropped."""
    at_once = [large(image).class_map for image in images]
    size, results = large.spec.input_size, []
    for label, overlap in choices(small):
        grid = Grid.of(size, small.spec, overlap)
        same: dict[str, list[float]] = {"blended": [], "cropped": []}
        seams: dict[str, list[float]] = {"blended": [], "cropped": []}
        for image, whole in zip(images, at_once, strict=True):
            windows = Windows(small, image)
            for way, tiled in (("blended", windows.blended(grid)), ("cropped", windows.cropped(grid))):
                same[way].append(float((tiled == whole).mean()))
                seams[way].append(changes_at(tiled, grid) - changes_at(whole, grid))
        for way in same:
            result = {
                "model": name,
                "window": list(small.spec.input_size),
                "whole": list(size),
                "receptive_radius": small.spec.receptive_radius,
                "overlap": label,
                "overlap_pixels": [grid.rows.overlap, grid.columns.overlap],
                "is_exact": grid.is_exact,
                "way": way,
                "windows": grid.num_windows,
                "images": len(images),
                "same": float(np.mean(same[way])),
                "changes": float(np.mean([changes(whole) for whole in at_once])),
                "seam": float(np.mean(seams[way])),
                "seam_error": float(np.std(seams[way], ddof=1) / np.sqrt(len(images))),
            }
            print(
                f"{name:24} {label:8} {way:8} {grid.num_windows:4} windows  same {100 * result['same']:.4f} %  seam "
                f"{100 * result['seam']:+.3f} +- {100 * result['seam_error']:.3f} of {100 * result['changes']:.2f} %",
                flush=True,
            )
            results.append(result)
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table: a row for each overlap and way that differ."""
    lines = [
        "| model | window, image | images | overlap | windows | put together | same class | seam | elsewhere |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    seen = set()
    for result in results:
        rows, columns = result["overlap_pixels"]
        # Without an overlap both ways are one, and a larger default is the overlap that was asked for.
        way = result["way"] if rows or columns else "-"
        key = (result["model"], rows, columns, way)
        if key in seen:
            continue
        seen.add(key)
        sizes = ", ".join("x".join(map(str, result[name])) for name in ("window", "whole"))
        seam = f"{100 * result['seam']:+.2f} ± {100 * result['seam_error']:.2f} %"
        cells = (
            *(f"`{result['model']}`", sizes, result["images"], f"{rows}, {columns}", result["windows"], way),
            *(f"{100 * result['same']:.3f} %", seam, f"{100 * result['changes']:.2f} %"),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Compare every model and write the results, or print the table of some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL:WINDOW:WHOLE")
    parser.add_argument("--data")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=12, help="so many, spread over the split")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="print the table of result files")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([result for path in arguments.table for result in read_json(path)["results"]]))
        return
    if not (arguments.models and arguments.data and arguments.output):
        parser.error("name models, --data and --output, or --table.")
    split = open_split(DataSource(root=arguments.data), arguments.split)
    chosen = np.linspace(0, len(split) - 1, arguments.images).astype(int)
    results = []
    for text in arguments.models:
        name, _, rest = text.partition("=")
        model, window, whole = rest.rsplit(":", 2)
        with tempfile.TemporaryDirectory() as folder:
            if model.endswith(".onnx"):
                files = [resized(model, size, Path(folder)) for size in (window, whole)]
            else:
                files = [exported(model, size, Path(folder), measure=size == window) for size in (window, whole)]
            with Segmenter(files[0], num_threads=THREADS) as small, Segmenter(files[1], num_threads=THREADS) as large:
                height, width = large.spec.input_size
                images = [
                    cv2.resize(split[index][0], (width, height), interpolation=cv2.INTER_CUBIC) for index in chosen
                ]
                results += compared(name, small, large, images)  # type: ignore[arg-type]
        write_json(arguments.output, environment(), results)


if __name__ == "__main__":
    main()
