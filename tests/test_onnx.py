"""ONNX files: onnx's own tests of the recurrent operations, the graphs around them, and what is refused and how."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import cell, graph, weights

import edgelstm
from edgelstm import importers, reference
from edgelstm.errors import CheckpointError, InputError, MissingError
from edgelstm.importers import onnx as importer
from edgelstm.importers import onnx_feeds
from edgelstm.layers import Lstm
from edgelstm.model import Model

LIMIT = 5e-6
node = helper.make_node

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a module of node tests makes its tests where it is imported
    from onnx.backend.test.case.node import _NodeTestCases, gru, lstm, rnn

NODE_TESTS = {case.name: case for case in _NodeTestCases if case.model.graph.node[0].op_type in ("LSTM", "GRU", "RNN")}
assert {gru, lstm, rnn}


def read(data: bytes) -> Model:
    return importer.reading(data, "graph.onnx").model


def refused(data: bytes, *words: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(data)
    said = str(caught.value)
    assert "\n" not in said and said.isprintable() and len(said) < 400, said
    for word in words:
        assert word in said, said
    return said


def kinds(model: Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


# ---- onnx's own tests ----


def test_all_of_onnx_own_tests_of_recurrent_operations_are_here() -> None:
    assert len(NODE_TESTS) >= 18
    assert {"test_lstm_with_peepholes", "test_gru_seq_length", "test_simple_rnn_batchwise"} <= set(NODE_TESTS)


@pytest.mark.parametrize("name", sorted(NODE_TESTS))
def test_onnx_own_test(name: str) -> None:
    """Their weights are inputs of the graph; here they are constants of it, as in every file that holds a model."""
    case = NODE_TESTS[name]
    (values, expected) = case.data_sets[0]
    arrays = dict(zip([port.name for port in case.model.graph.input], map(np.asarray, values), strict=True))
    x = arrays.pop("X")
    made = importer.reading(onnx_models.bound(case.model, arrays), name)
    batch_first = bool(made.model.layers) and "batchwise" in name
    xs = [x if batch_first else x.transpose(1, 0, 2)]
    answers = edgelstm.Runner(made.model).run(tuple(xs))
    names = [port.name for port in case.model.graph.output]
    wanted = onnx_feeds.taken(made, dict(zip(names, map(np.asarray, expected), strict=True)), len(xs[0]))
    for ys in (reference.run(made.model, xs), answers if isinstance(answers, tuple) else (answers,)):
        assert len(ys) == len(wanted) == len(expected)
        for y, z in zip(ys, wanted, strict=True):
            assert y.shape == z.shape and np.abs(y - z).max() <= LIMIT * max(1.0, np.abs(z).max())


# ---- as exporters write them ----

GOLDEN = Path(__file__).parent / "golden" / "onnx"
EXPORTED = {
    "torch_last": ["Lstm", "Reverse", "Lstm", "Reverse", "Combine"] * 2 + ["Last", "Activate", "Dense"],
    "torch_states": ["Gru", "Last", "Reverse", "Gru", "Last", "Combine"],
    "torch_given": ["Lstm", "Last", "Last", "Dense"],
    "torch_packed": ["Lstm", "Last", "Combine", "Reverse", "Reverse", "Lstm", "Last", "Reverse", *["Combine"] * 3],
    "torch_functions": ["Lstm", *["Dense"] * 7],
    "torch_zeros": ["Lstm", "Lstm", "Last", "Dense"],
    "torch_conv": ["Conv1d", "Pool1d", "Gru", "LayerNorm", "Reduce", "Dense"],
    "torch_heads": ["Lstm", *["Dense"] * 3, "Attention", *["Dense"] * 2, "SoftmaxSteps", "Combine", "Reduce"],
    "torch_dot": ["Lstm", "Attention"],
    "torch_joined": ["Lstm", "Dense", "Combine", "Group", "Dense", "Combine"],
    "torch_words": ["Embedding", "Lstm", "Reduce", "Dense", "Activate", "Combine"],
    "tf2onnx_bidirectional": ["Lstm", "Lstm", "Last", "Reverse", "Lstm", "Last", "Combine", "Dense"],
    "tf2onnx_conv": ["Conv1d", "Conv1d", "Pool1d", "Lstm", "Reduce", "Dense"],
    "tf2onnx_gru": ["Gru", "Reverse", "Gru", "Reverse", "Combine", "Group", "Dense"],
    "tf2onnx_repeat": ["Lstm", "Last", "Repeat", "Lstm", "Dense"],
    "tf2onnx_backwards": ["Reverse", "Lstm", "Dense"],
    "tf2onnx_words": ["Embedding", "Lstm", "Last", "Dense"],
    "tf2onnx_norm": ["Lstm", "LayerNorm", "Dense"],
}
"""Layers of the models in tests/golden/onnx; PyTorch's stand there in each of its exporters' forms."""


def as_the_model_has(made: Any, feed: Any, x: np.ndarray, count: int) -> np.ndarray:
    if feed.data is not None:
        return onnx_feeds.plain(feed.data, made.batch, x, count)
    return (np.arange(x.max()) < x[:, None])[:, :, None].astype(np.float32)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.onnx")), ids=lambda path: path.stem)
def test_exported(path: Path) -> None:
    """ONNX Runtime's answers, recorded; from the reference and from the core."""
    if path.stem in ("tf2onnx_loop", "tf2onnx_masked"):
        with pytest.raises(CheckpointError, match=r"\(Loop\): a loop written out in the graph"):
            importers.read(path)
        return
    made = importer.reading(path.read_bytes(), path.name)
    expected = next(layers for name, layers in EXPORTED.items() if path.stem.startswith(name))
    assert kinds(made.model) == expected
    with np.load(path.with_suffix(".npz")) as stored:
        given = [stored[f"in:{feed.name}"] for feed in made.feeds]
        count = len(given[0]) if made.feeds[0].data.axes[0] == (made.batch,) else given[0].shape[1]
        xs = [as_the_model_has(made, feed, x, count) for feed, x in zip(made.feeds, given, strict=True)]
        wanted = onnx_feeds.taken(made, stored, count)
    answers = edgelstm.Runner(made.model).run(tuple(xs))
    ran = answers if isinstance(answers, tuple) else (answers,)
    for ys in (reference.run(made.model, xs), ran):
        for y, z in zip(ys, wanted, strict=True):
            assert y.shape == z.shape and np.abs(y - z).max() <= LIMIT * max(1.0, np.abs(z).max())


