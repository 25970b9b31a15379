"""Write what was segmented in DICOM images as DICOM Segmentation objects (SEG), with highdicom."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.files import atomic_path, refuse_existing
from edgeseg._internal.limits.images import max_image_pixels
from edgeseg._internal.text import escaped
from edgeseg._internal.versions import installed_version
from edgeseg.errors import InputError
from edgeseg.medical.dicom import read_header, reading
from edgeseg.medical.library import library
from edgeseg.spec import ModelSpec

#: Classes of a model mean what its author says; no code of a terminology is claimed for them. Schemes that begin with
#: 99 are private by PS3.16, section 8.
_SCHEME = "99EDGESEG"

# Characters of a code, of its meaning and of a label (PS3.5, 6.2: SH, LO).
_MOST_CODE, _MOST_MEANING = 16, 64


class SegmentFiles:
    """Writes ``NAME.seg.dcm``: one object a series of slices in a row, or a file of several frames.

    ``NAME`` is that of the first file. The class maps of a series are in memory until it ends, a byte a pixel.

    Attributes:
        folder: where the files go.
        paths: of those that are written.
    """

    def __init__(
        self, folder: Path, spec: ModelSpec, shown: NDArray[np.bool_] | None = None, *, overwrite: bool = False
    ) -> None:
        """Prepare; nothing is created before a series is complete.

        Args:
            folder: created where it is missing.
            spec: the model: its name, and names of the classes.
            shown: ``(256,)`` bool: which ids become segments; all when omitted.
            overwrite: whether files of that name may be replaced.

        Raises:
            BackendUnavailable: highdicom is not installed.
        """
        library("highdicom")
        self.folder = folder
        self.paths: list[Path] = []
        self._spec, self._overwrite = spec, overwrite
        self._ids = [i for i in range(spec.num_classes) if shown is None or shown[i]]
        self._series: tuple[str, tuple[int, ...]] | None = None
        self._files: list[Path] = []
        self._maps: list[NDArray[np.uint8]] = []

    def add(self, path: Path, class_map: NDArray[np.uint8]) -> list[Path]:
        """Add a frame; the frames of a file come in their order.

        Args:
            path: the DICOM file.
            class_map: ``(h, w)`` uint8 class ids, of the size of the frame.

        Returns:
            The file of the series before, where this frame begins another one.

        Raises:
            InputError: a file exists or cannot be written, the series is too large, or its slices do not say where they
                lie in a patient.
        """
        written: list[Path] = []
        if not self._files or path != self._files[-1]:
            header = read_header(path)
            several = int(header.get("NumberOfFrames") or 1) > 1
            uid = str(header.get("SOPInstanceUID" if several else "SeriesInstanceUID", path))
            _require_place(path, header)
            series = (uid, class_map.shape)
            if series != self._series:
                written = self.finish()
                refuse_existing(self._place(path), overwrite=self._overwrite)
                self._series = series
            self._files.append(path)
        pixels = sum(each.size for each in self._maps) + class_map.size
        if pixels > 8 * max_image_pixels():
            raise InputError(f"the series of '{self._files[0]}' has more than {8 * max_image_pixels()} pixels.")
        self._maps.append(class_map)
        return written

    def finish(self) -> list[Path]:
        """Write the object of the series that was added; return its path, none where there is no series.

        Raises:
            InputError: the file exists or cannot be written, or highdicom cannot make a SEG of the series.
        """
        if not self._maps:
            return []
        path = self._place(self._files[0])
        with reading(self._files[0]):
            dataset = self._object()
        with atomic_path(path, overwrite=self._overwrite) as temporary:
            dataset.save_as(temporary)
        self.paths.append(path)
        self._files, self._maps, self._series = [], [], None
        return [path]

    def __enter__(self) -> SegmentFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            self.finish()

    def _place(self, path: Path) -> Path:
        return self.folder / f"{path.stem}.seg.dcm"

    def _object(self) -> Any:
        highdicom = library("highdicom")
        headers = [read_header(path) for path in self._files]
        number_of = np.zeros(256, np.uint8)
        for number, class_id in enumerate(self._ids, 1):
            number_of[class_id] = number
        uid = highdicom.UID
        version = installed_version("edgeseg") or "0"
        return highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=number_of[np.stack(self._maps)],
            segmentation_type="BINARY",
            segment_descriptions=[self._description(number, i) for number, i in enumerate(self._ids, 1)],
            series_instance_uid=uid(),
            series_number=1000,
            sop_instance_uid=uid(),
            instance_number=1,
            manufacturer="edgeseg",
            manufacturer_model_name="edgeseg",
            software_versions=version,
            device_serial_number="0",
            content_label="SEGMENTATION",
        )

    def _description(self, number: int, class_id: int) -> Any:
        highdicom = library("highdicom")
        code = highdicom.sr.CodedConcept
        name = escaped(self._spec.class_names[class_id], most=None)[:_MOST_MEANING] or f"class_{class_id}"
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=escaped(self._spec.name)[:_MOST_MEANING] or "model",
            family=code("123110", "DCM", "Artificial Intelligence"),
            version="1",
        )
        return highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=code("class", _SCHEME, "Class of a model"),
            segmented_property_type=code(f"class_{class_id}"[:_MOST_CODE], _SCHEME, name),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )


def _require_place(path: Path, header: Any) -> None:
    """Refuse an image of which a SEG would not say where it lies in a patient, which readers refuse."""
    enhanced = header.get("SharedFunctionalGroupsSequence") is not None
    needed = ("FrameOfReferenceUID",) if enhanced else ("FrameOfReferenceUID", "ImagePositionPatient", "SliceThickness")
    missing = [name for name in needed if header.get(name) in (None, "")]
    if missing:
        raise InputError(
            f"'{path}' has no {', '.join(missing)}: a DICOM SEG is written of slices that say where they lie in a "
            "patient, such as those of CT and MR."
        )
