""".safetensors files: named tensors and nothing else."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingError, ModelError
from ..model import Array, Model, Source
from .torch import from_weights, load_file
from .torch_files import from_bfloat16
from .torch_names import Weight
from .torch_pickle import shown

_HEADER_LIMIT = 16 << 20  # bytes; a tensor takes about 100
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read(
    path: str | os.PathLike[str], head: str | None = None, architecture: str | os.PathLike[str] | None = None
) -> Model:
    """The model of a .safetensors file with PyTorch's names; head and architecture as in `torch.read`."""
    file = Path(path)
    data = load_file(file)
    source = Source("safetensors", file.name, sha256(data).hexdigest())
    try:
        return from_weights((_weights(data), []), head, architecture, False, source)
    except ModelError as error:
        raise CheckpointError(str(error)) from None


def _weights(data: bytes) -> list[Weight]:
    try:
        import safetensors
    except ImportError:
        raise MissingError('reading .safetensors needs safetensors: pip install "edgelstm[safetensors]"') from None
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= min(len(data) - 8, _HEADER_LIMIT) or data[8:9] != b"{":
        raise CheckpointError("not a safetensors file, or truncated: its header does not fit")
    parse: Any = safetensors.deserialize
    try:
        tensors: list[tuple[str, dict[str, Any]]] = parse(data)
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"damaged: {shown(error)}") from None
    json.loads(data[8 : 8 + size], object_pairs_hook=_once)  # the library takes the last of two
    return [_weight(name, tensor) for name, tensor in sorted(tensors, key=lambda item: item[0])]


def _once(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise CheckpointError("damaged: its header names a tensor or a property of one twice")


def _weight(name: str, tensor: dict[str, Any]) -> Weight:
    kind = str(tensor["dtype"])
    dtype = _DTYPES.get(kind, kind)
    return Weight(name, tuple(tensor["shape"]), dtype, lambda: _elements(tensor, dtype))


def _elements(tensor: dict[str, Any], dtype: str) -> Array:
    flat = np.frombuffer(tensor["data"], np.uint16 if dtype == "bfloat16" else dtype)
    return (from_bfloat16(flat) if dtype == "bfloat16" else flat).reshape(tensor["shape"])
