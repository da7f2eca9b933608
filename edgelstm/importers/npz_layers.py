"""The TOML file that tells which layers an archive's arrays make: gates in any order, one matrix each or stacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, InputError
from ..layers import LINEAR, SIGMOID, TANH, Activate, Activation, Dense, Gru, Last, Layer, Lstm, Reverse, Rnn
from ..model import Array, Model, Source, Tensor
from ..toml import load, nothing_left, take
from .torch_pickle import shown
from .torch_steps import parse_activation

_LETTERS = {"lstm": "ifgo", "gru": "zrn"}
_ALIASES = {"lstm": {"c": "g", "j": "g"}, "gru": {"h": "n", "u": "z"}}
_SYMMETRIC = ("sigmoid", "hard_sigmoid", "hard_sigmoid_fifth")  # f(-x) = 1 - f(x)
_KINDS = "lstm, gru, rnn, dense, activation, last, dropout"


def read(path: Path, arrays: dict[str, Array], source: Source) -> Model:
    """The model an architecture file describes. CheckpointError unless it uses every array exactly once."""
    try:
        return _Layers(load(path), arrays).model(source)
    except (CheckpointError, InputError) as error:
        raise CheckpointError(f"{path.name}: {error}") from None


class _Layers:
    def __init__(self, described: dict[str, Any], arrays: dict[str, Array]) -> None:
        self.tables: list[Any] = take(described, "layers", list, "the file", required=True)
        self.inputs: int | None = take(described, "inputs", int, "the file")
        nothing_left(described, "the file")
        self.unused = dict(arrays)
        self.layers: list[Layer] = []
        self.tensors: list[Tensor] = []
        self.single = False

    def model(self, source: Source) -> Model:
        for number, table in enumerate(self.tables, 1):
            if not isinstance(table, dict):
                raise CheckpointError(f"layer {number} is not a [[layers]] table")
            table = dict(table)
            kind = take(table, "kind", str, f"layer {number}", required=True)
            self._layer(kind, table, f"layer {number}", f"{kind}{number}")
            nothing_left(table, f"layer {number}")
        if self.unused:
            raise CheckpointError(f"it does not use {', '.join(map(shown, self.unused))} of the archive")
        if not self.layers:
            raise CheckpointError("it describes no layer")
        ends = (self.tensors[0].name,), (self.tensors[-1].name,)
        return Model(tuple(self.tensors), tuple(self.layers), *ends, source=source)

    def _layer(self, kind: str, table: dict[str, Any], where: str, name: str) -> None:
        match kind:
            case "lstm" | "gru" | "rnn":
                if self.single:
                    raise CheckpointError(f'{where}: a recurrent layer after "last" would read a single step')
                self._cell(_Cell(self, kind, table, where, name), name)
            case "dense":
                turned = bool(take(table, "transposed", bool, where))
                kernel = self.matrix(take(table, "kernel", str, where, required=True), where, turned)
                bias = take(table, "bias", str, where)
                values = np.zeros(len(kernel)) if bias is None else self.array(bias, where, 1)
                activation = self.activation(table, "activation", where, LINEAR)
                self._add(
                    Dense(name, (self._reads(kernel.shape[1]),), (name,), kernel, values, activation), len(kernel)
                )
            case "activation":
                given = self.activation(table, "activation", where, None)
                self._add(Activate(name, (self._reads(self.inputs),), (name,), given), self.tensors[-1].width)
            case "last":
                if self.single:
                    raise CheckpointError(f'{where}: there is a "last" already')
                self._add(Last(name, (self._reads(self.inputs),), (name,)), self.tensors[-1].width)
                self.single = True
            case "dropout":
                pass  # the identity once training is over
            case _:
                raise CheckpointError(f"{where}: unknown kind {shown(kind)!r}; known: {_KINDS}")

    def _cell(self, cell: _Cell, name: str) -> None:
        if not cell.backward:
            self._add(cell.layer(name, self._reads(cell.inputs)), cell.outputs)
            return
        inputs = cell.inputs
        self._add(Reverse(f"{name}.reverse", (self._reads(inputs),), (f"{name}.reverse",)), inputs)
        self._add(cell.layer(f"{name}.backward", self.tensors[-1].name), cell.outputs)
        self._add(Reverse(name, (f"{name}.backward",), (name,)), cell.outputs)

    def _reads(self, width: int | None) -> str:
        """The tensor that a layer reads, which for the first one is the model's input."""
        if not self.tensors:
            if width is None:
                raise CheckpointError("the first layer does not tell how many values it reads; say `inputs`")
            if self.inputs not in (None, width):
                raise CheckpointError(f"inputs is {self.inputs}, the first layer reads {width} values")
            self.tensors.append(Tensor("x", width))
        return self.tensors[-1].name

    def _add(self, layer: Layer, width: int) -> None:
        self.layers.append(layer)
        self.tensors.append(Tensor(layer.writes[0], width))

    def array(self, name: str, where: str, rank: int) -> Array:
        """An array by name, which is then used."""
        if name not in self.unused:
            left = ", ".join(map(shown, self.unused)) or "none"
            raise CheckpointError(f"{where}: no unused array {shown(name)!r} in the archive; unused: {left}")
        found = self.unused.pop(name)
        if found.ndim == 2 and 1 in found.shape and rank == 1:  # vectors are often kept as one column or row
            found = found.reshape(-1)
        if found.ndim != rank:
            raise CheckpointError(f"{where}: {shown(name)} has shape {found.shape}, expected {rank} dimensions")
        return found.astype(np.float64)

    def matrix(self, name: str, where: str, turned: bool) -> Array:
        """A matrix [rows, columns], its rows those of what it makes."""
        found = self.array(name, where, 2)
        return found.T if turned else found

    def activation(self, table: dict[str, Any], key: str, where: str, default: Activation | None) -> Activation:
        name = take(table, key, str, where, required=default is None)
        if name is None:
            assert default is not None
            return default
        return parse_activation(name, where)


