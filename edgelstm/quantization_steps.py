"""The layers around the cells in int8: their scales from what the float model does on the samples."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from . import reference_steps
from .calibration import MOST_VALUES, Calibration
from .curves import HEADROOM, SMALLEST, curve, has_limits
from .errors import QuantizeError
from .layers import (
    LINEAR,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Embedding,
    LayerNorm,
    Lstm,
    Mask,
    Pool1d,
    Reduce,
    SoftmaxSteps,
)
from .meta import frozen
from .model import Array, Model
from .quantized import (
    MOVERS,
    QuantizedCombine,
    QuantizedConstant,
    QuantizedConv1d,
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedMask,
    QuantizedPool1d,
    QuantizedReduce,
    QuantizedTensor,
)
from .ranges import WORTH, Plan, Span, rounding_noise
from .reference_s8 import to_int16
from .reference_s8_steps import gathered
from .rounding import Met, Operand, Rows, quantize_rows, requantization

MOST_IDS = 32768  # int16 holds as many from 0 on
_MOST_RAISED = 15
_ONLY_FLOAT = {
    LayerNorm: "it divides each step by a size of its own, for which int16 has no common scale",
    SoftmaxSteps: "its weights are as small as the sequence is long, for which int16 has no common scale",
    Attention: "it multiplies computed tensors, for whose scores int16 has no common scale",
}


@dataclass(frozen=True, slots=True)
class Made:
    """A layer in integers and what it writes."""

    layer: QuantizedLayer
    types: tuple[str, ...]  # of the tensors written
    scales: tuple[float, ...]
    rows: Rows | None = None
    spans: tuple[Span, ...] = ()  # ranges that could be narrower


def roomy(layer: Any, scale: float, calibration: Calibration, finest: float = 0.0) -> tuple[Span, ...]:
    """The range of what a layer writes in 16 bits of this scale, as one that could be narrower, down to the scale
    `finest`."""
    values, full = list(calibration.each(layer.writes[0])), 32768 * scale
    span = Span(layer.name, "output", full, reach(values), rounding_noise(full, values), WORTH)
    return (replace(span, most=scale / finest) if finest else span,)


def refuse(model: Model) -> None:
    """QuantizeError where a layer has no integer form."""
    for layer in model.layers:
        for kind, why in _ONLY_FLOAT.items():
            if isinstance(layer, kind):
                raise QuantizeError(
                    f"{layer.name}: {kind.__name__} runs in f32 alone: {why}; convert this model without int8, or "
                    "train it without this layer"
                )
        if isinstance(layer, Lstm) and layer.norm is not None:
            raise QuantizeError(
                f"{layer.name}: layer normalisation inside the cell runs in f32 alone: {_ONLY_FLOAT[LayerNorm]}; "
                "convert this model without int8, or train it without"
            )
        if isinstance(layer, Lstm) and layer.projection_clip is not None:
            raise QuantizeError(
                f"{layer.name}: a clip of its projection runs in f32 alone; convert this model without int8, or train "
                "it without"
            )
        if getattr(layer, "activation", LINEAR).name == "log_softmax":
            raise QuantizeError(
                f"{layer.name}: log_softmax runs in f32 alone: its answers reach as far below 0 as a class is "
                "unlikely, for which int16 has no common scale; convert this model without int8, or end it with "
                "softmax, whose answers are the exponentials of these, the largest of them the same"
            )
        if isinstance(layer, Embedding) and layer.vocabulary > MOST_IDS:
            raise QuantizeError(
                f"{layer.name}: a vocabulary of {layer.vocabulary}; ids in int8 models are 16-bit integers, so at most "
                f"{MOST_IDS}; convert this model without int8"
            )


def step_s8(
    layer: Any, reads: list[QuantizedTensor], whole: frozenset[str], calibration: Calibration, plan: Plan
) -> Made:
    """A layer around the cells in integers. `whole`: the tensors that hold whole numbers."""
    x = reads[0]
    if isinstance(layer, MOVERS):
        return Made(layer, (x.type,), (x.scale,))
    match layer:
        case Embedding():
            return _embedding(layer, whole)
        case Constant():
            return _constant(layer)
        case Mask():
            most = 127 if x.type == "s8" else 32767
            value = int(np.clip(to_int16(np.array(layer.value), x.scale), -most, most))
            return Made(QuantizedMask(layer.name, layer.reads, layer.writes, value), (x.type, "s16"), (x.scale, 1.0))
        case Combine():
            return _combine(layer, reads, whole, calibration, plan.factor(layer.name, "output"))
        case Conv1d():
            return _conv1d(layer, x, calibration, plan)
        case Pool1d():
            room = (1 << 30) // (layer.size * (128 if x.type == "s8" else 32768))
            if layer.kind == "average" and not room:
                raise QuantizeError(
                    f"{layer.name}: an average over {layer.size} steps; int8 models sum at most 32768 of 16 bits; "
                    "convert this model without int8"
                )
            raised, kind, scale = _raised(layer, x, calibration)
            raised = min(raised, room.bit_length() - 1)
            return Made(_twin(QuantizedPool1d, layer, raised=raised), (kind,), (scale(raised),))
        case Reduce():
            raised, kind, scale = _raised(layer, x, calibration)
            return Made(_twin(QuantizedReduce, layer, raised=raised), (kind,), (scale(raised),))
    raise QuantizeError(f"{layer.name}: {type(layer).__name__} has no int8 form")


def _twin(kind: Any, layer: Any, **given: Any) -> Any:
    """An integer twin with the fields that both have."""
    shared = {f.name for f in fields(kind)} & {f.name for f in fields(layer)} - set(given)
    return kind(**{name: getattr(layer, name) for name in shared}, **given)


def reach(values: list[Array]) -> float:
    return max(float(np.abs(v).max(initial=0)) for v in values)


# ---- constants ----


def _constant(layer: Constant) -> Made:
    scale = float(np.float32(max(reach([layer.value.astype(np.float64)]), SMALLEST) / 32767))
    value = np.clip(np.rint(layer.value.astype(np.float64) / scale), -32767, 32767)
    value = frozen(value.astype(np.int16), np.int16, value.shape, layer.name)
    return Made(QuantizedConstant(layer.name, layer.reads, layer.writes, value), ("s16",), (scale,))


# ---- ids ----


def _embedding(layer: Embedding, whole: frozenset[str]) -> Made:
    if layer.reads[0] not in whole:
        raise QuantizeError(
            f"{layer.name}: its ids {layer.reads[0]} are computed by the model; int8 models take ids that enter as an "
            "input of whole numbers; convert this model without int8"
        )
    scale = float(np.float32(max(reach([layer.table]) / 32767, SMALLEST) if layer.table.any() else 1.0))
    table = np.clip(np.rint(layer.table.astype(np.float64) / scale), -32767, 32767)
    table = frozen(table.astype(np.int16), np.int16, layer.table.shape, layer.name)
    return Made(QuantizedEmbedding(layer.name, layer.reads, layer.writes, table), ("s16",), (scale,))


# ---- joins ----


def _fine(tensor: QuantizedTensor) -> float:
    """The scale with which 16 bits hold all that the tensor can."""
    return tensor.scale / 256 if tensor.type == "s8" else tensor.scale


def _combine(
    layer: Combine, reads: list[QuantizedTensor], whole: frozenset[str], calibration: Calibration, factor: float
) -> Made:
    """`factor`: what of a range that covers the samples is kept."""
    if layer.kind == "multiply":
        return _multiply(layer, reads, whole, calibration, factor)
    spans: tuple[Span, ...] = ()
    copied = len({(t.type, t.scale) for t in reads}) == 1 and layer.kind in ("concatenate", "maximum", "minimum")
    if copied:
        kind, scale = reads[0].type, reads[0].scale
    else:
        parts = len(reads) if layer.kind == "average" else 1
        kind, scale = "s16", max(_fine(t) for t in reads) / parts
        if layer.kind in ("add", "subtract", "average"):
            finest = scale
            scale = max(scale, factor * HEADROOM * reach(list(calibration.each(layer.writes[0]))) / 32767)
            spans = roomy(layer, scale, calibration, finest)
        scale = float(np.float32(scale))
    parts = len(reads) if layer.kind == "average" else 1
    units = np.array([t.scale / (256 * parts) for t in reads])
    shifts, multipliers = requantization(units, np.full(len(reads), scale * 32768))
    joined = "add" if layer.kind == "average" else layer.kind
    return Made(_joined(layer, joined, shifts, multipliers), (kind,), (scale,), spans=spans)


def _joined(layer: Combine, kind: str, shifts: Any, multipliers: Any) -> QuantizedCombine:
    return QuantizedCombine(
        layer.name, layer.reads, layer.writes, kind, tuple(map(int, shifts)), tuple(map(int, multipliers))
    )


def _multiply(
    layer: Combine, reads: list[QuantizedTensor], whole: frozenset[str], calibration: Calibration, factor: float
) -> Made:
    """Tensor by tensor; a mask leaves a product's integers as they are."""
    masks = [t.name in whole and reach(list(calibration.each(t.name))) <= 1 for t in reads]
    products = [[trace[layer.reads[0]] for trace in calibration.traces]]
    for name in layer.reads[1:]:
        products.append([p * trace[name] for p, trace in zip(products[-1], calibration.traces, strict=True)])
    scale, shifts, multipliers = reads[0].scale, [0], [0]
    masked = masks[0]  # the product so far is one of masks
    for k, t in enumerate(reads[1:], 1):
        unit = scale * t.scale
        kept = scale if masks[k] else t.scale if masked else 0.0
        wanted = (factor if k == len(reads) - 1 else 1.0) * HEADROOM * reach(products[k]) / 32767
        scale = kept or float(np.float32(max(unit, wanted)))
        masked &= masks[k]
        shift, multiplier = requantization(np.array([unit]), np.array([scale * 32768]))
        shifts.append(int(shift[0]))
        multipliers.append(int(multiplier[0]))
    left = [t for t, mask in zip(reads, masks, strict=True) if not mask]
    kind = left[0].type if len(left) == 1 else "s16"
    spans = roomy(layer, scale, calibration, unit) if len(left) > 1 and not masks[-1] else ()
    return Made(_joined(layer, "multiply", shifts, multipliers), (kind,), (scale,), spans=spans)


