"""Build the C tests with a chosen compiler and run them, one line a program; not zero at the end if any fails.

    python tools/test_c.py                                   natively: under sanitizers, then at -O3
    python tools/test_c.py --cc clang --sanitize test_model_open
    python tools/test_c.py --cc aarch64-linux-gnu-gcc --run "qemu-aarch64 -cpu cortex-a53 -L /usr/aarch64-linux-gnu" \
        --kernels neon
    python tools/test_c.py --cc clang --fuzz 60
    python tools/test_c.py --rows                            the rows layout: golden images moved to it
    python tools/test_c.py --bench
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgelstm.description import describe
from edgelstm.layout import in_layout

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted(str(path) for path in (ROOT / "src_c").glob("*.c"))
TESTS = ROOT / "tests" / "c"
IMAGES = sorted(str(path) for path in (ROOT / "tests" / "golden" / "images").glob("*.elstm"))
PROGRAMS = sorted(path.stem for path in TESTS.glob("test_*.c"))
FUZZER = "fuzz_model_open"
HOSTILE_ROWS = ("s8_stacked", "s8_rnn", "s8_windows_even")  # cells side by side, in blocks, windows
SETS = ("kernels_avx", "kernels_neon")

# the set for small CPUs too, in either of its forms
FLAGS = ["-std=c99", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-g"]
FLAGS += ["-DELSTM_BUILDS_SMALL"]
INCLUDES = [f"-I{ROOT / 'src_c'}", f"-I{TESTS}"]
OPTIMIZED = ["-O3"]
# float-cast-overflow is not among gcc's and clang's `undefined`
SANITIZED = ["-O2", "-fno-omit-frame-pointer", "-fsanitize=address,undefined,float-cast-overflow"]
SANITIZED += ["-fno-sanitize-recover=all", "-DELSTM_SMALL_FEW_REGISTERS"]
FREESTANDING = ["-O2", "-ffreestanding", "-fno-stack-protector", "-fno-builtin", "-fno-pic"]
LINK_FREESTANDING = ["-nostdlib", "-static", "-lgcc"]
ENVIRONMENT = os.environ | {
    # abort, so that check.h names the case
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
}


class Failure(Exception):
    """A build or a program that failed; the text is what it said."""


def run(command: list[str], folder: Path | None = None, given: bytes = b"") -> str:
    """What a command said, on its standard output if it said anything there; Failure if it fails."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, input=given)
    output, errors = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    if done.returncode != 0:
        said = f"{Path(command[0]).name} ended with {done.returncode}\n{output}{errors}"
        raise Failure(f"{said}\n  in: {shlex.join(command)}")
    return output or errors


class Build:
    """The core as objects, compiled once for all programs that share its flags."""

    def __init__(self, compiler: list[str], flags: list[str], folder: Path, core: list[str] = CORE) -> None:
        self.compiler, self.flags, self.folder, self.core = compiler, flags, folder, core
        self.objects: list[str] = []

    def program(self, name: str, link: list[str]) -> str:
        if not self.objects:
            self.folder.mkdir()
            command = [*self.compiler, *FLAGS, *self.flags, *INCLUDES, "-c"]
            if "-fsanitize=fuzzer" in self.flags:  # clang works on the larger sets for minutes, unless told not to
                run([*command, "-O0", *(path for path in CORE if Path(path).name.startswith(SETS))], self.folder)
                run([*command, *(path for path in CORE if not Path(path).name.startswith(SETS))], self.folder)
            else:
                run([*command, *self.core], self.folder)
            self.objects = sorted(str(path) for path in self.folder.glob("*.o"))
        target = str(self.folder / name)
        source = str(TESTS / f"{name}.c")
        run([*self.compiler, *FLAGS, *self.flags, *INCLUDES, source, *self.objects, *link, "-o", target])
        return target


def execute(name: str, command: list[str], kernels: str | None) -> str:
    """Run a built program on the golden images where it reads some; what it said last."""
    wanted = [] if kernels is None else ["--kernels", kernels]
    if name == "test_freestanding":
        said = [run(command, given=Path(image).read_bytes()) for image in IMAGES]
    else:
        said = [run([*command, *wanted, *([] if name in ("test_kernels", "test_sets") else IMAGES)])]
    return said[-1].strip().splitlines()[-1].removeprefix(f"{name}: ")


def report(label: str, name: str, work: Callable[[], str]) -> bool:
    """Do the work of one program and print its line; whether it passed."""
    start = time.monotonic()
    try:
        said = work()
    except Failure as failure:
        print(f"FAIL {name:18} {label}: {failure}", flush=True)
        return False
    print(f"ok   {name:18} {label}, {time.monotonic() - start:.1f} s: {said}", flush=True)
    return True


