"""Recurrent operators of TFLite: the tensors of one as the fields of a cell, and the cell as layers of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import TANH, Activation, Last, Lstm, Mask, Pad, Rnn
from ..model import Array
from .onnx_build import Build
from .onnx_cells import node_writes
from .onnx_file import Node
from .onnx_fold import optional, text
from .onnx_ops import normalised
from .onnx_settings import Settings
from .onnx_sizes import Known, dims, numbers, uniform
from .onnx_values import Atom, Data, Value, places

_NORM_EPSILON = 1e-8  # of the runtimes' cells
FUNCTIONS = {"none": "linear", "relu": "relu", "relu6": "relu6", "tanh": "tanh"}
"""A cell's activations by TFLite's names."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """What a cell computes; its weights read x, then h."""

    form: Any  # Lstm, Gru or Rnn
    fields: dict[str, Any]  # of the layer

    @property
    def inputs(self) -> int:
        return int(self.fields["kernel"].shape[-1])

    @property
    def outputs(self) -> int:
        return int(self.fields["recurrent"].shape[-1])

    @property
    def states(self) -> tuple[int, ...]:
        """Widths of what is handed from step to step."""
        units = int(self.fields["kernel"].shape[-2])
        return (self.outputs, units) if self.form is Lstm else (self.outputs,)


def recurrent(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> list[Value]:
    """A cell over x [T, N, width], or [N, T, width] with layout 1, with a mask and two states to start from where they
    are given, and numbers that must be T: its h of every step in the same layout, the last h, and of an LSTM the last
    c."""
    cell = settings.any("cell")
    assert isinstance(cell, Cell)
    layout = settings.int("layout")
    settings.finish()
    x = sequence_of(build, node, inputs[0], layout, cell)
    for count in inputs[4:]:
        if not isinstance(count, Known) or dims(count, node.label) != [x.shape[1 if layout else 0]]:
            raise CheckpointError(f"{node.label}: a loop whose number of steps is not that of what it reads")
    columns = places(x, [x.axes[2]])
    fields = dict(cell.fields)
    if (columns != np.arange(len(columns))).any():
        fields["kernel"] = fields["kernel"][..., columns]
    mask = optional(inputs, 1)
    reads = [build.read(node, x)]
    if mask is not None:
        reads.append(_mask(build, node, mask, x))
    given = [optional(inputs, k) for k in (2, 3)][: len(cell.states)]
    states = _states(build, node, given, cell, reads[0])
    if states and mask is not None and node_writes(node, 1):
        raise CheckpointError(f"{node.label}: a last state under a mask with a state to start from")
    widths = cell.states[: 2 if node_writes(node, 2) else 1]
    fields |= {"masked": mask is not None, "initial": bool(states)}
    written = build.emit_all(cell.form, node, [*reads, *states], widths, **fields)
    batch, steps = (build.batch,), x.axes[1 if layout else 0]
    values = (Atom(cell.outputs),)
    axes = (batch, steps, values) if layout else (steps, batch, values)
    found: list[Value] = [Data(((written[0], 0),), (*x.steps, *values), len(x.steps), ()).seen(axes)]
    for tensor, width in zip(written, widths, strict=True):
        values = (Atom(width),)
        last = build.move(Last, node, tensor, width)
        found.append(Data(((last, 0),), values, 0, ()).seen((batch, values)))
    return found


def sequence_of(build: Build, node: Node, value: Value | None, layout: int, cell: Cell) -> Data:
    """What a cell reads step by step, as a sequence."""
    if not isinstance(value, Data):
        raise CheckpointError(f"{node.label}: what it reads does not come from the model's inputs")
    if len(value.axes) != 3:
        raise CheckpointError(f"{node.label}: it reads {text(value.shape)}, expected three dimensions")
    batch, time = (0, 1) if layout else (1, 0)
    if value.axes[batch] != tuple(a for a in (build.batch,) if a.size != 1) or any(
        build.batch in axis for k, axis in enumerate(value.axes) if k != batch
    ):
        raise CheckpointError(f"{node.label}: axis {batch} of {text(value.shape)} is not the batch")
    x = build.sequence(node, build.settle(node, value, value.axes[2]))
    if x.axes[time] != tuple(a for a in x.steps if a.size != 1):
        raise CheckpointError(f"{node.label}: axis {time} of {text(x.shape)} is not its steps")
    if x.width != cell.inputs:
        raise CheckpointError(f"{node.label}: its weights read {cell.inputs} values, it is given {x.width}")
    return x


def _mask(build: Build, node: Node, value: Value, x: Data) -> str:
    if not isinstance(value, Data) or value.width != 1:
        raise CheckpointError(f"{node.label}: its mask is not made of what the model reads")
    if sum(1 for a in value.steps if a.size != 1) != sum(1 for a in x.steps if a.size != 1):
        raise CheckpointError(f"{node.label}: its mask has other steps than what it reads")
    return build.whole(node, build.sequence(node, value)).pieces[0][0]


def _states(build: Build, node: Node, values: list[Value | None], cell: Cell, x: str) -> list[str]:
    """The tensors a cell starts from; none for zeros."""
    read = [value is not None and not (isinstance(value, Known) and uniform(value) == 0) for value in values]
    if not any(read):
        return []
    return [state_of(build, node, value, n, x) for value, n in zip(values, cell.states, strict=True)]


def state_of(build: Build, node: Node, value: Value | None, width: int, x: str) -> str:
    if value is None or isinstance(value, Known):
        array = np.zeros(width, np.float32) if value is None else numbers(value, node.label)
        row = array.reshape(-1)[-width:]
        if array.dtype.kind != "f" or array.shape[-1:] != (width,) or (array != row).any():
            raise CheckpointError(f"{node.label}: it starts from a constant of shape {text(array.shape)}")
        return build.constant(node, x, row, ".start")
    if not isinstance(value, Data):
        raise CheckpointError(f"{node.label}: the state it starts from does not come from the model's inputs")
    state = build.alone(node, build.settle(node, value, value.order))
    values = [axis for axis in state.axes if axis != (build.batch,)]
    if state.width != width or (places(state, values) != np.arange(width)).any():
        raise CheckpointError(f"{node.label}: it starts from a state of shape {text(value.shape)}")
    return build.read(node, state)


# ---- the fused LSTM ----


def fused_lstm(label: str, parts: list[Array | None], options: dict[str, Any], function: str) -> Cell:
    """The cell of the operator's constants in its order: input weights, recurrent weights, peepholes, biases,
    projection and its bias, and layer norm's coefficients, of i, f, g and o each."""
    kernel, recurrent_, peephole, bias = parts[:4], parts[4:8], parts[8:11], parts[11:15]
    projection, projection_bias, norm = parts[15], parts[16], parts[17:21]
    coupled = kernel[0] is None
    if coupled and any(part is not None for part in (recurrent_[0], peephole[0], bias[0], norm[0])):
        raise CheckpointError(f"{label}: it has some of the input gate's weights and not others")
    if any(part is None for part in (*kernel[1:], *recurrent_[1:], *bias[1:])) or (
        not coupled and any(part is None for part in (recurrent_[0], bias[0]))
    ):
        raise CheckpointError(f"{label}: weights or biases are missing")
    if options.pop("diagonal", 0):
        recurrent_ = [None if r is None else np.diag(r.reshape(-1)) for r in recurrent_]
    fields: dict[str, Any] = {
        "kernel": _gates(label, kernel, coupled, 2),
        "recurrent": _gates(label, recurrent_, coupled, 2),
        "bias": _gates(label, bias, coupled, 1),
        "coupled": coupled,
    }
    if peephole[1] is not None and peephole[2] is not None:
        fields["peephole"] = _gates(label, [peephole[0], peephole[1], None, peephole[2]], coupled, 1)[[0, 1, 3]]
    elif any(part is not None for part in peephole):
        raise CheckpointError(f"{label}: some of its peepholes are missing")
    if not coupled and "peephole" in fields and peephole[0] is None:
        raise CheckpointError(f"{label}: some of its peepholes are missing")
    if any(part is not None for part in norm):
        if any(part is None for part in (norm[1:] if coupled else norm)):
            raise CheckpointError(f"{label}: some of its layer norm's coefficients are missing")
        fields |= {"norm": _gates(label, norm, coupled, 1), "norm_epsilon": _NORM_EPSILON}
        fields["norm"][0] *= -1 if coupled else 1  # of minus what f sees, whose norm is minus that of f
    if projection is not None:
        fields["projection"] = projection
        fields["projection_bias"] = projection_bias
    elif projection_bias is not None:
        raise CheckpointError(f"{label}: a projection's bias without a projection")
    clip, proj_clip = options.pop("cell_clip"), options.pop("proj_clip")
    if not (np.isfinite(clip) and np.isfinite(proj_clip) and clip >= 0 and proj_clip >= 0):
        raise CheckpointError(f"{label}: it clips at {clip} and {proj_clip}")
    if proj_clip > 0 and projection is not None:
        fields["projection_clip"] = proj_clip
    if clip > 0:
        fields["cell_clip"] = clip
    if function == "none":
        raise CheckpointError(f"{label}: its cells compute no function; runtimes then leave c out of h, without a word")
    fields["activation"] = _function(label, function)
    _check(label, fields)
    return Cell(Lstm, fields)


