"""The bytes of an ONNX file as graphs of nodes and arrays, within bounds. Nothing but these bytes is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingError
from ..model import Array
from .torch_pickle import shown

MAX_FILE = 1 << 26  # bytes; parsed, they are held about three times
_MAX_ENTRIES = 400_000  # nodes, names, attributes, dimensions, ... in all
_MAX_DEPTH = 40  # messages in messages; a subgraph takes three
_MAX_EXPANDED = 1 << 26  # bytes that packed whole numbers take as int64
_MAX_UNKNOWN = 1 << 20  # bytes of fields this table does not know
MAX_RANK = 16
OPSETS = range(6, 1 << 20)

# Per message: its fields that are messages, those that are packed whole numbers (field -> bytes of each once parsed,
# which takes one byte in the file), and those whose bytes stay as they are.
_SCHEMA: dict[str, tuple[dict[int, str], dict[int, int], set[int]]] = {
    "model": ({7: "graph", 8: "leaf", 14: "leaf", 20: "training", 25: "function"}, {}, {2, 3, 4, 6}),
    "graph": (
        {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 14: "annotation", 15: "sparse", 16: "leaf"},
        {},
        {2, 10},
    ),
    "function": ({7: "node", 9: "leaf", 11: "attribute", 12: "value", 14: "leaf"}, {}, {1, 4, 5, 6, 8, 10, 13}),
    "training": ({1: "graph", 2: "graph", 3: "leaf", 4: "leaf"}, {}, set()),
    "node": ({5: "attribute", 9: "leaf"}, {}, {1, 2, 3, 4, 6, 7, 8}),
    "attribute": (
        {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 14: "type", 15: "type", 22: "sparse", 23: "sparse"},
        {8: 8},
        {1, 4, 7, 9, 13, 21},
    ),
    "tensor": ({3: "leaf", 13: "leaf"}, {1: 8, 5: 4, 7: 8, 11: 8}, {4, 6, 8, 9, 10, 12}),
    "sparse": ({1: "tensor", 2: "tensor"}, {3: 8}, set()),
    "value": ({2: "type", 4: "leaf"}, {}, {1, 3}),
    "type": ({1: "tensor type", 4: "holder", 5: "holder", 8: "tensor type", 9: "holder"}, {}, {6}),
    "holder": ({1: "type", 2: "type"}, {}, set()),
    "tensor type": ({2: "shape"}, {}, set()),
    "shape": ({1: "leaf"}, {}, set()),
    "annotation": ({2: "leaf"}, {}, {1}),
    "leaf": ({}, {}, set(range(1, 5))),
}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation. Inputs and outputs are names; "" is one left out."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]  # int, float, text, lists of them, an array, or a Graph
    origin: str = ""  # what a file of another format calls the operation

    @property
    def label(self) -> str:
        """What errors call it."""
        called = self.name or next((name for name in self.outputs if name), "")
        return f"node {shown(called)!r} ({shown(self.origin or self.op)})"


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """A graph's input or output."""

    name: str
    dtype: str  # NumPy's name, "" where none is told
    shape: tuple[int | str | None, ...] | None  # sizes, names of sizes, or None where nothing is told


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes, and the arrays they read."""

    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A file's graph and the operator set it is written in."""

    graph: Graph
    opset: int


def parse(data: bytes) -> File:
    """The contents of an ONNX file. CheckpointError if it is damaged, too large, or holds what is never read."""
    if len(data) > MAX_FILE:
        raise CheckpointError(
            f"the file has {len(data)} bytes, expected at most {MAX_FILE} of ONNX; "
            "a larger net is read from its state dict, .pt or .safetensors (docs/pytorch.md)"
        )
    _Scan().message(data, 0, len(data), "model", 0)
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise MissingError('reading ONNX files needs onnx: pip install "edgelstm[onnx]"') from None
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError, RuntimeError):
        raise CheckpointError("not an ONNX file, or damaged: it cannot be parsed") from None
    if not proto.graph.node:
        raise CheckpointError("not an ONNX model, or damaged: its graph has no nodes")
    opsets = {_text(entry.domain) or "ai.onnx": entry.version for entry in proto.opset_import}
    opset = opsets.get("ai.onnx")
    if opset is None or opset not in OPSETS:
        raise CheckpointError(f"it is written in opset {opset}, expected 6 or later")
    own = {(_text(f.domain), _text(f.name)) for f in proto.functions}
    used = own & {(_text(n.domain), _text(n.op_type)) for n in proto.graph.node}
    if used:
        called = shown(".".join(min(used)))
        raise CheckpointError(f"it calls a function of its own, {called!r}; export it with functions inlined")
    return File(_graph(onnx, proto.graph), opset)


