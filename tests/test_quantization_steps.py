"""quantize around the cells: scales, whole numbers, whole sequences, refusals, and accuracy against the noise model."""

from dataclasses import replace

import numpy as np
import pytest
from around import conv, of, uniform
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_nets import walk
from nets import lstm, signal
from simulate import decibels, simulate

from edgelstm import reference, reference_s8
from edgelstm.cli import main
from edgelstm.errors import InputError, QuantizeError
from edgelstm.image import pack, save
from edgelstm.layers import (
    COMBINATIONS,
    LINEAR,
    TANH,
    Activate,
    Activation,
    Attention,
    Combine,
    Conv1d,
    Dense,
    Embedding,
    Group,
    Last,
    LayerNorm,
    Mask,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    SoftmaxSteps,
    Split,
)
from edgelstm.quantization import quantize, quantize_with_rows
from edgelstm.runner import Runner

ALLOWED = 1.0  # dB below the same weights and 16-bit tensors with exact sums and functions
SIXTEEN_BITS = 65.0  # dB; beyond, what requantization rounds twice is all that there is


def scale(quantized, name):
    return reference_s8.tensor(quantized, name).scale


def layer_of(quantized, name):
    return next(layer for layer in quantized.layers if layer.name == name)


# ---- accuracy ----


def within_the_noise_model(model, samples, data, least=20.0):
    """s8's decibels and the simulation's, the first no worse than allowed."""
    quantized, rows = quantize_with_rows(model, samples)
    every = model.timing.causal
    exact, found = reference.run(model, data, every), reference_s8.run_float(quantized, data, every)
    for e, f, i in zip(exact, found, simulate(model, quantized, rows, data), strict=True):
        s8, simulated = decibels(e, f), decibels(e, i)
        assert e.shape == f.shape == i.shape and s8 > least, f"{s8:.1f} dB"
        assert s8 > min(simulated - ALLOWED, SIXTEEN_BITS), f"{s8:.1f} dB, {simulated:.1f} dB with exact functions"


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 3), each=st.integers(1, 6), columns=st.integers(1, 6), taps=st.integers(1, 5),
    stride=st.integers(1, 3), dilation=st.integers(1, 3), left=st.integers(0, 5),
    name=st.sampled_from(["linear", "relu", "tanh", "sigmoid", "elu"]), seed=st.integers(0, 999),
)  # fmt: skip
def test_convolutions_lose_what_their_weights_lose(groups, each, columns, taps, stride, dilation, left, name, seed):
    random = np.random.default_rng(seed)
    layer = conv(
        "c", "x", "y", groups * each, taps, columns, random, activation=Activation(name, 1.0), groups=groups,
        stride=stride, dilation=dilation, left=left,
    )  # fmt: skip
    model = of({"x": groups * columns}, [layer], ["y"])
    samples, data = walk(random, 24, 30, groups * columns), walk(random, 24, 30, groups * columns)
    within_the_noise_model(model, samples, (data,), least=25)


def test_a_normalization_is_exact_but_for_16_bits():
    random = np.random.default_rng(0)
    layer = conv("n", "x", "y", 5, 1, 1, random, groups=5)
    model = of({"x": 5}, [layer], ["y"])
    x = walk(random, 24, 30, 5)
    within_the_noise_model(model, x, (x,), least=60)
    assert (np.abs(layer_of(quantize(model, x), "n").kernel) == 127).all()


