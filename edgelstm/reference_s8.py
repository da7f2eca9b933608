"""What a quantized model computes, in NumPy: docs/numerics.md line by line. Integers from input to output.

The primitives are in fixedpoint.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import reference_s8_cells, reference_s8_steps
from .errors import InputError
from .fixedpoint import activate_s8, requantize, scaled_inputs
from .model import Array, QuantizedModel
from .quantized import (
    MOVERS,
    QuantizedActivate,
    QuantizedDense,
    QuantizedGru,
    QuantizedLstm,
    QuantizedRnn,
    QuantizedTensor,
)
from .reference import check_inputs, moved, unwritten


def dense_s8(layer: QuantizedDense, x: Array) -> tuple[Array, Array]:
    """y and z, int16 [..., units] each; x [..., inputs]."""
    acc = scaled_inputs(layer.kernel, layer.input_shift, layer.bias, x)
    z = requantize(acc, layer.shift, layer.multiplier)
    return activate_s8(layer.activation, z).astype(np.int16), z.astype(np.int16)


def activate_alone_s8(layer: QuantizedActivate, x: Array) -> tuple[Array, Array]:
    """y and z, int16 [..., width] each, of an activation that stands alone."""
    z = requantize(256 * x.astype(np.int64), layer.shift, layer.multiplier)
    return activate_s8(layer.activation, z).astype(np.int16), z.astype(np.int16)


def run(
    model: QuantizedModel, xs: Sequence[Array], every_step: bool = False, trace: dict[str, Array] | None = None
) -> tuple[Array, ...]:
    """Run whole sequences of integers from a reset state.

    xs: one integer array [N, T, width] per input, values within int16. Returns one int8 or int16 array per output:
    [N, T, width], or [N, width] where the model gives one row a run and `every_step` is false. `trace`, if given,
    receives every tensor by name, "<layer>.z" of every layer that computes, "<layer>.c" of every LSTM and
    "<layer>.state" of every GRU, the finer state behind h.
    """
    tensors: dict[str, Array] = {}
    for name, x in zip(model.inputs, check_inputs(model, xs, every_step), strict=True):
        if x.dtype.kind not in "iu" or x.min() < -32768 or x.max() > 32767:
            raise InputError(f"input {name} must hold int16 values; scale floats with quantize_inputs")
        tensors[name] = x.astype(np.int16)
    for layer in model.layers:
        reads = [tensors[name] for name in layer.reads]
        made = unwritten(model, layer, reads) or _layer(model, layer, reads, every_step, trace)
        tensors.update(zip(layer.writes, made, strict=False))
    if trace is not None:
        trace.update(tensors)
    single = frozenset() if every_step else model.timing.single
    return tuple(tensors[name][:, -1] if name in single else tensors[name] for name in model.outputs)


def _layer(
    model: QuantizedModel, layer: Any, reads: list[Array], every_step: bool, trace: dict[str, Array] | None
) -> list[Array]:
    """What a layer writes, [N, rows, width] each."""
    if isinstance(layer, MOVERS):
        return [moved(layer, reads[0], every_step)]
    kind = tensor(model, layer.writes[0]).type
    z: Array | None
    match layer:
        case QuantizedLstm() | QuantizedGru() | QuantizedRnn():
            made, inside = reference_s8_cells.run(layer, reads, kind)
            z = inside["z"]
            if trace is not None:
                trace.update({f"{layer.name}.{name}": values for name, values in inside.items()})
        case QuantizedDense():
            y, z = dense_s8(layer, reads[0])
            made = [y]
        case QuantizedActivate():
            y, z = activate_alone_s8(layer, reads[0])
            made = [y]
        case _:
            made, z = reference_s8_steps.run(layer, reads, kind, every_step)
    if trace is not None and z is not None:
        trace[f"{layer.name}.z"] = z
    return made


def tensor(model: QuantizedModel, name: str) -> QuantizedTensor:
    """A tensor of the model by name."""
    return next(t for t in model.tensors if t.name == name)


def quantize_inputs(model: QuantizedModel, xs: Sequence[Array]) -> tuple[Array, ...]:
    """The float door: float arrays [N, T, width] to int16, each input by its scale. NaN counts as 0."""
    return tuple(to_int16(np.asarray(x), tensor(model, n).scale) for n, x in zip(model.inputs, xs, strict=True))


def to_int16(x: Array, scale: float) -> Array:
    """clamp(rne(x / scale)), divided by one float32 multiplication with the reciprocal; |x| < 2^-100 counts as 0."""
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
        scaled = np.where(np.abs(x) < np.float32(2**-100), 0, x) * (np.float32(1) / np.float32(scale))
    return np.clip(np.rint(np.nan_to_num(scaled, nan=0)), -32767, 32767).astype(np.int16)


def dequantize(model: QuantizedModel, ys: Sequence[Array]) -> tuple[Array, ...]:
    """The door out: integers of each output times its scale, float32."""
    return tuple(
        y.astype(np.float32) * np.float32(tensor(model, n).scale) for n, y in zip(model.outputs, ys, strict=True)
    )


def run_float(model: QuantizedModel, xs: Sequence[Array], every_step: bool = False) -> tuple[Array, ...]:
    """`run` between the float doors: float [N, T, width] in, float32 out."""
    return dequantize(model, run(model, quantize_inputs(model, check_inputs(model, xs, every_step)), every_step))
