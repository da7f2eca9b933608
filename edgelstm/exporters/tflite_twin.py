"""A dynamic range .tflite file with its weights as the floats they stand for, so that a runtime rounds nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..importers.tflite_file import File, Operator, Subgraph, Tensor, parse
from ..importers.tflite_lower import Lowering, needed
from ..importers.tflite_schema import NAMES, OPERATORS, OPTIONS, TABLES, TYPES
from .flatbuffer import Table, pack
from .tflite_graph import IDENTIFIER

_CODES = {name: code for code, name in TYPES.items()}
_FEWER = ("int8", "uint8", "int16", "float16")


def floats(data: bytes) -> bytes:
    """The file with every constant of fewer bits as float32. CheckpointError if its tables cannot be followed."""
    file = parse(data)
    buffers: list[Table] = [{}]
    codes: list[tuple[str, int]] = []
    graphs = [_graph(file, subgraph, buffers, codes) for subgraph in file.subgraphs]
    rows = [
        {0: np.int8(min(NAMES.index(op), 127)), 2: np.int32(version), 3: np.int32(NAMES.index(op))}
        for op, version in codes
    ]
    return pack({0: np.uint32(3), 1: rows, 2: graphs, 3: "", 4: buffers}, IDENTIFIER)


def _graph(file: File, subgraph: Subgraph, buffers: list[Table], codes: list[tuple[str, int]]) -> Table:
    low = Lowering(file, subgraph, {})
    known = all(operator.op in OPERATORS for operator in subgraph.operators)
    operators = list(subgraph.operators) if known else needed(subgraph)
    same = {o.outputs[0]: o.inputs[0] for o in operators if o.op == "DEQUANTIZE"}

    def places(indices: tuple[int, ...]) -> Any:
        return np.array([same.get(k, k) for k in indices], np.int32)

    rows = []
    for operator in operators:
        if operator.op == "DEQUANTIZE":
            continue
        if (operator.op, operator.version) not in codes:
            codes.append((operator.op, operator.version))
        row: dict[int, Any] = {0: np.uint32(codes.index((operator.op, operator.version)))}
        row |= {1: places(operator.inputs), 2: places(operator.outputs)}
        kind = OPERATORS[operator.op][1]
        rows.append(row | ({3: np.uint8(kind), 4: _options(operator, OPTIONS[kind])} if kind else {}))
    tensors = [_tensor(low, tensor, buffers) for tensor in subgraph.tensors]
    return {0: tensors, 1: places(subgraph.inputs), 2: places(subgraph.outputs), 3: rows, 4: "main"}


def _tensor(low: Lowering, tensor: Tensor, buffers: list[Table]) -> Table:
    fewer = tensor.dtype in _FEWER and (tensor.quantization is not None or tensor.dtype == "float16")
    buffer = 0
    if tensor.data is not None and not tensor.refused:
        array = low.real(tensor)
        buffer = len(buffers)
        buffers.append({0: array.astype(array.dtype.newbyteorder("<")).tobytes()})
    return {
        0: np.array(tensor.shape, np.int32),
        1: np.int8(_CODES["float32" if fewer else tensor.dtype]),
        2: np.uint32(buffer),
        3: tensor.name,
        5: np.bool_(tensor.variable),
        7: np.array(tensor.signature, np.int32),
    }


def _options(operator: Operator, table: str) -> Table:
    made: dict[int, Any] = {}
    for slot, field in TABLES.get(table, {}).items():
        value = operator.options[field.name]
        if field.kind == "text":
            made[slot] = value
        elif field.kind.startswith("["):
            made[slot] = np.array(value, f"<{field.kind[1:-1]}")
        else:
            made[slot] = np.dtype(field.kind).type(value)
    return made
