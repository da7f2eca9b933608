"""What the C core is made of, by the symbols of its objects, for every compiler this machine has:

* it compiles freestanding, without a warning, at -O3 and -Os;
* it asks for nothing but the functions of string.h, the compiler's own arithmetic, and, in kernels.c, the CPU;
* it has no writable data: no globals that change, nothing to initialise;
* it does not compile where float arithmetic is not IEEE's: with fast math, or on x87;
* on a Cortex-M0+, where every float operation is a call, an s8 step makes none: floats are touched by the float
  doors, the f32 layers and kernels, and while starting and checking an f32 model;
* firmware of s8 models (ELSTM_LINKS_F32 0, the core without the files of f32 and tfl8) makes no such call anywhere,
  and where there is a float unit holds no instruction of it: no arithmetic, comparison or conversion.

    python tools/check_symbols.py            all of it; ends with 1 if anything is otherwise
    python tools/check_symbols.py --sizes    also what firmware would link, in bytes
"""

from __future__ import annotations

import argparse
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "src_c").glob("*.c"))
FLAGS = ["-std=c99", "-ffreestanding", "-ffp-contract=off", "-fno-stack-protector", "-fno-pic"]
FLAGS += ["-ffunction-sections", "-fdata-sections"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]


@dataclass(frozen=True)
class Target:
    """A compiler with its options, and the prefix of its binutils."""

    compiler: str
    options: str = ""
    prefix: str = ""

    @property
    def name(self) -> str:
        return f"{self.compiler} {self.options}".strip()


TARGETS = (
    Target("gcc"),
    Target("clang"),
    Target("aarch64-linux-gnu-gcc", "", "aarch64-linux-gnu-"),
    Target("arm-linux-gnueabihf-gcc", "", "arm-linux-gnueabihf-"),
    Target("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m0plus", "arm-none-eabi-"),
    Target("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16", "arm-none-eabi-"),
    Target("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m33 -mfloat-abi=softfp", "arm-none-eabi-"),
)
SOFT_FLOAT = TARGETS[4]

# of firmware, s8 models alone, one input and one output
FIRMWARE_OPTIONS = "-DELSTM_LINKS_F32=0 -DELSTM_MAX_PORTS=1 -DELSTM_MAX_CLOCKS=2 -DELSTM_MAX_READS=2"
FIRMWARE_CPUS = (
    ("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m0plus", "arm-none-eabi-"),
    ("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m3", "arm-none-eabi-"),
    ("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16", "arm-none-eabi-"),
    ("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m33 -mfloat-abi=hard -mfpu=fpv5-sp-d16", "arm-none-eabi-"),
    ("arm-none-eabi-gcc", "-mthumb -mcpu=cortex-m55 -mfloat-abi=hard -DELSTM_LAYOUT_ROWS=1", "arm-none-eabi-"),
    ("riscv64-linux-gnu-gcc", "-DELSTM_BUILDS_SMALL", "riscv64-linux-gnu-"),
)
FIRMWARE_TARGETS = tuple(
    Target(compiler, f"{options} {FIRMWARE_OPTIONS}".strip(), prefix) for compiler, options, prefix in FIRMWARE_CPUS
)
SETS = {"scalar", "small", "dsp", "helium"}  # which of the kernel sets s8 firmware may link
FIRMWARE_CORE = [
    path
    for path in CORE
    if not path.stem.endswith("_f32")
    and "tfl8" not in path.stem
    and (not path.stem.startswith("kernels_") or path.stem.removeprefix("kernels_") in SETS)
]
# moves, which gcc also takes for eight bytes of integers: -mgeneral-regs-only keeps it from that
MOVES = {"vldr", "vstr", "vmov", "vpush", "vpop", "vldmia", "vstmia", "vldmdb", "vstmdb"}

STRING_H = {"memcpy", "memmove", "memset", "memcmp", "strcmp"}
# 64-bit and float arithmetic, division and switch tables of Thumb-1: libgcc, or compiler-rt
ARITHMETIC = re.compile(r"__aeabi_[a-z0-9]+|__gnu_thumb1_case_\w+|__u?(div|mod|divmod)[sd]i[34]")
CPU = {"getauxval", "__cpu_model", "__cpu_features2", "__cpu_indicator_init"}  # in kernels.c alone
# what may touch floats besides functions called ..._f32: starting, checking, the loops of two f32 functions, those of
# the float doors into and out of integers, and a tfl8 layer that a delegate computes in floats
FLOAT_USERS = {"decode", "describe", "answers_agree", "elstm_runner_init", "elstm_self_check"}
FLOAT_USERS |= {"loops_tanh_one", "loops_sigmoid_one", "loops_enter_s16", "loops_leave_s16", "loops_leave_s8"}
FLOAT_USERS |= {"elstm_quantize_tfl8", "elstm_dequantize_tfl8"}
FLOAT_CALL = re.compile(r"__aeabi_(c?[fd]|u?[il]2)\w+")

