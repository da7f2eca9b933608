"""Quantized layers as pure data: the integer twins of layers.py. docs/numerics.md says what their fields mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .layers import Crop, Group, Last, Pad, Repeat, Reverse, Split, Transpose, expect, one
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

    kind: str  # "sigmoid", "tanh", "relu", "linear", "table" or "softmax"
    doublings: int = 0  # v = sat16(2 v) so many times before the function
    table: Array | None = None  # int16 [257], for "table" and "softmax"


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedLstm:
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

    @property
    def units(self) -> int:
        return int(self.kernel.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[2])

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs,))
        return (self.units,)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedDense:
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

    @property
    def units(self) -> int:
        return int(self.kernel.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[1])

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs,))
        return (self.units,)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedActivate:
    """An activation that stands alone, in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    shift: int  # s
    multiplier: int  # m
    activation: QuantizedActivation

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        return (one(self, reads),)


MOVERS = (Last, Reverse, Crop, Pad, Repeat, Split, Group, Transpose)
"""Layers that move rows without computing; they are the same in a quantized model."""

QuantizedLayer: TypeAlias = (
    QuantizedLstm | QuantizedDense | QuantizedActivate
    | Last | Reverse | Crop | Pad | Repeat | Split | Group | Transpose
)  # fmt: skip
