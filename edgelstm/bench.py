"""How long a step takes here: one step at a time, every kernel set in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .model import Array
from .runner import Runner, Source, kernels, read_image

ROUND = 256  # steps before the next kernel set has its turn, so that all see the same weather


@dataclass(frozen=True, slots=True)
class Latency:
    """Nanoseconds of `Runner.step()`, the clock's own cost taken off."""

    kernels: str
    steps: int
    p50: float
    p99: float
    max: float
    misses: int  # steps that took longer than the deadline asked about


def measure(
    model: Source,
    steps: int = 20000,
    names: list[str] | None = None,
    deadline: float | None = None,
    progress: Callable[[float], object] | None = None,
) -> list[Latency]:
    """Times single steps on random inputs, all kernel sets interleaved.

    names: kernel sets, all of this machine unless given. deadline: nanoseconds; steps above it are counted.
    progress: called with the share done.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}, expected at least 1")
    image = read_image(model)
    runners = [Runner(image, name) for name in names or kernels()]
    random = np.random.default_rng(0)
    inputs = [random.uniform(-1, 1, (ROUND, *x.shape)).astype(np.float32) for x in runners[0].xs]
    times = [np.empty(steps) for _ in runners]
    for runner in runners:
        _round(runner, inputs, ROUND)  # caches and branch predictors warm up
    for done in range(0, steps, ROUND):
        count = min(ROUND, steps - done)
        for runner, column in zip(runners, times, strict=True):
            column[done : done + count] = _round(runner, inputs, count)
        if progress is not None:
            progress((done + count) / steps)
    clock = _clock_cost()
    return [
        _latency(r.kernels, np.maximum(column - clock, 0), deadline) for r, column in zip(runners, times, strict=True)
    ]


def _round(runner: Runner, inputs: list[Array], count: int) -> Array:
    times = np.empty(count)
    now, step, bound = time.perf_counter_ns, runner.step, runner.xs
    for k in range(count):
        for x, values in zip(bound, inputs, strict=True):
            x[...] = values[k]
        start = now()
        step()
        times[k] = now() - start
    return times


def _clock_cost() -> float:
    now = time.perf_counter_ns
    return float(np.median([-now() + now() for _ in range(1001)]))


def _latency(name: str, times: Array, deadline: float | None) -> Latency:
    p50, p99 = np.percentile(times, (50, 99))
    misses = 0 if deadline is None else int((times > deadline).sum())
    return Latency(name, len(times), float(p50), float(p99), float(times.max()), misses)
