"""Samples and answers as lines of text: CSV or JSON, each line known by its own look."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .errors import InputError
from .model import Array

MISSING = math.nan  # an empty field, "nan" or null
_MOST = 1 << 20  # characters of one line


def samples(lines: Iterable[str], width: int, channels: Sequence[str] = ()) -> Iterator[Array]:
    """One float64 [width] array a line; NaN where a value is missing. Empty lines and a header are passed over.

    A line is a JSON array, a JSON object by channel name, one JSON number, or CSV. InputError names the line.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("\ufeff")  # the mark that some programs start a file with
        if not text:
            continue
        if len(text) > _MOST:
            raise InputError(f"line {number} has more than {_MOST} characters")
        try:
            values = _json(text, channels) if text[0] in "[{" else _csv(text)
        except (ValueError, RecursionError) as error:
            if number == 1 and text[0] not in "[{" and _is_header(text, width):
                continue
            raise InputError(f"line {number}: {error}") from None
        if len(values) != width:
            raise InputError(f"line {number}: {len(values)} values, expected {width}")
        yield np.array(values)


def _csv(text: str) -> list[float]:
    values = []
    for field in _fields(text):
        try:
            values.append(float(field) if field.strip() else MISSING)
        except ValueError:
            raise ValueError(f"{field.strip()!r} is not a number") from None
    return values


def _fields(text: str) -> list[str]:
    """The fields of a CSV line, quotes taken off."""
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"not valid CSV: {error}") from None


def _is_header(text: str, width: int) -> bool:
    """As many fields as values, none of them a number."""
    try:
        fields = _fields(text)
    except ValueError:
        return False
    return len(fields) == width and not any(_is_number(field) for field in fields)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _json(text: str, channels: Sequence[str]) -> list[float]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    if isinstance(found, dict):
        if not channels:
            raise ValueError("an object needs channel names in the model; give an array")
        if unknown := [name for name in found if name not in channels]:
            raise ValueError(f"unknown channel {unknown[0]!r}; the model has {', '.join(channels)}")
        found = [found.get(name) for name in channels]
    return [_value(value) for value in found]


def _value(value: object) -> float:
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number is too large") from None


def answer(outputs: Sequence[Array], names: Sequence[str], labels: Sequence[Sequence[str]], as_json: bool) -> str:
    """A line for one step's answers: CSV, each output's values followed by its label where it has labels, or a JSON
    object by output name."""
    chosen = [known[int(np.argmax(y))] if known else None for y, known in zip(outputs, labels, strict=True)]
    texts = [
        [str(v) for v in y.astype(np.float32)] for y in outputs
    ]  # the fewest digits that tell float32 numbers apart
    if as_json:
        said: dict[str, object] = {name: [float(t) for t in y] for name, y in zip(names, texts, strict=True)}
        if picked := {name: label for name, label in zip(names, chosen, strict=True) if label is not None}:
            said["label"] = picked if len(names) > 1 else chosen[0]
        return json.dumps(said)
    fields = []
    for y, label in zip(texts, chosen, strict=True):
        fields += y
        if label is not None:
            fields.append('"' + label.replace('"', '""') + '"' if set(label) & set(',"') else label)
    return ",".join(fields)
