"""NumPy: the step as one would write it by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import nets

FORMS = (nets.Form("float, by hand", False),)
VERSION = np.__version__


class State:
    """The net, its weights laid out for one product a layer, and its state."""

    def __init__(self, net: nets.Net) -> None:
        ordered = [layer.rows("ifog") for layer in net.layers]
        self.weights = [np.ascontiguousarray(np.hstack([kernel, recurrent])) for kernel, recurrent, _ in ordered]
        self.biases = [bias for _, _, bias in ordered]
        self.head = net.head
        self.reset()

    def reset(self) -> None:
        self.h = [np.zeros(len(b) // 4, np.float32) for b in self.biases]
        self.c = [np.zeros(len(b) // 4, np.float32) for b in self.biases]

    def step(self, x: np.ndarray) -> np.ndarray:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = weight @ np.concatenate((x, self.h[k])) + bias
            units = len(z) // 4
            gates = 1 / (1 + np.exp(-z[: 3 * units]))
            self.c[k] = gates[units : 2 * units] * self.c[k] + gates[:units] * np.tanh(z[3 * units :])
            x = self.h[k] = gates[2 * units :] * np.tanh(self.c[k])
        return x if self.head is None else self.head.kernel @ x + self.head.bias


def load(peer: str, folder: Path, form: str, mode: str) -> nets.Steps | nets.Sequence:
    net = nets.read(folder)
    if mode == nets.SEQ:
        return nets.Sequence((nets.STEPS, net.inputs), Whole(net).run)
    state = State(net)
    return nets.Steps((net.inputs,), state.step, state.reset)


class Whole:
    """Sequences: the inputs' product of all steps at once, then step by step."""

    def __init__(self, net: nets.Net) -> None:
        self.layers = [layer.rows("ifog") for layer in net.layers]
        self.head = net.head

    def run(self, xs: np.ndarray) -> np.ndarray:
        for kernel, recurrent, bias in self.layers:
            products = xs @ kernel.T + bias
            units = len(bias) // 4
            xs = np.empty((len(xs), units), np.float32)
            h = c = np.zeros(units, np.float32)
            for t, product in enumerate(products):
                z = product + recurrent @ h
                gates = 1 / (1 + np.exp(-z[: 3 * units]))
                c = gates[units : 2 * units] * c + gates[:units] * np.tanh(z[3 * units :])
                h = xs[t] = gates[2 * units :] * np.tanh(c)
        return xs if self.head is None else xs @ self.head.kernel.T + self.head.bias
