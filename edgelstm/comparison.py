"""Two output sequences to numbers, and what they say together. Nothing runs here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .model import Array

DECIBELS = 20.0
"""What s8 must reach: an RMS error of a tenth of the RMS answer. docs/quantization.md has what sound and broken
conversions reach."""

LIMIT = 5e-6
"""How far f32 may be from another framework, times max(1, max|y|)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one array of answers is from another."""

    max_error: float
    rms_error: float
    decibels: float  # energy of the expected answers over that of the error; infinite where there is none
    agreement: float | None  # share of rows whose largest value stands at the same place; None for one value a row
    largest: float  # max|y| of the expected answers


def compare(expected: Array, found: Array) -> Difference:
    """Answers [..., width] against the expected ones. Where `found` is not finite, the error is infinite.

    InputError if the shapes differ or the expected answers are not finite.
    """
    y, z = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if y.shape != z.shape or y.size == 0:
        raise InputError(f"answers have shape {z.shape}, expected {y.shape}")
    if not np.isfinite(y).all():
        raise InputError("the expected answers hold NaN or infinite values")
    agreement = float((y.argmax(-1) == z.argmax(-1)).mean()) if y.ndim and y.shape[-1] > 1 else None
    largest = float(np.abs(y).max())
    if not np.isfinite(z).all():
        return Difference(math.inf, math.inf, -math.inf, agreement, largest)
    error = z - y
    noise, signal = float(np.square(error).mean()), float(np.square(y).mean())
    if noise == 0:
        decibels = math.inf
    else:
        decibels = 10 * math.log10(signal / noise) if signal else -math.inf
    return Difference(float(np.abs(error).max()), math.sqrt(noise), decibels, agreement, largest)


@dataclass(frozen=True, slots=True)
class Row:
    """One output of one variant beside the reference's."""

    variant: str  # "f32", "s8", "TFLite float", "TFLite dynamic" or "TFLite int8"
    output: str
    difference: Difference
    required: str  # what it is judged by, "" if it is shown for comparison alone
    passed: bool | None  # None: not judged

    def __str__(self) -> str:
        d = self.difference
        parts = [f"max error {d.max_error:.2g}", f"RMS {d.rms_error:.2g}", f"{d.decibels:.1f} dB"]
        parts += [f"arg max agrees in {d.agreement:.2%}"] if d.agreement is not None else []
        verdict = "" if self.passed is None else f": {'passed' if self.passed else 'FAILED'} ({self.required})"
        return f"{self.variant}, output {self.output}: {', '.join(parts)}{verdict}"


def within(variant: str, output: str, difference: Difference, limit: float) -> Row:
    """Judged by its largest error: at most `limit` times max(1, max|y|)."""
    most = limit * max(1.0, difference.largest)
    return Row(variant, output, difference, f"max error at most {most:.2g}", difference.max_error <= most)


def above(variant: str, output: str, difference: Difference, decibels: float) -> Row:
    """Judged by its signal to error ratio: at least `decibels`."""
    return Row(variant, output, difference, f"at least {decibels:g} dB", difference.decibels >= decibels)


def shown(variant: str, output: str, difference: Difference) -> Row:
    """For comparison, not judged."""
    return Row(variant, output, difference, "", None)


@dataclass(frozen=True, slots=True)
class Report:
    """What a validation found. `str` gives it line by line."""

    reference: str  # what the answers were compared with
    sequences: int
    steps: int  # of each sequence
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # what was assumed, missing or remarkable, in sentences
    independent: bool = True  # whether the reference's answers came from elsewhere than this package's own reading
    remedy: str = ""  # where they did not: what to do, "pip install tensorflow"

    @property
    def passed(self) -> bool:
        """Whether every row that is judged holds."""
        return all(row.passed is not False for row in self.rows)

    @property
    def verdict(self) -> str:
        """Passed or FAILED, and on whose word."""
        word = "passed" if self.passed else "FAILED"
        if self.independent:
            return word
        return f"{word}, against this package's own reading alone; {self.remedy} to check it independently"

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole report in sentences, the verdict last."""
        head = f"reference: {self.reference}; {self.sequences} sequences of {self.steps} steps"
        return (head, *map(str, self.rows), *(f"note: {note}" for note in self.notes), self.verdict)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it; null stands for infinite, and for what does not apply."""
        plain = asdict(self) | {"passed": self.passed, "verdict": self.verdict}
        for row in plain["rows"]:
            difference = row["difference"]
            difference |= {
                key: None for key, value in difference.items() if value is not None and not math.isfinite(value)
            }
        plain["rows"] = list(plain["rows"])
        plain["notes"] = list(plain["notes"])
        return plain
