"""The integer reference against docs/numerics.md: its constants, its spot values, and a second reading of the page."""

import zlib

import numpy as np
import pytest

from edgelstm import fixedpoint, reference_s8, reference_s8_cells
from edgelstm.activations import activate
from edgelstm.curves import tabled
from edgelstm.errors import InputError
from edgelstm.fixedpoint import activate_s8, mh, requantize, rs, sat16, sh, sigmoid_table, tanh_table
from edgelstm.layers import Activation, Last
from edgelstm.model import QuantizedModel
from edgelstm.quantized import QuantizedActivate, QuantizedActivation, QuantizedDense, QuantizedLstm, QuantizedTensor

TANH, SIGMOID = QuantizedActivation("tanh"), QuantizedActivation("sigmoid")
EVERY = np.arange(-32768, 32768, dtype=np.int64)


def crc(table):
    return zlib.crc32(table.astype("<i2").tobytes())


def test_gate_functions_are_those_of_the_page():
    assert crc(tanh_table()) == 0xA3CB6378
    assert crc(sigmoid_table()) == 0x85384D11
    assert np.abs(tanh_table() / 32768 - np.tanh(5 * (EVERY + 0.5) / 32768)).max() < 9.85e-5
    assert np.abs(sigmoid_table() / 32768 - 1 / (1 + np.exp(-10 * (EVERY + 0.5) / 32768))).max() < 4.75e-5
    spots = [0, -1, 32767, -32768]
    assert activate_s8(TANH, np.array(spots)).tolist() == [2, -2, 32763, -32763]
    assert activate_s8(SIGMOID, np.array(spots)).tolist() == [16385, 16383, 32766, 2]


def test_primitives_round_and_saturate_as_the_page_says():
    assert sat16(np.array([-40000, -32768, 5, 40000])).tolist() == [-32768, -32768, 5, 32767]
    assert mh(np.array([1, -1, 1, -1, -32768]), np.array([16384, 16384, 16383, -16385, 32767])).tolist() == [
        *(1, 0, 0, 1, -32767)
    ]
    assert rs(np.array([3, -3, 2, -2, 1 << 30]), 2).tolist() == [1, -1, 1, 0, 1 << 28]
    assert sh(np.array([-1, 7, -7, 3]), np.array([27, 1, 1, -4])).tolist() == [-1, 3, -4, 48]
    assert requantize(np.array([1000]), 3, 16384).tolist() == [188]
    assert requantize(np.array([(1 << 27) - 1, -(1 << 27) + 1]), -4, 0).tolist() == [32767, -32768]


def test_widths_are_asserted():
    with pytest.raises(AssertionError, match="2\\^30"):
        mh(np.array([-32768]), np.array([-32768]))
    with pytest.raises(AssertionError, match="2\\^27"):
        requantize(np.array([1 << 27]), 0, 0)
    with pytest.raises(AssertionError, match="int16"):
        activate_s8(TANH, np.array([32768]))
    with pytest.raises(AssertionError, match="32 bits"):
        fixedpoint.scaled_inputs(np.full((1, 600), 127), np.zeros(1, np.int8), np.zeros(1), np.full((1, 600), 32767))
    with pytest.raises(AssertionError, match="left-shifted"):
        fixedpoint.scaled_inputs(np.full((1, 600), 127), np.full(1, -4), np.zeros(1), np.full((1, 600), 127))


def test_a_straight_table_is_the_identity_and_doublings_saturate():
    straight = QuantizedActivation("table", 0, np.minimum(np.arange(-128, 129) * 256, 32767).astype(np.int16))
    found = activate_s8(straight, EVERY)
    assert (found[: 255 * 256] == EVERY[: 255 * 256]).all()  # the last entry is 32767, not 32768
    assert np.abs(found - EVERY).max() <= 1
    for kind in ("linear", "relu"):
        doubled = activate_s8(QuantizedActivation(kind, 3), EVERY)
        assert (doubled == np.clip(8 * EVERY, 0 if kind == "relu" else -32768, 32767)).all()
    assert (activate_s8(QuantizedActivation("tanh", 2), EVERY) == tanh_table()[sat16(4 * EVERY) + 32768]).all()


@pytest.mark.parametrize(
    "function",
    [
        Activation("threshold", 0.31, 0.4),
        Activation("threshold", -0.7, -1.0),
        Activation("rectify", 0.2, 0.3, 0.5),
        Activation("rectify", -0.4, -0.3, 9.0),
        Activation("shrink", 0.3),
        Activation("shrink", 0.001, -0.2),
        Activation("shrink", -0.3, 0.1),
        Activation("scaled_softplus", 1.5, 0.4),
        Activation("scaled_softplus", -1.5, 0.4),
    ],
)
def test_a_function_that_jumps_does_so_between_two_integers(function):
    made = tabled(function, 1.0, 1.3)
    assert made.activation.kind == "jumps"
    x = EVERY / 32768
    found = activate_s8(made.activation, EVERY) * 1.3 / 32768
    assert np.abs(found - np.clip(activate(function, x), -1.3, 1.3)).max() < 1e-3  # where it bends it is a polygon
    assert [scalar_function(made.activation, v) for v in EVERY[::97].tolist()] == list(
        activate_s8(made.activation, EVERY[::97])
    )


