"""Run a float model as its integer file would compute it, in any Keras backend, with gradients.

In training a value is rounded where the file rounds it, and a batch norm takes the statistics of the batch until it is
frozen; since weights have a scale for each output channel, they are rounded alike whether a batch norm is folded into
them or not. At inference the batch norm is folded, biases are rounded, and sums and resizes round as the kernels of
XNNPACK (TFLite) and ONNX Runtime do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from edgeseg.models.learned_ranges import LearnedRanges
from edgeseg.training.quantization.kernels import convolved, exact_sum, kernel_of, moved, product
from edgeseg.training.quantization.scheme import Grid, Scheme, byte_of_zero, clipped, quantized_weights, rounded
from edgeseg.training.quantization.steps import HIGHEST, Plan, Slot, Step, plan_of

# The logarithms of the ends of a range learn, in units of this: with the learning rate of 1e-4 that suits trained
# weights an optimizer that normalizes its steps moves an end by 0.1 % a step.
_RATE = 10.0

# Steps of a scale between two powers of two, of ranges that are written.
_SCALE_STEPS = 2**15


class FakeQuantized(keras.layers.Layer):  # type: ignore[misc]  # keras has no type information
    """A float model run in the integers of a file.

    Args:
        network: functional, of one image and one map; its layers are this layer's, so that what is learned is the
            model's.
        scheme: the integers.
        image: mean and std of the pixels that the model takes, three numbers each: the file takes the bytes.
        teacher: returns the logits that are imitated, for a batch of images; and the weight of that loss.

    Raises:
        UnsupportedModel: the model has a layer that cannot be trained in integers.
    """

    def __init__(
        self,
        network: keras.Model,
        scheme: Scheme,
        image: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        teacher: tuple[Callable[[Any], Any], float] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype="float32")
        # XLA on a CPU takes minutes to compile so many small ops; TensorFlow runs them as they are.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self.plan: Plan = plan_of(network)
        self.network, self.scheme = network, scheme
        self._mean, self._std = (np.asarray(values, np.float32) for values in image)
        # A function hides the teacher's weights, which are neither saved nor learned.
        self._teacher = teacher
        shape = (self.plan.num_groups, 2)
        self.starts = self.add_weight(name="range_starts", shape=shape, initializer="zeros", trainable=False)
        self.learned = self.add_weight(name="ranges", shape=shape, initializer="zeros", trainable=True)
        self.frozen = self.add_weight(name="batch_norm_frozen", shape=(), initializer="zeros", trainable=False)
        self._caps, self._learns = _caps(self.plan), _learns(self.plan)
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the network's."""
        return self.network.compute_output_shape(input_shape)

    def call(self, images: Any, training: bool = False) -> Any:
        """Return logits ``(B, H, W, C)`` float32 that the integers of the file mean."""
        grids = self._grids()
        values: dict[int, Any] = {}
        values[0] = self._image(images, grids[0], exact=not training)
        for step in self.plan.steps:
            self._run(step, values, grids, training=bool(training))
        result = values[self.plan.output] * grids[self.plan.output].scale
        if training and self._teacher is not None:
            teach, weight = self._teacher
            logits = ops.stop_gradient(teach(images))
            if logits.shape[-1] == 1:  # the foreground's, beside a background of 0
                result_, logits = (ops.concatenate([ops.zeros_like(x), x], axis=-1) for x in (result, logits))
            else:
                result_ = result
            log_taught, log_own = (ops.log_softmax(x, axis=-1) for x in (logits, result_))
            divergence = ops.sum(ops.exp(log_taught) * (log_taught - log_own), axis=-1)
            self.add_loss(weight * ops.mean(divergence))
        return result

    def limits(self) -> Any:
        """Return the ranges, ``(R, 2)``: the ends that are reached."""
        ends = self.starts * ops.exp(_RATE * self.learned * self._learns)
        return ops.stack([ends[:, 0], ops.minimum(ends[:, 1], self._caps)], axis=-1)

    def _grids(self) -> dict[int, Grid]:
        """Return the integers of each value."""
        ends = self.limits()
        made: dict[tuple[int, float | None], Grid] = {}
        grids: dict[int, Grid] = {}
        for value, group in self.plan.groups.items():
            end = self.scheme.end(self.plan.highest.get(value))
            if (group, end) not in made:
                low, high = ends[group, 0], ends[group, 1]
                if end is not None:
                    low, high = ops.zeros_like(low), ops.minimum(high, end)
                made[group, end] = self.scheme.grid(low, high)
            grids[value] = made[group, end]
        return grids

    def _image(self, images: Any, grid: Grid, *, exact: bool) -> Any:
        """Return the numbers of normalized images, which the file makes of bytes by a 1x1 depthwise convolution."""
        if not exact:
            return clipped(rounded(images / grid.scale), grid.least, grid.most)
        pixels = ops.clip(ops.round(images * self._std + self._mean), 0.0, 255.0)
        scales = (1 / self._std) / np.float32(127)
        biases = np.round(-self._mean * (1 / self._std) / scales)
        sums = 127.0 * pixels + biases
        return ops.clip(ops.round(sums * (scales / grid.scale)), grid.least, grid.most)

    def _run(self, step: Step, values: dict[int, Any], grids: Mapping[int, Grid], *, training: bool) -> None:
        given = [values[value] for value in step.inputs]
        if step.kind == "move":
            first, *others = _called(step, values)
            first = moved(step, given[0], first, grids[step.inputs[0]], self.scheme, training=training)
            values.update(zip(step.outputs, [first, *others], strict=True))
            return
        (result,) = step.outputs
        grid, sources = grids[result], [grids[value] for value in step.inputs]
        if step.kind == "concat":
            alike = [
                x if source is grid else clipped(rounded(x * (source.scale / grid.scale)), grid.least, grid.most)
                for x, source in zip(given, sources, strict=True)
            ]
            (values[result],) = _called(step, dict(zip(step.inputs, alike, strict=True)))
            return
        least, most = grid.limits("linear" if step.activation == "sigmoid" else step.activation)
        if step.kind == "filter":
            numbers = self._filtered(step, given[0], sources[0], grid, training=training)
        elif step.kind == "add" and not training:
            numbers = exact_sum(given, sources, grid, self.scheme)
        elif step.kind == "add":
            numbers = sum(x * (source.scale / grid.scale) for x, source in zip(given, sources, strict=True))
        elif step.kind == "multiply":
            numbers = product(given, sources, grid, self.scheme)
        elif step.kind == "mean":
            (mean,) = _called(step, values)
            numbers = mean * (sources[0].scale / grid.scale)
        elif step.activation == "sigmoid":
            numbers = ops.sigmoid(given[0] * sources[0].scale) / grid.scale
        else:
            numbers = given[0] * (sources[0].scale / grid.scale)
        values[result] = clipped(rounded(numbers), least, most)

    def _filtered(self, step: Step, x: Any, source: Grid, grid: Grid, *, training: bool) -> Any:
        """Return what a filter gives in steps of its result, not rounded yet."""
        kernel = kernel_of(step)
        largest = self.scheme.largest_weight(depthwise=kernel.is_depthwise)
        bias, norm = kernel.bias, step.norm
        if not training:
            weights, bias = _folded(kernel.weights, kernel.per_channel, bias, norm)
            numbers, scale = quantized_weights(weights, kernel.axes, largest)
            steps = source.scale * ops.reshape(scale, (-1,))
            sums = convolved(step, x, numbers)
            if bias is not None:
                # Of a channel of zeros more than an int32 has; the files widen its steps.
                sums = sums + ops.round(bias / steps)
            return sums * (steps / grid.scale)
        numbers, scale = quantized_weights(kernel.weights, kernel.axes, largest)
        sums, steps = convolved(step, x, numbers), source.scale * ops.reshape(scale, (-1,))
        # Numbers for each channel are combined first: an image has a million times as many values.
        if norm is None:
            result = sums * (steps / grid.scale)
            return result if bias is None else result + bias / grid.scale
        mean, variance = self._statistics(norm, sums, steps, bias)
        factor = ops.rsqrt(variance + norm.epsilon)
        if norm.scale:
            factor = factor * norm.gamma
        shift = -mean * factor if bias is None else (bias - mean) * factor
        if norm.center:
            shift = shift + norm.beta
        return sums * (steps * factor / grid.scale) + shift / grid.scale

    def _statistics(self, norm: keras.layers.BatchNormalization, sums: Any, steps: Any, bias: Any) -> tuple[Any, Any]:
        """Return mean and variance that a batch norm takes: the batch's, or those of before once they are frozen.

        Args:
            norm: its moving averages follow the batch until then.
            sums: what it normalizes, in whole numbers.
            steps: what one of them means, for each channel.
            bias: of each channel, or ``None``.
        """
        mean, variance = ops.convert_to_tensor(norm.moving_mean), ops.convert_to_tensor(norm.moving_variance)
        if not norm.trainable:
            return mean, variance
        batch_mean, batch_variance = ops.moments(sums, axes=(0, 1, 2))
        batch_mean, batch_variance = batch_mean * steps, batch_variance * ops.square(steps)
        if bias is not None:
            batch_mean = batch_mean + bias
        keep = self.frozen + (1.0 - self.frozen) * norm.momentum
        for moving, batch in ((norm.moving_mean, batch_mean), (norm.moving_variance, batch_variance)):
            moving.assign(moving * keep + ops.stop_gradient(batch) * (1.0 - keep))
        is_frozen = self.frozen > 0.5
        return ops.where(is_frozen, mean, batch_mean), ops.where(is_frozen, variance, batch_variance)

    # What is not part of a training step.

    def values(self, images: Any) -> dict[str, NDArray[np.float32]]:
        """Run the float model, and return every activation that has a range, by name.

        Args:
            images: normalized, ``(B, H, W, 3)``.
        """
        values: dict[int, Any] = {0: ops.convert_to_tensor(images)}
        for step in self.plan.steps:
            given = [values[value] for value in step.inputs]
            if step.kind == "filter":
                kernel = kernel_of(step)
                weights, bias = _folded(kernel.weights, kernel.per_channel, kernel.bias, step.norm)
                y = convolved(step, given[0], weights)
                out = [y if bias is None else y + bias]
            elif step.kind == "add":
                out = [given[0] + given[1]]
            elif step.kind == "multiply":
                out = [given[0] * given[1]]
            elif step.kind == "activation":
                out = given
            else:
                out = _called(step, values)
            if step.activation == "sigmoid":
                out = [ops.sigmoid(out[0])]
            elif step.activation != "linear":
                out = [ops.clip(out[0], 0.0, HIGHEST[step.activation])]
            values.update(zip(step.outputs, out, strict=True))
        return {name: ops.convert_to_numpy(values[value]) for value, name in self.plan.names.items()}

    def start_at(self, limits: Mapping[str, tuple[float, float]]) -> None:
        """Set the ranges, each by the name of one of its values; what was learned before is forgotten."""
        starts = np.zeros((self.plan.num_groups, 2), np.float32)
        for name, group in self.plan.learned_names().items():
            if name in limits:
                low, high = limits[name]
                starts[group] = min(low, starts[group, 0]), max(high, starts[group, 1])
        for group in {group for name, group in self.plan.learned_names().items() if name in _fixed(self.plan)}:
            starts[group] = 0.0, _sigmoid_limit(self.scheme)
        self.starts.assign(starts)
        self.learned.assign(np.zeros_like(starts))

    def ranges(self) -> LearnedRanges:
        """Return the ranges as they are now."""
        ends = [_on_grid(float(low), float(high), self.scheme) for low, high in ops.convert_to_numpy(self.limits())]
        return LearnedRanges(
            precision=self.scheme.precision,
            limits={name: ends[group] for name, group in self.plan.learned_names().items()},
        )

    def get_config(self) -> dict[str, Any]:
        """Return what Keras writes into the file that a run is resumed from; nothing is built from it again."""
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "precision": self.scheme.precision,
        }


