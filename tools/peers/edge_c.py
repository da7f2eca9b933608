"""EdgeLSTM's step called in C, by the loops of tools/bench_step.c."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bench_step import step_library

from edgelstm import kernels

from . import nets

FORMS = (
    nets.Form("s8 integers", True, (nets.CALL,)),
    nets.Form("s8 floats", True, (nets.CALL,)),
    nets.Form("f32 floats", False, (nets.CALL,)),
    nets.Form("s8 integers avx2", True, (nets.CALL,)),
    nets.Form("f32 floats avx2", False, (nets.CALL,)),
)
"""The number type, the door, and the kernel set where it is not the best."""


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Call:
    kind, door, name = (*form.split(), kernels()[0])[:3]
    image = (folder / f"{kind}.edgelstm").read_bytes()
    x = np.ascontiguousarray(np.load(folder / "x.npy"))
    library = step_library()
    handle = library.bench_open(image, len(image), name.encode(), x.ctypes.data)
    if not handle:
        raise RuntimeError(f"this machine has no kernels {name}")
    shape = len(x), nets.read(folder).outputs

    def answers(xs: np.ndarray) -> np.ndarray:
        return np.ctypeslib.as_array(library.bench_answers(handle), shape).copy()

    if door == "integers":
        return nets.Call(answers, lambda steps: library.bench_steps_s8(handle, steps))
    return nets.Call(answers, lambda steps: library.bench_steps_f32(handle, steps, None))
