"""Int8 convolutions, pools and means of TFLite in C: the NumPy reference in every kernel set, runs, steps, streams."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from tfl8_nets import tfl8_conv, tfl8_windows

from edgelstm import Runner, describe, kernels, pack, reference_tfl8, tfl8_constants
from edgelstm.description import checksum
from edgelstm.errors import ImageError, ModelError
from edgelstm.layers import Pad
from edgelstm.tfl8 import CONV_ROUNDINGS, FUSED, Tfl8Conv1d, Tfl8Pool1d, Tfl8Reduce, Tfl8Tensor
from edgelstm.tfl8_integers import multiplier, scaled
from edgelstm.tfl8_model import ARITHMETIC, Tfl8Model, variant

SETS = kernels()


def bytes_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def alone(layer, x, y):
    return Tfl8Model((x, y), (layer,), ("x",), ("y",))


def check(model, steps=19, count=2, pieces=(11,)):
    """Runs of every kernel set, whole and in pieces, are the reference's."""
    x = bytes_of(count, steps, model.width(model.inputs[0]))
    expected = reference_tfl8.run(model, [x])
    image = pack(model)
    for name in SETS:
        for most in pieces if model.timing.causal else (steps,):
            runner = Runner(image, kernels=name, max_steps=most)
            runner.self_check()
            found = runner.run(x)
            for y, w in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
                assert y.dtype == w.dtype and np.array_equal(y, w), (name, most, int((y != w).sum()))
    return expected


@pytest.mark.parametrize("factors", ["halfup", "coarse"])
def test_steps_and_streams_are_runs(factors):
    model = tfl8_windows(factors=factors)
    check(model, pieces=(1, 4, 11, 40))
    x, image = bytes_of(1, 23, 6, seed=3), pack(model)
    expected = reference_tfl8.run(model, [x], every_step=True)
    for name in SETS:
        runner = Runner(image, kernels=name)
        for t in range(23):
            for y, w in zip(runner.step(x[0, t]), expected, strict=True):
                assert np.array_equal(y, w[0, t]), (name, t)
    two = Runner(image, streams=2)
    both = np.concatenate([x, bytes_of(1, 23, 6, seed=4)])
    for y, w in zip(two.run(both), reference_tfl8.run(model, [both]), strict=True):
        assert np.array_equal(y, w)


@pytest.mark.parametrize("rounding", CONV_ROUNDINGS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions(depthwise, rounding):
    random = np.random.default_rng(1)
    for k, window in enumerate(({"left": 2}, {"same": True, "stride": 2}, {"dilation": 2, "right": 1}, {"period": 6})):
        for times in (1, 3) if depthwise else (1,):
            inputs = (1, 5, 12, 17)[k] + (depthwise and k == 0)
            groups, units = (inputs, inputs * times) if depthwise else (1, (4, 9, 33, 16)[k])
            options = {"groups": groups, "activation": FUSED[k], "rounding": rounding} | window
            layer = tfl8_conv("conv", "x", "y", inputs, units, random, taps=3, **options)
            x, y = Tfl8Tensor("x", inputs, "s8", 0.03, -77), Tfl8Tensor("y", units, "s8", 0.2, 11)
            check(alone(layer, x, y), steps=24)
            found = describe(pack(alone(layer, x, y))).layers[0]
            assert found.arithmetic == (("depthwise" if depthwise else "convolution", rounding),)
            assert found.macs == layer.kernel.size


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    "window", [{}, {"same": True, "stride": 3}, {"left": 2}, {"right": 1, "stride": 2}, {"period": 8}]
)
def test_pools(kind, window):
    for activation in FUSED:
        x, y = (Tfl8Tensor(name, 13, "s8", 0.05, -20) for name in "xy")
        check(alone(Tfl8Pool1d("pool", ("x",), ("y",), kind, 3, activation, **window), x, y), steps=24)


@pytest.mark.parametrize("factors", ["halfup", "coarse"])
@pytest.mark.parametrize("period", [0, 4])
@pytest.mark.parametrize("scale", [0.02, 0.04, 0.013, 3.0, 1e-4])
def test_means(scale, period, factors):
    x, y = Tfl8Tensor("x", 200, "s8", 0.02, -77), Tfl8Tensor("y", 200, "s8", scale, 31)
    model = alone(Tfl8Reduce("mean", ("x",), ("y",), "mean", period, factors), x, y)
    check(model, steps=32, pieces=(32,) if period else (5, 32))
    ends = np.where(np.arange(200) % 2, 127, -128).astype(np.int8)
    wild = np.broadcast_to(ends, (1, 1000, 200))
    if not period:
        assert np.array_equal(Runner(model).run(wild), reference_tfl8.run(model, [wild])[0])


@pytest.mark.parametrize("period", [0, 4])
def test_maxima(period):
    x, y = (Tfl8Tensor(name, 9, "s8", 0.02, -7) for name in "xy")
    check(alone(Tfl8Reduce("most", ("x",), ("y",), "max", period), x, y), steps=24, pieces=(24,))


def test_padding_is_the_zero_point():
    x, y = (Tfl8Tensor(name, 9, "s8", 0.02, -7) for name in "xy")
    (found,) = check(alone(Pad("pad", ("x",), ("y",), 3, 2), x, y), steps=7)
    assert (found[:, :3] == -7).all() and (found[:, -2:] == -7).all()
    check(alone(Pad("pad", ("x",), ("y",), 3, 0), x, y), steps=7, pieces=(2, 7))


