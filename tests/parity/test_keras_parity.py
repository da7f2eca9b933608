"""Imported models against live Keras 3 and tf_keras: every option alone, then stacks in every file format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import importers, reference
from edgelstm.errors import CheckpointError

COUNT, STEPS, INPUTS = 2, 6, 3
TOLERANCE = 5e-6  # of max(1, max|y|)

SHARED = ("linear", "sigmoid", "tanh", "relu", "elu", "selu", "softplus", "softsign", "gelu", "swish")
NAMES = {
    "tf_keras": (*SHARED, "hard_sigmoid", "mish"),
    "keras": (
        *SHARED, "hard_sigmoid", "silu", "relu6", "leaky_relu", "celu", "mish", "hard_tanh", "hard_silu", "hard_shrink",
        "soft_shrink", "tanh_shrink", "log_sigmoid", "squareplus", "sparse_plus", "sparse_sigmoid",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip(request.param)


def compare(
    model: Any,
    path: Path,
    names: list[str],
    seed: int,
    save: Callable[[Any, Path], None] = lambda model, path: model.save(path),
    span: float = 0.6,
) -> None:
    """Gives the model weights of -span to span, saves it, reads it, and compares every output with Keras' predict."""
    random = np.random.default_rng(seed)
    model.set_weights([random.uniform(-span, span, w.shape).astype(np.float32) for w in model.get_weights()])
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    xs = [random.uniform(-1.5, 1.5, (COUNT, *shape[1:])).astype(np.float32) for shape in shapes]
    expected = model.predict(xs if len(xs) > 1 else xs[0], verbose=0)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    save(model, path)
    ys = reference.run(importers.read(path), xs)
    assert len(ys) == len(expected) == len(names)
    for name, y, want in zip(names, ys, expected, strict=True):
        assert y.shape == want.shape and np.isfinite(want).all(), (name, seed)
        error = np.abs(y - want).max() / max(1.0, np.abs(want).max())
        assert error <= TOLERANCE, f"{name}: {error:.3g} at seed {seed}"


def heads(keras: Any, layers: dict[str, Callable[[Any], Any]], steps: int = STEPS) -> tuple[Any, list[str]]:
    """A functional model with one output per option."""
    x = keras.Input((steps, INPUTS))
    return keras.Model(x, [make(x) for make in layers.values()]), list(layers)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("key", ["activation", "recurrent_activation"])
def test_every_activation_of_cell_and_gates(keras: Any, key: str, suffix: str, tmp_path: Path) -> None:
    names = NAMES[keras.__name__]
    model, options = heads(keras, {name: keras.layers.LSTM(3, **{key: name}) for name in names})
    compare(model, tmp_path / f"m{suffix}", options, 1)


def test_exponential_cells_and_gates(keras: Any, tmp_path: Path) -> None:
    """On weights so small that exp of exp of exp stays finite."""
    layers: dict[str, Callable[[Any], Any]] = {
        "cell": keras.layers.LSTM(3, activation="exponential"),
        "gates": keras.layers.LSTM(3, recurrent_activation="exponential"),
        "dense": keras.layers.Dense(3, activation="exponential"),
        "alone": keras.layers.Activation("exponential"),
    }
    model, options = heads(keras, layers, steps=2)
    compare(model, tmp_path / "m.keras", options, 4, span=0.2)


@pytest.mark.filterwarnings("ignore")
def test_every_activation_of_dense_and_alone(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    slope = "negative_slope" if keras.__name__ == "keras" else "alpha"
    layers: dict[str, Callable[[Any], Any]] = {}
    for name in (*NAMES[keras.__name__], "softmax", "log_softmax", *(("glu",) if keras.__name__ == "keras" else ())):
        layers[f"dense {name}"] = k.Dense(4, activation=name)
        if name != "glu":  # which halves the values, and of these there are three
            layers[f"alone {name}"] = k.Activation(name)
    layers |= {
        "relu": k.ReLU(),
        "relu6": k.ReLU(max_value=6.0),
        "relu slope": k.ReLU(negative_slope=0.2),
        "leaky": k.LeakyReLU(),
        "leaky 0.1": k.LeakyReLU(**{slope: 0.1}),
        "elu": k.ELU(alpha=0.7),
        "softmax layer": k.Softmax(),
        "layer as activation": k.Dense(3, activation=k.LeakyReLU(**{slope: 0.4})),
        "every step": k.TimeDistributed(k.Dense(3, activation="tanh")),
        "every step relu": k.TimeDistributed(k.ReLU()),
    }
    model, options = heads(keras, layers)
    compare(model, tmp_path / "m.keras", options, 2)


def test_sizes_bias_and_sequences(keras: Any, tmp_path: Path) -> None:
    layers: dict[str, Callable[[Any], Any]] = {
        f"units {units}, sequences {every}, bias {bias}": keras.layers.LSTM(
            units, return_sequences=every, use_bias=bias
        )
        for units in (1, 2, 5, 8, 17, 33)
        for every in (False, True)
        for bias in (False, True)
    }
    layers["unrolled"] = keras.layers.LSTM(4, unroll=True)
    layers["implementation 1"] = keras.layers.LSTM(4, **({"implementation": 1} if keras.__name__ == "tf_keras" else {}))
    layers["no unit forget bias"] = keras.layers.LSTM(4, unit_forget_bias=False)
    layers["dropout"] = keras.layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2)
    layers["dense without bias"] = keras.layers.Dense(3, use_bias=False)
    model, options = heads(keras, layers)
    compare(model, tmp_path / "m.keras", options, 3)


