"""Float layers as pure data, each naming the tensors it reads and writes.

Shapes: N sequences, T steps, `width` values a step. A tensor is a sequence [T, width] or, where it has one row a run,
*single* [1, width]. A mask is a sequence of width 1: 1 where a step counts, 0 where it is missing. Gates stand in the
order of each layer's equations everywhere. s is the `gate_activation`, a the `activation`, p the `cell_activation`
(which is a, unless one is given); state on the right is that of the step before. `|` says what an option adds.

LSTM (Hochreiter and Schmidhuber 1997; forget gate, Gers et al. 2000; peepholes, Gers et al. 2002; projection, Sak et
al. 2014; layer normalisation, Ba et al. 2016):

    i = s(W_i x + R_i h + b_i | + p_i c)        f = s(W_f x + R_f h + b_f | + p_f c)    | coupled: f = 1 - i
    g = a(W_g x + R_g h + b_g)                  c = f c + i g                           | clamped to +-cell_clip
    o = s(W_o x + R_o h + b_o | + p_o c_new)    h = o p(c)                              | projected: h = P (o p(c))

    | norm: of each gate v = W x + R h | + p c becomes (v - mean(v)) / sqrt(variance(v) + norm_epsilon) * norm over the
      units; b is added behind that       | projection_bias: h = P (o p(c)) + d, then clamped to +-projection_clip

GRU (Cho et al. 2014; `reset_after`: the form of cuDNN):

    z = s(W_z x + R_z h + b_z)                  r = s(W_r x + R_r h + b_r)
    n = a(W_n x + R_n (r h) + b_n)              | reset_after: n = a(W_n x + b_n + r (R_n h + d))
    h = z h + (1 - z) n

Simple RNN (Elman 1990): h = a(W x + R h + b).

`clip`, where given, clamps what enters s and a (ONNX). A masked step leaves the state as it is; what is written there
is the h written a step before, zeros before the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from . import shapes
from .errors import ModelError
from .meta import Array, dims, frozen, put
from .shapes import expect, one

ACTIVATIONS = (
    "linear", "sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign",
    "gelu", "gelu_tanh", "silu", "exponential", "hard_sigmoid", "hard_sigmoid_fifth", "softmax",
    "log_softmax", "clip", "ramp", "affine", "rectify", "threshold", "shrink", "tanh_shrink", "squareplus",
    "sparse_plus", "hard_silu", "mish", "celu", "scaled_softplus", "scaled_tanh",
)  # fmt: skip
"""Names of all activations, in the order of their numbers in the image.

`hard_sigmoid` is relu6(x + 3) / 6 (Keras 3, PyTorch); `hard_sigmoid_fifth` is clip(0.2 x + 0.5, 0, 1)
(Keras 1 and 2). `gelu` uses erf, `gelu_tanh` the tanh form. Those of PARAMETERS take numbers a, b and c:

    leaky_relu  a x below 0                                 elu         a (e^x - 1) below 0
    clip        x clamped to a ... b                        ramp        a x + b clamped to 0 ... 1
    affine      a x + b                                     threshold   x where x > a, elsewhere b
    rectify     min(x, c) where x > a, elsewhere b (x - a)  squareplus  (x + sqrt(x^2 + a)) / 2, a >= 0
    shrink      x - b where x > a, x + b where x < -a, elsewhere 0
    sparse_plus 0 below -1, x above 1, (x + 1)^2 / 4        tanh_shrink x - tanh(x)
    hard_silu   x hard_sigmoid(x)                           mish        x tanh(softplus(x))
    celu        a (e^(x / a) - 1) below 0, a not 0          scaled_tanh a tanh(b x)
    scaled_softplus  softplus(a x) / a, x where a x > b, a not 0
