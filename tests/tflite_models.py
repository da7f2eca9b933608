"""Small .tflite files, table by table: what converters write, what they never would, and what is no model at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.exporters.flatbuffer import pack
from edgelstm.importers.tflite_schema import OPERATORS, OPTIONS, TABLES, TYPES

CODES = {name: code for code, name in TYPES.items()}
Quantized = tuple[Any, Any, int]  # scales, zero points, axis


class File:
    """A file that grows tensor by tensor, operator by operator; `graph` starts another graph, as loops need."""

    def __init__(self) -> None:
        self.buffers: list[dict[int, Any]] = [{}]
        self.codes: list[tuple[str, int]] = []
        self.graphs: list[dict[str, Any]] = []
        self.graph()

    def graph(self) -> int:
        self.graphs.append({"tensors": [], "inputs": [], "outputs": [], "operators": []})
        return len(self.graphs) - 1

    @property
    def current(self) -> dict[str, Any]:
        return self.graphs[-1]

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "float32",
        name: str = "",
        data: Any = None,
        quantized: Quantized | None = None,
        variable: bool = False,
        signature: Sequence[int] | None = None,
        buffer: int | None = None,
    ) -> int:
        rows = self.current["tensors"]
        if data is not None:
            self.buffers.append({0: data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()})
            buffer = len(self.buffers) - 1
        row: dict[int, Any] = {0: np.array(shape, np.int32), 1: np.int8(CODES[dtype]), 2: np.uint32(buffer or 0)}
        row |= {3: name or f"t{len(rows)}", 5: np.bool_(variable)}
        if quantized is not None:
            scales, zeros, axis = quantized
            scales = np.atleast_1d(np.asarray(scales, np.float32))
            zeros = np.broadcast_to(np.asarray(zeros, np.int64), scales.shape).copy()
            row[4] = {2: scales, 3: zeros, 6: np.int32(axis)}
        if signature is not None:
            row[7] = np.array(signature, np.int32)
        rows.append(row)
        return len(rows) - 1

    def constant(self, data: Any, name: str = "", quantized: Quantized | None = None) -> int:
        array = np.asarray(data)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        array = array.astype(np.int32) if array.dtype == np.int64 else array
        return self.tensor(array.shape, array.dtype.name, name, array, quantized)

    def input(self, *shape: int, name: str = "", dtype: str = "float32", **more: Any) -> int:
        k = self.tensor(shape, dtype, name or f"x{len(self.current['inputs'])}", **more)
        self.current["inputs"].append(k)
        return k

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[Sequence[int]] | Sequence[int],
        options: Mapping[str, Any] | None = None,
        dtype: str = "float32",
        version: int = 1,
        intermediates: Sequence[int] = (),
    ) -> Any:
        """Adds an operator. `outputs`: a shape for each tensor it writes, which are made, or one shape alone."""
        shapes = outputs if outputs and isinstance(outputs[0], Sequence) else [outputs]
        made = [self.tensor(shape, dtype) for shape in shapes]  # type: ignore[arg-type]
        self.into(name, inputs, made, options, version, intermediates)
        return made if len(made) > 1 else made[0]

    def into(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Mapping[str, Any] | None = None,
        version: int = 1,
        intermediates: Sequence[int] = (),
    ) -> None:
        """Adds an operator that writes given tensors."""
        if (name, version) not in self.codes:
            self.codes.append((name, version))
        row: dict[int, Any] = {0: np.uint32(self.codes.index((name, version)))}
        row |= {1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32)}
        kind = OPERATORS[name][1]
        if kind:
            row |= {3: np.uint8(kind), 4: table(OPTIONS[kind], options or {})}
        if intermediates:
            row[8] = np.array(intermediates, np.int32)
        self.current["operators"].append(row)

    def outputs(self, *tensors: int) -> None:
        self.current["outputs"] = list(tensors)

    def root(self) -> dict[int, Any]:
        """The file's tables, for who wants to spoil them."""
        codes = [
            {0: np.int8(min(OPERATORS[n][0], 127)), 2: np.int32(v), 3: np.int32(OPERATORS[n][0])} for n, v in self.codes
        ]
        graphs = [
            {
                0: graph["tensors"],
                1: np.array(graph["inputs"], np.int32),
                2: np.array(graph["outputs"], np.int32),
                3: graph["operators"],
                4: "main",
            }
            for graph in self.graphs
        ]
        return {0: np.uint32(3), 1: codes, 2: graphs, 3: "made by hand", 4: self.buffers}

    def bytes(self) -> bytes:
        return pack(self.root(), b"TFL3")


def table(name: str, values: Mapping[str, Any]) -> dict[int, Any]:
    """A table of options by the names of its fields."""
    fields = {f.name: (slot, f) for slot, f in TABLES.get(name, {}).items()}
    made: dict[int, Any] = {}
    for key, value in values.items():
        slot, f = fields[key]
        if f.kind == "text":
            made[slot] = value
        else:
            made[slot] = np.array(value, f.kind[1:-1]) if f.kind[0] == "[" else np.dtype(f.kind).type(value)
    return made


def weights(*shape: int, seed: int = 0, scale: float = 0.6) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(-scale, scale, shape).astype(np.float32)


def lstm(
    file: File,
    x: int,
    shape: tuple[int, int, int],
    units: int,
    *,
    seed: int = 0,
    projection: int = 0,
    projection_bias: bool = False,
    peephole: bool = False,
    coupled: bool = False,
    norm: bool = False,
    states: tuple[int, int] | None = None,
    version: int = 1,
    **options: Any,
) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over x of [batch, steps, inputs], or [steps, batch, inputs] with time_major."""
    inputs, outputs = shape[2], projection or units
    batch = shape[1] if options.get("time_major") else shape[0]
    rows = parts(file, inputs, units, outputs, seed, peephole, coupled, bool(projection), projection_bias)
    if states is None:
        states = (
            file.tensor((batch, outputs), variable=True, name="h"),
            file.tensor((batch, units), variable=True, name="c"),
        )
    rows += list(states)
    there = [norm and not (coupled and k == 0) for k in range(4)]
    rows += [file.constant(weights(units, seed=seed + 60 + k, scale=1.5)) if own else -1 for k, own in enumerate(there)]
    options = {"activation": 4} | options
    made: int = file.op("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *rows], (*shape[:2], outputs), options, version=version)
    return made


def parts(
    file: File, inputs: int, units: int, outputs: int, seed: int, peephole: bool, coupled: bool, projected: bool,
    projection_bias: bool = False,
) -> list[int]:  # fmt: skip
    """The 17 constants of one direction."""

    def constants(first: int, *shape: int, gates: Sequence[int] = range(4), there: bool = True) -> list[int]:
        absent = [not there or (coupled and k == 0) for k in gates]
        return [-1 if gone else file.constant(weights(*shape, seed=seed + first + k)) for k, gone in enumerate(absent)]

    return [
        *constants(0, units, inputs),
        *constants(10, units, outputs),
        *constants(20, units, gates=range(3), there=peephole),
        *constants(30, units),
        *constants(40, outputs, units, gates=[1], there=projected),
        *constants(50, outputs, gates=[1], there=projection_bias),
    ]
