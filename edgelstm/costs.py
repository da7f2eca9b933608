"""What was counted on each CPU, from costs.json: instructions by kind of layer; bytes of code, of structs, of stack.

tools/measure_firmware.py writes the file. A cost is one number for each term of work.py; the instructions of a layer
are the sum of its terms times their costs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .work import Work

FILE = Path(__file__).parent / "costs.json"
COMPILERS = {False: "gcc 12 at -O2", True: "gcc 12 at -O3"}
"""Whose code was counted, by whether it is Linux's."""
FEW = 300  # instructions: the error of what is less than this is a share of it


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Of one CPU, by its name in the file. Empty where nothing was counted."""

    kernels: dict[str, str]  # the set, by the model's number type
    step_scratch: int  # bytes a unit that the whole step of an LSTM takes
    instructions: dict[str, list[float | None]]  # by kind of work; None of a term that no sample had
    error: float  # the largest between predicted and counted, of all layers and whole models
    saturated: float  # the largest share of what is predicted that models take less whose values saturate
    folded: float  # the largest share of what was counted that may take no cycle: IT, and ends of loops
    stack: int | None  # bytes, at most, of opening and stepping; None of Linux, where a thread has megabytes
    stacked: list[str]  # the kinds of layers that this was measured of
    code: dict[str, dict[str, int]]  # bytes of flash, by the model's number type and the core's files
    step_path: int  # bytes of flash that a step of an LSTM in s8 runs through
    structs: dict[str, Any]  # bytes, by the model's number type; tools/measure_firmware.py has their shape

    def count(self, work: Work) -> int | None:
        """Instructions a step; None where this kind, or something of it, was not counted here."""
        costs = self.instructions.get(work.kind)
        if costs is None or any(cost is None and term for cost, term in zip(costs, work.terms, strict=True)):
            return None
        return round(sum((cost or 0) * term for cost, term in zip(costs, work.terms, strict=True)))

    @property
    def uncertain(self) -> float:
        """The largest share that a prediction may be too high by."""
        return max(self.error, self.saturated)

    def least(self, counted: int) -> float:
        """Of what count says of a layer, what is left with that off."""
        return max(0.0, counted - self.uncertain * max(counted, FEW))


@cache
def costs() -> dict[str, Costs]:
    return {name: Costs(**table) for name, table in json.loads(FILE.read_text("utf-8")).items()}