"""

PARAMETERS = {
    "leaky_relu": 1, "elu": 1, "clip": 2, "ramp": 2, "affine": 2, "rectify": 3, "threshold": 2, "shrink": 2,
    "squareplus": 1, "celu": 1, "scaled_softplus": 2, "scaled_tanh": 2,
}  # fmt: skip
"""How many of alpha, beta and gamma an activation takes."""

OVER_VALUES = ("softmax", "log_softmax")  # functions of all values of a step; all others work value by value
LARGEST = float(np.finfo(np.float32).max)  # a bound that bounds nothing

GATES = ("i", "f", "g", "o")
GRU_GATES = ("z", "r", "n")
MAX_READS = 16  # tensors one layer reads


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function (softmax, log_softmax: over the values of one step), with the numbers it takes."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ModelError(f"unknown activation {self.name!r}; known: {', '.join(ACTIVATIONS)}")
        for key in ("alpha", "beta", "gamma"):
            value = getattr(self, key)
            if not abs(value) <= LARGEST:
                raise ModelError(f"activation {self.name}: {key} is {value}")
            if ACTIVATIONS.index(self.name) > ACTIVATIONS.index("softmax"):
                put(self, **{key: float(np.float32(value))})  # as frameworks compare with it
        if self.name in ("celu", "scaled_softplus") and self.alpha == 0:
            raise ModelError(f"activation {self.name}: alpha is 0, by which it would divide")
        if self.name == "squareplus" and self.alpha < 0:
            raise ModelError(f"activation squareplus: alpha is {self.alpha}, and it has no root")


LINEAR = Activation("linear")
SIGMOID = Activation("sigmoid")
TANH = Activation("tanh")
LOG_SIGMOID = Activation("scaled_softplus", -1.0, LARGEST)  # -softplus(-x)


# ---- recurrent cells ----
#
# They read x, then with `masked` a mask, then with `initial` the state to start from: single tensors, h and of an LSTM
# c, inputs of the model or a Constant. They write h of every step, and an LSTM where two tensors are named c too. With
# `period` every so many rows are a sequence of their own, from the same start; a run may end within one.


@dataclass(frozen=True, slots=True, eq=False)
class Lstm(shapes.Lstm):
    """An LSTM layer; writes h of every step. Equations in the module's docstring."""

    name: str
    reads: tuple[str, ...]  # [T, inputs] | mask | h [1, outputs], c [1, units]
    writes: tuple[str, ...]  # [T, outputs] | c, [T, units]
    kernel: Array  # float32 [4, units, inputs]
    recurrent: Array  # float32 [4, units, outputs]
    bias: Array  # float32 [4, units]
    activation: Activation = TANH  # of the candidate, and of the cell unless that has its own
    gate_activation: Activation = SIGMOID  # of i, f and o
    cell_clip: float | None = None  # c is clamped to +-cell_clip each step
    cell_activation: Activation | None = None
    projection: Array | None = None  # float32 [outputs, units]; without it outputs are units
    peephole: Array | None = None  # float32 [3, units], of i, f and o
    coupled: bool = False  # f = 1 - i; the f rows of kernel, recurrent, bias, peephole and norm are zeros
    norm: Array | None = None  # float32 [4, units], coefficients of what is normalised
    norm_epsilon: float = 1e-8
    projection_bias: Array | None = None  # float32 [outputs], d
    projection_clip: float | None = None
    clip: float | None = None
    masked: bool = False
    initial: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        _, units, inputs = dims(self.kernel, 3, f"{self.name}: kernel")
        outputs = units if self.projection is None else dims(self.projection, 2, f"{self.name}: projection")[0]
        put(
            self,
            kernel=frozen(self.kernel, np.float32, (4, units, inputs), f"{self.name}: kernel"),
            recurrent=frozen(self.recurrent, np.float32, (4, units, outputs), f"{self.name}: recurrent"),
            bias=frozen(self.bias, np.float32, (4, units), f"{self.name}: bias"),
        )
        if self.projection is not None:
            put(self, projection=frozen(self.projection, np.float32, (outputs, units), f"{self.name}: projection"))
        if self.peephole is not None:
            put(self, peephole=frozen(self.peephole, np.float32, (3, units), f"{self.name}: peephole"))
        if self.norm is not None:
            put(self, norm=frozen(self.norm, np.float32, (4, units), f"{self.name}: norm"))
            _check_epsilon(f"{self.name}: norm_epsilon", self.norm_epsilon)
        if self.projection_bias is not None:
            bias = frozen(self.projection_bias, np.float32, (outputs,), f"{self.name}: projection_bias")
            put(self, projection_bias=bias)
        if self.projection is None and (self.projection_bias is not None or self.projection_clip is not None):
            raise ModelError(f"{self.name}: a projection_bias or projection_clip without a projection")
        if self.coupled:
            rows = [self.kernel[1], self.recurrent[1], self.bias[1]]
            rows += [own[1] for own in (self.peephole, self.norm) if own is not None]
            if any(row.any() for row in rows):
                raise ModelError(f"{self.name}: it is coupled, so it has no weights of f; they must be zeros")
        _check_cell(self, self.cell_activation)
        for key in ("cell_clip", "projection_clip"):
            value = getattr(self, key)
            if value is not None and not 0 < value < np.inf:
                raise ModelError(f"{self.name}: {key} is {value}, expected a positive number")