def fake_quantized(
    model: keras.Model, ranges: LearnedRanges, image: tuple[tuple[float, ...], tuple[float, ...]], scheme: Scheme
) -> FakeQuantized:
    """Return the layer that computes what the exported file of a trained model computes.

    Args:
        model: the float model that the run wrote.
        ranges: beside it.
        image: mean and std of the pixels.
        scheme: the integers; their precision is that of the ranges.
    """
    layer = FakeQuantized(model, scheme, image)
    layer.start_at(ranges.limits)
    return layer


def calibrate(layer: FakeQuantized, batches: Iterable[Any]) -> None:
    """Start the ranges where the squared error of rounding the float model's activations is least.

    Args:
        layer: changed.
        batches: images as the model takes them.
    """
    random = np.random.default_rng(0)
    groups = layer.plan.learned_names()
    ends: dict[int, tuple[float, float]] = {}
    samples: dict[int, list[NDArray[np.float32]]] = {}
    for images in batches:
        for name, array in layer.values(images).items():
            low, high = ends.get(groups[name], (0.0, 0.0))
            ends[groups[name]] = min(low, float(array.min())), max(high, float(array.max()))
            flat = array.reshape(-1)
            samples.setdefault(groups[name], []).append(flat[random.integers(0, flat.size, _SAMPLES)])
    limits = {
        name: _least_error(np.concatenate(samples[group]), ends[group], layer.scheme) for name, group in groups.items()
    }
    limits["image"] = _on_grid(*_image_ends(layer), layer.scheme)
    layer.start_at(limits)


