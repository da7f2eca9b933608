"""A Keras configuration as a tree of layers: what is called, on what, and what lies inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError
from ..model import Array
from .keras_config import ENVELOPE, shown

MODELS = ("Sequential", "Functional", "Model")
MAX_NESTING = 16  # models inside models
MAX_LAYERS = 1024  # layers in one model, and calls of its layers
MAX_NAME = 256  # characters in a layer's name

Reference = tuple[str, int, int]
"""A tensor: layer, the how-manieth call of it, the how-manieth output."""


@dataclass(slots=True, eq=False)
class Spec:
    """One layer, wrapper or model of the configuration."""

    name: str
    kind: str  # Keras' class name
    config: dict[str, Any]
    nodes: Any = ()  # its calls as the configuration lists them
    calls: tuple[
        tuple[Reference, ...], ...
    ] = ()  # what each call reads, filled in by `link`; none in Sequential models
    inner: tuple[Spec, ...] = ()  # a model's layers, or the layer a wrapper repeats
    inputs: tuple[Reference, ...] = ()  # of a functional model
    outputs: tuple[Reference, ...] = ()
    tensors: list[tuple[str, Array]] = field(default_factory=list)  # (role, values), filled in from the weights

    def leaves(self) -> Iterator[Spec]:
        """The layers without layers inside, in Keras' order."""
        if not self.inner:
            yield self
        for spec in self.inner:
            yield from spec.leaves()


