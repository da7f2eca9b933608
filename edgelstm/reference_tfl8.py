"""What an int8 TFLite model computes, in NumPy: docs/numerics.md, "tfl8", line by line. Bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tfl8_constants as constants
from .errors import InputError
from .fixedpoint import product
from .layers import Pad, padding, windows
from .meta import Array
from .reference import check_inputs, moved, unwritten
from .reference_steps import check_steps
from .tfl8 import (
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
    Tfl8Tensor,
)
from .tfl8_integers import (
    FULL,
    away,
    high,
    logistic_table,
    micro_logistic_table,
    micro_tanh_table,
    rdp,
    sat16,
    sat32,
    scaled,
    tanh_table,
    wrap16,
)
from .tfl8_model import Tfl8Model

DTYPES: dict[str, Any] = {"f32": np.float32, "s8": np.int8, "s16": np.int16}


def run(
    model: Tfl8Model, xs: Sequence[Array], every_step: bool = False, trace: dict[str, Array] | None = None
) -> tuple[Array, ...]:
    """Run whole sequences from a reset state.

    xs: one array [N, T, width] per input, [N, width] of a single one: floats of an "f32", else integers of its type.
    Returns one array per output, of its tensor's type: [N, T, width], or [N, width] where the model gives one row a run
    and `every_step` is false. `trace`, if given, receives every tensor by name, and "<layer>.c" of every LSTM.
    """
    tensors: dict[str, Array] = {}
    for name, x in zip(model.inputs, check_inputs(model, xs, every_step), strict=True):
        dtype = DTYPES[model.tensor(name).type]
        if dtype is not np.float32 and (x.dtype.kind not in "iu" or (x != x.astype(dtype)).any()):
            raise InputError(f"input {name} must hold {np.dtype(dtype).name} values")
        tensors[name] = x.astype(dtype)
    for layer in model.layers:
        reads = [tensors[name] for name in layer.reads]
        made = unwritten(model, layer, reads) or _layer(model, layer, reads, every_step, trace)
        tensors.update(zip(layer.writes, made, strict=False))
    if trace is not None:
        trace.update(tensors)
    single = frozenset() if every_step else model.timing.single
    return tuple(tensors[name][:, -1] if name in single else tensors[name] for name in model.outputs)


def _layer(
    model: Tfl8Model, layer: Any, reads: list[Array], every_step: bool, trace: dict[str, Array] | None
) -> list[Array]:
    """What a layer writes, [N, rows, width] each."""
    x, y = model.tensor(layer.reads[0]), model.tensor(layer.writes[0])
    match layer:
        case Tfl8Lstm():
            made = lstm(layer, x, reads)
            if trace is not None:
                trace[f"{layer.name}.c"] = made[1]
            return made
        case Tfl8Dense():
            return [dense(layer, x, y, reads[0])]
        case Tfl8Softmax():
            return [softmax(layer, x, reads[0])]
        case Tfl8Map():
            return [constants.map_table(layer, x, y)[reads[0].astype(np.int64) + 128]]
        case Tfl8Quantize():
            return [quantize(reads[0], y, layer.ties)]
        case Tfl8Dequantize():
            return [dequantize(reads[0], x)]
        case Tfl8Embedding():
            ids = np.clip(reads[0].astype(np.int64), 0, layer.vocabulary - 1)
            return [layer.table[ids].reshape(*ids.shape[:2], -1)]
        case Tfl8Constant():
            row = layer.value.astype(DTYPES[y.type])
            return [np.broadcast_to(row, (len(reads[0]), 1, len(row)))]
        case Tfl8Conv1d():
            return [of_periods(layer, reads[0], lambda rows: conv1d(layer, x, y, rows))]
        case Tfl8Pool1d():
            return [of_periods(layer, reads[0], lambda rows: pool1d(layer, y, rows))]
        case Tfl8Reduce():
            return [reduce(layer, x, y, reads[0], every_step)]
        case Pad():
            ends = ((0, 0), (layer.left, layer.right), (0, 0))
            return [np.pad(reads[0], ends, constant_values=x.zero_point)]
        case Tfl8Combine():
            return [combine(model, layer, reads)]
    return [moved(layer, reads[0], every_step)]


def quantize(x: Array, to: Tfl8Tensor, ties: str) -> Array:
    """QUANTIZE: x / scale as `ties` rounds it, plus the zero point. NaN counts as 0."""
    x, scale = np.nan_to_num(x.astype(np.float32), nan=0), np.float32(to.scale)
    with np.errstate(over="ignore"):
        if ties == "even":
            q = np.rint(x * (np.float32(1) / scale))
        else:
            q = away(x.astype(np.float64) / float(scale) if ties == "exact" else x / scale)
    info = np.iinfo(DTYPES[to.type])
    integers: Array = np.clip(q, -65536, 65536).astype(np.int64) + to.zero_point
    return integers.clip(info.min, info.max).astype(info.dtype)


def dequantize(x: Array, of: Tfl8Tensor) -> Array:
    """DEQUANTIZE: scale * (x - zero), one rounding to float32."""
    y: Array = np.float32(of.scale) * (x.astype(np.int32) - of.zero_point).astype(np.float32)
    return y


def dense(layer: Tfl8Dense, x: Tfl8Tensor, y: Tfl8Tensor, values: Array) -> Array:
    """int8 [..., units] of int8 [..., inputs]."""
    k = constants.dense(layer, x, y)
    acc = product(layer.kernel, values) + k.bias
    return np.clip(scaled(acc, k.multiplier, k.shift, layer.rounding) + k.zero, k.low, k.high).astype(np.int8)


def conv1d(layer: Tfl8Conv1d, x: Tfl8Tensor, y: Tfl8Tensor, values: Array) -> Array:
    """int8 [N, T', units] of int8 [N, T, inputs]."""
    k = constants.dense(layer, x, y)
    padded = np.pad(values, ((0, 0), padding(layer, values.shape[1]), (0, 0)), constant_values=x.zero_point)
    rows, units = windows(layer, values.shape[1]), layer.units
    acc = np.zeros((len(values), rows, units), np.int64) + k.bias
    for tap in range(layer.taps):
        at = tap * layer.dilation
        seen = padded[:, at : at + (rows - 1) * layer.stride + 1 : layer.stride] if rows else padded[:, :0]
        if layer.depthwise:
            acc += layer.kernel[:, tap, 0].astype(np.int64) * np.repeat(seen, units // layer.groups, axis=2)
        else:
            acc += product(layer.kernel[:, tap], seen)
    whole = units // 8 * 8 if layer.rounding == "eights" else 0
    parts = [(slice(whole), "halfup"), (slice(whole, units), layer.rounding.replace("eights", "double"))]
    made = [scaled(acc[..., part], k.multiplier[part], k.shift[part], rounding) for part, rounding in parts]
    return np.clip(np.concatenate(made, axis=2) + k.zero, k.low, k.high).astype(np.int8)


def pool1d(layer: Tfl8Pool1d, y: Tfl8Tensor, values: Array) -> Array:
    """int8 [N, T', width] of int8 [N, T, width]."""
    left, steps = padding(layer, values.shape[1])[0], values.shape[1]
    made = np.zeros((len(values), windows(layer, steps), values.shape[2]), np.int64)
    for t in range(made.shape[1]):
        start = t * layer.stride - left
        seen = values[:, max(start, 0) : min(start + layer.size, steps)].astype(np.int64)
        if layer.kind == "max":
            made[:, t] = seen.max(axis=1)
        else:
            total, count = seen.sum(axis=1), seen.shape[1]
            made[:, t] = np.sign(total) * ((np.abs(total) + count // 2) // count)
    return np.clip(made, *constants.activation_range(layer.activation, y)).astype(np.int8)


def of_periods(layer: Any, values: Array, compute: Callable[[Array], Array]) -> Array:
    """Every `period` rows as a sequence of their own."""
    if not layer.period:
        return compute(values)
    count, steps, width = values.shape
    check_steps(layer.name, steps, layer.period)
    y = compute(values.reshape(-1, layer.period, width))
    made: Array = y.reshape(count, -1, y.shape[2])
    return made


def reduce(layer: Tfl8Reduce, x: Tfl8Tensor, y: Tfl8Tensor, values: Array, every_step: bool) -> Array:
    """int8 [N, 1, width] of int8 [N, T, width]; of every step, or of every period, [N, rows, width]."""
    count, steps, width = values.shape
    if layer.period:
        check_steps(layer.name, steps, layer.period)
        values = values.reshape(-1, layer.period, width)
    made: Array
    if layer.kind == "max":
        made = np.maximum.accumulate(values, axis=1)
    else:
        k = constants.reduce(layer, x, y)
        total = np.cumsum(values.astype(np.int64), axis=1)
        made = np.stack([_mean(k, x, y, total[:, t], t + 1) for t in range(values.shape[1])], axis=1)
    if layer.period:
        periods: Array = made[:, -1].reshape(count, -1, width)
        return periods
    last: Array = made if every_step else made[:, -1:]
    return last


def _mean(k: constants.ReduceConstants, x: Tfl8Tensor, y: Tfl8Tensor, total: Array, count: int) -> Array:
    """int8 of a sum of so many rows."""
    if k.ratio:
        n, zero = np.float32(count), np.float32(x.zero_point)
        factor = k.ratio / n
        v = np.rint(sat32(total).astype(np.float32) * factor + (np.float32(y.zero_point) - zero * n * factor))
    else:
        m, s = k.factor
        places = min(count.bit_length() - 1, 31 + s)
        v = scaled(sat32(total - x.zero_point * count), (m << places) // count, s - places) + y.zero_point
    mean: Array = np.clip(v, -128, 127).astype(np.int8)
    return mean


def softmax(layer: Tfl8Softmax, of: Tfl8Tensor, x: Array) -> Array:
    """int8 [..., width] of logits int8."""
    v = x.astype(np.int64)
    e = constants.softmax(layer, of)[v.max(axis=-1, keepdims=True) - v]
    total = rdp(e, 12).sum(axis=-1, keepdims=True)
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    share = high(FULL.shl(FULL.one_over_one_plus((total << zeros) - 2**31), 1), e)
    return np.clip(rdp(share, 35 - zeros) - 128, -128, 127).astype(np.int8)


def combine(model: Tfl8Model, layer: Tfl8Combine, reads: list[Array]) -> Array:
    """int8 [N, rows, width]; a row of a single tensor, and a value of one of width 1, serve all."""
    steps = max(x.shape[1] for x in reads)
    reads = [np.broadcast_to(x, (len(x), steps, x.shape[2])) for x in reads]
    if layer.kind == "concatenate":
        return np.concatenate(reads, axis=2)
    a, b = (model.tensor(name) for name in layer.reads)
    y = model.tensor(layer.writes[0])
    k = constants.combine(layer, (a, b), y)
    d, e = (x.astype(np.int64) - t.zero_point for x, t in zip(reads, (a, b), strict=True))
    if k.kind in ("multiply", "float"):
        v = scaled(d * e, *k.last, "double" if k.kind == "multiply" else "float")
    elif k.kind == "weighted":
        v = (d * k.first[0] + e * k.second[0] + (1 << (k.last[1] - 1))) >> k.last[1]
    else:
        parts = scaled(d << 20, *k.first), scaled(e << 20, *k.second)
        v = scaled(parts[0] - parts[1] if k.kind == "subtract" else parts[0] + parts[1], *k.last)
    return np.clip(v + y.zero_point, k.low, k.high).astype(np.int8)


def lstm(layer: Tfl8Lstm, x: Tfl8Tensor, reads: list[Array]) -> list[Array]:
    """h int8 and c int16, [N, T, units] each, from a reset state. reads: x [N, T, inputs] | h and c [N, 1, units]."""
    k = constants.lstm(layer, x)
    cell = _micro_cell if layer.flavour == "micro" else _cell
    count, steps, _ = reads[0].shape
    rows = 4 * layer.units
    kernel, recurrent = layer.kernel.reshape(rows, -1), layer.recurrent.reshape(rows, -1)
    entering = (product(kernel, reads[0]) + k.input_bias.reshape(rows)).reshape(count, steps, 4, layer.units)
    h = np.full((count, layer.units), layer.state_zero, np.int64)
    c = np.zeros((count, layer.units), np.int64)
    if layer.initial:
        h, c = reads[1][:, 0].astype(np.int64), reads[2][:, 0].astype(np.int64)
    hs, cs = [], []
    for t in range(steps):
        again = (product(recurrent, h) + k.recurrent_bias.reshape(rows)).reshape(count, 4, layer.units)
        h, c = cell(layer, k, entering[:, t], again, c)
        hs.append(h)
        cs.append(c)
    return [np.stack(hs, axis=1).astype(np.int8), np.stack(cs, axis=1).astype(np.int16)]


def _factors(factors: tuple[tuple[int, int], ...]) -> tuple[Array, Array]:
    """m and s of the gates, [4, 1] each."""
    m, s = np.array(factors, np.int64).T[:, :, None]
    return m, s


def _cell(layer: Tfl8Lstm, k: constants.LstmConstants, entering: Array, again: Array, c: Array) -> tuple[Array, Array]:
    """h and c of the next step, [N, units] each; entering, again: sums over x and over h, [N, 4, units]."""
    a = sat16(sat16(scaled(entering, *_factors(k.input))) + scaled(again, *_factors(k.recurrent))) + 32768
    f, o = logistic_table()[a[:, 1]], logistic_table()[a[:, 3]]
    i = 32767 - f if layer.coupled else logistic_table()[a[:, 0]]
    added = rdp(i * tanh_table(3)[a[:, 2]], 15 + k.whole)
    c = sat16(rdp(f * c, 15) + (wrap16(added) if layer.bare else added))
    if k.clip:
        c = np.clip(c, -k.clip, k.clip)
    p = i if layer.bare else tanh_table(k.whole)[c + 32768]
    return np.clip(scaled(o * p, *k.hidden) + k.hidden_zero, -128, 127), c


def _micro_cell(
    layer: Tfl8Lstm, k: constants.LstmConstants, entering: Array, again: Array, c: Array
) -> tuple[Array, Array]:
    """The same as TFLite Micro computes it."""
    a = sat16(sat16(scaled(entering, *_factors(k.input))) + sat16(scaled(again, *_factors(k.recurrent)))) + 32768
    i, f, o = (micro_logistic_table()[a[:, n]] for n in (0, 1, 3))
    kept = sat16(rdp(f * c, 15))
    c = sat16(kept + sat16(scaled(i * micro_tanh_table(3)[a[:, 2]], *k.update)))
    if k.clip:
        c = np.clip(c, -k.clip, k.clip)
    p = micro_tanh_table(k.whole)[c + 32768]
    return np.clip(scaled(o * p, *k.hidden) + k.hidden_zero, -128, 127), c
