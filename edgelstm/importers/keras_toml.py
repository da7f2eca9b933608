"""The TOML file that describes a row of Keras layers to a file of weights alone; docs/keras.md describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CheckpointError, InputError
from ..toml import load, nothing_left, take
from .keras_layers import LAYERS
from .keras_spec import OPERATIONS, snake_case

INSIDE = ("layer", "backward_layer", "cell")
"""Settings that are a layer themselves."""

CLASSES = (
    *(name for name in LAYERS if not name.startswith(OPERATIONS)), "TimeDistributed", "LSTMCell", "GRUCell",
    "SimpleRNNCell", "StackedRNNCells",
)  # fmt: skip
KINDS = {**{snake_case(name): name for name in CLASSES}, **{name: name for name in CLASSES}}
"""Names of layers as the file spells them, and Keras' classes."""


def read(path: Path) -> dict[str, Any]:
    """The configuration of a Sequential model that an architecture file describes."""
    try:
        found = load(path)
    except InputError as error:
        reason = str(error).replace("\n", " ")[:200]
        raise CheckpointError(f"{path.name!r} is neither a model's configuration in JSON nor TOML: {reason}") from None
    try:
        version = take(found, "keras", str, "the file")
        shape = take(found, "input", list, "the file", required=True)
        tables = take(found, "layers", list, "the file", required=True)
        nothing_left(found, "the file")
        layers = [_input(shape), *(_layer(table, f"layer {n}", n) for n, table in enumerate(tables, 1))]
    except InputError as error:
        raise CheckpointError(f"{path.name!r}: {error}") from None
    model = {"name": "architecture", "layers": layers}
    described: dict[str, Any] = {"class_name": "Sequential", "config": model}
    return described if version is None else {**described, "keras_version": version}


def _input(shape: list[Any]) -> dict[str, Any]:
    if not shape or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
        raise InputError(f"input is {shape!r}, expected whole numbers: steps (0 for any) and values")
    declared = [None, *(n or None for n in shape)]
    return {"class_name": "InputLayer", "config": {"name": "input", "batch_shape": declared}}


def _layer(table: Any, where: str, number: int) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError(f"{where} is no table of settings")
    kind = take(table, "kind", str, where, required=True)
    if kind not in KINDS:
        raise InputError(f"{where}: unknown kind {kind[:40]!r}; known: {', '.join(sorted(CLASSES))}")
    config: dict[str, Any] = {"name": f"{snake_case(KINDS[kind])}_{number}", "trainable": True, **table}
    for key in INSIDE:
        if key in table:
            config[key] = _layer(dict(table[key]) if isinstance(table[key], dict) else None, f"{where}: {key}", number)
    if "cells" in table:
        cells = table["cells"] if isinstance(table["cells"], list) else [None]
        config["cells"] = [_layer(cell, f"{where}: cell {n}", n) for n, cell in enumerate(cells, 1)]
    return {"class_name": KINDS[kind], "config": config}
