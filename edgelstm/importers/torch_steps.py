"""From the layers of a state dict to a Model: a list of steps, one after the other, and the model they make."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..errors import CheckpointError, ModelError
from ..layers import (
    ACTIVATIONS,
    LINEAR,
    LOG_SIGMOID,
    PARAMETERS,
    Activate,
    Activation,
    Conv1d,
    Dense,
    Embedding,
    Last,
    LayerNorm,
    Pool1d,
    Reduce,
    Reverse,
)
from ..model import Model, Source
from . import torch_build
from .torch_build import Builder, Options, Recurrent
from .torch_names import BatchNorm, Conv, Heads, Linear, Norm, Part, Stack, Table, Weight, label, values, weights_of

_DEFAULTS = {
    "leaky_relu": (0.01,), "elu": (1.0,), "celu": (1.0,), "clip": (-1.0, 1.0), "shrink": (0.5, 0.0),
    "scaled_softplus": (1.0, 20.0), "squareplus": (4.0,),
}  # fmt: skip
"""The numbers of activations written without: PyTorch's, Keras'."""

_SYNONYMS = {
    "none": "linear", "hardtanh": "clip", "hard_tanh": "clip", "hardswish": "hard_silu", "hard_swish": "hard_silu",
    "hardshrink": "shrink", "hard_shrink": "shrink", "tanhshrink": "tanh_shrink", "hardsigmoid": "hard_sigmoid",
    "logsoftmax": "log_softmax",
}  # fmt: skip
_WHOLE = {
    "log_sigmoid": LOG_SIGMOID, "logsigmoid": LOG_SIGMOID, "softshrink": Activation("shrink", 0.5, 0.5),
    "soft_shrink": Activation("shrink", 0.5, 0.5),
}  # fmt: skip
_ACTIVATION = re.compile(r"([a-z0-9_]+)(?:\(([^()]*)\))?")


@dataclass(frozen=True, slots=True)
class RecurrentStep:
    """All layers of an LSTM, GRU or RNN."""

    part: Stack
    options: Options = Options()  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True)
class DenseStep:
    """A Linear layer, and the activation that is part of it."""

    part: Linear
    activation: Activation = LINEAR


@dataclass(frozen=True, slots=True)
class EmbeddingStep:
    """Rows of a table for whole numbers."""

    part: Table


@dataclass(frozen=True, slots=True)
class ConvStep:
    """A convolution over the steps."""

    part: Conv
    activation: Activation = LINEAR
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    left: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True)
class PoolStep:
    """The maximum or mean of windows."""

    kind: str  # as Pool1d has it
    size: int
    stride: int
    padding: int = 0
    count_padding: bool = True


@dataclass(frozen=True, slots=True)
class NormStep:
    """BatchNorm1d, LayerNorm or RMSNorm."""

    part: BatchNorm | Norm
    epsilon: float
    rms: bool = False


@dataclass(frozen=True, slots=True)
class PreluStep:
    """A relu with a slope below zero for each value, or one for all."""

    part: Norm


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """Multi-head attention of a sequence to itself."""

    part: Heads
    heads: int
    causal: bool = False


@dataclass(frozen=True, slots=True)
class ActivationStep:
    """An activation between layers."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class LastStep:
    """One step goes on: the last or the first, or the final state of every direction of the recurrent layer before."""

    which: str = "last"  # or "first" or "state"


@dataclass(frozen=True, slots=True)
class ReduceStep:
    """The mean, maximum or sum of all steps goes on."""

    kind: str


@dataclass(frozen=True, slots=True)
class FlattenStep:
    """All values of so many steps in one row: step by step, or value by value (`channels`)."""

    steps: int
    channels: bool


Step = (
    RecurrentStep | DenseStep | EmbeddingStep | ConvStep | PoolStep | NormStep | PreluStep | AttentionStep
    | ActivationStep | LastStep | ReduceStep | FlattenStep
)  # fmt: skip


