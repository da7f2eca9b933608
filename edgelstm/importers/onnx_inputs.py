"""What the axes of a graph's inputs are: the batch, the steps or values, by what reads them first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..model import Array
from .onnx_file import Graph, Node
from .onnx_fold import CASTS

BATCH, STEPS, VALUES, LENGTHS = "batch", "steps", "values", "lengths"
_VISITS = 2000

_SAME = {"Identity", "Cast", "Dropout", "Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign"}
_SAME |= {"Clip", "LayerNormalization", "Pad", "Slice", "Add", "Sub", "Mul", "Div", "HardSigmoid", "Gelu", "Concat"}
_SAME |= {"Softmax", "Neg", "Split", "Max", "Min", "Sum", "Mean", "Pow", "PRelu", "HardSwish", "Swish", "Erf", "Exp"}
_JOINS = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Concat"}
_CELLS = {"LSTM", "GRU", "RNN", "Recurrent", "Lstm8"}
_WINDOWS = {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization"}


@dataclass(slots=True)
class Roles:
    """What each axis of an input is, and how many values it has where the file leaves that open."""

    axes: list[str]
    widths: dict[int, int] = field(default_factory=dict)
    indices: bool = False  # rows of a table are taken by its numbers


def roles(graph: Graph, name: str, shape: Sequence[int | str | None], whole: bool) -> Roles:
    """The roles of an input's axes: by what reads it, by the names of its sizes, and where nothing tells batch, steps,
    values; of two axes batch and values, or of whole numbers batch and steps."""
    rank = len(shape)
    found = _Search(graph).run(name, rank)
    _by_names(found, shape)
    default = [BATCH, STEPS, *[VALUES] * (rank - 2)] if rank != 2 or whole or found.indices else [BATCH, VALUES]
    default = [VALUES] if rank == 1 else default
    if found.axes == [LENGTHS]:
        return found
    told = set(found.axes)
    for axis, role in enumerate(found.axes):
        if not role:
            left = [r for r in (BATCH, STEPS, VALUES) if r not in told]
            choice = default[axis] if default[axis] in left else (left or [VALUES])[0]
            found.axes[axis] = choice
            told.add(choice)
    return found


def _by_names(found: Roles, shape: Sequence[int | str | None]) -> None:
    """Fills in what the sizes' names tell: "batch_size", "seq_len", "time"."""
    for axis, size in enumerate(shape):
        for role, words in ((BATCH, ("batch",)), (STEPS, ("seq", "step", "time"))):
            told = isinstance(size, str) and any(word in size.lower() for word in words)
            if told and not found.axes[axis] and role not in found.axes:
                found.axes[axis] = role


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.constants = dict(graph.constants)
        self.readers: dict[str, list[tuple[Node, int]]] = {}
        for node in graph.nodes:
            if node.op == "Constant" and isinstance(node.attributes.get("value"), np.ndarray):
                self.constants[node.outputs[0]] = node.attributes["value"]
            for k, name in enumerate(node.inputs):
                self.readers.setdefault(name, []).append((node, k))

    def run(self, name: str, rank: int) -> Roles:
        """Follows an input through what moves its axes, up to what tells what they are."""
        found = Roles([""] * rank)
        queue: deque[tuple[str, list[int | None]]] = deque([(name, list(range(rank)))])
        seen = {name}
        while queue and len(seen) < _VISITS:
            name, axes = queue.popleft()
            for node, index in self.readers.get(name, ()):
                told = self._told(node, index, axes)
                for axis, role, width in told:
                    if axis is not None and not found.axes[axis]:
                        found.axes[axis] = role
                        if width:
                            found.widths[axis] = width
                if node.op == "Gather" and index == 1 and self._shape(node, 0):
                    found.indices = True
                if {LENGTHS} == set(found.axes) or {BATCH, STEPS} <= set(found.axes):
                    return found
                after = self._after(node, index, axes)
                for output in node.outputs if after is not None else ():
                    if output and output not in seen:
                        seen.add(output)
                        queue.append((output, list(after or ())))
        return found

    def _told(self, node: Node, index: int, axes: list[int | None]) -> list[tuple[int | None, str, int]]:
        """Axes of the input that a node tells the roles of, and the number of their values."""
        shape = self._shape(node, 1)
        width = shape[2] if node.op in ("LSTM", "GRU", "RNN") and len(shape) == 3 else 0
        if node.op in _CELLS:
            first = node.attributes.get("layout", 0) == 1
            if index == 0 and len(axes) == 3:
                order = (BATCH, STEPS, VALUES) if first else (STEPS, BATCH, VALUES)
                return [(axis, role, width * (role == VALUES)) for axis, role in zip(axes, order, strict=True)]
            if index in (5, 6) and len(axes) == 3:
                order = (BATCH, VALUES, VALUES) if first else (VALUES, BATCH, VALUES)
                return [(axis, role, 0) for axis, role in zip(axes, order, strict=True)]
            if index == 4 and len(axes) == 1:
                return [(axes[0], LENGTHS, 0)]
        if node.op in _WINDOWS and index == 0 and len(axes) >= 3:
            groups = node.attributes.get("group", 1)
            wide = shape[1] * groups if node.op == "Conv" and len(shape) > 1 and isinstance(groups, int) else 0
            return [(axes[0], BATCH, 0), (axes[1], VALUES, wide), *((a, STEPS, 0) for a in axes[2:] if a is not None)]
        if node.op in ("ReduceMean", "ReduceMax", "ReduceSum") and index == 0 and len(axes) == 3:
            over = self._axes(node)
            one = over[0] % 3 if over is not None and len(over) == 1 else 2
            return [(axes[one], STEPS, 0)] if one < 2 else []
        if node.op == "MatMul" and index == 1 and len(axes) > 1 and len(self._shape(node, 0)) == 2:
            return [(axes[-2], VALUES, self._shape(node, 0)[1])]
        if node.op in ("MatMul", "Gemm") and index == 0 and len(shape) == 2 and axes:
            turned = node.op == "Gemm" and node.attributes.get("transB") == 1
            return [(axes[-1], VALUES, shape[1] if turned else shape[0])]
        return []

    def _after(self, node: Node, index: int, axes: list[int | None]) -> list[int | None] | None:
        """The axes of what a node writes as axes of the input, or None where they are not followed."""
        if node.op == "MatMul" and index == 1:
            return [*axes[:-2], None, axes[-1]] if len(axes) > 1 and self._shape(node, 0) else None
        if node.op == "Gather" and index == 1:
            return [*axes, None] if self._shape(node, 0) else None
        if node.op in ("MatMul", "Gemm") and index == 0:
            return [*axes[:-1], None] if self._shape(node, 1) else None
        if index != 0 and node.op not in _JOINS:
            return None
        if node.op in _SAME or node.op == "TopK":
            return axes
        rank = len(axes)
        if node.op == "Transpose":
            order = node.attributes.get("perm", list(reversed(range(rank))))
            fits = isinstance(order, list) and sorted(order) == list(range(rank))
            return [axes[k] for k in order] if fits else None
        if node.op == "Gather":
            one = self._constant(node, 1)
            axis = node.attributes.get("axis", 0)
            if one is None or one.ndim or not isinstance(axis, int) or not -rank <= axis < rank:
                return None
            return [a for k, a in enumerate(axes) if k != axis % rank]
        if node.op in ("Squeeze", "Unsqueeze"):
            return self._squeezed(node, axes)
        return None

    def _axes(self, node: Node) -> list[int] | None:
        """The axes that a node names, as an attribute or a constant."""
        chosen = node.attributes.get("axes")
        if len(node.inputs) > 1:
            constant = self._constant(node, 1)
            chosen = None if constant is None or constant.dtype.kind not in "iu" else constant.reshape(-1).tolist()
        return chosen if isinstance(chosen, list) and all(isinstance(v, int) for v in chosen) else None

    def _squeezed(self, node: Node, axes: list[int | None]) -> list[int | None] | None:
        chosen = self._axes(node)
        if chosen is None:
            return None
        rank = len(axes) + (len(chosen) if node.op == "Unsqueeze" else 0)
        places = sorted({axis % rank for axis in chosen}) if rank else []
        if node.op == "Squeeze":
            return [a for k, a in enumerate(axes) if k not in places]
        made = list(axes)
        for place in places:
            made.insert(place, None)
        return made

    def _constant(self, node: Node, index: int) -> Array | None:
        return self.constants.get(node.inputs[index]) if index < len(node.inputs) else None

    def _shape(self, node: Node, index: int) -> tuple[int, ...]:
        constant = self._constant(node, index)
        return () if constant is None else constant.shape


def is_whole(dtype: str) -> bool:
    """Whether a kind of numbers is whole."""
    return dtype in {np.dtype(kind).name for kind in CASTS.values() if np.dtype(kind).kind in "iu"}
