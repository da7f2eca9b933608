"""Rows of weights to int8: scales tied through kx, sums kept inside their bounds, rounding errors compensated.

The rules are docs/numerics.md, "Rows" and "The packer's choices"; everything here is vectorised over rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import QuantizeError
from .model import Array

_SUM = 2.0**27  # |acc| stays below
_PRODUCT = 2.0**31  # |W x| stays below
MOST_COLUMNS = 4096  # compensated rounding is cubic in these
_DAMPING = 0.1  # of the mean variance; 0.01 to 1 do about as well on trained nets, 0.1 best overall


class Met:
    """What rounding asks of the values that a matrix was multiplied with on the samples, float64 [steps, n]."""

    def __init__(self, values: Array) -> None:
        self.mean: Array = values.mean(axis=0)
        self.energy = float(np.square(values).mean(axis=0).sum())
        self._moments: Array | None = None
        if 0 < values.shape[1] <= MOST_COLUMNS:
            varying = values - self.mean
            self._moments = varying.T @ varying / len(values)
        self._order: tuple[Array, Array] | None = None

    @property
    def order(self) -> tuple[Array, Array] | None:
        """The columns as they are to be rounded, and how each one's error is spread over those after it: upper
        triangular. None where nothing varies, or for too many columns."""
        if self._order is None and self._moments is not None:
            moments, columns = self._moments, len(self._moments)
            mean = float(np.trace(moments)) / columns
            if mean:
                moments = moments + _DAMPING * mean * np.eye(columns)
                order = np.argsort(-np.diag(moments), kind="stable")
                inverse = np.linalg.inv(moments[np.ix_(order, order)])
                self._order = order, np.linalg.cholesky((inverse + inverse.T) / 2).T
            self._moments = None
        return self._order


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """One matrix of a layer and what it is multiplied with."""

    weights: Array  # float64 [rows, n]
    scale: float  # real value of one unit of x or h
    largest: int  # worst |x|: 32768 for int16, 128 for int8, hm for an int16 h
    met: Met | None  # None: plain rounding


@dataclass(frozen=True, slots=True, eq=False)
class Peephole:
    """What a row adds of its own unit's c."""

    weights: Array  # float64 [rows]
    scale: float  # real value of one unit of c, an int16


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A layer's rows in integers, and the scales they were made with."""

    kernel: Array  # int8 [rows, inputs]
    recurrent: Array  # int8 [rows, units], or [rows, 0]
    bias: Array  # int32 [rows]
    input_shift: Array  # int8 [rows], kx
    shift: Array  # int8 [rows], s
    multiplier: Array  # int16 [rows], m
    kernel_scale: Array  # float64 [rows]
    recurrent_scale: Array  # float64 [rows]
    real_bias: Array  # float64 [rows], what `bias` stands for
    clipped: int  # rows whose largest weights or bias did not fit
    peephole: Array | None = None  # int16 [rows]
    peephole_shift: Array | None = None  # int8 [rows], kp


@dataclass(frozen=True, slots=True, eq=False)
class _Tie:
    unit: Array  # a, the real value of one accumulator unit, [rows]
    shift: Array  # kx, int64 [rows]


