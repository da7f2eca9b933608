"""The machine's limit, tools/limit.c: the weights read once through the best exact dot product, and the gates."""

from __future__ import annotations

import time
from pathlib import Path

from bench_step import limit_library, limit_timers

from . import nets

FORMS = tuple(
    nets.Form(f"{kind} {kernels}", kind == "s8", (nets.CALL,), answers=False)
    for kind in ("s8", "f32")
    for kernels in ("avx512vnni", "avx2")
)


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Call:
    net = nets.read(folder)
    layers = [f"{layer.inputs},{layer.units}" for layer in net.layers]
    if net.head is not None:
        layers.append(f"{net.layers[-1].units}:{net.outputs}")
    kind, kernels = form.split()
    timers = limit_timers(limit_library(), kernels, kind, " ".join(layers))
    if not timers:
        raise RuntimeError(f"this machine has no {kernels}")
    timer = timers["limit"]

    def nanoseconds(count: int) -> float:
        """The mean of as many of its short batches as take the time of so many steps."""
        start, total, batches = time.perf_counter_ns(), 0.0, 0
        while True:
            total, batches = total + timer(), batches + 1
            if time.perf_counter_ns() - start >= count * total / batches:
                return total / batches

    return nets.Call(lambda xs: xs, nanoseconds)
