"""The bytes of a .tflite file as tables, each offset, length and index checked before it is followed.

Offsets lead forward in the file and the schema's tables do not nest in themselves, so no walk runs in a circle; what a
file may make of few bytes by pointing at them many times is counted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..model import Array
from .tflite_schema import ARITY, EXACT, NAMES, OPERATORS, OPTIONS, TABLES, TYPES, Field
from .torch_pickle import shown

IDENTIFIER = b"TFL3"
MAX_FILE = 1 << 26  # bytes
_MAX_ENTRIES = 200_000  # tables, fields and numbers that become objects of Python, in all
_MAX_TEXT = 1 << 23  # bytes of all texts
_MAX_PORTS = 256  # inputs, and outputs, of the model
_MAX_RANK = 16
_VERSION = 3
_NUMBERS = {"i1": "b", "u1": "B", "i4": "<i", "u4": "<I", "i8": "<q", "u8": "<Q", "f4": "<f"}


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """real = scale * (integer - zero); one scale, or one for each index of an axis."""

    scales: Array  # float32 [1] or [size of the axis]
    zeros: Array  # int64, as many
    axis: int

    @property
    def plain(self) -> bool:
        """Whether one scale serves all."""
        return len(self.scales) == 1


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor: a constant if it has data."""

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]  # the shape with -1 where it may change
    dtype: str
    data: memoryview | None
    quantization: Quantization | None
    variable: bool  # kept from one call to the next
    refused: str  # why its numbers cannot be read; "" if they can

    def array(self) -> Array:
        """The numbers of a constant as they stand in the file."""
        if self.refused or self.data is None:
            raise CheckpointError(f"tensor {shown(self.name)!r}: {self.refused or 'it is no constant'}")
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One operator; tensors by index, -1 where an optional one is left out."""

    op: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: dict[str, Any]
    places: dict[str, int] = field(default_factory=dict)  # of the options that the file states, where they lie in it


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True, eq=False)
class File:
    subgraphs: tuple[Subgraph, ...]  # the first is the model
    names: dict[int, str] = field(default_factory=dict)  # what its one signature calls the first's tensors
    left: tuple[str, ...] = ()  # signatures of other graphs


def parse(data: bytes) -> File:
    """The contents of a .tflite file. CheckpointError if it is damaged, too large, or of another version."""
    if len(data) > MAX_FILE:
        raise CheckpointError(f"the file has {len(data)} bytes, expected at most {MAX_FILE} of TFLite")
    if data[4:8] != IDENTIFIER:
        raise CheckpointError("not a TFLite model: it does not carry the mark TFL3")
    tables = _Tables(data)
    root = tables.table("Model", tables.offset(0))
    if root["version"] != _VERSION:
        raise CheckpointError(f"a TFLite model of schema {root['version']}, expected {_VERSION}")
    if root["external_groups"] or root["external_buffers"]:
        raise CheckpointError("its constants lie in other files, which are never opened")
    codes = [_code(row) for row in root["codes"]]
    if not root["subgraphs"]:
        raise CheckpointError("not a TFLite model, or damaged: it has no graph")
    subgraphs = tuple(_subgraph(tables, row, codes, root["buffers"]) for row in root["subgraphs"])
    for what, ports in (("inputs", subgraphs[0].inputs), ("outputs", subgraphs[0].outputs)):
        if len(ports) > _MAX_PORTS:
            raise CheckpointError(f"its graph has {len(ports)} {what}, expected at most {_MAX_PORTS}")
    signatures = root["signatures"]
    left = tuple(row["key"] for row in signatures if row["subgraph"] != 0)
    if left and len(left) == len(signatures):
        raise CheckpointError(f"its signature {shown(left[0])!r} is not of its first graph, which alone is read")
    return File(subgraphs, _names(signatures, subgraphs[0]), left)


class _Tables:
    """Reads tables at checked places."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.entries = 0
        self.texts: dict[int, str] = {}
        self.text_bytes = 0

    def count(self, entries: int) -> None:
        self.entries += entries
        if self.entries > _MAX_ENTRIES:
            raise CheckpointError(f"it has more than {_MAX_ENTRIES} tensors, operators and other entries")

    def number(self, kind: str, at: int) -> Any:
        form = _NUMBERS[kind]
        if at < 0 or at + struct.calcsize(form) > len(self.data):
            raise _damaged("a field reaches past its end")
        return struct.unpack_from(form, self.data, at)[0]

    def offset(self, at: int) -> int:
        """Where an offset leads, always forward."""
        step = self.number("u4", at)
        if step < 4 or at + step > len(self.data) - 4:
            raise _damaged("an offset leads out of it")
        return int(at + step)

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many there are."""
        at = self.offset(at)
        count = self.number("u4", at)
        if count * size > len(self.data) - at - 4:
            raise _damaged("a vector reaches past its end")
        return at + 4, count

    def slots(self, at: int, known: int) -> list[int]:
        """Where the fields of a table lie, 0 for those it leaves out; and its size last."""
        start = at - self.number("i4", at)
        length, size = self._u2(start), self._u2(start + 2)
        if length < 4 or length % 2 or start + length > len(self.data):
            raise _damaged("a table's index reaches past its end")
        if size < 4 or at + size > len(self.data):
            raise _damaged("a table reaches past its end")
        count = (length - 4) // 2
        self.count(1 + count)
        found = struct.unpack_from(f"<{count}H", self.data, start + 4)
        if any(n and not 4 <= n < size for n in found):
            raise _damaged("a field lies outside its table")
        if any(found[known:]):
            raise CheckpointError("it has fields that this version does not know")
        return [*(at + n if n else 0 for n in found[:known]), *[0] * (known - count), at + size]

    def _u2(self, at: int) -> int:
        if at < 0 or at + 2 > len(self.data):
            raise _damaged("a table's index lies outside it")
        return int(struct.unpack_from("<H", self.data, at)[0])

    def table(self, kind: str, at: int) -> dict[str, Any]:
        """The fields of a table, those it leaves out at their defaults."""
        fields = TABLES[kind]
        *places, end = self.slots(at, max(fields) + 1)
        if any(place and slot not in fields for slot, place in enumerate(places)):
            raise CheckpointError(f"a {kind} has fields that this version does not know")
        return {f.name: self.field(f, places[slot], end) for slot, f in fields.items()}

    def places(self, kind: str, at: int) -> dict[str, int]:
        """Where the fields of a table lie, of those it has."""
        fields = TABLES[kind]
        *places, _ = self.slots(at, max(fields) + 1)
        return {f.name: places[slot] for slot, f in fields.items() if places[slot]}

    def field(self, f: Field, at: int, end: int) -> Any:
        if f.kind in _NUMBERS:
            if not at:
                return f.default
            if at + struct.calcsize(_NUMBERS[f.kind]) > end:
                raise _damaged("a field lies outside its table")
            return self.number(f.kind, at)
        if at and at + 4 > end:
            raise _damaged("a field lies outside its table")
        if f.kind == "there":
            return self.offset(at) if at else None
        if f.kind == "text":
            return self.text(at) if at else ""
        if f.kind == "bytes":
            start, count = self.vector(at, 1) if at else (0, 0)
            return self.data[start : start + count]
        if not f.kind.startswith("["):
            return self.table(f.kind, self.offset(at)) if at else None
        inner = f.kind[1:-1]
        if inner not in _NUMBERS:
            start, count = self.vector(at, 4) if at else (0, 0)
            self.count(count)
            return [self.table(inner, self.offset(start + 4 * k)) for k in range(count)]
        dtype = np.dtype(f"<{inner}")
        start, count = self.vector(at, dtype.itemsize) if at else (0, 0)
        self.count(count)
        return np.frombuffer(self.data, dtype, count, start)

    def text(self, at: int) -> str:
        start, count = self.vector(at, 1)
        if start not in self.texts:
            self.text_bytes += count
            if self.text_bytes > _MAX_TEXT:
                raise CheckpointError(f"its names take more than {_MAX_TEXT} bytes")
            self.texts[start] = bytes(self.data[start : start + count]).decode("utf-8", "replace")
        return self.texts[start]


def _damaged(reason: str) -> CheckpointError:
    return CheckpointError(f"not a TFLite model, or damaged: {reason}")


def _code(row: dict[str, Any]) -> tuple[str, int]:
    """An operator's name and version."""
    code = max(row["code"], row["old_code"])
    if row["custom"]:
        return f"custom {shown(row['custom'])}", row["version"]
    return (NAMES[code] if 0 <= code < len(NAMES) else f"builtin {code}"), row["version"]


