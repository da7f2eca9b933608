"""The float reference against the equations written out value by value."""

import math

import numpy as np
import pytest
from nets import activation, signal, stack, two_heads

from edgelstm import reference, reference_cells
from edgelstm.activations import FUNCTIONS, activate
from edgelstm.errors import InputError, ModelError
from edgelstm.layers import ACTIVATIONS, OVER_VALUES, PARAMETERS, Activation, Dense, Lstm
from edgelstm.model import Model, Tensor

EQUATIONS = {
    "linear": lambda v: v,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "relu": lambda v: max(v, 0.0),
    "relu6": lambda v: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v, a: v if v > 0 else a * v,
    "elu": lambda v, a: v if v > 0 else a * (math.exp(v) - 1),
    "selu": lambda v: 1.05070098735548 * (v if v > 0 else 1.67326324235437 * (math.exp(v) - 1)),
    "softplus": lambda v: math.log(1 + math.exp(v)),
    "softsign": lambda v: v / (1 + abs(v)),
    "gelu": lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)),
    "gelu_tanh": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "silu": lambda v: v / (1 + math.exp(-v)),
    "exponential": math.exp,
    "hard_sigmoid": lambda v: min(max(v / 6 + 0.5, 0.0), 1.0),
    "hard_sigmoid_fifth": lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0),
    "clip": lambda v, a, b: a if v < a else b if v > b else v,
    "ramp": lambda v, a, b: min(max(a * v + b, 0.0), 1.0),
    "affine": lambda v, a, b: a * v + b,
    "rectify": lambda v, a, b, c: min(v, c) if v > a else b * (v - a),
    "threshold": lambda v, a, b: v if v > a else b,
    "shrink": lambda v, a, b: v - b if v > a else v + b if v < -a else 0.0,
    "tanh_shrink": lambda v: v - math.tanh(v),
    "squareplus": lambda v, a: (v + math.sqrt(v * v + a)) / 2,
    "sparse_plus": lambda v: 0.0 if v <= -1 else v if v >= 1 else (v + 1) ** 2 / 4,
    "hard_silu": lambda v: v * min(max(v + 3, 0), 6) / 6,
    "mish": lambda v: v * math.tanh(math.log(1 + math.exp(v))),
    "celu": lambda v, a: max(0.0, v) + min(0.0, a * (math.exp(v / a) - 1)),
    "scaled_softplus": lambda v, a, b: v if a * v > b else math.log(1 + math.exp(a * v)) / a,
    "scaled_tanh": lambda v, a, b: a * math.tanh(b * v),
}


def test_every_activation_has_an_equation_here():
    assert set(EQUATIONS) == set(ACTIVATIONS) - set(OVER_VALUES) == set(FUNCTIONS) - set(OVER_VALUES)


@pytest.mark.parametrize("name", EQUATIONS)
def test_activations(name):
    values = np.linspace(-12, 12, 4801)
    function = activation(name)
    numbers = (function.alpha, function.beta, function.gamma)[: PARAMETERS.get(name, 0)]
    expected = [EQUATIONS[name](v, *numbers) for v in values]
    np.testing.assert_allclose(activate(function, values), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "number"),
    [("celu", 0.0), ("scaled_softplus", 0.0), ("squareplus", -1.0), ("clip", np.inf), ("ramp", np.nan), ("clip", 1e39)],
)
def test_numbers_no_activation_can_have(name, number):
    with pytest.raises(ModelError, match=f"activation {name}: alpha is "):
        Activation(name, number)


def test_softmax():
    y = activate(Activation("softmax"), np.array([[1.0, 2.0, 3.0], [1000.0, 1000.0, -1000.0]]))
    e = [math.exp(k) for k in (1, 2, 3)]
    np.testing.assert_allclose(y, [[v / sum(e) for v in e], [0.5, 0.5, 0]], rtol=1e-15)
    logs = activate(Activation("log_softmax"), np.array([[1.0, 2.0, 3.0], [1000.0, 1000.0, -1000.0]]))
    np.testing.assert_allclose(
        logs, [[v - math.log(sum(e)) for v in (1, 2, 3)], [-math.log(2)] * 2 + [-2000 - math.log(2)]]
    )


