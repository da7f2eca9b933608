"""Recurrent cells for which TFLite has no operator, as a WHILE over the steps, in the form of TensorFlow's converter.

A loop hands on: its count, h of every step [T, N, outputs], the states, and the sequences it reads, steps first. A file
of one step keeps the states in variables that its first call sets to zeros; in any other each call starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Cell, Gru, Lstm
from ..model import Array
from .flatbuffer import Table
from .tflite_functions import CELLS, function
from .tflite_graph import Graph, Subgraph
from .tflite_sheet import Sheet

PLAIN: Table = {0: np.int8(0)}


@dataclass(slots=True)
class Inner:
    """The graphs that operators of the first name by number."""

    graphs: list[Subgraph] = field(default_factory=list)
    once: Graph = field(default_factory=Graph)  # what runs once: variables from zeros

    def add(self, graph: Graph, inputs: list[int], outputs: list[int], name: str) -> np.int32:
        """Its number."""
        self.graphs.append(Subgraph(graph, tuple(inputs), tuple(outputs), name))
        return np.int32(len(self.graphs))


def unwritten(layer: Cell) -> list[str]:
    """What a loop cannot express so that it reads back as one cell."""
    found = {
        "a clip of what enters the gates": layer.clip is not None,
        "a clip of the cell": getattr(layer, "cell_clip", None) is not None,
        "peepholes": getattr(layer, "peephole", None) is not None,
        "layer normalisation": getattr(layer, "norm", None) is not None,
        "a projection": getattr(layer, "projection", None) is not None,
    }
    reasons = [what for what, there in found.items() if there]
    functions = [layer.activation, getattr(layer, "gate_activation", None), getattr(layer, "cell_activation", None)]
    others = [f for f in functions if f is not None and f.name not in CELLS]
    reasons += [f"{f.name} in a cell" for f in others]
    cell = getattr(layer, "cell_activation", None) or layer.activation
    if isinstance(layer, Lstm) and cell.name == "hard_sigmoid_fifth":
        reasons.append("hard_sigmoid_fifth of the cell")
    if isinstance(layer, Lstm) and layer.coupled and layer.gate_activation.name != "sigmoid":
        reasons.append("coupled gates of another function than sigmoid")
    return list(dict.fromkeys(reasons))


def loop(
    sheet: Sheet, inner: Inner, layer: Cell, x: int, mask: int | None, starts: list[int], keeps: bool, handle: str
) -> list[int]:
    """h of every step [N, T, outputs], and of an LSTM the last c [N, units].

    x: [N, T, inputs]; mask: bool [N, T, 1]; starts: the states to start from, none for zeros; keeps: whether the states
    go from one call to the next, in variables named after `handle`.
    """
    name, graph = layer.name, sheet.graph
    batch, steps, _ = sheet.shape(x)
    widths = [layer.units] * (2 if isinstance(layer, Lstm) else 1) + [layer.units] * (mask is not None)
    zeros = np.zeros((batch, layer.units), np.float32)
    states = starts + [-1] * (len(widths) - len(starts))
    handles: list[int] = []
    for k, given in enumerate(states):
        if given < 0 and keeps:
            made = variable(graph, inner.once, f"{handle}/{k}", zeros)
            handles.append(made)
            states[k] = sheet.op("READ_VARIABLE", [made], f"{name}/start", zeros.shape)
        elif given < 0:
            states[k] = graph.constant(f"{name}/zeros", zeros)
    sequences = [sheet.transpose(x, (1, 0, 2), f"{name}/steps")]
    if mask is not None:
        order = sheet.whole(f"{name}/mask/order", (1, 0, 2))
        sequences.append(sheet.op("TRANSPOSE", [mask, order], f"{name}/mask", (steps, batch, 1), kind="bool"))
    shape = (steps, batch, layer.units)
    every = sheet.op("FILL", [sheet.whole(f"{name}/shape", shape), sheet.number(0)], f"{name}/every", shape)
    values = [sheet.whole(f"{name}/count", 0), every, *states, *sequences]
    condition, body = _condition(graph, values, steps), _body(sheet, layer, values, mask is not None)
    options: Table = {
        0: inner.add(*condition, f"{name}/condition"),
        1: inner.add(*body, f"{name}/body"),
    }
    made_ = [graph.tensor(f"{name}/{k}", graph.tensors[v].shape, graph.tensors[v].type) for k, v in enumerate(values)]
    graph.several("WHILE", 1, values, made_, options)
    for made, after in zip(handles, made_[2:], strict=False):
        graph.several("ASSIGN_VARIABLE", 1, [made, after], [])
    h = sheet.transpose(made_[1], (1, 0, 2), f"{name}/h")
    return [h, made_[3]] if isinstance(layer, Lstm) else [h]


def variable(graph: Graph, once: Graph, name: str, zeros: Array) -> int:
    """A variable that starts from zeros."""
    options: Table = {0: "", 1: name}
    first = once.operator("VAR_HANDLE", 1, [], once.tensor(name, (), "resource"), options)
    once.several("ASSIGN_VARIABLE", 1, [first, once.constant(f"{name}/zeros", zeros)], [])
    return graph.operator("VAR_HANDLE", 1, [], graph.tensor(name, (), "resource"), options)


def _held(outer: Graph, graph: Graph, values: list[int]) -> list[int]:
    """The loop's values in a graph of its own."""
    return [graph.tensor(outer.tensors[k].name, outer.tensors[k].shape, outer.tensors[k].type) for k in values]


