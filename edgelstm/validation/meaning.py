"""What the integers of a full-int8 TFLite model stand for: the same net in real numbers, to compare its layers with."""

from __future__ import annotations

from typing import Any

from ..layers import LINEAR, SIGMOID, TANH, Activate, Activation, Combine, Constant, Dense, Embedding, Lstm
from ..model import Model, Tensor
from ..tfl8 import (
    BYTE_MOVERS,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Quantize,
    Tfl8Softmax,
)
from ..tfl8_model import Tfl8Model

_CLIPPED = Activation("clip", -1.0, 1.0)
_FUSED = {"none": LINEAR, "relu": Activation("relu"), "relu6": Activation("relu6"), "relu_n1_to_1": _CLIPPED}
_MAPS = {**_FUSED, "logistic": SIGMOID, "tanh": TANH, "rescale": LINEAR}


def meaning(model: Tfl8Model) -> Model | None:
    """The float model of the numbers that the integers stand for, of the same layers, tensors and names. None where a
    layer has no such meaning."""
    tensors = {t.name: Tensor(t.name, t.width, t.single) for t in model.tensors}
    layers: list[Any] = []
    for layer in model.layers:
        made = _layer(model, layer)
        if made is None:
            return None
        layers.append(made)
    return Model(tuple(tensors.values()), tuple(layers), model.inputs, model.outputs, meta=model.meta)


def _layer(model: Tfl8Model, layer: Any) -> Any:
    """A layer in real numbers; None where there is none."""
    if isinstance(layer, BYTE_MOVERS):
        return layer
    ports = layer.name, layer.reads, layer.writes
    x, y = model.tensor(layer.reads[0]), model.tensor(layer.writes[0])
    match layer:
        case Tfl8Lstm(bare=False):
            kernel = layer.kernel * layer.kernel_scale[:, None, None]
            recurrent = layer.recurrent * layer.recurrent_scale[:, None, None]
            bias = layer.bias * (layer.kernel_scale * x.scale)[:, None]
            if layer.coupled:  # i = 1 - s(z) is s(-z), and f = 1 - i
                for rows in (kernel, recurrent, bias):
                    rows[0], rows[1] = -rows[1], 0
            clip = layer.cell_clip or None
            return Lstm(*ports, kernel, recurrent, bias, cell_clip=clip, coupled=layer.coupled, initial=layer.initial)
        case Tfl8Dense():
            bias = layer.bias * (layer.kernel_scale * x.scale)
            return Dense(*ports, layer.kernel * layer.kernel_scale[:, None], bias, _FUSED[layer.activation])
        case Tfl8Softmax(beta=1.0):
            return Activate(*ports, Activation("softmax"))
        case Tfl8Map():
            leaky = layer.function == "leaky_relu"
            return Activate(*ports, Activation("leaky_relu", layer.alpha) if leaky else _MAPS[layer.function])
        case Tfl8Quantize() | Tfl8Dequantize():
            return Activate(*ports, LINEAR)
        case Tfl8Embedding():
            return Embedding(*ports, y.scale * (layer.table.astype(float) - y.zero_point))
        case Tfl8Constant():
            return Constant(*ports, y.scale * (layer.value.astype(float) - y.zero_point))
        case Tfl8Combine(activation="none"):
            return Combine(*ports, layer.kind)
    return None
