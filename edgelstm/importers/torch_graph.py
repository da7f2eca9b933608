"""A traced PyTorch graph to a model: node by node, each operation honoured or named.

What is the same for every input (weights, zeros, shapes) is computed by PyTorch itself. What cannot be honoured is an
error only where an answer needs it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import CheckpointError, ModelError
from ..model import Array
from .torch_build import Builder
from .torch_names import Weight
from .torch_values import Axis, Misplaced, Refuse, Rows, settled

HARMLESS = frozenset(
    ("pin_memory", "device", "layout", "memory_format", "cudnn_enabled", "non_blocking", "copy", "generator",
     "implicit", "benchmark", "deterministic", "allow_tf32", "output_mask", "cudnn_enable", "momentum", "padding_idx",
     "scale_grad_by_freq", "sparse", "half_to_float", "dropout", "is_coalesced")
)  # fmt: skip
"""Settings that change no answer of a trained model."""

_LENGTHS = frozenset(("to", "_to_copy", "clone", "detach", "alias", "lift_fresh", "sort", "_pack_padded_sequence"))
"""What may be done to lengths."""

_VIEWS = frozenset(
    ("view", "transpose", "permute", "select", "slice", "squeeze", "unsqueeze", "expand", "t", "alias", "unbind",
     "split", "chunk", "narrow", "diagonal", "as_strided", "unflatten", "flatten", "reshape", "detach")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Const:
    """A tensor that is the same for every input."""

    name: str
    tensor: Any

    def array(self) -> Array:
        """Its numbers, as float64."""
        made: Array = self.tensor.detach().cpu().double().numpy()
        return made

    def weight(self) -> Weight:
        kind = str(self.tensor.dtype).removeprefix("torch.")
        return Weight(self.name, tuple(self.tensor.shape), kind, self.array)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many steps of a sequence count, which the model reads as a mask."""

    mask: str


@dataclass(frozen=True, slots=True)
class Packed:
    """A sequence of which the steps count that the mask says; axes as with batch_first."""

    rows: Rows
    mask: str


@dataclass(frozen=True, slots=True)
class Score:
    """How much each query looks at each key, of an attention: (..., queries, keys)."""

    query: str
    key: str
    axes: tuple[Axis, ...]  # the heads among them
    heads: int
    scale: float = 1.0
    soft: bool = False  # softmax was taken over the keys
    causal: bool = False


_LIVE = (Rows, Lengths, Packed, Score)


@dataclass(frozen=True, slots=True)
class Refused:
    """What could not be honoured. misplaced: because of the axes the input was taken to have."""

    reason: str
    misplaced: bool = False


@dataclass(slots=True)
class Args:
    """The arguments of an operation by name; each is taken once."""

    values: dict[str, Any]
    defaults: dict[str, Any]

    def take(self, name: str, default: Any = None) -> Any:
        value = self.values.pop(name, default)
        return default if value is None else value

    def rows(self, name: str) -> Rows:
        value = self.values.pop(name, None)
        if not isinstance(value, Rows):
            raise Refuse(f"its {name} is no sequence or row of the model's")
        return value

    def const(self, name: str) -> Const | None:
        value = self.values.pop(name, None)
        if value is not None and not isinstance(value, Const):
            raise Refuse(f"its {name} is computed from the input")
        return value

    def check(self) -> None:
        """Refuse if something was not taken that is not as usual."""
        for name, value in self.values.items():
            if name not in HARMLESS and value is not None and value != self.defaults.get(name):
                raise Refuse(f"its {name} is {value}")


Handler = Callable[["Walk", str, Args], Any]


