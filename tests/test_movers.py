"""Layers that move rows, models that need steps to come or whose steps write no row or several: the core against the
reference, runs against steps, and what is refused."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import lstm, signal

from edgelstm import reference, reference_s8
from edgelstm.bench import measure, measure_layers
from edgelstm.errors import InputError, ModelError
from edgelstm.image import pack
from edgelstm.layers import (
    Attention,
    Combine,
    Crop,
    Dense,
    Embedding,
    Group,
    Last,
    Mask,
    Pad,
    Repeat,
    Reverse,
    Rnn,
    Split,
    Transpose,
)
from edgelstm.model import Meta, Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.runner import Runner
from edgelstm.stream import Stream


def chain(width, *made, outputs=None, meta=None):
    """A model of layers one after the other; each is made of its name, the tensor it reads and its width."""
    tensors, layers = [Tensor("x", width)], []
    for k, make in enumerate(made):
        layer = make(f"l{k}", tensors[-1].name, tensors[-1].width)
        layers.append(layer)
        tensors.append(Tensor(layer.writes[0], layer.widths((tensors[-1].width,))[0]))
    return Model(tuple(tensors), tuple(layers), ("x",), outputs or (tensors[-1].name,), meta=meta or Meta())


def mover(kind, *numbers, **named):
    return lambda name, read, width: kind(name, (read,), (f"{name}.y",), *numbers, **named)


def dense(units, seed=0):
    def make(name, read, width):
        random = np.random.default_rng(seed)
        return Dense(name, (read,), (f"{name}.y",), random.uniform(-1, 1, (units, width)), random.uniform(-1, 1, units))

    return make


def cell(units, seed=0):
    return lambda name, read, width: lstm(name, read, f"{name}.y", width, units, np.random.default_rng(seed))


def both(model, steps, seed=3):
    """The model in each number type, with the inputs of a run and what the reference answers to them."""
    x = signal((2, steps, model.width("x")), seed)
    yield model, x, reference.run(model, (x,))[0], 3e-6
    quantized = quantize(model, signal((4, steps, model.width("x")), seed + 1))
    yield quantized, x, reference_s8.run_float(quantized, (x,))[0], 1e-6


WHOLE = {
    "reverse": (chain(3, mover(Reverse)), 7),
    "reverse and back": (chain(3, mover(Reverse), cell(5), mover(Reverse), dense(2)), 9),
    "pad": (chain(3, mover(Pad, 2, 3), cell(4)), 6),
    "repeat": (chain(3, cell(4), mover(Last), mover(Repeat, 5), cell(3), dense(2)), 8),
    "repeat to a last": (chain(3, cell(4), mover(Last), mover(Repeat, 3), cell(3), mover(Last)), 8),
    "transpose": (chain(3, mover(Transpose, 6), cell(4)), 6),
    "flatten": (chain(3, cell(4), mover(Group, 5, True), dense(3)), 5),
    "reshape": (chain(6, mover(Group, 4, True), mover(Split, 8), cell(3)), 4),
    "crop both": (chain(3, mover(Reverse), mover(Crop, 2, 1), cell(4), mover(Last)), 9),
    "group and split": (chain(2, mover(Reverse), mover(Group, 3), mover(Split, 2), dense(2)), 9),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_that_needs_steps_to_come_runs_whole(name):
    model, steps = WHOLE[name]
    for made, x, expected, tolerance in both(model, steps):
        for max_steps in (1, 4, 64):
            runner = Runner(made, max_steps=max_steps)
            assert not runner.causal
            np.testing.assert_allclose(runner.run(x), expected, atol=tolerance)
            np.testing.assert_allclose(runner.run(x[1]), expected[1], atol=tolerance)
            runner.self_check()
            assert runner.description.example_steps > 0


def test_stepping_it_is_an_error_that_names_the_layer():
    runner = Runner(chain(3, mover(Reverse), cell(5)))
    x = signal((1, 5, 3))
    before = runner.run(x)
    for call in (
        lambda: runner.step(np.zeros(3, np.float32)),
        lambda: runner.step([0, 0, 0]),
        lambda: runner.step(),
        lambda: runner.run(x, every_step=True),
        lambda: runner.run(x, carry=True),
    ):
        with pytest.raises(InputError, match="l0: it needs the last step first"):
            call()
    np.testing.assert_array_equal(runner.run(x), before)
    with pytest.raises(InputError, match="one stream at a time"):
        Runner(chain(3, mover(Reverse), cell(5)), streams=2)


UNEVEN = {
    "crop the start": chain(3, mover(Crop, 3, 0), cell(4)),
    "crop the end": chain(3, cell(4), mover(Crop, 0, 4)),
    "crop both": chain(3, mover(Crop, 2, 3), cell(4), dense(2)),
    "pad": chain(3, mover(Pad, 4, 0), cell(4)),
    "split": chain(6, mover(Split, 3), cell(4)),
    "group": chain(3, mover(Group, 4), cell(4)),
    "split and group": chain(6, mover(Split, 3), cell(4), mover(Group, 3), dense(2)),
    "group and split": chain(2, mover(Group, 3), mover(Split, 2), cell(3)),
    "many": chain(4, mover(Pad, 3, 0), mover(Split, 2), mover(Crop, 1, 2), mover(Group, 5), cell(3), mover(Crop, 0, 1)),
    "a last": chain(3, mover(Group, 4), cell(4), mover(Last), dense(2)),
}


def stepped(runner, x, integers=False):
    """All rows that steps give, by runs of one step; and beside them what step and rows say."""
    runner.reset()
    run = runner.run_integers if integers else runner.run
    rows = [run(row[None], every_step=True, carry=True) for row in x]
    if not integers:
        runner.reset()
        last = np.zeros(runner.output_widths[0], np.float32)
        for row, given in zip(x, rows, strict=True):
            last = given[-1] if len(given) else last
            answer = runner.step(row)
            assert runner.rows == len(given)
            np.testing.assert_allclose(answer, last, atol=2e-6)
    return np.concatenate(rows)


@pytest.mark.parametrize("name", UNEVEN)
@pytest.mark.parametrize("max_steps", [1, 3, 64])
def test_an_uneven_run_equals_its_steps_and_the_reference(name, max_steps):
    model = UNEVEN[name]
    for made, x, expected, tolerance in both(model, 24):
        runner = Runner(made, max_steps=max_steps)
        assert runner.causal and runner.uneven
        np.testing.assert_allclose(runner.run(x), expected, atol=tolerance)
        every = reference.run(model, (x,), every_step=True)[0] if made is model else None
        for k, sequence in enumerate(x):
            found = runner.run(sequence, every_step=True)
            if every is not None:
                np.testing.assert_allclose(found, every[k], atol=tolerance)
            np.testing.assert_allclose(stepped(runner, sequence), found, atol=2e-6)
            runner.reset()
            parts = [
                runner.run(part, every_step=True, carry=True) for part in (sequence[:5], sequence[5:6], sequence[6:])
            ]
            np.testing.assert_allclose(np.concatenate(parts), found, atol=2e-6)
        runner.self_check()


def test_a_state_moves_between_runners_of_an_uneven_model():
    model, x = UNEVEN["many"], signal((1, 24, 4))[0]
    a, b = Runner(model), Runner(model, max_steps=2)
    first = a.run(x[:13], every_step=True)
    b.state = a.state
    rest = b.run(x[13:], every_step=True, carry=True)
    np.testing.assert_allclose(np.concatenate((first, rest)), a.run(x, every_step=True), atol=2e-6)
    a.state = b"\xff" * len(a.state)  # whatever stands there, nothing breaks
    a.run(x, every_step=True, carry=True)
    a.step(x[0])


@pytest.mark.parametrize(
    ("model", "steps", "message"),
    [
        (chain(3, mover(Group, 5, True), dense(2)), 6, "l0: 6 steps, expected 5"),
        (chain(3, mover(Transpose, 4), dense(2)), 3, "l0: 3 steps, expected 4"),
        (chain(3, mover(Crop, 3, 2), dense(2)), 5, "l0: the sequence is too short; it gives no row"),
        (chain(3, mover(Group, 5), dense(2)), 4, "l0: the sequence is too short; it gives no row"),
    ],
)
def test_a_sequence_that_does_not_fit_is_refused_before_anything_is_computed(model, steps, message):
    x = signal((1, steps, 3))
    for run in (Runner(model).run, lambda x: reference.run(model, (x,))):
        with pytest.raises(InputError, match=message):
            run(x)


def test_the_example_of_a_model_trained_on_windows_is_a_window():
    assert Runner(chain(3, mover(Reverse), meta=Meta(window=11))).description.example_steps == 11
    assert Runner(chain(3, mover(Transpose, 90))).description.example_steps == 90


@settings(max_examples=60, deadline=None)
@given(data=st.data(), steps=st.integers(1, 30), max_steps=st.sampled_from([1, 2, 7, 64]), seed=st.integers(0, 99))
def test_random_chains_of_movers(data, steps, max_steps, seed):
    """A causal model's run is its steps; any model's run is the reference's, or both refuse it."""
    small = st.integers(0, 4)
    count = st.integers(1, 4)
    movers = st.one_of(
        st.builds(lambda a, b: mover(Crop, a, b), small, small),
        st.builds(lambda a: mover(Pad, a, 0), small),
        st.builds(lambda n: mover(Split, n), st.sampled_from([1, 2, 3, 6])),
        st.builds(lambda n: mover(Group, n), count),
        st.just(cell(6, seed)),
        st.just(dense(6, seed)),
        st.just(mover(Reverse)),
        st.just(mover(Last)),
        st.builds(lambda n: mover(Repeat, n), count),
        st.builds(lambda n: mover(Transpose, n), st.just(steps)),
        st.builds(lambda n: mover(Group, n, True), st.just(steps)),
    )
    try:
        model = chain(6, *data.draw(st.lists(movers, min_size=1, max_size=6)))
    except ModelError:
        assume(False)
    x = signal((1, steps, 6), seed)
    runner = Runner(pack(model), max_steps=max_steps)
    assert runner.causal == model.timing.causal and runner.uneven == (len(model.timing.table) > 1)
    try:
        expected = reference.run(model, (x,))[0]
    except InputError as error:
        with pytest.raises(InputError) as raised:
            runner.run(x)
        assert str(raised.value) == str(error)
    else:
        np.testing.assert_allclose(runner.run(x), expected, atol=1e-5)
    runner.self_check()
    if model.timing.causal:
        every = reference.run(model, (x,), every_step=True)[0][0]
        np.testing.assert_allclose(runner.run(x[0], every_step=True), every, atol=1e-5)
        if runner.uneven:
            np.testing.assert_allclose(stepped(runner, x[0]), every, atol=1e-5)


