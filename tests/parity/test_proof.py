"""Conversions proven by the frameworks that wrote the checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import importers
from edgelstm.errors import CheckpointError
from edgelstm.proof import prove

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"

UNPROVEN = {  # no Keras that pip has today runs them
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
