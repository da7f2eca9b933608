"""Every layer of a float model in integers, one after the other, each from the scales of what it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .calibration import Calibration
from .curves import HEADROOM, SMALLEST, curve, has_limits
from .layers import Activate, Conv1d, Dense, Gru, Lstm, Rnn
from .meta import frozen
from .model import Array, Model, QuantizedModel
from .quantization_cells import quantize_cell
from .quantization_steps import roomy, step_s8
from .quantized import (
    QuantizedActivate,
    QuantizedActivation,
    QuantizedDense,
    QuantizedLayer,
    QuantizedTensor,
)
from .ranges import Plan, Span
from .rounding import MOST_COLUMNS, Met, Operand, Rows, quantize_rows, requantization


@dataclass(frozen=True, slots=True, eq=False)
class MadeLayer:
    """A layer in integers."""

    layer: QuantizedLayer
    writes: tuple[tuple[str, float], ...]  # type and scale of each tensor that it may write
    rows: dict[str, Rows] = field(default_factory=dict)  # by name, for simulations
    spans: tuple[Span, ...] = ()  # ranges that could be narrower
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class MadeModel:
    """A model in integers, without notes of its own."""

    model: QuantizedModel
    rows: dict[str, Rows]
    spans: tuple[Span, ...]
    notes: tuple[str, ...]


class Maker:
    """Makes a model in integers by one plan or another; a layer that two plans leave alike is made once."""

    def __init__(self, model: Model, calibration: Calibration, whole: frozenset[str]) -> None:
        self.model, self.calibration, self.whole = model, calibration, whole
        self._made: dict[Any, MadeLayer] = {}
        self._known: dict[tuple[str, Any], Any] = {}

    def make(self, plan: Plan) -> MadeModel:
        """QuantizeError where integers cannot express a layer."""
        model, made = self.model, []
        tensors: dict[str, QuantizedTensor] = {}
        for name in model.inputs:
            reach = self.calibration.reach(name) or 1.0
            scale = 1.0 if name in self.whole else HEADROOM * max(reach, SMALLEST) / 32767
            tensors[name] = _tensor(model, name, "s16", scale)
        for layer in model.layers:
            reads = [tensors[name] for name in layer.reads]
            own = [(key[1], factor) for key, factor in plan.narrowed.items() if key[0] == layer.name]
            key = layer.name, plan.kind, plan.compensate, tuple(sorted(own)), tuple(reads)
            if key not in self._made:
                self._made[key] = self._layer(layer, reads, plan)
            made.append(self._made[key])
            for name, (kind, scale) in zip(layer.writes, made[-1].writes, strict=False):
                tensors[name] = _tensor(model, name, kind, scale)
        return MadeModel(
            QuantizedModel(
                tuple(tensors[t.name] for t in model.tensors),
                tuple(one.layer for one in made),
                model.inputs,
                model.outputs,
                model.source,
                model.meta,
                model.notes,
            ),
            {name: rows for one in made for name, rows in one.rows.items()},
            tuple(span for one in made for span in one.spans),
            tuple(note for one in made for note in one.notes),
        )

    def _layer(self, layer: Any, reads: list[QuantizedTensor], plan: Plan) -> MadeLayer:
        match layer:
            case Lstm() | Gru() | Rnn():
                cell = quantize_cell(layer, reads, self.calibration, plan, self._known)
                made = MadeLayer(cell.layer, cell.writes, cell.rows, cell.spans)
            case Dense():
                made = _dense(layer, reads[0], self.calibration, plan)
            case Activate():
                made = _activate(layer, reads[0], self.whole, self.calibration, plan)
            case _:
                step = step_s8(layer, reads, self.whole, self.calibration, plan)
                rows = {} if step.rows is None else {layer.name: step.rows}
                writes = tuple(zip(step.types, step.scales, strict=True))
                made = MadeLayer(step.layer, writes, rows, step.spans)
        notes = list(made.notes)
        cut = sum(own.clipped for own in made.rows.values())
        if cut:
            notes.append(f"{layer.name}: {cut} rows have weights too large for int8; cut off")
        columns = layer.kernel[0].size if isinstance(layer, Conv1d) else getattr(layer, "inputs", 0)
        if plan.compensate and columns > MOST_COLUMNS:
            notes.append(f"{layer.name}: more than {MOST_COLUMNS} inputs; its weights were rounded to the nearest")
        return MadeLayer(made.layer, made.writes, made.rows, made.spans, tuple(notes))


def _tensor(model: Model, name: str, kind: str, scale: float) -> QuantizedTensor:
    # The doors work in float32, so the scale is one.
    single = next(t.single for t in model.tensors if t.name == name)
    return QuantizedTensor(name, model.width(name), kind, float(np.float32(scale)), single)


def _operand(weights: Array, tensor: QuantizedTensor, met: Met | None) -> Operand:
    return Operand(weights.astype(np.float64), tensor.scale, 32768 if tensor.type == "s16" else 128, met)


def _dense(layer: Dense, x: QuantizedTensor, calibration: Calibration, plan: Plan) -> MadeLayer:
    seen = calibration.rows(layer.reads[0])
    z = seen @ layer.kernel.T.astype(np.float64) + layer.bias
    limited = has_limits(layer.activation)
    function = curve(layer.activation, z if limited else plan.factor(layer.name, "output") * z)
    full, offset = np.full(layer.units, function.full), np.full(layer.units, function.offset)
    operand = _operand(layer.kernel, x, Met(seen) if plan.compensate else None)
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
    spans = () if limited else roomy(layer, function.out / 32768, calibration)
    return MadeLayer(quantized, (("s16", function.out / 32768),), {layer.name: rows}, spans)


def _activate(
    layer: Activate, x: QuantizedTensor, whole: frozenset[str], calibration: Calibration, plan: Plan
) -> MadeLayer:
    if x.name in whole and layer.activation.name == "linear":
        return _finer(layer, calibration)
    limited, values = has_limits(layer.activation), calibration.rows(layer.reads[0])
    function = curve(layer.activation, values if limited else plan.factor(layer.name, "output") * values)
    shift, multiplier = requantization(np.array([x.scale / 256]), np.array([function.full]))
    made = QuantizedActivate(
        layer.name, layer.reads, layer.writes, int(shift[0]), int(multiplier[0]), function.activation
    )
    spans = () if limited else roomy(layer, function.out / 32768, calibration)
    notes = []
    if x.scale * 128 > 32 * function.full:
        notes.append(f"{layer.name}: reads values in steps too coarse for {layer.activation.name}")
    return MadeLayer(made, (("s16", function.out / 32768),), {}, spans, tuple(notes))


def _finer(layer: Activate, calibration: Calibration) -> MadeLayer:
    """Whole numbers in steps of 2^-k, exactly: a shift alone."""
    most = max(float(np.abs(x).max(initial=0)) for x in calibration.each(layer.reads[0]))
    k = int(np.clip(np.floor(np.log2(32767 / (HEADROOM * max(most, 1.0)))), 0, 12))  # s is at least -4
    made = QuantizedActivate(layer.name, layer.reads, layer.writes, 8 - k, 0, QuantizedActivation("linear"))
    return MadeLayer(made, (("s16", 2.0**-k),))