# ---- windows ----


def _conv1d(layer: Conv1d, x: QuantizedTensor, calibration: Calibration, plan: Plan) -> Made:
    linear = replace(layer, activation=LINEAR)
    inputs = list(calibration.each(layer.reads[0]))
    z = np.concatenate([reference_steps.conv1d(linear, v).reshape(-1, layer.units) for v in inputs])
    limited = has_limits(layer.activation)
    function = curve(layer.activation, z if limited else plan.factor(layer.name, "output") * z)
    units, taps, columns = layer.kernel.shape
    largest = 32768 if x.type == "s16" else 128
    if taps * columns == 1:  # each row has one weight, which int8 expresses exactly
        parts, seen = [slice(0, units)], None
    else:
        each = units // layer.groups
        parts = [slice(at, at + each) for at in range(0, units, each)]
        seen = _windows(layer, inputs) if plan.compensate else None
    made = []
    for group, part in enumerate(parts):
        kernel = layer.kernel[part].reshape(-1, taps * columns).astype(np.float64)
        operand = Operand(kernel, x.scale, largest, None if seen is None else Met(seen[group]))
        count = len(kernel)
        full, offset = np.full(count, function.full), np.full(count, function.offset)
        made.append(quantize_rows(layer.name, operand, None, layer.bias[part].astype(np.float64), full, offset))
    rows = _stacked(made)
    quantized = _twin(
        QuantizedConv1d,
        layer,
        kernel=frozen(rows.kernel.reshape(layer.kernel.shape), np.int8, layer.kernel.shape, layer.name),
        bias=frozen(rows.bias, np.int32, (units,), layer.name),
        input_shift=frozen(rows.input_shift, np.int8, (units,), layer.name),
        shift=frozen(rows.shift, np.int8, (units,), layer.name),
        multiplier=frozen(rows.multiplier, np.int16, (units,), layer.name),
        activation=function.activation,
    )
    spans = () if limited else roomy(layer, function.out / 32768, calibration)
    return Made(quantized, ("s16",), (function.out / 32768,), rows, spans)


