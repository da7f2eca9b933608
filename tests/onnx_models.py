"""Small ONNX graphs, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64

Input = tuple[str, Sequence[Any]] | tuple[str, Sequence[Any], int]


def graph(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Input],
    outputs: Sequence[str],
    constants: dict[str, Any] | None = None,
    opset: int = 20,
    change: Any = None,
) -> bytes:
    """A model of these nodes; `change` may still edit it."""
    ports = [helper.make_tensor_value_info(name, kind[0] if kind else FLOAT, shape) for name, shape, *kind in inputs]
    ends = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    arrays = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    made = helper.make_model(
        helper.make_graph(nodes, "graph", ports, ends, arrays),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    if change is not None:
        change(made)
    return made.SerializeToString()


def weights(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray:
    """Numbers that are all different."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def cell(
    op: str,
    units: int = 4,
    inputs: int = 3,
    direction: str = "forward",
    layout: int = 0,
    bias: bool = True,
    lengths: bool = False,
    initial: bool = False,
    peephole: bool = False,
    outputs: Sequence[str] | None = None,
    opset: int = 22,
    **attributes: Any,
) -> bytes:
    """A model of one LSTM, GRU or RNN, its outputs Y, Y_h and Y_c or those named."""
    gates, directions = GATES[op], 2 if direction == "bidirectional" else 1
    constants = {"W": weights(directions, gates * units, inputs), "R": weights(directions, gates * units, units)}
    ports: list[Input] = [("X", ["N", "T", inputs] if layout else ["T", "N", inputs])]
    state = ["N", directions, units] if layout else [directions, "N", units]
    reads = ["X", "W", "R", "B" if bias else "", "L" if lengths else "", "H" if initial else ""]
    if bias:
        constants["B"] = weights(directions, 2 * gates * units)
    if lengths:
        ports.append(("L", ["N"], INT32))
    if initial:
        ports.append(("H", state))
    if op == "LSTM":
        reads += ["C" if initial else "", "P" if peephole else ""]
        if initial:
            ports.append(("C", state))
        if peephole:
            constants["P"] = weights(directions, 3 * units)
    names = ["Y", "Y_h", "Y_c"] if op == "LSTM" else ["Y", "Y_h"]
    writes = [name if outputs is None or name in outputs else "" for name in names]
    if layout:
        attributes["layout"] = layout
    node = helper.make_node(op, reads, writes, name="cell", hidden_size=units, direction=direction, **attributes)
    return graph([node], ports, [name for name in writes if name], constants, opset)


def bound(model: ModelProto, values: dict[str, np.ndarray]) -> bytes:
    """A model some of whose inputs are constants of the file."""
    made = ModelProto()
    made.CopyFrom(model)
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return made.SerializeToString()
