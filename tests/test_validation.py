"""Validation: sound models pass, planted faults fail, and what is missing is said in one line."""

import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from around import of
from nets import signal, stack, two_heads

import edgelstm.importers
from edgelstm import Runner, converter, pack, peers, quantize, recording, reference, save
from edgelstm.errors import CheckpointError, InputError, MissingError, PeerError
from edgelstm.exporters import tflite
from edgelstm.importers import tflite_settings
from edgelstm.layers import Activation, Embedding, Lstm, Rnn
from edgelstm.model import Meta
from edgelstm.peer_process import Answers
from edgelstm.validation import beside, longrun, validate
from edgelstm.validation.data import random_walks

GOLDEN = Path(__file__).parent / "golden"
needs_runtime = pytest.mark.skipif(not peers.runtimes(), reason="no TFLite runtime has a wheel for this Python")

MODEL = stack(3, (9,), 4)
X = signal((6, 12, 3))


@pytest.fixture
def no_tflite(monkeypatch):
    """Without a TFLite runtime, which also makes a validation quick."""
    monkeypatch.setattr(peers, "_usable", lambda name: False)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Long runs that are not."""
    monkeypatch.setattr(longrun, "STEPS", 120)


def variants(report):
    return [row.variant for row in report.rows]


# ---- what passes ----


@needs_runtime
def test_everything_side_by_side():
    report = validate(MODEL, MODEL, X, samples=X)
    assert report.passed and (report.sequences, report.steps) == (6, 12)
    assert variants(report) == ["f32", "s8", "TFLite float", "TFLite dynamic", "TFLite int8"]
    assert [row.passed for row in report.rows] == [True, True, None, None, None]
    decibels = [row.difference.decibels for row in report.rows]
    assert min(decibels[0], decibels[2]) > 110 and min(decibels) > 20
    assert any(peers.runtimes()[0] in note for note in report.notes)


@pytest.mark.usefixtures("no_tflite")
def test_an_image_is_taken_as_a_file_as_bytes_and_as_a_model(tmp_path):
    small = quantize(MODEL, X)
    save(small, tmp_path / "m.elstm")
    found = [
        validate(model, MODEL, X) for model in (small, pack(small), tmp_path / "m.elstm", str(tmp_path / "m.elstm"))
    ]
    assert all(report.rows == found[0].rows and report.passed for report in found)
    assert found[2] == found[3] and found[2].subject.startswith("m.elstm, s8, ")
    assert variants(found[0]) == ["f32", "s8"]
    assert variants(validate(pack(MODEL), MODEL, X)) == ["f32"]


@pytest.mark.usefixtures("no_tflite")
def test_several_inputs_and_outputs(tmp_path):
    model = two_heads()
    xs = (signal((5, 8, 4)), signal((5, 8, 2), 1))
    report = validate(model, model, xs, samples=xs)
    assert [(row.variant, row.output) for row in report.rows] == [
        ("f32", "y1"), ("f32", "y2"), ("s8", "y1"), ("s8", "y2"),
    ]  # fmt: skip
    np.savez(tmp_path / "xs.npz", x=xs[0], u=xs[1])
    ys = Runner(model).run(xs)
    np.savez(tmp_path / "ys.npz", y1=ys[0], y2=ys[1])
    recorded = validate(model, tmp_path / "ys.npz", tmp_path / "xs.npz")
    assert recorded.passed and all(row.difference.max_error == 0 for row in recorded.rows if row.passed is not None)
    assert validate(model, ys, xs).rows == recorded.rows


@pytest.mark.usefixtures("no_tflite")
def test_recorded_answers(tmp_path):
    y = reference.run(MODEL, (X,))[0].astype(np.float32)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "x.npy", X)
    assert validate(MODEL, tmp_path / "y.npy", tmp_path / "x.npy").passed
    assert validate(MODEL, y[0], X[0]).passed and validate(MODEL, y[:1], X[0]).passed
    with pytest.raises(InputError, match="data"):
        validate(MODEL, y)
    with pytest.raises(InputError, match="shape"):
        validate(MODEL, y[:3], X)
    with pytest.raises(InputError, match="outputs"):
        validate(MODEL, (y, y), X)


@needs_runtime
def test_tflite_file_as_reference(tmp_path):
    path = tmp_path / "m.tflite"
    tflite.write(MODEL, path, steps=12)
    report = validate(MODEL, path, X)
    assert report.passed and report.rows[0].required.startswith("max error") and "m.tflite in" in report.reference
    tflite.write(MODEL, path, "int8", X, steps=12)
    report = validate(pack(MODEL), path, X)
    # its answers are of int8 precision, so no float model comes within 5e-6
    assert report.passed and report.rows[0].required == "at least 20 dB" and report.rows[0].difference.max_error > 1e-4


@pytest.mark.usefixtures("no_tflite")
def test_a_live_torch_like_module_and_checkpoints_run_through_peers(monkeypatch):
    """The reference's own answers count, not the imported model's."""
    path = GOLDEN / "keras" / "keras315_outputs.keras"
    model = edgelstm.importers.read(path)
    calls = []

    def run(path, xs, **options):
        calls.append(options)
        return Answers(tuple(y + 1 for y in reference.run(model, xs)), "Keras 3")

    monkeypatch.setattr(peers, "run_checkpoint", run)
    report = validate(model, path)
    assert not report.passed and "keras315_outputs.keras in Keras 3" in report.reference and len(calls) == 1


# ---- what fails ----


@pytest.mark.usefixtures("no_tflite")
@pytest.mark.parametrize("number_type", ["f32", "s8"])
@pytest.mark.parametrize("fault", ["gates swapped", "bias lost", "another activation", "units dead"])
def test_planted_faults_fail(fault, number_type):
    layer, head = MODEL.layers[0], MODEL.layers[-1]
    if fault == "gates swapped":
        order = [0, 2, 1, 3]
        wrong = replace(layer, kernel=layer.kernel[order], recurrent=layer.recurrent[order], bias=layer.bias[order])
    elif fault == "bias lost":
        wrong = replace(layer, bias=np.zeros_like(layer.bias))
    elif fault == "another activation":
        wrong = replace(layer, activation=Activation("relu"))
    else:
        kernel = head.kernel.copy()
        kernel[:, :3] = 0
        head, wrong = replace(head, kernel=kernel), layer
    faulty = replace(MODEL, layers=(wrong, *MODEL.layers[1:-1], head))
    report = validate(quantize(faulty, X) if number_type == "s8" else pack(faulty), MODEL, X)
    (row,) = [row for row in report.rows if row.variant == number_type]
    assert row.passed is False and not report.passed
    if number_type == "s8":  # the float model beside it is the reference's own, and shows that conversion is to blame
        assert report.rows[0].passed


@pytest.mark.usefixtures("no_tflite")
def test_a_state_that_is_not_reset_would_be_noticed():
    x = signal((4, 3, 3))
    assert validate(MODEL, MODEL, x).passed
    carried = Runner(MODEL)
    y = np.concatenate([carried.run(each[None], carry=True) for each in x])
    assert not validate(MODEL, y, x).passed
    assert np.allclose(y[0], reference.run(MODEL, (x,))[0][0], atol=1e-6)  # the first sequence alone is right


@pytest.mark.usefixtures("no_tflite")
def test_thresholds_are_the_callers_to_set():
    small = quantize(MODEL, X)
    decibels = validate(small, MODEL, X).rows[1].difference.decibels
    assert validate(small, MODEL, X, decibels=decibels - 0.1).passed
    assert not validate(small, MODEL, X, decibels=decibels + 0.1).passed
    error = validate(MODEL, MODEL, X).rows[0].difference.max_error
    assert error > 0 and not validate(MODEL, MODEL, X, limit=error / 2).passed
    with pytest.raises(InputError):
        validate(MODEL, MODEL, X, kernels="abacus")


# ---- what is missing ----


@pytest.mark.usefixtures("no_tflite")
def test_no_tflite_runtime_is_one_note():
    report = validate(MODEL, MODEL, X)
    notes = [note for note in report.notes if "TFLite" in note]
    assert len(notes) == 1 and 'pip install "edgelstm[tflite]"' in notes[0] and "\n" not in notes[0]
    assert report.passed and variants(report) == ["f32"]
    with pytest.raises(MissingError):
        validate(MODEL, MODEL, X, runtime="ai-edge-litert")


def test_no_flatbuffers_is_one_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    notes = [note for note in validate(MODEL, MODEL, X).notes if "flatbuffers" in note]
    assert len(notes) == 1 and "pip install" in notes[0]


def test_what_tflite_cannot_express_is_one_note():
    model = stack(3, (9,), activation=Activation("relu"))
    notes = [note for note in validate(model, model, X).notes if "lstm0" in note]
    assert len(notes) == 1 and "relu" in notes[0]


@pytest.mark.usefixtures("no_tflite")
@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (MissingError("needs Keras: pip install tensorflow; pip install --no-deps tf_keras"),
         "run pip install tensorflow && pip install --no-deps tf_keras"),
        (PeerError("Keras fell over"), "give recorded answers, or the live module,"),
    ],
)  # fmt: skip
def test_a_framework_that_is_missing_or_fails_is_stood_in_for(error, remedy, monkeypatch):
    def run(*args, **options):
        raise error

    monkeypatch.setattr(peers, "run_checkpoint", run)
    path = GOLDEN / "keras" / "keras315_outputs.keras"
    report = validate(edgelstm.importers.read(path), path)
    assert report.passed and "float64" in report.reference
    assert sum(str(error) in note for note in report.notes) == 1
    assert not report.independent
    last = f"passed, against this package's own reading alone; {remedy} to check it independently"
    assert report.verdict == report.lines[-1] == last


@pytest.mark.usefixtures("no_tflite")
def test_the_verdict_tells_whose_answers_it_rests_on(monkeypatch):
    assert "own reading alone; give its checkpoint" in validate(MODEL, MODEL, X).verdict
    y = reference.run(MODEL, (X,))[0].astype(np.float32)
    assert validate(MODEL, y, X).independent and validate(MODEL, y, X).verdict == "passed"
    path = GOLDEN / "keras" / "keras315_outputs.keras"
    model = edgelstm.importers.read(path)
    monkeypatch.setattr(peers, "call", lambda f, p, xs, *a, **o: Answers(reference.run(model, xs), "Keras 3"))
    assert validate(model, path).independent and validate(model, path).lines[-1] == "passed"


@pytest.mark.usefixtures("no_tflite")
def test_what_could_run_code_needs_trust(monkeypatch):
    """What the importer refuses is not given to its framework, unless the caller says so."""
    calls = []

    def call(function, path, *args, **options):
        calls.append(function)
        return Answers(reference.run(MODEL, (X,)), "torch 9")

    monkeypatch.setattr(peers, "call", call)
    path = GOLDEN / "torch" / "refused_script.pt"
    with pytest.raises(CheckpointError, match=r"TorchScript.*trust=True \(--trust\)"):
        validate(MODEL, path, X)
    assert not calls
    assert validate(MODEL, path, X, trust=True).passed and calls == ["torch_file"]


@pytest.mark.usefixtures("no_tflite")
def test_a_state_dict_is_compared_with_its_import():
    path = GOLDEN / "torch" / "activity.pt"
    head = "sequence,relu,softmax"
    report = validate(edgelstm.importers.read(path, head=head), path, head=head)
    assert report.passed and any("no code to run" in note for note in report.notes)


@pytest.mark.usefixtures("no_tflite")
def test_a_checkpoint_only_its_framework_reads(monkeypatch):
    path = GOLDEN / "torch" / "refused_script.pt"
    monkeypatch.setattr(peers, "run_checkpoint", lambda path, xs, **o: Answers(reference.run(MODEL, xs), "torch 9"))
    report = validate(MODEL, path, X)
    assert report.passed and any("TorchScript" in note for note in report.notes)

    def run(*args, **options):
        raise MissingError("pip install torch")

    monkeypatch.setattr(peers, "run_checkpoint", run)
    with pytest.raises(CheckpointError, match=r"TorchScript.*pip install torch"):
        validate(MODEL, path, X)


# ---- what spoils a .tflite reference ----


@needs_runtime
def test_a_clip_in_the_reference_is_told(tmp_path):
    """As TFLite's converter adds it: the cell of this model grows beyond it, and the file is wrong, not the model."""
    path = tmp_path / "m.tflite"
    clipped = replace(MODEL, layers=(replace(MODEL.layers[0], cell_clip=0.2), *MODEL.layers[1:]))
    tflite.write(clipped, path, steps=12)
    report = validate(pack(MODEL), path, X)
    assert not report.passed
    assert "clips its cells at 0.2" in report.advice[0] and "export-tflite writes no clip" in report.advice[0]
    (row,) = [row for row in report.rows if row.variant == "f32"]
    clipped_at, lifted = (float(n) for n in re.findall(r"(-?[\d.]+) dB", report.advice[0]))
    assert abs(clipped_at - row.difference.decibels) < 2 and lifted > 110
    assert "changes its answers by up to" in report.advice[0]
    assert any("clips" in said for said in validate(pack(MODEL), path, 1e-3 * X).advice)
    tflite.write(replace(MODEL, layers=(replace(MODEL.layers[0], cell_clip=50.0), *MODEL.layers[1:])), path)
    (note,) = [note for note in validate(pack(MODEL), path, X).notes if "clips" in note]
    assert "changes nothing" in note


