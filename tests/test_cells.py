"""Recurrent layers with their options on every kernel set: f32 within its bound, s8 to the integer, a run equal to
repeated steps, streams apart, states that move."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from cells import CASES, FLOATS, case, cell_model, drawn, inputs_of, samples_of
from hypothesis import given, settings
from nets import signal

from edgelstm import reference, reference_cells, reference_s8
from edgelstm.activations import activate
from edgelstm.errors import ModelError, QuantizeError
from edgelstm.layers import TANH, Activation, Constant
from edgelstm.quantization import quantize
from edgelstm.runner import Runner, kernels

SETS = kernels()
IN_INT8 = [name for name in CASES if name not in FLOATS]
BOTH = [(name, kind) for kind in ("f32", "s8") for name in CASES if kind == "f32" or name in IN_INT8]


def listed(ys):
    return ys if isinstance(ys, tuple) else (ys,)


def check_f32(model, xs, beyond=0.0):
    expected = reference.run(model, xs, every_step=True)
    for name in SETS:
        found = listed(Runner(model, name).run(xs, every_step=True))
        for y, wanted in zip(found, expected, strict=True):
            assert np.abs(y - wanted).max() <= 2e-6 * max(1, np.abs(wanted).max()) + beyond, name


def moved(model, xs):
    """How far the reference's answers go where a cell's functions are off by as much as docs/numerics.md allows."""
    expected, furthest = reference.run(model, xs, every_step=True), 0.0
    for seed in range(4):
        random = np.random.default_rng(seed)

        def off(function, values, random=random):
            ys = activate(function, values)
            error = {"sigmoid": 2.5e-7, "tanh": 4.5e-7}.get(function.name, 3e-7 * np.abs(ys))
            return ys + error * random.uniform(-1, 1, ys.shape)

        with patch.object(reference_cells, "activate", off):
            ys = reference.run(model, xs, every_step=True)
        furthest = max(furthest, *(np.abs(y - wanted).max() for y, wanted in zip(ys, expected, strict=True)))
    return furthest


def check_s8(model, xs):
    integers = reference_s8.quantize_inputs(model, xs)
    expected = reference_s8.run(model, integers, every_step=True)
    for name in SETS:
        for y, wanted in zip(
            listed(Runner(model, name).run_integers(integers, every_step=True)), expected, strict=True
        ):
            np.testing.assert_array_equal(y, wanted, name)


@pytest.mark.parametrize("name", CASES)
def test_f32_is_within_its_bound_of_float64(name):
    model = case(name)
    check_f32(model, inputs_of(model, 3, 40))


@pytest.mark.parametrize("hidden_bits", [8, 16])
@pytest.mark.parametrize("name", IN_INT8)
def test_s8_equals_the_reference(name, hidden_bits):
    model = case(name)
    check_s8(quantize(model, samples_of(model), hidden_bits=hidden_bits), inputs_of(model, 3, 40))


@given(drawn())
@settings(max_examples=60, deadline=None)
def test_any_options_in_both_number_types(model):
    xs = inputs_of(model, 2, 11)
    check_f32(model, xs)
    for hidden_bits in (8, 16):
        check_s8(quantize(model, samples_of(model), hidden_bits=hidden_bits), xs)


@given(drawn(("lstm",), floats=True))
@settings(max_examples=60, deadline=None)
def test_any_options_of_the_float_lstm(model):
    xs = inputs_of(model, 2, 11)
    normed = any(getattr(layer, "norm", None) is not None for layer in model.layers)
    check_f32(model, xs, moved(model, xs) if normed else 0.0)


@pytest.mark.parametrize("size", [2.0**-60, 1e-3, 2.0**58])
def test_norms_of_the_least_and_the_largest_values(size):
    """Variances that float32 cannot hold, and those beside which epsilon is all."""
    model = cell_model("lstm", units=11, norm=True, peepholes=True)
    layer = model.layers[0]
    model = replace(model, layers=(replace(layer, kernel=100 * layer.kernel),))
    check_f32(model, (inputs_of(model, 3, 20)[0] * np.float32(size),))


@pytest.mark.parametrize("name", FLOATS)
def test_what_int8_has_not_is_refused_by_name(name):
    model = case(name)
    with pytest.raises(QuantizeError, match="cell: (layer normalisation inside|a clip of its proj).* in f32 alone"):
        quantize(model, samples_of(model))


def made(name, kind):
    model = case(name)
    return model if kind == "f32" else quantize(model, samples_of(model))


def rows_of(model, xs, t):
    """What a step reads: a single input's row in each."""
    single = {tensor.name for tensor in model.tensors if tensor.single}
    rows = tuple(x if name in single else x[:, t] for name, x in zip(model.inputs, xs, strict=True))
    return rows if len(rows) > 1 else rows[0]


