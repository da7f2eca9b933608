"""Operators of a .tflite graph as nodes of the graph that `onnx_graph` walks: the same operations, other settings.

TFLite's images are [batch, height, width, channels]; ONNX' stand with the channels second. Weights of fewer bits become
the numbers they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..errors import CheckpointError
from ..meta import MAX_WIDTH
from ..model import Array
from .onnx_file import Graph, Node, Port
from .tflite_cells import Cell
from .tflite_file import File, Operator, Subgraph, Tensor
from .tflite_schema import ACTIVATIONS
from .torch_pickle import shown

_MAX_REAL = 2 << 24  # numbers that were of fewer bits in the file
_MAX_READ = 3 << 24  # numbers of the constants that operators read; few bytes of a file may serve many
_IGNORED = {"asymmetric", "pot_scale", "bias_type"}
"""Options of how a runtime computes with fewer bits; they change no float answer."""

CASTS = {
    "float32": 1, "uint8": 2, "int8": 3, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11,
}  # fmt: skip
_ANSWERS = {"float32": "float", "float64": "double", "int8": "float", "int16": "float"}
"""ONNX' names of numbers; int8 and int16 stand for real ones."""


Method: TypeAlias = "Callable[[Lowering, Operator, dict[str, Any]], None]"
"""Adds an operator's nodes, and takes of its options what it honours."""


