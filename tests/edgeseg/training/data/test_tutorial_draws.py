"""``color`` and ``geometry``: the presets of the tutorials draw what the tutorials draw, and do with it what they do.

Each tutorial's formula is typed again here, in numpy and for many draws at once; its names are kept where it has any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.choices import AugmentationPreset
from edgeseg.training.data.augment import IGNORED, Augmentation, Draw
from edgeseg.training.data.color import ColorChange, change_colors

COUNT = 20_000
Columns = dict[str, NDArray[Any]]


def assert_same_distribution(ours: NDArray[Any], theirs: NDArray[Any], slack: float = 0.0) -> None:
    """Compare quantiles: ours of a share p lies between theirs of slightly smaller and larger shares.

    The shares of two samples below one value differ by sqrt(2 p (1 - p) / n) as a standard deviation; four are allowed.
    """
    for share in (0.01, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99):
        margin = 4 * (2 * share * (1 - share) / COUNT) ** 0.5
        low, high = np.quantile(theirs.astype(float), [max(share - margin, 0), min(share + margin, 1)])
        value = np.quantile(ours.astype(float), share)
        assert low - slack <= value <= high + slack, (share, low, value, high)


def ours(preset: AugmentationPreset, size: tuple[int, int], image_hw: tuple[int, int], count: int = COUNT) -> Columns:
    augmentation, rng = Augmentation.preset(preset, size), np.random.default_rng(0)
    return columns([augmentation.draw(image_hw, rng) for _ in range(count)])


def columns(draws: Sequence[Draw]) -> Columns:
    values = [
        {
            "nh": draw.placement.scaled[0],
            "nw": draw.placement.scaled[1],
            "dy": -draw.placement.start[0],
            "dx": -draw.placement.start[1],
            "rotation": draw.placement.degrees,
            "row zoom": draw.placement.zoom[0],
            "column zoom": draw.placement.zoom[1],
            "row shift": draw.placement.shift[0],
            "column shift": draw.placement.shift[1],
            "flip": draw.flip,
            "blur": draw.blur,
            "hue": draw.color.hue,
            "sat": draw.color.saturation,
            "val": draw.color.value,
        }
        for draw in draws
    ]
    return {name: np.array([value[name] for value in values]) for name in values[0]}


def resized_and_placed(rng: np.random.Generator, size: tuple[int, int], aspect: float, scales: Any) -> Columns:
    """The U-Net and HRNet tutorials: scaled and warped, then pasted at a random place."""
    h, w = size
    rand_jit1, rand_jit2 = rng.uniform(0.7, 1.3, (2, COUNT))
    new_ar = aspect * rand_jit1 / rand_jit2
    scale = rng.uniform(*scales, COUNT)
    high = new_ar < 1
    nh, nw = np.trunc(scale * h), np.trunc(scale * w)
    nh, nw = np.where(high, nh, np.trunc(nw / new_ar)), np.where(high, np.trunc(nh * new_ar), nw)
    dx, dy = (np.trunc(rng.uniform(0, 1, COUNT) * (whole - side)) for whole, side in ((w, nw), (h, nh)))
    return {"nh": nh, "nw": nw, "dx": dx, "dy": dy, "flip": rng.random(COUNT) < 0.5}


def as_often_divided(rng: np.random.Generator, most: float) -> NDArray[Any]:
    factor = rng.uniform(1, most, COUNT)
    return np.where(rng.random(COUNT) < 0.5, factor, 1 / factor)


def unet_tutorial(size: tuple[int, int]) -> Columns:
    rng = np.random.default_rng(1)
    placed = resized_and_placed(rng, size, size[1] / size[0], (0.25, 2))
    colors = {
        "hue": rng.uniform(-0.1, 0.1, COUNT),
        "sat": as_often_divided(rng, 1.5),
        "val": as_often_divided(rng, 1.5),
    }
    nothing = {"rotation": np.zeros(COUNT), "blur": np.zeros(COUNT)}
    return {**placed, **colors, **nothing}


def hrnet_tutorial(size: tuple[int, int], image_hw: tuple[int, int]) -> Columns:
    rng = np.random.default_rng(1)
    placed = resized_and_placed(rng, size, image_hw[1] / image_hw[0], (0.5, 2))
    rotation = np.where(rng.random(COUNT) < 0.25, rng.integers(-10, 11, COUNT), 0)
    colors = {
        "hue": rng.uniform(-1, 1, COUNT) * 0.1,
        "sat": rng.uniform(-1, 1, COUNT) * 0.7 + 1,
        "val": rng.uniform(-1, 1, COUNT) * 0.3 + 1,
    }
    return {**placed, **colors, "rotation": rotation, "blur": rng.random(COUNT) < 0.25}


def notes(size: tuple[int, int]) -> Columns:
    """ImageDataGenerator's random transform of rotation_range=90, the shift ranges 0.1 and zoom_range=0.2."""
    rng = np.random.default_rng(1)
    zooms, shifts = rng.uniform(0.8, 1.2, (2, COUNT)), rng.uniform(-0.1, 0.1, (2, COUNT))
    nothing = {name: np.zeros(COUNT) for name in ("dx", "dy", "flip", "blur", "hue")}
    return {
        "rotation": rng.uniform(-90, 90, COUNT),
        "row zoom": zooms[0],
        "column zoom": zooms[1],
        "row shift": shifts[0] * size[0],
        "column shift": shifts[1] * size[1],
        "nh": np.full(COUNT, size[0]),
        "nw": np.full(COUNT, size[1]),
        **nothing,
    }