# ---- single inputs, lengths, ids ----


def started(units=3):
    """A cell whose initial state is an input, and one that a mask and lengths feed."""
    random = np.random.default_rng(1)
    weights = random.uniform(-1, 1, (units, units)), random.uniform(-1, 1, (units, units)), random.uniform(-1, 1, units)
    first = Rnn("first", ("x", "h0"), ("h",), *weights, initial=True)
    last = Last("last", ("h",), ("kept",))
    tensors = (Tensor("x", units), Tensor("h0", units, True), Tensor("h", units), Tensor("kept", units))
    return Model(tensors, (first, last), ("x", "h0"), ("h", "kept"))


@pytest.mark.parametrize("max_steps", [1, 4, 64])
def test_an_input_of_one_row_is_read_at_the_start_of_each_run(max_steps):
    model = started()
    x, h0 = signal((5, 9, 3)), signal((5, 2, 3))[:, 0]
    expected = reference.run(model, (x, h0))
    for streams in (1, 2):
        runner = Runner(model, streams=streams, max_steps=max_steps)
        h, kept = runner.run((x, h0))
        np.testing.assert_allclose(h, expected[0], atol=2e-6)
        np.testing.assert_allclose(kept, expected[1], atol=2e-6)
        runner.self_check()
    runner = Runner(model, max_steps=max_steps)
    np.testing.assert_allclose(runner.run((x[0], h0[0]))[0], expected[0][0], atol=2e-6)
    runner.reset()
    for row, wanted in zip(x[0], expected[0][0], strict=True):
        np.testing.assert_allclose(runner.step((row, h0[0]))[0], wanted, atol=2e-6)
    for wrong in (signal((5, 9, 3)), h0[:4], np.zeros((5, 4))):
        with pytest.raises(InputError):
            runner.run((x, wrong))
    with pytest.raises(InputError, match="takes one row a run"):
        Stream(model)


