"""Read the TensorFlow functions that Keras 2 models call between their layers, as operations of ``keras.ops``.

Keras 2 saves ``x + y`` or ``tf.image.resize(x, size)`` as a layer ``TFOpLambda`` that names a public symbol of
TensorFlow and holds no code; ``SlicingOpLambda`` likewise. Each function here takes the arguments under TensorFlow's
names and computes the same numbers. What has no exact counterpart is refused by ``UnreadableOp``, not approximated.

The shape of a tensor is a tuple of numbers and ``Side`` while the model is built, so that ``tf.shape(y)[1:3]`` still
follows ``y`` when the model is rebuilt at another input size.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras
import numpy as np
from keras import ops

from edgeseg.models.keras_internals import mark_dense
from edgeseg.models.layers import LegacyResize, ResizeBilinear, UpsampleLike

#: The classes of Keras 2 that name a symbol of TensorFlow.
CLASSES = ("TFOpLambda", "SlicingOpLambda")

_HARMLESS = ("name", "use_cudnn_on_gpu", "validate_indices")
_METHODS = ("bilinear", "nearest", "bicubic", "area")  # of TensorFlow 1, by their numbers


class UnreadableOp(ValueError):
    """A TensorFlow function is called in a way that has no exact counterpart here."""


@dataclass(frozen=True, eq=False)
class Side:
    """A side of a tensor's shape, times a factor.

    Attributes:
        tensor: the tensor.
        axis: which of its sides.
        factor: what it is multiplied by.
    """

    tensor: keras.KerasTensor
    axis: int
    factor: Fraction = Fraction(1)

    @property
    def size(self) -> int | None:
        """The number, rounded toward zero; ``None`` where the model leaves the side open."""
        side = self.tensor.shape[self.axis]
        return None if side is None else int(side * self.factor)


def call(symbol: str, args: Sequence[Any], kwargs: dict[str, Any], *, name: str) -> Any:
    """Call the counterpart of a TensorFlow function.

    Args:
        symbol: its public name without ``tf.``, as in the file.
        args: its positional arguments, in which slices are slices.
        kwargs: its keyword arguments, by TensorFlow's names.
        name: what to call a layer, where one is needed.

    Returns:
        A tensor, a list of tensors, or what is known while the model is built: numbers, ``Side``, a tuple of them.

    Raises:
        UnreadableOp: there is no counterpart, or not with these arguments.
    """
    function = counterpart(symbol)
    if function is None:
        raise UnreadableOp("edgeseg has no counterpart of it")
    known = inspect.signature(function).parameters
    given = {key: value for key, value in kwargs.items() if key in known or not _is_default(key, value)}
    unknown = [key for key in given if key not in known]
    if unknown:
        raise UnreadableOp(f"its argument {unknown[0]}={given[unknown[0]]!r} has no counterpart")
    return function(*args, **given, **({"layer_name": name} if "layer_name" in known else {}))


def counterpart(symbol: str) -> Callable[..., Any] | None:
    """Return what computes the numbers of a TensorFlow symbol; ``None`` where edgeseg has nothing that does."""
    # TensorFlow 1's form differs in the names of its arguments, save where it has an entry of its own.
    return _FUNCTIONS.get(symbol) or _FUNCTIONS.get(symbol.removeprefix("compat.v1."))


def plain(value: Any) -> Any:
    """Return a value with the number for every ``Side``, at any depth of lists, tuples and slices.

    Raises:
        UnreadableOp: a side has no fixed size.
    """
    if isinstance(value, Side):
        if value.size is None:
            raise UnreadableOp("it computes with the size of a map, and the model's input has no fixed size")
        return value.size
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def _is_default(key: str, value: Any) -> bool:
    return key in _HARMLESS or value in (None, False, "NHWC", "channels_last")


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _listed(values: Any) -> list[Any]:
    """Return a list of what may be one thing: Keras 2 writes a list of one tensor like the tensor."""
    return list(values) if isinstance(values, list | tuple) else [values]


def _like(value: Any, tensor: Any) -> Any:
    """Return a constant in the dtype of the tensor that it meets, as TensorFlow reads it."""
    value = plain(value)
    is_array = isinstance(value, list | tuple | np.ndarray)
    return np.asarray(value, tensor.dtype) if is_array else value


# --- element by element ---


def _unary(name: str) -> Callable[[Any], Any]:
    def apply(x: Any) -> Any:
        return operator.attrgetter(name)(ops)(x) if _is_tensor(x) else getattr(np, name)(plain(x)).item()

    return apply


def _binary(name: str) -> Callable[[Any, Any], Any]:
    def apply(x: Any, y: Any) -> Any:
        if not (_is_tensor(x) or _is_tensor(y)):
            return _arithmetic(name, x, y)
        tensor = x if _is_tensor(x) else y
        x, y = (value if _is_tensor(value) else _like(value, tensor) for value in (x, y))
        return mark_dense(getattr(ops, name)(x, y))

    return apply


def _arithmetic(name: str, x: Any, y: Any) -> Any:
    """Compute with sizes while the model is built; a side times a number still follows its tensor."""
    if isinstance(x, list | tuple) and not isinstance(y, list | tuple):
        return tuple(_arithmetic(name, side, y) for side in x)
    if name == "multiply" and isinstance(y, Side):
        x, y = y, x
    if isinstance(x, Side) and isinstance(y, int | float) and y:
        if name == "multiply":
            return Side(x.tensor, x.axis, x.factor * Fraction(y))
        if name in ("true_divide", "floor_divide"):
            return Side(x.tensor, x.axis, x.factor / Fraction(y))
    value = getattr(np, name)(plain(x), plain(y))
    return tuple(value.tolist()) if np.ndim(value) else value.item()


def _squared_difference(x: Any, y: Any) -> Any:
    return ops.square(_binary("subtract")(x, y))


def _cast(x: Any, dtype: str) -> Any:
    if not _is_tensor(x):
        return x  # a size: numbers have one kind while the model is built
    return ops.cast(x, dtype)


def _convert_image_dtype(image: Any, dtype: str, saturate: bool = False) -> Any:
    if image.dtype == dtype:
        return image
    if not (np.issubdtype(image.dtype, np.integer) and keras.backend.is_float_dtype(dtype)):
        raise UnreadableOp(f"only whole numbers to floats are read, got {image.dtype} to {dtype}")
    return _binary("multiply")(ops.cast(image, dtype), 1.0 / np.iinfo(image.dtype).max)


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.minimum(ops.maximum(t, _like(clip_value_min, t)), _like(clip_value_max, t))


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    tensors = [value for value in (x, y) if _is_tensor(value)]
    if not tensors:
        raise UnreadableOp("it needs a tensor to choose from")
    return ops.where(condition, _like_or_tensor(x, tensors[0]), _like_or_tensor(y, tensors[0]))


def _like_or_tensor(value: Any, tensor: Any) -> Any:
    return value if _is_tensor(value) else _like(value, tensor)


def _add_n(inputs: Any) -> Any:
    first, *others = _listed(inputs)
    for other in others:
        first = ops.add(first, other)
    return first


def _silu(features: Any, beta: float = 1.0) -> Any:
    return ops.silu(features) if beta == 1 else ops.multiply(features, ops.sigmoid(_binary("multiply")(features, beta)))


def _leaky_relu(features: Any, alpha: float = 0.2) -> Any:
    return ops.leaky_relu(features, negative_slope=alpha)


def _gelu(features: Any, approximate: bool = False) -> Any:
    return ops.gelu(features, approximate=approximate)


def _softmax(logits: Any, axis: int | None = -1, dim: int | None = None) -> Any:
    axis = dim if dim is not None else axis
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _log_softmax(logits: Any, axis: int | None = -1) -> Any:
    return ops.log_softmax(logits, axis=-1 if axis is None else axis)


def _bias_add(value: Any, bias: Any, data_format: str | None = None) -> Any:
    if data_format not in (None, "NHWC", "N...C"):
        raise UnreadableOp(f"it has data_format={data_format!r}, edgeseg has channels last only")
    return ops.add(value, _like_or_tensor(bias, value))


# --- along axes ---


def _axes(axis: Any) -> Any:
    axis = plain(axis)
    return tuple(axis) if isinstance(axis, list) else axis


def _reduce(name: str) -> Callable[..., Any]:
    def apply(
        input_tensor: Any,
        axis: Any = None,
        keepdims: bool = False,
        keep_dims: bool | None = None,
        reduction_indices: Any = None,
    ) -> Any:
        axis = _axes(reduction_indices if axis is None else axis)
        if not _is_tensor(input_tensor):
            value = getattr(np, name)(plain(input_tensor), axis=axis)
            return tuple(value.tolist()) if np.ndim(value) else value.item()
        result = getattr(ops, name)(input_tensor, axis=axis, keepdims=bool(keepdims or keep_dims))
        if result.dtype == input_tensor.dtype:
            return result
        if name in ("mean", "std", "var"):
            raise UnreadableOp(f"it averages {input_tensor.dtype}, and TensorFlow rounds that toward zero")
        return ops.cast(result, input_tensor.dtype)  # Keras sums small whole numbers in larger ones

    return apply


def _arg(name: str) -> Callable[..., Any]:
    def apply(input: Any, axis: int | None = None, dimension: int | None = None, output_type: str = "int64") -> Any:  # noqa: A002 - TensorFlow's word
        axis = dimension if axis is None else axis
        return ops.cast(getattr(ops, name)(input, axis=0 if axis is None else axis), output_type)

    return apply


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Any:
    squares = ops.sum(ops.square(x), axis=_axes(dim if axis is None else axis), keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(squares, epsilon)))


def _cumsum(x: Any, axis: int = 0) -> Any:
    return ops.cumsum(x, axis=axis)


def _standardize(image: Any) -> Any:
    image = ops.cast(image, "float32")
    pixels = math.prod(plain(_shape(image)[-3:]))
    mean = ops.mean(image, axis=(-1, -2, -3), keepdims=True)
    deviation = ops.std(image, axis=(-1, -2, -3), keepdims=True)
    return ops.divide(ops.subtract(image, mean), ops.maximum(deviation, 1 / math.sqrt(pixels)))


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    tensor = a if _is_tensor(a) else b
    a, b = _like_or_tensor(a, tensor), _like_or_tensor(b, tensor)
    return mark_dense(ops.matmul(_transposed(a) if transpose_a else a, _transposed(b) if transpose_b else b))


def _transposed(x: Any) -> Any:
    order = list(range(len(x.shape)))
    order[-2:] = order[-1], order[-2]
    return ops.transpose(x, order) if _is_tensor(x) else np.transpose(x, order)


# --- shapes ---


def _shape(input: Any, out_type: str = "int32") -> tuple[Any, ...]:  # noqa: A002 - TensorFlow's word
    return tuple(Side(input, axis) for axis in range(len(input.shape)))


def _rank(input: Any) -> int:  # noqa: A002 - TensorFlow's word
    return len(input.shape)


def _reshape(tensor: Any, shape: Any, *, layer_name: str) -> Any:
    sides = list(shape) if isinstance(shape, list | tuple) else [shape]
    keeps_batch = isinstance(sides[0], Side) and sides[0].axis == 0 and sides[0].factor == 1
    if keeps_batch and sum(side == -1 for side in sides) <= 1:
        return keras.layers.Reshape([plain(side) for side in sides[1:]], name=layer_name)(tensor)
    return ops.reshape(tensor, [plain(side) for side in sides])


def _transpose(a: Any, perm: Any = None) -> Any:
    return ops.transpose(a, _axes(perm))


def _expand_dims(input: Any, axis: Any) -> Any:  # noqa: A002 - TensorFlow's word
    return ops.expand_dims(input, _axes(axis)) if _is_tensor(input) else (input,)


def _squeeze(input: Any, axis: Any = None, squeeze_dims: Any = None) -> Any:  # noqa: A002 - TensorFlow's word
    axis = axis or squeeze_dims
    return ops.squeeze(input, axis=_axes(axis) if axis else None)


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    modes = {"CONSTANT": "constant", "REFLECT": "reflect", "SYMMETRIC": "symmetric"}
    widths = [tuple(pair) for pair in plain(paddings)]
    constant = constant_values if mode.upper() == "CONSTANT" else None
    return ops.pad(tensor, widths, modes[mode.upper()], constant)


def _concat(values: Any, axis: int = 0) -> Any:
    values = _listed(values)
    tensors = [value for value in values if _is_tensor(value)]
    if not tensors:  # shapes
        return tuple(side for value in values for side in _listed(value))
    return ops.concatenate([_like_or_tensor(value, tensors[0]) for value in values], axis=axis)


def _stack(values: Any, axis: int = 0) -> Any:
    values = _listed(values)
    return ops.stack(values, axis=axis) if all(map(_is_tensor, values)) else tuple(values)


def _unstack(value: Any, num: int | None = None, axis: int = 0) -> Any:
    return list(value) if not _is_tensor(value) else ops.unstack(value, num=num, axis=axis)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    sizes = plain(num_or_size_splits)
    if isinstance(sizes, int):
        return ops.split(value, sizes, axis=axis)
    side = value.shape[axis]
    if -1 in sizes and side is None:
        raise UnreadableOp("it divides a side without a fixed size")
    sizes = [side - sum(sizes) - 1 if size == -1 else size for size in sizes]
    return ops.split(value, [int(at) for at in np.cumsum(sizes)[:-1]], axis=axis)


def _tile(input: Any, multiples: Any) -> Any:  # noqa: A002 - TensorFlow's word
    return ops.tile(input, [plain(times) for times in multiples])


def _repeat(input: Any, repeats: int, axis: int | None = None) -> Any:  # noqa: A002 - TensorFlow's word
    return ops.repeat(input, repeats, axis=axis)


def _broadcast_to(input: Any, shape: Any) -> Any:  # noqa: A002 - TensorFlow's word
    # Adding zeros broadcasts the batch too, whose size is not known yet.
    sides = [1 if isinstance(side, Side) and side.axis == 0 else plain(side) for side in shape]
    return ops.add(input, np.zeros(sides, input.dtype))


def _gather(params: Any, indices: Any, axis: int | None = None, batch_dims: int = 0) -> Any:
    if batch_dims:
        raise UnreadableOp(f"its argument batch_dims={batch_dims} has no counterpart")
    if not _is_tensor(params):
        return params[indices] if isinstance(indices, int) else tuple(params[index] for index in indices)
    indices = indices if _is_tensor(indices) else np.asarray(plain(indices), np.int32)
    return ops.take(params, indices, axis=axis or 0)


def _reverse(tensor: Any, axis: Any) -> Any:
    return ops.flip(tensor, axis=_axes(axis))


def _getitem(tensor: Any, slice_spec: Any) -> Any:
    spec = slice_spec if isinstance(slice_spec, list | tuple) else [slice_spec]
    if not _is_tensor(tensor):
        return tensor[plain(spec[0])]
    if any(map(_is_tensor, spec)):
        raise UnreadableOp("it takes its indices from a tensor")
    return tensor[tuple(plain(part) for part in spec)]


def _slice(input_: Any, begin: Any, size: Any) -> Any:
    begin, size = plain(list(begin)), plain(list(size))
    if not _is_tensor(input_):
        return input_[begin[0] :] if size[0] == -1 else input_[begin[0] : begin[0] + size[0]]
    return input_[tuple(slice(b, None if s == -1 else b + s) for b, s in zip(begin, size, strict=True))]


def _strided_slice(input_: Any, begin: Any, end: Any, strides: Any = None) -> Any:
    begin, end = plain(list(begin)), plain(list(end))
    steps = [1] * len(begin) if strides is None else plain(list(strides))
    spec = tuple(slice(*part) for part in zip(begin, end, steps, strict=True))
    return input_[spec] if _is_tensor(input_) else input_[spec[0]]


def _crop(image: Any, offset_height: int, offset_width: int, target_height: Any, target_width: Any) -> Any:
    bottom, right = offset_height + plain(target_height), offset_width + plain(target_width)
    return image[..., offset_height:bottom, offset_width:right, :]


def _flip(axis: int) -> Callable[[Any], Any]:
    return lambda image: ops.flip(image, axis=axis)


# --- images ---


def _resize(
    images: Any, size: Any, method: str = "bilinear", antialias: bool = False, *, layer_name: str
) -> keras.KerasTensor:
    if antialias:
        raise UnreadableOp("its argument antialias=True has no counterpart")
    method = str(method).lower()
    if method not in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        raise UnreadableOp(f"its argument method={method!r} has no counterpart")
    if method != "nearest":
        images = ops.cast(images, "float32") if images.dtype != "float32" else images  # what TensorFlow returns
    like = _same_size_as(size)
    if like is None or method not in ("bilinear", "nearest"):
        return ops.image.resize(images, plain(size), interpolation=method)
    tensor, factor = like
    if tensor is images and factor == int(factor):
        layer = keras.layers.UpSampling2D(int(factor), interpolation=method, name=layer_name)
        return layer(images)
    if factor == 1 and method == "bilinear":
        return ResizeBilinear(align_corners=False, name=layer_name)([images, tensor])
    if factor == 1 and _divides(images.shape[1:3], tensor.shape[1:3]):
        return UpsampleLike(name=layer_name)([images, tensor])
    return ops.image.resize(images, plain(size), interpolation=method)


def _legacy_resize(method: str | None) -> Callable[..., keras.KerasTensor]:
    def apply(
        images: Any,
        size: Any,
        method: Any = method,
        align_corners: bool = False,
        half_pixel_centers: bool = False,
        *,
        layer_name: str,
    ) -> keras.KerasTensor:
        method = _METHODS[method] if isinstance(method, int) else str(method or "bilinear").lower()
        if method not in ("bilinear", "nearest"):
            raise UnreadableOp(f"its argument method={method!r} has no counterpart")
        if half_pixel_centers and not align_corners:
            return _resize(images, size, method, layer_name=layer_name)
        if method == "bilinear":
            images = ops.cast(images, "float32") if images.dtype != "float32" else images
        like = _same_size_as(size)
        following = like is not None and like[1] == 1
        inputs = [images, like[0]] if following and like is not None else images
        fixed = None if following else plain(list(size))
        if method == "bilinear" and align_corners:
            return ResizeBilinear(size=fixed, align_corners=True, name=layer_name)(inputs)
        if method == "nearest" and not align_corners and following:
            return UpsampleLike(name=layer_name)(inputs)
        return LegacyResize(size=fixed, interpolation=method, align_corners=align_corners, name=layer_name)(inputs)

    return apply


def _same_size_as(size: Any) -> tuple[keras.KerasTensor, Fraction] | None:
    """Return the tensor whose height and width a size is, and by which factor; ``None`` for any other size."""
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, Side) for side in size)):
        return None
    height, width = size
    same = height.tensor is width.tensor and height.factor == width.factor and (height.axis, width.axis) == (1, 2)
    return (height.tensor, height.factor) if same else None


def _divides(source: Sequence[int | None], target: Sequence[int | None]) -> bool:
    """Return whether every side is a multiple of another's, where all rules of nearest neighbors agree."""
    sides = zip(source, target, strict=True)
    return all(small is not None and large is not None and large % small == 0 for small, large in sides)


