"""The models behind tests/golden/images: small, seeded, every op kind in both number types, all activations.

`tools/make_golden.py` writes their images. PACKED come from numbers alone and must pack to the same bytes for ever;
QUANTIZED come from `quantize`, whose choices may improve: their images only have to go on running.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import golden_around
import golden_cells
import golden_rows
import golden_tfl8
import numpy as np
from golden_answers import kept_rows
from nets import activation, lstm, signal, stack, two_heads

from edgelstm import reference, reference_s8, reference_tfl8
from edgelstm.curves import bounded
from edgelstm.description import describe
from edgelstm.image import pack, vocabularies
from edgelstm.layers import ACTIVATIONS, Activate, Activation, Dense, Last
from edgelstm.model import Meta, Model, Port, QuantizedModel, Scaler, Tensor
from edgelstm.quantization import quantize
from edgelstm.quantized import QuantizedActivate, QuantizedActivation, QuantizedDense, QuantizedLstm, QuantizedTensor
from edgelstm.tfl8_model import Tfl8Model

FOLDER = Path(__file__).parent / "golden" / "images"
STEPS = 67  # of the inputs `drawn`
ELEMENTWISE = [Activation(name, 0.3) for name in ACTIVATIONS[: ACTIVATIONS.index("softmax")]]
MORE = [activation(name) for name in ACTIVATIONS[ACTIVATIONS.index("log_softmax") + 1 :]]
# what grows without bound when fed back; the clip keeps it within what float32 and int8 hold
UNBOUNDED = ("linear", "relu", "leaky_relu", "elu", "selu", "softplus", "gelu", "gelu_tanh", "silu", "exponential")
UNBOUNDED += tuple(function.name for function in MORE if not bounded(function))


def model(inputs, layers, outputs, meta=None):
    """A model from its layers; `inputs`: tensor name to width."""
    widths = dict(inputs)
    for layer in layers:
        widths[layer.writes[0]] = layer.units if hasattr(layer, "kernel") else widths[layer.reads[0]]
    tensors = tuple(Tensor(name, width) for name, width in widths.items())
    return Model(tensors, tuple(layers), tuple(inputs), tuple(outputs), meta=meta or Meta())


# ---- float ----


def cells(first, count=4, functions=ELEMENTWISE):
    """LSTM layers side by side; in all, each activation is once the cell's and once the gates'."""
    random = np.random.default_rng(first)
    layers = []
    for k in range(first, first + count):
        own, gate = functions[k], functions[(k + 5) % len(functions)]
        clip = 1.5 if {own.name, gate.name} & set(UNBOUNDED) or k % 4 == 0 else None
        layers.append(lstm(f"l{k}", "x", f"h{k}", 1, 2, random, activation=own, gate=gate, clip=clip, scale=0.2))
    return model({"x": 1}, layers, [layer.writes[0] for layer in layers])


def heads(first, count=8, functions=ELEMENTWISE):
    """Dense layers side by side, an activation each."""
    random = np.random.default_rng(first)
    layers = [
        Dense(f"d{k}", ("x",), (f"y{k}",), random.uniform(-2, 2, (3, 2)), random.uniform(-1, 1, 3), functions[k])
        for k in range(first, first + count)
    ]
    return model({"x": 2}, layers, [layer.writes[0] for layer in layers])


def alone(functions=ELEMENTWISE):
    """Activations that stand alone, two in a row as often as they suffice, so that both number types are read."""
    layers, half = [], len(functions) // 2
    for k in range(half):
        layers.append(Activate(f"a{k}", ("x",), (f"a{k}",), functions[k]))
        layers.append(Activate(f"b{k}", (f"a{k}",), (f"b{k}",), functions[half + k]))
    return model({"x": 3}, layers, [f"b{k}" for k in range(half)])


def softmaxes(function="softmax"):
    """Softmax or its logarithm of a Dense layer and alone, after an LSTM."""
    random = np.random.default_rng(5)
    head = Dense("d", ("h",), ("y",), random.uniform(-3, 3, (5, 3)), random.uniform(-1, 1, 5), Activation(function))
    layers = [lstm("l", "x", "h", 2, 3, random), head, Activate("s", ("h",), ("z",), Activation(function))]
    return model({"x": 2}, layers, ["y", "z"])


def after_last():
    """A layer that runs on what a Last keeps, and one beside it that sees every step."""
    random = np.random.default_rng(6)
    layers = [
        lstm("a", "x", "h", 2, 4, random),
        Last("last", ("h",), ("kept",)),
        lstm("b", "kept", "g", 4, 3, random),
        Activate("r", ("kept",), ("r",), Activation("relu")),
        Dense("d", ("h",), ("y",), random.uniform(-1, 1, (2, 4)), random.uniform(-1, 1, 2)),
    ]
    return model({"x": 2}, layers, ["g", "r", "y"])


def scaled():
    """Scalers on both sides, names, units, labels, a window."""
    inputs = Port(("a", "b"), ("g", "rad/s"), (), Scaler(np.array([0.5, 2.0]), np.array([-1.0, 0.25])))
    outputs = Port((), (), ("walk", "sit"), Scaler(np.array([0.125, -4.0]), np.array([3.0, 0.0])))
    return stack(2, (3,), meta=Meta((inputs,), (outputs,), window=60, hop=30))


FLOATS = (
    {
        "cells_a": cells(0),
        "cells_b": cells(4),
        "cells_c": cells(8),
        "cells_d": cells(12),
        "heads_a": heads(0),
        "heads_b": heads(8),
        "alone": alone(),
        "alone_more": alone(MORE),
        "softmax": softmaxes(),
        "after_last": after_last(),
        "branch": two_heads(3, 4),
        "padded": stack(3, (20,), head=None),
        "stacked": stack(2, (9, 6), head=3, head_activation=Activation("tanh"), activate="relu"),
        "scaled": scaled(),
    }
    | golden_rows.BOTH
    | golden_cells.BOTH
)


# ---- integers that no quantizer would choose ----


def table(random):
    """A table with jumps between its entries."""
    return QuantizedActivation(
        "table", int(random.integers(0, 3)), random.integers(-32768, 32768, 257).astype(np.int16)
    )


def jumps(random):
    """A table with two jumps, anywhere."""
    return QuantizedActivation(
        "jumps", int(random.integers(0, 3)), random.integers(-32768, 32768, 263).astype(np.int16)
    )


def falling():
    """A softmax's table."""
    return QuantizedActivation("softmax", 2, np.rint(32767 * np.exp(-np.arange(257) / 16)).astype(np.int16))


