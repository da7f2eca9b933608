"""The runner against the reference, and its promises: run equals steps, state, streams, threads, refusals."""

import contextlib
import signal as signals
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import nets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import signal, stack, two_heads

from edgelstm import curves, reference, reference_s8
from edgelstm.errors import BusyError, ImageError, InputError
from edgelstm.image import pack
from edgelstm.layers import ACTIVATIONS, OVER_VALUES, Activation
from edgelstm.quantization import quantize
from edgelstm.runner import Runner, kernels

SETS = kernels()
KINDS = ("f32", "s8", "s8 with an int16 h")


def both(model, seed=0):
    """The model in each number type."""
    samples = tuple(signal((4, 24, model.width(name)), seed + 9 + k) for k, name in enumerate(model.inputs))
    given = samples if len(samples) > 1 else samples[0]
    return {"f32": model, "s8": quantize(model, given), KINDS[2]: quantize(model, given, hidden_bits=16)}


# ---- answers ----


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("inputs", "units"), [(1, (1,)), (3, (20,)), (8, (16, 9)), (5, (33,)), (64, (128,)), (128, (256,))]
)
def test_f32_is_within_its_bound_of_float64(name, inputs, units):
    model = stack(inputs, units, head=4)
    x = signal((1, 128, inputs))
    expected = reference.run(model, (x,), every_step=True)[0]
    actual = Runner(model, name).run(x, every_step=True)
    assert np.abs(actual - expected).max() <= 2e-6 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a not in OVER_VALUES])
def test_every_activation_in_cell_gates_and_dense(name, activation):
    f = nets.activation(activation)
    steps = 2 if activation == "exponential" else 12  # e^c of e^c overflows soon, in any number type
    models = [
        stack(3, (9,), activation=f, scale=0.4),
        stack(3, (9,), head_activation=f),
        stack(3, (9,), activate=activation),
    ]
    if curves.bounded(f) or activation in ("leaky_relu", "relu6", "shrink", "sparse_plus"):
        models.append(stack(3, (9,), gate=f))
    x = signal((2, 12, 3), 3)[:, :steps]
    for model in models:
        expected = reference.run(model, (x,))[0]
        assert np.abs(Runner(model, name).run(x) - expected).max() <= 5e-6 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("width", [1, 2, 300])
