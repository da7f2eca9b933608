"""The integer reference of GRU, RNN and the LSTM's options against a second reading of docs/numerics.md, one value at a
time in Python integers."""

import zlib

import numpy as np
import pytest

from edgelstm import reference_s8_cells
from edgelstm.fixedpoint import sigmoid_table, tanh_table
from edgelstm.quantized import (
    QuantizedActivation,
    QuantizedGru,
    QuantizedLstm,
    QuantizedReset,
    QuantizedRnn,
    QuantizedRows,
    Rescale,
)

TABLE = QuantizedActivation("table", 1, np.random.default_rng(5).integers(-32768, 32768, 257).astype(np.int16))
SIGMOID, TANH, RELU = (QuantizedActivation(kind) for kind in ("sigmoid", "tanh", "relu"))
UNITS, INPUTS, OUTPUTS, STEPS = 3, 5, 4, 8


# ---- the page ----


def clamp(v, low=-32768, high=32767):
    return max(low, min(high, v))


def sh(v, k):
    return v >> k if k >= 0 else v << -k


def rs(v, n):
    return (v + (1 << (n - 1))) >> n


def requantized(acc, s, m):
    assert abs(acc) < 1 << 27
    t = clamp(sh(acc, int(s)))
    return clamp(t + rs(t * int(m), 15))


def function(f, v):
    for _ in range(f.doublings):
        v = clamp(2 * v)
    if f.kind == "table":
        j, rest = divmod(v + 32768, 256)
        return int(f.table[j]) + (((int(f.table[j + 1]) - int(f.table[j])) * rest + 128) >> 8)
    tables = {"tanh": tanh_table, "sigmoid": sigmoid_table}
    if f.kind in tables:
        return int(tables[f.kind]()[v + 32768])
    return max(v, 0) if f.kind == "relu" else v


def dot(weights, values):
    return sum(int(w) * v for w, v in zip(weights, values, strict=True))


def entering(layer, row, x):
    return sh(dot(layer.kernel[row], x), int(layer.input_shift[row])) + int(layer.bias[row])


def clipped(v, limit):
    return v if limit == 32767 else clamp(v, -limit, limit)


def hidden(p, hm, kind):
    h = rs(p * hm, 15)
    return clamp(h, -127, 127) if kind == "s8" else h


def started(x, rescale):
    return [requantized(256 * v, rescale.shift, rescale.multiplier) for v in x]


def gru(layer, xs, mask, start, kind):
    """h of every step of one sequence."""
    e, units = layer.gate_exponent, range(UNITS)
    s = started(start[0], layer.initial[0]) if layer.initial else [0] * UNITS
    written, seen = [], False
    for x, counts in zip(xs, mask, strict=True):
        h = [hidden(v, layer.hidden_multiplier, kind) for v in s]
        gates = []
        for k in (0, 1):
            acc = [entering(layer, (k, u), x) + dot(layer.recurrent[k, u], h) for u in units]
            z = [requantized(acc[u], layer.shift[k, u], layer.multiplier[k, u]) for u in units]
            gates.append([function(layer.gate, clipped(v, layer.gate_limit)) for v in z])
        z, r = gates
        if layer.reset is None:
            kept = [hidden(clamp(rs(r[u] * s[u], 15 - e)), layer.hidden_multiplier, kind) for u in units]
            acc = [entering(layer, (2, u), x) + dot(layer.recurrent[2, u], kept) for u in units]
            n = [requantized(acc[u], layer.shift[2, u], layer.multiplier[2, u]) for u in units]
        else:
            a = [requantized(entering(layer, (2, u), x), layer.shift[2, u], layer.multiplier[2, u]) for u in units]
            b = [dot(layer.recurrent[2, u], h) + int(layer.reset.bias[u]) for u in units]
            b = [requantized(b[u], layer.reset.shift[u], layer.reset.multiplier[u]) for u in units]
            n = [clamp(a[u] + clamp(rs(r[u] * b[u], 15 - e))) for u in units]
        n = [function(layer.candidate, clipped(v, layer.candidate_limit)) for v in n]
        n = [rs(v * layer.state_multiplier, 15) for v in n]
        if counts:
            seen = True
            s = [clamp(n[u] + ((z[u] * (s[u] - n[u]) + (1 << (14 - e))) >> (15 - e))) for u in units]
        written.append([hidden(v, layer.hidden_multiplier, kind) if seen else 0 for v in s])
    return [written]


def rnn(layer, xs, mask, start, kind):
    most = 127 if kind == "s8" else layer.hidden_multiplier
    h = [clamp(v, -most, most) for v in started(start[0], layer.initial[0])] if layer.initial else [0] * UNITS
    written, seen = [], False
    for x, counts in zip(xs, mask, strict=True):
        acc = [entering(layer, u, x) + dot(layer.recurrent[u], h) for u in range(UNITS)]
        z = [clipped(requantized(acc[u], layer.shift[u], layer.multiplier[u]), layer.limit) for u in range(UNITS)]
        if counts:
            seen = True
            h = [hidden(function(layer.activation, v), layer.hidden_multiplier, kind) for v in z]
        written.append(h if seen else [0] * UNITS)
    return [written]


