"""The layers' records in an image: fields, and arrays (docs/format.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from .blocks import Arrays, Record, activation_f32, blocks_f32, blocks_rows, blocks_s8, function_s16, rows_s8, tables
from .layers import (
    Activate,
    Crop,
    Dense,
    Group,
    Gru,
    Last,
    Lstm,
    Pad,
    Repeat,
    Reverse,
    Rnn,
    Split,
    Transpose,
)
from .quantized import QuantizedActivate, QuantizedDense, QuantizedGru, QuantizedLstm, QuantizedRnn
from .records_cells import gru_f32, gru_s8, lstm_full_f32, lstm_full_s8, needs_full, rnn_f32, rnn_s8
from .records_steps import STEP_RECORDS


def record(layer: Any) -> Record:
    """The record of a layer."""
    return RECORDS[type(layer)](layer)


# ---- layers ----


def _lstm_f32(layer: Lstm) -> Record:
    if needs_full(layer):
        return lstm_full_f32(layer)
    fields = struct.pack("<II", layer.units, layer.inputs)
    fields += activation_f32(layer.gate_activation) + activation_f32(layer.activation)
    fields += struct.pack("<f", layer.cell_clip or 0.0)
    arrays = [(blocks_f32(layer.kernel), 64), (blocks_f32(layer.recurrent), 64), (blocks_rows(layer.bias), 16)]
    return "lstm_f32", fields, arrays


def _lstm_s8(layer: QuantizedLstm) -> Record:
    if needs_full(layer):
        return lstm_full_s8(layer)
    functions = (layer.gate, layer.candidate, layer.cell)
    numbers = (layer.gate_exponent, layer.cell_multiplier, layer.cell_limit, layer.hidden_multiplier)
    fields = struct.pack("<II", layer.units, layer.inputs) + b"".join(map(function_s16, functions))
    fields += struct.pack("<HHHHHf", *numbers, 0, layer.cell_scale)
    arrays: Arrays = [(blocks_s8(layer.kernel), 64), (blocks_s8(layer.recurrent), 64)]
    return "lstm_s8", fields, arrays + rows_s8(layer, (4, layer.units)) + tables(*functions)


def _dense_f32(layer: Dense) -> Record:
    fields = struct.pack("<II", layer.units, layer.inputs) + activation_f32(layer.activation)
    return "dense_f32", fields, [(blocks_f32(layer.kernel[None]), 64), (blocks_rows(layer.bias[None]), 16)]


def _dense_s8(layer: QuantizedDense) -> Record:
    fields = struct.pack("<II", layer.units, layer.inputs) + function_s16(layer.activation) + bytes(2)
    arrays: Arrays = [(blocks_s8(layer.kernel[None]), 64)]
    return "dense_s8", fields, arrays + rows_s8(layer, (1, layer.units)) + tables(layer.activation)


def _activate_f32(layer: Activate) -> Record:
    return "activate_f32", activation_f32(layer.activation), []


def _activate_s8(layer: QuantizedActivate) -> Record:
    fields = function_s16(layer.activation) + struct.pack("<bBHH", layer.shift, 0, layer.multiplier, 0)
    return "activate_s8", fields, tables(layer.activation)


def _mover(kind: str, *names: str) -> Callable[[Any], Record]:
    """A layer that only moves rows: its numbers, u32 each."""

    def made(layer: Any) -> Record:
        return kind, b"".join(struct.pack("<I", getattr(layer, name)) for name in names), []

    return made


def _with_period(kind: str) -> Callable[[Any], Record]:
    """A mover whose record ends with a period where it has one."""
    return lambda layer: (kind, struct.pack("<I", layer.period) if layer.period else b"", [])


RECORDS: dict[type, Callable[[Any], Record]] = {
    Lstm: _lstm_f32,
    QuantizedLstm: _lstm_s8,
    Gru: gru_f32,
    QuantizedGru: gru_s8,
    Rnn: rnn_f32,
    QuantizedRnn: rnn_s8,
    Dense: _dense_f32,
    QuantizedDense: _dense_s8,
    Activate: _activate_f32,
    QuantizedActivate: _activate_s8,
    Last: _with_period("last"),
    Reverse: _with_period("reverse"),
    Crop: _mover("crop", "left", "right"),
    Pad: _mover("pad", "left", "right"),
    Repeat: _mover("repeat", "count"),
    Split: _mover("split", "count"),
    Group: _mover("group", "count", "single"),
    Transpose: _mover("transpose", "steps"),
    **STEP_RECORDS,
}
"""One function a kind of layer."""


def packed(kind: int, reads: Sequence[int], writes: Sequence[int], fields: bytes) -> bytes:
    """The bytes of a record: its head, the tensors read and written, and on the next multiple of 4 the fields."""
    tensors = struct.pack(f"<{len(reads) + len(writes)}H", *reads, *writes)
    body = struct.pack("<BBH", len(reads), len(writes), 0) + tensors + bytes(-len(tensors) % 4) + fields
    return struct.pack("<HH", kind, len(body) + 4) + body
