"""The .tflite writer: every file runs in each installed runtime with each of its resolvers and answers as it should."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import lstm, signal, stack, two_heads
from simulate import decibels

from edgelstm import peers, reference
from edgelstm.errors import CheckpointError, ExportError, InputError, MissingError, QuantizeError
from edgelstm.exporters import tflite, tflite_dense
from edgelstm.importers import tflite_settings
from edgelstm.layers import LINEAR, TANH, Activate, Activation, Dense, Last, Pad, Pool1d, Reduce, Reverse
from edgelstm.model import Meta, Model, Tensor

RUNTIMES = peers.runtimes()
needs_runtime = pytest.mark.skipif(not RUNTIMES, reason="no TFLite runtime has a wheel for this Python")
WAYS = [(runtime, resolver) for runtime in RUNTIMES for resolver in peers.RESOLVERS]
LIMIT = 5e-6  # of max(1, max|y|)


def inputs(model, count=3, steps=20, seed=0):
    return [signal((count, steps, model.width(name)), seed + k) for k, name in enumerate(model.inputs)]


def samples(model, kind):
    return tuple(inputs(model)) if kind == "int8" else None


def built(model, kind="float", **options):
    return tflite.build(model, kind, samples(model, kind), **options)


def check(model, kinds=tflite.KINDS, ways=WAYS, least=18):
    """All kinds in all ways: shapes, float's error, and the signal to error ratio of the others on their samples."""
    xs = inputs(model)
    expected = reference.run(model, xs)
    for kind in kinds:
        file = built(model, kind, steps=xs[0].shape[1])
        for runtime, resolver in ways:
            answers = peers.run_tflite(file, xs, runtime, resolver=resolver)
            assert answers.integer == (kind != "float")
            for name, y, found in zip(model.outputs, expected, answers.ys, strict=True):
                where = (kind, runtime, resolver, name)
                assert y.shape == found.shape and found.dtype == np.float32, where
                if kind == "float":
                    assert np.abs(found - y).max() <= LIMIT * max(1, np.abs(y).max()), where
                else:
                    assert decibels(y, found) > least, where


def odd():
    """A linear activation, Last twice, LSTM and Dense behind it; outputs that are inputs, or there twice."""
    random = np.random.default_rng(0)
    layers = (
        Activate("same", ("x",), ("a",), LINEAR),
        Last("last", ("a",), ("b",)),
        Last("again", ("b",), ("c",)),
        lstm("lstm", "c", "h", 3, 4, random),
        Dense("dense", ("h",), ("d",), random.standard_normal((2, 4)), random.standard_normal(2), TANH),
    )
    tensors = tuple(Tensor(name, width) for name, width in zip("xabchd", (3, 3, 3, 3, 4, 2), strict=True))
    return Model(tensors, layers, ("x",), ("a", "b", "c", "h", "d", "d"))


@needs_runtime
@pytest.mark.parametrize("name", tflite_dense.INT8)
@pytest.mark.parametrize("last", [True, False])
def test_every_activation_of_dense_and_alone(name, last):
    # ELU is in no runtime's set of reference kernels
    ways = [way for way in WAYS if name != "elu" or way[1] != "reference"]
    function = Activation(name, {"elu": 1.0, "leaky_relu": 0.3}.get(name, 0.0))
    check(stack(3, (9,), 4, last=last, head_activation=function), ways=ways)
    if name != "elu":
        check(stack(3, (9,), 4, last=last, activate=name), ways=ways)


@needs_runtime
@pytest.mark.parametrize(
    "model",
    [
        stack(1, (1,), 1),
        stack(3, (9,), None, last=False),
        stack(3, (9,), clip=0.3),
        stack(5, (33, 7), 2, last=False),
        stack(64, (128, 64), 4),
        two_heads(),
        odd(),
    ],
    ids=["tiny", "sequence", "clip", "stacked", "large", "two heads", "odd"],
)
def test_graphs(model):
    check(model)


