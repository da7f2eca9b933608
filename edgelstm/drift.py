"""How an error grows over the steps of a long run. Pure: two arrays of answers to a few numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .errors import InputError
from .model import Array
from .report import Point


def drift(expected: Array, found: Array, steps: Iterable[int] | None = None) -> tuple[Point, ...]:
    """Answers [sequences, steps, width] against the expected ones, at some steps, counted from 1; `marks` unless given.

    InputError if the shapes differ or the expected answers are not finite. Where `found` is not finite, the error is
    infinite.
    """
    y, z = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if y.shape != z.shape or y.ndim != 3 or y.size == 0:
        raise InputError(f"answers have shape {z.shape}, expected {y.shape}, (sequences, steps, width)")
    if not np.isfinite(y).all():
        raise InputError("the expected answers hold NaN or infinite values")
    count = y.shape[1]
    error = np.where(np.isfinite(z), z, np.inf) - y
    largest = np.abs(error).max(axis=(0, 2))
    noise, signal = np.square(error).mean(axis=(0, 2)), np.square(y).mean(axis=(0, 2))
    so_far, energies = np.maximum.accumulate(largest), (signal.cumsum(), noise.cumsum())
    points = []
    for step in marks(count) if steps is None else steps:
        k = step - 1
        ratio = _decibels(float(energies[0][k]), float(energies[1][k]))
        points.append(Point(step, float(largest[k]), math.sqrt(noise[k]), float(so_far[k]), ratio))
    return tuple(points)


def marks(steps: int) -> tuple[int, ...]:
    """1, 10, 100, ... and the last step."""
    powers = [10**k for k in range(len(str(steps))) if 10**k < steps]
    return (*powers, steps)


def curve(steps: int, count: int = 60) -> tuple[int, ...]:
    """At most so many steps from 1 to the last, evenly spaced by their logarithm."""
    spaced = np.unique(np.geomspace(1, steps, count).round().astype(int))
    return tuple(map(int, spaced))


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    if not math.isfinite(noise) or signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)
