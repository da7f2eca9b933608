"""Recurrent cells: the operator that TFLite has, where it computes exactly the cell, else a loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layers import GATES, Cell, Last, Lstm, Rnn
from ..model import Array
from .flatbuffer import Table
from .tflite_assembly import Assembly
from .tflite_graph import ABSENT
from .tflite_int8 import cell, symmetric
from .tflite_loop import loop, unwritten
from .tflite_plan import Plan
from .tflite_sheet import differs

_FUNCTIONS = {"relu": 1, "relu6": 3, "tanh": 4}
"""Functions that the operators' cells compute, by TFLite's numbers. Without one (0) an LSTM's cell is not linear."""

NORM_EPSILON = 1e-8
"""Of the norms inside the operator's cells."""


def fused(layer: Cell, kind: str) -> bool:
    """Whether an operator of TFLite is to compute the cell. TFLite Micro's computes tanh whatever it is told, a loop
    does not."""
    return _fits(layer, kind) and (isinstance(layer, Rnn) or layer.activation.name == "tanh" or bool(unwritten(layer)))


def _fits(layer: Cell, kind: str) -> bool:
    """Whether an operator of TFLite computes the cell."""
    if layer.clip is not None or layer.masked or layer.initial or len(layer.writes) > 1:
        return False  # the operators start from tensors that they write into, which nothing else can
    if layer.activation.name not in _FUNCTIONS:
        return False
    if isinstance(layer, Lstm):
        own = layer.cell_activation not in (None, layer.activation)
        if own or layer.gate_activation.name != "sigmoid":
            return False
        if layer.norm is not None and layer.norm_epsilon != NORM_EPSILON:
            return False
        plain = layer.projection is None and layer.peephole is None and layer.norm is None
        return kind != "int8" or (plain and layer.activation.name == "tanh")
    return isinstance(layer, Rnn) and kind != "int8"


def refused(layer: Cell, plan: Plan) -> Iterator[str]:
    """Why a cell cannot be written."""
    if layer.period:
        yield f"a cell that starts anew every {layer.period} steps has no operators that read back"
    if fused(layer, plan.kind):
        return
    if plan.kind == "int8":
        yield f"TFLite has no int8 operator for {_what(layer)}; write it as float or dynamic"
        return
    for what in unwritten(layer):
        yield f"no operator and no loop of {type(layer).__name__} has {what}"
    if plan.streams and any(name in plan.timing.constant.difference(plan.model.inputs) for name in layer.reads):
        yield "a file of one step would start from the same state at every step; write it with the steps of a sequence"
    if layer.masked and layer.initial:
        yield "a mask with a state to start from has no loop that reads back"
    if len(layer.writes) > 1:
        c = layer.writes[1]
        if c in plan.model.outputs and not plan.single(c):
            yield "its c of every step is an output, and a loop gives the last alone"
        elif not all(isinstance(reader, Last) and not reader.period for reader in plan.readers(c)):
            yield "its c of every step is read, and a loop gives the last alone"


def _what(layer: Cell) -> str:
    if not isinstance(layer, Lstm):
        return f"a {type(layer).__name__}"
    found = {
        "a projection": layer.projection is not None,
        "peepholes": layer.peephole is not None,
        "layer normalisation": layer.norm is not None,
        "a state to start from": layer.initial,
        "a mask": layer.masked,
        "a second output": len(layer.writes) > 1,
        "a clip of what enters the gates": layer.clip is not None,
    }
    own = [what for what, there in found.items() if there]
    names = {layer.activation.name, layer.gate_activation.name, (layer.cell_activation or layer.activation).name}
    own += sorted(names - {"tanh", "sigmoid"})
    return f"an LSTM with {', '.join(own) or 'functions of its own'}"


def write(a: Assembly, layer: Cell) -> None:
    """Add a cell."""
    plan, (batch, *_) = a.plan, a.plan.shape(layer.reads[0])
    alone = plan.single(layer.reads[0])
    x = a.index[layer.reads[0]]
    if alone:  # one step: cells want the axis
        x = a.reshape(x, (batch, 1, layer.inputs), f"{layer.name}/x")
    y, target = -1, layer.writes[0]
    label = f"{layer.name}/y" if alone else target
    if isinstance(layer, Lstm) and fused(layer, plan.kind):
        y = _lstm(a, layer, x, label)
    elif fused(layer, plan.kind):
        y = _rnn(a, layer, x, label)
    else:
        mask = None
        if layer.masked:
            mask = a.counts.get(layer.reads[1], -1)
            mask = differs(a.sheet, a.index[layer.reads[1]], 0, f"{layer.name}/mask") if mask < 0 else mask
            if alone:
                shape = (batch, 1, 1)
                mask = a.sheet.op("RESHAPE", [mask, a.sheet.whole("shape", shape)], "mask", shape, kind="bool")
        starts = [_start(a, name) for name in layer.reads[1 + layer.masked :]]
        y, *rest = loop(a.sheet, a.inner, layer, x, mask, starts, plan.streams, layer.name)
        a.last.update(zip(layer.writes[1:], rest, strict=False))
        a.index.update(zip(layer.writes[1:], rest if alone else (), strict=False))
    a.index[target] = a.reshape(y, plan.shape(target), target) if alone else y