@dataclass(frozen=True, slots=True, eq=False)
class Gru(shapes.Gru):
    """A GRU layer; writes h of every step. Equations in the module's docstring."""

    name: str
    reads: tuple[str, ...]  # [T, inputs] | mask | h [1, units]
    writes: tuple[str, ...]  # [T, units]
    kernel: Array  # float32 [3, units, inputs], gates z, r, n
    recurrent: Array  # float32 [3, units, units]
    bias: Array  # float32 [3, units]
    reset_bias: Array | None = None  # float32 [units], d; only with reset_after, zeros if None
    reset_after: bool = True
    activation: Activation = TANH  # of n
    gate_activation: Activation = SIGMOID  # of z and r
    clip: float | None = None
    masked: bool = False
    initial: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        _, units, inputs = dims(self.kernel, 3, f"{self.name}: kernel")
        if self.reset_bias is not None and not self.reset_after:
            raise ModelError(f"{self.name}: a reset_bias without reset_after; it belongs into the bias")
        zeros = np.zeros(units, np.float32) if self.reset_after else None
        reset_bias = zeros if self.reset_bias is None else self.reset_bias
        put(
            self,
            kernel=frozen(self.kernel, np.float32, (3, units, inputs), f"{self.name}: kernel"),
            recurrent=frozen(self.recurrent, np.float32, (3, units, units), f"{self.name}: recurrent"),
            bias=frozen(self.bias, np.float32, (3, units), f"{self.name}: bias"),
        )
        if reset_bias is not None:
            put(self, reset_bias=frozen(reset_bias, np.float32, (units,), f"{self.name}: reset_bias"))
        _check_cell(self, None)


@dataclass(frozen=True, slots=True, eq=False)
class Rnn(shapes.Rnn):
    """A simple RNN layer; writes h of every step. Equation in the module's docstring."""

    name: str
    reads: tuple[str, ...]  # [T, inputs] | mask | h [1, units]
    writes: tuple[str, ...]  # [T, units]
    kernel: Array  # float32 [units, inputs]
    recurrent: Array  # float32 [units, units]
    bias: Array  # float32 [units]
    activation: Activation = TANH
    clip: float | None = None
    masked: bool = False
    initial: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        units, inputs = dims(self.kernel, 2, f"{self.name}: kernel")
        put(
            self,
            kernel=frozen(self.kernel, np.float32, (units, inputs), f"{self.name}: kernel"),
            recurrent=frozen(self.recurrent, np.float32, (units, units), f"{self.name}: recurrent"),
            bias=frozen(self.bias, np.float32, (units,), f"{self.name}: bias"),
        )
        _check_cell(self, None)


Cell: TypeAlias = Lstm | Gru | Rnn


# ---- step by step ----


@dataclass(frozen=True, slots=True, eq=False)
class Dense(shapes.Dense):
    """y = activation(W x + b), step by step."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, inputs]
    writes: tuple[str, ...]  # one tensor, [T, units]
    kernel: Array  # float32 [units, inputs]
    bias: Array  # float32 [units]
    activation: Activation = LINEAR

    def __post_init__(self) -> None:
        units, inputs = dims(self.kernel, 2, f"{self.name}: kernel")
        put(
            self,
            kernel=frozen(self.kernel, np.float32, (units, inputs), f"{self.name}: kernel"),
            bias=frozen(self.bias, np.float32, (units,), f"{self.name}: bias"),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Activate(shapes.Kept):
    """y = activation(x): an activation that stands alone, after a layer it cannot be merged with."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T, width]
    activation: Activation