class _Cell:
    """A recurrent layer's arrays, gates first, in the order of layers.py."""

    def __init__(self, layers: _Layers, kind: str, table: dict[str, Any], where: str, name: str) -> None:
        self.layers, self.kind, self.table, self.where = layers, kind, table, where
        self.turned = bool(take(table, "transposed", bool, where))
        self.backward = bool(take(table, "reverse", bool, where))
        self.places = self._order()
        kernel, recurrent = self._kernels()
        if kernel.shape[:2] != recurrent.shape[:2]:
            raise CheckpointError(f"{where}: kernels for {kernel.shape[1]} and {recurrent.shape[1]} units")
        self.kernel, self.recurrent = kernel, recurrent
        self.units, self.inputs, self.outputs = kernel.shape[1], kernel.shape[2], recurrent.shape[2]
        self.bias = self._vectors("bias", len(self.places))
        self.second = self._vectors("recurrent_bias", len(self.places))
        self.function = layers.activation(table, "activation", where, TANH)
        self.clip = self._number("clip")

    def _order(self) -> list[int]:
        """Where each gate of this package's order stands in the archive's."""
        if self.kind == "rnn":
            return [0]
        wanted, aliases = _LETTERS[self.kind], _ALIASES[self.kind]
        order = take(self.table, "order", str, self.where, required=True)
        letters = [aliases.get(letter, letter) for letter in order.lower()]
        if sorted(letters) != sorted(wanted):
            raise CheckpointError(
                f"{self.where}: order is {shown(order)!r}, expected the letters {wanted} in some order"
            )
        return [letters.index(letter) for letter in wanted]

    def _kernels(self) -> tuple[Array, Array]:
        """Kernel and recurrent kernel [gates, units, columns]; they may stand side by side in one."""
        joined = take(self.table, "joined", str, self.where)
        if joined is None:
            return self._gates("kernel"), self._gates("recurrent")
        both = self._gates("kernel")
        units, columns = both.shape[1:]
        if joined not in ("xh", "hx") or columns <= units:
            raise CheckpointError(f"{self.where}: joined is {shown(joined)!r} for {columns} columns of {units} units")
        if joined == "xh":
            return both[:, :, :-units], both[:, :, -units:]
        return both[:, :, units:], both[:, :, :units]

    def _gates(self, key: str) -> Array:
        """Matrices of a name each, or one that holds them stacked, as [gates, units, columns]."""
        names = take(self.table, key, (str, list), self.where, required=True)
        gates = len(self.places)
        if isinstance(names, str):
            stacked = self.layers.matrix(names, self.where, self.turned)
            if len(stacked) % gates:
                raise CheckpointError(f"{self.where}: {shown(names)} has {len(stacked)} rows for {gates} gates")
            found = stacked.reshape(gates, -1, stacked.shape[1])
        else:
            matrices = [self.layers.matrix(name, self.where, self.turned) for name in self._names(names, key, gates)]
            if len({matrix.shape for matrix in matrices}) > 1:
                raise CheckpointError(f"{self.where}: the matrices of {key} differ in shape")
            found = np.stack(matrices)
        return found[self.places]

    def _names(self, names: list[Any], key: str, count: int) -> list[str]:
        if len(names) != count or not all(isinstance(name, str) for name in names):
            raise CheckpointError(f"{self.where}: {key} lists {len(names)} names, expected {count}")
        return names

    def _vectors(self, key: str, count: int) -> Array:
        """Vectors of a name each, or one that holds them stacked, as [gates, units]; zeros where there are none."""
        names = take(self.table, key, (str, list), self.where)
        if names is None:
            return np.zeros((count, self.units))
        if isinstance(names, str):
            found = self.layers.array(names, self.where, 1)
        else:
            found = np.concatenate([self.layers.array(n, self.where, 1) for n in self._names(names, key, count)])
        if found.size != count * self.units:
            raise CheckpointError(f"{self.where}: {key} has {found.size} values, expected {count * self.units}")
        return found.reshape(count, self.units)[self.places if count == len(self.places) else slice(None)]

    def _number(self, key: str) -> float | None:
        value = take(self.table, key, (int, float), self.where)
        return None if value is None else float(value)

    def layer(self, name: str, reads: str) -> Lstm | Gru | Rnn:
        """The cell, reading a tensor."""
        if self.kind == "lstm":
            return self._lstm(name, reads)
        return self._gru(name, reads) if self.kind == "gru" else self._rnn(name, reads)

    def _lstm(self, name: str, reads: str) -> Lstm:
        gate = self.layers.activation(self.table, "gate_activation", self.where, SIGMOID)
        cell = self.layers.activation(self.table, "cell_activation", self.where, self.function)
        bias = self.bias + self.second
        bias[1] += self._number("forget_bias") or 0.0
        peephole = self._vectors("peephole", 3) if "peephole" in self.table else None  # of i, f, o
        projection = take(self.table, "projection", str, self.where)
        return Lstm(
            name,
            (reads,),
            (name,),
            self.kernel,
            self.recurrent,
            bias,
            activation=self.function,
            gate_activation=gate,
            cell_clip=self._number("cell_clip"),
            cell_activation=None if cell == self.function else cell,
            projection=None if projection is None else self.layers.matrix(projection, self.where, self.turned),
            peephole=peephole,
            clip=self.clip,
        )

    def _gru(self, name: str, reads: str) -> Gru:
        gate = self.layers.activation(self.table, "gate_activation", self.where, SIGMOID)
        after = bool(take(self.table, "reset_after", bool, self.where))
        weighs = take(self.table, "z", str, self.where) or "old"
        if weighs not in ("old", "new"):
            raise CheckpointError(f'{self.where}: z is {shown(weighs)!r}, expected "old" or "new"')
        if weighs == "new":  # h = (1 - z) h + z n: the other gate, 1 - z, is that of the negative rows
            if gate.name not in _SYMMETRIC:
                raise CheckpointError(f'{self.where}: z = "new" with the gate activation {gate.name}')
            for array in (self.kernel, self.recurrent, self.bias, self.second):
                array[0] *= -1
        reset_bias = self.second[2].copy() if after else None
        if after:
            self.second[2] = 0
        rows = self.kernel, self.recurrent, self.bias + self.second
        return Gru(
            name,
            (reads,),
            (name,),
            *rows,
            reset_bias=reset_bias,
            reset_after=after,
            activation=self.function,
            gate_activation=gate,
            clip=self.clip,
        )

    def _rnn(self, name: str, reads: str) -> Rnn:
        bias = (self.bias + self.second)[0]
        return Rnn(
            name,
            (reads,),
            (name,),
            self.kernel[0],
            self.recurrent[0],
            bias,
            activation=self.function,
            clip=self.clip,
        )
