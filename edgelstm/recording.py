"""The demo's recording, the rule that raises alarms on it, and how they are scored (docs/demo.md)."""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .meta import Array

DATA = Path(__file__).parent / "demo_data"
NAME = "machine_temperature_system_failure"
PERIOD = 300  # seconds between samples

FIT = ("2013-12-18T00:00", "2014-01-07T00:00")
"""The checkpoint is fitted to these 20 days; no labelled window is near."""
QUIET = ("2014-01-07T00:00", "2014-01-17T00:00")
"""The 10 days after them, equally without a label, set the threshold: errors on data not fitted to."""

HOUR, DAY, MONTH = 12, 288, 30 * 288  # samples
BUDGET = 1.0  # false alarms a month that the threshold is set for


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Samples in the order in which they came; the clock steps back once."""

    times: Array  # datetime64[s] [T]
    values: Array  # float64 [T], degrees Fahrenheit
    windows: tuple[tuple[int, int], ...]  # labelled, [first, last] sample
    fit: slice
    quiet: slice

    @property
    def scored(self) -> Array:
        """bool [T]: True where the model never saw the data, neither to fit nor to set the threshold."""
        mask = np.ones(len(self.values), np.bool_)
        mask[self.fit] = mask[self.quiet] = False
        return mask

    @property
    def labelled(self) -> Array:
        """bool [T]: True inside the labelled windows."""
        mask = np.zeros(len(self.values), np.bool_)
        for first, last in self.windows:
            mask[first : last + 1] = True
        return mask


def load() -> Recording:
    """The recording that comes with this package."""
    with np.load(DATA / f"{NAME}.npz") as stored:
        times = stored["start"] + np.concatenate([[0], stored["seconds"].astype(np.int64).cumsum()])
        # the bytes of float32 side by side, first all first ones, by bzip2: 23 % less in the archive
        values = np.ascontiguousarray(stored["values"].T).view("<f4")[:, 0].astype(np.float64)
    labels = json.loads((DATA / "anomaly_windows.json").read_text("utf-8"))[f"{NAME}.csv"]
    windows = []
    for start, end in labels:
        inside = np.flatnonzero((times >= np.datetime64(start, "s")) & (times <= np.datetime64(end, "s")))
        windows.append((int(inside[0]), int(inside[-1])))
    return Recording(times, values, tuple(windows), _stretch(times, FIT), _stretch(times, QUIET))


def _stretch(times: Array, ends: tuple[str, str]) -> slice:
    start, stop = (int(np.argmax(times >= np.datetime64(end, "s"))) for end in ends)
    return slice(start, stop)


# ---- the rule ----


class Watch:
    """Scores forecast errors as they come: the size of their mean over the last hour.

    What single samples add to it at random cancels; what stays is a forecast led astray in one direction.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=HOUR)

    def score(self, error: float) -> float:
        """The score after this error, in the sensor's unit; NaN before the first hour is full."""
        self._last.append(error)
        return abs(math.fsum(self._last)) / HOUR if len(self._last) == HOUR else math.nan


def scores(errors: Array) -> Array:
    """`Watch.score` of each error [T]; errors that are NaN (no forecast yet) are left out."""
    watch = Watch()
    return np.array([math.nan if math.isnan(error) else watch.score(error) for error in errors.tolist()])


def threshold(quiet: Array) -> float:
    """The score that a normal machine passes in one of MONTH / BUDGET samples, from the scores of a quiet stretch.

    A Gumbel distribution (which maxima tend to) is laid through the half-days' maxima by their mean and deviation.
    """
    block = DAY // 2
    peaks = quiet[: len(quiet) // block * block].reshape(-1, block).max(axis=1)
    scale = peaks.std(ddof=1) * math.sqrt(6) / math.pi
    mode = peaks.mean() - np.euler_gamma * scale
    return float(mode - scale * math.log(-math.log1p(-BUDGET * block / MONTH)))


# ---- the score ----


@dataclass(frozen=True, slots=True)
class Alarm:
    """A time of scores above the threshold; less than a day below it does not end it."""

    first: int  # sample that raised it
    last: int  # last sample above the threshold
    peak: float  # highest score
    windows: tuple[int, ...]  # numbers of the labelled windows it was on in; none: a false alarm


@dataclass(frozen=True, slots=True)
class Verdict:
    """Alarms beside the labels, on the scored part alone."""

    alarms: tuple[Alarm, ...]
    found: tuple[int, ...]  # numbers of the labelled windows with an alarm in them
    false_alarms: int
    days: float  # scored days outside labelled windows

    @property
    def false_a_month(self) -> float:
        return self.false_alarms * 30 / self.days


def judge(recording: Recording, score: Array, limit: float) -> Verdict:
    """The alarms that scores [T] above `limit` raise."""
    above = np.flatnonzero((score > limit) & recording.scored)  # NaN is not above
    alarms = []
    for group in np.split(above, np.flatnonzero(np.diff(above) > DAY) + 1) if len(above) else ():
        hit = (k for k, (first, last) in enumerate(recording.windows) if ((group >= first) & (group <= last)).any())
        alarms.append(Alarm(int(group[0]), int(group[-1]), float(score[group].max()), tuple(hit)))
    found = sorted({number for alarm in alarms for number in alarm.windows})
    days = float((recording.scored & ~recording.labelled).sum()) / DAY
    return Verdict(tuple(alarms), tuple(found), sum(not alarm.windows for alarm in alarms), days)


def rmse(errors: Array) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.square(errors).mean()))
