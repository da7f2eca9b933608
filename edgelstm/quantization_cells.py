"""Recurrent cells to integers: scales of z, of the state and of h chosen from what the float model does on samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .activations import activate
from .calibration import Calibration, before
from .curves import (
    HEADROOM,
    SMALLEST,
    TABLE_HEADROOM,
    Curve,
    bounded,
    curve,
    doubled,
    gate_curve,
    negative,
    span,
    tabled,
)
from .errors import QuantizeError
from .layers import Activation, Cell, Gru, Lstm, Rnn
from .meta import Array, frozen
from .quantized import (
    QuantizedCell,
    QuantizedGru,
    QuantizedLstm,
    QuantizedReset,
    QuantizedRnn,
    QuantizedRows,
    QuantizedTensor,
    Rescale,
)
from .ranges import WORTH, WORTH_FLAT, Plan, Span, rounding_noise
from .rounding import Met, Operand, Peephole, Rows, quantize_rows, requantization

HIDDEN_TYPES = {8: "s8", 16: "s16"}  # by the bits of h
HIDDEN_HEADROOM = 1.25  # of an unbounded h; a bounded one does better with finer steps than with room
FINEST = 12 * 127  # hm of a bounded h: finer steps would drown in what 16-bit gates and cells leave
FINEST_16 = 256 * 127  # hm of an int16 h, at most: 256 times an int8 one's


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A cell in integers; its rows by name, for simulations; type and scale of each tensor that it may write; and the
    ranges that could be narrower."""

    layer: QuantizedCell
    rows: dict[str, Rows]
    writes: tuple[tuple[str, float], ...]
    spans: tuple[Span, ...] = ()


def quantize_cell(
    layer: Cell,
    reads: Sequence[QuantizedTensor],
    calibration: Calibration,
    plan: Plan,
    known: dict[tuple[str, Any], Any],
) -> Made:
    """QuantizeError where integers cannot express the layer. `known`: what no plan changes, kept from call to call."""
    seen = Seen(layer, calibration, plan, known)
    try:
        match layer:
            case Lstm():
                return _lstm(layer, reads, plan.kind, seen)
            case Gru():
                return _gru(layer, reads, plan.kind, seen)
            case Rnn():
                return _rnn(layer, reads, plan.kind, seen)
    except QuantizeError as error:
        raise error if str(error).startswith(layer.name) else QuantizeError(f"{layer.name}: {error}") from None


