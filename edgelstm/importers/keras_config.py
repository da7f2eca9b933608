"""Keras' settings: read once each, checked, and accounted for. What is neither read nor known is refused."""

from __future__ import annotations

import math
from typing import Any

from ..errors import CheckpointError
from ..layers import LINEAR, LOG_SIGMOID, Activation

HARMLESS = frozenset(
    (
        # how training starts and what it is pulled towards
        "kernel_initializer", "recurrent_initializer", "bias_initializer", "unit_forget_bias",
        "init", "inner_init", "forget_bias_init", "trainable", "weights",
        "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer",
        "W_regularizer", "U_regularizer", "b_regularizer",
        "kernel_constraint", "recurrent_constraint", "bias_constraint", "W_constraint", "U_constraint", "b_constraint",
        "embeddings_initializer", "embeddings_regularizer", "embeddings_constraint",
        "depthwise_initializer", "depthwise_regularizer", "depthwise_constraint",
        "pointwise_initializer", "pointwise_regularizer", "pointwise_constraint",
        "alpha_initializer", "alpha_regularizer", "alpha_constraint",
        "gamma_initializer", "gamma_regularizer", "gamma_constraint", "gamma_init",
        "beta_initializer", "beta_regularizer", "beta_constraint", "beta_init",
        "moving_mean_initializer", "moving_variance_initializer", "momentum", "l1", "l2",
        # dropout and noise act in training only
        "dropout", "recurrent_dropout", "dropout_W", "dropout_U", "rate", "p", "noise_shape", "seed", "stddev", "sigma",
        # how the same sums are computed
        "implementation", "consume_less", "unroll", "use_cudnn", "autocast", "fused", "flash_attention",
        # together over the devices of training
        "synchronized",
        # of a renormalization, which is refused
        "renorm_clipping", "renorm_momentum",
        # shapes, known from the tensors and the inputs
        "batch_input_shape", "batch_shape", "input_shape", "input_dim", "input_length", "input_dtype",
        "build_input_shape", "name",
    )
)  # fmt: skip
"""Settings that change no answer."""

FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "time_major": ((False,), "the layer expects steps before sequences; build it without and save it again"),
    "data_format": (("channels_last", None), "values must stand last; build it with channels_last and save it again"),
    "input_spec": ((None,), "the setting is not known"),
    "renorm": ((False,), "batch renormalization is not supported"),
    "virtual_batch_size": ((None,), "virtual batches are not supported"),
    "use_gate": ((False,), "a gate around attention is not supported"),
    "sliding_window": ((None,), "a window of attention is not supported"),
    "sparse": ((False, None), "sparse inputs are not supported"),
    "ragged": ((False, None), "ragged inputs are not supported"),
    "optional": ((False,), "optional inputs are not supported"),
    "quantization_config": ((None,), "Keras' own quantization is not supported; import the float model"),
    "lora_rank": ((None,), "LoRA weights are not supported; merge them first"),
    "lora_alpha": ((None,), "LoRA weights are not supported; merge them first"),
    "reversible": ((False,), "the reverse of an embedding is not supported"),
}
"""Settings accepted with the values that change no answer, and why others are refused."""

ENVELOPE = frozenset(
    (
        "module", "class_name", "config", "registered_name", "name", "inbound_nodes", "shared_object_id",
        "build_config", "compile_config", "keras_version", "backend",
    )
)  # fmt: skip
"""Keys around a layer's settings."""

ALIASES = {
    "Convolution1D": "Conv1D",
    "AtrousConvolution1D": "Conv1D",
    "SeparableConvolution1D": "SeparableConv1D",
    "MaxPool1D": "MaxPooling1D",
    "AvgPool1D": "AveragePooling1D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "UnifiedLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "LSTMV1": "LSTM",
    "GRUV1": "GRU",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "TimeDistributedDense": "Dense",
}
"""Class names of some Keras, and that under which a layer is read."""

