from __future__ import annotations

import keras
import numpy as np

from edgeseg.training.run.step_report import StepReport


def test_every_step_of_every_epoch_is_reported_with_its_loss() -> None:
    reports: list[tuple[str, int, int]] = []
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    x, y = np.ones((6, 4), np.float32), np.zeros((6, 1), np.float32)
    model.fit(
        x, y, batch_size=2, epochs=2, verbose=0, callbacks=[StepReport(lambda *report: reports.append(report), 2)]
    )
    assert [(done, total) for _, done, total in reports] == [(0, 3), (1, 3), (2, 3), (3, 3)] * 2
    texts = [text for text, _, _ in reports]
    assert texts[0] == "epoch 1/2"
    assert texts[1].startswith("epoch 1/2  loss ")  # of one step there is no duration: it began with compiling
    assert not texts[1].endswith("ms a step")
    assert texts[7].startswith("epoch 2/2  loss ")
    assert texts[7].endswith(" ms a step")
