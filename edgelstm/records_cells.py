"""Records of recurrent layers other than the plain LSTM (docs/format.md)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .blocks import (
    Arrays,
    Record,
    activation_f32,
    blocks_f32,
    blocks_rows,
    blocks_s8,
    function_s16,
    padded_rows,
    rows_s8,
    span_rows,
    spans,
    tables,
)
from .layers import Gru, Lstm, Rnn
from .quantized import QuantizedGru, QuantizedLstm, QuantizedRnn, Rescale

_MASKED, _INITIAL, _COUPLED, _PEEPHOLE, _PROJECTION, _RESET_AFTER, _PERIOD = (1 << k for k in range(7))
_NORM, _PROJECTION_BIAS, _PROJECTION_CLIP = (1 << k for k in range(7, 10))


def _options(layer: Any) -> int:
    options = (_MASKED if layer.masked else 0) | (_INITIAL if layer.initial else 0)
    return options | (_PERIOD if layer.period else 0)


def _period(layer: Any) -> bytes:
    return struct.pack("<I", layer.period) if layer.period else b""


def needs_full(layer: Lstm | QuantizedLstm) -> bool:
    """Whether an LSTM has options that a plain record does not hold."""
    if isinstance(layer, Lstm):
        own = layer.norm is not None or layer.clip is not None
        own = own or layer.cell_activation not in (None, layer.activation)
    else:
        own = layer.gate_limit != 32767 or layer.candidate_limit != 32767
    return own or _lstm_options(layer) != 0 or len(layer.writes) > 1


def _lstm_options(layer: Lstm | QuantizedLstm) -> int:
    options = _options(layer) | (_COUPLED if layer.coupled else 0)
    options |= _PEEPHOLE if layer.peephole is not None else 0
    return options | (_PROJECTION if layer.projection is not None else 0)


def _float_options(layer: Lstm) -> int:
    options = _lstm_options(layer) | (_NORM if layer.norm is not None else 0)
    options |= _PROJECTION_BIAS if layer.projection_bias is not None else 0
    return options | (_PROJECTION_CLIP if layer.projection_clip is not None else 0)


def lstm_full_f32(layer: Lstm) -> Record:
    fields = struct.pack("<III", layer.units, layer.inputs, layer.outputs)
    fields += activation_f32(layer.gate_activation) + activation_f32(layer.activation)
    fields += activation_f32(layer.cell_activation or layer.activation)
    fields += struct.pack("<ffI", layer.cell_clip or 0.0, layer.clip or 0.0, _float_options(layer)) + _period(layer)
    fields += struct.pack("<f", layer.norm_epsilon) if layer.norm is not None else b""
    fields += struct.pack("<f", layer.projection_clip) if layer.projection_clip is not None else b""
    arrays: Arrays = [(blocks_f32(layer.kernel), 64), (blocks_f32(layer.recurrent), 64), (blocks_rows(layer.bias), 16)]
    if layer.peephole is not None:
        arrays.append((padded_rows(layer.peephole), 16))
    if layer.projection is not None:
        arrays.append((blocks_f32(spans(layer.projection[None])), 64))
    if layer.norm is not None:
        arrays.append((blocks_rows(layer.norm), 16))
    if layer.projection_bias is not None:
        arrays.append((span_rows(layer.projection_bias[None]), 16))
    return "lstm_full_f32", fields, arrays


def lstm_full_s8(layer: QuantizedLstm) -> Record:
    functions = (layer.gate, layer.candidate, layer.cell)
    numbers = (layer.gate_exponent, layer.cell_multiplier, layer.cell_limit, layer.hidden_multiplier)
    fields = struct.pack("<III", layer.units, layer.inputs, layer.outputs) + b"".join(map(function_s16, functions))
    fields += struct.pack("<HHHHHHH", *numbers, layer.gate_limit, layer.candidate_limit, _lstm_options(layer))
    fields += struct.pack("<f", layer.cell_scale) + _starts(layer.initial) + _period(layer)
    arrays: Arrays = [(blocks_s8(layer.kernel), 64), (blocks_s8(layer.recurrent), 64)]
    arrays += rows_s8(layer, (4, layer.units))
    if layer.peephole is not None and layer.peephole_shift is not None:
        arrays += [(padded_rows(layer.peephole), 16), (padded_rows(layer.peephole_shift), 16)]
    if layer.projection is not None:
        arrays.append((blocks_s8(spans(layer.projection.kernel[None])), 64))
        arrays += rows_s8(layer.projection, (1, layer.outputs), span_rows)
    return "lstm_full_s8", fields, arrays + tables(*functions)


def gru_f32(layer: Gru) -> Record:
    fields = struct.pack("<II", layer.units, layer.inputs)
    fields += activation_f32(layer.gate_activation) + activation_f32(layer.activation)
    options = _options(layer) | (_RESET_AFTER if layer.reset_after else 0)
    fields += struct.pack("<fI", layer.clip or 0.0, options) + _period(layer)
    arrays: Arrays = [(blocks_f32(spans(layer.kernel)), 64)]
    parts = (layer.recurrent,) if layer.reset_after else (layer.recurrent[:2], layer.recurrent[2:])
    arrays += [(blocks_f32(spans(part)), 64) for part in parts]
    arrays.append((span_rows(layer.bias), 16))
    if layer.reset_bias is not None:
        arrays.append((padded_rows(layer.reset_bias[None]), 16))
    return "gru_f32", fields, arrays


def gru_s8(layer: QuantizedGru) -> Record:
    fields = struct.pack("<II", layer.units, layer.inputs) + function_s16(layer.gate) + function_s16(layer.candidate)
    options = _options(layer) | (_RESET_AFTER if layer.reset is not None else 0)
    numbers = (layer.gate_exponent, layer.state_multiplier, layer.hidden_multiplier)
    fields += struct.pack("<HHHHHH", *numbers, layer.gate_limit, layer.candidate_limit, options)
    fields += struct.pack("<f", layer.state_scale) + _starts(layer.initial) + _period(layer)
    arrays: Arrays = [(blocks_s8(spans(layer.kernel)), 64)]
    parts = (layer.recurrent,) if layer.reset is not None else (layer.recurrent[:2], layer.recurrent[2:])
    arrays += [(blocks_s8(spans(part)), 64) for part in parts]
    arrays += rows_s8(layer, (3, layer.units), span_rows)
    if layer.reset is not None:
        rows = ((layer.reset.bias, np.int32), (layer.reset.shift, np.int8), (layer.reset.multiplier, np.int16))
        arrays += [(padded_rows(np.asarray(values, dtype)[None]), 16) for values, dtype in rows]
    return "gru_s8", fields, arrays + tables(layer.gate, layer.candidate)


def rnn_f32(layer: Rnn) -> Record:
    fields = struct.pack("<II", layer.units, layer.inputs) + activation_f32(layer.activation)
    fields += struct.pack("<fI", layer.clip or 0.0, _options(layer)) + _period(layer)
    arrays: Arrays = [(blocks_f32(spans(w[None])), 64) for w in (layer.kernel, layer.recurrent)]
    return "rnn_f32", fields, [*arrays, (span_rows(layer.bias[None]), 16)]


def rnn_s8(layer: QuantizedRnn) -> Record:
    fields = struct.pack("<II", layer.units, layer.inputs) + function_s16(layer.activation)
    fields += (
        struct.pack("<HHH", layer.hidden_multiplier, layer.limit, _options(layer))
        + _starts(layer.initial)
        + _period(layer)
    )
    arrays: Arrays = [(blocks_s8(spans(w[None])), 64) for w in (layer.kernel, layer.recurrent)]
    return "rnn_s8", fields, arrays + rows_s8(layer, (1, layer.units), span_rows) + tables(layer.activation)


def _starts(initial: tuple[Rescale, ...]) -> bytes:
    return b"".join(struct.pack("<bBH", own.shift, 0, own.multiplier) for own in initial)
