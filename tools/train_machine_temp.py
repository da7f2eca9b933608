"""Train the demo's checkpoint: two LSTM layers that forecast a machine's temperature five minutes ahead.

Needs Keras 3 with TensorFlow. From the root of the repository, four minutes on one core:

    OMP_NUM_THREADS=1 PYTHONPATH=. python tools/train_machine_temp.py

Only the stretch `recording.FIT` is fitted to. `recording.QUIET`, which sets the threshold of the alarms, is shown
beside it; the rest, on which the demo is scored, is not looked at. The seed is fixed and one thread computes, so the
same versions on the same kind of CPU give the same weights.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from edgelstm import recording

UNITS, DROPOUT, WINDOW = 32, 0.1, 60
EPOCHS, BATCH, RATE, CLIP, SEED = 30, 32, 5e-3, 1.0, 1

META = """\
# Written by tools/train_machine_temp.py: the smallest and largest value of the stretch that was fitted to.
window = {window}
hop = 1

[[inputs]]
channels = ["temperature"]
units = ["°F"]
scaler = {{ min = {low!r}, max = {high!r}, range = [-1, 1] }}

[[outputs]]
channels = ["temperature in 5 minutes"]
units = ["°F"]
scaler = {{ min = {low!r}, max = {high!r}, range = [-1, 1] }}
"""


def windows(values, stretch):
    """Windows and the value after each, for the values of a stretch; a window may start before it."""
    x = values[max(stretch.start - WINDOW, 0) : stretch.stop].astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(x, WINDOW)[:-1, :, None], x[WINDOW:, None]


def network():
    return keras.Sequential(
        [
            keras.Input((WINDOW, 1)),
            keras.layers.LSTM(UNITS, return_sequences=True),
            keras.layers.Dropout(DROPOUT),
            keras.layers.LSTM(UNITS),
            keras.layers.Dense(1),
        ],
        name="machine_temp",
    )


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)
    data = recording.load()
    low, high = float(data.values[data.fit].min()), float(data.values[data.fit].max())
    scaled = 2 * (data.values - low) / (high - low) - 1
    x, y = windows(scaled, slice(data.fit.start + WINDOW, data.fit.stop))  # its first windows lie within it too
    quiet_x, quiet_y = windows(scaled, data.quiet)
    model = network()
    rate = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * -(-len(x) // BATCH))
    model.compile(keras.optimizers.Adam(rate, clipnorm=CLIP), "mse")
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    for name, xs, ys in (("fitted to", x, y), ("quiet", quiet_x, quiet_y)):
        errors = ((high - low) / 2 * (e - ys) for e in (model.predict(xs, verbose=0), xs[:, -1]))
        print(f"{name}: RMSE {recording.rmse(next(errors)):.4f}, persistence {recording.rmse(next(errors)):.4f} °F")
    bare = network()  # not compiled: the optimizer's state stays out of the file
    bare.set_weights(model.get_weights())
    bare.save(recording.DATA / "machine_temp.keras")
    text = META.format(window=WINDOW, low=low, high=high)
    (recording.DATA / "machine_temp.toml").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
