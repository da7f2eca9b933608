"""Keras checkpoints of every generation, read from their files alone: neither Keras nor TensorFlow is needed.

Read: `.keras` archives, whole `.h5` files, and weights-only `.h5` / `.weights.h5` with their configuration.
Nothing in a file is executed; what is not understood is refused by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ModelError
from ..layers import LINEAR, Activate, Dense, Layer
from ..model import Meta, Model, Source
from . import hdf5, keras_files
from .keras_config import Settings, plain, precision, shown
from .keras_files import Checkpoint
from .keras_layers import Build, Value, apply, check_kinds
from .keras_spec import MAX_LAYERS, MODELS, Reference, Spec, link, parse
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
        return _model(spec, checkpoint.version or _version_of(spec), source, notes)
    except ModelError as error:
        raise CheckpointError(f"the checkpoint's model does not fit together: {error}") from None


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


def _model(spec: Spec, version: str | None, source: Source, notes: tuple[str, ...]) -> Model:
    build = Build(version)
    shapes = _input_shapes(spec)
    inputs = []
    for name, shape in shapes:
        width = shape[2]
        tensor = build.tensor(build.unique(name), width)
        inputs.append(Value(tensor, width, True))
    outputs = [value.tensor for value in expand(build, spec, inputs)]
    layers = merge(build.layers, outputs)
    written = {layer.writes[0] for layer in layers} | {value.tensor for value in inputs}
    steps = {shape[1] for _, shape in shapes}
    window = steps.pop() if len(steps) == 1 else None
    return Model(
        tensors=tuple(tensor for tensor in build.tensors if tensor.name in written),
        layers=tuple(layers),
        inputs=tuple(value.tensor for value in inputs),
        outputs=tuple(outputs),
        source=source,
        meta=Meta(window=window),
        notes=notes + tuple(build.notes) + _shared(build.repeated.values()),
    )


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


def expand(build: Build, model: Spec, inputs: Sequence[Value]) -> list[Value]:
    """Adds one call of a model, layer by layer; its outputs."""
    if model.kind == "Sequential":
        if len(inputs) != 1:
            raise CheckpointError(f"model {model.name!r}: it is called on {len(inputs)} tensors, expected one")
        values = list(inputs)
        for spec in model.inner:
            if spec.kind == "InputLayer":
                _check_input(spec)
            elif spec.config.get("return_state") is True:
                raise CheckpointError(f"layer {spec.name!r}: return_state gives it several outputs in a row of layers")
            else:
                values = _call(build, spec, values)
        return values
    return _expand_functional(build, model, inputs)


def _call(build: Build, spec: Spec, inputs: Sequence[Value]) -> list[Value]:
    if spec.kind in MODELS:
        build.calls += 1  # apply counts too; a model of empty models must end as well
        return expand(build, spec, inputs)
    if len(inputs) != 1:
        raise CheckpointError(f"layer {spec.name!r}: it is called on {len(inputs)} tensors, expected one")
    return [apply(build, spec, inputs[0])]


def _expand_functional(build: Build, model: Spec, inputs: Sequence[Value]) -> list[Value]:
    if len(inputs) != len(model.inputs):
        raise CheckpointError(
            f"model {model.name!r}: called on {len(inputs)} tensors, it has {len(model.inputs)} inputs"
        )
    specs = {spec.name: spec for spec in model.inner}
    order = _call_numbers(model)
    values: dict[tuple[str, int], list[Value]] = {}
    for (name, _, _), value in zip(model.inputs, inputs, strict=True):
        if name not in specs or specs[name].kind != "InputLayer":
            raise CheckpointError(f"model {model.name!r}: its input {name!r} is not an InputLayer of it")
        _check_input(specs[name])
        values[name, 0] = [value]

    def value_of(reference: Reference) -> Value:
        name, call, output = reference
        found = values[name, order[name][call]]
        if output >= len(found):
            raise CheckpointError(f"layer {name!r}: its output {output} (a state?) is used, which is not supported")
        return found[output]

    pending = [(spec, n, reads) for spec in model.inner for n, reads in enumerate(spec.calls)]
    if len(pending) > MAX_LAYERS:
        raise CheckpointError(f"model {model.name!r}: {len(pending)} calls of layers, expected at most {MAX_LAYERS}")
    while pending:
        waiting = []
        for spec, n, reads in pending:
            if all((name, order.get(name, {}).get(call, -1)) in values for name, call, _ in reads):
                values[spec.name, n] = _call(build, spec, [value_of(reference) for reference in reads])
            else:
                waiting.append((spec, n, reads))
        if len(waiting) == len(pending):
            names = ", ".join(repr(spec.name) for spec, _, _ in waiting[:5])
            raise CheckpointError(f"model {model.name!r}: the inputs of {names} come from no layer; it is damaged")
        pending = waiting
    for reference in model.outputs:
        if (reference[0], order.get(reference[0], {}).get(reference[1], -1)) not in values:
            raise CheckpointError(f"model {model.name!r}: its output {shown(list(reference))} comes from no layer")
    return [value_of(reference) for reference in model.outputs]


def _call_numbers(model: Spec) -> dict[str, dict[int, int]]:
    """Per layer: the number by which the configuration refers to a call -> the call's place in `calls`.

    Keras 1 and 2 count the making of a nested model as its first call, without listing it, so its references
    start at 1. Every listed call is referred to, so the order decides where the numbers do not fit.
    """
    referred: dict[str, set[int]] = {}
    for reads in [*(reads for spec in model.inner for reads in spec.calls), model.inputs, model.outputs]:
        for name, call, _ in reads:
            referred.setdefault(name, set()).add(call)
    numbers: dict[str, dict[int, int]] = {}
    for spec in model.inner:
        count = max(1, len(spec.calls))
        found = sorted(referred.get(spec.name, ()))
        if len(found) == count:
            numbers[spec.name] = {call: place for place, call in enumerate(found)}
        elif not found or found[-1] < count:
            numbers[spec.name] = {call: call for call in range(count)}
        else:
            raise CheckpointError(f"layer {spec.name!r}: {count} calls are listed, but call {found[-1]} is used")
    return numbers


def _check_input(spec: Spec) -> None:
    settings = Settings(spec.name, spec.config)
    precision(settings)
    settings.finish()


def _input_shapes(model: Spec) -> list[tuple[str, tuple[None, int | None, int]]]:
    """Name and (None, steps or None, width) of every input of a model."""
    if model.kind != "Sequential":
        specs = {spec.name: spec for spec in model.inner}
        return [(name, _shape(name, _declared(specs[name]) if name in specs else None)) for name, _, _ in model.inputs]
    first = model.inner[0]
    while first.kind == "Sequential":
        first = first.inner[0]
    if first.kind in MODELS:
        return _input_shapes(first)
    name = first.name if first.kind == "InputLayer" else "input"
    declared = _declared(first) or model.config.get("build_input_shape")
    if declared is None:  # a layer's first tensor has a row per input, whatever the Keras
        kernel = next((leaf.tensors[0][1] for leaf in model.leaves() if leaf.tensors), None)
        declared = [None, None, kernel.shape[0]] if kernel is not None and kernel.ndim == 2 else None
    return [(name, _shape(name, declared))]


def _declared(spec: Spec) -> Any:
    """The shape a first layer declares, with the batch in front."""
    for key in ("batch_shape", "batch_input_shape"):
        if spec.config.get(key) is not None:
            return spec.config[key]
    if spec.config.get("input_shape") is not None:
        return [None, *spec.config["input_shape"]] if isinstance(spec.config["input_shape"], list) else None
    return None


def _shape(name: str, declared: Any) -> tuple[None, int | None, int]:
    if isinstance(declared, list) and len(declared) == 3:
        _, steps, width = declared
        if _is_size(width) and (steps is None or _is_size(steps)):
            return None, steps, width
    if isinstance(declared, list) and len(declared) != 3:
        raise CheckpointError(
            f"input {name!r} has shape {shown(declared)}, expected (sequences, steps, values); "
            "only sequences of values can be read"
        )
    raise CheckpointError(f"input {name!r} has shape {shown(declared)}; the number of values a step must be known")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def merge(layers: Iterable[Layer], outputs: Sequence[str]) -> list[Layer]:
    """Puts an activation into the linear Dense before it where nobody else reads what the Dense writes."""
    merged: list[Layer] = list(layers)
    readers: dict[str, int] = dict.fromkeys(outputs, 1)
    for layer in merged:
        readers[layer.reads[0]] = readers.get(layer.reads[0], 0) + 1
    writers = {layer.writes[0]: place for place, layer in enumerate(merged)}
    gone: set[int] = set()
    for place, layer in enumerate(merged):
        source = writers.get(layer.reads[0])
        if not isinstance(layer, Activate) or source is None or readers[layer.reads[0]] != 1:
            continue
        before = merged[source]
        if isinstance(before, Dense) and before.activation == LINEAR and source not in gone:
            merged[place] = replace(before, writes=layer.writes, activation=layer.activation)
            gone.add(source)
    return [layer for place, layer in enumerate(merged) if place not in gone]
