"""ONNX files as this package reads them and as ONNX Runtime runs them: every attribute and every operation alone."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

onnxruntime = pytest.importorskip("onnxruntime")

from onnx_models import GATES, INT64, cell, graph, weights  # noqa: E402

from edgelstm import peers, reference  # noqa: E402
from edgelstm.importers import onnx as importer  # noqa: E402
from edgelstm.importers import onnx_feeds  # noqa: E402
from edgelstm.model import Model  # noqa: E402
from edgelstm.random_inputs import draw  # noqa: E402

LIMIT = 5e-6
node = helper.make_node


def agree(data: bytes, steps: int = 7) -> Model:
    """The model of a graph, after its answers were found to be ONNX Runtime's."""
    made = importer.reading(data, "graph.onnx")
    count = onnx_feeds.fixed_batch(made) or 3
    xs = draw(made.model, count, made.model.meta.window or steps, np.random.default_rng(1))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    answers = dict(zip(names, session.run(names, onnx_feeds.given(made, xs)), strict=True))
    ys = reference.run(made.model, xs)
    assert any(y.any() for y in ys)  # zeros would agree with anything
    for y, z in zip(ys, onnx_feeds.taken(made, answers, count), strict=True):
        assert y.shape == z.shape
        assert np.abs(y - z).max() <= LIMIT * max(1.0, float(np.abs(z).max())), made.model.layers
    return made.model


# ---- each attribute of the cells ----

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"lengths": True},
    {"initial": True},
    {"lengths": True, "initial": True},
    {"clip": 0.4},
    {"outputs": ["Y"]},
    {"outputs": ["Y_h"]},
    {"opset": 7},
    {"opset": 14},
]
LSTM_OPTIONS: list[dict[str, Any]] = [
    {"peephole": True},
    {"input_forget": 1},
    {"peephole": True, "input_forget": 1, "clip": 0.3},
    {"outputs": ["Y_c"]},
]
CELLS = [(op, options) for op in GATES for options in OPTIONS]
CELLS += [("LSTM", options) for options in LSTM_OPTIONS]
CELLS += [("GRU", {"linear_before_reset": 1, **more}) for more in ({}, {"clip": 0.4}, {"bias": False})]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "options"), CELLS, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "plain")
def test_each_attribute(op: str, options: dict[str, Any], direction: str) -> None:
    agree(cell(op, direction=direction, **options))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_states_that_the_file_holds(op: str, direction: str) -> None:
    """One row for any number of sequences, and as many equal ones as there are."""
    sides, gates = 2 if direction == "bidirectional" else 1, GATES[op]
    held = {"W": weights(sides, gates * 4, 3), "R": weights(sides, gates * 4, 4), "h": weights(sides, 1, 4, scale=1.0)}
    held |= {"one": np.array([1]), "two": np.array([2]), "s1": np.array([sides]), "four": np.array([4])}
    shape = [node("Shape", ["X"], ["s"]), node("Slice", ["s", "one", "two"], ["n"])]
    shape += [node("Concat", ["s1", "n", "four"], ["shape"], axis=0), node("Expand", ["h", "shape"], ["H"])]
    shape += [node("Neg", ["H"], ["C"])]
    read = ["X", "W", "R", "", "", "H", *(["C"] if op == "LSTM" else [])]
    names = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    made = node(op, read, names, hidden_size=4, direction=direction)
    agree(graph([*shape, made], [("X", ["T", "N", 3])], names, held))
    held |= {"H": np.repeat(held["h"], 2, axis=1)}
    made = node(op, read[:6], names, hidden_size=4, direction=direction)  # of an LSTM, c starts at zeros
    agree(graph([made], [("X", ["T", 2, 3])], names, held))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_fewer_steps_than_there_are(op: str, direction: str) -> None:
    sides, gates = 2 if direction == "bidirectional" else 1, GATES[op]
    held = {"W": weights(sides, gates * 4, 3), "R": weights(sides, gates * 4, 4), "L": np.array([4, 4], np.int32)}
    names = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    made = node(op, ["X", "W", "R", "", "L"], names, hidden_size=4, direction=direction)
    agree(graph([made], [("X", [6, 2, 3])], names, held))