class Seen:
    """What a cell met on the samples, in the steps that count."""

    def __init__(self, layer: Cell, calibration: Calibration, plan: Plan, known: dict[tuple[str, Any], Any]) -> None:
        self.layer, self.calibration, self.compensate, self.plan = layer, calibration, plan.compensate, plan
        self._known = known
        masks = list(calibration.each(layer.reads[1])) if layer.masked else []
        self.counts = [mask[:, :, 0] != 0 for mask in masks]

    def steps(self, arrays: Iterator[Array] | list[Array]) -> Array:
        """Arrays [N, T, ...] of all batches as one [steps, ...]."""
        flat = [a.reshape(-1, *a.shape[2:]) for a in arrays]
        if self.counts:
            flat = [a[c.ravel()] if c.any() else a for a, c in zip(flat, self.counts, strict=True)]
        return np.concatenate(flat)

    def named(self, name: str) -> Array:
        """A trace of all steps that count, [steps, ...]."""
        return self.steps(self.calibration.each(name))

    def initial(self, k: int) -> list[Array]:
        """The k-th state to start from, [N, width] a batch; none where it is zero."""
        if not self.layer.initial:
            return []
        return [x[:, 0] for x in self.calibration.each(self.layer.reads[1 + self.layer.masked + k])]

    @property
    def started(self) -> float:
        """The largest magnitude of an h to start from; 0 where it is zero."""
        return max((float(np.abs(h).max()) for h in self.initial(0)), default=0.0)

    def before(self, name: str, k: int) -> list[Array]:
        """A state of the step before, [N, T, width] a batch; k: which of the states."""
        shifted = [before(values) for values in self.calibration.each(name)]
        period = self.layer.period
        for values in shifted if period else ():
            values[:, ::period] = 0
        for values, first in zip(shifted, self.initial(k), strict=False):
            values[:, :: period or values.shape[1]] = first[:, None]
        return shifted

    def largest(self, name: str, k: int) -> float:
        """The largest magnitude of a state, the one to start from included."""
        found = [float(np.abs(values).max()) for values in self.calibration.each(name)]
        found += [float(np.abs(values).max()) for values in self.initial(k)]
        return max(max(found), SMALLEST) if max(found) else 0.0

    def once(self, what: Any, make: Callable[[], Any]) -> Any:
        """What no plan changes, or what depends on nothing but `what`."""
        key = self.layer.name, what
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def factor(self, what: str) -> float:
        """What of a range that covers the samples is kept."""
        return self.plan.factor(self.layer.name, what)

    def span(self, what: str, full: float, values: Iterator[Array], worth: float, **options: Any) -> Span:
        """A range that could be narrower, of which 32768 integers reach `full`."""
        found = list(values)
        largest = max(float(np.abs(v).max(initial=0)) for v in found)
        return Span(self.layer.name, what, full, largest, rounding_noise(full, found), worth, **options)

    @property
    def z(self) -> Array:
        """Of all steps that count, [steps, gates, units], clipped."""
        return self.clipped(self.named(f"{self.layer.name}.z"))

    def clipped(self, z: Array) -> Array:
        return z if self.layer.clip is None else np.clip(z, -self.layer.clip, self.layer.clip)

    @property
    def x(self) -> Met:
        """The inputs met."""
        met: Met = self.once("x", lambda: Met(self.named(self.layer.reads[0])))
        return met

    @property
    def h_before(self) -> Array:
        """h of the step before, [steps, outputs]."""
        return self.steps(self.before(self.layer.writes[0], 0))

    @property
    def h(self) -> Met:
        """h as recurrent weights met it."""
        met: Met = self.once("h", lambda: Met(self.h_before))
        return met

    def operand(self, weights: Array, tensor: QuantizedTensor, compensated: bool) -> Operand:
        """Weights of x; `compensated`: rounded with its values in mind."""
        return self.hidden(weights, tensor.scale, 32768 if tensor.type == "s16" else 128, self.x, compensated)

    def hidden(self, weights: Array, step: float, most: int, met: Met, compensated: bool) -> Operand:
        """Weights of h, whose unit is `step`, and which stays within `most` of them."""
        return Operand(weights.astype(np.float64), step, most, met if compensated else None)


# ---- LSTM ----


def _lstm(layer: Lstm, reads: Sequence[QuantizedTensor], kind: str, seen: Seen) -> Made:
    units, x = layer.units, reads[0]
    used = (0, 3) if layer.coupled else (0, 1, 3)
    gate, exponent = seen.once("gate", lambda: gate_curve(layer.gate_activation, seen.z[:, used].ravel()))
    if layer.coupled and negative(layer.gate_activation):
        raise QuantizeError(
            f"its gates are coupled and {layer.gate_activation.name} can be negative, so that 1 - i exceeds 1; "
            "it cannot be int8"
        )
    candidate = seen.once("candidate", lambda: curve(layer.activation, seen.z[:, 2].ravel()))
    cell, kappa, narrowest = _cell(layer, exponent, candidate, seen)
    if kind == "s16" and layer.projection is None:
        cell = _reaching(cell, layer.cell_activation or layer.activation, seen.started / 2.0**exponent)
    inner = 2.0**exponent * cell.out  # real value of p's 32768
    largest = seen.largest(layer.writes[0], 0)
    fixed = bounded(layer.cell_activation or layer.activation) and exponent == 0 and layer.projection is None
    reach = inner if layer.projection is None else HEADROOM * (largest or 1.0)
    weights = [w.reshape(4 * units, -1) for w in (layer.kernel, layer.recurrent)]
    peepholes = _peepholes(layer, cell)

    def rows_for(multiplier: int, compensated: bool) -> Rows:
        step, most = float(np.float32(reach / multiplier)), 128 if kind == "s8" else multiplier
        made: Rows = seen.once(
            (x, step, most, compensated, peepholes and peepholes.scale),
            lambda: quantize_rows(
                layer.name,
                seen.operand(weights[0], x, compensated),
                seen.hidden(weights[1], step, most, seen.h, compensated),
                layer.bias.reshape(4 * units).astype(np.float64),
                np.repeat([gate.full, gate.full, candidate.full, gate.full], units),
                np.repeat([gate.offset, gate.offset, candidate.offset, gate.offset], units),
                peepholes,
            ),
        )
        return made

    if kind == "s16":
        multiplier = _quietest(layer, rows_for, reach, seen)
    else:
        multiplier = _multiplier(fixed, reach, seen.factor("h") * largest, seen.started, 32767)
    rows = {layer.name: rows_for(multiplier, seen.compensate)}
    scale = float(np.float32(reach / multiplier))
    projection = None
    if layer.projection is not None:
        projection, rows[f"{layer.name}.projection"] = _projection(layer, inner / 32768, reach, seen)
    own = rows[layer.name]
    quantized = QuantizedLstm(
        layer.name,
        layer.reads,
        layer.writes,
        **_fields(layer.name, own, layer.kernel.shape, layer.recurrent.shape),
        gate=gate.activation,
        candidate=candidate.activation,
        cell=cell.activation,
        gate_exponent=exponent,
        cell_multiplier=kappa,
        cell_limit=_limit(layer.cell_clip, cell),
        hidden_multiplier=multiplier,
        cell_scale=cell.full / 32768,
        gate_limit=_limit(layer.clip, gate),
        candidate_limit=_limit(layer.clip, candidate),
        projection=projection,
        peephole=_three(own.peephole, np.int16, layer),
        peephole_shift=_three(own.peephole_shift, np.int8, layer),
        coupled=layer.coupled,
        masked=layer.masked,
        initial=_initial(layer, reads, (scale, cell.full / 32768)),
        period=layer.period,
    )
    cs, flat = seen.calibration.each(f"{layer.name}.c"), bounded(layer.cell_activation or layer.activation)
    worth = WORTH_FLAT if flat else WORTH
    span = seen.span("c", cell.full, cs, worth, grows=True, most=cell.full / narrowest)
    # Under such a function how large c becomes says little of how fine it must be.
    spans = [replace(span, noise=np.inf if flat else span.noise)]
    spans += _hidden_spans(kind, fixed, scale, seen)
    return Made(quantized, rows, ((kind, scale), ("s16", cell.full / 32768)), tuple(spans))


