"""The kept JSON as Markdown and as a figure. Nothing here measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import OURS, check, figure, nets

BEGIN, END = "<!-- peers: tools/compare_peers.py writes what stands between these lines -->", "<!-- end of peers -->"
PAGE, FIGURE = "docs/benchmarks.md", "docs/images/peers.svg"
TITLES = {nets.STREAM: "One step from Python", nets.SEQ: f"Sequences of {nets.STEPS} steps in one call"}
OF_C, OF_LIMIT = "EdgeLSTM in C", "the limit"
DOORS = ("s8 integers", "s8 floats", "f32 floats", "s8 integers avx2", "f32 floats avx2")

FORMS = """\
Each runtime does it in its fastest ways. TFLite: `state in and out` is a step of plain operations whose state goes in
and out as one tensor, `state kept` the same with the state in the file's variables, `fused` the LSTM operator.
TensorFlow's converter makes the files, but those of `int8, fused`, at which it crashes: EdgeLSTM's exporter makes them.
ONNX Runtime steps through bindings to fixed memory, ncnn hands its state on as blobs, OpenVINO keeps it in variables.
In ncnn's int8 the Dense stays float."""

Result = dict[str, Any]
Row = dict[str, Any]


def write(result: Result, root: Path) -> None:
    """The section of docs/benchmarks.md, and the figure."""
    page = root / PAGE
    text = page.read_text("utf-8")
    section = f"{BEGIN}\n{markdown(result)}{END}\n"
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        text = before + section + rest.partition(f"{END}\n")[2]
    else:
        text = f"{text.rstrip()}\n\n{section}"
    page.write_text(text, "utf-8")
    (root / FIGURE).parent.mkdir(parents=True, exist_ok=True)
    figure.draw(result, root / FIGURE)


