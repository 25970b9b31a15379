"""``dicom``, ``library``, ``window``, ``segments``: DICOM images as they are looked at, DICOM SEG of what is there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.errors import BackendUnavailable, InputError
from edgeseg.medical.dicom import DicomImage
from edgeseg.medical.segments import SegmentFiles
from edgeseg.medical.window import Window, full_range
from edgeseg.sources import frames, open_source
from edgeseg.sources.extent import extent
from edgeseg.spec import ModelSpec

pydicom = pytest.importorskip("pydicom")


def packaged(name: str) -> Path:
    """A file that the package pydicom has."""
    path = Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm"
    if not path.is_file():
        pytest.skip(f"this pydicom has no test file {name}")
    return path


def write(path: Path, pixels: NDArray[Any], **attributes: Any) -> Path:
    """Write gray ``(h, w)`` or ``(n, h, w)``, or RGB ``(h, w, 3)``, as of a CT; ``None`` removes an attribute."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID = dataset.FrameOfReferenceUID = "1.2.3"
    dataset.PatientID = dataset.PatientName = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.ReferringPhysicianName, dataset.Modality = "", "CT"
    color = pixels.ndim == 3 and pixels.shape[-1] == 3
    several = pixels.ndim == 3 and not color
    dataset.Rows, dataset.Columns = pixels.shape[1:] if several else pixels.shape[:2]
    if several:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = 3 if color else 1
    dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.25], 2
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


HOUNSFIELD = np.array([[-1000, -160, -159], [40, 239, 3000]], np.int16)


def gray(path: Path, window: Window | None = None) -> list[list[int]]:
    ((_, image),) = DicomImage(path, window).frames()
    assert (image.dtype, image.ndim) == (np.uint8, 3)
    assert (image == image[..., :1]).all()
    values: list[list[int]] = image[..., 0].tolist()
    return values


def test_gray_is_brought_to_eight_bits_by_a_window(tmp_path: Path) -> None:
    # PS3.3, C.11.2.1.2.1: with center 40 and width 400, black up to -160, white above 239.
    expected = [[0, 0, 1], [128, 255, 255]]
    rescaled = write(tmp_path / "a.dcm", HOUNSFIELD + np.int16(1024), RescaleSlope=1, RescaleIntercept=-1024)
    assert gray(rescaled, Window(40, 400)) == expected
    own = write(tmp_path / "b.dcm", HOUNSFIELD, WindowCenter=[40, 700], WindowWidth=[400, 3200])
    assert gray(own) == expected
    inverted = write(tmp_path / "c.dcm", HOUNSFIELD, PhotometricInterpretation="MONOCHROME1")
    assert gray(inverted, Window(40, 400)) == [[255 - value for value in row] for row in expected]
    # Without any, from the smallest to the largest; what is outside of the image is black and not counted.
    assert gray(write(tmp_path / "d.dcm", HOUNSFIELD)) == [[0, 54, 54], [66, 79, 255]]
    padded = write(tmp_path / "e.dcm", HOUNSFIELD, PixelPaddingValue=-1000)
    assert gray(padded) == [[0, 0, 0], [16, 32, 255]]


def test_windows_of_the_standard() -> None:
    values = np.array([-10.0, 0, 50, 100, 110])
    assert Window(50, 100, "LINEAR_EXACT").apply(values).tolist() == [0, 0, 128, 255, 255]
    assert Window(50, 1).apply(values).tolist() == [0, 0, 255, 255, 255]
    sigmoid = [255 / (1 + math.exp(-4 * (x - 50) / 100)) for x in values]
    assert Window(50, 100, "SIGMOID").apply(values) == pytest.approx(sigmoid, abs=0.5)  # rounded
    assert full_range(np.full((2, 2), 7.0), None).tolist() == [[0, 0], [0, 0]]
    assert full_range(np.full((2, 2), 7.0), 7.0).tolist() == [[0, 0], [0, 0]]
    for wrong in (Window(0, 0), Window(0, 0.5), Window(float("nan"), 9), Window(0, 0, "SIGMOID")):
        with pytest.raises(InputError, match="a window needs a center and a width"):
            wrong.check()


