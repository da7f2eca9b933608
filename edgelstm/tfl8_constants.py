"""What TFLite makes of scales and zero points before it runs: multipliers, biases, tables. The reference computes with
them, and the image holds them: no device computes with a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .errors import ModelError
from .meta import Array
from .tfl8 import Tfl8Combine, Tfl8Conv1d, Tfl8Dense, Tfl8Lstm, Tfl8Map, Tfl8Reduce, Tfl8Softmax, Tfl8Tensor
from .tfl8_integers import FULL, Multiplier, away, multiplier, scaled

MOST_SHIFT = 15
"""Left, of a multiplier; 2^15 is beyond what any quantizer writes."""


@dataclass(frozen=True, slots=True, eq=False)
class LstmConstants:
    """Gates i f g o throughout."""

    input_bias: Array  # int64 [4, units]: bias - zero(x) * sums of the kernel's rows
    recurrent_bias: Array  # int64 [4, units]: -zero(h) * sums of the recurrent kernel's rows
    input: tuple[Multiplier, ...]  # of sums over x, to Q3.12
    recurrent: tuple[Multiplier, ...]  # of sums over h
    hidden: Multiplier  # of o * P(c), Q0.30, to h
    update: Multiplier  # of i * g, Q0.30, to c; of "micro" alone
    hidden_zero: int
    clip: int  # |c| stays within it; 0: no clip
    whole: int  # bits of c before the point; below 0 without a tanh


def lstm(layer: Tfl8Lstm, x: Tfl8Tensor) -> LstmConstants:
    step = np.float32(2**-12)
    micro = layer.flavour == "micro"
    number = float if micro else np.float32  # TFLite multiplies scales as float32, TFLite Micro as double

    def factors(scales: Array, other: float) -> tuple[Multiplier, ...]:
        return tuple(
            checked(layer.name, multiplier(float(number(number(s) * number(np.float32(other))) / number(step))))
            for s in scales
        )

    cell = 2.0**layer.cell_exponent
    own_scale, own_zero = (
        (layer.state_scale, layer.state_zero) if micro else (layer.hidden_scale, layer.hidden_zero)
    )  # of what h is written in
    if micro:
        hidden = multiplier(2.0**-30 / float(np.float32(own_scale)))
    else:
        hidden = multiplier(float(np.float32(2**-15) / np.float32(own_scale) * np.float32(2**-15)))
    limit = np.float32(layer.cell_clip) / np.float32(cell)
    return LstmConstants(
        input_bias=biased(layer.name, layer.bias, layer.kernel, x.zero_point),
        recurrent_bias=biased(layer.name, np.zeros_like(layer.bias), layer.recurrent, layer.state_zero),
        input=factors(layer.kernel_scale, x.scale),
        recurrent=factors(layer.recurrent_scale, layer.state_scale),
        hidden=checked(layer.name, hidden),
        update=multiplier(2.0**-30 / cell),
        hidden_zero=own_zero,
        clip=int(min(limit, np.float32(32767))),
        whole=15 + layer.cell_exponent,
    )


@dataclass(frozen=True, slots=True, eq=False)
class DenseConstants:
    bias: Array  # int64 [units]: bias - zero(x) * sums of the kernel's rows
    multiplier: Array  # int64 [units], m
    shift: Array  # int64 [units], s
    zero: int
    low: int  # the answer is clamped to low ... high
    high: int


def dense(layer: Tfl8Dense | Tfl8Conv1d, x: Tfl8Tensor, y: Tfl8Tensor) -> DenseConstants:
    number = np.float32 if layer.rounding == "float" else np.float64
    read, written = number(np.float32(x.scale)), number(np.float32(y.scale))
    scales = np.broadcast_to(layer.kernel_scale, (layer.units,))
    pairs = [checked(layer.name, multiplier(float(read * number(s) / written))) for s in scales]
    low, high = activation_range(layer.activation, y)
    m, s = np.array(pairs, np.int64).T
    bias = biased(layer.name, layer.bias, layer.kernel.reshape(layer.units, -1), x.zero_point)
    return DenseConstants(bias, m, s, y.zero_point, low, high)


def activation_range(activation: str, y: Tfl8Tensor) -> tuple[int, int]:
    """The integers between which a fused activation leaves an answer."""

    def integer(real: float) -> int:
        return y.zero_point + int(away(np.float32(real) / np.float32(y.scale)))

    low, high = {
        "none": (-128, 127),
        "relu": (integer(0), 127),
        "relu6": (integer(0), integer(6)),
        "relu_n1_to_1": (integer(-1), integer(1)),
    }[activation]
    return max(low, -128), min(high, 127)


@dataclass(frozen=True, slots=True, eq=False)
class CombineConstants:
    """Of ADD, SUB and MUL, d and e what is read less its zero point:

    add, subtract  scaled(d << 20, first) +- scaled(e << 20, second), scaled by last
    multiply       d * e scaled by last, or with `float` in float32
    weighted       (d * first[0] + e * second[0] + half) >> last[1]
    """

    kind: str  # "add", "subtract", "multiply", "float" or "weighted"
    first: Multiplier
    second: Multiplier
    last: Multiplier
    low: int
    high: int


def combine(layer: Tfl8Combine, x: tuple[Tfl8Tensor, Tfl8Tensor], y: Tfl8Tensor) -> CombineConstants:
    a, b, c = (np.float32(t.scale) for t in (*x, y))
    limits = activation_range(layer.activation, y)
    none: Multiplier = (0, 0)
    coarse = layer.factors == "coarse"
    if layer.kind == "multiply":
        factor = float(a * b / c) if coarse else float(a) * float(b) / float(c)
        last = checked(layer.name, multiplier(factor))
        return CombineConstants("float" if coarse else "multiply", none, none, last, *limits)
    ratios = (a / c, b / c)
    if coarse and all(2**-10 <= float(ratio) < 2**8 for ratio in ratios):  # else the delegate leaves it alone
        shift = 21 - math.frexp(float(max(ratios)))[1]
        first, second = (int(np.rint(math.ldexp(float(ratio), shift))) for ratio in ratios)
        signed = -second if layer.kind == "subtract" else second
        return CombineConstants("weighted", (first, 0), (signed, 0), (0, shift), *limits)
    twice = 2 * max(float(a), float(b))
    last = checked(layer.name, multiplier(twice / (2**20 * float(c))))
    return CombineConstants(layer.kind, multiplier(float(a) / twice), multiplier(float(b) / twice), last, *limits)


@dataclass(frozen=True, slots=True)
class ReduceConstants:
    """Of MEAN: the factor of a sum, or `ratio` that of the delegate, which computes in float32."""

    factor: Multiplier
    ratio: np.float32  # 0: by the factor


def reduce(layer: Tfl8Reduce, x: Tfl8Tensor, y: Tfl8Tensor) -> ReduceConstants:
    read, written = np.float32(x.scale), np.float32(y.scale)
    if layer.kind == "max":
        return ReduceConstants((0, 0), np.float32(0))
    if layer.factors == "coarse":
        return ReduceConstants((0, 0), read / written)
    return ReduceConstants(checked(layer.name, multiplier(float(read) / float(written))), np.float32(0))


def softmax(layer: Tfl8Softmax, x: Tfl8Tensor) -> Array:
    """e^-d in Q0.31, d the distance of an integer from the largest of its row; int64 [256]."""
    m, t = multiplier(min(layer.beta * float(np.float32(x.scale)) * 2.0**26, 2.0**31 - 1))
    d = -np.arange(256, dtype=np.int64)
    reach = -(int(31 * 2.0**26 / 2.0**t))
    e = FULL.exp(np.where(d >= reach, scaled(d, m, t), -1), 5)
    return np.where(d >= reach, e, 0)


def map_table(layer: Tfl8Map, x: Tfl8Tensor, y: Tfl8Tensor) -> Array:
    """The answer to each int8, int8 [256], from -128 up."""
    v = np.arange(-128, 128, dtype=np.int64) - x.zero_point
    if layer.function in ("logistic", "tanh"):
        real = v * float(np.float32(x.scale))
        f: Array = np.tanh(real) if layer.function == "tanh" else 1 / (1 + np.exp(-real))
        table: Array = np.clip(np.rint(f / float(np.float32(y.scale))) + y.zero_point, -128, 127).astype(np.int8)
        return table

    own = layer.factors if layer.function in ("leaky_relu", "rescale") else "double"
    ratios = [np.float32(x.scale) / np.float32(y.scale)]
    if layer.function == "leaky_relu":
        ratios.append(np.float32(x.scale) * np.float32(layer.alpha) / np.float32(y.scale))
    # beyond these the delegate leaves the operator alone
    coarse = own == "coarse" and all(2**-8 <= abs(float(ratio)) <= 2**7 for ratio in ratios)

    def rescaled(alpha: float, ratio: np.float32) -> Array:
        if coarse:
            shifted: Array = (v * int(np.rint(np.float32(256) * ratio)) + 128) >> 8
            return shifted
        # QUANTIZE divides doubles, the others floats
        exact = float(np.float32(x.scale)) / float(np.float32(y.scale))
        factor = exact if layer.function == "rescale" else abs(float(ratio))
        rounding = "halfup" if own == "halfup" and layer.function == "rescale" else "double"
        z: Array = scaled(v, *checked(layer.name, multiplier(factor)), rounding)
        return z * int(np.sign(alpha))

    low, high = activation_range(layer.function if layer.function.startswith("relu") else "none", y)
    z = rescaled(1.0, ratios[0])
    if layer.function == "leaky_relu":
        z = np.where(v >= 0, z, rescaled(layer.alpha, ratios[1]) if layer.alpha else 0)
    return np.clip(z + y.zero_point, low, high).astype(np.int8)


def checked(name: str, factor: Multiplier) -> Multiplier:
    if factor[1] > MOST_SHIFT:
        raise ModelError(f"{name}: its scales ask for a factor of 2^{factor[1]}, expected at most 2^{MOST_SHIFT}")
    return factor


def biased(name: str, bias: Array, weights: Array, zero: int) -> Array:
    """A product's bias with what a zero point of x takes: int64 [..., rows]; weights [..., rows, columns]. ModelError
    where sums may reach 2^30."""
    rows = weights.astype(np.int64)
    made: Array = bias.astype(np.int64) - zero * rows.sum(axis=-1)
    if (128 * np.abs(rows).sum(axis=-1) + np.abs(made)).max() >= 2**30:
        raise ModelError(f"{name}: a sum of its weights and bias may reach 2^30")
    return made
