"""The recurrent layers among tests/golden_models.py: GRU, RNN and the LSTM's options, float and of wild integers."""

from __future__ import annotations

import numpy as np

from edgelstm.layers import (
    SIGMOID,
    TANH,
    Activate,
    Activation,
    Constant,
    Dense,
    Group,
    Gru,
    Last,
    Lstm,
    Reverse,
    Rnn,
    Split,
)
from edgelstm.model import Model, QuantizedModel, Tensor
from edgelstm.quantized import (
    QuantizedActivate,
    QuantizedActivation,
    QuantizedGru,
    QuantizedLstm,
    QuantizedReset,
    QuantizedRnn,
    QuantizedRows,
    QuantizedTensor,
    Rescale,
)

RELU, SOFTSIGN = Activation("relu"), Activation("softsign")
HARD = Activation("hard_sigmoid")


def of(inputs, layers, outputs):
    """A model from its layers; `inputs`: tensor name to width."""
    widths = dict(inputs)
    for layer in layers:
        widths |= zip(layer.writes, layer.widths(tuple(widths[name] for name in layer.reads)), strict=True)
    return Model(tuple(Tensor(name, width) for name, width in widths.items()), tuple(layers), tuple(inputs), outputs)


class _Cells:
    """Layers with seeded weights of a trained layer's size."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def draw(self, *shape):
        bound = 1.2 / np.sqrt(shape[-1])
        return self.random.uniform(-bound, bound, shape)

    def bias(self, *shape):
        return self.random.uniform(-0.5, 0.5, shape)

    def gru(self, name, reads, inputs, units, **options):
        if options.get("reset_after", True):
            options["reset_bias"] = self.bias(units)
        weights = self.draw(3, units, inputs), self.draw(3, units, units), self.bias(3, units)
        return Gru(name, reads, (f"h_{name}",), *weights, **options)

    def rnn(self, name, reads, inputs, units, **options):
        weights = self.draw(units, inputs), self.draw(units, units), self.bias(units)
        return Rnn(name, reads, (f"h_{name}",), *weights, **options)

    def lstm(self, name, reads, inputs, units, *, projected=0, peepholes=False, norm=False, writes_c=False, **options):
        kernel, recurrent = self.draw(4, units, inputs), self.draw(4, units, projected or units)
        bias = self.bias(4, units)
        if peepholes:
            options["peephole"] = self.bias(3, units)
        if projected:
            options["projection"] = self.draw(projected, units)
        if norm:
            options["norm"] = 1 + self.bias(4, units)
        if options.get("coupled"):
            for rows in (kernel, recurrent, bias, *(options[key] for key in ("peephole", "norm") if key in options)):
                rows[1] = 0
        writes = (f"h_{name}", f"c_{name}") if writes_c else (f"h_{name}",)
        return Lstm(name, reads, writes, kernel, recurrent, bias, **options)


def grus():
    """Both forms, after x and after an int8 h, other functions, a clip, a mask that is 0 at half of the steps."""
    made = _Cells(61)
    layers = [
        Activate("mask", ("m",), ("mask",), RELU),
        made.gru("a", ("x",), 2, 3),
        made.gru("b", ("h_a",), 3, 9, reset_after=False),
        made.gru("c", ("x",), 2, 2, activation=SOFTSIGN, gate_activation=HARD, clip=0.8),
        made.gru("d", ("x", "mask"), 2, 4, masked=True),
        made.gru("e", ("x", "mask"), 2, 2, masked=True, reset_after=False, activation=RELU),
    ]
    return of({"x": 2, "m": 1}, layers, ("h_b", "h_c", "h_d", "h_e"))


def rnns():
    made = _Cells(62)
    layers = [
        Activate("mask", ("m",), ("mask",), RELU),
        made.rnn("a", ("x",), 2, 17),
        made.rnn("b", ("h_a",), 17, 3, activation=Activation("elu", 0.5), clip=1.5),
        made.rnn("c", ("x", "mask"), 2, 9, masked=True, activation=SIGMOID),
    ]
    return of({"x": 2, "m": 1}, layers, ("h_b", "h_c"))


def options():
    """The LSTM's, alone and all together."""
    made = _Cells(63)
    layers = [
        Activate("mask", ("m",), ("mask",), RELU),
        made.lstm("a", ("x", "mask"), 2, 3, masked=True, writes_c=True),
        made.lstm("b", ("h_a",), 3, 9, projected=4),
        made.lstm("c", ("x",), 2, 3, peepholes=True, activation=SOFTSIGN),
        made.lstm("d", ("x",), 2, 2, coupled=True, clip=0.9, cell_activation=RELU, cell_clip=1.0),
        made.lstm("e", ("x", "mask"), 2, 3, masked=True, projected=5, peepholes=True, coupled=True, cell_clip=0.4,
                  cell_activation=Activation("hard_sigmoid"), gate_activation=HARD, writes_c=True),
    ]  # fmt: skip
    return of({"x": 2, "m": 1}, layers, ("c_a", "h_b", "h_c", "h_d", "h_e", "c_e"))


