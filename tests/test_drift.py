"""Errors at chosen steps of constructed runs."""

import math

import numpy as np
import pytest

from edgelstm.drift import curve, drift, marks
from edgelstm.errors import InputError


def test_steps_that_are_told():
    assert marks(1) == (1,) and marks(10) == (1, 10) and marks(11) == (1, 10, 11)
    assert marks(1000) == (1, 10, 100, 1000) and marks(2500) == (1, 10, 100, 1000, 2500)
    for steps in (1, 7, 1000, 12345):
        found = curve(steps)
        assert found[0] == 1 and found[-1] == steps and len(found) <= 60 and list(found) == sorted(set(found))


def test_an_error_that_grows():
    """Steps 1 to 100 of two sequences; the second is off by a thousandth of the step's number."""
    y = np.ones((2, 100, 3))
    z = y.copy()
    z[1, :, 2] += np.arange(1, 101) / 1000
    points = drift(y, z)
    assert [p.step for p in points] == [1, 10, 100]
    assert np.allclose([p.error for p in points], [0.001, 0.01, 0.1])
    assert np.allclose([p.rms for p in points], np.array([0.001, 0.01, 0.1]) / math.sqrt(6))
    noise = (np.arange(1, 11) / 1000) ** 2 / 6
    assert math.isclose(points[1].decibels, 10 * math.log10(10 / noise.sum()))


def test_the_largest_error_so_far_stays():
    y = np.ones((1, 10, 1))
    z = y.copy()
    z[0, 4] = 3
    first, last = drift(y, z)
    assert first.largest == 0 and first.decibels == math.inf
    assert last.error == 0 and last.largest == 2 and [p.largest for p in drift(y, z, (4, 5))] == [0, 2]


def test_what_is_not_finite():
    y = np.ones((1, 10, 1))
    z = y.copy()
    z[0, 4] = np.nan
    first, last = drift(y, z)
    assert first.error == 0 and last.error == 0 and last.largest == math.inf and last.decibels == -math.inf
    assert drift(0 * y, y)[0].decibels == -math.inf and drift(0 * y, 0 * y)[0].decibels == math.inf
    with pytest.raises(InputError, match="NaN"):
        drift(z, y)
    for wrong in (y[:, :5], y[0], y[:, :0]):
        with pytest.raises(InputError, match="shape"):
            drift(y, wrong)
