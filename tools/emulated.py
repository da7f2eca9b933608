"""CPUs that qemu emulates: how to build for each, how to run there, and Debian systems whose Python runs there.

Emulation proves bits, choices and traps; it says nothing about time.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Failure(Exception):
    """What a person has to know, in a few lines."""


@dataclass(frozen=True, slots=True)
class Target:
    """A compiler, and what runs its programs."""

    name: str
    compiler: tuple[str, ...]
    emulator: str
    libraries: str  # "": programs are static
    packages: str


ARM64 = Target(
    "aarch64",
    ("aarch64-linux-gnu-gcc",),
    "qemu-aarch64",
    "/usr/aarch64-linux-gnu",
    "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
)
ARM32 = Target(
    "armhf",
    ("arm-linux-gnueabihf-gcc",),
    "qemu-arm",
    "/usr/arm-linux-gnueabihf",
    "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user",
)
RISCV64 = Target(
    "riscv64",
    ("riscv64-linux-gnu-gcc",),
    "qemu-riscv64",
    "/usr/riscv64-linux-gnu",
    "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user",
)
# Debian's C library for armhf is ARMv7, linked statically too; zig brings one that it compiles for the CPU named
ZIG = (sys.executable, "-m", "ziglang", "cc", "-target", "arm-linux-musleabihf", "-mcpu=arm1176jzf_s", "-static")
ARMV6 = Target("armv6", ZIG, "qemu-arm", "", "qemu-user")


@dataclass(frozen=True, slots=True)
class Cpu:
    """The sets that the C tests' build must have there, best first, and those it holds that would die."""

    target: Target
    sets: str
    withheld: str = ""

    @property
    def package_sets(self) -> list[str]:
        """Those of Python's package, which has no set for CPUs without an operating system."""
        return [name for name in self.sets.split() if name != "small"]


CPUS = {  # by what qemu calls it
    "cortex-a53": Cpu(ARM64, "neon small scalar", "neon_dotprod"),  # Raspberry Pi 3, Zero 2
    "cortex-a72": Cpu(ARM64, "neon small scalar", "neon_dotprod"),  # Raspberry Pi 4
    "cortex-a76": Cpu(ARM64, "neon_dotprod neon small scalar"),  # Raspberry Pi 5
    "max": Cpu(ARM64, "neon_dotprod neon small scalar"),
    "cortex-a7": Cpu(ARM32, "neon dsp small scalar"),  # Raspberry Pi 2
    "cortex-a7,neon=off": Cpu(ARM32, "dsp small scalar", "neon"),  # any NEON instruction outside the set dies here
    "arm1176": Cpu(ARMV6, "dsp small scalar"),  # Raspberry Pi 1, Zero
    "rv64": Cpu(RISCV64, "small scalar"),
}


def require(target: Target, *more: str) -> None:
    """Failure, saying what to install, where the target's compiler or emulator is not here."""
    missing = [name for name in (target.compiler[0], target.emulator, *more) if shutil.which(name) is None]
    if missing:
        raise Failure(f"{', '.join(missing)} missing: apt-get install {' '.join([target.packages, *more])}")
    if target.compiler == ZIG and importlib.util.find_spec("ziglang") is None:
        raise Failure('zig, which builds for ARMv6, missing: pip install ziglang, or this project with ".[check]"')


def emulated(cpu: str) -> list[str]:
    """What stands before a program's command."""
    target = CPUS[cpu].target
    return [target.emulator, "-cpu", cpu, *(["-L", target.libraries] if target.libraries else [])]


@dataclass(frozen=True, slots=True)
class Debian:
    """A Debian system for another machine, unpacked; nothing of it is run but its Python."""

    target: Target
    architecture: str
    suite: str
    version: str  # Python's
    triplet: str
    cpus: tuple[str, ...]
    packages: Sequence[str] = ("libstdc++6", "python3-numpy", "python3-pytest", "python3-hypothesis")

    def root(self, cache: Path | None = None) -> Path:
        """Its folder in the cache, the user's where no other is named."""
        return ((cache or CACHE) / f"edgelstm-{self.suite}-{self.architecture}").resolve()

    def python(self, root: Path, cpu: str) -> list[str]:
        """The command of its Python. NumPy looks for links to libraries that an installed system would have made."""
        libraries = root / "usr" / "lib" / self.triplet
        algebra = f"LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack"
        emulator = [self.target.emulator, "-cpu", cpu, "-E", algebra, "-L", str(root)]
        return [*emulator, str(root / "usr" / "bin" / f"python{self.version}")]

    @property
    def limited(self) -> bool:
        """Whether the package for its Python is made with the limited API, as setup.py does from 3.12 on."""
        return int(self.version.split(".")[1]) >= 12

    def includes(self, root: Path) -> list[str]:
        """Where its Python's headers are, as a compiler's options."""
        own, headers = f"python{self.version}", root / "usr" / "include"
        named = (
            root / "python-headers"
        )  # Python's header names the machine's by its folder; a C library's must not follow
        named.mkdir(exist_ok=True)
        if not (named / self.triplet).exists():
            (named / self.triplet).symlink_to(headers / self.triplet)
        return [f"-I{headers / own}", f"-I{headers / self.triplet / own}", f"-I{named}"]


DEBIANS = {  # by what Python calls the machine
    "aarch64": Debian(
        ARM64,
        "arm64",
        "bookworm",
        "3.11",
        "aarch64-linux-gnu",
        ("cortex-a53", "cortex-a72", "cortex-a76", "max"),
    ),
    "armv7l": Debian(ARM32, "armhf", "bookworm", "3.11", "arm-linux-gnueabihf", ("cortex-a7",)),
    # the first Debian for this machine
    "riscv64": Debian(RISCV64, "riscv64", "trixie", "3.13", "riscv64-linux-gnu", ("rv64",)),
}


def unpack_debian(root: Path, debian: Debian) -> None:
    """Packages unpacked, nothing of them run; a root that is there and has them stays."""
    held = root / "usr" / "lib" / "python3" / "dist-packages"
    if all((held / name).exists() for name in ("numpy", "pytest", "hypothesis")):
        return
    shutil.rmtree(root, ignore_errors=True)  # half unpacked
    root.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("mmdebstrap") is None:
        raise Failure("mmdebstrap missing: apt-get install mmdebstrap arch-test")
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm"]
    mirrors = subprocess.run(listed, capture_output=True, text=True).stdout.split() or ["http://deb.debian.org/debian/"]
    wanted = ",".join(["python3-minimal", f"libpython{debian.version}-dev", *debian.packages])
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--arch={debian.architecture}", f"--include={wanted}"]
    subprocess.run([*command, debian.suite, str(root), f"deb {mirrors[0]} {debian.suite} main"], check=True)
    if not (root / "lib").exists():  # which Debian 13 links where it is installed
        (root / "lib").symlink_to("usr/lib")
