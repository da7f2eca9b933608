"""Operations that read one tensor: other views, some of its steps or values, functions, normalisations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..errors import CheckpointError
from ..layers import LARGEST, LINEAR, LOG_SIGMOID, Activate, Activation, Combine, Embedding, LayerNorm, SoftmaxSteps
from ..model import Array
from . import onnx_cells, onnx_joins, onnx_windows
from .onnx_build import MAX_DIAGONAL, Build
from .onnx_file import Node
from .onnx_fold import (
    CASTS,
    axes,
    axis_of,
    broadcast,
    given,
    inserted,
    optional,
    permutation,
    shape_of,
    slices,
    split_sizes,
    target,
    text,
)
from .onnx_joins import data_of
from .onnx_settings import Settings
from .onnx_sizes import Dim, Known, Size, dims, numbers, product, uniform
from .onnx_values import Atom, Data, Lengths, Order, Scores, Value, places, reshaped, squeezed, transposed, unsqueezed
from .torch_pickle import shown

Inputs: TypeAlias = list[Value | None]
Operation: TypeAlias = Callable[[Build, Node, Settings, Inputs], Value | list[Value]]


# ---- views ----


def _identity(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    value: Value = given(node, inputs, 0)
    return value


def _cast(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    value = given(node, inputs, 0)
    to = settings.int("to")
    settings.int("saturate")
    settings.text("round_mode")
    kind = np.dtype(CASTS.get(to, np.float16)).name
    if isinstance(value, Lengths | Order) and kind in ("int32", "int64"):
        return value
    data = data_of(node, value)
    if kind in ("float32", "float64"):
        if data.kind == "cut":
            raise CheckpointError(f"{node.label}: it cuts off fractions, which no layer does")
        return replace(data, kind="float")
    if kind in ("int32", "int64"):
        return replace(data, kind="whole" if data.kind == "whole" else "cut")
    raise CheckpointError(f"{node.label}: it makes numbers of kind {to}, in which the model does not compute")


def _dropout(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    settings.int("is_test")
    training = optional(inputs, 2)
    if training is not None and not (isinstance(training, Known) and uniform(training) == 0):
        raise CheckpointError(f"{node.label}: it drops values while the model runs")
    return data_of(node, given(node, inputs, 0))


def _shape(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    value = given(node, inputs, 0)
    if isinstance(value, Lengths | Order):
        return shape_of(settings, (build.batch.size,))
    return shape_of(settings, value.shape)


def _size(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    array = np.empty((), object)
    array[()] = product(data_of(node, given(node, inputs, 0)).shape)
    return Known(array, ())


def _transpose(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    return transposed(data, permutation(node, settings, len(data.axes)))


def _squeeze(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    gone = axes(node, settings, inputs, 1, [k for k, axis in enumerate(data.axes) if not axis])
    return squeezed(node, data, [axis_of(node, k, len(data.axes)) for k in gone])


def _unsqueeze(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    return unsqueezed(data, inserted(node, axes(node, settings, inputs, 1, []), len(data.axes)))


def _reshape(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    return _shaped(build, node, data, target(node, settings, inputs, data.shape))


def _flatten(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    rank = len(data.axes)
    axis = settings.int("axis", 1)
    axis = rank if axis == rank else axis_of(node, axis, rank)
    return _shaped(build, node, data, [product(data.shape[:axis]), product(data.shape[axis:])])


def _shaped(build: Build, node: Node, data: Data, shape: list[Dim]) -> Data:
    if len(shape) > 16:
        raise CheckpointError(f"{node.label}: {len(shape)} dimensions")
    made = reshaped(node, data, shape, build.batch)
    if len(data.pieces) > 1 and made.values[0] is not data.values[0]:
        made = reshaped(node, build.whole(node, data), shape, build.batch)
    return made


def _expand(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    wanted = given(node, inputs, 1)
    if not isinstance(wanted, Known):
        raise CheckpointError(f"{node.label}: its shape is computed from what the model reads")
    shape = broadcast(node, [data.shape, tuple(dims(wanted, node.label))])
    data = data.seen([()] * (len(shape) - len(data.axes)) + list(data.axes))
    return _grown(build, node, data, shape)


def _tile(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    repeats = given(node, inputs, 1)
    if not isinstance(repeats, Known):
        raise CheckpointError(f"{node.label}: its repeats are computed from what the model reads")
    counts = dims(repeats, node.label)
    if len(counts) != len(data.axes) or any(c != 1 and n != 1 for c, n in zip(counts, data.shape, strict=True)):
        raise CheckpointError(f"{node.label}: repeats {text(counts)} of {text(data.shape)}, which no layer does")
    return _grown(build, node, data, tuple(n * c for n, c in zip(data.shape, counts, strict=True)))


def _grown(build: Build, node: Node, data: Data, shape: tuple[Dim, ...]) -> Data:
    """An axis of size 1 repeated, as a sequence of equal steps."""
    growing = [k for k, n in enumerate(shape) if n != data.shape[k]]
    if not growing:
        return data
    count = shape[growing[0]]
    if len(growing) > 1 or isinstance(count, Size):
        raise CheckpointError(f"{node.label}: it repeats {text(data.shape)} to {text(shape)}, which no layer does")
    return build.repeated(node, data, growing[0], count)


# ---- some steps, some values ----


def _gather(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    value, index = given(node, inputs, 0), given(node, inputs, 1)
    if isinstance(value, Known):
        return _embedding(build, node, settings, value, data_of(node, index))
    data = data_of(node, value)
    axis = axis_of(node, settings.int("axis", 0), len(data.axes))
    if isinstance(index, Order) and data.axes[axis] == tuple(a for a in (build.batch,) if a.size != 1):
        return data
    if not isinstance(index, Known):
        raise CheckpointError(f"{node.label}: what it takes is computed from what the model reads")
    wanted = dims(Known(index.array.reshape(-1), (product(index.shape),)), node.label)
    made = _taken(build, node, data, axis, wanted)
    return made.seen([*made.axes[:axis], *_indexed(node, made, axis, index), *made.axes[axis + 1 :]])


def _top(build: Build, node: Node, settings: Settings, inputs: Inputs) -> list[Value]:
    """Lengths in order, and that order, as PyTorch's exporter sorts sequences before it packs them."""
    value, count = given(node, inputs, 0), optional(inputs, 1)
    axis, every = settings.int("axis", -1), settings.int("k")
    settings.int("largest"), settings.int("sorted")
    wanted = dims(count, node.label) if isinstance(count, Known) else [every]
    if not isinstance(value, Lengths) or axis not in (0, -1) or wanted != [build.batch.size]:
        raise CheckpointError(f"{node.label}: an operation that no layer does, but that sorts lengths of sequences")
    return [value, Order()]


