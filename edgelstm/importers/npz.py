"""Plain NumPy .npz archives: matrices by name, and a TOML file that says which layers they make (docs/npz.md)."""

from __future__ import annotations

import io
import tokenize
import warnings
import zipfile
import zlib
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, ModelError
from ..model import Array, Model, Source
from . import npz_layers
from .torch_pickle import shown

MAX_FILE = 1 << 26  # bytes of an archive, and of its arrays as float32 at least; reading takes up to 385 MB
_MAX_ARRAYS = 4096
_MAX_RANK = 8
_HEADER = 10_000  # bytes


def read(path: Path, head: str | None = None, architecture: Path | None = None) -> Model:
    """The model of an archive's arrays, as an architecture file describes it."""
    if head is not None:
        raise CheckpointError("a NumPy archive has no head; its architecture file tells the activations")
    try:
        if path.stat().st_size > MAX_FILE:
            raise CheckpointError(f"the archive has {path.stat().st_size} bytes, expected at most {MAX_FILE}")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}") from None
    arrays = load(data)
    if architecture is None:
        held = [f"{shown(name)} {array.shape}" for name, array in list(arrays.items())[:6]]
        more = f" and {len(arrays) - 6} more" if len(arrays) > 6 else ""
        raise CheckpointError(
            "a NumPy archive tells no layers; describe them in a TOML file and give that as the architecture "
            f"(docs/npz.md). It holds {', '.join(held)}{more}"
        )
    try:
        return npz_layers.read(architecture, arrays, Source("npz", shown(path.name), sha256(data).hexdigest()))
    except ModelError as error:
        raise CheckpointError(f"{architecture.name}: {error}") from None


def load(data: bytes) -> dict[str, Array]:
    """The arrays of an archive by name. Nothing is unpickled; no more is unpacked than an array's header asks for."""
    arrays: dict[str, Array] = {}
    left = MAX_FILE
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MAX_ARRAYS:
                raise CheckpointError(f"it holds {len(members)} files, expected at most {_MAX_ARRAYS}")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name == member.filename or name in arrays:
                    raise CheckpointError(f"it holds {shown(member.filename)!r}, which is no array or is there twice")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise CheckpointError(f"array {shown(name)!r} is packed in a way that NumPy does not use")
                with archive.open(member) as file:
                    arrays[name] = _array(file, shown(name), left)
                left -= max(arrays[name].nbytes, 4 * arrays[name].size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise CheckpointError(f"the archive is damaged: {shown(error) or 'it ends early'}") from None
    return arrays


def _array(file: Any, name: str, left: int) -> Array:
    """The array of an opened member, at most `left` bytes of it."""
    npy: Any = np.lib.format  # untyped
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise CheckpointError(f"array {name!r} is of version {version}, expected 1.0 or 2.0")
        headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a header is of Python 2
            shape, fortran, dtype = headers[version](file, max_header_size=_HEADER)
    except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, TypeError) as error:
        raise CheckpointError(f"array {name!r}: its header is damaged: {shown(str(error).splitlines()[0])}") from None
    if dtype.kind not in "fiu" or dtype.hasobject:
        raise CheckpointError(f"array {name!r} holds {shown(dtype)}, expected numbers")
    if len(shape) > _MAX_RANK or any(n < 1 for n in shape):
        raise CheckpointError(f"array {name!r} has shape {shown(shape)}")
    size = prod(shape) * dtype.itemsize
    if max(size, 4 * prod(shape)) > left:
        raise CheckpointError(f"array {name!r} of shape {shown(shape)} is too large, or all together are")
    raw = file.read(size)
    if len(raw) != size or file.read(1):
        raise CheckpointError(f"array {name!r} does not hold what its shape {shown(shape)} asks for")
    flat: Array = np.frombuffer(raw, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
