"""Operations that Keras keeps among the layers of a functional model: `x + y`, `x[:, -1]`, and how masks are made.

Keras 3 calls them by classes of keras.ops, tf.keras by functions of TensorFlow (TFOpLambda, SlicingOpLambda).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..layers import OVER_VALUES, Activation, Reduce
from .keras_attention import as_mask
from .keras_build import Call, Truth, Value
from .keras_config import ACTIVATIONS, shown
from .keras_joins import elementwise, joined_masks, side_by_side
from .keras_spec import OPERATIONS
from .keras_steps import activated, affine, halved, missing

# ---- two operands ----


def _operands(call: Call) -> tuple[Any, Any]:
    given = [*(call.inputs or ()), *call.args]
    if call.keywords.get("y") is not None:
        given.append(call.keywords.pop("y"))
    call.keywords.pop("name", None)
    if len(given) != 2:
        raise call.refuse(f"it is called with {len(given)} values, expected two")
    return given[0], given[1]


def _arithmetic(kind: str) -> Callable[[Call], Value]:
    """Addition and its like, of two tensors, or of one and numbers."""

    def compute(call: Call) -> Value:
        a, b = _operands(call)
        if isinstance(a, Value) and isinstance(b, Value):
            if kind == "divide":
                raise call.refuse("a tensor divided by another is not supported")
            a, b = (call.build.settle(value, False, call.spec.name) for value in (a, b))
            if len(a.shape) != len(b.shape) or a.truth or b.truth:
                raise call.refuse(f"shapes {shown([list(a.shape), list(b.shape)])} are joined along the batch")
            return elementwise(call, kind, [a, b])
        first = isinstance(a, Value)
        x, number = (a, b) if first else (b, a)
        if not isinstance(x, Value) or kind in ("maximum", "minimum"):
            raise call.refuse(f"it is called with {shown(number)}, which is not supported")
        x = call.build.settle(x, False, call.spec.name)
        values = _numbers(call, number)
        match kind, first:
            case "add", _:
                return affine(call, x, 1.0, values)
            case "subtract", True:
                return affine(call, x, 1.0, -values)
            case "subtract", False:
                return affine(call, x, -1.0, values)
            case "multiply", _:
                return affine(call, x, values, 0.0)
            case "divide", True if values.all():
                return affine(call, x, 1.0 / values, 0.0)
        raise call.refuse(f"it divides {shown(number)} by a tensor, or by 0, which is not supported")

    return compute


def _numbers(call: Call, value: Any) -> Any:
    """A number, or one for each value of a step, perhaps in lists of one."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in listed):
        raise call.refuse(f"it is called with {shown(value)}, expected numbers")
    return np.asarray(value, np.float64)


# ---- one operand ----


def _only(call: Call) -> Value:
    call.keywords.pop("name", None)
    given = [*call.inputs, *(call.keywords.pop(key) for key in ("features", "logits") if key in call.keywords)]
    if len(given) != 1 or not isinstance(given[0], Value):
        raise call.refuse(f"it is called on {len(given)} tensors, expected one")
    return call.build.settle(given[0], False, call.spec.name)


def _function(activation: Activation) -> Callable[[Call], Value]:
    def compute(call: Call) -> Value:
        x = _only(call)
        if activation.name in OVER_VALUES:
            _over_values(call)
        return activated(call, x, activation)

    return compute


def _over_values(call: Call) -> None:
    axis = call.keywords.pop("axis", call.settings.take("axis", -1))
    if axis != -1:
        raise call.refuse(f"axis = {shown(axis)}: only -1, over the values of a step, is supported")


def _numbered(name: str, **defaults: float | None) -> Callable[[Call], Value]:
    """An activation with the numbers that the operation was made with."""

    def compute(call: Call) -> Value:
        x, numbers = _only(call), [call.settings.number(key, value) for key, value in defaults.items()]
        found = [number for number in numbers if number is not None]
        if len(found) != len(numbers):
            raise call.refuse(f"{' and '.join(defaults)}: expected numbers")
        return activated(call, x, Activation(name, *found))

    return compute


def _soft_shrink(call: Call) -> Value:
    x, threshold = _only(call), call.settings.number("threshold", 0.5)
    if threshold is None or threshold < 0:
        raise call.refuse(f"threshold = {shown(threshold)}: expected a number from 0 up")
    return activated(call, x, Activation("shrink", threshold, threshold))


def _gelu(call: Call) -> Value:
    return activated(
        call, _only(call), Activation("gelu_tanh" if call.settings.flag("approximate", default=True) else "gelu")
    )


def _glu(call: Call) -> Value:
    x = _only(call)
    _over_values(call)
    return halved(call, x)


