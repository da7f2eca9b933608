"""The models behind tests/golden/images of the layers around the cells: every kind and option, in both number types."""

from __future__ import annotations

import numpy as np
from around import conv, of, uniform
from nets import lstm

from edgelstm.layers import (
    COMBINATIONS,
    Activation,
    Attention,
    Combine,
    Embedding,
    Group,
    LayerNorm,
    Mask,
    Pool1d,
    Reduce,
    SoftmaxSteps,
    Split,
)
from edgelstm.model import QuantizedModel
from edgelstm.quantized import (
    QUANTIZED_COMBINATIONS,
    QuantizedActivation,
    QuantizedCombine,
    QuantizedConv1d,
    QuantizedEmbedding,
    QuantizedMask,
    QuantizedPool1d,
    QuantizedReduce,
    QuantizedTensor,
)

# ---- float ----


def convolutions():
    """In place and gathered, with steps between, in groups, one number a tap and value."""
    random = np.random.default_rng(20)
    relu = Activation("relu")
    layers = [
        conv("plain", "x", "a", 5, 3, 6, random, left=2),
        conv("valid", "x", "b", 3, 2, 6, random, dilation=3, activation=relu),
        conv("strided", "x", "c", 4, 3, 6, random, left=4, stride=2),
        conv("groups", "x", "d", 4, 2, 3, random, groups=2, left=1),
        conv("depthwise", "x", "e", 6, 3, 1, random, groups=6, left=2),
        conv("normalized", "x", "f", 6, 1, 1, random, groups=6),
        conv("eight", "u", "g", 9, 2, 8, random, left=1),
        conv("one", "u", "h", 3, 1, 8, random, activation=Activation("softmax")),
    ]
    return of({"x": 6, "u": 8}, layers, list("abcdefgh"))


def pools():
    """Over x, and over an h that is int8 in the twin."""
    options = [
        ("max", 3, {"left": 2}),
        ("average", 3, {"left": 2}),
        ("average", 3, {"left": 2, "count_padding": True}),
        ("max", 2, {"stride": 2}),
    ]
    layers = [lstm("l", "x", "h", 3, 5, np.random.default_rng(21))]
    for k, (kind, size, given) in enumerate(options):
        layers.append(Pool1d(f"p{k}", ("x",), (f"y{k}",), kind, size, **given))
        layers.append(Pool1d(f"q{k}", ("h",), (f"z{k}",), kind, size, **given))
    return of({"x": 3}, layers, [layer.writes[0] for layer in layers[1:]])


def reductions():
    layers = [lstm("l", "x", "h", 3, 5, np.random.default_rng(22)), Mask("m", ("x",), ("kept", "counts"))]
    for kind in ("mean", "max", "sum"):
        layers += [Reduce(f"x {kind}", ("x",), (f"x{kind}",), kind), Reduce(f"h {kind}", ("h",), (f"h{kind}",), kind)]
    layers.append(Reduce("masked", ("h", "counts"), ("y",), "mean", masked=True))
    return of({"x": 3}, layers, [layer.writes[0] for layer in layers[2:]])


def joins():
    random = np.random.default_rng(23)
    layers = [lstm("l", "x", "h", 3, 3, random)]
    layers += [Combine(kind, ("h", "x"), (kind,), kind) for kind in COMBINATIONS]
    layers.append(Combine("one value", ("w", "h", "x"), ("y",), "multiply"))
    return of({"x": 3, "w": 1}, layers, [*COMBINATIONS, "y"])


def inside_a_step():
    """Split, windows with a period, Group: the CNN-LSTM."""
    random = np.random.default_rng(24)
    layers = [
        Split("s", ("x",), ("rows",), 6),
        conv("same", "rows", "a", 4, 3, 2, random, same=True, period=6, activation=Activation("relu")),
        conv("valid", "rows", "b", 3, 3, 2, random, right=1, stride=2, period=6),
        Pool1d("max", ("a",), ("c",), "max", 3, 2, same=True, period=6),
        Pool1d("average", ("a",), ("d",), "average", 2, 2, period=6),
        Group("g", ("c",), ("e",), 3),
        Reduce("mean", ("b",), ("f",), "mean", period=3),
        Reduce("largest", ("a",), ("m",), "max", period=6),
        Group("k", ("d",), ("n",), 3),
    ]
    return of({"x": 12}, layers, ["e", "f", "m", "n"])


def ids():
    random = np.random.default_rng(25)
    layers = [
        Mask("m", ("x",), ("kept", "counts")),
        Embedding("e", ("kept",), ("v",), uniform(random, 7, 3)),
        Combine("z", ("v", "counts"), ("y",), "multiply"),
    ]
    return of({"x": 2}, layers, ["y", "counts"])


