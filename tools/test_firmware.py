"""Programs for microcontrollers on emulated boards.

    python tools/test_firmware.py BOARD FILE.c ...     builds a program with tests/firmware/startup.c, runs it, and says
                                                       its size, the most of the stack it took, and instructions between
                                                       calls of count_mark; ends as the program does

Emulation proves bits, sizes, stack and numbers of instructions; it says nothing about time.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START = ROOT / "tests" / "firmware"
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
SECONDS = 120  # a program may take


class Failure(Exception):
    """What a person has to know, in a few lines."""


@dataclass(frozen=True, slots=True)
class Board:
    """A machine of QEMU's, and its compiler's options."""

    machine: str
    cpu: str
    flash: int = 0
    flash_size: int = 4 << 20
    ram: int = 0x20000000
    ram_size: int = 4 << 20

    @property
    def options(self) -> list[str]:
        return ["-mthumb", *self.cpu.split()]


BOARDS = {
    "m0": Board("microbit", "-mcpu=cortex-m0", flash_size=256 << 10, ram_size=16 << 10),
    "m3": Board("mps2-an385", "-mcpu=cortex-m3"),
    "m4f": Board("mps2-an386", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard"),
    "m7": Board("mps2-an500", "-mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard"),
    "m33": Board(
        "mps2-an505", "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16 -mfloat-abi=hard", 0x10000000, 4 << 20, 0x38000000, 2 << 20
    ),
    "m55": Board("mps3-an547", "-mcpu=cortex-m55 -mfloat-abi=hard", 0x10000000, 512 << 10, 0x30000000, 512 << 10),
}
"""microbit has an M0 and the least memory there is; the others are development boards with plenty. m33 and m55 run in
the secure state, whose addresses these are."""


@dataclass(frozen=True, slots=True)
class Ran:
    status: int  # what main returned; 99 of a fault
    output: str
    stack: int  # the most that main took, in bytes
    marks: list[int]  # instructions from one count_mark to the next, the first from reset; empty without the plugin


def require(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise Failure(f"{', '.join(missing)} missing: apt-get install {PACKAGES}")


def checked(command: Sequence[str | Path], **options: object) -> str:
    """What a command prints; Failure, with its errors, where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, errors="replace", **options)  # type: ignore[call-overload]
    if done.returncode:
        raise Failure(f"{shlex.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def build(board: Board, sources: Sequence[Path], program: Path, options: Sequence[str] = ()) -> Path:
    """A program that QEMU starts: the sources, tests/firmware/startup.c and nothing of a C library but what they call.
    Its folder holds the objects of no other program."""
    require(COMPILER)
    places = {
        "FLASH": board.flash,
        "FLASH_SIZE": board.flash_size,
        "RAM": board.ram,
        "RAM_SIZE": board.ram_size,
    }
    command = [COMPILER, *board.options, "-std=c99", "-O2", "-ffunction-sections", "-fdata-sections", f"-I{START}"]
    command += [*options, *map(str, (START / "startup.c", *sources)), "-o", str(program)]
    command += ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections"]
    command += ["-T", str(START / "board.ld"), *(f"-Wl,--defsym={name}={value}" for name, value in places.items())]
    checked(command)
    return program


def build_plugin(folder: Path) -> Path:
    """tools/count_plugin.c, for this machine's QEMU."""
    plugin = folder / "count_plugin.so"
    options = ["-O2", "-shared", "-fPIC", "-fvisibility=hidden"]
    checked(["gcc", *options, "-o", plugin, ROOT / "tools" / "count_plugin.c"])
    return plugin


def run(board: Board, program: Path, plugin: Path | None = None) -> Ran:
    """Run a built program; with the plugin, count."""
    require(EMULATOR)
    command = [EMULATOR, "-machine", board.machine, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    counts = program.with_suffix(".counts")
    if plugin is not None:
        command += ["-plugin", f"{plugin},out={counts}"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{program.name} runs for more than {SECONDS} s on {board.machine}") from None
    output = done.stdout.decode(errors="replace")
    stack = re.search(r"^stack (\d+)\n\Z", output, re.MULTILINE)
    if stack is None:
        raise Failure(f"{program.name} did not come to its end on {board.machine}, status {done.returncode}\n{output}")
    marks = [int(line) for line in counts.read_text().split()] if plugin is not None else []
    return Ran(done.returncode, output[: stack.start()], int(stack[1]), marks)


def sizes(program: Path) -> tuple[int, int]:
    """Bytes of flash and of static RAM."""
    text, data, bss = map(int, checked(["arm-none-eabi-size", program]).splitlines()[1].split()[:3])
    return text + data, data + bss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", choices=[*BOARDS])
    parser.add_argument("sources", nargs="+", metavar="FILE.c", type=Path)
    parser.add_argument("--options", default="", help="more for the compiler, such as -Isrc_c")
    options = parser.parse_args()
    board = BOARDS[options.board]
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            program = build(board, options.sources, folder / "program.elf", shlex.split(options.options))
            ran = run(board, program, build_plugin(folder))
            flash, ram = sizes(program)
    except Failure as failure:
        print(failure)
        return 2
    print(ran.output, end="")
    print(f"{flash} bytes of flash, {ram} of static RAM, {ran.stack} of stack")
    if ran.marks:
        print(f"instructions between marks: {' '.join(map(str, ran.marks))}")
    return ran.status


if __name__ == "__main__":
    sys.exit(main())
