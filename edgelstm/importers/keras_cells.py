"""Keras' recurrent layers: LSTM, GRU and SimpleRNN of every generation, RNN around cells, Bidirectional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..layers import SIGMOID, TANH, Constant, Dense, Gru, Lstm, Reduce, Rnn
from ..model import Array
from .keras_build import GIVEN_MASK, Call, Value
from .keras_config import Settings, precision, shown
from .keras_spec import Spec

KERAS1_GATES = {"LSTM": "icfo", "GRU": "zrh"}
"""The order in which Keras 1 lists the gates it keeps apart."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell ready to be placed."""

    make: Callable[..., Any]  # (name, reads, writes, masked=, initial=, period=) -> layer
    units: int
    states: int  # h, and of an LSTM c


# ---- the arrays of a cell ----


def _stacked(call: Call, gates: str, inputs: int, units: int, order: str, biases: str) -> tuple[Array, Array, Array]:
    """Kernel [gates, units, inputs], recurrent [gates, units, units] and bias [gates, units] of W_i, U_i, b_i, ..."""
    shapes = {"W": (inputs, units), "U": (units, units), "b": (units,)}
    found = call.arrays({f"{part}_{g}": shapes[part] for g in gates for part in "WUb"})
    kernel, recurrent, bias = (np.stack([found[f"{part}_{g}"] for g in order]) for part in ("W", "U", biases))
    return kernel.transpose(0, 2, 1), recurrent.transpose(0, 2, 1), bias


def _joined(call: Call, gates: int, inputs: int, units: int, bias: tuple[int, ...] | None) -> list[Array]:
    """Kernel [gates, units, inputs], recurrent [gates, units, units] and, as it is, the bias, if there is one."""
    parts = ("W", "U", "b") if "W" in dict(call.spec.tensors) else ("kernel", "recurrent_kernel", "bias")
    shapes = dict(zip(parts, ((inputs, gates * units), (units, gates * units)), strict=False))
    found = call.arrays({**shapes, parts[2]: bias} if bias is not None else shapes)
    kernel = found[parts[0]].reshape(inputs, gates, units).transpose(1, 2, 0)
    recurrent = found[parts[1]].reshape(units, gates, units).transpose(1, 2, 0)
    return [kernel, recurrent, *([found[parts[2]]] if bias is not None else [])]


def _from_cudnn(call: Call, gates: int, inputs: int, units: int) -> tuple[Array, Array, Array]:
    """What CuDNNLSTM and CuDNNGRU write: kernels lie per gate as [units, inputs], and there are two biases a gate."""
    shapes = {"kernel": (inputs, gates * units), "recurrent_kernel": (units, gates * units)}
    found = call.arrays({**shapes, "bias": (2 * gates * units,)})
    each = [found["kernel"][:, k * units : (k + 1) * units] for k in range(gates)]
    kernel = np.stack([np.ascontiguousarray(gate).reshape(units, inputs) for gate in each])
    recurrent = found["recurrent_kernel"].reshape(units, gates, units).transpose(1, 0, 2)
    return kernel, recurrent, found["bias"].reshape(2, gates, units)


def _bias_shape(call: Call) -> tuple[int, ...] | None:
    return next((values.shape for role, values in call.spec.tensors if role in ("bias", "b")), None)


# ---- cells ----


def lstm(call: Call, inputs: int) -> Cell:
    """LSTM of every Keras: one kernel for four gates, Keras 1's twelve arrays, or those of CuDNNLSTM."""
    settings, old, cudnn = call.settings, "output_dim" in call.settings.values, call.spec.kind == "CuDNNLSTM"
    units = settings.whole("units", "output_dim")
    biased = cudnn or settings.flag("use_bias", default=True)
    activation, gate = TANH, SIGMOID
    if not cudnn:
        activation = call.function("activation", "tanh")
        gate = call.function(
            "inner_activation" if old else "recurrent_activation", "hard_sigmoid" if old else "sigmoid"
        )
    if biased and _bias_shape(call) == (8 * units,):
        kernel, recurrent, both = _from_cudnn(call, 4, inputs, units)
        bias = both.sum(axis=0)
    elif old and settings.values.get("consume_less") != "gpu":
        kernel, recurrent, bias = _stacked(call, KERAS1_GATES["LSTM"], inputs, units, "ifco", "b")
    else:
        kernel, recurrent, *rest = _joined(call, 4, inputs, units, (4 * units,) if biased else None)
        bias = rest[0].reshape(4, units) if rest else np.zeros((4, units), np.float32)

    def make(name: str, reads: tuple[str, ...], writes: tuple[str, ...], **more: Any) -> Lstm:
        return Lstm(name, reads, writes, kernel, recurrent, bias, activation, gate, **more)

    return Cell(make, units, 2)


