"""Checkpoints whose framework computed in other number types: read exactly, and proven in float32."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import importers
from edgelstm.errors import CheckpointError
from edgelstm.proof import prove

POLICIES = {
    "mixed_float16": "float16",
    "float16": "float16",
    "mixed_bfloat16": "bfloat16",
    "bfloat16": "bfloat16",
    "float64": "float64",
}


@contextmanager
def policy_of(keras: Any, policy: str) -> Iterator[None]:
    """All layers made inside have this policy."""
    put = keras.config.set_dtype_policy if keras.__name__ == "keras" else keras.mixed_precision.set_global_policy
    put(policy)
    try:
        yield
    finally:
        put("float32")


def untold(name: str, ending: str) -> bool:
    """Whether Keras writes bfloat16 so that it cannot load it again."""
    return (name, ending) != ("keras", ".keras")


def mixture(keras: Any) -> Any:
    """Wrappers, cells, a head in float32 as Keras' guide to mixed precision has it, and layers of one type that read
    what another wrote, between which Keras casts."""
    layers, random = keras.layers, {"recurrent_initializer": "glorot_uniform"}  # orthogonal ones need a finer type
    x = keras.Input((8, 3))
    y = layers.Bidirectional(layers.LSTM(2, return_sequences=True, **random))(x)
    y = y + layers.GRU(4, return_sequences=True, **random)(layers.Masking()(x)) * 2.0
    y = layers.TimeDistributed(layers.Dense(3, "relu"))(layers.BatchNormalization()(layers.Concatenate()([y, x])))
    cast = keras.ops.cast if keras.__name__ == "keras" else importlib.import_module("tensorflow").cast
    y = cast(layers.RNN(layers.GRUCell(3, **random))(y) / 3.0, "float32")
    return keras.Model(x, layers.Activation("softmax", dtype="float32")(y))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_policies(tmp_path: Path, name: str, policy: str) -> None:
    keras = pytest.importorskip(name)
    with policy_of(keras, policy):
        model = mixture(keras)
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 0.9, np.shape(w)).astype(np.asarray(w).dtype) for w in model.get_weights()])
    for ending in (".keras", ".h5"):
        path = tmp_path / f"m{ending}"
        model.save(path)
        if policy == "bfloat16" and untold(name, ending):
            with pytest.raises(CheckpointError, match="holds two bytes a number and not of which kind"):
                importers.read(path)
            continue
        read = importers.read(path)
        (said,) = [note for note in read.notes if "policy" in note]
        assert (
            f"policy {policy} Keras computes" in said and f"in {POLICIES[policy]}; EdgeLSTM computes in float32" in said
        )
        if ending == ".h5" and policy not in ("mixed_float16", "float64"):
            continue
        found = prove(read, path)
        assert found.peer == f"{name} {keras.__version__} in float32" and found.error < 1e-6, str(found)


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_weights_are_read_to_the_last_bit(tmp_path: Path, name: str, policy: str) -> None:
    """As float32; float64 rounded to it once."""
    keras = pytest.importorskip(name)
    with policy_of(keras, policy):
        model = keras.Sequential([keras.Input((8, 3)), keras.layers.Dense(5)])
    model.set_weights([np.random.default_rng(0).normal(size=w.shape).astype(w.dtype) for w in model.get_weights()])
    kernel, bias = (w.astype(np.float32) for w in model.get_weights())
    for ending in (".keras", ".h5"):
        path = tmp_path / f"m{ending}"
        model.save(path)
        if policy == "bfloat16" and untold(name, ending):
            continue
        (dense,) = importers.read(path).layers
        np.testing.assert_array_equal(dense.kernel, kernel.T)
        np.testing.assert_array_equal(dense.bias, bias)


def test_numbers_are_not_cast_to_whole_ones(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    x = keras.Input((8, 3))
    cast = keras.ops.cast(keras.ops.cast(keras.layers.LSTM(4)(x), "int32"), "float32")
    keras.Model(x, cast).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match="'int32': only numbers are cast, to one of float32"):
        importers.read(tmp_path / "m.keras")


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_modules(kind: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = torch.nn.LSTM(3, 4, 2, batch_first=True), torch.nn.Linear(4, 2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.out(self.rnn(x)[0][:, -1])

    module = Net().to(getattr(torch, kind))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = importers.read(module)
    assert any(f"stored as {kind} became float32" in note for note in model.notes)
    found = prove(model, module)
    assert found.peer == f"torch {torch.__version__} in float32" and found.error < 1e-6, str(found)
    for name, value in module.state_dict().items():
        assert value.dtype == getattr(torch, kind) and torch.equal(value, before[name])
    weights = model.layers[0].kernel.reshape(-1, 3)
    np.testing.assert_array_equal(weights, before["rnn.weight_ih_l0"].float().numpy())


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_programs(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).to(getattr(torch, kind)).eval()
    path = tmp_path / "m.pt"
    torch.jit.trace(module, torch.zeros(1, 5, 3, dtype=getattr(torch, kind))).save(path)
    found = prove(importers.read(path, trust=True), path, trust=True)
    assert found.peer == f"torch {torch.__version__} in float32" and found.error < 1e-6, str(found)
