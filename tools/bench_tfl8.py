"""An int8 TFLite LSTM here and in TFLite's runtimes: the same file's bytes, one thread, one core, in turns.

    python tools/bench_tfl8.py [--sizes 32,64 128,256 ...] [--rounds 31] [--core 0]

Microseconds a step of one LSTM between int8 doors, medians of the rounds: in a call over 128 steps, and in 128 calls
of one step each, which hand their input over. In brackets how many times as fast as each runtime, with whichever of
its kernels is faster. Every form's answers are compared byte for byte before it is timed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tfl8_files import File
from tfl8_nets import tfl8_stack

from edgelstm import Runner, kernels, peers

SIZES = ("8,16", "16,32", "32,64", "64,128", "128,256")
STEPS = 128


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    found = peers.runtimes()
    if not found:
        sys.exit("no TFLite runtime is installed: pip install tflite-runtime ai-edge-litert")
    sets = [name for name in kernels() if name != "scalar"] + ["scalar"]
    columns = [f"{r}, {x}" for r in found for x in ("default", "reference")]
    print(f"| inputs, units | call | {' | '.join(columns)} | {' | '.join(sets)} |")
    print("|---" * (2 + len(columns) + len(sets)) + "|")
    for size in options.sizes:
        inputs, units = map(int, size.split(","))
        for steps in (STEPS, 1):
            forms = prepared(inputs, units, steps, found, sets)
            times = measured(forms, options.rounds)
            best = {r: min(times[r, x] for x in ("default", "reference")) for r in found}
            theirs = [f"{times[r, x]:.2f}" for r in found for x in ("default", "reference")]
            ours = []
            for name in sets:
                own = times[name, ""]
                ours.append(f"{own:.2f} ({', '.join(f'{best[r] / own:.0f}' for r in found)})")
            print(f"| {inputs}, {units} | {steps} | {' | '.join(theirs)} | {' | '.join(ours)} |", flush=True)
    return 0


def prepared(inputs: int, units: int, steps: int, found: list[str], sets: list[str]) -> dict[Any, Callable[[], Any]]:
    """A call of `steps` steps of each form; all gave the same bytes for 128 of them."""
    model = tfl8_stack(inputs, (units,), 0, last=False, floats=False)
    x = np.random.default_rng(0).integers(-128, 128, (STEPS, inputs)).astype(np.int8)
    file = File(model, steps).bytes
    calls: dict[Any, Callable[[], Any]] = {}
    answers = {}
    for runtime in found:
        for resolver in ("default", "reference"):
            module = importlib.import_module(f"{peers.RUNTIMES[runtime]}.interpreter")
            kind = getattr(module.OpResolverType, peers.RESOLVERS[resolver])
            interpreter = module.Interpreter(model_content=file, num_threads=1, experimental_op_resolver_type=kind)
            interpreter.allocate_tensors()
            read, write = (
                rows[0]["index"] for rows in (interpreter.get_input_details(), interpreter.get_output_details())
            )
            parts = []
            for at in range(0, STEPS, steps):
                interpreter.set_tensor(read, x[None, at : at + steps])
                interpreter.invoke()
                parts.append(interpreter.get_tensor(write)[0])
            calls[runtime, resolver] = interpreter.invoke
            if steps == 1:
                calls[runtime, resolver] = stepping(
                    x[:, None, None], partial(interpreter.set_tensor, read), interpreter
                )
            answers[runtime, resolver] = np.concatenate(parts)
    for name in sets:
        runner = Runner(model, kernels=name)
        answers[name, ""] = runner.run(x)
        calls[name, ""] = partial(runner.run, x) if steps == STEPS else stepping(x, runner.step)
    first = answers[sets[0], ""]
    for form, y in answers.items():
        if not np.array_equal(y, first):
            sys.exit(f"{' '.join(form)} answers {int((y != first).sum())} of {y.size} bytes otherwise")
    return calls


def stepping(rows: np.ndarray, take: Callable[[Any], Any], interpreter: Any = None) -> Callable[[], None]:
    """A call for each row: `take`, then an interpreter's invoke."""

    def steps() -> None:
        for row in rows:
            take(row)
            if interpreter is not None:
                interpreter.invoke()

    return steps


def measured(forms: dict[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Microseconds a step."""
    repeats = {}
    for form, call in forms.items():  # for about 2 ms
        start = time.perf_counter()
        call()
        repeats[form] = max(1, int(2e-3 / (time.perf_counter() - start)))
    times: dict[Any, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, call in forms.items():
            start = time.perf_counter()
            for _ in range(repeats[form]):
                call()
            times[form].append((time.perf_counter() - start) / repeats[form] / STEPS * 1e6)
    return {form: statistics.median(t) for form, t in times.items()}


if __name__ == "__main__":
    sys.exit(main())