def wild_rows(random, units, columns, wide, gates):
    """Weights at both ends, and shifts and multipliers over their whole range, as the fields of a layer."""
    shape = (gates, units) if gates > 1 else (units,)
    kernel = random.integers(-127, 128, (*shape, columns))
    kernel[random.random(kernel.shape) < 0.2] = 127
    kernel[random.random(kernel.shape) < 0.2] = -127
    shift = random.integers(0, 12, shape)
    shift[random.random(shape) < 0.1] = -4
    shift[random.random(shape) < 0.1] = 27
    return {
        "kernel": kernel.astype(np.int8),
        "bias": random.integers(-(1 << 20), 1 << 20, shape).astype(np.int32),
        "input_shift": random.integers(0 if wide else -4, 8, shape).astype(np.int8),
        "shift": shift.astype(np.int8),
        "multiplier": random.choice([0, 1, 12345, 32767], shape).astype(np.int16),
    }


def wild_lstm(name, read, write, inputs, units, random, functions, *, wide=True, **fields):
    """An LSTM of such rows."""
    chosen = {"gate_exponent": 0, "cell_multiplier": 6554, "cell_limit": 32767, "hidden_multiplier": 127} | fields
    rows = wild_rows(random, units, inputs, wide, 4)
    recurrent = random.integers(-127, 128, (4, units, units)).astype(np.int8)
    gate, candidate, cell = functions
    return QuantizedLstm(
        name, (read,), (write,), recurrent=recurrent, gate=gate, candidate=candidate, cell=cell, cell_scale=1.0,
        **rows, **chosen,
    )  # fmt: skip


def wild_dense(name, read, write, inputs, units, random, function, wide=True):
    """A Dense layer of such rows."""
    rows = wild_rows(random, units, inputs, wide, 1)
    return QuantizedDense(name, (read,), (write,), activation=function, **rows)


PLAIN = tuple(QuantizedActivation(kind) for kind in ("sigmoid", "tanh", "tanh"))  # of gates, candidate and cell


def quantized_model(inputs, layers, outputs, hidden="s8"):
    """A model from its layers; scales that mean nothing. `hidden`: the type of every h."""
    tensors = {name: QuantizedTensor(name, width, "s16", 2.0**-15) for name, width in inputs.items()}
    for layer in layers:
        source = tensors[layer.reads[0]]
        width = layer.units if hasattr(layer, "kernel") else source.width
        kind = hidden if isinstance(layer, QuantizedLstm) else source.type if isinstance(layer, Last) else "s16"
        scale = source.scale if isinstance(layer, Last) else 2.0**-12
        tensors[layer.writes[0]] = QuantizedTensor(layer.writes[0], width, kind, scale)
    return QuantizedModel(tuple(tensors.values()), tuple(layers), tuple(inputs), tuple(outputs))