class _Scan:
    """Walks the messages of a file before they are parsed, since few bytes may become many objects."""

    def __init__(self) -> None:
        self.entries = 0
        self.expanded = 0
        self.unknown = 0

    def message(self, data: bytes, at: int, end: int, kind: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise CheckpointError("its subgraphs nest too deep")
        messages, packed, plain = _SCHEMA[kind]
        while at < end:
            self.entries += 1
            if self.entries > _MAX_ENTRIES:
                raise CheckpointError(f"it has more than {_MAX_ENTRIES} nodes, names and other entries")
            key, at = _varint(data, at, end)
            field, wire = key >> 3, key & 7
            if wire == 0:
                _, at = _varint(data, at, end)
            elif wire == 1:
                at += 8
            elif wire == 5:
                at += 4
            elif wire == 2:
                size, at = _varint(data, at, end)
                if size > end - at:
                    raise CheckpointError("not an ONNX file, or truncated: a field reaches past its end")
                if field in messages:
                    self.message(data, at, at + size, messages[field], depth + 1)
                elif field in packed:
                    self.expanded += size * packed[field]
                elif field not in plain:
                    self.unknown += size
                if self.expanded > _MAX_EXPANDED or self.unknown > _MAX_UNKNOWN:
                    raise CheckpointError("its lists of whole numbers, or its unknown fields, are too large")
                at += size
            else:
                raise CheckpointError("not an ONNX file, or damaged: a field is of unknown kind")
        if at != end:
            raise CheckpointError("not an ONNX file, or truncated: a field reaches past its end")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise CheckpointError("not an ONNX file, or truncated")


def _graph(onnx: Any, proto: Any) -> Graph:
    if proto.sparse_initializer:
        raise CheckpointError(
            f"tensor {shown(_text(proto.sparse_initializer[0].values.name))!r} is sparse, which is not read"
        )
    constants: dict[str, Array] = {}
    for tensor in proto.initializer:
        name = _text(tensor.name)
        if name in constants:
            raise CheckpointError(f"two tensors are called {shown(name)!r}")
        constants[name] = array(onnx, tensor)
    inputs = [port for port in (_port(onnx, v) for v in proto.input) if port.name not in constants]  # IR < 4 lists both
    return Graph(
        tuple(_node(onnx, node) for node in proto.node),
        constants,
        tuple(inputs),
        tuple(_port(onnx, value) for value in proto.output),
    )


def _port(onnx: Any, value: Any) -> Port:
    if not value.type.HasField("tensor_type"):
        return Port(_text(value.name), "", None)
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        if len(kind.shape.dim) > MAX_RANK:
            raise CheckpointError(f"{shown(value.name)!r} has {len(kind.shape.dim)} dimensions")
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else (_text(dim.dim_param) or None) for dim in kind.shape.dim
        )
    return Port(_text(value.name), _dtype(onnx, kind.elem_type), shape)


def _dtype(onnx: Any, elem_type: int) -> str:
    names = onnx.TensorProto.DataType
    return names.Name(elem_type).lower() if elem_type in names.values() else ""


def _node(onnx: Any, proto: Any) -> Node:
    names = [tuple(map(_text, names)) for names in (proto.input, proto.output)]
    found = Node(_text(proto.op_type), _text(proto.domain), _text(proto.name), names[0], names[1], {})
    if not any(found.outputs):
        raise CheckpointError(f"{found.label} writes nothing")
    for attribute in proto.attribute:
        try:
            found.attributes[_text(attribute.name)] = _attribute(onnx, attribute)
        except CheckpointError as error:
            raise CheckpointError(f"{found.label}: {error}") from None
    return found