def started():
    """Encoders whose last states others start from."""
    made = _Cells(64)
    layers = [
        Activate("mask", ("m",), ("mask",), RELU),
        made.gru("a", ("x",), 2, 4),
        made.lstm("b", ("x",), 2, 4, writes_c=True),
        *(Last(f"last_{name}", (name,), (f"l_{name}",)) for name in ("h_a", "h_b", "c_b")),
        made.gru("c", ("x", "l_h_a"), 2, 4, initial=True),
        made.gru("d", ("x", "mask", "l_h_b"), 2, 4, initial=True, masked=True, reset_after=False),
        made.rnn("e", ("x", "mask", "l_h_a"), 2, 4, initial=True, masked=True),
        made.lstm("f", ("x", "mask", "l_h_b", "l_c_b"), 2, 4, initial=True, masked=True, writes_c=True),
        Dense("head", ("h_c",), ("y",), made.draw(2, 4), made.bias(2), TANH),
    ]
    return of({"x": 2, "m": 1}, layers, ("y", "h_d", "h_e", "h_f", "c_f"))


def constants():
    """States to start from that are the model's own; one alone, and one that a layer computes with."""
    made = _Cells(67)
    layers = [
        Activate("mask", ("m",), ("mask",), RELU),
        *(Constant(name, ("m",), (name,), made.bias(4)) for name in ("l_a", "l_b", "l_c")),
        Dense("head", ("l_a",), ("l_d",), made.draw(4, 4), made.bias(4), TANH),
        made.gru("a", ("x", "l_a"), 2, 4, initial=True),
        made.gru("b", ("x", "mask", "l_b"), 2, 4, initial=True, masked=True, reset_after=False),
        made.rnn("c", ("x", "mask", "l_c"), 2, 4, initial=True, masked=True),
        made.lstm("d", ("x", "l_d", "l_b"), 2, 4, initial=True, writes_c=True),
    ]
    return of({"x": 2, "m": 1}, layers, ("h_a", "h_b", "h_c", "h_d", "c_d"))


def periods():
    """Sequences inside the steps of another, there and back: their ends, and every row."""
    made = _Cells(68)
    layers = [
        Split("rows", ("x",), ("r",), 3),
        Reverse("there", ("r",), ("q",), 3),
        made.gru("a", ("r",), 2, 4, period=3),
        made.gru("b", ("q",), 2, 4, period=3, reset_after=False),
        Constant("l_c", ("x",), ("l_c",), made.bias(4)),
        made.rnn("c", ("r", "l_c"), 2, 4, period=2, initial=True),
        made.lstm("d", ("q",), 2, 4, period=3, writes_c=True),
        Reverse("back", ("h_b",), ("p",), 3),
        *(Last(f"last_{name}", (name,), (f"l_{name}",), 3) for name in ("h_a", "h_d", "c_d")),
        Group("joined", ("p",), ("g",), 3),
        made.lstm("e", ("l_h_d",), 4, 3),
    ]
    return of({"x": 6}, layers, ("l_h_a", "l_c_d", "g", "h_e", "h_c"))