def wild_cells(hidden="s8"):
    """LSTMs in every form of the cell's equations."""
    random = np.random.default_rng(7)
    kinds = {name: QuantizedActivation(name) for name in ("linear", "sigmoid", "tanh", "relu")}
    s, t = kinds["sigmoid"], kinds["tanh"]
    doubled, wide = (s, t, QuantizedActivation("tanh", 3)), hidden == "s16"
    layers = [
        wild_lstm("l0", "x", "h0", 2, 3, random, PLAIN),
        wild_lstm("l1", "x", "h1", 2, 9, random, doubled, cell_multiplier=819),
        wild_lstm("l2", "h1", "h2", 9, 2, random, PLAIN, wide=wide, cell_multiplier=32767),
        wild_lstm("l3", "x", "h3", 2, 2, random, PLAIN, cell_limit=5000),
        wild_lstm("l4", "x", "h4", 2, 2, random, (table(random),) * 3, hidden_multiplier=32767),
        wild_lstm("l5", "x", "h5", 2, 2, random, (kinds["relu"],) * 3, gate_exponent=14, hidden_multiplier=300),
        wild_lstm("l6", "x", "h6", 2, 2, random, (kinds["linear"],) * 3, gate_exponent=3, cell_limit=1),
        wild_lstm("l7", "h1", "h7", 9, 2, random, (QuantizedActivation("sigmoid", 1), t, t), wide=wide),
    ]
    if wide:  # from steps as coarse as an int8 h's to the finest
        finer = (127, 4064, 32767, 127, 32767, 300, 1016, 32512)
        layers = [replace(layer, hidden_multiplier=hm) for layer, hm in zip(layers, finer, strict=True)]
    return quantized_model({"x": 2}, layers, [f"h{k}" for k in range(8)], hidden)


def wild_heads():
    """Dense layers and activations that stand alone, every kind of function, over int16 and int8."""
    random = np.random.default_rng(8)
    functions = [QuantizedActivation(kind, 1) for kind in ("linear", "sigmoid", "tanh", "relu")]
    functions += [table(random), falling()]
    layers = [wild_lstm("l", "x", "h", 3, 5, random, PLAIN)]
    layers += [wild_dense(f"d{k}", "x", f"y{k}", 3, 3 + k, random, f) for k, f in enumerate(functions)]
    layers += [wild_dense("e", "h", "e", 5, 4, random, functions[0], wide=False)]
    for k, function in enumerate(functions):
        read = ("h", "y0", "x")[k % 3]
        layers.append(QuantizedActivate(f"a{k}", (read,), (f"z{k}",), (3, -4, 27, 8, 5, 7)[k], 5000 * k, function))
    layers += [Last("last", ("z5",), ("kept",))]
    outputs = ("y4", "y5", "e", "z0", "z1", "z3", "z4", "kept")
    return quantized_model({"x": 3}, layers, outputs)


def wild_jumps():
    """Tables with jumps in Dense layers, alone, and as a cell's functions."""
    random = np.random.default_rng(11)
    f = [jumps(random) for _ in range(8)]
    layers = [
        wild_lstm("l", "x", "h", 3, 9, random, (f[0], f[1], f[2]), gate_exponent=4),
        wild_dense("d", "x", "y", 3, 20, random, f[3]),
        wild_dense("e", "h", "e", 9, 5, random, f[4], wide=False),
        QuantizedActivate("a", ("y",), ("z",), 8, 0, f[5]),
        QuantizedActivate("b", ("h",), ("k",), 3, 20000, f[6]),
        QuantizedActivate("c", ("x",), ("u",), 7, 900, f[7]),
    ]
    return quantized_model({"x": 3}, layers, ["y", "e", "z", "k", "u"])


PACKED = {f"f32_{name}": made for name, made in (FLOATS | golden_rows.FLOATS_ALONE).items()}
PACKED |= {
    "f32_cells_e": cells(0, 7, MORE),
    "f32_cells_f": cells(7, 7, MORE),
    "f32_heads_c": heads(0, 7, MORE),
    "f32_heads_d": heads(7, 7, MORE),
    "f32_log_softmax": softmaxes("log_softmax"),
}
PACKED |= {f"f32_{name}": made for name, made in golden_cells.FLOATS.items()}
PACKED |= {f"s8_{name}": made for name, made in golden_around.WILD.items()}
PACKED |= {
    "f32_convolutions": golden_around.FLOATS["convolutions"],
    "f32_reductions": golden_around.FLOATS["reductions"],
}
PACKED |= {
    "s8_wild_cells": wild_cells(),
    "s8_wild_heads": wild_heads(),
    "s8_wild_jumps": wild_jumps(),
    "s8_wide_cells": wild_cells("s16"),
}
PACKED |= {f"s8_{name}": made for name, made in golden_cells.WILD.items()}
PACKED |= golden_tfl8.PACKED


