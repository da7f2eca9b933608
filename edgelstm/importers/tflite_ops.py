"""How each operator of TFLite becomes nodes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..model import Array
from .onnx_fold import text
from .tflite_cells import Cell, fused_lstm, fused_rnn, widened
from .tflite_file import Operator, Tensor
from .tflite_loops import loop
from .tflite_lower import CASTS, Lowering, Method
from .tflite_schema import ACTIVATIONS

_FAR = (1 << 31) - 1


# ---- views ----


def _reshape(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    wanted = options.pop("shape", [])
    if _padded(low, operator):
        return
    if len(operator.inputs) > 1 and operator.inputs[1] >= 0:
        target = low.name(operator.inputs[1])
    else:
        target = low.whole([int(n) for n in wanted])
    low.emit(operator, "Reshape", [low.name(operator.inputs[0]), target], low.name(operator.outputs[0]), allowzero=1)


def _padded(low: Lowering, operator: Operator) -> bool:
    """A reshape that only drops and adds dimensions of 1, as such: then it tells what the others are."""
    x, y = low.tensor(operator, 0), low.subgraph.tensors[operator.outputs[0]]
    fixed = -1 not in (*x.signature, *y.signature) and x.data is None
    target = low.subgraph.tensors[operator.inputs[1]] if len(operator.inputs) > 1 and operator.inputs[1] >= 0 else None
    if not fixed or 0 in (*x.shape, *y.shape) or target is None or target.data is None:
        return False
    if low.ints(operator, 1) != list(y.shape):
        return False
    gone, made, kept = [], [], 0
    for k, n in enumerate(y.shape):
        while kept < len(x.shape) and x.shape[kept] != n and x.shape[kept] == 1:
            gone.append(kept)
            kept += 1
        if kept < len(x.shape) and x.shape[kept] == n:
            kept += 1
        elif n == 1:
            made.append(k)
        else:
            return False
    gone += range(kept, len(x.shape))
    if any(x.shape[k] != 1 for k in gone):
        return False
    value = low.name(operator.inputs[0])
    value = low.emit(operator, "Squeeze", [value, low.whole(gone)]) if gone else value
    value = low.emit(operator, "Unsqueeze", [value, low.whole(made)]) if made else value
    low.emit(operator, "Identity", [value], low.name(operator.outputs[0]))
    return True


def _squeeze(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    axes = [int(n) for n in options.pop("axes", [])]
    inputs = [low.name(operator.inputs[0]), *([low.whole(axes)] if axes else [])]
    low.emit(operator, "Squeeze", inputs, low.name(operator.outputs[0]))


def _expand_dims(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    axes = low.whole(low.ints(operator, 1))
    low.emit(operator, "Unsqueeze", [low.name(operator.inputs[0]), axes], low.name(operator.outputs[0]))


def _transpose(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    low.emit(
        operator, "Transpose", [low.name(operator.inputs[0])], low.name(operator.outputs[0]),
        perm=low.ints(operator, 1),
    )  # fmt: skip


def _reverse(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    axes = low.ints(operator, 1)
    ends = [low.whole([n] * len(axes)) for n in (_FAR, -_FAR - 1)]
    inputs = [low.name(operator.inputs[0]), *ends, low.whole(axes), low.whole([-1] * len(axes))]
    low.emit(operator, "Slice", inputs, low.name(operator.outputs[0]))


def _backwards(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    axis = options.pop("axis")
    inputs = [low.name(operator.inputs[0]), *(low.whole([n]) for n in (_FAR, -_FAR - 1, axis, -1))]
    low.emit(operator, "Slice", inputs, low.name(operator.outputs[0]))


def _slice(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    begin, size = low.ints(operator, 1), low.ints(operator, 2)
    ends = [_FAR if n == -1 else b + n for b, n in zip(begin, size, strict=False)]
    if len(begin) != len(size) or any(b < 0 for b in begin) or any(n < -1 for n in size):
        raise CheckpointError(f"{low.label(operator)}: it takes {text(size)} from {text(begin)}")
    inputs = [low.name(operator.inputs[0]), low.whole(begin), low.whole(ends)]
    low.emit(operator, "Slice", inputs, low.name(operator.outputs[0]))


def _strided_slice(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    begin, end, stride = (low.ints(operator, k) for k in (1, 2, 3))
    masks = {key: options.pop(f"{key}_mask") for key in ("begin", "end", "ellipsis", "new_axis", "shrink")}
    rank = len(low.tensor(operator, 0).shape)
    if not len(begin) == len(end) == len(stride) or 0 in stride:
        raise CheckpointError(f"{low.label(operator)}: its bounds do not fit together")

    def has(key: str, k: int) -> bool:
        return bool(masks[key] >> k & 1)

    dense = sum(1 for k in range(len(begin)) if not has("new_axis", k) and not has("ellipsis", k))
    cuts: list[tuple[int, int, int, int]] = []
    taken: list[tuple[int, int]] = []
    grown: list[int] = []
    axis = place = 0
    for k, (first, last, step) in enumerate(zip(begin, end, stride, strict=True)):
        if has("ellipsis", k):
            axis, place = axis + rank - dense, place + rank - dense
        elif has("new_axis", k):
            grown.append(place)
            place += 1
        elif has("shrink", k):
            if step < 1:
                raise CheckpointError(f"{low.label(operator)}: it takes one of axis {axis} with a stride of {step}")
            taken.append((axis, 0 if has("begin", k) else first))
            axis += 1
        else:
            first = (0 if step > 0 else _FAR) if has("begin", k) else first
            last = (_FAR if step > 0 else -_FAR - 1) if has("end", k) else last
            if (first, last, step) != (0, _FAR, 1):
                cuts.append((axis, first, last, step))
            axis, place = axis + 1, place + 1
    value = low.name(operator.inputs[0])
    if cuts:
        axes, starts, ends, steps = (list(column) for column in zip(*cuts, strict=True))
        value = low.emit(operator, "Slice", [value, *map(low.whole, (starts, ends, axes, steps))])
    for axis, index in reversed(taken):
        value = low.emit(operator, "Gather", [value, low.hold(np.array(index, np.int64))], axis=axis)
    if grown:
        value = low.emit(operator, "Unsqueeze", [value, low.whole(grown)])
    low.emit(operator, "Identity", [value], low.name(operator.outputs[0]))


def _gather(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    index = low.tensor(operator, 1)
    if index.data is not None and (index.array() < 0).any():
        raise CheckpointError(f"{low.label(operator)}: an index below 0, which runtimes refuse to count from the end")
    inputs = [low.name(k) for k in operator.inputs]
    low.emit(operator, "Gather", inputs, low.name(operator.outputs[0]), axis=options.pop("axis"))


def _split(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    low.parts(operator, options, len(operator.outputs))
    (axis,) = low.ints(operator, 0)
    outputs = [low.name(k) for k in operator.outputs]
    low.emit_all(operator, "Split", [low.name(operator.inputs[1])], outputs, axis=axis, num_outputs=len(outputs))


def _split_v(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    low.parts(operator, options, len(operator.outputs))
    sizes, (axis,) = low.ints(operator, 1), low.ints(operator, 2)
    shape = low.tensor(operator, 0).shape
    if -1 in sizes and -len(shape) <= axis < len(shape):
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    if len(sizes) != len(operator.outputs):
        raise CheckpointError(f"{low.label(operator)}: {len(sizes)} sizes for {len(operator.outputs)} parts")
    kept = [(n, low.name(k)) for n, k in zip(sizes, operator.outputs, strict=True) if n]  # parts may be empty
    inputs = [low.name(operator.inputs[0]), low.whole([n for n, _ in kept])]
    low.emit_all(operator, "Split", inputs, [name for _, name in kept], axis=axis)


def _concatenation(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    if options.pop("activation"):
        raise CheckpointError(f"{low.label(operator)}: a fused activation, which runtimes refuse or leave out")
    inputs = [low.name(k) for k in operator.inputs]
    low.emit(operator, "Concat", inputs, low.name(operator.outputs[0]), axis=options.pop("axis"))


def _pack(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    low.parts(operator, options, len(operator.inputs))
    rank = len(low.tensor(operator, 0).shape) + 1
    axis = options.pop("axis")
    axis = low.whole([axis + rank if axis < 0 else axis])
    parts = [low.emit(operator, "Unsqueeze", [low.name(k), axis]) for k in operator.inputs]
    low.emit(operator, "Concat", parts, low.name(operator.outputs[0]), axis=int(low.constants[axis][0]))


def _unpack(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    low.parts(operator, options, len(operator.outputs))
    axis = options.pop("axis")
    for index, k in enumerate(operator.outputs):
        inputs = [low.name(operator.inputs[0]), low.hold(np.array(index, np.int64))]
        low.emit(operator, "Gather", inputs, low.name(k), axis=axis)


def _pad(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    pads = low.constant(operator, 1)
    if pads is None or pads.dtype.kind not in "iu" or pads.ndim != 2 or pads.shape[1] != 2:
        raise CheckpointError(f"{low.label(operator)}: its paddings are no pairs of whole numbers")
    inputs = [low.name(operator.inputs[0]), low.whole([int(n) for n in pads.T.reshape(-1)])]
    if operator.op == "PADV2":
        inputs.append(low.name(operator.inputs[2]))
    low.emit(operator, "Pad", inputs, low.name(operator.outputs[0]))


def _shape(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    options.pop("type")
    low.emit(operator, "Shape", [low.name(operator.inputs[0])], low.name(operator.outputs[0]))


def _cast(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    options.clear()  # the tensors tell it
    to = low.subgraph.tensors[operator.outputs[0]].dtype
    if to not in CASTS:
        raise CheckpointError(f"{low.label(operator)}: it makes numbers of kind {to}")
    low.emit(operator, "Cast", [low.name(operator.inputs[0])], low.name(operator.outputs[0]), to=CASTS[to])


def _fill(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    inputs = [low.name(k) for k in (operator.inputs if operator.op != "FILL" else operator.inputs[::-1])]
    low.emit(operator, "Expand", inputs, low.name(operator.outputs[0]))


def _dequantize(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    """What was made of constants of fewer bits is real already."""
    low.emit(operator, "Identity", [low.name(operator.inputs[0])], low.name(operator.outputs[0]))


# ---- products ----


def _fully_connected(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    if options.pop("weights_format"):
        raise CheckpointError(f"{low.label(operator)}: its weights are shuffled, which is not read")
    keep = options.pop("keep_dims")
    x, weights = low.tensor(operator, 0), low.tensor(operator, 1)
    bias = low.name(operator.inputs[2]) if len(operator.inputs) > 2 else ""
    if len(weights.shape) != 2:
        raise CheckpointError(f"{low.label(operator)}: weights of shape {text(weights.shape)}")
    value, matrix = low.name(operator.inputs[0]), low.name(operator.inputs[1])
    inputs = weights.shape[1]
    if keep:
        value = low.emit(operator, "MatMul", [value, low.emit(operator, "Transpose", [matrix], perm=[1, 0])])
        if bias:
            value = low.emit(operator, "Add", [value, bias])
    else:
        if len(x.shape) != 2 or x.shape[1] != inputs:
            value = low.emit(operator, "Reshape", [value, low.whole([-1, inputs])], allowzero=1)
        value = low.emit(operator, "Gemm", [value, matrix, *([bias] if bias else [])], transB=1)
    low.activated(operator, options, value, operator.outputs[0])


def _batch_matmul(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    values = []
    for index, key in enumerate(("adj_x", "adj_y")):
        value, rank = low.name(operator.inputs[index]), len(low.tensor(operator, index).shape)
        if options.pop(key):
            order = [*range(rank - 2), rank - 1, rank - 2]
            value = low.emit(operator, "Transpose", [value], perm=order)
        values.append(value)
    low.emit(operator, "MatMul", values, low.name(operator.outputs[0]))


def _conv(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    depthwise = operator.op == "DEPTHWISE_CONV_2D"
    kernel = low.tensor(operator, 1)
    x = low.tensor(operator, 0)
    if len(kernel.shape) != 4 or len(x.shape) != 4:
        raise CheckpointError(f"{low.label(operator)}: a kernel of shape {text(kernel.shape)}")
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    groups = x.shape[3]
    if not depthwise:
        groups = x.shape[3] // kernel.shape[3] if kernel.shape[3] and x.shape[3] % kernel.shape[3] == 0 else 0
    elif kernel.shape[0] != 1 or kernel.shape[3] != groups * options.pop("multiplier"):
        raise CheckpointError(f"{low.label(operator)}: a kernel of shape {text(kernel.shape)} for {groups} values")
    weights = low.emit(operator, "Transpose", [low.name(operator.inputs[1])], perm=list(order))
    bias = low.name(operator.inputs[2]) if len(operator.inputs) > 2 else ""
    window = window_of(low, operator, options, x, (kernel.shape[1], kernel.shape[2]))
    value = low.emit(operator, "Transpose", [low.name(operator.inputs[0])], perm=[0, 3, 1, 2])
    value = low.emit(operator, "Conv", [value, weights, *([bias] if bias else [])], group=groups, **window)
    value = low.emit(operator, "Transpose", [value], perm=[0, 2, 3, 1])
    low.activated(operator, options, value, operator.outputs[0])


def _pool(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    size = (options.pop("height"), options.pop("width"))
    x = low.tensor(operator, 0)
    if len(x.shape) != 4 or min(size) < 1:
        raise CheckpointError(f"{low.label(operator)}: windows of {text(size)} over {text(x.shape)}")
    window = window_of(low, operator, options, x, size)
    del window["dilations"]
    op = "MaxPool" if operator.op == "MAX_POOL_2D" else "AveragePool"
    value = low.emit(operator, "Transpose", [low.name(operator.inputs[0])], perm=[0, 3, 1, 2])
    value = low.emit(operator, op, [value], kernel_shape=list(size), **window)
    value = low.emit(operator, "Transpose", [value], perm=[0, 2, 3, 1])
    low.activated(operator, options, value, operator.outputs[0])


def window_of(
    low: Lowering, operator: Operator, options: dict[str, Any], x: Tensor, size: tuple[int, int]
) -> dict[str, Any]:
    """Strides, dilations and padding; along an axis of one row a window of one row does not move."""
    padding = options.pop("padding")
    if padding not in (0, 1):
        raise CheckpointError(f"{low.label(operator)}: padding {padding} is not known")
    strides = [options.pop("stride_h"), options.pop("stride_w")]
    dilations = [options.pop("dilation_h", 1), options.pop("dilation_w", 1)]
    if min(*strides, *dilations) < 1:
        raise CheckpointError(f"{low.label(operator)}: strides {strides} and dilations {dilations}")
    for k in (0, 1):
        if size[k] == 1:
            dilations[k] = 1
            if x.signature[1 + k] == 1:
                strides[k] = 1
    return {"strides": strides, "dilations": dilations, "auto_pad": "VALID" if padding else "SAME_UPPER"}


# ---- functions and joins ----


def _function(op: str, *keys: str) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        attributes = {key: options.pop(key) for key in keys}
        low.emit(operator, op, [low.name(k) for k in operator.inputs], low.name(operator.outputs[0]), **attributes)

    return made


def _clip(low_bound: float, high: float) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        bounds = [low.number(low_bound), low.number(high)]
        low.emit(operator, "Clip", [low.name(operator.inputs[0]), *bounds], low.name(operator.outputs[0]))

    return made


def _gelu(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    form = "tanh" if options.pop("approximate") else "none"
    low.emit(operator, "Gelu", [low.name(operator.inputs[0])], low.name(operator.outputs[0]), approximate=form)


def _softmax(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    value, beta = low.name(operator.inputs[0]), options.pop("beta")
    if not np.isfinite(beta):
        raise CheckpointError(f"{low.label(operator)}: beta is {beta}")
    if beta != 1:
        value = low.emit(operator, "Mul", [value, low.number(beta)])
    low.emit(operator, "Softmax", [value], low.name(operator.outputs[0]), axis=-1)


def _log_softmax(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    low.emit(operator, "LogSoftmax", [low.name(operator.inputs[0])], low.name(operator.outputs[0]), axis=-1)


def _arithmetic(op: str) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        value = low.emit(operator, op, [low.name(k) for k in operator.inputs])
        low.activated(operator, options, value, operator.outputs[0])

    return made


def _bound(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    """MAXIMUM and MINIMUM: with one number a clip."""
    inputs, output = [low.name(k) for k in operator.inputs], low.name(operator.outputs[0])
    largest = operator.op == "MAXIMUM"
    for index in (0, 1):
        constant = low.constants.get(inputs[index]) if index < len(inputs) else None
        if constant is not None and constant.size == 1 and inputs[1 - index] not in low.constants:
            one = low.hold(constant.reshape(()))
            low.emit(operator, "Clip", [inputs[1 - index], *([one] if largest else ["", one])], output)
            return
    low.emit(operator, "Max" if largest else "Min", inputs, output)


def _square(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    value = low.name(operator.inputs[0])
    if operator.op == "SQUARED_DIFFERENCE":
        value = low.emit(operator, "Sub", [value, low.name(operator.inputs[1])])
    low.emit(operator, "Mul", [value, value], low.name(operator.outputs[0]))


def _reduce(op: str) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        inputs = [low.name(operator.inputs[0]), low.whole(low.ints(operator, 1))]
        keep = int(bool(options.pop("keep_dims")))
        low.emit(operator, op, inputs, low.name(operator.outputs[0]), keepdims=keep)

    return made


# ---- recurrent ----


def _parts(low: Lowering, operator: Operator, places: Sequence[int]) -> list[Array | None]:
    return [low.constant(operator, k) for k in places]


def _lstm(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    function = ACTIVATIONS.get(options.pop("activation"), "unknown")
    parts = _parts(low, operator, range(1, 18)) + _parts(low, operator, range(20, 24))
    cell = fused_lstm(low.label(operator), parts, options, function)
    left = [low.left(operator, k) for k in (18, 19)]
    states = [low.state(operator, k) for k in (18, 19)]
    layout = 0 if options.pop("time_major") else 1
    outputs = [low.name(operator.outputs[0]), *left]
    low.cell(operator, cell, [low.name(operator.inputs[0]), "", *states], outputs, layout)


def _bidirectional_lstm(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    function = ACTIVATIONS.get(options.pop("activation"), "unknown")
    cells = []
    for first in (1, 18):
        own = dict(options)
        parts = _parts(low, operator, range(first, first + 17)) + [None] * 4
        cells.append(fused_lstm(low.label(operator), parts, own, function))
    options.pop("cell_clip"), options.pop("proj_clip")
    states = [[low.state(operator, k) for k in pair] for pair in ((35, 36), (37, 38))]
    _both_ways(low, operator, options, cells, states, (39, 40, 44, 48))


def _both_ways(
    low: Lowering,
    operator: Operator,
    options: dict[str, Any],
    cells: list[Cell],
    states: Sequence[list[str]],
    beside: tuple[int, int, int, int],
) -> None:
    """Two cells, the second of which reads the steps in reverse order. `beside`: where the auxiliary input stands,
    its weights of either cell, and their end. With weights both cells read it beside the input; without, the second
    reads it in the input's place, as in stacks whose directions stay apart."""
    layout = 0 if options.pop("time_major") else 1
    merged = options.pop("merge")
    if not merged and len(operator.outputs) != 2:
        raise CheckpointError(f"{low.label(operator)}: {len(operator.outputs)} answers, expected two")
    x = turned = low.name(operator.inputs[0])
    auxiliary, *places = beside
    if any(k >= 0 for k in operator.inputs[auxiliary:]):
        parts = [_parts(low, operator, range(*ends)) for ends in pairwise(places)]
        turned = low.name(low.index(operator, auxiliary))
        if any(part is not None for own in parts for part in own):
            cells = [widened(low.label(operator), cell, own) for cell, own in zip(cells, parts, strict=True)]
            x = turned = low.emit(operator, "Concat", [x, turned], axis=2)
    back = [low.whole([n]) for n in (_FAR, -_FAR - 1)] + [low.whole([layout]), low.whole([-1])]
    names = ["", ""] if merged else [low.name(k) for k in operator.outputs]
    forward = low.cell(operator, cells[0], [x, "", *states[0]], [names[0]], layout)
    turned = low.emit(operator, "Slice", [turned, *back])
    backward = low.cell(operator, cells[1], [turned, "", *states[1]], [""], layout)
    backward = low.emit(operator, "Slice", [backward, *back], names[1])
    if merged:
        low.emit(operator, "Concat", [forward, backward], low.name(operator.outputs[0]), axis=2)


