"""Layers made one after the other, each naming its tensors, and made fewer where that is exact.

A PyTorch module of several layers or directions becomes several layers here: every importer of PyTorch builds with
these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import (
    MAX_READS,
    OVER_VALUES,
    SIGMOID,
    TANH,
    Activate,
    Activation,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Dense,
    Group,
    Gru,
    Last,
    Layer,
    Lstm,
    Reverse,
    Rnn,
    Transpose,
)
from ..model import Array, Model, Source, Tensor
from ..timing import timing
from .torch_fold import simplified
from .torch_names import BatchNorm, Cell, Heads, Stack, label, values


@dataclass(frozen=True, slots=True)
class Options:
    """What is not PyTorch's of a recurrent layer: for cells of one's own."""

    activation: Activation = TANH
    gate_activation: Activation = SIGMOID
    cell_clip: float | None = None


@dataclass(frozen=True, slots=True)
class Recurrent:
    """What a recurrent layer wrote: every step of its last layer, and per layer and direction the final state."""

    answers: str
    h: tuple[str, ...]  # single, in PyTorch's order: by layer, then by direction
    c: tuple[str, ...]  # of an LSTM


@dataclass(slots=True)
class Builder:
    """A model in the making."""

    tensors: list[Tensor] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    reserved: set[str] = field(default_factory=set)  # names no tensor made on the way may take

    def width(self, tensor: str) -> int:
        return next(t.width for t in self.tensors if t.name == tensor)

    def single(self, tensor: str) -> bool:
        """Whether a tensor has one row a run."""
        return tensor in timing(self).single

    def input(self, name: str, width: int, single: bool = False) -> str:
        name = self.unused(name)
        self.tensors.append(Tensor(name, width, single))
        self.inputs.append(name)
        return name

    def unused(self, name: str) -> str:
        taken = {t.name for t in self.tensors} | self.reserved
        while name in taken:
            name += "_"
        return name

    def add(self, make: Callable[..., Layer], name: str, reads: tuple[str, ...], *settings: Any, **more: Any) -> str:
        """A layer; gives the tensor it writes, which has its name."""
        return self.put(make, name, reads, 1, *settings, **more)[0]

    def put(
        self, make: Callable[..., Layer], name: str, reads: tuple[str, ...], count: int, *settings: Any, **more: Any
    ) -> tuple[str, ...]:
        """A layer that writes `count` tensors."""
        self.reserved.discard(name)
        name = self.unused(name)
        writes = (name, f"{name}.c")[:count]
        layer = make(name, reads, writes, *settings, **more)
        widths = layer.widths(tuple(self.width(t) for t in reads))
        self.layers.append(layer)
        self.tensors += [Tensor(t, width) for t, width in zip(writes, widths, strict=True)]
        return writes

    def constant(self, name: str, x: str, value: Array) -> str:
        """A row that is the same for every input. It reads the input that x comes from, which stays what it is."""
        writers = {t: layer.reads[0] for layer in self.layers for t in layer.writes}
        while x in writers:
            x = writers[x]
        return self.add(Constant, name, (x,), value)

    def finish(self, outputs: list[str], source: Source, notes: list[str]) -> Model:
        """The model: what no output needs is left out, neighbours are folded where that is exact."""
        layers, ends = simplified(self.layers, outputs)
        widths = {t.name: t.width for t in self.tensors}
        for layer in layers:
            widths.update(zip(layer.writes, layer.widths(tuple(widths[t] for t in layer.reads)), strict=True))
        tensors = [t for t in self.tensors if t.name in self.inputs]
        tensors += [Tensor(name, widths[name]) for layer in layers for name in layer.writes]
        return Model(tuple(tensors), tuple(layers), tuple(self.inputs), tuple(ends), source=source, notes=tuple(notes))


# ---- recurrent layers ----


def recurrent(
    builder: Builder,
    part: Stack,
    x: str,
    options: Options = Options(),
    initial: tuple[tuple[str, ...], ...] = (),
    mask: str | None = None,
) -> Recurrent:
    """All layers and directions of an LSTM, GRU or RNN. initial: per layer and direction h, of an LSTM h and c; mask:
    steps that do not count, with zeros in the answers there, as PyTorch's packed sequences have it."""
    name = label(part)
    h: list[str] = []
    c: list[str] = []
    backwards = None
    for index, directions in enumerate(part.cells):
        where = name if len(part.cells) == 1 else f"{name}.l{index}"
        answers = []
        for direction, cell in enumerate(directions):
            start = initial[len(h)] if initial else ()
            own, source, steps = where + ".reverse" * direction, x, mask
            if direction:
                source = builder.add(Reverse, f"{where}.reversed", (x,))
                if mask is not None:
                    backwards = backwards or builder.add(Reverse, f"{mask}.reversed", (mask,))
                    steps = backwards
            written = _cell(builder, part.kind, own, cell, source, options, start, steps)
            h.append(builder.add(Last, f"{own}.last", written[:1]))
            c += [builder.add(Last, f"{own}.c.last", (t,)) for t in written[1:]]
            answer = written[0]
            if direction:
                answer = builder.add(Reverse, f"{own}.forward", (answer,))
            answers.append(answer)
        x = answers[0] if len(answers) == 1 else builder.add(Combine, f"{where}.both", tuple(answers), "concatenate")
        if mask is not None:
            x = builder.add(Combine, f"{where}.valid", (x, mask), "multiply")
    return Recurrent(x, tuple(h), tuple(c))