def gru(call: Call, inputs: int) -> Cell:
    """GRU of every Keras; the reset before the product, as Keras 1 has it, or after, as cuDNN."""
    settings, old, cudnn = call.settings, "output_dim" in call.settings.values, call.spec.kind == "CuDNNGRU"
    units = settings.whole("units", "output_dim")
    biased = cudnn or settings.flag("use_bias", default=True)
    after = cudnn or settings.flag("reset_after", default=(call.build.generation or 3) >= 3 and not old)
    activation, gate = TANH, SIGMOID
    if not cudnn:
        activation = call.function("activation", "tanh")
        gate = call.function(
            "inner_activation" if old else "recurrent_activation", "hard_sigmoid" if old else "sigmoid"
        )
    reset_bias = None
    if biased and _bias_shape(call) == (6 * units,):
        if not after:
            raise call.refuse("reset_after = False, but its weights are those of a CuDNNGRU, which resets after")
        kernel, recurrent, both = _from_cudnn(call, 3, inputs, units)
    elif old and settings.values.get("consume_less") != "gpu":
        kernel, recurrent, bias = _stacked(call, KERAS1_GATES["GRU"], inputs, units, "zrh", "b")
        both = np.stack([bias, np.zeros_like(bias)])
    else:
        shape = (2, 3 * units) if after else (3 * units,)
        kernel, recurrent, *rest = _joined(call, 3, inputs, units, shape if biased else None)
        both = np.zeros((2, 3, units), np.float32)
        if rest:
            both[: 2 if after else 1] = rest[0].reshape(-1, 3, units)
    bias = both[0].copy()
    bias[:2] += both[1, :2]
    if after:
        reset_bias = both[1, 2]

    def make(name: str, reads: tuple[str, ...], writes: tuple[str, ...], **more: Any) -> Gru:
        return Gru(name, reads, writes, kernel, recurrent, bias, reset_bias, after, activation, gate, **more)

    return Cell(make, units, 1)


def simple_rnn(call: Call, inputs: int) -> Cell:
    settings = call.settings
    units = settings.whole("units", "output_dim")
    biased = settings.flag("use_bias", default=True)
    activation = call.function("activation", "tanh")
    kernel, recurrent, *rest = _joined(call, 1, inputs, units, (units,) if biased else None)
    bias = rest[0] if rest else np.zeros(units, np.float32)

    def make(name: str, reads: tuple[str, ...], writes: tuple[str, ...], **more: Any) -> Rnn:
        return Rnn(name, reads, writes, kernel[0], recurrent[0], bias, activation, **more)

    return Cell(make, units, 1)


CELLS: dict[str, Callable[[Call, int], Cell]] = {
    "LSTM": lstm, "CuDNNLSTM": lstm, "LSTMCell": lstm,
    "GRU": gru, "CuDNNGRU": gru, "GRUCell": gru,
    "SimpleRNN": simple_rnn, "SimpleRNNCell": simple_rnn,
}  # fmt: skip


# ---- layers ----

GIVEN_STATES = ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU", "Bidirectional")
"""Layers that may be given an initial state."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a layer runs its cells over a sequence."""

    every_step: bool
    return_state: bool
    backwards: bool
    zeros: bool  # a masked step gives zeros instead of what the step before gave


def recurrent(call: Call) -> list[Value]:
    """LSTM, GRU, SimpleRNN and RNN: the output, and with return_state the states."""
    x, initial, mask = _arguments(call)
    output, *states = _run(call, _cells(call, x), _settings(call), x, initial)
    return [replace(output, mask=mask if output.rows else None), *states]


def _settings(call: Call) -> Run:
    settings = call.settings
    run = Run(
        settings.flag("return_sequences", default=False),
        settings.flag("return_state", default=False),
        settings.flag("go_backwards", default=False),
        settings.flag("zero_output_for_mask", default=False),
    )
    if settings.flag("stateful", default=False):
        if any(value.inside for value in call.inputs):
            raise call.refuse("it is stateful inside a TimeDistributed, which is not supported")
        if id(call.spec) in call.build.called:
            raise call.refuse("it is stateful and called more than once, so its calls would share their state")
        call.build.note("the model is stateful in Keras: run(carry=True) carries the state from call to call")
    return run


def _cells(call: Call, x: Value) -> list[Cell]:
    inputs = x.width
    if call.spec.kind != "RNN":
        return [CELLS[call.spec.kind](call, inputs)]
    cells = []
    for spec in call.spec.inner:
        if spec.kind not in CELLS or not spec.kind.endswith("Cell"):
            raise call.refuse(
                f"a cell of class {shown(spec.kind)} is not supported; supported: LSTMCell, GRUCell, SimpleRNNCell"
            )
        inner = Call(call.build, spec, Settings(spec.name, spec.config), ())
        note_precision(inner)
        cells.append(CELLS[spec.kind](inner, inputs))
        inner.settings.finish()
        inputs = cells[-1].units
    return cells


