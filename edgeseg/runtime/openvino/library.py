"""Import OpenVINO without what it reports to its makers: the one door to the package."""

from __future__ import annotations

import sys
from typing import Any, cast

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """Import the package ``openvino``; seen in 2026.4.1.

    Its ``__init__`` imports its converter, which reports that import by the package ``openvino_telemetry``: it writes
    ``~/intel``, and where the network is silent the process waits at its end. Without that package OpenVINO has a
    stand-in that reports nothing.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    modules = cast("dict[str, Any]", sys.modules)
    hidden = _TELEMETRY not in modules
    if hidden:
        modules[_TELEMETRY] = None
    try:
        import openvino
    finally:
        if hidden:
            modules.pop(_TELEMETRY, None)
    return openvino