def _reduction(kind: str) -> Callable[[Call], Value]:
    """The mean, maximum or sum over the steps."""

    def compute(call: Call) -> Value:
        x = _only(call)
        axis, kept = _axis(call), _option(call, "keepdims", False)
        for key in ("dtype", "initial"):
            if call.settings.take(key) is not None:
                raise call.refuse(f"{key} is not supported")
        if axis not in (1, -2) or not x.rows or len(x.shape) != 2 or x.inside or kept not in (False, None):
            raise call.refuse(f"axis = {shown(axis)}: only 1, over the steps, without keepdims is supported")
        y = call.add(lambda name, y: Reduce(name, (x.tensor,), (y,), kind), x.width)
        return Value(y, (x.width,), False)

    return compute


def _option(call: Call, key: str, default: Any) -> Any:
    """A setting of the operation or an argument of the call."""
    given = call.keywords.pop(key, None)
    stored = call.settings.take(key, default)
    return stored if given is None else given


def _axis(call: Call, default: Any = None) -> Any:
    axis = _option(call, "axis", default)
    return axis[0] if isinstance(axis, list) and len(axis) == 1 else axis


def _concatenation(call: Call) -> Value:
    axis = _axis(call, -1)
    call.keywords.pop("name", None)
    values = [call.build.settle(value, False, call.spec.name) for value in call.inputs]
    if not values or not isinstance(axis, int) or isinstance(axis, bool):
        raise call.refuse(f"it is called on {len(values)} tensors along axis {shown(axis)}")
    if values[0].truth is not None:
        return _beside(call, values, axis)
    return side_by_side(call, values, axis if axis < 0 else axis - len(values[0].shape) - 1)


# ---- slices ----


def _slice(call: Call) -> Value:
    """x[:, -1] and x[:, -1, :]: the last step."""
    x = _only(call)
    key = call.keywords.pop("slice_spec", None)
    if key is None and call.args:
        key = call.args[0]
    parts = key if isinstance(key, list) else [key]
    kinds = [part if isinstance(part, int) and not isinstance(part, bool) else _whole(part) for part in parts]
    if x.rows and not x.inside and len(x.shape) == 2 and not x.truth:
        if all(kind is True for kind in kinds) and len(kinds) <= 3:
            return replace(x, mask=None)
        last = (-1, x.shape[0] - 1) if x.shape[0] is not None else (-1,)
        taken = kinds[1] if len(kinds) in (2, 3) and kinds[0] is True and kinds[2:] in ([], [True]) else True
        if taken is not True and taken in last:
            return Value(call.last(x.tensor, x.width), (x.width,), False)
    raise call.refuse("of slices only that of the last step, x[:, -1] or x[:, -1, :], is supported")


def _whole(part: Any) -> bool:
    """Whether a part of a slice is `:`."""
    if isinstance(part, dict) and part.get("class_name") == "__slice__":
        part = part.get("config")
    return isinstance(part, dict) and set(part) == {"start", "stop", "step"} and set(part.values()) <= {None, 1}


# ---- masks ----


def _differs(call: Call) -> Value:
    """x != value: what a mask is made of."""
    if len(call.inputs) != 1 or len(call.args) != 1:
        raise call.refuse("only a tensor compared with a number is supported, as Masking and mask_zero do")
    x, value = call.inputs[0], call.args[0]
    number = float(_numbers(call, value))
    if x.rows is None or (x.rows and len(x.shape) == 1):
        x = call.build.settle(x, True, call.spec.name)
        return Value(missing(call, x, number), x.shape, True, truth=Truth())
    return replace(x, mask=None, truth=Truth(x, number))


def _reduced(kind: str) -> Callable[[Call], Value]:
    """`any` and `all`, over the axis along which masks stand side by side."""

    def compute(call: Call) -> Value:
        x, axis, kept = call.x, _axis(call), _option(call, "keepdims", False)
        truth = x.truth
        if truth is None or kept:
            raise call.refuse("only masks of Keras' own are supported")
        if truth.source is not None:
            if kind != "any" or axis not in (-1, len(x.shape)) or not x.rows or len(x.shape) != 2:
                raise call.refuse(f"axis = {shown(axis)}: only masks of steps are supported")
            mask = missing(call, truth.source, truth.value)
            return Value(mask, x.shape[:1], True, truth=Truth())
        if not truth.items:
            raise call.refuse("a mask that is no sequence is not supported")
        known = [item for item in truth.items if isinstance(item, bool)]
        masks = [item for item in truth.items if isinstance(item, str)]
        if (kind == "any" and True in known) or not masks:
            return replace(x, shape=x.shape[:1], truth=Truth(items=(kind == "any" and True in known,)))
        made = joined_masks(call, "maximum" if kind == "any" else "multiply", masks)
        return Value(made or "", x.shape[:1], True, truth=Truth())

    return compute


