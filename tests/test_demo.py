"""The demo: its data, the rule for alarms, its figures as docs/demo.md records them, its view; and without TFLite."""

import hashlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgelstm import demo, peers, recording
from edgelstm.cli import main
from edgelstm.errors import InputError, MissingError
from edgelstm.runner import Runner

DOCS = Path(__file__).parent.parent / "docs"
DATA = recording.load()
needs_tflite = pytest.mark.skipif(not peers.runtimes(), reason="no TFLite runtime has a wheel for this Python")


def part(first, last):
    """Some of the recording, as one of its own."""

    def moved(stretch):
        return slice(max(stretch.start - first, 0), min(stretch.stop, last) - first)

    inside = [(a - first, b - first) for a, b in DATA.windows if first <= a and b < last]
    return replace(
        DATA,
        times=DATA.times[first:last],
        values=DATA.values[first:last],
        windows=tuple(inside),
        fit=moved(DATA.fit),
        quiet=moved(DATA.quiet),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def events(folder):
    """The whole job, once."""
    return list(demo.run(folder))


@pytest.fixture(scope="module")
def result(events):
    return events[-1]


# ---- the data ----


def test_the_recording_is_unrepaired():
    """The checksum is that of the CSV file's two columns, its own being 92bf5b87...82a4 (SHA-256)."""
    columns = DATA.times.astype("<i8").tobytes() + DATA.values.astype("<f4").tobytes()
    assert hashlib.sha256(columns).hexdigest() == "8145d650fa5546e1ddf8153c53299a521ae520510a10afa99ff139852149952d"
    assert len(DATA.times) == len(DATA.values) == 22695
    steps = np.diff(DATA.times).astype(int)
    assert (steps != recording.PERIOD).sum() == 1 and steps.min() == -55 * 60


def test_the_notice_lies_beside_it():
    assert "Copyright 2014-2024 Numenta Inc." in (recording.DATA / "LICENSE.txt").read_text()
    assert "github.com/numenta/NAB" in (recording.DATA / "README.md").read_text()
    assert sum(file.stat().st_size for file in recording.DATA.iterdir()) < 400_000


def test_nothing_is_scored_that_was_learnt_from():
    assert len(DATA.windows) == 4
    assert not DATA.labelled[DATA.fit].any() and not DATA.labelled[DATA.quiet].any()
    assert DATA.fit.stop == DATA.quiet.start
    assert DATA.scored.sum() == len(DATA.values) - (DATA.quiet.stop - DATA.fit.start)


# ---- the rule ----


def test_the_score_is_the_mean_error_of_an_hour():
    errors = np.random.default_rng(0).standard_normal(50)
    found = recording.scores(np.concatenate([[np.nan, np.nan], errors]))
    assert np.isnan(found[: 2 + recording.HOUR - 1]).all()
    expected = [abs(errors[k - 12 : k].mean()) for k in range(12, 51)]
    np.testing.assert_allclose(found[13:], expected, atol=1e-12)


def test_the_threshold_keeps_to_its_budget():
    """Half-days whose maxima are Gumbel pass it once a month."""
    random = np.random.default_rng(1)
    blocks = 20000
    peaks = random.gumbel(2.0, 0.3, blocks)
    quiet = np.repeat(peaks, recording.DAY // 2)
    limit = recording.threshold(quiet)
    passed = (peaks > limit).sum() / (blocks / 60)
    assert 0.8 < passed < 1.2


def test_alarms_are_judged_by_the_labels():
    count = 20 * recording.DAY
    data = recording.Recording(
        np.arange(count) * np.timedelta64(300, "s") + np.datetime64("2024-01-01", "s"),
        np.zeros(count),
        ((1000, 1200), (3000, 3100), (5000, 5100)),
        slice(2000, 2200),
        slice(2200, 2400),
    )
    score = np.zeros(count)
    score[:12] = np.nan
    score[[100, 300, 1100, 1110, 2100, 2300, 2990, 3005]] = (3, 4, 5, 6, 9, 9, 3, 3)
    score[4000] = 2.0  # not above
    found = recording.judge(data, score, 2.0)
    assert [(a.first, a.last, a.peak, a.windows) for a in found.alarms] == [
        (100, 300, 4, ()),  # less than a day between: one alarm; no label near
        (1100, 1110, 6, (0,)),
        (2990, 3005, 3, (1,)),  # raised before the window, still on in it; 2100 and 2300 are not scored
    ]
    assert found.found == (0, 1) and found.false_alarms == 1
    assert found.days == (count - 400 - 201 - 101 - 101) / recording.DAY
    assert found.false_a_month == pytest.approx(30 / found.days)
    assert recording.judge(data, score, 99.0).alarms == ()


# ---- the job ----


def rows(title):
    """The rows of a table in docs/demo.md by their first cell, the other cells as text."""
    text = (DOCS / "demo.md").read_text("utf-8")
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|")
    found = {}
    for first, *rest in cells:
        found.setdefault(first, rest)  # of two tables the first
    return found


def test_the_figures_are_those_of_the_docs(result):
    table = rows("What came out")
    for one in result.passes:
        rmse, normal, found, false = table[f"{demo.NAMES[one.type]}, {demo.MODES[one.carry]}"]
        assert one.rmse == pytest.approx(float(rmse), abs=0.01)
        assert one.rmse_normal == pytest.approx(float(normal), abs=0.005)
        assert f"{len(one.verdict.found)} of {len(DATA.windows)}" == found
        assert f"{one.verdict.false_a_month:.2f}" == false
    assert result.persistence == pytest.approx(float(table["persistence"][0]), abs=0.001)
    assert result.persistence_normal == pytest.approx(float(table["persistence"][1]), abs=0.001)


def test_it_beats_persistence_where_nothing_is_wrong(result):
    for one in result.passes:
        assert one.rmse_normal < 0.95 * result.persistence_normal


def test_streamed_windows_are_what_the_runner_gives(result, folder):
    main, runner = result.passes[0], Runner(folder / "machine_temp_int8.elstm")
    assert (main.type, main.carry) == ("s8", False)
    targets = np.arange(60, len(DATA.values), 997)
    windows = np.stack([DATA.values[k - 60 : k, None] for k in targets])
    ys = runner.meta.unscale_outputs(runner.run(runner.meta.scale_inputs(windows)))[:, 0]
    np.testing.assert_allclose(main.forecast[targets], ys, atol=1e-4)
    assert np.isnan(main.forecast[:60]).all() and not np.isnan(main.forecast[60:]).any()


def test_every_answer_is_timed_and_the_clock_stepped_back_once(result):
    for one in result.passes:
        assert one.latency.answers == one.counts.answers == 22695 - (0 if one.carry else 59)
        assert 0 < one.latency.p50 <= one.latency.p99 <= one.latency.max
        assert one.counts.backward == 1 and one.counts.skipped == one.counts.resets == 0


def test_validated_and_smaller(result, folder):
    assert result.report.passed
    assert {row.variant for row in result.report.rows} >= {"f32", "s8"}
    sizes = result.sizes
    assert sizes.s8 == (folder / "machine_temp_int8.elstm").stat().st_size < sizes.f32 / 3
    assert sizes.f32 == (folder / "machine_temp.elstm").stat().st_size < sizes.checkpoint
    assert all(file.exists() for file in result.files)


@needs_tflite
def test_beside_tflite(result):
    assert result.peer is not None and result.missing == ""
    rmse = result.peer.rmse
    assert rmse["TFLite float"] == pytest.approx(rmse["f32"], abs=1e-3)
    assert rmse["s8"] < rmse["TFLite int8"]
    assert result.sizes.tflite_int8 < result.sizes.tflite_float


def test_events_tell_the_story(events, result):
    kinds = [type(event) for event in events if not isinstance(event, demo.Step)]
    assert kinds == [demo.Began, demo.Ended] * (len(kinds) // 2) + [demo.Result]
    watched = [event for event in events if isinstance(event, demo.Step) and event.first]
    assert [step.sample for step in watched] == list(range(len(DATA.values)))
    raised = [step.sample for step in watched if step.alarm]
    assert raised == [alarm.first for alarm in result.passes[0].verdict.alarms]
    np.testing.assert_array_equal([step.score for step in watched], result.passes[0].score)


def test_without_tflite_one_line_and_the_rest_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "runtimes", list)
    short = part(3500, 12000)
    *events, result = demo.run(tmp_path, short)
    said = [event.text for event in events if isinstance(event, demo.Ended) and "TFLite" in event.text]
    assert result.peer is None and said == [result.missing] and "\n" not in result.missing
    assert 'pip install "edgelstm[tflite]"' in result.missing
    assert len(result.passes) == 4 and result.report.passed
    assert result.passes[0].verdict.found == (0,)  # the shutdown of 16 December
    assert demo.figure(result, tmp_path / "short.png").stat().st_size > 10_000


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        next(demo.run(tmp_path / "file"))


# ---- the figure ----


def test_the_figure(result, tmp_path):
    path = demo.figure(result, tmp_path / "demo.png")
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") and 40_000 < len(data) < 150_000
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    assert (width, height) == (1000, 640)


def test_a_figure_without_alarms(result, tmp_path):
    calm = replace(result.passes[0], verdict=replace(result.passes[0].verdict, alarms=(), found=()))
    assert demo.figure(replace(result, passes=(calm, *result.passes[1:])), tmp_path / "calm.png").exists()


def test_the_figure_needs_matplotlib(result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.dates", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[figure\]"'):
        demo.figure(result, tmp_path / "demo.png")
    with pytest.raises(InputError, match="cannot be written"):
        monkeypatch.undo()
        demo.figure(result, tmp_path / "missing" / "demo.png")


# ---- the view ----


def show(events, tmp_path, monkeypatch, code=0):
    monkeypatch.setattr(demo, "run", lambda folder: iter(events))
    found = CliRunner().invoke(main, ["demo", "-o", str(tmp_path)], catch_exceptions=False)
    assert found.exit_code == code
    return found.output


def test_the_view(events, result, tmp_path, monkeypatch):
    text = show(events, tmp_path, monkeypatch)
    for event in events:
        if isinstance(event, demo.Ended):
            assert f": {event.text}" in text
    main = result.passes[0]
    assert text.count("▲ alarm") == len(main.verdict.alarms)
    assert text.count("missed") == len(DATA.windows) - len(main.verdict.found)
    for number in (
        main.rmse,
        main.rmse_normal,
        result.persistence,
        *(result.peer.rmse.values() if result.peer else ()),
    ):
        assert f"{number:.3f}" in text
    assert f"{result.sizes.s8:,}" in text and "demo.png" in text
    assert (tmp_path / "demo.png").exists()


def test_the_view_without_matplotlib_and_with_a_failure(events, result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.dates", None)
    bad = replace(result.report.rows[0], passed=False)
    failed = replace(result, report=replace(result.report, rows=(bad,)), peer=None, missing="left out")
    text = show([*events[:2], failed], tmp_path, monkeypatch, code=1)
    assert re.search(r'no figure: .*pip install "edgelstm\[figure\]"', text)
    assert not (tmp_path / "demo.png").exists()
