"""CPUs and boards by name, from targets.toml: what they hold, how fast they can be at best, and who says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from .errors import InputError
from .toml import load, nothing_left, take

FILE = Path(__file__).parent / "targets.toml"
KERNELS = ("small", "dsp", "helium", "neon", "neon_dotprod")
MOST_PER_CYCLE = 8


@dataclass(frozen=True, slots=True)
class Core:
    """An instruction set as firmware or a library is built for it."""

    name: str
    title: str
    counted_as: str  # its name in costs.json
    kernels: str
    bits: int  # of a pointer
    float_unit: bool
    linux: bool  # it runs the library; else firmware
    compiler: str | None  # of firmware, with its options for this CPU
    instructions_per_cycle: int  # at most
    bound: str  # why, and who says so


@dataclass(frozen=True, slots=True)
class Target:
    """A board, or a core alone, of which clock and memory are unknown."""

    name: str
    title: str
    core: Core
    clock_hz: int | None
    flash_bytes: int | None  # None: a core alone, or Linux on a card
    ram_bytes: int | None
    source: str
    url: str


@cache
def targets() -> dict[str, Target]:
    """All of them by name: boards, then cores."""
    return read(FILE)


def find(name: str) -> Target:
    """The target of a name; InputError lists those there are."""
    known = targets()
    if name not in known:
        boards = ", ".join(n for n, t in known.items() if t.clock_hz)
        cores = ", ".join(n for n, t in known.items() if not t.clock_hz)
        raise InputError(f"no target {name!r}; boards: {boards}; CPUs: {cores}")
    return known[name]


def boards() -> tuple[Target, ...]:
    return tuple(target for target in targets().values() if target.clock_hz)


def read(path: Path) -> dict[str, Target]:
    """The targets of such a file. InputError says what is out of shape."""
    file = load(path)
    tables = {what: take(file, what, dict, path.name, required=True) for what in ("cores", "boards")}
    nothing_left(file, path.name)
    cores = {name: _core(name, table) for name, table in tables["cores"].items()}
    found = {name: _board(name, table, cores) for name, table in tables["boards"].items()}
    for core in cores.values():
        if core.name in found:
            raise InputError(f"{core.name} is a board and a CPU")
        found[core.name] = Target(core.name, core.title, core, None, None, None, core.bound, "")
    return found


def _core(name: str, table: dict[str, Any]) -> Core:
    where = f"core {name}"
    taken = {
        key: take(table, key, kind, where, required=True)
        for key, kind in (
            ("title", str), ("counted_as", str), ("kernels", str), ("bits", int), ("float_unit", bool),
            ("instructions_per_cycle", int), ("bound", str),
        )
    }  # fmt: skip
    linux = take(table, "linux", bool, where) or False
    compiler = take(table, "compiler", str, where, required=not linux)
    nothing_left(table, where)
    core = Core(name, **taken, linux=linux, compiler=compiler)
    if core.kernels not in KERNELS or core.bits not in (32, 64):
        raise InputError(f"{where}: kernels or bits are none that there are")
    _check_bound(core.instructions_per_cycle, where)
    return core


def _board(name: str, table: dict[str, Any], cores: dict[str, Core]) -> Target:
    where = f"board {name}"
    title, core, source, url = (
        take(table, key, str, where, required=True) for key in ("title", "core", "source", "url")
    )
    clock, ram = (take(table, key, int, where, required=True) for key in ("clock_hz", "ram_bytes"))
    flash = take(table, "flash_bytes", int, where)
    own = {key: take(table, key, kind, where) for key, kind in (("instructions_per_cycle", int), ("bound", str))}
    nothing_left(table, where)
    if core not in cores:
        raise InputError(f"{where}: no core {core!r}")
    if min(clock, ram, 1 if flash is None else flash) < 1 or not url.startswith("https://") or not source:
        raise InputError(f"{where}: clock, memory, source or url are none")
    known = cores[core]
    if any(value is not None for value in own.values()):  # a faster core of the same instruction set
        if None in own.values():
            raise InputError(f"{where}: instructions_per_cycle and bound go together")
        _check_bound(own["instructions_per_cycle"], where)
        known = replace(known, **own)
    return Target(name, title, known, clock, flash, ram, source, url)


def _check_bound(instructions: int, where: str) -> None:
    if not 1 <= instructions <= MOST_PER_CYCLE:
        raise InputError(f"{where}: {instructions} instructions a cycle are out of range")