def parse_activation(text: str, where: str) -> Activation:
    """An activation as people write it: "relu", "none", "leaky_relu(0.2)", "clip(-1, 1)"."""
    found = _ACTIVATION.fullmatch(text.strip().lower())
    name = _SYNONYMS.get(found[1], found[1]) if found else ""
    if found and name in _WHOLE and found[2] is None:
        return _WHOLE[name]
    if not found or name not in ACTIVATIONS:
        raise CheckpointError(f"{where}: unknown activation {text.strip()!r}; known: none, {', '.join(ACTIVATIONS)}")
    count = PARAMETERS.get(name, 0)
    if found[2] is None:
        if count and name not in _DEFAULTS:
            raise CheckpointError(f"{where}: activation {name} needs {count} numbers, as {name}(0.5, ...)")
        return Activation(name, *_DEFAULTS.get(name, ()))
    words = found[2].split(",")
    if len(words) != count:
        wanted = "no number" if not count else "one number" if count == 1 else f"{count} numbers"
        raise CheckpointError(f"{where}: activation {name} takes {wanted}")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise CheckpointError(f"{where}: {found[2].strip()!r} in {text.strip()!r} is not a finite number")
    try:
        return Activation(name, *numbers)
    except ModelError as error:
        raise CheckpointError(f"{where}: {error}") from None


def spelled(activation: Activation) -> str:
    """An activation as `parse_activation` reads it."""
    name = "none" if activation == LINEAR else activation.name
    numbers = (activation.alpha, activation.beta, activation.gamma)[: PARAMETERS.get(activation.name, 0)]
    return f"{name}({', '.join(str(number) for number in numbers)})" if numbers else name


def build(steps: list[Step], source: Source, notes: list[str], inputs: int | None = None) -> Model:
    """The model of the steps; CheckpointError if their widths do not chain or a module is used twice. inputs: values a
    step, where no layer says."""
    width = next((n for step in steps if (n := _inputs(step))), inputs)
    if inputs is not None and inputs != width:
        raise CheckpointError(f"inputs is {inputs}, the first layer reads {width} values")
    found = [step.part for step in steps if hasattr(step, "part")]
    if not found or not width:
        raise CheckpointError("no layer in it that says how many values it reads")
    names = [name for part in found for name in _layer_names(part)]
    if len(set(names)) != len(names):
        raise CheckpointError("a module is used twice, or two layers share a name")
    notes.append("read as: " + describe(steps, width))
    note_types([weight for part in found for weight in weights_of(part)], notes)
    builder = Builder(reserved=set(names))
    x = builder.input("x", width)
    before: Recurrent | None = None
    for step in steps:
        if isinstance(step, LastStep) and step.which == "state":
            if before is None:
                raise CheckpointError("the final state is that of a recurrent layer right before it")
            x = _state(builder, before, steps)
        elif isinstance(step, RecurrentStep):
            _check_width(builder, label(step.part), step.part.inputs, x)
            before = torch_build.recurrent(builder, step.part, x, step.options)
            x = before.answers
        else:
            before, x = None, _step(builder, step, x)
    return builder.finish([x], source, notes)


def describe(steps: list[Step], width: int) -> str:
    """One line: "6 values -> rnn: LSTM 64 -> last step -> fc: Linear 4, softmax"."""
    words = [f"{width} value" + "s" * (width > 1)]
    for step in steps:
        match step:
            case RecurrentStep(part):
                both = ", both directions" * part.bidirectional
                sizes = [cells[0].recurrent.shape[1] for cells in part.cells]
                words += [f"{name}: {part.kind.upper()} {n}{both}" for name, n in zip(
                    _layer_names(part), sizes, strict=True)]  # fmt: skip
            case DenseStep(part, activation):
                words.append(f"{label(part)}: Linear {part.units}, {activation.name}")
            case EmbeddingStep(part):
                words.append(f"{label(part)}: Embedding {part.table.shape[0]} x {part.units}")
            case ConvStep(part, activation):
                words.append(f"{label(part)}: Conv1d {part.kernel.shape[0]}, {activation.name}")
            case PoolStep(kind, size):
                words.append(f"{kind} of {size}")
            case NormStep(part):
                norm = "BatchNorm1d" if isinstance(part, BatchNorm) else "RMSNorm" if step.rms else "LayerNorm"
                words.append(f"{label(part)}: {norm}")
            case PreluStep(part):
                words.append(f"{label(part)}: PReLU")
            case AttentionStep(part, heads):
                words.append(f"{label(part)}: MultiheadAttention, {heads} heads")
            case ActivationStep(activation):
                words.append(activation.name)
            case LastStep(which):
                words.append({"last": "last step", "first": "first step", "state": "final state"}[which])
            case ReduceStep(kind):
                words.append(f"{kind} of all steps")
            case FlattenStep(count):
                words.append(f"all of {count} steps")
    return " -> ".join(words)