FUNCTIONS: list[tuple[str, list[float], list[float]]] = [
    ("Sigmoid", [], []),
    ("Tanh", [], []),
    ("Relu", [], []),
    ("HardSigmoid", [], []),
    ("HardSigmoid", [1 / 6], [0.5]),
    ("HardSigmoid", [0.3], [0.4]),
    ("LeakyRelu", [], []),
    ("LeakyRelu", [0.05], []),
    ("Elu", [0.7], []),
    ("Softsign", [], []),
    ("Softplus", [], []),
    ("Affine", [0.5], [0.1]),
    ("ScaledTanh", [1.0], [0.7]),
    ("ScaledTanh", [1.0], [0.7]),
    ("ScaledTanh", [1.4], [0.8]),
    ("ScaledTanh", [1.0], [1.0]),
    ("ThresholdedRelu", [0.0], []),
    ("ThresholdedRelu", [0.05], []),
]
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
PLACES = [(op, k) for op, names in DEFAULTS.items() for k in range(len(names))]
FITTING = [(*place, function) for place, function in product(PLACES, FUNCTIONS)]


@pytest.mark.parametrize(("op", "place", "function"), FITTING, ids=str)
def test_each_activation(op: str, place: int, function: tuple[str, list[float], list[float]]) -> None:
    name, alpha, beta = function
    names = list(DEFAULTS[op])
    names[place] = name
    attributes: dict[str, Any] = {"activations": names}
    if alpha:
        attributes["activation_alpha"] = alpha
    if beta:
        attributes["activation_beta"] = beta
    if op == "GRU":
        agree(cell(op, linear_before_reset=1, **attributes))
    agree(cell(op, **attributes))
    agree(cell(op, clip=0.5, **attributes))


def test_activations_of_both_directions_and_their_numbers_in_order() -> None:
    names = ["HardSigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Tanh", "Elu"]
    numbers = {"activation_alpha": [0.3, 0.02, 0.15, 0.8], "activation_beta": [0.45, 0.6]}
    agree(cell("LSTM", direction="bidirectional", activations=names, **numbers))
    agree(cell("GRU", direction="bidirectional", activations=["Sigmoid", "Softsign", "HardSigmoid", "Relu"]))


# ---- operations around them ----


def around(*nodes: Any, constants: dict[str, Any] | None = None, shape: Any = ("N", "T", 6), opset: int = 20) -> bytes:
    """A graph from x to y."""
    return graph(nodes, [("x", list(shape))], ["y"], constants, opset)


W, B = weights(6, 5), weights(5, seed=1)
AXES = {"minus": np.array([-1]), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
CHANNELS = ("N", 6, 12)
GROUPED = {"k": weights(8, 3, 3), "b": weights(8, seed=2)}
DENSE: list[Any] = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["y"])]
POSITIVE = np.abs(weights(6, seed=4)) + 0.5


def windowed(op: str, inputs: list[str] | None = None, **attributes: Any) -> bytes:
    """One operation over windows of x, channels first."""
    return around(node(op, inputs or ["x"], ["y"], **attributes), constants=GROUPED, shape=CHANNELS)


