"""What a name in an ONNX graph stands for: a constant, or a view of one of the model's tensors.

A tensor of the model is [N, steps, values]. Steps and values are made of *atoms*, in this order: those before `split`
are steps, the others values. A view's axes are lists of these atoms and of the batch, in any order and grouping, so
that Transpose, Reshape, Squeeze and the like cost nothing: [T, D, N, H], a bidirectional layer's answer, is the tensor
[N, T, D * H] seen in another order. Atoms of size 1 are not seen in views.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from ..errors import CheckpointError
from ..model import Array
from .onnx_file import Node
from .onnx_fold import text
from .onnx_sizes import Dim, Known, divided, product


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """A factor of a tensor's steps or values, or the batch."""

    size: Dim

    @property
    def number(self) -> int:
        """The size where it is known."""
        if not isinstance(self.size, int):
            raise CheckpointError(f"a size, {self.size}, is known only when the model runs")
        return self.size


Axis: TypeAlias = tuple[Atom, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """A view of a tensor; `pieces` are several where they are to be concatenated, along the values' first atom."""

    pieces: tuple[tuple[str, int], ...]  # tensors, and how much of the first atom each has
    order: Axis  # atoms of steps and values
    split: int  # how many of them are steps
    axes: tuple[Axis, ...]
    kind: str = "float"  # "whole": an input of whole numbers; "cut": floats with their fractions cut off

    @property
    def steps(self) -> Axis:
        return self.order[: self.split]

    @property
    def values(self) -> Axis:
        return self.order[self.split :]

    @property
    def width(self) -> int:
        return prod(atom.size for atom in self.values if isinstance(atom.size, int))

    @property
    def shape(self) -> tuple[Dim, ...]:
        return tuple(product(atom.size for atom in axis) for axis in self.axes)

    @property
    def turned(self) -> bool:
        """Whether values are seen before steps."""
        places = [
            [k for k, axis in enumerate(self.axes) for a in axis if a in kind] for kind in (self.steps, self.values)
        ]
        return bool(places[0] and places[1]) and places[1][0] < places[0][0]

    def seen(self, axes: Iterable[Iterable[Atom]]) -> Data:
        """The same tensor with other axes."""
        return replace(self, axes=tuple(tuple(atom for atom in axis if atom.size != 1) for axis in axes))


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What each query has to do with each key, before the values they weight are known."""

    queries: Data
    keys: Data
    heads: int
    leading: tuple[Axis, ...]  # axes before those of queries and keys, as the queries have them
    scale: float = 1.0
    causal: bool = False
    weights: bool = False  # after the softmax

    @property
    def shape(self) -> tuple[Dim, ...]:
        ends = (product(a.size for a in self.queries.steps), product(a.size for a in self.keys.steps))
        return (*(product(atom.size for atom in axis) for axis in self.leading), *ends)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many steps of each sequence count."""

    mask: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a batch's sequences, as packing them takes. Here each runs alone, so it changes nothing."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What cannot be read; an error only where something needs it."""

    reason: str


Value: TypeAlias = Known | Data | Scores | Lengths | Order | Refused


def transposed(data: Data, order: Sequence[int]) -> Data:
    return data.seen(data.axes[k] for k in order)


def unsqueezed(data: Data, places: Sequence[int]) -> Data:
    axes = list(data.axes)
    for place in places:
        axes.insert(place, ())
    return data.seen(axes)


def squeezed(node: Node, data: Data, gone: Iterable[int]) -> Data:
    gone = set(gone)
    if any(data.axes[k] for k in gone):
        raise CheckpointError(f"{node.label}: it drops a dimension that is not 1 of {text(data.shape)}")
    return data.seen(axis for k, axis in enumerate(data.axes) if k not in gone)


def reshaped(node: Node, data: Data, shape: Sequence[Dim], batch: Atom) -> Data:
    """The same numbers in the same order with other axes, atoms split where it takes that."""
    rest = [atom for axis in data.axes for atom in axis]
    steps, values, axes = list(data.steps), list(data.values), []
    for size in shape:
        axis: list[Atom] = []
        while size != 1:
            if not rest:
                raise _misfit(node, data, shape)
            atom = rest.pop(0)
            left = divided(size, atom.size)
            if left is None:
                other = divided(atom.size, size)
                if other is None or atom is batch:
                    raise _misfit(node, data, shape)
                halves = [Atom(size), Atom(other)]
                for atoms in (steps, values):
                    if atom in atoms:
                        atoms[atoms.index(atom) : atoms.index(atom) + 1] = halves
                rest.insert(0, halves[1])
                atom, left = halves[0], 1
            axis.append(atom)
            size = left
        axes.append(axis)
    if rest:
        raise _misfit(node, data, shape)
    return replace(data, order=(*steps, *values), split=len(steps)).seen(axes)


def _misfit(node: Node, data: Data, shape: Sequence[Dim]) -> CheckpointError:
    return CheckpointError(
        f"{node.label}: from {text(data.shape)} to {text(shape)} mixes sequences, steps and values in a way that "
        "cannot be followed"
    )


def places(data: Data, axes: Iterable[Axis]) -> Array:
    """Where the values seen in these axes, in their order, stand in the tensor: position in the tensor -> seen."""
    seen = [atom for axis in axes for atom in axis]
    values = [atom for atom in data.values if atom.size != 1]
    grid = np.arange(data.width).reshape([atom.number for atom in seen])
    return grid.transpose([seen.index(atom) for atom in values]).ravel()
