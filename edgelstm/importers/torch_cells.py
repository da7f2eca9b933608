"""Recurrent operations of a traced PyTorch graph: whole sequences, packed ones, and cells in a loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..layers import TANH, Activation
from . import torch_build, torch_names
from .torch_build import Options
from .torch_graph import Args, Const, Handler, Lengths, Packed, Walk
from .torch_names import Stack
from .torch_values import BATCH, ONE, Refuse, Rows, concatenated, ordered, picked, rows, sequence, steps, values

_KINDS = {
    "lstm": ("lstm", TANH),
    "gru": ("gru", TANH),
    "rnn_tanh": ("rnn", TANH),
    "rnn_relu": ("rnn", Activation("relu")),
}


def _recurrent(operation: str) -> Handler:
    kind, activation = _KINDS[operation]

    def recurrent(walk: Walk, name: str, a: Args) -> Any:
        packed = a.values.pop("data", None)
        x = a.values.pop("input", None) if packed is None else packed.rows
        first = bool(a.values.pop("batch_first", True))
        states = a.values.pop("hx")
        states = list(states) if isinstance(states, list | tuple) else [states]
        if a.take("train", False):
            raise Refuse("it is training; call .eval()")
        if packed is not None:
            a.values.pop("batch_sizes")
            first = True
        if not isinstance(x, Rows):
            raise Refuse("its input is no sequence of the model's")
        params, biased = a.take("params"), a.values.pop("has_biases")
        layers, both = a.take("num_layers"), bool(a.values.pop("bidirectional", False))
        part = _stack(walk, name, kind, params, biased, layers, 1 + both)
        over = 1 if first else 0
        x = ordered(walk.builder, sequence(walk.builder, x, over))
        if x.axes[1 - over].size > 1 or x.sizes[-1] != part.inputs:
            raise Refuse(f"it reads (batch, steps, {part.inputs}) and is given {x.sizes}")
        initial = _initial(walk, part, x, states, layers * (1 + both))
        mask = None if packed is None else packed.mask
        made = torch_build.recurrent(walk.builder, part, x.tensor, Options(activation), initial, mask)
        answers = rows(made.answers, (*x.axes[:-1], values(part.units)))
        finals = [_final(walk, found) for found in (made.h, made.c)[: len(states)]]
        return (answers if packed is None else Packed(answers, packed.mask), *finals)

    return recurrent


def _stack(walk: Walk, name: str, kind: str, params: Any, biased: bool, layers: int, directions: int) -> Stack:
    if not all(isinstance(p, Const) for p in params) or not params:
        raise Refuse("its weights are computed from the input")
    each = len(params) // (layers * directions)
    leaves = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if biased else ())]
    leaves += ["weight_hr"] if each > len(leaves) else []
    if each != len(leaves) or len(params) != each * layers * directions:
        raise Refuse(f"{len(params)} weights for {layers} layers")
    weights = iter([walk.weight(p) for p in params])
    where = walk.name_of(params[0], name)
    found = [
        tuple(
            torch_names.cell(f"layer {where}", {leaf: next(weights) for leaf in leaves}, kind)
            for _ in range(directions)
        )
        for _ in range(layers)
    ]
    return torch_names.stack(where, f"layer {where}", found)


def _initial(walk: Walk, part: Stack, x: Rows, states: list[Any], count: int) -> tuple[tuple[str, ...], ...]:
    """Per layer and direction the tensors a cell starts from; empty for zeros."""
    if _zeros(states):
        return ()
    name = torch_names.label(part)
    found = []
    for k in range(count):
        tensors = []
        for state, which in zip(states, "hc", strict=False):
            if isinstance(state, Const):
                tensors.append(_constant(walk, f"{name}.{which}0", x, state, k, count))
            else:
                tensors.append(_layer(walk, state, k, count))
        found.append(tuple(tensors))
    return tuple(found)


def _zeros(states: list[Any]) -> bool:
    return all(isinstance(state, Const) and not state.tensor.any() for state in states)


def _constant(walk: Walk, name: str, x: Rows, state: Const, index: int, count: int) -> str:
    """One of `count` rows of a constant, to start from; PyTorch's is (count, 1, values) or (count, values)."""
    array = state.array()
    if array.shape[0] != count or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[1] != 1):
        raise Refuse(f"its initial state of {array.shape} is not one row for each of {count} layers")
    walk.weight(state)
    return walk.builder.constant(name, x.tensor, array.reshape(count, -1)[index])


def _layer(walk: Walk, state: Any, index: int, count: int) -> str:
    if not isinstance(state, Rows):
        raise Refuse("it starts from what is no row of the model's")
    if state.over is not None or state.sizes[0] != count:
        raise Refuse(f"its initial state of {state.sizes} is not one row for each of {count} layers")
    if state.axes[0].kind == "values":
        state = picked(walk.builder, state, 0, [index])
    return ordered(walk.builder, replace(state, axes=state.axes[1:])).tensor


def _final(walk: Walk, tensors: tuple[str, ...]) -> Rows:
    """h_n or c_n: (layers * directions, batch, units)."""
    found = [rows(tensor, (ONE, BATCH, values(walk.builder.width(tensor)))) for tensor in tensors]
    return found[0] if len(found) == 1 else concatenated(walk.builder, found, 0)