class Lowering:
    """One subgraph on its way into a graph of nodes."""

    def __init__(self, file: File, subgraph: Subgraph, methods: Mapping[str, Method]) -> None:
        self.file = file
        self.methods = methods
        self.subgraph = subgraph
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.writers = {k: operator for operator in subgraph.operators for k in operator.outputs}
        self.read = set(subgraph.outputs)  # tensors that operators which are needed read
        self.reals = 0
        self.narrow = 0  # constants of int8 among them
        self.evaluated = 0  # operators of the steps of all loops
        self._weights = 0
        self._made = 0
        self.last: dict[int, str] = {}  # of states that are answers, what cells leave in them
        self._ports: dict[int, str] = {}
        self._taken: set[str] = set()
        self._called: dict[str, int] = {}

    # ---- the graph ----

    def graph(self) -> Graph:
        for k in (*self.subgraph.inputs, *self.subgraph.outputs):
            self._ports.setdefault(k, self._port_name(k))
        operators = needed(self.subgraph)
        self.read.update(k for operator in operators for k in operator.inputs)
        for operator in operators:
            self.lower(operator)
        inputs = [self._port(k) for k in self.subgraph.inputs]
        outputs: list[Port] = []
        states: dict[int, Port] = {}
        for k in self.subgraph.outputs:
            if k in self.last:
                states[k] = states.get(k) or self._state_port(k)
                outputs.append(states[k])
                continue
            if k in self.subgraph.inputs or k not in self.writers:
                raise CheckpointError(f"output {shown(self._ports[k])!r} is not computed from what the model reads")
            outputs.append(self._port(k))
        return Graph(tuple(self.nodes), self.constants, tuple(inputs), tuple(outputs))

    def _port(self, k: int) -> Port:
        tensor = self.subgraph.tensors[k]
        shape: list[int | str] = [n if n >= 0 else f"d{axis}" for axis, n in enumerate(tensor.signature)]
        return Port(self._ports[k], _ANSWERS.get(tensor.dtype, tensor.dtype), tuple(shape))

    def _state_port(self, k: int) -> Port:
        """A cell's state as an answer: what the cell leaves there, whatever it started from."""
        name = self._port_name(k) if k in self.subgraph.inputs else self._ports[k]
        self.nodes.append(Node("Identity", "", name, (self.last[k],), (name,), {}, "Identity"))
        return replace(self._port(k), name=name)

    def _port_name(self, k: int) -> str:
        name = self.file.names.get(k) or plain(self.subgraph.tensors[k].name) or f"tensor_{k}"
        found, n = name, 2
        while found in self._taken:
            found, n = f"{name}_{n}", n + 1
        self._taken.add(found)
        return found

    def label(self, operator: Operator) -> str:
        return f"node {shown(self.called(operator))!r} ({operator.op})"

    def called(self, operator: Operator) -> str:
        """An operator's name: its answer's, where that tells more than a number."""
        for k in operator.outputs:
            name = plain(self.subgraph.tensors[k].name)
            if name:
                return name
        return operator.op.lower()

    def lower(self, operator: Operator) -> None:
        """Adds an operator's nodes."""
        method = self.methods.get(operator.op)
        if method is None:
            raise CheckpointError(f"{self.label(operator)}: an operator that no layer does")
        held = (self.subgraph.tensors[k] for k in operator.inputs if k >= 0)
        self._weights += sum(prod(tensor.shape) for tensor in held if tensor.data is not None)
        if self._weights > _MAX_READ:
            raise CheckpointError(
                f"{self.label(operator)}: the operators up to it read {self._weights} weights, more than are read"
            )
        options = {key: value for key, value in operator.options.items() if key not in _IGNORED}
        method(self, operator, options)
        for key, value in options.items():
            if np.asarray(value).any():
                raise CheckpointError(f"{self.label(operator)}: unknown option {key} ({shown(value)})")

    # ---- names ----

    def name(self, k: int) -> str:
        """What a tensor is called in the graph; a constant joins it."""
        if k < 0:
            return ""
        if k in self._ports:
            return self._ports[k]
        tensor = self.subgraph.tensors[k]
        found = f"#{k}"
        if tensor.data is None and tensor.refused and k not in self.writers:
            raise CheckpointError(tensor.refused)
        if tensor.variable and k not in self.writers:
            return self._zeros(k, tensor)
        if tensor.data is not None and found not in self.constants:
            self.constants[found] = self.real(tensor)
        return found

    def _zeros(self, k: int, tensor: Tensor) -> str:
        """A variable before the first call."""
        found = f"#{k}"
        if tensor.dtype != "float32" or prod(tensor.shape) > MAX_WIDTH:
            raise CheckpointError(f"tensor {shown(tensor.name)!r}: a variable of {list(tensor.shape)} {tensor.dtype}")
        self.constants[found] = np.zeros(tensor.shape, np.float32)
        return found

    def left(self, operator: Operator, index: int) -> str:
        """What the last state of a cell is called where the graph answers it; "" elsewhere."""
        k = operator.inputs[index] if index < len(operator.inputs) else -1
        if k not in self.subgraph.outputs:
            return ""
        self.last[k] = self.own()
        return self.last[k]

    def state(self, operator: Operator, index: int) -> str:
        """The state a cell starts from; "" for the zeros of a variable. The cell leaves its last one there, which
        nobody else may see but the graph's answers: converters give several the same zeros to start from."""
        k = operator.inputs[index] if index < len(operator.inputs) else -1
        if k < 0:
            return ""
        if operator.inputs.count(k) > 1:
            raise CheckpointError(f"{self.label(operator)}: it keeps two of its states in one tensor")
        operators = self.subgraph.operators
        place = next(n for n, o in enumerate(operators) if o is operator)
        late = [o for o in operators[place + 1 :] if k in o.inputs]
        if late or (k in self.subgraph.outputs and k not in self.last):
            other, name = self.label(late[0]) if late else "an output", shown(self.subgraph.tensors[k].name)
            raise CheckpointError(
                f"{self.label(operator)}: it keeps its state in {name!r}, which {other} "
                "reads behind it: a fault of the converter, which runtimes follow. Import the checkpoint it was "
                "converted from (.keras, .h5, .pt) instead"
            )
        variable = self.subgraph.tensors[k].variable and k not in self.subgraph.inputs and k not in self.writers
        return "" if variable else self.name(k)

    def number(self, value: float) -> str:
        return self.hold(np.array(value, np.float32))

    def whole(self, values: Sequence[int]) -> str:
        return self.hold(np.array(values, np.int64).reshape(len(values)))

    def hold(self, array: Array) -> str:
        """A constant of our own."""
        found = f"#constant {len(self.constants)}"
        self.constants[found] = array
        return found

    def emit(self, operator: Operator, op: str, inputs: Sequence[str], output: str = "", /, **attributes: Any) -> str:
        """Adds a node; where no output is named, of its own."""
        return self.emit_all(operator, op, inputs, [output], **attributes)[0]

    def emit_all(
        self, operator: Operator, op: str, inputs: Sequence[str], outputs: Sequence[str], /, **attributes: Any
    ) -> list[str]:
        made = [output or self.own() for output in outputs]
        self.nodes.append(Node(op, "", self.called(operator), tuple(inputs), tuple(made), attributes, operator.op))
        return made

    def cell(self, operator: Operator, cell: Cell, inputs: Sequence[str], outputs: Sequence[str], layout: int) -> str:
        """Adds a cell; returns the name of h of every step."""
        outputs = [outputs[0] or self.own(), *outputs[1:]]
        node = Node(
            "Recurrent", "", self.called(operator), tuple(inputs), tuple(outputs), {"cell": cell, "layout": layout},
            operator.op,
        )  # fmt: skip
        self.nodes.append(node)
        return outputs[0]

    def own(self) -> str:
        self._made += 1
        return f"#value {self._made}"

    # ---- constants ----

    def real(self, tensor: Tensor) -> Array:
        """A constant as the numbers it stands for."""
        array = tensor.array()
        if array.dtype == np.float16 or (tensor.quantization is not None and array.dtype.kind in "iu"):
            self.reals += array.size
            if self.reals > _MAX_REAL:
                raise CheckpointError(f"its weights of fewer bits are more than {_MAX_REAL}")
        if tensor.quantization is None or array.dtype.kind not in "iu":
            return array.astype(np.float32) if array.dtype == np.float16 else array
        self.narrow += array.dtype.itemsize == 1
        scales, zeros = tensor.quantization.scales, tensor.quantization.zeros
        side = [1] * array.ndim
        if not tensor.quantization.plain:
            side[tensor.quantization.axis] = len(scales)
        real: Array
        if not side:
            real = np.float32(scales[0]) * (array.astype(np.int64) - zeros[0]).astype(np.float32)
        elif zeros.any():
            real = (array - zeros.reshape(side)).astype(np.float32) * scales.astype(np.float32).reshape(side)
        else:
            real = array.astype(np.float32) * scales.astype(np.float32).reshape(side)
        return real

    def index(self, operator: Operator, index: int) -> int:
        """Of the tensor of an input that must be there."""
        if index >= len(operator.inputs) or operator.inputs[index] < 0:
            raise CheckpointError(f"{self.label(operator)}: input {index} is missing")
        return operator.inputs[index]

    def tensor(self, operator: Operator, index: int) -> Tensor:
        return self.subgraph.tensors[self.index(operator, index)]

    def constant(self, operator: Operator, index: int) -> Array | None:
        """An input that must be a constant; None where it is left out."""
        if index >= len(operator.inputs) or operator.inputs[index] < 0:
            return None
        k = operator.inputs[index]
        seen: set[int] = set()
        while self.subgraph.tensors[k].data is None and k in self.writers and k not in seen:
            seen.add(k)
            writer = self.writers[k]
            if writer.op != "DEQUANTIZE" or not writer.inputs:
                break
            k = writer.inputs[0]
        tensor = self.subgraph.tensors[k]
        if tensor.data is None:
            raise CheckpointError(f"{self.label(operator)}: its input {index} is no constant of the file")
        return self.real(tensor)

    def ints(self, operator: Operator, index: int) -> list[int]:
        """A list of whole numbers that must be a constant."""
        array = self.constant(operator, index)
        if array is None or array.dtype.kind not in "iu" or array.ndim > 1:
            raise CheckpointError(f"{self.label(operator)}: input {index} is no list of whole numbers")
        return [int(n) for n in np.atleast_1d(array)]

    def parts(self, operator: Operator, options: dict[str, Any], found: int) -> None:
        """Holds an operator to the number of tensors that it says it joins, or cuts."""
        count = options.pop("count")
        if count != found:
            raise CheckpointError(f"{self.label(operator)}: {found} tensors where it says {count}")

    def activated(self, operator: Operator, options: dict[str, Any], value: str, output: int) -> None:
        """A fused activation, and the operator's answer."""
        kind = ACTIVATIONS.get(options.pop("activation", 0), "unknown")
        name = self.name(output)
        match kind:
            case "none":
                self.emit(operator, "Identity", [value], name)
            case "relu":
                self.emit(operator, "Relu", [value], name)
            case "relu6":
                self.emit(operator, "Clip", [value, self.number(0), self.number(6)], name)
            case "relu_n1_to_1":
                self.emit(operator, "Clip", [value, self.number(-1), self.number(1)], name)
            case _:  # of tanh runtimes take no notice
                raise CheckpointError(f"{self.label(operator)}: a fused activation {kind}, which no layer does")


def needed(subgraph: Subgraph) -> list[Operator]:
    """The operators that the outputs need, and those that write variables, in the file's order."""
    wanted, kept = set(subgraph.outputs), []
    for operator in reversed(subgraph.operators):
        if wanted & set(operator.outputs):
            kept.append(operator)
            wanted.update(operator.inputs)
    return kept[::-1]


def plain(name: str) -> str:
    """What a converter's name tells: its first part without the trimmings of TensorFlow's."""
    name = name.split(";")[0].removeprefix("serving_default_")
    head, _, tail = name.rpartition(":")
    name = head if tail.isdigit() else name
    if name.startswith(("StatefulPartitionedCall", "PartitionedCall", "Identity")):
        return ""
    return "/".join(name.split("/")[-3:]).lstrip("#")