def masked(units=3):
    random = np.random.default_rng(2)
    weights = random.uniform(-1, 1, (units, units)), random.uniform(-1, 1, (units, units)), random.uniform(-1, 1, units)
    layers = (Rnn("cell", ("x", "mask"), ("h",), *weights, masked=True), Last("last", ("h",), ("kept",)))
    tensors = (Tensor("x", units), Tensor("mask", 1), Tensor("h", units), Tensor("kept", units))
    return Model(tensors, layers, ("x", "mask"), ("kept",))


def test_lengths_make_the_mask():
    model, x, lengths = masked(), signal((4, 7, 3)), np.array([7, 3, 0, 5])
    mask = (np.arange(7)[None] < lengths[:, None]).astype(np.float32)[:, :, None]
    quantized = quantize(model, (x, mask))
    for made in (model, quantized):
        runner = Runner(made)
        expected = runner.run((x, mask))
        np.testing.assert_array_equal(runner.run(x, lengths=lengths), expected)
        np.testing.assert_array_equal(runner.run((x,), lengths=[7, 3, 0, 5]), expected)
        np.testing.assert_array_equal(runner.run(x[1], lengths=3), expected[1])
        np.testing.assert_allclose(expected[1], runner.run((x[1, :3], mask[1, :3])), atol=2e-6)
        for wrong in (lengths[:3], lengths + 1, -lengths, lengths.astype(float), "abcd"):
            with pytest.raises(InputError, match="lengths must be 4 whole numbers from 0 to 7"):
                runner.run(x, lengths=wrong)
    with pytest.raises(InputError, match="named mask"):
        Runner(chain(3, cell(4))).run(x, lengths=lengths)


