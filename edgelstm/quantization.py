"""Model + samples -> QuantizedModel: every scale of docs/numerics.md chosen from what the float model does on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import reference_s8
from .balance import balance
from .calibration import Calibration, calibrate
from .comparison import DECIBELS
from .curves import HEADROOM, SMALLEST, curve
from .errors import QuantizeError
from .layers import Activate, Conv1d, Dense, Gru, Lstm, Rnn
from .meta import frozen
from .model import Array, Model, QuantizedModel
from .quantization_cells import HIDDEN_TYPES, quantize_cell
from .quantization_steps import refuse, step_s8
from .quantized import (
    QuantizedActivate,
    QuantizedActivation,
    QuantizedDense,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedTensor,
)
from .rounding import MOST_COLUMNS, Operand, Rows, quantize_rows, requantization
from .whole import whole_tensors, with_numbers


def quantize(model: Model, samples: Any, *, compensate: bool = True, hidden_bits: int = 8) -> QuantizedModel:
    """An int8 model, its ranges taken from `samples`: data that looks like real use, scaled as the model expects.

    samples: (T, inputs), (N, T, inputs) or a list of (T, inputs) of any lengths; a tuple of such for several inputs.
    `compensate` spreads each weight's rounding error over its neighbours. `hidden_bits` of h: 8, or 16, which is more
    accurate and takes longer. QuantizeError if the samples do not fit.
    """
    return quantize_with_rows(model, samples, compensate=compensate, hidden_bits=hidden_bits)[0]


def quantize_with_rows(
    model: Model, samples: Any, *, compensate: bool = True, hidden_bits: int = 8
) -> tuple[QuantizedModel, dict[str, Rows]]:
    """`quantize`, and per layer with weights the rows with the real values of their integers, for simulations."""
    if hidden_bits not in HIDDEN_TYPES:
        raise QuantizeError(f"hidden_bits is {hidden_bits}, expected 8 or 16")
    if hidden_bits != 8 and not any(isinstance(layer, Lstm | Gru | Rnn) for layer in model.layers):
        raise QuantizeError(f"hidden_bits is {hidden_bits}, but no layer of the model has an h")
    refuse(model)
    calibration = calibrate(model, samples)
    model, balanced = balance(model, calibration)
    if balanced:
        calibration = calibrate(model, samples)
    tensors: dict[str, QuantizedTensor] = {}
    whole = whole_tensors(model, calibration.whole)
    model, numbers = with_numbers(model, whole)
    calibration = calibration.copied(numbers)
    for name in model.inputs:
        scale = 1.0 if name in whole else HEADROOM * max(calibration.reach(name) or 1.0, SMALLEST) / 32767
        tensors[name] = _tensor(model, name, "s16", scale)
    layers: list[QuantizedLayer] = []
    rows: dict[str, Rows] = {}
    notes = [*calibration.notes, *(f"{name}: its units were scaled to like sizes" for name in balanced)]
    for layer in model.layers:
        x, known = tensors[layer.reads[0]], set(rows)
        match layer:
            case Lstm() | Gru() | Rnn():
                reads = [tensors[name] for name in layer.reads]
                cell = quantize_cell(layer, reads, HIDDEN_TYPES[hidden_bits], calibration, compensate)
                layers.append(cell.layer)
                rows |= cell.rows
                for name, (kind, scale) in zip(layer.writes, cell.writes, strict=False):
                    tensors[name] = _tensor(model, name, kind, scale)
            case Dense():
                dense, rows[layer.name], scale = _dense(layer, x, calibration, compensate)
                layers.append(dense)
                tensors[layer.writes[0]] = _tensor(model, layer.writes[0], "s16", scale)
            case Activate():
                alone, scale, alone_full = _activate(layer, x, whole, calibration)
                layers.append(alone)
                if x.scale * 128 > 32 * alone_full:
                    notes.append(f"{layer.name}: reads values in steps too coarse for {layer.activation.name}")
                tensors[layer.writes[0]] = _tensor(model, layer.writes[0], "s16", scale)
            case _:
                made = step_s8(layer, [tensors[name] for name in layer.reads], whole, calibration, compensate)
                layers.append(made.layer)
                for name, kind, scale in zip(layer.writes, made.types, made.scales, strict=True):
                    tensors[name] = _tensor(model, name, kind, scale)
                if made.rows is not None:
                    rows[layer.name] = made.rows
        cut = sum(own.clipped for name, own in rows.items() if name not in known)
        if cut:
            notes.append(f"{layer.name}: {cut} rows have weights too large for int8; cut off")
        columns = layer.kernel[0].size if isinstance(layer, Conv1d) else getattr(layer, "inputs", 0)
        if compensate and columns > MOST_COLUMNS:
            notes.append(f"{layer.name}: more than {MOST_COLUMNS} inputs; its weights were rounded to the nearest")
    quantized_model = QuantizedModel(
        tuple(tensors[t.name] for t in model.tensors),
        tuple(layers),
        model.inputs,
        model.outputs,
        model.source,
        model.meta,
        model.notes + tuple(notes),
    )
    return _noted(quantized_model, calibration), rows


def _tensor(model: Model, name: str, kind: str, scale: float) -> QuantizedTensor:
    # The doors work in float32, so the scale is one.
    single = next(t.single for t in model.tensors if t.name == name)
    return QuantizedTensor(name, model.width(name), kind, float(np.float32(scale)), single)


def _operand(weights: Array, tensor: QuantizedTensor, seen: Array | None) -> Operand:
    return Operand(weights.astype(np.float64), tensor.scale, 32768 if tensor.type == "s16" else 128, seen)


def _dense(
    layer: Dense, x: QuantizedTensor, calibration: Calibration, compensate: bool
) -> tuple[QuantizedDense, Rows, float]:
    seen = calibration.rows(layer.reads[0])
    z = seen @ layer.kernel.T.astype(np.float64) + layer.bias
    function = curve(layer.activation, z)
    full, offset = np.full(layer.units, function.full), np.full(layer.units, function.offset)
    operand = _operand(layer.kernel, x, seen if compensate else None)
    rows = quantize_rows(layer.name, operand, None, layer.bias.astype(np.float64), full, offset)
    quantized = QuantizedDense(
        layer.name,
        layer.reads,
        layer.writes,
        kernel=frozen(rows.kernel, np.int8, layer.kernel.shape, layer.name),
        bias=frozen(rows.bias, np.int32, (layer.units,), layer.name),
        input_shift=frozen(rows.input_shift, np.int8, (layer.units,), layer.name),
        shift=frozen(rows.shift, np.int8, (layer.units,), layer.name),
        multiplier=frozen(rows.multiplier, np.int16, (layer.units,), layer.name),
        activation=function.activation,
    )
    return quantized, rows, function.out / 32768


def _activate(
    layer: Activate, x: QuantizedTensor, whole: frozenset[str], calibration: Calibration
) -> tuple[QuantizedActivate, float, float]:
    if x.name in whole and layer.activation.name == "linear":
        return _finer(layer, calibration)
    function = curve(layer.activation, calibration.rows(layer.reads[0]))
    shift, multiplier = requantization(np.array([x.scale / 256]), np.array([function.full]))
    made = QuantizedActivate(
        layer.name, layer.reads, layer.writes, int(shift[0]), int(multiplier[0]), function.activation
    )
    return made, function.out / 32768, function.full


def _finer(layer: Activate, calibration: Calibration) -> tuple[QuantizedActivate, float, float]:
    """Whole numbers in steps of 2^-k, exactly: a shift alone."""
    most = max(float(np.abs(x).max(initial=0)) for x in calibration.each(layer.reads[0]))
    k = int(np.clip(np.floor(np.log2(32767 / (HEADROOM * max(most, 1.0)))), 0, 12))  # s is at least -4
    made = QuantizedActivate(layer.name, layer.reads, layer.writes, 8 - k, 0, QuantizedActivation("linear"))
    return made, 2.0**-k, 32768 * 2.0**-k


def _noted(model: QuantizedModel, calibration: Calibration) -> QuantizedModel:
    """The model with what its integers did on the samples: saturated cells, and the error of each output."""
    signal = dict.fromkeys(model.outputs, 0.0)
    error = dict(signal)
    inside = {QuantizedLstm: "c", QuantizedGru: "state"}
    saturated = {(w.name, inside[type(w)]): [0, 0] for w in model.layers if isinstance(w, QuantizedLstm | QuantizedGru)}
    for xs, floats in zip(calibration.inputs, calibration.traces, strict=True):
        trace: dict[str, Array] = {}
        reference_s8.run(model, reference_s8.quantize_inputs(model, xs), model.timing.causal, trace)
        ys = [trace[name] for name in model.outputs]
        for name, y in zip(model.outputs, reference_s8.dequantize(model, ys), strict=True):
            signal[name] += float(np.square(floats[name]).sum())
            error[name] += float(np.square(y - floats[name]).sum())
        for (layer, what), counts in saturated.items():
            c = trace[f"{layer}.{what}"]
            counts[0] += int(((c == 32767) | (c == -32768)).sum())
            counts[1] += c.size
    notes = [
        f"{layer}: {'c' if what == 'c' else 'its state'} saturated in {hit} of {size} values on the samples"
        for (layer, what), (hit, size) in saturated.items()
    ]
    for name in model.outputs:
        notes += _precision(name, signal[name], error[name])
    return replace(model, notes=model.notes + tuple(notes))


def _precision(name: str, signal: float, error: float) -> list[str]:
    """What an output's energy and that of its error say, and a warning where that is not good."""
    if not signal:
        return [
            f"warning: output {name} is zero on all samples, so its precision is unknown; "
            "look at the samples' scaling, and whether the checkpoint was trained"
        ]
    if not error:
        return [f"output {name}: exact on the samples, against the float model"]
    ratio = 10 * float(np.log10(signal / error))
    notes = [f"output {name}: {ratio:.1f} dB signal to error on the samples, against the float model"]
    if ratio < DECIBELS:
        notes.append(
            f"warning: output {name} reaches {ratio:.1f} dB, and sound conversions {DECIBELS:g} or more; look at the "
            "samples (as in real use, scaled as in training?), the inputs' scaling and the notes on saturated cells; "
            "or try hidden_bits=16 (--hidden-bits 16)"
        )
    return notes
