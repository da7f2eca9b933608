"""NumPy: the step as one would write it by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import nets

FORMS = (nets.Form("float, by hand", False),)
VERSION = np.__version__


def halved(layer: nets.Layer) -> tuple[np.ndarray, ...]:
    """Kernel, recurrent and bias in the order i, f, o, g, with all but g for half of z.

    The sigmoid of z is 0.5 + 0.5 tanh(z / 2), so that one call of tanh does for all four gates.
    """
    scale = np.repeat(np.float32([0.5, 0.5, 0.5, 1]), layer.units)
    kernel, recurrent, bias = layer.rows("ifog")
    return kernel * scale[:, None], recurrent * scale[:, None], bias * scale


def cell(z: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The new h and c."""
    units = len(c)
    gates = np.tanh(z)
    i, f, o = (0.5 + 0.5 * gates[: 3 * units]).reshape(3, units)
    c = f * c + i * gates[3 * units :]
    return o * np.tanh(c), c


class State:
    """The net, its weights laid out for one product a layer, and its state."""

    def __init__(self, net: nets.Net) -> None:
        ordered = [halved(layer) for layer in net.layers]
        self.weights = [np.ascontiguousarray(np.hstack([kernel, recurrent])) for kernel, recurrent, _ in ordered]
        self.biases = [bias for _, _, bias in ordered]
        self.head = net.head
        self.reset()

    def reset(self) -> None:
        self.h = [np.zeros(len(b) // 4, np.float32) for b in self.biases]
        self.c = [np.zeros(len(b) // 4, np.float32) for b in self.biases]

    def step(self, x: np.ndarray) -> np.ndarray:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x, self.c[k] = cell(weight @ np.concatenate((x, self.h[k])) + bias, self.c[k])
            self.h[k] = x
        return x if self.head is None else self.head.kernel @ x + self.head.bias


class Whole:
    """Sequences: the inputs' product of all steps at once, then step by step."""

    def __init__(self, net: nets.Net) -> None:
        self.layers = [halved(layer) for layer in net.layers]
        self.head = net.head

    def run(self, xs: np.ndarray) -> np.ndarray:
        for kernel, recurrent, bias in self.layers:
            products = xs @ kernel.T + bias
            xs = np.empty((len(xs), len(bias) // 4), np.float32)
            h = c = np.zeros(xs.shape[1], np.float32)
            for t, product in enumerate(products):
                h, c = cell(product + recurrent @ h, c)
                xs[t] = h
        return xs if self.head is None else xs @ self.head.kernel.T + self.head.bias


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    net = nets.read(folder)
    if mode == nets.SEQ:
        return nets.Sequence((nets.STEPS, net.inputs), Whole(net).run)
    state = State(net)
    return nets.Steps((net.inputs,), state.step, state.reset)
