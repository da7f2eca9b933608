"""The C call of one LSTM layer against the limit of the machine.

    python tools/bench_step.py [--sets avx512vnni,avx2] [--sizes 32,64 64,128 ...] [--types s8,f32] [--rounds 41]
                               [--rtneural PATH]

Limit (tools/limit.c), a step, and a run of 128 steps, in turn in every round on one core. Nanoseconds a step: medians
of the rounds, lowest in brackets; ratios of medians, of the lowest in brackets. s8 is called in integers; "float door"
is the same step called in floats. --rtneural: a work tree of RTNeural, whose step is timed in the same rounds with each
of its vector backends; xsimd and Eigen are looked for in its modules/, then among the system's headers. All answers
are checked against the float64 reference first. Images and libraries are kept in build/bench_step.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edgelstm.image import pack
from edgelstm.layers import Lstm
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.reference import run

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "bench_step"
SIZES = ("8,16", "16,32", "32,64", "64,128", "128,256", "256,512", "512,1024")
ROWS = 128  # of bench_step.c
COLUMNS = ("limit", "step", "float door", "run")
Timer: TypeAlias = Callable[[], float]  # nanoseconds a step
BATCH_NS = 30_000  # long enough that reading the clock, about 25 ns, does not count


def model(inputs: int, units: int) -> Model:
    """One layer with random weights, its h the answer."""
    generator = np.random.default_rng(0)
    bound = 1 / np.sqrt(units)
    weights = [generator.uniform(-bound, bound, shape) for shape in ((4, units, inputs), (4, units, units), (4, units))]
    tensors = (Tensor("x", inputs), Tensor("h", units))
    return Model(tensors, (Lstm("lstm", ("x",), ("h",), *weights),), ("x",), ("h",))


def noise(inputs: int) -> np.ndarray:
    """The rows of input that bench_step.c wants."""
    return np.random.default_rng(1).standard_normal((ROWS, inputs)).astype(np.float32)


@functools.cache
def answers(inputs: int, units: int) -> np.ndarray:
    """The float64 reference's, to all rows of noise."""
    (expected,) = run(model(inputs, units), (noise(inputs)[None],), every_step=True)
    return expected[0]


def kept(name: str, parts: list[Path], make: Callable[[Path], None]) -> Path:
    """build/bench_step/<name>, made anew where one of the files that it comes from has changed."""
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    path = KEPT / f"{digest}_{name}"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob(f"*_{name}"):
            old.unlink()
        unfinished = KEPT / f"{os.getpid()}_{name}.unfinished"
        make(unfinished)
        unfinished.replace(path)
    return path


def image(number_type: str, inputs: int, units: int) -> bytes:
    """A packed layer."""

    def make(path: Path) -> None:
        net = model(inputs, units)
        samples = np.random.default_rng(2).standard_normal((4, 32, inputs)).astype(np.float32)
        path.write_bytes(pack(net if number_type == "f32" else quantize(net, samples)))

    parts = [Path(__file__), *sorted((ROOT / "edgelstm").glob("*.py"))]
    return kept(f"{number_type}_{inputs}_{units}.elstm", parts, make).read_bytes()


def compiled(name: str, sources: list[Path], parts: list[Path], *command: str) -> ctypes.CDLL:
    """A shared library of `sources`; `parts` are the files it depends on besides."""

    def make(path: Path) -> None:
        subprocess.run([*command, "-fPIC", "-shared", "-o", str(path), *map(str, sources)], check=True)

    return ctypes.CDLL(str(kept(f"{name}.so", [*sources, *parts], make)))


def limit_library() -> ctypes.CDLL:
    """tools/limit.c."""
    lib = compiled("limit", [ROOT / "tools/limit.c"], [], "cc", "-std=c99", "-O3")
    lib.limit_open.restype = ctypes.c_void_p
    lib.limit_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
    lib.limit_time.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_double)]
    return lib


def step_library() -> ctypes.CDLL:
    """The C core with the timing loops of bench_step.c."""
    sources = [ROOT / "tools/bench_step.c", *sorted((ROOT / "src_c").glob("*.c"))]
    headers = sorted((ROOT / "src_c").glob("*.h"))
    command = ("cc", "-std=c99", "-O3", "-ffp-contract=off", f"-I{ROOT / 'src_c'}")
    lib = compiled("bench_step", sources, headers, *command)
    lib.bench_open.restype = ctypes.c_void_p
    lib.bench_open.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    lib.bench_steps_f32.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p]
    lib.bench_steps_s8.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    for run_rows in (lib.bench_run_f32, lib.bench_run_s8):
        run_rows.argtypes = [ctypes.c_void_p]
    for call in (lib.bench_steps_f32, lib.bench_steps_s8, lib.bench_run_f32, lib.bench_run_s8):
        call.restype = ctypes.c_double
    lib.bench_answers.restype = ctypes.POINTER(ctypes.c_float)
    lib.bench_answers.argtypes = [ctypes.c_void_p]
    return lib


