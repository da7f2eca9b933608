"""Golden models of the layers around the cells: windows, joins, and what moves rows."""

import numpy as np
from nets import lstm

from edgelstm.layers import (
    TANH,
    Activation,
    Attention,
    Combine,
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

KINDS = ("add", "subtract", "multiply", "maximum", "minimum")  # of two


def model(inputs, layers, outputs):
    """A model from its layers; `inputs`: tensor name to width."""
    widths = dict(inputs)
    for layer in layers:
        written = layer.widths(tuple(widths[name] for name in layer.reads))
        widths |= dict(zip(layer.writes, written, strict=True))
    tensors = tuple(Tensor(name, width) for name, width in widths.items())
    return Model(tensors, tuple(layers), tuple(inputs), tuple(outputs))


def dense(name, read, inputs, units, random):
    bound = 1 / np.sqrt(inputs)
    kernel, bias = random.uniform(-bound, bound, (units, inputs)), random.uniform(-0.5, 0.5, units)
    return Dense(name, (read,), (name,), kernel, bias)


def conv(name, read, units, taps, columns, random, **options):
    bound = 1 / np.sqrt(taps * columns)
    kernel = random.uniform(-bound, bound, (units, taps, columns))
    return Conv1d(name, (read,), (name,), kernel, random.uniform(-0.5, 0.5, units), **options)


def moved_uneven():
    random = np.random.default_rng(21)
    layers = [
        Pad("padded", ("x",), ("padded",), 3, 0),
        Split("halves", ("padded",), ("halves",), 2),
        lstm("h", "halves", "h", 2, 4, random),
        Crop("cropped", ("h",), ("cropped",), 2, 3),
        Group("threes", ("cropped",), ("threes",), 3),
        dense("y", "threes", 12, 3, random),
        Split("two", ("x",), ("two",), 2),
        lstm("g", "two", "g", 2, 2, random),
        Group("whole", ("g",), ("whole",), 2),
        Last("kept", ("whole",), ("kept",)),
    ]
    return model({"x": 4}, layers, ("y", "cropped", "kept"))


def moved_whole():
    random = np.random.default_rng(22)
    layers = [
        Reverse("r", ("x",), ("r",)),
        lstm("h", "r", "h", 3, 4, random),
        Reverse("back", ("h",), ("back",)),
        Last("kept", ("h",), ("kept",)),
        Repeat("again", ("kept",), ("again",), 5),
        lstm("d", "again", "d", 4, 3, random),
        Pad("padded", ("x",), ("padded",), 1, 2),
        Split("four", ("kept",), ("four",), 4),
    ]
    return model({"x": 3}, layers, ("back", "d", "padded", "four"))


def moved_fixed():
    random = np.random.default_rng(23)
    layers = [
        Transpose("t", ("x",), ("t",), 3),
        lstm("h", "t", "h", 3, 2, random),
        Group("flat", ("x",), ("flat",), 3, True),
        dense("y", "flat", 12, 6, random),
        Split("rows", ("y",), ("rows",), 2),
    ]
    return model({"x": 4}, layers, ("h", "rows"))


def windows_even():
    random = np.random.default_rng(24)
    layers = [
        conv("a", "x", 6, 3, 4, random, left=4, dilation=2, activation=Activation("relu")),
        conv("b", "a", 4, 2, 3, random, left=1, groups=2, activation=TANH),
        conv("c", "x", 4, 3, 1, random, left=2, groups=4),
        Pool1d("most", ("b",), ("most",), "max", 3, left=2),
        Pool1d("mean", ("c",), ("mean",), "average", 3, left=2),
        Pool1d("all", ("c",), ("all",), "average", 2, left=1, count_padding=True),
        Reduce("mean_so_far", ("most",), ("mean_so_far",), "mean"),
        Reduce("most_so_far", ("mean",), ("most_so_far",), "max"),
        Reduce("sum_so_far", ("all",), ("sum_so_far",), "sum"),
    ]
    return model({"x": 4}, layers, ("a", "b", "most", "mean", "mean_so_far", "most_so_far", "sum_so_far"))


def windows_uneven():
    random = np.random.default_rng(25)
    layers = [
        conv("valid", "x", 4, 3, 4, random, stride=2),
        Pool1d("pooled", ("valid",), ("pooled",), "max", 2, stride=2),
        lstm("h", "pooled", "h", 4, 3, random),
        Split("four", ("x",), ("four",), 4),
        conv("inner", "four", 2, 2, 1, random, period=4, same=True),
        Pool1d("halves", ("inner",), ("halves",), "average", 2, stride=2, period=4),
        Group("flat", ("halves",), ("flat",), 2),
        Reduce("inner_mean", ("four",), ("inner_mean",), "mean", period=4),
        Combine("both", ("flat", "inner_mean"), ("both",), "concatenate"),
        Last("kept", ("h",), ("kept",)),
    ]
    return model({"x": 4}, layers, ("pooled", "both", "kept"))


def windows_whole():
    random = np.random.default_rng(26)
    layers = [
        conv("same", "x", 3, 3, 3, random, same=True),
        conv("ahead", "x", 3, 3, 3, random, right=2),
        Combine("sum", ("same", "ahead"), ("sum",), "add"),
        Pool1d("pooled", ("sum",), ("pooled",), "average", 3, stride=2, same=True),
        Last("kept", ("pooled",), ("kept",)),
        Combine("back", ("x", "kept"), ("back",), "multiply"),
    ]
    return model({"x": 3}, layers, ("pooled", "back"))


def joined():
    random = np.random.default_rng(27)
    layers = [
        Embedding("table", ("ids",), ("table",), random.uniform(-1, 1, (7, 3))),
        Mask("m", ("x",), ("seen", "counts"), 0.0),
        dense("d", "seen", 3, 3, random),
        *(
            Combine(kind, ("table", "d"), (kind,), kind)
            for kind in ("add", "subtract", "multiply", "maximum", "minimum")
        ),
        Combine("average", ("table", "d", "seen"), ("average",), "average"),
        Combine("all", ("add", "average"), ("all",), "concatenate"),
        Reduce("mean", ("d", "counts"), ("mean",), "mean", masked=True),
        Reduce("sum", ("d", "counts"), ("sum",), "sum", masked=True),
    ]
    return model({"ids": 1, "x": 3}, layers, ("subtract", "multiply", "maximum", "minimum", "all", "mean", "sum"))


def attended():
    random = np.random.default_rng(28)
    layers = [
        LayerNorm("n", ("x",), ("n",), random.uniform(0.5, 1.5, 4), random.uniform(-1, 1, 4), 1e-3),
        LayerNorm("rms", ("x",), ("rms",), random.uniform(0.5, 1.5, 4), np.zeros(4), 1e-3, True),
        SoftmaxSteps("s", ("n",), ("s",)),
        Attention("heads", ("n", "rms", "n"), ("heads",), 0.5, heads=2, causal=True),
        Attention("added", ("n", "rms", "x"), ("added",), 1.0, random.uniform(-1, 1, 4)),
        Last("kept", ("n",), ("kept",)),
        Attention("one", ("kept", "rms", "n"), ("one",), 0.5),
    ]
    return model({"x": 4}, layers, ("s", "heads", "added", "one"))


def cells_more():
    """Cells of every kind, some with a mask and a state to start from."""
    random = np.random.default_rng(29)

    def weights(gates, units, inputs, outputs=None):
        bound = 1 / np.sqrt(units)
        shapes = (gates, units, inputs), (gates, units, outputs or units), (gates, units)
        return tuple(random.uniform(-bound, bound, shape) for shape in shapes)

    def coupled(parts):
        for part in parts:
            part[1] = 0
        return parts

    rnn = [w[0] for w in weights(1, 4, 3)]
    projection, peephole = random.uniform(-0.7, 0.7, (2, 5)), random.uniform(-0.5, 0.5, (3, 5))
    peephole[1] = 0
    layers = [
        Gru("gru", ("x",), ("gru",), *weights(3, 4, 3), random.uniform(-0.3, 0.3, 4)),
        Gru("before", ("x", "mask", "h0"), ("before",), *weights(3, 4, 3), None, False, masked=True, initial=True),
        Rnn("rnn", ("x", "h0"), ("rnn",), *rnn, initial=True),
        Lstm("lstm", ("x", "mask"), ("lstm", "c"), *weights(4, 5, 3, 2), projection=projection, masked=True),
        Lstm(
            "holes", ("x",), ("holes",), *coupled(weights(4, 5, 3)), peephole=peephole * [[1], [0], [1]], coupled=True
        ),
        Last("kept", ("holes",), ("kept",)),
    ]
    widths = {"x": 3, "mask": 1, "h0": 4, "gru": 4, "before": 4, "rnn": 4, "lstm": 2, "c": 5, "holes": 5, "kept": 5}
    tensors = tuple(Tensor(name, width, name == "h0") for name, width in widths.items())
    return Model(tensors, tuple(layers), ("x", "mask", "h0"), ("gru", "before", "rnn", "lstm", "c", "kept"))


def translated():
    """A decoder that starts from an encoder's state and looks at its steps, of which there may be other numbers."""
    random = np.random.default_rng(30)
    layers = [
        lstm("h", "x", "h", 3, 4, random),
        Last("kept", ("h",), ("kept",)),
        Rnn("d", ("u", "kept"), ("d",), *(random.uniform(-1, 1, s) for s in ((4, 2), (4, 4), 4)), initial=True),
        Attention("seen", ("d", "h", "h"), ("seen",)),
        Combine("y", ("u", "d", "seen"), ("y",), "concatenate"),
    ]
    return model({"x": 3, "u": 2}, layers, ("y", "kept"))


BOTH = {  # in both number types
    "moved_uneven": moved_uneven(),
    "moved_whole": moved_whole(),
    "moved_fixed": moved_fixed(),
    "windows_even": windows_even(),
    "windows_uneven": windows_uneven(),
    "windows_whole": windows_whole(),
    "joined": joined(),
    "cells_more": cells_more(),
}
FLOATS_ALONE = {"attended": attended(), "translated": translated()}
