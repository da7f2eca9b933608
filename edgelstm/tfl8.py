"""Full-int8 TensorFlow Lite models as pure data: TFLite's own integers, so that answers are TFLite's byte for byte.

A model is a flat list of layers, as in model.py, over tensors that carry a scale and a zero point: real value = scale *
(integer - zero_point). What a layer needs of the tensors it reads and writes stands in those tensors alone; what no
tensor says stands in the layer. Scales are the file's float32 numbers exactly, whatever Python type holds them. Arrays
become read-only copies of the type that stands beside their field; ModelError where their shape or values do not fit.

Inputs and outputs keep the file's types: a tensor "f32" takes and gives floats, and a Tfl8Quantize or Tfl8Dequantize
stands beside it; a tensor "s8" takes and gives int8. Ids of an embedding are an input "s16" of scale 1 and zero point
0 (or what a Tfl8Quantize makes such of floats).

Rows, runs and steps are as everywhere (timing.py). Of the movers of layers.py (Last, Reverse, Crop, Pad, Repeat, Split,
Group, Transpose) each copies bytes: the tensor written has type, scale and zero point of the one read. What Pad adds is
the zero point.

tfl8_model.py has the model that holds such layers, reference_tfl8.py computes it, and docs/numerics.md, "tfl8", is the
law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from . import shapes
from .description import TFL8_SETTINGS
from .errors import ModelError
from .layers import (
    MAX_READS,
    MAX_STEPS,
    Crop,
    Group,
    Last,
    Pad,
    Repeat,
    Reverse,
    Split,
    Transpose,
    check_window,
)
from .meta import Array, dims, frozen, put

FLAVOURS = TFL8_SETTINGS["flavour"]
"""Whose arithmetic of LSTMs: TFLite's and LiteRT's, or that of TFLite Micro's reference kernels."""

ROUNDINGS = TFL8_SETTINGS["rounding"]
CONV_ROUNDINGS = TFL8_SETTINGS["convolution"]
"""How sums of FULLY_CONNECTED are scaled, and those of CONV_2D and DEPTHWISE_CONV_2D, where "eights" is halfup of whole
groups of eight units and double of the others; tfl8_model.ARITHMETIC says by whom. The defaults of these and the next
two are those of tflite-runtime on 64-bit ARM."""

FACTORS = ("double", "halfup", "coarse")
"""How other operators scale: leaky_relu, rescale, ADD, SUB, MUL and MEAN. halfup: as double but for rescale; coarse:
LiteRT's delegate, with factors of 1/256, weights of 21 bits, or float32."""

TIES = TFL8_SETTINGS["ties"]
"""How QUANTIZE rounds x / scale; they differ within a rounding error of halves alone. away: the float32 quotient, ties
away from zero; exact: the real quotient, likewise; even: the float32 product with 1 / scale, ties to even."""

FUSED = ("none", "relu", "relu6", "relu_n1_to_1")
"""What an operator clamps its answer to."""

POOLINGS = ("max", "average")
REDUCTIONS = ("mean", "max")

COMBINATIONS = ("concatenate", "add", "subtract", "multiply")