def note_precision(call: Call) -> None:
    policy = precision(call.settings)
    if policy is not None:
        call.build.policies.setdefault(policy, []).append(call.spec.name)


def _arguments(call: Call) -> tuple[Value, list[Value], str | None]:
    """What it reads, with the mask that counts; its initial state: a keyword, or behind what it reads; and the mask
    it hands on. Keras 3 forgets the mask of a layer that is given a state, but not that it had one."""
    x, *initial = call.inputs
    given = [*call.args[:1], call.keywords.pop("initial_state", None)]
    for state in given:
        if state is not None:
            if initial:
                raise call.refuse("it is called with two initial states")
            initial = _flat(call, state)
    x = Call(call.build, call.spec, call.settings, (call.build.settle(x, False, call.spec.name),)).sequence()
    mask, given_mask = x.mask, call.keywords.pop(GIVEN_MASK, False)
    if initial and not given_mask and (call.build.generation or 0) >= 3:
        x = replace(x, mask=None)
    return x, initial, mask


def _flat(call: Call, state: Any) -> list[Value]:
    if isinstance(state, Value):
        return [state]
    numbers = _numbers(state)
    if numbers is not None:
        return [_constant(call, numbers)]
    if isinstance(state, list) and state:
        return [value for part in state for value in _flat(call, part)]
    raise call.refuse(f"initial_state = {shown(state)}: only layers' outputs and constants can be a state")


def _numbers(state: Any) -> Array | None:
    """A constant (sequences, units) as Keras writes it, else None."""
    if isinstance(state, dict) and state.get("class_name") in ("__numpy__", "__tensor__"):
        config = state.get("config")
        state = config.get("value") if isinstance(config, dict) else None
    try:
        array = np.asarray(state)
    except ValueError:  # of parts that differ
        return None
    if array.dtype.kind not in "fiu" or array.ndim != 2 or not array.size:
        return None
    with np.errstate(over="ignore"):  # what float32 does not hold is refused as infinite
        return array.astype(np.float32)


def _constant(call: Call, numbers: Array) -> Value:
    if not np.isfinite(numbers).all():
        raise call.refuse("initial_state is a constant that holds NaN or infinite values")
    if (numbers != numbers[:1]).any():
        raise call.refuse(
            "initial_state is a constant that differs from sequence to sequence, and here each sequence runs alone; "
            "make it an input of the model"
        )
    tensor = call.inputs[0].tensor
    writers = {name: layer.reads[0] for layer in call.build.layers for name in layer.writes}
    while tensor in writers:
        tensor = writers[tensor]
    made = call.add(lambda name, y: Constant(name, (tensor,), (y,), numbers[0]), numbers.shape[1], "_start")
    return Value(made, (numbers.shape[1],), False)


def _run(call: Call, cells: Sequence[Cell], run: Run, x: Value, initial: list[Value]) -> list[Value]:
    """Adds the cells, one behind the other."""
    if x.inside and x.steps is None:
        raise call.refuse("the steps of the sequence inside a TimeDistributed must be known")
    if x.inside and initial:
        raise call.refuse("an initial state inside a TimeDistributed is not supported")
    if initial and len(initial) != sum(cell.states for cell in cells):
        raise call.refuse(f"it has {sum(cell.states for cell in cells)} states, and is given {len(initial)}")
    if x.mask is not None and call.spec.kind.startswith("CuDNN"):
        raise call.refuse("a mask before it, which cuDNN's layers cannot take")
    source, mask = x.tensor, x.mask
    if run.backwards:
        source = call.reverse(source, x.width, x.period)
        mask = None if mask is None else call.reverse(mask, 1, x.period)
    states: list[Value] = []
    for cell in cells:
        given = [_state(call, value, cell.units) for value in initial[: cell.states]]
        initial = initial[cell.states :]
        h, found = _place(call, cell, source, mask, given, run.return_state, x.period)
        states += [Value(tensor, (cell.units,), False, inside=x.inside) for tensor in found]
        source = h
    units, h = cells[-1].units, source
    y = h if not run.zeros or mask is None else call.combine("multiply", (h, mask), units)
    if run.every_step:
        output = Value(y, (x.shape[0], units), True, x.mask, x.inside)
    else:
        output = Value(_last(call, y, units, x.period), (units,), False, inside=x.inside)
    return [output, *states]


