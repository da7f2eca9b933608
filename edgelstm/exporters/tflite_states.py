"""What who runs a file has to know of its cells: which states stay from call to call, what sets them back, and where
TFLite Micro computes something else."""

from __future__ import annotations

from collections.abc import Iterator

from ..layers import LINEAR, Activate, Cell, Conv1d, Gru, Last, Lstm, Rnn
from .tflite_cells import fused
from .tflite_plan import Plan

RESET = "reset_all_variables()"


def call(plan: Plan) -> str:
    """The steps of a call, and what becomes of the states."""
    if not plan.streams:
        return f"{plan.steps} step{'s' * (plan.steps > 1)} a call"
    if _starts(plan):
        return "1 step a call, states are inputs"
    return "1 step a call, states are kept" if _held(plan) else "1 step a call, without states"


def notes(plan: Plan) -> Iterator[str]:
    """How a sequence goes on and how another begins, and warnings of what goes wrong in silence."""
    fed = []
    for cell, state, written in _starts(plan) if plan.streams else ():
        out = _given(plan, written)
        if out is None:
            yield (
                f"warning: {cell} starts from the input {state} in every call, and no output gives that state back: a "
                "sequence cannot go on over calls of one step; give `--steps`, those of a sequence, or a model with "
                "the state as an output"
            )
        else:
            fed.append(f"{out} of a call is {state} of the next")
    if fed:
        yield f"states are inputs, feed them back: {', '.join(fed)}"
    held = _held(plan)
    own, others = (", ".join(name for name, operator in held.items() if operator is is_own) for is_own in (True, False))
    if others:
        beside = f", {RESET} resets {own} alone" if own else ""
        yield f"a new sequence needs a new interpreter: nothing else resets {others}{beside}"
    elif own:
        yield f"before a new sequence call {RESET}: {own} would carry on"
    for layer in _cells(plan):
        if isinstance(layer, Lstm) and fused(layer, plan.kind) and _in_micro(layer) and layer.activation.name != "tanh":
            yield (
                f"warning: not for TFLite Micro: it computes tanh where {layer.name} has {layer.activation.name}, and "
                "answers wrongly without a word"
            )


def _in_micro(layer: Lstm) -> bool:
    """Whether TFLite Micro's operator runs the cell; with what it does not know it refuses the file."""
    return layer.peephole is None and layer.projection is None and layer.norm is None and not layer.coupled


def _cells(plan: Plan) -> list[Cell]:
    return [layer for layer in plan.model.layers if isinstance(layer, Lstm | Gru | Rnn)]


def _held(plan: Plan) -> dict[str, bool]:
    """Layers that keep something from call to call, and whether it is in an operator's own variables."""
    held = {}
    for layer in plan.model.layers:
        if isinstance(layer, Lstm | Gru | Rnn):
            if fused(layer, plan.kind):
                held[layer.name] = True
            elif plan.streams and not layer.initial:
                held[layer.name] = False
        elif isinstance(layer, Conv1d) and plan.streams and layer.left:
            held[layer.name] = False
    return held


def _starts(plan: Plan) -> list[tuple[str, str, str]]:
    """Cells that start from inputs: the cell, the input, and the tensor that it is at the end of a call, if any."""
    found = []
    for layer in _cells(plan):
        starts = layer.reads[1 + layer.masked :] if layer.initial else ()
        written = (*layer.writes, "")[: len(starts)]
        found += [
            (layer.name, state, now) for state, now in zip(starts, written, strict=True) if state in plan.model.inputs
        ]
    return found


def _given(plan: Plan, name: str) -> str | None:
    """The output that is this tensor after a step."""
    if name in plan.model.outputs:
        return name
    for layer in plan.readers(name):
        same = isinstance(layer, Last) or (isinstance(layer, Activate) and layer.activation == LINEAR)
        if same and (out := _given(plan, layer.writes[0])) is not None:
            return out
    return None
