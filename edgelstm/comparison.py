"""Two output sequences to numbers, and what they say together. Nothing runs here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .errors import InputError
from .model import Array

DECIBELS = 20.0
"""What s8 must reach: an RMS error of a tenth of the RMS answer. docs/quantization.md has what sound and broken
conversions reach."""

LIMIT = 5e-6
"""How far f32 may be from another framework, times max(1, max|y|)."""


MOST, LEAST = "max error at most", "at least"
"""How what a row is judged by begins."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one array of answers is from another."""

    max_error: float
    rms_error: float
    decibels: float  # energy of the expected answers over that of the error; infinite where there is none
    agreement: float | None  # share of rows whose largest value stands at the same place; None for one value a row
    largest: float  # max|y| of the expected answers
    cosine: float | None = None  # of the angle between all answers as one vector; None where one of them is all zeros


def compare(expected: Array, found: Array) -> Difference:
    """Answers [..., width] against the expected ones. Where `found` is not finite, the error is infinite.

    InputError if the shapes differ or the expected answers are not finite.
    """
    y, z = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if y.shape != z.shape or y.size == 0:
        raise InputError(f"answers have shape {z.shape}, expected {y.shape}")
    if not np.isfinite(y).all():
        raise InputError("the expected answers hold NaN or infinite values")
    agreement = None
    if y.ndim and y.shape[-1] > 1:
        agreement = float(((y.argmax(-1) == z.argmax(-1)) & np.isfinite(z).all(axis=-1)).mean())
    largest = float(np.abs(y).max())
    if not np.isfinite(z).all():
        return Difference(math.inf, math.inf, -math.inf, agreement, largest)
    lengths = math.sqrt(float(np.square(y).sum())) * math.sqrt(float(np.square(z).sum()))
    cosine = min(1.0, float((y * z).sum()) / lengths) if lengths else None
    error = z - y
    noise, signal = float(np.square(error).mean()), float(np.square(y).mean())
    if noise == 0:
        decibels = math.inf
    else:
        decibels = 10 * math.log10(signal / noise) if signal else -math.inf
    return Difference(float(np.abs(error).max()), math.sqrt(noise), decibels, agreement, largest, cosine)


@dataclass(frozen=True, slots=True)
class Row:
    """One output of one variant beside the reference's."""

    variant: str  # "f32", "s8", "tfl8", "TFLite float", "TFLite dynamic" or "TFLite int8"
    output: str
    difference: Difference
    required: str  # what it is judged by, "" if it is shown for comparison alone
    passed: bool | None  # None: not judged

    def __str__(self) -> str:
        d = self.difference
        parts = [f"max error {d.max_error:.2g}", f"RMS {d.rms_error:.2g}", f"{d.decibels:.1f} dB"]
        parts += [f"cosine {d.cosine:.6f}"] if d.cosine is not None else []
        parts += [f"arg max agrees in {d.agreement:.2%}"] if d.agreement is not None else []
        verdict = "" if self.passed is None else f": {'passed' if self.passed else 'FAILED'} ({self.required})"
        return f"{self.variant}, output {self.output}: {', '.join(parts)}{verdict}"


def within(variant: str, output: str, difference: Difference, limit: float) -> Row:
    """Judged by its largest error: at most `limit` times max(1, max|y|)."""
    most = limit * max(1.0, difference.largest)
    return Row(variant, output, difference, f"{MOST} {most:.2g}", difference.max_error <= most)


def above(variant: str, output: str, difference: Difference, decibels: float) -> Row:
    """Judged by its signal to error ratio: at least `decibels`."""
    return Row(variant, output, difference, f"{LEAST} {decibels:g} dB", difference.decibels >= decibels)


def also(row: Row, cosine: float | None = None, agreement: float | None = None) -> Row:
    """Judged by these too, where they are given and the output has them: at least so much of each. Answers that are all
    zeros have no direction: none is as good as another's only where they are equal."""
    d = row.difference
    direction = -math.inf if d.cosine is None and d.max_error > 0 else d.cosine
    for wanted, found, text in (
        (cosine, direction, f"cosine at least {cosine}"),
        (agreement, d.agreement, f"arg max agrees in at least {agreement or 0:.2%}"),
    ):
        if wanted is not None and found is not None:
            row = replace(row, required=f"{row.required}, {text}", passed=bool(row.passed) and found >= wanted)
    return row


def shown(variant: str, output: str, difference: Difference) -> Row:
    """For comparison, not judged."""
    return Row(variant, output, difference, "", None)