FAMILIES = {
    "pools": lambda r: [Pool1d("p", ("x",), ("a",), "average", 4, 2), Pool1d("q", ("a",), ("y",), "max", 2, 1, left=1)],
    "pool of h": lambda r: [lstm("l", "x", "h", 3, 9, r), Pool1d("p", ("h",), ("y",), "average", 4, 1, left=3)],
    "mean of h": lambda r: [lstm("l", "x", "h", 3, 9, r), Reduce("r", ("h",), ("y",), "mean")],
    "sum": lambda r: [Reduce("r", ("x",), ("y",), "sum")],
    "mean": lambda r: [Reduce("r", ("x",), ("y",), "mean")],
    "max": lambda r: [Reduce("r", ("x",), ("y",), "max")],
    "gate": lambda r: [
        Dense("d", ("x",), ("a",), uniform(r, 3, 3), uniform(r, 3), TANH),
        Combine("c", ("a", "x"), ("y",), "multiply"),
    ],
    "separable": lambda r: [
        conv("d", "x", "a", 3, 3, 1, r, groups=3, left=2),
        conv("p", "a", "y", 7, 1, 3, r, activation=Activation("relu")),
    ],
    **{
        kind: lambda r, kind=kind: [
            lstm("l", "x", "h", 3, 3, r),
            Dense("d", ("x",), ("a",), uniform(r, 3, 3, bound=3.0), uniform(r, 3)),
            Combine("c", ("h", "a", *(() if kind == "subtract" else ("x",))), ("y",), kind),
        ]
        for kind in COMBINATIONS
    },
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_are_within_the_noise_model(family):
    random = np.random.default_rng(3)
    model = of({"x": 3}, FAMILIES[family](random), ["y"])
    within_the_noise_model(model, walk(random, 32, 30, 3), (walk(random, 32, 30, 3),), least=30)


def cnn_lstm(random):
    return of(
        {"x": 24},
        [
            Split("s", ("x",), ("rows",), 8),
            conv("c", "rows", "a", 8, 3, 3, random, activation=Activation("relu"), same=True, period=8),
            Pool1d("p", ("a",), ("b",), "max", 2, 2, period=8),
            Group("g", ("b",), ("flat",), 4),
            lstm("l", "flat", "h", 32, 12, random),
            Last("last", ("h",), ("kept",)),
            Dense("d", ("kept",), ("y",), uniform(random, 2, 12), uniform(random, 2)),
        ],
        ["y"],
    )


def both_ways(random):
    return of(
        {"x": 24},
        [
            conv("c", "x", "a", 8, 3, 24, random, activation=Activation("relu"), same=True),
            Reverse("r", ("a",), ("ar",)),
            lstm("f", "a", "hf", 8, 10, random),
            lstm("b", "ar", "hr", 8, 10, random),
            Reverse("q", ("hr",), ("hb",)),
            Combine("j", ("hf", "hb"), ("h",), "concatenate"),
            Reduce("m", ("h",), ("kept",), "mean"),
            Dense("d", ("kept",), ("y",), uniform(random, 2, 20), uniform(random, 2)),
        ],
        ["y"],
    )


@pytest.mark.parametrize("build", [cnn_lstm, both_ways])
def test_models_of_many_kinds_convert_soundly(build):
    random = np.random.default_rng(5)
    model = build(random)
    within_the_noise_model(model, walk(random, 40, 20, 24), (walk(random, 40, 20, 24),), least=30)


# ---- whole numbers ----


def words(random, mask=True):
    layers = [
        *([Mask("m", ("ids",), ("kept", "counts"))] if mask else []),
        Embedding("e", ("kept" if mask else "ids",), ("v",), uniform(random, 40, 8)),
        lstm("l", "v", "h", 8, 9, random),
        *([Combine("z", ("h", "counts"), ("hz",), "multiply")] if mask else []),
        Last("last", ("hz" if mask else "h",), ("y",)),
    ]
    return of({"ids": 1}, layers, ["y"])


@pytest.mark.parametrize("mask", [True, False])
def test_ids_keep_their_scale_whatever_the_samples_are(mask):
    random = np.random.default_rng(0)
    model = words(random, mask)
    for most in (2, 40):
        ids = random.integers(0, most, (8, 12, 1)).astype(np.float32)
        quantized = quantize(model, ids)
        assert scale(quantized, "ids") == 1
        assert not any("warning" in note and "ids" in note for note in quantized.notes)
        found = reference_s8.run(quantized, reference_s8.quantize_inputs(quantized, (ids,)), trace=(trace := {}))
        assert np.abs(trace["v"] * scale(quantized, "v") - reference_trace(model, ids)["v"]).max() < 2e-5
        assert found[0].shape == (8, 9)
        if mask:
            assert scale(quantized, "counts") == 1 and scale(quantized, "hz") == scale(quantized, "h")
            np.testing.assert_array_equal(trace["hz"], trace["h"] * trace["counts"])


def reference_trace(model, x):
    trace = {}
    reference.run(model, (x,), trace=trace)
    return trace


def test_a_mask_given_as_an_input_keeps_its_scale_through_movers_and_joins():
    random = np.random.default_rng(1)
    layers = [
        Reverse("r", ("m",), ("mr",)),
        Combine("both", ("mr", "n"), ("mn",), "multiply"),
        Reduce("mean", ("x", "mn"), ("y",), "mean", masked=True),
    ]
    model = of({"x": 3, "m": 1, "n": 1}, layers, ["y"])
    x = walk(random, 6, 10, 3)
    masks = [(random.random((6, 10, 1)) < 0.6).astype(np.float32) for _ in range(2)]
    quantized = quantize(model, (x, *masks))
    assert [scale(quantized, name) for name in ("m", "n", "mr", "mn")] == [1.0] * 4
    assert scale(quantized, "x") != 1
    exact, found = reference.run(model, (x, *masks))[0], reference_s8.run_float(quantized, (x, *masks))[0]
    assert decibels(exact, found) > 60


def test_a_product_under_a_mask_reads_one_minus_the_mask():
    """Keras' Multiply of a masked tensor and another, as it is lowered: 1 takes the place of what does not count."""
    random = np.random.default_rng(0)
    layers = [
        Mask("m", ("a",), ("kept", "counts"), 0.0),
        Conv1d("other", ("counts",), ("rest",), np.full((1, 1, 1), -1.0), np.ones(1)),
        Combine("k", ("kept", "counts"), ("zeroed",), "multiply"),
        Combine("s", ("zeroed", "rest"), ("filled",), "add"),
        Combine("p", ("filled", "b"), ("product",), "multiply"),
        lstm("l", "product", "y", 3, 9, random),
    ]
    model = of({"a": 3, "b": 3}, layers, ["rest", "product", "y"])
    samples, data = ((walk(random, 16, 30, 3), walk(random, 16, 30, 3)) for _ in range(2))
    for a, _ in (samples, data):
        a[random.random(a.shape[:2]) < 0.3] = 0
    found = reference_s8.run_float(quantize(model, samples), data)
    for exact, answer, least in zip(reference.run(model, data), found, (80, 60, 35), strict=True):
        assert decibels(exact, answer) > least


READ_AS_NUMBERS = {
    "concatenate": lambda r: [Combine("c", ("mask", "x"), ("y",), "concatenate")],
    "concatenate h": lambda r: [lstm("l", "x", "h", 3, 9, r), Combine("c", ("h", "mask"), ("y",), "concatenate")],
    "maximum": lambda r: [Combine("c", ("x", "mask"), ("y",), "maximum")],
    "add": lambda r: [Combine("c", ("x", "mask"), ("y",), "add")],
    "subtract": lambda r: [
        Combine(
            "c",
            (
                "mask",
                "mask",
            ),
            ("d",),
            "add",
        ),
        Combine("e", ("d", "x"), ("y",), "subtract"),
    ],
    "average": lambda r: [Combine("c", ("mask", "x"), ("y",), "average")],
    "dense": lambda r: [Dense("d", ("mask",), ("y",), uniform(r, 5, 1, bound=3.0), uniform(r, 5))],
    "convolution": lambda r: [conv("c", "mask", "y", 5, 3, 1, r, left=2)],
    "moved": lambda r: [
        Reverse("r", ("mask",), ("back",)),
        Pool1d("p", ("back",), ("largest",), "max", 2, 1, left=1),
        Dense("d", ("largest",), ("y",), uniform(r, 5, 1), uniform(r, 5)),
    ],
    "activation": lambda r: [Activate("a", ("mask",), ("y",), TANH)],
    "no function": lambda r: [Activate("a", ("mask",), ("y",), LINEAR)],
    "x": lambda r: [replace(lstm("l", "mask", "y", 1, 9, r), reads=("mask", "mask"), masked=True)],
    "mean": lambda r: [Reduce("m", ("mask",), ("y",), "mean")],
}


@pytest.mark.parametrize("family", sorted(READ_AS_NUMBERS))
def test_a_mask_that_is_read_as_numbers_loses_no_bits(family):
    random = np.random.default_rng(4)
    layers = [*READ_AS_NUMBERS[family](random), Reduce("own", ("x", "mask"), ("used",), "mean", masked=True)]
    model = of({"x": 3, "mask": 1}, layers, ["y", "used", "mask"])
    samples, data = ((walk(random, 16, 30, 3), (random.random((16, 30, 1)) < 0.7).astype(np.float32)) for _ in range(2))
    quantized = quantize(model, samples)
    assert scale(quantized, "mask") == 1
    exact, found = reference.run(model, data), reference_s8.run_float(quantized, data)
    assert decibels(exact[0], found[0]) >= 35
    np.testing.assert_array_equal(exact[2], found[2])


def test_ids_that_are_read_as_numbers_keep_room_for_larger_ones():
    random = np.random.default_rng(5)
    layers = [
        Embedding("e", ("ids",), ("v",), uniform(random, 600, 4)),
        Combine("c", ("v", "ids"), ("y",), "concatenate"),
        Dense("d", ("ids",), ("z",), np.array([[0.01]]), np.zeros(1)),
    ]
    model = of({"ids": 1}, layers, ["y", "z"])
    few, all_ids = (random.integers(0, most, (4, 30, 1)).astype(np.float32) for most in (300, 600))
    quantized = quantize(model, few)
    exact, found = reference.run(model, (all_ids,)), reference_s8.run_float(quantized, (all_ids,))
    np.testing.assert_array_equal(exact[0][..., 4:], found[0][..., 4:])
    assert decibels(exact[1], found[1]) > 60


def test_the_finer_tensor_takes_no_name_that_is_taken():
    layers = [
        Dense("mask_numbers", ("mask",), ("mask_numbers1",), np.ones((2, 1)), np.zeros(2)),
        Reduce("r", ("mask_numbers1", "mask"), ("y",), "mean", masked=True),
    ]
    mask = np.ones((2, 6, 1), np.float32)
    quantized = quantize(of({"mask": 1}, layers, ["y"]), mask)
    assert [t.name for t in quantized.tensors] == ["mask", "mask_numbers1", "y", "mask_numbers2"]
    np.testing.assert_allclose(reference_s8.run_float(quantized, (mask,))[0], 1, atol=1e-3)


def test_fractions_are_no_ids():
    with pytest.raises(QuantizeError, match="samples of ids are ids of an embedding and must be whole numbers"):
        quantize(words(np.random.default_rng(0)), np.full((2, 5, 1), 0.5, np.float32))


def test_computed_ids_and_large_vocabularies_are_refused_by_name():
    random = np.random.default_rng(0)
    table = uniform(random, 5, 2)
    computed = [Dense("d", ("x",), ("i",), np.ones((1, 1)), np.zeros(1)), Embedding("words", ("i",), ("y",), table)]
    x = np.ones((1, 4, 1), np.float32)
    with pytest.raises(QuantizeError, match=r"words: its ids i are computed .* without int8"):
        quantize(of({"x": 1}, computed, ["y"]), x)
    large = of({"x": 1}, [Embedding("words", ("x",), ("y",), np.zeros((32769, 1)))], ["y"])
    with pytest.raises(QuantizeError, match=r"words: a vocabulary of 32769; .* at most 32768"):
        quantize(large, x)
    quantize(of({"x": 1}, [Embedding("words", ("x",), ("y",), np.ones((32768, 1)))], ["y"]), x)


@pytest.mark.parametrize("value", [-999.0, 0.0])
def test_the_value_of_missing_steps_costs_no_bits(value):
    """It may lie far from all that is measured; the scale is that of the measurements."""
    random = np.random.default_rng(2)
    x = walk(random, 8, 20, 3)
    plain = quantize(of({"x": 3}, [Reduce("r", ("x",), ("y",), "mean")], ["y"]), x)
    x[:, 5:9] = value
    layers = [
        Mask("m", ("x",), ("kept", "counts"), value),
        Reduce("r", ("kept", "counts"), ("y",), "mean", masked=True),
    ]
    model = of({"x": 3}, layers, ["y", "counts"])
    quantized = quantize(model, x)
    assert 0.5 * scale(plain, "x") < scale(quantized, "x") <= scale(plain, "x")
    exact, found = reference.run(model, (x,)), reference_s8.run_float(quantized, (x,))
    np.testing.assert_array_equal(exact[1], found[1])
    assert decibels(exact[0], found[0]) > 45


@pytest.mark.parametrize(("bits", "gained"), [(8, 0.5), (16, 5.0)])
def test_a_table_of_16_bits_is_worth_its_bytes(bits, gained):
    """Decibels of h beside those of a table rounded to int8, on average over five models: 1 and 8."""
    differences = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        table = (random.standard_normal((200, 32)) / 2).astype(np.float32)
        step = np.abs(table).max() / 127
        samples, data = (random.integers(0, 200, (24, 30, 1)).astype(np.float32) for _ in range(2))
        found = []
        for rounded in (table, (np.rint(table / step) * step).astype(np.float32)):
            cell = lstm("l", "v", "h", 32, 48, np.random.default_rng(seed + 100))
            models = [of({"x": 1}, [Embedding("e", ("x",), ("v",), t), cell], ["h"]) for t in (table, rounded)]
            h = reference_s8.run_float(quantize(models[1], samples, hidden_bits=bits), (data,))[0]
            found.append(decibels(reference.run(models[0], (data,))[0], h))
        differences.append(found[0] - found[1])
    assert np.mean(differences) > gained


# ---- refusals ----


@pytest.mark.parametrize(
    "layer",
    [
        LayerNorm("odd one", ("x",), ("y",), np.ones(4), np.zeros(4), 1e-3),
        SoftmaxSteps("odd one", ("x",), ("y",)),
        Attention("odd one", ("x", "x", "x"), ("y",)),
        Activate("odd one", ("x",), ("y",), Activation("log_softmax")),
        Dense("odd one", ("x",), ("y",), np.eye(4), np.zeros(4), Activation("log_softmax")),
    ],
)
def test_layers_of_float_alone_are_refused_by_name(layer):
    kind = "log_softmax" if hasattr(layer, "activation") else type(layer).__name__
    with pytest.raises(QuantizeError, match=rf"^odd one: {kind} runs in f32 alone: .*; convert"):
        quantize(of({"x": 4}, [layer], ["y"]), signal((2, 5, 4)))


def test_averages_too_long_for_32_bits_are_refused_by_name():
    model = of({"x": 1}, [Pool1d("p", ("x",), ("y",), "average", 32769)], ["y"])
    with pytest.raises(QuantizeError, match="p: an average over 32769 steps"):
        quantize(model, np.ones((1, 32769, 1), np.float32))


# ---- which sequences are run ----


def test_models_that_need_the_future_are_run_over_whole_sequences(monkeypatch):
    monkeypatch.setattr("edgelstm.calibration.LONGEST", 16)
    model = of({"x": 2}, [Reverse("r", ("x",), ("a",)), Reduce("m", ("a",), ("y",), "mean")], ["y"])
    quantized = quantize(model, walk(np.random.default_rng(0), 4, 50, 2))
    assert not any("cut into pieces" in note for note in quantized.notes)
    assert any("calibrated on 200 of 200 steps" in note for note in quantized.notes)
    assert any(note.startswith("output y:") for note in quantized.notes)


def test_a_sequence_too_long_to_run_whole_is_refused(monkeypatch):
    monkeypatch.setattr("edgelstm.calibration.MOST_WHOLE", 100)
    model = of({"x": 1}, [Reverse("r", ("x",), ("y",))], ["y"])
    with pytest.raises(QuantizeError, match="needs whole sequences, and one has 200 steps"):
        quantize(model, np.ones((1, 200, 1), np.float32))


def test_samples_of_a_length_that_the_model_cannot_take_are_refused():
    model = of({"x": 2}, [conv("c", "x", "y", 3, 2, 2, np.random.default_rng(0), period=4)], ["y"])
    with pytest.raises(QuantizeError, match="samples of 10 steps: c: 10 steps, expected a multiple of 4"):
        quantize(model, np.ones((1, 10, 2), np.float32))


def test_single_inputs_give_a_row_a_sequence():
    random = np.random.default_rng(7)
    layers = [
        Dense("d", ("s",), ("b",), uniform(random, 3, 2), uniform(random, 3)),
        Combine("c", ("x", "b"), ("y",), "add"),
        Repeat("r", ("s",), ("z",), 4),
    ]
    model = of({"s": 2, "x": 3}, layers, ["y", "z"], single=("s",))
    s, x = random.standard_normal((5, 2)).astype(np.float32), walk(random, 5, 9, 3)
    for rows in (s, s[:, None], list(s)):
        quantized = quantize(model, (rows, x))
        found = reference_s8.run_float(quantized, (s, x))
        for e, f in zip(reference.run(model, (s, x)), found, strict=True):
            assert decibels(e, f) > 35
    with pytest.raises(QuantizeError, match="differ in number"):
        quantize(model, (s[:4], x))


def encoder_and_decoder(random):
    """h and c of one sequence start the cell of another, of a length of its own."""
    return of(
        {"source": 3, "target": 2},
        [
            replace(lstm("encoder", "source", "eh", 3, 9, random), writes=("eh", "ec")),
            Last("lh", ("eh",), ("h0",)),
            Last("lc", ("ec",), ("c0",)),
            replace(lstm("decoder", "target", "dh", 2, 9, random), reads=("target", "h0", "c0"), initial=True),
            Dense("d", ("dh",), ("y",), uniform(random, 4, 9), uniform(random, 4)),
        ],
        ["y"],
    )


def test_inputs_may_have_numbers_of_steps_of_their_own():
    random = np.random.default_rng(8)
    model = encoder_and_decoder(random)
    arrays = walk(random, 12, 20, 3), walk(random, 12, 7, 2)
    ragged = [s[: 10 + k] for k, s in enumerate(arrays[0])], [t[: 4 + k % 3] for k, t in enumerate(arrays[1])]
    data = walk(random, 12, 15, 3), walk(random, 12, 9, 2)
    for samples in (arrays, ragged):
        quantized = quantize(model, samples)
        assert decibels(reference.run(model, data)[0], reference_s8.run_float(quantized, data)[0]) > 30
    assert quantized.notes[0] == "calibrated on 185 of 185 steps, 12 sequences"
    with pytest.raises(QuantizeError, match="differ in number"):
        quantize(model, (arrays[0], arrays[1][:5]))


def test_lengths_that_a_model_with_inputs_of_their_own_cannot_take_are_named():
    layers = [Reverse("r", ("x",), ("y",)), Group("g", ("b",), ("z",), 4, single=True)]
    model = of({"x": 2, "b": 1}, layers, ["y", "z"])
    x, b = np.ones((3, 9, 2), np.float32), np.ones((3, 5, 1), np.float32)
    with pytest.raises(QuantizeError, match="samples of 9 and 5 steps: g: 5 steps, expected 4"):
        quantize(model, (x, b))
    quantize(model, (x, b[:, :4]))


def test_a_depthwise_layer_of_many_channels_is_quantized_in_one_go():
    random = np.random.default_rng(0)
    layer = Conv1d("n", ("x",), ("y",), uniform(random, 700, 1, 1), uniform(random, 700), groups=700)
    quantize(of({"x": 700}, [layer], ["y"]), random.standard_normal((1, 8, 700)).astype(np.float32))


def test_ids_are_taken_with_and_without_an_axis_of_one_value(tmp_path):
    """Keras users have (sequences, steps); of (steps, 1) that is told by the last axis."""
    random = np.random.default_rng(0)
    model = words(random)
    ids = random.integers(1, 40, (6, 12))
    quantized = quantize(model, ids)
    assert pack(quantized) == pack(quantize(model, ids[..., None]))
    for runner in (Runner(model), Runner(quantized)):
        np.testing.assert_array_equal(runner.run(ids), runner.run(ids[..., None]))
        np.testing.assert_array_equal(runner.run(ids[0][:, None]), runner.run(ids[:1])[0])
        for wrong in (ids + 0.5, ids + 40):
            with pytest.raises(InputError, match="holds ids, expected whole numbers from 0 to 39"):
                runner.run(wrong)
        with pytest.raises(InputError, match=r"expected \(T, 1\) or \(N, T, 1\), or \(N, T\)"):
            runner.run(ids[0])
    save(model, tmp_path / "m.elstm")
    np.save(tmp_path / "x.npy", ids)
    arguments = ["run", tmp_path / "m.elstm", "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), Runner(model).run(ids))
    plain = of({"x": 1}, [lstm("l", "x", "y", 1, 3, random)], ["y"])
    with pytest.raises(InputError, match="has shape"):
        Runner(plain).run(ids)
    with pytest.raises(QuantizeError, match="shape"):
        quantize(plain, ids)
