"""When a model's tensors have rows: which layers need steps to come, which models are uneven, what is refused."""

import numpy as np
import pytest
from golden_rows import conv, model
from nets import lstm

from edgelstm.errors import InputError, ModelError
from edgelstm.image import pack
from edgelstm.layers import (
    Attention,
    Combine,
    Crop,
    Dense,
    Group,
    Last,
    Pad,
    Pool1d,
    Reduce,
    Repeat,
    Reverse,
    Rnn,
    SoftmaxSteps,
    Split,
    Transpose,
)
from edgelstm.model import Model, Tensor
from edgelstm.runner import Runner
from edgelstm.timing import MAX_CLOCKS, check_run, most_rows, rows

RANDOM = np.random.default_rng(0)
LAST = Last("last", ("x",), ("kept",))


def rnn(name, reads, **options):
    weights = RANDOM.uniform(-1, 1, (4, 4)), RANDOM.uniform(-1, 1, (4, 4)), RANDOM.uniform(-1, 1, 4)
    return Rnn(name, reads, (name,), *weights, **options)


def timed(*layers, inputs=None, single=()):
    """A model of these layers; its output is what the last writes first."""
    made = model(inputs or {"x": 4}, layers, (layers[-1].writes[0],)) if not single else None
    if made is None:
        widths = dict(inputs)
        for layer in layers:
            widths |= dict(zip(layer.writes, layer.widths(tuple(widths[n] for n in layer.reads)), strict=True))
        tensors = tuple(Tensor(name, width, name in single) for name, width in widths.items())
        made = Model(tensors, layers, tuple(inputs), (layers[-1].writes[0],))
    return made


WAITS = {
    "it needs the last step first": (Reverse("l", ("x",), ("y",)),),
    "it adds steps after the last": (Pad("l", ("x",), ("y",), 1, 1),),
    "its windows reach past the step they belong to": (conv("l", "x", 4, 3, 4, RANDOM, right=1),),
    "it waits for all 3 steps": (Group("l", ("x",), ("y",), 3, True),),
    "it waits for all 5 steps": (Transpose("l", ("x",), ("y",), 5),),
    "it makes a sequence of a whole one's answer": (LAST, Repeat("l", ("kept",), ("y",), 2)),
    "it needs all steps": (SoftmaxSteps("l", ("x",), ("y",)),),
    "it looks at all steps": (Attention("l", ("x", "x", "x"), ("y",)),),
    "it joins every step with what is known at the end": (LAST, Combine("l", ("x", "kept"), ("y",), "add")),
    "it starts from a state that is known at the end of a sequence": (LAST, rnn("l", ("x", "kept"), initial=True)),
    "what it reads comes at different steps": (
        Crop("c", ("x",), ("c",), 1, 0),
        Combine("l", ("x", "c"), ("y",), "add"),
    ),
}


@pytest.mark.parametrize("reason", WAITS)
def test_layers_that_need_steps_to_come(reason):
    made = timed(*WAITS[reason])
    assert made.timing.waits == (("l", reason),) and not made.timing.causal
    runner = Runner(pack(made))
    assert not runner.causal and runner.description.waits == (("l", reason),)


@pytest.mark.parametrize(
    ("layers", "uneven"),
    [
        ((conv("l", "x", 4, 3, 4, RANDOM, left=2),), False),
        ((conv("l", "x", 4, 3, 4, RANDOM),), True),
        ((conv("l", "x", 4, 1, 4, RANDOM, stride=2),), True),
        ((conv("l", "x", 4, 1, 4, RANDOM, same=True),), False),
        ((Pool1d("l", ("x",), ("y",), "max", 2, left=1),), False),
        ((Pool1d("l", ("x",), ("y",), "max", 2, stride=2),), True),
        ((Reduce("l", ("x",), ("y",), "mean"),), False),
        ((Reduce("l", ("x",), ("y",), "mean", period=2),), True),
        ((Crop("l", ("x",), ("y",), 0, 2),), True),
        ((Crop("l", ("x",), ("y",), 0, 0),), False),
        ((Pad("l", ("x",), ("y",), 2, 0),), True),
        ((Split("l", ("x",), ("y",), 2),), True),
        ((Split("l", ("x",), ("y",), 1), Group("g", ("y",), ("z",), 1)), False),
        ((LAST, lstm("l", "kept", "h", 4, 3, RANDOM)), False),
        ((Split("s", ("x",), ("s",), 2), Group("g", ("s",), ("g",), 2), Combine("c", ("x", "g"), ("y",), "add")), True),
    ],
)
def test_causal_models_even_and_uneven(layers, uneven):
    made = timed(*layers)
    assert made.timing.causal and (len(made.timing.table) > 1) == uneven
    runner = Runner(pack(made))
    assert runner.causal and runner.uneven == uneven
    runner.self_check()


