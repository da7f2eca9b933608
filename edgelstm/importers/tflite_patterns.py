"""Several operators of a .tflite graph that are one layer: masks, layer normalisation, variables, word numbers.

Each is put into the graph as an operator of our own, with a name in small letters; what it replaces is needed no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..meta import MAX_WIDTH
from ..model import Array
from .tflite_file import File, Operator, Subgraph, Tensor
from .torch_pickle import shown


def rewritten(file: File) -> Graph:
    """The first graph of a file with what is one layer as one operator."""
    found = Graph(file.subgraphs[0])
    _variables(found, file)
    _words(found)
    _functions(found)
    _masks(found)
    _normalisations(found)
    return found


class Graph:
    """A graph that changes."""

    def __init__(self, subgraph: Subgraph) -> None:
        self.original = subgraph
        self.tensors = list(subgraph.tensors)
        self.operators = list(subgraph.operators)
        self.writers = {k: operator for operator in self.operators for k in operator.outputs}

    def subgraph(self) -> Subgraph:
        return replace(self.original, tensors=tuple(self.tensors), operators=tuple(self.operators))

    def written(self, k: int, *ops: str) -> Operator | None:
        """The operator that writes a tensor, if it is one of these."""
        operator = self.writers.get(k)
        return operator if operator is not None and operator.op in ops else None

    def constant(self, k: int) -> Array | None:
        tensor = self.tensors[k] if k >= 0 else None
        if tensor is None or tensor.data is None or tensor.refused or tensor.quantization is not None:
            return None
        return tensor.array()

    def number(self, k: int) -> float | None:
        array = self.constant(k)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def tensor(self, like: Tensor, **changes: Any) -> int:
        self.tensors.append(replace(like, data=None, quantization=None, **changes))
        return len(self.tensors) - 1

    def put(self, old: Operator, *new: Operator) -> None:
        """Operators in place of another, which may write some of what that wrote."""
        at = next(k for k, operator in enumerate(self.operators) if operator is old)
        self.operators[at : at + 1] = new
        for operator in new:
            self.writers.update(dict.fromkeys(operator.outputs, operator))


def same(source: int, target: int) -> Operator:
    """A tensor as another."""
    return Operator("same", 1, (source,), (target,), (), {})


# ---- variables ----


def _variables(graph: Graph, file: File) -> None:
    """Variables as the constants they hold, or as the zeros that the states of a loop start from."""
    handles = {o.outputs[0]: o.options["shared_name"] for o in graph.operators if o.op == "VAR_HANDLE" and o.outputs}
    if not handles:
        return
    start: dict[str, Tensor] = {}
    for operator in graph.operators:
        if operator.op == "CALL_ONCE":
            start |= _assigned(file, operator)
    written = {
        handles.get(o.inputs[0], ""): o for o in graph.operators if o.op == "ASSIGN_VARIABLE" and len(o.inputs) == 2
    }
    for operator in list(graph.operators):
        if operator.op != "READ_VARIABLE" or not operator.inputs or not operator.outputs:
            continue
        name = handles.get(operator.inputs[0], "")
        held = start.get(name)
        k = operator.outputs[0]
        graph.operators.remove(operator)
        del graph.writers[k]
        if held is None or held.data is None:
            reason = f"variable {shown(name)!r}: the file does not tell what it holds at the start"
            graph.tensors[k] = replace(graph.tensors[k], refused=reason)
        elif name in written and _before(graph, k, written[name], held):
            continue
        elif name in written and not _carried(graph, k, written[name], held):
            reason = f"variable {shown(name)!r} is kept from one call to the next and is no state of a recurrent layer "
            graph.tensors[k] = replace(graph.tensors[k], refused=f"{reason}that starts from zeros")
        else:
            graph.tensors[k] = replace(held, name=graph.tensors[k].name, variable=False)


def _assigned(file: File, operator: Operator) -> dict[str, Tensor]:
    """What a graph that runs once puts into variables."""
    index = operator.options["subgraph"]
    if not 0 < index < len(file.subgraphs):
        raise CheckpointError("it names a graph to run once that is not there")
    inner = file.subgraphs[index]
    handles = {o.outputs[0]: o.options["shared_name"] for o in inner.operators if o.op == "VAR_HANDLE" and o.outputs}
    return {
        handles.get(o.inputs[0], ""): inner.tensors[o.inputs[1]]
        for o in inner.operators
        if o.op == "ASSIGN_VARIABLE" and len(o.inputs) == 2 and o.inputs[1] >= 0
    }


def _carried(graph: Graph, k: int, writer: Operator, held: Tensor) -> bool:
    """Whether what is read is a loop's value, and what is written the same value at its end: a state from zeros."""
    readers = [o for o in graph.operators if k in o.inputs]
    if len(readers) != 1 or readers[0].op != "WHILE" or held.array().any():
        return False
    loop = readers[0]
    places = [index for index, source in enumerate(loop.inputs) if source == k]
    return len(places) == 1 and places[0] < len(loop.outputs) and loop.outputs[places[0]] == writer.inputs[1]


