"""A float Model as a TensorFlow Lite file: float, dynamic range or full int8. Only flatbuffers is needed.

Inputs are float32 [batch, steps, width] in all kinds. The fused LSTM keeps h and c between calls: reset a runtime's
variables before each sequence, or write a model of one step and stream.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..calibration import Calibration, calibrate
from ..errors import ExportError, InputError
from ..files import write_whole
from ..layers import GATES, LINEAR, Activate, Activation, Dense, Last, Lstm
from ..model import Array, Model
from .flatbuffer import Table
from .tflite_graph import ABSENT, Graph, Quantization
from .tflite_int8 import SIGMOID_OUT, TANH_OUT, affine, bias_integers, cell, least_output_scale, least_scale, symmetric

KINDS = ("float", "dynamic", "int8")

_FUSED = {"linear": 0, "relu": 1, "relu6": 3}
"""Activations that FULLY_CONNECTED computes itself, by TFLite's numbers."""

_OPERATORS = {
    "relu": ("RELU", 1, 2),
    "relu6": ("RELU6", 1, 2),
    "leaky_relu": ("LEAKY_RELU", 1, 2),
    "elu": ("ELU", 1, 1),
    "sigmoid": ("LOGISTIC", 1, 2),
    "tanh": ("TANH", 1, 2),
    "softmax": ("SOFTMAX", 1, 2),
}
"""Activations that are operators of their own, with their version for float and for int8."""

ACTIVATIONS = tuple(dict.fromkeys((*_FUSED, *_OPERATORS)))
"""Of Dense layers, and alone; an LSTM's are sigmoid and tanh."""

_FIXED_OUT = {"sigmoid": SIGMOID_OUT, "softmax": SIGMOID_OUT, "tanh": TANH_OUT}
"""The int8 that TFLite prescribes for what an activation gives."""


def write(
    model: Model,
    path: str | os.PathLike[str],
    kind: str = "float",
    samples: Any = None,
    steps: int | None = None,
    batch: int = 1,
) -> int:
    """Write a model as a .tflite file, whole or not at all; returns its size in bytes. Arguments as in `build`."""
    data = build(model, kind, samples, steps, batch)
    write_whole(path, data)
    return len(data)