def _condition(outer: Graph, values: list[int], steps: int) -> tuple[Graph, list[int], list[int]]:
    graph = Graph()
    held = _held(outer, graph, values)
    limit = graph.constant("steps", np.array(steps, np.int32))
    return graph, held, [graph.operator("LESS", 1, [held[0], limit], graph.tensor("goes_on", (), "bool"))]


def _body(outer: Sheet, layer: Cell, values: list[int], masked: bool) -> tuple[Graph, list[int], list[int]]:
    s = Sheet(outer.kind)
    held = _held(outer.graph, s.graph, values)
    count, every = held[:2]
    states, sequences = held[2 : len(held) - 1 - masked], held[len(held) - 1 - masked :]
    after = s.op("ADD", [count, s.whole("one", 1)], "count", (), PLAIN, kind="int32")
    axis: Table = {0: np.int32(0)}
    x = s.op("GATHER", [sequences[0], count], "x", s.shape(sequences[0])[1:], axis)
    made = {Lstm: _lstm, Gru: _gru}.get(type(layer), _rnn)(s, layer, x, states[: len(states) - masked])  # type: ignore[operator]
    if masked:
        counts = s.op("GATHER", [sequences[1], count], "counts", s.shape(sequences[1])[1:], axis, kind="bool")
        olds, made = states, [*made, made[0]]
        made = [
            s.op("SELECT_V2", [counts, new, old], "kept", s.shape(new)) for new, old in zip(made, olds, strict=True)
        ]
    row = s.reshape(made[-1] if masked else made[0], (1, *s.shape(made[0])), "row")
    zero = s.whole("zero", 0)
    place = s.op("PACK", [count, zero, zero], "place", (3,), {0: np.int32(3), 1: np.int32(0)}, kind="int32")
    written = s.op("DYNAMIC_UPDATE_SLICE", [every, row, place], "every", s.shape(every))
    return s.graph, held, [after, written, *made, *sequences]


# ---- one step of a cell: states to states ----


def _lstm(s: Sheet, layer: Lstm, x: int, states: list[int]) -> list[int]:
    h, c = states
    kernel, recurrent, bias = (
        gates if not layer.coupled else np.stack([gates[0], -gates[0], gates[2], gates[3]])  # 1 - s(z) = s(-z)
        for gates in (layer.kernel, layer.recurrent, layer.bias)
    )
    read, kept = s.product(x, _flat(kernel), bias.reshape(-1), "zx"), s.product(h, _flat(recurrent), None, "zh")
    z = s.join("ADD", read, kept, "z")
    entering = s.split(z, 4, ("zi", "zf", "zg", "zo"))
    i, f, o = (function(s, layer.gate_activation, entering[k], key) for k, key in ((0, "i"), (1, "f"), (3, "o")))
    g = function(s, layer.activation, entering[2], "g")
    c = s.join("ADD", s.join("MUL", f, c, "fc"), s.join("MUL", i, g, "ig"), "c")
    return [s.join("MUL", o, function(s, layer.cell_activation or layer.activation, c, "p"), "h"), c]


def _gru(s: Sheet, layer: Gru, x: int, states: list[int]) -> list[int]:
    (h,) = states
    entering = s.split(s.product(x, _flat(layer.kernel), layer.bias.reshape(-1), "zx"), 3, ("xz", "xr", "xn"))
    if layer.reset_after:
        assert layer.reset_bias is not None
        bias = np.concatenate([np.zeros(2 * layer.units, np.float32), layer.reset_bias])
        kept = s.split(s.product(h, _flat(layer.recurrent), bias, "zh"), 3, ("hz", "hr", "hn"))
    else:
        kept = s.split(s.product(h, _flat(layer.recurrent[:2]), None, "zh"), 2, ("hz", "hr"))
    z, r = (
        function(s, layer.gate_activation, s.join("ADD", entering[k], kept[k], f"z{key}"), key)
        for k, key in ((0, "z"), (1, "r"))
    )
    if layer.reset_after:
        inner = s.join("MUL", r, kept[2], "rh")
    else:
        inner = s.product(s.join("MUL", r, h, "rh"), layer.recurrent[2], None, "hn")
    n = function(s, layer.activation, s.join("ADD", entering[2], inner, "zn"), "n")
    rest = s.join("SUB", s.number(1), z, "rest")
    return [s.join("ADD", s.join("MUL", z, h, "zh"), s.join("MUL", rest, n, "new"), "h")]


def _rnn(s: Sheet, layer: Any, x: int, states: list[int]) -> list[int]:
    read, kept = s.product(x, layer.kernel, layer.bias, "zx"), s.product(states[0], layer.recurrent, None, "zh")
    return [function(s, layer.activation, s.join("ADD", read, kept, "z"), "h")]


def _flat(gates: Array) -> Array:
    return gates.reshape(-1, gates.shape[2])