@pytest.mark.parametrize(
    ("preset", "size", "image_hw"),
    [
        ("unet", (256, 416), (600, 400)),
        ("hrnet", (256, 416), (500, 333)),
        ("notes", (200, 320), (512, 512)),
    ],
)
def test_a_preset_draws_as_its_tutorial(
    preset: AugmentationPreset, size: tuple[int, int], image_hw: tuple[int, int]
) -> None:
    tutorial = {"unet": unet_tutorial, "notes": notes}.get(preset)
    theirs = hrnet_tutorial(size, image_hw) if tutorial is None else tutorial(size)
    drawn = ours(preset, size, image_hw)
    for name, values in theirs.items():
        # A tutorial's int() never takes the last of the places where the image touches a side.
        assert_same_distribution(drawn[name], values, slack=1.0 if name in ("dx", "dy") else 1e-9)


def test_what_was_called_tutorial_draws_otherwise() -> None:
    """The comparison sees what the presets were made for."""
    drawn, theirs = ours("jitter", (256, 416), (600, 400), count=1000), unet_tutorial((256, 416))
    for name in ("nw", "sat", "val", "blur", "rotation"):
        with pytest.raises(AssertionError):
            assert_same_distribution(drawn[name], theirs[name])
    assert (drawn["sat"].min().round(1), drawn["sat"].max().round(1)) == (0.3, 1.7)


@pytest.mark.parametrize("size", [(96, 96), (64, 112)])
def test_the_image_lies_where_it_was_drawn(size: tuple[int, int]) -> None:
    """As pasted on gray: the box of what is not ignored."""
    augmentation = Augmentation.preset("unet", size, hsv=(0.0, 0.0, 0.0))
    image, label = np.zeros((60, 90, 3), np.uint8), np.zeros((60, 90), np.uint8)
    for seed in range(40):
        draw = augmentation.draw(label.shape, np.random.default_rng(seed))
        shown, ids = augmentation(image, label, np.random.default_rng(seed))
        expected = np.full(size, IGNORED, np.uint8)
        (top, left), (height, width) = draw.placement.start, draw.placement.scaled
        expected[max(0, -top) : height - top, max(0, -left) : width - left] = 0
        assert (ids == (expected[:, ::-1] if draw.flip else expected)).all()
        assert (shown[ids == IGNORED] == 128).all()


def test_the_notes_transform_is_image_data_generators() -> None:
    """Where each pixel comes from, read off a ramp: rotation times shift times zoom, at repeated borders."""
    side = 200
    rows, columns_ = np.indices((side, side)).astype(np.uint8)
    ramp = np.dstack([rows, columns_, rows])
    augmentation = Augmentation.preset("notes", (side, side))
    places = np.indices((side, side)).reshape(2, -1) - (side / 2 - 0.5)
    for seed in range(20):
        draw = augmentation.draw((side, side), np.random.default_rng(seed)).placement
        shown, ids = augmentation(ramp, rows, np.random.default_rng(seed))
        theta = np.radians(draw.degrees)
        rotation = np.array([[np.cos(theta), np.sin(theta)], [-np.sin(theta), np.cos(theta)]])
        zoomed = np.diag(draw.zoom) @ places + np.array(draw.shift)[:, None]
        sources = np.clip(rotation @ zoomed + (side / 2 - 0.5), 0, side - 1).reshape(2, side, side)
        # OpenCV places samples on a grid of 1/32 pixel, and a gray level is a pixel of the ramp.
        assert np.abs(shown[..., 0] - sources[0]).max() <= 0.6
        assert np.abs(shown[..., 1] - sources[1]).max() <= 0.6
        assert np.abs(ids - sources[0]).max() <= 0.6


