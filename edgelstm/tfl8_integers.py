"""TFLite's fixed-point arithmetic in NumPy, integer by integer: docs/numerics.md, "tfl8".

Arrays are int64 in and out and hold what 32 or 16 bits would. `Q m.n` is a number with m bits before and n after the
point, so its integer 1 stands for 2^-n.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from .meta import Array

Multiplier: TypeAlias = tuple[int, int]
"""A factor as m * 2^(s - 31)."""


# ---- primitives ----


def sat16(v: Array) -> Array:
    return np.clip(v, -32768, 32767)


def sat32(v: Array) -> Array:
    return np.clip(v, -(2**31), 2**31 - 1)


def wrap16(v: Array) -> Array:
    """What 16 bits hold of a value."""
    wrapped: Array = ((v + 2**15) & (2**16 - 1)) - 2**15
    return wrapped


def wrap32(v: Array) -> Array:
    """What 32 bits hold of a value."""
    wrapped: Array = ((v + 2**31) & (2**32 - 1)) - 2**31
    return wrapped


def away(v: Array | np.floating[Any]) -> Array:
    """Rounded to whole numbers, ties away from zero."""
    wide = np.asarray(v, np.float64)  # in which adding a half to a float32 is exact
    rounded: Array = np.trunc(wide + np.copysign(0.5, wide))
    return rounded


def multiplier(factor: float) -> Multiplier:
    """A positive factor as m and s, 2^30 <= m < 2^31; both 0 where it is below 2^-32."""
    fraction, s = math.frexp(factor)
    m = math.floor(fraction * 2**31 + 0.5)
    if m == 2**31:
        m, s = 2**30, s + 1
    return (m, s) if s >= -31 else (0, 0)


def high(a: Array, b: Array | int) -> Array:
    """a * b / 2^31, rounded half up: the high half of twice a product of 32-bit values."""
    product: Array = a * b
    return (product + 2**30) >> 31


def mh(a: Array, b: Array | int) -> Array:
    """a * b / 2^15 of 16-bit values, rounded half up; saturated."""
    return np.minimum((a * b + 2**14) >> 15, 32767)


def rdp(v: Array, e: Array | int) -> Array:
    """v / 2^e, ties away from zero."""
    mask = (1 << np.asarray(e, np.int64)) - 1
    rounded: Array = (v >> e) + ((v & mask) > (mask >> 1) + (v < 0))
    return rounded


def scaled(v: Array, m: Array | int, s: Array | int, rounding: str = "double") -> Array:
    """A 32-bit v * m * 2^(s - 31), rounded as TFLite's kernels do here or there."""
    s = np.asarray(s, np.int64)
    if rounding == "float":
        factor = np.ldexp(np.asarray(m, np.float64), (s - 31).astype(np.int32)).astype(np.float32)
        nearest: Array = np.rint(v.astype(np.float32) * factor).astype(np.int64)
        return nearest
    left, right = np.maximum(s, 0), np.maximum(-s, 0)
    y: Array
    if rounding == "single":
        y = (v * m + (1 << (30 - s))) >> (31 - s)
        return y
    y = high(wrap32(v << left), m)
    if rounding == "double":
        return rdp(y, right)
    y = (y + ((1 << right) >> 1)) >> right
    return y


# ---- functions of an int16, Q0.15 ----

# e^-1/8, 1/3 and e^-2^k for k = -2 ... 4 as Q0.31; 48/17 and -32/17 as Q2.29
_EIGHTH, _THIRD = 1895147668, 715827883
_LADDER = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_START, _SLOPE = 1515870810, -1010580540


