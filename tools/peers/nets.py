"""The nets as arrays in a folder, and what every peer's module works with. NumPy alone, so that it weighs nothing.

A case's folder holds weights.npz, x.npy [STEPS, inputs] to answer, y.npy with its float64 answers, and samples.npy
[sequences, STEPS, inputs] for whoever needs ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

STEPS = 128
"""Of a sequence, and of one call in SEQ."""

STREAM, SEQ, CALL = "stream", "seq", "call"
"""One step from Python; a sequence in one call; one step in C."""


@dataclass(frozen=True)
class Form:
    """One way in which a peer does the work."""

    name: str
    quantized: bool
    modes: tuple[str, ...] = (STREAM, SEQ)
    why: str = ""  # the reason where a mode is missing
    answers: bool = True  # no: there is nothing to check


class Layer(NamedTuple):
    """Gates i, f, g, o."""

    kernel: np.ndarray  # [4, units, inputs]
    recurrent: np.ndarray  # [4, units, units]
    bias: np.ndarray  # [4, units]

    @property
    def units(self) -> int:
        return self.kernel.shape[1]

    @property
    def inputs(self) -> int:
        return self.kernel.shape[2]

    def rows(self, order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kernel, recurrent and bias with their gates one below the other in the order given."""
        taken = ["ifgo".index(gate) for gate in order]
        kernel, recurrent, bias = (a[taken].reshape(4 * self.units, *a.shape[2:]) for a in self)
        return kernel, recurrent, bias


class Head(NamedTuple):
    """A Dense layer without activation."""

    kernel: np.ndarray  # [outputs, units]
    bias: np.ndarray  # [outputs]


class Net(NamedTuple):
    """LSTM layers one on top of the other, and perhaps a Dense on them."""

    layers: tuple[Layer, ...]
    head: Head | None

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].units if self.head is None else len(self.head.bias)


class Steps(NamedTuple):
    """A net that steps and carries its state."""

    shape: tuple[int, ...]  # of x
    step: Callable[[np.ndarray], np.ndarray]  # the answer may be overwritten by the next step
    reset: Callable[[], object]
    outputs: int | None = None  # how many of the answer's values are the net's, where more come with them


class Sequence(NamedTuple):
    """A net that answers STEPS steps in one call, from a zero state."""

    shape: tuple[int, ...]  # of x
    run: Callable[[np.ndarray], np.ndarray]


class Call(NamedTuple):
    """A net that is timed in C."""

    answers: Callable[[np.ndarray], np.ndarray]  # of a sequence
    nanoseconds: Callable[[int], float]  # a step, over so many steps


def write(net: Net, folder: Path) -> None:
    """Keep the weights in a folder."""
    named = {f"{name}{k}": a for k, layer in enumerate(net.layers) for name, a in layer._asdict().items()}
    head = {} if net.head is None else {"head_kernel": net.head.kernel, "head_bias": net.head.bias}
    np.savez(folder / "weights.npz", **named, **head)


def read(folder: Path) -> Net:
    """The net of a folder."""
    with np.load(folder / "weights.npz") as kept:
        named = dict(kept)
    count = sum(name.startswith("recurrent") for name in named)
    layers = tuple(Layer(*(named[f"{name}{k}"] for name in Layer._fields)) for k in range(count))
    return Net(layers, Head(named["head_kernel"], named["head_bias"]) if "head_bias" in named else None)
