"""Save and load model files: our own ``.keras`` with the ModelSpec inside, and other tools' files, also of Keras 2.

The spec is one more entry in the zip archive, which Keras itself skips.
"""

from __future__ import annotations

import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeseg._internal.files import atomic_path
from edgeseg._internal.json import WrongValue, parse
from edgeseg._internal.zip_entries import MAX_JSON, read_entry
from edgeseg.errors import InputError, missing_extra
from edgeseg.models.keras_errors import reason_of
from edgeseg.models.keras_files.config import is_hdf5, read_config
from edgeseg.models.learned_ranges import LearnedRanges
from edgeseg.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import keras

T = TypeVar("T")
_Make = Callable[[dict[str, Any], dict[str, Any]], Any]

_SPEC_ENTRY = f"{METADATA_KEY}.json"
_STATE_ENTRY = "edgeseg.training.json"
_RANGES_ENTRY = "edgeseg.ranges.json"

# Keras checks little before it uses it, and h5py has RuntimeError for most damage: all of these come from files.
_REFUSALS = (
    OSError,
    zipfile.BadZipFile,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)


def save_model(
    model: keras.Model,
    path: str | Path,
    spec: ModelSpec,
    *,
    training_state: dict[str, Any] | None = None,
    ranges: LearnedRanges | None = None,
    overwrite: bool = False,
) -> None:
    """Write a ``.keras`` file that contains its ModelSpec.

    Args:
        model: the model, with its optimizer where it is compiled.
        path: where to, ending in ``.keras``.
        spec: how to feed it.
        training_state: plain JSON values that ``read_training_state`` returns; for resuming.
        ranges: of the activations, of a model that was trained in integers.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_SPEC_ENTRY, spec.to_json())
            if training_state is not None:
                archive.writestr(_STATE_ENTRY, json.dumps(training_state))
            if ranges is not None:
                archive.writestr(_RANGES_ENTRY, ranges.to_json())


def load_keras_file(
    path: str | Path,
    *,
    compile: bool = False,  # noqa: A002 - Keras' own word
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a model file; of what it names, only what ``allowed`` lists is called, and code inside it is never run.

    A file of Keras 2, and every ``.h5``, is built from its config and then filled by ``match_file``: Keras 3's own
    loader refuses common layers of Keras 2 and pairs tensors by their order alone.

    Args:
        path: a ``.keras`` file, or the full-model ``.h5`` of Keras 2 or 3.
        compile: whether to restore optimizer and loss too; only from a ``.keras`` that Keras 3 wrote.
        custom_objects: classes and functions by the names in the file, see ``load_custom_objects``. Those of
            ``edgeseg.models.keras_files.custom_objects.KNOWN`` need not be given; these have priority.

    Returns:
        The model, in float32 or the precision it was saved in.

    Raises:
        InputError: the file is missing, truncated, holds only weights, has a Lambda layer or unknown classes, or is
            refused by Keras; the text says what is wrong and what to do.
        BackendUnavailable: keras is not installed.
    """
    own = dict(custom_objects or {})
    try:
        config = read_config(path)
        import keras

        from edgeseg.models.keras_files.keras2 import rename_layers, to_keras3
        from edgeseg.models.keras_files.keras2_graph import build_model
        from edgeseg.models.keras_files.lambdas import refuse_lambdas, replace_layers

        # Importing them registers the zoo's own layers with Keras.
        from edgeseg.models.keras_files.resolve import refuse_operations, resolve
        from edgeseg.models.weights.hdf5 import read_weights
        from edgeseg.models.weights.load import match_file
        from edgeseg.models.weights.names import with_names
    except ModuleNotFoundError as error:
        raise missing_extra("a Keras model", "train") from error
    try:
        root = to_keras3(config.root, own) if config.is_keras2 else config.root
        renamed = rename_layers(root) if config.is_keras2 else {}
        if config.container == "hdf5" and not config.is_keras2:
            refuse_operations(root, own, path)
        replaced = replace_layers(root, own)
        # Until here the config is plain JSON; what Keras makes of it from here on is only what is listed.
        objects = resolve(root, {**own, **replaced}, path, compiled=compile)
        refuse_lambdas(root, own, path, compiled=compile)
        if config.container == "zip" and not config.is_keras2 and not replaced:
            if Path(path).suffix.lower() != ".keras":
                raise InputError(f"'{path}' is a .keras archive; give it the suffix .keras.")
            _refuse_damaged(path)
            with _warnings_of_success():
                model: keras.Model = keras.models.load_model(path, objects, compile, safe_mode=True)
            return model
        if compile:
            raise InputError(f"'{path}' cannot be resumed: only .keras files of Keras 3 keep what training needs.")
        model = _build(root, objects, build_model if config.is_keras2 else _from_config)
        if model.weights:
            match_file(model, path, file_layers=with_names(read_weights(path), renamed)).apply()
    except InputError:
        raise
    except _REFUSALS as error:
        raise InputError(f"Keras cannot load '{path}': {reason_of(error)}") from error
    return model


