"""Activations as operators on floats: one where TFLite has it, else several that compute exactly it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..layers import Activation
from .tflite_sheet import Sheet

LIKE_IDENTITY = 20.0
"""From here on softplus(x) and x are the same to float32."""

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def reason(f: Activation) -> str:
    """Why no operators compute a function; "" where some do."""
    match f.name:
        case "rectify" if f.alpha:
            return "rectify with a bound other than 0 jumps, and TFLite has no operator that does"
        case "rectify" if f.gamma < 0:
            return "rectify with a bound below 0 jumps, and TFLite has no operator that does"
        case "threshold":
            return "threshold jumps, and TFLite has no operator that does"
        case "shrink" if f.alpha != f.beta or f.alpha < 0:
            return "shrink jumps unless its two numbers are the same, and TFLite has no operator that does"
        case "celu" if f.alpha < 0:
            return "celu has a number below 0"
        case "scaled_softplus" if f.beta < LIKE_IDENTITY:
            return f"scaled_softplus turns into x at {f.beta:g}, where it jumps"
        case "squareplus":
            return "squareplus takes a root, for which the reader of .tflite has no layer"
    return "" if f.name in _MADE else f"there are no operators for {f.name}"


CELLS = {
    "linear", "sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "softsign", "gelu", "gelu_tanh", "silu",
    "hard_sigmoid", "hard_sigmoid_fifth",
}  # fmt: skip
"""Functions that a loop's step may compute, so that it reads back as one cell."""


def function(sheet: Sheet, f: Activation, x: int, name: str) -> int:
    """f of x."""
    return _MADE[f.name](sheet, f, x, name)


def _operator(operator: str) -> Callable[[Sheet, Activation, int, str], int]:
    return lambda s, f, x, name: s.op(operator, [x], name)


def _below(s: Sheet, x: int, name: str) -> int:
    """min(x, 0)."""
    return s.op("MINIMUM", [x, s.number(0)], f"{name}/below")


def _bent(s: Sheet, x: int, name: str, scale: float, inner: float = 1.0, outer: float = 1.0) -> int:
    """outer x above 0, scale (e^(inner x) - 1) below."""
    low = _below(s, x, name)
    low = low if inner == 1 else s.join("MUL", low, s.number(inner), f"{name}/scaled")
    low = s.join("SUB", s.op("EXP", [low], f"{name}/exp"), s.number(1), f"{name}/expm1")
    high = s.op("RELU", [x], f"{name}/above")
    high = high if outer == 1 else s.join("MUL", high, s.number(outer), f"{name}/high")
    low = low if scale == 1 else s.join("MUL", low, s.number(scale), f"{name}/low")
    return s.join("ADD", high, low, name)


def _softplus(s: Sheet, x: int, name: str) -> int:
    """max(x, 0) - log(sigmoid(|x|)), in which nothing overflows."""
    size = s.op("MAXIMUM", [x, s.op("NEG", [x], f"{name}/negative")], f"{name}/size")
    part = s.op("LOG", [s.op("LOGISTIC", [size], f"{name}/sigmoid")], f"{name}/log")
    return s.join("SUB", s.op("RELU", [x], f"{name}/above"), part, name)


def _scaled_softplus(s: Sheet, f: Activation, x: int, name: str) -> int:
    made = _softplus(s, s.join("MUL", x, s.number(f.alpha), f"{name}/scaled"), f"{name}/softplus")
    return s.join("MUL", made, s.number(1 / f.alpha), name)


def _clip(s: Sheet, low: float, high: float, x: int, name: str) -> int:
    return s.op("MINIMUM", [s.op("MAXIMUM", [x, s.number(low)], f"{name}/low"), s.number(high)], name)


def _affine(s: Sheet, a: float, b: float, x: int, name: str, fused: str = "linear") -> int:
    return s.join("ADD", s.join("MUL", x, s.number(a), f"{name}/scaled"), s.number(b), name, fused)


def _hard_sigmoid(s: Sheet, f: Activation, x: int, name: str) -> int:
    return s.join("MUL", s.join("ADD", x, s.number(3), f"{name}/six", "relu6"), s.number(1 / 6), name)


def _ramp(s: Sheet, a: float, b: float, x: int, name: str) -> int:
    return s.op("MINIMUM", [_affine(s, a, b, x, f"{name}/line", "relu"), s.number(1)], name)


def _gelu(s: Sheet, x: int, name: str, approximate: bool) -> int:
    return s.op("GELU", [x], name, options={0: np.bool_(approximate)})


