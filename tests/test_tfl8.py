"""Int8 TFLite models in C: equal to the NumPy reference in every kernel set, in runs, steps and streams."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tfl8_nets import tfl8_bidirectional, tfl8_lstm, tfl8_stack

from edgelstm import Runner, Stream, describe, kernels, pack, reference_tfl8
from edgelstm.description import checksum
from edgelstm.errors import ImageError, InputError, ModelError
from edgelstm.meta import Meta, Port, Scaler
from edgelstm.tfl8 import (
    COMBINATIONS,
    FACTORS,
    FUSED,
    MAPS,
    ROUNDINGS,
    TIES,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Dense,
    Tfl8Embedding,
    Tfl8Map,
    Tfl8Quantize,
    Tfl8Softmax,
    Tfl8Tensor,
)
from edgelstm.tfl8_model import ARITHMETIC, Tfl8Model, variant

SETS = kernels()


def signals(model, count, steps, seed=0):
    random = np.random.default_rng(seed)
    xs = []
    for name in model.inputs:
        t, shape = model.tensor(name), (count, steps, model.width(name))
        xs.append(
            random.normal(0, 1, shape).astype(np.float32)
            if t.type == "f32"
            else random.integers(-128, 128, shape).astype(np.int8)
        )
    return xs


def check(model, count=2, steps=19, seed=0, sets=SETS):
    """Runs of every kernel set against the reference; returns the answers."""
    xs = signals(model, count, steps, seed)
    expected = reference_tfl8.run(model, xs)
    image = pack(model)
    for name in sets:
        runner = Runner(image, kernels=name, max_steps=11)
        runner.self_check()
        found = runner.run(tuple(xs))
        found = found if isinstance(found, tuple) else (found,)
        for y, w in zip(found, expected, strict=True):
            assert y.dtype == w.dtype and np.array_equal(y, w), (name, int((y != w).sum()))
    return expected


def with_c(model):
    """The same model with every LSTM's c as another output."""
    tensors, layers, outputs = list(model.tensors), [], list(model.outputs)
    for layer in model.layers:
        if hasattr(layer, "cell_exponent"):
            name = f"{layer.name}.c"
            tensors.append(Tfl8Tensor(name, layer.units, "s16", 2.0**layer.cell_exponent))
            layer = replace(layer, writes=(*layer.writes, name))
            outputs.append(name)
        layers.append(layer)
    return replace(model, tensors=tuple(tensors), layers=tuple(layers), outputs=tuple(outputs))


@pytest.mark.parametrize("flavour", ["tflite", "micro"])
@pytest.mark.parametrize("units", [(1,), (5,), (8,), (17,), (24, 3), (33,)])
def test_lstms(units, flavour):
    model = with_c(tfl8_stack(3, units, 2, last=False, seed=units[0]))
    check(variant(model, flavour=flavour))


@pytest.mark.parametrize("exponent", range(-15, -8))
@pytest.mark.parametrize("flavour", ["tflite", "micro"])
def test_every_scale_of_c(exponent, flavour):
    model = with_c(tfl8_stack(5, (20,), 0, last=False, floats=False, cell_exponent=exponent, seed=exponent + 20))
    check(variant(model, flavour=flavour), steps=40)


@pytest.mark.parametrize(
    "options",
    [
        {"cell_clip": 0.3},
        {"cell_clip": 1.0},
        {"coupled": True},
        {"state_scale": 0.00544, "state_zero": 24, "hidden_scale": 0.00658, "hidden_zero": 5},
        {"state_scale": 0.031, "state_zero": -128, "hidden_scale": 0.0019, "hidden_zero": 127},
        {"hidden_scale": 9.0, "hidden_zero": -3},
    ],
    ids=["clip", "clip 1", "coupled", "three scales", "odd scales", "coarse"],
)
def test_options(options):
    model = with_c(tfl8_stack(5, (21,), 0, last=False, floats=False, **options))
    check(model, steps=30)
    if not options.get("coupled"):
        check(variant(model, flavour="micro"), steps=30)


@pytest.mark.parametrize("exponent", [-16, -18, -22, -30])
def test_cells_without_a_tanh(exponent):
    """What TFLite's runtimes make of scales that they have no tanh for; 16 bits hold what c gains."""
    model = with_c(tfl8_stack(5, (21, 9), 0, last=False, floats=False, cell_exponent=exponent, bare=True))
    loud = [replace(layer, kernel_scale=layer.kernel_scale * 12) for layer in model.layers]
    check(model, steps=30)
    check(replace(model, layers=tuple(loud)), steps=30)


