"""From a checkpoint of any framework to a Model. What a file holds decides, never how it is called."""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..model import Model
from ..tfl8_model import Tfl8Model
from . import archives

MAX_FILE = 1 << 31  # bytes of a checkpoint
HDF5 = b"\x89HDF\r\n\x1a\n"
LEGACY_TORCH = 0x1950A86A20F9469CFC6C
"""The number that the first pickle of a torch file older than 1.6 holds."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A format that is known and not read, and what to do instead."""

    reason: str


def read(
    checkpoint: Any,
    *,
    head: str | None = None,
    architecture: str | os.PathLike[str] | None = None,
    example: Any = None,
    trust: bool = False,
    compat: str | None = None,
) -> Model | Tfl8Model:
    """The model of a checkpoint: a file's path, or a live torch.nn.Module. Of a full-int8 .tflite file a Tfl8Model.

    head: the activations a state dict does not tell, "relu,softmax". architecture: a file that describes what a
    weights-only checkpoint does not. example: an input of a PyTorch program, (batch, steps, values), or a tuple of all
    its inputs, where it cannot be told what it reads. trust: whether TorchScript and .pt2 files, which are programs,
    may run in PyTorch. compat: "tflite" reads full-int8 .tflite files whose cells the converter spoilt, to compute what
    TFLite's runtimes answer. CheckpointError says in one line why a checkpoint cannot be read.
    """
    if compat not in (None, "tflite"):
        raise CheckpointError(f"compat is {compat!r}; expected 'tflite', or leave it out")
    module = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", None)
    if module is not None and isinstance(checkpoint, module):
        if architecture is not None:
            raise CheckpointError("a live module knows its architecture; leave `architecture` out")
        if compat is not None:
            raise CheckpointError(_COMPAT)
        from . import torch as torch_importer

        return torch_importer.read_module(checkpoint, head=head, example=example)
    if not isinstance(checkpoint, str | os.PathLike):
        raise CheckpointError(f"expected a path or a torch.nn.Module, not {type(checkpoint).__name__}")
    path = Path(os.fsdecode(checkpoint))
    try:
        described = Path(os.fsdecode(architecture)) if architecture is not None else None
        with np.errstate(all="ignore"):  # NaN and infinity are refused where they land, in words
            return _read_file(path, head, described, example, trust, compat is not None)
    except CheckpointError as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from None


_COMPAT = "compat is for full-int8 .tflite files alone; leave it out"


def _read_file(
    path: Path, head: str | None, architecture: Path | None, example: Any, trust: bool, compat: bool
) -> Model | Tfl8Model:
    found = recognise(path)
    if isinstance(found, _Refused):
        raise CheckpointError(found.reason)
    if example is not None and found != "torch":
        raise CheckpointError("only a PyTorch program needs an example of its input; leave it out")
    if compat and found != "tflite":
        raise CheckpointError(_COMPAT)
    match found:
        case "keras":
            from . import keras

            return keras.read(path, head=head, architecture=architecture)
        case "torch":
            from . import torch

            return torch.read(path, head=head, architecture=architecture, example=example, trust=trust)
        case "safetensors":
            from . import safetensors

            return safetensors.read(path, head=head, architecture=architecture)
        case "onnx":
            from . import onnx

            return onnx.read(path, head=head, architecture=architecture)
        case "tflite":
            from . import tflite

            return tflite.read(path, head=head, architecture=architecture, compat=compat)
        case "npz":
            from . import npz

            return npz.read(path, head=head, architecture=architecture)
    raise CheckpointError(
        "the content is no checkpoint this package knows; it reads Keras (.keras, .h5), PyTorch (.pt, .pth), "
        ".safetensors, ONNX, TensorFlow Lite (.tflite) and NumPy's .npz files"
    )


def recognise(path: Path) -> str | _Refused | None:
    """The importer for a file's content, a reason why there is none, or None for unknown content."""
    try:
        if not path.exists():
            raise CheckpointError("no such file")
        if path.is_dir():
            raise CheckpointError(_directory(path))
        if not path.is_file():
            raise CheckpointError("not a regular file")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise CheckpointError(error.strerror or "cannot be read") from None
    except ValueError:
        raise CheckpointError("not a valid path") from None
    if size == 0:
        raise CheckpointError("the file is empty")
    if size > MAX_FILE:
        raise CheckpointError(f"the file has {size} bytes, expected at most {MAX_FILE}")
    if start.startswith(HDF5):
        return "keras"
    if start.startswith(b"PK"):
        return _archive(path)
    if start[4:8] == b"TFL3":
        return "tflite"
    if start.startswith(b"EDGELSTM"):
        return _Refused("this is an EdgeLSTM image, already converted; run or inspect it instead")
    if _is_legacy_torch(start):
        return "torch"
    if _is_safetensors(start, size):
        return "safetensors"
    if _is_onnx(start, size):
        return "onnx"
    if start.startswith(b"version https://git-lfs"):
        return _Refused("this is a Git LFS pointer, not the file itself; run: git lfs pull")
    if start[:1] == b"\x80":
        return _Refused("a pickle that is not torch's; save the tensors with torch.save(model.state_dict(), 'name.pt')")
    if start.lstrip()[:1] == b"{":
        return _Refused("a JSON text holds no weights; give the weights file and name this one as the architecture")
    return None


def _directory(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        return "a TensorFlow SavedModel; save it with model.save('name.keras') and give that file"
    return "a directory; give the checkpoint file in it"


def _archive(path: Path) -> str | _Refused | None:
    """What a zip archive is, by its members' names alone."""
    names = archives.names(path)
    if "config.json" in names:
        return "keras"
    if any(name == "data.pkl" or name.endswith(("/data.pkl", "/archive_format")) for name in names):
        return "torch"
    if any(name.endswith(".npy") for name in names):
        return "npz"
    return None


def _is_legacy_torch(start: bytes) -> bool:
    """A torch file older than 1.6 starts with a pickle of its magic number; since protocol 4 in a frame of 9 bytes."""
    number = b"\x8a\x0a" + LEGACY_TORCH.to_bytes(10, "little")
    return start[:1] == b"\x80" and (start.startswith(number, 2) or start.startswith(number, 11))


def _is_safetensors(start: bytes, size: int) -> bool:
    """A safetensors file starts with the length of a JSON table, and the table."""
    if len(start) < 10:
        return False
    (length,) = struct.unpack("<Q", start[:8])
    return 2 <= length <= size - 8 and start[8:9] == b"{"


def _is_onnx(start: bytes, size: int) -> bool:
    """An ONNX file is a row of protobuf's fields: its IR version among them, then or before texts about the producer,
    and the graph. Each starts with a key of the format's, so that few other files fit."""
    at, version = 0, False
    while at < len(start):
        key = start[at]
        if key not in _ONNX_FIELDS:
            return False
        at += 1
        value, at = _varint(start, at)
        if key == _ONNX_VERSION:
            version = 1 <= value <= 64
        elif key & 7 == 2:
            if at + value > size:
                return False
            at += value
        if key == _ONNX_GRAPH:
            return version or at >= size
    return version and at >= size


_ONNX_VERSION, _ONNX_GRAPH = 0x08, 0x3A
_ONNX_FIELDS = {0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72}
"""The keys of an ONNX model's first fields: IR version, producer and its version, domain, model version, text, graph,
operator sets, metadata."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            break
    return value, at
