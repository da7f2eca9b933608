"""A report as one HTML file that needs nothing else: no script, no font, no picture, no network.

Texts of a report come from files that may be anybody's, so all of them are escaped, and the page's own policy forbids
what it does not hold. The same report gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..comparison import Difference, Row
from ..errors import InputError, MissingError
from ..files import write_whole
from ..report import Check, Drift, Layer, Report, Saturation, Task, Trace
from .figures import COLOURS, Axis, Bar, Line, bars, chart

FULL = 140.0  # dB of a full bar, more than float32 reaches
BARS = 24  # of one figure at most; the tables have all
"""The worst are drawn where there are more."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What made a report, so that it can be made again."""

    command: str = ""
    versions: tuple[tuple[str, str], ...] = ()  # program and version
    files: tuple[tuple[str, str, int, str], ...] = ()  # what it was, its name, its bytes, its SHA-256


def origin(command: str, files: Sequence[tuple[str, str | os.PathLike[str] | None]]) -> Origin:
    """What a command, these files, by what each was, and this machine are. InputError if a file cannot be read."""
    versions = (
        ("edgelstm", __version__), ("NumPy", np.__version__), ("Python", platform.python_version()),
        ("machine", f"{platform.machine()}, {platform.system()}"),
    )  # fmt: skip
    return Origin(command, versions, tuple(_file(what, Path(path)) for what, path in files if path is not None))


def _file(what: str, path: Path) -> tuple[str, str, int, str]:
    try:
        with path.open("rb") as file:
            return what, path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{str(path)!r}: {error.strerror}") from None


def ready() -> None:
    """MissingError without Jinja2, before what takes long."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingError('an HTML report needs Jinja2: pip install "edgelstm[validate]"') from None


def write(report: Report, path: str | os.PathLike[str], origin: Origin = Origin()) -> None:
    """Write the page of a report; the file appears whole or not at all."""
    write_whole(Path(path), render(report, origin).encode())


def render(report: Report, origin: Origin = Origin()) -> str:
    """The page of a report. MissingError without Jinja2."""
    ready()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"small": _small, "decibels": _decibels, "percent": _percent, "cosine": _cosine}
    environment.filters |= {"count": lambda value: f"{value:,}", "clean": _clean}
    environment.finalize = lambda value: _clean(value) if type(value) is str else value
    here = resources.files(__package__)
    style = here.joinpath("report.css").read_text("utf-8")
    template = environment.from_string(here.joinpath("report.html.j2").read_text("utf-8"))
    judged: tuple[Row | Task | Check, ...] = (*report.rows, *report.tasks, *report.checks)
    colours = {name: k for k, name in enumerate(_variants(report))}
    return template.render(
        report=report,
        origin=origin,
        style=Markup(style),
        policy="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        verdict=_verdict(report),
        colours=colours,
        figures={
            kind: [_marked(figure, Markup) for figure in made] for kind, made in _figures(report, colours).items()
        },
        judged=[(str(one), one.passed) for one in judged if one.passed is not None],
        palette=COLOURS,
        agreed=any(row.difference.agreement is not None for row in report.rows),
        saturated=[one for one in report.saturation if one.low + one.high],
        demanded=any(task.passed is not None for task in report.tasks),
        worth=list(_worth(report)),
        several=len({row.output for row in report.rows}) > 1,
    )


def _variants(report: Report) -> list[str]:
    """All that answered, in the order in which they are told of."""
    all_told: tuple[Row | Layer | Drift | Saturation, ...] = (
        *report.rows, *report.layers, *report.drift, *report.saturation,
    )  # fmt: skip
    told = [one.variant for one in all_told]
    return list(dict.fromkeys([*told, *(name for trace in report.traces for name, _ in trace.found)]))


def _verdict(report: Report) -> tuple[str, str]:
    """A class of the page, and the word."""
    if not report.passed:
        return "failed", "Failed"
    return ("passed", "Passed") if report.independent else ("own", "Passed, on this package's own reading alone")


@dataclass(frozen=True, slots=True)
class Worth:
    """One output's metrics: a column each, and a row for everybody."""

    output: str
    columns: tuple[tuple[str, str], ...]  # metric and unit
    rows: tuple[tuple[str, tuple[Task | None, ...], bool | None, str], ...]  # who, by column, whether met, what was


def _worth(report: Report) -> Iterable[Worth]:
    for output in dict.fromkeys(task.output for task in report.tasks):
        tasks = [task for task in report.tasks if task.output == output]
        columns = tuple(dict.fromkeys((task.metric, task.unit) for task in tasks))
        rows = []
        for who in dict.fromkeys(task.who for task in tasks):
            own = [task for task in tasks if task.who == who]
            cells = {(task.metric, task.unit): task for task in own}
            judged = [task for task in own if task.passed is not None]
            met = all(task.passed for task in judged) if judged else None
            wanted = ", ".join(f"{task.metric} {task.required}" for task in judged if task.required)
            rows.append((who, tuple(map(cells.get, columns)), met, wanted))
        yield Worth(output, columns, tuple(rows))