def norms():
    """The LSTM's layer normalisation, alone and with all else; a projection's bias and clip, one without the other."""
    made = _Cells(69)
    layers = [
        Activate("mask", ("m",), ("mask",), RELU),
        made.lstm("a", ("x",), 2, 9, norm=True),
        made.lstm("b", ("x",), 2, 3, projected=4, projection_bias=made.bias(4)),
        made.lstm("c", ("x",), 2, 3, projected=9, projection_clip=0.1, norm=True, norm_epsilon=1e-3),
        Last("last_b", ("h_b",), ("l_b",)),
        Last("last_c", ("h_b",), ("l_c",)),
        made.lstm("d", ("x", "mask", "l_b", "l_c"), 2, 4, norm=True, masked=True, initial=True, projected=4,
                  peepholes=True, coupled=True, cell_clip=0.4, clip=2.0, period=5, projection_bias=made.bias(4),
                  projection_clip=0.3, writes_c=True, cell_activation=SOFTSIGN),
    ]  # fmt: skip
    return of({"x": 2, "m": 1}, layers, ("h_a", "h_b", "h_c", "h_d", "c_d"))


FLOATS = {"norms": norms()}
BOTH = {
    "gru": grus(),
    "rnn": rnns(),
    "lstm_options": options(),
    "started": started(),
    "constants": constants(),
    "periods": periods(),
}
"""Models in both number types."""


# ---- integers that no quantizer would choose ----


class _Wild:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def weights(self, *shape):
        made = self.random.integers(-127, 128, shape)
        made[self.random.random(shape) < 0.2] = 127
        made[self.random.random(shape) < 0.2] = -127
        return made.astype(np.int8)

    def rows(self, shape, columns, wide=True):
        shift = self.random.integers(0, 12, shape)
        shift[self.random.random(shape) < 0.1] = -4
        shift[self.random.random(shape) < 0.1] = 27
        return {
            "kernel": self.weights(*shape, columns),
            "bias": self.random.integers(-(1 << 20), 1 << 20, shape).astype(np.int32),
            "input_shift": self.random.integers(0 if wide else -4, 8, shape).astype(np.int8),
            "shift": shift.astype(np.int8),
            "multiplier": self.random.choice([0, 1, 12345, 32767], shape).astype(np.int16),
        }

    def table(self):
        entries = self.random.integers(-32768, 32768, 257).astype(np.int16)
        return QuantizedActivation("table", int(self.random.integers(0, 3)), entries)

    def starts(self, count):
        return tuple(
            Rescale(int(self.random.choice([-4, 8, 27])), int(self.random.choice([0, 9999, 32767])))
            for _ in range(count)
        )

    def gru(self, name, reads, inputs, units, functions, after, **fields):
        reset = None
        if after:
            rows = self.rows((units,), 1)
            reset = QuantizedReset(rows["bias"], rows["shift"], rows["multiplier"])
        chosen = {"gate_exponent": 0, "state_multiplier": 32768, "hidden_multiplier": 127} | fields
        return QuantizedGru(
            name, reads, (f"h_{name}",), **self.rows((3, units), inputs), recurrent=self.weights(3, units, units),
            reset=reset, gate=functions[0], candidate=functions[1], state_scale=1.0, masked="mask" in reads,
            initial=self.starts(sum(read.startswith("l_") for read in reads)), **chosen,
        )  # fmt: skip

    def rnn(self, name, reads, inputs, units, function, **fields):
        chosen = {"hidden_multiplier": 127} | fields
        return QuantizedRnn(
            name, reads, (f"h_{name}",), **self.rows((units,), inputs), recurrent=self.weights(units, units),
            activation=function, masked="mask" in reads,
            initial=self.starts(sum(read.startswith("l_") for read in reads)), **chosen,
        )  # fmt: skip

    def lstm(self, name, reads, inputs, units, functions, *, projected=0, peepholes=False, **fields):
        chosen = {"gate_exponent": 0, "cell_multiplier": 6554, "cell_limit": 32767, "hidden_multiplier": 127} | fields
        gate, candidate, cell = functions
        outputs = projected or units
        return QuantizedLstm(
            name, reads, (f"h_{name}", f"c_{name}"), **self.rows((4, units), inputs),
            recurrent=self.weights(4, units, outputs), gate=gate, candidate=candidate, cell=cell, cell_scale=1.0,
            projection=QuantizedRows(**self.rows((outputs,), units)) if projected else None,
            peephole=self.random.choice([-32767, 32767, 1, -77], (3, units)).astype(np.int16) if peepholes else None,
            peephole_shift=self.random.integers(6, 28, (3, units)).astype(np.int8) if peepholes else None,
            masked="mask" in reads, initial=self.starts(sum(read.startswith("l_") for read in reads)), **chosen,
        )  # fmt: skip


