"""Loss and metrics under KERAS_BACKEND=jax, compiled, in a process of their own: a process has one backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgeseg.training.objective.losses import SegmentationLoss
from edgeseg.training.objective.metrics import FScore, MeanIoU

RNG = np.random.default_rng(6)
LOGITS = RNG.normal(0, 2, (2, 3, 4, 3)).astype(np.float32)
IDS = RNG.integers(0, 3, (2, 3, 4)).astype(np.uint8)
IDS[0, 0, :3] = IDS[1, 2] = 255

SETTINGS: dict[str, Any] = {
    "kind": "focal+dice", "class_weights": [0.5, 2.0, 1.25], "label_smoothing": 0.1, "focal_alpha": 0.5,
    "focal_gamma": 0.5, "dice_beta": 2.0, "dice_smooth": 1e-5,
}  # fmt: skip

_PROGRAM = """
import json, sys
import jax, keras, numpy as np
from edgeseg.training.objective.losses import SegmentationLoss
from edgeseg.training.objective.metrics import FScore, MeanIoU

assert keras.backend.backend() == "jax"
settings, ids, logits = json.loads(sys.stdin.read())
ids, logits = np.array(ids, np.uint8), np.array(logits, np.float32)
loss = SegmentationLoss.from_config(settings)
value, gradient = jax.jit(jax.value_and_grad(lambda x: loss(ids, x)))(logits)
scores = []
for metric in (MeanIoU(3), FScore(3)):
    state = [variable.value for variable in metric.variables]
    update = jax.jit(metric.stateless_update_state)
    state = update(update(state, ids, logits), ids, logits)
    scores.append(float(jax.jit(metric.stateless_result)(state)))
assert "tensorflow" not in sys.modules
print(json.dumps([float(value), np.asarray(gradient).tolist(), scores]))
"""


@pytest.mark.slow
def test_the_jax_backend_gives_the_same() -> None:
    if find_spec("jax") is None:
        pytest.skip("jax is not installed: no second backend")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([SETTINGS, IDS.tolist(), LOGITS.tolist()]),
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    value, gradient, scores = json.loads(done.stdout.splitlines()[-1])
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        expected = SegmentationLoss.from_config(SETTINGS)(IDS, logits)
    # Two float32 libraries that sum in another order.
    assert value == pytest.approx(float(expected), rel=2e-6)
    np.testing.assert_allclose(gradient, tape.gradient(expected, logits), rtol=1e-4, atol=1e-7)
    metrics = (MeanIoU(3), FScore(3))
    assert scores == pytest.approx([float(metric(IDS, LOGITS)) for metric in metrics], rel=1e-6)