def _indexed(node: Node, made: Data, axis: int, index: Known) -> list[tuple[Atom, ...]]:
    """The axes that stand where an axis was indexed by a constant."""
    if len(index.shape) == 0:
        return []
    if len(index.shape) > 1:
        raise CheckpointError(f"{node.label}: it indexes with {len(index.shape)} dimensions")
    return [made.axes[axis]]


def _embedding(build: Build, node: Node, settings: Settings, table: Known, ids: Data) -> Data:
    array = numbers(table, node.label)
    if array.ndim != 2 or axis_of(node, settings.int("axis", 0), array.ndim) != 0:
        raise CheckpointError(f"{node.label}: it looks values up in a constant of shape {text(array.shape)}")
    if ids.kind == "float":
        raise CheckpointError(f"{node.label}: it looks values up by numbers that are not whole")
    tensor = build.whole(node, ids).pieces[0][0]
    columns = Atom(array.shape[1])
    made = build.emit(Embedding, node, (tensor,), ids.width * array.shape[1], table=array)
    return Data(((made, 0),), (*ids.order, columns), ids.split, ()).seen([*ids.axes, (columns,)])


def _taken(build: Build, node: Node, data: Data, axis: int, indices: list[Dim]) -> Data:
    """Some of an axis: a step, a run of steps, or values."""
    atoms = data.axes[axis]
    size = data.shape[axis]
    if not atoms:
        if any(index not in (0, -1) for index in indices) or len(indices) != 1:
            raise CheckpointError(f"{node.label}: index {text(indices)} of an axis of size 1")
        return data
    if all(atom in data.values for atom in atoms) and isinstance(size, int):
        plain = [index for index in indices if isinstance(index, int)]
        if len(plain) != len(indices) or any(not -size <= index < size for index in plain):
            raise CheckpointError(f"{node.label}: index {text(indices)} of {text(data.shape)}")
        return build.chosen(node, data, axis, [index % size for index in plain])
    placed = build.step_axis(node, data, axis)
    if placed is None or len(indices) != 1:
        raise CheckpointError(f"{node.label}: it takes {text(indices)} of axis {axis} of {text(data.shape)}")
    before, behind = _ends(node, indices[0], size)
    if behind == 0:
        return build.last(node, placed, axis)
    if before == 0:
        return build.first(node, placed, axis)
    if (
        isinstance(size, int) and before and behind and build.many_cuts(0, behind)
    ):  # as unrolled cells take step after step
        if size * data.width > MAX_DIAGONAL:
            raise CheckpointError(
                f"{node.label}: one by one it takes more steps of {size} than can be followed, as unrolled layers do; "
                "import the checkpoint it was converted from instead"
            )
        together = build.settle(node, data, data.order)
        return build.chosen(node, together, axis, [before])
    if behind is not None:
        return build.last(node, build.cropped(node, placed, axis, 0, behind), axis)
    assert before is not None
    placed = build.reversed(node, placed)
    return build.last(node, build.cropped(node, placed, axis, 0, before), axis)