def quantized(name):
    """The int8 twin of one of FLOATS, without its notes: their decibels may round differently elsewhere."""
    made = FLOATS[name]
    samples = tuple(signal((4, 24, made.width(x)), 9 + k) for k, x in enumerate(made.inputs))
    if name in golden_rows.BOTH | golden_cells.BOTH:
        samples = uniform(made, 9, 16, answered_steps(made, 24))
    return replace(quantize(made, samples if len(samples) > 1 else samples[0]), notes=())


QUANTIZED = {f"s8_{name}": name for name in FLOATS}


# ---- inputs and answers ----


def answered_steps(made, causal=STEPS):
    """Steps of the runs that a model is tested on: some layers take a number of their own."""
    if made.timing.causal:
        return causal
    return describe(pack(made)).example_steps


def uniform(made, seed, count, steps):
    """Inputs from -1 to 1, whole numbers where they are ids: [count, steps, width] each."""
    random = np.random.default_rng(seed)
    xs = [random.uniform(-1, 1, (count, steps, made.width(name))).astype(np.float32) for name in made.inputs]
    xs = [abs(x * 6).round() if name == "ids" else x for name, x in zip(made.inputs, xs, strict=True)]
    xs = [(x > -0.5).astype(np.float32) if name == "mask" else x for name, x in zip(made.inputs, xs, strict=True)]
    return tuple(first_rows(made, xs))


def first_rows(made, xs):
    """[count, steps, width] each, [count, width] of inputs that take one row a run."""
    single = {t.name for t in made.tensors if t.single}
    return [x[:, 0] if name in single else x for name, x in zip(made.inputs, xs, strict=True)]


def drawn(name, widths, steps=STEPS):
    """Full-range int16 inputs of an image, one array [steps, width] an input: xorshift32 as in tests/c/check.h,
    seeded by the image's name, all inputs of one step before the next."""
    state = zlib.crc32(name.encode()) * 2654435769 % 2**32 | 1
    xs = [np.zeros((steps, width), np.int16) for width in widths]
    for step in range(steps):
        for x in xs:
            for k in range(x.shape[1]):
                state ^= state << 13 & 0xFFFFFFFF
                state ^= state >> 17
                state ^= state << 5 & 0xFFFFFFFF
                x[step, k] = (state * 65536 >> 32) - 32768
    return xs


def fitting(made, xs):
    """Drawn inputs as a model takes them: int16, their low byte, or floats, a fraction of 8192; ids as the core's door
    and its embeddings read them."""
    if isinstance(made, QuantizedModel):
        return xs
    kinds = {t.name: t.type if isinstance(made, Tfl8Model) else "f32" for t in made.tensors}
    fit = {"s8": lambda x: x.astype(np.int8), "s16": lambda x: x, "f32": lambda x: (x / 8192).astype(np.float32)}
    whole = np.rint if isinstance(made, Tfl8Model) else np.trunc
    ids = vocabularies(made)
    xs = [fit[kinds[name]](x) for name, x in zip(made.inputs, xs, strict=True)]
    return [np.clip(whole(x), 0, ids[name] - 1) if name in ids else x for name, x in zip(made.inputs, xs, strict=True)]


def answers_hash(ys):
    """SHA-256 of the answers, one array [rows, width] an output, one output after the other: of an s8 image int16, of a
    tfl8 image of the output's own type."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(y).tobytes() for y in ys)).hexdigest()


def kept(ys):
    """Of the answers of an f32 image the rows that are committed, an output each."""
    return [y[kept_rows(len(y))].ravel().tolist() for y in map(np.atleast_2d, ys)]


def reference_answers(name, made):
    """What NumPy gives: the hash of an s8 or tfl8 model's answers, the kept rows of an f32 model's in float64."""
    xs = fitting(made, drawn(name, [made.width(x) for x in made.inputs], answered_steps(made)))
    xs = first_rows(made, [x[None] for x in xs])
    every = made.timing.causal
    if isinstance(made, Model):
        return kept([y[0] for y in reference.run(made, xs, every_step=every)])
    if isinstance(made, Tfl8Model):
        return answers_hash([y[0] for y in reference_tfl8.run(made, xs, every_step=every)])
    return answers_hash([y[0].astype("<i2") for y in reference_s8.run(made, xs, every_step=every)])
