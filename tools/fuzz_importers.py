"""Fuzz the importers with atheris, each with inputs whose containers stay whole (tests/fuzz); 1 if anything is found.

    python tools/fuzz_importers.py --seconds 100                    all targets, 100 s together
    python tools/fuzz_importers.py --seconds 60 --target torch_zip
    python tools/fuzz_importers.py --target torch_zip FILE...       each file once, with what came of it
    python tools/fuzz_importers.py --once                           what the targets start from, once; without atheris

An input offends if anything but an EdgeLstmError escapes, if the message is no short printable line, if it takes more
than 5 s of processor time or 500 MB, opens another file, writes, imports or runs anything, or if the process dies.
What offends is kept in --findings, once for each place in the code.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz"), str(ROOT / "tests" / "hostile")]

LARGEST = 65536  # bytes of an input
KEPT = 24 << 10  # bytes of inputs that --keep adds for a target
HANGS = 60  # seconds after which libFuzzer ends the process


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="run these once instead of fuzzing")
    parser.add_argument("--seconds", type=int, default=100, help="in total, shared among the targets (default: 100)")
    parser.add_argument("--target", action="append", metavar="NAME", help="may be given several times; default: all")
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="where inputs that offend are kept"
    )
    parser.add_argument("--once", action="store_true", help="each target's seeds and corpus once; no fuzzing")
    parser.add_argument("--keep", type=Path, help="a folder for the smallest inputs that reached something new")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return fuzz(options)
    import targets

    names = options.target or list(targets.TARGETS)
    if unknown := set(names) - set(targets.TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets.TARGETS)}")
    if options.files:
        return once({name: [(str(file), file.read_bytes()) for file in options.files] for name in names})
    if options.once:
        return once({name: targets.seeds(name) for name in names}, quiet=True)
    options.findings.mkdir(parents=True, exist_ok=True)
    print(f"{'target':14} {'seconds':>8} {'executions':>11} {'coverage':>9} {'features':>9} {'findings':>9}")
    found = sum(run(name, max(1, options.seconds // len(names)), options) for name in names)
    print(f"{found} findings" + (f" in {options.findings}" if found else ""))
    return 1 if found else 0


def once(inputs: dict[str, list[tuple[str, bytes]]], quiet: bool = False) -> int:
    """What the law says of some inputs of each target; `quiet` shows those that offend alone."""
    import targets
    from law import judge

    bad = 0
    place = targets.Place()
    for name, files in inputs.items():
        targets.warm(name, place)
        for file, data in files:
            verdict = judge(*targets.prepared(name, data, place))
            bad += bool(verdict.offences)
            if verdict.offences or not quiet:
                said = "; ".join(verdict.offences) or verdict.message or "read"
                print(f"{name} {file}: {said} ({verdict.seconds:.2f} s, {verdict.memory >> 20} MB)")
    shutil.rmtree(place.folder)
    print(f"{len(inputs)} targets, {sum(map(len, inputs.values()))} inputs, {bad} offend")
    return 1 if bad else 0


def run(name: str, seconds: int, options: argparse.Namespace) -> int:
    """Fuzz one target in processes of their own until the time is up; the number of findings."""
    end, seed = time.monotonic() + seconds, options.seed
    executions, cover, features, deaths = 0, 0, 0, 0
    before = set(options.findings.glob(f"{name}-*"))
    with tempfile.TemporaryDirectory() as corpus:
        fill(name, Path(corpus))
        while (left := int(end - time.monotonic())) >= 1:
            command = [sys.executable, __file__, "--child", "--target", name, "--seconds", str(left)]
            command += ["--findings", str(options.findings), "--seed", str(seed), corpus]
            done = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
            )
            counts = [int(n) for n in re.findall(r"^#(\d+)\s", done.stderr, re.MULTILINE)]
            executions += max(counts, default=0)
            cover = max([cover, *(int(n) for n in re.findall(r" cov: (\d+)", done.stderr))])
            features = max([features, *(int(n) for n in re.findall(r" ft: (\d+)", done.stderr))])
            sys.stderr.write("".join(re.findall(r"^finding: .*\n", done.stderr, re.MULTILINE)))
            if done.returncode != 0:
                deaths += 1
                print(f"{name}: the process ended with {done.returncode}: {done.stderr[-3000:]}", file=sys.stderr)
                if executions == 0 or deaths > 20:
                    break
            seed += 1
        if options.keep:
            keep(name, Path(corpus), options.keep / name)
    found = len(set(options.findings.glob(f"{name}-*")) - before) or (1 if deaths else 0)
    print(f"{name:14} {seconds:8} {executions:11,} {cover:9,} {features:9,} {found:9}", flush=True)
    return found


def keep(name: str, corpus: Path, folder: Path) -> None:
    """Adds what reached something new to a folder, the smallest first, as long as they are few bytes."""
    import targets

    folder.mkdir(parents=True, exist_ok=True)
    known = {data for _, data in targets.seeds(name)}
    left = KEPT - sum(path.stat().st_size for path in folder.iterdir())
    for path in sorted(corpus.iterdir(), key=lambda path: path.stat().st_size):
        left -= path.stat().st_size
        if left < 0:
            break
        if path.read_bytes() not in known:
            shutil.copy(path, folder / path.name)


def fill(name: str, corpus: Path) -> None:
    import targets

    for file, data in targets.seeds(name):
        (corpus / f"{hashlib.sha1(data).hexdigest()[:10]}-{file}").write_bytes(data)


def fuzz(options: argparse.Namespace) -> int:
    """The process that libFuzzer works in; it does not return."""
    import atheris

    (name,) = options.target
    with atheris.instrument_imports(include=["edgelstm"], enable_loader_override=False):
        import targets

        target, place = targets.TARGETS[name], targets.Place()
        targets.warm(name, place)  # which imports the importer
    from law import judge

    known: set[str] = set()

    def one(data: bytes) -> None:
        verdict = judge(*target.prepare(data, place))
        for offence in verdict.offences:
            kind = re.sub(r"\d+(\.\d+)? (s|MB)\b|'.*|\(.*", "", offence)
            if kind not in known:
                known.add(kind)
                file = options.findings / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}"
                file.write_bytes(data)
                print(f"finding: {name}: {offence[:300]!r} -> {file}", file=sys.stderr, flush=True)

    def change(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        changed = target.change(data, random, lambda part: atheris.Mutate(part, min(most, 2 * len(part) + 64)))
        return changed[:most]

    settings: dict[str, Any] = {
        "max_total_time": options.seconds,
        "max_len": LARGEST,
        "len_control": 0,
        "timeout": HANGS,
        "rss_limit_mb": 3000,
        "seed": options.seed,
        "artifact_prefix": f"{options.findings}/{name}-",
    }
    arguments = [sys.argv[0], *(f"-{key}={value}" for key, value in settings.items()), *map(str, options.files)]
    atheris.Setup(arguments, one, custom_mutator=change)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
