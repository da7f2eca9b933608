"""The TOML file with what a checkpoint does not say of its numbers: scalers, units, labels, window and hop."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError, ModelError
from .model import Array, Meta, Model, Port, Scaler
from .toml import load, nothing_left, take


def describe(model: Model, path: str | os.PathLike[str]) -> Model:
    """The model with the meta file's contents; docs/meta.md describes the file. InputError says what is wrong."""
    file = Path(path)
    try:
        return replace(model, meta=_meta(load(file), model))
    except (InputError, ModelError) as error:
        raise InputError(f"{file.name}: {error}") from None


def _meta(table: dict[str, Any], model: Model) -> Meta:
    window, hop = take(table, "window", int, "the file"), take(table, "hop", int, "the file")
    inputs = _ports(take(table, "inputs", list, "the file"), model.inputs, model, "input")
    outputs = _ports(take(table, "outputs", list, "the file"), model.outputs, model, "output")
    nothing_left(table, "the file")
    return Meta(inputs, outputs, window, hop)


def _ports(tables: list[Any] | None, names: tuple[str, ...], model: Model, what: str) -> tuple[Port, ...]:
    if tables is None:
        return ()
    if len(tables) != len(names):
        raise InputError(f"{len(tables)} [[{what}s]] tables, the model has {len(names)} {what}s")
    return tuple(
        _port(table, model.width(name), f"{what} {number}")
        for number, (table, name) in enumerate(zip(tables, names, strict=True), 1)
    )


def _port(table: Any, width: int, where: str) -> Port:
    if not isinstance(table, dict):
        raise InputError(f"{where} is not a table")
    channels, units, labels = (
        _texts(take(table, key, list, where), width, f"{where}: {key}") for key in ("channels", "units", "labels")
    )
    scaler = take(table, "scaler", dict, where)
    nothing_left(table, where)
    return Port(channels, units, labels, None if scaler is None else _scaler(scaler, width, f"{where}: scaler"))


def _texts(values: list[Any] | None, width: int, where: str) -> tuple[str, ...]:
    if values is None:
        return ()
    if not all(isinstance(value, str) for value in values) or len(values) != width:
        raise InputError(f"{where} is not a list of {width} texts")
    return tuple(values)


def _scaler(table: dict[str, Any], width: int, where: str) -> Scaler:
    """Three spellings of model = raw * scale + offset; they are worked out in float64 and rounded once."""
    keys = set(table)
    numbers = {key: _numbers(table.pop(key), 2 if key == "range" else width, f"{where} {key}") for key in list(table)}
    if keys in ({"min", "max"}, {"min", "max", "range"}):
        low, high = numbers.get("range", np.array([0.0, 1.0]))
        reach = numbers["max"] - numbers["min"]
        if not (reach > 0).all() or not high > low:
            raise InputError(f"{where}: max must lie above min")
        scale = (high - low) / reach
        return Scaler(scale, low - numbers["min"] * scale)
    if keys == {"mean", "deviation"}:
        if not (numbers["deviation"] > 0).all():
            raise InputError(f"{where}: a deviation is not positive")
        return Scaler(1 / numbers["deviation"], -numbers["mean"] / numbers["deviation"])
    if keys == {"scale", "offset"}:
        return Scaler(numbers["scale"], numbers["offset"])
    raise InputError(
        f"{where} has the keys {', '.join(sorted(keys)) or '(none)'}; expected min and max (and range), "
        "mean and deviation, or scale and offset"
    )


def _numbers(value: Any, width: int, where: str) -> Array:
    """A number for all values, or a list with one for each."""
    values = value if isinstance(value, list) else [value] * (width if not where.endswith("range") else 1)
    if len(values) != width or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise InputError(f"{where} is not a list of {width} numbers")
    try:
        array = np.array(values, np.float64)
    except OverflowError:
        raise InputError(f"{where} holds a number too large") from None
    if not np.isfinite(array).all():
        raise InputError(f"{where} holds NaN or infinity")
    return array
