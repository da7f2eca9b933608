"""Models drawn at random, beside the framework that made them: what is shared between the frameworks.

A drawn case is a checkpoint, inputs and the framework's answers to them. It is read as a user would read it, and run in
float64 by the reference and in float32 by the C core.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st
from simulate import decibels, simulate

from edgelstm import importers, random_inputs, reference
from edgelstm.comparison import LIMIT
from edgelstm.errors import CheckpointError, QuantizeError
from edgelstm.model import Model
from edgelstm.quantization import quantize_with_rows
from edgelstm.runner import Runner

UNSTEADY = 1e-6
"""Part of max(1, max|y|) by which float32 itself may be off from float64, of the same equations, before a model says
nothing about who is right: such draws are counted and set aside."""


DISTRIBUTIONS = {"tensorflow": "tensorflow-cpu"}
"""Packages that pip knows by another name."""


@dataclass(frozen=True, eq=False)
class Case:
    """One drawn model."""

    source: Any  # a file's path or a live module: what `read` takes
    run: Callable[[Model], tuple[list[np.ndarray], Sequence[np.ndarray]]]  # inputs and the framework's answers
    shown: str  # what a failure prints
    kinds: Sequence[str] = ()  # layers it is made of, to be counted
    options: dict[str, Any] = field(default_factory=dict)  # of `read`


@dataclass
class Tally:
    """What came of all draws of one framework."""

    drawn: int = 0
    unsteady: int = 0
    worst: float = 0.0  # error of the C core, as a part of max(1, max|y|)
    worst_reference: float = 0.0
    losses: dict[str, list[float]] = field(default_factory=dict)
    """By family of layers, of each model that s8 ran: by how many dB it is worse than the noise model."""
    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def check(case: Case, allowed: dict[str, str], tally: Tally) -> None:
    """AssertionError where a model is read otherwise than its framework runs it, or refused without being `allowed`
    to be: patterns of reasons, each with the line it is counted under."""
    try:
        model = importers.read(case.source, **case.options)
    except CheckpointError as error:
        for pattern, reason in allowed.items():
            if re.search(pattern, str(error)):
                tally.refused[reason] += 1
                return
        raise AssertionError(f"refused: {error}\n{case.shown}") from error
    xs, expected = case.run(model)
    exact = reference.run(model, xs)
    assert [y.shape for y in exact] == [y.shape for y in expected], case.shown
    rounded = reference.run(model, xs, dtype=np.float32)
    tally.drawn += 1
    tally.kinds.update(case.kinds)
    if not largest_error(exact, rounded) <= UNSTEADY:
        tally.unsteady += 1
        return
    error = largest_error(exact, expected)
    assert error <= LIMIT, f"the reference is off by {error:.3g}\n{case.shown}"
    tally.worst_reference = max(tally.worst_reference, error)
    found = Runner(model).run(tuple(xs))
    error = largest_error(expected, found if isinstance(found, tuple) else (found,))
    assert error <= LIMIT, f"the C core is off by {error:.3g}\n{case.shown}"
    tally.worst = max(tally.worst, error)
    loss = s8_loss(model)
    if loss is not None:
        for family in {FAMILIES.get(type(layer).__name__, "around the cells") for layer in model.layers}:
            tally.losses.setdefault(family, []).append(loss)


FAMILIES = {"Lstm": "LSTM", "Gru": "GRU", "Rnn": "simple RNN", "Conv1d": "windows", "Pool1d": "windows"}


FUNCTION_ERROR = 1e-4
"""Of the integer tanh, the largest of the gate functions' (docs/numerics.md), which the noise model takes for exact."""


def s8_loss(model: Model) -> float | None:
    """By how many dB the C core's int8 answers are worse than those of the same int8 weights under exact arithmetic
    (tests/simulate.py), mean over outputs; None where there is no int8."""
    xs = random_inputs.draw(model, 32, 16, np.random.default_rng(0))  # a few values say little of two noises
    try:
        quantized, rows = quantize_with_rows(model, tuple(xs))
    except QuantizeError:
        return None
    every = model.timing.causal
    exact = reference.run(model, xs, every)
    found = Runner(quantized).run(tuple(xs), every)
    ideal = simulate(model, quantized, rows, xs)
    steps = {t.name: t.scale if t.type == "s16" else 0.0 for t in quantized.tensors}
    losses = []
    for name, y, s8, possible in zip(
        model.outputs, exact, found if isinstance(found, tuple) else (found,), ideal, strict=True
    ):
        best = decibels(y, possible)
        if 0 < best < 50:  # beyond that 16-bit activations decide, which the noise model takes for exact
            floor = max(FUNCTION_ERROR, steps[name])
            least = np.sqrt(np.square(possible - y).mean() + floor**2)
            losses.append(float(20 * np.log10(max(np.sqrt(np.square(s8 - y).mean()), 1e-30) / least)))
    return float(np.mean(losses)) if losses else None


def largest_error(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """The largest error of any output, as a part of max(1, max|y|); infinite where an answer is not finite."""
    worst = 0.0
    for y, z in zip(expected, found, strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            error = float(np.abs(np.float64(z) - y).max() / max(1.0, float(np.abs(y).max())))
        worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


class Draw:
    """hypothesis' draws, shorter to write."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def one(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def whole(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.data.draw(st.booleans())

    def rarely(self) -> bool:
        return self.one(False, False, False, True)

    def random(self) -> np.random.Generator:
        """For weights and inputs: numbers that hypothesis need not know."""
        return np.random.default_rng(self.whole(0, 2**32 - 1))


def drawn(
    make: Callable[[Draw, Path], Case], count: int, folder: Path, allowed: dict[str, str], seed: int | None
) -> Tally:
    """So many models of `make`, each checked. The same ones every time, or with a seed others."""
    tally = Tally()

    def body(data: st.DataObject) -> None:
        check(make(Draw(data), folder), allowed, tally)

    settings = hypothesis.settings(
        max_examples=count,
        derandomize=seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate,),  # shrinking rebuilds hundreds of models; what failed is printed whole
        print_blob=False,
    )
    test = settings(hypothesis.given(st.data())(body))
    if seed is not None:
        test = hypothesis.seed(seed)(test)
    test()
    return tally
