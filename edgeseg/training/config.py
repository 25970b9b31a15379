"""What a training run depends on, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeseg.datasets import DataSource
from edgeseg.errors import InputError

ClassWeights = Literal["none", "sqrt-median-frequency"]

#: Architectures whose encoder has ImageNet weights, for ``--encoder-weights imagenet``.
IMAGENET_ENCODERS = ("efficientnet_lite0_unet",)


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on; two runs of one config on one machine give one model.

    Attributes:
        model: a name of the zoo.
        data: labelled data set with ``train`` and ``val``; a folder, or a folder and what to know about it.
        input_size: ``(H, W)`` the model is made for and validated at; the zoo's default when ``None``.
        crop_size: ``(H, W)`` of the training crops; ``input_size`` when ``None``.
        epochs: passes over the training split.
        batch_size: crops in a step.
        learning_rate: peak, reached after the warm-up, then cosine to zero.
        warmup_epochs: epochs of linear warm-up.
        weight_decay: of AdamW; biases and batch-norm parameters are exempt.
        scale: smallest and largest augmentation scale.
        class_weights: how the cross-entropy weighs the classes.
        batch_norm_momentum: of the moving averages. Keras' 0.99 needs thousands of steps; with fewer the
            exported model collapses while the training loss looks fine.
        encoder_weights: ``imagenet`` starts from a pretrained encoder where the zoo knows one.
        seed: of the weights, the order and the augmentation.
    """

    model: str
    data: str | DataSource
    input_size: tuple[int, int] | None = None
    crop_size: tuple[int, int] | None = None
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup_epochs: int = 2
    weight_decay: float = 0.02
    scale: tuple[float, float] = (0.6, 1.6)
    class_weights: ClassWeights = "sqrt-median-frequency"
    batch_norm_momentum: float = 0.9
    encoder_weights: Literal["none", "imagenet"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}.")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(f"warmup_epochs must be 0 to {self.epochs - 1}, got {self.warmup_epochs}.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale must be (smallest, largest), both above 0, got {self.scale}.")
        if self.encoder_weights == "imagenet" and self.model not in IMAGENET_ENCODERS:
            raise InputError(f"there are ImageNet weights for {', '.join(IMAGENET_ENCODERS)}, not for '{self.model}'.")
