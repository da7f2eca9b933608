"""Keras' layers that work step by step: Dense, Embedding, Masking, activations, normalizations, dropout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..layers import (
    LINEAR,
    OVER_VALUES,
    SIGMOID,
    Activate,
    Activation,
    Combine,
    Dense,
    Embedding,
    LayerNorm,
    Mask,
    SoftmaxSteps,
)
from ..model import Array
from . import keras_activations
from .keras_build import Call, Value
from .keras_config import shown
from .keras_fold import Affine

SAFE_VARIANCE = 1e-7  # Keras' epsilon: what Normalization divides by is at least that


def dense(call: Call) -> Value:
    """Dense, over the last axis of any shape."""
    settings, x = call.settings, call.x
    old = "output_dim" in settings.values
    units = settings.whole("units", "output_dim")
    biased = settings.flag("bias" if old else "use_bias", default=True)
    kernel, bias = ("W", "b") if old else ("kernel", "bias")
    found = call.arrays({kernel: (last_axis(call, x), units), **({bias: (units,)} if biased else {})})
    halves = call.halves("activation")
    activation = call.activation("activation")
    values = found[bias] if biased else np.zeros(units, np.float32)
    y = call.by_rows(x, units, lambda name, s, y: Dense(name, (s,), (y,), found[kernel].T, values, activation))
    return halved(call, y) if halves else y


def last_axis(call: Call, x: Value) -> int:
    width = x.shape[-1] if x.shape else None
    if width is None:
        raise call.refuse(f"it reads shape {shown(list(x.shape))}; the number of values must be known")
    return width


def embedding(call: Call) -> Value:
    """Rows of a table for whole numbers; with mask_zero, 0 marks missing steps."""
    settings, x = call.settings, call.build.settle(call.x, True, call.spec.name)
    vocabulary, columns = settings.whole("input_dim"), settings.whole("output_dim")
    masked = settings.flag("mask_zero", default=False)
    role = "W" if "W" in dict(call.spec.tensors) else "embeddings"
    found = call.arrays({role: (vocabulary, columns)})
    if x.inside and not x.rows and len(x.shape) == 1:  # a row of ids is the sequence inside
        count = x.shape[0] or 1
        x = replace(x, tensor=call.split(x.tensor, count, 1) if count > 1 else x.tensor, rows=True)
    y = call.add(lambda name, y: Embedding(name, (x.tensor,), (y,), found[role]), x.width * columns)
    mask = None
    if masked:
        if not x.rows or x.width != 1 or len(x.shape) != 1:
            raise call.refuse(f"mask_zero for numbers of shape {shown(list(x.shape))}; one a step is supported")
        mask = missing(call, x, 0.0)
    return Value(y, (*x.shape, columns), x.rows, mask, x.inside)


def missing(call: Call, x: Value, value: float) -> str:
    """The mask of steps in which some value differs from `value`."""
    return _masked(call, x, value)[1]


def _masked(call: Call, x: Value, value: float) -> tuple[str, str]:
    """x with zeros where all values are `value`, and the mask."""
    known = call.build.known
    if ("mask", x.tensor, value) not in known:
        mask = call.build.tensor(call.build.unique(f"{call.spec.name}_mask"), 1)
        known["masked", x.tensor, value] = call.add(
            lambda name, y: Mask(name, (x.tensor,), (y, mask), value), x.width, "_masked"
        )
        known["mask", x.tensor, value] = mask
    return known["masked", x.tensor, value], known["mask", x.tensor, value]


def masking(call: Call) -> Value:
    x, value = call.x, call.settings.number("mask_value", 0.0)
    if value is None:
        raise call.settings.refuse("mask_value", value, "expected a number")
    if not x.rows or len(x.shape) != 2:
        raise call.refuse(f"it masks shape {shown(list(x.shape))}; only steps of values (steps, values) can be masked")
    y, mask = _masked(call, x, value)
    return replace(x, tensor=y, mask=mask)


def identity(call: Call) -> Value:
    """Layers that act in training only."""
    return call.x


# ---- activations ----


def activation_layer(call: Call) -> Value:
    """Activation, LeakyReLU and ELU as layers."""
    make = keras_activations.LAYERS.get(call.spec.kind)
    if not make and call.halves("activation"):
        return halved(call, call.x)
    return activated(call, call.x, make(call.settings) if make else call.activation("activation"))


def activated(call: Call, x: Value, activation: Activation, suffix: str = "") -> Value:
    if activation == LINEAR:
        return x
    if activation.name in OVER_VALUES:
        if len(x.shape) == 1 and x.rows:
            raise call.refuse(f"{activation.name} over the steps of a sequence of single numbers is not supported")
        return call.by_rows(x, last_axis(call, x), lambda name, s, y: Activate(name, (s,), (y,), activation), suffix)
    y = call.add(lambda name, y: Activate(name, (x.tensor,), (y,), activation), x.width, suffix)
    return replace(x, tensor=y)


def halved(call: Call, x: Value) -> Value:
    """glu: the first half of a step's values times the sigmoid of the second."""
    width = last_axis(call, x)
    if width % 2:
        raise call.refuse(f"glu halves the values of a step, and these are {width}")
    first = _half(call, x, slice(width // 2), LINEAR, "_first")
    gate = _half(call, x, slice(width // 2, width), SIGMOID, "_gate")
    return replace(first, tensor=call.combine("multiply", (first.tensor, gate.tensor), first.width, "_glu"))


def _half(call: Call, x: Value, part: slice, activation: Activation, suffix: str) -> Value:
    chosen = np.eye(last_axis(call, x))[part]
    zeros = np.zeros(len(chosen))
    return call.by_rows(x, len(chosen), lambda name, s, y: Dense(name, (s,), (y,), chosen, zeros, activation), suffix)


def softmax_layer(call: Call) -> Value:
    """Softmax over the values of a step, or over the steps."""
    x = call.x
    if x.mask is not None and (call.build.generation or 0) >= 2:
        raise call.refuse("it softmaxes under a mask; Keras takes that as one of the values, which is not supported")
    axis = call.settings.axis("axis", -1, len(x.shape))
    if axis == -1:
        return activated(call, x, Activation("softmax"))
    if axis == -2 and x.rows and len(x.shape) == 2 and not x.inside:
        y = call.add(lambda name, y: SoftmaxSteps(name, (x.tensor,), (y,)), x.width)
        return replace(x, tensor=y)
    raise call.refuse(f"axis = {axis}: not supported for shape {shown(list(x.shape))}")


def prelu(call: Call) -> Value:
    """x where it is positive, alpha x elsewhere: relu(x) - alpha relu(-x). One alpha for all steps."""
    x, axes = call.x, call.settings.take("shared_axes")
    shape: tuple[int, ...]
    if x.single and len(x.shape) == 1 and not axes:
        shape = (last_axis(call, x),)
    elif len(x.shape) == 2 and axes in ([1], [1, 2]):
        shape = (1, last_axis(call, x) if axes == [1] else 1)
    elif len(x.shape) == 2 and x.shape[0] and axes in (None, [], [2]):
        shape = (x.shape[0], 1 if axes else last_axis(call, x))
    else:
        raise call.settings.refuse("shared_axes", axes, f"not supported for shape {shown(list(x.shape))}")
    every = call.arrays({"alpha": shape})["alpha"]
    alpha = every.reshape(-1, shape[-1])[0]
    if (every != alpha).any():
        reason = "its alpha differs from step to step, which no layer has; share it: shared_axes = [1]"
        raise call.settings.refuse("shared_axes", axes, reason)
    if (alpha == alpha[0]).all():
        return activated(call, x, Activation("leaky_relu", float(alpha[0])))
    relu = Activation("relu")
    negative = activated(call, affine(call, x, -1.0, 0.0, "_turned"), relu, "_negative")
    positive = activated(call, x, relu, "_positive")
    lower = affine(call, negative, -alpha, 0.0, "_alpha")
    y = call.add(lambda name, y: Combine(name, (positive.tensor, lower.tensor), (y,), "add"), x.width)
    return replace(x, tensor=y)


# ---- scales ----


def affine(call: Call, x: Value, scale: Any, offset: Any, suffix: str = "") -> Value:
    """scale x + offset; numbers, or one for each of the last axis."""
    each = 1 if x.rows and len(x.shape) == 1 else last_axis(call, x)
    both = []
    for values in (scale, offset):
        array = np.asarray(values, np.float64).reshape(-1)
        if array.size not in (1, each):
            raise call.refuse(f"{array.size} numbers for {each} values")
        both.append(np.tile(array, x.width // array.size))
    y = call.add(lambda name, y: Affine(name, (x.tensor,), (y,), both[0], both[1], x.single), x.width, suffix)
    return replace(x, tensor=y)


def batch_normalization(call: Call) -> Value:
    settings, x = call.settings, call.x
    width = last_axis(call, x)
    if settings.axis("axis", -1, len(x.shape)) != -1:
        raise call.refuse("axis: only the last, over the values, is supported")
    mode = settings.take("mode", 0)
    if mode != 0 or isinstance(mode, bool):
        raise settings.refuse("mode", mode, "it normalizes by the batch it runs in; only 0 is supported")
    old = "running_std" in dict(call.spec.tensors)  # of Keras 1, which calls a variance so
    center, scaled = settings.flag("center", default=True), settings.flag("scale", default=True)
    epsilon = settings.number("epsilon", 1e-3)
    roles = [*(["gamma"] if scaled else []), *(["beta"] if center else [])]
    roles += ["running_mean", "running_std"] if old else ["moving_mean", "moving_variance"]
    found = {role: values.astype(np.float64) for role, values in call.arrays(dict.fromkeys(roles, (width,))).items()}
    mean, variance = found[roles[-2]], found[roles[-1]]
    scale = found.get("gamma", 1.0) / np.sqrt(variance + (epsilon or 0.0))
    return affine(call, x, _finite(call, scale), _finite(call, found.get("beta", 0.0) - mean * scale))


def _finite(call: Call, values: Any) -> Array:
    array: Array = np.asarray(values)
    if not np.isfinite(array).all():
        raise call.refuse("its variance is 0 or negative, so it would divide by nothing")
    return array


def normalization(call: Call) -> Value:
    """Normalization with the mean and variance it adapted to, or with given ones; `invert` undoes it."""
    settings, x = call.settings, call.x
    axis, width = settings.take("axis", -1), last_axis(call, x)
    last = axis in (-1, len(x.shape), [-1], [len(x.shape)], None, [])
    if not last or isinstance(axis, bool):
        raise settings.refuse("axis", axis, "only -1, over the values of a step, and null are supported")
    mean, variance = settings.numbers("mean"), settings.numbers("variance")
    if (mean is None) != (variance is None):
        raise call.refuse("of mean and variance it has only one")
    if mean is None:
        shape = () if axis in (None, []) else (width,)
        shapes = {"mean": shape, "variance": shape, "count": ()}
        found = call.arrays({role: shape for role, shape in shapes.items() if role in dict(call.spec.tensors)})
        if "mean" not in found:
            raise call.refuse("its mean is missing; call adapt() and save the model again")
        mean, variance = found["mean"], found["variance"]
    elif call.spec.tensors:
        raise call.refuse("it has tensors, though its mean and variance are given")
    middle, spread = np.asarray(mean, np.float64), np.sqrt(np.asarray(variance, np.float64))
    spread = np.maximum(_finite(call, spread), SAFE_VARIANCE)
    if settings.flag("invert", default=False):
        return affine(call, x, spread, middle)
    return affine(call, x, 1 / spread, -middle / spread)


def rescaling(call: Call) -> Value:
    scale, offset = call.settings.numbers("scale", 1.0), call.settings.numbers("offset", 0.0)
    return affine(call, call.x, 1.0 if scale is None else scale, 0.0 if offset is None else offset)


def layer_normalization(call: Call) -> Value:
    settings, x = call.settings, call.x
    width = last_axis(call, x)
    if settings.axis("axis", -1, len(x.shape)) != -1:
        raise call.refuse("axis: only the last, over the values of a step, is supported")
    rms = settings.flag("rms_scaling", default=False)
    center = settings.flag("center", default=True) and not rms
    scaled = settings.flag("scale", default=True) or rms
    epsilon = settings.number("epsilon", 1e-3) or 0.0
    roles = [*(["gamma"] if scaled else []), *(["beta"] if center else [])]
    found = call.arrays(dict.fromkeys(roles, (width,)))
    scale = found.get("gamma", np.ones(width, np.float32))
    offset = found.get("beta", np.zeros(width, np.float32))
    if rms:
        return _by_deviation(call, x, width, scale, epsilon)
    return call.by_rows(x, width, lambda name, s, y: LayerNorm(name, (s,), (y,), scale, offset, epsilon))


def _by_deviation(call: Call, x: Value, width: int, scale: Array, epsilon: float) -> Value:
    """rms_scaling: x / sqrt(variance + epsilon) * gamma, where the variance is that about the mean, x itself as it is.

    The root comes out of a LayerNorm of the deviations and a constant k beside them: what it makes of k is
    k / sqrt((sum of squares + k^2) / (width + 1) + epsilon'), for k^2 = width epsilon / 2 and
    epsilon' = width epsilon / (2 (width + 1)) the same as k sqrt((width + 1) / width) / sqrt(variance + epsilon).
    """
    if len(x.shape) > 2 or (x.rows and len(x.shape) != 2):
        raise call.refuse(f"rms_scaling for shape {shown(list(x.shape))} is not supported")
    k = np.sqrt(width * epsilon / 2)
    deviations = np.concatenate([np.eye(width) - 1.0 / width, np.zeros((1, width))])
    beside = np.append(np.zeros(width), k)
    ones, zeros = np.ones(width + 1), np.zeros(width + 1)
    factor = np.zeros((1, width + 1))
    factor[0, -1] = 1 / (k * np.sqrt((width + 1) / width))
    small = width * epsilon / (2 * (width + 1))
    t = call.add(lambda name, y: Dense(name, (x.tensor,), (y,), deviations, beside), width + 1, "_deviations")
    n = call.add(lambda name, y: LayerNorm(name, (t,), (y,), ones, zeros, small, True), width + 1, "_root")
    root = call.add(lambda name, y: Dense(name, (n,), (y,), factor, np.zeros(1)), 1, "_factor")
    y = call.add(lambda name, y: Combine(name, (x.tensor, root), (y,), "multiply"), width)
    return affine(call, replace(x, tensor=y), scale, 0.0, "_gamma")


def rms_normalization(call: Call) -> Value:
    x = call.x
    width = last_axis(call, x)
    if call.settings.axis("axis", -1, len(x.shape)) != -1:
        raise call.refuse("axis: only the last, over the values of a step, is supported")
    epsilon = call.settings.number("epsilon", 1e-6) or 0.0
    scale = call.arrays({"scale": (width,)})["scale"]
    zeros = np.zeros(width, np.float32)
    return call.by_rows(x, width, lambda name, s, y: LayerNorm(name, (s,), (y,), scale, zeros, epsilon, True))
