"""One function per Keras layer: its settings and tensors become layers of the model. A new layer is a new function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import CheckpointError
from ..layers import LINEAR, SIGMOID, TANH, Activate, Activation, Dense, Last, Layer, Lstm
from ..model import Array, Tensor
from .keras_config import Settings, major, named_activation, plain, precision, shown
from .keras_spec import Spec
from .keras_weights import KERAS1_GATES

MAX_CALLS = 16384  # calls of layers in one model, nested ones counted each time
MAX_COPIED = 1 << 26  # weights in copies of shared layers


@dataclass(frozen=True, slots=True)
class Value:
    """What a call of a layer returns: a tensor of the model."""

    tensor: str
    width: int
    sequence: bool  # [steps, width]; otherwise [width], of the last step


@dataclass(slots=True)
class Build:
    """The model as far as it is built."""

    version: str | None  # the Keras that wrote the checkpoint
    tensors: list[Tensor] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    called: set[int] = field(default_factory=set)  # identities of Specs called before
    repeated: dict[int, Spec] = field(default_factory=dict)  # those with tensors called more than once
    calls: int = 0
    copied: int = 0  # numbers in tensors used once more

    def unique(self, name: str) -> str:
        """`name`, with a number behind it if it is taken."""
        name = plain(name)
        found, count = name, 2
        while found in self.names:
            found, count = f"{name}_{count}", count + 1
        self.names.add(found)
        return found

    def tensor(self, name: str, width: int) -> str:
        self.tensors.append(Tensor(name, width))
        return name

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer on a value."""

    build: Build
    spec: Spec
    settings: Settings
    x: Value

    def refuse(self, reason: str) -> CheckpointError:
        return CheckpointError(f"layer {self.spec.name!r}: {reason}")

    def activation(self, key: str, default: str = "linear") -> Activation:
        """Takes an activation: a name, a serialized function or a serialized layer; null is linear."""
        value = self.settings.take(key, default)
        if value is None:
            return LINEAR
        generation = major(self.build.version)
        if isinstance(value, dict):
            kind, config = value.get("class_name"), value.get("config")
            if kind in ACTIVATION_LAYERS and isinstance(config, dict):
                inner = Settings(self.spec.name, config)
                precision(inner)
                found = ACTIVATION_LAYERS[kind](inner)
                inner.finish()
                return found
            if kind == "function" and value.get("module") in (None, "builtins", "keras.activations"):
                value = config
        if not isinstance(value, str):
            raise self.settings.refuse(key, value, "the activation is not one of Keras' own; it cannot be imported")
        return named_activation(value, generation, self.settings, key)

    def arrays(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The layer's tensors by role; CheckpointError where one has another shape than the settings say."""
        found = dict(self.spec.tensors)
        for role, shape in shapes.items():
            if role not in found or found[role].shape != shape:
                actual = found[role].shape if role in found else "missing"
                raise self.refuse(f"its {role} has shape {actual}, expected {shape}")
        if len(found) != len(shapes):
            raise self.refuse(f"it has tensors {', '.join(found)}, expected {', '.join(shapes)}")
        return found


def lstm(call: Call) -> Value:
    """LSTM of every Keras: one kernel for four gates, or Keras 1's twelve arrays."""
    settings, old = call.settings, "output_dim" in call.settings.values
    units = settings.whole("units", "output_dim")
    biased = settings.flag("use_bias", True)
    activation = call.activation("activation", "tanh")
    gate = call.activation("inner_activation" if old else "recurrent_activation", "hard_sigmoid" if old else "sigmoid")
    inputs, stacked = call.x.width, (units, 4 * units)
    if old and settings.values.get("consume_less") != "gpu":
        each = {"W": (inputs, units), "U": (units, units), "b": (units,)}
        found = call.arrays({f"{part}_{g}": each[part] for g in KERAS1_GATES for part in "WUb"})
        kernel, recurrent, bias = (np.stack([found[f"{part}_{g}"] for g in "ifco"]) for part in "WUb")
        kernel, recurrent = kernel.transpose(0, 2, 1), recurrent.transpose(0, 2, 1)
    else:
        parts = ("W", "U", "b") if old else ("kernel", "recurrent_kernel", "bias")
        shapes = dict(zip(parts, ((inputs, 4 * units), stacked, (4 * units,))[: 3 if biased else 2], strict=False))
        found = call.arrays(shapes)
        kernel = found[parts[0]].reshape(inputs, 4, units).transpose(1, 2, 0)
        recurrent = found[parts[1]].reshape(units, 4, units).transpose(1, 2, 0)
        bias = found[parts[2]].reshape(4, units) if biased else np.zeros((4, units), np.float32)
    return _recurrent(call, kernel, recurrent, bias, activation, gate)


def cudnn_lstm(call: Call) -> Value:
    """CuDNNLSTM: kernels lie per gate as [units, inputs], and two biases are added."""
    units, inputs = call.settings.whole("units"), call.x.width
    found = call.arrays({"kernel": (inputs, 4 * units), "recurrent_kernel": (units, 4 * units), "bias": (8 * units,)})
    gates = [found["kernel"][:, k * units : (k + 1) * units] for k in range(4)]
    kernel = np.stack([np.ascontiguousarray(gate).reshape(units, inputs) for gate in gates])
    recurrent = found["recurrent_kernel"].reshape(units, 4, units).transpose(1, 0, 2)
    bias = found["bias"].reshape(2, 4, units).sum(axis=0)
    return _recurrent(call, kernel, recurrent, bias, TANH, SIGMOID)


def _recurrent(
    call: Call, kernel: Array, recurrent: Array, bias: Array, activation: Activation, gate: Activation
) -> Value:
    build, settings, x = call.build, call.settings, call.x
    every_step = settings.flag("return_sequences", False)
    settings.flag("return_state", False)  # states are further outputs; whoever reads one is refused in the graph
    if not x.sequence:
        raise call.refuse("it reads a single step; the LSTM before it needs return_sequences=True")
    if settings.flag("stateful", False):
        if id(call.spec) in build.called:
            raise call.refuse("it is stateful and called more than once, so its calls would share their state")
        build.note("the model is stateful in Keras: run(carry=True) carries the state from call to call as Keras does")
    units = kernel.shape[1]
    name = build.unique(call.spec.name)
    h = build.tensor(name, units)
    build.layers.append(Lstm(name, (x.tensor,), (h,), kernel, recurrent, bias, activation, gate))
    if every_step:
        return Value(h, units, True)
    last = build.unique(f"{name}_last")
    build.layers.append(Last(last, (h,), (build.tensor(last, units),)))
    return Value(last, units, False)


def dense(call: Call) -> Value:
    """Dense, on one step or on each step of a sequence."""
    settings, build = call.settings, call.build
    old = "output_dim" in settings.values
    units = settings.whole("units", "output_dim")
    biased = settings.flag("bias" if old else "use_bias", True)
    kernel, bias = ("W", "b") if old else ("kernel", "bias")
    found = call.arrays({kernel: (call.x.width, units), **({bias: (units,)} if biased else {})})
    activation = call.activation("activation")
    name = build.unique(call.spec.name)
    values = found[bias] if biased else np.zeros(units, np.float32)
    target = build.tensor(name, units)
    build.layers.append(Dense(name, (call.x.tensor,), (target,), found[kernel].T, values, activation))
    return Value(target, units, call.x.sequence)


def identity(call: Call) -> Value:
    """Layers that act in training only."""
    if call.spec.kind == "ActivityRegularization":
        call.settings.take("l1")
        call.settings.take("l2")
    return call.x


def activation_layer(call: Call) -> Value:
    """Activation, ReLU, LeakyReLU, ELU and Softmax as layers."""
    make = ACTIVATION_LAYERS.get(call.spec.kind)
    found = make(call.settings) if make else call.activation("activation")
    if found.name == "linear":
        return call.x
    name = call.build.unique(call.spec.name)
    target = call.build.tensor(name, call.x.width)
    call.build.layers.append(Activate(name, (call.x.tensor,), (target,), found))
    return Value(target, call.x.width, call.x.sequence)


def relu(settings: Settings) -> Activation:
    """ReLU: what relu, relu6 or leaky_relu compute; a threshold or another maximum is refused."""
    top, slope = settings.number("max_value", None), settings.number("negative_slope", 0.0) or 0.0
    threshold = settings.number("threshold", 0.0) or 0.0
    if threshold != 0.0:
        raise settings.refuse("threshold", threshold, "only 0 is supported")
    if top is None:
        return Activation("leaky_relu", slope) if slope else Activation("relu")
    if top == 6.0 and slope == 0.0:
        return Activation("relu6")
    raise settings.refuse("max_value", top, "only 6 without a negative_slope is supported")


def leaky_relu(settings: Settings) -> Activation:
    """LeakyReLU; the slope is `alpha` up to Keras 2, `negative_slope` in Keras 3."""
    key = "alpha" if "alpha" in settings.values else "negative_slope"
    slope = settings.number(key, 0.3)
    if slope is None:
        raise settings.refuse(key, slope, "expected a number")
    return Activation("leaky_relu", slope)


def elu(settings: Settings) -> Activation:
    alpha = settings.number("alpha", 1.0)
    if alpha is None:
        raise settings.refuse("alpha", alpha, "expected a number")
    return Activation("elu", alpha)


def softmax(settings: Settings) -> Activation:
    axis = settings.take("axis", -1)
    if axis not in (-1, [-1]) or isinstance(axis, bool):
        raise settings.refuse("axis", axis, "only -1, over the values of a step, is supported")
    return Activation("softmax")


def time_distributed(call: Call) -> Value:
    """TimeDistributed around a layer that works step by step anyway."""
    (inner,) = call.spec.inner
    call.settings.finish()
    if inner.kind not in STEPWISE:
        raise call.refuse(f"TimeDistributed around {inner.kind!r} is not supported")
    if not call.x.sequence:
        raise call.refuse("it reads a single step, expected a sequence")
    return apply(call.build, inner, call.x)


ACTIVATION_LAYERS: dict[str, Callable[[Settings], Activation]] = {
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": elu,
    "Softmax": softmax,
}

IDENTITIES = (
    "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
)  # fmt: skip

LAYERS: dict[str, Callable[[Call], Value]] = {
    "LSTM": lstm,
    "CuDNNLSTM": cudnn_lstm,
    "Dense": dense,
    "Activation": activation_layer,
    "TimeDistributed": time_distributed,
    **dict.fromkeys(ACTIVATION_LAYERS, activation_layer),
    **dict.fromkeys(IDENTITIES, identity),
}

STEPWISE = ("Dense", "Activation", *ACTIVATION_LAYERS, *IDENTITIES)


def check_kinds(model: Spec) -> None:
    """CheckpointError names every layer of a kind that is not supported, and its kind."""
    unknown = [leaf for leaf in model.leaves() if leaf.kind not in LAYERS and leaf.kind != "InputLayer"]
    if unknown:
        raise _unsupported(*unknown)


def _unsupported(first: Spec, *others: Spec) -> CheckpointError:
    names = [f"{shown(spec.kind)} ({shown(spec.name)})" for spec in others[:4]]
    names += [f"{len(others) - 4} more"] if len(others) > 4 else []
    more = f", nor are {', '.join(names)}" if names else ""
    return CheckpointError(
        f"layer {shown(first.name)}: {shown(first.kind)} layers are not supported{more}; supported: {', '.join(LAYERS)}"
    )


def apply(build: Build, spec: Spec, x: Value) -> Value:
    """Adds one call of a layer to the model; what it returns. CheckpointError names what is not supported."""
    build.calls += 1
    if build.calls > MAX_CALLS:
        raise CheckpointError(f"the model calls its layers more than {MAX_CALLS} times; refused")
    if spec.kind not in LAYERS:
        raise _unsupported(spec)
    if id(spec) in build.called and spec.tensors:
        build.repeated[id(spec)] = spec
        build.copied += sum(values.size for _, values in spec.tensors)
        if build.copied > MAX_COPIED:
            raise CheckpointError(f"layer {spec.name!r}: shared so often that its copies exceed {MAX_COPIED} weights")
    settings = Settings(spec.name, spec.config)
    computed = precision(settings)
    if computed is not None:
        build.note(f"layer {plain(spec.name)} computes in {computed} in Keras; here it computes in float32")
    y = LAYERS[spec.kind](Call(build, spec, settings, x))
    settings.finish()
    build.called.add(id(spec))
    return y
