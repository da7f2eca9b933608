"""WHILE loops as converters write them for recurrent layers, as the cells they are. A loop is read only if every part
of it is understood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import CheckpointError
from ..model import Array
from . import tflite_linear as linear
from . import tflite_steps as steps
from .tflite_file import Operator, Subgraph, Tensor
from .tflite_linear import Linear, Term, Unknown
from .tflite_rows import evaluate, is_whole

if TYPE_CHECKING:
    from .tflite_lower import Lowering

_MOST_VALUES = 64  # of a loop: two states for each cell, counters and sequences
_MOST_EVALUATED = 50_000  # operators of one step of all loops; a step of a cell has about 40
ADVICE = "import the checkpoint it was converted from (.keras, .h5, .pt) instead"


@dataclass(frozen=True, slots=True)
class _Counter:
    """A number that grows by one each time round."""

    index: int  # which of the loop's values
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Whole numbers, a counter the first of them."""

    counter: _Counter
    rest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """One of the loop's values as it came in; a sequence whose steps are read or written, or a state."""

    index: int
    part: str = ""  # "head", "tail": the rows before and behind the one that is written

    counter: _Counter | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """One of the loop's sequences with a row written."""

    index: int
    row: Linear


_Value: TypeAlias = Linear | Array | _Counter | _Places | _Held | _Written