@needs_runtime
def test_a_cell_scale_tflite_cannot_do_is_told(tmp_path, monkeypatch):
    path = tmp_path / "m.tflite"
    tflite.write(MODEL, path, "int8", X, steps=12)
    found = tflite_settings.read(path.read_bytes())
    monkeypatch.setattr(tflite_settings, "read", lambda data: [replace(one, cell_scale=2.0**-16) for one in found])
    assert any("skips its tanh" in said for said in validate(MODEL, path, X).advice)


@needs_runtime
def test_a_file_without_its_clip_runs_where_the_file_did(tmp_path, monkeypatch):
    """The first runtime may not know its operators."""
    path = tmp_path / "m.tflite"
    clipped = replace(MODEL, layers=(replace(MODEL.layers[0], cell_clip=0.2), *MODEL.layers[1:]))
    tflite.write(clipped, path, steps=12)
    run, known = peers.run_tflite, peers.runtimes()[0]

    def second(path, xs, runtime=None, **more):
        if runtime != known:
            raise PeerError("Didn't find op")
        return run(path, xs, runtime, **more)

    monkeypatch.setattr(peers, "runtimes", lambda: ["older", known])
    monkeypatch.setattr(peers, "run_tflite", second)
    assert any("without the clip" in said for said in validate(pack(MODEL), path, X).advice)


