"""Inside the models: how far each layer's tensors are from the float64 reference's, and which of them saturate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import reference as float64
from ..comparison import compare
from ..errors import InputError
from ..layers import Gru, Lstm, Mask, Rnn
from ..model import Array, Model
from ..peer_process import Answers
from ..report import Layer, Saturation
from . import probe
from .variants import Progress, Variant

MOST = 1 << 22  # numbers that a trace of the reference may hold; 32 MiB
MOVERS = ("last", "reverse", "crop", "pad", "repeat", "split", "group", "transpose", "mask", "concatenate")
"""What these write, others have written."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What was seen of one variant."""

    layers: tuple[Layer, ...]
    saturation: tuple[Saturation, ...]


def chosen(model: Model | None, subject: Variant, xs: Sequence[Array]) -> list[Array]:
    """As many of the sequences, at even distances, as can be looked into; of a single long one its first steps."""
    widths = sum(t.width for t in subject.runner.description.tensors)
    if model is not None:
        widths = sum(t.width for t in model.tensors)
        widths += sum(5 * layer.units for layer in model.layers if isinstance(layer, Lstm | Gru | Rnn))
    steps = max((x.shape[1] for x in xs if x.ndim == 3), default=1)
    count = max(1, MOST // (widths * steps))
    keep = np.linspace(0, len(xs[0]) - 1, min(count, len(xs[0]))).round().astype(int)
    runner = subject.runner
    most = max(64, MOST // widths)
    cut = slice(None, most) if runner.causal and not runner.uneven else slice(None)
    return [x[keep][:, cut] if x.ndim == 3 else x[keep] for x in xs]


def inspected(variant: Variant, model: Model | None, traced: dict[str, Array], xs: Sequence[Array]) -> Inside:
    """The tensors of a variant's image while it runs over the sequences, beside `traced`, the float64 reference's."""
    image, inside = variant.runner.image, variant.inside(xs)
    seen = probe.tensors(image)
    names = {} if model is None else _counterparts(seen, model)
    known: dict[int, float] = {}  # dB of the tensors that were compared
    layers, saturation = [], []
    floats: dict[int, Array] = {}  # inputs in floats
    for place, (tensor, values) in enumerate(_values(image, seen, inside, variant)):
        if tensor.layer < 0 and tensor.type == "f32":
            floats[place] = values
        given = floats.get(tensor.reads[0]) if tensor.kind == "quantize" else None
        counted: Saturation | None = None
        if given is not None:
            counted = _beyond(variant.name, tensor, given)
        elif tensor.kind not in MOVERS:
            counted = _saturation(variant.name, tensor, _kept(tensor, values, xs, model))
        saturation += [counted] if counted is not None else []
        name = names.get(place)
        expected = None if name is None else traced.get(name)
        if expected is None:
            continue
        expected = expected[:, None] if expected.ndim == 2 else expected
        if expected.shape != values.shape:
            continue
        difference = compare(expected, tensor.real(values))
        known[place] = difference.decibels
        if tensor.layer < 0 or tensor.kind in MOVERS:
            continue
        read = [known[k] for k in tensor.reads if np.isfinite(known.get(k, np.inf))]
        lost = min(read) - difference.decibels if read and np.isfinite(difference.decibels) else None
        layers.append(Layer(variant.name, tensor.name, tensor.tensor, difference, lost))
    return Inside(tuple(layers), tuple(saturation))


def _values(
    image: bytes, seen: tuple[probe.Seen, ...], inside: Sequence[Array], variant: Variant
) -> list[tuple[probe.Seen, Array]]:
    """Every tensor with its values, in order: the inputs first."""
    inputs = [(tensor, x[:, None] if x.ndim == 2 else x) for tensor, x in zip(seen, inside, strict=False)]
    return [*inputs, *probe.run(image, inside, variant.runner.kernels)]


def _kept(tensor: probe.Seen, values: Array, xs: Sequence[Array], model: Model | None) -> Array:
    """The values of a tensor that count: of an input those that no Mask hides, which need no room."""
    if tensor.layer >= 0 or model is None:
        return values
    hidden = [
        np.float32(layer.value) for layer in model.layers if isinstance(layer, Mask) and layer.reads[0] == tensor.name
    ]
    k = model.inputs.index(tensor.name) if tensor.name in model.inputs else -1
    if not hidden or k < 0:
        return values
    kept: Array = values[~np.isin(xs[k].reshape(values.shape), hidden)]
    return kept if kept.size else values[:1]


def _counterparts(seen: tuple[probe.Seen, ...], model: Model) -> dict[int, str]:
    """Of each place in `seen` the name under which the reference traces that tensor: by the layers' names, or where
    those are a file's own, by the order of the layers that have weights."""
    found = {place: name for place, (tensor, name) in enumerate(zip(seen, model.inputs, strict=False))}
    layers: dict[str, Any] = {layer.name: layer for layer in model.layers}
    if not any(tensor.name in layers for tensor in seen if tensor.kind in _WEIGHTY):
        layers = _in_order(seen, model)
    for place, tensor in enumerate(seen):
        layer = layers.get(tensor.name)
        if tensor.layer < 0 or layer is None:
            continue
        if tensor.tensor == "c":
            found[place] = f"{layer.name}.c"
        elif tensor.tensor == "mask":
            found[place] = layer.writes[1]
        else:
            found[place] = layer.writes[0]
    return found


_WEIGHTY = {"lstm": "Lstm", "gru": "Gru", "rnn": "Rnn", "dense": "Dense", "conv1d": "Conv1d", "embedding": "Embedding"}


def _in_order(seen: tuple[probe.Seen, ...], model: Model) -> dict[str, Any]:
    """The model's layers by the names of the image's: the n-th with weights is the n-th, if all kinds and widths fit.

    An activation that an image computes by itself is the reference's layer's own, so of a Dense with another layer
    behind it nothing is said.
    """
    kinds = set(_WEIGHTY.values())
    widths = {t.name: t.width for t in model.tensors}
    theirs = [layer for layer in model.layers if type(layer).__name__ in kinds]
    ours = [tensor for tensor in seen if tensor.kind in _WEIGHTY and tensor.tensor in ("h", "y")]
    pairs = [(_WEIGHTY[tensor.kind], tensor.width) for tensor in ours]
    if pairs != [(type(layer).__name__, widths[layer.writes[0]]) for layer in theirs]:
        return {}
    own = {t.layer for t in ours}
    kept: dict[str, Any] = {}
    for tensor, layer in zip(ours, theirs, strict=True):
        applied = getattr(layer, "activation", None)
        if tensor.kind == "dense" and applied is not None and applied.name not in ("linear", "relu", "relu6"):
            last = [t for t in seen if t.layer == tensor.layer + 1 and t.kind in ("map", "softmax")]
            if last and tensor.layer + 1 not in own:
                kept[last[0].name] = layer
            continue
        kept[tensor.name] = layer
    return kept


def _saturation(variant: str, tensor: probe.Seen, values: Array) -> Saturation | None:
    """None where nothing ends that does not end by itself."""
    layer, name = (tensor.name, tensor.tensor) if tensor.layer >= 0 else ("", tensor.name)
    if tensor.type == "f32":
        return Saturation(variant, layer, name, "f32", 0, int((~np.isfinite(values)).sum()), values.size)
    if tensor.least is None and tensor.most is None:
        return None
    low = 0 if tensor.least is None else int((values <= tensor.least).sum())
    high = 0 if tensor.most is None else int((values >= tensor.most).sum())
    return Saturation(variant, layer, name, tensor.type, low, high, values.size)


def _beyond(variant: str, tensor: probe.Seen, given: Array) -> Saturation:
    """Of floats that become integers, those that none is near: what is as large as the range is not beyond it."""
    info, half = np.iinfo(np.int8), tensor.scale / 2
    least, most = (tensor.scale * (end - tensor.zero) for end in (info.min, info.max))
    low, high = int((given < least - half).sum()), int((given > most + half).sum())
    return Saturation(variant, tensor.name, tensor.tensor, tensor.type, low, high, given.size)


def trace(model: Model, xs: Sequence[Array]) -> dict[str, Array]:
    """Every tensor of the float64 reference by name; nothing where it overflows."""
    traced: dict[str, Array] = {}
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            float64.run(model, xs, trace=traced)
    except InputError:
        return {}
    return {name: values for name, values in traced.items() if np.isfinite(values).all()}


def all_of(
    variants: list[Variant],
    floats: Model | None,
    xs: list[Array],
    expected: Answers,
    notes: list[str],
    tell: Progress,
) -> tuple[list[Inside], Any]:
    """What stands in the tensors of each variant; and how far the float64 reference is from the answers."""
    some = chosen(floats, variants[0], xs)
    traced = {} if floats is None else trace(floats, some)
    if floats is not None and any(tensor.name not in traced for tensor in floats.tensors):
        which = "some layers" if traced else "layers"
        notes.append(f"{which} are not compared: the float64 reference overflows on these data")
    if floats is None:
        notes.append("layers are not compared: there is no float model of the reference to compare them with")
    if len(some[0]) < len(xs[0]):
        notes.append(f"layers and saturation are of {len(some[0])} of the {len(xs[0])} sequences, at even distances")
    seen = []
    for done, variant in enumerate(variants):
        tell("layers", (done + 0.5) / (len(variants) + 0.5))
        seen.append(inspected(variant, floats, traced, some))
    if floats is None or not traced:
        return seen, None
    keep = np.linspace(0, len(xs[0]) - 1, len(some[0])).round().astype(int)
    single = floats.timing.single
    ours = [traced[name][:, -1] if name in single else traced[name] for name in floats.outputs if name in traced]
    theirs = [y[keep] for y in expected.ys if len(y) == len(xs[0])]
    if len(ours) != len(theirs) or any(y.shape != z.shape for y, z in zip(ours, theirs, strict=True)):
        return seen, None
    return seen, max((compare(y, z) for y, z in zip(theirs, ours, strict=True)), key=lambda d: d.max_error)
