"""Operations that read several tensors: sums and products, concatenation, matrix products, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import CheckpointError
from ..layers import MAX_READS, Attention, Combine, Dense, Reduce
from ..model import Array
from .onnx_build import Build
from .onnx_file import Node
from .onnx_fold import axis_of, given, old_broadcast, optional, text
from .onnx_settings import Settings
from .onnx_sizes import Known, numbers, product, uniform
from .onnx_values import Atom, Axis, Data, Scores, Value, places, transposed

_KINDS = {"Add": "add", "Sum": "add", "Sub": "subtract", "Mul": "multiply", "Max": "maximum", "Min": "minimum"}
_KINDS |= {"Mean": "average"}


def arithmetic(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """Add, Sub, Mul, Div, Sum, Mean, Max and Min."""
    if build.opset < 7:
        old_broadcast(node, settings)
    values = [given(node, inputs, k) for k in range(len(node.inputs))]
    if len(values) == 1:
        return data_of(node, values[0])
    scores = [v for v in values if isinstance(v, Scores)]
    if scores and len(values) == 2:
        return _scored(node, values)
    constants = [v for v in values if isinstance(v, Known)]
    if not constants:
        if node.op == "Div":
            raise CheckpointError(f"{node.label}: it divides one tensor by another, which no layer does")
        return combined(build, node, [data_of(node, v) for v in values], _KINDS[node.op])
    if len(values) != 2 or node.op not in ("Add", "Sum", "Sub", "Mul", "Div"):
        raise CheckpointError(f"{node.label}: it joins a constant with what the model reads in a way no layer does")
    data, constant = _pair(node, values)
    first = isinstance(values[0], Known)
    data, column = build.column(node, data, constant)
    match node.op:
        case "Add" | "Sum":
            return build.scaled(node, data, 1, column)
        case "Sub":
            return build.scaled(node, data, -1, column) if first else build.scaled(node, data, 1, -column)
        case "Mul":
            return build.scaled(node, data, column, 0)
    if first or not column.all():
        raise CheckpointError(f"{node.label}: it divides by {'a tensor' if first else 'zero'}, which no layer does")
    return build.scaled(node, data, 1 / column, 0)


def _pair(node: Node, values: Sequence[Value]) -> tuple[Data, Known]:
    constants = [v for v in values if isinstance(v, Known)]
    others = [v for v in values if not isinstance(v, Known)]
    return data_of(node, others[0]), constants[0]


def data_of(node: Node, value: Value | None) -> Data:
    """A value that the model computes."""
    if isinstance(value, Data):
        return value
    what = {Known: "a constant", Scores: "the scores of an attention"}.get(type(value), "the lengths of sequences")
    raise CheckpointError(f"{node.label}: it reads {what} where only what the model computes can stand")


# ---- value by value ----


def combined(build: Build, node: Node, values: Sequence[Data], kind: str) -> Data:
    """Views of the same shape joined value by value; a row or a value may serve all."""
    rank = max(len(v.axes) for v in values)
    values = [v.seen([()] * (rank - len(v.axes)) + list(v.axes)) for v in values]
    values, order, split, axes = _aligned(build, node, values)
    tensors = [build.read(node, v) for v in values]
    width = max(v.width for v in values)
    while len(tensors) > MAX_READS:
        if kind == "average":
            raise CheckpointError(f"{node.label}: the mean of more than {MAX_READS} tensors")
        tensors = [build.emit(Combine, node, tensors[:MAX_READS], width, kind=kind), *tensors[MAX_READS:]]
    tensor = build.emit(Combine, node, tensors, width, kind=kind)
    return Data(((tensor, 0),), order, split, ()).seen(axes)


def _aligned(build: Build, node: Node, values: Sequence[Data]) -> tuple[list[Data], Axis, int, list[Axis]]:
    """Views whose steps and values stand on the same axes in the same order; what joins them has the rest."""
    misfit = CheckpointError(f"{node.label}: shapes {', '.join(text(v.shape) for v in values)} cannot be joined")
    axes: list[Axis] = []
    for column in zip(*(v.axes for v in values), strict=True):
        wide = [axis for axis in column if axis]
        sizes = {text(v.shape[len(axes) : len(axes) + 1]) for v in values if v.axes[len(axes)]}
        if len(sizes) > 1 or 0 < sum(build.batch in axis for axis in wide) < len(wide):
            raise misfit
        axes.append(wide[0] if wide else ())
    if sum(build.batch in axis for axis in axes) > 1:
        raise misfit
    widest = max(values, key=lambda v: (any(a.size != 1 for a in v.steps), v.width))
    inner = [k for k, axis in enumerate(widest.axes) if any(atom in widest.values for atom in axis)]
    settled = []
    for v in values:
        atoms = [atom for k, axis in enumerate(v.axes) for atom in axis if k in inner and atom is not build.batch]
        if any(a in v.steps for a in atoms) or any(
            a in v.values for k, axis in enumerate(v.axes) for a in axis if k not in inner
        ):
            v = build.settle(node, v, atoms)
        settled.append(v)
    longest = max(settled, key=lambda v: any(a.size != 1 for a in v.steps))
    several = any(a.size != 1 for a in longest.steps)
    if several or any(not v.steps for v in settled):
        settled = [v if any(a.size != 1 for a in v.steps) else build.alone(node, v) for v in settled]
    longest = max(settled, key=lambda v: len(v.steps))
    broadest = max(settled, key=lambda v: v.width)
    pattern = places(broadest, _value_axes(broadest))
    for v in settled:
        if v.width not in (1, broadest.width):
            raise misfit
        if v.width != 1 and (places(v, _value_axes(v)) != pattern).any():
            raise CheckpointError(f"{node.label}: what it joins has its values in different orders")
    axes = []
    for k in range(len(longest.axes)):
        steps = [a for a in longest.axes[k] if a not in longest.values]
        inner_atoms = [a for a in broadest.axes[k] if a in broadest.values]
        others = [a for v in settled for a in v.axes[k] if a is build.batch][:1]
        axes.append(tuple(steps if steps else others) + tuple(inner_atoms))
        sizes = {text((product(a.size for a in axis),)) for v in settled for axis in (v.axes[k], axes[k]) if axis}
        if len(sizes) > 1 or (not axes[k] and any(v.axes[k] for v in settled)):
            raise misfit  # steps of one along an axis, of another along another
    return settled, (*longest.steps, *broadest.values), len(longest.steps), axes


def _value_axes(data: Data) -> list[Axis]:
    return [tuple(atom for atom in axis if atom in data.values) for axis in data.axes]


def concat(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """Concat of values, or of rows that then stand one after the other."""
    values = [data_of(node, given(node, inputs, k)) for k in range(len(node.inputs))]
    axis = axis_of(node, settings.int("axis", 1), len(values[0].axes))
    if len(values) == 1:
        return values[0]
    if any(len(v.axes) != len(values[0].axes) for v in values):
        raise CheckpointError(f"{node.label}: its inputs differ in their number of dimensions")
    if any(atom is build.batch or (atom in v.steps) for v in values for atom in v.axes[axis]):
        raise CheckpointError(f"{node.label}: it joins sequences one after another, which no layer does")
    rest = [v.seen((*v.axes[:axis], (), *v.axes[axis + 1 :])) for v in values]
    shapes = {text(v.shape) for v in rest}
    if len(shapes) > 1:
        raise CheckpointError(f"{node.label}: shapes {', '.join(text(v.shape) for v in values)} cannot be joined")
    if any(not v.steps for v in values):
        values = [build.alone(node, v) for v in values]
    pieces: list[tuple[str, int]] = []
    kept = None
    for v in values:
        atoms = v.axes[axis]
        inner = [a for a in v.values if a.size != 1]
        order = places(v, [atoms, *(a for k, a in enumerate(_value_axes(v)) if k != axis)])
        if (order != np.arange(v.width)).any():
            raise CheckpointError(f"{node.label}: it joins along axis {axis} of {text(v.shape)}, inside other values")
        kept = kept or inner[len(atoms) :]
        size = v.shape[axis]
        assert isinstance(size, int)
        if len(v.pieces) > 1 and list(atoms) == inner[:1]:
            pieces += v.pieces
        else:
            pieces.append((build.whole(node, v).pieces[0][0], size))
    made = Atom(sum(size for _, size in pieces))
    head = values[0]
    rest_atoms = [a for a in head.values if a.size != 1 and a not in head.axes[axis]]
    axes = [*head.axes]
    axes[axis] = (made,)
    kinds = {v.kind for v in values}
    if len(kinds) > 1:
        raise CheckpointError(f"{node.label}: it joins whole numbers and others")
    return Data(tuple(pieces), (*head.steps, made, *rest_atoms), head.split, (), kinds.pop()).seen(axes)


# ---- matrix products ----


def matmul(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """A Dense layer, or the two products of an attention."""
    left, right = given(node, inputs, 0), given(node, inputs, 1)
    if isinstance(right, Known):
        array = numbers(right, node.label)
        while array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        data = data_of(node, left)
        if array.ndim != 2 or not data.axes:
            raise CheckpointError(f"{node.label}: weights of shape {text(right.shape)}, expected two dimensions")
        return build.dense(node, data, len(data.axes) - 1, array)
    if isinstance(left, Known):
        array, data = numbers(left, node.label), data_of(node, right)
        if array.ndim != 2 or len(data.axes) < 2:
            raise CheckpointError(f"{node.label}: weights of shape {text(left.shape)}, expected two dimensions")
        return build.dense(node, data, len(data.axes) - 2, array.T)
    if isinstance(left, Scores):
        return _attended(build, node, left, data_of(node, right))
    return _product(build, node, data_of(node, left), data_of(node, right))


def gemm(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """alpha A B + beta C, B and C constants."""
    alpha, beta = settings.float("alpha", 1.0), settings.float("beta", 1.0)
    turned = settings.int("transA", 0), settings.int("transB", 0)
    settings.int("broadcast")
    data, weights = data_of(node, given(node, inputs, 0)), given(node, inputs, 1)
    if len(data.axes) != 2:
        raise CheckpointError(f"{node.label}: it multiplies {text(data.shape)}, expected two dimensions")
    if turned[0]:
        data = transposed(data, (1, 0))
    if not isinstance(weights, Known):
        raise CheckpointError(f"{node.label}: its matrix is no constant of the file")
    array = numbers(weights, node.label)
    if array.ndim != 2:
        raise CheckpointError(f"{node.label}: weights of shape {text(weights.shape)}, expected two dimensions")
    array = array.T if turned[1] else array
    array = array if alpha == 1 else array * alpha
    constant = optional(inputs, 2)
    made = build.dense(node, data, 1, array)
    if constant is None:
        return made
    if not isinstance(constant, Known):
        if beta != 1:
            raise CheckpointError(f"{node.label}: beta is {beta} of what is no constant")
        return combined(build, node, [made, data_of(node, constant)], "add")
    made, column = build.column(node, made, constant)
    return build.scaled(node, made, 1, beta * column, ".bias")


def _product(build: Build, node: Node, left: Data, right: Data) -> Value:
    """Queries by keys, or by a single vector, or a weighted sum over the steps."""
    rank = max(len(left.axes), len(right.axes))
    if rank < 2 or min(len(left.axes), len(right.axes)) < 2:
        raise CheckpointError(f"{node.label}: the product of {text(left.shape)} and {text(right.shape)}")
    left, right = (v.seen([()] * (rank - len(v.axes)) + list(v.axes)) for v in (left, right))
    if text(left.shape[:-2]) != text(right.shape[:-2]) or text(left.shape[-1:]) != text(right.shape[-2:-1]):
        raise CheckpointError(f"{node.label}: the product of {text(left.shape)} and {text(right.shape)}")
    heads = [_heads(build, node, v) for v in (left, right)]
    rows, over, columns = left.axes[-2], left.axes[-1], right.axes[-1]
    contracted = right.axes[-2]
    steps = tuple(a for a in left.steps if a.size != 1), tuple(a for a in right.steps if a.size != 1)
    if not heads[0] and not rows and over and over == steps[0] and contracted == steps[1]:
        tensors = build.read(node, left), build.read(node, build.settle(node, right, columns))
        weighted = build.emit(Combine, node, tensors, right.width, ".weighted", kind="multiply")
        total = build.emit(Reduce, node, (weighted,), right.width, kind="sum")
        return Data(((total, 0),), right.values, 0, ()).seen([*left.axes[:-1], columns])
    left = build.settle(node, left, (*heads[0], *over))
    right = build.settle(node, right, (*heads[1], *contracted))
    for v, axes in ((left, [heads[0], over]), (right, [heads[1], contracted])):
        if (places(v, axes) != np.arange(v.width)).any():
            raise CheckpointError(f"{node.label}: it multiplies values that stand in another order in the model")
    if not columns and not heads[0] and not any(a.size != 1 for a in right.steps):
        together = combined(build, node, [left, replace(right, axes=(*right.axes[:-2], (), contracted))], "multiply")
        ones = np.ones((1, together.width), np.float32)
        tensor = build.emit(
            Dense, node, (build.read(node, together),), 1, ".sum", kernel=ones, bias=np.zeros(1, np.float32)
        )
        return Data(((tensor, 0),), together.steps, together.split, ()).seen([*left.axes[:-1], ()])
    if rows != tuple(a for a in left.steps if a.size != 1) or columns != tuple(a for a in right.steps if a.size != 1):
        raise CheckpointError(
            f"{node.label}: the product of {text(left.shape)} and {text(right.shape)} is no attention"
        )
    count = 1
    for atom in heads[0]:
        count *= atom.number
    return Scores(left, build.sequence(node, right), count, left.axes[:-2])


def _heads(build: Build, node: Node, data: Data) -> Axis:
    """The atoms of the axes before the last two, but for the batch."""
    found = tuple(atom for axis in data.axes[:-2] for atom in axis if atom is not build.batch)
    if any(not isinstance(atom.size, int) for atom in found):
        raise CheckpointError(f"{node.label}: it multiplies step by step, which no layer does")
    return found


def _scored(node: Node, values: Sequence[Value]) -> Scores:
    """Scores with a constant: a scale, or what hides later keys."""
    first = isinstance(values[0], Scores)
    scores, constant = (values[0], values[1]) if first else (values[1], values[0])
    assert isinstance(scores, Scores)
    if not isinstance(constant, Known) or scores.weights:
        raise CheckpointError(f"{node.label}: it changes the weights of an attention, or joins them with a tensor")
    one = uniform(constant)
    if node.op == "Mul" and one is not None:
        return replace(scores, scale=scores.scale * one)
    if node.op == "Div" and one and first:
        return replace(scores, scale=scores.scale / one)
    if node.op == "Add" and one == 0:
        return scores
    if node.op == "Add" and _hides_later(numbers(constant, node.label), scores):
        return replace(scores, causal=True)
    raise CheckpointError(f"{node.label}: it changes the scores of an attention in a way no layer does")


def _hides_later(mask: Array, scores: Scores) -> bool:
    """Whether a constant added to scores leaves out the keys behind each query, and no other."""
    if mask.ndim < 2 or any(n != 1 for n in mask.shape[:-2]) or mask.shape[-2:] != scores.shape[-2:]:
        return False
    table = mask.reshape(mask.shape[-2:])
    later = np.triu(np.ones(table.shape, bool), 1)
    return bool((table[~later] == 0).all() and (table[later] <= -1e9).all() and table.shape[0] == table.shape[1])


def _attended(build: Build, node: Node, scores: Scores, values: Data) -> Data:
    """The values that the weights of an attention mix."""
    if not scores.weights:
        raise CheckpointError(f"{node.label}: the scores of an attention without a softmax")
    leading = scores.shape[:-2]
    values = values.seen([()] * (len(leading) + 2 - len(values.axes)) + list(values.axes))
    if text(values.shape[:-1]) != text((*leading, scores.shape[-1])):
        raise CheckpointError(f"{node.label}: weights of shape {text(scores.shape)} for values {text(values.shape)}")
    heads = _heads(build, node, values)
    values = build.settle(node, values, (*heads, *values.axes[-1]))
    if (places(values, [heads, values.axes[-1]]) != np.arange(values.width)).any():
        raise CheckpointError(f"{node.label}: it mixes values that stand in another order in the model")
    values = build.sequence(node, values)
    reads = tuple(build.read(node, v) for v in (scores.queries, values, scores.keys))
    tensor = build.emit(
        Attention, node, reads, values.width, scale=scores.scale, heads=scores.heads, causal=scores.causal
    )
    axes = [*scores.leading, scores.queries.axes[-2], values.axes[-1]]
    atoms = [a for axis in scores.leading for a in axis if a is not build.batch]
    queries = scores.queries
    return Data(((tensor, 0),), (*queries.steps, *atoms, *values.axes[-1]), queries.split, ()).seen(axes)
