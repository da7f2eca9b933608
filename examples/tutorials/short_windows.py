"""LSTM(50, return_sequences=True), LSTM(50), Dense(1) on windows of shape (10, 1): fifty minutes of temperature.

    python short_windows.py              # the committed checkpoint, every way there is to run it
    python short_windows.py --train      # trains it again, in Keras

The same stack on windows of 60 steps, with alarms and as a stream, is `edgelstm demo`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import compare
import series

import edgelstm

CHECKPOINT = Path(__file__).with_name("short_windows.keras")
WINDOW = 10


def train():
    from keras import layers

    series.train([layers.LSTM(50, return_sequences=True), layers.LSTM(50), layers.Dense(1)], WINDOW, CHECKPOINT)


def evaluate():
    model = replace(edgelstm.read(CHECKPOINT), meta=series.meta(WINDOW))
    return series.evaluate(model, {"Keras": compare.keras(CHECKPOINT)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train it again instead")
    if parser.parse_args().train:
        train()
    else:
        evaluate()
