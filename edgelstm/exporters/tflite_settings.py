"""What the LSTMs of a .tflite file are set to, where that can spoil its answers. Reads and mends; runs nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MissingError
from .tflite_graph import OPERATORS

_CODE, _OPTIONS = OPERATORS["UNIDIRECTIONAL_SEQUENCE_LSTM"]
_CELL_INPUT = 19  # where an LSTM's inputs name the tensor of c


@dataclass(frozen=True, slots=True)
class Settings:
    """One LSTM of a file."""

    cell_clip: float  # 0: none
    clip_at: int | None  # where the file holds that number; None if it holds none
    cell_scale: float | None  # of one unit of c in an int8 model


def read(data: bytes) -> list[Settings]:
    """The fused LSTMs of a .tflite file; none if its tables cannot be followed. Needs flatbuffers."""
    try:
        import flatbuffers.table
    except ImportError:
        raise MissingError('reading .tflite needs flatbuffers: pip install "edgelstm[tflite]"') from None
    try:
        root = flatbuffers.table.Table(data, struct.unpack_from("<I", data)[0])
        codes = [_number(row, 3, "<i", 0) for row in _tables(root, 1)]
        return [
            _settings(operator, _tables(subgraph, 0))
            for subgraph in _tables(root, 2)
            for operator in _tables(subgraph, 3)
            if codes[_number(operator, 0, "<I", 0)] == _CODE and _number(operator, 3, "<B", 0) == _OPTIONS
        ]
    except (struct.error, IndexError, TypeError, ValueError, OverflowError, RecursionError):
        return []


def without_clip(data: bytes) -> bytes:
    """The file with every LSTM's cell clip set to none."""
    mended = bytearray(data)
    for settings in read(data):
        if settings.clip_at is not None:
            struct.pack_into("<f", mended, settings.clip_at, 0.0)
    return bytes(mended)


def _settings(operator: Any, tensors: list[Any]) -> Settings:
    options = _table(operator, 4)
    clip_at = _field(options, 1)
    clip = struct.unpack_from("<f", options.Bytes, clip_at)[0] if clip_at is not None else 0.0
    inputs = _numbers(operator, 1, "<i4")
    cell = tensors[inputs[_CELL_INPUT]]
    scales = _numbers(_table(cell, 4), 2, "<f4") if _field(cell, 4) is not None else []
    return Settings(float(clip), clip_at, float(scales[0]) if len(scales) else None)


def _field(table: Any, slot: int) -> int | None:
    """Where a table's field lies; None if it is absent."""
    offset = table.Offset(4 + 2 * slot)
    return table.Pos + offset if offset else None


def _number(table: Any, slot: int, form: str, default: int) -> int:
    at = _field(table, slot)
    return default if at is None else int(struct.unpack_from(form, table.Bytes, at)[0])


def _table(table: Any, slot: int) -> Any:
    at = _field(table, slot)
    if at is None:
        raise ValueError("a table is missing")
    return type(table)(table.Bytes, table.Indirect(at))


def _tables(table: Any, slot: int) -> list[Any]:
    at = _field(table, slot)
    if at is None:
        return []
    start = table.Indirect(at)
    count = struct.unpack_from("<I", table.Bytes, start)[0]
    if 4 * count > len(table.Bytes):
        raise ValueError("a vector is longer than the file")
    places = range(start + 4, start + 4 + 4 * count, 4)
    return [type(table)(table.Bytes, table.Indirect(place)) for place in places]


def _numbers(table: Any, slot: int, dtype: str) -> Any:
    at = _field(table, slot)
    if at is None:
        return []
    start = table.Indirect(at)
    return np.frombuffer(table.Bytes, dtype, struct.unpack_from("<I", table.Bytes, start)[0], start + 4)
