"""A plan as tables and sentences for a terminal of 80 columns, and as data for JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        grid.add_row(f"  code, {made.compiler}, at most", size(made.code))
    grid.add_row("RAM", *_row(made.ram, size))
    grid.add_row("  arena" if made.steps == 1 else f"  arena, runs of {made.steps} steps", size(made.arena))
    grid.add_row("  structs", size(made.structs))
    if not target.core.linux:
        grid.add_row("  stack", "not measured" if made.stack is None else size(made.stack))
    grid.add_row("multiplications a step", f"{made.macs:,}")
    if made.instructions is not None:
        grid.add_row(f"instructions a step, within {made.error:.1%}", f"{made.instructions:,}")
    elif made.least:
        grid.add_row("instructions of what is counted, at least", f"{made.least:,.0f}")
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
        cells += [_instructions(made), _cell(time, duration)]
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
        timed = line.what.startswith("time")
        show: Callable[[float], str] = duration if timed else size
        as_built = f", as {made.compiler} compiles it" if timed else ""
        if line.what == "flash" and made.image <= (line.limit or 0):
            as_built = f", with the code of {made.compiler}, half of which no program does without"
        said.append(f"does not fit: {line.what} {show(line.needed or 0)} of {show(line.limit or 0)}{as_built}")
    if made.tight:
        said.append(
            f"there may be too little flash: {size(made.flash.needed or 0)} at most of {size(made.flash.limit or 0)}; "
            "a linker leaves out what a program does not call, so link it to know"
        )
    parts = "a step" if made.instructions is not None else "what is counted of a step"
    if made.deadline is not None and made.seconds is None:
        said.append("the deadline was not checked: nothing of a step is counted, or the clock is unknown")
    if said:
        return said
    if made.seconds and made.deadline:
        share = made.seconds / made.deadline
        said.append(f"nothing rules it out: {parts} takes {share:.2g} of the deadline or more; measure it on the board")
    elif made.seconds:
        said.append(f"{1 / made.seconds:,.0f} steps a second at most, as {made.compiler} compiles it")
    return said


def fitting(units: int | None, names: Sequence[tuple[str, int]]) -> str:
    """Which sizes would fit."""
    if units is None:
        return (
            "no smaller size of the same layers fits, or none can be reckoned: their sizes depend on one another, or "
            "not every step has one row"
        )
    listed = ", ".join(f"{name} {count}" for name, count in names)
    return f"the same layers fit with up to {units} units in the largest: {listed}"


def data(made: Plan) -> dict[str, Any]:
    """For JSON."""
    return {
        "target": made.target.name,
        "kernels": made.kernels,
        "compiler": made.compiler,
        "flash_bytes": None if made.code is None else made.image + made.code,
        "image_bytes": made.image,
        "code_bytes": made.code,
        "ram_bytes": made.arena + made.structs + (made.stack or 0),
        "arena_bytes": made.arena,
        "struct_bytes": made.structs,
        "stack_bytes": made.stack,  # null: not measured, and not in the RAM
        "max_steps": made.steps,
        "macs": made.macs,
        "instructions": made.instructions,
        "instructions_error": None if made.instructions is None else made.error,
        "least_instructions": made.least or None,
        "least_seconds": made.seconds,
        "deadline_seconds": made.deadline,
        "not_counted": list(made.uncounted),
        "does_not_fit": [line.what for line in made.refused],
        "may_not_fit": ["flash"] if made.tight else [],
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
    needed = "not known" if line.needed is None else f"{'≥ ' if line.partial else ''}{show(line.needed)}"
    if line.limit is None:
        return needed, "", "", ""
    used = "" if line.needed is None else f"{line.needed / line.limit:.1%}"
    return needed, show(line.limit), used, MARKS[line.fits]


def _cell(line: Line, show: Any) -> str:
    if line.needed is None:
        return ""
    return f"{'≥ ' if line.partial else ''}{show(line.needed)} {MARKS[line.fits]}".strip()


def _instructions(made: Plan) -> str:
    if made.instructions is None:
        return f"≥ {made.least:,.0f}" if made.least else ""
    return f"{made.instructions:,}"
