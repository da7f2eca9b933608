"""Model + samples -> QuantizedModel: every scale of docs/numerics.md chosen from what the float model does on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from . import reference_s8
from .balance import balance
from .calibration import Calibration, calibrate
from .comparison import DECIBELS
from .errors import QuantizeError
from .layers import Gru, Lstm, Rnn
from .model import Array, Model, QuantizedModel
from .quantization_cells import HIDDEN_TYPES
from .quantization_layers import MadeModel, Maker
from .quantization_steps import refuse
from .quantized import QuantizedGru, QuantizedLstm
from .range_search import Judge, Narrowed, Search
from .ranges import Plan
from .rounding import Rows
from .whole import whole_tensors, with_numbers

RANGES = ("output", "covering")


def quantize(
    model: Model,
    samples: Any,
    *,
    compensate: bool = True,
    hidden_bits: int = 8,
    ranges: str = "output",
    progress: Callable[[float], None] | None = None,
) -> QuantizedModel:
    """An int8 model, its ranges taken from `samples`: data that looks like real use, scaled as the model expects.

    samples: (T, inputs), (N, T, inputs) or a list of (T, inputs) of any lengths; a tuple of such for several inputs.
    `compensate` spreads each weight's rounding error over its neighbours. `hidden_bits` of h: 8, or 16, which is more
    accurate and takes longer. `ranges`: "output" narrows those of cells and unbounded activations where the answers
    on the samples gain by it, "covering" leaves them as wide as the samples reach. `progress` is told the share done
    while ranges are chosen. QuantizeError if the samples do not fit.
    """
    made = quantize_with_rows(
        model, samples, compensate=compensate, hidden_bits=hidden_bits, ranges=ranges, progress=progress
    )
    return made[0]


def quantize_with_rows(
    model: Model,
    samples: Any,
    *,
    compensate: bool = True,
    hidden_bits: int = 8,
    ranges: str = "output",
    progress: Callable[[float], None] | None = None,
) -> tuple[QuantizedModel, dict[str, Rows]]:
    """`quantize`, and per layer with weights the rows with the real values of their integers, for simulations."""
    if not isinstance(model, Model):
        raise QuantizeError(f"a {type(model).__name__} is no float model; quantize what `read` makes of the checkpoint")
    if hidden_bits not in HIDDEN_TYPES:
        raise QuantizeError(f"hidden_bits is {hidden_bits}, expected 8 or 16")
    if ranges not in RANGES:
        raise QuantizeError(f"ranges is {ranges!r}, expected {' or '.join(map(repr, RANGES))}")
    if hidden_bits != 8 and not any(isinstance(layer, Lstm | Gru | Rnn) for layer in model.layers):
        raise QuantizeError(f"hidden_bits is {hidden_bits}, but no layer of the model has an h")
    refuse(model)
    calibration = calibrate(model, samples)
    model, balanced = balance(model, calibration)
    if balanced:
        calibration = calibrate(model, samples)
    whole = whole_tensors(model, calibration.whole)
    model, numbers = with_numbers(model, whole)
    calibration = calibration.copied(numbers)
    maker, plan = Maker(model, calibration, whole), Plan(HIDDEN_TYPES[hidden_bits], compensate)
    made = maker.make(plan)
    narrowed: tuple[Narrowed, ...] = ()
    if ranges == "output" and made.spans:
        made, narrowed = _narrowed(maker, made, plan, progress)
    notes = [*calibration.notes, *(f"{name}: its units were scaled to like sizes" for name in balanced)]
    notes += [*made.notes, *map(_told, narrowed)]
    quantized = replace(made.model, notes=model.notes + tuple(notes))
    return _noted(quantized, calibration), made.rows


def _narrowed(
    maker: Maker, covering: MadeModel, plan: Plan, progress: Callable[[float], None] | None
) -> tuple[MadeModel, tuple[Narrowed, ...]]:
    """The model with the ranges that its answers ask for, if those are better on all samples; and which they are."""
    found = Search(maker, covering, plan).run(progress)
    if not found:
        return covering, ()
    made = maker.make(replace(plan, narrowed={one.span.key: one.factor for one in found}))
    judge = Judge(maker.model, maker.calibration)
    before, after = judge(covering.model), judge(made.model)
    return (made, found) if after.all < before.all and after.fresh < before.fresh else (covering, ())


def _told(one: Narrowed) -> str:
    """What was narrowed, and what that is worth."""
    decibels = 10 * float(np.log10(one.gain))
    return (
        f"{one.span.layer}: {one.span.what} saturates beyond {one.full:.3g} (reaches {one.span.largest:.3g} on the "
        f"samples): {decibels:+.1f} dB"
    )


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
