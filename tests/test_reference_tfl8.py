"""TFLite's fixed-point arithmetic: tables whose checksums its own binaries fix, and each piece against its meaning."""

import zlib

import numpy as np
import pytest
from tfl8_nets import tfl8_stack

from edgelstm import reference_tfl8, tfl8_constants
from edgelstm.errors import InputError, ModelError
from edgelstm.tfl8 import Tfl8Map, Tfl8Softmax, Tfl8Tensor
from edgelstm.tfl8_integers import (
    logistic_table,
    micro_logistic_table,
    micro_table,
    micro_tanh_table,
    multiplier,
    rdp,
    scaled,
    tanh_table,
    wrap32,
)


def checksum(table):
    return f"{zlib.crc32(table.astype('<i2').tobytes()):08x}"


def test_the_functions_are_tflites():
    assert checksum(logistic_table()) == "89b3f38e"
    found = [checksum(tanh_table(whole)) for whole in range(7)]
    assert found == ["a348daf8", "c979dd1d", "742f59b7", "70b28dfe", "215077b2", "3a695108", "32e074ae"]
    assert logistic_table()[np.array([-32768, -4096, -1, 0, 1, 4096, 32767]) + 32768].tolist() == [
        11, 8815, 16383, 16384, 16384, 23952, 32756,
    ]  # fmt: skip
    assert tanh_table(3)[np.array([100, 4096, 12345]) + 32768].tolist() == [792, 24964, 32616]


def test_the_functions_approximate_what_they_are_called():
    x = np.arange(-32768, 32768) / 4096
    for table in (logistic_table(), micro_logistic_table()):
        assert np.abs(table / 32768 - 1 / (1 + np.exp(-x))).max() < 7 / 32768
    for whole in range(7):
        y = np.tanh(x * 2.0 ** (whole - 3))
        assert np.abs(tanh_table(whole) / 32768 - y).max() < 12.5 / 32768
        assert np.abs(micro_tanh_table(whole) / 32768 - y).max() < 6 / 32768
    assert (micro_table()[[0, 24, 255]] == [32768, 47911, 65535]).all()


def test_primitives():
    assert multiplier(1.0) == (2**30, 1) and multiplier(0.75) == (3 * 2**29, 0) and multiplier(2.0**-40) == (0, 0)
    assert multiplier(1 - 2.0**-40) == (2**30, 1)
    v = np.array([-5, -3, -2, -1, 0, 1, 2, 3, 5])
    assert rdp(v, 1).tolist() == [-3, -2, -1, -1, 0, 1, 1, 2, 3]
    assert wrap32(np.array([2**31, -(2**31) - 1, 7])).tolist() == [-(2**31), 2**31 - 1, 7]
    # halves: away from zero, up, up
    half = multiplier(0.5)
    assert [scaled(np.array([-3, 3]), *half, rounding).tolist() for rounding in ("double", "halfup", "single")] == [
        [-1, 2], [-1, 2], [-1, 2],
    ]  # fmt: skip
    quarter = multiplier(0.25)
    assert [scaled(np.array([-6, -5, 5]), *quarter, r).tolist() for r in ("double", "halfup", "single")] == [
        [-2, -1, 2], [-1, -1, 2], [-1, -1, 1],
    ]  # fmt: skip
    assert [scaled(np.array([-9, 9]), *multiplier(6.0), r).tolist() for r in ("double", "halfup", "single")] == [
        [-54, 54]
    ] * 3


def test_softmax_is_a_softmax():
    x = np.random.default_rng(0).integers(-128, 128, (1, 200, 11)).astype(np.int8)
    read = Tfl8Tensor("x", 11, "s8", 0.05, 3)
    y = reference_tfl8.softmax(Tfl8Softmax("softmax", ("x",), ("y",)), read, x)
    e = np.exp(0.05 * x)
    assert np.abs((y + 128.0) / 256 - e / e.sum(-1, keepdims=True)).max() < 1.01 / 256


def test_maps_are_their_functions():
    x = Tfl8Tensor("x", 1, "s8", 0.05, 7)
    real = 0.05 * (np.arange(-128, 128) - 7)
    cases = {
        "logistic": (1 / (1 + np.exp(-real)), Tfl8Tensor("y", 1, "s8", 1 / 256, -128)),
        "tanh": (np.tanh(real), Tfl8Tensor("y", 1, "s8", 1 / 128)),
        "relu": (np.maximum(real, 0), Tfl8Tensor("y", 1, "s8", 0.03, -128)),
        "relu6": (np.clip(real, 0, 6), Tfl8Tensor("y", 1, "s8", 0.03, -100)),
        "relu_n1_to_1": (np.clip(real, -1, 1), Tfl8Tensor("y", 1, "s8", 0.01, 5)),
        "leaky_relu": (np.where(real < 0, -0.3 * real, real), Tfl8Tensor("y", 1, "s8", 0.04, -9)),
        "rescale": (real, Tfl8Tensor("y", 1, "s8", 0.07, 2)),
    }
    for factors in ("double", "halfup", "coarse"):
        for function, (expected, y) in cases.items():
            layer = Tfl8Map("map", ("x",), ("y",), function, -0.3, factors)
            found = (tfl8_constants.map_table(layer, x, y).astype(int) - y.zero_point) * y.scale
            limit = np.clip(expected, (-128 - y.zero_point) * y.scale, (127 - y.zero_point) * y.scale)
            assert np.abs(found - limit).max() <= 0.81 * y.scale, (factors, function)


def test_quantize_rounds_as_told():
    to = Tfl8Tensor("y", 1, "s8", 0.5, 3)
    x = np.array([-0.75, -0.25, 0.0, 0.25, 0.75, 1e9, -1e9, np.nan, 3e38], np.float32)
    away = [1, 2, 3, 4, 5, 127, -128, 3, 127]
    assert reference_tfl8.quantize(x, to, "away").tolist() == away
    assert reference_tfl8.quantize(x, to, "exact").tolist() == away
    assert reference_tfl8.quantize(x, to, "even").tolist() == [1, 3, 3, 3, 5, 127, -128, 3, 127]
    # a product that is no tie, whose float32 quotient is one
    to, x = Tfl8Tensor("y", 1, "s8", 0.0137), np.float32([17.5]) * np.float32(0.0137)
    assert [int(reference_tfl8.quantize(x, to, ties)[0]) for ties in ("away", "exact", "even")] == [18, 17, 18]


def test_runs_start_from_a_reset_state_and_say_what_is_wrong():
    model = tfl8_stack(3, (5,), 2, floats=False, last=False)
    x = np.random.default_rng(0).integers(-128, 128, (2, 6, 3))
    (whole,) = reference_tfl8.run(model, [x.astype(np.int8)])
    (part,) = reference_tfl8.run(model, [x[:, :4].astype(np.int8)])
    assert whole.dtype == np.int8 and np.array_equal(whole[:, :4], part)
    with pytest.raises(InputError, match="int8"):
        reference_tfl8.run(model, [x + 200])
    with pytest.raises(InputError, match="int8"):
        reference_tfl8.run(model, [x / 2])


def test_scales_beyond_reason_are_refused():
    layer = Tfl8Map("map", ("x",), ("y",), "rescale")
    with pytest.raises(ModelError, match="map: its scales ask for a factor"):
        tfl8_constants.map_table(layer, Tfl8Tensor("x", 1, "s8", 1e4), Tfl8Tensor("y", 1, "s8", 1e-4))
