"""Records of int8 TFLite models (docs/format.md): what tfl8_constants.py makes of scales, in the layout of weights."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from . import tfl8_constants as constants
from .blocks import Record, blocks_rows, blocks_s8
from .meta import Array
from .records_steps import REDUCTIONS, by_group, conv1d_shape, matrices, pool1d_shape
from .tfl8 import (
    CONV_ROUNDINGS,
    FLAVOURS,
    ROUNDINGS,
    TIES,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
)
from .tfl8_integers import Multiplier
from .tfl8_model import Tfl8Model

_INITIAL, _COUPLED, _BARE = 2, 4, 8
_NONE: Multiplier = (0, 0)
_JOINS = ("add", "subtract", "multiply", "single", "weighted", "float")  # single: of earlier images alone


def _factor(factor: Multiplier) -> bytes:
    return struct.pack("<IbBH", *factor, 0, 0)


def _rows(values: Array) -> tuple[Array, int]:
    """int32 numbers a row, [gates, units]."""
    return blocks_rows(values.astype(np.int32)), 16


def _lstm(model: Tfl8Model, layer: Tfl8Lstm) -> Record:
    k = constants.lstm(layer, model.tensor(layer.reads[0]))
    options = (_INITIAL if layer.initial else 0) | (_COUPLED if layer.coupled else 0) | (_BARE if layer.bare else 0)
    micro = layer.flavour == "micro"
    fields = struct.pack("<IIHBb", layer.units, layer.inputs, options, FLAVOURS.index(layer.flavour), k.whole)
    fields += struct.pack("<bbH", layer.state_zero, k.hidden_zero, k.clip)
    factors = (*k.input, *k.recurrent, k.hidden, k.update if micro else _NONE)
    fields += b"".join(map(_factor, factors))
    arrays = [(blocks_s8(layer.kernel), 64), (blocks_s8(layer.recurrent), 64)]
    return "lstm_tfl8", fields, [*arrays, _rows(k.input_bias), _rows(k.recurrent_bias)]


def _dense(model: Tfl8Model, layer: Tfl8Dense) -> Record:
    k = constants.dense(layer, model.tensor(layer.reads[0]), model.tensor(layer.writes[0]))
    fields = struct.pack("<IIBbbB", layer.units, layer.inputs, ROUNDINGS.index(layer.rounding), k.low, k.high, 0)
    shift = (blocks_rows(k.shift[None].astype(np.int8)), 16)
    arrays = [(blocks_s8(layer.kernel[None]), 64), _rows(k.bias[None]), _rows(k.multiplier[None]), shift]
    return "dense_tfl8", fields, arrays


def _softmax(model: Tfl8Model, layer: Tfl8Softmax) -> Record:
    return "softmax_tfl8", b"", [(constants.softmax(layer, model.tensor(layer.reads[0])).astype(np.int32), 16)]


def _map(model: Tfl8Model, layer: Tfl8Map) -> Record:
    table = constants.map_table(layer, model.tensor(layer.reads[0]), model.tensor(layer.writes[0]))
    return "map_tfl8", b"", [(table, 16)]


def _quantize(model: Tfl8Model, layer: Tfl8Quantize) -> Record:
    return "quantize_tfl8", struct.pack("<I", TIES.index(layer.ties)), []


def _dequantize(model: Tfl8Model, layer: Tfl8Dequantize) -> Record:
    return "dequantize_tfl8", b"", []


def _embedding(model: Tfl8Model, layer: Tfl8Embedding) -> Record:
    return "embedding_tfl8", struct.pack("<II", layer.vocabulary, layer.columns), [(layer.table, 64)]


def _constant(model: Tfl8Model, layer: Tfl8Constant) -> Record:
    narrow = model.tensor(layer.writes[0]).type == "s8"
    return "constant_tfl8", b"", [(layer.value.astype(np.int8 if narrow else np.int16), 16)]


def _combine(model: Tfl8Model, layer: Tfl8Combine) -> Record:
    if layer.kind == "concatenate":
        return "concatenate_tfl8", b"", []
    a, b = (model.tensor(name) for name in layer.reads)
    k = constants.combine(layer, (a, b), model.tensor(layer.writes[0]))
    fields = struct.pack("<BbbB", _JOINS.index(k.kind), k.low, k.high, 0)
    return "join_tfl8", fields + b"".join(struct.pack("<ibBH", *f, 0, 0) for f in (k.first, k.second, k.last)), []


def _conv1d(model: Tfl8Model, layer: Tfl8Conv1d) -> Record:
    k = constants.dense(layer, model.tensor(layer.reads[0]), model.tensor(layer.writes[0]))
    fields = conv1d_shape(layer) + struct.pack("<BbbB", CONV_ROUNDINGS.index(layer.rounding), k.low, k.high, 0)
    numbers = (k.bias.astype(np.int32), k.multiplier.astype(np.int32), k.shift.astype(np.int8))
    return "conv1d_tfl8", fields, [(matrices(layer, blocks_s8), 64), *((by_group(layer, v), 16) for v in numbers)]


def _pool1d(model: Tfl8Model, layer: Tfl8Pool1d) -> Record:
    low, high = constants.activation_range(layer.activation, model.tensor(layer.writes[0]))
    return "pool1d_tfl8", pool1d_shape(layer) + struct.pack("<bbH", low, high, 0), []


def _reduce(model: Tfl8Model, layer: Tfl8Reduce) -> Record:
    k = constants.reduce(layer, model.tensor(layer.reads[0]), model.tensor(layer.writes[0]))
    fields = struct.pack("<III", REDUCTIONS.index(layer.kind), 0, layer.period)
    return "reduce_tfl8", fields + _factor(k.factor) + struct.pack("<f", k.ratio), []


TFL8_RECORDS: dict[type, Callable[[Tfl8Model, Any], Record]] = {
    Tfl8Lstm: _lstm,
    Tfl8Dense: _dense,
    Tfl8Softmax: _softmax,
    Tfl8Map: _map,
    Tfl8Quantize: _quantize,
    Tfl8Dequantize: _dequantize,
    Tfl8Embedding: _embedding,
    Tfl8Constant: _constant,
    Tfl8Combine: _combine,
    Tfl8Conv1d: _conv1d,
    Tfl8Pool1d: _pool1d,
    Tfl8Reduce: _reduce,
}
"""One function a kind of layer; movers have those of records.py."""
