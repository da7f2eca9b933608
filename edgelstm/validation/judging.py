"""Verdicts of a validation that rest on more than one array beside another, and demands on what does not exist."""

from __future__ import annotations

import math

from ..comparison import LEAST, MOST, Difference, Row
from ..errors import InputError
from ..report import Arithmetic, Check, Drift, Saturation


def beside_its_file(output: str, difference: Difference, rule: Arithmetic, exact: bool) -> Row:
    """A tfl8 image beside a runtime on its .tflite."""
    whose = f"every byte of {rule.runtime}"
    if exact:
        return Row("tfl8", output, difference, whose, not rule.differing)
    passed = not rule.differing or (rule.same and bool(rule.exact))  # `exact` is found with the file's own numbers
    return Row("tfl8", output, difference, f"{whose} in a known way of rounding", passed)


_BOUNDS = {
    "limit": (0.0, math.inf), "decibels": (-math.inf, math.inf), "cosine": (-1.0, 1.0), "agreement": (0.0, 1.0),
    "accuracy_drop": (0.0, 1.0), "rmse_rise": (0.0, math.inf), "saturation": (0.0, 1.0),
    "drift": (-math.inf, math.inf), "timeout": (0.0, math.inf),
}  # fmt: skip


def check(**demands: float | None) -> None:
    """InputError for a number that nothing can be judged by, before what takes long."""
    for name, value in demands.items():
        low, high = _BOUNDS[name]
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            bounds = (
                f"{low:g} to {high:g}" if math.isfinite(high) else "a number" + (" of 0 or more" if low == 0 else "")
            )
            raise InputError(f"`{name}` is {value:g}, expected {bounds}")


def refuse(
    rows: list[Row],
    limit: float | None,
    decibels: float | None,
    agreement: float | None,
    exact: bool,
    own_rule: list[Arithmetic],
) -> None:
    """InputError for a demand on what does not exist."""
    if limit is not None and not any(row.required.startswith(MOST) for row in rows):
        raise InputError(
            "`limit` is of f32 beside a reference that computes in floats, and there is no such answer here"
        )
    if decibels is not None and not any(row.required.startswith(LEAST) for row in rows):
        raise InputError(
            "`decibels` is of int8 answers (not of an image by its .tflite's bytes), and none is judged here"
        )
    if agreement is not None and all(row.difference.agreement is None for row in rows):
        raise InputError("a limit on agreement of arg max needs an output of several values")
    if exact and not own_rule:
        raise InputError("`exact` compares a full-int8 image with its .tflite in a runtime; give that as the reference")


def drift(found: tuple[Drift, ...], least: float | None) -> tuple[Check, ...]:
    """Signal to error over the long run, where that is limited."""
    if least is None:
        return ()
    if not found:
        raise InputError("a limit on drift needs a long run, and there is none; the notes without that limit say why")
    return tuple(
        Check(
            f"{one.variant}: drift of output {one.output} over {one.points[-1].step:,} steps",
            f"{one.points[-1].decibels:.1f} dB",
            f"at least {least:g} dB",
            one.points[-1].decibels >= least,
        )
        for one in found
    )


def saturation(counted: tuple[Saturation, ...], most: float | None) -> tuple[Check, ...]:
    """Saturation, where it is limited."""
    if most is None:
        return ()
    checks = []
    for one in counted:
        place = f"{one.layer}, {one.tensor}" if one.layer else f"input {one.tensor}"
        found = f"{one.share:.3%} ({one.low + one.high:,} of {one.values:,})"
        checks.append(
            Check(f"{one.variant}: saturated values of {place}", found, f"at most {most:.3%}", one.share <= most)
        )
    return tuple(check for check in checks if not check.passed) or (
        Check("saturated values of all tensors", f"at most {max((o.share for o in counted), default=0):.3%}",
              f"at most {most:.3%}", True),
    )  # fmt: skip
