"""A Keras configuration as a tree of layers: what is called, on what, and what lies inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import CheckpointError
from ..model import Array
from .keras_config import ALIASES, ENVELOPE, shown

MODELS = ("Sequential", "Functional", "Model")
MAX_NESTING = 16  # models inside models
MAX_LAYERS = 1024  # layers in one model, and calls of its layers
MAX_NAME = 256  # characters in a layer's name
MAX_ARGUMENTS = 256  # lists and values in one call
OPERATIONS = "operation "
"""Stands before the class of an operation that Keras 3 keeps among the layers, as `x + y`: some share their names."""


class Reference(NamedTuple):
    """A tensor: layer, the how-manieth call of it, the how-manieth output."""

    layer: str
    call: int
    output: int


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a layer: numbers, texts, lists, and References where a tensor is passed."""

    args: tuple[Any, ...]
    keywords: dict[str, Any]

    def reads(self) -> Iterator[Reference]:
        yield from _references_in([self.args, list(self.keywords.values())])


@dataclass(slots=True, eq=False)
class Spec:
    """One layer, wrapper or model of the configuration."""

    name: str
    kind: str  # Keras' class name
    config: dict[str, Any]
    nodes: Any = ()  # its calls as the configuration lists them
    calls: tuple[Called, ...] = ()  # filled in by `link`; none in Sequential models
    inner: tuple[Spec, ...] = ()  # a model's layers, or the layers a wrapper holds
    inputs: tuple[Reference, ...] = ()  # of a functional model
    outputs: tuple[Reference, ...] = ()
    place: str = "layer"  # inside a wrapper: where files by class keep its tensors
    tensors: list[tuple[str, Array]] = field(default_factory=list)  # (role, values), filled in from the weights

    def leaves(self) -> Iterator[Spec]:
        """The layers without layers inside, in Keras' order."""
        if not self.inner:
            yield self
        for spec in self.inner:
            yield from spec.leaves()

    def all(self) -> Iterator[Spec]:
        """Itself and all that lies inside."""
        yield self
        for spec in self.inner:
            yield from spec.all()


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
    if is_operation(str(kind), config, entry.get("module"), nodes):
        return Spec(name, f"{OPERATIONS}{kind}", config, nodes)
    kind = ALIASES.get(str(kind), str(kind))
    if kind in MODELS:
        return _parse_model(name, kind, config, nodes, depth)
    if kind in WRAPPERS:
        return WRAPPERS[kind](name, kind, config, nodes, depth)
    return Spec(name, kind, config, nodes)


def is_operation(kind: str, config: Any, module: Any, nodes: Any) -> bool:
    """Whether an entry is an operation: in .h5 files no module tells, but operations do not train."""
    if module is not None:
        return isinstance(module, str) and ".ops." in module
    called = isinstance(nodes, list) and bool(nodes) and isinstance(nodes[0], dict)
    layers = (*MODELS, "InputLayer", "SpatialDropout1D")  # which say nothing of training
    return called and kind not in layers and isinstance(config, dict) and "trainable" not in config


