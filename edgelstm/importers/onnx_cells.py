"""ONNX's LSTM, GRU and RNN, with every attribute and input, as cells of the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import LINEAR, SIGMOID, TANH, Activation, Combine, Gru, Last, Lstm, Pad, Reverse, Rnn
from ..model import Array
from .onnx_build import Build
from .onnx_file import Node
from .onnx_fold import given, optional, text
from .onnx_settings import Settings
from .onnx_sizes import Dim, Known, Size, numbers
from .onnx_values import Atom, Axis, Data, Lengths, Value, places
from .torch_pickle import shown

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
# Where none is given, ONNX means 1 (beta of affine: 0) by those of None, and ONNX Runtime computes with 0.
_ALPHA = {
    "leakyrelu": 0.01,
    "hardsigmoid": 0.2,
    "elu": 1.0,
    "thresholdedrelu": None,
    "affine": None,
    "scaledtanh": None,
}
_BETA = {"hardsigmoid": 0.5, "affine": None, "scaledtanh": None}
_PLAIN = {"sigmoid": SIGMOID, "tanh": TANH, "relu": Activation("relu"), "softsign": Activation("softsign")}
_PLAIN |= {"softplus": Activation("softplus")}


def cell(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> list[Value]:
    """The values of Y, Y_h and for an LSTM Y_c."""
    cell = _Cell(build, node, settings, inputs)
    settings.finish()
    return cell.run()


class _Cell:
    def __init__(self, build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> None:
        self.build, self.node, self.inputs = build, node, inputs
        self.gates = _GATES[node.op]
        direction = settings.text("direction", "forward")
        if direction not in ("forward", "reverse", "bidirectional"):
            raise CheckpointError(f"{node.label}: direction is {shown(direction)}")
        self.backward = [direction == "reverse"] if direction != "bidirectional" else [False, True]
        self.directions = len(self.backward)
        self.kernel, self.recurrent, self.bias = self._weights(settings)
        self.functions = self._functions(settings)
        clip = settings.float("clip")
        if clip is not None and clip < 0:
            raise CheckpointError(f"{node.label}: clip is {clip}")
        self.clip = clip or None  # the runtimes take 0 for none
        self.layout = settings.int("layout", 0)
        if self.layout not in (0, 1):
            raise CheckpointError(f"{node.label}: layout is {self.layout}")
        self.sequence = bool(settings.int("output_sequence", 0)) or build.opset >= 7
        self.coupled = bool(settings.int("input_forget", 0)) if node.op == "LSTM" else False
        self.reset_after = bool(settings.int("linear_before_reset", 0)) if node.op == "GRU" else False
        self.peephole = self._peephole() if node.op == "LSTM" else None

    # ---- what is given ----

    def _constant(self, index: int, shape: tuple[int, ...] | None, what: str) -> Array | None:
        value = optional(self.inputs, index)
        if value is None:
            return None
        if not isinstance(value, Known):
            raise CheckpointError(f"{self.node.label}: {what} is not a constant of the file")
        found = numbers(value, self.node.label)
        if shape is not None and found.shape != shape:
            raise CheckpointError(f"{self.node.label}: {what} has shape {text(found.shape)}, expected {text(shape)}")
        return found

    def _weights(self, settings: Settings) -> tuple[Array, Array, Array]:
        given(self.node, self.inputs, 0)
        kernel, recurrent = self._constant(1, None, "W"), self._constant(2, None, "R")
        if kernel is None or recurrent is None or kernel.ndim != 3 or recurrent.ndim != 3:
            raise CheckpointError(f"{self.node.label}: W and R are missing or of other than 3 dimensions")
        units, inputs = recurrent.shape[2], kernel.shape[2]
        for array, columns, what in ((kernel, inputs, "W"), (recurrent, units, "R")):
            expected = (self.directions, self.gates * units, columns)
            if array.shape != expected or not array.size:
                raise CheckpointError(f"{self.node.label}: {what} has shape {array.shape}, expected {expected}")
        hidden = settings.int("hidden_size", units)
        if hidden != units:
            raise CheckpointError(f"{self.node.label}: hidden_size is {hidden}, R is for {units} units")
        bias = self._constant(3, (self.directions, 2 * self.gates * units), "B")
        if bias is None:
            bias = np.zeros((self.directions, 2 * self.gates * units))
        bias = bias.astype(np.float64)  # sums of two are rounded once
        return (
            kernel.reshape(self.directions, self.gates, units, inputs),
            recurrent.reshape(self.directions, self.gates, units, units),
            bias.reshape(self.directions, 2, self.gates, units),
        )

    @property
    def units(self) -> int:
        return int(self.recurrent.shape[2])

    def _peephole(self) -> Array | None:
        found = self._constant(7, (self.directions, 3 * self.units), "P")
        return None if found is None else found.reshape(self.directions, 3, self.units)[:, [0, 2, 1]]  # i o f

    def _functions(self, settings: Settings) -> list[list[Activation]]:
        defaults = _DEFAULTS[self.node.op]
        names = settings.list("activations", str) or defaults * self.directions
        alphas, betas = (list(settings.list(f"activation_{w}", float) or []) for w in ("alpha", "beta"))
        if len(names) != len(defaults) * self.directions:
            raise CheckpointError(
                f"{self.node.label}: {len(names)} activations, expected {len(defaults) * self.directions}"
            )
        found = [self._function(name, alphas, betas) for name in names]
        if alphas or betas:
            raise CheckpointError(
                f"{self.node.label}: activation_alpha or activation_beta hold more than activations take"
            )
        return [found[k : k + len(defaults)] for k in range(0, len(found), len(defaults))]

    def _function(self, name: str, alphas: list[float], betas: list[float]) -> Activation:
        """An activation; those that take numbers take the next of the lists."""
        key = name.lower()
        alpha = (alphas.pop(0) if alphas else _ALPHA[key]) if key in _ALPHA else 0.0
        beta = (betas.pop(0) if betas else _BETA[key]) if key in _BETA else 0.0
        if alpha is None or beta is None:
            raise CheckpointError(
                f"{self.node.label}: activation {shown(name)} without its activation_alpha or activation_beta, for "
                "which ONNX and its runtime take different numbers; write them into the file"
            )
        if not (np.isfinite(alpha) and np.isfinite(beta)):
            raise CheckpointError(f"{self.node.label}: activation {shown(name)} with {alpha} and {beta}")
        match key:
            case "leakyrelu":
                return Activation("leaky_relu", alpha)
            case "elu":
                return Activation("elu", alpha)
            case "hardsigmoid":
                return hard_sigmoid(alpha, beta)
            case "affine":
                return LINEAR if alpha == 1 and beta == 0 else Activation("affine", alpha, beta)
            case "scaledtanh":
                return TANH if alpha == 1 and beta == 1 else Activation("scaled_tanh", alpha, beta)
            case "thresholdedrelu":
                return Activation("threshold", alpha) if alpha else Activation("relu")
        if key in _PLAIN:
            return _PLAIN[key]
        raise CheckpointError(f"{self.node.label}: ONNX has no activation {shown(name)}")

    # ---- what is read ----

    def _x(self, index: int, what: str, roles: str) -> Data:
        """An input by what its axes are: T steps, N the batch, - anything else."""
        value = self.inputs[index]
        if not isinstance(value, Data):
            raise CheckpointError(f"{self.node.label}: {what} does not come from what the model reads")
        if len(value.axes) != len(roles):
            raise CheckpointError(
                f"{self.node.label}: {what} has shape {text(value.shape)}, expected {len(roles)} dimensions"
            )
        batch = roles.index("N")
        if value.axes[batch] != tuple(a for a in (self.build.batch,) if a.size != 1) or any(
            self.build.batch in axis for k, axis in enumerate(value.axes) if k != batch
        ):
            raise CheckpointError(
                f"{self.node.label}: axis {batch} of {what}, of shape {text(value.shape)}, is not the batch"
            )
        return value

    def _initial(self) -> list[Data | Array]:
        """The states to start from, of an LSTM h and c: tensors, or constants [directions, units]; none for zeros."""
        found: list[Data | Array] = []
        for index, what in ((5, "initial_h"), (6, "initial_c"))[: 2 if self.node.op == "LSTM" else 1]:
            value = optional(self.inputs, index)
            if value is None:
                found.append(np.zeros((self.directions, self.units), np.float32))
                continue
            if isinstance(value, Known):
                found.append(self._held(value, what))
                continue
            state = self._x(index, what, "-N-" if self.layout == 0 else "N--")
            place = 0 if self.layout == 0 else 1
            state = self.build.alone(self.node, self.build.settle(self.node, state, state.order))
            sizes = (state.shape[place], state.shape[2])
            if sizes != (self.directions, self.units):
                raise CheckpointError(f"{self.node.label}: {what} has shape {text(state.shape)}")
            found.append(state)
        return found if any(isinstance(state, Data) or state.any() for state in found) else []

    def _held(self, value: Known, what: str) -> Array:
        """A constant state, [directions, units]."""
        label, batch = self.node.label, 0 if self.layout else 1
        if value.symbolic or value.array.dtype.kind != "f":
            raise CheckpointError(f"{label}: {what} is no constant of floats")
        if len(value.shape) != 3 or [n for k, n in enumerate(value.shape) if k != batch] != [
            self.directions,
            self.units,
        ]:
            raise CheckpointError(f"{label}: {what} has shape {text(value.shape)}")
        array = np.moveaxis(value.array, batch, 0)
        if not np.isfinite(array).all():
            raise CheckpointError(f"{label}: {what} holds NaN or infinite values")
        if (array != array[:1]).any():
            raise CheckpointError(
                f"{label}: {what} is a constant that differs from sequence to sequence, and here each sequence runs "
                "alone; export it as an input of the model"
            )
        return np.broadcast_to(array[0], (self.directions, self.units)).astype(np.float32)

    def _state(self, states: list[Data | Array], direction: int, x: str) -> list[str]:
        """The tensors a direction starts from; none for zeros."""
        place = 0 if self.layout == 0 else 1
        tensors = []
        for state, suffix in zip(states, (".h0", ".c0"), strict=False):
            if not isinstance(state, Data):
                tensors.append(self.build.constant(self.node, x, state[direction], suffix))
                continue
            one = self.build.chosen(self.node, state, place, [direction]) if self.directions > 1 else state
            columns = places(one, [one.axes[2]])
            if (columns != np.arange(self.units)).any():
                raise CheckpointError(f"{self.node.label}: its initial state is in another order than its units")
            tensors.append(self.build.read(self.node, one))
        return tensors

    def _lengths(self, steps: Dim) -> tuple[str | None, int]:
        """What sequence_lens says: a mask, or how many of the last steps no sequence has."""
        label, value = self.node.label, optional(self.inputs, 4)
        if value is None:
            return None, 0
        if isinstance(value, Lengths):
            return value.mask, 0
        if not isinstance(value, Known) or not (value.symbolic or value.array.dtype.kind in "iu"):
            raise CheckpointError(f"{label}: sequence_lens is neither an input of the model nor a constant")
        found = set(value.array.flat)
        if found == {steps}:
            return None, 0
        if len(found) != 1:
            raise CheckpointError(
                f"{label}: sequence_lens differs from sequence to sequence, and here each sequence runs alone; "
                "export it as an input of the model"
            )
        (length,) = found
        if isinstance(length, Size) or not isinstance(steps, int):
            raise CheckpointError(
                f"{label}: sequence_lens is {length} of {steps} steps, a number that the file leaves open; export "
                "it as an input of the model, or with a fixed number of steps"
            )
        if not 1 <= length <= steps:
            raise CheckpointError(f"{label}: sequence_lens is {length} of {steps} steps")
        return None, steps - int(length)

    # ---- what is written ----

    def run(self) -> list[Value]:
        build, node = self.build, self.node
        roles = "NT-" if self.layout else "TN-"
        x = self._x(0, "X", roles)
        time = roles.index("T")
        x = build.sequence(node, build.settle(node, x, x.axes[2]))
        if x.axes[time] != tuple(a for a in x.steps if a.size != 1):
            raise CheckpointError(f"{node.label}: axis {time} of X, of shape {text(x.shape)}, is not its steps")
        columns = places(x, [x.axes[2]])
        if len(columns) != self.kernel.shape[3]:
            raise CheckpointError(f"{node.label}: W reads {self.kernel.shape[3]} values, X has {len(columns)}")
        if (columns != np.arange(len(columns))).any():
            self.kernel = self.kernel[:, :, :, columns]
        states = self._initial()
        mask, missing = self._lengths(x.shape[time])
        source = build.read(node, build.cropped(node, x, time, 0, missing))
        ys: list[tuple[str, int]] = []
        ends: list[list[tuple[str, int]]] = [[] for _ in range(2 if node.op == "LSTM" else 1)]
        for direction, backward in enumerate(self.backward):
            written = self._direction(direction, backward, source, mask, self._state(states, direction, source))
            for column, tensor in zip(ends, written, strict=False):
                column.append((build.move(Last, node, tensor, self.units), 1))
            y = self._answers(written[0], backward, mask)
            ys.append((build.move(Pad, node, y, self.units, left=0, right=missing) if missing else y, 1))
        return self._views(x, time, ys, ends)

    def _direction(self, direction: int, backward: bool, x: str, mask: str | None, state: list[str]) -> list[str]:
        build, node = self.build, self.node
        reads = [x] if mask is None else [x, mask]
        if backward:
            reads = [build.move(Reverse, node, tensor, build.tensors[tensor].width) for tensor in reads]
        fields: dict[str, Any] = {"clip": self.clip, "masked": mask is not None, "initial": bool(state)}
        suffix = ("", ".forward", ".backward")[0 if self.directions == 1 else direction + 1]
        kind, more = getattr(self, f"_{node.op.lower()}")(direction)
        widths = (self.units,) * (2 if node.op == "LSTM" and len(node.outputs) > 2 and node.outputs[2] else 1)
        return build.emit_all(kind, node, [*reads, *state], widths, suffix, **fields, **more)

    def _answers(self, h: str, backward: bool, mask: str | None) -> str:
        """h of every step in the order of the steps, zeros in those that do not count."""
        build, node = self.build, self.node
        if not (node.outputs and node.outputs[0]):
            return h
        if backward:
            h = build.move(Reverse, node, h, self.units)
        if mask is None:
            return h
        return build.emit(Combine, node, (h, mask), self.units, ".counted", kind="multiply")

    def _views(self, x: Data, time: int, ys: list[tuple[str, int]], ends: list[list[tuple[str, int]]]) -> list[Value]:
        batch = (self.build.batch,)
        across, units = Atom(self.directions), Atom(self.units)
        steps: Axis = x.axes[time]
        axes = (batch, steps, (across,), (units,)) if self.layout else (steps, (across,), batch, (units,))
        order = (*x.steps, across, units)
        found: list[Value] = [Data(tuple(ys), order, len(x.steps), ()).seen(axes)]
        for column in ends:
            across, units = Atom(self.directions), Atom(self.units)
            sides = (batch, (across,), (units,)) if self.layout else ((across,), batch, (units,))
            found.append(Data(tuple(column), (across, units), 0, ()).seen(sides))
        if node_writes(self.node, 0) and not self.sequence:
            raise CheckpointError(f"{self.node.label}: it writes Y, and its output_sequence is 0")
        return found

    # ---- each kind ----

    def _rows(self, direction: int, gates: list[int]) -> tuple[Array, Array, Array]:
        """Kernel, recurrent and both biases of gates in this order."""
        return self.kernel[direction][gates], self.recurrent[direction][gates], self.bias[direction][:, gates]

    def _lstm(self, direction: int) -> tuple[Any, dict[str, Any]]:
        gate, candidate, cell = self.functions[direction]
        kernel, recurrent, bias = self._rows(direction, [0, 2, 3, 1])  # ONNX: i o f c
        peephole = None if self.peephole is None else self.peephole[direction].copy()
        total = bias.sum(axis=0)
        if self.coupled:
            for array in (kernel, recurrent, total, *([] if peephole is None else [peephole])):
                array[1] = 0
        return Lstm, {
            "kernel": kernel,
            "recurrent": recurrent,
            "bias": total,
            "activation": candidate,
            "gate_activation": gate,
            "cell_activation": cell if cell != candidate else None,
            "peephole": peephole,
            "coupled": self.coupled,
        }

    def _gru(self, direction: int) -> tuple[Any, dict[str, Any]]:
        gate, candidate = self.functions[direction]
        kernel, recurrent, bias = self._rows(direction, [0, 1, 2])
        reset_bias = None
        if self.reset_after:
            reset_bias, bias = bias[1, 2].copy(), bias.copy()
            bias[1, 2] = 0
        return Gru, {
            "kernel": kernel,
            "recurrent": recurrent,
            "bias": bias.sum(axis=0),
            "reset_bias": reset_bias,
            "reset_after": self.reset_after,
            "activation": candidate,
            "gate_activation": gate,
        }

    def _rnn(self, direction: int) -> tuple[Any, dict[str, Any]]:
        (function,) = self.functions[direction]
        kernel, recurrent, bias = self._rows(direction, [0])
        return Rnn, {
            "kernel": kernel[0],
            "recurrent": recurrent[0],
            "bias": bias.sum(axis=0)[0],
            "activation": function,
        }


def node_writes(node: Node, output: int) -> bool:
    """Whether a node names an output."""
    return output < len(node.outputs) and bool(node.outputs[output])


def hard_sigmoid(alpha: float, beta: float) -> Activation:
    """clip(alpha x + beta, 0, 1)."""
    if beta == 0.5 and np.float32(alpha) == np.float32(0.2):
        return Activation("hard_sigmoid_fifth")
    if beta == 0.5 and abs(alpha - 1 / 6) < 1e-7:
        return Activation("hard_sigmoid")
    return Activation("ramp", alpha, beta)
