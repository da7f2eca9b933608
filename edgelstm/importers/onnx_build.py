"""The layers and tensors that come of an ONNX graph, and how views become what a layer needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import (
    LINEAR,
    Activate,
    Activation,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Dense,
    Group,
    Last,
    Layer,
    Repeat,
    Reverse,
    Split,
    Transpose,
)
from ..meta import MAX_WIDTH
from ..model import Array, Tensor
from .onnx_file import Node
from .onnx_fold import text
from .onnx_sizes import Known, numbers, uniform
from .onnx_values import Atom, Data, places
from .torch_pickle import shown

MAX_LAYERS = 2000
MAX_WEIGHTS = 2 << 24  # of a model; with what merging copies, 64 MiB of weights that two layers read take 450 MB
_MAX_MADE = 3 << 24  # weights of all layers made, also those that are merged later or that nothing needs
_MANY_CUTS = 8
MAX_DIAGONAL = 1024  # values that a Dense may scale one by one, or choose among


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """An input of the file's graph as one of the model's."""

    name: str
    tensor: str
    dtype: str
    data: Data | None  # None: lengths of sequences, which the model reads as a mask


class Build:
    """The model under construction."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.batch = Atom(1)
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.writers: dict[str, Layer] = {}
        self.feeds: list[Feed] = []
        self.notes: list[str] = []
        self.affine: set[str] = set()  # layers that scale and shift value by value, for `merge`
        self.made = 0  # weights of all layers
        self.cuts: set[tuple[int, int]] = set()  # rows left out at both ends, by what was cropped
        self._names: set[str] = set()
        self._moved: dict[tuple[Any, ...], str] = {}

    # ---- names, tensors, layers ----

    def unique(self, name: str) -> str:
        """A name of the model's that is not taken, from one of the file's."""
        plain = _plain(name)
        found, n = plain, 2
        while found in self._names:
            found, n = f"{plain}_{n}", n + 1
        self._names.add(found)
        return found

    def tensor(self, name: str, width: int, single: bool = False) -> str:
        if width > MAX_WIDTH:  # said here, before anybody makes a list of them
            raise CheckpointError(f"tensor {name!r} has {width} values, expected at most {MAX_WIDTH}")
        self.tensors[name] = Tensor(name, width, single)
        return name

    def emit(self, form: Any, node: Node, reads: Sequence[str], width: int, suffix: str = "", /, **fields: Any) -> str:
        """Adds a layer that writes one tensor."""
        return self.emit_all(form, node, reads, (width,), suffix, **fields)[0]

    def emit_all(
        self, form: Any, node: Node, reads: Sequence[str], widths: Sequence[int], suffix: str = "", /, **fields: Any
    ) -> list[str]:
        """Adds a layer that writes tensors of these widths."""
        if len(self.layers) >= MAX_LAYERS:
            raise CheckpointError(f"{node.label}: the model takes more than {MAX_LAYERS} layers")
        self.made += sum(value.size for value in fields.values() if isinstance(value, np.ndarray))
        if self.made > _MAX_MADE:  # few bytes of a file may serve many layers
            raise CheckpointError(f"{node.label}: the layers up to it hold {self.made} weights, more than are read")
        called = node.name or next((name for name in node.outputs if name), node.op)
        name = self.unique(called + suffix)
        writes = [name] + [self.unique(f"{name}.{k}") for k in range(1, len(widths))]
        layer = form(name, tuple(reads), tuple(writes), **fields)
        self.layers.append(layer)
        for tensor, width in zip(writes, widths, strict=True):
            self.tensor(tensor, width)
            self.writers[tensor] = layer
        return writes

    def move(self, form: Any, node: Node, tensor: str, width: int, /, **fields: Any) -> str:
        """Adds a layer that only moves rows, once for all who want the same."""
        key = (form, tensor, *sorted(fields.items()))
        if key not in self._moved:
            suffix = f".{form.__name__.lower()}"
            self._moved[key] = self.emit(form, node, (tensor,), width, suffix, **fields)
        return self._moved[key]

    def constant(self, node: Node, tensor: str, value: Array, suffix: str) -> str:
        """A row that is the same for every input. It reads the input that the tensor comes from."""
        while tensor in self.writers:
            tensor = self.writers[tensor].reads[0]
        return self.emit(Constant, node, (tensor,), len(value), suffix, value=value)

    def renamed(self, tensor: str, name: str) -> str:
        """Gives a tensor that a layer writes another name, for all that read it."""
        if tensor == _plain(name):
            return tensor
        name = self.unique(name)
        self.tensors[name] = replace(self.tensors.pop(tensor), name=name)

        def other(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name if found == tensor else found for found in names)

        self.layers = [replace(layer, reads=other(layer.reads), writes=other(layer.writes)) for layer in self.layers]
        self.affine = {name if found == tensor else found for found in self.affine}
        return name

    # ---- views as layers need them ----

    def whole(self, node: Node, data: Data) -> Data:
        """The same view of one tensor."""
        if len(data.pieces) == 1:
            return data
        key = ("whole", *(tensor for tensor, _ in data.pieces))
        if key not in self._moved:
            tensors = [tensor for tensor, _ in data.pieces]
            while len(tensors) > 16:  # what one layer reads at most
                tensors = [self._concatenated(node, tensors[k : k + 16]) for k in range(0, len(tensors), 16)]
            self._moved[key] = self._concatenated(node, tensors)
        return replace(data, pieces=((self._moved[key], 0),))

    def _concatenated(self, node: Node, tensors: Sequence[str]) -> str:
        if len(tensors) == 1:
            return tensors[0]
        width = sum(self.tensors[tensor].width for tensor in tensors)
        return self.emit(Combine, node, tensors, width, ".concatenate", kind="concatenate")

    def read(self, node: Node, data: Data) -> str:
        """The tensor of a view. CheckpointError for whole numbers, with which no layer computes."""
        if data.kind != "float":
            what = "whole numbers" if data.kind == "whole" else "values whose fractions were cut off"
            raise CheckpointError(f"{node.label}: it computes with {what}; only an Embedding reads such")
        return self.whole(node, data).pieces[0][0]

    def settle(self, node: Node, data: Data, values: Iterable[Atom]) -> Data:
        """The same view of a tensor whose values are these atoms and whose steps are all others."""
        wanted = set(values)
        seen = [atom for atom in data.order if atom.size != 1]
        steps, inner = [a for a in seen if a not in wanted], [a for a in seen if a in wanted]
        if [a for a in data.steps if a.size != 1] == steps:
            return data
        data = self.whole(node, data)
        if seen == steps + inner:
            return self._bounded(node, data, len(steps))
        if seen == inner + steps:
            data = self._bounded(node, data, len(inner))
            rows = self._count(node, inner)
            self._count(node, steps)
            tensor = self.move(Transpose, node, data.pieces[0][0], rows, steps=rows)
            return replace(data, pieces=((tensor, 0),), order=(*steps, *inner), split=len(steps))
        raise CheckpointError(f"{node.label}: it rearranges steps and values in a way that cannot be followed")

    def _bounded(self, node: Node, data: Data, cut: int) -> Data:
        """The same tensor with the first `cut` atoms as steps."""
        seen = tuple(atom for atom in data.order if atom.size != 1)
        before = sum(1 for atom in data.steps if atom.size != 1)
        tensor, width = data.pieces[0][0], data.width
        if cut > before:
            count = self._count(node, seen[before:cut])
            tensor = self.move(Split, node, tensor, width // count, count=count)
        elif cut < before:
            count = self._count(node, seen[cut:before])
            tensor = self.move(Group, node, tensor, width * count, count=count, single=cut == 0)
        return replace(data, pieces=((tensor, 0),), order=seen, split=cut)

    def _count(self, node: Node, atoms: Iterable[Atom]) -> int:
        sizes = [atom.size for atom in atoms]
        if not all(isinstance(size, int) for size in sizes):
            raise CheckpointError(
                f"{node.label}: it makes values of steps, whose number the file leaves open; export it with a fixed one"
            )
        return prod(size for size in sizes if isinstance(size, int))

    def sequence(self, node: Node, data: Data) -> Data:
        """The same view, its tensor a sequence: a row that stands alone becomes one of one step."""
        if data.steps:
            return data
        data = self.whole(node, data)
        tensor = self.move(Split, node, data.pieces[0][0], data.width, count=1)
        return replace(data, pieces=((tensor, 0),), order=(Atom(1), *data.order), split=1)

    def alone(self, node: Node, data: Data) -> Data:
        """The same view, its tensor a single row. CheckpointError where it has several."""
        if any(atom.size != 1 for atom in data.steps):
            raise CheckpointError(f"{node.label}: it expects one row of values, and {text(data.shape)} is a sequence")
        if not data.steps:
            return data
        data = self.whole(node, data)
        tensor = self.move(Last, node, data.pieces[0][0], data.width)
        return replace(data, pieces=((tensor, 0),), order=data.values, split=0)

    # ---- what several operations need ----

    def activated(self, node: Node, data: Data, activation: Activation) -> Data:
        if activation == LINEAR:
            return data
        tensor = self.emit(Activate, node, (self.read(node, data),), data.width, activation=activation)
        return replace(data, pieces=((tensor, 0),))

    def dense(self, node: Node, data: Data, axis: int, weights: Array, bias: Array | None = None) -> Data:
        """The values along an axis times weights [seen in the axis, units]; the axis then has the units."""
        if self.batch in data.axes[axis]:
            raise CheckpointError(f"{node.label}: it multiplies {text(data.shape)} along an axis that holds the batch")
        data = self.settle(node, data, data.axes[axis])
        columns = places(data, [data.axes[axis]])
        if len(weights) != len(columns):
            raise CheckpointError(
                f"{node.label}: weights of shape {text(weights.shape)} for {len(columns)} values of {text(data.shape)}"
            )
        units = weights.shape[1]
        zeros = np.zeros(units, np.float32)
        kernel = np.ascontiguousarray(weights[columns].T)
        tensor = self.emit(
            Dense, node, (self.read(node, data),), units, kernel=kernel, bias=zeros if bias is None else bias
        )
        made = Atom(units)
        axes = [*data.axes]
        axes[axis] = (made,)
        return Data(((tensor, 0),), (*data.steps, made), data.split, ()).seen(axes)

    def chosen(self, node: Node, data: Data, axis: int, indices: Sequence[int]) -> Data:
        """Some of the values along an axis, which has nothing but values."""
        data = self.settle(node, data, [*data.values, *data.axes[axis]])
        atoms, first = data.axes[axis], data.values[0] if data.values else None
        made = Atom(len(indices))
        axes = [*data.axes]
        axes[axis] = (made,)
        if len(data.pieces) > 1 and atoms == (first,):
            pieces = _cut(data.pieces, indices)
            if pieces is not None:
                return Data(pieces, (*data.steps, made, *data.values[1:]), data.split, (), data.kind).seen(axes)
        data = self.whole(node, data)
        seen = [atom for atom in data.values if atom.size != 1]
        sizes = [atom.number for atom in seen]
        grid = np.moveaxis(
            np.arange(data.width).reshape(sizes), [seen.index(atom) for atom in atoms], range(len(atoms))
        )
        rest = [atom for atom in seen if atom not in atoms]
        taken = grid.reshape(-1, *grid.shape[len(atoms) :])[list(indices)].ravel()
        tensor = self._taken(node, data, taken)
        return Data(((tensor, 0),), (*data.steps, made, *rest), data.split, (), data.kind).seen(axes)

    def ordered(self, node: Node, data: Data) -> Data:
        """The view of a tensor whose values stand in the order of the view's axes. Where an axis holds steps and values
        in another order than the tensor, or steps stand in another order, all become values."""
        seen = [atom for axis in data.axes for atom in axis if atom is not self.batch]
        held = [atom for atom in data.order if atom.size != 1]
        if seen == held:
            return data
        mixed = any(
            0 < sum(atom in data.values for atom in axis if atom is not self.batch) < len(axis) for axis in data.axes
        )
        if mixed or [a for a in seen if a in data.steps] != [a for a in held if a in data.steps]:
            data = self.settle(node, data, held)
        values = [atom for atom in seen if atom in data.values]
        if values == [atom for atom in data.values if atom.size != 1]:
            return data
        tensor = self._taken(node, data, np.argsort(places(data, [tuple(values)])))
        return replace(data, pieces=((tensor, 0),), order=(*data.steps, *values), split=len(data.steps))

    def _taken(self, node: Node, data: Data, indices: Array) -> str:
        """Some of a tensor's values: rows of the Dense that makes them, else a Dense that chooses."""
        tensor = self.read(node, data)
        before = self.writers.get(tensor)
        if isinstance(before, Dense) and before.activation.name != "softmax":
            rows = {"kernel": before.kernel[indices], "bias": before.bias[indices], "activation": before.activation}
            return self.emit(Dense, node, before.reads, len(indices), ".rows", **rows)
        if max(len(indices), data.width) > MAX_DIAGONAL:
            raise CheckpointError(
                f"{node.label}: it takes some of {data.width} values, expected at most {MAX_DIAGONAL}"
            )
        kernel = np.zeros((len(indices), data.width), np.float32)
        kernel[np.arange(len(indices)), indices] = 1
        return self.emit(Dense, node, (tensor,), len(indices), ".rows", kernel=kernel, bias=np.zeros(len(indices)))

    def scaled(self, node: Node, data: Data, scale: Any, offset: Any, suffix: str = "") -> Data:
        """x * scale + offset, value by value; scale and offset [width] or a number."""
        width = data.width
        scale = np.broadcast_to(np.asarray(scale, np.float64), (width,))
        offset = np.broadcast_to(np.asarray(offset, np.float64), (width,))
        if (scale == 1).all() and not offset.any():
            return data
        tensor = self.read(node, data)
        before = self.writers.get(tensor)
        if (
            isinstance(before, Dense) and before.activation == LINEAR
        ):  # what stands before is left out if nobody reads it
            fields = {"kernel": before.kernel * scale[:, None], "bias": before.bias * scale + offset}
            made = self.emit(Dense, node, before.reads, width, suffix, **fields)
            return replace(data, pieces=((made, 0),))
        if data.steps:
            kernel = scale.reshape(width, 1, 1)
            made = self.emit(Conv1d, node, (tensor,), width, suffix, kernel=kernel, bias=offset, groups=width)
        elif width <= MAX_DIAGONAL:
            made = self.emit(Dense, node, (tensor,), width, suffix, kernel=np.diag(scale), bias=offset)
        else:
            raise CheckpointError(f"{node.label}: it scales a single row of {width} values one by one")
        self.affine.add(made)
        return replace(data, pieces=((made, 0),))

    def column(self, node: Node, data: Data, constant: Known) -> tuple[Data, Array]:
        """A constant that is joined with a view value by value: the view, and a number for each of its values."""
        extra = len(constant.shape) - len(data.axes)
        shape = (1,) * -extra + constant.shape[max(0, extra) :]
        fits = all(n in (1, size) for n, size in zip(shape, data.shape, strict=True))
        if not fits or any(n != 1 for n in constant.shape[: max(0, extra)]):
            raise CheckpointError(f"{node.label}: a constant of shape {text(constant.shape)} for {text(data.shape)}")
        one = uniform(constant)
        if one is not None:
            return data, np.full(data.width, one)
        array = numbers(constant, node.label)
        varying = [axis for axis, n in zip(data.axes, shape, strict=True) if n != 1]
        atoms = [atom for axis in varying for atom in axis]
        if self.batch in atoms:
            raise CheckpointError(
                f"{node.label}: it adds or multiplies a constant that differs from sequence to sequence"
            )
        if any(atom in data.steps for atom in atoms):
            if any(atom in data.values for atom in atoms):
                raise CheckpointError(f"{node.label}: it joins a constant that differs from step to step")
            data = self.settle(node, data, atoms)
        inner = [atom for atom in data.values if atom.size != 1]
        grid = array.reshape([atom.number for atom in atoms])
        grid = grid.transpose([atoms.index(atom) for atom in inner if atom in atoms])
        grid = grid.reshape([atom.number if atom in atoms else 1 for atom in inner])
        return data, np.broadcast_to(grid, [atom.number for atom in inner]).reshape(-1).astype(np.float64)

    # ---- steps ----

    def step_axis(self, node: Node, data: Data, axis: int) -> Data | None:
        """The view with an axis that holds all its steps and nothing else, or None where it holds values."""
        atoms = data.axes[axis]
        if not atoms or self.batch in atoms:
            return None
        if atoms == tuple(a for a in data.steps if a.size != 1):
            return data
        if all(atom in data.values for atom in atoms):
            return None
        raise CheckpointError(f"{node.label}: axis {axis} of {text(data.shape)} holds more than steps")

    def last(self, node: Node, data: Data, axis: int) -> Data:
        """The last step; the axis has size 1 then."""
        data = self.whole(node, data)
        tensor = self.move(Last, node, data.pieces[0][0], data.width)
        axes = [*data.axes]
        axes[axis] = ()
        return replace(data, pieces=((tensor, 0),), order=data.values, split=0).seen(axes)

    def first(self, node: Node, data: Data, axis: int) -> Data:
        """The first step, which is the last of the steps in reverse order."""
        return self.last(node, self.reversed(node, data), axis)

    def reversed(self, node: Node, data: Data) -> Data:
        pieces = []
        for tensor, part in data.pieces:
            before = self.writers.get(tensor)
            if isinstance(before, Reverse):
                pieces.append((before.reads[0], part))
            else:
                pieces.append((self.move(Reverse, node, tensor, self.tensors[tensor].width), part))
        return replace(data, pieces=tuple(pieces))

    def many_cuts(self, left: int, right: int) -> bool:
        """Whether so many cuts of a sequence's ends are made that others had better be made of all steps' values: rows
        come at few different steps only."""
        return len(self.cuts) >= _MANY_CUTS and (left, right) not in self.cuts

    def cropped(self, node: Node, data: Data, axis: int, left: int, right: int) -> Data:
        """All steps but some at the ends."""
        if not left and not right:
            return data
        data = self.whole(node, data)
        size = data.shape[axis]
        self.cuts.add((left, right))
        tensor = self.move(Crop, node, data.pieces[0][0], data.width, left=left, right=right)
        made = Atom(size - left - right)
        axes = [*data.axes]
        axes[axis] = (made,)
        return replace(data, pieces=((tensor, 0),), order=(made, *data.values), split=1).seen(axes)

    def repeated(self, node: Node, data: Data, axis: int, count: int) -> Data:
        """A row that stands alone `count` times along an axis of size 1."""
        data = self.whole(node, self.alone(node, data))
        tensor = self.move(Repeat, node, data.pieces[0][0], data.width, count=count)
        made = Atom(count)
        axes = [*data.axes]
        axes[axis] = (made,)
        return replace(data, pieces=((tensor, 0),), order=(made, *data.values), split=1).seen(axes)


def _plain(name: str) -> str:
    """A name of the file's as one of the model's."""
    return shown(name).strip("/").replace("/", ".") or "layer"


def _cut(pieces: Sequence[tuple[str, int]], indices: Sequence[int]) -> tuple[tuple[str, int], ...] | None:
    """The pieces that a run of indices takes whole, or None."""
    found, at, start = [], 0, indices[0] if indices else 0
    for piece in pieces:
        if start <= at < start + len(indices):
            found.append(piece)
        at += piece[1]
    fits = list(indices) == list(range(start, start + len(indices))) and sum(n for _, n in found) == len(indices)
    aligned = start in np.cumsum([0, *(n for _, n in pieces)])
    return tuple(found) if found and fits and aligned else None
