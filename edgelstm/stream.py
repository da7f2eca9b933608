"""Stream: samples in, answers out, one at a time, in the sensor's own numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from math import isfinite
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from .errors import InputError
from .model import Array, Port, Scaler
from .runner import Runner, Source

Gaps = Literal["refuse", "hold", "skip", "reset"]

MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model answers at one sample. The arrays belong to the caller."""

    sample: int  # number of the sample that completed it, from 0
    time: Any  # that sample's timestamp as given; None without `period`
    values: (
        Any  # float64 [outputs]; [rows, outputs] for a window of which all rows are kept; a tuple for several outputs
    )
    held: bool  # True if a value of that sample was missing and its last good one stood in


@dataclass(slots=True)
class Counts:
    """What a stream has met so far. Every missing step is either held or skipped."""

    samples: int = 0  # taken in, missing ones included
    answers: int = 0
    held: int = 0  # steps taken with a repeated value
    skipped: int = 0  # missing steps that were left out
    resets: int = 0  # times a gap put the state back
    backward: int = 0  # times the clock did not move on


class Stream:
    """Feeds a model one sample at a time: `stream.feed(sample)`, or `for answer in stream(samples)`.

    model: a Runner of one stream, or anything a Runner takes; where a TFLite model takes or gives int8, the stream's
    numbers are the real ones those stand for. A sample is a row of the model's input (a number will do
    for one channel; a tuple of rows for several inputs) in the units of the image's scalers, which are applied on the
    way in and undone on the way out. A Runner handed in keeps its state and belongs to the stream from then on.

    carry: the state is carried from sample to sample, and each gives an answer, or where the model writes no row for it
    none (of several rows the last); InputError for a model that needs steps to come. Otherwise exact windows: the last
    `window` samples, from a reset state, give what the framework returns for them; the first answer comes with the
    sample that fills a window, the next `hop` samples later. `window` and `hop` default to those of the image; where
    neither it nor the caller names a window, the state is carried.

    gaps: what happens where a sample is None, or a value of it None, NaN or infinite:
      "refuse"  InputError with the sample's number; the state stays as it was.
      "hold"    the last good value of each missing channel stands in, for at most `max_hold` samples on end; then, and
                where there is no good value yet, as "reset".
      "skip"    the sample is left out: the next good one follows the last good one.
      "reset"   the sample is left out and the state reset; a window starts to fill anew.

    period: seconds (or a timedelta) between samples, which then are (timestamp, sample), the timestamp in seconds or a
    datetime. Where n periods pass between two timestamps (rounded), n - 1 samples are missing; held ones advance the
    state but give no answers, as their time is over. A timestamp not later than the one before it is a clock set back:
    "refuse" raises, "reset" resets and goes on with the sample, "hold" and "skip" take the sample as the next one,
    as samples come in order even when the clock does not.

    scale: False leaves the image's scalers out: samples and answers are in the model's own numbers.

    Nothing is read ahead, and memory does not grow with the length of the stream.
    """

    def __init__(
        self,
        model: Source | Runner,
        *,
        carry: bool | None = None,
        window: int | None = None,
        hop: int | None = None,
        gaps: Gaps = "refuse",
        max_hold: int = 10,
        period: float | timedelta | None = None,
        scale: bool = True,
    ) -> None:
        self.runner = model if isinstance(model, Runner) else Runner(model)
        if self.runner.streams != 1:
            raise InputError(f"a Stream needs a runner of one stream, this one has {self.runner.streams}")
        if gaps not in get_args(Gaps):
            raise InputError(f"gaps is {gaps!r}, expected one of {', '.join(get_args(Gaps))}")
        self.counts = Counts()
        self.gaps: Gaps = gaps
        self.max_hold = _whole("max_hold", max_hold, least=0)
        self.period = None if period is None else _period(period)
        self.window, self.hop = self._windows(carry, window, hop)
        self._check_model()
        self._fresh = not isinstance(model, Runner)  # nothing stepped since a reset
        self._held = 0  # samples held on end
        self._time: Any = None  # of the last sample
        meta, runner = self.runner.meta, self.runner
        self._even = not runner.uneven
        widths = runner.input_widths
        total = sum(widths)
        self._raw, self._last = np.zeros(total), np.full(total, np.nan)
        self._scaled, self._fits = np.zeros(total), np.ones(total, np.bool_)
        self._all_fit = self._fits.tobytes()
        ends = np.cumsum((0, *widths))
        self._spans = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        self._parts = [self._scaled[span] for span in self._spans]
        ports = meta.inputs or tuple(Port() for _ in widths)
        doors = _doors(runner.xs, runner.input_scales, runner.input_zeros)
        scalers = [
            _scaler(port.scaler if scale else None, width, door)
            for port, width, door in zip(ports, widths, doors, strict=True)
        ]
        self._scale, self._offset = (np.concatenate([scaler[k] for scaler in scalers]) for k in (0, 1))
        self._bounds = [np.iinfo(str(x.dtype)) if x.dtype.kind == "i" else None for x in runner.xs]
        self._integers = any(self._bounds)
        self._limit = (MAX_FLOAT32 - np.abs(self._offset)) / np.abs(self._scale)  # larger ones overflow float32
        self._names = [
            name
            for k, (port, width) in enumerate(zip(ports, widths, strict=True))
            for name in port.channels or [f"{n} of input {k}" if len(widths) > 1 else str(n) for n in range(width)]
        ]
        doors = _doors(runner.ys, runner.output_scales, runner.output_zeros)
        outputs = [port.scaler if scale else None for port in meta.outputs] or [None] * len(doors)
        self._scalers = [
            _scaler(scaler, 1, door) if scaler is not None or door is not None else None
            for scaler, door in zip(outputs, doors, strict=True)
        ]
        if self.window is None:
            self._targets = [x[0] for x in runner.xs]  # the row a scaled sample goes to
            self._answers = [y[0] for y in runner.ys]
        else:
            # twice a window's rows: the last `window` ones always lie side by side
            self._ring = [np.zeros((2 * self.window, 1, x.shape[1]), x.dtype) for x in runner.xs]
            rows = [runner.output_rows(k, self.window, False) for k in range(len(runner.ys))]
            self._ys = [np.zeros((n, 1, y.shape[1]), y.dtype) for n, y in zip(rows, runner.ys, strict=True)]
            tensors, numbers = runner.description.tensors, runner.description.outputs
            self._answers = [y[-1, 0] if tensors[k].single else y[:, 0] for y, k in zip(self._ys, numbers, strict=True)]
        self._end = 0  # of the rows in the ring
        self._steps = 0  # since the last reset

    def _windows(self, carry: bool | None, window: int | None, hop: int | None) -> tuple[int | None, int | None]:
        """Window and hop, or None and None where the state is carried."""
        meta = self.runner.meta
        if carry is None:
            carry = window is None and meta.window is None
        if carry:
            if window is not None or hop is not None:
                raise InputError("window and hop are for exact windows; leave them out where the state is carried")
            return None, None
        window = meta.window if window is None else window
        if window is None:
            raise InputError("exact windows need a length: neither `window` nor the image names one")
        return _whole("window", window, least=1), _whole("hop", (meta.hop or 1) if hop is None else hop, least=1)

    def _check_model(self) -> None:
        """InputError for a model that cannot be fed so."""
        runner = self.runner
        if any(runner.description.tensors[k].single for k in runner.description.inputs):
            raise InputError("a Stream feeds samples, and an input of this model takes one row a run; use Runner.run")
        runner.set_lengths([0] * len(runner.xs))
        if self.window is None:
            runner.check_steps()
        else:
            runner.check_run(self.window)

    def __call__(self, samples: Iterable[Any]) -> Iterator[Answer]:
        """The answers to the samples, as they come; the stream goes on from where it was."""
        for sample in samples:
            answer = self.feed(sample)
            if answer is not None:
                yield answer

    def feed(self, sample: Any) -> Answer | None:
        """Take one sample in; its answer, or None where it gives none. InputError for what is no sample."""
        number = self.counts.samples
        self.counts.samples += 1
        time = None
        if self.period is not None:
            time, sample = self._timed(sample, number)
        self._read(sample, number)
        # outputs by position, and bytes for all(): with keywords and all() a sample costs 2 us more
        np.abs(self._raw, self._scaled)
        np.less_equal(self._scaled, self._limit, self._fits)  # NaN and infinity do not compare
        whole = self._fits.tobytes() == self._all_fit
        if not whole:
            self._too_large(number)
        if self.period is not None:
            self._clock(time, number)
        if whole:
            self._held = 0
        elif not self._fill(sample, number):
            return None
        self._raw, self._last = self._last, self._raw
        if not self._step(ask=True):
            return None
        self.counts.answers += 1
        if len(self._answers) == 1:
            return Answer(number, time, _unscaled(self._answers[0], self._scalers[0]), not whole)
        return Answer(number, time, tuple(map(_unscaled, self._answers, self._scalers)), not whole)

    def reset(self) -> None:
        """Forget all samples: state, window, last values and time. The counts and the numbers of samples go on."""
        self._reset()
        self._time = None

    # ---- a sample ----

    def _read(self, sample: Any, number: int) -> None:
        """The sample's values into `_raw`, NaN where there are none."""
        raw = self._raw
        if type(sample) is float and len(raw) == 1:
            raw[0] = sample
            return
        if sample is None:
            raw[:] = np.nan
            return
        if len(self._spans) == 1:
            raw[:] = _row(sample, len(raw), f"sample {number}")
            return
        if not isinstance(sample, tuple | list) or len(sample) != len(self._spans):
            raise InputError(f"sample {number} is not a tuple of {len(self._spans)} rows, one per input")
        for k, (row, span) in enumerate(zip(sample, self._spans, strict=True)):
            width = span.stop - span.start
            raw[span] = np.nan if row is None else _row(row, width, f"sample {number}, input {k}")

    def _too_large(self, number: int) -> None:
        """InputError if a value is a number, yet outside float32 once scaled."""
        for k in np.flatnonzero(~self._fits & np.isfinite(self._raw)):
            raise InputError(f"sample {number}: channel {self._names[k]} is {self._raw[k]:g}, beyond float32")

    def _fill(self, sample: Any, number: int) -> bool:
        """Make a sample with missing values whole, as the policy says; False if it is left out."""
        if self.gaps == "refuse":
            if sample is None:
                raise InputError(f"sample {number} is missing; choose gaps='hold', 'skip' or 'reset' to go on")
            channel = self._names[int(np.flatnonzero(~self._fits)[0])]
            raise InputError(
                f"sample {number}: channel {channel} is missing, NaN or infinite; "
                "choose gaps='hold', 'skip' or 'reset' to go on"
            )
        if self.gaps == "hold" and self._held < self.max_hold:
            np.copyto(self._raw, self._last, where=~self._fits)
            if np.isfinite(self._raw).all():
                self._held += 1
                self.counts.held += 1
                return True
        self._leave_out(1)
        return False

    def _leave_out(self, missing: int) -> None:
        self.counts.skipped += missing
        if self.gaps != "skip":
            if not self._fresh:
                self.counts.resets += 1
            self._reset()

    # ---- the clock ----

    def _timed(self, sample: Any, number: int) -> tuple[Any, Any]:
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise InputError(f"sample {number} is not (timestamp, sample), which `period` asks for")
        return sample[0], sample[1]

    def _clock(self, time: Any, number: int) -> None:
        """Handle what lies between the last timestamp and this one."""
        assert self.period is not None
        last, first = self._time, self._time is None
        try:
            passed = _seconds(time - (time if first else last))
        except (TypeError, ValueError) as error:
            raise InputError(f"sample {number}: timestamp {time!r} does not fit: {error}") from None
        if not isfinite(passed):
            raise InputError(f"sample {number}: timestamp {time!r} is no time")
        self._time = time
        if first:
            return
        if passed <= 0:
            self.counts.backward += 1
            if self.gaps == "refuse":
                raise InputError(
                    f"sample {number}: the clock went from {last} to {time}; "
                    "choose gaps='hold', 'skip' or 'reset' to go on"
                )
            if self.gaps == "reset":
                self._leave_out(0)
            return
        missing = int(passed / self.period + 0.5) - 1
        if missing < 1:
            return
        if self.gaps == "refuse":
            raise InputError(
                f"{missing} samples are missing before sample {number}, from {last} to {time}; "
                "choose gaps='hold', 'skip' or 'reset' to go on"
            )
        if self.gaps == "hold" and self._held + missing <= self.max_hold and np.isfinite(self._last).all():
            self._held += missing
            self.counts.held += missing
            for _ in range(missing):
                self._step(ask=False)
        else:
            self._leave_out(missing)

    # ---- a step ----

    def _step(self, ask: bool) -> bool:
        """Take `_last` in as the next step; True if it is asked for an answer and there is one."""
        np.multiply(self._last, self._scale, self._scaled)
        np.add(self._scaled, self._offset, self._scaled)
        if self._integers:
            for part, info in zip(self._parts, self._bounds, strict=True):
                if info is not None:
                    np.rint(part, part).clip(info.min, info.max, part)
        self._fresh = False
        if self.window is None:
            for target, part in zip(self._targets, self._parts, strict=True):
                target[:] = part
            self.runner.step()
            return ask and (self._even or self._wrote())
        assert self.hop is not None
        if self._end == 2 * self.window:
            for ring in self._ring:
                ring[: self.window - 1] = ring[self.window + 1 :]
            self._end = self.window - 1
        for ring, part in zip(self._ring, self._parts, strict=True):
            ring[self._end, 0] = part
        self._end += 1
        self._steps += 1
        past = self._steps - self.window
        if not ask or past < 0 or past % self.hop:
            return False
        runner, first = self.runner, self._end - self.window
        # the C core's own run: no arrays but those made once, and no other thread between reset and answer
        xs = [x[first : self._end] for x in self._ring]
        super(Runner, runner).run(xs, self._ys, self.window, False, False, fresh=True)
        return True

    def _wrote(self) -> bool:
        """Whether the last step wrote a row of each output."""
        rows = self.runner.rows
        return all(rows) if isinstance(rows, tuple) else rows > 0

    def _reset(self) -> None:
        self.runner.reset()
        self._last[:] = np.nan
        self._held = self._end = self._steps = 0
        self._fresh = True


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or not least <= value < 2**31:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least {least}")
    return value


