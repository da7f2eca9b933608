"""Layers that move rows: slices, reshapes and the like, of floats and int8 alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layers import Crop, Group, Last, Pad, Repeat, Reverse, Split, Transpose
from .flatbuffer import Table
from .tflite_assembly import Assembly
from .tflite_plan import Plan


def refused(layer: Any, plan: Plan) -> Iterator[str]:
    """Why a layer that moves rows cannot be written."""
    if isinstance(layer, Last | Reverse) and layer.period:
        yield f"a {type(layer).__name__} of every {layer.period} steps has no operators that read back"
    if plan.streams and isinstance(layer, Pad | Crop) and (layer.left or layer.right):
        yield "a file of one step would do that at every step; write it with the steps of a whole sequence"
    if plan.streams and isinstance(layer, Split | Group) and layer.count > 1:
        yield "a file of one step has no place for several rows; write it with the steps of a whole sequence"


def write(a: Assembly, layer: Any) -> None:
    """Add a layer that moves rows."""
    source, target = layer.reads[0], layer.writes[0]
    if isinstance(layer, Last) and source in a.last and not a.plan.single(source):
        a.index[target] = a.last[source]
        return
    x, shape, sheet = a.index[source], a.plan.shape(target), a.sheet
    match layer:
        case Last():
            y = x if a.plan.single(source) else last(a, x, target)
        case Reverse():
            y = sheet.moved("REVERSE_V2", [x, sheet.whole(f"{target}/axis", [1])], target, shape, int8_version=1)
        case Crop():
            y = sheet.cut(x, 1, layer.left, layer.left + shape[1], target)
        case Pad():
            y = padded(a, x, layer.left, layer.right, target)
        case Repeat():
            y = repeated(a, x, layer.count, target)
        case Split():
            y = a.reshape(x, shape, target)
        case Group():
            whole = layer.count * (1 if layer.single else shape[1])
            if whole < sheet.shape(x)[1]:
                x = sheet.cut(x, 1, 0, whole, f"{layer.name}/whole")
            y = a.reshape(x, shape, target)
        case Transpose():
            y = sheet.transpose(x, (0, 2, 1), target)
        case _:
            raise AssertionError(f"no operators for {layer}")
    a.index[target] = y


def last(a: Assembly, x: int, target: str) -> int:
    """The last step."""
    sheet = a.sheet
    bounds = [sheet.whole(f"{target}/{key}", v) for key, v in _LAST.items()]
    # masks: all of the first and third axis, and of the second to its end, whose axis goes
    options: Table = {0: np.int32(5), 1: np.int32(7), 2: np.int32(0), 3: np.int32(0), 4: np.int32(2)}
    return sheet.moved("STRIDED_SLICE", [x, *bounds], target, a.plan.shape(target), options)


_LAST = {"begin": (0, -1, 0), "end": (0, 0, 0), "strides": (1, 1, 1)}


def padded(a: Assembly, x: int, left: int, right: int, name: str) -> int:
    """Rows of zeros before and after x [N, T, width]."""
    if not left and not right:
        return x
    batch, steps, width = a.sheet.shape(x)
    pads = a.sheet.graph.constant(f"{name}/pads", np.array([[0, 0], [left, right], [0, 0]], np.int32))
    return a.sheet.moved("PAD", [x, pads], name, (batch, left + steps + right, width))


def repeated(a: Assembly, x: int, count: int, name: str) -> int:
    """A row [N, width] as `count` steps."""
    rows, width = a.sheet.shape(x)
    row = a.reshape(x, (rows, 1, width), f"{name}/row")
    shape = (a.plan.batch, count, width)
    return a.sheet.moved("BROADCAST_TO", [row, a.sheet.whole(f"{name}/shape", shape)], name, shape, version=2)
