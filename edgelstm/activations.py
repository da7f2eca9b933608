"""The functions of layers, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np

from .layers import Activation
from .meta import Array


def softmax(values: Array) -> Array:
    """Softmax over the last axis."""
    e = np.exp(values - values.max(axis=-1, keepdims=True))
    normal: Array = e / e.sum(axis=-1, keepdims=True)
    return normal


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
    "softmax": lambda v, a: softmax(v),
}


def activate(activation: Activation, values: Array) -> Array:
    """The activation of `values`; softmax runs over the last axis."""
    return FUNCTIONS[activation.name](values, activation.alpha)
