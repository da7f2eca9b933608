"""Written .tflite files of every layer in both runtimes, with their own kernels and the plain ones, and in TFLite
Micro, beside the float64 reference. The models are those of tests/written_models.py."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flatbuffers")

from click.testing import CliRunner
from tfl8_files import micro_outputs as micro
from written_models import AROUND, CELLS, STEPS, data, every_step, gru, net, streamed

from edgelstm import importers, peers, reference, reference_tfl8
from edgelstm.cli import main
from edgelstm.errors import CheckpointError, ExportError, InputError
from edgelstm.exporters import tflite
from edgelstm.importers import tflite as importer
from edgelstm.importers.tflite_file import parse
from edgelstm.proof import SEQUENCES
from edgelstm.proof_tflite import beside
from edgelstm.random_inputs import draw
from edgelstm.tfl8_model import ARITHMETIC, Tfl8Model, variant

MODELS = CELLS | AROUND
STREAMED = [name for name, model in MODELS.items() if streamed(model)]
LIMIT = 5e-6  # of max(1, max|y|)
RUNTIMES = peers.runtimes()
pytestmark = pytest.mark.skipif(not RUNTIMES, reason="no TFLite runtime")
WAYS = [(runtime, resolver) for runtime in RUNTIMES for resolver in ("default", "reference")]


def errors(expected: Any, found: Any) -> float:
    """The largest, as a part of max(1, max|y|)."""
    assert [y.shape for y in found] == [y.shape for y in expected]
    return max(float(np.abs(y - z).max() / max(1, np.abs(z).max())) for y, z in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_both_runtimes_answer_as_the_reference(name: str) -> None:
    model = MODELS[name]
    xs = data(model)
    expected = reference.run(model, xs)
    files = tflite.build(model, steps=STEPS), tflite.build(model, steps=STEPS, batch=2)
    for runtime, resolver in WAYS:
        for file in files:
            found = peers.run_tflite(file, xs, runtime, resolver=resolver, as_read=False).ys
            assert errors(expected, found) <= LIMIT, (runtime, resolver)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", STREAMED)
def test_one_step_streams_as_the_whole_sequence_runs(name: str, runtime: str) -> None:
    model = MODELS[name]
    xs = data(model)
    expected = every_step(model, xs)
    stepped = peers.run_tflite(tflite.build(model, steps=1), xs, runtime, as_read=False).ys
    assert errors(expected, stepped) <= LIMIT
    whole = peers.run_tflite(tflite.build(model, "dynamic", steps=STEPS), xs, runtime, as_read=False).ys
    stepped = peers.run_tflite(tflite.build(model, "dynamic", steps=1), xs, runtime, as_read=False).ys
    assert errors(expected, stepped) <= 0.03
    # of what a convolution reads, runtimes choose one scale for a call
    assert "behind" in name or "conv" in name or errors(whole, stepped) <= LIMIT


ROOT = Path(__file__).parents[2]
ENDINGS = {".keras", ".h5", ".pt", ".pth", ".onnx", ".safetensors", ".tflite"}


def checkpoints() -> list[str]:
    """Every file of every format in the repository; of .npz those that hold no answers."""
    found = [path for folder in ("tests/golden", "examples") for path in (ROOT / folder).rglob("*")]
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in found
        if path.suffix in ENDINGS or (path.suffix == ".npz" and path.with_suffix(".toml").exists())
    )


UNREAD = {
    "tests/golden/keras_layers/keras1_around.h5": "Theano or TensorFlow",
    "tests/golden/onnx/tf2onnx_loop.onnx": "a loop written out",
    "tests/golden/onnx/tf2onnx_masked.onnx": "a loop written out",
    "tests/golden/tflite/keras2_int8_spoilt.tflite": "its cell state has a scale of",
    "tests/golden/tflite/keras2_shared_state.tflite": "it keeps its state in",
    **{name: "." for name in checkpoints() if name.startswith("tests/golden/torch/refused_")},
}
REFUSED = {
    # states to start from, and the clip that the converter put there
    "tests/golden/tflite/keras2_decoder.tflite": "clip of the cell",
}
INTEGERS = [name for name in checkpoints() if name.startswith("tests/golden/tflite/") and "_int8" in name]


def checkpoint(name: str) -> Any:
    path = ROOT / name
    toml = path.with_suffix(".toml")
    if path.suffix == ".npz":
        return importers.read(path, architecture=toml)
    try:
        return importers.read(path)
    except CheckpointError as error:
        if "which activation follows fc1, fc2" not in str(error):
            raise
        return importers.read(path, head="relu,softmax")


def test_the_committed_checkpoints_are_all_here() -> None:
    """Of each format and folder; 200 of them and more are written."""
    names = checkpoints()
    assert {Path(name).suffix for name in names} == (ENDINGS | {".npz"}) - {".pth"}
    folders = {"keras", "keras_layers", "onnx", "tflite", "torch"}
    assert folders <= {Path(name).parent.name for name in names}
    assert {"examples/activity", "examples/tutorials"} <= {Path(name).parent.as_posix() for name in names}
    apart = {*UNREAD, *REFUSED, *INTEGERS}
    assert apart <= set(names) and len(set(names) - apart) >= 200
    assert sum(name.startswith("tests/golden/torch/refused_") for name in UNREAD) == 10


@pytest.mark.parametrize("name", checkpoints())
def test_committed_checkpoints(name: str) -> None:
    """What is read of them is written, but for those above, and both runtimes answer as the reference."""
    if name in UNREAD:
        with pytest.raises(CheckpointError, match=UNREAD[name]):
            checkpoint(name)
        return
    model = checkpoint(name)
    assert isinstance(model, Tfl8Model) == (name in INTEGERS)
    if name in INTEGERS:
        return
    xs = draw(model, 2, model.meta.window or 12, np.random.default_rng(0))
    steps = max((x.shape[1] for x in xs if x.ndim == 3), default=1)
    if name in REFUSED:
        with pytest.raises(ExportError, match=REFUSED[name]):
            tflite.build(model, steps=steps)
        return
    expected, file = reference.run(model, xs), tflite.build(model, steps=steps)
    for runtime, resolver in zip(RUNTIMES, ("default", "reference"), strict=False):
        found = peers.run_tflite(file, xs, runtime, resolver=resolver, as_read=False).ys
        assert errors(expected, found) <= LIMIT, (runtime, resolver)


# ---- int8 ----


INT8 = {name: model for name, model in MODELS.items() if not tflite.refusals(model, "int8", STEPS)}
LEAST = 32  # dB of each, on the samples that chose the ranges


def int8(name: str, steps: int = STEPS) -> bytes:
    xs = data(INT8[name], 3)
    return tflite.build(INT8[name], "int8", xs[0] if len(xs) == 1 else tuple(xs), steps=steps)


def decibels(expected: Any, found: Any) -> float:
    """The least of all outputs."""
    assert [y.shape for y in found] == [y.shape for y in expected]
    pairs = zip(expected, found, strict=True)
    return min(float(10 * np.log10(np.square(y).mean() / np.square(y - z).mean())) for y, z in pairs)


@pytest.mark.parametrize("name", INT8)
def test_int8(name: str) -> None:
    """Near the float model; what tfl8 reads of it is the runtimes' answer byte for byte; a file of one step streams."""
    model, file = INT8[name], int8(name)
    xs = data(model, 3)
    expected = reference.run(model, xs)
    try:
        again = importer.reading(file, "").model
    except CheckpointError as error:
        assert "no layer does" in str(error) or (name == "constant" and "a constant where" in str(error))
        again = None
    streams = streamed(model) and not tflite.refusals(model, "int8", 1) and "behind" not in name
    for runtime, resolver in WAYS:
        found = peers.run_tflite(file, xs, runtime, resolver=resolver, as_read=False)
        assert found.integer and decibels(expected, found.ys) > LEAST, (runtime, resolver)
        if isinstance(again, Tfl8Model):
            way = ARITHMETIC[runtime, resolver, platform.machine()]
            given = [x.astype(np.int32) if again.tensor(k).type != "f32" else x for k, x in zip(again.inputs, xs)]
            for y, z in zip(reference_tfl8.run(variant(again, **way), given), found.ys, strict=True):
                assert np.array_equal(y.reshape(z.shape) if y.ndim != 3 or "transpose" not in name
                                      else y.transpose(0, 2, 1), z), (runtime, resolver)  # fmt: skip
        if streams:
            stepped = peers.run_tflite(int8(name, 1), xs, runtime, resolver=resolver, as_read=False).ys
            assert all(np.array_equal(y, z) for y, z in zip(stepped, found.ys, strict=True)), (runtime, resolver)


