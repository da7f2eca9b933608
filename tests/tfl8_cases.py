"""Int8 TFLite models and inputs for runtimes on another machine: what each must answer, by each arithmetic there is."""

import numpy as np
from tfl8_files import File
from tfl8_nets import tfl8_conv, tfl8_dense, tfl8_stack

from edgelstm import reference_tfl8
from edgelstm.tfl8 import (
    CONV_ROUNDINGS,
    FACTORS,
    FUSED,
    MAPS,
    ROUNDINGS,
    TIES,
    Tfl8Combine,
    Tfl8Dense,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
    Tfl8Tensor,
)
from edgelstm.tfl8_integers import multiplier, scaled
from edgelstm.tfl8_model import Tfl8Model, variant

NETS = {
    "1x1": (1, (1,), {}),
    "3x5": (3, (5,), {}),
    "stacked": (4, (17, 9), {}),
    "clip 0.3": (5, (16,), {"cell_clip": 0.3, "cell_exponent": -15}),
    "clip 10": (5, (16,), {"cell_clip": 10.0, "cell_exponent": -11}),
    **{f"c 2^{e}": (5, (16,), {"cell_exponent": e}) for e in range(-15, -8)},
    "scales": (5, (24,), {"state_scale": 0.00544, "state_zero": 24, "hidden_scale": 0.00658, "hidden_zero": 5}),
    "coupled": (5, (16,), {"coupled": True}),
    **{f"c 2^{e}": (5, (16,), {"cell_exponent": e, "bare": True}) for e in (-16, -18, -30)},
    "32x64": (32, (64,), {}),
    "128x256": (128, (256,), {}),
}


def case(kind, model, xs, settings):
    """Of a kind of layer: the file, its inputs, by setting the answers, and by its place the last c of each LSTM."""
    file, answers, trace = File(model, xs[0].shape[1]), {}, {}
    for name, setting in settings.items():
        answers[name] = reference_tfl8.run(variant(model, **setting), xs, trace=trace)
    return kind, file.bytes, xs, answers, {file.cells[name]: trace[name][:, -1] for name in file.cells}


def told_apart():
    """A Dense on whose sums one rounding and float32's differ: of a matrix of zeros, and biases that are those sums."""
    random, found = np.random.default_rng(3), []
    while len(found) < 24:
        scales = (2 ** random.uniform(-20, -16, 1000)).astype(np.float32)
        sums = random.integers(-(2**23), 2**23, (1000, 1000))
        m, s = np.array([multiplier(float(scale)) for scale in scales]).T
        once, rounded = scaled(sums, m, s, "single"), scaled(sums, m, s, "float")
        found += [(sums[at], scales[at[1]]) for at in map(tuple, np.argwhere((once != rounded) & (np.abs(once) < 100)))]
    bias, scale = (np.array(values) for values in zip(*found, strict=True))
    layer = Tfl8Dense("dense", ("x",), ("y",), np.zeros((len(bias), 1), np.int8), bias, scale)
    tensors = (Tfl8Tensor("x", 1, "s8", 1.0), Tfl8Tensor("y", len(bias), "s8", 1.0))
    return Tfl8Model(tensors, (layer,), ("x",), ("y",)), np.zeros((1, 3, 1), np.int8)


