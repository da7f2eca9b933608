"""What each operation of a traced PyTorch graph is here."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..layers import (
    LARGEST,
    LOG_SIGMOID,
    Activate,
    Activation,
    Conv1d,
    Dense,
    Embedding,
    LayerNorm,
    Pad,
    Pool1d,
    Reduce,
    SoftmaxSteps,
)
from ..meta import Array
from . import torch_attention, torch_build, torch_names
from .torch_cells import CELLS, SEQUENCES
from .torch_graph import Args, Const, Handler, Score, Walk, operation_name
from .torch_names import Conv
from .torch_values import (
    ONE,
    Axis,
    Refuse,
    Rows,
    axis_of,
    combined,
    concatenated,
    cropped,
    ordered,
    permuted,
    picked,
    reversed_steps,
    rows,
    sequence,
    squeezed,
    step_at,
    turned,
    unsqueezed,
    values,
    viewed,
)

# ---- rows ----


def activated(walk: Walk, name: str, x: Rows, activation: Activation) -> Rows:
    return replace(x, tensor=walk.builder.add(Activate, name, (x.tensor,), activation))


def scaled(walk: Walk, name: str, x: Rows, scale: Any, offset: Any) -> Rows:
    scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
    if np.all(scale == 1) and np.all(offset == 0):
        return x
    return replace(x, tensor=torch_build.affine(walk.builder, name, x.tensor, scale, offset))


def features(walk: Walk, x: Rows, dim: int) -> Rows:
    """x with all its values along one axis."""
    dim = axis_of(x, dim)
    if x.axes[dim].kind == "steps":
        x = turned(walk.builder, x)
    if x.axes[dim].kind == "batch" or [k for k in x.find("values") if k != dim]:
        raise Refuse(f"axis {dim} is not that of a row's values alone")
    return x


def linear(walk: Walk, name: str, x: Rows, kernel: Array, bias: Array | None) -> Rows:
    """x W^T + b over the last axis."""
    x = features(walk, x, -1)
    if x.sizes[-1] != kernel.shape[1]:
        raise Refuse(f"it reads {kernel.shape[1]} values of {x.sizes[-1]}")
    tensor = torch_build.dense(walk.builder, name, x.tensor, kernel, bias, Activation("linear"))
    return rows(tensor, (*x.axes[:-1], values(len(kernel))))


def _linear(walk: Walk, name: str, a: Args) -> Rows:
    x, weight, bias = a.rows("input"), a.const("weight"), a.const("bias")
    return linear(walk, walk.name_of(weight, name), x, *_matrix(walk, weight, bias))


def _matrix(walk: Walk, weight: Const | None, bias: Const | None, turn: bool = False) -> tuple[Array, Array | None]:
    if weight is None or weight.tensor.ndim != 2:
        raise Refuse("its weight is no matrix")
    kernel = torch_names.values(walk.weight(weight), np.float32)
    return kernel.T if turn else kernel, None if bias is None else torch_names.values(walk.weight(bias), np.float32)


def _addmm(walk: Walk, name: str, a: Args) -> Rows:
    x, weight, bias = a.rows("mat1"), a.const("mat2"), a.const("self")
    return linear(walk, walk.name_of(bias, name), x, *_matrix(walk, weight, bias, turn=True))


def _matmul(walk: Walk, name: str, a: Args) -> Any:
    first, second = a.take("self"), a.take("other", a.values.pop("mat2", None))
    if isinstance(first, Rows) and isinstance(second, Const):
        if second.tensor.ndim == 1:
            second = Const(second.name, second.tensor[:, None])
            return squeezed(linear(walk, name, first, *_matrix(walk, second, None, turn=True)), [-1])
        return linear(walk, name, first, *_matrix(walk, second, None, turn=True))
    return torch_attention.product(walk, name, first, second)


def _batch_norm(walk: Walk, name: str, a: Args) -> Rows:
    x, mean, variance = a.rows("input"), a.const("running_mean"), a.const("running_var")
    scale, offset, epsilon = a.const("weight"), a.const("bias"), a.take("eps")
    if a.take("training", False):
        raise Refuse("it is training; call .eval()")
    if mean is None or variance is None:
        raise Refuse("it has no running statistics, so its answers depend on the batch")
    x = ordered(walk.builder, features(walk, x, 1))
    part = torch_names.BatchNorm(
        walk.name_of(mean, name), walk.weight(mean), walk.weight(variance),
        None if scale is None else walk.weight(scale), None if offset is None else walk.weight(offset),
    )  # fmt: skip
    return replace(x, tensor=torch_build.batch_norm(walk.builder, part, float(epsilon), x.tensor))


def _layer_norm(walk: Walk, name: str, a: Args) -> Rows:
    return _norm(walk, name, a, rms=False)


def _norm(walk: Walk, name: str, a: Args, rms: bool) -> Rows:
    x, shape, scale, offset = a.rows("input"), a.take("normalized_shape"), a.const("weight"), a.const("bias")
    epsilon = a.take("eps", 2.0**-23)  # of float32, where an RMSNorm names none
    x = features(walk, x, -1)
    if len(shape) != 1:
        raise Refuse(f"it normalizes over axes of {tuple(shape)}")
    width = shape[0]
    scales = np.ones(width) if scale is None else torch_names.values(walk.weight(scale), np.float32)
    offsets = np.zeros(width) if offset is None else torch_names.values(walk.weight(offset), np.float32)
    made = walk.builder.add(LayerNorm, walk.name_of(scale, name), (x.tensor,), scales, offsets, float(epsilon), rms)
    return replace(x, tensor=made)


def _prelu(walk: Walk, name: str, a: Args) -> Rows:
    x, slopes = a.rows("self"), a.const("weight")
    assert slopes is not None
    numbers = torch_names.values(walk.weight(slopes), np.float32)
    if len(numbers) > 1:
        x = ordered(walk.builder, features(walk, x, 1))
    return replace(x, tensor=torch_build.prelu(walk.builder, walk.name_of(slopes, name), x.tensor, numbers))


def _embedding(walk: Walk, name: str, a: Args) -> Rows:
    weight, x = a.const("weight"), a.rows("indices")
    assert weight is not None
    x = ordered(walk.builder, x)
    table = torch_names.values(walk.weight(weight), np.float32)
    tensor = walk.builder.add(Embedding, walk.name_of(weight, name), (x.tensor,), table)
    return rows(tensor, (*x.axes, values(table.shape[1])))


# ---- elementwise ----


def _plain(function: str) -> Handler:
    return lambda walk, name, a: activated(walk, function, a.rows("self"), Activation(function))


def _numbered(function: str, **defaults: float) -> Handler:
    """A function with numbers that the operation takes."""

    def numbered(walk: Walk, name: str, a: Args) -> Rows:
        x, numbers = a.rows("self"), [float(a.take(key, default)) for key, default in defaults.items()]
        return activated(walk, function, x, Activation(function, *numbers))

    return numbered


def _rrelu(walk: Walk, name: str, a: Args) -> Rows:
    x, lower, upper = a.rows("self"), float(a.take("lower", 1 / 8)), float(a.take("upper", 1 / 3))
    if a.take("training", False):
        raise Refuse("it draws its slopes, as in training; call .eval()")
    return activated(walk, "leaky_relu", x, Activation("leaky_relu", (lower + upper) / 2))


def _softshrink(walk: Walk, name: str, a: Args) -> Rows:
    x, reach = a.rows("self"), float(a.take("lambd", 0.5))
    return activated(walk, "shrink", x, Activation("shrink", reach, reach))


def _gelu(walk: Walk, name: str, a: Args) -> Rows:
    kind = {"none": "gelu", "tanh": "gelu_tanh"}.get(a.take("approximate"))
    if kind is None:
        raise Refuse("a GELU of an unknown form")
    return activated(walk, kind, a.rows("self"), Activation(kind))


def _softplus(walk: Walk, name: str, a: Args) -> Rows:
    x, beta, threshold = a.rows("self"), float(a.take("beta", 1)), float(a.take("threshold", 20))
    plain = beta == 1 and threshold >= 20  # beyond that both are x in float32
    function = Activation("softplus") if plain else Activation("scaled_softplus", beta, threshold)
    return activated(walk, "softplus", x, function)


def _clamped(low: str, high: str) -> Handler:
    def clamp(walk: Walk, name: str, a: Args) -> Rows:
        x, bounds = a.rows("self"), [a.values.pop(key, None) for key in (low, high)]
        if any(isinstance(bound, Const | Rows) or bound != bound for bound in bounds):
            raise Refuse("it clamps by other than numbers")
        bottom = None if bounds[0] is None or bounds[0] <= -LARGEST else bounds[0]
        top = None if bounds[1] is None or bounds[1] >= LARGEST else bounds[1]
        if bottom is None and top is None:
            return x
        if bottom == 0 and top is None:
            return activated(walk, "relu", x, Activation("relu"))
        if bottom == 0 and top == 6:
            return activated(walk, "relu6", x, Activation("relu6"))
        clip = Activation("clip", -LARGEST if bottom is None else bottom, LARGEST if top is None else top)
        return activated(walk, "clip", x, clip)

    return clamp


_LOGARITHMS = {"sigmoid": LOG_SIGMOID, "softmax": Activation("log_softmax"), "exponential": Activation("linear")}


def _log(walk: Walk, name: str, a: Args) -> Rows:
    """The logarithm of a sigmoid or softmax, with neither's small values on the way."""
    x = a.rows("self")
    before = next((layer for layer in walk.builder.layers if x.tensor in layer.writes), None)
    if not isinstance(before, Activate) or before.activation.name not in _LOGARITHMS:
        raise Refuse("a logarithm of other than a sigmoid, softmax or exp, which no layer does")
    return activated(walk, name, replace(x, tensor=before.reads[0]), _LOGARITHMS[before.activation.name])


