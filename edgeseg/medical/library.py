"""Import the packages that read and write DICOM: they are an extra, and take a second."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from edgeseg.errors import missing_extra

#: What each package is needed for.
_NEEDED: Mapping[str, str] = MappingProxyType({"pydicom": "DICOM", "highdicom": "DICOM SEG"})


def library(name: Literal["pydicom", "highdicom"] = "pydicom") -> Any:
    """Return a package of the extra ``[medical]``.

    Raises:
        BackendUnavailable: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise missing_extra(_NEEDED[name], "medical") from error
