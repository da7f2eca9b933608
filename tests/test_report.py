"""A report is plain data, tells its verdict, and JSON can hold it."""

import json
import math

import numpy as np

from edgelstm.comparison import above, compare, shown, within
from edgelstm.report import Check, Drift, Layer, Point, Report, Saturation, Task

Y = np.array([[1.0, 2.0]])
EXACT, OFF = compare(Y, Y), compare(Y, Y + 1)
ROWS = (within("f32", "y", EXACT, 5e-6), shown("TFLite int8", "y", OFF))
FAILING = above("s8", "y", OFF, 20)


def report(rows=ROWS, **more):
    return Report("m.elstm, f32", "recorded answers", "X.npy", 1, 2, rows, notes=("a note",), **more)


def test_it_passes_if_all_that_is_judged_does():
    fine, worse = report(), report((*ROWS, FAILING))
    assert fine.passed and not worse.passed
    assert fine.lines[-1] == "passed" and worse.lines[-1] == "FAILED"
    assert any("FAILED (at least 20 dB)" in line for line in worse.lines)
    assert "note: a note" in str(fine).splitlines()
    assert not any("\n" in line for line in worse.lines)
    task = Task("s8", "y", "accuracy", 0.91, "", "at least 0.95", False)
    check = Check("s8: saturated values of lstm, c", "3.1 %", "at most 1 %", False)
    for failed, said in (
        (report(tasks=(task,)), "s8, output y: accuracy 0.91: FAILED (at least 0.95)"),
        (report(checks=(check,)), "s8: saturated values of lstm, c: 3.1 %: FAILED (at most 1 %)"),
    ):
        assert not failed.passed and said in failed.lines
    shown_alone = Task("reference", "y", "RMSE", 0.5, "°C")
    assert report(tasks=(shown_alone,)).passed and "reference, output y: RMSE 0.5 °C" in str(
        report(tasks=(shown_alone,))
    )


def test_it_is_plain_data():
    point = Point(1, 0.1, 0.1, 0.1, math.inf)
    whole = report(
        (*ROWS, FAILING),
        layers=(Layer("s8", "lstm", "h", OFF, None),),
        drift=(Drift("s8", "y", (point,), (point, point)),),
        saturation=(Saturation("s8", "lstm", "c", "s16", 1, 2, 12),),
    )
    plain = json.loads(json.dumps(whole.as_dict(), allow_nan=False))
    assert plain["passed"] is False and plain["notes"] == ["a note"] and plain["sequences"] == 1
    assert plain["independent"] is True and plain["remedy"] == "" and plain["verdict"] == "FAILED"
    assert plain["rows"][0]["difference"]["decibels"] == "inf" and plain["rows"][0]["passed"] is True
    assert plain["rows"][1]["passed"] is None and plain["rows"][2]["required"] == "at least 20 dB"
    assert plain["drift"][0]["points"][0] == {"step": 1, "error": 0.1, "rms": 0.1, "largest": 0.1, "decibels": "inf"}
    assert plain["saturation"][0]["values"] == 12 and whole.saturation[0].share == 0.25


def test_json_tells_the_perfect_from_the_ruined():
    ruined = report((above("s8", "y", compare(Y, Y * np.nan), 20), above("s8", "z", compare(0 * Y, Y), 20)))
    nan, zero = (row["difference"] for row in json.loads(json.dumps(ruined.as_dict(), allow_nan=False))["rows"])
    assert (nan["decibels"], nan["max_error"], nan["rms_error"], nan["cosine"]) == ("-inf", "inf", "inf", None)
    assert (zero["decibels"], zero["max_error"]) == ("-inf", 2.0)


def test_whose_word_it_rests_on_is_told():
    own = report(independent=False, remedy="run pip install tensorflow")
    assert own.passed and own.as_dict()["independent"] is False and own.as_dict()["verdict"] == own.lines[-1]
    assert "passed, against this package's own reading alone; run pip install tensorflow to check" in str(own)
