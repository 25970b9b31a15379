"""edgeseg: a Keras segmentation model on an edge device - exported, proven, run, measured."""

from __future__ import annotations

__version__ = "0.1.0"
