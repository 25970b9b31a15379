from __future__ import annotations

import colorsys

import numpy as np
import pytest

from edgeseg.drawing.palette import (
    SCENE_CONTRAST,
    SCENES,
    drawing_palette,
    from_oklab,
    scene_contrast,
    to_oklab,
)
from edgeseg.spec import Color, default_palette


def _colors(text: str) -> tuple[Color, ...]:
    return tuple((int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)) for word in text.split())


CAMVID = _colors("808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0")
CITYSCAPES = _colors(
    "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64 "
    "005064 0000e6 770b20"
)
ADE20K = _colors(
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 "
    "ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff "
    "08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff "
    "eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff "
    "0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad "
    "0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 "
    "00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa "
    "8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 "
    "ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff "
    "00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff"
)  # fmt: skip

#: A palette, and what two of its classes differ by at least. An eye tells 0.02 apart side by side: a map of 21 classes
#: has six times that, of ADE20K's 150 more than twice.
PALETTES = {
    "camvid": (CAMVID, 0.12),
    "cityscapes": (CITYSCAPES, 0.12),
    "voc": (default_palette(21), 0.12),
    "ade20k": (ADE20K, 0.05),
    "all of 256": (default_palette(256), 0.04),
    "one color for all": (((5, 5, 5),) * 19, 0.12),
}


def _between(palette: tuple[Color, ...]) -> float:
    """The smallest distance between two classes."""
    lab = to_oklab(np.array(palette))
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return float(distances[~np.eye(len(lab), dtype=bool)].min())


@pytest.mark.parametrize(("palette", "between"), PALETTES.values(), ids=PALETTES)
def test_classes_are_seen_on_every_scene_and_told_apart(palette: tuple[Color, ...], between: float) -> None:
    drawn = drawing_palette(palette)
    assert len(drawn) == len(palette)
    assert scene_contrast(np.array(drawn)).min() >= SCENE_CONTRAST
    assert _between(drawn) >= between
    # What the label files' colors lack is the reason for all this.
    assert scene_contrast(np.array(palette)).min() < SCENE_CONTRAST
    assert _between(palette) < between


def test_the_contrast_is_that_of_the_overlay() -> None:
    # (51, 51, 13) over (32, 32, 32): 0.6 of CamVid's pedestrian, 0.4 of a dark scene.
    pedestrian = np.linalg.norm(to_oklab(np.array([51.2, 51.2, 12.8])) - to_oklab(np.array([32, 32, 32])))
    assert scene_contrast(np.array([64, 64, 0])) <= pedestrian
    assert (scene_contrast(np.stack([SCENES] * 3, axis=-1)) < 1e-3).all()  # a gray is not seen on itself


@pytest.mark.parametrize(("palette", "most"), [(CAMVID, 0.1), (default_palette(21), 0.2)], ids=["camvid", "voc"])
def test_a_class_keeps_its_hue(palette: tuple[Color, ...], most: float) -> None:
    for before, after in zip(palette, drawing_palette(palette), strict=True):
        hue, saturation, _ = colorsys.rgb_to_hsv(*before)
        if saturation > 0.3:
            turn = abs(colorsys.rgb_to_hsv(*after)[0] - hue)
            # Of the color circle: VOC has five greens, and the last of them turns yellowish or bluish.
            assert min(turn, 1 - turn) < most, (before, after)


def test_a_class_keeps_its_color_when_classes_are_added() -> None:
    assert drawing_palette(CAMVID)[:5] == drawing_palette(CAMVID[:5])


def test_oklab_is_that_of_its_author() -> None:
    # From the table of his post, for the sRGB white and red of CSS Color 4.
    np.testing.assert_allclose(to_oklab(np.array([255, 255, 255])), [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(to_oklab(np.array([255, 0, 0])), [0.628, 0.225, 0.126], atol=1e-3)
    colors = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    assert np.abs(from_oklab(to_oklab(colors)).astype(int) - colors).max() <= 1  # rounding