@pytest.mark.filterwarnings("ignore")
def test_an_lstm_that_pytorch_exports_to_onnx_is_the_operator_in_int8(tmp_path: Path) -> None:
    """Its exporter names h and c of the last step, whoever reads them."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = torch.nn.LSTM(3, 6, 2, batch_first=True), torch.nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.cells(x)[0])

    torch.manual_seed(0)
    given, dynamic = torch.randn(4, STEPS, 3), {"x": {0: "N", 1: "T"}, "y": {0: "N", 1: "T"}}
    torch.onnx.export(
        Net().eval(), given, str(tmp_path / "m.onnx"), dynamo=False, input_names=["x"], output_names=["y"],
        dynamic_axes=dynamic,
    )  # fmt: skip
    np.save(tmp_path / "X.npy", given.numpy())
    for kind, more in (("int8", ("--samples", tmp_path / "X.npy")), ("float", ())):
        said = export(tmp_path / "m.onnx", "-o", tmp_path / "m.tflite", "--kind", kind, "--steps", STEPS, *more)
        assert "file run by tflite-runtime" in said
        written = operators((tmp_path / "m.tflite").read_bytes())
        assert written.count("UNIDIRECTIONAL_SEQUENCE_LSTM") == 2 and "WHILE" not in written


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_swapped_gates_and_forgotten_states_are_seen(runtime: str) -> None:
    model = CELLS["gru"]
    xs = data(model)
    expected = reference.run(model, xs)
    wrong = net(gru())
    found = peers.run_tflite(tflite.build(wrong, steps=STEPS), xs, runtime, as_read=False).ys
    assert errors(expected, found) > 1000 * LIMIT
    file = tflite.build(model, steps=1)
    each = [peers.run_tflite(file, [xs[0][:, t : t + 1]], runtime, as_read=False).ys[0] for t in range(STEPS)]
    assert errors(expected, [np.concatenate(each, axis=1)]) > 1000 * LIMIT


# ---- the command ----


def operators(file: bytes) -> list[str]:
    return [operator.op for graph in parse(file).subgraphs for operator in graph.operators]


def export(*arguments: Any) -> str:
    result = CliRunner().invoke(main, ["export-tflite", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output + result.stderr
    return result.stdout


def test_the_command_runs_what_it_writes(tmp_path: Path) -> None:
    source, target = tmp_path / "m.tflite", tmp_path / "w.tflite"
    source.write_bytes(tflite.build(CELLS["lstm stacked"], steps=STEPS))
    np.save(tmp_path / "X.npy", data(CELLS["lstm stacked"], 4, STEPS)[0])
    for kind, said in (("float", "largest error"), ("dynamic", "dB"), ("int8", "on the samples: ")):
        more = ("--samples", tmp_path / "X.npy") if kind == "int8" else ()
        lines = export(source, "-o", target, "--kind", kind, *more).splitlines()
        assert lines[1].startswith("reading proven: ") and lines[2].startswith("file run by tflite-runtime")
        assert said in lines[2]
    assert importers.read(target)


def test_int8_that_is_far_from_the_model_is_warned_of(tmp_path: Path) -> None:
    source, target = tmp_path / "m.tflite", tmp_path / "w.tflite"
    source.write_bytes(tflite.build(CELLS["lstm"], steps=STEPS))
    xs = data(CELLS["lstm"], SEQUENCES + 1, STEPS)[0]
    xs[-1] *= 1000  # the ranges cover it
    np.save(tmp_path / "X.npy", xs)
    said = export(source, "-o", target, "--kind", "int8", "--samples", tmp_path / "X.npy")
    assert "warning: the file reaches " in said and "sound conversions 20 or more" in said
    np.save(tmp_path / "X.npy", xs[:-1])
    assert "warning" not in export(source, "-o", target, "--kind", "int8", "--samples", tmp_path / "X.npy")


@pytest.mark.parametrize("as_read", [True, False])
def test_a_loop_is_not_resized(as_read: bool) -> None:
    """It would stop at the file's steps, and answer for a part of the sequence without a word."""
    file = tflite.build(CELLS["gru"], steps=STEPS)
    with pytest.raises(InputError, match="it takes sequences of 8, the data have 11"):
        peers.run_tflite(file, data(CELLS["gru"], steps=11), as_read=as_read)


