"""The five tutorials, row by row: a test for each of their steps, and the table of the documentation made from it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edgeseg.training.recipes.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "from-tutorials"


class Row(NamedTuple):
    """A step of a tutorial, what does it here, what differs at most, and the test that compares."""

    step: str
    tutorial: str
    here: str
    difference: str
    test: str


ROWS = (
    Row(
        "recipe",
        "all",
        "`--recipe NAME`: Adam 1e-4, 0.96 an epoch, 512x512, batch 4, 100 epochs, and what the others give",
        "none",
        "tests/test_tutorials.py::test_a_recipe_has_the_numbers_of_its_tutorial",
    ),
    Row(
        "recipe in use",
        "all",
        "one epoch by each recipe, exported and proven",
        "none",
        "tests/edgeseg/cli/test_tutorial_recipes.py::test_a_recipe_trains_and_its_model_is_exported",
    ),
    Row(
        "settings of a run",
        "all",
        "`train.toml`, and the same weights from it",
        "none",
        "tests/edgeseg/cli/test_recipes.py::test_a_run_writes_the_recipe_that_repeats_it_bit_for_bit",
    ),
    Row(
        "encoder's files of Keras 3",
        "all",
        "`--encoder-weights FILE`",
        "1e-4 of the features",
        "tests/edgeseg/models/encoders/test_load.py::test_an_encoder_of_keras_3_computes_what_it_did",
    ),
    Row(
        "encoder's files of Keras 2, without top",
        "all",
        "the same, tensor by tensor",
        "none",
        "tests/edgeseg/models/encoders/test_load.py::test_an_encoder_of_keras_2_is_taken_tensor_by_tensor",
    ),
    Row(
        "ImageNet by download",
        "U-Net, DeepLab",
        "`--encoder-weights imagenet`",
        "none",
        "tests/edgeseg/models/encoders/test_load.py::test_imagenet_is_downloaded_through_keras_applications",
    ),
    Row(
        "backbone file",
        "HRNet",
        "`--encoder-weights FILE`",
        "none",
        "tests/edgeseg/models/encoders/test_load.py::test_hrnets_own_trunk_is_taken_from_a_model_with_other_classes",
    ),
    Row(
        "level and number of upsamplings",
        "SegNet",
        "`--model-option encoder_level=3`, `n_up=3`",
        "none",
        "tests/edgeseg/models/zoo/test_segnet.py::test_resnet50_segnet_takes_other_levels",
    ),
    Row(
        "flat output",
        "SegNet",
        "`--model-option flatten=true`, exported as the map",
        "none",
        "tests/edgeseg/models/zoo/test_segnet.py::test_resnet50_segnet_flat_is_the_map_in_row_order",
    ),
    Row(
        "weights of the tutorial's own code",
        "DeepLab",
        "`--weights FILE`, nested trunk and biases",
        "1e-5 of the logits",
        "tests/edgeseg/models/zoo/test_deeplab_tutorial.py::test_weights_with_the_options_of_the_tutorial_give_its_logits",
    ),
    Row(
        "transposed convolutions in the decoder",
        "DeepLab",
        "`--model-option upsampling=transposed`",
        "its size is not in the tutorial",
        "tests/converters/test_zoo_export.py::test_a_decoder_of_transposed_convolutions_is_proven",
    ),
    Row(
        "VGG-16 and ResNet-101 as trunks",
        "DeepLab",
        "`deeplabv3plus_vgg16`, `deeplabv3plus_resnet101`",
        "1e-5 of the features",
        "tests/edgeseg/models/zoo/backbones/test_encoders.py::test_dilated_resnets_have_every_feature_of_keras_applications",
    ),
    Row(
        "frozen for the whole run",
        "DeepLab",
        "`--freeze-epochs all`",
        "none",
        "tests/edgeseg/training/test_run_choices.py::test_an_encoder_frozen_for_good_is_what_it_was",
    ),
    Row(
        "`Images/`, `Labels/`, `ImageSets/`",
        "U-Net",
        "found in letters of any case",
        "none",
        "tests/edgeseg/datasets/test_layouts.py::test_names_of_folders_and_splits_may_be_in_any_letters",
    ),
    Row(
        "`train.txt` alone",
        "U-Net",
        "`--val-fraction 0.1`, `--no-val`, `data split --val 0.1`",
        "none",
        "tests/edgeseg/cli/test_train_cli.py::test_data_with_train_alone_is_trained_on_with_and_without_validation",
    ),
    Row(
        "dark is class 1",
        "U-Net",
        "`--label-encoding binary-dark`, which must be said",
        "none",
        "tests/edgeseg/datasets/test_labels.py::test_binary_masks_are_thresholded_either_way",
    ),
    Row(
        "VOC's colors",
        "notes, HRNet",
        "`--classes voc`; the outline is ignored",
        "0 pixels",
        "tests/edgeseg/datasets/test_labels.py::test_vocs_outline_is_ignored_and_otherwise_counted",
    ),
    Row(
        "`f_score`",
        "U-Net",
        "`--metric f-score`, over the epoch and not by batches",
        "1e-6",
        "tests/edgeseg/training/objective/test_metrics.py::test_the_f_score_counts_what_is_above_the_threshold",
    ),
    Row(
        "`ModelCheckpoint(ep{epoch}-loss{loss})`",
        "U-Net",
        "`--save-every 1`",
        "none",
        "tests/edgeseg/training/test_run_choices.py::test_the_names_of_kept_models_say_epoch_and_losses",
    ),
    Row(
        "`EarlyStopping(monitor='loss')`",
        "U-Net",
        "`--early-stopping 10 --early-stopping-on loss`",
        "none",
        "tests/edgeseg/training/test_run_choices.py::test_early_stopping_knows_what_is_better",
    ),
    Row(
        "learning rate of an epoch",
        "U-Net, notes",
        "its own row of `history.csv`",
        "none",
        "tests/edgeseg/training/test_run_choices.py::test_the_row_of_an_epoch_has_its_own_learning_rate",
    ),
    Row(
        "warm-up",
        "notes",
        "`--warmup staircase --warmup-epochs 5`",
        "1e-6",
        "tests/edgeseg/training/objective/test_schedules.py::test_the_curve",
    ),
    Row(
        "`CE(cls_weights)`",
        "U-Net",
        "`--no-class-weight-normalization`",
        "2e-6; ignored pixels are in its mean and not in ours",
        "tests/edgeseg/training/objective/test_tutorial_losses.py::test_weights_are_not_divided_by_their_sum_where_that_is_off",
    ),
    Row(
        "`dice_loss_with_CE`",
        "HRNet",
        "`--loss cross-entropy+dice`",
        "2e-6",
        "tests/edgeseg/training/objective/test_tutorial_losses.py::test_dice_with_cross_entropy",
    ),
    Row(
        "`K.clip(p, 1e-7, ...)`",
        "U-Net, HRNet",
        "`--probability-clip 1e-7`; without it a surely wrong pixel costs 70.5, with it 16.1",
        "none",
        "tests/edgeseg/training/objective/test_tutorial_losses.py::test_a_surely_wrong_pixel_costs_its_logits_or_what_the_clip_leaves",
    ),
    Row(
        "`binary_crossentropy`, one channel",
        "notes",
        "`--loss binary_crossentropy`",
        "2e-6",
        "tests/edgeseg/training/objective/test_tutorial_losses.py::test_binary_cross_entropy_is_keras_own",
    ),
    Row(
        "a loss and a weight for each output",
        "notes",
        "`--loss a=...,b=...`, `--output-weights a=1,b=0.2`",
        "none",
        "tests/edgeseg/training/test_output_losses.py::test_losses_are_given_by_the_names_of_the_outputs",
    ),
    Row(
        "`optimizer='rmsprop'`",
        "notes",
        "`--optimizer rmsprop`",
        "none",
        "tests/edgeseg/training/objective/test_optimizers.py::test_rmsprop_is_keras_own_as_it_is_compiled_by_name",
    ),
    Row(
        "`get_random_data`, `ImageDataGenerator`",
        "U-Net, HRNet, notes",
        "`--augmentation unet`, `hrnet`, `notes`",
        "quantiles of 20,000 draws",
        "tests/edgeseg/training/data/test_tutorial_draws.py::test_a_preset_draws_as_its_tutorial",
    ),
    Row(
        "its colors",
        "U-Net",
        "the same",
        "0.5 gray levels",
        "tests/edgeseg/training/data/test_tutorial_draws.py::test_the_unet_colors_are_the_tutorials",
    ),
    Row(
        "shifts and borders",
        "notes",
        "`--shift 0.1 --border repeat`",
        "none",
        "tests/edgeseg/training/data/test_tutorial_draws.py::test_the_notes_transform_is_image_data_generators",
    ),
    Row(
        "`Image.BICUBIC`",
        "U-Net, HRNet",
        "`--resize bicubic-antialias`",
        "1 gray level",
        "tests/edgeseg/_internal/test_resampling.py::test_it_is_pillows",
    ),
    Row(
        "`nw = int(iw * scale)`",
        "U-Net, HRNet",
        "`--letterbox-rounding floor`",
        "0 pixels",
        "tests/edgeseg/_internal/test_resampling.py::test_the_tutorials_letterbox",
    ),
    Row(
        "`featurewise_center`, `featurewise_std_normalization`",
        "notes",
        "`--mean data --std data`",
        "0.005 gray levels",
        "tests/edgeseg/datasets/test_statistics.py::test_they_are_those_of_image_data_generator",
    ),
)


def table() -> str:
    """The rows in Markdown, as docs/from-tutorials/README.md has them."""
    return "\n".join(
        f"| {row.step} | {row.tutorial} | {row.here} | {row.difference} | {_link(row.test)} |" for row in ROWS
    )


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../../{path})"


def test_the_page_has_the_rows() -> None:
    """``python tests/test_tutorials.py`` prints them."""
    assert table() in (PAGES / "README.md").read_text()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.step)
def test_a_row_has_its_test(row: Row) -> None:
    path, _, name = row.test.partition("::")
    functions = [node for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
    (function,) = (function for function in functions if function.name == name)
    compared = [node for node in ast.walk(function) if isinstance(node, ast.Assert | ast.Call)]
    assert any(isinstance(node, ast.Assert) or "assert" in ast.unparse(node.func) for node in compared)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("segnet-tutorial", {"model": "resnet50_segnet", "input_size": (416, 416), "loss": "cross-entropy"}),
        (
            "hrnet-tutorial",
            {"input_size": (480, 480), "loss": "cross-entropy+dice", "dice_beta": 1.0, "dice_smooth": 1e-5},
        ),
        ("deeplab-tutorial", {"input_size": (320, 320), "freeze_epochs": "all", "encoder_weights": "imagenet"}),
        (
            "unet-tutorial",
            {
                "model": "mobilenet_unet",
                "input_size": (512, 512),
                "optimizer": "adam",
                "learning_rate": 1e-4,
                "schedule": "exponential",
                "decay_rate": 0.96,
                "num_warmup_epochs": 0,
                "batch_size": 4,
                "epochs": 100,
                "early_stopping": 10,
                "early_stopping_on": "loss",
                "augmentation": "unet",
                "resize": "bicubic-antialias",
                "letterbox_rounding": "floor",
                "probability_clip": 1e-7,
                "mean": (127.5,) * 3,
                "std": (127.5,) * 3,
            },
        ),
        ("notes-tutorial", {"epochs": 50, "optimizer": "rmsprop", "warmup": "staircase", "num_warmup_epochs": 5}),
    ],
)
def test_a_recipe_has_the_numbers_of_its_tutorial(name: str, settings: dict[str, Any]) -> None:
    config = Recipe.open(name).config(data="d")
    assert {key: getattr(config, key) for key in settings} == settings
    assert name in (PAGES / "README.md").read_text()


def test_several_inputs_and_outputs_run_as_the_page_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / "notes.md").read_text(), re.S)
    (example,) = (block for block in blocks if "feed=" in block)
    names: dict[str, Any] = {}
    exec(compile(example, "notes.md", "exec"), names)
    row = names["result"].history[-1]
    assert row["loss"] == pytest.approx(row["pred1_loss"] + 0.2 * row["pred2_loss"] + 0.2 * row["pred3_loss"], rel=1e-4)
    assert (tmp_path / "run" / "best.keras").is_file()


if __name__ == "__main__":
    print(table())