def _hidden_spans(kind: str, fixed: bool, scale: float, seen: Seen) -> list[Span]:
    """An int8 h without bounds could reach less far."""
    if kind != "s8" or fixed:
        return []
    span = seen.span("h", 32768 * scale, seen.calibration.each(seen.layer.writes[0]), WORTH, grows=True, coarse=False)
    return [replace(span, full=127 * scale)]


def _peepholes(layer: Lstm, cell: Curve) -> Peephole | None:
    """Those of all rows; g has none."""
    if layer.peephole is None:
        return None
    rows = np.zeros((4, layer.units))
    rows[[0, 1, 3]] = layer.peephole
    return Peephole(rows.ravel(), cell.full / 32768)


def _three(rows: Array | None, dtype: Any, layer: Lstm) -> Array | None:
    """Rows of i, f and o."""
    if rows is None:
        return None
    return frozen(rows.reshape(4, layer.units)[[0, 1, 3]], dtype, (3, layer.units), layer.name)


def _projection(layer: Lstm, unit: float, reach: float, seen: Seen) -> tuple[QuantizedRows, Rows]:
    """`unit`: the real value of one unit of p; `reach`: that of the 32768 of what it becomes."""
    assert layer.projection is not None
    weights = layer.projection.astype(np.float64)
    met = seen.once("p", lambda: Met(seen.steps(list(_outputs(layer, seen))))) if seen.compensate else None
    x = Operand(weights, unit, 32768, met)
    count = layer.outputs
    bias = np.zeros(count) if layer.projection_bias is None else layer.projection_bias.astype(np.float64)
    rows = quantize_rows(layer.name, x, None, bias, np.full(count, reach), np.zeros(count))
    fields = _fields(layer.name, rows, weights.shape, None)
    return QuantizedRows(**fields), rows


def _outputs(layer: Lstm, seen: Seen) -> Iterator[Array]:
    """o p(c) of every step, [N, T, units] a batch: h, before a projection."""
    calibration = seen.calibration
    for z, c in zip(calibration.each(f"{layer.name}.z"), calibration.each(f"{layer.name}.c"), strict=True):
        o = activate(layer.gate_activation, seen.clipped(z[:, :, 3]))
        yield o * activate(layer.cell_activation or layer.activation, c)


