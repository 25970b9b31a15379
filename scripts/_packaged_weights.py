"""Package the weights of a trained model: its batch norms, its spec, and the fp16 file that has its kernels."""

from __future__ import annotations

from pathlib import Path

import keras

from edgeseg._internal.files import write_bytes
from edgeseg.models.packaged_files import PACKAGED as FILES
from edgeseg.models.weights.folding import save_norms
from edgeseg.spec import ModelSpec
from edgeseg_converters import ExportOptions, export

PACKAGED = Path(__file__).parent.parent / "edgeseg" / "models" / "packaged"


def package_weights(model: keras.Model, spec: ModelSpec) -> None:
    """Write what ``load_model`` reads of a packaged architecture.

    Args:
        model: the trained model, whose batch norms are rounded.
        spec: with the name of the architecture.
    """
    save_norms(model, PACKAGED / f"{spec.name}.norms.npz")
    write_bytes(PACKAGED / f"{spec.name}.json", spec.to_json().encode(), overwrite=True)
    kind = FILES[spec.name].output_kind
    options = ExportOptions(output_kind=kind)  # scripts/export-packaged proves half arithmetic and adds it
    made = export(model, format="tflite", precision="fp16", spec=spec, verify=False, options=options)
    made.save(PACKAGED, overwrite=True)
