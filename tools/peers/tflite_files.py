"""TensorFlow Lite files of a net, made by TensorFlow's converter.

step_<kind>.tflite: one step as plain operations, the state in and out; kept_<kind>.tflite: the same, the state in
variables, which int8 does not know. "dynamic" has a scale a row, which
tflite-runtime does not know, "dynamic per tensor" one a matrix. fused_<kind>_<steps>.tflite: the fused LSTM
operator, which keeps its state. The converter of TensorFlow 2.21 dies of a signal when it calibrates a fused LSTM, so
those of int8 come from EdgeLSTM's exporter, which writes the same operator in the same integers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import numpy as np
import tensorflow as tf

from edgelstm.exporters import tflite

from . import nets, numpy_steps
from .cases import as_model

KINDS = ("float", "dynamic", "int8")
TENSOR = "dynamic per tensor"


def make(folder: Path) -> None:
    net = nets.read(folder)
    samples = np.load(folder / "samples.npy")
    for kind in (*KINDS, TENSOR):
        (folder / f"step_{kind}.tflite").write_bytes(convert(one_step(net), kind, lambda: states(net, samples)))
    for kind in ("float", "dynamic", TENSOR):
        (folder / f"kept_{kind}.tflite").write_bytes(convert(kept(net), kind, None))
    for kind in KINDS:
        for steps in (1, nets.STEPS):
            path = folder / f"fused_{kind}_{steps}.tflite"
            if kind == "int8":
                path.write_bytes(tflite.build(as_model(net), kind, samples, steps))
            else:
                # the operator has a scale a matrix in any case; so has then the Dense, or tflite-runtime refuses it
                path.write_bytes(convert(fused(net, steps), TENSOR if kind == "dynamic" else kind, None))


def convert(module: tf.Module, kind: str, samples: Callable[[], Iterator[dict[str, np.ndarray]]] | None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.answer], module)
    converter.experimental_enable_resource_variables = True
    if kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == TENSOR:
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if kind == "int8":
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def states(net: nets.Net, samples: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Inputs and states as they come while the samples stream."""
    stepping = numpy_steps.State(net)
    for sequence in samples:
        stepping.reset()
        for x in sequence:
            state = np.concatenate([a for pair in zip(stepping.h, stepping.c, strict=True) for a in pair])
            yield {"x": x[None], "state": state[None]}
            stepping.step(x)


def one_step(net: nets.Net) -> tf.Module:
    """x [1, inputs] and the state, h and c of each layer side by side, to the new state, and y where a Dense gives it.

    One tensor for the whole state: each tensor that goes in or out costs as much as a small layer.
    """
    cells = [cell(layer) for layer in net.layers]
    widths = [layer.units for layer in net.layers for _ in "hc"]

    def answer(x: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = [tf.slice(state, [0, sum(widths[:k])], [1, width]) for k, width in enumerate(widths)]
        states: list[tf.Tensor] = []
        for k, step in enumerate(cells):
            x, c = step(x, *parts[2 * k : 2 * k + 2])
            states += [x, c]
        answers = {"new": tf.concat(states, 1)}
        return answers if net.head is None else answers | {"y": dense(net.head, x)}

    return with_answer(tf.Module(), answer, {"x": (1, net.inputs), "state": (1, sum(widths))})


def kept(net: nets.Net) -> tf.Module:
    """x [1, inputs] to y [1, outputs]."""
    cells = [cell(layer) for layer in net.layers]
    module = tf.Module()
    module.states = [[tf.Variable(tf.zeros((1, layer.units))) for _ in "hc"] for layer in net.layers]

    def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for step, (h, c) in zip(cells, module.states, strict=True):
            x, new = step(x, h.read_value(), c.read_value())
            h.assign(x)
            c.assign(new)
        return {"y": x if net.head is None else dense(net.head, x)}

    return with_answer(module, answer, {"x": (1, net.inputs)})


def cell(layer: nets.Layer) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """x, h, c to the new h and c, by one product."""
    kernel, recurrent, bias = layer.rows("ifog")
    weight, units = np.hstack([kernel, recurrent]).T.copy(), layer.units

    def step(x: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        z = tf.matmul(tf.concat([x, h], 1), weight) + bias
        i, f, o = tf.split(tf.sigmoid(z[:, : 3 * units]), 3, axis=1)
        c = f * c + i * tf.tanh(z[:, 3 * units :])
        return o * tf.tanh(c), c

    return step


def dense(head: nets.Head, x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x, head.kernel.T) + head.bias


def fused(net: nets.Net, steps: int) -> tf.Module:
    """x [1, steps, inputs] to y [1, steps, outputs], in functions of the form that the converter fuses."""

    def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for k, layer in enumerate(net.layers):
            kernel, recurrent, bias = layer.rows("ifgo")
            attributes = {"api_implements": f"lstm_{k}", "api_preferred_device": "CPU"}
            attributes |= {"go_backwards": False, "time_major": False}
            function = tf.function(whole, autograph=False, experimental_attributes=attributes)
            zeros = tf.zeros((1, layer.units))
            x = function(x, zeros, zeros, *map(tf.constant, (kernel.T, recurrent.T, bias)))[1]
        if net.head is not None:
            x = dense(net.head, x[0])[None]
        return {"y": x}

    return with_answer(tf.Module(), answer, {"x": (1, steps, net.inputs)})


def whole(x: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple[Any, ...]:
    """An LSTM over a sequence, with the arguments and results of Keras' own."""
    steps = x.shape[1]
    hs = tf.TensorArray(tf.float32, size=steps, element_shape=h.shape)

    def body(t: Any, h: Any, c: Any, hs: Any) -> tuple[Any, ...]:
        i, f, g, o = tf.split(tf.matmul(x[:, t], kernel) + tf.matmul(h, recurrent) + bias, 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return t + 1, h, c, hs.write(t, h)

    _, h, c, hs = tf.while_loop(lambda t, *_: t < steps, body, (0, h, c, hs))
    return h, tf.transpose(hs.stack(), [1, 0, 2]), h, c, tf.constant(1.0)


def with_answer(module: tf.Module, function: Callable[..., Any], shapes: dict[str, tuple[int, ...]]) -> tf.Module:
    """The module with the function for inputs of these shapes as its `answer`."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}
    concrete = tf.function(function, autograph=False).get_concrete_function(**specs)
    module.answer = concrete
    return module
