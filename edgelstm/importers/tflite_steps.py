"""The recurrent layer that one step's arithmetic is: LSTM, GRU or simple RNN, of any weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import LINEAR, Activation, Gru, Lstm, Rnn
from .tflite_cells import Cell
from .tflite_linear import Linear, Term, equal, function, negative

_MOST_WEIGHTS = 1 << 24  # that multiply what a cell reads: 64 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A cell, and the atoms whose values it reads one behind the other."""

    cell: Cell
    reads: tuple[Term, ...]


def _operands(atom: Term | None) -> tuple[Linear, Linear] | None:
    return (atom.parts[0], atom.parts[1]) if atom is not None and atom.kind == "product" else None


def _products(row: Linear) -> list[Term] | None:
    """The products that a row is the plain sum of."""
    if row.bias.any() or not all(c.one for c in row.terms.values()):
        return None
    return list(row.terms) if all(atom.kind == "product" for atom in row.terms) else None


def lstm(h_new: Linear, c_new: Linear, h: Term | None, c: Term | None) -> Found | None:
    """h = o p(c_new), c_new = f c + i g. Without c, of the first step, c_new = i g."""
    out, parts = _operands(h_new.atom), _products(c_new)
    if out is None or parts is None or len(parts) != (1 if c is None else 2):
        return None
    forget = None
    for part in parts:
        left, right = part.parts
        for gate, state in ((left, right), (right, left)):
            if c is not None and _is(state, c):
                forget, kept = function(gate), part
    if c is not None:
        if forget is None:
            return None
        parts = [part for part in parts if part is not kept]
    for gate, inner in (out, out[::-1]):
        o = function(gate)
        shape = function(inner)
        cell = shape[0] if shape is not None and equal(shape[1], c_new) else None
        cell = LINEAR if cell is None and equal(inner, c_new) else cell
        if o is None or cell is None:
            continue
        for first, second in (parts[0].parts, parts[0].parts[::-1]):
            i, g = function(first), function(second) or (LINEAR, second)
            if i is not None and i[0] == o[0] and (forget is None or forget[0] == o[0]):
                rows = [i[1], forget[1] if forget else None, g[1], o[1]]
                return _found(Lstm, rows, h, gate_activation=o[0], activation=g[0], cell_activation=cell)
    return None


def gru(h_new: Linear, h: Term | None) -> Found | None:
    """h = z h + (1 - z) n, n = a(W x + r (R h + d)), or with the reset before the product a(W x + R (r h))."""
    parts = _products(h_new)
    if parts is None or len(parts) != 2 or h is None:
        return None
    for kept, made in (parts, parts[::-1]):
        for z_row, state in (kept.parts, kept.parts[::-1]):
            z = function(z_row)
            if z is None or not _is(state, h):
                continue
            for other, n_row in (made.parts, made.parts[::-1]):
                n = function(n_row) or (LINEAR, n_row)
                if negative(z_row, other):
                    return _gru(z, n, h)
    return None


def _is(row: Linear, atom: Term) -> bool:
    """Whether a row is an atom, or the row that the atom stands for."""
    return row.atom is atom or (atom.kind == "alias" and equal(row, atom.parts[0]))


def _gru(z: tuple[Activation, Linear], n: tuple[Activation, Linear], h: Term) -> Found | None:
    for atom, coefficient in n[1].terms.items():
        operands = _operands(atom)
        for reset, inner in (operands, operands[::-1]) if operands else ():
            r = function(reset)
            if r is None or r[0] != z[0]:
                continue
            rest = Linear(n[1].width, {a: c for a, c in n[1].terms.items() if a is not atom}, n[1].bias)
            if h in rest.terms:
                return None
            after = coefficient.one and set(inner.terms) == {h}
            if after and inner.terms[h].matrix is not None:
                recurrent, reset_bias = inner.terms[h].dense, np.broadcast_to(inner.bias, (inner.width,))
            elif coefficient.matrix is not None and _is(inner, h):
                recurrent, reset_bias, after = coefficient.dense, None, False
            else:
                continue
            found = _found(Gru, [z[1], r[1], rest], h, gate_activation=z[0], activation=n[0], reset_after=after)
            if found is None:
                return None
            weights = found.cell.fields["recurrent"]
            if recurrent.shape != weights[2].shape:
                return None
            weights[2] = recurrent
            if reset_bias is not None:
                found.cell.fields["reset_bias"] = reset_bias.astype(np.float32)
            return found
    return None


def rnn(h_new: Linear, h: Term | None) -> Found | None:
    """h = a(W x + R h + b)."""
    found = function(h_new)
    if found is None or (h is not None and h not in found[1].terms):
        return None
    return _found(Rnn, [found[1]], h, activation=found[0])


def _found(form: Any, gates: list[Linear | None], h: Term | None, **fields: Any) -> Found | None:
    """The weights of rows that are sums over what is read and h."""
    reads = list(dict.fromkeys(a for row in gates if row is not None for a in row.terms if a is not h))
    if not reads or any(atom.kind == "choice" for atom in reads):
        return None
    if any(c.matrix is None for row in gates if row is not None for c in row.terms.values()):
        return None
    if h is not None and not any(h in row.terms for row in gates if row is not None):
        return None
    units = next(row.width for row in gates if row is not None)
    outputs = units
    shapes = [(units, sum(atom.width for atom in reads)), (units, outputs)]
    if len(gates) * units * shapes[0][1] > _MOST_WEIGHTS:
        return None
    kernels, recurrents, biases = [], [], []
    for row in gates:
        kernel, recurrent = (np.zeros(shape, np.float32) for shape in shapes)
        at = 0
        for atom in reads:
            if row is not None and atom in row.terms:
                kernel[:, at : at + atom.width] = row.terms[atom].dense
            at += atom.width
        if row is not None and h is not None and h in row.terms:
            matrix = row.terms[h].dense
            if matrix.shape != (units, outputs):
                return None
            recurrent[:] = matrix
        kernels.append(kernel)
        recurrents.append(recurrent)
        biases.append(np.broadcast_to(0.0 if row is None else row.bias, (units,)).astype(np.float32))
    weights = {"kernel": kernels, "recurrent": recurrents, "bias": biases}
    for name, parts in weights.items():
        fields[name] = parts[0] if form is Rnn else np.stack(parts)
    if fields.get("cell_activation") == fields["activation"]:
        fields.pop("cell_activation", None)
    return Found(Cell(form, fields), tuple(reads))
