"""From LSTMs and Linear layers to a Model: a list of steps, one after the other, and the model they make."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from ..errors import CheckpointError, ModelError
from ..layers import ACTIVATIONS, LINEAR, SIGMOID, TANH, Activate, Activation, Dense, Last, Layer, Lstm
from ..model import Model, Source, Tensor
from .torch_names import Linear, Stack, Weight, bias_sum, label, values

_DEFAULT_ALPHA = {"leaky_relu": 0.01, "elu": 1.0}  # PyTorch's
_ACTIVATION = re.compile(r"([a-z0-9_]+)(?:\(\s*([^()\s]+)\s*\))?")


@dataclass(frozen=True, slots=True)
class LstmStep:
    """All layers of an LSTM."""

    part: Stack
    activation: Activation = TANH
    gate_activation: Activation = SIGMOID
    cell_clip: float | None = None


@dataclass(frozen=True, slots=True)
class DenseStep:
    """A Linear layer, and the activation that is part of it."""

    part: Linear
    activation: Activation = LINEAR


@dataclass(frozen=True, slots=True)
class ActivationStep:
    """An activation between layers."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class LastStep:
    """Only the last step of a sequence goes on."""


Step = LstmStep | DenseStep | ActivationStep | LastStep


def parse_activation(text: str, where: str) -> Activation:
    """An activation as people write it: "relu", "none", "leaky_relu(0.2)"."""
    found = _ACTIVATION.fullmatch(text.strip().lower())
    name = {"none": "linear"}.get(found[1], found[1]) if found else ""
    if not found or name not in ACTIVATIONS:
        raise CheckpointError(f"{where}: unknown activation {text.strip()!r}; known: none, {', '.join(ACTIVATIONS)}")
    if found[2] is None:
        return Activation(name, _DEFAULT_ALPHA.get(name, 0.0))
    if name not in _DEFAULT_ALPHA:
        raise CheckpointError(f"{where}: activation {name} takes no number")
    try:
        return Activation(name, float(found[2]))
    except (ValueError, ModelError):
        raise CheckpointError(f"{where}: {found[2]!r} in {text.strip()!r} is not a finite number") from None


def spelled(activation: Activation) -> str:
    """An activation as `parse_activation` reads it."""
    name = "none" if activation == LINEAR else activation.name
    return f"{name}({activation.alpha})" if name in _DEFAULT_ALPHA else name


def build(steps: list[Step], source: Source, notes: list[str]) -> Model:
    """The model of the steps; CheckpointError if their widths do not chain or a module is used twice."""
    width = next((step.part.inputs for step in steps if isinstance(step, LstmStep | DenseStep)), 0)
    if not width:
        raise CheckpointError("no LSTM and no Linear layer in it")
    names = [layer for step in steps if isinstance(step, LstmStep | DenseStep) for layer in _layer_names(step)]
    if len(set(names)) != len(names):
        raise CheckpointError("a module is used twice, or two layers share a name")
    notes.append("read as: " + describe(steps))
    _note_types([w for step in steps for w in _weights(step)], notes)
    tensors = [Tensor(_unused("x", names), width)]
    layers: list[Layer] = []
    for step in _merged(steps):
        for layer in _layers(step, tensors[-1], [layer.name for layer in layers] + names):
            layers.append(layer)
            tensors.append(Tensor(layer.name, layer.units if isinstance(layer, Lstm | Dense) else tensors[-1].width))
    ends = (tensors[0].name,), (tensors[-1].name,)
    return Model(tuple(tensors), tuple(layers), *ends, source=source, notes=tuple(notes))


def describe(steps: list[Step]) -> str:
    """One line: "6 values -> rnn: LSTM 64 -> last step -> fc: Linear 4, softmax"."""
    first = next(step.part.inputs for step in steps if isinstance(step, LstmStep | DenseStep))
    words = [f"{first} value" + "s" * (first > 1)]
    for step in steps:
        match step:
            case LstmStep(part):
                words += [f"{name}: LSTM {cell.recurrent.shape[1]}" for name, cell in zip(
                    _layer_names(step), part.cells, strict=True)]  # fmt: skip
            case DenseStep(part, activation):
                words.append(f"{label(part)}: Linear {part.units}, {activation.name}")
            case ActivationStep(activation):
                words.append(activation.name)
            case LastStep():
                words.append("last step")
    return " -> ".join(words)


def _layer_names(step: LstmStep | DenseStep) -> list[str]:
    name = label(step.part)
    if isinstance(step, DenseStep) or len(step.part.cells) == 1:
        return [name]
    return [f"{name}.l{index}" for index in range(len(step.part.cells))]


def _merged(steps: list[Step]) -> list[Step]:
    """An activation right after a linear Linear layer becomes part of it."""
    merged: list[Step] = []
    for step in steps:
        before = merged[-1] if merged else None
        if isinstance(step, ActivationStep) and isinstance(before, DenseStep) and before.activation == LINEAR:
            merged[-1] = replace(before, activation=step.activation)
        else:
            merged.append(step)
    return merged


def _layers(step: Step, reads: Tensor, taken: list[str]) -> list[Layer]:
    match step:
        case LstmStep():
            return _lstms(step, reads)
        case DenseStep(part, activation):
            _check_width(label(part), part.inputs, reads)
            bias = np.zeros(part.units, np.float32) if part.bias is None else values(part.bias, np.float32)
            kernel = values(part.kernel, np.float32)
            return [Dense(label(part), (reads.name,), (label(part),), kernel, bias, activation)]
        case ActivationStep(activation):
            name = _unused(activation.name, taken)
            return [Activate(name, (reads.name,), (name,), activation)]
        case LastStep():
            name = _unused("last", taken)
            return [Last(name, (reads.name,), (name,))]


def _lstms(step: LstmStep, reads: Tensor) -> list[Layer]:
    layers: list[Layer] = []
    _check_width(label(step.part), step.part.inputs, reads)
    for name, cell in zip(_layer_names(step), step.part.cells, strict=True):
        units, inputs = cell.recurrent.shape[1], cell.kernel.shape[1]
        kernel = values(cell.kernel, np.float32).reshape(4, units, inputs)
        recurrent = values(cell.recurrent, np.float32).reshape(4, units, units)
        bias = bias_sum(cell, units).reshape(4, units)
        source = layers[-1].name if layers else reads.name
        options = step.activation, step.gate_activation, step.cell_clip
        layers.append(Lstm(name, (source,), (name,), kernel, recurrent, bias, *options))
    return layers


def _check_width(name: str, inputs: int, reads: Tensor) -> None:
    if inputs != reads.width:
        raise CheckpointError(f"layer {name} reads {inputs} values, but {reads.name} before it gives {reads.width}")


def _unused(name: str, taken: list[str]) -> str:
    return name if name not in taken else _unused(f"{name}_", taken)


def _note_types(weights: list[Weight], notes: list[str]) -> None:
    how = {"float16": "exact", "bfloat16": "exact", "float64": "rounded"}
    stored = sorted({weight.dtype for weight in weights} & set(how))
    notes.extend(f"weights stored as {dtype} became float32, {how[dtype]}" for dtype in stored)


def _weights(step: Step) -> list[Weight]:
    match step:
        case LstmStep(part):
            return [w for cell in part.cells for w in (cell.kernel, cell.recurrent, *cell.biases)]
        case DenseStep(part):
            return [part.kernel] if part.bias is None else [part.kernel, part.bias]
    return []
