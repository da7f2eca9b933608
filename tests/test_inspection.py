"""Tensors inside an image beside float64: which is whose, how much is looked at, and what saturates."""

from dataclasses import replace

import numpy as np
import pytest
from around import of
from nets import signal, stack
from tfl8_nets import tfl8_stack

from edgelstm import Runner, quantize
from edgelstm.layers import TANH, Activation, Embedding, Mask, Rnn
from edgelstm.peer_process import Answers
from edgelstm.tfl8 import Tfl8Map, Tfl8Tensor
from edgelstm.tfl8_model import Tfl8Model
from edgelstm.validation import inspection
from edgelstm.validation.meaning import meaning
from edgelstm.validation.variants import Variant

MODEL, X = stack(3, (9, 5), 4), signal((6, 12, 3))


def inspected(image, model, x=X):
    runner = Runner(image)
    variant = Variant(runner.description.number_type, runner)
    return inspection.inspected(variant, model, {} if model is None else inspection.trace(model, [x]), [x])


def renamed(model):
    """A tfl8 model with layers as a file names them."""
    return replace(model, layers=tuple(replace(la, name=f"tfl.op{k}") for k, la in enumerate(model.layers)))


def test_layers_by_their_names():
    found = inspected(quantize(MODEL, X), MODEL).layers
    assert [(one.layer, one.tensor) for one in found] == [
        ("lstm0", "h"), ("lstm0", "c"), ("lstm1", "h"), ("lstm1", "c"), ("dense", "y"),
    ]  # fmt: skip
    assert all(30 < one.difference.decibels < 80 for one in found) and all(one.lost is not None for one in found)
    exact = inspected(MODEL, MODEL).layers
    assert all(one.difference.decibels > 110 for one in exact) and exact[0].lost is None


def test_layers_by_their_order_where_names_are_a_files_own():
    """An activation that the file has as an operator of its own belongs to the Dense before it."""
    small = tfl8_stack(3, (9,), 2)
    tensors = (*small.tensors[:-1], Tfl8Tensor("t", 2, "s8", 1 / 128, 0), small.tensors[-1])
    layers = (*small.layers[:-1], Tfl8Map("tanh", ("y",), ("t",), "tanh"), replace(small.layers[-1], reads=("t",)))
    image = Tfl8Model(tensors, layers, small.inputs, small.outputs)
    float_model = meaning(image)
    merged = [la for la in float_model.layers if la.name not in ("quantize", "dequantize", "tanh")]
    merged[-1] = replace(merged[-1], activation=TANH, writes=("t",))
    merged[0] = replace(merged[0], reads=("x",))
    model = of({"x": 3}, merged, ["t"])
    found = {(one.layer, one.tensor): one.difference.decibels for one in inspected(renamed(image), model).layers}
    assert set(found) == {("tfl.op1", "h"), ("tfl.op1", "c"), ("tfl.op4", "y")} and min(found.values()) > 20
    other = stack(3, (9, 5), 2)  # two LSTMs are not one
    assert inspected(renamed(image), other).layers == ()


def test_what_float64_overflows_on_is_told():
    """A relu cell that grows past all numbers."""
    layer = Rnn("r", ("x",), ("y",), np.eye(2), 1e4 * np.eye(2), np.zeros(2), activation=Activation("relu"))
    model = of({"x": 2}, [layer], ["y"])
    variant, notes = Variant("f32", Runner(model)), []
    for x, told in ((np.ones((1, 4, 2)), False), (np.ones((1, 90, 2)), True)):
        x = x.astype(np.float32)
        inspection.all_of([variant], model, [x], Answers((np.zeros_like(x),), "recorded"), notes, lambda *_: None)
        assert any("overflows" in note for note in notes) == told


def test_how_much_is_looked_at(monkeypatch):
    variant = Variant("f32", Runner(MODEL))
    assert inspection.chosen(MODEL, variant, [X])[0].shape == X.shape
    monkeypatch.setattr(inspection, "MOST", 4 * 12 * 200)
    (some,) = inspection.chosen(MODEL, variant, [np.repeat(X, 50, axis=0)])
    assert 1 < len(some) < 300 and some.shape[1:] == X.shape[1:]
    (first,) = inspection.chosen(MODEL, variant, [signal((1, 5000, 3))])
    assert first.shape == (1, 100, 3)  # 96 numbers a step


def test_what_saturates():
    small = quantize(MODEL, 0.05 * X)
    counted = {(one.layer, one.tensor): one for one in inspected(small, MODEL).saturation}
    assert ("", "x") in counted and ("lstm0", "c") in counted and not {("last", "y")} & set(counted)
    x = counted["", "x"]
    (scale,) = Runner(small).input_scales
    assert x.type == "s16" and x.low + x.high == int((np.abs(X) >= 32766.5 * scale).sum()) > 9
    huge = replace(MODEL.layers[-1], kernel=3e38 * np.sign(MODEL.layers[-1].kernel), bias=np.full(4, 3.3e38))
    model = replace(MODEL, layers=(*MODEL.layers[:-1], huge))
    counted = {one.layer: one for one in inspected(model, MODEL).saturation}
    assert counted["dense"].type == "f32" and counted["dense"].high > 0 == counted["lstm0"].high


def test_floats_as_large_as_their_integers_range_are_not_beyond_it():
    model = tfl8_stack(3, (5,), 2)
    q = model.tensor("q")
    least, most = (q.scale * (end - q.zero_point) for end in (-128, 127))
    x = np.zeros((1, 4, 3), np.float32)
    x[0, :2] = [[least, most, most + 0.4 * q.scale], [most + 0.6 * q.scale, 2 * most, 2 * least]]
    found = next(one for one in inspected(model, None, x).saturation if one.layer == "quantize")
    assert (found.low, found.high, found.values) == (1, 2, 12)


def test_what_a_mask_hides_needs_no_room():
    random = np.random.default_rng(0)
    cell = [random.uniform(-0.5, 0.5, shape) for shape in ((4, 3), (4, 4), (4,))]
    layers = [Mask("mask", ("x",), ("kept", "counts"), -99.0), Rnn("r", ("kept", "counts"), ("y",), *cell, masked=True)]
    model = of({"x": 3}, layers, ["y"])
    x = X.copy()
    x[:, 8:] = -99
    counted = {one.tensor: one for one in inspected(quantize(model, x), model, x).saturation if not one.layer}
    assert counted["x"].low == 0 and counted["x"].values == 6 * 8 * 3


@pytest.mark.parametrize("seed", [0, 1])
def test_ids_do_not_saturate(seed):
    random = np.random.default_rng(seed)
    rnn = [random.uniform(-0.5, 0.5, shape) for shape in ((4, 3), (4, 4), (4,))]
    table = random.uniform(-1, 1, (9, 3))
    words = of({"ids": 1}, [Embedding("e", ("ids",), ("v",), table), Rnn("r", ("v",), ("y",), *rnn)], ["y"])
    ids = random.integers(0, 9, (5, 8, 1)).astype(np.float32)
    found = inspected(quantize(words, ids), words, ids)
    assert {one.layer for one in found.layers} == {"e", "r"}
    assert all(one.low + one.high == 0 for one in found.saturation if not one.layer)
