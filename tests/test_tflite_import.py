""".tflite files as models: what TensorFlow's converter wrote (with a runtime's answers beside it), what is refused and
how it is said, and int8 files as the integers they hold."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flatbuffers")

from tfl8_files import File as IntegerFile
from tfl8_nets import tfl8_bidirectional, tfl8_conv, tfl8_stack
from tflite_models import File, lstm, weights

from edgelstm import Runner, importers, pack, reference, reference_tfl8
from edgelstm.errors import CheckpointError
from edgelstm.importers import tflite
from edgelstm.layers import Gru, Last, LayerNorm, Lstm, Mask, Pad, Rnn
from edgelstm.model import Model
from edgelstm.tfl8 import FUSED, Tfl8Pool1d, Tfl8Reduce, Tfl8Tensor
from edgelstm.tfl8_model import Tfl8Model

GOLDEN = Path(__file__).parent / "golden" / "tflite"
LIMIT = 5e-6
ANSWERED = sorted(path.stem for path in GOLDEN.glob("*.npz"))
CELLS = (Lstm, Gru, Rnn)


def read(name: str) -> Any:
    return importers.read(GOLDEN / f"{name}.tflite")


def cells(name: str) -> list[Any]:
    return [layer for layer in read(name).layers if isinstance(layer, CELLS)]


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_are_those_of_the_runtime(name: str) -> None:
    model = read(name)
    with np.load(GOLDEN / f"{name}.npz") as stored:
        xs = [stored[key] for key in stored.files if key.startswith("in:")]
        expected = [stored[key] for key in stored.files if key.startswith("out:")]
    rounded = name.endswith("dynamic")  # the runtime rounds what it multiplies int8 weights with
    for y, z in zip(reference.run(model, xs), expected, strict=True):
        assert y.shape == z.shape
        assert np.abs(y - z).max() <= (0.02 if rounded else LIMIT) * max(1.0, float(np.abs(z).max()))
    found = Runner(pack(model)).run(tuple(xs))
    for y, z in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert np.abs(y - z).max() <= (0.02 if rounded else LIMIT) * max(1.0, float(np.abs(z).max()))


def test_there_are_files_of_both_generations() -> None:
    assert len(ANSWERED) >= 60
    assert {name.split("_")[0] for name in ANSWERED} == {"keras2", "keras3"}


@pytest.mark.parametrize(
    "name,kinds",
    [
        ("keras3_stack", [Lstm, Lstm]),
        ("keras3_cells", [Lstm, Gru]),
        ("keras3_both_ways", [Lstm, Lstm]),
        ("keras3_lstm_unrolled", [Lstm]),
        ("keras3_lstm_unrolled_batch", [Lstm]),
        ("keras3_gru_unrolled", [Gru]),
        ("keras3_rnn_unrolled", [Rnn]),
        ("keras3_stack_unrolled", [Lstm, Gru]),
        ("keras3_both_ways_unrolled", [Lstm, Lstm]),
        ("keras3_step", [Gru, Lstm]),
        ("keras2_stack", [Lstm, Lstm]),
    ],
)
def test_loops_and_written_out_steps_become_cells(name: str, kinds: list[Any]) -> None:
    assert [type(layer) for layer in cells(name)] == kinds


def test_options_of_cells_are_found() -> None:
    (layer,) = cells("keras3_lstm_hard_sigmoid")
    assert layer.gate_activation.name == "hard_sigmoid"
    (layer,) = cells("keras2_lstm_hard_sigmoid")
    assert layer.gate_activation.name == "hard_sigmoid_fifth"
    (layer,) = cells("keras3_lstm_linear")
    assert layer.activation.name == "linear"
    before, after = cells("keras3_gru_reset_before")[0], cells("keras3_gru")[0]
    assert not before.reset_after and after.reset_after
    assert read("keras3_lstm_states").layers[0].initial
    masked = read("keras3_lstm_masked")
    assert isinstance(masked.layers[0], Mask) and masked.layers[1].masked
    assert any(isinstance(layer, LayerNorm) for layer in read("keras3_layer_norm").layers)


def test_a_model_of_one_step_streams() -> None:
    model = read("keras3_step")
    assert model.meta.window == 1
    runner = Runner(pack(model))
    x = np.random.default_rng(0).normal(size=(1, 9, 3)).astype(np.float32)
    whole = runner.run(x)
    runner.reset()
    steps = [runner.step(row).copy() for row in x[0]]
    assert np.abs(steps[-1] - whole[0]).max() < 1e-6


def test_the_converters_clip_is_kept() -> None:
    (layer,) = cells("keras2_lstm")
    assert layer.cell_clip == 10


def test_names_come_from_the_signature() -> None:
    file = File()
    x = file.input(1, 6, 3, name="serving_default_sensor:0")
    file.outputs(lstm(file, x, (1, 6, 3), 4))
    assert tflite.reading(file.bytes(), "").model.inputs == ("sensor",)


def test_what_a_file_cannot_be_told() -> None:
    with pytest.raises(CheckpointError, match="tells its layers itself"):
        importers.read(GOLDEN / "keras3_lstm.tflite", head="relu")


# ---- refused ----


def refused(data: bytes, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        tflite.reading(data, "m.tflite")


def one(op: str, shape: tuple[int, ...] = (1, 6, 4), inputs: int = 1, **options: Any) -> bytes:
    file = File()
    x = file.input(1, 6, 4)
    file.outputs(file.op(op, [x] * inputs, shape, options))
    return file.bytes()


def test_a_cell_of_its_own_is_refused_with_what_to_do() -> None:
    data = bytearray((GOLDEN / "keras3_gru.tflite").read_bytes())
    file = tflite.parse(bytes(data))
    body = file.subgraphs[2]
    assert any(operator.op == "TANH" for operator in body.operators)
    place = data.index(bytes([28]), 0)  # whatever holds TANH's number becomes another function's, one after the other
    said = []
    while place >= 0 and len(said) < 200:
        changed = data[:place] + bytes([92]) + data[place + 1 :]  # SQUARE
        try:
            tflite.reading(bytes(changed), "m")
        except CheckpointError as error:
            said.append(str(error))
        place = data.find(bytes([28]), place + 1)
    assert any("SQUARE" in text and "import the checkpoint it was converted from" in text for text in said)


def test_a_state_that_a_cell_leaves_to_another_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a fault of the converter"):
        read("keras2_shared_state")


@pytest.mark.parametrize(
    "op,words",
    [("CUMSUM", None), ("RSQRT", "RSQRT.*no layer does"), ("RANGE", "damaged: a RANGE of 1 inputs")],
)
def test_operators_that_no_layer_does(op: str, words: str | None) -> None:
    if words is None:
        file = File()
        x = file.input(1, 6, 4)
        file.outputs(file.op("TANH", [x], (1, 6, 4)))
        file.codes[0] = ("TANH", 1)
        root = file.root()
        root[1][0] = {0: np.int8(127), 2: np.int32(1), 3: np.int32(128)}
        from edgelstm.exporters.flatbuffer import pack as packed

        refused(packed(root, b"TFL3"), r"'t1' \(CUMSUM\): an operator that no layer does")
        return
    refused(one(op), words)


@pytest.mark.parametrize(
    "options,words",
    [
        ({"projection": 3, "proj_clip": float("inf")}, "it clips at 0 and inf"),
        ({"projection_bias": True}, "a projection's bias without a projection"),
        ({"activation": 5}, "sign_bit"),
        ({"cell_clip": float("inf")}, "it clips at inf"),
        ({"diagonal": True}, "shape"),
    ],
)
def test_options_of_the_fused_cell_that_no_layer_has(options: dict[str, Any], words: str) -> None:
    file = File()
    x = file.input(1, 6, 3)
    file.outputs(lstm(file, x, (1, 6, 3), 4, **options))
    refused(file.bytes(), words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({21: -1}, "some of its layer norm's coefficients are missing"),
        ({20: -1}, "some of its layer norm's coefficients are missing"),
        ({1: -1, 5: -1, 12: -1}, "some of the input gate's weights and not others"),
        ({22: 12, 23: 1}, "weights of shapes"),
    ],
    ids=str,
)
def test_norms_inside_the_cell_that_are_not_whole(changed: dict[int, int], words: str) -> None:
    """`changed`: an input takes the place of another one; -1: of none."""
    file = File()
    x = file.input(1, 6, 3)
    file.outputs(lstm(file, x, (1, 6, 3), 4, norm=True))
    row = file.current["operators"][-1][1]
    row[list(changed)] = [k if k < 0 else row[k] for k in changed.values()]
    refused(file.bytes(), words)


def test_sums_of_steps_along_two_axes_are_refused() -> None:
    """As additive attention adds every query to every key: no sequence of rows."""
    file = File()
    x = file.input(1, 6, 4)
    y = file.op("TANH", [x], (1, 6, 4))
    left = file.op("EXPAND_DIMS", [y, file.constant(np.array(2))], (1, 6, 1, 4))
    right = file.op("EXPAND_DIMS", [y, file.constant(np.array(1))], (1, 1, 6, 4))
    total = file.op("ADD", [left, right], (1, 6, 6, 4))
    file.outputs(file.op("SUM", [total, file.constant(np.array([3]))], (1, 6, 6), {}))
    refused(file.bytes(), "cannot be joined")


# ---- int8 ----


def alike(left: Tfl8Model, right: Tfl8Model) -> None:
    """The same integers, scales and zero points in the same layers."""
    assert [type(layer) for layer in left.layers] == [type(layer) for layer in right.layers]
    for one_, other in zip(left.layers, right.layers, strict=True):
        first = int(getattr(one_, "coupled", False))  # what stands for a gate that is not there
        for field in fields(one_):
            a, b = getattr(one_, field.name), getattr(other, field.name)
            if field.name in ("name", "reads", "writes"):
                continue
            if isinstance(a, np.ndarray):
                assert (a[first:] == b[first:]).all(), field.name
            else:
                assert a == b or np.float32(a) == np.float32(b), field.name
        for a, b in zip(one_.writes, other.writes, strict=True):
            x, y = left.tensor(a), right.tensor(b)
            assert (x.type, np.float32(x.scale), x.zero_point) == (y.type, np.float32(y.scale), y.zero_point)


STACKS: list[dict[str, Any]] = [
    {},
    {"floats": False},
    {"last": False},
    {"cell_clip": 1.0, "cell_exponent": -15},
    {"coupled": True},
    {"state_scale": 0.00544, "state_zero": 24, "hidden_scale": 0.00658, "hidden_zero": 5},
]


@pytest.mark.parametrize("options", STACKS, ids=str)
@pytest.mark.parametrize("units", [(5,), (7, 6)], ids=str)
def test_integers_come_back(units: tuple[int, ...], options: dict[str, Any]) -> None:
    model = tfl8_stack(3, units, 2, seed=4, **options)
    alike(model, tflite.reading(IntegerFile(model, 9).bytes, "").model)


def test_both_ways_in_integers() -> None:
    model = tfl8_bidirectional(4, 5, 3)
    again = tflite.reading(IntegerFile(model, 9).bytes, "").model
    xs = [np.random.default_rng(0).integers(-128, 128, (2, 9, 4)).astype(np.int8)]
    for y, z in zip(reference_tfl8.run(model, xs), reference_tfl8.run(again, xs), strict=True):
        assert (y == z).all()


def test_converted_int8_files() -> None:
    model = read("keras2_int8")
    assert isinstance(model, Tfl8Model)
    assert [type(layer).__name__ for layer in model.layers] == [
        "Tfl8Lstm", "Tfl8Lstm", "Last", "Tfl8Dense", "Tfl8Softmax",
    ]  # fmt: skip
    assert model.tensor(model.inputs[0]).type == model.tensor(model.outputs[0]).type == "s8"
    floats = read("keras2_int8_floats")
    assert floats.tensor(floats.inputs[0]).type == floats.tensor(floats.outputs[0]).type == "f32"
    ids = read("keras2_int8_embedding")
    assert ids.tensor(ids.inputs[0]).type == "s16"


def test_a_cell_whose_scale_tflite_has_no_tanh_for_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"scale of 2\^-18.*below 0.5.*no tanh.*the float .tflite"):
        read("keras2_int8_spoilt")


def test_a_spoilt_cell_is_read_where_its_answers_are_wanted() -> None:
    path = GOLDEN / "keras2_int8_spoilt.tflite"
    model = importers.read(path, compat="tflite")
    assert model.layers[0].bare and model.layers[0].cell_exponent == -18
    assert "no tanh for" in model.notes[0] and "input gate" in model.notes[0]
    for name, reason in (("keras2_int8", None), ("keras2_stack", "this one computes with floats")):
        if reason is None:
            assert importers.read(GOLDEN / f"{name}.tflite", compat="tflite").notes == read(name).notes
            continue
        with pytest.raises(CheckpointError, match=reason):
            importers.read(GOLDEN / f"{name}.tflite", compat="tflite")
    with pytest.raises(CheckpointError, match="expected 'tflite'"):
        importers.read(path, compat="keras")
    with pytest.raises(CheckpointError, match="int8 .tflite files alone"):
        importers.read(GOLDEN.parent / "keras" / "keras315_stack.keras", compat="tflite")


def test_int8_of_what_no_layer_computes_is_refused_by_name() -> None:
    def build(op: str, shape: tuple[int, ...], rest: Any = (), **options: Any) -> bytes:
        file = File()
        x = file.input(1, 6, 4, dtype="int8", quantized=(0.1, 3, 0))
        y = file.tensor(shape, "int8", quantized=(0.1, 3, 0))
        file.into(op, [x, *rest(file)] if rest else [x], [y], options)
        file.outputs(y)
        return file.bytes()

    refused(build("ELU", (1, 6, 4)), r"\(ELU\): no layer does this operator with integers; import the float")
    refused(build("SUM", (1, 4), lambda f: [f.constant(np.array([1]))]), "SUM")
    file = File()
    x = file.input(1, 6, 2000, dtype="int8", quantized=(0.1, 3, 0))
    y = file.tensor((1, 6, 1999), "int8", quantized=(0.1, 3, 0))
    file.into("SLICE", [x, file.constant(np.array([0, 0, 1])), file.constant(np.array([1, 6, 1999]))], [y])
    file.outputs(y)
    refused(file.bytes(), r"\(SLICE\): it takes some of 2000 values, which no layer does; import the float")


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("op", ["STRIDED_SLICE", "SOFTMAX", "SLICE", "REVERSE_V2", "RESHAPE"])
def test_axes_of_any_size_take_no_memory(op: str, axis: int, dtype: str) -> None:
    """A shape is a few bytes of a file, whatever it says."""
    shape = [1, 6, 4]
    shape[axis] = 2130706436
    file = File()
    more: dict[str, Any] = {"quantized": (0.1, 3, 0)} if dtype == "int8" else {}
    x = file.input(*shape, dtype=dtype, **more)
    y = file.tensor(shape, dtype, **more)
    rows = {
        "STRIDED_SLICE": [(0, 1, 0), (1, 1 << 30, 4), (1, 1, 1)],
        "SLICE": [(0, 0, 1), (1, -1, -1)],
        "REVERSE_V2": [(1,)],
        "RESHAPE": [(1, -1)],
    }
    file.into(op, [x, *(file.constant(np.array(row)) for row in rows.get(op, []))], [y])
    file.outputs(y)
    tracemalloc.start()
    try:
        tflite.reading(file.bytes(), "")
    except CheckpointError as error:
        assert len(str(error)) < 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_unsigned_integers_are_refused() -> None:
    file = File()
    x = file.input(1, 6, 4, dtype="uint8", quantized=(0.1, 3, 0))
    y = file.tensor((1, 6, 4), "int8", quantized=(0.1, 3, 0))
    file.into("QUANTIZE", [x], [y])
    file.outputs(y)
    refused(file.bytes(), "uint8, expected int8")


# ---- weights of fewer bits in float graphs ----


@pytest.mark.parametrize("axis", [0, None])
def test_weights_of_few_bits_are_real_numbers(axis: int | None) -> None:
    kernel = np.random.default_rng(1).integers(-127, 128, (5, 4)).astype(np.int8)
    scales = np.linspace(0.01, 0.05, 5).astype(np.float32) if axis == 0 else np.array([0.02], np.float32)
    file = File()
    x = file.input(1, 6, 4)
    w = file.tensor((5, 4), "int8", data=kernel, quantized=(scales, 0, 0))
    bias = file.constant(weights(5))
    file.outputs(file.op("FULLY_CONNECTED", [x, w, bias], (1, 6, 5), {"keep_dims": True}, version=9))
    model = tflite.reading(file.bytes(), "").model
    assert isinstance(model, Model) and "1 tensors of int8 weights" in model.notes[0]
    assert (model.layers[0].kernel == kernel * scales.reshape(-1, 1)).all()


def test_float16_weights_are_read() -> None:
    model = read("keras3_float16")
    kernel = model.layers[1].kernel
    assert (kernel == kernel.astype(np.float16)).all()
    assert not model.notes


def test_what_is_done_to_every_step_is_done_to_the_sequence() -> None:
    """As the converter writes TimeDistributed of Keras 3."""
    kinds = [type(layer).__name__ for layer in read("keras3_shapes").layers]
    assert kinds == ["Lstm", "Dense", "Group", "Dense", "Split", "Transpose", "Lstm", "Last"]


@pytest.mark.parametrize("spoilt", [False, True])
def test_steps_are_one_sequence_only_if_all_are_alike(spoilt: bool) -> None:
    file = File()
    x = file.input(1, 3, 4)
    steps = file.op("UNPACK", [x], [(1, 4)] * 3, {"count": 3, "axis": 1})
    kernel, other = (file.constant(weights(2, 4, seed=k)) for k in (0, 1))
    made = [file.op("FULLY_CONNECTED", [k, other if spoilt and k == steps[1] else kernel, -1], (1, 2)) for k in steps]
    file.outputs(file.op("PACK", made, (1, 3, 2), {"count": 3, "axis": 1}))
    model = tflite.reading(file.bytes(), "").model
    assert (len(model.layers) == 1) is not spoilt
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    expected = values @ weights(2, 4, seed=0).T
    if spoilt:
        expected[:, 1] = values[:, 1] @ weights(2, 4, seed=1).T
    (y,) = reference.run(model, [values])
    assert np.abs(y.reshape(expected.shape) - expected).max() < 1e-6


def open_loop(axis: int, op: str = "TANH", **options: Any) -> bytes:
    """A simple RNN over an open number of steps, which runs as often as an axis of what it reads is long; `op`: of the
    sum of its products."""
    file = File()
    x = file.input(1, 1, 3, signature=(-1, 1, 3))
    shape = file.op("SHAPE", [x], (3,), {"type": 2}, dtype="int32")
    bounds = [file.constant(np.array([n], np.int32)) for n in (axis, axis + 1, 1)]
    limit = file.op("STRIDED_SLICE", [shape, *bounds], (), {"shrink_mask": 1}, dtype="int32")
    zero, h = file.constant(np.int32(0)), file.constant(np.zeros((1, 4), np.float32))
    kinds = [((), "int32"), ((1, 4), "float32"), ((), "int32"), ((1, 1, 3), "float32")]
    made = [file.tensor(*kind) for kind in kinds]
    file.into("WHILE", [zero, h, limit, x], made, {"condition": 1, "body": 2})
    file.outputs(made[1])
    for k in range(2):
        file.graph()
        count, state, most, rows = (file.input(*s, dtype=t) for s, t in kinds)
        if k == 0:
            file.outputs(file.op("LESS", [count, most], (), dtype="bool"))
            continue
        step = file.op("GATHER", [rows, count], (1, 3))
        left = file.op("FULLY_CONNECTED", [step, file.constant(weights(4, 3)), -1], (1, 4))
        right = file.op("FULLY_CONNECTED", [state, file.constant(weights(4, 4, seed=1)), -1], (1, 4))
        total = file.op("ADD", [left, right], (1, 4))
        more = {"MEAN": [np.array([1])], "CONV_2D": [weights(4, 1, 1, 4), weights(4)], "POW": [np.float32(2)]}
        inputs = [total, *(file.constant(array) for array in more.get(op, []))]
        new = file.op(op, inputs, (1, 4), options)
        after = file.op("ADD", [count, file.constant(np.int32(1))], (), dtype="int32")
        file.outputs(after, new, most, rows)
    return file.bytes()


def test_a_loop_runs_over_all_steps_or_is_refused() -> None:
    """Where the file leaves the number of steps open, what the loop counts to must be computed from what it reads."""
    model = tflite.reading(open_loop(0), "").model
    assert [type(layer) for layer in model.layers] == [Rnn, Last]
    refused(open_loop(2), "number of steps is not that of what it reads")
    assert tflite.reading(open_loop(0, "HARD_SWISH"), "").model.layers[0].activation.name == "hard_silu"


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("SOFTMAX", "it computes SOFTMAX, as activation='softmax' of a cell does; import the checkpoint"),
        ("MEAN", "it computes MEAN, as layer normalisation inside a cell of its own .RNN. does; import the checkpoint"),
        ("RSQRT", "as layer normalisation inside"),
        ("CONV_2D", "as a convolution inside the cell .ConvLSTM1D. does"),
        ("POW", "as an activation= or a cell of its own .RNN. does"),
    ],
)
def test_a_loop_that_is_no_cell_is_refused_with_what_likely_made_it(op: str, words: str) -> None:
    refused(open_loop(0, op), rf"\(WHILE\): a loop that is no recurrent layer as known: .*{words}")


def test_a_last_step_is_a_last() -> None:
    assert isinstance(read("keras3_lstm").layers[-1], Last)


@pytest.mark.parametrize("seed", range(4))
def test_integers_over_steps_come_back(seed: int) -> None:
    """Convolutions of each kind, pools, paddings, means and maxima, with every window there is."""
    random = np.random.default_rng(seed)
    window: dict[str, Any] = ({"left": 2}, {"same": True, "stride": 2}, {"dilation": 2}, {"left": 1, "right": 1})[seed]
    groups, units = ((1, 7), (6, 6), (6, 12), (1, 3))[seed]
    layer = tfl8_conv("conv", "x", "a", 6, units, random, groups=groups, activation=FUSED[seed], **window)
    tensors = [Tfl8Tensor("x", 6, "s8", 0.02, -5), *(Tfl8Tensor(n, units, "s8", 0.06, 7) for n in "abcd")]
    pool = Tfl8Pool1d("pool", ("a",), ("b",), ("max", "average")[seed % 2], 2, FUSED[seed], 1 + seed % 2, same=True)
    last = Tfl8Reduce("last", ("c",), ("d",), ("mean", "max")[seed // 2])
    layers = (layer, pool, Pad("pad", ("b",), ("c",), 1, 2), last)
    model = Tfl8Model(tuple(tensors), layers, ("x",), ("d",))
    again = tflite.reading(IntegerFile(model, 12).bytes, "").model
    assert [type(la).__name__ for la in again.layers] == ["Tfl8Conv1d", "Tfl8Pool1d", "Pad", "Tfl8Reduce"]
    xs = [random.integers(-128, 128, (2, 12, 6)).astype(np.int8)]
    for y, z in zip(reference_tfl8.run(model, xs), reference_tfl8.run(again, xs), strict=True):
        assert (y == z).all()


def test_int8_windows_that_runtimes_compute_in_ways_of_their_own_are_refused() -> None:
    def build(op: str, shape: tuple[int, ...], wanted: tuple[int, ...], rest: Any, **options: Any) -> bytes:
        file = File()
        x = file.input(*shape, dtype="int8", quantized=(0.1, 3, 0))
        y = file.tensor(wanted, "int8", quantized=(0.1, 3, 0))
        file.into(op, [x, *rest(file)], [y], options)
        file.outputs(y)
        return file.bytes()

    both = build("MEAN", (1, 1, 6, 4), (1, 1, 1, 4), lambda f: [f.constant(np.array([1, 2], np.int32))], keep_dims=True)
    refused(both, "a mean over two axes that stay")
    kernel = np.ones((4, 1, 2, 2), np.int8)
    weights = lambda f: [f.tensor(kernel.shape, "int8", data=kernel, quantized=(0.1, 0, 0))]  # noqa: E731
    refused(build("CONV_2D", (1, 1, 6, 4), (1, 1, 5, 4), weights, padding=1, stride_w=1, stride_h=1), "in groups")