def _items(call: Call, value: Value) -> tuple[str | bool, ...]:
    if value.truth is None or value.truth.source is not None:
        raise call.refuse("only masks of Keras' own are supported")
    return value.truth.items or (value.tensor,)


def _expanded(call: Call) -> Value:
    """A mask with one more axis, along which others may stand beside it."""
    x, axis = call.x, _axis(call)
    if x.truth is None:
        raise call.refuse("only a mask may get another axis; take a Reshape layer for values")
    if axis not in (-1, 2, 0):
        raise call.refuse(f"axis = {shown(axis)} is not supported")
    return replace(x, shape=(*x.shape[:1], 1), truth=Truth(items=_items(call, x)))


def _constant(value: bool) -> Callable[[Call], Value]:
    def compute(call: Call) -> Value:
        x = call.x
        kind = _option(call, "dtype", None)
        if kind != "bool":
            raise call.refuse("only masks of Keras' own are supported")
        call.settings.take("sparse")
        return replace(x, mask=None, truth=Truth(items=(value,)))

    return compute


def _logical(kind: str) -> Callable[[Call], Value]:
    def compute(call: Call) -> Value:
        a, b = _operands(call)
        if not isinstance(a, Value) or not isinstance(b, Value) or a.truth is None or b.truth is None:
            raise call.refuse("only masks of Keras' own are supported")
        items = (*_items(call, a), *_items(call, b))
        masks = [item for item in items if isinstance(item, str)]
        known = {item for item in items if isinstance(item, bool)}
        if known == {kind == "maximum"}:  # or with what holds everywhere, and with what holds nowhere
            return replace(a, truth=Truth(items=(kind == "maximum",)))
        made = joined_masks(call, kind, masks) or ""
        wider = a if len(a.shape) >= len(b.shape) else b
        if len(wider.shape) > 1:
            return replace(wider, tensor=made, truth=Truth(items=(made,)))
        return Value(made, wider.shape, True, truth=Truth())

    return compute


def _broadcast(call: Call) -> Value:
    x = call.x
    if x.truth is None:
        raise call.refuse("only masks of Keras' own are supported")
    call.settings.take("shape")
    return replace(x, truth=Truth(items=_items(call, x)))


def _beside(call: Call, values: list[Value], axis: int) -> Value:
    if axis not in (-1, 2, 0):
        raise call.refuse(f"axis = {axis} is not supported for masks")
    items = tuple(item for value in values for item in _items(call, value))
    return replace(values[0], truth=Truth(items=items))


def _unchanged(call: Call) -> Value:
    """A tensor asked to be a tensor."""
    x = call.x
    for key, harmless in (("dtype", (None, "float32" if x.truth is None else "bool")), ("sparse", (None, False)),
                          ("ragged", (None, False))):  # fmt: skip
        value = _option(call, key, None)
        if value not in harmless:
            raise call.refuse(f"{key} = {shown(value)} is not supported")
    return x


def _cast(call: Call) -> Value:
    """From one type of floats to another, as layers of several types have it between them: all are float32 here."""
    x = _only(call)
    policy = _option(call, "dtype", call.args[0] if call.args else None)
    if x.truth is not None or policy not in FLOATS:
        raise call.refuse(f"dtype = {shown(policy)}: only numbers are cast, to one of {', '.join(FLOATS)}")
    if policy != "float32":
        call.build.policies.setdefault(policy, []).append(call.spec.name)
    return x


FLOATS = ("float32", "float64", "float16", "bfloat16")


def given_mask(call: Call, mask: Any) -> str | None:
    """A mask a layer is called with; None if it is known to count every step."""
    if isinstance(mask, Value) and mask.truth is not None and mask.truth.items == (True,):
        return None
    return as_mask(call, mask)


