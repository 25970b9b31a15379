"""Build the models of a run: one that learns at the training size, and its twin that is validated and saved."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgeseg.datasets import Classes
from edgeseg.errors import InputError, UnsupportedModel
from edgeseg.models import create, find
from edgeseg.models.architecture.fitting import create_filled
from edgeseg.models.clone import Changes, clone, copy_weights
from edgeseg.models.encoders.load import EncoderReport, create_with_encoder, fit_encoder
from edgeseg.models.keras_files.load import load_keras_file, read_spec
from edgeseg.models.keras_graph import as_functional, graph_of, output_names, plain, select_output
from edgeseg.models.opening import ModelRequest, assumed_spec, at_input_size, fed_as_before, load_model
from edgeseg.models.preprocessing import conversion_of, size_for, warn_of_faint_images, zoo_model_of
from edgeseg.spec import ModelSpec, default_class_names
from edgeseg.training.config import TrainConfig, is_model_file
from edgeseg.training.distribution import Distribution
from edgeseg.training.logits import Endings, logits_clone, require_logits
from edgeseg.training.objective.batch_norm import set_momentum
from edgeseg.training.objective.pixels import num_classes_of
from edgeseg.training.quantization.network import FakeQuantized

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunModels:
    """The models of a run; all outputs are maps of logits.

    Attributes:
        learning: takes training images, computes in the run's precision.
        twin: the same weights in the same places, in float32, at the size the model is made for.
        exported: the main output of the twin, whose layers it shares.
        main_output: its position among the twin's outputs.
        spec: how to feed the exported model.
        encoder: what its encoder was filled with; ``None`` where it was not.
        quantized: of a run in integers, the layer of the twin that computes in them; its network is the float model
            that is written.
    """

    learning: keras.Model
    twin: keras.Model
    exported: keras.Model
    main_output: int
    spec: ModelSpec
    encoder: EncoderReport | None = None
    quantized: FakeQuantized | None = None

    def fit_encoder(self, batches: Iterable[Any]) -> None:
        """Bring the values of a published encoder to the order of 1, where it has no batch norms.

        Args:
            batches: training images as the exported model takes them, in batches of equal size.
        """
        if self.encoder is not None and self.encoder.chain:
            copy_weights(self.learning, self.twin)
            fit_encoder(self.twin, self.encoder, batches)
            copy_weights(self.twin, self.learning)

    def update_twin(self) -> None:
        """Copy the learned weights to the twin: their moving average where the optimizer keeps one."""
        optimizer = self.learning.optimizer
        if not getattr(optimizer, "inner_optimizer", optimizer).use_ema:
            copy_weights(self.learning, self.twin)
            return
        learned = self.learning.get_weights()
        optimizer.finalize_variable_values(self.learning.trainable_variables)
        copy_weights(self.learning, self.twin)
        self.learning.set_weights(learned)


def build_models(
    config: TrainConfig,
    classes: Classes | None,
    *,
    model: keras.Model | None = None,
    spec: ModelSpec | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    distribution: Distribution | None = None,
) -> RunModels:
    """Build the models of a run, with the weights that it starts from.

    Args:
        config: the run.
        classes: of the data; may be ``None`` where there is a spec.
        model: a model to train in place of ``config.model``'s; it is not changed.
        spec: how to feed that model; built from the config when ``None``.
        custom_objects: code that a model file refers to, see ``keras_files.load.load_keras_file``.
        distribution: the devices of the model that learns; the others are on one device.

    Raises:
        InputError: a name is unknown, a size does not fit, or the model has another number of classes.
        UnsupportedModel: Keras cannot rebuild the model, or its output is no map.
    """
    distribution = distribution or Distribution()
    if model is None and config.quantize is not None and config.weights is None and not is_model_file(config.model):
        opened = load_model(config.model, ModelRequest(input_size=config.input_size))  # with its packaged weights
        model, spec = opened.model, opened.spec
    if model is None and not is_model_file(config.model):
        for option, given in (("custom_objects", custom_objects), ("main_output", config.main_output)):
            if given:
                raise InputError(f"`{option}` goes with a model file; '{config.model}' is an architecture of the zoo.")
        models = _from_zoo(config, _known(classes), distribution)
    else:
        for option, value in (("weights", config.weights), ("encoder_weights", config.encoder_weights)):
            if value not in (None, "none"):
                raise InputError(f"`{option}` goes with a zoo name; '{config.model}' has its own weights.")
        if model is None:
            model = load_keras_file(config.model, custom_objects=custom_objects)
            spec = spec or read_spec(config.model)
        models = _from_model(config, model, classes, spec, custom_objects, distribution)
    if config.batch_norm_momentum is not None:
        set_momentum(models.learning, config.batch_norm_momentum)
    return models


def _from_zoo(config: TrainConfig, classes: Classes, distribution: Distribution) -> RunModels:
    zoo_model = find(config.model)
    size = config.input_size or zoo_model.default_size
    crop_size = config.crop_size or size
    for checked in (size, crop_size):
        zoo_model.check_size(checked)
    spec = zoo_model.spec(size, classes.names, classes.palette, classes.ignore_index)
    spec = spec.replace(**config.feeding)
    options = dict(config.model_options)
    encoder = None
    with distribution.making():
        if config.weights is None and config.encoder_weights == "none":
            learning = create(config.model, num_classes=spec.num_classes, input_size=crop_size, **options)
        elif config.weights is None:
            learning, encoder = create_with_encoder(
                config.model,
                config.encoder_weights,
                num_classes=spec.num_classes,
                input_size=crop_size,
                options=options,
                spec=spec,
            )
            options = dict(learning._zoo_options)
        else:
            filled = create_filled(
                config.model,
                config.weights,
                num_classes=spec.num_classes,
                input_size=crop_size,
                options=options,
                allow_missing=("head",),
            )
            learning, options = filled.model, filled.options
            spec = fed_as_before(spec, config.weights).replace(**config.feeding)
            for sentence in filled.report.notes:
                _log.warning("%s", sentence)
        learning = _of_maps(learning, _policy(config))
    twin = _of_maps(create(config.model, num_classes=spec.num_classes, input_size=size, **options))
    provenance = dataclasses.replace(spec.provenance, model_options=zoo_model.not_default(options))
    spec = spec.replace(provenance=provenance)
    return RunModels(learning=learning, twin=twin, exported=twin, main_output=0, spec=spec, encoder=encoder)


def _from_model(
    config: TrainConfig,
    model: keras.Model,
    classes: Classes | None,
    spec: ModelSpec | None,
    custom_objects: Mapping[str, Any] | None,
    distribution: Distribution,
) -> RunModels:
    conversion = conversion_of(model)
    height, width = config.input_size or (spec.input_size if spec else size_for(model, conversion))
    if height is None or width is None:
        raise InputError(f"'{config.model}' has no fixed input size; give `input_size=(H, W)`.")
    size, one_image = (height, width), True
    if graph_of(model) is not None and model.built:
        one_image = len(model.inputs) == 1
    source = as_functional(model, size) if one_image else model
    crop_size = config.crop_size or size
    zoo_model = zoo_model_of(source) if one_image else None
    if zoo_model is not None:
        for checked in (size, crop_size):
            zoo_model.check_size(checked)

    def at(wanted: tuple[int, int]) -> keras.Model:
        return at_input_size(source, wanted, custom_objects=custom_objects) if one_image else source

    at_size = at(size)
    at_crop_size = at_size if crop_size == size else at(crop_size)
    twin = logits_clone(at_size, size if one_image else None, custom_objects=custom_objects)
    changes = Endings.of(at_crop_size).removed_by(crop_size if one_image else None, _policy(config))
    with distribution.making():
        learning = clone(at_crop_size, changes, custom_objects=custom_objects)
    names = output_names(twin)
    main = config.main_output or names[0]
    exported = select_output(twin, main)
    shape = tuple(exported.outputs[0].shape)
    if len(shape) != 4 or None in shape[1:]:
        raise UnsupportedModel(f"the output '{main}' of '{config.model}' is {shape}; it must be a map (B, H, W, C).")
    require_logits(config.model, exported)
    if spec is None:
        # A file gives its name, as in export; Keras often calls a model "functional".
        name = Path(config.model).stem if is_model_file(config.model) else model.name
        spec = assumed_spec(name, size, shape[-1], model=exported, conversion=conversion, given=config.feeding)
    # The run learns the data's classes, in their order; a model with as many other classes forgets its own.
    named = classes is not None and classes.names != default_class_names(len(classes.names))
    if classes is not None and len(classes.names) == spec.num_classes and (named or _is_nameless(spec)):
        spec = spec.replace(class_names=classes.names, palette=classes.palette, ignore_index=classes.ignore_index)
    spec = spec.replace(input_size=size, **config.feeding)
    warn_of_faint_images(exported, spec)
    num_data_classes, has = spec.num_classes if classes is None else len(classes.names), num_classes_of(shape[-1])
    if num_data_classes != has or spec.num_classes != has:
        scores = "one channel of scores, which tells 2 classes apart" if shape[-1] == 1 else f"{has} classes"
        raise InputError(f"'{config.model}' has {scores}, the data has {num_data_classes}.")
    return RunModels(
        learning=plain(learning), twin=plain(twin), exported=exported, main_output=names.index(main), spec=spec
    )


def _of_maps(model: keras.Model, policy: str | None = None) -> keras.Model:
    """Return a model of the zoo as it learns: with maps as outputs, where an option flattens them, and in a policy."""
    is_flat = len(model.outputs[0].shape) != 4
    changes = Endings.of(model).removed_by(policy=policy) if is_flat else Changes(policy=policy)
    return clone(model, changes) if is_flat or policy else model


def _policy(config: TrainConfig) -> str | None:
    return f"mixed_{config.mixed_precision}" if config.mixed_precision else None


def _is_nameless(spec: ModelSpec) -> bool:
    return spec.class_names == default_class_names(spec.num_classes)


def _known(classes: Classes | None) -> Classes:
    if classes is None:
        raise InputError("a model of the zoo is made for the classes of a data set.")
    return classes