def one_cell(
    builder: Builder, kind: str, name: str, cell: Cell, x: str, options: Options, initial: tuple[str, ...], back: bool
) -> tuple[str, ...]:
    """h of every step, and of an LSTM c; `back`: from the last step to the first, each where its step is."""
    source = builder.add(Reverse, f"{name}.reversed", (x,)) if back else x
    made = _cell(builder, kind, name, cell, source, options, initial, None)
    return tuple(builder.add(Reverse, f"{t}.forward", (t,)) for t in made) if back else made


def _cell(
    builder: Builder,
    kind: str,
    name: str,
    cell: Cell,
    x: str,
    options: Options,
    initial: tuple[str, ...],
    mask: str | None,
) -> tuple[str, ...]:
    units = cell.units
    reads = (x, *(() if mask is None else (mask,)), *initial)
    states = {"masked": mask is not None, "initial": bool(initial)}
    kernel, recurrent = values(cell.kernel, np.float32), values(cell.recurrent, np.float32)
    inputs, outputs = kernel.shape[1], recurrent.shape[1]
    if kind == "lstm":
        projection = None if cell.projection is None else values(cell.projection, np.float32)
        shapes = kernel.reshape(4, units, inputs), recurrent.reshape(4, units, outputs)
        biases = _bias(cell, 4 * units).reshape(4, units)
        cells = options.activation, options.gate_activation, options.cell_clip
        return builder.put(Lstm, name, reads, 2, *shapes, biases, *cells, projection=projection, **states)
    if kind == "gru":  # PyTorch's r, z, n
        order = [1, 0, 2]
        input_bias, state_bias = (values(b, np.float64).reshape(3, units) for b in cell.biases) if cell.biases else (
            np.zeros((3, units)), np.zeros((3, units)))  # fmt: skip
        biases = input_bias + state_bias
        biases[2] = input_bias[2]
        shapes = kernel.reshape(3, units, inputs)[order], recurrent.reshape(3, units, units)[order]
        settings = state_bias[2], True, options.activation, options.gate_activation
        return builder.put(Gru, name, reads, 1, *shapes, biases[order], *settings, **states)
    return builder.put(Rnn, name, reads, 1, kernel, recurrent, _bias(cell, units), options.activation, **states)


def _bias(cell: Cell, rows: int) -> Array:
    """b_ih + b_hh, added in float64 and rounded to float32 once; zeros without biases."""
    total = np.zeros(rows, np.float64)
    for bias in cell.biases:
        total += values(bias, np.float64)
    return total.astype(np.float32)


# ---- others ----


def affine(builder: Builder, name: str, x: str, scale: Array, offset: Array) -> str:
    """x * scale + offset, value by value: a convolution of one tap and a group for each value, or of a single row a
    Dense with a diagonal."""
    width = builder.width(x)
    if builder.single(x):
        diagonal = np.diag(np.broadcast_to(scale, (width,)))
        return builder.add(Dense, name, (x,), diagonal, np.broadcast_to(offset, (width,)))
    kernel = np.broadcast_to(scale, (width,)).reshape(width, 1, 1)
    return builder.add(Conv1d, name, (x,), kernel, np.broadcast_to(offset, (width,)), groups=width)


def batch_norm(builder: Builder, part: BatchNorm, epsilon: float, x: str) -> str:
    """Normalization with the running statistics, computed in float64."""
    mean, variance = values(part.mean, np.float64), values(part.variance, np.float64)
    if (variance + epsilon <= 0).any():
        raise CheckpointError(f"layer {label(part)}: its running variance is negative")
    scale = 1 / np.sqrt(variance + epsilon)
    if part.scale is not None:
        scale *= values(part.scale, np.float64)
    offset = -mean * scale
    if part.offset is not None:
        offset += values(part.offset, np.float64)
    return affine(builder, label(part), x, scale, offset)


