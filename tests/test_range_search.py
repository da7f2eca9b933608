"""Ranges chosen by the error of the answers: what that gains, and that it harms nothing."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from measured_nets import NETS, random_cell, random_model, regimes, sines, walk
from simulate import decibels

from edgelstm import calibration, reference, reference_s8
from edgelstm.errors import QuantizeError
from edgelstm.horizon import horizon
from edgelstm.layers import Activation, Dense, Embedding
from edgelstm.model import Meta, Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.quantization_layers import Maker
from edgelstm.range_search import Judge, Search
from edgelstm.ranges import Plan
from edgelstm.whole import whole_tensors

RELU = Activation("relu")


@cache
def watching():
    """The trained net, its samples, and other data with the float answers and the largest c."""
    model, samples, data = regimes()
    trace = {}
    (exact,) = reference.run(model, (data,), every_step=True, trace=trace)
    return model, samples, data, exact, max(np.abs(trace[name]).max() for name in ("lstm0.c", "lstm1.c"))


@cache
def small(ranges="output", bits=8):
    return quantize(*watching()[:2], ranges=ranges, hidden_bits=bits)


def gained(narrowed, covering):
    """dB on data other than the samples."""
    _, _, data, exact, _ = watching()
    found = [reference_s8.run_float(model, (data,), every_step=True)[0] for model in (narrowed, covering)]
    return decibels(exact, found[0]) - decibels(exact, found[1])


@pytest.mark.parametrize("bits", [8, 16])
def test_a_trained_net_whose_cells_count_far_gains_on_other_data(bits):
    assert watching()[4] > 150
    assert gained(small("output", bits), small("covering", bits)) > 10


def test_a_search_that_takes_the_worst_for_the_best_gains_nothing(monkeypatch):
    """What the test above is worth."""
    whole = Judge.__call__

    def turned(self, model):
        errors = whole(self, model)
        return replace(errors, chosen=1 / errors.chosen, checked=1 / errors.checked, all=1 / errors.all)

    monkeypatch.setattr(Judge, "__call__", turned)
    assert gained(quantize(*watching()[:2]), small("covering")) < 3


def test_the_notes_say_what_was_narrowed():
    (note,) = (note for note in small().notes if note.startswith("lstm1: c saturates"))
    full, largest, gain = re.fullmatch(
        r"lstm1: c saturates beyond (\d+) \(reaches (\d+) on the samples\): \+([\d.]+) dB", note
    ).groups()
    assert int(full) < int(largest) / 2 and int(largest) > 150 and float(gain) > 10
    assert int(full) == round(small().layers[1].cell_scale * 32768)
    assert not any("saturates beyond" in note for note in small("covering").notes)


def searching(model, samples, **options):
    """A search, and the model whose ranges cover the samples."""
    found = calibration.calibrate(model, samples)
    maker, plan = Maker(model, found, whole_tensors(model, found.whole)), Plan(**options)
    covering = maker.make(plan)
    return Search(maker, covering, plan), covering, found


def test_a_judgement_is_the_error_of_the_reference():
    """On every output of every sequence, in two halves, and of all of them end to end; an output that is always zero
    has no say."""
    random = np.random.default_rng(2)
    model = random_model(random, 3, [6], outputs=2)
    idle = Dense("idle", ("h0",), ("zero",), np.zeros((1, 6)), np.zeros(1))
    model = replace(
        model, tensors=(*model.tensors, Tensor("zero", 1)), layers=(*model.layers, idle), outputs=("y", "h0", "zero")
    )
    samples = [*walk(random, 5, 30, 3), *walk(random, 2, 7, 3)]
    _, covering, found = searching(model, samples)
    errors = Judge(model, found)(covering.model)
    ends = np.cumsum([0, *map(len, samples)])
    joined = np.concatenate(samples)[None]
    whole = [f(m, (joined,), True) for f, m in ((reference.run, model), (reference_s8.run_float, covering.model))]
    fresh, carried = ({"y": np.zeros(3), "h0": np.zeros(3)} for _ in range(2))
    for k, x in enumerate(samples):
        pairs = [f(m, (x[None],), True) for f, m in ((reference.run, model), (reference_s8.run_float, covering.model))]
        parts = [[y[:, ends[k] : ends[k + 1]] for y in ys] for ys in whole]
        for energies, (ys, zs) in ((fresh, pairs), (carried, parts)):
            for name, y, z in zip(energies, ys, zs, strict=False):
                energies[name] += [np.square(y).sum(), *(np.square(y - z).sum() * (k % 2 == half) for half in (0, 1))]
    halves = [np.mean([e[1:] / e[0] for e in energies.values()], axis=0) for energies in (fresh, carried)]
    wanted = [*np.sqrt(halves[0] * halves[1]), np.sqrt(halves[0].sum() * halves[1].sum()), halves[0].sum()]
    found = [errors.chosen, errors.checked, errors.all, errors.fresh]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("windows", [False, True])
def test_the_state_is_carried_but_where_windows_are_meant(windows):
    """In a run without a reset c counts further, and from there it must come back."""
    model, samples, _, _, _ = watching()
    model = replace(model, meta=Meta(window=600 if windows else None))
    small = quantize(model, samples)
    wide = quantize(model, samples, ranges="covering")
    last, covering = (horizon(model, m, samples).rows[-1].difference.decibels for m in (small, wide))
    assert (last > covering + 5) != windows


def test_a_single_sequence_is_halved():
    random = np.random.default_rng(2)
    model, x = random_model(random, 3, [6], outputs=2), walk(random, 1, 31, 3)
    _, covering, found = searching(model, x)
    errors = Judge(model, found)(covering.model)
    (y,), (z,) = reference.run(model, (x,)), reference_s8.run_float(covering.model, (x,))
    shares = [np.square(part).sum() / np.square(y).sum() for part in ((y - z)[:, :15], (y - z)[:, 15:])]
    np.testing.assert_allclose([errors.chosen, errors.checked], shares, rtol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_no_net_is_worse_on_its_samples(name):
    """Beside ranges that cover; and what cannot gain is left alone, whatever its answers are."""
    model, samples, _ = NETS[name]()
    (exact,) = (np.concatenate([y.ravel() for y in reference.run(model, (samples,), True)]),)
    small, covering = (quantize(model, samples, ranges=ranges) for ranges in ("output", "covering"))
    both = [np.concatenate([y.ravel() for y in reference_s8.run_float(m, (samples,), True)]) for m in (small, covering)]
    errors = [float(np.square(y - exact).sum()) for y in both]
    narrowed = [note for note in small.notes if "saturates beyond" in note]
    assert errors[0] < errors[1] if narrowed else errors[0] == errors[1]


def test_nothing_is_tried_where_nothing_can_gain():
    for model, samples, _ in (sines(), random_cell(21, "gru", 4, 24)):
        assert searching(model, samples)[0].spans == []


def test_the_other_half_must_agree():
    """The loud sequences are all among those that choose, and only there would fine steps be missed."""
    random = np.random.default_rng(3)
    dense = [Dense("wide", ("x",), ("w",), np.eye(2), np.zeros(2), RELU), Dense("y", ("w",), ("y",), np.eye(2), [0, 0])]
    model = Model((Tensor("x", 2), Tensor("w", 2), Tensor("y", 2)), tuple(dense), ("x",), ("y",))
    quiet = np.abs(random.normal(size=(8, 40, 2))).astype(np.float32)
    loud = quiet.copy()
    loud[1::2, 0, 0] = 3000  # one knock in each sequence that checks
    search = searching(model, loud)[0]
    assert "wide" in [span.layer for span in search.spans]
    assert search.run() == ()
    assert searching(model, quiet)[0].run() == ()


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_an_h_that_nobody_reads_costs_the_others_no_bits(cell):
    """A unit grows to 20 times the others, and neither the head nor a recurrent weight reads it."""
    model, samples, data = random_cell(33, cell, 4, 24, scale=0.5, activation=RELU)
    own, head = model.layers
    kernel, recurrent, weights = (np.array(w) for w in (own.kernel, own.recurrent, head.kernel))
    kernel[(..., 0, slice(None)) if cell == "rnn" else (2, 0)] *= 20
    recurrent[..., 0] = weights[:, 0] = 0
    model = replace(model, layers=(replace(own, kernel=kernel, recurrent=recurrent), replace(head, kernel=weights)))
    exact = reference.run(model, data, every_step=True)
    narrow, wide = (quantize(model, samples, ranges=ranges) for ranges in ("output", "covering"))
    assert any(note.startswith("cell: h saturates beyond") for note in narrow.notes)
    found = [reference_s8.run_float(m, data, every_step=True) for m in (narrow, wide)]
    assert decibels(exact[0], found[0][0]) > decibels(exact[0], found[1][0]) + 10


@pytest.mark.parametrize("seed", [100, 101, 102, 104, 107, 108, 109, 119])
def test_the_room_for_larger_data_is_not_sold_for_little(seed):
    """Of relu cells, whose h has 1.25 times what the samples reach: on other data of their kind, and 1.3 times louder.
    All have 20 dB on the samples; of cells whose values explode now and then no samples tell what others will do."""
    random = np.random.default_rng(seed)
    model, samples, _ = random_cell(seed, "lstm", 3, int(random.integers(6, 40)), scale=0.5, activation=RELU)
    narrow, wide = (quantize(model, samples, ranges=ranges) for ranges in ("output", "covering"))
    for loud in (1.0, 1.3):
        data = (walk(random, 24, 60, 3) * np.float32(loud),)
        exact = reference.run(model, data, every_step=True)
        found = [reference_s8.run_float(m, data, every_step=True) for m in (narrow, wide)]
        assert decibels(exact[0], found[0][0]) > decibels(exact[0], found[1][0]) - 0.1


@pytest.mark.parametrize(
    ("cell", "options", "found"),
    [
        ("lstm", {}, ["c"]),
        ("lstm", {"activation": RELU}, ["c", "h"]),
        ("lstm", {"projected": 5}, ["c", "h"]),
        ("gru", {}, []),
        ("gru", {"activation": RELU}, ["state", "h"]),
        ("rnn", {}, []),
        ("rnn", {"activation": RELU}, ["state", "h"]),
    ],
)
def test_what_could_be_narrower(cell, options, found):
    model, samples, _ = random_cell(5, cell, 3, 8, scale=0.3, count=4, steps=20, **options)
    for kind in ("s8", "s16"):
        _, covering, _ = searching(model, samples, kind=kind)
        whats = [span.what for span in covering.spans if span.layer == "cell"]
        assert whats == [what for what in found if kind == "s8" or what != "h"]
        assert [span.what for span in covering.spans if span.layer == "head"] == ["output"]
        for span in covering.spans:
            assert 0 < span.largest < span.full and span.noise > 0


@pytest.mark.parametrize("what", ["c", "state", "h", "output"])
def test_a_plan_narrows_one_range_by_what_it_says(what):
    cell, layer = {"c": ("lstm", "cell"), "output": ("lstm", "head")}.get(what, ("gru", "cell"))
    model, samples, _ = random_cell(5, cell, 3, 8, scale=0.3, count=4, steps=20, activation=RELU)
    search, covering, _ = searching(model, samples)
    narrowed = search.maker.make(Plan(narrowed={(layer, what): 0.5}))
    for before, after in zip(covering.spans, narrowed.spans, strict=True):
        if before.key == (layer, what):
            assert np.isclose(after.full, before.full / min(2, before.most), rtol=0.01)
        elif what in ("output", "h"):
            assert after.full == before.full


def test_the_choice_is_repeatable_and_tells_how_far_it_is():
    told = []
    again = quantize(*watching()[:2], progress=told.append)
    assert told == sorted(told) and told[-1] == 1 and len(told) > 2
    assert again.notes == small().notes
    assert [w.cell_scale for w in lstms(again)] == [w.cell_scale for w in lstms(small())]


def lstms(model):
    return [layer for layer in model.layers if hasattr(layer, "cell_scale")]


def test_large_models_are_judged_on_fewer_sequences():
    model, x = random_model(np.random.default_rng(1), 3, [8], outputs=2), walk(np.random.default_rng(2), 12, 30, 3)
    _, _, found = searching(model, x)
    products = 2 * (4 * 8 * (3 + 8) + 2 * 8)  # from resets and end to end
    assert [Judge(model, found, products * 30 * n).sequences for n in (12, 4, 1)] == [12, 4, 1]


def test_ids_beyond_their_vocabulary_are_judged_all_the_same():
    random = np.random.default_rng(1)
    cell = random_model(random, 3, [8], forget=3.0).layers[0]
    embedding = Embedding("words", ("x",), ("e",), random.normal(size=(5, 3)))
    layers = (embedding, replace(cell, reads=("e",)))
    model = Model((Tensor("x", 1), Tensor("e", 3), Tensor("h0", 8)), layers, ("x",), ("h0",))
    _, covering, found = searching(model, random.integers(0, 9, (4, 60, 1)))
    assert 0 < Judge(model, found)(covering.model).all < 0.1


def test_ranges_are_of_two_kinds():
    model, samples, _ = sines()
    with pytest.raises(QuantizeError, match="ranges is 'widest', expected 'output' or 'covering'"):
        quantize(model, samples, ranges="widest")
