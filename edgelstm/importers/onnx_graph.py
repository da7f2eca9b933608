"""Walks a graph in the order its values need: constants are folded, everything else becomes layers and views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import CheckpointError, ModelError
from ..layers import Activation
from .onnx_build import Build, Feed
from .onnx_file import Graph, Node, Port, ordered
from .onnx_fold import fold
from .onnx_inputs import BATCH, LENGTHS, STEPS, Roles, is_whole, roles
from .onnx_ops import OPERATIONS, Operation, normalised
from .onnx_settings import Settings
from .onnx_sizes import MAX_ELEMENTS, Dim, Known, known, product, symbol, uniform
from .onnx_values import Atom, Data, Lengths, Order, Refused, Value
from .torch_pickle import shown

_MAX_NESTING = 8  # of If in If
_MAX_FOLDED = 3 * MAX_ELEMENTS  # numbers of all constants computed here
_OWN = ("", "ai.onnx")
_REASONS = {
    "Loop": "a loop written out in the graph; export the recurrent layer as LSTM, GRU or RNN",
    "Scan": "a loop written out in the graph; export the recurrent layer as LSTM, GRU or RNN",
}


class Walk:
    """The values of a graph's names."""

    def __init__(self, build: Build, graph: Graph, operations: Mapping[str, Operation] = OPERATIONS) -> None:
        self.build = build
        self.operations = operations
        self.values: dict[str, Value] = {name: known(array) for name, array in graph.constants.items()}
        self.writers: dict[str, Node] = {}
        self.folded = 0

    def run(self, graph: Graph, nesting: int = 0) -> list[Value]:
        """The values of a graph's outputs."""
        order = ordered(graph.nodes, (port.name for port in graph.outputs))
        for node in order:
            self.writers.update({name: node for name in node.outputs if name})
        for node in order:
            for name, value in zip(node.outputs, self._node(node, nesting), strict=False):
                if name:
                    self.values[name] = value
        return [self._value(port.name, "the graph's output") for port in graph.outputs]

    def _value(self, name: str, where: str) -> Value:
        if name not in self.values:
            raise CheckpointError(f"{where}: {shown(name)!r} is written by no node before it")
        return self.values[name]

    def _node(self, node: Node, nesting: int) -> list[Value]:
        try:
            made = self._computed(node, nesting)
        except (CheckpointError, ModelError) as error:
            reason = str(error)
            return [Refused(reason if reason.startswith("node ") else f"{node.label}: {reason}")] * len(node.outputs)
        if len(made) < len(node.outputs):
            more = Refused(f"{node.label}: its output {len(made)} is used, which the model has not")
            made = [*made, *[more] * (len(node.outputs) - len(made))]
        return made

    def _computed(self, node: Node, nesting: int) -> list[Value]:
        """What a node makes of its inputs."""
        if node.domain not in _OWN:
            raise CheckpointError(f"an operation of the domain {shown(node.domain)!r}, which is not known")
        if node.op in _REASONS:
            raise CheckpointError(_REASONS[node.op])
        if node.op == "If":
            return self._if(node, nesting)
        composed = self._composed(node)
        if composed is not None:
            return [composed]
        inputs = [self._value(name, node.label) if name else None for name in node.inputs]
        for value in inputs:
            if isinstance(value, Refused):
                raise CheckpointError(value.reason)
        constants = [v for v in inputs if v is None or isinstance(v, Known)]
        if len(constants) == len(inputs):
            made = fold(node, constants, self.build.opset)
            if made is not None:
                self.folded += sum(value.array.size for value in made)
                if self.folded > _MAX_FOLDED:
                    raise CheckpointError("the constants the graph computes are too large")
                return list(made)
        operation = self.operations.get(node.op)
        if operation is None:
            raise CheckpointError("an operation that no layer does")
        settings = Settings(node)
        found = operation(self.build, node, settings, inputs)
        settings.finish()
        return found if isinstance(found, list) else [found]

    def _if(self, node: Node, nesting: int) -> list[Value]:
        condition = self._value(node.inputs[0], node.label) if node.inputs else None
        if isinstance(condition, Refused):
            raise CheckpointError(f"its condition is not known: {condition.reason}")
        one = uniform(condition) if isinstance(condition, Known) else None
        if one is None:
            raise CheckpointError("its condition depends on what the model reads")
        branch = node.attributes.get("then_branch" if one else "else_branch")
        if not isinstance(branch, Graph) or set(node.attributes) != {"then_branch", "else_branch"} or branch.inputs:
            raise CheckpointError("its branches are missing or take inputs")
        if nesting >= _MAX_NESTING:
            raise CheckpointError("conditions nest too deep")
        outer = dict(self.values), dict(self.writers)
        self.values.update({name: known(array) for name, array in branch.constants.items()})
        made = self.run(branch, nesting + 1)
        self.values, self.writers = outer
        for value in made:
            if isinstance(value, Refused):
                raise CheckpointError(value.reason)
        return made

    # ---- several nodes that are one layer ----

    def _composed(self, node: Node) -> Value | None:
        if node.op == "Div":
            return self._layer_norm(node)
        if node.op == "Mul":
            return self._gelu(node)
        if node.op == "BatchNormalization":
            return self._statistics(node)
        if node.op == "Where":
            return self._softplus(node)
        if node.op == "ScatterElements":
            return self._inverse(node)
        return None

    def _inverse(self, node: Node) -> Value | None:
        """The order in which sequences that were sorted stand as before: each one's place at the place it came from."""
        if len(node.inputs) != 3 or not isinstance(self.values.get(node.inputs[1]), Order):
            return None
        if node.attributes.get("axis", 0) != 0 or node.attributes.get("reduction", "none") not in ("none", b"none"):
            return None
        size = self.build.batch.size
        places = self.values.get(node.inputs[2])
        if isinstance(places, Known) and not places.symbolic and isinstance(size, int):
            fits = places.shape == (size,) and (places.array == np.arange(size)).all()
            return Order() if fits else None
        counted = self._written(node.inputs[2], "Range", 3)
        end = self.values.get(counted.inputs[1]) if counted else None
        if counted is None or not isinstance(end, Known) or list(end.array.flat) != [size]:
            return None
        starts = self._number(counted.inputs[0]) == 0 and self._number(counted.inputs[2]) == 1
        return Order() if starts else None

    def _written(self, name: str, op: str, count: int) -> Node | None:
        node = self.writers.get(name)
        fits = node is not None and node.op == op and node.domain in _OWN and len(node.inputs) == count
        return node if fits else None

    def _number(self, name: str) -> float | None:
        value = self.values.get(name)
        return uniform(value) if isinstance(value, Known) else None

    def _layer_norm(self, node: Node) -> Value | None:
        """(x - mean) / sqrt(mean((x - mean)^2) + epsilon), as exporters write it before opset 17."""
        if len(node.inputs) != 2:
            return None
        root = self._written(node.inputs[1], "Sqrt", 1)
        total = root and self._written(root.inputs[0], "Add", 2)
        centred = self._written(node.inputs[0], "Sub", 2)
        if not total or not centred:
            return None
        epsilon = next((e for e in map(self._number, total.inputs) if e is not None), None)
        variance = next((self._mean(name) for name in total.inputs if self._mean(name)), None)
        mean = self._mean(centred.inputs[1])
        if epsilon is None or variance is None or mean is None or mean[0] != centred.inputs[0]:
            return None
        square = self._written(variance[0], "Pow", 2) or self._written(variance[0], "Mul", 2)
        if not square or any(not self._same(name, centred) for name in square.inputs[: 1 if square.op == "Pow" else 2]):
            return None
        if square.op == "Pow" and self._number(square.inputs[1]) != 2:
            return None
        data = self.values.get(mean[0])
        if not isinstance(data, Data) or {mean[1] % len(data.axes), variance[1] % len(data.axes)} != {
            len(data.axes) - 1
        }:
            return None
        return normalised(self.build, node, data, [len(data.axes) - 1], np.ones(1), np.zeros(1), epsilon)

    def _statistics(self, node: Node) -> Value | None:
        """A BatchNormalization by what its own input's mean and variance are, as tf2onnx writes a LayerNorm."""
        if len(node.inputs) != 5:
            return None
        x, *others = node.inputs
        data, dropped = self.values.get(x), self._written(others[2], "Squeeze", 2)
        quotient = self._written(others[3], "Div", 2)
        squares = quotient and self.writers.get(quotient.inputs[0])
        centred = squares and self._written(squares.inputs[0], "Sub", 2)
        if not (isinstance(data, Data) and dropped and quotient and squares and centred):
            return None
        mean = self.writers.get(dropped.inputs[0])
        over = [k for k in range(len(data.axes)) if k != 1]
        if mean is None or (mean.op, squares.op) != ("ReduceMean", "ReduceSumSquare") or mean.inputs[:1] != (x,):
            return None
        axes = [[k % len(data.axes) for k in n.attributes.get("axes", ())] for n in (mean, squares)]
        count = product(data.shape[k] for k in over)
        known_ones = self._number(others[0]) == 1 and self._number(others[1]) == 0
        same = centred.inputs == (x, dropped.inputs[0]) and axes == [over, over]
        if not same or not known_ones or self._number(quotient.inputs[1]) != count:
            return None
        epsilon = node.attributes.get("epsilon", 1e-5)
        return normalised(self.build, node, data, over, np.ones(1), np.zeros(1), epsilon)

    def _same(self, name: str, centred: Node) -> bool:
        """Whether a name is x - mean, or another node that computes the same."""
        writer = self.writers.get(name)
        return (
            writer is not None
            and writer.op == "Sub"
            and writer.inputs[0] == centred.inputs[0]
            and (writer is centred or self._mean(writer.inputs[1]) == self._mean(centred.inputs[1]))
        )

    def _mean(self, name: str) -> tuple[str, int] | None:
        """What a name is the mean of over one axis that is kept, and the axis."""
        node = self.writers.get(name)
        if node is None or node.op != "ReduceMean" or node.attributes.get("keepdims", 1) != 1:
            return None
        axes = node.attributes.get("axes")
        if len(node.inputs) > 1:
            value = self.values.get(node.inputs[1])
            axes = value.array.reshape(-1).tolist() if isinstance(value, Known) else None
        return (node.inputs[0], int(axes[0])) if isinstance(axes, list) and len(axes) == 1 else None

    def _gelu(self, node: Node) -> Value | None:
        """x * 0.5 * (1 + erf(x / sqrt(2))), in any order."""
        factor, names = 1.0, list(node.inputs)
        for _ in range(2):
            for name in list(names):
                inner = self._written(name, "Mul", 2)
                number = self._number(name)
                if number is not None:
                    factor *= number
                    names.remove(name)
                elif inner is not None and len(names) < 4:
                    names.remove(name)
                    names += inner.inputs
        numbers = [self._number(name) for name in names]
        for number in numbers:
            factor *= 1.0 if number is None else number
        names = [name for name, number in zip(names, numbers, strict=True) if number is None]
        if len(names) != 2 or abs(factor - 0.5) > 1e-6:
            return None
        for x, other in (names, names[::-1]):
            total = self._written(other, "Add", 2)
            erf = next((e for e in (self._written(n, "Erf", 1) for n in total.inputs) if e), None) if total else None
            if total and erf and 1.0 in map(self._number, total.inputs) and self._is_root_half(erf.inputs[0], x):
                data = self.values.get(x)
                return self.build.activated(node, data, Activation("gelu")) if isinstance(data, Data) else None
        return None

    def _softplus(self, node: Node) -> Value | None:
        """Softplus, and x itself where x is so large that float32 knows no difference, as PyTorch computes it."""
        if len(node.inputs) != 3:
            return None
        large = self._written(node.inputs[0], "Greater", 2)
        plus = self._written(node.inputs[2], "Softplus", 1)
        bound = self._number(large.inputs[1]) if large else None
        if large is None or plus is None or {large.inputs[0], plus.inputs[0]} != {node.inputs[1]}:
            return None
        return self.values.get(node.inputs[2]) if bound is not None and bound >= 17 else None

    def _is_root_half(self, name: str, x: str) -> bool:
        """Whether a name is x / sqrt(2)."""
        for op, wanted in (("Div", 2**0.5), ("Mul", 0.5**0.5)):
            node = self._written(name, op, 2)
            if node and x in node.inputs:
                other = self._number(node.inputs[1 - node.inputs.index(x)])
                fits = other is not None and abs(other - wanted) < 1e-6
                return fits and (op == "Mul" or node.inputs[0] == x)
        return False


