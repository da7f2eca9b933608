"""Windows over neighbouring steps, and reductions over all: images of one row, [N, 1, steps, width]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .. import reference_steps
from ..layers import LINEAR, Conv1d, Pool1d, Reduce, padding, windows
from ..model import Array
from .flatbuffer import Table
from .tflite_assembly import Assembly, Form, covering
from .tflite_dense import activated
from .tflite_dense import refused as activation_refused
from .tflite_graph import Quantization
from .tflite_int8 import least_output_scale
from .tflite_loop import variable
from .tflite_moves import padded
from .tflite_plan import Plan
from .tflite_sheet import FUSED

_SAME, _VALID = np.int8(0), np.int8(1)


def refused(layer: Conv1d | Pool1d | Reduce, plan: Plan) -> Iterator[str]:
    """Why a window or a reduction cannot be written."""
    if isinstance(layer, Conv1d):
        yield from activation_refused(layer, plan)
    if plan.streams and (isinstance(layer, Reduce) or (isinstance(layer, Pool1d) and layer.size > 1)):
        yield "a file of one step would not know the steps before; write it with the steps of a whole sequence"
    if plan.kind == "int8" and isinstance(layer, Reduce) and layer.kind == "sum":
        yield "TFLite's int8 sum leaves the scales out in its plain kernels; write it as float or dynamic"
    if isinstance(layer, Pool1d) and not _paddable(layer, plan):
        yield f"a {layer.kind} over windows padded by {layer.left} and {layer.right} steps, as TFLite pads none"


def _steps(layer: Conv1d | Pool1d, plan: Plan) -> int:
    """Steps of what a window slides over."""
    return layer.period or plan.rows(layer.reads[0])


def _paddable(layer: Pool1d, plan: Plan) -> bool:
    """Whether the padding is none, TFLite's own, or zeros that count."""
    return layer.same or _zeros(layer) or not (layer.left or layer.right) or _own(layer, _steps(layer, plan))


def _zeros(layer: Pool1d) -> bool:
    """Whether the padding is zeros that count."""
    return layer.count_padding and layer.kind == "average"


