"""One case: every form of every peer loaded, checked, and timed in turns."""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import PEERS, check, nets
from .client import Peer, PeerError

WARM = 0.2
"""Part of a turn that is run before it, untimed, after another process had the caches."""


class Entrant:
    """A form of a peer in one mode."""

    def __init__(self, process: Peer, form: dict[str, Any], mode: str) -> None:
        self.process, self.form, self.mode = process, form, mode
        self.steps = 1
        self.rounds: list[float] = []

    def __str__(self) -> str:
        return f"{self.process.name} {self.form['name']}, {self.mode}"

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self.process.ask(do, form=self.form["name"], mode=self.mode, **arguments)

    def check(self, folder: Path) -> dict[str, float]:
        """Loads the form; the verdict on its answers."""
        self.ask("open", folder=str(folder))
        if not self.form["answers"]:
            return {}
        path = folder / "answers.npy"
        self.ask("answers", path=str(path))
        exact = np.load(folder / "y.npy")
        return asdict(check.judge(np.load(path).astype(np.float64), exact, self.form["quantized"]))

    def time(self, steps: int) -> float:
        """Nanoseconds a step."""
        return self.ask("time", steps=steps)["nanoseconds"]

    def calibrate(self, seconds: float) -> None:
        """The number of steps that fills a turn, whole calls."""
        per_call = nets.STEPS if self.mode == nets.SEQ else 1
        self.time(per_call)  # the first call is not like others
        calls = 1
        while (taken := self.time(calls * per_call) * calls * per_call * 1e-9) < seconds / 4 and calls < 1 << 20:
            calls *= 2
        self.steps = max(1, round(calls * seconds / taken)) * per_call

    def turn(self) -> None:
        self.time(max(1, round(WARM * self.steps)))
        self.rounds.append(self.time(self.steps))

    def figures(self) -> dict[str, Any]:
        """In microseconds a step."""
        low, median = min(self.rounds) / 1000, statistics.median(self.rounds) / 1000
        return {"median": median, "low": low, "rounds": [round(r / 1000, 5) for r in self.rounds], "steps": self.steps}


def case(folder: Path, names: list[str], rounds: int, seconds: float, log: Any) -> list[dict[str, Any]]:
    """Of each form and mode: its figures, or the reason why there are none."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Peer(name, log)) for name in names]
        rows, entrants = [], []
        for process in processes:
            for row, entrant in entries(process):
                rows.append(row)
                if entrant is None:
                    continue
                try:
                    row.update(entrant.check(folder))
                    entrant.calibrate(seconds)
                    entrants.append((row, entrant))
                except check.WrongError as error:
                    row["why"] = f"refused: {error}"
                    print(f"REFUSED {folder.name}: {entrant}: {error}", file=sys.stderr, flush=True)
                except (check.FloatError, PeerError) as error:
                    row["why"] = str(error)
                    print(f"left out, {folder.name}: {entrant}: {error}", file=sys.stderr, flush=True)
        order = random.Random(0)
        for _ in range(rounds):
            order.shuffle(entrants)
            for row, entrant in entrants:
                try:
                    entrant.turn()
                except PeerError as error:
                    row["why"] = str(error)
            entrants = [pair for pair in entrants if "why" not in pair[0]]
        for row, entrant in entrants:
            row.update(entrant.figures())
    return rows


def entries(process: Peer) -> Iterator[tuple[dict[str, Any], Entrant | None]]:
    """A row for each form and mode, with the entrant where the form has that mode."""
    try:
        hello = process.ask("hello")
    except PeerError as error:
        yield {"peer": process.name, "form": "all", "mode": nets.STREAM, "quantized": False, "why": str(error)}, None
        return
    for form in hello["forms"]:
        modes = (nets.CALL,) if nets.CALL in form["modes"] else (nets.STREAM, nets.SEQ)
        for mode in modes:
            row = {"peer": process.name, "form": form["name"], "mode": mode, "quantized": form["quantized"]}
            if mode in form["modes"]:
                yield row, Entrant(process, form, mode)
            else:
                yield row | {"why": form["why"]}, None


def versions(log: Any) -> dict[str, str]:
    """Of each peer that can be imported here."""
    found = {}
    for peer in PEERS:
        with Peer(peer.name, log) as process, contextlib.suppress(PeerError):
            found[peer.name] = process.ask("hello")["version"]
    return found
