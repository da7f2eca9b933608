"""The layers around cells, in live Keras 3 and tf_keras: every option alone, all weights different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_live import INPUTS, STEPS, Layers, compare, heads, save_beside

from edgelstm import importers
from edgelstm.errors import CheckpointError
from edgelstm.layers import Conv1d, Dense
from edgelstm.proof import prove


@pytest.fixture(scope="module", params=["tf_keras", "keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip(request.param)


def chain(*layers: Any) -> Any:
    """Layers one behind the other."""

    def make(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    return make


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_convolutions(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    layers: Layers = {
        f"conv {padding} {taps} stride {stride} dilation {dilation}": k.Conv1D(
            4, taps, padding=padding, strides=stride, dilation_rate=dilation, activation="relu"
        )
        for padding in ("valid", "same", "causal")
        for taps, stride, dilation in ((1, 1, 1), (3, 1, 1), (2, 2, 1), (3, 3, 1), (3, 1, 2))
    }
    layers |= {
        "groups": k.Conv1D(6, 2, groups=3, use_bias=False),
        "softmax": k.Conv1D(3, 2, activation="softmax"),
        "depthwise": k.DepthwiseConv1D(3, depth_multiplier=2, padding="same", activation="tanh"),
        "depthwise stride": k.DepthwiseConv1D(2, strides=2, use_bias=False),
        "separable": k.SeparableConv1D(4, 3, depth_multiplier=2, activation="tanh"),
        "separable same": k.SeparableConv1D(4, 2, padding="same", strides=2, use_bias=False),
        "separable dilated": k.SeparableConv1D(3, 3, dilation_rate=2),
    }
    if keras.__name__ == "tf_keras":
        layers["separable causal"] = k.SeparableConv1D(3, 3, padding="causal", dilation_rate=2)
    model, names = heads(keras, layers, (8, INPUTS))
    compare(model, tmp_path / f"m{suffix}", names, 1)


def test_pooling(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    layers: Layers = {
        f"{kind} {padding} {size} {stride}": getattr(k, f"{kind}Pooling1D")(size, strides=stride, padding=padding)
        for kind in ("Max", "Average")
        for padding in ("valid", "same")
        for size, stride in ((2, None), (3, 1), (3, 2), (2, 3))
    }
    layers |= {
        "global max": k.GlobalMaxPooling1D(),
        "global average": k.GlobalAveragePooling1D(),
        "kept max": chain(k.GlobalMaxPooling1D(keepdims=True), k.LSTM(3)),
        "kept average": k.GlobalAveragePooling1D(keepdims=True),
        "crop": k.Cropping1D((1, 2)),
        "crop both": k.Cropping1D(1),
        "pad": k.ZeroPadding1D((2, 1)),
        "pad both": k.ZeroPadding1D(2),
    }
    model, names = heads(keras, layers, (7, INPUTS))
    compare(model, tmp_path / "m.keras", names, 2)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_normalizations(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    axis = {"axis": -1}
    three = keras.__name__ == "keras"
    adapted, inverse, one = k.Normalization(), k.Normalization(invert=True), k.Normalization(axis=None)
    for layer in (adapted, inverse, one):
        layer.adapt(np.random.default_rng(0).normal(2, 3, (20, STEPS, INPUTS)).astype(np.float32))
    layers: Layers = {
        "alone": k.BatchNormalization(),
        "no scale": k.BatchNormalization(scale=False, epsilon=0.1),
        "no center": k.BatchNormalization(center=False, momentum=0.5),
        "behind dense": chain(k.Dense(4), k.BatchNormalization(), k.Activation("relu")),
        "behind relu": chain(k.Dense(4, activation="relu"), k.BatchNormalization()),
        "before dense": chain(k.BatchNormalization(), k.Dense(4)),
        "before lstm": chain(k.BatchNormalization(), k.LSTM(4)),
        "before gru": chain(k.BatchNormalization(), k.GRU(4)),
        "before rnn": chain(k.BatchNormalization(), k.SimpleRNN(4)),
        "behind lstm": chain(k.LSTM(4), k.BatchNormalization(), k.Activation("tanh")),
        "behind conv": chain(k.Conv1D(4, 3, padding="same"), k.BatchNormalization(), k.ReLU()),
        "before conv": chain(k.BatchNormalization(), k.Conv1D(4, 3)),
        "before padded conv": chain(k.BatchNormalization(), k.Conv1D(4, 3, padding="causal")),
        "before grouped conv": chain(k.BatchNormalization(), k.Conv1D(6, 2, groups=3)),
        "layer": k.LayerNormalization(),
        "layer no scale": k.LayerNormalization(scale=False, epsilon=0.01),
        "layer no center": k.LayerNormalization(center=False, **axis),
        "layer at the end": chain(k.LSTM(5), k.LayerNormalization()),
        "adapted": adapted,
        "inverse": inverse,
        "one": one,
        "given": k.Normalization(mean=[1.0, 2.0, -1.0], variance=[0.5, 2.0, 3.0]),
        "rescaled": k.Rescaling(0.5, offset=-1.0),
        "rescaled each": k.Rescaling([0.5, 2.0, 3.0], offset=[1.0, 0.0, -2.0]),
        "rescaled lstm": chain(k.Rescaling(1 / 127.0), k.LSTM(3)),
    }
    if three:
        layers["rms of layer"] = k.LayerNormalization(rms_scaling=True)
        layers["rms at the end"] = chain(k.LSTM(5), k.LayerNormalization(rms_scaling=True, epsilon=0.1))
        layers["rms"] = k.RMSNormalization()
    model, names = heads(keras, layers)
    save: Any = {"save": save_beside} if "weights" in suffix else {}
    compare(model, tmp_path / f"m{suffix}", names, 3, **save)


def test_scales_are_folded_where_that_is_exact(keras: Any, tmp_path: Path) -> None:
    k = keras.layers

    def kinds(*layers: Any) -> list[str]:
        model = keras.Sequential([k.Input((STEPS, INPUTS)), *layers])
        read = compare(model, tmp_path / "m.keras", ["y"], 4)
        return [type(layer).__name__ for layer in read.layers]

    assert kinds(k.Dense(4), k.BatchNormalization(), k.Activation("relu")) == ["Dense"]
    assert kinds(k.BatchNormalization(), k.LSTM(4)) == ["Lstm", "Last"]
    assert kinds(k.Rescaling(0.1), k.BatchNormalization(), k.Conv1D(4, 2)) == ["Conv1d"]
    assert kinds(k.BatchNormalization(), k.Conv1D(4, 2, padding="same")) == ["Conv1d", "Conv1d"]
    assert kinds(k.LSTM(4), k.BatchNormalization()) == ["Lstm", "Last", "Dense"]
    x = keras.Input((STEPS, INPUTS))
    dense = k.Dense(3)(x)
    read = compare(keras.Model(x, [dense, k.BatchNormalization()(dense)]), tmp_path / "m.keras", ["d", "n"], 5)
    assert [type(layer) for layer in read.layers] == [Dense, Conv1d]


def test_shapes(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    layers: Layers = {
        "flat": chain(k.Flatten(), k.Dense(4)),
        "flat alone": k.Flatten(),
        "grouped": chain(k.Reshape((3, 6)), k.LSTM(3)),
        "split": chain(k.Reshape((18, 1)), k.LSTM(3)),
        "inferred": k.Reshape((-1, 9)),
        "other steps": chain(k.Reshape((9, 2)), k.LSTM(3)),
        "to one": k.Reshape((18,)),
        "turned": chain(k.Permute((2, 1)), k.LSTM(3)),
        "same": k.Permute((1, 2)),
        "repeated": chain(
            k.LSTM(4), k.RepeatVector(5), k.LSTM(3, return_sequences=True), k.TimeDistributed(k.Dense(2))
        ),
        "row to steps": chain(k.LSTM(4), k.Reshape((2, 2)), k.GRU(3)),
        "deep": chain(k.Reshape((2, 3, 3)), k.Dense(4), k.Reshape((6, 4))),
        "tutorial attention": lambda x: k.Multiply()(
            [x, k.Permute((2, 1))(k.Dense(STEPS, activation="softmax")(k.Permute((2, 1))(x)))]
        ),
    }
    model, names = heads(keras, layers)
    compare(model, tmp_path / "m.keras", names, 5)


def test_unknown_lengths(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    layers: Layers = {
        "split": k.Reshape((-1, 1)),
        "grouped": k.Reshape((-1, 6)),
        "conv": k.Conv1D(3, 2, padding="causal"),
        "pool": k.MaxPooling1D(2, padding="same"),
        "mean": k.GlobalAveragePooling1D(),
    }
    model, names = heads(keras, layers, (None, INPUTS))
    compare(model, tmp_path / "m.keras", names, 6)
    with_flat, _ = heads(keras, {"flat": lambda x: k.Flatten()(k.LSTM(2, return_sequences=True)(x))}, (None, INPUTS))
    with_flat.save(tmp_path / "flat.keras")
    with pytest.raises(CheckpointError, match="number of steps must be known"):
        importers.read(tmp_path / "flat.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_time_distributed(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    each = k.TimeDistributed
    inner = keras.Sequential(
        [
            k.Input((5, INPUTS)),
            k.Conv1D(4, 3, padding="same", activation="relu"),
            k.BatchNormalization(),
            k.MaxPooling1D(2),
            k.Dropout(0.2),
            k.Flatten(),
            k.Dense(3, activation="softmax"),
        ]
    )
    layers: Layers = {
        "conv": each(k.Conv1D(4, 2, activation="tanh")),
        "causal": each(k.Conv1D(4, 3, padding="causal", dilation_rate=2)),
        "separable": each(k.SeparableConv1D(4, 2)),
        "max": each(k.MaxPooling1D(2)),
        "average same": each(k.AveragePooling1D(2, padding="same")),
        "global": each(k.GlobalMaxPooling1D()),
        "mean": each(k.GlobalAveragePooling1D()),
        "flat": chain(each(k.Flatten()), k.LSTM(3)),
        "dense": each(k.Dense(4, activation="softmax")),
        "norm": each(k.LayerNormalization()),
        "batch norm": each(k.BatchNormalization()),
        "reshape": each(k.Reshape((3, 5))),
        "cnn lstm": chain(
            each(k.Conv1D(4, 2, activation="relu")), each(k.MaxPooling1D(2)), each(k.Flatten()), k.LSTM(4), k.Dense(2)
        ),
        "model": chain(each(inner), k.GRU(3)),
    }
    model, names = heads(keras, layers, (4, 5, INPUTS))
    save: Any = {"save": save_beside} if "weights" in suffix else {}
    read = compare(model, tmp_path / f"m{suffix}", names, 7, **save)
    assert any("in that order" in note for note in read.notes)


def test_split_and_group_between_two_time_distributed_layers_vanish(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    each = k.TimeDistributed
    model = keras.Sequential(
        [k.Input((4, 5, INPUTS)), each(k.Conv1D(4, 2)), each(k.MaxPooling1D(2)), each(k.Flatten()), k.LSTM(4)]
    )
    read = compare(model, tmp_path / "m.keras", ["y"], 8)
    assert [type(layer).__name__ for layer in read.layers] == ["Split", "Conv1d", "Pool1d", "Group", "Lstm", "Last"]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_joins(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    a, b = keras.Input((STEPS, INPUTS), name="a"), keras.Input((STEPS, 2), name="b")
    one, two, three = k.LSTM(4, return_sequences=True)(a), k.GRU(4, return_sequences=True)(b), k.Dense(4)(a)
    last = k.LSTM(4)(a)
    kinds = ("Add", "Multiply", "Average", "Maximum", "Minimum")
    outputs = {kind: getattr(k, kind)()([one, two, three]) for kind in kinds}
    outputs |= {f"{kind} last": getattr(k, kind)()([one, last]) for kind in kinds}
    outputs |= {
        "Subtract": k.Subtract()([one, two]),
        "Concatenate": k.Concatenate()([one, b, a]),
        "Concatenate last": k.Concatenate(axis=1)([last, k.GRU(2)(b)]),
        "one value": k.Multiply()([one, k.Dense(1, activation="sigmoid")(a)]),
        "many": k.Concatenate()([one, two] * 10),
        "sum of many": k.Add()([one, two] * 10),
        "operator": one + two,
        "minus": one - two,
        "times": one * two,
        "scaled": (one * 2.0 - 1.0) / 4.0 + 0.5,
        "from": 1.0 - k.Dense(2, activation="relu")(one),
        "last step": one[:, -1, :],
        "last row": k.Dense(3)(two[:, -1]),
        "last by number": one[:, STEPS - 1],
    }
    compare(keras.Model([a, b], list(outputs.values())), tmp_path / f"m{suffix}", list(outputs), 9)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_inputs_of_ids_and_without_steps(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    ids, more = keras.Input((STEPS,), name="ids"), keras.Input((STEPS, 2), name="ids_two", dtype="int32")
    x, v = keras.Input((STEPS, INPUTS), name="x"), keras.Input((5,), name="v")
    embedded = k.Embedding(5, 3)(ids)
    outputs = {
        "words": k.LSTM(4)(embedded),
        "dropped": k.LSTM(4)(k.SpatialDropout1D(0.2)(k.Embedding(5, 2)(k.Dropout(0.1)(ids)))),
        "two words": k.LSTM(4)(k.Reshape((STEPS, 6))(k.Embedding(5, 3)(more))),
        "static": k.Dense(2)(v),
        "both": k.Dense(3)(k.Concatenate()([k.LSTM(4)(x), k.Dense(2, activation="relu")(v)])),
        "every": k.Add()([k.LSTM(4, return_sequences=True)(x), k.Dense(4)(v)]),
        "steps": k.LSTM(3)(k.Reshape((5, 1))(v)),
    }
    read = compare(keras.Model([ids, more, x, v], list(outputs.values())), tmp_path / f"m{suffix}", list(outputs), 10)
    widths = {t.name: (t.width, t.single) for t in read.tensors if t.name in read.inputs}
    assert widths == {"ids": (1, False), "ids_two": (2, False), "x": (INPUTS, False), "v": (5, True)}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_activation_layers(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    layers: Layers = {
        "prelu": k.PReLU(shared_axes=[1]),
        "one prelu": k.PReLU(shared_axes=[1, 2]),
        "prelu at the end": chain(k.LSTM(4), k.PReLU()),
        "softmax of steps": k.Softmax(axis=1),
        "softmax of values": k.Softmax(axis=2),
        "relu to 2": k.ReLU(max_value=2.0),
        "relu behind dense": chain(k.Dense(4), k.ReLU(max_value=0.5)),
        "relu of a cell": k.LSTM(3, activation=k.ReLU(max_value=0.2, negative_slope=0.1, threshold=0.05)),
        "log softmax": k.Conv1D(3, 2, activation="log_softmax"),
    }
    numbers = {"max_value": 0.6, "negative_slope": 0.2, "threshold": 0.3}
    for chosen in [list(numbers)[:n] for n in (2, 3)] + [list(numbers)[1:], ["threshold"], ["max_value", "threshold"]]:
        settings = {key: numbers[key] for key in chosen}
        layers[f"relu {settings}"] = k.ReLU(**settings)
        layers[f"relu {settings} in a dense"] = k.Dense(3, activation=k.ReLU(**settings))
    if keras.__name__ == "keras":
        layers["half of a convolution"] = k.Conv1D(4, 2, activation="glu")
    else:
        layers["thresholded"] = k.ThresholdedReLU(0.4)
    model, names = heads(keras, layers)
    compare(model, tmp_path / f"m{suffix}", names, 11)


def test_a_prelu_whose_alpha_is_the_same_in_every_step(keras: Any, tmp_path: Path) -> None:
    k, path = keras.layers, tmp_path / "m.keras"
    model, names = heads(keras, {"each": k.PReLU(), "one a step": k.PReLU(shared_axes=[2])})
    random = np.random.default_rng(14)
    each = np.tile(random.uniform(-1, 1, INPUTS), (STEPS, 1)).astype(np.float32)
    model.set_weights([each, np.full((STEPS, 1), 0.3, np.float32)])
    compare(model, path, names, 14, weights=False)
    each[2, 1] += 0.1
    model.set_weights([each, np.full((STEPS, 1), 0.3, np.float32)])
    model.save(path)
    with pytest.raises(CheckpointError, match="its alpha differs from step to step"):
        importers.read(path)


def test_a_model_that_computes_nothing_is_refused_by_that_reason(keras: Any, tmp_path: Path) -> None:
    k, path = keras.layers, tmp_path / "m.keras"
    keras.Sequential([k.Input((STEPS, INPUTS)), k.Dropout(0.5), k.SpatialDropout1D(0.5)]).save(path)
    with pytest.raises(CheckpointError, match="none of its layers computes anything outside training"):
        importers.read(path)


def test_activations_as_operations(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    ops, x = keras.ops, keras.Input((STEPS, 4), name="x")
    names = (
        "relu", "relu6", "sigmoid", "softplus", "softsign", "silu", "selu", "hard_sigmoid", "hard_silu", "hard_tanh",
        "log_sigmoid", "sparse_plus", "sparse_sigmoid", "tanh_shrink", "leaky_relu", "elu", "celu", "squareplus",
        "hard_shrink", "soft_shrink", "gelu", "glu", "softmax", "log_softmax",
    )  # fmt: skip
    outputs = {name: getattr(ops, name)(x) for name in names} | {
        "threshold": ops.threshold(x, 0.3, -0.4),
        "celu 2": ops.celu(x, alpha=2.0),
        "elu 2": ops.elu(x, alpha=0.5),
        "leaky 2": ops.leaky_relu(x, negative_slope=0.4),
        "squareplus 1": ops.squareplus(x, b=1),
        "hard shrink 1": ops.hard_shrink(x, threshold=1.0),
        "soft shrink 1": ops.soft_shrink(x, threshold=1.0),
        "gelu erf": ops.gelu(x, approximate=False),
    }
    compare(keras.Model(x, list(outputs.values())), tmp_path / "m.keras", list(outputs), 15, weights=False)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_every_operation_is_proven(tmp_path: Path, suffix: str) -> None:
    """A .h5 file does not tell the module of an operation; without it Keras could not build the peer."""
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    ops, x, path = keras.ops, keras.Input((STEPS, 4), name="x"), tmp_path / f"m{suffix}"
    names = (
        "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
        "log_sigmoid", "log_softmax", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus",
        "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh_shrink", "tanh", "exp",
    )  # fmt: skip
    outputs = [getattr(ops, name)(x) for name in names] + [ops.threshold(x, 0.3, -0.4)]
    for some in (outputs[k : k + 7] for k in range(0, len(outputs), 7)):
        keras.Model(x, some).save(path)
        found = prove(importers.read(path), path)
        assert found.peer and found.error <= 5e-6, found


def test_functions_of_tensorflow(tmp_path: Path) -> None:
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("tf_keras")
    x = keras.Input((STEPS, 4), name="x")
    names = (
        "relu",
        "relu6",
        "silu",
        "softmax",
        "log_softmax",
        "tanh",
        "sigmoid",
        "softplus",
        "softsign",
        "selu",
        "elu",
    )
    outputs = {name: getattr(tf.nn, name)(x) for name in names} | {
        "log_sigmoid": tf.math.log_sigmoid(x),
        "exp": tf.exp(x),
        "leaky": tf.nn.leaky_relu(x),
        "leaky 0.3": tf.nn.leaky_relu(x, alpha=0.3),
        "gelu": tf.nn.gelu(x),
        "gelu tanh": tf.nn.gelu(x, approximate=True),
    }
    compare(keras.Model(x, list(outputs.values())), tmp_path / "m.keras", list(outputs), 15, weights=False)


def test_a_class_of_the_authors_as_an_activation_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")

    @keras.saving.register_keras_serializable("my")
    class ReLU(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return keras.ops.tanh(x) * 3 - 1

    for layer in (keras.layers.Dense(3, activation=ReLU()), keras.layers.LSTM(3, activation=ReLU())):
        for suffix in (".keras", ".h5"):
            keras.Sequential([keras.Input((STEPS, 4)), layer]).save(tmp_path / f"m{suffix}")
            with pytest.raises(CheckpointError, match="not one of Keras' own"):
                importers.read(tmp_path / f"m{suffix}")


def test_rounding_that_grows_is_no_disagreement(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    keras, path = pytest.importorskip("keras"), tmp_path / "m.keras"
    for seed in range(3):
        model = keras.Sequential([keras.Input((24, 4)), keras.layers.LSTM(5, recurrent_activation="linear")])
        random = np.random.default_rng(seed)
        model.set_weights([random.normal(0, 0.5, w.shape) for w in model.get_weights()])
        model.save(path)
        found = prove(importers.read(path), path)
        assert found.peer and (found.error <= 5e-6 or "this model is unsteady" in str(found)), found


def test_operations_over_all_axes_or_of_negative_thresholds_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    ops, x, path = keras.ops, keras.Input((STEPS, 4), name="x"), tmp_path / "m.keras"
    for output, words in (
        (ops.softmax(x, axis=None), "axis = None: only -1"),
        (ops.log_softmax(x, axis=None), "axis = None: only -1"),
        (ops.soft_shrink(x, threshold=-0.2), "threshold = -0.2: expected a number from 0 up"),
    ):
        keras.Model(x, output).save(path)
        with pytest.raises(CheckpointError, match=words):
            importers.read(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_attention(keras: Any, suffix: str, tmp_path: Path) -> None:
    k = keras.layers
    a, b = keras.Input((STEPS, 4), name="masked_a"), keras.Input((STEPS, 4), name="masked_b")
    m, n = k.Masking()(a), k.Masking()(b)
    outputs: dict[str, Any] = {}
    for label, q, v in (("", a, b), (" masked", m, n), (" keys masked", a, n), (" queries masked", m, b)):
        # heads take the mask off what they read, for all that read it later: each gets a copy of its own
        outputs |= {
            f"dot{label}": k.Attention()([q, v]),
            f"scaled{label}": k.Attention(use_scale=True, dropout=0.1)([q, v, v]),
            f"sums{label}": k.Attention(score_mode="concat", use_scale=True)([q, v]),
            f"sums alone{label}": k.Attention(score_mode="concat")([q, v]),
            f"additive{label}": k.AdditiveAttention()([q, v]),
            f"additive plain{label}": k.AdditiveAttention(use_scale=False)([q, v]),
            f"causal{label}": k.Attention()([q, q], use_causal_mask=True),
        }
        x = k.Activation("tanh")(q)
        outputs[f"after heads{label}"] = k.LSTM(3)(k.Add()([x, k.MultiHeadAttention(2, 3)(x, x)]))
        fresh = {"q": lambda q=q: k.Activation("tanh")(q), "v": lambda v=v: k.Activation("tanh")(v)}
        outputs |= {
            f"heads{label}": k.MultiHeadAttention(2, 3)(fresh["q"](), fresh["v"]()),
            f"own keys{label}": k.MultiHeadAttention(3, 2, value_dim=4, output_shape=5, use_bias=False)(
                fresh["q"](), fresh["v"](), fresh["v"]()
            ),
            f"causal heads{label}": k.MultiHeadAttention(2, 3)(fresh["q"](), fresh["q"](), use_causal_mask=True),
            f"dropped heads{label}": k.MultiHeadAttention(2, 3, dropout=0.2)(fresh["q"](), fresh["v"]()),
            f"behind heads{label}": k.LSTM(3)(k.MultiHeadAttention(2, 3)(fresh["q"](), fresh["q"]())),
        }
    save: Any = {"save": save_beside} if "weights" in suffix else {}
    compare(keras.Model([a, b], list(outputs.values())), tmp_path / f"m{suffix}", list(outputs), 12, **save)


def test_heads_that_share_a_masked_tensor_with_others(keras: Any, tmp_path: Path) -> None:
    """Keras 3 takes the mask off what heads read; where the order decides who sees it, the model is refused."""
    k = keras.layers
    x = keras.Input((STEPS, 4), name="masked")
    masked = k.Masking()(x)
    model = keras.Model(x, [k.Attention()([masked, masked]), k.MultiHeadAttention(2, 3)(masked, masked)])
    if keras.__name__ == "tf_keras":
        compare(model, tmp_path / "m.keras", ["one", "heads"], 13)
        return
    model.save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match="takes the mask off"):
        importers.read(tmp_path / "m.keras")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_masks_of_pairs_are_refused_by_name(keras: Any, ending: str, tmp_path: Path) -> None:
    """Given as an input, as a constant, by place; those of steps are honoured (test_masks_of_steps_as_inputs)."""
    k, triangle = keras.layers, np.tril(np.ones((1, STEPS, STEPS), bool))
    x, pairs = keras.Input((STEPS, 4)), keras.Input((STEPS, STEPS))
    models = [
        keras.Model([x, pairs], k.MultiHeadAttention(2, 3)(x, x, attention_mask=pairs)),
        keras.Model(x, k.MultiHeadAttention(2, 3)(x, x, attention_mask=triangle)),
    ]
    if keras.__name__ == "tf_keras":  # Keras 3 takes masks by name alone
        models.append(keras.Model([x, pairs], k.MultiHeadAttention(2, 3)(x, x, x, pairs)))
    for model in models:
        model.save(tmp_path / f"m{ending}")
        with pytest.raises(CheckpointError, match="'multi_head_attention.*': attention_mask: a mask of its own for"):
            importers.read(tmp_path / f"m{ending}")
    keras.Model(x, k.Attention()([x, x], mask=[None, np.array([[True] * 5 + [False]])])).save(tmp_path / f"m{ending}")
    with pytest.raises(CheckpointError, match="'attention.*': the mask .* is no layer's output"):
        importers.read(tmp_path / f"m{ending}")


def test_masks_of_steps_as_inputs(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x, mask = keras.Input((STEPS, 4), name="x"), keras.Input((STEPS,), name="mask", dtype="bool")
    outputs = [k.Attention()([x, x], mask=[mask, mask])]
    if keras.__name__ == "keras":  # that of Keras 2 takes masks of steps only from layers
        outputs += [
            k.MultiHeadAttention(2, 3)(x, x, value_mask=mask),
            k.MultiHeadAttention(2, 3)(x, x, x, key_mask=mask),
            k.MultiHeadAttention(2, 3)(x, x, value_mask=mask, key_mask=mask),
        ]
    random = np.random.default_rng(14)
    xs = [random.uniform(-1.5, 1.5, (3, STEPS, 4)), np.arange(STEPS) < np.array([[STEPS], [2], [4]])]
    xs = [a.astype(np.float32) for a in xs]
    names = ["dot", "values", "keys", "both"][: len(outputs)]
    compare(keras.Model([x, mask], outputs), tmp_path / "m.keras", names, 14, xs=xs)
    if keras.__name__ == "keras":
        for given, words in (({"query_mask": mask}, "query_mask: this Keras"), ({"key_mask": mask}, "key_mask and no")):
            keras.Model([x, mask], k.MultiHeadAttention(2, 3)(x, x, **given)).save(tmp_path / "m.keras")
            with pytest.raises(CheckpointError, match=words):
                importers.read(tmp_path / "m.keras")
