"""Products with weights and activations, step by step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..layers import Activate, Activation, Conv1d, Dense, Embedding
from .flatbuffer import Table
from .tflite_assembly import Assembly, covering
from .tflite_functions import function, reason
from .tflite_graph import Quantization
from .tflite_int8 import least_output_scale, symmetric
from .tflite_plan import Plan
from .tflite_sheet import FUSED

INT8 = ("linear", "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "softmax")
"""Activations that are int8 operators."""

_OPERATORS = {
    "relu": ("RELU", 2),
    "relu6": ("RELU6", 2),
    "leaky_relu": ("LEAKY_RELU", 2),
    "elu": ("ELU", 1),
    "sigmoid": ("LOGISTIC", 2),
    "tanh": ("TANH", 2),
    "softmax": ("SOFTMAX", 2),
}
"""With their versions for int8."""


def refused(layer: Dense | Activate | Conv1d, plan: Plan) -> Iterator[str]:
    """Why the activation cannot be written."""
    f = layer.activation
    if why := reason(f):
        yield why
    elif plan.kind == "int8" and f.name not in INT8:
        yield f"TFLite has no int8 operator for {f.name}; write it as float or dynamic"
    elif plan.kind == "int8" and f.name == "elu" and f.alpha != 1:
        yield f"TFLite's int8 elu has alpha 1, this one {f.alpha:g}; write it as float or dynamic"


def dense(a: Assembly, layer: Dense) -> None:
    """y = activation(W x + b)."""
    source, target, activation = layer.reads[0], layer.writes[0], layer.activation
    fused = activation.name in FUSED
    x, shape = a.index[source], a.plan.shape(target)
    weights, bias = a.weights(f"{layer.name}/kernel", layer.kernel, layer.bias, x, by_row=True)
    name, at = target if fused else f"{layer.name}/z", activation.name if fused else "linear"
    parameters = _product(a, layer, fused, x, weights)
    if a.calibration is None or len(shape) == 2:
        z = a.sheet.fully_connected([x, weights, bias], name, at, shape, parameters)
    else:  # tflite-runtime's reference kernel with a scale a row answers the first of several steps alone
        x = a.reshape(x, (-1, layer.inputs), f"{layer.name}/x")
        flat = (shape[0] * shape[1], layer.units)
        z = a.sheet.fully_connected([x, weights, bias], f"{name}/flat", at, flat, parameters)
        z = a.reshape(z, (a.plan.batch, -1, layer.units), name)
    a.index[target] = z if fused else activated(a, activation, z, target)


def _product(a: Assembly, layer: Dense, fused: bool, x: int, weights: int) -> Quantization | None:
    """The int8 of what FULLY_CONNECTED writes: a fused activation's values, or what an activation is to see."""
    if a.calibration is None:
        return None
    least = least_output_scale(a.parameters(weights), a.parameters(x))
    if fused:
        return a.seen(layer.writes[0], least=least)
    kernel, bias = layer.kernel.T.astype(np.float64), layer.bias
    return covering([values @ kernel + bias for values in a.calibration.each(layer.reads[0])], least)


def activate(a: Assembly, layer: Activate) -> None:
    a.index[layer.writes[0]] = activated(a, layer.activation, a.index[layer.reads[0]], layer.writes[0])


def activated(a: Assembly, activation: Activation, x: int, target: str) -> int:
    """An activation of x."""
    if a.calibration is None:
        return function(a.sheet, activation, x, target)
    if activation.name == "linear":
        return x
    operator, version = _OPERATORS[activation.name]
    options: dict[str, Table] = {
        "leaky_relu": {0: np.float32(activation.alpha)},
        "softmax": {0: np.float32(1)},  # beta
    }
    # TFLite Micro's RELU6 leaves the scale as it is, whatever its answer's is
    parameters = a.parameters(x) if activation.name == "relu6" else a.seen(target, activation)
    y = a.value(target, a.plan.shape(target), parameters)
    return a.sheet.graph.operator(operator, version, [x], y, options.get(activation.name))


_TO_INT32: Table = {0: np.int8(0), 1: np.int8(2)}


def embedding(a: Assembly, layer: Embedding) -> None:
    """Rows of the table. The file's ids are int32."""
    source, target = layer.reads[0], layer.writes[0]
    sheet, shape = a.sheet, a.plan.shape(layer.reads[0])
    ids = a.numbers.get(source)
    if ids is None:
        ids = sheet.op("CAST", [a.index[source]], f"{layer.name}/ids", shape, _TO_INT32, kind="int32")
    if a.calibration is None:
        table = sheet.row(f"{layer.name}/table", layer.table)
    else:
        table = sheet.graph.constant(f"{layer.name}/table", *symmetric(layer.table))
    options: Table = {0: np.int32(0), 1: np.int32(0)}
    rows = a.value(f"{layer.name}/rows", (*shape, layer.columns), sheet.parameters(table))
    sheet.graph.operator("GATHER", 1 if a.calibration is None else 2, [table, ids], rows, options)
    a.index[target] = a.reshape(rows, a.plan.shape(target), target)
