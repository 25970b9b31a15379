"""Fill in a language's template with what one artifact needs: its ModelSpec, its input and its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeseg._internal.versions import __version__
from edgeseg.choices import FORMAT_SUFFIXES, Format, Resize, SnippetLanguage
from edgeseg.errors import InputError
from edgeseg.html.plain import render_text
from edgeseg.inspection import Inspection
from edgeseg.runtime import TensorInfo
from edgeseg.snippets.literals import LITERALS, comment, float32
from edgeseg.spec import ModelSpec
from edgeseg.web.runtime import LITERT, ONNX

#: The version of LiteRT's Android package that the Kotlin program was written for.
LITERT_ANDROID = "2.3.0"

#: The languages that have a runtime for a format.
LANGUAGES: Mapping[Format, tuple[SnippetLanguage, ...]] = {
    "tflite": ("python", "kotlin", "swift", "cpp", "js"),
    "onnx": ("python", "js"),
}

_TEMPLATES: Mapping[SnippetLanguage, str] = {
    "python": "python.py.j2",
    "kotlin": "kotlin.kt.j2",
    "swift": "swift.swift.j2",
    "cpp": "cpp.cpp.j2",
    "js": "js.js.j2",
}


class _Kernel(NamedTuple):
    """How a program scales an image: the weights by their distance, how far they reach, and OpenCV's name of it."""

    name: str
    reach: float = 1.0
    antialias: bool = False
    cubic_a: float = 0.0
    opencv: str = ""


_KERNELS: Mapping[Resize, _Kernel] = {
    "bilinear": _Kernel("triangle", opencv="INTER_LINEAR"),
    "bilinear-antialias": _Kernel("triangle", antialias=True),
    "bicubic": _Kernel("cubic", reach=2.0, cubic_a=-0.75, opencv="INTER_CUBIC"),
    "bicubic-antialias": _Kernel("cubic", reach=2.0, cubic_a=-0.5, antialias=True),
    "area": _Kernel("area", opencv="INTER_AREA"),
    "nearest": _Kernel("box", reach=0.5, opencv="INTER_NEAREST_EXACT"),
}

# How each language names the numbers of a tensor; nothing where its runtime has no such tensor.
_DTYPES = ("float32", "uint8", "int32", "int8", "int64", "int16")
_TYPES: Mapping[SnippetLanguage, tuple[str, ...]] = {
    "python": _DTYPES,
    "kotlin": ("FloatArray", "ByteArray", "IntArray", "ByteArray", "LongArray"),
    "swift": ("Float", "UInt8", "Int32", "Int8", "Int64", "Int16"),
    "cpp": ("float", "uint8_t", "int32_t", "int8_t", "int64_t", "int16_t"),
    "js": ("Float32Array", "Uint8Array", "Int32Array", "Int8Array", "BigInt64Array", "Int16Array"),
}
#: The first so many of ``_DTYPES`` are what LiteRT.js 2.5 takes; ONNX Runtime takes all.
_LITERT_JS = 3

# What makes a side a whole number, by the spec's word for it.
_TO_WHOLE: Mapping[SnippetLanguage, Mapping[str, str]] = {
    "python": {"round": "round", "floor": "int"},
    "kotlin": {"round": "round", "floor": "floor"},
    "swift": {"round": ".rounded(.toNearestOrEven)", "floor": ""},
    "cpp": {"round": "std::nearbyint", "floor": "std::floor"},
    "js": {"round": "toNearest", "floor": "Math.floor"},
}

# What Kotlin reads an output with, what makes a score a Float, and what makes a class id a Byte.
_KOTLIN_READS = {"FloatArray": "readFloat", "ByteArray": "readInt8", "IntArray": "readInt", "LongArray": "readLong"}
_KOTLIN_SCORES = {"float32": "%s", "uint8": "(%s.toInt() and 0xFF).toFloat()"}
_KOTLIN_IDS = {"float32": ".toInt().toByte()", "int32": ".toByte()", "int64": ".toByte()"}


