"""Several tensors to one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import reference_steps
from ..layers import Combine, Constant
from .flatbuffer import Table
from .tflite_assembly import Assembly, covering
from .tflite_graph import Quantization
from .tflite_int8 import symmetric
from .tflite_moves import repeated
from .tflite_plan import Plan

_VALUE_BY_VALUE = {"add": "ADD", "average": "ADD", "subtract": "SUB", "multiply": "MUL"}
_LARGER = {"maximum": "MAXIMUM", "minimum": "MINIMUM"}
_SAME = ("concatenate", "maximum", "minimum")  # whose int8 kernels take and give one scale


def refused(layer: Combine | Constant, plan: Plan) -> Iterator[str]:
    """Why a join cannot be written."""
    if isinstance(layer, Constant) and layer.writes[0] in plan.model.outputs:
        yield "an output that no input has a part in"


def constant(a: Assembly, layer: Constant) -> None:
    """A row [1, width], for all sequences."""
    rows = layer.value[None]
    if a.calibration is None:
        a.index[layer.writes[0]] = a.sheet.row(layer.name, rows)
    else:
        a.index[layer.writes[0]] = a.sheet.graph.constant(layer.name, *symmetric(rows))


def combine(a: Assembly, layer: Combine) -> None:
    """Tensors joined; a single one serves all steps."""
    target, sheet = layer.writes[0], a.sheet
    shape = a.plan.shape(target)
    parts = []
    for k, name in enumerate(layer.reads):
        x = a.index[name]
        if len(shape) == 3 and a.plan.single(name):
            if layer.kind == "concatenate":
                x = repeated(a, x, shape[1], f"{layer.name}/{k}")
            else:
                x = a.reshape(x, (sheet.shape(x)[0], 1, a.plan.model.width(name)), f"{layer.name}/{k}")
        parts.append(x)
    parameters = a.seen(target)
    if parameters is not None and layer.kind in _SAME:
        parts = [_as(a, x, parameters, f"{layer.name}/{k}/scaled") for k, x in enumerate(parts)]
    if layer.kind == "concatenate":
        options: Table = {0: np.int32(-1), 1: np.int8(0)}
        y = a.value(target, shape, parameters)
        a.index[target] = sheet.graph.operator("CONCATENATION", 1 if parameters is None else 2, parts, y, options)
        return
    made, *others = parts
    for k, x in enumerate(others, 2):
        whole = k == len(parts)
        name = target if whole and layer.kind != "average" else f"{layer.name}/{k} joined"
        own = parameters if layer.kind in _SAME or name == target else _sum(a, layer, k)
        made = _joined(a, layer.kind, made, x, name, own)
    if layer.kind == "average":
        made = _joined(a, "multiply", made, _share(a, len(parts)), target, parameters)
    a.index[target] = made


def _sum(a: Assembly, layer: Combine, count: int) -> Quantization | None:
    """The int8 of the first tensors joined."""
    if a.calibration is None:
        return None
    kind = "add" if layer.kind == "average" else layer.kind
    columns = zip(*(a.calibration.each(name) for name in layer.reads[:count]), strict=True)
    return covering([reference_steps.combine(kind, list(values)) for values in columns])


def _share(a: Assembly, count: int) -> int:
    """1 / count."""
    if a.calibration is None:
        return a.sheet.number(1 / count)
    integers, scales = symmetric(np.array([[1 / count]]))
    return a.sheet.graph.constant(f"1/{count}", integers[0], scales)


def _joined(a: Assembly, kind: str, left: int, right: int, name: str, parameters: Quantization | None) -> int:
    """Two tensors value by value."""
    shape = np.broadcast_shapes(a.sheet.shape(left), a.sheet.shape(right))
    operator = _VALUE_BY_VALUE.get(kind) or _LARGER[kind]
    options: Table = {0: np.int8(0)} if kind in _VALUE_BY_VALUE else {}
    y = a.value(name, shape, parameters)
    return a.sheet.graph.operator(operator, 1 if parameters is None else 2, [left, right], y, options)


def _as(a: Assembly, x: int, parameters: Quantization, name: str) -> int:
    """x in the scale of another tensor."""
    own = a.parameters(x)
    if own.scale == parameters.scale and own.zero == parameters.zero:
        return x
    return a.sheet.graph.operator("QUANTIZE", 2, [x], a.value(name, a.sheet.shape(x), parameters))
