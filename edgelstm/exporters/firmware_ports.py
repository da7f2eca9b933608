"""Between a sensor's numbers and a port's integers, in integers: what a CPU without floats computes at its ports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..description import TensorDescription
from ..errors import ExportError
from ..meta import Array, Port

PLACES = 16  # binary places of a sensor's number where its range and resolution leave the choice
VALUE_BITS, FACTOR_BITS, SUM_BITS = 31, 29, 61
"""Of a sensor's number, of a multiplier and of their product with the offset, all below 2^bits: the sum fits int64."""
RANGE = {"s8": (-128, 127), "s16": (-32768, 32767)}


@dataclass(frozen=True, slots=True)
class Conversion:
    """(value * multiplier + offset) >> shift, clamped; a number of each for every value of the port, or one for all."""

    places: int  # a sensor's number stands as an int32, times 2^places
    multiplier: tuple[int, ...]
    offset: tuple[int, ...]  # half of the last place is in it
    shift: tuple[int, ...]

    @property
    def uniform(self) -> bool:
        return len(self.shift) == 1


def entering(name: str, tensor: TensorDescription, port: Port) -> Conversion:
    """From a sensor's numbers to the integers of an input. ExportError where no int32 serves."""
    scale, offset = _scaler(tensor, port)
    factor = scale / tensor.scale
    constant = offset / tensor.scale + tensor.zero_point
    ends = (np.array(RANGE[tensor.type])[:, None] - constant) / factor  # in the sensor's unit
    places = _places(name, ends, np.abs(factor))
    return _conversion(name, places, factor * 2.0**-places, constant)


def leaving(name: str, tensor: TensorDescription, port: Port) -> Conversion:
    """From the integers of an output to the sensor's numbers."""
    scale, offset = _scaler(tensor, port)
    factor = tensor.scale / scale
    constant = -(tensor.zero_point * tensor.scale + offset) / scale
    ends = np.array(RANGE[tensor.type])[:, None] * factor + constant
    places = _places(name, ends, 1 / np.abs(factor))
    return _conversion(name, places, factor * 2.0**places, constant * 2.0**places)


def _scaler(tensor: TensorDescription, port: Port) -> tuple[Array, Array]:
    if port.scaler is None:
        return np.ones(1), np.zeros(1)
    scale, offset = port.scaler.scale.astype(np.float64), port.scaler.offset.astype(np.float64)
    same = (scale == scale[0]).all() and (offset == offset[0]).all()
    return (scale[:1], offset[:1]) if same else (scale, offset)


def _places(name: str, ends: Array, steps: Array) -> int:
    """Binary places with which every sensor's number fits an int32: 16, or as few as must or as many as may be, so that
    one step of the port's integers (1 / `steps` in the sensor's unit) is at least two."""
    most = float(np.abs(ends).max())
    if not math.isfinite(most):
        raise ExportError(f"{name}: its scaler reaches too far for integers")
    room = max(0, VALUE_BITS - 1 - math.ceil(math.log2(max(most, 2.0**-30))))
    wanted = PLACES if float(steps.max()) * 2 <= 2.0**PLACES else 62
    return min(room, wanted)


def _conversion(name: str, places: int, factor: Array, constant: Array) -> Conversion:
    shifts = []
    for one, added in zip(np.abs(factor), np.abs(constant), strict=True):
        exact = FACTOR_BITS - math.frexp(one)[1]
        shifts.append(min(exact, SUM_BITS - math.frexp(max(added, 1.0))[1], 62))
    if min(shifts) < 1:
        raise ExportError(f"{name}: its scaler reaches too far for integers")
    rows = list(zip(factor.tolist(), constant.tolist(), shifts, strict=True))
    return Conversion(
        places,
        tuple(round(one * 2.0**shift) for one, _, shift in rows),
        tuple(round((added + 0.5) * 2.0**shift) for _, added, shift in rows),
        tuple(shifts),
    )
