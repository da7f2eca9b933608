"""Streams: answers equal the runner's, every policy does what its docstring says, nothing is read ahead."""

import itertools
import tracemalloc
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import signal, stack, two_heads

from edgelstm.errors import InputError
from edgelstm.image import pack
from edgelstm.model import Meta, Port, Scaler
from edgelstm.quantization import quantize
from edgelstm.runner import Runner
from edgelstm.stream import Counts, Stream

NAN = float("nan")


def scaled_meta(inputs=1, outputs=1, **options):
    """Scalers whose every channel differs."""

    def port(width, first):
        return Port(scaler=Scaler(0.01 * (first + np.arange(width)), -0.25 * np.arange(1, width + 1)))

    return Meta((port(inputs, 1),), (port(outputs, 2),), **options)


def plain(inputs=1, **options):
    """An image without scalers: raw numbers are the model's."""
    return pack(stack(inputs, (5,), 1, **options))


def carried(image, rows):
    """What single steps over these rows give."""
    runner = Runner(image)
    return [runner.step(np.float32(np.atleast_1d(row))).copy() for row in rows]


def assert_answers(answers, expected):
    assert len(answers) == len(expected)
    for answer, y in zip(answers, expected):
        np.testing.assert_array_equal(answer.values, y)


# ---- answers ----


@settings(max_examples=25, deadline=None)
@given(
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 3),
    kind=st.sampled_from(["f32", "s8"]),
    steps=st.integers(1, 30),
    seed=st.integers(0, 999),
)
def test_carried_equals_steps_of_scaled_values(inputs, outputs, kind, steps, seed):
    model = stack(inputs, (6,), outputs, seed=seed, meta=scaled_meta(inputs, outputs))
    image = pack(quantize(model, signal((2, 16, inputs), seed)) if kind == "s8" else model)
    raw = 100 * signal((1, steps, inputs), seed)[0].astype(np.float64)
    runner = Runner(image)
    into, out = (port[0].scaler for port in (runner.meta.inputs, runner.meta.outputs))
    answers = list(Stream(image)(raw))
    assert [a.sample for a in answers] == list(range(steps))
    for row, answer in zip(raw, answers):
        y = runner.step((row * into.scale + into.offset).astype(np.float32))
        np.testing.assert_array_equal(answer.values, (y.astype(np.float64) - out.offset) / out.scale)
        assert answer.values.dtype == np.float64 and not answer.held and answer.time is None


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["f32", "s8"]),
    last=st.booleans(),
    window=st.integers(1, 9),
    hop=st.integers(1, 12),
    steps=st.integers(0, 50),
    seed=st.integers(0, 999),
)
def test_windows_equal_runs_from_a_reset_state(kind, last, window, hop, steps, seed):
    model = stack(2, (6,), 3, seed=seed, last=last, meta=scaled_meta(2, 3))
    image = pack(quantize(model, signal((2, 16, 2), seed)) if kind == "s8" else model)
    raw = 100 * signal((1, steps or 1, 2), seed)[0, :steps].astype(np.float64)
    runner = Runner(image)
    into, out = (port[0].scaler for port in (runner.meta.inputs, runner.meta.outputs))
    x = (raw * into.scale + into.offset).astype(np.float32)
    ends = range(window, steps + 1, hop)
    answers = list(Stream(image, window=window, hop=hop)(raw))
    assert [a.sample for a in answers] == [end - 1 for end in ends]
    for answer, end in zip(answers, ends):
        y = runner.run(x[end - window : end])
        assert y.ndim == (1 if last else 2)  # the last step alone, or a row for each
        np.testing.assert_array_equal(answer.values, (y.astype(np.float64) - out.offset) / out.scale)