def _rnn(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    function = ACTIVATIONS.get(options.pop("activation"), "unknown")
    cell = fused_rnn(low.label(operator), _parts(low, operator, range(1, 4)), function)
    layout = 0 if options.pop("time_major") else 1
    left = low.left(operator, 4)
    inputs = [low.name(operator.inputs[0]), "", low.state(operator, 4)]
    low.cell(operator, cell, inputs, [low.name(operator.outputs[0]), left], layout)


def _bidirectional_rnn(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    function = ACTIVATIONS.get(options.pop("activation"), "unknown")
    cells = [fused_rnn(low.label(operator), _parts(low, operator, range(k, k + 3)), function) for k in (1, 5)]
    states = [[low.state(operator, k)] for k in (4, 8)]
    if not options["time_major"] and any(k >= 0 for k in operator.inputs[9:]) and max(operator.inputs[10:12]) < 0:
        raise CheckpointError(
            f"{low.label(operator)}: an auxiliary input without weights of its own, where the batch comes before the "
            "steps: runtimes do not read it there, a fault of theirs"
        )
    _both_ways(low, operator, options, cells, states, (9, 10, 11, 12))


# ---- operators of our own ----


def _own(op: str, *keys: str) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        attributes = {key: options.pop(key) for key in keys}
        outputs = [low.name(k) for k in operator.outputs]
        low.emit_all(operator, op, [low.name(operator.inputs[0])], outputs, **attributes)

    return made


def _unrolled(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    inputs = [low.name(k) for k in operator.inputs]
    cell, layout = options.pop("cell"), options.pop("layout")
    outputs = [low.name(k) if n == 0 or k in low.read else "" for n, k in enumerate(operator.outputs)]
    low.cell(operator, cell, [inputs[0], "", *inputs[1:]], outputs, layout)


def _step(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    index = low.hold(np.array(options.pop("index"), np.int64))
    low.emit(
        operator, "Gather", [low.name(operator.inputs[0]), index], low.name(operator.outputs[0]),
        axis=options.pop("axis"),
    )  # fmt: skip


def _variable(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    raise CheckpointError(
        f"{low.label(operator)}: weights that are variables and no constants; convert the model with its variables "
        "frozen (from_keras_model or from_saved_model do), or import the checkpoint it was converted from"
    )


METHODS: dict[str, Method] = {
    "VAR_HANDLE": _variable,
    "recurrent": _unrolled,
    "backwards": _backwards,
    "softsign": _function("Softsign"),
    "softplus": _function("Softplus"),
    "selu": _function("Selu"),
    "step": _step,
    "turned": _own("Transpose", "perm"),
    "same": _function("Identity"),
    "masked": _own("Masked", "value", "values"),
    "before": _own("Before", "count"),
    "normalised": _own("Norm", "over", "scale", "offset", "epsilon"),
    "WHILE": loop,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional_lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _rnn,
    "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional_rnn,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "REVERSE_V2": _reverse,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "UNPACK": _unpack,
    "PAD": _pad,
    "PADV2": _pad,
    "SHAPE": _shape,
    "CAST": _cast,
    "FILL": _fill,
    "BROADCAST_TO": _fill,
    "TILE": _function("Tile"),
    "RANGE": _function("Range"),
    "DEQUANTIZE": _dequantize,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "LOGISTIC": _function("Sigmoid"),
    "TANH": _function("Tanh"),
    "RELU": _function("Relu"),
    "RELU6": _clip(0, 6),
    "RELU_N1_TO_1": _clip(-1, 1),
    "RELU_0_TO_1": _clip(0, 1),
    "LEAKY_RELU": _function("LeakyRelu", "alpha"),
    "PRELU": _function("PRelu"),
    "ELU": _function("Elu"),
    "HARD_SWISH": _function("HardSwish"),
    "GELU": _gelu,
    "EXP": _function("Exp"),
    "LOG": _function("Log"),
    "LOG_SOFTMAX": _log_softmax,
    "POW": _function("Pow"),
    "NEG": _function("Neg"),
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _square,
    "SOFTMAX": _softmax,
    "ADD": _arithmetic("Add"),
    "SUB": _arithmetic("Sub"),
    "MUL": _arithmetic("Mul"),
    "DIV": _arithmetic("Div"),
    "ADD_N": _function("Sum"),
    "MAXIMUM": _bound,
    "MINIMUM": _bound,
    "MEAN": _reduce("ReduceMean"),
    "SUM": _reduce("ReduceSum"),
    "REDUCE_MAX": _reduce("ReduceMax"),
    "REDUCE_PROD": _reduce("ReduceProd"),
}
"""How each operator becomes nodes."""