def write_snippet(inspection: Inspection, language: SnippetLanguage) -> str:
    """Write a whole program that runs an artifact as ``Segmenter`` does, and needs only the artifact's runtime.

    Args:
        inspection: of the artifact.
        language: of the program.

    Returns:
        The program. What comes from the file is in it as literals and as comments of one line.

    Raises:
        InputError: the language has no runtime for the format; the file does not say how it is fed; or it has an input
            or an output that a program of this kind does not have.
        BackendUnavailable: jinja2 is not installed.
    """
    path, spec = inspection.path, inspection.usage.spec
    file_format = _format_of(path)
    accepted = LANGUAGES.get(file_format, ())
    if language not in accepted:
        others = f"accepted: {', '.join(accepted)}" if accepted else "export the model as .tflite or .onnx as well"
        raise InputError(f"there is no program in {language} for '{path}'; {others}.")
    if spec is None or inspection.usage.options:
        raise InputError(
            f"'{path}' does not say how it is fed, so that a program would guess; {inspection.usage.note}. Take a file "
            "that edgeseg export or edgeseg quantize made."
        )
    (source, *more_in), (target, *more_out) = inspection.inputs, inspection.outputs
    if more_in or more_out:
        raise InputError(
            f"'{path}' has {len(inspection.inputs)} inputs and {len(inspection.outputs)} outputs; a program is written "
            "for one of each."
        )
    values = {
        "file": path.name,
        "version": __version__,
        "onnx": file_format == "onnx",
        "runtime_version": (ONNX if file_format == "onnx" else LITERT).version,
        "litert_version": LITERT_ANDROID,
        **_feeding(path, spec, source),
        **_reading(path, spec, target),
        **_words(path, language, source, target),
        "to_whole": _TO_WHOLE[language][spec.letterbox_rounding],
    }
    filters: Mapping[str, Callable[..., Any]] = {"literal": LITERALS[language], "comment": comment, "float32": float32}
    return render_text(
        str(__package__), _TEMPLATES[language], what="a program of an artifact", filters=filters, values=values
    )


def _format_of(path: Path) -> Format:
    return next(name for name, suffix in FORMAT_SUFFIXES.items() if suffix == path.suffix.lower())


def _feeding(path: Path, spec: ModelSpec, source: TensorInfo) -> dict[str, Any]:
    """Return how an image becomes the input, by the names of the templates.

    Raises:
        InputError: the input is not what the spec says, open, or quantized without a scale.
    """
    quantized = source.dtype != spec.dtype
    if quantized and not (spec.dtype == "float32" and source.scale and source.dtype in ("int8", "uint8", "int16")):
        raise InputError(f"'{path}' takes {source.dtype} but its spec says {spec.dtype}; give it the right spec.")
    height, width = spec.input_size
    planes = spec.layout == "nchw"
    shape = (1, 3, height, width) if planes else (1, height, width, 3)
    if source.shape[1:] != shape[1:]:
        raise InputError(f"'{path}' takes {source.shape} but its spec makes {shape}; a program is of one size.")
    kernel, limits = _KERNELS[spec.resize], (0, 0)
    if quantized:
        limits = int(np.iinfo(source.dtype).min), int(np.iinfo(source.dtype).max)
    return {
        "spec": spec,
        "source": source,
        "height": height,
        "width": width,
        "shape": shape,
        "planes": planes,
        "bgr": spec.color_order == "bgr",
        "stretch": spec.fit == "stretch",
        "takes_bytes": spec.dtype == "uint8",
        "quantized": quantized,
        "limits": limits,
        "kernel": kernel.name,
        "reach": kernel.reach,
        "antialias": kernel.antialias,
        "cubic": kernel.name == "cubic",
        "cubic_a": kernel.cubic_a,
        "cv2_resize": kernel.opencv,
    }


def _reading(path: Path, spec: ModelSpec, target: TensorInfo) -> dict[str, Any]:
    """Return how the output becomes class ids, by the names of the templates.

    Raises:
        InputError: it is neither a map of class ids nor one with a channel for each class.
    """
    shape, scores = target.shape, spec.output_kind != "argmax"
    channel_first = spec.layout == "nchw"
    sides: tuple[int, ...] = shape[1:]
    channels = 1
    if len(sides) == 3:
        channels, sides = (sides[0], sides[1:]) if channel_first else (sides[2], sides[:2])
    if len(sides) != 2 or min(sides) < 1 or channels != (spec.num_classes if scores else 1):
        raise InputError(
            f"'{path}' gives {shape}; a program reads (1, H, W) class ids, or a channel for each of its "
            f"{spec.num_classes} classes. edgeseg export makes such a file."
        )
    return {
        "scores": scores,
        "out_height": sides[0],
        "out_width": sides[1],
        "smaller": sides != spec.input_size,
    }


def _words(path: Path, language: SnippetLanguage, source: TensorInfo, target: TensorInfo) -> dict[str, Any]:
    """Return what the language calls the numbers of the input and the output, by the names of the templates.

    Raises:
        InputError: its runtime has no such numbers.
    """
    names = _TYPES[language]
    if language == "js" and _format_of(path) == "tflite":
        names = names[:_LITERT_JS]
    types = dict(zip(_DTYPES, names, strict=False))
    missing = next((tensor for tensor in (source, target) if tensor.dtype not in types), None)
    if missing is not None:
        raise InputError(
            f"'{path}' has the tensor '{missing.name}' of {missing.dtype}, which the runtime of {language} does not "
            f"take; accepted: {', '.join(types)}."
        )
    out_type = types[target.dtype]
    return {
        "in_type": types[source.dtype],
        "out_type": out_type,
        "kotlin_read": _KOTLIN_READS.get(out_type, ""),
        "kotlin_score": _KOTLIN_SCORES.get(target.dtype, "%s.toFloat()"),
        "kotlin_id": _KOTLIN_IDS.get(target.dtype, ""),
    }