def test_lookup_tables_and_groups_of_frames(tmp_path: Path) -> None:
    pixels = np.array([[0, 1, 2, 3], [3, 3, 3, 3]], np.uint16)
    table = pydicom.Dataset()
    table.LUTDescriptor = [4, 0, 8]
    table.add_new("LUTData", "US", [10, 20, 30, 250])
    assert gray(write(tmp_path / "a.dcm", pixels, VOILUTSequence=[table])) == [[10, 20, 30, 250], [250] * 4]
    # An enhanced file has window, rescaling and spacing for each frame, or for all.
    window, rescale, measures, own, shared = (pydicom.Dataset() for _ in range(5))
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 100, 200, "LINEAR_EXACT"
    rescale.RescaleSlope, rescale.RescaleIntercept = 100, 0
    measures.PixelSpacing = [3, 4]
    own.PixelValueTransformationSequence = [rescale]
    shared.FrameVOILUTSequence, shared.PixelMeasuresSequence = [window], [measures]
    groups = {"PerFrameFunctionalGroupsSequence": [own, own], "SharedFunctionalGroupsSequence": [shared]}
    path = write(tmp_path / "b.dcm", np.stack([pixels, pixels[::-1]]), PixelSpacing=None, **groups)
    image = DicomImage(path)
    assert (image.num_frames, image.spacing_mm) == (2, (3, 4))
    assert [frame[..., 0].tolist() for _, frame in image.frames()] == [
        [[0, 128, 255, 255], [255] * 4], [[255] * 4, [0, 128, 255, 255]],
    ]  # fmt: skip


def test_color_and_compressed_files_that_pydicom_has() -> None:
    for name in ("SC_rgb_rle_2frame", "SC_rgb_jpeg_lossy_gdcm", "SC_rgb_rle_16bit"):
        _, image = next(DicomImage(packaged(name)).frames())
        assert image.shape == (100, 100, 3)
        # Bars: every second from above is red, green, blue; JPEG moves them by a few of 255.
        tops = image[[5, 25, 45], 50].astype(int)
        assert np.abs(tops - 255 * np.eye(3, dtype=int)).max() <= 8, name
    for name in ("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_bigendian"):
        assert gray(packaged(name)) == gray(packaged("MR_small")), name
    assert DicomImage(packaged("examples_ybr_color")).num_frames == 30
    with pytest.raises(InputError, match="is RGB, in color: a `window` is for gray values; omit it"):
        DicomImage(packaged("SC_rgb_rle_16bit"), Window(40, 400))


def test_frames_of_dicom_are_a_source(tmp_path: Path) -> None:
    clip = np.arange(5, dtype=np.uint8)[:, None, None].repeat(6, 1).repeat(8, 2) * 50
    path = write(tmp_path / "clip.dcm", clip, FrameTime=40, WindowCenter=128, WindowWidth=256)
    one = write(tmp_path / "one.dcm", HOUNSFIELD)
    taken = list(frames([str(path), str(one)], start=1, stride=2))
    assert [frame.name for frame in taken] == ["clip_000001", "clip_000003", "one"]
    assert [frame.time_s for frame in taken] == [0.04, 0.12, None]
    assert [(frame.path, frame.spacing_mm) for frame in taken[1:]] == [(path, (0.5, 0.25)), (one, (0.5, 0.25))]
    assert [int(frame.image_rgb[0, 0, 0]) for frame in taken[:2]] == [50, 150]
    assert {frame.name for frame in frames([str(tmp_path)])} == {*(f"clip_00000{n}" for n in range(5)), "one"}
    assert (extent([str(path)], start=1, stride=2).num_frames, extent([str(one)]).still) == (2, True)
    assert next(frames([str(one)], window=Window(40, 400))).image_rgb[1, 0].tolist() == [128] * 3
    with pytest.raises(InputError, match="has 5 frames, none from frame 5 on"):
        list(frames([str(path)], start=5))
    # Known by its content as well.
    bare = one.rename(tmp_path / "IM0001")
    assert [frame.name for frame in frames([str(bare)])] == ["IM0001"]
    with pytest.raises(InputError, match="is DICOM, which is read by: edgeseg predict"):
        open_source(str(bare))