def _subgraph(
    tables: _Tables, row: dict[str, Any], codes: Sequence[tuple[str, int]], buffers: Sequence[dict[str, Any]]
) -> Subgraph:
    tensors = tuple(_tensor(each, buffers) for each in row["tensors"])
    inputs, outputs = (_indices(row[name], len(tensors), False) for name in ("inputs", "outputs"))
    operators = tuple(_operator(tables, each, codes, len(tensors)) for each in row["operators"])
    written = set(inputs) | {k for k, tensor in enumerate(tensors) if tensor.data is not None}
    if len(set(inputs)) != len(inputs):
        raise _damaged("a graph lists an input twice")
    made = {k for operator in operators for k in operator.outputs}
    for operator in operators:
        if any(k in made and k not in written for k in operator.inputs):
            raise _damaged(f"a {operator.op} reads what is written behind it")
        for k in operator.outputs:
            if k in written:
                raise _damaged(f"tensor {shown(tensors[k].name)!r} is written twice")
            written.add(k)
    return Subgraph(tensors, inputs, outputs, operators)


def _indices(values: Array, count: int, optional: bool) -> tuple[int, ...]:
    found = tuple(values.tolist())
    if any(not (-1 if optional else 0) <= k < count for k in found):
        raise _damaged("it names a tensor that is not there")
    return found


