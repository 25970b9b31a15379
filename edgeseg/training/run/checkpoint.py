"""Write the files of a run after every epoch, and read them again for a resumed run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np

from edgeseg._internal.files import csv_text, require_writable_folder, write_text
from edgeseg._internal.json import FEW, AnyText, Int64, Meta, WrongValue, convert
from edgeseg.errors import InputError
from edgeseg.models.keras_files.class_metrics import compile_class_metrics
from edgeseg.models.keras_files.load import fill_model, read_training_state, save_model
from edgeseg.training.building import RunModels
from edgeseg.training.quantization.weights import on_integers
from edgeseg.training.run.curves import save_curves
from edgeseg.training.run.folder import BEST, CHECKPOINTS, FINAL, HISTORY, LAST, SETTINGS

Row = Mapping[str, float]

#: Facts of the data under the names that ``last.keras`` had for them until November 2026.
_RENAMED = {"training pictures": "training images", "validation pictures": "validation images"}


# A score of a class without pixels is NaN.
_Row = Annotated[Mapping[AnyText, Int64 | float], Meta(max_length=FEW)]
_Fact = Int64 | AnyText | Annotated[list[AnyText], Meta(max_length=FEW)]
_Generator = Int64 | Annotated[tuple[Int64, ...], Meta(max_length=FEW)]


@dataclass(frozen=True, kw_only=True)
class _State:
    """The training state in ``last.keras``.

    Attributes:
        history: one row for each epoch.
        iterations: steps that the optimizer has taken.
        generators: states of the random generators, in the model's order.
        data: facts of the data.
        settings: the run's record; or, of an earlier edgeseg, ``config``: the fields of its ``TrainConfig``.
    """

    history: Annotated[tuple[_Row, ...], Meta(max_length=1_000_000)]
    iterations: Int64
    generators: Annotated[tuple[_Generator, ...], Meta(max_length=FEW)]
    data: Annotated[Mapping[AnyText, _Fact], Meta(max_length=FEW)] | None = None
    settings: Annotated[str, Meta(max_length=1_000_000)] | None = None
    config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.settings is None and self.config is None:
            raise WrongValue("'settings' is missing")
        for number, row in enumerate(self.history, 1):
            if row.get("epoch") != number:
                raise WrongValue(f"'epoch' of row {number} of the history is {row.get('epoch')}")


class RunFiles:
    """``last.keras``, ``best.keras`` or ``final.keras``, ``history.csv``, ``train.toml`` and the images of a run.

    Each is written to a temporary name first, ``last.keras`` after the exported models: a kill at any moment costs only
    the current epoch.

    Attributes:
        folder: where they are.
        last: everything that resuming needs, including the optimizer.
        best: the exported model of the best epoch, ready for export.
        final: that of the last epoch, of a run whose epochs are not validated.
        settings: the recipe of the run, which ``last.keras`` has too: it may be moved, and ``train.toml`` be edited.
    """

    settings: str

    def __init__(self, folder: str | Path, data: Mapping[str, Any] | None = None) -> None:
        """Set the paths of the files.

        Args:
            folder: where they are.
            data: the facts of the data that a resumed run must match, as plain JSON values; empty where not known.
        """
        self.folder, self._data = Path(folder), dict(data or {})
        self.last, self.best, self.final = (self.folder / name for name in (LAST, BEST, FINAL))

    def prepare(self, *, resume: bool) -> None:
        """Check that the folder can be written and, for a new run, remove an earlier run's files.

        ``best.keras``, ``final.keras`` and ``train.toml`` stay until there is a new one: the run may have started from
        it.

        Raises:
            InputError: the folder cannot be written.
        """
        require_writable_folder(self.folder)
        if resume:
            return
        stale = [LAST, HISTORY, "curves.png", "samples/epoch_*.png", f"{CHECKPOINTS}/ep*.keras"]
        for pattern in (*stale, "tensorboard/*/events.out.tfevents.*"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def history(
        self, differences: Callable[[Mapping[str, Any]], Sequence[str]], *, validated: bool
    ) -> list[dict[str, float]]:
        """Return the history of the epochs that a run of the same settings has done.

        Args:
            differences: says how the settings in the state of ``last.keras`` differ from today's.
            validated: whether each epoch has the scores of a validation.

        Raises:
            InputError: the run had other settings or other data, or its state cannot be right.
        """
        state = self._state()
        saved = {"config": state.config} if state.settings is None else {"settings": state.settings}
        try:
            differs = differences(saved)
        except InputError as error:
            raise InputError(f"the settings in '{self.last}' cannot be read: {error}") from error
        if differs:
            raise InputError(f"'{self.last}' is of another run ({'; '.join(differs)}); resume with its own settings.")
        known = self._data if state.data is None else state.data
        data = {_RENAMED.get(key, key): value for key, value in known.items()}
        changed = [f"{key}: {data.get(key)}, now {now}" for key, now in self._data.items() if data.get(key) != now]
        if changed:
            raise InputError(
                f"the data is not what '{self.last}' was trained on ({'; '.join(changed)}); resume with the same, or "
                f"start a new run from '{self.best}'."
            )
        if validated and not all("val_mean_iou" in row for row in state.history):
            raise InputError(f"the training state in '{self.last}' cannot be right: an epoch has no val_mean_iou.")
        return [dict(row) for row in state.history]

    def _state(self) -> _State:
        """Return the state in ``last.keras``.

        Raises:
            InputError: there is none, or it is not of its type.
        """
        state = read_training_state(self.last)
        if state is None:
            raise InputError(f"'{self.last}' was not written by edgeseg train; it cannot be resumed.")
        try:
            return convert(state, _State)
        except WrongValue as error:
            raise InputError(f"the training state in '{self.last}' cannot be right: {error}.") from error

    def restore(self, model: keras.Model) -> None:
        """Fill a compiled model and its optimizer, moving averages and random generators from ``last.keras``.

        Raises:
            InputError: the file is damaged, or belongs to another model or optimizer.
        """
        state = self._state()
        optimizer = model.optimizer
        optimizer.build(model.trainable_variables)
        fill_model(model, self.last)
        if iterations(model) != state.iterations:  # Keras skips an optimizer that does not fit
            raise InputError(f"'{self.last}' is not of this optimizer; it cannot be resumed.")
        generators = _generators(model)
        if [np.shape(value) for value in state.generators] != [tuple(variable.shape) for variable in generators]:
            raise InputError(f"'{self.last}' is not of this model: its random generators are others.")
        for variable, value in zip(generators, state.generators, strict=True):
            kind = np.iinfo(variable.dtype)
            if not all(kind.min <= number <= kind.max for number in np.ravel(value)):
                raise InputError(f"'{self.last}' has a random generator with numbers beyond {variable.dtype}.")
            variable.assign(np.array(value, variable.dtype))

    def save(self, models: RunModels, history: Sequence[Row], *, exported: Path | None) -> None:
        """Write the files of an epoch, the last of ``history``.

        Args:
            models: the models of the run.
            history: one row for each epoch.
            exported: ``best`` or ``final``, where the epoch's exported model belongs there; the other is removed, as it
                is of another run. Neither when ``None``.
        """
        if exported is not None:
            self._export(models, exported)
            (self.final if exported == self.best else self.best).unlink(missing_ok=True)
        state = {
            "settings": self.settings,
            "data": self._data,
            "history": list(history),
            "iterations": iterations(models.learning),
            "generators": [keras.ops.convert_to_numpy(v).tolist() for v in _generators(models.learning)],
        }
        save_model(models.learning, self.last, models.spec, training_state=state, overwrite=True)
        self.save_settings()
        self.save_history(history)

    def save_checkpoint(self, models: RunModels, row: Row) -> None:
        """Keep the exported model of an epoch, under a name that says the epoch and its losses."""
        folder, epoch = self.folder / CHECKPOINTS, f"ep{row['epoch']:03d}"
        losses = "".join(f"-{name}{row[name]:.3f}" for name in ("loss", "val_loss") if name in row)
        for earlier in folder.glob(f"{epoch}-*.keras"):  # of a resumed epoch, whose loss may differ on a GPU
            earlier.unlink()
        self._export(models, folder / f"{epoch}{losses}.keras")

    def _export(self, models: RunModels, path: Path) -> None:
        """Write the model at its own input size and without the run's optimizer: ready for export."""
        if models.quantized is None:
            compile_class_metrics(models.exported, models.spec)
            save_model(models.exported, path, models.spec, overwrite=True)
            return
        with on_integers(models.quantized) as network:
            compile_class_metrics(network, models.spec)
            save_model(network, path, models.spec, ranges=models.quantized.ranges(), overwrite=True)

    def save_settings(self) -> None:
        """Write ``train.toml``; again when a run is resumed, which may be carried out otherwise."""
        write_text(self.folder / SETTINGS, self.settings, overwrite=True)

    def save_history(self, history: Sequence[Row]) -> None:
        """Write ``history.csv`` and ``curves.png``; again when a run is resumed, as a kill may have prevented it."""
        # A resumed run may watch other metrics than before.
        columns = tuple(dict.fromkeys(name for row in history for name in row))
        table = csv_text([columns, *([row.get(name, "") for name in columns] for row in history)])
        write_text(self.folder / HISTORY, table, overwrite=True)
        save_curves(history, self.folder / "curves.png")


def iterations(model: keras.Model) -> int:
    """Return the number of steps that the optimizer of a compiled model has taken."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))  # also where it is on several devices


def _generators(model: keras.Model) -> list[Any]:
    """Return the states of the random generators, such as dropout's, which Keras does not save."""
    saved = {id(variable) for variable in model.weights}
    return [variable for variable in model.non_trainable_variables if id(variable) not in saved]
