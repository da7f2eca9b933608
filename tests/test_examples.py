"""The examples run as their pages say, on the committed checkpoints.

The activity recordings may not be shipped, so that example runs here on stand-in data of the same form; the figures of
its page need the data set. Training, and what needs Keras or PyTorch, is in parity/test_examples_parity.py.
"""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nets import signal, stack

import edgelstm
from edgelstm import peers
from edgelstm.errors import MissingError
from edgelstm.model import Meta, Port, Scaler

EXAMPLES = Path(__file__).parents[1] / "examples"
ROOT = EXAMPLES.parent
TUTORIALS = EXAMPLES / "tutorials"
NUMBERS = [f"EdgeLSTM {kind}" for kind in ("f32", "s8")] + [f"TFLite {kind}" for kind in ("float", "int8")]


@pytest.fixture
def load(monkeypatch):
    """Imports a script of examples/ by its path there, as `python` would with the script's folder first."""

    def script(name):
        path = EXAMPLES / name
        monkeypatch.syspath_prepend(path.parent)
        return importlib.import_module(path.stem)

    yield script
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(EXAMPLES)):
            del sys.modules[name]


# ---- the tutorials' models ----


def recorded():
    """The table of tutorials/README.md: (script, metric) -> {way: value}; ways without a value are left out."""
    text = (TUTORIALS / "README.md").read_text()
    table = text[text.index("| script | metric |") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    ways = rows[0][2:]
    return {
        (row[0].strip("`"), row[1]): {way: float(cell) for way, cell in zip(ways, row[2:]) if cell != "-"}
        for row in rows[2:]
    }


def check(results, script, ways):
    """Each metric of these ways is what the page says, to its last digit; int8 to 2 % of it."""
    rows = {metric: values for (name, metric), values in recorded().items() if name == script}
    assert rows
    for metric, values in rows.items():
        assert set(values) >= set(ways), metric
        for way in ways:
            loose = way in ("EdgeLSTM s8", "TFLite int8")
            tolerance = 0.02 * values[way] if loose else 6e-4
            assert results[way][metric] == pytest.approx(values[way], abs=tolerance), (way, metric)


def absent(_path):
    """In place of compare.keras: no Keras here, as on most machines that run the examples."""

    def program(_x):
        raise MissingError("pip install keras")

    return program


@pytest.mark.parametrize(
    ("script", "lacks"), [("relu_cell", ["TFLite int8"]), ("short_windows", []), ("numpy_cell", [])]
)
def test_forecasters_reach_what_their_page_says(load, monkeypatch, script, lacks):
    module = load(f"tutorials/{script}.py")
    monkeypatch.setattr(module.series.compare, "keras", absent)
    results = module.evaluate()
    ways = [w for w in NUMBERS if w not in lacks and (not w.startswith("TFLite") or peers.runtimes())]
    assert set(results) - {"float64 reference", "persistence", "NumPy, float64"} == set(ways)
    check(results, f"{script}.py", [*ways, "persistence"])
    assert results["EdgeLSTM f32"]["difference"] <= 5e-6
    for way in ways:
        assert results[way]["RMSE"] < results["persistence"]["RMSE"]


VARIANTS = ("masked", "bidirectional", "stacked", "attention", "cnn_lstm", "gru")


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(load, monkeypatch, name):
    monkeypatch.setattr(load("tutorials/compare.py"), "keras", absent)
    script = load("tutorials/variants.py")
    assert script.NAMES == VARIANTS
    results = script.evaluate(name)
    kinds = ("f32",) if name == "attention" else ("f32", "s8")
    check(results, f"variants.py {name}", [f"EdgeLSTM {kind}" for kind in kinds])
    stepped = "EdgeLSTM f32, step by step"
    assert (stepped in results) == (name not in ("bidirectional", "attention"))
    assert all(results[way]["difference"] <= 2e-6 for way in ("EdgeLSTM f32", stepped) if way in results)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_digits_reach_what_their_page_says(load, monkeypatch, framework):
    module = load("tutorials/digits.py")
    monkeypatch.setattr(module.compare, "keras", absent)
    monkeypatch.setattr(module, "torch_program", absent(None))
    results = module.evaluate(framework)
    ways = [w for w in NUMBERS if peers.runtimes() or not w.startswith("TFLite")]
    assert set(results) == {"float64 reference", *ways}
    check(results, f"digits.py {framework}", ways)
    assert results["EdgeLSTM f32"]["difference"] <= 5e-6


def test_the_numpy_program_has_the_right_gradients(load):
    module = load("tutorials/numpy_cell.py")
    random = np.random.default_rng(0)
    w = module.initial(random)
    x, y = random.normal(size=(3, 5, 1)), random.normal(size=(3, 1))

    def loss():
        return 0.5 * np.square(module.forward(w, x)[0] - y).sum()

    forecast, h, trace = module.forward(w, x)
    for name, gradient in module.backward(w, h, trace, forecast - y).items():
        place = tuple(random.integers(n) for n in w[name].shape)
        value = w[name][place]
        w[name][place] = value + 1e-6
        above = loss()
        w[name][place] = value - 1e-6
        below = loss()
        w[name][place] = value
        assert (above - below) / 2e-6 == pytest.approx(gradient[place], rel=1e-5, abs=1e-8), name


def test_the_numpy_programs_answers_are_the_runners(load):
    module = load("tutorials/numpy_cell.py")
    with np.load(module.WEIGHTS) as file:
        w = dict(file)
    x = signal((20, 12, 1))
    expected = module.forward(w, x.astype(np.float64))[0]
    np.testing.assert_allclose(edgelstm.Runner(module.model()).run(x), expected, atol=2e-6)


def test_examples_stay_small():
    files = [f for f in EXAMPLES.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert sum(f.stat().st_size for f in files) < 1_250_000


# ---- activity ----


def stand_in(folder, seed=0):
    """Recordings in the data set's own form: two volunteers that train and one that tests, six activities each."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    labels = []
    for experiment, volunteer in ((1, 1), (2, 3), (3, 2)):
        counts, first = [], 1
        for activity in range(1, 8):  # 7 is a transition
            size = int(random.integers(200, 300))
            t = np.arange(size)[:, None]
            posture, swing = random.normal(0, 200, 6), random.normal(0, 150, 6) * (activity <= 3)
            counts.append(posture + [600, 0, 0, 0, 0, 0] + swing * np.sin(0.1 * (activity + 3) * t))
            labels.append((experiment, volunteer, activity, first, first + size - 1))
            first += size + 20
            counts.append(np.repeat(counts[-1][-1:], 20, axis=0))  # between activities, unlabelled
        values = np.rint(np.concatenate(counts)) * np.repeat([1 / 720, np.deg2rad(0.0175)], 3)
        for sensor, columns in (("acc", slice(3)), ("gyro", slice(3, 6))):
            np.savetxt(folder / f"{sensor}_exp{experiment:02}_user{volunteer:02}.txt", values[:, columns])
    np.savetxt(folder / "labels.txt", labels, fmt="%d")
    return folder


def test_recordings_are_the_same_from_the_folder_and_packed(load, tmp_path):
    data = load("activity/recordings.py")
    folder = stand_in(tmp_path / "RawData")
    data.pack(folder, tmp_path / "packed.npz")
    raw, packed = data.read(folder), data.read(tmp_path / "packed.npz")
    assert [(r.experiment, r.volunteer) for r in raw] == [(1, 1), (2, 3), (3, 2)]
    for one, other in zip(raw, packed, strict=True):
        assert (one.experiment, one.volunteer) == (other.experiment, other.volunteer)
        np.testing.assert_array_equal(one.signal, other.signal)
        np.testing.assert_array_equal(one.label, other.label)
    text = np.loadtxt(folder / "gyro_exp02_user03.txt")
    np.testing.assert_allclose(raw[1].signal[:, 3:], text, rtol=1e-6, atol=1e-6)
    segments = np.loadtxt(folder / "labels.txt", dtype=int)
    for experiment, _, activity, first, last in segments:
        label = raw[experiment - 1].label[first - 1 : last]
        assert (label == (activity - 1 if activity <= 6 else -1)).all()
    assert (raw[0].label == -1).sum() > 7 * 20
    assert [data.is_test(r) for r in raw] == [False, False, True]


def test_windows_lie_within_one_activity(load, tmp_path):
    data = load("activity/recordings.py")
    recordings = data.read(stand_in(tmp_path / "RawData"))
    x, label = data.windows(recordings)
    assert x.shape[1:] == (128, 6) and x.dtype == np.float32
    sizes = [s[4] - s[3] + 1 for s in np.loadtxt(tmp_path / "RawData" / "labels.txt", dtype=int) if s[2] <= 6]
    assert len(x) == len(label) == sum((n - 128) // 64 + 1 for n in sizes)
    assert set(label) == set(range(6))
    first = np.flatnonzero(recordings[0].label == 0)[0]
    np.testing.assert_array_equal(x[1], recordings[0].signal[first + 64 : first + 192])


def test_a_path_that_is_no_data_set_is_refused(load, tmp_path):
    with pytest.raises(SystemExit, match="neither"):
        load("activity/recordings.py").read(tmp_path)


def test_the_committed_activity_net_is_what_its_page_says(load):
    evaluate = load("activity/evaluate.py")
    model = evaluate.read()
    assert (EXAMPLES / "activity" / "activity.pt").stat().st_size < 120_000
    lstms = [layer for layer in model.layers if hasattr(layer, "recurrent")]
    assert [(layer.inputs, layer.units) for layer in lstms] == [(6, 48), (48, 48)]
    port = model.meta.inputs[0]
    assert port.channels == evaluate.data.CHANNELS and port.units == ("g",) * 3 + ("rad/s",) * 3
    assert model.meta.outputs[0].labels == evaluate.data.ACTIVITIES
    assert (model.meta.window, model.meta.hop) == (128, 64)
    # what lies still and level, gravity along y: the one activity that needs no recording to tell
    lying = np.zeros((1, 128, 6), np.float32)
    lying[:, :, 1] = 1
    assert evaluate.data.ACTIVITIES[edgelstm.Runner(model).run(model.meta.scale_inputs(lying)).argmax()] == "laying"


def test_activity_runs_every_way_on_stand_in_data(load, tmp_path, monkeypatch, capsys):
    evaluate = load("activity/evaluate.py")
    folder = stand_in(tmp_path / "RawData")
    recordings = evaluate.data.read(folder)
    results = evaluate.compare(recordings)
    assert list(results) == [w for w in NUMBERS if peers.runtimes() or not w.startswith("TFLite")]
    x, label = evaluate.data.windows(recordings[2:])
    model = evaluate.read()
    answers = edgelstm.Runner(model).run(model.meta.scale_inputs(x)).argmax(axis=1)
    assert results["EdgeLSTM f32"].accuracy == (answers == label).mean()
    for way, result in results.items():
        assert result.agreement >= (0.8 if "8" in way else 1.0) and result.size > 10_000 and result.step > 0
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(folder), "--show", "3"])
    evaluate.main()
    printed = capsys.readouterr().out
    assert "state carried" in printed and "experiment 3, volunteer 2" in printed
    letters = printed.splitlines()[-3].strip()  # what was done, the last line but two
    assert set(letters) <= set("WUDSTL.") and len(letters) > 10


def test_activity_streams_give_the_runners_answers(load, tmp_path):
    evaluate = load("activity/evaluate.py")
    recording = evaluate.data.read(stand_in(tmp_path / "RawData"))[2]
    model = evaluate.read()
    x = model.meta.scale_inputs(recording.signal)
    carried = evaluate.stream(model, recording, carry=True)
    expected = edgelstm.Runner(model).run(x, every_step=True).argmax(axis=1)
    np.testing.assert_array_equal(carried, expected)
    windows = evaluate.stream(model, recording, carry=False)
    asked = np.flatnonzero(windows >= 0)
    np.testing.assert_array_equal(asked, np.arange(127, len(x), 64))
    expected = edgelstm.Runner(model).run(np.stack([x[k - 127 : k + 1] for k in asked])).argmax(axis=1)
    np.testing.assert_array_equal(windows[asked], expected)
    answers = [np.where(recording.label >= 0, recording.label, 0)]
    assert evaluate.right([recording], answers) == 1
    assert evaluate.right([recording], [carried]) == (carried == recording.label)[recording.label >= 0].mean()


# ---- the sensor loop ----

VALUES = (20.5 + 3 * np.sin(np.arange(40) / 5)).astype(np.float32)


@pytest.fixture
def image(tmp_path):
    """A small int8 forecaster with scalers at both ends."""
    port = Port(scaler=Scaler([0.1], [-2.0]))
    model = stack(1, (8,), head=1, meta=Meta(inputs=(port,), outputs=(port,)))
    path = tmp_path / "small.elstm"
    edgelstm.save(edgelstm.quantize(model, signal((8, 60, 1))), path)
    return path


def stepped(path, values):
    """What the runner answers to the values, in the sensor's unit."""
    runner = edgelstm.Runner(path)
    return np.array([(float(runner.step([0.1 * float(v) - 2])[0]) + 2) / 0.1 for v in values])


def test_the_sensor_loop_answers_holds_and_stops(load, image, monkeypatch, capsys):
    loop = load("sensor_loop.py")
    samples = [*VALUES[:5].tolist(), None, *VALUES[5:8].tolist()]
    values = iter(samples)

    def sensor():
        try:
            return next(values)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(loop, "read_sensor", sensor)
    loop.main(str(image), period=0)
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert [int(row[0]) for row in rows] == list(range(9))
    held = [*samples[:5], samples[4], *samples[6:]]
    np.testing.assert_allclose([float(row[1]) for row in rows], stepped(image, held), atol=1e-4)
    assert err == "9 samples, 1 of them held\n"


def test_the_sensor_loop_reads_a_raspberry_pis_own_sensor(load, monkeypatch):
    loop = load("sensor_loop.py")
    monkeypatch.setattr("builtins.open", lambda path: io.StringIO("48312\n"))
    assert loop.read_sensor() == 48.312

    def refused(path):
        raise OSError

    monkeypatch.setattr("builtins.open", refused)
    assert loop.read_sensor() is None


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """examples/sensor_loop.c, compiled as it says."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler named cc")
    path = tmp_path_factory.mktemp("c") / "sensor_loop"
    sources = [EXAMPLES / "sensor_loop.c", *sorted((ROOT / "src_c").glob("*.c"))]
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src_c'}"]
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(path)], check=True)
    return path


def test_the_c_sensor_loop_answers_as_the_runner(program, image):
    text = "\n".join(f"{v:.9g}" for v in VALUES)
    done = subprocess.run([program, image], input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    np.testing.assert_allclose([float(line) for line in done.stdout.splitlines()], stepped(image, VALUES), atol=1e-4)


def test_the_c_sensor_loop_reads_several_channels(program, tmp_path):
    model = stack(3, (5,), head=2)
    edgelstm.save(model, tmp_path / "three.elstm")
    x = signal((1, 6, 3))[0]
    text = " ".join(f"{v:.9g}" for v in x.ravel())
    done = subprocess.run([program, tmp_path / "three.elstm"], input=text, capture_output=True, text=True, check=True)
    answers = np.array([[float(v) for v in line.split()] for line in done.stdout.splitlines()])
    np.testing.assert_allclose(answers, edgelstm.Runner(model).run(x, every_step=True), atol=1e-6)


def test_the_c_sensor_loop_says_what_is_wrong(program, image, tmp_path):
    damaged = tmp_path / "damaged.elstm"
    damaged.write_bytes(image.read_bytes()[:-1])
    large = tmp_path / "large.elstm"
    edgelstm.save(stack(2, (8,), head=17), large)
    broad = tmp_path / "broad.elstm"
    edgelstm.save(stack(1, (700,), head=1), broad)
    for path, said in ((damaged, "model: "), (large, "model: "), (broad, "model: "), (tmp_path / "none", "usage: ")):
        done = subprocess.run([program, path], input="", capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith(said) and done.stdout == ""
