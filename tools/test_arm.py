"""The C tests on emulated ARM and RISC-V CPUs: each must choose its own kernel sets and give the committed answers.

    python tools/test_arm.py                       every CPU, every program; a table
    python tools/test_arm.py --short               what continuous integration runs
    python tools/test_arm.py cortex-a53 arm1176

Programs are built once for all CPUs that share a compiler. What they answer is compared with tests/golden/answers.json.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import test_c
from emulated import CPUS, Failure, emulated, require

BRIEF = ("test_sets", "test_answers")
HOLDS = (*BRIEF, "test_images", "test_rows")
ALL = (*HOLDS, "test_kernels")
SHORT = {  # kernels once for each instruction set, which cortex-a76 has of its elders, too; images a quarter on each
    "cortex-a53": BRIEF,
    "cortex-a72": BRIEF,
    "cortex-a76": ALL,
    "max": BRIEF,
    "cortex-a7": ALL,
    "cortex-a7,neon=off": BRIEF,
    "arm1176": HOLDS,
    "rv64": ALL,
}


def build(cpus: list[str], programs: dict[str, tuple[str, ...]], folder: Path) -> dict[tuple[str, str], str]:
    """The path of each program, by target and name."""
    builds: dict[str, test_c.Build] = {}
    for cpu in cpus:
        target = CPUS[cpu].target
        require(target)
        if target.name not in builds:
            builds[target.name] = test_c.Build(list(target.compiler), test_c.OPTIMIZED, folder / target.name)
    wanted = {(CPUS[cpu].target.name, name) for cpu in cpus for name in programs[cpu]}
    test_c.compile_all([(builds[target], name) for target, name in wanted])
    return {(target, name): builds[target].program(name) for target, name in wanted}


def refused(cpu: str, paths: dict[tuple[str, str], str]) -> str:
    """What is wrong with asking for sets that this CPU lacks, or nothing: each must be refused by name."""
    program = paths[CPUS[cpu].target.name, "test_answers"]
    for name in CPUS[cpu].withheld.split():
        command = [*emulated(cpu), program, "--kernels", name, test_c.IMAGES[0]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 1 or "this machine cannot run the set" not in done.stderr:
            return f"{name} was not refused: {done.returncode}, {done.stderr}"
    return ""


def judged(cpu: str, found: dict[str, str | test_c.Failure]) -> str:
    """What is wrong, or nothing."""
    wrong = [f"{name}: {said}" for name, said in found.items() if isinstance(said, test_c.Failure)]
    wanted = CPUS[cpu].sets + (f"; SIGILL: {CPUS[cpu].withheld}" if CPUS[cpu].withheld else "")
    if found.get("test_sets") != wanted:
        wrong.append(f"test_sets: expected {wanted}, found {found.get('test_sets')}")
    return "\n     ".join(wrong)


def works(cpus: list[str], programs: dict[str, tuple[str, ...]], short: bool) -> dict[tuple[str, str], list[list[str]]]:
    """The pieces of each CPU's programs. In short each CPU has other images of test_images, which under emulation takes
    longer than all the rest; each has all of them in test_answers."""
    found = {(cpu, name): test_c.pieces(name, 1 if short else 3) for cpu in cpus for name in programs[cpu]}
    if short:
        sharing = [cpu for cpu in programs if "test_images" in programs[cpu]]
        for k, cpu in enumerate(sharing):
            if (cpu, "test_images") in found:
                found[cpu, "test_images"] = found[cpu, "test_images"][k :: len(sharing)]
    return found


def test_cpus(cpus: list[str], programs: dict[str, tuple[str, ...]], short: bool) -> bool:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        try:
            paths = build(cpus, programs, Path(name))
        except test_c.Failure as failure:
            print(f"FAIL {failure}")
            return False
        print(f"built in {time.monotonic() - start:.0f} s", flush=True)
        wanted, work = [], works(cpus, programs, short)
        for cpu in cpus:
            target, best = CPUS[cpu].target.name, CPUS[cpu].sets.split()[0]
            given = ["--kernels", best]
            wanted += [
                (cpu, name, [*emulated(cpu), paths[target, name], *given], work[cpu, name]) for name in programs[cpu]
            ]
        print(f"     {'CPU':20} {'kernel sets':26} {'hashes':>7} {'f32 off by':>11}  programs, seconds of processor")
        passed, found, took = True, {}, {}
        for cpu, program, said, seconds in test_c.execute_all(wanted):
            found.setdefault(cpu, {})[program] = said
            took.setdefault(cpu, {})[program] = seconds
            if len(found[cpu]) == len(programs[cpu]):
                wrong = judged(cpu, found[cpu]) or refused(cpu, paths)
                passed &= not wrong
                answers = re.search(r"(\d+) hashes.*off by at most (\S+)", str(found[cpu]["test_answers"]))
                counted, error = answers.groups() if answers else ("?", "?")
                times = " ".join(f"{name.removeprefix('test_')} {took[cpu][name]:.0f}" for name in programs[cpu])
                line = f"{'FAIL' if wrong else 'ok':4} {cpu:20} {CPUS[cpu].sets:26} {counted:>7} {error:>11}  {times}"
                print(line + (f"\n     {wrong}" if wrong else ""), flush=True)
    print(f"{time.monotonic() - start:.0f} s")
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpus", nargs="*", metavar="CPU", help=f"of {' '.join(CPUS)}; default: all")
    parser.add_argument("--short", action="store_true", help="less of it, for continuous integration")
    options = parser.parse_args()
    unknown = set(options.cpus) - set(CPUS)
    if unknown:
        parser.error(f"no such CPU: {' '.join(sorted(unknown))}; there are {' '.join(CPUS)}")
    programs = SHORT if options.short else dict.fromkeys(CPUS, ALL)
    try:
        passed = test_cpus(options.cpus or list(CPUS), programs, options.short)
    except Failure as failure:
        print(failure)
        return 2
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
