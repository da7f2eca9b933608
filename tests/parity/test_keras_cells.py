"""Recurrent layers of live Keras 3 and tf_keras: every option alone, all weights different."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_live import COUNT, INPUTS, STEPS, TOLERANCE, Layers, compare, heads, save_beside

from edgelstm import importers, reference, reference_s8
from edgelstm.errors import CheckpointError
from edgelstm.quantization import quantize

tf = pytest.importorskip("tensorflow")
CELLS = ("LSTM", "GRU", "SimpleRNN")


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip(request.param)


def options(k: Any, kind: str, legacy: bool) -> Layers:
    """One layer per documented option."""
    make = getattr(k, kind)
    every = {"return_sequences": True}
    layers: Layers = {
        "last": make(4),
        "every": make(4, **every),
        "no bias": make(4, use_bias=False, **every),
        "relu": make(3, activation="relu", **every),
        "backwards": make(4, go_backwards=True),
        "backwards every": make(4, go_backwards=True, **every),
        "unrolled": make(4, unroll=True, **every),
        "one unit": make(1, **every),
        "nine units": make(9, dropout=0.2, recurrent_dropout=0.1),
        "zeros": make(4, zero_output_for_mask=True, **every),
        "zeros last": make(4, zero_output_for_mask=True),
    }
    if kind != "SimpleRNN":
        layers["hard_sigmoid"] = make(4, recurrent_activation="hard_sigmoid", **every)
        layers["object"] = make(4, activation=k.LeakyReLU(), recurrent_activation="softsign", **every)
    if kind == "GRU":
        layers["before"] = make(4, reset_after=False, **every)
        layers["before no bias"] = make(4, reset_after=False, use_bias=False, go_backwards=True)
        layers["after no bias"] = make(4, reset_after=True, use_bias=False)
    if legacy and kind != "SimpleRNN":
        layers["implementation 1"] = make(4, implementation=1, **every)
    return layers


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", CELLS)
def test_every_option(keras: Any, kind: str, suffix: str, tmp_path: Path) -> None:
    model, names = heads(keras, options(keras.layers, kind, keras.__name__ == "tf_keras"))
    compare(model, tmp_path / f"m{suffix}", names, 1)


@pytest.mark.parametrize("kind", CELLS)
def test_every_option_under_a_mask(keras: Any, kind: str, tmp_path: Path) -> None:
    """Right-padded, left-padded and with gaps."""
    x = keras.Input((STEPS, INPUTS), name="masked")
    layers = options(keras.layers, kind, keras.__name__ == "tf_keras")
    masked = keras.layers.Masking()(x)
    compare(keras.Model(x, [make(masked) for make in layers.values()]), tmp_path / "m.keras", list(layers), 2)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", CELLS)
def test_states_that_are_constants(keras: Any, kind: str, suffix: str, tmp_path: Path) -> None:
    """Of as many sequences as Keras runs at once, all alike."""
    k, count = keras.layers, 2 if kind == "LSTM" else 1
    x, masked = keras.Input((STEPS, INPUTS), name="x"), keras.Input((STEPS, INPUTS), name="masked")
    row = np.linspace(-0.7, 0.9, 4, dtype=np.float32)
    states = [tf.constant(np.tile(row * (1 - 2 * n), (COUNT, 1))) for n in range(count)]
    make = getattr(k, kind)
    layers = {
        "every": make(4, return_sequences=True)(x, initial_state=states),
        "last": make(4)(x, initial_state=states if count > 1 else states[0]),
        "masked": make(4)(k.Masking()(masked), initial_state=states),
        "both": k.Bidirectional(make(4))(x, initial_state=states * 2),
    }
    model = keras.Model([x, masked], list(layers.values()))
    compare(model, tmp_path / f"m{suffix}", list(layers), 5)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("kind", CELLS)
def test_states_out_and_in(keras: Any, kind: str, suffix: str, tmp_path: Path) -> None:
    """An encoder's states start a decoder; and states are inputs and outputs of the model."""
    k, make = keras.layers, getattr(keras.layers, kind)
    count = 2 if kind == "LSTM" else 1
    x, masked = keras.Input((STEPS, INPUTS), name="x"), keras.Input((STEPS, INPUTS), name="masked")
    given = [keras.Input((4,), name=f"state{n}") for n in range(count)]
    last, *states = make(4, return_state=True)(x, initial_state=given)
    every, *more = make(4, return_state=True, return_sequences=True, go_backwards=True)(
        k.Masking()(masked), initial_state=states
    )
    later = make(4)(every, initial_state=more)
    outputs = [last, *states, every, *more, later]
    names = ["last", *("state" for _ in states), "every", *("more" for _ in more), "later"]
    save: Any = {"save": save_beside} if "weights" in suffix else {}
    compare(keras.Model([x, masked, *given], outputs), tmp_path / f"m{suffix}", names, 3, **save)


