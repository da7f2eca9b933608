"""The nets quantization is measured on: seeded random ones, and trained ones with data of the kind they know.

Each is a function from nothing to (model, samples to calibrate on, data to measure on), arrays [N, T, inputs].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelstm.layers import Activate, Activation, Dense, Gru, Last, Lstm, Rnn
from edgelstm.model import Model, Tensor

GOLDEN = Path(__file__).parent / "golden"


def walk(rng, count, steps, width):
    """Slow random signals of about unit size."""
    noise = np.cumsum(rng.normal(size=(count, steps, width)), axis=1) * 0.25
    return (noise + 0.3 * rng.normal(size=noise.shape)).astype(np.float32)


def random_model(
    rng, inputs, units, outputs=None, head="linear", heavy=False, scale=1.0, last=False, forget=1.0, **cell
):
    """LSTM layers and a Dense head with normal weights, or Student-t with 4 degrees of freedom if `heavy`."""
    draw = (lambda *shape: rng.standard_t(4, shape) / np.sqrt(2)) if heavy else (lambda *shape: rng.normal(size=shape))
    tensors, layers, reads, width = [Tensor("x", inputs)], [], "x", inputs
    for k, n in enumerate(units):
        bias = 0.3 * rng.normal(size=(4, n)) + np.array([[0], [forget], [0], [0]])
        kernel, recurrent = draw(4, n, width) * scale / np.sqrt(width), draw(4, n, n) * scale / np.sqrt(n)
        layers.append(Lstm(f"lstm{k}", (reads,), (f"h{k}",), kernel, recurrent, bias, **cell))
        tensors.append(Tensor(f"h{k}", n))
        reads, width = f"h{k}", n
    if last:
        layers.append(Last("last", (reads,), ("last",)))
        tensors.append(Tensor("last", width))
        reads = "last"
    if outputs is not None:
        kernel = draw(outputs, width) / np.sqrt(width)
        layers.append(Dense("head", (reads,), ("y",), kernel, 0.1 * rng.normal(size=outputs), Activation(head)))
        tensors.append(Tensor("y", outputs))
        reads = "y"
    return Model(tuple(tensors), tuple(layers), ("x",), (reads,))


def random_net(seed, inputs, units, *, count=32, steps=60, **options):
    rng = np.random.default_rng(seed)
    model = random_model(rng, inputs, units, **options)
    return model, walk(rng, count, steps, inputs), walk(rng, 24, steps, inputs)


def standing_alone():
    """An activation after the LSTM and a softmax after the Dense, both outputs."""
    rng = np.random.default_rng(11)
    model = random_model(rng, 4, [24], outputs=6)
    tensors = (*model.tensors, Tensor("tanh", 24), Tensor("classes", 6))
    layers = (
        *model.layers,
        Activate("tanh", ("h0",), ("tanh",), Activation("tanh")),
        Activate("classes", ("y",), ("classes",), Activation("softmax")),
    )
    model = Model(tensors, layers, ("x",), ("tanh", "classes"))
    return model, walk(rng, 32, 60, 4), walk(rng, 24, 60, 4)


def torch_stack(stored):
    """A torch LSTM named "lstm" and a Linear named "out" as a model, from a dict of their arrays."""
    tensors, layers, reads = [Tensor("x", stored["lstm.weight_ih_l0"].shape[1])], [], "x"
    for k in range(sum(name.startswith("lstm.weight_hh") for name in stored)):
        kernel, recurrent, b, r = (stored[f"lstm.{n}_l{k}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        n = recurrent.shape[1]
        shaped = kernel.reshape(4, n, -1), recurrent.reshape(4, n, n), (b + r).reshape(4, n)
        layers.append(Lstm(f"lstm{k}", (reads,), (f"h{k}",), *shaped))
        tensors.append(Tensor(f"h{k}", n))
        reads = f"h{k}"
    return _with_head(stored, tensors, layers, reads)


def torch_gru(stored):
    """The same of a torch GRU named "gru": its gates are r, z, n, and only n keeps its two biases apart."""
    tensors, layers, reads = [Tensor("x", stored["gru.weight_ih_l0"].shape[1])], [], "x"
    for k in range(sum(name.startswith("gru.weight_hh") for name in stored)):
        kernel, recurrent, b, d = (stored[f"gru.{n}_l{k}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        n = recurrent.shape[1]
        order, b, d = [1, 0, 2], b.reshape(3, n)[[1, 0, 2]], d.reshape(3, n)[[1, 0, 2]]
        bias = np.stack([b[0] + d[0], b[1] + d[1], b[2]])
        shaped = kernel.reshape(3, n, -1)[order], recurrent.reshape(3, n, n)[order], bias, d[2]
        layers.append(Gru(f"gru{k}", (reads,), (f"h{k}",), *shaped))
        tensors.append(Tensor(f"h{k}", n))
        reads = f"h{k}"
    return _with_head(stored, tensors, layers, reads)


def torch_rnn(stored):
    """The same of a torch RNN named "rnn"."""
    tensors, layers, reads = [Tensor("x", stored["rnn.weight_ih_l0"].shape[1])], [], "x"
    for k in range(sum(name.startswith("rnn.weight_hh") for name in stored)):
        kernel, recurrent, b, d = (stored[f"rnn.{n}_l{k}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        layers.append(Rnn(f"rnn{k}", (reads,), (f"h{k}",), kernel, recurrent, b + d))
        tensors.append(Tensor(f"h{k}", len(b)))
        reads = f"h{k}"
    return _with_head(stored, tensors, layers, reads)


def _with_head(stored, tensors, layers, reads):
    layers.append(Dense("out", (reads,), ("y",), stored["out.weight"], stored["out.bias"]))
    tensors.append(Tensor("y", len(stored["out.bias"])))
    return Model(tuple(tensors), tuple(layers), ("x",), ("y",))


def sines():
    """Two layers of 32 trained to predict a noisy sum of sines: tools/train_sines.py."""
    with np.load(GOLDEN / "quantize" / "sines.npz") as stored:
        arrays = dict(stored)
    return torch_stack(arrays), arrays["samples"], arrays["data"]


def regimes():
    """Two layers of 24 that watch a machine, some of whose cells count to beyond 200: tools/train_regimes.py."""
    with np.load(GOLDEN / "quantize" / "regimes.npz") as stored:
        arrays = dict(stored)
    return torch_stack(arrays), arrays["samples"].astype(np.float32), arrays["data"].astype(np.float32)


def sines_of(cell):
    """The same with GRU or RNN layers, trained the same way."""
    _, samples, data = sines()
    with np.load(GOLDEN / "quantize" / f"sines_{cell}.npz") as stored:
        return {"gru": torch_gru, "rnn": torch_rnn}[cell](dict(stored)), samples, data


def random_cell(seed, cell, inputs, units, *, scale=1.0, count=32, steps=60, projected=0, peepholes=False, **options):
    """One recurrent layer and a Dense head with normal weights; with `masked` a third of the steps are missing."""
    rng = np.random.default_rng(seed)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    outputs = projected or units
    kernel = rng.normal(size=(gates, units, inputs)) * scale / np.sqrt(inputs)
    recurrent = rng.normal(size=(gates, units, outputs)) * scale / np.sqrt(outputs)
    bias = 0.3 * rng.normal(size=(gates, units))
    if gates > 1:
        bias[0 if cell == "gru" else 1] += 1
    if cell == "gru" and options.get("reset_after", True):
        options["reset_bias"] = 0.3 * rng.normal(size=units)
    if projected:
        options["projection"] = rng.normal(size=(projected, units)) / np.sqrt(units)
    if peepholes:
        options["peephole"] = 0.5 * rng.normal(size=(3, units))
    if options.get("coupled"):
        kernel[1] = recurrent[1] = bias[1] = 0
    tensors = [Tensor("x", inputs), *([Tensor("mask", 1)] if options.get("masked") else [])]
    names = tuple(t.name for t in tensors)
    if cell == "rnn":
        layer = Rnn("cell", names, ("h",), kernel[0], recurrent[0], bias[0], **options)
    else:
        layer = {"lstm": Lstm, "gru": Gru}[cell]("cell", names, ("h",), kernel, recurrent, bias, **options)
    head = Dense("head", ("h",), ("y",), rng.normal(size=(2, outputs)) / np.sqrt(outputs), 0.1 * rng.normal(size=2))
    model = Model((*tensors, Tensor("h", outputs), Tensor("y", 2)), (layer, head), names, ("y",))

    def drawn(sequences):
        x = walk(rng, sequences, steps, inputs)
        mask = (rng.random((sequences, steps, 1)) < 2 / 3).astype(np.float32)
        return (x, mask) if len(names) > 1 else (x,)

    return model, drawn(count), drawn(24)


def _cell(*args, **options):
    return lambda: random_cell(*args, **options)


def _net(*args, **options):
    return lambda: random_net(*args, **options)


RELU, HARD, FIFTH = Activation("relu"), Activation("hard_sigmoid"), Activation("hard_sigmoid_fifth")

NETS = {
    "random 1-8-1": _net(1, 1, [8], outputs=1),
    "random 9-64": _net(2, 9, [64]),
    "random 32-64-3, large weights": _net(3, 32, [64], outputs=3, scale=2.0),
    "student-t 8-32-4": _net(4, 8, [32], outputs=4, heavy=True),
    "student-t 6-48-32-4": _net(5, 6, [48, 32], outputs=4, heavy=True, scale=1.5),
    "stacked 3-50-50-1": _net(6, 3, [50, 50], outputs=1, last=True),
    "softmax 12-128-6": _net(7, 12, [128], outputs=6, head="softmax", last=True, count=16),
    "relu cell 3-50-1": _net(8, 3, [50], outputs=1, scale=0.25, activation=RELU),
    "hard sigmoid gates 5-32-2": _net(9, 5, [32], outputs=2, gate_activation=HARD),
    "hard sigmoid (fifth) gates 5-32-2": _net(10, 5, [32], outputs=2, gate_activation=FIFTH),
    "softsign cell 4-24-2": _net(12, 4, [24], outputs=2, activation=Activation("softsign")),
    "elu cell, relu gates 4-24-2": _net(
        14, 4, [24], outputs=2, scale=0.2, forget=0.0, activation=Activation("elu", 1.0), gate_activation=RELU
    ),
    "clipped cell 4-24-2": _net(13, 4, [24], outputs=2, scale=2.0, cell_clip=1.5),
    "activations alone 4-24-6": standing_alone,
    "trained sines 1-32-32-1": sines,
}

SOFTSIGN = Activation("softsign")

CELLS = {
    "trained sines, GRU 1-32-32-1": lambda: sines_of("gru"),
    "trained sines, RNN 1-32-32-1": lambda: sines_of("rnn"),
    "GRU 4-24-2": _cell(21, "gru", 4, 24),
    "GRU 9-64-2": _cell(22, "gru", 9, 64),
    "GRU 4-24-2, reset before": _cell(23, "gru", 4, 24, reset_after=False),
    "GRU 4-24-2, relu": _cell(24, "gru", 4, 24, scale=0.7, activation=RELU),
    "GRU 4-24-2, relu, reset before": _cell(25, "gru", 4, 24, scale=0.7, activation=RELU, reset_after=False),
    "GRU 4-24-2, hard sigmoid gates, softsign": _cell(26, "gru", 4, 24, gate_activation=HARD, activation=SOFTSIGN),
    "GRU 4-24-2, clip 1": _cell(27, "gru", 4, 24, clip=1.0),
    "GRU 4-24-2, masked": _cell(28, "gru", 4, 24, masked=True),
    "RNN 4-24-2": _cell(31, "rnn", 4, 24, scale=0.8),
    "RNN 9-64-2": _cell(32, "rnn", 9, 64, scale=0.8),
    "RNN 4-24-2, relu": _cell(33, "rnn", 4, 24, scale=0.5, activation=RELU),
    "RNN 4-24-2, masked": _cell(34, "rnn", 4, 24, scale=0.8, masked=True),
    "LSTM 4-24-2, projected to 12": _cell(41, "lstm", 4, 24, projected=12),
    "LSTM 4-24-2, peepholes": _cell(42, "lstm", 4, 24, peepholes=True),
    "LSTM 4-24-2, coupled gates": _cell(43, "lstm", 4, 24, coupled=True),
    "LSTM 4-24-2, clip 1": _cell(44, "lstm", 4, 24, clip=1.0),
    "LSTM 4-24-2, cell function softsign": _cell(45, "lstm", 4, 24, cell_activation=SOFTSIGN),
    "LSTM 4-24-2, masked": _cell(46, "lstm", 4, 24, masked=True),
}
"""Other recurrent layers and the LSTM's options; their samples and data are tuples, one array an input."""
