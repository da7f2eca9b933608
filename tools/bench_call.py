"""What Python adds to a step: `runner.step()` and `runner.step(x)` against the same call in C; and what threads gain.

    python tools/bench_call.py              prints a Markdown table
    python tools/bench_call.py --threads    steps a second of two threads, each with a runner of its own, against one's
    python tools/bench_call.py --count      instructions of step() and step(x) on x86-64, counted under QEMU

All run the same image with the same kernels, interleaved, on one core; the figures are medians of rounds. `step(x)` and
the call in C it is held against get the same new arrays, so both fetch them from the same cache.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from bench_step import noise, step_library
from count_instructions import build_plugin

from edgelstm.image import save
from edgelstm.layers import Dense, Last, Lstm
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.runner import Runner

ROUNDS, STEPS = 61, 1000
MARK = 0x454C5354  # of tools/count_plugin.c


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


def stepped_together(calls: list[Callable[[], object]]) -> float:
    """Steps a second, all together, where each call has a thread of its own."""
    barrier, times = threading.Barrier(len(calls)), []

    def work(call: Callable[[], object]) -> None:
        barrier.wait()
        times.append(time.perf_counter())  # here: who waits for the threads may come late
        for _ in itertools.repeat(None, 20 * STEPS):
            call()
        times.append(time.perf_counter())

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 20 * STEPS * len(calls) / (max(times) - min(times))


def bench_threads() -> None:
    lock = "with its lock" if getattr(sys, "_is_gil_enabled", lambda: True)() else "without its lock"
    print(f"Python {platform.python_version()} {lock}, {os.cpu_count()} cores\n")
    print("| inputs, units | type | one thread, steps a second | two | two, of one |")
    print("|---|---|---|---|---|")
    for inputs, units in ((8, 16), (9, 64), (64, 128)):
        net = model(inputs, units)
        samples = np.random.default_rng(1).standard_normal((4, 32, inputs)).astype(np.float32)
        for kind, packed in (("f32", net), ("s8", quantize(net, samples))):
            runners = [Runner(packed) for _ in range(2)]
            rows = [
                (stepped_together([runners[0].step]), stepped_together([runner.step for runner in runners]))
                for _ in range(ROUNDS // 4)
            ]
            one, two = (max(column) for column in zip(*rows, strict=True))  # what else ran here only takes away
            print(f"| {inputs}, {units} | {kind} | {one:,.0f} | {two:,.0f} | {two / one:.2f} |")


def bench_count() -> None:
    net = model(8, 16)
    samples = np.random.default_rng(1).standard_normal((4, 32, 8)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        image, plugin = Path(name) / "model.elstm", build_plugin(Path(name))
        save(quantize(net, samples), image)
        command = ["qemu-x86_64", "-cpu", "max", "-plugin", str(plugin), sys.executable, __file__]
        done = subprocess.run([*command, "--counted", str(image)], capture_output=True, text=True, check=True)
    nothing, bound, given = map(int, done.stderr.split()[-3:])
    print("| Python | `step()` | `step(x)` |\n|---|---|---|")
    print(f"| {platform.python_version()} | {(bound - nothing) / STEPS:,.0f} | {(given - nothing) / STEPS:,.0f} |")


def counted(image: str) -> None:
    """What bench_count runs under QEMU: three loops, with a mark before and after each."""
    step, x = Runner(image).step, np.zeros(8, np.float32)
    prctl = ctypes.CDLL(None).prctl

    def nothing() -> None:
        for _ in itertools.repeat(None, STEPS):
            pass

    def bound() -> None:
        for _ in itertools.repeat(None, STEPS):
            step()

    def given() -> None:
        for _ in itertools.repeat(None, STEPS):
            step(x)

    for run in (nothing, bound, given):  # once for Python to make them fast
        run()
    prctl(MARK)
    for run in (nothing, bound, given):
        run()
        prctl(MARK)


def bench_call() -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", action="store_true", help="what two threads gain")
    parser.add_argument("--count", action="store_true", help="instructions, under QEMU")
    parser.add_argument("--counted", metavar="IMAGE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.counted:
        counted(options.counted)
    elif options.count:
        bench_count()
    elif options.threads:
        bench_threads()
    else:
        bench_call()


if __name__ == "__main__":
    main()