@needs_runtime
@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 12),
    units=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    head=st.sampled_from([None, "linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "leaky_relu"]),
    last=st.booleans(),
    clip=st.sampled_from([None, 0.2, 3.0]),
    seed=st.integers(0, 999),
)
def test_random_models(width, units, head, last, clip, seed):
    options = {"last": last, "clip": clip, "seed": seed}
    if head is not None:
        options["head_activation"] = Activation(head, 0.1 if head == "leaky_relu" else 0.0)
    model = stack(width, tuple(units), None if head is None else 3, **options)
    xs = inputs(model)
    (expected,) = reference.run(model, xs)
    for kind, least in (("float", 100), ("dynamic", 12), ("int8", 12)):
        (found,) = peers.run_tflite(built(model, kind, steps=20), xs).ys
        if kind == "float":
            assert np.abs(found - expected).max() <= LIMIT * max(1, np.abs(expected).max())
        elif np.abs(expected).max() > 0.05:  # relu heads may be silent
            assert decibels(expected, found) > least, kind


@needs_runtime
@pytest.mark.parametrize("kind", tflite.KINDS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_step_streams_as_the_whole_sequence_runs(kind, runtime):
    model = stack(3, (9, 5), 4, last=False)
    xs = inputs(model)
    whole = peers.run_tflite(built(model, kind, steps=20), xs, runtime).ys[0]
    streamed = peers.run_tflite(built(model, kind, steps=1), xs, runtime).ys[0]
    resized = peers.run_tflite(built(model, kind, steps=7), xs, runtime).ys[0]
    batched = peers.run_tflite(built(model, kind, steps=20, batch=2), xs, runtime).ys[0]
    exact = 0 if kind == "int8" else 3e-7
    for found in (streamed, resized, batched):
        assert np.abs(found - whole).max() <= exact
    last = stack(3, (9, 5), 4)
    steps = peers.run_tflite(built(last, kind, steps=1), xs, runtime, every_step=True).ys[0]
    kept = peers.run_tflite(built(last, kind, steps=1), xs, runtime).ys[0]
    assert steps.shape == (3, 20, 4) and np.array_equal(steps[:, -1], kept)
    with pytest.raises(InputError, match="steps=1"):
        peers.run_tflite(built(last, kind, steps=20), xs, runtime, every_step=True)


@needs_runtime
def test_state_is_reset_before_every_sequence():
    model = stack(2, (6,), 3)
    x = inputs(model, count=1, steps=3)[0]
    twice = peers.run_tflite(built(model, steps=3), [np.concatenate([x, x])]).ys[0]
    assert np.array_equal(twice[0], twice[1])
    # the same without a reset between them is another answer
    (carried,) = reference.run(model, (np.concatenate([x, x], axis=1),))
    assert np.abs(carried - twice[1]).max() > 1e-3


@needs_runtime
def test_int8_survives_weights_and_ranges_of_nothing():
    """Zero and tiny weights beside large biases, a dead relu, and inputs that are all zero."""
    model = stack(3, (5,), 2, last=False, head_activation=Activation("relu"))
    tiny = [np.zeros_like(model.layers[1].kernel), np.full_like(model.layers[1].kernel, 1e-9)]
    for kernel in tiny:
        for bias in ([-1.0, -2.0], [1.0, 3.0]):
            dense = Dense("dense", ("h0",), ("y",), kernel, bias, Activation("relu"))
            changed = Model(model.tensors, (model.layers[0], dense), model.inputs, model.outputs)
            for x in (inputs(model)[0], np.zeros((1, 4, 3), np.float32)):
                (expected,) = reference.run(changed, (x,))
                for kind in ("dynamic", "int8"):
                    file = tflite.build(changed, kind, x if kind == "int8" else None)
                    for runtime, resolver in WAYS:
                        (found,) = peers.run_tflite(file, (x,), runtime, resolver=resolver).ys
                        assert np.abs(found - expected).max() <= 0.02, (kind, runtime, resolver)


def test_what_tflite_lacks_is_refused_by_name_all_at_once():
    random = np.random.default_rng(0)
    layers = (
        lstm("first", "x", "h", 2, 3, random, activation=Activation("relu")),
        lstm("second", "h", "k", 3, 3, random, gate=Activation("hard_sigmoid")),
        Dense("head", ("k",), ("y",), random.standard_normal((2, 3)), np.zeros(2), Activation("gelu")),
        Activate("alone", ("y",), ("z",), Activation("elu", 0.5)),
    )
    tensors = tuple(Tensor(name, width) for name, width in zip("xhkyz", (2, 3, 3, 2, 2), strict=True))
    model = Model(tensors, layers, ("x",), ("z",))
    with pytest.raises(ExportError) as caught:
        tflite.build(model, "int8", inputs(model)[0])
    for part in ("first", "relu", "second", "hard_sigmoid", "head", "gelu", "alone", "0.5"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_one_step_has_no_layers_that_look_at_others():
    layers = (Pad("padded", ("x",), ("a",), 1, 0), Reduce("pooled", ("a",), ("y",), "mean"))
    model = Model(tuple(Tensor(name, 2) for name in "xay"), layers, ("x",), ("y",))
    assert not tflite.refusals(model, steps=5)
    pool = Pool1d("windows", ("x",), ("a",), "max", 3, left=2)
    model = Model(tuple(Tensor(name, 2) for name in "xay"), (pool, layers[1]), ("x",), ("y",))
    with pytest.raises(ExportError, match="windows: a file of one step .*; pooled: a file of one step"):
        tflite.build(model, steps=1)
    turned = replace(model, layers=(Reverse("turned", ("x",), ("a",)), layers[1]))
    with pytest.raises(InputError, match=r"whole sequences alone \(turned: .*give `steps`"):
        tflite.build(turned)


def test_arguments_are_honoured_or_refused():
    model = stack(2, (3,), 1)
    x = inputs(model)[0]
    for wrong in (
        {"kind": "int4"},
        {"kind": "int8"},
        {"samples": x},
        {"steps": 0},
        {"batch": 1.5},
        {"steps": 2**31},
        {"steps": 2**24},
    ):
        with pytest.raises(InputError):
            tflite.build(model, **wrong)
    with pytest.raises(QuantizeError):
        tflite.build(model, "int8", x[..., :1])


@needs_runtime
def test_steps_default_to_the_window():
    for window, steps in ((None, 1), (12, 12)):
        file = tflite.build(stack(2, (3,), 1, last=False, meta=Meta(window=window)))
        # a model of one step streams: 12 steps of answers either way, but only one call for a window
        assert peers.run_tflite(file, [np.zeros((1, 12, 2), np.float32)]).ys[0].shape == (1, 12, 1)
        assert _input_steps(file) == steps


def _input_steps(file):
    module = pytest.importorskip(f"{peers.RUNTIMES[RUNTIMES[0]]}.interpreter")
    return int(module.Interpreter(model_content=file).get_input_details()[0]["shape"][1])


def test_file_is_written_whole_and_the_same_each_time(tmp_path):
    model = stack(2, (3,), 1)
    path = tmp_path / "model.tflite"
    size = tflite.write(model, path, "int8", inputs(model)[0], steps=4)
    data = path.read_bytes()
    assert len(data) == size and data[4:8] == b"TFL3" and list(tmp_path.iterdir()) == [path]
    assert tflite.build(model, "int8", inputs(model)[0], steps=4) == data
    with pytest.raises(InputError):
        tflite.write(model, tmp_path / "none" / "model.tflite")


def test_without_flatbuffers_the_command_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flatbuffers", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[tflite\]"'):
        tflite.build(stack(2, (3,), 1))


# ---- settings of a file ----


def test_clip_and_cell_scale_are_read_and_the_clip_can_be_lifted():
    clipped, free = stack(3, (9,), clip=0.25), stack(3, (9,))
    (found,) = tflite_settings.read(built(clipped))
    assert found.cell_clip == 0.25 and found.cell_scale is None
    assert tflite_settings.without_clip(built(clipped)) == built(free)
    (found,) = tflite_settings.read(built(clipped, "int8"))
    assert 2.0**-15 <= found.cell_scale <= 2.0**-9
    assert len(tflite_settings.read(built(stack(2, (3, 4), 1)))) == 2


def test_cell_scale_is_never_below_what_runtimes_can_do():
    """Below 2^-15 they leave out tanh. A cell that stays small is such a case."""
    model = stack(1, (3,), None, scale=0.01)
    (found,) = tflite_settings.read(tflite.build(model, "int8", 0.01 * inputs(model)[0]))
    assert found.cell_scale == 2.0**-15


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_files_are_not_followed(data):
    file = bytearray(built(stack(2, (3,), 1)))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(file[: data.draw(st.integers(0, len(file)))])
    for damaged in (bytes(file), cut):
        with contextlib.suppress(CheckpointError):
            assert isinstance(tflite_settings.read(damaged), list)
