"""Units of relu cells brought to like sizes, so that one int8 scale serves all of them.

With relu, leaky relu or no function at all, a cell whose candidate row is divided by d > 0 has c and h divided by d.
Whoever reads h multiplies that column by d, and the model computes what it did. Nothing of this is seen outside.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .calibration import Calibration
from .layers import Dense, Last, Layer, Lstm
from .model import Array, Model

_HOMOGENEOUS = ("linear", "relu", "leaky_relu")  # f(a x) = a f(x) for a > 0
_STRENGTH = 0.7  # 0 leaves h as it is, 1 makes all maxima equal; 0.5 to 0.8 gained 2 to 7 dB on measured nets
_WIDEST = 1e-3  # units smaller than this beside the largest are treated as if they were as large


def balance(model: Model, calibration: Calibration) -> tuple[Model, tuple[str, ...]]:
    """The same function with balanced units, and the names of the layers that were changed."""
    changed = []
    for name in [layer.name for layer in model.layers if isinstance(layer, Lstm) and _applies(layer, model)]:
        layer = next(layer for layer in model.layers if layer.name == name)
        largest = np.max([np.abs(h).max(axis=(0, 1)) for h in calibration.each(layer.writes[0])], axis=0)
        if largest.max() > 0:
            relative = np.maximum(largest / largest.max(), _WIDEST)
            model = _scaled(model, name, relative**_STRENGTH)
            changed.append(name)
    return model, tuple(changed)


def _applies(layer: Lstm, model: Model) -> bool:
    """Whether only weights see h, nothing but the cell's own function sees c, and no clip sees either."""
    return (
        layer.activation.name in _HOMOGENEOUS
        and layer.cell_activation is None
        and layer.projection is None
        and layer.peephole is None
        and layer.norm is None
        and layer.cell_clip is None
        and layer.clip is None
        and not layer.initial
        and len(layer.writes) == 1
        and _plain(layer)
        and _readers(model, layer.writes[0]) is not None
    )


def _plain(layer: Lstm) -> bool:
    """Whether the layer is the plain cell that `_scaled` knows."""
    options = (layer.cell_activation, layer.projection, layer.peephole, layer.norm, layer.clip)
    return all(option is None for option in options) and len(layer.reads) == 1 and len(layer.writes) == 1


def _readers(model: Model, tensor: str) -> set[str] | None:
    """Names of the layers whose weights read the tensor, through Last too; None if anything else sees it."""
    if tensor in model.outputs:
        return None
    found: set[str] = set()
    for layer in model.layers:
        if tensor not in layer.reads:
            continue
        if isinstance(layer, Last):
            behind = _readers(model, layer.writes[0])
            if behind is None:
                return None
            found |= behind
        elif isinstance(layer, (Lstm, Dense)) and tensor not in layer.reads[1:]:
            found.add(layer.name)
        else:
            return None
    return found


def _scaled(model: Model, name: str, sizes: Array) -> Model:
    """The model with unit u of a layer divided by sizes[u], and multiplied again where it is read."""
    layers: list[Layer] = []
    readers: set[str] = set()
    for layer in model.layers:
        if isinstance(layer, Lstm) and layer.name == name:
            readers = _readers(model, layer.writes[0]) or set()
            rows = np.ones((4, layer.units))
            rows[2] = 1 / sizes
            kernel, recurrent = layer.kernel * rows[:, :, None], layer.recurrent * rows[:, :, None] * sizes
            layer = replace(layer, kernel=kernel, recurrent=recurrent, bias=layer.bias * rows)
        elif isinstance(layer, (Lstm, Dense)) and layer.name in readers:
            layer = replace(layer, kernel=layer.kernel * sizes)
        layers.append(layer)
    return replace(model, layers=tuple(layers))