def test_softmax_sums_to_one_and_doubles_differences_not_values():
    table = np.rint(32767 * np.exp(-12 * np.arange(257) / 256)).astype(np.int16)
    v = np.array([[100, 100, 100, 100], [0, -4000, -30000, -32768], [32767, -32768, 0, 32767]])
    for doublings in (0, 1, 3):
        y = activate_s8(QuantizedActivation("softmax", doublings, table), v)
        d = (v - v.max(axis=1, keepdims=True)) * 2**doublings * 12 / 65536
        exact = np.exp(d) / np.exp(d).sum(axis=1, keepdims=True)
        assert np.abs(y.sum(axis=1) - 32767).max() <= 2
        assert np.abs(y / 32767 - exact).max() < 3e-4


def random_lstm(random, units, inputs, wide, gate, candidate, cell, exponent, limit, hidden):
    rows = (4, units)
    return QuantizedLstm(
        "lstm",
        ("x",),
        ("h",),
        kernel=random.integers(-127, 128, (*rows, inputs)).astype(np.int8),
        recurrent=random.integers(-127, 128, (*rows, units)).astype(np.int8),
        bias=random.integers(-(1 << 14), 1 << 14, rows).astype(np.int32),
        input_shift=random.integers(4 if wide else -4, 9, rows).astype(np.int8),
        shift=random.integers(-4, 6, rows).astype(np.int8),
        multiplier=random.integers(0, 32768, rows).astype(np.int16),
        gate=gate,
        candidate=candidate,
        cell=cell,
        gate_exponent=exponent,
        cell_multiplier=int(random.integers(100, 32768)),
        cell_limit=limit,
        hidden_multiplier=hidden,
        cell_scale=1.0,
    )


def scalar_function(f, v):
    """One value, in Python integers."""
    for _ in range(f.doublings):
        v = max(-32768, min(32767, 2 * v))
    if f.kind == "table":
        j, rest = divmod(v + 32768, 256)
        return int(f.table[j]) + (((int(f.table[j + 1]) - int(f.table[j])) * rest + 128) >> 8)
    if f.kind == "jumps":
        j, rest = divmod(v + 32768, 256)
        low, high = int(f.table[j]), int(f.table[j + 1])
        for at, left, right in (f.table[257:260].tolist(), f.table[260:263].tolist()):
            if (at + 32768) // 256 == j:
                low, high = (right, high) if v > at else (low, left)
        return low + (((high - low) * rest + 128) >> 8)
    tables = {"tanh": tanh_table, "sigmoid": sigmoid_table}
    if f.kind in tables:
        return int(tables[f.kind]()[v + 32768])
    return max(v, 0) if f.kind == "relu" else v


def scalar_lstm(layer, xs, kind):
    """The page's equations for one sequence, one value at a time, in Python integers."""

    def clamp(v, low=-32768, high=32767):
        return max(low, min(high, v))

    def shifted(v, k):
        return v >> k if k >= 0 else v << -k

    def rounded(v, n):
        return (v + (1 << (n - 1))) >> n

    units, e = layer.units, layer.gate_exponent
    h, c, hs, cs = [0] * units, [0] * units, [], []
    for x in xs.tolist():
        before = list(h)
        for u in range(units):
            z = []
            for gate in range(4):
                ax = sum(int(w) * v for w, v in zip(layer.kernel[gate, u], x, strict=True))
                ah = sum(int(w) * v for w, v in zip(layer.recurrent[gate, u], before, strict=True))
                acc = shifted(ax, int(layer.input_shift[gate, u])) + int(layer.bias[gate, u]) + ah
                t = clamp(shifted(acc, int(layer.shift[gate, u])))
                z.append(clamp(t + rounded(t * int(layer.multiplier[gate, u]), 15)))
            i, f, o = (scalar_function(layer.gate, z[k]) for k in (0, 1, 3))
            g = scalar_function(layer.candidate, z[2])
            added = rounded(clamp(rounded(i * g, 15)) * layer.cell_multiplier, 15)
            c[u] = clamp(clamp(rounded(f * c[u], 15 - e)) + added)
            if layer.cell_limit != 32767:
                c[u] = clamp(c[u], -layer.cell_limit, layer.cell_limit)
            p = clamp(rounded(o * scalar_function(layer.cell, c[u]), 15))
            h[u] = rounded(p * layer.hidden_multiplier, 15)
            assert abs(h[u]) <= layer.hidden_multiplier
            if kind == "s8":
                h[u] = clamp(h[u], -127, 127)
        hs.append(list(h))
        cs.append(list(c))
    return np.array(hs), np.array(cs)


