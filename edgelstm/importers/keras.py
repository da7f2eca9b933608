"""Keras checkpoints of every generation, read from their files alone: neither Keras nor TensorFlow is needed.

Read: `.keras` archives, whole `.h5` files, and weights-only `.h5` / `.weights.h5` with their configuration.
Nothing in a file is executed; what is not understood is refused by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ModelError
from ..model import Meta, Model, Source, Tensor
from . import hdf5, keras_files
from .keras_build import NEWEST, Build, Shape, Value
from .keras_config import PRECISIONS, plain, shown
from .keras_files import Checkpoint
from .keras_fold import settled
from .keras_graph import expand
from .keras_layers import check_kinds
from .keras_spec import MODELS, Spec, link, parse
from .keras_weights import attach


def read(path: Path, head: str | None = None, architecture: Path | str | None = None) -> Model:
    """The model of a Keras checkpoint. `architecture`: the configuration of a weights-only file, if not beside it."""
    if head is not None:
        raise CheckpointError("a Keras checkpoint tells its activations itself; leave `head` out")
    data = path.read_bytes()
    checkpoint = open_checkpoint(path, data, Path(architecture) if architecture is not None else None)
    return model_of(checkpoint, Source("keras", plain(path.name), hashlib.sha256(data).hexdigest()))


def model_of(checkpoint: Checkpoint, source: Source) -> Model:
    """The model of a checkpoint taken apart."""
    spec = parse(checkpoint.config)
    if spec.kind not in MODELS:
        raise CheckpointError(f"the checkpoint holds a {spec.kind!r}, expected a Sequential or functional model")
    check_kinds(spec)  # before its weights or its calls give a reason that hides this one
    link(spec)
    notes = checkpoint.notes + attach(spec, checkpoint)
    try:
        return _model(spec, checkpoint.version or _version_of(spec), checkpoint.backend, source, notes)
    except ModelError as error:
        raise CheckpointError(f"the checkpoint's model does not fit together: {error}") from None


def fixed_steps(checkpoint: Checkpoint) -> list[int | None]:
    """How many steps each input of a functional model has by its configuration; none of a Sequential, which has one
    input, and its steps are the model's window."""
    spec = parse(checkpoint.config)
    return [] if spec.kind == "Sequential" else [shape[0] if shape else None for _, shape in _input_shapes(spec)]


def open_checkpoint(path: Path, data: bytes, architecture: Path | None = None) -> Checkpoint:
    """A checkpoint's content taken apart, from its bytes; `path` tells where its configuration may lie."""
    if data.startswith(hdf5.MAGIC):
        return keras_files.open_hdf5(path, data, architecture)
    if architecture is not None:
        raise CheckpointError("the file holds its own architecture; leave `architecture` out")
    return keras_files.open_archive(data)


def generation(checkpoint: Checkpoint) -> str:
    """The generation of Keras that wrote a checkpoint: "1", "2" or "3"; what tells none is taken for 2."""
    version = checkpoint.version or _version_of(parse(checkpoint.config)) or "2"
    return version.split(".")[0]


def _model(spec: Spec, version: str | None, backend: str | None, source: Source, notes: tuple[str, ...]) -> Model:
    build = Build(version, backend)
    values = []
    for name, shape in _input_shapes(spec):
        if None in shape[1:] or (not shape and name):
            raise CheckpointError(f"input {name!r} has shape {_with_batch(shape)}; only its steps may be unknown")
        values.append(Value(build.unique(name), shape, None if len(shape) == 1 else True))
    outputs = [_whole(build, value) for value in expand(build, spec, values)]
    tensors, steps = [], set()
    for value in values:
        rows = build.forms.get(value.tensor, False) if value.rows is None else value.rows
        value = replace(value, rows=rows)
        if not rows and value.shape[0] is None:
            raise CheckpointError(
                f"input {value.tensor!r} has shape {_with_batch(value.shape)}; its size must be known"
            )
        tensors.append(Tensor(value.tensor, value.width, single=not rows))
        if rows:
            steps.add(value.shape[0])
        if rows and len(value.shape) > 2:
            _note_shape(build, "input", value)
    if build.release == (3, NEWEST) and any(key[0] == "mask" for key in build.known):
        build.note("the files do not tell which Keras 3 wrote them; masks are taken as Keras 3.15 does")
    layers, given = settled(build.layers, outputs)
    if not layers:
        raise CheckpointError("none of its layers computes anything outside training, so its outputs are its inputs")
    written = {tensor for layer in layers for tensor in layer.writes}
    return Model(
        tensors=(*tensors, *(tensor for tensor in build.tensors if tensor.name in written)),
        layers=tuple(layers),
        inputs=tuple(value.tensor for value in values),
        outputs=tuple(given),
        source=source,
        meta=Meta(window=steps.pop() if len(steps) == 1 else None),
        notes=notes + tuple(build.notes) + _precisions(build.policies) + _shared(build.repeated.values()),
    )


