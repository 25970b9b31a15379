"""What litert-quantizer does not promise to keep: each test says where to look when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import edgeseg_converters
from edgeseg_converters.tflite.graph import TfliteGraph
from edgeseg_converters.tflite.litert_internals import schema


@contextmanager
def replacement(name: str, place: str) -> Iterator[None]:
    """Turn the failure of a name into a sentence that says where the quantizer may have it now."""
    try:
        yield
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        pytest.fail(
            f"litert-quantizer {version('litert-quantizer')} has no {name} that works as in 0.11.0; look for {place} "
            f"({error})"
        )


@pytest.fixture
def data() -> bytes:
    """A file with a signature: ``image -> LOGISTIC -> y``."""
    model, main = schema.ModelT(version=3), schema.SubGraphT()
    model.subgraphs, model.buffers, model.operatorCodes = [main], [schema.BufferT()], []
    main.tensors = [schema.TensorT(name=name, shape=[1, 4], hasRank=True) for name in (b"image", b"y")]
    main.operators, main.inputs, main.outputs = [], [0], [1]
    signature = schema.SignatureDefT(signatureKey=b"serving_default")
    signature.inputs, signature.outputs = [schema.TensorMapT(b"image", 0)], [schema.TensorMapT(b"y", 1)]
    model.signatureDefs = [signature]
    graph = TfliteGraph(model)
    graph.insert(schema.OperatorT(opcodeIndex=graph.opcode("LOGISTIC", version=1), inputs=[0], outputs=[1]))
    return graph.write()


def test_names_of_ops_and_of_keeping_one_in_float(data: bytes) -> None:
    with replacement("qtyping.TFLOperationName", "the enumeration that recipe.py names ops by"):
        from litert_quantizer.qtyping import TFLOperationName

        for name in ("ALL_SUPPORTED", "CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED"):
            getattr(TFLOperationName, name)
    with replacement("algorithm_manager.AlgorithmName", "the names of algorithms that a recipe's JSON accepts"):
        from litert_quantizer.algorithm_manager import AlgorithmName

        assert AlgorithmName.NO_QUANTIZE == "no_quantize"


def test_the_calibrator_keeps_what_it_is_told_to(data: bytes) -> None:
    with replacement("recipe_manager.RecipeManager", "what Quantizer.load_quantization_recipe keeps a recipe in"):
        from litert_quantizer.recipe_manager import RecipeManager

        RecipeManager().load_quantization_recipe([])
    with replacement("calibrator.Calibrator", "what Quantizer.calibrate runs, with a function of one's own to update"):
        from litert_quantizer.calibrator import Calibrator

        from edgeseg_converters.tflite.quantizer_internals import no_progress_bars, open_calibrator, recipe_for_ranges

        def appended(so_far: dict[str, object], new: dict[str, object]) -> dict[str, object]:
            return {side: np.append(so_far[side], new[side]) for side in ("min", "max")}

        calibrator = open_calibrator(data, 1, appended)
        with no_progress_bars():
            for value in (1.0, 3.0, 2.0):
                sample = {"image": np.full((1, 4), value, np.float32)}
                calibrator.calibrate({None: [sample]}, recipe_for_ranges())
        ranges = calibrator.get_model_qsvs()
    assert isinstance(calibrator, Calibrator)
    assert set(ranges) == {"image", "y"}, "the recipe of int8 has every tensor looked at"
    np.testing.assert_array_equal(ranges["image"]["max"], [1.0, 3.0, 2.0])


def test_progress_bars() -> None:
    """``test_calibrate`` has it that the tool draws none of its own."""
    with replacement("utils.progress_utils.ProgressBar", "what draws the bars, or a switch that reaches all of them"):
        from litert_quantizer.utils import progress_utils

        from edgeseg_converters.tflite.quantizer_internals import no_progress_bars

        before = progress_utils.ProgressBar
        with no_progress_bars():
            assert progress_utils.ProgressBar is not before
            progress_utils.ProgressBar(total_steps=1, description="hidden", disappear_on_finish=True).close()
    assert progress_utils.ProgressBar is before


def test_the_door_is_the_only_one() -> None:
    folder = Path(edgeseg_converters.__file__).parent
    reaching = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if any(f"{word} litert_quantizer" in path.read_text(encoding="utf-8") for word in ("from", "import"))
    }
    assert reaching == {"tflite/quantizer_internals.py"}
