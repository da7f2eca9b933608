""".tflite files as this package reads them and as the TFLite runtimes run them: each operator and option alone, the
exporter's files, and what TensorFlow's converter wrote of Keras models (tests/golden/tflite)."""

from __future__ import annotations

import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flatbuffers")

from tfl8_files import raw_answers
from tflite_models import File, lstm, parts, weights

from edgelstm import Runner, importers, peers, reference, reference_tfl8
from edgelstm.errors import CheckpointError, InputError, PeerError
from edgelstm.exporters import tflite as exporter
from edgelstm.importers import onnx_feeds, tflite_schema
from edgelstm.importers import tflite as importer
from edgelstm.layers import Activation, Dense, Last, Lstm, Rnn
from edgelstm.model import Model, Tensor
from edgelstm.proof import prove
from edgelstm.random_inputs import draw
from edgelstm.tfl8_model import ARITHMETIC, Tfl8Model, variant

LIMIT = 5e-6
GOLDEN = Path(__file__).parents[1] / "golden" / "tflite"
RUNTIMES = peers.runtimes()
pytestmark = pytest.mark.skipif(not RUNTIMES, reason="no TFLite runtime")


def agree(data: bytes, resolvers: tuple[str, ...] = ("default",), runtimes: list[str] = RUNTIMES) -> Model:
    """The model of a file, after its answers were found to be those of every runtime."""
    made = importer.reading(data, "graph.tflite")
    fixed = onnx_feeds.fixed_steps(made)
    xs = draw(made.model, 3, made.model.meta.window or 7, np.random.default_rng(1), fixed)
    ys = reference.run(made.model, xs)
    assert any(y.any() for y in ys)  # zeros would agree with anything
    for runtime in runtimes:
        for resolver in resolvers:
            answers = peers.run_tflite(data, xs, runtime, resolver=resolver)
            for y, z in zip(ys, answers.ys, strict=True):
                assert y.shape == z.shape, (runtime, resolver)
                assert np.abs(y - z).max() <= LIMIT * max(1.0, float(np.abs(z).max())), (runtime, resolver)
    as_they_lie(data, made.model, [x[:1] for x in xs], runtimes[0])
    return made.model


def as_they_lie(data: bytes, model: Model, xs: list[Any], runtime: str) -> None:
    """Answers of equal shape are equal as arrays, however the importer sees the file's axes."""
    shapes, found = raw_answers(data, [xs], runtime)
    if shapes != [x.shape for x in xs]:
        return
    for z, y in zip(found[0], reference.run(model, xs), strict=True):
        if z.shape == y.shape:
            assert np.abs(y - z).max() <= LIMIT * max(1.0, float(np.abs(z).max()))


# ---- the fused cells ----

