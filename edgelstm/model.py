"""Models as pure data: a flat list of layers, each naming the tensors it reads and writes.

Shapes: T steps, `width` values a step. Gates stand in the order i, f, g, o everywhere.
The cell equations (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000):

    i = s(W_i x + R_i h + b_i)    f = s(W_f x + R_f h + b_f)    o = s(W_o x + R_o h + b_o)
    g = a(W_g x + R_g h + b_g)    c = f * c + i * g             h = o * a(c)

with s the `gate_activation` and a the `activation`; h and c on the right are those of the step before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import ModelError
from .meta import MAX_WIDTH as MAX_WIDTH
from .meta import NOWHERE, dims, frozen, put
from .meta import Array as Array
from .meta import Meta as Meta
from .meta import Port as Port
from .meta import Scaler as Scaler
from .meta import Source as Source

ACTIVATIONS = (
    "linear", "sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign",
    "gelu", "gelu_tanh", "silu", "exponential", "hard_sigmoid", "hard_sigmoid_fifth", "softmax",
)  # fmt: skip
"""Names of all activations, in the order of their numbers in the image.

`hard_sigmoid` is relu6(x + 3) / 6 (Keras 3, PyTorch); `hard_sigmoid_fifth` is clip(0.2 x + 0.5, 0, 1)
(Keras 1 and 2). `gelu` uses erf, `gelu_tanh` the tanh form. `leaky_relu` and `elu` take `alpha`.
"""

GATES = ("i", "f", "g", "o")


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function (softmax: over the values of one step). `alpha`: slope of leaky_relu, scale of elu."""

    name: str
    alpha: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ModelError(f"unknown activation {self.name!r}; known: {', '.join(ACTIVATIONS)}")
        if not np.isfinite(self.alpha):
            raise ModelError(f"activation {self.name}: alpha is {self.alpha}")