def wild(hidden):
    """Every form of the equations; the last states of some start others. `hidden`: the type of every h."""
    made = _Wild(65 if hidden == "s8" else 66)
    s, t, r = (QuantizedActivation(kind) for kind in ("sigmoid", "tanh", "relu"))
    doubled = QuantizedActivation("tanh", 3)
    full = 32767 if hidden == "s16" else 4064
    layers = [
        QuantizedActivate("mask", ("m",), ("mask",), 8, 0, r),
        made.gru("a", ("x",), 2, 3, (s, doubled), True, hidden_multiplier=32768 if hidden == "s16" else 127),
        made.gru("b", ("x", "mask"), 2, 9, (s, t), False, state_multiplier=20000, gate_limit=30000),
        made.gru("c", ("x",), 2, 2, (t, made.table()), True, gate_exponent=14, candidate_limit=9000),
        made.rnn("d", ("x", "mask"), 2, 25, t, hidden_multiplier=full),
        made.rnn("e", ("x",), 2, 3, made.table(), limit=20000),
        made.lstm("f", ("x", "mask"), 2, 3, (s, t, doubled)),
        made.lstm("g", ("x",), 2, 3, (s, t, t), projected=5, peepholes=True, coupled=True, hidden_multiplier=full),
        made.lstm(
            "h", ("x",), 2, 9, (made.table(), r, made.table()), peepholes=True, gate_exponent=3, cell_limit=12000
        ),
        *(Last(f"last_{name}", (name,), (f"l_{name}",)) for name in ("h_a", "h_f", "c_f", "h_g", "c_g")),
        made.gru("i", ("x", "l_h_a"), 2, 3, (s, t), True),
        made.gru("j", ("x", "mask", "l_c_f"), 2, 3, (s, t), False),
        made.rnn("k", ("x", "mask", "l_h_f"), 2, 3, t),
        made.lstm("l", ("x", "mask", "l_h_g", "l_c_g"), 2, 3, (s, t, t), projected=5),
        made.lstm("m", ("x", "l_h_a", "l_c_f"), 2, 3, (s, t, t), gate_limit=15000),
    ]
    tensors = {name: QuantizedTensor(name, width, "s16", 2.0**-15) for name, width in {"x": 2, "m": 1}.items()}
    for layer in layers:
        read = [tensors[name] for name in layer.reads]
        kinds = (read[0].type,) if isinstance(layer, Last) else (hidden, "s16") if layer.name != "mask" else ("s16",)
        widths = layer.widths(tuple(tensor.width for tensor in read))
        for name, width, kind in zip(layer.writes, widths, kinds, strict=False):
            tensors[name] = QuantizedTensor(name, width, kind, 2.0**-12)
    outputs = ("h_b", "h_c", "h_e", "c_h", "h_i", "h_j", "h_k", "h_l")
    return QuantizedModel(tuple(tensors.values()), tuple(layers), ("x", "m"), outputs)


WILD = {"wild_recurrent": wild("s8"), "wide_recurrent": wild("s16")}
