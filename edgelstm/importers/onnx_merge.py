"""Layers that are one in the model: a bias added behind a product, a BatchNorm beside a convolution, an activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..layers import LINEAR, Activate, Conv1d, Dense, Gru, Layer, LayerNorm, Lstm, Pad, Rnn
from ..model import Array
from ..tfl8 import Tfl8Conv1d


def merge(layers: Sequence[Layer], outputs: Sequence[str], affine: set[str]) -> list[Layer]:
    """Scales, shifts and activations merged into the layer before, or else scales and shifts into the one behind,
    where nobody else reads what stands between."""
    found: list[Layer | None] = list(layers)
    for join in (_into_before, _into_behind, _padding):
        readers = _readers(found, outputs)
        writers = {name: k for k, layer in enumerate(found) if layer is not None for name in layer.writes}
        for k in range(len(found)):
            join(found, k, readers, writers, affine)
    return [layer for layer in found if layer is not None]


def padded(layers: Sequence[Layer], outputs: Sequence[str]) -> list[Layer]:
    """Padding alone merged into convolutions."""
    found: list[Layer | None] = list(layers)
    readers = _readers(found, outputs)
    for k in range(len(found)):
        _padding(found, k, readers, {}, set())
    return [layer for layer in found if layer is not None]


def _readers(layers: Sequence[Layer | None], outputs: Sequence[str]) -> dict[str, list[int]]:
    readers: dict[str, list[int]] = {name: [-1] for name in outputs}
    for k, layer in enumerate(layers):
        for name in layer.reads if layer is not None else ():
            readers.setdefault(name, []).append(k)
    return readers


def _values(layer: Any) -> tuple[Array, Array]:
    """Scale and offset of an affine layer, value by value."""
    scale = layer.kernel.diagonal() if isinstance(layer, Dense) else layer.kernel.reshape(-1)
    return scale.astype(np.float64), layer.bias.astype(np.float64)


def _into_before(
    layers: list[Layer | None], k: int, readers: dict[str, list[int]], writers: dict[str, int], affine: set[str]
) -> None:
    layer = layers[k]
    is_affine = layer is not None and layer.writes[0] in affine
    if layer is None or not (is_affine or isinstance(layer, Activate)):
        return
    place = writers.get(layer.reads[0])
    before: Any = None if place is None else layers[place]
    if before is None or readers[layer.reads[0]] != [k]:
        return
    if isinstance(layer, Activate):
        if not isinstance(before, Dense | Conv1d) or before.activation != LINEAR:
            return
        made: Layer = replace(before, writes=layer.writes, activation=layer.activation)
    elif isinstance(before, Dense | Conv1d) and before.activation == LINEAR:
        scale, offset = _values(layer)
        kernel = before.kernel * scale.reshape(-1, *[1] * (before.kernel.ndim - 1))
        made = replace(before, writes=layer.writes, kernel=kernel, bias=before.bias * scale + offset)
        if before.writes[0] not in affine:
            affine.discard(layer.writes[0])
    elif isinstance(before, LayerNorm):
        scale, offset = _values(layer)
        made = replace(before, writes=layer.writes, scale=before.scale * scale, offset=before.offset * scale + offset)
        affine.discard(layer.writes[0])
    else:
        return
    if isinstance(layer, Activate):
        affine.discard(layer.writes[0])
    assert place is not None
    layers[place], layers[k] = made, None
    writers[layer.writes[0]] = place
    for reads in readers.values():
        reads[:] = [place if reader == k else reader for reader in reads]


def _into_behind(
    layers: list[Layer | None], k: int, readers: dict[str, list[int]], writers: dict[str, int], affine: set[str]
) -> None:
    layer: Any = layers[k]
    if layer is None or layer.writes[0] not in affine or layer.activation != LINEAR:
        return
    behind = readers.get(layer.writes[0], [])
    if len(behind) != 1 or behind[0] < 0:
        return
    after: Any = layers[behind[0]]
    scale, offset = _values(layer)
    if isinstance(after, Dense) or (isinstance(after, Lstm | Gru | Rnn) and layer.writes[0] not in after.reads[1:]):
        bias = after.bias + after.kernel.astype(np.float64) @ offset
        kernel = after.kernel * scale
    elif isinstance(after, Conv1d) and after.groups == 1 and not (offset.any() and _padded(after)):
        bias = after.bias + after.kernel.astype(np.float64).sum(axis=1) @ offset
        kernel = after.kernel * scale
    else:
        return
    if isinstance(after, Lstm) and after.coupled:
        bias[1] = 0
    reads = (layer.reads[0], *after.reads[1:])
    layers[behind[0]], layers[k] = replace(after, reads=reads, kernel=kernel, bias=bias), None
    readers[layer.reads[0]] = [behind[0] if reader == k else reader for reader in readers[layer.reads[0]]]


def _padding(
    layers: list[Layer | None], k: int, readers: dict[str, list[int]], writers: dict[str, int], affine: set[str]
) -> None:
    """Zeros before and after the steps as the padding of a convolution that alone reads them."""
    layer = layers[k]
    behind = readers.get(layer.writes[0], []) if isinstance(layer, Pad) else []
    after = layers[behind[0]] if len(behind) == 1 and behind[0] >= 0 else None
    if not isinstance(layer, Pad) or not isinstance(after, Conv1d | Tfl8Conv1d) or after.same or after.period:
        return
    left, right = after.left + layer.left, after.right + layer.right
    layers[behind[0]], layers[k] = replace(after, reads=layer.reads, left=left, right=right), None
    readers[layer.reads[0]] = [behind[0] if reader == k else reader for reader in readers[layer.reads[0]]]


def _padded(layer: Conv1d) -> bool:
    """Whether a convolution sees zeros that no layer before it scaled."""
    return bool(layer.left or layer.right or layer.same)
