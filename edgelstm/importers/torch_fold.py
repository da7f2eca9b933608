"""Layers that say the same in fewer: what nothing reads goes, and neighbours become one where that is exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from ..layers import LINEAR, Activate, Conv1d, Crop, Dense, Gru, Last, Layer, LayerNorm, Lstm, Pad, Rnn
from ..model import Array
from .alive import alive


def simplified(layers: list[Layer], outputs: list[str]) -> tuple[list[Layer], list[str]]:
    """The layers that are left, and the outputs' tensors, which may now be others."""
    ends = list(outputs)
    layers = alive(layers, ends)
    position = 0
    while position < len(layers):
        readers = Counter(name for layer in layers for name in layer.reads)
        writers = {layer.writes[0]: k for k, layer in enumerate(layers)}
        after = layers[position]
        source = after.reads[0]
        alone = source in writers and readers[source] == 1 and source not in ends
        made = _joined(layers[writers[source]], after) if alone else None
        if made is None:
            position += 1
            continue
        kept, gone = made
        first = writers[source]
        before, rest = layers[:position], layers[position + 1 :]
        if gone:
            now = kept[-1].writes[0]
            rest = [_reading(layer, gone, now) for layer in rest]
            ends = [now if end == gone else end for end in ends]
        del before[first]
        layers = before + kept + rest
        position = max(0, first - 1)
    return layers, ends


def _reading(layer: Layer, gone: str, now: str) -> Layer:
    return replace(layer, reads=tuple(now if name == gone else name for name in layer.reads))


def _joined(before: Layer, after: Layer) -> tuple[list[Layer], str] | None:
    """What does the work of both, and the tensor of `after` that goes, "" if it stays; None if both are needed."""
    match before, after:
        case (Dense() | Conv1d(), Activate()) if before.activation == LINEAR:
            if isinstance(before, Dense) or after.activation.name != "softmax":
                return [replace(before, activation=after.activation)], after.writes[0]
        case (Dense() | Conv1d(), Conv1d() | Dense()) if before.activation == LINEAR and (found := _affine(after)):
            scale, offset = found
            kernel = _double(before.kernel) * scale.reshape(-1, *(1,) * (before.kernel.ndim - 1))
            settings = {"kernel": kernel, "bias": _double(before.bias) * scale + offset, "activation": after.activation}
            if isinstance(before, Dense) or after.activation.name != "softmax":
                return [replace(before, **settings)], after.writes[0]
        case (Conv1d() | Dense(), Dense() | Lstm() | Gru() | Rnn()) if before.activation == LINEAR and (
            found := _affine(before)
        ):
            scale, offset = found
            kernel = _double(after.kernel)
            reads = (before.reads[0], *after.reads[1:])
            return [replace(after, reads=reads, kernel=kernel * scale, bias=_double(after.bias) + kernel @ offset)], ""
        case (Dense() | Activate() | LayerNorm(), Last()):
            return [replace(after, reads=before.reads), replace(before, reads=after.writes)], after.writes[0]
        case (Pad(), Conv1d()) if not after.same and not after.period:
            left, right = before.left + after.left, before.right + after.right
            return [replace(after, reads=before.reads, left=left, right=right)], ""
        case (Conv1d(), Crop()) if before.stride == 1 and not before.same and not before.period:
            if after.left <= before.left and after.right <= before.right:
                left, right = before.left - after.left, before.right - after.right
                return [replace(before, left=left, right=right)], after.writes[0]
    return None


def _affine(layer: Any) -> tuple[Array, Array] | None:
    """A factor and an addend for each value, of a layer that does nothing else before its activation."""
    if isinstance(layer, Dense):
        diagonal: Array = np.diag(layer.kernel)
        found = layer.units == layer.inputs > 1 and np.array_equal(layer.kernel, np.diag(diagonal))
        return (_double(diagonal), _double(layer.bias)) if found else None
    plain = isinstance(layer, Conv1d) and layer.taps == 1 and layer.stride == 1 and not (layer.left or layer.right)
    if plain and not layer.period and layer.groups == layer.units == layer.inputs:
        return _double(layer.kernel[:, 0, 0]), _double(layer.bias)
    return None


def _double(values: Array) -> Array:
    return values.astype(np.float64)