def test_cell_states_that_nothing_reads_are_left_out() -> None:
    """PyTorch's exporter and tf2onnx name Y_c of each LSTM, whoever reads it."""
    found = 0
    for path in sorted(GOLDEN.glob("*.onnx")):
        try:
            model = importers.read(path)
        except CheckpointError:
            continue
        read_ = {*model.outputs, *(name for layer in model.layers for name in layer.reads)}
        cells = [layer for layer in model.layers if isinstance(layer, Lstm)]
        found += len(cells)
        assert all(name in read_ for layer in cells for name in layer.writes[1:]), path.name
    assert found > 20
    (layer,) = read(cell("LSTM", outputs=["Y_c"])).layers[:1]
    assert len(layer.writes) == 2


# ---- what a graph may hold ----


def lstm(
    *before: Any, reads: Any = ("x", "W", "R"), constants: Any = None, inputs: Any = None, **attributes: Any
) -> bytes:
    """Nodes, then an LSTM of 4 units that writes y."""
    held = {"W": weights(1, 16, 3), "R": weights(1, 16, 4)} | (constants or {})
    made = node("LSTM", list(reads), ["y"], name="cell", hidden_size=4, **attributes)
    return graph([*before, made], inputs or [("x", ["T", "N", 3])], ["y"], held)


def constant(name: str, value: Any) -> Any:
    return node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), "value"))


ZEROS: dict[str, list[Any]] = {
    "constant of shape": [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i"], ["n"], axis=0),
        node("Unsqueeze", ["n", "a"], ["u"]),
        node("Concat", ["a1", "u", "four"], ["shape"], axis=0),
        node("ConstantOfShape", ["shape"], ["h"]),
    ],
    "expand": [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "a1", "a2"], ["u"]),
        node("Concat", ["a1", "u", "four"], ["shape"], axis=0),
        node("Expand", ["zero", "shape"], ["h"]),
    ],
    "sliced": [
        node("Shape", ["x"], ["u"], start=1, end=2),
        node("Mul", ["a2", "a1"], ["two"]),
        node("Concat", ["two", "u", "four"], ["shape"], axis=0),
        node("ConstantOfShape", ["shape"], ["both"]),
        node("Slice", ["both", "a1", "a2", "a"], ["h"]),
    ],
    "by values of x": [
        node("Shape", ["x"], ["s"]),
        node("ReduceProd", ["s"], ["all"], keepdims=1),
        node("Div", ["all", "all"], ["one"]),
        node("ConstantOfShape", ["one"], ["h"]),
    ],
}
NUMBERS = {"i": np.int64(1), "a": np.array([0]), "a1": np.array([1]), "a2": np.array([2]), "four": np.array([4])}
NUMBERS |= {"zero": np.float32(0)}