def _image_ends(layer: FakeQuantized) -> tuple[float, float]:
    """Return the range of normalized images: of int8, where all channels have the same, its integers are the bytes."""
    means, zero = layer._mean, byte_of_zero(float(layer._mean[0]))
    alike = np.all(means == means[0]) and np.all(layer._std == layer._std[0])
    if alike and 0 <= zero <= 255 and not layer.scheme.is_symmetric:
        means = np.full_like(means, zero)
    lowest, highest = ((end - means) / layer._std for end in (0.0, 255.0))
    return min(0.0, float(lowest.min())), max(0.0, float(highest.max()))


# Values of each activation that are looked at in a batch.
_SAMPLES = 4096
# Shares of the whole range that are tried.
_SHARES = np.linspace(1.0, 0.3, 29)


def _least_error(values: NDArray[np.float32], ends: tuple[float, float], scheme: Scheme) -> tuple[float, float]:
    low, high = min(ends[0], 0.0), max(ends[1], 1e-6)
    if scheme.is_symmetric:  # 65536 steps are fine enough for the whole range
        return low, high

    def error(share: float) -> float:
        scale = (high - low) * share / 255
        least = np.round(low * share / scale)
        numbers = np.clip(np.round(values / scale), least, least + 255)
        return float(np.mean((numbers * scale - values) ** 2))

    best = min(_SHARES, key=error)
    return float(low * best), float(high * best)