LAYERS: dict[str, bytes] = {
    "dense": around(*DENSE, constants={"w": W, "b": B}),
    "gemm": around(node("Gemm", ["x", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0), constants={"w": W.T, "b": B},
                   shape=("N", 6)),
    "gemm, no bias": around(node("Gemm", ["x", "w"], ["y"]), constants={"w": W}, shape=("N", 6)),
    "matrix from the left": around(node("MatMul", ["w", "x"], ["y"]), constants={"w": W.T}, shape=("N", 6, "T")),
    "conv": windowed("Conv", ["x", "k", "b"], group=2),
    "conv, strides": windowed("Conv", ["x", "k", "b"], group=2, strides=[2], pads=[1, 2]),
    "conv, dilations": windowed("Conv", ["x", "k", "b"], group=2, dilations=[2], pads=[4, 0]),
    "conv, same": windowed("Conv", ["x", "k", "b"], group=2, auto_pad="SAME_UPPER", strides=[2]),
    "conv, same lower": windowed("Conv", ["x", "k", "b"], group=2, auto_pad="SAME_LOWER", strides=[2]),
    "conv, same lower, dilated": windowed("Conv", ["x", "k"], group=2, auto_pad="SAME_LOWER"),
    "conv, valid": windowed("Conv", ["x", "k"], group=2, auto_pad="VALID"),
    "max pool": windowed("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 1]),
    "average pool": windowed("AveragePool", kernel_shape=[3], strides=[2], pads=[1, 0]),
    "average pool, counted": windowed("AveragePool", kernel_shape=[3], pads=[1, 1], count_include_pad=1),
    "average pool, same": windowed("AveragePool", kernel_shape=[5], strides=[3], auto_pad="SAME_UPPER"),
    "pool, ceil without effect": windowed("MaxPool", kernel_shape=[2], strides=[2], ceil_mode=1),
    "global average": windowed("GlobalAveragePool"),
    "global max": windowed("GlobalMaxPool"),
    "mean over steps": around(node("ReduceMean", ["x", "one"], ["y"], keepdims=0), constants=AXES),
    "sum over steps": around(node("ReduceSum", ["x", "one"], ["y"]), constants=AXES),
    "max over steps": around(node("ReduceMax", ["x", "one"], ["y"]), constants=AXES),
    "mean over values": around(node("ReduceMean", ["x", "minus"], ["y"]), constants=AXES),
    "mean over no axes": around(node("ReduceMean", ["x", "none"], ["y"], noop_with_empty_axes=1),
                                constants={"none": np.zeros(0, np.int64)}),
    "mean as an attribute": around(node("ReduceMean", ["x"], ["y"], axes=[1]), opset=13),
    "batch norm": around(node("BatchNormalization", ["x", "s", "o", "m", "v"], ["y"], epsilon=1e-3), shape=CHANNELS,
                         constants={"s": weights(6, seed=1), "o": weights(6, seed=2), "m": weights(6, seed=3),
                                    "v": POSITIVE}),
    "batch norm of a row": around(node("BatchNormalization", ["x", "s", "o", "m", "v"], ["y"]), shape=("N", 6),
                                  constants={"s": weights(6, seed=1), "o": weights(6, seed=2),
                                             "m": weights(6, seed=3), "v": POSITIVE}),
    "layer norm": around(node("LayerNormalization", ["x", "s", "o"], ["y"], axis=-1, epsilon=1e-3),
                         constants={"s": weights(6, seed=1), "o": weights(6, seed=2)}),
    "softmax": around(node("Softmax", ["x"], ["y"])),
    "softmax over steps": around(node("Softmax", ["x"], ["y"], axis=1)),
    "softmax of a row, opset 11": around(node("Softmax", ["x"], ["y"]), shape=("N", 6), opset=11),
    "softmax over values, opset 11": around(node("Softmax", ["x"], ["y"], axis=2), opset=11),
    "softmax over all, opset 11": around(node("Softmax", ["x"], ["y"], axis=1), shape=("N", 4, 6), opset=11),
    "leaky relu": around(node("LeakyRelu", ["x"], ["y"], alpha=0.1)),
    "elu": around(node("Elu", ["x"], ["y"], alpha=0.6)),
    "hard sigmoid": around(node("HardSigmoid", ["x"], ["y"])),
    "hard sigmoid, sixth": around(node("HardSigmoid", ["x"], ["y"], alpha=1 / 6)),
    "hard sigmoid, other": around(node("HardSigmoid", ["x"], ["y"], alpha=0.4, beta=0.3)),
    "mish": around(node("Mish", ["x"], ["y"])),
    "celu": around(node("Celu", ["x"], ["y"], alpha=0.7)),
    "selu": around(node("Selu", ["x"], ["y"])),
    "selu, other": around(node("Selu", ["x"], ["y"], alpha=1.1, gamma=0.7)),
    "thresholded relu": around(node("ThresholdedRelu", ["x"], ["y"])),
    "thresholded relu, other": around(node("ThresholdedRelu", ["x"], ["y"], alpha=0.2)),
    "shrink": around(node("Shrink", ["x"], ["y"])),
    "soft shrink": around(node("Shrink", ["x"], ["y"], lambd=0.4, bias=0.4)),
    "log softmax": around(node("LogSoftmax", ["x"], ["y"])),
    "log softmax of a row, opset 11": around(node("LogSoftmax", ["x"], ["y"]), shape=("N", 6), opset=11),
    "log of a softmax": around(node("Softmax", ["x"], ["s"]), node("Log", ["s"], ["y"])),
    "log of a sigmoid": around(node("Sigmoid", ["x"], ["s"]), node("Log", ["s"], ["y"])),
    "gelu": around(node("Gelu", ["x"], ["y"])),
    "gelu tanh": around(node("Gelu", ["x"], ["y"], approximate="tanh")),
    "clip 6": around(node("Clip", ["x", "z", "s"], ["y"]),
                     constants={"z": np.float32(0), "s": np.float32(6)}),
    "clip 1": around(node("Clip", ["x", "z", "s"], ["y"]),
                     constants={"z": np.float32(0), "s": np.float32(1)}),
    "clip 0.3": around(node("Clip", ["x", "", "s"], ["y"]), constants={"s": np.float32(0.3)}),
    "clip above -0.2": around(node("Clip", ["x", "s"], ["y"]), constants={"s": np.float32(-0.2)}),
    "clip of a row": around(node("Clip", ["x"], ["y"], min=-0.3, max=0.2), shape=("N", 6), opset=6),
    "clip 0.4, opset 6": around(node("Clip", ["x"], ["y"], min=0.0, max=0.4), opset=6),
    "clip crossed": around(node("Clip", ["x", "z", "s"], ["y"]), constants={"z": np.float32(1), "s": np.float32(-1)}),
    "clip 0, opset 6": around(node("Clip", ["x"], ["y"], min=0.0), opset=6),
    "prelu": around(node("PRelu", ["x", "s"], ["y"]), constants={"s": np.array([0.3], np.float32)}),
    "power": around(node("Pow", ["x", "s"], ["y"]), constants={"s": np.float32(2)}),
    "scale and shift": around(node("Mul", ["x", "s"], ["p"]), node("Sub", ["o", "p"], ["q"]),
                              node("Div", ["q", "d"], ["y"]), constants={
                                  "s": weights(6, seed=1), "o": weights(6, seed=2), "d": np.float32(3)}),
    "scale of a row": around(node("Mul", ["x", "s"], ["y"]), constants={"s": weights(6, seed=1)}, shape=("N", 6)),
    "scale of channels": around(node("Mul", ["x", "s"], ["y"]), constants={"s": weights(6, 1)}, shape=CHANNELS),
    "last, gathered": around(node("Gather", ["x", "i"], ["y"], axis=1), constants={"i": np.int64(-1)}),
    "first, gathered": around(node("Gather", ["x", "i"], ["y"], axis=1), constants={"i": np.int64(0)}),
    "third, gathered": around(node("Gather", ["x", "i"], ["y"], axis=1), constants={"i": np.int64(2)}),
    "third from the end": around(node("Gather", ["x", "i"], ["y"], axis=1), constants={"i": np.int64(-3)}),
    "fixed, gathered": around(node("Gather", ["x", "i"], ["y"], axis=1), constants={"i": np.int64(2)},
                              shape=("N", 5, 6)),
    "some values": around(node("Gather", ["x", "i"], ["y"], axis=2), constants={"i": np.array([4, 0, 2])}),
    "steps cut": around(node("Slice", ["x", "one", "minus", "one"], ["y"]), constants=AXES),
    "steps cut, old": around(node("Slice", ["x"], ["y"], starts=[2], ends=[9999999999], axes=[1]), opset=9),
    "steps backwards": around(node("Slice", ["x", "minus", "e", "one", "minus"], ["y"]),
                              constants=AXES | {"e": np.array([-(2**63)])}),
    "values cut": around(node("Slice", ["x", "one", "e", "two"], ["y"]), constants=AXES | {"e": np.array([4])}),
    "split": graph([node("Split", ["x", "p"], ["a", "b"], axis=2), node("Mul", ["a", "b"], ["y"])],
                   [("x", ["N", "T", 6])], ["y"], {"p": np.array([3, 3])}),
    "flatten": around(node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["y"]), constants={
        "w": weights(24, 3)}, shape=("N", 4, 6)),
    "channels to a row": around(node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("Flatten", ["t"], ["f"]),
                                node("MatMul", ["f", "w"], ["y"]), constants={"w": weights(24, 3)}, shape=("N", 4, 6)),
    "a row as steps": around(node("Reshape", ["x", "r"], ["t"]), node("ReduceSum", ["t", "one"], ["y"]),
                             constants=AXES | {"r": np.array([-1, 3, 4])}, shape=("N", 12)),
    "steps in pairs": around(node("Reshape", ["x", "r"], ["t"]), node("MatMul", ["t", "w"], ["y"]), constants={
        "r": np.array([-1, 4, 12]), "w": weights(12, 3)}, shape=("N", 8, 6)),
    "halves of steps": around(node("Reshape", ["x", "r"], ["t"]), node("MatMul", ["t", "w"], ["y"]), constants={
        "r": np.array([-1, 16, 3]), "w": weights(3, 3)}, shape=("N", 8, 6)),
    "steps and sequences as one": around(node("Reshape", ["x", "r"], ["t"]), node("MatMul", ["t", "w"], ["y"]),
                                         constants={"r": np.array([-1, 6]), "w": W}),
    "steps as values": around(node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["t", "w"], ["y"]),
                              constants={"w": weights(8, 3)}, shape=("N", 8, 6)),
    "repeat": around(node("Unsqueeze", ["x", "one"], ["u"]), node("Expand", ["u", "e"], ["t"]),
                     node("MatMul", ["t", "w"], ["y"]), constants=AXES | {"e": np.array([1, 5, 1]), "w": W},
                     shape=("N", 6)),
    "pad": around(node("Pad", ["x", "p"], ["y"]), constants={"p": np.array([0, 2, 0, 0, 1, 0])}),
    "pad, old": around(node("Pad", ["x"], ["y"], pads=[0, 2, 0, 0, 1, 0]), opset=10),
    "causal convolution": around(node("Pad", ["x", "p"], ["q"]), node("Conv", ["q", "k"], ["y"], group=2),
                                 constants=GROUPED | {"p": np.array([0, 0, 2, 0, 0, 0])}, shape=CHANNELS),
    "embedding": graph([node("Gather", ["w", "x"], ["y"])], [("x", ["N", "T"], INT64)], ["y"], {"w": weights(9, 4)}),
    "embedding of floats cast": around(node("Cast", ["x"], ["i"], to=INT64), node("Gather", ["w", "i"], ["y"]),
                                       constants={"w": weights(9, 4)}, shape=("N", "T")),
    "joined": graph([node("Concat", ["x", "z"], ["y"], axis=2)], [("x", ["N", "T", 6]), ("z", ["N", "T", 2])], ["y"]),
    "swish": around(node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])),
    "hard swish": around(node("HardSwish", ["x"], ["y"])),
    "maximum": around(node("Tanh", ["x"], ["s"]), node("Max", ["x", "s"], ["y"])),
    "mean of three": around(node("Tanh", ["x"], ["s"]), node("Mean", ["x", "s", "x"], ["y"])),
    "dropout": around(node("Dropout", ["x"], ["p"]), node("Relu", ["p"], ["y"])),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_each_operation(name: str) -> None:
    agree(LAYERS[name])


