"""The demo: from a trained checkpoint to an int8 model that watches a machine, as plain data (docs/demo.md)."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import importers, meta_file, peers, recording
from .errors import ExportError, InputError, MissingError, PeerError
from .exporters import tflite
from .image import save
from .meta import Array
from .model import Model
from .quantization import quantize
from .recording import DAY, HOUR, PERIOD, Recording, Verdict, Watch
from .report import Report
from .runner import Runner
from .stream import Counts, Stream
from .validation import validate

CHECKPOINT = recording.DATA / "machine_temp.keras"
META = recording.DATA / "machine_temp.toml"
CALIBRATION = 64  # windows of the fitted stretch that choose the int8 ranges
VALIDATION = 200  # scored windows on which answers are compared
TFLITE_EVERY = 16  # of the scored windows that TFLite forecasts, it being slow in int8

NAMES = {"s8": "int8", "f32": "float"}
MODES = {False: "windows", True: "carried"}
TFLITE = {"float": "machine_temp.tflite", "int8": "machine_temp_int8.tflite"}

PASSES = (("s8", False), ("s8", True), ("f32", False), ("f32", True))
"""Number type, and whether the state is carried. The first is the one that is watched and drawn."""


INK, BLUE, RED = "#333333", "#0072b2", "#d03a00"  # told apart by any eye


@dataclass(frozen=True, slots=True)
class Began:
    """A stage of the demo begins."""

    title: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It is done."""

    text: str  # what came of it


@dataclass(frozen=True, slots=True)
class Step:
    """A sample went through the stream."""

    sample: int
    time: Any  # datetime
    value: float
    forecast: float  # of this value, five minutes before; NaN where there is none
    score: float  # Watch.score; NaN where there is none
    limit: float  # a score above it raises an alarm
    alarm: bool  # whether this sample raised one
    share: float  # of this pass that is done
    first: bool  # whether this pass is the first: the one to show


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds from a sample handed to the stream to its answer."""

    p50: float
    p99: float
    max: float
    answers: int


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """The whole recording, once, sample by sample."""

    type: str  # "s8" or "f32"
    carry: bool
    forecast: Array  # float64 [T], of each sample; NaN where there is none
    score: Array  # float64 [T]
    limit: float
    rmse: float  # scored samples, degrees Fahrenheit
    rmse_normal: float  # those outside labelled windows
    verdict: Verdict
    latency: Latency
    counts: Counts


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes. None where the .tflite could not be written."""

    checkpoint: int
    f32: int
    s8: int
    tflite_float: int | None
    tflite_int8: int | None
    f32_arena: int  # RAM for one stream, step by step
    s8_arena: int
    state: int  # of it the s8 model's state


@dataclass(frozen=True, slots=True)
class Peer:
    """TFLite's forecasts beside ours, on every TFLITE_EVERY-th scored window."""

    name: str
    windows: int
    rmse: dict[str, float]  # by "f32", "s8", "TFLite float", "TFLite int8" and "persistence", degrees Fahrenheit
    rmse_normal: dict[str, float]  # outside labelled windows


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """All that the demo found."""

    recording: Recording
    passes: tuple[Pass, ...]  # in the order of PASSES
    persistence: float  # RMSE of forecasting the last value, on the samples of Pass.rmse
    persistence_normal: float
    report: Report
    peer: Peer | None
    missing: str  # why there is no peer, in a sentence; "" where there is one
    sizes: Sizes
    kernels: str
    machine: str
    seconds: float
    files: tuple[Path, ...]  # written