ACTIVATIONS = {
    "linear": LINEAR,
    "sigmoid": Activation("sigmoid"),
    "tanh": Activation("tanh"),
    "relu": Activation("relu"),
    "relu6": Activation("relu6"),
    "leaky_relu": Activation("leaky_relu", 0.2),  # the function; the layer LeakyReLU starts at 0.3
    "elu": Activation("elu", 1.0),
    "celu": Activation("elu", 1.0),  # with its alpha of 1 the same function
    "hard_tanh": Activation("clip", -1.0, 1.0),
    "hard_silu": Activation("hard_silu"),
    "hard_swish": Activation("hard_silu"),
    "hard_shrink": Activation("shrink", 0.5),
    "soft_shrink": Activation("shrink", 0.5, 0.5),
    "tanh_shrink": Activation("tanh_shrink"),
    "log_sigmoid": LOG_SIGMOID,
    "mish": Activation("mish"),
    "squareplus": Activation("squareplus", 4.0),
    "sparse_plus": Activation("sparse_plus"),
    "sparse_sigmoid": Activation("ramp", 0.5, 0.5),
    "selu": Activation("selu"),
    "softplus": Activation("softplus"),
    "softsign": Activation("softsign"),
    "gelu": Activation("gelu"),  # approximate=False unless a wrapper says otherwise, and wrappers are refused
    "silu": Activation("silu"),
    "swish": Activation("silu"),
    "exponential": Activation("exponential"),
    "softmax": Activation("softmax"),
    "log_softmax": Activation("log_softmax"),
}
"""Keras' names of activations, except hard_sigmoid, which depends on the version, and glu, which is no function of one
value."""

_OTHERS = {
    "glu": "it halves the values, which only the end of a Dense, Conv1D or Activation layer may",
    "threshold": "it takes two numbers, which a name does not tell; Keras cannot run it either",
}

PRECISIONS = {name: name for name in ("float32", "float64", "float16", "bfloat16")}
PRECISIONS |= {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
"""Keras' dtype policies, and the number type Keras computes in under each."""


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

    def flag(self, *keys: str, default: bool) -> bool:
        """A truth value, under the one of the `keys` that is there."""
        key = next((k for k in keys if k in self.values), keys[0])
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, "expected true or false")
        return value

    def text(self, *keys: str, default: str | None, allowed: tuple[str | None, ...]) -> str | None:
        """One of the allowed texts, under the one of the `keys` that is there."""
        key = next((k for k in keys if k in self.values), keys[0])
        value = self.take(key, default)
        if not (value is None or isinstance(value, str)) or value not in allowed:
            listed = ", ".join("null" if a is None else a for a in allowed)
            raise self.refuse(key, value, f"the value is not supported; supported: {listed}")
        return value

    def pair(self, key: str, default: int) -> tuple[int, int]:
        """Two whole numbers from 0 on: one for both, or a list of two."""
        value = self.take(key, default)
        both = value if isinstance(value, list) and len(value) == 2 else [value, value]
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in both):
            raise self.refuse(key, value, "expected a whole number from 0 on, or two")
        return both[0], both[1]

    def numbers(self, key: str, default: Any = None) -> Any:
        """A finite number, or a list of them (perhaps in lists of one); null gives None."""
        value = self.take(key, default)
        plain_value = _unwrapped(value)
        while isinstance(plain_value, list) and len(plain_value) == 1 and isinstance(plain_value[0], list):
            plain_value = plain_value[0]
        listed = plain_value if isinstance(plain_value, list) else [plain_value]
        if plain_value is None:
            return None
        if not listed or any(
            isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) for n in listed
        ):
            raise self.refuse(key, value, "expected finite numbers")
        return plain_value

    def axis(self, key: str, default: int, rank: int) -> int:
        """An axis, alone or in a list of one, counted from the last (-1) of `rank` and the batch."""
        value = self.take(key, default)
        axis = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise self.refuse(key, value, "expected one axis")
        return axis if axis < 0 else axis - rank - 1

    def whole(self, *keys: str, default: int | None = None) -> int:
        """A positive whole number, perhaps in a list of one, under the one of the `keys` that is there."""
        key = next((k for k in keys if k in self.values), keys[0])
        value = self.take(key, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse(key, value, "expected a positive whole number")
        return value

    def number(self, key: str, default: float | None) -> float | None:
        """A finite number, plain or as Keras writes NumPy's; null gives None."""
        value = _unwrapped(self.take(key, default))
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
                if not any(value is a or (isinstance(a, str) and value == a) for a in allowed):
                    raise self.refuse(key, value, reason)
            elif key not in HARMLESS:
                raise self.refuse(key, value, "the setting is not known, so it cannot be honoured")


def _unwrapped(value: Any) -> Any:
    """A number or list as Keras writes NumPy's."""
    if isinstance(value, dict) and value.get("class_name") == "__numpy__":
        return value.get("config", {}).get("value") if isinstance(value.get("config"), dict) else None
    if isinstance(value, dict) and value.get("type") == "ndarray":
        return value.get("value")
    return value


def precision(settings: Settings) -> str | None:
    """Takes `dtype`; the policy, None where Keras computes in float32 as this package does."""
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
    return name if PRECISIONS[name] != "float32" else None


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
    if name in _OTHERS:
        raise settings.refuse(key, name, _OTHERS[name])
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
