"""The Keras importer on files that real Keras wrote (tools/make_keras_fixtures.py), and on damaged and hostile ones."""

from __future__ import annotations

import io
import json
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelstm import importers, reference
from edgelstm.errors import CheckpointError
from edgelstm.importers.keras_fold import merge, settled
from edgelstm.layers import LARGEST, LINEAR, Activate, Activation, Dense, Last, Lstm
from edgelstm.model import Model

h5py = pytest.importorskip("h5py")

GOLDEN = Path(__file__).parent / "golden" / "keras"
LAYERS = GOLDEN.parent / "keras_layers"  # of other layers than LSTM and Dense
FILES = sorted(
    path.name for folder in (GOLDEN, LAYERS) for path in folder.iterdir() if path.suffix in (".h5", ".keras")
)
KERAS3 = "keras315_stack.keras"
KERAS2 = "keras23_stack.h5"


def golden(name: str) -> Path:
    return GOLDEN / name if (GOLDEN / name).exists() else LAYERS / name


def answers(name: str) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Inputs and Keras' own outputs of a fixture."""
    stem = name.split(".")[0].removesuffix("_weights")
    with np.load(golden(f"{stem}.npz")) as data:
        count = sum(key.startswith("x") for key in data)
        xs = [data[f"x{n}"] for n in range(count)]
        words = stem.endswith("words")  # one number a step
        return tuple(x[..., None] if words else x for x in xs), tuple(data[f"y{n}"] for n in range(len(data) - count))


def refused(path: Path, *words: str, **more: Any) -> str:
    """The one-line message with which a checkpoint is refused; it holds all the words."""
    with pytest.raises(CheckpointError) as caught:
        importers.read(path, **more)
    text = str(caught.value)
    assert "\n" not in text and "\x1b" not in text and len(text) < 1800
    for word in words:
        assert word in text, text
    return text


def edited(tmp_path: Path, change: Callable[[Any], Any], name: str = KERAS3) -> Path:
    """A copy of a `.keras` fixture with another config.json."""
    target = tmp_path / "edited.keras"
    with zipfile.ZipFile(GOLDEN / name) as source, zipfile.ZipFile(target, "w") as archive:
        for member in source.namelist():
            data = source.read(member)
            if member == "config.json":
                config = json.loads(data)
                data = json.dumps(change(config) or config).encode()
            archive.writestr(member, data)
    return target


def setting(tmp_path: Path, layer: int, **values: Any) -> Path:
    """A copy of the Keras 3 stack with other settings of a layer: 1 LSTM, 2 Dropout, 3 LSTM, 4 Dense, 5 Activation."""

    def change(config: Any) -> None:
        config["config"]["layers"][layer]["config"].update(values)

    return edited(tmp_path, change)


def reweighted(tmp_path: Path, change: Callable[[Any], None], name: str = KERAS2) -> Path:
    """A copy of an `.h5` fixture with its HDF5 file changed."""
    target = tmp_path / name
    shutil.copy(golden(name), target)
    with h5py.File(target, "r+") as file:
        change(file)
    return target


# What real Keras wrote


def told(tmp_path: Path, name: str) -> Path:
    """A fixture's path; Keras 1 does not tell its backend, which matters to convolutions."""
    if name != "keras1_around.h5":
        return golden(name)

    def tell(file: Any) -> None:
        file.attrs["backend"] = "theano"

    return reweighted(tmp_path, tell, name)


@pytest.mark.parametrize("name", FILES)
def test_reads_what_keras_wrote_and_answers_as_keras_did(tmp_path: Path, name: str) -> None:
    model = importers.read(told(tmp_path, name))
    xs, expected = answers(name)
    ys = reference.run(model, xs)
    assert len(ys) == len(expected)
    for y, want in zip(ys, expected, strict=True):
        assert y.shape == want.shape and np.ptp(want, axis=0).max() > 0.005
        assert np.abs(y - want).max() <= 1e-6 * max(1.0, np.abs(want).max()), name
    assert model.source.format == "keras" and model.source.file == name and len(model.source.sha256) == 64


def test_every_generation_is_among_the_fixtures() -> None:
    made_by = {name.split("_")[0] for name in FILES}
    expected = "keras1 keras22 keras23 tf115 tf212 tfkeras keras30 keras33 keras36 keras315"
    assert made_by == set(expected.split())


@pytest.mark.parametrize("name", ["keras1_outputs.h5", "keras23_outputs.h5", "keras315_outputs.keras"])
def test_activations_join_the_dense_before_them(name: str) -> None:
    model = importers.read(GOLDEN / name)
    assert [type(layer).__name__ for layer in model.layers] == ["Lstm", "Lstm", "Last", "Dense", "Dense", "Dense"]
    dense = {layer.activation.name: layer.activation for layer in model.layers if isinstance(layer, Dense)}
    assert set(dense) == {"softmax", "leaky_relu", "elu"}
    assert dense["leaky_relu"].alpha == pytest.approx(0.3) and dense["elu"].alpha == 0.5
    assert model.inputs == ("sensor",) and model.outputs[0] == "label" and model.meta.window == 6


def test_a_cell_state_that_nothing_reads_is_left_out() -> None:
    """As of `y, h, c = LSTM(4, return_state=True)(x)`, which goes on with y."""
    ones = np.ones((4, 2, 2), np.float32)
    cell = Lstm("l", ("x",), ("h", "c"), ones, ones, np.zeros((4, 2), np.float32))
    ends = [Last("y", ("h",), ("y",)), Last("z", ("c",), ("z",))]
    layers, _ = settled([cell, *ends], ["y"])
    assert [layer.writes for layer in layers] == [("h",), ("y",)]
    layers, _ = settled([cell, *ends], ["y", "z"])
    assert layers[0].writes == ("h", "c")


