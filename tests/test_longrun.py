"""A long run: the data end to end, from one reset state; why there may be none; and what it finds."""

import numpy as np
import pytest
from around import of
from nets import signal, stack

from edgelstm import Runner, pack, peers, quantize, reference, validate
from edgelstm.errors import InputError
from edgelstm.layers import Reverse, Rnn
from edgelstm.validation import longrun

MODEL, X = stack(3, (9,), 4), signal((6, 12, 3))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(peers, "_usable", lambda name: False)


def test_sequences_end_to_end():
    (line,) = longrun.joined([X], 72)
    assert (line == X.reshape(1, 72, 3)).all()
    (line,) = longrun.joined([X], 100)
    assert (line[0, 72:] == X.reshape(72, 3)[:28]).all()
    row, line = longrun.joined([X[:, 0], X], 20)
    assert row.shape == (1, 3) and (row[0] == X[0, 0]).all() and line.shape == (1, 20, 3)


def test_how_long_it_is():
    assert longrun.default_steps(MODEL, None) == 10_000 and longrun.default_steps(MODEL, 72) == 72
    large = stack(8, (256, 256), 4)
    assert 100 <= longrun.default_steps(large, None) < 10_000 and longrun.default_steps(large, 1 << 20) < 10_000


def test_what_it_finds_is_the_state_carried_on():
    small = quantize(MODEL, X)
    report = validate(small, MODEL, X)
    assert [one.variant for one in report.drift] == ["f32", "s8"]
    assert [point.step for point in report.drift[1].points] == [1, 10, 72]
    line = X.reshape(1, 72, 3)
    (y,) = reference.run(MODEL, [line], every_step=True)
    runner = Runner(small)
    z = np.stack([runner.step(x).copy() for x in line[0]])
    last = report.drift[1].points[-1]
    assert np.isclose(last.error, np.abs(z[-1] - y[0, -1]).max()) and np.isclose(last.largest, np.abs(z - y[0]).max())
    assert any("joins the sequences" in note for note in report.notes)
    report = validate(small, MODEL, X, drift_steps=100, drift=30)
    assert report.drift[0].points[-1].step == 100 and any("repeats" in note for note in report.notes)
    assert all(check.passed for check in report.checks) and len(report.checks) == 2
    assert not validate(small, MODEL, X, drift=200).passed
    assert validate(small, MODEL, drift_steps=1000).drift[0].points[-1].step == 1000


def test_why_there_is_none():
    random = np.random.default_rng(0)
    cell = Rnn("r", ("b",), ("y",), *(random.uniform(-0.5, 0.5, shape) for shape in ((4, 3), (4, 4), (4,))))
    backwards = of({"x": 3}, [Reverse("turn", ("x",), ("b",)), cell], ["y"])
    report = validate(backwards, backwards, X)
    assert not report.drift and any("turn: it needs the last step first" in note for note in report.notes)
    y = Runner(MODEL).run(X)
    report = validate(pack(MODEL), y, X)
    assert not report.drift and any("no float model" in note for note in report.notes)
    assert validate(MODEL, MODEL, X, drift_steps=0).drift == ()
    for options in ({"drift_steps": 10}, {"drift": 10.0}):
        with pytest.raises(InputError, match="long run"):
            validate(pack(MODEL), y, X, **options)
    with pytest.raises(InputError, match="expected 0 or more"):
        validate(MODEL, MODEL, X, drift_steps=-1)
