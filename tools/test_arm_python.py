"""Python's tests of the core on emulated CPUs: the extension cross-built, Debian's Python and NumPy of each machine.

    python tools/test_arm_python.py                       the suite's core, on every CPU
    python tools/test_arm_python.py --short               what continuous integration runs
    python tools/test_arm_python.py --machine riscv64

The golden images and answers are packed, computed and compared there: the same bytes as anywhere, or a failure.
Unpacks Debian systems (tools/emulated.py), 300 MB each, in the user's cache folder or where --cache says. Needs Cython.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from emulated import CPUS, DEBIANS, Debian, Failure, require, unpack_debian

ROOT = Path(__file__).resolve().parent.parent
CORE = ("golden", "reference_s8", "image", "runner", "tfl8", "graphs", "stream")
FULL = [f"{ROOT}/tests/test_{name}.py" for name in CORE]
SHORT = [f"{ROOT}/tests/test_golden.py", "-k", "not no_worse"]  # without quantizing anew, half of the time
ONCE = ("clocks.c", "model.c")  # for size, as in setup.py
CHOICE = """
import edgelstm, pathlib, platform, sys
expected, withheld, image = sys.argv[1].split(), sys.argv[2].split(), sys.argv[3]
found = list(edgelstm.kernels())
print(platform.machine(), platform.python_version(), "NumPy", __import__("numpy").__version__, *found, flush=True)
assert found == expected, expected
assert edgelstm.Runner(image).kernels == expected[0]
for name in withheld:
    try:
        edgelstm.Runner(image, kernels=name)
    except edgelstm.EdgeLstmError as error:
        assert name in str(error), error
    else:
        raise AssertionError(f"{name} was not refused")
"""


def build_package(debian: Debian, root: Path, site: Path) -> None:
    """edgelstm with its extension for the machine's Python, built as setup.py does."""
    shutil.copytree(ROOT / "edgelstm", site / "edgelstm", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    objects = site / "objects"
    objects.mkdir()
    source = objects / "_core.c"
    core = str(ROOT / "edgelstm" / "_core.pyx")
    subprocess.run([sys.executable, "-m", "cython", "-3", core, "-o", str(source)], check=True)
    compiler = [*debian.target.compiler, "-fPIC", "-std=c99", "-ffp-contract=off", "-g0"]
    compiler += [*debian.includes(root), f"-I{ROOT / 'src_c'}", f"-I{ROOT / 'edgelstm'}"]
    if debian.limited:
        compiler += ["-DPy_LIMITED_API=0x030C0000", "-DCYTHON_LIMITED_API=1"]

    def build(path: Path) -> str:
        built = objects / f"{path.stem}.o"
        level = "-Os" if path == source or path.name in ONCE else "-O3"
        subprocess.run([*compiler, level, "-c", str(path), "-o", str(built)], check=True)
        return str(built)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = list(pool.map(build, [source, ROOT / "edgelstm" / "_door.c", *sorted((ROOT / "src_c").glob("*.c"))]))
    suffix = "abi3" if debian.limited else f"cpython-{debian.version.replace('.', '')}-{debian.triplet}"
    module = site / "edgelstm" / f"_core.{suffix}.so"
    subprocess.run([debian.target.compiler[0], "-shared", *built, "-o", str(module)], check=True)


def test_cpu(debian: Debian, root: Path, site: Path, cpu: str, tests: list[str]) -> tuple[bool, str]:
    """Whether the CPU chose its kernel sets, refused the others and passed the tests; what was said."""
    start = time.monotonic()
    python = debian.python(root, cpu)
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    image = str(ROOT / "tests" / "golden" / "images" / "s8_scaled.elstm")
    choice = [*python, "-c", CHOICE, " ".join(CPUS[cpu].package_sets), CPUS[cpu].withheld, image]
    suite = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", f"{ROOT}/pyproject.toml", *tests]
    said = []
    for command in (choice, suite) if tests else (choice,):
        done = subprocess.run(command, env=environment, cwd=site, capture_output=True, text=True)
        if done.returncode != 0:
            return False, f"FAIL {cpu}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
        said.append(done.stdout.strip().splitlines()[-1].strip("= "))
    return True, f"ok   {cpu:12} {': '.join(said)} ({time.monotonic() - start:.0f} s)"


def test_machines(machines: list[str], cache: Path | None, short: bool) -> bool:
    """The whole on every CPU; in short the tests on the last of each machine, which has the most sets, and on all which
    sets they choose."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        wanted = []
        for machine in machines:
            debian, site = DEBIANS[machine], Path(name) / machine
            require(debian.target)
            root = debian.root(cache)
            unpack_debian(root, debian)
            build_package(debian, root, site)
            for cpu in debian.cpus:
                tests = FULL if not short else SHORT if cpu == debian.cpus[-1] else []
                wanted.append((debian, root, site, cpu, tests))
        print(f"built in {time.monotonic() - start:.0f} s", flush=True)
        passed = True
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for good, said in pool.map(lambda each: test_cpu(*each), wanted):
                passed &= good
                print(said, flush=True)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", action="append", choices=list(DEBIANS), help="default: all")
    parser.add_argument("--short", action="store_true", help="less of it, for continuous integration")
    parser.add_argument("--cache", type=Path, help="the folder of the unpacked Debians")
    options = parser.parse_args()
    try:
        return 0 if test_machines(options.machine or list(DEBIANS), options.cache, options.short) else 1
    except Failure as failure:
        print(failure)
        return 2


if __name__ == "__main__":
    sys.exit(main())
