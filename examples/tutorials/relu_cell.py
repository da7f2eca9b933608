"""LSTM(50, activation="relu"), Dropout, Dense(1): forecasts the temperature from the two hours before.

    python relu_cell.py              # the committed checkpoint, every way there is to run it
    python relu_cell.py --unrolled   # and TFLite after all; needs tensorflow
    python relu_cell.py --train      # trains it again, in Keras

A relu cell's h has no bound, so its int8 scale is measured on the training windows instead of being fixed.
TFLite's LSTM operator knows no relu, so those lines are missing from the table; `--unrolled` lays the 24 steps out as
plain operators and has TensorFlow's own converter write them.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import compare
import numpy as np
import series

import edgelstm
from edgelstm import peers

CHECKPOINT = Path(__file__).with_name("relu_cell.keras")
WINDOW = 24


def train():
    from keras import layers

    series.train([layers.LSTM(50, activation="relu"), layers.Dropout(0.1), layers.Dense(1)], WINDOW, CHECKPOINT)


def unrolled(model, kind, x):
    """TFLite's answers for the cell in plain operators: "float" or "int8"."""
    import tensorflow as tf

    lstm, _, head = model.layers
    w, r, b = (np.concatenate(part).T for part in (lstm.kernel, lstm.recurrent, lstm.bias))

    @tf.function(input_signature=[tf.TensorSpec((1, WINDOW, 1), tf.float32)])
    def net(x):
        h = c = tf.zeros((1, lstm.units))
        for t in range(WINDOW):
            i, f, g, o = tf.split(tf.matmul(x[:, t], w) + tf.matmul(h, r) + b, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.nn.relu(g)
            h = tf.sigmoid(o) * tf.nn.relu(c)
        return tf.matmul(h, head.kernel.T) + head.bias

    converter = tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()])
    if kind == "int8":
        samples = series.scaled(series.TRAIN, WINDOW)[0][::24, None]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "unrolled.tflite")  # a file runs in a process of its own, without TensorFlow
        file.write_bytes(converter.convert())
        return peers.run_tflite(file, [x]).ys[0]


def evaluate(with_tensorflow=False):
    model = replace(edgelstm.read(CHECKPOINT), meta=series.meta(WINDOW))
    programs = {"Keras": compare.keras(CHECKPOINT)}
    if with_tensorflow:
        programs |= {f"TFLite {kind}, unrolled": partial(unrolled, model, kind) for kind in ("float", "int8")}
    return series.evaluate(model, programs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unrolled", action="store_true", help="compare with TFLite too; needs tensorflow")
    parser.add_argument("--train", action="store_true", help="train it again instead")
    options = parser.parse_args()
    if options.train:
        train()
    else:
        evaluate(options.unrolled)
