"""Differences and verdicts on constructed cases."""

import math

import numpy as np
import pytest

from edgelstm.comparison import above, also, compare, shown, within
from edgelstm.errors import InputError


def test_figures_of_a_known_error():
    y = np.array([[[3.0, -4.0], [0.0, 1.0]]])
    z = y + np.array([[[0.1, 0.0], [0.0, -0.2]]])
    d = compare(y, z)
    assert math.isclose(d.max_error, 0.2) and math.isclose(d.rms_error, math.sqrt(0.05 / 4))
    assert math.isclose(d.decibels, 10 * math.log10(26 / 0.05)) and d.agreement == 1 and d.largest == 4


def test_cosine_is_that_of_all_answers():
    y = np.array([[3.0, 0.0], [0.0, 4.0]])
    z = np.array([[3.0, 4.0], [3.0, 4.0]])
    assert math.isclose(compare(y, z).cosine, 25 / (5 * math.sqrt(50)))
    assert compare(y, 2 * y).cosine == 1 and compare(y, -y).cosine == -1
    assert compare(y, 0 * y).cosine is None and compare(0 * y, y).cosine is None


def test_agreement_counts_rows():
    y = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 5.0], [3.0, 1.0, 2.0]])
    z = y.copy()
    z[1] = [0.0, 1.0, 0.0]
    assert compare(y, z).agreement == 0.75
    assert compare(y[:, :1], z[:, :1]).agreement is None
    z[2] = [0.0, 0.0, np.nan]
    assert compare(y, z).agreement == 0.5


def test_limits_of_the_figures():
    y = np.array([[1.0], [2.0]])
    assert compare(y, y).decibels == math.inf and compare(y, y).max_error == 0
    assert compare(0 * y, y).decibels == -math.inf
    assert compare(0 * y, 0 * y).decibels == math.inf
    for bad in (np.nan, np.inf):
        z = y.copy()
        z[0] = bad
        d = compare(y, z)
        assert d.max_error == math.inf and d.decibels == -math.inf
        assert within("f32", "y", d, 1e9).passed is False and above("s8", "y", d, -1e9).passed is False
        with pytest.raises(InputError):
            compare(z, y)
    for other in (y[:1], y.T, y[..., None]):
        with pytest.raises(InputError, match="shape"):
            compare(y, other)
    with pytest.raises(InputError):
        compare(y[:0], y[:0])


def test_float_is_judged_by_its_largest_error():
    """The limit grows with answers beyond 1, and not for those below."""
    for largest, error, passed in (
        (0.1, 4.9e-6, True),
        (0.1, 5.1e-6, False),
        (10.0, 4.9e-5, True),
        (10, 5.1e-5, False),
    ):
        y = np.array([[largest, 0.0]], np.float64)
        row = within("f32", "y", compare(y, y + [[0, error]]), 5e-6)
        assert row.passed is passed
        assert "max error at most" in row.required


def test_zeros_have_no_direction_to_agree_in():
    y = np.array([[1.0, 2.0]])
    assert not also(above("s8", "y", compare(y, 0 * y), 0), cosine=0.9).passed
    assert not also(above("s8", "y", compare(0 * y, y), -999), cosine=-1.0, agreement=0.0).passed
    assert also(above("s8", "y", compare(0 * y, 0 * y), 0), cosine=0.9).passed


def test_int8_is_judged_by_decibels():
    y = np.array([[1.0, 1.0]])
    for error, passed in ((0.099, True), (0.101, False)):
        assert above("s8", "y", compare(y, y + error), 20).passed is passed
    assert shown("TFLite int8", "y", compare(y, y + 5)).passed is None
