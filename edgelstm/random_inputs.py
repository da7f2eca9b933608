"""Random inputs that fit a model: whole numbers for an embedding, masks that end, and as many steps as it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .errors import InputError
from .layers import (
    Attention,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Embedding,
    Group,
    Gru,
    Last,
    Lstm,
    Mask,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    Split,
    Transpose,
    windows,
)
from .model import Array, Model

MOST_STEPS = 4096  # that are tried
MISSING = 0.3  # share of steps that a mask hides


def draw(
    model: Model, sequences: int, steps: int, random: np.random.Generator, fixed: Mapping[str, int] | None = None
) -> list[Array]:
    """Random inputs, float32 [sequences, T, width] each, or [sequences, width] of a single one; T is the number of
    steps nearest to `steps` that the model takes, and of inputs in `fixed` as told there. InputError if there
    is none."""
    fixed = fixed or {}
    steps = fitting_steps(model, steps, fixed)
    sizes = [(sequences, fixed.get(name, steps), model.width(name)) for name in model.inputs]
    return fit(model, [random.uniform(-1.5, 1.5, size) for size in sizes], random)


def fit(model: Model, xs: Sequence[Array], random: np.random.Generator) -> list[Array]:
    """Arrays [N, T, width], one an input, made to fit: other numbers for indices and masks, a row for a single input,
    and steps that a mask hides where the model looks for such."""
    found = roles(model)
    single = {t.name for t in model.tensors if t.single}
    fitted = []
    for name, x in zip(model.inputs, xs, strict=True):
        role = found[name]
        if role.vocabulary:
            x = random.integers(0, role.vocabulary, x.shape)
        if role.mask:
            x = _lengths(len(x), x.shape[1], random)
        for value in role.missing:
            hidden = random.random(x.shape[:2]) < MISSING
            hidden[np.arange(len(x)), random.integers(0, x.shape[1], len(x))] = False  # something is left to answer
            x = np.where(hidden[..., None], value, x)
        fitted.append((x[:, 0] if name in single else x).astype(np.float32))
    return fitted


def _lengths(sequences: int, steps: int, random: np.random.Generator) -> Array:
    """Masks of sequences that end at random steps, the first one at the last step."""
    lengths = random.integers(1, steps + 1, sequences)
    lengths[0] = steps
    return (np.arange(steps) < lengths[:, None])[..., None]


@dataclass(slots=True)
class Role:
    """What an input is for, besides being numbers."""

    vocabulary: int = 0  # rows of the smallest table it is an index of
    mask: bool = False
    missing: list[float] = field(default_factory=list)  # values that hide a step


def roles(model: Model) -> dict[str, Role]:
    """The role of each input."""
    found = {name: Role() for name in model.inputs}
    origins: dict[str, set[str]] = {name: {name} for name in model.inputs}  # the inputs whose values a tensor holds
    for layer in model.layers:
        inputs = origins.get(layer.reads[0], set())
        match layer:
            case Embedding():
                for name in inputs:
                    role = found[name]
                    role.vocabulary = min(role.vocabulary or layer.vocabulary, layer.vocabulary)
            case Mask():
                origins[layer.writes[0]] = inputs
                for name in inputs:
                    found[name].missing.append(layer.value)
            case Lstm() | Gru() | Rnn() | Reduce() | Attention():
                if layer.masked:
                    for name in origins.get(layer.reads[3 if isinstance(layer, Attention) else 1], set()):
                        found[name].mask = True
            case Reverse() | Crop() | Pad() | Repeat() | Split() | Group() | Transpose() | Last():
                origins[layer.writes[0]] = inputs
            case Combine():
                origins[layer.writes[0]] = set().union(*(origins.get(name, set()) for name in layer.reads))
    return found


# ---- steps ----


def fitting_steps(model: Model, steps: int, fixed: Mapping[str, int] | None = None) -> int:
    """The number of steps nearest to `steps` that a run of the model may have; inputs in `fixed` have their own."""
    refused = None
    for distance in range(MOST_STEPS):
        for count in dict.fromkeys((steps + distance, steps - distance)):
            if count < 1:
                continue
            try:
                rows(model, count, fixed)
                return count
            except InputError as error:
                refused = refused or error
    raise InputError(f"the model takes no number of steps from 1 to {MOST_STEPS}: {refused}")


def rows(model: Model, steps: int, fixed: Mapping[str, int] | None = None) -> dict[str, int]:
    """How many rows each tensor has in a run over so many steps. InputError where the model takes another number."""
    single = {t.name for t in model.tensors if t.single}
    counts = {name: 1 if name in single else (fixed or {}).get(name, steps) for name in model.inputs}
    for layer in model.layers:
        reads = [counts[name] for name in layer.reads]
        made = _rows(layer, reads, model.width(layer.reads[0]))
        if made < 1:
            raise InputError(f"{layer.name}: the sequence is too short; it gives no row")
        counts.update(dict.fromkeys(layer.writes, made))
    return counts


def _rows(layer: object, reads: list[int], width: int) -> int:
    count = reads[0]
    match layer:
        case Conv1d() | Pool1d():
            if layer.period:
                return count // layer.period * windows(layer, layer.period)
            return windows(layer, count)
        case Group(single=True) if count != layer.count:
            raise InputError(f"{layer.name}: {count} steps, expected {layer.count}")
        case Group():
            return count // layer.count
        case Split():
            return count * layer.count
        case Repeat():
            return layer.count
        case Crop():
            return count - layer.left - layer.right
        case Pad():
            return count + layer.left + layer.right
        case Last():
            return count // layer.period if layer.period else 1
        case Constant():
            return 1
        case Reduce():
            return count // layer.period if layer.period else 1
        case Transpose():
            if count != layer.steps:
                raise InputError(f"{layer.name}: {count} steps, expected {layer.steps}")
            return width
        case Combine():
            if len(set(reads) - {1}) > 1:
                raise InputError(f"{layer.name}: what it joins has {' and '.join(map(str, reads))} steps")
            return max(reads)
        case Lstm() | Gru() | Rnn():
            if layer.masked and reads[1] != count:
                raise InputError(f"{layer.name}: {count} steps and a mask of {reads[1]}")
    return count
