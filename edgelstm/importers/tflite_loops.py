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
from .tflite_schema import ACTIVATIONS

if TYPE_CHECKING:
    from .tflite_lower import Lowering

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
        raise CheckpointError(f"{low.label(operator)}: a loop that is no recurrent layer as known: {reason}; {ADVICE}") from None


def _subgraph(low: Lowering, operator: Operator, index: int) -> Subgraph:
    if not 0 < index < len(low.file.subgraphs):
        raise CheckpointError(f"{low.label(operator)}: its loop names a graph that is not there")
    return low.file.subgraphs[index]


class _Loop:
    def __init__(self, low: Lowering, operator: Operator, condition: Subgraph, body: Subgraph) -> None:
        self.low, self.operator, self.condition, self.body = low, operator, condition, body
        count = len(operator.inputs)
        if not count == len(operator.outputs) == len(body.inputs) == len(body.outputs) == len(condition.inputs):
            raise CheckpointError(f"{low.label(operator)}: its loop's values do not fit together")
        self.products = linear.Products()
        self.leaves: dict[int, Linear] = {}  # states
        self.reads: dict[Term, int] = {}  # sequences whose step is an atom
        self.masks: dict[Term, int] = {}

    # ---- what goes round ----

    def run(self) -> None:
        ends = [self._body(k) for k in self.body.outputs]
        length = self._length(ends)
        states = {k: end for k, end in enumerate(ends) if isinstance(end, Linear) and k in self.leaves}
        for atom, k in {**self.reads, **self.masks}.items():
            shape = self._outer(self.operator.inputs[k]).shape
            if not (isinstance(ends[k], _Held) and ends[k].index == k and not ends[k].part):
                raise Unknown("a sequence it reads changes on the way")
            if not shape or (length is not None and shape[0] != length):
                raise Unknown(f"it runs {length} times over {shape[0] if shape else 0} steps of {atom.width} values")
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
                if ends[counter] != _Counter(counter, 1) or start is None or start.any():
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
            if not (isinstance(ends[index], _Held) and not ends[index].part):
                raise Unknown("the number of its steps changes on the way")
            start = self._start(index)
            return None if start is None else int(start.reshape(-1)[0])
        if tensor.data is None or tensor.array().size != 1:
            raise Unknown("the number of its steps is not known")
        return int(tensor.array().reshape(-1)[0])

    # ---- the arithmetic of one step ----

    def _body(self, wanted: int) -> _Value:
        if not hasattr(self, "_values"):
            self._values: dict[int, _Value] = {}
            for operator in self.body.operators:
                self._operator(operator)
        return self._value(wanted)

    def _value(self, k: int) -> _Value:
        if k in self._values:
            return self._values[k]
        tensor = self.body.tensors[k]
        if k in self.body.inputs:
            index = self.body.inputs.index(k)
            whole = tensor.dtype in ("int32", "int64") and prod(tensor.shape) == 1
            value: _Value = _Counter(index) if whole and self._counts(index) else _Held(index)
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
        value = self._value(k)
        if isinstance(value, _Held) and not value.part:
            shape = self.body.tensors[k].shape
            if self.body.tensors[k].dtype != "float32" or not shape:
                raise Unknown("it computes with a value that is no row of numbers")
            return self.leaves.setdefault(value.index, linear.leaf(shape[-1], "state", value.index))
        if not isinstance(value, Linear):
            raise Unknown("it computes with what is no row of numbers")
        return value

    def _operator(self, operator: Operator) -> None:
        made = self._special(operator)
        values = made if made is not None else evaluate(self, operator)
        for k, value in zip(operator.outputs, values, strict=False):
            self._values[k] = value

    def _special(self, operator: Operator) -> list[_Value] | None:
        """What counts, reads a step of a sequence or writes one."""
        op, inputs = operator.op, operator.inputs
        values: list[Any] = [self._value(k) if k >= 0 else None for k in inputs]
        first = values[0] if values else None
        shape = self.body.tensors[operator.outputs[0]].shape if operator.outputs else ()
        if op == "ADD" and any(isinstance(v, _Counter) for v in values):
            counter, one = values if isinstance(first, _Counter) else values[::-1]
            if not isinstance(one, np.ndarray) or one.size != 1 or int(one.reshape(-1)[0]) != 1 or operator.options["activation"]:
                raise Unknown("it does not count in steps of 1")
            return [_Counter(counter.index, counter.ahead + 1)]
        if op in ("RESHAPE", "EXPAND_DIMS", "PACK") and isinstance(first, _Counter) and prod(shape) == 1:
            return [_Places(first, ())]
        if op == "PACK" and isinstance(first, _Counter) and all(isinstance(v, np.ndarray) for v in values[1:]):
            return [_Places(first, tuple(int(v.reshape(-1)[0]) for v in values[1:]))]
        if op == "CONCATENATION" and isinstance(first, _Places) and all(isinstance(v, np.ndarray) for v in values[1:]):
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
        row = linear.leaf(width, "step", held.index)
        atom = row.atom
        assert atom is not None
        known[atom] = held.index
        return row

    def _piece(self, held: _Held, begin: Any, size: Any) -> _Held:
        """The rows before and behind the one that is written."""
        if isinstance(begin, np.ndarray) and not begin.any() and isinstance(size, _Places):
            if size.counter.ahead == 0 and set(size.rest) <= {-1}:
                return _Held(held.index, "head", size.counter)
        if isinstance(begin, _Places) and isinstance(size, np.ndarray) and set(size.reshape(-1).tolist()) == {-1}:
            if begin.counter.ahead == 1 and not any(begin.rest):
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
                if atom.parts[2] is None or atom.parts[2].atom is not self._leaf(k) or mask not in (None, atom.parts[0]):
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
        known = {"FULLY_CONNECTED", "ADD", "SUB", "MUL", "SPLIT", "RESHAPE", "GATHER", "LOGISTIC", "TANH", "CONCATENATION"}
        known |= {"SLICE", "STRIDED_SLICE", "SELECT_V2", "PACK"}
        others = sorted({operator.op for operator in self.body.operators} - known)
        hint = f" (an activation of {', '.join(others)}?)" if others else ""
        return f"its step is none of an LSTM, a GRU or a simple RNN{hint}, so a cell of its own or an option like recurrent_dropout made it"

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
            y = low.cell(operator, cell.cell, [x, masked, *starts], ["", *wanted], 0)
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


