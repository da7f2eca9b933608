"""Reads hostile files, one after the other, and says of each how the law was kept: a line of JSON.

    PYTHONPATH=. python tests/hostile/run.py FOLDER NAME...

Before each verdict stands a line with the file's name, so that who reads them knows which one a dead process was at.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import GOLDEN, Case, Yard
from law import Verdict, _status, faults, judge
from opens import Watcher

from edgelstm import Runner, arrays, cli, importers, meta_file
from edgelstm.errors import EdgeLstmError
from edgelstm.image import pack

HANGS = 40  # seconds on the clock after which a file has hung
ACTIVITY = importers.read(GOLDEN / "torch" / "activity.pt", head="relu,softmax")


def action(case: Case, path: Path) -> Callable[[], object]:
    """What a user does with the file."""
    match case.door:
        case "convert":
            return lambda: pack(importers.read(path))
        case "image":
            return lambda: Runner(path)
        case "meta":
            return lambda: meta_file.describe(ACTIVITY, path)
        case "samples":
            return lambda: arrays.load(path, ("x",))
    if case.weights is not None:
        return lambda: importers.read(case.weights, architecture=path)
    return lambda: importers.read(path, head=case.head)


def warm(yard: Yard) -> None:
    """Loads what importers load when first needed."""
    importers.read(yard.secrets / "good.onnx")
    importers.read(yard.secrets / "good.tflite")
    with contextlib.suppress(EdgeLstmError):
        importers.read(yard.secrets / "good.npz")
    for place in (
        "keras/keras315_stack.keras",
        "torch/activity.safetensors",
        "torch/alone.pt",
        "images/f32_alone.elstm",
    ):
        path = GOLDEN / place
        with contextlib.suppress(EdgeLstmError):
            Runner(path) if path.suffix == ".elstm" else importers.read(path)
    for case in (Case("no such file", "", lambda y: b""), Case("no such file", "", lambda y: b"", door="samples")):
        with contextlib.suppress(EdgeLstmError):
            action(case, Path("no such file"))()


def by_command(case: Case, path: Path) -> list[str]:
    """What is wrong with what the command line says of the file."""
    target = path.with_name("converted.elstm")
    arguments = ["inspect", str(path)] if case.door == "image" else ["convert", str(path), "-o", str(target)]
    if case.weights is not None:
        arguments = ["convert", str(case.weights), "-o", str(target), "--architecture", str(path)]
        if case.door == "meta":
            arguments[-2:] = ["--meta", str(path), "--head", "relu,softmax"]
    said, complained = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = cli.main.main(arguments, standalone_mode=False) or 0
    texts = []
    for stream in (said, complained):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    found = [f"the command wrote {line!r}" for line in texts[0].split("\n") if not line.isprintable()]
    lines = texts[1].splitlines(keepends=True)
    if case.words is None and code == 0:
        return found
    if code != 2:
        found.append(f"the command ended with {code}")
    if texts[0] or len(lines) != 1:
        found.append(f"the command wrote {texts[0][:200]!r} and {texts[1][:200]!r}, expected one line of complaint")
    found += [
        f"of the command, {fault}"
        for fault in faults("".join(lines).rstrip("\n").removeprefix("edgelstm: "), str(path))
    ]
    if target.exists():
        found.append("the command wrote an image")
    return found


def main() -> int:
    from catalogue import CASES

    place = Yard.of(Path(sys.argv[1]))
    warm(place)
    watcher = Watcher(place.files, place.secrets, place.secrets / "plugins", place.secrets / "pipe")
    limit = _status("VmSize:") + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name in sys.argv[2:]:
        case, path = CASES[name], place.files / name
        print(name, flush=True)
        faulthandler.dump_traceback_later(HANGS, exit=True)
        watcher.seen()
        allowed = {str(path)} | ({str(case.weights)} if case.weights else set())
        verdict = judge(action(case, path), allowed, str(path))
        offences = [*verdict.offences]
        for what, seen in watcher.seen():
            if what != "opened" or seen != path:
                offences.append(f"{what} {seen}")
        if case.door != "samples" and (len(name) % 5 == 0 or "escapes" in name) and not case.slow:
            offences += by_command(case, path)
        if place.ran.exists():
            offences.append("ran its code")
            place.ran.unlink()
        faulthandler.cancel_dump_traceback_later()
        full = Verdict(verdict.message, tuple(offences), verdict.place, verdict.seconds, verdict.memory)
        print(json.dumps(asdict(full)), flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