# ---- packed sequences ----


def _pack(walk: Walk, name: str, a: Args) -> Any:
    x, lengths, first = a.rows("input"), a.values.pop("lengths"), a.values.pop("batch_first")
    if not isinstance(lengths, Lengths):
        raise Refuse("its lengths are not an input of the model; give them as one")
    if x.over != (1 if first else 0):
        raise Refuse("its steps are not where batch_first says")
    axes = x.axes if first else (x.axes[1], x.axes[0], *x.axes[2:])
    return (Packed(replace(x, axes=axes), lengths.mask), None)


def _unpack(walk: Walk, name: str, a: Args) -> Any:
    packed, first = a.values.pop("data"), a.values.pop("batch_first")
    a.values.pop("batch_sizes")
    if not isinstance(packed, Packed) or a.values.pop("padding_value") != 0:
        raise Refuse("it pads with other than zeros, or what was not packed")
    if (total := a.values.pop("total_length")) > 0 and total != packed.rows.sizes[1]:
        raise Refuse(f"its total_length is {total}")
    axes = packed.rows.axes
    return (replace(packed.rows, axes=axes if first else (axes[1], axes[0], *axes[2:])), None)


# ---- cells in a loop ----


@dataclass(frozen=True, slots=True)
class _Loop:
    """What a cell wrote over all steps of a loop."""

    tensors: tuple[str, ...]  # h, of an LSTM c
    back: bool  # the loop goes from the last step to the first


def _cell(operation: str) -> Handler:
    kind, activation = _KINDS[operation]

    def cell(walk: Walk, name: str, a: Args) -> Any:
        x, states = a.rows("input"), a.values.pop("hx")
        weights = {leaf: a.const(leaf.replace("weight", "w").replace("bias", "b")) for leaf in torch_names.LEAVES}
        states = list(states) if isinstance(states, list | tuple) else [states]
        if x.at is None:
            raise Refuse("a cell outside a loop over the steps of a sequence")
        key = ("cell", *(w.name for w in weights.values() if w is not None), x.tensor, x.axes)
        if all(isinstance(state, Rows) and state.at is not None for state in states):
            loop = walk.seen.get(key)
            if loop is None or loop.tensors != tuple(state.tensor for state in states):
                raise Refuse("its state is not that of the step before: feedback, or a loop of several kinds")
            if any(state.at != x.at + (1 if loop.back else -1) or state.steps != x.steps for state in states):
                raise Refuse("its state is not that of the step before")
        else:
            loop = walk.seen[key] = _start(walk, name, kind, activation, x, weights, states, key)
        width = walk.builder.width(loop.tensors[0])
        made = [replace(rows(t, (*x.axes[:-1], values(width))), at=x.at, steps=x.steps) for t in loop.tensors]
        return made[0] if len(made) == 1 else tuple(made)

    return cell


def _start(
    walk: Walk, name: str, kind: str, activation: Activation, x: Rows, weights: Any, states: list[Any], key: Any
) -> _Loop:
    """The layer of a loop, at its first step."""
    if x.at not in (0, x.steps - 1) or key in walk.seen:
        raise Refuse("the loop does not begin at the first or last step, or the cell is used twice")
    where = walk.name_of(weights["weight_ih"], name)
    initial = (
        ()
        if _zeros(states)
        else tuple(_started(walk, f"{where}.{which}0", x, state) for state, which in zip(states, "hc", strict=False))
    )
    found = {leaf: walk.weight(w) for leaf, w in weights.items() if w is not None}
    _, one = torch_names.cell(f"layer {where}", found, kind)
    whole = ordered(walk.builder, replace(x, at=None, axes=(*x.axes[:-1], steps(x.steps), x.axes[-1])))
    back = x.at > 0
    tensors = torch_build.one_cell(walk.builder, kind, where, one, whole.tensor, Options(activation), initial, back)
    return _Loop(tensors, back)


def _started(walk: Walk, name: str, x: Rows, state: Any) -> str:
    """The row that a loop starts from."""
    if isinstance(state, Const) and state.tensor.numel() == state.tensor.shape[-1]:
        walk.weight(state)
        return walk.builder.constant(name, x.tensor, state.array().reshape(-1))
    if not isinstance(state, Rows) or state.over is not None:
        raise Refuse("it starts from what is no row of the model's")
    return ordered(walk.builder, state).tensor


def _sort(walk: Walk, name: str, a: Args) -> Any:
    """Of lengths: a traced batch is one sequence, in order already."""
    import torch

    lengths = a.values.pop("self")
    if not isinstance(lengths, Lengths):
        raise Refuse("it sorts what is computed from the input")
    a.values.clear()
    return (lengths, Const(f"{name}.order", torch.zeros(1, dtype=torch.int64)))


SEQUENCES: dict[str, Handler] = {
    "sort": _sort,
    **{operation: _recurrent(operation) for operation in _KINDS},
    "_pack_padded_sequence": _pack,
    "_pad_packed_sequence": _unpack,
}
CELLS: dict[str, Handler] = {f"{operation}_cell": _cell(operation) for operation in _KINDS}
