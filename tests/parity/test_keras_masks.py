"""Which layers hand a mask on, drop it or join several: live Keras 3 and tf_keras, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_live import INPUTS, STEPS, Layers, compare

from edgelstm import importers, reference


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip(request.param)


def between(keras: Any) -> Layers:
    """Layers that keep the number of steps, to stand between a mask and a cell."""
    k = keras.layers
    layers: Layers = {
        "dense": k.Dense(3),
        "activation": k.Activation("tanh"),
        "relu": k.ReLU(),
        "leaky": k.LeakyReLU(),
        "elu": k.ELU(),
        "prelu": k.PReLU(shared_axes=[1]),
        "dropout": k.Dropout(0.2),
        "spatial": k.SpatialDropout1D(0.2),
        "noise": k.GaussianNoise(0.1),
        "gaussian": k.GaussianDropout(0.1),
        "alpha": k.AlphaDropout(0.1),
        "regularized": k.ActivityRegularization(0.1),
        "identity": k.Identity(),
        "batch": k.BatchNormalization(),
        "layer": k.LayerNormalization(),
        "normalization": k.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
        "rescaling": k.Rescaling(2.0, offset=0.3),
        "conv": k.Conv1D(3, 2, padding="same"),
        "depthwise": k.DepthwiseConv1D(2, padding="same"),
        "pool": k.MaxPooling1D(2, strides=1, padding="same"),
        "pad": k.ZeroPadding1D((1, 0)),
        "crop": k.Cropping1D((1, 0)),
        "reshape": k.Reshape((STEPS, INPUTS)),
        "permute": k.Permute((1, 2)),
        "each": k.TimeDistributed(k.Dense(3)),
        "each dropout": k.TimeDistributed(k.Dropout(0.3)),
        "lstm": k.LSTM(3, return_sequences=True),
        "both ways": k.Bidirectional(k.GRU(3, return_sequences=True)),
        "backwards": k.SimpleRNN(3, return_sequences=True, go_backwards=True),
        "cells": k.RNN(k.GRUCell(3), return_sequences=True),
        "masked again": k.Masking(0.25),
        "operator": lambda x: x + x,
        "scaled": lambda x: x * 2.0,
    }
    if keras.__name__ == "keras":
        layers["rms"] = k.RMSNormalization()
    return layers


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_hands_a_mask_on(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    x, ids = keras.Input((STEPS, INPUTS), name="masked"), keras.Input((STEPS,), name="ids")
    masked, words = k.Masking()(x), k.Embedding(5, 3, mask_zero=True)(ids)
    layers = between(keras)
    outputs = {f"{name}, cell": k.GRU(2)(make(masked)) for name, make in layers.items()}
    outputs |= {f"{name}, mean": k.GlobalAveragePooling1D()(make(words)) for name, make in layers.items()}
    outputs["largest"] = k.GlobalMaxPooling1D()(masked)
    outputs["flat"] = k.Flatten()(masked)
    outputs["words"] = k.Bidirectional(k.LSTM(3))(words)
    outputs["plain words"] = k.LSTM(3)(k.Embedding(5, 2)(ids))
    inner = keras.Input((STEPS, INPUTS))
    nested = keras.Model(inner, k.Dense(3)(k.LSTM(4, return_sequences=True)(inner)))
    outputs["inside a model"] = k.LSTM(2)(nested(masked))
    row = keras.Sequential([k.Input((STEPS, INPUTS)), k.Masking(0.5), k.LSTM(3, return_sequences=True)])
    outputs["behind a model"] = k.GRU(2)(row(x))
    compare(keras.Model([x, ids], list(outputs.values())), tmp_path / f"m{suffix}", list(outputs), 1)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_how_masks_are_joined(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    x, other, ids = (
        keras.Input((STEPS, INPUTS), name="masked"),
        keras.Input((STEPS, INPUTS), name="other"),
        keras.Input((STEPS,), name="ids"),
    )
    one, two, none = k.Masking()(x), k.Embedding(5, INPUTS, mask_zero=True)(ids), other
    outputs = {}
    for kind in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        for label, values in (
            ("two", [one, two]),
            ("one", [one, none]),
            ("same", [one, one]),
            ("three", [one, two, one]),
        ):
            outputs[f"{kind} {label}"] = k.LSTM(2)(getattr(k, kind)()(values))
    outputs["Subtract"] = k.LSTM(2)(k.Subtract()([one, two]))
    compare(keras.Model([x, other, ids], list(outputs.values())), tmp_path / f"m{suffix}", list(outputs), 2)


def test_a_mask_given_to_a_call(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x = keras.Input((STEPS, INPUTS), name="masked")
    mask = keras.Input((STEPS,), name="mask", dtype="bool")
    import numpy as np

    random = np.random.default_rng(3)
    xs = [
        random.uniform(-1, 1, (3, STEPS, INPUTS)).astype(np.float32),
        random.integers(0, 2, (3, STEPS)).astype(np.float32),
    ]
    outputs = [k.LSTM(3)(x, mask=mask), k.Bidirectional(k.GRU(2, return_sequences=True))(x, mask=mask)]
    compare(keras.Model([x, mask], outputs), tmp_path / "m.keras", ["lstm", "both"], 3, xs=xs)


def test_a_mean_over_no_steps_is_zero_here(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential([keras.Input((STEPS, INPUTS)), k.Masking(), k.GlobalAveragePooling1D()])
    model.save(tmp_path / "m.keras")
    x = np.zeros((1, STEPS, INPUTS), np.float32)
    assert np.isnan(model.predict(x, verbose=0)).all()
    assert not reference.run(importers.read(tmp_path / "m.keras"), (x,))[0].any()
