"""Recurrent layers with int8 weights and an h of 8 or 16 bits, but exact sums, functions and state."""

from __future__ import annotations

import numpy as np

from edgelstm.activations import activate
from edgelstm.layers import Gru, Lstm, Rnn
from edgelstm.reference_cells import by_periods


def simulated_cell(layer, rows, reads, hidden, doublings=0, narrow=False):
    """h, and of an LSTM c, float64 [N, T, width]. `rows` as quantize_with_rows gives them; `hidden`: the tensor of h.

    With `doublings` the steps of an int8 h are halved anew at each step, up to so many times, as far as its largest
    value lets them. With `narrow` the cell goes on from the h that it writes, not from the finer one behind it.
    """
    reads, joined = by_periods(layer, reads)
    x = reads[0]
    count, steps, _ = x.shape
    mask = reads[1][:, :, 0] != 0 if layer.masked else np.ones((count, steps), bool)
    start = [values[:, 0] if values.ndim == 3 else values for values in reads[1 + layer.masked :]]

    def rounded(h):
        most = 127 if hidden.type == "s8" else 32767
        largest = np.maximum(np.abs(h).max(axis=1, keepdims=True), 1e-30)
        unit = hidden.scale * 2.0 ** -np.clip(np.floor(np.log2(most * hidden.scale / largest)), 0, doublings)
        return np.clip(np.rint(h / unit), -most, most) * unit

    step, widths = {Lstm: _lstm, Gru: _gru, Rnn: _rnn}[type(layer)](layer, rows, rounded)
    state = start or [np.zeros((count, n)) for n in widths]
    written = [np.zeros((count, steps, n)) for n in widths]
    seen = np.zeros((count, 1), bool)
    h = rounded(state[0])
    for t in range(steps):
        counts = mask[:, t, None]
        after = step(x[:, t], h, state)
        state = [np.where(counts, new, old) for new, old in zip(after, state, strict=True)]
        seen |= counts
        h = rounded(state[0])
        state = [h, *state[1:]] if narrow else state
        written[0][:, t] = np.where(seen, h, 0)
        for column, values in zip(written[1:], state[1:], strict=True):
            column[:, t] = values
    return [joined(values) for values in written]


def _weights(rows):
    """W, R and the bias that a layer's integers stand for."""
    return rows.kernel * rows.kernel_scale[:, None], rows.recurrent * rows.recurrent_scale[:, None], rows.real_bias


def _clipped(layer, z):
    return z if layer.clip is None else np.clip(z, -layer.clip, layer.clip)


def _lstm(layer, rows, rounded):
    kernel, recurrent, bias = _weights(rows[layer.name])
    p = np.zeros((3, layer.units)) if layer.peephole is None else layer.peephole

    def gate(z):
        return activate(layer.gate_activation, _clipped(layer, z))

    def step(x, h, state):
        _, c = state
        z = (x @ kernel.T + h @ recurrent.T + bias).reshape(len(h), 4, layer.units)
        i = gate(z[:, 0] + p[0] * c)
        f = 1 - i if layer.coupled else gate(z[:, 1] + p[1] * c)
        c = f * c + i * activate(layer.activation, _clipped(layer, z[:, 2]))
        if layer.cell_clip is not None:
            c = np.clip(c, -layer.cell_clip, layer.cell_clip)
        h = gate(z[:, 3] + p[2] * c) * activate(layer.cell_activation or layer.activation, c)
        if layer.projection is not None:
            projection, _, offset = _weights(rows[f"{layer.name}.projection"])
            h = h @ projection.T + offset
        return h, c

    return step, (layer.outputs, layer.units)


def _gru(layer, rows, rounded):
    kernel, recurrent, bias = _weights(rows[layer.name])
    kernel_n, recurrent_n, bias_n = _weights(rows[f"{layer.name}.n"])

    def step(x, h, state):
        z = (x @ kernel.T + h @ recurrent.T + bias).reshape(len(h), 2, layer.units)
        update, reset = (activate(layer.gate_activation, _clipped(layer, z[:, k])) for k in (0, 1))
        n = x @ kernel_n.T + bias_n
        if layer.reset_after:
            _, after, d = _weights(rows[f"{layer.name}.reset"])
            n = n + reset * (h @ after.T + d)
        else:
            n = n + rounded(reset * state[0]) @ recurrent_n.T
        return (update * state[0] + (1 - update) * activate(layer.activation, _clipped(layer, n)),)

    return step, (layer.units,)


def _rnn(layer, rows, rounded):
    kernel, recurrent, bias = _weights(rows[layer.name])

    def step(x, h, state):
        return (activate(layer.activation, _clipped(layer, x @ kernel.T + h @ recurrent.T + bias)),)

    return step, (layer.units,)