def test_window_and_hop_come_from_the_image():
    rows = np.arange(20.0)
    image = plain(meta=Meta(window=6, hop=4))
    stream = Stream(image)
    assert (stream.window, stream.hop) == (6, 4)
    assert [a.sample for a in stream(rows)] == [5, 9, 13, 17]
    assert [a.sample for a in Stream(image, hop=7)(rows)] == [5, 12, 19]
    assert [a.sample for a in Stream(image, window=3)(rows)] == [2, 6, 10, 14, 18]
    free = Stream(image, carry=True)
    assert (free.window, free.hop) == (None, None)
    assert_answers(list(free(rows)), carried(image, rows))
    assert Stream(plain()).window is None
    assert Stream(plain(meta=Meta(window=6))).hop == 1


def test_several_inputs_and_outputs():
    model = two_heads()
    x, u = signal((1, 9, 4))[0], signal((1, 9, 2), 1)[0]
    runner = Runner(model)
    for (a, b), answer in zip(zip(x, u), Stream(model)(zip(x, u)), strict=True):
        for values, y in zip(answer.values, runner.step((a, b)), strict=True):
            np.testing.assert_array_equal(values, y)
    answers = list(Stream(model, window=5)(zip(x, u)))
    for end, answer in zip(range(5, 10), answers, strict=True):
        for values, y in zip(answer.values, runner.run((x[end - 5 : end], u[end - 5 : end])), strict=True):
            np.testing.assert_array_equal(values, y)
    assert answers[0].values[0].shape == (3,) and answers[0].values[1].shape == (5, 2)
    held = Stream(model, gaps="hold")
    list(held([(x[0], u[0]), (x[1], None)]))
    again = Stream(model)
    assert_same_state(held, again, again([(x[0], u[0]), (x[1], u[0])]))
    with pytest.raises(InputError, match="sample 0 is not a tuple of 2 rows"):
        Stream(model).feed(x[0])
    with pytest.raises(InputError, match=r"sample 0, input 1 has shape \(3,\), expected \(2,\)"):
        Stream(model).feed((x[0], [1, 2, 3]))
    with pytest.raises(InputError, match="channel 1 of input 1 is missing"):
        Stream(model).feed((x[0], [1, NAN]))


def assert_same_state(one, other, answers=()):
    list(answers)
    assert one.runner.state == other.runner.state


def test_answers_belong_to_the_caller():
    for stream in (Stream(plain()), Stream(plain(), window=2), Stream(plain(last=False), window=2)):
        answers = list(stream(np.arange(6.0)))
        kept = [a.values.copy() for a in answers]
        assert len({a.values.tobytes() for a in answers}) == len(answers)
        stream.feed(99.0)
        assert_answers(answers, kept)


def test_numbers_of_every_kind():
    image = plain()
    expected = Stream(image).feed(3.0).values
    for sample in (3, np.float32(3), np.int16(3), [3], (3.0,), np.array([3.0]), np.array(3), np.float64(3)):
        np.testing.assert_array_equal(Stream(image).feed(sample).values, expected)


def test_a_runner_handed_in_keeps_its_state():
    image = plain()
    runner = Runner(image)
    runner.step(np.float32([2]))
    stream = Stream(runner)
    assert stream.runner is runner
    assert_answers([stream.feed(1.0)], carried(image, [2, 1])[1:])


# ---- laziness ----


@pytest.mark.parametrize("options", [{}, {"window": 4, "hop": 3}])
def test_nothing_is_read_ahead_of_an_endless_source(options):
    taken = 0

    def endless():
        nonlocal taken
        for taken in itertools.count(1):
            yield float(taken % 7)

    answers = Stream(plain(), **options)(endless())
    assert taken == 0
    for answer in itertools.islice(answers, 50):
        assert taken == answer.sample + 1


def test_feeding_and_pulling_are_one():
    image, rows = plain(meta=Meta(window=4)), np.arange(12.0)
    pulled = list(Stream(image)(rows))
    stream = Stream(image)
    fed = [answer for answer in map(stream.feed, rows[:5]) if answer] + list(stream(rows[5:]))
    assert [a.sample for a in fed] == [a.sample for a in pulled]
    assert_answers(fed, [a.values for a in pulled])
    assert stream.counts == Counts(samples=12, answers=9)


