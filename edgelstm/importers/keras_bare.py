"""A Keras configuration stripped to what its answers depend on, so that Keras builds known layers and no more."""

from __future__ import annotations

from typing import Any

from ..errors import CheckpointError
from .keras_config import ALIASES, HARMLESS, PRECISIONS, shown
from .keras_layers import LAYERS
from .keras_spec import MODELS, OPERATIONS, is_of_keras, is_operation

CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells")
MADE = ("TimeDistributed", "InputLayer", *CELLS)  # beside the layers that are called by themselves
KNOWN = frozenset(
    (*(name.removeprefix(OPERATIONS) for name in LAYERS), *MODELS, *MADE, *ALIASES, "function", "__keras_tensor__")
    + ("__slice__",)
)
KEPT = ("class_name", "module", "registered_name", "name", "config", "inbound_nodes")
"""Keys around a layer's settings; what else stands there, as a compile_config, concerns training."""

HOMES = {"Sequential": "keras", "Functional": "keras.src.models.functional", "InputLayer": "keras.layers"}
OPERATION_HOMES = {"Cast": "core", "ConvertToTensor": "core"}
OPERATION_HOMES |= dict.fromkeys(
    ("Celu", "Elu", "Gelu", "Glu", "HardShrink", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid",
     "LogSoftmax", "Relu", "Relu6", "Selu", "Sigmoid", "Silu", "SoftShrink", "Softmax", "Softplus", "Softsign",
     "SparsePlus", "SparseSigmoid", "Squareplus", "TanhShrink", "Threshold"), "nn",
)  # fmt: skip
"""Where in keras.src.ops an operation stands, if not in `numpy`."""

NUMBERS = ("__numpy__", "ndarray")
POLICIES = ("DTypePolicy", "Policy")


def bare(value: Any, generation: str = "2") -> Any:
    """A configuration without initializers, regularizers, losses and all that the importer takes no notice of.

    Keras builds objects of whatever a setting names, so only names of KNOWN are left. CheckpointError at any other.
    Keras 3 looks for a class in the module beside it alone, which its .h5 files leave out and this adds.
    """
    if isinstance(value, list):
        return [bare(item, generation) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("class_name", value.get("type"))
    config = value.get("config")
    if kind in NUMBERS:
        number = config.get("value") if isinstance(config, dict) else value.get("value")
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise CheckpointError(f"{shown(value)} is not a number")
        return number
    if "class_name" not in value:
        return {key: bare(item, generation) for key, item in value.items() if key not in HARMLESS or _stays(key, item)}
    if kind in POLICIES and isinstance(config, dict) and isinstance(config.get("name"), str | None):
        return config.get("name")
    if not isinstance(kind, str) or kind not in KNOWN:
        raise CheckpointError(f"the configuration holds {shown(value)}, which names no known layer")
    if not is_of_keras(value):
        raise CheckpointError(f"the configuration holds {shown(value)}, a class of the model's author")
    kept = {key: bare(value[key], generation) for key in KEPT if key in value}
    shapes = value.get("build_config")
    if isinstance(shapes, dict) and isinstance(shapes.get("input_shape"), list) and _is_plain(shapes["input_shape"]):
        kept["build_config"] = {"input_shape": shapes.get("input_shape")}
    module = kept.get("module")
    if module is None and generation == "3" and is_operation(kind, config, None, value.get("inbound_nodes")):
        kept["module"] = module = f"keras.src.ops.{OPERATION_HOMES.get(kind, 'numpy')}"
    elif module is None and generation == "3" and (kind in HOMES or kind in LAYERS):
        kept["module"] = module = HOMES.get(kind, "keras.layers")
    return kept


def in_float32(value: Any) -> Any:
    """A bare configuration of which every layer computes in float32, as this package does, whatever its policy was."""
    if isinstance(value, list):
        return [in_float32(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: "float32" if key == "dtype" and isinstance(item, str) and item in PRECISIONS else in_float32(item)
        for key, item in value.items()
    }


def _stays(key: str, value: Any) -> bool:
    """Whether a setting that changes no answer is kept: names and numbers are, for Keras goes by them; not objects."""
    return (key == "name" and isinstance(value, str)) or _is_plain(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float)
