"""Recurrent cells in integers, NumPy: docs/numerics.md, "The cells", line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .fixedpoint import activate_s8, mh, product, requantize, rs, sat16, scaled_inputs
from .meta import Array
from .quantized import (
    QuantizedActivation,
    QuantizedCell,
    QuantizedGru,
    QuantizedLstm,
    QuantizedRnn,
    QuantizedRows,
    Rescale,
)
from .reference_cells import by_periods

DTYPES: dict[str, type[np.signedinteger[Any]]] = {"s8": np.int8, "s16": np.int16}

State: TypeAlias = tuple[Array, ...]
"""h, and of an LSTM c, of a GRU the finer state behind h; int64 [N, width] each."""
Step: TypeAlias = Callable[[Array, State], tuple[State, Array]]
"""What x gives a step [N, rows] and the state, to the next state and z [N, gates, units]."""


def run(layer: QuantizedCell, reads: list[Array], kind: str) -> tuple[list[Array], dict[str, Array]]:
    """h [N, T, outputs] of type `kind`, and of an LSTM c [N, T, units], from a reset state; and by name z int16
    [N, T, gates, units], of an LSTM c and of a GRU the state behind h, int16 [N, T, units].

    reads: x [N, T, inputs] | mask [N, T, 1] | initial state [N, 1, width] each.
    """
    reads, joined = by_periods(layer, reads)
    count, steps, _ = reads[0].shape
    mask = reads[1][:, :, 0] != 0 if layer.masked else np.ones((count, steps), bool)
    started = [scaled_state(x[:, 0], f) for x, f in zip(reads[1 + layer.masked :], layer.initial, strict=True)]
    match layer:
        case QuantizedLstm():
            entering, step = _lstm(layer, reads[0], kind)
            state: State = (np.zeros((count, layer.outputs), np.int64), np.zeros((count, layer.units), np.int64))
            if started:
                c = started[1] if layer.cell_limit == 32767 else _clamped(started[1], layer.cell_limit)
                state = (_clamped(started[0], most(layer.hidden_multiplier, kind)), c)
        case QuantizedGru():
            entering, step = _gru(layer, reads[0], kind)
            state = (np.zeros((count, layer.units), np.int64),) * 2
            if started:
                state = (hidden(started[0], layer.hidden_multiplier, kind), started[0])
        case QuantizedRnn():
            entering, step = _rnn(layer, reads[0], kind)
            state = (np.zeros((count, layer.units), np.int64),)
            if started:
                state = (_clamped(started[0], most(layer.hidden_multiplier, kind)),)
    written: list[list[Array]] = [[] for _ in state]
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
    columns = [joined(np.stack(column, axis=1)) for column in written]
    trace = {"z": joined(np.stack(zs, axis=1)).astype(np.int16)}
    if len(columns) > 1:
        trace["c" if isinstance(layer, QuantizedLstm) else "state"] = columns[1].astype(np.int16)
    made = [columns[0].astype(DTYPES[kind]), *(c.astype(np.int16) for c in columns[1:])]
    return made[: len(layer.writes)], trace


# ---- LSTM ----


def _lstm(layer: QuantizedLstm, x: Array, kind: str) -> tuple[Array, Step]:
    rows = 4 * layer.units
    kx, bias, shift, multiplier = (
        a.reshape(rows) for a in (layer.input_shift, layer.bias, layer.shift, layer.multiplier)
    )
    recurrent = layer.recurrent.reshape(rows, layer.outputs).astype(np.float64)
    shift, multiplier = shift.reshape(4, -1), multiplier.reshape(4, -1)

    def seen(k: int, acc: Array) -> Array:
        z = requantize(acc, shift[k], multiplier[k])
        return _clamped(z, layer.candidate_limit if k == 2 else layer.gate_limit)

    def step(entering: Array, state: State) -> tuple[State, Array]:
        h, c = state
        acc = (entering + product(recurrent, h)).reshape(len(h), 4, layer.units)
        z = np.zeros_like(acc)
        for k in (0, 1, 2):
            z[:, k] = seen(k, acc[:, k] + (peephole(layer, k, c) if k < 2 else 0))
        i, g = activate_s8(layer.gate, z[:, 0]), activate_s8(layer.candidate, z[:, 2])
        f = coupled(i, layer.gate_exponent) if layer.coupled else activate_s8(layer.gate, z[:, 1])
        c = next_cell(f, c, cell_input(i, g, layer.cell_multiplier), layer.gate_exponent, layer.cell_limit)
        z[:, 3] = seen(3, acc[:, 3] + peephole(layer, 2, c))
        p = cell_output(activate_s8(layer.gate, z[:, 3]), c, layer.cell)
        if layer.projection is not None:
            p = projected(layer.projection, p)
        return (hidden(p, layer.hidden_multiplier, kind), c), z

    return scaled_inputs(layer.kernel.reshape(rows, layer.inputs), kx, bias, x), step


def peephole(layer: QuantizedLstm, k: int, c: Array) -> Array | int:
    """What c adds to the sums of gate k of i, f and o."""
    if layer.peephole is None or layer.peephole_shift is None:
        return 0
    added: Array = (layer.peephole[k].astype(np.int64) * c) >> layer.peephole_shift[k].astype(np.int64)
    return added


def coupled(i: Array, gate_exponent: int) -> Array:
    """1 - i, in the scale of i."""
    return np.minimum((32768 >> gate_exponent) - i, 32768)


def cell_input(i: Array, g: Array, kappa: int) -> Array:
    """What i * g adds to c."""
    return mh(sat16(rs(i * g, 15)), kappa)


def next_cell(f: Array, c: Array, added: Array, gate_exponent: int, limit: int) -> Array:
    """c of this step from c of the step before."""
    c = sat16(sat16(rs(f * c, 15 - gate_exponent)) + added)
    return c if limit == 32767 else _clamped(c, limit)


def cell_output(o: Array, c: Array, cell: QuantizedActivation) -> Array:
    """p, the int16 form of o * P(c)."""
    return sat16(rs(o * activate_s8(cell, c), 15))


def projected(rows: QuantizedRows, p: Array) -> Array:
    """The projection of p, int16."""
    return requantize(scaled_inputs(rows.kernel, rows.input_shift, rows.bias, p), rows.shift, rows.multiplier)


# ---- GRU ----


def _gru(layer: QuantizedGru, x: Array, kind: str) -> tuple[Array, Step]:
    units, rows = layer.units, 3 * layer.units
    kx, bias = layer.input_shift.reshape(rows), layer.bias.reshape(rows)
    recurrent = layer.recurrent.reshape(rows, units).astype(np.float64)

    def gate(k: int, acc: Array) -> Array:
        return _clamped(requantize(acc, layer.shift[k], layer.multiplier[k]), layer.gate_limit)

    def step(entering: Array, state: State) -> tuple[State, Array]:
        h, fine = state
        acc_x = entering.reshape(len(h), 3, units)
        acc_h = product(recurrent[: 2 * units], h).reshape(len(h), 2, units)
        z, r = gate(0, acc_x[:, 0] + acc_h[:, 0]), gate(1, acc_x[:, 1] + acc_h[:, 1])
        update, reset = activate_s8(layer.gate, z), activate_s8(layer.gate, r)
        if layer.reset is not None:
            n_h = product(recurrent[2 * units :], h) + layer.reset.bias
            n_h = requantize(n_h, layer.reset.shift, layer.reset.multiplier)
            n_x = requantize(acc_x[:, 2], layer.shift[2], layer.multiplier[2])
            n = sat16(n_x + sat16(rs(reset * n_h, 15 - layer.gate_exponent)))
        else:
            kept = sat16(rs(reset * fine, 15 - layer.gate_exponent))
            n = acc_x[:, 2] + product(recurrent[2 * units :], hidden(kept, layer.hidden_multiplier, kind))
            n = requantize(n, layer.shift[2], layer.multiplier[2])
        n = _clamped(n, layer.candidate_limit)
        candidate = rs(activate_s8(layer.candidate, n) * layer.state_multiplier, 15)
        fine = next_state(update, fine, candidate, layer.gate_exponent)
        return (hidden(fine, layer.hidden_multiplier, kind), fine), np.stack([z, r, n], axis=1)

    return scaled_inputs(layer.kernel.reshape(rows, layer.inputs), kx, bias, x), step


def next_state(z: Array, state: Array, candidate: Array, gate_exponent: int) -> Array:
    """The finer state of a GRU: n + z (h - n)."""
    moved = z * (state - candidate)
    half = 1 << (14 - gate_exponent)
    assert np.abs(moved).max(initial=0) < (1 << 31) - half, "next_state: beyond 32 bits"
    return sat16(candidate + ((moved + half) >> (15 - gate_exponent)))


# ---- simple RNN ----


def _rnn(layer: QuantizedRnn, x: Array, kind: str) -> tuple[Array, Step]:
    recurrent = layer.recurrent.astype(np.float64)

    def step(entering: Array, state: State) -> tuple[State, Array]:
        z = requantize(entering + product(recurrent, state[0]), layer.shift, layer.multiplier)
        z = _clamped(z, layer.limit)
        return (hidden(activate_s8(layer.activation, z), layer.hidden_multiplier, kind),), z[:, None]

    return scaled_inputs(layer.kernel, layer.input_shift, layer.bias, x), step


# ---- of all ----


def hidden(p: Array, hidden_multiplier: int, kind: str) -> Array:
    """h, of a tensor of this type, from p."""
    h = rs(p * hidden_multiplier, 15)
    return np.clip(h, -127, 127) if kind == "s8" else h


def most(hidden_multiplier: int, kind: str) -> int:
    """What |h| stays within."""
    return 127 if kind == "s8" else hidden_multiplier


def scaled_state(x: Array, rescale: Rescale) -> Array:
    """A state to start from, in the scale of the layer's own; int8 or int16 to int64."""
    return requantize(256 * x.astype(np.int64), rescale.shift, rescale.multiplier)


def _clamped(v: Array, limit: int) -> Array:
    """A limit of 32767 is none: v is int16."""
    return v if limit == 32767 else np.clip(v, -limit, limit)