def _log_sigmoid(walk: Walk, name: str, a: Args) -> Rows:
    return activated(walk, "log_sigmoid", a.rows("self"), LOG_SIGMOID)


def _abs(walk: Walk, name: str, a: Args) -> Rows:
    x = a.rows("self")
    above = activated(walk, "relu", x, Activation("relu"))
    below = activated(walk, "relu", scaled(walk, "negated", x, -1, 0), Activation("relu"))
    return combined(walk.builder, "add", [above, below], name)


def _glu(walk: Walk, name: str, a: Args) -> Rows:
    x = a.rows("self")
    dim = axis_of(x, a.values.pop("dim", -1))
    if x.axes[dim].kind != "values":
        raise Refuse("it halves another axis than the values'")
    half = x.axes[dim].size // 2
    first, second = (picked(walk.builder, x, dim, range(k * half, (k + 1) * half)) for k in (0, 1))
    gate = activated(walk, "sigmoid", second, Activation("sigmoid"))
    return combined(walk.builder, "multiply", [first, gate], name)


def _softmax(walk: Walk, name: str, a: Args) -> Any:
    return _over_axis(walk, name, a, "softmax")


def _log_softmax(walk: Walk, name: str, a: Args) -> Any:
    return _over_axis(walk, name, a, "log_softmax")