def loop(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    """Adds the cells that a loop is."""
    condition, body = (_subgraph(low, operator, options.pop(key)) for key in ("condition", "body"))
    try:
        _Loop(low, operator, condition, body).run()
    except Unknown as reason:
        raise CheckpointError(
            f"{low.label(operator)}: a loop that is no recurrent layer as known: {reason}; {ADVICE}"
        ) from None


def _subgraph(low: Lowering, operator: Operator, index: int) -> Subgraph:
    if not 0 < index < len(low.file.subgraphs):
        raise CheckpointError(f"{low.label(operator)}: its loop names a graph that is not there")
    return low.file.subgraphs[index]


class _Loop:
    def __init__(self, low: Lowering, operator: Operator, condition: Subgraph, body: Subgraph) -> None:
        self.low, self.operator, self.condition, self.body = low, operator, condition, body
        count = len(operator.inputs)
        if count > _MOST_VALUES:
            raise CheckpointError(f"{low.label(operator)}: {count} values go round, expected at most {_MOST_VALUES}")
        if not count == len(operator.outputs) == len(body.inputs) == len(body.outputs) == len(condition.inputs):
            raise CheckpointError(f"{low.label(operator)}: its loop's values do not fit together")
        self.products = linear.Products()
        self.leaves: dict[int, Linear] = {}  # states
        self.reads: dict[Term, int] = {}  # sequences whose step is an atom
        self.masks: dict[Term, int] = {}
        self.limits: list[int] = []  # tensors that hold how often it runs, told when the graph is walked

    # ---- what goes round ----

    def run(self) -> None:
        ends = [self._body(k) for k in self.body.outputs]
        length = self._length(ends)
        states = {k: end for k, end in enumerate(ends) if isinstance(end, Linear) and k in self.leaves}
        for atom, k in {**self.reads, **self.masks}.items():
            shape = self._outer(self.operator.inputs[k]).shape
            end = ends[k]
            if not (isinstance(end, _Held) and end.index == k and not end.part):
                raise Unknown("a sequence it reads changes on the way")
            if not shape or (length is not None and shape[0] != length):
                raise Unknown(f"it runs {length} times over {shape[0] if shape else 0} steps of {atom.width} values")
        batches = {self._outer(self.operator.inputs[k]).shape[1:2] for k in self.reads.values()}
        for k, row in states.items():
            shape = self._outer(self.operator.inputs[k]).shape
            if len(batches) != 1 or shape != (*next(iter(batches)), row.width):
                raise Unknown(f"it keeps a state of shape {list(shape)}")
        self._cells(ends, states)

    def _outer(self, k: int) -> Tensor:
        return self.low.subgraph.tensors[k]

    def _start(self, k: int) -> Array | None:
        """A constant that a value starts from."""
        source = self.operator.inputs[k]
        tensor = self._outer(source) if source >= 0 else None
        return tensor.array() if tensor is not None and tensor.data is not None else None

    def _length(self, ends: Sequence[_Value]) -> int | None:
        """How often the loop runs; None where the file leaves it open."""
        limits: list[int | None] = []
        inner = self.condition
        writers = {k: operator for operator in inner.operators for k in operator.outputs}
        queue = list(inner.outputs)
        for _ in range(8):
            if not queue:
                break
            operator = writers.get(queue.pop())
            if operator is not None and operator.op == "LOGICAL_AND":
                queue += operator.inputs
            elif operator is not None and operator.op == "LESS" and operator.inputs[0] in inner.inputs:
                counter = inner.inputs.index(operator.inputs[0])
                start = self._start(counter)
                end = ends[counter]
                counts = isinstance(end, _Counter) and end == _Counter(counter, 1)
                if not counts or start is None or start.any():
                    raise Unknown("it does not count from 0 in steps of 1")
                limits.append(self._limit(inner, operator.inputs[1], ends))
            else:
                queue, limits = [], []
                break
        if queue or not limits:
            raise Unknown("it does not end after a number of steps")
        known = [n for n in limits if n is not None]
        return min(known) if known else None

    def _limit(self, inner: Subgraph, k: int, ends: Sequence[_Value]) -> int | None:
        tensor = inner.tensors[k]
        if tensor.data is None and k in inner.inputs:
            index = inner.inputs.index(k)
            end = ends[index]
            if not (isinstance(end, _Held) and not end.part):
                raise Unknown("the number of its steps changes on the way")
            start = self._start(index)
            if start is None:
                self.limits.append(self.operator.inputs[index])
                return None
        else:
            start = tensor.array() if tensor.data is not None else None
        if not is_whole(start) or start is None or start.size != 1:
            raise Unknown("the number of its steps is not known")
        return int(start.reshape(-1)[0])

    # ---- the arithmetic of one step ----

    def _body(self, wanted: int) -> _Value:
        if not hasattr(self, "_values"):
            self._values: dict[int, _Value] = {}
            for operator in self.body.operators:
                self._operator(operator)
        return self.value(wanted)

    def value(self, k: int) -> _Value:
        if k in self._values:
            return self._values[k]
        tensor = self.body.tensors[k]
        if k in self.body.inputs:
            index = self.body.inputs.index(k)
            number = tensor.dtype in ("int32", "int64") and prod(tensor.shape) == 1
            value: _Value = _Counter(index) if number and self._counts(index) else _Held(index)
        elif tensor.data is not None:
            value = self.low.real(tensor)
        else:
            raise Unknown(f"it reads what nothing wrote ({k})")
        self._values[k] = value
        return value

    def _counts(self, index: int) -> bool:
        start = self._start(index)
        return start is not None and start.size == 1 and not start.any()

    def row(self, k: int) -> Linear:
        """A tensor of the body as a row of values."""
        value = self.value(k)
        if isinstance(value, _Held) and not value.part:
            shape = self.body.tensors[k].shape
            if self.body.tensors[k].dtype != "float32" or not shape:
                raise Unknown("it computes with a value that is no row of numbers")
            return self.leaves.setdefault(value.index, linear.leaf(shape[-1], "state", value.index))
        if not isinstance(value, Linear):
            raise Unknown("it computes with what is no row of numbers")
        return value

    def _operator(self, operator: Operator) -> None:
        self.low.evaluated += 1
        if self.low.evaluated > _MOST_EVALUATED:  # many loops may have one step, of few bytes
            raise CheckpointError(f"its loops have more than {_MOST_EVALUATED} operators in all")
        made = self._special(operator)
        values = made if made is not None else evaluate(self, operator)
        for k, value in zip(operator.outputs, values, strict=False):
            self._values[k] = value

    def _special(self, operator: Operator) -> list[_Value] | None:
        """What counts, reads a step of a sequence or writes one."""
        op, inputs = operator.op, operator.inputs
        values: list[Any] = [self.value(k) if k >= 0 else None for k in inputs]
        first = values[0] if values else None
        shape = self.body.tensors[operator.outputs[0]].shape if operator.outputs else ()
        if op == "ADD" and any(isinstance(v, _Counter) for v in values):
            counter, one = values if isinstance(first, _Counter) else values[::-1]
            if not is_whole(one) or one.size != 1 or int(one.reshape(-1)[0]) != 1 or operator.options["activation"]:
                raise Unknown("it does not count in steps of 1")
            return [_Counter(counter.index, counter.ahead + 1)]
        if op in ("RESHAPE", "EXPAND_DIMS", "PACK") and isinstance(first, _Counter) and prod(shape) == 1:
            return [_Places(first, ())]
        if op == "PACK" and isinstance(first, _Counter) and all(is_whole(v) for v in values[1:]):
            return [_Places(first, tuple(int(v.reshape(-1)[0]) for v in values[1:]))]
        if op == "CONCATENATION" and isinstance(first, _Places) and all(is_whole(v) for v in values[1:]):
            return [_Places(first.counter, (*first.rest, *(int(n) for v in values[1:] for n in v.reshape(-1))))]
        if op == "GATHER" and isinstance(first, _Held) and isinstance(values[1], _Counter | _Places):
            return [self._step(operator, first, values[1])]
        if op == "SLICE" and isinstance(first, _Held):
            return [self._piece(first, values[1], values[2])]
        if op == "CONCATENATION" and any(isinstance(v, _Held) and v.part for v in values):
            return [self._joined(operator, values)]
        if op == "DYNAMIC_UPDATE_SLICE" and isinstance(first, _Held) and isinstance(values[2], _Places):
            if values[2].counter.ahead or any(values[2].rest):
                raise Unknown("it writes a step elsewhere than at its own place")
            return [_Written(first.index, self.row(inputs[1]))]
        if op == "SELECT_V2" or op == "SELECT":
            return [self._choice(operator, values)]
        return None

    def _step(self, operator: Operator, held: _Held, index: _Counter | _Places) -> Linear:
        counter = index if isinstance(index, _Counter) else index.counter
        if counter.ahead or held.part or operator.options["axis"] or operator.options["batch_dims"]:
            raise Unknown("it reads another step than its own")
        tensor = self.body.tensors[operator.outputs[0]]
        is_mask = tensor.dtype == "bool"
        width = tensor.shape[-1] if tensor.shape else 1
        if is_mask and width != 1:
            raise Unknown("its mask has several values a step")
        known = self.masks if is_mask else self.reads
        for atom, k in known.items():
            if k == held.index:
                return linear.of(atom)
        made = Term("leaf", width, ("step", held.index))
        known[made] = held.index
        return linear.of(made)

    def _piece(self, held: _Held, begin: Any, size: Any) -> _Held:
        """The rows before and behind the one that is written."""
        if isinstance(size, _Places) and is_whole(begin):
            if not begin.any() and size.counter.ahead == 0 and set(size.rest) <= {-1}:
                return _Held(held.index, "head", size.counter)
        elif isinstance(begin, _Places) and is_whole(size):
            rest = set(size.reshape(-1).tolist())
            if rest == {-1} and begin.counter.ahead == 1 and not any(begin.rest):
                return _Held(held.index, "tail", _Counter(begin.counter.index))
        raise Unknown("it takes a part of a sequence")

    def _joined(self, operator: Operator, values: list[Any]) -> _Written:
        if len(values) == 3 and not operator.options["axis"] and not operator.options["activation"]:
            head, row, tail = values
            parts = [v.part if isinstance(v, _Held) else "" for v in (head, tail)]
            if parts == ["head", "tail"] and head.index == tail.index and isinstance(row, Linear):
                return _Written(head.index, row)
        raise Unknown("it writes a sequence in another order than its steps")

    def _choice(self, operator: Operator, values: list[Any]) -> Linear:
        mask = values[0].atom if isinstance(values[0], Linear) else None
        if mask is None or mask not in self.masks:
            raise Unknown("it chooses by more than a mask")
        new = self.row(operator.inputs[1])
        if isinstance(values[2], np.ndarray):
            if values[2].any():
                raise Unknown("where a step does not count it writes constants other than zeros")
            return linear.choice(mask, new, None)
        return linear.choice(mask, new, self.row(operator.inputs[2]))

    # ---- the cells ----

    def _cells(self, ends: Sequence[_Value], states: dict[int, Linear]) -> None:
        mask: Term | None = None
        new: dict[int, Linear] = {}
        for k, row in states.items():
            atom = row.atom
            if atom is not None and atom.kind == "choice":
                if (
                    atom.parts[2] is None
                    or atom.parts[2].atom is not self._leaf(k)
                    or mask not in (None, atom.parts[0])
                ):
                    raise Unknown("a masked step does not keep its state")
                mask, row = atom.parts[0], atom.parts[1]
            new[k] = row
        if mask is not None and any(row is states[k] for k, row in new.items()):
            raise Unknown("some of its states go by a mask and others do not")
        found = self._match(new)
        shown: dict[int, int] = {}  # states that repeat what a cell wrote, as masks want it
        for k, row in new.items():
            if k in {n for pair in found for n in pair}:
                continue
            cell = next((pair[0] for pair in found if linear.equal(new[pair[0]], row)), None)
            if cell is None or mask is None:
                raise Unknown(self._doubt())
            start = self._start(k)
            if start is None or start.any():
                raise Unknown("what it writes before the first step that counts is not zero")
            shown[k] = cell
        names = self._emit(found, new, mask)
        self._results(ends, states, new, found, shown, mask, names)

    def _leaf(self, k: int) -> Term | None:
        return self.leaves[k].atom if k in self.leaves else None

    def _doubt(self) -> str:
        """What its arithmetic is not, and what may have made it so."""
        others = sorted({operator.op for operator in self.body.operators} - _USUAL)
        hint = f" (an activation of {', '.join(others)}?)" if others else ""
        return (
            f"its step is none of an LSTM, a GRU or a simple RNN{hint}, so a cell of its own or an option like "
            "recurrent_dropout made it"
        )

    def _match(self, new: dict[int, Linear]) -> dict[tuple[int, ...], steps.Found]:
        """Cells by the states they keep."""
        found: dict[tuple[int, ...], steps.Found] = {}
        free = set(new)
        for h in new:
            for c in new:
                if h != c and {h, c} <= free:
                    cell = steps.lstm(new[h], new[c], self._leaf(h), self._leaf(c))
                    if cell is not None and self._leaf(c) not in cell.reads:
                        found[h, c] = cell
                        free -= {h, c}
        for h in new:
            if h in free:
                cell = steps.gru(new[h], self._leaf(h)) or steps.rnn(new[h], self._leaf(h))
                if cell is not None:
                    found[(h,)] = cell
                    free.discard(h)
        return found

    def _emit(
        self, found: dict[tuple[int, ...], steps.Found], new: dict[int, Linear], mask: Term | None
    ) -> dict[int, str]:
        """Adds the cells, those first that others read. Names of h of every step, and of last states, by state."""
        low, operator = self.low, self.operator
        sequences = {atom: low.name(operator.inputs[k]) for atom, k in self.reads.items()}
        masked = low.name(operator.inputs[self.masks[mask]]) if mask is not None else ""
        names: dict[int, str] = {}
        waiting = dict(found)
        while waiting:
            ready = next((s for s, f in waiting.items() if all(a in sequences for a in f.reads)), None)
            if ready is None:
                raise Unknown(self._doubt())
            cell = waiting.pop(ready)
            parts = [sequences[atom] for atom in cell.reads]
            x = parts[0] if len(parts) == 1 else low.emit(operator, "Concat", parts, axis=2)
            starts = [low.name(operator.inputs[k]) for k in ready]
            read = [k == ready[0] or operator.outputs[k] in low.read for k in ready]
            wanted = [low.own() if there else "" for there in read]
            limits = [low.name(k) for k in self.limits]
            inputs = [x, masked, *(starts + ["", ""])[:2], *limits]
            y = low.cell(operator, cell.cell, inputs, ["", *wanted], 0)
            names |= {-1 - ready[0]: y} | dict(zip(ready, wanted, strict=True))
            sequences[self.products.atom(new[ready[0]])] = y
        return names

    def _results(
        self,
        ends: Sequence[_Value],
        states: dict[int, Linear],
        new: dict[int, Linear],
        found: dict[tuple[int, ...], steps.Found],
        shown: dict[int, int],
        mask: Term | None,
        names: dict[int, str],
    ) -> None:
        """Names the loop's answers."""
        low, operator = self.low, self.operator
        for k, (end, output) in enumerate(zip(ends, operator.outputs, strict=True)):
            if output not in low.read:
                continue
            target = low.name(output)
            if isinstance(end, _Counter):
                continue
            if isinstance(end, _Held):
                low.emit(operator, "Identity", [low.name(operator.inputs[k])], target)
            elif k in states:
                source = names.get(k) or names.get(shown.get(k, -1), "")
                low.emit(operator, "Identity", [source], target)
            elif isinstance(end, _Written | Linear):
                row = end.row if isinstance(end, _Written) else end
                self._answer(row, isinstance(end, _Written), target, new, found, shown, mask, names)
            else:
                raise Unknown(self._doubt())

    def _answer(
        self,
        row: Linear,
        every: bool,
        target: str,
        new: dict[int, Linear],
        found: dict[tuple[int, ...], steps.Found],
        shown: dict[int, int],
        mask: Term | None,
        names: dict[int, str],
    ) -> None:
        """h of every step, or that of the last as a sequence of one."""
        low, operator = self.low, self.operator
        zeros = False
        atom = row.atom
        if atom is not None and atom.kind == "choice":
            old = atom.parts[2]
            kept = old is not None and any(old.atom is self._leaf(k) for k in shown)
            zeros = old is None
            if atom.parts[0] is not mask or not (kept or zeros):
                raise Unknown("what it writes in a masked step is neither zeros nor what it wrote before")
            row = atom.parts[1]
        elif mask is not None:
            raise Unknown("it writes masked steps as others")
        state = next((pair[0] for pair in found if linear.equal(new[pair[0]], row)), None)
        if state is None:
            raise Unknown("what it writes is not the h of its cell")
        y = names[-1 - state]
        if zeros:
            if not every:
                raise Unknown("the last step is zero where it does not count")
            assert mask is not None
            y = low.emit(operator, "Mul", [y, low.name(operator.inputs[self.masks[mask]])])
        if every:
            low.emit(operator, "Identity", [y], target)
        else:
            low.emit(operator, "Unsqueeze", [names[state], low.whole([0])], target)


_USUAL = {
    "FULLY_CONNECTED", "ADD", "SUB", "MUL", "SPLIT", "SPLIT_V", "RESHAPE", "GATHER", "LOGISTIC", "TANH",
    "CONCATENATION", "SLICE", "STRIDED_SLICE", "SELECT_V2", "PACK",
}  # fmt: skip
"""What the loops of plain cells are made of."""
