"""Build the person model: small enough for a webcam's rate on the CPU of a small board.

Its encoder is EfficientNet-Lite0 without the sixth stage, so that sizes need be divisible by 16 only, as 144x256 of a
16:9 frame is. The five stages have a third of the parameters and see about 350 pixels around each: more than the input.
"""

from __future__ import annotations

import keras
from keras import layers

from edgeseg.models.zoo.efficientnet_lite import doubled, efficientnet_lite0_encoder, light_decoder
from edgeseg.models.zoo.options import check_choice

_NUM_STAGES = 5
_DECODER_FILTERS = (64, 48, 32)


def person(*, num_classes: int, input_size: tuple[int, int], average: int = 3) -> keras.Model:
    """Build five stages of EfficientNet-Lite0 and a light decoder at 1/8, 1/4 and 1/2.

    Args:
        num_classes: number of output channels.
        input_size: ``(H, W)``, each divisible by 16.
        average: side of the window, 1 or 3, over which the logits at half size are averaged. It steadies the edge of a
            person from frame to frame; a training without it has the sharper gradient.

    Returns:
        A model from ``(B, H, W, 3)`` float32, ``(pixel - 127) / 128``, to logits ``(B, H, W, num_classes)``.
    """
    check_choice("average", average, (1, 3))
    inputs, levels = efficientnet_lite0_encoder(input_size, _NUM_STAGES)
    x = light_decoder(levels, num_classes, _DECODER_FILTERS)
    if average > 1:
        x = layers.AveragePooling2D(average, strides=1, padding="same", name="logits_average")(x)
    return keras.Model(inputs, doubled(x), name="person")
