"""Rows of int8 weights: bounds by construction, and z as the real weights would have it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm import fixedpoint
from edgelstm.errors import QuantizeError
from edgelstm.rounding import Met, Operand, compensated, quantize_rows, requantization


def check_bounds(rows, largest, largest_h=128):
    """The opener's conditions, in Python integers."""
    for r in range(len(rows.bias)):
        ax = int(np.abs(rows.kernel[r].astype(int)).sum()) * largest
        ah = int(np.abs(rows.recurrent[r].astype(int)).sum()) * largest_h
        kx, s, m = int(rows.input_shift[r]), int(rows.shift[r]), int(rows.multiplier[r])
        assert (0 if largest > 128 >= largest_h else -4) <= kx <= 27 and -4 <= s <= 27 and 0 <= m <= 32767
        assert ax < 1 << 31
        shifted = ax << -kx if kx < 0 else -(-ax >> kx)
        assert shifted < 1 << 27 and shifted + abs(int(rows.bias[r])) + ah < 1 << 27
    for weights in (rows.kernel, rows.recurrent):
        assert weights.dtype == np.int8 and np.abs(weights.astype(int)).max(initial=0) <= 127


def spread(random, low, high, size):
    return 10 ** random.uniform(low, high, size)


def wild_rows(seed, gentle):
    """Rows whose weights, biases and scales differ by many orders of magnitude; some all zero."""
    random = np.random.default_rng(seed)
    rows, inputs, units = random.integers(1, 9), int(random.choice([1, 3, 40, 700])), int(random.choice([0, 1, 30]))
    largest = int(random.choice([128, 32768]))
    reach = (-2, 0) if gentle else (-9, 5)

    def matrix(n):
        w = random.normal(size=(rows, n)) * spread(random, *reach, (rows, 1))
        w *= spread(random, 0 if gentle else -3, 0, (rows, n))
        return w * (random.random((rows, 1)) > 0.15)

    bias = random.normal(size=rows) * spread(random, *((-3, 0) if gentle else (-6, 8)), rows) * random.integers(0, 2)
    x_scale = float(spread(random, -6, -3 if gentle else 2, 1)[0])
    h_scale = float(random.choice([1 / 127, 0.3, 1e-3]))
    full = random.choice([5.0, 10.0, 0.01, 300.0], rows)
    offset = random.choice([0.0, 0.125, 0.5], rows)
    seen = [random.normal(size=(50, n)) for n in (inputs, units)]
    x = Operand(matrix(inputs), x_scale, largest, Met(seen[0]))
    hm = int(random.choice([128, 2032, 32512]))
    h = Operand(matrix(units), h_scale * 128 / hm, hm, Met(seen[1])) if units else None
    return random, x, h, bias, full, offset


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_bounds_hold_whatever_the_weights(seed):
    _, x, h, bias, full, offset = wild_rows(seed, gentle=False)
    check_bounds(quantize_rows("layer", x, h, bias, full, offset), x.largest, h.largest if h else 128)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_z_is_that_of_the_real_weights(seed, gentle):
    random, x, h, bias, full, offset = wild_rows(seed, gentle)
    x = Operand(x.weights, x.scale, x.largest, None)
    h = h and Operand(h.weights, h.scale, h.largest, None)
    rows = quantize_rows("layer", x, h, bias, full, offset)
    xs = random.integers(-x.largest + 1, x.largest, (20, x.weights.shape[1])) // random.integers(1, 30, (20, 1))
    hs = random.integers(-127, 128, (20, rows.recurrent.shape[1]))
    acc = fixedpoint.scaled_inputs(rows.kernel, rows.input_shift, rows.bias.astype(int), xs)
    acc = acc + fixedpoint.product(rows.recurrent, hs)
    z = fixedpoint.requantize(acc, rows.shift, rows.multiplier)
    found = (z + offset) / 32768 * full
    wanted = xs @ x.weights.T * x.scale + bias
    slack = np.abs(xs).sum(axis=1)[:, None] * rows.kernel_scale * x.scale / 2
    unit = rows.kernel_scale * x.scale * 2.0 ** rows.input_shift.astype(float)
    if h is not None:
        wanted = wanted + hs @ h.weights.T * h.scale
        slack = slack + np.abs(hs).sum(axis=1)[:, None] * rows.recurrent_scale * h.scale / 2
    # The accumulator's unit may be coarser than z's; m is rounded to 2^-16; z to one unit, with one floor before.
    slack = slack + 2 * unit + 3 * full / 32768 + np.abs(wanted) * 2.0**-15
    error = np.abs(found - np.clip(wanted, -full, full))
    whole = (np.abs(x.weights).max(axis=1) <= 127.5 * rows.kernel_scale) & (np.abs(bias) <= 2.0**16 * full)
    if h is not None:
        whole &= np.abs(h.weights).max(axis=1) <= 127.5 * rows.recurrent_scale
    assert rows.clipped == (~whole).sum()
    assert (error <= slack)[:, whole].all(), f"seed {seed}: {(error - slack)[:, whole].max()}"


def test_compensation_brings_the_sums_closer_and_the_bias_takes_their_mean():
    random = np.random.default_rng(4)
    seen = random.normal(size=(500, 3)) @ random.normal(size=(3, 24)) + 0.1 * random.normal(size=(500, 24)) + 2
    weights, scale = random.normal(size=(16, 24)), np.full(16, 0.05)

    def error(rounded):
        difference = seen @ (weights - rounded * scale[:, None]).T
        return np.square(difference - difference.mean(axis=0)).mean()

    plain, better = np.rint(weights / 0.05), compensated(weights, scale, Met(seen))
    assert np.abs(better).max() <= 127 and (better == np.rint(better)).all()
    assert error(better) < error(plain) / 2

    x = Operand(weights, 1e-3, 32768, Met(seen))
    rows = quantize_rows("layer", x, None, np.zeros(16), np.full(16, 50.0), np.zeros(16, bool))
    sums = seen @ (rows.kernel * rows.kernel_scale[:, None]).T + rows.real_bias
    assert np.abs((sums - seen @ weights.T).mean(axis=0)).max() < 1e-9


def test_inputs_that_never_change_are_rounded_plainly():
    weights = np.random.default_rng(0).normal(size=(3, 5))
    assert (compensated(weights, np.full(3, 0.02), Met(np.ones((7, 5)))) == np.rint(weights / 0.02)).all()


def test_requantization_spans_its_range():
    full = np.full(4, 10.0)
    shift, multiplier = requantization(np.array([10 / 32768, 10 * 2.0**-10, 10 * 2.0**-42, 15 / 32768]), full)
    assert shift.tolist() == [0, -4, 27, 0] and multiplier.tolist() == [0, 32767, 0, 16384]


def test_weights_too_large_are_cut_and_counted():
    weights = np.array([[5000.0, 0.3], [0.5, 0.3]])
    rows = quantize_rows(
        "layer", Operand(weights, 1 / 127, 128, None), None, np.zeros(2), np.full(2, 5.0), np.ones(2, bool)
    )
    check_bounds(rows, 128)
    assert rows.clipped == 1 and rows.kernel[0, 0] == 127


def test_sums_that_cannot_fit_are_refused():
    x = Operand(np.zeros((1, 1)), 1.0, 32768, None)
    h = Operand(np.full((1, 9000), 1e9), 1.0, 128, None)
    with pytest.raises(QuantizeError, match="layer: no int8 scales"):
        quantize_rows("layer", x, h, np.zeros(1), np.full(1, 1e-6), np.ones(1, bool))