@pytest.mark.parametrize("at,value", [(8, 12), (8, 16), (10, 1), (11, 0), (11, -16), (11, -128)])
def test_cells_without_a_tanh_in_damaged_images(at, value):
    """Coupled, an option that there is none of, of TFLite Micro, and places of the point that such cells have not."""
    image = bytearray(pack(tfl8_stack(3, (5,), 0, last=False, floats=False, cell_exponent=-18, bare=True)))
    record = image.index(struct.pack("<IIHBb", 5, 3, 8, 0, -3))
    image[record + at] = value & 255
    struct.pack_into("<I", image, 16, checksum(image))
    with pytest.raises(ImageError):
        Runner(bytes(image))


def test_weights_and_inputs_at_their_ends():
    """Sums as large as they get, and gates at both of theirs."""
    model = tfl8_stack(40, (16,), 0, last=False, floats=False)
    for weights in (127, -127):
        for scale in (1e-9, 0.5, 300.0):
            lstm = model.layers[0]
            ends = np.full_like(lstm.kernel, weights), np.full_like(lstm.recurrent, -weights)
            scales = np.full(4, scale, np.float32)
            changed = replace(lstm, kernel=ends[0], recurrent=ends[1], kernel_scale=scales, recurrent_scale=scales)
            own = with_c(replace(model, layers=(changed,)))
            for x in (-128, 127):
                xs = [np.full((1, 5, 40), x, np.int8)]
                expected = reference_tfl8.run(own, xs)
                for name in SETS:
                    for y, w in zip(Runner(own, kernels=name).run(tuple(xs)), expected, strict=True):
                        assert np.array_equal(y, w), (weights, scale, x, name)


def test_bidirectional():
    model = tfl8_bidirectional(6, 11, 3)
    check(model, steps=13)
    with pytest.raises(InputError, match="turn"):
        Runner(model).step(np.zeros(6, np.int8))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("activation", FUSED)
def test_dense(rounding, activation):
    random = np.random.default_rng(1)
    for inputs, units, scale in ((1, 1, 0.05), (7, 9, 0.02), (60, 33, 0.4), (5, 4, 3e-5)):
        layer = Tfl8Dense(
            "dense", ("x",), ("y",), random.integers(-127, 128, (units, inputs)), random.integers(-900, 900, units),
            random.uniform(0.003, 0.01, units if units % 2 else 1), activation, rounding,
        )  # fmt: skip
        tensors = (Tfl8Tensor("x", inputs, "s8", 0.02, -9), Tfl8Tensor("y", units, "s8", scale, -31))
        check(Tfl8Model(tensors, (layer,), ("x",), ("y",)), steps=40)


def single(layer, x, y):
    return Tfl8Model((x, y), (layer,), ("x",), ("y",))


@pytest.mark.parametrize("width", [1, 2, 5, 30, 600])
def test_softmax(width):
    for scale in (0.004, 0.1, 0.9):
        layer = Tfl8Softmax("softmax", ("x",), ("y",), 1.5)
        check(single(layer, Tfl8Tensor("x", width, "s8", scale, 3), Tfl8Tensor("y", width, "s8", 1 / 256, -128)))


@pytest.mark.parametrize("function", MAPS)
def test_maps(function):
    fixed = {"logistic": (1 / 256, -128), "tanh": (1 / 128, 0)}.get(function, (0.03, -7))
    layer = Tfl8Map("map", ("x",), ("y",), function, 0.3)
    model = single(layer, Tfl8Tensor("x", 256, "s8", 0.05, 3), Tfl8Tensor("y", 256, "s8", *fixed))
    x = np.arange(-128, 128, dtype=np.int8)[None]
    assert np.array_equal(Runner(model).run(x), reference_tfl8.run(model, [x[None]])[0][0])


