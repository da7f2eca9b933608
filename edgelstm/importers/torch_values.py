"""PyTorch's tensors as rows of a model's tensors.

A model's tensor has rows, one a step or a single one, of `width` values. PyTorch has axes in any order. So a value of a
traced graph is a tensor of the model and what each of its axes is there; transposing, viewing and squeezing then change
axes alone, and a layer is made only where values change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import NamedTuple

from ..errors import CheckpointError
from ..layers import Combine, Crop, Last, Repeat, Reverse, Split, Transpose
from . import torch_build
from .torch_build import Builder


class Refuse(CheckpointError):
    """An operation that is not honoured, and why."""


class Misplaced(Refuse):
    """Steps or values are not on the axis an operation takes them from."""


class Axis(NamedTuple):
    """An axis: the batch, the steps, values of a row, or "one", which has no meaning of its own.

    stride: how far apart neighbours stand in a row, of values. An axis of "one" may be larger: then all are the same.
    """

    kind: str
    size: int
    stride: int = 0


BATCH = Axis("batch", 1)
ONE = Axis("one", 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor of the model as PyTorch sees it. at: of a sequence the one step meant, counted from the first."""

    tensor: str
    axes: tuple[Axis, ...]
    at: int | None = None
    steps: int = 0  # of the sequence, with `at`

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    def find(self, kind: str) -> list[int]:
        return [k for k, axis in enumerate(self.axes) if axis.kind == kind]

    @property
    def over(self) -> int | None:
        """Which axis the steps are."""
        return next(iter(self.find("steps")), None)


def rows(tensor: str, axes: Sequence[Axis]) -> Rows:
    """Values stand in the order of their axes."""
    stride, made = 1, []
    for axis in reversed(axes):
        if axis.kind == "values":
            axis = Axis("values", axis.size, stride) if axis.size > 1 else ONE
            stride *= axis.size
        made.append(axis)
    return Rows(tensor, tuple(made[::-1]))


def values(size: int) -> Axis:
    """An axis of values, whose stride `rows` finds."""
    return Axis("values", size)


def steps(size: int) -> Axis:
    return Axis("steps", size)


def axis_of(value: Rows, dim: int) -> int:
    """An axis counted from the first."""
    rank = len(value.axes)
    if not -rank <= dim < rank:
        raise Refuse(f"axis {dim} of {rank}")
    return dim % rank


# ---- making layers ----


def ordered(builder: Builder, value: Rows) -> Rows:
    """The same with values in the order of their axes."""
    wanted = rows(value.tensor, value.axes)
    if wanted == replace(value, at=None, steps=0):
        return value
    columns = [0]
    for k in value.find("values"):
        columns = [c + n * value.axes[k].stride for c in columns for n in range(value.axes[k].size)]
    tensor = torch_build.select(builder, f"{value.tensor}.ordered", value.tensor, columns)
    return replace(wanted, tensor=tensor, at=value.at, steps=value.steps)


def picked(builder: Builder, value: Rows, dim: int, indices: Sequence[int]) -> Rows:
    """Some values along an axis, which stays."""
    axis = value.axes[dim]
    if list(indices) == list(range(axis.size)):
        return value
    columns = [0]
    axes = list(value.axes)
    axes[dim] = values(len(indices))
    for k, each in enumerate(value.axes):
        if each.kind == "values":
            columns = [c + n * each.stride for c in columns for n in (indices if k == dim else range(each.size))]
    return rows(torch_build.select(builder, f"{value.tensor}.part", value.tensor, columns), axes)


def turned(builder: Builder, value: Rows) -> Rows:
    """Steps as values and values as steps."""
    value = ordered(builder, value)
    over, found = value.over, value.find("values")
    if over is None or len(found) > 1:
        raise Refuse("steps and values change places where values have several axes")
    count = value.axes[over].size
    tensor = builder.add(Transpose, f"{value.tensor}.turned", (value.tensor,), count)
    axes = list(value.axes)
    axes[over] = values(count)
    if found:
        axes[found[0]] = steps(axes[found[0]].size)
    return rows(tensor, axes)


def sequence(builder: Builder, value: Rows, dim: int) -> Rows:
    """The same with its steps along an axis."""
    axis = value.axes[dim]
    if axis.kind == "steps":
        return value
    if axis.kind == "batch":
        raise Misplaced("its steps would be the batch; give (steps, batch, values) or set batch_first")
    if value.over is not None:
        if axis.kind == "values":
            return turned(builder, value)
        raise Refuse("a sequence of one step beside the steps")
    if not builder.single(value.tensor):
        raise Refuse("it makes a sequence of what is one step already")
    axes = list(value.axes)
    if axis.kind == "one" and axis.size == 1:
        raise Refuse("a sequence of one step")
    if axis.kind == "one":
        value = ordered(builder, value)
        axes[dim] = steps(axis.size)
        return rows(builder.add(Repeat, f"{value.tensor}.repeated", (value.tensor,), axis.size), axes)
    others = [k for k in value.find("values") if k != dim]
    moved = ordered(builder, Rows(value.tensor, (axis, *(value.axes[k] for k in others))))
    axes[dim] = steps(axis.size)
    return rows(builder.add(Split, f"{value.tensor}.steps", (moved.tensor,), axis.size), axes)


