"""Reads the pickles of PyTorch checkpoints as data.

The opcodes are interpreted here, over lists, dicts and the inert classes below. Python's own unpickler is not
used: no name is ever imported and no callable of the file's choosing is ever called, so a checkpoint cannot run code.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError

PICKLE_LIMIT = 16 << 20  # bytes; a tensor takes about 150, so this is a hundred thousand tensors
_OPCODE_LIMIT = 2_000_000  # a tensor takes about 40; bounds time to seconds and memory to a few hundred megabytes
_COUNT_LIMIT = 1 << 40  # elements; keeps sums and products of hostile numbers small
_RANK_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function the pickle names, never imported."""

    text: str
    strange: bool = False  # neither a tensor's nor plain data: it may be a module's class, and nothing else


@dataclass(slots=True, eq=False)
class Inert:
    """A Python object the pickle would have built: its class name, and of a torch module its attributes."""

    text: str
    module: dict[Any, Any] | None = None
    strange: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of numbers elsewhere in the file."""

    key: str
    type: str  # "torch.FloatStorage", ...
    count: int  # elements


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A view into a storage: element (i, j) is storage[offset + i * strides[0] + j * strides[1]]; inside its bounds."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_DATA = frozenset(
    [f"builtins.{name}" for name in (
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
        "slice", "str", "tuple",
    )]
    + [f"torch.{name}" for name in (
        "bfloat16", "bool", "complex64", "complex128", "device", "float16", "float32", "float64", "int8", "int16",
        "int32", "int64", "memory_format", "per_tensor_affine", "strided", "uint8",
    )]
    + [f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in (
        "Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath",
    )]
    + [f"{module}.{name}" for module in ("numpy.core.multiarray", "numpy._core.multiarray") for name in (
        "_reconstruct", "scalar",
    )]
    + [
        "_codecs.encode", "argparse.Namespace", "datetime.date", "datetime.datetime", "datetime.timedelta",
        "datetime.timezone", "decimal.Decimal", "numpy.dtype", "numpy.ndarray", "types.SimpleNamespace", "uuid.UUID",
    ]
)  # fmt: skip
"""Plain data that training scripts put beside the weights. Each becomes an `Inert`."""

_QUANTIZED = "it holds quantized tensors; save the float model's state dict instead"
_REASONS = {
    "torch._utils._rebuild_qtensor": _QUANTIZED,
    "torch.qint8": _QUANTIZED,
    "torch.quint8": _QUANTIZED,
    "torch._utils._rebuild_tensor_v3": "it holds tensors of a number type that is not read (float8 or unsigned)",
    "torch._utils._rebuild_sparse_tensor": "it holds sparse tensors; call .to_dense() on them before saving",
    "torch._utils._rebuild_meta_tensor_no_storage": "it holds tensors of the meta device, which have no values",
}


def load(data: bytes, start: int = 0) -> tuple[Any, int, dict[str, Storage]]:
    """The value of the pickle at `start`, the position after it, and the storages it names by key."""
    reader = _Reader(data, start, min(len(data), start + PICKLE_LIMIT))
    return reader.run(), reader.position, reader.storages


def shown(text: object) -> str:
    """A name from the file, fit for one line of a message."""
    line = str(text).encode("unicode_escape", "backslashreplace").decode("ascii")
    return line if len(line) <= 80 else f"{line[:77]}..."


@dataclass(slots=True)
class _Reader:
    data: bytes
    position: int
    end: int
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)  # stacks below a MARK
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)  # names that only a module may hold
    unbuilt: dict[int, Inert] = field(default_factory=dict)  # objects that must turn out to be modules
    modules: int = 0

    def run(self) -> Any:
        for _ in range(_OPCODE_LIMIT):
            opcode = self.take(1)
            if opcode == b".":
                if len(self.stack) != 1 or self.marks:
                    raise CheckpointError("damaged pickle: it ends with an unfinished value")
                strangers = [made.text for made in self.unbuilt.values()] + ([] if self.modules else self.strange)
                if strangers:
                    raise _stranger(strangers[0])
                return self.stack[0]
            if opcode in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode]())
            elif opcode in _NUMBERS:
                layout = _NUMBERS[opcode]
                self.stack.append(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])
            elif opcode in _BLOCKS:
                size, decode = _BLOCKS[opcode]
                self.stack.append(decode(self.take(int.from_bytes(self.take(size), "little"))))
            elif opcode in _ACTIONS:
                _ACTIONS[opcode](self)
            else:
                code = opcode.decode("latin-1")
                name = next((known.name for known in pickletools.opcodes if known.code == code), f"0x{opcode.hex()}")
                raise CheckpointError(f"pickle opcode {name} is not used in a state dict and is refused")
        raise CheckpointError("a pickle of more objects than any state dict has; save the state dict alone")

    def take(self, size: int) -> bytes:
        if size > self.end - self.position:
            raise CheckpointError("truncated, or a pickle larger than any state dict's")
        self.position += size
        return self.data[self.position - size : self.position]

    def line(self) -> str:
        stop = self.data.find(b"\n", self.position, min(self.end, self.position + 1000))
        if stop < 0:
            raise CheckpointError("damaged pickle: a name without an end")
        return self.take(stop + 1 - self.position)[:-1].decode("utf-8", "backslashreplace")

    def pop(self) -> Any:
        if not self.stack:
            raise CheckpointError("damaged pickle: it takes a value where there is none")
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def above_mark(self) -> list[Any]:
        if not self.marks:
            raise CheckpointError("damaged pickle: no mark where one is needed")
        values, self.stack = self.stack, self.marks.pop()
        return values

    def remember(self, index: int) -> None:
        value = self.pop()
        self.memo[index] = value
        self.stack.append(value)

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise CheckpointError("damaged pickle: it recalls a value it never stored")
        self.stack.append(self.memo[index])

    def name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise CheckpointError("damaged pickle: a class name that is not text")
        text = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if text in _REASONS:
            raise CheckpointError(_REASONS[text])
        strange = text not in _CALLS and text not in _DATA and text not in _TYPES and not _is_storage_type(text)
        if strange:
            self.strange.append(text)
        self.stack.append(Name(text, strange))

    def call(self, target: Any, args: Any) -> None:
        if type(target) is not Name or type(args) is not tuple:
            raise CheckpointError("damaged pickle: it calls something that is not a named class")
        if target.strange:
            raise _stranger(target.text)
        self.stack.append(_call(target, args))

    def new(self) -> None:
        """An object of a class without arguments: a module, if its attributes are a module's."""
        args, target = self.pop(), self.pop()
        if type(target) is Name and target.strange and args == ():
            made = Inert(target.text, strange=True)
            self.unbuilt[id(made)] = made
            self.stack.append(made)
        else:
            self.call(target, args)

    def extend(self, target: Any, values: list[Any]) -> None:
        if type(target) is list:
            target.extend(values)
        elif type(target) is not Inert:
            raise CheckpointError("damaged pickle: it appends to something that is not a list")

    def fill(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise CheckpointError("damaged pickle: a dict with a key and no value")
        if type(target) is dict:
            target.update(_pairs(items[::2], items[1::2]))
        elif type(target) is not Inert:
            raise CheckpointError("damaged pickle: it puts an item into something that is not a dict")

    def persistent(self) -> None:
        pid = self.pop()
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage" or type(pid[1]) is not Name:
            raise CheckpointError("damaged pickle: a reference that is not to a storage")
        _, kind, key, _, count = pid[:5]
        if type(key) is not str or not _is_storage_type(kind.text) or not _is_count(count):
            raise CheckpointError("damaged pickle: a storage without key, type or size")
        if len(pid) == 6 and pid[5] is not None:
            raise CheckpointError("it holds storage views of PyTorch before 0.4; load and save it with a later one")
        storage = Storage(key, kind.text, count)
        if self.storages.setdefault(key, storage) != storage:
            raise CheckpointError(f"storage {shown(key)} is declared twice, in different ways")
        self.stack.append(storage)

    def build(self) -> None:
        """Object attributes: those of a module are kept, others, such as the `_metadata` of a state dict, dropped."""
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if type(target) is Inert and target.strange:
            if type(state) is not dict or any(type(state.get(key)) is not dict for key in _MODULE):
                raise _stranger(target.text)
            target.module = state
            self.modules += self.unbuilt.pop(id(target), None) is not None
            return
        if not self.stack or type(self.stack[-1]) not in (dict, Inert, StoredTensor):
            raise CheckpointError("damaged pickle: it sets attributes of something that has none")


_MODULE = ("_parameters", "_buffers", "_modules")
"""What every torch.nn.Module holds."""


def _stranger(text: str) -> CheckpointError:
    return CheckpointError(
        f"it holds a Python object, {shown(text)}, and no code of a checkpoint is ever run; in PyTorch save "
        "the weights alone: torch.save(model.state_dict(), path)"
    )


def _is_storage_type(text: str) -> bool:
    module, _, name = text.rpartition(".")
    return module in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage") and name.isalnum()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _COUNT_LIMIT


def _pairs(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if len(parts) > _RANK_LIMIT or not all(_is_key(part) for part in parts):
            raise CheckpointError("it holds a dict whose keys are not text or small whole numbers")
    return dict(zip(keys, values, strict=True))


def _is_key(value: Any) -> bool:
    """Whether it hashes at once: nested tuples recurse in C, chosen large numbers collide."""
    return type(value) in (str, bytes, bool, type(None)) or (type(value) is int and abs(value) < _COUNT_LIMIT)


def _call(target: Name, args: tuple[Any, ...]) -> Any:
    if target.text in _CALLS:
        return _CALLS[target.text](args)
    if target.text in _DATA:
        return Inert(target.text)
    raise CheckpointError(f"damaged pickle: it calls {shown(target.text)}")


def _mapping(args: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict(), or OrderedDict([[key, value], ...]) as Python 2 wrote it."""
    if not args:
        return {}
    items = args[0]
    if type(items) is dict:
        return items
    if type(items) is not list or any(type(item) not in (list, tuple) or len(item) != 2 for item in items):
        raise CheckpointError("damaged pickle: an OrderedDict of something that is not pairs")
    pairs = _pairs([item[0] for item in items], [item[1] for item in items])
    items.clear()  # a list recalled a million times must not become a million dicts
    return pairs


def _tensor(args: tuple[Any, ...]) -> StoredTensor:
    """(storage, offset, shape, strides, ...), checked to lie inside the storage."""
    if len(args) < 4 or type(args[0]) is not Storage or not _is_count(args[1]):
        raise CheckpointError("damaged pickle: a tensor without storage, offset, shape and strides")
    if len(args) > 6 and args[6]:  # torch negates or conjugates such a tensor when it is read
        raise CheckpointError("it holds a tensor with a negative or conjugate bit; call .resolve_neg() before saving")
    storage, offset, shape, strides = args[:4]
    for numbers in (shape, strides):
        if type(numbers) is not tuple or len(numbers) > _RANK_LIMIT or not all(_is_count(n) for n in numbers):
            raise CheckpointError("damaged pickle: a tensor's shape or strides are not small whole numbers")
    if len(shape) != len(strides):
        raise CheckpointError(f"a tensor of shape {shape} has strides {strides}")
    count, last = 1, offset
    for size, stride in zip(shape, strides, strict=True):
        count *= size
        last += (size - 1) * stride
    if count and last >= storage.count:
        raise CheckpointError(f"a tensor of shape {shape} reaches past the end of storage {shown(storage.key)}")
    if count > storage.count:  # stride 0: a small file would ask for any amount of memory
        raise CheckpointError(f"a tensor of shape {shape} repeats the elements of storage {shown(storage.key)}")
    return StoredTensor(storage, offset, shape, strides)


def _parameter(args: tuple[Any, ...]) -> StoredTensor:
    if not args or type(args[0]) is not StoredTensor:
        raise CheckpointError("damaged pickle: a parameter without its tensor")
    return args[0]


def _from_type(args: tuple[Any, ...]) -> Any:
    """(function, class, its arguments, attributes): how torch writes a tensor that carries attributes."""
    if len(args) < 3 or type(args[0]) is not Name or args[0].text not in _REBUILD or type(args[2]) is not tuple:
        raise CheckpointError("damaged pickle: a tensor subclass without its tensor")
    return _REBUILD[args[0].text](args[2])


def _size(args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) != 1 or type(args[0]) not in (tuple, list) or len(args[0]) > _RANK_LIMIT:
        raise CheckpointError("damaged pickle: a torch.Size without numbers")
    return tuple(args[0])


_REBUILD: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    **_REBUILD,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": lambda args: {},
}
_TYPES = frozenset(("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"))

_CONSTANTS: dict[bytes, Callable[[], Any]] = {
    b"N": lambda: None,
    b"\x88": lambda: True,
    b"\x89": lambda: False,
    b"]": list,
    b"}": dict,
    b")": tuple,
    b"\x8f": lambda: Inert("builtins.set"),
}
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise CheckpointError("damaged pickle: text that is not UTF-8") from None


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def _whole(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


_BLOCKS: dict[bytes, tuple[int, Callable[[bytes], Any]]] = {  # opcode: bytes of its length field, meaning
    b"X": (4, _text),
    b"\x8c": (1, _text),
    b"\x8d": (8, _text),
    b"T": (4, _latin),  # str of Python 2
    b"U": (1, _latin),
    b"B": (4, bytes),
    b"C": (1, bytes),
    b"\x8e": (8, bytes),
    b"\x96": (8, bytes),
    b"\x8a": (1, _whole),
}


def _mark(r: _Reader) -> None:
    r.marks.append(r.stack)
    r.stack = []


def _tuple_of(count: int) -> Callable[[_Reader], None]:
    def make(r: _Reader) -> None:
        r.stack.append(tuple([r.pop() for _ in range(count)][::-1]))

    return make


def _global(r: _Reader) -> None:
    module = r.line()
    r.name(module, r.line())


def _stack_global(r: _Reader) -> None:
    name = r.pop()
    r.name(r.pop(), name)


def _reduce(r: _Reader) -> None:
    args = r.pop()
    r.call(r.pop(), args)


def _new_with_keywords(r: _Reader) -> None:
    r.pop()
    _reduce(r)


def _append(r: _Reader) -> None:
    value = r.pop()
    r.extend(r.stack[-1] if r.stack else None, [value])


def _appends(r: _Reader) -> None:
    values = r.above_mark()
    r.extend(r.stack[-1] if r.stack else None, values)


def _set_item(r: _Reader) -> None:
    value, key = r.pop(), r.pop()
    r.fill(r.stack[-1] if r.stack else None, [key, value])


def _set_items(r: _Reader) -> None:
    items = r.above_mark()
    r.fill(r.stack[-1] if r.stack else None, items)


def _dict(r: _Reader) -> None:
    items = r.above_mark()
    r.stack.append({})
    r.fill(r.stack[-1], items)


def _frozen_set(r: _Reader) -> None:
    r.above_mark()
    r.stack.append(Inert("builtins.frozenset"))


def _duplicate(r: _Reader) -> None:
    value = r.pop()
    r.stack += [value, value]


_ACTIONS: dict[bytes, Callable[[_Reader], object]] = {
    b"\x80": lambda r: r.take(1),  # PROTO: an opcode unknown here is refused anyway
    b"\x95": lambda r: r.take(8),  # FRAME: only a hint for buffering
    b"(": _mark,
    b"0": _Reader.pop,
    b"1": _Reader.above_mark,
    b"2": _duplicate,
    b"t": lambda r: r.push(tuple(r.above_mark())),
    b"l": lambda r: r.push(r.above_mark()),
    b"d": _dict,
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"a": _append,
    b"e": _appends,
    b"\x90": _appends,  # ADDITEMS, to a set
    b"s": _set_item,
    b"u": _set_items,
    b"\x91": _frozen_set,
    b"q": lambda r: r.remember(r.take(1)[0]),
    b"r": lambda r: r.remember(int.from_bytes(r.take(4), "little")),
    b"\x94": lambda r: r.remember(len(r.memo)),
    b"h": lambda r: r.recall(r.take(1)[0]),
    b"j": lambda r: r.recall(int.from_bytes(r.take(4), "little")),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": lambda r: r.new(),
    b"\x92": _new_with_keywords,
    b"b": _Reader.build,
    b"Q": _Reader.persistent,
}
