"""Train segmentation models with Keras: data, augmentation, schedules, and the fit with its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg._internal.lazy import lazy_names

if TYPE_CHECKING:
    from edgeseg.training.config import TrainConfig
    from edgeseg.training.data.augment import Augmentation
    from edgeseg.training.fit import TrainResult, train
    from edgeseg.training.objective.losses import ClassWeights, Dice, Focal, SegmentationLoss
    from edgeseg.training.objective.metrics import ClassIoU, FScore, MeanIoU, PixelAccuracy
    from edgeseg.training.objective.schedules import EpochSchedule, LearningRateCurve
    from edgeseg.training.recipes.recipe import Recipe
    from edgeseg.training.run.options import RunOptions

__all__ = [
    # what to call, with what, and what comes back
    "train",
    "TrainConfig",
    "Recipe",
    "RunOptions",
    "TrainResult",
    "Augmentation",
    # for a compile() of one's own
    "SegmentationLoss",
    "ClassWeights",
    "Focal",
    "Dice",
    "EpochSchedule",
    "LearningRateCurve",
    "ClassIoU",
    "FScore",
    "MeanIoU",
    "PixelAccuracy",
]

# Their modules import keras or OpenCV: they are loaded on first use, so that the command line starts quickly.
_LAZY = {
    "train": "edgeseg.training.fit",
    "TrainConfig": "edgeseg.training.config",
    "Recipe": "edgeseg.training.recipes.recipe",
    "RunOptions": "edgeseg.training.run.options",
    "TrainResult": "edgeseg.training.fit",
    "Augmentation": "edgeseg.training.data.augment",
    "SegmentationLoss": "edgeseg.training.objective.losses",
    "ClassWeights": "edgeseg.training.objective.losses",
    "Focal": "edgeseg.training.objective.losses",
    "Dice": "edgeseg.training.objective.losses",
    "EpochSchedule": "edgeseg.training.objective.schedules",
    "LearningRateCurve": "edgeseg.training.objective.schedules",
    "ClassIoU": "edgeseg.training.objective.metrics",
    "FScore": "edgeseg.training.objective.metrics",
    "MeanIoU": "edgeseg.training.objective.metrics",
    "PixelAccuracy": "edgeseg.training.objective.metrics",
}

__getattr__, __dir__ = lazy_names(__name__, _LAZY, extras=dict.fromkeys(_LAZY, "train"))