def _refuse_damaged(path: str | Path) -> None:
    """Read every entry of an archive once: Keras unpacks them into a temporary folder, which stays after an error."""
    with zipfile.ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except zlib.error as error:
            raise InputError(f"'{path}' is damaged: {error}.") from error
    if damaged is not None:
        raise InputError(f"'{path}' is damaged: the checksum of '{damaged}' is another one.")


@contextmanager
def _warnings_of_success() -> Iterator[None]:
    """Show what Keras warns of only where it does not fail: its error is enough then, and the user's one line."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for one in told:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def fill_model(model: keras.Model, path: str | Path) -> None:
    """Fill a compiled model and its optimizer from a ``.keras`` file of the same model.

    Keras skips an optimizer that does not fit, and warns; whether it did shows in the optimizer's iterations.

    Raises:
        InputError: the file is damaged, or of another model.
    """
    try:
        _refuse_damaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(path)
    except InputError:
        raise
    except _REFUSALS as error:
        raise InputError(f"'{path}' is damaged, or not of this model: {reason_of(error)}") from error


def _build(root: dict[str, Any], objects: dict[str, Any], make: _Make) -> keras.Model:
    """Build the architecture of a config that has been checked, with random weights."""
    import keras

    root.pop("compile_config", None)
    if "module" not in root:  # the form of .h5 files

        class InSafeMode:  # Keras turns it on for what it deserializes, which this form by itself is not
            @staticmethod
            def from_config(config: dict[str, Any]) -> Any:
                return make({"class_name": class_name, "config": config}, objects)

        class_name, name = root["class_name"], InSafeMode.__name__
        root = {"module": None, "class_name": name, "config": root["config"], "registered_name": name}
        model = keras.saving.deserialize_keras_object(root, {**objects, name: InSafeMode}, safe_mode=True)
    else:
        model = keras.saving.deserialize_keras_object(root, objects, safe_mode=True)
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError("its config is not that of a whole model")
    return model


def _from_config(root: dict[str, Any], objects: dict[str, Any]) -> Any:
    """Build the architecture in an ``.h5`` file of Keras 3."""
    import keras

    kinds = {"Functional": keras.Model, "Model": keras.Model, "Sequential": keras.Sequential}
    model_class = objects.get(root["class_name"]) or kinds[root["class_name"]]
    return model_class.from_config(root["config"], custom_objects=objects)


def read_spec(path: str | Path) -> ModelSpec | None:
    """Return the ModelSpec inside a model file, without keras; ``None`` when another tool wrote the file.

    Raises:
        InputError: the file is missing or no archive, or the spec in it cannot be read.
    """
    return _decoded_entry(path, _SPEC_ENTRY, ModelSpec.from_json)


def read_training_state(path: str | Path) -> dict[str, Any] | None:
    """Return the ``training_state`` that ``save_model`` was given; ``None`` when there is none.

    Raises:
        InputError: the file is missing or no archive, or the state in it is no object of JSON.
    """
    data = _read_entry(path, _STATE_ENTRY)
    try:
        return None if data is None else parse(data)
    except WrongValue as error:
        raise InputError(f"the training state in '{path}' cannot be read: {error}.") from error


def read_ranges(path: str | Path) -> LearnedRanges | None:
    """Return the ranges that a training in integers learned, without keras; ``None`` when there are none.

    Raises:
        InputError: the file is missing or no archive, or the ranges in it cannot be read.
    """
    return _decoded_entry(path, _RANGES_ENTRY, LearnedRanges.from_json)


def _decoded_entry(path: str | Path, entry: str, decode: Callable[[bytes], T]) -> T | None:
    data = _read_entry(path, entry)
    try:
        return None if data is None else decode(data)
    except InputError as error:
        raise InputError(f"in '{path}', {error}") from error


def _read_entry(path: str | Path, entry: str) -> bytes | None:
    if is_hdf5(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return read_entry(archive, entry, MAX_JSON) if entry in archive.namelist() else None
    except FileNotFoundError as error:
        raise InputError(f"model file '{path}' does not exist.") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"'{path}' is not a .keras archive; it may be truncated.") from error
    except ValueError as error:
        raise InputError(f"'{path}' cannot be read: {error}.") from error