def _over_axis(walk: Walk, name: str, a: Args, function: str) -> Any:
    x, dim = a.values.pop("self"), a.values.pop("dim")
    _computed_in(walk, a)
    if isinstance(x, Score) and function == "softmax":
        return torch_attention.softmax(x, dim)
    if not isinstance(x, Rows):
        raise Refuse("the logarithm of an attention's weights")
    dim = axis_of(x, dim)
    if x.axes[dim].kind == "steps" and function == "softmax":
        return replace(x, tensor=walk.builder.add(SoftmaxSteps, name, (x.tensor,)))
    if x.axes[dim].kind == "steps":
        raise Refuse("the logarithm of a softmax over the steps, which no layer does")
    x = features(walk, x, dim)
    if x.axes[dim].kind != "values":
        raise Refuse(f"axis {dim} is not that of the values")
    return activated(walk, function, x, Activation(function))


def _binary(kind: str) -> Handler:
    def binary(walk: Walk, name: str, a: Args) -> Any:
        first, second, factor = a.values.pop("self"), a.values.pop("other"), a.values.pop("alpha", 1)
        a.values.pop("rounding_mode", None) if a.values.get("rounding_mode") is None else None
        if isinstance(first, Score) or isinstance(second, Score):
            return torch_attention.changed(kind, first, second)
        if kind == "divide" and _is_softsign(walk, first):
            return activated(walk, "softsign", first, Activation("softsign"))
        if isinstance(first, Rows) and isinstance(second, Rows):
            if kind == "divide":
                raise Refuse("it divides by what is computed from the input")
            if factor != 1:
                second = scaled(walk, "scaled", second, factor, 0)
            return combined(walk.builder, kind, [first, second], name)
        if not isinstance(first, Rows):
            return _reverse(walk, name, kind, first, second, factor)
        if kind in ("maximum", "minimum"):
            raise Refuse("a maximum or minimum with a constant")
        return _with_constant(walk, name, kind, first, second, factor)

    return binary


def _is_softsign(walk: Walk, x: Any) -> bool:
    """x / (1 + |x|), as PyTorch computes it."""
    below = walk.node.args[1]
    if not hasattr(below, "target") or operation_name(below) != "add":
        return False
    inner = [n for n in below.args if hasattr(n, "target")]
    return (
        [n for n in below.args if not hasattr(n, "target")] == [1]
        and len(inner) == 1
        and operation_name(inner[0]) == "abs"
        and inner[0].args[0] is walk.node.args[0]
    )


def _reverse(walk: Walk, name: str, kind: str, constant: Any, x: Rows, factor: float) -> Rows:
    """A constant on the left."""
    match kind:
        case "add" | "multiply":
            return _with_constant(walk, name, kind, scaled(walk, "scaled", x, factor, 0), constant, 1)
        case "subtract":
            return _with_constant(walk, name, "add", scaled(walk, "negated", x, -factor, 0), constant, 1)
    raise Refuse("a constant divided by what is computed from the input, or compared with it")


def _rsub(walk: Walk, name: str, a: Args) -> Rows:
    return _reverse(walk, name, "subtract", a.values.pop("other"), a.rows("self"), a.values.pop("alpha", 1))


def _with_constant(walk: Walk, name: str, kind: str, x: Rows, constant: Any, factor: float) -> Rows:
    x = ordered(walk.builder, x)
    if isinstance(constant, Const):
        numbers = constant.array()
        walk.used.setdefault(constant.name, constant.weight())
        row = numbers.ndim and prod(numbers.shape) == numbers.shape[-1] > 1
        if kind == "multiply" and row and x.sizes[-1] == 1 and not x.find("values"):
            return linear(walk, name, x, numbers.reshape(-1, 1).astype(np.float32), None)
        numbers = _for_values(numbers, x)
    elif isinstance(constant, int | float):
        numbers = np.asarray(float(constant))
    else:
        raise Refuse("one side is no number")
    numbers = numbers * factor if kind in ("add", "subtract") else numbers
    match kind:
        case "add":
            return scaled(walk, name, x, 1, numbers)
        case "subtract":
            return scaled(walk, name, x, 1, -numbers)
        case "multiply":
            return scaled(walk, name, x, numbers, 0)
    if not numbers.all():
        raise Refuse("it divides by zero")
    return scaled(walk, name, x, 1 / numbers, 0)


