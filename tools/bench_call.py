"""What Python adds to a step: `runner.step()` and `runner.step(x)` against the same call in C.

    python tools/bench_call.py            prints a Markdown table

All run the same image with the same kernels, interleaved, on one core; the figures are medians of rounds. `step(x)` and
the call in C it is held against get the same new arrays, so both fetch them from the same cache.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from bench_step import noise, step_library

from edgelstm.layers import Dense, Last, Lstm
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.runner import Runner

ROUNDS, STEPS = 61, 1000


def model(inputs: int, units: int, outputs: int = 4) -> Model:
    """A random LSTM with a Dense head."""
    random = np.random.default_rng(0)
    bound = 1 / np.sqrt(units)

    def uniform(*shape: int) -> np.ndarray:
        return random.uniform(-bound, bound, shape)

    layers = (
        Lstm("lstm", ("x",), ("h",), uniform(4, units, inputs), uniform(4, units, units), uniform(4, units)),
        Last("last", ("h",), ("kept",)),
        Dense("dense", ("kept",), ("y",), uniform(outputs, units), uniform(outputs)),
    )
    widths = {"x": inputs, "h": units, "kept": units, "y": outputs}
    return Model(tuple(Tensor(*item) for item in widths.items()), layers, ("x",), ("y",))


def loop(call: Callable[[], object]) -> float:
    """Nanoseconds a call, without those of the loop around it."""
    start = time.perf_counter_ns()
    for _ in itertools.repeat(None, STEPS):
        call()
    middle = time.perf_counter_ns()
    for _ in itertools.repeat(None, STEPS):
        pass
    return (2 * middle - start - time.perf_counter_ns()) / STEPS


def loop_fresh(call: Callable[[np.ndarray], object], arrays: list[np.ndarray]) -> float:
    """Nanoseconds a call, each with an array it has not seen before, without those of the loop around it."""
    start = time.perf_counter_ns()
    for x in arrays:
        call(x)
    middle = time.perf_counter_ns()
    for _ in arrays:
        pass
    return (2 * middle - start - time.perf_counter_ns()) / STEPS


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print("| inputs, units | type | C call | `step()` adds | `step(x)`, new array, adds | a `run` of one step |")
    print("|---|---|---|---|---|---|")
    lib = step_library()
    for inputs, units in ((8, 16), (9, 64)):
        net = model(inputs, units)
        samples = np.random.default_rng(1).standard_normal((4, 32, inputs)).astype(np.float32)
        x = noise(inputs)
        for kind, packed in (("f32", net), ("s8", quantize(net, samples))):
            runner = Runner(packed)
            handle = lib.bench_open(runner.image, len(runner.image), runner.kernels.encode(), x.ctypes.data)
            rows = []
            for _ in range(ROUNDS):
                fresh = [x[0].copy() for _ in range(STEPS)]
                pool = (ctypes.c_void_p * STEPS)(*(x.ctypes.data for x in fresh))
                c, bound = lib.bench_steps_f32(handle, STEPS, None), loop(runner.step)
                c_fresh, given = lib.bench_steps_f32(handle, STEPS, pool), loop_fresh(runner.step, fresh)
                whole = loop(partial(runner.run, x[:1]))
                rows.append((c, bound - c, given - c_fresh, whole))
            c, bound, given, whole = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"| {inputs}, {units} | {kind} | {c:.0f} | {bound:.0f} | {given:.0f} | {whole:.0f} |")


if __name__ == "__main__":
    main()
