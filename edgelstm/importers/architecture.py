"""The TOML file that tells how a state dict's layers are joined; docs/pytorch.md describes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CheckpointError, InputError
from ..layers import LINEAR, SIGMOID, TANH, Activation
from ..toml import load as read_toml
from ..toml import nothing_left, take
from . import torch_names
from .torch_build import Options
from .torch_names import BatchNorm, Conv, Heads, Linear, Norm, Part, Stack, Table, Weight
from .torch_steps import (
    ActivationStep,
    AttentionStep,
    ConvStep,
    DenseStep,
    EmbeddingStep,
    FlattenStep,
    LastStep,
    NormStep,
    PoolStep,
    PreluStep,
    RecurrentStep,
    ReduceStep,
    Step,
    parse_activation,
)

T = TypeVar("T")

_ORDERS = ("steps", "channels")


@dataclass(slots=True)
class _Table:
    """A [[layers]] table that is being read."""

    table: dict[str, Any]
    where: str
    unused: dict[str, Part]

    def take(self, key: str, kind: Any, default: Any = None) -> Any:
        value = take(self.table, key, kind, self.where)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        found = take(self.table, key, int, self.where, required=default is None)
        value = int(found if found is not None else default or 0)
        if value < least:
            raise CheckpointError(f"{self.where}: {key} is {value}, expected at least {least}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.table.pop(key, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self.where}: {key} is not true or false")
        return value

    def number(self, key: str, default: float) -> float:
        return float(self.take(key, (int, float), default))

    def activation(self, key: str, default: Activation) -> Activation:
        text = self.take(key, str)
        return default if text is None else parse_activation(text, self.where)

    def part(self, kind: type[T], what: str) -> T:
        """The layer of the checkpoint this table names, used up."""
        name = take(self.table, "weights", str, self.where, required=True)
        if name not in self.unused:
            left = ", ".join(repr(known) for known in self.unused) or "none"
            raise CheckpointError(f"{self.where}: no unused layer {name!r} in the checkpoint; unused: {left}")
        part = self.unused.pop(name)
        if not isinstance(part, kind):
            raise CheckpointError(
                f"{self.where}: {part.name!r} is a {torch_names.kind(part)} in the checkpoint, not {what}"
            )
        return part


@dataclass(frozen=True, slots=True)
class Described:
    """What an architecture file says."""

    file: str
    layers: list[Any]
    inputs: int | None
    state_dict: str | None  # which entry of a training checkpoint
    names: list[Any]  # of a list of tensors, in its order


def load(path: str | os.PathLike[str]) -> Described:
    """An architecture file; CheckpointError if it is none."""
    file = Path(path)
    try:
        described = read_toml(file)
        found = Described(
            file.name,
            take(described, "layers", list, "the file", required=True),
            take(described, "inputs", int, "the file"),
            take(described, "state_dict", str, "the file"),
            take(described, "names", list, "the file") or [],
        )
        nothing_left(described, "the file")
    except (CheckpointError, InputError) as error:
        raise CheckpointError(f"{file.name}: {error}") from None
    return found


def named(described: Described, weights: list[Weight]) -> list[Weight]:
    """The tensors of a list, by the names an architecture file gives them in order."""
    names = described.names
    if [weight.name for weight in weights] != [str(k) for k in range(len(weights))]:
        raise CheckpointError(f"{described.file}: the checkpoint's tensors have names; leave `names` out")
    if (
        len(names) != len(weights)
        or len({*map(str, names)}) != len(names)
        or not all(isinstance(n, str) for n in names)
    ):
        raise CheckpointError(
            f"{described.file}: names has {len(names)} entries, expected {len(weights)} different texts"
        )
    return [Weight(name, w.shape, w.dtype, w.load) for name, w in zip(names, weights, strict=True)]


def steps(described: Described, parts: list[Part]) -> tuple[list[Step], int | None]:
    """The steps an architecture file describes, and the inputs it tells. CheckpointError unless it uses every part
    exactly once."""
    try:
        return _steps(described.layers, parts), described.inputs
    except (CheckpointError, InputError) as error:
        raise CheckpointError(f"{described.file}: {error}") from None


def _steps(tables: list[Any], parts: list[Part]) -> list[Step]:
    unused = {part.name: part for part in parts}
    found: list[Step] = []
    single = False
    for number, table in enumerate(tables, 1):
        where = f"layer {number}"
        if not isinstance(table, dict):
            raise CheckpointError(f"{where} is not a [[layers]] table")
        kind = take(table, "kind", str, where, required=True)
        if kind not in _KINDS:
            raise CheckpointError(f"{where}: unknown kind {kind!r}; known: {', '.join(_KINDS)}")
        step = _KINDS[kind](_Table(table, where, unused))
        nothing_left(table, where)
        if step is None:
            continue
        if single and isinstance(step, _SEQUENCES):
            if isinstance(step, LastStep):
                raise CheckpointError(f'{where}: there is a "last" already, or the like')
            name = "an LSTM" if kind == "lstm" else kind
            raise CheckpointError(f'{where}: {name} after "last" or the like would read a single step')
        single = single or isinstance(step, LastStep | ReduceStep | FlattenStep)
        found.append(step)
    if unused:
        raise CheckpointError(f"it does not use {', '.join(repr(name) for name in unused)} of the checkpoint")
    return found


_SEQUENCES = (RecurrentStep, ConvStep, PoolStep, AttentionStep, LastStep, ReduceStep, FlattenStep)


def _recurrent(kind: str) -> Callable[[_Table], Step]:
    def step(table: _Table) -> Step:
        part = table.part(Stack, f"an {kind.upper()}" if kind == "lstm" else f"a {kind.upper()}")
        if part.kind != kind:
            raise CheckpointError(f"{table.where}: {part.name!r} is a {part.kind.upper()} by its shapes")
        layers = table.take("layers", int)
        if layers is not None and layers != len(part.cells):
            raise CheckpointError(
                f"{table.where}: layers is {layers}, {part.name!r} has {len(part.cells)} in the checkpoint"
            )
        if table.flag("bidirectional", part.bidirectional) != part.bidirectional:
            raise CheckpointError(
                f"{table.where}: {part.name!r} has {1 + part.bidirectional} direction(s) in the checkpoint"
            )
        activation = table.activation("nonlinearity" if kind == "rnn" else "activation", TANH)
        if kind == "rnn":
            return RecurrentStep(part, Options(activation))
        clip = table.take("cell_clip", (int, float)) if kind == "lstm" else None
        gate = table.activation("gate_activation", SIGMOID)
        return RecurrentStep(part, Options(activation, gate, None if clip is None else float(clip)))

    return step


def _dense(table: _Table) -> Step:
    return DenseStep(table.part(Linear, "a Linear layer"), table.activation("activation", LINEAR))


def _embedding(table: _Table) -> Step:
    part = table.part(Linear, "an Embedding")
    if part.bias is not None:
        raise CheckpointError(f"{table.where}: {part.name!r} has a bias, so it is no Embedding")
    return EmbeddingStep(Table(part.name, 1, part.inputs, part.kernel))


def _conv1d(table: _Table) -> Step:
    part = table.part(Conv, "a Conv1d")
    stride, dilation, groups = table.whole("stride", 1), table.whole("dilation", 1), table.whole("groups", 1)
    reach = (part.kernel.shape[2] - 1) * dilation
    padding = table.take("padding", (int, str), 0)
    if padding == "same":
        if stride > 1:
            raise CheckpointError(f'{table.where}: padding "same" with a stride')
        left, right = reach // 2, reach - reach // 2  # PyTorch puts the odd step at the end
    elif padding == "causal":
        left, right = reach, 0
    elif isinstance(padding, str) or padding < 0:
        raise CheckpointError(f'{table.where}: padding is {padding!r}, expected steps at both ends, "same" or "causal"')
    else:
        left = right = padding
    return ConvStep(part, table.activation("activation", LINEAR), stride, dilation, groups, left, right)


def _pool(kind: str) -> Callable[[_Table], Step]:
    def step(table: _Table) -> Step:
        size = table.whole("size")
        stride, padding = table.whole("stride", size), table.whole("padding", 0, 0)
        counts = table.flag("count_include_pad", True) if kind == "average" else False
        return PoolStep(kind, size, stride, padding, counts)

    return step


def _batchnorm(table: _Table) -> Step:
    return NormStep(table.part(BatchNorm, "a BatchNorm1d"), table.number("epsilon", 1e-5))


def _layernorm(table: _Table) -> Step:
    return NormStep(table.part(Norm, "a LayerNorm"), table.number("epsilon", 1e-5))


def _rmsnorm(table: _Table) -> Step:
    part = table.part(Norm, "an RMSNorm")
    if part.offset is not None:
        raise CheckpointError(f"{table.where}: {part.name!r} has a bias, so it is no RMSNorm")
    return NormStep(part, table.number("epsilon", float(2.0**-23)), rms=True)  # PyTorch's default, float32's


def _prelu(table: _Table) -> Step:
    part = table.part(Norm, "a PReLU")
    if part.offset is not None:
        raise CheckpointError(f"{table.where}: {part.name!r} has a bias, so it is no PReLU")
    return PreluStep(part)


def _attention(table: _Table) -> Step:
    return AttentionStep(table.part(Heads, "a MultiheadAttention"), table.whole("heads"), table.flag("causal", False))


def _activation(table: _Table) -> Step:
    name = take(table.table, "activation", str, table.where, required=True)
    return ActivationStep(parse_activation(name, table.where))


def _flatten(table: _Table) -> Step:
    steps = table.whole("steps")
    order = take(table.table, "order", str, table.where, required=True)
    if order not in _ORDERS:
        raise CheckpointError(
            f'{table.where}: order is {order!r}, expected "steps" (of (batch, steps, values)) or "channels" (of '
            "(batch, channels, steps), as Conv1d gives it)"
        )
    return FlattenStep(steps, order == "channels")


_KINDS: dict[str, Callable[[_Table], Step | None]] = {
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
    "rnn": _recurrent("rnn"),
    "dense": _dense,
    "embedding": _embedding,
    "conv1d": _conv1d,
    "max_pool": _pool("max"),
    "average_pool": _pool("average"),
    "batchnorm": _batchnorm,
    "layernorm": _layernorm,
    "rmsnorm": _rmsnorm,
    "prelu": _prelu,
    "attention": _attention,
    "activation": _activation,
    "last": lambda table: LastStep(),
    "first": lambda table: LastStep("first"),
    "state": lambda table: LastStep("state"),
    "mean": lambda table: ReduceStep("mean"),
    "max": lambda table: ReduceStep("max"),
    "sum": lambda table: ReduceStep("sum"),
    "flatten": _flatten,
    "dropout": lambda table: None,  # the identity once training is over
}
