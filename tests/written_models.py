"""Small float models, one for every layer and option, that a .tflite file is written of."""

from __future__ import annotations

import numpy as np

from edgelstm import reference
from edgelstm.exporters import tflite
from edgelstm.layers import (
    ACTIVATIONS,
    LINEAR,
    LOG_SIGMOID,
    SIGMOID,
    TANH,
    Activate,
    Activation,
    Attention,
    Combine,
    Constant,
    Conv1d,
    Crop,
    Dense,
    Embedding,
    Group,
    Gru,
    Last,
    LayerNorm,
    Lstm,
    Mask,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    SoftmaxSteps,
    Split,
    Transpose,
)
from edgelstm.model import Model, Tensor

STEPS, WIDTH, UNITS, WORDS = 8, 4, 5, 7
RELU = Activation("relu")
_random = np.random.default_rng(0)


def w(*shape):
    return _random.uniform(-0.6, 0.6, shape).astype(np.float32)


def net(*layers, outputs=("y",), **inputs):
    """A model of layers; inputs by width, negative where they have one row a run. x has WIDTH values unless told."""
    inputs = inputs or {"x": WIDTH}
    widths = {name: abs(width) for name, width in inputs.items()}
    for layer in layers:
        widths |= dict(zip(layer.writes, layer.widths(tuple(widths[n] for n in layer.reads)), strict=True))
    tensors = tuple(Tensor(name, width, inputs.get(name, 1) < 0) for name, width in widths.items())
    return Model(tensors, layers, tuple(inputs), outputs)


def lstm(reads=("x",), writes=("y",), inputs=WIDTH, outputs=UNITS, name="lstm", **options):
    kernel, recurrent, bias = w(4, UNITS, inputs), w(4, UNITS, outputs), w(4, UNITS)
    if options.get("coupled"):
        rows = [options[key] for key in ("peephole", "norm") if key in options]
        for array in (kernel, recurrent, bias, *rows):
            array[1] = 0
    return Lstm(name, reads, writes, kernel, recurrent, bias, **options)


def gru(reads=("x",), writes=("y",), inputs=WIDTH, name="gru", **options):
    return Gru(name, reads, writes, w(3, UNITS, inputs), w(3, UNITS, UNITS), w(3, UNITS), **options)


def rnn(reads=("x",), writes=("y",), name="rnn", **options):
    return Rnn(name, reads, writes, w(UNITS, WIDTH), w(UNITS, UNITS), w(UNITS), **options)


def dense(reads="x", writes="y", inputs=WIDTH, units=WIDTH, activation=LINEAR):
    return Dense(f"dense {writes}", (reads,), (writes,), w(units, inputs), w(units), activation)


def both_ways(cell, kind):
    """A cell in both directions."""
    return net(
        cell(writes=("forward",), name="forward"), Reverse("turned", ("x",), ("turned",)),
        cell(reads=("turned",), writes=("back",), name="backward"), Reverse("turned back", ("back",), ("backward",)),
        Combine("both", ("forward", "backward"), ("y",), kind),
    )  # fmt: skip


def masked(*layers, **options):
    return net(Mask("mask", ("x",), ("kept", "mask")), *layers, **options)


def attention(**options):
    parts = [dense("x", key, units=units) for key, units in (("q", 4), ("v", 6), ("k", 4))]
    return net(*parts, Attention("attention", ("q", "v", "k"), ("y",), **options))


def behind(layer, *more):
    """A layer, and a function behind it: a reshape that nothing follows is told by its answer's shape alone."""
    return net(layer, *more, Activate("function", (layer.writes[0] if not more else more[-1].writes[0],), ("y",), TANH))


NUMBERS = {
    "leaky_relu": (0.2,), "elu": (0.7,), "clip": (-0.5, 0.4), "ramp": (0.3, 0.4), "affine": (0.5, -0.2),
    "rectify": (0, 0.2, 0.7), "shrink": (0.3, 0.3), "celu": (0.6,), "scaled_softplus": (2.0, 25.0),
    "scaled_tanh": (1.7, 0.66),
}  # fmt: skip
FUNCTIONS = tuple(name for name in ACTIVATIONS if name not in ("linear", "threshold", "squareplus"))
OF_CELLS = (
    "sigmoid",
    "relu",
    "relu6",
    "leaky_relu",
    "softsign",
    "gelu",
    "gelu_tanh",
    "silu",
    "hard_sigmoid",
    "linear",
    "elu",
)

STATES = {"x": WIDTH, "h": -UNITS, "c": -UNITS}
STARTED = {"reads": ("x", "h", "c"), "initial": True}

