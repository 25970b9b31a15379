"""Change the names of layers in a weights file to those of the model, where the model could not keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeseg.models.weights.hdf5 import FileLayer, Tensor


def with_names(layers: Sequence[FileLayer], names: Mapping[str, str]) -> list[FileLayer]:
    """Return the layers of a file under other names, at any depth; what people read stays as it is in the file.

    Args:
        layers: the layers of a file.
        names: name of a layer in the file to its name in the model.
    """
    if not names:
        return list(layers)
    in_order = sorted(names, key=len, reverse=True)  # a/b/c before a/b

    def key(tensor: Tensor) -> str:
        # Keras 2 writes a nested model as one layer, whose tensors begin with the names of its own layers.
        inner = next((name for name in in_order if tensor.key.startswith(f"{name}/")), None)
        return tensor.key if inner is None else names[inner] + tensor.key[len(inner) :]

    return [
        FileLayer(
            layer.name if layer.name is None else names.get(layer.name, layer.name),
            layer.kind,
            tuple(Tensor(tensor.name, key(tensor), tensor.values) for tensor in layer.tensors),
        )
        for layer in layers
    ]