def test_ids_beyond_their_vocabulary_are_refused():
    random = np.random.default_rng(3)
    tensors = (Tensor("ids", 2), Tensor("seen", 2), Tensor("counts", 1), Tensor("y", 6))
    layers = (
        Mask("m", ("ids",), ("seen", "counts"), 0.0),
        Embedding("e", ("seen",), ("y",), random.uniform(-1, 1, (5, 3))),
    )
    model = Model(tensors, layers, ("ids",), ("y",))
    good = np.array([[0, 4], [3, 1]], np.float32)
    for made in (model, quantize(model, good[None])):
        runner = Runner(made)
        assert runner.description.vocabularies == (5,)
        np.testing.assert_allclose(runner.run(good), reference.run(model, (good[None],))[0][0], atol=1e-3)
        runner.step(good[0])
        for bad in (5, -1, 1.5, 1e30):
            x = good.copy()
            x[1, 0] = bad
            for call, value in ((runner.run, x), (runner.step, x[1]), (runner.step, list(x[1]))):
                with pytest.raises(InputError, match="whole numbers from 0 to 4"):
                    call(value)
            with pytest.raises(InputError, match="whole numbers from 0 to 4"):
                runner.x = x[1]
                runner.step()


def encoder_decoder():
    """A decoder that starts from an encoder's state and looks at all its steps."""
    random, units = np.random.default_rng(4), 4
    layers = (
        lstm("encoder", "x", "h", 3, units, random),
        Last("kept", ("h",), ("kept",)),
        Rnn("decoder", ("u", "kept"), ("d",), *(random.uniform(-1, 1, s) for s in ((units, 2), (units, units), units)),
            initial=True),
        Attention("look", ("d", "h", "h"), ("seen",)),
        Combine("both", ("d", "seen"), ("both",), "concatenate"),
        Combine("with_last", ("u", "both"), ("all",), "concatenate"),
    )  # fmt: skip
    widths = {
        "x": 3,
        "u": 2,
        "h": units,
        "kept": units,
        "d": units,
        "seen": units,
        "both": 2 * units,
        "all": 2 * units + 2,
    }
    return Model(tuple(Tensor(n, w) for n, w in widths.items()), layers, ("x", "u"), ("all", "kept"))