def _cell(layer: Lstm, exponent: int, candidate: Curve, seen: Seen) -> tuple[Curve, int, float]:
    """The cell's function with its range of c, kappa, and the narrowest that the range could be.

    c must have room for i * g, so that kappa fits. Under a function that flattens out c covers the samples; others
    have room for 4 times them.
    """
    activation, factor = layer.cell_activation or layer.activation, seen.factor("c")
    cs = np.concatenate([seen.named(f"{layer.name}.c").ravel(), *(c.ravel() for c in seen.initial(1))])
    added = 2.0**exponent * candidate.out  # real value of the 32768 of i * g
    if bounded(activation):
        base = seen.once("cell", lambda: curve(activation, cs))
    else:
        base = curve(activation, factor * cs)
    if base.activation.kind in ("linear", "relu"):
        # Any range will do, so take one that kappa expresses exactly.
        kappa = int(np.clip(np.floor(32768 * added / max(span(factor * cs, HEADROOM), added)), 1, 32767))
        full = 32768 * added / kappa
        return Curve(base.activation, full, full, False), kappa, added
    least = _doublings(added / base.full)
    wide = doubled(base, max(least, _doublings(span(factor * cs, 1.25) / base.full)))
    return wide, _kappa(added, wide.full), base.full * 2.0**least


def _doublings(ratio: float) -> int:
    return int(np.clip(np.ceil(np.log2(ratio)), 0, 10))


def _kappa(added: float, full: float) -> int:
    return int(np.clip(np.rint(32768 * added / full), 1, 32767))


# ---- GRU ----


def _gru(layer: Gru, reads: Sequence[QuantizedTensor], kind: str, seen: Seen) -> Made:
    units, x, name = layer.units, reads[0], layer.name
    gate, exponent = seen.once("gate", lambda: gate_curve(layer.gate_activation, seen.z[:, :2].ravel()))
    kernel, recurrent, bias = (w.astype(np.float64) for w in (layer.kernel, layer.recurrent, layer.bias))
    candidate = seen.once(("candidate", seen.factor("state")), lambda: _candidate(layer, seen))
    largest = seen.largest(layer.writes[0], 0)
    # h lies between what n can be, unless gates leave 0 ... 1 or it starts elsewhere.
    held = candidate.out
    if not bounded(layer.gate_activation) or negative(layer.gate_activation):
        held = max(held, HEADROOM * seen.factor("state") * largest)
    held = max([held, *(HIDDEN_HEADROOM * float(np.abs(h).max()) for h in seen.initial(0))])
    kappa = int(np.clip(np.floor(32768 * candidate.out / held), 1, 32768))
    reach = 32768 * candidate.out / kappa  # real value of the state's 32768

    def operand(k: slice, compensated: bool) -> Operand:
        return seen.operand(kernel[k].reshape(-1, layer.inputs), x, compensated)

    def all_rows(multiplier: int, compensated: bool) -> tuple[Rows, Rows, Rows | None]:
        step, most = float(np.float32(reach / multiplier)), 128 if kind == "s8" else multiplier
        both = recurrent[:2].reshape(-1, units)
        gates = quantize_rows(
            name,
            operand(slice(0, 2), compensated),
            seen.hidden(both, step, most, seen.h, compensated),
            bias[:2].ravel(),
            np.full(2 * units, gate.full),
            np.full(2 * units, gate.offset),
        )
        full, offset = np.full(units, candidate.full), np.full(units, candidate.offset)
        if not layer.reset_after:
            reset = seen.once("reset", lambda: Met(activate(layer.gate_activation, seen.z[:, 1]) * seen.h_before))
            h = seen.hidden(recurrent[2], step, most, reset, compensated)
            return gates, quantize_rows(name, operand(slice(2, 3), compensated), h, bias[2], full, offset), None
        entering = quantize_rows(name, operand(slice(2, 3), compensated), None, bias[2], full, offset)
        assert layer.reset_bias is not None
        h = seen.hidden(recurrent[2], step, most, seen.h, compensated)
        nothing = Operand(np.zeros((units, 0)), 1.0, 128, None)
        after = quantize_rows(name, nothing, h, layer.reset_bias.astype(np.float64), full, np.zeros(units))
        return gates, entering, after

    def noise(multiplier: int) -> float:
        try:
            made = all_rows(multiplier, False)
        except QuantizeError:
            return np.inf
        return sum(_noise(rows, seen) for rows in made if rows) + float(
            np.square(recurrent * (reach / multiplier)).sum()
        )

    fixed = bounded(layer.activation) and exponent == 0
    if kind == "s16":
        multiplier = min((32768 >> k for k in range(9)), key=noise)
    else:
        multiplier = _multiplier(fixed, reach, seen.factor("h") * largest, seen.started, 32768)
    gates, entering, after = all_rows(multiplier, seen.compensate)
    rows = {name: gates, f"{name}.n": entering} | ({f"{name}.reset": after} if after else {})
    last = after or entering
    fields = {
        "kernel": np.concatenate([gates.kernel, entering.kernel]),
        "recurrent": np.concatenate([gates.recurrent, last.recurrent]),
        "bias": np.concatenate([gates.bias, entering.bias]),
        "input_shift": np.concatenate([gates.input_shift, entering.input_shift]),
        "shift": np.concatenate([gates.shift, entering.shift]),
        "multiplier": np.concatenate([gates.multiplier, entering.multiplier]),
    }
    scale = float(np.float32(reach / multiplier))
    quantized = QuantizedGru(
        name,
        layer.reads,
        layer.writes,
        **{key: frozen(a.reshape(3, units, *a.shape[1:]), a.dtype, (3, units, *a.shape[1:]), name)
           for key, a in fields.items()},
        reset=None if after is None else QuantizedReset(
            bias=frozen(after.bias, np.int32, (units,), name),
            shift=frozen(after.shift, np.int8, (units,), name),
            multiplier=frozen(after.multiplier, np.int16, (units,), name),
        ),
        gate=gate.activation,
        candidate=candidate.activation,
        gate_exponent=exponent,
        state_multiplier=kappa,
        hidden_multiplier=multiplier,
        state_scale=reach / 32768,
        gate_limit=_limit(layer.clip, gate),
        candidate_limit=_limit(layer.clip, candidate),
        masked=layer.masked,
        initial=_initial(layer, reads, (reach / 32768,)),
        period=layer.period,
    )  # fmt: skip
    hs = seen.calibration.each(layer.writes[0])
    spans = [] if fixed else [seen.span("state", reach, hs, WORTH, grows=True)]
    return Made(quantized, rows, ((kind, scale),), (*spans, *_hidden_spans(kind, fixed, scale, seen)))


