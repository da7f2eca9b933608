"""How long a step takes here, and each of its layers: one step at a time, every kernel set in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .model import Array
from .runner import Runner, Source, kernels, read_image

LONG = 400  # nanoseconds: long enough for a clock that costs 20 to 30
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


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of a step, or how values come in and go out. `nanoseconds`: the mean of the middle half."""

    name: str  # of the layer; "inputs", "outputs"
    kind: str  # of the layer; ""
    inputs: int  # values read
    units: int  # values written
    weight_bytes: int
    nanoseconds: float
    share: float  # of the parts' sum


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the time of a step goes with one kernel set.

    `step` is a whole step in C, timed in the same rounds; what Python adds to it is not in here. It is not the sum:
    parts overlap in a whole step and cannot when timed alone, which makes the sum larger, and a part repeated in a row
    finds its weights in the nearest cache, which makes it smaller.
    """

    kernels: str
    parts: tuple[Part, ...]  # in the order of a step
    sum: float
    step: float


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
    _check_steps(steps)
    runners = _runners(model, names or kernels())
    inputs = _inputs(runners[0])
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


def measure_layers(
    model: Source,
    steps: int = 20000,
    names: list[str] | None = None,
    progress: Callable[[float], object] | None = None,
) -> list[Parts]:
    """Times every layer of single steps on random inputs, all kernel sets interleaved; arguments as in `measure`.

    Each layer is timed between its neighbours, as in a step, and so finds the cache as they leave it. What is too short
    for the clock is repeated in a row, as often as LONG holds it.
    """
    _check_steps(steps)
    runners = _runners(model, names or kernels())
    inputs = _inputs(runners[0])
    columns = len(runners[0].description.layers) + 4
    repeats = [_repeats(runner, inputs, columns) for runner in runners]
    times = [np.empty((steps, columns)) for _ in runners]
    for done in range(0, steps, ROUND):
        count = min(ROUND, steps - done)
        for runner, often, table in zip(runners, repeats, times, strict=True):
            _bind(runner, inputs, done // ROUND % ROUND)
            runner.time_parts(often, table[done : done + count])
        if progress is not None:
            progress((done + count) / steps)
    return [_parts(r, _typical(table) / often[:-1]) for r, table, often in zip(runners, times, repeats, strict=True)]


def _repeats(runner: Runner, inputs: list[Array], columns: int) -> Array:
    """How often each part is done in a row: as often as LONG holds it, at least once."""
    once: Array = np.ones(columns, np.uint32)
    times = np.empty((ROUND, columns))
    _bind(runner, inputs, 0)
    for _ in range(2):  # caches and branch predictors warm up
        runner.time_parts(once, times)
    once[:-1] = LONG / np.clip(_typical(times), 1, LONG)
    return once


def _typical(times: Array) -> Array:
    """Of each part the mean of the middle half of its times, less the clock's own, which are the last column.

    Interrupts do not show in it, and a clock that moves by 10 ns at a time does less than in a median.
    """
    rows = len(times)
    middle: Array = np.sort(times, axis=0)[rows // 4 : rows - rows // 4].mean(axis=0)
    less: Array = np.maximum(middle[:-1] - middle[-1], 0)
    return less


def _parts(runner: Runner, times: Array) -> Parts:
    layers = [(x.name, x.kind, x.inputs, x.units, x.weight_bytes) for x in runner.description.layers]
    came, left = sum(runner.input_widths), sum(runner.output_widths)
    rows = [("inputs", "", came, came, 0), *layers, ("outputs", "", left, left, 0)]
    *alone, step = map(float, times)
    total = sum(alone)
    parts = (Part(*row, time, time / total if total else 0.0) for row, time in zip(rows, alone, strict=True))
    return Parts(runner.kernels, tuple(parts), total, step)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InputError(f"steps is {steps}, expected at least 1")


def _runners(model: Source, names: list[str]) -> list[Runner]:
    image = read_image(model)
    runners = [Runner(image, name) for name in names]
    runners[0].check_steps()
    return runners


def _inputs(runner: Runner) -> list[Array]:
    """ROUND random steps of every input."""
    random = np.random.default_rng(0)
    xs = [random.uniform(-1, 1, (ROUND, *x.shape)).astype(np.float32) for x in runner.xs]
    ids = runner.description.vocabularies
    return [random.integers(0, n, x.shape).astype(np.float32) if n else x for n, x in zip(ids, xs, strict=True)]


def _bind(runner: Runner, inputs: list[Array], k: int) -> None:
    for x, values in zip(runner.xs, inputs, strict=True):
        x[...] = values[k]


def _round(runner: Runner, inputs: list[Array], count: int) -> Array:
    times = np.empty(count)
    now, step = time.perf_counter_ns, runner.step
    for k in range(count):
        _bind(runner, inputs, k)
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