# ---- figures ----


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its words."""

    caption: str
    svg: Any
    legend: tuple[tuple[int, str], ...] = ()  # colour and name


def _marked(figure: Figure, safe: Any) -> Figure:
    return Figure(figure.caption, safe(figure.svg), figure.legend)


def _figures(report: Report, colours: dict[str, int]) -> dict[str, list[Figure]]:
    made = {
        "outputs": list(_outputs(report, colours)),
        "layers": list(_layers(report, colours)),
        "drift": list(_drift(report, colours)),
        "saturation": list(_saturation(report, colours)),
        "traces": list(_traces(report, colours)),
    }
    return {kind: [figure for figure in figures if figure.svg] for kind, figures in made.items()}


def _outputs(report: Report, colours: dict[str, int]) -> Iterable[Figure]:
    for output in dict.fromkeys(row.output for row in report.rows):
        rows = [row for row in report.rows if row.output == output]
        values = [_bar(row.variant, row.difference, colours[row.variant]) for row in rows[:BARS]]
        caption = f"Output {output}: signal to error in dB; longer is closer to the reference"
        yield Figure(caption, bars(caption, values, FULL))


def _layers(report: Report, colours: dict[str, int]) -> Iterable[Figure]:
    for variant in dict.fromkeys(layer.variant for layer in report.layers):
        rows = [layer for layer in report.layers if layer.variant == variant]
        kept = _worst(rows, [row.difference.decibels for row in rows])
        values = [_bar(_tensor(row.layer, row.tensor), row.difference, colours[variant]) for row in kept]
        caption = f"{variant}, layer by layer: signal to error in dB{_of(kept, rows)}"
        yield Figure(caption, bars(caption, values, FULL))


def _drift(report: Report, colours: dict[str, int]) -> Iterable[Figure]:
    x, y = Axis("step", True), Axis("largest error so far", True)
    for output in dict.fromkeys(one.output for one in report.drift):
        runs = [one for one in report.drift if one.output == output]
        lines = [
            Line(colours[one.variant], tuple((p.step, p.largest) for p in (one.curve or one.points))) for one in runs
        ]
        caption = f"Output {output}: the largest error so far over a long run, state carried from step to step"
        yield Figure(caption, chart(caption, lines, x, y), tuple((colours[one.variant], one.variant) for one in runs))


def _saturation(report: Report, colours: dict[str, int]) -> Iterable[Figure]:
    for variant in dict.fromkeys(one.variant for one in report.saturation):
        rows = [one for one in report.saturation if one.variant == variant and one.low + one.high]
        kept = _worst(rows, [-one.share for one in rows])
        values = [
            Bar(_tensor(one.layer or "input", one.tensor), one.share, _percent(one.share), colours[variant])
            for one in kept
        ]
        caption = f"{variant}: values at the ends of their type; a full bar is all values{_of(kept, rows)}"
        yield Figure(caption, bars(caption, values, 1.0))


def _traces(report: Report, colours: dict[str, int]) -> Iterable[Figure]:
    """Each trace, and what is found less what is expected; of variants that are judged, where some are."""
    judged = {row.variant for row in report.rows if row.passed is not None}
    for trace in report.traces:
        found = [(name, values) for name, values in trace.found if name in judged] or list(trace.found)
        x = Axis(trace.along)
        where = f" in sequence {trace.sequence}, the worst" if trace.along == "step" else ""
        lines = [_line(trace, colours[name], values) for name, values in found]
        names = tuple((colours[name], name) for name, _ in found)
        channel = f"value {trace.channel}" if trace.channel.isdecimal() else trace.channel
        title = f"Output {trace.output}, {channel}{where}: expected and found"
        both = [_line(trace, -1, trace.expected), *lines]
        yield Figure(title, chart(title, both, x, Axis("answer")), ((-1, "expected"), *names))
        if all(values == trace.expected for _, values in found):
            continue
        title = f"Output {trace.output}, {channel}{where}: the error"
        off = [
            _line(trace, colours[name], [z - y for y, z in zip(trace.expected, values, strict=True)])
            for name, values in found
        ]
        yield Figure(title, chart(title, off, x, Axis("found - expected")), names)


def _line(trace: Trace, colour: int, values: Sequence[float]) -> Line:
    return Line(colour, tuple((float(trace.start + k), value) for k, value in enumerate(values)))


def _bar(name: str, difference: Difference, colour: int) -> Bar:
    return Bar(name, difference.decibels, _decibels(difference.decibels), colour)


def _tensor(layer: str, tensor: str) -> str:
    return layer if tensor in ("", layer) else f"{layer}, {tensor}"


def _worst(rows: Sequence[Any], keys: Sequence[float]) -> list[Any]:
    """The rows of the least keys, in the order they had."""
    order = sorted(range(len(rows)), key=lambda k: (keys[k], k))[:BARS]
    return [rows[k] for k in sorted(order)]


def _of(kept: Sequence[Any], rows: Sequence[Any]) -> str:
    return "" if len(kept) == len(rows) else f"; the {len(kept)} worst of {len(rows)}"


# ---- numbers and words ----


def _small(value: float) -> str:
    return "infinite" if value == math.inf else "0" if value == 0 else f"{value:.2g}"


def _decibels(value: float) -> str:
    return "exact" if value == math.inf else "none" if value == -math.inf else f"{value:.1f}"


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:.2f}"
    if value and text == "0.00":
        return "< 0.01 %"
    return f"{'> 99.99' if value < 1 and text == '100.00' else text} %"


def _cosine(value: float | None) -> str:
    if value is None:
        return "–"
    return f"1 - {1 - value:.0e}" if 0 < 1 - value < 1e-4 else f"{value:.6g}"


def _clean(text: str) -> str:
    """A text without characters that nothing shows, or that turn what follows around."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
