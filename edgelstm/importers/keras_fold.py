"""What stands between Keras' layers and the model's: scales and offsets folded away, activations put into the layer
before, movers that undo each other and layers nobody reads taken out. Each step is exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..layers import LINEAR, Activate, Conv1d, Dense, Group, Gru, Layer, Lstm, Rnn, Split
from ..model import Array
from .alive import alive


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = scale x + offset, value by value: BatchNormalization, Normalization, Rescaling. No layer of a model; `folded`
    puts it into a neighbour or writes it as a convolution with one tap."""

    name: str
    reads: tuple[str, ...]  # one tensor, [T, width]
    writes: tuple[str, ...]  # one tensor, [T, width]
    scale: Array  # float64 [width]
    offset: Array  # float64 [width]
    single: bool  # whether it has one row a run


def settled(layers: Iterable[Any], outputs: Sequence[str]) -> tuple[list[Layer], list[str]]:
    """The layers of a model, and the tensors that are its outputs."""
    found, given = _without_pairs(list(layers), list(outputs))
    return merge(alive(folded(found, given), given), given), given


def _readers(layers: Sequence[Any], outputs: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor in [*outputs, *(t for layer in layers for t in layer.reads)]:
        counts[tensor] = counts.get(tensor, 0) + 1
    return counts


# ---- scales and offsets ----


def folded(layers: Sequence[Any], outputs: Sequence[str]) -> list[Layer]:
    """Without Affine: each in the linear layer before it, or in the one behind it, where nobody else reads between."""
    found = list(layers)
    again = True
    while again:
        again = False
        readers = _readers(found, outputs)
        writers = {tensor: layer for layer in found for tensor in layer.writes}
        for affine in [layer for layer in found if isinstance(layer, Affine)]:
            before = writers.get(affine.reads[0])
            if before is not None and readers[affine.reads[0]] == 1 and _linear(before):
                found[found.index(before)] = _scaled(before, affine)
                found.remove(affine)
                again = True
                break
            behind = [layer for layer in found if affine.writes[0] in layer.reads]
            if len(behind) == 1 and readers[affine.writes[0]] == 1 and _absorbs(behind[0], affine.writes[0]):
                found[found.index(behind[0])] = _absorbed(behind[0], affine)
                found.remove(affine)
                again = True
                break
    return [_written_out(layer) if isinstance(layer, Affine) else layer for layer in found]


def _linear(layer: Any) -> bool:
    return isinstance(layer, Affine) or (isinstance(layer, Dense | Conv1d) and layer.activation == LINEAR)


def _scaled(layer: Any, after: Affine) -> Any:
    """One layer for a linear one and the scale behind it."""
    if isinstance(layer, Affine):
        offset = layer.offset * after.scale + after.offset
        return replace(layer, writes=after.writes, scale=layer.scale * after.scale, offset=offset)
    scale = after.scale.reshape(-1, *[1] * (layer.kernel.ndim - 1))
    kernel = layer.kernel.astype(np.float64) * scale
    bias = layer.bias.astype(np.float64) * after.scale + after.offset
    return replace(layer, writes=after.writes, kernel=kernel, bias=bias)


def _absorbs(layer: Any, tensor: str) -> bool:
    """Whether a layer is linear in the tensor: nothing but that tensor's values meets those weights."""
    if layer.reads[0] != tensor or tensor in layer.reads[1:]:
        return False
    if isinstance(layer, Conv1d):
        return not (layer.left or layer.right or layer.same)  # padding is zeros, before the scale as behind it
    return isinstance(layer, Dense | Lstm | Gru | Rnn)


def _absorbed(layer: Any, before: Affine) -> Any:
    kernel = layer.kernel.astype(np.float64)
    if isinstance(layer, Conv1d):
        each = kernel.reshape(layer.groups, layer.units // layer.groups, layer.taps, -1)
        scale, offset = (v.reshape(layer.groups, 1, 1, -1) for v in (before.scale, before.offset))
        bias = layer.bias + (each * offset).sum(axis=(2, 3)).reshape(-1)
        kernel = (each * scale).reshape(kernel.shape)
    else:
        bias = layer.bias + kernel @ before.offset
        kernel = kernel * before.scale
    return replace(layer, reads=(before.reads[0], *layer.reads[1:]), kernel=kernel, bias=bias)


def _written_out(affine: Affine) -> Layer:
    if affine.single:
        return Dense(affine.name, affine.reads, affine.writes, np.diag(affine.scale), affine.offset)
    kernel = affine.scale.reshape(-1, 1, 1)
    return Conv1d(affine.name, affine.reads, affine.writes, kernel, affine.offset, groups=len(affine.scale))


# ---- activations ----


def merge(layers: Iterable[Layer], outputs: Sequence[str]) -> list[Layer]:
    """Puts an activation into the linear layer before it where nobody else reads what that writes."""
    merged: list[Layer] = list(layers)
    readers = _readers(merged, outputs)
    writers = {layer.writes[0]: place for place, layer in enumerate(merged)}
    gone: set[int] = set()
    for place, layer in enumerate(merged):
        source = writers.get(layer.reads[0])
        if not isinstance(layer, Activate) or source is None or readers[layer.reads[0]] != 1:
            continue
        before = merged[source]
        if isinstance(before, Dense | Conv1d) and before.activation == LINEAR and source not in gone:
            merged[place] = replace(before, writes=layer.writes, activation=layer.activation)
            gone.add(source)
    return [layer for place, layer in enumerate(merged) if place not in gone]


# ---- what is not needed ----


def _without_pairs(layers: list[Any], outputs: list[str]) -> tuple[list[Any], list[str]]:
    """Without a Split that takes apart what a Group has put together."""
    groups = {g.writes[0]: g for g in layers if isinstance(g, Group) and not g.single}
    same: dict[str, str] = {}
    kept = []
    for layer in layers:
        reads = tuple(same.get(t, t) for t in layer.reads)
        group = groups.get(reads[0])
        if isinstance(layer, Split) and group is not None and group.count == layer.count:
            same[layer.writes[0]] = group.reads[0]
            continue
        kept.append(layer if reads == layer.reads else replace(layer, reads=reads))
        if isinstance(kept[-1], Group) and not kept[-1].single:
            groups[kept[-1].writes[0]] = kept[-1]
    return kept, [same.get(t, t) for t in outputs]
