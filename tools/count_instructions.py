"""Instructions a step takes on ARM, counted under emulation: the tables of docs/kernels.md.

    python tools/count_instructions.py --plugin libinsn.so

libinsn.so is a QEMU plugin that prints how many instructions a program ran (QEMU's own, from tests/plugin of its
source, or any other that ends a line with "insns" and the count). A count is the difference of two runs, so neither
start nor end is in it; it is exact, repeats, and is not time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from test_arm import ARM32, ARM64, Target

from edgelstm.image import save
from edgelstm.model import Lstm, Model, Tensor
from edgelstm.quantization import quantize

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((8, 16), (9, 64), (32, 64), (64, 128))
SETS = (
    ("64-bit", ARM64, "scalar"),
    ("64-bit", ARM64, "neon"),
    ("64-bit", ARM64, "neon_dotprod"),
    ("32-bit", ARM32, "scalar"),
    ("32-bit", ARM32, "neon"),
)
STEPS = 20


def lstm(inputs: int, units: int) -> Model:
    """One layer with random weights, its h the answer."""
    random = np.random.default_rng(0)
    bound = 1 / np.sqrt(units)
    weights = [random.uniform(-bound, bound, shape) for shape in ((4, units, inputs), (4, units, units), (4, units))]
    tensors = (Tensor("x", inputs), Tensor("h", units))
    return Model(tensors, (Lstm("lstm", ("x",), ("h",), *weights),), ("x",), ("h",))


def images(folder: Path) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {"s8": [], "f32": []}
    for inputs, units in SIZES:
        model = lstm(inputs, units)
        samples = np.random.default_rng(1).standard_normal((8, 40, inputs)).astype(np.float32)
        for number_type, packed in (("f32", model), ("s8", quantize(model, samples))):
            path = folder / f"{number_type}_{inputs}_{units}.elstm"
            save(packed, path)
            paths[number_type].append(path)
    return paths


def build(target: Target, folder: Path) -> Path:
    program = folder / f"count_steps-{target.compiler}"
    sources = [ROOT / "tools" / "count_steps.c", *sorted((ROOT / "src_c").glob("*.c"))]
    command = [target.compiler, "-std=c99", "-O3", "-ffp-contract=off", f"-I{ROOT / 'src_c'}", "-o", str(program)]
    subprocess.run([*command, *map(str, sources)], check=True)
    return program


def count(target: Target, plugin: Path, *program: str) -> int:
    command = [target.emulator, "-cpu", "max", "-plugin", str(plugin), "-d", "plugin", "-L", target.libraries]
    done = subprocess.run([*command, *program], capture_output=True, text=True, check=True)
    return int(re.findall(r"insns:? +(\d+)", done.stdout + done.stderr)[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugin", type=Path, required=True)
    plugin = parser.parse_args().plugin.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = images(folder)
        programs = {target.compiler: str(build(target, folder)) for target in (ARM64, ARM32)}
        print(f"| type | ARM | set | {' | '.join(f'{inputs}, {units}' for inputs, units in SIZES)} |")
        print(f"|---|---|---|{'---|' * len(SIZES)}")
        for number_type, files in paths.items():
            for width, target, kernels in SETS:
                cells = []
                for path in files:
                    command = [programs[target.compiler], str(path), kernels]
                    few, more = (count(target, plugin, *command, str(n)) for n in (STEPS, 2 * STEPS))
                    cells.append(f"{(more - few) / STEPS:.0f}")
                print(f"| {number_type} | {width} | {kernels} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
