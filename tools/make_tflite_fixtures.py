"""Makes tests/golden/tflite: small Keras models as TensorFlow's converter writes them, with a runtime's answers.

    pip install tensorflow tf_keras ai-edge-litert
    python tools/make_tflite_fixtures.py 3 [NAME...]     # of Keras 3: loops
    python tools/make_tflite_fixtures.py 2 [NAME...]     # of Keras 2: fused cells where it knows them
    python tools/make_tflite_fixtures.py answers         # NAME.npz beside each file

Answers are made in a process without TensorFlow, which brings a TFLite of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "tests" / "golden" / "tflite"
STEPS, VALUES, UNITS = 6, 3, 4


def models(keras: Any) -> dict[str, Callable[[], Any]]:
    """Models by name. Batches are of one sequence: the converter knows few others."""
    layers = keras.layers

    def given(*shape: int, dtype: str = "float32") -> Any:
        return keras.Input(batch_shape=(1, *shape), dtype=dtype)

    def row(*parts: Any, shape: Any = (STEPS, VALUES), dtype: str = "float32", batch: int | None = 1) -> Any:
        x = first = keras.Input(batch_shape=(batch, *shape), dtype=dtype)
        for part in parts:
            x = part(x)
        return keras.Model(first, x)

    def sequence(cell: str, units: int = UNITS, **options: Any) -> Any:
        return getattr(layers, cell)(units, return_sequences=True, **options)

    def states(cell: str, steps: int, **options: Any) -> Any:
        x, *start = given(steps, VALUES), *(given(UNITS) for _ in range(2 if cell == "LSTM" else 1))
        made = getattr(layers, cell)(UNITS, return_sequences=True, return_state=True, **options)
        return keras.Model([x, *start], list(made(x, initial_state=start)))

    def decoder() -> Any:
        x = given(STEPS, VALUES)
        _, h, c = layers.LSTM(UNITS, return_state=True)(x)
        y = sequence("LSTM")(layers.RepeatVector(3)(h), initial_state=[h, c])
        return keras.Model(x, layers.Dense(2)(y))

    def attention(*options: Any) -> Any:
        x = given(STEPS, VALUES)
        y = sequence("LSTM")(x)
        return keras.Model(x, options[0](y))

    def branches() -> Any:
        x = given(STEPS, VALUES)
        a, b = layers.LSTM(UNITS)(x), layers.GRU(UNITS)(x)
        joins = [layers.Subtract(), layers.Average(), layers.Maximum(), layers.Multiply()]
        return keras.Model(x, layers.Concatenate()([join([a, b]) for join in joins]))

    both = layers.Bidirectional
    return {
        "lstm": lambda: row(layers.LSTM(UNITS)),
        "lstm_sequence": lambda: row(sequence("LSTM")),
        "lstm_relu": lambda: row(layers.LSTM(UNITS, activation="relu")),
        "lstm_softsign": lambda: row(layers.LSTM(UNITS, activation="softsign")),
        "lstm_linear": lambda: row(layers.LSTM(UNITS, activation="linear")),
        "lstm_hard_sigmoid": lambda: row(layers.LSTM(UNITS, recurrent_activation="hard_sigmoid")),
        "lstm_no_bias": lambda: row(layers.LSTM(UNITS, use_bias=False)),
        "lstm_backwards": lambda: row(sequence("LSTM", go_backwards=True)),
        "lstm_dropout": lambda: row(layers.LSTM(UNITS, recurrent_dropout=0.2)),
        "lstm_stateful": lambda: row(sequence("LSTM", stateful=True)),
        "lstm_states": lambda: states("LSTM", STEPS),
        "lstm_unrolled": lambda: row(sequence("LSTM", unroll=True)),
        "lstm_unrolled_batch": lambda: row(layers.LSTM(UNITS, unroll=True), batch=None),
        "lstm_unrolled_states": lambda: states("LSTM", 1, unroll=True),
        "lstm_masked": lambda: row(layers.Masking(), layers.LSTM(UNITS)),
        "lstm_open_steps": lambda: row(sequence("LSTM"), layers.Dense(2), shape=(None, VALUES)),
        "gru": lambda: row(sequence("GRU")),
        "gru_reset_before": lambda: row(layers.GRU(UNITS, reset_after=False)),
        "gru_elu": lambda: row(layers.GRU(UNITS, activation="elu", recurrent_activation="hard_sigmoid")),
        "gru_states": lambda: states("GRU", 1),
        "gru_unrolled": lambda: row(layers.GRU(UNITS, unroll=True)),
        "gru_unrolled_before": lambda: row(layers.GRU(UNITS, unroll=True, reset_after=False)),
        "rnn": lambda: row(sequence("SimpleRNN")),
        "rnn_relu": lambda: row(layers.SimpleRNN(UNITS, activation="relu", use_bias=False)),
        "rnn_unrolled": lambda: row(layers.SimpleRNN(UNITS, unroll=True)),
        "cells": lambda: row(layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(3)], return_sequences=True)),
        "stack": lambda: row(sequence("LSTM"), layers.LSTM(5), layers.Dense(2, activation="softmax")),
        "stack_batch": lambda: row(sequence("LSTM"), layers.GRU(3), layers.Dense(2), batch=4),
        "stack_unrolled": lambda: row(sequence("LSTM", unroll=True), layers.GRU(3, unroll=True)),
        "stack_masked": lambda: row(layers.Masking(-1.0), sequence("GRU"), layers.SimpleRNN(3)),
        "both_ways": lambda: row(both(sequence("LSTM")), layers.Dense(2)),
        "both_ways_sum": lambda: row(both(sequence("GRU"), merge_mode="sum")),
        "both_ways_masked": lambda: row(layers.Masking(), both(sequence("LSTM"))),
        "both_ways_unrolled": lambda: row(both(sequence("LSTM", unroll=True)), shape=(4, VALUES)),
        "embedding": lambda: row(layers.Embedding(11, VALUES), layers.LSTM(UNITS), shape=(STEPS,), dtype="int32"),
        "embedding_masked": lambda: row(
            layers.Embedding(11, VALUES, mask_zero=True), layers.LSTM(UNITS), shape=(STEPS,), dtype="int32"
        ),
        "convolutions": lambda: row(
            layers.Conv1D(5, 3, padding="same", activation="relu"), layers.MaxPooling1D(2), sequence("LSTM"),
            layers.GlobalAveragePooling1D(), layers.Dense(1, activation="sigmoid"),
        ),
        "causal": lambda: row(
            layers.Conv1D(5, 2, strides=2, padding="causal"), layers.BatchNormalization(), layers.AveragePooling1D(2),
            layers.SimpleRNN(UNITS),
        ),
        "dilated": lambda: row(layers.Conv1D(5, 2, dilation_rate=2, padding="causal"), layers.LSTM(UNITS)),
        "separable": lambda: row(
            layers.DepthwiseConv1D(3, padding="same"), layers.SeparableConv1D(4, 2), layers.GRU(UNITS)
        ),
        "layer_norm": lambda: row(sequence("LSTM"), layers.LayerNormalization(), layers.Dense(2)),
        "attention": lambda: attention(lambda y: layers.Attention()([y, y])),
        "heads": lambda: attention(lambda y: layers.MultiHeadAttention(2, 3)(y, y)),
        "decoder": decoder,
        "branches": branches,
        "activations": lambda: row(
            sequence("LSTM"),
            *(
                layers.Dense(4, activation=name)
                for name in ("selu", "gelu", "swish", "softplus", "softsign", "hard_sigmoid", "relu6", "exponential")
            ),
        ),
        "shapes": lambda: row(
            sequence("LSTM"), layers.TimeDistributed(layers.Dense(6, activation="elu")), layers.Flatten(),
            layers.Dense(8), layers.Reshape((2, 4)), layers.Permute((2, 1)), layers.LSTM(3),
        ),
        "ends": lambda: row(
            layers.ZeroPadding1D(2), sequence("LSTM"), layers.Cropping1D((1, 2)), layers.GlobalMaxPooling1D()
        ),
        "step": lambda: row(sequence("GRU", stateful=True), layers.LSTM(3, stateful=True), shape=(1, VALUES)),
    }  # fmt: skip


def optimised(keras: Any) -> dict[str, Callable[[], Any]]:
    layers = keras.layers

    def net(second: Any) -> Any:
        x = first = keras.Input(batch_shape=(1, STEPS), dtype="int32")
        for part in (layers.Embedding(40, 32), layers.LSTM(16, return_sequences=True), second, layers.Dense(3)):
            x = part(x)
        return keras.Model(first, x)

    other = layers.GRU if keras.__version__ >= "3" else layers.LSTM
    return {
        "dynamic": lambda: net(other(16)),
        "float16": lambda: net(other(16)),
        # of Keras 2 the converter gives both cells the same zeros to start from, and one of them writes there
        "shared_state": lambda: net(layers.GRU(16)),
    }


def integers(keras: Any) -> dict[str, Callable[[], Any]]:
    """Models that the converter makes whole int8 files of; of Keras 3 without loops alone."""
    layers = keras.layers

    def row(*parts: Any, dtype: str = "float32", shape: Any = (STEPS, VALUES)) -> Any:
        x = first = keras.Input(batch_shape=(1, *shape), dtype=dtype)
        for part in parts:
            x = part(x)
        return keras.Model(first, x)

    def lstm(units: int = UNITS, **options: Any) -> Any:
        return layers.LSTM(units, return_sequences=True, **options)

    def sums() -> Any:
        x = keras.Input(batch_shape=(1, STEPS, VALUES))
        a, b = lstm()(x), lstm()(x)
        joins = [layers.Add()([a, b]), layers.Multiply()([a, b]), layers.Subtract()([b, a])]
        return keras.Model(x, layers.Dense(3)(layers.Concatenate()(joins)))

    def step() -> Any:
        x, *states = (keras.Input(batch_shape=(1, UNITS)) for _ in range(3))  # alike, as their order is no one's
        y, after = layers.LSTMCell(UNITS)(x, states)
        return keras.Model([x, *states], [layers.Dense(2)(y), *after])

    if keras.__version__ >= "3":
        return {
            "int8_unrolled": lambda: row(lstm(unroll=True), layers.GRU(2, unroll=True), shape=(3, VALUES)),
            "int8_unrolled_before": lambda: row(layers.GRU(UNITS, reset_after=False, unroll=True), shape=(3, VALUES)),
            "int8_step": step,
        }
    return {
        "int8": lambda: row(lstm(8), layers.LSTM(5), layers.Dense(3, activation="softmax")),
        "int8_floats": lambda: row(lstm(8), layers.Dense(6, activation="relu"), layers.Dense(2, activation="tanh")),
        "int8_both_ways": lambda: row(layers.Bidirectional(lstm()), layers.Dense(2)),
        "int8_backwards": lambda: row(lstm(8, go_backwards=True), layers.Dense(2, activation="sigmoid")),
        "int8_embedding": lambda: row(layers.Embedding(30, 4), lstm(), dtype="int32", shape=(STEPS,)),
        "int8_sums": sums,
        "int8_convolutions": lambda: row(
            layers.Conv1D(5, 3, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.DepthwiseConv1D(2),
            lstm(6),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ),
        "int8_causal": lambda: row(
            layers.Conv1D(5, 2, padding="causal", dilation_rate=2),
            layers.AveragePooling1D(2),
            layers.SeparableConv1D(4, 2),
            lstm(6),
            layers.GlobalMaxPooling1D(),
        ),
        "int8_spoilt": lambda: row(layers.LSTM(UNITS)),
    }


def main() -> int:
    kind, *names = sys.argv[1:]
    FOLDER.mkdir(parents=True, exist_ok=True)
    if kind == "answers":
        return answers()
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1" if kind == "2" else "0"}
    import tensorflow as tf

    if kind == "2":
        import tf_keras as keras
    else:
        import keras
    made = {**models(keras), **optimised(keras), **integers(keras)}
    for name in names or made:
        model = made[name]()
        rng = np.random.default_rng(7)
        for weight in model.weights:
            called = weight.name
            if "state" not in called and "seed" not in called:
                low = 0.4 if "variance" in called else -0.6
                small = 0.05 if name == "int8_spoilt" else 1  # c stays below 0.5
                weight.assign(small * rng.uniform(low, 0.7, weight.shape).astype(np.float32))
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if name in ("dynamic", "float16", "shared_state"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name.startswith("int8"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            shapes = [tuple(port.shape) for port in model.inputs]
            converter.representative_dataset = lambda shapes=shapes: samples(shapes)
            if name != "int8_floats" and "embedding" not in name:
                converter.inference_input_type = converter.inference_output_type = tf.int8
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        data = converter.convert()
        (FOLDER / f"keras{kind}_{name}.tflite").write_bytes(data)
        print(f"keras{kind}_{name}: {len(data)} bytes")
    return 0


def samples(shapes: list[tuple[int, ...]]) -> Iterator[list[np.ndarray]]:
    """What the ranges of int8 are taken from."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        ids = shapes == [(1, STEPS)]
        yield [
            (rng.integers(0, 30, s) if ids else rng.normal(0, 1, s)).astype("int32" if ids else "f4") for s in shapes
        ]


def answers() -> int:
    from edgelstm import peers
    from edgelstm.errors import CheckpointError
    from edgelstm.importers import onnx_feeds, tflite
    from edgelstm.model import Model
    from edgelstm.random_inputs import draw

    for path in sorted(FOLDER.glob("*.tflite")):
        try:
            reading = tflite.reading(path.read_bytes(), path.name)
        except CheckpointError as refused:
            print(f"{path.name}: {refused}")
            continue
        model = reading.model
        if not isinstance(model, Model):
            continue  # bytes are compared with a runtime's, or not at all
        fixed = onnx_feeds.fixed_steps(reading)
        xs = draw(model, 2, model.meta.window or STEPS, np.random.default_rng(0), fixed)
        ys = peers.run_tflite(path, xs, "ai-edge-litert").ys
        columns = {f"in:{k}": x for k, x in enumerate(xs)} | {f"out:{k}": y for k, y in enumerate(ys)}
        np.savez_compressed(path.with_suffix(".npz"), **columns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
