"""Models of every layer kind whose instructions are counted, small and random: for tools/measure_firmware.py.

A model is for fitting costs or for checking them: what is predicted of the second kind was not looked at in fitting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgelstm.layers import (
    LINEAR,
    SIGMOID,
    TANH,
    Activate,
    Activation,
    Conv1d,
    Dense,
    Embedding,
    Gru,
    Last,
    Layer,
    Lstm,
    Rnn,
)
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize

RELU, SOFTMAX, TABLE = Activation("relu"), Activation("softmax"), Activation("elu", 1.0)
LSTM_SIZES = ((8, 16), (16, 32), (32, 64), (64, 128))
"""What is counted beside CMSIS-NN: (inputs, units)."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    name: str
    model: Model
    hidden_bits: int = 8
    fits: bool = True  # False: it checks


def _weights(shape: tuple[int, ...], seed: int, scale: float = 1) -> np.ndarray:
    return scale * np.random.default_rng(seed).uniform(-1, 1, shape) / np.sqrt(shape[-1])


def lstm(units: int, **options: object) -> tuple[str, int, dict]:
    return "lstm", units, options


def gru(units: int, **options: object) -> tuple[str, int, dict]:
    return "gru", units, options


def rnn(units: int, **options: object) -> tuple[str, int, dict]:
    return "rnn", units, options


def dense(units: int, activation: Activation = LINEAR) -> tuple[str, int, dict]:
    return "dense", units, {"activation": activation}


def conv(units: int, taps: int, groups: int = 1, activation: Activation = LINEAR) -> tuple[str, int, dict]:
    return "conv", units, {"taps": taps, "groups": groups, "activation": activation}


def last() -> tuple[str, int, dict]:
    return "last", 0, {}


def activate(activation: Activation) -> tuple[str, int, dict]:
    return "activate", 0, {"activation": activation}


def embedding(columns: int) -> tuple[str, int, dict]:
    return "embedding", columns, {}