@needs_runtime
def test_what_the_official_converter_makes_is_shown_and_its_clip_told(tmp_path, monkeypatch):
    """A stand-in that writes a clip and dies of int8."""
    path = recording.DATA / "machine_temp.keras"
    model = edgelstm.importers.read(path)
    x = signal((4, 10, model.width(model.inputs[0])))
    clipped = replace(
        model, layers=tuple(replace(a, cell_clip=0.05) if isinstance(a, Lstm) else a for a in model.layers)
    )
    file = tflite.build(clipped, steps=10)
    made = {"float": converter.Conversion("float", "TensorFlow 9's converter", file, "", (0,), (0,))}
    for kind in ("dynamic", "int8"):
        made[kind] = converter.Conversion(kind, "TensorFlow 9's converter", None, f"it died on kind {kind}")
    monkeypatch.setattr(converter, "maker", lambda path: "TensorFlow 9's converter")
    monkeypatch.setattr(converter, "convert", lambda path, xs, kinds, **more: {kind: made[kind] for kind in kinds})
    monkeypatch.setattr(peers, "run_checkpoint", lambda path, xs, **more: Answers(reference.run(model, xs), "Keras 3"))
    report = validate(model, path, x, converter=True, drift_steps=0)
    assert report.passed and "converter float" in variants(report) and "converter int8" not in variants(report)
    assert [one.made for one in report.converted] == [True, False, False]
    assert "it died on kind int8" in report.lines
    (said,) = [one for one in report.advice if "clips its cells at 0.05" in one]
    assert "the float file of TensorFlow 9's converter" in said and "without the clip" in said
    against = validate(model, path, x, by="converter", drift_steps=0)
    assert not against.passed and "the float file of TensorFlow 9's converter" in against.reference
    with pytest.raises(PeerError, match="it died on kind int8"):
        validate(model, path, x, by="converter", kind="int8")
    with pytest.raises(InputError, match="takes a Keras checkpoint"):
        validate(model, model, x, converter=True)


