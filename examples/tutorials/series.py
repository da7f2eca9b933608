"""The machine temperature recording as windows: what the two forecasting examples share."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np

RECORDING = "machine_temperature_system_failure.csv"  # MIT; beside the demo, with its notice
TRAIN = "2013-12-18", "2014-01-20"  # first day and the day after the last: no labelled failure within
TEST = "2014-01-20", "2014-01-27"


def stretch(days: tuple[str, str]) -> np.ndarray:
    """The temperatures of some days, one each five minutes: float64 [samples], in the recording's unit."""
    text = resources.files("edgelstm").joinpath("demo_data", RECORDING).read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return np.array([float(row["value"]) for row in rows if days[0] <= row["timestamp"] < days[1]])


def windows(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every window and the value after it: float32 [N, length, 1] and [N]."""
    x = np.lib.stride_tricks.sliding_window_view(values, length)[:-1, :, None]
    return x.astype(np.float32), values[length:].astype(np.float32)


class MinMax:
    """Scales the range of `values` to 0 ... 1, and back."""

    def __init__(self, values: np.ndarray):
        self.low, self.high = float(values.min()), float(values.max())

    def scale(self, values: np.ndarray) -> np.ndarray:
        return ((values - self.low) / (self.high - self.low)).astype(np.float32)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return values * (self.high - self.low) + self.low
