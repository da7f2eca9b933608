"""A TFLite graph as rows of tensors and operators, and the tables of its file. Nothing here knows a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..importers.tflite_schema import OPERATORS as OPERATORS
from ..importers.tflite_schema import TYPES as KINDS
from ..model import Array
from .flatbuffer import Table, pack

IDENTIFIER = b"TFL3"
ABSENT = -1  # an optional input that is not given

TYPES = {name: number for number, name in KINDS.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """real = scale * (integer - zero); one scale, or one per place of an axis."""

    scales: Array  # float32 [1] or [places]
    zero: int = 0
    axis: int = 0

    @property
    def scale(self) -> np.float32:
        """The scale of a tensor that has one."""
        (scale,) = self.scales
        return np.float32(scale)


@dataclass(frozen=True, slots=True, eq=False)
class GraphTensor:
    """One tensor: a constant if it has data, and kept between calls if it is variable."""

    name: str
    shape: tuple[int, ...]
    type: str
    data: Array | None = None
    quantization: Quantization | None = None
    variable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One operator; tensors by index, ABSENT where an optional one is not given."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table
    intermediates: tuple[int, ...]


@dataclass(slots=True)
class Graph:
    """Grows tensor by tensor, operator by operator, in an order in which they can run."""

    tensors: list[GraphTensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def tensor(self, name: str, shape: tuple[int, ...], kind: str, quantization: Quantization | None = None) -> int:
        """Add a tensor that an operator writes, or a caller."""
        return self._add(GraphTensor(name, shape, kind, None, quantization))

    def constant(self, name: str, data: Array, quantization: Quantization | None = None) -> int:
        """Add a constant."""
        return self._add(GraphTensor(name, data.shape, data.dtype.name, data, quantization))

    def variable(self, name: str, shape: tuple[int, ...], kind: str, quantization: Quantization | None = None) -> int:
        """Add a tensor that keeps its values from one call to the next."""
        return self._add(GraphTensor(name, shape, kind, None, quantization, True))

    def operator(
        self,
        name: str,
        version: int,
        inputs: Sequence[int],
        output: int,
        options: Table | None = None,
        intermediates: Sequence[int] = (),
    ) -> int:
        """Add an operator; returns its output."""
        self.several(name, version, inputs, (output,), options, intermediates)
        return output

    def several(
        self,
        name: str,
        version: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Table | None = None,
        intermediates: Sequence[int] = (),
    ) -> None:
        """Add an operator of any number of outputs."""
        row = Operator(name, version, tuple(inputs), tuple(outputs), options or {}, tuple(intermediates))
        self.operators.append(row)

    def _add(self, tensor: GraphTensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def pack(
        self, inputs: Sequence[int], outputs: Sequence[int], description: str, inner: Sequence[Subgraph] = ()
    ) -> bytes:
        """The file's bytes, with the graphs that operators name by their number, the first of which is 1."""
        graphs = [Subgraph(self, tuple(inputs), tuple(outputs), "main"), *inner]
        codes = list(dict.fromkeys((row.name, row.version) for each in graphs for row in each.graph.operators))
        buffers: list[Table] = [{}]  # the first is empty and serves every tensor that is no constant
        root = {
            0: np.uint32(3),
            1: [_code(name, version) for name, version in codes],
            2: [_subgraph(each, codes, buffers) for each in graphs],
            3: description,
            4: buffers,
        }
        return pack(root, IDENTIFIER)


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    """A graph with its inputs and outputs."""

    graph: Graph
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str


def _subgraph(each: Subgraph, codes: list[tuple[str, int]], buffers: list[Table]) -> Table:
    tensors = []
    for tensor in each.graph.tensors:
        tensors.append(_tensor(tensor, len(buffers) if tensor.data is not None else 0))
        if tensor.data is not None:
            buffers.append({0: tensor.data.astype(tensor.data.dtype.newbyteorder("<")).tobytes()})
    return {
        0: tensors,
        1: _indices(each.inputs),
        2: _indices(each.outputs),
        3: [_operator(row, codes.index((row.name, row.version))) for row in each.graph.operators],
        4: each.name,
    }


def _code(name: str, version: int) -> Table:
    code = OPERATORS[name][0]
    return {0: np.int8(min(code, 127)), 2: np.int32(version), 3: np.int32(code)}


def _tensor(tensor: GraphTensor, buffer: int) -> Table:
    table: dict[int, Any] = {
        0: _indices(tensor.shape),
        1: np.int8(TYPES[tensor.type]),
        2: np.uint32(buffer),
        3: tensor.name,
        5: np.bool_(tensor.variable),
    }
    if tensor.quantization is not None:
        scales = tensor.quantization.scales.astype(np.float32)
        zeros = np.full(len(scales), tensor.quantization.zero, np.int64)
        table[4] = {2: scales, 3: zeros, 6: np.int32(tensor.quantization.axis)}
    return table


def _operator(row: Operator, code: int) -> Table:
    table: dict[int, Any] = {0: np.uint32(code), 1: _indices(row.inputs), 2: _indices(row.outputs)}
    options = OPERATORS[row.name][1]
    if options:
        table |= {3: np.uint8(options), 4: row.options}
    if row.intermediates:
        table[8] = _indices(row.intermediates)
    return table


def _indices(values: Sequence[int]) -> Array:
    return np.array(values, np.int32)
