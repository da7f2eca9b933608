"""Quantized layers as pure data: the integer twins of layers.py. docs/numerics.md says what their fields mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from . import shapes
from .layers import Crop, Group, Last, Pad, Repeat, Reverse, Split, Transpose
from .meta import Array


@dataclass(frozen=True, slots=True)
class QuantizedTensor:
    """One value vector a step: `width` integers; real value = scale * integer."""

    name: str
    width: int
    type: str  # "s8" or "s16"; what a recurrent cell writes is either, all else of a layer s16
    scale: float
    single: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedActivation:
    """An activation from int16 to int16, as docs/numerics.md defines it."""

    kind: str  # "sigmoid", "tanh", "relu", "linear", "table", "softmax" or "jumps"
    doublings: int = 0  # v = sat16(2 v) so many times before the function
    table: Array | None = None  # int16 [257], for "table" and "softmax"; [263] for "jumps"


@dataclass(frozen=True, slots=True)
class Rescale:
    """s and m that bring the 256-fold of a value to another scale, as those of an activation that stands alone."""

    shift: int
    multiplier: int


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedRows:
    """A product in integers: rows of docs/numerics.md."""

    kernel: Array  # int8 [rows, columns], -127 ... 127
    bias: Array  # int32 [rows]
    input_shift: Array  # int8 [rows], kx
    shift: Array  # int8 [rows], s
    multiplier: Array  # int16 [rows], m


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedReset:
    """What r multiplies in a GRU with reset_after: R_n h + d, requantized."""

    bias: Array  # int32 [units], d
    shift: Array  # int8 [units], s
    multiplier: Array  # int16 [units], m


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedLstm(shapes.Lstm):
    """An LSTM in integers. Rows as in Lstm; the meaning of each field is in docs/numerics.md."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kernel: Array  # int8 [4, units, inputs], -127 ... 127
    recurrent: Array  # int8 [4, units, units], -127 ... 127
    bias: Array  # int32 [4, units]
    input_shift: Array  # int8 [4, units], kx
    shift: Array  # int8 [4, units], s
    multiplier: Array  # int16 [4, units], m
    gate: QuantizedActivation  # of i, f and o
    candidate: QuantizedActivation  # of g
    cell: QuantizedActivation  # of c
    gate_exponent: int  # a gate's 32768 stands for 2^gate_exponent
    cell_multiplier: int  # kappa: from the scale of i*g to that of c
    cell_limit: int  # c is clamped to +-cell_limit; 32767: only saturates
    hidden_multiplier: int  # from the scale of o*P to that of h
    cell_scale: float  # real value of one unit of c
    gate_limit: int = 32767  # z of gates is clamped to it; 32767: only saturates
    candidate_limit: int = 32767  # likewise the z of g
    projection: QuantizedRows | None = None  # of p, [outputs]; without it outputs are units
    peephole: Array | None = None  # int16 [3, units], of i, f and o
    peephole_shift: Array | None = None  # int8 [3, units], kp
    coupled: bool = False
    masked: bool = False
    initial: tuple[Rescale, ...] = ()  # of h and c, where the state to start from is read
    period: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedGru(shapes.Gru):
    """A GRU in integers. Rows as in Gru; the meaning of each field is in docs/numerics.md."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kernel: Array  # int8 [3, units, inputs], -127 ... 127
    recurrent: Array  # int8 [3, units, units], -127 ... 127
    bias: Array  # int32 [3, units]
    input_shift: Array  # int8 [3, units], kx
    shift: Array  # int8 [3, units], s
    multiplier: Array  # int16 [3, units], m
    reset: QuantizedReset | None  # with reset_after
    gate: QuantizedActivation  # of z and r
    candidate: QuantizedActivation  # of n
    gate_exponent: int  # a gate's 32768 stands for 2^gate_exponent
    state_multiplier: int  # kappa: from the scale of n to that of the state
    hidden_multiplier: int  # hm: from the scale of the state to that of h
    state_scale: float  # real value of one unit of the state
    gate_limit: int = 32767
    candidate_limit: int = 32767
    masked: bool = False
    initial: tuple[Rescale, ...] = ()  # of the state
    period: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedRnn(shapes.Rnn):
    """A simple RNN in integers; the meaning of each field is in docs/numerics.md."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kernel: Array  # int8 [units, inputs], -127 ... 127
    recurrent: Array  # int8 [units, units], -127 ... 127
    bias: Array  # int32 [units]
    input_shift: Array  # int8 [units], kx
    shift: Array  # int8 [units], s
    multiplier: Array  # int16 [units], m
    activation: QuantizedActivation
    hidden_multiplier: int  # hm: from the scale of the activation to that of h
    limit: int = 32767  # z is clamped to it; 32767: only saturates
    masked: bool = False
    initial: tuple[Rescale, ...] = ()  # of h
    period: int = 0


