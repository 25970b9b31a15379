"""Tell whether a TFLite file computes in half precision on a CPU: whether it asks for it, and whether the CPU can.

XNNPACK, LiteRT's CPU delegate, computes a float model in half precision where the file has the metadata entry
``reduced_precision_support`` with ``fp16accfp16`` and the CPU computes so natively; other CPUs ignore the entry, and so
does LiteRT's GPU accelerator. ``fp16accfp32``, which TensorFlow's converter writes into every fp16 file, switches
nothing on. Read in google-ai-edge/LiteRT f674577, tflite/delegates/xnnpack/xnnpack_delegate.cc.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.tflite.cpu import Cpu
from edgeseg.tflite.file import read_metadata

#: Name and content of the metadata entry by which a file asks.
ENTRY, HALF = "reduced_precision_support", b"fp16accfp16"


@dataclass(frozen=True)
class HalfArithmetic:
    """In which arithmetic a float file computes on a CPU.

    Attributes:
        asked: whether the file asks for half precision.
        here: whether this CPU computes it so; ``None`` where that is not known.
    """

    asked: bool
    here: bool | None

    @classmethod
    def of(cls, data: bytes, cpu: Cpu | None = None) -> HalfArithmetic:
        """Tell it of a file.

        Args:
            data: a whole ``.tflite`` file.
            cpu: what runs it; this machine's when omitted.

        Raises:
            ValueError: the bytes are not a whole TFLite model.
        """
        types, _, sums = (read_metadata(data, ENTRY) or b"").partition(b"acc")
        asked = b"fp16" in types and sums.startswith(b"fp16")
        return cls(asked, (cpu or Cpu.here()).native_half if asked else False)

    @property
    def sentence(self) -> str:
        """What the file and this CPU make of it, for people."""
        if not self.asked:
            return "float32 on every CPU: the file does not ask for float16"
        if self.here is None:
            return "float16 where the CPU computes in it, which the file asks for; whether this one does is not known"
        if self.here:
            return "float16: the file asks for it, and this CPU computes in it"
        return "float32: the file asks for float16, in which this CPU does not compute, and which it ignores"
