"""Get an encoder's ImageNet weights: from ``keras.applications``, or from an installed package."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from edgeseg.errors import InputError
from edgeseg.models.encoders.efficientnet_lite0 import installed_file, read_pytorch
from edgeseg.models.encoders.published import PublishedEncoder
from edgeseg.models.weights.hdf5 import FileLayer, Tensor


def imagenet_layers(published: PublishedEncoder, options: Mapping[str, Any]) -> list[FileLayer]:
    """Return the layers of a published encoder with their ImageNet weights.

    Args:
        published: the encoder.
        options: of the architecture; ``alpha`` decides which of MobileNetV2's files fits.

    Raises:
        InputError: nobody has it for download, or the download fails; the text says which file to get.
        BackendUnavailable: it is in a package that is not installed.
    """
    if published.package:
        return read_pytorch(installed_file())
    if not published.application:
        raise InputError(
            f"there is no download of {published.title} for ImageNet; get {published.file}, and give "
            "`encoder_weights='FILE'`."
        )
    arguments = {"alpha": options["alpha"]} if options.get("alpha", 1.0) != 1.0 else {}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints a progress bar, where --json has its result
            model = getattr(keras.applications, published.application)(
                include_top=False, weights="imagenet", input_shape=(224, 224, 3), **arguments
            )
    except Exception as error:  # what Keras raises where a download fails
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise InputError(
            f"the ImageNet weights of {published.title} cannot be had from keras.applications: {reason.rstrip('.')}. "
            f"Get {published.file} on another machine, and give `encoder_weights='FILE'`."
        ) from error
    return [
        FileLayer(
            layer.name,
            None,
            tuple(Tensor(f"{layer.name}/{v.name}", str(v.name), np.asarray(v)) for v in layer.weights),
        )
        for layer in model.layers
        if layer.weights
    ]
