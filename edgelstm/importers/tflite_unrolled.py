"""Recurrent layers whose steps stand one by one in a .tflite graph, as the cells they are.

Steps are matched by their arithmetic: all weights alike, each reading the h before, over all steps of one sequence in
order. Of the first step, in which converters drop what zeros make nothing of, the answer is compared. What does not fit
stays as it stands: layers for every step, to the same effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..activations import activate
from ..errors import CheckpointError, ModelError
from ..layers import Activation
from ..meta import MAX_WIDTH
from ..model import Array
from ..reference_cells import run as reference
from . import tflite_linear as linear
from . import tflite_steps as steps
from .tflite_cells import Cell
from .tflite_file import Operator, Tensor
from .tflite_linear import Linear, Term, Unknown
from .tflite_patterns import Graph, same
from .tflite_rows import evaluate

_RANK = 2  # of a step's tensors
_MOST = 20_000  # operators that are followed
_MOST_BUILT = 1 << 28  # weights of all steps
_MOST_CELLS = 64  # kinds of steps


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One step of a cell."""

    cell: Cell
    reads: tuple[Term, ...]
    h: Linear
    c: Linear | None
    before: tuple[Term, ...]  # h, and of an LSTM c, that it starts from
    tensors: tuple[int, ...]  # of h and c


def unroll(graph: Graph, real: Callable[[Tensor], Array]) -> None:
    """Puts cells in place of steps."""
    shared = Counter(o.inputs[1] for o in graph.operators if o.op == "FULLY_CONNECTED" and len(o.inputs) > 1)
    once = {o.outputs[0] for o in graph.operators if o.op == "UNPACK" and len(o.outputs) == 1}
    if not (shared and max(shared.values()) > 1) and not once:
        return
    if len(graph.operators) > _MOST:
        return
    rows = _Rows(graph, real)
    rows.follow()
    found: dict[Term, int] = {}  # h of a step -> the tensor of all steps' h, of chains put in already
    chains = sorted(rows.chains(), key=len, reverse=True)
    waiting, used = chains, set[int]()
    while waiting:
        left = []
        for chain in waiting:
            if any(id(step.h) in used for step in chain):
                continue
            if rows.put(chain, found):
                used.update(id(step.h) for step in chain)
            else:
                left.append(chain)
        if len(left) == len(waiting):
            return
        waiting = left