@pytest.mark.parametrize("way", list(ZEROS)[:3])
def test_initial_states_of_zeros_are_none(way: str) -> None:
    """Built for as many sequences as x has: nobody knows their number, and all are zeros."""
    plain = read(lstm())
    made = read(lstm(*ZEROS[way], reads=["x", "W", "R", "", "", "h", "h"], constants=NUMBERS))
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    assert kinds(made) == ["Lstm"] and made.inputs == ("x",) and not made.layers[0].initial
    np.testing.assert_array_equal(reference.run(made, [x])[0], reference.run(plain, [x])[0])


def test_initial_states_that_cannot_be_read_are_refused() -> None:
    reads = ["x", "W", "R", "", "", "h"]
    for shape in ((1, 1, 5), (2, 1, 4), (1, 4)):
        refused(lstm(reads=reads, constants={"h": np.ones(shape, np.float32)}), "initial_h has shape")
    refused(lstm(*ZEROS["by values of x"], reads=reads, constants=NUMBERS), "initial_h has shape")
    differ = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    refused(lstm(reads=reads, constants={"h": differ}), "initial_h", "differs from sequence to sequence")
    refused(lstm(reads=reads, constants={"h": np.ones((1, 1, 4), np.int64)}), "initial_h is no constant of floats")


def test_constant_states_are_held_by_the_model() -> None:
    """Layout 1, which ONNX Runtime does not run, beside layout 0: of both directions, and one of two states."""
    held = {"W": weights(2, 16, 3), "R": weights(2, 16, 4), "c": weights(2, 1, 4)}
    reads = ["x", "W", "R", "", "", "", "c"]
    both = {"direction": "bidirectional", "constants": held}
    first = read(lstm(reads=reads, **both))
    turned = held | {"c": held["c"].transpose(1, 0, 2)}
    second = read(
        lstm(reads=reads, layout=1, inputs=[("x", ["N", "T", 3])], direction="bidirectional", constants=turned)
    )
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    y, z = (reference.run(model, [x])[0] for model in (first, second))
    np.testing.assert_array_equal(y, z)
    assert kinds(first).count("Constant") == 4 and first.inputs == ("x",)
    assert np.abs(y - reference.run(read(lstm(reads=reads[:3], **both)), [x])[0]).max() > 0.01


def test_lengths_of_one_number() -> None:
    """All steps, whatever their number; fewer are the first of a fixed number."""
    reads = ["x", "W", "R", "", "l"]
    every = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "a", "a1"], ["t"]),
        node("Slice", ["s", "a1", "a2"], ["u"]),
    ]
    made = read(lstm(*every, node("Expand", ["t", "u"], ["l"]), reads=reads, constants=NUMBERS))
    assert kinds(made) == ["Lstm"]
    lengths = {"l": np.array([3, 3], np.int32)}
    made = read(lstm(reads=reads, constants=lengths, inputs=[("x", [5, 2, 3])]))
    assert kinds(made) == ["Crop", "Lstm", "Pad"]
    refused(lstm(reads=reads, constants=lengths), "sequence_lens is 3 of T steps", "leaves open")
    for length in (0, 6):
        lengths = {"l": np.array([length], np.int32)}
        refused(lstm(reads=reads, constants=lengths, inputs=[("x", [5, 1, 3])]), f"sequence_lens is {length} of 5")


def branch(name: str, value: str) -> Any:
    out = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)
    return helper.make_graph([node("Identity", [value], [f"{name}.out"])], name, [], [out])


def test_a_condition_that_is_a_constant_chooses_its_branch() -> None:
    nodes = [
        node("Tanh", ["x"], ["t"]),
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "two"], ["width"]),
        node("Equal", ["width", "three"], ["is3"]),
        node("If", ["is3"], ["y"], then_branch=branch("a", "t"), else_branch=branch("b", "nowhere")),
    ]
    numbers = {"two": np.int64(2), "three": np.int64(3)}
    made = read(graph(nodes, [("x", ["N", "T", 3])], ["y"], numbers))
    assert kinds(made) == ["Activate"]
    refused(graph(nodes, [("x", ["N", "T", 4])], ["y"], numbers), "'nowhere' is written by no node")
    open_ = [*nodes[:1], node("Equal", ["n", "three"], ["is3"]), nodes[-1]]
    data = graph([node("Shape", ["x"], ["n"], start=1, end=2), *open_], [("x", ["N", "T", 3])], ["y"], numbers)
    refused(data, "(If)", "condition is not known", "known only when the model runs")
    data = graph([node("Cast", ["x"], ["is3"], to=1), nodes[0], nodes[-1]], [("x", ["N", "T", 3])], ["y"])
    refused(data, "(If)", "depends on what the model reads")