def test_float32_in_integers():
    """A rounding of its own: not `single`, and what float32 makes of it."""
    random = np.random.default_rng(0)
    for _ in range(300):
        m, s = multiplier(float(np.float32(2 ** random.uniform(-30, 8))))
        v = np.concatenate([random.integers(-(2**30), 2**30, 99), random.integers(-4000, 4000, 99), [0, 2**24 + 1]])
        x, y = Tfl8Tensor("x", len(v), "s8", 1.0), Tfl8Tensor("y", 1, "s8", 1.0)
        expected = np.rint(v.astype(np.float32) * np.float32(np.ldexp(float(m), s - 31)))
        assert np.array_equal(scaled(v, m, s, "float"), expected)
    kernel, bias = np.zeros((198, 1)), random.integers(-(2**29), 2**29, 198)
    scale = (2 ** random.uniform(-30, -20, 198)).astype(np.float32)
    x, y = Tfl8Tensor("x", 1, "s8", 1.0), Tfl8Tensor("y", 198, "s8", 1.0)
    layer = Tfl8Conv1d("conv", ("x",), ("y",), kernel[:, None], bias, scale, rounding="float")
    (found,) = check(alone(layer, x, y), steps=2)
    assert np.unique(found).size > 50


@pytest.mark.parametrize(
    "layer,reason",
    [
        (lambda: tfl8_conv("c", "x", "y", 6, 6, np.random.default_rng(0), groups=2), "2 groups of 6 units with 3"),
        (lambda: tfl8_conv("c", "x", "y", 6, 6, np.random.default_rng(0), rounding="up"), "rounding is 'up'"),
        (lambda: tfl8_conv("c", "x", "y", 6, 6, np.random.default_rng(0), stride=0), "stride is 0"),
        (lambda: Tfl8Pool1d("p", ("x",), ("y",), "sum", 2), "kind is 'sum'"),
        (lambda: Tfl8Pool1d("p", ("x",), ("y",), "max", 2, left=2), "windows of 2 steps, 2"),
        (lambda: Tfl8Reduce("r", ("x",), ("y",), "sum"), "kind is 'sum'"),
        (lambda: Tfl8Reduce("r", ("x",), ("y",), "max", -1), "period is -1"),
    ],
)
def test_what_does_not_fit_is_refused(layer, reason):
    with pytest.raises(ModelError, match=reason):
        layer()


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pools_and_maxima_keep_scale_and_zero_point(kind):
    x, y = Tfl8Tensor("x", 3, "s8", 0.05, -20), Tfl8Tensor("y", 3, "s8", 0.05, -21)
    for layer in (Tfl8Pool1d("pool", ("x",), ("y",), kind, 2), Tfl8Reduce("r", ("x",), ("y",), "max")):
        with pytest.raises(ModelError, match="do not fit"):
            alone(layer, x, y)


def test_an_arithmetic_reaches_every_kind():
    for row in ARITHMETIC.values():
        found = variant(tfl8_windows(), **row)
        roundings = [layer.rounding for layer in found.layers if isinstance(layer, Tfl8Conv1d)]
        assert roundings == [row["convolution"], row["depthwise"], row["depthwise"]]
        assert found.layers[6].factors == row["factors"]


def fields_of(layer, model):
    """Where a layer's fields start in an image, by the first of them that are no other's."""
    match layer:
        case Tfl8Conv1d():
            return struct.pack("<IIII", layer.units, layer.taps, layer.groups, layer.dilation)
        case Tfl8Pool1d():
            return struct.pack("<IIII", layer.kind == "average", layer.size, 0, layer.stride)
    x, y = (model.tensor(names[0]) for names in (layer.reads, layer.writes))
    return struct.pack("<IIII", 0, 0, 0, tfl8_constants.reduce(layer, x, y).factor[0])


@pytest.mark.parametrize(
    "which,at,value",
    [
        (0, 0, 11), (0, 4, 0), (0, 8, 2), (0, 12, 0), (0, 16, 0), (0, 28, 2), (0, 36, 5), (0, 39, 1),
        (1, 8, 5), (3, 0, 2), (3, 4, 0), (3, 8, 1), (3, 12, 0), (3, 34, 1), (5, 0, 9),
        (6, 0, 2), (6, 4, 1), (6, 8, 255), (6, 15, 0), (6, 16, 16), (6, 17, 1), (6, 23, 0x40), (6, 23, 0x7F),
    ],
)  # fmt: skip
def test_damaged_records_are_refused(which, at, value):
    model = tfl8_windows()
    image = bytearray(pack(model))
    image[image.index(fields_of(model.layers[which], model)) + at] = value
    struct.pack_into("<I", image, 16, checksum(image))
    with pytest.raises(ImageError):
        Runner(bytes(image))


def test_weights_whose_sums_are_too_large_are_refused():
    model = tfl8_windows()
    for which in (0, 1):
        layer = replace(model.layers[which], bias=np.full(10, 2**30 - 1))
        with pytest.raises(ModelError, match="a sum of its weights"):
            pack(replace(model, layers=(*model.layers[:which], layer, *model.layers[which + 1 :])))