# ---- rows of values ----


def evaluate(step: Any, operator: Operator) -> list[Any]:
    """What an operator makes of rows of values."""
    op, options, body = operator.op, operator.options, step.body
    out = body.tensors[operator.outputs[0]] if operator.outputs else None
    if op == "FULLY_CONNECTED":
        return [_activated(operator, _product(step, operator))]
    if op in ("ADD", "SUB", "MUL"):
        return [_activated(operator, _joined(step, operator))]
    if op in ("RELU", "MINIMUM", "MAXIMUM"):
        bounded = _bounded(step, operator)
        if bounded is not None:
            return [bounded]
    if op in _FUNCTIONS:
        return [linear.apply(_FUNCTIONS[op], step.row(operator.inputs[0]), _alpha(operator))]
    if op in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        shape = body.tensors[operator.inputs[0]].shape
        value = step._value(operator.inputs[0])
        if isinstance(value, np.ndarray):
            return [value.reshape(out.shape)] if out is not None and prod(out.shape) == value.size else []
        row = step.row(operator.inputs[0])
        if out is None or not out.shape or out.shape[-1] != row.width or prod(shape) != prod(out.shape):
            raise Unknown("it rearranges the values of a step")
        return [row]
    if op == "SPLIT":
        axis, row = step._value(operator.inputs[0]), step.row(operator.inputs[1])
        rank = len(body.tensors[operator.inputs[1]].shape)
        if not isinstance(axis, np.ndarray) or int(axis.reshape(-1)[0]) not in (-1, rank - 1):
            raise Unknown("it splits other than the values of a step")
        count = len(operator.outputs)
        if row.width % count:
            raise Unknown("it splits values unevenly")
        size = row.width // count
        return [linear.rows(row, k * size, (k + 1) * size) for k in range(count)]
    if op == "SPLIT_V":
        return _parts(step, operator)
    if op in ("STRIDED_SLICE", "SLICE"):
        return [_cut(step, operator)]
    if op == "CONCATENATION":
        rank = len(body.tensors[operator.inputs[0]].shape)
        if options["axis"] not in (-1, rank - 1) or options["activation"]:
            raise Unknown("it joins other than the values of a step")
        return [linear.stacked([step.row(k) for k in operator.inputs])]
    if op == "NEG":
        return [linear.scaled(step.row(operator.inputs[0]), -1)]
    raise Unknown(f"it computes {op}")


_FUNCTIONS = {
    "LOGISTIC": "sigmoid", "TANH": "tanh", "RELU": "relu", "RELU6": "relu6", "RELU_0_TO_1": "clip01",
    "LEAKY_RELU": "leaky_relu", "ELU": "elu", "EXP": "exponential",
}  # fmt: skip


def _bounded(step: Any, operator: Operator) -> Linear | None:
    """A value held between 0 and 1 by two operators; the first alone is a function of its own kind."""
    row, bound = step.row(operator.inputs[0]), 0.0
    if operator.op != "RELU":
        constant = step._value(operator.inputs[1])
        if not isinstance(constant, np.ndarray) or constant.size != 1:
            raise Unknown(f"it computes {operator.op}")
        bound = float(constant.reshape(-1)[0])
    other = {"RELU": "below 1", "MAXIMUM": "below 1", "MINIMUM": "above 0"}[operator.op]
    atom = row.atom
    fits = bound == (1 if operator.op == "MINIMUM" else 0)
    if fits and atom is not None and atom.kind == "apply" and atom.parts[0] == other:
        return linear.apply("clip01", atom.parts[2])
    if fits and operator.op == "MINIMUM":
        if atom is not None and atom.kind == "apply" and atom.parts[0] == "relu":
            return linear.apply("clip01", atom.parts[2])
        return linear.apply("below 1", row)
    if operator.op == "RELU":
        return None
    if fits:
        return linear.apply("relu", row)
    raise Unknown(f"it computes {operator.op} with {bound:g}")


