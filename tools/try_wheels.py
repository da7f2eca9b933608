"""Wheels, unpacked and run by the Pythons they are for: the sets each CPU must choose, and every golden image.

    python tools/try_wheels.py                     all of dist/; prints a table
    python tools/try_wheels.py --short WHEEL...    each once, with a few images

ARM's Pythons are Debian's, 3.11 and 3.13, on emulated CPUs (tools/emulated.py); x86-64's are those of this machine,
3.11 to 3.13, each in a fresh environment, on its own CPU and emulated ones. A wheel for a free-threaded Python runs in
that, its lock off; Debian has none, so one for aarch64 cannot be tried, which is a failure. An ARMv6 wheel runs on an
ARMv7 CPU here, Debian having no Python for less.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

from build_wheels import FREE, Failure, find_python
from emulated import CPUS, DEBIANS, Debian, unpack_debian
from emulated import Failure as Missing

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "tests" / "golden" / "images"
NATIVE = ("3.11", "3.12", "3.13")
X86 = {"max": "avx2 scalar", "Haswell": "avx2 scalar", "Nehalem": "scalar"}  # by what qemu calls a CPU
RUNS_ON = {"aarch64": DEBIANS["aarch64"].cpus, "armv7l": ("cortex-a7", "cortex-a7,neon=off"), "armv6l": ("cortex-a7",)}
CHOICE = """
import sys, sysconfig, platform, pathlib, edgelstm, edgelstm.cli
from edgelstm.exporters import sources
expected, site, images = sys.argv[1].split(), sys.argv[2], sys.argv[3:]
assert pathlib.Path(edgelstm.__file__).is_relative_to(site), edgelstm.__file__
assert "runner.c" in sources.core() and sources.ARCHIVE.exists()
found = list(edgelstm.kernels())
assert found == expected, (found, expected)
locked = not sysconfig.get_config_var("Py_GIL_DISABLED")
assert getattr(sys, "_is_gil_enabled", lambda: True)() == locked, "the module turned the lock on"
for path in images:
    runner = edgelstm.Runner(path)
    assert runner.kernels == found[0], runner.kernels
    for name in found:
        edgelstm.Runner(path, kernels=name).self_check()
print(platform.python_version(), "NumPy", __import__("numpy").__version__, "sets:", *found)
"""


def sets(machine: str, cpu: str) -> str:
    """What a wheel must find: one for ARMv6 holds what runs there, wherever it runs."""
    return " ".join(CPUS["arm1176" if machine == "armv6l" else cpu].package_sets)


def own_sets() -> str:
    """The same for this machine, by what Linux says of it."""
    flags = set(re.findall(r"\w+", re.search(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1]))
    wide = {"fma", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"}
    found = [("avx512vnni", wide), ("avx2", {"fma", "avx2"}), ("scalar", set())]
    return " ".join(name for name, wanted in found if wanted <= flags)


def debian_of(machine: str, interpreter: str) -> Debian:
    base = DEBIANS["aarch64" if machine == "aarch64" else "armv7l"]
    return base if interpreter == "cp311" else replace(base, suite="trixie", version="3.13")


def pythons(wheel: Path, folder: Path, short: bool) -> list[tuple[str, list[str], str]]:
    """Where the wheel is tried: what that is called, the command of a Python that has NumPy, the sets it must find."""
    interpreter, abi, machine = re.fullmatch(
        r".*-(cp\d+)-(\w+)-(?:manylinux_2_17|linux)_(\w+)\.whl", wheel.name
    ).groups()
    free = [version for version in FREE if abi == f"cp{version.replace('.', '')}"]
    if machine != "x86_64" and free:
        raise Failure(f"{wheel.name}: there is no free-threaded Python for {machine} here")
    if machine != "x86_64":
        debian = debian_of(machine, interpreter)
        root = debian.root()
        unpack_debian(root, debian)
        cpus = RUNS_ON[machine][:1] if short else RUNS_ON[machine]
        return [(f"Python {debian.version}, {cpu}", debian.python(root, cpu), sets(machine, cpu)) for cpu in cpus]
    found = []
    for version in free or [version for version in NATIVE if (version == "3.11") == (interpreter == "cp311")]:
        place = folder / version
        if not place.exists():
            subprocess.run([find_python(version), "-m", "venv", str(place)], check=True)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--only-binary", ":all:"]
            pip += ["numpy", "click", "rich", "pytest"]
            subprocess.run(pip, check=True)
        python = str(place / "bin" / "python")
        found.append((f"Python {version}, this machine", [python], own_sets()))
        if not short:
            cpus = X86.items()
            found += [(f"Python {version}, {cpu}", ["qemu-x86_64", "-cpu", cpu, python], known) for cpu, known in cpus]
    return found


def try_wheel(wheel: Path, folder: Path, short: bool) -> None:
    """Failure where a Python cannot run it as it should; prints a line for each."""
    site = folder / wheel.stem
    with zipfile.ZipFile(wheel) as files:
        files.extractall(site)
    pure = folder / "pure"  # what the package and the tests ask for, in Python alone
    if not pure.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(pure), "--no-deps"]
        names = ["click", "rich", "pygments", "markdown-it-py", "mdurl", "pytest", "pluggy", "iniconfig", "packaging"]
        subprocess.run([*pip, *names], check=True)
    environment = os.environ | {"PYTHONPATH": f"{site}:{pure}", "PYTHONDONTWRITEBYTECODE": "1", "EDGELSTM_STRICT": "0"}
    images = [str(path) for path in sorted(IMAGES.glob("*.elstm"))]
    for where, python, wanted in pythons(wheel, folder, short):
        start = time.monotonic()
        commands = [[*python, "-c", CHOICE, wanted, str(site), *(images[::12] if short else images)]]
        if not short:
            options = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-k", "every_kernel_set"]
            commands.append([*python, "-m", "pytest", *options, str(ROOT / "tests" / "test_golden.py")])
        said = []
        for command in commands:
            done = subprocess.run(command, env=environment, cwd=site, capture_output=True, text=True)
            if done.returncode != 0:
                raise Failure(
                    f"{wheel.name}, {where}: ended with {done.returncode}\n{done.stdout}{done.stderr}"[-4000:]
                )
            said.append(done.stdout.strip().splitlines()[-1])
        print(f"ok   {wheel.name}  {where}: {'; '.join(said)} ({time.monotonic() - start:.0f} s)", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="*", type=Path, help="default: all of dist/")
    parser.add_argument("--short", action="store_true", help="on one CPU each, with a few images")
    options = parser.parse_args()
    wheels = [path.resolve() for path in options.wheels] or sorted((ROOT / "dist").glob("*.whl"))
    try:
        if not wheels:
            raise Failure("no wheels: python tools/build_wheels.py makes them")
        with tempfile.TemporaryDirectory() as name:
            for wheel in wheels:
                try_wheel(wheel, Path(name), options.short)
    except (Failure, Missing) as failure:
        print(f"FAIL {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