def _silu(s: Sheet, f: Activation, x: int, name: str) -> int:
    return s.join("MUL", x, s.op("LOGISTIC", [x], f"{name}/sigmoid"), name)


def _softsign(s: Sheet, f: Activation, x: int, name: str) -> int:
    below = s.join("ADD", s.op("ABS", [x], f"{name}/size"), s.number(1), f"{name}/one_more")
    return s.join("DIV", x, below, name)


def _rectify(s: Sheet, f: Activation, x: int, name: str) -> int:
    high = s.op("MINIMUM", [s.op("RELU", [x], f"{name}/above"), s.number(f.gamma)], f"{name}/high")
    return s.join("ADD", high, s.join("MUL", _below(s, x, name), s.number(f.beta), f"{name}/low"), name)


def _shrink(s: Sheet, f: Activation, x: int, name: str) -> int:
    high = s.join("SUB", x, s.number(f.alpha), f"{name}/high", "relu")
    low = s.op("MINIMUM", [s.join("ADD", x, s.number(f.alpha), f"{name}/line"), s.number(0)], f"{name}/low")
    return s.join("ADD", high, low, name)


def _sparse_plus(s: Sheet, f: Activation, x: int, name: str) -> int:
    inner = s.join("ADD", _clip(s, -1, 1, x, f"{name}/inner"), s.number(1), f"{name}/one_more")
    bent = s.join("MUL", s.join("MUL", inner, inner, f"{name}/square"), s.number(0.25), f"{name}/bent")
    return s.join("ADD", bent, s.join("SUB", x, s.number(1), f"{name}/high", "relu"), name)


def _mish(s: Sheet, f: Activation, x: int, name: str) -> int:
    return s.join("MUL", x, s.op("TANH", [_softplus(s, x, f"{name}/softplus")], f"{name}/tanh"), name)


def _scaled_tanh(s: Sheet, f: Activation, x: int, name: str) -> int:
    inner = s.join("MUL", x, s.number(f.beta), f"{name}/scaled")
    return s.join("MUL", s.op("TANH", [inner], f"{name}/tanh"), s.number(f.alpha), name)


_MADE: dict[str, Callable[[Sheet, Activation, int, str], int]] = {
    "linear": lambda s, f, x, name: x,
    "sigmoid": _operator("LOGISTIC"),
    "tanh": _operator("TANH"),
    "relu": _operator("RELU"),
    "relu6": _operator("RELU6"),
    "leaky_relu": lambda s, f, x, name: s.op("LEAKY_RELU", [x], name, options={0: np.float32(f.alpha)}),
    "elu": lambda s, f, x, name: _bent(s, x, name, f.alpha),  # of ELU there is no plain kernel
    "selu": lambda s, f, x, name: _bent(s, x, name, _SELU_ALPHA * _SELU_SCALE, outer=_SELU_SCALE),
    "softplus": lambda s, f, x, name: _softplus(s, x, name),
    "softsign": _softsign,
    "gelu": lambda s, f, x, name: _gelu(s, x, name, False),
    "gelu_tanh": lambda s, f, x, name: _gelu(s, x, name, True),
    "silu": _silu,
    "exponential": _operator("EXP"),
    "hard_sigmoid": _hard_sigmoid,
    "hard_sigmoid_fifth": lambda s, f, x, name: _ramp(s, 0.2, 0.5, x, name),
    "softmax": lambda s, f, x, name: s.op("SOFTMAX", [x], name, options={0: np.float32(1)}),
    "log_softmax": _operator("LOG_SOFTMAX"),
    "clip": lambda s, f, x, name: _clip(s, f.alpha, f.beta, x, name),
    "ramp": lambda s, f, x, name: _ramp(s, f.alpha, f.beta, x, name),
    "affine": lambda s, f, x, name: _affine(s, f.alpha, f.beta, x, name),
    "rectify": _rectify,
    "shrink": _shrink,
    "tanh_shrink": lambda s, f, x, name: s.join("SUB", x, s.op("TANH", [x], f"{name}/tanh"), name),
    "sparse_plus": _sparse_plus,
    "hard_silu": _operator("HARD_SWISH"),
    "mish": _mish,
    "celu": lambda s, f, x, name: _bent(s, x, name, f.alpha, 1 / f.alpha),
    "scaled_softplus": _scaled_softplus,
    "scaled_tanh": _scaled_tanh,
}
