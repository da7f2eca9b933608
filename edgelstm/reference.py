"""What a model computes, in NumPy: the executable specification. Clear before fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import reference_cells, reference_steps
from .activations import activate
from .errors import InputError
from .layers import (
    Activate,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Dense,
    Embedding,
    Group,
    Gru,
    Last,
    LayerNorm,
    Lstm,
    Mask,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    SoftmaxSteps,
    Split,
    Transpose,
)
from .model import Array, Model, QuantizedModel
from .quantized import QuantizedConstant
from .tfl8 import Tfl8Constant
from .tfl8_model import Tfl8Model
from .timing import check_run


def run(
    model: Model,
    xs: Sequence[Array],
    every_step: bool = False,
    dtype: type[np.floating[Any]] = np.float64,
    trace: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """Run whole sequences from a reset state.

    xs: one array per input, [N, T, width], or [N, width] for a single one. Returns one array per output: [N, T, width],
    or [N, width] where the model gives one row a run; with `every_step` all rows that stepping would give, which only
    a causal model has. `trace`, if given, receives every tensor by name, [N, rows, width], and per recurrent layer
    "<layer>.z" [N, T, gates, units] (what enters the gate functions).
    InputError where a model needs other numbers of steps.
    """
    tensors: dict[str, Array] = {}
    for name, x in zip(model.inputs, check_inputs(model, xs, every_step), strict=True):
        tensors[name] = x.astype(dtype)
    for layer in model.layers:
        reads = [tensors[name] for name in layer.reads]
        made = unwritten(model, layer, reads) or _layer(layer, reads, every_step, trace)
        tensors.update(zip(layer.writes, made, strict=False))
    if trace is not None:
        trace.update(tensors)
    single = frozenset() if every_step else model.timing.single
    return tuple(tensors[name][:, -1] if name in single else tensors[name] for name in model.outputs)


def _layer(layer: Any, reads: list[Array], every_step: bool, trace: dict[str, Array] | None) -> list[Array]:
    """What a layer writes, [N, rows, width] each."""
    x = reads[0]
    match layer:
        case Lstm() | Gru() | Rnn():
            made, z = reference_cells.run(layer, reads)
            if trace is not None:
                trace[f"{layer.name}.z"] = z
                if isinstance(layer, Lstm):
                    trace[f"{layer.name}.c"] = made[1]
            return made
        case Dense():
            return [activate(layer.activation, x @ layer.kernel.T.astype(x.dtype) + layer.bias.astype(x.dtype))]
        case Activate():
            return [activate(layer.activation, x)]
        case Embedding():
            ids = np.clip(x.astype(np.int64), 0, layer.vocabulary - 1)
            return [layer.table.astype(x.dtype)[ids].reshape(*x.shape[:2], -1)]
        case Constant():
            return [np.broadcast_to(layer.value.astype(x.dtype), (len(x), 1, len(layer.value)))]
        case Mask():
            return list(reference_steps.mask(layer, x))
        case Combine():
            return [reference_steps.combine(layer.kind, reads)]
        case LayerNorm():
            return [reference_steps.layer_norm(x, layer.scale, layer.offset, layer.epsilon, layer.rms)]
        case Conv1d():
            return [reference_steps.conv1d(layer, x)]
        case Pool1d():
            return [reference_steps.pool1d(layer, x)]
        case Reduce():
            return [reference_steps.reduce(layer, x, reads[1] if layer.masked else None, every_step)]
        case SoftmaxSteps():
            return [activate_steps(x)]
        case Attention():
            return [reference_steps.attention(layer, reads)]
    return [moved(layer, x, every_step)]


def moved(layer: Any, x: Array, every_step: bool) -> Array:
    """The rows of a layer that only moves them, [N, rows, width]; of floats and integers alike."""
    match layer:
        case Last() | Reverse() if layer.period:
            return reference_steps.of_periods(layer, x)
        case Last():
            return x if every_step else x[:, -1:]
        case Reverse():
            return x[:, ::-1]
        case Crop():
            return x[:, layer.left : max(layer.left, x.shape[1] - layer.right)]
        case Pad():
            return np.pad(x, ((0, 0), (layer.left, layer.right), (0, 0)))
        case Repeat():
            return np.repeat(x, layer.count, axis=1)
        case Split():
            return reference_steps.split(layer, x)
        case Group():
            return reference_steps.group(layer, x)
        case Transpose():
            return reference_steps.transpose(layer, x)
    raise AssertionError(f"no reference for {type(layer).__name__}")


def activate_steps(x: Array) -> Array:
    """Softmax over the steps of [N, T, width]."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    normal: Array = e / e.sum(axis=1, keepdims=True)
    return normal


def unwritten(model: Model | QuantizedModel | Tfl8Model, layer: Any, reads: list[Array]) -> list[Array]:
    """What a layer writes where there is no row yet to read, when every step is asked for; else nothing."""
    if isinstance(layer, Constant | QuantizedConstant | Tfl8Constant) or all(x.shape[1] for x in reads):
        return []
    return [np.zeros((len(reads[0]), 0, model.width(name)), reads[0].dtype) for name in layer.writes]


def check_inputs(model: Model | QuantizedModel | Tfl8Model, xs: Sequence[Array], every_step: bool) -> list[Array]:
    """The arrays [N, T, width], [N, 1, width] of a single input, checked against the model's inputs: finite, one per
    input, N the same, T the same of all sequences of a causal model, and such that the model can run over so many."""
    if len(xs) != len(model.inputs):
        raise InputError(f"{len(xs)} input arrays given, the model has {len(model.inputs)} inputs")
    arrays = [np.asarray(x) for x in xs]
    single = {t.name for t in model.tensors if t.single}
    for k, name in enumerate(model.inputs):
        x, width = arrays[k], model.width(name)
        if name in single and x.ndim == 2:
            x = arrays[k] = x[:, None]
        expected = f"(sequences, {width})" if name in single else f"(sequences, steps, {width})"
        if x.ndim != 3 or x.shape[2] != width or x.shape[1] < 1 or (name in single and x.shape[1] != 1):
            raise InputError(f"input {name} has shape {np.shape(xs[k])}, expected {expected}")
        if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
            raise InputError(f"input {name} holds NaN, infinite or non-numeric values")
    timing = model.timing
    own = {k: x.shape[1] for k, x in enumerate(arrays) if timing.clocks[model.inputs[k]]}
    together = {x.shape[1] for k, x in enumerate(arrays) if k not in own and model.inputs[k] not in single}
    if len({len(x) for x in arrays}) > 1 or len(together) > 1:
        raise InputError("the inputs disagree in their number of sequences or steps")
    if every_step and timing.waits:
        name, reason = timing.waits[0]
        raise InputError(f"the model has no answer for every step: {name}: {reason}")
    check_run(model, max(together, default=1), every_step, timing, own)
    return arrays