FIRMWARE = """
#include "edgelstm.h"
elstm_model model;
elstm_runner runner;
unsigned char arena[64];
int entry(const void *image, size_t size, const int16_t *const *x, int16_t *const *y);
int entry(const void *image, size_t size, const int16_t *const *x, int16_t *const *y) {
    const elstm_limits limits = {1, 1};
    if (elstm_model_open(&model, image, size) != ELSTM_OK) return 1;
    if (elstm_runner_init(&runner, &model, elstm_kernels_find(NULL), limits, arena, sizeof arena) != ELSTM_OK)
        return 1;
    elstm_step_s8(&runner, x, y);
    return 0;
}
"""


def said(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def compile_core(target: Target, level: str, folder: Path, sources: list[Path] = CORE) -> list[Path]:
    """The core's objects."""
    folder.mkdir(exist_ok=True)
    command = [target.compiler, *shlex.split(target.options), *FLAGS, *WARNINGS, level, f"-I{ROOT / 'src_c'}", "-c"]
    said([*command, *map(str, sources)], folder)
    return sorted(folder.glob("*.o"))


def symbols(target: Target, objects: list[Path]) -> list[tuple[str, str, str]]:
    """(object, type, name) of every symbol."""
    found = []
    for path in objects:
        for line in said([f"{target.prefix}nm", str(path)]).splitlines():
            kind, name = line.split()[-2:]
            found.append((path.stem, kind, name))
    return found


def problems(target: Target, objects: list[Path]) -> list[str]:
    """What an object asks for or holds that it should not."""
    table = symbols(target, objects)
    own = {name for _, kind, name in table if kind not in "Uw"}
    wrong = []
    for part, kind, name in table:
        if kind in "Uw":
            known = name in own | STRING_H or ARITHMETIC.fullmatch(name) or (part == "kernels" and name in CPU)
            if not known:
                wrong.append(f"{part}.o asks for {name}")
        elif kind in "bBdDcCsSgG":
            wrong.append(f"{part}.o holds writable data: {name}")
    return wrong


def float_users(target: Target, objects: list[Path]) -> set[tuple[str, str]]:
    """(object, function) of every function that calls the compiler's float arithmetic."""
    users = set()
    for path in objects:
        function = ""
        for line in said([f"{target.prefix}objdump", "-r", str(path)]).splitlines():
            if line.startswith("RELOCATION RECORDS FOR"):
                section = line.split("[")[1].split("]")[0]
                function = section.removeprefix(".text.") if section.startswith(".text.") else ""
            elif function and line.split() and FLOAT_CALL.match(line.split()[-1]):
                users.add((path.stem, function.split(".")[0]))
    return users


def float_instructions(target: Target, objects: list[Path]) -> set[str]:
    """Object and mnemonic of every instruction of the float unit but moves."""
    found = set()
    for path in objects:
        for line in said([f"{target.prefix}objdump", "-d", "--no-show-raw-insn", str(path)]).splitlines():
            fields = line.split("\t")
            name = fields[1].strip() if len(fields) > 1 and line.startswith(" ") else ""
            ours = name.startswith("f") and name != "fence" if "riscv" in target.compiler else name.startswith("v")
            if "cortex-m55" in target.options:  # whose integer vectors are instructions of the same unit
                ours = ours and ".f" in name
            if ours and name.split(".")[0] not in MOVES:
                found.add(f"{path.stem}.o: {name}")
    return found


def check_firmware(target: Target, folder: Path) -> list[str]:
    """What an s8 model's firmware holds or asks for that it should not."""
    wrong = []
    for level in ("-O2", "-Os"):
        objects = compile_core(target, level, folder.with_name(folder.name + level), FIRMWARE_CORE)
        wrong += problems(target, objects)
        calls = float_users(target, objects)
        wrong += [f"{part}.o: {function} touches floats" for part, function in calls]
        wrong += float_instructions(target, objects)
    return sorted(set(wrong))


def check_refusals(target: Target) -> list[str]:
    """What compiles although the float door would round otherwise."""
    options = ["-ffast-math", "-Ofast", "-ffinite-math-only"]
    if not target.prefix and platform.machine() in ("x86_64", "AMD64") and "clang" not in target.compiler:
        options.append("-mfpmath=387")
    wrong = []
    for option in options:
        command = [target.compiler, *shlex.split(target.options), *FLAGS, option, f"-I{ROOT / 'src_c'}"]
        command += ["-fsyntax-only", str(ROOT / "src_c" / "runner.c")]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode == 0 or "EdgeLSTM needs" not in done.stderr:
            wrong.append(f"{option} is not refused")
    return wrong


def check_floats(folder: Path) -> list[str]:
    """Functions on an s8 step's way that touch floats."""
    users = float_users(SOFT_FLOAT, compile_core(SOFT_FLOAT, "-Os", folder))
    if not users:
        return ["no function touches floats: this check sees nothing"]
    wrong = [
        f"{part}.o: {function} touches floats"
        for part, function in sorted(users)
        if not part.endswith("_f32") and not function.endswith("_f32") and function not in FLOAT_USERS
    ]
    if not wrong:
        print(f"ok   {SOFT_FLOAT.name}: no float in an s8 step; {len(users)} functions elsewhere touch floats")
    return wrong


def linked(target: Target, layers: str, folder: Path) -> int:
    """Bytes of code and constants of firmware that steps an s8 model and links the layers named so."""
    folder.mkdir()
    ops = (ROOT / "src_c" / "ops.c").read_text()
    names = sorted(set(re.findall(r"&(elstm_layer_\w+)", ops)))
    kept = [name for name in names if re.search(layers, name)]
    start, end = ops.index("extern const"), ops.index("const elstm_layer *elstm_layer_find")
    declared = f"extern const elstm_layer {', '.join(kept)};\n"
    listed = f"static const elstm_layer *const layers[] = {{{', '.join(f'&{name}' for name in kept)}}};\n"
    (folder / "ops.c").write_text(ops[:start] + declared + listed + ops[end:])
    (folder / "firmware.c").write_text(FIRMWARE)
    sources = [path for path in CORE if path.name != "ops.c"] + [folder / "ops.c", folder / "firmware.c"]
    objects = compile_core(target, "-Os", folder, sources)
    options = ["-nostartfiles", "-Wl,-e,entry", "-Wl,--gc-sections", "--specs=nosys.specs"]
    command = [target.compiler, *shlex.split(target.options), *options, *map(str, objects), "-lc", "-lgcc", "-o", "elf"]
    said(command, folder)
    return int(said([f"{target.prefix}size", str(folder / "elf")]).splitlines()[1].split()[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", action="store_true", help="also link firmware for Cortex-M and print its bytes")
    parser.add_argument("--require", default="", help="compilers that must be here, with commas between")
    options = parser.parse_args()
    failed = 0
    here = [target for target in TARGETS if shutil.which(target.compiler)]
    missing = set(filter(None, options.require.split(","))) - {target.compiler for target in here}
    if missing or not here:
        print(f"FAIL not found: {', '.join(sorted(missing)) or 'any compiler'}")
        return 1
    with tempfile.TemporaryDirectory() as name:
        for number, target in enumerate(here):
            wrong = []
            for level in ("-O3", "-Os"):
                wrong += problems(target, compile_core(target, level, Path(name) / f"{number}{level}"))
            wrong += check_refusals(target)
            for line in sorted(set(wrong)):
                print(f"FAIL {target.name}: {line}")
            failed += bool(wrong)
            if not wrong:
                print(f"ok   {target.name}: no warning, nothing asked for, no writable data, no fast math")
        if SOFT_FLOAT in here:
            wrong = check_floats(Path(name) / "floats")
            for line in wrong:
                print(f"FAIL {SOFT_FLOAT.name}: {line}")
            failed += bool(wrong)
        for number, target in enumerate(FIRMWARE_TARGETS):
            if not shutil.which(target.compiler):
                continue
            wrong = check_firmware(target, Path(name) / f"firmware{number}")
            for line in wrong:
                print(f"FAIL {target.name}: {line}")
            failed += bool(wrong)
            if not wrong:
                print(f"ok   {target.name}: s8 firmware holds no float, asks for nothing, writes to no data of its own")
        for number, target in enumerate(here if options.sizes else []):
            if target.prefix == "arm-none-eabi-":
                sizes = [
                    linked(target, layers, Path(name) / f"elf{number}{layers[:2]}") for layers in ("_", "_s8|last")
                ]
                print(f"     {target.name}: {sizes[0]} bytes with all layers, {sizes[1]} with the s8 ones")
    for target in TARGETS:
        if target not in here:
            print(f"     {target.name}: not on this machine")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