def parse(entry: Any, depth: int = 0, fallback: str = "model") -> Spec:
    """The tree of a serialized model or layer, its calls not read yet.

    CheckpointError where it is malformed or of a user's own class.
    """
    if depth > MAX_NESTING:
        raise CheckpointError(f"the configuration nests more than {MAX_NESTING} models; refused")
    if isinstance(entry, list):  # the bare config of a Keras 1 Sequential model
        entry = {"class_name": "Sequential", "config": entry}
    if isinstance(entry, dict) and "class_name" not in entry and isinstance(entry.get("layers"), list):
        kind = "Functional" if "input_layers" in entry else "Sequential"  # what model.get_config() returns
        entry = {"class_name": kind, "config": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise CheckpointError(f"the configuration holds {shown(entry)} where a layer should be; it is damaged")
    kind, config = entry["class_name"], entry.get("config")
    if kind == "Sequential" and isinstance(config, list):
        config = {"name": entry.get("name", fallback), "layers": config}
    if not isinstance(config, dict):
        raise CheckpointError(f"a layer of class {shown(kind)} has no config; the configuration is damaged")
    name = config.get("name", entry.get("name", fallback))
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise CheckpointError(f"a layer is named {shown(name)}, expected a text of 1 to {MAX_NAME} characters")
    _check_origin(name, kind, entry)
    nodes = entry.get("inbound_nodes", [])
    if kind in MODELS:
        return _parse_model(name, kind, config, nodes, depth)
    if kind == "TimeDistributed":
        inner = parse(config.get("layer"), depth + 1, name)
        rest = {key: value for key, value in config.items() if key != "layer"}
        return Spec(name, kind, rest, nodes, inner=(inner,))
    return Spec(name, kind, config, nodes)


def _check_origin(name: str, kind: str, entry: dict[str, Any]) -> None:
    """Refuses a user's own classes and keys that are not understood."""
    module, registered = entry.get("module"), entry.get("registered_name")
    keras = module is None or (isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras", "builtins"))
    if not keras or (registered is not None and registered != kind):
        raise CheckpointError(
            f"layer {name!r}: {shown(registered or kind)} is a class of the model's author, not of Keras; "
            "only Keras' own layers can be imported"
        )
    for key in entry:
        if key not in ENVELOPE:
            raise CheckpointError(f"layer {name!r}: the key {shown(key)} beside its config is not known")


def _parse_model(name: str, kind: str, config: dict[str, Any], nodes: Any, depth: int) -> Spec:
    entries = config.get("layers")
    if not isinstance(entries, list) or not entries:
        raise CheckpointError(f"model {name!r}: it has no layers, or was never built; call it once and save it again")
    if len(entries) > MAX_LAYERS:
        raise CheckpointError(f"model {name!r}: {len(entries)} layers, expected at most {MAX_LAYERS}")
    inner = tuple(parse(e, depth + 1, f"{name}_{n}") for n, e in enumerate(entries))
    known = {"name", "layers", "trainable", "dtype", "build_input_shape", "input_layers", "output_layers"}
    for key in config:
        if key not in known:
            raise CheckpointError(f"model {name!r}: {shown(key)} = {shown(config[key])} is not known")
    names = [spec.name for spec in inner]
    if len(set(names)) != len(names):
        raise CheckpointError(f"model {name!r}: two of its layers share a name; the configuration is damaged")
    if kind == "Sequential":
        inner = tuple(spec for outer in inner for spec in _flat(outer))
        return Spec(name, kind, config, nodes, inner=inner)
    inputs = tuple(references(config.get("input_layers"), name))
    outputs = tuple(references(config.get("output_layers"), name))
    if not inputs or not outputs:
        raise CheckpointError(f"model {name!r}: it names no inputs or no outputs; the configuration is damaged")
    return Spec(name, kind, config, nodes, inner=inner, inputs=inputs, outputs=outputs)


def _flat(spec: Spec) -> tuple[Spec, ...]:
    """Keras 1 lists the layers of a Sequential inside a Sequential as its own; later ones keep them apart."""
    bare = spec.kind == "Sequential" and "trainable" not in spec.config and "output_dim" in _settings(spec)
    return spec.inner if bare else (spec,)


def _settings(spec: Spec) -> set[str]:
    return {key for leaf in spec.leaves() for key in leaf.config}


def link(spec: Spec) -> None:
    """Fills in `calls` of the whole tree. CheckpointError for a call with arguments that are not understood."""
    spec.calls = _calls(spec.name, spec.nodes)
    for inner in spec.inner:
        link(inner)


def _calls(name: str, nodes: Any) -> tuple[tuple[Reference, ...], ...]:
    if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
        raise CheckpointError(f"layer {name!r}: its inbound_nodes are not a list; the configuration is damaged")
    return tuple(tuple(_new_call(node, name) if isinstance(node, dict) else _old_call(node, name)) for node in nodes)


def _new_call(node: dict[str, Any], name: str) -> Iterator[Reference]:
    """Keras 3: {"args": [tensor or list of tensors], "kwargs": {...}}."""
    if set(node) - {"args", "kwargs"} or not isinstance(node.get("args"), list):
        raise CheckpointError(f"layer {name!r}: its call {shown(node)} is not understood")
    _check_arguments(node.get("kwargs"), name)
    pending = list(reversed(node["args"]))
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            history = item["config"].get("keras_history") if isinstance(item.get("config"), dict) else None
            yield _reference(history, name)
        elif item is not None:
            raise CheckpointError(
                f"layer {name!r}: it is called with {shown(item)}; only layers' outputs can be passed"
            )


def _old_call(node: Any, name: str) -> Iterator[Reference]:
    """Keras 1 and 2: [[layer, call, output, arguments], ...], or one such entry by itself."""
    if not isinstance(node, list):
        raise CheckpointError(f"layer {name!r}: its call {shown(node)} is not understood")
    for item in [node] if node and isinstance(node[0], str) else node:
        if not isinstance(item, list) or not 3 <= len(item) <= 4:
            raise CheckpointError(f"layer {name!r}: its call {shown(item)} is not understood")
        if len(item) == 4:
            _check_arguments(item[3], name)
        yield _reference(item[:3], name)


def _check_arguments(arguments: Any, name: str) -> None:
    """Refuses what a call is given besides its input, unless it changes nothing."""
    if arguments is None:
        return
    if not isinstance(arguments, dict):
        raise CheckpointError(f"layer {name!r}: the arguments {shown(arguments)} of its call are not understood")
    for key, value in arguments.items():
        if value is None or (key == "training" and value is False):
            continue
        reason = "dropout would act on every answer" if key == "training" else "the argument is not supported"
        raise CheckpointError(f"layer {name!r}: it is called with {shown(key)} = {shown(value)}: {reason}")


def references(value: Any, name: str) -> Iterator[Reference]:
    """Tensors as input_layers and output_layers list them: one, a list, or a table of names."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list):
        raise CheckpointError(f"model {name!r}: its inputs or outputs {shown(value)} are not understood")
    for item in value:
        yield _reference(item, name)


def _reference(value: Any, name: str) -> Reference:
    if (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value[1:])
    ):
        return value[0], value[1], value[2]
    raise CheckpointError(f"layer {name!r}: the reference {shown(value)} is not understood")