def reversed_steps(builder: Builder, value: Rows) -> Rows:
    return replace(value, tensor=builder.add(Reverse, f"{value.tensor}.reversed", (value.tensor,)))


def step_at(builder: Builder, value: Rows, index: int) -> Rows:
    """One step of a sequence, without the axis of steps. A negative index counts from the end."""
    over = value.over
    assert over is not None
    count = value.axes[over].size
    if not -count <= index < count:
        raise Refuse(f"step {index} of {count}")
    tensor = value.tensor
    if index in (-1, count - 1):
        pass
    elif index < 0:
        tensor = builder.add(Crop, f"{tensor}.until", (tensor,), 0, -1 - index)
    else:
        tensor = builder.add(Reverse, f"{tensor}.reversed", (tensor,))
        if index:
            tensor = builder.add(Crop, f"{tensor}.from", (tensor,), 0, index)
    return Rows(builder.add(Last, f"{value.tensor}.last", (tensor,)), value.axes[:over] + value.axes[over + 1 :])


def settled(builder: Builder, value: Rows) -> Rows:
    """A step that was put off, made."""
    if value.at is None:
        return value
    whole = Rows(value.tensor, (*value.axes, steps(value.steps)))
    return step_at(builder, whole, value.at)


def cropped(builder: Builder, value: Rows, left: int, right: int) -> Rows:
    """A sequence without its first and last steps."""
    if not left and not right:
        return value
    over = value.over
    assert over is not None
    axes = list(value.axes)
    axes[over] = steps(axes[over].size - left - right)
    if axes[over].size < 1:
        raise Refuse("no step is left")
    return replace(
        value, tensor=builder.add(Crop, f"{value.tensor}.part", (value.tensor,), left, right), axes=tuple(axes)
    )


def concatenated(builder: Builder, found: list[Rows], dim: int) -> Rows:
    """Values of several along an axis."""
    pieces = []
    for value in found:
        axes = [Axis("values", 1) if k == dim else axis for k, axis in enumerate(value.axes)]
        inner = [axis for k, axis in enumerate(value.axes) if k != dim and axis.kind == "values"]
        # the axis first: then those of one come whole before those of the next
        moved = ordered(builder, Rows(value.tensor, (value.axes[dim], *inner)))
        pieces.append((moved.tensor, axes))
    others = {tuple(a.size for k, a in enumerate(axes) if k != dim and a.kind == "values") for _, axes in pieces}
    if len(others) > 1:
        raise Refuse("it joins values of different axes")
    tensor = torch_build.joined(builder, f"{pieces[0][0]}.joined", tuple(tensor for tensor, _ in pieces))
    made = list(most(found).axes)
    made[dim] = values(sum(value.axes[dim].size for value in found))
    first = rows(tensor, (made[dim], *(axis for k, axis in enumerate(made) if k != dim)))
    return replace(first, axes=(*first.axes[1 : dim + 1], first.axes[0], *first.axes[dim + 1 :]))


def most(found: list[Rows]) -> Rows:
    """The one that has steps, if one has."""
    return next((value for value in found if value.over is not None), found[0])


def combined(builder: Builder, kind: str, found: list[Rows], name: str) -> Rows:
    """Values of several, one by one, as PyTorch broadcasts them."""
    rank = max(len(value.axes) for value in found)
    padded = [replace(value, axes=(ONE,) * (rank - len(value.axes)) + value.axes) for value in found]
    axes: list[Axis] = []
    for column in zip(*(value.axes for value in padded), strict=True):
        kinds = [axis for axis in column if axis.kind != "one"]
        size = max(axis.size for axis in column)
        if any(axis.size not in (1, size) for axis in column):
            raise Refuse(f"axes of {', '.join(str(axis.size) for axis in column)}")
        if len({axis.kind for axis in kinds}) > 1 and size > 1:
            raise Refuse("it joins steps of one with values of another")
        large = [axis for axis in kinds if axis.size > 1]
        axes.append(large[0] if large else kinds[0] if kinds else Axis("one", size))
    tensors = []
    width = prod(axis.size for axis in axes if axis.kind == "values")
    for value in padded:
        value = ordered(builder, value)
        own = prod(axis.size for axis in value.axes if axis.kind == "values")
        if own not in (1, width):
            value = spread(builder, value, axes)
        tensors.append(value.tensor)
    return rows(builder.add(Combine, name, tuple(tensors), kind), axes)