def test_samples_become_as_long_as_what_the_converter_fixes():
    """It makes files for the data's number of steps, and takes ranges from sequences that long."""
    x = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    data = [np.zeros((4, 2, 3), np.float32)]
    (found,) = beside.windows(x, data)
    assert found.shape == (4, 2, 3) and (found[0] == x[0, :2]).all() and (found[3] == x[1, 2:4]).all()
    assert (beside.windows([x[0], x[1, :3]], data)[0] == np.stack([x[0, :2], x[0, 2:4], x[1, :2]])).all()
    assert (beside.windows(x[0], data)[0] == x[:1, :4].reshape(2, 2, 3)).all()
    assert beside.windows(x[:, :1], data) is None and beside.windows(None, data) is None
    start = [np.zeros((4, 2, 3), np.float32), np.zeros((4, 7), np.float32)]
    found, state = beside.windows((x, np.ones((2, 7))), start)
    assert found.shape == (2, 2, 3) and state.shape == (2, 7)


# ---- data ----


@pytest.mark.usefixtures("no_tflite")
def test_data_of_its_own_stay_in_range(monkeypatch):
    seen = []
    run = Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, xs, *a, **o: seen.append(xs) or run(self, xs, *a, **o))
    model = replace(MODEL, meta=Meta(window=7))
    low, high = float(X.min()), float(X.max())
    reach = max(-low, high)
    for given, options, bounds in (
        (model, {}, (-1, 1)),
        (quantize(model, X), {}, (-reach, reach)),
        (model, {"samples": X}, (low, high)),
    ):
        seen.clear()
        report = validate(given, model, **options)
        (x,) = seen[0]
        assert report.passed and x.shape == (16, 7, 3) and x.dtype == np.float32
        assert np.allclose((x.min(), x.max()), bounds, rtol=1e-4)
        assert any("random walks" in note for note in report.notes)
        assert validate(given, model, **options) == report  # seeded