def _start(a: Assembly, name: str) -> int:
    """A state to start from; a constant is a row for each sequence."""
    k, batch = a.index[name], a.plan.batch
    data = a.sheet.graph.tensors[k].data
    return k if data is None or batch == 1 else a.sheet.row(name, np.repeat(data, batch, axis=0))


# ---- the operators ----


def _lstm(a: Assembly, layer: Lstm, x: int, target: str) -> int:
    name, graph, hidden = layer.name, a.sheet.graph, a.seen(layer.writes[0])
    batch, steps, _ = a.sheet.shape(x)
    kernel, recurrent, bias = layer.kernel, layer.recurrent, layer.bias
    peephole = layer.peephole
    own = list(enumerate(GATES))
    if layer.coupled:  # TFLite's i is 1 - f, here f = 1 - i = s(-z)
        kernel, recurrent, bias = (np.stack([w[0], -w[0], w[2], w[3]]) for w in (kernel, recurrent, bias))
        peephole = None if peephole is None else np.stack([peephole[0], -peephole[0], peephole[2]])
        own = own[1:]
    parts = [a.weights(f"{name}/kernel/{g}", kernel[k], bias[k], x) for k, g in own]
    gates = [a.weights(f"{name}/recurrent/{g}", recurrent[k], None, x)[0] for k, g in own]
    left_out = [ABSENT] * layer.coupled
    peepholes = [ABSENT] * 3
    if peephole is not None:
        peepholes = left_out + [_diagonal(a, f"{name}/peephole/{k}", peephole[k]) for k in range(layer.coupled, 3)]
    projection = ABSENT if layer.projection is None else a.sheet.weights(f"{name}/projection", layer.projection)
    shift = a.sheet.bias(f"{name}/projection/bias", layer.projection_bias)
    norms = [ABSENT] * 4
    if layer.norm is not None:  # of -v with the same coefficients as of v, where f is that of i
        norms = left_out + [
            a.sheet.row(f"{name}/norm/{g}", layer.norm[0 if layer.coupled and k == 1 else k]) for k, g in own
        ]
    h, c = (batch, layer.outputs), (batch, layer.units)
    intermediates = []
    if a.calibration is None:
        states = [graph.variable(f"{name}/h", h, "float32"), graph.variable(f"{name}/c", c, "float32")]
    else:
        largest = max(float(np.abs(values).max()) for values in a.calibration.each(f"{name}.c"))
        states = [
            graph.variable(f"{name}/h", h, "int8", hidden),
            graph.variable(f"{name}/c", c, "int16", cell(largest)),
        ]
        # four for layer norm, which is not there, and one whose scale h is quantized with
        intermediates = [graph.tensor(f"{name}/unused/{k}", (0,), "float32") for k in range(4)]
        intermediates.append(graph.tensor(f"{name}/hidden", (0,), "int8", hidden))
    inputs = [
        x, *left_out, *(w for w, _ in parts), *left_out, *gates, *peepholes, *left_out, *(b for _, b in parts),
        projection, shift, *states, *norms,
    ]  # fmt: skip
    options: Table = {
        0: np.int8(_FUNCTIONS[layer.activation.name]),
        1: np.float32(layer.cell_clip or 0.0),
        2: np.float32(layer.projection_clip or 0.0),
        3: np.bool_(False),
        4: np.bool_(False),
    }
    y = a.value(target, (batch, steps, layer.outputs), hidden)
    return graph.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", 1, inputs, y, options, intermediates)


def _diagonal(a: Assembly, name: str, row: Array) -> int:
    """Peepholes, in the numbers that the other weights have."""
    if a.plan.kind == "float":
        return a.sheet.row(name, row)
    integers, scales = symmetric(row[None])
    return a.sheet.graph.constant(name, integers[0], scales)


def _rnn(a: Assembly, layer: Any, x: int, target: str) -> int:
    batch, steps, _ = a.sheet.shape(x)
    weights = [a.sheet.weights(f"{layer.name}/{key}", getattr(layer, key)) for key in ("kernel", "recurrent")]
    bias = a.sheet.row(f"{layer.name}/bias", layer.bias)
    h = a.sheet.graph.variable(f"{layer.name}/h", (batch, layer.units), "float32")
    options: Table = {0: np.bool_(False), 1: np.int8(_FUNCTIONS[layer.activation.name]), 2: np.bool_(False)}
    shape = (batch, steps, layer.units)
    return a.sheet.op("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *weights, bias, h], target, shape, options)