def _candidate(layer: Gru, seen: Seen) -> Curve:
    """The candidate's function. With reset_after its two terms are int16 before they meet, so its range covers both."""
    factor = seen.factor("state")
    z = seen.z[:, 2] if bounded(layer.activation) else factor * seen.z[:, 2]
    if not layer.reset_after:
        return curve(layer.activation, z)
    assert layer.reset_bias is not None
    entering = seen.named(layer.reads[0]) @ layer.kernel[2].T.astype(np.float64) + layer.bias[2]
    after = seen.h_before @ layer.recurrent[2].T.astype(np.float64) + layer.reset_bias
    terms = np.concatenate([entering.ravel(), after.ravel()])
    if layer.activation.name in ("linear", "relu"):
        base = curve(layer.activation, z)
        full = max(base.full, span(factor * terms, HEADROOM))
        return Curve(base.activation, full, full, False)
    base = curve(layer.activation, z)
    return doubled(base, _doublings(max(span(terms, TABLE_HEADROOM) / base.full, 1e-9)))


# ---- simple RNN ----


def _rnn(layer: Rnn, reads: Sequence[QuantizedTensor], kind: str, seen: Seen) -> Made:
    units, x = layer.units, reads[0]
    largest, fixed = seen.largest(layer.writes[0], 0), bounded(layer.activation)
    function = curve(layer.activation, seen.z[:, 0] if fixed else seen.factor("state") * seen.z[:, 0])
    if kind == "s16":
        function = _reaching(function, layer.activation, seen.started)

    def rows_for(multiplier: int, compensated: bool) -> Rows:
        step, most = float(np.float32(function.out / multiplier)), 128 if kind == "s8" else multiplier
        return quantize_rows(
            layer.name,
            seen.operand(layer.kernel, x, compensated),
            seen.hidden(layer.recurrent, step, most, seen.h, compensated),
            layer.bias.astype(np.float64),
            np.full(units, function.full),
            np.full(units, function.offset),
        )

    if kind == "s16":
        multiplier = _quietest(layer, rows_for, function.out, seen)
    else:
        multiplier = _multiplier(fixed, function.out, seen.factor("h") * largest, seen.started, 32767)
    rows = rows_for(multiplier, seen.compensate)
    scale = float(np.float32(function.out / multiplier))
    quantized = QuantizedRnn(
        layer.name,
        layer.reads,
        layer.writes,
        **_fields(layer.name, rows, layer.kernel.shape, layer.recurrent.shape),
        activation=function.activation,
        hidden_multiplier=multiplier,
        limit=_limit(layer.clip, function),
        masked=layer.masked,
        initial=_initial(layer, reads, (scale,)),
        period=layer.period,
    )
    hs = seen.calibration.each(layer.writes[0])
    spans = [] if fixed else [seen.span("state", function.out, hs, WORTH)]
    return Made(quantized, {layer.name: rows}, ((kind, scale),), (*spans, *_hidden_spans(kind, fixed, scale, seen)))