def test_what_is_no_image_or_damaged_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            list(DicomImage(path).frames())
        text = str(caught.value)
        assert text.isprintable() and len(text) < 600
        return text

    (tmp_path / "text.dcm").write_text("no DICOM")
    assert "is no DICOM file" in refusal(tmp_path / "text.dcm")
    good = write(tmp_path / "good.dcm", HOUNSFIELD)
    data = good.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[:-6])
    assert "does not decode as DICOM" in refusal(tmp_path / "cut.dcm")
    assert "is DICOM without an image (its kind: CT Image Storage)" in refusal(
        write(tmp_path / "bare.dcm", HOUNSFIELD, Rows=None)
    )
    assert "claims 60000 x 60000 pixels, more than" in refusal(
        write(tmp_path / "bomb.dcm", HOUNSFIELD, Rows=60_000, Columns=60_000)
    )
    assert "claims 3 x 2 pixels and 2000000000 frames" in refusal(
        write(tmp_path / "endless.dcm", HOUNSFIELD, NumberOfFrames=2_000_000_000)
    )
    assert "is HSV of 1 samples; accepted: MONOCHROME1" in refusal(
        write(tmp_path / "hsv.dcm", HOUNSFIELD, PhotometricInterpretation="HSV")
    )
    deflated = packaged("image_dfl")
    assert "is a deflated DICOM file, which is not read" in refusal(deflated)
    # Every place of a small file altered: read, or one line.
    random = np.random.default_rng(0)
    for position in random.integers(132, len(data), 60).tolist():
        altered = bytearray(data)
        altered[position] ^= int(random.integers(1, 256))
        (tmp_path / "altered.dcm").write_bytes(altered)
        try:
            list(DicomImage(tmp_path / "altered.dcm").frames())
        except InputError as error:
            assert len(str(error)) < 600
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "edgeseg\[medical\]"'):
        DicomImage(good)


def test_a_segmentation_of_a_series(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    highdicom = pytest.importorskip("highdicom")
    class_maps = np.random.default_rng(0).integers(0, 3, (2, 20, 30)).astype(np.uint8)
    pixels = np.zeros((20, 30), np.int16)
    slices = [
        write(tmp_path / f"{name}.dcm", pixels, SeriesInstanceUID=series, ImagePositionPatient=[0, 0, z])
        for name, series, z in (("a", "1.2.4", 0), ("b", "1.2.4", 2), ("other", "1.2.5", 0))
    ]
    shown = np.ones(256, bool)
    shown[0] = False
    with SegmentFiles(tmp_path / "out", tiny_spec, shown) as files:
        for path, class_map in zip(slices, [*class_maps, class_maps[0]], strict=True):
            files.add(path, class_map)
        assert files.paths == [tmp_path / "out" / "a.seg.dcm"]
    assert files.paths == [tmp_path / "out" / f"{name}.seg.dcm" for name in ("a", "other")]
    found = highdicom.seg.segread(str(files.paths[0]))
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["square", "disc"]
    assert found.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    instances = [pydicom.dcmread(path).SOPInstanceUID for path in slices[:2]]
    labels = found.get_pixels_by_source_instance(instances, combine_segments=True)
    np.testing.assert_array_equal(labels, class_maps)
    with SegmentFiles(tmp_path / "out", tiny_spec) as files, pytest.raises(InputError, match=r"a.seg.dcm' exists"):
        files.add(slices[0], class_maps[0])
    with (
        SegmentFiles(tmp_path, tiny_spec) as files,
        pytest.raises(InputError, match="has no SliceThickness: a DICOM SEG"),
    ):
        files.add(write(tmp_path / "flat.dcm", pixels, SliceThickness=None), class_maps[0])
