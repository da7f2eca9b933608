"""Activations as functions of int16: which kind, over which range, with which table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeAlias

import numpy as np

from .activations import activate
from .errors import QuantizeError
from .layers import Activation
from .model import Array
from .quantized import QuantizedActivation

HEADROOM = 4.0  # times the largest value seen still fits, where 16 bits leave room for it
TABLE_HEADROOM = 2.0  # less where a table's 256 steps must cover the range
SMALLEST = 2.0**-60  # no range is narrower, so no scale is 0

_BOUNDED = ("tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_fifth", "softsign", "ramp")
_SOFTMAX_REACH = 12.0  # 32767 exp(-12) rounds to 0
_POINTS = 8  # a table's segment is fitted at so many points
_MOST_VALUES = 20000  # enough to compare tables by


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A function in integers, and what its integers stand for."""

    activation: QuantizedActivation
    full: float  # real value of an input's 32768
    out: float  # real value of an output's 32768
    middle: bool  # an input integer stands for the middle of its cell, when the doublings are done

    @property
    def offset(self) -> float:
        """An input integer v stands for v + offset."""
        return 0.5 / 2.0**self.activation.doublings if self.middle else 0.0


def bounded(activation: Activation) -> bool:
    """Whether its values lie within -1 ... 1."""
    if activation.name == "clip":
        return -1 <= activation.alpha and activation.beta <= 1
    return activation.name in _BOUNDED or (activation.name == "scaled_tanh" and abs(activation.alpha) <= 1)


def has_limits(activation: Activation) -> bool:
    """Whether its values have limits of their own, so that no range of the samples is asked for."""
    return bounded(activation) or activation.name in ("softmax", "relu6", "clip")


def negative(activation: Activation) -> bool:
    """Whether a value of it can be negative."""
    with np.errstate(over="ignore"):
        return bool((activate(activation, np.linspace(-12, 12, 4801)) < 0).any())


def _flat_beyond(activation: Activation, widest: float) -> float | None:
    """The input beyond which, on both sides, the function is flat: there the kink lies on the last entry. None where
    there is none; less where the samples reach less and there is a kink short of it too."""
    a, b = activation.alpha, activation.beta
    match activation.name:
        case "hard_sigmoid":
            return 3.0
        case "hard_sigmoid_fifth":
            return 2.5
        case "ramp" if b == 0.5 and a:
            return 0.5 / abs(a)
        case "clip" if b == -a and a:
            return abs(a)
        case "clip" if a == 0 < b < widest:
            return b
        case "relu6":
            return min(6.0, widest)
    return None


def span(values: Array, headroom: float) -> float:
    """headroom * max|values|; 1 where all are 0, never below SMALLEST."""
    largest = float(np.abs(values).max(initial=0))
    return max(headroom * largest, SMALLEST) if largest else 1.0


def curve(activation: Activation, values: Array) -> Curve:
    """The integer form of an elementwise activation or softmax whose inputs on the samples were `values`."""
    name = activation.name
    if name == "tanh":
        return Curve(QuantizedActivation("tanh"), 5.0, 1.0, True)
    if name == "sigmoid":
        return Curve(QuantizedActivation("sigmoid"), 10.0, 1.0, True)
    if name == "softmax":
        return _softmax(values)
    if name == "linear":
        full = span(values, HEADROOM)
        return Curve(QuantizedActivation("linear"), full, full, False)
    if name == "relu":
        # Negative values may saturate: they become 0 all the same.
        full = span(np.maximum(values, 0), HEADROOM)
        return Curve(QuantizedActivation("relu"), full, full, False)
    full = table_range(activation, values)
    return tabled(activation, full, table_height(activation, values, full))


def doubled(base: Curve, doublings: int) -> Curve:
    """A function over 2^doublings its range."""
    function = QuantizedActivation(base.activation.kind, doublings, base.activation.table)
    return Curve(function, base.full * 2.0**doublings, base.out, base.middle)


def gate_curve(activation: Activation, values: Array) -> tuple[Curve, int]:
    """As `curve`, for gates: an output's 32768 stands for 2^e; also returns e. QuantizeError if e exceeds 14."""
    if bounded(activation):
        return curve(activation, values), 0
    if activation.name in ("linear", "relu"):
        reached = np.maximum(values, 0) if activation.name == "relu" else values
        exponent = _exponent(span(reached, TABLE_HEADROOM))
        full = 2.0**exponent
        return Curve(QuantizedActivation(activation.name), full, full, False), exponent
    full = table_range(activation, values)
    exponent = _exponent(table_height(activation, values, full))
    return tabled(activation, full, 2.0**exponent), exponent


def _exponent(reach: float) -> int:
    if reach > 2.0**14:
        raise QuantizeError(f"its gates need a range of {reach:.3g}, more than 16384; it cannot be int8")
    return int(np.clip(np.ceil(np.log2(reach)), 0, 14))


def _softmax(values: Array) -> Curve:
    """Its table covers differences of 0 ... 12 in the input's units, or what the inputs can differ by if that is less;
    doublings make up for wider ranges."""
    wanted = span(values, TABLE_HEADROOM)
    doublings = int(np.clip(np.ceil(np.log2(wanted / (_SOFTMAX_REACH / 2))), 0, 10))
    full = wanted if doublings == 0 else max(_SOFTMAX_REACH / 2 * 2.0**doublings, wanted)
    differences = 2 * full / 2.0**doublings * np.arange(257) / 256
    table = np.rint(32767 * np.exp(-differences)).astype(np.int16)
    return Curve(QuantizedActivation("softmax", doublings, table), full, 32768 / 32767, False)