def _pool(name: str) -> Callable[..., keras.KerasTensor]:
    def apply(input: Any, ksize: Any, strides: Any, padding: str, *, layer_name: str) -> Any:  # noqa: A002
        window, step = _two(ksize), _two(strides)
        layer = getattr(keras.layers, name)(window, step, padding.lower(), name=layer_name)
        return layer(input)

    return apply


def _two(sides: Any) -> tuple[int, int]:
    sides = [sides] if isinstance(sides, int) else list(sides)
    sides = sides[1:3] if len(sides) == 4 else sides
    return (sides[0], sides[-1])


def _convolution(input: Any, filters: Any = None, strides: Any = 1, padding: str = "VALID", filter: Any = None) -> Any:  # noqa: A002
    kernel = filters if filter is None else filter
    return ops.conv(input, _like_or_tensor(kernel, input), strides=_two(strides), padding=padding.lower())


def _depthwise(input: Any, filter: Any, strides: Any, padding: str) -> Any:  # noqa: A002 - TensorFlow's words
    kernel = _like_or_tensor(filter, input)
    return ops.depthwise_conv(input, kernel, strides=_two(strides), padding=padding.lower())


def _depth_to_space(input: Any, block_size: int) -> Any:  # noqa: A002 - TensorFlow's word
    _, height, width, channels = (side.size for side in _shape(input))
    if None in (height, width):
        raise UnreadableOp("the model's input has no fixed size")
    depth = channels // block_size**2
    x = ops.reshape(input, (-1, height, width, block_size, block_size, depth))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height * block_size, width * block_size, depth))