def test_log_softmax(name, width):
    model = stack(3, (9,), head=width, head_activation=Activation("log_softmax"))
    x = signal((2, 12, 3), 3)
    for factor in (1, 1000):
        *before, head = model.layers
        made = replace(model, layers=(*before, replace(head, kernel=head.kernel * factor)))
        expected = reference.run(made, (x,))[0]
        assert np.abs(Runner(made, name).run(x) - expected).max() <= 2e-6 * max(1, np.abs(expected).max())


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.integers(1, 19),
    units=st.lists(st.integers(1, 40), min_size=1, max_size=2),
    head=st.sampled_from([None, "linear", "softmax", "tanh", "elu"]),
    activation=st.sampled_from(["tanh", "relu", "softsign"]),
    gate=st.sampled_from(["sigmoid", "hard_sigmoid", "hard_sigmoid_fifth"]),
    clip=st.sampled_from([None, 0.7]),
    bits=st.sampled_from([8, 16]),
    seed=st.integers(0, 999),
)
def test_s8_is_bit_equal_in_every_set_and_in_the_reference(inputs, units, head, activation, gate, clip, bits, seed):
    options = {"activation": Activation(activation), "gate": Activation(gate), "clip": clip, "seed": seed}
    if head is not None:
        options["head_activation"] = Activation(head, 1.0)
    model = stack(inputs, units, None if head is None else 3, **options)
    quantized = quantize(model, signal((2, 12, inputs), seed), hidden_bits=bits)
    x = np.random.default_rng(seed).integers(-32768, 32768, (2, 9, inputs)).astype(np.int16)
    expected = reference_s8.run(quantized, (x,), every_step=True)[0]
    for name in SETS:
        np.testing.assert_array_equal(Runner(quantized, name).run_integers(x, every_step=True), expected, name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_framework_returns(kind):
    x = signal((3, 10, 4))
    for last, shape in ((True, (3, 2)), (False, (3, 10, 2))):
        runner = Runner(both(stack(4, (6,), last=last))[kind])
        y = runner.run(x)
        assert y.shape == shape and y.dtype == np.float32
        assert runner.run(x[0]).shape == shape[1:]
        np.testing.assert_array_equal(runner.run(x[1]), y[1])
        assert runner.run(x, every_step=True).shape == (3, 10, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_steps", [1, 3, 8, 64])
def test_run_equals_repeated_steps_whatever_the_chunks(kind, max_steps):
    model = both(stack(3, (12, 7), activate="softsign"))[kind]
    x = signal((1, 29, 3))[0]
    runner = Runner(model, max_steps=max_steps)
    stepped = np.stack([runner.step(row).copy() for row in x])
    tolerance = 2e-6 if kind == "f32" else 0
    np.testing.assert_allclose(runner.run(x, every_step=True), stepped, atol=tolerance)
    np.testing.assert_allclose(runner.run(x), stepped[-1], atol=tolerance)
    runner.reset()
    parts = [runner.run(part, every_step=True, carry=True) for part in (x[:5], x[5:6], x[6:])]
    np.testing.assert_allclose(np.concatenate(parts), stepped, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETS)
def test_streams_are_independent(kind, name):
    model = both(stack(3, (12,)))[kind]
    x = signal((7, 11, 3))
    alone = Runner(model, name).run(x, every_step=True)
    tolerance = 2e-6 if kind == "f32" else 0
    for streams in (2, 5, 7, 16):
        np.testing.assert_allclose(Runner(model, name, streams=streams).run(x, every_step=True), alone, atol=tolerance)
    runner = Runner(model, name, streams=7)
    assert runner.x.shape == (7, 3)
    for t in range(11):
        if t == 4:
            runner.reset(2)
        y = runner.step(x[:, t])
    np.testing.assert_allclose(np.delete(y, 2, 0), np.delete(alone[:, -1], 2, 0), atol=tolerance)
    np.testing.assert_allclose(y[2], Runner(model, name).run(x[2, 4:], every_step=True)[-1], atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_several_inputs_and_outputs(kind):
    model = two_heads()
    x, u = signal((3, 9, 4), 1), signal((3, 9, 2), 2)
    expected = reference.run(model, (x, u))
    runner = Runner(both(model)[kind])
    y1, y2 = runner.run((x, u))
    assert y1.shape == (3, 3) and y2.shape == (3, 9, 2)
    for actual, wanted in ((y1, expected[0]), (y2, expected[1])):
        np.testing.assert_allclose(actual, wanted, atol=2e-6 if kind == "f32" else 0.1)
    runner.reset()
    for t in range(9):
        s1, s2 = runner.step((x[0, t], u[0, t]))
    np.testing.assert_allclose(s1, y1[0], atol=2e-6)
    np.testing.assert_allclose(s2, y2[0, -1], atol=2e-6)


# ---- state ----


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_an_object_of_its_own(kind):
    runner = Runner(both(stack(3, (12,)))[kind])
    x = signal((1, 20, 3))[0]
    fresh = runner.state
    for row in x[:10]:
        runner.step(row)
    saved = runner.state
    rest = [runner.step(row).copy() for row in x[10:]]
    runner.state = saved
    np.testing.assert_array_equal([runner.step(row).copy() for row in x[10:]], rest)
    runner.reset()
    assert runner.state == fresh and len(saved) == runner.state_size
    with pytest.raises(InputError, match="state has 3 bytes"):
        runner.state = b"123"


def test_state_moves_between_kernel_sets_in_s8():
    model = both(stack(3, (12,)))["s8"]
    x = signal((1, 12, 3))[0]
    states = []
    for name in SETS:
        runner = Runner(model, name)
        for row in x:
            runner.step(row)
        states.append(runner.state)
    assert len(set(states)) == 1


@pytest.mark.parametrize("streams", [1, 3])
def test_no_call_reaches_outside_the_state(streams):
    runner = Runner(stack(3, (4,)), streams=streams)
    runner.step(np.ones((streams, 3)))
    before = runner.state
    size = runner.state_size
    for stream in (streams, 5, 2**30, 2**32, 2**80, -1, "a", None, 0.0, True):
        with pytest.raises(InputError, match="stream is"):
            runner.read_state(stream)
        with pytest.raises(InputError, match="stream is"):
            runner.write_state(stream, b"\0" * size)
        if stream is not None:  # all streams
            with pytest.raises(InputError, match="stream is"):
                runner.reset(stream)
    for state in (b"", b"\0" * (size - 1), b"\0" * (size + 1), None, 10**9, "text", 2.0, [0] * size):
        with pytest.raises(InputError, match="state"):
            runner.write_state(streams - 1, state)
        if len(before) != size + 1:
            with pytest.raises(InputError, match="state"):
                runner.state = state
    for output, steps in ((1, 4), (7, 4), (2**31, 4), (-1, 4), ("y", 4), (0, -1), (0, 2**32), (0, "a")):
        with pytest.raises(InputError):
            runner.output_rows(output, steps, False)
    assert runner.state == before
    one = runner.read_state(np.int64(streams - 1))
    runner.reset()
    runner.write_state(streams - 1, bytearray(one))
    assert runner.read_state(streams - 1) == one and runner.state[-size:] == one
    runner.state = np.frombuffer(before, np.uint8)
    assert runner.state == before


# ---- the door ----


@pytest.mark.parametrize("streams", [1, 2])
def test_assigning_x_copies_into_the_bound_input(streams):
    runner, other = (Runner(stack(3, (4,)), streams=streams) for _ in range(2))
    x = signal((streams, 3))
    bound, y = runner.x, runner.y
    runner.x = x if streams > 1 else x[0].tolist()
    assert runner.x is bound
    np.testing.assert_array_equal(runner.step(), other.step(x))
    runner.x[...] = 0.25
    np.testing.assert_array_equal(runner.step(), other.step(np.full((streams, 3), 0.25)))
    for bad in (np.zeros(4), np.zeros((streams, 4)), np.zeros((3, 3)), 5, "abc", None, np.zeros((streams, 3), complex)):
        with pytest.raises(InputError):
            runner.x = bad
    np.testing.assert_array_equal(bound, np.full_like(bound, 0.25))
    with pytest.raises(AttributeError):
        runner.y = y
    assert runner.y is y


def test_x_of_several_inputs_is_the_first():
    runner = Runner(two_heads())
    runner.x = [1, 2, 3, 4]
    np.testing.assert_array_equal(runner.xs[0], [[1, 2, 3, 4]])
    np.testing.assert_array_equal(runner.xs[1], [[0, 0]])
    with pytest.raises(InputError, match="tuple"):
        runner.step(5)
    with pytest.raises(InputError, match="tuple"):
        runner.run(5)


def crooked(x):
    """The same values, one byte off their natural place."""
    there = np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    assert not there.flags.aligned
    return there


def test_c_is_never_given_crooked_arrays():
    runner, other = (Runner(both(stack(3, (4,)))["s8"]) for _ in range(2))
    x = signal((4, 6, 3))
    np.testing.assert_array_equal(runner.step(crooked(x[0, 0])), other.step(x[0, 0]))
    np.testing.assert_array_equal(runner.x, x[0, 0])  # it went the converting way
    np.testing.assert_array_equal(runner.run(crooked(x)), other.run(x))
    integers = (x * 1000).astype(np.int16)
    np.testing.assert_array_equal(runner.run_integers(crooked(integers)), other.run_integers(integers))
    y = np.zeros((1, 6, 1, 2), np.float32)
    for xs, ys in (([crooked(x[:1])], [y]), ([x[:1]], [crooked(y)])):
        with pytest.raises((InputError, BufferError, ValueError)):
            super(Runner, runner).run(xs, ys, 6, True, False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("x", [np.full(3, 1e300), [1e300] * 3, np.full(3, np.longdouble("1e4000"))])
def test_what_float32_cannot_hold_is_refused_without_a_warning(x):
    runner = Runner(stack(3, (4,)))
    with pytest.raises(InputError, match="infinite"):
        runner.step(x)
    with pytest.raises(InputError, match="infinite"):
        runner.run([x])
    runner.x = x
    with pytest.raises(InputError, match="infinite"):
        runner.step()


def test_step_reads_the_bound_array_and_takes_others():
    model = stack(3, (4,))
    runner, other = Runner(model), Runner(model)
    runner.x[:] = (0.1, -0.2, 0.3)
    y = runner.step()
    assert y is runner.y
    for x in (
        [0.1, -0.2, 0.3],
        (0.1, -0.2, 0.3),
        np.array([0.1, -0.2, 0.3]),
        np.float32([9, 0.1, 9, -0.2, 9, 0.3])[1::2],
    ):
        other.reset()
        np.testing.assert_array_equal(other.step(x), y)
    readonly = np.array([0.1, -0.2, 0.3], np.float32)
    readonly.flags.writeable = False
    other.reset()
    np.testing.assert_array_equal(other.step(readonly), y)


@pytest.mark.parametrize(
    "x",
    [
        [0.1, 0.2],
        [[0.1, 0.2, 0.3]] * 2,
        [0, np.nan, 0],
        [0, np.inf, 0],
        "abc",
        None,
        [None] * 3,
        5,
        np.zeros(3, complex),
    ]
    + [np.float32([0, np.nan, 0]), np.zeros(4, np.float32), np.zeros((3, 1), np.float32)],
)
def test_bad_input_is_refused_and_changes_nothing(x):
    runner = Runner(stack(3, (4,)))
    runner.x[:] = 0.5
    runner.step()
    before = runner.state
    if x is None:
        runner.x[1] = np.nan
    with pytest.raises(InputError):
        runner.step(x)
    assert runner.state == before


@pytest.mark.parametrize("shape", [(3,), (0, 3), (4, 2), (2, 4, 2), (1, 1, 4, 3)])
def test_run_refuses_wrong_shapes(shape):
    with pytest.raises(InputError, match="expected"):
        Runner(stack(3, (4,))).run(np.zeros(shape))


def test_run_refuses_nan_and_carry_of_other_counts():
    runner = Runner(stack(3, (4,)))
    with pytest.raises(InputError, match="NaN"):
        runner.run(np.full((4, 3), np.nan))
    with pytest.raises(InputError, match="carry"):
        runner.run(np.zeros((2, 4, 3)), carry=True)
    with pytest.raises(InputError, match="s8"):
        runner.run_integers(np.zeros((4, 3), np.int16))


def test_arguments_are_checked(monkeypatch):
    model = stack(3, (4,))
    with pytest.raises(InputError, match="this machine has"):
        Runner(model, "quantum")
    for options in ({"streams": 0}, {"max_steps": 0}, {"streams": -1}, {"streams": 2**31 - 1, "max_steps": 2**31 - 1}):
        with pytest.raises(InputError):
            Runner(model, **options)
    with pytest.raises(ImageError):
        Runner(b"")
    with pytest.raises(ImageError, match="missing.elstm"):
        Runner("missing.elstm")
    for name in (5, 0, b"scalar", ["scalar"]):
        with pytest.raises(InputError, match="expected a name"):
            Runner(model, name)
    for name in ("\udcff", "scalar\0", "scalar\0x"):
        with pytest.raises(InputError, match="cannot run here"):
            Runner(model, name)
    for name, value in (
        ("streams", True),
        ("streams", 2.0),
        ("streams", "2"),
        ("max_steps", None),
        ("max_steps", 2**80),
    ):
        with pytest.raises(InputError, match=f"{name} is"):
            Runner(model, **{name: value})
    assert Runner(model, streams=np.int64(2), max_steps=np.uint8(3)).streams == 2
    monkeypatch.setenv("EDGELSTM_KERNELS", "\udcff")
    with pytest.raises(InputError, match="cannot run here"):
        Runner(model)
    monkeypatch.setenv("EDGELSTM_KERNELS", "scalar")
    assert Runner(model, "").kernels == "scalar"
    assert Runner(model).kernels == "scalar"
    assert Runner(model, SETS[0]).kernels == SETS[0]
    monkeypatch.setenv("EDGELSTM_KERNELS", "typo")
    with pytest.raises(InputError, match="typo"):
        Runner(model)


def test_what_is_wrong_with_a_file_names_it(tmp_path):
    image = pack(stack(3, (4,)))
    for name, data in (
        ("text.elstm", b"hello"),
        ("cut.elstm", image[:-1]),
        ("later.elstm", image[:8] + b"\7" + image[9:]),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        for named in (path, str(path)):
            with pytest.raises(ImageError) as raised:
                Runner(named)
            assert str(raised.value).startswith(f"{path}: ") and str(raised.value).count(name) == 1
        with pytest.raises(ImageError) as raised:
            Runner(data)
        assert ".elstm" not in str(raised.value)


def test_a_busy_runner_refuses_a_second_thread():
    runner = Runner(stack(64, (256,)), "scalar")
    x = signal((1, 1500, 64))[0]
    alone = runner.run(x)
    answer = []
    thread = threading.Thread(target=lambda: answer.append(runner.run(x, carry=True)))
    runner.reset()
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            runner.state  # noqa: B018  reading it asks whether the runner is free, and changes nothing
        except BusyError:
            for call in (runner.step, runner.reset, lambda: runner.run(x[:2])):
                try:
                    call()
                except BusyError:
                    refused += 1
            break
    thread.join()
    assert refused == 3
    np.testing.assert_array_equal(answer[0], alone)


class Hammer:
    """A second thread that calls a runner's methods in turn, counting what is refused and what is let through."""

    def __init__(self, runner, calls):
        self.runner, self.calls = runner, calls
        self.refused, self.let, self.others = [0] * len(calls), [0] * len(calls), []
        self.stop = False
        self.thread = threading.Thread(target=self._work)

    def _work(self):
        while not self.stop:
            for k, call in enumerate(self.calls):
                try:
                    call(self.runner)
                    self.let[k] += 1
                except BusyError:
                    self.refused[k] += 1
                except Exception as error:
                    self.others.append(error)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *failure):
        self.stop = True
        self.thread.join()


CALLS = (
    lambda r: r.step(),
    lambda r: r.step(np.float32([5, -5, 5])),
    lambda r: r.step([5, -5, 5]),
    lambda r: r.run(np.full((2, 3), 5)),
    lambda r: r.run(np.full((2, 2, 3), 5)[: r.streams], carry=True),
    lambda r: r.reset(),
    lambda r: r.reset(0),
    lambda r: r.state,
    lambda r: setattr(r, "state", b"\0" * (r.streams * r.state_size)),
    lambda r: r.read_state(0),
    lambda r: r.write_state(0, b"\0" * r.state_size),
    lambda r: setattr(r, "x", np.full_like(r.x, 5)),
    lambda r: r.self_check(),
)


@pytest.mark.parametrize("streams", [1, 2])
def test_a_run_of_many_sequences_is_one_piece(streams):
    runner = Runner(stack(3, (128,)), "scalar", streams=streams)
    x = signal((240, 20, 3))
    alone = runner.run(x, every_step=True)
    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Hammer(runner, CALLS if streams == 1 else CALLS[:1] + CALLS[3:]) as hammer:
            answers = []
            while len(answers) < 40 and not (answers and min(hammer.refused) > 0):
                with contextlib.suppress(BusyError):  # the hammer's own run came first
                    answers.append(runner.run(x, every_step=True))
    finally:
        sys.setswitchinterval(kept)
    assert hammer.others == [] and answers
    assert min(hammer.refused) > 0, hammer.refused
    for answer in answers:
        np.testing.assert_array_equal(answer, alone)


def test_a_failed_run_leaves_the_runner_free():
    runner = Runner(stack(3, (4,)))
    good, bad = np.zeros((1, 2, 1, 3), np.float32), np.zeros((1, 2, 1, 2), np.float32)
    y = np.zeros((1, 2, 1, 2), np.float32)
    for xs, ys in (([bad], [y]), ([good], [bad[:, :1]]), ([None], [y]), ([good], [b"readonly"])):
        with pytest.raises((InputError, TypeError, BufferError)):
            super(Runner, runner).run(xs, ys, 2, True, False)
    runner.step()


def test_a_converted_step_is_one_piece():
    width = 4000  # NumPy lets go of the GIL while it copies so many
    runner = Runner(stack(width, (2,)))
    x = [np.full(width, value) for value in (0.001, -0.002)]
    expected = []
    for values in x:
        runner.reset()
        expected.append(runner.step(values).copy())
    found, errors = [], []

    def work(values):
        for _ in range(400):
            try:
                found.append(runner.run(values[None].astype(np.float32)))  # a reset, and one step
                runner.step(values)
            except BusyError:
                pass
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(values,)) for values in x]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and found
    assert all(any(np.array_equal(y, wanted) for wanted in expected) for y in found)


def test_a_step_inside_a_conversion_is_not_mixed_in():
    """Converting may run foreign code, and that may use the runner: the bound inputs are written after it."""
    runner = Runner(two_heads())
    x, u = signal((2, 4), 1), signal((2, 2), 2)

    class Foreign:
        def __array__(self, dtype=None, copy=None):
            runner.step((x[1], u[1]))
            runner.reset()
            return u[0]

    mixed = [y.copy() for y in runner.step((x[0], Foreign()))]
    runner.reset()
    for actual, wanted in zip(mixed, runner.step((x[0], u[0])), strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_two_runners_share_nothing():
    image = pack(stack(8, (32,)))
    x = signal((2, 400, 8))
    alone = [Runner(image).run(x[k], every_step=True) for k in range(2)]
    answers = [None, None]

    def work(k):
        runner = Runner(image)
        for _ in range(5):
            answers[k] = runner.run(x[k], every_step=True)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(answers, alone)


def test_a_step_allocates_nothing_in_python():
    runner = Runner(both(stack(8, (16,)))["s8"])
    step = runner.step
    for _ in range(100):
        step()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(1000):
        step()
    after = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert after - before < 1000, (before, after)  # the loop's own iterator


def test_runners_are_freed():
    image = pack(stack(3, (4,)))
    runner = Runner(image)
    assert sys.getrefcount(runner) == 2
    y = runner.y
    del runner
    y += 1  # outlives its runner


# ---- laws ----


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_idle_stream_stays_finite_and_quiet(name, kind):
    runner = Runner(both(stack(3, (16,)))[kind], name)
    runner.step([5, -5, 5])
    y = runner.run(np.zeros((5000, 3)), every_step=True, carry=True)
    assert np.isfinite(y).all()
    # int8 h may end in a cycle of a few of its units
    np.testing.assert_allclose(y[-1], y[-2], atol=1e-6 if kind == "f32" else 0.02)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_input_saturates(name, kind):
    runner = Runner(both(stack(3, (16,)))[kind], name)
    y = runner.run(np.float32([[3e38, -3e38, 1e-45]] * 50), every_step=True)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_example_inside_the_image_replays(name, kind):
    for streams in (1, 3):
        Runner(both(stack(3, (16, 5), activate="elu"))[kind], name, streams=streams).self_check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", [1, 3])
def test_timing_of_parts_leaves_the_state_and_takes_arrays_of_its_size(kind, streams):
    runner = Runner(both(stack(3, (12,)))[kind], streams=streams)
    x = signal((1, streams, 3))[0]
    runner.step(x)
    expected, state = runner.step(x).copy(), runner.state
    columns = len(runner.description.layers) + 4
    repeats = np.arange(2, columns + 2, dtype=np.uint32)
    repeats[-1] = 0
    times = np.full((5, columns), -1.0)
    runner.time_parts(repeats, times)
    assert runner.state == state and (times >= 0).all() and (times[:, :-1] > 0).all()
    continued = runner.step(x).copy()
    runner.reset()
    runner.step(x)
    np.testing.assert_array_equal(runner.step(x), expected)
    np.testing.assert_array_equal(runner.step(x), continued)
    for wrong in ((repeats[1:], times), (repeats, times[:, 1:].copy()), (repeats.astype(np.uint64), times)):
        with pytest.raises(InputError, match="aligned bytes"):
            runner.time_parts(*wrong)


@pytest.mark.parametrize("every_step", (False, True))
@pytest.mark.parametrize("name", ("f32_padded", "f32_stacked", "s8_scaled", "s8_stacked"))
def test_a_sequence_that_lies_ready_runs_as_any_other(name, every_step):
    path = Path(__file__).parent / "golden" / "images" / f"{name}.elstm"
    runner, other = Runner(path), Runner(path)
    x = np.random.default_rng(3).standard_normal((37, runner.input_widths[0])).astype(np.float32)
    crooked = np.asfortranarray(x)
    for carry in (False, True, True):
        ready = runner.run(x, every_step, carry)
        expected = other.run(crooked, every_step, carry)
        assert ready.dtype == np.float32 and ready.shape == expected.shape
        np.testing.assert_array_equal(ready, expected)
    for bad in (np.nan, np.inf, -np.inf):
        broken = x.copy()
        broken[20, 0] = bad
        with pytest.raises(InputError, match="NaN or infinite"):
            runner.run(broken)


@pytest.mark.skipif(not hasattr(signals, "setitimer"), reason="no timer signals here")
def test_a_long_sequence_can_be_interrupted():
    runner = Runner(Path(__file__).parent / "golden" / "images" / "f32_stacked.elstm")
    steps = 5_000_000
    x = np.zeros((steps, runner.input_widths[0]), np.float32)
    y = np.full((steps, runner.output_widths[0]), np.nan, np.float32)
    before = signals.signal(signals.SIGALRM, signals.default_int_handler)
    try:
        signals.setitimer(signals.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            super(Runner, runner).run([x], [y], steps, True, False, 1, fresh=True)
    finally:
        signals.setitimer(signals.ITIMER_REAL, 0)
        signals.signal(signals.SIGALRM, before)
    assert np.isnan(y[-1]).all()  # it did not wait for the end
    assert np.isfinite(runner.step(x[0])).all()  # and nothing is held