def model(inputs: int, *parts: tuple[str, int, dict], scale: float = 1) -> Model:
    """Layers one after the other, a step an input row each. scale: of weights; large ones make states large."""
    tensors, layers = [Tensor("x", inputs)], []
    for k, (kind, units, options) in enumerate(parts):
        width, reads, writes = tensors[-1].width, (tensors[-1].name,), (f"t{k}",)
        units = units or width
        name = f"{kind}{k}"
        layer: Layer
        match kind:
            case "lstm":
                shapes = ((4, units, width), (4, units, units), (4, units))
                layer = Lstm(name, reads, writes, *(_weights(shape, k, scale) for shape in shapes), **options)
            case "gru":
                shapes = ((3, units, width), (3, units, units), (3, units))
                layer = Gru(name, reads, writes, *(_weights(shape, k, scale) for shape in shapes), **options)
            case "rnn":
                shapes = ((units, width), (units, units), (units,))
                layer = Rnn(name, reads, writes, *(_weights(shape, k, scale) for shape in shapes), **options)
            case "dense":
                layer = Dense(name, reads, writes, _weights((units, width), k, scale), _weights((units,), k), **options)
            case "conv":
                taps, groups = options["taps"], options["groups"]
                groups = groups or width
                kernel, left = _weights((units, taps, width // groups), k), taps - 1
                bias = _weights((units,), k)
                layer = Conv1d(name, reads, writes, kernel, bias, options["activation"], groups, left=left)
            case "last":
                layer = Last(name, reads, writes)
            case "activate":
                layer = Activate(name, reads, writes, options["activation"])
            case "embedding":
                layer = Embedding(name, reads, writes, _weights((50, units), k))
                units *= width
        tensors.append(Tensor(writes[0], units))
        layers.append(layer)
    return Model(tuple(tensors), tuple(layers), ("x",), (tensors[-1].name,))


def quantized(counted: Counted) -> object:
    inputs = counted.model.width("x")
    random = np.random.default_rng(1)
    if isinstance(counted.model.layers[0], Embedding):
        samples = random.integers(0, 50, (2, 12, inputs)).astype(np.float32)
    else:
        samples = random.standard_normal((2, 12, inputs)).astype(np.float32)
    return quantize(counted.model, samples, hidden_bits=counted.hidden_bits, ranges="covering")


def integer_models() -> Iterator[Counted]:
    for inputs, units in LSTM_SIZES:
        yield Counted(f"lstm {inputs},{units}", model(inputs, lstm(units)))
    for inputs, units in ((1, 8), (3, 20), (5, 12), (12, 24), (9, 40), (24, 16), (7, 8)):
        yield Counted(f"lstm {inputs},{units}", model(inputs, lstm(units)))
    for inputs, units in (
        (28, 16), (36, 8), (44, 24), (60, 16), (70, 32), (83, 6), (100, 16), (128, 8), (48, 12), (64, 40), (96, 16),
        (52, 20), (76, 12),
    ):  # fmt: skip
        yield Counted(f"lstm {inputs},{units}", model(inputs, lstm(units)), fits=inputs not in (52, 76))
    for inputs, units in ((2, 10), (6, 52), (20, 33), (30, 96), (3, 5), (1, 100)):
        yield Counted(f"lstm {inputs},{units}", model(inputs, lstm(units)), fits=units in (52, 96))
    for inputs, units in (
        (3, 16),
        (8, 24),
        (6, 33),
        (12, 40),
        (20, 32),
    ):  # values larger than a function's range are halved before it
        name, fits = f"{inputs},{units} times 12", units != 33
        parts = (lstm(units), lstm(8))
        yield Counted(f"stack of lstm {name}", model(inputs, *parts, scale=12), fits=fits)
        yield Counted(f"h16 stack of lstm {name}", model(inputs, *parts, scale=12), hidden_bits=16, fits=fits)
    for units in (
        (8, 8), (16, 8), (8, 24), (40, 12), (24, 32), (20, 16), (12, 20), (28, 8), (4, 40), (36, 28), (52, 16),
        (60, 10), (12, 48), (44, 36), (64, 24), (32, 52), (48, 24), (56, 8),
        (16, 16), (32, 16), (8, 64), (128, 8), (64, 8), (68, 40), (72, 12), (80, 16), (16, 60), (32, 72),
    ):  # fmt: skip
        fits = units not in ((36, 28), (44, 36))
        yield Counted("stack of lstm {},{}".format(*units), model(4, *map(lstm, units)), fits=fits)
        yield Counted("h16 stack of lstm {},{}".format(*units), model(4, *map(lstm, units)), hidden_bits=16)
    yield Counted("h16 lstm 9,40", model(9, lstm(40)), hidden_bits=16, fits=False)
    for after in (True, False):
        which = "after" if after else "before"
        for inputs, units in (
            (1, 8),
            (8, 16),
            (16, 32),
            (5, 24),
            (12, 40),
            (9, 64),
            (4, 48),
            (10, 56),
            (3, 72),
            (32, 12),
            (64, 8),
            (28, 16),
            (40, 20),
            (6, 28),
            (20, 36),
        ):
            yield Counted(f"gru {which} {inputs},{units}", model(inputs, gru(units, reset_after=after)))
        for units in (
            (8, 8), (24, 16), (40, 12), (8, 32), (16, 40), (32, 24), (12, 48), (24, 56), (20, 64), (48, 8), (4, 16),
            (36, 8), (28, 20), (60, 28), (52, 36), (12, 12), (44, 44), (64, 52), (16, 24), (32, 8), (64, 16), (128, 8),
            (8, 60), (16, 72), (68, 8), (72, 32), (80, 24), (56, 20), (32, 64), (48, 12),
        ):  # fmt: skip
            parts = (gru(n, reset_after=after) for n in units)
            yield Counted(
                f"stack of gru {which} {units[0]},{units[1]}", model(4, *parts), fits=units not in ((32, 24), (28, 20))
            )
        yield Counted(f"gru {which} 20,33", model(20, gru(33, reset_after=after)), fits=False)
    for inputs, units in (
        (1, 8), (8, 16), (16, 40), (5, 24), (20, 33), (12, 8), (3, 16), (24, 32), (28, 12), (8, 48), (40, 16), (32, 8),
        (36, 64), (64, 20), (56, 24), (9, 96), (128, 16), (68, 56), (4, 12), (48, 36), (44, 28), (24, 40), (16, 72),
        (52, 4), (60, 60), (64, 64), (8, 8), (32, 24), (128, 32),
    ):  # fmt: skip
        fits = (inputs, units) not in ((20, 33), (24, 40), (44, 28))
        yield Counted(f"rnn {inputs},{units}", model(inputs, rnn(units)), fits=fits)
        yield Counted(f"stack of rnn {units},{inputs}", model(4, rnn(units), rnn(inputs)), fits=fits)
    for function in (LINEAR, SIGMOID, TANH, RELU, TABLE, SOFTMAX):
        for inputs, units in (
            (8, 1), (16, 10), (40, 3), (28, 24), (12, 9), (8, 33), (20, 2), (36, 4), (4, 13), (8, 7), (32, 16),
            (24, 22), (12, 30), (16, 5), (20, 40),
        ):  # fmt: skip
            name, fits = f"dense {function.name} {inputs},{units}", units not in (22, 33)
            yield Counted(f"lstm and {name}", model(3, lstm(inputs), last(), dense(units, function)), fits=fits)
            yield Counted(name, model(inputs, dense(units, function)), fits=fits)
            yield Counted(f"{name} apart", model(inputs, dense(units), activate(function)), fits=fits)
        for units in (1, 4, 7, 10, 13, 16, 17, 22, 24, 33, 40, 41):
            name = f"lstm {units} and {function.name}"
            yield Counted(name, model(3, lstm(units), activate(function)), fits=units != 33)
    for inputs, units in ((4, 8), (8, 3), (6, 12), (5, 24)):
        yield Counted(f"last of dense {inputs},{units}", model(inputs, dense(units), last()), fits=units != 12)
    for inputs, units in (
        (20, 16),
        (33, 5),
        (52, 40),
        (64, 8),
        (6, 24),
        (44, 20),
        (16, 64),
        (36, 48),
        (32, 12),
        (128, 8),
        (64, 24),
        (128, 20),
        (96, 8),
        (80, 16),
        (48, 3),
        (56, 30),
        (24, 6),
        (12, 40),
        (8, 32),
    ):
        yield Counted(f"dense {inputs},{units}", model(inputs, dense(units)), fits=units != 48)
        yield Counted(f"lstm and dense {inputs},{units}", model(3, lstm(inputs), dense(units)), fits=units != 48)
    for taps, inputs, units in (
        (1, 4, 8), (3, 4, 8), (3, 12, 16), (5, 3, 24), (2, 9, 40), (4, 6, 20), (1, 12, 24), (2, 5, 8), (3, 1, 16),
        (6, 2, 8), (2, 16, 16), (5, 8, 10), (4, 11, 8), (7, 6, 16), (1, 3, 40), (4, 10, 24),
        (3, 9, 16), (5, 7, 8), (3, 16, 8), (4, 13, 24), (3, 5, 12), (2, 3, 20), (6, 2, 28),
    ):  # fmt: skip
        for function in (LINEAR, RELU, *([TANH] if units > 16 or inputs < 6 else [])):
            name = f"conv {function.name} {taps},{inputs},{units}"
            parts = (conv(units, taps, activation=function), lstm(8))
            yield Counted(name, model(inputs, *parts), fits=(taps, inputs) not in ((4, 6), (4, 10), (4, 11)))
    for columns in (4, 10, 32, 17):
        yield Counted(f"embedding {columns}", model(1, embedding(columns), lstm(8)), fits=columns != 17)
    yield Counted("whole: lstm 32 16, dense", model(6, lstm(32), lstm(16), last(), dense(4)), fits=False)
    yield Counted("whole: gru, dense, softmax", model(10, gru(28), last(), dense(5, SOFTMAX)), fits=False)
    yield Counted(
        "whole: conv, lstm, dense", model(6, conv(12, 3, activation=RELU), lstm(36), last(), dense(3)), fits=False
    )


def saturated_models() -> Iterator[Counted]:
    """Whose gates and states are at their ends step by step: what branches there may take less than what was fitted."""
    for inputs, units in ((8, 16), (2, 64), (1, 100), (3, 5), (32, 64)):
        for biases in ((40, -40, 40, 40), (40, 40, 40, 40), (-40, -40, -40, -40)):
            made = model(inputs, lstm(units), scale=0.3)
            gates = np.zeros((4, units)) + np.array(biases)[:, None]
            layers = (replace(made.layers[0], bias=gates),)
            yield Counted(f"lstm {inputs},{units} of biases {biases}", replace(made, layers=layers), fits=False)
        for name, kind in (("lstm", lstm), ("gru", gru), ("rnn", rnn)):
            yield Counted(f"{name} {inputs},{units} times 300", model(inputs, kind(units), scale=300), fits=False)
        yield Counted(f"lstm, dense {units} times 300", model(inputs, lstm(8), dense(units), scale=300), fits=False)


def float_models() -> Iterator[Counted]:
    for inputs, units in (
        (1, 8), (8, 16), (3, 20), (16, 32), (9, 40), (5, 12), (24, 16), (4, 24), (2, 9), (7, 30), (6, 11), (12, 48),
        (13, 15), (10, 18), (20, 7), (32, 23), (11, 36), (14, 27), (19, 4), (15, 64),
    ):  # fmt: skip
        yield Counted(f"lstm {inputs},{units}", model(inputs, lstm(units)))
        yield Counted(f"gru after {inputs},{units}", model(inputs, gru(units)))
        yield Counted(f"gru before {inputs},{units}", model(inputs, gru(units, reset_after=False)))
        yield Counted(f"rnn {inputs},{units}", model(inputs, rnn(units)))
    for inputs, units in ((10, 33), (12, 25), (8, 41), (5, 35), (7, 46), (9, 33), (3, 27)):
        yield Counted(f"rnn {inputs},{units}", model(inputs, rnn(units)))
        yield Counted(f"gru before {inputs},{units}", model(inputs, gru(units, reset_after=False)))
    for taps, inputs, units in (
        (1, 4, 8), (3, 4, 8), (3, 12, 16), (5, 3, 24), (2, 9, 40), (4, 6, 20), (2, 5, 8), (3, 1, 16), (6, 2, 8),
        (5, 8, 10), (4, 11, 8), (7, 6, 16), (1, 3, 33), (4, 10, 24),
    ):  # fmt: skip
        for function in (LINEAR, RELU, TANH):
            parts = (conv(units, taps, activation=function), lstm(8))
            name = f"conv {function.name} {taps},{inputs},{units}"
            yield Counted(name, model(inputs, *parts), fits=(taps, inputs) not in ((4, 6), (4, 11)))
    for columns in (4, 10, 32, 17):
        yield Counted(f"embedding {columns}", model(1, embedding(columns), lstm(8)), fits=columns != 17)
    for function in (LINEAR, SIGMOID, TANH, RELU, SOFTMAX):
        for inputs, units in (
            (8, 1), (16, 10), (40, 3), (24, 24), (8, 33), (9, 2), (14, 4), (23, 5), (4, 13), (32, 16), (7, 7), (11, 30),
            (6, 22),
        ):  # fmt: skip
            name = f"dense {function.name} {inputs},{units}"
            yield Counted(name, model(3, lstm(inputs), last(), dense(units, function)), fits=units not in (22, 33))
            apart = model(inputs, dense(units), activate(function))
            yield Counted(f"{name} apart", apart, fits=units not in (22, 33))
    for inputs, units in (
        (5, 8), (6, 16), (7, 24), (9, 8), (10, 32), (11, 16), (20, 40), (30, 8), (13, 24), (18, 16), (27, 12), (15, 3),
        (2, 5), (33, 6), (64, 7), (22, 20),
    ):  # fmt: skip
        yield Counted(f"dense {inputs},{units}", model(inputs, dense(units)), fits=units != 20)
    yield Counted("lstm 20,33", model(20, lstm(33)), fits=False)
    yield Counted("gru after 20,33", model(20, gru(33)), fits=False)
    yield Counted("gru before 20,33", model(20, gru(33, reset_after=False)), fits=False)
    yield Counted("rnn 20,33", model(20, rnn(33)), fits=False)
    yield Counted("whole: lstm 32 16, dense", model(6, lstm(32), lstm(16), last(), dense(4)), fits=False)
