"""Runs one peer in a process of its own: python -m peers.server PEER.

Reads a command a line as JSON and answers with one. `open` loads a form of a case for a mode, `answers` writes what it
makes of the case's x.npy, `time` gives nanoseconds a step. It waits on its pipe while others run.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from . import find, nets

FRESH = 1000
"""New arrays made at a time; as many as the second-level cache holds beside a small net."""


class Server:
    """The peer's module and what it has loaded."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.module = importlib.import_module(f"peers.{find(peer).module}")
        self.loaded: dict[tuple[str, str], Any] = {}

    def hello(self) -> dict[str, Any]:
        return {"forms": [asdict(form) for form in self.module.FORMS], "version": version(find(self.peer).package)}

    def open(self, folder: str, form: str, mode: str) -> dict[str, Any]:
        self.x = np.load(Path(folder) / "x.npy")
        self.loaded[form, mode] = self.module.load(self.peer, Path(folder), form, mode)
        return {}

    def answers(self, form: str, mode: str, path: str) -> dict[str, Any]:
        np.save(path, answers(self.loaded[form, mode], self.x))
        return {}

    def time(self, form: str, mode: str, steps: int) -> dict[str, Any]:
        return {"nanoseconds": nanoseconds(self.loaded[form, mode], self.x, steps)}


def version(package: str | None) -> str:
    """An installed package's version."""
    try:
        return metadata.version(package) if package else ""
    except metadata.PackageNotFoundError:
        return "not installed, run from its source"


def answers(loaded: Any, x: np.ndarray) -> np.ndarray:
    """The answers [STEPS, outputs] to x [STEPS, inputs], from a reset state."""
    match loaded:
        case nets.Steps():
            loaded.reset()
            rows = [loaded.step(row.reshape(loaded.shape)).reshape(-1)[: loaded.outputs].copy() for row in x]
            return np.array(rows)
        case nets.Sequence():
            return loaded.run(x.reshape(loaded.shape)).reshape(len(x), -1)
        case _:
            return loaded.answers(x)


def nanoseconds(loaded: Any, x: np.ndarray, steps: int) -> float:
    """Nanoseconds a step over at least so many steps."""
    match loaded:
        case nets.Steps():
            counts = [min(FRESH, steps - done) for done in range(0, steps, FRESH)]
            return sum(stream(loaded, x, count) for count in counts) / steps
        case nets.Sequence():
            calls = -(-steps // nets.STEPS)
            return sum(sequence(loaded, x) for _ in range(calls)) / (calls * nets.STEPS)
        case _:
            return loaded.nanoseconds(steps)


def stream(loaded: nets.Steps, x: np.ndarray, count: int) -> int:
    """Nanoseconds of steps, each with an array it has not seen before and one read of its answer."""
    step = loaded.step
    rows = [row.reshape(loaded.shape) for row in x]
    fresh = [row.copy() for row in itertools.islice(itertools.cycle(rows), count)]
    start = time.perf_counter_ns()
    for row in fresh:
        step(row).item(0)
    middle = time.perf_counter_ns()
    for _ in fresh:
        pass
    return 2 * middle - start - time.perf_counter_ns()


def sequence(loaded: nets.Sequence, x: np.ndarray) -> int:
    """Nanoseconds of a call with a sequence it has not seen before and one read of its answer."""
    fresh = x.reshape(loaded.shape).copy()
    start = time.perf_counter_ns()
    loaded.run(fresh).item(0)
    return time.perf_counter_ns() - start


def main() -> None:
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    server = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if server is None:
                server = Server(sys.argv[1])
            reply = getattr(server, command.pop("do"))(**command)
        except Exception as error:  # of any library: it is an answer, with which the form is listed as missing
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=pipe, flush=True)


if __name__ == "__main__":
    main()
