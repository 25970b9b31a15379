"""Run a segmentation model: from an image to a class map of the image's own size, the same way on every runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeseg._internal.progress import Progress
from edgeseg._internal.text import counted
from edgeseg.choices import Accelerator, BackendName
from edgeseg.errors import InputError
from edgeseg.imaging import Placement, preprocess, restore
from edgeseg.runtime import Backend, open_backend
from edgeseg.runtime.base import TensorInfo, dequantized
from edgeseg.runtime.quantized_input import feed_as
from edgeseg.scores.score_map import ScoreMap
from edgeseg.segmentation import Segmentation
from edgeseg.spec import ModelSpec
from edgeseg.tiling.stitching import ArrayReader, PixelReader, Rows, blended_rows, cropped_rows
from edgeseg.tiling.windows import Grid


class Segmenter:
    """Runs a segmentation model on images.

    Examples:
        >>> segmenter = Segmenter("efficientnet_lite0_unet.fp16.tflite")
        >>> segmenter(image_rgb).class_map.shape == image_rgb.shape[:2]
        True
    """

    def __init__(
        self,
        model: str | Path | Backend,
        *,
        spec: ModelSpec | None = None,
        backend: BackendName | None = None,
        num_threads: int | None = None,
        accelerator: Accelerator | None = None,
        delegate: str | None = None,
        delegate_options: Mapping[str, str] | None = None,
        providers: Sequence[str] = (),
    ) -> None:
        """Open a model; the arguments that choose the runtime are those of ``edgeseg.runtime.open_backend``.

        Args:
            model: a ``.tflite``, ``.onnx``, ``.mnn``, ``.xml`` or ``.keras`` file, the name of a packaged one
                (``efficientnet_lite0_unet``), or an open backend, which ``close`` closes; a backend that is refused
                stays open.
            spec: how to feed it; needed only for a file that has no ModelSpec inside.
            backend: name of the runtime; chosen by the file's suffix and the accelerator when omitted.
            num_threads: threads of the runtime.
            accelerator: ``cpu``, ``gpu`` or ``npu``, for a ``.tflite`` file.
            delegate: library of a TFLite delegate.
            delegate_options: options that the library takes.
            providers: ONNX Runtime's execution providers.

        Raises:
            InputError: the file is missing or broken, it has no ModelSpec and no ``spec`` is given, or the spec's dtype
                is not the model's.
            BackendUnavailable: the runtime is not installed, or the accelerator that was asked for is not available.
        """
        with ExitStack() as refused:
            if isinstance(model, (str, Path)):
                opened = open_backend(
                    model,
                    backend=backend,
                    num_threads=num_threads,
                    accelerator=accelerator,
                    delegate=delegate,
                    delegate_options=delegate_options,
                    providers=providers,
                    input_size=None if spec is None else spec.input_size,
                )
                refused.callback(opened.close)
            else:
                opened = model
            model_spec = spec or opened.spec
            if model_spec is None:
                what = f"'{model}'" if isinstance(model, (str, Path)) else "the model"
                raise InputError(
                    f"{what} has no ModelSpec inside; export it with edgeseg, or give spec= "
                    "(edgeseg.opening makes one)."
                )
            _check_input(opened, model_spec)
            self.spec = model_spec
            self.backend: Backend = feed_as(opened, model_spec.dtype)
            refused.pop_all()

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Segmentation:
        """Segment one image.

        Args:
            image_rgb: ``(h, w, 3)`` uint8 RGB, of any size.

        Returns:
            The class map at ``(h, w)``. Scores are enlarged before the best class is taken; class ids are enlarged by
            nearest neighbor.

        Raises:
            InputError: the array is not such an image.
        """
        _check_image(image_rgb)
        tensor, placement = preprocess(image_rgb, self.spec)
        return to_segmentation(self.backend.run(tensor), self.spec, placement, self.backend.outputs[0])

    def tiled(
        self,
        image_rgb: NDArray[np.uint8] | PixelReader,
        *,
        overlap: int | None = None,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segment an image at its own size, window by window, where ``__call__`` scales it to the model's input.

        Where windows overlap, their scores are added by a smooth weight. A model that gives class ids has no scores:
        each pixel's id comes from the window whose edges are farthest. What of a window is beyond the image is
        reflected.

        Args:
            image_rgb: ``(h, w, 3)`` uint8 RGB, of any size; or a reader of one, such as ``edgeseg.rasters`` has.
            overlap: of neighboring windows, in pixels; see ``edgeseg.tiling.windows.overlaps``.
            progress: called with (rows done, rows in all).

        Returns:
            The class map at ``(h, w)``, without scores.

        Raises:
            InputError: the array is not such an image, or the overlap leaves no step between windows.

        Examples:
            >>> segmenter.tiled(image_rgb).counts()
        """
        reader = _as_reader(image_rgb)
        height, width = reader.size_hw
        class_map = np.empty((height, width), np.uint8)
        for top, rows in self.tiled_rows(reader, overlap=overlap):
            class_map[top : top + len(rows)] = rows
            if progress:
                progress(top + len(rows), height)
        return Segmentation(class_map, self.spec)

    def tiled_rows(
        self, image_rgb: NDArray[np.uint8] | PixelReader, *, overlap: int | None = None, first_band: int = 0
    ) -> Iterator[Rows]:
        """Segment as ``tiled`` does, for images whose class map is written while it is made.

        Args:
            image_rgb: see ``tiled``.
            overlap: see ``tiled``.
            first_band: number of the first band of windows whose rows are wanted.

        Yields:
            Where the rows begin that a band of windows finished, and their class ids ``(rows, w)`` uint8.

        Raises:
            InputError: see ``tiled``.
        """
        reader = _as_reader(image_rgb)
        grid = Grid.of(reader.size_hw, self.spec, overlap)
        if self.gives_scores:
            return blended_rows(reader, grid, self._window_scores, self.spec.num_classes, first_band=first_band)
        return cropped_rows(reader, grid, self._window_classes, first_band=first_band)

    def _window_scores(self, window: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of a window of the model's size, at that size."""
        tensor, placement = preprocess(window, self.spec)
        values = to_scores(self.backend.run(tensor), self.spec, self.backend.outputs[0])
        return ScoreMap.of(values, self.spec, placement).enlarged()

    def _window_classes(self, window: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class ids of a window of the model's size, at that size."""
        return to_class_map(self.backend.run(preprocess(window, self.spec)[0]), self.spec)

    @property
    def gives_scores(self) -> bool:
        """Whether the model gives scores, not class ids."""
        return self.spec.output_kind != "argmax"

    def infer(self, tensor: NDArray[Any], placement: Placement) -> tuple[NDArray[np.uint8], ScoreMap | None]:
        """Run the model on a tensor, for a caller who does the other steps itself (``edgeseg.camera.loop``).

        Args:
            tensor: ``(1, H, W, 3)`` or ``(1, 3, H, W)``, from ``imaging.preprocess``.
            placement: of the image in it, from the same.

        Returns:
            ``(H, W)`` uint8 class ids at the model's input size, which ``imaging.restore`` brings to the image's; and
            the scores of the part that the image covers, ``None`` where the model gives class ids.
        """
        output = self.backend.run(tensor)
        scores = None
        if self.gives_scores:
            scores = ScoreMap.of(to_scores(output, self.spec, self.backend.outputs[0]), self.spec, placement)
        return to_class_map(output, self.spec), scores

    def __repr__(self) -> str:
        height, width = self.spec.input_size
        return f"Segmenter({self.spec.name!r}, {counted(self.spec.num_classes, 'class')}, {height}x{width})"

    def close(self) -> None:
        """Release the runtime's memory; may be called twice."""
        self.backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def to_segmentation(
    output: NDArray[Any], spec: ModelSpec, placement: Placement, info: TensorInfo | None = None
) -> Segmentation:
    """Convert a model's output to the classes of an image, as ``Segmenter`` does.

    Args:
        output: see ``to_class_map``.
        spec: says what the output is.
        placement: of the image in the model's input.
        info: of the output, where its scores may be integers with a scale.

    Raises:
        InputError: see ``to_class_map``.
    """
    if spec.output_kind == "argmax":
        return Segmentation(restore(to_class_map(output, spec), placement), spec)
    scores = ScoreMap.of(to_scores(output, spec, info), spec, placement)
    return Segmentation(scores.class_map(), spec, scores)


def to_class_map(output: NDArray[Any], spec: ModelSpec) -> NDArray[np.uint8]:
    """Convert a model's output to a class map at its input size.

    Args:
        output: ``(1, h, w)`` class ids where ``spec.output_kind`` is ``argmax``, with or without an axis of one
            channel; else ``(1, h, w, C)`` or, in the ``nchw`` layout, ``(1, C, h, w)`` scores.
        spec: says which.

    Returns:
        ``(H, W)`` uint8; a map smaller than the input (SegNet's is half of it) is enlarged by nearest neighbor.
        Always a copy: ``output`` may be memory that the runtime uses again.

    Raises:
        InputError: the output is no map, or the number of channels is not the number of classes.
    """
    scores = output[0]
    if spec.output_kind != "argmax":
        _check_scores(output, spec)
        scores = scores.argmax(axis=-1 if spec.layout == "nhwc" else 0)
    elif scores.ndim == 3:
        scores = scores[..., 0] if spec.layout == "nhwc" else scores[0]
    if scores.ndim != 2:
        raise InputError(f"the model gives {output.shape}, which is no class map; give it the right spec.")
    class_map: NDArray[np.uint8] = scores.astype(np.uint8)
    if class_map.shape != spec.input_size:
        height, width = spec.input_size
        class_map = cv2.resize(class_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[assignment]
    return class_map


def to_scores(output: NDArray[Any], spec: ModelSpec, info: TensorInfo | None = None) -> NDArray[np.float32]:
    """Convert a model's output of scores to float32 at its own size.

    Args:
        output: ``(1, h, w, C)`` or, in the ``nchw`` layout, ``(1, C, h, w)``.
        spec: says which.
        info: of the output; integers are multiplied by its scale, if it has one.

    Returns:
        ``(h, w, C)``, always a copy: ``output`` may be memory that the runtime uses again.

    Raises:
        InputError: see ``to_class_map``.
    """
    _check_scores(output, spec)
    scores = output[0] if spec.layout == "nhwc" else output[0].transpose(1, 2, 0)
    values = scores if info is None else dequantized(scores, info.scale, info.zero_point)
    return np.array(values, np.float32, order="C")


def _check_scores(output: NDArray[Any], spec: ModelSpec) -> None:
    """Raise ``InputError`` where an output is no map with a channel for each class."""
    if output.ndim != 4:
        raise InputError(
            f"the model gives {output.shape}, which is no map of scores; edgeseg.opening.open_segmenter reads a "
            "flattened one, edgeseg export makes a map of it."
        )
    channels = output.shape[-1 if spec.layout == "nhwc" else 1]
    if channels != spec.num_classes:
        raise InputError(
            f"the model gives {counted(channels, 'channel')} of scores but has "
            f"{counted(spec.num_classes, 'class')}; give it the right spec; edgeseg.opening.open_segmenter reads a "
            "binary model of one channel, edgeseg export makes two of it."
        )


def _check_input(backend: Backend, spec: ModelSpec) -> None:
    """Raise ``InputError`` where a model does not take the images of its spec, whose size may be any."""
    height, width = spec.input_size
    made = (1, height, width, 3) if spec.layout == "nhwc" else (1, 3, height, width)
    taken = backend.inputs[0].shape
    if len(taken) != len(made) or any(side not in (-1, own) for side, own in zip(taken, made, strict=True)):
        raise InputError(f"the model takes {taken} but its spec makes {made}; give it the right spec.")


def _as_reader(image_rgb: NDArray[np.uint8] | PixelReader) -> PixelReader:
    """Return a reader of an image that is in memory; a reader as it is."""
    if not isinstance(image_rgb, np.ndarray) and hasattr(image_rgb, "read"):
        return image_rgb
    _check_image(image_rgb)
    return ArrayReader(np.asarray(image_rgb))


def _check_image(image_rgb: Any) -> None:
    if not isinstance(image_rgb, np.ndarray):  # cv2.imread returns None for a missing file
        got = type(image_rgb).__name__
    elif image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or not image_rgb.size:
        got = f"{image_rgb.shape} {image_rgb.dtype}"
    else:
        return
    raise InputError(f"an image must be (h, w, 3) uint8 RGB, got {got}.")
