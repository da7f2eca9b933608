"""The source distribution, and from it wheels for x86-64 and ARM, on one machine: zig is the compiler for all of them.

    python tools/build_wheels.py                            all of them, into dist/
    python tools/build_wheels.py aarch64 armv6l --pythons 3.11

One for Python 3.11, one for 3.12 and later, of each machine; of x86-64 one for each free-threaded Python that is there,
as python3.13t or python3.14t (of aarch64 where --pythons names it; NumPy has none for 32 bits). What auditwheel says of
a wheel must be its tag; all of ARMv6's module must be what ARMv6 has (tools/scan_arm.py). Needs  pip install
".[wheels]", a Python of each version with its headers, and the network: pip makes a clean environment for each build.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pack_wheel
import scan_arm

ROOT = Path(__file__).resolve().parent.parent


class Failure(Exception):
    """What a person has to know, in a few lines."""


@dataclass(frozen=True, slots=True)
class Target:
    zig: str  # machine, system and the glibc that the module may ask for
    cpu: str  # the least one
    tag: str
    triplet: str  # in a module's name


TARGETS = {  # by what Python calls the machine
    "x86_64": Target("x86_64-linux-gnu.2.17", "x86_64", "manylinux_2_17_x86_64", "x86_64-linux-gnu"),
    "aarch64": Target("aarch64-linux-gnu.2.17", "generic", "manylinux_2_17_aarch64", "aarch64-linux-gnu"),
    # NEON is for kernels_neon.c to turn on, where the CPU was asked
    "armv7l": Target(
        "arm-linux-gnueabihf.2.17", "generic+v7a+vfp3d16-neon", "manylinux_2_17_armv7l", "arm-linux-gnueabihf"
    ),
    "armv6l": Target("arm-linux-gnueabihf.2.17", "arm1176jzf_s", "linux_armv6l", "arm-linux-gnueabihf"),
}
PYTHONS = ("3.11", "3.12")  # with calls of its own; the limited interface for it and all later ones
FREE = ("3.13t", "3.14t")  # without a lock: these have no limited interface

SIZES = """#include "{path}"
/* The build machine's Python was configured for its own types; the sizes of these differ. */
#undef SIZEOF_LONG
#undef SIZEOF_VOID_P
#undef SIZEOF_SIZE_T
#undef SIZEOF_UINTPTR_T
#undef SIZEOF_WCHAR_T
#undef SIZEOF_LONG_DOUBLE
#undef SIZEOF_PTHREAD_T
#undef SIZEOF_TIME_T
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_UINTPTR_T __SIZEOF_POINTER__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF_LONG_DOUBLE __SIZEOF_LONG_DOUBLE__
#define SIZEOF_PTHREAD_T __SIZEOF_LONG__
#define SIZEOF_TIME_T __SIZEOF_LONG__
"""

COMPILER = """#!{python}
import os, subprocess, sys
os.environ.pop("PYTHONPATH", None)  # pip's, which hides zig from this Python where it is the one that builds
words = ["{python}", "-m", "ziglang", {words}, *sys.argv[1:]]
status = subprocess.call(words)
if status == 0 and "-shared" in words:  # once more with its symbols, to be looked at
    whole = [word.replace("-Wl,-s,", "-Wl,") for word in words]
    whole[whole.index("-o") + 1] = "{kept}"
    status = subprocess.call(whole)
sys.exit(status)
"""


def find_python(version: str) -> str:
    """The command of a Python that has its headers; python3.13 may be a free-threaded one, which is not 3.13 here."""
    asked = "import sys, sysconfig; print(sys.executable); print(sysconfig.get_config_h_filename()); "
    asked += "print(bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
    kept = f"{version[:-1]}.*t" if version.endswith("t") else f"{version}.*[0-9]"
    candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{kept}/bin/python")]
    for command in map(str, filter(None, candidates)):
        done = subprocess.run([command, "-c", asked], capture_output=True, text=True)
        if done.returncode == 0:
            found, header, free = done.stdout.splitlines()
            if Path(header).exists() and free == str(version in FREE):
                return found
    if version in FREE:
        raise Failure(f"no python{version} with its headers, which CPython's source makes with --disable-gil")
    raise Failure(f"no Python {version} with its headers: install python{version} and python{version}-dev")


def found_free() -> list[str]:
    """The free-threaded Pythons of this machine; says which others have no wheel, and why."""
    found = []
    for version in FREE:
        with contextlib.suppress(Failure):
            find_python(version)
            found.append(version)
    missing = [f"python{version}" for version in FREE if version not in found]
    if missing:
        needs = "CPython's source makes one with --disable-gil"
        print(f"no wheel for {' and '.join(missing)}: not here with its headers; {needs}", flush=True)
    return found


def jobs(machines: list[str], versions: list[str] | None) -> list[tuple[str, str]]:
    """Machine and Python of each wheel; Failure where there is no such wheel."""
    if versions is None:
        free = [("x86_64", version) for version in found_free()] if "x86_64" in machines else []
        return [(machine, version) for machine in machines for version in PYTHONS] + free
    for machine in machines:
        if machine not in ("x86_64", "aarch64") and set(versions) & set(FREE):
            raise Failure(f"{machine}: NumPy has nothing for free-threaded Pythons there")
    return [(machine, version) for machine in machines for version in versions]


def run(command: list[str], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return str(done.stdout)


def build_source(folder: Path) -> Path:
    """The source distribution."""
    run([sys.executable, "-m", "build", "-q", "--sdist", "--outdir", str(folder), str(ROOT)])
    return max(folder.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)


def write_compiler(path: Path, words: list[str], kept: Path) -> str:
    listed = ", ".join(f'"{word}"' for word in words)
    path.write_text(COMPILER.format(python=sys.executable, words=listed, kept=kept))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def copy_headers(python: str, folder: Path) -> Path:
    """Python's headers as they would be on a machine with types of other sizes."""
    asked = "import sysconfig; print(sysconfig.get_path('include')); print(sysconfig.get_config_h_filename()); "
    asked += "print(sysconfig.get_config_var('MULTIARCH') or '')"
    headers, own, multiarch = run([python, "-c", asked]).splitlines()
    shutil.copytree(headers, folder)
    one_of_many = Path(headers).parent / multiarch / Path(headers).name / "pyconfig.h"  # Debian's own only chooses
    shutil.copy(one_of_many if multiarch and one_of_many.exists() else own, folder / "pyconfig_of_the_build.h")
    (folder / "pyconfig.h").write_text(SIZES.format(path=folder / "pyconfig_of_the_build.h"))
    return folder