def test_weights_that_are_listed_as_inputs_too() -> None:
    """As all files before IR version 4 do."""
    data = graph(
        [node("MatMul", ["x", "w"], ["y"])], [("x", ["N", "T", 3]), ("w", [3, 2])], ["y"], {"w": weights(3, 2)}
    )
    assert read(data).inputs == ("x",)


def test_inputs_are_what_reads_them() -> None:
    for shape, nodes, wanted in (
        (["T", "N", 3], [node("Relu", ["x"], ["t"]), node("LSTM", ["t", "W", "R"], ["y"], hidden_size=4)], (3, False)),
        (["N", 3, 9], [node("GlobalMaxPool", ["x"], ["y"])], (3, False)),
        (["N", 3], [node("Relu", ["x"], ["y"])], (3, True)),
        (
            [7, 3],
            [node("Unsqueeze", ["x", "one"], ["t"]), node("LSTM", ["t", "W", "R"], ["y"], hidden_size=4)],
            (3, False),
        ),
        (["a", "b", "c"], [node("MatMul", ["x", "w"], ["y"])], (3, False)),
        (["seq_len", "batch", 3], [node("Relu", ["x"], ["y"])], (3, False)),
    ):
        held = {"W": weights(1, 16, 3), "R": weights(1, 16, 4), "one": np.array([1]), "w": weights(3, 2)}
        (tensor, *_) = read(graph(nodes, [("x", shape)], ["y"], held)).tensors
        assert (tensor.width, tensor.single) == wanted, shape
    made = importer.reading(graph([node("Relu", ["x"], ["y"])], [("x", ["time", "batch", 3])], ["y"]), "m")
    assert onnx_feeds.given(made, [np.zeros((2, 5, 3))])["x"].shape == (5, 2, 3)


def test_an_input_that_is_an_output_and_one_that_nobody_reads() -> None:
    inputs = [("x", ["N", "T", 3]), ("z", ["N", "T", 2]), ("unread", ["N", 7])]
    made = importer.reading(graph([node("Tanh", ["x"], ["y"])], inputs, ["y", "z", "y"]), "m")
    assert made.model.inputs == ("x", "z") and len(set(made.model.outputs)) == 3
    assert any("unread" in note for note in made.model.notes)
    xs = [np.ones((2, 4, 3)), np.full((2, 4, 2), 3.0)]
    assert onnx_feeds.given(made, xs)["unread"].shape == (1, 7)
    y, z, again = reference.run(made.model, xs)
    assert (z == 3).all() and (y == again).all()


def test_a_mask_stands_for_lengths() -> None:
    made = importer.reading(cell("LSTM", lengths=True), "m")
    assert made.model.inputs == ("X", "mask") and "mask stands for L" in made.model.notes[0]
    counts = np.array([[1, 1, 0], [1, 1, 1]], np.float32)[:, :, None]
    assert onnx_feeds.given(made, [np.zeros((2, 3, 3)), counts])["L"].tolist() == [2, 3]
    with pytest.raises(InputError, match="do not stand in front"):
        onnx_feeds.given(made, [np.zeros((2, 3, 3)), counts[:, ::-1]])


def test_what_is_scaled_beside_a_layer_is_part_of_it() -> None:
    """A BatchNormalization, before or behind, an input's scaling and a function are the layer's own in the model."""
    numbers = {
        "k": weights(5, 3, 3),
        "s": np.abs(weights(5)) + 0.5,
        "m": weights(5, seed=1),
        "w": weights(3, 4),
        "f": weights(3),
    }
    statistics = ["s", "m", "m", "s"]
    nodes = [
        node("Conv", ["x", "k"], ["c"]),
        node("BatchNormalization", ["c", *statistics], ["b"]),
        node("Relu", ["b"], ["r"]),
        node("BatchNormalization", ["r", *statistics], ["d"]),
        node("Conv", ["d", "k2"], ["y"]),
    ]
    made = read(graph(nodes, [("x", ["N", 3, "T"])], ["y"], numbers | {"k2": weights(2, 5, 1)}))
    assert kinds(made) == ["Conv1d", "Conv1d"] and made.layers[0].activation.name == "relu"
    held = {"W": weights(1, 16, 3), "R": weights(1, 16, 4)}
    nodes = [node("Mul", ["x", "f"], ["t"]), node("LSTM", ["t", "W", "R"], ["y"], hidden_size=4)]
    made = read(graph(nodes, [("x", ["T", "N", 3])], ["y"], numbers | held))
    assert kinds(made) == ["Lstm"]
    np.testing.assert_allclose(made.layers[0].kernel[0], held["W"][0, :4] * numbers["f"], rtol=1e-6)


# ---- what is refused ----


