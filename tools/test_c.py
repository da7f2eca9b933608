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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import golden_answers

from edgelstm.description import describe
from edgelstm.layout import in_layout

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "src_c").glob("*.c"))
TESTS = ROOT / "tests" / "c"
IMAGES = sorted(str(path) for path in (ROOT / "tests" / "golden" / "images").glob("*.elstm"))
PROGRAMS = sorted(path.stem for path in TESTS.glob("test_*.c"))
HOSTILE = "test_model_open"
FUZZER = "fuzz_model_open"
HOSTILE_ROWS = ("s8_stacked", "s8_rnn", "s8_windows_even")  # cells side by side, in blocks, windows
SETS = ("kernels_avx", "kernels_neon")
PIECES = 4
"""Into which the golden images are divided: each image is a world of its own."""

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


def run_bytes(command: list[str], folder: Path | None = None, given: bytes = b"") -> bytes:
    """What a command wrote, on its standard output if it wrote anything there; Failure if it fails."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, input=given)
    if done.returncode != 0:
        output, errors = (stream[-8000:].decode(errors="replace") for stream in (done.stdout, done.stderr))
        said = f"{Path(command[0]).name} ended with {done.returncode}\n{output}{errors}"
        raise Failure(f"{said}\n  in: {shlex.join(command)}")
    return done.stdout or done.stderr


def run(command: list[str], folder: Path | None = None, given: bytes = b"") -> str:
    """The same as text."""
    return run_bytes(command, folder, given).decode(errors="replace")


class Build:
    """The core as objects, compiled once for all programs that share its flags."""

    def __init__(
        self,
        compiler: list[str],
        flags: list[str],
        folder: Path,
        link: Sequence[str] = ("-lm",),
        core: Sequence[Path] = CORE,
    ) -> None:
        self.compiler, self.flags, self.folder, self.link, self.core = compiler, flags, folder, link, core
        folder.mkdir()

    def compile(self, source: Path) -> None:
        flags = self.flags
        if "-fsanitize=fuzzer" in flags and source.name.startswith(SETS):
            flags = [*flags, "-O0"]  # clang works on the larger sets for minutes, unless told not to
        run([*self.compiler, *FLAGS, *flags, *INCLUDES, "-c", str(source)], self.folder)

    def program(self, name: str) -> str:
        """Link a program whose objects are there."""
        target, core = str(self.folder / name), [str(self.folder / f"{path.stem}.o") for path in self.core]
        run([*self.compiler, *self.flags, str(self.folder / f"{name}.o"), *core, *self.link, "-o", target])
        return target


def compile_all(wanted: Sequence[tuple[Build, str]]) -> None:
    """The objects of these programs, the largest sources first, as many at a time as there are processors."""
    sources = {(build, path) for build, name in wanted for path in (*build.core, TESTS / f"{name}.c")}
    ordered = sorted(sources, key=lambda each: -each[1].stat().st_size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda each: each[0].compile(each[1]), ordered):
            pass


def build_program(build: Build, name: str) -> str:
    compile_all([(build, name)])
    return build.program(name)


def pieces(name: str, rounds: int) -> list[list[str]]:
    """The arguments of a program's work, in pieces that may run at the same time."""
    if name == "test_kernels":  # its rounds differ in the seed alone
        return [["--rounds", "1", "--seed", str(1 + 1000003 * k)] for k in range(rounds)]
    if name in ("test_sets", "test_freestanding"):
        return [[]]
    if name == "test_answers":
        return [IMAGES]
    by_size = sorted(IMAGES, key=lambda image: Path(image).stat().st_size)
    return [by_size[k::PIECES] for k in range(PIECES)]


def added(said: list[str]) -> str:
    """What pieces said as one, the counts in it added up."""
    counts = [[int(word) for word in each.split() if word.isdigit()] for each in said]
    sums = [sum(column) for column in zip(*counts, strict=True)]
    return " ".join(str(sums.pop(0)) if word.isdigit() else word for word in said[0].split())


def execute(name: str, command: list[str], arguments: list[str]) -> str:
    """Run a built program, what it wrote judged where it does not judge itself; what there is to say of it."""
    if name == "test_freestanding":
        said = [run(command, given=Path(image).read_bytes()) for image in IMAGES][-1]
    elif name == "test_answers":
        try:
            images = {Path(path).stem for path in arguments}
            return golden_answers.check(run_bytes([*command, *arguments]), images)
        except golden_answers.Mismatch as mismatch:
            raise Failure(str(mismatch)) from None
    else:
        said = run([*command, *arguments])
    return said.strip().splitlines()[-1].removeprefix(f"{name}: ")


def execute_all(
    wanted: Sequence[tuple[str, str, list[str], list[list[str]]]],
) -> Iterator[tuple[str, str, str | Failure, float]]:
    """Run programs, (label, name, command, pieces of work) each, as many pieces at a time as there are processors:
    label, name, what it said or its failure, and the seconds that its pieces took together."""

    def timed(name: str, command: list[str], arguments: list[str]) -> tuple[str, float]:
        start = time.monotonic()
        return execute(name, command, arguments), time.monotonic() - start

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [
            (label, name, [pool.submit(timed, name, command, piece) for piece in work])
            for label, name, command, work in wanted
        ]
        for label, name, work in running:
            try:
                done = [piece.result() for piece in work]
                yield label, name, added([said for said, _ in done]), sum(took for _, took in done)
            except Failure as failure:
                yield label, name, failure, 0


