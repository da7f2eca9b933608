"""HDF5 files from strangers: every tensor and the few attributes Keras writes, read within bounds.

Nothing outside the file is opened, nothing is read that the file is too small to hold.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingError
from ..model import Array
from .hdf5_attributes import Reader, Texts

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 65536  # groups and tensors in one file
MAX_DEPTH = 64  # groups inside groups
MAX_EXPANSION = 16  # tensors may be so many times larger than a file with compressed tensors

ATTRIBUTES = frozenset(("dtype", "keras_version", "layer_names", "model_config", "name", "weight_names"))
"""The attributes that are read; a long list is cut by Keras into <name>0, <name>1, ..."""


@dataclass(frozen=True, slots=True)
class Hdf5:
    """A whole file: tensors and attributes by path, without a leading slash; the root's path is empty."""

    tensors: dict[str, Array]
    attributes: dict[str, dict[str, Texts]]  # path -> name -> a string or a list of strings


def read(data: bytes) -> Hdf5:
    """The content of an HDF5 file. CheckpointError if it is damaged or holds what no Keras writes."""
    try:
        import h5py
    except ImportError:
        raise MissingError('Keras files need h5py; install it with: pip install "edgelstm[keras]"') from None
    first = data[8:9] in (b"\0", b"\1")  # version of the superblock: where it says how wide its numbers are
    if data[13:15] != b"\x08\x08" if first else data[9:11] != b"\x08\x08":
        raise CheckpointError(
            "the HDF5 file is damaged, or counts in other than 8 bytes as no Keras does; save it again"
        )
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _read_all(h5py, file, data)
    except CheckpointError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"the HDF5 file is damaged or truncated ({reason!r}); copy or save it again") from None


def _read_all(h5py: Any, file: Any, data: bytes) -> Hdf5:
    tensors: dict[str, Array] = {}
    attributes: dict[str, dict[str, Texts]] = {}
    texts = Reader(data)
    total = 0
    for path, item in _walk(h5py, file):
        found = texts.attributes(h5py.h5o.get_info(item.id).addr, ATTRIBUTES)
        if isinstance(item, h5py.Dataset):
            total += _checked_bytes(item, path, len(data))
            if total > MAX_EXPANSION * len(data):
                raise CheckpointError("the HDF5 file's tensors are far larger than the file; it is not a Keras file")
            tensors[path] = _tensor(item, path, found)
        else:
            attributes[path] = found
    return Hdf5(tensors, attributes)


def _walk(h5py: Any, file: Any) -> Iterator[tuple[str, Any]]:
    """Every group and tensor once by path, in the file's order; links to elsewhere and loops are refused."""
    pending = [("", file, 0)]
    seen = {h5py.h5o.get_info(file.id).addr}
    while pending:
        path, item, depth = pending.pop()
        yield path, item
        if isinstance(item, h5py.Dataset):
            continue
        if len(item) > MAX_OBJECTS or depth > MAX_DEPTH:
            raise CheckpointError(f"the HDF5 file nests too many groups at {path!r}; it is not a Keras file")
        for name in item:
            inner = f"{path}/{name}" if path else name
            if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                raise CheckpointError(f"the HDF5 file holds a link at {inner!r}, which no Keras writes; refused")
            child = item[name]
            if not isinstance(child, (h5py.Group, h5py.Dataset)):
                raise CheckpointError(f"the HDF5 file holds a named type at {inner!r}, which no Keras writes; refused")
            address = h5py.h5o.get_info(child.id).addr
            if address in seen or len(seen) > MAX_OBJECTS:
                raise CheckpointError(f"the HDF5 file holds {inner!r} twice or too many objects; refused")
            seen.add(address)
            pending.append((inner, child, depth + 1))


def _checked_bytes(dataset: Any, path: str, limit: int) -> int:
    """Bytes of a tensor, once it is known to lie inside the file and to be no larger than the file may hold."""
    if dataset.is_virtual or dataset.external:
        raise CheckpointError(f"tensor {path!r} keeps its values in another file; refused")
    if dataset.shape is None or dataset.dtype.hasobject or dataset.dtype.subdtype or dataset.dtype.names:
        raise CheckpointError(f"tensor {path!r} does not hold plain numbers; refused")
    size = int(dataset.size) * int(dataset.dtype.itemsize)
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    if size > (MAX_EXPANSION if packed else 1) * limit or (size and dataset.id.get_storage_size() == 0):
        raise CheckpointError(f"tensor {path!r} of shape {dataset.shape} is larger than the file can hold; refused")
    return size


def _tensor(dataset: Any, path: str, attributes: dict[str, Texts]) -> Array:
    """The values, in the file's number type; bfloat16 as float32."""
    if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and attributes.get("dtype") == "bfloat16":
        halves = np.frombuffer(dataset[()].tobytes(), "<u2").astype(np.uint32)  # bfloat16: float32's upper half
        return (halves << 16).view(np.float32).reshape(dataset.shape)
    if dataset.dtype.kind not in "fiu":
        raise CheckpointError(f"tensor {path!r} holds {str(dataset.dtype)!r}, expected numbers; refused")
    return np.asarray(dataset[()])


def joined(attributes: dict[str, Texts], name: str) -> list[str] | None:
    """A list attribute, put together again where Keras cut it into <name>0, <name>1, ...; None if there is none."""
    if name in attributes:
        value = attributes[name]
        return value if isinstance(value, list) else [value]
    parts: list[str] = []
    count = 0
    while f"{name}{count}" in attributes:
        value = attributes[f"{name}{count}"]
        parts.extend(value if isinstance(value, list) else [value])
        count += 1
    return parts if count else None