def one(
    op: str, *reads: str, shape: Any = ("N", "T", 6), constants: Any = None, opset: int = 20, **attributes: Any
) -> bytes:
    made = node(op, list(reads) or ["x"], ["y"], name="it", **attributes)
    return graph([made], [("x", list(shape))], ["y"], constants, opset)


CHANNELS = ("N", 6, 12)
KERNEL = {"k": weights(4, 6, 3)}
SEVERAL = {
    "a": np.array([0, 2]),
    "v": weights(6),
    "t": weights(1, 4, 6),
    "h": weights(6, seed=2),
    "z": np.zeros(6, np.float32),
}
SEVERAL |= {
    "p": np.array([0, 0, 1, 0, 0, 0]),
    "q": np.array([0, 1, 0, 0, 0, 0]),
    "nine": np.float32(9),
    "e": np.array([2, 9]),
}

REFUSED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "an operation": (one("Sin"), ("'it' (Sin)", "no layer does")),
    "its domain": (one("Gelu", domain="com.microsoft"), ("'it' (Gelu)", "com.microsoft")),
    "a loop": (one("Scan"), ("'it' (Scan)", "written out")),
    "an attribute": (one("Relu", colour=3), ("'it' (Relu)", "unknown attribute 'colour'")),
    "an attribute's kind": (one("Softmax", axis=1.5), ("axis is of the wrong kind",)),
    "a number that ONNX and its runtime take differently": (
        cell("RNN", activations=["ScaledTanh"], activation_alpha=[1.2]),
        ("activation ScaledTanh without its activation_alpha or activation_beta",),
    ),
    "numbers left over": (cell("RNN", activations=["Tanh"], activation_alpha=[0.3]), ("more than activations take",)),
    "too few activations": (cell("LSTM", activations=["Tanh"]), ("1 activations, expected 3",)),
    "an unknown activation": (cell("RNN", activations=["Mish"]), ("ONNX has no activation Mish",)),
    "a direction": (cell("RNN", direction="sideways"), ("direction is sideways",)),
    "a layout": (cell("RNN", layout=2), ("layout is",)),
    "a clip": (cell("RNN", clip=-1.0), ("clip is -1",)),
    "Y that is not written": (cell("LSTM", opset=6), ("output_sequence is 0",)),
    "hidden_size": (lstm(hidden_size_=1), ("unknown attribute 'hidden_size_'",)),
    "lengths that differ": (
        lstm(reads=["x", "W", "R", "", "l"], constants={"l": np.array([1, 2], np.int32)}, inputs=[("x", [4, 2, 3])]),
        ("sequence_lens differs from sequence to sequence",),
    ),
    "weights that are computed": (lstm(node("Tanh", ["x"], ["w"]), reads=["x", "w", "R"]), ("W is not a constant",)),
    "the other layout": (lstm(inputs=[("x", ["batch", "T", 4])]), ("W reads 3 values",)),
    "a sum over the batch": (one("ReduceSum", "x", "a", constants=SEVERAL), ("over the sequences of a batch",)),
    "a constant a step": (one("Add", "x", "t", shape=("N", 4, 6), constants=SEVERAL), ("differs from step to step",)),
    "a wrong constant": (one("Mul", "x", "h", shape=("N", "T", 5), constants=SEVERAL), ("(6) for (N, T, 5)",)),
    "a division by zero": (one("Div", "x", "z", constants=SEVERAL), ("divides by zero",)),
    "old broadcasting": (one("Add", "x", "v", constants=SEVERAL, opset=6, broadcast=1, axis=2), ("axis is 2",)),
    "whole numbers": (
        graph([node("Relu", ["x"], ["y"])], [("x", ["N", "T"], TensorProto.INT64)], ["y"]),
        ("computes with whole numbers",),
    ),
    "fractions cut off": (
        graph([node("Cast", ["x"], ["i"], to=6), node("Cast", ["i"], ["y"], to=1)], [("x", ["N", 3])], ["y"]),
        ("cuts off fractions",),
    ),
    "a division by x": (one("Div", "v", "x", constants=SEVERAL), ("divides by a tensor",)),
    "windows over two axes": (
        one("MaxPool", shape=("N", 3, 4, 5), kernel_shape=[2, 2]),
        ("steps on two axes",),
    ),
    "ceil_mode": (one("MaxPool", shape=("N", 3, 6), kernel_shape=[3], strides=[2], ceil_mode=1), ("ceil_mode",)),
    "a dilated pool": (one("MaxPool", shape=CHANNELS, kernel_shape=[3], dilations=[2]), ("dilation of 2",)),
    "auto_pad": (one("Conv", "x", "k", shape=CHANNELS, constants=KERNEL, auto_pad="ABOVE"), ("auto_pad is ABOVE",)),
    "a kernel of other width": (
        one("Conv", "x", "k", shape=("N", 5, 9), constants=KERNEL),
        ("(4, 6, 3) for 5 values",),
    ),
    "zeros beside the values": (one("Pad", "x", "p", constants=SEVERAL), ("other axes than the steps",)),
    "numbers beside the steps": (one("Pad", "x", "q", "nine", constants=SEVERAL), ("only zeros are added",)),
    "mirrored steps": (one("Pad", "x", "q", constants=SEVERAL, mode="reflect"), ("mode reflect",)),
    "a clip at several": (one("Clip", "x", "", "v", constants=SEVERAL), ("no constant numbers",)),
    "a clip at nothing": (one("Clip", "x", "", "i", constants={"i": np.float32(-np.inf)}), ("clip",)),
    "slopes": (one("PRelu", "x", "v", constants=SEVERAL), ("a slope for each value",)),
    "a batch norm in training": (
        one("BatchNormalization", "x", "v", "v", "v", "v", shape=CHANNELS, constants=SEVERAL, training_mode=1),
        ("training_mode is 1",),
    ),
    "a softmax over the batch": (one("Softmax", axis=0), ("over the sequences of a batch",)),
    "a logarithm": (one("Log"), ("a logarithm of other than Sigmoid, Softmax or Exp",)),
    "a logarithm over steps": (one("LogSoftmax", axis=1), ("over the steps, which no layer does",)),
    "steps joined": (
        graph([node("Concat", ["x", "z"], ["y"], axis=1)], [("x", ["N", "T", 3]), ("z", ["N", "S", 3])], ["y"]),
        ("one after another",),
    ),
    "every second step": (
        one("Slice", "x", "b", "f", "b", "s", constants={"b": np.array([1]), "f": np.array([9]), "s": np.array([2])}),
        ("every step 2",),
    ),
    "several of an open number": (
        one(
            "Slice",
            "x",
            "b",
            "f",
            "a",
            constants={"b": np.array([-3]), "f": np.array([99999999999]), "a": np.array([1])},
        ),
        ("3 of an open number of steps",),
    ),
    "a mixed reshape": (
        one("Reshape", "x", "r", shape=("N", 4, 6), constants={"r": np.array([-1, 8])}),
        ("cannot be followed",),
    ),
    "steps made values": (
        graph(
            [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["y"])],
            [("x", ["N", "T", 6])],
            ["y"],
            {"w": weights(24, 2)},
        ),
        ("makes values of steps",),
    ),
    "a half": (one("Cast", to=10), ("numbers of kind 10",)),
    "a string": (one("Cast", to=8), ("numbers of kind 8",)),
    "an input of halves": (
        graph([node("Relu", ["x"], ["y"])], [("x", ["N", 3], TensorProto.FLOAT16)], ["y"]),
        ("float16",),
    ),
    "an input without shape": (graph([node("Relu", ["x"], ["y"])], [("x", None)], ["y"]), ("no shape",)),
    "an open number of values": (
        graph([node("Relu", ["x"], ["y"])], [("x", ["a", "b", "c"])], ["y"]),
        ("must be known",),
    ),
    "an empty axis": (graph([node("Relu", ["x"], ["y"])], [("x", ["N", 0, 3])], ["y"]), ("has shape",)),
    "no outputs": (graph([node("Relu", ["x"], ["y"])], [("x", ["N", 3])], []), ("no outputs",)),
    "an output that is constant": (one("Identity", "v", constants=SEVERAL), ("is not computed",)),
    "nothing written": (graph([node("Relu", ["q"], ["y"])], [("x", ["N", 3])], ["y"]), ("'q' is written by no node",)),
    "a norm of other width": (
        one("LayerNormalization", "x", "s", shape=("N", 6, 4), constants={"s": np.ones(5, np.float32)}),
        ("shapes (5) and (1) for (4)",),
    ),
    "sums along two axes of steps": (
        graph(
            [
                node("Unsqueeze", ["x", "two"], ["q"]),
                node("Unsqueeze", ["x", "one"], ["k"]),
                node("Add", ["q", "k"], ["y"]),
            ],
            [("x", ["N", 6, 4])],
            ["y"],
            {"one": np.array([1]), "two": np.array([2])},
        ),
        ("cannot be joined",),
    ),
    "two inputs of one name": (
        graph([node("Relu", ["x"], ["y"])], [("x", ["N", 3]), ("x", ["N", 6, 4])], ["y"]),
        ("two of its inputs have one name",),
    ),
    "an old opset": (one("Relu", opset=5), ("opset 5",)),
    "a missing input": (one("MatMul", "x"), ("input 1 is missing",)),
    "an index from outside": (one("Gather", "x", "e", axis=2, constants=SEVERAL), ("index (2, 9)",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, words = REFUSED[name]
    refused(data, *words)


# ---- files that mean harm ----


def external(made: Any) -> None:
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../etc/passwd"), ("offset", "0"), ("length", "72")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def external_in_an_attribute(made: Any) -> None:
    external_node = made.graph.node.add()
    external_node.CopyFrom(node("Constant", [], ["c"], value=numpy_helper.from_array(weights(3), "v")))
    external_node.attribute[0].t.external_data.add().key = "location"


def shaped(*dims: int) -> Any:
    def change(made: Any) -> None:
        made.graph.initializer[0].dims[:] = dims

    return change


def nested(depth: int) -> Any:
    """Conditions in conditions."""

    def change(made: Any) -> None:
        inner = branch("b0", "x")
        for k in range(1, depth):
            out = helper.make_tensor_value_info(f"b{k}.out", TensorProto.FLOAT, None)
            one = node("If", ["true"], [f"b{k}.out"], then_branch=inner, else_branch=branch(f"e{k}", "x"))
            inner = helper.make_graph([one], f"b{k}", [], [out])
        made.graph.node[0].CopyFrom(node("If", ["true"], ["y"], then_branch=inner, else_branch=branch("e", "x")))

    return change


def circle(made: Any) -> None:
    made.graph.node.extend([node("Tanh", ["y"], ["t"]), node("Tanh", ["t"], ["u"])])
    made.graph.node[0].input[0] = "u"


def function(made: Any) -> None:
    made.functions.add().CopyFrom(
        helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], made.opset_import)
    )
    made.graph.node[0].op_type, made.graph.node[0].domain = "Twice", "own"


