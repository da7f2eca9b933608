"""Arrays in the layout of an image's weights, and the fields that records share (docs/format.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .description import GROUP, S16_FUNCTIONS
from .layers import ACTIVATIONS, Activation
from .meta import Array
from .quantized import QuantizedActivation

Arrays: TypeAlias = list[tuple[Array, int]]
"""Arrays and the multiples on which they start, in the order in which C reads them."""

Record: TypeAlias = tuple[str, bytes, Arrays]
"""A layer's kind (description.KINDS), its fields and its arrays."""


# ---- blocks of the layout ----


def blocks_f32(matrix: Array) -> Array:
    """[gates, units, columns] to [groups, columns, gates, 8], units padded with zeros."""
    gates, units, columns = matrix.shape
    groups = -(-units // GROUP)
    padded = np.zeros((gates, groups * GROUP, columns), np.float32)
    padded[:, :units] = matrix
    return np.ascontiguousarray(padded.reshape(gates, groups, GROUP, columns).transpose(1, 3, 0, 2))


def blocks_s8(matrix: Array) -> Array:
    """[gates, units, columns] to [groups, quads, gates, 8, 4], units and columns padded with zeros."""
    gates, units, columns = matrix.shape
    groups, quads = -(-units // GROUP), -(-columns // 4)
    padded = np.zeros((gates, groups * GROUP, quads * 4), np.int8)
    padded[:, :units, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(gates, groups, GROUP, quads, 4).transpose(1, 3, 0, 2, 4))


def blocks_rows(values: Array) -> Array:
    """[gates, units] to [groups, gates, 8]: a number a row, in the order of a product's rows."""
    gates, units = values.shape
    groups = -(-units // GROUP)
    padded = np.zeros((gates, groups * GROUP), values.dtype)
    padded[:, :units] = values
    return np.ascontiguousarray(padded.reshape(gates, groups, GROUP).transpose(1, 0, 2))


def spans(matrix: Array) -> Array:
    """[gates, units, columns] as the matrix [side, groups * 8, columns] whose blocks hold its rows gate after gate,
    each padded to a multiple of 8: four blocks of 8 rows side by side, or one where there are fewer than three."""
    gates, units, columns = matrix.shape
    blocks = gates * -(-units // GROUP)
    side = 1 if blocks < 3 else 4
    groups = -(-blocks // side)
    rows = np.zeros((groups * side * GROUP, columns), matrix.dtype)
    for gate, own in enumerate(matrix):
        start = gate * (blocks // gates) * GROUP
        rows[start : start + units] = own
    across = rows.reshape(groups, side, GROUP, columns).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(across.reshape(side, groups * GROUP, columns))


def span_rows(values: Array) -> Array:
    """[gates, units]: a number a row, in the order of the rows of `spans`."""
    return blocks_rows(spans(values[:, :, None])[:, :, 0])


def padded_rows(values: Array) -> Array:
    """[gates, units], units padded with zeros to a multiple of 8."""
    return np.pad(values, ((0, 0), (0, -values.shape[1] % GROUP)))


def rows_s8(layer: Any, shape: tuple[int, int], ordered: Callable[[Array], Array] = blocks_rows) -> Arrays:
    """bias, kx, s and m of a product's rows, [gates, units] each."""
    fields = (
        (layer.bias, np.int32),
        (layer.input_shift, np.int8),
        (layer.shift, np.int8),
        (layer.multiplier, np.int16),
    )
    return [(ordered(np.asarray(values, dtype).reshape(shape)), 16) for values, dtype in fields]


# ---- functions ----


def activation_f32(activation: Activation) -> bytes:
    number = ACTIVATIONS.index(activation.name)
    more = struct.pack("<ff", activation.beta, activation.gamma) if number > ACTIVATIONS.index("softmax") else b""
    return struct.pack("<If", number, activation.alpha) + more


def function_s16(function: QuantizedActivation) -> bytes:
    return struct.pack("<BB", S16_FUNCTIONS.index(function.kind), function.doublings)


def tables(*functions: QuantizedActivation) -> Arrays:
    return [(np.asarray(f.table, np.int16), 16) for f in functions if f.table is not None]
