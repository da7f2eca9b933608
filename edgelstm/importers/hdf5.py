"""HDF5 files from strangers: every tensor and the few attributes Keras writes, read within bounds.

Nothing outside the file is opened, nothing is read that the file is too small to hold.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingError
from ..model import Array
from .hdf5_attributes import Reader, Texts
from .hdf5_trees import DEFLATE

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 65536  # groups and tensors in one file
MAX_DEPTH = 64  # groups inside groups
MAX_EXPANSION = 16  # tensors may be so many times larger than a file with compressed tensors

ATTRIBUTES = frozenset(("backend", "dtype", "keras_version", "layer_names", "model_config", "name", "weight_names"))
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
        texts = Reader(data)
        root = texts.structure.root()
        found = texts.attributes(root, ATTRIBUTES)
        with _no_plugins(h5py), h5py.File(io.BytesIO(data), "r") as file:
            return _read_all(_walk(h5py, file, texts, root, found), h5py.Dataset, len(data))
    except CheckpointError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"the HDF5 file is damaged or truncated ({reason!r}); copy or save it again") from None


@contextmanager
def _no_plugins(h5py: Any) -> Iterator[None]:
    """Where the library would load code from that a file asks for, it finds nothing meanwhile."""
    folders = [h5py.h5pl.get(n) for n in range(h5py.h5pl.size())]
    for _ in folders:
        h5py.h5pl.remove(0)
    try:
        yield
    finally:
        for folder in folders:
            h5py.h5pl.append(folder)


def _read_all(objects: Iterable[tuple[str, Any, dict[str, Texts]]], dataset: type, size: int) -> Hdf5:
    tensors: dict[str, Array] = {}
    attributes: dict[str, dict[str, Texts]] = {}
    total = 0
    for path, item, found in objects:
        if isinstance(item, dataset):
            total += _checked_bytes(item, path, size)
            if total > MAX_EXPANSION * size:
                raise CheckpointError("the HDF5 file's tensors are far larger than the file; it is not a Keras file")
            tensors[path] = _tensor(item, path, found)
        else:
            attributes[path] = found
    return Hdf5(tensors, attributes)


def _walk(
    h5py: Any, file: Any, texts: Reader, root: int, found: dict[str, Texts]
) -> Iterator[tuple[str, Any, dict[str, Texts]]]:
    """Every group and tensor once by path, with its attributes, in the file's order.

    Links to elsewhere and loops are refused; an object's header is read here before the library opens it.
    """
    pending = [("", file, 0, found)]
    seen = {root}
    while pending:
        path, item, depth, attributes = pending.pop()
        yield path, item, attributes
        if isinstance(item, h5py.Dataset):
            continue
        if len(item) > MAX_OBJECTS or depth > MAX_DEPTH:
            raise CheckpointError(f"the HDF5 file nests too many groups at {path!r}; it is not a Keras file")
        for name in item:
            if not isinstance(name, str):
                raise CheckpointError(f"the HDF5 file holds a name at {path!r} that is not UTF-8; it is damaged")
            inner = f"{path}/{name}" if path else name
            link = item.id.links.get_info(name.encode("utf-8", "surrogateescape"))
            if link.type != h5py.h5l.TYPE_HARD:
                raise CheckpointError(f"the HDF5 file holds a link at {inner!r}, which no Keras writes; refused")
            if link.u in seen or len(seen) > MAX_OBJECTS:
                raise CheckpointError(f"the HDF5 file holds {inner!r} twice or too many objects; refused")
            seen.add(link.u)
            found = texts.attributes(link.u, ATTRIBUTES)
            child = item[name]
            if not isinstance(child, (h5py.Group, h5py.Dataset)):
                raise CheckpointError(f"the HDF5 file holds a named type at {inner!r}, which no Keras writes; refused")
            pending.append((inner, child, depth + 1, found))


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
    if packed:
        _check_chunks(dataset, path, MAX_EXPANSION * limit)
    return size


def _check_chunks(dataset: Any, path: str, limit: int) -> None:
    """Every packed chunk must inflate to a chunk's bytes and no more; the library would inflate it to the end."""
    size = math.prod(dataset.chunks) * int(dataset.dtype.itemsize)
    if size > limit:
        raise CheckpointError(f"tensor {path!r} has chunks of {size} bytes, larger than the file can hold; refused")
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(n)[0] for n in range(plan.get_nfilters())]
    if DEFLATE not in filters:
        return
    for number in range(dataset.id.get_num_chunks()):
        mask, block = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
        if not mask >> filters.index(DEFLATE) & 1 and len(zlib.decompressobj().decompress(block, size + 5)) > size + 4:
            raise CheckpointError(f"tensor {path!r} inflates to more than its chunks hold; refused")  # 4: a checksum


def _tensor(dataset: Any, path: str, attributes: dict[str, Texts]) -> Array:
    """The values, in the file's number type; bfloat16 as float32."""
    if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and attributes.get("dtype") == "bfloat16":
        halves = np.frombuffer(dataset[()].tobytes(), "<u2").astype(np.uint32)  # bfloat16: float32's upper half
        return (halves << 16).view(np.float32).reshape(dataset.shape)
    if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2:
        raise CheckpointError(
            f"tensor {path!r} holds two bytes a number and not of which kind; Keras writes bfloat16 so and cannot "
            "load it either: save the model as .keras of Keras 3, or in float32"
        )
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