def _for_values(numbers: Array, x: Rows) -> Array:
    """A constant as a number for each value of a row."""
    if numbers.ndim > len(x.axes) and prod(numbers.shape[: numbers.ndim - len(x.axes)]) > 1:
        raise Refuse(f"a constant of shape {numbers.shape}")
    numbers = numbers.reshape((1,) * (len(x.axes) - numbers.ndim) + numbers.shape[-len(x.axes) :] if x.axes else ())
    for k, axis in enumerate(x.axes):
        if axis.kind != "values" and numbers.shape[k] > 1:
            first = np.take(numbers, [0], axis=k)
            if not (axis.size == numbers.shape[k] and (numbers == first).all()):
                raise Refuse("a constant that differs from step to step")
            numbers = first
    shape = tuple(axis.size if axis.kind == "values" else 1 for axis in x.axes)
    made: Array = np.broadcast_to(numbers, shape).ravel()
    return made


def _pow(walk: Walk, name: str, a: Args) -> Rows:
    x, exponent = a.rows("self"), a.take("exponent")
    if exponent != 2:
        raise Refuse(f"a power of {exponent}")
    return combined(walk.builder, "multiply", [x, x], name)


def _negated(walk: Walk, name: str, a: Args) -> Rows:
    return scaled(walk, name, a.rows("self"), -1, 0)


# ---- over steps ----


def _conv(walk: Walk, name: str, a: Args) -> Rows:
    x, weight, bias = a.rows("input"), a.const("weight"), a.const("bias")
    if weight is None or weight.tensor.ndim != 3 or len(x.axes) != 3:
        raise Refuse("a convolution over other than one axis")
    if a.take("transposed", False) or any(a.take("output_padding", [0])):
        raise Refuse("a transposed convolution")
    stride, dilation, groups = (_whole(a.take(key, 1)) for key in ("stride", "dilation", "groups"))
    padding = a.take("padding", 0)
    x = channels(walk, x)
    part = Conv(walk.name_of(weight, name), walk.weight(weight), None if bias is None else walk.weight(bias))
    kernel = torch_names.values(part.kernel, np.float32).transpose(0, 2, 1)
    offset = np.zeros(len(kernel)) if part.bias is None else torch_names.values(part.bias, np.float32)
    reach = (kernel.shape[1] - 1) * dilation
    if padding == "same":
        ends = reach // 2, reach - reach // 2  # PyTorch puts the odd step at the end
    else:
        ends = (0, 0) if padding == "valid" else (_whole(padding),) * 2
    settings = kernel, offset, Activation("linear"), groups, stride, dilation, *ends
    tensor = walk.builder.add(Conv1d, part.name, (x.tensor,), *settings)
    return _windowed(x, tensor, len(kernel), reach + 1, stride, ends)


def channels(walk: Walk, x: Rows) -> Rows:
    """x of (batch, values, steps), as convolutions and pooling read it."""
    x = ordered(walk.builder, sequence(walk.builder, x, len(x.axes) - 1))
    return features(walk, x, -2)


def _windowed(x: Rows, tensor: str, width: int, reach: int, stride: int, ends: tuple[int, int]) -> Rows:
    count = (x.sizes[-1] + sum(ends) - reach) // stride + 1
    if count < 1:
        raise Refuse(f"no window of {reach} fits into {x.sizes[-1]} steps")
    return rows(tensor, (*x.axes[:-2], values(width), Axis("steps", count)))


def _whole(value: Any) -> int:
    return int(value[0]) if isinstance(value, list | tuple) else int(value)


def _pool(kind: str, indices: bool = False) -> Handler:
    def pool(walk: Walk, name: str, a: Args) -> Any:
        x, size = channels(walk, a.rows("self")), _whole(a.take("kernel_size"))
        strides, padding = a.take("stride", []), _whole(a.take("padding", 0))
        stride = _whole(strides) if strides not in ([], ()) else size
        counts = a.values.pop("count_include_pad", False) if kind == "average" else False
        dilation = _whole(a.values.pop("dilation", 1))
        if dilation != 1:
            raise Refuse(f"its dilation is {dilation}")
        settings = kind, size, stride, padding, padding
        tensor = walk.builder.add(Pool1d, name, (x.tensor,), *settings, count_padding=bool(counts))
        made = _windowed(x, tensor, prod(a.size for a in x.axes[:-1]), size, stride, (padding, padding))
        return (made, None) if indices else made

    return pool


def _adaptive(kind: str, indices: bool = False) -> Handler:
    def adaptive(walk: Walk, name: str, a: Args) -> Any:
        x, size = channels(walk, a.rows("self")), _whole(a.take("output_size"))
        if size != 1:
            raise Refuse(f"adaptive pooling to {size} steps")
        made = replace(_reduced(walk, name, x, kind), axes=(*x.axes[:-1], ONE))
        return (made, None) if indices else made

    return adaptive


def _reduced(walk: Walk, name: str, x: Rows, kind: str) -> Rows:
    return replace(x, tensor=walk.builder.add(Reduce, name, (x.tensor,), kind))