def lstm(layer, xs, mask, start, kind):
    """h and c of every step of one sequence."""
    e, units = layer.gate_exponent, range(UNITS)
    most = 127 if kind == "s8" else layer.hidden_multiplier
    h, c = [0] * layer.outputs, [0] * UNITS
    if layer.initial:
        h = [clamp(v, -most, most) for v in started(start[0], layer.initial[0])]
        c = [clipped(v, layer.cell_limit) for v in started(start[1], layer.initial[1])]
    hs, cs, seen = [], [], False
    for x, counts in zip(xs, mask, strict=True):
        p, after = [0] * UNITS, [0] * UNITS
        for u in units:
            acc = [entering(layer, (k, u), x) + dot(layer.recurrent[k, u], h) for k in range(4)]

            def seen_by(k, of, added=0, acc=acc, u=u):
                z = requantized(acc[k] + added, layer.shift[k, u], layer.multiplier[k, u])
                return function(of, clipped(z, layer.candidate_limit if k == 2 else layer.gate_limit))

            def peep(k, v, u=u):
                if layer.peephole is None:
                    return 0
                return (int(layer.peephole[k, u]) * v) >> int(layer.peephole_shift[k, u])

            i, g = seen_by(0, layer.gate, peep(0, c[u])), seen_by(2, layer.candidate)
            f = min((32768 >> e) - i, 32768) if layer.coupled else seen_by(1, layer.gate, peep(1, c[u]))
            added = rs(clamp(rs(i * g, 15)) * layer.cell_multiplier, 15)
            after[u] = clipped(clamp(clamp(rs(f * c[u], 15 - e)) + added), layer.cell_limit)
            o = seen_by(3, layer.gate, peep(2, after[u]))
            p[u] = clamp(rs(o * function(layer.cell, after[u]), 15))
        rows = layer.projection
        if rows is not None:
            p = [requantized(entering(rows, v, p), rows.shift[v], rows.multiplier[v]) for v in range(layer.outputs)]
        if counts:
            seen, c, h = True, after, [hidden(v, layer.hidden_multiplier, kind) for v in p]
        hs.append(h if seen else [0] * layer.outputs)
        cs.append(c)
    return [hs, cs]


# ---- layers of any integers ----


def rows_of(random, shape, columns, wide):
    return {
        "kernel": random.integers(-127, 128, (*shape, columns)).astype(np.int8),
        "bias": random.integers(-(1 << 14), 1 << 14, shape).astype(np.int32),
        "input_shift": random.integers(4 if wide else -4, 9, shape).astype(np.int8),
        "shift": random.integers(-4, 6, shape).astype(np.int8),
        "multiplier": random.integers(0, 32768, shape).astype(np.int16),
    }


def weights(random, *shape):
    return random.integers(-127, 128, shape).astype(np.int8)


def options(random, masked, states):
    reads = ["x", *(["mask"] if masked else []), *(f"s{k}" for k in range(states))]
    rescales = tuple(Rescale(int(random.integers(-4, 20)), int(random.integers(0, 32768))) for _ in range(states))
    return {"name": "cell", "reads": tuple(reads), "masked": masked, "initial": rescales}


def a_gru(random, wide, masked, initial, after, functions, exponent, limit):
    reset = QuantizedReset(
        random.integers(-(1 << 14), 1 << 14, UNITS).astype(np.int32),
        random.integers(-4, 6, UNITS).astype(np.int8),
        random.integers(0, 32768, UNITS).astype(np.int16),
    )
    return QuantizedGru(
        **options(random, masked, int(initial)), **rows_of(random, (3, UNITS), INPUTS, wide), writes=("h",),
        recurrent=weights(random, 3, UNITS, UNITS), reset=reset if after else None, gate=functions[0],
        candidate=functions[1], gate_exponent=exponent, state_multiplier=int(random.choice([32768, 32768, 20000, 1])),
        hidden_multiplier=int(random.choice([32768, 127, 4064])), state_scale=1.0, gate_limit=limit,
        candidate_limit=limit,
    )  # fmt: skip


def a_rnn(random, wide, masked, initial, activation, limit):
    return QuantizedRnn(
        **options(random, masked, int(initial)), **rows_of(random, (UNITS,), INPUTS, wide), writes=("h",),
        recurrent=weights(random, UNITS, UNITS), activation=activation,
        hidden_multiplier=int(random.choice([32767, 127, 3000])), limit=limit,
    )  # fmt: skip


