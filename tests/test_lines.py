"""Lines of text as samples and answers."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm import lines
from edgelstm.errors import InputError


def read(text, width=2, channels=()):
    return [list(values) for values in lines.samples(text.splitlines(), width, channels)]


def test_csv_json_header_and_empty_lines():
    text = 'heat,load\n1,2\n\n [3, 4.5]\n{"load": 6, "heat": 5}\n -1e3 , +7\n'
    assert read(text, channels=("heat", "load")) == [[1, 2], [3, 4.5], [5, 6], [-1000, 7]]
    assert read("5\n[6]\n", width=1) == [[5], [6]]


def test_what_spreadsheets_write():
    assert read('\ufeff"heat","load"\n"1", "2.5"\n', channels=("heat", "load")) == [[1, 2.5]]
    assert read("\ufeff1,2") == [[1, 2]]
    with pytest.raises(InputError, match="line 1"):
        read('1,"2')


def test_missing_values_are_nan():
    rows = read('1,\nnan,2\n[null, 3]\n{"b": 4}', channels=("a", "b"))
    np.testing.assert_array_equal(rows, [[1, np.nan], [np.nan, 2], [np.nan, 3], [np.nan, 4]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n3", "line 2: 1 values, expected 2"),
        ("1,2\nx,3", "line 2: 'x' is not a number"),
        ("a,b,c", "line 1: 'a' is not a number"),
        ("[1,", "line 1: not valid JSON"),
        ('[1, "2"]', "line 1: '2' is not a number"),
        ("[true, 1]", "line 1: True is not a number"),
        ('{"a": 1}', "line 1: an object needs channel names"),
        ("[1, 1" + "0" * 400 + "]", "line 1: a number is too large"),
        ("[" * 100_000, "line 1"),
        ("1" * (1 << 21), "line 1 has more than"),
    ],
)
def test_bad_lines_are_named(text, said):
    with pytest.raises(InputError) as error:
        read(text)
    assert said in str(error.value) and len(str(error.value)) < 300


def test_an_unknown_channel_is_named():
    with pytest.raises(InputError, match="unknown channel 'c'; the model has a, b"):
        read('{"c": 1}', channels=("a", "b"))


def test_lines_are_read_one_at_a_time():
    def endless():
        while True:
            yield "1,2"

    source = lines.samples(endless(), 2)
    assert [list(next(source)) for _ in range(3)] == [[1, 2]] * 3


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_answers_read_back_as_the_same_float32(values):
    y = np.array(values, np.float32)
    csv = lines.answer((y.astype(np.float64),), ("y",), ((),), as_json=False)
    np.testing.assert_array_equal(np.array(csv.split(","), np.float32), y)
    told = json.loads(lines.answer((y,), ("y",), ((),), as_json=True))
    np.testing.assert_array_equal(np.array(told["y"], np.float32), y)


def test_labels():
    y, z = np.array([0.25, 0.75]), np.array([1.0])
    assert lines.answer((y,), ("y",), (("calm", 'storm, "big"'),), as_json=False) == '0.25,0.75,"storm, ""big"""'
    assert json.loads(lines.answer((y,), ("y",), (("calm", "storm"),), as_json=True))["label"] == "storm"
    both = json.loads(lines.answer((y, z), ("y", "z"), (("calm", "storm"), ()), as_json=True))
    assert both == {"y": [0.25, 0.75], "z": [1.0], "label": {"y": "storm"}}