def report(label: str, name: str, said: str | Failure, seconds: float) -> bool:
    """Print a program's line; whether it passed."""
    if isinstance(said, Failure):
        print(f"FAIL {name:18} {label}: {said}", flush=True)
        return False
    print(f"ok   {name:18} {label}, {seconds:.1f} s: {said}", flush=True)
    return True


def run_tests(options: argparse.Namespace, folder: Path) -> bool:
    compiler, runner = shlex.split(options.cc), shlex.split(options.run or "")
    wanted: list[tuple[Build, str]] = []
    labels = {}
    if not options.optimized and (options.sanitize or not options.run):
        build = Build(compiler, SANITIZED, folder / "sanitizers")
        labels[build] = f"{options.cc} sanitizers"
        # without libc there are no sanitizers: test_freestanding runs below, or not at all with --sanitize
        wanted += [(build, name) for name in options.programs if name != "test_freestanding"]
    if not options.sanitize:
        optimized = Build(compiler, OPTIMIZED, folder / "optimized")
        bare = Build(compiler, FREESTANDING, folder / "freestanding", LINK_FREESTANDING)
        labels |= {optimized: f"{options.cc} -O3", bare: f"{options.cc} freestanding"}
        wanted += [(bare if name == "test_freestanding" else optimized, name) for name in options.programs]
    start = time.monotonic()
    try:
        compile_all(wanted)
        given = [] if options.kernels is None else ["--kernels", options.kernels]
        programs = []
        for build, name in wanted:
            work = pieces(name, options.rounds)
            if name == HOSTILE and sum(other == HOSTILE for _, other in wanted) > 1 and build.flags == OPTIMIZED:
                work = work[:1]  # of images that the sanitizers' build has all: what the optimizer makes of the checks
            programs.append((labels[build], name, [*runner, build.program(name), *given], work))
    except Failure as failure:
        print(f"FAIL {failure}")
        return False
    print(f"built in {time.monotonic() - start:.0f} s", flush=True)
    passed = True
    for result in execute_all(programs):
        passed &= report(*result)
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
    hostile = [path for path in images if Path(path).stem in HOSTILE_ROWS]
    core = [path for path in CORE if not path.name.startswith(SETS)]  # which this build leaves out
    flags = [*SANITIZED, "-DELSTM_LAYOUT_ROWS=1"]
    build = Build(shlex.split(options.cc), flags, folder / "objects", core=core)
    passed = len(hostile) == len(HOSTILE_ROWS)
    work = {"test_answers": images, "test_images": images, "test_rows": images, "test_model_open": hostile}
    compile_all([(build, name) for name in work])
    for name, given in work.items():
        start = time.monotonic()
        said: str | Failure
        try:
            said = execute(name, [build.program(name)], given)
        except Failure as failure:
            said = failure
        passed &= report(f"{options.cc} rows layout", name, said, time.monotonic() - start)
    return passed


def run_fuzzer(options: argparse.Namespace, folder: Path) -> bool:
    """libFuzzer where the compiler has it, else the seeded mutations of the program's own main."""
    compiler = shlex.split(options.cc)
    corpus = folder / "corpus"
    corpus.mkdir()
    try:
        engine = ["-fsanitize=fuzzer", "-DFUZZ_WITH_LIBFUZZER"]
        program = build_program(Build(compiler, SANITIZED + engine, folder / "libfuzzer", []), FUZZER)
        given = [f"-max_total_time={options.fuzz}", "-max_len=65536", str(corpus)]
        given.append(str(ROOT / "tests" / "golden" / "images"))
        label = f"{options.cc} libFuzzer"
    except Failure as failure:
        if "fuzzer" not in str(failure):
            print(f"FAIL {FUZZER}: {failure}")
            return False
        program = build_program(Build(compiler, SANITIZED, folder / "plain", []), FUZZER)
        given = ["--seconds", str(options.fuzz), *IMAGES]
        label = f"{options.cc} seeded mutations"
    start = time.monotonic()
    said: str | Failure
    try:
        said = run([*shlex.split(options.run or ""), program, *given]).strip().splitlines()[-1]
    except Failure as failure:
        said = failure
    return report(label, FUZZER, said, time.monotonic() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", help=f"default: {' '.join(PROGRAMS)}")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"), help="compiler, with options if need be")
    parser.add_argument("--sanitize", action="store_true", help="only the build under ASan and UBSan")
    parser.add_argument("--optimized", action="store_true", help="only the build at -O3")
    parser.add_argument("--run", help="an emulator's command, put before each program; -O3 only without --sanitize")
    parser.add_argument("--kernels", help="fail unless this is the set that a runner gets by default")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of test_kernels, each with a seed of its own; default: 3"
    )
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
            program = build_program(Build(shlex.split(options.cc), OPTIMIZED, folder / "bench"), "test_kernels")
            return subprocess.call([*shlex.split(options.run or ""), program, "--bench"])
        work = run_fuzzer if options.fuzz else run_rows if options.rows else run_tests
        return 0 if work(options, folder) else 1


if __name__ == "__main__":
    sys.exit(main())
