"""What .tflite graphs do to axes: the order of an output's values, joins of axes that only look alike, slices, and
which of a file's graphs is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("flatbuffers")

from tflite_models import File, lstm, weights

from edgelstm import reference, reference_tfl8
from edgelstm.errors import CheckpointError
from edgelstm.exporters.flatbuffer import pack
from edgelstm.importers import tflite
from edgelstm.tfl8_model import Tfl8Model

X = np.random.default_rng(3).uniform(-1.5, 1.5, (4, 4, 3)).astype(np.float32)


def ints(file: File, *values: int) -> int:
    return file.constant(np.array(values, np.int32))


def answers(file: File, x: Any = X[:1]) -> Any:
    return reference.run(tflite.reading(file.bytes(), "g").model, [x])


def two() -> tuple[File, int, int]:
    """Two LSTMs over one sequence, h and g of [1, 4, 4]."""
    file = File()
    x = file.input(1, 4, 3)
    return file, lstm(file, x, (1, 4, 3), 4), lstm(file, x, (1, 4, 3), 4, seed=9)


@pytest.fixture(scope="module")
def h_and_g() -> Any:
    file, h, g = two()
    file.outputs(h, g)
    return answers(file)


def test_values_stand_in_the_order_of_the_outputs_axes(h_and_g: Any) -> None:
    h, g = h_and_g
    file, a, b = two()
    stacked = file.op("PACK", [a, b], (1, 4, 4, 2), {"count": 2, "axis": 3})
    file.outputs(stacked, file.op("RESHAPE", [stacked, ints(file, 1, 4, 8)], (1, 4, 8)))
    expected = np.stack([h, g], -1).reshape(1, 4, 8)
    for y in answers(file):
        np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("function", [None, "TANH"])
def test_transposed_values_are_the_outputs(function: str | None, h_and_g: Any) -> None:
    file, a, _ = two()
    cut = file.op("RESHAPE", [a, ints(file, 1, 4, 2, 2)], (1, 4, 2, 2))
    turned = file.op("TRANSPOSE", [cut, ints(file, 0, 1, 3, 2)], (1, 4, 2, 2))
    file.outputs(turned if function is None else file.op(function, [turned], (1, 4, 2, 2)))
    expected = h_and_g[0].reshape(1, 4, 2, 2).transpose(0, 1, 3, 2).reshape(1, 4, 4)
    np.testing.assert_allclose(answers(file)[0], expected if function is None else np.tanh(expected), atol=1e-6)


def test_steps_that_become_values_stand_as_in_the_file(h_and_g: Any) -> None:
    file, a, _ = two()
    turned = file.op("TRANSPOSE", [a, ints(file, 0, 2, 1)], (1, 4, 4))
    file.outputs(file.op("RESHAPE", [turned, ints(file, 1, 16)], (1, 16)))
    np.testing.assert_allclose(answers(file)[0], h_and_g[0].transpose(0, 2, 1).reshape(1, 16), atol=1e-6)


def test_a_step_is_taken_where_a_mask_says_so(h_and_g: Any) -> None:
    file, a, _ = two()
    bounds = [ints(file, *row) for row in ((0, 2, 0), (0, 3, 0), (1, 1, 1))]
    file.outputs(file.op("STRIDED_SLICE", [a, *bounds], (1, 4), {"begin_mask": 7, "end_mask": 5, "shrink_mask": 2}))
    np.testing.assert_allclose(answers(file)[0], h_and_g[0][:, 0], atol=1e-6)


def last(file: File, x: int, batch: int) -> int:
    bounds = [ints(file, *row) for row in ((0, -1, 0), (0, 0, 0), (1, 1, 1))]
    made: int = file.op("STRIDED_SLICE", [x, *bounds], (batch, 4), {"begin_mask": 5, "end_mask": 7, "shrink_mask": 2})
    return made


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 1, 3)])
def test_a_batch_is_joined_with_nothing_else(shape: tuple[int, int, int]) -> None:
    batch = shape[0]
    file = File()
    h = lstm(file, file.input(*shape), shape, 4)
    file.outputs(file.op("ADD", [h, last(file, h, batch)], (4, 4, 4)))  # TFLite adds other sequences' steps
    with pytest.raises(CheckpointError, match="cannot be joined"):
        answers(file)


def test_a_batch_is_not_joined_with_steps_of_the_same_number() -> None:
    file = File()
    h = lstm(file, file.input(4, 4, 3), (4, 4, 3), 4)
    turned = file.op("TRANSPOSE", [h, ints(file, 1, 0, 2)], (4, 4, 4))
    file.outputs(file.op("ADD", [h, turned], (4, 4, 4)))
    with pytest.raises(CheckpointError, match="cannot be joined"):
        answers(file)


def test_a_product_across_the_batch_is_refused() -> None:
    file = File()
    h = lstm(file, file.input(2, 4, 3), (2, 4, 3), 4)
    file.outputs(file.op("FULLY_CONNECTED", [h, file.constant(weights(5, 32)), -1], (1, 5)))
    with pytest.raises(CheckpointError, match="FULLY_CONNECTED.*batch"):
        answers(file)


def signed(*graphs: int) -> bytes:
    """A file of two graphs, with a signature for each of those given."""
    file, h, _ = two()
    file.outputs(h)
    file.graph()
    file.outputs(file.op("TANH", [file.input(1, 4, 3)], (1, 4, 3)))
    root = file.root()
    tensor = {0: h, 1: 1}
    root[7] = [
        {0: [{0: "x", 1: np.uint32(0)}], 1: [{0: "y", 1: np.uint32(tensor[k])}], 2: f"graph{k}", 4: np.uint32(k)}
        for k in graphs
    ]
    return pack(root, b"TFL3")


def test_graphs_that_are_not_read_are_named() -> None:
    assert "signatures graph1" in " ".join(tflite.reading(signed(0, 1), "g").model.notes)
    assert not tflite.reading(signed(0), "g").model.notes


def test_a_signature_of_another_graph_alone_is_refused() -> None:
    with pytest.raises(CheckpointError, match="signature 'graph1' is not of its first graph"):
        tflite.reading(signed(1), "g")


def integer_lstm(time_major: bool) -> Tfl8Model:
    file, shape = File(), (6, 1, 3) if time_major else (1, 6, 3)
    x = file.input(*shape, dtype="int8", quantized=(0.05, 3, 0))
    random = np.random.default_rng(5)

    def matrix(columns: int, scale: float) -> int:
        return file.tensor((4, columns), "int8", data=random.integers(-127, 128, (4, columns)).astype(np.int8),
                           quantized=(scale, 0, 0))  # fmt: skip

    kernels = [matrix(3, 0.004 + 0.001 * k) for k in range(4)]
    recurrent = [matrix(4, 0.004 + 0.001 * k) for k in range(4)]
    biases = [
        file.tensor((4,), "int32", data=random.integers(-500, 500, 4).astype(np.int32),
                    quantized=(np.float32(0.004 + 0.001 * k) * np.float32(0.05), 0, 0))
        for k in range(4)
    ]  # fmt: skip
    h = file.tensor((1, 4), "int8", quantized=(1 / 128, 0, 0), variable=True)
    c = file.tensor((1, 4), "int16", quantized=(2.0**-12, 0, 0), variable=True)
    between = [file.tensor((0,)) for _ in range(4)] + [file.tensor((0,), "int8", quantized=(1 / 128, 0, 0))]
    y = file.tensor((*shape[:2], 4), "int8", quantized=(1 / 128, 0, 0))
    reads = [x, *kernels, *recurrent, -1, -1, -1, *biases, -1, -1, h, c, -1, -1, -1, -1]
    options = {"activation": 4, "time_major": time_major}
    file.into("UNIDIRECTIONAL_SEQUENCE_LSTM", reads, [y], options, intermediates=between)
    file.outputs(y)
    model = tflite.reading(file.bytes(), "g").model
    assert isinstance(model, Tfl8Model)
    return model


def test_integer_lstms_read_steps_first_too() -> None:
    x = np.random.default_rng(6).integers(-128, 128, (2, 6, 3)).astype(np.int8)
    one, other = (reference_tfl8.run(integer_lstm(time_major), [x])[0] for time_major in (False, True))
    assert one.any()
    np.testing.assert_array_equal(one, other)


def test_integers_alone_make_an_integer_model() -> None:
    file = File()
    x = file.input(1, 6, dtype="int32")
    random = np.random.default_rng(7)

    def rows(*shape: int, scale: float) -> int:
        return file.tensor(shape, "int8", data=random.integers(-127, 128, shape).astype(np.int8),
                           quantized=(scale, 0, 0))  # fmt: skip

    def made(op: str, reads: list[int], shape: tuple[int, ...], scale: float, options: dict[str, Any]) -> int:
        y = file.tensor(shape, "int8", quantized=(scale, 0, 0))
        file.into(op, reads, [y], options)
        return y

    found = made("GATHER", [rows(20, 4, scale=1 / 128), x], (1, 6, 4), 1 / 128, {"axis": 0})
    flat = made("RESHAPE", [found, ints(file, 1, 24)], (1, 24), 1 / 128, {})
    file.outputs(made("FULLY_CONNECTED", [flat, rows(5, 24, scale=0.02), -1], (1, 5), 0.05, {}))
    model = tflite.reading(file.bytes(), "g").model
    assert isinstance(model, Tfl8Model)
    (y,) = reference_tfl8.run(model, [random.integers(0, 20, (2, 6, 1)).astype(np.int16)])
    assert y.dtype == np.int8 and y.shape == (2, 5)


def test_few_bytes_that_stand_for_many_weights_are_refused_early() -> None:
    file = File()
    x = file.input(1, 4, 256)
    matrix, bias = file.constant(weights(256, 256)), file.constant(weights(256))
    for _ in range(100):
        h, c = (file.tensor((1, 256), variable=True) for _ in range(2))
        reads = [x, *[matrix] * 8, -1, -1, -1, *[bias] * 4, -1, -1, h, c, -1, -1, -1, -1]
        x = file.op("UNIDIRECTIONAL_SEQUENCE_LSTM", reads, (1, 4, 256), {"activation": 4})
    file.outputs(x)
    with pytest.raises(CheckpointError, match="weights, more than are read"):
        answers(file)


@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_a_graph_has_few_ports(what: str) -> None:
    file = File()
    xs = [file.input(1, 4, 3) for _ in range(300 if what == "inputs" else 1)]
    y = file.op("TANH", [xs[0]], (1, 4, 3))
    file.outputs(*[y] * (1 if what == "inputs" else 300))
    with pytest.raises(CheckpointError, match=f"300 {what}, expected at most 256"):
        answers(file)


def fused(op: str) -> Any:
    return lambda f, x: f.op(op, [x, x], (1, 4, 3), {"activation": 4})


def joined(f: File, x: int) -> int:
    made: int = f.op("CONCATENATION", [x, x], (1, 4, 6), {"axis": 2, "activation": 1})
    return made


def shrunk(f: File, x: int) -> int:
    bounds = [ints(f, *row) for row in ((0, 2, 0), (0, 3, 0), (1, -1, 1))]
    made: int = f.op("STRIDED_SLICE", [x, *bounds], (1, 3), {"begin_mask": 5, "end_mask": 5, "shrink_mask": 2})
    return made


def cut(f: File, x: int) -> int:
    made: int = f.op("SPLIT", [f.constant(np.int32(2)), x], [(1, 4, 1)] * 3, {"count": 2})[0]
    return made


def one_state(f: File, x: int) -> int:
    state = f.tensor((1, 4), variable=True)
    return lstm(f, x, (1, 4, 3), 4, states=(state, state))


def behind(f: File, x: int) -> int:
    late = f.tensor((1, 4, 3))
    y: int = f.op("TANH", [late], (1, 4, 3))
    f.into("TANH", [x], [late])
    return y


@pytest.mark.parametrize(
    "make,words",
    [
        *((fused(op), f"{op}.*a fused activation tanh") for op in ("ADD", "SUB", "MUL")),
        (joined, "CONCATENATION.*a fused activation"),
        (shrunk, "a stride of -1"),
        (cut, "3 tensors where it says 2"),
        (one_state, "two of its states in one tensor"),
        (behind, "reads what is written behind it"),
        (lambda f, x: lstm(f, x, (1, 4, 3), 4, activation=0), "compute no function"),
        (lambda f, x: lstm(f, x, (1, 4, 3), 4, cell_clip=-1.0), "it clips at -1"),
    ],
)
def test_what_runtimes_refuse_or_pass_over_is_refused(make: Any, words: str) -> None:
    file = File()
    file.outputs(make(file, file.input(1, 4, 3)))
    with pytest.raises(CheckpointError, match=words):
        answers(file)


def narrow(file: File, *shape: int, scale: Any = 0.01, zero: int = 0, axis: int = 0) -> int:
    data = np.random.default_rng(8).integers(-100, 101, shape).astype(np.int8)
    return file.tensor(shape, "int8", data=data, quantized=(scale, zero, axis))


def product(zero: int = 0, scale: Any = 0.01, axis: int = 0) -> File:
    file = File()
    x, w = file.input(1, 4, 3), narrow(file, 3, 3, scale=scale, zero=zero, axis=axis)
    file.outputs(file.op("FULLY_CONNECTED", [x, w, -1], (1, 4, 3), {"keep_dims": True}))
    return file


@pytest.mark.parametrize(
    "options,words",
    [({"zero": 3}, "zero point"), ({"scale": np.array([0.01, 0.02, 0.03]), "axis": 1}, "each index of axis 1")],
)
def test_weights_that_products_take_for_other_numbers_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        answers(product(**options))


def test_weights_with_a_scale_a_row_are_read() -> None:
    scale = np.array([0.01, 0.02, 0.03], np.float32)
    kernel = np.random.default_rng(8).integers(-100, 101, (3, 3)) * scale[:, None]
    np.testing.assert_allclose(answers(product(scale=scale))[0], X[:1] @ kernel.T, atol=1e-5)


@pytest.mark.parametrize("other", [(0.05, 5), (0.08, 0)])
def test_a_table_whose_rows_become_other_numbers_is_refused(other: tuple[float, int]) -> None:
    file = File()
    ids = file.input(1, 4, dtype="int32")
    row = file.tensor((1, 4, 3), "int8", quantized=(*other, 0))
    file.into("GATHER", [narrow(file, 9, 3, scale=0.05), ids], [row], {"axis": 0})
    file.outputs(file.op("DEQUANTIZE", [row], (1, 4, 3)))
    with pytest.raises(CheckpointError, match="GATHER.*other numbers"):
        answers(file)


def test_products_of_products_take_no_time() -> None:
    """Of 40 levels, each of the one before with itself; 2^40 if each factor were looked into."""
    file = File()
    matrix = file.constant(weights(8, 8))
    y = file.op("FULLY_CONNECTED", [file.input(1, 8), matrix, -1], (1, 8))
    y = file.op("FULLY_CONNECTED", [y, matrix, -1], (1, 8))
    for _ in range(40):
        y = file.op("MUL", [y, y], (1, 8))
    file.outputs(y)
    tflite.reading(file.bytes(), "g")


def test_loops_of_one_step_are_counted() -> None:
    file = File()
    x, zero, start = file.input(4, 1, 3), file.constant(np.int32(0)), file.constant(np.zeros((1, 3), np.float32))
    most = file.constant(np.int32(4))
    kinds: list[tuple[tuple[int, ...], str]] = [
        ((), "int32"),
        ((1, 3), "float32"),
        ((), "int32"),
        ((4, 1, 3), "float32"),
    ]
    found = []
    for _ in range(60):
        made = [file.tensor(*kind) for kind in kinds]
        file.into("WHILE", [zero, start, most, x], made, {"condition": 1, "body": 2})
        found.append(made[1])
    file.outputs(file.op("ADD_N", found, (1, 3)))
    file.graph()
    count, _, limit, _ = (file.input(*shape, dtype=kind) for shape, kind in kinds)
    file.outputs(file.op("LESS", [count, limit], (), dtype="bool"))
    file.graph()
    count, h, limit, rows = (file.input(*shape, dtype=kind) for shape, kind in kinds)
    step = file.op("GATHER", [rows, count], (1, 3))
    left, right = (file.op("FULLY_CONNECTED", [v, file.constant(weights(3, 3)), -1], (1, 3)) for v in (step, h))
    new = file.op("TANH", [file.op("ADD", [left, right], (1, 3))], (1, 3))
    for _ in range(1000):
        left = file.op("ADD", [left, right], (1, 3))
    after = file.op("ADD", [count, file.constant(np.int32(1))], (), dtype="int32")
    file.outputs(after, new, limit, rows)
    with pytest.raises(CheckpointError, match="more than 50000 operators"):
        answers(file)


def test_steps_behind_values_are_told() -> None:
    file, a, _ = two()
    file.outputs(file.op("TRANSPOSE", [a, ints(file, 0, 2, 1)], (1, 4, 4)))
    assert "has its values before its steps" in " ".join(tflite.reading(file.bytes(), "g").model.notes)