def test_the_cell_written_out():
    layer = stack(2, (3,), clip=0.4).layers[0]
    x = signal((1, 5, 2))[0]
    w, r, b = (a.astype(float) for a in (layer.kernel, layer.recurrent, layer.bias))
    h, c, expected = [0.0] * 3, [0.0] * 3, []
    for row in x:
        z = [
            [
                sum(w[g, u, k] * float(row[k]) for k in range(2)) + sum(r[g, u, k] * h[k] for k in range(3)) + b[g, u]
                for u in range(3)
            ]
            for g in range(4)
        ]
        i, f, o = ([1 / (1 + math.exp(-v)) for v in z[g]] for g in (0, 1, 3))
        c = [min(max(f[u] * c[u] + i[u] * math.tanh(z[2][u]), -0.4), 0.4) for u in range(3)]
        h = [o[u] * math.tanh(c[u]) for u in range(3)]
        expected.append(h)
    np.testing.assert_allclose(reference_cells.run(layer, [x[None].astype(float)])[0][0][0], expected, rtol=1e-13)


def test_graph_last_and_trace():
    x, u = signal((2, 7, 4), 1), signal((2, 7, 2), 2)
    trace = {}
    y1, y2 = reference.run(two_heads(), (x, u), trace=trace)
    every1, every2 = reference.run(two_heads(), (x, u), every_step=True)
    assert y1.shape == (2, 3) and y2.shape == (2, 7, 2) and every1.shape == (2, 7, 3)
    np.testing.assert_allclose(every1[:, -1], y1, rtol=1e-12)
    np.testing.assert_array_equal(every2, y2)
    assert trace["a.z"].shape == (2, 7, 4, 6) and trace["b.c"].shape == (2, 7, 7) and trace["ha"].shape == (2, 7, 6)


@pytest.mark.parametrize("x", [np.zeros((2, 3)), np.zeros((1, 0, 3)), np.zeros((1, 2, 4)), np.full((1, 2, 3), np.nan)])
def test_bad_inputs(x):
    with pytest.raises(InputError):
        reference.run(stack(3, (2,)), (x,))


def dense(name, read, write, units=2, inputs=3):
    return Dense(name, (read,), (write,), np.zeros((units, inputs)), np.zeros(units))


@pytest.mark.parametrize(
    ("tensors", "layers", "message"),
    [
        ((("x", 3), ("y", 2)), [dense("d", "z", "y")], "no layer before it writes"),
        ((("x", 3), ("y", 3)), [dense("d", "x", "y")], "widths"),
        ((("x", 3), ("y", 2)), [dense("d", "x", "y"), dense("e", "x", "y")], "written already"),
        ((("x", 3), ("y", 2), ("w", 1)), [dense("d", "x", "y")], "no layer"),
        ((("x", 3), ("x", 3), ("y", 2)), [dense("d", "x", "y")], "share a name"),
        ((("x", 3), ("y", 2)), [], "at least one"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(tensors, layers, message):
    with pytest.raises(ModelError, match=message):
        Model(tuple(Tensor(*t) for t in tensors), tuple(layers), ("x",), ("y",))


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": np.zeros((3, 2, 2))},
        {"recurrent": np.zeros((4, 2, 3))},
        {"bias": np.zeros(4)},
        {"kernel": np.full((4, 2, 2), np.inf)},
        {"activation": Activation("softmax")},
        {"cell_clip": -1.0},
        {"cell_clip": math.nan},
    ],
)
def test_a_layer_that_does_not_fit_is_refused(change):
    fields = {"kernel": np.zeros((4, 2, 2)), "recurrent": np.zeros((4, 2, 2)), "bias": np.zeros((4, 2))} | change
    with pytest.raises(ModelError):
        Lstm("l", ("x",), ("h",), **fields)


def test_arrays_cannot_be_written():
    layer = stack(2, (3,)).layers[0]
    with pytest.raises(ValueError, match="read-only"):
        layer.kernel[0] = 1
