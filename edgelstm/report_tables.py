"""A validation's report as tables for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .comparison import Row
from .report import Drift, Report, Task

MOST = 12  # rows of a table that nobody judges; the worst come first


def show(out: Console, report: Report) -> None:
    """All of a report but its notes and its verdict."""
    out.print(f"{report.subject}\nreference: {report.reference}\ndata: {report.data}", markup=False, soft_wrap=True)
    out.print()
    rows(out, report.rows, f"answers, {report.sequences} sequences of {report.steps} steps")
    _tasks(out, report)
    _arithmetic(out, report)
    for one in report.converted:
        out.print(str(one), markup=False, highlight=False)
    if report.converted:
        out.print()
    _layers(out, report)
    _drift(out, report.drift)
    _saturation(out, report)
    for check in report.checks:
        out.print(str(check), style="green" if check.passed else "red", markup=False, soft_wrap=True)
    for sentence in report.advice:
        out.print(f"→ {sentence}", style="yellow", markup=False, highlight=False)
    if report.advice:
        out.print()


def rows(out: Console, found: Sequence[Row], title: str) -> None:
    """Each output of each variant beside the reference's."""
    several = len({row.output for row in found}) > 1
    grid = table(title, ("variant", *(("output",) if several else ())), ("max error", "RMS", "SNR, dB", "cosine"))
    agrees = any(row.difference.agreement is not None for row in found)
    if agrees:
        grid.add_column("arg max", justify="right")
    grid.add_column("")
    for row in found:
        d = row.difference
        numbers = [f"{d.max_error:.2g}", f"{d.rms_error:.2g}", f"{d.decibels:.1f}", _cosine(d.cosine)]
        numbers += ["" if d.agreement is None else f"{d.agreement:.2%}"] if agrees else []
        names = (row.variant, escape(row.output)) if several else (row.variant,)
        verdict = {None: "", True: "[green]✓[/]", False: "[red]✗[/]"}[row.passed]
        grid.add_row(*names, *numbers, verdict)
    out.print(grid)
    for row in found:
        if row.passed is False:
            out.print(f"✗ {row.variant}, {row.output}: required is {row.required}", style="red", markup=False)


def _cosine(cosine: float | None) -> str:
    """As many nines as there are."""
    if cosine is None:
        return ""
    apart = 1 - cosine
    return f"1 - {apart:.0e}" if 0 < apart < 1e-4 else f"{cosine:.6g}"


def _tasks(out: Console, report: Report) -> None:
    """A table per output: a line per who, a column per metric."""
    for output in dict.fromkeys(task.output for task in report.tasks):
        own = [task for task in report.tasks if task.output == output]
        heads = {task.metric: f"{task.metric}, {task.unit}" if task.unit else task.metric for task in own}
        grid = table(f"{output} by its labels", ("who",), tuple(map(escape, heads.values())))
        for who in dict.fromkeys(task.who for task in own):
            grid.add_row(who, *(_task(task) for task in own if task.who == who))
        out.print(grid)
    for task in report.tasks:
        if task.passed is False:
            what = f"✗ {task.who}, {task.metric} of {task.output}: required is {task.required}"
            out.print(what, style="red", markup=False)


def _task(task: Task) -> str:
    value = f"{task.value:.2%}" if task.metric == "accuracy" else f"{task.value:.4g}"
    return value + {None: "", True: " [green]✓[/]", False: " [red]✗[/]"}[task.passed]


def _arithmetic(out: Console, report: Report) -> None:
    if not report.arithmetic:
        return
    grid = table(f"bytes; the image has {report.arithmetic[0].image}", ("runtime", "kernels"), ("others",))
    grid.add_column("exact with")
    for one in report.arithmetic:
        exact = "the image's own" if not one.differing else one.exact or f"none; up to {one.error:.2g} off"
        grid.add_row(one.runtime, one.resolver, f"{one.differing:,} of {one.values:,}", exact)
    out.print(grid)


def _layers(out: Console, report: Report) -> None:
    """A line per tensor, a column of dB per variant."""
    if not report.layers:
        return
    variants = list(dict.fromkeys(layer.variant for layer in report.layers))
    found = {(one.layer, one.tensor, one.variant): one.difference.decibels for one in report.layers}
    grid = table("layers beside float64, dB", ("layer", ""), tuple(variants))
    for layer, tensor in dict.fromkeys((one.layer, one.tensor) for one in report.layers):
        values = (found.get((layer, tensor, variant)) for variant in variants)
        grid.add_row(escape(layer), tensor, *("" if v is None else f"{v:.1f}" for v in values))
    out.print(grid)


def _drift(out: Console, drift: Sequence[Drift]) -> None:
    if not drift:
        return
    several = len({one.output for one in drift}) > 1
    steps = [point.step for point in drift[0].points]
    grid = table(
        f"largest error at a step of a run of {steps[-1]:,}",
        ("variant", *(("output",) if several else ())),
        (*(f"{step:,}" for step in steps[:7]), "so far", "dB"),
    )
    for one in drift:
        if [point.step for point in one.points] != steps:
            continue
        last = one.points[-1]
        errors = (f"{point.error:.1g}" for point in one.points[:7])
        names = (one.variant, escape(one.output)) if several else (one.variant,)
        decibels = f"{last.decibels:.1f}" if math.isfinite(last.decibels) else str(last.decibels)
        grid.add_row(*names, *errors, f"{last.largest:.1g}", decibels)
    out.print(grid)


def _saturation(out: Console, report: Report) -> None:
    if not report.saturation:
        return
    some = sorted((one for one in report.saturation if one.low + one.high), key=lambda one: -one.share)
    if not some:
        out.print(f"saturation: none, in {len(report.saturation)} tensors\n", highlight=False)
        return
    title = f"saturation, {len(some)} of {len(report.saturation)} tensors"
    grid = table(title, ("variant", "layer", ""), ("type", "least", "largest", "of", "share"))
    for one in some[:MOST]:
        layer, name = (one.layer, one.tensor) if one.layer else (one.tensor, "input")
        numbers = (one.type, f"{one.low:,}", f"{one.high:,}", f"{one.values:,}", f"{one.share:.2%}")
        grid.add_row(one.variant, escape(layer), name, *numbers)
    out.print(grid)


def table(title: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    """A table of names, then of numbers."""
    least = min(len(title), 80)  # so that the title stands on one line
    grid = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, min_width=least)
    for column in texts:
        grid.add_column(column, overflow="fold")
    for column in numbers:
        grid.add_column(column, justify="right")
    return grid