def _whole(build: Build, value: Value) -> str:
    """The tensor of an output."""
    value = build.settle(value, False, value.tensor)
    if value.truth is not None:
        raise CheckpointError(f"the output {value.tensor!r} is a mask, which is not supported")
    if value.rows and len(value.shape) > 2:
        _note_shape(build, "output", value)
    return value.tensor


def _note_shape(build: Build, what: str, value: Value) -> None:
    inner = " x ".join(str(n) for n in value.shape[1:])
    build.note(f"{what} {value.tensor}: a step is {inner} numbers in Keras; here they are {value.width} in that order")


def _precisions(policies: dict[str, list[str]]) -> tuple[str, ...]:
    """What is said of layers that Keras does not compute in float32."""
    notes = []
    for policy in policies:
        if f"mixed_{policy}" in policies:  # whose layers have casts between them
            continue
        layers = policies[policy] + policies.get(policy.removeprefix("mixed_"), []) * policy.startswith("mixed_")
        names = list(dict.fromkeys(map(plain, layers)))
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        notes.append(
            f"under the file's policy {policy} Keras computes {listed} in {PRECISIONS[policy]}; EdgeLSTM computes in "
            "float32, and so does the Keras that a conversion is proven by"
        )
    return tuple(notes)


def _shared(specs: Iterable[Spec]) -> tuple[str, ...]:
    names = ", ".join(plain(spec.name) for spec in specs)
    return (f"layers shared in Keras, of which each use has a copy here: {names}",) if names else ()


def _version_of(model: Spec) -> str | None:
    """The generation of a configuration that does not tell its version, by the keys only that generation has."""
    for leaf in model.leaves():
        if leaf.kind == "InputLayer" and "batch_shape" in leaf.config:
            return "3"
        if "inner_activation" in leaf.config:
            return "1"
    return None


def _input_shapes(model: Spec) -> list[tuple[str, Shape]]:
    """Name and shape, without the batch, of every input of a model."""
    if model.kind != "Sequential":
        specs = {spec.name: spec for spec in model.inner}
        return [(name, _shape(name, _declared(specs[name]) if name in specs else None)) for name, _, _ in model.inputs]
    first = model.inner[0]
    while first.kind == "Sequential":
        first = first.inner[0]
    if first.kind in MODELS:
        return _input_shapes(first)
    name = first.name if first.kind == "InputLayer" else "input"
    declared = _declared(first)
    if declared is None:
        declared = model.config.get("build_input_shape")
    return [(name, _shape(name, _guessed(first) if declared is None else declared))]


def _guessed(first: Spec) -> Any:
    """The shape that a first layer without one reads, by its tensors."""
    while first.kind in ("TimeDistributed", "Bidirectional", "RNN"):
        first = first.inner[0]
    kernel = first.tensors[0][1] if first.tensors else None
    if kernel is None:
        return None
    if first.kind == "Embedding":
        return [None, None]
    if first.kind in ("Conv1D", "SeparableConv1D", "DepthwiseConv1D"):
        return [None, None, kernel.shape[-2]] if kernel.ndim >= 3 and first.config.get("groups", 1) == 1 else None
    return [None, None, kernel.shape[0]] if kernel.ndim == 2 else None


def _declared(spec: Spec) -> Any:
    """The shape a first layer declares, with the batch in front."""
    while spec.kind in ("TimeDistributed", "Bidirectional") and not any(map(spec.config.get, SHAPES)):
        inner = spec.inner[0]
        if spec.kind == "TimeDistributed" or not any(map(inner.config.get, SHAPES)):
            return None
        spec = inner
    for key in SHAPES[:2]:
        if spec.config.get(key) is not None:
            return spec.config[key]
    if spec.config.get("input_shape") is not None:
        return [None, *spec.config["input_shape"]] if isinstance(spec.config["input_shape"], list) else None
    return None


SHAPES = ("batch_shape", "batch_input_shape", "input_shape")
"""Settings by which a first layer declares the shape of what it reads."""


def _shape(name: str, declared: Any) -> Shape:
    if not isinstance(declared, list) or not 2 <= len(declared) <= 5:
        if declared is None:
            raise CheckpointError(f"input {name!r} has shape None; the number of values a step must be known")
        raise CheckpointError(
            f"input {name!r} has shape {shown(declared)}, expected (sequences, steps, values) or (sequences, values)"
        )
    _, *rest = declared
    if not all(n is None or _is_size(n) for n in rest):
        raise CheckpointError(f"input {name!r} has shape {shown(declared)}; the number of values a step must be known")
    return tuple(rest)


def _with_batch(shape: Shape) -> str:
    return shown([None, *shape])


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