# ---- of all ----


def _fields(name: str, rows: Rows, kernel: Any, recurrent: Any) -> dict[str, Array]:
    """Rows as the fields of a layer, in the shapes of its weights."""
    shape = kernel[:-1]
    fields = {
        "kernel": frozen(rows.kernel.reshape(kernel), np.int8, kernel, name),
        "bias": frozen(rows.bias.reshape(shape), np.int32, shape, name),
        "input_shift": frozen(rows.input_shift.reshape(shape), np.int8, shape, name),
        "shift": frozen(rows.shift.reshape(shape), np.int8, shape, name),
        "multiplier": frozen(rows.multiplier.reshape(shape), np.int16, shape, name),
    }
    if recurrent is not None:
        fields["recurrent"] = frozen(rows.recurrent.reshape(recurrent), np.int8, recurrent, name)
    return fields


def _multiplier(fixed: bool, reach: float, largest: float, started: float, most: int) -> int:
    """hm of an int8 h, which expresses its scale exactly; `reach`: real value of the 32768 it is made of; `started`:
    the largest h to start from, which bounds of the functions do not hold for."""
    wanted = max(min(largest, reach), started) if fixed else HIDDEN_HEADROOM * largest
    most = FINEST if fixed else most
    return int(np.clip(127 * reach / wanted, 1, most)) if wanted else most


def _reaching(function: Curve, activation: Activation, started: float) -> Curve:
    """The function that an int16 h is made of, as it is or where h starts beyond it as a table with room for that:
    |h| <= hm, so no hm alone could give it."""
    if started <= function.out:
        return function
    doublings = function.activation.doublings
    return doubled(tabled(activation, function.full / 2.0**doublings, HIDDEN_HEADROOM * started), doublings)


def _quietest(layer: Any, rows_for: Callable[[int, bool], Rows], reach: float, seen: Seen) -> int:
    """hm of an int16 h with the least noise in z, from the steps of h and of the weights. Finer steps of h take bits
    from the weights of rows whose sums would overflow."""

    def noise(multiplier: int) -> float:
        try:
            rows = rows_for(multiplier, False)
        except QuantizeError:
            return np.inf
        return _noise(rows, seen) + float(np.square(layer.recurrent * (reach / multiplier)).sum())

    return min((FINEST_16 >> k for k in range(9)), key=noise)


def _noise(rows: Rows, seen: Seen) -> float:
    """Of all z, from the steps of the weights."""
    noise = 0.0
    if rows.kernel.shape[1]:
        noise += np.square(rows.kernel_scale).sum() * seen.x.energy
    if rows.recurrent.shape[1]:
        noise += np.square(rows.recurrent_scale).sum() * seen.h.energy
    return float(noise)


def _limit(clip: float | None, function: Curve) -> int:
    """A clip in units of what a function reads; 32767, no clip, where that saturates below it."""
    if clip is None or clip >= function.full:
        return 32767
    return int(np.clip(np.rint(clip / function.full * 32768), 1, 32767))


def _initial(layer: Cell, reads: Sequence[QuantizedTensor], scales: tuple[float, ...]) -> tuple[Rescale, ...]:
    """What brings the states that are read to the scales of the layer's own."""
    if not layer.initial:
        return ()
    made = []
    for tensor, scale in zip(reads[1 + layer.masked :], scales, strict=True):
        shift, multiplier = requantization(np.array([tensor.scale / 256]), np.array([32768 * scale]))
        made.append(Rescale(int(shift[0]), int(multiplier[0])))
    return tuple(made)
