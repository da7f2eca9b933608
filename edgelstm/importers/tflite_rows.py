"""What operators of TFLite make of the rows of values of one recurrent step, written out."""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

import numpy as np

from . import tflite_linear as linear
from .tflite_file import Operator
from .tflite_linear import Linear, Products, Unknown
from .tflite_schema import ACTIVATIONS


class Step(Protocol):
    """What is known of a step: its tensors' shapes, and their values as far as they are told."""

    @property
    def body(self) -> Any: ...

    @property
    def products(self) -> Products: ...

    def value(self, k: int) -> Any:
        """Of a tensor: a constant's array, a row, or something else."""

    def row(self, k: int) -> Linear:
        """A tensor as a row of values. Unknown where it is none."""


def is_whole(value: Any) -> bool:
    """Whether a value is a constant of whole numbers."""
    return isinstance(value, np.ndarray) and value.size > 0 and value.dtype.kind in "iu"


def evaluate(step: Step, operator: Operator) -> list[Any]:
    """What an operator makes of rows of values."""
    op, options, body = operator.op, operator.options, step.body
    out = body.tensors[operator.outputs[0]] if operator.outputs else None
    if op == "FULLY_CONNECTED":
        return [_activated(operator, _product(step, operator))]
    if op in ("ADD", "SUB", "MUL"):
        return [_activated(operator, _joined(step, operator))]
    if op in ("RELU", "MINIMUM", "MAXIMUM"):
        bounded = _bounded(step, operator)
        if bounded is not None:
            return [bounded]
    if op in _FUNCTIONS:
        return [linear.apply(_FUNCTIONS[op], step.row(operator.inputs[0]), _alpha(operator))]
    if op in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        shape = body.tensors[operator.inputs[0]].shape
        value = step.value(operator.inputs[0])
        if isinstance(value, np.ndarray):
            return [value.reshape(out.shape)] if out is not None and prod(out.shape) == value.size else []
        row = step.row(operator.inputs[0])
        if out is None or not out.shape or out.shape[-1] != row.width or prod(shape) != prod(out.shape):
            raise Unknown("it rearranges the values of a step")
        return [row]
    if op == "SPLIT":
        axis, row = step.value(operator.inputs[0]), step.row(operator.inputs[1])
        rank = len(body.tensors[operator.inputs[1]].shape)
        if not is_whole(axis) or int(axis.reshape(-1)[0]) not in (-1, rank - 1):
            raise Unknown("it splits other than the values of a step")
        count = len(operator.outputs)
        if row.width % count:
            raise Unknown("it splits values unevenly")
        size = row.width // count
        return [linear.rows(row, k * size, (k + 1) * size) for k in range(count)]
    if op == "SPLIT_V":
        return _parts(step, operator)
    if op in ("STRIDED_SLICE", "SLICE"):
        return [_cut(step, operator)]
    if op == "CONCATENATION":
        rank = len(body.tensors[operator.inputs[0]].shape)
        if options["axis"] not in (-1, rank - 1) or options["activation"]:
            raise Unknown("it joins other than the values of a step")
        return [linear.stacked([step.row(k) for k in operator.inputs])]
    if op == "DEQUANTIZE":
        return [step.value(operator.inputs[0])]
    if op == "GELU":
        form = "gelu_tanh" if options["approximate"] else "gelu"
        return [linear.apply(form, step.row(operator.inputs[0]))]
    if op == "DIV":
        return [_activated(operator, _softsign(step, operator))]
    if op == "LOG":
        return [_softplus(step.row(operator.inputs[0]))]
    if op == "NEG":
        return [linear.scaled(step.row(operator.inputs[0]), -1)]
    raise Unknown(f"it computes {op}, as {_LIKELY.get(op, 'an activation= or a cell of its own (RNN)')} does")


_NORMALISED = "layer normalisation inside a cell of its own (RNN)"
_LIKELY = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"), "a convolution inside the cell (ConvLSTM1D)"),
    **{op: f"activation={op.lower()!r} of a cell" for op in ("SOFTMAX", "LOG_SOFTMAX")},
    **dict.fromkeys(("MEAN", "RSQRT", "SQUARED_DIFFERENCE"), _NORMALISED),
    **dict.fromkeys(("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL"), "dropout= of a model in training"),
}
"""What of a layer's options each operator in a loop is likely there for."""


