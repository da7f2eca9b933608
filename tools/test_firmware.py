"""Programs for microcontrollers on emulated boards.

    python tools/test_firmware.py --all              exports MODELS as C (edgelstm export-c), compiles them alone,
                                                     looks into its objects, and runs it on boards: the self-test, and
                                                     answers equal to Python's
    python tools/test_firmware.py --page             runs the commands of docs/microcontroller.md
    python tools/test_firmware.py BOARD FILE.c ...   builds a program with tests/firmware/startup.c, runs it, and says
                                                     its size, the most of the stack it took, and instructions between
                                                     calls of count_mark; ends as the program does

Emulation proves bits, sizes, stack and numbers of instructions; it says nothing about time.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from check_symbols import ARITHMETIC, FLOAT_CALL, STRING_H

from edgelstm.description import MASK
from edgelstm.exporters import firmware
from edgelstm.runner import Runner

ROOT = Path(__file__).resolve().parent.parent
START = ROOT / "tests" / "firmware"
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
RISCV_COMPILER, RISCV_EMULATOR = "riscv64-unknown-elf-gcc", "qemu-riscv32"
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm qemu-user "
PACKAGES += "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"
SECONDS = 120  # a program may take


class Failure(Exception):
    """What a person has to know, in a few lines."""


@dataclass(frozen=True, slots=True)
class Board:
    """A machine of QEMU's, or "" for RISC-V in user mode, and its compiler's options."""

    machine: str
    cpu: str
    flash: int = 0
    flash_size: int = 4 << 20
    ram: int = 0x20000000
    ram_size: int = 4 << 20

    @property
    def options(self) -> list[str]:
        return ["-mthumb", *self.cpu.split()] if self.machine else ["--specs=picolibc.specs", *self.cpu.split()]

    @property
    def compiler(self) -> str:
        return COMPILER if self.machine else RISCV_COMPILER

    def tool(self, name: str) -> str:
        """A program beside its compiler."""
        return self.compiler.removesuffix("gcc") + name


BOARDS = {
    "m0": Board("microbit", "-mcpu=cortex-m0", flash_size=256 << 10, ram_size=16 << 10),
    "m3": Board("mps2-an385", "-mcpu=cortex-m3"),
    "m4f": Board("mps2-an386", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard"),
    "m7": Board("mps2-an500", "-mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard"),
    "m33": Board(
        "mps2-an505", "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16 -mfloat-abi=hard", 0x10000000, 4 << 20, 0x38000000, 2 << 20
    ),
    "m55": Board("mps3-an547", "-mcpu=cortex-m55 -mfloat-abi=hard", 0x10000000, 512 << 10, 0x30000000, 512 << 10),
    "rv32": Board("", "-march=rv32imc -mabi=ilp32"),
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
    require(board.compiler)
    command = [board.compiler, *board.options, "-std=c99", "-O2", "-ffunction-sections", "-fdata-sections"]
    start, script = ("startup.c", "board.ld") if board.machine else ("riscv.c", "riscv.ld")
    command += [f"-I{START}", *options, *map(str, (START / start, *sources)), "-o", str(program)]
    command += ["-nostartfiles", "-Wl,--gc-sections", "-T", str(START / script)]
    if board.machine:
        places = {"FLASH": board.flash, "FLASH_SIZE": board.flash_size, "RAM": board.ram, "RAM_SIZE": board.ram_size}
        command += ["--specs=nano.specs", "--specs=nosys.specs"]
        command += [f"-Wl,--defsym={name}={value}" for name, value in places.items()]
    checked(command)
    return program


def build_plugin(folder: Path) -> Path:
    """tools/count_plugin.c, for this machine's QEMU."""
    plugin = folder / "count_plugin.so"
    options = ["-O2", "-shared", "-fPIC", "-fvisibility=hidden"]
    checked(["gcc", *options, "-o", plugin, ROOT / "tools" / "count_plugin.c"])
    return plugin


