"""The real numbers behind int8 nets: the integers answer as they do, but for their own coarseness."""

import numpy as np
import pytest
from nets import signal
from tfl8_nets import tfl8_bidirectional, tfl8_stack

from edgelstm import Runner, reference
from edgelstm.comparison import compare
from edgelstm.tfl8 import Tfl8Constant, Tfl8Map, Tfl8Tensor
from edgelstm.tfl8_model import Tfl8Model
from edgelstm.validation.meaning import meaning
from edgelstm.validation.variants import Variant


@pytest.mark.parametrize(
    "model",
    [tfl8_stack(3, (8, 6), 2), tfl8_stack(3, (8,), 0, last=False, floats=False), tfl8_bidirectional(3, 6, 2),
     tfl8_stack(3, (8,), 2, cell_clip=0.3), tfl8_stack(3, (8,), 0, coupled=True)],
)  # fmt: skip
def test_answers_are_near(model):
    x = signal((5, 14, 3))
    found = meaning(model)
    assert [layer.name for layer in found.layers] == [layer.name for layer in model.layers]
    (y,) = reference.run(found, [x])
    (z,) = Variant("tfl8", Runner(model)).answers([x])
    difference = compare(y, z)
    # one h of three scales is what no converter writes, and so is a little smaller than it should be
    assert difference.cosine > 0.99 and (difference.decibels > 20 or "backward" in str(found.layers))


def test_functions_and_constants():
    tensors = [
        Tfl8Tensor("x", 3, "s8", 0.02, -5),
        Tfl8Tensor("y", 3, "s8", 1 / 256, -128),
        Tfl8Tensor("k", 2, "s8", 0.1, 4),
    ]
    layers = (Tfl8Map("map", ("x",), ("y",), "logistic"), Tfl8Constant("held", ("x",), ("k",), np.array([14, -6])))
    model = Tfl8Model(tuple(tensors), layers, ("x",), ("y", "k"))
    y, k = reference.run(meaning(model), [signal((2, 4, 3))])
    assert np.allclose(y, 1 / (1 + np.exp(-signal((2, 4, 3)))), atol=1e-6) and np.allclose(k, [[1, -1]])
