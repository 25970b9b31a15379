"""``openvino.library``: OpenVINO is imported without what it reports to its makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_nothing_is_reported_and_nothing_is_written(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra [openvino]")
    code = (
        "from edgeseg.runtime.openvino.library import import_openvino; import_openvino().Core(); import sys; "
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    subprocess.run([sys.executable, "-c", code], env={**environment, "HOME": str(tmp_path)}, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