def _windows(layer: Conv1d, inputs: list[Array]) -> Array:
    """What the windows of each group see on the samples, [groups, windows, taps * columns], at even distances where
    they are too many."""
    width = layer.taps * layer.inputs
    most = max(64, MOST_VALUES // width // len(inputs))
    found = []
    for x in inputs:
        x = x.reshape(-1, layer.period, x.shape[2]) if layer.period else x
        seen = gathered(layer, x[: max(1, most)])
        flat = seen.reshape(-1, layer.groups, width // layer.groups)
        found.append(flat[:: -(-len(flat) // most)])
    made: Array = np.concatenate(found).transpose(1, 0, 2)
    return made


def _stacked(parts: list[Rows]) -> Rows:
    """Rows of several groups as one."""
    arrays = [f.name for f in fields(Rows) if isinstance(getattr(parts[0], f.name), np.ndarray)]
    stacked = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
    return Rows(**stacked, clipped=sum(part.clipped for part in parts))


# ---- means and sums ----


def _raised(layer: Pool1d | Reduce, x: QuantizedTensor, calibration: Calibration) -> tuple[int, str, Any]:
    """How often the real value of 1 is halved, so that 16 bits serve what the layer writes; its type; and its scale
    for so many halvings."""

    def scale(raised: int) -> float:
        return float(np.float32(x.scale * 2.0**-raised))

    if layer.kind == "max":
        return 0, x.type, scale
    reached = HEADROOM * max(reach(list(calibration.each(layer.writes[0]))), SMALLEST)
    raised = int(np.floor(np.log2(32767 * x.scale / reached)))
    if layer.kind == "sum":
        return int(np.clip(raised, -31, _MOST_RAISED)), "s16", scale
    safe = 8 if x.type == "s8" else 0  # no mean is larger than its largest value
    return int(np.clip(raised, safe, _MOST_RAISED)), "s16", scale