@dataclass(frozen=True, slots=True)
class Tfl8Tensor:
    """One value vector a step. `single`, of an input: one row a run, as an initial state."""

    name: str
    width: int
    type: str  # "f32", "s8", or "s16": an LSTM's c, and ids
    scale: float = 1.0  # 1 for "f32"; of a c a power of two
    zero_point: int = 0  # 0 for "f32" and "s16"
    single: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Lstm(shapes.Gated):
    """UNIDIRECTIONAL_SEQUENCE_LSTM. Writes h, and c where it names a second tensor ("s16", scale 2^cell_exponent).

    TFLite never rescales h: it is quantized by the intermediate tensor 4 (hidden_*), read back by the next step as the
    state tensor 18 says (state_*), and read by the next operator as the tensor written says. All three are usually
    equal. From a reset h is state_zero and c is 0, or with `initial` what is read: an "s8" of the state's scale, and an
    "s16" of scale 2^cell_exponent, one row a run each.
    """

    name: str
    reads: tuple[str, ...]  # x, and with `initial` h and c
    writes: tuple[str, ...]  # h, or h and c
    kernel: Array  # int8 [4, units, inputs], gates i f g o, -127 ... 127; i is 0 where coupled
    recurrent: Array  # int8 [4, units, units], likewise
    bias: Array  # int32 [4, units], scale kernel_scale * scale of x
    kernel_scale: Array  # float32 [4]; 1 for i where coupled
    recurrent_scale: Array  # float32 [4], likewise
    state_scale: float
    state_zero: int
    hidden_scale: float
    hidden_zero: int
    cell_exponent: int  # log2 of the scale of c, -15 ... -9; where `bare` -30 ... -16
    cell_clip: float = 0.0  # real value; 0: none
    coupled: bool = False  # no input gate: i = 1 - f
    initial: bool = False
    flavour: str = "tflite"  # of FLAVOURS
    bare: bool = False  # as TFLite's runtimes compute with a scale that they have no tanh of c for

    def __post_init__(self) -> None:
        _, units, inputs = dims(self.kernel, 3, f"{self.name}: kernel", 4)
        put(
            self,
            kernel=_weights(self.kernel, (4, units, inputs), f"{self.name}: kernel"),
            recurrent=_weights(self.recurrent, (4, units, units), f"{self.name}: recurrent kernel"),
            bias=_integers(self.bias, np.int32, (4, units), f"{self.name}: bias"),
            kernel_scale=_scales(self.kernel_scale, (4,), f"{self.name}: kernel scales"),
            recurrent_scale=_scales(self.recurrent_scale, (4,), f"{self.name}: recurrent scales"),
        )
        affine(self.name, "state", self.state_scale, self.state_zero)
        affine(self.name, "hidden", self.hidden_scale, self.hidden_zero)
        if self.bare and (not -30 <= self.cell_exponent <= -16 or self.coupled or self.flavour == "micro"):
            raise ModelError(
                f"{self.name}: a cell without tanh, of scale 2^{self.cell_exponent}; of such TFLite's runtimes compute "
                "those alone with scales from 2^-30 to 2^-16 and an input gate, and TFLite Micro none"
            )
        if not self.bare and not -15 <= self.cell_exponent <= -9:
            raise ModelError(
                f"{self.name}: its cell state has scale 2^{self.cell_exponent}; TFLite computes no tanh of scales "
                "below 2^-15 or above 2^-9, and its answers are garbage then"
            )
        if not 0 <= self.cell_clip < np.inf:
            raise ModelError(f"{self.name}: cell_clip is {self.cell_clip}, expected 0 or more")
        if self.coupled and (self.kernel[0].any() or self.recurrent[0].any() or self.bias[0].any()):
            raise ModelError(f"{self.name}: coupled, and yet it has weights of an input gate")
        among(self.name, "flavour", self.flavour, FLAVOURS)
        if self.coupled and self.flavour == "micro":
            raise ModelError(f"{self.name}: it has no input gate, which TFLite Micro cannot run")

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        shapes.expect(self, reads, (self.inputs, *((self.units,) * 2 if self.initial else ())))
        return (self.units,) * len(self.writes)


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Dense(shapes.Dense):
    """FULLY_CONNECTED over the last axis. Without a bias in the file, zeros."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kernel: Array  # int8 [units, inputs], -127 ... 127
    bias: Array  # int32 [units], scale kernel_scale * scale of x
    kernel_scale: Array  # float32 [units], one a row; or [1], one for all
    activation: str = "none"  # of FUSED
    rounding: str = "double"  # of ROUNDINGS

    def __post_init__(self) -> None:
        units, inputs = dims(self.kernel, 2, f"{self.name}: kernel")
        scales = np.shape(self.kernel_scale)
        put(
            self,
            kernel=_weights(self.kernel, (units, inputs), f"{self.name}: kernel"),
            bias=_integers(self.bias, np.int32, (units,), f"{self.name}: bias"),
            kernel_scale=_scales(self.kernel_scale, (1,) if scales == (1,) else (units,), f"{self.name}: scales"),
        )
        among(self.name, "activation", self.activation, FUSED)
        among(self.name, "rounding", self.rounding, ROUNDINGS)


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Softmax(shapes.Kept):
    """SOFTMAX over the values of a step. What it writes has scale 1/256 and zero point -128."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    beta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < np.inf:
            raise ModelError(f"{self.name}: beta is {self.beta}, expected more than 0")


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Map(shapes.Kept):
    """A function of single values, of which tfl8_constants.py has the integers: an operator that stands alone.

    logistic and tanh (what they write has scale 1/256 and zero point -128, or 1/128 and 0), relu, relu6, relu_n1_to_1,
    leaky_relu with its alpha, and rescale, which is QUANTIZE from int8 to int8.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    function: str  # of MAPS
    alpha: float = 0.0
    factors: str = "halfup"  # of FACTORS

    def __post_init__(self) -> None:
        among(self.name, "function", self.function, MAPS)
        among(self.name, "factors", self.factors, FACTORS)


MAPS = ("logistic", "tanh", "relu", "relu6", "relu_n1_to_1", "leaky_relu", "rescale")


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Quantize(shapes.Kept):
    """QUANTIZE of floats: reads "f32", writes "s8", or "s16" of scale 1: ids."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    ties: str = "even"  # of TIES

    def __post_init__(self) -> None:
        among(self.name, "ties", self.ties, TIES)


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Dequantize(shapes.Kept):
    """DEQUANTIZE: reads "s8" or "s16", writes "f32"."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Embedding(shapes.Embedding):
    """GATHER of rows of a table by ids, an "s16" of scale 1. An id below 0 counts as 0, one beyond as the last."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    table: Array  # int8 [vocabulary, columns], in what the tensor written says; at most 32768 words

    def __post_init__(self) -> None:
        shape = dims(self.table, 2, f"{self.name}: table")
        put(self, table=_integers(self.table, np.int8, shape, f"{self.name}: table"))
        if shape[0] > 32768:
            raise ModelError(f"{self.name}: a vocabulary of {shape[0]}, expected at most 32768")


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Constant(shapes.Constant):
    """A tensor that the file holds, the same row whatever is read: what ADD or MUL joins, or a state to start from."""

    name: str
    reads: tuple[str, ...]  # one tensor, of which nothing is used
    writes: tuple[str, ...]  # one tensor, "s8" or "s16", [1, width]
    value: Array  # int8 or int16 [width], as the tensor written is

    def __post_init__(self) -> None:
        shape = dims(self.value, 1, f"{self.name}: value")
        put(self, value=_integers(self.value, np.int16, shape, f"{self.name}: value"))


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Combine(shapes.Combine):
    """CONCATENATION, ADD, SUB or MUL. A concatenation copies bytes: all scales and zero points are equal. The others
    read two tensors; one of width 1 serves all values of the other."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    kind: str  # of COMBINATIONS
    activation: str = "none"  # of FUSED; "none" for a concatenation
    factors: str = "halfup"  # of FACTORS; of no meaning for a concatenation

    def __post_init__(self) -> None:
        among(self.name, "kind", self.kind, COMBINATIONS)
        among(self.name, "activation", self.activation, FUSED)
        among(self.name, "factors", self.factors, FACTORS)
        if self.kind == "concatenate" and self.activation != "none":
            raise ModelError(f"{self.name}: a concatenation with a fused {self.activation}")
        if not 2 <= len(self.reads) <= (MAX_READS if self.kind == "concatenate" else 2):
            raise ModelError(f"{self.name}: it joins {len(self.reads)} tensors")


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Conv1d(shapes.Conv1d):
    """CONV_2D or DEPTHWISE_CONV_2D over the steps. Padding is the zero point of x."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, inputs]
    writes: tuple[str, ...]  # one tensor, [T', units]
    kernel: Array  # int8 [units, taps, inputs / groups], -127 ... 127; unit u reads group u // (units / groups)
    bias: Array  # int32 [units], scale kernel_scale * scale of x
    kernel_scale: Array  # float32 [units]; or [1], one for all
    activation: str = "none"  # of FUSED
    rounding: str = "double"  # of CONV_ROUNDINGS; tflite-runtime on 64-bit ARM has "eights" where depthwise
    groups: int = 1  # 1, or depthwise as many as inputs
    stride: int = 1
    dilation: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        units, taps, columns = dims(self.kernel, 3, f"{self.name}: kernel")
        scales = np.shape(self.kernel_scale)
        put(
            self,
            kernel=_weights(self.kernel, (units, taps, columns), f"{self.name}: kernel"),
            bias=_integers(self.bias, np.int32, (units,), f"{self.name}: bias"),
            kernel_scale=_scales(self.kernel_scale, (1,) if scales == (1,) else (units,), f"{self.name}: scales"),
        )
        among(self.name, "activation", self.activation, FUSED)
        among(self.name, "rounding", self.rounding, CONV_ROUNDINGS)
        if self.groups < 1 or units % self.groups or (self.groups > 1 and columns > 1):
            raise ModelError(f"{self.name}: {self.groups} groups of {units} units with {columns} values each")
        check_window(self)

    @property
    def depthwise(self) -> bool:
        """Whether each unit reads one value of a row."""
        return self.groups > 1


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Pool1d(shapes.Pool1d):
    """MAX_POOL_2D or AVERAGE_POOL_2D over the steps; padding counts for nothing. Scale and zero point stay."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T', width]
    kind: str  # of POOLINGS
    size: int
    activation: str = "none"  # of FUSED
    stride: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        among(self.name, "kind", self.kind, POOLINGS)
        among(self.name, "activation", self.activation, FUSED)
        if not 1 <= self.size <= MAX_STEPS or max(self.left, self.right) >= self.size:
            raise ModelError(f"{self.name}: windows of {self.size} steps, {self.left} and {self.right} of padding")
        check_window(self)


@dataclass(frozen=True, slots=True, eq=False)
class Tfl8Reduce(shapes.Kept):
    """MEAN or REDUCE_MAX over the steps; of the steps so far when each is asked for. A maximum keeps scale and zero
    point."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [1, width], or [T / period, width]
    kind: str  # of REDUCTIONS
    period: int = 0
    factors: str = "halfup"  # of FACTORS; "coarse": LiteRT's delegate, in float32. Of no meaning for a maximum

    def __post_init__(self) -> None:
        among(self.name, "kind", self.kind, REDUCTIONS)
        among(self.name, "factors", self.factors, FACTORS)
        if not 0 <= self.period <= MAX_STEPS:
            raise ModelError(f"{self.name}: period is {self.period}")


