"""Open somebody's float model and tell how it is fed and read; it is the reference of what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from edgeseg._internal.fields import short_repr
from edgeseg._internal.limits.models import ModelFile
from edgeseg._internal.limits.pairs import REJECTED
from edgeseg._internal.text import counted
from edgeseg.choices import Format, InputDtype, OutputKind, Precision
from edgeseg.errors import EdgesegError, InputError, UnsupportedModel
from edgeseg.models.packaged_files import find_file
from edgeseg.opening import InputDescription, described
from edgeseg.outputs import Reading, ReadOutput, read_output
from edgeseg.runtime import SUFFIXES, Backend, RuntimeOptions, open_with
from edgeseg.segmenter import Segmenter
from edgeseg.spec import ModelSpec, Provenance
from edgeseg_converters.quantization.artifact import onnx_model, tflite_model
from edgeseg_converters.quantization.engines import FloatFile, float_spec

_FORMATS: dict[str, Format] = {".tflite": "tflite", ".onnx": "onnx"}
_PRECISIONS = (".fp32", ".fp16", ".float32", ".float16")


@dataclass(frozen=True, kw_only=True)
class FloatModel:
    """A float segmentation file, as it was given.

    Attributes:
        file: the file, read once.
        format: ``tflite`` or ``onnx``.
        spec: how it is fed, and what ``segmenter`` gives; its name is the file's where the file has none.
        reading: how its output is read.
        output: name of that output.
        description: what the user said of it.
        precision: in which it computes.
    """

    __repr__ = short_repr

    file: ModelFile
    format: Format
    spec: ModelSpec
    reading: Reading
    output: str
    description: InputDescription
    precision: Precision = "fp32"

    @classmethod
    def open(
        cls, path: str | Path, description: InputDescription, *, classes: tuple[str, ...] | None = None
    ) -> FloatModel:
        """Read a file and tell how it is fed and read.

        Args:
            path: a ``.tflite`` or ``.onnx`` file, with or without ModelSpec, or a packaged one by its name.
            description: how to feed a model without ModelSpec.
            classes: the class names, where neither has them.

        Raises:
            InputError: it is no such file, is damaged, has integers, takes more than one image, or nothing says how it
                is fed.
        """
        file_format = format_of(path)
        file = ModelFile.read(find_file(path))
        path = file.path
        options = RuntimeOptions(input_size=description.input_size, output=description.output)
        backend = open_with(file, options)
        try:
            if len(backend.inputs) > 1:
                names = ", ".join(f"'{each.name}'" for each in backend.inputs)
                raise InputError(
                    f"'{path}' takes {counted(len(backend.inputs), 'input')}, {names}; accepted: one image."
                )
            precision = _precision(path, file, file_format)
            segmenter = described(path, backend, description, classes=classes, data=file.data)
            spec, output = segmenter.spec, backend.outputs[0].name
            if file_format == "tflite" and spec.layout == "nchw":
                raise InputError(f"'{path}' takes (1, 3, H, W); accepted of a .tflite: (1, H, W, 3).")
            if isinstance(segmenter.backend, ReadOutput):
                reading = segmenter.backend.reading
            else:  # a file with a ModelSpec
                reading = read_output(
                    path,
                    backend,
                    layout=spec.layout,
                    input_size=spec.input_size,
                    names=spec.class_names,
                    threshold=None,
                    data=file.data,
                )
        finally:
            backend.close()
        if spec.name.endswith(_PRECISIONS):
            spec = spec.replace(name=spec.name.rpartition(".")[0])
        return cls(
            file=file,
            format=file_format,
            spec=spec,
            reading=reading,
            output=output,
            description=description,
            precision=precision,
        )

    def segmenter(self) -> Segmenter:
        """Open the file as it was given."""
        options = RuntimeOptions(input_size=self.description.input_size, output=self.description.output)
        backend: Backend = open_with(self.file, options)
        if backend.spec is None:
            backend = ReadOutput(backend, self.reading, layout=self.spec.layout, num_classes=self.spec.num_classes)
        return Segmenter(backend, spec=self.spec)

    def artifact_spec(self, *, name: str, output_kind: OutputKind, takes_bytes: bool, made: Provenance) -> ModelSpec:
        """Return how to feed an artifact that is made of the file.

        Args:
            name: of the model.
            output_kind: what the artifact gives.
            takes_bytes: whether it takes the image's bytes and normalizes them inside.
            made: how it is made.
        """
        dtype: InputDtype = "uint8" if takes_bytes else "float32"
        return self.spec.replace(name=name, dtype=dtype, output_kind=output_kind, provenance=made, **self._feeding())

    def float_file(self, spec: ModelSpec) -> FloatFile:
        """Return the float file that an engine quantizes.

        Args:
            spec: of the artifact; the dtype ``uint8`` asks for a file that normalizes inside.

        Raises:
            UnsupportedModel: the file has what integers do not, or what is not its format's own.
            InputError: its weights cannot be read, or it does not run at that size.
        """
        fed = float_spec(spec)
        given = self.spec.replace(**self._feeding())
        try:
            self._require_scores(spec.output_kind)
            if self.format == "onnx":
                model = onnx_model.read_model(self.file.data, self.file.path.absolute().parent)
                data = onnx_model.float_model(model, fed, self.reading, self.output, given)
            else:
                data = tflite_model.float_model(self.file.data, fed, self.reading, self.output)
                if (fed.mean, fed.std) != (given.mean, given.std):
                    data = tflite_model.normalized(data, fed, given)
        except EdgesegError as error:
            raise type(error)(f"'{self.file.path}': {error}") from error
        return FloatFile(data, fed, self.format)

    def _require_scores(self, kind: OutputKind) -> None:
        if kind == "logits" and self.reading.scores != "logits":
            raise UnsupportedModel("the model has no logits: ask for argmax or softmax.")

    def _feeding(self) -> dict[str, tuple[float, float, float]]:
        """Return mean and std of the float input; bytes that a float model takes as they are have none."""
        spec = self.spec
        bytes_in = spec.dtype == "uint8"
        return {"mean": (0.0,) * 3 if bytes_in else spec.mean, "std": (1.0,) * 3 if bytes_in else spec.std}


def format_of(path: str | Path) -> Format:
    """Return the format of a file by its suffix.

    Raises:
        InputError: it is none that is quantized; the text says what to do instead.
    """
    suffix = find_file(path).suffix.lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    kind = SUFFIXES.get(suffix)
    if kind == "keras":
        raise InputError(
            f"'{path}' is a Keras model: edgeseg export {path} --precision int8 --data DIR makes integers of it."
        )
    if kind is not None:
        raise InputError(f"'{path}' is made of an ONNX file: quantize that; accepted: {', '.join(_FORMATS)}.")
    rest = " It failed its verification." if suffix == REJECTED else ""
    raise InputError(f"'{path}' is no {' or '.join(_FORMATS)} file.{rest}")


def _precision(path: str | Path, file: ModelFile, file_format: Format) -> Precision:
    """Return in which floats a file computes.

    Raises:
        InputError: it has integers.
    """
    precision: Precision = "fp32"
    if file_format == "tflite":
        count, what = tflite_model.integer_tensors(file.data), "quantized tensor"
    else:
        model = onnx.load_from_string(file.data)
        count, what = onnx_model.integer_ops(model), "op"
        precision = "fp16" if onnx_model.computes_in_half(model) else "fp32"
    if count:
        raise InputError(f"'{path}' has integers already, in {counted(count, what)}: give the float file.")
    return precision