def is_of_keras(entry: dict[str, Any]) -> bool:
    """Whether a serialized object is of a class of Keras' own, not of one that the model's author gave its name."""
    module, registered = entry.get("module"), entry.get("registered_name")
    at_home = module is None or (isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras", "builtins"))
    return at_home and registered in (None, entry.get("class_name"))


def _check_origin(name: str, kind: str, entry: dict[str, Any]) -> None:
    """Refuses a user's own classes and keys that are not understood."""
    if not is_of_keras(entry):
        raise CheckpointError(
            f"layer {name!r}: {shown(entry.get('registered_name') or kind)} is a class of the model's author, not of "
            "Keras, and what it computes stands in its code alone; build the model of Keras' own layers, give it these "
            "weights, save that"
        )
    for key in entry:
        if key not in ENVELOPE:
            raise CheckpointError(f"layer {name!r}: the key {shown(key)} beside its config is not known")


# ---- wrappers ----


def _parse_repeated(name: str, kind: str, config: dict[str, Any], nodes: Any, depth: int) -> Spec:
    """TimeDistributed."""
    inner = parse(config.get("layer"), depth + 1, name)
    return Spec(name, kind, _without(config, "layer"), nodes, inner=(inner,))


def _parse_bidirectional(name: str, kind: str, config: dict[str, Any], nodes: Any, depth: int) -> Spec:
    """Bidirectional: without a backward layer of its own, the forward one in the other direction."""
    forward = parse(config.get("layer"), depth + 1, name)
    if config.get("backward_layer") is not None:
        backward = parse(config["backward_layer"], depth + 1, name)
    else:
        backward = parse(config.get("layer"), depth + 1, name)
        backward.config = {**backward.config, "go_backwards": backward.config.get("go_backwards") is not True}
        backward.name = "backward_" + backward.name.removeprefix("forward_").removeprefix("backward_")
    if not forward.name.startswith("forward_"):
        forward.name = "forward_" + forward.name
    forward.place, backward.place = "forward_layer", "backward_layer"
    return Spec(name, kind, _without(config, "layer", "backward_layer"), nodes, inner=(forward, backward))


def _parse_rnn(name: str, kind: str, config: dict[str, Any], nodes: Any, depth: int) -> Spec:
    """RNN around a cell, or around several one behind the other."""
    cell = parse(config.get("cell"), depth + 1, name)
    cell.place = "cell"
    rest = _without(config, "cell")
    if cell.kind != "StackedRNNCells":
        return Spec(name, kind, rest, nodes, inner=(cell,))
    entries = cell.config.get("cells")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_NESTING:
        raise CheckpointError(f"layer {name!r}: its StackedRNNCells hold no list of 1 to {MAX_NESTING} cells")
    known = {"name", "cells", "trainable", "dtype"}
    for key in cell.config:
        if key not in known:
            raise CheckpointError(f"layer {cell.name!r}: {shown(key)} = {shown(cell.config[key])} is not known")
    cells = tuple(parse(e, depth + 1, f"{name}_{n}") for n, e in enumerate(entries))
    counts: dict[str, int] = {}
    for spec in cells:
        snake = snake_case(spec.kind)
        count = counts.get(snake, 0)
        counts[snake] = count + 1
        spec.place = f"cell/cells/{snake}" + (f"_{count}" if count else "")
    return Spec(name, kind, rest, nodes, inner=cells)


WRAPPERS = {"TimeDistributed": _parse_repeated, "Bidirectional": _parse_bidirectional, "RNN": _parse_rnn}


def _without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def snake_case(name: str) -> str:
    """A class name as files by class spell it."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


# ---- models ----


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


# ---- calls ----


def link(spec: Spec) -> None:
    """Fills in `calls` of the whole tree. CheckpointError for a call that is not understood."""
    if not isinstance(spec.nodes, list | tuple) or len(spec.nodes) > MAX_LAYERS:
        raise CheckpointError(f"layer {spec.name!r}: its inbound_nodes are not a list; the configuration is damaged")
    spec.calls = tuple(
        _new_call(node, spec.name) if isinstance(node, dict) else _old_call(node, spec.name) for node in spec.nodes
    )
    for inner in spec.inner:
        link(inner)


def _new_call(node: dict[str, Any], name: str) -> Called:
    """Keras 3: {"args": [tensor or list of tensors], "kwargs": {...}}."""
    args, keywords = node.get("args"), node.get("kwargs") or {}
    if set(node) - {"args", "kwargs"} or not isinstance(args, list) or not isinstance(keywords, dict):
        raise CheckpointError(f"layer {name!r}: its call {shown(node)} is not understood")
    return Called(
        tuple(_new_argument(item, name) for item in args),
        {key: _new_argument(value, name) for key, value in keywords.items()},
    )


def _new_argument(item: Any, name: str, depth: int = 0) -> Any:
    if depth > 4:
        raise CheckpointError(f"layer {name!r}: the arguments of its call nest too deep")
    if isinstance(item, list):
        if len(item) > MAX_ARGUMENTS:
            raise CheckpointError(f"layer {name!r}: it is called with {len(item)} values in one list")
        return [_new_argument(part, name, depth + 1) for part in item]
    if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
        history = item["config"].get("keras_history") if isinstance(item.get("config"), dict) else None
        return _reference(history, name)
    return item


def _old_call(node: Any, name: str) -> Called:
    """Keras 1 and 2: [[layer, call, output, arguments], ...], or one such entry by itself."""
    if not isinstance(node, list) or len(node) > MAX_ARGUMENTS:
        raise CheckpointError(f"layer {name!r}: its call {shown(node)} is not understood")
    alone = bool(node) and isinstance(node[0], str)
    inputs: list[Any] = []
    keywords: dict[str, Any] = {}
    for item in [node] if alone else node:
        if not isinstance(item, list) or not 3 <= len(item) <= 4:
            raise CheckpointError(f"layer {name!r}: its call {shown(item)} is not understood")
        if len(item) == 4:
            if item[3] is not None and not isinstance(item[3], dict):
                raise CheckpointError(f"layer {name!r}: the arguments {shown(item[3])} of its call are not understood")
            for key, value in (item[3] or {}).items():
                keywords[key] = _old_argument(value, name)
        constant = item[0] == "_CONSTANT_VALUE" and item[1] == -1
        inputs.append(item[2] if constant else _reference(item[:3], name))
    return Called((inputs[0] if len(inputs) == 1 else inputs,) if inputs else (), keywords)


def _old_argument(value: Any, name: str, depth: int = 0) -> Any:
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        return value[2] if value[0] == "_CONSTANT_VALUE" else _reference(value, name)
    if isinstance(value, list) and depth < 4:
        return [_old_argument(part, name, depth + 1) for part in value[: MAX_ARGUMENTS + 1]]
    return value


def _references_in(value: Any) -> Iterator[Reference]:
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _references_in(part)


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
        return Reference(value[0], value[1], value[2])
    raise CheckpointError(f"layer {name!r}: the reference {shown(value)} is not understood")