def run(folder: str | os.PathLike[str], data: Recording | None = None) -> Iterator[Began | Ended | Step | Result]:
    """The demo's stages as they happen, the result last. Images and .tflite files are written into `folder`.

    data: a recording other than the one that comes with the package.
    """
    start = time.perf_counter()
    place = _folder(folder)
    data = recording.load() if data is None else data
    yield Began("read the checkpoint")
    read = importers.read(CHECKPOINT)
    assert isinstance(read, Model)
    model = meta_file.describe(read, META)
    described = Runner(model).description
    units = ", ".join(f"{layer.kind.split('_')[0]} {layer.units}" for layer in described.layers if layer.parameters)
    yield Ended(f"{units}: {sum(layer.parameters for layer in described.layers):,} parameters")

    yield Began("convert to int8")
    fitted = np.arange(data.fit.start + _window(model), data.fit.stop)
    samples = _windows(model, data, _spread(fitted, CALIBRATION))
    small = quantize(model, samples)
    yield Ended(f"ranges from {len(samples)} windows of the stretch it was fitted to")

    yield Began("write the images")
    paths = {"s8": place / "machine_temp_int8.elstm", "f32": place / "machine_temp.elstm"}
    sizes = {"s8": save(small, paths["s8"]), "f32": save(model, paths["f32"])}
    for path in paths.values():
        Runner(path).self_check()
    yield Ended(f"int8 {sizes['s8']:,} bytes, float {sizes['f32']:,}; both replay the example inside them")

    yield Began("validate")
    judged = np.flatnonzero(_judged(data, _window(model)))
    report = validate(paths["s8"], CHECKPOINT, _windows(model, data, _spread(judged, VALIDATION)), samples=samples)
    yield Ended(f"{'passed' if report.passed else 'FAILED'} against {report.reference}")

    yield Began("forecast with TFLite")
    tflites, peer, missing = _tflite(place, model, paths, data, samples, judged[::TFLITE_EVERY])
    yield Ended(f"{peer.windows:,} windows in {peer.name}" if peer else missing)

    yield Began("set the threshold of the alarms")
    limits = {(kind, carry): recording.threshold(_quiet(paths[kind], data, carry)) for kind, carry in PASSES}
    days = (data.quiet.stop - data.quiet.start) // DAY
    yield Ended(f"{limits[PASSES[0]]:.2f} °F, from {days} days without a label")

    passes = []
    for kind, carry in PASSES:
        how = "state carried" if carry else "exact windows"
        yield Began(f"stream the recording: {NAMES[kind]}, {how}")
        found = yield from _pass(paths[kind], kind, carry, data, limits[kind, carry])
        passes.append(found)
        yield Ended(f"{found.latency.answers:,} answers, {found.latency.p50:.0f} µs each at the median")

    naive = np.diff(data.values, prepend=np.nan)[judged]
    small_runner, float_runner = (Runner(paths[kind], max_steps=1) for kind in ("s8", "f32"))
    yield Result(
        recording=data,
        passes=tuple(passes),
        persistence=recording.rmse(naive),
        persistence_normal=recording.rmse(naive[~data.labelled[judged]]),
        report=report,
        peer=peer,
        missing=missing,
        sizes=Sizes(
            checkpoint=CHECKPOINT.stat().st_size,
            s8=sizes["s8"],
            f32=sizes["f32"],
            tflite_int8=tflites.get("int8"),
            tflite_float=tflites.get("float"),
            s8_arena=small_runner.arena_size,
            f32_arena=float_runner.arena_size,
            state=small_runner.state_size,
        ),
        kernels=small_runner.kernels,
        machine=platform.machine(),
        seconds=time.perf_counter() - start,
        files=(*paths.values(), *(place / TFLITE[kind] for kind in tflites)),
    )


def _folder(folder: str | os.PathLike[str]) -> Path:
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{place}: cannot be made: {error.strerror}") from None
    return place


# ---- data ----


def _window(model: Model) -> int:
    assert model.meta.window is not None  # META names one
    return model.meta.window


def _judged(data: Recording, window: int) -> Array:
    """bool [T]: scored samples for which there is a forecast."""
    mask = data.scored
    mask[:window] = False
    return mask


def _spread(numbers: Array, count: int) -> Array:
    """`count` of the numbers at even distances."""
    chosen: Array = numbers[np.linspace(0, len(numbers) - 1, count).astype(int)]
    return chosen


def _windows(model: Model, data: Recording, targets: Array) -> Array:
    """The windows that end just before these samples, as the model sees them: float32 [N, window, 1]."""
    rows = np.lib.stride_tricks.sliding_window_view(data.values, _window(model))[targets - _window(model)]
    scaled: Array = model.meta.scale_inputs(rows[..., None]).astype(np.float32)
    return scaled


