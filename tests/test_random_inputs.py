"""Random inputs are such as a model takes."""

import numpy as np
import pytest
from nets import lstm, stack

from edgelstm import reference
from edgelstm.errors import InputError
from edgelstm.layers import Combine, Conv1d, Embedding, Group, Last, Lstm, Mask, Pool1d, Reverse, Split, Transpose
from edgelstm.model import Model, Tensor
from edgelstm.random_inputs import draw, fitting_steps, rows


def model(layers, inputs, outputs, widths, single=()):
    return Model(tuple(Tensor(n, w, n in single) for n, w in widths.items()), tuple(layers), inputs, outputs)


def cell(random, **options):
    return Lstm(
        "cell", writes=("h",), kernel=random.normal(size=(4, 3, 2)), recurrent=random.normal(size=(4, 3, 3)),
        bias=random.normal(size=(4, 3)), **options,
    )  # fmt: skip


def test_numbers_for_numbers():
    (x,) = draw(stack(3, (4,)), 5, 20, np.random.default_rng(1))
    assert x.shape == (5, 20, 3) and x.dtype == np.float32 and x.min() < -1 and x.max() > 1
    (again,) = draw(stack(3, (4,)), 5, 20, np.random.default_rng(1))
    np.testing.assert_array_equal(x, again)


def test_indices_of_the_smallest_table_wherever_it_stands():
    random = np.random.default_rng(2)
    large, small = random.normal(size=(50, 2)), random.normal(size=(7, 2))
    layers = (
        Mask("mask", ("ids",), ("kept", "counts"), 0.0),
        Embedding("large", ("kept",), ("e",), large),
        Reverse("back", ("ids",), ("r",)),
        Embedding("small", ("r",), ("f",), small),
        cell(random, reads=("e", "counts"), masked=True),
    )
    net = model(layers, ("ids",), ("h", "f"), {"ids": 1, "kept": 1, "counts": 1, "e": 2, "r": 1, "f": 2, "h": 3})
    (x,) = draw(net, 40, 12, random)
    assert set(np.unique(x)) == set(range(7))
    zeros = (x == 0).mean()
    assert 0.3 < zeros < 0.5  # a seventh by chance, and what the mask is to hide
    reference.run(net, [x])


def test_masks_end_and_states_are_single():
    random = np.random.default_rng(3)
    layers = (
        Reverse("back", ("mask",), ("backwards",)),
        cell(random, reads=("x", "backwards", "h0", "c0"), masked=True, initial=True),
    )
    widths = {"x": 2, "mask": 1, "h0": 3, "c0": 3, "backwards": 1, "h": 3}
    net = model(layers, ("x", "mask", "h0", "c0"), ("h",), widths, single=("h0", "c0"))
    x, mask, h0, c0 = draw(net, 30, 8, random)
    assert x.shape == (30, 8, 2) and h0.shape == c0.shape == (30, 3)
    assert mask.shape == (30, 8, 1) and set(np.unique(mask)) == {0, 1} and mask[0].all() and mask[:, 0].all()
    assert (np.diff(mask[..., 0], axis=1) <= 0).all() and len({*mask.sum(axis=(1, 2))}) == 8
    reference.run(net, [x, mask, h0, c0])


def conv(taps, **options):
    return Conv1d("conv", ("x",), ("y",), np.ones((2, taps, 2)), np.zeros(2), **options)


@pytest.mark.parametrize(
    ("layers", "widths", "wanted", "steps", "written"),
    [
        ([conv(5)], {"x": 2, "y": 2}, 3, 5, 1),
        ([conv(5, stride=3)], {"x": 2, "y": 2}, 20, 20, 6),
        ([conv(3, same=True, stride=2)], {"x": 2, "y": 2}, 7, 7, 4),
        ([Pool1d("pool", ("x",), ("y",), "max", 3, 3)], {"x": 2, "y": 2}, 8, 8, 2),
        ([Group("group", ("x",), ("y",), 7, single=True)], {"x": 2, "y": 14}, 20, 7, 1),
        ([Group("group", ("x",), ("y",), 40, single=True)], {"x": 2, "y": 80}, 20, 40, 1),
        ([Transpose("turn", ("x",), ("y",), 9)], {"x": 2, "y": 9}, 20, 9, 2),
        ([Split("split", ("x",), ("y",), 2)], {"x": 2, "y": 1}, 4, 4, 8),
        ([Last("last", ("x",), ("y",))], {"x": 2, "y": 2}, 4, 4, 1),
    ],
)
def test_as_many_steps_as_the_model_takes(layers, widths, wanted, steps, written):
    net = model(layers, ("x",), ("y",), widths)
    assert fitting_steps(net, wanted) == steps
    assert rows(net, steps)["y"] == written
    trace = {}
    reference.run(net, draw(net, 2, wanted, np.random.default_rng(0)), trace=trace)
    assert trace["y"].shape[1] == written


def test_models_that_take_no_number_of_steps():
    layers = (
        Group("seven", ("x",), ("a",), 7, single=True),
        Group("eight", ("x",), ("b",), 8, single=True),
        Combine("both", ("a", "b"), ("y",), "concatenate"),
    )
    net = model(layers, ("x",), ("y",), {"x": 1, "a": 7, "b": 8, "y": 15})
    with pytest.raises(InputError, match=r"no number of steps from 1.*seven: 20 steps, expected 7"):
        fitting_steps(net, 20)


def test_inputs_with_steps_of_their_own():
    random = np.random.default_rng(4)
    layers = (
        Last("last", ("a",), ("h0",)),
        cell(random, reads=("b", "h0", "h0"), initial=True),
    )
    net = model(layers, ("a", "b"), ("h",), {"a": 3, "b": 2, "h0": 3, "h": 3})
    a, b = draw(net, 2, 24, random, {"a": 7, "b": 4})
    assert (a.shape, b.shape) == ((2, 7, 3), (2, 4, 2))
    a, b = draw(net, 2, 24, random, {"a": 7})
    assert (a.shape, b.shape) == ((2, 7, 3), (2, 24, 2))


def test_branches_of_unlike_lengths():
    random = np.random.default_rng(0)
    layers = (conv(3), lstm("cell", "x", "h", 2, 2, random), Combine("both", ("y", "h"), ("z",), "add"))
    with pytest.raises(InputError, match="both: what it joins has 4 and 6 steps"):
        rows(model(layers, ("x",), ("z",), {"x": 2, "y": 2, "h": 2, "z": 2}), 6)