MAX_SOFTMAX = 4095  # values of a row; their sum stays below 2^31

BYTE_MOVERS = (Last, Reverse, Crop, Pad, Repeat, Split, Group, Transpose)
"""Layers that copy bytes, the same as in float models."""

Tfl8Layer: TypeAlias = (
    Tfl8Lstm | Tfl8Dense | Tfl8Softmax | Tfl8Map | Tfl8Quantize | Tfl8Dequantize | Tfl8Embedding | Tfl8Constant
    | Tfl8Combine | Tfl8Conv1d | Tfl8Pool1d | Tfl8Reduce
    | Last | Reverse | Crop | Pad | Repeat | Split | Group | Transpose
)  # fmt: skip


# ---- checks ----


def among(name: str, what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ModelError(f"{name}: {what} is {value!r}, expected one of {', '.join(known)}")


def _integers(values: Any, dtype: Any, shape: tuple[int, ...], what: str) -> Array:
    """As `frozen`; ModelError for values that are not of this type, which NumPy would wrap or cut."""
    given, info = np.asarray(values), np.iinfo(dtype)
    if (
        given.dtype.kind not in "iuf"
        or not ((given >= info.min) & (given <= info.max) & (given == np.rint(given))).all()
    ):
        raise ModelError(f"{what} holds other than whole numbers from {info.min} to {info.max}")
    return frozen(given, dtype, shape, what)


def _weights(values: Any, shape: tuple[int, ...], what: str) -> Array:
    array = _integers(values, np.int8, shape, what)
    if (array == -128).any():
        raise ModelError(f"{what} holds -128, which no quantizer of TFLite writes; expected -127 to 127")
    return array


def _scales(values: Any, shape: tuple[int, ...], what: str) -> Array:
    array = frozen(values, np.float32, shape, what)
    if not (array > 0).all():
        raise ModelError(f"{what} are not all above 0")
    return array


def affine(name: str, what: str, scale: float, zero: int) -> None:
    if not np.finfo(np.float32).tiny <= np.float32(scale) < np.inf or not -128 <= zero <= 127:
        raise ModelError(f"{name}: {what} scale {scale} and zero point {zero}, expected int8's")