_FUNCTIONS = {
    "LOGISTIC": "sigmoid", "TANH": "tanh", "RELU": "relu", "RELU6": "relu6", "RELU_0_TO_1": "clip01",
    "LEAKY_RELU": "leaky_relu", "ELU": "elu", "EXP": "exponential", "ABS": "abs",
    "HARD_SWISH": "hard_silu",
}  # fmt: skip


def _bounded(step: Step, operator: Operator) -> Linear | None:
    """A value held between 0 and 1 by two operators; the first alone is a function of its own kind."""
    row, bound = step.row(operator.inputs[0]), 0.0
    if operator.op != "RELU":
        constant = step.value(operator.inputs[1])
        if not isinstance(constant, np.ndarray) or constant.size != 1:
            raise Unknown(f"it computes {operator.op}")
        bound = float(constant.reshape(-1)[0])
    other = {"RELU": "below 1", "MAXIMUM": "below 1", "MINIMUM": "above 0"}[operator.op]
    atom = row.atom
    fits = bound == (1 if operator.op == "MINIMUM" else 0)
    if fits and atom is not None and atom.kind == "apply" and atom.parts[0] == other:
        return linear.apply("clip01", atom.parts[2])
    if fits and operator.op == "MINIMUM":
        if atom is not None and atom.kind == "apply" and atom.parts[0] == "relu":
            return linear.apply("clip01", atom.parts[2])
        return linear.apply("below 1", row)
    if operator.op == "RELU":
        return None
    if fits:
        return linear.apply("relu", row)
    if operator.op == "MINIMUM" and bound == 0:
        return linear.apply("below 0", row)
    raise Unknown(f"it computes {operator.op} with {bound:g}")


def _plus_one(row: Linear, name: str) -> Linear | None:
    """What a row is this function of, and one more."""
    inner = linear.shifted(row, -1).atom
    return inner.parts[2] if inner is not None and inner.kind == "apply" and inner.parts[0] == name else None


def _softsign(step: Step, operator: Operator) -> Linear:
    """x / (1 + |x|)."""
    row = step.row(operator.inputs[0])
    argument = _plus_one(step.row(operator.inputs[1]), "abs")
    if argument is None or not linear.equal(argument, row):
        raise Unknown("it divides")
    return linear.apply("softsign", row)


def _softplus(row: Linear) -> Linear:
    """log(1 + exp(x))."""
    argument = _plus_one(row, "exponential")
    if argument is None:
        raise Unknown("it takes logarithms")
    return linear.apply("softplus", argument)


def _elu(row: Linear) -> Linear | None:
    """max(x, 0) + alpha (exp(min(x, 0)) - 1)."""
    atoms = {atom.parts[0]: atom for atom in row.terms if atom.kind == "apply"}
    if len(row.terms) != 2 or set(atoms) != {"relu", "exponential"}:
        return None
    x, low = atoms["relu"].parts[2], atoms["exponential"].parts[2].atom
    below = row.terms[atoms["exponential"]]
    alpha = below.scale.reshape(-1)[:1]
    fits = row.terms[atoms["relu"]].one and below.matrix is None and bool((below.scale == alpha).all())
    if not fits or low is None or low.kind != "apply" or low.parts[0] != "below 0" or (row.bias != -alpha).any():
        return None
    return linear.apply("elu", x, float(alpha[0])) if linear.equal(low.parts[2], x) else None


def _alpha(operator: Operator) -> float:
    return float(operator.options.get("alpha", 1.0 if operator.op == "ELU" else 0.0))


def _activated(operator: Operator, row: Linear) -> Linear:
    name = ACTIVATIONS.get(operator.options["activation"], "unknown")
    if name == "none":
        return row
    if name not in ("relu", "relu6"):
        raise Unknown(f"it computes a fused {name}")
    return linear.apply(name, row)