def test_a_state_stays_where_no_step_counts(keras: Any, tmp_path: Path) -> None:
    masked, h, c = keras.Input((STEPS, INPUTS)), keras.Input((4,)), keras.Input((4,))
    made = keras.layers.LSTM(4, return_state=True)(keras.layers.Masking()(masked), initial_state=[h, c])
    random = np.random.default_rng(0)
    xs = [random.uniform(-1, 1, s).astype(np.float32) for s in ((2, STEPS, INPUTS), (2, 4), (2, 4))]
    xs[0][1] = 0
    compare(keras.Model([masked, h, c], made), tmp_path / "m.keras", ["y", "h", "c"], 3, xs=xs)


def wrappers(k: Any, bidirectional: Any = None) -> Layers:
    """Bidirectional with every merge mode and backward layer."""
    every = {"return_sequences": True}
    make = k.Bidirectional
    layers: Layers = {}
    for mode in ("concat", "sum", "mul", "ave"):
        layers[mode] = make(k.LSTM(3, **every), merge_mode=mode)
        layers[f"{mode} last"] = make(k.GRU(3), merge_mode=mode)
    layers |= {
        "simple": make(k.SimpleRNN(3, **every)),
        "turned": make(k.LSTM(3, go_backwards=True, **every), backward_layer=k.LSTM(3, **every)),
        "other": make(k.LSTM(3, **every), backward_layer=k.GRU(3, go_backwards=True, reset_after=False, **every)),
        "other units": make(k.LSTM(3), backward_layer=k.LSTM(5, go_backwards=True, activation="relu")),
        "cells": make(k.RNN(k.LSTMCell(3), **every)),
        "each": k.TimeDistributed(k.Dense(3, activation="tanh")),
    }
    return layers


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_bidirectional(keras: Any, suffix: str, masked: bool, tmp_path: Path) -> None:
    x = keras.Input((STEPS, INPUTS), name="masked")
    read = keras.layers.Masking()(x) if masked else x
    layers = wrappers(keras.layers)
    outputs = [make(read) for make in layers.values()]
    pair = keras.layers.Bidirectional(keras.layers.GRU(2, return_sequences=True), merge_mode=None)(read)
    chained = keras.layers.LSTM(2)(keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True))(read))
    compare(
        keras.Model(x, [*outputs, *pair, chained]), tmp_path / f"m{suffix}", [*layers, "left", "right", "chained"], 4
    )