def normalized():
    random = np.random.default_rng(26)
    layers = [
        LayerNorm("n", ("x",), ("a",), uniform(random, 9), uniform(random, 9), 1e-3),
        LayerNorm("r", ("x",), ("b",), uniform(random, 9), uniform(random, 9), 1e-5, rms=True),
    ]
    return of({"x": 9}, layers, ["a", "b"])


def attentive():
    random = np.random.default_rng(27)
    layers = [
        SoftmaxSteps("s", ("x",), ("a",)),
        Attention("heads", ("x", "u", "x"), ("b",), 0.5, heads=2, causal=True),
        Mask("m", ("x",), ("kept", "counts")),
        Attention("additive", ("x", "u", "x", "counts"), ("c",), 0.5, uniform(random, 4), masked=True),
    ]
    return of({"x": 4, "u": 6}, layers, ["a", "b", "c"])


FLOATS = {
    "convolutions": convolutions(),
    "pools": pools(),
    "reductions": reductions(),
    "joins": joins(),
    "inside_a_step": inside_a_step(),
}
FLOAT_ALONE = {"ids": ids(), "normalized": normalized(), "attentive": attentive()}
"""Those without an int8 twin here: ids have one among WILD."""


# ---- integers that no quantizer would choose ----


def wild_conv(name, write, units, taps, columns, random, function, **options):
    shift = random.integers(-4, 13, units)
    shift[random.random(units) < 0.2] = 27
    return QuantizedConv1d(
        name,
        ("x",),
        (write,),
        random.choice([-127, -1, 0, 5, 127], (units, taps, columns)).astype(np.int8),
        random.integers(-(1 << 20), 1 << 20, units).astype(np.int32),
        random.integers(0, 8, units).astype(np.int8),
        shift.astype(np.int8),
        random.choice([0, 1, 12345, 32767], units).astype(np.int16),
        QuantizedActivation(function),
        **options,
    )


def wild_around():
    random = np.random.default_rng(28)
    layers = [
        wild_conv("c0", "c0", 9, 3, 4, random, "linear", dilation=2, left=1),
        wild_conv("c1", "c1", 4, 2, 2, random, "relu", groups=2, stride=3),
        wild_conv("c2", "c2", 4, 2, 1, random, "tanh", groups=4, left=1),
        wild_conv("c3", "c3", 4, 1, 1, random, "sigmoid", groups=4),
        QuantizedPool1d("p0", ("x",), ("p0",), "average", 5, 2, left=4, raised=12),
        QuantizedPool1d("p1", ("x",), ("p1",), "max", 4, 3, left=3),
        QuantizedReduce("r0", ("x",), ("r0",), "mean", raised=3),
        QuantizedReduce("r1", ("x",), ("r1",), "sum", raised=-5),
    ]
    return of_integers({"x": 4}, layers, [layer.writes[0] for layer in layers])


def wild_joins():
    random = np.random.default_rng(29)
    count = len(QUANTIZED_COMBINATIONS)
    layers = [
        QuantizedMask("m", ("u",), ("kept", "counts"), -300),
        QuantizedEmbedding("e", ("u",), ("v",), random.integers(-32768, 32768, (300, 4)).astype(np.int16)),
    ]
    for k, kind in enumerate(QUANTIZED_COMBINATIONS):
        shifts, multipliers = ((0, 13), (0, 4321)) if kind == "multiply" else ((6 + k, -4 + k), (32767, 100 * k))
        layers.append(QuantizedCombine(kind, ("x", "v"), (kind,), kind, shifts, multipliers))
    layers.append(QuantizedCombine("masked", ("x", "counts"), ("y",), "multiply", (0, 0), (0, 0)))
    outputs = [layer.writes[0] for layer in layers[-count - 1 :]]
    return of_integers({"x": 4, "u": 1}, layers, outputs)


def of_integers(inputs, layers, outputs):
    """An s8 model whose scales mean nothing."""
    tensors = {name: QuantizedTensor(name, width, "s16", 2.0**-9) for name, width in inputs.items()}
    for layer in layers:
        widths = layer.widths(tuple(tensors[name].width for name in layer.reads))
        for k, (name, width) in enumerate(zip(layer.writes, widths, strict=True)):
            tensors[name] = QuantizedTensor(name, width, "s16", 1.0 if k else 2.0**-9)
    return QuantizedModel(tuple(tensors.values()), tuple(layers), tuple(inputs), tuple(outputs))


WILD = {"wild_around": wild_around(), "wild_joins": wild_joins()}