@pytest.mark.parametrize("ties", TIES)
def test_quantize_at_and_about_halves(ties):
    random = np.random.default_rng(2)
    for scale in (0.5, 1.0, 0.0137, 3e-4, 7.7, 1e-30, 1e12, *(2 ** random.uniform(-9, 3, 40))):
        to = Tfl8Tensor("y", 6000, "s8", float(np.float32(scale)), int(random.integers(-128, 128)))
        near = (np.arange(6000) - 3000) / 2 * np.float64(np.float32(scale))  # of which all beyond +-383 saturates
        steps = [near.astype(np.float32)]
        steps += [np.nextafter(steps[0], np.float32(sign)) for sign in (-np.inf, np.inf)]
        steps.append(random.normal(0, 60 * scale, 6000).astype(np.float32))
        x = np.where(np.abs(steps) < 2.0**-100, 0, steps).astype(np.float32)
        model = single(Tfl8Quantize("quantize", ("x",), ("y",), ties), Tfl8Tensor("x", 6000, "f32"), to)
        assert np.array_equal(Runner(model).run(x), reference_tfl8.run(model, [x[None]])[0][0]), scale


def test_embedding_and_concatenation():
    random = np.random.default_rng(3)
    tensors = (
        Tfl8Tensor("ids", 2, "s16"),
        Tfl8Tensor("x", 3, "s8", 0.1, 4),
        Tfl8Tensor("e", 10, "s8", 0.1, 4),
        Tfl8Tensor("y", 16, "s8", 0.1, 4),
    )
    layers = (
        Tfl8Embedding("embedding", ("ids",), ("e",), random.integers(-128, 128, (9, 5))),
        Tfl8Combine("join", ("x", "e", "x"), ("y",), "concatenate"),
    )
    model = Tfl8Model(tensors, layers, ("ids", "x"), ("y",))
    xs = (random.integers(0, 9, (2, 6, 2)).astype(np.int16), random.integers(-128, 128, (2, 6, 3)).astype(np.int8))
    (expected,) = reference_tfl8.run(model, xs)
    runner = Runner(model)
    assert np.array_equal(runner.run(xs), expected)
    assert np.array_equal(runner.run((xs[0].astype(np.int64), xs[1])), expected)
    for wrong in (9, -1):
        bad = xs[0].copy()
        bad[0, 0, 0] = wrong
        with pytest.raises(InputError, match="ids"):
            runner.run((bad, xs[1]))
        with pytest.raises(InputError, match=f"holds {wrong}"):
            runner.step((bad[0, 0], xs[1][0, 0]))
    floats = replace(
        model,
        tensors=(Tfl8Tensor("given", 2, "f32"), *tensors),
        layers=(Tfl8Quantize("whole", ("given",), ("ids",)), *layers),
        inputs=("given", "x"),
    )
    assert np.array_equal(Runner(floats).run((xs[0].astype(np.float32), xs[1])), expected)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("kind", COMBINATIONS[1:])
def test_sums_and_products(kind, factors):
    random = np.random.default_rng(4)
    for k, scales in enumerate([(0.02, 0.03, 0.05), (1e-4, 0.5, 0.3), (0.1, 1e-5, 3e-5), (0.3, 0.2, 1e-3)]):
        for widths in ((30, 30), (1, 30), (30, 1), (1, 1)):
            tensors = (
                Tfl8Tensor("a", widths[0], "s8", scales[0], -128),
                Tfl8Tensor("b", widths[1], "s8", scales[1], 127),
                Tfl8Tensor("y", max(widths), "s8", scales[2], int(random.integers(-128, 128))),
            )
            layer = Tfl8Combine("join", ("a", "b"), ("y",), kind, FUSED[k], factors)
            check(Tfl8Model(tensors, (layer,), ("a", "b"), ("y",)), sets=SETS[-1:])


def test_steps_streams_and_states():
    model = with_c(tfl8_stack(3, (9, 5), 2, floats=False))
    xs = signals(model, 3, 12)[0]
    expected = reference_tfl8.run(model, [xs], every_step=True)
    for name in SETS:
        runner = Runner(model, kernels=name, streams=3)
        for t in range(12):
            ys = runner.step(xs[:, t])
            for y, w in zip(ys, expected, strict=True):
                assert y.dtype == w.dtype and np.array_equal(y, w[:, t])
            if t == 5:
                state = runner.state
        runner.reset()
        for part, whole in zip(runner.run(xs, every_step=True), expected, strict=True):
            assert np.array_equal(part, whole)
        runner.state = state
        ys = runner.run(xs[:, 6:], every_step=True, carry=True)
        for y, w in zip(ys, expected, strict=True):
            assert np.array_equal(y, w[:, 6:])


