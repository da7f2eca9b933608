"""Int8 TFLite models behind tests/golden/images: every kind of layer, option and rounding."""

import numpy as np
from tfl8_nets import tfl8_bidirectional, tfl8_conv, tfl8_dense, tfl8_lstm, tfl8_windows

from edgelstm.layers import Group, Last, Pad, Split
from edgelstm.tfl8 import (
    COMBINATIONS,
    CONV_ROUNDINGS,
    FUSED,
    MAPS,
    POOLINGS,
    TIES,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
    Tfl8Tensor,
)
from edgelstm.tfl8_model import Tfl8Model

H = ("s8", 0.0078, 3)
"""Of an h, as tfl8_nets has it."""


def cells():
    """LSTMs in both flavours, with clips and without an input gate; int8 at the doors."""
    random = np.random.default_rng(40)
    options = {
        "plain": (17, {}),
        "clip": (3, {"cell_clip": 0.4, "cell_exponent": -15}),
        "coupled": (9, {"coupled": True, "cell_exponent": -11}),
        "micro": (10, {"flavour": "micro"}),
        "micro_clip": (2, {"flavour": "micro", "cell_clip": 1.0, "cell_exponent": -9}),
        "scales": (8, {"state_scale": 0.031, "state_zero": -128, "hidden_scale": 0.0019, "hidden_zero": 127}),
    }
    tensors, layers = [Tfl8Tensor("x", 3, "s8", 0.02, -5)], []
    for name, (units, chosen) in options.items():
        tensors.append(Tfl8Tensor(name, units, *H))
        layers.append(tfl8_lstm(f"l_{name}", "x", name, 3, units, random, **chosen))
    layers.append(tfl8_lstm("l_second", "plain", "second", 17, 5, random, input_scale=H[1], cell_exponent=-14))
    tensors.append(Tfl8Tensor("second", 5, *H))
    return Tfl8Model(tuple(tensors), tuple(layers), ("x",), ("second", *options))


def around():
    """All other layers between int8 doors."""
    random = np.random.default_rng(41)
    tensors = {"x": (6, 0.02, -5), "h": (7, 0.0078, 3)}
    layers = [tfl8_lstm("lstm", "x", "h", 6, 7, random)]
    for k, rounding in enumerate(("double", "halfup", "single")):
        activation = ("none", "relu", "relu6")[k]
        layers.append(tfl8_dense(f"d{k}", "h", f"d{k}", 7, 9, random, rounding=rounding, activation=activation))
        tensors[f"d{k}"] = (9, (0.02, 0.003, 0.05)[k], -31)
    layers.append(Tfl8Softmax("softmax", ("d0",), ("p",), 2.0))
    tensors["p"] = (9, 1 / 256, -128)
    read = "d1"
    for k, function in enumerate(MAPS):
        layers.append(Tfl8Map(f"m{k}", (read,), (f"m{k}",), function, -0.2, "double"))
        tensors[f"m{k}"] = (9, *{"logistic": (1 / 256, -128), "tanh": (1 / 128, 0)}.get(function, (0.01, k - 9)))
        read = f"m{k}" if k else "d2"
    layers += [
        Tfl8Combine("join", ("x", "x"), ("xx",), "concatenate"),
        Split("split", ("xx",), ("s",), 4),
        Group("group", ("s",), ("g",), 4),
        Last("last", ("g",), ("k",)),
    ]
    tensors |= {"xx": (12, 0.02, -5), "s": (3, 0.02, -5), "g": (12, 0.02, -5), "k": (12, 0.02, -5)}
    return Tfl8Model(
        tuple(Tfl8Tensor(name, width, "s8", *affine) for name, (width, *affine) in tensors.items()),
        tuple(layers), ("x",), ("d0", "d2", "p", "m2", "m3", read, "k", "h"),
    )  # fmt: skip


def doors():
    """Floats and ids in; floats, int8 and the int16 of c out."""
    random = np.random.default_rng(42)
    tensors = [Tfl8Tensor("x", 3, "f32"), Tfl8Tensor("ids", 2, "f32"), Tfl8Tensor("whole", 2, "s16")]
    layers = [Tfl8Quantize("ids_whole", ("ids",), ("whole",), "away")]
    for k, ties in enumerate(TIES):
        layers.append(Tfl8Quantize(f"q{k}", ("x",), (f"q{k}",), ties))
        tensors.append(Tfl8Tensor(f"q{k}", 3, "s8", 0.0137, k - 9))
    layers.append(Tfl8Embedding("embedding", ("whole",), ("e",), random.integers(-128, 128, (7, 4))))
    layers.append(tfl8_lstm("lstm", "e", ("h", "c"), 8, 6, random, input_scale=0.01))
    layers.append(Tfl8Dequantize("real", ("h",), ("y",)))
    tensors += [
        Tfl8Tensor("e", 8, "s8", 0.01, 2),
        Tfl8Tensor("h", 6, *H),
        Tfl8Tensor("c", 6, "s16", 2.0**-12),
        Tfl8Tensor("y", 6, "f32"),
    ]
    return Tfl8Model(tuple(tensors), tuple(layers), ("x", "ids"), ("y", "c", "q0", "q1", "q2"))


