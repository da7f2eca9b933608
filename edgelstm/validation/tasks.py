"""What answers are worth by their labels: accuracy and cross-entropy of classes, errors of numbers in their unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import arrays
from ..errors import InputError
from ..meta import Port
from ..model import Array
from ..report import REFERENCE, Task
from ..runner import Runner
from .data import is_path
from .variants import Arrays

TASKS = ("classes", "numbers")
"""What labels may be."""

_LEAST = 1e-12  # a probability in a logarithm


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The labels of one output, as its answers are compared with them."""

    output: int
    name: str
    task: str  # of TASKS
    values: Array  # of classes int64 [...]; of numbers float64, as the answers
    port: Port  # its scaler and units
    scaled: bool  # the numbers are the model's, not in the sensor's unit
    outright: str  # how answers are probabilities: "are", "logarithms" or "softmax"; of numbers ""


def read(labels: Any, subject: Runner, expected: Arrays, task: str | None, raw: bool, notes: list[str]) -> list[Labels]:
    """Labels from a file or arrays, fitted to the reference's answers.

    For a model of several outputs a .npz by name, a mapping or a tuple in their order. raw: numbers are in the sensor's
    unit, not scaled as for training. InputError where it cannot be told what they are.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    names, meta = subject.description.output_names, subject.meta
    fitted = []
    for k, values in sorted(_by_output(labels, names).items()):
        port = meta.outputs[k] if meta.outputs else Port()
        fitted.append(_fitted(k, names[k], np.asarray(values), expected[k], port, task, raw, notes))
    if not fitted:
        raise InputError("no labels given")
    return fitted


def _by_output(labels: Any, names: tuple[str, ...]) -> dict[int, Any]:
    if is_path(labels):
        labels = _of_file(Path(labels), names)
    if isinstance(labels, Mapping):
        if unknown := [name for name in labels if name not in names]:
            raise InputError(f"labels of {unknown[0]!r}; the model's outputs are {', '.join(names)}")
        return {names.index(name): values for name, values in labels.items()}
    parts = labels if isinstance(labels, tuple) else (labels,)
    if len(parts) != len(names):
        raise InputError(f"labels of {len(parts)} outputs, the model has {len(names)}: {', '.join(names)}")
    return dict(enumerate(parts))


def _of_file(path: Path, names: tuple[str, ...]) -> Any:
    """A .npy of the one output, or a .npz of those that have labels."""
    if len(names) == 1:
        return arrays.load(path, names)
    given = tuple(name for name in names if name in arrays.names(path))
    if not given:
        raise InputError(f"{path}: labels of none of the outputs {', '.join(names)}")
    loaded = arrays.load(path, given)
    return dict(zip(given, loaded if len(given) > 1 else (loaded,), strict=True))


def _fitted(
    k: int, name: str, values: Array, answers: Array, port: Port, task: str | None, raw: bool, notes: list[str]
) -> Labels:
    if values.dtype.kind not in "fiub":
        raise InputError(f"labels of {name} are of type {values.dtype}, expected numbers")
    if not np.isfinite(values.astype(np.float64)).all():
        raise InputError(f"labels of {name} hold NaN or infinite values; leave out the sequences without labels")
    if values.ndim + 1 == answers.ndim - 1 and len(answers) == 1 and values.shape == answers.shape[1:-1]:
        values = values[None]  # of one sequence
    width = answers.shape[-1]
    whole = bool((values == np.rint(values)).all())
    alike = values.shape == answers.shape
    of_rows = values.shape == answers.shape[:-1] or (width > 1 and values.shape == (*answers.shape[:-1], 1))
    if not alike and not of_rows:
        shapes = f"{answers.shape[:-1]} for classes, {answers.shape} for numbers or one-hot classes"
        raise InputError(f"labels of {name} have shape {values.shape}, expected {shapes}")
    if width == 1:
        values = values.reshape(answers.shape)
        classes = _is_binary(values) and answers.min() >= 0 and answers.max() <= 1
    else:
        classes = _is_one_hot(values) if alike else whole
    found = task or ("classes" if classes else "numbers")
    if found == "numbers":
        if not values.shape == answers.shape:
            raise InputError(
                f"labels of {name} have shape {values.shape}, and numbers need {answers.shape}; class numbers must be "
                "whole ones"
            )
        return Labels(k, name, found, values.astype(np.float64), port, not raw, "")
    return Labels(k, name, found, _classes(name, values, width), port, False, _outright(name, answers, notes))


def _classes(name: str, values: Array, width: int) -> Array:
    """Class numbers, int64 [...]."""
    if width == 1:
        if not _is_binary(values):
            raise InputError(f"labels of {name} for one value of two classes must be 0 and 1")
        return values[..., 0].astype(np.int64)
    if values.shape[-1:] == (width,) and _is_one_hot(values):
        classes: Array = values.argmax(-1)
        return classes
    values = values[..., 0] if values.shape[-1:] == (1,) and values.ndim > 1 else values
    if (values != np.rint(values)).any() or values.min() < 0 or values.max() >= width:
        raise InputError(f"labels of {name} must be whole numbers from 0 to {width - 1}, the classes, or one-hot rows")
    return values.astype(np.int64)


def _is_binary(values: Array) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def _is_one_hot(values: Array) -> bool:
    return _is_binary(values) and bool((values.sum(-1) == 1).all())


def _outright(name: str, answers: Array, notes: list[str]) -> str:
    """How answers are probabilities."""
    if answers.shape[-1] == 1 or (answers.min() >= 0 and np.allclose(answers.sum(-1), 1, atol=1e-3)):
        if answers.min() >= 0 and answers.max() <= 1:
            return "are"
    elif answers.max() <= 0 and np.allclose(np.exp(answers.astype(np.float64)).sum(-1), 1, atol=1e-3):
        return "logarithms"
    form = "sigmoid" if answers.shape[-1] == 1 else "softmax"
    notes.append(f"the answers of {name} are no probabilities; the cross-entropy is that of their {form}")
    return "softmax"


# ---- metrics ----


def measured(who: str, labels: list[Labels], answers: Arrays) -> list[Task]:
    """The metrics of all outputs with labels."""
    tasks = []
    for one in labels:
        y = np.asarray(answers[one.output], np.float64)
        found = _of_classes(one, y) if one.task == "classes" else _of_numbers(one, y)
        tasks += [Task(who, one.name, metric, value, unit) for metric, value, unit in found]
    return tasks


def _of_classes(labels: Labels, y: Array) -> list[tuple[str, float, str]]:
    if y.shape[-1] == 1:
        if labels.outright == "softmax":
            y = 1 / (1 + np.exp(-np.clip(y, -700, 700)))
        y = np.concatenate([1 - y, y], axis=-1)
    elif labels.outright == "softmax":
        y = np.exp(y - y.max(-1, keepdims=True))
        y = y / y.sum(-1, keepdims=True)
    elif labels.outright == "logarithms":
        y = np.exp(y)
    right = float(((y.argmax(-1) == labels.values) & np.isfinite(y).all(axis=-1)).mean())
    own = np.take_along_axis(y, labels.values[..., None], axis=-1)
    entropy = float(-np.log(np.clip(np.nan_to_num(own, nan=0.0), _LEAST, 1)).mean())
    return [("accuracy", right, ""), ("cross-entropy", entropy, "nats")]


def _of_numbers(labels: Labels, y: Array) -> list[tuple[str, float, str]]:
    scaler, wanted = labels.port.scaler, labels.values
    if scaler is not None:
        y = scaler.undo(y)
        wanted = scaler.undo(wanted) if labels.scaled else wanted
    error = y - wanted
    units = set(labels.port.units)
    unit = units.pop() if len(units) == 1 else ""
    square = float(np.square(error).mean())
    return [
        ("RMSE", float(np.sqrt(square)), unit),
        ("MSE", square, f"{unit}²" if unit else ""),
        ("MAE", float(np.abs(error).mean()), unit),
    ]


def judged(tasks: list[Task], accuracy_drop: float | None, rmse_rise: float | None) -> list[Task]:
    """The tasks with what is demanded of our variants, beside the reference's. InputError where there is no such
    metric."""
    for demand, metric in ((accuracy_drop, "accuracy"), (rmse_rise, "RMSE")):
        if demand is not None and not any(task.metric == metric for task in tasks):
            raise InputError(f"a limit on {metric} needs labels of {'classes' if metric == 'accuracy' else 'numbers'}")
    base = {(task.output, task.metric): task.value for task in tasks if task.who == REFERENCE}
    done = []
    for task in tasks:
        own = base[task.output, task.metric]
        if task.who in ("f32", "s8", "tfl8"):
            if task.metric == "accuracy" and accuracy_drop is not None:
                least = own - accuracy_drop
                task = replace(task, required=f"at least {least:.4g}", passed=task.value >= least - 1e-12)
            if task.metric == "RMSE" and rmse_rise is not None:
                most = own * (1 + rmse_rise)
                task = replace(task, required=f"at most {most:.4g}", passed=bool(task.value <= most))
        done.append(task)
    return done
