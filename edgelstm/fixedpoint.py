"""The primitives of docs/numerics.md in NumPy: rounding and saturation, rows, functions of an int16.

All arithmetic runs in int64 and asserts that every value fits the width the page promises; the C core computes the
same integers in int32. Products go through float64 matrices, exact below 2^53.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .meta import Array
from .quantized import QuantizedActivation

# tanh as an odd cubic in eight segments: docs/numerics.md, "Functions of an int16".
_C0 = np.array([37, 225, 787, 2146, 4972, 10053, 17807, 27611], np.int64)
_C1 = np.array([44, 163, 435, 983, 1916, 3208, 4497, 5158], np.int64)
_C2 = np.array([16, 45, 98, 183, 285, 343, 266, 45], np.int64)
_C3 = np.array([5, 5, 11, 14, 14, 0, -28, -44], np.int64)


def sat16(v: Array) -> Array:
    return np.clip(v, -32768, 32767)


def mh(a: Array, b: Array | int) -> Array:
    """The high half of a 16 x 16 product, rounded half up."""
    product = a * b
    assert np.abs(product).max(initial=0) < 1 << 30, "mh: a product beyond 2^30"
    return (product + 0x4000) >> 15


def rs(v: Array, n: int) -> Array:
    """v / 2^n rounded half up."""
    assert 1 <= n <= 15 and np.abs(v).max(initial=0) <= 1 << 30, "rs: beyond 2^30"
    return (v + (1 << (n - 1))) >> n


def sh(v: Array, k: Array | int) -> Array:
    """v / 2^k rounded down, or v * 2^-k."""
    right = np.maximum(np.asarray(k, np.int64), 0)
    shifted: Array = (v >> right) << (right - k)
    return shifted


def _raw(v: Array) -> tuple[Array, Array]:
    s = v >> 15
    n = s ^ 0x7FFF
    b = v ^ n
    u = mh(b, b)
    k = u >> 12
    r = (((u << 4) ^ 0x8000) & 0xFFFF).astype(np.uint16).astype(np.int16).astype(np.int64)
    q = _C3[k]
    for coefficients in (_C2, _C1, _C0):
        q = coefficients[k] + mh(q, r)
    return q ^ n, s


@cache
def tanh_table() -> Array:
    """T(v), Q15, int64 [65536], v from -32768 up."""
    raw, s = _raw(np.arange(-32768, 32768, dtype=np.int64))
    return raw - s


@cache
def sigmoid_table() -> Array:
    """S(v), Q15, int64 [65536], v from -32768 up."""
    raw, _ = _raw(np.arange(-32768, 32768, dtype=np.int64))
    return 16384 + ((raw + 1) >> 1)


def _interpolate(table: Array, at: Array) -> Array:
    """A 257-entry table's value at `at` 256ths of an entry, 0 ... 65535."""
    t = table.astype(np.int64)
    low = t[at >> 8]
    value: Array = low + (((t[(at >> 8) + 1] - low) * (at & 255) + 128) >> 8)
    return value


def _with_jumps(table: Array, v: Array) -> Array:
    """A table's value where each of two jumps ends the line of its entry and begins another."""
    t, entry = table.astype(np.int64), (v + 32768) >> 8
    low, high = t[entry], t[entry + 1]
    for at, left, right in t[257:].reshape(2, 3):
        inside = entry == (at + 32768) >> 8
        low = np.where(inside & (v > at), right, low)
        high = np.where(inside & (v <= at), left, high)
    value: Array = low + (((high - low) * (v & 255) + 128) >> 8)
    return value


def activate_s8(activation: QuantizedActivation, v: Array) -> Array:
    """The function of int16 values, int64 in and out; softmax runs over the last axis."""
    assert -32768 <= v.min(initial=0) and v.max(initial=0) <= 32767, "activate: not int16"
    if activation.kind == "softmax":
        return _softmax(activation, v)
    for _ in range(activation.doublings):
        v = sat16(2 * v)
    match activation.kind:
        case "tanh":
            v = tanh_table()[v + 32768]
        case "sigmoid":
            v = sigmoid_table()[v + 32768]
        case "relu":
            v = np.maximum(v, 0)
        case "table":
            assert activation.table is not None, "a table activation without its table"
            v = _interpolate(activation.table, v + 32768)
        case "jumps":
            assert activation.table is not None, "jumps without their table"
            v = _with_jumps(activation.table, v)
        case kind:
            assert kind == "linear", f"unknown function {kind}"
    return v


def _softmax(activation: QuantizedActivation, v: Array) -> Array:
    assert activation.table is not None, "softmax without its table"
    d = v.max(axis=-1, keepdims=True) - v
    for _ in range(activation.doublings):
        d = np.minimum(2 * d, 65535)
    e = _interpolate(activation.table, d)
    total = e.sum(axis=-1, keepdims=True)
    assert total.min() > 0 and (32767 * e + total // 2).max() < 1 << 32, "softmax: sums beyond 32 bits"
    quotient: Array = (32767 * e + total // 2) // total
    return quotient


def product(weights: Array, x: Array) -> Array:
    """Exact sums W x: weights [rows, n], x [..., n] -> int64 [..., rows]."""
    sums = x.astype(np.float64) @ weights.T.astype(np.float64, copy=False)
    return sums.astype(np.int64)


def scaled_inputs(kernel: Array, input_shift: Array, bias: Array, x: Array) -> Array:
    """sh(W x, kx) + bias, int64 [..., rows]."""
    ax = product(kernel, x)
    assert np.abs(ax).max(initial=0) < 1 << 31, "a product with x beyond 32 bits"
    shifted = sh(ax, input_shift.astype(np.int64))
    assert np.abs(shifted[..., input_shift < 0]).max(initial=0) < 1 << 27, "a left-shifted product beyond 2^27"
    return shifted + bias


def requantize(acc: Array, shift: Array | int, multiplier: Array | int) -> Array:
    """Accumulators to int16 z, int64 in and out."""
    assert np.abs(acc).max(initial=0) < 1 << 27, "an accumulator beyond 2^27"
    t = sat16(sh(acc, np.asarray(shift, np.int64)))
    return sat16(t + mh(t, np.asarray(multiplier, np.int64)))
