"""Instructions that a step takes, counted under emulation and compared with a committed table; never a clock.

    python tools/count_instructions.py            counts and compares with tests/golden/instructions.json
    python tools/count_instructions.py --write    counts, and writes that file and the tables of docs/kernels.md

Programs run in QEMU's user mode with tools/count_plugin.c, which counts every instruction of the guest. A count is the
difference of two stretches of one program, so neither start nor end is in it. It repeats to the instruction for one
compiler; the committed counts are those of Debian 12 (gcc 12), and another major version is refused. Debian 12's QEMU
has no AVX-512, so the set for it is not counted.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from emulated import ARM32, ARM64, Failure, Target, require

from edgelstm.image import save
from edgelstm.layers import Gru, Lstm
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "tests" / "golden" / "instructions.json"
PAGE = ROOT / "docs" / "kernels.md"
BEGIN, END = "<!-- instructions: begin -->", "<!-- instructions: end -->"
TOLERANCE = 0.05
GCC = "12"

X86 = Target("x86-64", ("gcc",), "qemu-x86_64", "/", "gcc libc6-dev qemu-user")
MACHINES = {"x86-64": X86, "64-bit ARM": ARM64, "32-bit ARM": ARM32}
SIZES = ((8, 16), (9, 64), (32, 64), (64, 128), (128, 256))
RUN_SIZE = (32, 64)
TYPES = {  # as in a count's key, and on the page
    "s8": "s8",
    "s8h16": "s8, int16 h",
    "f32": "f32",
    "gru8": "GRU s8",
    "gru32": "GRU f32",
}
STEPS = 8  # of a stretch of single steps; a stretch of a run is tools/count_steps.c's

Counts = dict[str, int]  # by machine, set, type, size and mode, as in "x86-64 avx2 s8 32,64 step"


def lstm(inputs: int, units: int) -> Model:
    """One layer with random weights, its h the answer."""
    random = np.random.default_rng(0)
    bound = 1 / np.sqrt(units)
    weights = [random.uniform(-bound, bound, shape) for shape in ((4, units, inputs), (4, units, units), (4, units))]
    tensors = (Tensor("x", inputs), Tensor("h", units))
    return Model(tensors, (Lstm("lstm", ("x",), ("h",), *weights),), ("x",), ("h",))


def gru(inputs: int, units: int) -> Model:
    """The same with a GRU."""
    random = np.random.default_rng(0)
    bound = 1 / np.sqrt(units)
    weights = [random.uniform(-bound, bound, shape) for shape in ((3, units, inputs), (3, units, units), (3, units))]
    tensors = (Tensor("x", inputs), Tensor("h", units))
    layer = Gru("gru", ("x",), ("h",), *weights, reset_bias=random.uniform(-bound, bound, units))
    return Model(tensors, (layer,), ("x",), ("h",))


def pack_models(folder: Path) -> list[str]:
    """An image of each type and size, named as in a count's key."""
    names = []
    for inputs, units in SIZES:
        model, other = lstm(inputs, units), gru(inputs, units)
        samples = np.random.default_rng(1).standard_normal((8, 40, inputs)).astype(np.float32)
        wide = quantize(model, samples, hidden_bits=16)
        made = (quantize(model, samples), wide, model, quantize(other, samples), other)
        for number_type, packed in zip(TYPES, made, strict=True):
            names.append(f"{number_type}_{inputs},{units}")
            save(packed, folder / names[-1])
    return names