OPERATION_LAYERS: dict[str, Callable[[Call], Value]] = {
    "Add": _arithmetic("add"),
    "Subtract": _arithmetic("subtract"),
    "Multiply": _arithmetic("multiply"),
    "Divide": _arithmetic("divide"),
    "TrueDivide": _arithmetic("divide"),
    "Maximum": _arithmetic("maximum"),
    "Minimum": _arithmetic("minimum"),
    "Mean": _reduction("mean"),
    "Sum": _reduction("sum"),
    "Max": _reduction("max"),
    "Concatenate": _concatenation,
    "ConvertToTensor": _unchanged,
    "Cast": _cast,
    "GetItem": _slice,
    "NotEqual": _differs,
    "Any": _reduced("any"),
    "All": _reduced("all"),
    "ExpandDims": _expanded,
    "OnesLike": _constant(True),
    "ZerosLike": _constant(False),
    "LogicalOr": _logical("maximum"),
    "LogicalAnd": _logical("multiply"),
    "BroadcastTo": _broadcast,
    **{name.capitalize(): _function(ACTIVATIONS[name]) for name in ("relu", "relu6", "sigmoid", "tanh", "softplus")},
    "Silu": _function(ACTIVATIONS["silu"]),
    "Softmax": _function(ACTIVATIONS["softmax"]),
    "LogSoftmax": _function(ACTIVATIONS["log_softmax"]),
    "Softsign": _function(ACTIVATIONS["softsign"]),
    "Selu": _function(ACTIVATIONS["selu"]),
    "Exp": _function(ACTIVATIONS["exponential"]),
    "HardSigmoid": _function(Activation("hard_sigmoid")),
    "HardSilu": _function(ACTIVATIONS["hard_silu"]),
    "HardTanh": _function(ACTIVATIONS["hard_tanh"]),
    "LogSigmoid": _function(ACTIVATIONS["log_sigmoid"]),
    "SparsePlus": _function(ACTIVATIONS["sparse_plus"]),
    "SparseSigmoid": _function(ACTIVATIONS["sparse_sigmoid"]),
    "TanhShrink": _function(ACTIVATIONS["tanh_shrink"]),
    "Mish": _function(ACTIVATIONS["mish"]),
    "LeakyRelu": _numbered("leaky_relu", negative_slope=0.2),
    "Elu": _numbered("elu", alpha=1.0),
    "Celu": _numbered("celu", alpha=1.0),
    "Squareplus": _numbered("squareplus", b=4.0),
    "HardShrink": _numbered("shrink", threshold=0.5),
    "Threshold": _numbered("threshold", threshold=None, default_value=None),
    "SoftShrink": _soft_shrink,
    "Gelu": _gelu,
    "Glu": _glu,
}
"""Classes of keras.ops."""


def _tensorflow_leaky_relu(call: Call) -> Value:
    slope = call.keywords.pop("alpha", 0.2)
    if isinstance(slope, bool) or not isinstance(slope, int | float):
        raise call.refuse(f"alpha = {shown(slope)}: expected a number")
    return activated(call, _only(call), Activation("leaky_relu", slope))


def _tensorflow_gelu(call: Call) -> Value:
    approximate = call.keywords.pop("approximate", False)
    if not isinstance(approximate, bool):
        raise call.refuse(f"approximate = {shown(approximate)}: expected true or false")
    return activated(call, _only(call), Activation("gelu_tanh" if approximate else "gelu"))


TENSORFLOW: dict[str, Callable[[Call], Value]] = {
    "__operators__.add": _arithmetic("add"),
    "math.add": _arithmetic("add"),
    "math.subtract": _arithmetic("subtract"),
    "math.multiply": _arithmetic("multiply"),
    "math.truediv": _arithmetic("divide"),
    "math.divide": _arithmetic("divide"),
    "math.maximum": _arithmetic("maximum"),
    "math.minimum": _arithmetic("minimum"),
    "math.reduce_mean": _reduction("mean"),
    "math.reduce_sum": _reduction("sum"),
    "math.reduce_max": _reduction("max"),
    "concat": _concatenation,
    "cast": _cast,
    "__operators__.getitem": _slice,
    "math.exp": _function(ACTIVATIONS["exponential"]),
    **{f"math.{name}": _function(ACTIVATIONS[name]) for name in ("tanh", "sigmoid", "softplus", "log_sigmoid")},
    **{
        f"nn.{name}": _function(ACTIVATIONS[name])
        for name in ("relu", "relu6", "silu", "softmax", "log_softmax", "softsign", "selu", "elu")
    },
    "nn.leaky_relu": _tensorflow_leaky_relu,
    "nn.gelu": _tensorflow_gelu,
}
"""Functions of TensorFlow."""


def tensorflow_function(call: Call) -> Value:
    """TFOpLambda and SlicingOpLambda: a function of TensorFlow, by its name."""
    name = call.settings.take("function")
    if not isinstance(name, str) or name not in TENSORFLOW:
        raise call.refuse(f"the function tf.{name if isinstance(name, str) else shown(name)} is not supported")
    return TENSORFLOW[name](call)


LAYERS: dict[str, Callable[[Call], Value]] = {
    **{OPERATIONS + name: compute for name, compute in OPERATION_LAYERS.items()},
    "TFOpLambda": tensorflow_function,
    "SlicingOpLambda": tensorflow_function,
}