class _Word:
    """The arithmetic of one word length. `bits` is the places of a Q0 number."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.most = 2**bits - 1

    def constant(self, v: int) -> int:
        """A Q0.31 or Q2.29 constant, rounded to this word."""
        return v if self.bits == 31 else (v + (1 << 15)) >> 16

    def mul(self, a: Array, b: Array | int) -> Array:
        return mh(a, b) if self.bits == 15 else np.minimum(high(a, b), self.most)

    def shl(self, v: Array, k: int) -> Array:
        return np.clip(v << k, -self.most - 1, self.most)

    def exp_small(self, a: Array) -> Array:
        """e^a for -1/4 <= a < 0, Q0 in and out."""
        x = a + 2 ** (self.bits - 3)
        x2 = self.mul(x, x)
        x3, x4 = self.mul(x2, x), self.mul(x2, x2)
        third, eighth = self.constant(_THIRD), self.constant(_EIGHTH)
        y = rdp(self.mul(rdp(x4, 2) + x3, third) + x2, 1)
        return np.clip(eighth + self.mul(x + y, eighth), -self.most - 1, self.most)

    def exp(self, a: Array, whole: int) -> Array:
        """e^a for a <= 0 with so many bits before the point; Q0 out."""
        places = self.bits - whole
        quarter = 1 << (places - 2)
        part = (a & (quarter - 1)) - quarter
        r = self.exp_small(self.shl(part, whole))
        rest = part - a
        for e, factor in enumerate(_LADDER, -2):
            if whole > e:
                r = np.where(rest & (1 << (places + e)), self.mul(r, self.constant(factor)), r)
        if whole > 5:
            r = np.where(a < -(1 << (self.bits + 5 - whole)), 0, r)
        return np.where(a == 0, self.most, r)

    def one_over_one_plus(self, a: Array) -> Array:
        """1 / (1 + a) for 0 <= a <= 1, Q0 in, Q2 out."""
        half = (a + self.most + 1) >> 1
        x = self.constant(_START) + self.mul(half, self.constant(_SLOPE))
        for _ in range(3):
            x = x + self.shl(self.mul(x, 2 ** (self.bits - 2) - self.mul(half, x)), 2)
        return x

    def logistic(self, a: Array, whole: int) -> Array:
        p = self.shl(self.one_over_one_plus(self.exp(-np.abs(a), whole)), 1)
        return np.where(a > 0, p, np.where(a < 0, self.most - p, (self.most + 1) // 2))

    def tanh(self, a: Array, whole: int) -> Array:
        # the argument of the exponential is 2a: the same integer, one more bit before the point
        p = self.shl(self.one_over_one_plus(self.exp(-np.abs(a), whole + 1)) - 2 ** (self.bits - 2), 2)
        return np.where(a > 0, p, np.where(a < 0, -p, 0))


HALF = _Word(15)
FULL = _Word(31)


def _all16() -> Array:
    return np.arange(-32768, 32768, dtype=np.int64)


@cache
def logistic_table() -> Array:
    """The logistic function of a Q3.12, Q0.15 [65536], from -32768 up."""
    return HALF.logistic(_all16(), 3)


@cache
def tanh_table(whole: int) -> Array:
    """tanh of an int16 with so many bits before the point, 0 ... 6; Q0.15 [65536]."""
    return HALF.tanh(_all16(), whole)


# ---- the same of TFLite Micro: a table of the logistic function and a straight line between its entries ----


@cache
def micro_table() -> Array:
    """65536 times the logistic function at k / 24, each raised by what the line below it would miss; [256]."""
    x = np.arange(255) / 24
    y = 1 / (1 + np.exp(-x))
    bent = np.abs(y * (1 - y) * (1 - 2 * y))
    return np.append(np.rint(65536 * (y + bent / (16 * 24**2))), 65535).astype(np.int64)


def _micro_line(v: Array, places: int) -> tuple[Array, Array]:
    """The table at |v|, of which so many bits lie after the point, and where it has ended."""
    at = np.abs(v) >> places
    ended = at >= 255
    k = np.minimum(at, 254)
    table = micro_table()
    return (table[k] << places) + (np.abs(v) & ((1 << places) - 1)) * (table[k + 1] - table[k]), ended


@cache
def micro_logistic_table() -> Array:
    v = 3 * _all16()
    r, ended = _micro_line(v, 9)
    r = np.where(ended, 0x7FFF << 10, r)
    return np.where(v >= 0, (r + 2**9) >> 10, (2**25 - r + 2**9 - 1) >> 10)


@cache
def micro_tanh_table(whole: int) -> Array:
    """As tanh_table."""
    left = whole - 3  # from the places of a Q3.12
    a = _all16()
    v = a * (3 << left) if left >= 0 else (3 * a + (1 << (-left - 1))) >> -left
    r, ended = _micro_line(v, 8)
    r = np.where(ended, 0xFFFF << 8, r)
    return np.where(v >= 0, (r - 2**23 + 2**7) >> 8, (-r + 2**23 + 2**7 - 1) >> 8)