def _place(
    call: Call, cell: Cell, source: str, mask: str | None, initial: list[str], return_state: bool, period: int
) -> tuple[str, list[str]]:
    """Adds one cell; h of every step, and if they are asked for the last states."""
    build, units = call.build, cell.units
    name = build.unique(call.spec.name)
    h = build.tensor(name, units)
    writes: tuple[str, ...] = (h,)
    if return_state and cell.states == 2:
        writes = (h, build.tensor(build.unique(f"{name}_c"), units))
    reads = (source, *([] if mask is None else [mask]), *initial)
    options = {"masked": mask is not None, "initial": bool(initial), "period": period}
    build.layers.append(cell.make(name, reads, writes, **options))
    if not return_state:
        return h, []
    last = [_last(call, tensor, units, period) for tensor in writes]
    if mask is not None and initial:  # where no step counts, h is zeros, but the state stays the initial one
        seen = call.add(lambda n, y: Reduce(n, (mask,), (y,), "max"), 1, "_seen")
        unseen = call.add(
            lambda n, y: Dense(n, (seen,), (y,), -np.ones((1, 1), np.float32), np.ones(1, np.float32)), 1, "_unseen"
        )
        kept = call.combine("multiply", (initial[0], unseen), units)
        last[0] = call.combine("add", (last[0], kept), units)
    return h, last


def _last(call: Call, tensor: str, width: int, period: int) -> str:
    key = ("last", tensor, period)
    if key not in call.build.known:
        call.build.known[key] = call.last(tensor, width, period)
    return call.build.known[key]


def _state(call: Call, value: Value, units: int) -> str:
    value = call.build.settle(value, False, call.spec.name)
    if value.rows or value.inside or value.width != units:
        raise call.refuse(f"an initial state of shape {shown(list(value.shape))}, expected ({units},)")
    return value.tensor


# ---- Bidirectional ----

MERGES = {"concat": "concatenate", "sum": "add", "mul": "multiply", "ave": "average"}


def bidirectional(call: Call) -> list[Value]:
    """Both directions, their outputs merged; then with return_state the states of both."""
    merge = call.settings.text("merge_mode", default="concat", allowed=(*MERGES, None))
    call.settings.flag("stateful", default=False)  # the layers inside tell it too
    for key in ("return_sequences", "return_state"):
        call.settings.take(key)
    for spec in call.spec.inner:
        if (spec.kind not in CELLS and spec.kind != "RNN") or spec.kind.endswith("Cell"):
            raise call.refuse(
                f"Bidirectional around {shown(spec.kind)} is not supported; supported: LSTM, GRU, SimpleRNN, RNN"
            )
    x, initial, mask = _arguments(call)
    sides = [_side(call, spec, x) for spec in call.spec.inner]
    (forward, cells, run), (backward, other_cells, other) = sides
    if run.backwards == other.backwards:
        raise call.refuse("both its layers have the same go_backwards")
    if (run.every_step, run.return_state) != (other.every_step, other.return_state):
        raise call.refuse("its layers differ in return_sequences or return_state")
    half = len(initial) // 2
    y, *states = _run(forward, cells, run, x, initial[:half])
    z, *more = _run(backward, other_cells, other, x, initial[half:])
    if run.every_step:
        z = replace(z, tensor=call.reverse(z.tensor, z.width, z.period))
    if merge is None:
        return [replace(v, mask=mask if v.rows else None) for v in (y, z)] + [*states, *more]
    width = y.width + z.width if merge == "concat" else y.width
    if merge != "concat" and y.width != z.width:
        raise call.refuse(f"merge_mode = {merge!r}: its layers have {y.width} and {z.width} units")
    merged = call.combine(MERGES[merge], (y.tensor, z.tensor), width, "_merge")
    return [Value(merged, (*y.shape[:-1], width), y.rows, mask if y.rows else None, y.inside), *states, *more]


def _side(call: Call, spec: Spec, x: Value) -> tuple[Call, list[Cell], Run]:
    """One direction: its call, cells and settings."""
    inner = Call(call.build, spec, Settings(spec.name, spec.config), (x,))
    note_precision(inner)
    cells, run = _cells(inner, x), _settings(inner)
    inner.settings.finish()
    if hides(call.build.version) and spec.kind not in ("CuDNNLSTM", "CuDNNGRU"):
        run = Run(run.every_step, run.return_state, run.backwards, run.every_step)
    call.build.called.add(id(spec))
    return inner, cells, run


def hides(version: str | None) -> bool:
    """Whether Bidirectional gives zeros at masked steps: tf.keras and Keras 3 do, Keras up to 2.3 does not."""
    numbers = [int(n) if n.isdigit() else 0 for n in (version or "").split("-")[0].split(".")[:2]]
    return "-tf" in (version or "") or numbers >= [2, 4]
