"""horizon: the error of an int8 model after more and more steps of a run that is never reset."""

from dataclasses import replace

import numpy as np
import pytest
from measured_nets import random_cell, random_model, walk

from edgelstm import reference, reference_s8
from edgelstm.comparison import compare
from edgelstm.errors import QuantizeError
from edgelstm.horizon import HORIZONS, horizon
from edgelstm.layers import Activation, Reverse, Rnn
from edgelstm.model import Meta, Model, Tensor
from edgelstm.quantization import quantize


def both(steps=300, count=2):
    model = random_model(np.random.default_rng(1), 2, [6], outputs=2)
    x = walk(np.random.default_rng(2), count, steps, 2)
    return replace(model, outputs=("y", "h0")), x


def test_its_rows_are_the_references_errors_of_one_long_run():
    model, x = both()
    quantized = quantize(model, x)
    found = horizon(model, quantized, x)
    assert [(row.output, row.steps) for row in found.rows] == [(name, n) for name in ("y", "h0") for n in HORIZONS]
    joined = np.resize(x.reshape(600, 2), (1000, 2))[None]
    exact = reference.run(model, (joined,), every_step=True)
    answers = reference_s8.run_float(quantized, (joined,), every_step=True)
    for row in found.rows:
        if row.steps <= 1000:
            k = model.outputs.index(row.output)
            part = slice(row.steps // 2, row.steps)
            wanted = compare(exact[k][0, part], answers[k][0, part])
            assert np.isclose(row.difference.rms_error, wanted.rms_error, rtol=1e-3)
            assert np.isclose(row.difference.decibels, wanted.decibels, atol=0.01)
    assert "2 sequences joined end to end, 600 steps, repeated up to 10,000" in found.notes[0]
    assert "after 10,000 steps: RMS error" in str(found)


def test_an_error_that_grows_is_seen():
    """The int8 model loses an integrator's smallest steps; the float one goes on."""
    model = random_model(np.random.default_rng(1), 1, [1], outputs=1)
    cell, head = model.layers
    kernel, bias = np.zeros((4, 1, 1)), np.array([[-9.0], [12.0], [0.5], [9.0]])
    model = replace(model, layers=(replace(cell, kernel=kernel, recurrent=0 * kernel, bias=bias), head))
    x = np.zeros((1, 100, 1), np.float32)
    rows = horizon(model, quantize(model, x), x).rows
    assert rows[-1].difference.rms_error > 3 * rows[1].difference.rms_error


def test_a_model_that_grows_beyond_all_bounds_has_rows_as_far_as_it_goes():
    """A relu cell that grows by a twentieth a step, which 20 steps from a reset do not mind."""
    cell = Rnn(
        "r", ("x",), ("h",), kernel=np.full((2, 2), 0.3), recurrent=1.05 * np.eye(2), bias=np.zeros(2),
        activation=Activation("relu"),
    )  # fmt: skip
    model = Model((Tensor("x", 2), Tensor("h", 2)), (cell,), ("x",), ("h",))
    x = np.abs(walk(np.random.default_rng(2), 10, 20, 2))
    found = horizon(model, quantize(model, x), x)
    assert [row.steps for row in found.rows] == [10, 100]
    assert "grow beyond all bounds after" in found.notes[1]


@pytest.mark.parametrize(
    ("count", "steps", "said"),
    [
        (1, 10000, "one sequence of 10,000 steps; the state"),
        (3, 4000, "3 sequences joined end to end, 12,000 steps, of which 10,000 were run"),
        (1, 7, "one sequence of 7 steps, repeated up to 10,000"),
    ],
)
def test_it_says_what_was_run(count, steps, said):
    model, x = both(steps, count)
    assert said in horizon(model, quantize(model, x[:, :50]), x).notes[0]


def test_masks_and_states_to_start_from_and_progress():
    model, samples, _ = random_cell(46, "lstm", 4, 8, masked=True, count=2, steps=20)
    told = []
    assert len(horizon(model, quantize(model, samples), samples, progress=told.append).rows) == 4
    assert told == sorted(told) and told[-1] == 1

    model = random_model(np.random.default_rng(1), 2, [4], outputs=1)
    cell = replace(model.layers[0], reads=("x", "h", "c"), initial=True)
    tensors = (*model.tensors, Tensor("h", 4, single=True), Tensor("c", 4, single=True))
    model = replace(model, tensors=tensors, layers=(cell, model.layers[1]), inputs=("x", "h", "c"))
    random = np.random.default_rng(3)
    samples = walk(random, 3, 20, 2), random.normal(size=(3, 4)) / 4, random.normal(size=(3, 4))
    assert len(horizon(model, quantize(model, samples), samples).rows) == 4


def test_why_there_is_none():
    model, x = both()
    tensors = (*model.tensors, Tensor("r", 2))
    turned = replace(model, tensors=tensors, layers=(Reverse("turn", ("x",), ("r",)), *model.layers), outputs=("y",))
    turned = replace(turned, layers=(turned.layers[0], replace(model.layers[0], reads=("r",)), model.layers[1]))
    found = horizon(turned, quantize(turned, x), x)
    assert found.rows == () and len(found.notes) == 1
    assert (
        "no error after long runs: the model cannot be stepped, only run over whole sequences: turn" in found.notes[0]
    )


def test_a_window_is_spoken_of():
    model, x = both()
    model = replace(model, meta=Meta(window=60))
    assert "was made for windows of 60 steps; run in those" in horizon(model, quantize(model, x), x).notes[1]


def test_samples_that_do_not_fit_are_refused():
    model, x = both()
    with pytest.raises(QuantizeError, match="expected"):
        horizon(model, quantize(model, x), x[:, :, :1])