def _quiet(path: Path, data: Recording, carry: bool) -> Array:
    """The scores of the quiet stretch. The state, where it is carried, comes in from the day before."""
    runner = Runner(path, streams=1 if carry else 32)
    meta, window = runner.meta, runner.meta.window or 1
    ahead = DAY if carry else window
    raw = data.values[max(data.quiet.start - ahead, 0) : data.quiet.stop]
    if carry:
        ys = runner.run(meta.scale_inputs(raw[:, None]), every_step=True)[ahead - 1 : -1]
    else:
        ys = runner.run(meta.scale_inputs(np.lib.stride_tricks.sliding_window_view(raw, window)[:-1, :, None]))
    errors = data.values[data.quiet] - meta.unscale_outputs(ys)[:, 0]
    found = recording.scores(errors)
    return found[~np.isnan(found)]


# ---- TFLite ----


def _tflite(
    place: Path, model: Model, paths: dict[str, Path], data: Recording, samples: Array, targets: Array
) -> tuple[dict[str, int], Peer | None, str]:
    """Sizes of the .tflite files written, and TFLite's forecasts beside ours; without it, why."""
    xs, sizes = _windows(model, data, targets), {}
    answers: dict[str, Array] = {name: Runner(path, streams=32).run(xs) for name, path in paths.items()}
    try:
        for kind, name in TFLITE.items():
            sizes[kind] = tflite.write(model, place / name, kind, samples if kind == "int8" else None, xs.shape[1])
        for kind, name in TFLITE.items():
            found = peers.run_tflite(place / name, [xs])
            answers[f"TFLite {kind}"] = found.ys[0]
    except (MissingError, ExportError, PeerError) as error:
        return sizes, None, f"left out: {error}"
    errors = {name: data.values[targets] - model.meta.unscale_outputs(ys)[:, 0] for name, ys in answers.items()}
    errors["persistence"] = data.values[targets] - data.values[targets - 1]
    rmse = {name: recording.rmse(error) for name, error in errors.items()}
    normal = ~data.labelled[targets]
    rmse_normal = {name: recording.rmse(error[normal]) for name, error in errors.items()}
    return sizes, Peer(found.peer, len(targets), rmse, rmse_normal), ""


# ---- the stream ----


def _pass(path: Path, kind: str, carry: bool, data: Recording, limit: float) -> Generator[Step, None, Pass]:
    """The whole recording through a stream, one sample at a time."""
    first = (kind, carry) == PASSES[0]
    # the clock steps back once, and the samples go on: "skip" takes them in the order in which they come
    stream = Stream(path, carry=True, gaps="skip", period=PERIOD) if carry else Stream(path, gaps="skip", period=PERIOD)
    watch, now = Watch(), time.perf_counter_ns
    count = len(data.values)
    forecasts, scores, took = np.full(count, np.nan), np.full(count, np.nan), []
    forecast, last, scored = math.nan, -DAY - 1, data.scored
    for number, (stamp, value) in enumerate(zip(data.times.tolist(), data.values.tolist(), strict=True)):
        score = math.nan
        if not math.isnan(forecast):
            forecasts[number] = forecast
            score = scores[number] = watch.score(value - forecast)
        alarm = score > limit and bool(scored[number])
        raised, last = alarm and number - last > DAY, number if alarm else last
        if first or number % 256 == 0:
            yield Step(number, stamp, value, forecast, score, limit, raised, number / count, first)
        began = now()
        answer = stream.feed((stamp, value))
        ended = now()
        if answer is not None:
            took.append(ended - began)
            forecast = float(answer.values[0])
    judged = _judged(data, stream.runner.meta.window or 1)
    errors = data.values - forecasts
    p50, p99 = np.percentile(took, (50, 99)) / 1e3
    return Pass(
        type=kind,
        carry=carry,
        forecast=forecasts,
        score=scores,
        limit=limit,
        rmse=recording.rmse(errors[judged]),
        rmse_normal=recording.rmse(errors[judged & ~data.labelled]),
        verdict=recording.judge(data, scores, limit),
        latency=Latency(float(p50), float(p99), max(took) / 1e3, len(took)),
        counts=stream.counts,
    )


