from __future__ import annotations

import numpy as np
from keras import ops

from edgeseg.training.objective.pixels import class_ids, class_scores, num_classes_of


def test_one_channel_is_the_logit_of_the_second_class() -> None:
    logits = np.array([[-2.0], [0.0], [3.0]], np.float32)
    scores = ops.convert_to_numpy(class_scores(ops.convert_to_tensor(logits)))
    np.testing.assert_array_equal(scores.argmax(-1), [0, 0, 1])  # class 1 is above 0 alone, as in an export
    np.testing.assert_allclose(ops.softmax(scores)[:, 1:], ops.sigmoid(logits), rtol=1e-6)
    assert class_scores(scores) is scores
    assert [num_classes_of(channels) for channels in (1, 2, 5)] == [2, 2, 5]


def test_labels_may_have_an_axis_of_one_channel() -> None:
    logits = np.zeros((2, 3, 4, 1))
    for shape in ((2, 3, 4), (2, 3, 4, 1)):
        assert tuple(class_ids(np.ones(shape, np.float32), logits).shape) == (2, 3, 4)
