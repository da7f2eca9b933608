"""Records of the layers around the cells (docs/format.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from .blocks import Arrays, Record, activation_f32, blocks_f32, blocks_rows, blocks_s8, function_s16, tables
from .description import GROUP
from .layers import (
    COMBINATIONS,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Embedding,
    LayerNorm,
    Mask,
    Pool1d,
    Reduce,
    SoftmaxSteps,
)
from .meta import Array
from .quantized import (
    QuantizedCombine,
    QuantizedConstant,
    QuantizedConv1d,
    QuantizedEmbedding,
    QuantizedMask,
    QuantizedPool1d,
    QuantizedReduce,
)

REDUCTIONS = ("mean", "max", "sum")


def _u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *map(int, values))


def _embedding(kind: str) -> Callable[[Any], Record]:
    return lambda layer: (kind, _u32(layer.vocabulary, layer.columns), [(layer.table, 64)])


def _combine_s8(layer: QuantizedCombine) -> Record:
    pairs = zip(layer.shifts, layer.multipliers, strict=True)
    return (
        "combine_s8",
        _u32(COMBINATIONS.index(layer.kind)) + b"".join(struct.pack("<bBH", s, 0, m) for s, m in pairs),
        [],
    )


def window(layer: Any) -> bytes:
    return _u32(layer.stride, layer.left, layer.right, layer.same, layer.period)


def is_depthwise(layer: Any) -> bool:
    """One number a tap and value."""
    return bool(layer.groups > 1 and layer.groups == layer.inputs == layer.units)


def conv1d_shape(layer: Any) -> bytes:
    return _u32(layer.units, layer.taps, layer.groups, layer.dilation) + window(layer)


def matrices(layer: Any, blocks: Callable[[Array], Array]) -> Array:
    """A matrix a group, one after the other; depthwise [taps, units], units padded to 8 with zeros."""
    units, taps, columns = layer.kernel.shape
    if is_depthwise(layer):
        padded = np.zeros((taps, -(-units // GROUP) * GROUP), layer.kernel.dtype)
        padded[:, :units] = layer.kernel[:, :, 0].T
        return padded
    groups = layer.kernel.reshape(layer.groups, 1, units // layer.groups, taps * columns)
    return np.stack([blocks(group) for group in groups])


def by_group(layer: Any, values: Array) -> Array:
    """A number a row, in the order of the matrices' rows."""
    groups = 1 if is_depthwise(layer) else layer.groups
    return np.stack([blocks_rows(group[None]) for group in values.reshape(groups, -1)])


def _conv1d_f32(layer: Conv1d) -> Record:
    arrays: Arrays = [(matrices(layer, blocks_f32), 64), (by_group(layer, layer.bias), 16)]
    return "conv1d_f32", conv1d_shape(layer) + activation_f32(layer.activation), arrays


def _conv1d_s8(layer: QuantizedConv1d) -> Record:
    arrays: Arrays = [(matrices(layer, blocks_s8), 64)]
    arrays += [
        (by_group(layer, values), 16) for values in (layer.bias, layer.input_shift, layer.shift, layer.multiplier)
    ]
    fields = conv1d_shape(layer) + function_s16(layer.activation) + bytes(2)
    return "conv1d_s8", fields, arrays + tables(layer.activation)


def pool1d_shape(layer: Any) -> bytes:
    return _u32(layer.kind == "average", layer.size, getattr(layer, "count_padding", False)) + window(layer)


def _reduce(layer: Reduce | QuantizedReduce) -> bytes:
    return _u32(REDUCTIONS.index(layer.kind), layer.masked, layer.period)


def _attention(layer: Attention) -> Record:
    fields = struct.pack("<fIIII", layer.scale, layer.heads, layer.causal, layer.masked, layer.additive is not None)
    return "attention_f32", fields, [] if layer.additive is None else [(layer.additive, 16)]


STEP_RECORDS: dict[type, Callable[[Any], Record]] = {
    Embedding: _embedding("embedding_f32"),
    QuantizedEmbedding: _embedding("embedding_s8"),
    Constant: lambda layer: ("constant_f32", b"", [(layer.value, 16)]),
    QuantizedConstant: lambda layer: ("constant_s8", b"", [(layer.value, 16)]),
    Mask: lambda layer: ("mask_f32", struct.pack("<f", layer.value), []),
    QuantizedMask: lambda layer: ("mask_s8", struct.pack("<hH", layer.value, 0), []),
    Combine: lambda layer: ("combine_f32", _u32(COMBINATIONS.index(layer.kind)), []),
    QuantizedCombine: _combine_s8,
    Conv1d: _conv1d_f32,
    QuantizedConv1d: _conv1d_s8,
    Pool1d: lambda layer: ("pool1d_f32", pool1d_shape(layer), []),
    QuantizedPool1d: lambda layer: ("pool1d_s8", pool1d_shape(layer) + _u32(layer.raised), []),
    Reduce: lambda layer: ("reduce_f32", _reduce(layer), []),
    QuantizedReduce: lambda layer: ("reduce_s8", _reduce(layer) + struct.pack("<i", layer.raised), []),
    LayerNorm: lambda layer: (
        "layer_norm_f32",
        struct.pack("<If", layer.rms, layer.epsilon),
        [(layer.scale, 16), (layer.offset, 16)],
    ),
    SoftmaxSteps: lambda layer: ("softmax_steps_f32", b"", []),
    Attention: _attention,
}