def test_a_file_that_answers_otherwise_is_not_written() -> None:
    file = tflite.build(net(gru()), steps=STEPS)
    with pytest.raises(ExportError, match="answers otherwise than the model"):
        beside(CELLS["gru"], file, STEPS)


# ---- TFLite Micro ----

MICRO_LACKS = {
    name
    for name in MODELS
    # its LSTM has four gates and nothing else; REDUCE_ANY, UNIDIRECTIONAL_SEQUENCE_RNN and GELU it has not
    if name.startswith(("lstm peepholes", "lstm projection", "lstm coupled", "lstm norm", "lstm all"))
    or "mask" in name
    or "gelu" in name
    or name in ("rnn", "rnn relu")
    or name.endswith("that count")
} - {"lstm coupled, in a loop"}


@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed")
@pytest.mark.parametrize("name", MODELS)
def test_micro(name: str) -> None:
    model = MODELS[name]
    xs = data(model, 1)
    if name in MICRO_LACKS:
        with pytest.raises(RuntimeError, match="TFLM"):
            micro(tflite.build(model, steps=STEPS), xs, len(model.outputs), 1)
        return
    expected = reference.run(model, xs)
    assert errors(expected, micro(tflite.build(model, steps=STEPS), xs, len(expected), 1)) <= LIMIT
    if name in INT8 and name != "lstm coupled":
        first = [x[:1] for x in data(model, 3)]
        whole = micro(int8(name), first, len(expected), 1)
        assert decibels(reference.run(model, first), whole) > LEAST
        if streamed(model) and not tflite.refusals(model, "int8", 1) and "behind" not in name:
            stepped = micro(int8(name, 1), first, len(expected), STEPS)
            assert all(np.array_equal(y, z) for y, z in zip(stepped, whole, strict=True))
    if name in STREAMED and "behind" not in name:
        assert errors(expected, micro(tflite.build(model, steps=1), xs, len(expected), STEPS)) <= LIMIT
