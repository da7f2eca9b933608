"""Recurrent cells in NumPy: the equations of layers.py, step by step. Clear before fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .activations import activate
from .layers import Cell, Gru, Lstm, Rnn
from .meta import Array

State: TypeAlias = tuple[Array, ...]
Step: TypeAlias = Callable[[Array, State], tuple[State, Array]]
"""What enters at a step [N, ...] and the state, to the next state and what enters the functions [N, gates, units]."""


def by_periods(layer: Any, reads: list[Array]) -> tuple[list[Array], Callable[[Array], Array]]:
    """What a layer with a period reads, each period a sequence of its own, and what joins them again. The last period
    may be incomplete."""
    count, steps, _ = reads[0].shape
    if not layer.period:
        return reads, lambda made: made
    missing = -steps % layer.period
    sequences = [np.pad(x, ((0, 0), (0, missing), (0, 0))) for x in reads[: 1 + layer.masked]]
    own = [x.reshape(-1, layer.period, x.shape[2]) for x in sequences]
    own += [np.repeat(x, len(own[0]) // count, axis=0) for x in reads[1 + layer.masked :]]
    return own, lambda made: made.reshape(count, -1, *made.shape[2:])[:, :steps]


def run(layer: Cell, reads: list[Array]) -> tuple[list[Array], Array]:
    """h [N, T, outputs] and of an LSTM c [N, T, units]; and z [N, T, gates, units], what enters the gate functions.

    reads: x [N, T, inputs] | mask [N, T, 1] | initial state [N, 1, width] each.
    """
    reads, joined = by_periods(layer, reads)
    x, dtype = reads[0], reads[0].dtype
    count, steps, _ = x.shape
    mask = reads[1][:, :, 0] != 0 if layer.masked else np.ones((count, steps), bool)
    widths = (layer.outputs, layer.units) if isinstance(layer, Lstm) else (layer.units,)
    state: State = tuple(np.zeros((count, n), dtype) for n in widths)
    if layer.initial:
        state = tuple(initial[:, 0] for initial in reads[1 + layer.masked :])
    entering, step = {Lstm: _lstm, Gru: _gru, Rnn: _rnn}[type(layer)](layer, x)  # type: ignore[operator]
    written: list[list[Array]] = [[] for _ in widths]
    zs = []
    seen = np.zeros((count, 1), bool)
    for t in range(steps):
        counts = mask[:, t, None]
        after, z = step(entering[:, t], state)
        zs.append(z)
        state = tuple(np.where(counts, new, old) for new, old in zip(after, state, strict=True))
        seen = seen | counts
        for column, values in zip(written, (np.where(seen, state[0], 0), *state[1:]), strict=True):
            column.append(values)
    return [joined(np.stack(column, axis=1)) for column in written], joined(np.stack(zs, axis=1))


def _lstm(layer: Lstm, x: Array) -> tuple[Array, Step]:
    kernel, recurrent, bias = (a.astype(x.dtype) for a in (layer.kernel, layer.recurrent, layer.bias))
    p = np.zeros((3, layer.units), x.dtype) if layer.peephole is None else layer.peephole.astype(x.dtype)
    cell_activation = layer.cell_activation or layer.activation

    def step(entering: Array, state: State) -> tuple[State, Array]:
        h, c = state
        z = entering + np.einsum("guv,nv->ngu", recurrent, h, optimize=True)
        z[:, 0] += p[0] * c
        z[:, 1] += p[1] * c
        z[:, :3] = _normalised(layer, z, slice(3))
        i = activate(layer.gate_activation, _clipped(layer, z[:, 0]))
        f = 1 - i if layer.coupled else activate(layer.gate_activation, _clipped(layer, z[:, 1]))
        g = activate(layer.activation, _clipped(layer, z[:, 2]))
        c = f * c + i * g
        if layer.cell_clip is not None:
            c = np.clip(c, -layer.cell_clip, layer.cell_clip)
        z[:, 3] += p[2] * c
        z[:, 3:] = _normalised(layer, z, slice(3, 4))
        o = activate(layer.gate_activation, _clipped(layer, z[:, 3]))
        h = o * activate(cell_activation, c)
        if layer.projection is not None:
            h = h @ layer.projection.T.astype(x.dtype)
        if layer.projection_bias is not None:
            h = h + layer.projection_bias.astype(x.dtype)
        if layer.projection_clip is not None:
            h = np.clip(h, -layer.projection_clip, layer.projection_clip)
        return (h, c), z

    entering = np.einsum("gui,nti->ntgu", kernel, x, optimize=True)
    return entering if layer.norm is not None else entering + bias, step


def _normalised(layer: Lstm, z: Array, gates: slice) -> Array:
    """Some gates' [N, gates, units] over their units, then with the bias."""
    own: Array = z[:, gates]
    if layer.norm is None:
        return own
    centred = own - own.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + layer.norm_epsilon)
    made: Array = centred / spread * layer.norm[gates].astype(z.dtype) + layer.bias[gates].astype(z.dtype)
    return made


def _gru(layer: Gru, x: Array) -> tuple[Array, Step]:
    kernel, recurrent, bias = (a.astype(x.dtype) for a in (layer.kernel, layer.recurrent, layer.bias))

    def step(entering: Array, state: State) -> tuple[State, Array]:
        (h,) = state
        z = entering.copy()
        z[:, :2] += np.einsum("guv,nv->ngu", recurrent[:2], h, optimize=True)
        update, reset = (activate(layer.gate_activation, _clipped(layer, z[:, k])) for k in (0, 1))
        if layer.reset_after:
            assert layer.reset_bias is not None
            z[:, 2] += reset * (h @ recurrent[2].T + layer.reset_bias.astype(x.dtype))
        else:
            z[:, 2] += (reset * h) @ recurrent[2].T
        n = activate(layer.activation, _clipped(layer, z[:, 2]))
        return (update * h + (1 - update) * n,), z

    return np.einsum("gui,nti->ntgu", kernel, x, optimize=True) + bias, step


def _rnn(layer: Rnn, x: Array) -> tuple[Array, Step]:
    kernel, recurrent, bias = (a.astype(x.dtype) for a in (layer.kernel, layer.recurrent, layer.bias))

    def step(entering: Array, state: State) -> tuple[State, Array]:
        z = entering + state[0] @ recurrent.T
        return (activate(layer.activation, _clipped(layer, z)),), z[:, None]

    return x @ kernel.T + bias, step


def _clipped(layer: Cell, z: Array) -> Array:
    return z if layer.clip is None else np.clip(z, -layer.clip, layer.clip)