def _attribute(onnx: Any, proto: Any) -> Any:
    kinds = onnx.AttributeProto
    if proto.ref_attr_name:
        raise CheckpointError(f"{shown(_text(proto.name))} refers to a function's attribute outside of one")
    match proto.type:
        case kinds.INT:
            return int(proto.i)
        case kinds.FLOAT:
            return float(proto.f)
        case kinds.STRING:
            return _text(proto.s)
        case kinds.INTS:
            return list(proto.ints)
        case kinds.FLOATS:
            return list(proto.floats)
        case kinds.STRINGS:
            return [_text(text) for text in proto.strings]
        case kinds.TENSOR:
            return array(onnx, proto.t)
        case kinds.GRAPH:
            return _graph(onnx, proto.g)
    raise CheckpointError(f"{shown(_text(proto.name))} is of a kind that is not read")


def _text(value: str | bytes) -> str:
    """A text of the file, which protobuf gives as bytes where it is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


_FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
_WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")


def array(onnx: Any, tensor: Any) -> Array:
    """A tensor's numbers; bfloat16 as float32. CheckpointError where they lie elsewhere or do not fit the shape."""
    name = shown(_text(tensor.name))
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise CheckpointError(
            f"tensor {name!r} lies in another file, which is not opened; save the model as one file: "
            "onnx.save(onnx.load(path), path), or torch.onnx.export(..., external_data=False)"
        )
    kind = _dtype(onnx, tensor.data_type).upper()
    shape = tuple(tensor.dims)
    if kind not in _FLOATS + _WHOLE:
        raise CheckpointError(f"tensor {name!r} holds numbers of kind {kind.lower() or 'unknown'}, which are not read")
    if len(shape) > MAX_RANK or any(n < 0 for n in shape) or tensor.HasField("segment"):
        raise CheckpointError(f"tensor {name!r} has an impossible shape")
    held = _held(tensor, kind)
    if prod(shape) != held:
        raise CheckpointError(f"tensor {name!r} holds {held:g} numbers, its shape {shape} asks for {prod(shape)}")
    try:
        values: Array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"tensor {name!r} is damaged: {shown(error)}") from None
    if kind == "BFLOAT16":
        values = values.astype(np.float32)
    return values


_SIZES = {"FLOAT": 4, "DOUBLE": 8, "FLOAT16": 2, "BFLOAT16": 2, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8}
_SIZES |= {"UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "BOOL": 1}
_TYPED = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")
_FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data"}
_FIELDS |= {"UINT32": "uint64_data", "UINT64": "uint64_data"}


def _held(tensor: Any, kind: str) -> float:
    """How many numbers a tensor holds."""
    typed = sum(len(getattr(tensor, field)) for field in _TYPED)
    if tensor.HasField("raw_data"):
        if typed:
            raise CheckpointError(f"tensor {shown(tensor.name)!r} holds its numbers twice")
        return len(tensor.raw_data) / _SIZES[kind]
    return len(getattr(tensor, _FIELDS.get(kind, "int32_data")))


def ordered(nodes: Iterable[Node], wanted: Iterable[str]) -> list[Node]:
    """The nodes that the wanted names need, each behind those it reads. CheckpointError where they run in circles."""
    writer: dict[str, Node] = {}
    for node in nodes:
        for name in node.outputs:
            if name and name in writer:
                raise CheckpointError(f"{node.label}: it writes {shown(name)!r}, which is written already")
            if name:
                writer[name] = node
    order: list[Node] = []
    state: dict[int, int] = {}  # by id: 1 while what a node reads is being visited, 2 when it is done
    stack = [(writer[name], False) for name in reversed(list(wanted)) if name in writer]
    while stack:
        node, done = stack.pop()
        if done:
            state[id(node)] = 2
            order.append(node)
            continue
        if state.get(id(node)):
            continue
        state[id(node)] = 1
        stack.append((node, True))
        for name in reversed(reads(node)):
            source = writer.get(name)
            if source is None:
                continue
            if state.get(id(source)) == 1:
                raise CheckpointError(f"{node.label}: its graph runs in circles")
            if not state.get(id(source)):
                stack.append((source, False))
    return order


def reads(node: Node) -> list[str]:
    """The names a node reads, also within its subgraphs; a subgraph's own names among them do no harm."""
    names = [name for name in node.inputs if name]
    for value in node.attributes.values():
        if isinstance(value, Graph):
            for inner in value.nodes:
                names += reads(inner)
            names += [port.name for port in value.outputs]
    return names