def rtneural_libraries(tree: Path) -> dict[str, ctypes.CDLL]:
    """RTNeural's layer with the timing loop of bench_rtneural.cpp, one library for each of its vector backends."""
    found = {}
    for backend, alignment in (("xsimd", 64), ("eigen", 32)):
        command = ["g++", "-std=c++17", "-O3", "-march=native", "-w", "-DEIGEN_STACK_ALLOCATION_LIMIT=0"]
        command += [f"-DRTNEURAL_USE_{backend.upper()}=1", f"-DRTNEURAL_DEFAULT_ALIGNMENT={alignment}"]
        command += [f"-I{tree}", f"-I{tree}/modules/xsimd/include", f"-I{tree}/modules/Eigen", "-I/usr/include/eigen3"]
        parts = [tree / "RTNeural/ModelT.h", Path(__file__)]
        lib = compiled(f"rtneural_{backend}", [ROOT / "tools/bench_rtneural.cpp"], parts, *command)
        lib.rtneural_open.restype = ctypes.c_void_p
        lib.rtneural_open.argtypes = [ctypes.c_uint, ctypes.c_uint, *[ctypes.c_void_p] * 4]
        lib.rtneural_steps.restype = ctypes.c_double
        lib.rtneural_steps.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        lib.rtneural_answers.restype = ctypes.POINTER(ctypes.c_float)
        lib.rtneural_answers.argtypes = [ctypes.c_void_p]
        found[backend] = lib
    return found


def batch(call: Callable[[int], float]) -> Timer:
    """`call` with as many steps as take BATCH_NS, four at least."""
    steps = 4
    while steps * call(steps) < BATCH_NS:
        steps *= 2
    return lambda: call(steps)


def check(what: str, answers: ctypes.Array[ctypes.c_float], expected: np.ndarray, bound: float) -> None:
    error = np.abs(np.ctypeslib.as_array(answers, expected.shape) - expected).max()
    if not error <= bound:
        raise SystemExit(f"{what}: answers differ from the float64 reference by {error:.1e}, more than {bound:.1e}")


def limit_timers(lib: ctypes.CDLL, kernels: str, number_type: str, layers: str) -> dict[str, Timer]:
    """None for a set that tools/limit.c does not know."""
    handle = lib.limit_open(kernels.encode(), number_type.encode(), layers.encode())
    dot, gates = ctypes.c_double(), ctypes.c_double()

    def timer() -> float:
        lib.limit_time(handle, dot, gates)
        return dot.value + gates.value

    return {"limit": timer} if handle else {}


def step_timers(lib: ctypes.CDLL, kernels: str, number_type: str, layers: str) -> dict[str, Timer]:
    inputs, units = map(int, layers.split(","))
    x, packed = noise(inputs), image(number_type, inputs, units)
    handle = lib.bench_open(packed, len(packed), kernels.encode(), x.ctypes.data)
    if not handle:
        raise SystemExit(f"this machine has no kernel set {kernels}")
    bound = 2e-6 if number_type == "f32" else 0.1
    check(f"{kernels} {number_type} {layers}", lib.bench_answers(handle), answers(inputs, units), bound)
    floats = batch(lambda steps: lib.bench_steps_f32(handle, steps, None))
    if number_type == "f32":
        return {"step": floats, "run": lambda: lib.bench_run_f32(handle)}
    integers = batch(lambda steps: lib.bench_steps_s8(handle, steps))
    return {"step": integers, "float door": floats, "run": lambda: lib.bench_run_s8(handle)}


def rtneural_timers(lib: ctypes.CDLL, layers: str) -> dict[str, Timer]:
    """None for a size that bench_rtneural.cpp has not."""
    inputs, units = map(int, layers.split(","))
    x, lstm = noise(inputs), model(inputs, units).layers[0]
    weights = [np.ascontiguousarray(a, np.float32) for a in (lstm.kernel, lstm.recurrent, lstm.bias)]
    handle = lib.rtneural_open(inputs, units, *(a.ctypes.data for a in weights), x.ctypes.data)
    if not handle:
        return {}
    check(f"RTNeural {layers}", lib.rtneural_answers(handle), answers(inputs, units), 1e-4)
    return {"step": batch(lambda steps: lib.rtneural_steps(handle, steps))}


def measure(found: dict[str, dict[str, Timer]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Every timer once a round, each round in an order of its own."""
    times: dict[str, dict[str, list[float]]] = {row: {column: [] for column in found[row]} for row in found}
    every = [(row, column) for row in found for column in found[row]]
    order = random.Random(0)
    for _ in range(rounds):
        order.shuffle(every)
        for row, column in every:
            times[row][column].append(found[row][column]())
    return times


def cells(times: dict[str, list[float]]) -> list[str]:
    """Of one row: medians, and ratios to the limit, of the lowest in brackets."""
    middle = {column: statistics.median(values) for column, values in times.items()}
    lowest = {column: min(values) for column, values in times.items()}
    found = [f"{middle[c]:.4g} ({lowest[c]:.4g})" if c in times else "-" for c in COLUMNS]
    for column in ("step", "run"):
        known = column in times and "limit" in times
        ratios = (values[column] / values["limit"] for values in (middle, lowest)) if known else ()
        found.append("{:.2f} ({:.2f})".format(*ratios) if known else "-")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="avx512vnni,avx2")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--types", default="s8,f32")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--rtneural", type=Path)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    limit, steps = limit_library(), step_library()
    others = rtneural_libraries(given.rtneural.resolve()) if given.rtneural else {}
    print("| inputs, units | type | kernels |", " | ".join(COLUMNS), "| step / limit | run / limit |")
    print(f"|---|---|---|{'---|' * len(COLUMNS)}---|---|")
    for layers in given.sizes:
        for number_type in given.types.split(","):
            found = {
                kernels: limit_timers(limit, kernels, number_type, layers)
                | step_timers(steps, kernels, number_type, layers)
                for kernels in given.sets.split(",")
            }
            if number_type == "f32":
                found |= {f"RTNeural, {name}": rtneural_timers(lib, layers) for name, lib in others.items()}
            for row, times in measure(found, given.rounds).items():
                if times:
                    print(f"| {layers} | {number_type} | {row} |", " | ".join(cells(times)), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
