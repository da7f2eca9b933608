"""LSTM(128, return_sequences=True), LSTM(64), Dense(10, softmax): handwritten digits, read row by row.

    python digits.py                     # both committed checkpoints, every way there is to run them
    python digits.py --train keras       # trains one again: keras or torch

An image of 8 x 8 pixels is a sequence of 8 steps of 8 values. The last 360 images, by writers of their own, are the
test. The data set is described in README.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import checkpoint
import compare
import numpy as np

import edgelstm
from edgelstm.model import Meta, Port, Scaler

HERE = Path(__file__).parent
KERAS, TORCH = HERE / "digits.keras", HERE / "digits.pt"
FITTED = 1437  # images; the 360 after them are the test
EPOCHS, BATCH, RATE = 60, 64, 3e-3


def images() -> tuple[np.ndarray, np.ndarray]:
    """All images, float32 [1797, 8, 8] from 0 to 1, and their digits."""
    with np.load(HERE / "digits.npz") as file:
        return file["images"].astype(np.float32) / 16, file["labels"].astype(np.int64)


def shifted(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by up to one pixel in both directions: every epoch sees others."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    return np.stack([image[a : a + 8, b : b + 8] for image, (a, b) in zip(padded, random.integers(0, 3, (len(x), 2)))])


def train_keras():
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    x, label = (part[:FITTED] for part in images())
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.LSTM(128, return_sequences=True),
            layers.Dropout(0.3),
            layers.LSTM(64),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    decay = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * -(-FITTED // BATCH))
    model.compile(keras.optimizers.Adam(decay, clipnorm=1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    for _ in range(EPOCHS):
        model.fit(shifted(x, random), label, batch_size=BATCH, verbose=2)
    checkpoint.save_keras(model, KERAS)


def torch_net():
    """The net in PyTorch. Its softmax is left to the loss, as usual, so the checkpoint does not know of it."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm1 = nn.LSTM(8, 128, batch_first=True)
            self.lstm2 = nn.LSTM(128, 64, batch_first=True)
            self.dropout = nn.Dropout(0.3)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            h, _ = self.lstm1(x)
            h, _ = self.lstm2(self.dropout(h))
            return self.out(self.dropout(h[:, -1]))

    torch.manual_seed(1)
    return Net()


def train_torch():
    import torch

    torch.set_num_threads(1)
    random = np.random.default_rng(1)
    x, label = (part[:FITTED] for part in images())
    net = torch_net()
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    batches = -(-FITTED // BATCH)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * batches)
    for epoch in range(EPOCHS):
        moved, total = shifted(x, random), 0.0
        for chosen in np.array_split(random.permutation(FITTED), batches):
            loss = torch.nn.functional.cross_entropy(
                net(torch.from_numpy(moved[chosen])), torch.from_numpy(label[chosen])
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            decay.step()
            total += loss.item() / batches
        print(f"epoch {epoch + 1:2}  loss {total:.4f}", flush=True)
    checkpoint.save_torch(net, TORCH)


def torch_program(x):
    """The PyTorch checkpoint in PyTorch itself: what is compared with, where torch is installed."""
    try:
        import torch
    except ImportError:
        raise edgelstm.MissingError("pip install torch") from None
    net = torch_net().eval()
    net.load_state_dict(torch.load(TORCH))  # half precision becomes the net's float32
    with torch.no_grad():
        return torch.softmax(net(torch.from_numpy(x)), dim=1).numpy()


def evaluate(framework: str):
    """Accuracy and cross-entropy on the test images, for the checkpoint of "keras" or "torch"."""
    x, label = images()
    if framework == "keras":
        model, trained = edgelstm.read(KERAS), {"Keras": compare.keras(KERAS)}
    else:
        model, trained = edgelstm.read(TORCH, head="last,softmax"), {"PyTorch": torch_program}
    pixels = Port(scaler=Scaler([1 / 16] * 8, [0] * 8))
    digits = Port(labels=tuple("0123456789"))
    model = replace(model, meta=Meta(inputs=(pixels,), outputs=(digits,), window=8))
    test, answer = x[FITTED:], label[FITTED:]

    def loss(p):  # int8 answers may be 0: no probability below half of TFLite's smallest step
        return -np.log(np.maximum(p[np.arange(len(p)), answer], 1 / 512)).mean()

    ways = compare.run(model, test, x[:FITTED:4], trained)
    return compare.table(ways, {"accuracy": lambda p: (p.argmax(axis=1) == answer).mean(), "loss": loss})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", choices=("keras", "torch"), help="train one again instead")
    chosen = parser.parse_args().train
    if chosen:
        {"keras": train_keras, "torch": train_torch}[chosen]()
    else:
        for name in ("keras", "torch"):
            print(name)
            evaluate(name)