def widened(label: str, cell: Cell, parts: list[Array | None]) -> Cell:
    """A cell that reads more values behind those that it reads; `parts`: their weights, gate by gate."""
    kernel = cell.fields["kernel"]
    if cell.form is Lstm:
        coupled = cell.fields["coupled"]
        if any(part is None for part in parts[coupled:]) or (coupled and parts[0] is not None):
            raise CheckpointError(f"{label}: it has some of the auxiliary input's weights and not others")
        more = _gates(label, parts, coupled, 2)
    else:
        (part,) = parts
        if part is None:
            raise CheckpointError(f"{label}: it has some of the auxiliary input's weights and not others")
        more = part
    if more.shape[:-1] != kernel.shape[:-1]:
        raise CheckpointError(f"{label}: weights of an auxiliary input of shape {more.shape}")
    return replace(cell, fields=cell.fields | {"kernel": np.concatenate([kernel, more], axis=-1)})


def fused_rnn(label: str, parts: list[Array | None], function: str) -> Cell:
    """The cell of a simple RNN's input weights, recurrent weights and bias."""
    kernel, recurrent_, bias = parts
    if kernel is None or recurrent_ is None or bias is None:
        raise CheckpointError(f"{label}: weights or biases are missing")
    if kernel.ndim != 2 or recurrent_.shape != (len(kernel), len(kernel)) or bias.shape != (len(kernel),):
        raise CheckpointError(f"{label}: weights of shapes {kernel.shape}, {recurrent_.shape} and {bias.shape}")
    fields = {"kernel": kernel, "recurrent": recurrent_, "bias": bias, "activation": _function(label, function)}
    return Cell(Rnn, fields)