def _before(graph: Graph, k: int, writer: Operator, held: Tensor) -> bool:
    """Steps of the calls before that are put in front of this call's, zeros at the start: then they are a padding."""
    readers = [o for o in graph.operators if k in o.inputs]
    joined = readers[0] if len(readers) == 1 else None
    after = graph.written(writer.inputs[1], "STRIDED_SLICE")
    if joined is None or after is None or joined.op != "CONCATENATION" or joined.inputs[:1] != (k,):
        return False
    shape, x = graph.tensors[k].shape, graph.tensors[joined.inputs[-1]].shape
    along = len(joined.inputs) == 2 and joined.options["axis"] == 1 and not joined.options["activation"]
    zeros = held.dtype == "float32" and held.array().shape == shape and not held.array().any()
    if not (along and zeros and len(shape) == len(x) == 3 and shape[::2] == x[::2]):
        return False
    if after.inputs[0] != joined.outputs[0] or not _last_steps(graph, after, shape[1], x[1] + shape[1]):
        return False
    graph.put(joined, Operator("before", 1, joined.inputs[1:], joined.outputs, (), {"count": shape[1]}))
    return True


def _last_steps(graph: Graph, operator: Operator, count: int, steps: int) -> bool:
    """Whether a STRIDED_SLICE takes the last so many of the steps."""
    bounds = [graph.constant(k) for k in operator.inputs[1:]]
    if len(bounds) != 3 or any(b is None or b.shape != (3,) or b.dtype.kind not in "iu" for b in bounds):
        return False
    first, last, stride = ([int(n) for n in b] for b in bounds if b is not None)
    options = operator.options
    whole = all(options[f"{key}_mask"] == 0b101 for key in ("begin", "end"))  # of the other axes
    more = any(options[f"{key}_mask"] for key in ("ellipsis", "new_axis", "shrink")) or options["offset"]
    return whole and not more and (first[1], last[1]) == (steps - count, steps) and stride == [1, 1, 1]


# ---- word numbers ----


def _words(graph: Graph) -> None:
    """Numbers below 0 counted from the end of a table: an Embedding takes none below 0."""
    for operator in list(graph.operators):
        if operator.op not in ("SELECT", "SELECT_V2") or len(operator.inputs) != 3:
            continue
        less, added = graph.written(operator.inputs[0], "LESS"), graph.written(operator.inputs[1], "ADD")
        ids = operator.inputs[2]
        if less is None or added is None or ids not in less.inputs[:1] or ids not in added.inputs[:1]:
            continue
        size = graph.number(added.inputs[1])
        whole = graph.tensors[ids].dtype in ("int32", "int64")
        if whole and graph.number(less.inputs[1]) == 0 and size is not None and size > 0:
            graph.put(operator, same(ids, operator.outputs[0]))


# ---- functions ----


def _functions(graph: Graph) -> None:
    """Activations that converters write out in several operators."""
    for operator in list(graph.operators):
        find = _FUNCTIONS.get(operator.op)
        found = find(graph, operator) if find is not None else None
        if found is not None:
            graph.put(operator, Operator(found[0], 1, (found[1],), operator.outputs, (), {}))


def _with_number(graph: Graph, k: int, op: str, number: float) -> int | None:
    """What a tensor is made of by an operator and a number."""
    operator = graph.written(k, op)
    if operator is None or len(operator.inputs) != 2 or operator.options.get("activation"):
        return None
    places = [0, 1] if op != "SUB" else [1]
    for place in places:
        found = graph.number(operator.inputs[place])
        if found is not None and abs(found - number) < 1e-6:
            return operator.inputs[1 - place]
    return None


def _inside(graph: Graph, k: int | None, op: str) -> int | None:
    operator = graph.written(k, op) if k is not None else None
    return operator.inputs[0] if operator is not None else None


def _softsign(graph: Graph, operator: Operator) -> tuple[str, int] | None:
    x = operator.inputs[0]
    size = _inside(graph, _with_number(graph, operator.inputs[1], "ADD", 1), "ABS")
    return ("softsign", x) if size == x and not operator.options["activation"] else None


def _softplus(graph: Graph, operator: Operator) -> tuple[str, int] | None:
    x = _inside(graph, _with_number(graph, operator.inputs[0], "ADD", 1), "EXP")
    return ("softplus", x) if x is not None else None


