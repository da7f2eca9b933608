"""LSTM(50, activation="relu"), Dropout, Dense(1): forecasts the temperature from the two hours before.

    python relu_cell.py              # the committed checkpoint, every way there is to run it
    python relu_cell.py --train      # trains it again, in Keras

A relu cell's h has no bound, so its int8 scale is measured on the training windows instead of being 1/127.
TFLite's LSTM knows no relu: those two lines are missing from the table.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import compare
import series

import edgelstm

CHECKPOINT = Path(__file__).with_name("relu_cell.keras")
WINDOW = 24


def train():
    from keras import layers

    series.train([layers.LSTM(50, activation="relu"), layers.Dropout(0.1), layers.Dense(1)], WINDOW, CHECKPOINT)


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