def _on_grid(low: float, high: float, scheme: Scheme) -> tuple[float, float]:
    """Return a range of which every quantizer makes the same integers: it begins at one, and its scale is short.

    One quantizer divides in float32, another in float64; of a scale of 15 bits, whose product with 8 bits is exact,
    both make the same. A last bit that differs turns a few values of a map over, which a deep model makes thousands of.
    """
    if scheme.is_symmetric:
        return low, high
    fraction, exponent = math.frexp((high - low) / 255)
    scale = math.ldexp(round(fraction * _SCALE_STEPS), exponent) / _SCALE_STEPS
    least = round(low / scale)
    return least * scale, (least + 255) * scale


def _called(step: Step, values: Mapping[int, Any]) -> list[Any]:
    """Call the layer of a step on values."""
    args, kwargs = keras.tree.map_structure(
        lambda x: values[x.value] if isinstance(x, Slot) else x, (step.args, step.kwargs)
    )
    return list(keras.tree.flatten(step.operation(*args, **kwargs)))


def _folded(weights: Any, per_channel: Any, bias: Any, norm: Any) -> tuple[Any, Any]:
    """Return a kernel and its bias with a batch norm in them."""
    if norm is None:
        return weights, bias
    factor = ops.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.scale:
        factor = factor * norm.gamma
    shift = -norm.moving_mean * factor if bias is None else (bias - norm.moving_mean) * factor
    return weights * ops.reshape(factor, per_channel), shift + norm.beta if norm.center else shift


def _fixed(plan: Plan) -> set[str]:
    """Return the names of the values whose integers the kernels fix: those of a sigmoid."""
    return {step.name for step in plan.steps if step.activation == "sigmoid"}


def _sigmoid_limit(scheme: Scheme) -> float:
    return 32767 / 32768 if scheme.is_symmetric else 255 / 256


def _learns(plan: Plan) -> NDArray[np.float32]:
    """Return ``(R, 1)``: 0 for the ranges that are known, those of the image's bytes and of a sigmoid, else 1."""
    known = {plan.groups[0], *(group for name, group in plan.learned_names().items() if name in _fixed(plan))}
    return np.array([[0.0 if group in known else 1.0] for group in range(plan.num_groups)], np.float32)


def _caps(plan: Plan) -> NDArray[np.float32]:
    """Return what each range reaches at most: 6 where all that shares it is what a ReLU6 gives."""
    made: dict[int, float] = {plan.groups[0]: np.inf}
    for step in plan.steps:
        if step.kind in ("move", "concat"):
            continue
        for value in step.outputs:
            group = plan.groups[value]
            made[group] = max(made.get(group, 0.0), HIGHEST.get(step.activation, np.inf))
    caps = np.full(plan.num_groups, 3e38, np.float32)
    for group, cap in made.items():
        caps[group] = min(cap, 3e38)
    return caps
