"""The TOML file that tells how a state dict's layers are joined; docs/pytorch.md describes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, InputError
from ..layers import LINEAR, SIGMOID, TANH
from ..toml import load, nothing_left, take
from .torch_names import Linear, Part, Stack
from .torch_steps import (
    ActivationStep,
    DenseStep,
    LastStep,
    LstmStep,
    Step,
    parse_activation,
)


def read(path: str | os.PathLike[str], parts: list[Part]) -> list[Step]:
    """The steps an architecture file describes. CheckpointError unless it uses every part exactly once."""
    file = Path(path)
    try:
        return _steps(load(file), parts)
    except (CheckpointError, InputError) as error:
        raise CheckpointError(f"{file.name}: {error}") from None


def _steps(described: dict[str, Any], parts: list[Part]) -> list[Step]:
    tables = take(described, "layers", list, "the file", required=True)
    inputs = take(described, "inputs", int, "the file")
    nothing_left(described, "the file")
    unused = {part.name: part for part in parts}
    steps: list[Step] = []
    after_last = False
    for number, table in enumerate(tables, 1):
        where = f"layer {number}"
        if not isinstance(table, dict):
            raise CheckpointError(f"{where} is not a [[layers]] table")
        kind = take(table, "kind", str, where, required=True)
        match kind:
            case "lstm":
                if after_last:
                    raise CheckpointError(f'{where}: an LSTM after "last" would read a single step')
                steps.append(_lstm(table, where, unused))
            case "dense":
                steps.append(_dense(table, where, unused))
            case "activation":
                name = take(table, "activation", str, where, required=True)
                steps.append(ActivationStep(parse_activation(name, where)))
            case "last":
                if after_last:
                    raise CheckpointError(f'{where}: there is a "last" already')
                steps.append(LastStep())
                after_last = True
            case "dropout":
                pass  # the identity once training is over
            case _:
                raise CheckpointError(f"{where}: unknown kind {kind!r}; known: lstm, dense, activation, last, dropout")
        nothing_left(table, where)
    if unused:
        raise CheckpointError(f"it does not use {', '.join(repr(name) for name in unused)} of the checkpoint")
    first = next((step.part.inputs for step in steps if isinstance(step, LstmStep | DenseStep)), inputs)
    if inputs is not None and inputs != first:
        raise CheckpointError(f"inputs is {inputs}, the first layer reads {first} values")
    return steps


def _lstm(table: dict[str, Any], where: str, unused: dict[str, Part]) -> LstmStep:
    part = _part(table, where, unused)
    if not isinstance(part, Stack):
        raise CheckpointError(f"{where}: {part.name!r} is a Linear layer in the checkpoint, not an LSTM")
    layers = take(table, "layers", int, where)
    if layers is not None and layers != len(part.cells):
        raise CheckpointError(f"{where}: layers is {layers}, {part.name!r} has {len(part.cells)} in the checkpoint")
    activation = take(table, "activation", str, where)
    gate = take(table, "gate_activation", str, where)
    clip = take(table, "cell_clip", (int, float), where)
    return LstmStep(
        part,
        TANH if activation is None else parse_activation(activation, where),
        SIGMOID if gate is None else parse_activation(gate, where),
        None if clip is None else float(clip),
    )


def _dense(table: dict[str, Any], where: str, unused: dict[str, Part]) -> DenseStep:
    part = _part(table, where, unused)
    if not isinstance(part, Linear):
        raise CheckpointError(f"{where}: {part.name!r} is an LSTM in the checkpoint, not a Linear layer")
    activation = take(table, "activation", str, where)
    return DenseStep(part, LINEAR if activation is None else parse_activation(activation, where))


def _part(table: dict[str, Any], where: str, unused: dict[str, Part]) -> Part:
    name = take(table, "weights", str, where, required=True)
    if name not in unused:
        left = ", ".join(repr(known) for known in unused) or "none"
        raise CheckpointError(f"{where}: no unused layer {name!r} in the checkpoint; unused: {left}")
    return unused.pop(name)
