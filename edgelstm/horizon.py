"""How far an int8 model is off after so many steps of a run that is never reset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .calibration import LARGEST, sequences
from .comparison import Difference, compare
from .model import Array, Model, QuantizedModel
from .runner import Runner

HORIZONS = (10, 100, 1000, 10000)
CHUNK = 500  # steps run between two reports of progress


@dataclass(frozen=True, slots=True)
class Row:
    """One output of an int8 model beside the float model's."""

    output: str
    steps: int  # since the reset; measured over the second half of them
    difference: Difference

    def __str__(self) -> str:
        d = self.difference
        return f"output {self.output} after {self.steps:,} steps: RMS error {d.rms_error:.2g}, {d.decibels:.1f} dB"


@dataclass(frozen=True, slots=True)
class Horizon:
    """The error of each output after more and more steps, its state carried all the while."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # what was run; where nothing was, why

    @property
    def lines(self) -> tuple[str, ...]:
        return (*map(str, self.rows), *(f"note: {note}" for note in self.notes))

    def __str__(self) -> str:
        return "\n".join(self.lines)


def horizon(
    model: Model, quantized: QuantizedModel, samples: Any, *, progress: Callable[[float], None] | None = None
) -> Horizon:
    """The int8 model beside the float one on the samples, joined end to end and repeated up to 10,000 steps.

    samples: as for `quantize`. No rows where the model cannot be stepped. The f32 core stands for the float model; the
    s8 core's integers are the reference's. QuantizeError if the samples do not fit.
    """
    reason = _reason(model)
    if reason:
        return Horizon((), (f"no error after long runs: {reason}",))
    given = sequences(model, samples)
    single = {t.name for t in model.tensors if t.single}
    joined = [
        given[0][k] if name in single else np.concatenate([sequence[k] for sequence in given])
        for k, name in enumerate(model.inputs)
    ]
    total = max(len(x) for x, name in zip(joined, model.inputs, strict=True) if name not in single)
    steps = HORIZONS[-1]
    xs = [
        x[0] if name in single else np.resize(x, (steps, x.shape[1]))  # repeats what is too short, cuts what is not
        for x, name in zip(joined, model.inputs, strict=True)
    ]
    runners = Runner(model), Runner(quantized)
    found: list[list[list[Array]]] = [[], []]
    for at in range(0, steps, CHUNK):
        chunk = tuple(x if name in single else x[at : at + CHUNK] for x, name in zip(xs, model.inputs, strict=True))
        for runner, chunks in zip(runners, found, strict=True):
            ys = runner.run(chunk, every_step=True, carry=True)
            chunks.append(list(ys) if isinstance(ys, tuple) else [ys])
        if progress is not None:
            progress(min(1.0, (at + CHUNK) / steps))
    answers = [[np.concatenate(parts) for parts in zip(*chunks, strict=True)] for chunks in found]
    most = min(_bounded(wanted) for wanted in answers[0])
    rows = [
        Row(name, n, compare(wanted[n // 2 : n], got[n // 2 : n]))
        for name, wanted, got in zip(model.outputs, *answers, strict=True)
        for n in HORIZONS
        if n <= most
    ]
    notes = [_ran(len(given), total, steps)]
    if most < steps:
        notes.append(f"the float model's own answers grow beyond all bounds after {most:,} steps without a reset")
    if model.meta.window is not None:
        notes.append(
            f"the model was made for windows of {model.meta.window} steps; run in those, each from a reset state, none "
            "gets as far as the rows beyond them"
        )
    return Horizon(tuple(rows), tuple(notes))


def _reason(model: Model) -> str:
    """Why a model has no run that is never reset; "" where it has."""
    if not model.timing.causal:
        return f"the model cannot be stepped, only run over whole sequences: {': '.join(model.timing.waits[0])}"
    if model.timing.uneven:
        return "the model has not one answer a step"
    single = {t.name for t in model.tensors if t.single}
    if all(name in single for name in model.inputs):
        return "no input of the model is a sequence"
    return ""


def _bounded(answers: Array) -> int:
    """How many steps of a run go by before an answer is as large as no sound model's."""
    with np.errstate(invalid="ignore"):
        beyond = ~(np.abs(answers) < LARGEST).reshape(len(answers), -1).all(axis=1)
    return int(beyond.argmax()) if beyond.any() else len(answers)


def _ran(count: int, total: int, steps: int) -> str:
    what = f"{count} sequences joined end to end, {total:,} steps" if count > 1 else f"one sequence of {total:,} steps"
    if total < steps:
        return f"{what}, repeated up to {steps:,}; the state is carried all the while"
    if total > steps:
        return f"{what}, of which {steps:,} were run; the state is carried all the while"
    return f"{what}; the state is carried all the while"