def _reduction(kind: str, indices: bool = False) -> Handler:
    def reduction(walk: Walk, name: str, a: Args) -> Any:
        x, dims, keep = a.rows("self"), a.values.pop("dim", None), a.values.pop("keepdim", False)
        _computed_in(walk, a)
        if dims is None or dims == []:
            raise Refuse("it reduces over all axes, the batch's too")
        for dim in sorted(axis_of(x, dim) for dim in (dims if isinstance(dims, list | tuple) else [dims])):
            match x.axes[dim].kind:
                case "steps":
                    tensor = walk.builder.add(Reduce, name, (x.tensor,), kind)
                    x = replace(x, tensor=tensor)
                case "values":
                    x = _over_values(walk, name, features(walk, x, dim), kind)
                case "batch":
                    raise Refuse("it reduces over the batch")
                case _ if x.axes[dim].size > 1:
                    raise Refuse("it reduces over an axis of repetitions")
            x = replace(x, axes=(*x.axes[:dim], ONE, *x.axes[dim + 1 :]))
        made = x if keep else squeezed(x, dims if isinstance(dims, list | tuple) else [dims])
        return (made, None) if indices else made

    return reduction


def _over_values(walk: Walk, name: str, x: Rows, kind: str) -> Rows:
    if kind == "max":
        raise Refuse("a maximum over the values of a step")
    width = walk.builder.width(x.tensor)
    factors = np.full((1, width), 1 / width if kind == "mean" else 1)
    return replace(x, tensor=walk.builder.add(Dense, name, (x.tensor,), factors, np.zeros(1)))


# ---- views ----


def _identity(walk: Walk, name: str, a: Args) -> Any:
    x = a.values.pop("self", a.values.pop("input", None))
    if a.values.pop("train", None):
        raise Refuse("a dropout that is training; call .eval()")
    a.values.pop("p", None)
    return x


_CASTS = frozenset(("to", "_to_copy", "type_as"))
_MOVES = frozenset(("alias", "clone", "contiguous", "detach", "expand", "flatten", "permute", "reshape", "select",
                    "slice", "squeeze", "transpose", "unsqueeze", "view"))  # fmt: skip


def _cast(walk: Walk, name: str, a: Args) -> Any:
    """Among numbers with fractions, all of which are float32 here; among whole ones; and to whole ones for a table."""
    for key in ("dtype", "other", "copy"):
        a.values.pop(key, None)
    before, after = walk.node.args[0].meta["val"].dtype, walk.node.meta["val"].dtype
    whole = not after.is_floating_point
    narrow = before != after and whole and (after.itemsize < 4 or before.is_floating_point)
    if narrow and not _only_indices(walk.node):
        raise Refuse(f"it makes {after} of {before}, which loses what {after} does not hold")
    if after.is_floating_point and after.itemsize < min(before.itemsize, 4):
        walk.rounded.add(str(after).removeprefix("torch."))
    return a.values.pop("self")


def _computed_in(walk: Walk, a: Args) -> None:
    """The number type that an operation is told to compute in: float32 stands for any with fractions."""
    kind = a.values.pop("dtype", None)
    if kind is not None and not walk.node.meta["val"].dtype.is_floating_point:
        raise Refuse(f"it computes in {walk.node.meta['val'].dtype}")
    if kind is not None and walk.node.meta["val"].dtype.itemsize < 4:
        walk.rounded.add(str(walk.node.meta["val"].dtype).removeprefix("torch."))


def _only_indices(node: Any) -> bool:
    """Whether all that becomes of a tensor is rows of tables."""
    return all(
        operation_name(user) == "embedding"
        or (operation_name(user) in _CASTS | _MOVES and not _floats(user) and _only_indices(user))
        for user in node.users
    )


def _floats(node: Any) -> bool:
    return bool(node.meta["val"].dtype.is_floating_point)


def _transpose(walk: Walk, name: str, a: Args) -> Any:
    x, first, second = a.values.pop("self"), a.values.pop("dim0", 0), a.values.pop("dim1", 1)
    if isinstance(x, Score):
        raise Refuse("scores of an attention with axes changed")
    dims = list(range(len(x.axes)))
    first, second = axis_of(x, first), axis_of(x, second)
    dims[first], dims[second] = second, first
    return permuted(x, dims)


def _t(walk: Walk, name: str, a: Args) -> Rows:
    x = a.rows("self")
    return permuted(x, range(len(x.axes))[::-1])


def _permute(walk: Walk, name: str, a: Args) -> Rows:
    return permuted(a.rows("self"), a.take("dims"))


def _movedim(walk: Walk, name: str, a: Args) -> Rows:
    x, source, target = a.rows("self"), a.values.pop("source"), a.values.pop("destination")
    if not isinstance(source, int):
        source, target = source[0], target[0]
    order = [k for k in range(len(x.axes)) if k != axis_of(x, source)]
    order.insert(axis_of(x, target), axis_of(x, source))
    return permuted(x, order)


def _view(walk: Walk, name: str, a: Args) -> Any:
    x, sizes = a.values.pop("self"), a.take("size", a.values.pop("shape", None))
    if "other" in a.values:
        sizes = a.values.pop("other").sizes
    if isinstance(x, Score):
        return torch_attention.viewed(x, sizes)
    return viewed(walk.builder, x, sizes)


def _flatten(walk: Walk, name: str, a: Args) -> Rows:
    x, start, end = a.rows("self"), a.values.pop("start_dim"), a.values.pop("end_dim")
    start, end = axis_of(x, start), axis_of(x, end)
    return viewed(walk.builder, x, (*x.sizes[:start], prod(x.sizes[start : end + 1]), *x.sizes[end + 1 :]))