@dataclass(frozen=True, slots=True, eq=False)
class Embedding(shapes.Embedding):
    """Rows of a table, one after the other: y = [table[x_0], table[x_1], ...]. x holds whole numbers from 0 on."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, n]
    writes: tuple[str, ...]  # one tensor, [T, n * columns]
    table: Array  # float32 [vocabulary, columns]

    def __post_init__(self) -> None:
        shape = dims(self.table, 2, f"{self.name}: table", rows=MAX_VOCABULARY)
        put(self, table=frozen(self.table, np.float32, shape, f"{self.name}: table"))


MAX_VOCABULARY = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Constant(shapes.Constant):
    """The same row whatever it reads, known from the start of a run on: a state to start from that was learned."""

    name: str
    reads: tuple[str, ...]  # one tensor, of which nothing is used
    writes: tuple[str, ...]  # one tensor, [1, width]
    value: Array  # float32 [width]

    def __post_init__(self) -> None:
        shape = dims(self.value, 1, f"{self.name}: value")
        put(self, value=frozen(self.value, np.float32, shape, f"{self.name}: value"))


@dataclass(frozen=True, slots=True, eq=False)
class Mask(shapes.Mask):
    """Steps in which some value differs from `value` count; writes x, zeros in the other steps, and the mask."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # [T, width], and the mask [T, 1]
    value: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite(self.value):
            raise ModelError(f"{self.name}: the mask's value is {self.value}")
        if len(self.writes) != 2:
            raise ModelError(f"{self.name}: a mask writes two tensors, not {len(self.writes)}")


COMBINATIONS = ("concatenate", "add", "subtract", "multiply", "average", "maximum", "minimum")


@dataclass(frozen=True, slots=True, eq=False)
class Combine(shapes.Combine):
    """Several tensors to one, value by value or, with "concatenate", one after the other. A tensor of width 1 serves
    all values of the others, a single one all steps of the others."""

    name: str
    reads: tuple[str, ...]  # [T, width] each; subtract takes two
    writes: tuple[str, ...]  # one tensor
    kind: str  # of COMBINATIONS

    def __post_init__(self) -> None:
        if self.kind not in COMBINATIONS:
            raise ModelError(f"{self.name}: unknown combination {self.kind!r}; known: {', '.join(COMBINATIONS)}")
        if not 2 <= len(self.reads) <= MAX_READS or (self.kind == "subtract" and len(self.reads) != 2):
            raise ModelError(f"{self.name}: it combines {len(self.reads)} tensors")


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """y = (x - mean) / sqrt(variance + epsilon) * scale + offset over the values of a step (Ba et al. 2016); `rms`:
    without the mean, and the mean square in place of the variance (Zhang and Sennrich 2019)."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T, width]
    scale: Array  # float32 [width]
    offset: Array  # float32 [width]
    epsilon: float
    rms: bool = False

    def __post_init__(self) -> None:
        (width,) = dims(self.scale, 1, f"{self.name}: scale")
        put(
            self,
            scale=frozen(self.scale, np.float32, (width,), f"{self.name}: scale"),
            offset=frozen(self.offset, np.float32, (width,), f"{self.name}: offset"),
        )
        _check_epsilon(f"{self.name}: epsilon", self.epsilon)

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, self.scale.shape)
        return reads


# ---- over neighbouring steps ----
#
# Windows slide over the steps. `left` and `right` rows of zeros (of a maximum: of nothing) stand before the first and
# after the last step; `same` pads as Keras and TensorFlow do: ceil(T / stride) windows, the odd row of padding at the
# end. With `period` every so many rows are a sequence of their own.


@dataclass(frozen=True, slots=True, eq=False)
class Conv1d(shapes.Conv1d):
    """y[t] = activation(sum over k of W[k] x[t * stride + k * dilation - left] + b)."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, inputs]
    writes: tuple[str, ...]  # one tensor, [T', units]
    kernel: Array  # float32 [units, taps, inputs / groups]; unit u reads group u // (units / groups)
    bias: Array  # float32 [units]
    activation: Activation = LINEAR
    groups: int = 1
    stride: int = 1
    dilation: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    period: int = 0  # 0: the whole run is one sequence

    def __post_init__(self) -> None:
        units, taps, columns = dims(self.kernel, 3, f"{self.name}: kernel")
        put(
            self,
            kernel=frozen(self.kernel, np.float32, (units, taps, columns), f"{self.name}: kernel"),
            bias=frozen(self.bias, np.float32, (units,), f"{self.name}: bias"),
        )
        if self.groups < 1 or units % self.groups:
            raise ModelError(f"{self.name}: {self.groups} groups of {units} units")
        check_window(self)