# ---- the figure ----


def figure(result: Result, path: str | os.PathLike[str]) -> Path:
    """Draw the first pass as a PNG: signal, forecast, scores, alarms and labels. MissingError without matplotlib."""
    try:
        dates: Any = import_module("matplotlib.dates")  # not typed
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingError('the figure needs matplotlib: pip install "edgelstm[figure]"') from None
    data, main = result.recording, result.passes[0]
    drawing = Figure(figsize=(10, 6.4), dpi=100, layout="constrained")
    FigureCanvasAgg(drawing)
    drawing.suptitle(
        f"A machine's temperature, forecast five minutes ahead by an int8 LSTM of {result.sizes.s8 / 1024:.0f} KiB",
        fontsize=12,
        fontweight="bold",
    )
    whole, score, near = drawing.subplots(3, 1, height_ratios=(3, 1.6, 2.6))
    whole.plot(data.times, data.values, color=INK, linewidth=0.6)
    for found, face, label in ((True, RED, "alarm"), (False, "white", "false alarm")):
        raised = [alarm.first for alarm in main.verdict.alarms if bool(alarm.windows) == found]
        if raised:
            style: dict[str, Any] = {"color": RED, "markersize": 9, "markerfacecolor": face, "linestyle": "none"}
            whole.plot(data.times[raised], data.values[raised], marker="v", label=label, **style)
    score.plot(
        data.times, main.score, color=BLUE, linewidth=0.6, label="score: the size of the mean error of the last hour"
    )
    score.axhline(main.limit, color=RED, linewidth=1, linestyle="--", label=f"threshold, {main.limit:.2f} °F")
    score.set_ylim(0, None)
    first, last, title = _close_up(result)
    part = slice(first, last)
    near.plot(data.times[part], data.values[part], color=INK, linewidth=1.2, label="temperature")
    near.plot(data.times[part], main.forecast[part], color=BLUE, linewidth=1, label="forecast five minutes before")
    for alarm in main.verdict.alarms:
        if first <= alarm.first < last:
            near.axvline(data.times[alarm.first], color=RED, linewidth=1.2, label="alarm")
    for axes in (whole, score):
        shades = [(data.fit, "0.82", "fitted to"), (data.quiet, "0.92", "sets the threshold")]
        shades += [(slice(first, last + 1), "#f6d9a0", "labelled") for first, last in data.windows]
        seen = set()
        for stretch, shade, name in shades:
            ends = data.times[stretch.start], data.times[stretch.stop - 1]
            axes.axvspan(*ends, color=shade, linewidth=0, label=None if axes is score or name in seen else name)
            seen.add(name)
        axes.set_xlim(data.times[0], data.times[-1])
    verdict = main.verdict
    hits = f"{len(verdict.found)} of {len(data.windows)} labelled windows found"
    titles = (
        f"{hits}, {verdict.false_a_month:.1f} false alarms a month",
        "what raises an alarm",
        title,
    )
    for axes, text in zip((whole, score, near), titles, strict=True):
        locator = dates.AutoDateLocator(maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.005)
        axes.set_ylabel("°F")
        axes.set_title(text, loc="left", fontsize=10)
        axes.legend(
            fontsize=8,
            frameon=False,
            ncols=6,
            loc="lower right",
            bbox_to_anchor=(1, 0.98),
            borderpad=0,
            columnspacing=1.3,
            handlelength=1.6,
        )
    whole.tick_params(labelbottom=False)
    whole.xaxis.offsetText.set_visible(False)
    target = Path(path)
    try:
        drawing.savefig(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def _close_up(result: Result) -> tuple[int, int, str]:
    """Samples from four hours before to eight after the alarm with the highest score, and what they show."""
    main, data = result.passes[0], result.recording
    best = max(main.verdict.alarms, key=lambda alarm: alarm.peak, default=None)
    first = int(np.nanargmax(main.score)) if best is None else best.first
    day = data.times[first].item().strftime("%d %B %Y").lstrip("0")
    title = f"the {'highest score' if best is None else 'alarm'} of {day}"
    return max(first - 4 * HOUR, 0), min(first + 8 * HOUR, len(data.values)), title
