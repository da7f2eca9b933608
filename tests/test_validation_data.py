"""Data of a person's, in the sensor's numbers too, and data that are made: they fit the model, whatever it takes."""

import numpy as np
import pytest
from around import of
from cells import case
from nets import signal, stack
from tfl8_nets import tfl8_stack

from edgelstm import Runner, peers, quantize, reference, validate
from edgelstm.errors import InputError
from edgelstm.layers import Embedding, Group, Rnn
from edgelstm.meta import Port, Scaler
from edgelstm.model import Meta
from edgelstm.validation import longrun
from edgelstm.validation.data import generated

X = signal((6, 12, 3))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(peers, "_usable", lambda name: False)
    monkeypatch.setattr(longrun, "STEPS", 100)


def test_the_sensors_numbers(tmp_path):
    scaler = Scaler(np.array([0.5, 2, 1]), np.array([1, 0, -1]))
    model = stack(3, (9,), 4, meta=Meta((Port(scaler=scaler),), (Port(),)))
    raw = (X - scaler.offset) / scaler.scale
    np.save(tmp_path / "raw.npy", raw)
    found = validate(model, reference.run(model, (X,))[0], tmp_path / "raw.npy", raw=True)
    assert found.passed and found.data == "raw.npy, scaled"
    assert not validate(model, reference.run(model, (X,))[0], raw).passed
    with pytest.raises(InputError, match="no scaler"):
        validate(stack(3, (9,), 4), stack(3, (9,), 4), raw, raw=True)
    with pytest.raises(InputError, match="data of yours"):
        validate(model, model, raw=True)


def test_samples_in_the_sensors_numbers(tmp_path):
    """They make the same int8 model as when scaled by hand, as an array, a list of sequences or a file."""
    scaler = Scaler(np.full(3, 0.01), np.array([-5.0, -4.0, -6.0]))
    model = stack(3, (9,), 4, meta=Meta((Port(scaler=scaler),), (Port(),)))
    raw = (X - scaler.offset) / scaler.scale
    np.save(tmp_path / "raw.npy", raw)
    by_hand = validate(model, model, X, samples=X)
    assert any("taken as scaled" in note for note in by_hand.notes)
    for samples in (raw, list(raw), tmp_path / "raw.npy"):
        found = validate(model, model, raw, samples=samples, raw=True)
        assert found.passed and not any("taken as scaled" in note for note in found.notes)
        for row, other in zip(found.rows, by_hand.rows, strict=True):
            assert row.variant == other.variant
            assert abs(row.difference.decibels - other.difference.decibels) < 0.5 or row.variant == "f32"
    assert validate(model, model, samples=raw, raw=True).passed  # the data are made in the samples' range
    plain = stack(3, (9,), 4)
    assert not any("taken as scaled" in note for note in validate(plain, plain, X, samples=X).notes)


@pytest.mark.parametrize("name", ["lstm, all options", "gru, masked, started", "rnn, masked, started", "lstm, periods"])
def test_masks_and_states_of_models_and_of_images_alone(name):
    model = case(name)
    runner = Runner(model)
    for floats in (model, None):
        made = generated(runner, floats, None, None, {})
        assert made.generated and made.sequences == 16
        runner.run(tuple(made.xs))
        for x, given in zip(made.xs, model.inputs, strict=True):
            if given == "mask":
                assert set(np.unique(x)) == {0, 1} and x[0].all()
    assert validate(model, model).passed


def test_ids_and_whole_groups_of_an_image_alone():
    random = np.random.default_rng(0)
    rnn = [random.uniform(-0.5, 0.5, shape) for shape in ((4, 3), (4, 4), (4,))]
    table = random.uniform(-1, 1, (9, 3))
    words = of({"ids": 1}, [Embedding("e", ("ids",), ("v",), table), Rnn("r", ("v",), ("y",), *rnn)], ["y"])
    (ids,) = generated(Runner(words), None, None, None, {}).xs
    assert set(np.unique(ids)) == set(range(9))
    whole = of({"x": 3}, [Group("flat", ("x",), ("y",), 7, single=True)], ["y"])
    for floats in (whole, None):
        assert generated(Runner(whole), floats, None, None, {}).xs[0].shape[1] == 7


def test_the_range_of_int8_images():
    small = Runner(quantize(stack(3, (9,), 4), X))
    (x,) = generated(small, None, None, small, {}).xs
    assert np.isclose(np.abs(x).max(), np.abs(X).max(), rtol=1e-3)
    for floats in (True, False):
        image = Runner(tfl8_stack(3, (5,), 2, floats=floats))
        (x,) = generated(image, None, None, image, {}).xs
        assert np.isclose(x.min(), 0.02 * (-128 + 5)) and np.isclose(x.max(), 0.02 * (127 + 5))
