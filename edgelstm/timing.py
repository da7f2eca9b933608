"""When a model's tensors have rows: one a step, one a run, or others; and whether a model can run step by step.

A *causal* model's answers need no step to come, so it can be stepped: what it writes in a run is what it writes in so
many steps. An *uneven* one does not write one row a step: windows skip steps or must fill first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from .errors import InputError, ModelError
from .layers import (
    Activate,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Dense,
    Embedding,
    Group,
    Gru,
    Last,
    LayerNorm,
    Lstm,
    Mask,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    SoftmaxSteps,
    Split,
    Transpose,
    windows,
)
from .quantized import (
    QuantizedActivate,
    QuantizedCombine,
    QuantizedConstant,
    QuantizedConv1d,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLstm,
    QuantizedMask,
    QuantizedPool1d,
    QuantizedReduce,
    QuantizedRnn,
)
from .tfl8 import (
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
)

Change: TypeAlias = tuple[Any, ...]
"""What a layer does to a clock, as src_c/clocks.c has it: ("split", n) makes n rows of each, ("group", n) one of n,
("fixed", n) n rows whatever the run, ("input", k) as many as the k-th input has, ("crop", n, m) cuts some off start and
end, ("pad", n, m) adds some, ("windows", reach, stride, left, right, same) has a row for each window."""

Clock: TypeAlias = tuple[Change, ...]
"""At which steps a tensor has rows: what was done to one row a step, in order. () is one row a step."""

MAX_CLOCKS = 16
MOST_NUMBERS = 1 << 25  # that a run nobody asked for may make; the reference holds 8 bytes of each
MAX_ROWS = 1 << 18  # that a step may bring to one tensor


@dataclass(frozen=True, slots=True)
class Timing:
    """What `timing` finds."""

    single: frozenset[str]  # tensors of one row a run; when every step is asked for, those behind a Last have all
    constant: frozenset[str]  # those of them whose row is known from the start of a run on
    clocks: dict[str, Clock]
    table: tuple[Clock, ...]  # all that came to be, in order, as an image numbers them
    waits: tuple[tuple[str, str], ...]  # layers that need the future, in order, each with the reason

    @property
    def causal(self) -> bool:
        return not self.waits

    @property
    def uneven(self) -> bool:
        """Whether some step writes no row or several."""
        return any(self.clocks.values())


class _Walk:
    def __init__(self, model: Any, apart: frozenset[int]) -> None:
        self.widths = {t.name: t.width for t in model.tensors}
        self.single = {t.name for t in model.tensors if t.single and t.name in model.inputs}
        self.constant = set(self.single)  # single from the start of a run on, not from its end
        self.clocks: dict[str, Clock] = dict.fromkeys(model.inputs, ())
        self.table: list[Clock] = [()]
        self.joined: set[int] = set()  # of the inputs `apart`, those that must come in step with something else
        for k in sorted(apart):
            self.clocks[model.inputs[k]] = (("input", k),)
            self.table.append((("input", k),))
        self.waits: list[tuple[str, str]] = []

    def wait(self, layer: Any, reason: str) -> None:
        self.waits.append((layer.name, reason))

    def sequence(self, layer: Any, tensor: str) -> Clock:
        """The clock of a sequence; ModelError for a single tensor."""
        if tensor in self.single:
            raise ModelError(f"{layer.name}: it reads a single step, {tensor}; it needs a sequence")
        return self.clocks[tensor]

    def changed(self, layer: Any, clock: Clock, *changes: Change) -> Clock:
        for change in changes:
            if change in (("split", 1), ("group", 1)):
                continue
            # what was split so is whole again
            whole = change[0] == "group" and clock[-1:] == (("split", change[1]),)
            clock = clock[:-1] if whole else (*clock, change)
            if clock not in self.table:
                self.table.append(clock)
            if len(self.table) > MAX_CLOCKS or most_rows(clock, 1) > MAX_ROWS:
                raise ModelError(f"{layer.name}: the model's rows come at too many different steps, or too many a step")
        return clock

    def write(self, layer: Any, clock: Clock, single: bool, constant: bool = False) -> None:
        for name in layer.writes:
            self.clocks[name] = clock
            if single:
                self.single.add(name)
            if constant:
                self.constant.add(name)

    def same_clock(self, layer: Any, reads: tuple[str, ...]) -> Clock:
        clocks = [self.clocks[name] for name in reads if name not in self.constant] or [()]
        if any(clock != clocks[0] for clock in clocks):
            self.wait(layer, "what it reads comes at different steps")
            self.joined.update(n for clock in clocks for kind, n, *_ in clock[:1] if kind == "input")
        return clocks[0]

    def take(self, layer: Any) -> None:
        x = layer.reads[0]
        clock, single = self.clocks[x], x in self.single
        match layer:
            case Lstm() | Gru() | Rnn() | QuantizedLstm() | QuantizedGru() | QuantizedRnn() | Tfl8Lstm():
                self.cell(layer)
            case (
                Dense()
                | QuantizedDense()
                | Activate()
                | QuantizedActivate()
                | Embedding()
                | QuantizedEmbedding()
                | LayerNorm()
                | Tfl8Dense()
                | Tfl8Softmax()
                | Tfl8Map()
                | Tfl8Quantize()
                | Tfl8Dequantize()
                | Tfl8Embedding()
            ):
                self.write(layer, clock, single, x in self.constant)
            case Constant() | QuantizedConstant() | Tfl8Constant():
                self.write(layer, (), True, True)
            case Mask() | QuantizedMask():
                self.write(layer, self.sequence(layer, x), False)
            case Combine() | QuantizedCombine() | Tfl8Combine():
                self.combine(layer)
            case Last(period=0):
                self.write(layer, clock, True, x in self.constant)
            case Reduce() | QuantizedReduce() | Tfl8Reduce():
                for name in layer.reads:
                    self.sequence(layer, name)
                clock = self.changed(layer, self.same_clock(layer, layer.reads), ("group", layer.period or 1))
                self.write(layer, clock, not layer.period)
            case Conv1d() | QuantizedConv1d() | Tfl8Conv1d() | Pool1d() | QuantizedPool1d() | Tfl8Pool1d():
                self.window(layer)
            case Group():
                self.sequence(layer, x)
                if layer.single:
                    self.wait(layer, f"it waits for all {layer.count} steps")
                else:
                    clock = self.changed(layer, clock, ("group", layer.count))
                self.write(layer, clock, layer.single)
            case Split():
                if single:
                    self.wait(layer, "it makes a sequence of a whole one's answer")
                self.write(layer, self.changed(layer, clock, ("fixed" if single else "split", layer.count)), False)
            case Repeat():
                if not single:
                    raise ModelError(f"{layer.name}: it repeats a single step, and {x} is a sequence")
                self.wait(layer, "it makes a sequence of a whole one's answer")
                self.write(layer, self.changed(layer, clock, ("fixed", layer.count)), False)
            case Crop() | Pad():
                self.sequence(layer, x)
                if isinstance(layer, Pad) and layer.right:
                    self.wait(layer, "it adds steps after the last")
                if layer.left or layer.right:
                    kind = "pad" if isinstance(layer, Pad) else "crop"
                    clock = self.changed(layer, clock, (kind, layer.left, layer.right))
                self.write(layer, clock, False)
            case Last():
                self.write(layer, self.changed(layer, self.sequence(layer, x), ("group", layer.period)), False)
            case Reverse() if layer.period:
                clock = self.sequence(layer, x)
                changes = ("group", layer.period), ("split", layer.period)
                self.write(layer, self.changed(layer, clock, *changes), False)
            case Reverse() | SoftmaxSteps():
                self.sequence(layer, x)
                self.wait(layer, "it needs the last step first" if isinstance(layer, Reverse) else "it needs all steps")
                self.write(layer, clock, False)
            case Transpose():
                self.sequence(layer, x)
                self.wait(layer, f"it waits for all {layer.steps} steps")
                self.write(layer, self.changed(layer, clock, ("fixed", self.widths[x])), False)
            case Attention():
                for name in layer.reads[1:]:
                    self.sequence(layer, name)
                self.wait(layer, "it looks at all steps")
                self.write(layer, clock, single)

    def cell(self, layer: Any) -> None:
        sequences = layer.reads[: 1 + bool(getattr(layer, "masked", False))]
        single = {name in self.single for name in sequences}
        if len(single) > 1:
            raise ModelError(f"{layer.name}: it reads a sequence and a single step, {' and '.join(sequences)}")
        if self.constant.intersection(sequences):
            raise ModelError(f"{layer.name}: it reads a step that stays the same, {sequences[0]}; it needs a sequence")
        for name in layer.reads[len(sequences) :]:
            if name not in self.single:
                raise ModelError(f"{layer.name}: its initial state {name} is a sequence, expected a single step")
            if name not in self.constant:
                self.wait(layer, "it starts from a state that is known at the end of a sequence")
        self.write(layer, self.same_clock(layer, sequences), single == {True})

    def combine(self, layer: Combine | QuantizedCombine | Tfl8Combine) -> None:
        single = [name in self.single for name in layer.reads]
        late = [name in self.single and name not in self.constant for name in layer.reads]
        if any(late) and not all(single):
            self.wait(layer, "it joins every step with what is known at the end")
        sequences = layer.reads if all(single) else tuple(n for n in layer.reads if n not in self.single)
        self.write(layer, self.same_clock(layer, sequences), all(single), self.constant.issuperset(layer.reads))

    def window(self, layer: Any) -> None:
        clock = self.sequence(layer, layer.reads[0])
        if layer.period:
            rows = windows(layer, layer.period)
            if not rows:
                raise ModelError(f"{layer.name}: no window of {layer.reach} fits into {layer.period} steps")
            clock = self.changed(layer, clock, ("group", layer.period), ("split", rows))
        else:
            if layer.right or (layer.same and layer.reach > 1):
                self.wait(layer, "its windows reach past the step they belong to")
            if layer.stride > 1 or not (layer.same or layer.left + layer.right + 1 == layer.reach):
                window = ("windows", layer.reach, layer.stride, layer.left, layer.right, int(layer.same))
                clock = self.changed(layer, clock, window)
        self.write(layer, clock, False)


def rows(clock: Clock, steps: int, lengths: dict[int, int] | None = None) -> int:
    """Rows of a clock in the first so many steps; `lengths`: those of inputs that have their own number."""
    for kind, *n in clock:
        steps = (lengths or {}).get(n[0], steps) if kind == "input" else _rows(kind, n, steps)
    return steps


def most_rows(clock: Clock, steps: int) -> int:
    """The most rows that so many steps bring, whenever they come."""
    for kind, *n in clock:
        later = {"group": n[0], "crop": 1, "windows": (n[1:] or [1])[0]}.get(kind)  # of so many rows one is written
        steps = max(_rows(kind, n, steps), -(-steps // later) if later else 0)
    return steps


def _rows(kind: str, n: list[int], steps: int) -> int:
    match kind:
        case "split":
            return steps * n[0]
        case "group":
            return steps // n[0]
        case "fixed":
            return n[0] if steps else 0
        case "crop":
            return max(0, steps - n[0] - n[1])
        case "pad":
            return steps + n[0] + n[1] if steps else 0
        case "input":
            return steps
    reach, stride, left, right, same = n
    if same:
        return -(-steps // stride)
    return (steps + left + right - reach) // stride + 1 if steps and steps + left + right >= reach else 0


def numbers_made(model: Any, steps: int) -> int:
    """How many numbers a run over so many steps makes, all tensors together."""
    clocks = timing(model).clocks
    count = {t.name: rows(clocks[t.name], steps) for t in model.tensors}
    made: int = sum(count[t.name] * t.width for t in model.tensors)
    for layer in model.layers:
        if isinstance(layer, Attention):
            pairs = count[layer.reads[0]] * count[layer.reads[1]]
            made += pairs * (layer.heads if layer.additive is None else layer.additive.size)
    return made


def check_run(
    model: Any,
    steps: int,
    every_step: bool = False,
    timed: Timing | None = None,
    lengths: dict[int, int] | None = None,
) -> None:
    """InputError, which names layer and numbers, where a model cannot run from a reset state over so many steps.
    `lengths`: the steps of inputs, by number, that have their own."""
    when = timed or timing(model)

    def count(tensor: str) -> int:
        most = rows(when.clocks[tensor], steps, lengths)
        single = tensor in when.constant or (tensor in when.single and not every_step)
        return min(1, most) if single else most

    for layer in model.layers:
        read = count(layer.reads[0])
        exact = layer.count if isinstance(layer, Group) and layer.single else 0
        exact = layer.steps if isinstance(layer, Transpose) else exact
        period = 0 if _is_cell(layer) else getattr(layer, "period", 0)  # a cell may end within one
        if exact and read != exact:
            raise InputError(f"{layer.name}: {read} steps, expected {exact}")
        if period and read % period:
            raise InputError(f"{layer.name}: {read} steps, expected a multiple of {period}")
        joined = [count(name) for name in _together(layer, when)]
        if len(set(joined)) > 1:
            raise InputError(f"{layer.name}: it reads tensors of {' and '.join(map(str, joined))} steps")
        if not every_step and not count(layer.writes[0]):
            raise InputError(f"{layer.name}: the sequence is too short; it gives no row")


def _is_cell(layer: Any) -> bool:
    return isinstance(layer, Lstm | Gru | Rnn | QuantizedLstm | QuantizedGru | QuantizedRnn)


def _together(layer: Any, when: Timing) -> tuple[str, ...]:
    """The tensors a layer reads that must have as many rows as one another."""
    reads: tuple[str, ...] = layer.reads
    match layer:
        case Attention():
            return reads[1:]
        case Combine() | QuantizedCombine() | Tfl8Combine():
            sequences = tuple(name for name in reads if name not in when.single)
            return sequences or tuple(name for name in reads if name not in when.constant)
        case _:
            return reads[: 1 + bool(getattr(layer, "masked", False))]


def _walked(model: Any, apart: frozenset[int] = frozenset()) -> _Walk:
    walk = _Walk(model, apart)
    for layer in model.layers:
        walk.take(layer)
    return walk


def timing(model: Any) -> Timing:
    """The timing of a model or a quantized one. ModelError where a layer reads a sequence for a single step, or a
    single step for a sequence."""
    walk = _walked(model)
    sequences = [k for k, name in enumerate(model.inputs) if name not in walk.single]
    apart = frozenset(sequences[1:]) if walk.waits else frozenset()
    while apart:  # inputs that need not come in step with the first
        try:
            other = _walked(model, apart)
        except ModelError:  # more clocks than an image has
            break
        if not other.joined:
            walk = other
            break
        apart -= other.joined
    return Timing(frozenset(walk.single), frozenset(walk.constant), walk.clocks, tuple(walk.table), tuple(walk.waits))
