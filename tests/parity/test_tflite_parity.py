"""A Keras model three ways: Keras' own answers, our import of its file, and our .tflite of that in every runtime.

Then what TFLite's own converter makes of it: that its files are read as they are meant, traps included.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import signal, stack

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import Runner, importers, kernels, peers, quantize, reference
from edgelstm.exporters import tflite
from edgelstm.importers import tflite_settings
from edgelstm.validation import validate

STEPS, INPUTS, SEQUENCES = 12, 3, 4
LIMIT = 5e-6  # of max(1, max|y|)


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest, tensorflow: Any) -> Any:
    return pytest.importorskip(request.param)


@pytest.fixture(scope="module", params=list(peers.RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param not in peers.runtimes():
        pytest.skip(f"{request.param} is not installed for this Python and NumPy")
    return request.param


def network(keras: Any, kind: str, batch: int | None = None) -> Any:
    """A model with weights of a trained one's size."""
    k = keras.layers
    x = k.Input((STEPS, INPUTS), batch_size=batch)
    match kind:
        case "classifier":
            y = k.Dense(5, activation="softmax")(k.Dropout(0.2)(k.LSTM(16)(k.LSTM(24, return_sequences=True)(x))))
        case "forecast":
            y = k.Dense(1)(k.Dense(8, activation="relu")(k.LSTM(20)(x)))
        case "sequence":
            y = k.TimeDistributed(k.Dense(4, activation="tanh"))(k.LSTM(9, return_sequences=True, use_bias=False)(x))
        case _:
            h = k.LSTM(12, return_sequences=True)(x)
            y = [k.Dense(2, activation="sigmoid")(k.LSTM(5)(h)), k.Dense(3)(h)]
    model = keras.Model(x, y)
    random = np.random.default_rng(len(kind))
    model.set_weights([random.uniform(-0.7, 0.7, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def data(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((SEQUENCES, STEPS, INPUTS)).cumsum(axis=1).astype(np.float32) * 0.3


def predicted(model: Any, x: np.ndarray) -> list[np.ndarray]:
    answers = [model.predict(x[k : k + 1], verbose=0) for k in range(len(x))]
    listed = [a if isinstance(a, list | tuple) else [a] for a in answers]
    return [np.concatenate(parts) for parts in zip(*listed, strict=True)]


@pytest.mark.usefixtures("tensorflow")
def test_bytes_run_beside_a_tensorflow_that_is_loaded(runtime: str) -> None:
    """It has a TFLite of its own."""
    model, x = stack(2, (5, 4)), signal((3, 10, 2))
    ys = peers.run_tflite(tflite.build(model, "float", steps=10), [x], runtime).ys
    np.testing.assert_allclose(ys[0], reference.run(model, [x])[0], atol=LIMIT)


@pytest.mark.parametrize("kind", ["classifier", "forecast", "sequence", "branches"])
def test_keras_import_and_tflite_agree(keras: Any, kind: str, runtime: str, tmp_path: Path) -> None:
    model, x = network(keras, kind), data()
    expected = predicted(model, x)
    model.save(tmp_path / "m.keras")
    read = importers.read(tmp_path / "m.keras")
    tflite.write(read, tmp_path / "m.tflite", steps=STEPS)
    ways = {name: Runner(read, name).run(x) for name in kernels()}
    ways = {name: ys if isinstance(ys, tuple) else (ys,) for name, ys in ways.items()}
    ways |= {
        f"TFLite {r}": peers.run_tflite(tmp_path / "m.tflite", [x], runtime, resolver=r).ys for r in peers.RESOLVERS
    }
    for way, ys in ways.items():
        for y, want in zip(ys, expected, strict=True):
            assert y.shape == want.shape and np.abs(y - want).max() <= LIMIT * max(1, np.abs(want).max()), way


def test_validation_runs_the_checkpoint_in_keras(keras: Any, tmp_path: Path) -> None:
    model = network(keras, "branches")
    path = tmp_path / ("m.keras" if keras.__name__ == "keras" else "m.h5")
    model.save(path)
    read = importers.read(path)
    report = validate(quantize(read, data()), path, data(1), samples=data())
    assert report.passed, str(report)
    assert keras.__version__ in report.reference and keras.__name__ in report.reference
    assert [row.variant for row in report.rows[::2]] == ["f32", "s8", "TFLite float", "TFLite dynamic", "TFLite int8"]
    for row in report.rows:
        if row.variant in ("f32", "TFLite float"):
            assert row.difference.max_error <= LIMIT * max(1, row.difference.largest)


# ---- TFLite's own converter, which makes the fused LSTM from tf_keras alone ----


def convert(tensorflow: Any, model: Any, samples: np.ndarray | None, path: Path) -> None:
    """TFLite's conversion of a model of one sequence at a time; int8, doors included, if there are samples."""
    function = tensorflow.function(lambda x: model(x))
    concrete = function.get_concrete_function(tensorflow.TensorSpec(model.input_shape))
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if samples is not None:
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in samples)
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    path.write_bytes(converter.convert())


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_files_of_the_converter_run_as_meant(tensorflow: Any, kind: str, runtime: str, tmp_path: Path) -> None:
    model, path = network(pytest.importorskip("tf_keras"), "forecast", batch=1), tmp_path / "m.tflite"
    convert(tensorflow, model, data() if kind == "int8" else None, path)
    (expected,) = predicted(model, data())
    answers = peers.run_tflite(path, [data()], runtime)
    error = np.abs(answers.ys[0] - expected).max()
    assert answers.integer == (kind == "int8")
    assert error <= (LIMIT if kind == "float" else 0.05) * max(1, np.abs(expected).max())
    (settings,) = tflite_settings.read(path.read_bytes())
    assert settings.cell_clip == 10 and (settings.cell_scale is None) == (kind == "float")


def test_clip_of_the_converter_is_told_and_lifted(tensorflow: Any, runtime: str, tmp_path: Path) -> None:
    """A counter: all gates open, c goes 20 up and then down again, which a clip on the way does not forget."""
    keras = pytest.importorskip("tf_keras")
    model = keras.Sequential([keras.Input((38, 1), batch_size=1), keras.layers.LSTM(1)])
    # no weight is 0: the converter would let it share its place with the state of this one unit, which starts as 0
    small = np.array([[0.01, 0.02, 0.03, 0.04]])
    model.set_weights([small + [[0, 0, 5, 0]], small, np.array([9, 9, 0, 9])])
    path = tmp_path / "m.tflite"
    convert(tensorflow, model, None, path)
    x = np.repeat([1.0, -1.0], [20, 18]).reshape(1, 38, 1)
    model.save(tmp_path / "m.h5")
    read = importers.read(tmp_path / "m.h5")
    report = validate(read, path, x, runtime=runtime)
    assert not report.passed, "the converter's clip no longer changes answers?"
    (note,) = [said for said in report.advice if "clips its cells at 10" in said]
    assert "converter" in note and "changes its answers by up to" in note
    path.write_bytes(tflite_settings.without_clip(path.read_bytes()))
    free = validate(read, path, x, runtime=runtime)
    assert free.passed, str(free)
    assert not any("clips" in said for said in (*free.notes, *free.advice))