@dataclass(frozen=True, slots=True, eq=False)
class Pool1d(shapes.Pool1d):
    """The maximum or the mean of each window, value by value."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T', width]
    kind: str  # "max" or "average"
    size: int
    stride: int = 1
    left: int = 0
    right: int = 0
    same: bool = False
    count_padding: bool = False  # an average divides by `size` where a window reaches into the padding too
    period: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("max", "average"):
            raise ModelError(f"{self.name}: unknown pooling {self.kind!r}")
        if not 1 <= self.size <= MAX_STEPS:
            raise ModelError(f"{self.name}: size is {self.size}")
        check_window(self)
        if max(self.left, self.right) >= self.size:
            raise ModelError(f"{self.name}: padding of {max(self.left, self.right)} for windows of {self.size}")


# ---- over all steps ----


@dataclass(frozen=True, slots=True, eq=False)
class Last(shapes.Kept):
    """The last step of a sequence (`return_sequences=False`); passes every step when each is asked for. With `period`
    the last of every so many rows."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [1, width], or [T / period, width]
    period: int = 0

    def __post_init__(self) -> None:
        _check_period(self)


@dataclass(frozen=True, slots=True, eq=False)
class Reduce(shapes.Reduce):
    """Mean, maximum or sum over the steps; of the steps so far when each is asked for. With `masked` a mean or sum is
    that of the steps that count, 0 where none does."""

    name: str
    reads: tuple[str, ...]  # [T, width] | mask
    writes: tuple[str, ...]  # one tensor, [1, width], or [T / period, width]
    kind: str  # "mean", "max" or "sum"
    masked: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("mean", "max", "sum"):
            raise ModelError(f"{self.name}: unknown reduction {self.kind!r}")
        if self.masked and (self.kind == "max" or self.period):
            raise ModelError(f"{self.name}: a mask for a {self.kind} or with a period")
        _check_period(self)


@dataclass(frozen=True, slots=True, eq=False)
class Reverse(shapes.Kept):
    """The steps in reverse order, with `period` those of every so many."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T, width]
    period: int = 0

    def __post_init__(self) -> None:
        _check_period(self)


@dataclass(frozen=True, slots=True, eq=False)
class Crop(shapes.Kept):
    """All steps but the first `left` and the last `right`."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T - left - right, width]
    left: int
    right: int

    def __post_init__(self) -> None:
        _check_ends(self, self.left, self.right)


