from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import EdgesegError, InputError
from edgeseg.imaging import preprocess
from edgeseg.spec import ModelSpec, Provenance, check_classes, default_class_names, default_palette


@pytest.fixture
def full_spec() -> ModelSpec:
    """No field at its default, but for the fit: the other one has no rounding."""
    return ModelSpec(
        name="straße",
        input_size=(96, 160),
        class_names=("a", "b"),
        palette=((1, 2, 3), (4, 5, 6)),
        ignore_index=7,
        layout="nchw",
        dtype="uint8",
        color_order="bgr",
        mean=(103.9, 116.8, 123.7),
        std=(1.0, 2.0, 3.0),
        fit="letterbox",
        resize="bicubic-antialias",
        letterbox_rounding="floor",
        pad_value=(9, 8, 7),
        output_kind="argmax",
        receptive_radius=(12, 16),
        bands=(4, 3, 2),
        band_range=(0.0, 3000.0, 0.0, 2500.0, -5.5, 2000.0),
        provenance=Provenance(
            source="x.keras",
            precision="fp16",
            target="gpu",
            rewrites=(("swap", 3), ("fold", 1)),
            tools={"keras": "3.15"},
            model_options={"output_stride": 8, "decoder_filters": (16, 8)},
        ),
    )


def test_json_gives_back_every_field(full_spec: ModelSpec) -> None:
    text = full_spec.to_json()
    assert "\n" not in text
    assert ModelSpec.from_json(text) == full_spec
    assert ModelSpec.from_json(text.encode()) == full_spec


def test_a_file_from_before_options_of_architectures_has_none(tiny_spec: ModelSpec) -> None:
    data = json.loads(tiny_spec.to_json())
    del data["provenance"]["model_options"]
    assert ModelSpec.from_json(json.dumps(data)) == tiny_spec


def test_a_file_from_before_the_radius_was_measured_has_none(full_spec: ModelSpec) -> None:
    data = json.loads(full_spec.to_json())
    assert ModelSpec.from_json(json.dumps({**data, "receptive_radius": "global"})).receptive_radius == "global"
    del data["receptive_radius"]
    assert ModelSpec.from_json(json.dumps(data)) == full_spec.replace(receptive_radius=None)


def test_a_file_from_before_bands_were_said_has_none(full_spec: ModelSpec) -> None:
    data = json.loads(full_spec.to_json())
    del data["bands"], data["band_range"]
    assert ModelSpec.from_json(json.dumps(data)) == full_spec.replace(bands=None, band_range=None)
    assert full_spec.rasters == "bands 4,3,2, values 0,3000,0,2500,-5.5,2000"
    assert full_spec.replace(bands=None, band_range=(0, 1)).rasters == "values 0,1"
    assert full_spec.replace(bands=None, band_range=None).rasters == ""


def test_a_newer_file_with_unknown_fields_is_read(tiny_spec: ModelSpec) -> None:
    data = json.loads(tiny_spec.to_json())
    data["camera"] = {"fov": 90}
    data["provenance"]["commit"] = "abc"
    assert ModelSpec.from_json(json.dumps(data)) == tiny_spec


def test_another_format_version_is_refused_with_what_to_do(tiny_spec: ModelSpec) -> None:
    data = json.loads(tiny_spec.to_json()) | {"format_version": 4}
    with pytest.raises(InputError, match=r"format version 4, this edgeseg reads 1, 2 and 3; update edgeseg"):
        ModelSpec.from_json(json.dumps(data))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("former", "resize"), [("linear", "bilinear"), ("cubic", "bicubic"), ("area", "area"), ("nearest", "nearest")]
)
def test_a_file_with_the_former_names_of_interpolations_is_read(
    tiny_spec: ModelSpec, version: int, former: str, resize: Any
) -> None:
    data = json.loads(tiny_spec.to_json()) | {"format_version": version, "resize": former}
    del data["letterbox_rounding"]
    assert ModelSpec.from_json(json.dumps(data)) == tiny_spec.replace(resize=resize)


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe\x00", "{", "null", "3", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "name": "x"}'],
)
def test_text_that_is_no_spec_is_an_input_error(text: str | bytes) -> None:
    with pytest.raises(InputError, match="not a ModelSpec"):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", 5),
        ("input_size", [0, 4]),
        ("input_size", ["a", "b"]),
        ("class_names", None),
        ("palette", [[0, 0, 0]]),
        ("palette", [[0, 0, 0], [0, 0, 0], [0, 0, 300]]),
        ("palette", [[0, 0, 0], [0, 0, 0], [0, 0]]),
        ("std", [1, 0, 1]),
        ("layout", "NHWC"),
        ("receptive_radius", "large"),
        ("receptive_radius", [3]),
        ("receptive_radius", [-1, 3]),
        ("receptive_radius", [3, 10**9]),
        ("bands", [1, 2]),
        ("bands", [1, 2, 70_000]),
        ("band_range", [0, 1e31]),
        ("band_range", []),
        ("fit", ["letterbox"]),
        ("provenance", []),
        ("provenance", None),
    ],
)
def test_a_damaged_field_is_an_input_error(tiny_spec: ModelSpec, key: str, value: Any) -> None:
    data = json.loads(tiny_spec.to_json()) | {key: value}
    with pytest.raises(InputError):
        ModelSpec.from_json(json.dumps(data))