@pytest.mark.parametrize(("encoded", "decoded"), [(7, 3), (3, 7), (5, 5), (1, 90), (90, 1)])
def test_a_decoder_may_take_other_numbers_of_steps_than_its_encoder(encoded, decoded):
    model = encoder_decoder()
    x, u = signal((2, encoded, 3)), signal((2, decoded, 2))
    expected = reference.run(model, (x, u))
    runner = Runner(model)
    for _ in range(2):
        for found, wanted in zip(runner.run((x, u)), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=3e-6)
        runner.self_check()


def test_inputs_that_are_joined_must_have_as_many_steps():
    tensors = (Tensor("x", 3), Tensor("u", 3), Tensor("sum", 3), Tensor("y", 3))
    add, reverse = Combine("join", ("x", "u"), ("sum",), "add"), Reverse("r", ("sum",), ("y",))
    model, x = Model(tensors, (add, reverse), ("x", "u"), ("y",)), signal((1, 5, 3))
    runner = Runner(model)
    np.testing.assert_allclose(runner.run((x, x)), reference.run(model, (x, x))[0], atol=1e-6)
    for run in (runner.run, lambda xs: reference.run(model, xs)):
        with pytest.raises(InputError, match="disagree in their number"):
            run((x, x[:, :4]))
    causal = Model(tensors[:3], (add,), ("x", "u"), ("sum",))
    with pytest.raises(InputError, match="disagree in their number"):
        Runner(causal).run((x, x[:, :4]))


# ---- streams and bench ----


def test_a_stream_of_a_model_that_needs_steps_to_come_takes_windows_alone():
    model, x = chain(3, mover(Reverse), cell(4), mover(Last)), signal((1, 12, 3))[0]
    with pytest.raises(InputError, match="l0: it needs the last step first"):
        Stream(model)
    answers = list(Stream(model, window=5, hop=2)(x))
    for answer in answers:
        window = x[answer.sample - 4 : answer.sample + 1]
        np.testing.assert_allclose(answer.values, Runner(model).run(window), atol=2e-6)
    assert [answer.sample for answer in answers] == [4, 6, 8, 10]
    with pytest.raises(InputError, match="l0: 5 steps, expected 4"):
        Stream(chain(3, mover(Transpose, 4)), window=5)
    with pytest.raises(InputError, match="l0: it needs the last step first"):
        measure(model)
    with pytest.raises(InputError, match="l0: it needs the last step first"):
        measure_layers(model)


def test_a_stream_of_an_uneven_model_answers_where_there_is_a_row():
    model, x = chain(3, mover(Group, 3), cell(4)), signal((1, 12, 3))[0]
    answers = list(Stream(model)(x))
    assert [answer.sample for answer in answers] == [2, 5, 8, 11]
    np.testing.assert_allclose([a.values for a in answers], Runner(model).run(x), atol=2e-6)
    window = next(iter(Stream(model, window=6)(x)))
    np.testing.assert_allclose(window.values, Runner(model).run(x[:6]), atol=2e-6)
    assert measure(model, 20)[0].steps == 20 and measure_layers(model, 20)