@pytest.mark.usefixtures("no_tflite")
def test_inputs_are_what_a_run_takes():
    """A sequence beside a single row, and ids without an axis of one value."""
    random = np.random.default_rng(0)
    rnn = [random.uniform(-0.5, 0.5, shape) for shape in ((4, 3), (4, 4), (4,))]
    started = of({"x": 3, "h0": 4}, [Rnn("r", ("x", "h0"), ("y",), *rnn, initial=True)], ["y"], single=("h0",))
    h0 = signal((6, 4), 1)
    report = validate(started, started, (X, h0), samples=(X, h0))
    assert variants(report) == ["f32", "s8"] and (report.sequences, report.steps) == (6, 12)
    assert report.rows[0].passed
    assert validate(started, started, (X[0], h0[0])).sequences == 1
    assert validate(started, started).passed
    with pytest.raises(InputError, match="disagree"):
        validate(started, started, (X, h0[:5]))

    words = of({"ids": 1}, [Embedding("e", ("ids",), ("v",), random.uniform(-1, 1, (9, 3))),
                            Rnn("r", ("v",), ("y",), *rnn)], ["y"])  # fmt: skip
    ids = random.integers(0, 9, (5, 8))
    assert validate(words, words, ids) == validate(words, words, ids[..., None])
    assert validate(words, words).passed