def run_tests(options: argparse.Namespace, folder: Path) -> bool:
    compiler, runner = shlex.split(options.cc), shlex.split(options.run or "")
    builds = {}
    if not options.optimized and (options.sanitize or not options.run):
        builds["sanitizers"] = Build(compiler, SANITIZED, folder / "sanitizers")
    if not options.sanitize:
        builds["-O3"] = Build(compiler, OPTIMIZED, folder / "optimized")
        freestanding = Build(compiler, FREESTANDING, folder / "freestanding")
    passed = True
    for label, build in builds.items():
        for name in options.programs:
            bare = name == "test_freestanding"
            if bare and label == "sanitizers":
                continue  # without libc there are no sanitizers; it runs below, or not at all with --sanitize
            here, link = (freestanding, LINK_FREESTANDING) if bare else (build, ["-lm"])

            def work(here: Build = here, name: str = name, link: list[str] = link) -> str:
                return execute(name, [*runner, here.program(name, link)], options.kernels)

            passed &= report(f"{options.cc} {'freestanding' if bare else label}", name, work)
    return passed


def run_rows(options: argparse.Namespace, folder: Path) -> bool:
    """A core that reads the rows layout, on those golden images that have it, under sanitizers. Of hostile ones a few
    are enough: all that differs is where the checks of weights look."""
    folder = folder / "rows"
    folder.mkdir()
    images = []
    for path in IMAGES:
        image = Path(path).read_bytes()
        if describe(image).number_type != "f32":
            images.append(str(folder / Path(path).name))
            Path(images[-1]).write_bytes(in_layout(image, "rows"))
    shutil.copy(Path(IMAGES[0]).with_name("answers.txt"), folder)
    hostile = [path for path in images if Path(path).stem in HOSTILE_ROWS]
    core = [path for path in CORE if not Path(path).name.startswith(SETS)]  # which this build leaves out
    build = Build(shlex.split(options.cc), [*SANITIZED, "-DELSTM_LAYOUT_ROWS=1"], folder / "objects", core)
    passed = len(hostile) == len(HOSTILE_ROWS)
    for name, given in (("test_images", images), ("test_rows", images), ("test_model_open", hostile)):

        def work(name: str = name, given: list[str] = given) -> str:
            return run([build.program(name, ["-lm"]), *given]).strip().splitlines()[-1].removeprefix(f"{name}: ")

        passed &= report(f"{options.cc} rows layout", name, work)
    return passed


def run_fuzzer(options: argparse.Namespace, folder: Path) -> bool:
    """libFuzzer where the compiler has it, else the seeded mutations of the program's own main."""
    compiler = shlex.split(options.cc)
    corpus = folder / "corpus"
    corpus.mkdir()
    try:
        engine = ["-fsanitize=fuzzer", "-DFUZZ_WITH_LIBFUZZER"]
        program = Build(compiler, SANITIZED + engine, folder / "libfuzzer").program(FUZZER, [])
        given = [f"-max_total_time={options.fuzz}", "-max_len=65536", str(corpus)]
        given.append(str(ROOT / "tests" / "golden" / "images"))
        label = f"{options.cc} libFuzzer"
    except Failure as failure:
        if "fuzzer" not in str(failure):
            print(f"FAIL {FUZZER}: {failure}")
            return False
        program = Build(compiler, SANITIZED, folder / "plain").program(FUZZER, [])
        given = ["--seconds", str(options.fuzz), *IMAGES]
        label = f"{options.cc} seeded mutations"
    command = [*shlex.split(options.run or ""), program, *given]
    return report(label, FUZZER, lambda: run(command).strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", help=f"default: {' '.join(PROGRAMS)}")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"), help="compiler, with options if need be")
    parser.add_argument("--sanitize", action="store_true", help="only the build under ASan and UBSan")
    parser.add_argument("--optimized", action="store_true", help="only the build at -O3")
    parser.add_argument("--run", help="an emulator's command, put before each program; -O3 only without --sanitize")
    parser.add_argument("--kernels", help="fail unless this is the set that a runner gets by default")
    parser.add_argument("--fuzz", type=int, metavar="SECONDS", help=f"{FUZZER} alone, for so long")
    parser.add_argument("--rows", action="store_true", help="the core built for the rows layout alone")
    parser.add_argument("--bench", action="store_true", help="time every kernel of every set; a Markdown table")
    options = parser.parse_args()
    unknown = set(options.programs) - set(PROGRAMS)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    options.programs = options.programs or PROGRAMS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.bench:
            program = Build(shlex.split(options.cc), OPTIMIZED, folder / "bench").program("test_kernels", ["-lm"])
            return subprocess.call([*shlex.split(options.run or ""), program, "--bench"])
        work = run_fuzzer if options.fuzz else run_rows if options.rows else run_tests
        return 0 if work(options, folder) else 1


if __name__ == "__main__":
    sys.exit(main())
