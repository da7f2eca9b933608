"""The C call against the limit of the machine, one LSTM layer at a time: the tables of docs/benchmarks.md.

    python tools/bench_step.py [--sets avx512vnni,avx2] [--sizes 32,64 64,128 ...] [--types s8,f32]
                               [--rounds 41] [--rtneural PATH]

Limit (tools/limit.c), one step, and a run of 128 steps, in turn in every round, on one core; medians of the rounds,
lowest in brackets, nanoseconds a step; ratios are of medians. s8 is called in integers, `float door` is the same step
called in floats. --rtneural: a work tree of RTNeural, whose step is timed in the same rounds (tools/bench_rtneural.cpp)
and checked, like ours, against the float64 reference. Images and libraries are kept in build/bench_step.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgelstm.image import pack
from edgelstm.model import Lstm, Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.reference import run

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "bench_step"
SIZES = ("8,16", "16,32", "32,64", "64,128", "128,256", "256,512", "512,1024")
ROWS = 128  # of bench_step.c
BATCH_NS = 30_000  # long enough that reading the clock, about 25 ns, does not count


def model(inputs: int, units: int) -> Model:
    """One layer with random weights, its h the answer."""
    random = np.random.default_rng(0)
    bound = 1 / np.sqrt(units)
    weights = [random.uniform(-bound, bound, shape) for shape in ((4, units, inputs), (4, units, units), (4, units))]
    tensors = (Tensor("x", inputs), Tensor("h", units))
    return Model(tensors, (Lstm("lstm", ("x",), ("h",), *weights),), ("x",), ("h",))


def noise(inputs: int) -> np.ndarray:
    """The rows of input that bench_step.c wants."""
    return np.random.default_rng(1).standard_normal((ROWS, inputs)).astype(np.float32)


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


def rtneural_library(tree: Path) -> ctypes.CDLL:
    """RTNeural's layer with the timing loop of bench_rtneural.cpp."""
    command = ("g++", "-std=c++17", "-O3", "-march=native", "-w", f"-I{tree}", "-I/usr/include/eigen3")
    lib = compiled("bench_rtneural", [ROOT / "tools/bench_rtneural.cpp"], [tree / "RTNeural/ModelT.h"], *command)
    lib.rtneural_open.restype = ctypes.c_void_p
    lib.rtneural_open.argtypes = [ctypes.c_uint, ctypes.c_uint, *[ctypes.c_void_p] * 4]
    lib.rtneural_steps.restype = ctypes.c_double
    lib.rtneural_steps.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    lib.rtneural_answers.restype = ctypes.POINTER(ctypes.c_float)
    lib.rtneural_answers.argtypes = [ctypes.c_void_p]
    return lib


def batch(call: Callable[[int], float]) -> Callable[[], float]:
    """`call` with as many steps as take BATCH_NS."""
    steps = 1
    while steps * call(steps) < BATCH_NS:
        steps *= 2
    return lambda: call(steps)


def limit_timer(lib: ctypes.CDLL, kernels: str, number_type: str, layers: str) -> Callable[[], float] | None:
    """None where the limit does not know the set or the CPU lacks it."""
    handle = lib.limit_open(kernels.encode(), number_type.encode(), layers.encode())
    dot, gates = ctypes.c_double(), ctypes.c_double()

    def timer() -> float:
        lib.limit_time(handle, dot, gates)
        return dot.value + gates.value

    return timer if handle else None


def check(what: str, answers: ctypes.Array[ctypes.c_float], expected: np.ndarray, bound: float) -> None:
    error = np.abs(np.ctypeslib.as_array(answers, expected.shape) - expected).max()
    if not error <= bound:
        raise SystemExit(f"{what}: answers differ from the float64 reference by {error:.1e}, more than {bound:.1e}")


def timers(
    libs: dict[str, ctypes.CDLL], sets: list[str], number_type: str, layers: str
) -> dict[tuple[str, str], Callable[[], float]]:
    """By kernel set and column: what to time at one size in one number type, after a check of the answers."""
    inputs, units = map(int, layers.split(","))
    x, packed = noise(inputs), image(number_type, inputs, units)
    (expected,) = run(model(inputs, units), (x[None],), every_step=True)
    found: dict[tuple[str, str], Callable[[], float]] = {}
    steps = libs["steps"]
    for kernels in sets:
        handle = steps.bench_open(packed, len(packed), kernels.encode(), x.ctypes.data)
        if not handle:
            raise SystemExit(f"this machine has no kernel set {kernels}")
        check(
            f"{kernels} {number_type}", steps.bench_answers(handle), expected[0], 2e-6 if number_type == "f32" else 0.1
        )
        limit = limit_timer(libs["limit"], kernels, number_type, layers)
        if limit:
            found[kernels, "limit"] = limit
        if number_type == "s8":
            found[kernels, "step"] = batch(lambda n, h=handle: steps.bench_steps_s8(h, n))
            found[kernels, "float door"] = batch(lambda n, h=handle: steps.bench_steps_f32(h, n, None))
            found[kernels, "run"] = lambda h=handle: steps.bench_run_s8(h)
        else:
            found[kernels, "step"] = batch(lambda n, h=handle: steps.bench_steps_f32(h, n, None))
            found[kernels, "run"] = lambda h=handle: steps.bench_run_f32(h)
    if "rtneural" in libs and number_type == "f32":
        lstm = model(inputs, units).layers[0]
        arrays = [np.ascontiguousarray(a, np.float32) for a in (lstm.kernel, lstm.recurrent, lstm.bias)]
        other = libs["rtneural"].rtneural_open(inputs, units, *(a.ctypes.data for a in arrays), x.ctypes.data)
        if other:
            check("RTNeural", libs["rtneural"].rtneural_answers(other), expected[0], 1e-4)
            for kernels in sets:
                found[kernels, "RTNeural"] = batch(lambda n: libs["rtneural"].rtneural_steps(other, n))
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
    libs = {"limit": limit_library(), "steps": step_library()}
    if given.rtneural:
        libs["rtneural"] = rtneural_library(given.rtneural.resolve())
    columns = ("limit", "step", "float door", "run", *(["RTNeural"] if given.rtneural else []))
    print("| inputs, units | type | kernels |", " | ".join(columns), "| step / limit | run / limit |")
    print(f"|---|---|---|{'---|' * len(columns)}---|---|")
    for layers in given.sizes:
        for number_type in given.types.split(","):
            found = timers(libs, given.sets.split(","), number_type, layers)
            times = {key: [] for key in found}
            for _ in range(given.rounds):
                for key, timer in found.items():
                    times[key].append(timer())
            middle = {key: statistics.median(values) for key, values in times.items()}
            for kernels in given.sets.split(","):
                cells = [
                    f"{middle[key]:.4g} ({min(times[key]):.4g})" if (key := (kernels, column)) in middle else "-"
                    for column in columns
                ]
                if (kernels, "limit") in middle:
                    limit = middle[kernels, "limit"]
                    cells += [f"**{middle[kernels, column] / limit:.2f}**" for column in ("step", "run")]
                else:
                    cells += ["-", "-"]
                print(f"| {layers} | {number_type} | {kernels} |", " | ".join(cells), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
