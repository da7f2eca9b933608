"""Keras models drawn at random: stacks, branches, wrappers and options, of the layers the importer knows."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from drawing import Case, Draw

from edgelstm.importers.keras_layers import LAYERS

logging.getLogger("absl").setLevel(logging.ERROR)  # .h5 is called a legacy each time

NEW = (
    "mish", "hard_tanh", "hard_silu", "soft_shrink", "tanh_shrink", "log_sigmoid", "squareplus", "sparse_plus",
    "sparse_sigmoid", "celu", "leaky_relu", "relu6",
)  # fmt: skip
"""Activations of Keras 3. Not those that jump: where rounding decides on which side of the jump a value lies, two that
are both right differ."""
CELL = ("tanh", "tanh", "relu", "sigmoid", "linear", "softsign", "elu", "hard_sigmoid", "gelu")
GATE = ("sigmoid", "sigmoid", "hard_sigmoid", "tanh", "relu")
ANY = ("linear", "tanh", "relu", "sigmoid", "selu", "softplus", "softsign", "swish", "gelu", "softmax", "hard_sigmoid",
       "log_softmax")  # fmt: skip
VOCABULARY = 11

ALLOWED = {
    "none of its layers computes anything": "a model of Dropout alone",
    "takes the mask off what it reads": "a MultiHeadAttention that is not alone in reading what is masked",
}
"""Reasons to refuse that drawn models may meet, and what docs/support.md says of them."""


class Builder:
    """A functional model as far as it is drawn: values of rank 3 are sequences, of rank 2 single."""

    def __init__(self, keras: Any, draw: Draw) -> None:
        self.keras, self.k, self.draw = keras, keras.layers, draw
        self.third = keras.__name__ == "keras"
        self.inputs: list[Any] = []
        self.values: list[Any] = []  # not read so far: these become outputs
        self.kinds: list[str] = []

    def known(self, *kinds: str) -> bool:
        return all(kind in LAYERS for kind in kinds)

    def function(self, *names: str) -> str:
        """One of the names, or now and then one that Keras 3 added."""
        return self.draw.one(*NEW) if self.third and self.draw.rarely() else self.draw.one(*names)

    def gate(self) -> str:
        return self.draw.one(*GATE, *(("hard_tanh", "sparse_sigmoid") if self.third else ()))

    def put(self, layer: Any, x: Any, **options: Any) -> Any:
        y = layer(x, **options)
        self.kinds.append(type(layer).__name__)
        return y

    def input(self, steps: int) -> None:
        """An input of numbers, of indices, or of numbers with steps that a mask hides."""
        kinds = ["numbers", "numbers"]
        kinds += ["indices"] if self.known("Embedding") else []
        kinds += ["masked"] if self.known("Masking") else []
        kind = self.draw.one(*kinds)
        x = self.keras.Input((steps,) if kind == "indices" else (steps, self.draw.whole(1, 5)))
        self.inputs.append(x)
        if kind == "indices":
            x = self.put(self.k.Embedding(VOCABULARY, self.draw.whole(1, 5), mask_zero=self.draw.flag()), x)
        if kind == "masked":
            x = self.put(self.k.Masking(self.draw.one(0.0, -1.0, 0.5)), x)
        self.values.append(x)

    # ---- layers ----

    def cell_options(self) -> dict[str, Any]:
        draw = self.draw
        return {"units": draw.whole(1, 5), "activation": self.function(*CELL), "use_bias": draw.one(True, True, False)}

    def recurrent(self, kind: str, **fixed: Any) -> Any:
        draw, options = self.draw, self.cell_options()
        if kind != "SimpleRNN":
            options["recurrent_activation"] = self.gate()
        if kind == "GRU":
            options["reset_after"] = draw.flag()
        options |= {"return_sequences": draw.flag(), "dropout": draw.one(0.0, 0.2)}
        if self.known("GRU"):
            options["go_backwards"] = draw.rarely()
        return getattr(self.k, kind)(**(options | fixed))

    def cells(self) -> list[str]:
        return [kind for kind in ("LSTM", "GRU", "SimpleRNN") if self.known(kind)]

    def plain_cell(self, x: Any) -> Any:
        return self.put(self.recurrent(self.draw.one(*self.cells())), x)

    def rnn(self, x: Any) -> Any:
        draw, cells = self.draw, []
        for _ in range(draw.whole(1, 2)):
            kind, options = draw.one(*self.cells()), self.cell_options()
            if kind != "SimpleRNN":
                options["recurrent_activation"] = self.gate()
            if kind == "GRU":
                options["reset_after"] = draw.flag()
            cells.append(getattr(self.k, f"{kind}Cell")(**options))
        layer = self.k.RNN(
            cells if len(cells) > 1 or draw.rarely() else cells[0],
            return_sequences=draw.flag(),
            go_backwards=draw.rarely(),
        )
        return self.put(layer, x)

    def bidirectional(self, x: Any) -> Any:
        draw = self.draw
        options: dict[str, Any] = {"return_sequences": draw.flag(), "units": draw.whole(1, 4), "go_backwards": False}
        forward = self.recurrent(draw.one(*self.cells()), **options)
        wrapper = {"merge_mode": draw.one("concat", "sum", "mul", "ave", None)}
        if draw.rarely():
            options["go_backwards"] = True
            wrapper["backward_layer"] = self.recurrent(draw.one(*self.cells()), **options)
        made = self.put(self.k.Bidirectional(forward, **wrapper), x)
        if isinstance(made, list | tuple):
            self.values.append(made[1])
            return made[0]
        return made

    def with_state(self, x: Any) -> Any:
        """A cell that hands out its state, and one that starts from it."""
        kind = self.draw.one(*self.cells())
        first = self.recurrent(kind, return_state=True, go_backwards=False)
        y, *state = self.put(first, x)
        second = self.recurrent(kind, units=first.units, go_backwards=False)
        self.values.append(y)
        return self.put(second, x, initial_state=state)

    def initial(self, x: Any) -> Any:
        """A cell that starts from inputs."""
        layer = self.recurrent(self.draw.one(*self.cells()), go_backwards=False)
        state = [self.keras.Input((layer.units,)) for _ in range(2 if type(layer).__name__ == "LSTM" else 1)]
        y = self.put(layer, x, initial_state=state)
        self.inputs += state
        return y

    def dense(self, x: Any) -> Any:
        draw = self.draw
        return self.put(self.k.Dense(draw.whole(1, 5), activation=self.function(*ANY), use_bias=draw.flag()), x)

    def activation(self, x: Any) -> Any:
        k, draw = self.k, self.draw
        slope = "negative_slope" if self.third else "alpha"
        layer = draw.one(
            lambda: k.Activation(self.function(*ANY)), lambda: k.ReLU(), lambda: k.ReLU(6.0),
            lambda: k.ReLU(max_value=0.7, negative_slope=0.1),
            lambda: k.LeakyReLU(**{slope: 0.2}), lambda: k.ELU(alpha=0.7), lambda: k.Softmax(), lambda: k.Dropout(0.3),
        )()  # fmt: skip
        return self.put(layer, x)

    def each_step(self, x: Any) -> Any:
        draw, k = self.draw, self.k
        inner = draw.one(k.Dense(draw.whole(1, 4), activation=draw.one("linear", "tanh")), k.Activation("relu"))
        return self.put(k.TimeDistributed(inner), x)

    def sequence_in_each_step(self, x: Any) -> Any:
        """Each step's values as a sequence, which a recurrent layer reads from a reset state."""
        draw, k = self.draw, self.k
        count = draw.one(*(n for n in range(1, x.shape[-1] + 1) if x.shape[-1] % n == 0))
        y = self.put(k.Reshape((x.shape[1], count, x.shape[-1] // count)), x)
        layer = self.recurrent(draw.one(*self.cells()))
        if draw.flag():
            layer = k.Bidirectional(self.recurrent(draw.one(*self.cells()), go_backwards=False))
        y = self.put(k.TimeDistributed(layer), y)
        if len(y.shape) == 4:
            y = self.put(k.TimeDistributed(draw.one(k.Flatten(), k.GlobalMaxPooling1D(), self.plain_last())), y)
        return y

    def plain_last(self) -> Any:
        return self.recurrent(self.draw.one(*self.cells()), return_sequences=False)

    def window(self) -> dict[str, Any]:
        draw = self.draw
        stride = draw.one(1, 1, 2)
        return {
            "kernel_size": draw.whole(1, 3),
            "strides": stride,
            "dilation_rate": draw.one(1, 2) if stride == 1 else 1,
        }

    def conv(self, x: Any) -> Any:
        draw, width = self.draw, x.shape[-1]
        groups = draw.one(*(g for g in (1, 2, 3) if width % g == 0))
        padding = draw.one("causal", "same", "valid")
        options = {"activation": draw.one("linear", "relu", "tanh"), "use_bias": draw.flag()}
        return self.put(
            self.k.Conv1D(groups * draw.whole(1, 2), padding=padding, groups=groups, **self.window(), **options), x
        )

    def depthwise(self, x: Any) -> Any:
        draw = self.draw
        options = {"padding": draw.one("same", "valid"), "depth_multiplier": draw.whole(1, 2), "use_bias": draw.flag()}
        return self.put(self.k.DepthwiseConv1D(**options, **self.window()), x)

    def separable(self, x: Any) -> Any:
        draw = self.draw
        padding = draw.one("same", "valid", "causal")
        options = {"padding": padding, "depth_multiplier": draw.whole(1, 2), "use_bias": draw.flag()}
        return self.put(self.k.SeparableConv1D(draw.whole(1, 4), **options, **self.window()), x)

    def pool(self, x: Any) -> Any:
        draw = self.draw
        kind = draw.one(*(k for k in ("MaxPooling1D", "AveragePooling1D") if self.known(k)))
        options = {"strides": draw.one(None, 1, 2), "padding": draw.one("valid", "same")}
        return self.put(getattr(self.k, kind)(draw.whole(1, 3), **options), x)

    def whole_sequence(self, x: Any) -> Any:
        draw, k = self.draw, self.k
        kind = draw.one(*(k for k in ("GlobalMaxPooling1D", "GlobalAveragePooling1D", "Flatten") if self.known(k)))
        return self.put(getattr(k, kind)(), x)

    def moved(self, x: Any) -> Any:
        draw, k, (steps, width) = self.draw, self.k, x.shape[1:]
        kind = draw.one(*(k for k in ("Cropping1D", "ZeroPadding1D", "Permute", "Reshape") if self.known(k)))
        if kind == "Permute":
            return self.put(k.Permute((2, 1)), x)
        if kind == "Reshape":
            divisors = [n for n in range(1, steps * width + 1) if steps * width % n == 0]
            rows = draw.one(*divisors)
            return self.put(k.Reshape((rows, steps * width // rows)), x)
        ends = (draw.whole(0, 2), draw.whole(0, 1))
        return self.put(k.Cropping1D(ends) if kind == "Cropping1D" else k.ZeroPadding1D(ends), x)

    def normal(self, x: Any) -> Any:
        draw, k = self.draw, self.k
        kind = draw.one(
            *(n for n in ("BatchNormalization", "Rescaling", "Normalization", "LayerNormalization") if self.known(n))
        )
        match kind:
            case "BatchNormalization":
                return self.put(
                    k.BatchNormalization(scale=draw.flag(), center=draw.flag(), epsilon=draw.one(1e-3, 0.1)), x
                )
            case "Rescaling":
                return self.put(k.Rescaling(draw.one(0.5, 2.0, 1 / 3), draw.one(0.0, -1.0, 0.3)), x)
            case "LayerNormalization":
                return self.put(k.LayerNormalization(epsilon=draw.one(0.05, 0.5)), x)
        return self.put(k.Normalization(mean=draw.one(0.0, 0.5), variance=draw.one(1.0, 2.0)), x)

    def attention(self, x: Any) -> Any:
        draw, k = self.draw, self.k
        kind = draw.one(*(n for n in ("Attention", "AdditiveAttention", "MultiHeadAttention") if self.known(n)))
        if kind == "MultiHeadAttention":
            layer = k.MultiHeadAttention(draw.whole(1, 2), draw.whole(1, 3), use_bias=draw.flag())
            y = layer(x, x, use_causal_mask=draw.rarely())
            self.kinds.append(kind)
            return y
        return self.put(getattr(k, kind)(use_scale=draw.flag()), [x, x])

    def repeat(self, x: Any) -> Any:
        return self.put(self.k.RepeatVector(self.draw.whole(1, 4)), x)

    def join(self, x: Any) -> Any:
        """With another value of the same length."""
        fitting = [v for v in self.values if v is not x and v.shape[:-1] == x.shape[:-1]]
        if not fitting:
            return self.dense(x)
        other = self.draw.one(*fitting)
        same = [k for k in ("Add", "Multiply", "Subtract", "Average", "Maximum", "Minimum") if self.known(k)]
        kinds = ["Concatenate"] + (same if other.shape == x.shape else [])
        return self.put(getattr(self.k, self.draw.one(*kinds))(), [x, other])

    def nested(self, x: Any) -> Any:
        """A model inside the model, called once or twice."""
        k, shape = self.k, x.shape[1:]
        rank = len(shape)
        inner = [
            k.Input(shape),
            k.LSTM(shape[-1], return_sequences=True) if rank == 2 else k.Dense(shape[-1], activation="tanh"),
        ]
        model = self.keras.Sequential([*inner, k.Dense(shape[-1])])
        self.kinds.append("Sequential")
        return model(model(x)) if self.draw.flag() else model(x)

    def step(self) -> None:
        """One more layer, on one of the values."""
        draw = self.draw
        x = draw.one(*self.values)
        choices: list[Callable[[Any], Any]] = [self.dense, self.activation]
        if len(x.shape) == 3:
            choices += [self.plain_cell] * 4 + [self.each_step, self.nested]
            choices += [self.rnn] if self.known("RNN") else []
            choices += [self.sequence_in_each_step] if self.known("Flatten") and x.shape[1] else []
            choices += [self.bidirectional] * 2 if self.known("Bidirectional") else []
            choices += [self.with_state, self.initial] if self.known("GRU") else []
            choices += [self.conv] if self.known("Conv1D") else []
            choices += [self.depthwise] if self.known("DepthwiseConv1D") else []
            choices += [self.separable] if self.known("SeparableConv1D") else []
            choices += [self.pool] if self.known("MaxPooling1D") else []
            choices += [self.whole_sequence] if self.known("Flatten") else []
            choices += [self.moved] if self.known("Permute") else []
            choices += [self.attention] if self.known("Attention") else []
        else:
            choices += [self.nested]
            choices += [self.repeat] if self.known("RepeatVector") else []
        choices += [self.normal] if self.known("BatchNormalization") else []
        choices += [self.join] if self.known("Concatenate") else []
        try:
            made = draw.one(*choices)(x)
        except ValueError:  # Keras does not build this, as a window longer than its sequence
            return
        if not draw.rarely():  # else it branches here
            self.values = [v for v in self.values if v is not x]
        self.values.append(made)


def build(keras: Any, draw: Draw) -> tuple[Any, list[str]]:
    """A drawn model, and the layers it is made of."""
    builder = Builder(keras, draw)
    steps = draw.whole(4, 8)
    for _ in range(draw.one(1, 1, 1, 2)):
        builder.input(steps)
    for _ in range(draw.whole(1, 5)):
        builder.step()
    outputs = [v for v in builder.values if not any(v is x for x in builder.inputs)]
    hypothesis.assume(outputs)
    model = keras.Model(builder.inputs, outputs if len(outputs) > 1 else outputs[0])
    return model, builder.kinds


def randomise(model: Any, random: np.random.Generator) -> None:
    """Every weight and bias another number; variances stay positive."""
    weights = []
    for variable, value in zip(model.weights, model.get_weights(), strict=True):
        low, high = (0.3, 1.5) if "variance" in variable.name else (-0.6, 0.6)
        fresh = random.uniform(low, high, value.shape).astype(value.dtype)
        weights.append(value if value.dtype.kind in "iu" else fresh)
    model.set_weights(weights)


def inputs(model: Any, random: np.random.Generator) -> list[np.ndarray]:
    """Numbers, indices for inputs of rank 2 that an Embedding reads, and steps of one value for a mask to hide."""
    xs = []
    embedded = {id(t) for layer in model.layers if type(layer).__name__ == "Embedding" for t in _tensors(layer.input)}
    for tensor in model.inputs:
        shape = (3, *tensor.shape[1:])
        if id(tensor) in embedded:
            x = random.integers(0, VOCABULARY, shape) * (random.random(shape) > 0.3)
        else:
            x = random.uniform(-1.5, 1.5, shape)
            if len(shape) == 3:
                hidden = random.random(shape[:2])
                for value in (0.0, -1.0, 0.5):
                    x[(hidden < 0.45) & (random.random(shape[:2]) < 0.3)] = value
        xs.append(x.astype(np.float32))
    return xs


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def case(keras: Any, draw: Draw, folder: Path) -> Case:
    """A drawn model with its weights, saved as a user would save it."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    model, kinds = build(keras, draw)
    random = draw.random()
    randomise(model, random)
    xs = inputs(model, random)
    try:
        answer = model(xs if len(xs) > 1 else xs[0], training=False)
    except Exception:  # Keras builds what it then cannot run itself, as a Softmax behind a mask
        hypothesis.reject()
    expected = [np.asarray(y) for y in _tensors(answer)]
    ending = draw.one(".keras", ".h5")
    path = folder / f"drawn{ending}"
    model.save(path)
    embedded = {id(t) for layer in model.layers if type(layer).__name__ == "Embedding" for t in _tensors(layer.input)}
    given = [x[..., None] if id(t) in embedded else x for x, t in zip(xs, model.inputs, strict=True)]
    return Case(path, lambda read: (given, expected), f"{path.name} of {keras.__name__}: {model.to_json()}", kinds)