def listed(model: Model) -> str:
    """One line of a model's inputs and layers: "3 values -> rnn: Lstm 5 -> last: Last -> fc: Dense 2"."""
    words = [" and ".join(f"{model.width(name)} value" + "s" * (model.width(name) > 1) for name in model.inputs)]
    for layer in model.layers:
        size = getattr(layer, "units", "")
        activation = getattr(layer, "activation", LINEAR)
        end = f", {activation.name}" if isinstance(layer, Dense | Conv1d | Activate) and activation != LINEAR else ""
        words.append(f"{layer.name}: {type(layer).__name__} {size}".rstrip() + end)
    return " -> ".join(words[:40]) + (f" -> {len(words) - 40} more" if len(words) > 40 else "")


def note_types(weights: list[Weight], notes: list[str]) -> None:
    """Says which weights were not stored as float32."""
    how = {"float16": "exact", "bfloat16": "exact", "float64": "rounded"}
    stored = sorted({weight.dtype for weight in weights} & set(how))
    notes.extend(f"weights stored as {dtype} became float32, {how[dtype]}" for dtype in stored)


def _inputs(step: Step) -> int:
    """Values a step reads, 0 if any number."""
    match step:
        case RecurrentStep(part) | DenseStep(part) | EmbeddingStep(part):
            return part.inputs
        case ConvStep(part):
            return part.kernel.shape[1] * step.groups
        case NormStep(part):
            return (part.mean if isinstance(part, BatchNorm) else part.scale).shape[0]
        case AttentionStep(part):
            return part.kernels[0].shape[1]
    return 0


def _layer_names(part: Part) -> list[str]:
    name = label(part)
    if not isinstance(part, Stack) or len(part.cells) == 1:
        return [name]
    return [f"{name}.l{index}" for index in range(len(part.cells))]


def _state(builder: Builder, before: Recurrent, steps: list[Step]) -> str:
    """h_n of the last layer: forwards, then backwards."""
    part = next(step.part for step in reversed(steps) if isinstance(step, RecurrentStep))
    return torch_build.joined(builder, "state", before.h[-2 if part.bidirectional else -1 :])


def _step(builder: Builder, step: Step, x: str) -> str:
    if count := _inputs(step):
        _check_width(builder, label(step.part), count, x)  # type: ignore[union-attr]
    match step:
        case DenseStep(part, activation):
            bias = None if part.bias is None else values(part.bias, np.float32)
            return torch_build.dense(builder, label(part), x, values(part.kernel, np.float32), bias, activation)
        case EmbeddingStep(part):
            return builder.add(Embedding, label(part), (x,), values(part.table, np.float32))
        case ConvStep(part, activation):
            bias = np.zeros(part.kernel.shape[0]) if part.bias is None else values(part.bias, np.float32)
            kernel = values(part.kernel, np.float32).transpose(0, 2, 1)
            windows = step.groups, step.stride, step.dilation, step.left, step.right
            return builder.add(Conv1d, label(part), (x,), kernel, bias, activation, *windows)
        case PoolStep(kind, size, stride, padding, count_padding):
            counts = count_padding and kind == "average"
            return builder.add(Pool1d, "pool", (x,), kind, size, stride, padding, padding, count_padding=counts)
        case NormStep(part, epsilon, rms):
            if isinstance(part, BatchNorm):
                return torch_build.batch_norm(builder, part, epsilon, x)
            scale = values(part.scale, np.float32)
            offset = np.zeros(len(scale)) if part.offset is None else values(part.offset, np.float32)
            return builder.add(LayerNorm, label(part), (x,), scale, offset, epsilon, rms)
        case PreluStep(part):
            return torch_build.prelu(builder, label(part), x, values(part.scale, np.float32))
        case AttentionStep(part, heads, causal):
            return torch_build.attention(builder, part, heads, causal, x, x, x)
        case ActivationStep(activation):
            return builder.add(Activate, activation.name, (x,), activation)
        case LastStep(which):
            if which == "first":
                x = builder.add(Reverse, "reversed", (x,))
            return builder.add(Last, which, (x,))
        case ReduceStep(kind):
            return builder.add(Reduce, kind, (x,), kind)
        case FlattenStep(steps, channels):
            return torch_build.flatten(builder, x, steps, channels)
    raise AssertionError(f"no layer for {type(step).__name__}")


def _check_width(builder: Builder, name: str, inputs: int, x: str) -> None:
    if inputs != builder.width(x):
        raise CheckpointError(f"layer {name} reads {inputs} values, but {x} before it gives {builder.width(x)}")
