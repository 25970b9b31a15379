from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseg.datasets import Classes, LabeledSplit, open_split
from edgeseg.errors import InputError
from edgeseg.spec import ModelSpec, default_palette
from edgeseg.training.data.augment import IGNORED, Augmentation
from edgeseg.training.data.cache import CachedPairs, Pairs
from edgeseg.training.data.pipeline import BatchOrder, training_pipeline, validation_batches

Batch = tuple[np.ndarray, ...]
CROPS = Augmentation(size=(32, 48))
PLAIN = Augmentation(size=(64, 80), scale=(1.0, 1.0), flip=0.0, hsv=(0.0, 0.0, 0.0))


@pytest.fixture
def data(shapes_dataset: Path) -> LabeledSplit:
    return open_split(shapes_dataset, "train")


class _Memory(LabeledSplit):
    """Labels that are given instead of read; the images are black."""

    def __init__(self, classes: Classes, labels: list[np.ndarray]) -> None:
        super().__init__(classes, ())
        object.__setattr__(self, "_labels", labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        label = self._labels[index]
        return np.zeros((*label.shape, 3), np.uint8), label


def take(
    data: Pairs,
    spec: ModelSpec,
    count: int,
    *,
    augmentation: Augmentation = CROPS,
    seed: int = 7,
    start_epoch: int = 0,
    **options: Any,
) -> list[Batch]:
    """The first batches of three images; ten images make three of them an epoch."""
    order = BatchOrder(batch_size=3, seed=seed, start_epoch=start_epoch)
    pipeline, steps = training_pipeline(data, spec, augmentation, order, **options)
    assert steps == 3
    return list(itertools.islice(pipeline, count))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return all((x == y).all() for a, b in zip(one, other, strict=True) for x, y in zip(a, b, strict=True))


def shown(batches: list[Batch], data: LabeledSplit) -> list[int]:
    """Which images of the split the unaugmented labels of some batches are, in order."""
    labels = [data[index][1] for index in range(len(data))]
    return [next(i for i, label in enumerate(labels) if (label == ids).all()) for _, batch in batches for ids in batch]


def test_a_batch_has_the_promised_arrays(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    images, labels = take(data, tiny_spec, 1)[0]
    assert (images.shape, images.dtype) == ((3, 32, 48, 3), np.float32)
    assert (labels.shape, labels.dtype) == ((3, 32, 48), np.uint8)
    assert -1 <= images.min() < 0 < images.max() <= 1  # (pixel - 127.5) / 127.5


def test_labels_keep_the_classes_and_the_ignored_id(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    ids_seen: set[int] = set()
    for _, labels in take(data, tiny_spec, 6, augmentation=Augmentation(size=(96, 96))):
        ids_seen |= set(np.unique(labels).tolist())
    assert ids_seen == {0, 1, 2, IGNORED}


def test_each_output_gets_labels_of_its_size(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    """The same ids as the full map's, every second or fourth of them; a tuple, or a dict, as the model wants."""
    ((images, full),) = take(data, tiny_spec, 1)
    ((_, one),) = take(data, tiny_spec, 1, label_sizes=(16, 24))
    ((_, several),) = take(data, tiny_spec, 1, label_sizes=[(32, 48), (16, 24), (8, 12)])
    ((_, named),) = take(data, tiny_spec, 1, label_sizes={"main": (32, 48), "side": (16, 24)})
    assert images.shape == (3, 32, 48, 3)
    assert isinstance(several, tuple)
    assert (several[0] == full).all()
    assert (several[1] == one).all()
    assert several[2].shape == (3, 8, 12)
    assert list(named) == ["main", "side"]
    assert (named["main"] == full).all()
    assert (named["side"] == one).all()
    # The nearest of two neighbors is one of them.
    assert ((one == full[:, ::2, ::2]) | (one == full[:, 1::2, 1::2])).all()
    (batch,) = validation_batches(open_split(data.pairs[0][0].parents[2], "val"), tiny_spec, 4, label_sizes=[(8, 12)])
    assert batch[1][0].shape == (4, 8, 12)


def test_validation_can_be_of_some_images(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    whole = [image for images, _ in validation_batches(data, tiny_spec, 4) for image in images]
    assert len(whole) == 10
    some = [image for images, _ in validation_batches(data, tiny_spec, 2, indices=(7, 0, 3)) for image in images]
    np.testing.assert_array_equal(some, [whole[7], whole[0], whole[3]])


def test_another_ignored_id_becomes_the_pipelines(tiny_spec: ModelSpec) -> None:
    label = np.zeros((64, 80), np.uint8)
    label[10:20] = 1
    one = _Memory(Classes(names=("a", "b", "c"), palette=((0, 0, 0),) * 3, ignore_index=1), [label])
    pipeline, _ = training_pipeline(one, tiny_spec, PLAIN, BatchOrder(batch_size=1, seed=0))
    _, labels = next(iter(pipeline))
    assert (labels[0, 10:20] == IGNORED).all()
    assert (labels[0, 20:] == 0).all()


def test_the_seed_decides_whatever_the_threads(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    first = take(data, tiny_spec, 7, num_threads=1)
    assert equal(first, take(data, tiny_spec, 7, num_threads=1))
    assert equal(first, take(data, tiny_spec, 7, num_threads=4))
    assert equal(first, take(data, tiny_spec, 7, num_threads=0))  # in the caller's thread
    assert equal(first, take(CachedPairs(data, 1 << 20), tiny_spec, 7))
    assert not equal(first, take(data, tiny_spec, 7, seed=8))


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_start_at_an_epoch_is_what_skipping_would_give(data: LabeledSplit, tiny_spec: ModelSpec, epoch: int) -> None:
    whole = take(data, tiny_spec, 3 * epoch + 4)
    assert equal(whole[3 * epoch :], take(data, tiny_spec, 4, start_epoch=epoch))


def test_epochs_differ_in_order_and_in_augmentation(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    batches = take(data, tiny_spec, 6, augmentation=PLAIN)
    first, second = shown(batches[:3], data), shown(batches[3:], data)
    assert first != second
    for epoch in (first, second):  # nine different ones; the tenth is dropped with its unfinished batch
        assert len(set(epoch)) == 9
    left_out = {
        frozenset(range(10)) - set(shown(take(data, tiny_spec, 3, augmentation=PLAIN, start_epoch=e), data))
        for e in range(6)
    }
    assert len(left_out) > 1  # and it is not always the same one


def test_the_same_image_is_augmented_anew_in_each_epoch(tiny_spec: ModelSpec) -> None:
    label = np.arange(64 * 80).reshape(64, 80).astype(np.uint8) % 3
    one = _Memory(Classes(names=("a", "b", "c"), palette=((0, 0, 0),) * 3, ignore_index=None), [label])
    pipeline, steps = training_pipeline(one, tiny_spec, CROPS, BatchOrder(batch_size=1, seed=0))
    assert steps == 1
    assert len({labels.tobytes() for _, labels in itertools.islice(pipeline, 8)}) == 8


def test_a_repeated_image_comes_that_often_in_an_epoch_each_time_anew(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    order = BatchOrder(batch_size=5, seed=7, repeat=3)
    plain, steps = training_pipeline(data, tiny_spec, PLAIN, order)
    assert steps == 6
    epoch = shown(list(itertools.islice(plain, steps)), data)
    assert sorted(epoch) == sorted([*range(10)] * 3)
    augmented, _ = training_pipeline(data, tiny_spec, CROPS, order)
    images = [image.tobytes() for batch, _ in itertools.islice(augmented, steps) for image in batch]
    assert len(set(images)) == 30
    _, steps = training_pipeline(data, tiny_spec, PLAIN, BatchOrder(batch_size=25, seed=7, repeat=3))
    assert steps == 1  # a batch may have more than there are images


@pytest.mark.parametrize("start_epoch", [0, 2])
def test_the_shares_of_two_workers_are_the_batches_of_one(
    data: LabeledSplit, tiny_spec: ModelSpec, start_epoch: int
) -> None:
    order = BatchOrder(batch_size=4, seed=7, start_epoch=start_epoch)
    whole, _ = training_pipeline(data, tiny_spec, CROPS, order)
    parts = [
        training_pipeline(data, tiny_spec, CROPS, dataclasses.replace(order, worker=worker, num_workers=2))[0]
        for worker in range(2)
    ]
    for batch, first, second in itertools.islice(zip(whole, *parts, strict=False), 5):
        for both, one, other in zip(batch, first, second, strict=True):
            np.testing.assert_array_equal(both, np.concatenate([one, other]))


def test_the_id_that_is_ignored_is_no_class(tiny_spec: ModelSpec) -> None:
    names = tuple(map(str, range(256)))
    many = _Memory(Classes(names=names, palette=((0, 0, 0),) * 256, ignore_index=None), [np.zeros((8, 8), np.uint8)])
    with pytest.raises(InputError, match="256 classes; training takes 255"):
        training_pipeline(many, tiny_spec, PLAIN, BatchOrder(batch_size=1, seed=0))


def test_fewer_images_than_a_batch_is_an_input_error(data: LabeledSplit, tiny_spec: ModelSpec) -> None:
    with pytest.raises(InputError, match=r"10 images, fewer than the batch size 11; .* `repeat=2` uses"):
        training_pipeline(data, tiny_spec, PLAIN, BatchOrder(batch_size=11, seed=0))


def test_a_broken_image_is_an_input_error_in_the_callers_thread(
    shapes_dataset: Path, tmp_path: Path, tiny_spec: ModelSpec
) -> None:
    root = Path(shutil.copytree(shapes_dataset, tmp_path / "data"))
    (root / "train" / "images" / "04.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"04\.png"):
        take(open_split(root, "train"), tiny_spec, 30)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_validation_shows_each_image_once(shapes_dataset: Path, tiny_spec: ModelSpec, batch_size: int) -> None:
    data = open_split(shapes_dataset, "val")
    spec = tiny_spec.replace(input_size=(64, 80))
    batches = list(validation_batches(data, spec, batch_size))
    labels = np.concatenate([labels for _, labels in batches])
    images = np.concatenate([images for images, _ in batches])
    assert (images.dtype, labels.dtype) == (np.float32, np.uint8)
    for index in range(4):  # in the order of the split, at their own size: nothing is changed
        image, label = data[index]
        assert (labels[index] == label).all()
        np.testing.assert_allclose(images[index] * 127.5 + 127.5, image, atol=1e-4)
    assert len(images) == len(labels) == 4


def test_validation_ignores_the_letterbox_bars(tiny_spec: ModelSpec) -> None:
    # A square of 16 in an input of 32x48: enlarged twice, with bars of 8 at both sides.
    label = np.random.default_rng(0).integers(0, 3, (16, 16), dtype=np.uint8)
    classes = Classes(names=("a", "b", "c"), palette=((0, 0, 0),) * 3, ignore_index=None)
    ((images, labels),) = validation_batches(_Memory(classes, [label]), tiny_spec, 2)
    assert (labels[0, :, :8] == IGNORED).all()
    assert (labels[0, :, 40:] == IGNORED).all()
    assert (labels[0, :, 8:40] == np.kron(label, np.ones((2, 2), np.uint8))).all()
    assert (images[0, :, 8:40] == -1).all()
    assert images[0, 0, 0].tolist() == pytest.approx([0.5 / 127.5] * 3)


def test_validation_turns_another_ignored_id_into_the_pipelines(tiny_spec: ModelSpec) -> None:
    label = np.full((32, 48), 9, np.uint8)
    label[:16] = 2
    classes = Classes(names=("a", "b", "c"), palette=((0, 0, 0),) * 3, ignore_index=9)
    ((_, labels),) = validation_batches(_Memory(classes, [label]), tiny_spec, 1)
    assert (labels[0, :16] == 2).all()
    assert (labels[0, 16:] == IGNORED).all()


def test_weights_say_how_often_each_image_is_drawn(tiny_spec: ModelSpec) -> None:
    """The label of an image is its number; a run that begins later draws what the whole run drew then."""
    classes = Classes(names=("a", "b", "c", "d"), palette=default_palette(4), ignore_index=None)
    data = _Memory(classes, [np.full((64, 80), number, np.uint8) for number in range(4)])
    order = BatchOrder(batch_size=4, seed=0, repeat=50, weights=np.array([0.5, 0.4, 0.1, 0.0]))

    def drawn(count: int, start_epoch: int = 0) -> list[int]:
        later = dataclasses.replace(order, start_epoch=start_epoch)
        batches, steps = training_pipeline(data, tiny_spec, PLAIN, later)
        assert steps == 50
        return [int(label[0, 0]) for _, labels in itertools.islice(batches, count) for label in labels]

    epochs = drawn(100)
    counts = np.bincount(epochs[:200], minlength=4)
    assert abs(counts - [100, 80, 20, 0]).max() <= 30, "4 standard deviations of 200 draws at most"
    assert counts[3] == 0
    assert drawn(50, start_epoch=1) == epochs[200:]