def inputs(build: Build, graph: Graph, walk: Walk) -> None:
    """Gives each input of the graph a tensor of the model, or the mask that stands for lengths."""
    told = {port.name: _roles(graph, port) for port in graph.inputs}
    if len(told) < len(graph.inputs):
        raise CheckpointError("two of its inputs have one name")
    batches = {
        size
        for port in graph.inputs
        for size, role in zip(port.shape or (), told[port.name].axes, strict=True)
        if role in (BATCH, LENGTHS) and isinstance(size, int)
    }
    if len(batches) > 1:
        raise CheckpointError(f"its inputs disagree in the number of sequences: {', '.join(map(str, sorted(batches)))}")
    open_ = any(role in (BATCH, LENGTHS) for found in told.values() for role in found.axes)
    build.batch = Atom(batches.pop() if batches else symbol("N") if open_ else 1)
    steps: dict[Dim, Atom] = {}
    for port in graph.inputs:
        walk.values[port.name] = _input(build, port, told[port.name], steps)


def _roles(graph: Graph, port: Port) -> Roles:
    where = f"input {shown(port.name)!r}"
    if port.shape is None or not port.shape:
        raise CheckpointError(f"{where} has {'no shape' if port.shape is None else 'no dimensions'}")
    if any(isinstance(size, int) and size < 1 for size in port.shape):
        raise CheckpointError(f"{where} has shape {shown(list(port.shape))}")
    if port.dtype not in ("float", "double") and not is_whole(port.dtype):
        raise CheckpointError(
            f"{where} takes numbers of kind {port.dtype or 'unknown'}, in which the model does not compute"
        )
    found = roles(graph, port.name, port.shape, is_whole(port.dtype))
    if len([role for role in found.axes if role == BATCH]) > 1:
        raise CheckpointError(f"{where} is read in ways that contradict each other")
    return found


