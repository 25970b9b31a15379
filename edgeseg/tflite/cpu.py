"""Read what a CPU can do, of what decides how LiteRT runs a file on it: half precision, and the atomics of LSE.

XNNPACK computes in half precision only on CPUs that do so natively, and LiteRT's CompiledModel runs only on ARM CPUs
with LSE. Both are among the features that Linux lists in ``/proc/cpuinfo``: for the whole system, of cores that differ
what all have.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_FEATURES = re.compile(r"^(?:Features|flags)[ \t]*:(.*)$", re.MULTILINE)

#: Why LiteRT's CompiledModel is not used on a CPU: any of ai-edge-litert 2.3.0 ends its process, also for the CPU, as
#: the library of its WebGPU accelerator was compiled for ARMv8.1 and is loaded with it.
NO_LSE = (
    "this CPU has no atomic instructions (LSE, ARMv8.1; a Raspberry Pi 3 and 4 have none), without which LiteRT's "
    "CompiledModel does not run"
)


@dataclass(frozen=True)
class Cpu:
    """What a CPU can do.

    Attributes:
        machine: the architecture, as ``platform.machine()`` says it.
        native_half: whether it computes in half precision, so that XNNPACK does where a file asks for it; ``None``
            where that is not known, as for AVX512-FP16, on which it was never tried.
        lse: whether an ARM CPU has LSE's atomics; ``None`` where that is not known, and for others.
    """

    machine: str
    native_half: bool | None
    lse: bool | None

    @classmethod
    def here(cls) -> Cpu:
        """Read this machine's CPU."""
        try:
            listed = _CPUINFO.read_text(encoding="utf-8", errors="replace")
        except OSError:
            listed = ""
        return cls.of(platform.machine(), platform.system(), listed)

    @classmethod
    def of(cls, machine: str, system: str, cpuinfo: str) -> Cpu:
        """Tell what a CPU can do.

        Args:
            machine: the architecture, as ``platform.machine()`` says it.
            system: the operating system, as ``platform.system()`` says it.
            cpuinfo: the content of ``/proc/cpuinfo``; empty where there is none.
        """
        lists = [set(line.split()) for line in _FEATURES.findall(cpuinfo)]
        features = set.intersection(*lists) if lists else None
        native_half = lse = None
        if machine.lower() in ("aarch64", "arm64"):
            if system == "Darwin":  # every Apple silicon has both
                native_half = lse = True
            elif features is not None:
                native_half, lse = {"fphp", "asimdhp"} <= features, "atomics" in features
        elif machine.lower() in ("x86_64", "amd64") and (features is not None or system == "Darwin"):
            native_half = None if "avx512_fp16" in (features or ()) else False
        return cls(machine, native_half, lse)
