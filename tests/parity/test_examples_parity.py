"""The examples beside the frameworks that trained them, and a moment of each training."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import edgelstm

EXAMPLES = Path(__file__).parents[2] / "examples"


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


@pytest.mark.parametrize("script", ["relu_cell", "short_windows"])
def test_forecasters_answer_as_keras(load, script):
    pytest.importorskip("keras")
    results = load(f"tutorials/{script}.py").evaluate()
    assert results["Keras"]["difference"] <= 2e-6  # from the float64 reference
    assert results["EdgeLSTM f32"]["difference"] <= 2e-6
    assert results["EdgeLSTM f32"]["RMSE"] == pytest.approx(results["Keras"]["RMSE"], abs=1e-4)


def test_a_relu_cell_answers_as_tflite_unrolled(load):
    pytest.importorskip("tensorflow")
    results = load("tutorials/relu_cell.py").evaluate(with_tensorflow=True)
    assert results["TFLite float, unrolled"]["difference"] <= 5e-6
    assert results["EdgeLSTM s8"]["RMSE"] < results["TFLite int8, unrolled"]["RMSE"]


@pytest.mark.parametrize(("framework", "way"), [("keras", "Keras"), ("torch", "PyTorch")])
def test_digits_answer_as_the_framework(load, framework, way):
    pytest.importorskip(framework)
    results = load("tutorials/digits.py").evaluate(framework)
    assert results[way]["difference"] <= 5e-6
    assert results["EdgeLSTM f32"]["accuracy"] == results[way]["accuracy"]
    assert results["EdgeLSTM f32"]["loss"] == pytest.approx(results[way]["loss"], abs=1e-5)


@pytest.mark.parametrize("name", ["masked", "bidirectional", "stacked", "attention", "cnn_lstm", "gru"])
def test_variants_answer_as_keras(load, name):
    pytest.importorskip("keras")
    results = load("tutorials/variants.py").evaluate(name)
    assert results["Keras"]["difference"] <= 5e-6
    assert results["EdgeLSTM f32"]["accuracy"] == results["Keras"]["accuracy"]


def test_a_variant_trains(load, monkeypatch, tmp_path):
    pytest.importorskip("keras")
    variants = load("tutorials/variants.py")
    monkeypatch.setattr(variants, "EPOCHS", 1)
    monkeypatch.setattr(variants, "HERE", tmp_path)
    variants.train("masked")
    assert type(edgelstm.read(variants.file("masked")).layers[0]).__name__ == "Mask"


def test_forecasters_train(load, monkeypatch, tmp_path):
    keras = pytest.importorskip("keras")
    series = load("tutorials/series.py")
    monkeypatch.setattr(series, "TRAIN", ("2014-01-01", "2014-01-02"))
    layers = [keras.layers.LSTM(4, activation="relu"), keras.layers.Dense(1)]
    series.train(layers, 8, tmp_path / "small.keras", epochs=1)
    model = edgelstm.read(tmp_path / "small.keras")
    assert not any("float16" in note for note in model.notes)
    for weights in (model.layers[0].kernel, model.layers[0].recurrent):
        np.testing.assert_array_equal(weights.astype(np.float16).astype(np.float32), weights)
        assert weights.any()


def test_digits_train(load, monkeypatch, tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("torch")
    digits = load("tutorials/digits.py")
    monkeypatch.setattr(digits, "EPOCHS", 1)
    for framework, head in (("keras", None), ("torch", "last,softmax")):
        path = tmp_path / f"digits.{framework}"
        monkeypatch.setattr(digits, framework.upper(), path)
        getattr(digits, f"train_{framework}")()
        model = edgelstm.read(path, head=head)
        assert [layer.units for layer in model.layers if hasattr(layer, "kernel")] == [128, 64, 10]


def test_activity_trains(load, monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    train = load("activity/train.py")
    random = np.random.default_rng(0)
    recordings = [
        train.data.Recording(
            k, volunteer, random.normal(0, 1, (600, 6)).astype(np.float32), np.repeat(np.int8([k % 6, -1]), 300)
        )
        for k, volunteer in enumerate((1, 3, 5, 7))
    ]
    monkeypatch.setattr(train.data, "read", lambda path: recordings)
    monkeypatch.setattr(train, "HERE", tmp_path)
    monkeypatch.setattr(train, "EPOCHS", 2)
    monkeypatch.setattr(train, "UPDATES", 2)
    monkeypatch.setattr(sys, "argv", ["train.py", "somewhere", "--hold-out"])
    train.main()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(sys, "argv", ["train.py", "somewhere"])
    train.main()
    assert torch.load(tmp_path / "activity.pt")["out.weight"].shape == (6, train.UNITS)
    evaluate = load("activity/evaluate.py")
    monkeypatch.setattr(evaluate, "HERE", tmp_path)
    model = evaluate.read()
    x = recordings[1].signal[:128]
    seen = model.meta.scale_inputs(x).astype(np.float32)
    scale = train.Scale(recordings)
    np.testing.assert_allclose(seen, scale(x), rtol=1e-5, atol=1e-4)  # of numbers up to 200
    net = train.Net().eval()
    net.load_state_dict(torch.load(tmp_path / "activity.pt"))
    with torch.no_grad():
        expected = torch.softmax(net(torch.from_numpy(seen[None]))[0][:, -1], dim=1).numpy()
    np.testing.assert_allclose(edgelstm.Runner(model).run(seen), expected[0], atol=5e-6)


def test_streams_walk_on_and_jump(load):
    pytest.importorskip("torch")
    train = load("activity/train.py")
    recording = train.data.Recording(0, 1, np.arange(6000, dtype=np.float32).reshape(1000, 6), np.zeros(1000, np.int8))
    streams = train.Streams([recording], np.random.default_rng(0))
    x, label, reset = streams.chunk()
    assert reset.all() and (label[:, : train.WARMUP] == -1).all() and (label[:, train.WARMUP :] == 0).all()
    after, label, reset = streams.chunk()
    on = ~reset
    assert 0 < on.sum() < len(on)
    np.testing.assert_array_equal(after[on, 0, 0], x[on, -1, 0] + 6)
    assert (label[on] == 0).all()


def test_tilting_turns_both_sensors_and_keeps_their_length(load, monkeypatch):
    pytest.importorskip("torch")
    train = load("activity/train.py")
    monkeypatch.setattr(train, "GAIN", 0)
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 3, 6))
    turned = train.augmented(x, random)
    for sensor in (slice(3), slice(3, 6)):
        before, after = np.linalg.norm(x[:, :, sensor], axis=2), np.linalg.norm(turned[:, :, sensor], axis=2)
        np.testing.assert_allclose(after, before, rtol=0.05)
        assert np.abs(turned[:, :, sensor] - x[:, :, sensor]).max() > 0.1
    same = train.augmented(np.concatenate([x[:, :, :3]] * 2, axis=2), random)
    np.testing.assert_allclose(same[:, :, :3], same[:, :, 3:])
