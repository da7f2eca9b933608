"""Conversions proven by the frameworks that wrote the checkpoints."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import importers
from edgelstm.errors import CheckpointError
from edgelstm.proof import prove

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"

UNPROVEN = {  # no Keras that pip has today runs them on a CPU
    "keras23_cudnn.h5": "CudnnRNN",
    "tf212_sequence.keras": "expected 3 variables",
    "tf212_siamese.keras": "cannot be imported",
    "tf212_stack.keras": "expected 3 variables",
}


@pytest.mark.parametrize("name", sorted(p.name for p in GOLDEN.iterdir() if p.suffix in (".keras", ".h5")))
def test_golden_checkpoints(name: str) -> None:
    pytest.importorskip("keras")
    pytest.importorskip("tf_keras")
    found = prove(importers.read(GOLDEN / name), GOLDEN / name)
    if name.startswith("keras1_"):
        assert not found.peer and "units" in found.reason
    elif name in UNPROVEN:
        assert not found.peer and UNPROVEN[name] in found.reason
    else:
        assert found.peer.split()[0] in ("keras", "tf_keras") and 0 < found.error < 1e-6


def test_live_modules() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for module in (torch.nn.LSTM(3, 5, num_layers=2, batch_first=True), torch.nn.Linear(4, 2)):
        found = prove(importers.read(module), module)
        assert found.peer == f"torch {torch.__version__}" and found.error < 1e-6


def test_modules_that_read_steps_first_or_words() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Words(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.table, self.rnn, self.out = nn.Embedding(9, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.out(self.rnn(self.table(x))[0][:, -1])

    torch.manual_seed(0)
    for module in (nn.LSTM(3, 5), nn.GRU(3, 5, batch_first=True), Words()):
        found = prove(importers.read(module), module)
        assert found.peer.startswith("torch") and found.error < 1e-6


def test_a_program_proves_itself_where_it_is_trusted(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).eval()
    path = tmp_path / "m.pt"
    torch.jit.trace(module, torch.zeros(1, 5, 3)).save(path)
    assert prove(importers.read(path, trust=True), path, trust=True).peer.startswith("torch")


def test_a_wrong_reading_is_refused(tmp_path: Path) -> None:
    """Another checkpoint of the same shape stands for a reader that swaps something."""
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((8, 2)), keras.layers.LSTM(4), keras.layers.Dense(3)])
    model.save(tmp_path / "a.keras")
    read = importers.read(tmp_path / "a.keras")
    model.set_weights([w + np.float32(0.01) for w in model.get_weights()])
    model.save(tmp_path / "b.keras")
    with pytest.raises(CheckpointError, match="does not answer as keras 3"):
        prove(read, tmp_path / "b.keras")


def test_a_fixed_batch_and_state_between_calls(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    lstm = keras.layers.LSTM(4, stateful=True)
    keras.Sequential([keras.Input(batch_shape=(4, 8, 2)), lstm, keras.layers.Dense(3)]).save(tmp_path / "m.keras")
    assert prove(importers.read(tmp_path / "m.keras"), tmp_path / "m.keras").peer.startswith("keras 3")


@pytest.mark.parametrize("name", ["fixed.keras", "fixed.h5", "free.keras"])
def test_an_encoder_gives_a_decoder_its_state(tmp_path: Path, name: str) -> None:
    keras = pytest.importorskip("keras")
    steps = (7, 4) if "fixed" in name else (None, None)
    encoder, decoder = keras.Input((steps[0], 3)), keras.Input((steps[1], 2))
    state = keras.layers.LSTM(5, return_state=True)(encoder)[1:]
    y = keras.layers.LSTM(5, return_sequences=True)(decoder, initial_state=state)
    keras.Model([encoder, decoder], keras.layers.Dense(2)(y)).save(tmp_path / name)
    found = prove(importers.read(tmp_path / name), tmp_path / name)
    assert found.peer.startswith("keras 3") and found.error < 1e-6, str(found)


@pytest.mark.parametrize("steps", [(7, 4), (7, "decoded"), ("encoded", "decoded")])
def test_onnx_inputs_have_the_steps_their_file_fixes(tmp_path: Path, steps: tuple[int | str, int | str]) -> None:
    pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    random = np.random.default_rng(0)
    shapes = {"W": (1, 16, 3), "R": (1, 16, 4), "W2": (1, 16, 2), "R2": (1, 16, 4)}
    constants = [
        helper.make_tensor(name, 1, shape, random.normal(size=shape).astype(np.float32).ravel())
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("LSTM", ["a", "W", "R"], ["", "h", "c"], hidden_size=4),
        helper.make_node("LSTM", ["b", "W2", "R2", "", "", "h", "c"], ["y"], hidden_size=4),
    ]
    ports = [
        helper.make_tensor_value_info(name, 1, [count, "batch", width])
        for name, count, width in zip("ab", steps, (3, 2), strict=True)
    ]
    graph = helper.make_graph(nodes, "g", ports, [helper.make_tensor_value_info("y", 1, None)], constants)
    path = tmp_path / "m.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    found = prove(importers.read(path), path)
    assert found.peer.startswith("onnxruntime") and found.error < 1e-6, str(found)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("free", [True, False])
def test_an_exported_program_proves_itself_where_it_is_trusted(tmp_path: Path, batch_first: bool, free: bool) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.GRU(3, 4, batch_first=batch_first).eval()
    x = torch.zeros((2, 9, 3) if batch_first else (9, 2, 3))
    axis = 0 if batch_first else 1
    if not free:
        x = x[:1] if batch_first else x[:, :1]
    shapes = ({axis: torch.export.Dim("batch")},) if free else None
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(module, (x,), dynamic_shapes=shapes), path)
    example = None if batch_first else x.numpy()
    model = importers.read(path, example=example, trust=True)
    found = prove(model, path, trust=True)
    assert found.peer.startswith("torch") and found.error < 1e-6, str(found)
    assert "a torch.export file is a program" in prove(model, path).reason


def test_the_state_beside_the_answers_is_left_out_and_said_so() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, both: bool) -> None:
            super().__init__()
            self.rnn, self.both = torch.nn.GRU(3, 4, batch_first=True), both

        def forward(self, x):  # type: ignore[no-untyped-def]
            y, h = self.rnn(x)
            return (y, h[0]) if self.both else (y, (h,))

    for module in (torch.nn.LSTM(3, 4, batch_first=True), torch.nn.GRU(3, 4), Net(False)):
        model = importers.read(module)
        assert any(note.startswith("left out: the state") for note in model.notes)
        assert "the state it returns beside them is no part of the model" in str(prove(model, module))
    module = Net(True)
    model = importers.read(module)
    assert len(model.outputs) == 2 and not any(note.startswith("left out") for note in model.notes)
    assert "beside" not in str(prove(model, module))


def test_all_answers_are_compared() -> None:
    """A model that lacks one of the module's answers is no reading of it."""
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.LSTM(3, 4, batch_first=True), torch.nn.Linear(4, 2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            y = self.a(x)[0]
            return y, self.b(y)

    module = Two()
    model = importers.read(module)
    assert "beside" not in str(prove(model, module))
    with pytest.raises(CheckpointError, match="gives answers of shape"):
        prove(replace(model, outputs=model.outputs[:1]), module)
