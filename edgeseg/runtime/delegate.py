"""Load TFLite delegates that are a library of their own: Coral's ``libedgetpu.so.1``, QNN's, a vendor's."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from edgeseg.errors import BackendUnavailable, InputError

#: The symbols that such a library must have, by TFLite's external_delegate_interface.h.
SYMBOLS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


def load(load_delegate: Any, library: str, options: Mapping[str, str]) -> Any:
    """Load a delegate.

    Args:
        load_delegate: the function of the interpreter's own package.
        library: name or path of the library, found as the system's loader finds it.
        options: the options of the library's documentation.

    Raises:
        BackendUnavailable: the library, or one that it needs, is not there, or it finds no device.
        InputError: the library is no TFLite delegate.
    """
    # The package's own class fails in its finalizer after a library that does not load: so it is checked beforehand.
    try:
        opened = ctypes.PyDLL(library)
    except OSError as error:
        raise BackendUnavailable(
            f"the delegate '{library}' does not load: {error}. Install the library, or give its whole path."
        ) from error
    missing = [symbol for symbol in SYMBOLS if not hasattr(opened, symbol)]
    if missing:
        raise InputError(f"'{library}' is no TFLite delegate: it has no {missing[0]}.")
    try:
        return load_delegate(library, dict(options))
    except ValueError as error:
        reason = " ".join(str(error).splitlines()[1:]).strip() or "it does not say why; is the device there?"
        raise BackendUnavailable(f"the delegate '{library}' does not start: {reason}") from error
