"""Which Keras layers are read, by whom, and what their calls do to masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import CheckpointError
from . import (
    keras_activations,
    keras_attention,
    keras_cells,
    keras_joins,
    keras_operations,
    keras_shapes,
    keras_steps,
    keras_windows,
)
from .keras_build import GIVEN_MASK, MASK_ORDER, MAX_CALLS, MAX_COPIED, Build, Call, Value
from .keras_config import Settings, shown
from .keras_operations import given_mask
from .keras_spec import MODELS, OPERATIONS, Spec

IDENTITIES = (
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
    "Identity",
)  # fmt: skip

LAYERS: dict[str, Callable[[Call], Value | list[Value]]] = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"), keras_cells.recurrent),
    "Bidirectional": keras_cells.bidirectional,
    "Dense": keras_steps.dense,
    "Embedding": keras_steps.embedding,
    "Masking": keras_steps.masking,
    "Conv1D": keras_windows.conv1d,
    "DepthwiseConv1D": keras_windows.depthwise_conv1d,
    "SeparableConv1D": keras_windows.separable_conv1d,
    **dict.fromkeys(("MaxPooling1D", "AveragePooling1D"), keras_windows.pool1d),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalAveragePooling1D"), keras_windows.global_pool1d),
    "Cropping1D": keras_windows.cropping1d,
    "ZeroPadding1D": keras_windows.zero_padding1d,
    "BatchNormalization": keras_steps.batch_normalization,
    "LayerNormalization": keras_steps.layer_normalization,
    "RMSNormalization": keras_steps.rms_normalization,
    "Normalization": keras_steps.normalization,
    "Rescaling": keras_steps.rescaling,
    "Flatten": keras_shapes.flatten,
    "Reshape": keras_shapes.reshape,
    "Permute": keras_shapes.permute,
    "RepeatVector": keras_shapes.repeat_vector,
    **keras_joins.LAYERS,
    **dict.fromkeys(("Attention", "AdditiveAttention"), keras_attention.attention),
    "MultiHeadAttention": keras_attention.multi_head_attention,
    "Activation": keras_steps.activation_layer,
    **dict.fromkeys(keras_activations.LAYERS, keras_steps.activation_layer),
    "Softmax": keras_steps.softmax_layer,
    "PReLU": keras_steps.prelu,
    **dict.fromkeys(IDENTITIES, keras_steps.identity),
    **keras_operations.LAYERS,
}
"""By class; TimeDistributed, which calls others, stands in `apply`."""

ADVICE = {
    "Lambda": "it holds code of the model's author; write what it computes with Keras' own layers",
    "Dot": "take Attention or Multiply and a pooling for what it computes",
    "ConvLSTM1D": "a convolution inside a cell is not supported",
    "TensorFlowOpLayer": "it holds a node of TensorFlow's graph; write what it computes with Keras' own layers",
    "UpSampling1D": "repeat the steps before they reach the model",
}
"""What to do about some layers that are not read."""

STEPWISE = (
    "Dense", "Embedding", "Activation", *keras_activations.LAYERS, *IDENTITIES, "BatchNormalization",
    "LayerNormalization", "RMSNormalization", "Normalization", "Rescaling",
)  # fmt: skip
"""Layers of the last axis, or of each value: a TimeDistributed around them changes nothing."""

INSIDE = (
    *STEPWISE, "Conv1D", "DepthwiseConv1D", "SeparableConv1D", "MaxPooling1D", "AveragePooling1D",
    "GlobalMaxPooling1D", "GlobalAveragePooling1D", "Flatten", "Reshape", "InputLayer", *keras_joins.LAYERS, "Masking",
    *keras_cells.GIVEN_STATES,
)  # fmt: skip
"""Layers that may stand inside a TimeDistributed."""

KEEPS_MASK = (
    "Dense", "Activation", *keras_activations.LAYERS, "PReLU", "Dropout", "SpatialDropout1D", "GaussianNoise",
    "GaussianDropout", "AlphaDropout", "ActivityRegularization", "BatchNormalization", "LayerNormalization",
)  # fmt: skip
"""Layers that hand on the mask of what they read (Keras: supports_masking)."""

KEEPS_MASK_SINCE_3 = ("Identity", "Normalization", "Rescaling")

MAKES_MASK = (
    "LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU", "Bidirectional", "Embedding", "Masking",
    *keras_joins.LAYERS, "Attention", "AdditiveAttention", "MultiHeadAttention",
)  # fmt: skip
"""Layers that decide themselves."""

TAKES_MASK = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "TimeDistributed", "Softmax", "BatchNormalization")
"""Layers that read a mask they are called with, instead of the one that came with what they read."""


def check_kinds(model: Spec) -> None:
    """CheckpointError names every layer of a kind that is not supported, and its kind."""
    known = {*LAYERS, *MODELS, "InputLayer", "TimeDistributed", *keras_cells.CELLS}
    unknown = [s for s in model.all() if s.kind not in known]
    if unknown:
        raise _unsupported(*unknown)


def _unsupported(first: Spec, *others: Spec) -> CheckpointError:
    names = [f"{_kind(spec)} ({shown(spec.name)})" for spec in others[:4]]
    names += [f"{len(others) - 4} more"] if len(others) > 4 else []
    more = f", nor are {', '.join(names)}" if names else ""
    advice = f": {ADVICE[first.kind]}" if first.kind in ADVICE else ""
    listed = ", ".join(["TimeDistributed", *(name for name in LAYERS if not name.startswith(OPERATIONS))])
    return CheckpointError(
        f"layer {shown(first.name)}: {_kind(first)} layers are not supported{advice}{more}; supported: {listed}"
    )


def _kind(spec: Spec) -> str:
    return shown(spec.kind.removeprefix(OPERATIONS))


def apply(
    build: Build, spec: Spec, inputs: Sequence[Value], args: Sequence[Any] = (), keywords: dict[str, Any] | None = None
) -> list[Value]:
    """Adds one call of a layer to the model; what it returns. CheckpointError names what is not supported."""
    count(build)
    if spec.kind not in LAYERS:
        raise _unsupported(spec)
    if id(spec) in build.called and any(leaf.tensors for leaf in spec.leaves()):
        build.repeated[id(spec)] = spec
        build.copied += sum(values.size for leaf in spec.leaves() for _, values in leaf.tensors)
        if build.copied > MAX_COPIED:
            raise CheckpointError(f"layer {spec.name!r}: shared so often that its copies exceed {MAX_COPIED} weights")
    given = spec.kind in TAKES_MASK and (keywords or {}).get("mask") is not None
    values = _prepared(build, spec, inputs)
    args = list(args)
    if not given:
        read = [*values, *(value for value in args if isinstance(value, Value))]
        values = tuple(_still_masked(build, spec, value, read) for value in values)
        args = [_still_masked(build, spec, v, read) if isinstance(v, Value) else v for v in args]
    call = Call(build, spec, Settings(spec.name, spec.config), values, tuple(args), dict(keywords or {}))
    if not spec.kind.startswith(OPERATIONS):
        keras_cells.note_precision(call)
    if spec.kind in TAKES_MASK:
        call = _masked(call)
    made = LAYERS[spec.kind](call)
    found = made if isinstance(made, list) else [made]
    call.settings.finish()
    _check_arguments(call)
    build.called.add(id(spec))
    for value in values if found and not given else ():
        if value.mask is not None:
            build.readers.setdefault(value.tensor, []).append(found[0].tensor)
    return [_with_mask(build, spec, value) for value in found]


def count(build: Build) -> None:
    """Counts a call of a layer or model."""
    build.calls += 1
    if build.calls > MAX_CALLS:
        raise CheckpointError(f"the model calls its layers more than {MAX_CALLS} times; refused")


def _prepared(build: Build, spec: Spec, inputs: Sequence[Value]) -> tuple[Value, ...]:
    if any(value.inside for value in inputs) and spec.kind not in INSIDE:
        raise CheckpointError(
            f"layer {spec.name!r}: TimeDistributed around {_kind(spec)} is not supported; "
            f"supported: {', '.join(INSIDE)}"
        )
    if spec.kind.startswith(OPERATIONS):
        return tuple(inputs)
    if any(value.truth is not None for value in inputs):
        raise CheckpointError(f"layer {spec.name!r}: it reads a mask, which is not supported")
    undecided = (*IDENTITIES, "Embedding", "TFOpLambda", "SlicingOpLambda")
    if spec.kind in undecided:
        return tuple(inputs)
    return tuple(build.settle(value, False, spec.name) for value in inputs)


def _still_masked(build: Build, spec: Spec, value: Value, values: Sequence[Value]) -> Value:
    """A value without the mask that a MultiHeadAttention has taken off it before."""
    if value.mask is None or value.tensor not in build.unmasked:
        return value
    if not build.depends([v.tensor for v in values], build.unmasked[value.tensor]):
        raise CheckpointError(f"layer {spec.name!r}: {MASK_ORDER}")
    return replace(value, mask=None)


def _masked(call: Call) -> Call:
    """The call with the mask it is given on what it reads."""
    mask = call.keywords.pop("mask", None)
    if mask is None or not call.inputs:
        return call
    first, *rest = call.inputs
    if call.spec.kind in keras_cells.GIVEN_STATES:
        call.keywords[GIVEN_MASK] = True
    return replace(call, inputs=(replace(first, mask=given_mask(call, mask)), *rest))


def _with_mask(build: Build, spec: Spec, value: Value) -> Value:
    """A value without its mask where Keras drops it."""
    generation = build.generation or 0
    keeps = spec.kind in KEEPS_MASK or spec.kind in MAKES_MASK
    keeps = keeps or (generation >= 3 and spec.kind in KEEPS_MASK_SINCE_3)
    return value if keeps or value.mask is None else replace(value, mask=None)


def _check_arguments(call: Call) -> None:
    """Refuses what a call is given besides what was honoured, unless it changes nothing."""
    for key, value in call.keywords.items():
        if value is None or (key == "training" and value is False) or (key == "name" and isinstance(value, str)):
            continue
        if key == "constants" and value == []:
            continue
        reason = (
            "it would compute as in training, for every answer"
            if key == "training"
            else "the argument is not supported"
        )
        raise call.refuse(f"it is called with {shown(key)} = {_shown(value)}: {reason}")
    beyond = call.args[1:] if call.spec.kind in keras_cells.CELLS or call.spec.kind in BEHIND else call.args
    if _takes_all(call.spec):
        return
    for value in beyond:
        if value is not None:
            raise call.refuse(f"it is called with a second argument {_shown(value)}, which is not supported")


BEHIND = ("RNN", "Bidirectional")
"""Layers whose second argument is an initial state."""


def _takes_all(spec: Spec) -> bool:
    """Whether a layer honours all arguments by place."""
    return spec.kind.startswith(OPERATIONS) or spec.kind in ("MultiHeadAttention", "TFOpLambda", "SlicingOpLambda")


def _shown(value: Any) -> str:
    return f"the output {value.tensor!r}" if isinstance(value, Value) else shown(value)


def time_distributed(build: Build, spec: Spec, x: Value, keywords: dict[str, Any]) -> tuple[Call, Value]:
    """The call of a TimeDistributed, and what the layer inside it reads."""
    count(build)
    call = Call(build, spec, Settings(spec.name, spec.config), (build.settle(x, False, spec.name),), (), dict(keywords))
    keras_cells.note_precision(call)
    call = _masked(call)
    call.settings.finish()
    _check_arguments(call)
    if call.x.mask is not None and any(inner.kind in keras_cells.GIVEN_STATES for inner in spec.all()):
        raise call.refuse("a mask of its steps, and a recurrent layer in it, is not supported")
    return call, keras_shapes.enter(call, call.x)
