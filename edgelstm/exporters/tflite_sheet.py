"""One graph on its way: operators with the tensors they write, constants, and products of floats with weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..model import Array
from .flatbuffer import Table
from .tflite_graph import ABSENT, Graph, Quantization
from .tflite_int8 import symmetric


@dataclass(slots=True)
class Sheet:
    """A graph, and how its weights are written: "float", or "dynamic" as int8."""

    kind: str
    graph: Graph = field(default_factory=Graph)

    def shape(self, k: int) -> tuple[int, ...]:
        return self.graph.tensors[k].shape

    def parameters(self, k: int) -> Quantization | None:
        """The scale of an int8 tensor; None of a float one."""
        return self.graph.tensors[k].quantization

    # ---- constants ----

    def number(self, value: float) -> int:
        return self.graph.constant(f"{value:g}", np.array(value, np.float32))

    def whole(self, name: str, values: Sequence[int] | int) -> int:
        return self.graph.constant(name, np.array(values, np.int32))

    def row(self, name: str, values: Array) -> int:
        return self.graph.constant(name, np.asarray(values, np.float32))

    # ---- operators ----

    def op(
        self,
        operator: str,
        inputs: Sequence[int],
        name: str,
        shape: tuple[int, ...] | None = None,
        options: Table | None = None,
        version: int = 1,
        kind: str = "float32",
    ) -> int:
        """Add an operator on floats; without a shape its answer has that of its inputs joined value by value."""
        if shape is None:
            shape = np.broadcast_shapes(*(self.shape(k) for k in inputs))
        return self.graph.operator(operator, version, inputs, self.graph.tensor(name, shape, kind), options)

    def join(self, operator: str, left: int, right: int, name: str, fused: str = "linear") -> int:
        """ADD, SUB, MUL or DIV, and a function that they compute themselves."""
        return self.op(operator, [left, right], name, options={0: np.int8(FUSED[fused])})

    def moved(
        self,
        operator: str,
        inputs: Sequence[int],
        name: str,
        shape: tuple[int, ...],
        options: Table | None = None,
        version: int = 1,
        int8_version: int = 2,
    ) -> int:
        """Add an operator that only moves values, floats or int8 of the same scale, of its first input."""
        parameters = self.parameters(inputs[0])
        y = self.graph.tensor(name, shape, self.graph.tensors[inputs[0]].type, parameters)
        return self.graph.operator(operator, version if parameters is None else int8_version, inputs, y, options)

    def reshape(self, x: int, wanted: tuple[int, ...], name: str) -> int:
        """x in another shape; -1 stands for the axis of steps, which a runtime may resize."""
        missing = math.prod(self.shape(x)) // abs(math.prod(wanted))
        shape = tuple(missing if n == -1 else n for n in wanted)
        if shape == self.shape(x):
            return x
        array = np.array(wanted, np.int32)
        constant = self.graph.constant(f"{name}/shape", array)
        return self.moved("RESHAPE", [x, constant], name, shape, {0: array}, int8_version=1)

    def transpose(self, x: int, order: Sequence[int], name: str) -> int:
        shape = tuple(self.shape(x)[k] for k in order)
        return self.moved("TRANSPOSE", [x, self.whole(f"{name}/order", order)], name, shape)

    def cut(self, x: int, axis: int, first: int, last: int, name: str) -> int:
        """Places first to last of an axis."""
        shape = list(self.shape(x))
        begin, end = [0] * len(shape), list(shape)
        begin[axis], end[axis], shape[axis] = first, last, last - first
        others = ((1 << len(shape)) - 1) & ~(1 << axis)  # of which all is taken
        bounds = [self.whole(f"{name}/{key}", v) for key, v in (("begin", begin), ("end", end))]
        bounds.append(self.whole(f"{name}/strides", [1] * len(shape)))
        options: Table = {0: np.int32(others), 1: np.int32(others), 2: np.int32(0), 3: np.int32(0), 4: np.int32(0)}
        return self.moved("STRIDED_SLICE", [x, *bounds], name, tuple(shape), options)

    def split(self, x: int, count: int, names: Sequence[str]) -> list[int]:
        """Equal parts of the last axis."""
        *head, width = self.shape(x)
        shape = (*head, width // count)
        made = [self.graph.tensor(name, shape, "float32") for name in names]
        axis = self.graph.constant("axis", np.array(-1, np.int32))
        self.graph.several("SPLIT", 1, [axis, x], made, {0: np.int32(count)})
        return made

    # ---- products ----

    def weights(self, name: str, matrix: Array) -> int:
        if self.kind == "float":
            return self.graph.constant(name, np.asarray(matrix, np.float32))
        return self.graph.constant(name, *symmetric(matrix))

    def bias(self, name: str, bias: Array | None) -> int:
        return ABSENT if bias is None else self.graph.constant(name, np.asarray(bias, np.float32))

    def product(self, x: int, matrix: Array, bias: Array | None, name: str, fused: str = "linear") -> int:
        """Floats times weights [rows, columns], in place of the last axis."""
        inputs = [x, self.weights(f"{name}/kernel", matrix), self.bias(f"{name}/bias", bias)]
        return self.fully_connected(inputs, name, fused, (*self.shape(x)[:-1], len(matrix)))

    def fully_connected(
        self,
        inputs: Sequence[int],
        name: str,
        fused: str,
        shape: tuple[int, ...],
        parameters: Quantization | None = None,
    ) -> int:
        keep = len(shape) > 2  # the axes before the last
        options: Table = {0: np.int8(FUSED[fused]), 2: np.bool_(keep), 3: np.bool_(False)}
        y = self.graph.tensor(name, shape, "float32" if parameters is None else "int8", parameters)
        version = 6 if inputs[2] == ABSENT else 5 if keep else {"float": 1, "dynamic": 3, "int8": 4}[self.kind]
        return self.graph.operator("FULLY_CONNECTED", version, inputs, y, options)


def differs(s: Sheet, x: int, value: float, name: str) -> int:
    """Whether some value of a step is not this one: bool, [N, T, 1]."""
    each = s.op("NOT_EQUAL", [x, s.number(value)], f"{name}/differs", s.shape(x), kind="bool")
    axis, shape = s.whole(f"{name}/axis", [-1]), (*s.shape(x)[:-1], 1)
    return s.op("REDUCE_ANY", [each, axis], f"{name}/counts", shape, {0: np.bool_(True)}, kind="bool")


FUSED = {"linear": 0, "relu": 1, "relu6": 3}
"""Functions that operators compute themselves, by TFLite's numbers."""