def _period(period: Any) -> float:
    try:
        seconds = _seconds(period)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"period is {period!r}, expected seconds or a timedelta above 0")
    return seconds


def _seconds(span: Any) -> float:
    """A difference of two times in seconds."""
    if isinstance(span, timedelta):
        return span.total_seconds()
    if isinstance(span, np.timedelta64):
        return float(span / np.timedelta64(1, "s"))
    return float(span)


_Door: TypeAlias = "tuple[float, int] | None"
"""Scale and zero of an integer port, whose numbers are real all the same on a stream; None of a float one."""


def _doors(arrays: tuple[Any, ...], scales: tuple[float, ...], zeros: tuple[int, ...]) -> list[_Door]:
    return [(s, z) if a.dtype.kind == "i" else None for a, s, z in zip(arrays, scales, zeros, strict=True)]


def _scaler(scaler: Scaler | None, width: int, door: _Door) -> tuple[Array, Array]:
    """Scale and offset in float64; one and zero without a scaler. Those of an integer port lead to its integers."""
    scale, offset = np.ones(width), np.zeros(width)
    if scaler is not None:
        scale, offset = scaler.scale.astype(np.float64), scaler.offset.astype(np.float64)
    return (scale, offset) if door is None else (scale / door[0], offset / door[0] + door[1])


def _unscaled(y: Array, scaler: tuple[Array, Array] | None) -> Array:
    """The sensor's numbers of a model's, as a new float64 array."""
    if scaler is None:
        return y.astype(np.float64)
    values: Array = np.subtract(y, scaler[1])
    values /= scaler[0]
    return values


def _row(row: Any, width: int, what: str) -> Array:
    """A row of numbers, None and NaN as float64, None as NaN."""
    try:
        array = np.asarray(row)
        if array.dtype.kind == "O" and all(v is None or isinstance(v, float | int | np.number) for v in array.flat):
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{what} is not a row of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} holds {array.dtype} values, expected numbers")
    if array.shape != (width,) and (array.shape or width != 1):
        raise InputError(f"{what} has shape {array.shape}, expected ({width},)")
    return array