@dataclass(slots=True)
class Walk:
    """A walk along a graph."""

    builder: Builder
    handlers: Mapping[str, Handler]
    rowwise: frozenset[str]  # operations on each row alone
    own: frozenset[str]  # operations that see to a step put off themselves
    used: dict[str, Weight] = field(default_factory=dict)  # weights by name
    env: dict[Any, Any] = field(default_factory=dict)
    seen: dict[Any, Any] = field(default_factory=dict)  # layers made once for all steps of a loop
    rounded: set[str] = field(default_factory=set)  # number types below float32 that float32 stands for
    node: Any = None

    def run(self, graph: Any, given: Mapping[Any, Any], attributes: Callable[[str], Any]) -> Any:
        """What the graph's output node holds. given: values of placeholders."""
        for node in graph.nodes:
            self.node = node
            match node.op:
                case "placeholder":
                    self.env[node] = given[node]
                case "get_attr":
                    self.env[node] = Const(*attributes(str(node.target)))
                case "call_function":
                    self.env[node] = self.value(node)
                case "output":
                    return self.resolve(node.args[0])
                case _:
                    raise CheckpointError(f"{node.name}: a graph node of kind {node.op}")
        raise CheckpointError("a graph without output")

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return (
                type(value)(self.resolve(v) for v in value)
                if type(value) in (list, tuple)
                else [*map(self.resolve, value)]
            )
        if isinstance(value, dict):
            return {key: self.resolve(v) for key, v in value.items()}
        return self.env[value] if type(value).__name__ == "Node" else value

    def value(self, node: Any) -> Any:
        args, kwargs = self.resolve(tuple(node.args)), self.resolve(dict(node.kwargs))
        if node.target is operator.getitem:
            try:
                return args[0] if isinstance(args[0], Refused) else args[0][args[1]]
            except (LookupError, TypeError):
                return Refused(f"{node.name}: an answer that is not read")
        flat = _flat((args, kwargs))
        refused = next((value for value in flat if isinstance(value, Refused)), None)
        if refused is not None:
            return refused
        schema = getattr(node.target, "_schema", None)
        name = operation_name(node) or getattr(node.target, "__name__", str(node.target))
        try:
            if not any(isinstance(value, _LIVE) for value in flat):
                return self.constant(node, args, kwargs)
            if schema is None:
                raise Refuse("an operation that is not of PyTorch's tensors")
            if name not in _LENGTHS and any(isinstance(value, Lengths) for value in flat):
                raise Refuse("lengths that serve other than to pack sequences")
            if schema.is_mutable:
                self.check_change(node)
                name = name.rstrip("_")
            made = self.operation(node, name, schema, args, kwargs)
            if schema.is_mutable:
                self.env[node.args[0]] = made
            return made
        except (TypeError, AttributeError, LookupError, ValueError, RuntimeError, AssertionError) as error:
            return Refused(f"{node.name} ({name}): it is used in a way that is not understood ({type(error).__name__})")
        except (CheckpointError, ModelError) as error:
            return Refused(f"{node.name} ({name}): {error}", isinstance(error, Misplaced))

    def constant(self, node: Any, args: Any, kwargs: Any) -> Any:
        tags = {str(tag) for tag in getattr(node.target, "tags", ())}
        if any("nondeterministic" in tag for tag in tags):
            raise Refuse("random numbers")
        import torch

        with torch.no_grad():
            made = node.target(*_plain(args), **_plain(kwargs))
        return _consts(made, node.name)

    def check_change(self, node: Any) -> None:
        """A tensor changed in place must have no views that are used: they would change with it."""
        changed = node.args[0]
        around = [user for user in changed.users if user is not node and operation_name(user) in _VIEWS]
        if around or operation_name(changed) in _VIEWS or isinstance(self.env.get(changed), Const):
            raise Refuse("it changes a tensor in place that others view")

    def operation(self, node: Any, name: str, schema: Any, args: Any, kwargs: Any) -> Any:
        handler = self.handlers.get(name)
        if handler is None:
            raise Refuse("this operation is not supported")
        names = [argument.name for argument in schema.arguments]
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        given = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        if name in self.own:
            return self.called(handler, node.name, given, defaults)
        found = {value.at for value in _flat(given) if isinstance(value, Rows) and value.at is not None}
        if len(found) == 1 and name in self.rowwise:
            return self.lifted(handler, name, node.name, given, defaults, found.pop())
        return self.called(handler, node.name, self.settle(given), defaults)

    def called(self, handler: Handler, name: str, given: dict[str, Any], defaults: dict[str, Any]) -> Any:
        bound = Args(dict(given), defaults)
        made = handler(self, name, bound)
        bound.check()
        return made

    def settle(self, value: Any) -> Any:
        if isinstance(value, Rows):
            return settled(self.builder, value)
        if isinstance(value, list | tuple):
            return [self.settle(v) for v in value]
        return {key: self.settle(v) for key, v in value.items()} if isinstance(value, dict) else value

    def lifted(
        self, handler: Handler, name: str, node: str, given: dict[str, Any], defaults: dict[str, Any], at: int
    ) -> Any:
        """An operation on one step of a sequence, made once for all its steps: a loop is a layer again."""
        count = next(value.steps for value in _flat(given) if isinstance(value, Rows) and value.at is not None)
        key = (name, _key(given))
        if key not in self.seen:
            self.seen[key] = self.called(handler, node, _unlifted(given), defaults)
        return _lifted(self.seen[key], at, count)

    def name_of(self, weight: Const | None, otherwise: str) -> str:
        """The module's name, where a weight tells it."""
        module = weight.name.rpartition(".")[0] if weight is not None else ""
        return module or otherwise

    def weight(self, const: Const) -> Weight:
        weight = const.weight()
        self.used[weight.name] = weight
        return weight


def operation_name(node: Any) -> str:
    """PyTorch's name of a node's operation, "" if it is none of PyTorch's."""
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name).split("::")[-1]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for v in value for leaf in _flat(v)] if isinstance(value, list | tuple) else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, Const):
        return value.tensor
    if isinstance(value, list | tuple):
        return type(value)(_plain(v) for v in value)
    return {key: _plain(v) for key, v in value.items()} if isinstance(value, dict) else value


def _consts(value: Any, name: str) -> Any:
    if hasattr(value, "detach"):
        return Const(name, value)
    return tuple(_consts(v, f"{name}.{k}") for k, v in enumerate(value)) if isinstance(value, list | tuple) else value


def _key(value: Any) -> Any:
    if isinstance(value, Rows):
        return (value.tensor, value.axes, value.at is None)
    if isinstance(value, Const):
        return ("const", value.name)
    if isinstance(value, dict):
        return tuple((key, _key(v)) for key, v in sorted(value.items()))
    return tuple(_key(v) for v in value) if isinstance(value, list | tuple) else (type(value).__name__, str(value))


def _unlifted(value: Any) -> Any:
    if isinstance(value, Rows):
        return replace(value, at=None, steps=0)
    if isinstance(value, list | tuple):
        return [_unlifted(v) for v in value]
    return {key: _unlifted(v) for key, v in value.items()} if isinstance(value, dict) else value


def _lifted(value: Any, at: int, count: int) -> Any:
    if isinstance(value, Rows):
        return replace(value, at=at, steps=count)
    return type(value)(_lifted(v, at, count) for v in value) if isinstance(value, list | tuple) else value
