"""What the page answers (``site``, ``server``) at the models' own size, for the packaged files and their fp32 exports.

It takes minutes, so it runs where EDGESEG_BROWSER names a folder of the fp32 files:

    edgeseg export person --output-kind softmax --format tflite,onnx --precision fp32 --output-dir DIR
    edgeseg export efficientnet_lite0_unet --format tflite,onnx --precision fp32 --output-dir DIR
    EDGESEG_BROWSER=DIR pytest tests/edgeseg/web/test_full_size.py
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.imaging import decode_image, preprocess
from edgeseg.models.packaged_files import find_file
from edgeseg.segmenter import Segmenter
from edgeseg.web.server import WebServer
from edgeseg.web.site import Site

PACKAGE = find_file("person.fp16").parent
FOLDER = os.environ.get("EDGESEG_BROWSER")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="EDGESEG_BROWSER is not set: no files of full size in fp32")

EXPORTED = ("fp32.tflite", "fp32.onnx")
PACKAGED = ("fp16.tflite", "int8.tflite", "int8.onnx")
FILES = [f"{model}.{kind}" for model in ("person", "efficientnet_lite0_unet") for kind in EXPORTED + PACKAGED]


@pytest.fixture(scope="module")
def paths() -> dict[str, Path]:
    return {name: Path(str(FOLDER)) / name if name.endswith(EXPORTED) else PACKAGE / name for name in FILES}


@pytest.fixture(scope="module")
def full(open_page: Callable[..., Any], paths: dict[str, Path]) -> Iterator[Any]:
    with WebServer(Site.of(list(paths.values())), port=0) as server:
        yield open_page(server.url, "--enable-unsafe-webgpu")


FLOATS = [name for name in FILES if name.endswith(("fp32.tflite", "fp16.tflite"))]


@pytest.mark.parametrize(
    ("name", "accelerator"), [(name, "wasm") for name in FILES] + [(name, "webgpu") for name in FLOATS]
)
def test_class_maps_are_those_of_the_segmenter(
    name: str, accelerator: str, full: Any, paths: dict[str, Path], clip_images: list[bytes]
) -> None:
    """Measured: every pixel, 5 in a million of the street's fp32 .onnx apart. What is left is for other SIMD widths."""
    full.engine(FILES.index(name), accelerator, 1)
    shares = []
    with Segmenter(paths[name]) as segmenter:
        for data in clip_images:
            tensor, placement = preprocess(decode_image("image", np.frombuffer(data, np.uint8)), segmenter.spec)
            shares.append(np.mean(full.class_map(data) == segmenter.infer(tensor, placement)[0]))
    print(f"{name} on {accelerator}: {100 * min(shares):.4f} to {100 * max(shares):.4f} % of {len(shares)} images")
    assert min(shares) >= 0.9999
