"""What travels with a model besides its arithmetic: names, units, labels, scalers, window, source. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError, ModelError

Array = np.ndarray[Any, np.dtype[Any]]  # NDArray[Any]; numpy.typing would take longer to load than all of this

MAX_WIDTH = 65536  # values in one tensor; far above any recurrent net, far below overflow in C


def frozen(values: Any, dtype: Any, shape: tuple[int, ...], what: str) -> Array:
    """A read-only C-contiguous copy of `values`; ModelError if its shape is not `shape`."""
    with np.errstate(over="ignore"):  # what overflows is refused below
        array = np.array(values, dtype=dtype, order="C", copy=True)
    if array.shape != shape:
        raise ModelError(f"{what} has shape {array.shape}, expected {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError(f"{what} holds NaN or infinite values")
    array.flags.writeable = False
    return array


def put(layer: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(layer, name, value)


def dims(array: Any, rank: int, what: str, rows: int = MAX_WIDTH) -> tuple[int, ...]:
    """The shape of an array of this rank, at most `rows` in its first dimension; else ModelError."""
    shape = np.shape(array)
    if len(shape) != rank or 0 in shape or shape[0] > rows or max(shape[1:], default=1) > MAX_WIDTH:
        raise ModelError(f"{what} has shape {shape}, expected {rank} dimensions of 1 to {max(rows, MAX_WIDTH)}")
    return tuple(int(n) for n in shape)


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """What the model sees = raw * scale + offset, value by value."""

    scale: Array  # float32 [width], never 0
    offset: Array  # float32 [width]

    def __post_init__(self) -> None:
        (width,) = dims(self.scale, 1, "scaler")
        put(
            self,
            scale=frozen(self.scale, np.float32, (width,), "scaler scale"),
            offset=frozen(self.offset, np.float32, (width,), "scaler offset"),
        )
        if not self.scale.all():
            raise ModelError("a scaler's scale is 0; it could not be inverted")

    def apply(self, raw: Any) -> Array:
        """What the model sees of raw values [..., width]."""
        seen: Array = np.asarray(raw) * self.scale + self.offset
        return seen

    def undo(self, values: Array) -> Array:
        """Raw values of the model's [..., width]."""
        raw: Array = (values - self.offset) / self.scale
        return raw


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """What a person knows of one input or output. Empty tuples where nothing is known."""

    channels: tuple[str, ...] = ()  # a name per value
    units: tuple[str, ...] = ()  # a unit per value
    labels: tuple[str, ...] = ()  # class names, for an output that classifies
    scaler: Scaler | None = None  # between the sensor's numbers and the model's


@dataclass(frozen=True, slots=True, eq=False)
class Meta:
    """What travels with a model besides its arithmetic."""

    inputs: tuple[Port, ...] = ()  # one per model input, or empty
    outputs: tuple[Port, ...] = ()  # one per model output, or empty
    window: int | None = None  # steps the model was trained on
    hop: int | None = None  # steps between two windows

    def scale_inputs(self, xs: Any) -> Any:
        """Raw arrays as the model sees them: one, or a tuple for several inputs. InputError where none has a scaler."""
        return _each(self.inputs, xs, Scaler.apply, "input")

    def unscale_outputs(self, ys: Any) -> Any:
        """A run's answers in raw units: one array, or a tuple for several outputs."""
        return _each(self.outputs, ys, Scaler.undo, "output") if any(p.scaler for p in self.outputs) else ys


def _each(ports: tuple[Port, ...], arrays: Any, convert: Callable[[Scaler, Any], Array], what: str) -> Any:
    given = arrays if isinstance(arrays, tuple) else (arrays,)
    if not any(port.scaler for port in ports):
        raise InputError(f"the model has no scaler for its {what}s; name one in a meta file, or give scaled numbers")
    if len(given) != len(ports):
        raise InputError(f"{len(given)} {what}s given, the model has {len(ports)}")
    converted = []
    for array, port in zip(given, ports, strict=True):
        values = np.asarray(array)
        if port.scaler is not None:
            if values.dtype.kind not in "fiub" or values.shape[-1:] != port.scaler.scale.shape:
                raise InputError(f"an {what} has shape {values.shape}, expected (..., {port.scaler.scale.shape[0]})")
            values = convert(port.scaler, values)
        converted.append(values)
    return tuple(converted) if isinstance(arrays, tuple) else converted[0]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model came from."""

    format: str  # "keras", "torch", "safetensors", ...
    file: str  # the file's name, without its folder
    sha256: str  # of the file, hexadecimal; "" for a live module


NOWHERE = Source("", "", "")
"""Of a model made by hand."""
