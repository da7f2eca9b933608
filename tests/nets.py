"""Seeded models for the tests."""

from __future__ import annotations

import numpy as np

from edgelstm.layers import LINEAR, SIGMOID, TANH, Activate, Activation, Dense, Last, Lstm
from edgelstm.model import Meta, Model, Tensor

_NUMBERS = {
    "clip": (-0.8, 0.6), "ramp": (0.4, 0.3), "affine": (0.7, -0.2), "rectify": (0.2, 0.3, 1.1), "threshold": (0.1, 0.4),
    "shrink": (0.3, 0.2), "squareplus": (0.5,), "scaled_softplus": (-1.5, 0.9), "scaled_tanh": (0.9, 1.7),
}  # fmt: skip


def activation(name):
    """The activation of a name, with numbers of its own."""
    return Activation(name, *_NUMBERS.get(name, (0.3,)))


def lstm(name, read, write, inputs, units, random, *, activation=TANH, gate=SIGMOID, clip=None, scale=1.5):
    """A layer with uniform weights of a trained layer's size."""
    bound = scale / np.sqrt(units)
    return Lstm(
        name,
        (read,),
        (write,),
        random.uniform(-bound, bound, (4, units, inputs)),
        random.uniform(-bound, bound, (4, units, units)),
        random.uniform(-0.5, 0.5, (4, units)),
        activation,
        gate,
        clip,
    )


def stack(inputs, units, head=2, *, seed=0, last=True, head_activation=LINEAR, activate=None, meta=None, **options):
    """LSTM layers of the given units, then Last, then an Activate and a Dense where asked for."""
    random = np.random.default_rng(seed)
    tensors, layers = [Tensor("x", inputs)], []

    def add(layer, width):
        layers.append(layer)
        tensors.append(Tensor(layer.writes[0], width))

    for k, n in enumerate(units):
        add(lstm(f"lstm{k}", tensors[-1].name, f"h{k}", tensors[-1].width, n, random, **options), n)
    if last:
        add(Last("last", (tensors[-1].name,), ("kept",)), tensors[-1].width)
    if activate is not None:
        add(Activate("activate", (tensors[-1].name,), ("activated",), activation(activate)), tensors[-1].width)
    if head is not None:
        width = tensors[-1].width
        bound = 2 / np.sqrt(width)
        kernel, bias = random.uniform(-bound, bound, (head, width)), random.uniform(-0.5, 0.5, head)
        add(Dense("dense", (tensors[-1].name,), ("y",), kernel, bias, head_activation), head)
    return Model(tuple(tensors), tuple(layers), ("x",), (tensors[-1].name,), meta=meta or Meta())


def two_heads(inputs=4, units=6, seed=0):
    """Two inputs of different widths, a branch, and two outputs: a sequence and a last step."""
    random = np.random.default_rng(seed)
    layers = (
        lstm("a", "x", "ha", inputs, units, random),
        lstm("b", "u", "hb", 2, units + 1, random),
        Last("last", ("ha",), ("kept",)),
        Dense("one", ("kept",), ("y1",), random.standard_normal((3, units)), random.standard_normal(3), TANH),
        Dense("two", ("hb",), ("y2",), random.standard_normal((2, units + 1)), random.standard_normal(2)),
    )
    widths = {"x": inputs, "u": 2, "ha": units, "hb": units + 1, "kept": units, "y1": 3, "y2": 2}
    tensors = tuple(Tensor(name, width) for name, width in widths.items())
    return Model(tensors, layers, ("x", "u"), ("y1", "y2"))


def signal(shape, seed=0):
    """A smooth seeded signal, like a sensor's: [N, T, width] float32."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal(shape).cumsum(axis=1) * 0.3
    return (steps - steps.mean(axis=1, keepdims=True)).astype(np.float32)