def _product(step: Step, operator: Operator) -> Linear:
    weights = step.value(operator.inputs[1])
    if not isinstance(weights, np.ndarray) or operator.options["weights_format"]:
        raise Unknown("its weights are no constants")
    x = step.value(operator.inputs[0])
    if isinstance(x, np.ndarray) and not x.any() and weights.ndim == 2:
        row = Linear(len(weights), {}, np.zeros(len(weights)))
    else:
        row = step.products.matrix(weights, step.row(operator.inputs[0]))
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = step.value(operator.inputs[2])
        if not isinstance(bias, np.ndarray) or bias.size != row.width:
            raise Unknown("its bias is no constant of its width")
        row = linear.shifted(row, bias)
    return row


def _joined(step: Step, operator: Operator) -> Linear:
    values = [step.value(k) for k in operator.inputs]
    constants = [isinstance(v, np.ndarray) for v in values]
    if all(constants):
        raise Unknown("it computes with constants alone")
    if not any(constants):
        left, right = (step.row(k) for k in operator.inputs)
        if operator.op == "MUL":
            return linear.product(left, right)
        made = linear.total(left, right if operator.op == "ADD" else linear.scaled(right, -1))
        return _elu(made) or made
    row = step.row(operator.inputs[constants.index(False)])
    constant = values[constants.index(True)]
    if constant.size not in (1, row.width):
        raise Unknown(f"it joins {row.width} values with a constant of {constant.size}")
    if operator.op == "MUL":
        return linear.scaled(row, constant)
    if operator.op == "ADD":
        return linear.shifted(row, constant)
    return linear.shifted(linear.scaled(row, -1), constant) if constants[0] else linear.shifted(row, -constant)


def _parts(step: Step, operator: Operator) -> list[Any]:
    """SPLIT_V, of which a part may be empty."""
    row, sizes, axis = step.row(operator.inputs[0]), *(step.value(k) for k in operator.inputs[1:3])
    rank = len(step.body.tensors[operator.inputs[0]].shape)
    if not (is_whole(sizes) and is_whole(axis)) or int(axis.reshape(-1)[0]) not in (
        -1,
        rank - 1,
    ):
        raise Unknown("it splits other than the values of a step")
    counts = [int(n) for n in sizes.reshape(-1)]
    if counts.count(-1) == 1:
        counts[counts.index(-1)] = row.width - sum(counts) - 1
    if sum(counts) != row.width or min(counts) < 0:
        raise Unknown(f"it splits {row.width} values into {counts}")
    ends = np.cumsum(counts).tolist()
    return [linear.rows(row, end - n, end) if n else None for end, n in zip(ends, counts, strict=True)]


def _cut(step: Step, operator: Operator) -> Linear:
    row = step.row(operator.inputs[0])
    rank = len(step.body.tensors[operator.inputs[0]].shape)
    bounds = [step.value(k) for k in operator.inputs[1:]]
    if not all(is_whole(b) and b.size == rank for b in bounds):
        raise Unknown("it takes values at places that are no constants")
    first, last = (b.reshape(-1).tolist() for b in bounds[:2])
    if operator.op == "SLICE":
        ends = [row.width if n == -1 else b + n for b, n in zip(first, last, strict=True)]
        whole = [
            b == 0 and (n == -1 or n == s)
            for b, n, s in zip(first, last, step.body.tensors[operator.inputs[0]].shape, strict=True)
        ]
        if not all(whole[:-1]):
            raise Unknown("it takes some sequences of a batch")
        return linear.rows(row, first[-1], ends[-1])
    options = operator.options
    if any(options[f"{key}_mask"] for key in ("ellipsis", "new_axis", "shrink")) or options["offset"]:
        raise Unknown("it takes single values of a step")
    outer = (1 << (rank - 1)) - 1
    if (
        options["begin_mask"] & outer != outer
        or options["end_mask"] & outer != outer
        or set(bounds[2].reshape(-1).tolist()) != {1}
    ):
        raise Unknown("it takes some sequences of a batch")
    begin = 0 if options["begin_mask"] >> (rank - 1) & 1 else first[-1]
    end = row.width if options["end_mask"] >> (rank - 1) & 1 else last[-1]
    return linear.rows(row, begin if begin >= 0 else begin + row.width, end if end >= 0 else end + row.width)