TABLE = QuantizedActivation("table", 1, np.random.default_rng(5).integers(-32768, 32768, 257).astype(np.int16))
CELLS = {
    "plain": (SIGMOID, TANH, QuantizedActivation("tanh", 2), 0, 32767, 127),
    "clipped": (SIGMOID, TANH, QuantizedActivation("tanh", 1), 0, 9000, 127),
    "relu": (SIGMOID, QuantizedActivation("relu"), QuantizedActivation("relu"), 0, 32767, 3000),
    "wild gates": (QuantizedActivation("linear"), QuantizedActivation("linear"), TABLE, 3, 32767, 32767),
    "tables": (TABLE, TABLE, TABLE, 14, 20000, 77),
}


@pytest.mark.parametrize("wide", [False, True], ids=["int8 x", "int16 x"])
@pytest.mark.parametrize("kind", ["s8", "s16"])
@pytest.mark.parametrize("cell", CELLS)
def test_lstm_equals_a_second_reading_of_the_page(cell, kind, wide):
    seed = zlib.crc32(f"{cell} {wide}".encode())
    random = np.random.default_rng(seed)
    layer = random_lstm(random, 3, 5, wide, *CELLS[cell])
    most = 32767 if wide else 127
    x = random.integers(-most, most + 1, (2, 6, 5))
    (h,), trace = reference_s8_cells.run(layer, [x], kind)
    z, c = trace["z"], trace["c"]
    assert h.dtype == reference_s8_cells.DTYPES[kind] and z.dtype == c.dtype == np.int16
    for k in range(2):
        expected_h, expected_c = scalar_lstm(layer, x[k], kind)
        assert (h[k] == expected_h).all() and (c[k] == expected_c).all(), f"seed {seed}, sequence {k}"


def small_model():
    random = np.random.default_rng(1)
    dense = QuantizedDense(
        "dense",
        ("last",),
        ("y",),
        kernel=random.integers(-127, 128, (2, 3)).astype(np.int8),
        bias=np.array([100, -100], np.int32),
        input_shift=np.zeros(2, np.int8),
        shift=np.zeros(2, np.int8),
        multiplier=np.full(2, 1000, np.int16),
        activation=QuantizedActivation("linear"),
    )
    alone = QuantizedActivate("alone", ("h",), ("a",), -3, 2000, TANH)
    return QuantizedModel(
        (
            QuantizedTensor("x", 4, "s16", 0.5),
            QuantizedTensor("h", 3, "s8", 1 / 127),
            QuantizedTensor("last", 3, "s8", 1 / 127),
            QuantizedTensor("y", 2, "s16", 0.25),
            QuantizedTensor("a", 3, "s16", 2**-15),
        ),
        (random_lstm(random, 3, 4, True, *CELLS["plain"]), alone, Last("last", ("h",), ("last",)), dense),
        ("x",),
        ("y", "a"),
    )


def test_run_walks_the_graph():
    model, trace = small_model(), {}
    x = np.random.default_rng(2).integers(-32767, 32768, (2, 5, 4)).astype(np.int16)
    y, a = reference_s8.run(model, (x,), trace=trace)
    every, _ = reference_s8.run(model, (x,), every_step=True)
    assert y.shape == (2, 2) and a.shape == (2, 5, 3) and every.shape == (2, 5, 2)
    assert y.dtype == a.dtype == np.int16 and trace["h"].dtype == np.int8
    assert (y == every[:, -1]).all()
    h = trace["h"].astype(np.int64)
    acc = h[:, -1] @ model.layers[3].kernel.T.astype(np.int64) + np.array([100, -100])
    t = np.clip(acc, -32768, 32767)
    assert (y == np.clip(t + ((t * 1000 + 16384) >> 15), -32768, 32767)).all()
    t = np.clip(256 * h << 3, -32768, 32767)
    z = np.clip(t + ((t * 2000 + 16384) >> 15), -32768, 32767)
    assert (a == tanh_table()[z + 32768]).all() and (trace["alone.z"] == z).all()
    assert trace["lstm.z"].shape == (2, 5, 4, 3) and trace["lstm.c"].shape == (2, 5, 3)


def test_run_takes_int16_only():
    model = small_model()
    for wrong in (np.zeros((1, 2, 4)), np.full((1, 2, 4), 32768), np.zeros((1, 2, 3), int)):
        with pytest.raises(InputError, match="input x"):
            reference_s8.run(model, (wrong,))


def test_the_float_doors():
    values = np.array([0.25, 0.75, 1.25, -0.25, -0.75, np.nan, np.inf, -np.inf, 1e30, -20000.0], np.float32)
    assert reference_s8.to_int16(values, 0.5).tolist() == [0, 2, 2, 0, -2, 0, 32767, -32767, 32767, -32767]
    model = small_model()
    x = np.random.default_rng(3).normal(size=(1, 4, 4)).astype(np.float32) * 100
    y, a = reference_s8.run_float(model, (x,))
    integers = reference_s8.run(model, reference_s8.quantize_inputs(model, (x,)))
    assert y.dtype == np.float32 and (y == integers[0] * np.float32(0.25)).all()
    assert (a == integers[1] * np.float32(2**-15)).all()
