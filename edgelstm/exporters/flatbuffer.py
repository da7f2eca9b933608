"""FlatBuffers from plain values: a table is a dict from slot to value, and the value's type says how it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import MissingError
from ..model import Array

Table = Mapping[int, Any]
"""Per slot: a NumPy scalar (as it is), a text, bytes (on a bound of 16), a one-dimensional array of numbers, a table,
or a sequence of tables."""


def pack(root: Table, identifier: bytes) -> bytes:
    """The bytes of a root table. Fields are written even where they equal the schema's default."""
    try:
        import flatbuffers
    except ImportError:
        raise MissingError('writing .tflite needs flatbuffers: pip install "edgelstm[tflite]"') from None
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(_table(builder, root), file_identifier=identifier)
    return bytes(builder.Output())


def _table(builder: Any, table: Table) -> int:
    # What a table points at must be complete before the table begins.
    parts = {slot: v if isinstance(v, np.generic) else _object(builder, v) for slot, v in table.items()}
    builder.StartObject(max(parts, default=-1) + 1)
    for slot, part in parts.items():
        if isinstance(part, np.generic):
            _PREPEND[part.dtype.name](builder, slot, part.item(), None)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, part, 0)
    offset: int = builder.EndObject()
    return offset


def _object(builder: Any, value: str | bytes | Array | Table | Sequence[Table]) -> int:
    offset: int
    if isinstance(value, str):
        offset = builder.CreateString(value)
    elif isinstance(value, bytes):
        builder.Prep(16, len(value))
        offset = builder.CreateByteVector(value)
    elif isinstance(value, np.ndarray):
        offset = builder.CreateNumpyVector(value)
    elif isinstance(value, Mapping):
        offset = _table(builder, value)
    else:
        offsets = [_table(builder, table) for table in value]
        builder.StartVector(4, len(offsets), 4)
        for each in reversed(offsets):
            builder.PrependUOffsetTRelative(each)
        offset = builder.EndVector()
    return offset


_PREPEND: dict[str, Any] = {
    "bool": lambda builder, *field: builder.PrependBoolSlot(*field),
    "int8": lambda builder, *field: builder.PrependInt8Slot(*field),
    "uint8": lambda builder, *field: builder.PrependUint8Slot(*field),
    "int32": lambda builder, *field: builder.PrependInt32Slot(*field),
    "uint32": lambda builder, *field: builder.PrependUint32Slot(*field),
    "uint64": lambda builder, *field: builder.PrependUint64Slot(*field),
    "float32": lambda builder, *field: builder.PrependFloat32Slot(*field),
}
