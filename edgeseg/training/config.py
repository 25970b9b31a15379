"""Define the settings of a training run, and check them before the data or the model is read."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted
from edgeseg.choices import (
    AugmentationPreset,
    EncoderWeights,
    FrequencyWeights,
    LetterboxRounding,
    LossKind,
    MixedPrecision,
    Optimizer,
    Resize,
    Schedule,
    StoppingColumn,
    TrainedFormat,
    TrainedPrecision,
    Warmup,
)
from edgeseg.errors import InputError
from edgeseg.training.loss_names import loss_kind

# The command line reads its defaults here: modules that import OpenCV are imported where they are used.
if TYPE_CHECKING:
    from edgeseg.datasets import DataSource

#: Default peak learning rate and weight decay of each optimizer; those of adam and sgd are the DeepLab
#: tutorial's, those of rmsprop are Keras'.
OPTIMIZER_DEFAULTS: Mapping[Optimizer, tuple[float, float]] = MappingProxyType(
    {"adamw": (2e-3, 0.02), "adam": (5e-4, 0.0), "sgd": (7e-3, 1e-4), "rmsprop": (1e-3, 0.0)}
)

#: Factor of the default learning rate for a run in integers, which goes on from a trained model.
QUANTIZE_RATE = 0.05

#: Default end of the learning rate, as a share of the peak.
FINAL_LEARNING_RATES: Mapping[Schedule, float] = MappingProxyType({"cosine": 0.0, "step": 0.01})

#: Default of ``warmup_epochs`` where the run is longer.
WARMUP_EPOCHS = 2

#: Fields of ``Augmentation`` that follow from others of the run.
BY_THE_RUN = ("size", "resize")

#: Augmentation presets under the names that they had until December 2026.
FORMER_PRESETS: Mapping[str, AugmentationPreset] = MappingProxyType({"tutorial": "jitter"})

#: Default of ``batch_norm_recalibration`` for a run with ``ema``.
RECALIBRATION_WITH_EMA = 64


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings that a training run depends on; two runs of one config on one machine give one model.

    Attributes:
        model: a name of the zoo, or a ``.keras`` or full-model ``.h5`` file.
        data: labeled data set with ``train`` and ``val``; a folder, or a folder and what to know about it.
        val_fraction: share of the training split to validate on, of data without ``val``; the images are those of
            ``edgeseg data split --val``, whatever the run's seed.
        validate: whether each epoch is validated; without, the last epoch is kept and no best one is known.
        input_size: ``(H, W)`` the model is made for and validated at; the zoo's or the file's own when ``None``.
        crop_size: ``(H, W)`` of the training images; ``input_size`` when ``None``.
        mean: subtracted from the pixels in [0, 255]; ``data`` for that of the training images, see
            ``edgeseg.datasets.statistics``; the model's own when ``None``.
        std: what the difference is divided by, likewise.
        resize: with which interpolation images are scaled, in training and after it; the model's own when ``None``,
            but ``area`` for training images that shrink by ``bilinear``.
        letterbox_rounding: how a letterboxed image gets whole sides; the model's own when ``None``.
        weights: a weights file that a model of the zoo starts from; its head may have another number of classes.
        model_options: of a zoo model's architecture, by name; the others are those of the weights file, where that says
            them, else the defaults.
        encoder_weights: what the encoder of a model of the zoo starts from: a file, see
            ``edgeseg.models.load_encoder``, or ``imagenet`` for a download; ``none`` is random.
        epochs: passes over the training split, including the frozen ones.
        batch_size: images in a step.
        repeat: number of times that each image is used in an epoch, each time augmented anew; for few, large images.
        freeze_epochs: first epochs in which the encoder does not learn, or ``all``; its batch norm is then in inference
            mode.
        freeze_batch_size: images in a step of those epochs; ``batch_size`` when ``None``.
        freeze_learning_rate: peak of those epochs; ``learning_rate`` when ``None``.
        freeze_before: first layer after the encoder, for the user's own model; known for the zoo.
        optimizer: ``sgd`` uses Nesterov's momentum; ``rmsprop`` has none, and Keras' ``rho`` of 0.9.
        learning_rate: peak; ``OPTIMIZER_DEFAULTS`` when ``None``, and ``QUANTIZE_RATE`` of that with ``quantize``.
        nominal_batch_size: the learning rate is meant for this batch size and scaled linearly to the real one, as the
            tutorials do with 16; not scaled when ``None``.
        weight_decay: decoupled; biases and batch-norm parameters are exempt. ``OPTIMIZER_DEFAULTS`` when ``None``.
        momentum: of sgd, and adam's ``beta_1``.
        clipnorm: largest norm of the gradient of each variable.
        global_clipnorm: largest norm of all gradients together.
        ema: momentum of the moving average of the weights, such as 0.99; then the average is validated and exported. No
            average when ``None``.
        schedule: of the learning rate after the warm-up, see ``EpochSchedule``.
        warmup_epochs: epochs of warm-up, fewer than ``epochs``; ``None`` is 2, or all but the last where that is less,
            and 0 with ``quantize``, as a trained model needs none.
        warmup: ``linear`` rises with every step from 0, ``staircase`` with every epoch.
        final_learning_rate: where cosine and step end, as a share of the peak; 0 and 0.01 when ``None``.
        decay_rate: of the exponential schedule, for each epoch.
        loss: a kind of ``SegmentationLoss``, whose arguments the next six are, or one of ``loss_names.KERAS_NAMES``; of
            a model with several outputs also by their names, where one without a loss learns from the others' alone.
        label_smoothing: in [0, 1).
        probability_clip: least probability in the loss, such as the tutorials' 1e-7; not clipped when ``None``.
        focal_alpha: factor of the focal part.
        focal_gamma: how strongly confident pixels are discounted.
        dice_beta: above 1 weighs recall more, below 1 precision.
        dice_smooth: added above and below.
        class_weights: how the cross-entropy weighs the classes: from the data, or one number for each class.
        class_weight_normalization: whether the weighted loss is divided by the sum of the pixels' weights; else by
            their number, as in the U-Net tutorial.
        output_weights: weight of each output's loss, of a model with several, in their order or by their names; 1 where
            none is given.
        main_output: the output that is validated and exported, by name; the first when ``None``.
        augmentation: the preset.
        augmentation_changes: fields of ``Augmentation`` that differ from the preset.
        batch_norm_momentum: of the moving averages. Keras' 0.99 needs thousands of steps; with fewer the
            exported model collapses while the training loss looks fine. ``None`` leaves the model's own.
        batch_norm_recalibration: training images from which the statistics are computed anew before each
            validation, as the model will see them on the device; 0 keeps the moving averages. ``None`` is 64 with
            ``ema``, since the averages belong to the weights under training, and 0 without.
        early_stopping: epochs without a better value of ``early_stopping_on`` after which the run ends.
        early_stopping_on: the column of the history that is watched for it.
        mixed_precision: computes in that type, keeps weights in float32; for GPUs.
        quantize: round weights and activations in training as an exported file of that precision does, whose ranges are
            then those that were learned. The run starts from a model file, from ``weights``, or from packaged ones.
        quantize_for: the format whose kernels are followed; the other one can be made too.
        batch_norm_epochs: epochs of such a run in which batch norms take the statistics of the batch; then they are
            frozen, as they are folded. A third of ``epochs`` when ``None``.
        teacher: a model file, or the name of a packaged model, whose logits such a run imitates; most often what the
            run starts from.
        teacher_weight: of the divergence (Kullback-Leibler) of those logits, beside the loss.
        seed: of the weights, the order and the augmentation, 0 to 2^32 - 1.
    """

    __repr__ = short_repr

    model: str
    data: str | DataSource
    val_fraction: float | None = None
    validate: bool = True
    input_size: tuple[int, int] | None = None
    crop_size: tuple[int, int] | None = None
    mean: tuple[float, float, float] | Literal["data"] | None = None
    std: tuple[float, float, float] | Literal["data"] | None = None
    resize: Resize | None = None
    letterbox_rounding: LetterboxRounding | None = None
    weights: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    encoder_weights: EncoderWeights | str = "none"
    epochs: int = 40
    batch_size: int = 8
    repeat: int = 1
    freeze_epochs: int | Literal["all"] = 0
    freeze_batch_size: int | None = None
    freeze_learning_rate: float | None = None
    freeze_before: str | None = None
    optimizer: Optimizer = "adamw"
    learning_rate: float | None = None
    nominal_batch_size: int | None = None
    weight_decay: float | None = None
    momentum: float = 0.9
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    ema: float | None = None
    schedule: Schedule = "cosine"
    warmup_epochs: int | None = None
    warmup: Warmup = "linear"
    final_learning_rate: float | None = None
    decay_rate: float = 0.96
    loss: str | Mapping[str, str] = "cross-entropy"
    label_smoothing: float = 0.0
    probability_clip: float | None = None
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    dice_beta: float = 1.0
    dice_smooth: float = 1e-5
    class_weights: FrequencyWeights | tuple[float, ...] = "sqrt-median-frequency"
    class_weight_normalization: bool = True
    output_weights: tuple[float, ...] | Mapping[str, float] | None = None
    main_output: str | None = None
    augmentation: AugmentationPreset = "crop"
    augmentation_changes: Mapping[str, Any] = field(default_factory=dict)
    batch_norm_momentum: float | None = 0.9
    batch_norm_recalibration: int | None = None
    early_stopping: int | None = None
    early_stopping_on: StoppingColumn = "val_mean_iou"
    mixed_precision: MixedPrecision | None = None
    quantize: TrainedPrecision | None = None
    quantize_for: TrainedFormat = "tflite"
    batch_norm_epochs: int | None = None
    teacher: str | None = None
    teacher_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained with."""
        object.__setattr__(self, "augmentation", FORMER_PRESETS.get(self.augmentation, self.augmentation))
        for name in ("epochs", "batch_size", "repeat"):
            _require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in (
            "learning_rate",
            "freeze_batch_size",
            "freeze_learning_rate",
            "nominal_batch_size",
            "clipnorm",
            "global_clipnorm",
            "early_stopping",
            "focal_alpha",
            "dice_beta",
            "dice_smooth",
            "teacher_weight",
        ):
            value = getattr(self, name)
            _require(name, value, value is None or 0 < value < math.inf, "above 0")
        for name in ("batch_norm_recalibration", "weight_decay", "focal_gamma"):
            value = getattr(self, name)
            _require(name, value, value is None or 0 <= value < math.inf, "0 or more")
        for name in ("momentum", "ema", "batch_norm_momentum", "final_learning_rate", "label_smoothing"):
            value = getattr(self, name)
            _require(name, value, value is None or 0 <= value < 1, "0 to below 1")
        if self.schedule == "step" and self.final_learning_rate == 0:
            raise InputError("final_learning_rate must be above 0 with the step schedule, e.g. 0.01.")
        _require("decay_rate", self.decay_rate, 0 < self.decay_rate <= 1, "above 0 and at most 1")
        for name, value, accepted in (
            ("optimizer", self.optimizer, get_args(Optimizer)),
            ("schedule", self.schedule, get_args(Schedule)),
            ("warmup", self.warmup, get_args(Warmup)),
            ("mixed_precision", self.mixed_precision, (None, *get_args(MixedPrecision))),
            ("quantize", self.quantize, (None, *get_args(TrainedPrecision))),
            ("quantize_for", self.quantize_for, get_args(TrainedFormat)),
            ("resize", self.resize, (None, *get_args(Resize))),
            ("letterbox_rounding", self.letterbox_rounding, (None, *get_args(LetterboxRounding))),
            ("early_stopping_on", self.early_stopping_on, get_args(StoppingColumn)),
        ):
            _require(name, value, value in accepted, f"one of {', '.join(map(str, accepted))}")
        _require("loss", self.loss, bool(self.loss_kinds), "a name, or one for each output")
        clip = self.probability_clip
        _require("probability_clip", clip, clip is None or 0 < clip < 0.5, "above 0 and below 0.5")
        if isinstance(self.class_weights, str):
            kinds = get_args(FrequencyWeights)
            _require("class_weights", self.class_weights, self.class_weights in kinds, f"{', '.join(kinds)} or numbers")
        if self.clipnorm is not None and self.global_clipnorm is not None:
            raise InputError("clipnorm and global_clipnorm are two ways to clip; give one.")
        if self.freeze_epochs != "all" and not (
            isinstance(self.freeze_epochs, int) and 0 <= self.freeze_epochs < self.epochs
        ):
            raise InputError(f"freeze_epochs must be 0 to {self.epochs - 1}, or all, got {self.freeze_epochs}.")
        self._check_validation()
        self._check_quantize()
        for name in ("mean", "std"):
            value = getattr(self, name)
            _require(name, value, not isinstance(value, str) or value == "data", "numbers, or data")
        if not 0 <= self.num_warmup_epochs < self.epochs:
            raise InputError(
                f"warmup_epochs must be 0 to {self.epochs - 1} with {counted(self.epochs, 'epoch')}, "
                f"got {self.warmup_epochs}."
            )
        _require("seed", self.seed, 0 <= self.seed < 2**32, "0 to 4294967295")
        self._check_encoder_weights()
        if self.model_options:
            from edgeseg.models.opening import ModelRequest
            from edgeseg.models.zoo.table import find

            ModelRequest(model_options=self.model_options).check(self.model)
            object.__setattr__(self, "model_options", find(self.model).read_options(self.model_options))
        from edgeseg.training.data.augment import Augmentation

        known = {f.name for f in dataclasses.fields(Augmentation)} - set(BY_THE_RUN)
        unknown = set(self.augmentation_changes) - known
        if unknown:
            raise InputError(
                f"augmentation_changes has {', '.join(sorted(unknown))}; it takes {', '.join(sorted(known))}."
            )
        self._refuse_what_does_nothing()

    def _check_encoder_weights(self) -> None:
        words, given = get_args(EncoderWeights), self.encoder_weights
        if given not in words and not os.path.isfile(given):  # noqa: PTH113 - false of a name that is too long
            raise InputError(f"encoder_weights must be a file, {' or '.join(words)}, got '{given}'.")
        if given != "none" and self.weights is not None:
            raise InputError("weights fill the encoder too; give one of weights and encoder_weights.")

    def _check_quantize(self) -> None:
        """Refuse what a training in integers cannot be combined with."""
        if self.quantize is None:
            return
        epochs = self.batch_norm_epochs
        _require("batch_norm_epochs", epochs, epochs is None or 0 <= epochs <= self.epochs, f"0 to {self.epochs}")
        from edgeseg.models.opening import packaged_spec

        is_packaged = packaged_spec(self.model) is not None and not self.model_options
        if not is_model_file(self.model) and self.weights is None and not is_packaged:
            raise InputError(
                f"`quantize` goes on from a trained model, and '{self.model}' would start from random weights; give a "
                "model file, or `weights`."
            )
        teacher = self.teacher
        is_file = teacher is not None and os.path.isfile(teacher)  # noqa: PTH113 - false of a name too long
        if teacher is not None and not is_file and (is_model_file(teacher) or packaged_spec(teacher) is None):
            raise InputError(f"teacher must be a model file, or a model with packaged weights, got '{teacher}'.")
        for name, given, why in (
            ("mixed_precision", self.mixed_precision, "integers need float32"),
            ("ema", self.ema, "the ranges are of the weights, not of their average"),
            ("batch_norm_recalibration", self.batch_norm_recalibration, "the statistics are frozen"),
            ("freeze_epochs", self.freeze_epochs, "all layers learn their rounding"),
        ):
            if given:
                raise InputError(f"`{name}` does not go with `quantize`: {why}; omit one.")

    def _check_validation(self) -> None:
        """Refuse what contradicts how, or whether, the run is validated."""
        share = self.val_fraction
        _require("val_fraction", share, share is None or 0 < share < 1, "above 0 and below 1")
        if self.validate:
            return
        if share is not None:
            raise InputError(
                "val_fraction takes images to validate on, and validation is off (`validate=False`); give one."
            )
        if self.early_stopping and self.early_stopping_on != "loss":
            raise InputError(
                f"there is no {self.early_stopping_on} without validation (`validate=False`); "
                "early_stopping_on can be loss."
            )

    def _refuse_what_does_nothing(self) -> None:
        """Refuse a changed setting that has no effect with the other settings."""
        from edgeseg.training.data.augment import Augmentation

        augmentation = Augmentation.preset(self.augmentation, self.crop_size or (1, 1), **self.augmentation_changes)
        for name, chance in (("rotate_degrees", "rotate"), ("whole_degrees", "rotate"), ("blur_size", "blur")):
            if name in self.augmentation_changes and not getattr(augmentation, chance):
                raise InputError(f"{name} does nothing without {chance}, the probability of one; give both.")
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        has_pixels = bool(self.loss_kinds - {"dice"})
        for names, used, needed in (
            (("freeze_batch_size", "freeze_learning_rate", "freeze_before"), self.freeze_epochs, "freeze_epochs"),
            (("early_stopping_on",), self.early_stopping, "early_stopping"),
            (("final_learning_rate",), self.schedule in ("cosine", "step"), "schedule cosine or step"),
            (
                ("quantize_for", "batch_norm_epochs", "teacher"),
                self.quantize,
                "quantize",
            ),
            (("teacher_weight",), self.teacher, "teacher"),
            (("decay_rate",), self.schedule == "exponential", "schedule exponential"),
            (("momentum",), self.optimizer != "rmsprop", "optimizer adamw, adam or sgd"),
            (("label_smoothing",), has_pixels, "a loss with cross-entropy or focal"),
            (("class_weights",), has_pixels or self.class_weights == "none", "a loss with cross-entropy or focal"),
            (
                ("class_weight_normalization",),
                has_pixels and self.class_weights != "none",
                "class_weights and a loss with cross-entropy or focal",
            ),
            (("focal_alpha", "focal_gamma"), self._has_part("focal"), "a focal loss"),
            (("dice_beta", "dice_smooth"), self._has_part("dice"), "a loss with dice"),
        ):
            for name in names:
                if not used and getattr(self, name) != defaults[name]:
                    raise InputError(f"{name} does nothing without {needed}.")

    def _has_part(self, part: str) -> bool:
        return any(part in kind for kind in self.loss_kinds)

    @property
    def loss_kinds(self) -> frozenset[LossKind]:
        """The kinds of ``SegmentationLoss`` of the outputs."""
        return frozenset(map(loss_kind, (self.loss,) if isinstance(self.loss, str) else self.loss.values()))

    @property
    def feeding(self) -> dict[str, Any]:
        """What is said of how to feed the model, by the fields of its ModelSpec."""
        said = {name: getattr(self, name) for name in ("mean", "std", "resize", "letterbox_rounding")}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def num_freeze_epochs(self) -> int:
        """The number of epochs in which the encoder does not learn."""
        return self.epochs if self.freeze_epochs == "all" else self.freeze_epochs

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, with the default applied."""
        usual = OPTIMIZER_DEFAULTS[self.optimizer][0]
        return self.learning_rate or (usual if self.quantize is None else usual * QUANTIZE_RATE)

    @property
    def num_batch_norm_epochs(self) -> int:
        """The number of epochs with the batch's own statistics of a run in integers, with the default applied."""
        return self.epochs // 3 if self.batch_norm_epochs is None else self.batch_norm_epochs

    @property
    def num_warmup_epochs(self) -> int:
        """The number of warm-up epochs, with the default applied."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return 0 if self.quantize is not None else min(WARMUP_EPOCHS, self.epochs - 1)

    @property
    def num_recalibration(self) -> int:
        """The number of images for recalibration, with the default applied."""
        if self.batch_norm_recalibration is None:
            return 0 if self.ema is None else RECALIBRATION_WITH_EMA
        return self.batch_norm_recalibration


def _require(name: str, value: object, good: bool, accepted: str) -> None:
    if not good:
        raise InputError(f"{name} must be {accepted}, got {value}.")


def is_model_file(model: str) -> bool:
    """Return whether ``model`` is a file and no name of the zoo."""
    return Path(model).suffix.lower() in (".keras", ".h5")
