"""TensorFlow's own converter on Keras checkpoints of both generations: its files beside Keras, its clip, its deaths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import converter, importers, peers, validate

STEPS = 12
X = signal((4, STEPS, 3))


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip(request.param)


def saved(keras: Any, model: Any, folder: Path) -> Path:
    path = folder / ("m.keras" if keras.__name__ == "keras" else "m.h5")
    model.save(path)
    return path


def test_its_files_answer_in_the_checkpoints_order_and_its_death_is_a_result(keras: Any, tmp_path: Path) -> None:
    """The converter lists outputs as it likes; on a loop, as Keras 3's LSTM and any GRU are, its calibrator dies."""
    k = keras.layers
    x = k.Input((STEPS, 3))
    h = k.GRU(7, return_sequences=True)(x)
    model = keras.Model(x, [k.Dense(2, activation="sigmoid")(k.LSTM(5)(h)), k.Dense(4)(h)])
    path = saved(keras, model, tmp_path)
    made = converter.convert(path, [X], ("int8", "float"))
    if made["int8"].file is None:  # so it is in TensorFlow 2.21
        assert made["int8"].failure.endswith("converter died by signal 11 (Segmentation fault) on kind int8")
    assert made["float"].failure == "", "what comes after a death is made all the same"
    expected = peers.run_keras(path, [X]).ys
    for y, want in zip(converter.run(made["float"], [X]).ys, expected, strict=True):
        assert y.shape == want.shape and np.abs(y - want).max() <= 5e-6


def test_its_clip_is_told_with_the_error_it_causes(tmp_path: Path) -> None:
    """A counter, as in test_tflite.py: c goes to 20, its file clips it at 10, and Keras does not."""
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("tf_keras")
    model = keras.Sequential([keras.Input((38, 1)), keras.layers.LSTM(1)])
    small = np.array([[0.01, 0.02, 0.03, 0.04]])
    model.set_weights([small + [[0, 0, 5, 0]], small, np.array([9, 9, 0, 9])])
    path = saved(keras, model, tmp_path)
    x = np.repeat([1.0, -1.0], [20, 18]).reshape(1, 38, 1).astype(np.float32)
    read = importers.read(path)
    report = validate(read, path, x, converter=True)
    assert report.passed and all(one.made for one in report.converted)
    rows = {row.variant: row for row in report.rows}
    assert rows["converter float"].difference.max_error > 0.1 > rows["f32"].difference.max_error
    assert {"converter float", "converter dynamic", "converter int8"} <= set(rows)
    (said,) = [one for one in report.advice if "the float file" in one]
    assert "clips its cells at 10" in said and "Keras does not clip" in said and "export-tflite writes no clip" in said
    clipped, lifted = said.split(" dB")[0].split()[-1], said.split(" dB")[1].split()[-1]
    assert float(clipped) < 20 and float(lifted) > 100