def _selu(graph: Graph, operator: Operator) -> tuple[str, int] | None:
    """x * 1.0507 above 0, else (exp(x) - 1) * 1.7581."""
    condition, above, below = operator.inputs
    greater = graph.written(condition, "GREATER")
    x = _with_number(graph, above, "MUL", 1.0507010)
    bent = _with_number(graph, below, "MUL", 1.7580993)
    inner = _with_number(graph, bent, "SUB", 1) if bent is not None else None
    fits = greater is not None and greater.inputs[0] == x and graph.number(greater.inputs[1]) == 0
    return ("selu", x) if x is not None and fits and _inside(graph, inner, "EXP") == x else None


def _elu(graph: Graph, operator: Operator) -> tuple[str, int] | None:
    """max(x, 0) + (exp(min(x, 0)) - 1)."""
    x = _inside(graph, operator.inputs[0], "RELU")
    low = _inside(graph, _with_number(graph, operator.inputs[1], "SUB", 1), "EXP")
    fits = x is not None and low is not None and _with_number(graph, low, "MINIMUM", 0) == x
    return ("ELU", x) if x is not None and fits and not operator.options["activation"] else None


_FUNCTIONS: dict[str, Callable[[Graph, Operator], tuple[str, int] | None]] = {
    "ADD": _elu,
    "DIV": _softsign,
    "LOG": _softplus,
    "SELECT": _selu,
    "SELECT_V2": _selu,
}


# ---- masks ----


def _masks(graph: Graph) -> None:
    """Steps in which some value differs from a number, as Masking and mask_zero compute them."""
    for operator in list(graph.operators):
        if operator.op == "NOT_EQUAL" and len(operator.inputs) == 2:
            value = graph.number(operator.inputs[1])
            if value is not None and graph.constant(operator.inputs[0]) is None:
                _mask(graph, operator, value)


def _mask(graph: Graph, operator: Operator, value: float) -> None:
    x, (differs,) = operator.inputs[0], operator.outputs
    tensor = graph.tensors[x]
    rank = len(tensor.shape)
    if rank not in (2, 3):
        return
    counted = graph.tensor(tensor, name=f"{tensor.name.split(':')[0]}/counted")
    options = {"value": value, "values": int(rank == 3)}
    if rank == 2:  # numbers of words, one a step
        graph.put(operator, Operator("masked", 1, (x,), (counted, differs), (), options))
        return
    kept = graph.tensor(
        tensor,
        name=f"{tensor.name.split(':')[0]}/mask",
        shape=(*tensor.shape[:2], 1),
        signature=(*tensor.signature[:2], 1),
    )
    graph.put(operator, Operator("masked", 1, (x,), (counted, kept), (), options))
    masks = {kept}
    for other in list(graph.operators):
        if (
            other.op == "REDUCE_ANY"
            and other.inputs[:1] == (differs,)
            and graph.number(other.inputs[1]) in (-1, rank - 1)
        ):
            if other.options["keep_dims"]:
                masks.add(other.outputs[0])
                graph.put(other, same(kept, other.outputs[0]))
            else:
                graph.put(other, Operator("SQUEEZE", 1, (kept,), other.outputs, (), {"axes": [2]}))
        elif other.op == "CAST" and other.inputs[0] in masks:
            masks.add(other.outputs[0])
            graph.put(other, same(kept, other.outputs[0]))
        elif other.op in ("SELECT", "SELECT_V2") and other.inputs[0] in masks and other.inputs[1] == x:
            zeros = graph.constant(other.inputs[2])
            if zeros is not None and not zeros.any():
                graph.put(other, same(counted, other.outputs[0]))
        elif other.op == "MUL" and not other.options["activation"] and x in other.inputs and masks & set(other.inputs):
            graph.put(other, same(counted, other.outputs[0]))


# ---- layer normalisation ----

_Sum = dict[tuple[str, ...], Array]
"""A sum of products of x, its mean and 1 / sqrt(variance + epsilon), with their coefficients."""

_SCALED, _CENTRE = ("r", "x"), ("m", "r")


def _normalisations(graph: Graph) -> None:
    for root in list(graph.operators):
        if root.op == "RSQRT":
            _normalisation(graph, root)


def _normalisation(graph: Graph, root: Operator) -> None:
    added = graph.written(root.inputs[0], "ADD")
    numbers = [graph.number(k) for k in added.inputs] if added is not None else []
    if added is None or len(numbers) != 2 or numbers.count(None) != 1 or added.options["activation"]:
        return
    epsilon = next(n for n in numbers if n is not None)
    variance = graph.written(added.inputs[numbers.index(None)], "MEAN")
    squares = graph.written(variance.inputs[0], "SQUARED_DIFFERENCE") if variance else None
    if variance is None or squares is None:
        return
    for x, m in (squares.inputs, squares.inputs[::-1]):
        mean = graph.written(m, "MEAN")
        if mean is None or mean.inputs[0] != x:
            continue
        over = [_axes(graph, o, len(graph.tensors[x].shape)) for o in (mean, variance)]
        if over[0] is None or over[0] != over[1] or not _in_place(graph.tensors[x], graph.tensors[m], over[0]):
            continue
        _follow(graph, {x: {("x",): _ONE}, m: {("m",): _ONE}, root.outputs[0]: {("r",): _ONE}}, x, over[0], epsilon)
        return