def an_lstm(random, wide, masked, initial, projected, peepholes, coupled, functions, exponent, limit):
    outputs = OUTPUTS if projected else UNITS
    shifts = random.integers(8, 27, (3, UNITS)).astype(np.int8)
    return QuantizedLstm(
        **options(random, masked, 2 * int(initial)), **rows_of(random, (4, UNITS), INPUTS, wide), writes=("h", "c"),
        recurrent=weights(random, 4, UNITS, outputs), gate=functions[0], candidate=functions[1], cell=functions[2],
        gate_exponent=exponent, cell_multiplier=int(random.integers(100, 32768)), cell_limit=limit,
        hidden_multiplier=int(random.choice([32767, 127, 3000])), cell_scale=1.0, gate_limit=limit,
        candidate_limit=limit, coupled=coupled,
        projection=QuantizedRows(**rows_of(random, (OUTPUTS,), UNITS, True)) if projected else None,
        peephole=random.integers(-32767, 32768, (3, UNITS)).astype(np.int16) if peepholes else None,
        peephole_shift=shifts if peepholes else None,
    )  # fmt: skip


def check(layer, second, states, seed, random, wide):
    most = 32767 if wide else 127
    x = random.integers(-most, most + 1, (2, STEPS, INPUTS))
    mask = random.random((2, STEPS, 1)) < 0.6
    start = [random.integers(-32767, 32768, (2, 1, n)) for n in states]
    reads = [x, *([mask.astype(np.int64)] if layer.masked else []), *(start if layer.initial else [])]
    for kind in ("s8", "s16"):
        made, trace = reference_s8_cells.run(layer, reads, kind)
        assert made[0].dtype == reference_s8_cells.DTYPES[kind] and trace["z"].dtype == np.int16
        for k in range(2):
            counts = mask[k, :, 0] if layer.masked else np.ones(STEPS, bool)
            expected = second(layer, x[k].tolist(), counts, [values[k, 0].tolist() for values in start], kind)
            for found, wanted in zip(made, expected, strict=True):
                assert (found[k] == np.array(wanted)).all(), f"seed {seed}, {kind}, sequence {k}"


@pytest.mark.parametrize("wide", [False, True], ids=["int8 x", "int16 x"])
@pytest.mark.parametrize("started", [False, True], ids=["", "started"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("after", [False, True], ids=["reset before", "reset after"])
@pytest.mark.parametrize(
    ("functions", "exponent", "limit"),
    [((SIGMOID, TANH), 0, 32767), ((SIGMOID, QuantizedActivation("tanh", 2)), 0, 9000), ((TABLE, RELU), 3, 32767),
     ((TANH, TABLE), 14, 20000)],
    ids=["plain", "clipped", "relu", "tables"],
)  # fmt: skip
def test_gru_equals_a_second_reading(functions, exponent, limit, after, masked, started, wide):
    seed = zlib.crc32(f"{exponent} {limit} {after} {masked} {started} {wide}".encode())
    random = np.random.default_rng(seed)
    layer = a_gru(random, wide, masked, started, after, functions, exponent, limit)
    check(layer, gru, (UNITS,), seed, random, wide)


@pytest.mark.parametrize("wide", [False, True], ids=["int8 x", "int16 x"])
@pytest.mark.parametrize("started", [False, True], ids=["", "started"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize(("activation", "limit"), [(TANH, 32767), (RELU, 32767), (TABLE, 7000)])
def test_rnn_equals_a_second_reading(activation, limit, masked, started, wide):
    seed = zlib.crc32(f"{activation.kind} {masked} {started} {wide}".encode())
    random = np.random.default_rng(seed)
    check(a_rnn(random, wide, masked, started, activation, limit), rnn, (UNITS,), seed, random, wide)


@pytest.mark.parametrize("started", [False, True], ids=["", "started"])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize(
    ("projected", "peepholes", "coupled"),
    [(False, False, False), (True, False, False), (False, True, False), (False, False, True), (True, True, True)],
)
@pytest.mark.parametrize(
    ("functions", "exponent", "limit"),
    [((SIGMOID, TANH, QuantizedActivation("tanh", 1)), 0, 32767), ((SIGMOID, TANH, RELU), 0, 9000),
     ((TABLE, TABLE, TABLE), 2, 25000)],
    ids=["plain", "clipped", "tables"],
)  # fmt: skip
def test_lstm_options_equal_a_second_reading(
    functions, exponent, limit, projected, peepholes, coupled, masked, started
):
    seed = zlib.crc32(f"{exponent} {limit} {projected} {peepholes} {coupled} {masked} {started}".encode())
    random = np.random.default_rng(seed)
    layer = an_lstm(random, True, masked, started, projected, peepholes, coupled, functions, exponent, limit)
    states = (OUTPUTS if projected else UNITS, UNITS)
    check(layer, lstm, states, seed, random, True)