def _space_to_depth(input: Any, block_size: int) -> Any:  # noqa: A002 - TensorFlow's word
    _, height, width, channels = (side.size for side in _shape(input))
    if None in (height, width):
        raise UnreadableOp("the model's input has no fixed size")
    rows, columns = height // block_size, width // block_size
    x = ops.reshape(input, (-1, rows, block_size, columns, block_size, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows, columns, block_size**2 * channels))


def _one_hot(indices: Any, depth: int, axis: int = -1, dtype: str = "float32") -> Any:
    return ops.one_hot(indices, depth, axis=axis, dtype=dtype)


def _itself(input: Any, shape: Any = None) -> Any:  # noqa: A002 - TensorFlow's word
    return input


_UNARY = {
    **{f"math.{name}": name for name in ("abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "log", "log1p")},
    **{f"math.{name}": name for name in ("logical_not", "negative", "round", "rsqrt", "sigmoid")},
    **{f"math.{name}": name for name in ("sign", "sin", "softplus", "sqrt", "square", "tanh")},
    **{f"nn.{name}": name for name in ("elu", "relu", "relu6", "selu", "softsign")},
    "zeros_like": "zeros_like",
    "ones_like": "ones_like",
    "stop_gradient": "stop_gradient",
    "image.rgb_to_grayscale": "image.rgb_to_grayscale",
}
_BINARY = {
    **{f"math.{name}": name for name in ("add", "subtract", "multiply", "maximum", "minimum", "divide_no_nan")},
    **{f"math.{name}": name for name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")},
    **{f"math.{name}": name for name in ("logical_and", "logical_or")},
    "__operators__.add": "add",
    "math.truediv": "true_divide",
    "floor_div": "floor_divide",
    "math.floormod": "mod",
    "math.pow": "power",
}
_REDUCED = {"sum": "sum", "mean": "mean", "max": "max", "min": "min", "prod": "prod", "all": "all", "any": "any"}
_REDUCED = {**_REDUCED, "std": "std", "variance": "var", "logsumexp": "logsumexp"}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{symbol: _unary(name) for symbol, name in _UNARY.items()},
    **{symbol: _binary(name) for symbol, name in _BINARY.items()},
    **{f"math.reduce_{name}": _reduce(ours) for name, ours in _REDUCED.items()},
    "math.squared_difference": _squared_difference,
    "math.add_n": _add_n,
    "math.argmax": _arg("argmax"),
    "math.argmin": _arg("argmin"),
    "math.l2_normalize": _l2_normalize,
    "math.cumsum": _cumsum,
    "linalg.matmul": _matmul,
    "identity": _itself,
    "ensure_shape": _itself,
    "cast": _cast,
    "clip_by_value": _clip,
    "where": _where,
    "nn.silu": _silu,
    "nn.leaky_relu": _leaky_relu,
    "nn.gelu": _gelu,
    "nn.softmax": _softmax,
    "nn.log_softmax": _log_softmax,
    "nn.bias_add": _bias_add,
    "shape": _shape,
    "rank": _rank,
    "reshape": _reshape,
    "transpose": _transpose,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "pad": _pad,
    "concat": _concat,
    "stack": _stack,
    "unstack": _unstack,
    "split": _split,
    "tile": _tile,
    "repeat": _repeat,
    "broadcast_to": _broadcast_to,
    "gather": _gather,
    "reverse": _reverse,
    "slice": _slice,
    "strided_slice": _strided_slice,
    "__operators__.getitem": _getitem,
    "one_hot": _one_hot,
    "image.resize": _resize,
    "compat.v1.image.resize_images": _legacy_resize(None),
    "compat.v1.image.resize_bilinear": _legacy_resize("bilinear"),
    "compat.v1.image.resize_nearest_neighbor": _legacy_resize("nearest"),
    "image.crop_to_bounding_box": _crop,
    "image.flip_left_right": _flip(-2),
    "image.flip_up_down": _flip(-3),
    "image.convert_image_dtype": _convert_image_dtype,
    "image.per_image_standardization": _standardize,
    "nn.max_pool2d": _pool("MaxPooling2D"),
    "nn.max_pool": _pool("MaxPooling2D"),
    "nn.avg_pool2d": _pool("AveragePooling2D"),
    "nn.avg_pool": _pool("AveragePooling2D"),
    "nn.conv2d": _convolution,
    "nn.convolution": _convolution,
    "nn.depthwise_conv2d": _depthwise,
    "nn.depth_to_space": _depth_to_space,
    "nn.space_to_depth": _space_to_depth,
}