@pytest.mark.parametrize("merge", ["concat", None])
def test_states_of_both_directions(keras: Any, merge: str | None, tmp_path: Path) -> None:
    k = keras.layers
    x = keras.Input((STEPS, INPUTS), name="x")
    given = [keras.Input((4,), name=f"s{n}") for n in range(4)]
    made = k.Bidirectional(k.LSTM(4, return_state=True, return_sequences=True), merge_mode=merge)(
        x, initial_state=given
    )
    compare(keras.Model([x, *given], list(made)), tmp_path / "m.keras", [str(n) for n in range(len(made))], 5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_cells_in_an_rnn(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    every = {"return_sequences": True}
    layers: Layers = {
        "lstm": k.RNN(k.LSTMCell(4), **every),
        "gru": k.RNN(k.GRUCell(4)),
        "before": k.RNN(k.GRUCell(4, reset_after=False), **every),
        "simple": k.RNN(k.SimpleRNNCell(4, activation="relu"), go_backwards=True),
        "stacked": k.RNN(k.StackedRNNCells([k.LSTMCell(4), k.GRUCell(3), k.LSTMCell(2)]), **every),
        "list": k.RNN([k.SimpleRNNCell(2), k.LSTMCell(3, use_bias=False)]),
        "unrolled": k.RNN(k.LSTMCell(2), unroll=True),
    }
    x = keras.Input((STEPS, INPUTS), name="masked")
    masked = k.Masking()(x)
    outputs = [make(x) for make in layers.values()] + [make(masked) for make in layers.values()]
    names = [*layers, *(f"{name} masked" for name in layers)]
    stacked = k.RNN([k.LSTMCell(4), k.GRUCell(3)], return_state=True)(masked)
    flat = [t for part in stacked for t in (part if isinstance(part, (list, tuple)) else [part])]
    names += [f"state {n}" for n in range(len(flat))]
    compare(keras.Model(x, [*outputs, *flat]), tmp_path / f"m{suffix}", names, 6)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_stateful(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    model = keras.Sequential(
        [
            k.Input(batch_shape=(3, STEPS, INPUTS)) if keras.__name__ == "keras" else
            k.InputLayer(batch_input_shape=(3, STEPS, INPUTS)),
            k.Masking(),
            k.LSTM(4, stateful=True, return_sequences=True),
            k.Bidirectional(k.GRU(3, stateful=True, return_sequences=True)),
            k.RNN(k.SimpleRNNCell(2), stateful=True),
        ]
    )  # fmt: skip
    save: Any = {"save": save_beside} if "weights" in suffix else {}
    read = compare(model, tmp_path / f"m{suffix}", ["y"], 7, **save)
    assert any("stateful" in note for note in read.notes)


def test_weights_of_cudnn_layers(tmp_path: Path) -> None:
    """A file with cuDNN's arrays, which tf_keras turns into those of LSTM and GRU as it loads them."""
    pytest.importorskip("tensorflow")
    keras, h5py = pytest.importorskip("tf_keras"), pytest.importorskip("h5py")
    k, path = keras.layers, tmp_path / "m.h5"
    model = keras.Sequential([k.Input((STEPS, INPUTS)), k.LSTM(4, return_sequences=True, name="l"), k.GRU(3, name="g")])
    model.save(path)
    random = np.random.default_rng(8)
    with h5py.File(path, "r+") as file:
        for layer, inputs, units, gates in (("l", INPUTS, 4, 4), ("g", 4, 3, 3)):
            (group,) = file[f"model_weights/{layer}/{layer}"].values()
            shapes = {"kernel:0": (inputs, gates * units), "recurrent_kernel:0": (units, gates * units)}
            for name, shape in {**shapes, "bias:0": (2 * gates * units,)}.items():
                del group[name]
                group[name] = random.uniform(-1, 1, shape).astype(np.float32)
    x = random.uniform(-1, 1, (2, STEPS, INPUTS)).astype(np.float32)
    want = keras.models.load_model(path).predict(x, verbose=0)
    assert np.abs(reference.run(importers.read(path), [x])[0] - want).max() < TOLERANCE
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"]
        for kind in ("LSTM", "GRU"):
            text = text.replace(f'"{kind}"', f'"CuDNN{kind}"')
        config = json.loads(text)
        for layer in config["config"]["layers"][1:]:
            kept = ("name", "units", "return_sequences", "trainable", "stateful", "go_backwards", "return_state")
            layer["config"] = {key: layer["config"][key] for key in kept}
        file.attrs["model_config"] = json.dumps(config)
    assert np.abs(reference.run(importers.read(path), [x])[0] - want).max() < TOLERANCE


# ---- sequences inside the steps of another ----


def wrapped(k: Any, kind: str) -> Layers:
    """What may stand in a TimeDistributed, on (sentences, words, values)."""
    make, every = getattr(k, kind), {"return_sequences": True}
    cell = getattr(k, f"{kind}Cell")
    return {
        "last": make(4),
        "every": make(4, **every),
        "backwards": make(4, go_backwards=True, **every),
        "backwards last": make(4, go_backwards=True),
        "both": k.Bidirectional(make(3)),
        "both every": k.Bidirectional(make(3, **every), merge_mode="sum"),
        "cells": k.RNN([cell(3), cell(4)]),
    }


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_in_every_step(keras: Any, kind: str, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    x = keras.Input((STEPS, 5, INPUTS), name="x")
    layers = wrapped(k, kind)
    model = keras.Model(x, [k.TimeDistributed(layer)(x) for layer in layers.values()])
    read = compare(model, tmp_path / f"m{suffix}", list(layers), 3)
    assert read.timing.causal  # a step brings a sequence, whole


@pytest.mark.parametrize("words", [1, 4])
def test_words_to_sentences_to_a_document(keras: Any, words: int, tmp_path: Path) -> None:
    k = keras.layers
    sentence = keras.Sequential(
        [
            k.Input((words,)),
            k.Embedding(7, 3, mask_zero=True),
            k.Bidirectional(k.LSTM(4, return_sequences=True)),
            k.Dense(4, activation="tanh"),
            k.GRU(3),
            k.Dense(3),
        ]
    )
    ids = keras.Input((STEPS, words), name="ids")
    vectors = k.TimeDistributed(sentence)(ids)
    model = keras.Model(
        ids, [k.Bidirectional(k.LSTM(4))(vectors), k.Dense(2)(k.LSTM(3, return_sequences=True)(vectors))]
    )
    compare(model, tmp_path / "m.keras", ["document", "every sentence"], 4)


def test_int8_of_sequences_in_steps(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x = keras.Input((STEPS, 5, INPUTS), name="x")
    model = keras.Model(x, k.LSTM(4, return_sequences=True)(k.TimeDistributed(k.Bidirectional(k.GRU(6)))(x)))
    read = compare(model, tmp_path / "m.keras", ["y"], 5)
    random = np.random.default_rng(3)
    samples, data = (random.uniform(-1.5, 1.5, (24, STEPS, 5 * INPUTS)).astype(np.float32) for _ in range(2))
    exact, found = reference.run(read, [data])[0], reference_s8.run_float(quantize(read, samples), [data])[0]
    assert 10 * np.log10(np.square(exact).sum() / np.square(found - exact).sum()) > 25


def test_a_state_inside_a_time_distributed_layer_is_refused(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    inner = keras.Input((5, INPUTS))
    state = k.GRU(3)(inner)
    x = keras.Input((STEPS, 5, INPUTS), name="x")
    decoder = keras.Model(inner, k.GRU(3)(inner, initial_state=state))
    keras.Model(x, k.TimeDistributed(decoder)(x)).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match="an initial state inside a TimeDistributed is not supported"):
        importers.read(tmp_path / "m.keras")
