"""ONNX graphs drawn at random: LSTM, GRU and RNN with every attribute, and what exporters put around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from drawing import Case, Draw
from onnx import TensorProto, helper, numpy_helper

from edgelstm import peers, random_inputs
from edgelstm.model import Model

OPSETS = (9, 11, 13, 17, 20)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}  # a direction
CELL = ("Tanh", "Tanh", "Relu", "Sigmoid", "Softsign", "Elu", "LeakyRelu", "HardSigmoid", "Softplus", "ScaledTanh",
        "Affine")  # fmt: skip
GATE = ("Sigmoid", "Sigmoid", "HardSigmoid", "Tanh")
ALPHA = {"Elu": 0.7, "LeakyRelu": 0.1, "HardSigmoid": 0.3, "ScaledTanh": 1.2, "Affine": 0.8}
BETA = {"HardSigmoid": 0.4, "ScaledTanh": 0.9, "Affine": -0.1}
PLAIN = ("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Elu", "LeakyRelu", "HardSigmoid", "Selu")
NEWER = {"Celu": 12, "HardSwish": 14, "Mish": 18}  # by the opset they came with

ALLOWED = {
    r"from \(\d+ \+ .* mixes sequences": "two directions joined behind padding of an open number of steps",
}
"""Reasons to refuse that drawn models may meet, and what docs/support.md says of them."""


class Builder:
    """A graph as far as it is drawn. `x` is [batch, steps, width], or [batch, width] where `sequence` is False."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.random = draw, draw.random()
        self.opset = draw.one(*OPSETS)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.kinds: list[str] = []
        self.width = draw.whole(1, 5)
        self.sequence, self.resized, self.count = True, False, 0
        self.steps: Any = draw.one("steps", "steps", draw.whole(4, 8))
        self.x = self.input("x", ["batch", self.steps, self.width])

    def input(self, name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.uniform(-0.6, 0.6, shape).astype(np.float32))

    def constant(self, value: Any) -> str:
        self.count += 1
        self.weights.append(numpy_helper.from_array(np.asarray(value), f"w{self.count}"))
        return f"w{self.count}"

    def node(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> Any:
        self.count += 1
        made = [f"t{self.count}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, f"{op}_{self.count}", **attributes))
        self.kinds.append(op)
        return made[0] if outputs == 1 else made

    # what moved between attributes and inputs over the opsets

    def squeeze(self, x: str, axis: int) -> str:
        if self.opset < 13:
            return self.node("Squeeze", [x], axes=[axis])
        return self.node("Squeeze", [x, self.constant(np.int64([axis]))])

    def per_sequence(self, state: str, sides: int, units: int) -> str:
        """A state of one row as many times as there are sequences."""
        shape = self.node("Shape", [self.x])
        count = self.node("Gather", [shape, self.constant(np.int64([0]))], axis=0)
        ends = [self.constant(np.int64([n])) for n in (sides, units)]
        return self.node("Expand", [state, self.node("Concat", [ends[0], count, ends[1]], axis=0)])

    def turned(self, x: str, *order: int) -> str:
        return self.node("Transpose", [x], perm=order)

    # ---- layers ----

    def recurrent(self) -> None:
        draw, op = self.draw, self.draw.one("LSTM", "LSTM", "GRU", "RNN")
        units, gates = draw.whole(1, 5), GATES[op]
        direction = draw.one("forward", "forward", "reverse", "bidirectional")
        sides = 2 if direction == "bidirectional" else 1
        attributes: dict[str, Any] = {"hidden_size": units, "direction": direction}
        if draw.flag():
            names = [draw.one(*CELL if k == FUNCTIONS[op] - 1 or op == "RNN" else GATE) for k in range(FUNCTIONS[op])]
            names = [draw.one(*GATE), *(draw.one(*CELL) for _ in names[1:])] if op != "RNN" else names
            attributes["activations"] = names * sides
            alphas = [ALPHA[name] for name in names * sides if name in ALPHA]
            betas = [BETA[name] for name in names * sides if name in BETA]
            attributes |= ({"activation_alpha": alphas} if alphas else {}) | (
                {"activation_beta": betas} if betas else {}
            )
        if draw.rarely():
            attributes["clip"] = draw.one(0.3, 1.0)
        if op == "LSTM":
            attributes["input_forget"] = int(draw.rarely())
        if op == "GRU":
            attributes["linear_before_reset"] = int(draw.flag())
        given = [self.turned(self.x, 1, 0, 2), self.weight(sides, gates * units, self.width)]
        given += [self.weight(sides, gates * units, units)]
        given += [self.weight(sides, 2 * gates * units) if draw.one(True, True, False) else ""]
        lengths = draw.rarely() and not self.resized and not any(i.name == "lengths" for i in self.inputs)
        given += [self.input("lengths", ["batch"], TensorProto.INT32) if lengths else ""]
        start = draw.one("zeros", "zeros", "zeros", "inputs", "constants")
        if start == "constants":
            given += [self.weight(sides, 1, units) for _ in range(2 if op == "LSTM" else 1)]
            given[5:] = [self.per_sequence(state, sides, units) for state in given[5:]]
        elif start == "inputs":
            for k in range(2 if op == "LSTM" else 1):
                given.append(self.input(f"state{self.count}_{k}", [sides, "batch", units]))
        elif op == "LSTM":
            given += ["", ""]
        if op == "LSTM" and draw.rarely():
            given += ["", ""][: 7 - len(given)]
            given.append(self.weight(sides, 3 * units))
        while given and not given[-1]:
            given.pop()
        y, *states = self.node(op, given, 3 if op == "LSTM" else 2, **attributes)
        self.width = sides * units
        if draw.flag():
            if sides == 1:
                y = self.squeeze(y, 1)
            else:
                y = self.node("Reshape", [self.turned(y, 0, 2, 1, 3), self.constant(np.int64([0, 0, -1]))])
            self.x = self.turned(y, 1, 0, 2)
            return
        self.sequence = False
        state = states[0]
        self.x = self.squeeze(state, 0) if sides == 1 else self.node(
            "Reshape", [self.turned(state, 1, 0, 2), self.constant(np.int64([0, -1]))]
        )  # fmt: skip

    def dense(self) -> None:
        units = self.draw.whole(1, 5)
        if not self.sequence and self.draw.flag():
            self.x = self.node("Gemm", [self.x, self.weight(units, self.width), self.weight(units)], transB=1)
        else:
            self.x = self.node("MatMul", [self.x, self.weight(self.width, units)])
            if self.draw.flag():
                self.x = self.node("Add", [self.x, self.weight(units)])
        self.width = units

    def activation(self) -> None:
        self.x = self.node(self.draw.one(*PLAIN, *(op for op, since in NEWER.items() if since <= self.opset)), [self.x])

    def conv(self) -> None:
        draw = self.draw
        groups = draw.one(*(g for g in (1, 2) if self.width % g == 0))
        units, taps = groups * draw.whole(1, 2), draw.whole(1, 2)
        given = [self.turned(self.x, 0, 2, 1), self.weight(units, self.width // groups, taps), self.weight(units)]
        pads = [draw.whole(0, 1), draw.whole(0, 1)]
        made = self.node("Conv", given, group=groups, kernel_shape=[taps], pads=pads, dilations=[draw.one(1, 2)])
        self.x, self.width, self.resized = self.turned(made, 0, 2, 1), units, True

    def pool(self) -> None:
        op = self.draw.one("MaxPool", "AveragePool")
        made = self.node(op, [self.turned(self.x, 0, 2, 1)], kernel_shape=[2], strides=[self.draw.one(1, 2)])
        self.x, self.resized = self.turned(made, 0, 2, 1), True

    def last(self) -> None:
        self.x = self.node("Gather", [self.x, self.constant(np.int64(-1))], axis=1)
        self.sequence = False

    def reduce(self) -> None:
        op, since = self.draw.one(("ReduceMean", 18), ("ReduceMax", 18), ("ReduceSum", 13))  # axes as an input
        if self.opset < since:
            self.x = self.node(op, [self.x], axes=[1], keepdims=0)
        else:
            self.x = self.node(op, [self.x, self.constant(np.int64([1]))], keepdims=0)
        self.sequence = False

    def join(self) -> None:
        other = self.node("Tanh", [self.node("MatMul", [self.x, self.weight(self.width, self.width)])])
        op = self.draw.one("Add", "Mul", "Sub", "Max", "Concat")
        self.x = self.node(op, [self.x, other], **({"axis": -1} if op == "Concat" else {}))
        self.width *= 2 if op == "Concat" else 1

    def affine(self) -> None:
        self.x = self.node("Add", [self.node("Mul", [self.x, self.weight(self.width)]), self.weight(self.width)])

    def softmax(self) -> None:
        if self.opset >= 13 or not self.sequence:
            self.x = self.node(self.draw.one("Softmax", "LogSoftmax"), [self.x], axis=-1)

    def norm(self) -> None:
        if self.opset >= 17:
            self.x = self.node(
                "LayerNormalization", [self.x, self.weight(self.width), self.weight(self.width)], epsilon=0.05
            )

    def step(self) -> None:
        choices = [self.dense, self.activation, self.join, self.affine, self.softmax, self.norm]
        if self.sequence:
            choices += [self.recurrent] * 5 + [self.conv, self.pool, self.last, self.reduce]
        self.draw.one(*choices)()

    def model(self) -> Any:
        self.nodes.append(helper.make_node("Identity", [self.x], ["y"]))
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "drawn", self.inputs, [y], self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def case(draw: Draw, folder: Path) -> Case:
    """A drawn graph in a file."""
    builder = Builder(draw)
    builder.recurrent()
    for _ in range(draw.whole(0, 4)):
        builder.step()
    made = builder.model()
    path = folder / "drawn.onnx"
    onnx.save(made, path)

    def run(model: Model) -> Any:
        xs = random_inputs.draw(model, 3, model.meta.window or 6, builder.random)
        return xs, peers.onnx_file(path, xs).ys

    return Case(path, run, onnx.printer.to_text(made.graph)[:6000], builder.kinds)
