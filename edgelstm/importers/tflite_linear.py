"""One step of a recurrent layer as written-out arithmetic: sums of matrices times what is not linear.

A `Linear` is a row of values, bias + sum of coefficient x atom. Atoms are what a step reads, functions, products of two
rows, choices by a mask, and rows that something else takes as one. Nothing here copies a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Activation
from ..meta import MAX_WIDTH
from ..model import Array


class Unknown(Exception):
    """What a step computes is not understood; the reason in words."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An atom. kind: "leaf", "apply", "product", "choice", "alias", "part" or "stack"."""

    kind: str
    width: int
    parts: tuple[Any, ...]  # a leaf's key; function, number and row; two rows; mask, row and row; a row; rows


@dataclass(frozen=True, slots=True, eq=False)
class Coefficient:
    """diag(scale) matrix, or diag(scale) alone."""

    scale: Array  # float64 [width]
    matrix: Array | None = None  # [width, width of the atom]

    @property
    def one(self) -> bool:
        return self.matrix is None and bool((self.scale == 1).all())

    @property
    def dense(self) -> Array:
        """The matrix it is, where it is more than a scale."""
        if self.matrix is None:
            raise Unknown("it has no weights where a cell has some")
        return self.matrix if (self.scale == 1).all() else (self.matrix * self.scale[:, None]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A row of values."""

    width: int
    terms: dict[Term, Coefficient] = field(default_factory=dict)
    bias: Array = field(default_factory=lambda: np.zeros(1))  # float64, [width] or [1]

    @property
    def atom(self) -> Term | None:
        """The one atom that the row is, if it is one."""
        if len(self.terms) != 1 or self.bias.any():
            return None
        ((atom, coefficient),) = self.terms.items()
        return atom if coefficient.one else None


def leaf(width: int, *key: Any) -> Linear:
    """Something a step reads."""
    return of(Term("leaf", width, key))


def of(atom: Term) -> Linear:
    if atom.width > MAX_WIDTH:
        raise Unknown(f"it computes with {atom.width} values at once")
    return Linear(atom.width, {atom: Coefficient(np.ones(atom.width))})


def apply(name: str, row: Linear, alpha: float = 0.0) -> Linear:
    return of(Term("apply", row.width, (name, alpha, row)))


def product(left: Linear, right: Linear) -> Linear:
    if left.width != right.width:
        raise Unknown(f"it multiplies {left.width} values with {right.width}")
    return of(Term("product", left.width, (left, right)))


def choice(mask: Term, new: Linear, old: Linear | None) -> Linear:
    return of(Term("choice", new.width, (mask, new, old)))


def scaled(row: Linear, by: Array | float) -> Linear:
    """Value by value."""
    by = np.asarray(by, np.float64).reshape(-1)
    terms = {a: Coefficient(c.scale * by, c.matrix) for a, c in row.terms.items()}
    return Linear(row.width, terms, row.bias * by)


def shifted(row: Linear, by: Array | float) -> Linear:
    return Linear(row.width, row.terms, row.bias + np.asarray(by, np.float64).reshape(-1))


def total(left: Linear, right: Linear) -> Linear:
    if left.width != right.width:
        raise Unknown(f"it adds {left.width} values to {right.width}")
    terms = {a: c for a, c in left.terms.items() if c.scale.any()}
    for atom, coefficient in right.terms.items():
        if not coefficient.scale.any():
            continue
        if atom in terms:
            if terms[atom].matrix is not coefficient.matrix:
                raise Unknown("it adds two products of the same values")
            coefficient = Coefficient(terms[atom].scale + coefficient.scale, coefficient.matrix)
        terms[atom] = coefficient
    return Linear(left.width, terms, left.bias + right.bias)


def rows(row: Linear, first: int, last: int) -> Linear:
    """Some of the values."""
    if not 0 <= first < last <= row.width:
        raise Unknown(f"it takes values {first} to {last} of {row.width}")
    if (first, last) == (0, row.width):
        return row
    if any(c.matrix is None for c in row.terms.values()):
        return of(Term("part", last - first, (row, first, last)))
    terms = {
        a: Coefficient(c.scale[first:last], c.matrix[first:last]) for a, c in row.terms.items() if c.matrix is not None
    }
    return Linear(last - first, terms, np.broadcast_to(row.bias, (row.width,))[first:last])


def stacked(parts: Sequence[Linear]) -> Linear:
    """Rows one behind the other."""
    return of(Term("stack", sum(part.width for part in parts), tuple(parts)))


class Products:
    """Matrix products; a row that is more than one atom becomes one, the same for all who multiply it."""

    def __init__(self) -> None:
        self._aliases: dict[int, tuple[Linear, Term]] = {}

    def atom(self, row: Linear) -> Term:
        if row.atom is not None:
            return row.atom
        if id(row) not in self._aliases:
            self._aliases[id(row)] = (row, Term("alias", row.width, (row,)))
        return self._aliases[id(row)][1]

    def matrix(self, weights: Array, row: Linear) -> Linear:
        if weights.ndim != 2 or weights.shape[1] != row.width or weights.dtype.kind != "f":
            raise Unknown(f"weights of shape {weights.shape} for {row.width} values")
        made = Linear(len(weights), {}, np.zeros(len(weights)))
        at = 0
        atom = row.atom
        for part in atom.parts if atom is not None and atom.kind == "stack" else (row,):
            block = Coefficient(np.ones(len(weights)), weights[:, at : at + part.width])
            made = total(made, Linear(len(weights), {self.atom(part): block}))
            at += part.width
        return made


def equal(left: Linear, right: Linear) -> bool:
    """Whether two rows are the same sum of the same atoms."""
    if left is right:
        return True
    if left.width != right.width or set(left.terms) != set(right.terms) or (left.bias != right.bias).any():
        return False
    return all(_same(c, right.terms[a]) for a, c in left.terms.items())


def _same(left: Coefficient, right: Coefficient) -> bool:
    return left.matrix is right.matrix and bool((left.scale == right.scale).all())


def negative(left: Linear, right: Linear) -> bool:
    """Whether right = 1 - left."""
    try:
        joined = total(left, right)
    except Unknown:
        return False
    return not any(c.scale.any() for c in joined.terms.values()) and bool((joined.bias == 1).all())


# ---- functions ----


_PLAIN = {"sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "exponential", "softsign", "softplus"}
_PLAIN |= {"gelu", "gelu_tanh", "hard_silu"}
_SIXTH = np.float32(1 / 6)


def function(row: Linear) -> tuple[Activation, Linear] | None:
    """The activation that a row is, and of what; None if it is none."""
    if len(row.terms) != 1:
        return None
    ((atom, coefficient),) = row.terms.items()
    if atom.kind == "product" and row.atom is atom:
        for x, gate in (atom.parts, atom.parts[::-1]):
            inner = gate.atom
            if inner is not None and inner.kind == "apply" and inner.parts[0] == "sigmoid" and equal(inner.parts[2], x):
                return Activation("silu"), x
    if atom.kind != "apply" or coefficient.matrix is not None or row.bias.any():
        return None
    name, alpha, argument = atom.parts
    if coefficient.one:
        if name == "clip01":  # clip(0.2 v + 0.5, 0, 1) of v = 5 x - 2.5
            return Activation("hard_sigmoid_fifth"), shifted(scaled(argument, 5), -2.5)
        if name in _PLAIN:
            return Activation(name, alpha), argument
    if name == "relu6" and (np.abs(coefficient.scale - _SIXTH) < 1e-7).all():
        return Activation("hard_sigmoid"), shifted(argument, -3)
    return None
