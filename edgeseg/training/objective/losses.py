"""Define one loss for segmentation: cross-entropy or focal, Dice, or their sum; ignored pixels never count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import keras
from keras import ops

from edgeseg._internal.fields import short_repr
from edgeseg._internal.text import counted
from edgeseg.choices import LossKind
from edgeseg.errors import InputError
from edgeseg.training.data.augment import IGNORED
from edgeseg.training.objective.pixels import class_ids, class_scores, num_classes_of

# 1 - p of a certain pixel is 0 in float32, where the slope of (1 - p)^gamma is infinite for gamma < 1.
_LEAST_DOUBT = 1e-7


@dataclass(frozen=True, kw_only=True)
class Focal:
    """The settings of the focal part; the defaults are the tutorials'.

    Attributes:
        alpha: factor of the part, above 0.
        gamma: how strongly confident pixels are discounted, 0 or more.

    Raises:
        InputError: a setting is out of its range.
    """

    __repr__ = short_repr

    alpha: float = 0.5
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _require("focal_alpha", self.alpha, 0 < self.alpha < math.inf, "above 0")
        _require("focal_gamma", self.gamma, 0 <= self.gamma < math.inf, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Dice:
    """The settings of the Dice part.

    Attributes:
        beta: above 1 weighs recall more, below 1 precision; above 0.
        smooth: added above and below, above 0, so that a class without pixels scores 1.

    Raises:
        InputError: a setting is out of its range.
    """

    __repr__ = short_repr

    beta: float = 1.0
    smooth: float = 1e-5

    def __post_init__(self) -> None:
        _require("dice_beta", self.beta, 0 < self.beta < math.inf, "above 0")
        _require("dice_smooth", self.smooth, 0 < self.smooth < math.inf, "above 0")


@dataclass(frozen=True)
class ClassWeights:
    """How the cross-entropy and focal parts weigh the classes.

    Attributes:
        values: one number of 0 or more for each class, not all 0.
        normalized: whether the weighted sum over the pixels is divided by the sum of their weights; else by their
            number, as in the U-Net tutorial.

    Raises:
        InputError: a value is out of its range.
    """

    __repr__ = short_repr

    values: Sequence[float]
    normalized: bool = True

    def __post_init__(self) -> None:
        values = tuple(float(value) for value in self.values)
        if not (all(math.isfinite(value) and value >= 0 for value in values) and any(values)):
            raise InputError(f"class_weights must be numbers of 0 or more, not all 0, got {list(values)}.")
        object.__setattr__(self, "values", values)


@keras.saving.register_keras_serializable(package="edgeseg")
class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]  # keras has no type information
    """Computes a loss of logits against class ids, over the pixels of a batch whose id is not ``ignore_index``.

    With the softmax ``p``, the id ``y`` of a pixel, its weight ``w = class_weights[y]`` and ``C`` classes:

    - cross-entropy: ``sum(w * ce) / sum(w)`` where ``ce = -sum_c(q_c * log p_c)`` and ``q`` is the label with
      smoothing ``s``, ``(1 - s) * (c == y) + s / C`` (Szegedy et al. 2016, "Rethinking the Inception Architecture").
      With ``ClassWeights(..., normalized=False)`` it is ``sum(w * ce)`` divided by the number of pixels.
    - focal: the same mean of ``alpha * (1 - p_y)^gamma * ce`` (Lin et al. 2017, "Focal Loss", equation 5; ``alpha``
      is one number for all classes, as in the tutorials, since ``class_weights`` are there).
    - dice: ``1 - mean_c(score_c)`` with ``score = ((1 + b^2) tp + s) / ((1 + b^2) tp + b^2 fn + fp + s)``, where
      ``tp = sum(p * (c == y))`` and so on are sums over all counted pixels of the batch (the tutorials' form; Sudre et
      al. 2017 compare it with others). Neither weights nor smoothing enter it.

    One channel is the logit of class 1 of two: ``p`` is ``[1 - sigmoid, sigmoid]``, so that cross-entropy is Keras'
    ``BinaryCrossentropy(from_logits=True)``, and Dice has the score of class 1 alone.

    The tutorials' Dice also counts the probabilities at ignored pixels, as false positives, and their cross-entropy
    divides by the number of all pixels; here an ignored pixel counts nowhere. A surely wrong pixel costs its logits'
    difference; ``probability_clip=1e-7`` limits that to 16.1 and stops its gradient, as the tutorials, which clip the
    probabilities. A batch of only ignored pixels has the loss 0. An id that is no class makes the loss NaN, since a
    compiled loss cannot raise.

    Under ``tf.distribute`` each replica takes its own mean and these are averaged, as Keras does with every loss.
    ``sample_weight`` multiplies the pixels' shares of the loss without changing ``sum(w)``.

    Examples:
        >>> model.compile("adam", SegmentationLoss("cross-entropy+dice", class_weights=[0.5, 2.0]))
    """

    def __init__(
        self,
        kind: LossKind = "cross-entropy",
        *,
        class_weights: ClassWeights | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        probability_clip: float | None = None,
        focal: Focal | None = None,
        dice: Dice | None = None,
        ignore_index: int | None = IGNORED,
        name: str = "segmentation_loss",
    ) -> None:
        """Check the settings.

        Args:
            kind: which loss, or which sum.
            class_weights: of the cross-entropy and focal parts; numbers are ``ClassWeights`` of them; 1 each when
                ``None``.
            label_smoothing: of the cross-entropy and focal parts, in [0, 1).
            probability_clip: ``p`` is clipped to at least this and at most 1 minus this, above 0 and below 0.5, in all
                parts; not clipped when ``None``.
            focal: settings of the focal part; the defaults of ``Focal`` when ``None``.
            dice: settings of the Dice part; the defaults of ``Dice`` when ``None``.
            ignore_index: id whose pixels do not count; ``None`` where every pixel does.
            name: for logs.

        Raises:
            InputError: a setting is out of its range.
        """
        # float32 whatever the policy: under mixed precision the logits may be float16, where sums over pixels overflow.
        super().__init__(name=name, reduction="sum_over_batch_size", dtype="float32")
        if kind not in get_args(LossKind):
            raise InputError(f"loss '{kind}' is none of {', '.join(get_args(LossKind))}.")
        weights = class_weights
        if not (weights is None or isinstance(weights, ClassWeights)):
            weights = ClassWeights(weights)
        _require("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "at least 0 and below 1")
        is_clip = probability_clip is None or 0 < probability_clip < 0.5
        _require("probability_clip", probability_clip, is_clip, "above 0 and below 0.5")
        self._kind, self._class_weights, self._label_smoothing = kind, weights, label_smoothing
        self._probability_clip = probability_clip
        self._focal, self._dice, self._ignore_index = focal or Focal(), dice or Dice(), ignore_index

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which ``from_config`` makes the same loss.

        The settings of the parts are flat in it, under the names that they have in every ``.keras`` file so far.
        """
        weights = self._class_weights
        return {
            "kind": self._kind,
            "class_weights": None if weights is None else list(weights.values),
            "class_weight_normalization": weights is None or weights.normalized,
            "label_smoothing": self._label_smoothing,
            "probability_clip": self._probability_clip,
            "focal_alpha": self._focal.alpha,
            "focal_gamma": self._focal.gamma,
            "dice_beta": self._dice.beta,
            "dice_smooth": self._dice.smooth,
            "ignore_index": self._ignore_index,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SegmentationLoss:
        """Make a loss from the result of ``get_config``."""
        settings = dict(config)
        focal = Focal(alpha=settings.pop("focal_alpha"), gamma=settings.pop("focal_gamma"))
        dice = Dice(beta=settings.pop("dice_beta"), smooth=settings.pop("dice_smooth"))
        normalized = settings.pop("class_weight_normalization", True)  # earlier files were
        if settings["class_weights"] is not None:
            settings["class_weights"] = ClassWeights(settings["class_weights"], normalized)
        return cls(focal=focal, dice=dice, **settings)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss as a map whose mean it is, so that Keras' own reduction scales it where there are replicas.

        Args:
            y_true: ``(B, ...)`` or ``(B, ..., 1)`` class ids; ``Loss.__call__`` has made them float32.
            y_pred: ``(B, ..., C)`` float32 logits, or ``(B, ..., 1)`` of two classes.

        Returns:
            ``(B, ...)`` float32.

        Raises:
            InputError: the shapes do not belong together, or there are other numbers of class weights and classes.
        """
        ids, logits = class_ids(y_true, y_pred), class_scores(y_pred)
        self._check(tuple(ids.shape), tuple(y_pred.shape))
        num_classes, is_binary = logits.shape[-1], y_pred.shape[-1] == 1
        counted = ops.ones_like(ids, "bool") if self._ignore_index is None else ops.not_equal(ids, self._ignore_index)
        known = ops.logical_and(ids >= 0, ids < num_classes)
        ids = ops.where(ops.logical_and(counted, known), ids, 0)
        mask = ops.cast(counted, "float32")
        log_p = ops.log_softmax(logits, axis=-1)
        if self._probability_clip is not None:
            log_p = ops.log(ops.clip(ops.exp(log_p), self._probability_clip, 1 - self._probability_clip))
        hits = ops.one_hot(ids, num_classes, dtype="float32") * mask[..., None]
        parts = []
        if "dice" in self._kind:
            first = 1 if is_binary else 0  # of one channel the score of class 1 alone
            parts.append(self._dice_part(ops.exp(log_p)[..., first:], hits[..., first:], mask))
        if self._kind != "dice":
            parts.append(self._per_pixel(log_p, hits, mask))
        # The mean of a part that is one number is that number at every pixel.
        loss = sum(parts) * ops.ones_like(mask)
        return ops.where(ops.logical_or(known, ops.logical_not(counted)), loss, math.nan)

    def _per_pixel(self, log_p: Any, hits: Any, mask: Any) -> Any:
        """Return cross-entropy or focal times each pixel's weight, scaled so that the mean is the weighted one."""
        hit = -ops.sum(hits * log_p, axis=-1)  # 0 where ignored
        ce = hit
        if self._label_smoothing:
            ce = (1 - self._label_smoothing) * hit - self._label_smoothing * ops.mean(log_p, axis=-1)
        if self._kind.startswith("focal"):
            doubt = ops.maximum(-ops.expm1(-hit), _LEAST_DOUBT)  # 1 - p_y without cancellation
            ce = self._focal.alpha * ops.power(doubt, self._focal.gamma) * ce
        weights = divisors = mask
        if self._class_weights is not None:
            weights = ops.sum(hits * ops.convert_to_tensor(self._class_weights.values, "float32"), axis=-1)
            divisors = weights if self._class_weights.normalized else mask
        return weights * ce * ops.divide_no_nan(ops.sum(ops.ones_like(mask)), ops.sum(divisors))

    def _dice_part(self, p: Any, hits: Any, mask: Any) -> Any:
        pixels = tuple(range(len(mask.shape)))
        true_positive = ops.sum(p * hits, axis=pixels)
        false_positive = ops.sum(p * mask[..., None], axis=pixels) - true_positive
        false_negative = ops.sum(hits, axis=pixels) - true_positive
        beta2 = self._dice.beta**2
        agreed = (1 + beta2) * true_positive + self._dice.smooth
        return 1 - ops.mean(agreed / (agreed + beta2 * false_negative + false_positive))

    def _check(self, ids: tuple[int | None, ...], logits: tuple[int | None, ...]) -> None:
        differ = any(None not in (a, b) and a != b for a, b in zip(ids, logits[:-1], strict=False))
        if len(ids) != len(logits) - 1 or differ:
            raise InputError(f"labels are {ids} and logits {logits}; labels must be {logits[:-1]}, one id for a pixel.")
        if logits[-1] is None:
            raise InputError("the model does not say how many logits a pixel has; it needs one for each class.")
        num_classes = num_classes_of(logits[-1])
        if self._class_weights is not None and len(self._class_weights.values) != num_classes:
            raise InputError(
                f"there are {len(self._class_weights.values)} class_weights for {counted(num_classes, 'class')}."
            )


def _require(name: str, value: object, good: bool, accepted: str) -> None:
    if not good:
        raise InputError(f"{name} must be {accepted}, got {value}.")