def weights_beside(model: Any, path: Path) -> None:
    model.save_weights(path)
    (path.parent / "config.json").write_text(model.to_json())


@pytest.mark.parametrize(
    ("depth", "inputs", "kind"),
    [(2, INPUTS, "m.keras"), (2, INPUTS, "m.h5"), (2, INPUTS, "m.weights.h5"), (1, 1, "m.keras"), (3, 5, "m.keras")],
)
def test_stacks_in_every_format(keras: Any, depth: int, inputs: int, kind: str, tmp_path: Path) -> None:
    k = keras.layers
    stack = [k.LSTM(4 + n, return_sequences=True, dropout=0.1) for n in range(depth - 1)]
    model = keras.Sequential([k.Input((STEPS, inputs)), *stack, k.Dropout(0.2), k.LSTM(3), k.GaussianNoise(0.1)])
    model.add(k.Dense(3))
    model.add(k.Activation("softmax"))
    if depth == 2:  # what training leaves in the file
        model.compile("adam", "mse", metrics=["mae"])
        model.fit(np.zeros((2, STEPS, inputs)), np.zeros((2, 3)), verbose=0)
    save: Any = {"save": weights_beside} if "weights" in kind else {}
    compare(model, tmp_path / kind, ["answers"], 10 + depth, **save)


@pytest.mark.parametrize("kind", ["m.keras", "m.h5", "m.weights.h5"])
def test_nested_frozen_and_shared_models(keras: Any, kind: str, tmp_path: Path) -> None:
    k = keras.layers
    inside = keras.Input((STEPS, INPUTS))
    frozen = k.LSTM(4, return_sequences=True, trainable=False)
    encoder = keras.Model(inside, k.Dense(2)(k.LSTM(3, return_sequences=True)(frozen(inside))))
    chain = keras.Sequential([k.Input((STEPS, 2)), k.LSTM(3), keras.Sequential([k.Input((3,)), k.Dense(2)])])
    a, b = keras.Input((STEPS, INPUTS), name="a"), keras.Input((STEPS, INPUTS), name="b")
    states = k.LSTM(3, return_state=True)(a)
    model = keras.Model([a, b], [chain(encoder(b)), encoder(a), k.Dense(1, activation="relu")(states[0])])
    save: Any = {"save": weights_beside} if "weights" in kind else {}
    compare(model, tmp_path / kind, ["chain", "encoder", "state"], 20, **save)


UNSUPPORTED: dict[str, Callable[[Any], Any]] = {
    "Conv1DTranspose": lambda k: k.Conv1DTranspose(4, 3, padding="same", name="it"),
    "GroupNormalization": lambda k: k.GroupNormalization(1, name="it"),
    "EinsumDense": lambda k: k.EinsumDense("bti,io->bto", (None, 4), name="it"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_layers_with_weights_are_refused_by_name(
    keras: Any, kind: str, suffix: str, tmp_path: Path
) -> None:
    k = keras.layers
    shape = (STEPS, INPUTS)
    row = keras.Sequential([k.Input(shape), UNSUPPORTED[kind](k), k.LSTM(3), k.Dense(2)])
    x = keras.Input(shape)
    nested = keras.Model(x, k.Dense(1)(keras.Sequential([k.Input(shape), UNSUPPORTED[kind](k), k.LSTM(3)])(x)))
    for name, model in (("row", row), ("nested", nested)):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / f"m{suffix}"
        if suffix == ".weights.h5":
            weights_beside(model, path)
        else:
            model.save(path)
        with pytest.raises(CheckpointError) as caught:
            importers.read(path)
        assert f"layer 'it': {kind!r} layers are not supported; supported: " in str(caught.value), name
        assert "\n" not in str(caught.value)