@pytest.mark.parametrize("options", [{}, {"window": 7}, {"window": 7, "hop": 30}])
@pytest.mark.parametrize("gaps", ["hold", "skip", "reset"])
def test_memory_does_not_grow(options, gaps):
    stream = Stream(plain(), gaps=gaps, **options)

    def feed(count):
        for n in range(count):
            stream.feed(None if n % 50 == 49 else float(n % 13))

    feed(200)
    tracemalloc.start()
    feed(200)
    before = tracemalloc.get_traced_memory()[0]
    feed(3000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1000


# ---- missing values ----

MISSING = (None, NAN, float("inf"), -float("inf"), [None], [NAN])


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("options", [{}, {"window": 3}])
def test_refuse_names_the_sample_and_leaves_the_state(missing, options):
    stream = Stream(plain(), **options)
    list(stream([1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match=r"sample 3.*missing.*choose gaps='hold'"):
        stream.feed(missing)
    assert stream.counts == Counts(samples=4, answers=1 if options else 3)
    whole = Stream(plain(), **options)
    expected = list(whole([1.0, 2.0, 3.0, 4.0]))[-1].values
    np.testing.assert_array_equal(stream.feed(4.0).values, expected)


def test_refuse_names_the_channel():
    model = stack(2, (5,), 1, meta=Meta((Port(channels=("speed", "load")),), ()))
    with pytest.raises(InputError, match="sample 0: channel load is missing, NaN or infinite"):
        Stream(model).feed([1.0, NAN])
    with pytest.raises(InputError, match="sample 0: channel 1 is missing"):
        Stream(plain(2)).feed([1.0, None])


@pytest.mark.parametrize("missing", MISSING)
def test_hold_repeats_the_last_good_value(missing):
    image = plain()
    stream = Stream(image, gaps="hold", max_hold=2)
    answers = list(stream([1.0, 2.0, missing, missing, 5.0, missing]))
    assert_answers(answers, carried(image, [1, 2, 2, 2, 5, 5]))
    assert [a.held for a in answers] == [False, False, True, True, False, True]
    assert stream.counts == Counts(samples=6, answers=6, held=3)


def test_hold_repeats_only_the_channels_that_are_missing():
    image = plain(2)
    answers = Stream(image, gaps="hold")([[1, 10], [NAN, 20], [3, None], None])
    assert_answers(list(answers), carried(image, [[1, 10], [1, 20], [3, 20], [3, 20]]))


@pytest.mark.parametrize("options", [{}, {"window": 1}])
def test_hold_resets_after_max_hold(options):
    image = plain()
    stream = Stream(image, gaps="hold", max_hold=2, **options)
    answers = list(stream([1.0, None, None, None, None, 7.0, 8.0]))
    assert [a.sample for a in answers] == [0, 1, 2, 5, 6]
    expected = carried(image, [1, 1, 1]) + carried(image, [7, 8])
    if options:
        expected = [carried(image, [value])[0] for value in (1, 1, 1, 7, 8)]
    assert_answers(answers, expected)
    assert stream.counts == Counts(samples=7, answers=5, held=2, skipped=2, resets=1)


def test_hold_without_a_good_value_leaves_out():
    image = plain(2)
    stream = Stream(image, gaps="hold")
    assert stream.feed(None) is None and stream.feed([1.0, NAN]) is None
    assert_answers([stream.feed([1.0, 2.0])], carried(image, [[1, 2]]))
    assert stream.counts == Counts(samples=3, answers=1, skipped=2)
    nothing = Stream(image, gaps="hold", max_hold=0)
    assert_answers(list(nothing([[1, 2], None, [3, 4]])), carried(image, [[1, 2]]) + carried(image, [[3, 4]]))


def test_skip_leaves_the_step_out():
    image = plain()
    stream = Stream(image, gaps="skip")
    answers = list(stream([None, 1.0, NAN, 2.0, None, None, 3.0]))
    assert [a.sample for a in answers] == [1, 3, 6]
    assert_answers(answers, carried(image, [1, 2, 3]))
    assert stream.counts == Counts(samples=7, answers=3, skipped=4)


def test_reset_starts_anew():
    image = plain()
    stream = Stream(image, gaps="reset")
    answers = list(stream([None, 1.0, NAN, None, 2.0, 3.0]))
    assert_answers(answers, carried(image, [1]) + carried(image, [2, 3]))
    assert stream.counts == Counts(samples=6, answers=3, skipped=3, resets=1)


def test_policies_in_windows():
    image, samples = plain(meta=Meta(window=3)), [1.0, 2.0, 3.0, None, 4.0, 5.0, 6.0]

    def answers(**options):
        return [(a.sample, a.values) for a in Stream(image, **options)(samples)]

    def windows(*rows):
        return [Runner(image).run(np.float32(row)[:, None]) for row in rows]

    for options, numbers, rows in (
        ({"gaps": "hold"}, [2, 3, 4, 5, 6], [(1, 2, 3), (2, 3, 3), (3, 3, 4), (3, 4, 5), (4, 5, 6)]),
        ({"gaps": "skip"}, [2, 4, 5, 6], [(1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 6)]),
        ({"gaps": "reset"}, [2, 6], [(1, 2, 3), (4, 5, 6)]),
        ({"gaps": "hold", "hop": 2}, [2, 4, 6], [(1, 2, 3), (3, 3, 4), (4, 5, 6)]),
    ):
        given = answers(**options)
        assert [n for n, _ in given] == numbers
        for (_, values), expected in zip(given, windows(*rows), strict=True):
            np.testing.assert_array_equal(values, expected)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.lists(st.one_of(st.none(), st.just(NAN), st.floats(-9, 9, width=32)), max_size=40),
    gaps=st.sampled_from(["hold", "skip", "reset"]),
    window=st.sampled_from([None, 1, 3]),
    hop=st.integers(1, 3),
    max_hold=st.integers(0, 3),
)
def test_policies_are_what_a_plain_list_says(samples, gaps, window, hop, max_hold):
    """The same policies written down over a list of the steps since the last reset."""
    image = plain()
    expected, steps, held, counts = [], [], 0, Counts()
    for number, sample in enumerate(samples):
        counts.samples += 1
        good = sample is not None and sample == sample
        if not good and gaps == "hold" and steps and held < max_hold:
            sample, held, counts.held = steps[-1], held + 1, counts.held + 1
        elif not good:
            counts.skipped += 1
            if gaps != "skip":
                counts.resets += bool(steps)
                steps, held = [], 0
            continue
        else:
            held = 0
        steps.append(sample)
        if window is None:
            expected.append((number, carried(image, steps)[-1]))
        elif len(steps) >= window and (len(steps) - window) % hop == 0:
            expected.append((number, Runner(image).run(np.float32(steps[-window:])[:, None])))
    counts.answers = len(expected)
    stream = Stream(image, gaps=gaps, window=window, hop=hop if window else None, max_hold=max_hold)
    answers = list(stream(samples))
    assert [a.sample for a in answers] == [n for n, _ in expected]
    assert_answers(answers, [y for _, y in expected])
    assert stream.counts == counts


# ---- timestamps ----

START = datetime(2024, 3, 31, 1, 50)
CLOCKS = {
    "seconds": lambda minutes: 60.0 * minutes,
    "datetime": lambda minutes: START + timedelta(minutes=minutes),
    "aware": lambda minutes: START.replace(tzinfo=UTC) + timedelta(minutes=minutes),
    "datetime64": lambda minutes: np.datetime64(START, "s") + np.timedelta64(minutes, "m"),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_times_travel_with_the_answers(clock):
    image, at = plain(), CLOCKS[clock]
    stream = Stream(image, period=timedelta(minutes=5))
    answers = list(stream((at(5 * n), float(n)) for n in range(4)))
    assert [a.time for a in answers] == [at(5 * n) for n in range(4)]
    assert_answers(answers, carried(image, range(4)))
    assert stream.counts == Counts(samples=4, answers=4)


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_missing_stretch(clock):
    image, at = plain(), CLOCKS[clock]
    samples = [(at(0), 1.0), (at(5), 2.0), (at(20), 3.0), (at(25), 4.0)]  # two samples missing
    with pytest.raises(InputError, match="2 samples are missing before sample 2"):
        list(Stream(image, period=300)(samples))
    for gaps, rows, counts in (
        ("hold", [[1, 2, 2, 2, 3, 4]], {"held": 2}),
        ("skip", [[1, 2, 3, 4]], {"skipped": 2}),
        ("reset", [[1, 2], [3, 4]], {"skipped": 2, "resets": 1}),
    ):
        stream = Stream(image, period=300, gaps=gaps)
        answers = list(stream(samples))
        assert [a.sample for a in answers] == [0, 1, 2, 3]  # held steps in between give no answers
        expected = [y for part in rows for y in carried(image, part)]
        assert_answers(answers, expected[:2] + expected[-2:])
        assert stream.counts == Counts(samples=4, answers=4, **counts)


def test_a_stretch_longer_than_max_hold_resets():
    image = plain()
    samples = [(0, 1.0), (1, None), (5, 2.0)]  # one held, three missing
    stream = Stream(image, period=1, gaps="hold", max_hold=4)
    assert_answers(list(stream(samples)), [carried(image, [1, 1, 1, 1, 1, 2])[k] for k in (0, 1, 5)])
    assert stream.counts == Counts(samples=3, answers=3, held=4)
    stream = Stream(image, period=1, gaps="hold", max_hold=3)
    assert_answers(list(stream(samples)), carried(image, [1, 1]) + carried(image, [2]))
    assert stream.counts == Counts(samples=3, answers=3, held=1, skipped=3, resets=1)
    far = Stream(image, period=1, gaps="hold")
    assert_answers(list(far([(0, 1.0), (10**15, 2.0)])), carried(image, [1]) + carried(image, [2]))


def test_a_missing_stretch_moves_windows_on():
    image = plain(meta=Meta(window=3, hop=2))
    samples = [(0, 1.0), (1, 2.0), (2, 3.0), (5, 4.0), (6, 5.0)]  # 3 and 4 missing: one window ends at 4
    stream = Stream(image, period=1, gaps="hold")
    answers = list(stream(samples))
    assert [a.time for a in answers] == [2, 6]
    expected = [Runner(image).run(np.float32(rows)[:, None]) for rows in ((1, 2, 3), (3, 4, 5))]
    assert_answers(answers, expected)
    assert stream.counts == Counts(samples=5, answers=2, held=2)


@pytest.mark.parametrize("back", [-55, 0])
def test_a_clock_set_back(back):
    image, at = plain(), CLOCKS["datetime"]
    samples = [(at(0), 1.0), (at(5), 2.0), (at(5 + back), 3.0), (at(10 + back), 4.0)]
    stream = Stream(image, period=300)
    with pytest.raises(InputError, match="sample 2: the clock went from 2024-03-31 01:55:00 to"):
        list(stream(samples))
    for gaps, rows, resets in (
        ("hold", [[1, 2, 3, 4]], 0),
        ("skip", [[1, 2, 3, 4]], 0),
        ("reset", [[1, 2], [3, 4]], 1),
    ):
        stream = Stream(image, period=300, gaps=gaps)
        assert_answers(list(stream(samples)), [y for part in rows for y in carried(image, part)])
        assert stream.counts == Counts(samples=4, answers=4, resets=resets, backward=1)


def test_jitter_is_no_gap():
    random = np.random.default_rng(0)
    times = 1e9 + 10 * np.arange(200) + random.uniform(-2.4, 2.4, 200)
    stream = Stream(plain(), period=10)
    assert sum(1 for _ in stream((t, 1.0) for t in times)) == 200


def test_missing_values_and_missing_stretches_together():
    image = plain()
    stream = Stream(image, period=1, gaps="hold")
    answers = list(stream([(0, 1.0), (2, None), (3, 2.0)]))
    assert_answers(answers, [carried(image, [1, 1, 1, 2])[k] for k in (0, 2, 3)])
    assert [a.held for a in answers] == [False, True, False]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([1.0], r"sample 0 is not \(timestamp, sample\)"),
        ([(0, 1.0), None], r"sample 1 is not \(timestamp, sample\)"),
        ([("noon", 1.0)], "sample 0: timestamp 'noon' does not fit"),
        ([(NAN, 1.0)], "sample 0: timestamp nan is no time"),
        ([(np.datetime64("NaT"), 1.0)], "sample 0: timestamp .* is no time"),
        ([(0, 1.0), (START, 2.0)], "sample 1: timestamp .* does not fit"),
        ([(None, 1.0)], "sample 0: timestamp None does not fit"),
    ],
)
def test_what_is_no_time_is_refused(samples, message):
    with pytest.raises(InputError, match=message):
        list(Stream(plain(), period=1, gaps="skip")(samples))


def test_reset_forgets_all_but_the_counts():
    image = plain()
    stream = Stream(image, period=1, gaps="hold")
    list(stream([(0, 1.0), (1, 2.0)]))
    stream.reset()
    assert stream.feed((-100, None)) is None  # no value to hold; nor is the clock back
    assert_answers([stream.feed((-99, 3.0))], carried(image, [3]))
    assert stream.counts == Counts(samples=4, answers=3, skipped=1)


# ---- refusals ----


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("3", "sample 0 holds <U1 values"),
        ([[1.0]], r"sample 0 has shape \(1, 1\), expected \(1,\)"),
        ([1, 2], r"sample 0 has shape \(2,\)"),
        ([], r"sample 0 has shape \(0,\)"),
        ([1, [2]], "sample 0 is not a row of numbers"),
        (["3", None], "sample 0 holds object values"),
        (1j, "sample 0 holds complex128 values"),
        (1e39, r"sample 0: channel 0 is 1e\+39, beyond float32"),
        ([10**400], "sample 0 is not a row of numbers"),
    ],
)
@pytest.mark.parametrize("gaps", ["refuse", "hold", "skip", "reset"])
def test_what_is_no_sample_is_refused_under_every_policy(sample, message, gaps):
    with pytest.raises(InputError, match=message):
        Stream(plain(), gaps=gaps).feed(sample)


