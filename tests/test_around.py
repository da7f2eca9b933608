"""The layers around the cells in C: float32 within its bound, integers equal to the reference on every kernel set; a
run in pieces, step by step and in several streams gives the same."""

import numpy as np
import pytest
from around import conv, of, uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import lstm, signal

from edgelstm import reference, reference_s8
from edgelstm.image import pack
from edgelstm.layers import (
    COMBINATIONS,
    Activation,
    Attention,
    Combine,
    Dense,
    Embedding,
    Group,
    Last,
    LayerNorm,
    Mask,
    Pool1d,
    Reduce,
    Reverse,
    SoftmaxSteps,
    Split,
)
from edgelstm.quantization import quantize
from edgelstm.runner import Runner, kernels

SETS = kernels()
BOUND = 2e-6  # * max(1, max|y|), docs/numerics.md


def tuples(ys):
    return ys if isinstance(ys, tuple) else (ys,)


def check(model, xs, *, integers=True, pieces=(1, 3)):
    """All that docs promise, on every kernel set; `pieces`: steps worked on at once."""
    causal, steps = model.timing.causal, xs[0].shape[1]
    sizes = (*pieces, steps) if causal else (steps,)
    image = pack(model)
    wanted = {False: reference.run(model, xs)} | ({True: reference.run(model, xs, every_step=True)} if causal else {})
    for name in SETS:
        for size in sizes:
            runner = Runner(image, name, max_steps=size)
            runner.self_check()
            for every, ys in wanted.items():
                for y, found in zip(ys, tuples(runner.run(xs if len(xs) > 1 else xs[0], every)), strict=True):
                    assert found.shape == y.shape, (name, size, every)
                    assert np.abs(found - y).max(initial=0) <= BOUND * max(1, np.abs(y).max(initial=0)), (name, size)
    if not integers:
        return
    quantized = quantize(model, xs if len(xs) > 1 else xs[0])
    image = pack(quantized)
    random = np.random.default_rng(0)
    whole = {t.name for t in quantized.tensors if t.scale == 1}
    wild = [
        x if name in whole else random.integers(-32768, 32768, x.shape).astype(np.int16)
        for name, x in zip(model.inputs, reference_s8.quantize_inputs(quantized, xs), strict=True)
    ]
    wanted = {False: reference_s8.run(quantized, wild)}
    wanted |= {True: reference_s8.run(quantized, wild, every_step=True)} if causal else {}
    for name in SETS:
        for size in sizes:
            runner = Runner(image, name, max_steps=size)
            runner.self_check()
            for every, ys in wanted.items():
                for y, found in zip(ys, tuples(runner.run_integers(tuple(wild), every)), strict=True):
                    np.testing.assert_array_equal(found, y, err_msg=f"{name}, {size} steps at once, {every}")
    if causal and not model.timing.uneven:
        in_streams(image, [np.concatenate([x, x[::-1]])[:2] for x in wild])
        in_steps(image, wild, wanted[True])


def in_streams(image, xs):
    """Two sequences together give what each gives alone, whatever is worked on at once."""
    one = Runner(image)
    alone = [[y[0] for y in tuples(one.run_integers(tuple(x[k : k + 1] for x in xs), True))] for k in range(2)]
    for size in (1, 4):
        together = tuples(Runner(image, streams=2, max_steps=size).run_integers(tuple(xs), True))
        for j, y in enumerate(together):
            np.testing.assert_array_equal(y, np.stack([alone[0][j], alone[1][j]]))


def in_steps(image, xs, wanted):
    """Step by step the answers are those of a run in which every step is asked for."""
    runner = Runner(image)
    for t in range(xs[0].shape[1]):
        for k, x in enumerate(xs):
            runner.xs[k][0] = x[0, t] * np.float32(runner.input_scales[k])
        runner.step()
        for k, y in enumerate(wanted):
            np.testing.assert_array_equal(runner.ys[k][0], y[0, t] * np.float32(runner.output_scales[k]))


# ---- windows ----


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(1, 3), each=st.integers(1, 9), columns=st.sampled_from([1, 2, 3, 8]), taps=st.integers(1, 5),
    stride=st.integers(1, 3), dilation=st.integers(1, 3), left=st.integers(0, 5), right=st.sampled_from([0, 0, 2]),
    same=st.booleans(), full=st.booleans(), wide=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions(groups, each, columns, taps, stride, dilation, left, right, same, full, wide, seed):
    random = np.random.default_rng(seed)
    ends = {"same": True} if same else {"left": left, "right": right}
    if full:  # one row a step, as most convolutions of streams are
        stride, ends = 1, {"left": (taps - 1) * dilation}
    layers, read = [], "x"
    if not wide:  # an int8 h
        layers, read = [lstm("l", "x", "h", groups * columns, groups * columns, random)], "h"
    kind = Activation(["relu", "tanh", "linear", "softmax"][seed % 4])
    layers.append(
        conv("c", read, "y", groups * each, taps, columns, random, activation=kind, groups=groups, stride=stride,
             dilation=dilation, **ends)
    )  # fmt: skip
    check(of({"x": groups * columns}, layers, ["y"]), (signal((2, 14, groups * columns), seed),))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("taps", [1, 3])