def test_an_activation_stays_alone_where_the_dense_has_another_reader() -> None:
    ones = np.ones((2, 2), np.float32)
    dense = Dense("d", ("x",), ("d",), ones, np.zeros(2), LINEAR)
    act = Activate("a", ("d",), ("a",), Activation("relu"))
    (joined,) = merge([dense, act], ["a"])
    assert isinstance(joined, Dense) and joined.activation.name == "relu" and joined.writes == ("a",)
    assert merge([dense, act], ["a", "d"]) == [dense, act]
    again = Activate("b", ("d",), ("b",), Activation("tanh"))
    assert merge([dense, act, again], ["a", "b"]) == [dense, act, again]
    second = Activate("b", ("a",), ("b",), Activation("tanh"))
    assert [type(layer).__name__ for layer in merge([dense, act, second], ["b"])] == ["Dense", "Activate"]


def test_a_keras_1_convolution_needs_its_backend(tmp_path: Path) -> None:
    """Theano's answers; TensorFlow's are those of the kernels the other way round."""
    refused(LAYERS / "keras1_around.h5", "'convolution1d", "backend", "Theano")
    xs, (want,) = answers("keras1_around.h5")
    theano = importers.read(told(tmp_path, "keras1_around.h5"))

    def tell(file: Any) -> None:
        file.attrs["backend"] = "tensorflow"

    other = importers.read(reweighted(tmp_path, tell, "keras1_around.h5"))
    assert np.abs(reference.run(theano, xs)[0] - want).max() < 1e-6
    assert np.abs(reference.run(other, xs)[0] - want).max() > 1e-3


def test_shared_layers_are_copied_and_said_so() -> None:
    model = importers.read(GOLDEN / "keras315_siamese.keras")
    assert sum(isinstance(layer, Lstm) for layer in model.layers) == 4 and len(model.inputs) == 2
    assert any("shared" in note for note in model.notes)


@pytest.mark.parametrize(
    ("name", "gate"),
    [("keras1_stack.h5", "hard_sigmoid_fifth"), ("keras23_stack.h5", "hard_sigmoid_fifth")]
    + [("tfkeras_stack.keras", "hard_sigmoid_fifth"), ("keras315_stack.keras", "hard_sigmoid")]
    + [("keras315_stack.h5", "hard_sigmoid"), ("keras315_stack_weights.weights.h5", "hard_sigmoid")]
    + [("keras1_stack_weights.h5", "hard_sigmoid_fifth")],
)
def test_the_writers_version_decides_the_slope_of_hard_sigmoid(name: str, gate: str) -> None:
    first = importers.read(GOLDEN / name).layers[0]
    assert isinstance(first, Lstm) and first.gate_activation.name == gate