def test_a_number_is_no_row_of_several():
    with pytest.raises(InputError, match=r"sample 0 has shape \(\), expected \(2,\)"):
        Stream(plain(2)).feed(1.0)


def test_values_that_overflow_after_scaling_are_refused():
    model = stack(1, (5,), 1, meta=Meta((Port(scaler=Scaler([1e20], [0.0])),), (Port(),)))
    stream = Stream(model, gaps="skip")
    assert stream.feed(3e18) is not None
    with pytest.raises(InputError, match="beyond float32"):
        stream.feed(4e18)
    with pytest.raises(InputError, match="beyond float32"):
        stream.feed(1e300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"window": 2.5}, "window is 2.5"),
        ({"window": 4, "hop": 0}, "hop is 0"),
        ({"hop": 2}, "leave them out"),
        ({"carry": True, "window": 4}, "leave them out"),
        ({"carry": False}, "neither `window` nor the image"),
        ({"gaps": "guess"}, "gaps is 'guess', expected one of refuse, hold, skip, reset"),
        ({"max_hold": -1}, "max_hold is -1"),
        ({"period": 0}, "period is 0"),
        ({"period": NAN}, "period is nan"),
        ({"period": "5 min"}, "period is '5 min'"),
        ({"period": timedelta(0)}, "expected seconds or a timedelta above 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        Stream(plain(), **options)


def test_many_streams_are_refused():
    with pytest.raises(InputError, match="this one has 3"):
        Stream(Runner(plain(), streams=3))