def edited(change: Any, op: str = "MatMul", **constants: Any) -> bytes:
    held = {"w": weights(6, 3), "true": np.array(True)} | constants
    return graph([node(op, ["x", "w"], ["y"])], [("x", ["N", "T", 6])], ["y"], held, change=change)


def grown(*nodes: Any, **constants: Any) -> bytes:
    """A constant that a graph makes grow, multiplied with x."""
    held = {"big": np.array([1 << 20, 1 << 20]), "n": np.array([1 << 40]), "s": weights(64, 64), "four": np.array([4])}
    last = node("Mul", ["x", "c"], ["y"])
    return graph([*nodes, last], [("x", ["N", "T", 6])], ["y"], held | constants)


def chain(op: str, *reads: str, count: int = 60) -> list[Any]:
    """An operation of itself, over and over."""
    nodes = [node("Shape", ["x"], ["c0"])] if not reads else [node("Identity", reads, ["c0"])]
    nodes += [node(op, [f"c{k}", f"c{k}"], [f"c{k + 1}"]) for k in range(count)]
    return [*nodes, node("Identity", [f"c{count}"], ["c"])]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "numbers in another file": (edited(external), "lies in another file"),
    "in another file, in an attribute": (edited(external_in_an_attribute), "lies in another file"),
    "a shape of nothing": (edited(shaped(0, 3)), "holds 18 numbers"),
    "a negative shape": (edited(shaped(-6, -3)), "impossible shape"),
    "an enormous shape": (edited(shaped(1 << 40, 1 << 40)), "holds 18 numbers"),
    "a shape of many dimensions": (edited(shaped(*[1] * 60, 6, 3)), "impossible shape"),
    "half a number": (edited(lambda m: setattr(m.graph.initializer[0], "raw_data", bytes(7))), "holds 1.75"),
    "an unknown kind of numbers": (edited(lambda m: setattr(m.graph.initializer[0], "data_type", 77)), "kind unknown"),
    "texts for numbers": (edited(lambda m: setattr(m.graph.initializer[0], "data_type", 8)), "kind string"),
    "not a number": (edited(None, w=np.full((6, 3), np.nan, np.float32)), "NaN or infinite"),
    "infinite": (edited(None, w=np.full((6, 3), np.inf, np.float32)), "NaN or infinite"),
    "a circle": (edited(circle), "runs in circles"),
    "one that reads itself": (edited(lambda m: m.graph.node[0].input.__setitem__(0, "y")), "runs in circles"),
    "a constant that nothing is called": (edited(lambda m: m.graph.node.add(op_type="Constant")), "writes nothing"),
    "two of one name": (edited(lambda m: m.graph.node.append(m.graph.node[0])), "written already"),
    "two tensors of one name": (edited(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "two tensors"),
    "a function": (edited(function), "function of its own"),
    "conditions in conditions": (edited(nested(10)), "nest too deep"),
    "conditions in conditions, deeper": (edited(nested(20)), "nest too deep"),
    "no operator set": (edited(lambda m: m.ClearField("opset_import")), "opset None"),
    "a sparse tensor": (edited(lambda m: m.graph.sparse_initializer.add()), "is sparse"),
    "an escape in a name": (edited(lambda m: setattr(m.graph.node[0], "op_type", "\x1b[31mred")), "red"),
    "a name of a megabyte": (edited(lambda m: setattr(m.graph.node[0], "op_type", "n" * 1_000_000)), "nnn..."),
    "a line break in a name": (edited(lambda m: setattr(m.graph.node[0], "name", "a\nb"), op="Sin"), "Sin"),
    "a constant of any shape": (grown(node("ConstantOfShape", ["big"], ["c"])), "(1048576, 1048576)"),
    "an expanded constant": (grown(node("Expand", ["z", "big"], ["c"]), z=np.float32(2)), "(1048576, 1048576)"),
    "a tiled constant": (grown(node("Tile", ["s", "big"], ["c"])), "too large"),
    "a long range": (grown(node("Range", ["z", "n", "d"], ["c"]), z=np.int64(0), d=np.int64(1)), "too large"),
    "a product of constants": (grown(node("MatMul", ["a", "a"], ["c"]), a=weights(3000, 3000)), "too large"),
    "a sum of rows and columns": (
        grown(node("Add", ["a", "b"], ["c"]), a=weights(1 << 13, 1), b=weights(1, 1 << 13)),
        "too large",
    ),
    "sizes that are squared": (grown(*chain("Mul")), "cannot be followed"),
    "numbers that are squared": (grown(*chain("Mul", "n"), n=np.array([3.0], np.float32)), "NaN or infinite"),
    "a constant that doubles": (grown(*chain("Concat", "s")), "too large"),
    "an index far out": (grown(node("Gather", ["s", "n"], ["c"])), "cannot be computed"),
    "a split into nothing": (grown(node("Split", ["s", "n"], ["c"])), "parts of"),
    "an axis far out": (grown(node("Unsqueeze", ["s", "n"], ["c"])), "axis"),
    "ninety thousand axes": (edited(lambda m: m.graph.input[0].type.tensor_type.shape.dim.extend(
        [m.graph.input[0].type.tensor_type.shape.dim[0]] * 90_000)), "dimensions"),
    "half a million nodes": (b"\x08\x08\x3a\x80\x89\x7a" + b"\x0a\x00" * 1_000_000, "more than"),
    "a field of any length": (b"\x08\x08\x3a\xff\xff\xff\xff\x07", "past its end"),
    "packed numbers that unfold": (
        edited(lambda m: m.graph.initializer.append(TensorProto(name="i", data_type=7, int64_data=[1] * (1 << 25)))),
        "too large",
    ),
    "no graph": (b"\x08\x08\x3a\x00", "no nodes"),
    "messages in messages": (b"", ""),
}  # fmt: skip
deep = b""
for _ in range(200):  # an attribute's graph of a node of an attribute's graph
    for key in (b"\x32", b"\x2a", b"\x0a"):
        size, length = len(deep), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        deep = key + length + bytes([size]) + deep
