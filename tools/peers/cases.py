"""What is measured: the grid and the stacks, with random weights of a trained net's size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelstm import reference
from edgelstm.layers import Dense, Lstm
from edgelstm.model import Model, Tensor

from . import nets

SAMPLES = 4
"""Sequences for whoever needs ranges."""


@dataclass(frozen=True)
class Case:
    """LSTM layers of the given units, and a Dense where there are outputs."""

    name: str
    inputs: int
    units: tuple[int, ...]
    outputs: int | None = None

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-")


GRID = tuple(Case(f"{inputs}-{2 * inputs}", inputs, (2 * inputs,)) for inputs in (8, 16, 32, 64, 128, 256, 512))
SENSOR = Case("sensor stack", 9, (64, 64), 6)
BIG = Case("big stack", 80, (512, 512, 512), 30)
CASES = (*GRID, SENSOR, BIG)


def build(case: Case) -> nets.Net:
    """Weights and biases within 1 / sqrt(units), and 1 more for the forget gate's bias."""
    random = np.random.default_rng(7)

    def uniform(bound: float, *shape: int) -> np.ndarray:
        return random.uniform(-bound, bound, shape).astype(np.float32)

    layers = []
    inputs = case.inputs
    for units in case.units:
        bound = units**-0.5
        bias = uniform(bound, 4, units)
        bias[1] += 1
        layers.append(nets.Layer(uniform(bound, 4, units, inputs), uniform(bound, 4, units, units), bias))
        inputs = units
    bound = inputs**-0.5
    head = nets.Head(uniform(bound, case.outputs, inputs), uniform(bound, case.outputs)) if case.outputs else None
    return nets.Net(tuple(layers), head)


def as_model(net: nets.Net) -> Model:
    """The same net as EdgeLSTM describes it; every step is an answer."""
    tensors, layers = [Tensor("x", net.inputs)], []
    for k, layer in enumerate(net.layers):
        layers.append(Lstm(f"lstm{k}", (tensors[-1].name,), (f"h{k}",), *layer))
        tensors.append(Tensor(f"h{k}", layer.units))
    if net.head is not None:
        layers.append(Dense("dense", (tensors[-1].name,), ("y",), *net.head))
        tensors.append(Tensor("y", net.outputs))
    return Model(tuple(tensors), tuple(layers), ("x",), (tensors[-1].name,))


def write(case: Case, work: Path) -> Path:
    """The case's folder, with all that peers share."""
    folder = work / case.folder
    folder.mkdir(parents=True, exist_ok=True)
    net = build(case)
    random = np.random.default_rng(8)
    samples = random.standard_normal((SAMPLES, nets.STEPS, case.inputs)).astype(np.float32)
    x = random.standard_normal((nets.STEPS, case.inputs)).astype(np.float32)
    nets.write(net, folder)
    np.save(folder / "samples.npy", samples)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", reference.run(as_model(net), (x[None],))[0][0])
    return folder