def build_wheel(source: Path, machine: str, version: str, out: Path) -> tuple[Path, Path]:
    """A wheel, and its module with symbols, both in `out`."""
    target, python = TARGETS[machine], find_python(version)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with tarfile.open(source) as archive:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4 on
            archive.extractall(work / "source", **safe)
        project = next((work / "source").iterdir())
        kept = out / f"_core-{machine}-{version}.so"
        words = ["cc", "-target", target.zig, f"-mcpu={target.cpu}"]
        compiler = write_compiler(work / "cc", words, kept)
        headers = copy_headers(python, work / "include")
        environment = os.environ | {
            "CC": compiler,
            "CXX": compiler,
            "LDSHARED": f"{compiler} -shared",
            "AR": write_compiler(work / "ar", ["ar"], kept),
            "CFLAGS": f"-fPIC -I{headers}",
            "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
        }
        if version != PYTHONS[1]:
            environment["SETUPTOOLS_EXT_SUFFIX"] = f".cpython-{version.replace('.', '')}-{target.triplet}.so"
        environment.pop("PYTHONPATH", None)
        pip = [sys.executable, "-m", "pip", "--python", python, "wheel", "-q", "--no-deps", "-w", str(work / "dist")]
        run([*pip, str(project)], env=environment, cwd=work)
        built = next((work / "dist").iterdir())
        tagged = run([sys.executable, "-m", "wheel", "tags", "--platform-tag", target.tag, str(built)]).split()[-1]
        return Path(shutil.copy(work / "dist" / tagged, out)), kept


def check_tag(wheel: Path, machine: str, module: Path) -> str:
    """What the tag rests on; Failure where it does not."""
    if machine != "armv6l":
        said = run([sys.executable, "-m", "auditwheel", "show", str(wheel)])
        proven = re.findall(r'platform tag: "(\w+)"', said.replace("\n", " "))  # its first line has the file's own name
        if proven != [TARGETS[machine].tag]:
            raise Failure(f"{wheel.name}: auditwheel says\n{said}")
        return "auditwheel"
    found = scan_arm.faults(module)
    if found:
        raise Failure(f"{wheel.name}: not ARMv6\n" + "\n".join(found[:20]))
    return "every instruction"


def make_wheel(source: Path, machine: str, version: str, work: Path, out: Path) -> str:
    """A wheel that keeps its word, in `out`; its line of the table."""
    start = time.monotonic()
    wheel, module = build_wheel(source, machine, version, work)
    proof = check_tag(wheel, machine, module)
    pack_wheel.pack(wheel)
    if machine == "armv7l" and not scan_arm.faults(module):
        raise Failure("the scan for ARMv6 finds nothing in a module for ARMv7, so it proves nothing")
    shutil.copy(wheel, out)
    seconds = time.monotonic() - start
    return f"{wheel.name}: {wheel.stat().st_size:,} bytes; its tag by {proof}; {seconds:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=f"of {' '.join(TARGETS)}; default: all")
    parser.add_argument("--pythons", nargs="+", choices=PYTHONS + FREE, help="default: see above")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    unknown = set(options.machines) - set(TARGETS)
    if unknown:
        parser.error(f"no such machine: {' '.join(sorted(unknown))}; there are {' '.join(TARGETS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            wanted = jobs(options.machines or list(TARGETS), options.pythons)
            start = time.monotonic()
            source = build_source(options.out)
            print(f"{source.name}: {source.stat().st_size:,} bytes, {time.monotonic() - start:.0f} s", flush=True)
            with ThreadPoolExecutor(2) as pool:
                for line in pool.map(lambda job: make_wheel(source, *job, Path(name), options.out), wanted):
                    print(line, flush=True)
    except Failure as failure:
        print(failure)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
