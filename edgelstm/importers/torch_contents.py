"""What torch.save was given: the tensors of the model in it, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import CheckpointError
from .torch_pickle import Inert, StoredTensor, shown

State = dict[str, StoredTensor]

_DEPTH_LIMIT = 64  # modules in modules
_COUNT_LIMIT = 100_000  # tensors


def tensors(value: Any, chosen: str | None, described: bool, notes: list[str]) -> State:
    """The tensors of the model: of a state dict, of the one a training checkpoint holds, or of a pickled module.

    chosen: the entry to read, "ema" or "models.ema", where an architecture file names one; described: whether such a
    file tells how several state dicts are joined.
    """
    if chosen is not None:
        value = _entry(value, chosen)
        notes.append(f"read: {shown(chosen)!r}, as the architecture file says")
    if (state := _state(value, notes)) is not None:
        return state
    if type(value) is not dict:
        raise CheckpointError(f"it holds {_kind(value)}, not a state dict; save model.state_dict()")
    nested = _nested(value, notes)
    if not nested:
        return _checked(value)
    others = [key for key in value if key not in nested]
    left = f"; left out: {_names(others)}" if others else ""
    if len(nested) == 1:
        ((key, state),) = nested.items()
        notes.append(f"read: the state dict under {shown(key)!r}{left}")
        return state
    if not described or len({frozenset(state) for state in nested.values()}) < len(nested):
        raise CheckpointError(
            f"it holds several state dicts ({_names(nested)}); save the one that is to run alone, or say in an "
            f'architecture file which one (state_dict = "{shown(next(iter(nested)))}") or how they are joined'
        )
    notes.append(f"read: the state dicts {_names(nested)}, each a module of its name{left}")
    return {f"{key}.{name}": tensor for key, state in nested.items() for name, tensor in state.items()}


def _nested(value: dict[Any, Any], notes: list[str]) -> dict[str, State]:
    """The entries that are state dicts, or hold one of weights or a state dict for each module."""
    found: dict[str, State] = {}
    for key, entry in value.items():
        if type(key) is not str:
            continue
        state = _state(entry, notes)
        if state is None and type(entry) is dict and not any(type(v) is StoredTensor for v in entry.values()):
            inner = {name: s for name, v in entry.items() if type(name) is str and (s := _state(v, notes)) is not None}
            if inner and len(inner) == len(entry):
                state = {f"{name}.{leaf}": t for name, s in inner.items() for leaf, t in s.items()}
        if state is not None:
            found[key] = state
    return found


def _state(value: Any, notes: list[str]) -> State | None:
    """The tensors of a state dict, of a list of weights or of a module; None of anything else."""
    if type(value) is Inert and value.module is not None:
        notes.append(
            f"warning: a whole pickled module, {shown(value.text)}: its tensors alone were read, and what it does with "
            "them, which is code, was not; check the answers"
        )
        return _of_module(value)
    if type(value) is list and value and all(type(entry) is StoredTensor for entry in value):
        return {str(k): entry for k, entry in enumerate(value)}
    if (
        type(value) is dict
        and all(type(key) is str and type(entry) is StoredTensor for key, entry in value.items())
        and any("weight" in key.rpartition(".")[2] for key in value)
    ):
        return dict(value)
    return None


def _of_module(module: Inert) -> State:
    """The parameters and buffers of a module and of those in it."""
    found: State = {}
    pending: list[tuple[str, Inert, int]] = [("", module, 0)]
    while pending:
        prefix, inert, depth = pending.pop()
        state = inert.module
        if state is None or depth > _DEPTH_LIMIT or len(found) + len(pending) > _COUNT_LIMIT:
            raise CheckpointError(f"it nests modules more than {_DEPTH_LIMIT} deep, or holds more than any model")
        for name, tensor in (*state["_parameters"].items(), *state["_buffers"].items()):
            if type(tensor) is StoredTensor:
                found[f"{prefix}{name}"] = tensor
        for name, child in reversed(state["_modules"].items()):
            if type(child) is Inert:
                pending.append((f"{prefix}{name}.", child, depth + 1))
    return found


def _entry(value: Any, path: str) -> Any:
    """An entry of nested dicts; its name may itself have dots."""
    if type(value) is dict and path in value:
        return value[path]
    first, _, rest = path.partition(".")
    if type(value) is not dict or first not in value or not rest:
        known = _names(value) if type(value) is dict else "none"
        raise CheckpointError(f"it holds no {shown(path)!r}; it has: {known}")
    return _entry(value[first], rest)


def _checked(state: dict[Any, Any]) -> State:
    if not any(type(entry) is StoredTensor for entry in state.values()):
        raise CheckpointError("it holds no state dict; save model.state_dict()")
    for key, entry in state.items():
        if type(key) is not str or type(entry) is not StoredTensor:
            raise CheckpointError(f"entry {shown(key)!r} of the state dict is {_kind(entry)}, not a tensor")
    return state


def _kind(value: Any) -> str:
    if isinstance(value, StoredTensor):
        return "a single tensor"
    return f"an object of type {shown(value.text) if isinstance(value, Inert) else type(value).__name__}"


def _names(entries: Iterable[Any]) -> str:
    names = [shown(key) for key in entries]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