def test_random_walks_are_slow():
    x, u = random_walks([2, 1], [(0, 1), (5, 9)], 4, 200, seed=3)
    assert x.shape == (4, 200, 2) and x.min() == 0 and x.max() == 1
    assert np.abs(np.diff(x, axis=1)).mean() < 0.25 * x.std()
    assert np.isclose(u.min(), 5) and np.isclose(u.max(), 9)


@pytest.mark.usefixtures("no_tflite")
@pytest.mark.parametrize(
    "data",
    [
        X[..., :2],
        X[0, 0],
        np.full((2, 3, 3), np.nan),
        np.zeros((2, 0, 3)),
        X.astype(complex),
        (X, X),
        "none.npy",
    ],
)
def test_data_that_do_not_fit_are_refused(data):
    with pytest.raises(InputError):
        validate(MODEL, MODEL, data)


@pytest.mark.usefixtures("no_tflite")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"decibels": 99}, "`decibels` is of int8"),
        ({"runtime": "ai-edge-litert"}, "`runtime` chooses"),
        ({"runtime": "nonsense"}, "unknown TFLite runtime"),
        ({"trust": True}, "`trust` lets"),
        *(({name: math.nan}, f"`{name}` is nan") for name in ("limit", "decibels", "cosine", "agreement", "drift")),
        *(({name: math.nan}, f"`{name}` is nan") for name in ("accuracy_drop", "rmse_rise", "saturation", "timeout")),
        *(({name: -1}, f"`{name}` is -1") for name in ("limit", "agreement", "accuracy_drop", "rmse_rise")),
        *(({name: 2}, f"`{name}` is 2, expected") for name in ("cosine", "agreement", "saturation")),
    ],
)
def test_demands_that_judge_nothing_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        validate(MODEL, Runner(MODEL).run(X), X, **options)


@pytest.mark.usefixtures("no_tflite")
def test_what_is_empty_or_not_finite_is_named():
    y = Runner(MODEL).run(X)
    y[1, 2] = np.nan
    with pytest.raises(InputError, match="output y: the answers of recorded answers hold NaN"):
        validate(MODEL, y, X)
    for x, none in ((X[:0], "sequences"), (X[:, :0], "steps")):
        with pytest.raises(InputError, match=f"it holds no {none}"):
            validate(MODEL, y, x)


@pytest.mark.usefixtures("no_tflite")
def test_a_limit_of_floats_needs_floats():
    small = quantize(MODEL, X)
    y = Runner(small).run(X)
    with pytest.raises(InputError, match="`limit` is of f32"):
        validate(small, y, X, limit=0)
    assert validate(small, y, X, decibels=99).passed
    assert validate(small, MODEL, X, limit=1, decibels=1).passed  # the float model stands beside it


@pytest.mark.usefixtures("no_tflite")
def test_arguments_without_effect_are_refused(tmp_path):
    y = Runner(MODEL).run(X)
    with pytest.raises(InputError, match="samples"):
        validate(quantize(MODEL, X), y, X, samples=X)
    with pytest.raises(InputError, match="head"):
        validate(MODEL, MODEL, X, head="relu")
    with pytest.raises(InputError, match="inputs"):
        validate(MODEL, stack(2, (9,), 4), X)
    with pytest.raises(InputError, match="output"):
        validate(MODEL, stack(3, (9,), 2), X)
    for name in ("none.keras", "."):
        with pytest.raises(CheckpointError):
            validate(MODEL, tmp_path / name, X)
    with pytest.raises(InputError, match="torch module"):
        validate(MODEL, object(), X)
