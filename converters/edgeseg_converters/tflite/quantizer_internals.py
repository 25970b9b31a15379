"""Quiet for tools that talk to the terminal, by their own means: a stream that is replaced is lost to every thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ai_edge_quantizer.utils import progress_utils

_ProgressBar = progress_utils.ProgressBar


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide the bars of ai-edge-quantizer, whose ``enable_progress_bar`` reaches one of three.

    Where two threads are in here, the bars of the last one may show.
    """
    progress_utils.ProgressBar = _hidden
    try:
        yield
    finally:
        progress_utils.ProgressBar = _ProgressBar


def _hidden(*args: Any, **options: Any) -> Any:
    return _ProgressBar(*args, **{**options, "enable": False})