def markdown(result: Result) -> str:
    """Every table of the comparison."""
    about = result["about"]
    parts = [
        "## Beside other runtimes",
        introduction(about),
        FORMS,
        f"![Time of a step]({FIGURE.removeprefix('docs/')})",
    ]
    for mode in (nets.STREAM, nets.SEQ):
        parts += [f"### {TITLES[mode]}", ratios(result, mode)]
        if mode == nets.STREAM:
            parts.append(arrays(result))
        for quantized in (True, False):
            parts.append(everyone(result, mode, quantized))
    parts += ["### The call in C, and what the machine allows", in_c(result)]
    if "footprint" in result:
        parts += ["### Footprint", footprint(result["footprint"])]
    parts += ["### Data and streams", data(result["data"]), streams(result["streams"])]
    parts += ["### What is missing, and why", missing(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(about: Row) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['date']}, {about['cpu']} ({about['cores']} cores, one of them used), Python {about['python']}, "
        f"kernels {about['kernels']}; `{about['command']}`, {about['minutes']:g} minutes.\n\n"
        f"{versions}.\n\n"
        "Random nets, one thread, one core, batch 1; a net is `inputs-units`, the sensor stack 9 to two LSTM of 64 to "
        "Dense 6, the big stack 80 to three LSTM of 512 to Dense 30. Each runtime has a process of its own, all in "
        f"turn, the order drawn anew for each of {about['rounds']} rounds of about {about['turn'] * 1000:g} ms; "
        "medians, and the lowest round in brackets, in microseconds a step; ratios likewise. Answers stood beside "
        f"float64 ones before: a float runtime is within {check.TOLERANCE:g}, a quantized one has its signal to error "
        "in dB after its time."
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def us(microseconds: float) -> str:
    """Three digits."""
    return f"{microseconds:#.3g}".rstrip(".") if microseconds < 1000 else f"{microseconds:.0f}"


def time_of(row: Row | None) -> str:
    if row is None or "median" not in row:
        return "-"
    text = f"{us(row['median'])} ({us(row['low'])})"
    return f"{text} {row['decibels']:.0f} dB" if row["quantized"] and "decibels" in row else text


def timed(result: Result, case: str, mode: str) -> list[Row]:
    return [row for row in result["cases"][case] if row["mode"] == mode and "median" in row]


def best(rows: list[Row], quantized: bool) -> Row | None:
    """The fastest of the others."""
    others = [row for row in rows if row["peer"] != OURS and row["quantized"] == quantized]
    return min(others, key=lambda row: row["median"], default=None)


def of(rows: list[Row], peer: str, form: str) -> Row | None:
    return next((row for row in rows if (row["peer"], row["form"]) == (peer, form)), None)


def over(one: Row | None, other: Row | None) -> str:
    """How many times as long the one takes, by medians and by lowest rounds."""
    if not one or not other:
        return "-"
    return f"**{one['median'] / other['median']:.2f}** ({one['low'] / other['low']:.2f})"


def ratios(result: Result, mode: str) -> str:
    """EdgeLSTM beside the best quantized and the best float runtime, case by case."""
    head = ["net", "s8", "best quantized", "ratio", "f32", "best float", "ratio", "f32 / s8"]
    lines = []
    for case in result["cases"]:
        rows = timed(result, case, mode)
        cells = [case]
        ours = {kind: of(rows, OURS, kind) for kind in ("s8", "f32")}
        for kind, quantized in (("s8", True), ("f32", False)):
            other = best(rows, quantized)
            named = f"{time_of(other)}, {other['peer']} {other['form']}" if other else "-"
            cells += [time_of(ours[kind]), named, over(other, ours[kind])]
        lines.append([*cells, over(ours["f32"], ours["s8"])])
    return table(head, lines)


def everyone(result: Result, mode: str, quantized: bool) -> str:
    """Every runtime in every form: a row each, a column for each net."""
    names = dict.fromkeys(
        (row["peer"], row["form"])
        for rows in result["cases"].values()
        for row in rows
        if row["mode"] == mode and row["quantized"] == quantized and "median" in row
    )
    lines = [
        [f"{peer} {form}", *(time_of(of(timed(result, case, mode), peer, form)) for case in result["cases"])]
        for peer, form in names
    ]
    return table(["quantized" if quantized else "float", *result["cases"]], lines) if lines else ""


def in_c(result: Result) -> str:
    """The step called in C: its time, and how many times the limit; RTNeural's beside it."""
    lines = []
    for case in result["cases"]:
        rows = timed(result, case, nets.CALL)
        cells = [case]
        for door in DOORS:
            kind, _, kernels = (*door.split(), result["about"]["kernels"])[:3]
            ours, limit = of(rows, OF_C, door), of(rows, OF_LIMIT, f"{kind} {kernels}")
            beside = f", {over(ours, limit)} of {us(limit['median'])}" if limit and ours else ""
            cells.append(time_of(ours) + beside)
        others = [row for row in rows if row["peer"] == "RTNeural"]
        cells.append(time_of(min(others, key=lambda row: row["median"], default=None)))
        lines.append(cells)
    return (
        "Bold: how many times the limit, which stands after it (`tools/limit.c`): the weights read once through the "
        "best exact dot product, and five gate functions a unit. `avx2`: kernels and limit without AVX-512.\n\n"
        + table(["net", *DOORS, "RTNeural, float"], lines)
    )


def arrays(result: Result) -> str:
    figures = ", ".join(f"{us(value)} at {case}" for case, value in result["array"].items())
    return f"Making x of a list of floats, `np.array(values, np.float32)`, is not counted; it takes {figures}."


def footprint(rows: list[Row]) -> str:
    note = (
        "Installed: files of the package and of all it drags in, without NumPy's. Import: after NumPy. The rest: a new "
        "process until the first answer of the sensor stack, NumPy included, files in the page cache.\n\n"
    )
    lines = []
    for row in rows:
        if "why" in row:
            lines.append([row["peer"], row["why"], *"----"])
            continue
        size = "-" if row["installed"] is None else f"{row['installed']:.1f}"
        figures = [size, f"{row['import']:.0f}", f"{row['memory']:.0f}", f"{row['first']:.0f}"]
        lines.append([row["peer"], row["form"], *figures])
    head = ["runtime", "form", "installed, MB", "import, ms", "peak memory, MB", "start to first answer, ms"]
    return note + table(head, lines)


def data(found: Row) -> str:
    """The ratios of an hour of each load to an hour of noise."""
    lines = []
    for kind, loads in found["kinds"].items():
        for name, row in loads.items():
            cells = [f"{row['median']:.0f} ({row['low']:.0f})", f"{row['ratio']:.2f}", f"{row['highest']:.2f}"]
            lines.append([kind, name, *cells])
    note = (
        f"{found['steps']:,} steps of `step(x)` at {found['inputs']}-{found['units']}, nanoseconds, all loads in turn. "
        "The net hardly forgets and has no biases: zeros after activity bring its state to the denormal numbers. "
        "Extremes are +-1e30. Highest: the ratio to noise in the part of the hour where it is most.\n\n"
    )
    return note + table(["type", "input", "ns a step", "ratio to noise", "highest"], lines)


def streams(found: list[Row]) -> str:
    lines = []
    for row in found:
        cells = [f"{row['together']:.0f}", f"{row['alone']:.0f}", f"**{row['alone'] / row['together']:.2f}**"]
        lines.append([row["case"], row["kind"], *cells])
    count = found[0]["streams"]
    return table(["net", "type", f"{count} streams, ns a stream", "one stream, ns", "ratio"], lines)


def missing(result: Result) -> str:
    """Every form without a time, by reason, mode and nets."""
    cases: dict[tuple[str, str, str], list[str]] = {}
    for case, rows in result["cases"].items():
        for row in rows:
            if "why" in row:
                cases.setdefault((row["why"], row["mode"], f"{row['peer']} {row['form']}"), []).append(case)
    forms: dict[tuple[str, str, str], list[str]] = {}
    for (why, mode, form), found in cases.items():
        where = "all nets" if len(found) == len(result["cases"]) else ", ".join(found)
        forms.setdefault((why, mode, where), []).append(form)
    lines = [f"* {mode}, {where}: {'; '.join(found)}: {why}" for (why, mode, where), found in forms.items()]
    return "\n".join(lines) or "Nothing."