def _own(layer: Pool1d, steps: int) -> bool:
    """Whether a padding is the one that TFLite calculates."""
    count = windows(layer, steps)
    total = max(0, (count - 1) * layer.stride + layer.size - steps)
    fits = count == -(-steps // layer.stride)
    return fits and (layer.left, layer.right) == (total // 2, total - total // 2)


# ---- convolutions ----


def conv1d(a: Assembly, layer: Conv1d) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where each group has one value; groups of several are one with zeros between."""
    target, name, activation = layer.writes[0], layer.name, layer.activation
    x, steps = _periods(a, layer, layer.inputs), _steps(layer, a.plan)
    if a.plan.streams and layer.left:
        x = _kept(a, x, layer.left, name)
    elif not layer.same:
        x = padded(a, x, layer.left, layer.right, f"{name}/padded")
    count, sequences = windows(layer, steps), a.sheet.shape(x)[0]
    image = a.reshape(x, (sequences, 1, a.sheet.shape(x)[1], layer.inputs), f"{name}/image")
    depthwise = layer.kernel.shape[2] == 1 and layer.groups > 1
    fused = activation.name in FUSED
    options: dict[int, Any] = {0: _SAME if layer.same else _VALID, 1: np.int32(layer.stride), 2: np.int32(1)}
    own = [np.int8(FUSED[activation.name] if fused else 0), np.int32(layer.dilation), np.int32(1)]
    if depthwise:
        options |= dict(enumerate([np.int32(layer.units // layer.groups), *own], 3))
        held = Form((1, 1, layer.taps, layer.units), 3, transposed=True)
        weights, bias = a.weights(f"{name}/kernel", layer.kernel[:, :, 0], layer.bias, image, True, held)
    else:
        options |= dict(enumerate(own, 3))
        held = Form((layer.units, 1, layer.taps, layer.inputs))
        weights, bias = a.weights(f"{name}/kernel", _all_groups(layer), layer.bias, image, True, held)
    z = a.value(f"{name}/z", (sequences, 1, count, layer.units), _products(a, layer, fused, image, weights))
    operator, version = _OPERATORS[depthwise][a.plan.kind]
    a.sheet.graph.operator(operator, version, [image, weights, bias], z, options)
    y = a.reshape(z, (a.plan.batch, a.plan.rows(target), layer.units), target if fused else f"{name}/rows")
    a.index[target] = y if fused else activated(a, activation, y, target)


def _kept(a: Assembly, x: int, count: int, name: str) -> int:
    """The steps of the calls before, kept in a variable that starts from zeros, and this call's."""
    sheet, (batch, steps, width) = a.sheet, a.sheet.shape(x)
    parameters = sheet.parameters(x)
    kind, zero = ("float32", 0) if parameters is None else ("int8", parameters.zero)
    handle = variable(sheet.graph, a.inner.once, name, np.full((batch, count, width), zero, kind))
    before = a.value(f"{name}/before", (batch, count, width), parameters)
    sheet.graph.operator("READ_VARIABLE", 1, [handle], before)
    options: Table = {0: np.int32(1), 1: np.int8(0)}
    joined = sheet.moved("CONCATENATION", [before, x], f"{name}/joined", (batch, count + steps, width), options)
    after = sheet.cut(joined, 1, steps, count + steps, f"{name}/after")
    sheet.graph.several("ASSIGN_VARIABLE", 1, [handle, after], [])
    return joined


_OPERATORS = {
    False: {"float": ("CONV_2D", 1), "dynamic": ("CONV_2D", 5), "int8": ("CONV_2D", 3)},
    True: {"float": ("DEPTHWISE_CONV_2D", 2), "dynamic": ("DEPTHWISE_CONV_2D", 6), "int8": ("DEPTHWISE_CONV_2D", 3)},
}
"""Per whether each group has one value, with the versions of the kinds of file."""


def _all_groups(layer: Conv1d) -> Array:
    """Weights [units, taps x inputs]."""
    units, taps, columns = layer.kernel.shape
    kernel = np.zeros((units, taps, layer.inputs), np.float32)
    for u in range(units):
        first = u // (units // layer.groups) * columns
        kernel[u, :, first : first + columns] = layer.kernel[u]
    return kernel.reshape(units, -1)


def _products(a: Assembly, layer: Conv1d, fused: bool, x: int, weights: int) -> Quantization | None:
    """The int8 of what a convolution writes: a fused activation's values, or what an activation is to see."""
    if a.calibration is None:
        return None
    least = least_output_scale(a.parameters(weights), a.parameters(x))
    if fused:
        return a.seen(layer.writes[0], least=least)
    plain = replace(layer, activation=LINEAR)
    return covering([reference_steps.conv1d(plain, values) for values in a.calibration.each(layer.reads[0])], least)


# ---- pools ----


def pool1d(a: Assembly, layer: Pool1d) -> None:
    """MAX_POOL_2D or AVERAGE_POOL_2D."""
    target, width = layer.writes[0], a.plan.model.width(layer.reads[0])
    x, steps = _periods(a, layer, width), _steps(layer, a.plan)
    count, own = windows(layer, steps), not _zeros(layer) and bool(layer.same or layer.left or layer.right)
    if not own:
        x = padded(a, x, *padding(layer, steps), f"{layer.name}/padded")
    image = a.reshape(x, (a.sheet.shape(x)[0], 1, a.sheet.shape(x)[1], width), f"{layer.name}/image")
    options: Table = {
        0: _SAME if own else _VALID,
        1: np.int32(layer.stride),
        2: np.int32(1),
        3: np.int32(layer.size),
        4: np.int32(1),
        5: np.int8(0),
    }
    operator = "MAX_POOL_2D" if layer.kind == "max" else "AVERAGE_POOL_2D"
    z = a.sheet.moved(operator, [image], f"{layer.name}/z", (a.sheet.shape(image)[0], 1, count, width), options)
    a.index[target] = a.reshape(z, a.plan.shape(target), target)


def _periods(a: Assembly, layer: Conv1d | Pool1d, width: int) -> int:
    """What a window slides over: all steps, or those of every period as sequences of their own."""
    x = a.index[layer.reads[0]]
    return a.reshape(x, (-1, layer.period, width), f"{layer.name}/periods") if layer.period else x


# ---- reductions ----


def reduce(a: Assembly, layer: Reduce) -> None:
    """MEAN, SUM or REDUCE_MAX over the steps."""
    sheet, target, x = a.sheet, layer.writes[0], a.index[layer.reads[0]]
    shape, axis = a.plan.shape(target), 1
    if layer.period:
        x = a.reshape(x, (a.plan.batch, -1, layer.period, shape[2]), f"{layer.name}/periods")
        axis = 2
    if layer.masked:
        x = sheet.join("MUL", x, a.index[layer.reads[1]], f"{layer.name}/kept")
    operator = {"mean": "MEAN", "sum": "SUM", "max": "REDUCE_MAX"}["sum" if layer.masked else layer.kind]
    inputs = [x, sheet.whole(f"{target}/axis", [axis])]
    if layer.kind == "max":  # of the same scale
        a.index[target] = sheet.moved(operator, inputs, target, shape, _DROPPED)
    else:
        parameters = a.seen(target)
        y = a.value(f"{layer.name}/sum" if layer.masked else target, shape, parameters)
        sheet.graph.operator(operator, 1 if parameters is None else 2, inputs, y, _DROPPED)
        a.index[target] = _shared(a, layer, y) if layer.masked and layer.kind == "mean" else y


_DROPPED: Table = {0: np.bool_(False)}  # the axis that is reduced


def _shared(a: Assembly, layer: Reduce, total: int) -> int:
    """A sum over the steps that count, divided by their number: 1 / n stands in a table, 0 where none counts."""
    sheet, name, mask = a.sheet, layer.name, a.index[layer.reads[1]]
    batch, steps, _ = sheet.shape(mask)
    count = sheet.op("SUM", [mask, sheet.whole(f"{name}/steps", [1])], f"{name}/count", (batch, 1), _DROPPED)
    place = sheet.op("CAST", [count], f"{name}/place", (batch, 1), {0: np.int8(0), 1: np.int8(2)}, kind="int32")
    table = np.concatenate([[0], 1 / np.arange(1, steps + 1)])[:, None]
    inputs = [sheet.row(f"{name}/table", table), place]
    share = sheet.op("GATHER", inputs, f"{name}/shares", (batch, 1, 1), {0: np.int32(0), 1: np.int32(0)})
    return sheet.join("MUL", total, a.reshape(share, (batch, 1), f"{name}/share"), layer.writes[0])
