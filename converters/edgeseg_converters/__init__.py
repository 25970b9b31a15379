"""Convert a Keras model on the workstation and prove the artifact against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names

if TYPE_CHECKING:
    from edgeseg_converters.exporter import Exporter, ExportResult, export, export_all
    from edgeseg_converters.images import Samples
    from edgeseg_converters.options import ExportOptions, Quantization
    from edgeseg_converters.quantizer import Quantizer, quantize
    from edgeseg_converters.recipes import AccuracyGate, Recipe, VerificationGate
    from edgeseg_converters.rewrites import RewriteResult, Rules, rewrite, rules_for
    from edgeseg_converters.tuning.options import TuneOptions
    from edgeseg_converters.tuning.result import TuneResult
    from edgeseg_converters.tuning.tuner import tune
    from edgeseg_converters.verification.comparison import Verification
    from edgeseg_converters.verification.half_arithmetic import HalfVerification

__all__ = [
    # functions
    "export",
    "export_all",
    "Exporter",
    "quantize",
    "Quantizer",
    "rewrite",
    "tune",
    # results
    "ExportResult",
    "RewriteResult",
    "TuneResult",
    "Verification",
    "HalfVerification",
    # settings
    "Recipe",
    "ExportOptions",
    "Quantization",
    "TuneOptions",
    "AccuracyGate",
    "VerificationGate",
    "Samples",
    "rules_for",
    "Rules",
]

# Loaded on first use: most need keras and TensorFlow, but the command line reads only the options.
_MODULES = {
    # Not called export: a submodule of that name would hide the function.
    "exporter": ("export", "export_all", "Exporter", "ExportResult"),
    "images": ("Samples",),
    "options": ("ExportOptions", "Quantization"),
    # Not called quantize, for the same reason.
    "quantizer": ("quantize", "Quantizer"),
    "recipes": ("AccuracyGate", "Recipe", "VerificationGate"),
    "rewrites": ("RewriteResult", "Rules", "rewrite", "rules_for"),
    "tuning.options": ("TuneOptions",),
    "tuning.result": ("TuneResult",),
    # Not called tune, for the same reason.
    "tuning.tuner": ("tune",),
    "verification.comparison": ("Verification",),
    "verification.half_arithmetic": ("HalfVerification",),
}

_LAZY = {name: f"edgeseg_converters.{module}" for module, names in _MODULES.items() for name in names}
_WITH_CONVERT = (
    "exporter",
    "quantizer",
    "rewrites",
    "tuning.tuner",
    "verification.comparison",
    "verification.half_arithmetic",
)
_EXTRAS = {name: "convert" for module in _WITH_CONVERT for name in _MODULES[module]}

__getattr__, __dir__ = lazy_names(__name__, _LAZY, extras=_EXTRAS)