def test_constants_join_and_start():
    random = np.random.default_rng(6)
    lstm = tfl8_lstm("lstm", "n", ("h", "c"), 4, 11, random, initial=True, reads=("n", "h0", "c0"))
    layers = (
        Tfl8Constant("offset", ("x",), ("o",), random.integers(-128, 128, 4)),
        Tfl8Combine("shift", ("x", "o"), ("n",), "add"),
        Tfl8Constant("h_first", ("x",), ("h0",), random.integers(-128, 128, 11)),
        Tfl8Constant("c_first", ("x",), ("c0",), random.integers(-9000, 9000, 11)),
        lstm,
    )
    tensors = (
        Tfl8Tensor("x", 4, "s8", 0.02, -5),
        Tfl8Tensor("o", 4, "s8", 0.01, 3),
        Tfl8Tensor("n", 4, "s8", 0.02, 7),
        Tfl8Tensor("h0", 11, "s8", 0.0078, 3),
        Tfl8Tensor("c0", 11, "s16", 2.0**-12),
        Tfl8Tensor("h", 11, "s8", 0.0078, 3),
        Tfl8Tensor("c", 11, "s16", 2.0**-12),
    )
    model = Tfl8Model(tensors, layers, ("x",), ("h", "c"))
    check(model)
    x = signals(model, 3, 5)[0]
    expected = reference_tfl8.run(model, [x])
    runner = Runner(model, streams=3)
    for t in range(5):
        for y, w in zip(runner.step(x[:, t]), expected, strict=True):
            assert np.array_equal(y, w[:, t])
    wide = replace(layers[0], value=[200, 0, 0, 0])
    with pytest.raises(ModelError, match="offset: value holds other than int8"):
        replace(model, layers=(wide, *layers[1:]))


def test_states_to_start_from():
    random = np.random.default_rng(5)
    lstm = tfl8_lstm("lstm", "x", ("h", "c"), 4, 11, random, initial=True)
    lstm = replace(lstm, reads=("x", "h0", "c0"))
    tensors = (
        Tfl8Tensor("x", 4, "s8", 0.02, -5),
        Tfl8Tensor("h0", 11, "s8", 0.0078, 3, single=True),
        Tfl8Tensor("c0", 11, "s16", 2.0**-12, single=True),
        Tfl8Tensor("h", 11, "s8", 0.0078, 3),
        Tfl8Tensor("c", 11, "s16", 2.0**-12),
    )
    model = Tfl8Model(tensors, (lstm,), ("x", "h0", "c0"), ("h", "c"))
    x = random.integers(-128, 128, (2, 8, 4)).astype(np.int8)
    h0 = random.integers(-128, 128, (2, 11)).astype(np.int8)
    c0 = random.integers(-9000, 9000, (2, 11)).astype(np.int16)
    expected = reference_tfl8.run(model, [x, h0, c0])
    for name in SETS:
        for y, w in zip(Runner(model, kernels=name).run((x, h0, c0)), expected, strict=True):
            assert np.array_equal(y, w)
    first = reference_tfl8.run(model, [x[:, :4], h0, c0])
    second = reference_tfl8.run(model, [x[:, 4:], first[0][:, -1], first[1][:, -1]])
    assert np.array_equal(second[0], expected[0][:, 4:])


def test_the_doors_take_and_give_int8():
    model = tfl8_stack(3, (5,), 2, floats=False)
    runner = Runner(model)
    assert not runner.integer and runner.x.dtype == runner.y.dtype == np.int8
    assert runner.input_scales[0] == np.float32(0.02) and runner.input_zeros == (-5,)
    x = signals(model, 1, 4)[0][0]
    y = runner.run(x)
    assert y.dtype == np.int8 and np.array_equal(y, runner.run(x.astype(np.int64)))
    for wrong, words in (
        (x.astype(np.float32), "is float32, expected whole numbers, as int8"),
        (x.astype(np.int16) + 200, "expected -128 to 127"),
    ):
        with pytest.raises(InputError, match=words):
            runner.run(wrong)
        with pytest.raises(InputError, match=words):
            runner.step(wrong[0])
    runner.reset()
    assert np.array_equal([runner.step(list(row)).copy() for row in x.tolist()][-1], y)
    with pytest.raises(InputError, match="run_integers is for s8"):
        runner.run_integers(x)


