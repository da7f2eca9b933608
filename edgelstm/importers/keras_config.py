"""Keras' settings: read once each, checked, and accounted for. What is neither read nor known is refused."""

from __future__ import annotations

import math
from typing import Any

from ..errors import CheckpointError
from ..layers import LINEAR, Activation

HARMLESS = frozenset(
    (
        # how training starts and what it is pulled towards
        "kernel_initializer", "recurrent_initializer", "bias_initializer", "unit_forget_bias",
        "init", "inner_init", "forget_bias_init", "trainable", "weights",
        "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer",
        "W_regularizer", "U_regularizer", "b_regularizer",
        "kernel_constraint", "recurrent_constraint", "bias_constraint", "W_constraint", "U_constraint", "b_constraint",
        # dropout and noise act in training only
        "dropout", "recurrent_dropout", "dropout_W", "dropout_U", "rate", "p", "noise_shape", "seed", "stddev", "sigma",
        # how the same sums are computed
        "implementation", "consume_less", "unroll", "use_cudnn", "autocast",
        # what an output is where a mask hides a step; layers that make masks are refused
        "zero_output_for_mask",
        # shapes, known from the tensors and the inputs
        "batch_input_shape", "batch_shape", "input_shape", "input_dim", "input_length", "input_dtype",
        "build_input_shape", "name",
    )
)  # fmt: skip
"""Settings that change no answer."""

FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "go_backwards": ((False,), "the layer reads the sequence backwards"),
    "time_major": ((False,), "the layer expects steps before sequences"),
    "sparse": ((False, None), "sparse inputs are not supported"),
    "ragged": ((False, None), "ragged inputs are not supported"),
    "optional": ((False,), "optional inputs are not supported"),
    "quantization_config": ((None,), "Keras' own quantization is not supported; import the float model"),
    "lora_rank": ((None,), "LoRA weights are not supported; merge them first"),
    "lora_alpha": ((None,), "LoRA weights are not supported; merge them first"),
}
"""Settings accepted with the values that change no answer, and why others are refused."""

ENVELOPE = frozenset(
    (
        "module", "class_name", "config", "registered_name", "name", "inbound_nodes", "shared_object_id",
        "build_config", "compile_config", "keras_version", "backend",
    )
)  # fmt: skip
"""Keys around a layer's settings."""

ACTIVATIONS = {
    "linear": LINEAR,
    "sigmoid": Activation("sigmoid"),
    "tanh": Activation("tanh"),
    "relu": Activation("relu"),
    "relu6": Activation("relu6"),
    "leaky_relu": Activation("leaky_relu", 0.2),  # the function; the layer LeakyReLU starts at 0.3
    "elu": Activation("elu", 1.0),
    "celu": Activation("elu", 1.0),  # with its alpha of 1 the same function
    "selu": Activation("selu"),
    "softplus": Activation("softplus"),
    "softsign": Activation("softsign"),
    "gelu": Activation("gelu"),  # approximate=False unless a wrapper says otherwise, and wrappers are refused
    "silu": Activation("silu"),
    "swish": Activation("silu"),
    "exponential": Activation("exponential"),
    "softmax": Activation("softmax"),
}
"""Keras' names of activations, except hard_sigmoid, which depends on the version."""

PRECISIONS = {"float32": None, "float64": "float64", "float16": "float16", "bfloat16": "bfloat16"}
PRECISIONS |= {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
"""Keras' dtype policies, and the number type to name in a note where Keras does not compute in float32."""


class Settings:
    """The settings of one layer; each is taken once, and `finish` refuses what nobody took."""

    def __init__(self, layer: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise CheckpointError(f"layer {layer!r}: its config is not a table of settings; the checkpoint is damaged")
        self.layer = layer
        self.values = dict(values)

    def refuse(self, key: str, value: object, reason: str) -> CheckpointError:
        return CheckpointError(f"layer {self.layer!r}: {key} = {shown(value)}: {reason}")

    def take(self, key: str, default: Any = None) -> Any:
        """Any value, uninterpreted."""
        return self.values.pop(key, default)

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, "expected true or false")
        return value

    def whole(self, *keys: str) -> int:
        """A positive whole number, under the one of the `keys` that is there."""
        key = next((k for k in keys if k in self.values), keys[0])
        value = self.take(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse(key, value, "expected a positive whole number")
        return value

    def number(self, key: str, default: float | None) -> float | None:
        """A finite number, plain or as Keras writes NumPy's; null gives None."""
        value = self.take(key, default)
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":
            value = value.get("config", {}).get("value") if isinstance(value.get("config"), dict) else None
        elif isinstance(value, dict) and value.get("type") == "ndarray":
            value = value.get("value")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(float(value)):
            raise self.refuse(key, value, "expected a finite number")
        return float(value)

    def finish(self) -> None:
        """CheckpointError unless every setting was taken or changes no answer."""
        for key, value in self.values.items():
            if key in FIXED:
                allowed, reason = FIXED[key]
                if not any(value is a for a in allowed):
                    raise self.refuse(key, value, reason)
            elif key not in HARMLESS:
                raise self.refuse(key, value, "the setting is not known, so it cannot be honoured")


def precision(settings: Settings) -> str | None:
    """Takes `dtype`; the number type Keras computes in, None for float32."""
    value = settings.take("dtype", "float32")
    name = value
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") not in ("DTypePolicy", "Policy") or not isinstance(config, dict):
            raise settings.refuse("dtype", value, "this dtype policy is not supported; save a float32 model")
        name = config.get("name")
    if name is None:
        return None
    if not isinstance(name, str) or name not in PRECISIONS:
        raise settings.refuse("dtype", name, f"expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def major(version: str | None) -> int | None:
    """The Keras generation of a version like 1.2.2, 2.2.4-tf or 3.15.1; None if it is not told."""
    first = (version or "").split(".")[0]
    return int(first) if first in ("0", "1", "2", "3") else None


def named_activation(name: str, generation: int | None, settings: Settings, key: str) -> Activation:
    """The activation Keras means by a name; hard_sigmoid changed its slope with Keras 3."""
    if name == "hard_sigmoid":
        if generation is None:
            raise settings.refuse(
                key, name, "its slope changed with Keras 3: add the keras_version that wrote it to the configuration"
            )
        return Activation("hard_sigmoid" if generation >= 3 else "hard_sigmoid_fifth")
    if name not in ACTIVATIONS:
        known = ", ".join(sorted((*ACTIVATIONS, "hard_sigmoid")))
        raise settings.refuse(key, name, f"the activation is not supported; supported: {known}")
    return ACTIVATIONS[name]


def shown(value: object) -> str:
    """A value for a message: one line, printable, short."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def plain(name: str) -> str:
    """A layer's name fit for terminals and logs."""
    return "".join(c if c.isprintable() else "?" for c in name)[:120] or "layer"