def tabled(activation: Activation, full: float, out: float) -> Curve:
    """A 257-entry table over -full ... full whose 32768 stands for `out`, and the function's jumps."""
    entries, kind, ends = _entries(activation, full), "table", _jumps(activation, full)
    if ends:
        kind, cell = "jumps", full / 128
        for at, left, right in (ends * 2)[:2]:
            start = np.floor(at / cell) * cell
            entries = np.append(entries, [0, left(start + cell), right(start)])
    table = np.clip(np.rint(entries / out * 32768), -32768, 32767).astype(np.int16)
    for k, (at, _, _) in enumerate((ends * 2)[:2]):
        table[257 + 3 * k] = int(np.floor(at / full * 32768))
    return Curve(QuantizedActivation(kind, 0, table), full, out, False)


_Jump: TypeAlias = tuple[float, Callable[[float], float], Callable[[float], float]]


def _jumps(activation: Activation, full: float) -> list[_Jump]:
    """Where the function jumps within -full ... full, and what it is on the left, up to and with that, and on the
    right."""
    a, b = activation.alpha, activation.beta
    found: list[_Jump] = []
    match activation.name:
        case "threshold":
            found = [(a, lambda x: b, lambda x: x)]
        case "rectify":
            found = [(a, lambda x: b * (x - a), lambda x: min(x, activation.gamma))]
        case "shrink" if a >= 0:
            found = [(_before(-a), lambda x: x + b, lambda x: 0.0), (a, lambda x: 0.0, lambda x: x - b)]
        case "shrink":
            found = [(_before(-a), lambda x: x + b, lambda x: x - b)]
        case "scaled_softplus" if a > 0:
            found = [(b / a, lambda x: float(np.logaddexp(a * x, 0)) / a, lambda x: x)]
        case "scaled_softplus":
            found = [(_before(b / a), lambda x: x, lambda x: float(np.logaddexp(a * x, 0)) / a)]
    return [
        (at, left, right) for at, left, right in found if abs(at) < full and abs(left(at) - right(at)) > 1e-6 * full
    ]


def _before(at: float) -> float:
    """The last place before one that belongs to the right."""
    return float(np.nextafter(at, -np.inf))


@lru_cache(maxsize=512)
def _entries(activation: Activation, full: float) -> Array:
    """The 257 real entries whose interpolation is closest to the function, in the mean square, and exact at 0. Those of
    a function that jumps are its values there: a polygon that gave way to the jump would be off on both sides of it."""
    if _jumps(activation, full):
        return activate(activation, full * (np.arange(257) - 128) / 128)
    points, corners, weights = _spline()
    with np.errstate(over="ignore"):
        wanted = np.clip(activate(activation, points * full), -1e300, 1e300)
    largest = float(np.abs(wanted).max()) or 1.0
    fitted: Array = np.linalg.solve(corners, weights.T @ (wanted / largest)) * largest
    return fitted


@cache
def _spline() -> tuple[Array, Array, Array]:
    """Points of -1 ... 1, and the normal equations of a polygon of 257 corners through values at them."""
    points = np.linspace(-1, 1, 256 * _POINTS + 1)
    hats = np.maximum(0, 1 - np.abs(128 * (points[:, None] + 1) - np.arange(257)))
    weights = hats.copy()
    weights[128 * _POINTS] *= 1e6  # where x is 0
    return points, weights.T @ hats, weights


def table_height(activation: Activation, values: Array, full: float) -> float:
    """What a table's 32768 stands for: its largest entry, unless that is far beyond what the samples reach."""
    if bounded(activation):
        return 1.0
    most = float(np.abs(_entries(activation, full)).max())
    reached = span(activate(activation, np.clip(values, -full, full)), HEADROOM)
    return max(min(most, reached), SMALLEST)


def table_range(activation: Activation, values: Array) -> float:
    """What a table's input 32768 stands for: the range with the least error on the samples and on twice their values.

    A function that flattens out needs no table there, so the best range may be far less than the samples reach.
    """
    widest = span(values, TABLE_HEADROOM)
    flat = _flat_beyond(activation, widest)
    if flat is not None:
        return flat
    flattened = values.ravel()
    some = flattened[:: max(1, flattened.size // _MOST_VALUES)]
    wide = np.concatenate([some, TABLE_HEADROOM * some])
    if _jumps(activation, widest):
        return widest
    reach = table_height(activation, values, widest)
    with np.errstate(over="ignore"):
        wanted = np.clip(activate(activation, wide), -reach, reach)
    errors: dict[float, float] = {}
    for halves in range(12):
        full = max(widest * 2.0 ** (-halves / 2), SMALLEST)
        entries = np.clip(_entries(activation, full), -reach, reach)
        found = np.interp(np.clip(wide, -full, full), np.linspace(-full, full, 257), entries)
        errors[full] = float(np.square(found - wanted).sum())
    return min(errors, key=lambda full: errors[full])