def select(builder: Builder, name: str, x: str, columns: list[int]) -> str:
    """Some values of each row, in this order: whole parts of what was joined, rows of the Dense before, or a Dense of
    zeros and ones."""
    width = builder.width(x)
    if columns == list(range(width)):
        return x
    before = next((layer for layer in builder.layers if layer.writes == (x,)), None)
    if isinstance(before, Combine) and before.kind == "concatenate":
        found, left, ends, end = [], list(columns), {}, 0
        for part in before.reads:
            ends[end] = part
            end += builder.width(part)
        while (
            left
            and left[0] in ends
            and left[: builder.width(ends[left[0]])] == list(range(left[0], left[0] + builder.width(ends[left[0]])))
        ):
            found.append(ends[left[0]])
            del left[: builder.width(found[-1])]
        if found and not left:
            return joined(builder, name, tuple(found))
    if isinstance(before, Dense) and before.activation.name not in OVER_VALUES:
        settings = before.kernel[columns], before.bias[columns], before.activation
        return builder.add(Dense, name, before.reads, *settings)
    if len(columns) * width > 1 << 24:
        raise CheckpointError(f"{name}: {len(columns)} of {width} values are too many to pick one by one")
    return builder.add(Dense, name, (x,), np.eye(width, dtype=np.float32)[columns], np.zeros(len(columns)))


def prelu(builder: Builder, name: str, x: str, slopes: Array) -> str:
    """max(x, 0) + slope * min(x, 0): relu(x) - slope * relu(-x), exact."""
    width = builder.width(x)
    if len(slopes) not in (1, width):
        raise CheckpointError(f"layer {name}: {len(slopes)} slopes for {width} values")
    if len(slopes) == 1:
        return builder.add(Activate, name, (x,), Activation("leaky_relu", float(slopes[0])))
    above = builder.add(Activate, f"{name}.above", (x,), Activation("relu"))
    negated = affine(builder, f"{name}.negated", x, np.full(width, -1.0), np.zeros(width))
    below = affine(builder, f"{name}.below", builder.add(Activate, f"{name}.relu", (negated,), Activation("relu")),
                   -slopes, np.zeros(width))  # fmt: skip
    return builder.add(Combine, name, (above, below), "add")


def attention(builder: Builder, part: Heads, heads: int, causal: bool, queries: str, keys: str, vals: str) -> str:
    """nn.MultiheadAttention."""
    name = label(part)
    width = part.output.shape[0]
    if heads < 1 or width % heads:
        raise CheckpointError(f"layer {name}: {heads} heads of {width} values")
    bias = np.zeros(3 * width) if part.bias is None else values(part.bias, np.float32)
    kernels = [values(weight, np.float32) for weight in part.kernels]
    if len(kernels) == 1:
        kernels = list(kernels[0].reshape(3, width, width))
    made = [
        builder.add(Dense, f"{name}.{what}", (x,), kernel, bias[k * width : (k + 1) * width])
        for k, (what, x, kernel) in enumerate(zip("qkv", (queries, keys, vals), kernels, strict=True))
    ]
    scale = float((width // heads) ** -0.5)
    mixed = builder.add(Attention, f"{name}.heads", (made[0], made[2], made[1]), scale, None, heads, causal)
    output_bias = np.zeros(width) if part.output_bias is None else values(part.output_bias, np.float32)
    return builder.add(Dense, name, (mixed,), values(part.output, np.float32), output_bias)


def joined(builder: Builder, name: str, tensors: tuple[str, ...]) -> str:
    """The values of several tensors, one after the other."""
    while len(tensors) > 1:
        groups = [tensors[k : k + MAX_READS] for k in range(0, len(tensors), MAX_READS)]
        tensors = tuple(builder.add(Combine, name, g, "concatenate") if len(g) > 1 else g[0] for g in groups)
    return tensors[0]


def flatten(builder: Builder, x: str, steps: int, channels: bool) -> str:
    """All values of so many steps in one row: step by step, or value by value."""
    if channels:
        width = builder.width(x)
        rows = builder.add(Transpose, "transposed", (x,), steps)
        return builder.add(Group, "flat", (rows,), width, True)
    return builder.add(Group, "flat", (x,), steps, True)


def dense(builder: Builder, name: str, x: str, kernel: Array, bias: Array | None, activation: Activation) -> str:
    offset = np.zeros(len(kernel)) if bias is None else bias
    return builder.add(Dense, name, (x,), kernel, offset, activation)