def joins():
    """Sums and products of every arithmetic, of a value for all among them, and behind one step."""
    random = np.random.default_rng(44)
    tensors = [Tfl8Tensor("x", 5, "s8", 0.02, -5), Tfl8Tensor("w", 1, "s8", 0.03, 9), Tfl8Tensor("h", 5, *H)]
    layers = [tfl8_lstm("lstm", "x", "h", 5, 5, random)]
    for k, (kind, factors) in enumerate((kind, f) for f in ("double", "coarse") for kind in COMBINATIONS[1:]):
        reads = ("h", "x") if k % 2 else ("w", "h")
        layers.append(Tfl8Combine(f"j{k}", reads, (f"y{k}",), kind, FUSED[k % 4], factors))
        tensors.append(Tfl8Tensor(f"y{k}", 5, "s8", 3e-4 if kind == "multiply" else 0.03, 7 * k - 20))
    layers += [Last("last", ("h",), ("k",)), Tfl8Combine("lasts", ("k", "k"), ("y6",), "add")]
    tensors += [Tfl8Tensor("k", 5, *H), Tfl8Tensor("y6", 5, "s8", 0.015, 1)]
    return Tfl8Model(tuple(tensors), tuple(layers), ("x", "w"), tuple(f"y{k}" for k in range(7)))


def constants():
    """Rows of the image's own: one that is added, and states to start from."""
    random = np.random.default_rng(45)
    lstm = tfl8_lstm("lstm", "n", ("h",), 3, 9, random, initial=True, reads=("n", "h0", "c0"))
    layers = (
        Tfl8Constant("offset", ("x",), ("o",), random.integers(-128, 128, 3)),
        Tfl8Combine("shift", ("x", "o"), ("n",), "add"),
        Tfl8Constant("h_first", ("x",), ("h0",), random.integers(-128, 128, 9)),
        Tfl8Constant("c_first", ("x",), ("c0",), random.integers(-9000, 9000, 9)),
        lstm,
    )
    tensors = [Tfl8Tensor("x", 3, "s8", 0.02, -5), Tfl8Tensor("o", 3, "s8", 0.01, 3), Tfl8Tensor("n", 3, "s8", 0.02, 7)]
    tensors += [Tfl8Tensor("h0", 9, *H), Tfl8Tensor("c0", 9, "s16", 2.0**-12), Tfl8Tensor("h", 9, *H)]
    return Tfl8Model(tuple(tensors), layers, ("x",), ("h",))


def started():
    """States to start from as inputs."""
    random = np.random.default_rng(43)
    lstm = tfl8_lstm("lstm", "x", ("h", "c"), 4, 9, random, initial=True, reads=("x", "h0", "c0"))
    tensors = [Tfl8Tensor("x", 4, "s8", 0.02, -5), Tfl8Tensor("h0", 9, *H, single=True)]
    tensors += [Tfl8Tensor("c0", 9, "s16", 2.0**-12, single=True), Tfl8Tensor("h", 9, *H)]
    return Tfl8Model((*tensors, Tfl8Tensor("c", 9, "s16", 2.0**-12)), (lstm,), ("x", "h0", "c0"), ("h", "c"))


def bare():
    """An LSTM without a tanh of its c, which it writes too."""
    lstm = tfl8_lstm("lstm", "x", ("h", "c"), 4, 9, np.random.default_rng(46), cell_exponent=-17, bare=True)
    tensors = (Tfl8Tensor("x", 4, "s8", 0.02, -5), Tfl8Tensor("h", 9, *H), Tfl8Tensor("c", 9, "s16", 2.0**-17))
    return Tfl8Model(tensors, (lstm,), ("x",), ("h", "c"))


def window(k):
    """Convolutions of each kind and both pools, with the k-th of the roundings and windows."""
    random, rounding = np.random.default_rng(47 + k), CONV_ROUNDINGS[k]
    options = ({"left": 2}, {"same": True, "stride": 2}, {"dilation": 2}, {"right": 1}, {"left": 1, "stride": 3})[k]
    options = {"activation": FUSED[k % 4]} | options
    tensors, layers = {"x": (6, 0.02, -5)}, []
    for name, units, groups in (("c", 5 + 4 * k, 1), ("d", 6, 6), ("e", 12, 6)):
        layers.append(tfl8_conv(name, "x", name, 6, units, random, taps=2, groups=groups, rounding=rounding, **options))
        tensors[name] = (units, 0.08, -31)
    options.pop("dilation", None)
    for kind in POOLINGS:
        layers.append(Tfl8Pool1d(kind, ("x",), (kind,), kind, 3, **options))
        tensors[kind] = tensors["x"]
    return of_bytes(tensors, layers)


def reductions():
    """Means in both ways and maxima, of the run and of periods; padding."""
    tensors, layers = {"x": (6, 0.02, -5), "pad": (6, 0.02, -5)}, [Pad("pad", ("x",), ("pad",), 2, 1)]
    for period in (0, 1):
        for k, (kind, factors) in enumerate((("max", "halfup"), ("mean", "halfup"), ("mean", "coarse"))):
            name = f"r{period}{k}"
            layers.append(Tfl8Reduce(name, ("x",), (name,), kind, period, factors))
            tensors[name] = tensors["x"] if kind == "max" else (6, 0.013, 40)
    return of_bytes(tensors, layers)


def of_bytes(tensors, layers):
    """A model that gives everything it computes."""
    forms = tuple(Tfl8Tensor(name, width, "s8", scale, zero) for name, (width, scale, zero) in tensors.items())
    return Tfl8Model(forms, tuple(layers), ("x",), tuple(layer.writes[0] for layer in layers))


PACKED = {
    **{f"tfl8_window_{k}": window(k) for k in range(5)},
    "tfl8_reductions": reductions(),
    "tfl8_bare": bare(),
    "tfl8_windows": tfl8_windows(),
    "tfl8_cells": cells(),
    "tfl8_around": around(),
    "tfl8_doors": doors(),
    "tfl8_joins": joins(),
    "tfl8_joins_in_float": joins(),
    "tfl8_constants": constants(),
    "tfl8_started": started(),
    "tfl8_both_ways": tfl8_bidirectional(5, 9, 3),
}

EARLIER = {"tfl8_joins"}
"""Images that nothing packs today: they hold a product with one rounding, where a delegate's is in float32."""