class _Rows:
    """The rows of values in a graph, of which `evaluate` makes others."""

    def __init__(self, graph: Graph, real: Callable[[Tensor], Array]) -> None:
        self.graph = graph
        self.body = graph  # its tensors are what `evaluate` looks at
        self.real = real
        self.products = linear.Products()
        self.values: dict[int, Any] = {}
        self.steps: list[_Step] = []
        self.cells: list[Cell] = []
        self.built = 0  # weights of cells that were put together
        self.layouts: dict[int, int] = {}  # of the tensors of all steps' h

    def value(self, k: int) -> Any:
        if k not in self.values:
            tensor = self.graph.tensors[k]
            if tensor.data is not None:
                self.values[k] = self.real(tensor)
            elif self._zeros(k):
                self.values[k] = np.zeros(tensor.shape[-1:], np.float32)
            else:
                width = tensor.shape[-1] if tensor.shape and tensor.dtype == "float32" else 0
                self.values[k] = linear.leaf(width, "tensor", k) if 0 < width <= MAX_WIDTH else None
        return self.values[k]

    def _zeros(self, k: int) -> bool:
        """Whether a tensor is a state of zeros for however many sequences there are."""
        operator, tensor = self.graph.written(k, "FILL"), self.graph.tensors[k]
        if operator is None or tensor.dtype != "float32" or len(tensor.shape) != _RANK:
            return False
        return 0 < tensor.shape[-1] <= MAX_WIDTH and self.graph.number(operator.inputs[1]) == 0

    def row(self, k: int) -> Linear:
        value = self.value(k)
        if not isinstance(value, Linear):
            raise Unknown("no row of numbers")
        return value

    def follow(self) -> None:
        """Writes out what every operator computes, and finds the steps among it."""
        for operator in list(self.graph.operators):
            if self.built > _MOST_BUILT or len(self.cells) > _MOST_CELLS:
                self.steps.clear()
                return
            shape = self.graph.tensors[operator.outputs[0]].shape if operator.outputs else ()
            if operator.op not in _FOLLOWED or not shape or len(shape) > _RANK:
                continue
            try:
                made = evaluate(self, operator)
            except (Unknown, CheckpointError, ValueError, IndexError, KeyError):
                continue
            for k, row in zip(operator.outputs, made, strict=False):
                if isinstance(row, Linear) and row.width == (self.graph.tensors[k].shape or (0,))[-1]:
                    self.values[k] = row
                    self._steps(k, row)

    # ---- steps ----

    def _steps(self, k: int, row: Linear) -> None:
        for c, found, before in self._candidates(row):
            self.built += sum(v.size for v in found.cell.fields.values() if isinstance(v, np.ndarray))
            cell = next((known for known in self.cells if _alike(known, found.cell)), found.cell)
            if cell is found.cell:
                self.cells.append(cell)
            at = next((n for n, value in self.values.items() if value is c), -1) if c is not None else -1
            self.steps.append(_Step(cell, found.reads, row, c, before, (k, at)))

    def _candidates(self, row: Linear) -> Iterator[tuple[Linear | None, steps.Found, tuple[Term, ...]]]:
        atom = row.atom
        if atom is not None and atom.kind == "product":
            for inner in atom.parts:
                shape = linear.function(inner)
                c_new = shape[1] if shape is not None else inner
                for c, h in self._before(c_new):
                    found = steps.lstm(row, c_new, h, c)
                    if found is not None and c not in found.reads:
                        yield c_new, found, (h, c)
                        return
        elif atom is not None and atom.kind == "apply":
            for h in list(atom.parts[2].terms):
                found = steps.rnn(row, h) if self._hands_on(h, row.width) else None
                if found is not None:
                    yield None, found, (h,)
        elif len(row.terms) == 2 and all(a.kind == "product" for a in row.terms):
            for part in row.terms:
                for state in part.parts:
                    h = self.products.atom(state)
                    found = steps.gru(row, h)
                    if found is not None:
                        yield None, found, (h,)
                        return

    def _before(self, c_new: Linear) -> Iterator[tuple[Term, Term]]:
        """States from which an LSTM's c may come, c and h each."""
        for part in c_new.terms:
            if part.kind != "product":
                continue
            for gate, state in (part.parts, part.parts[::-1]):
                inner = linear.function(gate)
                if inner is None:
                    continue
                c = self.products.atom(state)
                for h in inner[1].terms:
                    if h is not c and self._hands_on(h, c.width):
                        yield c, h

    def _hands_on(self, atom: Term, width: int) -> bool:
        """Whether an atom may be the h of a step before, or an input of the graph that a cell starts from."""
        if atom.width != width:
            return False
        if atom.kind == "leaf":
            return atom.parts[1] in self.graph.original.inputs
        return atom.kind in ("product", "apply", "alias")

    def chains(self) -> list[list[_Step]]:
        """Runs of steps of one cell, each reading the h of the one before."""
        by_h: dict[Term, list[_Step]] = {}
        for step in self.steps:
            by_h.setdefault(self.products.atom(step.h), []).append(step)
        found = []
        for last in self.steps:
            chain = [last]
            while True:
                befores = [s for s in by_h.get(chain[0].before[0], ()) if s.cell is last.cell and s is not chain[0]]
                if len(befores) != 1 or not self._joins(befores[0], chain[0]) or len(chain) > _MOST:
                    break
                chain.insert(0, befores[0])
            found.append(chain)
        inner = {id(step) for chain in found for step in chain[:-1]}
        return [chain for chain in found if id(chain[-1]) not in inner]

    def _joins(self, before: _Step, after: _Step) -> bool:
        return len(after.before) == 1 or (before.c is not None and self.products.atom(before.c) is after.before[1])

    # ---- cells ----

    def put(self, chain: list[_Step], found: dict[Term, int]) -> bool:
        """Puts a cell in place of its steps, if all of a sequence are there."""
        reads = [step.reads[0] for step in chain]
        if any(len(step.reads) != 1 for step in chain):
            return False
        source = self._source(reads, found)
        if source is None:
            return False
        tensor, layout, order = source
        batch = self.graph.tensors[tensor].shape[1 - layout]
        shapes = [self.graph.tensors[step.tensors[0]].shape for step in chain]
        if any(prod(shape) != batch * chain[0].h.width for shape in shapes):
            return False
        starts: tuple[int, ...] = ()
        firsts: list[Linear] = []
        if len(order) == len(chain) + 1:  # the first step stands apart
            firsts = [_as_row(atom) for atom in chain[0].before]
            if not self._begins(chain[0], firsts, order[0]):
                return False
        elif len(order) == len(chain) and all(a.kind == "leaf" for a in chain[0].before):
            starts = tuple(a.parts[1] for a in chain[0].before)
        else:
            return False
        self._replace(chain, firsts, tensor, layout, starts, found)
        return True

    def _source(self, reads: list[Term], found: dict[Term, int]) -> tuple[int, int, list[Term]] | None:
        """The tensor whose steps are read in order, its layout, and the atoms of all its steps."""
        if reads[0].kind == "leaf":
            return self._unpacked(reads)
        tensor = found.get(reads[-1])
        if tensor is None:
            return None
        order = [atom for atom, k in found.items() if k == tensor]
        fits = order[-len(reads) :] == reads
        return (tensor, self.layouts[tensor], order) if fits else None

    def _unpacked(self, reads: list[Term]) -> tuple[int, int, list[Term]] | None:
        places = [atom.parts[1] if atom.kind == "leaf" else -1 for atom in reads]
        operator = self.graph.written(places[0], "UNPACK") if places[0] >= 0 else None
        if operator is None or any(k < 0 for k in places):
            return None
        x, axis = self.graph.tensors[operator.inputs[0]], operator.options["axis"]
        if len(x.shape) != 3 or axis not in (0, 1):
            return None
        for outputs in (list(operator.outputs), list(operator.outputs)[::-1]):
            if outputs[-len(places) :] != places:
                continue
            order = [self.products.atom(row) for row in map(self.value, outputs) if isinstance(row, Linear)]
            if len(order) != len(outputs):
                return None
            if outputs[0] == operator.outputs[0]:
                return operator.inputs[0], axis, order
            return self._turned(operator, axis), axis, order
        return None

    def _turned(self, operator: Operator, axis: int) -> int:
        """The tensor that is unpacked with its steps in reverse order."""
        graph = self.graph
        turned = graph.tensor(graph.tensors[operator.inputs[0]])
        graph.operators.insert(
            next(k for k, o in enumerate(graph.operators) if o is operator),
            Operator("backwards", 1, (operator.inputs[0],), (turned,), (), {"axis": axis}),
        )
        return turned

    def _begins(self, step: _Step, firsts: list[Linear], x: Term) -> bool:
        """Whether the rows a step starts from are what its cell gives of x and zeros."""
        rng = np.random.default_rng(0)
        values = rng.normal(size=(6, x.width)) * np.array([0.05, 0.3, 1, 1, 2, 4])[:, None]
        try:
            layer = step.cell.form("step", ("x",), ("h", "c")[: len(firsts)], **step.cell.fields)
            expected, _ = reference(layer, [values[:, None]])
            for row, wanted in zip(firsts, expected, strict=False):
                made = numeric(row, {x: values})
                if not np.allclose(made, wanted[:, 0], rtol=1e-5, atol=1e-6):
                    return False
        except (Unknown, ModelError, ValueError):
            return False
        return True

    def _replace(
        self,
        chain: list[_Step],
        firsts: list[Linear],
        x: int,
        layout: int,
        starts: tuple[int, ...],
        found: dict[Term, int],
    ) -> None:
        graph, units = self.graph, chain[0].h.width
        source = graph.tensors[x]
        shape = (*source.shape[:2], units)
        every = graph.tensor(
            source, name=graph.tensors[chain[-1].tensors[0]].name, shape=shape, signature=(*source.signature[:2], units)
        )
        last = [graph.tensor(graph.tensors[chain[-1].tensors[0]]) for _ in chain[0].before]
        options = {"cell": chain[0].cell, "layout": layout}
        operator = Operator("recurrent", 1, (x, *starts), (every, *last), (), options)
        at = next((n for n, o in enumerate(graph.operators) if x in o.outputs), -1)
        graph.operators.insert(at + 1, operator)
        hs = [*firsts[:1], *(step.h for step in chain)]
        for t, row in enumerate(hs):
            found[self.products.atom(row)] = every
            for k, value in list(self.values.items()):
                writer = graph.writers.get(k)
                if value is row and writer is not None and graph.tensors[k].data is None:
                    self._step(writer, k, every, last, t, len(hs), layout)
        if chain[-1].c is not None:
            for k, value in list(self.values.items()):
                writer = graph.writers.get(k)
                if value is chain[-1].c and writer is not None:
                    self._instead(writer, k, same(last[1], k))
        self.layouts[every] = layout
        self._packed(every, layout, [self.products.atom(row) for row in hs])

    def _step(self, writer: Operator, k: int, every: int, last: list[int], t: int, count: int, layout: int) -> None:
        """h of one step: the last, or one of all."""
        rank = self.graph.tensors[k].shape
        if prod(rank) == prod(self.graph.tensors[last[0]].shape) and len(rank) == _RANK:
            if t == count - 1:
                self._instead(writer, k, same(last[0], k))
            else:
                self._instead(writer, k, Operator("step", 1, (every,), (k,), (), {"index": t, "axis": layout}))

    def _instead(self, writer: Operator, k: int, operator: Operator) -> None:
        if len(writer.outputs) == 1:
            self.graph.put(writer, operator)

    def _packed(self, every: int, layout: int, hs: list[Term]) -> None:
        """The steps' h put together are the cell's answer."""
        for operator in list(self.graph.operators):
            if operator.op != "PACK" or len(operator.inputs) != len(hs):
                continue
            rows = [self.values.get(k) for k in operator.inputs]
            atoms = [self.products.atom(row) if isinstance(row, Linear) else None for row in rows]
            axis = operator.options["axis"]
            if axis not in (0, 1) or atoms not in (hs, hs[::-1]):
                continue
            at = next(n for n, o in enumerate(self.graph.operators) if o is operator)
            source = every
            if atoms != hs:
                source = self.graph.tensor(self.graph.tensors[every])
                turn = Operator("backwards", 1, (every,), (source,), (), {"axis": layout})
                self.graph.operators.insert(at, turn)
            perm = [0, 1, 2] if axis == layout else [1, 0, 2]
            self.graph.put(operator, Operator("turned", 1, (source,), operator.outputs, (), {"perm": perm}))


