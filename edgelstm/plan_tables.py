"""A plan as tables and sentences for a terminal of 80 columns, and as data for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from .plan import Line, Plan
from .report_tables import table

MARKS = {None: "", True: "[green]✓[/]", False: "[red]✗[/]"}


def size(count: float) -> str:
    """Bytes with three digits; exact below 10,000."""
    if count < 10_000:
        return f"{count:,.0f} B"
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1024:.0f} KB"


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def show(out: Console, made: Plan) -> None:
    """One target: what is needed beside what there is, then each layer."""
    target = made.target
    grid = table(f"{target.title}, {made.kernels} kernels", ("",), ("needed", "of", "used"))
    grid.add_column("")
    grid.add_row("flash", *_row(made.flash, size))
    grid.add_row("  image", size(made.image))
    if made.code is not None:
        grid.add_row("  code", size(made.code))
    grid.add_row("RAM", *_row(made.ram, size))
    grid.add_row("  arena", size(made.arena))
    grid.add_row("  structs", size(made.structs))
    grid.add_row("  stack", "not measured" if made.stack is None else size(made.stack))
    grid.add_row("multiplications a step", f"{made.macs:,}")
    if made.instructions is not None:
        grid.add_row(f"instructions a step, within {made.error:.1%}", f"{made.instructions:,}")
    grid.add_row("time a step, at least", *_row(made.time, duration))
    out.print(grid)
    for reason in made.uncounted:
        out.print(f"instructions not counted: {reason}", style="yellow", markup=False, soft_wrap=True)
    for sentence in sentences(made):
        out.print(sentence, style="red" if made.refused else None, markup=False, soft_wrap=True)


def show_all(out: Console, plans: Sequence[Plan], name: str) -> None:
    """A line for each board."""
    grid = table(f"{name} on boards", ("board",), ("flash", "RAM", "instructions", "time, at least"))
    for made in plans:
        flash, ram, time = made.lines
        cells = [_cell(flash, size), _cell(ram, size)]
        cells += ["" if made.instructions is None else f"{made.instructions:,}", _cell(time, duration)]
        grid.add_row(made.target.name, *cells)
    out.print(grid)
    for reason in dict.fromkeys(reason for made in plans for reason in made.uncounted):
        out.print(f"not counted: {reason}", style="yellow", markup=False, soft_wrap=True)


def show_layers(out: Console, made: Plan) -> None:
    """What each layer takes on a target."""
    heads = ("flash", "RAM", "MACs / step", "instructions")
    grid = table(f"layers on {made.target.title}, {made.kernels} kernels, bytes", ("layer", "kind"), heads)
    for layer in made.layers:
        numbers = [f"{n:,}" for n in (layer.weights, layer.ram, layer.macs)]
        count = "" if layer.instructions is None else f"{layer.instructions:,}"
        grid.add_row(escape(layer.name), layer.kind.replace("_", " "), *numbers, count)
    out.print(grid)
    if made.path:
        out.print(f"a step of an int8 LSTM runs through {made.path:,} bytes of flash, tables included", soft_wrap=True)


def sentences(made: Plan) -> list[str]:
    """What follows, in words."""
    said = []
    for line in made.refused:
        show = duration if line is made.time or line.what.startswith("time") else size
        said.append(f"does not fit: {line.what} {show(line.needed or 0)} of {show(line.limit or 0)}")
    if made.refused:
        return said
    if made.seconds and made.deadline:
        share = made.seconds / made.deadline
        said.append(f"nothing rules it out: a step takes {share:.2g} of the deadline or more; measure it on the board")
    elif made.seconds:
        said.append(f"{1 / made.seconds:,.0f} steps a second at most")
    return said


def fitting(units: int | None, names: Sequence[tuple[str, int]]) -> str:
    """Which sizes would fit."""
    if units is None:
        return "no smaller size of the same layers fits, or their sizes depend on one another"
    listed = ", ".join(f"{name} {count}" for name, count in names)
    return f"the same layers fit with up to {units} units in the largest: {listed}"


def data(made: Plan) -> dict[str, Any]:
    """For JSON."""
    return {
        "target": made.target.name,
        "kernels": made.kernels,
        "flash_bytes": None if made.code is None else made.image + made.code,
        "image_bytes": made.image,
        "code_bytes": made.code,
        "ram_bytes": made.arena + made.structs + (made.stack or 0),
        "arena_bytes": made.arena,
        "struct_bytes": made.structs,
        "stack_bytes": made.stack,
        "macs": made.macs,
        "instructions": made.instructions,
        "instructions_error": None if made.instructions is None else made.error,
        "least_seconds": made.seconds,
        "deadline_seconds": made.deadline,
        "not_counted": list(made.uncounted),
        "does_not_fit": [line.what for line in made.refused],
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "flash_bytes": layer.weights,
                "ram_bytes": layer.ram,
                "macs": layer.macs,
                "instructions": layer.instructions,
            }
            for layer in made.layers
        ],
    }


def _row(line: Line, show: Any) -> tuple[str, str, str, str]:
    needed = "not known" if line.needed is None else show(line.needed)
    if line.limit is None:
        return needed, "", "", ""
    used = "" if line.needed is None else f"{line.needed / line.limit:.1%}"
    return needed, show(line.limit), used, MARKS[line.fits]


def _cell(line: Line, show: Any) -> str:
    return "" if line.needed is None else f"{show(line.needed)} {MARKS[line.fits]}".strip()
