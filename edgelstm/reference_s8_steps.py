"""Layers around the cells in integers, in NumPy: docs/numerics.md, "Joins", "Windows" and "Over all steps"."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import reference_steps
from .fixedpoint import activate_s8, requantize, sat16, scaled_inputs
from .layers import padding, windows
from .meta import Array
from .quantized import (
    QuantizedCombine,
    QuantizedConstant,
    QuantizedConv1d,
    QuantizedEmbedding,
    QuantizedMask,
    QuantizedPool1d,
    QuantizedReduce,
)

_MOST_SUMMED = (1 << 31) - 1  # steps; later ones change no mean and no sum


def run(layer: Any, reads: list[Array], kind: str, every_step: bool) -> tuple[list[Array], Array | None]:
    """What a layer writes, [N, rows, width] each, the first of type `kind`; and z where it has one."""
    x = reads[0]
    match layer:
        case QuantizedEmbedding():
            return [embedding_s8(layer, x)], None
        case QuantizedConstant():
            return [np.broadcast_to(layer.value, (len(x), 1, len(layer.value)))], None
        case QuantizedMask():
            return list(mask_s8(layer, x)), None
        case QuantizedCombine():
            return [combine_s8(layer, reads, kind)], None
        case QuantizedConv1d():
            y, z = conv1d_s8(layer, x)
            return [y], z
        case QuantizedPool1d():
            return [pool1d_s8(layer, x)], None
        case QuantizedReduce():
            return [reduce_s8(layer, x, reads[1] if layer.masked else None, every_step)], None
    raise AssertionError(f"no integer reference for {type(layer).__name__}")


def embedding_s8(layer: QuantizedEmbedding, x: Array) -> Array:
    """int16 [N, T, n * columns] of ids [N, T, n]."""
    ids = np.clip(x.astype(np.int64), 0, layer.vocabulary - 1)
    made: Array = layer.table[ids].reshape(*x.shape[:2], -1)
    return made


def mask_s8(layer: QuantizedMask, x: Array) -> tuple[Array, Array]:
    """x with zeros in the steps that do not count, and the mask, int16 [N, T, 1]."""
    counts = (x != layer.value).any(axis=2, keepdims=True)
    return x * counts.astype(x.dtype), counts.astype(np.int16)


def combine_s8(layer: QuantizedCombine, reads: list[Array], kind: str) -> Array:
    """Tensors [N, T, width] joined, of type `kind`."""
    wide = [x.astype(np.int64) for x in reads]
    if layer.kind == "multiply":
        y = wide[0]
        for x, shift, multiplier in zip(wide[1:], layer.shifts[1:], layer.multipliers[1:], strict=True):
            y = rescaled(y * x, shift, multiplier)
    else:
        brought = [rescaled(256 * x, s, m) for x, s, m in zip(wide, layer.shifts, layer.multipliers, strict=True)]
        y = reference_steps.combine(layer.kind, brought)
    return np.clip(y, -127, 127).astype(np.int8) if kind == "s8" else sat16(y).astype(np.int16)


def rescaled(v: Array, shift: int, multiplier: int) -> Array:
    """Q of docs/numerics.md: v * 2^-shift * (1 + multiplier / 32768), rounded and saturated, int64 in and out."""
    half = 1 << (shift - 1) if shift > 0 else 0
    assert np.abs(v).max(initial=0) <= 1 << 30 and -4 <= shift <= 30, "rescaled: beyond 2^30"
    shifted = (v + half) >> shift if shift > 0 else v << -shift
    t = sat16(shifted)
    return sat16(t + ((t * multiplier + 0x4000) >> 15))


def conv1d_s8(layer: QuantizedConv1d, x: Array) -> tuple[Array, Array]:
    """y and z, int16 [N, T', units] each; x [N, T, inputs]."""
    if not layer.period:
        return _conv1d_s8(layer, x)
    y, z = _conv1d_s8(layer, _periods(layer, x))
    return tuple(v.reshape(len(x), -1, layer.units) for v in (y, z))  # type: ignore[return-value]


def _conv1d_s8(layer: QuantizedConv1d, x: Array) -> tuple[Array, Array]:
    seen = gathered(layer, x)  # [N, T', groups, taps, columns]
    rows, (units, taps, columns) = seen.shape[:2], layer.kernel.shape
    each = units // layer.groups
    acc = np.zeros((*rows, units), np.int64)
    for group in range(layer.groups):
        part = slice(group * each, (group + 1) * each)
        kernel = layer.kernel[part].reshape(each, taps * columns)
        window = seen[:, :, group].reshape(*rows, taps * columns)
        acc[:, :, part] = scaled_inputs(kernel, layer.input_shift[part], layer.bias[part], window)
    z = requantize(acc, layer.shift, layer.multiplier)
    return activate_s8(layer.activation, z).astype(np.int16), z.astype(np.int16)


def gathered(layer: Any, x: Array) -> Array:
    """What each window of a convolution without a period sees, [N, T', groups, taps, inputs / groups]."""
    left, right = padding(layer, x.shape[1])
    padded = np.pad(x, ((0, 0), (left, right), (0, 0)))
    rows = windows(layer, x.shape[1])
    at = np.arange(rows)[:, None] * layer.stride + np.arange(layer.taps) * layer.dilation
    shape = len(x), rows, layer.taps, layer.groups, x.shape[2] // layer.groups
    seen: Array = padded[:, at].reshape(shape).transpose(0, 1, 3, 2, 4)
    return seen


def pool1d_s8(layer: QuantizedPool1d, x: Array) -> Array:
    """[N, T', width] of x [N, T, width]; a maximum of x's type, an average int16."""
    if layer.period:
        y = _pool1d_s8(layer, _periods(layer, x))
        made: Array = y.reshape(len(x), -1, x.shape[2])
        return made
    return _pool1d_s8(layer, x)


def _pool1d_s8(layer: QuantizedPool1d, x: Array) -> Array:
    left, _ = padding(layer, x.shape[1])
    steps, rows = x.shape[1], windows(layer, x.shape[1])
    y = np.zeros((len(x), rows, x.shape[2]), x.dtype if layer.kind == "max" else np.int16)
    for t in range(rows):
        start = t * layer.stride - left
        seen = x[:, max(start, 0) : min(start + layer.size, steps)]
        if layer.kind == "max":
            y[:, t] = seen.max(axis=1)
        else:
            total = seen.astype(np.int64).sum(axis=1) << layer.raised
            assert np.abs(total).max(initial=0) <= 1 << 30, "pool: a sum beyond 2^30"
            y[:, t] = sat16(quotient(total, layer.size if layer.count_padding else seen.shape[1]))
    return y


def quotient(v: Array, n: Array | int) -> Array:
    """v / n for n > 0, rounded: floor((v + floor(n / 2)) / n)."""
    divided: Array = (v + n // 2) // n
    return divided


def reduce_s8(layer: QuantizedReduce, x: Array, mask: Array | None, every_step: bool) -> Array:
    """[N, 1, width] of x [N, T, width] and where there is one the mask [N, T, 1]; of every step [N, T, width]."""
    if layer.period:
        reference_steps.check_steps(layer.name, x.shape[1], layer.period)
        periods = x.reshape(len(x), -1, layer.period, x.shape[2])
        if layer.kind == "max":
            largest: Array = periods.max(axis=2)
            return largest
        return _answer(layer, periods.astype(np.int64).sum(axis=2), layer.period)
    if layer.kind == "max":
        running: Array = np.maximum.accumulate(x, axis=1)
    else:
        counts = np.ones_like(x[:, :, :1], np.int64) if mask is None else (mask != 0).astype(np.int64)
        assert x.shape[1] <= _MOST_SUMMED
        sums = np.cumsum(x * counts, axis=1)
        running = _answer(layer, sums, np.maximum(np.cumsum(counts, axis=1), 1))
    return running if every_step else running[:, -1:]


def _answer(layer: QuantizedReduce, sums: Array, count: Array | int) -> Array:
    raised = layer.raised
    if layer.kind == "mean":
        return sat16(quotient(sums << raised, count)).astype(np.int16)
    half = 1 << (-raised - 1) if raised < 0 else 0
    return sat16((sums + half) >> -raised if raised < 0 else sums << raised).astype(np.int16)


def _periods(layer: Any, x: Array) -> Array:
    """[N * T / period, period, width]."""
    reference_steps.check_steps(layer.name, x.shape[1], layer.period)
    made: Array = x.reshape(-1, layer.period, x.shape[2])
    return made
