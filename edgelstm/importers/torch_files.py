"""The two containers of `torch.save`: the zip archive (PyTorch 1.6 and later) and the stream of pickles before it."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..errors import CheckpointError
from ..model import Array
from .torch_pickle import PICKLE_LIMIT, Storage, StoredTensor, load, shown

T = TypeVar("T")

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {  # storage class: what it holds, bytes of one element
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
    "ComplexFloatStorage": ("complex64", 8),
    "ComplexDoubleStorage": ("complex128", 16),
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What `torch.save` was given, tensors as `StoredTensor`, and the bytes of each storage."""

    value: Any
    storage: Callable[[Storage], bytes | memoryview]


def read(data: bytes) -> Contents:
    """The contents of a checkpoint. CheckpointError if it is damaged, hostile or not of torch.save."""
    if data[:4] == b"PK\x03\x04":
        return _read_zip(data)
    if data[:1] == b"\x80":
        return _read_stream(data)
    if data[257:262] == b"ustar":
        raise CheckpointError("a tar archive of PyTorch before 0.1.10; load and save it with a later one")
    raise CheckpointError("not a PyTorch checkpoint: neither a zip archive nor a stream of pickles")


def dtype(storage: Storage) -> str:
    """NumPy's name of a storage's numbers, or "bfloat16"; CheckpointError if it is of another kind."""
    return _layout(storage)[0]


def elements(contents: Contents, tensor: StoredTensor) -> Array:
    """The tensor's values, contiguous; float32 where the file has bfloat16."""
    kind, size = _layout(tensor.storage)
    raw = contents.storage(tensor.storage)
    flat = np.frombuffer(raw, np.uint16 if kind == "bfloat16" else kind)
    strides = tuple(size * stride for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
    return from_bfloat16(view) if kind == "bfloat16" else np.array(view, order="C")


def from_bfloat16(bits: Array) -> Array:
    """bfloat16 is the upper half of float32: exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _layout(storage: Storage) -> tuple[str, int]:
    kind = storage.type.rpartition(".")[2]
    if kind not in _DTYPES:
        raise CheckpointError(f"it holds numbers of kind {shown(kind)}, which are not read")
    return _DTYPES[kind]


def program(data: bytes) -> str:
    """What PyTorch calls the program a file holds: "TorchScript", "torch.export", or "" for a file of tensors."""
    if data[:4] != b"PK\x03\x04":
        return ""
    names = _Records(data).entries
    if "constants.pkl" in names:
        return "TorchScript"
    return "torch.export" if any(name.startswith("models/") for name in names) else ""


def _read_zip(data: bytes) -> Contents:
    records = _Records(data)
    if "data.pkl" not in records.entries:
        raise CheckpointError("a zip archive without data.pkl: not written by torch.save")
    if "byteorder" in records.entries and records.read("byteorder", 16) != b"little":
        raise CheckpointError("written on a big-endian machine; load and save it on a little-endian one")
    value, _, storages = load(records.read("data.pkl", PICKLE_LIMIT))
    for storage in storages.values():
        if storage.type.rpartition(".")[2] in _DTYPES:  # the others are refused if a weight is made of them
            records.check(f"data/{storage.key}", storage.count * _layout(storage)[1])
    return Contents(value, lambda storage: records.read(f"data/{storage.key}", len(data)))


class _Records:
    """The files of the archive, by name without its top folder. Uncompressed, so none is larger than the archive."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.archive: zipfile.ZipFile = _guarded(lambda: zipfile.ZipFile(io.BytesIO(data)))
        self.entries: dict[str, zipfile.ZipInfo] = {}
        tops = set()
        for entry in self.archive.infolist():
            top, _, name = entry.filename.partition("/")
            tops.add(top)
            if name in self.entries:
                raise CheckpointError(f"the archive holds {shown(name)} twice")
            self.entries[name] = entry
        if len(tops) != 1:
            raise CheckpointError("a zip archive of several top folders: not written by torch.save")

    def check(self, name: str, size: int) -> None:
        """CheckpointError unless the record exists and has `size` bytes."""
        if name not in self.entries:
            raise CheckpointError(f"the archive lacks {shown(name)}, which a tensor needs")
        if self.entries[name].file_size != size:
            raise CheckpointError(
                f"{shown(name)} has {self.entries[name].file_size} bytes, its storage is declared with {size}"
            )

    def read(self, name: str, limit: int) -> bytes:
        entry = self.entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise CheckpointError(f"{shown(name)} is compressed, which torch.save never does")
        if entry.file_size > min(limit, self.size):
            raise CheckpointError(f"{shown(name)} claims {entry.file_size} bytes, more than can be")
        content = _guarded(lambda: self.archive.read(entry))
        if len(content) != entry.file_size:
            raise CheckpointError(f"{shown(name)} is truncated")
        return content


def _guarded(action: Callable[[], T]) -> T:
    """`zipfile` answers damage with any of these."""
    try:
        return action()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise CheckpointError(f"damaged archive: {shown(error)}") from None
    except (struct.error, LookupError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"damaged archive: {type(error).__name__}") from None


def _read_stream(data: bytes) -> Contents:
    magic, position, _ = load(data)
    if type(magic) is not int or magic != _MAGIC:
        raise CheckpointError("a pickle that torch.save did not write")
    protocol, position, _ = load(data, position)
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise CheckpointError("a stream of an unknown version of torch.save")
    system, position, _ = load(data, position)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise CheckpointError("not written on a little-endian machine; load and save it on one")
    value, position, storages = load(data, position)
    keys, position, _ = load(data, position)
    if type(keys) is not list or any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
        raise CheckpointError("damaged: its list of storages is not a list of distinct names")
    if set(keys) != set(storages):
        raise CheckpointError("damaged: its list of storages is not that of its tensors")
    blocks: dict[str, memoryview] = {}
    view = memoryview(data)
    for key in keys:
        count, size = storages[key].count, _layout(storages[key])[1]
        if len(data) - position < 8 or int.from_bytes(view[position : position + 8], "little") != count:
            raise CheckpointError(f"damaged: storage {shown(key)} is not where or as large as its tensors say")
        blocks[key] = view[position + 8 : position + 8 + count * size]
        position += 8 + count * size
        if position > len(data):
            raise CheckpointError(f"truncated in storage {shown(key)}")
    if position != len(data):
        raise CheckpointError(f"{len(data) - position} bytes follow its last storage")
    return Contents(value, _block_reader(blocks))


def _block_reader(blocks: Mapping[str, memoryview]) -> Callable[[Storage], memoryview]:
    return lambda storage: blocks[storage.key]