def build_plugin(folder: Path) -> Path:
    plugin = folder / "count_plugin.so"
    options = ["-O2", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([*X86.compiler, *options, "-o", str(plugin), str(ROOT / "tools" / "count_plugin.c")], check=True)
    return plugin


def count(machine: str, folder: Path, plugin: Path, images: list[str]) -> Counts:
    target = MACHINES[machine]
    program = folder / f"count_steps-{target.name}"
    sources = [ROOT / "tools" / "count_steps.c", *sorted((ROOT / "src_c").glob("*.c"))]
    command = [*target.compiler, "-std=c99", "-O3", "-ffp-contract=off", "-static", f"-I{ROOT / 'src_c'}"]
    subprocess.run([*command, "-o", str(program), *map(str, sources)], check=True)
    emulator = [target.emulator, "-cpu", "max", "-plugin", str(plugin)]
    done = subprocess.run(
        [*emulator, str(program), str(STEPS), *images], cwd=folder, capture_output=True, text=True, check=True
    )
    marks = [int(line) for line in done.stderr.split()]
    lines = done.stdout.splitlines()
    if not lines or len(marks) != 3 * len(lines):
        raise Failure(f"{machine}: {len(marks)} marks for {len(lines)} models; does {target.emulator} take plugins?")
    counts = {}
    for k, line in enumerate(lines):
        kernels, mode, image, steps = line.split()
        number_type, size = image.split("_")
        if mode == "run" and size != "{},{}".format(*RUN_SIZE):
            continue
        few, more = marks[3 * k + 1 : 3 * k + 3]
        counts[f"{machine} {kernels} {number_type} {size} {mode}"] = round((more - few) / int(steps))
    return counts


def count_all() -> Counts:
    for target in MACHINES.values():
        require(target)
        version = subprocess.run([*target.compiler, "-dumpversion"], capture_output=True, text=True, check=True).stdout
        if version.split(".")[0].strip() != GCC:
            raise Failure(f"the counts are those of gcc {GCC}, and {target.compiler[0]} is {version.strip()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, plugin = pack_models(folder), build_plugin(folder)
        counts: Counts = {}
        with ThreadPoolExecutor(2) as pool:
            for found in pool.map(lambda machine: count(machine, folder, plugin, images), MACHINES):
                counts |= found
    return counts


def tables(counts: Counts) -> str:
    """The Markdown of docs/kernels.md."""
    sizes = ["{},{}".format(*size) for size in SIZES]
    run = "{},{}".format(*RUN_SIZE)
    lines = [
        f"| type | machine | set | {' | '.join(size.replace(',', ', ') for size in sizes)} | {run}, a run's step |"
    ]
    lines.append(f"|---|---|---|{'---|' * (len(sizes) + 1)}")
    sets = list(dict.fromkeys(re.sub(rf" ({'|'.join(TYPES)}) .*", "", key) for key in counts))
    for number_type, shown in TYPES.items():
        for name in sets:
            machine, kernels = name.rsplit(" ", 1)
            cells = [counts[f"{name} {number_type} {size} step"] for size in sizes]
            cells.append(counts[f"{name} {number_type} {run} run"])
            lines.append(f"| {shown} | {machine} | {kernels} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def page_with(text: str, counts: Counts) -> str:
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{tables(counts)}{END}{rest.split(END)[1]}"


def differences(counts: Counts, committed: Counts) -> list[str]:
    lines = []
    for key in sorted(counts.keys() | committed.keys()):
        now, before = counts.get(key), committed.get(key)
        if now is None or before is None:
            lines.append(f"{key}: {'not counted any more' if now is None else f'{now}, new'}")
        elif abs(now - before) > TOLERANCE * before:
            lines.append(f"{key}: {now} instructions, {100 * (now / before - 1):+.1f} % of {before}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="what is counted becomes what is committed")
    write = parser.parse_args().write
    try:
        counts = count_all()
    except Failure as failure:
        print(failure)
        return 2
    page = PAGE.read_text()
    if write:
        COMMITTED.write_text(json.dumps(counts, indent=1) + "\n")
        PAGE.write_text(page_with(page, counts))
        print(tables(counts), end="")
        return 0
    committed = json.loads(COMMITTED.read_text())
    lines = differences(counts, committed)
    if page != page_with(page, committed):
        lines.append(f"{PAGE.name} does not show the counts of {COMMITTED.name}")
    for line in lines:
        print(f"FAIL {line}")
    if lines:
        print("Where that is meant, commit what  python tools/count_instructions.py --write  writes.")
        return 1
    print(f"ok   {len(counts)} counts within {TOLERANCE:.0%} of {COMMITTED.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
