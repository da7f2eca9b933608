"""What the data and the number of streams do to EdgeLSTM's step: python -m peers.loads BLOCKS ROUNDS

An hour is 360,000 steps, 100 Hz. Its net forgets slowly and has no biases, so that after activity its state decays
through the denormal numbers, where each multiplication may take a hundred cycles on a CPU that is not told otherwise.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm import Runner
from edgelstm.quantization import quantize

from . import cases, nets
from .client import python

BLOCK, BLOCKS = 1000, 360
"""Steps timed at a time; an hour of 100 Hz of them."""
PARTS = 36
"""Of the hour, each with a ratio of its own, so that a slow stretch is not lost in the whole."""
STREAMS = 16
CASE = cases.Case("32-64", 32, (64,))
STREAM_CASES = (cases.Case("64-128", 64, (128,)), cases.Case("256-512", 256, (512,)))
FORGET = 5.0
"""Bias of the forget gate: c falls by 0.7 % a step."""


def measure(quick: bool, log: Any) -> dict[str, Any]:
    """Both parts, in a process of their own."""
    blocks, rounds = (20, 5) if quick else (BLOCKS, 61)
    return json.loads(python("-m", "peers.loads", str(blocks), str(rounds), log=log).stdout)


def array(case: cases.Case) -> float:
    """Microseconds that making a float32 array of a list takes, which every peer's user pays alike."""
    values = np.random.default_rng(0).standard_normal(case.inputs).tolist()
    return timed(lambda: np.array(values, np.float32), 1000, 11) / 1000


def timed(call: Callable[[], object], count: int, rounds: int) -> float:
    """Nanoseconds a call, median of rounds."""
    return statistics.median(block(call, count) for _ in range(rounds))


def block(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (time.perf_counter_ns() - start) / count


def sleepy(net: nets.Net) -> nets.Net:
    """The net without biases but for a forget gate that hardly forgets."""
    layers = []
    for layer in net.layers:
        bias = np.zeros_like(layer.bias)
        bias[1] = FORGET
        layers.append(layer._replace(bias=bias))
    return net._replace(layers=tuple(layers))


def runners(case: cases.Case, net: nets.Net, **settings: int) -> dict[str, Callable[[], Runner]]:
    """A maker of runners by number type."""
    model = cases.as_model(net)
    samples = np.random.default_rng(8).standard_normal((cases.SAMPLES, nets.STEPS, case.inputs)).astype(np.float32)
    quantized = quantize(model, samples)
    return {"f32": lambda: Runner(model, **settings), "s8": lambda: Runner(quantized, **settings)}


def data(blocks: int) -> dict[str, Any]:
    """Nanoseconds a step on noise, zeros, a constant and extremes, in turn."""
    random = np.random.default_rng(9)
    noise = random.standard_normal((BLOCK, CASE.inputs)).astype(np.float32)
    extremes = random.choice(np.float32([-1e30, 1e30]), (BLOCK, CASE.inputs))
    inputs = {"noise": noise, "zeros": np.zeros_like(noise), "constant": np.full_like(noise, 0.5), "extremes": extremes}
    result = {}
    for kind, make in runners(CASE, sleepy(cases.build(CASE))).items():
        made = {name: make() for name in inputs}
        for runner in made.values():
            steps(runner, noise)  # activity before all else
        times = {name: [] for name in inputs}
        for _ in range(blocks):
            for name, x in inputs.items():
                times[name].append(steps(made[name], x))
        result[kind] = {name: beside(found, times["noise"]) for name, found in times.items()}
    return {"inputs": CASE.inputs, "units": CASE.units[0], "steps": blocks * BLOCK, "kinds": result}


def beside(times: list[float], noise: list[float]) -> dict[str, float]:
    """A load's time, and its ratio to noise: of the whole, and in the part of the hour where it is highest."""
    parts = min(PARTS, len(times) // 4)
    ratios = [np.median(a) / np.median(b) for a, b in zip(np.array_split(times, parts), np.array_split(noise, parts))]
    whole = statistics.median(times)
    return {
        "median": whole,
        "low": min(times),
        "ratio": whole / statistics.median(noise),
        "highest": float(max(ratios)),
    }


def steps(runner: Runner, rows: np.ndarray) -> float:
    """Nanoseconds a step over the rows, each an array of its own."""
    fresh, step = list(rows.copy()), runner.step
    start = time.perf_counter_ns()
    for x in fresh:
        step(x)
    return (time.perf_counter_ns() - start) / len(fresh)


def streams(rounds: int) -> list[dict[str, Any]]:
    """Nanoseconds a step and stream of STREAMS streams in one runner, and of one stream alone, in turn."""
    rows = []
    for case in STREAM_CASES:
        net = cases.build(case)
        together, alone = runners(case, net, streams=STREAMS), runners(case, net)
        for kind in together:
            many, one = together[kind](), alone[kind]()
            x = np.random.default_rng(10).standard_normal((STREAMS, case.inputs)).astype(np.float32)
            many.x[...], one.x[...] = x, x[0]
            count = max(8, int(2e6 / block(many.step, 8)))  # about 2 ms
            pairs = [(block(many.step, count) / STREAMS, block(one.step, count)) for _ in range(rounds)]
            together_ns, alone_ns = (statistics.median(column) for column in zip(*pairs, strict=True))
            rows.append(
                {"case": case.name, "kind": kind, "streams": STREAMS, "together": together_ns, "alone": alone_ns}
            )
    return rows


def main() -> None:
    blocks, rounds = map(int, sys.argv[1:])
    print(json.dumps({"data": data(blocks), "streams": streams(rounds)}))


if __name__ == "__main__":
    main()
