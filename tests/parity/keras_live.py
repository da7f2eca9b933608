"""Live Keras models with random weights, saved, read, and compared output by output."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0")

from edgelstm import importers, reference

COUNT, STEPS, INPUTS = 3, 6, 3
TOLERANCE = 5e-6  # of max(1, max|y|)

Layers = dict[str, Callable[[Any], Any]]


def randomise(model: Any, random: np.random.Generator, span: float = 0.6) -> None:
    """Gives all weights other values, the variances positive ones."""
    values = []
    for weight in model.weights:
        old = np.asarray(weight)
        path = getattr(weight, "path", weight.name).split(":")[0]
        low = 0.3 if "variance" in path else -span
        new = random.uniform(low, span + 0.4 * (low > 0), old.shape).astype(np.float32)
        adapted = path.split("/")[-1] in ("mean", "variance", "count")  # of a Normalization, which keeps copies
        values.append(old if adapted else new)
    model.set_weights(values)


def save_whole(model: Any, path: Path) -> None:
    model.save(path)


def save_beside(model: Any, path: Path) -> None:
    """Weights alone, and the configuration beside them."""
    model.save_weights(path)
    (path.parent / "config.json").write_text(model.to_json())


def inputs_of(model: Any, random: np.random.Generator, steps: int = STEPS) -> list[np.ndarray]:
    """Random arrays for a model's inputs; whole numbers where an input is called ids, some zeros in masked ones."""
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    names = [getattr(i, "name", "").split(":")[0] for i in model.inputs]
    xs = []
    for shape, name in zip(shapes, names, strict=True):
        full = (COUNT, *(steps if n is None else n for n in shape[1:]))
        if name.startswith("ids"):
            x = random.integers(0, 5, full)
        else:
            x = random.uniform(-1.5, 1.5, full)
        if name.startswith("masked"):
            x[0, -2:] = 0  # right-padded, left-padded, with a gap
            x[1, :2] = 0
            x[2, [1, 3]] = 0
        xs.append(x.astype(np.float32))
    return xs


def compare(
    model: Any,
    path: Path,
    names: Sequence[str],
    seed: int,
    save: Callable[[Any, Path], None] = save_whole,
    span: float = 0.6,
    xs: Sequence[np.ndarray] | None = None,
    weights: bool = True,
) -> Any:
    """Compares every output with Keras' predict; the model read."""
    random = np.random.default_rng(seed)
    if weights:
        randomise(model, random, span)
    xs = inputs_of(model, random) if xs is None else xs
    expected = model.predict(xs if len(xs) > 1 else xs[0], verbose=0, batch_size=len(xs[0]))
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    save(model, path)
    read = importers.read(path)
    ys = reference.run(read, [rows(read, name, x) for name, x in zip(read.inputs, xs, strict=True)])
    assert len(ys) == len(expected) == len(names)
    wrong = []
    for name, y, want in zip(names, ys, expected, strict=True):
        assert y.size == want.size and y.shape[:2] == want.shape[:2], (name, seed, y.shape, want.shape)
        assert np.isfinite(want).all(), (name, seed)
        error = np.abs(y.reshape(want.shape) - want).max() / max(1.0, np.abs(want).max())
        if not error <= TOLERANCE:
            wrong.append(f"{name}: {error:.3g}")
    assert not wrong, f"at seed {seed}: {'; '.join(wrong)}"
    return read


def rows(model: Any, name: str, x: np.ndarray) -> np.ndarray:
    """Keras' array as an input of the model takes it: one row a step, or one a run."""
    tensor = next(t for t in model.tensors if t.name == name)
    return x.reshape(len(x), tensor.width) if tensor.single else x.reshape(len(x), -1, tensor.width)


def heads(
    keras: Any, layers: Layers, shape: Sequence[int | None] = (STEPS, INPUTS), name: str = "x"
) -> tuple[Any, list[str]]:
    """A functional model with one output per option."""
    x = keras.Input(tuple(shape), name=name)
    return keras.Model(x, [make(x) for make in layers.values()]), list(layers)
