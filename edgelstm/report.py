"""What a validation found, as pure data: for a terminal, a page, JSON. Nothing runs or is judged here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .comparison import Difference, Row

REFERENCE = "reference"
"""Who stands for the reference among the variants."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One tensor that a layer writes, of one variant, beside the float64 reference's."""

    variant: str
    layer: str
    tensor: str  # "h" and "c" of a cell, "y" of all else
    difference: Difference
    lost: float | None  # dB of signal to error that it has less than the worst of what the layer reads; None: unknown


@dataclass(frozen=True, slots=True)
class Point:
    """How far a run has drifted at one step, over all its sequences and values."""

    step: int  # counted from 1
    error: float  # largest at this step
    rms: float  # at this step
    largest: float  # error so far
    decibels: float  # energy of the expected answers so far over that of the error; infinite where there is none


@dataclass(frozen=True, slots=True)
class Drift:
    """One output of one variant over a long run from one reset state."""

    variant: str
    output: str
    points: tuple[Point, ...]  # at steps 1, 10, 100, ... and the last
    curve: tuple[Point, ...]  # the same at up to 60 steps, evenly spaced by their logarithm, for a figure


@dataclass(frozen=True, slots=True)
class Saturation:
    """How many values of a tensor stand at the ends of what it holds, or are not finite where it is f32. Ends that its
    function reaches by itself, 1 of a sigmoid and 0 of a relu, are not counted."""

    variant: str
    layer: str  # "" for an input
    tensor: str  # as in Layer, or the input's name
    type: str  # "f32", "s8" or "s16"
    low: int  # at the least value; 0 for f32
    high: int  # at the largest value; of f32 what is not finite
    values: int  # of how many

    @property
    def share(self) -> float:
        """The part of all values, 0 ... 1."""
        return (self.low + self.high) / self.values


@dataclass(frozen=True, slots=True)
class Task:
    """What the answers are worth, by the labels."""

    who: str  # REFERENCE or a variant
    output: str
    metric: str  # "accuracy", "cross-entropy", "RMSE", "MSE" or "MAE"
    value: float
    unit: str  # "" where there is none
    required: str = ""  # what it is judged by, "" if it is shown alone
    passed: bool | None = None

    def __str__(self) -> str:
        verdict = "" if self.passed is None else f": {'passed' if self.passed else 'FAILED'} ({self.required})"
        return f"{self.who}, output {self.output}: {self.metric} {self.value:.6g} {self.unit}".rstrip() + verdict


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A runtime's answers beside an int8 TFLite image's, byte for byte."""

    runtime: str  # "tflite-runtime 2.14.0"
    resolver: str  # of peers.RESOLVERS
    machine: str  # "x86_64"
    image: str  # the image's own rule: "rounding double, factors double, ties away"; and its flavour
    differing: int  # bytes of the answers that are others with the image's rule
    values: int  # of how many
    exact: str  # a rule with which all bytes are the runtime's; "" where no known one is
    error: float = 0.0  # largest, of the image's answers as they are
    same: bool = True  # whether the image holds this file's numbers; `exact` tells of the file alone


@dataclass(frozen=True, slots=True)
class Converted:
    """What the official TFLite converter made of the checkpoint, on one kind."""

    by: str  # "TensorFlow 2.21.0's converter"
    kind: str  # "float", "dynamic" or "int8"
    made: bool  # whether there is a file
    outcome: str  # "29,584 bytes", or what happened instead

    def __str__(self) -> str:
        return f"{self.by}, {self.kind}: {self.outcome}" if self.made else self.outcome


@dataclass(frozen=True, slots=True)
class Check:
    """A threshold on something else than a row or a task."""

    what: str  # "s8: saturated values of lstm, c"
    found: str  # "3.1 %"
    required: str  # "at most 1 %"
    passed: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.found}: {'passed' if self.passed else 'FAILED'} ({self.required})"


@dataclass(frozen=True, slots=True)
class Trace:
    """One channel of one output in the worst sequence, for a figure."""

    output: str
    channel: str  # its name, or its number
    sequence: int  # counted from 0
    start: int  # the step the values begin at, counted from 0
    expected: tuple[float, ...]  # a value a step
    found: tuple[tuple[str, tuple[float, ...]], ...]  # variant and its values
    along: str = "step"  # what the values follow each other by; "sequence" where there is one row of each


@dataclass(frozen=True, slots=True)
class Report:
    """What a validation found. `str` gives it line by line."""

    subject: str  # what was validated: "model.elstm, s8, 12,345 bytes, checksum 0badcafe"
    reference: str  # what the answers were compared with
    data: str  # what they were made of: "X.npy", "random walks within ..."
    sequences: int
    steps: int  # of the longest
    rows: tuple[Row, ...]
    layers: tuple[Layer, ...] = ()  # in the order of the model, variant by variant
    drift: tuple[Drift, ...] = ()
    saturation: tuple[Saturation, ...] = ()  # of all tensors, in the order of the model
    tasks: tuple[Task, ...] = ()
    arithmetic: tuple[Arithmetic, ...] = ()
    converted: tuple[Converted, ...] = ()
    checks: tuple[Check, ...] = ()
    advice: tuple[str, ...] = ()  # what to blame and what to do, the most important first
    notes: tuple[str, ...] = ()  # what was assumed, missing or remarkable, in sentences
    traces: tuple[Trace, ...] = ()
    independent: bool = True  # whether the reference's answers came from elsewhere than this package's own reading
    remedy: str = ""  # where they did not: what to do, "pip install tensorflow"

    @property
    def passed(self) -> bool:
        """Whether all that is judged holds."""
        judged: tuple[Row | Task | Check, ...] = (*self.rows, *self.tasks, *self.checks)
        return all(one.passed is not False for one in judged)

    @property
    def verdict(self) -> str:
        """Passed or FAILED, and on whose word."""
        word = "passed" if self.passed else "FAILED"
        if self.independent:
            return word
        return f"{word}, against this package's own reading alone; {self.remedy} to check it independently"

    @property
    def lines(self) -> tuple[str, ...]:
        """What is judged and said, in sentences, the verdict last."""
        head = f"reference: {self.reference}; {self.sequences} sequences of {self.steps} steps"
        judged = map(str, (*self.rows, *self.tasks, *self.checks))
        return (
            head,
            *judged,
            *map(str, self.converted),
            *self.advice,
            *(f"note: {note}" for note in self.notes),
            self.verdict,
        )

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it: "inf", "-inf" and "nan" are texts, null stands for what does not apply."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain | {"passed": self.passed, "verdict": self.verdict}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
