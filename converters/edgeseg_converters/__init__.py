"""The workstation side of edgeseg: convert a Keras model and prove the artifact against it."""

from edgeseg_converters.export import ExportResult, export, export_all
from edgeseg_converters.images import Samples
from edgeseg_converters.quantization.accuracy import AccuracyGate
from edgeseg_converters.quantization.make import Quantization
from edgeseg_converters.recipes import Recipe, VerificationGate
from edgeseg_converters.rewrites import RewriteResult, Rules, rewrite, rules_for
from edgeseg_converters.verification import Verification

__all__ = [
    # what to call
    "export",
    "export_all",
    "rewrite",
    # what comes back
    "ExportResult",
    "RewriteResult",
    "Verification",
    # what to ask for
    "AccuracyGate",
    "Quantization",
    "Recipe",
    "rules_for",
    "Rules",
    "Samples",
    "VerificationGate",
]
