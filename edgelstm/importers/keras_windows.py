"""Keras' layers over neighbouring steps: convolutions, pooling, cropping and padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..layers import LINEAR, Conv1d, Crop, Dense, Pad, Pool1d, Reduce, windows
from ..model import Array
from .keras_build import Call, Value
from .keras_config import shown
from .keras_steps import halved


def _windowed(call: Call, x: Value, width: int, make: Callable[[str, str], Any]) -> Value:
    """Adds a layer of windows; the value it gives."""
    y = call.add(make, width)
    steps = windows(call.build.layers[-1], x.shape[0]) if x.shape[0] is not None else None
    if steps == 0:
        raise call.refuse(f"no window fits into {x.shape[0]} steps")
    return Value(y, (steps, width), True, inside=x.inside)


def _inner_steps(call: Call, x: Value) -> None:
    if x.inside and x.shape[0] is None:
        raise call.refuse("the steps of the sequence inside must be known")


def _padding(call: Call, key: str, dilation: int, taps: int, causal: bool = True) -> dict[str, Any]:
    """Takes a padding; the layer's arguments."""
    allowed = ("valid", "same", "causal") if causal else ("valid", "same")
    kind = call.settings.text(key, default="valid", allowed=allowed)
    if kind == "causal":
        return {"left": (taps - 1) * dilation}
    return {"same": kind == "same"}


def _convolution(call: Call, taps_key: str = "kernel_size") -> dict[str, Any]:
    """Takes what all convolutions have: windows and their padding."""
    settings, x = call.settings, call.sequence()
    _inner_steps(call, x)
    taps = settings.whole(taps_key)
    stride = settings.whole("strides", "subsample_length", default=1)
    dilation = settings.whole("dilation_rate", "atrous_rate", default=1)
    if "subsample" in settings.values and settings.whole("subsample") != stride:
        raise call.refuse("subsample and subsample_length differ")
    padding = _padding(call, "border_mode" if "border_mode" in settings.values else "padding", dilation, taps)
    if call.build.backend == "theano" and padding.get("same") and taps % 2 == 0:
        raise call.refuse("padding = 'same': Theano pads an even kernel on the other side, which is not supported")
    return {"stride": stride, "dilation": dilation, "period": x.period, **padding, "taps": taps}


def flipped(call: Call, kernel: Array) -> Array:
    """A kernel with its taps in the order in which they meet the steps: Theano's meet them the other way round."""
    if kernel.shape[0] == 1:
        return kernel
    if call.build.backend is None and call.build.generation == 1:
        raise call.refuse(
            "the file does not tell whether Theano or TensorFlow wrote it, and Theano turns convolutions round: "
            "give the file an attribute backend = 'theano' or 'tensorflow'"
        )
    return kernel[::-1] if call.build.backend == "theano" else kernel