def test_hard_sigmoid_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "unknown.h5"
    shutil.copy(GOLDEN / "keras23_stack_weights.h5", source)
    with h5py.File(source, "r+") as file:
        del file.attrs["keras_version"]
    config = json.loads((GOLDEN / "keras23_stack_weights.json").read_text())
    del config["keras_version"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(source, "hard_sigmoid", "keras_version")


# Weights without a configuration


@pytest.mark.parametrize("name", ["keras1_stack_weights.h5", "keras315_stack_weights.weights.h5"])
@pytest.mark.parametrize("beside", ["{stem}.json", "config.json", "{name}.config.json"])
def test_finds_the_configuration_beside_the_weights(tmp_path: Path, name: str, beside: str) -> None:
    shutil.copy(GOLDEN / name, tmp_path / name)
    stem = name.split(".")[0]
    shutil.copy(GOLDEN / f"{stem}.json", tmp_path / beside.format(stem=stem, name=name))
    xs, (want,) = answers(name)
    assert np.abs(reference.run(importers.read(tmp_path / name), xs)[0] - want).max() < 1e-6


def test_takes_the_configuration_by_name_or_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    shutil.copy(GOLDEN / "keras23_stack_weights.h5", path)
    refused(path, "weights only", "'w.json'")
    refused(path, "no.json", architecture=tmp_path / "no.json")
    model = importers.read(path, architecture=GOLDEN / "keras23_stack_weights.json")
    assert any("keras23_stack_weights.json" in note for note in model.notes)
    bare = json.loads((GOLDEN / "keras23_stack_weights.json").read_text())["config"]
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    assert len(importers.read(path, architecture=tmp_path / "bare.json").layers) == len(model.layers)
    (tmp_path / "bad.json").write_text("[" * 100000)
    refused(path, "bad.json", architecture=tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text('{"a": 1')
    refused(path, "bad.json", architecture=tmp_path / "bad.json")


def test_renamed_layers_are_matched_in_order_with_a_note(tmp_path: Path) -> None:
    text = (GOLDEN / "keras23_stack_weights.json").read_text()
    for old, new in (("lstm_1", "first"), ("lstm_2", "second"), ("dense_1", "third")):
        text = text.replace(f'"{old}"', f'"{new}"')
    (tmp_path / "renamed.json").write_text(text)
    model = importers.read(GOLDEN / "keras23_stack_weights.h5", architecture=tmp_path / "renamed.json")
    assert any("in order" in note for note in model.notes)
    xs, (want,) = answers("keras23_stack_weights.h5")
    assert np.abs(reference.run(model, xs)[0] - want).max() < 1e-6


def test_an_architecture_that_does_not_fit_is_refused() -> None:
    refused(
        GOLDEN / "keras23_stack_weights.h5", "belong together", architecture=GOLDEN / "keras23_siamese_weights.json"
    )
    refused(
        GOLDEN / "keras315_stack_weights.weights.h5", "missing", architecture=GOLDEN / "keras315_siamese_weights.json"
    )


@pytest.mark.parametrize("name", [KERAS3, KERAS2])
def test_a_whole_model_takes_neither_head_nor_architecture(name: str) -> None:
    refused(GOLDEN / name, "head", head="relu")
    refused(GOLDEN / name, "architecture", architecture=GOLDEN / "keras23_stack_weights.json")


# Settings


@pytest.mark.parametrize(
    ("layer", "values", "words"),
    [
        (1, {"go_backwards": 1}, ["'lstm'", "go_backwards", "true or false"]),
        (1, {"time_major": True}, ["time_major"]),
        (1, {"return_state": True}, ["return_state"]),
        (1, {"wings": 2}, ["wings", "not known"]),
        (1, {"units": 0}, ["units"]),
        (1, {"units": -4}, ["units"]),
        (1, {"units": 10**30}, ["kernel", "shape"]),
        (1, {"units": "4"}, ["units"]),
        (1, {"units": True}, ["units"]),
        (1, {"units": 5}, ["kernel", "(2, 16)", "(2, 20)"]),
        (1, {"use_bias": 1}, ["use_bias"]),
        (1, {"use_bias": False}, ["no layer uses", "lstm"]),
        (1, {"return_sequences": False}, ["'lstm_1'", "single step", "return_sequences"]),
        (1, {"return_sequences": None}, ["return_sequences"]),
        (1, {"activation": "swirl"}, ["activation", "'swirl'", "supported"]),
        (1, {"activation": "softmax"}, ["activation = 'softmax'", "value by value"]),
        (1, {"recurrent_activation": "log_softmax"}, ["recurrent_activation = 'log_softmax'", "value by value"]),
        (1, {"activation": "glu"}, ["activation = 'glu'", "halves the values"]),
        (4, {"activation": "threshold"}, ["activation = 'threshold'", "two numbers"]),
        (1, {"activation": {"class_name": "function", "config": "<lambda>", "module": "builtins"}}, ["<lambda>"]),
        (1, {"activation": {"class_name": "Lambda", "config": {}}}, ["activation"]),
        (1, {"activation": {"class_name": "function", "config": "relu", "module": "my.own"}}, ["activation"]),
        (1, {"activation": ["tanh"]}, ["activation"]),
        (1, {"dtype": "int8_from_float32"}, ["dtype", "float32"]),
        (1, {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8"}}}, ["dtype"]),
        (1, {"dtype": 7}, ["dtype"]),
        (1, {"name": "\x1b[31mred"}, ["\\x1b[31mred", "weights of 'lstm'"]),
        (1, {"name": 7}, ["named 7"]),
        (1, {"name": "n" * 5000}, ["characters"]),
        (4, {"quantization_config": {"mode": "int8"}}, ["quantization_config"]),
        (4, {"lora_rank": 2}, ["lora_rank"]),
        (4, {"units": 4}, ["'dense'", "kernel"]),
        (5, {"axis": 1}, ["axis"]),
        (0, {"batch_shape": [None, 6]}, ["'lstm'", "single step"]),
        (0, {"batch_shape": [None]}, ["(sequences, steps, values)"]),
        (0, {"batch_shape": [None, 6, None]}, ["only its steps may be unknown"]),
        (0, {"batch_shape": [None, 6, -2]}, ["must be known"]),
        (0, {"batch_shape": [None, 6, 3]}, ["kernel"]),
        (0, {"batch_shape": [None, 6, 10**9]}, ["kernel"]),
        (0, {"sparse": True}, ["sparse"]),
        (0, {"optional": True}, ["optional"]),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(
    tmp_path: Path, layer: int, values: dict[str, Any], words: list[str]
) -> None:
    refused(setting(tmp_path, layer, **values), *words)


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (1, {"unroll": True, "seed": 3, "dropout": 0.5, "zero_output_for_mask": True, "use_cudnn": "auto"}),
        (1, {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}, "implementation": 2}),
        (2, {"rate": 0.9}),
        (4, {"kernel_constraint": {"class_name": "NonNeg"}, "trainable": False}),
    ],
)
def test_settings_of_training_change_nothing(tmp_path: Path, layer: int, values: dict[str, Any]) -> None:
    xs, (want,) = answers(KERAS3)
    model = importers.read(setting(tmp_path, layer, **values))
    assert np.abs(reference.run(model, xs)[0] - want).max() < 1e-6 and model.notes == ()


@pytest.mark.parametrize(
    ("value", "name", "alpha"),
    [
        ("swish", "silu", 0.0),
        ("leaky_relu", "leaky_relu", 0.2),
        ("celu", "elu", 1.0),
        ("elu", "elu", 1.0),
        ("gelu", "gelu", 0.0),
        (None, "linear", 0.0),
        ({"class_name": "LeakyReLU", "config": {"name": "a", "negative_slope": 0.1}}, "leaky_relu", 0.1),
        ({"class_name": "LeakyReLU", "config": {"alpha": {"type": "ndarray", "value": 0.25}}}, "leaky_relu", 0.25),
        (
            {"module": "builtins", "class_name": "function", "config": "relu6", "registered_name": "function"},
            "relu6",
            0,
        ),
        ({"class_name": "ReLU", "config": {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}}, "relu6", 0.0),
        ({"class_name": "ReLU", "config": {"max_value": None, "negative_slope": 0.5}}, "leaky_relu", 0.5),
    ],
)
def test_activations_by_name_and_serialized(tmp_path: Path, value: Any, name: str, alpha: float) -> None:
    layer = importers.read(setting(tmp_path, 1, activation=value)).layers[0]
    assert isinstance(layer, Lstm) and layer.activation == Activation(name, alpha)


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("ReLU", {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}, Activation("relu6")),
        ("ReLU", {"max_value": None, "negative_slope": 0.25}, Activation("leaky_relu", 0.25)),
        ("ReLU", {}, Activation("relu")),
        ("ReLU", {"max_value": -1.0}, "max_value"),
        ("ReLU", {"max_value": 2.0}, Activation("clip", 0.0, 2.0)),
        ("ReLU", {"max_value": 6.0, "negative_slope": 0.1}, Activation("rectify", 0.0, 0.1, 6.0)),
        ("ReLU", {"threshold": 0.5}, Activation("rectify", 0.5, 0.0, LARGEST)),
        ("ReLU", {"threshold": -0.5}, "threshold"),
        ("ThresholdedReLU", {"theta": 0.5}, Activation("threshold", 0.5)),
        ("ReLU", {"threshold": "0"}, "threshold"),
        ("ReLU", {"negative_slope": float("nan")}, "negative_slope"),
        ("LeakyReLU", {"negative_slope": 0.3}, Activation("leaky_relu", 0.3)),
        ("LeakyReLU", {"alpha": None}, "alpha"),
        ("ELU", {"alpha": 2.0}, Activation("elu", 2.0)),
        ("Softmax", {"axis": -1}, Activation("softmax")),
        ("Softmax", {"axis": 0}, "axis"),
        ("Lambda", {"function": "4wEAAAAA"}, "'Lambda' layers are not supported"),
        ("GRU", {"units": 3}, "its kernel is missing"),
        ("Bidirectional", {}, "where a layer should be"),
        ("Bidirectional", {"layer": {"class_name": "Dense", "config": {}}}, "kernel is missing"),
        ("Bidirectional", {"layer": {"class_name": "Dropout", "config": {}}}, "Bidirectional around 'Dropout'"),
        ("Masking", {"mask_value": 0.0}, "only steps of values"),
        ("PReLU", {}, "its alpha is missing"),
        ("RNN", {"cell": {"class_name": "Mine", "config": {}}}, "'Mine' layers are not supported"),
        ("RNN", {"cell": {"class_name": "PeepholeLSTMCell", "config": {}}}, "'PeepholeLSTMCell' layers are not"),
        ("RNN", {"cell": {"class_name": "StackedRNNCells", "config": {"cells": []}}}, "hold no list"),
        ("UnitNormalization", {"axis": -1}, "'UnitNormalization' layers are not supported"),
        ("Dot", {"axes": 1}, "'Dot' layers are not supported: take Attention"),
        ("\x1b]0;x\x07", {}, "layers are not supported"),
    ],
)
def test_layers_in_place_of_the_last_one(tmp_path: Path, kind: str, config: dict[str, Any], expected: Any) -> None:
    def change(whole: Any) -> None:
        whole["config"]["layers"][5] = {
            "module": "keras.layers", "class_name": kind, "config": {"name": "activation", **config},
        }  # fmt: skip

    path = edited(tmp_path, change)
    if isinstance(expected, str):
        refused(path, expected)
    else:
        last = importers.read(path).layers[-1]
        assert isinstance(last, Dense) and last.activation == expected


WEIGHTED: dict[str, dict[str, Any]] = {
    "ConvLSTM1D": {"filters": 4, "kernel_size": [3]},
    "GroupNormalization": {"groups": 2, "axis": -1},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": [4]},
    "Conv1DTranspose": {"filters": 4, "kernel_size": [3]},
    "Highway": {"activation": "tanh"},
}
"""Layers with weights that are not supported, and some of their settings."""


def replaced(layers: list[Any], kind: str) -> str:
    """Puts a layer of that kind in the place of the first LSTM, whose tensors stay in the file; its name."""
    entry = next(layer for layer in layers if layer["class_name"] == "LSTM")
    name: str = entry["config"]["name"]
    entry.update({"class_name": kind, "config": {"name": name, **WEIGHTED[kind]}})
    entry.pop("registered_name", None)
    return name


def refused_kind(path: Path, kind: str, name: str, **more: Any) -> None:
    text = refused(path, f"layer {name!r}: {kind!r} layers are not supported", "supported: TimeDistributed", **more)
    assert "tensors" not in text


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("name", [KERAS3, "tfkeras_stack.keras"])
def test_unsupported_layers_with_weights_in_archives(tmp_path: Path, kind: str, name: str) -> None:
    names: list[str] = []
    path = edited(tmp_path, lambda config: names.append(replaced(config["config"]["layers"], kind)), name)
    refused_kind(path, kind, names[0])


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("name", ["keras1_stack.h5", KERAS2, "keras315_stack.h5"])
def test_unsupported_layers_with_weights_in_whole_h5_files(tmp_path: Path, kind: str, name: str) -> None:
    names: list[str] = []

    def change(file: Any) -> None:
        config = json.loads(file.attrs["model_config"])
        layers = config["config"]
        names.append(replaced(layers["layers"] if isinstance(layers, dict) else layers, kind))
        file.attrs["model_config"] = json.dumps(config)

    refused_kind(reweighted(tmp_path, change, name), kind, names[0])


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize(
    "name", ["keras1_stack_weights.h5", "keras23_stack_weights.h5", "keras315_stack_weights.weights.h5"]
)
def test_unsupported_layers_with_weights_beside_their_configuration(tmp_path: Path, kind: str, name: str) -> None:
    config = json.loads((GOLDEN / f"{name.split('.')[0]}.json").read_text())
    layers = config["config"]
    layer = replaced(layers["layers"] if isinstance(layers, dict) else layers, kind)
    (tmp_path / "other.json").write_text(json.dumps(config))
    refused_kind(GOLDEN / name, kind, layer, architecture=tmp_path / "other.json")


@pytest.mark.parametrize("kind", WEIGHTED)
def test_unsupported_layers_with_weights_inside_models_and_wrappers(tmp_path: Path, kind: str) -> None:
    names: list[str] = []

    def nest(config: Any) -> None:
        model = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Functional")
        names.append(replaced(model["config"]["layers"], kind))

    def wrap(config: Any) -> None:
        layers = config["config"]["layers"]
        names.append(replaced(layers, kind))
        inner = dict(layers[1])
        layers[1] = {"class_name": "TimeDistributed", "config": {"name": "each", "layer": inner}}

    for change, name in ((nest, "keras315_siamese.keras"), (wrap, KERAS3)):
        refused_kind(edited(tmp_path, change, name), kind, names[-1])


def test_every_unsupported_layer_is_named(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        layers = config["config"]["layers"]
        replaced(layers, "EinsumDense")
        replaced(layers, "Conv1DTranspose")
        layers += [{"class_name": f"Kind{n}", "config": {"name": f"more_{n}"}} for n in range(5)]

    text = refused(
        edited(tmp_path, change),
        "layer 'lstm': 'EinsumDense' layers are not supported, nor are 'Conv1DTranspose' ('lstm_1')",
    )
    assert "'Kind2' ('more_2'), 2 more; supported" in text


def test_an_unsupported_kind_is_told_before_the_arguments_of_a_call(tmp_path: Path) -> None:
    """Keras 3 writes a slice or a mask as layers and arguments of their own; the kind says more than those."""

    def slice_it(config: Any) -> None:
        config["layers"][1].update({"class_name": "Flip", "module": "keras.src.ops.numpy"})
        config["layers"][1]["inbound_nodes"][0]["args"].append({"class_name": "__slice__", "config": {}})

    def mask_it(config: Any) -> None:
        config["layers"][1]["inbound_nodes"][0]["kwargs"]["mask"] = 1
        config["layers"][2].update({"class_name": "Highway"})

    refused(functional(tmp_path, slice_it), "'Flip' layers are not supported")
    refused(functional(tmp_path, mask_it), "'Highway' layers are not supported")


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float16", "float64"])
def test_other_precisions_are_noted(tmp_path: Path, policy: str) -> None:
    model = importers.read(setting(tmp_path, 1, dtype={"class_name": "DTypePolicy", "config": {"name": policy}}))
    assert any("float32" in note and "lstm" in note for note in model.notes)


def test_a_stateful_layer_is_noted(tmp_path: Path) -> None:
    assert any("carry=True" in note for note in importers.read(setting(tmp_path, 1, stateful=True)).notes)


def test_names_for_terminals_are_made_plain(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        config["config"]["layers"][0]["config"]["name"] = "\x1b[31mred\n"

    model = importers.read(edited(tmp_path, change))
    assert model.inputs == ("?[31mred?",)


# Graphs


def functional(tmp_path: Path, change: Callable[[Any], Any], name: str = "keras315_outputs.keras") -> Path:
    return edited(tmp_path, lambda config: change(config["config"]), name)


def test_calls_with_more_than_an_input_are_refused(tmp_path: Path) -> None:
    def with_argument(key: str, value: Any) -> Path:
        def change(config: Any) -> None:
            config["layers"][1]["inbound_nodes"][0]["kwargs"][key] = value

        return functional(tmp_path, change)

    refused(with_argument("training", True), "training", "as in training")
    refused(with_argument("initial_state", [{"class_name": "__keras_tensor__"}]), "not understood")
    refused(with_argument("initial_state", 1), "initial_state = 1")
    refused(with_argument("constants", [1]), "'constants' = [1]: the argument is not supported")
    refused(with_argument("mask", 1), "mask")
    importers.read(with_argument("training", False))


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (["lstm_99", 0, 0], ["come from no layer"]),
        (["sensor", 3, 0], ["calls are listed"]),
        (["sensor", 0, 1], ["output 1"]),
        (["sensor", 0], ["not understood"]),
        (["sensor", -1, 0], ["not understood"]),
        ("sensor", ["not understood"]),
        (["label", 0, 0], ["come from no layer"]),
    ],
)
def test_references_to_nothing_are_refused(tmp_path: Path, history: Any, words: list[str]) -> None:
    def change(config: Any) -> None:
        config["layers"][1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = history

    refused(functional(tmp_path, change), *words)


def test_a_shared_stateful_layer_is_refused(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        inner = next(layer for layer in config["layers"] if layer["class_name"] == "Functional")
        inner["config"]["layers"][1]["config"]["stateful"] = True

    refused(functional(tmp_path, change, "keras315_siamese.keras"), "stateful", "more than once")


def test_models_that_call_each_other_without_end_are_refused(tmp_path: Path) -> None:
    """Each model calls the one inside twice, so that a few kilobytes ask for 2^15 calls."""

    def tensor(name: str, call: int) -> Any:
        return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, 0]}}

    entry: Any = {"class_name": "Activation", "config": {"name": "m0", "trainable": True, "activation": "tanh"}}
    for depth in range(1, 16):
        inner = {**entry, "inbound_nodes": [{"args": [tensor("i", 0)]}, {"args": [tensor(f"m{depth - 1}", 0)]}]}
        source = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, None, 2]}}
        entry = {
            "class_name": "Functional",
            "config": {
                "name": f"m{depth}",
                "layers": [source, inner],
                "input_layers": [["i", 0, 0]],
                "output_layers": [[f"m{depth - 1}", 1, 0]],
            },
        }
    weights = io.BytesIO()
    h5py.File(weights, "w").close()
    path = archive_of(
        tmp_path, {"config.json": json.dumps(entry).encode(), "model.weights.h5": weights.getvalue().ljust(4096)}
    )
    refused(path, "calls its layers more than")
    deep = entry
    for depth in range(20):
        deep = {"class_name": "Sequential", "config": {"name": f"s{depth}", "layers": [deep]}}
    refused(edited(tmp_path, lambda _: deep), "nests")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ["where a layer should be"]),
        (7, ["where a layer should be"]),
        ({"class_name": "LSTM", "config": {"name": "lstm"}}, ["expected a Sequential"]),
        ({"class_name": "Sequential", "config": {"name": "s", "layers": []}}, ["no layers"]),
        ({"class_name": "Sequential", "config": None}, ["no config"]),
        ({"class_name": "Net", "module": "__main__", "config": {"name": "n"}, "registered_name": "Net"}, ["author"]),
        ({"class_name": "Sequential", "registered_name": "pkg>S", "config": {"name": "n", "layers": [1]}}, ["author"]),
        ({"class_name": "Functional", "config": {"name": "f", "layers": [{}]}}, ["where a layer should be"]),
        ({"class_name": "Sequential", "config": {"name": "s", "layers": [[[[]]]]}}, ["no layers"]),
    ],
)
def test_configurations_that_are_no_models_are_refused(tmp_path: Path, config: Any, words: list[str]) -> None:
    target = tmp_path / "c.keras"
    with zipfile.ZipFile(GOLDEN / KERAS3) as source, zipfile.ZipFile(target, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", source.read("model.weights.h5"))
    refused(target, *words)


def test_every_value_of_a_configuration_replaced_is_read_or_refused(tmp_path: Path) -> None:
    """Each value in turn becomes something else; nothing but CheckpointError may come of it."""
    strange: tuple[Any, ...] = (None, True, -1, 1e308, "\x1b[2J", [], {}, [[]], {"class_name": "function"})
    for name in ("keras315_siamese.keras", "tfkeras_sequence.keras"):
        with zipfile.ZipFile(GOLDEN / name) as archive:
            config = json.loads(archive.read("config.json"))
            members = {member: archive.read(member) for member in archive.namelist()}
        places: list[tuple[Any, Any]] = []

        def collect(value: Any, places: list[tuple[Any, Any]] = places) -> None:
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                if "initializer" not in str(key):
                    places.append((value, key))
                    if isinstance(value[key], dict | list):
                        collect(value[key], places)

        collect(config)
        target, read_anyway = tmp_path / name, 0
        for number, (value, key) in enumerate(places):
            kept, new = value[key], strange[number % len(strange)]
            value[key] = new
            with zipfile.ZipFile(target, "w") as archive:
                for member, data in members.items():
                    archive.writestr(member, json.dumps(config) if member == "config.json" else data)
            value[key] = kept
            try:
                importers.read(target)
                read_anyway += 1
            except CheckpointError as error:
                assert "\n" not in str(error) and "\x1b" not in str(error), (name, number, key)
        assert 0 < read_anyway < 0.7 * len(places), (read_anyway, len(places))


# Tensors


def test_tensors_must_fit_the_layers_exactly(tmp_path: Path) -> None:
    kernel = "model_weights/lstm_1/lstm_1/kernel:0"

    def put(values: np.ndarray) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            del file[kernel]
            file[kernel] = values

        return change

    path = reweighted(tmp_path, lambda file: None)
    with h5py.File(path) as file:
        good = file[kernel][()]
    bad = good.copy()
    bad[0, 0] = np.nan
    refused(reweighted(tmp_path, put(bad)), "'lstm_1'", "kernel", "NaN")
    bad[0, 0] = np.inf
    refused(reweighted(tmp_path, put(bad)), "infinite")
    refused(reweighted(tmp_path, put(good.astype(np.float64) * 1e300)), "infinite")
    refused(reweighted(tmp_path, put(good.astype(np.int32))), "int32")
    refused(reweighted(tmp_path, put(good.astype(np.complex64))), "numbers")
    refused(reweighted(tmp_path, put(good[:, :-1])), "shape")
    refused(reweighted(tmp_path, put(good.ravel())), "shape")
    importers.read(reweighted(tmp_path, put(good.astype(np.float16))))


def test_missing_and_left_over_tensors_are_named(tmp_path: Path) -> None:
    def remove(file: Any) -> None:
        del file["model_weights/dense_1/dense_1/bias:0"]

    def add(file: Any) -> None:
        file["model_weights/dense_1/\x1b[31mextra"] = np.ones(3, np.float32)

    def swap(file: Any) -> None:
        group = file["model_weights/dense_1"]
        group.attrs["weight_names"] = [b"dense_1/bias:0", b"dense_1/kernel:0"]

    refused(reweighted(tmp_path, remove), "dense_1", "bias:0", "missing")
    refused(reweighted(tmp_path, add), "no layer uses", "extra")
    refused(reweighted(tmp_path, swap), "expected its kernel")
    refused(reweighted(tmp_path, lambda file: file["model_weights/dense_1"].attrs.pop("weight_names")), "weight_names")


def test_long_lists_of_names_cut_into_chunks_are_joined(tmp_path: Path) -> None:
    def chunk(file: Any) -> None:
        for group, name in ((file["model_weights"], "layer_names"), (file["model_weights/lstm_1"], "weight_names")):
            names = list(group.attrs[name])
            del group.attrs[name]
            group.attrs[f"{name}0"], group.attrs[f"{name}1"] = names[:2], names[2:]

    xs, (want,) = answers(KERAS2)
    assert np.abs(reference.run(importers.read(reweighted(tmp_path, chunk)), xs)[0] - want).max() < 1e-6


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_every_layout_of_the_hdf5_library_is_read(tmp_path: Path, libver: str) -> None:
    """A file copied by h5py with another library version, creation order tracked, tensors packed."""
    target = tmp_path / "copy.h5"
    with h5py.File(GOLDEN / KERAS2) as source, h5py.File(target, "w", libver=libver, track_order=True) as copy:
        copy.attrs.update(source.attrs)

        def add(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                packing = {"compression": "gzip"} if item.shape and libver == "latest" else {}
                made = copy.create_dataset(name, data=item[()], **packing)
            else:
                made = copy.create_group(name, track_order=True)
            for key, value in item.attrs.items():
                made.attrs[key] = value

        source.visititems(add)
    xs, (want,) = answers(KERAS2)
    assert np.abs(reference.run(importers.read(target), xs)[0] - want).max() < 1e-6


def test_attributes_kept_apart_are_refused(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        group = file.create_group("many", track_order=True)
        for number in range(100):
            group.attrs[f"name{number}"] = "x"

    refused(reweighted(tmp_path, change), "in a way no Keras does")


def test_bfloat16_tensors_are_widened(tmp_path: Path) -> None:
    """Keras 3 stores bfloat16 as two opaque bytes a number, marked by an attribute."""
    source = tmp_path / "b.keras"
    with zipfile.ZipFile(GOLDEN / KERAS3) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        place = "layers/dense/vars/0"
        good = file[place][()]
        del file[place]
        upper = (good.view(np.uint32) >> 16).astype("<u2")
        file.create_dataset(place, data=upper.view("V2")).attrs["dtype"] = "bfloat16"
    members["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(source, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    dense = importers.read(source).layers[-1]
    assert isinstance(dense, Dense)
    assert np.abs(dense.kernel - good.T).max() <= 2**-7 * np.abs(good).max() and (dense.kernel != good.T).any()


# Hostile files


def test_hdf5_that_reaches_outside_itself_is_refused(tmp_path: Path) -> None:
    place = "model_weights/dense_1/dense_1/kernel:0"
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["d"] = np.ones((3, 3), np.float32)

    def external_link(file: Any) -> None:
        del file[place]
        file[place] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/d")

    def soft_link(file: Any) -> None:
        file.move(place, "elsewhere")
        file[place] = h5py.SoftLink("/elsewhere")

    def external_storage(file: Any) -> None:
        del file[place]
        file.create_dataset(place, (3, 3), "f4", external=[(str(tmp_path / "secret.bin"), 0, 36)])

    def virtual(file: Any) -> None:
        del file[place]
        layout = h5py.VirtualLayout((3, 3), "f4")
        layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "d", (3, 3))
        file.create_virtual_dataset(place, layout)

    refused(reweighted(tmp_path, external_link), "link", "refused")
    refused(reweighted(tmp_path, soft_link), "link", "refused")
    refused(reweighted(tmp_path, external_storage), "another file")
    refused(reweighted(tmp_path, virtual), "another file")


def test_hdf5_that_explodes_or_loops_is_refused(tmp_path: Path) -> None:
    place = "model_weights/dense_1/dense_1/kernel:0"

    def never_written(file: Any) -> None:
        del file[place]
        file.create_dataset(place, (1 << 20, 1 << 14), "f4", chunks=(1024, 1024), fillvalue=0.5)

    def packed(file: Any) -> None:
        del file[place]
        file.create_dataset(place, data=np.zeros((2000, 2000), np.float32), compression="gzip", compression_opts=9)

    def loop(file: Any) -> None:
        file["model_weights/dense_1/again"] = file["model_weights"]

    def twice(file: Any) -> None:
        file["model_weights/copy"] = file[place]

    def named_type(file: Any) -> None:
        file["type"] = np.dtype("f4")

    def text(file: Any) -> None:
        file["model_weights/text"] = ["a", "b"]

    refused(reweighted(tmp_path, never_written), "larger than the file")
    refused(reweighted(tmp_path, packed), "larger than the file")
    refused(reweighted(tmp_path, loop), "twice")
    refused(reweighted(tmp_path, twice), "twice")
    refused(reweighted(tmp_path, named_type), "named type")
    refused(reweighted(tmp_path, text), "plain numbers")


def test_attributes_that_are_not_keras_are_refused(tmp_path: Path) -> None:
    def with_attribute(place: str, name: str, value: Any) -> Path:
        def change(file: Any) -> None:
            file[place].attrs[name] = value

        return reweighted(tmp_path, change)

    weights = "model_weights"
    refused(with_attribute(weights, "layer_names", np.arange(5)), "no text")
    refused(with_attribute(weights, "layer_names", ["lstm_1", "lstm_1"]), "twice")
    refused(with_attribute(weights, "layer_names", ["../.."]), "'../..'")
    refused(with_attribute("/", "model_config", "{"), "model_config")
    refused(with_attribute("/", "model_config", np.bytes_(b"\xff\xfe")), "UTF-8")
    refused(with_attribute("/", "model_config", ["a", "b"]), "model_config")
    refused(with_attribute("/", "keras_version", ["2", "3"]), "keras_version")
    assert importers.read(with_attribute("/", "remark", np.arange(5))).layers


def reference_to(data: bytes, text: bytes) -> bytes:
    """The 16 bytes (length, heap, entry) by which an HDF5 file refers to a text of its heap."""
    heap = data.rindex(b"GCOL\x01", 0, data.index(text))
    place = heap + 16
    while data[place + 16 : place + 16 + len(text)] != text:
        place += 16 + (int.from_bytes(data[place + 8 : place + 16], "little") + 7) // 8 * 8
    entry, size = struct.unpack_from("<H6xQ", data, place)
    return struct.pack("<IQI", size, heap, entry)


def test_many_entries_that_share_one_long_text_are_refused(tmp_path: Path) -> None:
    """4000 entries pointing at one text of 1 MB would become 4 GB."""

    def change(file: Any) -> None:
        file.attrs["model_config"] = "%%long" + " " * (1 << 20)
        file.attrs.create("layer_names", ["q" * 37] * 4000, dtype=h5py.string_dtype())

    path = reweighted(tmp_path, change)
    data = path.read_bytes()
    long = reference_to(data, b"%%long")
    short = reference_to(data, b"q" * 37)
    start = data.rindex(short)  # an earlier copy may lie in freed space
    path.write_bytes(data[:start] + long * 4000 + data[start + 16 * 4000 :])
    refused(path, "too many texts")


@pytest.mark.parametrize("name", ["keras1_relu.h5", "keras22_relu.h5", "tfkeras_relu.h5"])
def test_damaged_references_to_texts_are_refused(tmp_path: Path, name: str) -> None:
    """The HDF5 library crashes on some of these, and never returns from others."""
    data = (GOLDEN / name).read_bytes()
    good = reference_to(data, b'{"class_name')
    size, heap, entry = struct.unpack("<IQI", good)
    assert data.count(good) == 1
    target = tmp_path / name
    for changed in (
        (size | 0xFF0000, heap, entry),
        (size + 1, heap, entry),
        (size - 5, heap, entry),
        (size, heap + 8, entry),
        (size, 0, entry),
        (size, 1 << 63, entry),
        (size, heap, entry + 77),
        (size, heap, 0),
        (0, heap, entry),
    ):
        target.write_bytes(data.replace(good, struct.pack("<IQI", *changed)))
        refused(target)
    place = data.index(good)
    for header in range(place - 48, place):  # type and shape of the attribute
        for value in (0, 1, 6, 255):
            target.write_bytes(data[:header] + bytes([value]) + data[header + 1 :])
            try:
                importers.read(target)
            except CheckpointError as error:
                assert "\n" not in str(error), (header, value)
    for damage in (bytes(8), b"\xff" * 8):  # an entry of the heap that does not advance, or leaves it
        place = data.index(b'{"class_name') - 8
        target.write_bytes(data[:place] + damage + data[place + 8 :])
        refused(target, "texts")


@pytest.mark.parametrize("name", [KERAS2, KERAS3])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    target = tmp_path / name
    for size in [*range(1, 64, 7), *range(64, len(data) - 1, 997), len(data) - 1]:
        target.write_bytes(data[:size])
        try:
            importers.read(target)
        except CheckpointError as error:
            assert "\n" not in str(error), size
        else:
            pytest.fail(f"{name} cut to {size} of {len(data)} bytes was read")


@pytest.mark.parametrize("name", ["keras23_relu.h5", "keras315_relu.keras"])
def test_flipped_bytes_are_refused_or_change_values_only(tmp_path: Path, name: str) -> None:
    data = bytearray((GOLDEN / name).read_bytes())
    random = np.random.default_rng(5)
    target, refusals = tmp_path / name, 0
    for place in random.integers(0, len(data), 400):
        kept = data[place]
        data[place] ^= int(random.integers(1, 256))
        target.write_bytes(data)
        data[place] = kept
        try:
            model = importers.read(target)
        except CheckpointError as error:
            refusals += 1
            assert "\n" not in str(error), place
        else:
            assert isinstance(model, Model) and isinstance(model.layers[1], Last), place
    assert refusals > 20


def archive_of(tmp_path: Path, members: dict[str, bytes], packed: bool = False) -> Path:
    target = tmp_path / "a.keras"
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", kind) as archive:
        warnings.simplefilter("ignore")
        for name, data in members.items():
            archive.writestr(name.rstrip("2"), data)
    return target


def test_archives_that_are_not_keras_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(GOLDEN / KERAS3) as archive:
        good = {name: archive.read(name) for name in archive.namelist()}
    importers.read(archive_of(tmp_path, good, packed=True))
    refused(archive_of(tmp_path, {"config.json": b"{}"}), "model.weights.h5")
    refused(archive_of(tmp_path, {**good, "config.json2": b"{}"}), "two members")
    refused(archive_of(tmp_path, {**good, "assets/words.txt": b"a"}), "assets/words.txt")
    refused(archive_of(tmp_path, {**good, "model.weights.h5": b"PK"}), "HDF5")
    refused(archive_of(tmp_path, {**good, "model.weights.h5": bytes(10**8)}, packed=True), "claims")
    refused(archive_of(tmp_path, {**good, "config.json": b" " * (10**8)}, packed=True), "claims")
    refused(archive_of(tmp_path, {**good, "config.json": b"\xff"}), "JSON")
    refused(archive_of(tmp_path, {**good, "config.json": b"[" * 10**5}), "JSON")
    refused(archive_of(tmp_path, {**good, "metadata.json": b'{"keras_version": 3}'}), "keras_version")


def test_an_archive_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(GOLDEN / KERAS3) as archive:
        good = {name: archive.read(name) for name in archive.namelist()}
    path = archive_of(tmp_path, {**good, "config.json": good["config.json"] + b" " * 10**6}, packed=True)
    data = path.read_bytes()
    size = len(good["config.json"]) + 10**6
    for declared in (1, 100, len(good["config.json"])):
        path.write_bytes(data.replace(struct.pack("<I", size), struct.pack("<I", declared)))
        refused(path)
    data = archive_of(tmp_path, good).read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"))
    refused(path, "encrypted")