def _alpha(operator: Operator) -> float:
    return float(operator.options.get("alpha", 1.0 if operator.op == "ELU" else 0.0))


def _activated(operator: Operator, row: Linear) -> Linear:
    name = ACTIVATIONS.get(operator.options["activation"], "unknown")
    if name == "none":
        return row
    if name not in ("relu", "relu6", "tanh"):
        raise Unknown(f"it computes {name}")
    return linear.apply(name, row)


def _product(step: Any, operator: Operator) -> Linear:
    weights = step._value(operator.inputs[1])
    if not isinstance(weights, np.ndarray) or operator.options["weights_format"]:
        raise Unknown("its weights are no constants")
    row: Linear = step.products.matrix(weights, step.row(operator.inputs[0]))
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = step._value(operator.inputs[2])
        if not isinstance(bias, np.ndarray) or bias.size != row.width:
            raise Unknown("its bias is no constant of its width")
        row = linear.shifted(row, bias)
    return row


def _joined(step: Any, operator: Operator) -> Linear:
    values = [step._value(k) for k in operator.inputs]
    constants = [isinstance(v, np.ndarray) for v in values]
    if all(constants):
        raise Unknown("it computes with constants alone")
    if not any(constants):
        left, right = (step.row(k) for k in operator.inputs)
        if operator.op == "MUL":
            return linear.product(left, right)
        return linear.total(left, right if operator.op == "ADD" else linear.scaled(right, -1))
    row = step.row(operator.inputs[constants.index(False)])
    constant = values[constants.index(True)]
    if constant.size not in (1, row.width):
        raise Unknown(f"it joins {row.width} values with a constant of {constant.size}")
    if operator.op == "MUL":
        return linear.scaled(row, constant)
    if operator.op == "ADD":
        return linear.shifted(row, constant)
    return linear.shifted(linear.scaled(row, -1), constant) if constants[0] else linear.shifted(row, -constant)


def _parts(step: Any, operator: Operator) -> list[Any]:
    """SPLIT_V, of which a part may be empty."""
    row, sizes, axis = step.row(operator.inputs[0]), *(step._value(k) for k in operator.inputs[1:3])
    rank = len(step.body.tensors[operator.inputs[0]].shape)
    if not (isinstance(sizes, np.ndarray) and isinstance(axis, np.ndarray)) or int(axis.reshape(-1)[0]) not in (-1, rank - 1):
        raise Unknown("it splits other than the values of a step")
    counts = [int(n) for n in sizes.reshape(-1)]
    if counts.count(-1) == 1:
        counts[counts.index(-1)] = row.width - sum(counts) - 1
    if sum(counts) != row.width or min(counts) < 0:
        raise Unknown(f"it splits {row.width} values into {counts}")
    ends = np.cumsum(counts).tolist()
    return [linear.rows(row, end - n, end) if n else None for end, n in zip(ends, counts, strict=True)]


def _cut(step: Any, operator: Operator) -> Linear:
    row = step.row(operator.inputs[0])
    rank = len(step.body.tensors[operator.inputs[0]].shape)
    bounds = [step._value(k) for k in operator.inputs[1:]]
    if not all(isinstance(b, np.ndarray) and b.size == rank for b in bounds):
        raise Unknown("it takes values at places that are no constants")
    first, last = (b.reshape(-1).tolist() for b in bounds[:2])
    if operator.op == "SLICE":
        ends = [row.width if n == -1 else b + n for b, n in zip(first, last, strict=True)]
        whole = [b == 0 and (n == -1 or n == s) for b, n, s in zip(first, last, step.body.tensors[operator.inputs[0]].shape, strict=True)]
        if not all(whole[:-1]):
            raise Unknown("it takes some sequences of a batch")
        return linear.rows(row, first[-1], ends[-1])
    options = operator.options
    if any(options[f"{key}_mask"] for key in ("ellipsis", "new_axis", "shrink")) or options["offset"]:
        raise Unknown("it takes single values of a step")
    outer = (1 << (rank - 1)) - 1
    if options["begin_mask"] & outer != outer or options["end_mask"] & outer != outer or set(bounds[2].reshape(-1).tolist()) != {1}:
        raise Unknown("it takes some sequences of a batch")
    begin = 0 if options["begin_mask"] >> (rank - 1) & 1 else first[-1]
    end = row.width if options["end_mask"] >> (rank - 1) & 1 else last[-1]
    return linear.rows(row, begin if begin >= 0 else begin + row.width, end if end >= 0 else end + row.width)
