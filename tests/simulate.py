"""s8 with exact functions: the same int8 weights, 16-bit inputs, int8 or int16 h and 16-bit answers, but float sums,
gates and cell.

What separates a quantized model from this is what integer gates, cell and requantization cost.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from simulated_cells import simulated_cell

from edgelstm import reference, reference_s8, reference_steps
from edgelstm.activations import activate
from edgelstm.layers import (
    Activate,
    Combine,
    Constant,
    Conv1d,
    Dense,
    Embedding,
    Gru,
    Last,
    Lstm,
    Mask,
    Pool1d,
    Reduce,
    Rnn,
)


def simulate(model, quantized, rows, xs, doublings=0, narrow=False):
    """What reference.run gives of the model, float64: of a causal one all rows that stepping would give, of another
    those of the run. `rows` as quantize_with_rows gives them.

    With `doublings` the steps of an int8 h are halved anew at each step, up to so many times, as far as its largest
    value lets them. With `narrow` a GRU goes on from the h that it writes, not from the finer one behind it.
    """
    every_step, tensors = model.timing.causal, {}
    for name, x in zip(model.inputs, reference.check_inputs(model, xs, every_step), strict=True):
        tensors[name] = _16_bits(x, reference_s8.tensor(quantized, name).scale)
    for layer in model.layers:
        reads = [tensors[name] for name in layer.reads]
        if made := reference.unwritten(model, layer, reads):
            tensors.update(zip(layer.writes, made, strict=True))
            continue
        x = reads[0]
        match layer:
            case Lstm() | Gru() | Rnn():
                hidden = reference_s8.tensor(quantized, layer.writes[0])
                written = simulated_cell(layer, rows, reads, hidden, doublings, narrow)
                tensors.update(zip(layer.writes, written, strict=False))
                continue
            case Dense():
                weights = rows[layer.name].kernel * rows[layer.name].kernel_scale[:, None]
                y = activate(layer.activation, x @ weights.T + rows[layer.name].real_bias)
            case Activate():
                y = activate(layer.activation, x)
            case Last():
                y = reference.moved(layer, x, every_step)
            case Mask():
                scale = reference_s8.tensor(quantized, layer.reads[0]).scale
                missing = reference_s8.to_int16(np.float32(layer.value), scale) * scale
                counts = (x != missing).any(axis=-1, keepdims=True)
                tensors.update(zip(layer.writes, (x * counts, counts.astype(np.float64)), strict=True))
                continue
            case _:
                written = _around(layer, rows.get(layer.name), reads, every_step)
                for name, values in zip(layer.writes, written, strict=True):
                    tensors[name] = _16_bits(values, reference_s8.tensor(quantized, name).scale)
                continue
        tensors[layer.writes[0]] = y
    outputs = []
    for name in model.outputs:
        y, tensor = tensors[name], reference_s8.tensor(quantized, name)
        y = _16_bits(y, tensor.scale) if tensor.type == "s16" else y
        outputs.append(y[:, -1] if name in model.timing.single and not every_step else y)
    return tuple(outputs)


def _around(layer, rows, reads, every_step):
    """What a layer around the cells writes: the same weights and table, exact sums and functions."""
    match layer:
        case Conv1d():
            kernel = (rows.kernel * rows.kernel_scale[:, None]).reshape(layer.kernel.shape)
            return [reference_steps.conv1d(replace(layer, kernel=kernel, bias=rows.real_bias), reads[0])]
        case Constant():
            return [np.broadcast_to(layer.value, (len(reads[0]), 1, len(layer.value)))]
        case Embedding():
            scale = np.abs(layer.table).max() / 32767
            return [(np.rint(layer.table / scale) * scale)[reads[0].astype(int)].reshape(*reads[0].shape[:2], -1)]
        case Combine():
            return [reference_steps.combine(layer.kind, reads)]
        case Pool1d():
            return [reference_steps.pool1d(layer, reads[0])]
        case Reduce():
            return [reference_steps.reduce(layer, reads[0], reads[1] if layer.masked else None, every_step)]
    return [reference.moved(layer, reads[0], every_step)]


def _16_bits(x, scale):
    return reference_s8.to_int16(x, scale) * scale


def decibels(signal, found):
    """Signal to error energy; infinite where there is no error."""
    signal = np.asarray(signal, np.float64)
    error = np.square(found - signal).sum()
    return float(10 * np.log10(np.square(signal).sum() / error)) if error else float("inf")