def quantize_rows(
    name: str,
    x: Operand,
    h: Operand | None,
    bias: Array,
    full: Array,
    offset: Array,
    peephole: Peephole | None = None,
) -> Rows:
    """Rows of z = W x + R h + bias | + p c, z's 32768 standing for `full` [rows].

    `offset` [rows]: an integer z stands for z + offset. QuantizeError if no scales hold the bounds.
    """
    rows = len(bias)
    h = h or Operand(np.zeros((rows, 0)), 1.0, 128, None)
    natural = [np.abs(v.weights).max(axis=1, initial=0) * (v.scale / 127) for v in (x, h)]
    # P of docs/numerics.md from 2^-17 (s = 17: finer units would add nothing to z) to 32 (s = -4, m = 32767).
    highest = full * 2.0**-10
    added = np.zeros(rows) if peephole is None else np.abs(peephole.weights) * (peephole.scale * 32768)
    lowest = np.minimum(np.maximum(full * 2.0**-32, (np.abs(bias) + added) * 2.0**-26), highest)
    bias_seen = np.clip(bias, -highest * 2.0**26, highest * 2.0**26)
    # Fine steps of an int16 h meet coarser ones of x; else 16-bit inputs never need a left shift.
    kx_least = np.full(rows, 0.0 if x.largest > 128 >= h.largest else -4.0)
    most = np.full(rows, 127.0)  # the largest integer of a row of W; less only where it is cut off anyway
    rounded: list[Array] = []
    for _ in range(200):
        tie = _tie(natural[0], natural[1], lowest, highest, kx_least)
        scales = tie.unit * 2.0**-tie.shift / x.scale, tie.unit / h.scale
        rounded = [_plain(x.weights, scales[0], most), _plain(h.weights, scales[1])]
        sums, total = _worst(rounded, tie, (x.largest, h.largest), np.abs(bias_seen) + added)
        if not (sums | total).any():
            break
        natural[0] = np.where(sums, natural[0] * 1.25, natural[0])
        # Twice the unit is one more in kx: W keeps its scale. At the unit's upper end W is cut further instead.
        most = np.where(sums & (tie.unit >= highest), np.floor(most * 0.8), most)
        kx_least += total & (tie.unit >= highest)
        lowest = np.where(total, np.minimum(np.maximum(lowest, tie.unit) * 2, highest), lowest)
    else:
        raise QuantizeError(f"{name}: no int8 scales keep its sums inside 32 bits; its weights differ too much in size")
    better, corrected = list(rounded), bias_seen.copy()
    for k, (v, scale) in enumerate(zip((x, h), scales, strict=True)):
        if v.met is not None and 0 < v.weights.shape[1] <= MOST_COLUMNS:
            better[k] = compensated(v.weights, scale, v.met)
            corrected += (v.weights - better[k] * scale[:, None]) @ v.met.mean
    sums, total = _worst(better, tie, (x.largest, h.largest), np.abs(corrected) + added)
    fits = ~(sums | total)
    rounded = [np.where(fits[:, None], b, r) for b, r in zip(better, rounded, strict=True)]
    real_bias = np.where(fits, corrected, bias_seen)
    over = [(np.abs(v.weights).max(axis=1, initial=0) > 127.5 * s) for v, s in zip((x, h), scales, strict=True)]
    shift, multiplier = requantization(tie.unit, full)
    lost = _lost(tie.shift, shift, multiplier, offset)
    wp, kp = (None, None) if peephole is None else _peepholes(peephole, tie.unit)
    if kp is not None:
        lost += np.where(kp > 0, (1 - 2.0**-kp) / 2, 0)
    counts = np.rint(real_bias / tie.unit + lost).astype(np.int64)
    assert np.abs(counts).max(initial=0) < _SUM, f"{name}: a bias beyond 2^27"
    return Rows(
        kernel=rounded[0].astype(np.int8),
        recurrent=rounded[1].astype(np.int8),
        bias=counts.astype(np.int32),
        input_shift=tie.shift.astype(np.int8),
        shift=shift.astype(np.int8),
        multiplier=multiplier.astype(np.int16),
        kernel_scale=scales[0],
        recurrent_scale=scales[1],
        real_bias=real_bias,
        clipped=int((over[0] | over[1] | (bias_seen != bias)).sum()),
        peephole=wp,
        peephole_shift=kp,
    )


def _peepholes(peephole: Peephole, unit: Array) -> tuple[Array, Array]:
    """Weights, int16 [rows], and kp, int8 [rows]: as many bits as fit."""
    ratio = peephole.weights * peephole.scale / unit
    shift = np.clip(np.floor(np.log2(32767 / np.maximum(np.abs(ratio), 2.0**-13))), 0, 27)
    shift = np.where(ratio == 0, 0, shift)
    return np.clip(np.rint(ratio * 2.0**shift), -32767, 32767).astype(np.int16), shift.astype(np.int8)


