"""MediaPipe's own files as ``models --fetch`` writes them; skipped where the npm registry is not reached."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.downloads.models import PUBLISHED, find
from edgeseg.downloads.npm import download
from edgeseg.errors import InputError
from edgeseg.opening import InputDescription, open_segmenter
from edgeseg.runtime import RuntimeOptions
from edgeseg.segmenter import Segmenter
from edgeseg.sources import frames
from edgeseg.tflite.graph import count_ops
from edgeseg.tflite.portable import CUSTOM_OP


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_file_answers_as_the_published_one(
    name: str, street_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On frames of a talking man: in XNNPACK, which has MediaPipe's op, bit for bit; and without XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if main(["models", "--fetch", name, "--output-dir", str(tmp_path), "--json"]) != 0:
        pytest.skip(f"the npm registry is not reached: {capsys.readouterr().err.strip()}")
    path = Path(json.loads(capsys.readouterr().out)["file"])
    model = PUBLISHED[name]
    data = path.read_bytes()
    assert CUSTOM_OP not in count_ops(data)
    published = tmp_path / "published.tflite"
    published.write_bytes(download(model.package, [model.file])[model.file])
    theirs = Interpreter(str(published))
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    ours = [Interpreter(model_content=data), Interpreter(model_content=data, experimental_op_resolver_type=plain)]
    height, width = model.size
    talking = street_clip.with_name("carphone_pristine.mp4")
    feeding = InputDescription(mean=(0.0,) * 3, std=(255.0,) * 3)
    with Segmenter(path) as segmenter, open_segmenter(published, RuntimeOptions(), feeding) as unchanged:
        for frame in frames([str(talking)], stride=40):
            image = cv2.resize(frame.image_rgb, (width, height))
            expected, *found = (_run(each, image.astype(np.float32)[None] / 255) for each in (theirs, *ours))
            np.testing.assert_array_equal(found[0][..., 1], expected[..., 0])
            # Sums of some hundred float32 products in another order, after a sigmoid: measured 5e-5.
            np.testing.assert_allclose(found[1][..., 1], expected[..., 0], atol=1e-3)
            for each in (segmenter, unchanged):
                np.testing.assert_array_equal(each(image).class_map, expected[0, ..., 0] > 0.5)


def _run(interpreter: object, tensor: np.ndarray) -> np.ndarray:
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_a_packaged_file_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["models", "--fetch", "efficientnet_lite0_unet.int8", "--output-dir", str(tmp_path)]
    assert main(wanted) == 0
    assert capsys.readouterr().out == f"edgeseg camera {tmp_path}/efficientnet_lite0_unet.int8.tflite\n"
    assert main(wanted) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert main([*wanted, "--overwrite"]) == 0


def test_names_that_are_none() -> None:
    with pytest.raises(InputError, match="Did you mean 'selfie'"):
        find("selfi")
    for wrong in (["unet_mini", "--fetch", "selfie"], ["--output-dir", "x"], ["--fetch", "selfie", "--latency", "3"]):
        assert main(["models", *wrong]) == 2