_ONE = np.ones(1)


def _axes(graph: Graph, operator: Operator, rank: int) -> list[int] | None:
    array = graph.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if array is None or array.dtype.kind not in "iu" or any(not -rank <= n < rank for n in array.reshape(-1)):
        return None
    return sorted({int(n) % rank for n in array.reshape(-1)})


def _in_place(x: Tensor, mean: Tensor, over: list[int]) -> bool:
    """Whether a mean stands, in what joins it with x, where x has the axes that are left."""
    shape = (1,) * (len(x.shape) - len(mean.shape)) + mean.shape
    return all(n == (1 if k in over else size) for k, (n, size) in enumerate(zip(shape, x.shape, strict=True)))


def _follow(graph: Graph, sums: dict[int, _Sum], x: int, over: list[int], epsilon: float) -> None:
    """Goes on until a tensor is (x - mean) / sqrt(variance + epsilon) * scale + offset."""
    for operator in list(graph.operators):
        join = _JOINS.get(operator.op)
        if join is None or operator.options.get("activation") or operator.outputs[0] in sums:
            continue
        parts = [_part(graph, sums, k) for k in operator.inputs]
        known = [p for p in parts if p is not None]
        if len(known) < len(parts) or not any(k in sums for k in operator.inputs):
            continue
        try:
            made = join(*known)
        except ValueError:
            continue
        if not made or any(len(key) > 2 for key in made):
            continue
        sums[operator.outputs[0]] = made
        scale, centre = made.get(_SCALED), made.get(_CENTRE)
        if set(made) <= {_SCALED, _CENTRE, ()} and scale is not None and centre is not None:
            fields = _fields(graph.tensors[x].shape, over, scale, centre, made.get((), np.zeros(1)))
            if fields is not None:
                graph.put(
                    operator, Operator("normalised", 1, (x,), operator.outputs, (), {**fields, "epsilon": epsilon})
                )
                return


def _part(graph: Graph, sums: dict[int, _Sum], k: int) -> _Sum | None:
    if k in sums:
        return sums[k]
    constant = graph.constant(k)
    if constant is None or constant.dtype.kind != "f" or constant.size > MAX_WIDTH:
        return None
    return {(): constant.astype(np.float64)}


def _add(left: _Sum, right: _Sum, sign: float = 1) -> _Sum:
    made = dict(left)
    for key, value in right.items():
        if key in made and _joined(made[key], value) is None:
            raise ValueError("too large, or of shapes that do not fit")
        made[key] = made[key] + sign * value if key in made else sign * value
    return made


def _times(left: _Sum, right: _Sum) -> _Sum:
    made: _Sum = {}
    for a, one in left.items():
        for b, other in right.items():
            if _joined(one, other) is None:
                raise ValueError("too large, or of shapes that do not fit")
            made = _add(made, {tuple(sorted(a + b)): one * other})
    return made


_JOINS: dict[str, Callable[..., _Sum]] = {
    "ADD": _add,
    "SUB": lambda left, right: _add(left, right, -1),
    "MUL": _times,
    "NEG": lambda one: {key: -value for key, value in one.items()},
}


def _fields(
    shape: tuple[int, ...], over: list[int], scale: Array, centre: Array, offset: Array
) -> dict[str, Any] | None:
    """Scale and offset along the axes that are normalised, if they are the same along all others."""
    sizes = [shape[k] for k in over]
    if prod(sizes) > MAX_WIDTH or _joined(scale, centre) is None or (scale + centre).any():
        return None
    found = []
    for array in (scale, offset):
        if array.ndim > len(shape):
            return None
        array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
        first = array[tuple(slice(None) if k in over else slice(0, 1) for k in range(len(shape)))]
        if any(n not in (1, size) for n, size in zip(array.shape, shape, strict=True)) or (array != first).any():
            return None
        found.append(np.broadcast_to(first.reshape([first.shape[k] for k in over]), sizes))
    return {"over": over, "scale": found[0], "offset": found[1]}


def _joined(left: Array, right: Array) -> tuple[int, ...] | None:
    """The shape of two arrays joined value by value, if there is one that is not too large."""
    try:
        shape = np.broadcast_shapes(left.shape, right.shape)
    except ValueError:
        return None
    return shape if prod(shape) <= MAX_WIDTH else None
