"""A model while it is built from Keras' layers: values with their shapes and masks, and the calls of layers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from ..errors import CheckpointError
from ..layers import LINEAR, OVER_VALUES, Activation, Combine, Group, Last, Reverse, Split
from ..model import Array, Tensor
from .keras_activations import LAYERS as ACTIVATION_LAYERS
from .keras_config import Settings, major, named_activation, plain, precision, shown
from .keras_spec import Spec, is_of_keras

MAX_CALLS = 2048  # calls of layers in one model, nested ones counted each time; the slowest take 1.5 ms
MAX_COPIED = 1 << 26  # weights in copies of shared layers

GIVEN_MASK = "a mask was given"
"""Among a call's keywords: that what it reads has the mask the call names, not one that came with it."""

MASK_ORDER = (
    "a MultiHeadAttention takes the mask off what it reads (Keras 3.8 and later), so what another layer that reads the "
    "same sees depends on their order; give each a Masking or Embedding layer of its own"
)

NEWEST = 999

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a boolean tensor of an operation holds: `source != value` value by value; or, along the axis `any` and `all`
    run over, masks one beside the other, True and False for such as are known."""

    source: Value | None = None
    value: float = 0.0
    items: tuple[str | bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """What a call of a layer returns: a tensor of the model.

    With `rows` the first axis of its shape are steps, one row each, and the others lie in the row; otherwise all is one
    row of a run. Inside a TimeDistributed the shape is that of one step of the outer sequence.
    """

    tensor: str
    shape: Shape  # as in Keras, without the batch
    rows: bool | None  # None: an input of one axis, of which its readers decide
    mask: str | None = None  # a tensor of width 1
    inside: bool = False  # inside a TimeDistributed
    truth: Truth | None = None

    @property
    def width(self) -> int:
        """Values in a row."""
        return prod(n or 1 for n in (self.shape[1:] if self.rows else self.shape))

    @property
    def steps(self) -> int | None:
        return self.shape[0] if self.rows else None

    @property
    def period(self) -> int:
        """Rows of one inner sequence; 0 where the whole run is one."""
        return (self.shape[0] or 0) if self.inside and self.rows else 0

    @property
    def single(self) -> bool:
        """Whether the tensor has one row a run."""
        return not self.rows and not self.inside


@dataclass(slots=True)
class Build:
    """The model as far as it is built."""

    version: str | None  # the Keras that wrote the checkpoint
    backend: str | None = None  # what that Keras ran on
    tensors: list[Tensor] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    called: set[int] = field(default_factory=set)  # identities of Specs called before
    repeated: dict[int, Spec] = field(default_factory=dict)  # those with tensors called more than once
    forms: dict[str, bool] = field(default_factory=dict)  # inputs of one axis: whether that is steps
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)  # tensors made before: reversed ones, masks
    unmasked: dict[str, str] = field(default_factory=dict)  # tensors whose masks that output's layer has taken off
    policies: dict[str, list[str]] = field(default_factory=dict)  # other than float32, and the layers under each
    readers: dict[str, list[str]] = field(default_factory=dict)  # masked tensors, and what was made under that mask
    calls: int = 0
    copied: int = 0  # numbers in tensors used once more

    @property
    def generation(self) -> int | None:
        return major(self.version)

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number of the version; a version without a minor number counts as the newest."""
        parts = [*(self.version or "").split("."), "", ""]
        first, second = (int(part) if part.isdigit() and len(part) < 4 else 0 for part in parts[:2])
        return first, second if parts[1].isdigit() else NEWEST

    def unique(self, name: str) -> str:
        """`name`, with a number behind it if it is taken."""
        name = plain(name)
        found, count = name, 2
        while found in self.names:
            found, count = f"{name}_{count}", count + 1
        self.names.add(found)
        return found

    def tensor(self, name: str, width: int) -> str:
        self.tensors.append(Tensor(name, width))
        return name

    def depends(self, tensors: Iterable[str], other: str) -> bool:
        """Whether one of the tensors is made of the other."""
        writers = {tensor: layer for layer in self.layers for tensor in layer.writes}
        pending, seen = list(tensors), set()
        while pending:
            tensor = pending.pop()
            if tensor == other:
                return True
            if tensor not in seen and tensor in writers:
                pending.extend(writers[tensor].reads)
            seen.add(tensor)
        return False

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def settle(self, value: Value, rows: bool, reader: str) -> Value:
        """An input of one axis as steps (`rows`) or as values; CheckpointError where it is read as both."""
        if value.rows is not None:
            return value
        if self.forms.setdefault(value.tensor, rows) != rows:
            raise CheckpointError(
                f"layer {reader!r}: the input {value.tensor!r} is read as a sequence and as values at once"
            )
        return replace(value, rows=rows)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer."""

    build: Build
    spec: Spec
    settings: Settings
    inputs: tuple[Value, ...]  # the tensors of its first argument
    args: tuple[Any, ...] = ()  # further arguments
    keywords: dict[str, Any] = field(default_factory=dict)  # whoever honours one removes it

    @property
    def x(self) -> Value:
        """The one tensor it is called on."""
        if len(self.inputs) != 1:
            raise self.refuse(f"it is called on {len(self.inputs)} tensors, expected one")
        return self.inputs[0]

    def refuse(self, reason: str) -> CheckpointError:
        return CheckpointError(f"layer {self.spec.name!r}: {reason}")

    def sequence(self) -> Value:
        """The one tensor it is called on, (steps, values)."""
        x = self.x
        if not x.rows:
            raise self.refuse("it reads a single step; the layer before it needs return_sequences=True")
        if len(x.shape) != 2:
            raise self.refuse(f"it reads shape {shown(list(x.shape))}, expected (steps, values)")
        return x

    def function(self, key: str, default: str) -> Activation:
        """Takes the activation of a cell."""
        value = self.settings.values.get(key, default)
        found = self.activation(key, default)
        if found.name in OVER_VALUES:
            raise self.settings.refuse(key, value, "a cell's functions work value by value, this one over all units")
        return found

    def halves(self, key: str) -> bool:
        """Takes an activation if it is glu."""
        value = self.settings.values.get(key)
        if isinstance(value, dict) and value.get("class_name") == "function":
            value = value.get("config")
        return value == "glu" and bool(self.settings.take(key))

    def activation(self, key: str, default: str = "linear") -> Activation:
        """Takes an activation: a name, a serialized function or a serialized layer; null is linear."""
        value = self.settings.take(key, default)
        if value is None:
            return LINEAR
        if isinstance(value, dict):
            kind, config = value.get("class_name"), value.get("config")
            if kind in ACTIVATION_LAYERS and isinstance(config, dict) and is_of_keras(value):
                inner = Settings(self.spec.name, config)
                precision(inner)
                found = ACTIVATION_LAYERS[kind](inner)
                inner.finish()
                return found
            if kind == "function" and value.get("module") in (None, "builtins", "keras.activations"):
                value = config
        if not isinstance(value, str):
            raise self.settings.refuse(key, value, "the activation is not one of Keras' own; it cannot be imported")
        return named_activation(value, self.build.generation, self.settings, key)

    def arrays(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The layer's tensors by role; CheckpointError where one has another shape than the settings say."""
        found = dict(self.spec.tensors)
        for role, shape in shapes.items():
            if role not in found or found[role].shape != shape:
                actual = found[role].shape if role in found else "missing"
                raise self.refuse(f"its {role} has shape {actual}, expected {shape}")
        if len(found) != len(shapes):
            raise self.refuse(f"it has tensors {', '.join(found)}, expected {', '.join(shapes)}")
        return found

    def add(self, make: Callable[[str, str], Any], width: int, suffix: str = "") -> str:
        """Adds the layer that `make` makes of a name and of the tensor it writes; that tensor."""
        name = self.build.unique(self.spec.name + suffix)
        self.build.tensor(name, width)
        self.build.layers.append(make(name, name))
        return name

    def by_rows(self, x: Value, width: int, make: Callable[[str, str, str], Any], suffix: str = "") -> Value:
        """A layer over the last axis of any shape: `make` gets a name, and the tensors to read and to write."""
        count = prod(n or 1 for n in (x.shape[1:-1] if x.rows else x.shape[:-1]))
        source = x.tensor
        if count > 1:
            source = self.split(source, count, x.shape[-1] or 1)
        y = self.add(lambda name, y: make(name, source, y), width, suffix)
        if count > 1:
            y = self.group(y, count, width)
        return replace(x, tensor=y, shape=(*x.shape[:-1], width))

    # Movers

    def split(self, x: str, count: int, width: int) -> str:
        return self.add(lambda name, y: Split(name, (x,), (y,), count), width, "_split")

    def group(self, x: str, count: int, width: int, single: bool = False) -> str:
        return self.add(lambda name, y: Group(name, (x,), (y,), count, single), width * count, "_group")

    def last(self, x: str, width: int, period: int = 0) -> str:
        return self.add(lambda name, y: Last(name, (x,), (y,), period), width, "_last")

    def reverse(self, x: str, width: int, period: int = 0) -> str:
        key = ("reverse", x, period)
        if key not in self.build.known:
            y = self.add(lambda name, y: Reverse(name, (x,), (y,), period), width, "_reverse")
            self.build.known[key] = y
        return self.build.known[key]

    def combine(self, kind: str, tensors: tuple[str, ...], width: int, suffix: str = "") -> str:
        return self.add(lambda name, y: Combine(name, tensors, (y,), kind), width, suffix or f"_{kind}")