# ---- packed sequences ----


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_that_pytorch_sorts(kind: str, both: bool, batch: int | None, tmp_path: Path) -> None:
    """pack_padded_sequence(enforce_sorted=False): the exporter sorts the sequences, and puts them back."""
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(3, 4, batch_first=True, bidirectional=both)

        def forward(self, x: Any, lengths: Any) -> Any:
            packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, state = self.rnn(packed)
            return rnn.pad_packed_sequence(y, batch_first=True)[0], (state[0] if kind == "LSTM" else state)[-1]

    count = batch or 2
    lengths = torch.tensor([5, 7, 2][:count])
    dynamic = {"x": {1: "T"}, "lengths": {}} if batch else {"x": {0: "N", 1: "T"}, "lengths": {0: "N"}}
    file = tmp_path / "packed.onnx"
    torch.manual_seed(0)
    torch.onnx.export(
        Net().eval(), (torch.randn(count, 7, 3), lengths), str(file), dynamo=False, opset_version=17,
        input_names=["x", "lengths"], output_names=["y", "h"], dynamic_axes=dynamic,
    )  # fmt: skip
    assert agree(file.read_bytes()).inputs == ("x", "mask")


# ---- in a process of its own ----


@pytest.mark.parametrize("options", [{"layout": 0}, {"lengths": True, "initial": True}])
def test_peers_run_a_file(options: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(cell("LSTM", direction="bidirectional", **options))
    model = importer.read(file)
    xs = draw(model, 5, 6, np.random.default_rng(2))
    answers = peers.run_checkpoint(file, xs)
    assert answers.peer.startswith("onnxruntime ")
    for y, z in zip(reference.run(model, xs), answers.ys, strict=True):
        assert y.shape == z.shape and np.abs(y - z).max() <= LIMIT


def test_layouts_agree() -> None:
    """ONNX Runtime runs layout 0 alone; both layouts of the same weights are one model here."""
    for op, direction in product(GATES, ("forward", "bidirectional")):
        models = [importer.reading(cell(op, direction=direction, layout=k, initial=True), "m").model for k in (0, 1)]
        xs = draw(models[0], 3, 5, np.random.default_rng(3))
        for y, z in zip(*(reference.run(model, xs) for model in models), strict=True):
            assert np.array_equal(y, z)
