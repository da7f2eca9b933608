"""What a model computes, in NumPy: the executable specification. Clear before fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erf
from typing import Any

import numpy as np

from .errors import InputError
from .model import Activate, Activation, Array, Dense, Last, Lstm, Model, QuantizedModel

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_erf = np.vectorize(erf, otypes=[np.float64])

FUNCTIONS: dict[str, Callable[[Array, float], Array]] = {
    "linear": lambda v, a: v,
    "sigmoid": lambda v, a: 0.5 + 0.5 * np.tanh(0.5 * v),
    "tanh": lambda v, a: np.tanh(v),
    "relu": lambda v, a: np.maximum(v, 0),
    "relu6": lambda v, a: np.clip(v, 0, 6),
    "leaky_relu": lambda v, a: np.where(v < 0, a * v, v),
    "elu": lambda v, a: np.where(v < 0, a * np.expm1(np.minimum(v, 0)), v),
    "selu": lambda v, a: _SELU_SCALE * np.where(v < 0, _SELU_ALPHA * np.expm1(np.minimum(v, 0)), v),
    "softplus": lambda v, a: np.logaddexp(v, 0),
    "softsign": lambda v, a: v / (1 + np.abs(v)),
    "gelu": lambda v, a: 0.5 * v * (1 + _erf(v / np.sqrt(2)).astype(v.dtype)),
    "gelu_tanh": lambda v, a: 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))),
    "silu": lambda v, a: v * (0.5 + 0.5 * np.tanh(0.5 * v)),
    "exponential": lambda v, a: np.exp(v),
    "hard_sigmoid": lambda v, a: np.clip(v / 6 + 0.5, 0, 1),
    "hard_sigmoid_fifth": lambda v, a: np.clip(0.2 * v + 0.5, 0, 1),
    "softmax": lambda v, a: (e := np.exp(v - v.max(axis=-1, keepdims=True))) / e.sum(axis=-1, keepdims=True),
}


def activate(activation: Activation, values: Array) -> Array:
    """The activation of `values`; softmax runs over the last axis."""
    return FUNCTIONS[activation.name](values, activation.alpha)


def run(
    model: Model,
    xs: Sequence[Array],
    every_step: bool = False,
    dtype: type[np.floating[Any]] = np.float64,
    trace: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """Run whole sequences from a reset state.

    xs: one array [N, T, width] per input. Returns one array per output: [N, T, width], or [N, width] where the
    model keeps the last step only and `every_step` is false. `trace`, if given, receives every tensor by name and,
    per LSTM, "<layer>.z" [N, T, 4, units] (what enters the gate functions) and "<layer>.c" [N, T, units].
    """
    tensors: dict[str, Array] = {}
    single: set[str] = set()
    for name, x in zip(model.inputs, check_inputs(model, xs), strict=True):
        tensors[name] = x.astype(dtype)
    for layer in model.layers:
        x = tensors[layer.reads[0]]
        match layer:
            case Lstm():
                y, z, c = lstm(layer, x)
                if trace is not None:
                    trace[f"{layer.name}.z"], trace[f"{layer.name}.c"] = z, c
            case Dense():
                y = activate(layer.activation, x @ layer.kernel.T.astype(dtype) + layer.bias.astype(dtype))
            case Activate():
                y = activate(layer.activation, x)
            case Last():
                y = x if every_step else x[:, -1:]
        if layer.reads[0] in single or (isinstance(layer, Last) and not every_step):
            single.add(layer.writes[0])
        tensors[layer.writes[0]] = y
    if trace is not None:
        trace.update(tensors)
    return tuple(tensors[name][:, -1] if name in single else tensors[name] for name in model.outputs)


def lstm(layer: Lstm, x: Array) -> tuple[Array, Array, Array]:
    """h [N, T, units], z [N, T, 4, units] and c [N, T, units] of a layer from a zero state; x [N, T, inputs]."""
    count, steps, _ = x.shape
    kernel, recurrent, bias = (a.astype(x.dtype) for a in (layer.kernel, layer.recurrent, layer.bias))
    zs = np.einsum("gui,nti->ntgu", kernel, x, optimize=True) + bias
    hs = np.zeros((count, steps, layer.units), x.dtype)
    cs = np.zeros_like(hs)
    h = c = np.zeros((count, layer.units), x.dtype)
    for t in range(steps):
        zs[:, t] += np.einsum("guv,nv->ngu", recurrent, h, optimize=True)
        i, f, o = (activate(layer.gate_activation, zs[:, t, k]) for k in (0, 1, 3))
        g = activate(layer.activation, zs[:, t, 2])
        c = f * c + i * g
        if layer.cell_clip is not None:
            c = np.clip(c, -layer.cell_clip, layer.cell_clip)
        h = o * activate(layer.activation, c)
        hs[:, t], cs[:, t] = h, c
    return hs, zs, cs


def check_inputs(model: Model | QuantizedModel, xs: Sequence[Array]) -> list[Array]:
    """The arrays, checked against the model's inputs: [N, T, width], finite, one per input, N and T the same."""
    if len(xs) != len(model.inputs):
        raise InputError(f"{len(xs)} input arrays given, the model has {len(model.inputs)} inputs")
    arrays = [np.asarray(x) for x in xs]
    for name, x in zip(model.inputs, arrays, strict=True):
        width = model.width(name)
        if x.ndim != 3 or x.shape[2] != width or x.shape[1] < 1 or x.shape[:2] != arrays[0].shape[:2]:
            raise InputError(f"input {name} has shape {x.shape}, expected (sequences, steps, {width})")
        if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
            raise InputError(f"input {name} holds NaN, infinite or non-numeric values")
    return arrays
