"""Sizes that are known only when a model runs, and constants whose shapes may hold such sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..errors import CheckpointError
from ..model import Array

MAX_ELEMENTS = 1 << 24  # numbers of one constant that is computed here
_MAX_TERMS = 8
_MAX_COEFFICIENT = 1 << 62

Term: TypeAlias = tuple[str, ...]  # symbols that are multiplied, sorted


@dataclass(frozen=True, slots=True)
class Size:
    """A sum of products of unknown sizes with whole coefficients; never a mere number."""

    terms: tuple[tuple[Term, int], ...]  # sorted; no coefficient is 0

    def __add__(self, other: Any) -> Any:
        return _sum(self, other, 1) if _is_size(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _sum(self, other, -1) if _is_size(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return _sum(-self, other, 1) if _is_size(other) else NotImplemented

    def __neg__(self) -> Any:
        return self * -1

    def __mul__(self, other: Any) -> Any:
        if not _is_size(other):
            return NotImplemented
        found: dict[Term, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                term = tuple(sorted(left + right))
                found[term] = found.get(term, 0) + a * b
        return _made(found)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        quotient = divided(self, other) if _is_size(other) else None
        if quotient is None:
            raise CheckpointError(f"a size, {self}, is divided by {other}, which cannot be followed")
        return quotient

    __truediv__ = __floordiv__

    def __str__(self) -> str:
        return " + ".join("*".join([str(n)] * (n != 1 or not term) + [*term]) for term, n in self.terms)


Dim: TypeAlias = int | Size


def symbol(name: str) -> Size:
    """An unknown size."""
    return Size((((name,), 1),))


def divided(size: Dim, other: Dim) -> Dim | None:
    """size / other where that is a whole size, else None."""
    if isinstance(size, int) and isinstance(other, int):
        return size // other if other and size % other == 0 else None
    by = _terms(other)
    if len(by) != 1 or not by[0][1]:
        return None
    (factors, coefficient) = by[0]
    found: dict[Term, int] = {}
    for term, value in _terms(size):
        rest = list(term)
        for factor in factors:
            if factor not in rest:
                return None
            rest.remove(factor)
        if value % coefficient:
            return None
        found[tuple(rest)] = value // coefficient
    made: Dim = _made(found)
    return made


def product(sizes: Iterable[Dim]) -> Dim:
    """The product of sizes."""
    total: Dim = 1
    for size in sizes:
        total = total * size
    return total


def _is_size(value: Any) -> bool:
    return isinstance(value, Size | int | np.integer) and not isinstance(value, bool)


def _terms(value: Any) -> tuple[tuple[Term, int], ...]:
    return value.terms if isinstance(value, Size) else (((), int(value)),)


def _sum(left: Any, right: Any, sign: int) -> Dim:
    found = dict(_terms(left))
    for term, value in _terms(right):
        found[term] = found.get(term, 0) + sign * value
    return _made(found)


def _made(found: dict[Term, int]) -> Dim:
    terms = {term: value for term, value in found.items() if value}
    if len(terms) > _MAX_TERMS or any(abs(v) > _MAX_COEFFICIENT or len(t) > _MAX_TERMS for t, v in terms.items()):
        raise CheckpointError("its sizes are computed in a way that cannot be followed")
    if set(terms) <= {()}:
        return terms.get((), 0)
    return Size(tuple(sorted(terms.items())))


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A constant. Along a dimension where `array` has one row and `shape` asks for more, that row repeats."""

    array: Array  # numbers; of dtype object where sizes are among them
    shape: tuple[Dim, ...]

    @property
    def symbolic(self) -> bool:
        return self.array.dtype == object


def known(values: Any) -> Known:
    """The constant of an array."""
    array = np.asarray(values)
    return Known(array, array.shape)


def sizes(values: Sequence[Dim]) -> Known:
    """A list of sizes as a constant."""
    if all(isinstance(v, int) for v in values):
        return known(np.array(values, np.int64).reshape(len(values)))
    array = np.empty(len(values), object)
    array[:] = values
    return known(array)


def full(value: Known, where: str) -> Array:
    """All numbers of a constant. CheckpointError if its shape is not known, or it is too large."""
    shape = tuple(n for n in value.shape if isinstance(n, int))
    if len(shape) != len(value.shape):
        raise CheckpointError(f"{where}: it needs a constant whose shape is known only when the model runs")
    if prod(shape) > MAX_ELEMENTS and shape != value.array.shape:
        raise CheckpointError(f"{where}: a constant of shape {shape} is too large")
    return np.broadcast_to(value.array, shape)


def numbers(value: Known, where: str) -> Array:
    """All numbers of a constant without sizes among them."""
    if value.symbolic:
        raise CheckpointError(f"{where}: it computes with sizes that are known only when the model runs")
    return full(value, where)


def dims(value: Known, where: str) -> list[Dim]:
    """A constant as a list of sizes or whole numbers."""
    array = full(value, where)
    if array.ndim > 1 or (not value.symbolic and array.dtype.kind not in "iu"):
        raise CheckpointError(f"{where}: it expects a list of whole numbers")
    return [v if isinstance(v, Size) else int(v) for v in np.atleast_1d(array).tolist()]


def ints(value: Known, where: str) -> list[int]:
    """A constant as a list of whole numbers."""
    found = dims(value, where)
    if any(isinstance(v, Size) for v in found):
        raise CheckpointError(f"{where}: it depends on a size that is known only when the model runs")
    return [v for v in found if isinstance(v, int)]


def uniform(value: Known) -> float | None:
    """The one number that all of a constant are, else None."""
    if value.symbolic or value.array.dtype.kind not in "fiub" or not value.array.size:
        return None
    first = value.array.flat[0]
    return float(first) if (value.array == first).all() else None