def test_a_spec_that_is_altered_anywhere_is_read_or_refused(
    full_spec: ModelSpec, read_altered: Callable[..., tuple[int, int]]
) -> None:
    def read(text: str) -> None:
        spec = ModelSpec.from_json(text)
        assert ModelSpec.from_json(spec.to_json()) == spec
        tensor, _ = preprocess(np.full((8, 8, 3), 255, np.uint8), spec.replace(input_size=(8, 8)))
        assert np.isfinite(tensor).all()

    accepted, refused = read_altered(read, json.loads(full_spec.to_json()))
    assert refused > accepted > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "hwc"}, "layout must be one of .*'nhwc', 'nchw'.*got 'hwc'"),
        ({"output_kind": "classes"}, "output_kind"),
        ({"resize": "linear"}, "resize must be one of .*'bilinear', 'bilinear-antialias'.*got 'linear'"),
        ({"letterbox_rounding": "ceil"}, "letterbox_rounding must be one of .*'round', 'floor'"),
        ({"letterbox_rounding": "floor", "fit": "stretch"}, "'floor' does nothing with fit 'stretch'"),
        ({"dtype": "int8"}, "dtype"),
        ({"input_size": (32,)}, "input_size must be"),
        ({"input_size": (10**9, 10**9)}, r"input_size must be \(H, W\), at most 67108864 pixels, got"),
        ({"std": (1.0, 1e-7, 1.0)}, "std must be three numbers from 1e-06 to 1e\\+06, up to the sign"),
        ({"std": (1.0, float("nan"), 1.0)}, "std must be three numbers"),
        ({"mean": (float("inf"), 0.0, 0.0)}, "mean must be three numbers of at most 1e\\+06"),
        ({"input_size": (32, -1)}, "input_size must be"),
        ({"receptive_radius": (3,)}, r"receptive_radius must be \(rows, columns\), 'global' or None, got \(3,\)"),
        ({"bands": (1, 2)}, "`bands` must be three numbers from 1, as a model takes RGB, got 1,2"),
        ({"bands": (0, 1, 2)}, "`bands` must be three numbers from 1"),
        ({"band_range": (3.0,)}, "`band_range` must be the lowest and the highest value"),
        ({"band_range": (3.0, 3.0)}, "`band_range` must be"),
        ({"band_range": (1e6, 1e6 + 0.5)}, "`band_range` must be"),  # float32 has no value between
        ({"band_range": (0.0, float("nan"))}, "`band_range` must be"),
        ({"band_range": (0.0, 1.0, 2.0, 3.0)}, "or those of each of the three bands, got 0,1,2,3"),
        ({"class_names": ("a", "b")}, "2 class names but 3 colors"),
        ({"class_names": ("a", "b", "a")}, "class name 'a' occurs twice"),
        ({"class_names": (), "palette": ()}, "has 0 classes; accepted: 1 to 256"),
        (
            {"class_names": default_class_names(257), "palette": ((0, 0, 0),) * 257},
            "has 257 classes; accepted: 1 to 256, as class maps have one byte",
        ),
        ({"palette": ((0, 0, 0), (0, 0, -1), (0, 0, 0))}, r"color \(0, 0, -1\)"),
    ],
)
def test_a_wrong_value_is_refused_when_the_spec_is_made(
    tiny_spec: ModelSpec, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        tiny_spec.replace(**changes)


def test_an_input_error_is_also_a_value_error() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, EdgesegError)


def test_the_palette_is_that_of_pascal_voc() -> None:
    palette = default_palette(256)
    # From the VOC 2012 development kit: background, aeroplane, bicycle, person, tv monitor, and the void border.
    assert [palette[i] for i in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]
    assert len(set(palette)) == 256
    assert default_palette(3) == palette[:3]


def test_num_classes_does_not_count_the_ignored_id(tiny_spec: ModelSpec) -> None:
    assert tiny_spec.ignore_index == 255
    assert tiny_spec.num_classes == 3
    assert default_class_names(2) == ("class_0", "class_1")


def test_a_class_name_is_text() -> None:
    with pytest.raises(InputError, match="is no text: it has half a character or a byte"):
        check_classes("it", ("road", "z\udcfcrich"), default_palette(2), None)
    check_classes("it", ("two\nlines", "道路"), default_palette(2), None)
