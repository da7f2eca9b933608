"""Calls of models, layer by layer: rows of layers, functional graphs, and models inside others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import CheckpointError
from .keras_build import Build, Value
from .keras_config import Settings, precision, shown
from .keras_layers import apply, count, time_distributed
from .keras_shapes import leave
from .keras_spec import MAX_LAYERS, MODELS, OPERATIONS, Called, Reference, Spec


def expand(build: Build, model: Spec, inputs: Sequence[Value]) -> list[Value]:
    """Adds one call of a model, layer by layer; its outputs."""
    if model.kind != "Sequential":
        return _functional(build, model, inputs)
    if len(inputs) != 1:
        raise CheckpointError(f"model {model.name!r}: it is called on {len(inputs)} tensors, expected one")
    values = list(inputs)
    for spec in model.inner:
        if spec.kind == "InputLayer":
            check_input(spec)
            continue
        values = _call(build, spec, values, [], {})
        if len(values) > 1:
            raise CheckpointError(
                f"layer {spec.name!r}: it gives {len(values)} outputs (return_state?) in a row of layers"
            )
    return values


def _call(
    build: Build, spec: Spec, inputs: Sequence[Value], args: Sequence[Any], keywords: dict[str, Any]
) -> list[Value]:
    if spec.kind in MODELS:
        count(build)  # apply counts too; a model of empty models must end as well
        inputs = _with_masks(spec, inputs, keywords.pop("mask", None))
        if args or any(value not in (None, False) for value in keywords.values()):
            raise CheckpointError(f"model {spec.name!r}: it is called with more than its inputs; not supported")
        return expand(build, spec, inputs)
    if spec.kind != "TimeDistributed":
        return apply(build, spec, inputs, args, keywords)
    if len(inputs) != 1 or args:
        raise CheckpointError(f"layer {spec.name!r}: it is called on {len(inputs)} tensors, expected one")
    call, x = time_distributed(build, spec, inputs[0], keywords)
    (inner,) = spec.inner
    found = _call(build, inner, [x], [], {})
    if len(found) > 1:
        raise CheckpointError(f"layer {spec.name!r}: what it repeats gives {len(found)} outputs; one is supported")
    return [leave(call, found[0], call.x.shape[0], call.x.mask)]


def _with_masks(spec: Spec, inputs: Sequence[Value], masks: Any) -> Sequence[Value]:
    """What a model reads, under the masks it is called with."""
    if masks is None:
        return inputs
    listed = masks if isinstance(masks, list) else [masks]
    if len(listed) != len(inputs):
        raise CheckpointError(f"model {spec.name!r}: it is called with {len(listed)} masks for {len(inputs)} inputs")
    made = []
    for value, mask in zip(inputs, listed, strict=True):
        if mask is not None and (not isinstance(mask, Value) or not mask.rows or mask.width != 1):
            raise CheckpointError(f"model {spec.name!r}: it is called with a mask that is none of a sequence")
        everywhere = mask is not None and mask.truth is not None and mask.truth.items == (True,)
        made.append(value if mask is None else replace(value, mask=None if everywhere else mask.tensor))
    return made


def _functional(build: Build, model: Spec, inputs: Sequence[Value]) -> list[Value]:
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
        check_input(specs[name])
        values[name, 0] = [value]

    def there(reference: Reference) -> bool:
        return (reference.layer, order.get(reference.layer, {}).get(reference.call, -1)) in values

    def value_of(reference: Reference) -> Value:
        found = values[reference.layer, order[reference.layer][reference.call]]
        if reference.output >= len(found):
            raise CheckpointError(
                f"layer {reference.layer!r}: its output {reference.output} is used, it has {len(found)}"
            )
        return found[reference.output]

    pending = [(spec, n, called) for spec in model.inner for n, called in enumerate(spec.calls)]
    if len(pending) > MAX_LAYERS:
        raise CheckpointError(f"model {model.name!r}: {len(pending)} calls of layers, expected at most {MAX_LAYERS}")
    while pending:
        waiting = []
        for spec, n, called in pending:
            if all(map(there, called.reads())):
                args, keywords = _resolved(called, value_of)
                first, *rest = args or [()]
                tensors = first if isinstance(first, list) else [first]
                if args and all(isinstance(t, Value) for t in tensors) and tensors:
                    values[spec.name, n] = _call(build, spec, tensors, rest, keywords)
                elif spec.kind.startswith(OPERATIONS) or spec.kind == "TFOpLambda":
                    values[spec.name, n] = _call(build, spec, [], args, keywords)
                else:
                    values[spec.name, n] = _by_name(build, spec, args, keywords)
            else:
                waiting.append((spec, n, called))
        if len(waiting) == len(pending):
            names = ", ".join(repr(spec.name) for spec, _, _ in waiting[:5])
            raise CheckpointError(f"model {model.name!r}: the inputs of {names} come from no layer; it is damaged")
        pending = waiting
    for reference in model.outputs:
        if not there(reference):
            raise CheckpointError(f"model {model.name!r}: its output {shown(list(reference))} comes from no layer")
    return [value_of(reference) for reference in model.outputs]


FIRST = ("inputs", "sequences", "query", "x")
"""Names under which a layer may be given what it reads."""


def _by_name(build: Build, spec: Spec, args: list[Any], keywords: dict[str, Any]) -> list[Value]:
    name = next((key for key in FIRST if key in keywords), None)
    if args or name is None:
        raise CheckpointError(
            f"layer {spec.name!r}: it is called with {shown([a for a in args if not isinstance(a, Value)])}; "
            "only layers' outputs can be passed"
        )
    value = keywords.pop(name)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, Value) for v in values):
        raise CheckpointError(f"layer {spec.name!r}: it is called with {shown(name)} that is no layer's output")
    return _call(build, spec, values, [], keywords)


def _resolved(called: Called, value_of: Any) -> tuple[list[Any], dict[str, Any]]:
    """A call's arguments with values in the place of references."""

    def resolve(item: Any) -> Any:
        if isinstance(item, Reference):
            return value_of(item)
        if isinstance(item, list):
            return [resolve(part) for part in item]
        return item

    return [resolve(item) for item in called.args], {key: resolve(item) for key, item in called.keywords.items()}


def _call_numbers(model: Spec) -> dict[str, dict[int, int]]:
    """Per layer: the number by which the configuration refers to a call -> the call's place in `calls`.

    Keras 1 and 2 count the making of a nested model as its first call, without listing it, so its references
    start at 1. Every listed call is referred to, so the order decides where the numbers do not fit.
    """
    referred: dict[str, set[int]] = {}
    reads = [reference for spec in model.inner for called in spec.calls for reference in called.reads()]
    for name, call, _ in [*reads, *model.inputs, *model.outputs]:
        referred.setdefault(name, set()).add(call)
    numbers: dict[str, dict[int, int]] = {}
    for spec in model.inner:
        calls = max(1, len(spec.calls))
        found = sorted(referred.get(spec.name, ()))
        if len(found) == calls:
            numbers[spec.name] = {call: place for place, call in enumerate(found)}
        elif not found or found[-1] < calls:
            numbers[spec.name] = {call: call for call in range(calls)}
        else:
            raise CheckpointError(f"layer {spec.name!r}: {calls} calls are listed, but call {found[-1]} is used")
    return numbers


WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
"""Types of inputs that hold numbers of words and classes, or masks."""


def check_input(spec: Spec) -> None:
    settings = Settings(spec.name, spec.config)
    if settings.values.get("dtype") in WHOLE:
        settings.take("dtype")
    precision(settings)
    settings.finish()