def _tensor(row: dict[str, Any], buffers: Sequence[dict[str, Any]]) -> Tensor:
    name = row["name"]
    called = f"tensor {shown(name)!r}"
    shape = tuple(row["shape"].tolist())
    if len(shape) > _MAX_RANK or any(n < 0 for n in shape):
        raise CheckpointError(f"{called}: shape {shown(list(shape[:_MAX_RANK]))}")
    signature = tuple(row["signature"].tolist()) or shape
    if len(signature) != len(shape) or any(s not in (-1, n) for s, n in zip(signature, shape, strict=True)):
        raise CheckpointError(f"{called}: shape {list(shape)} with signature {shown(list(signature[:_MAX_RANK]))}")
    if not 0 <= row["buffer"] < len(buffers):
        raise _damaged(f"{called} names a buffer that is not there")
    buffer = buffers[row["buffer"]]
    dtype = TYPES.get(row["type"], f"kind {row['type']}")
    refused = ""
    if row["sparsity"] is not None:
        refused = "it is sparse, which is not read"
    elif row["external_buffer"] or buffer["offset"] > 1 or buffer["size"] > 1:
        refused = "its numbers lie outside the file's tables, which is not read"
    elif dtype not in _SIZES:
        refused = f"numbers of kind {dtype} are not read"
    data = buffer["data"] if len(buffer["data"]) else None
    if data is not None and not refused and prod(shape) * _SIZES[dtype] != len(data):
        raise CheckpointError(f"{called}: {len(data)} bytes for {list(shape)} numbers of kind {dtype}")
    quantization = _quantization(row["quantization"], shape, called)
    return Tensor(name, shape, signature, dtype, data, quantization, bool(row["variable"]), refused)


_SIZES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2, "int8": 1}
_SIZES |= {"float64": 8, "uint32": 4}


def _quantization(row: dict[str, Any] | None, shape: tuple[int, ...], called: str) -> Quantization | None:
    if row is None or not len(row["scale"]):
        return None
    if row["details_type"]:
        raise CheckpointError(f"{called}: it is quantized in a way of its own, which is not read")
    scales, zeros, axis = row["scale"], row["zero"], row["axis"]
    if not len(zeros):
        zeros = np.zeros(len(scales), np.int64)
    one = len(scales) == 1
    if len(zeros) != len(scales) or (not one and not (0 <= axis < len(shape) and shape[axis] == len(scales))):
        raise CheckpointError(f"{called}: {len(scales)} scales and {len(zeros)} zero points for shape {list(shape)}")
    if not np.isfinite(scales).all() or (scales < 0).any() or (np.abs(zeros) > 1 << 31).any():
        raise CheckpointError(f"{called}: a scale or a zero point is not fit to compute with")
    return Quantization(scales, zeros, 0 if one else axis)


def _operator(tables: _Tables, row: dict[str, Any], codes: Sequence[tuple[str, int]], count: int) -> Operator:
    if not row["code"] < len(codes):
        raise _damaged("an operator of a kind that is not there")
    op, version = codes[row["code"]]
    options: dict[str, Any] = {}
    places: dict[str, int] = {}
    if op in OPERATORS:
        kind = OPERATORS[op][1]
        if row["options_type"] not in (0, kind) or row["options2_type"]:
            raise _damaged(f"a {op} with the options of another operator")
        table = OPTIONS.get(kind, "")
        if table in TABLES:
            fields = TABLES[table]
            if row["options"] is not None and row["options_type"]:
                options = tables.table(table, row["options"])
                places = tables.places(table, row["options"])
            else:
                options = {f.name: [] if f.kind[0] == "[" else f.default for f in fields.values()}
        elif row["options"] is not None:
            tables.slots(row["options"], 0)
    inputs = _indices(row["inputs"], count, True)
    outputs = _indices(row["outputs"], count, False)
    reads, writes = ARITY.get(op, (1, 1))
    most = reads if op in EXACT else len(inputs)
    if op in OPERATORS and (not reads <= len(inputs) <= most or -1 in inputs[:reads] or len(outputs) < writes):
        raise _damaged(f"a {op} of {len(inputs)} inputs and {len(outputs)} outputs")
    return Operator(op, version, inputs, outputs, _indices(row["intermediates"], count, True), options, places)


def _names(signatures: Sequence[dict[str, Any]], subgraph: Subgraph) -> dict[int, str]:
    """Names of inputs and outputs where one signature tells them, and they are different."""
    rows = [row for row in signatures if row["subgraph"] == 0]
    if len(rows) != 1:
        return {}
    found: dict[int, str] = {}
    for row in [*rows[0]["inputs"], *rows[0]["outputs"]]:
        if row["tensor"] < len(subgraph.tensors) and row["name"]:
            found.setdefault(row["tensor"], row["name"])
    return found if len(set(found.values())) == len(found) else {}