QuantizedCell: TypeAlias = QuantizedLstm | QuantizedGru | QuantizedRnn


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedDense(shapes.Dense):
    """A Dense layer in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kernel: Array  # int8 [units, inputs], -127 ... 127
    bias: Array  # int32 [units]
    input_shift: Array  # int8 [units], kx
    shift: Array  # int8 [units], s
    multiplier: Array  # int16 [units], m
    activation: QuantizedActivation


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedActivate(shapes.Kept):
    """An activation that stands alone, in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    shift: int  # s
    multiplier: int  # m
    activation: QuantizedActivation


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedEmbedding(shapes.Embedding):
    """Rows of a table, in integers of one scale; the ids are integers of scale 1."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    table: Array  # int16 [vocabulary, columns]


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedConstant(shapes.Constant):
    """A Constant in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    value: Array  # int16 [width]


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedMask(shapes.Mask):
    """A Mask in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]  # x, and the mask: 0 or 1, scale 1
    value: int


QUANTIZED_COMBINATIONS = ("concatenate", "add", "subtract", "multiply", "maximum", "minimum")
"""A mean is a sum whose multipliers hold its divisor."""


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedCombine(shapes.Combine):
    """A Combine in integers: each tensor read is brought to the scale of the one written, then they are joined. Of a
    product, the k-th pair is that of the product so far and the k-th tensor, and the first pair is 0."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kind: str  # of QUANTIZED_COMBINATIONS
    shifts: tuple[int, ...]  # s, one a tensor read
    multipliers: tuple[int, ...]  # m


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedConv1d(shapes.Conv1d):
    """A Conv1d in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kernel: Array  # int8 [units, taps, inputs / groups], -127 ... 127
    bias: Array  # int32 [units]
    input_shift: Array  # int8 [units], kx
    shift: Array  # int8 [units], s
    multiplier: Array  # int16 [units], m
    activation: QuantizedActivation
    groups: int = 1
    stride: int = 1
    dilation: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    period: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedPool1d(shapes.Pool1d):
    """A Pool1d in integers. A maximum keeps type and scale; of an average, real value of 1 halves `raised` times."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kind: str  # "max" or "average"
    size: int
    stride: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    count_padding: bool = False
    period: int = 0
    raised: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedReduce(shapes.Reduce):
    """A Reduce in integers. A maximum keeps type and scale; of a mean or sum, real value of 1 halves `raised` times, or
    where that is negative, of a sum alone, doubles."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kind: str  # "mean", "max" or "sum"
    masked: bool = False
    period: int = 0
    raised: int = 0


MOVERS = (Last, Reverse, Crop, Pad, Repeat, Split, Group, Transpose)
"""Layers that move rows without computing; they are the same in a quantized model."""

QuantizedLayer: TypeAlias = (
    QuantizedLstm | QuantizedGru | QuantizedRnn | QuantizedDense | QuantizedActivate
    | QuantizedEmbedding | QuantizedConstant | QuantizedMask | QuantizedCombine | QuantizedConv1d | QuantizedPool1d
    | QuantizedReduce
    | Last | Reverse | Crop | Pad | Repeat | Split | Group | Transpose
)  # fmt: skip