def test_the_unet_colors_are_the_tutorials() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    rng, hues = np.random.default_rng(1), set()
    for _ in range(30):
        hue, sat, val = rng.uniform(-0.1, 0.1), rng.uniform(0.66, 1.5), rng.uniform(0.66, 1.5)
        x = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        x[..., 0] += np.float32(hue * 360)
        x[..., 0] = np.where(x[..., 0] > 1, x[..., 0] - 1, x[..., 0])
        x[..., 0] = np.where(x[..., 0] < 0, x[..., 0] + 1, x[..., 0])
        x[..., 1] *= np.float32(sat)
        x[..., 2] *= np.float32(val)
        x = np.clip(x, 0, np.array([360, 1, 1], np.float32))
        theirs = cv2.cvtColor(x, cv2.COLOR_HSV2RGB) * 255
        changed = change_colors(image, ColorChange(hue=hue, saturation=sat, value=val), "cut")
        # Theirs stay fractions; ours are whole gray levels.
        assert np.abs(changed - theirs).max() <= 0.501
        hues.add(float(x[..., 0].max()))
    assert 360.0 in hues  # cut, not wrapped


def test_the_hrnet_colors_are_the_tutorials() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    rng, x = np.random.default_rng(1), np.arange(256.0)
    for _ in range(30):
        r = rng.uniform(-1, 1, 3) * (0.1, 0.7, 0.3) + 1
        tables = [x * r[0] % 180, np.clip(x * r[1], 0, 255), np.clip(x * r[2], 0, 255)]
        channels = zip(cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)), tables, strict=True)
        merged = cv2.merge([cv2.LUT(channel, table.astype(np.uint8)) for channel, table in channels])
        change = ColorChange(hue=r[0] - 1, saturation=r[1], value=r[2])
        assert (change_colors(image, change, "times") == cv2.cvtColor(merged, cv2.COLOR_HSV2RGB)).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_shift_is_as_large_at_every_scale(scale: float) -> None:
    """A tenth of the result, read off the middle of a small square, which without a shift is in its middle."""
    label = np.zeros((101, 101), np.uint8)
    label[47:54, 47:54] = 1
    image = np.repeat(label[..., None], 3, axis=-1)
    size = (round(101 * scale), round(101 * scale))  # the scaled image fills the result: its place is no draw
    augmentation = Augmentation(size=size, scale=(scale, scale), shift=0.1, flip=0.0, hsv=(0.0, 0.0, 0.0))
    moved = []
    for seed in range(60):
        _, ids = augmentation(image, label, np.random.default_rng(seed))
        moved += [np.mean(where) - (side - 1) / 2 for where, side in zip(np.nonzero(ids == 1), size, strict=True)]
        assert (ids == IGNORED).any()
    # 120 draws of U(-0.1, 0.1) come within 5 % of its ends; rounding to pixels adds half a pixel.
    assert 0.093 * size[0] - 1 < max(moved) < 0.1 * size[0] + 1
    assert -0.1 * size[0] - 1 < min(moved) < -0.093 * size[0] + 1


@pytest.mark.parametrize(
    "changes", [{}, {"shift": 0.2}, {"zoom": 0.3}, {"rotate": 1.0}, {"elastic": 4.0, "shift": 0.1}]
)
def test_a_repeated_border_has_the_image_and_its_label_to_the_edges(changes: dict[str, Any]) -> None:
    """Of a small image that is white in its upper half, with class 2 there, and black below."""
    label = np.full((30, 40), 1, np.uint8)
    label[:15] = 2
    image = np.repeat(np.where(label == 2, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    settings: dict[str, Any] = {"scale": (1.0, 1.0), "hsv": (0.0, 0.0, 0.0), **changes}
    padded = Augmentation(size=(80, 90), **settings)
    repeated = Augmentation(size=(80, 90), border="repeat", **settings)
    for seed in range(20):
        shown, ids = repeated(image, label, np.random.default_rng(seed))
        _, ends = padded(image, label, np.random.default_rng(seed))
        assert (ends == IGNORED).any()
        assert set(np.unique(ids)) == {1, 2}
        assert (ids == ends)[ends != IGNORED].all()
        # Half a white pixel is nearest to white.
        assert ((shown[..., 0] > 127) == (ids == 2)).mean() > 0.97