def conv1d(call: Call) -> Value:
    settings, x = call.settings, call.sequence()
    old = "nb_filter" in settings.values
    units = settings.whole("filters", "nb_filter")
    shape = _convolution(call, "filter_length" if old else "kernel_size")
    taps = shape.pop("taps")
    groups = settings.whole("groups", default=1)
    biased = settings.flag("bias" if old else "use_bias", default=True)
    if x.width % groups or units % groups:
        raise call.refuse(f"groups = {groups}: {x.width} values and {units} filters")
    roles = ("W", "b") if old else ("kernel", "bias")
    bias_shape = {roles[1]: (units,)} if biased else {}
    if old and dict(call.spec.tensors).get("W", np.empty(0)).shape == (units, x.width, taps, 1):  # Keras 1.0
        found = call.arrays({"W": (units, x.width, taps, 1), **bias_shape})
        kernel = found["W"][:, :, :, 0].transpose(2, 1, 0)
    elif old:
        found = call.arrays({"W": (taps, 1, x.width, units), **bias_shape})
        kernel = found["W"][:, 0]
    else:
        found = call.arrays({"kernel": (taps, x.width // groups, units), **bias_shape})
        kernel = found["kernel"]
    kernel = flipped(call, kernel).transpose(2, 0, 1)
    bias = found[roles[1]] if biased else np.zeros(units, np.float32)
    halves = call.halves("activation")
    activation = call.activation("activation")
    # softmax runs over the values of a step in both, so it may stay in the layer
    y = _windowed(
        call,
        x,
        units,
        lambda name, y: Conv1d(name, (x.tensor,), (y,), kernel, bias, activation, groups, **shape),
    )
    return halved(call, y) if halves else y


def depthwise_conv1d(call: Call) -> Value:
    return _depthwise(call, call.settings.flag("use_bias", default=True))


def _depthwise(call: Call, biased: bool, pointwise: tuple[int, bool] | None = None) -> Value:
    """Each value's own taps; with `pointwise` (filters, biased) a Dense behind it: a SeparableConv1D."""
    settings, x = call.settings, call.sequence()
    shape = _convolution(call)
    taps, many = shape.pop("taps"), settings.whole("depth_multiplier", default=1)
    if settings.whole("groups", default=1) != 1:
        raise call.refuse("groups other than 1 are not supported here")
    units = x.width * many
    roles: dict[str, tuple[int, ...]] = {"depthwise_kernel": (taps, x.width, many)}
    if pointwise is not None:
        roles["pointwise_kernel"] = (1, units, pointwise[0])
    if biased:
        roles["bias"] = (units if pointwise is None else pointwise[0],)
    found = call.arrays(roles)
    kernel = flipped(call, found["depthwise_kernel"]).transpose(1, 2, 0).reshape(units, taps, 1)
    activation = call.activation("activation")
    zeros = np.zeros(units, np.float32)
    bias = found["bias"] if biased and pointwise is None else zeros
    first = activation if pointwise is None else LINEAR
    y = _windowed(
        call, x, units, lambda name, y: Conv1d(name, (x.tensor,), (y,), kernel, bias, first, x.width, **shape)
    )
    if pointwise is None:
        return y
    filters = pointwise[0]
    bias = found["bias"] if biased else np.zeros(filters, np.float32)
    made = call.add(
        lambda name, t: Dense(name, (y.tensor,), (t,), found["pointwise_kernel"][0].T, bias, activation),
        filters,
        "_pointwise",
    )
    return replace(y, tensor=made, shape=(y.shape[0], filters))


def separable_conv1d(call: Call) -> Value:
    filters = call.settings.whole("filters")
    biased = call.settings.flag("use_bias", default=True)
    return _depthwise(call, biased, (filters, biased))


def pool1d(call: Call) -> Value:
    """MaxPooling1D and AveragePooling1D; an average counts no padding."""
    settings, x = call.settings, call.sequence()
    _inner_steps(call, x)
    size = settings.whole("pool_size", "pool_length", default=2)
    strides = settings.take("strides", settings.take("stride"))
    settings.values["strides"] = size if strides is None else strides
    stride = settings.whole("strides")
    padding = _padding(call, "border_mode" if "border_mode" in settings.values else "padding", 1, size, causal=False)
    kind = "max" if call.spec.kind == "MaxPooling1D" else "average"
    return _windowed(
        call,
        x,
        x.width,
        lambda name, y: Pool1d(name, (x.tensor,), (y,), kind, size, stride, period=x.period, **padding),
    )


def global_pool1d(call: Call) -> Value:
    """GlobalMaxPooling1D, and GlobalAveragePooling1D, which leaves out masked steps."""
    x = call.sequence()
    _inner_steps(call, x)
    kept = call.settings.flag("keepdims", default=False)
    mean = call.spec.kind == "GlobalAveragePooling1D"
    mask = call.keywords.pop("mask", None) if mean else None
    if mask is not None and not isinstance(mask, Value):
        raise call.refuse(f"mask = {shown(mask)} is not understood")
    found = mask.tensor if isinstance(mask, Value) else x.mask
    if mean and found is not None and x.inside:
        raise call.refuse("a mean of the steps that count inside a TimeDistributed is not supported")
    reads = (x.tensor, found) if mean and found is not None else (x.tensor,)
    y = call.add(
        lambda name, y: Reduce(name, reads, (y,), "mean" if mean else "max", len(reads) > 1, x.period), x.width
    )
    if not kept:
        return Value(y, (x.width,), False, inside=x.inside)
    if not x.inside:
        y = call.split(y, 1, x.width)
    return Value(y, (1, x.width), True, inside=x.inside)


def cropping1d(call: Call) -> Value:
    return _ends(call, Crop, "cropping", 1, -1)


def zero_padding1d(call: Call) -> Value:
    return _ends(call, Pad, "padding", 1, 1)


def _ends(call: Call, layer: type[Crop] | type[Pad], key: str, default: int, sign: int) -> Value:
    x = call.sequence()
    left, right = call.settings.pair(key, default)
    steps = None if x.shape[0] is None else x.shape[0] + sign * (left + right)
    if steps is not None and steps < 1:
        raise call.refuse(f"{key} = {left}, {right}: nothing is left of {x.shape[0]} steps")
    y = call.add(lambda name, y: layer(name, (x.tensor,), (y,), left, right), x.width)
    return replace(x, tensor=y, shape=(steps, x.width))