def test_depthwise_convolutions(taps, wide):
    random = np.random.default_rng(taps)
    layers = [] if wide else [lstm("l", "x", "h", 9, 9, random)]
    layers.append(conv("c", "x" if wide else "h", "y", 9, taps, 1, random, groups=9, left=taps - 1))
    check(of({"x": 9}, layers, ["y"]), (signal((2, 11, 9)),))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["max", "average"]), size=st.integers(1, 5), stride=st.integers(1, 4), data=st.data(),
    same=st.booleans(), counted=st.booleans(), wide=st.booleans(), width=st.integers(1, 9), seed=st.integers(0, 99),
)  # fmt: skip
def test_pools(kind, size, stride, data, same, counted, wide, width, seed):
    ends = {"same": True} if same else {k: data.draw(st.integers(0, size - 1)) for k in ("left", "right")}
    layers = [] if wide else [lstm("l", "x", "h", width, width, np.random.default_rng(seed))]
    layers.append(Pool1d("p", ("x" if wide else "h",), ("y",), kind, size, stride, count_padding=counted, **ends))
    check(of({"x": width}, layers, ["y"]), (signal((2, 12, width), seed),))


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 6), taps=st.integers(1, 3), stride=st.integers(1, 2), same=st.booleans(),
    kind=st.sampled_from(["max", "average", "mean", "sum"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_sequences_inside_a_step(count, taps, stride, same, kind, seed):
    """CNN-LSTM: each step is split into rows that are a sequence of their own."""
    random = np.random.default_rng(seed)
    taps = min(taps, count)
    options = {"same": True} if same else {"left": seed % 2}
    made = -(-count // stride) if same else (count + seed % 2 - taps) // stride + 1
    layers = [
        Split("s", ("x",), ("rows",), count),
        conv(
            "c", "rows", "a", 5, taps, 3, random, activation=Activation("relu"), stride=stride, period=count, **options
        ),
    ]
    if kind in ("max", "average"):
        layers += [
            Pool1d("p", ("a",), ("b",), kind, 2, 1, same=True, period=made),
            Group("g", ("b",), ("c",), made),
        ]
    else:
        layers.append(Reduce("p", ("a",), ("c",), kind, period=made))
    width = 5 * made if kind in ("max", "average") else 5
    layers += [lstm("l", "c", "h", width, 6, random), Last("last", ("h",), ("y",))]
    check(of({"x": 3 * count}, layers, ["y", "c"]), (signal((2, 7, 3 * count), seed),))


def test_periods_that_several_steps_fill():
    random = np.random.default_rng(4)
    layers = [
        conv("c", "x", "a", 4, 3, 3, random, left=1, period=6),
        Pool1d("p", ("x",), ("b",), "max", 2, 2, period=6),
        Reduce("r", ("x",), ("m",), "mean", period=6),
    ]
    check(of({"x": 3}, layers, ["a", "b", "m"]), (signal((2, 18, 3)),), pieces=(1, 4, 7))


# ---- over all steps ----


@pytest.mark.parametrize("kind", ["mean", "max", "sum"])
@pytest.mark.parametrize("wide", [True, False])
def test_reductions(kind, wide):
    layers = [] if wide else [lstm("l", "x", "h", 3, 7, np.random.default_rng(1))]
    read = "x" if wide else "h"
    layers += [
        Reduce("r", (read,), ("y",), kind),
        Dense("d", ("y",), ("z",), uniform(np.random.default_rng(2), 2, 3 if wide else 7), np.zeros(2)),
    ]
    check(of({"x": 3}, layers, ["y", "z"]), (signal((2, 13, 3)),))


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_reductions_of_the_steps_that_count(kind):
    x = signal((2, 13, 3))
    mask = (np.random.default_rng(3).random((2, 13, 1)) < 0.5).astype(np.float32)
    mask[:, :3] = 0
    model = of({"x": 3, "mask": 1}, [Reduce("r", ("x", "mask"), ("y",), kind, masked=True)], ["y"])
    check(model, (x, mask))
    assert not Runner(model).run((x, np.zeros_like(mask))).any()  # where none counts, zeros


def test_a_float_mean_of_a_long_run_loses_nothing():
    """An uncompensated float32 sum of these is off by 5e-4."""
    x = (1 + np.random.default_rng(0).random((1, 200_000, 1)) / 4).astype(np.float32)
    model = of({"x": 1}, [Reduce("r", ("x",), ("y",), "mean")], ["y"])
    wanted = x.astype(np.float64).mean()
    assert abs(Runner(model).run(x[0])[0] - wanted) <= BOUND * wanted
    assert abs(np.float32(0) + np.cumsum(x, dtype=np.float32)[-1] / np.float32(x.size) - wanted) > 5e-6


# ---- joins, ids, masks ----


@pytest.mark.parametrize("kind", COMBINATIONS)
@pytest.mark.parametrize("form", ["alike", "one value", "int8 and int16", "int8"])
def test_joins(kind, form):
    random = np.random.default_rng(5)
    cells = [lstm("a", "x", "h", 3, 3, random), lstm("b", "x", "g", 3, 3, random)]
    reads = {"alike": ("x", "u"), "one value": ("x", "w"), "int8 and int16": ("h", "x"), "int8": ("h", "g")}[form]
    model = of({"x": 3, "u": 3, "w": 1}, [*cells, Combine("c", reads, ("y",), kind)], ["y", "h", "g"])
    check(model, (signal((2, 9, 3)), 3 * signal((2, 9, 3), 1), signal((2, 9, 1), 2)))
    check(of({"x": 3, "w": 1}, [Combine("c", ("w", "x"), ("y",), kind)], ["y"]), (signal((2, 9, 3)), signal((2, 9, 1))))


@pytest.mark.parametrize("kind", [kind for kind in COMBINATIONS if kind != "subtract"])
def test_joins_of_many(kind):
    names = {f"x{k}": 2 for k in range(16)}
    xs = tuple(signal((1, 5, 2), k) for k in range(8))
    names = dict(list(names.items())[:8])
    layers = [Combine("c", tuple(names) * 2, ("y",), kind)]
    check(of(names, layers, ["y"]), xs)


@pytest.mark.parametrize("columns", [1, 5])
def test_ids_and_their_mask(columns):
    random = np.random.default_rng(6)
    ids = random.integers(0, 11, (3, 14, 2)).astype(np.float32)
    ids[:, 10:] = 0
    layers = [
        Mask("m", ("x",), ("ids", "counts")),
        Embedding("e", ("ids",), ("v",), uniform(random, 11, columns)),
        Combine("z", ("v", "counts"), ("vz",), "multiply"),
        Reduce("r", ("v", "counts"), ("y",), "mean", masked=True),
    ]
    model = of({"x": 2}, layers, ["vz", "y", "counts"])
    check(model, (ids,))


@pytest.mark.parametrize("value", [0.0, -1.5, 99.0])
def test_masks_of_values(value):
    x = signal((2, 10, 3))
    x[:, [0, 4, 9]] = value
    x[:, 5, 1] = value
    check(of({"x": 3}, [Mask("m", ("x",), ("y", "counts"), value)], ["y", "counts"]), (x,))


# ---- what is float32 alone ----


@pytest.mark.parametrize("width", [1, 7, 8, 64])
@pytest.mark.parametrize("rms", [False, True])
def test_layer_norm(width, rms):
    random = np.random.default_rng(width)
    x = np.concatenate([signal((1, 12, width)), 1e4 + signal((1, 12, width)), 1e-6 * signal((1, 12, width))])
    layer = LayerNorm("n", ("x",), ("y",), uniform(random, width), uniform(random, width), 1e-5, rms)
    # 1e4 + x has lost 1e-3 of x before it comes here: compare what float32 holds
    check(of({"x": width}, [layer], ["y"]), (x.astype(np.float32),), integers=False)


def test_softmax_over_the_steps():
    check(of({"x": 5}, [SoftmaxSteps("s", ("x",), ("y",))], ["y"]), (4 * signal((2, 300, 5)),), integers=False)


@settings(max_examples=30, deadline=None)
@given(
    heads=st.integers(1, 4), width=st.integers(1, 9), outputs=st.integers(1, 9), additive=st.booleans(),
    causal=st.booleans(), masked=st.booleans(), single=st.booleans(), steps=st.sampled_from([1, 2, 17, 130]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_attention(heads, width, outputs, additive, causal, masked, single, steps, seed):
    random = np.random.default_rng(seed)
    heads = 1 if additive else heads
    widths = {"q": heads * width, "v": heads * outputs, "k": heads * width}
    xs = [random.standard_normal((2, steps, n)).astype(np.float32) for n in widths.values()]
    layers, query = [], "q"
    if single:
        layers, query = [Last("last", ("q",), ("one",))], "one"
    reads = (query, "v", "k")
    if masked:
        widths["m"], reads = 1, (*reads, "m")
        xs.append((random.random((2, steps, 1)) < 0.7).astype(np.float32))
    extra = uniform(random, widths["q"]) if additive else None
    layers.append(Attention("a", reads, ("y",), 1 / np.sqrt(width), extra, heads, causal, masked))
    check(of(widths, layers, ["y"]), tuple(xs), integers=False)


def test_both_directions_joined():
    random = np.random.default_rng(8)
    layers = [
        Reverse("r", ("x",), ("xr",)),
        lstm("f", "x", "hf", 3, 5, random),
        lstm("b", "xr", "hr", 3, 5, random),
        Reverse("r2", ("hr",), ("hb",)),
        *(Combine(kind, ("hf", "hb"), (kind,), kind) for kind in COMBINATIONS),
    ]
    check(of({"x": 3}, layers, list(COMBINATIONS)), (signal((2, 12, 3)),))