def _input(build: Build, port: Port, told: Roles, steps: dict[Dim, Atom]) -> Value:
    where = f"input {shown(port.name)!r}"
    if told.axes == [LENGTHS]:
        mask = build.tensor(build.unique("mask"), 1)
        build.feeds.append(Feed(port.name, mask, port.dtype, None))
        return Lengths(mask)
    axes: list[tuple[Atom, ...]] = []
    rows: list[Atom] = []
    columns: list[Atom] = []
    for k, (size, role) in enumerate(zip(port.shape or (), told.axes, strict=True)):
        if role == BATCH:
            axes.append((build.batch,))
            continue
        if role == STEPS:
            length: Dim = size if isinstance(size, int) else symbol("T")
            atom = steps.setdefault(length, Atom(length))
            rows.append(atom)
        else:
            width = size if isinstance(size, int) else told.widths.get(k)
            if width is None:
                raise CheckpointError(
                    f"{where} has shape {shown(list(port.shape or ()))}; the number of values must be known"
                )
            atom = Atom(width)
            columns.append(atom)
        axes.append((atom,))
    if len(rows) > 1:
        raise CheckpointError(f"{where} has steps on two axes; only one can be the steps")
    data = Data((("", 0),), (*rows, *columns), len(rows), (), "whole" if is_whole(port.dtype) else "float").seen(axes)
    tensor = build.tensor(build.unique(port.name), data.width, not rows)
    data = replace(data, pieces=((tensor, 0),))
    build.feeds.append(Feed(port.name, tensor, port.dtype, data))
    return data


def describe(data: Data, batch: Atom) -> str:
    """A view's axes in words, for a note."""
    words = []
    for axis in data.axes:
        kinds = ["sequences" if a is batch else "steps" if a in data.steps else "values" for a in axis]
        words.append(" x ".join(kinds) or "1")
    return f"({', '.join(words)})"