def spread(builder: Builder, value: Rows, axes: Sequence[Axis]) -> Rows:
    """Values repeated along axes it lacks."""
    columns = [0]
    for mine, axis in zip(value.axes, axes, strict=True):
        if axis.kind == "values":
            stride = mine.stride if mine.kind == "values" else 0
            columns = [c + n * stride for c in columns for n in range(axis.size)]
    tensor = torch_build.select(builder, f"{value.tensor}.spread", value.tensor, columns)
    return rows(tensor, [a if a.kind == "values" else mine for mine, a in zip(value.axes, axes, strict=True)])


# ---- views ----


def viewed(builder: Builder, value: Rows, sizes: Sequence[int]) -> Rows:
    """`view` and `reshape`: axes merged and split."""
    for k, axis in enumerate(value.axes):
        if axis.kind == "one" and axis.size > 1:
            value = sequence(builder, value, k)
    wanted = list(sizes)
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = prod(value.sizes) // max(prod(n for n in wanted if n != -1), 1)
    if prod(wanted) != prod(value.sizes):
        raise Refuse(f"it views {value.sizes} as {tuple(sizes)}")
    groups = _groups(value.axes, wanted)
    if any(not _together(old) for old, _ in groups):
        value = ordered(builder, value)
        groups = _groups(value.axes, wanted)
    tensor, made = value.tensor, []
    for old, new in groups:
        if not old or [n for n in new if n > 1] == [a.size for a in old if a.size > 1]:
            large = iter([a for a in old if a.size > 1])
            small = iter([a for a in old if a.size == 1])
            made += [next(large) if n > 1 else next(small, ONE) for n in new]
        elif any(axis.kind == "steps" for axis in old):
            tensor, axes = _flattened(builder, value, [a for a in old if a.size > 1], new)
            made += axes
        else:
            stride, axes = [a for a in old if a.size > 1][-1].stride, []
            for size in reversed(new):
                axes.append(Axis("values", size, stride) if size > 1 else ONE)
                stride *= size
            made += axes[::-1]
    return replace(value, tensor=tensor, axes=tuple(made))


def _groups(axes: Sequence[Axis], wanted: Sequence[int]) -> list[tuple[list[Axis], list[int]]]:
    """The shortest runs of axes and of sizes that hold the same; axes of size 1 go where they can stay."""
    groups: list[tuple[list[Axis], list[int]]] = []
    old, new = list(axes), list(wanted)
    while old or new:
        if (old and old[0].size == 1) or (new and new[0] == 1):
            ones = [old.pop(0)] if old and old[0].size == 1 else []
            groups.append((ones, [new.pop(0)] if new and new[0] == 1 else []))
            continue
        group, sizes = [old.pop(0)], [new.pop(0)]
        while (left := prod(axis.size for axis in group)) != (right := prod(sizes)):
            if left < right:
                group.append(old.pop(0))
            else:
                sizes.append(new.pop(0))
        groups.append((group, sizes))
    return groups


def _together(group: Sequence[Axis]) -> bool:
    """Whether values of these axes stand in one run, in their order."""
    inside = [axis for axis in group if axis.kind == "values"]
    return all(a.stride == b.size * b.stride for a, b in pairwise(inside))


def _flattened(builder: Builder, value: Rows, group: list[Axis], sizes: list[int]) -> tuple[str, list[Axis]]:
    """All steps in one row."""
    inside = [axis for axis in value.axes if axis.kind == "values"]
    if len(group) == 1 or [axis for axis in group if axis.kind == "values"] != inside:
        raise Refuse("it cuts a sequence into several, or merges steps with some of their values")
    position = next(k for k, axis in enumerate(group) if axis.kind == "steps")
    if position not in (0, len(group) - 1):
        raise Refuse("it merges steps with values on both sides of them")
    plain = ordered(builder, Rows(value.tensor, tuple(inside)))
    tensor = torch_build.flatten(builder, plain.tensor, group[position].size, position > 0)
    return tensor, list(rows(tensor, [values(n) for n in sizes]).axes)


def plain_output(builder: Builder, value: Rows) -> Rows:
    """An answer: its step made, its values in order."""
    value = settled(builder, value)
    for k, axis in enumerate(value.axes):
        if axis.kind == "one" and axis.size > 1:
            value = sequence(builder, value, k)
    return ordered(builder, value)


def squeezed(value: Rows, dims: Sequence[int]) -> Rows:
    gone = {axis_of(value, dim) for dim in dims}
    return replace(value, axes=tuple(a for k, a in enumerate(value.axes) if k not in gone or a.size > 1))


def unsqueezed(value: Rows, dim: int) -> Rows:
    at = dim % (len(value.axes) + 1)
    return replace(value, axes=(*value.axes[:at], ONE, *value.axes[at:]))


def permuted(value: Rows, dims: Sequence[int]) -> Rows:
    return replace(value, axes=tuple(value.axes[axis_of(value, dim)] for dim in dims))
