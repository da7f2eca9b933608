"""The comparison with peers: what it refuses to time, and what it makes of the figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import compare_peers
from peers import cases, check, measure, nets, render

TINY = cases.Case("3-4", 3, (4, 4), 2)


def test_float_answers_must_be_right():
    exact = np.sin(np.arange(12.0)).reshape(6, 2)
    assert check.judge(exact + 1e-6, exact, quantized=False).error == pytest.approx(1e-6)
    with pytest.raises(check.WrongError, match="0.002 off the float64 reference"):
        check.judge(exact + 2e-3, exact, quantized=False)
    with pytest.raises(check.WrongError, match="shape"):
        check.judge(exact[1:], exact, quantized=True)
    with pytest.raises(check.WrongError, match="not finite"):
        check.judge(np.full_like(exact, np.nan), exact, quantized=True)


def test_quantized_answers_have_decibels():
    exact = np.ones((10, 2))
    assert check.judge(exact + 0.01, exact, quantized=True).decibels == pytest.approx(40)
    with pytest.raises(check.WrongError, match="more error than signal"):
        check.judge(-exact, exact, quantized=True)
    with pytest.raises(check.FloatError, match="as floats"):
        check.judge(exact + 1e-6, exact, quantized=True)


def test_a_wrong_peer_is_refused_and_a_right_one_timed(tmp_path, capsys):
    folder = cases.write(TINY, tmp_path)
    rows = measure.case(folder, ["NumPy"], 2, 1e-4, subprocess.DEVNULL)
    assert [row["mode"] for row in rows] == [nets.STREAM, nets.SEQ]
    assert all(row["error"] < 1e-5 and len(row["rounds"]) == 2 and 0 < row["low"] <= row["median"] for row in rows)
    y = np.load(folder / "y.npy")
    y[-1, -1] += 0.01
    np.save(folder / "y.npy", y)
    rows = measure.case(folder, ["NumPy"], 2, 1e-4, subprocess.DEVNULL)
    assert all(row["why"].startswith("refused: float answers 0.01 off") and "median" not in row for row in rows)
    assert "REFUSED 3-4: NumPy float, by hand, stream" in capsys.readouterr().err


def test_a_peer_that_cannot_run_is_listed(tmp_path):
    folder = cases.write(TINY, tmp_path)
    (row,) = measure.case(folder, ["RTNeural"], 1, 1e-4, subprocess.DEVNULL)[:1]
    assert "median" not in row and row["why"]


def result():
    def row(peer, form, quantized, mode, median, **more):
        return {
            "peer": peer,
            "form": form,
            "quantized": quantized,
            "mode": mode,
            "median": median,
            "low": median,
        } | more

    rows = [
        row("EdgeLSTM", "s8", True, "stream", 0.5, decibels=44.4),
        row("EdgeLSTM", "f32", False, "stream", 1.0, decibels=130.0),
        row("A", "int8", True, "stream", 5.0, decibels=31.0),
        row("B", "int8", True, "stream", 6.0, decibels=50.0),
        row("B", "float", False, "stream", 3.5, decibels=130.0),
        row("EdgeLSTM", "s8", True, "seq", 0.25, decibels=44.4),
        row("B", "int8", True, "seq", 0.5, decibels=50.0),
        row("EdgeLSTM in C", "s8 integers", True, "call", 0.3, decibels=44.4),
        row("the limit", "s8 avx512vnni", True, "call", 0.2),
        {"peer": "A", "form": "int8", "quantized": True, "mode": "seq", "why": "one step a call"},
    ]
    load = {"median": 100.0, "low": 90.0, "ratio": 1.0, "highest": 1.05}
    return {
        "about": {
            "date": "2000-01-01",
            "command": "python tools/compare_peers.py",
            "cpu": "a CPU",
            "kernels": "avx512vnni",
            "cores": 2,
            "python": "3.11",
            "versions": {"EdgeLSTM": "0"},
            "rounds": 3,
            "turn": 0.01,
            "minutes": 1.0,
        },
        "cases": {"8-16": rows},
        "array": {"8-16": 0.4},
        "footprint": [
            {"peer": "EdgeLSTM", "form": "s8", "installed": 1.25, "import": 2.0, "memory": 30.0, "first": 100.0},
            {"peer": "A", "why": "cannot be run here"},
        ],
        "data": {"inputs": 32, "units": 64, "steps": 1000, "kinds": {"f32": {"noise": load}}},
        "streams": [{"case": "64-128", "kind": "f32", "streams": 16, "together": 50.0, "alone": 100.0}],
    }


def test_numbers_stand_on_one_line():
    kept = {"rounds": [1.5, 2e-05], "names": ["a", "b"]}
    assert json.loads(compare_peers.text(kept)) == kept
    assert '"rounds": [ 1.5, 2e-05 ]' in compare_peers.text(kept)


def test_tables():
    text = render.markdown(result())
    assert (
        "| 8-16 | 0.500 (0.500) 44 dB | 5.00 (5.00) 31 dB, A int8 | **10.00** (10.00) "
        "| 1.00 (1.00) | 3.50 (3.50), B float | **3.50** (3.50) | **2.00** (2.00) |" in text
    )
    assert "| B int8 | 0.500 (0.500) 50 dB |" in text
    assert "**1.50** (1.50) of 0.200" in text
    assert "| EdgeLSTM | s8 | 1.2 | 2 | 30 | 100 |" in text
    assert "| A | cannot be run here | - | - | - | - |" in text
    assert "| 64-128 | f32 | 50 | 100 | **2.00** |" in text
    assert "* seq, all nets: A int8: one step a call" in text


def test_the_page_keeps_what_others_wrote(tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / render.PAGE
    page.parent.mkdir()
    page.write_text("# Before\n\nKept.\n", "utf-8")
    kept = json.loads(json.dumps(result()))
    render.write(kept, tmp_path)
    page.write_text(page.read_text("utf-8") + "\n## After\n", "utf-8")
    once = page.read_text("utf-8")
    assert once.startswith("# Before\n\nKept.\n") and "## Beside other runtimes" in once
    figure = (tmp_path / render.FIGURE).read_bytes()
    assert b"one step from Python, quantized" in figure
    render.write(kept, tmp_path)
    assert page.read_text("utf-8") == once
    assert (tmp_path / render.FIGURE).read_bytes() == figure
    kept["about"]["date"] = "2001-01-01"
    render.write(kept, tmp_path)
    assert page.read_text("utf-8") == once.replace("2000-01-01", "2001-01-01")