LINEAR = Activation("linear")
SIGMOID = Activation("sigmoid")
TANH = Activation("tanh")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One value vector a step: `width` float32 numbers."""

    name: str
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Lstm:
    """An LSTM layer; writes h of every step. Equations in the module's docstring."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, inputs]
    writes: tuple[str, ...]  # one tensor, [T, units]
    kernel: Array  # float32 [4, units, inputs]
    recurrent: Array  # float32 [4, units, units]
    bias: Array  # float32 [4, units]
    activation: Activation = TANH  # of candidate and cell
    gate_activation: Activation = SIGMOID  # of i, f and o
    cell_clip: float | None = None  # c is clamped to +-cell_clip each step

    def __post_init__(self) -> None:
        _, units, inputs = dims(self.kernel, 3, f"{self.name}: kernel")
        put(
            self,
            kernel=frozen(self.kernel, np.float32, (4, units, inputs), f"{self.name}: kernel"),
            recurrent=frozen(self.recurrent, np.float32, (4, units, units), f"{self.name}: recurrent"),
            bias=frozen(self.bias, np.float32, (4, units), f"{self.name}: bias"),
        )
        for activation in (self.activation, self.gate_activation):
            if activation.name == "softmax":
                raise ModelError(f"{self.name}: softmax is not elementwise and cannot be a cell's activation")
        if self.cell_clip is not None and not 0 < self.cell_clip < np.inf:
            raise ModelError(f"{self.name}: cell_clip is {self.cell_clip}, expected a positive number")

    @property
    def units(self) -> int:
        return int(self.kernel.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
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

    @property
    def units(self) -> int:
        return int(self.kernel.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Activate:
    """y = activation(x): an activation that stands alone, after a layer it cannot be merged with."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T, width]
    activation: Activation


@dataclass(frozen=True, slots=True, eq=False)
class Last:
    """The last step of a sequence (`return_sequences=False`); passes every step when each is asked for."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [1, width]


Layer = Lstm | Dense | Activate | Last


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A float model. ModelError if a layer reads what nothing wrote before it, or widths disagree."""

    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]  # in an order in which they can run
    inputs: tuple[str, ...]  # tensor names
    outputs: tuple[str, ...]  # tensor names
    source: Source = NOWHERE
    meta: Meta = field(default_factory=Meta)
    notes: tuple[str, ...] = ()  # what an importer inferred, in sentences

    def __post_init__(self) -> None:
        check_graph(self.tensors, self.layers, self.inputs, self.outputs, self.meta)

    def width(self, tensor: str) -> int:
        """Values a step of a tensor."""
        return next(t.width for t in self.tensors if t.name == tensor)


def check_graph(tensors: Any, layers: Any, inputs: Any, outputs: Any, meta: Meta) -> None:
    """ModelError unless every layer reads written tensors of its width and writes each tensor once."""
    widths = {t.name: t.width for t in tensors}
    if len(widths) != len(tensors):
        raise ModelError("two tensors share a name")
    if not inputs or not outputs or not layers:
        raise ModelError("a model needs at least one input, one layer and one output")
    for t in tensors:
        if not 1 <= t.width <= MAX_WIDTH:
            raise ModelError(f"tensor {t.name} has width {t.width}, expected 1 to {MAX_WIDTH}")
    written = set(inputs)
    if len(written) != len(inputs) or not written <= set(widths):
        raise ModelError(f"inputs {inputs} are not distinct tensors of the model")
    for layer in layers:
        if len(layer.reads) != 1 or len(layer.writes) != 1:
            raise ModelError(f"{layer.name}: reads {layer.reads} and writes {layer.writes}, expected one tensor each")
        (source,), (target,) = layer.reads, layer.writes
        if source not in written:
            raise ModelError(f"{layer.name}: reads {source}, which no layer before it writes")
        if target in written or target not in widths:
            raise ModelError(f"{layer.name}: writes {target}, which is written already or not declared")
        has_weights = hasattr(layer, "kernel")
        expected = (layer.inputs, layer.units) if has_weights else (widths[source],) * 2
        if (widths[source], widths[target]) != expected:
            raise ModelError(
                f"{layer.name}: tensors {source} and {target} have widths "
                f"{widths[source]} and {widths[target]}, expected {expected[0]} and {expected[1]}"
            )
        written.add(target)
    if not set(outputs) <= written or set(widths) != written:
        raise ModelError("an output or a declared tensor is written by no layer")
    for ports, names, what in ((meta.inputs, inputs, "input"), (meta.outputs, outputs, "output")):
        if ports and len(ports) != len(names):
            raise ModelError(f"meta describes {len(ports)} {what}s, the model has {len(names)}")
        for port, name in zip(ports, names, strict=False):
            lists = {"channels": port.channels, "units": port.units, "labels": port.labels}
            if port.scaler is not None:
                lists["scaler"] = tuple(port.scaler.scale)
            for key, values in lists.items():
                if values and len(values) != widths[name]:
                    raise ModelError(f"meta: {what} {name}: {len(values)} {key} for {widths[name]} values")
    for key, value in (("window", meta.window), ("hop", meta.hop)):
        if value is not None and value < 1:
            raise ModelError(f"meta: {key} is {value}, expected at least 1")


@dataclass(frozen=True, slots=True)
class QuantizedTensor:
    """One value vector a step: `width` integers; real value = scale * integer."""

    name: str
    width: int
    type: str  # "s8" or "s16"; what an LSTM writes is either, all else of a layer s16
    scale: float


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


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedActivate:
    """An activation that stands alone, in integers."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    shift: int  # s
    multiplier: int  # m
    activation: QuantizedActivation


QuantizedLayer = QuantizedLstm | QuantizedDense | QuantizedActivate | Last


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModel:
    """An int8 model, as `quantize` makes it."""

    tensors: tuple[QuantizedTensor, ...]
    layers: tuple[QuantizedLayer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: Source = NOWHERE
    meta: Meta = field(default_factory=Meta)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_graph(self.tensors, self.layers, self.inputs, self.outputs, self.meta)

    def width(self, tensor: str) -> int:
        """Values a step of a tensor."""
        return next(t.width for t in self.tensors if t.name == tensor)
