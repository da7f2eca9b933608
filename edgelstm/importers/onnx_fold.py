"""Nodes that read constants alone, computed in NumPy within bounds: shapes, zeros of unknown batch, axes, weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..errors import CheckpointError
from .onnx_file import Node
from .onnx_settings import Settings
from .onnx_sizes import (
    MAX_ELEMENTS,
    Dim,
    Known,
    Size,
    dims,
    divided,
    full,
    ints,
    known,
    numbers,
    product,
    sizes,
    uniform,
)

Inputs: TypeAlias = Sequence[Known | None]

CASTS = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
    10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64,
}  # fmt: skip
"""ONNX's numbers of types; bfloat16 (16) and the narrower ones are not computed with."""


def fold(node: Node, inputs: Inputs, opset: int) -> list[Known] | None:
    """What a node makes of constants, or None where it is not computed here."""
    function = _FOLDS.get(node.op)
    if function is None or node.domain not in ("", "ai.onnx"):
        return None
    settings = Settings(node)
    try:
        with np.errstate(all="ignore"):
            made = function(node, settings, inputs, opset)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{node.label}: its constants cannot be computed: {reason}") from None
    settings.finish()
    outputs = [_plain(node, value) for value in (made if isinstance(made, list) else [made])]
    if any(value.array.size > MAX_ELEMENTS for value in outputs):
        raise CheckpointError(f"{node.label}: a constant it makes is too large")
    return outputs


def _plain(node: Node, value: Known) -> Known:
    """Numbers as such where no size is among them any more."""
    if value.symbolic and not any(isinstance(v, Size) for v in value.array.flat):
        try:
            return Known(value.array.astype(np.int64), value.shape)
        except (OverflowError, TypeError, ValueError):
            raise CheckpointError(f"{node.label}: a size it computes is impossible") from None
    return value


def given(node: Node, inputs: Sequence[Any], index: int) -> Any:
    """An input that must be there."""
    if index >= len(inputs) or inputs[index] is None:
        raise CheckpointError(f"{node.label}: input {index} is missing")
    return inputs[index]


def optional(inputs: Sequence[Any], index: int) -> Any:
    """An input that may be left out."""
    return inputs[index] if index < len(inputs) else None


def axes(node: Node, settings: Settings, inputs: Sequence[Any], index: int, default: Any = None) -> Any:
    """Axes as an attribute, or as a constant input in later opsets."""
    found = settings.list("axes", int)
    value = optional(inputs, index)
    if value is not None:
        if not isinstance(value, Known):
            raise CheckpointError(f"{node.label}: its axes are computed from what the model reads")
        found = ints(value, node.label)
    return default if found is None else found


