"""One model on its way into a .tflite graph: its tensors, and what int8 asks of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..calibration import Calibration
from ..layers import LINEAR, Activation, Embedding
from ..model import Array
from .flatbuffer import Table
from .tflite_graph import ABSENT, Operator, Quantization
from .tflite_int8 import SIGMOID_OUT, TANH_OUT, affine, bias_integers, least_scale, symmetric
from .tflite_loop import Inner
from .tflite_plan import Plan
from .tflite_sheet import Sheet

_FIXED_OUT = {"sigmoid": SIGMOID_OUT, "softmax": SIGMOID_OUT, "tanh": TANH_OUT}
"""The int8 that TFLite prescribes for what an activation gives."""


@dataclass(slots=True)
class Assembly:
    """Grows layer by layer."""

    plan: Plan
    calibration: Calibration | None  # for int8 alone
    sheet: Sheet
    inner: Inner = field(default_factory=Inner)
    index: dict[str, int] = field(default_factory=dict)  # the graph's tensor per tensor of the model
    numbers: dict[str, int] = field(default_factory=dict)  # of those that are whole numbers, as int32
    counts: dict[str, int] = field(default_factory=dict)  # of masks, as bool
    last: dict[str, int] = field(default_factory=dict)  # the last step of tensors of which the graph has no other

    # ---- the model's tensors ----

    def input(self, name: str) -> int:
        shape, graph = self.plan.shape(name), self.sheet.graph
        if name in self.plan.ids:
            given = self.numbers[name] = graph.tensor(name, shape, "int32")
            others = [layer for layer in self.plan.readers(name) if not isinstance(layer, Embedding)]
            if others or name in self.plan.model.outputs:
                self.index[name] = self.sheet.op("CAST", [given], f"{name}/real", shape, _TO_FLOAT)
            return given
        given = graph.tensor(name, shape, "float32")
        if self.calibration is None:
            self.index[name] = given
        else:
            parameters = affine(*self.calibration.ranges[name])
            self.index[name] = graph.tensor(f"{name}/int8", shape, "int8", parameters)
            graph.operator("QUANTIZE", 1, [given], self.index[name])
        return given

    def output(self, name: str) -> int:
        if self.calibration is None:
            return self.index[name]
        given = self.sheet.graph.tensor(f"{name}/float", self.plan.shape(name), "float32")
        return self.sheet.graph.operator("DEQUANTIZE", 2, [self.index[name]], given)

    def finish(self) -> None:
        """Variables get their zeros before anything else, at the first call alone."""
        if self.inner.once.operators:
            number = self.inner.add(self.inner.once, [], [], "once")
            self.sheet.graph.operators.insert(0, Operator("CALL_ONCE", 1, (), (), {0: number}, ()))

    def value(self, name: str, shape: tuple[int, ...], parameters: Quantization | None) -> int:
        """A tensor that an operator is about to write."""
        return self.sheet.graph.tensor(name, shape, "float32" if parameters is None else "int8", parameters)

    def seen(self, name: str, activation: Activation = LINEAR, least: float = 0.0) -> Quantization | None:
        """The int8 of a tensor of the model, as its values on the samples ask for. None in the other kinds."""
        if self.calibration is None:
            return None
        return _FIXED_OUT.get(activation.name) or covering(list(self.calibration.each(name)), least)

    def parameters(self, tensor: int) -> Quantization:
        found = self.sheet.parameters(tensor)
        assert found is not None, "a tensor without scale in an int8 graph"
        return found

    def reshape(self, x: int, wanted: tuple[int, ...], name: str) -> int:
        return self.sheet.reshape(x, wanted, name)

    # ---- weights ----

    def weights(
        self,
        name: str,
        matrix: Array,
        bias: Array | None,
        x: int,
        by_row: bool = False,
        form: Form | None = None,
    ) -> tuple[int, int]:
        """Add weights [rows, columns], in a form of their own, and bias (ABSENT for none) of a product with x."""
        graph = self.sheet.graph

        def added(integers: Array, scales: Quantization | None) -> int:
            if form is None:
                return graph.constant(name, integers, scales)
            scales = None if scales is None else Quantization(scales.scales, scales.zero, form.axis)
            return graph.constant(name, (integers.T if form.transposed else integers).reshape(form.shape), scales)

        if self.plan.kind == "float":
            return added(np.asarray(matrix, np.float32), None), self.sheet.bias(f"{name}/bias", bias)
        if self.calibration is None:
            # products with steps of their own scale take one scale, convolutions one a row
            return added(*symmetric(matrix, by_row=form is not None)), self.sheet.bias(f"{name}/bias", bias)
        if bias is None:
            return added(*symmetric(matrix, by_row=by_row)), ABSENT
        read = self.parameters(x)
        integers, scales = symmetric(matrix, by_row=by_row, least=least_scale(bias, read, by_row=by_row))
        return added(integers, scales), graph.constant(f"{name}/bias", *bias_integers(bias, scales, read))


@dataclass(frozen=True, slots=True)
class Form:
    """How a matrix of weights stands in the file: its shape, the axis of its rows, and whether they come last."""

    shape: tuple[int, ...]
    axis: int = 0
    transposed: bool = False


_TO_FLOAT: Table = {0: np.int8(2), 1: np.int8(0)}


def covering(values: list[Array], least: float = 0.0) -> Quantization:
    return affine(float(min(v.min() for v in values)), float(max(v.max() for v in values)), least)