def build(model: Model, kind: str = "float", samples: Any = None, steps: int | None = None, batch: int = 1) -> bytes:
    """The bytes of a .tflite file.

    kind: "float", "dynamic" (int8 weights) or "int8", which takes its ranges from `samples` as `quantize` does.
    steps: of the input's shape; None takes the model's window, else 1, which streams. Runtimes can resize it.
    ExportError names every layer that TFLite cannot express.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if (samples is not None) != (kind == "int8"):
        raise InputError(f"kind {kind} takes no samples" if samples is not None else "kind int8 needs samples")
    steps = (model.meta.window or 1) if steps is None else steps
    for name, value in (("steps", steps), ("batch", batch)):
        if not isinstance(value, int) or not 1 <= value < 2**31:
            raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
    if reasons := refusals(model):
        raise ExportError(f"TFLite cannot express this model: {'; '.join(reasons)}")
    calibration = calibrate(model, samples) if kind == "int8" else None
    return _Assembly(model, kind, calibration, steps, batch).pack()


def refusals(model: Model) -> list[str]:
    """Why TFLite cannot express a model: a reason per layer, none if it can."""
    reasons = []
    for layer in model.layers:
        if isinstance(layer, Lstm):
            if layer.activation.name != "tanh":
                reasons.append(f"{layer.name}: its cells compute tanh, not {layer.activation.name}")
            if layer.gate_activation.name != "sigmoid":
                reasons.append(f"{layer.name}: its gates compute sigmoid, not {layer.gate_activation.name}")
            reasons += [f"{layer.name}: its cells have no {option} here" for option in _options(layer)]
        elif isinstance(layer, Dense | Activate):
            name = layer.activation.name
            if name not in ACTIVATIONS:
                reasons.append(f"{layer.name}: it has no operator for {name}")
            if name == "elu" and layer.activation.alpha != 1:
                reasons.append(f"{layer.name}: its elu has alpha 1, this one {layer.activation.alpha:g}")
        elif isinstance(layer, Last) and layer.period:
            reasons.append(f"{layer.name}: it has no Last of periods")
        elif not isinstance(layer, Last):
            reasons.append(f"{layer.name}: {type(layer).__name__} is not written by this exporter")
    reasons += [
        f"{t.name}: an input of one row a run is not written by this exporter" for t in model.tensors if t.single
    ]
    return reasons


def _options(layer: Lstm) -> list[str]:
    """What this LSTM has beyond the plain cell."""
    given = {
        "function of their own": layer.cell_activation is not None,
        "projection": layer.projection is not None,
        "peepholes": layer.peephole is not None,
        "coupled gates": layer.coupled,
        "layer normalisation": layer.norm is not None,
        "clip of what enters the gates": layer.clip is not None,
        "mask": layer.masked,
        "initial state": layer.initial,
        "period": layer.period,
        "second output": len(layer.writes) > 1,
    }
    return [name for name, there in given.items() if there]


@dataclass(slots=True)
class _Assembly:
    """One model on its way into a graph."""

    model: Model
    kind: str
    calibration: Calibration | None  # for int8 alone
    steps: int
    batch: int
    graph: Graph = field(default_factory=Graph)
    index: dict[str, int] = field(default_factory=dict)  # the graph's tensor per tensor of the model
    single: set[str] = field(default_factory=set)  # tensors [batch, width], behind a Last

    def pack(self) -> bytes:
        inputs = [self.input(name) for name in self.model.inputs]
        for layer in self.model.layers:
            source, target = layer.reads[0], layer.writes[0]
            if source in self.single or isinstance(layer, Last):
                self.single.add(target)
            match layer:
                case Lstm():
                    self.index[target] = self.lstm(layer)
                case Dense():
                    self.index[target] = self.dense(layer)
                case Activate():
                    self.index[target] = self.activate(layer.activation, self.index[source], target)
                case Last():
                    self.index[target] = self.last(self.index[source], target, source in self.single)
        outputs = [self.output(name) for name in self.model.outputs]
        return self.graph.pack(inputs, outputs, "EdgeLSTM")

    # ---- the model's tensors ----

    def input(self, name: str) -> int:
        shape = (self.batch, self.steps, self.model.width(name))
        given = self.graph.tensor(name, shape, "float32")
        if self.calibration is None:
            self.index[name] = given
        else:
            parameters = affine(*self.calibration.ranges[name])
            self.index[name] = self.graph.tensor(f"{name}/int8", shape, "int8", parameters)
            self.graph.operator("QUANTIZE", 1, [given], self.index[name])
        return given

    def output(self, name: str) -> int:
        if self.calibration is None:
            return self.index[name]
        given = self.graph.tensor(f"{name}/float", self.shape(name), "float32")
        return self.graph.operator("DEQUANTIZE", 2, [self.index[name]], given)

    def shape(self, name: str) -> tuple[int, ...]:
        width = self.model.width(name)
        return (self.batch, width) if name in self.single else (self.batch, self.steps, width)

    def value(self, name: str, shape: tuple[int, ...], parameters: Quantization | None) -> int:
        """A tensor that an operator is about to write."""
        return self.graph.tensor(name, shape, "float32" if parameters is None else "int8", parameters)

    def seen(self, name: str, activation: Activation = LINEAR) -> Quantization | None:
        """The int8 of a tensor of the model, as its values on the samples ask for. None in the other kinds."""
        if self.calibration is None:
            return None
        return _FIXED_OUT.get(activation.name) or _covering(list(self.calibration.each(name)))

    def parameters(self, tensor: int) -> Quantization:
        found = self.graph.tensors[tensor].quantization
        assert found is not None, "a tensor without scale in an int8 graph"
        return found

    # ---- weights ----

    def weights(self, name: str, matrix: Array, bias: Array | None, x: int, by_row: bool = False) -> tuple[int, int]:
        """Add weights and bias (ABSENT for none) of a product with the tensor x."""
        if self.kind == "float":
            return self.graph.constant(name, matrix), self.float_bias(name, bias)
        if self.calibration is None:
            return self.graph.constant(name, *symmetric(matrix)), self.float_bias(name, bias)
        if bias is None:
            return self.graph.constant(name, *symmetric(matrix, by_row=by_row)), ABSENT
        read = self.parameters(x)
        integers, scales = symmetric(matrix, by_row=by_row, least=least_scale(bias, read, by_row=by_row))
        added = self.graph.constant(name, integers, scales)
        return added, self.graph.constant(f"{name}/bias", *bias_integers(bias, scales, read))

    def float_bias(self, name: str, bias: Array | None) -> int:
        return ABSENT if bias is None else self.graph.constant(f"{name}/bias", bias)

    # ---- layers ----

    def lstm(self, layer: Lstm) -> int:
        name, units, target = layer.name, layer.units, layer.writes[0]
        x, steps = self.index[layer.reads[0]], self.steps
        if layer.reads[0] in self.single:  # one step: the operator wants the axis
            x, steps = self.reshape(x, (self.batch, 1, layer.inputs), f"{name}/x"), 1
        gates = list(enumerate(GATES))
        parts = [self.weights(f"{name}/kernel/{g}", layer.kernel[k], layer.bias[k], x) for k, g in gates]
        recurrent = [self.weights(f"{name}/recurrent/{g}", layer.recurrent[k], None, x)[0] for k, g in gates]
        hidden = self.seen(target)
        state, intermediates = (self.batch, units), []
        h = self.graph.variable(f"{name}/h", state, "float32" if hidden is None else "int8", hidden)
        if self.calibration is None:
            c = self.graph.variable(f"{name}/c", state, "float32")
        else:
            largest = max(float(np.abs(values).max()) for values in self.calibration.each(f"{name}.c"))
            c = self.graph.variable(f"{name}/c", state, "int16", cell(largest))
            # four for layer norm, which is not there, and one whose scale h is quantized with
            intermediates = [self.graph.tensor(f"{name}/unused/{k}", (0,), "float32") for k in range(4)]
            intermediates.append(self.graph.tensor(f"{name}/hidden", (0,), "int8", hidden))
        y = self.value(f"{name}/y" if steps != self.steps else target, (self.batch, steps, units), hidden)
        inputs = [x, *(w for w, _ in parts), *recurrent, *[ABSENT] * 3, *(b for _, b in parts), ABSENT, ABSENT, h, c]
        options: Table = {
            0: np.int8(4),  # tanh
            1: np.float32(layer.cell_clip or 0.0),
            2: np.float32(0),
            3: np.bool_(False),
            4: np.bool_(False),
        }
        self.graph.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", 1, [*inputs, *[ABSENT] * 4], y, options, intermediates)
        return self.last(y, target, False) if layer.reads[0] in self.single else y

    def dense(self, layer: Dense) -> int:
        source, target, activation = layer.reads[0], layer.writes[0], layer.activation
        fused = activation.name in _FUSED
        x, shape = self.index[source], self.shape(target)
        weights, bias = self.weights(f"{layer.name}/kernel", layer.kernel, layer.bias, x, by_row=True)
        name = target if fused else f"{layer.name}/z"
        parameters = self.product(layer, fused, x, weights)
        options: Table = {
            0: np.int8(_FUSED.get(activation.name, 0)),
            2: np.bool_(True),  # the axis of steps stays
            3: np.bool_(False),
        }
        version = 9 if self.kind == "dynamic" else 5
        if self.calibration is None or len(shape) == 2:
            z = self.value(name, shape, parameters)
            self.graph.operator("FULLY_CONNECTED", version, [x, weights, bias], z, options)
        else:  # tflite-runtime's reference kernel with a scale a row answers the first of several steps alone
            x = self.reshape(x, (-1, layer.inputs), f"{layer.name}/x")
            z = self.value(f"{name}/flat", (shape[0] * shape[1], layer.units), parameters)
            self.graph.operator("FULLY_CONNECTED", version, [x, weights, bias], z, options)
            z = self.reshape(z, (self.batch, -1, layer.units), name)
        return z if fused else self.activate(activation, z, target)

    def product(self, layer: Dense, fused: bool, x: int, weights: int) -> Quantization | None:
        """The int8 of what FULLY_CONNECTED writes: a fused activation's values, or what an activation is to see."""
        if self.calibration is None:
            return None
        least = least_output_scale(self.parameters(weights), self.parameters(x))
        if fused:
            return _covering(list(self.calibration.each(layer.writes[0])), least)
        kernel, bias = layer.kernel.T.astype(np.float64), layer.bias
        return _covering([values @ kernel + bias for values in self.calibration.each(layer.reads[0])], least)

    def activate(self, activation: Activation, x: int, target: str) -> int:
        if activation.name == "linear":
            return x
        operator, float_version, int8_version = _OPERATORS[activation.name]
        options: dict[str, Table] = {
            "leaky_relu": {0: np.float32(activation.alpha)},
            "softmax": {0: np.float32(1)},  # beta
        }
        y = self.value(target, self.shape(target), self.seen(target, activation))
        version = float_version if self.calibration is None else int8_version
        return self.graph.operator(operator, version, [x], y, options.get(activation.name))

    def last(self, x: int, target: str, alone: bool) -> int:
        """The last step; x itself where it is alone already."""
        if alone:
            return x
        bounds = [self.graph.constant(f"{target}/{key}", np.array(v, np.int32)) for key, v in _LAST.items()]
        y = self.value(target, self.shape(target), self.graph.tensors[x].quantization)
        # masks: all of the first and third axis, and of the second to its end, whose axis goes
        options: Table = {0: np.int32(5), 1: np.int32(7), 2: np.int32(0), 3: np.int32(0), 4: np.int32(2)}
        return self.graph.operator("STRIDED_SLICE", 2 if self.calibration is not None else 1, [x, *bounds], y, options)

    def reshape(self, x: int, wanted: tuple[int, ...], name: str) -> int:
        """x in another shape; -1 stands for the axis of steps, which a runtime may resize."""
        missing = math.prod(self.graph.tensors[x].shape) // abs(math.prod(wanted))
        shape = tuple(missing if n == -1 else n for n in wanted)
        y = self.value(name, shape, self.graph.tensors[x].quantization)
        array = np.array(wanted, np.int32)
        return self.graph.operator("RESHAPE", 1, [x, self.graph.constant(f"{name}/shape", array)], y, {0: array})


_LAST = {"begin": (0, -1, 0), "end": (0, 0, 0), "strides": (1, 1, 1)}


def _covering(values: list[Array], least: float = 0.0) -> Quantization:
    return affine(float(min(v.min() for v in values)), float(max(v.max() for v in values)), least)