def run(board: Board, program: Path, plugin: Path | str | None = None, folder: Path | None = None) -> Ran:
    """Run a built program, which reads what files it wants from the folder; with the plugin, count."""
    if board.machine:
        command = [EMULATOR, "-machine", board.machine, "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel"]
    else:
        command = [RISCV_EMULATOR]
    require(command[0])
    counts = program.with_suffix(".counts")
    if plugin is not None:
        command[1:1] = ["-plugin", f"{plugin},out={counts},gathers=on"]
    try:
        done = subprocess.run(
            [*command, str(program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{program.name} runs for more than {SECONDS} s on {board}") from None
    output = done.stdout.decode(errors="replace")
    stack = re.search(r"^stack (\d+)\n\Z", output, re.MULTILINE)
    if stack is None:
        raise Failure(f"{program.name} did not come to its end on {board}, status {done.returncode}\n{output}")
    marks = [int(line) for line in counts.read_text().split()] if plugin is not None else []
    return Ran(done.returncode, output[: stack.start()], int(stack[1]), marks)


def sizes(board: Board, program: Path) -> tuple[int, int]:
    """Bytes of flash and of static RAM."""
    text, data, bss = map(int, checked([board.tool("size"), program]).splitlines()[1].split()[:3])
    return text + data, data + bss


# ---- exported folders ----

IMAGES = ROOT / "tests" / "golden" / "images"
MODELS = {  # a golden image, exported for any CPU or for a target, and the boards it runs on
    "s8_scaled": tuple(BOARDS),
    "s8_stacked": tuple(BOARDS),
    "s8_gru": ("m0", "m4f"),
    "s8_lstm_options": ("m3", "m33"),
    "s8_softmax": ("m0", "m55"),
    "s8_windows_even": ("m3", "m7"),
    "s8_windows_uneven": ("m4f",),
    "s8_windows_whole": ("m33",),
    "s8_joined": ("m3",),
    "tfl8_cells": ("m3", "m4f", "m55"),
    "tfl8_window_0": ("m33",),
    "f32_stacked": ("m3", "m4f", "m55"),
    "f32_attended": ("m7",),
    "s8_stacked@cortex-m0plus": ("m0",),
    "s8_stacked@cortex-m55": ("m55",),
    "s8_gru@cortex-m55": ("m55",),
    "tfl8_cells@cortex-m55": ("m55",),
}
PLAIN = {"s8_stacked": ("m0", "m4f", "m55"), "s8_stacked@cortex-m55": ("m55",)}
"""Those that are also compiled by a compiler that is told nothing: not to optimize, above all."""
STEPS = 50
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic"]
FLOAT_INSTRUCTION = re.compile(r"\tv\w+\.f(16|32|64)\b")


def samples(runner: Runner, steps: int) -> list[Any]:
    """Inputs of the doors' types, [steps, width] each, [1, width] of one that takes a single row a run."""
    random = np.random.default_rng(5)
    described = runner.description
    rows = []
    for k, index in enumerate(described.inputs):
        tensor = described.tensors[index]
        shape = (1 if tensor.single and not runner.causal else steps, tensor.width)
        dtype = (
            np.int16
            if described.number_type == "s8"
            else {"f32": np.float32, "s8": np.int8, "s16": np.int16}[tensor.type]
        )
        most = described.vocabularies[k] or 2 * (described.input_names[k] == MASK)
        if most:
            x = random.integers(0, min(most, 32767), shape)
        elif dtype == np.float32:
            x = random.standard_normal(shape)
        else:
            x = random.integers(-128, 128, shape) if dtype == np.int8 else random.integers(-9000, 9000, shape)
        rows.append(x.astype(dtype))
    return rows


def checksum(data: bytes) -> str:
    """FNV-1a, as in tests/firmware/answers.c."""
    found = 2166136261
    for byte in data:
        found = (found ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{found:08x}"


def header(runner: Runner, xs: list[Any], ys: list[Any], runs: bool) -> str:
    """samples.h of tests/firmware/answers.c."""
    number_type = runner.description.number_type
    door = {"f32": ("f32", "float"), "s8": ("s8", "int16_t"), "tfl8": ("raw", "void")}[number_type]
    names = {"float32": "float", "int16": "int16_t", "int8": "int8_t"}
    lines = [
        f"#define INPUTS {len(xs)}",
        f"#define OUTPUTS {len(ys)}",
        f"#define STEPS {len(xs[0]) if runs else STEPS}",
    ]
    lines += [f"#define STEP elstm_step_{door[0]}", f"#define RUN elstm_run_{door[0]}", f"#define X {door[1]}"]
    lines += [f"#define RUNS {int(runs)}", f"#define ROWS ELSTM_ROWS_{'EVERY' if runner.causal else 'MODEL'}"]
    for k, x in enumerate(xs):
        values = ", ".join(f"{float(v).hex()}f" if x.dtype == np.float32 else str(v) for v in x.ravel().tolist())
        lines.append(f"static const {names[x.dtype.name]} x{k}[] = {{{values}}};")
    for k, y in enumerate(ys):
        lines.append(f"static {names[y.dtype.name]} y{k}[{y.size if runs else y.shape[-1]}];")
    lines.append(f"static const X *const xs[] = {{{', '.join(f'x{k}' for k in range(len(xs)))}}};")
    lines.append(f"static X *const ys[] = {{{', '.join(f'y{k}' for k in range(len(ys)))}}};")
    if not runs:
        sizes = ", ".join(str(x.shape[1] * x.itemsize) for x in xs)
        lines.append(f"static const uint32_t x_size[] = {{{sizes}}};")
    sizes = ", ".join(str((y.size if runs else y.shape[-1]) * y.itemsize) for y in ys)
    lines.append(f"static const uint32_t y_size[] = {{{sizes}}};")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Case:
    """An exported folder, and what its answers must be."""

    name: str
    folder: Path
    number_type: str
    sums: list[str]
    options: list[str]

    @property
    def sources(self) -> list[Path]:
        return sorted(self.folder.glob("*.c"))


def case(name: str, folder: Path) -> Case:
    image, _, target = name.partition("@")
    firmware.write(IMAGES / f"{image}.elstm", folder, target or None)
    runner = Runner(IMAGES / f"{image}.elstm", kernels="scalar", max_steps=64)
    described = runner.description
    runs = not runner.causal or runner.uneven
    steps = STEPS if runner.causal else described.meta.window or described.example_steps
    xs = samples(runner, steps)
    run = runner.run_integers if described.number_type == "s8" else runner.run
    ys = run(tuple(xs) if len(xs) > 1 else xs[0], every_step=runner.causal)
    ys = list(ys) if isinstance(ys, tuple) else [ys]
    ys = [np.atleast_2d(y) for y in ys]
    beside = folder.with_name(f"{name}-samples")
    beside.mkdir()
    (beside / "samples.h").write_text(header(runner, xs, ys, runs))
    return Case(
        name, folder, described.number_type, [checksum(y.tobytes()) for y in ys], [f"-I{folder}", f"-I{beside}"]
    )


def objects(compiler: Sequence[str], sources: Sequence[Path], folder: Path, options: Sequence[str]) -> list[Path]:
    """What the sources compile to, without a warning; nothing but the compiler's own options is given."""
    folder.mkdir(parents=True)
    checked([*compiler, *WARNINGS, *options, "-c", *sources], cwd=folder)
    return sorted(folder.glob("*.o"))


def asked(board: Board, made: Sequence[Path]) -> Iterator[str]:
    """What objects ask for that none of them has and no firmware should."""
    table = [
        line.split()[-2:] for path in made for line in checked([board.tool("nm"), path]).splitlines() if line[-1] != ":"
    ]
    own = {name for kind, name in table if kind not in "Uw"}
    for kind, name in table:
        if kind in "Uw" and name not in own | STRING_H and not ARITHMETIC.fullmatch(name):
            yield f"asks for {name}"


def floats(made: Sequence[Path]) -> Iterator[str]:
    """Floats in objects of an s8 model."""
    for path in made:
        for line in checked(["arm-none-eabi-objdump", "-dr", path]).splitlines():
            if FLOAT_INSTRUCTION.search(line) or (": R_ARM" in line and FLOAT_CALL.match(line.split()[-1])):
                yield f"{path.name} touches floats: {line.strip()}"
                break


def on_host(case: Case, folder: Path, compiler: str) -> list[str]:
    """Whether the folder compiles alone on this machine, and its programs end as they should."""
    made = objects([compiler], case.sources, folder, ["-O2"])
    wrong = []
    for program, other in (("self_test", "main"), ("main", "self_test")):
        path = folder / program
        checked([compiler, *(o for o in made if o.stem != other), "-o", path])
        status = subprocess.run([path]).returncode
        if status:
            wrong.append(f"{program}.c ends with {status}")
    return wrong


def unoptimized(case: Case, name: str, folder: Path) -> list[str]:
    """Whether the folder links on a board and, for any CPU, on this machine where nothing is optimized, without a float
    in what it links."""
    board = BOARDS[name]
    sources = [path for path in case.sources if path.name != "main.c"]
    made = objects([board.compiler, *board.options], sources, folder / "objects", ["-O0"])
    build(board, made, folder / "self_test.elf")
    if "@" not in case.name:
        here = objects([HOSTS[0]], sources, folder / "host", ["-O0"])
        checked([HOSTS[0], *here, "-o", folder / "self_test"])
        checked([folder / "self_test"])
    return [*asked(board, made), *floats(made)]


def over_budget(case: Case, takes: dict[str, int]) -> Iterator[str]:
    """Where a board takes other than README.md and model.h say."""
    page, header = ((case.folder / name).read_text() for name in ("README.md", "model.h"))
    rows = {key: value.replace("`", "") for key, value in re.findall(r"^\| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE)}
    for key, row in (("arena", "RAM, arena"), ("structs", "RAM, structs"), ("state", "of it the state")):
        if str(takes[key]) not in rows[row].split(" or "):
            yield f"{key}: {takes[key]} bytes, and README.md says {rows[row]}"
    for key, name in (("start", "MODEL_STACK_START"), ("step", "MODEL_STACK_STEP")):
        most = int(re.search(rf"#define {name} (\d+)", header)[1])
        if not takes[key] <= most == int(rows["stack, " + ("opening, self-check" if key == "start" else "a step")]):
            yield f"{key}: {takes[key]} bytes of stack, and model.h says {most}"


def on_board(case: Case, name: str, folder: Path) -> tuple[list[str], dict[str, int]]:
    """Whether the folder on a board does what it must; and what it takes, in bytes."""
    board = BOARDS[name]
    library = [path for path in case.sources if path.name not in firmware.PROGRAMS]
    options = ["-O2", "-ffunction-sections", "-fdata-sections", *case.options]
    made = objects([board.compiler, *board.options], library, folder / "objects", options)
    objects([board.compiler, *board.options], [case.folder / "main.c"], folder / "main", options)
    wrong = list(asked(board, made))
    if case.number_type == "s8" and board.machine:  # RISC-V here has no float instruction, and asks for its calls
        wrong += floats(made)
    test = objects(
        [board.compiler, *board.options], [case.folder / "self_test.c"], folder / "test", [*options, "-Dmain=self_test"]
    )
    program = build(board, [START / "answers.c", *made, *test], folder / "answers.elf", case.options)
    ran = run(board, program)
    said = dict(re.findall(r"^(\w+) (.*)$", ran.output, re.MULTILINE))
    if ran.status:
        return [*wrong, f"ends with {ran.status}: {ran.output}"], {}
    takes = {
        key: int(value)
        for key, value in said.items()
        if value.isdigit() and key in ("start", "arena", "structs", "step", "state")
    }
    kernels, *sums = ran.output.splitlines()[-1].split()
    if sums != case.sums:
        wrong.append(f"{kernels} answers {' '.join(sums)}, and Python {' '.join(case.sums)}")
    wrong += over_budget(case, takes)
    heap = {"_sbrk", "malloc", "_malloc_r", "printf", "_printf_r"} & set(checked([board.tool("nm"), program]).split())
    if heap:
        wrong.append(f"links {', '.join(sorted(heap))}")
    takes["flash"], takes["ram"] = sizes(board, program)
    return wrong, takes | {"kernels": kernels}


def test_model(name: str, folder: Path) -> tuple[bool, str]:
    """Whether all is well, and lines that say what was seen."""
    lines, passed = [], True
    made = case(name, folder / name)
    for compiler in () if "@" in name else HOSTS:
        for fault in on_host(made, folder / f"{name}-{compiler}", compiler):
            passed = False
            lines.append(f"FAIL {name}, {compiler}: {fault}")
    for board in MODELS[name]:
        wrong, takes = on_board(made, board, folder / f"{name}-{board}")
        passed &= not wrong
        lines += [f"FAIL {name} on {board}: {fault}" for fault in wrong]
        said = ", ".join(f"{key} {value}" for key, value in takes.items())
        lines.append(f"{'FAIL' if wrong else 'ok  '} {name:24} {board:4} {said}")
    for board in PLAIN.get(name, ()):
        wrong = unoptimized(made, board, folder / f"{name}-{board}-plain")
        passed &= not wrong
        lines += [f"FAIL {name} on {board}, -O0: {fault}" for fault in wrong]
        lines.append(f"{'FAIL' if wrong else 'ok  '} {name:24} {board:4} -O0 links")
    return passed, "\n".join(lines)


HOSTS = ("gcc", "clang")


def test_all(names: Sequence[str]) -> bool:
    require(COMPILER, EMULATOR, RISCV_COMPILER, RISCV_EMULATOR, *HOSTS)
    passed = True
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        def test(one: str) -> tuple[bool, str]:
            try:
                return test_model(one, Path(name))
            except Failure as failure:
                return False, f"FAIL {one}: {failure}"

        for good, lines in pool.map(test, names):
            passed &= good
            print(lines, flush=True)
    return passed


# ---- docs/microcontroller.md ----

PAGE = ROOT / "docs" / "microcontroller.md"
NEAR = 2.0  # degrees; what `quantize` chooses may change a little
PARENT = """cmake_minimum_required(VERSION 3.13)
project(app C)
add_library(app STATIC app.c)
add_subdirectory(firmware)
target_link_libraries(app PRIVATE edgelstm_model)
"""


def test_page() -> bool:
    """Whether the page's commands run as it says, but for those that install, and a CMake project takes the folder."""
    require(COMPILER, EMULATOR, "cmake", "edgelstm")
    page = PAGE.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith(("sudo ", "pip "))]
    expected = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0].splitlines()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = checked(["bash", "-euo", "pipefail", "-c", "\n".join(["exec 2>&1", *lines])], cwd=folder)
        (folder / "CMakeLists.txt").write_text(PARENT)
        (folder / "app.c").write_text(
            '#include "model.h"\nint app(void);\nint app(void) { return MODEL_STATE_SIZE; }\n'
        )
        cross = [
            "-DCMAKE_SYSTEM_NAME=Generic",
            "-DCMAKE_C_COMPILER=arm-none-eabi-gcc",
            "-DCMAKE_C_FLAGS=-mcpu=cortex-m4",
        ]
        cross.append("-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY")
        checked(["cmake", "-S", folder, "-B", folder / "cross", *cross])
        checked(["cmake", "--build", folder / "cross"])
    found = output.splitlines()[-len(expected) :]
    near = all(
        one == other or (one[-2:] == other[-2:] == " F" and abs(float(one[:-2]) - float(other[:-2])) <= NEAR)
        for one, other in zip(found, expected, strict=True)
    )
    print(f"ok   the commands of {PAGE.name}" if near else f"FAIL {PAGE.name} says other than this:\n{output}")
    return near


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", nargs="?", choices=[*BOARDS])
    parser.add_argument("sources", nargs="*", metavar="FILE.c", type=Path)
    parser.add_argument("--options", default="", help="more for the compiler, such as -Isrc_c")
    parser.add_argument("--all", action="store_true", help="exported models on every board")
    parser.add_argument("--page", action="store_true", help="the commands of docs/microcontroller.md")
    parser.add_argument("--models", nargs="+", choices=[*MODELS], help="only these")
    options = parser.parse_args()
    try:
        if options.all or options.models or options.page:
            passed = not (options.all or options.models) or test_all(options.models or list(MODELS))
            return 0 if (not options.page or test_page()) and passed else 1
        if options.board is None or not options.sources:
            parser.error("a board and the sources of a program, --all or --page")
        return show_program(BOARDS[options.board], options.sources, shlex.split(options.options))
    except Failure as failure:
        print(failure)
        return 2


def show_program(board: Board, sources: Sequence[Path], options: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(board, sources, folder / "program.elf", options)
        ran = run(board, program, build_plugin(folder))
        flash, ram = sizes(board, program)
    print(ran.output, end="")
    print(f"{flash} bytes of flash, {ram} of static RAM, {ran.stack} of stack")
    if ran.marks:
        print(f"instructions between marks: {' '.join(map(str, ran.marks))}")
    return ran.status


if __name__ == "__main__":
    sys.exit(main())
