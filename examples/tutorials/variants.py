"""Six more nets of the tutorials on the handwritten digits, read row by row: masked, bidirectional, stacked, attention,
CNN-LSTM and GRU.

    python variants.py                   # the committed checkpoints, every way there is to run each
    python variants.py gru --train       # trains one again, in Keras

In `masked` a fifth of the rows is missing: their pixels are -1 and a Masking layer hides them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import checkpoint
import compare
import digits
import numpy as np

import edgelstm
from edgelstm.model import Meta, Port

HERE = Path(__file__).parent
EPOCHS, BATCH, RATE = 30, 64, 5e-3
MISSING = -1.0


def nets(layers):
    """The layers of each net between its input and Dense(10, softmax)."""

    def attention(x):
        h = layers.LSTM(32, return_sequences=True)(x)
        return layers.GlobalAveragePooling1D()(layers.Attention()([h, h]))

    def chain(*parts):
        def net(x):
            for part in parts:
                x = part(x)
            return x

        return net

    return {
        "masked": lambda: chain(layers.Masking(MISSING), layers.LSTM(128)),
        "bidirectional": lambda: chain(layers.Bidirectional(layers.LSTM(32))),
        "stacked": lambda: chain(*(layers.LSTM(32, return_sequences=k < 2) for k in range(3))),
        "attention": lambda: attention,
        "cnn_lstm": lambda: chain(layers.Conv1D(32, 3, padding="causal", activation="relu"), layers.LSTM(32)),
        "gru": lambda: chain(layers.GRU(32)),
    }


NAMES = ("masked", "bidirectional", "stacked", "attention", "cnn_lstm", "gru")


def file(name: str) -> Path:
    return HERE / f"variant_{name}.keras"


def missing(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The images with a fifth of their rows missing."""
    return np.where(random.random((*x.shape[:2], 1)) < 0.2, np.float32(MISSING), x)


def train(name: str) -> None:
    import keras

    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    x, label = (part[: digits.FITTED] for part in digits.images())
    inputs = keras.Input((8, 8))
    answer = keras.layers.Dense(10, activation="softmax")(nets(keras.layers)[name]()(inputs))
    model = keras.Model(inputs, answer)
    decay = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * -(-len(x) // BATCH))
    model.compile(keras.optimizers.Adam(decay, clipnorm=1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    for _ in range(EPOCHS):
        moved = digits.shifted(x, random)
        model.fit(missing(moved, random) if name == "masked" else moved, label, batch_size=BATCH, verbose=0)
    checkpoint.save_keras(model, file(name))


def step_by_step(model, x: np.ndarray) -> np.ndarray:
    """The device path of a causal model: a row of the image at a time."""
    runner = edgelstm.Runner(model)
    answers = []
    for image in x:
        runner.reset()
        for row in image:
            y = runner.step(row)
        answers.append(y.copy())
    return np.stack(answers)


def evaluate(name: str) -> dict[str, dict[str, float]]:
    """Accuracy and cross-entropy of a net on the test images."""
    x, label = digits.images()
    if name == "masked":
        x = missing(x, np.random.default_rng(2))
    test, answer = x[digits.FITTED :], label[digits.FITTED :]
    model = edgelstm.read(file(name))
    model = replace(model, meta=Meta(outputs=(Port(labels=tuple("0123456789")),), window=8))
    programs = {"Keras": compare.keras(file(name))}
    if model.timing.causal:
        programs["EdgeLSTM f32, step by step"] = lambda x: step_by_step(model, x)

    def loss(p):  # int8 answers may be 0: no probability below half of TFLite's smallest step
        return -np.log(np.maximum(p[np.arange(len(p)), answer], 1 / 512)).mean()

    ways = compare.run(model, test, x[: digits.FITTED : 4], programs)
    return compare.table(ways, {"accuracy": lambda p: (p.argmax(axis=1) == answer).mean(), "loss": loss})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all unless given")
    parser.add_argument("--train", action="store_true", help="train again instead")
    options = parser.parse_args()
    for name in options.names or NAMES:
        print(name, flush=True)
        (train if options.train else evaluate)(name)
