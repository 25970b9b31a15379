"""``verdict``, ``device``, ``worker``, ``questions`` and ``differences`` of ``edgeseg.proof``: real files on real
runtimes in processes of their own; then devices that answer wrongly, in the ways that accelerators do.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg._internal.files import sha256
from edgeseg._internal.json import WrongValue
from edgeseg.errors import BackendUnavailable, DeviceLost, InputError
from edgeseg.imaging import encode_image, preprocess
from edgeseg.proof import Verdict, find_proof, read_proof, verify
from edgeseg.proof.answering import precision_of
from edgeseg.proof.device import ThisMachine
from edgeseg.proof.differences import draw_difference
from edgeseg.proof.questions import Answers, as_png
from edgeseg.proof.worker import Value, read_answers, read_value
from edgeseg.runtime import open_backend
from edgeseg.spec import ModelSpec


class Accelerator(ThisMachine):
    """This machine with an accelerator that changes the class map of some runs.

    Its argument gets the number of the run and the class map that is right.
    """

    def __init__(self, change: Callable[[int, np.ndarray], np.ndarray]) -> None:
        self._change = change

    def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
        right = super().answers(artifact, {}, proof, order)
        if not options.get("accelerator"):
            return right
        images = read_proof(proof).images
        maps = right.class_maps(tuple(images[index].class_map.shape for index in order))  # type: ignore[misc]
        changed = [as_png(self._change(number, one)) for number, one in enumerate(maps)]
        known = list(dict.fromkeys(changed))
        return dataclasses.replace(
            right,
            maps=tuple(known),
            runs=tuple(map(known.index, changed)),
            outputs=tuple(sha256(png.encode()) for png in changed),
        )


def other_class(class_map: np.ndarray) -> np.ndarray:
    return ((class_map + 1) % 5).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_right_file_passes_on_its_runtime(proven: Path, suffix: str) -> None:
    verdict = verify(proven / f"unet_mini.fp32.{suffix}", repeat=2)
    assert verdict.passed
    assert not verdict.reason
    # What float32 rounds is far below the margin of a decided pixel.
    assert verdict.agreement.first == verdict.agreement.worst == verdict.agreement.last == 1.0
    assert verdict.agreement.pixels >= verdict.agreement.all_pixels / 4
    assert [image.answers for image in verdict.images] == [1, 1, 1]
    assert (verdict.device, verdict.accelerator, verdict.precision) == ("local", "cpu", "fp32")
    assert verdict.identical_to_cpu is None
    assert not verdict.warnings
    entry = json.loads(json.dumps(verdict.to_dict()))
    assert entry["agreement"]["passed"] is True
    assert len(entry["images"]) == 3
    assert "unet_mini" in verdict._repr_html_()


def test_an_accelerator_that_is_right_only_at_first_is_caught(proven: Path) -> None:
    # As the Adreno GPU of LiteRT #8065: right on the first inference, wrong from the second on.
    wrong_later = Accelerator(lambda run, right: right if run == 0 else other_class(right))
    artifact = proven / "unet_mini.fp32.tflite"
    verdict = verify(artifact, options={"accelerator": "gpu"}, device=wrong_later)
    assert not verdict.passed
    assert verdict.agreement.worst == 0.0
    first_image = verdict.images[0]
    assert (first_image.first, first_image.worst, first_image.last) == (1.0, 0.0, 0.0)
    assert any("differ among themselves" in warning for warning in verdict.warnings)
    # A check of one image once, as everybody does it, sees nothing.
    proof = read_proof(proven / "unet_mini.proof.zip")
    single = dataclasses.replace(proof, images=proof.images[:1])
    single.save(proven / "single.zip")
    once = verify(artifact, proven / "single.zip", options={"accelerator": "gpu"}, device=wrong_later, repeat=1)
    assert once.passed


def test_an_accelerator_that_mixes_up_images_is_caught(proven: Path) -> None:
    seen: list[np.ndarray] = []

    def of_the_image_before(run: int, right: np.ndarray) -> np.ndarray:
        seen.append(right)
        return seen[max(run - 1, 0)]

    verdict = verify(
        proven / "unet_mini.fp32.tflite", options={"accelerator": "npu"}, device=Accelerator(of_the_image_before)
    )
    assert not verdict.passed
    assert "Keras' class in the worst run" in verdict.reason


def test_a_file_that_the_cpu_computes_in_half_precision_has_the_gate_of_fp16(proven: Path) -> None:
    class Board(Accelerator):
        """A CPU that computes in half precision what asks for it, if it is told so."""

        half: bool | None = True

        def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
            answers = super().answers(artifact, {"accelerator": "cpu"}, proof, order)
            return dataclasses.replace(answers, half_arithmetic=self.half)

    def few_wrong(run: int, right: np.ndarray) -> np.ndarray:
        wrong = right.copy()
        wrong[0, :5] = other_class(right)[0, :5]  # 0.33 % of the pixels; fp32 may miss 0.1 %, fp16 0.5 %
        return wrong

    board, artifact = Board(few_wrong), proven / "unet_mini.fp32.tflite"
    verdict = verify(artifact, device=board, repeat=1)
    assert (verdict.passed, verdict.precision, verdict.judged_as, verdict.half_arithmetic) == (
        True,
        "fp32",
        "fp16",
        True,
    )
    assert verdict.decided_from == read_proof(proven / "unet_mini.proof.zip").gates["fp16"].decided_from
    entry = json.loads(json.dumps(verdict.to_dict()))
    assert (entry["precision"], entry["judged_as"], entry["half_arithmetic"]) == ("fp32", "fp16", True)
    board.half = None  # as from a device with an earlier edgeseg
    verdict = verify(artifact, device=board, repeat=1)
    assert (verdict.passed, verdict.judged_as, verdict.half_arithmetic) == (False, "fp32", None)


def test_what_is_saved_has_the_gate_that_was_asked(proven: Path, tmp_path: Path) -> None:
    """Computed in bf16 a pixel is decided by a larger margin, in the verdict, its JSON and its images alike."""

    class Coarse(Accelerator):
        def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
            return super().answers(artifact, {"accelerator": "cpu"}, proof, order)

    proof = read_proof(proven / "unet_mini.proof.zip")
    device = Coarse(lambda run, right: other_class(right))
    verdict = verify(proven / "unet_mini.fp32.tflite", device=device, options={"runtime_precision": "bf16"}, repeat=1)
    assert proof.gates["fp32"].decided_from < proof.gates["fp16"].decided_from < verdict.decided_from
    decided = sum(int((image.margins >= verdict.decided_from).sum()) for image in proof.images)
    assert verdict.agreement.pixels == decided
    entry = json.loads(json.dumps(verdict.to_dict()))
    assert (entry["precision"], entry["judged_as"], entry["decided_from"]) == ("fp32", "fp16", verdict.decided_from)
    path = next(path for path in verdict.save(tmp_path) if path.name.endswith(".00.png"))
    drawn = draw_difference(proof, 0, other_class(proof.images[0].class_map), verdict.decided_from)
    assert path.read_bytes() == encode_image(drawn)


def test_a_class_that_is_lost_is_named(proven: Path, tmp_path: Path) -> None:
    artifact = proven / "unet_mini.fp32.onnx"
    common = int(np.bincount(read_proof(proven / "unet_mini.proof.zip").images[0].class_map.ravel()).argmax())

    def lost(run: int, right: np.ndarray) -> np.ndarray:
        return np.where(right == common, (common + 1) % 5, right).astype(np.uint8)

    verdict = verify(artifact, options={"accelerator": "gpu"}, device=Accelerator(lost), repeat=1)
    (gone,) = [one for one in verdict.classes if one.worst == 0 and one.pixels]
    assert (gone.name, gone.instead) == (f"class_{common}", f"class_{(common + 1) % 5}")
    paths = verdict.save(tmp_path / "differences")
    assert len(paths) == 3
    drawn = cv2.imread(str(paths[0]))
    red = (np.abs(drawn.astype(int) - (40, 40, 255)).max(axis=-1) == 0).mean()
    # The difference is a fourth of the image, and red where the lost class was decided.
    image = next(image for image in verdict.images if f".{image.index:02d}." in paths[0].name)
    assert red == pytest.approx((1 - image.worst) * image.pixels / (32 * 48) / 4, rel=0.3)
    with pytest.raises(InputError, match="exists"):
        verdict.save(tmp_path / "differences")


def test_scores_that_are_the_cpus_bit_for_bit_are_suspicious(proven: Path) -> None:
    class Nothing(ThisMachine):
        def answers(self, artifact: Path, options: Mapping[str, Any], proof: Path, order: Sequence[int]) -> Answers:
            return super().answers(artifact, {}, proof, order)

    verdict = verify(proven / "unet_mini.fp32.tflite", options={"accelerator": "npu"}, device=Nothing(), repeat=1)
    assert verdict.passed
    assert verdict.identical_to_cpu
    assert any("bit for bit" in warning for warning in verdict.warnings)
    other = verify(
        proven / "unet_mini.fp32.tflite",
        options={"accelerator": "npu"},
        device=Accelerator(lambda run, right: right),
        repeat=1,
    )
    assert other.identical_to_cpu is False


def test_the_proof_is_found_by_the_models_name(proven: Path) -> None:
    assert find_proof(proven / "unet_mini.fp32.tflite") == proven / "unet_mini.proof.zip"
    assert find_proof(proven / "other.fp32.tflite") is None
    with pytest.raises(InputError, match="no proof beside"):
        verify((proven / "unet_mini.fp32.onnx").rename(proven / "other.onnx"))


def test_another_file_of_that_name_is_refused(proven: Path) -> None:
    path = proven / "unet_mini.fp32.tflite"
    data = path.read_bytes()
    path.write_bytes(data + b"\0")
    with pytest.raises(InputError, match="was not made with"):
        verify(path)
    # A vendor's compiler makes another file of it, which the user vouches for.
    assert verify(path, proven / "unet_mini.proof.zip", repeat=1).passed


def test_the_proof_of_another_model_or_size_is_refused(proven: Path) -> None:
    artifact, path = proven / "unet_mini.fp32.tflite", proven / "unet_mini.proof.zip"
    proof = read_proof(path)
    spec = proof.spec
    size = ModelSpec(name="m", input_size=(16, 48), class_names=spec.class_names, palette=spec.palette)
    half = tuple(
        dataclasses.replace(i, image_rgb=i.image_rgb[:16], class_map=i.class_map[:16], margins=i.margins[:16])
        for i in proof.images
    )
    more = spec.replace(class_names=(*spec.class_names, "more"), palette=(*spec.palette, (1, 2, 3)))
    for other, said in (
        (dataclasses.replace(proof, spec=size, images=half), "images of 16,48, the artifact 32,48"),
        (dataclasses.replace(proof, spec=more), "classes 6, the artifact 5"),
        (dataclasses.replace(proof, gates={"int8": proof.gates["int8"]}), "no gate for fp32"),
    ):
        other.save(path, overwrite=True)
        with pytest.raises(InputError, match=said):
            verify(artifact, repeat=1)


def test_what_cannot_be_verified_is_refused(proven: Path, tmp_path: Path) -> None:
    artifact = proven / "unet_mini.fp32.tflite"
    with pytest.raises(InputError, match="does not exist"):
        verify(tmp_path / "none.tflite")
    with pytest.raises(InputError, match="cannot be read"):
        verify(artifact, tmp_path / "none.zip")
    with pytest.raises(InputError, match="repeat must be"):
        verify(artifact, repeat=0)
    with pytest.raises(BackendUnavailable):
        verify(artifact, options={"delegate": str(tmp_path / "none.so")})
    artifact.write_bytes(artifact.read_bytes()[:500])
    with pytest.raises(InputError, match=r"does not open|not a TFLite"):
        verify(artifact, proven / "unet_mini.proof.zip")


def test_a_process_that_dies_is_said(proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DeviceLost, match=r"verified .* ended early, exit status 1"):
        verify(proven / "unet_mini.fp32.tflite")


def test_answers_that_cannot_be_are_refused(proven: Path, read_altered: Callable[..., Any]) -> None:
    answers = ThisMachine().answers(proven / "unet_mini.fp32.tflite", {}, proven / "unet_mini.proof.zip", (0, 1, 0))
    shapes = ((32, 48),) * 3

    def read(text: str) -> None:
        read_answers(text).class_maps(shapes)

    read_count, refused = read_altered(read, dataclasses.asdict(answers))
    assert refused > read_count > 0
    with pytest.raises(WrongValue, match="answers 3 runs; accepted: 2"):
        answers.class_maps(shapes[:2])
    with pytest.raises(WrongValue, match=r"no PNG of|two sizes"):
        answers.class_maps(((9, 9), (32, 48), (32, 48)))


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_value_is_the_output_as_it_is(proven: Path, suffix: str, read_altered: Callable[..., Any]) -> None:
    artifact = proven / f"unet_mini.fp32.{suffix}"
    proof = read_proof(proven / "unet_mini.proof.zip")
    backend = open_backend(artifact)
    assert backend.spec is not None
    tensor = preprocess(proof.images[0].image_rgb, backend.spec)[0]
    expected = np.array(backend.run(tensor))
    got = ThisMachine().value(artifact, {}, tensor, runs=2)
    assert np.array_equal(got, expected)  # the same runtime on the same machine
    packed = dataclasses.asdict(Value.of(expected, backend))
    read_count, refused = read_altered(lambda text: read_value(text).array(), packed)
    assert refused > read_count > 0
    backend.close()
    with pytest.raises(InputError, match="takes"):
        ThisMachine().value(artifact, {}, tensor[:, 1:])


def test_a_quantized_value_is_dequantized() -> None:
    steps = np.array([[0, 3, 255]], np.uint8)
    value = Value(dtype="uint8", shape=(1, 3), scale=0.5, zero_point=3, data=Value.of(steps, _Quantized()).data)
    assert value.array().tolist() == [[-1.5, 0.0, 126.0]]


class _Quantized:
    runtime, spec, inputs = "none", None, ()

    def __init__(self) -> None:
        from edgeseg.runtime.base import TensorInfo

        self.outputs = (TensorInfo(name="out", shape=(1, 3), dtype="uint8", scale=0.5, zero_point=3),)

    def run(self, image: Any) -> Any: ...
    def invoke(self) -> None: ...
    def close(self) -> None: ...


def test_the_precision_of_a_file_without_spec_is_what_its_tensors_show(tiny_spec: ModelSpec) -> None:
    from edgeseg.runtime.base import TensorInfo

    plain = TensorInfo(name="in", shape=(1, 4, 4, 3), dtype="float32")
    quantized = dataclasses.replace(plain, dtype="int8", scale=0.1)
    assert precision_of(tiny_spec, plain) == tiny_spec.provenance.precision
    assert (precision_of(None, plain, plain), precision_of(None, plain, quantized)) == ("fp16", "int8")


def test_the_worker_is_what_a_device_runs(proven: Path) -> None:
    request = {"path": str(proven / "none.tflite"), "proof": str(proven / "unet_mini.proof.zip"), "order": [0]}
    done = subprocess.run(
        [sys.executable, "-m", "edgeseg.proof.worker"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    with pytest.raises(InputError, match="does not exist"):
        read_answers(done.stdout)


def test_a_verdict_is_short_to_look_at(proven: Path) -> None:
    verdict = verify(proven / "unet_mini.fp32.tflite", repeat=1)
    assert isinstance(verdict, Verdict)
    assert len(repr(verdict)) < 600
