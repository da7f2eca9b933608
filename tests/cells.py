"""Seeded recurrent layers with every option, alone in a model, and inputs for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from nets import activation, signal

from edgelstm.layers import ACTIVATIONS, OVER_VALUES, SIGMOID, TANH, Activation, Constant, Gru, Lstm, Rnn
from edgelstm.model import Model, Tensor

RELU = Activation("relu")
SOFTSIGN = Activation("softsign")

CASES = {
    "gru": ("gru", {}),
    "gru, reset before": ("gru", {"reset_after": False}),
    "gru, clip": ("gru", {"clip": 0.5, "units": 12}),
    "gru, relu": ("gru", {"activation": RELU, "units": 8}),
    "gru, other functions": ("gru", {"gate_activation": Activation("hard_sigmoid"), "activation": SOFTSIGN}),
    "gru, gates below 0": ("gru", {"gate_activation": TANH, "units": 3}),
    "gru, masked": ("gru", {"masked": True, "units": 9}),
    "gru, started": ("gru", {"initial": True, "reset_after": False}),
    "gru, masked, started": ("gru", {"masked": True, "initial": True, "units": 17}),
    "gru, masked, from a constant": ("gru", {"masked": True, "constant": True, "units": 9}),
    "rnn": ("rnn", {}),
    "gru, periods": ("gru", {"period": 4, "masked": True, "units": 9}),
    "rnn, periods": ("rnn", {"period": 1}),
    "lstm, periods": ("lstm", {"period": 2}),
    "lstm, periods from a constant": (
        "lstm", {"period": 4, "constant": True, "masked": True, "writes_c": True, "projected": 3, "peepholes": True},
    ),
    "rnn, relu": ("rnn", {"activation": RELU, "units": 12}),
    "rnn, elu, clip": ("rnn", {"activation": Activation("elu", 0.5), "clip": 0.4}),
    "rnn, masked, started": ("rnn", {"masked": True, "initial": True, "units": 30}),
    "rnn, from a constant": ("rnn", {"constant": True}),
    "lstm, from a constant": ("lstm", {"constant": True, "projected": 3}),
    "lstm, masked": ("lstm", {"masked": True, "units": 11}),
    "lstm, writes c": ("lstm", {"writes_c": True}),
    "lstm, started": ("lstm", {"initial": True, "writes_c": True}),
    "lstm, masked, started": ("lstm", {"masked": True, "initial": True, "writes_c": True, "units": 9}),
    "lstm, projected": ("lstm", {"projected": 7, "units": 11}),
    "lstm, peepholes": ("lstm", {"peepholes": True, "units": 10}),
    "lstm, coupled": ("lstm", {"coupled": True}),
    "lstm, clip": ("lstm", {"clip": 0.5}),
    "lstm, cell function": ("lstm", {"cell_activation": RELU, "cell_clip": 1.0}),
    "lstm, norm": ("lstm", {"norm": True, "units": 11}),
    "lstm, norm of one unit": ("lstm", {"norm": True, "units": 1, "projected": 3, "projection_bias": True}),
    "lstm, projected with a bias": ("lstm", {"projected": 7, "units": 11, "projection_bias": True}),
    "lstm, projected with a clip": ("lstm", {"projected": 19, "units": 11, "projection_clip": 0.1}),
    "lstm, norm and all options": (
        "lstm",
        {"masked": True, "initial": True, "writes_c": True, "projected": 17, "peepholes": True, "coupled": True,
         "clip": 0.7, "cell_clip": 0.3, "cell_activation": SOFTSIGN, "units": 19, "norm": True, "period": 7,
         "projection_bias": True, "projection_clip": 0.2},
    ),
    "lstm, all options": (
        "lstm",
        {"masked": True, "initial": True, "writes_c": True, "projected": 17, "peepholes": True, "coupled": True,
         "clip": 0.7, "cell_clip": 0.3, "cell_activation": SOFTSIGN, "units": 19},
    ),
}  # fmt: skip


FLOATS = [name for name, (_, options) in CASES.items() if {"norm", "projection_clip"} & set(options)]
"""Those that int8 has not."""


def cell_model(cell, seed=0, *, inputs=3, units=5, projected=0, peepholes=False, norm=False, projection_bias=False,
               writes_c=False, constant=False, **options):  # fmt: skip
    """A model of one layer, its inputs x | mask | h | c and its outputs h | c. `constant`: h and c are constants."""
    random = np.random.default_rng(seed)
    bound = 1.5 / np.sqrt(units)

    def draw(*shape):
        return random.uniform(-bound, bound, shape)

    options["initial"] = initial = constant or options.get("initial", False)
    masked = options.get("masked", False)
    outputs = projected or units
    tensors = [Tensor("x", inputs)]
    tensors += [Tensor("mask", 1)] if masked else []
    if initial:
        tensors += [Tensor("h0", outputs, True), *([Tensor("c0", units, True)] if cell == "lstm" else [])]
    reads = tuple(t.name for t in tensors)
    starts = tuple(Constant(t.name, ("x",), (t.name,), draw(t.width)) for t in tensors if t.single and constant)
    writes = ("h", "c") if writes_c else ("h",)
    if cell == "lstm":
        fields = {"kernel": draw(4, units, inputs), "recurrent": draw(4, units, outputs)}
        fields["bias"] = random.uniform(-0.5, 0.5, (4, units))
        if peepholes:
            options["peephole"] = draw(3, units)
        if norm:
            options["norm"] = random.uniform(-1.5, 1.5, (4, units))
        if projection_bias:
            options["projection_bias"] = random.uniform(-0.5, 0.5, outputs)
        if options.get("coupled"):
            for values in (*fields.values(), *(options[key] for key in ("peephole", "norm") if key in options)):
                values[1] = 0
        if projected:
            options["projection"] = draw(projected, units)
        layer = Lstm("cell", reads, writes, **fields, **options)
    elif cell == "gru":
        if options.get("reset_after", True):
            options["reset_bias"] = random.uniform(-0.5, 0.5, units)
        bias = random.uniform(-0.5, 0.5, (3, units))
        layer = Gru("cell", reads, writes, draw(3, units, inputs), draw(3, units, units), bias, **options)
    else:
        bias = random.uniform(-0.5, 0.5, units)
        layer = Rnn("cell", reads, writes, draw(units, inputs), draw(units, units), bias, **options)
    written = [Tensor(name, width) for name, width in zip(writes, (outputs, units), strict=False)]
    held = [start.name for start in starts]
    tensors = [replace(t, single=t.single and not constant) for t in tensors]
    return Model((*tensors, *written), (*starts, layer), tuple(n for n in reads if n not in held), writes)


def case(name, seed=0):
    """The model of one of CASES."""
    cell, options = CASES[name]
    return cell_model(cell, seed, **options)


def inputs_of(model, count, steps, seed=0):
    """One array an input, [N, T, width] or [N, width]; the first steps of every mask do not count."""
    random = np.random.default_rng(seed)
    xs = []
    for k, name in enumerate(model.inputs):
        tensor = next(t for t in model.tensors if t.name == name)
        if tensor.single:
            xs.append(random.uniform(-0.8, 0.8, (count, tensor.width)).astype(np.float32))
        elif name == "mask":
            mask = (random.random((count, steps, 1)) < 0.7).astype(np.float32)
            mask[:, :2] = 0
            xs.append(mask)
        else:
            xs.append(signal((count, steps, tensor.width), seed + k))
    return tuple(xs)


def samples_of(model, seed=9):
    """Samples for quantize."""
    xs = inputs_of(model, 6, 24, seed)
    return xs if len(xs) > 1 else xs[0]


BOUNDED = [Activation(name) for name in ("tanh", "sigmoid", "hard_sigmoid", "hard_sigmoid_fifth", "softsign")]
BOUNDED += [activation(name) for name in ("clip", "ramp", "scaled_tanh")]
ANY = [activation(name) for name in ACTIVATIONS if name not in (*OVER_VALUES, "exponential")]
GATES = [SIGMOID, Activation("hard_sigmoid"), Activation("hard_sigmoid_fifth"), activation("ramp")]


@st.composite
def drawn(draw, cells=("lstm", "gru", "rnn"), floats=False):
    """A model of one layer with random options, kept within what grows by nothing but the weights. `floats`: with
    what int8 has not."""
    cell = draw(st.sampled_from(cells))
    units = draw(st.integers(1, 40))
    options = {
        "inputs": draw(st.integers(1, 12)),
        "units": units,
        "masked": draw(st.booleans()),
        "initial": draw(st.booleans()),
        "constant": draw(st.integers(0, 3)) == 0,
        "period": draw(st.sampled_from((0, 0, 1, 11))),
        "clip": draw(st.sampled_from((None, None, 0.3, 2.0))),
        "activation": draw(st.sampled_from([TANH, TANH, *BOUNDED] if cell == "lstm" else [TANH, RELU, *BOUNDED])),
    }
    if cell != "rnn":
        options["gate_activation"] = draw(st.sampled_from(GATES))
    if cell == "gru":
        options["reset_after"] = draw(st.booleans())
    if cell == "lstm":
        options["coupled"], options["peepholes"] = draw(st.booleans()), draw(st.booleans())
        options["writes_c"], options["cell_clip"] = draw(st.booleans()), draw(st.sampled_from((None, 0.5)))
        options["projected"] = draw(st.integers(1, 20)) if draw(st.booleans()) else 0
        options["cell_activation"] = draw(st.sampled_from((None, *BOUNDED)))
        options["projection_bias"] = options["projected"] > 0 and draw(st.booleans())
        if floats:
            options["norm"] = units >= 8 and draw(st.booleans())  # of few units all may be the same but for rounding
            options["projection_clip"] = draw(st.sampled_from((None, 0.2))) if options["projected"] else None
    if cell == "rnn" and options["activation"] == RELU:
        options["clip"] = 2.0
    return cell_model(cell, draw(st.integers(0, 2**31)), **options)