def test_what_is_single_and_what_stays_the_same():
    dense = Dense("d", ("h0",), ("h1",), np.eye(4), np.zeros(4))
    made = timed(
        dense, rnn("r", ("x", "h1"), initial=True), Last("k", ("r",), ("k",)), inputs={"x": 4, "h0": 4}, single=("h0",)
    )
    assert made.timing.single == {"h0", "h1", "k"} and made.timing.constant == {"h0", "h1"} and made.timing.causal


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((LAST, Reverse("l", ("kept",), ("y",))), "reads a single step, kept"),
        ((Repeat("l", ("x",), ("y",), 2),), "repeats a single step, and x is a sequence"),
        ((rnn("l", ("x", "x"), initial=True),), "its initial state x is a sequence"),
        ((conv("l", "x", 4, 3, 4, RANDOM, period=2),), "no window of 3 fits into 2 steps"),
        (
            tuple(Crop(f"c{k}", (f"c{k - 1}" if k else "x",), (f"c{k}",), 1, 0) for k in range(MAX_CLOCKS)),
            f"c{MAX_CLOCKS - 1}: the model's rows come at too many different steps",
        ),
        (
            tuple(Pad(f"p{k}", (f"p{k - 1}" if k else "x",), (f"p{k}",), 65536, 0) for k in range(4)),
            "p3: .* too many a step",
        ),
    ],
)
def test_models_that_make_no_sense_are_refused(layers, message):
    with pytest.raises(ModelError, match=message):
        timed(*layers)


def test_a_cell_needs_a_sequence():
    with pytest.raises(ModelError, match="a step that stays the same, h0"):
        timed(rnn("r", ("h0",)), inputs={"x": 4, "h0": 4}, single=("h0",))


@pytest.mark.parametrize(
    ("layers", "steps", "message"),
    [
        ((Group("l", ("x",), ("y",), 3, True),), 4, "l: 4 steps, expected 3"),
        ((Reduce("l", ("x",), ("y",), "mean", period=2),), 5, "l: 5 steps, expected a multiple of 2"),
        (WAITS["what it reads comes at different steps"], 5, "l: it reads tensors of 5 and 4 steps"),
        ((Crop("l", ("x",), ("y",), 2, 3),), 5, "l: the sequence is too short; it gives no row"),
    ],
)
def test_numbers_of_steps_that_do_not_fit(layers, steps, message):
    made = timed(*layers)
    with pytest.raises(InputError, match=message):
        check_run(made, steps)
    with pytest.raises(InputError, match=message):
        Runner(made).run(np.zeros((steps, 4), np.float32))


@pytest.mark.parametrize(
    "clock",
    [
        (("split", 3),),
        (("group", 3),),
        (("fixed", 4),),
        (("crop", 1, 2),),
        (("pad", 2, 0),),
        (("windows", 3, 2, 1, 0, 0),),
        (("windows", 2, 3, 5, 0, 0),),
        (("group", 2), ("pad", 1, 0), ("split", 3), ("windows", 4, 3, 0, 0, 0)),
    ],
)
def test_no_steps_bring_more_rows_than_the_most(clock):
    for at in range(12):
        for steps in range(1, 9):
            assert rows(clock, at + steps) - rows(clock, at) <= most_rows(clock, steps)