@dataclass(frozen=True, slots=True, eq=False)
class Pad(shapes.Kept):
    """`left` steps of zeros, the steps, `right` steps of zeros."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [left + T + right, width]
    left: int
    right: int

    def __post_init__(self) -> None:
        _check_ends(self, self.left, self.right)


@dataclass(frozen=True, slots=True, eq=False)
class Repeat(shapes.Kept):
    """A single tensor's row `count` times, as a sequence."""

    name: str
    reads: tuple[str, ...]  # one tensor, [1, width]
    writes: tuple[str, ...]  # one tensor, [count, width]
    count: int

    def __post_init__(self) -> None:
        _check_count(self, self.count)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Each row as `count` rows of equal width, one after the other. A single tensor becomes a sequence."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, count * width]
    writes: tuple[str, ...]  # one tensor, [T * count, width]
    count: int

    def __post_init__(self) -> None:
        _check_count(self, self.count)

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        width = one(self, reads)
        if width % self.count:
            raise ModelError(f"{self.name}: {width} values cannot become {self.count} rows")
        return (width // self.count,)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Every `count` rows as one, their values one after the other. `single`: the sequence has just these rows, and what
    is written is single; a run over another number of steps is refused."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T / count, count * width]
    count: int
    single: bool = False

    def __post_init__(self) -> None:
        _check_count(self, self.count)

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        return (one(self, reads) * self.count,)


@dataclass(frozen=True, slots=True, eq=False)
class Transpose:
    """Steps become values and values steps; a run over other than `steps` steps is refused."""

    name: str
    reads: tuple[str, ...]  # one tensor, [steps, width]
    writes: tuple[str, ...]  # one tensor, [width, steps]
    steps: int

    def __post_init__(self) -> None:
        _check_count(self, self.steps)

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        one(self, reads)
        return (self.steps,)


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxSteps(shapes.Kept):
    """Softmax over the steps, value by value."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T, width]


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Each query's mean of the values, weighted by softmax over the keys' scores, in `heads` equal parts of the width.

    score = scale * q . k (Luong et al. 2015; Vaswani et al. 2017), or with `additive` sum(additive * tanh(q + k))
    (Bahdanau et al. 2015). A query may be single, and then so is the answer. `causal`: a query sees no later key.
    """

    name: str
    reads: tuple[str, ...]  # queries [Tq, width], values [Tk, outputs], keys [Tk, width] | mask of the keys [Tk, 1]
    writes: tuple[str, ...]  # one tensor, [Tq, outputs]
    scale: float = 1.0
    additive: Array | None = None  # float32 [width]
    heads: int = 1
    causal: bool = False
    masked: bool = False

    def __post_init__(self) -> None:
        if self.additive is not None:
            shape = dims(self.additive, 1, f"{self.name}: additive")
            put(self, additive=frozen(self.additive, np.float32, shape, f"{self.name}: additive"))
            if self.heads != 1:
                raise ModelError(f"{self.name}: additive attention in {self.heads} heads")
        if not np.isfinite(self.scale):
            raise ModelError(f"{self.name}: scale is {self.scale}")

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        width, outputs = reads[0], reads[1] if len(reads) > 1 else 0
        if self.additive is not None:
            width = len(self.additive)
        expect(self, reads, (width, outputs, width, *((1,) if self.masked else ())))
        if self.heads < 1 or width % self.heads or outputs % self.heads:
            raise ModelError(f"{self.name}: {self.heads} heads of {width} and {outputs} values")
        return (outputs,)


Layer: TypeAlias = (
    Lstm | Gru | Rnn | Dense | Activate | Embedding | Constant | Mask | Combine | LayerNorm | Conv1d | Pool1d | Last
    | Reduce
    | Reverse | Crop | Pad | Repeat | Split | Group | Transpose | SoftmaxSteps | Attention
)  # fmt: skip

MAX_STEPS = 65536  # of a window, a padding or a repetition


# ---- windows ----


def windows(layer: Any, steps: int) -> int:
    """Windows, and so rows written, over a sequence of so many steps."""
    if layer.same:
        return int(-(-steps // layer.stride))
    return int(max(0, (steps + layer.left + layer.right - layer.reach) // layer.stride + 1))


def padding(layer: Any, steps: int) -> tuple[int, int]:
    """Rows of padding before and after a sequence of so many steps."""
    if not layer.same:
        return layer.left, layer.right
    total = max(0, (windows(layer, steps) - 1) * layer.stride + layer.reach - steps)
    return total // 2, total - total // 2


# ---- checks ----


def _check_cell(layer: Cell, cell_activation: Activation | None) -> None:
    activations = [layer.activation, getattr(layer, "gate_activation", None), cell_activation]
    for name in (a.name for a in activations if a is not None and a.name in OVER_VALUES):
        raise ModelError(f"{layer.name}: {name} is not elementwise and cannot be a cell's activation")
    if layer.clip is not None and not 0 < layer.clip < np.inf:
        raise ModelError(f"{layer.name}: clip is {layer.clip}, expected a positive number")
    _check_period(layer)


def _check_epsilon(what: str, epsilon: float) -> None:
    if not 2.0**-126 <= epsilon <= LARGEST:
        raise ModelError(f"{what} is {epsilon}, expected a positive number of float32")


def check_window(layer: Any) -> None:
    """ModelError for a stride, a dilation, a padding or a reach that no window has."""
    _check_ends(layer, layer.left, layer.right)
    for name in ("stride", "dilation"):
        if not 1 <= getattr(layer, name, 1) <= MAX_STEPS:
            raise ModelError(f"{layer.name}: {name} is {getattr(layer, name)}")
    if layer.reach > MAX_STEPS:
        raise ModelError(f"{layer.name}: a window reaches over {layer.reach} steps, expected at most {MAX_STEPS}")
    if layer.same and (layer.left or layer.right):
        raise ModelError(f"{layer.name}: `same` decides its padding; left and right must be 0")
    _check_period(layer)


def _check_period(layer: Cell | Conv1d | Pool1d | Last | Reduce | Reverse) -> None:
    if not 0 <= layer.period <= MAX_STEPS:
        raise ModelError(f"{layer.name}: period is {layer.period}")


def _check_ends(layer: Layer, left: int, right: int) -> None:
    if not (0 <= left <= MAX_STEPS and 0 <= right <= MAX_STEPS):
        raise ModelError(f"{layer.name}: {left} and {right} steps at the ends, expected 0 to {MAX_STEPS}")


def _check_count(layer: Layer, count: int) -> None:
    if not 1 <= count <= MAX_STEPS:
        raise ModelError(f"{layer.name}: a count of {count}, expected 1 to {MAX_STEPS}")
