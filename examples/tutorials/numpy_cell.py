"""An LSTM written in NumPy: a matrix per gate, no biases, trained by its own backpropagation through time.

    python numpy_cell.py             # its weights as an EdgeLSTM model: the same answers, then int8
    python numpy_cell.py --train     # trains again; NumPy is all it takes

The cell is 16 units wide and forecasts the machine temperature from the twelve values before it. numpy_cell.toml is
what a NumPy program of your own needs: it names the matrices of the .npz and their order, EdgeLSTM does the rest.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import series

import edgelstm

WEIGHTS = Path(__file__).with_name("numpy_cell.npz")
ARCHITECTURE = WEIGHTS.with_suffix(".toml")
UNITS, WINDOW = 16, 12
GATES = ("i", "f", "g", "o")


# ---- the NumPy program ----


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def forward(w, x):
    """The forecast of windows x [N, T, inputs]; also each step's values, for the way back."""
    h = c = np.zeros((len(x), UNITS))
    trace = []
    for t in range(x.shape[1]):
        i, f, o = (sigmoid(x[:, t] @ w[f"W_{k}"] + h @ w[f"U_{k}"]) for k in ("i", "f", "o"))
        g = np.tanh(x[:, t] @ w["W_g"] + h @ w["U_g"])
        before = h, c
        c = f * c + i * g  # both from the step before: h too, in all four gates
        h = o * np.tanh(c)
        trace.append((x[:, t], *before, i, f, g, o, c))
    return h @ w["V"], h, trace


def backward(w, h, trace, error):
    """Gradients of half the squared error, summed over the windows; error: forecast - target, [N, 1]."""
    gradients = {name: np.zeros_like(value) for name, value in w.items()}
    gradients["V"] = h.T @ error
    dh, dc = error @ w["V"].T, 0.0
    for x, h_before, c_before, i, f, g, o, c in reversed(trace):
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        dz = {
            "i": dc * g * i * (1 - i),
            "f": dc * c_before * f * (1 - f),
            "g": dc * i * (1 - g**2),
            "o": dh * np.tanh(c) * o * (1 - o),
        }
        dh, dc = sum(dz[k] @ w[f"U_{k}"].T for k in GATES), dc * f
        for k in GATES:
            gradients[f"W_{k}"] += x.T @ dz[k]
            gradients[f"U_{k}"] += h_before.T @ dz[k]
    return gradients


def initial(random):
    """Eight gate matrices and the head's, float64."""
    w = {}
    for k in GATES:
        w[f"W_{k}"] = random.normal(0, 0.5, (1, UNITS))
        w[f"U_{k}"] = random.normal(0, 0.5 / np.sqrt(UNITS), (UNITS, UNITS))
    return w | {"V": random.normal(0, 0.25, (UNITS, 1))}


def train(epochs=40, batch=64, rate=5e-3):
    """Adam on the mean squared error; writes the weights as float32."""
    random = np.random.default_rng(1)
    x, y = series.scaled(series.TRAIN, WINDOW)
    w = initial(random)
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in w.items()}
    update, updates = 0, epochs * (len(x) // batch)
    for epoch in range(epochs):
        total = 0.0
        for chosen in random.permutation(len(x))[: len(x) // batch * batch].reshape(-1, batch):
            forecast, h, trace = forward(w, x[chosen].astype(np.float64))
            error = forecast - y[chosen]
            total += float((error**2).mean())
            update += 1
            for name, gradient in backward(w, h, trace, error / batch).items():
                first, second = moments[name]
                first += 0.1 * (gradient - first)
                second += 0.001 * (gradient**2 - second)
                mean, square = first / (1 - 0.9**update), second / (1 - 0.999**update)
                w[name] -= rate * 0.5 * (1 + np.cos(np.pi * update / updates)) * mean / (np.sqrt(square) + 1e-8)
        print(f"epoch {epoch + 1:2}  mean squared error {total / (len(x) // batch):.3e}", flush=True)
    np.savez_compressed(WEIGHTS, **{name: value.astype(np.float32) for name, value in w.items()})


# ---- its weights as a model ----


def model():
    """The EdgeLSTM model of the committed matrices, as numpy_cell.toml names them."""
    return dataclasses.replace(edgelstm.read(WEIGHTS, architecture=ARCHITECTURE), meta=series.meta(WINDOW))


def evaluate():
    """Every way of running the committed weights, the program itself among them."""
    with np.load(WEIGHTS) as file:
        w = dict(file)
    return series.evaluate(model(), {"NumPy, float64": lambda x: forward(w, x.astype(np.float64))[0]})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train it again instead")
    if parser.parse_args().train:
        train()
    else:
        evaluate()
