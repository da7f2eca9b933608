"""The C tests on emulated ARM (and RISC-V) CPUs, each of which must choose its own kernel sets.

    python tools/test_arm.py                       every CPU below, two at a time; a table
    python tools/test_arm.py cortex-a53 cortex-a76
    python tools/test_arm.py --python              the extension cross-built, and Python's tests of it, on 64-bit ARM
    python tools/test_arm.py --tflite              TFLite's own runtimes on ARM, 64 and 32 bits, beside tfl8

The last two unpack Debian systems for ARM with mmdebstrap (300 MB each, kept where --root says); --python needs
Cython and the running Python. Emulation proves bits, choices and traps; it says nothing about time.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS = ("test_sets", "test_images", "test_rows")
ALL = ("test_sets", "test_kernels", "test_images", "test_rows")


@dataclass(frozen=True, slots=True)
class Target:
    compiler: str
    emulator: str
    libraries: str
    packages: str


ARM64 = Target(
    "aarch64-linux-gnu-gcc",
    "qemu-aarch64",
    "/usr/aarch64-linux-gnu",
    "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
)
ARM32 = Target(
    "arm-linux-gnueabihf-gcc",
    "qemu-arm",
    "/usr/arm-linux-gnueabihf",
    "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user",
)
RISCV64 = Target(
    "riscv64-linux-gnu-gcc",
    "qemu-riscv64",
    "/usr/riscv64-linux-gnu",
    "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user",
)
CPUS = {  # the sets each must have, best first, and the programs it runs: one CPU of a kind proves the kernels
    "cortex-a53": (ARM64, "neon small scalar", ALL),  # Raspberry Pi 3, Zero 2
    "cortex-a72": (ARM64, "neon small scalar", SETS),  # Raspberry Pi 4
    "cortex-a76": (ARM64, "neon_dotprod neon small scalar", ALL),  # Raspberry Pi 5
    "max": (ARM64, "neon_dotprod neon small scalar", SETS),
    "cortex-a7": (ARM32, "neon dsp small scalar", ALL),  # Raspberry Pi 2
    "cortex-a7,neon=off": (ARM32, "dsp small scalar", ALL),  # any NEON instruction outside the set would die here
    "rv64": (RISCV64, "small scalar", ALL),
}
PYTHON_TESTS = ("test_golden.py", "test_reference_s8.py", "test_image.py", "test_runner.py")
DEBIAN_PACKAGES = "python3-minimal,libpython3.11-dev,libstdc++6,python3-numpy"
TEST_PACKAGES = ",python3-pytest,python3-hypothesis"


class Failure(Exception):
    """What a person has to know, in a few lines."""


def require(target: Target, *more: str) -> None:
    missing = [name for name in (target.compiler, target.emulator, *more) if shutil.which(name) is None]
    if missing:
        raise Failure(f"{', '.join(missing)} missing: apt-get install {' '.join([target.packages, *more])}")


def test_cpu(cpu: str) -> tuple[bool, str, str]:
    """Whether it passed, its lines of the table, and the checksum of its s8 answers."""
    target, sets, programs = CPUS[cpu]
    start = time.monotonic()
    command = [sys.executable, str(ROOT / "tools" / "test_c.py"), "--cc", target.compiler, *programs]
    command += ["--run", shlex.join([target.emulator, "-cpu", cpu, "-L", target.libraries])]
    command += ["--kernels", sets.split()[0]]
    done = subprocess.run(command, capture_output=True, text=True)
    chosen = re.search(r"^ok +test_sets .* s: (.*)$", done.stdout, re.MULTILINE)
    found = chosen[1] if chosen else "?"
    passed = re.findall(r"^ok +(\w+)", done.stdout, re.MULTILINE)
    answers = re.findall(r"^ok +test_(?:images|rows) .* s8 answers (\w+)", done.stdout, re.MULTILINE)
    checksum = " ".join(answers)
    good = done.returncode == 0 and found == sets and sorted(passed) == sorted(programs) and len(answers) == 2
    line = f"{'ok' if good else 'FAIL':4} {cpu:20} {found:26} {checksum:18} {len(passed)} of {len(programs)} programs"
    line += f" {time.monotonic() - start:5.0f} s"
    if not good:
        line += f"\n     expected the sets: {sets}\n{done.stdout}{done.stderr}"
    return good, line, checksum


def test_cpus(cpus: list[str]) -> bool:
    for cpu in cpus:
        require(CPUS[cpu][0])
    print(f"     {'CPU':20} {'kernel sets':26} s8 answers")
    passed, checksums = True, set()
    with ThreadPoolExecutor(2) as pool:
        for good, line, checksum in pool.map(test_cpu, cpus):
            passed &= good
            checksums.add(checksum)
            print(line, flush=True)
    if len(checksums) > 1:
        print("FAIL the CPUs' s8 answers differ")
    return passed and len(checksums) == 1


@dataclass(frozen=True, slots=True)
class Debian:
    architecture: str
    libraries: str
    target: Target
    packages: str
    cpus: tuple[str, ...]  # that TFLite's runtimes are tried on

    def python(self, root: Path, cpu: str) -> list[str]:
        """The command of its Python. NumPy looks for links to libraries that an installed system would have made."""
        libraries = root / "usr" / "lib" / self.libraries
        algebra = f"LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack"
        emulated = [self.target.emulator, "-cpu", cpu, "-E", algebra, "-L", str(root)]
        return [*emulated, str(root / "usr" / "bin" / "python3.11")]


DEBIANS = {  # by what Python calls the machine
    "aarch64": Debian(
        "arm64", "aarch64-linux-gnu", ARM64, DEBIAN_PACKAGES + TEST_PACKAGES, ("cortex-a53", "cortex-a76")
    ),
    "armv7l": Debian("armhf", "arm-linux-gnueabihf", ARM32, DEBIAN_PACKAGES, ("cortex-a7",)),
}


def unpack_debian(root: Path, debian: Debian) -> None:
    """A Debian 12: packages unpacked, nothing of them run."""
    if (root / "usr" / "bin" / "python3.11").exists():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("mmdebstrap") is None:
        raise Failure("mmdebstrap missing: apt-get install mmdebstrap arch-test")
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm"]
    mirrors = subprocess.run(listed, capture_output=True, text=True).stdout.split() or ["http://deb.debian.org/debian/"]
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--arch={debian.architecture}"]
    subprocess.run(
        [*command, f"--include={debian.packages}", "bookworm", str(root), f"deb {mirrors[0]} bookworm main"], check=True
    )


def build_package(root: Path, site: Path) -> None:
    """edgelstm with its extension for 64-bit ARM's Python 3.11, built as setup.py does."""
    shutil.copytree(ROOT / "edgelstm", site / "edgelstm", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    source = site / "_core.c"
    core = str(ROOT / "edgelstm" / "_core.pyx")
    subprocess.run([sys.executable, "-m", "cython", "-3", core, "-o", str(source)], check=True)
    command = [ARM64.compiler, "-shared", "-fPIC", "-std=c99", "-O3", "-ffp-contract=off", "-g0"]
    command += [f"-I{root}/usr/include/{folder}" for folder in ("python3.11", "aarch64-linux-gnu/python3.11", "")]
    command += [f"-I{ROOT}/edgelstm", str(ROOT / "edgelstm" / "_door.c")]
    command += [f"-I{ROOT}/src_c", str(source), *map(str, sorted((ROOT / "src_c").glob("*.c")))]
    module = site / "edgelstm" / "_core.cpython-311-aarch64-linux-gnu.so"
    subprocess.run([*command, "-o", str(module)], check=True)


def test_python(root: Path) -> bool:
    """Python's tests of the core, once with each choice of kernel sets."""
    require(ARM64)
    debian = DEBIANS["aarch64"]
    unpack_debian(root, debian)
    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        build_package(root, site)
        tests = [str(ROOT / "tests" / test) for test in PYTHON_TESTS]
        passed = True
        for cpu in ("cortex-a72", "cortex-a76"):
            python = debian.python(root, cpu)
            environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
            show = "import edgelstm, platform; print(platform.machine(), *edgelstm.kernels())"
            subprocess.run([*python, "-c", show], env=environment, cwd=site, check=True)
            options = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
            passed &= subprocess.call([*python, "-m", "pytest", *options, *tests], env=environment, cwd=site) == 0
        return passed


RUNTIMES = (  # wheels for ARM; later ones of LiteRT die under the emulator, and for 32 bits there are none
    ("tflite-runtime==2.14.0", "tflite_runtime", "aarch64"),
    ("ai-edge-litert==1.4.0", "ai_edge_litert", "aarch64"),
    ("tflite-runtime==2.14.0", "tflite_runtime", "armv7l"),
)
TOLERATED = {("ai-edge-litert", "softmax"): 2, ("ai-edge-litert", "factors, mean"): 2, ("tflite-runtime", "ties"): None}
"""Values that may differ: sums of floats in a softmax, and halves in a mean, of LiteRT 1.4's delegate; halves, which
reference kernels round in a way of their own, as all do on 32-bit ARM: 6 % of cases made of halves, where its row in
ARITHMETIC is the nearest."""


def test_tflite(root: Path) -> bool:
    """Whether TFLite's runtimes, emulated, answer what the reference does in the arithmetic that ARITHMETIC names."""
    roots = {"aarch64": root, "armv7l": root.with_name("edgelstm-armhf")}
    for machine, folder in roots.items():
        require(DEBIANS[machine].target)
        unpack_debian(folder, DEBIANS[machine])
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from tfl8_cases import cases

    from edgelstm.tfl8_model import ARITHMETIC

    passed = True
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cases.pickle"
        path.write_bytes(pickle.dumps(list(cases()), protocol=4))
        for wheel, module, machine in RUNTIMES:
            runtime, site = wheel.split("==")[0], Path(name) / f"{module}-{machine}"
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), wheel]
            command += ["--only-binary=:all:", "--python-version=311", "--implementation=cp"]
            command += [f"--platform=manylinux{tag}_{machine}" for tag in ("_2_34", "_2_17", "2014")]
            subprocess.run(command, check=True)
            for cpu in DEBIANS[machine].cpus:
                emulated = DEBIANS[machine].python(roots[machine], cpu)
                script = str(ROOT / "tools" / "tfl8_answers.py")
                environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
                done = subprocess.run([*emulated, script, str(path), module], env=environment, capture_output=True)
                if done.returncode != 0:
                    raise Failure(f"{wheel} on {cpu} ended with {done.returncode}\n{done.stderr.decode()[-2000:]}")
                found = json.loads(done.stdout.splitlines()[-1])
                values = wrong = tolerated = 0
                for kind, resolvers in found.items():
                    for resolver, row in resolvers.items():
                        own = ARITHMETIC[runtime, resolver, machine]
                        named = own.get(kind.split(",")[0], "")
                        # where all arithmetics agree, any is the runtime's own
                        differing = row["wrong"].get(named, max(row["wrong"].values()))
                        most = TOLERATED.get((runtime, kind), 0)
                        values += row["values"]
                        if most is None or differing <= most:
                            tolerated += differing
                        else:
                            passed = False
                            wrong += differing
                            print(f"FAIL {runtime}, {resolver}, {cpu}: {kind}: {row}")
                said = (
                    f"{wrong} of them differ, {tolerated} more where they may (floats in softmax, halves in QUANTIZE)"
                )
                print(f"{wheel} on {cpu}: {values} values, {said}", flush=True)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpus", nargs="*", metavar="CPU", help=f"of {' '.join(CPUS)}; default: all")
    parser.add_argument("--python", action="store_true", help="Python's tests on 64-bit ARM instead of the C tests")
    parser.add_argument("--tflite", action="store_true", help="TFLite's own runtimes on 64-bit ARM beside tfl8")
    parser.add_argument("--root", type=Path, help="the unpacked Debian; default: in the user's cache folder")
    options = parser.parse_args()
    unknown = set(options.cpus) - set(CPUS)
    if unknown:
        parser.error(f"no such CPU: {' '.join(sorted(unknown))}; there are {' '.join(CPUS)}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgelstm-arm64"
    try:
        if options.python:
            passed = test_python((options.root or cache).resolve())
        elif options.tflite:
            passed = test_tflite((options.root or cache).resolve())
        else:
            passed = test_cpus(options.cpus or list(CPUS))
    except Failure as failure:
        print(failure)
        return 2
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