_FOLLOWED = {
    "FULLY_CONNECTED", "ADD", "SUB", "MUL", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "SLICE", "LOGISTIC", "TANH", "RELU",
    "RELU6", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "EXP", "RESHAPE", "SQUEEZE", "MINIMUM", "MAXIMUM", "NEG",
}  # fmt: skip


def _alike(left: Cell, right: Cell) -> bool:
    """Whether two cells compute the same."""
    if left.form is not right.form or set(left.fields) != set(right.fields):
        return False
    for key, value in left.fields.items():
        other = right.fields[key]
        if isinstance(value, np.ndarray):
            if value.shape != other.shape or (value != other).any():
                return False
        elif value != other:
            return False
    return True


def _as_row(atom: Term) -> Linear:
    row: Linear = atom.parts[0] if atom.kind == "alias" else linear.of(atom)
    return row


def numeric(row: Linear, known: dict[Term, Array], depth: int = 0) -> Array:
    """The values of a row, of those of atoms. Unknown where it needs others."""
    if depth > 40:
        raise Unknown("it goes back too far")
    made: Array = np.broadcast_to(row.bias, (row.width,))[None]
    for atom, coefficient in row.terms.items():
        values = known.get(atom)
        if values is None:
            values = known[atom] = _numeric(atom, known, depth)
        if coefficient.matrix is not None:
            values = values @ coefficient.matrix.astype(np.float64).T
        made = made + values * coefficient.scale
    return made


def _numeric(atom: Term, known: dict[Term, Array], depth: int) -> Array:
    if atom.kind == "apply":
        name, alpha, argument = atom.parts
        values = numeric(argument, known, depth + 1)
        return np.clip(values, 0, 1) if name == "clip01" else activate(Activation(name, alpha), values)
    if atom.kind == "product":
        made: Array = numeric(atom.parts[0], known, depth + 1) * numeric(atom.parts[1], known, depth + 1)
        return made
    if atom.kind == "alias":
        return numeric(atom.parts[0], known, depth + 1)
    raise Unknown("it reads more than a step")
