"""Model + samples -> QuantizedModel: every scale of docs/numerics.md chosen from what the float model does on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import reference_s8
from .balance import balance
from .calibration import Calibration, calibrate
from .comparison import DECIBELS
from .curves import BOUNDED, HEADROOM, SMALLEST, Curve, curve, gate_curve, span
from .errors import QuantizeError
from .fixedpoint import activate_s8
from .layers import Activate, Conv1d, Dense, Lstm
from .meta import frozen
from .model import Array, Model, QuantizedModel
from .quantization_steps import refuse, step_s8
from .quantized import (
    QuantizedActivate,
    QuantizedActivation,
    QuantizedDense,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedTensor,
)
from .rounding import MOST_COLUMNS, Operand, Rows, quantize_rows, requantization
from .whole import whole_tensors

HIDDEN_TYPES = {8: "s8", 16: "s16"}  # by the bits of h
HIDDEN_HEADROOM = 1.25  # of an unbounded h; a bounded one does better with finer steps than with room
FINEST = 12 * 127  # hm of a bounded h: finer steps would drown in what 16-bit gates and cells leave
FINEST_16 = 256 * 127  # hm of an int16 h, at most: 256 times an int8 one's
_HARDLY_WORSE = 1.02  # the widest cell range whose error is within this factor of the best is taken


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
    if hidden_bits != 8 and not any(isinstance(layer, Lstm) for layer in model.layers):
        raise QuantizeError(f"hidden_bits is {hidden_bits}, but no layer of the model has an h")
    refuse(model)
    calibration = calibrate(model, samples)
    model, balanced = balance(model, calibration)
    if balanced:
        calibration = calibrate(model, samples)
    tensors: dict[str, QuantizedTensor] = {}
    whole = whole_tensors(model, calibration.whole)
    for name in model.inputs:
        scale = 1.0 if name in whole else HEADROOM * max(calibration.reach(name) or 1.0, SMALLEST) / 32767
        tensors[name] = _tensor(model, name, "s16", scale)
    layers: list[QuantizedLayer] = []
    rows: dict[str, Rows] = {}
    notes = [*calibration.notes, *(f"{name}: its units were scaled to like sizes" for name in balanced)]
    for layer in model.layers:
        x = tensors[layer.reads[0]]
        match layer:
            case Lstm():
                kind = HIDDEN_TYPES[hidden_bits]
                quantized, rows[layer.name], scale = _lstm(layer, x, kind, calibration, compensate)
                layers.append(quantized)
                tensors[layer.writes[0]] = _tensor(model, layer.writes[0], kind, scale)
            case Dense():
                dense, rows[layer.name], scale = _dense(layer, x, calibration, compensate)
                layers.append(dense)
                tensors[layer.writes[0]] = _tensor(model, layer.writes[0], "s16", scale)
            case Activate():
                alone, scale, alone_full = _activate(layer, x, calibration)
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
        if layer.name in rows and rows[layer.name].clipped:
            notes.append(f"{layer.name}: {rows[layer.name].clipped} rows have weights too large for int8; cut off")
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


def _reach(calibration: Calibration, name: str) -> float:
    largest = max(float(np.abs(values).max()) for values in calibration.each(name))
    return max(largest, SMALLEST) if largest else 0.0


def _operand(weights: Array, tensor: QuantizedTensor, seen: Array | None) -> Operand:
    return Operand(weights.astype(np.float64), tensor.scale, 32768 if tensor.type == "s16" else 128, seen)


def _dense(
    layer: Dense, x: QuantizedTensor, calibration: Calibration, compensate: bool
) -> tuple[QuantizedDense, Rows, float]:
    seen = calibration.rows(layer.reads[0])
    z = seen @ layer.kernel.T.astype(np.float64) + layer.bias
    function = curve(layer.activation, z)
    full, middle = np.full(layer.units, function.full), np.full(layer.units, function.middle)
    operand = _operand(layer.kernel, x, seen if compensate else None)
    rows = quantize_rows(layer.name, operand, None, layer.bias.astype(np.float64), full, middle)
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


def _activate(layer: Activate, x: QuantizedTensor, calibration: Calibration) -> tuple[QuantizedActivate, float, float]:
    function = curve(layer.activation, calibration.rows(layer.reads[0]))
    shift, multiplier = requantization(np.array([x.scale / 256]), np.array([function.full]))
    made = QuantizedActivate(
        layer.name, layer.reads, layer.writes, int(shift[0]), int(multiplier[0]), function.activation
    )
    return made, function.out / 32768, function.full


def _lstm(
    layer: Lstm, x: QuantizedTensor, kind: str, calibration: Calibration, compensate: bool
) -> tuple[QuantizedLstm, Rows, float]:
    """`kind`: the type of h."""
    units, hidden = layer.units, layer.writes[0]
    zs = list(calibration.each(f"{layer.name}.z"))
    gates = np.concatenate([z[:, :, (0, 1, 3)].ravel() for z in zs])
    try:
        gate, exponent = gate_curve(layer.gate_activation, gates)
    except QuantizeError as error:
        raise QuantizeError(f"{layer.name}: {error}") from None
    candidate = curve(layer.activation, np.concatenate([z[:, :, 2].ravel() for z in zs]))
    cell, kappa = _cell(layer, kind, gate, exponent, candidate, calibration)
    reach = 2.0**exponent * cell.out  # real value of p's 32768
    seen, seen_h = calibration.rows(layer.reads[0]), calibration.rows_before(hidden)

    def rows_for(multiplier: int, compensated: bool) -> Rows:
        step, most = float(np.float32(reach / multiplier)), 128 if kind == "s8" else multiplier
        kernel, recurrent = (w.reshape(4 * units, -1) for w in (layer.kernel, layer.recurrent))
        return quantize_rows(
            layer.name,
            _operand(kernel, x, seen if compensated else None),
            Operand(recurrent.astype(np.float64), step, most, seen_h if compensated else None),
            layer.bias.reshape(4 * units).astype(np.float64),
            np.repeat([gate.full, gate.full, candidate.full, gate.full], units),
            np.repeat([gate.middle, gate.middle, candidate.middle, gate.middle], units),
        )

    def noise(multiplier: int) -> float:
        """Of all z, from the steps of h and of the weights. Finer steps of h take bits from the weights of rows whose
        sums would overflow."""
        try:
            rows = rows_for(multiplier, compensated=False)
        except QuantizeError:
            return np.inf
        weights = np.square(rows.kernel_scale).sum() * np.square(seen).mean(axis=0).sum()
        weights += np.square(rows.recurrent_scale).sum() * np.square(seen_h).mean(axis=0).sum()
        return float(weights + np.square(layer.recurrent * (reach / multiplier)).sum())

    if kind == "s8":
        multiplier = _hidden(layer, exponent, reach, _reach(calibration, hidden))
    else:
        multiplier = min((FINEST_16 >> k for k in range(9)), key=noise)
    rows = rows_for(multiplier, compensate)
    quantized = QuantizedLstm(
        layer.name,
        layer.reads,
        layer.writes,
        kernel=frozen(rows.kernel.reshape(layer.kernel.shape), np.int8, layer.kernel.shape, layer.name),
        recurrent=frozen(rows.recurrent.reshape(layer.recurrent.shape), np.int8, layer.recurrent.shape, layer.name),
        bias=frozen(rows.bias.reshape(4, units), np.int32, (4, units), layer.name),
        input_shift=frozen(rows.input_shift.reshape(4, units), np.int8, (4, units), layer.name),
        shift=frozen(rows.shift.reshape(4, units), np.int8, (4, units), layer.name),
        multiplier=frozen(rows.multiplier.reshape(4, units), np.int16, (4, units), layer.name),
        gate=gate.activation,
        candidate=candidate.activation,
        cell=cell.activation,
        gate_exponent=exponent,
        cell_multiplier=kappa,
        cell_limit=_limit(layer, cell),
        hidden_multiplier=multiplier,
        cell_scale=cell.full / 32768,
    )
    return quantized, rows, reach / multiplier


def _hidden(layer: Lstm, exponent: int, reach: float, largest: float) -> int:
    """hm of an int8 h, which expresses its scale exactly."""
    bounded = layer.activation.name in BOUNDED and exponent == 0
    wanted = min(largest, reach) if bounded else HIDDEN_HEADROOM * largest
    least, most = (127, FINEST) if bounded else (1, 32767)
    return int(np.clip(127 * reach / wanted, least, most)) if wanted else most


def _cell(
    layer: Lstm, kind: str, gate: Curve, exponent: int, candidate: Curve, calibration: Calibration
) -> tuple[Curve, int]:
    """The cell's function with its range of c, and kappa.

    c must have room for i * g, so that kappa fits. A function that flattens out lets c saturate: its range is the one
    with the least error of o * P(c) when the integer cell runs over the samples. Others cover c.
    """
    cs = np.concatenate([c.ravel() for c in calibration.each(f"{layer.name}.c")])
    added = 2.0**exponent * candidate.out  # real value of the 32768 of i * g
    base = curve(layer.activation, cs)
    if base.activation.kind in ("linear", "relu"):
        # Any range will do, so take one that kappa expresses exactly.
        kappa = int(np.clip(np.floor(32768 * added / max(span(cs, HEADROOM), added)), 1, 32767))
        full = 32768 * added / kappa
        return Curve(base.activation, full, full, False), kappa
    least = _doublings(added / base.full)
    covering = max(least, _doublings(span(cs, 1.25) / base.full))
    chosen = covering
    if layer.activation.name in BOUNDED and least < covering:
        candidates = range(max(least, covering - 5), covering + 1)
        errors = [
            _cell_error(layer, kind, gate, exponent, candidate, _doubled(base, k), calibration) for k in candidates
        ]
        best = _HARDLY_WORSE * min(errors)
        chosen = max(k for k, error in zip(candidates, errors, strict=True) if error <= best)
    wide = _doubled(base, chosen)
    return wide, _kappa(added, wide.full)


def _doublings(ratio: float) -> int:
    return int(np.clip(np.ceil(np.log2(ratio)), 0, 10))


def _doubled(base: Curve, doublings: int) -> Curve:
    function = QuantizedActivation(base.activation.kind, doublings, base.activation.table)
    return Curve(function, base.full * 2.0**doublings, base.out, base.middle)


def _kappa(added: float, full: float) -> int:
    return int(np.clip(np.rint(32768 * added / full), 1, 32767))


def _cell_error(
    layer: Lstm, kind: str, gate: Curve, exponent: int, candidate: Curve, cell: Curve, calibration: Calibration
) -> float:
    """Mean squared error of h with the integer cell on the float model's own z, an int8 h's rounding included."""
    kappa = _kappa(2.0**exponent * candidate.out, cell.full)
    unit = 2.0**exponent * cell.out / 32768
    total, count = 0.0, 0
    for z, h in zip(calibration.each(f"{layer.name}.z"), calibration.each(layer.writes[0]), strict=True):
        i, f, o = (activate_s8(gate.activation, _integers(z[:, :, k], gate)) for k in (0, 1, 3))
        g = activate_s8(candidate.activation, _integers(z[:, :, 2], candidate))
        added = reference_s8.cell_input(i, g, kappa)
        c = np.zeros_like(i)
        last = np.zeros_like(i[:, 0])
        limit = _limit(layer, cell)
        for t in range(i.shape[1]):
            last = c[:, t] = reference_s8.next_cell(f[:, t], last, added[:, t], exponent, limit)
        p = reference_s8.cell_output(o, c, cell.activation)
        total += float(np.square(p * unit - h).sum())
        count += h.size
    return total / count + (1 / (12 * 127**2) if kind == "s8" else 0)


def _limit(layer: Lstm, cell: Curve) -> int:
    """The clip in units of c; 32767, no clip, where c saturates below it."""
    if layer.cell_clip is None or layer.cell_clip >= cell.full:
        return 32767
    return int(np.clip(np.rint(layer.cell_clip / cell.full * 32768), 1, 32767))


def _integers(z: Array, function: Curve) -> Array:
    scaled = z / function.full * 32768 - (0.5 if function.middle else 0)
    integers: Array = np.clip(np.rint(scaled), -32768, 32767).astype(np.int64)
    return integers


def _noted(model: QuantizedModel, calibration: Calibration) -> QuantizedModel:
    """The model with what its integers did on the samples: saturated cells, and the error of each output."""
    signal = dict.fromkeys(model.outputs, 0.0)
    error = dict(signal)
    saturated = {layer.name: [0, 0] for layer in model.layers if isinstance(layer, QuantizedLstm)}
    for xs, floats in zip(calibration.inputs, calibration.traces, strict=True):
        trace: dict[str, Array] = {}
        reference_s8.run(model, reference_s8.quantize_inputs(model, xs), model.timing.causal, trace)
        ys = [trace[name] for name in model.outputs]
        for name, y in zip(model.outputs, reference_s8.dequantize(model, ys), strict=True):
            signal[name] += float(np.square(floats[name]).sum())
            error[name] += float(np.square(y - floats[name]).sum())
        for layer, counts in saturated.items():
            c = trace[f"{layer}.c"]
            counts[0] += int(((c == 32767) | (c == -32768)).sum())
            counts[1] += c.size
    notes = [
        f"{layer}: c saturated in {hit} of {size} values on the samples" for layer, (hit, size) in saturated.items()
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
            "samples (as in real use, scaled as in training?), the inputs' scaling and the notes on saturated cells"
        )
    return notes
