"""Which tensors hold whole numbers, ids and masks: an integer model keeps them as they are, with a scale of 1."""

from __future__ import annotations

from typing import Any

from .layers import Combine, Embedding, Mask
from .quantized import MOVERS

_KEEPING = ("concatenate", "multiply", "maximum", "minimum")  # combinations of whole numbers that are such again


def whole_inputs(model: Any) -> frozenset[str]:
    """Inputs that reach an Embedding's ids or a layer's mask with no layer between that computes other numbers."""
    masks = {mask_of(layer) for layer in model.layers if getattr(layer, "masked", False)}
    return id_inputs(model) | _sources(model, masks)


def id_inputs(model: Any) -> frozenset[str]:
    """Those of them that reach ids."""
    return _sources(model, {name for layer in model.layers if isinstance(layer, Embedding) for name in layer.reads})


def _sources(model: Any, wanted: set[str]) -> frozenset[str]:
    """Inputs that these tensors are made of, without a computation."""
    for layer in reversed(model.layers):
        passes = isinstance(layer, MOVERS) or (isinstance(layer, Combine) and layer.kind in _KEEPING)
        if layer.writes[0] in wanted and (passes or isinstance(layer, Mask)):
            wanted = wanted | set(layer.reads)
    return frozenset(wanted & set(model.inputs))


def mask_of(layer: Any) -> str:
    """The mask that a masked layer reads: an attention's comes last, all others' second."""
    return str(layer.reads[3] if hasattr(layer, "heads") else layer.reads[1])


def whole_tensors(model: Any, inputs: frozenset[str]) -> frozenset[str]:
    """All tensors that hold whole numbers where these inputs do."""
    whole = set(inputs)
    for layer in model.layers:
        all_whole = all(name in whole for name in layer.reads)
        if isinstance(layer, Mask):
            whole.update(layer.writes if all_whole else layer.writes[1:])
        elif all_whole and (isinstance(layer, MOVERS) or (isinstance(layer, Combine) and layer.kind in _KEEPING)):
            whole.update(layer.writes)
    return frozenset(whole)
