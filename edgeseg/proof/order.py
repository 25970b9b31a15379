"""Define how often the images of a proof are run, and in which order; light, for the command line."""

from __future__ import annotations

#: How often each image is run where the user does not say, and at most.
DEFAULT_REPEAT, MAX_REPEATS = 5, 1000


def changing_order(num_images: int, repeat: int) -> tuple[int, ...]:
    """Return in which order images are run: each one ``repeat`` times, and never twice in the same order.

    An accelerator that keeps something of the image before, or that is right on its first image only, answers such an
    order in different ways.

    Args:
        num_images: of the proof.
        repeat: how often each image is run.

    Returns:
        ``num_images * repeat`` indices, one round of all images after the other.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    # The first round is in the order of the proof, so that its first image is what a single-shot check would see.
    rounds = [np.arange(num_images), *(rng.permutation(num_images) for _ in range(repeat - 1))]
    return tuple(int(index) for order in rounds for index in order)
