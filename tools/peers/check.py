"""Whether a peer computes the net, before anyone times it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-3
"""Of a float answer; the largest |y| of these nets is near 1."""
EXACT = 90.0
"""dB. int8 weights reach 60 at most: what says it is quantized and is better left its weights as floats."""


class WrongError(Exception):
    """Answers that no one should time."""


class FloatError(Exception):
    """What should be quantized is not."""


@dataclass(frozen=True)
class Verdict:
    """How far the answers are from the float64 ones."""

    error: float  # the largest difference
    decibels: float  # signal to error


def judge(y: np.ndarray, exact: np.ndarray, quantized: bool) -> Verdict:
    """WrongError for another shape, for what is not finite, for float answers beyond TOLERANCE and quantized ones that
    are more error than signal; FloatError where a quantized form keeps floats."""
    if y.shape != exact.shape:
        raise WrongError(f"answers of shape {y.shape}, expected {exact.shape}")
    if not np.isfinite(y).all():
        raise WrongError("answers that are not finite")
    error = float(np.abs(y - exact).max())
    if not quantized and error > TOLERANCE:
        raise WrongError(f"float answers {error:.3g} off the float64 reference; {TOLERANCE:g} is allowed")
    noise = float(np.square(y - exact).sum())
    decibels = 10 * float(np.log10(np.square(exact).sum() / max(noise, 1e-300)))
    if quantized and decibels <= 0:
        raise WrongError(f"answers with more error than signal ({decibels:.1f} dB)")
    if quantized and decibels > EXACT:
        raise FloatError("keeps its weights as floats here")
    return Verdict(error, decibels)
