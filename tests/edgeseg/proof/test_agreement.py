"""``edgeseg.proof.agreement`` and ``order``: counts on maps that are worked out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edgeseg.proof.agreement import compare
from edgeseg.proof.file import Proof, ProofGate, ProofImage
from edgeseg.proof.order import changing_order
from edgeseg.spec import ModelSpec, default_class_names, default_palette

GATE = ProofGate(min_agreement=0.9, decided_from=0.1)
SPEC = ModelSpec(name="m", input_size=(2, 5), class_names=default_class_names(3), palette=default_palette(3))


def proof_of(*class_maps: list[list[int]], margin: float = 1.0) -> Proof:
    images = tuple(
        ProofImage(
            image_rgb=np.zeros((2, 5, 3), np.uint8),
            class_map=np.array(one, np.uint8),
            margins=np.full((2, 5), margin, np.float32),
        )
        for one in class_maps
    )
    return Proof(spec=SPEC, source="", gates={"fp32": GATE}, images=images)


RIGHT = [[0, 0, 0, 0, 0], [1, 1, 1, 2, 2]]
WRONG = [[0, 0, 0, 0, 1], [1, 1, 1, 2, 0]]  # two of ten


def maps(*lists: list[list[int]]) -> list[np.ndarray]:
    return [np.array(one, np.uint8) for one in lists]


def test_first_worst_and_last_are_of_all_images() -> None:
    proof = proof_of(RIGHT, RIGHT)
    found = compare(proof, GATE, (0, 1, 1, 0, 0, 1), maps(RIGHT, RIGHT, WRONG, RIGHT, RIGHT, RIGHT), "aabaaa")
    agreement = found.agreement
    # The second time that the images are run, one of the two has two wrong pixels of ten: 18 of 20.
    assert (agreement.first, agreement.worst, agreement.last) == (1.0, 0.9, 1.0)
    assert (agreement.images, agreement.pixels, agreement.all_pixels, agreement.all_worst) == (2, 20, 20, 0.9)
    assert agreement.passed  # the gate is 0.9
    assert [image.worst for image in found.images] == [1.0, 0.8]
    assert [image.answers for image in found.images] == [1, 2]
    assert np.array_equal(found.worst_maps[1], np.array(WRONG))


def test_right_at_first_and_wrong_later_fails() -> None:
    proof = proof_of(RIGHT)
    found = compare(proof, GATE, (0, 0, 0), maps(RIGHT, WRONG, WRONG), "abb").agreement
    assert (found.first, found.worst, found.last, found.passed) == (1.0, 0.8, 0.8, False)


def test_a_tie_counts_for_all_pixels_only() -> None:
    proof = proof_of(RIGHT)
    proof.images[0].margins[0, 4] = 0.05
    proof.images[0].margins[1, 4] = 0.09
    found = compare(proof, GATE, (0,), maps(WRONG), "a").agreement
    assert (found.pixels, found.worst, found.all_worst, found.passed) == (8, 1.0, 0.8, True)


def test_where_nothing_is_decided_nothing_passes() -> None:
    found = compare(proof_of(RIGHT, margin=0.0), GATE, (0,), maps(RIGHT), "a").agreement
    assert (found.pixels, found.passed) == (0, False)


def test_classes_say_what_came_instead() -> None:
    found = compare(proof_of(RIGHT), GATE, (0,), maps(WRONG), "a")
    assert [(c.name, c.pixels, c.worst, c.instead) for c in found.classes] == [
        ("class_0", 5, 0.8, "class_1"),
        ("class_1", 3, 1.0, ""),
        ("class_2", 2, 0.5, "class_0"),
    ]


def test_an_id_that_is_no_class_is_named() -> None:
    got = [[0, 0, 0, 0, 200], [1, 1, 1, 2, 2]]
    assert compare(proof_of(RIGHT), GATE, (0,), maps(got), "a").classes[0].instead == "id 200"


@pytest.mark.parametrize(("images", "repeat"), [(8, 5), (1, 3), (3, 1)])
def test_each_image_is_run_equally_often_in_a_changing_order(images: int, repeat: int) -> None:
    order = changing_order(images, repeat)
    assert Counter(order) == dict.fromkeys(range(images), repeat)
    rounds = [order[i * images : (i + 1) * images] for i in range(repeat)]
    assert rounds[0] == tuple(range(images))
    assert images < 4 or len(set(rounds)) == repeat