def axis_of(node: Node, axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise CheckpointError(f"{node.label}: axis {axis} of {rank} dimensions")
    return axis % rank


def _elementwise(function: Callable[..., Any]) -> Callable[..., Known]:
    def made(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
        values = [given(node, inputs, k) for k in range(len(node.inputs))]
        old_broadcast(node, settings)
        shape = broadcast(node, [v.shape for v in values])
        if prod(np.broadcast_shapes(*(v.array.shape for v in values))) > MAX_ELEMENTS:
            raise CheckpointError(f"{node.label}: a constant it makes is too large")
        return Known(np.asarray(function(*(v.array for v in values))), shape)

    return made


def old_broadcast(node: Node, settings: Settings) -> None:
    """Before opset 7 the second input stands at `axis` of the first; only the place of all later opsets is read."""
    axis, wanted = settings.int("axis"), settings.int("broadcast", 0)
    if wanted and axis not in (None, -1):
        raise CheckpointError(f"{node.label}: axis is {axis}; only the last axes are joined so")


def broadcast(node: Node, shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The shape of several that are joined value by value."""
    rank = max(map(len, shapes))
    made: list[Dim] = []
    for column in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wide = [n for n in column if n != 1]
        if any(n != wide[0] for n in wide):
            raise CheckpointError(f"{node.label}: shapes {', '.join(map(text, shapes))} do not fit together")
        made.append(wide[0] if wide else 1)
    return tuple(made)


def text(shape: Sequence[Dim]) -> str:
    """A shape for a message."""
    return "(" + ", ".join(map(str, shape)) + ")"


def _divide(left: Any, right: Any) -> Any:
    if left.dtype.kind in "fO" or right.dtype.kind == "f":
        return left // right if left.dtype.kind == "O" else left / right
    if not right.all():
        raise ZeroDivisionError("division by zero")
    return np.trunc(left / right).astype(left.dtype)


def _equal(left: Any, right: Any) -> Any:
    for a, b in np.broadcast(left, right):
        if (isinstance(a, Size) or isinstance(b, Size)) and a != b:
            raise CheckpointError("it compares a size that is known only when the model runs")
    return np.asarray(left == right, bool)


def _decided(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers alone."""

    def compare(left: Any, right: Any) -> Any:
        if left.dtype == object or right.dtype == object:
            raise CheckpointError("it computes with a size that is known only when the model runs")
        return function(left, right)

    return compare


def _constant(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        value = settings.any(name)
        if value is not None:
            return known(np.asarray(value, np.float32 if "float" in name else np.int64))
    value = settings.any("value")
    if not isinstance(value, np.ndarray):
        raise CheckpointError(f"{node.label}: a constant of a kind that is not read")
    return known(value)


def _constant_of_shape(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    shape = dims(given(node, inputs, 0), node.label)
    value = settings.any("value")
    value = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return Known(value.reshape((1,) * len(shape)), tuple(shape))


def _cast(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    to = settings.int("to")
    settings.int("saturate")
    settings.text("round_mode")
    if to not in CASTS:
        raise CheckpointError(f"{node.label}: it makes numbers of kind {to}, which are not computed with")
    if value.symbolic:
        if np.dtype(CASTS[to]).kind != "i":
            raise CheckpointError(f"{node.label}: it computes with sizes that are known only when the model runs")
        return value
    return Known(value.array.astype(CASTS[to]), value.shape)


def _identity(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    return value


def _shape(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    return shape_of(settings, given(node, inputs, 0).shape)


def shape_of(settings: Settings, shape: Sequence[Dim]) -> Known:
    """What Shape makes of a shape."""
    start, end = settings.int("start", 0), settings.int("end")
    return sizes(list(shape)[slice(start, end)])


def _repeats(value: Known, axis: int) -> bool:
    return value.array.shape[axis] == 1 and value.shape[axis] != 1


def _gather(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value, index = given(node, inputs, 0), given(node, inputs, 1)
    axis = axis_of(node, settings.int("axis", 0), len(value.shape))
    wanted = numbers(index, node.label).astype(np.int64)
    shape = (*value.shape[:axis], *wanted.shape, *value.shape[axis + 1 :])
    if _repeats(value, axis):
        return Known(np.asarray(np.take(value.array, np.zeros_like(wanted), axis)), shape)
    if value.array.size // max(1, value.array.shape[axis]) * wanted.size > MAX_ELEMENTS:
        raise CheckpointError(f"{node.label}: a constant it makes is too large")
    return Known(np.asarray(np.take(value.array, wanted, axis)), shape)


def slices(node: Node, settings: Settings, inputs: Sequence[Any], rank: int) -> dict[int, tuple[Dim, Dim, int]]:
    """Per axis that Slice cuts: first, end and stride; a first or end may be a size."""
    if optional(inputs, 1) is None:
        starts, ends = settings.list("starts", int), settings.list("ends", int)
        chosen, steps = settings.list("axes", int), None
        if starts is None or ends is None:
            raise CheckpointError(f"{node.label}: starts or ends are missing")
    else:
        lists = [optional(inputs, k) for k in range(1, 5)]
        if any(v is not None and not isinstance(v, Known) for v in lists):
            raise CheckpointError(f"{node.label}: where it cuts is computed from what the model reads")
        starts, ends = (dims(given(node, lists, k), node.label) for k in (0, 1))
        chosen, steps = (None if v is None else ints(v, node.label) for v in lists[2:])
    chosen = list(range(len(starts))) if chosen is None else chosen
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(chosen) == len(steps) or 0 in steps:
        raise CheckpointError(f"{node.label}: starts, ends, axes and steps do not fit together")
    return {
        axis_of(node, axis, rank): (start, end, step)
        for axis, start, end, step in zip(chosen, starts, ends, steps, strict=True)
    }


def _slice(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    for axis, (start, end, step) in slices(node, settings, inputs, len(value.shape)).items():
        size = value.shape[axis]
        if isinstance(start, Size) or isinstance(end, Size) or isinstance(size, Size):
            if start == 0 and step == 1 and (end == size or (isinstance(end, int) and end >= (1 << 31) - 1)):
                continue
            raise CheckpointError(f"{node.label}: it cuts where the size is known only when the model runs")
        count = len(range(size)[slice(start, end, step)])
        array = value.array
        if not _repeats(value, axis):
            array = array[(slice(None),) * axis + (slice(start, end, step),)]
        value = Known(array, (*value.shape[:axis], count, *value.shape[axis + 1 :]))
    return value


def _split(node: Node, settings: Settings, inputs: Inputs, opset: int) -> list[Known]:
    value: Known = given(node, inputs, 0)
    axis = axis_of(node, settings.int("axis", 0), len(value.shape))
    array = full(value, node.label)
    counts = split_sizes(node, settings, inputs, array.shape[axis])
    return [known(part) for part in np.split(array, np.cumsum(counts)[:-1], axis)]


def split_sizes(node: Node, settings: Settings, inputs: Sequence[Any], total: Dim) -> list[int]:
    """The sizes of the parts that Split makes of an axis."""
    counts, given_count = settings.list("split", int), settings.int("num_outputs")
    value = optional(inputs, 1)
    if value is not None:
        if not isinstance(value, Known):
            raise CheckpointError(f"{node.label}: where it cuts is computed from what the model reads")
        counts = ints(value, node.label)
    if not isinstance(total, int):
        raise CheckpointError(f"{node.label}: it cuts an axis whose size is known only when the model runs")
    if counts is None:
        parts = given_count or len(node.outputs)
        each = -(-total // parts)
        counts = [each] * (parts - 1) + [total - each * (parts - 1)]
    if sum(counts) != total or min(counts) < 1 or len(counts) != len(node.outputs):
        raise CheckpointError(f"{node.label}: parts of {counts} from {total}")
    return list(counts)


def _concat(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    values: list[Known] = [given(node, inputs, k) for k in range(len(node.inputs))]
    rank = len(values[0].shape)
    axis = axis_of(node, settings.int("axis", 1), rank)
    if any(len(v.shape) != rank for v in values):
        raise CheckpointError(f"{node.label}: its inputs differ in their number of dimensions")
    shape = list(values[0].shape)
    shape[axis] = 0
    for value in values:
        shape[axis] = shape[axis] + value.shape[axis]
    arrays = []
    for value in values:
        wanted = list(np.broadcast_shapes(*((*v.array.shape[:axis], 1, *v.array.shape[axis + 1 :]) for v in values)))
        size = value.shape[axis]
        if isinstance(size, Size) or (size > MAX_ELEMENTS and _repeats(value, axis)):
            raise CheckpointError(f"{node.label}: it joins a constant whose size is known only when the model runs")
        wanted[axis] = size
        if prod(wanted) > MAX_ELEMENTS:
            raise CheckpointError(f"{node.label}: a constant it makes is too large")
        arrays.append(np.broadcast_to(value.array, wanted))
    return Known(np.concatenate(arrays, axis), tuple(shape))


def _unsqueeze(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    places = inserted(node, axes(node, settings, inputs, 1, []), len(value.shape))
    shape = list(value.shape)
    for place in places:
        shape.insert(place, 1)
    return Known(np.expand_dims(value.array, tuple(places)), tuple(shape))


def inserted(node: Node, places: Sequence[int], rank: int) -> list[int]:
    """Axes that Unsqueeze puts in, counted from the front in order."""
    made = sorted(axis_of(node, place, rank + len(places)) for place in places)
    if len(set(made)) != len(made):
        raise CheckpointError(f"{node.label}: an axis is named twice")
    return made


def _squeeze(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    gone = axes(node, settings, inputs, 1, [k for k, n in enumerate(value.shape) if n == 1])
    gone = {axis_of(node, axis, len(value.shape)) for axis in gone}
    if any(value.shape[axis] != 1 for axis in gone):
        raise CheckpointError(f"{node.label}: it drops a dimension that is not 1 of {text(value.shape)}")
    return Known(np.squeeze(value.array, tuple(gone)), tuple(n for k, n in enumerate(value.shape) if k not in gone))


def _reshape(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    shape = target(node, settings, inputs, value.shape)
    one = uniform(value)
    if one is not None and value.array.shape != value.shape:
        return Known(np.reshape(value.array.flat[:1], (1,) * len(shape)), tuple(shape))
    array = full(value, node.label)
    return known(array.reshape([n for n in shape if isinstance(n, int)]))


def target(node: Node, settings: Settings, inputs: Sequence[Any], shape: Sequence[Dim]) -> list[Dim]:
    """The shape that Reshape asks for, its 0 and -1 replaced."""
    wanted = settings.list("shape", int)
    zero = settings.int("allowzero", 0)
    value = optional(inputs, 1)
    if value is not None:
        if not isinstance(value, Known):
            raise CheckpointError(f"{node.label}: its shape is computed from what the model reads")
        wanted = dims(value, node.label)
    if wanted is None:
        raise CheckpointError(f"{node.label}: its shape is missing")
    if (0 in wanted and zero) or any(n == 0 and k >= len(shape) for k, n in enumerate(wanted)):
        raise CheckpointError(f"{node.label}: shape {text(wanted)} of {text(shape)}")
    made = [shape[k] if n == 0 else n for k, n in enumerate(wanted)]
    total = product(shape)
    if -1 in made:
        # what stays where it is need not be divided by: a sum of sizes, as steps and padding are, cannot be
        kept = {k for k, n in enumerate(made) if k < len(shape) and n == shape[k]}
        moved = product(n for k, n in enumerate(shape) if k not in kept)
        rest = divided(moved, product(n for k, n in enumerate(made) if n != -1 and k not in kept))
        if rest is None or made.count(-1) > 1:
            raise CheckpointError(f"{node.label}: shape {text(wanted)} does not fit to {text(shape)}")
        made[made.index(-1)] = rest
    if product(made) != total:
        raise CheckpointError(f"{node.label}: shape {text(wanted)} does not fit to {text(shape)}")
    return made


def _transpose(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    order = permutation(node, settings, len(value.shape))
    return Known(value.array.transpose(order), tuple(value.shape[k] for k in order))


def permutation(node: Node, settings: Settings, rank: int) -> list[int]:
    """The order of axes that Transpose asks for."""
    order = settings.list("perm", int)
    order = list(reversed(range(rank))) if order is None else [axis_of(node, k, rank) for k in order]
    if sorted(order) != list(range(rank)):
        raise CheckpointError(f"{node.label}: perm is {order} of {rank} dimensions")
    return order


def _expand(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    shape = broadcast(node, [value.shape, tuple(dims(given(node, inputs, 1), node.label))])
    return Known(value.array.reshape((1,) * (len(shape) - value.array.ndim) + value.array.shape), shape)


def _tile(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    value: Known = given(node, inputs, 0)
    counts = dims(given(node, inputs, 1), node.label)
    if len(counts) != len(value.shape):
        raise CheckpointError(f"{node.label}: {len(counts)} repeats of {len(value.shape)} dimensions")
    if all(n == 1 or count == 1 for n, count in zip(value.shape, counts, strict=True)):
        return Known(value.array, tuple(n * count for n, count in zip(value.shape, counts, strict=True)))
    array, times = full(value, node.label), ints(inputs[1], node.label)  # type: ignore[arg-type]
    if array.size * prod(times) > MAX_ELEMENTS:
        raise CheckpointError(f"{node.label}: a constant it makes is too large")
    return known(np.tile(array, times))


def reduced(node: Node, settings: Settings, inputs: Sequence[Any], rank: int) -> tuple[list[int], bool]:
    """The axes that a reduction is over, and whether they stay, with size 1."""
    chosen = axes(node, settings, inputs, 1, [])
    if not chosen and not settings.int("noop_with_empty_axes", 0):
        chosen = list(range(rank))
    settings.int("noop_with_empty_axes")
    return sorted({axis_of(node, axis, rank) for axis in chosen}), bool(settings.int("keepdims", 1))


def _reduce(function: Callable[..., Any]) -> Callable[..., Known]:
    def made(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
        array = full(given(node, inputs, 0), node.label)
        over, keep = reduced(node, settings, inputs, array.ndim)
        return known(function(array, axis=tuple(over), keepdims=keep))

    return made


def _range(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    start, limit, delta = (numbers(given(node, inputs, k), node.label).reshape(-1)[0] for k in range(3))
    if delta == 0 or abs((float(limit) - float(start)) / float(delta)) > MAX_ELEMENTS:
        raise CheckpointError(f"{node.label}: a constant it makes is too large")
    return known(np.arange(start, limit, delta))


def _matmul(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    left, right = (numbers(given(node, inputs, k), node.label) for k in (0, 1))
    if left.ndim > 2 or right.ndim > 2 or left.size * right.shape[-1] > MAX_ELEMENTS * 64:
        raise CheckpointError(f"{node.label}: a product of constants that is too large")
    return known(left @ right)


def _modulo(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    remainder = np.fmod if settings.int("fmod", 0) else np.mod
    return _elementwise(_decided(remainder))(node, settings, inputs, opset)


def _where(node: Node, settings: Settings, inputs: Inputs, opset: int) -> Known:
    return _elementwise(np.where)(node, settings, inputs, opset)


_FOLDS: dict[str, Callable[[Node, Settings, Inputs, int], Known | list[Known]]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": _identity,
    "Cast": _cast,
    "Shape": _shape,
    "Size": lambda n, s, i, o: known(np.int64(prod(full(given(n, i, 0), n.label).shape))),
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "MatMul": _matmul,
    "Where": _where,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
    "Mod": _modulo,
    "Neg": _elementwise(lambda a: -a),
    "Abs": _elementwise(np.abs),
    "Sqrt": _elementwise(np.sqrt),
    "Reciprocal": _elementwise(lambda a: (1 / a).astype(a.dtype)),
    "Pow": _elementwise(lambda a, b: (a**b).astype(a.dtype)),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Min": _elementwise(lambda *a: np.minimum.reduce(np.broadcast_arrays(*a))),
    "Max": _elementwise(lambda *a: np.maximum.reduce(np.broadcast_arrays(*a))),
    "Equal": _elementwise(_equal),
    "Less": _elementwise(_decided(np.less)),
    "LessOrEqual": _elementwise(_decided(np.less_equal)),
    "Greater": _elementwise(_decided(np.greater)),
    "GreaterOrEqual": _elementwise(_decided(np.greater_equal)),
    "And": _elementwise(np.logical_and),
    "Or": _elementwise(np.logical_or),
    "Not": _elementwise(np.logical_not),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}
