"""Small int8 TFLite models, made of random integers and scales."""

import numpy as np

from edgelstm.layers import Last, Reverse
from edgelstm.tfl8 import (
    Tfl8Combine,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Lstm,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Tensor,
)
from edgelstm.tfl8_model import Tfl8Model


def tfl8_lstm(name, x, h, inputs, units, random, *, input_scale=0.02, cell_exponent=-12, **options):
    """An LSTM whose gates are neither asleep nor all at their ends."""

    def weights(*shape):
        w = random.integers(-127, 128, shape)
        if options.get("coupled"):
            w[0] = 0
        return w

    scales = random.uniform(0.3, 1.0, (2, 4)).astype(np.float32) / np.float32(40 * np.sqrt(inputs + units))
    bias = random.normal(0, 0.5, (4, units)) / (scales[0][:, None] * input_scale)
    if options.get("coupled"):
        bias[0] = 0
    options = {"reads": (x,)} | options
    settings = {"state_scale": 0.0078, "state_zero": 3, "hidden_scale": 0.0078, "hidden_zero": 3} | options
    return Tfl8Lstm(
        name=name,
        writes=h if isinstance(h, tuple) else (h,),
        kernel=weights(4, units, inputs),
        recurrent=weights(4, units, units),
        bias=np.rint(bias),
        kernel_scale=scales[0],
        recurrent_scale=scales[1],
        cell_exponent=cell_exponent,
        **settings,
    )


def tfl8_dense(name, x, y, inputs, units, random, **options):
    scale = random.uniform(0.3, 1.0, units).astype(np.float32) / 100
    kernel = random.integers(-127, 128, (units, inputs))
    return Tfl8Dense(name, (x,), (y,), kernel, random.integers(-900, 900, units), scale, **options)


def tfl8_stack(inputs, units, outputs, seed=0, last=True, floats=True, **options):
    """Quantize, LSTMs, the last step, a Dense, dequantize; without `floats` int8 in and out."""
    random = np.random.default_rng(seed)
    tensors = [Tfl8Tensor("q", inputs, "s8", 0.02, -5)]
    layers = []
    if floats:
        tensors.insert(0, Tfl8Tensor("x", inputs, "f32"))
        layers.append(Tfl8Quantize("quantize", ("x",), ("q",)))
    name, width = "q", inputs
    for k, n in enumerate(units):
        scale = tensors[-1].scale
        layers.append(tfl8_lstm(f"lstm{k}", name, f"h{k}", width, n, random, input_scale=scale, **options))
        name, width = f"h{k}", n
        tensors.append(Tfl8Tensor(name, width, "s8", 0.0078, 3))
    if last:
        layers.append(Last("last", (name,), ("k",)))
        tensors.append(Tfl8Tensor("k", width, "s8", 0.0078, 3))
        name = "k"
    if outputs:
        layers.append(tfl8_dense("dense", name, "y", width, outputs, random))
        tensors.append(Tfl8Tensor("y", outputs, "s8", 0.03, 11))
        name = "y"
    if floats:
        layers.append(Tfl8Dequantize("dequantize", (name,), ("out",)))
        tensors.append(Tfl8Tensor("out", outputs or width, "f32"))
    return Tfl8Model(tuple(tensors), tuple(layers), ("x" if floats else "q",), ("out" if floats else name,))


def tfl8_bidirectional(inputs, units, outputs, seed=0):
    """Two LSTMs, one of them over the reversed sequence, side by side; the last step; a Dense. Of each h's three
    scales no two are equal but what CONCATENATION wants."""
    random = np.random.default_rng(seed)
    joined = (0.00586, 13)
    tensors = [Tfl8Tensor("q", inputs, "s8", 0.02, -5), Tfl8Tensor("r", inputs, "s8", 0.02, -5)]
    tensors += [Tfl8Tensor(name, units, "s8", *joined) for name in ("f", "b", "t")]
    tensors += [Tfl8Tensor(name, 2 * units, "s8", *joined) for name in ("h", "k")]
    scales = {"state_scale": 0.00544, "state_zero": 24, "hidden_scale": 0.00658, "hidden_zero": 5}
    layers = (
        tfl8_lstm("forward", "q", "f", inputs, units, random, **scales),
        Reverse("turn", ("q",), ("r",)),
        tfl8_lstm("backward", "r", "b", inputs, units, random, **scales),
        Reverse("back", ("b",), ("t",)),
        Tfl8Combine("join", ("f", "t"), ("h",), "concatenate"),
        Last("last", ("h",), ("k",)),
        tfl8_dense("dense", "k", "y", 2 * units, outputs, random),
    )
    return Tfl8Model((*tensors, Tfl8Tensor("y", outputs, "s8", 0.03, 11)), layers, ("q",), ("y",))


def tfl8_conv(name, x, y, inputs, units, random, *, taps=3, groups=1, **options):
    scale = random.uniform(0.3, 1.0, units).astype(np.float32) / 100
    kernel = random.integers(-127, 128, (units, taps, inputs // groups))
    bias = random.integers(-900, 900, units)
    return Tfl8Conv1d(name, (x,), (y,), kernel, bias, scale, groups=groups, **options)


def tfl8_windows(seed=0, inputs=6, factors="halfup"):
    """Convolutions of each kind, pools, a cell, and a mean: everything that looks at several steps."""
    random = np.random.default_rng(seed)
    tensors = [
        Tfl8Tensor(name, width, "s8", scale, zero)
        for name, width, scale, zero in (
            ("x", inputs, 0.02, -5), ("a", 10, 0.06, 7), ("b", 10, 0.05, -20), ("c", 20, 0.11, -128),
            ("p", 20, 0.11, -128), ("h", 9, 0.0078, 3), ("q", 9, 0.0078, 3), ("m", 9, 0.005, -9),
            ("most", 9, 0.0078, 3),
        )
    ]  # fmt: skip
    layers = [
        tfl8_conv("conv", "x", "a", inputs, 10, random, left=2),
        tfl8_conv("depthwise", "a", "b", 10, 10, random, taps=2, groups=10, left=2, dilation=2),
        tfl8_conv("doubled", "b", "c", 10, 20, random, taps=1, groups=10, activation="relu"),
        Tfl8Pool1d("pool", ("c",), ("p",), "max", 3, left=2),
        tfl8_lstm("lstm", "p", "h", 20, 9, random, input_scale=0.11),
        Tfl8Pool1d("average", ("h",), ("q",), "average", 2, left=1),
        Tfl8Reduce("mean", ("q",), ("m",), "mean", factors=factors),
        Tfl8Reduce("max", ("h",), ("most",), "max"),
    ]
    return Tfl8Model(tuple(tensors), tuple(layers), ("x",), ("m", "most", "c"))