CELLS = {
    "lstm": net(lstm()),
    "lstm clip": net(lstm(cell_clip=0.3)),
    "lstm peepholes": net(lstm(peephole=w(3, UNITS))),
    "lstm projection": net(lstm(outputs=3, projection=w(3, UNITS))),
    "lstm coupled": net(lstm(coupled=True)),
    "lstm coupled, peepholes": net(lstm(coupled=True, peephole=w(3, UNITS))),
    "lstm norm": net(lstm(norm=w(4, UNITS))),
    "lstm norm, coupled": net(lstm(norm=w(4, UNITS), coupled=True)),
    "lstm all": net(lstm(
        outputs=3, projection=w(3, UNITS), projection_bias=w(3), projection_clip=0.2, peephole=w(3, UNITS),
        norm=w(4, UNITS), cell_clip=0.4,
    )),
    "lstm stacked": net(lstm(writes=("a",)), lstm(reads=("a",), inputs=UNITS, name="second")),
    "lstm coupled, in a loop": net(lstm(coupled=True, cell_activation=Activation("relu"))),
    "lstm gates": net(lstm(gate_activation=Activation("hard_sigmoid"))),
    "lstm gates, Keras 2": net(lstm(gate_activation=Activation("hard_sigmoid_fifth"))),
    "lstm from states": net(lstm(**STARTED), **STATES),
    "lstm from constants": net(
        Constant("h", ("x",), ("h",), w(UNITS)), Constant("c", ("x",), ("c",), w(UNITS)), lstm(**STARTED)
    ),
    "lstm states": net(
        lstm(**STARTED, writes=("y", "cells")), Last("last h", ("y",), ("last h",)),
        Last("last c", ("cells",), ("last c",)), outputs=("y", "last h", "last c"), **STATES,
    ),
    "lstm masked": masked(lstm(reads=("kept", "mask"), masked=True)),
    "lstm masked, backwards": masked(
        Reverse("turned", ("kept",), ("turned",)), Reverse("turned mask", ("mask",), ("turned mask",)),
        lstm(reads=("turned", "turned mask"), masked=True),
    ),
    "lstm mask given": net(lstm(reads=("x", "mask"), masked=True), x=WIDTH, mask=1),
    "lstm decoder": net(
        lstm(writes=("h", "c")), Last("last h", ("h",), ("last h",)), Last("last c", ("c",), ("last c",)),
        lstm(reads=("u", "last h", "last c"), inputs=3, initial=True, name="decoder"), x=WIDTH, u=3,
    ),
    "lstm both ways": both_ways(lstm, "concatenate"),
    "lstm behind the last": net(Last("last", ("x",), ("a",)), lstm(reads=("a",))),
    "gru": net(gru(reset_bias=w(UNITS))),
    "gru reset before": net(gru(reset_after=False)),
    "gru functions": net(gru(activation=Activation("relu"), gate_activation=Activation("hard_sigmoid"))),
    "gru masked": masked(gru(reads=("kept", "mask"), masked=True)),
    "gru from a state": net(gru(reads=("x", "h"), initial=True), x=WIDTH, h=-UNITS),
    "gru both ways": both_ways(gru, "average"),
    "gru behind the last": net(Last("last", ("x",), ("a",)), gru(reads=("a",))),
    "rnn": net(rnn()),
    "rnn relu": net(rnn(activation=Activation("relu"))),
    "rnn sigmoid": net(rnn(activation=SIGMOID)),
    "rnn from a state": net(rnn(reads=("x", "h"), initial=True), x=WIDTH, h=-UNITS),
    "rnn masked": masked(rnn(reads=("kept", "mask"), masked=True)),
    **{f"lstm of {name}": net(lstm(activation=Activation(name, *NUMBERS.get(name, ())))) for name in OF_CELLS},
}  # fmt: skip

_WINDOWS = {
    "": {}, " strided": {"stride": 2}, " same": {"same": True}, " same, strided": {"same": True, "stride": 2},
    " padded": {"left": 1, "right": 1},
}  # fmt: skip


