"""Checkpoints in their own framework: sound ones answer as the file does, hostile ones run nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import importers, peers, reference, validate
from edgelstm.errors import CheckpointError, PeerError

GOLDEN = Path(__file__).parents[1] / "golden"
X = np.zeros((2, 6, 3), np.float32)


@pytest.mark.parametrize(
    "name",
    [
        "keras23_siamese_weights.h5",
        "tf115_stack.h5",
        "tfkeras_siamese.keras",
        "keras315_siamese.h5",
        "keras315_relu.keras",
        "keras315_siamese_weights.weights.h5",
        "../keras_layers/keras315_states.keras",
        "../keras_layers/keras315_joined.keras",
        "../keras_layers/keras22_masked.h5",
    ],
)
def test_bare_checkpoints_answer_as_they_did(name: str) -> None:
    """What is taken out of a configuration before Keras gets it changes no answer."""
    pytest.importorskip("tf_keras")
    path = GOLDEN / "keras" / name
    model = importers.read(path)
    random = np.random.default_rng(0)
    single = {t.name for t in model.tensors if t.single}
    steps = (model.meta.window or 6,)
    xs = [
        random.normal(size=(3, *(() if i in single else steps), model.width(i))).astype(np.float32)
        for i in model.inputs
    ]
    for y, want in zip(peers.run_keras(path, xs).ys, reference.run(model, xs), strict=True):
        assert np.abs(y - want).max() < 5e-6


def planting(keras: Any, path: Path, target: Path) -> None:
    """Saves a model whose Lambda layer writes a file when it runs."""
    source = f"lambda x: (open({str(target)!r}, 'w').close(), x)[1]"
    layers = [keras.layers.Input((6, 3)), keras.layers.LSTM(2), keras.layers.Lambda(eval(source))]
    keras.Sequential(layers).save(path)
    target.unlink()  # building it has run it


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("module", "name"), [("tf_keras", "m.h5"), ("keras", "m.keras"), ("keras", "m.h5")])
def test_a_lambda_runs_only_if_trusted(module: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip(module)
    path, target = tmp_path / name, tmp_path / "written"
    planting(keras, path, target)
    with pytest.raises(CheckpointError, match=r"'Lambda' layers are not supported.*trust=True"):
        validate(importers.read(GOLDEN / "keras" / "keras315_stack.keras"), path, X[..., :2])
    with pytest.raises(CheckpointError, match="trust=True"):
        peers.run_keras(path, [X])
    assert not target.exists()
    peers.run_keras(path, [X], trust=True)
    assert target.exists()


def test_a_script_runs_only_if_trusted(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    torch.jit.script(torch.nn.Linear(3, 2)).save(path)
    with pytest.raises(CheckpointError, match="trust=True"):
        peers.run_torch(path, [X])
    assert peers.run_torch(path, [X], trust=True).ys[0].shape == (2, 6, 2)
    torch.save(torch.nn.Linear(3, 2).state_dict(), path)
    with pytest.raises(PeerError, match="no code to run"):
        peers.run_torch(path, [X], trust=True)