def cases():
    random = np.random.default_rng(8)

    def bytes_of(*shape):
        return random.integers(-128, 128, shape, np.int8)

    def zero():
        return int(random.integers(-128, 128))

    def single(layer, *tensors):
        return Tfl8Model(tensors, (layer,), tuple(t.name for t in tensors[:-1]), (tensors[-1].name,))

    for name, (inputs, units, options) in NETS.items():
        model = tfl8_stack(inputs, units, 0, len(name), last=False, floats=False, **options)
        yield case("lstm", model, [bytes_of(1, 48, inputs)], {"all": {}})
    for k in range(8):
        inputs, units = int(random.integers(1, 60)), int(random.integers(1, 40))
        y = Tfl8Tensor("y", units, "s8", float(random.uniform(0.01, 0.2)), (5, -128, -128, 0)[k % 4])
        layer = tfl8_dense("dense", "x", "y", inputs, units, random, activation=FUSED[k % 4])
        model = single(layer, Tfl8Tensor("x", inputs, "s8", 0.02, -9), y)
        yield case("rounding", model, [bytes_of(1, 400, inputs)], {r: {"rounding": r} for r in ROUNDINGS})
    for _ in range(6):
        y = Tfl8Tensor("y", 100, "s8", float(2 ** random.uniform(-8, 0)), zero())
        model = single(Tfl8Quantize("quantize", ("x",), ("y",)), Tfl8Tensor("x", 100, "f32"), y)
        generic = random.normal(0, 60 * y.scale, (1, 40, 100))
        halves = np.rint(2 * generic / y.scale) / 2 * y.scale
        for kind, x in (("quantize", generic), ("ties", halves)):
            yield case(kind, model, [x.astype(np.float32)], {t: {"ties": t} for t in TIES})
    for function in (f for f in MAPS if f != "relu_n1_to_1"):
        for _ in range(5):
            scale = float(2 ** random.uniform(-8, 0))
            fixed = {"logistic": (1 / 256, -128), "tanh": (1 / 128, 0)}.get(function)
            written = fixed or (scale * 2.0 ** random.uniform(-7, 6), zero())
            layer = Tfl8Map("map", ("x",), ("y",), function, float(random.uniform(-1.5, 1.5)))
            model = single(layer, Tfl8Tensor("x", 256, "s8", scale, zero()), Tfl8Tensor("y", 256, "s8", *written))
            kind = f"factors, {function}" if function in ("rescale", "leaky_relu") else function
            x = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 256)
            yield case(kind, model, [x], {f: {"factors": f} for f in FACTORS})
    for width in (1, 3, 10, 200):
        x = Tfl8Tensor("x", width, "s8", float(2 ** random.uniform(-7, -1)), 3)
        layer = Tfl8Softmax("softmax", ("x",), ("y",))
        model = single(layer, x, Tfl8Tensor("y", width, "s8", 1 / 256, -128))
        yield case("softmax", model, [bytes_of(1, 50, width)], {"all": {}})
    for _ in range(8):
        a, b = (float(2 ** random.uniform(-7, -2)) for _ in range(2))
        for kind in ("add", "subtract", "multiply"):
            size = a * b * random.uniform(20, 200) if kind == "multiply" else (a + b) * random.uniform(0.3, 1.2)
            tensors = (Tfl8Tensor("x", 100, "s8", a, zero()), Tfl8Tensor("w", 100, "s8", b, zero()))
            layer = Tfl8Combine("join", ("x", "w"), ("y",), kind)
            model = single(layer, *tensors, Tfl8Tensor("y", 100, "s8", float(size), zero()))
            xs = [bytes_of(1, 60, 100), bytes_of(1, 60, 100)]
            yield case(f"factors, {kind}", model, xs, {f: {"factors": f} for f in FACTORS})
    for depthwise in (False, True):
        for k in range(10):
            inputs = int(random.integers(2, 20))
            units = inputs * (1, 2)[k % 2] if depthwise else int(random.integers(1, 40))
            window = ({"left": 2}, {"same": True, "stride": 2}, {"dilation": 2})[k % 3]
            options = {"groups": inputs if depthwise else 1, "activation": FUSED[k % 4]} | window
            layer = tfl8_conv("conv", "x", "y", inputs, units, random, taps=int(random.integers(1, 5)), **options)
            y = Tfl8Tensor("y", units, "s8", float(random.uniform(0.1, 0.5)), (5, -128, -128, 0)[k % 4])
            model = single(layer, Tfl8Tensor("x", inputs, "s8", float(random.uniform(0.01, 0.1)), zero()), y)
            kind = "depthwise" if depthwise else "convolution"
            yield case(kind, model, [bytes_of(1, 300, inputs)], {r: {kind: r} for r in CONV_ROUNDINGS})
    for k in range(12):
        x = Tfl8Tensor("x", 200, "s8", float(random.uniform(0.01, 0.1)), zero())
        same = Tfl8Tensor("y", 200, "s8", x.scale, x.zero_point)
        layer = Tfl8Pool1d("pool", ("x",), ("y",), ("max", "average")[k % 2], 1 + k % 5, same=k % 3 == 0)
        yield case("pool", single(layer, x, same), [bytes_of(1, 30, 200)], {"all": {}})
        scale = x.scale * (1, 2.0 ** int(random.integers(-2, 3)), float(random.uniform(0.1, 1)))[k % 3]
        y = same if k % 3 == 0 else Tfl8Tensor("y", 200, "s8", scale, zero())
        layer = Tfl8Reduce("mean", ("x",), ("y",), "mean")
        values = bytes_of(1, int(random.integers(1, 90)), 200)
        yield case("factors, mean", single(layer, x, y), [values], {f: {"factors": f} for f in FACTORS})
    model, x = told_apart()
    yield case("rounding", model, [x], {r: {"rounding": r} for r in ROUNDINGS})