def _function(label: str, function: str) -> Activation:
    if function not in FUNCTIONS:
        raise CheckpointError(f"{label}: its cells compute {function}, which no layer here does")
    return TANH if function == "tanh" else Activation(FUNCTIONS[function])


def _gates(label: str, parts: list[Array | None], coupled: bool, rank: int) -> Array:
    """Of i, f, g, o. TFLite's coupled gates are i = 1 - f, the model's f = 1 - i: i is s of minus what f sees."""
    shapes = {part.shape for part in parts if part is not None}
    if len(shapes) != 1 or len(next(iter(shapes))) != rank:
        raise CheckpointError(f"{label}: weights of shapes {', '.join(map(str, sorted(shapes)))}")
    zeros = np.zeros(next(iter(shapes)), np.float32)
    found = [zeros if part is None else part for part in parts]
    if coupled:
        found[0], found[1] = -found[1], zeros
    return np.stack(found)


def _check(label: str, fields: dict[str, Any]) -> None:
    _, units, _ = fields["kernel"].shape
    projection = fields.get("projection")
    outputs = units if projection is None else len(projection)
    expected = {"recurrent": (4, units, outputs), "bias": (4, units), "peephole": (3, units)}
    expected |= {"projection": (outputs, units), "projection_bias": (outputs,), "norm": (4, units)}
    for name, shape in expected.items():
        if fields.get(name) is not None and fields[name].shape != shape:
            raise CheckpointError(f"{label}: {name} of shape {fields[name].shape}, expected {shape}")


# ---- masks and norms ----


def masked(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> list[Value]:
    """x with the steps that do not count as zeros, and which do: the mask, with an axis of size 1 for the values."""
    value, values = settings.float("value"), settings.int("values")
    data = inputs[0]
    if not isinstance(data, Data):
        raise CheckpointError(f"{node.label}: a mask of what the model does not read")
    inner = data.axes[-1] if values else ()
    data = build.whole(node, build.sequence(node, build.settle(node, data, inner)))
    if data.width != (np.prod([a.number for a in inner]) if inner else 1):
        raise CheckpointError(f"{node.label}: a mask of {text(data.shape)}")
    counted, mask = build.emit_all(Mask, node, (data.pieces[0][0],), (data.width, 1), value=value)
    axes = [*data.axes[:-1], ()] if values else data.axes
    return [replace(data, pieces=((counted, 0),)), Data(((mask, 0),), data.steps, data.split, ()).seen(axes)]


def before(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """A sequence behind so many steps of zeros."""
    count, data = settings.int("count"), inputs[0]
    if not isinstance(data, Data) or len(data.axes) != 3:
        raise CheckpointError(f"{node.label}: it keeps steps of what is no sequence that the model reads")
    data = build.sequence(node, build.settle(node, data, data.axes[2]))
    if data.axes[1] != tuple(a for a in data.steps if a.size != 1):
        raise CheckpointError(f"{node.label}: axis 1 of {text(data.shape)} is not its steps")
    tensor = build.move(Pad, node, build.read(node, data), data.width, left=count, right=0)
    made = Atom(data.shape[1] + count)
    view = replace(data, pieces=((tensor, 0),), order=(made, *data.values), split=1)
    return view.seen([data.axes[0], (made,), data.axes[2]])


def norm(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """LayerNorm over some axes."""
    over, scale, offset = (settings.any(key) for key in ("over", "scale", "offset"))
    data = inputs[0]
    if not isinstance(data, Data):
        raise CheckpointError(f"{node.label}: it normalises what the model does not read")
    return normalised(build, node, data, over, scale, offset, settings.float("epsilon"))