@pytest.mark.parametrize(("name", "kind"), BOTH)
def test_a_run_equals_repeated_steps_of_many_streams(name, kind):
    model = made(name, kind)
    xs = inputs_of(model, 5, 19)
    expected = listed(Runner(model, max_steps=7).run(xs, every_step=True))
    for kernel_set in SETS:
        runner = Runner(model, kernel_set, streams=5)
        states, stepped = [], []
        for t in range(19):
            if t == 9:
                states = [runner.read_state(k) for k in range(5)]
            stepped.append([y.copy() for y in listed(runner.step(rows_of(model, xs, t)))])
        for k, wanted in enumerate(expected):
            found = np.stack([ys[k] for ys in stepped], axis=1)
            np.testing.assert_allclose(found, wanted, atol=2e-6 if kind == "f32" else 0)
        for k, state in enumerate(states):  # to another stream
            runner.write_state((k + 1) % 5, state)
        moved = tuple(np.roll(x, 1, axis=0) for x in xs)
        for t in range(9, 19):
            ys = listed(runner.step(rows_of(model, moved, t)))
        for y, wanted in zip(ys, expected, strict=True):
            np.testing.assert_allclose(y, np.roll(wanted[:, -1], 1, axis=0), atol=2e-6 if kind == "f32" else 0)


@pytest.mark.parametrize("name", IN_INT8)
def test_states_in_s8_are_the_same_on_every_set(name):
    model = made(name, "s8")
    xs = inputs_of(model, 1, 12)
    states = set()
    for kernel_set in SETS:
        runner = Runner(model, kernel_set)
        runner.run(tuple(x[0] for x in xs) if len(xs) > 1 else xs[0][0], carry=True)
        states.add(runner.state)
    assert len(states) == 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("cell", "options", "least"),
    [
        ("lstm", {}, 27),
        ("lstm", {"cell_activation": Activation("softsign"), "peepholes": True, "coupled": True}, 24),
        ("lstm", {"projected": 7}, 20),
        ("lstm", {"projected": 7, "projection_bias": True}, 20),
        ("gru", {}, 30),
        ("rnn", {}, 27),
    ],
)
def test_an_h_to_start_from_may_lie_beyond_what_the_cell_writes(cell, options, least, bits):
    """Standard normal states, where a cell's own h stays within 1."""
    model = cell_model(cell, units=12, initial=True, **options)
    random = np.random.default_rng(1)
    samples, data = (
        tuple(
            signal((24, 20, 3), seed) if name == "x" else random.standard_normal((24, model.width(name)))
            for name in model.inputs
        )
        for seed in range(2)
    )
    quantized = quantize(model, samples, hidden_bits=bits)
    exact, found = reference.run(model, data)[0], reference_s8.run_float(quantized, data)[0]
    assert 10 * np.log10(np.square(exact).sum() / np.square(found - exact).sum()) > (least if bits == 8 else 40)
    check_s8(quantized, data)


@pytest.mark.parametrize("kind", ["f32", "s8"])
@pytest.mark.parametrize("name", ["gru, masked, from a constant", "rnn, from a constant", "lstm, from a constant"])
def test_a_reset_returns_to_the_constant_state(name, kind):
    model = made(name, kind)
    (x, *mask), zero = inputs_of(model, 1, 9), case(name)
    zero = replace(
        zero,
        layers=tuple(replace(w, value=0 * w.value) if isinstance(w, Constant) else w for w in zero.layers),
    )
    xs = (x[0], *(np.ones_like(m[0]) for m in mask))
    xs = xs if mask else xs[0]
    runner = Runner(model)
    first = [y.copy() for y in listed(runner.run(xs, every_step=True, carry=True))]
    assert np.abs(first[0] - listed(Runner(zero).run(xs, every_step=True))[0])[0].max() > 0.01
    runner.reset()
    for y, again in zip(first, listed(runner.run(xs, every_step=True, carry=True)), strict=True):
        np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("lstm, norm", {"norm_epsilon": 0.0}, "norm_epsilon is 0.0"),
        ("lstm, norm", {"norm_epsilon": 1e39}, "norm_epsilon is 1e"),
        ("lstm, norm", {"norm": np.ones((3, 11))}, "norm"),
        ("lstm, norm", {"coupled": True}, "coupled, so it has no weights of f"),
        ("lstm, norm", {"projection_clip": 0.1}, "projection_clip without a projection"),
        ("lstm, norm", {"projection_bias": np.ones(11)}, "projection_clip without a projection"),
        ("lstm, projected with a clip", {"projection_clip": 0.0}, "projection_clip is 0.0"),
        ("lstm, projected with a clip", {"projection_clip": np.inf}, "projection_clip is inf"),
        ("lstm, projected with a bias", {"projection_bias": np.ones(8)}, "projection_bias"),
    ],
)
def test_norms_and_projections_that_are_none_are_refused(name, changed, words):
    with pytest.raises(ModelError, match=f"cell: .*{words}"):
        replace(case(name).layers[0], **changed)


def test_coupled_gates_below_zero_are_refused_in_int8():
    model = case("lstm, coupled")
    layer = model.layers[0]
    wild = replace(model, layers=(replace(layer, gate_activation=TANH),))
    with pytest.raises(QuantizeError, match="cell: its gates are coupled and tanh can be negative"):
        quantize(wild, samples_of(model))