def conv(groups=1, units=6, taps=3, activation=RELU, **options):
    kernel = w(units, taps, WIDTH // groups)
    return net(Conv1d("conv", ("x",), ("y",), kernel, w(units), activation, groups, **options))


AROUND = {
    **{f"dense {f}": net(dense(units=3, activation=Activation(f, *NUMBERS.get(f, ())))) for f in FUNCTIONS},
    **{f"{f} alone": net(Activate("f", ("x",), ("y",), Activation(f, *NUMBERS.get(f, ())))) for f in FUNCTIONS},
    "dense": net(dense()),
    "log sigmoid": net(Activate("f", ("x",), ("y",), LOG_SIGMOID)),
    "convs, lstm": net(
        Conv1d("first", ("x",), ("a",), w(6, 3, WIDTH), w(6), RELU, dilation=2, left=4),
        Conv1d("second", ("a",), ("b",), w(WIDTH, 2, 6), w(WIDTH), TANH, left=1), lstm(reads=("b",)),
    ),
    "embedding": net(Embedding("words", ("x",), ("y",), w(WORDS, 3)), x=1),
    "embedding, two a step": net(Embedding("words", ("x",), ("y",), w(WORDS, 3)), x=2),
    "embedding, lstm": net(Embedding("words", ("x",), ("e",), w(WORDS, WIDTH)), lstm(reads=("e",)), x=1),
    "mask": masked(outputs=("kept", "mask")),
    "norm": net(LayerNorm("norm", ("x",), ("y",), w(WIDTH), w(WIDTH), 1e-3)),
    "softmax over steps": net(SoftmaxSteps("softmax", ("x",), ("y",))),
    **{
        f"{kind}{name}": net(*first, Combine("join", ("x", "a"), ("y",), kind))
        for kind in ("concatenate", "add", "subtract", "multiply", "average", "maximum", "minimum")
        for name, first in {"": (dense(writes="a"),), ", one for all": (Last("last", ("x",), ("a",)),)}.items()
    },
    "average of three": net(dense(writes="a"), dense(writes="b"), Combine("join", ("x", "a", "b"), ("y",), "average")),
    "product of three": net(dense(writes="a"), dense(writes="b"), Combine("join", ("x", "a", "b"), ("y",), "multiply")),
    "constant": net(Constant("row", ("x",), ("a",), w(WIDTH)), Combine("join", ("x", "a"), ("y",), "add")),
    "a value for all": net(dense(writes="a", units=1), Combine("join", ("x", "a"), ("y",), "multiply")),
    **{f"conv{name}": conv(**options) for name, options in _WINDOWS.items()},
    "conv dilated": conv(dilation=2),
    "conv causal": conv(left=2),
    "conv groups": conv(groups=2),
    "conv of each value": conv(groups=WIDTH, units=8, left=2, activation=TANH),
    "conv sigmoid": conv(same=True, activation=SIGMOID),
    "conv periods": conv(period=4),
    **{
        f"{kind} pool{name}": net(Pool1d("pool", ("x",), ("y",), kind, 3, **options))
        for kind in ("max", "average") for name, options in _WINDOWS.items()
    },
    "max pool periods": net(Pool1d("pool", ("x",), ("y",), "max", 2, 2, period=4)),
    "average pool, padding counts": net(Pool1d("pool", ("x",), ("y",), "average", 3, 2, 1, 1, count_padding=True)),
    **{f"{kind} over steps": net(Reduce("all", ("x",), ("y",), kind)) for kind in ("mean", "max", "sum")},
    **{f"{kind} of periods": net(Reduce("all", ("x",), ("y",), kind, period=4)) for kind in ("mean", "max", "sum")},
    "mean of steps that count": masked(Reduce("all", ("kept", "mask"), ("y",), "mean", masked=True)),
    "sum of steps that count": masked(Reduce("all", ("kept", "mask"), ("y",), "sum", masked=True)),
    "last": net(Last("last", ("x",), ("y",))),
    "reverse": net(Reverse("turned", ("x",), ("y",))),
    "crop": net(Crop("crop", ("x",), ("y",), 1, 2)),
    "pad": net(Pad("pad", ("x",), ("y",), 1, 2)),
    "repeat": net(Last("last", ("x",), ("a",)), Repeat("repeat", ("a",), ("y",), 3)),
    "split": behind(Split("split", ("x",), ("a",), 2)),
    "split, lstm": net(Split("split", ("x",), ("a",), 2), lstm(reads=("a",), inputs=2)),
    "group": behind(Group("group", ("x",), ("a",), 4)),
    "group, one left": behind(Group("group", ("x",), ("a",), 3)),
    "group all": behind(Group("group", ("x",), ("a",), STEPS, True)),
    "split the last": behind(Last("last", ("x",), ("b",)), Split("split", ("b",), ("a",), 2)),
    "transpose": behind(Transpose("turn", ("x",), ("a",), STEPS)),
    "conv of an inner sequence": net(
        Split("split", ("x",), ("a",), 2), Conv1d("conv", ("a",), ("b",), w(3, 2, 2), w(3), period=2),
        gru(reads=("b",), inputs=3),
    ),
    "attention": attention(scale=0.7),
    "attention in heads": attention(heads=2),
    "attention, no later key": attention(heads=2, causal=True),
    "attention of the last": net(
        Last("last", ("x",), ("q",)), Attention("attention", ("q", "x", "x"), ("y",), scale=0.5)
    ),
    "conv, gru, dense": net(
        Conv1d("conv", ("x",), ("a",), w(WIDTH, 3, WIDTH), w(WIDTH), left=2), gru(reads=("a",), writes=("b",)),
        Last("last", ("b",), ("c",)), dense("c", "y", UNITS, 3, Activation("softmax")),
    ),
}  # fmt: skip

REFUSED = {
    "threshold": (net(Activate("f", ("x",), ("y",), Activation("threshold", 0.1, 0.4))), "f: threshold jumps"),
    "squareplus": (net(Activate("f", ("x",), ("y",), Activation("squareplus", 0.5))), "f: squareplus takes a root"),
    "shrink": (net(Activate("f", ("x",), ("y",), Activation("shrink", 0.3, 0.2))), "f: shrink jumps"),
    "rectify": (net(Activate("f", ("x",), ("y",), Activation("rectify", 0.2, 0.3, 1))), "f: rectify .* jumps"),
    "softplus": (net(Activate("f", ("x",), ("y",), Activation("scaled_softplus", 1, 3))), "f: scaled_softplus .* at 3"),
    "clip": (net(gru(clip=2.0)), "gru: no operator and no loop of Gru has a clip of what enters the gates"),
    "mish": (net(lstm(gate_activation=Activation("mish"))), "lstm: no .* has mish in a cell"),
    "cell of Keras 2": (net(lstm(activation=Activation("hard_sigmoid_fifth"))), "hard_sigmoid_fifth of the cell"),
    "peepholes in a loop": (net(lstm(peephole=w(3, UNITS), activation=SIGMOID)), "lstm: no .* has peepholes"),
    "projection, states": (net(
        lstm(reads=("x", "h", "c"), outputs=3, projection=w(3, UNITS), initial=True), x=WIDTH, h=-3, c=-UNITS
    ), "lstm: no .* has a projection"),
    "epsilon": (net(lstm(norm=w(4, UNITS), norm_epsilon=1e-3)), "lstm: no .* has layer normalisation"),
    "c of every step": (net(lstm(writes=("y", "c")), outputs=("y", "c")), "lstm: its c of every step is an output"),
    "c read": (net(lstm(writes=("h", "c")), Combine("j", ("h", "c"), ("y",), "add")), "its c of every step is read"),
    "mask, states": (net(gru(reads=("x", "mask", "h"), initial=True, masked=True), x=WIDTH, mask=1, h=-UNITS),
                     "gru: a mask with a state to start from"),
    "period": (net(Split("s", ("x",), ("a",), 2), gru(reads=("a",), inputs=2, period=2)), "gru: .* every 2 steps"),
    "last of periods": (net(Last("last", ("x",), ("y",), 4)), "last: a Last of every 4 steps"),
    "reverse of periods": (net(Reverse("turned", ("x",), ("y",), 4)), "turned: a Reverse of every 4 steps"),
    "rms": (net(LayerNorm("norm", ("x",), ("y",), w(WIDTH), w(WIDTH), 1e-3, rms=True)), "norm: a norm without"),
    "additive": (attention(additive=w(4)), "attention: additive attention"),
    "keys' mask": (masked(Attention("attention", ("x", "x", "x", "mask"), ("y",), masked=True)), "mask of the keys"),
    "padding": (net(Pool1d("pool", ("x",), ("y",), "max", 3, left=2)), "pool: a max over windows padded by 2 and 0"),
    "constant": (net(Constant("row", ("x",), ("y",), w(3))), "row: an output that no input has a part in"),
}  # fmt: skip
"""Models that are not written, and what their refusal says."""


def streamed(model):
    """Whether a file of one step is written, its inputs all sequences."""
    plan = tflite.planned(model, steps=1) if model.timing.causal else None
    return plan and plan.streams and not tflite.refusals(model, steps=1) and not any(t.single for t in model.tensors)


def every_step(model, xs):
    """What stepping gives at last: behind a Last, cells step on."""
    ys = reference.run(model, xs, every_step=True)
    return [y[:, -1] if name in model.timing.single else y for name, y in zip(model.outputs, ys, strict=True)]


def data(model, count=2, steps=STEPS, seed=1):
    """Inputs of a model; some steps are missing where it has a mask."""
    random, xs = np.random.default_rng(seed), []
    single = {t.name for t in model.tensors if t.single}
    for name in model.inputs:
        width = model.width(name)
        if name in single:
            x = random.normal(0, 0.5, (count, width))
        elif any(isinstance(layer, Embedding) and name in layer.reads for layer in model.layers):
            x = random.integers(0, WORDS, (count, steps, width))
        elif name == "mask":
            x = random.random((count, steps, 1)) > 0.3
        else:
            x = random.normal(0, 1, (count, steps, width))
            if any(isinstance(layer, Mask) for layer in model.layers):
                x[random.random((count, steps)) < 0.4] = 0
        xs.append(x.astype(np.float32))
    return xs
