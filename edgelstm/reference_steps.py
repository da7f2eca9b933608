"""Layers that read more than one step, or move steps, in NumPy. Clear before fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import activate, softmax
from .errors import InputError
from .layers import Attention, Conv1d, Group, Last, Mask, Pool1d, Reduce, Reverse, Split, Transpose, padding, windows
from .meta import Array


def conv1d(layer: Conv1d, x: Array) -> Array:
    """y [N, T', units] of x [N, T, inputs]."""
    if layer.period:
        return _periods(layer, x, _conv1d)
    return _conv1d(layer, x)


def _conv1d(layer: Conv1d, x: Array) -> Array:
    left, right = padding(layer, x.shape[1])
    padded = np.pad(x, ((0, 0), (left, right), (0, 0)))
    rows, (units, taps, columns) = windows(layer, x.shape[1]), layer.kernel.shape
    kernel = layer.kernel.astype(x.dtype).reshape(layer.groups, units // layer.groups, taps, columns)
    y = np.zeros((len(x), rows, layer.groups, units // layer.groups), x.dtype)
    for k in range(taps):
        at = k * layer.dilation
        seen = padded[:, at : at + (rows - 1) * layer.stride + 1 : layer.stride] if rows else padded[:, :0]
        y += np.einsum("ntgi,gui->ntgu", seen.reshape(len(x), rows, layer.groups, columns), kernel[:, :, k])
    return activate(layer.activation, y.reshape(len(x), rows, units) + layer.bias.astype(x.dtype))


def pool1d(layer: Pool1d, x: Array) -> Array:
    """y [N, T', width] of x [N, T, width]."""
    if layer.period:
        return _periods(layer, x, _pool1d)
    return _pool1d(layer, x)


def _pool1d(layer: Pool1d, x: Array) -> Array:
    left, _ = padding(layer, x.shape[1])
    steps, rows = x.shape[1], windows(layer, x.shape[1])
    y = np.zeros((len(x), rows, x.shape[2]), x.dtype)
    for t in range(rows):
        start = t * layer.stride - left
        seen = x[:, max(start, 0) : min(start + layer.size, steps)]
        if layer.kind == "max":
            y[:, t] = seen.max(axis=1)
        else:
            y[:, t] = seen.sum(axis=1) / (layer.size if layer.count_padding else seen.shape[1])
    return y


def _periods(layer: Any, x: Array, compute: Any) -> Array:
    """Every `period` rows as a sequence of their own."""
    count, steps, width = x.shape
    check_steps(layer.name, steps, layer.period)
    y = compute(layer, x.reshape(-1, layer.period, width))
    made: Array = y.reshape(count, -1, y.shape[2])
    return made


def of_periods(layer: Last | Reverse, x: Array) -> Array:
    """The last row of every period, or its rows in reverse order."""
    return _periods(layer, x, lambda _, rows: rows[:, -1:] if isinstance(layer, Last) else rows[:, ::-1])


def check_steps(name: str, steps: int, multiple: int) -> None:
    if steps % multiple:
        raise InputError(f"{name}: {steps} steps, expected a multiple of {multiple}")


def reduce(layer: Reduce, x: Array, mask: Array | None, every_step: bool) -> Array:
    """y [N, 1, width] of x [N, T, width] and where there is one the mask [N, T, 1]; of every step [N, T, width]."""
    if layer.period:
        check_steps(layer.name, x.shape[1], layer.period)
        x = x.reshape(len(x), -1, layer.period, x.shape[2])
        periods: Array = getattr(np, layer.kind)(x, axis=2)
        return periods
    if layer.kind == "max":
        running: Array = np.maximum.accumulate(x, axis=1)
    else:
        weight = np.ones_like(x[:, :, :1]) if mask is None else (mask != 0).astype(x.dtype)
        running = np.cumsum(x * weight, axis=1)
        if layer.kind == "mean":
            running = running / np.maximum(np.cumsum(weight, axis=1), 1)
    return running if every_step else running[:, -1:]


def mask(layer: Mask, x: Array) -> tuple[Array, Array]:
    """x with zeros in the steps that do not count, and the mask [N, T, 1]."""
    counts = (x != np.asarray(layer.value, np.float32).astype(x.dtype)).any(axis=2, keepdims=True)
    return x * counts, counts.astype(x.dtype)


def combine(kind: str, values: list[Array]) -> Array:
    """Tensors [N, T, width] joined; one row or one value serves all."""
    if kind == "concatenate":
        steps = max(v.shape[1] for v in values)
        return np.concatenate([np.broadcast_to(v, (len(v), steps, v.shape[2])) for v in values], axis=2)
    y = values[0]
    for v in values[1:]:
        match kind:
            case "add" | "average":
                y = y + v
            case "subtract":
                y = y - v
            case "multiply":
                y = y * v
            case "maximum":
                y = np.maximum(y, v)
            case "minimum":
                y = np.minimum(y, v)
    return y / len(values) if kind == "average" else y


def split(layer: Split, x: Array) -> Array:
    made: Array = x.reshape(len(x), x.shape[1] * layer.count, -1)
    return made


def group(layer: Group, x: Array) -> Array:
    if layer.single and x.shape[1] != layer.count:
        raise InputError(f"{layer.name}: {x.shape[1]} steps, expected {layer.count}")
    rows = x.shape[1] // layer.count
    made: Array = x[:, : rows * layer.count].reshape(len(x), rows, x.shape[2] * layer.count)
    return made


def transpose(layer: Transpose, x: Array) -> Array:
    if x.shape[1] != layer.steps:
        raise InputError(f"{layer.name}: {x.shape[1]} steps, expected {layer.steps}")
    return x.transpose(0, 2, 1)


def layer_norm(x: Array, scale: Array, offset: Array, epsilon: float, rms: bool) -> Array:
    """Normalized over the values of a step."""
    centred = x if rms else x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    made: Array = centred / spread * scale.astype(x.dtype) + offset.astype(x.dtype)
    return made


def attention(layer: Attention, reads: list[Array]) -> Array:
    """[N, Tq, outputs] of queries, values, keys and where there is one the keys' mask."""
    queries, values, keys = (_heads(v, layer.heads) for v in reads[:3])  # [N, heads, T, width / heads]
    if layer.additive is None:
        score = layer.scale * (queries @ keys.transpose(0, 1, 3, 2))
    else:
        score = (np.tanh(queries[:, :, :, None] + keys[:, :, None]) * layer.additive.astype(queries.dtype)).sum(axis=-1)
        score = layer.scale * score
    counts = np.ones(score.shape, bool)
    if layer.masked:
        counts &= reads[3][:, None, None, :, 0] != 0
    if layer.causal:
        counts &= np.tril(np.ones(score.shape[2:], bool))
    weights = softmax(np.where(counts, score, -1e9))
    mixed = weights @ values
    made: Array = mixed.transpose(0, 2, 1, 3).reshape(len(mixed), mixed.shape[2], -1)
    return made


def _heads(v: Array, heads: int) -> Array:
    made: Array = v.reshape(len(v), v.shape[1], heads, -1).transpose(0, 2, 1, 3)
    return made
