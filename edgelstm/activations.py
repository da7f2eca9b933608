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


def log_softmax(values: Array) -> Array:
    """Logarithm of the softmax over the last axis."""
    shifted = values - values.max(axis=-1, keepdims=True)
    logarithm: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithm


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_erf = np.vectorize(erf, otypes=[np.float64])


def _sigmoid(v: Array) -> Array:
    y: Array = 0.5 + 0.5 * np.tanh(0.5 * v)
    return y


def _expm1(v: Array) -> Array:
    """e^v - 1 below 0."""
    y: Array = np.expm1(np.minimum(v, 0))
    return y


def _shrink(v: Array, f: Activation) -> Array:
    return np.where(v < -f.alpha, v + f.beta, np.where(v > f.alpha, v - f.beta, 0))


FUNCTIONS: dict[str, Callable[[Array, Activation], Array]] = {
    "linear": lambda v, f: v,
    "sigmoid": lambda v, f: _sigmoid(v),
    "tanh": lambda v, f: np.tanh(v),
    "relu": lambda v, f: np.maximum(v, 0),
    "relu6": lambda v, f: np.clip(v, 0, 6),
    "leaky_relu": lambda v, f: np.where(v < 0, f.alpha * v, v),
    "elu": lambda v, f: np.where(v < 0, f.alpha * _expm1(v), v),
    "selu": lambda v, f: _SELU_SCALE * np.where(v < 0, _SELU_ALPHA * _expm1(v), v),
    "softplus": lambda v, f: np.logaddexp(v, 0),
    "softsign": lambda v, f: v / (1 + np.abs(v)),
    "gelu": lambda v, f: 0.5 * v * (1 + _erf(v / np.sqrt(2)).astype(v.dtype)),
    "gelu_tanh": lambda v, f: 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))),
    "silu": lambda v, f: v * _sigmoid(v),
    "exponential": lambda v, f: np.exp(v),
    "hard_sigmoid": lambda v, f: np.clip(v / 6 + 0.5, 0, 1),
    "hard_sigmoid_fifth": lambda v, f: np.clip(0.2 * v + 0.5, 0, 1),
    "softmax": lambda v, f: softmax(v),
    "log_softmax": lambda v, f: log_softmax(v),
    "clip": lambda v, f: np.minimum(np.maximum(v, f.alpha), f.beta),
    "ramp": lambda v, f: np.clip(f.alpha * v + f.beta, 0, 1),
    "affine": lambda v, f: f.alpha * v + f.beta,
    "rectify": lambda v, f: np.where(v > f.alpha, np.minimum(v, f.gamma), f.beta * (v - f.alpha)),
    "threshold": lambda v, f: np.where(v > f.alpha, v, f.beta),
    "shrink": _shrink,
    "tanh_shrink": lambda v, f: v - np.tanh(v),
    "squareplus": lambda v, f: 0.5 * (v + np.hypot(v, np.sqrt(f.alpha))),
    "sparse_plus": lambda v, f: np.where(v < -1, 0, np.where(v > 1, v, 0.25 * (v + 1) ** 2)),
    "hard_silu": lambda v, f: v * np.clip(v / 6 + 0.5, 0, 1),
    "mish": lambda v, f: v * np.tanh(np.logaddexp(v, 0)),
    "celu": lambda v, f: np.where(v < 0, f.alpha * np.expm1(np.where(v < 0, v, 0) / f.alpha), v),
    "scaled_softplus": lambda v, f: np.where(f.alpha * v > f.beta, v, np.logaddexp(f.alpha * v, 0) / f.alpha),
    "scaled_tanh": lambda v, f: f.alpha * np.tanh(f.beta * v),
}


def activate(activation: Activation, values: Array) -> Array:
    """The activation of `values`; softmax and log_softmax run over the last axis."""
    return FUNCTIONS[activation.name](values, activation)