def _unflatten(walk: Walk, name: str, a: Args) -> Rows:
    x, dim, sizes = a.rows("self"), a.values.pop("dim"), a.take("sizes")
    dim = axis_of(x, dim)
    known = prod(n for n in sizes if n != -1)
    sizes = [x.sizes[dim] // known if n == -1 else n for n in sizes]
    return viewed(walk.builder, x, (*x.sizes[:dim], *sizes, *x.sizes[dim + 1 :]))


def _squeeze(walk: Walk, name: str, a: Args) -> Rows:
    x, dims = a.rows("self"), a.values.pop("dim", None)
    dims = range(len(x.axes)) if dims is None else dims if isinstance(dims, list | tuple) else [dims]
    return squeezed(x, dims)


def _unsqueeze(walk: Walk, name: str, a: Args) -> Rows:
    return unsqueezed(a.rows("self"), a.values.pop("dim"))


def _expand(walk: Walk, name: str, a: Args) -> Rows:
    x, sizes = a.rows("self"), a.values.pop("size", None) or a.values.pop("other").sizes
    axes = [ONE] * (len(sizes) - len(x.axes)) + list(x.axes)
    for k, size in enumerate(sizes):
        if size in (-1, axes[k].size):
            continue
        axes[k] = Axis("one", size)
    return replace(x, axes=tuple(axes))


def _repeat(walk: Walk, name: str, a: Args) -> Rows:
    x, counts = a.rows("self"), a.take("repeats")
    axes = [ONE] * (len(counts) - len(x.axes)) + list(x.axes)
    for k, count in enumerate(counts):
        if count != 1 and axes[k].size != 1:
            raise Refuse("it repeats an axis of more than one")
        if count != 1:
            axes[k] = Axis("one", count)
    return replace(x, axes=tuple(axes))


def _select(walk: Walk, name: str, a: Args) -> Rows:
    x, dim, index = a.rows("self"), a.values.pop("dim"), a.values.pop("index")
    dim = axis_of(x, dim)
    axis = x.axes[dim]
    if not -axis.size <= index < axis.size:
        raise Refuse(f"index {index} of {axis.size}")
    if axis.kind == "steps" and index >= 0:  # of a loop, perhaps
        return Rows(x.tensor, x.axes[:dim] + x.axes[dim + 1 :], index, axis.size)
    if axis.kind == "steps":
        return step_at(walk.builder, x, index)
    if axis.kind == "values":
        x = picked(walk.builder, x, dim, [index % axis.size])
    return replace(x, axes=x.axes[:dim] + x.axes[dim + 1 :])


def _slice(walk: Walk, name: str, a: Args) -> Rows:
    x, step = a.rows("self"), a.values.pop("step", 1)
    dim = axis_of(x, a.values.pop("dim", 0))
    size = x.axes[dim].size
    start, end, _ = slice(a.values.pop("start", None), a.values.pop("end", None)).indices(size)
    if end <= start:
        raise Refuse("nothing is left")
    return _range(walk, x, dim, range(start, end, step))


def _range(walk: Walk, x: Rows, dim: int, wanted: range) -> Rows:
    axis = x.axes[dim]
    if wanted == range(axis.size):
        return x
    if axis.kind == "values":
        return picked(walk.builder, x, dim, wanted)
    if axis.kind == "steps" and list(wanted) in ([0], [axis.size - 1]):
        one = step_at(walk.builder, x, 0 if wanted.start == 0 else -1)
        return unsqueezed(one, dim)
    if axis.kind != "steps" or wanted.step != 1:
        raise Refuse("it takes some of the batch, or every so many steps")
    return cropped(walk.builder, x, wanted.start, axis.size - wanted.stop)


def _narrow(walk: Walk, name: str, a: Args) -> Rows:
    x, start, length = a.rows("self"), a.values.pop("start"), a.values.pop("length")
    return _range(walk, x, axis_of(x, a.values.pop("dim")), range(start, start + length))


def _index_select(walk: Walk, name: str, a: Args) -> Rows:
    x, dim, index = a.rows("self"), a.values.pop("dim"), a.values.pop("index")
    dim = axis_of(x, dim)
    if not isinstance(index, Const):
        raise Refuse("its index is computed from the input")
    return _taken(walk, x, dim, [int(n) for n in index.array().ravel()])


def _taken(walk: Walk, x: Rows, dim: int, wanted: list[int]) -> Rows:
    axis = x.axes[dim]
    if not all(-axis.size <= n < axis.size for n in wanted):
        raise Refuse(f"indices {wanted[:4]} of {axis.size}; give an input it takes, example=array")
    wanted = [n % axis.size for n in wanted]
    if wanted == list(range(axis.size)):
        return x
    if axis.kind == "values":
        return picked(walk.builder, x, dim, wanted)
    if axis.kind == "one":
        return replace(x, axes=(*x.axes[:dim], Axis("one", len(wanted)), *x.axes[dim + 1 :]))
    if wanted == list(range(axis.size))[::-1]:
        return reversed_steps(walk.builder, x)
    raise Refuse("it picks single steps")


def _index(walk: Walk, name: str, a: Args) -> Rows:
    x, indices = a.rows("self"), a.values.pop("indices")
    given = [k for k, index in enumerate(indices) if index is not None]
    if len(given) != 1 or not isinstance(indices[given[0]], Const) or indices[given[0]].tensor.ndim != 1:
        raise Refuse("it indexes by other than one constant list")
    return _taken(walk, x, given[0], [int(n) for n in indices[given[0]].array()])


def _flip(walk: Walk, name: str, a: Args) -> Rows:
    x = a.rows("self")
    for dim in a.take("dims"):
        dim = axis_of(x, dim)
        axis = x.axes[dim]
        if axis.kind == "steps":
            x = reversed_steps(walk.builder, x)
        elif axis.kind == "values":
            x = picked(walk.builder, x, dim, range(axis.size)[::-1])
        elif axis.kind == "batch":
            raise Refuse("it turns the batch around")
    return x


def _cat(walk: Walk, name: str, a: Args) -> Rows:
    found, dim = a.take("tensors"), a.values.pop("dim", 0)
    return _joined(walk, name, found, dim)


def _stack(walk: Walk, name: str, a: Args) -> Rows:
    found, dim = a.take("tensors"), a.values.pop("dim", 0)
    if not all(isinstance(value, Rows) for value in found):
        raise Refuse("it joins constants and what is computed from the input")
    return _joined(walk, name, [unsqueezed(value, dim) for value in found], dim % (len(found[0].axes) + 1))


def _joined(walk: Walk, name: str, found: list[Any], dim: int) -> Rows:
    if not all(isinstance(value, Rows) for value in found):
        if (padded := _padded_by_zeros(walk, name, found, dim)) is not None:
            return padded
        raise Refuse("it joins constants and what is computed from the input")
    dim = axis_of(found[0], dim)
    ats = [value.at for value in found]
    if None not in ats and len({(v.tensor, v.axes, v.steps) for v in found}) == 1 and found[0].axes[dim].kind == "one":
        count = found[0].steps
        axes = list(found[0].axes)
        axes[dim] = Axis("steps", count)
        whole = Rows(found[0].tensor, tuple(axes))
        if ats == list(range(count)):
            return whole
        if ats == list(range(count))[::-1]:
            return reversed_steps(walk.builder, whole)
    found = walk.settle(found)
    if any(value.axes[dim].kind in ("steps", "batch") for value in found):
        raise Refuse("it joins sequences one after the other, or several batches")
    return concatenated(walk.builder, found, dim)


def _padded_by_zeros(walk: Walk, name: str, found: list[Any], dim: int) -> Rows | None:
    """Zeros before or after the steps."""
    inside = [k for k, value in enumerate(found) if isinstance(value, Rows)]
    if len(inside) != 1 or any(np.any(v.array()) for v in found if isinstance(v, Const)):
        return None
    x = walk.settle(found[inside[0]])
    dim = axis_of(x, dim)
    if x.axes[dim].kind != "steps":
        return None
    before = sum(v.tensor.shape[dim] for v in found[: inside[0]])
    after = sum(v.tensor.shape[dim] for v in found[inside[0] + 1 :])
    return _with_zeros(walk, name, x, dim, before, after)


def _with_zeros(walk: Walk, name: str, x: Rows, dim: int, before: int, after: int) -> Rows:
    if x.axes[dim].kind != "steps":
        raise Refuse("it pads another axis than that of the steps")
    axes = list(x.axes)
    axes[dim] = Axis("steps", axes[dim].size + before + after)
    return replace(x, tensor=walk.builder.add(Pad, name, (x.tensor,), before, after), axes=tuple(axes))


def _pad(walk: Walk, name: str, a: Args) -> Rows:
    x, pads, mode = a.rows("self"), a.take("pad"), a.values.pop("mode", "constant")
    if mode != "constant" or (a.values.pop("value", 0) or 0) != 0:
        raise Refuse("it pads with other than zeros")
    for k in range(len(pads) // 2):
        before, after = pads[2 * k : 2 * k + 2]
        if before < 0 or after < 0:
            x = _range(walk, x, len(x.axes) - 1 - k, range(max(0, -before), x.sizes[-1 - k] - max(0, -after)))
        if before > 0 or after > 0:
            x = _with_zeros(walk, name, x, len(x.axes) - 1 - k, max(0, before), max(0, after))
    return x


def _split(walk: Walk, name: str, a: Args) -> Any:
    x, dim = a.rows("self"), a.values.pop("dim", 0)
    dim = axis_of(x, dim)
    size = x.axes[dim].size
    if chunks := a.values.pop("chunks", None):
        count = -(-size // chunks)
        sizes = [count] * (size // count) + ([size % count] if size % count else [])
    else:
        given = a.values.pop("split_size", a.values.pop("split_sizes", None))
        sizes = list(given) if isinstance(given, list | tuple) else [given] * (size // given)
        sizes += [size - sum(sizes)] if sum(sizes) < size else []
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return tuple(_range(walk, x, dim, range(s, s + n)) for s, n in zip(starts, sizes, strict=True))


def _unbind(walk: Walk, name: str, a: Args) -> Any:
    x = a.rows("self")
    dim = axis_of(x, a.values.pop("dim", 0))
    rest = x.axes[:dim] + x.axes[dim + 1 :]
    if x.axes[dim].kind == "steps":
        return tuple(Rows(x.tensor, rest, k, x.axes[dim].size) for k in range(x.axes[dim].size))
    if x.axes[dim].kind == "values":
        return tuple(
            replace(p := picked(walk.builder, x, dim, [k]), axes=p.axes[:dim] + p.axes[dim + 1 :])
            for k in range(x.axes[dim].size)
        )
    return (replace(x, axes=rest),)


def _size(walk: Walk, name: str, a: Args) -> Any:
    x, dim = a.rows("self"), a.values.pop("dim", None)
    return list(x.sizes) if dim is None else x.sizes[dim]


def _filled(number: float | None) -> Handler:
    """A constant of the shape given, or of the input's."""

    def fill(walk: Walk, name: str, a: Args) -> Const:
        import torch

        x = a.values.pop("self")
        size, value = a.values.pop("size", None), a.values.pop("fill_value", number)
        a.values.clear()
        return Const(name, torch.full(tuple(x.sizes if size is None else size), float(value)))

    return fill


_SELF = {
    "relu": "relu", "relu6": "relu6", "sigmoid": "sigmoid", "tanh": "tanh", "selu": "selu", "silu": "silu",
    "hardsigmoid": "hard_sigmoid", "exp": "exponential", "hardswish": "hard_silu", "mish": "mish",
}  # fmt: skip

ROWWISE: dict[str, Handler] = {
    **{name: _plain(function) for name, function in _SELF.items()},
    "linear": _linear,
    "addmm": _addmm,
    "layer_norm": _layer_norm,
    "rms_norm": lambda walk, name, a: _norm(walk, name, a, rms=True),
    "batch_norm": _batch_norm,
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "embedding": _embedding,
    "leaky_relu": _numbered("leaky_relu", negative_slope=0.01),
    "elu": _numbered("elu", alpha=1.0),
    "celu": _numbered("celu", alpha=1.0),
    "threshold": _numbered("threshold", threshold=0.0, value=0.0),
    "hardshrink": _numbered("shrink", lambd=0.5),
    "softshrink": _softshrink,
    "rrelu": _rrelu,
    "log": _log,
    "gelu": _gelu,
    "softplus": _softplus,
    "hardtanh": _clamped("min_val", "max_val"),
    "clamp": _clamped("min", "max"),
    "clamp_min": _clamped("min", "max"),
    "clamp_max": _clamped("min", "max"),
    "log_sigmoid": _log_sigmoid,
    "abs": _abs,
    "glu": _glu,
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _log_softmax,
    "_log_softmax": _log_softmax,
    "add": _binary("add"),
    "sub": _binary("subtract"),
    "mul": _binary("multiply"),
    "div": _binary("divide"),
    "maximum": _binary("maximum"),
    "minimum": _binary("minimum"),
    "rsub": _rsub,
    "pow": _pow,
    "neg": _negated,
    "squeeze": _squeeze,
    "view": _view,
    "reshape": _view,
    "view_as": _view,
    "reshape_as": _view,
    "_unsafe_view": _view,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "transpose": _transpose,
    "swapaxes": lambda walk, name, a: _transpose(walk, name, Args(
        {"self": a.values.pop("self"), "dim0": a.values.pop("axis0"), "dim1": a.values.pop("axis1")}, {})),
    "t": _t,
    "numpy_T": _t,
    "permute": _permute,
    "movedim": _movedim,
    **dict.fromkeys((
        "contiguous", "clone", "detach", "detach_", "alias", "lift_fresh", "lift_fresh_copy", "dropout",
        "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout",
    ), _identity),
    **dict.fromkeys(_CASTS, _cast),
}  # fmt: skip
"""Of each row alone, whatever the others hold."""

OTHERS: dict[str, Handler] = {
    **SEQUENCES,
    "size": _size,
    "sym_size": _size,
    **dict.fromkeys(("new_zeros", "zeros_like"), _filled(0)),
    **dict.fromkeys(("new_ones", "ones_like"), _filled(1)),
    **dict.fromkeys(("new_full", "full_like"), _filled(None)),
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "baddbmm": torch_attention.baddbmm,
    "masked_fill": torch_attention.masked_fill,
    "scaled_dot_product_attention": torch_attention.scaled_dot_product,
    "_native_multi_head_attention": torch_attention.native,
    "conv1d": _conv,
    "convolution": _conv,
    "_convolution": _conv,
    "max_pool1d": _pool("max"),
    "max_pool1d_with_indices": _pool("max", indices=True),
    "avg_pool1d": _pool("average"),
    "adaptive_avg_pool1d": _adaptive("mean"),
    "adaptive_max_pool1d": _adaptive("max", indices=True),
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
    "amax": _reduction("max"),
    "max": _reduction("max", indices=True),
    "expand": _expand,
    "expand_as": _expand,
    "repeat": _repeat,
    "select": _select,
    "slice": _slice,
    "narrow": _narrow,
    "index_select": _index_select,
    "index": _index,
    "flip": _flip,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _split,
    "unbind": _unbind,
}
OWN: dict[str, Handler] = {**CELLS, "cat": _cat, "stack": _stack}
"""Those that see to a step put off themselves."""

HANDLERS: dict[str, Handler] = {**ROWWISE, **OTHERS, **OWN}