def test_an_image_says_what_it_holds():
    model = tfl8_stack(3, (5,), 2)
    found = describe(pack(model))
    assert found.number_type == "tfl8" and [layer.kind for layer in found.layers] == [
        "quantize_tfl8", "lstm_tfl8", "last", "dense_tfl8", "dequantize_tfl8",
    ]  # fmt: skip
    assert [(t.type, t.zero_point) for t in found.tensors] == [
        ("f32", 0), ("s8", -5), ("s8", 3), ("s8", 3), ("s8", 11), ("f32", 0),
    ]  # fmt: skip
    runner = Runner(model)
    assert sum(layer.state_bytes for layer in found.layers) == runner.state_size
    assert found.layers[1].macs == 4 * 5 * (3 + 5)


def test_what_an_image_cannot_hold_is_refused():
    random = np.random.default_rng(0)
    tensors = (Tfl8Tensor("x", 3, "s8", 0.02), Tfl8Tensor("y", 3, "s8", 0.02))
    layer = Tfl8Dense("dense", ("x",), ("y",), random.integers(-127, 128, (3, 3)), [2**30, 0, 0], [0.1])
    with pytest.raises(ModelError, match="dense: a sum of its weights"):
        pack(Tfl8Model(tensors, (layer,), ("x",), ("y",)))
    image = bytearray(pack(tfl8_stack(3, (5,), 2)))
    image[10] = 3
    with pytest.raises(ImageError):
        Runner(bytes(image))


@pytest.mark.parametrize("window", [None, 6])
def test_a_stream_speaks_real_numbers_at_int8_doors(window):
    port = Port(scaler=Scaler(np.array([2.0, 0.5, -1.0]), np.array([0.1, 0.0, 0.3])))
    out = Port(scaler=Scaler(np.array([0.5, 4.0]), np.array([1.0, 0.0])))
    model = replace(tfl8_stack(3, (5,), 2, floats=False), meta=Meta((port,), (out,)))
    rows = np.random.default_rng(0).normal(0, 0.7, (12, 3))
    x = np.clip(np.rint(port.scaler.apply(rows) / np.float32(0.02)) - 5, -128, 127).astype(np.int8)
    stream = Stream(model, window=window)
    answers = [answer.values for answer in stream(rows)]
    if window is None:
        wanted = list(reference_tfl8.run(model, [x[None]], every_step=True)[0][0])
    else:
        wanted = [reference_tfl8.run(model, [x[None, k - window : k]])[0][0] for k in range(window, 13)]
    real = [out.scaler.undo(np.float32(0.03) * (y.astype(np.float64) - 11)) for y in wanted]
    np.testing.assert_allclose(answers, real, rtol=1e-6, atol=1e-6)


@settings(max_examples=120, deadline=None)
@given(
    inputs=st.integers(1, 40),
    units=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    outputs=st.integers(0, 9),
    last=st.booleans(),
    floats=st.booleans(),
    state=st.tuples(st.floats(1e-4, 0.1), st.integers(-128, 127)),
    hidden=st.tuples(st.floats(1e-4, 0.1), st.integers(-128, 127)),
    exponent=st.integers(-15, -9),
    clip=st.sampled_from([0.0, 0.1, 2.0]),
    coupled=st.booleans(),
    arithmetic=st.sampled_from(sorted(ARITHMETIC)),
    seed=st.integers(0, 999),
)
def test_any_stack(inputs, units, outputs, last, floats, state, hidden, exponent, clip, coupled, arithmetic, seed):
    """Runs and steps of every set are the reference's."""
    chosen = ARITHMETIC[arithmetic]
    options = {"state_scale": state[0], "state_zero": state[1], "hidden_scale": hidden[0], "hidden_zero": hidden[1]}
    options |= {"cell_exponent": exponent, "cell_clip": clip, "coupled": coupled and "flavour" not in chosen}
    model = variant(tfl8_stack(inputs, tuple(units), outputs, seed, last, floats, **options), **chosen)
    x = signals(model, 1, 9, seed)[0]
    (expected,) = reference_tfl8.run(model, [x], every_step=True)
    image = pack(model)
    for name in SETS:
        runner = Runner(image, kernels=name, max_steps=4)
        assert np.array_equal(runner.run(x, every_step=True), expected), name
        runner.reset()
        for t in range(9):
            assert np.array_equal(runner.step(x[0, t]), expected[0, t]), (name, t)
