"""Code margins in 8 bits: finely near a tie, where it matters which precision can tell two classes apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Codes from here are kept in steps of 16: a PNG of margins is half as large then. It is a margin of 0.063, above what
# float formats round by; for integers a step is 0.02.
_COARSE, _STEP = 64, 16


def encode_margins(margins: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return margins as ``255 * sqrt(margin)``, rounded down, so that none is decoded as larger than it is.

    Args:
        margins: ``(h, w)`` in [0, 1].
    """
    # 1e-4 of a code: what was decoded from a code is that code again, whatever float32 made of it
    codes = np.floor(255 * np.sqrt(np.clip(margins, 0, 1)) + 1e-4).astype(np.uint8)
    return np.where(codes < _COARSE, codes, codes // _STEP * _STEP).astype(np.uint8)


def decode_margins(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the margins of codes, ``(h, w)`` float32 in [0, 1]."""
    return np.square(codes.astype(np.float32) / 255, dtype=np.float32)
