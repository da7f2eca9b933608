"""The machine temperature recording as windows, and how the forecasting examples are trained and evaluated on it."""

from __future__ import annotations

from pathlib import Path

import checkpoint
import compare
import numpy as np

from edgelstm import recording
from edgelstm.model import Meta, Port, Scaler

TRAIN = "2013-12-18", "2014-01-20"  # the first day, and the day after the last: no labelled failure within
TEST = "2014-01-20", "2014-01-27"


def stretch(days: tuple[str, str]) -> np.ndarray:
    """The temperatures of some days, one each five minutes: float64 [samples], in the recording's unit."""
    whole = recording.load()
    first, end = (np.datetime64(day) for day in days)
    return whole.values[(whole.times >= first) & (whole.times < end)]


def windows(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every window and the value after it: float32 [N, length, 1] and [N, 1]."""
    x = np.lib.stride_tricks.sliding_window_view(values, length)[:-1, :, None]
    return x.astype(np.float32), values[length:, None].astype(np.float32)


def minmax() -> Scaler:
    """The training stretch's range to 0 ... 1: what the model sees = raw * scale + offset."""
    values = stretch(TRAIN)
    scale = 1 / (values.max() - values.min())
    return Scaler([scale], [-values.min() * scale])


def meta(window: int) -> Meta:
    """What travels with a forecaster: both its ends are temperatures, scaled alike."""
    port = Port(channels=("temperature",), scaler=minmax())
    return Meta(inputs=(port,), outputs=(port,), window=window)


def scaled(days: tuple[str, str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows and the values after them, as the model sees them."""
    return windows(minmax().apply(stretch(days)), length)


def train(layers: list, length: int, path: Path, epochs: int = 40, rate: float = 1e-2) -> None:
    """Train Keras layers to forecast the value after a window; mean squared error."""
    import keras

    keras.utils.set_random_seed(1)
    x, y = scaled(TRAIN, length)
    model = keras.Sequential([keras.Input((length, 1)), *layers])
    decay = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(x) // 64))
    model.compile(keras.optimizers.Adam(decay, clipnorm=1.0), "mean_squared_error")
    model.fit(x, y, epochs=epochs, batch_size=64, verbose=2)
    checkpoint.save_keras(model, path)


def evaluate(model, trained: dict) -> dict[str, dict[str, float]]:
    """Every way of running a forecaster, on the test days: error as trained and in the recording's unit."""
    x, y = scaled(TEST, model.meta.window)
    samples = scaled(TRAIN, model.meta.window)[0][::8]

    def mse(answers):
        return np.square(answers - y).mean()

    def rmse(answers):
        inverse = model.meta.unscale_outputs
        return np.sqrt(np.square(inverse(answers) - inverse(y)).mean())

    persistence = compare.Way("persistence", x[:, -1])  # the last value once more
    return compare.table([*compare.run(model, x, samples, trained), persistence], {"MSE": mse, "RMSE": rmse})
