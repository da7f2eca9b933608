"""What a model would take on a board, before anything is flashed: flash, RAM, stack, instructions, the least time.

All of it is reckoned from what was counted (costs.py); what was not counted has no number. A lower bound of the time
can show that a model is too slow, never that it is fast enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import work
from .costs import COMPILERS, Costs, costs
from .description import GROUP, Description, LayerDescription, TensorDescription, resized
from .errors import InputError
from .exporters import firmware, sources
from .runner import Runner
from .targets import Target

VALUE = {"f32": 4, "s8": 1, "s16": 2}  # bytes
SIZED = ("lstm_s8", "lstm_f32", "gru_s8", "gru_f32", "rnn_s8", "rnn_f32", "dense_s8", "dense_f32", "conv1d_s8")
"""Layers that may have other sizes; what moves or changes values follows them."""
FOLLOWING = ("last", "activate_s8", "activate_f32")
LEAST_CLOCKS, LEAST_READS = 2, 4  # of an exported elstm_build.h
STEP = 8  # units between two sizes that are tried
CALLED = 0.5  # of the code of a model's files, what no program that steps it does without: less than any linker left


@dataclass(frozen=True, slots=True)
class LayerPlan:
    name: str
    kind: str
    weights: int  # bytes of flash
    ram: int  # bytes: state, what it writes, and scratch, which layers share
    macs: int
    instructions: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """One thing there is so much of."""

    what: str
    needed: float | None  # bytes, or seconds; None: not known
    limit: float | None  # None: unknown, or none
    partial: bool = False  # there is more of it, that nobody measured
    least: float | None = None  # what of it is needed for certain; None: all of it

    @property
    def fits(self) -> bool | None:
        """None: nobody can say. Of a time True means that the bound alone does not rule it out."""
        if self.needed is None or self.limit is None:
            return None
        if (self.needed if self.least is None else self.least) > self.limit:
            return False
        return None if self.partial or self.needed > self.limit else True


@dataclass(frozen=True, slots=True)
class Plan:
    target: Target
    kernels: str
    image: int  # bytes
    code: int | None
    arena: int
    structs: int
    steps: int  # of the longest run that the arena has room for
    stack: int | None  # None: it was not measured, and is not in the RAM
    macs: int
    instructions: int | None  # a step; None where not all of it is counted
    error: float  # of the instructions, at most, where it was checked; values that saturate included
    least: float  # instructions of what is counted, the error and what may take no cycle taken off
    seconds: float | None  # at least, a step
    deadline: float | None
    uncounted: tuple[str, ...]
    layers: tuple[LayerPlan, ...]
    path: int  # bytes of flash that a step of an int8 LSTM runs through; 0: not measured

    @property
    def flash(self) -> Line:
        code = self.code or 0
        return Line("flash", self.image + code, self.target.flash_bytes, self.code is None, self.image + code * CALLED)

    @property
    def ram(self) -> Line:
        needed = self.arena + self.structs + (self.stack or 0)
        return Line("RAM", needed, self.target.ram_bytes, self.stack is None)

    @property
    def time(self) -> Line:
        return Line("time, at least", self.seconds, self.deadline, bool(self.uncounted))

    @property
    def compiler(self) -> str:
        """Whose code, flash of code and instructions are of."""
        return COMPILERS[self.target.core.linux]

    @property
    def lines(self) -> tuple[Line, Line, Line]:
        return self.flash, self.ram, self.time

    @property
    def tight(self) -> bool:
        """Whether there may be too little flash: only a linker knows what of the code a program calls."""
        return self.flash.fits is None and self.code is not None and self.target.flash_bytes is not None

    @property
    def refused(self) -> tuple[Line, ...]:
        """What there is too little of."""
        return tuple(line for line in self.lines if line.fits is False)


@dataclass(frozen=True, slots=True)
class _Model:
    """What is reckoned with: a model as it is, or with other sizes."""

    description: Description
    parts: tuple[int, int, int, int]  # clocks, layers, tensors, bytes of arena for all else
    steps: firmware.Steps


def plan(runner: Runner, target: Target, rate: float | None = None) -> Plan:
    """What the model of an image takes on a target. rate: steps a second that it has to keep up with."""
    counted = _counted(target)
    return _reckon(_model(runner, counted), target, counted, rate)


def largest(
    runner: Runner, target: Target, rate: float | None = None
) -> tuple[int, tuple[tuple[str, int], ...]] | None:
    """Of a model that does not fit for certain the sizes that do: units of its largest layer, and the units of each
    layer. None where not even the smallest does, or its layers' sizes are bound to each other."""
    counted = _counted(target)
    model = _model(runner, counted)
    sized = _sized(model.description)
    if not sized or model.steps.limit > 1:
        return None
    most = max(layer.units for layer in sized)
    for units in range((most - 1) // STEP * STEP, 0, -STEP):
        smaller = _scaled(model, counted, units / most)
        if smaller is None:
            return None
        reckoned = _reckon(smaller, target, counted, rate)
        if not reckoned.refused and not reckoned.tight:
            names = {layer.name for layer in sized}
            return units, tuple((la.name, la.units) for la in smaller.description.layers if la.name in names)
    return None


def _model(runner: Runner, counted: Costs) -> _Model:
    """As an exported folder would run it."""
    steps = firmware.steps_of(runner)
    return _Model(runner.description, runner.arena_parts(steps.limit, counted.step_scratch), steps)


def _counted(target: Target) -> Costs:
    found = costs().get(target.core.counted_as)
    if found is None:
        raise InputError(f"nothing was counted for {target.core.name} yet")
    return found


def _reckon(model: _Model, target: Target, counted: Costs, rate: float | None) -> Plan:
    described = model.description
    kernels = counted.kernels.get(described.number_type, "")
    works = (work.door(described), *work.layers(described, kernels))
    reason = _reason(model, target)
    numbers = [None if reason else counted.count(one) for one in works]
    uncounted = (
        (reason,)
        if reason
        else tuple(
            f"{one.name}: {one.reason or f'no such {one.kind} is predicted on {target.core.title}'}"
            for one, number in zip(works, numbers, strict=True)
            if number is None
        )
    )
    if uncounted:  # then the call, of which errors are shares of whole steps, is left out too
        instructions, least = None, sum(counted.least(number or 0) for number in numbers[1:])
    else:
        instructions = sum(number or 0 for number in numbers)
        least = instructions * (1 - counted.uncertain)
    least *= 1 - counted.folded
    bound = target.clock_hz and target.clock_hz * target.core.instructions_per_cycle
    arena, structs = _memory(model, counted)
    kinds = {layer.kind for layer in described.layers}
    return Plan(
        target=target,
        kernels=kernels,
        image=described.size,
        code=sources.code_bytes(kinds, counted, described.number_type),
        arena=arena,
        structs=structs,
        steps=model.steps.limit,
        stack=counted.stack if kinds <= set(counted.stacked) else None,
        macs=sum(layer.macs for layer in described.layers),
        instructions=instructions,
        error=counted.uncertain,
        least=least,
        seconds=least / bound if least and bound else None,
        deadline=None if rate is None else 1 / rate,
        uncounted=uncounted,
        path=counted.step_path if any(layer.kind == "lstm_s8" for layer in described.layers) else 0,
        layers=tuple(
            LayerPlan(
                layer.name,
                layer.kind,
                layer.weight_bytes + _row_bytes(layer),
                layer.state_bytes
                + _data(layer.writes, described.tensors)
                + _scratch(layer, described.tensors, counted),
                layer.macs,
                number,
            )
            for layer, number in zip(described.layers, numbers[1:], strict=True)
        ),
    )


def _reason(model: _Model, target: Target) -> str:
    """Why nothing of a model has a number of instructions; "" where some of it may."""
    described = model.description
    if model.steps.whole:
        name, reason = described.waits[0] if described.waits else ("the model", "it needs steps to come")
        return f"{name}: {reason}, so there are no single steps"
    if described.number_type == "tfl8":
        return "full-int8 TFLite models are not counted"
    if described.number_type == "f32" and not target.core.float_unit:
        return "floats without a float unit are not counted"
    return ""


# ---- memory ----


def _memory(model: _Model, counted: Costs) -> tuple[int, int]:
    """Bytes of the arena, and of the structs beside it, as an exported folder has them."""
    clocks, layers, tensors, rest = model.parts
    described = model.description
    ports = max(len(described.inputs), len(described.outputs))
    reads = max(LEAST_READS, *(len(layer.reads) for layer in described.layers))
    sizes = counted.structs[described.number_type]
    op = next(size for most, size in sizes["op"] if most >= reads)
    arena = _round(layers * op) + _round(tensors * sizes["tensor"]) + rest
    base, port, clock = sizes["model"]
    own, each = sizes["runner"]
    return arena, base + ports * port + max(LEAST_CLOCKS, clocks) * clock + own + ports * each


def _round(size: int, to: int = 16) -> int:
    return -(-size // to) * to


def _data(indices: Sequence[int], tensors: Sequence[TensorDescription]) -> int:
    return sum(_round(_round(tensors[k].width, GROUP) * VALUE[tensors[k].type]) for k in indices)


def _blocks(count: int) -> int:
    return count if count < 3 else _round(count, 4)


def _rows(layer: LayerDescription) -> int:
    """Rows of a layer's matrix over its inputs, padded."""
    groups = _round(layer.units, GROUP) // GROUP
    kind = layer.kind.rsplit("_", 1)[0]
    return GROUP * {"lstm": 4 * groups, "gru": _blocks(3 * groups), "rnn": _blocks(groups)}.get(kind, groups)


def _row_bytes(layer: LayerDescription) -> int:
    """What stands in flash for each row beside its weights: bias, shifts, multiplier."""
    if layer.kind not in SIZED:
        return 0
    return _rows(layer) * (4 if layer.kind.endswith("f32") else 8)


def _scratch(layer: LayerDescription, tensors: Sequence[TensorDescription], counted: Costs) -> int:
    """Bytes that a step of the layer works in; src_c has them beside each layer."""
    rows, x, y = _rows(layer), tensors[layer.reads[0]], tensors[layer.writes[0]]
    span = _round(layer.units, GROUP)
    match layer.kind:
        case "lstm_s8" if counted.step_scratch < 16 and not work.special_lstm(layer):
            return _round(span * min(counted.step_scratch, 2 if y.type == "s16" else 16))
        case "lstm_s8" | "lstm_f32":
            return 4 * rows
        case "gru_s8" | "gru_f32":
            at = 28 if layer.kind == "gru_f32" else 22
            after = layer.record[at] & work.RESET_AFTER
            again = rows if after else GROUP * (_blocks(span // GROUP * 2) + _blocks(span // GROUP))
            beside = 10 * span if layer.kind == "gru_s8" else 0 if after else 4 * span
            return _round(4 * (rows + again) + beside)
        case "rnn_s8":
            return _round(4 * rows + 2 * span)
        case "dense_s8":
            return 4 * rows
        case "conv1d_s8":
            columns = int.from_bytes(layer.record[4:8], "little") * x.width
            return _round(_round(_round(columns, 4) * 2, 64) + _round(4 * rows, 64) + 2 * rows)
    return 0


# ---- other sizes ----


def _sized(described: Description) -> list[LayerDescription]:
    """Layers whose sizes are free: all that have units but for a Dense at the end."""
    if any(layer.kind not in SIZED + FOLLOWING for layer in described.layers):
        return []
    sized = [layer for layer in described.layers if layer.kind in SIZED]
    return sized[:-1] if sized and sized[-1].kind.startswith("dense") and len(sized) > 1 else sized


def _scaled(model: _Model, counted: Costs, factor: float) -> _Model | None:
    """The model with fewer units in each layer whose size is free."""
    before = model.description
    names = {layer.name for layer in _sized(before)}
    tensors, layers = list(before.tensors), []
    for layer in before.layers:
        x, (written, *more) = tensors[layer.reads[0]], layer.writes
        if len(layer.reads) > 1 or more:
            return None
        if layer.name in names:
            tensors[written] = replace(tensors[written], width=max(1, round(layer.units * factor)))
        elif layer.kind not in SIZED:
            tensors[written] = replace(tensors[written], width=x.width)
        y = tensors[written]
        layers.append(resized(layer, x, y) if layer.kind in SIZED else replace(layer, inputs=x.width, units=y.width))
    size = before.size
    for old, new in zip(before.layers, layers, strict=True):
        size += new.weight_bytes + _row_bytes(new) - old.weight_bytes - _row_bytes(old)
    after = replace(before, tensors=tuple(tensors), layers=tuple(layers), size=size)
    clocks, count, number, rest = model.parts
    parts = clocks, count, number, rest + _own(after, counted) - _own(before, counted)
    return _Model(after, parts, model.steps)


def _own(described: Description, counted: Costs) -> int:
    """The arena's rows, states and scratch."""
    scratch = max(_scratch(layer, described.tensors, counted) for layer in described.layers)
    return (
        _data(range(len(described.tensors)), described.tensors)
        + sum(layer.state_bytes for layer in described.layers)
        + scratch
    )
