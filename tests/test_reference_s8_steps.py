"""The layers around the cells in integers: docs/numerics.md in plain Python numbers, and the exactness it promises."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm import reference_s8, reference_s8_steps
from edgelstm.layers import padding, windows
from edgelstm.model import QuantizedModel
from edgelstm.quantized import (
    QuantizedActivation,
    QuantizedCombine,
    QuantizedConv1d,
    QuantizedEmbedding,
    QuantizedMask,
    QuantizedPool1d,
    QuantizedReduce,
    QuantizedTensor,
)

int16 = st.integers(-32768, 32767)


def sat16(v):
    return max(-32768, min(32767, v))


def q(v, s, m):
    """Q of the page."""
    t = sat16((v + (1 << (s - 1) if s > 0 else 0)) >> s if s >= 0 else v << -s)
    return sat16(t + ((t * m + 0x4000) >> 15))


@given(v=st.integers(-(1 << 30), 1 << 30), s=st.integers(0, 27), m=st.integers(0, 32767))
def test_rescaling(v, s, m):
    assert reference_s8_steps.rescaled(np.array([v]), s, m)[0] == q(v, s, m)


@given(x=int16, s=st.integers(-4, 27), m=st.integers(0, 32767))
def test_a_tensor_brought_to_a_scale(x, s, m):
    assert reference_s8_steps.rescaled(np.array([256 * x]), s, m)[0] == q(256 * x, s, m)
    assert q(256 * x, 8, 0) == x  # as it is
    assert x * 256 == q(256 * x, 0, 0) or abs(x) > 127  # an int8 to the finest int16


@given(v=st.integers(-(1 << 50), 1 << 50), n=st.integers(1, 1 << 31))
def test_a_quotient_is_the_nearest_integer(v, n):
    found = int(reference_s8_steps.quotient(np.array([v]), n)[0])
    assert found == (v + n // 2) // n
    assert abs(found - Fraction(v, n)) <= Fraction(1, 2)


def combined(kind, shifts, multipliers, reads, out="s16"):
    layer = QuantizedCombine("c", ("a",) * len(reads), ("y",), kind, tuple(shifts), tuple(multipliers))
    return reference_s8_steps.combine_s8(layer, [np.asarray(x) for x in reads], out)


@settings(max_examples=60)
@given(data=st.data(), kind=st.sampled_from(["add", "subtract", "maximum", "minimum", "multiply"]))
def test_joins_value_by_value(data, kind):
    count = 2 if kind == "subtract" else data.draw(st.integers(2, 4))
    xs = data.draw(st.lists(int16, min_size=count, max_size=count))
    shifts = data.draw(st.lists(st.integers(0 if kind == "multiply" else -4, 27), min_size=count, max_size=count))
    multipliers = data.draw(st.lists(st.integers(0, 32767), min_size=count, max_size=count))
    brought = [q(256 * x, s, m) for x, s, m in zip(xs, shifts, multipliers, strict=True)]
    product = xs[0]
    for x, s, m in zip(xs[1:], shifts[1:], multipliers[1:], strict=True):
        product = q(product * x, s, m)
    difference = brought[0] - brought[-1]
    wanted = {
        "add": sum(brought), "subtract": difference, "maximum": max(brought), "minimum": min(brought),
        "multiply": product,
    }[kind]  # fmt: skip
    reads = [np.array([[[x]]]) for x in xs]
    assert combined(kind, shifts, multipliers, reads).item() == sat16(wanted)
    assert combined(kind, shifts, multipliers, reads, "s8").item() == max(-127, min(127, wanted))


def test_a_mask_times_anything_is_exact():
    x = np.arange(-32768, 32768, dtype=np.int16).reshape(1, -1, 2)
    mask = (np.arange(32768) % 3 == 0).astype(np.int16).reshape(1, -1, 1)
    for reads in ([x, mask], [mask, x]):
        np.testing.assert_array_equal(combined("multiply", (0, 0), (0, 0), reads), x * mask)
    small = np.arange(-127, 128, dtype=np.int8).reshape(1, 1, -1)
    made = combined("multiply", (0, 0), (0, 0), [small, np.ones((1, 1, 1), np.int16)], "s8")
    assert made.dtype == np.int8 and (made == small).all()


def test_one_value_serves_all_values_and_one_row_all_steps():
    x = np.arange(12).reshape(1, 3, 4)
    one, row = np.array([[[100], [200], [300]]]), np.array([[[1, 2, 3, 4]]])
    kept = (8, 8, 8), (0, 0, 0)
    np.testing.assert_array_equal(combined("add", *kept, [x, one, row]), x + one + row)
    np.testing.assert_array_equal(
        combined("concatenate", *kept, [x, one, row]),
        np.concatenate([x, one, np.repeat(row, 3, axis=1)], axis=2),
    )


def test_ids_beyond_the_table_count_as_its_ends():
    layer = QuantizedEmbedding("e", ("x",), ("y",), np.array([[1, 2], [3, 4], [5, 6]], np.int16))
    x = np.array([[[0, 2], [-7, 32767]]], np.int16)
    assert reference_s8_steps.embedding_s8(layer, x).tolist() == [[[1, 2, 5, 6], [1, 2, 5, 6]]]


def test_a_step_counts_where_some_value_differs():
    layer = QuantizedMask("m", ("x",), ("y", "counts"), -3)
    y, counts = reference_s8_steps.mask_s8(layer, np.array([[[-3, -3], [-3, 1], [0, 0]]], np.int16))
    assert counts.tolist() == [[[0], [1], [1]]] and y.tolist() == [[[0, 0], [-3, 1], [0, 0]]]


# ---- windows ----


def a_conv(random, units, taps, groups, columns, **options):
    return QuantizedConv1d(
        "c",
        ("x",),
        ("y",),
        random.integers(-127, 128, (units, taps, columns)).astype(np.int8),
        random.integers(-1000, 1000, units).astype(np.int32),
        random.integers(0, 4, units).astype(np.int8),
        random.integers(0, 12, units).astype(np.int8),
        random.integers(0, 32768, units).astype(np.int16),
        QuantizedActivation("relu"),
        groups,
        **options,
    )


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3), each=st.integers(1, 3), columns=st.integers(1, 3), taps=st.integers(1, 3),
    stride=st.integers(1, 3), dilation=st.integers(1, 3), left=st.integers(0, 4), right=st.integers(0, 3),
    same=st.booleans(), period=st.sampled_from([0, 5]), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_convolution_is_its_windows_times_its_rows(
    groups, each, columns, taps, stride, dilation, left, right, same, period, seed
):
    random = np.random.default_rng(seed)
    ends = {"same": True} if same else {"left": left, "right": right}
    layer = a_conv(
        random, groups * each, taps, groups, columns, stride=stride, dilation=dilation, period=period, **ends
    )
    x = random.integers(-32768, 32768, (1, 10, groups * columns)).astype(np.int16)
    found, _ = reference_s8_steps.conv1d_s8(layer, x)
    wanted = []
    for start in range(0, 10, period or 10):
        part = x[0, start : start + (period or 10)].tolist()
        before, _ = padding(layer, len(part))
        for w in range(windows(layer, len(part))):
            row = []
            for u in range(layer.units):
                total = 0
                for k in range(taps):
                    t = w * stride + k * dilation - before
                    for c in range(columns):
                        if 0 <= t < len(part):
                            total += int(layer.kernel[u, k, c]) * part[t][u // each * columns + c]
                acc = (total >> int(layer.input_shift[u])) + int(layer.bias[u])
                t16 = sat16(acc >> int(layer.shift[u]))
                row.append(max(0, sat16(t16 + ((t16 * int(layer.multiplier[u]) + 0x4000) >> 15))))
            wanted.append(row)
    assert found[0].tolist() == wanted


def test_averages_divide_by_the_rows_that_are_there():
    x = np.array([[[10], [-20], [33]]], np.int16)

    def pooled(**options):
        layer = QuantizedPool1d("p", ("x",), ("y",), "average", 3, left=2, **options)
        return reference_s8_steps.pool1d_s8(layer, x)[0, :, 0].tolist()

    assert pooled() == [10, -5, 8]
    assert pooled(count_padding=True) == [3, -3, 8]
    assert pooled(raised=4) == [160, -80, 123]  # 23 * 16 / 3 = 122.7


def test_a_maximum_copies_and_padding_takes_no_part():
    x = np.array([[[-10], [-20], [-5]]], np.int8)
    layer = QuantizedPool1d("p", ("x",), ("y",), "max", 2, left=1, right=1)
    made = reference_s8_steps.pool1d_s8(layer, x)
    assert made.dtype == np.int8 and made[0, :, 0].tolist() == [-10, -10, -5, -5]


# ---- over all steps ----


@settings(max_examples=60)
@given(
    x=st.lists(int16, min_size=1, max_size=20), kind=st.sampled_from(["mean", "sum"]), raised=st.integers(-31, 15),
    masked=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_means_and_sums_so_far(x, kind, raised, masked, seed):
    raised = abs(raised) % 16 if kind == "mean" else raised
    counts = np.random.default_rng(seed).integers(0, 2, len(x)) if masked else np.ones(len(x), int)
    layer = QuantizedReduce("r", ("x", "m") if masked else ("x",), ("y",), kind, masked, 0, raised)
    mask = counts.astype(np.int16).reshape(1, -1, 1) * 5 if masked else None
    found = reference_s8_steps.reduce_s8(layer, np.array(x, np.int16).reshape(1, -1, 1), mask, True)[0, :, 0]
    total = n = 0
    for k, v in enumerate(x):
        total, n = total + v * int(counts[k]), n + int(counts[k])
        exact = Fraction(total) * Fraction(2) ** raised
        if kind == "mean":
            assert found[k] == sat16((int(exact) + max(n, 1) // 2) // max(n, 1))
        else:
            assert found[k] == sat16(math.floor(exact + Fraction(1, 2)))


def test_of_a_run_the_last_answer_stays():
    x = np.array([[[3], [9], [-1]]], np.int16)
    for kind, so_far in (("mean", [3, 6, 4]), ("sum", [3, 12, 11]), ("max", [3, 9, 9])):
        layer = QuantizedReduce("r", ("x",), ("y",), kind)
        assert reference_s8_steps.reduce_s8(layer, x, None, True)[0, :, 0].tolist() == so_far
        assert reference_s8_steps.reduce_s8(layer, x, None, False)[0, :, 0].tolist() == so_far[-1:]


def test_a_model_of_several_writes_and_reads_runs_and_traces():
    layers = (
        QuantizedMask("m", ("x",), ("kept", "counts"), 0),
        QuantizedReduce("r", ("kept", "counts"), ("y",), "mean", masked=True),
    )
    widths = {"x": 2, "kept": 2, "counts": 1, "y": 2}
    tensors = tuple(QuantizedTensor(name, width, "s16", 1.0) for name, width in widths.items())
    model = QuantizedModel(tensors, layers, ("x",), ("y", "counts"))
    trace = {}
    y, counts = reference_s8.run(model, (np.array([[[4, 8], [0, 0], [6, 0]]], np.int16),), trace=trace)
    assert y.tolist() == [[5, 4]] and counts.tolist() == [[[1], [0], [1]]]
    assert set(trace) == set(widths)


@pytest.mark.parametrize("layer", [QuantizedPool1d("p", ("x",), ("y",), "average", 40000)])
def test_the_reference_asserts_the_bounds(layer):
    with pytest.raises(AssertionError, match="pool"):
        reference_s8_steps.pool1d_s8(layer, np.full((1, 40000, 1), -32768, np.int16))