def _ends(node: Node, index: Dim, size: Dim) -> tuple[int | None, int | None]:
    """How many steps stand before and behind an index, None where the number of steps is needed for it."""
    if isinstance(index, int) and not isinstance(size, int):
        return (index, None) if index >= 0 else (None, -1 - index)
    behind = size - 1 - index if not isinstance(index, int) or index >= 0 else -1 - index
    before = size - 1 - behind
    if not isinstance(behind, int) or behind < 0 or (isinstance(before, int) and before < 0):
        raise CheckpointError(f"{node.label}: step {index} of {size}")
    return before if isinstance(before, int) else None, behind


def _slice(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    for axis, (start, end, step) in slices(node, settings, inputs, len(data.axes)).items():
        data = _sliced(build, node, data, axis, start, end, step)
    return data


def _sliced(build: Build, node: Node, data: Data, axis: int, start: Dim, end: Dim, step: int) -> Data:
    size, atoms = data.shape[axis], data.axes[axis]
    if start == 0 and step == 1 and (end == size or (isinstance(end, int) and end >= (1 << 31) - 1)):
        return data
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        indices = range(size)[slice(start, end, step)]  # not listed: a file may say any size
        if indices == range(size):
            return data
        if not indices:
            raise CheckpointError(f"{node.label}: it leaves nothing of {text(data.shape)}")
        if all(atom in data.values for atom in atoms):
            return build.chosen(node, data, axis, list(indices))
        start, end = indices[0], indices[-1] + (1 if step > 0 else -1)
    placed = build.step_axis(node, data, axis)
    if placed is None:
        raise CheckpointError(f"{node.label}: it cuts axis {axis} of {text(data.shape)}")
    if step == -1 and _whole_backwards(start, end, size):
        return build.reversed(node, placed)
    if step != 1:
        raise CheckpointError(f"{node.label}: it takes every step {step}; only all steps in order are taken")
    left = _left(node, start, size)
    right = 0 if isinstance(end, int) and end >= (1 << 31) - 1 else _right(node, end, size)
    if right is None or left is None:
        if left is None and right == 0 and isinstance(start, int):  # the last few of an open number
            return _tail(build, node, placed, axis, -start)
        if left is not None and isinstance(end, int) and end - left == 1:
            return _taken(build, node, placed, axis, [left])
        raise CheckpointError(f"{node.label}: from {start} to {end} of {size} steps cannot be followed")
    if isinstance(size, int) and left + right >= size:
        return _empty(node)
    if isinstance(size, int) and size - left - right == 1:
        return build.last(node, build.cropped(node, placed, axis, 0, right), axis)
    return build.cropped(node, placed, axis, left, right)


def _empty(node: Node) -> Data:
    raise CheckpointError(f"{node.label}: it leaves no steps")


def _tail(build: Build, node: Node, data: Data, axis: int, count: int) -> Data:
    """The last step of an open number; more than one would need their number."""
    if count == 1:
        return build.last(node, data, axis)
    raise CheckpointError(f"{node.label}: it takes {count} of an open number of steps; export it with a fixed number")


def _whole_backwards(start: Dim, end: Dim, size: Dim) -> bool:
    first = start == -1 or start == size - 1 or (isinstance(start, int) and start >= (1 << 31) - 1)
    return first and isinstance(end, int) and (end <= -(1 << 31) + 1 or end == -1 or end == -1 - size)


def _left(node: Node, start: Dim, size: Dim) -> int | None:
    """Steps before the first that is taken; None where that needs an unknown number of steps."""
    if isinstance(start, int) and start >= 0:
        return start
    found = start - 0 if not isinstance(start, int) else size + start
    return max(0, found) if isinstance(found, int) else None


def _right(node: Node, end: Dim, size: Dim) -> int | None:
    """Steps behind the last that is taken."""
    if isinstance(end, int) and end < 0:
        return -end
    found = size - end
    return max(0, found) if isinstance(found, int) else None


def _split(build: Build, node: Node, settings: Settings, inputs: Inputs) -> list[Value]:
    data = data_of(node, given(node, inputs, 0))
    axis = axis_of(node, settings.int("axis", 0), len(data.axes))
    made: list[Value] = []
    at = 0
    for count in split_sizes(node, settings, inputs, data.shape[axis]):
        made.append(_sliced(build, node, data, axis, at, at + count, 1))
        at += count
    return made


def _reverse_sequence(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    axis = axis_of(node, settings.int("time_axis", 0), len(data.axes))
    settings.int("batch_axis", 1)
    lengths = optional(inputs, 1)
    placed = build.step_axis(node, data, axis)
    every = isinstance(lengths, Known) and all(n == data.shape[axis] for n in lengths.array.flat)
    if placed is None or not every:
        raise CheckpointError(f"{node.label}: it reverses each sequence by a length of its own, which no layer does")
    return build.reversed(node, placed)


# ---- functions ----


def _function(name: str, alpha: float | None = None) -> Operation:
    def made(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
        value = 0.0 if alpha is None else settings.float("alpha", alpha)
        return build.activated(node, data_of(node, given(node, inputs, 0)), Activation(name, value))

    return made


def _selu(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    alpha, gamma = settings.float("alpha", 1.6732632), settings.float("gamma", 1.0507010)
    data = data_of(node, given(node, inputs, 0))
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.0507010) < 1e-6:
        return build.activated(node, data, Activation("selu"))
    return build.scaled(node, build.activated(node, data, Activation("elu", alpha)), gamma, 0, ".gamma")


def _numbered(name: str, **defaults: float) -> Operation:
    """A function of values with numbers that stand in the attributes."""

    def made(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
        values = [settings.float(key, value) for key, value in defaults.items()]
        return build.activated(node, data_of(node, given(node, inputs, 0)), Activation(name, *values))

    return made


def _hard_sigmoid(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    function = onnx_cells.hard_sigmoid(settings.float("alpha", 0.2), settings.float("beta", 0.5))
    return build.activated(node, data_of(node, given(node, inputs, 0)), function)


def _swish(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data, alpha = data_of(node, given(node, inputs, 0)), settings.float("alpha", 1.0)
    if alpha == 1:
        return build.activated(node, data, Activation("silu"))
    gate = build.activated(node, build.scaled(node, data, alpha, 0, ".alpha"), Activation("sigmoid"))
    return onnx_joins.combined(build, node, [data, gate], "multiply")


def _gelu(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    form = settings.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise CheckpointError(f"{node.label}: approximate is {shown(form)}")
    name = "gelu" if form == "none" else "gelu_tanh"
    return build.activated(node, data_of(node, given(node, inputs, 0)), Activation(name))


def _clip(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    bounds: list[float | None] = [settings.float("min"), settings.float("max")]
    for k, index in enumerate((1, 2)):
        value = optional(inputs, index)
        if value is not None:
            one = uniform(value) if isinstance(value, Known) else None
            bounds[k] = np.nan if one is None else one
    if any(bound != bound for bound in bounds):
        raise CheckpointError(f"{node.label}: it clips at bounds that are no constant numbers")
    low, high = bounds
    low = None if low is None or low <= -LARGEST else low
    high = None if high is None or high >= LARGEST else high
    if low == 0 and high == 6:
        return build.activated(node, data, Activation("relu6"))
    if low is None and high is None:
        return data
    if low == 0 and high is None:
        return build.activated(node, data, Activation("relu"))
    clip = Activation("clip", -LARGEST if low is None else low, LARGEST if high is None else high)
    return build.activated(node, data, clip)


def _prelu(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    slope = given(node, inputs, 1)
    one = uniform(slope) if isinstance(slope, Known) else None
    if one is None:
        raise CheckpointError(f"{node.label}: a slope for each value, which no function has")
    return build.activated(node, data_of(node, given(node, inputs, 0)), Activation("leaky_relu", one))


_LOGARITHMS = {"sigmoid": LOG_SIGMOID, "softmax": Activation("log_softmax"), "exponential": LINEAR}


def _log(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    """The logarithm of a sigmoid or softmax, with neither's small values on the way."""
    data = data_of(node, given(node, inputs, 0))
    before = build.writers.get(build.read(node, data))
    if not isinstance(before, Activate) or before.activation.name not in _LOGARITHMS:
        raise CheckpointError(f"{node.label}: a logarithm of other than Sigmoid, Softmax or Exp, which no layer does")
    source = replace(data, pieces=((before.reads[0], 0),))
    return build.activated(node, source, _LOGARITHMS[before.activation.name])


def _negative(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    return build.scaled(node, data_of(node, given(node, inputs, 0)), -1, 0)


def _power(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data, exponent = data_of(node, given(node, inputs, 0)), given(node, inputs, 1)
    if not isinstance(exponent, Known) or uniform(exponent) != 2:
        raise CheckpointError(f"{node.label}: a power other than 2, which no layer computes")
    tensor = build.read(node, data)
    made = build.emit(Combine, node, (tensor, tensor), data.width, kind="multiply")
    return replace(data, pieces=((made, 0),))


def _softmax(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    value = given(node, inputs, 0)
    axis = settings.int("axis", 1 if build.opset < 13 else -1)
    rank = len(value.shape)
    axis = axis_of(node, axis, rank)
    if isinstance(value, Scores):
        if axis != rank - 1 or value.weights or node.op != "Softmax":
            raise CheckpointError(f"{node.label}: a softmax over other than the keys of an attention")
        return replace(value, weights=True)
    data = data_of(node, value)
    over = range(axis, rank) if build.opset < 13 else [axis]  # before opset 13 all axes behind are one
    atoms = [atom for k in over for atom in data.axes[k]]
    if build.batch in atoms:
        raise CheckpointError(f"{node.label}: a softmax over the sequences of a batch")
    if node.op == "LogSoftmax":
        if any(atom in data.steps for atom in atoms):
            raise CheckpointError(f"{node.label}: the logarithm of a softmax over the steps, which no layer does")
        return build.activated(node, build.settle(node, data, atoms), Activation("log_softmax"))
    if atoms and all(atom in data.steps for atom in atoms):
        data = build.settle(node, data, [a for a in data.order if a not in atoms])
        if {a for a in data.steps if a.size != 1} == set(atoms):
            tensor = build.emit(SoftmaxSteps, node, (build.read(node, data),), data.width)
            return replace(data, pieces=((tensor, 0),))
    data = build.settle(node, data, atoms)
    return build.activated(node, data, Activation("softmax"))


# ---- normalisations ----


def _batch_norm(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    reason = "only statistics of the training, one for each value, are read"
    settings.only("training_mode", int, 0, reason)
    settings.only("spatial", int, 1, reason)
    settings.int("is_test")
    epsilon = settings.float("epsilon", 1e-5)
    arrays = []
    for k in range(1, 5):
        value = given(node, inputs, k)
        if not isinstance(value, Known):
            raise CheckpointError(f"{node.label}: its statistics are no constants of the file")
        arrays.append(numbers(value, node.label).astype(np.float64).reshape(-1))
    scale, offset, mean, variance = arrays
    axis = 1 if len(data.axes) > 1 else 0
    data = build.settle(node, data, data.axes[axis])
    columns = places(data, [data.axes[axis]])
    if any(len(a) != len(columns) for a in arrays):
        raise CheckpointError(f"{node.label}: statistics of {len(scale)} values for {len(columns)}")
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
    if not np.isfinite(factor).all():
        raise CheckpointError(f"{node.label}: a variance is negative, or a number is not finite")
    return build.scaled(node, data, factor[columns], (offset - mean * factor)[columns])


def _layer_norm(build: Build, node: Node, settings: Settings, inputs: Inputs) -> Value:
    data = data_of(node, given(node, inputs, 0))
    axis = axis_of(node, settings.int("axis", -1), len(data.axes))
    epsilon = settings.float("epsilon", 1e-5)
    parts: list[Array] = []
    for k, default in ((1, 1.0), (2, 0.0)):
        value = optional(inputs, k)
        if value is not None and not isinstance(value, Known):
            raise CheckpointError(f"{node.label}: its scale is no constant of the file")
        parts.append(np.full(1, default) if value is None else numbers(value, node.label))
    over = range(axis, len(data.axes))
    return normalised(build, node, data, over, parts[0], parts[1], epsilon, node.op == "RMSNormalization")


def normalised(
    build: Build,
    node: Node,
    data: Data,
    over: Sequence[int],
    scale: Array,
    offset: Array,
    epsilon: float,
    rms: bool = False,
) -> Data:
    """LayerNorm over some axes; scale and offset of their shape, or one that is broadcast to it."""
    data = build.settle(node, data, [atom for k in over for atom in data.axes[k]])
    columns = places(data, [data.axes[k] for k in over])
    sizes = [n for n in (data.shape[k] for k in over) if isinstance(n, int)]
    try:
        arrays = [np.broadcast_to(a, sizes).reshape(-1)[columns] for a in (scale, offset)]
    except ValueError:
        shapes = " and ".join(text(a.shape) for a in (scale, offset))
        raise CheckpointError(f"{node.label}: scale and offset of shapes {shapes} for {text(sizes)}") from None
    fields = {"scale": arrays[0], "offset": arrays[1], "epsilon": epsilon, "rms": rms}
    tensor = build.emit(LayerNorm, node, (build.read(node, data),), data.width, **fields)
    return replace(data, pieces=((tensor, 0),))


OPERATIONS: dict[str, Operation] = {
    "LSTM": onnx_cells.cell,
    "GRU": onnx_cells.cell,
    "RNN": onnx_cells.cell,
    "Identity": _identity,
    "Cast": _cast,
    "Dropout": _dropout,
    "Shape": _shape,
    "Size": _size,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "Tile": _tile,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "ReverseSequence": _reverse_sequence,
    "Relu": _function("relu"),
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Exp": _function("exponential"),
    "LeakyRelu": _function("leaky_relu", 0.01),
    "Elu": _function("elu", 1.0),
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _function("hard_silu"),
    "Mish": _function("mish"),
    "ThresholdedRelu": _numbered("threshold", alpha=1.0),
    "Shrink": _numbered("shrink", lambd=0.5, bias=0.0),
    "Celu": _function("celu", 1.0),
    "Swish": _swish,
    "Gelu": _gelu,
    "Clip": _clip,
    "PRelu": _prelu,
    "Neg": _negative,
    "Pow": _power,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Log": _log,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _layer_norm,
    "Add": onnx_joins.arithmetic,
    "Sub": onnx_joins.arithmetic,
    "Mul": onnx_joins.arithmetic,
    "Div": onnx_joins.arithmetic,
    "Sum": onnx_joins.arithmetic,
    "Mean": onnx_joins.arithmetic,
    "Max": onnx_joins.arithmetic,
    "Min": onnx_joins.arithmetic,
    "Concat": onnx_joins.concat,
    "MatMul": onnx_joins.matmul,
    "Gemm": onnx_joins.gemm,
    "Conv": onnx_windows.conv,
    "MaxPool": onnx_windows.pool,
    "AveragePool": onnx_windows.pool,
    "GlobalAveragePool": onnx_windows.global_pool,
    "GlobalMaxPool": onnx_windows.global_pool,
    "ReduceMean": onnx_windows.reduce,
    "ReduceMax": onnx_windows.reduce,
    "ReduceSum": onnx_windows.reduce,
    "Pad": onnx_windows.pad,
    "TopK": _top,
}