HOSTILE["messages in messages"] = (
    b"\x08\x08\x3a" + bytes([len(deep) & 127 | 128, len(deep) >> 7]) + deep,
    "nest too deep",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error within a few seconds, and no file is opened."""
    opened = []
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(a) or pytest.fail(f"opened {a}"))
    data, words = HOSTILE[name]
    refused(data, words)
    assert not opened


def test_damaged(tmp_path: Path) -> None:
    """Cut or overwritten anywhere: an error, or another model; never anything else."""
    whole = (GOLDEN / "torch_given_script.onnx").read_bytes()
    random = np.random.default_rng(0)
    for place in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(random.integers(8))
        for data in (whole[:place], bytes(broken)):
            try:
                importer.reading(data, "m")
            except CheckpointError as error:
                assert str(error).isprintable()


def test_onnx_is_imported_only_to_read_its_files() -> None:
    code = (
        "import sys, edgelstm.importers.onnx, edgelstm.peers\n"
        "assert not {'onnx', 'onnxruntime', 'google.protobuf'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_onnx_the_pip_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingError, match=r'pip install "edgelstm\[onnx\]"'):
        read(cell("RNN"))


def test_head_and_architecture_are_not_for_onnx(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(cell("RNN"))
    for options in ({"head": "relu"}, {"architecture": file}):
        with pytest.raises(CheckpointError, match="tells its layers itself"):
            importers.read(file, **options)