def requantization(unit: Array, full: Array) -> tuple[Array, Array]:
    """s and m of rows whose accumulator unit is `unit` and whose z's 32768 stands for `full`, int64 each."""
    ratio = unit / full * 32768
    shift = np.clip(np.ceil(-np.log2(ratio)), -4, 27)
    shift += ratio * 2.0**shift < 1  # log2 may round up to a whole number
    multiplier = np.clip(np.rint((ratio * 2.0**shift - 1) * 32768), 0, 32767)
    return np.minimum(shift, 27).astype(np.int64), multiplier.astype(np.int64)


def compensated(weights: Array, scale: Array, met: Met) -> Array:
    """Integers q, |q| <= 127, for which q * scale applied to what was met comes closest to weights applied to it, but
    for a constant, which the bias takes up.

    Column by column, each column's rounding error is spread over those not yet rounded, as far as the inputs are
    correlated (Frantar et al. 2022, "GPTQ"). weights [rows, n], scale [rows].
    """
    if met.order is None:
        return _plain(weights, scale)
    order, upper = met.order
    left = weights[:, order] / scale[:, None]
    rounded = np.zeros_like(left)
    for j in range(len(upper)):
        rounded[:, j] = np.clip(np.rint(left[:, j]), -127, 127)
        error = (left[:, j] - rounded[:, j]) / upper[j, j]
        left[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    result: Array = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def _plain(weights: Array, scale: Array, most: Array | float = 127.0) -> Array:
    limit = np.broadcast_to(most, scale.shape)[:, None]
    rounded: Array = np.clip(np.rint(weights / scale[:, None]), -limit, limit)
    return rounded


def _tie(x_unit: Array, h_unit: Array, lowest: Array, highest: Array, kx_least: Array) -> _Tie:
    """The accumulator unit and kx of each row, from the natural units of its two products (0: no such weights)."""
    wanted = np.where(h_unit > 0, h_unit, np.where(x_unit > 0, x_unit, highest * 2.0**-9))
    wanted = np.clip(wanted, lowest, highest)
    safe = np.where(x_unit > 0, x_unit, wanted)
    ideal = np.log2(wanted / safe)
    shift = np.clip(np.rint(ideal), kx_least, 27)
    # Rounding up would clip weights where the unit is at its upper end already.
    shift = np.where(safe * 2.0**shift > highest, np.clip(np.floor(ideal), kx_least, 27), shift)
    unit = np.minimum(np.maximum(wanted, safe * 2.0**shift), highest)
    return _Tie(unit, shift.astype(np.int64))


def _worst(rounded: list[Array], tie: _Tie, largest: tuple[int, int], constant: Array) -> tuple[Array, Array]:
    """Which rows may overflow, [rows] each: in W x itself, and in the accumulator or the left-shifted W x.
    `constant`: the largest that is added to the two products."""
    ax, ah = (np.abs(q).sum(axis=1) * most for q, most in zip(rounded, largest, strict=True))
    shifted = ax * 2.0**-tie.shift
    # 2^18: more than `_lost` adds to a bias, s being at most 17 here.
    total = shifted + ah + constant / tie.unit >= _SUM - 2.0**18
    return ax >= _PRODUCT, total | ((tie.shift < 0) & (shifted >= _SUM))


def _lost(kx: Array, shift: Array, multiplier: Array, offset: Array) -> Array:
    """What the bias gives back for floor shifts, in accumulator units."""
    lost = np.where(kx > 0, (1 - 2.0**-kx) / 2, 0) + np.where(shift > 0, (2.0**shift - 1) / 2, 0)
    given: Array = lost - 2.0**shift * offset / (1 + multiplier / 32768)
    return given
