"""How many values layers read and write a row, by their weights' shapes: the same of a layer and its integer twin.

Each class here is what a layer of layers.py and its twin in quantized.py derive from.
"""

from __future__ import annotations

from typing import Any

from .errors import ModelError
from .meta import Array


class Kept:
    """It writes as many values as it reads."""

    __slots__ = ()

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        return (one(self, reads),)


# ---- recurrent cells ----


class Gated:
    """Matrices of several gates."""

    __slots__ = ()
    kernel: Array  # [gates, units, inputs]

    @property
    def units(self) -> int:
        return int(self.kernel.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[2])


class Lstm(Gated):
    """h, and perhaps c."""

    __slots__ = ()
    recurrent: Array  # [4, units, outputs]
    writes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return int(self.recurrent.shape[2])

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs, *_rest(self, (self.outputs, self.units))))
        return (self.outputs, self.units)[: len(self.writes)]


class Gru(Gated):
    """h alone."""

    __slots__ = ()

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs, *_rest(self, (self.units,))))
        return (self.units,)


class Dense:
    """One matrix."""

    __slots__ = ()
    kernel: Array  # [units, inputs]

    @property
    def units(self) -> int:
        return int(self.kernel.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[1])

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs,))
        return (self.units,)


class Rnn(Dense):
    """One matrix for x, and one for h."""

    __slots__ = ()

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs, *_rest(self, (self.units,))))
        return (self.units,)


def _rest(layer: Any, state: tuple[int, ...]) -> tuple[int, ...]:
    """Widths of what a cell reads beside x."""
    return ((1,) if layer.masked else ()) + (state if layer.initial else ())


# ---- around them ----


class Embedding:
    """A row of the table for each value read."""

    __slots__ = ()
    table: Array  # [vocabulary, columns]

    @property
    def vocabulary(self) -> int:
        return int(self.table.shape[0])

    @property
    def columns(self) -> int:
        return int(self.table.shape[1])

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        return (one(self, reads) * self.columns,)


class Constant:
    """Its own value."""

    __slots__ = ()
    value: Array  # [width]

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        one(self, reads)
        return (len(self.value),)


class Mask:
    """x, and the mask."""

    __slots__ = ()

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        return (one(self, reads), 1)


class Combine:
    """All side by side, or joined value by value, where a width of 1 serves all."""

    __slots__ = ()
    kind: str

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        if self.kind == "concatenate":
            return (sum(reads),)
        widest = max(reads)
        expect(self, reads, tuple(1 if n == 1 else widest for n in reads))
        return (widest,)


class Conv1d:
    """Windows of weighted rows."""

    __slots__ = ()
    kernel: Array  # [units, taps, inputs / groups]
    groups: int
    dilation: int

    @property
    def units(self) -> int:
        return int(self.kernel.shape[0])

    @property
    def taps(self) -> int:
        return int(self.kernel.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.kernel.shape[2]) * self.groups

    @property
    def reach(self) -> int:
        """Steps from a window's first to its last, both counted."""
        return (self.taps - 1) * self.dilation + 1

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (self.inputs,))
        return (self.units,)


class Pool1d(Kept):
    """Windows value by value."""

    __slots__ = ()
    size: int

    @property
    def reach(self) -> int:
        return self.size


class Reduce:
    """x, and where there is one its mask."""

    __slots__ = ()
    masked: bool

    def widths(self, reads: tuple[int, ...]) -> tuple[int, ...]:
        expect(self, reads, (reads[0], *((1,) if self.masked else ())))
        return reads[:1]


# ---- checks ----


def one(layer: Any, reads: tuple[int, ...]) -> int:
    """The width of the one tensor a layer reads."""
    if len(reads) != 1:
        raise ModelError(f"{layer.name}: it reads {len(reads)} tensors, expected one")
    return reads[0]


def expect(layer: Any, reads: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """ModelError unless a layer reads tensors of these widths."""
    if reads != expected:
        raise ModelError(f"{layer.name}: it reads tensors of widths {reads}, expected {expected}")
