"""Operations over neighbouring steps and over all of them: convolution, pooling, reduction, padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import Conv1d, Dense, Pad, Pool1d, Reduce
from .onnx_build import Build
from .onnx_file import Node
from .onnx_fold import axes as axes_of
from .onnx_fold import axis_of, given, optional, reduced, text
from .onnx_joins import data_of
from .onnx_settings import Settings
from .onnx_sizes import Dim, Known, ints, numbers, symbol, uniform
from .onnx_values import Atom, Axis, Data, Value, places
from .torch_pickle import shown


@dataclass(frozen=True, slots=True)
class _Window:
    """Where windows stand: settings of one spatial axis, all others having size 1."""

    axis: int
    size: int
    stride: int
    dilation: int
    left: int
    right: int
    same: bool


def conv(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """Conv over one axis, the steps."""
    data = data_of(node, given(node, inputs, 0))
    kernel = _constant(node, inputs, 1)
    if kernel is None or kernel.ndim != len(data.axes):
        raise CheckpointError(f"{node.label}: a kernel that does not fit to {text(data.shape)}")
    groups = settings.int("group", 1)
    window = _window(build, node, settings, data, list(kernel.shape[2:]))
    bias = _constant(node, inputs, 2)
    settled, period = _settled(build, node, data, window.axis)
    columns = places(settled, [settled.axes[1]])
    weights = kernel.reshape(*kernel.shape[:2], -1)  # [units, inputs / groups, taps]
    if groups < 1 or weights.shape[1] * groups != len(columns):
        raise CheckpointError(f"{node.label}: a kernel of shape {text(kernel.shape)} for {len(columns)} values")
    if groups == 1:
        weights = weights[:, columns]
    elif (columns != np.arange(len(columns))).any():
        raise CheckpointError(f"{node.label}: groups of values that stand in another order in the model")
    units = len(weights)
    tensor = build.emit(
        Conv1d,
        node,
        (build.read(node, settled),),
        units,
        kernel=weights.transpose(0, 2, 1),
        bias=np.zeros(units) if bias is None else bias.reshape(-1),
        groups=groups,
        **_fields(window, period),
    )
    return _windowed(build, node, settled, window, tensor, (Atom(units),))


def pool(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """MaxPool and AveragePool over one axis, the steps."""
    data = data_of(node, given(node, inputs, 0))
    size = settings.list("kernel_shape", int)
    if size is None or len(size) != len(data.axes) - 2:
        raise CheckpointError(f"{node.label}: kernel_shape is {shown(size)} for {text(data.shape)}")
    settings.left["kernel_shape"] = size
    ceil = settings.int("ceil_mode", 0)
    window = _window(build, node, settings, data, size)
    if window.dilation != 1:
        raise CheckpointError(f"{node.label}: windows with a dilation of {window.dilation}, which no pooling layer has")
    counts = bool(settings.int("count_include_pad", 0)) if node.op == "AveragePool" else False
    if counts and window.same:
        raise CheckpointError(f"{node.label}: count_include_pad with auto_pad depends on the number of steps")
    if ceil and (window.stride > 1 or window.same):
        steps = data.shape[window.axis]
        total = steps + window.left + window.right - window.size if isinstance(steps, int) else None
        if total is None or total % window.stride:
            raise CheckpointError(f"{node.label}: ceil_mode gives a window that reaches past the end")
    settled, period = _settled(build, node, data, window.axis)
    fields = _fields(window, period)
    del fields["dilation"]
    tensor = build.emit(
        Pool1d,
        node,
        (build.read(node, settled),),
        settled.width,
        kind="max" if node.op == "MaxPool" else "average",
        size=window.size,
        count_padding=counts,
        **fields,
    )
    return _windowed(build, node, settled, window, tensor, settled.values)


def _constant(node: Node, inputs: list[Value | None], index: int) -> Any:
    value = optional(inputs, index)
    if value is None:
        return None
    if not isinstance(value, Known):
        raise CheckpointError(f"{node.label}: its weights are no constants of the file")
    return numbers(value, node.label)


def _window(build: Build, node: Node, settings: Settings, data: Data, size: list[int]) -> _Window:
    """The attributes of windows, all but one axis of which must be trivial."""
    spatial = len(size)
    given_size = settings.list("kernel_shape", int, size)
    strides = settings.list("strides", int) or [1] * spatial
    dilations = settings.list("dilations", int) or [1] * spatial
    pads = settings.list("pads", int) or [0] * (2 * spatial)
    mode = settings.text("auto_pad", "NOTSET")
    if given_size != size or not len(strides) == len(dilations) == spatial == len(pads) // 2 or spatial < 1:
        raise CheckpointError(f"{node.label}: its windows' attributes do not fit to {text(data.shape)}")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""):
        raise CheckpointError(f"{node.label}: auto_pad is {shown(mode)}")
    moving = [k for k in range(spatial) if size[k] != 1 or strides[k] != 1 or pads[k] or pads[spatial + k]]
    moving = moving or [k for k in range(spatial) if data.axes[2 + k]][:1] or [0]
    if len(moving) > 1 or any(data.axes[2 + k] for k in range(spatial) if k != moving[0]):
        raise CheckpointError(
            f"{node.label}: windows over {spatial} axes of {text(data.shape)}; only one can be the steps"
        )
    (k,) = moving
    left, right, same = pads[k], pads[spatial + k], False
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        left, right, same = 0, 0, True
        reach = (size[k] - 1) * dilations[k]
        steps = data.shape[2 + k]
        if mode == "SAME_LOWER" and reach:
            if strides[k] != 1 and not isinstance(steps, int):
                raise CheckpointError(f"{node.label}: SAME_LOWER with strides needs a fixed number of steps")
            total = reach if strides[k] == 1 else max(0, (-(-steps // strides[k]) - 1) * strides[k] + reach + 1 - steps)
            left, right, same = total - total // 2, total // 2, False
    elif mode == "VALID":
        left = right = 0
    if left < 0 or right < 0:
        raise CheckpointError(f"{node.label}: pads are negative")
    return _Window(2 + k, size[k], strides[k], dilations[k], left, right, same)


def _fields(window: _Window, period: int) -> dict[str, Any]:
    names = ("stride", "dilation", "left", "right", "same")
    return {name: getattr(window, name) for name in names} | {"period": period}


def _settled(build: Build, node: Node, data: Data, axis: int) -> tuple[Data, int]:
    """The view with the axis as its steps and axis 1 as its values; and a period where the batch holds steps too."""
    outer = tuple(atom for atom in data.axes[0] if atom is not build.batch)
    if build.batch.size != 1 and data.axes[0][:1] != (build.batch,):
        raise CheckpointError(f"{node.label}: axis 0 of {text(data.shape)} is not the batch")
    if any(build.batch in a for a in data.axes[1:]):
        raise CheckpointError(f"{node.label}: axis 0 of {text(data.shape)} is not the batch")
    data = build.sequence(node, build.settle(node, data, data.axes[1]))
    seen = tuple(a for a in data.steps if a.size != 1)
    if seen != (*outer, *data.axes[axis]):
        raise CheckpointError(f"{node.label}: axis {axis} of {text(data.shape)} is not the steps")
    if not outer:
        return data, 0
    size = data.shape[axis]
    if not isinstance(size, int):
        raise CheckpointError(f"{node.label}: windows in each of several sequences need a fixed number of steps")
    return data, size


def _windowed(build: Build, node: Node, data: Data, window: _Window, tensor: str, values: Axis) -> Data:
    steps = data.shape[window.axis]
    made = Atom(_rows(build, window, steps))
    outer = tuple(atom for atom in data.axes[0] if atom is not build.batch)
    order = (*outer, made, *values)
    axes = [*data.axes]
    if len(values) == 1 and values is not data.values:
        axes[1] = values
    axes[window.axis] = (made,)
    return Data(((tensor, 0),), order, len(outer) + 1, ()).seen(axes)


def _rows(build: Build, window: _Window, steps: Dim) -> Dim:
    reach = (window.size - 1) * window.dilation + 1
    if window.stride == 1:
        return steps if window.same else steps + window.left + window.right + 1 - reach
    if not isinstance(steps, int):
        return symbol(f"rows {len(build.layers)}")
    if window.same:
        return -(-steps // window.stride)
    return max(0, (steps + window.left + window.right - reach) // window.stride + 1)


# ---- over all steps, or all values ----


def reduce(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """ReduceMean, ReduceMax, ReduceSum; over the steps, or of means and sums over values too."""
    data = data_of(node, given(node, inputs, 0))
    over, keep = reduced(node, settings, inputs, len(data.axes))
    return _reduced(build, node, data, over, node.op[6:].lower(), keep)


def global_pool(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """GlobalAveragePool and GlobalMaxPool."""
    data = data_of(node, given(node, inputs, 0))
    kind = "max" if node.op == "GlobalMaxPool" else "mean"
    return _reduced(build, node, data, list(range(2, len(data.axes))), kind, True)


def _reduced(build: Build, node: Node, data: Data, over: list[int], kind: str, keep: bool) -> Data:
    atoms = [atom for k in over for atom in data.axes[k]]
    if build.batch in atoms:
        raise CheckpointError(f"{node.label}: it reduces over the sequences of a batch")
    axes: list[Axis] = [() if k in over else axis for k, axis in enumerate(data.axes)]
    if atoms and (kind == "max" or any(atom in data.steps for atom in atoms)):
        data = _over_steps(build, node, data, atoms, kind)
    elif atoms:
        data = _over_values(build, node, data, atoms, kind)
    return data.seen(axis for k, axis in enumerate(axes) if keep or k not in over)


def _over_steps(build: Build, node: Node, data: Data, atoms: list[Atom], kind: str) -> Data:
    values = [atom for atom in data.order if atom not in atoms and atom.size != 1]
    outer: list[Atom] = []
    while values and values[0] in data.steps and values[0] not in atoms and not all(a in data.values for a in values):
        outer.append(values.pop(0))
    data = build.whole(node, build.settle(node, data, values))
    seen = [a for a in data.steps if a.size != 1]
    if seen != [*outer, *(a for a in seen if a in atoms)] or set(seen) != {*outer, *atoms}:
        raise CheckpointError(f"{node.label}: it reduces over some steps and not over others")
    period = 0
    if outer:
        for atom in atoms:
            if not isinstance(atom.size, int):
                raise CheckpointError(
                    f"{node.label}: it reduces over an open number of steps in each of several sequences"
                )
            period = (period or 1) * atom.size
    tensor = build.move(Reduce, node, build.read(node, data), data.width, kind=kind, period=period)
    return Data(((tensor, 0),), (*outer, *data.values), len(outer), ())


def _over_values(build: Build, node: Node, data: Data, atoms: list[Atom], kind: str) -> Data:
    """A mean or a sum over values: a Dense of equal weights."""
    data = build.whole(node, data)
    seen = [atom for atom in data.values if atom.size != 1]
    rest = [atom for atom in seen if atom not in atoms]
    grid = np.arange(data.width).reshape([atom.number for atom in seen])
    inner = int(np.prod([atom.number for atom in atoms]))
    grid = grid.transpose([seen.index(atom) for atom in [*rest, *atoms]]).reshape(-1, inner)
    if max(len(grid), data.width) > 4096:
        raise CheckpointError(f"{node.label}: it reduces over {data.width} values")
    kernel = np.zeros((len(grid), data.width))
    np.put_along_axis(kernel, grid, 1 if kind == "sum" else 1 / inner, axis=1)
    tensor = build.emit(Dense, node, (build.read(node, data),), len(grid), kernel=kernel, bias=np.zeros(len(grid)))
    return Data(((tensor, 0),), (*data.steps, *rest), data.split, ())


def pad(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """Zeros before and after the steps; negative ones crop."""
    data = data_of(node, given(node, inputs, 0))
    rank = len(data.axes)
    mode = settings.text("mode", "constant")
    value = settings.float("value", 0.0)
    counts = settings.list("pads", int) or settings.list("paddings", int)
    if optional(inputs, 1) is not None:
        if not isinstance(inputs[1], Known):
            raise CheckpointError(f"{node.label}: its pads are computed from what the model reads")
        counts = ints(inputs[1], node.label)
    constant = optional(inputs, 2)
    if constant is not None:
        value = uniform(constant) if isinstance(constant, Known) else None
    chosen = list(range(rank))
    if optional(inputs, 3) is not None:
        chosen = [axis_of(node, k, rank) for k in axes_of(node, settings, inputs, 3)]
    if counts is None or len(counts) != 2 * len(chosen):
        raise CheckpointError(f"{node.label}: its pads do not fit to {text(data.shape)}")
    moving = {
        k: (counts[i], counts[len(chosen) + i]) for i, k in enumerate(chosen) if counts[i] or counts[len(chosen) + i]
    }
    if not moving:
        return data
    if mode != "constant" or value != 0:
        raise CheckpointError(f"{node.label}: mode {shown(mode)} with value {value}; only zeros are added")
    ((axis, (left, right)),) = moving.items() if len(moving) == 1 else ((-1, (0, 0)),)
    placed = build.step_axis(node, data, axis) if axis >= 0 else None
    if placed is None:
        raise CheckpointError(f"{node.label}: it adds to other axes than the steps of {text(data.shape)}")
    placed = build.cropped(node, placed, axis, max(0, -left), max(0, -right))
    left, right = max(0, left), max(0, right)
    if not left and not right:
        return placed
    tensor = build.move(Pad, node, build.read(node, placed), placed.width, left=left, right=right)
    made = Atom(placed.shape[axis] + left + right)
    axes = [*placed.axes]
    axes[axis] = (made,)
    return replace(placed, pieces=((tensor, 0),), order=(made, *placed.values), split=1).seen(axes)