OPTIONS: list[dict[str, Any]] = [
    {},
    {"cell_clip": 0.3},
    {"cell_clip": 10.0},
    {"projection": 3},
    {"projection": 3, "cell_clip": 0.3},
    {"peephole": True},
    {"coupled": True},
    {"coupled": True, "peephole": True, "projection": 2},
    {"time_major": True},
    {"activation": 1},
    {"activation": 3, "cell_clip": 0.5},
    {"projection": 3, "projection_bias": True},
    {"projection": 3, "projection_bias": True, "proj_clip": 0.2, "activation": 1},
    {"norm": True},
    {"norm": True, "peephole": True, "cell_clip": 0.4},
    {"norm": True, "coupled": True, "peephole": True, "time_major": True},
    {"norm": True, "coupled": True, "peephole": True, "projection": 3, "projection_bias": True, "proj_clip": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
def test_each_option_of_the_lstm(options: dict[str, Any]) -> None:
    file = File()
    shape = (6, 1, 3) if options.get("time_major") else (1, 6, 3)
    x = file.input(*shape)
    file.outputs(lstm(file, x, shape, 5, **options))
    model = agree(file.bytes(), ("default", "reference"))
    (layer,) = model.layers
    assert isinstance(layer, Lstm)
    assert layer.cell_clip == (np.float32(options["cell_clip"]) if "cell_clip" in options else None)
    assert (layer.norm is not None) == ("norm" in options)


def test_the_epsilon_of_the_cells_norms() -> None:
    """On inputs so small that a gate's variance is as small."""
    file = File()
    x = file.input(1, 6, 3)
    small = file.op("MUL", [x, file.constant(np.float32(1e-4))], (1, 6, 3))
    file.outputs(lstm(file, small, (1, 6, 3), 5, norm=True))
    model = agree(file.bytes())
    (layer,) = (layer for layer in model.layers if isinstance(layer, Lstm))
    assert layer.norm_epsilon == 1e-8
    changed = replace(layer, norm_epsilon=2e-8)
    other = replace(model, layers=tuple(changed if own is layer else own for own in model.layers))
    xs = draw(model, 3, 6, np.random.default_rng(1))
    assert np.abs(reference.run(model, xs)[0] - reference.run(other, xs)[0]).max() > 1e-4


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("options", [{}, {"peephole": True}, {"projection": 3}, {"coupled": True}], ids=str)
def test_bidirectional_lstm(options: dict[str, Any], merge: bool, time_major: bool) -> None:
    file = File()
    units, outputs = 4, options.get("projection", 4)
    x = file.input(*((6, 1, 3) if time_major else (1, 6, 3)))
    rows = []
    for seed in (0, 100):
        more = options.get("peephole", False), options.get("coupled", False), "projection" in options
        rows += parts(file, 3, units, outputs, seed, *more)
    for n in (outputs, units) * 2:
        rows.append(file.tensor((1, n), variable=True))
    settings = {"activation": 4, "merge": merge, "time_major": time_major}
    shapes = [(*((6, 1) if time_major else (1, 6)), outputs * (1 + merge))] * (2 - merge)
    made = file.op("BIDIRECTIONAL_SEQUENCE_LSTM", [x, *rows, *[-1] * 9], shapes, settings)
    file.outputs(*(made if isinstance(made, list) else [made]))
    agree(file.bytes())


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
def test_a_bidirectional_lstm_with_an_auxiliary_input(coupled: bool, crossed: bool) -> None:
    """Its weights, or none where directions stay apart: the second cell then reads it alone."""
    file = File()
    x, other = file.input(1, 6, 3), file.input(1, 6, 3)
    rows = [k for seed in (0, 100) for k in parts(file, 3, 4, 4, seed, False, coupled, False)]
    rows += [file.tensor((1, 4), variable=True) for _ in range(4)]
    beside = [-1] * 8
    if crossed:
        beside = [-1 if coupled and k % 4 == 0 else file.constant(weights(4, 3, seed=200 + k)) for k in range(8)]
    file.outputs(
        *file.op(
            "BIDIRECTIONAL_SEQUENCE_LSTM",
            [x, *rows, other, *beside],
            [(1, 6, 4)] * 2,
            {"activation": 4, "time_major": False},
        )
    )
    agree(file.bytes(), ("default", "reference"))


@pytest.mark.parametrize(("crossed", "time_major"), [(False, True), (True, False), (True, True), (False, False)])
def test_a_bidirectional_rnn_with_an_auxiliary_input(crossed: bool, time_major: bool) -> None:
    file = File()
    x, other = (file.input(*((6, 1, 3) if time_major else (1, 6, 3))) for _ in range(2))
    rows = []
    for seed in (0, 10):
        shapes = enumerate([(4, 3), (4, 4), (4,)])
        rows += [file.constant(weights(*shape, seed=seed + k)) for k, shape in shapes]
        rows.append(file.tensor((1, 4), variable=True))
    beside = [file.constant(weights(4, 3, seed=20 + k)) if crossed else -1 for k in range(2)]
    settings = {"activation": 4, "merge": True, "time_major": time_major}
    shape = (6, 1, 8) if time_major else (1, 6, 8)
    file.outputs(file.op("BIDIRECTIONAL_SEQUENCE_RNN", [x, *rows, other, *beside], shape, settings))
    if crossed or time_major:
        agree(file.bytes(), ("default", "reference"))
        return
    with pytest.raises(CheckpointError, match="an auxiliary input without weights of its own.*a fault of theirs"):
        importer.reading(file.bytes(), "")
    random = np.random.default_rng(0)
    xs = [random.normal(size=(1, 6, 3)).astype(np.float32) for _ in range(2)]
    for runtime in RUNTIMES:  # the fault is still theirs
        left, right = (peers.run_tflite(file.bytes(), [xs[0], k * xs[1]], runtime).ys[0] for k in (0, 1))
        assert (left == right).all()


@pytest.mark.parametrize("activation", [1, 3, 4, 0])
@pytest.mark.parametrize("time_major", [False, True])
def test_simple_rnn(activation: int, time_major: bool) -> None:
    file = File()
    x = file.input(*((6, 1, 3) if time_major else (1, 6, 3)))
    rows = [file.constant(weights(*shape, seed=k)) for k, shape in enumerate([(4, 3), (4, 4), (4,)])]
    state = file.tensor((1, 4), variable=True)
    settings = {"activation": activation, "time_major": time_major}
    shape = (6, 1, 4) if time_major else (1, 6, 4)
    file.outputs(file.op("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *rows, state], shape, settings))
    (layer,) = agree(file.bytes()).layers
    assert isinstance(layer, Rnn)


def test_time_major_rows_are_sequences() -> None:
    """(T, N, inputs) in the file is (N, T, inputs) in the model."""
    file = File()
    x = file.input(5, 2, 3)
    file.outputs(lstm(file, x, (5, 2, 3), 4, time_major=True))
    made = importer.reading(file.bytes(), "")
    assert onnx_feeds.fixed_batch(made) == 2
    agree(file.bytes())


# ---- the exporter's files ----


def net(last: bool, *activations: str) -> Model:
    rng = np.random.default_rng(len(activations))

    def w(*shape: int) -> Any:
        return rng.uniform(-0.7, 0.7, shape)

    layers: list[Any] = [
        Lstm("first", ("x",), ("a",), w(4, 6, 3), w(4, 6, 6), w(4, 6)),
        Lstm("second", ("a",), ("b",), w(4, 5, 6), w(4, 5, 5), w(4, 5), cell_clip=0.4),
    ]
    tensors = [Tensor("x", 3), Tensor("a", 6), Tensor("b", 5)]
    if last:
        layers.append(Last("last", ("b",), ("last",)))
        tensors.append(Tensor("last", 5))
    for k, name in enumerate(activations):
        source = tensors[-1]
        layers.append(Dense(f"d{k}", (source.name,), (f"d{k}",), w(4, source.width), w(4), Activation(name, 0.2)))
        tensors.append(Tensor(f"d{k}", 4))
    return Model(tuple(tensors), tuple(layers), ("x",), (tensors[-1].name,))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "activations", [(), ("relu", "softmax"), ("leaky_relu", "sigmoid"), ("tanh", "relu6")], ids=str
)
def test_what_the_exporter_wrote(last: bool, activations: tuple[str, ...]) -> None:
    model = net(last, *activations)
    again = agree(exporter.build(model, steps=9), ("default", "reference"))
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    for layer, other in zip(model.layers, again.layers, strict=True):
        if isinstance(layer, Lstm | Dense) and isinstance(other, Lstm | Dense):
            assert (layer.kernel == other.kernel).all() and (layer.bias == other.bias).all()


def test_dynamic_range_becomes_the_floats_it_stands_for() -> None:
    """The file's int8 times its scales, exactly; beside a runtime, which rounds x and h too, as far off as that."""
    model = net(True, "softmax")
    data = exporter.build(model, "dynamic", steps=9)
    made = importer.reading(data, "")
    assert made.model.notes[0].startswith("17 tensors of int8 weights became the float32 they stand for")
    for layer, other in zip(model.layers, made.model.layers, strict=True):
        if isinstance(layer, Lstm) and isinstance(other, Lstm):
            for gate in range(4):
                scale = np.abs(layer.kernel[gate]).max() / 127
                expected = np.rint(layer.kernel[gate] / scale) * scale
                assert np.abs(other.kernel[gate] - expected).max() < 1e-6
    xs = draw(made.model, 2, 9, np.random.default_rng(0))
    (y,) = reference.run(made.model, xs)
    for runtime in RUNTIMES:
        (z,) = peers.run_tflite(data, xs, runtime).ys
        assert 10 * np.log10(np.square(z).mean() / np.square(y - z).mean()) > 35


# ---- operators around the cells ----


def around(build: Any, shape: tuple[int, ...] = (1, 6, 4), dtype: str = "float32") -> bytes:
    """A file whose graph `build` makes of one input; what it returns is the output."""
    file = File()
    x = file.input(*shape, dtype=dtype)
    made = build(file, x)
    file.outputs(*(made if isinstance(made, list) else [made]))
    return file.bytes()


def ints(file: File, *values: Any) -> int:
    return file.constant(np.array(values, np.int32))


def conv(size: int, stride: int, dilation: int, padding: int, depthwise: bool, activation: int = 0) -> Any:
    def build(file: File, x: int) -> int:
        image = file.op("EXPAND_DIMS", [x, ints(file, 1)], (1, 1, 12, 4))
        rows = -(-12 // stride) if padding == 0 else (12 - (size - 1) * dilation - 1) // stride + 1
        options = {"padding": padding, "stride_w": stride, "stride_h": 1, "dilation_w": dilation, "dilation_h": 1}
        options["activation"] = activation
        units = 8 if depthwise else 5
        kernel = weights(*((1, 1, size, 8) if depthwise else (5, 1, size, 4)))
        rest = [file.constant(kernel), file.constant(weights(units, seed=3))]
        if depthwise:
            options["multiplier"] = 2
        op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        y = file.op(op, [image, *rest], (1, 1, rows, units), options)
        return int(file.op("SQUEEZE", [y], (1, rows, units), {"axes": [1]}))

    return build


def pool(op: str, size: int, stride: int, padding: int) -> Any:
    def build(file: File, x: int) -> int:
        image = file.op("RESHAPE", [x, ints(file, 1, 12, 1, 4)], (1, 12, 1, 4))
        rows = -(-12 // stride) if padding == 0 else (12 - size) // stride + 1
        options = {"padding": padding, "stride_w": 1, "stride_h": stride, "width": 1, "height": size}
        y = file.op(op, [image], (1, rows, 1, 4), options)
        return int(file.op("RESHAPE", [y, ints(file, 1, rows, 4)], (1, rows, 4)))

    return build


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("size", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 1, 3), (4, 3, 1)])
def test_convolutions(size: int, stride: int, dilation: int, padding: int, depthwise: bool) -> None:
    agree(around(conv(size, stride, dilation, padding, depthwise, activation=3), (1, 12, 4)))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("op", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2), (5, 3)])
def test_pools(op: str, size: int, stride: int, padding: int) -> None:
    agree(around(pool(op, size, stride, padding), (1, 12, 4)))


def unary(op: str, **options: Any) -> Any:
    return lambda file, x: file.op(op, [x], (1, 6, 4), options)


def binary(op: str, other: Any, activation: int = 0, first: bool = False) -> Any:
    def build(file: File, x: int) -> int:
        both = [x, file.constant(other)]
        return int(file.op(op, both[::-1] if first else both, (1, 6, 4), {"activation": activation}))

    return build


def both(op: str, activation: int = 0) -> Any:
    def build(file: File, x: int) -> int:
        left, right = (file.op(name, [x], (1, 6, 4)) for name in ("TANH", "LOGISTIC"))
        return int(file.op(op, [left, right], (1, 6, 4), {"activation": activation}))

    return build


def dense(keep: bool, bias: bool, activation: int = 0) -> Any:
    def build(file: File, x: int) -> int:
        rest = [file.constant(weights(5, 4)), file.constant(weights(5, seed=2)) if bias else -1]
        options = {"activation": activation, "keep_dims": keep}
        y = file.op("FULLY_CONNECTED", [x, *rest], (1, 6, 5) if keep else (6, 5), options, version=5)
        return y if keep else int(file.op("RESHAPE", [y, ints(file, 1, 6, 5)], (1, 6, 5)))

    return build


def flattened(file: File, x: int) -> int:
    """A product over all steps: TFLite flattens what its weights read."""
    rest = [file.constant(weights(3, 24)), file.constant(weights(3, seed=2))]
    return int(file.op("FULLY_CONNECTED", [x, *rest], (1, 3)))


def sliced(first: Any, behind: Any, strides: Any, shape: tuple[int, ...], **masks: int) -> Any:
    def build(file: File, x: int) -> int:
        rest = [ints(file, *v) for v in (first, behind, strides)]
        options = {f"{key}_mask": value for key, value in masks.items()}
        return int(file.op("STRIDED_SLICE", [x, *rest], shape, options))

    return build


def split(file: File, x: int) -> int:
    y = file.op("TANH", [x], (1, 6, 4))
    left, right = file.op("SPLIT", [file.constant(np.array(2)), y], [(1, 6, 2)] * 2, {"count": 2})
    return int(file.op("CONCATENATION", [right, left], (1, 6, 4), {"axis": 2}))


def split_v(file: File, x: int) -> int:
    sizes, axis = ints(file, 1, -1), file.constant(np.array(2))
    left, right = file.op("SPLIT_V", [x, sizes, axis], [(1, 6, 1), (1, 6, 3)], {"count": 2})
    return int(file.op("MUL", [right, left], (1, 6, 3)))


def packed(file: File, x: int) -> int:
    steps = file.op("UNPACK", [x], [(1, 4)] * 6, {"count": 6, "axis": 1})
    chosen = [steps[5], steps[2], steps[0]]
    return int(file.op("PACK", chosen, (1, 3, 4), {"count": 3, "axis": 1}))


def reduced(op: str, axis: int, keep: bool) -> Any:
    shape = [1, 6, 4]
    if keep:
        shape[axis] = 1
    else:
        del shape[axis]
    return lambda file, x: file.op(op, [x, ints(file, axis)], shape, {"keep_dims": keep})


def gathered(file: File, x: int) -> int:
    table = file.constant(weights(7, 3, scale=1.0))
    return int(file.op("GATHER", [table, x], (1, 6, 3)))


def transposed(file: File, x: int) -> int:
    y = file.op("TRANSPOSE", [x, ints(file, 0, 2, 1)], (1, 4, 6))
    return int(file.op("TANH", [y], (1, 4, 6)))


def padded(file: File, x: int) -> int:
    pads = file.constant(np.array([[0, 0], [2, 1], [0, 0]], np.int32))
    return int(file.op("PAD", [x, pads], (1, 9, 4)))


AROUND: dict[str, Any] = {
    "logistic": unary("LOGISTIC"),
    "tanh": unary("TANH"),
    "relu": unary("RELU"),
    "relu6": unary("RELU6"),
    "relu_n1_to_1": unary("RELU_N1_TO_1"),
    "leaky_relu": unary("LEAKY_RELU", alpha=0.3),
    "elu": unary("ELU"),
    "hard_swish": unary("HARD_SWISH"),
    "softmax": unary("SOFTMAX", beta=1.0),
    "log_softmax": unary("LOG_SOFTMAX"),
    "log": lambda f, x: f.op("LOG", [f.op("LOGISTIC", [x], (1, 6, 4))], (1, 6, 4)),
    "pow": lambda f, x: f.op("POW", [x, f.constant(np.float32(2))], (1, 6, 4)),
    "softmax_beta": unary("SOFTMAX", beta=0.5),
    "add": binary("ADD", weights(4)),
    "add_step": binary("ADD", weights(1, 1, 4), 1),
    "sub_from": binary("SUB", np.float32(1), 0, first=True),
    "sub": binary("SUB", weights(4), 3),
    "mul": binary("MUL", weights(4), 2),
    "div": binary("DIV", np.float32(3)),
    "maximum": lambda f, x: f.op("MAXIMUM", [x, f.constant(np.float32(0.25))], (1, 6, 4)),
    "minimum": lambda f, x: f.op("MINIMUM", [x, f.constant(np.float32(0.25))], (1, 6, 4)),
    "add_both": both("ADD"),
    "sub_both": both("SUB", 1),
    "mul_both": both("MUL"),
    "dense": dense(False, True),
    "dense_keep": dense(True, True, 1),
    "dense_no_bias": dense(False, False, 3),
    "flattened": flattened,
    "reverse": lambda f, x: f.op("REVERSE_V2", [x, ints(f, 1)], (1, 6, 4)),
    "last": sliced((0, -1, 0), (0, 0, 0), (1, 1, 1), (1, 4), begin=5, end=7, shrink=2),
    "first": sliced((0, 0, 0), (0, 1, 0), (1, 1, 1), (1, 4), begin=5, end=5, shrink=2),
    "middle": sliced((0, 1, 0), (1, 4, 4), (1, 1, 1), (1, 3, 4)),
    "values": sliced((0, 0, 1), (1, 6, 3), (1, 1, 1), (1, 6, 2)),
    "every_other_value": sliced((0, 0, 0), (1, 6, 4), (1, 1, 2), (1, 6, 2)),
    "backwards": sliced((0, -1, 0), (1, -7, 4), (1, -1, 1), (1, 6, 4)),
    "slice": lambda f, x: f.op("SLICE", [x, ints(f, 0, 2, 0), ints(f, 1, -1, 3)], (1, 4, 3)),
    "gather_values": lambda f, x: f.op("GATHER", [x, ints(f, 3, 0, 0)], (1, 6, 3), {"axis": 2}),
    "gather_step": lambda f, x: f.op("GATHER", [x, f.constant(np.array(2, np.int32))], (1, 4), {"axis": 1}),
    "joined_values": lambda f, x: f.op("CONCATENATION", [x, x], (1, 6, 8), {"axis": 2}),
    "joined_rows": lambda f, x: f.op(
        "CONCATENATION",
        [f.op("MEAN", [x, ints(f, 1)], (1, 4)), f.op("REDUCE_MAX", [x, ints(f, 1)], (1, 4))],
        (1, 8),
        {"axis": 1},
    ),
    "relu_0_to_1": unary("RELU_0_TO_1"),
    "split_steps": lambda f, x: f.op(
        "SUB", f.op("SPLIT", [f.constant(np.array(1)), x], [(1, 3, 4)] * 2, {"count": 2}), (1, 3, 4)
    ),
    "split": split,
    "split_v": split_v,
    "packed": packed,
    "mean": reduced("MEAN", 1, False),
    "mean_values": reduced("MEAN", 2, True),
    "sum": reduced("SUM", 1, False),
    "max": reduced("REDUCE_MAX", 1, False),
    "transposed": transposed,
    "padded": padded,
    "squared": lambda f, x: f.op("SQUARE", [x], (1, 6, 4)),
    "negative": lambda f, x: f.op("NEG", [x], (1, 6, 4)),
    "flat": lambda f, x: f.op("RESHAPE", [f.op("TANH", [x], (1, 6, 4)), ints(f, 1, -1)], (1, 24)),
    "expanded": lambda f, x: f.op(
        "SQUEEZE", [f.op("EXPAND_DIMS", [x, ints(f, -1)], (1, 6, 4, 1))], (1, 6, 4), {"axes": [-1]}
    ),
}


@pytest.mark.parametrize("name", AROUND)
def test_each_operator(name: str) -> None:
    agree(around(AROUND[name]))


def test_embedding() -> None:
    agree(around(gathered, (1, 6), "int32"))


@pytest.mark.parametrize("wrong", [-1, 5])
@pytest.mark.parametrize("held", [False, True])
def test_ids_that_no_row_has_are_an_error_here_as_there(wrong: int, held: bool) -> None:
    file = File()
    ids = np.array([[0, 1, wrong, 2]])
    x = file.input(1, 4, 4) if held else file.input(1, 4, dtype="int32")
    inputs = [x, ints(file, 0, wrong)] if held else [file.constant(weights(5, 4)), x]
    file.outputs(file.op("GATHER", inputs, (1, 4, 2) if held else (1, 4, 4), {"axis": 2} if held else {}))
    if held:
        with pytest.raises(CheckpointError, match="index"):
            importer.reading(file.bytes(), "")
    else:
        with pytest.raises(InputError, match="expected whole numbers from 0 to 4"):
            Runner(importer.reading(file.bytes(), "").model).run(ids.reshape(1, 4, 1).astype(np.float32))
    xs = np.ones((1, 4, 4), np.float32) if held else ids.reshape(1, 4, 1).astype(np.float32)
    for runtime in RUNTIMES:
        with pytest.raises(PeerError, match="index"):
            peers.run_tflite(file.bytes(), [xs], runtime)


@pytest.mark.parametrize("op", ["RESHAPE", "EXPAND_DIMS"])
def test_a_row_that_gets_an_axis_of_values_is_a_sequence(op: str) -> None:
    file = File()
    x = file.input(1, 6)
    y = file.op(op, [x, ints(file, *((1, 6, 1) if op == "RESHAPE" else (2,)))], (1, 6, 1))
    file.outputs(lstm(file, y, (1, 6, 1), 4))
    (layer,) = agree(file.bytes()).layers
    assert isinstance(layer, Lstm)


def test_several_inputs_and_outputs() -> None:
    file = File()
    left, right = file.input(1, 6, 3, name="left"), file.input(1, 6, 2, name="right")
    x = file.op("CONCATENATION", [left, right], (1, 6, 5), {"axis": -1})
    y = lstm(file, x, (1, 6, 5), 4)
    file.outputs(y, file.op("LOGISTIC", [y], (1, 6, 4)))
    model = agree(file.bytes())
    assert model.inputs == ("left", "right") and len(model.outputs) == 2


@pytest.mark.parametrize("options", [{}, {"norm": True, "projection": 3, "projection_bias": True}], ids=str)
def test_states_as_inputs(options: dict[str, Any]) -> None:
    """Runtimes write a fused cell's states in place, also into an input: each call is given fresh ones."""
    file = File()
    x = file.input(1, 6, 3, name="x")
    wide = options.get("projection", 4)
    states = file.input(1, wide, name="h", variable=True), file.input(1, 4, name="c", variable=True)
    file.outputs(lstm(file, x, (1, 6, 3), 4, states=states, **options))
    model = agree(file.bytes(), ("default", "reference"))
    assert model.inputs == ("x", "h", "c") and model.layers[0].initial


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("doors", [False, True])
@pytest.mark.parametrize("op", ["UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"])
def test_states_as_outputs(op: str, doors: bool, steps: int) -> None:
    """A cell's state among the graph's outputs, an input or a variable, holds what the cell leaves there."""
    file = File()
    x = file.input(1, steps, 3, name="x")
    count = 2 if op.endswith("LSTM") else 1
    if doors:
        states = [file.input(1, 4, name=name, variable=True) for name in ("h", "c")[:count]]
    else:
        states = [file.tensor((1, 4), variable=True, name=name) for name in ("h", "c")[:count]]
    if count == 2:
        y = lstm(file, x, (1, steps, 3), 4, states=(states[0], states[1]))
    else:
        rows = [file.constant(weights(*shape, seed=k)) for k, shape in enumerate([(4, 3), (4, 4), (4,)])]
        y = file.op(op, [x, *rows, states[0]], (1, steps, 4), {"activation": 4})
    file.outputs(y, *states)
    model = agree(file.bytes(), ("default", "reference"))
    assert len(model.outputs) == 1 + count and len(model.inputs) == 1 + count * doors


# ---- what TensorFlow's converter writes ----


def golden() -> list[str]:
    """Those a float runtime can prove: of dynamic range files it rounds more than the model does."""
    return sorted(path.stem for path in GOLDEN.glob("*.npz") if not path.stem.endswith("dynamic"))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", golden())
def test_converted_models(name: str, runtime: str) -> None:
    data = (GOLDEN / f"{name}.tflite").read_bytes()
    model = agree(data, runtimes=[runtime])
    made = importer.reading(data, "")
    xs = draw(model, 2, model.meta.window or 6, np.random.default_rng(3), onnx_feeds.fixed_steps(made))
    found = Runner(model).run(tuple(xs))
    ys = found if isinstance(found, tuple) else (found,)
    for y, z in zip(ys, peers.run_tflite(data, xs, runtime).ys, strict=True):
        assert np.abs(y - z).max() <= LIMIT * max(1.0, float(np.abs(z).max()))


def test_a_conversion_is_proven(tmp_path: Path) -> None:
    """Floats within the limit, int8 byte for byte; dynamic range with its weights as floats."""
    for name in ("keras3_lstm_states", "keras3_embedding_masked", "keras3_stack_batch"):
        path = GOLDEN / f"{name}.tflite"
        assert str(prove(importers.read(path), path)).startswith("proven: ")
    path = GOLDEN / "keras2_int8.tflite"
    assert "byte for byte" in str(prove(importers.read(path), path))
    path = tmp_path / "dynamic.tflite"
    path.write_bytes(exporter.build(net(True, "softmax"), "dynamic", steps=9))
    for dynamic in (path, GOLDEN / "keras3_dynamic.tflite", GOLDEN / "keras2_dynamic.tflite"):
        proof = prove(importers.read(dynamic), dynamic)
        assert proof.as_floats and 0 < proof.error <= LIMIT and "as the floats" in str(proof)


@pytest.mark.parametrize("name", ["keras3_lstm", "keras2_int8", "dynamic"])
def test_a_wrong_model_is_no_proof(name: str, tmp_path: Path) -> None:
    path = GOLDEN / f"{name}.tflite"
    if name == "dynamic":
        path = tmp_path / "dynamic.tflite"
        path.write_bytes(exporter.build(net(False), "dynamic", steps=9))
    model: Any = importers.read(path)
    swapped = [
        replace(layer, kernel=layer.kernel[[2, 1, 0, 3]]) if type(layer).__name__.endswith("Lstm") else layer
        for layer in model.layers
    ]
    with pytest.raises(CheckpointError, match="not converted"):
        prove(replace(model, layers=tuple(swapped)), path)


def same_bytes(data: bytes, runtime: str, steps: int, resolver: str = "default") -> Tfl8Model:
    """Of random inputs a runtime makes the very integers that the reference does, and the core."""
    way = ARITHMETIC[runtime, resolver, platform.machine()]
    model = variant(importer.reading(data, "", compat=True).model, **way)
    assert isinstance(model, Tfl8Model)
    rng, core = np.random.default_rng(2), Runner(model)
    ports = [model.tensor(name) for name in model.inputs]
    calls: list[list[Any]] = []
    for _ in range(20):
        xs: list[Any] = []
        for port in ports:
            shape = (1, 1, port.width) if port.single else (1, model.meta.window or steps, port.width)
            if port.type == "f32":
                x: Any = rng.normal(0, 1, shape).astype(np.float32)
            else:
                x = rng.integers(*((-128, 128) if port.type == "s8" else (0, 30)), shape)
            xs.append(x[:, 0] if port.single else x)
        calls.append(xs)
    _, found = raw_answers(data, calls, runtime, resolver)
    for xs, answers in zip(calls, found, strict=True):
        ys = reference_tfl8.run(model, xs)
        ours = core.run(tuple(xs) if len(xs) > 1 else xs[0])
        for y, own, expected in zip(ys, ours if len(ys) > 1 else (ours,), answers, strict=True):
            assert y.any() and (expected.dtype == np.int8) == (y.dtype == np.int8)
            assert (y.ravel() == expected.ravel()).all() and (own.ravel() == expected.ravel()).all()
    return model


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", [path.stem for path in sorted(GOLDEN.glob("*_int8*.tflite"))])
def test_converted_int8_models_byte_for_byte(name: str, runtime: str) -> None:
    same_bytes((GOLDEN / f"{name}.tflite").read_bytes(), runtime, 6)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("shape", [(4,), (1, 1, 4), (1,)], ids=str)
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
def test_int8_joined_with_a_row_of_the_file(op: str, shape: tuple[int, ...], first: bool, runtime: str) -> None:
    file = File()
    x = file.input(1, 6, 4, dtype="int8", quantized=(0.05, 3, 0))
    row = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    held = file.tensor(shape, "int8", data=row, quantized=(0.02, -7, 0))
    y = file.tensor((1, 6, 4), "int8", quantized=(0.06, 5, 0))
    file.into(op, [held, x] if first else [x, held], [y], {"activation": 0}, 2)
    file.outputs(y)
    same_bytes(file.bytes(), runtime, 6)


def test_the_schema_is_tensorflows() -> None:
    """Slots, numbers of operators, kinds and tables as a runtime's own generated code has them."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

    def names(enumeration: str) -> dict[int, str]:
        members = vars(getattr(schema, enumeration)).items()
        return {value: name for name, value in members if not name.startswith("_")}

    for code, name in enumerate(tflite_schema.NAMES):
        assert names("BuiltinOperator")[code] == name
    for op, (code, options) in tflite_schema.OPERATORS.items():
        assert names("BuiltinOperator")[code] == op
        assert options == 0 or options in tflite_schema.OPTIONS
    for number, table in tflite_schema.OPTIONS.items():
        assert names("BuiltinOptions")[number] == table
    for number, kind in tflite_schema.TYPES.items():
        assert names("TensorType")[number].lower() == kind
    for number, function in tflite_schema.ACTIVATIONS.items():
        assert names("ActivationFunctionType")[number].lower() == function
    source = Path(schema.__file__).read_text()
    for table, fields in tflite_schema.TABLES.items():
        body = source.split(f"\nclass {table}(object):")[1].split("\nclass ")[0]
        found = {(int(n) - 4) // 2 for n in re.findall(r"self\._tab\.Offset\((\d+)\)", body)}
        assert found == set(fields), table
        for slot, field in fields.items():
            reader = next(part for part in body.split("    def ")[1:] if f"Offset({4 + 2 * slot})" in part)
            number = re.findall(r"Number_types\.|number_types\.(\w+)Flags", reader)
            kind = {"Int8": "i1", "Bool": "u1", "Uint8": "u1", "Int32": "i4", "Uint32": "u4", "Int64": "i8"}
            kind |= {"Uint64": "u8", "Float32": "f4"}
            wanted = [kind[n] for n in number if n in kind]
            if wanted and field.kind not in ("text", "bytes", "there") and field.kind[1:-1] not in tflite_schema.TABLES:
                assert wanted[-1] == field.kind.strip("[]"), (table, field.name)
