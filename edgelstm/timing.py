"""When a model's tensors have rows: one a step, one a run, or others; and whether a model can run step by step.

A *causal* model's answers need no step to come, so it can be stepped: what it writes in a run is what it writes in so
many steps. An *uneven* one does not write one row a step: windows skip steps or must fill first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import ModelError
from .layers import (
    Activate,
    Attention,
    Combine,
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

Clock = tuple[tuple[Any, ...], ...]
"""At which steps a tensor has rows: what was done to one row a step, in order. () is one row a step."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What `timing` finds."""

    single: frozenset[str]  # tensors of one row a run; when every step is asked for, those behind a Last have all
    clocks: dict[str, Clock]
    waits: tuple[tuple[str, str], ...]  # layers that need the future, in order, each with the reason

    @property
    def causal(self) -> bool:
        return not self.waits

    @property
    def uneven(self) -> bool:
        """Whether some step writes no row or several."""
        return any(self.clocks.values())


class _Walk:
    def __init__(self, model: Any) -> None:
        self.single = {t.name for t in model.tensors if t.single and t.name in model.inputs}
        self.constant = set(self.single)  # single from the start of a run on, not from its end
        self.clocks: dict[str, Clock] = dict.fromkeys(model.inputs, ())
        self.waits: list[tuple[str, str]] = []

    def wait(self, layer: Any, reason: str) -> None:
        self.waits.append((layer.name, reason))

    def is_single(self, layer: Any, tensor: str) -> bool:
        """False, and ModelError for a single tensor where a sequence is read."""
        if tensor in self.single:
            raise ModelError(f"{layer.name}: it reads a single step, {tensor}; it needs a sequence")
        return False

    def write(self, layer: Any, clock: Clock, single: bool) -> None:
        for name in layer.writes:
            self.clocks[name] = clock
            if single:
                self.single.add(name)

    def same_clock(self, layer: Any, reads: tuple[str, ...]) -> Clock:
        clocks = [self.clocks[name] for name in reads if name not in self.constant] or [()]
        if any(clock != clocks[0] for clock in clocks):
            self.wait(layer, "what it reads comes at different steps")
        return clocks[0]

    def take(self, layer: Any) -> None:
        x = layer.reads[0]
        clock, single = self.clocks[x], x in self.single
        match layer:
            case Lstm() | Gru() | Rnn() | QuantizedLstm() | QuantizedGru() | QuantizedRnn():
                self.cell(layer)
            case (
                Dense()
                | QuantizedDense()
                | Activate()
                | QuantizedActivate()
                | Embedding()
                | QuantizedEmbedding()
                | LayerNorm()
            ):
                self.write(layer, clock, single)
                if x in self.constant:
                    self.constant.update(layer.writes)
            case Mask() | QuantizedMask():
                self.is_single(layer, x)
                self.write(layer, clock, False)
            case Combine() | QuantizedCombine():
                self.combine(layer)
            case Last():
                self.write(layer, clock, True)
            case Reduce() | QuantizedReduce():
                self.is_single(layer, x)
                clock = self.same_clock(layer, layer.reads)
                self.write(layer, _grouped(clock, layer.period) if layer.period else clock, not layer.period)
            case Conv1d() | QuantizedConv1d() | Pool1d() | QuantizedPool1d():
                self.window(layer)
            case Group():
                self.is_single(layer, x)
                if layer.single:
                    self.wait(layer, f"it waits for all {layer.count} steps")
                self.write(layer, _grouped(clock, layer.count), layer.single)
            case Split():
                if single:
                    self.wait(layer, "it makes a sequence of a whole one's answer")
                self.write(layer, (*clock, ("split", layer.count)) if layer.count > 1 else clock, False)
            case Repeat():
                if not single:
                    raise ModelError(f"{layer.name}: it repeats a single step, and {x} is a sequence")
                self.wait(layer, "it makes a sequence of a whole one's answer")
                self.write(layer, (*clock, ("repeat", layer.count)), False)
            case Crop() | Pad():
                self.is_single(layer, x)
                if isinstance(layer, Pad) and layer.right:
                    self.wait(layer, "it adds steps after the last")
                kind = type(layer).__name__
                ends = (kind, layer.left, layer.right)
                self.write(layer, (*clock, ends) if layer.left or layer.right else clock, False)
            case Reverse() | SoftmaxSteps() | Transpose():
                self.is_single(layer, x)
                self.wait(layer, "it needs the last step first" if isinstance(layer, Reverse) else "it needs all steps")
                self.write(layer, (*clock, ("transpose",)) if isinstance(layer, Transpose) else clock, False)
            case Attention():
                for name in layer.reads[1:]:
                    self.is_single(layer, name)
                self.wait(layer, "it looks at all steps")
                self.write(layer, clock, single)

    def cell(self, layer: Any) -> None:
        sequences = layer.reads[: 1 + bool(getattr(layer, "masked", False))]
        single = {name in self.single for name in sequences}
        if len(single) > 1:
            raise ModelError(f"{layer.name}: it reads a sequence and a single step, {' and '.join(sequences)}")
        for name in layer.reads[len(sequences) :]:
            if name not in self.single:
                raise ModelError(f"{layer.name}: its initial state {name} is a sequence, expected a single step")
            if name not in self.constant:
                self.wait(layer, "it starts from a state that is known at the end of a sequence")
        self.write(layer, self.same_clock(layer, sequences), single == {True})

    def combine(self, layer: Combine | QuantizedCombine) -> None:
        single = [name in self.single for name in layer.reads]
        late = [name in self.single and name not in self.constant for name in layer.reads]
        if any(late) and not all(single):
            self.wait(layer, "it joins every step with what is known at the end")
        sequences = layer.reads if all(single) else tuple(n for n in layer.reads if n not in self.single)
        self.write(layer, self.same_clock(layer, sequences), all(single))
        if all(name in self.constant for name in layer.reads):
            self.constant.update(layer.writes)

    def window(self, layer: Any) -> None:
        self.is_single(layer, layer.reads[0])
        clock = self.clocks[layer.reads[0]]
        if layer.period:
            rows = windows(layer, layer.period)
            if not rows:
                raise ModelError(f"{layer.name}: no window of {layer.reach} fits into {layer.period} steps")
            clock = _grouped(clock, layer.period)
            clock = (*clock, ("split", rows)) if rows > 1 else clock
        else:
            if layer.right or (layer.same and layer.reach > 1):
                self.wait(layer, "its windows reach past the step they belong to")
            missing = layer.reach - 1 - layer.left
            if layer.stride > 1 or missing:
                clock = (*clock, ("window", layer.reach, layer.stride, layer.left, layer.right, layer.same))
        self.write(layer, clock, False)


def _grouped(clock: Clock, count: int) -> Clock:
    """The clock of one row for every `count` rows; what was split so is whole again."""
    return clock[:-1] if clock and clock[-1] == ("split", count) else (*clock, ("group", count))


def timing(model: Any) -> Timing:
    """The timing of a model or a quantized one. ModelError where a layer reads a sequence for a single step, or a
    single step for a sequence."""
    walk = _Walk(model)
    for layer in model.layers:
        walk.take(layer)
    return Timing(frozenset(walk.single), walk.clocks, tuple(walk.waits))
