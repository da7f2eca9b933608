"""What is blamed: planted faults, each named with what to do; nothing is said of what is well."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import signal, stack

from edgelstm import Runner, peers, quantize, read, reference, validation
from edgelstm.layers import Gru
from edgelstm.model import Meta, Model, Tensor
from edgelstm.validation import longrun, validate
from edgelstm.validation.references import recognised

MODEL, X = stack(3, (9,), 4), signal((6, 12, 3))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(peers, "_usable", lambda name: False)
    monkeypatch.setattr(longrun, "STEPS", 100)


def test_sound_models_need_none():
    assert validate(quantize(MODEL, X), MODEL, X).advice == ()
    assert validate(MODEL, MODEL, X, samples=X).advice == ()


def test_an_image_of_other_weights():
    other = stack(3, (9,), 4, seed=5)
    for image in (other, quantize(other, X)):
        (said,) = validate(image, MODEL, X).advice
        assert "from lstm0 on" in said and "convert the checkpoint again" in said
    layer = MODEL.layers[-1]
    head = replace(MODEL, layers=(*MODEL.layers[:-1], replace(layer, kernel=layer.kernel[::-1].copy())))
    (said,) = validate(quantize(head, X), MODEL, X).advice
    assert "from dense on" in said


def test_a_reading_that_is_wrong():
    """The reference's own framework answers otherwise, and float64 is as far off as float32."""
    y = reference.run(MODEL, (X,))[0] + 0.01
    said = validate(MODEL, y, X).advice
    assert len(said) == 1 and "even in float64" in said[0] and "0.01" in said[0]


def test_inputs_beyond_the_calibration():
    said = validate(quantize(MODEL, 0.1 * X), MODEL, X).advice
    assert "input x" in said[0] and "range it was calibrated for" in said[0] and "--samples" in said[0]
    report = validate(quantize(MODEL, X), MODEL, 0.001 * X)
    assert any("of 16 bits" in text for text in report.advice)


def test_saturated_layers():
    """A GRU's state, calibrated where it stayed small."""
    random = np.random.default_rng(2)
    cell = Gru("gru", ("x",), ("h",), random.uniform(-1, 1, (3, 6, 3)), random.uniform(-1, 1, (3, 6, 6)),
               np.zeros((3, 6)), reset_bias=np.zeros(6))  # fmt: skip
    model = Model((Tensor("x", 3), Tensor("h", 6)), (cell,), ("x",), ("h",))
    report = validate(quantize(model, 0.05 * X), model, X, decibels=60)
    assert any("gru's h saturate" in text for text in report.advice)
    found = next(one for one in report.saturation if (one.variant, one.layer) == ("s8", "gru"))
    assert found.low + found.high > 0 and found.values == 6 * 12 * 6


def test_the_layer_that_loses_most():
    report = validate(quantize(MODEL, X), MODEL, X, decibels=70)
    assert not report.passed
    assert any("lstm0 loses most" in text and "--hidden-bits 16" in text for text in report.advice)
    report = validate(quantize(MODEL, X, hidden_bits=16), MODEL, X, decibels=120)
    assert any("keep the model in f32" in text for text in report.advice)
    assert not any("--hidden-bits" in text for text in report.advice)


def test_channels_of_unlike_sizes():
    faint = X * np.array([1, 1, 1e-4], np.float32)
    report = validate(quantize(MODEL, faint), MODEL, faint, decibels=90)
    assert any("channel 2" in text and "like sizes" in text for text in report.advice)


def growing(**more):
    """A model whose state doubles what it holds."""
    layer = MODEL.layers[0]
    wild = replace(layer, recurrent=6 * layer.recurrent, kernel=0.2 * layer.kernel)
    return replace(MODEL, layers=(wild, *MODEL.layers[1:]), **more)


def test_a_model_that_lets_rounding_grow():
    """In float64 as in float32, which is the model's own."""
    model, x = growing(), signal((1, 60, 3))
    report = validate(model, model, np.concatenate([x] * 40, axis=1), drift_steps=2000)
    last = report.drift[0].points[-1]
    assert last.decibels < 60 and any("lets rounding grow" in text for text in report.advice)


def test_what_no_window_reaches_is_a_note():
    """A model for windows is not to blame for what it does past them; one that drifts within them is."""
    x = np.concatenate([signal((1, 60, 3))] * 40, axis=1)
    short, long = (validate(m, m, x, drift_steps=2000) for m in (growing(meta=Meta(window=n)) for n in (4, 1900)))
    assert short.drift == long.drift and short.advice == ()
    (note,) = [note for note in short.notes if "past the 4 steps" in note]
    assert note.startswith("f32: output y drifts") and "run --windows" in note
    assert any("lets rounding grow" in text and "over 1," in text for text in long.advice)
    assert not any("past the" in note for note in long.notes)


def test_a_checkpoint_of_fixed_steps_is_made_for_windows(monkeypatch):
    file = Path(__file__).parents[1] / "examples" / "tutorials" / "short_windows.keras"
    model = read(file)
    found = recognised(file, Runner(model), None, None, [])
    assert validation._window(Runner(model), found, model) == 10
    plain = recognised(MODEL, Runner(MODEL), None, None, [])
    assert validation._window(Runner(MODEL), plain, MODEL) is None
    for steps, window in ((12, 12), (1, None)):  # a file of one step streams
        monkeypatch.setattr(peers, "fixed_steps", lambda *_, count=steps: {"x": count})
        assert validation._window(Runner(MODEL), replace(plain, kind="tflite", source="m.tflite"), MODEL) == window
