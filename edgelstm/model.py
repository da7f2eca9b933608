"""Models as pure data: a flat list of layers, each naming the tensors it reads and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import ModelError
from .layers import Layer
from .meta import MAX_WIDTH as MAX_WIDTH
from .meta import NOWHERE
from .meta import Array as Array
from .meta import Meta as Meta
from .meta import Port as Port
from .meta import Scaler as Scaler
from .meta import Source as Source
from .quantized import QuantizedLayer, QuantizedTensor
from .timing import Timing, timing


@dataclass(frozen=True, slots=True)
class Tensor:
    """One value vector a step: `width` float32 numbers. `single`, of an input: one row a run, as an initial state."""

    name: str
    width: int
    single: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A float model. ModelError if a layer reads what nothing wrote before it, or widths disagree."""

    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]  # in an order in which they can run
    inputs: tuple[str, ...]  # tensor names
    outputs: tuple[str, ...]  # tensor names
    source: Source = NOWHERE
    meta: Meta = field(default_factory=Meta)
    notes: tuple[str, ...] = ()  # what an importer inferred, in sentences

    def __post_init__(self) -> None:
        check_graph(self.tensors, self.layers, self.inputs, self.outputs, self.meta)
        timing(self)

    def width(self, tensor: str) -> int:
        """Values a step of a tensor."""
        return next(t.width for t in self.tensors if t.name == tensor)

    @property
    def timing(self) -> Timing:
        """When the model's tensors have rows."""
        return timing(self)


def check_graph(tensors: Any, layers: Any, inputs: Any, outputs: Any, meta: Meta) -> None:
    """ModelError unless every layer reads written tensors of its width and writes each tensor once."""
    widths = {t.name: t.width for t in tensors}
    if len(widths) != len(tensors):
        raise ModelError("two tensors share a name")
    if not inputs or not outputs or not layers:
        raise ModelError("a model needs at least one input, one layer and one output")
    for t in tensors:
        if not 1 <= t.width <= MAX_WIDTH:
            raise ModelError(f"tensor {t.name} has width {t.width}, expected 1 to {MAX_WIDTH}")
    written = set(inputs)
    if len(written) != len(inputs) or not written <= set(widths):
        raise ModelError(f"inputs {inputs} are not distinct tensors of the model")
    for layer in layers:
        for source in layer.reads:
            if source not in written:
                raise ModelError(f"{layer.name}: reads {source}, which no layer before it writes")
        for target in layer.writes:
            if target in written or target not in widths:
                raise ModelError(f"{layer.name}: writes {target}, which is written already or not declared")
            written.add(target)
        found, expected = tuple(widths[t] for t in layer.writes), layer.widths(tuple(widths[t] for t in layer.reads))
        if found != expected:
            raise ModelError(f"{layer.name}: {', '.join(layer.writes)} of widths {found}, expected {expected}")
    if not set(outputs) <= written or set(widths) != written:
        raise ModelError("an output or a declared tensor is written by no layer")
    for ports, names, what in ((meta.inputs, inputs, "input"), (meta.outputs, outputs, "output")):
        if ports and len(ports) != len(names):
            raise ModelError(f"meta describes {len(ports)} {what}s, the model has {len(names)}")
        for port, name in zip(ports, names, strict=False):
            lists = {"channels": port.channels, "units": port.units, "labels": port.labels}
            if port.scaler is not None:
                lists["scaler"] = tuple(port.scaler.scale)
            for key, values in lists.items():
                if values and len(values) != widths[name]:
                    raise ModelError(f"meta: {what} {name}: {len(values)} {key} for {widths[name]} values")
    for key, value in (("window", meta.window), ("hop", meta.hop)):
        if value is not None and value < 1:
            raise ModelError(f"meta: {key} is {value}, expected at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModel:
    """An int8 model, as `quantize` makes it."""

    tensors: tuple[QuantizedTensor, ...]
    layers: tuple[QuantizedLayer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: Source = NOWHERE
    meta: Meta = field(default_factory=Meta)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_graph(self.tensors, self.layers, self.inputs, self.outputs, self.meta)
        timing(self)

    def width(self, tensor: str) -> int:
        """Values a step of a tensor."""
        return next(t.width for t in self.tensors if t.name == tensor)

    @property
    def timing(self) -> Timing:
        """When the model's tensors have rows."""
        return timing(self)
